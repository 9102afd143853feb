"""The noise that a log holds already: how much of it, and of which kinds.

Told from held-out users' own rows, held against noise that was put among them.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline import columns as col
from pipeline.models.names import INJECTED, KIND

# The share of noise is told at the limits above which so much of the injected noise lies.
NOISE_PARTS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
MIN_NOISE = 100  # injected rows; with fewer, no noise is told from
LEAST_SHARE = 0.05
# What is known of the kinds is trusted so far; for the rest, each kind is as likely.
KIND_TRUST = 0.9
KIND_STEPS = 200  # of expectation-maximisation


@dataclass(frozen=True)
class Known:
    """What a pass has found of a log's noise, for the next one; nothing by default."""

    share: float = 0.0  # of the log's rows, at most
    kinds: dict[str, float] | None = None  # kind -> weight; none: each as likely


@dataclass(frozen=True)
class NoiseShare:
    """Share of users' own rows that is noise already: surely so much, and at most so much."""

    sure: float
    most: float


def noise_share(own: pl.Series, noise: pl.Series, distinct: int | None = None) -> NoiseShare:
    """Share of users' own rows that is noise already, by how many of them look like it.

    If a share s of the own rows is noise like the injected, then at every limit at least s times
    the share of the injected rows above it lies above it; so no limit's ratio is less than s
    (mixture proportion estimation, Scott 2015). `sure` and `most` are the least ratio with one
    standard error off and on; below `LEAST_SHARE` none is sure, since a few genuine rows look like
    noise in any log. From fewer than `MIN_NOISE` injected rows nothing is told: 0 to 1.

    Parameters
    ----------
    own, noise : pl.Series
        Probabilities of users' own rows, and of injected ones.
    distinct : int, optional
        How many rows the own ones are, if some were judged several times.
    """
    if own.is_empty() or len(noise) < MIN_NOISE:
        return NoiseShare(0.0, 1.0)
    rows = len(own) if distinct is None else distinct
    own_N, noise_N = own.to_numpy(), noise.to_numpy()
    sure = most = 1.0
    for limit in np.quantile(noise_N, [1 - part for part in NOISE_PARTS], method="lower"):
        low, high = interval(float((own_N >= limit).mean()) * rows, rows, z=1.0)
        part = float((noise_N >= limit).mean())
        sure, most = min(sure, low / part), min(most, high / part)
    return NoiseShare(sure if sure >= LEAST_SHARE else 0.0, most)


def noise_kinds(
    rows: pl.DataFrame, strata: Sequence[dict[str, Any]], kinds: tuple[str, ...]
) -> dict[str, float]:
    """Weight of each injected kind in the log's own noise, told by the popularity of its items.

    The own noise that each stratum holds is a mixture of kinds, each spread over the strata as its
    injected rows are: expectation-maximisation from equal weights. Kinds that are spread alike keep
    equal weights, and so do all where no noise was found.

    Parameters
    ----------
    rows : pl.DataFrame
        stratum, injected and kind.
    strata : sequence of dict
        stratum, rows and noise_share of each.
    kinds : tuple of str
        Names of the kinds.

    Returns
    -------
    dict
        Weights by kind, of sum 1, none below (1 - `KIND_TRUST`) / kinds.
    """
    noise = rows.filter(INJECTED)
    found = Counter(noise.select(KIND, col.STRATUM).iter_rows())
    count_KS = np.array([[found[kind, s["stratum"]] for s in strata] for kind in kinds])
    spread_KS = count_KS / count_KS.sum(axis=1, keepdims=True).clip(min=1)
    found_S = np.array([s["noise_share"] * s["rows"] for s in strata])
    weight_K = np.full(len(kinds), 1 / len(kinds))
    for _ in range(KIND_STEPS if found_S.any() else 0):
        part_KS = weight_K[:, None] * spread_KS
        part_KS /= part_KS.sum(axis=0).clip(min=1e-12)
        weight_K = (part_KS @ found_S).clip(min=1e-12)
        weight_K /= weight_K.sum()
    weight_K = KIND_TRUST * weight_K + (1 - KIND_TRUST) / len(kinds)
    return dict(zip(kinds, weight_K.tolist(), strict=True))


def interval(successes: float, trials: float, z: float = 1.96) -> tuple[float, float]:
    """The Wilson interval of a share, `z` standard errors to each side (1.96: 95 %)."""
    if not trials:
        return 0.0, 1.0
    share = successes / trials
    middle = share + z * z / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max((middle - reach) / scale, 0.0), min((middle + reach) / scale, 1.0)
