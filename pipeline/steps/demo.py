"""The whole job on a real data set, through Airflow: MovieLens-100K, three nights.

Airflow is started as a program, `airflow dags test`: one process a DAG run, on SQLite.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import polars as pl

from pipeline import demo_data
from pipeline.configuration import ENV_CONFIG_PATH, load
from pipeline.errors import ContractError, UserError
from pipeline.progress import logger
from pipeline.schemas import INTERACTIONS, QUARANTINE, RUNS, TABLES
from pipeline.steps.report import report
from pipeline.storage.catalog import DUCKDB_FILE
from pipeline.storage.lake import Lake
from pipeline.storage.sql import ask

TRAINED_AS_OF = date(1998, 4, 19)
NIGHTS = (date(1998, 4, 20), date(1998, 4, 21), date(1998, 4, 22))
SHOWN_REMOVALS = 8
# A line of Airflow's console log that one of our steps wrote.
_OUR_LINE = re.compile(r"\S+ \[\w+\s*\] (.*?)\s+\[iadsr\]")
DAGS = Path(__file__).resolve().parents[2] / "dags"

CONFIG = """\
# MovieLens-100K as RecBole's atomic files.
[lake]
path = "lake"

[sources.ratings]
format = "recbole"
path = "data/ml-100k.inter"

[catalogues.movies]
format = "recbole"
path = "data/ml-100k.item"
columns = { item_id = "item_id", title = "movie_title", year = "release_year", genres = "class" }
template = "{title} ({year}). {genres}"

[night]
shards = 2

[encoder]
backend = "ENCODER"
"""


@dataclass(frozen=True)
class DemoResult:
    """What the demo made. Rows are from the published catalogue."""

    catalogue: Path
    page: str  # the report of all nights
    accepted: int
    quarantined: int
    nights: pl.DataFrame  # event_date, interactions, kept, removed, not_scored
    removals: pl.DataFrame  # the most certain ones, with title and explanation
    changed: bool  # False: the tables were what they would become


def demo(folder: str, encoder: str) -> DemoResult:
    """Fetch the data, run `train_aligner` and three nights of `nightly_clean`, and tell the result.

    `encoder` is the backend that embeds the titles.

    Raises
    ------
    UserError
        Not in a checkout (no `dags/`), or Airflow is not installed.
    ContractError
        A DAG run failed; its log was printed above.
    """
    home = Path(folder).resolve()
    airflow = Path(sys.executable).with_name("airflow")
    if not (DAGS.is_dir() and airflow.exists()):
        raise UserError(
            "the demo needs a checkout with Airflow installed: run `make demo` in the checkout"
        )
    demo_data.fetch(home / "data")
    config_path = home / "iadsr.toml"
    config_path.write_text(CONFIG.replace("ENCODER", encoder))
    config = load(config_path, {}).config
    lake = Lake(config.lake.path)
    before = _contents(lake)
    environment = _airflow_environment(home, config_path)
    _airflow([airflow, "db", "migrate"], environment, "preparing Airflow's database")
    _run_dag(airflow, environment, "train_aligner", TRAINED_AS_OF)
    for night in NIGHTS:
        _run_dag(airflow, environment, "nightly_clean", night)
    page = report(config, lake, NIGHTS[0], NIGHTS[-1])
    return _result(home, lake, page, changed=_contents(lake) != before)


def _result(home: Path, lake: Lake, page: str, *, changed: bool) -> DemoResult:
    catalogue = home / "lake" / DUCKDB_FILE
    span = {"first": NIGHTS[0], "last": NIGHTS[-1]}
    with duckdb.connect(catalogue, read_only=True) as reader:
        nights = ask(reader, "night_summary", **span).pl()
        removals = ask(reader, "most_certain_removals", **span, count=SHOWN_REMOVALS).pl()
    return DemoResult(
        catalogue=catalogue,
        page=page,
        accepted=lake.size(INTERACTIONS)[0],
        quarantined=lake.size(QUARANTINE)[0],
        nights=nights,
        removals=removals,
        changed=changed,
    )


def _contents(lake: Lake) -> dict[str, int]:
    """Snapshot version of each table that holds data (`runs` tells of every attempt)."""
    return {t.name: lake.version(t) for t in TABLES if t != RUNS}


def _airflow_environment(home: Path, config_path: Path) -> dict[str, str]:
    """Environment of an Airflow that lives in the demo's folder and touches nothing else."""
    settings = {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "0",
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "airflow=WARNING iadsr=INFO",
        "PYTHONUNBUFFERED": "1",
        ENV_CONFIG_PATH: str(config_path),
    }
    return {**os.environ, **settings}


def _run_dag(airflow: Path, environment: Mapping[str, str], dag_id: str, day: date) -> None:
    conf = f'{{"date": "{day}"}}'
    command: list[Path | str] = [airflow, "dags", "test", dag_id, "--conf", conf]
    _airflow(command, environment, f"Airflow runs {dag_id} for {day}")


def _airflow(command: list[Path | str], environment: Mapping[str, str], label: str) -> None:
    """Run Airflow; of its output, show our own steps' lines, and all of it if it fails."""
    logger.info("%s ...", label)
    said = []
    with subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            said.append(line)
            if ours := _OUR_LINE.match(line):
                logger.info("  %s", ours.group(1))
    if running.returncode:
        logger.error("%s", "".join(said))
        raise ContractError(f"{label} failed (exit {running.returncode}); its log is above")
