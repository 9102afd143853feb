-- Which users lost more than 30 %? (variables share: 0.3; least: of at least 5 interactions)
SELECT
    user_id,
    sum(interactions) AS interactions,
    sum(removed) AS removed,
    sum(removed) / sum(interactions) AS removed_share,
    count(*) AS dates
FROM user_noise_daily
GROUP BY user_id
HAVING
    sum(interactions) >= coalesce(getvariable('least')::INT, 5)
    AND sum(removed) / sum(interactions) > coalesce(getvariable('share')::DOUBLE, 0.3)
ORDER BY removed_share DESC, removed DESC, user_id;
