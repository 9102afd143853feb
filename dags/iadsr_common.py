"""What the DAGs share: which date a run cleans, default arguments, and a task's session."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.storage.lake import Lake

START = datetime(1990, 1, 1, tzinfo=UTC)

DEFAULT_ARGS = {
    "owner": "data-engineering",
    # Airflow's own default is no retry at all; what the deployment says wins.
    "retries": int(os.environ.get("AIRFLOW__CORE__DEFAULT_TASK_RETRIES", "2")),
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": True,
    "execution_timeout": timedelta(hours=4),
}

DATE_PARAM = {
    "type": ["null", "string"],
    "format": "date",
    "description": "UTC date; empty: the day before the run fires",
}


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
    not mend them. A lost race and an unforeseen error are retried.
    """
    from pipeline.configuration import load
    from pipeline.errors import ContractError, UserError
    from pipeline.storage.lake import Lake

    try:
        config = load().config
        yield config, Lake(config.lake.path)
    except (UserError, ContractError) as error:
        raise AirflowFailException(str(error)) from None
