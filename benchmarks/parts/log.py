"""The log that a benchmark runs on: a folder's, or one that is generated."""

from pathlib import Path

import numpy as np
import polars as pl

from pipeline import columns as col

USERS, ITEMS, MEAN_LENGTH = 20_000, 12_000, 9


def read_log(folder: Path | None, *, shuffled: bool = False) -> pl.DataFrame:
    """user_id, item_id in sequence order, from FOLDER/interactions.csv.gz or generated.

    The file has the columns user_id, item_id and timestamp (seconds); equal times stay in the
    file's order, or in one that is drawn.
    """
    if folder is None:
        return generate(USERS, ITEMS, USERS * MEAN_LENGTH)
    log = pl.read_csv(folder / "interactions.csv.gz", infer_schema=False)
    if shuffled:
        log = log.sample(fraction=1, shuffle=True, seed=0)
    log = log.sort(col.USER_ID, pl.col("timestamp").cast(pl.Int64), maintain_order=True)
    return log.select(col.USER_ID, col.ITEM_ID)


def generate(users: int, items: int, rows: int) -> pl.DataFrame:
    """Users of unequal activity, items of unequal popularity, no structure besides."""
    draw = np.random.default_rng(0)
    user = np.sort((users * draw.random(rows) ** 1.5).astype(np.int64))
    item = (items * draw.random(rows) ** 2).astype(np.int64)
    return pl.DataFrame({col.USER_ID: user, col.ITEM_ID: item}).cast(pl.String)
