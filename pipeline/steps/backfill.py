"""Many dates: which of them need cleaning and why, what that takes, and doing it on one machine.

Beyond one machine Airflow does it (`airflow backfill create`). Resumable: a date that is done is
not planned again.
"""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from typing import Literal

import numpy as np
import polars as pl

from pipeline import columns as col
from pipeline.config import Config
from pipeline.errors import IadsrError, UserError, explained, is_interruption
from pipeline.progress import logger, progress
from pipeline.schemas import INTERACTIONS, RUNS
from pipeline.steps.embed import embed
from pipeline.steps.ingest import ingest
from pipeline.steps.night import clean
from pipeline.steps.status import cleaned_dates, stale_dates
from pipeline.storage import runs
from pipeline.storage.lake import Lake

Select = Literal["missing and stale", "missing", "stale", "all"]
MISSING, ASKED = "never cleaned", "asked for"
SHOWN_FAILURES = 3


@dataclass(frozen=True)
class PlannedDate:
    """A date to clean, the reason, its interactions, and the seconds it may take if known."""

    day: date
    why: str
    rows: int
    seconds: float | None


def plan_backfill(
    lake: Lake, first: date, last: date, select: Select = "missing and stale"
) -> list[PlannedDate]:
    """Which dates from `first` to `last`, both inclusive, are to be cleaned, in rising order.

    A date without interactions is planned only with `all`. Raises UserError: the range is empty
    or ends in the future.
    """
    if first > last:
        raise UserError(f"the range is empty: {first} lies after {last} (both ends are inclusive)")
    if last > datetime.now(UTC).date():
        raise UserError(f"{last} has not come yet (UTC): clean a date when its events are in")
    rows = lake.partition_rows(INTERACTIONS)
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    cleaned = cleaned_dates(lake)
    reasons = {}
    if "missing" in select:
        reasons = {day: MISSING for day in days if rows.get(day) and day not in cleaned}
    if select == "all":
        reasons = {day: ASKED if day in cleaned else MISSING for day in days}
    if "stale" in select or select == "all":
        for day, (now, then) in stale_dates(lake, cleaned.intersection(days)).items():
            changed = f"{now - then:+,} since it was cleaned" if now != then else "corrected"
            reasons[day] = f"stale: {changed}"
    pace = _pace(lake)
    return [
        PlannedDate(day, why, rows.get(day, 0), pace(rows.get(day, 0)) if pace else None)
        for day, why in sorted(reasons.items())
    ]


def bring_in(config: Config, lake: Lake, first: date, last: date) -> None:
    """Ingest and embed what the dates of a range need; what is known already is a no-op."""
    ingest(config, lake, day=last, earlier=(last - first).days)
    embed(config, lake)


def run_backfill(
    config: Config,
    lake: Lake,
    days: list[date],
    *,
    parallel: int = 1,
    model_version: str | None = None,
) -> int:
    """Clean the dates in the order given, `parallel` of them at a time, each in one process.

    Returns the number of dates done. One that fails does not stop the others.

    Raises
    ------
    IadsrError
        Some dates failed; the message names the first of them and why, the class is its own.
    """
    failed: dict[date, IadsrError] = {}
    with progress(len(days), "backfill", "dates") as bar:
        for day, error in _outcomes(config, lake, days, parallel, model_version):
            if error:
                failed[day] = error
                logger.error("%s failed: %s", day, error)
            bar.update(1)
    if failed:
        named = ", ".join(str(day) for day in sorted(failed)[:SHOWN_FAILURES])
        more = "" if len(failed) <= SHOWN_FAILURES else ", ..."
        first = failed[min(failed)]
        raise type(first)(
            f"{len(failed)} of {len(days)} dates failed ({named}{more}); the others are done. "
            f"The first: {first}"
        ) from first
    return len(days)


def _outcomes(
    config: Config, lake: Lake, days: list[date], parallel: int, model_version: str | None
) -> Iterator[tuple[date, IadsrError | None]]:
    """Each date as it is done, with the error that stopped it, if one did."""
    if parallel == 1:
        for day in days:
            yield day, _attempt(config, lake, day, model_version)
        return
    # New interpreters, not forks: torch and polars have threads. Together they fill the machine.
    share = str(max((os.cpu_count() or 1) // parallel, 1))
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(name, share)
    work = (config.model_dump_json(), lake.root, model_version)
    pool = ProcessPoolExecutor(
        parallel, mp_context=get_context("spawn"), initializer=_worker, initargs=(os.getpid(),)
    )
    try:
        waiting: dict[Future[IadsrError | None], date] = {
            pool.submit(_in_worker, *work, day): day for day in days
        }
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _worker(parent: int) -> None:
    """Ctrl-C is the parent's to handle: a date that is being cleaned is finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert os.getppid() == parent


def _in_worker(settings: str, root: str, model_version: str | None, day: date) -> IadsrError | None:
    return _attempt(Config.model_validate_json(settings), Lake(root), day, model_version)


def _attempt(config: Config, lake: Lake, day: date, model_version: str | None) -> IadsrError | None:
    try:
        clean(config, lake, day, model_version)
    except BaseException as error:
        if is_interruption(error):
            raise
        return explained(error)
    return None


class _Pace:
    """Seconds of a night by its rows: a line through the past ones, never below the quickest."""

    def __init__(self, rows: list[int], seconds: list[float]) -> None:
        self.least = min(seconds)
        self.slope, self.base = 0.0, float(np.median(seconds))
        if len(set(rows)) > 1:
            slope, base = np.polyfit(rows, seconds, 1)
            self.slope, self.base = float(slope), float(base)

    def __call__(self, rows: int) -> float:
        return max(self.base + self.slope * rows, self.least)


def _pace(lake: Lake) -> _Pace | None:
    """What past nights took, scoring all shards and publishing; None without any."""
    night = pl.col(col.STEP).is_in(["score", "publish"])
    done = pl.col(col.STATUS) == runs.SUCCEEDED
    past = (
        lake.scan(RUNS)
        .filter(night, done)
        .group_by(col.RUN_ID)
        .agg(
            pl.col(col.DURATION_S).sum(),
            pl.col(col.COUNTS).filter(pl.col(col.STEP) == "publish").last(),
        )
        .drop_nulls()
        .sort(col.RUN_ID)
        .collect()
    )
    if past.is_empty():
        return None
    rows = [int(json.loads(counts).get("interactions", 0)) for counts in past[col.COUNTS]]
    return _Pace(rows, past[col.DURATION_S].to_list())
