"""Corrections: rows of a later file with the key of an accepted row and another value.

The later delivery wins, whole row by whole row; what it replaces is kept in `quarantine`. A row
that is repeated within one file, or comes without a value, is a duplicate and corrects nothing.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import polars as pl

from pipeline import columns as col
from pipeline.schemas import INTERACTIONS, QUARANTINE
from pipeline.sources import reasons
from pipeline.storage.lake import Lake, conform, correction_key
from pipeline.storage.privacy import refuse_erased

# Repeated rows that wait to be compared: a bound of memory.
WAITING_ROWS = 500_000


class Corrections:
    """The corrections in one log, from the snapshot in which its rows were missed."""

    def __init__(self, lake: Lake, version: int) -> None:
        self._lake, self._version = lake, version
        self._waiting: list[pl.DataFrame] = []
        self._found: list[pl.DataFrame] = []

    def add(self, accepted: pl.DataFrame, fresh: pl.DataFrame) -> None:
        """Take in the rows of a batch that are not fresh."""
        if len(fresh) == len(accepted):
            return
        valued = accepted.filter(pl.col(col.VALUE).is_not_null())
        self._waiting.append(valued.join(fresh, on=col.INTERACTION_ID, how="anti"))
        if sum(map(len, self._waiting)) > WAITING_ROWS:
            self._compare()

    def finish(self) -> int:
        """Compare what still waits; returns the number of rows that will be corrected."""
        self._compare()
        if not self._found:
            return 0
        last = pl.concat(self._found).unique(col.INTERACTION_ID, keep="last", maintain_order=True)
        self._found = [last]
        return len(last)

    def commit(self, stamps: Mapping[str, str], marker: tuple[str, int], now: datetime) -> int:
        """Keep the replaced rows aside, then put the corrected ones in place, date by date.

        A date carries the number of the run that last corrected it as a marker. Returns the
        version of `interactions`. Raises ConflictError: another run changed a date meanwhile.
        """
        changed = self._found[0].with_columns(pl.lit(v).alias(k) for k, v in stamps.items())
        days = changed[col.EVENT_DATE].unique().sort().to_list()
        self._keep_aside(changed, days, ("superseded:" + marker[0], marker[1]), now)
        for day in days:
            since = self._lake.version(INTERACTIONS)
            refuse_erased(self._lake, changed[col.USER_ID])
            stood = self._stood([day], since)
            ours = changed.filter(pl.col(col.EVENT_DATE) == day)
            kept = stood.join(ours, on=col.INTERACTION_ID, how="anti")
            extra = [name for name in stood.columns if name not in INTERACTIONS.columns]
            absent = [pl.lit(None, pl.String).alias(n) for n in extra if n not in ours.columns]
            rows = [
                conform(part, INTERACTIONS, extra) for part in (kept, ours.with_columns(absent))
            ]
            key = (correction_key(day), marker[1])
            self._lake.replace_date(INTERACTIONS, day, pl.concat(rows), key, since=since)
        return self._lake.version(INTERACTIONS)

    def _compare(self) -> None:
        repeated = pl.concat(self._waiting) if self._waiting else pl.DataFrame()
        self._waiting = []
        if repeated.is_empty():
            return
        days = repeated[col.EVENT_DATE].unique().to_list()
        stood = self._stood(days, self._version).select(
            col.INTERACTION_ID, pl.col(col.VALUE).alias("stood")
        )
        other = repeated.join(stood, on=col.INTERACTION_ID, maintain_order="left")
        other = other.filter(pl.col(col.VALUE).ne_missing(pl.col("stood"))).drop("stood")
        if len(other):
            self._found.append(other)

    def _stood(self, days: list[date], version: int) -> pl.DataFrame:
        snapshot = self._lake.scan(INTERACTIONS, version)
        return snapshot.filter(pl.col(col.EVENT_DATE).is_in(days)).collect()

    def _keep_aside(
        self,
        changed: pl.DataFrame,
        days: list[date],
        marker: tuple[str, int],
        now: datetime,
    ) -> None:
        since, version = self._lake.version(QUARANTINE), self._lake.version(INTERACTIONS)
        if self._lake.marker(QUARANTINE, marker[0], since) is not None:
            return
        refuse_erased(self._lake, changed[col.USER_ID])
        values = changed.select(col.INTERACTION_ID, pl.col(col.VALUE).alias("new"))
        old = self._stood(days, version).join(values, on=col.INTERACTION_ID)
        told: dict[str, Any] = {
            col.INGEST_DATE: pl.lit(now.date()),
            col.REASON: pl.lit(reasons.SUPERSEDED),
            col.DETAIL: pl.format(
                "value {} was corrected to {}", pl.col(col.VALUE).fill_null("none"), "new"
            ),
            col.RAW: pl.struct(pl.exclude("new")).struct.json_encode().cast(pl.Binary),
            col.RUN_ID: pl.lit(changed[0, col.RUN_ID]),
        }
        rows = conform(old.with_columns(**told), QUARANTINE)
        self._lake.append(QUARANTINE, rows, marker, since=since, merge_schema=True)
