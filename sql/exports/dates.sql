-- One row is a date with interactions: how many there are, and how many of them have a decision.
WITH accepted AS (
    SELECT
        event_date,
        count(*) AS interactions
    FROM interactions
    GROUP BY event_date
),

decided AS (
    SELECT
        event_date,
        count(*) AS scored
    FROM scored_interactions
    GROUP BY event_date
)

SELECT
    event_date,
    coalesce(accepted.interactions, 0) AS interactions,
    coalesce(decided.scored, 0) AS scored
FROM accepted
FULL JOIN decided USING (event_date)
WHERE
    event_date >= coalesce(getvariable('first')::DATE, event_date)
    AND event_date <= coalesce(getvariable('last')::DATE, event_date)
ORDER BY event_date;
