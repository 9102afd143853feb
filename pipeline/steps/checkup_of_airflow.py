"""Does Airflow answer, and does it find our DAGs? Another program is asked: nothing is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.steps.verdicts import FAIL, OK, WARN, Verdict
from pipeline.storage.lake import Lake

ANSWER_S = 60.0  # its import alone takes seconds
DAG = "nightly_clean.py"

# Its last line tells what it found.
_ASK = """
import json
from airflow.configuration import conf
from sqlalchemy import create_engine, inspect
engine = create_engine(conf.get("database", "sql_alchemy_conn"))
told = {"dags": conf.get("core", "dags_folder"), "database": engine.dialect.name, "error": None}
try:
    told["migrated"] = inspect(engine).has_table("dag_run")
except Exception as error:
    told["error"] = str(error).splitlines()[0]
print(json.dumps(told))
"""


def airflow(config: Config, lake: Lake) -> Verdict:
    """Airflow's database, its folder of DAGs, and the variable by which they find us."""
    if not Path(sys.executable).with_name("airflow").exists():
        return Verdict(
            WARN, "not installed here", "`pip install .[airflow]`, or run nights by hand"
        )
    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
    if not home.is_dir() and "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" not in os.environ:
        return Verdict(WARN, f"no AIRFLOW_HOME at {home}", "set it, then `airflow db migrate`")
    command = [sys.executable, "-c", _ASK]
    asked = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=False, timeout=ANSWER_S
    )
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["no message"])[-1]
        return Verdict(FAIL, f"cannot be imported ({last})", "install by constraints.txt: `make`")
    return _judge(json.loads(asked.stdout.strip().splitlines()[-1]))


def _judge(told: dict[str, Any]) -> Verdict:
    name, dags = told["database"], Path(told["dags"])
    if told["error"]:
        return Verdict(FAIL, f"its database does not answer ({told['error']})", f"start {name}")
    if not told["migrated"]:
        return Verdict(FAIL, f"its {name} database is empty", "`airflow db migrate`")
    if not list(dags.rglob(DAG)):
        mend = "set AIRFLOW__CORE__DAGS_FOLDER to our dags/"
        return Verdict(FAIL, f"no {DAG} in {dags}", mend)
    if "IADSR_CONFIG" not in os.environ:
        return Verdict(WARN, "IADSR_CONFIG is not set here", "set it where Airflow's workers run")
    if name == "sqlite":
        return Verdict(WARN, "its database is SQLite", "PostgreSQL, for all but single dates")
    return Verdict(OK, f"{name} answers, DAGs in {dags}")
