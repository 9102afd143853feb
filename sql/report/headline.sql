-- What became of the interactions of these dates? (variables first, last: dates)
WITH published AS (
    SELECT count(DISTINCT event_date) AS dates
    FROM published_states
    WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
),

decided AS (
    SELECT
        count(*) AS interactions,
        count(*) FILTER (decision = 'keep') AS kept,
        count(*) FILTER (decision = 'remove') AS removed,
        count(*) FILTER (noise_probability IS NULL) AS not_judged,
        count(DISTINCT user_id) AS users,
        count(DISTINCT user_id) FILTER (decision = 'remove') AS users_touched
    FROM scored_interactions
    WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
)

SELECT
    published.dates,
    decided.*,
    decided.removed / nullif(decided.interactions, 0) AS removed_share
FROM published
CROSS JOIN decided;
