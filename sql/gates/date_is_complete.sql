-- the last interaction of the date is as near to midnight as usual: the log was delivered whole
WITH tonight AS (
    SELECT
        count(*) AS n,
        (epoch_us((any_value(settings.event_date) + 1)::TIMESTAMP) - epoch_us(max(event_time)))
        / 3.6e9 AS silent_hours
    FROM scored
    CROSS JOIN settings
),

band AS (
    SELECT avg(silent_hours) + 4 * stddev_pop(silent_hours) + 6 AS upper_bound
    FROM recent_nights
    CROSS JOIN settings
    WHERE recent_nights.scored_rows >= settings.min_rows
    GROUP BY settings.min_nights
    HAVING count(*) >= settings.min_nights
)

SELECT
    round(tonight.silent_hours, 1) AS silent_hours,
    round(band.upper_bound, 1) AS usual_upper_bound
FROM tonight
CROSS JOIN band
CROSS JOIN settings
WHERE tonight.n >= settings.min_rows AND tonight.silent_hours > band.upper_bound;
