-- How long did each step take? Scoring and publishing of these dates as they stand, and what was
-- read, embedded and trained since the publication before them. (variables first, last: dates)
WITH standing AS (
    SELECT
        run_id,
        published_at
    FROM published_states
    WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
    QUALIFY row_number() OVER (PARTITION BY event_date ORDER BY published_at DESC) = 1
),

nights AS (
    SELECT runs.*
    FROM runs
    INNER JOIN standing USING (run_id)
    WHERE runs.step IN ('score', 'publish') AND runs.status = 'succeeded'
),

bounds AS (
    SELECT
        (SELECT min(started_at) FROM nights) AS begun,
        (SELECT max(published_at) FROM standing) AS ended
),

before AS (
    SELECT coalesce(max(published_states.published_at), '-infinity') AS ended
    FROM published_states
    CROSS JOIN bounds
    WHERE published_states.published_at < bounds.begun
),

counted AS (
    SELECT * FROM nights
    UNION ALL
    SELECT runs.*
    FROM runs
    CROSS JOIN bounds
    CROSS JOIN before
    WHERE
        runs.step IN ('ingest', 'embed', 'train')
        AND runs.status = 'succeeded'
        AND runs.started_at > before.ended
        AND runs.ended_at < bounds.ended
)

SELECT
    step,
    count(*) AS runs,
    sum(duration_s) AS seconds,
    max(peak_memory_bytes) AS peak_memory_bytes
FROM counted
GROUP BY step
ORDER BY list_position(['ingest', 'embed', 'train', 'score', 'publish'], step);
