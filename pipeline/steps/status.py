"""What the lake holds, what was cleaned, what is stale, and what ran last. Reads only."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from pipeline import columns as col
from pipeline.models import checkpoint
from pipeline.schemas import INTERACTIONS, RUNS, SCORED_INTERACTIONS, TABLES, Table
from pipeline.storage import runs, staging
from pipeline.storage.lake import Lake


@dataclass(frozen=True)
class Status:
    """State of a lake. Dates are UTC event dates."""

    tables: pl.DataFrame  # table, version, rows, size_bytes
    champion: str | None
    cleaned: list[date]
    stale: dict[date, tuple[int, int]]  # date -> (interactions now, interactions when cleaned)
    uncleaned: list[date]
    pending: list[date]  # staged or half-published
    last_runs: pl.DataFrame


def status(lake: Lake, last: int = 10) -> Status:
    """Describe the lake from table metadata and the `runs` table; `last` runs are listed."""
    recorded = lake.scan(RUNS).collect()
    published = recorded.filter(
        pl.col(col.STEP) == "publish", pl.col(col.STATUS).is_in([runs.SUCCEEDED, runs.UNCHANGED])
    )
    cleaned = set(published[col.EVENT_DATE].to_list())
    accepted = lake.partition_rows(INTERACTIONS)
    scored = lake.partition_rows(SCORED_INTERACTIONS)
    counts = {day: (accepted.get(day, 0), scored.get(day, 0)) for day in sorted(cleaned)}
    return Status(
        tables=pl.DataFrame([_table_row(lake, table) for table in TABLES]),
        champion=checkpoint.champion(lake),
        cleaned=sorted(cleaned),
        stale={day: pair for day, pair in counts.items() if pair[0] != pair[1]},
        uncleaned=sorted(set(accepted) - cleaned),
        pending=staging.days(lake),
        last_runs=recorded.sort(col.STARTED_AT).tail(last),
    )


def _table_row(lake: Lake, table: Table) -> dict[str, object]:
    rows, size = lake.size(table)
    version = lake.version(table)
    return {"table": table.name, "version": version, "rows": rows, "size_bytes": size}
