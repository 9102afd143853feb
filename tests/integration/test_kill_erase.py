"""kill -9 before each durable write of an erasure: readers see whole states, a re-run completes it.

Each victim is forked from a process that has imported everything and started nothing.
"""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from pipeline.schemas import RUNS, TABLES
from pipeline.steps.erase import erase
from pipeline.storage.lake import Lake
from pipeline.storage.privacy import erasures
from tests.conftest import contents
from tests.small_lake import fill, log, settings

USER = "ann"
AGREE = """
    SELECT event_date
    FROM scored_interactions
    FULL JOIN clean_interactions USING (event_date, interaction_id)
    WHERE (decision = 'keep') IS DISTINCT FROM (clean_interactions.source_file IS NOT NULL)
"""


def victim(folder: Path, root: str, write: int) -> None:
    """Erase, and die before the `write`-th durable write, or in the middle of removing files."""
    from deltalake import DeltaTable
    from deltalake.table import TableAlterer

    from pipeline.storage import catalog, files, lake

    left = [write]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapper

    for owner, names in {
        DeltaTable: ("delete", "update", "create_checkpoint"),
        TableAlterer: ("set_table_properties",),
        lake: ("write_deltalake",),
        files: ("write_bytes", "delete_folder"),
        catalog: ("_swap",),
    }.items():
        for name in names:
            setattr(owner, name, counted(getattr(owner, name)))
    delete = files.delete

    def delete_half(paths: Iterable[str]) -> None:
        paths = list(paths)
        left[0] -= 1
        delete(paths[: len(paths) // 2] if left[0] == 0 else paths)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    files.delete = delete_half
    erase(settings(folder, root), Lake(root), USER)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    log(folder / "log.csv")
    config = settings(folder, str(folder / "lake"))
    lake = Lake(config.lake.path)
    fill(config, lake)
    named = contents(lake, RUNS).tail(1).with_columns(error=pl.lit(f"failed on user_id={USER}"))
    lake.append(RUNS, named)
    (folder / "lake" / "reports").mkdir()
    (folder / "lake" / "reports" / "night.html").write_text(f"<td>{USER}</td>")
    return folder


def tables(lake: Lake) -> dict[str, pl.DataFrame]:
    return {t.name: contents(lake, t) for t in TABLES if t != RUNS}


@pytest.mark.slow
def test_an_erasure_killed_before_any_of_its_writes_is_completed_by_its_rerun(filled, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.steps.erase", "pipeline.storage.catalog"])

    def copy(name: str) -> tuple[Path, str, Lake]:
        folder = tmp_path / name
        shutil.copytree(filled, folder)
        return folder, str(folder / "lake"), Lake(str(folder / "lake"))

    folder, root, lake = copy("undisturbed")
    rows = erase(settings(folder, root), lake, USER).rows
    expected = tables(lake)

    writes = 0
    while True:
        writes += 1
        folder, root, lake = copy(f"killed{writes}")
        process = context.Process(target=victim, args=(folder, root, writes))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        with duckdb.connect(folder / "lake" / "catalog.duckdb", read_only=True) as reader:
            assert reader.execute(AGREE).fetchall() == [], writes
        done = erase(settings(folder, root), lake, USER)
        assert not done.found.held
        assert done.rows == rows, writes
        assert erasures(lake) == (1, 0)
        found = tables(lake)
        for name, frame in expected.items():
            path = ["source_file"] if "source_file" in frame.columns else []
            assert found[name].drop(path).equals(frame.drop(path)), (writes, name)
        shutil.rmtree(folder)
    assert writes > 30
