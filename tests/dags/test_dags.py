"""The DAGs, run by Airflow itself (`dag.test()` on SQLite), all in one slow-starting process."""

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.models import checkpoint
from pipeline.schemas import CLEAN_INTERACTIONS, RUNS, SCORED_INTERACTIONS
from pipeline.steps.night import run_night
from pipeline.steps.status import status
from tests.conftest import NIGHT, NIGHTS, Workspace, write_clicks

DAGS = Path(__file__).parents[2] / "dags"

# Runs every DAG run that is asked for and prints the state of each; one process for all.
RUNNER = """
import json, os, sys
from pathlib import Path

home, dags, config, alerts = sys.argv[1:5]
os.environ |= {
    "AIRFLOW_HOME": home,
    "AIRFLOW__CORE__DAGS_FOLDER": dags,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "0",
    "IADSR_CONFIG": config,
    "DAGS_ALERT_URL": alerts,
}
from airflow.utils.db import initdb
initdb()
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.models.asset import AssetEvent
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.sdk import timezone
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType

create = SerializedDAG.create_dagrun


# dag.test() makes manual runs; the scheduler makes them so, for the interval that has ended.
def as_scheduler(self, **given):
    given["run_type"] = DagRunType.SCHEDULED
    given["logical_date"] = given["data_interval"].start
    named = {k: given[k] for k in ("run_type", "logical_date", "run_after")}
    return create(self, **given | {"run_id": DagRun.generate_run_id(**named)})


bag = BundleDagBag(Path(dags), bundle_path=Path(dags), bundle_name="dags-folder")
assert not bag.import_errors, bag.import_errors
print("DAGS", json.dumps(sorted(bag.dags)))
for dag in bag.dags.values():
    assert dag.doc_md and dag.tags, dag.dag_id
    assert all(t.owner and t.execution_timeout for t in dag.tasks), dag.dag_id
for request in sys.argv[5:]:
    dag_id, _, conf = request.partition("=")
    dag_id, _, fires = dag_id.partition("@")
    SerializedDAG.create_dagrun = as_scheduler if fires else create
    at = {"logical_date": timezone.parse(fires)} if fires else {}
    run = bag.dags[dag_id].test(run_conf=json.loads(conf) if conf else None, **at)
    tasks = {f"{t.task_id}[{t.map_index}]": str(t.state) for t in run.get_task_instances()}
    print("RUN", json.dumps([run.state.value, tasks]), flush=True)
with create_session() as session:
    for event in session.query(AssetEvent).order_by(AssetEvent.id):
        print("EVENT", json.dumps([event.asset.name, event.extra]))
    for link in session.query(XComModel).filter_by(key="_link_ReportLink").order_by("timestamp"):
        print("LINK", json.dumps(link.value))
report = bag.dags["nightly_clean"].get_task("report")
told = DagSerialization.from_dict(DagSerialization.to_dict(report.dag)).get_task("report")
print("BUTTON", json.dumps(told.extra_links))
"""


@dataclass
class Done:
    """What Airflow did: (state, task -> state) of each run, asset events, alerts."""

    dags: list[str]
    runs: list[tuple[str, dict[str, str]]]
    events: list[tuple[str, dict]]
    alerts: list[dict]
    links: list[str]  # to reports, one a run of the task; empty: none was written
    buttons: list[str]  # that the web server shows on the task


@pytest.fixture
def alerts():
    """A webhook on loopback: its address, and what was posted to it."""
    posted = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", posted
    server.shutdown()


@pytest.fixture
def airflow(tmp_path, alerts):
    """Function that runs DAGs on a workspace.

    Requests: 'nightly_clean={"date": ...}', by hand; 'nightly_clean@2024-01-18T02:00', by schedule.
    """

    def run(workspace: Workspace, *requests: str) -> Done:
        dags = shutil.copytree(DAGS, tmp_path / "dags")
        shutil.copy(dags / "examples" / "train_recommender.py", dags)
        command = [sys.executable, "-c", RUNNER, str(tmp_path / "airflow"), str(dags)]
        done = subprocess.run(
            [*command, str(workspace.config_path), alerts[0], *requests],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        lines = [line.partition(" ") for line in done.stdout.splitlines()]
        told = {
            kind: [json.loads(text) for mark, _, text in lines if mark == kind]
            for kind in ("DAGS", "RUN", "EVENT", "LINK", "BUTTON")
        }
        assert len(told["RUN"]) == len(requests)
        links, (buttons,) = told["LINK"], told["BUTTON"]
        return Done(told["DAGS"][0], told["RUN"], told["EVENT"], alerts[1], links, buttons)

    return run


def request(dag_id: str, day: object = None, **conf: object) -> str:
    return f"{dag_id}={json.dumps(conf | ({'date': str(day)} if day else {}))}"


def test_the_dags_train_clean_and_maintain_as_the_command_line_does(
    workspace, trained, copy_of, airflow
):
    by_hand = copy_of(trained, "by-hand")
    run_night(by_hand.config, by_hand.lake, NIGHT)
    with workspace.config_path.open("a") as config:
        config.write("\n[night]\nshards = 3\n\n[recommender]\nepochs = 1\n")
    champion = checkpoint.champion(workspace.lake)
    # In the way of the report of the last night.
    (workspace.folder / f"lake/reports/{NIGHTS[3]}.html").mkdir(parents=True)

    done = airflow(
        workspace,
        request("train_aligner", "2024-01-16"),
        request("nightly_clean", NIGHT),
        request("nightly_clean", NIGHT),
        request("nightly_clean", NIGHTS[3]),
        request("nightly_clean", NIGHTS[1], dry_run=True),
        request("maintain_lake"),
        request("train_recommender"),
        request("train_aligner", "1999-01-01"),
        request("nightly_clean", NIGHTS[2], model="no-such-model"),
    )
    assert done.dags == ["maintain_lake", "nightly_clean", "train_aligner", "train_recommender"]
    training, night, again, no_page, dry, upkeep, recommender, no_data, no_model = done.runs

    assert training[0] == night[0] == again[0] == dry[0] == upkeep[0] == recommender[0] == "success"
    assert [night[1][f"score[{i}]"] for i in range(3)] == ["success"] * 3
    for table in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS):
        ours, expected = workspace.contents(table), by_hand.contents(table)
        ours = ours.filter(ours["event_date"] == NIGHT)
        assert ours.drop("source_file", strict=False).equals(
            expected.drop("source_file", strict=False)
        )
    runs = workspace.contents(RUNS).sort("started_at")
    assert runs.filter(runs["step"] == "publish")["status"].to_list() == [
        "succeeded",
        "unchanged",
        "succeeded",
    ]
    assert runs.filter(runs["step"] == "audit")["status"].to_list() == ["succeeded"]

    models, nights = (
        [extra for name, extra in done.events if name == asset]
        for asset in ("iadsr_model", "iadsr_clean_interactions")
    )
    assert [(e["model_version"], e["status"]) for e in models] == [(champion, "unchanged")]
    assert [e["status"] for e in nights] == ["succeeded", "unchanged", "succeeded", "dry run"]
    published = nights[0]
    assert published["date"] == str(NIGHT)
    assert published["interactions"] == by_hand.contents(SCORED_INTERACTIONS).height
    assert published["removed_share"] == pytest.approx(
        published["removed"] / published["interactions"], abs=1e-4
    )

    assert (no_data[0], no_data[1]["train[-1]"]) == ("failed", "failed")
    assert (no_model[0], no_model[1]["plan[-1]"]) == ("failed", "failed")
    assert [alert["task"] for alert in done.alerts] == ["report", "train", "plan"]
    assert done.alerts[1]["command"] == "iadsr train --date 1999-01-01 --no-promote"
    assert "no interactions up to 1999-01-01" in done.alerts[1]["reason"]
    assert done.alerts[2]["command"] == f"iadsr run --date {NIGHTS[2]} --model no-such-model"

    # A report that fails is red, and takes nothing back.
    assert (no_page[0], no_page[1]["report[-1]"]) == ("success", "failed")
    assert done.alerts[0]["command"] == f"iadsr report --date {NIGHTS[3]}"
    assert [run[1]["report[-1]"] for run in (night, again, dry, no_model)] == [
        "success",
        "success",
        "skipped",
        "skipped",
    ]
    assert done.buttons == ["Report"]
    assert done.links == [f"/iadsr/reports/{NIGHT}.html"] * 2 + [""] * 3


def test_a_scheduled_night_cleans_again_what_changed_within_the_lateness_window(
    cleaned, copy_of, airflow
):
    workspace = copy_of(cleaned)
    with workspace.config_path.open("a") as config:
        config.write("\n[night]\nlateness_days = 1\n")
    midnights = [datetime.combine(night, time(), UTC) for night in NIGHTS[:2]]
    late = [("user3", "g0-0", int(midnight.timestamp())) for midnight in midnights]
    write_clicks(workspace.data / "clicks-late.csv", late)

    fires = NIGHTS[2] + timedelta(days=1)
    done = airflow(
        workspace, request("nightly_clean", NIGHTS[2]), f"nightly_clean@{fires}T02:00:00+00:00"
    )
    assert [state for state, _ in done.runs] == ["success", "success"]
    # By hand the date asked for alone; by schedule its own (unchanged by then) and the late one.
    told = [(e["date"], e["status"]) for _, e in done.events]
    assert (told[0], sorted(told[1:])) == (
        (str(NIGHTS[2]), "succeeded"),
        [(str(NIGHTS[1]), "succeeded"), (str(NIGHTS[2]), "unchanged")],
    )
    scored = workspace.contents(SCORED_INTERACTIONS)
    found = scored.filter(scored["event_time"].is_in(midnights))
    assert found["event_date"].to_list() == [NIGHTS[1]]
    # Before the window: listed until a backfill takes it.
    assert list(status(workspace.lake).stale) == [NIGHTS[0]]


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
summer = datetime.fromisoformat("2024-04-01T00:30:00+02:00")  # 31 March, 22:30 UTC
assert str(date_of({"data_interval_end": summer})) == "2024-03-30"
try:
    date_of({"params": {}})
except ValueError as error:
    assert '{"date": "YYYY-MM-DD"}' in str(error)
else:
    raise AssertionError("no date, and no error")
"""
    subprocess.run([sys.executable, "-c", code, str(DAGS)], check=True)


def test_an_alert_names_the_command_that_runs_exactly_the_failed_piece_again():
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from datetime import datetime, timezone
from types import SimpleNamespace as Thing
from iadsr_alerts import describe
planned = {"day": "2024-01-17", "shards": 4, "model_version": "m"}
piece = Thing(op_kwargs={"planned": planned, "shard": 2})
task = Thing(dag_id="nightly_clean", task_id="score", map_index=2, task=piece)
at = datetime(2024, 1, 17, 2, tzinfo=timezone.utc)
context = {"task_instance": task, "run_id": "r", "logical_date": at}
told = describe(context | {"exception": OSError("no space\\nleft")})
assert told["command"] == "iadsr score --date 2024-01-17 --shard 2/4 --model m", told
assert told["reason"] == "no space"
span = "--start-date 2024-01-17T02:00:00+00:00 --end-date 2024-01-17T02:00:00+00:00"
assert told["airflow"].endswith(span)
task.task_id = "publish"
command = describe(context)["command"]
assert command == "iadsr publish --date 2024-01-17 --shards 4 --model m", command
task.task_id, task.task = "ingest", Thing(op_kwargs={})
assert describe(context)["command"] == "iadsr ingest"  # a night reads earlier dates, too
"""
    subprocess.run([sys.executable, "-c", code, str(DAGS)], check=True)
