"""The `runs` table: one row per execution of a step, written when it ends, however it ends."""

import json
import logging
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from pipeline import __version__
from pipeline import columns as col
from pipeline.config import Config
from pipeline.digests import digest
from pipeline.errors import causes
from pipeline.progress import logger
from pipeline.schemas import RUNS
from pipeline.storage.lake import Lake, conform

SUCCEEDED, UNCHANGED, FAILED = "succeeded", "unchanged", "failed"

# Told of each run that ended, with its row of `runs`: whoever carries measurements on.
listeners: list[Callable[[dict[str, Any]], None]] = []

_ENGINES = ("polars", "deltalake", "duckdb", "torch", "transformers")


@dataclass
class Run:
    """What a step tells about itself while it works."""

    run_id: str
    step: str
    event_date: date | None = None
    status: str = SUCCEEDED
    counts: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    model_version: str | None = None
    encoder_id: str | None = None


def run_id(step: str, inputs: Any, day: date | None = None) -> str:
    """Name of a piece of work: `step[-YYYY-MM-DD]-<16 hex>`, a function of its inputs alone.

    Equal inputs (and code version) give an equal name, so a re-run writes equal rows.
    """
    name = digest({"step": step, "inputs": inputs, "code": __version__}, 16)
    return "-".join(part for part in (step, day.isoformat() if day else "", name) if part)


@contextmanager
def record(lake: Lake, config: Config, run: Run) -> Iterator[Run]:
    """Run a step's body and append its row to `runs`; an error is recorded and raised again."""
    started, clock = datetime.now(UTC), time.monotonic()
    error: str | None = None
    try:
        yield run
    except BaseException as caught:
        run.status, error = FAILED, f"{type(caught).__name__}: {causes(caught)}"
        raise
    finally:
        row = {
            col.RUN_ID: run.run_id,
            col.STEP: run.step,
            col.EVENT_DATE: run.event_date,
            col.STATUS: run.status,
            col.STARTED_AT: started,
            col.ENDED_AT: datetime.now(UTC),
            col.DURATION_S: time.monotonic() - clock,
            col.COUNTS: json.dumps(run.counts),
            col.INPUTS: json.dumps(run.inputs),
            col.OUTPUTS: json.dumps(run.outputs),
            col.MODEL_VERSION: run.model_version,
            col.ENCODER_ID: run.encoder_id,
            col.CONFIG_DIGEST: config.digest(),
            col.CODE_VERSION: __version__,
            col.ENGINES: json.dumps({name: metadata.version(name) for name in _ENGINES}),
            col.PEAK_MEMORY_BYTES: _peak_memory(),
            col.ERROR: error,
        }
        _append(lake, row, failed=error is not None)
        logger.log(logging.ERROR if error else logging.INFO, "%s", line(row))
        for listener in listeners:
            listener(row)


def line(row: dict[str, Any]) -> str:
    """A run in one line of `key=value`: what it was, how it ended, what it counted and took."""
    counts = json.loads(row[col.COUNTS])
    told = {
        "step": row[col.STEP],
        "run": row[col.RUN_ID],
        "date": row[col.EVENT_DATE],
        "shard": json.loads(row[col.INPUTS]).get("shard"),
        "status": row[col.STATUS],
        "seconds": round(row[col.DURATION_S], 1),
        "peak_mib": row[col.PEAK_MEMORY_BYTES] >> 20,
        **counts,
        "removed_share": removed_share(counts),
        "error": json.dumps(row[col.ERROR]) if row[col.ERROR] else None,
    }
    return " ".join(f"{key}={value}" for key, value in told.items() if value is not None)


def removed_share(counts: dict[str, int]) -> float | None:
    """Share of a night's, or a shard's, interactions that was removed; None: does not apply."""
    rows = counts.get("interactions") or counts.get("scored")
    return round(counts["removed"] / rows, 4) if rows and "removed" in counts else None


def _peak_memory() -> int:
    """Peak resident bytes. `ru_maxrss` only at need: a child inherits its parent's."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _append(lake: Lake, row: dict[str, Any], *, failed: bool) -> None:
    try:
        lake.append(RUNS, conform(pl.DataFrame([row]), RUNS))
    except Exception as error:
        if not failed:
            raise
        # The step's own error is the one that the user needs to see.
        reason = str(error).splitlines()[0]
        logger.error("the failed run could not be recorded in `runs`: %s", reason)
