"""Upkeep of the lake's tables: fewer, larger files; dead files removed after a grace time."""

from collections.abc import Collection
from datetime import timedelta

from deltalake.exceptions import CommitFailedError

from pipeline.progress import logger
from pipeline.schemas import Table
from pipeline.storage import files
from pipeline.storage.lake import Lake, noticing_an_erasure


def compact(lake: Lake, table: Table) -> int:
    """Rewrite small files of each partition as one; returns how many files fewer there are.

    The rows stay as they are. Where another run commits to the same partition meanwhile, it wins:
    the table is left for the next time.
    """
    snapshot = lake.open(table)
    try:
        with files.in_one_line(lake.path(table.name)), noticing_an_erasure():
            done = snapshot.optimize.compact()
            # Readers replay the log from its last checkpoint: the less of it, the faster.
            snapshot.create_checkpoint()
    except CommitFailedError as error:
        _next_time(table, "compacted", error)
        return 0
    return int(done["numFilesRemoved"]) - int(done["numFilesAdded"])


def vacuum(lake: Lake, table: Table, grace: timedelta, named: Collection[str]) -> int:
    """Delete files that no snapshot younger than `grace` holds, and orphans as old.

    Nothing is deleted of a table of which a file in `named` (those of the present catalogue)
    would go: its newest publication is not whole yet. Returns the number of files deleted.
    """
    snapshot = lake.open(table)
    hours = int(grace.total_seconds() // 3600)
    try:
        with files.in_one_line(lake.path(table.name)), noticing_an_erasure():
            dead = snapshot.vacuum(hours, dry_run=True, enforce_retention_duration=False, full=True)
            kept = {lake.path(table.name, path) for path in dead}.intersection(named)
            if kept:
                logger.warning("%s: the catalogue still reads %d dead files", table.name, len(kept))
                return 0
            if dead:
                snapshot.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
    except CommitFailedError as error:
        _next_time(table, "vacuumed", error)
        return 0
    return len(dead)


def _next_time(table: Table, what: str, error: CommitFailedError) -> None:
    reason = str(error).splitlines()[0]
    logger.info("%s is being written to; %s next time (%s)", table.name, what, reason)
