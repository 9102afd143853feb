-- One row is a reason for which rows of one source file were rejected.
CREATE OR REPLACE VIEW quarantine_summary AS
SELECT
    source_file,
    reason,
    count(*) AS rejected_rows,
    min(line) AS first_line,
    arg_min(detail, line) AS first_detail,
    max(ingest_date) AS last_ingest_date
FROM quarantine
WHERE reason <> 'superseded'  -- a correction: it could be read
GROUP BY source_file, reason;

COMMENT ON VIEW quarantine_summary IS
'One row is a reason for which rows of one source file were rejected.';
COMMENT ON COLUMN quarantine_summary.source_file IS 'file the rows were read from';
COMMENT ON COLUMN quarantine_summary.reason IS 'reason code';
COMMENT ON COLUMN quarantine_summary.rejected_rows IS 'how many rows';
COMMENT ON COLUMN quarantine_summary.first_line IS 'line of the first of them, from 1';
COMMENT ON COLUMN quarantine_summary.first_detail IS 'what was found in the first of them';
COMMENT ON COLUMN quarantine_summary.last_ingest_date IS 'UTC date on which the last was rejected';
