-- Which rows were rejected, and why? Of the files that these dates were read from, and whatever
-- else was rejected on the days after them, when their nights run. (variables first, last: dates)
WITH files AS (
    SELECT DISTINCT source_file
    FROM interactions
    WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
)

SELECT
    reason,
    count(*) AS rejected_rows,
    count(DISTINCT source_file) AS files,
    arg_min(source_file, (source_file, line)) AS first_file,
    arg_min(line, (source_file, line)) AS first_line,
    arg_min(detail, (source_file, line)) AS first_detail
FROM quarantine
WHERE
    reason <> 'superseded'  -- a correction: it could be read
    AND (
        source_file IN (SELECT files.source_file FROM files)
        OR ingest_date BETWEEN getvariable('first')::DATE + 1 AND getvariable('last')::DATE + 1
    )
GROUP BY reason
ORDER BY rejected_rows DESC, reason;
