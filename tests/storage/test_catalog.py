"""The catalogue shows one consistent state, whatever happens beside it."""

import multiprocessing
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipeline import columns as col
from pipeline.errors import ConflictError, StoreError
from pipeline.schemas import CLEAN_INTERACTIONS, QUARANTINE, SCORED_INTERACTIONS
from pipeline.steps.night import run_night
from pipeline.steps.plan import is_published, plan
from pipeline.steps.publish import publish
from pipeline.steps.score import score
from pipeline.storage import catalog, staging
from pipeline.storage.lake import Lake, conform
from tests.conftest import NIGHT

DAY = date(2024, 1, 17)
AGREE = """
    SELECT
        (SELECT count(*) FROM scored_interactions),
        (SELECT count(*) FROM scored_interactions WHERE decision = 'keep'),
        (SELECT count(*) FROM clean_interactions)
"""


def rows(count: int, kept: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scored and clean rows of one date."""
    frame = pl.DataFrame(
        {
            col.INTERACTION_ID: range(count),
            col.EVENT_DATE: [DAY] * count,
            col.DECISION: ["keep"] * kept + ["remove"] * (count - kept),
        }
    )
    clean = frame.filter(pl.col(col.DECISION) == "keep")
    return conform(frame, SCORED_INTERACTIONS), conform(clean, CLEAN_INTERACTIONS)


def publish_rows(lake: Lake, run: int, count: int, kept: int, *, clean_too: bool = True) -> None:
    """The two commits of a publication, or only the first."""
    scored, clean = rows(count, kept)
    staging.write(staging.shard_path(lake, f"night-{DAY}-{run:016x}", 0, 1), scored)
    marker = (catalog.date_marker(DAY), run)
    lake.replace_date(SCORED_INTERACTIONS, DAY, scored, marker)
    if clean_too:
        lake.replace_date(CLEAN_INTERACTIONS, DAY, clean, marker)
        staging.clear(lake, f"night-{DAY}-{run:016x}")


def read(path, query: str = AGREE) -> tuple:
    with duckdb.connect(path, read_only=True) as reader:
        return reader.execute(query).fetchall()[0]


def test_an_empty_lake_has_every_view(tmp_path):
    path = catalog.build(Lake(str(tmp_path)))
    assert read(path) == (0, 0, 0)
    assert read(path, "SELECT count(*) FROM explained_interactions") == (0,)


def test_views_and_columns_say_what_they_are(tmp_path):
    path = catalog.build(Lake(str(tmp_path)))
    comment = "SELECT comment FROM duckdb_views() WHERE view_name = 'clean_interactions'"
    assert read(path, comment) == ("One row is a kept interaction.",)


def test_a_publication_cut_short_is_not_shown(tmp_path):
    lake = Lake(str(tmp_path))
    publish_rows(lake, run=1, count=10, kept=9)
    publish_rows(lake, run=2, count=12, kept=8, clean_too=False)
    assert read(catalog.build(lake)) == (10, 9, 9)
    publish_rows(lake, run=2, count=12, kept=8)
    assert read(catalog.build(lake)) == (12, 8, 8)


def test_a_first_publication_cut_short_is_not_shown(tmp_path):
    lake = Lake(str(tmp_path))
    publish_rows(lake, run=1, count=10, kept=9, clean_too=False)
    assert read(catalog.build(lake)) == (0, 0, 0)


def test_a_date_of_which_all_is_removed_is_shown(tmp_path):
    lake = Lake(str(tmp_path))
    publish_rows(lake, run=1, count=10, kept=10)
    publish_rows(lake, run=2, count=10, kept=0)
    assert read(catalog.build(lake)) == (10, 0, 0)


def test_the_sql_file_makes_the_same_views(tmp_path):
    lake = Lake(str(tmp_path))
    publish_rows(lake, run=1, count=10, kept=9)
    catalog.build(lake)
    with duckdb.connect() as connection:
        connection.execute((tmp_path / "catalog.sql").read_text())
        assert connection.execute(AGREE).fetchall() == [(10, 9, 9)]


def test_the_sql_file_reads_a_lake_that_was_moved(tmp_path):
    lake = Lake(str(tmp_path / "here"))
    publish_rows(lake, run=1, count=10, kept=9)
    catalog.build(lake)
    moved = (tmp_path / "here").rename(tmp_path / "there")
    with duckdb.connect() as connection:
        connection.execute("SET VARIABLE lake = ?", [str(moved)])
        connection.execute((moved / "catalog.sql").read_text())
        assert connection.execute(AGREE).fetchall() == [(10, 9, 9)]


def test_a_column_that_was_added_later_is_null_in_what_was_written_before(tmp_path):
    lake = Lake(str(tmp_path))
    scored, _ = rows(2, 2)
    old = replace(SCORED_INTERACTIONS, schema=scored.drop("strongest_signals").to_arrow().schema)
    lake.open(old)
    lake.replace_date(old, DAY, scored.drop("strongest_signals"), (catalog.date_marker(DAY), 1))
    shown = "SELECT count(*), count(strongest_signals) FROM scored_interactions"
    assert read(catalog.build(lake), shown) == (2, 0)
    day = date(2024, 1, 18)
    newer = scored.with_columns(event_date=day, strongest_signals=pl.lit("signal_semantic"))
    lake.replace_date(SCORED_INTERACTIONS, day, newer, (catalog.date_marker(day), 1))
    assert read(catalog.build(lake), shown) == (4, 2)


def test_a_file_that_is_gone_is_told_in_one_line(tmp_path):
    lake = Lake(str(tmp_path))
    publish_rows(lake, run=1, count=10, kept=9)
    (path,) = lake.partition_files(SCORED_INTERACTIONS)[DAY]
    Path(path).unlink()
    with pytest.raises(StoreError, match=r"scored_interactions.*lake\.path") as error:
        catalog.build(lake)
    assert "\n" not in str(error.value)
    count = "SELECT count(*) FROM scored_interactions"
    with (
        pytest.raises(StoreError, match=r"scored_interactions.*lake\.path"),
        catalog.connect(lake, catalog.snapshot(lake)) as connection,
    ):
        connection.execute(count).fetchall()


def test_on_s3_the_rows_of_other_users_are_left_out(bucket):
    lake = Lake(bucket)
    users = pl.Series(col.USER_ID, ["u", "v", "u", "w"])
    lake.append(SCORED_INTERACTIONS, rows(4, 4)[0].with_columns(users))
    count = "SELECT count(*) FROM scored_interactions"
    for user, expected in (("u", 2), (None, 4)):
        with catalog.connect(lake, catalog.snapshot(lake), user=user) as connection:
            assert connection.execute(count).fetchall() == [(expected,)]


def test_hostile_names_are_only_text(tmp_path):
    lake = Lake(str(tmp_path / "it's; DROP"))
    raw = pl.DataFrame(
        {"reason": ["x'); DROP VIEW runs; --"], "raw": [b"\xff"], "ingest_date": [DAY]}
    )
    lake.append(QUARANTINE, conform(raw, QUARANTINE))
    path = catalog.build(lake)
    assert read(path, "SELECT reason FROM quarantine") == ("x'); DROP VIEW runs; --",)
    assert read(path, "SELECT count(*) FROM runs") == (0,)


def _read_until(path, stop, answers) -> None:
    while not stop.is_set():
        try:
            answers.put(read(path))
        except Exception as error:
            answers.put(repr(error))


def test_a_reader_in_a_loop_sees_only_whole_states_through_20_republications(tmp_path):
    lake = Lake(str(tmp_path))
    publish_rows(lake, run=1, count=1000, kept=900)
    path = catalog.build(lake)
    context = multiprocessing.get_context("spawn")
    stop, answers = context.Event(), context.Queue()
    reader = context.Process(target=_read_until, args=(path, stop, answers))
    reader.start()
    seen = [answers.get(timeout=60)]
    for run in range(2, 22):
        publish_rows(lake, run=run, count=1000 + run, kept=900 + run)
        catalog.build(lake)
    while (seen[-1]) != (1021, 921, 921) and isinstance(seen[-1], tuple):
        seen.append(answers.get(timeout=60))
    stop.set()
    reader.join(timeout=60)
    allowed = {(1000, 900, 900)} | {(1000 + r, 900 + r, 900 + r) for r in range(2, 22)}
    assert set(seen) <= allowed
    assert len(set(seen)) > 1


def test_runs_of_one_date_that_interleave_never_show_halves(workspace, monkeypatch):
    """B publishes between the two commits of A: A fails, and what is shown is whole."""
    pinned_b = plan(workspace.config, workspace.lake, NIGHT)
    pinned_a = replace(pinned_b, run_id=f"night-{NIGHT}-{0xA:016x}")
    for pinned in (pinned_a, pinned_b):
        score(workspace.config, workspace.lake, pinned)
    commit = Lake.replace_date

    def then_b(lake, table, *args, **kwargs):
        commit(lake, table, *args, **kwargs)
        monkeypatch.setattr(Lake, "replace_date", commit)
        publish(workspace.config, workspace.lake, pinned_b)

    monkeypatch.setattr(Lake, "replace_date", then_b)
    with pytest.raises(ConflictError, match="another run committed first"):
        publish(workspace.config, workspace.lake, pinned_a)

    shown = read(catalog.build(workspace.lake), "SELECT DISTINCT run_id FROM scored_interactions")
    assert shown == (pinned_b.run_id,)
    assert is_published(workspace.lake, pinned_b)


def test_duckdb_opens_it_in_another_process_while_it_is_swapped(workspace):
    run_night(workspace.config, workspace.lake, NIGHT)
    path = workspace.folder / "lake" / "catalog.duckdb"
    code = (
        "import duckdb, sys\n"
        "c = duckdb.connect(sys.argv[1], read_only=True)\n"
        "print(c.execute('SELECT count(*) FROM clean_interactions').fetchall()[0][0], flush=True)\n"
        "sys.stdin.readline()\n"
        "print(c.execute('SELECT count(*) FROM clean_interactions').fetchall()[0][0])\n"
    )
    held = subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    first = held.stdout.readline()
    run_night(workspace.config, workspace.lake, date(2024, 1, 18))
    time.sleep(0.1)
    second, _ = held.communicate("\n")
    assert first == second
    assert read(path, "SELECT count(*) FROM clean_interactions")[0] > int(first)
