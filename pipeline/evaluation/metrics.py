"""From ranks to metrics, and how sure one can be of them: paired bootstrap over users.

Every arm is resampled with the same users, so that a difference is that of the arms.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline import columns as col
from pipeline.evaluation.recommender import RANK

Floats = npt.NDArray[np.float64]

CUTOFFS = (5, 10, 20)
GAINS = ("HR", "NDCG")
DRAWS = 2_000
# A recovery is a ratio: with a denominator below so many of its standard errors it says nothing.
MIN_GAP_ERRORS = 4.0
# Draws times users of one block of resampled counts: a bound of memory.
BLOCK = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % bootstrap interval and standard error."""

    value: float
    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Recovery:
    """How much of what noise costs is won back, and what that costs in standard errors."""

    share: Estimate
    gap: Estimate  # oracle - noisy
    gap_errors: float


def columns() -> list[tuple[str, str, int]]:
    """(column, metric, k) of each value that `per_user` gives: ("HR@5", "HR", 5), ..."""
    return [(f"{metric}@{k}", metric, k) for metric in GAINS for k in CUTOFFS]


def per_user(ranks: pl.DataFrame) -> pl.DataFrame:
    """HR@K and NDCG@K of each user, seeds averaged first.

    Parameters
    ----------
    ranks : pl.DataFrame
        Columns user_id and rank (from 1; null: a miss), one row per user and seed.

    Returns
    -------
    pl.DataFrame
        user_id and the columns of `columns()`, float64, sorted by user.
    """
    gains = [_gain(metric, k).mean().alias(name) for name, metric, k in columns()]
    return ranks.group_by(col.USER_ID).agg(gains).sort(col.USER_ID)


def _gain(metric: str, k: int) -> pl.Expr:
    rank = pl.col(RANK).cast(pl.Float64)
    worth = pl.lit(1.0) if metric == "HR" else 1 / (rank + 1).log(2)
    return pl.when(rank <= k).then(worth).otherwise(0.0)


def resampled_means(value_UC: Floats, seed: int, draws: int = DRAWS) -> Floats:
    """Means (draws, C) of the columns over users drawn with replacement, all columns alike.

    Parameters
    ----------
    value_UC : array of float64
        One row per user, one column per value.
    seed : int
        Equal seeds draw equal users.
    draws : int
        How many times.
    """
    users = len(value_UC)
    draw = np.random.default_rng(seed)
    means = []
    step = max(BLOCK // users, 1)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        chosen = draw.integers(users, size=(size, users)) + np.arange(size)[:, None] * users
        times = np.bincount(chosen.ravel(), minlength=size * users).reshape(size, users)
        means.append(times @ value_UC / users)
    return np.concatenate(means)


def estimate(value: float, drawn: Floats) -> Estimate:
    """The value with the percentile interval and the standard deviation of its resamples."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, float(low), float(high), float(drawn.std(ddof=1)))


def recovery(value_3: Floats, drawn_B3: Floats) -> Recovery:
    """(cleaned - noisy) / (oracle - noisy).

    Parameters
    ----------
    value_3 : array of float64
        Means of the cleaned, the noisy and the oracle arm.
    drawn_B3 : array of float64
        Their resampled means.
    """
    gap = estimate(float(value_3[2] - value_3[1]), drawn_B3[:, 2] - drawn_B3[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (value_3[0] - value_3[1]) / (value_3[2] - value_3[1])
        shares = (drawn_B3[:, 0] - drawn_B3[:, 1]) / (drawn_B3[:, 2] - drawn_B3[:, 1])
    errors = gap.value / gap.error if gap.error > 0 else 0.0
    finite = shares[np.isfinite(shares)]
    if not (np.isfinite(share) and len(finite) > 1):
        return Recovery(Estimate(np.nan, np.nan, np.nan, np.nan), gap, errors)
    return Recovery(estimate(float(share), finite), gap, errors)
