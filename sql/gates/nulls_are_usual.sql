-- no more values, types and noise probabilities are missing than usual
WITH tonight AS (
    SELECT 'value' AS field, count(*) AS n, avg((value IS NULL)::INT) AS null_share FROM clean
    UNION ALL
    SELECT 'event_type' AS field, count(*) AS n, avg((event_type IS NULL)::INT) AS null_share
    FROM clean
    UNION ALL
    SELECT
        'noise_probability' AS field,
        count(*) AS n,
        avg((noise_probability IS NULL)::INT) AS null_share
    FROM scored
),

band AS (
    SELECT field, avg(null_share) + 4 * stddev_pop(null_share) + 0.1 AS upper_bound
    FROM (UNPIVOT recent_nights ON value, event_type, noise_probability
        INTO NAME field VALUE null_share)
    CROSS JOIN settings
    WHERE scored_rows >= settings.min_rows
    GROUP BY field, settings.min_nights
    HAVING count(*) >= settings.min_nights
)

SELECT
    tonight.field,
    round(tonight.null_share, 4) AS null_share,
    round(band.upper_bound, 4) AS usual_upper_bound
FROM tonight
INNER JOIN band ON tonight.field = band.field
CROSS JOIN settings
WHERE tonight.n >= settings.min_rows AND tonight.null_share > band.upper_bound
ORDER BY tonight.field;
