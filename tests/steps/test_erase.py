"""A person is taken out of everything, for good and provably; of others nothing changes."""

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipeline.cli import main
from pipeline.config import Config
from pipeline.errors import ConflictError, ContractError, UserError
from pipeline.schemas import (
    CLEAN_INTERACTIONS,
    INTERACTIONS,
    ITEM_EMBEDDINGS,
    QUARANTINE,
    RUNS,
    SCORED_INTERACTIONS,
)
from pipeline.sources.quarantine import Quarantine
from pipeline.steps import erase as step
from pipeline.steps.ingest import ingest
from pipeline.steps.night import run_night
from pipeline.steps.plan import plan
from pipeline.steps.publish import _commit as commit
from pipeline.steps.publish import publish
from pipeline.steps.score import score
from pipeline.storage import erasure, files, snapshots, staging
from pipeline.storage.appender import PartitionedAppend
from pipeline.storage.catalog import DUCKDB_FILE
from pipeline.storage.lake import Lake, conform
from pipeline.storage.privacy import Tombstone, erased, erasures
from pipeline.storage.search import Needle
from tests import small_lake
from tests.conftest import NIGHT, NIGHTS, Workspace, clicks, contents, write_clicks

USER = "user1"  # the beginning of user10, user100, ...


def without(frame: pl.DataFrame, user: str = USER) -> pl.DataFrame:
    return frame.filter(pl.col("user_id") != user) if "user_id" in frame.columns else frame


def bytes_with(folder: Path, user: bytes) -> list[Path]:
    """Files in which the bytes stand as they are, quoted: what plain eyes find."""
    return [f for f in folder.rglob("*") if f.is_file() and b'"' + user + b'"' in f.read_bytes()]


@pytest.fixture
def dirty(cleaned, copy_of) -> Workspace:
    """Two nights are cleaned; two broken lines are the user's, and one is of nobody known."""
    workspace = copy_of(cleaned)
    broken = workspace.data / "clicks-broken.csv"
    lines = [
        f"{USER},g0-0,yesterday",  # can be split: the user's
        f"{USER};g0-0;1705449600",  # cannot: holds the id
        "user10,g0-0,yesterday",
        "user10;g0-0;1705449600",
    ]
    broken.write_text("user_id,item_id,event_time\n" + "\n".join(lines) + "\n")
    ingest(workspace.config, workspace.lake)
    return workspace


def test_nothing_of_the_user_is_left_and_of_others_nothing_changed(dirty):
    before = dirty.tables()
    done = step.erase(dirty.config, dirty.lake, USER)
    after = dirty.tables()
    for table in (INTERACTIONS, SCORED_INTERACTIONS, CLEAN_INTERACTIONS):
        assert after[table.name].equals(without(before[table.name])), table.name
        gone = before[table.name].height - after[table.name].height
        assert done.rows[table.name] == gone > 0
    lines = [bytes(raw) for raw in after[QUARANTINE.name]["raw"]]
    assert lines == [b"user10,g0-0,yesterday", b"user10;g0-0;1705449600"]
    assert done.rows[QUARANTINE.name] == 2
    assert after["items"].equals(before["items"])
    assert not done.found.held
    assert done.found.files > 20
    assert bytes_with(dirty.folder / "lake", USER.encode()) == []


def test_it_is_recorded_without_saying_whose(dirty):
    step.erase(dirty.config, dirty.lake, USER)
    row = dirty.contents(RUNS).filter(pl.col("step") == "erase").row(0, named=True)
    assert row["status"] == "succeeded"
    assert json.loads(row["counts"])["erased"] > 0
    (tombstone,) = (dirty.folder / "lake" / "erasures").glob("*.json")
    for text in (json.dumps(row, default=str), tombstone.name, tombstone.read_text()):
        assert not Needle(USER).within(text)


def test_looking_first_changes_nothing(dirty):
    before = dirty.versions()
    would = step.survey(dirty.config, dirty.lake, USER)
    assert would.rows[INTERACTIONS.name] > 0
    assert dirty.versions() == before
    held = {hit.path for hit in would.found.held}
    for table in (INTERACTIONS, SCORED_INTERACTIONS, CLEAN_INTERACTIONS, QUARANTINE):
        live = [p for paths in dirty.lake.partition_files(table).values() for p in paths]
        with_user = [p for p in live if USER in pl.read_parquet(p)["user_id"]]
        assert with_user
        assert held >= set(with_user), table.name
    with pytest.raises(UserError, match="nothing of user 'user'"):
        step.survey(dirty.config, dirty.lake, "user")
    with pytest.raises(UserError, match="nothing of user 'user'"):
        step.erase(dirty.config, dirty.lake, "user")
    assert not (dirty.folder / "lake" / "erasures").exists()


@pytest.mark.parametrize("empty", ["", " \t"])
def test_an_empty_id_is_refused_before_anything_is_written(tmp_path, empty):
    """An unset shell variable: within a line of an unknown user it is always found."""
    small_lake.log(tmp_path / "log.csv")
    config = small_lake.settings(tmp_path, str(tmp_path / "lake"))
    lake = Lake(config.lake.path)
    small_lake.fill(config, lake)
    lines, ran = contents(lake, QUARANTINE), contents(lake, RUNS)
    for attempt in (step.survey, step.erase):
        with pytest.raises(UserError, match=r"the user id is empty.*iadsr erase --user U"):
            attempt(config, lake, empty)
    assert contents(lake, QUARANTINE).equals(lines)
    assert contents(lake, RUNS).equals(ran)
    assert not (tmp_path / "lake/erasures").exists()


def test_again_there_is_nothing_to_do(dirty):
    step.erase(dirty.config, dirty.lake, USER)
    tables = dirty.tables()
    again = step.erase(dirty.config, dirty.lake, USER)
    assert again.removed == []
    assert again.finished_at
    erasures = dirty.contents(RUNS).filter(pl.col("step") == "erase").sort("started_at")
    assert erasures["status"].to_list() == ["succeeded", "unchanged"]
    assert erasures["counts"].str.json_path_match("$.erased").to_list()[1] == "0"
    assert all(dirty.tables()[name].equals(frame) for name, frame in tables.items())


def test_the_catalogue_is_without_the_user_and_earlier_states_are_gone(dirty):
    state = snapshots.publications(dirty.lake)[0]
    assert snapshots.is_readable(dirty.lake, state)
    snapshots.build_as_of(dirty.lake, state["run_id"])
    step.erase(dirty.config, dirty.lake, USER)
    assert not snapshots.is_readable(dirty.lake, state)
    assert not list((dirty.folder / "lake").glob("catalog-*"))
    with pytest.raises(UserError, match="vacuumed"):
        snapshots.state_of(dirty.lake, state)
    with duckdb.connect(dirty.folder / "lake" / DUCKDB_FILE, read_only=True) as reader:
        users = reader.sql("SELECT DISTINCT user_id FROM scored_interactions").fetchall()
    assert (USER,) not in users
    assert ("user11",) in users


def test_a_delivery_does_not_bring_the_user_back(dirty):
    step.erase(dirty.config, dirty.lake, USER)
    accepted = dirty.contents(INTERACTIONS)
    again = dirty.data / "clicks-again.csv"
    rows = clicks()
    write_clicks(again, rows)
    with again.open("a") as stream:
        stream.write(f"{USER},,1705449600\n{USER};g0-0;1705449600\nuser10,,1705449600\n")
    result = ingest(dirty.config, dirty.lake)[0]
    assert result.file.endswith("clicks-again.csv")
    theirs = sum(row[0] == USER for row in rows) + 2
    assert result.erased == theirs
    assert result.quarantined == 1
    assert result.accepted == 0
    assert result.rows_read == result.duplicates + result.quarantined + result.erased
    assert dirty.contents(INTERACTIONS).equals(accepted)
    assert step.erase(dirty.config, dirty.lake, USER).rows


def test_nights_go_on_and_agree_with_themselves(dirty):
    step.erase(dirty.config, dirty.lake, USER)
    for night in NIGHTS[:3]:
        run_night(dirty.config, dirty.lake, night)
    scored, clean = dirty.contents(SCORED_INTERACTIONS), dirty.contents(CLEAN_INTERACTIONS)
    assert scored.filter(pl.col("decision") == "keep").height == clean.height
    assert USER not in scored["user_id"]


def test_staged_rows_of_the_user_are_not_published(dirty):
    planned = plan(dirty.config, dirty.lake, NIGHTS[2])
    score(dirty.config, dirty.lake, planned)
    path = staging.shard_path(dirty.lake, planned.run_id, 0, 1)
    staged = staging.read(path)
    user = staged["user_id"][0]
    step.erase(dirty.config, dirty.lake, user)
    assert not files.exists(path)
    staging.write(path, staged)  # as one that was still scoring would
    with pytest.raises(UserError, match="erased since"):
        publish(dirty.config, dirty.lake, planned)
    now = replace(planned, interactions_version=dirty.lake.version(INTERACTIONS))
    with pytest.raises(ConflictError, match="erased since"):
        commit(dirty.lake, now, staged, dirty.contents(INTERACTIONS).clear())
    assert user not in dirty.contents(SCORED_INTERACTIONS)["user_id"]


def test_what_was_prepared_before_the_erasure_cannot_be_committed_after_it(dirty):
    since = dirty.lake.version(SCORED_INTERACTIONS)
    rows = dirty.contents(SCORED_INTERACTIONS)
    step.erase(dirty.config, dirty.lake, USER)
    with pytest.raises((ConflictError, UserError)):
        dirty.lake.replace_date(SCORED_INTERACTIONS, NIGHT, rows.clear(), since=since)


def test_an_id_of_any_spelling(dirty):
    strange = 'O\'Bríen \\"x"\n;--'
    frame = dirty.lake.scan(INTERACTIONS).head(3).collect().with_columns(user_id=pl.lit(strange))
    dirty.lake.append(INTERACTIONS, frame)
    before = without(dirty.contents(INTERACTIONS), strange)
    assert step.erase(dirty.config, dirty.lake, strange).rows[INTERACTIONS.name] == 3
    assert dirty.contents(INTERACTIONS).equals(before)


def test_reports_and_errors_that_name_the_user_go(dirty):
    reports = dirty.folder / "lake" / "reports"
    reports.mkdir(exist_ok=True)  # the night's own is there
    (reports / "one.html").write_text(f"<td>{USER}</td>")
    (reports / "two.html").write_text("<td>user10</td>")
    named = dirty.contents(RUNS).tail(1).with_columns(error=pl.lit(f"first: user_id={USER}, x"))
    dirty.lake.append(RUNS, named)
    done = step.erase(dirty.config, dirty.lake, USER)
    assert (reports / "two.html").exists()
    assert not any(Needle(USER).within(page.read_bytes()) for page in reports.iterdir())
    assert any(path.endswith("one.html") for path in done.removed)
    errors = dirty.contents(RUNS)["error"].drop_nulls()
    assert not any(Needle(USER).within(text) for text in errors)
    assert not bytes_with(dirty.folder / "lake", USER.encode())


def recorded(step_name: str, folder: Path) -> pl.DataFrame:
    """A row of `runs` that says which folder a step wrote."""
    row = {
        "run_id": [f"{step_name}-1"],
        "step": [step_name],
        "status": ["succeeded"],
        "started_at": [datetime.now(UTC)],
        "outputs": [json.dumps({"folder": str(folder)})],
    }
    return conform(pl.DataFrame(row), RUNS)


def test_exports_cells_and_prefixes_go_and_what_is_not_ours_stays(tmp_path):
    small_lake.log(tmp_path / "log.csv")
    config = small_lake.settings(tmp_path, str(tmp_path / "lake"))
    lake = Lake(config.lake.path)
    small_lake.fill(config, lake)
    export, evaluation = tmp_path / "export", tmp_path / "evaluation"
    rows = contents(lake, INTERACTIONS)
    for folder in (export, evaluation / "cells"):
        folder.mkdir(parents=True)
        rows.write_parquet(folder / "rows.parquet")
    rows.write_parquet(evaluation / "my_own.parquet")
    without(rows, "ann").write_parquet(evaluation / "cells" / "others.parquet")
    (export / "manifest.json").write_text('{"format": "iadsr-export/1"}')
    killed = [tmp_path / ".export.writing-1", tmp_path / "lake/exports/.csv.writing-1"]
    for folder in killed:
        folder.mkdir(parents=True)
        rows.write_csv(folder / "interactions.csv")
    for name, folder in (("export", export), ("evaluate", evaluation)):
        lake.append(RUNS, recorded(name, folder))
    vectors = {"encoder_id": ["prefixes-of-x", "x"], "text_hash": ["a", "b"], "vector": [[1.0]] * 2}
    lake.append(ITEM_EMBEDDINGS, conform(pl.DataFrame(vectors), ITEM_EMBEDDINGS))
    done = step.erase(config, lake, "ann")
    assert str(export) in done.removed
    left = sorted(p.relative_to(tmp_path).as_posix() for p in evaluation.rglob("*.parquet"))
    assert not any(folder.exists() for folder in (export, *killed))
    assert left == ["evaluation/cells/others.parquet", "evaluation/my_own.parquet"]
    assert contents(lake, ITEM_EMBEDDINGS)["encoder_id"].to_list() == ["x"]
    assert not list((tmp_path / "lake").rglob("encoder_id=prefixes-of-x/*.parquet"))


def test_exports_below_a_lake_that_was_moved_go_and_later_ones_stay(tmp_path):
    """`runs` names them as they were called before; a CSV is nothing that the proof would find."""
    small_lake.log(tmp_path / "log.csv")
    config = small_lake.settings(tmp_path, str(tmp_path / "here"))
    small_lake.fill(config, Lake(config.lake.path))
    moved = Lake(str(tmp_path / "there"))
    for name in ("csv", "mine/deep"):
        folder = tmp_path / "here/exports" / name
        folder.mkdir(parents=True)
        (folder / "interactions.csv").write_text("user_id\nann\n")
        (folder / "manifest.json").write_text('{"format": "iadsr-export/1"}')
        Lake(config.lake.path).append(RUNS, recorded("export", folder))
    (tmp_path / "here/exports/notes").mkdir()
    (tmp_path / "here/exports/notes/manifest.json").write_text('{"format": "none of ours"}')
    (tmp_path / "here").rename(moved.root)
    config = small_lake.settings(tmp_path, moved.root)
    exports = [moved.path("exports", name) for name in ("csv", "mine/deep")]
    assert set(step.survey(config, moved, "ann").removed) >= set(exports)
    assert set(step.erase(config, moved, "ann").removed) >= set(exports)
    assert not any(Path(folder).exists() for folder in exports)
    assert Path(moved.path("exports/notes/manifest.json")).exists()

    again = Path(exports[0])  # written after the erasure: without the user
    again.mkdir()
    (again / "manifest.json").write_text('{"format": "iadsr-export/1"}')
    moved.append(RUNS, recorded("export", again))
    assert step.erase(config, moved, "ann").removed == []
    assert again.exists()


def delivered_anew(config: Config, lake: Lake) -> set[str]:
    """Users after `interactions` was deleted and all files were ingested again."""
    shutil.rmtree(lake.path(INTERACTIONS.name))
    ingest(config, lake)
    return set(contents(lake, INTERACTIONS)["user_id"])


def test_who_was_erased_stays_so_where_the_table_is_made_anew(tmp_path):
    small_lake.log(tmp_path / "log.csv")
    config = small_lake.settings(tmp_path, str(tmp_path / "lake"))
    lake = Lake(config.lake.path)
    small_lake.fill(config, lake)
    step.erase(config, lake, "ann")
    assert delivered_anew(config, lake) == {"bob", "ann-marie", "7"}
    step.erase(config, lake, "bob")
    assert erasures(lake) == (2, 0)
    assert delivered_anew(config, lake) == {"ann-marie", "7"}


def test_tombstones_of_an_older_version_hold(tmp_path):
    """It kept no salt: the identity of the table was it, from now on kept at the next ingest."""
    small_lake.log(tmp_path / "log.csv")
    config = small_lake.settings(tmp_path, str(tmp_path / "lake"))
    lake = Lake(config.lake.path)
    small_lake.fill(config, lake)
    step.erase(config, lake, "ann")
    (tmp_path / "lake/erasures/salt").unlink()
    small_lake.log(tmp_path / "log-again.csv", broken=["bob,9,1704067200"])
    ingest(config, lake)
    assert "ann" not in contents(lake, INTERACTIONS)["user_id"]
    assert "ann" not in delivered_anew(config, lake)


def test_first_erasures_at_the_same_moment_agree_on_the_salt(tmp_path):
    small_lake.log(tmp_path / "log.csv")
    config = small_lake.settings(tmp_path, str(tmp_path / "lake"))
    lake = Lake(config.lake.path)
    small_lake.fill(config, lake)
    users = pl.Series("user_id", ["ann", "bob"])
    stones = [Tombstone(lake, user) for user in users]
    named = [stone.name for stone in stones]  # by both, before either has written
    for stone in stones:
        stone.write()
    assert erased(lake).among(users).all()
    assert named == [Tombstone(lake, user).name for user in users]


def test_a_half_published_date_is_finished_first(dirty, monkeypatch):
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    planned = plan(dirty.config, dirty.lake, NIGHTS[2])
    score(dirty.config, dirty.lake, planned)
    as_ever = dirty.lake.replace_date
    with monkeypatch.context() as patched:
        patched.setattr(
            type(dirty.lake),
            "replace_date",
            lambda lake, table, *rest, **more: (
                stop() if table == CLEAN_INTERACTIONS else as_ever(table, *rest, **more)
            ),
        )
        with pytest.raises(KeyboardInterrupt):
            publish(dirty.config, dirty.lake, planned)
    with pytest.raises(UserError, match="half published"):
        step.erase(dirty.config, dirty.lake, USER)
    publish(dirty.config, dirty.lake, planned)
    assert step.erase(dirty.config, dirty.lake, USER).rows


def test_the_search_finds_a_live_row_that_should_be_gone(dirty, monkeypatch):
    monkeypatch.setattr(erasure, "delete_rows", lambda *_: None)
    with pytest.raises(ContractError, match="still hold the user"):
        step.erase(dirty.config, dirty.lake, USER)


def test_the_command_looks_first_and_then_tells_the_proof(dirty, capsys):
    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(dirty.config_path), *arguments])
        told = capsys.readouterr()
        assert ended.value.code == 0, told.err
        return told.out

    assert "Nothing was changed." in run("erase", "--user", USER)
    done = run("erase", "--user", USER, "--yes")
    assert re.search(r"searched \d+ files, [\d,]+ bytes, every Parquet file decoded: 0 hold", done)
    assert re.search(r"erasures: +1\n", run("status"))


@pytest.mark.parametrize("when", ["interactions", "quarantine"])
def test_an_ingest_that_began_before_is_tried_again_without_the_user(tmp_path, monkeypatch, when):
    """The erasure comes whole between what the ingest read and what it commits."""
    small_lake.log(tmp_path / "log.csv")
    config = small_lake.settings(tmp_path, str(tmp_path / "lake"))
    lake = Lake(config.lake.path)
    small_lake.fill(config, lake)
    late = tmp_path / "log-late.csv"
    late.write_text("user_id,item_id,event_time\nann,x,1704067200\nbob,x,1704067200\nann,,1\n")
    owner = PartitionedAppend if when == "interactions" else Quarantine
    commit, waiting = owner.commit, [True]

    def after_the_erasure(self, *arguments, **named):
        if waiting:
            waiting.clear()
            step.erase(config, lake, "ann")
        return commit(self, *arguments, **named)

    monkeypatch.setattr(owner, "commit", after_the_erasure)
    result = next(r for r in ingest(config, lake) if r.file == str(late))
    assert (result.accepted, result.erased, result.quarantined) == (1, 2, 0)
    assert "ann" not in contents(lake, INTERACTIONS)["user_id"]
    assert "ann" not in contents(lake, QUARANTINE)["user_id"]
    assert not step.survey(config, lake, "ann").found.held


def test_the_same_characters_as_something_else_stay_and_are_told(tmp_path):
    small_lake.log(tmp_path / "log.csv")
    config = small_lake.settings(tmp_path, str(tmp_path / "lake"))
    lake = Lake(config.lake.path)
    small_lake.fill(config, lake)
    before = contents(lake, INTERACTIONS)
    done = step.erase(config, lake, "7")
    after = contents(lake, INTERACTIONS)
    assert after.equals(without(before, "7"))
    assert "7" in after["item_id"]
    assert "item_id" in {hit.place for hit in done.found.elsewhere}
    # Of lines that cannot be split, those that hold it: in doubt they go.
    lines = [bytes(raw) for raw in contents(lake, QUARANTINE)["raw"]]
    assert lines == [b"ann,7,yesterday", b"bob,,1704067200"]
