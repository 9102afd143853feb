"""What is told when a task has failed for good: the reason, and the command that re-runs the piece.

One line of JSON in the scheduler's log; where `DAGS_ALERT_URL` is set, the same as a POST, for a
chat's or a pager's webhook.
"""

import json
import logging
import os
import urllib.request
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger("iadsr.alerts")

TIMEOUT_S = 10
_COMMANDS = {
    "ingest": "iadsr ingest",
    "embed": "iadsr embed",
    "plan": "iadsr run{date}{model}",
    "shards": "iadsr run{date}{model}",
    "score": "iadsr score{date}{shard}{model}",
    "publish": "iadsr publish{date}{shards}{model}",
    "report": "iadsr report{date}",
    "train": "iadsr train{date} --no-promote",
    "promote": "iadsr models promote {version}",
    "maintain": "iadsr maintain",
}


def alert(context: Mapping[str, Any]) -> None:
    """Tell of a failed task. An alert that cannot be delivered is logged, and harms nothing."""
    told = describe(context)
    text = json.dumps(told)
    logger.error("%s", text)
    url = os.environ.get("DAGS_ALERT_URL")
    if not url:
        return
    request = urllib.request.Request(  # noqa: S310  (the deployment's own address)
        url, text.encode(), {"Content-Type": "application/json"}
    )
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310
    except OSError as error:
        logger.error("the alert could not be delivered to DAGS_ALERT_URL: %s", error)


def describe(context: Mapping[str, Any]) -> dict[str, Any]:
    """Which task failed, why, and the commands that run exactly that piece again."""
    task = context["task_instance"]
    reason = str(context.get("exception") or "it was killed, or ran out of time or memory")
    return {
        "alert": "task failed",
        "dag": task.dag_id,
        "task": task.task_id,
        "map_index": task.map_index,
        "run": context["run_id"],
        "reason": reason.splitlines()[0],
        "command": _command(context, task),
        "airflow": _airflow_command(context, task),
    }


def _airflow_command(context: Mapping[str, Any], task: Any) -> str:
    """Clears the failed task and what waits for it, or triggers the DAG anew."""
    at = context.get("logical_date")
    if at is None:
        conf = json.dumps(dict(context.get("params") or {}))
        return f"airflow dags trigger {task.dag_id} --conf '{conf}'"
    return (
        f"airflow tasks clear {task.dag_id} --task-regex '^{task.task_id}$' --downstream "
        f"--only-failed --yes --start-date {at.isoformat()} --end-date {at.isoformat()}"
    )


def _command(context: Mapping[str, Any], task: Any) -> str | None:
    """The shell command of the piece, with what the failed task was given."""
    from iadsr_common import date_of

    given = dict(getattr(task.task, "op_kwargs", None) or {})
    planned = given.get("planned") if isinstance(given.get("planned"), dict) else {}
    try:
        day = planned.get("day") or date_of(context)
    except ValueError:
        day = None
    model = planned.get("model_version") or (context.get("params") or {}).get("model")
    shards = planned.get("shards")
    parts = {
        "date": f" --date {day}" if day else "",
        "model": f" --model {model}" if model else "",
        "shard": f" --shard {given.get('shard')}/{shards}" if shards else "",
        "shards": f" --shards {shards}" if shards else "",
        "version": given.get("version", "VERSION"),
    }
    command = _COMMANDS.get(task.task_id)
    return command.format(**parts) if command else None
