-- Which run published each date, with which model, and was a gate overridden for it?
-- (variables first, last: dates)
WITH newest AS (
    SELECT *
    FROM published_states
    WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
    QUALIFY row_number() OVER (PARTITION BY event_date ORDER BY published_at DESC) = 1
),

refused AS (
    SELECT
        event_date,
        count(*) AS refusals
    FROM runs
    WHERE step = 'publish' AND status = 'failed' AND error LIKE 'GateError%'
    GROUP BY event_date
)

SELECT
    newest.event_date,
    newest.published_at,
    newest.run_id,
    newest.model_version,
    coalesce(refused.refusals, 0) AS refusals,
    newest.inputs -> 'override' ->> 'reason' AS override_reason
FROM newest
LEFT JOIN refused USING (event_date)
ORDER BY newest.event_date;
