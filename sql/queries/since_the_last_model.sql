-- What changed since last week's model? The two newest models that cleaned, by popularity.
WITH newest AS (
    SELECT
        model_version,
        row_number() OVER (ORDER BY last_date DESC, trained_at DESC, model_version) AS age
    FROM model_history
    WHERE dates_cleaned > 0
),

removal AS (
    SELECT
        newest.age,
        removal.stratum,
        min(removal.least_popularity) AS least_popularity,
        sum(removal.removed) / sum(removal.interactions) AS removed_share,
        min(removal.threshold) AS threshold
    FROM removal_by_popularity AS removal
    INNER JOIN newest USING (model_version)
    WHERE newest.age <= 2
    GROUP BY newest.age, removal.stratum
)

SELECT
    stratum,
    before.removed_share AS removed_share_before,
    now.removed_share,
    now.removed_share - before.removed_share AS change,
    before.threshold AS threshold_before,
    now.threshold
FROM (FROM removal WHERE age = 1) AS now
FULL JOIN (FROM removal WHERE age = 2) AS before USING (stratum)
ORDER BY coalesce(now.least_popularity, before.least_popularity) NULLS LAST, stratum;
