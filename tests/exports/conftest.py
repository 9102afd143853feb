"""A lake with given decisions: exports need no model."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline import columns as col
from pipeline.config import Config
from pipeline.configuration import load
from pipeline.hashing import interaction_hash
from pipeline.schemas import INTERACTIONS, ITEMS, SCORED_INTERACTIONS
from pipeline.storage.lake import Lake, conform

# user, item, day of January 2024 (an event each hour of it), noise probability (None: not judged)
Row = tuple[str, str, int, float | None]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "iadsr.toml").write_text('[lake]\npath = "lake"\n')
    return load(tmp_path / "iadsr.toml", {}).config


@pytest.fixture
def decided(config: Config) -> Callable[..., Lake]:
    """Function that makes a lake: all rows are accepted, those before `undecided` decided.

    Removed from a noise probability of .8 on. `titles` are the catalogue.
    """

    def make(
        rows: Sequence[Row], titles: dict[str, str] | None = None, undecided: int = 32
    ) -> Lake:
        lake, frame = Lake(config.lake.path), events(rows)
        lake.append(INTERACTIONS, conform(frame, INTERACTIONS))
        before = frame.filter(pl.col(col.EVENT_DATE).dt.day() < undecided)
        if not before.is_empty():
            lake.append(SCORED_INTERACTIONS, conform(before, SCORED_INTERACTIONS))
        known = [{"item_id": item, "title": title} for item, title in (titles or {}).items()]
        if known:
            lake.append(ITEMS, conform(pl.DataFrame(known), ITEMS))
        return lake

    return make


def events(rows: Sequence[Row]) -> pl.DataFrame:
    """The rows as both tables have them."""
    times = [datetime(2024, 1, row[2]) + timedelta(hours=n % 24) for n, row in enumerate(rows)]
    frame = pl.DataFrame(
        {
            col.USER_ID: [row[0] for row in rows],
            col.ITEM_ID: [row[1] for row in rows],
            col.EVENT_TIME: pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            col.NOISE_PROBABILITY: pl.Series([row[3] for row in rows], dtype=pl.Float64),
        }
    )
    keys = [pl.col(name) for name in (col.USER_ID, col.ITEM_ID, col.EVENT_TIME)]
    removed = (pl.col(col.NOISE_PROBABILITY) >= 0.8).fill_null(value=False)
    return frame.with_columns(
        interaction_hash(*keys, pl.lit(None, dtype=pl.String)).alias(col.INTERACTION_ID),
        pl.col(col.EVENT_TIME).dt.date().alias(col.EVENT_DATE),
        pl.when(removed).then(pl.lit("remove")).otherwise(pl.lit("keep")).alias(col.DECISION),
        pl.lit(3.5).alias(col.VALUE),
        pl.lit("model-1").alias(col.MODEL_VERSION),
        pl.lit("night-1").alias(col.RUN_ID),
    )
