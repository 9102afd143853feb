"""Where steps put what is no table: folders of the lake, into each of which an erasure looks."""

EVALUATIONS = "evaluations"
EXPORTS = "exports"
REPORTS = "reports"

RESULTS = "results.parquet"  # what an evaluation's folder holds once it is done
