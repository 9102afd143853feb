-- One row is a reason for which rows of one source file were rejected.
CREATE OR REPLACE VIEW quarantine_summary AS
SELECT
    source_file,
    reason,
    count(*) AS rejected_rows,
    min(line) AS first_line,
    arg_min(detail, line) AS first_detail
FROM quarantine
GROUP BY source_file, reason;

COMMENT ON VIEW quarantine_summary IS
'One row is a reason for which rows of one source file were rejected.';
