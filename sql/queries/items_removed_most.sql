-- Which items are removed most, and are they cold? (variable count: how many, 20)
SELECT
    item_id,
    any_value(title) AS title,
    arg_max(stratum, event_date) AS stratum,
    coalesce(arg_max(stratum, event_date) LIKE '1-%', false) AS is_cold,
    sum(interactions) AS interactions,
    sum(removed) AS removed,
    sum(removed) / sum(interactions) AS removed_share
FROM item_noise_daily
GROUP BY item_id
HAVING sum(removed) > 0
ORDER BY removed DESC, removed_share DESC, item_id
LIMIT coalesce(getvariable('count')::INT, 20);
