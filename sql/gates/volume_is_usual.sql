-- the date has as many interactions as usual, give or take gate.volume_factor
WITH band AS (
    SELECT
        avg(ln(scored_rows)) AS center,
        4 * stddev_pop(ln(scored_rows)) + ln(settings.volume_factor) AS reach
    FROM recent_nights
    CROSS JOIN settings
    WHERE recent_nights.scored_rows >= greatest(settings.min_rows, 1)
    GROUP BY settings.volume_factor, settings.min_nights
    HAVING count(*) >= settings.min_nights
),

tonight AS (SELECT count(*) AS interactions FROM interactions)

SELECT
    tonight.interactions,
    round(exp(band.center - band.reach))::BIGINT AS usual_lower_bound,
    round(exp(band.center + band.reach))::BIGINT AS usual_upper_bound
FROM tonight
CROSS JOIN band
WHERE
    tonight.interactions < exp(band.center - band.reach)
    OR tonight.interactions > exp(band.center + band.reach);
