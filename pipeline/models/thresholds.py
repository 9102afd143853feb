"""From probabilities to thresholds under a budget of false drops, per popularity stratum."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline import columns as col
from pipeline.config import DecisionConfig
from pipeline.models.calibration import DECIMALS
from pipeline.models.contamination import NoiseShare, interval, noise_share
from pipeline.models.names import INJECTED

Floats = npt.NDArray[np.float64]

NEW, TEXTLESS = "new", "no text"
IDENTITY = (col.USER_ID, col.ITEM_ID, col.EVENT_TIME)  # of a row that was rehearsed several times
ROUNDING = 1e-12


def threshold(
    own: pl.Series,
    budget: float,
    noise: pl.Series | None = None,
    share: NoiseShare | None = None,
    *,
    min_precision: float = 0.0,
    distinct: int | None = None,
) -> float | None:
    """Smallest threshold that drops a further genuine row with probability at most `budget`.

    A row beyond the k-th smallest of n own ones has the chance 1 - k / (n + 1), by exchangeability
    (split conformal prediction, Vovk et al. 2005), known to a standard error, which is added: few
    rows tell less, so that fewer go. Where a share of the own rows is noise like the injected, what
    is removed of that share is none of the budget's. And where so little of what it removes can be
    noise that `min_precision` is not reached, the threshold is higher.

    Parameters
    ----------
    own : pl.Series
        Probabilities of users' own rows.
    budget : float
        Share of genuine rows.
    noise : pl.Series, optional
        Probabilities of injected rows; with `share`.
    share : NoiseShare, optional
        Share of the own rows that is noise; none: they are genuine, and no precision is asked for.
    min_precision : float
        Least share of noise among the own rows that are removed.
    distinct : int, optional
        How many rows the own ones are, if some were judged several times.

    Returns
    -------
    float or None
        None if no probability would do.
    """
    limit_N, budget_N = _budgets(own, noise, share, min_precision, distinct)
    good_N = budget_N <= budget + ROUNDING
    if not good_N.any():
        return None
    cut = round(float(limit_N[int(good_N.argmax())]) + pow(10.0, -DECIMALS), DECIMALS)
    return cut if cut <= 1 else None


def _budgets(
    own: pl.Series,
    noise: pl.Series | None,
    share: NoiseShare | None,
    min_precision: float,
    distinct: int | None,
) -> tuple[Floats, Floats]:
    """Rising limits (N,), and the least budget that lets all go that lies above each; inf: none.

    The arguments are those of `threshold`, which chooses the first limit that its budget allows.
    """
    limit_N = np.sort(own.to_numpy())
    above_N = 1 - np.arange(1, len(limit_N) + 1) / (len(limit_N) + 1)  # chance of a further own row
    above_N += np.sqrt(above_N * (1 - above_N) / (distinct or max(len(limit_N), 1)))
    genuine_N, precise_N = above_N, np.full(len(limit_N), True)
    if noise is not None and share is not None:
        noise_N = np.sort(noise.to_numpy())
        below_N = np.searchsorted(noise_N, limit_N, side="right") / max(len(noise_N), 1)
        genuine_N = above_N - share.least * (1 - below_N)
        genuine_N = genuine_N / max(1 - share.least, ROUNDING)
        removed_N = 1 - np.searchsorted(limit_N, limit_N, side="right") / len(limit_N)
        precise_N = share.most * (1 - below_N) >= min_precision * removed_N - ROUNDING
    # A limit must keep the budget with all limits above it, too.
    budget_N = np.maximum.accumulate(genuine_N[::-1])[::-1]
    return limit_N, np.where(precise_N, budget_N, np.inf)


def stratum_of(count: pl.Expr, has_text: pl.Expr, bounds: tuple[int, ...]) -> pl.Expr:
    """Name of the popularity stratum: "1-5", "6-20", "21+" for bounds (5, 20).

    What lacks one view is judged by the other alone, and has a budget of its own: `NEW` where
    `count` is null, `TEXTLESS` without text. Null without either.
    """
    names = strata_names(bounds)
    popularity = pl.coalesce(
        *(pl.when(count <= b).then(pl.lit(name)) for b, name in zip(bounds, names, strict=False)),
        pl.when(count.is_not_null()).then(pl.lit(names[len(bounds)])),
    )
    return (
        pl.when(has_text & count.is_null())
        .then(pl.lit(NEW))
        .when(~has_text & count.is_not_null())
        .then(pl.lit(TEXTLESS))
        .when(has_text)
        .then(popularity)
    )


def strata_names(bounds: tuple[int, ...]) -> list[str]:
    """Names of the strata: by popularity, rarest first, then `NEW` and `TEXTLESS`."""
    lower = [1, *(bound + 1 for bound in bounds)]
    popularity = [f"{a}-{b}" for a, b in zip(lower, bounds, strict=False)] + [f"{lower[-1]}+"]
    return [*popularity, NEW, TEXTLESS]


def thresholds_table(rows: pl.DataFrame, config: DecisionConfig) -> list[dict[str, Any]]:
    """Per stratum: its threshold, and what it does to rows whose truth is known.

    Parameters
    ----------
    rows : pl.DataFrame
        `IDENTITY`, stratum, noise_probability, injected; an own row may come several
        times, judged among other noise each time, and counts once.
    config : DecisionConfig
        Its strata, `false_drop_budget`, `min_precision`, and `min_calibration_rows`: a stratum with
        fewer own rows has no threshold.
    """
    table = []
    for name, own, noise, distinct in _by_stratum(rows, config):
        share = noise_share(own, noise, distinct)
        limit = None
        if distinct >= config.min_calibration_rows:
            limit = threshold(
                own,
                config.false_drop_budget,
                noise,
                share,
                min_precision=config.min_precision,
                distinct=distinct,
            )
        table.append({"stratum": name, **_outcome(own, noise, limit, share, distinct)})
    return table


def least_budgets(rows: pl.DataFrame, held: pl.DataFrame, config: DecisionConfig) -> pl.Series:
    """Least `false_drop_budget` under which each row's probability reaches the threshold.

    So that rows that were judged once can be decided on under any budget.

    Parameters
    ----------
    rows : pl.DataFrame
        stratum and noise_probability.
    held : pl.DataFrame
        What thresholds are chosen on, as for `thresholds_table`.
    config : DecisionConfig
        As for `thresholds_table`, but for its budget.

    Returns
    -------
    pl.Series
        float64; null where no budget reaches so far.
    """
    chance_N = rows[col.NOISE_PROBABILITY].fill_null(-1.0).to_numpy()
    least_N = np.full(rows.height, np.inf)
    for name, own, noise, distinct in _by_stratum(held, config):
        if distinct < config.min_calibration_rows:
            continue
        share = noise_share(own, noise, distinct)
        limit_M, budget_M = _budgets(own, noise, share, config.min_precision, distinct)
        least_M = np.minimum.accumulate(np.append(np.inf, budget_M))  # by how many limits lie below
        here_N = rows.select((pl.col(col.STRATUM) == name).fill_null(False)).to_series().to_numpy()
        least_N[here_N] = least_M[np.searchsorted(limit_M, chance_N[here_N], side="left")]
    reached_N = np.where(np.isfinite(least_N), np.maximum(least_N, 0.0), np.nan)
    return pl.Series(reached_N).fill_nan(None)


def goes(least: pl.Expr, budget: float) -> pl.Expr:
    """True where a row of this least budget is removed under a budget; null where it has none."""
    return least <= budget + ROUNDING


def _by_stratum(
    rows: pl.DataFrame, config: DecisionConfig
) -> Iterator[tuple[str, pl.Series, pl.Series, int]]:
    """Each stratum, probabilities of its own and of its injected rows, how many are distinct."""
    for name in strata_names(config.strata):
        here = rows.filter(pl.col(col.STRATUM) == name)
        ours = here.filter(~pl.col(INJECTED))
        noise = here.filter(INJECTED)[col.NOISE_PROBABILITY]
        yield name, ours[col.NOISE_PROBABILITY], noise, ours.select(IDENTITY).n_unique()


def _outcome(
    own: pl.Series, noise: pl.Series, limit: float | None, share: NoiseShare, distinct: int
) -> dict[str, Any]:
    dropped = int((own >= limit).sum()) if limit is not None else 0
    caught = int((noise >= limit).sum()) if limit is not None else 0
    recall = caught / len(noise) if len(noise) else None
    there = min(share.least * len(own) * (recall or 0.0), dropped)  # own rows caught that are noise
    genuine = (1 - share.least) * len(own)
    rate = (dropped - there) / genuine if genuine else None
    known = (1 - share.least) * distinct
    return {
        "rows": distinct,
        "noise_share": share.least,
        "noise_share_most": share.most,
        "threshold": limit,
        "false_drop_rate": rate,
        "false_drop_upper": interval(rate * known, known)[1] if rate is not None else None,
        "recall": recall,
        "precision": (caught + there) / (caught + dropped) if caught + dropped else None,
    }
