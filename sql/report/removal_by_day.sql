-- What share was removed on each day, and up to which share is usual? The band is that of
-- sql/gates/removal_share_is_usual.sql: of nights of enough rows, in the weeks before; nights of
-- fewer are not held to it.
-- (variables first, last: dates; band_days, min_rows, min_nights: as the gate has them)
WITH daily AS (
    SELECT
        event_date,
        count(*) AS interactions,
        count(*) FILTER (decision = 'remove') AS removed,
        count(*) FILTER (decision = 'remove') / count(*) AS removed_share
    FROM scored_interactions
    WHERE
        event_date >= least(
            getvariable('first')::DATE, getvariable('last')::DATE + 1 - getvariable('band_days')::INT
        ) - getvariable('band_days')::INT
        AND event_date <= getvariable('last')::DATE
    GROUP BY event_date
),

band AS (
    SELECT
        daily.event_date,
        avg(earlier.removed_share) AS usual_share,
        avg(earlier.removed_share) + 4 * stddev_pop(earlier.removed_share) + 0.05 AS upper_bound
    FROM daily
    INNER JOIN daily AS earlier
        ON
            earlier.event_date < daily.event_date
            AND earlier.event_date >= daily.event_date - getvariable('band_days')::INT
    WHERE earlier.interactions >= getvariable('min_rows')
    GROUP BY daily.event_date
    HAVING count(*) >= getvariable('min_nights')
)

SELECT
    daily.event_date,
    daily.interactions,
    daily.removed,
    daily.removed_share,
    band.usual_share,
    band.upper_bound AS usual_upper_bound,
    daily.interactions >= getvariable('min_rows') AS is_held_to_it,
    daily.event_date >= getvariable('first')::DATE AS in_report
FROM daily
LEFT JOIN band USING (event_date)
WHERE
    daily.event_date >= least(
        getvariable('first')::DATE, getvariable('last')::DATE + 1 - getvariable('band_days')::INT
    )
ORDER BY daily.event_date;
