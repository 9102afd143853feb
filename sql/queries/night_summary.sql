-- What happened to the interactions of the dates from $first to $last?
SELECT
    scored.event_date,
    count(*) AS interactions,
    count(*) FILTER (scored.decision = 'keep') AS kept,
    count(*) FILTER (scored.decision = 'remove') AS removed,
    count(*) FILTER (scored.noise_probability IS NULL) AS not_scored
FROM scored_interactions AS scored
WHERE scored.event_date BETWEEN $first::DATE AND $last::DATE
GROUP BY scored.event_date
ORDER BY scored.event_date;
