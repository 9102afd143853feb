"""A backfill takes the dates that need it, says why, goes on where it was cut off, all in order."""

from datetime import UTC, date, datetime, timedelta

import pytest
from click.testing import CliRunner

from pipeline import cli
from pipeline.errors import InternalError, UserError
from pipeline.schemas import CLEAN_INTERACTIONS, SCORED_INTERACTIONS
from pipeline.steps import backfill
from pipeline.steps.backfill import plan_backfill, run_backfill
from pipeline.steps.ingest import ingest
from pipeline.steps.night import run_night
from tests.conftest import NIGHTS, Workspace, write_clicks

FIRST, LAST = NIGHTS[0], NIGHTS[-1]


class PanicException(BaseException):
    """What a panic of a library in Rust is raised as."""


def planned(workspace: Workspace, select="missing and stale") -> dict[date, str]:
    return {p.day: p.why for p in plan_backfill(workspace.lake, FIRST, LAST, select)}


def test_dates_are_planned_with_the_reason_and_done_ones_are_not(workspace):
    assert planned(workspace) == dict.fromkeys(NIGHTS, "never cleaned")
    run_night(workspace.config, workspace.lake, NIGHTS[1])
    run_night(workspace.config, workspace.lake, NIGHTS[2])
    noon = int(datetime.combine(NIGHTS[2], datetime.min.time(), UTC).timestamp())
    write_clicks(workspace.data / "clicks-late.csv", [("user3", "g0-0", noon)])
    ingest(workspace.config, workspace.lake)

    stale = {NIGHTS[2]: "stale: +1 since it was cleaned"}
    missing = dict.fromkeys([NIGHTS[0], NIGHTS[3]], "never cleaned")
    assert planned(workspace) == missing | stale
    assert planned(workspace, "stale") == stale
    assert planned(workspace, "missing") == missing
    assert planned(workspace, "all") == {NIGHTS[1]: "asked for"} | missing | stale


def test_an_estimate_rests_on_past_nights(workspace):
    assert plan_backfill(workspace.lake, FIRST, LAST)[0].seconds is None
    run_night(workspace.config, workspace.lake, NIGHTS[0])
    assert all(p.seconds > 0 for p in plan_backfill(workspace.lake, FIRST, LAST))


def test_both_ends_are_inclusive_and_an_impossible_range_is_refused(workspace):
    assert [p.day for p in plan_backfill(workspace.lake, FIRST, FIRST)] == [FIRST]
    with pytest.raises(UserError, match="the range is empty"):
        plan_backfill(workspace.lake, LAST, FIRST)
    with pytest.raises(UserError, match="has not come yet"):
        plan_backfill(workspace.lake, FIRST, datetime.now(UTC).date() + timedelta(days=1))


def test_backwards_and_in_parallel_gives_what_the_nights_give(workspace, trained, copy_of):
    nightly = copy_of(trained, "nightly")
    for day in NIGHTS:
        run_night(nightly.config, nightly.lake, day)
    done = run_backfill(workspace.config, workspace.lake, NIGHTS[::-1], parallel=2)
    assert done == len(NIGHTS)
    for table in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS):
        ours, theirs = workspace.contents(table), nightly.contents(table)
        assert ours.drop("source_file", strict=False).equals(
            theirs.drop("source_file", strict=False)
        )


def test_a_date_that_fails_does_not_stop_the_others_and_is_planned_again(workspace):
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    with pytest.raises(UserError, match=r"1 of 2 dates failed .*has not come yet"):
        run_backfill(workspace.config, workspace.lake, [tomorrow, NIGHTS[0]])
    assert NIGHTS[0] not in planned(workspace)


@pytest.mark.parametrize("kind", [ZeroDivisionError, PanicException])
def test_a_date_that_fails_unexpectedly_stops_no_other_either(workspace, monkeypatch, kind):
    def clean(config, lake, day, model_version):
        if day == NIGHTS[0]:
            raise kind("a mistake\nof ours")
        return as_ever(config, lake, day, model_version)

    as_ever = backfill.clean
    monkeypatch.setattr(backfill, "clean", clean)
    says = rf"^1 of 2 dates failed \({NIGHTS[0]}\); .*: {kind.__name__}: a mistake$"
    with pytest.raises(InternalError, match=says) as error:
        run_backfill(workspace.config, workspace.lake, NIGHTS[:2])
    assert error.value.exit_code == 70
    assert list(planned(workspace)) == [NIGHTS[0], *NIGHTS[2:]]


def test_ctrl_c_ends_it_at_once(workspace, monkeypatch):
    def clean(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(backfill, "clean", clean)
    with pytest.raises(KeyboardInterrupt):
        run_backfill(workspace.config, workspace.lake, NIGHTS[:2])


def test_the_command_says_what_it_would_do_and_then_does_it(workspace):
    options = ["--config", str(workspace.config_path), "backfill"]
    span = ["--from", str(FIRST), "--to", str(NIGHTS[1])]
    told = CliRunner().invoke(cli.cli, [*options, *span])
    assert "2 dates" in told.output
    assert f"--from-date {FIRST} --to-date {NIGHTS[2]} " in told.output
    assert workspace.contents(SCORED_INTERACTIONS).is_empty()
    assert CliRunner().invoke(cli.cli, [*options, *span, "--run"]).exit_code == 0
    again = CliRunner().invoke(cli.cli, [*options, *span, "--run"])
    assert again.output == "nothing to clean in this range\n"
