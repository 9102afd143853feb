"""The plugin in Airflow's own web application: who may see the nights sees their reports."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import CONFIG

PLUGINS = Path(__file__).parents[2] / "plugins"

# Asks Airflow's web application for the paths: without a token, then with an administrator's.
BROWSER = """
import json, os, sys

home, plugins, config = sys.argv[1:4]
os.environ |= {
    "AIRFLOW_HOME": home,
    "AIRFLOW__CORE__PLUGINS_FOLDER": plugins,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-this-test-" * 4,
    "IADSR_CONFIG": config,
}
from airflow.utils.db import initdb
initdb()
from airflow.api_fastapi.app import create_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from starlette.testclient import TestClient

with TestClient(create_app(apps="core")) as client:
    admin = SimpleAuthManagerUser(username="admin", role="admin")
    token = client.app.state.auth_manager.generate_jwt(admin)
    for headers in ({}, {"Authorization": f"Bearer {token}"}):
        for path in sys.argv[4:]:
            answer = client.get(path, headers=headers)
            print("GOT", json.dumps([answer.status_code, answer.text]))
"""


def test_whoever_may_see_the_nights_sees_their_reports_and_nothing_else(tmp_path):
    config = tmp_path / "iadsr.toml"
    config.write_text(CONFIG.format(data=tmp_path))
    reports = tmp_path / "lake" / "reports"
    reports.mkdir(parents=True)
    (reports / "2024-01-17.html").write_text("<h1>a night</h1>")
    (reports / "notes.txt").write_text("not a report")
    paths = [
        f"/iadsr/reports/{name}"
        for name in ("2024-01-17.html", "2024-01-18.html", "notes.txt", "..%2F..%2Fiadsr.toml")
    ]
    command = [sys.executable, "-c", BROWSER, str(tmp_path / "airflow"), str(PLUGINS), str(config)]
    done = subprocess.run(
        [*command, *paths], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    got = [json.loads(x.removeprefix("GOT ")) for x in done.stdout.splitlines() if x[:4] == "GOT "]
    assert [status for status, _ in got] == [401] * 3 + [404] + [200, 404, 404, 404]
    assert got[4][1] == "<h1>a night</h1>"
