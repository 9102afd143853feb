-- Is what is removed of rare and of popular items near the budget of genuine interactions?
-- Removed are noise and genuine ones together: the share may exceed the budget where noise is.
SELECT
    model_version,
    stratum,
    sum(interactions) AS interactions,
    sum(removed) AS removed,
    sum(removed) / sum(interactions) AS removed_share,
    any_value(false_drop_budget) AS false_drop_budget,
    any_value(expected_false_drop_rate) AS expected_false_drop_rate
FROM removal_by_popularity
GROUP BY model_version, stratum
ORDER BY model_version, any_value(least_popularity) NULLS LAST, stratum;
