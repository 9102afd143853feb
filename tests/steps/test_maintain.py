"""Upkeep changes no row; old catalogues stay readable for the grace time; what is dead goes."""

import os
import shutil
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from pipeline.schemas import RUNS, SCORED_INTERACTIONS, TABLES
from pipeline.steps.ingest import ingest
from pipeline.steps.maintain import maintain
from pipeline.steps.night import run_night
from pipeline.steps.plan import plan
from pipeline.steps.score import score
from pipeline.storage import catalog, erasure, staging, upkeep
from pipeline.storage.lake import Lake
from tests.conftest import NIGHT, NIGHTS, Workspace, write_clicks

ROWS = "SELECT count(*), sum(interaction_id::HUGEINT) FROM scored_interactions"


def answer(catalogue: Path) -> tuple:
    with duckdb.connect(catalogue, read_only=True) as reader:
        return reader.execute(ROWS).fetchall()[0]


def clean_twice(workspace: Workspace) -> None:
    """Two dates; the first of them again after a late event: dead files lie about."""
    run_night(workspace.config, workspace.lake, NIGHTS[0])
    run_night(workspace.config, workspace.lake, NIGHTS[1])
    write_clicks(workspace.data / "clicks-late.csv", [("user3", "g0-0", 1705449600)])
    run_night(workspace.config, workspace.lake, NIGHTS[0])


def without_grace(workspace: Workspace):
    """The settings as if the grace time had passed."""
    impatient = workspace.config.maintain.model_copy(update={"grace_hours": 0})
    return workspace.config.model_copy(update={"maintain": impatient})


def parquet_files(workspace: Workspace, table: str) -> list[Path]:
    return list((workspace.folder / "lake" / table).rglob("*.parquet"))


def test_every_row_stays_and_small_files_become_few(workspace):
    clean_twice(workspace)
    before, runs = workspace.tables(), workspace.contents(RUNS)
    maintain(without_grace(workspace), workspace.lake)
    after = workspace.tables()
    assert all(after[name].equals(frame) for name, frame in before.items())
    assert len(workspace.lake.partition_files(RUNS)[None]) == 2  # all before, and its own row
    assert workspace.contents(RUNS).height == runs.height + 1


def test_a_date_that_was_compacted_is_neither_stale_nor_published_again(workspace):
    clean_twice(workspace)
    assert maintain(workspace.config, workspace.lake).stale == {}
    assert run_night(workspace.config, workspace.lake, NIGHTS[0]).status == "unchanged"


def test_who_holds_an_old_catalogue_reads_on_within_the_grace_time(workspace):
    run_night(workspace.config, workspace.lake, NIGHTS[0])
    catalogue = workspace.folder / "lake" / "catalog.duckdb"
    old = shutil.copy(catalogue, workspace.folder / "old.duckdb")
    expected = answer(old)
    clean_twice(workspace)
    maintain(workspace.config, workspace.lake)
    assert answer(old) == expected
    now = answer(catalogue)

    maintain(without_grace(workspace), workspace.lake)
    assert answer(catalogue) == now
    with pytest.raises(duckdb.IOException):
        answer(old)


def test_an_orphan_of_a_killed_commit_goes_and_a_young_one_stays(workspace):
    run_night(workspace.config, workspace.lake, NIGHT)
    live = parquet_files(workspace, "scored_interactions")[0]
    young, old = (Path(shutil.copy(live, live.with_name(f"{n}.parquet"))) for n in ("young", "old"))
    long_ago = live.stat().st_mtime - timedelta(days=30).total_seconds()
    os.utime(old, (long_ago, long_ago))
    assert maintain(workspace.config, workspace.lake).files_deleted == 1
    assert young.exists()
    assert not old.exists()


def test_old_staging_goes_but_not_of_a_date_between_its_two_commits(workspace, monkeypatch):
    score(workspace.config, workspace.lake, plan(workspace.config, workspace.lake, NIGHTS[1]))
    replace = Lake.replace_date

    def only_scored(self, table, *rest, **options):
        if table is not SCORED_INTERACTIONS:
            raise KeyboardInterrupt
        replace(self, table, *rest, **options)

    monkeypatch.setattr(Lake, "replace_date", only_scored)
    with pytest.raises(KeyboardInterrupt):
        run_night(workspace.config, workspace.lake, NIGHTS[0])
    monkeypatch.undo()
    assert staging.days(workspace.lake) == NIGHTS[:2]
    assert maintain(workspace.config, workspace.lake).staging_dropped == 0
    assert maintain(without_grace(workspace), workspace.lake).staging_dropped == 1
    assert staging.days(workspace.lake) == NIGHTS[:1]
    run_night(workspace.config, workspace.lake, NIGHTS[0])


def test_stale_dates_are_reported(workspace):
    run_night(workspace.config, workspace.lake, NIGHTS[0])
    write_clicks(workspace.data / "clicks-late.csv", [("user3", "g0-0", 1705449600)])
    ingest(workspace.config, workspace.lake)
    assert list(maintain(workspace.config, workspace.lake).stale) == [NIGHTS[0]]


class BesideAnErasure(Lake):
    """A lake of which each log begins anew once a snapshot is opened."""

    def open(self, table, version=None):
        snapshot = super().open(table, version)
        erasure.forget(Lake(self.root), table, lambda: None)
        return snapshot


@pytest.mark.parametrize("upkeep", [upkeep.compact, lambda *a: upkeep.vacuum(*a, timedelta(0), ())])
def test_a_log_that_begins_anew_meanwhile_is_left_for_the_next_time(cleaned, copy_of, upkeep):
    workspace = copy_of(cleaned)
    rows = workspace.contents(RUNS)
    assert upkeep(BesideAnErasure(workspace.lake.root), RUNS) == 0
    assert workspace.contents(RUNS).equals(rows)


def test_upkeep_beside_an_erasure_ends_well(cleaned, copy_of, monkeypatch):
    """The logs begin anew between the look at their versions and the reading of them."""
    workspace = copy_of(cleaned)
    as_ever = catalog.current_versions

    def and_then_begun_anew(lake):
        versions = as_ever(lake)
        for table in TABLES:
            erasure.forget(lake, table, lambda: None)
        return versions

    monkeypatch.setattr(catalog, "current_versions", and_then_begun_anew)
    assert maintain(without_grace(workspace), workspace.lake).files_deleted == 0
    monkeypatch.undo()
    assert maintain(without_grace(workspace), workspace.lake).files_deleted > 0
