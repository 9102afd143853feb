"""Take a person out of the lake for good, prove it on the bytes, and record only that it was done.

The order makes it safe to be killed at any point, and to run beside nights: first the tombstone,
from which on nothing of the user is stored; then a fence, on which commits fail that were prepared
before; then the rows; then a catalogue without them; last what only earlier states need.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.config import Config
from pipeline.errors import ConflictError, ContractError, IadsrError, StoreError, UserError
from pipeline.progress import progress
from pipeline.schemas import (
    CLEAN_INTERACTIONS,
    INTERACTIONS,
    QUARANTINE,
    RUNS,
    SCORED_INTERACTIONS,
    Table,
)
from pipeline.steps import copies
from pipeline.storage import catalog, erasure, files, runs
from pipeline.storage.lake import Lake
from pipeline.storage.privacy import Tombstone, user_ids
from pipeline.storage.search import UNREADABLE, Found, Needle
from pipeline.storage.staging import ABANDONED_AFTER

TABLES = (INTERACTIONS, QUARANTINE, SCORED_INTERACTIONS, CLEAN_INTERACTIONS)
PATIENCE_S = 30.0  # for a night that is between its two commits


@dataclass(frozen=True)
class Erasure:
    """What there is, or was, of a user: rows by table, files that go, and what a search found."""

    rows: dict[str, int]
    removed: list[str]
    found: Found
    finished_at: str | None = None  # of an erasure that was done before


def survey(config: Config, lake: Lake, user: str) -> Erasure:
    """Where a user stands, and which files `erase` would remove. Changes nothing.

    Raises
    ------
    UserError
        The id is empty, or there is nothing of that user, and no erasure of that user was begun.
    """
    needle = _needle(config, lake, user)
    told = Tombstone(lake, needle.user).read()
    rows = _rows(lake, needle)
    found = _search(config, lake, needle)
    if not (told or any(rows.values()) or found.held):
        raise UserError(
            f"nothing of user {user!r} in {lake.root}: ids are compared exactly as given in the "
            "source"
        )
    since = _recorded(told) if told else datetime.now(UTC)
    would = copies.find(config, lake, needle, since)
    removed = [*would.holding, *would.outdated, *would.exports]
    return Erasure(rows, removed, found, told.get("finished_at"))


def erase(config: Config, lake: Lake, user: str) -> Erasure:
    """Remove a user from every table, state, cache and export, and search for what is left.

    `user` is the id as in the source. Run again it completes what was cut off, or says that there
    is nothing.

    Raises
    ------
    UserError
        The id is empty, there is nothing of that user, or a date is half published.
    ContractError
        The search found the user after all.
    ConflictError
        Other runs kept committing first. The erasure is pending: run it again.
    """
    needle = _needle(config, lake, user)
    _refuse_half_published(lake)
    tombstone = Tombstone(lake, needle.user)
    if not tombstone.read() and not any(_rows(lake, needle).values()):
        survey(config, lake, user)
    before = tombstone.write().get("finished_at")
    run = runs.Run(runs.run_id("erase", tombstone.name), "erase")
    with runs.record(lake, config, run):
        try:
            done = _erase(config, lake, needle, tombstone)
        except IadsrError as error:
            if not needle.within(str(error)):
                raise
            raise StoreError("an erasure failed, with a message that names the user") from None
        run.status = runs.SUCCEEDED if before is None or done.removed else runs.UNCHANGED
        run.counts = {
            "erased": done.rows[INTERACTIONS.name],
            **{f"erased_{table.name}": done.rows[table.name] for table in TABLES[1:]},
            "files_removed": len(done.removed),
            "files_searched": done.found.files,
            "bytes_searched": done.found.size,
        }
    tombstone.finish()
    return done


def _needle(config: Config, lake: Lake, user: str) -> Needle:
    """The id as it is stored. An empty one would be found in every line of an unknown user."""
    if not user.strip():
        raise UserError(
            "the user id is empty: give it as in the source (`iadsr erase --user U`; is a shell "
            "variable not set?)"
        )
    return Needle(user_ids(config, lake).one(user))


def _erase(config: Config, lake: Lake, needle: Needle, tombstone: Tombstone) -> Erasure:
    told = tombstone.read()
    for table in TABLES:
        erasure.fence(lake, table)
    # Counted once: an erasure that is cut off and run again has removed as many all the same.
    if "rows" not in told or "finished_at" in told:
        told = tombstone.write(rows=_rows(lake, needle))
    rows = told["rows"]
    for table in TABLES:
        erasure.delete_rows(lake, table, needle.user)
    erasure.delete_lines(lake, erasure.lines_of(lake, needle))
    erasure.blank_errors(lake, erasure.errors_of(lake, needle))
    removed = _remove_copies(config, lake, needle, _recorded(told))
    if files.exists(files.join(config.lake.catalog or lake.root, "catalog.sql")):
        catalog.build(lake, config.lake.catalog)
    for table in (*TABLES, RUNS):
        removed += _clear(lake, table, needle, pending="finished_at" not in told and table != RUNS)
    found = _search(config, lake, needle)
    if found.held:
        first = found.held[0]
        raise ContractError(
            f"{len(found.held)} files still hold the user, the first {first.path} ({first.place}): "
            "written by something that ran beside (erase again), or none of ours (delete it)"
        )
    return Erasure(rows, removed, found, told.get("finished_at"))


def _rows(lake: Lake, needle: Needle) -> dict[str, int]:
    rows = {table.name: erasure.rows_of(lake, table, needle.user) for table in TABLES}
    rows[QUARANTINE.name] += int(erasure.lines_of(lake, needle)["rows"].sum())
    return rows


def _recorded(told: dict[str, str]) -> datetime:
    return datetime.fromisoformat(told["recorded_at"])


def _clear(lake: Lake, table: Table, needle: Needle, *, pending: bool) -> list[str]:
    """Remove dead files that hold the user, and the log of a table that did; returns the files."""
    there = files.walk(lake.path(table.name))
    with progress(len(there), f"clear {table.name}", "files") as bar:
        found = needle.search([(path, size) for path, size, _ in there], bar)
    held = {hit.path for hit in found.held}
    # Cut off while it was written, and nobody can tell what it holds: unless somebody writes it.
    old = {path for path, _, changed in there if changed < datetime.now(UTC) - ABANDONED_AFTER}
    broken = {hit.path for hit in found.elsewhere if hit.place == UNREADABLE} & old
    dead = sorted((held | broken) & erasure.dead_files(lake, table))
    if held or pending:
        erasure.forget(lake, table, lambda: _wait_for_publications(lake))
    files.delete(dead)
    return dead


def _remove_copies(config: Config, lake: Lake, needle: Needle, since: datetime) -> list[str]:
    """Remove what was made from the tables and holds the user, or may; returns the paths."""
    found = copies.find(config, lake, needle, since)
    files.delete([*found.holding, *found.outdated])
    for folder in found.exports:
        files.delete_folder(folder)
    return [*found.holding, *found.outdated, *found.exports, *copies.drop_prefixes(lake)]


def _refuse_half_published(lake: Lake) -> None:
    if days := catalog.between_commits(lake):
        raise UserError(
            f"{min(days)} is half published: run `iadsr run --date {min(days)}`, then erase again"
        )


def _wait_for_publications(lake: Lake) -> None:
    """Until no date is between its two commits: its readers need an earlier state."""
    end = time.monotonic() + PATIENCE_S
    while days := catalog.between_commits(lake):
        if time.monotonic() > end:
            raise ConflictError(
                f"{min(days)} is half published: run `iadsr run --date {min(days)}`, then erase "
                "again: the erasure is pending"
            )
        time.sleep(0.5)


def _search(config: Config, lake: Lake, needle: Needle) -> Found:
    there = copies.everything(config, lake)
    with progress(len(there), "search", "files") as bar:
        return needle.search(there, bar)
