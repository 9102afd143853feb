"""The status and the catalogue agree on which cleaned dates have changed since."""

from datetime import date, timedelta

import duckdb
import polars as pl

from pipeline import columns as col
from pipeline.schemas import INTERACTIONS
from pipeline.steps.ingest import ingest
from pipeline.steps.night import run_night
from pipeline.steps.rollback import rollback
from pipeline.steps.status import status
from pipeline.storage import catalog
from tests.conftest import NIGHT, Workspace, write_csv

DAYS = [NIGHT + timedelta(days=n) for n in range(3)]


def deliver(workspace: Workspace, name: str, *rows: tuple[str, str, int, float]) -> None:
    """One more file, with values, in the source of the same name."""
    header = ["user_id", "item_id", "timestamp", "rating"]
    write_csv(workspace.data / f"clicks-{name}.csv", header, list(rows))
    ingest(workspace.config, workspace.lake)


def an_event(workspace: Workspace, day: date) -> tuple[str, str, int]:
    rows = workspace.lake.scan(INTERACTIONS).filter(pl.col(col.EVENT_DATE) == day).collect()
    row = rows.sort(col.INTERACTION_ID).row(0, named=True)
    return row[col.USER_ID], row[col.ITEM_ID], int(row[col.EVENT_TIME].timestamp())


def stale(workspace: Workspace) -> list[date]:
    """The dates that both name."""
    with duckdb.connect(catalog.build(workspace.lake), read_only=True) as opened:
        query = "SELECT event_date FROM stale_dates ORDER BY event_date"
        shown = [row[0] for row in opened.execute(query).fetchall()]
    assert shown == sorted(status(workspace.lake).stale)
    return shown


def test_late_and_corrected_dates_are_stale_until_they_are_cleaned_again(workspace):
    first = {day: run_night(workspace.config, workspace.lake, day).run_id for day in DAYS}
    assert stale(workspace) == []
    user, _, moment = an_event(workspace, DAYS[0])
    deliver(workspace, "late", (user, "i-late", moment + 60, 1.0))
    assert stale(workspace) == [DAYS[0]]
    corrected = an_event(workspace, DAYS[1])
    deliver(workspace, "corrected", (*corrected, 2.0))
    assert stale(workspace) == DAYS[:2]

    for day in DAYS[:2]:
        run_night(workspace.config, workspace.lake, day)
    assert stale(workspace) == []
    deliver(workspace, "again", (*corrected, 5.0))
    assert stale(workspace) == [DAYS[1]]
    run_night(workspace.config, workspace.lake, DAYS[1])
    assert stale(workspace) == []

    rollback(workspace.config, workspace.lake, DAYS[1], first[DAYS[1]])
    assert stale(workspace) == [DAYS[1]]
