-- Where does the time of a night go? Per step: runs, median and longest duration, memory.
SELECT
    step,
    count(*) AS runs,
    median(duration_s) AS median_s,
    max(duration_s) AS longest_s,
    arg_max(run_id, duration_s) AS longest_run,
    max(peak_memory_bytes) / 1024 ^ 2 AS peak_memory_mib
FROM run_history
WHERE status = 'succeeded'
GROUP BY step
ORDER BY median_s DESC;
