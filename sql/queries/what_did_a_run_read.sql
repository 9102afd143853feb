-- What did a run read? (variable run_id; without it, the newest training run)
WITH chosen AS (
    SELECT *
    FROM runs
    WHERE run_id = coalesce(getvariable('run_id'), run_id)
        AND (getvariable('run_id') IS NOT NULL OR step = 'train')
    ORDER BY started_at DESC
    LIMIT 1
),

listed AS (
    SELECT
        *,
        unnest(json_keys(inputs)) AS name
    FROM chosen
)

SELECT
    run_id,
    step,
    event_date AS read_up_to,
    started_at,
    name AS input,
    json_extract_string(inputs, concat('$."', name, '"')) AS version,
    counts,
    model_version
FROM listed
ORDER BY input;
