-- the share removed is below gate.max_removed_share and within its usual band of the last 28 days
WITH tonight AS (
    SELECT count(*) AS scored_rows, avg((decision = 'remove')::INT) AS removed_share FROM scored
),

-- Nights of few rows have wild shares: they neither make the band nor are held to it.
band AS (
    SELECT avg(removed_share) + 4 * stddev_pop(removed_share) + 0.05 AS upper_bound
    FROM recent_nights
    CROSS JOIN settings
    WHERE recent_nights.scored_rows >= settings.min_rows
    HAVING count(*) >= 7
)

SELECT
    tonight.scored_rows,
    round(tonight.removed_share, 4) AS removed_share,
    settings.max_removed_share,
    round(band.upper_bound, 4) AS usual_upper_bound
FROM tonight
CROSS JOIN settings
LEFT JOIN band ON true
WHERE
    tonight.scored_rows >= settings.min_rows
    AND (
        tonight.removed_share > settings.max_removed_share
        OR tonight.removed_share > band.upper_bound
    );
