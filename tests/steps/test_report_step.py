"""The report as a step: where it lies, that it can be repeated, and that it harms no night."""

import polars as pl
import pytest

from pipeline.errors import UserError
from pipeline.schemas import CLEAN_INTERACTIONS, RUNS
from pipeline.steps.night import run_night
from pipeline.steps.report import path_of, report
from pipeline.storage import files
from tests.conftest import NIGHT, NIGHTS


def reported(workspace) -> pl.DataFrame:
    return workspace.contents(RUNS).filter(pl.col("step") == "report").sort("started_at")


def test_a_night_writes_its_page_and_the_same_state_the_same_bytes(workspace):
    run_night(workspace.config, workspace.lake, NIGHT)
    path = path_of(workspace.lake, NIGHT, NIGHT)
    assert path.endswith("/lake/reports/2024-01-17.html")
    page = files.read_bytes(path)
    run_night(workspace.config, workspace.lake, NIGHT)
    again = report(workspace.config, workspace.lake, out=str(workspace.folder / "again.html"))
    assert files.read_bytes(path) == page == files.read_bytes(again)
    assert reported(workspace)["status"].to_list() == ["succeeded", "unchanged", "succeeded"]


def test_a_report_that_fails_takes_nothing_back_and_is_seen(workspace, caplog):
    (workspace.folder / "lake" / "reports").write_text("in the way")
    assert run_night(workspace.config, workspace.lake, NIGHT).status == "succeeded"
    assert not workspace.contents(CLEAN_INTERACTIONS).is_empty()
    assert reported(workspace)["status"].to_list() == ["failed"]
    assert "`iadsr report --date 2024-01-17` tries again" in caplog.text


def test_dates_that_are_not_published_have_no_report(workspace):
    with pytest.raises(UserError, match="no date is published yet"):
        report(workspace.config, workspace.lake)
    run_night(workspace.config, workspace.lake, NIGHT)
    with pytest.raises(UserError, match=r"nothing is published from 2024-01-18 to 2024-01-19; "):
        report(workspace.config, workspace.lake, NIGHTS[1], NIGHTS[2])


def test_a_date_without_events_has_a_report_too(workspace):
    empty = NIGHT.replace(year=2025)
    run_night(workspace.config, workspace.lake, empty)
    assert b"published empty" in files.read_bytes(path_of(workspace.lake, empty, empty))
