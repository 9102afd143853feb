-- How are the noise probabilities spread, in steps of 0.025? (variables first, last: dates)
WITH placed AS (
    SELECT
        decision,
        least(floor(noise_probability * 40), 39) / 40 AS lower_end
    FROM scored_interactions
    WHERE
        noise_probability IS NOT NULL
        AND event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
)

SELECT
    lower_end,
    lower_end + 0.025 AS upper_end,
    decision,
    count(*) AS interactions
FROM placed
GROUP BY lower_end, decision
ORDER BY lower_end, decision;
