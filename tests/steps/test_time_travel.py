"""Every published state can be read again, compared with another, and put back."""

from datetime import datetime, timedelta

import duckdb
import polars as pl
import pytest

from pipeline import cli as command_line
from pipeline import columns as col
from pipeline.errors import GateError, UserError
from pipeline.schemas import (
    CLEAN_INTERACTIONS,
    INTERACTIONS,
    RUNS,
    SCORED_INTERACTIONS,
    TABLES,
)
from pipeline.steps.diff import diff
from pipeline.steps.ingest import ingest
from pipeline.steps.night import run_night
from pipeline.steps.rollback import rollback
from pipeline.steps.status import status
from pipeline.storage import catalog, snapshots
from pipeline.storage.lake import Lake
from tests.conftest import NIGHT, NIGHTS, Workspace, copy_workspace, write_clicks

LATE = ("user3", "g0-0", int(datetime(2024, 1, 17).timestamp()))


def shown(path: str) -> dict[str, pl.DataFrame]:
    """What a catalogue shows of each table."""
    with duckdb.connect(path, read_only=True) as reader:
        return {t.name: reader.sql(f"FROM {t.name} ORDER BY ALL").pl() for t in TABLES}


@pytest.fixture(scope="module")
def twice(cleaned, tmp_path_factory) -> tuple[Workspace, list[str], dict[str, pl.DataFrame]]:
    """Two nights, the first cleaned again after a late event; run ids, and what was shown before.

    Copied, never changed.
    """
    workspace = copy_workspace(cleaned, tmp_path_factory.mktemp("twice"))
    before = shown(catalog.build(workspace.lake))
    write_clicks(workspace.data / "clicks-late.csv", [LATE])
    ingest(workspace.config, workspace.lake)
    run_night(workspace.config, workspace.lake, NIGHT)
    names = [state[col.RUN_ID] for state in snapshots.publications(workspace.lake)]
    return workspace, names, before


def of_night(workspace: Workspace, table) -> pl.DataFrame:
    return workspace.contents(table).filter(pl.col(col.EVENT_DATE) == NIGHT)


def test_a_state_can_be_read_again_as_it_was(twice, tmp_path):
    workspace, (_, second, third), before = twice
    again = shown(snapshots.build_as_of(workspace.lake, second, str(tmp_path)))
    # What ran after the publication, its report, is no part of the state.
    published = again["runs"]["ended_at"].max()
    before = before | {"runs": before["runs"].filter(pl.col("ended_at") <= published)}
    for name, rows in before.items():
        assert again[name].equals(rows), name
    assert again["runs"]["run_id"].to_list().count(second) == 2  # scored and published
    newest = shown(snapshots.build_as_of(workspace.lake, third, str(tmp_path)))
    assert newest["interactions"].height == before["interactions"].height + 1
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".duckdb", ".sql"] * 2


def test_a_time_names_the_last_state_up_to_it(twice):
    workspace, names, _ = twice
    states = snapshots.publications(workspace.lake)
    between = states[1]["published_at"] + timedelta(microseconds=1)
    assert snapshots.find(workspace.lake, between.isoformat())[col.RUN_ID] == names[1]
    assert snapshots.find(workspace.lake, f"{between.isoformat()}+00:00")[col.RUN_ID] == names[1]
    today = states[2]["published_at"].date()
    assert snapshots.find(workspace.lake, str(today))[col.RUN_ID] == names[2]
    with pytest.raises(UserError, match="no state had been published at 2001-01-01"):
        snapshots.find(workspace.lake, "2001-01-01")
    with pytest.raises(UserError, match=r"no state was published by 'night-x'.*snapshot list"):
        snapshots.find(workspace.lake, "night-x")


def test_a_difference_names_what_came_late(twice):
    workspace, (first, second, third), _ = twice
    found = diff(workspace.lake, first, third)
    assert found.day == NIGHT
    assert set(found.changes["why"]) == {"late data"}
    added = found.changes.filter(pl.col("decision_before").is_null())
    assert added.select("user_id", "item_id").rows() == [LATE[:2]]
    assert found.causes()["count"].sum() == found.changes.height
    assert diff(workspace.lake, third, third).changes.is_empty()
    other = diff(workspace.lake, second, third)  # of two dates: of all that both have
    assert other.day is None
    assert other.changes.equals(found.changes)


@pytest.fixture
def changed(twice, copy_of) -> tuple[Workspace, str, str]:
    """A private copy, with the first and the last run of the night."""
    workspace, names, _ = twice
    return copy_of(workspace), names[0], names[2]


def test_a_date_is_put_back_and_the_others_stay(changed, cleaned):
    workspace, first, last = changed
    assert rollback(workspace.config, workspace.lake, NIGHT, first).status == "succeeded"
    for table in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS):
        assert workspace.contents(table).equals(cleaned.contents(table)), table.name
    seen = shown(str(workspace.folder / "lake" / catalog.DUCKDB_FILE))
    assert first in set(seen["scored_interactions"][col.RUN_ID])
    assert "rollback" in set(seen["runs"][col.STEP])
    recorded = workspace.contents(RUNS).filter(pl.col(col.STEP) == "rollback")
    assert recorded[col.INPUTS].to_list() == [f'{{"run_id": "{first}"}}']
    assert list(status(workspace.lake).stale) == [NIGHT]  # the late event is without a decision

    versions = workspace.versions()
    assert rollback(workspace.config, workspace.lake, NIGHT, first).status == "unchanged"
    assert workspace.versions() == versions

    rollback(workspace.config, workspace.lake, NIGHT, last)
    assert status(workspace.lake).stale == {}
    states = [state[col.RUN_ID] for state in snapshots.publications(workspace.lake)]
    assert states[-2:] == [first, last]


def test_a_rollback_that_is_cut_short_is_not_shown_and_is_completed(changed, monkeypatch):
    workspace, first, last = changed
    commit = Lake.replace_date

    def once(*args, **kwargs):
        commit(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "replace_date", once)
        with pytest.raises(KeyboardInterrupt):
            rollback(workspace.config, workspace.lake, NIGHT, first)

    def runs_shown() -> set[str]:
        rows = shown(catalog.build(workspace.lake))["scored_interactions"]
        return set(rows.filter(pl.col(col.EVENT_DATE) == NIGHT)[col.RUN_ID])

    assert runs_shown() == {last}
    gate = workspace.config.gate.model_copy(update={"max_removed_share": 0.001, "min_rows": 1})
    with pytest.raises(GateError):
        rollback(workspace.config.model_copy(update={"gate": gate}), workspace.lake, NIGHT, first)
    assert runs_shown() == {last}  # its staging still tells that it is between its commits
    assert rollback(workspace.config, workspace.lake, NIGHT, first).status == "succeeded"
    assert runs_shown() == {first}


def test_a_rollback_is_audited_and_can_be_overridden(changed, monkeypatch, capsys):
    workspace, first, _ = changed
    clean = of_night(workspace, CLEAN_INTERACTIONS)
    monkeypatch.setenv("IADSR_GATE__MAX_REMOVED_SHARE", "0.001")
    monkeypatch.setenv("IADSR_GATE__MIN_ROWS", "1")
    arguments = ["rollback", "--date", str(NIGHT), "--to", first]
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--config", str(workspace.config_path), *arguments])
    assert ended.value.code == 3
    assert of_night(workspace, CLEAN_INTERACTIONS).equals(clean)
    again = " ".join(["iadsr", *arguments, '--override "REASON"'])
    assert again in capsys.readouterr().err
    assert status(workspace.lake).pending == []  # nothing waits to be published
    with pytest.raises(SystemExit) as ended:
        command_line.main(
            ["--config", str(workspace.config_path), *arguments, "--override", "it was right"]
        )
    assert ended.value.code == 0
    assert set(of_night(workspace, SCORED_INTERACTIONS)[col.RUN_ID]) == {first}


def test_a_run_of_another_date_cannot_be_put_in_place(changed):
    workspace, first, _ = changed
    with pytest.raises(UserError, match=rf"{first} did not publish {NIGHTS[1]}"):
        rollback(workspace.config, workspace.lake, NIGHTS[1], first)


def test_a_state_that_was_vacuumed_is_told_in_one_line(changed):
    workspace, first, last = changed
    lake = workspace.lake
    lake.open(SCORED_INTERACTIONS).vacuum(0, dry_run=False, enforce_retention_duration=False)
    readable = [snapshots.is_readable(lake, state) for state in snapshots.publications(lake)]
    assert readable == [False, False, True]
    says = rf"the state that {first} published at .* has been vacuumed: 1 of its files are gone"
    for attempt in (
        lambda: snapshots.build_as_of(lake, first),
        lambda: diff(lake, first, last),
        lambda: rollback(workspace.config, lake, NIGHT, first),
    ):
        with pytest.raises(UserError, match=says):
            attempt()
    assert set(of_night(workspace, SCORED_INTERACTIONS)[col.RUN_ID]) == {last}


def test_states_from_the_shell(twice, capsys, tmp_path, monkeypatch):
    workspace, (first, second, third), before = twice
    monkeypatch.setenv("IADSR_LAKE__CATALOG", str(tmp_path))

    def say(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            command_line.main(["--config", str(workspace.config_path), *arguments])
        assert ended.value.code == 0
        return capsys.readouterr().out

    listed = say("snapshot", "list").splitlines()
    assert [line.split()[-2] for line in listed[1:]] == [first, second, third]
    assert len(say("snapshot", "list", "--date", str(NIGHT)).splitlines()) == 3
    path = say("catalog", "--as-of", second).strip()
    assert shown(path)["interactions"].height == before["interactions"].height
    told = say("diff", first, third)
    assert "late data" in told
    assert "(none) -> " in told
    assert INTERACTIONS.name in shown(path)
