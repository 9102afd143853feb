"""What the lake holds, what was cleaned, what is stale, and what ran last. Reads only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl
from deltalake import DeltaTable

from pipeline import columns as col
from pipeline.config import Config
from pipeline.models import checkpoint
from pipeline.schemas import INTERACTIONS, RUNS, SCORED_INTERACTIONS, TABLES, Table
from pipeline.storage import privacy, runs, staging
from pipeline.storage.lake import Lake, correction_key


@dataclass(frozen=True)
class Status:
    """State of a lake. Dates are UTC event dates."""

    tables: pl.DataFrame  # table, version, rows, size_bytes
    champion: str | None
    cleaned: list[date]
    stale: dict[date, tuple[int, int]]  # date -> (interactions now, interactions when cleaned)
    uncleaned: list[date]
    pending: list[date]  # staged or half-published
    erasures: tuple[int, int]  # recorded, and pending of them
    last_runs: pl.DataFrame


def status(lake: Lake, last: int = 10) -> Status:
    """Describe the lake from table metadata and the `runs` table; `last` runs are listed."""
    recorded = lake.scan(RUNS).collect()
    cleaned = cleaned_dates(lake)
    return Status(
        tables=pl.DataFrame([_table_row(lake, table) for table in TABLES]),
        champion=checkpoint.champion(lake),
        cleaned=sorted(cleaned),
        stale=stale_dates(lake, cleaned),
        uncleaned=sorted(set(lake.partition_rows(INTERACTIONS)) - cleaned),
        pending=staging.days(lake),
        erasures=privacy.erasures(lake),
        last_runs=recorded.sort(col.STARTED_AT).tail(last),
    )


def stale_dates(
    lake: Lake, cleaned: Iterable[date], versions: Mapping[str, int] | None = None
) -> dict[date, tuple[int, int]]:
    """Cleaned dates whose interactions changed since: more of them, or corrected ones.

    With `versions` (table -> snapshot), as it was then.

    Returns
    -------
    dict
        date -> interactions now, interactions when it was cleaned.
    """
    accepted, scored = (
        lake.open(table, versions[table.name] if versions else None)
        for table in (INTERACTIONS, SCORED_INTERACTIONS)
    )
    now = lake.partition_rows(INTERACTIONS, accepted.version())
    then = lake.partition_rows(SCORED_INTERACTIONS, scored.version())
    return {
        day: (now.get(day, 0), then.get(day, 0))
        for day in sorted(cleaned)
        if now.get(day, 0) != then.get(day, 0) or _is_corrected(accepted, scored, day)
    }


def late_dates(config: Config, lake: Lake, day: date) -> list[date]:
    """Stale dates within the lateness window before `day`, the newest first."""
    first = day - timedelta(days=config.night.lateness_days)
    window = [d for d in cleaned_dates(lake) if first <= d < day]
    return sorted(stale_dates(lake, window), reverse=True)


def _is_corrected(accepted: DeltaTable, scored: DeltaTable, day: date) -> bool:
    """True if the date was corrected since it was cleaned. Each marker costs a look at the log."""
    last = accepted.transaction_version(correction_key(day))
    return last is not None and last != scored.transaction_version(correction_key(day))


def cleaned_dates(lake: Lake) -> set[date]:
    """Dates that were published, empty ones too."""
    done = [runs.SUCCEEDED, runs.UNCHANGED]
    published = lake.scan(RUNS).filter(
        pl.col(col.STEP) == "publish", pl.col(col.STATUS).is_in(done)
    )
    return set(published.select(col.EVENT_DATE).unique().collect().to_series())


def _table_row(lake: Lake, table: Table) -> dict[str, object]:
    rows, size = lake.size(table)
    version = lake.version(table)
    return {"table": table.name, "version": version, "rows": rows, "size_bytes": size}
