"""The figures of the report: the answers to the questions of `sql/report/`, over one state."""

import io
from datetime import date
from typing import Any

import polars as pl

from pipeline import columns as col
from pipeline.config import BAND_DAYS, Config
from pipeline.storage import catalog, files, places
from pipeline.storage.lake import Lake
from pipeline.storage.sql import answer, statements

COOKBOOK = ("most_certain_removals", "narrowest_keeps")
LISTED = 10  # of each
MEASURED = "usefulness"  # asked of an evaluation

Rows = list[dict[str, Any]]


def figures(config: Config, lake: Lake, first: date, last: date) -> dict[str, Rows]:
    """Every figure of the report on the dates from `first` to `last`, by the name of its query.

    Those of the cookbook that are asked, too, are named in `COOKBOOK`.
    """
    queries = statements("report")
    measured = queries.pop(MEASURED)
    with catalog.connect(lake, catalog.snapshot(lake)) as connection:

        def ask(query: str, **variables: Any) -> Rows:
            rows: Rows = answer(connection, query, **variables).pl().to_dicts()
            return rows

        model = ask(queries["model"], first=first, last=last)[0][col.MODEL_VERSION]
        known = {
            "model": model,
            "gates": list(statements("gates")),
            "band_days": BAND_DAYS,
            "min_rows": config.gate.min_rows,
            "min_nights": config.gate.min_nights,
            "count": LISTED,
        }
        queries |= {name: statements("queries")[name] for name in COOKBOOK}
        found = {name: ask(query, **known) for name, query in queries.items()}
        results = _results(found["evaluation"])
        if results is not None:
            connection.register("evaluation_results", results)
        return found | {MEASURED: [] if results is None else ask(measured)}


def _results(evaluation: Rows) -> pl.DataFrame | None:
    """What the newest evaluation measured; None without one, or where its folder is gone."""
    path = files.join(evaluation[0]["folder"], places.RESULTS) if evaluation else ""
    if not (path and files.exists(path)):
        return None
    return pl.read_parquet(io.BytesIO(files.read_bytes(path)))
