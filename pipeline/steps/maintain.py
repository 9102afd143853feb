"""Upkeep of the lake: compact, rebuild the catalogue, vacuum, drop old staging, report stale dates.

Changes no row of any table. May run beside nights and backfills.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pipeline.config import Config
from pipeline.errors import GoneError
from pipeline.progress import logger, progress
from pipeline.schemas import TABLES
from pipeline.steps.status import cleaned_dates, stale_dates
from pipeline.storage import catalog, runs, staging, upkeep
from pipeline.storage.lake import Lake


@dataclass(frozen=True)
class Maintained:
    """What was done, and the dates that wait for a backfill."""

    files_merged: int
    files_deleted: int
    staging_dropped: int
    stale: dict[date, tuple[int, int]]  # date -> (interactions now, interactions when cleaned)


def maintain(config: Config, lake: Lake) -> Maintained:
    """Keep the lake quick to read and free of dead files.

    The catalogue is rebuilt between compaction and vacuum, so that it names files that stay. A
    reader that holds an older catalogue keeps it for `maintain.grace_hours`.
    """
    grace = timedelta(hours=config.maintain.grace_hours)
    today = datetime.now(UTC).date()
    run = runs.Run(runs.run_id("maintain", {}, today), "maintain")
    with runs.record(lake, config, run), progress(2 * len(TABLES), "maintain", "tables") as bar:
        merged = deleted = 0
        for table in TABLES:
            merged += upkeep.compact(lake, table)
            bar.update(1)
        try:
            catalog.build(lake, config.lake.catalog)
            named = catalog.snapshot(lake).files
            for table in TABLES:
                deleted += upkeep.vacuum(lake, table, grace, named[table.name])
                bar.update(1)
        except GoneError as error:  # the erasure builds the catalogue itself
            logger.info("a person is being erased; dead files are deleted next time (%s)", error)
        dropped = staging.drop_expired(lake, grace, catalog.between_commits(lake))
        stale = stale_dates(lake, cleaned_dates(lake))
        run.counts = {
            "files_merged": merged,
            "files_deleted": deleted,
            "staging_dropped": dropped,
            "stale_dates": len(stale),
        }
    return Maintained(merged, deleted, dropped, stale)
