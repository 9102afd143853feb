-- What happened to the interactions of each date? (variables first, last: dates)
SELECT
    event_date,
    count(*) AS interactions,
    count(*) FILTER (decision = 'keep') AS kept,
    count(*) FILTER (decision = 'remove') AS removed,
    count(*) FILTER (noise_probability IS NULL) AS not_scored
FROM scored_interactions
WHERE
    event_date >= coalesce(getvariable('first')::DATE, '-infinity'::DATE)
    AND event_date <= coalesce(getvariable('last')::DATE, 'infinity'::DATE)
GROUP BY event_date
ORDER BY event_date;
