"""The noise that a log holds already: how much of it, and of which kinds.

Told from held-out users' own rows, held against noise that was put among them.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from pipeline import columns as col
from pipeline.models.names import INJECTED, KIND

# The share of noise is told at the limits above which so much of the injected noise lies.
NOISE_PARTS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
TAIL_PARTS = (0.1, 0.15, 0.2)  # that genuine rows hardly reach
MIN_NOISE = 100  # injected rows; with fewer, no noise is told from
LEAST_SHARE = 0.05
SHARE_STEPS = 201  # shares that are tried
TINY = 1e-9
# What is known of the kinds is trusted so far; for the rest, each kind is as likely.
KIND_TRUST = 0.9
KIND_STEPS = 200  # of expectation-maximisation

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """What a rehearsal has found of a log's noise, for the next one; nothing by default."""

    share: float = 0.0  # of the log's rows, at most
    kinds: dict[str, float] | None = None  # kind -> weight; none: each as likely


@dataclass(frozen=True)
class NoiseShare:
    """Share of users' own rows that is noise already: at least so much, and at most."""

    least: float
    most: float


def noise_share(own: pl.Series, noise: pl.Series, distinct: int | None = None) -> NoiseShare:
    """Share of users' own rows that is noise already, by how many of them look like it.

    If a share s of the own rows is noise like the injected, then at every limit at least s times
    the share of the injected rows above it lies above it; so no limit's ratio is less than s
    (mixture proportion estimation, Scott 2015), and `most` is the least ratio, one standard error
    on. How much of that ratio is genuine rows that look like noise cannot be told from it alone.
    For `least`, one standard error off, genuine rows are taken to look like noise as a normal
    distribution reaches into another one, as far as the likelier half of the noise says
    (`_beyond_overlap`): where signals are weak, most of the ratio is that. Below `LEAST_SHARE` it
    is 0. From fewer than `MIN_NOISE` injected rows nothing is told: 0 to 1.

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
    least = most = 1.0
    half = _above(own_N, noise_N, 0.5)
    for wanted in NOISE_PARTS:
        part, found = _above(own_N, noise_N, wanted)
        low, high = interval(found * rows, rows, z=1.0)
        most = min(most, high / part)
        if wanted in TAIL_PARTS:
            least = min(least, _beyond_overlap(low / part, part, half))
    return NoiseShare(min(least, most) if least >= LEAST_SHARE else 0.0, most)


def _above(own_N: Floats, noise_N: Floats, part: float) -> tuple[float, float]:
    """Shares of the injected and of the own rows above the limit with `part` of the former."""
    limit = np.quantile(noise_N, 1 - part, method="lower")
    return float((noise_N >= limit).mean()), float((own_N >= limit).mean())


def _beyond_overlap(ratio: float, part: float, half: tuple[float, float]) -> float:
    """The least share of noise that explains a ratio, together with genuine rows.

    If a share s of the own rows is noise, the other own rows above the limit `half` are genuine,
    and tell how far apart the two are (equal variances: a binormal ROC of slope 1); and so how many
    genuine rows lie above the higher limit of `part`.

    Parameters
    ----------
    ratio : float
        Share of the own rows above a limit, over `part`.
    part : float
        Share of the injected rows above it.
    half : tuple of float
        Shares of the injected and of the own rows above a lower limit.
    """
    part, noise, own = min(part, 1 - TINY), min(half[0], 1 - TINY), half[1]
    most = min(ratio, own / noise, 1 - TINY)
    share_G = torch.linspace(0, most, SHARE_STEPS, dtype=torch.float64)
    genuine_G = ((own - share_G * noise) / (1 - share_G)).clamp(TINY, noise)
    higher, lower = torch.special.ndtri(torch.tensor([part, noise], dtype=torch.float64))
    beyond_G = torch.special.ndtr(higher - lower + torch.special.ndtri(genuine_G))
    explained_G = share_G + (1 - share_G) * beyond_G / part >= ratio
    return float(share_G[int(explained_G.byte().argmax())] if explained_G.any() else share_G[-1])


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
