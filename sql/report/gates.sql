-- On how many of these dates did each gate pass, where was it overridden, and why?
-- (variables first, last: dates; gates: the names of sql/gates/)
WITH newest AS (
    SELECT
        event_date,
        inputs -> 'override' AS override
    FROM published_states
    WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
    QUALIFY row_number() OVER (PARTITION BY event_date ORDER BY published_at DESC) = 1
),

gates AS (
    SELECT unnest(getvariable('gates')::VARCHAR[]) AS gate
),

outcomes AS (
    SELECT
        gates.gate,
        newest.event_date,
        newest.override ->> 'reason' AS reason,
        coalesce(
            list_contains(json_keys(newest.override, '$.gates'), gates.gate), false
        ) AS overridden
    FROM gates
    CROSS JOIN newest
)

SELECT
    gate,
    count(*) FILTER (NOT overridden) AS passed,
    count(*) FILTER (overridden) AS overridden,
    min(event_date) FILTER (overridden) AS first_overridden,
    arg_min(reason, event_date) FILTER (overridden) AS first_reason
FROM outcomes
GROUP BY gate
ORDER BY gate;
