-- How much is removed of rare and of popular items, against the budget of genuine interactions?
-- (variables first, last: dates; model: whose thresholds and rehearsal are told)
WITH removed AS (
    SELECT
        stratum,
        min(least_popularity) AS least_popularity,
        sum(interactions)::BIGINT AS interactions,
        sum(judged)::BIGINT AS judged,
        sum(removed)::BIGINT AS removed,
        sum(removed) / sum(interactions) AS removed_share
    FROM removal_by_popularity
    WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
    GROUP BY stratum
),

model AS (
    SELECT *
    FROM model_strata
    WHERE model_version = getvariable('model')
)

SELECT
    removed.stratum,
    removed.interactions,
    removed.judged,
    removed.removed,
    removed.removed_share,
    model.threshold,
    model.false_drop_budget,
    model.false_drop_rate,
    model.false_drop_upper,
    model.recall
FROM removed
LEFT JOIN model USING (stratum)
ORDER BY removed.least_popularity NULLS LAST, removed.stratum;
