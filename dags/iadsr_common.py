"""What the DAGs share: default arguments, parameters, assets, and a task's session.

Pools, queues and the address of alerts come from the environment of the deployment:
`DAGS_GPU_POOL`, `DAGS_LAKE_POOL` (default: Airflow's own pool), `DAGS_GPU_QUEUE`, `DAGS_CPU_QUEUE`
(default: `default`), `DAGS_ALERT_URL` (default: alerts are only logged).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperatorLink, conf, get_current_context
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.observability import stats
from iadsr_alerts import alert
from iadsr_lineage import name_tables

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.storage.lake import Lake

START = datetime(1990, 1, 1, tzinfo=UTC)

CLEAN = Asset("iadsr_clean_interactions")  # an event a date, published or not (its `status` says)
MODEL = Asset("iadsr_model")  # an event a model, promoted or not (its `status` says)

# One task of a pool's slots at a time, of nights and backfills together.
GPU = {
    "pool": os.environ.get("DAGS_GPU_POOL", "default_pool"),
    "queue": os.environ.get("DAGS_GPU_QUEUE", "default"),
}
LAKE = {"pool": os.environ.get("DAGS_LAKE_POOL", "default_pool")}

DEFAULT_ARGS = {
    "owner": "data-engineering",
    "queue": os.environ.get("DAGS_CPU_QUEUE", "default"),
    # Airflow's own default is no retry at all; what the deployment says wins.
    "retries": int(os.environ.get("AIRFLOW__CORE__DEFAULT_TASK_RETRIES", "3")),
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=15),
    "execution_timeout": timedelta(hours=1),
    "on_failure_callback": alert,
}
LONG = timedelta(hours=6)  # of steps that learn, embed or score


class ReportLink(BaseOperatorLink):
    """From the task `report` to the page that it wrote, which `plugins/iadsr_reports.py` serves."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Address of the page; empty where there is none."""
        page = ti_key.xcom_pull(task_ids=operator.task_id)
        root = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{root}/iadsr/reports/{page}" if page else ""


DATE_PARAM = {
    "type": ["null", "string"],
    "format": "date",
    "description": "UTC date; empty: the day before the run fires",
}
OVERRIDE_PARAM = {
    "type": ["null", "string"],
    "description": "Reason to pass the gates; it is recorded in the table `runs`",
}
DRY_RUN_PARAM = {"type": "boolean", "description": "Judge and say, but put nothing in use"}
MODEL_PARAM = {"type": ["null", "string"], "description": "Model version; empty: the one in use"}


def date_of(context: Mapping[str, Any]) -> date:
    """UTC date that a run works on: `params.date`, else the day before its data interval ends."""
    asked = (context.get("params") or {}).get("date")
    if asked:
        return date.fromisoformat(asked)
    end = context.get("data_interval_end")
    if end is None:
        raise ValueError('this run has no data interval: trigger it with {"date": "YYYY-MM-DD"}')
    day: datetime = end.astimezone(UTC) - timedelta(days=1)
    return day.date()


@contextmanager
def session() -> "Iterator[tuple[Config, Lake]]":
    """Configuration (`$IADSR_CONFIG`) and lake, around the body of a task.

    A wrong request and a broken contract fail the task at once, with one line: trying again would
    not mend them. A lost race, a store that fails and an unforeseen error are retried.
    """
    from pipeline.configuration import load
    from pipeline.errors import ContractError, StoreError, UserError
    from pipeline.storage import runs
    from pipeline.storage.lake import Lake

    before = len(runs.listeners)
    runs.listeners.append(_measure)
    try:
        config = load().config
        lake = Lake(config.lake.path)
        runs.listeners.append(partial(name_tables, get_current_context()["task"], lake.root))
        yield config, lake
    except StoreError:
        raise
    except (UserError, ContractError) as error:
        raise AirflowFailException(str(error)) from None
    finally:
        del runs.listeners[before:]


def _measure(row: dict[str, Any]) -> None:
    """A step's run as Airflow metrics, `iadsr.<what>` with the step as a tag."""
    import json

    from pipeline.storage.runs import removed_share

    tags = {"step": row["step"]}
    counts = json.loads(row["counts"])
    stats.incr(f"iadsr.runs.{row['status']}", tags=tags)
    stats.gauge("iadsr.seconds", row["duration_s"], tags=tags)
    stats.gauge("iadsr.peak_memory_bytes", row["peak_memory_bytes"], tags=tags)
    for name, count in counts.items():
        stats.gauge(f"iadsr.rows.{name}", count, tags=tags)
    share = removed_share(counts)
    if share is not None:
        stats.gauge("iadsr.removed_share", share, tags=tags)
