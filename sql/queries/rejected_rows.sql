-- Which files had rows rejected, for what reason, and which share of the file is it?
WITH read AS (
    SELECT
        read_file AS source_file,
        max(rows_read) AS rows_read
    FROM run_history
    WHERE step = 'ingest' AND status = 'succeeded'
    GROUP BY read_file
)

SELECT
    quarantine_summary.*,
    quarantine_summary.rejected_rows / read.rows_read AS share_of_file
FROM quarantine_summary
LEFT JOIN read USING (source_file)
ORDER BY rejected_rows DESC, source_file, reason;
