"""States that were published before: found by their run or by a time, and read again.

A state is named by the run that published it, which recorded the snapshot of every table. It can
be read until the files that later states do without are vacuumed.
"""

import json
from datetime import UTC, date, datetime, time
from typing import Any

import polars as pl

from pipeline import columns as col
from pipeline.errors import UserError
from pipeline.schemas import CLEAN_INTERACTIONS, RUNS, SCORED_INTERACTIONS, TABLES
from pipeline.storage import catalog, files
from pipeline.storage.catalog import date_marker
from pipeline.storage.lake import Lake
from pipeline.storage.views import Snapshot

Publication = dict[str, Any]  # a row of the view published_states


def publications(lake: Lake) -> list[Publication]:
    """Every published state, oldest first: rows of the view `published_states`."""
    with catalog.connect(lake, catalog.snapshot(lake)) as connection:
        found: pl.DataFrame = connection.sql("FROM published_states ORDER BY published_at").pl()
    return found.to_dicts()


def find(lake: Lake, name: str) -> Publication:
    """The publication of a run (its last, if there were more), or the last up to a time.

    `name` is a run id, or an ISO time in UTC; a bare date is its end.

    Raises
    ------
    UserError
        There is none.
    """
    known = publications(lake)
    moment = _moment(name)
    if moment is None:
        fitting = [row for row in known if row[col.RUN_ID] == name]
    else:
        fitting = [row for row in known if row["published_at"] <= moment]
    if not fitting:
        what = f"was published by {name!r}" if moment is None else f"had been published at {name}"
        raise UserError(
            f"no state {what} in {lake.root}: `iadsr snapshot list` lists the runs that published "
            "one (a time is written 2024-01-17 or 2024-01-17T02:00, UTC)"
        )
    return fitting[-1]


def state_of(lake: Lake, publication: Publication) -> Snapshot:
    """What readers saw when that run had published.

    Raises
    ------
    UserError
        Files of that state have been vacuumed, or a version without this record published it.
    """
    versions = versions_of(publication)
    _refuse_vacuumed(publication, _lost(lake, versions))
    versions[RUNS.name] = _with_its_row(lake, publication, versions[RUNS.name])
    return catalog.state_at(lake, versions, _between(lake, versions))


def is_readable(lake: Lake, publication: Publication) -> bool:
    """False where the state's files have been vacuumed."""
    try:
        return not _lost(lake, versions_of(publication))
    except UserError:
        return False


def versions_of(publication: Publication) -> dict[str, int]:
    """Table -> snapshot, as the run recorded it. Raises UserError if it did not."""
    versions: dict[str, int] = json.loads(publication[col.OUTPUTS])
    if missing := [table.name for table in TABLES if table.name not in versions]:
        raise UserError(
            f"{publication[col.RUN_ID]} did not record its snapshot of {', '.join(missing)} (an "
            "older version did not): its state cannot be read again"
        )
    return versions


def build_as_of(lake: Lake, name: str, folder: str = "") -> str:
    """Write the catalogue of an earlier state (see `find`) beside the newest; returns its path."""
    publication = find(lake, name)
    state = state_of(lake, publication)
    return catalog.write(lake, state, folder, f"catalog-{publication[col.RUN_ID]}")


def _moment(name: str) -> datetime | None:
    """The time in UTC, without its zone; None if `name` is none."""
    try:
        return datetime.combine(date.fromisoformat(name), time.max)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(name)
    except ValueError:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _lost(lake: Lake, versions: dict[str, int]) -> list[str]:
    """Files (or, where its log is gone, tables) of these snapshots that are no more there."""
    lost = []
    for table in TABLES:
        # What the newest snapshot holds is there.
        now = {path for paths in lake.partition_files(table).values() for path in paths}
        try:
            then = lake.partition_files(table, versions[table.name])
        except UserError:
            lost.append(f"version {versions[table.name]} of {table.name}")
            continue
        lost += files.missing([p for paths in then.values() for p in paths if p not in now])
    return lost


def _refuse_vacuumed(publication: Publication, lost: list[str]) -> None:
    if lost:
        raise UserError(
            f"the state that {publication[col.RUN_ID]} published at "
            f"{publication['published_at']:%Y-%m-%d %H:%M:%S} has been vacuumed: {len(lost)} of "
            f"its files are gone, the first {lost[0]} (`iadsr snapshot list` says which states can "
            "still be read)"
        )


def _with_its_row(lake: Lake, publication: Publication, version: int) -> int:
    """The first snapshot of `runs`, from `version` on, that tells of the publication."""
    ended = publication["published_at"].replace(tzinfo=UTC)
    its_row = (pl.col(col.RUN_ID) == publication[col.RUN_ID]) & (pl.col(col.ENDED_AT) == ended)
    newest = lake.version(RUNS)
    for later in range(version, newest):
        if lake.scan(RUNS, later).filter(its_row).select(pl.len()).collect().item():
            return later
    return newest


def _between(lake: Lake, versions: dict[str, int]) -> list[date]:
    """Dates that stood between their two commits in these snapshots."""
    tables = [lake.open(t, versions[t.name]) for t in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS)]
    days = {
        day
        for table in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS)
        for day in lake.partition_rows(table, versions[table.name])
    }
    return [
        day
        for day in sorted(days)
        if len({table.transaction_version(date_marker(day)) for table in tables}) > 1
    ]
