"""kill -9 before each durable write of a night; the re-run ends as an undisturbed one does."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pipeline.steps.embed import embed
from pipeline.steps.ingest import ingest
from pipeline.steps.night import run_night
from pipeline.steps.promote import promote
from pipeline.steps.train import train
from tests.conftest import (
    NIGHT,
    TRAINED,
    Workspace,
    clicks,
    items,
    new_workspace,
    write_clicks,
    write_csv,
)

# Runs a night in this process and kills it just before its n-th durable write: a Delta commit or a
# file of the lake. Exits 0 if the night has fewer writes.
VICTIM = """
import os, signal, sys
from pipeline.storage import files, lake
from pipeline.storage import catalog

left = int(sys.argv[2])

def counted(write):
    def wrapper(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(*args, **kwargs)
    return wrapper

lake.write_deltalake = counted(lake.write_deltalake)
files.write_bytes = counted(files.write_bytes)
catalog._swap = counted(catalog._swap)

from pipeline.cli import main
main(["--config", sys.argv[1], "run", "--date", sys.argv[3]])
"""

AGREE = """
    SELECT event_date
    FROM scored_interactions
    FULL JOIN clean_interactions USING (event_date, interaction_id)
    WHERE (decision = 'keep') IS DISTINCT FROM (clean_interactions.run_id IS NOT NULL)
"""


@pytest.fixture(scope="module")
def before_the_night(tmp_path_factory) -> Workspace:
    """History is trained on; the clicks of the night wait, and new items that need embedding."""
    root = tmp_path_factory.mktemp("before")
    workspace = new_workspace(root / "work", root / "data")
    header = ["item_id", "title"]
    old = [row for row in clicks() if row[2] < 1705449600]  # 2024-01-17 00:00
    write_csv(workspace.data / "items.csv", header, [i for i in items() if not i[0].endswith("-3")])
    write_clicks(workspace.data / "clicks-history.csv", old)
    with workspace.config_path.open("a") as config:
        config.write("\n[encoder]\ncommit_texts = 6\n")
    ingest(workspace.config, workspace.lake)
    embed(workspace.config, workspace.lake)
    promote(workspace.config, workspace.lake, train(workspace.config, workspace.lake, TRAINED))
    write_csv(workspace.data / "items.csv", header, items())
    night = [row for row in clicks() if 1705449600 <= row[2] < 1705536000]
    broken = workspace.data / "clicks-night.csv"
    write_clicks(broken, night)
    with broken.open("a") as stream:
        stream.write("user1,,1705449600\nuser1,g0-0,yesterday\n")
    return workspace


def kill_at(workspace: Workspace, write: int) -> int:
    """Exit code of a night that is killed before its `write`-th durable write."""
    command = [sys.executable, "-c", VICTIM, str(workspace.config_path), str(write), str(NIGHT)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def assert_readable(lake: Path) -> None:
    """Whatever the catalogue shows, if it is there, agrees with itself."""
    if (lake / "catalog.duckdb").exists():
        with duckdb.connect(lake / "catalog.duckdb", read_only=True) as reader:
            assert reader.execute(AGREE).fetchall() == []


def test_a_night_killed_before_any_of_its_writes_is_completed_by_its_rerun(
    before_the_night, copy_of
):
    undisturbed = copy_of(before_the_night, "undisturbed")
    run_night(undisturbed.config, undisturbed.lake, NIGHT)
    expected = undisturbed.tables()

    writes = 0
    while True:
        writes += 1
        workspace = copy_of(before_the_night, f"killed{writes}")
        code = kill_at(workspace, writes)
        if code == 0:
            break
        assert code == -9
        assert_readable(workspace.folder / "lake")
        run_night(workspace.config, workspace.lake, NIGHT)
        assert_readable(workspace.folder / "lake")
        found = workspace.tables()
        for name, frame in expected.items():
            path = ["source_file"] if "source_file" in frame.columns else []
            assert found[name].drop(path).equals(frame.drop(path)), (writes, name)
    # ingest (items, quarantine, interactions), embed (three commits), stage, scored, clean,
    # catalogue (SQL, DuckDB), and the rows of `runs` between them
    assert writes > 12
