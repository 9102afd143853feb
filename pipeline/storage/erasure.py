"""Taking rows out of a table for good: out of its newest state, its dead files and its log."""

import re
import uuid
from collections.abc import Callable, Collection
from functools import partial

import polars as pl
from deltalake.exceptions import CommitFailedError

from pipeline import columns as col
from pipeline.errors import ConflictError
from pipeline.progress import logger
from pipeline.schemas import QUARANTINE, RUNS, Table
from pipeline.storage import files
from pipeline.storage.lake import Lake
from pipeline.storage.search import Needle
from pipeline.storage.sql import literal

ATTEMPTS = 20
LINES = 500  # that one commit removes
LOG = "_delta_log"
FENCE = "iadsr.fence"  # a property that says nothing: that it changed is what counts

_VERSION = re.compile(r"(\d{20})\.")


def fence(lake: Lake, table: Table) -> None:
    """Make every commit fail that rests on an earlier snapshot: it may bring rows back."""
    _again(table, lambda: lake.set_property(table, FENCE, uuid.uuid4().hex))


def rows_of(lake: Lake, table: Table, user: str) -> int:
    """How many rows of the table name the user (a stored id)."""
    rows = lake.scan(table)
    if col.USER_ID not in rows.collect_schema():  # a quarantine of an older version
        return 0
    return int(rows.filter(pl.col(col.USER_ID) == user).select(pl.len()).collect().item())


def delete_rows(lake: Lake, table: Table, user: str) -> None:
    """Remove the rows of a user (a stored id) in one commit."""
    if rows_of(lake, table, user):
        _delete(lake, table, f"{col.USER_ID} = {literal(user)}")


def lines_of(lake: Lake, needle: Needle) -> pl.DataFrame:
    """Quarantined lines (`raw`) of unknown users that hold the id, each with its `rows`."""
    lines = _unknown(lake).group_by(col.RAW, col.DETAIL).agg(pl.len().alias("rows")).collect()
    held = [
        needle.within(raw) or needle.within(detail)
        for raw, detail in lines.select(col.RAW, col.DETAIL).iter_rows()
    ]
    found = lines.filter(pl.Series(held, dtype=pl.Boolean))
    return found.group_by(col.RAW).agg(pl.col("rows").sum())


def delete_lines(lake: Lake, lines: pl.DataFrame) -> None:
    """Remove lines that `lines_of` found. Nothing else names a row of an unknown user for sure."""
    unknown = f"{col.USER_ID} IS NULL" if _knows_users(lake) else "true"
    for some in lines.drop_nulls(col.RAW).iter_slices(LINES):
        listed = ", ".join(f"decode('{raw.hex()}', 'hex')" for raw in some[col.RAW])
        _delete(lake, QUARANTINE, f"{unknown} AND {col.RAW} IN ({listed})")


def errors_of(lake: Lake, needle: Needle) -> list[str]:
    """Texts of errors in `runs` that name the user."""
    texts = lake.scan(RUNS).select(pl.col(col.ERROR).drop_nulls().unique()).collect().to_series()
    return [text for text in texts if needle.within(text)]


def blank_errors(lake: Lake, texts: Collection[str]) -> None:
    """Put one and the same sentence in place of these errors."""
    for text in texts:
        _again(RUNS, partial(_blank, lake, f"{col.ERROR} = {literal(text)}"))


def _blank(lake: Lake, predicate: str) -> None:
    told = literal("this error named a user who has been erased since")
    lake.open(RUNS).update({col.ERROR: told}, predicate=predicate)


def dead_files(lake: Lake, table: Table) -> set[str]:
    """Parquet files in the table's folder that its newest snapshot does not hold."""
    there = {path for path, _, _ in files.walk(lake.path(table.name)) if path.endswith(".parquet")}
    live = {path for paths in lake.partition_files(table).values() for path in paths}
    return {path for path in there if f"/{LOG}/" not in path} - live


def forget(lake: Lake, table: Table, settled: Callable[[], None]) -> None:
    """Begin the table's log anew, at its present state: no earlier one can be read any more.

    `settled` returns when readers need no state before that one, or raises.
    """
    fence(lake, table)  # the commit that stays tells nothing of rows
    snapshot = lake.open(table)
    with files.in_one_line(lake.path(table.name)):
        snapshot.create_checkpoint()
    settled()
    entries = [path for path, _, _ in files.walk(lake.path(table.name, LOG))]
    files.delete(path for path in entries if _older(path, snapshot.version()))


def _older(path: str, version: int) -> bool:
    found = _VERSION.match(path.rpartition("/")[2])
    return found is not None and int(found.group(1)) < version


def _knows_users(lake: Lake) -> bool:
    return col.USER_ID in lake.scan(QUARANTINE).collect_schema()


def _unknown(lake: Lake) -> pl.LazyFrame:
    rows = lake.scan(QUARANTINE)
    return rows.filter(pl.col(col.USER_ID).is_null()) if _knows_users(lake) else rows


def _delete(lake: Lake, table: Table, predicate: str) -> None:
    _again(table, lambda: lake.open(table).delete(predicate))


def _again(table: Table, commit: Callable[[], object]) -> None:
    """Commit, again if others were first: they must not keep an erasure from its end."""
    for attempt in range(ATTEMPTS):
        try:
            with files.in_one_line(table.name):
                commit()
                return
        except (CommitFailedError, ConflictError) as conflict:
            reason = str(conflict).splitlines()[0]
            logger.info("%s: another run committed first, again (%d)", table.name, attempt + 1)
    raise ConflictError(f"{table.name}: other runs kept committing first ({reason}). Run it again.")
