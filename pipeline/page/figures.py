"""The figures of the report: the answers to the questions of `sql/report/`, over one state."""

import io
from datetime import date
from typing import Any

import polars as pl

from pipeline import columns as col
from pipeline.config import BAND_DAYS, Config
from pipeline.storage import catalog, files
from pipeline.storage.lake import Lake
from pipeline.storage.sql import ask, statements

LISTED = 10  # removals, keeps
RESULTS, MEASURED = "results.parquet", "usefulness"  # of an evaluation

Rows = list[dict[str, Any]]


def figures(config: Config, lake: Lake, first: date, last: date) -> dict[str, Rows]:
    """Every figure of the report on the dates from `first` to `last`, by the name of its query.

    What is asked of the cookbook (`most_certain_removals`, `narrowest_keeps`) is there, too.
    """
    span = {"first": first, "last": last}
    with catalog.connect(lake, catalog.snapshot(lake)) as connection:

        def answer(query: str, folder: str = "report", **variables: Any) -> Rows:
            return ask(connection, query, folder=folder, **span, **variables).pl().to_dicts()

        model, evaluation = answer("model"), answer("evaluation")
        known = {
            "model": model[0][col.MODEL_VERSION],
            "gates": list(statements("gates")),
            "band_days": BAND_DAYS,
            "min_rows": config.gate.min_rows,
            "min_nights": config.gate.min_nights,
        }
        found = {name: answer(name, **known) for name in statements("report") if name != MEASURED}
        for name in ("most_certain_removals", "narrowest_keeps"):
            found[name] = answer(name, "queries", count=LISTED)
        results = _results(evaluation)
        if results is not None:
            connection.register("evaluation_results", results)
        return found | {MEASURED: [] if results is None else answer(MEASURED)}


def _results(evaluation: Rows) -> pl.DataFrame | None:
    """What the newest evaluation measured; None without one, or where its folder is gone."""
    path = files.join(evaluation[0]["folder"], RESULTS) if evaluation else ""
    if not (path and files.exists(path)):
        return None
    return pl.read_parquet(io.BytesIO(files.read_bytes(path)))
