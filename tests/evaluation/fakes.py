"""A recommender that counts: which items stand beside the user's in others' sequences."""

import numpy as np
import polars as pl

from pipeline.config import RecommenderConfig
from pipeline.evaluation.ranking import Task, both


def first(task: Task) -> pl.DataFrame:
    """Ranks of a recommender that is always right."""
    items = (task.validate, task.targets)
    return both(*(x.select("user_id", pl.lit(1).alias("rank")) for x in items))


def counting(task: Task, config: RecommenderConfig, seed: int) -> pl.DataFrame:
    """Rank by weighted co-occurrence with the context; what was seen is not ranked."""
    return both(
        _counted(task, task.validate_history, task.validate),
        _counted(task, task.history, task.targets),
    )


def _counted(task: Task, history: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    items = {item: n for n, item in enumerate(task.vocabulary["item_id"])}

    def matrix(frame: pl.DataFrame, weight: pl.Expr) -> tuple[list[str], np.ndarray]:
        users = frame["user_id"].unique().sort().to_list()
        row = {user: n for n, user in enumerate(users)}
        found = np.zeros((len(users), len(items)))
        for user, item, w in frame.select("user_id", "item_id", weight).iter_rows():
            found[row[user], items[item]] = w
        return users, found

    fed, learned = pl.col("context").cast(pl.Float64), pl.col("target_weight")
    together = matrix(task.train, fed)[1].T @ matrix(task.train, learned)[1]
    users, context = matrix(history, fed)
    seen = matrix(history, pl.lit(1.0))[1] > 0
    score = np.where(seen, -1.0, context @ together)
    row = {user: n for n, user in enumerate(users)}
    ranks = [
        (user, 1 + int((score[row[user]] > score[row[user], items[item]]).sum()))
        for user, item in targets.iter_rows()
        if user in row and item in items
    ]
    return pl.DataFrame(ranks, schema=["user_id", "rank"], orient="row")
