"""Reason codes of quarantined rows. They are data: queries and dashboards group by them."""

MISSING_FIELD = "missing_field"
UNPARSABLE_TIME = "unparsable_time"
IMPLAUSIBLE_TIME = "implausible_time"
EMPTY_ID = "empty_id"
ID_TOO_LONG = "id_too_long"
MALFORMED_LINE = "malformed_line"
WRONG_COLUMN_COUNT = "wrong_column_count"
INVALID_UTF8 = "invalid_utf8"
NON_FINITE_VALUE = "non_finite_value"
UNPARSABLE_VALUE = "unparsable_value"
# Accepted once, then corrected by a later file: `raw` is the row as it stood, as JSON.
SUPERSEDED = "superseded"

DETAIL_LENGTH = 200


class RowRejectedError(Exception):
    """One row of a source cannot be split into its fields."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail[:DETAIL_LENGTH]
