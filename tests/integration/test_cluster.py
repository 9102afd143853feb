"""Dates cleaned by Celery workers, and faults on the way: the same content as undisturbed nights.

Run by `make integration`: needs PostgreSQL and Redis (Debian: postgresql, redis-server).
"""

import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from pipeline.schemas import CLEAN_INTERACTIONS, SCORED_INTERACTIONS
from pipeline.steps.night import run_night
from tests.conftest import NIGHTS, Workspace
from tests.integration.cluster import Cluster, postgres_binary
from tests.integration.test_kill import AGREE

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1800),  # a task that was killed is given up after 30 s, and tried anew
    pytest.mark.skipif(
        not (shutil.which("redis-server") and postgres_binary("initdb")),
        reason="PostgreSQL or Redis is not installed",
    ),
]
# Before the nights of other tests: dates of the history can be cleaned, too.
DATES = [NIGHTS[0] - timedelta(days=i) for i in range(1, 7)]


@pytest.fixture(scope="module")
def shared(trained, tmp_path_factory) -> Workspace:
    """One lake for all tests of this file, each of which cleans dates of its own."""
    root = tmp_path_factory.mktemp("cluster")
    shutil.copytree(trained.folder, root / "work")
    shutil.copytree(trained.data, root / "data")
    workspace = Workspace(root / "work", root / "data")
    text = trained.config_path.read_text().replace(str(trained.data), str(workspace.data))
    workspace.config_path.write_text(text + "\n[night]\nshards = 2\n")
    return workspace


@pytest.fixture(scope="module")
def lineage(tmp_path_factory) -> Path:
    """Where the OpenLineage events are written, one JSON a line."""
    return tmp_path_factory.mktemp("lineage") / "events.json"


@pytest.fixture(scope="module")
def cluster(shared, lineage):
    running = Cluster(shared.config_path)
    transport = {"type": "file", "log_file_path": str(lineage), "append": True}
    running.environment["AIRFLOW__OPENLINEAGE__TRANSPORT"] = json.dumps(transport)
    try:
        running.start()
        running.airflow("dags", "unpause", "nightly_clean", "--yes")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def undisturbed(trained, tmp_path_factory) -> Workspace:
    """What nights on one machine, in one process, publish."""
    root = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(trained.folder, root / "work")
    workspace = Workspace(root / "work", trained.data)
    for day in [*NIGHTS, *DATES]:
        run_night(workspace.config, workspace.lake, day)
    return workspace


def assert_equal(ours: Workspace, theirs: Workspace, *days: date) -> None:
    for table in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS):
        found, expected = (
            w.contents(table).drop("source_file", strict=False) for w in (ours, theirs)
        )
        for day in days:
            here, there = (f.filter(f["event_date"] == day) for f in (found, expected))
            assert here.height > 0
            assert here.equals(there), (table.name, day)


def clean(cluster: Cluster, name: str, day: date) -> None:
    cluster.trigger("nightly_clean", name, json.dumps({"date": str(day)}))


def test_a_date_cleaned_by_workers_equals_the_one_cleaned_on_one_machine(
    cluster, shared, undisturbed
):
    clean(cluster, "plain", NIGHTS[0])
    assert cluster.wait_for_run("plain") == "success"
    assert_equal(shared, undisturbed, NIGHTS[0])
    queues = cluster.sql(
        "SELECT DISTINCT task_id, queue FROM task_instance WHERE run_id = %s", "plain"
    )
    assert dict(queues)["embed"] == "gpu"
    assert dict(queues)["score"] == "cpu"


def test_openlineage_events_name_the_tables_that_a_task_read_and_wrote(cluster, shared, lineage):
    counts = shared.contents(SCORED_INTERACTIONS)["decision"].value_counts()
    kept = dict(counts.iter_rows())["keep"]
    rows = counts["count"].sum()
    ended = [e for e in map(json.loads, lineage.open()) if e["eventType"] == "COMPLETE"]
    told: dict[str, list] = {"inputs": [], "outputs": []}
    for event in ended:
        if event["job"]["name"].startswith(("nightly_clean.score", "nightly_clean.publish")):
            for side in told:
                told[side] += event[side]
    read = {d["name"]: d["inputFacets"]["inputStatistics"]["rowCount"] for d in told["inputs"]}
    written = {
        d["name"]: d["outputFacets"]["outputStatistics"]["rowCount"] for d in told["outputs"]
    }
    root = shared.lake.root
    assert read == {f"{root}/interactions": rows}
    assert written == {f"{root}/scored_interactions": rows, f"{root}/clean_interactions": kept}
    assert {d["namespace"] for d in told["inputs"] + told["outputs"]} == {"file"}
    versions = {d["name"]: d["facets"]["version"]["datasetVersion"] for d in told["outputs"]}
    assert versions[f"{root}/clean_interactions"] == str(shared.lake.version(CLEAN_INTERACTIONS))


def test_workers_killed_in_the_middle_of_score_and_of_publish(cluster, shared, undisturbed):
    clean(cluster, "killed", NIGHTS[1])
    cluster.wait_for_task("killed", "score")
    cluster.kill("worker-cpu")
    cluster.start_worker("cpu", concurrency=2)

    before = shared.lake.version(SCORED_INTERACTIONS)
    committed = "the first of the two commits of publish"
    cluster.wait_until(
        lambda: shared.lake.version(SCORED_INTERACTIONS) > before, committed, poll=0.002
    )
    cluster.kill("worker-cpu")
    with duckdb.connect(shared.folder / "lake" / "catalog.duckdb", read_only=True) as reader:
        assert reader.execute(AGREE).fetchall() == []  # what readers see is whole
    cluster.start_worker("cpu", concurrency=2)

    assert cluster.wait_for_run("killed") == "success"
    assert_equal(shared, undisturbed, NIGHTS[1])
    retried = cluster.sql(
        "SELECT task_id FROM task_instance WHERE run_id = 'killed' AND try_number > 1"
    )
    assert {"score", "publish"} <= {row[0] for row in retried}


def test_the_scheduler_and_postgresql_restarted(cluster, shared, undisturbed):
    clean(cluster, "restarted", NIGHTS[2])
    cluster.wait_for_task("restarted", "score")
    cluster.kill("scheduler")
    cluster.restart_postgres()
    cluster.spawn_airflow("scheduler", "scheduler", "--skip-serve-logs")
    assert cluster.wait_for_run("restarted") == "success"
    assert_equal(shared, undisturbed, NIGHTS[2])


def test_two_triggers_of_one_date_at_once(cluster, shared, undisturbed):
    clean(cluster, "first", NIGHTS[3])
    clean(cluster, "second", NIGHTS[3])
    assert {cluster.wait_for_run(name) for name in ("first", "second")} == {"success"}
    assert_equal(shared, undisturbed, NIGHTS[3])


def test_a_backfill_and_a_run_of_one_of_its_dates(cluster, shared, undisturbed):
    first, last = DATES[2], DATES[0]
    span = ["--from-date", str(first), "--to-date", str(last + timedelta(days=1))]
    cluster.airflow(
        "backfill", "create", "--dag-id", "nightly_clean", *span, "--max-active-runs", "2"
    )
    clean(cluster, "beside", DATES[1])
    assert cluster.wait_for_run("beside") == "success"
    runs = cluster.sql("SELECT run_id FROM dag_run WHERE run_type = 'backfill' ORDER BY run_id")
    assert len(runs) == 3  # both ends of our own words; Airflow's end was the day after
    assert {cluster.wait_for_run(run_id) for (run_id,) in runs} == {"success"}
    assert_equal(shared, undisturbed, *DATES[:3])
