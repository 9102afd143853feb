-- Which dates must be cleaned again, and with which command?
SELECT
    event_date,
    late_interactions,
    corrected_interactions,
    published_at,
    concat('iadsr run --date ', event_date) AS command
FROM stale_dates
ORDER BY event_date;
