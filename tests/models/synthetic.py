"""Two tastes: users of one take items 0-19, users of the other 20-39; texts tell the same story."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from pipeline.config import (
    ClozeConfig,
    Config,
    DecisionConfig,
    ModelConfig,
    SequenceConfig,
    TrainConfig,
)
from pipeline.sequences import COLUMNS

FIRST_DAY = date(2024, 1, 1)
DAYS = 8
ITEMS = 20  # of each taste

CONFIG = Config(
    sequence=SequenceConfig(max_length=12),
    model=ModelConfig(dim=16, hidden=16, semantic_dim=8, dropout=0.0),
    cloze=ClozeConfig(dim=16, heads=2, epochs=6, batch_positions=256, learning_rate=0.01),
    train=TrainConfig(
        epochs=6,
        backbone_epochs=2,
        batch_positions=256,
        negatives=16,
        learning_rate=0.01,
        validation_share=0.4,
    ),
    decision=DecisionConfig(strata=(40,), min_calibration_rows=50),
)


def taste(item: str) -> int:
    return int(item.removeprefix("i")) // ITEMS


def log(users: int = 240, seed: int = 0) -> pl.DataFrame:
    """One or two events a day, in sequence order."""
    draw = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        order = draw.permutation(ITEMS)[: DAYS + 4] + ITEMS * (user % 2)
        for place, item in enumerate(order):
            day = FIRST_DAY + timedelta(days=min(place, DAYS - 1))
            time = datetime(day.year, day.month, day.day, 1, tzinfo=UTC) + timedelta(minutes=place)
            rows.append((len(rows), f"u{user:04d}", f"i{item}", time, day))
    schema = dict(zip(COLUMNS, (pl.Int64, pl.String, pl.String, None, pl.Date), strict=True))
    schema["event_time"] = pl.Datetime("us", "UTC")
    return pl.DataFrame(rows, schema=schema, orient="row")


def vectors(seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(2, 16))
    items = [f"i{number}" for number in range(2 * ITEMS)]
    matrix = np.stack([centres[taste(item)] + draw.normal(size=16) for item in items])
    array = pl.Series("vector", matrix.astype(np.float32), dtype=pl.Array(pl.Float32, 16))
    return pl.DataFrame({"item_id": items, "vector": array})
