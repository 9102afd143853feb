"""Whether a recommender is better that learns from, and is served from, the cleaned table.

An arm says how each row of a log is used; everything else is the same for all arms: vocabulary,
labels, and the items that are not recommended again because the user has had them.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from pipeline import columns as col
from pipeline.evaluation.names import DECISION_IADSR, at, decision_at
from pipeline.evaluation.ranking import Task
from pipeline.evaluation.recommender import CONTEXT, TARGET_WEIGHT
from pipeline.evaluation.splits import Split
from pipeline.models.model import count_items
from pipeline.models.names import COUNT, INJECTED
from pipeline.reasons import REMOVE

BASELINES = BASELINE_RAW, BASELINE_NOISY = "raw", "noisy"
# What can be had of a lake: the cleaned table, and an export with weights.
DELIVERED = ("cleaned", "soft")

Arm = Callable[[pl.DataFrame, int], pl.DataFrame]


def everything(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The log as it is: the arm that every other is measured against."""
    return _use(log, pl.lit(True), pl.lit(True))


def cleaned(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Removed rows are dropped: what the night publishes."""
    return _use(log, ~_removed(), ~_removed())


def weighted(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Each row is a target by its probability to be genuine; all are context."""
    return _use(log, _genuine(), pl.lit(True))


def soft(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Each row is a target by its probability to be genuine; removed rows are not context."""
    return _use(log, _genuine(), ~_removed())


def context(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Removed rows are not fed as context, but still learned as targets."""
    return _use(log, pl.lit(True), ~_removed())


def target(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Removed rows are not learned as targets, but still fed as context."""
    return _use(log, ~_removed(), pl.lit(True))


def random_rows(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """As many rows dropped as in `cleaned`, by lot: whether less data is what changes things."""
    lot = pl.Series(np.random.default_rng(seed).permutation(log.height))
    kept = pl.lit(lot >= _dropped(log))
    return _use(log, kept, kept)


def soft_random(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """What `soft` makes of the rows, dealt out by lot: whether any such weights would do."""
    lot = np.random.default_rng(seed).permutation(log.height)
    dealt = log.select(pl.col(col.DECISION, col.NOISE_PROBABILITY).gather(lot))
    return soft(log.with_columns(dealt), seed)


def popularity(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """As many rows dropped, those of the rarest items: whether removing what is rare is enough."""
    lot = pl.Series("lot", np.random.default_rng(seed).permutation(log.height))
    rarity = log.select(pl.len().over(col.ITEM_ID).alias(COUNT)).with_columns(lot)
    place = rarity.with_row_index("at").sort(COUNT, "lot").with_row_index("place").sort("at")
    kept = pl.lit(place["place"] >= _dropped(log))
    return _use(log, kept, kept)


def oracle(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Exactly the injected rows dropped: the most that cleaning can do."""
    return _use(log, ~pl.col(INJECTED), ~pl.col(INJECTED))


def iadsr(log: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The rows dropped that the paper's decision removes."""
    kept = pl.col(DECISION_IADSR) != REMOVE
    return _use(log, kept, kept)


ARMS: dict[str, Arm] = {
    "cleaned": cleaned,
    "weighted": weighted,
    "soft": soft,
    "context": context,
    "target": target,
    "random": random_rows,
    "soft_random": soft_random,
    "popularity": popularity,
    "oracle": oracle,
    "iadsr": iadsr,
}


def arms_of(
    log: pl.DataFrame, names: tuple[str, ...], budgets: tuple[float, ...] = ()
) -> dict[str, Arm]:
    """The baseline, then those of the named arms that this log has the columns and noise for.

    Those that can be had of a lake (`DELIVERED`) come under each of the budgets, too.
    """
    injected = bool(log[INJECTED].any())
    absent = {"oracle"} if not injected else set()
    if DECISION_IADSR not in log.columns:
        absent.add("iadsr")
    baseline = BASELINE_NOISY if injected else BASELINE_RAW
    arms: dict[str, Arm] = {baseline: everything}
    for name, arm in ARMS.items():
        if name in names and name not in absent:
            arms[name] = arm
            if name in DELIVERED:
                arms |= {at(name, budget): partial(_under, arm, budget) for budget in budgets}
    return arms


def task_of(split: Split, log: pl.DataFrame, used: pl.DataFrame) -> Task:
    """The task of one arm.

    Parameters
    ----------
    split : Split
        Whose labels are asked for.
    log : pl.DataFrame
        As `noisy_log` gives it.
    used : pl.DataFrame
        What the arm says of the log's rows.
    """
    used_at_all = (pl.col(TARGET_WEIGHT) > 0) | pl.col(CONTEXT)
    later = _use(split.between, pl.lit(True), pl.lit(True))
    history = pl.concat([used, later]).sort(col.USER_ID, maintain_order=True)
    return Task(
        train=used.filter(used_at_all),
        validate=split.validate,
        validate_history=_of_users(used, split.validate),
        targets=split.test,
        history=_of_users(history, split.test),
        vocabulary=count_items(log, 1),
    )


def _of_users(rows: pl.DataFrame, users: pl.DataFrame) -> pl.DataFrame:
    return rows.join(users, on=col.USER_ID, how="semi", maintain_order="left")


def dropped_share(used: pl.DataFrame) -> float:
    """Share of the log's rows that the arm uses in no way."""
    return used.select(((pl.col(TARGET_WEIGHT) == 0) & ~pl.col(CONTEXT)).mean()).item() or 0.0


def _under(arm: Arm, budget: float, log: pl.DataFrame, seed: int) -> pl.DataFrame:
    return arm(log.with_columns(pl.col(decision_at(budget)).alias(col.DECISION)), seed)


def _removed() -> pl.Expr:
    return pl.col(col.DECISION) == REMOVE


def _genuine() -> pl.Expr:
    return 1 - pl.col(col.NOISE_PROBABILITY).fill_null(0.0)


def _dropped(log: pl.DataFrame) -> int:
    return int(log.select(_removed().sum()).item())


def _use(log: pl.DataFrame, as_target: pl.Expr, as_context: pl.Expr) -> pl.DataFrame:
    return log.select(
        col.USER_ID,
        col.ITEM_ID,
        as_target.cast(pl.Float64).alias(TARGET_WEIGHT),
        as_context.alias(CONTEXT),
    )
