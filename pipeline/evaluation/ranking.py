"""What a recommender is asked: to learn from one table, and to rank what is held out."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from pipeline import columns as col
from pipeline.config import RecommenderConfig
from pipeline.evaluation.names import HELD_OUT, TEST, VALIDATION
from pipeline.evaluation.recommender import RANK, fit_recommender, ranks


@dataclass(frozen=True)
class Task:
    """What a recommender gets. Frames of interactions are sorted by user in sequence order.

    `train` and the histories have user_id, item_id, target_weight (f64) and context (bool); a row
    of a history without context is not fed to the recommender, yet its item counts as seen.
    """

    train: pl.DataFrame
    validate: pl.DataFrame  # user_id, item_id; what follows the user's `train`
    validate_history: pl.DataFrame
    targets: pl.DataFrame  # user_id, item_id
    history: pl.DataFrame  # of the test
    vocabulary: pl.DataFrame  # item_id, count


# A task, the settings, the seed -> held_out, user_id and rank of the task's held-out items.
Recommend = Callable[[Task, RecommenderConfig, int], pl.DataFrame]


def train_and_rank(task: Task, config: RecommenderConfig, seed: int) -> pl.DataFrame:
    """Train the configured backbone on the task and rank what is held out, seen items left out."""
    fitted = fit_recommender(task.train, task.validate, task.vocabulary, config, seed)
    validated = ranks(fitted, task.validate_history, task.validate)
    return both(validated, ranks(fitted, task.history, task.targets))


def both(validation: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """Rows of the validation and of the test, told apart by `held_out`."""
    parts = {VALIDATION: validation, TEST: test}
    return pl.concat(
        part.select(pl.lit(name).alias(HELD_OUT), pl.all()) for name, part in parts.items()
    )


def measure_ranks(
    task: Task, config: RecommenderConfig, seed: int, recommend: Recommend
) -> pl.DataFrame:
    """held_out, user_id and rank of every held-out item; null where the recommender gives none.

    Sorted by the first two.
    """
    key = [HELD_OUT, col.USER_ID]
    found = recommend(task, config, seed).select(*key, pl.col(RANK).cast(pl.UInt32))
    asked = both(task.validate.select(col.USER_ID), task.targets.select(col.USER_ID))
    return asked.join(found, on=key, how="left").sort(key)
