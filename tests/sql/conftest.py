"""Views over given rows: SQL unit tests write what is there and read what a view makes of it."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from pipeline.schemas import TABLES
from pipeline.storage import catalog
from pipeline.storage.lake import Lake, conform

DAY = date(2024, 1, 17)
Rows = list[dict[str, Any]]


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., duckdb.DuckDBPyConnection]:
    """Function that writes rows (table -> rows) into a new lake and opens its catalogue."""

    def open_catalogue(**given: Rows) -> duckdb.DuckDBPyConnection:
        lake = Lake(str(tmp_path / f"lake{len(list(tmp_path.iterdir()))}"))
        for table in TABLES:
            rows = given.get(table.name)
            if rows:
                frame = pl.DataFrame(rows, infer_schema_length=None)
                lake.append(table, conform(frame, table))
        path = catalog.build(lake)
        assert path is not None
        return duckdb.connect(path, read_only=True)

    return open_catalogue


@pytest.fixture
def ask(opened) -> Callable[..., Rows]:
    """Function that runs a query on given rows."""

    def run(query: str, **given: Rows) -> Rows:
        with opened(**given) as connection:
            return connection.sql(query).pl().to_dicts()

    return run


def decision(user: str, item: str, probability: float | None, **other: Any) -> dict[str, Any]:
    """A row of `scored_interactions`: removed from .8 on."""
    removed = probability is not None and probability >= 0.8
    reason = "unlike_titles" if removed else "below_threshold"
    return {
        "event_date": DAY,
        "user_id": user,
        "item_id": item,
        "noise_probability": probability,
        "threshold": 0.8,
        "stratum": "1-5",
        "decision": "remove" if removed else "keep",
        "reason": reason if probability is not None else "short_history",
        "strongest_signals": "signal_semantic, signal_surprise" if removed else None,
        "model_version": "m1",
        "run_id": "night-1",
        **other,
    }
