"""The DAGs, run by Airflow itself (`dag.test()` on SQLite), all in one slow-starting process."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.schemas import CLEAN_INTERACTIONS, RUNS, SCORED_INTERACTIONS
from pipeline.steps.night import run_night
from tests.conftest import NIGHT, Workspace

DAGS = Path(__file__).parents[2] / "dags"

# Runs every DAG run that is asked for and prints the state of each; one process for all.
RUNNER = """
import os, sys
from pathlib import Path

home, dags, config = sys.argv[1:4]
os.environ |= {
    "AIRFLOW_HOME": home,
    "AIRFLOW__CORE__DAGS_FOLDER": dags,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "0",
    "IADSR_CONFIG": config,
}
from airflow.utils.db import initdb
initdb()
from airflow.dag_processing.dagbag import BundleDagBag
from datetime import datetime, timezone, timedelta

bag = BundleDagBag(Path(dags), bundle_path=Path(dags), bundle_name="dags-folder")
assert not bag.import_errors, bag.import_errors
for request in sys.argv[4:]:
    dag_id, _, day = request.partition("=")
    run = bag.dags[dag_id].test(run_conf={"date": day} if day else None)
    tasks = sorted(f"{t.task_id}[{t.map_index}]={t.state}" for t in run.get_task_instances())
    print("RUN", request, run.state.value, *tasks, flush=True)
"""


@pytest.fixture
def airflow(tmp_path):
    """Function that runs DAGs on a workspace: requests like "nightly_clean=2024-01-17"."""

    def run(workspace: Workspace, *requests: str) -> list[list[str]]:
        command = [sys.executable, "-c", RUNNER, str(tmp_path / "airflow"), str(DAGS)]
        done = subprocess.run(
            [*command, str(workspace.config_path), *requests],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("RUN ")]
        assert len(lines) == len(requests)
        return lines

    return run


def test_the_dags_train_and_clean_as_the_command_line_does(workspace, trained, copy_of, airflow):
    by_hand = copy_of(trained, "by-hand")
    run_night(by_hand.config, by_hand.lake, NIGHT)
    with workspace.config_path.open("a") as config:
        config.write("\n[night]\nshards = 3\n")

    trained_run, night, again, failed = airflow(
        workspace,
        "train_aligner=2024-01-16",
        f"nightly_clean={NIGHT}",
        f"nightly_clean={NIGHT}",
        "train_aligner=1999-01-01",
    )

    assert trained_run[1] == "success"
    assert night[1] == "success"
    assert [task for task in night if task.startswith("score")] == [
        "score[0]=success",
        "score[1]=success",
        "score[2]=success",
    ]
    for table in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS):
        ours, expected = workspace.contents(table), by_hand.contents(table)
        hidden = [name for name in ("source_file",) if name in ours.columns]
        assert ours.drop(hidden).equals(expected.drop(hidden))

    assert again[1] == "success"
    publications = workspace.contents(RUNS).filter(workspace.contents(RUNS)["step"] == "publish")
    assert sorted(publications["status"]) == ["succeeded", "unchanged"]

    assert failed[1] == "failed"
    assert "train[-1]=failed" in failed


def test_a_run_works_on_the_day_before_it_fires():
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from datetime import datetime, timezone
from iadsr_common import date_of
end = datetime(2024, 1, 1, 2, tzinfo=timezone.utc)
assert str(date_of({"data_interval_end": end})) == "2023-12-31"
assert str(date_of({"data_interval_end": end, "params": {"date": "2020-02-29"}})) == "2020-02-29"
assert str(date_of({"data_interval_end": end, "params": {"date": None}})) == "2023-12-31"
try:
    date_of({"params": {}})
except ValueError as error:
    assert '{"date": "YYYY-MM-DD"}' in str(error)
else:
    raise AssertionError("no date, and no error")
"""
    subprocess.run([sys.executable, "-c", code, str(DAGS)], check=True)
