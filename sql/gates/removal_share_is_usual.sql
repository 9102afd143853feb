-- the share removed is below gate.max_removed_share; in each stratum it is in its usual band, too
WITH tonight AS (
    SELECT
        'all' AS stratum,
        count(*) AS scored_rows,
        avg((decision = 'remove')::INT) AS removed_share
    FROM scored
    UNION ALL
    SELECT
        stratum,
        count(*) AS scored_rows,
        avg((decision = 'remove')::INT) AS removed_share
    FROM scored
    GROUP BY stratum
),

-- Nights of few rows have wild shares: they neither make the band nor are held to it.
band AS (
    SELECT stratum, avg(removed_share) + 4 * stddev_pop(removed_share) + 0.05 AS upper_bound
    FROM recent_strata
    CROSS JOIN settings
    WHERE recent_strata.scored_rows >= settings.min_rows
    GROUP BY stratum, settings.min_nights
    HAVING count(*) >= settings.min_nights
)

SELECT
    tonight.stratum,
    tonight.scored_rows,
    round(tonight.removed_share, 4) AS removed_share,
    round(band.upper_bound, 4) AS usual_upper_bound,
    settings.max_removed_share
FROM tonight
CROSS JOIN settings
LEFT JOIN band ON tonight.stratum = band.stratum
WHERE
    tonight.scored_rows >= settings.min_rows
    AND (
        (tonight.stratum = 'all' AND tonight.removed_share > settings.max_removed_share)
        OR tonight.removed_share > band.upper_bound
    )
ORDER BY tonight.stratum;
