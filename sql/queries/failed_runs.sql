-- What failed lately, why, and has it succeeded since? (variable count: how many, 20)
SELECT
    failed.started_at,
    failed.step,
    failed.event_date,
    failed.error,
    exists(
        FROM run_history AS later
        WHERE
            later.step = failed.step
            AND later.event_date IS NOT DISTINCT FROM failed.event_date
            AND later.status <> 'failed'
            AND later.started_at > failed.started_at
    ) AS mended_since,
    failed.run_id
FROM run_history AS failed
WHERE failed.status = 'failed'
ORDER BY failed.started_at DESC
LIMIT coalesce(getvariable('count')::INT, 20);
