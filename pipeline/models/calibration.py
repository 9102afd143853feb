"""From signals to a calibrated probability, and from probabilities to thresholds under a budget.

Fitted on injected noise in held-out users' nights (`rehearsal.py`); decides nothing itself.
"""

import math
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from pipeline import columns as col
from pipeline.models.names import COMPANY_COLLABORATIVE, COMPANY_SEMANTIC, COUNT

# What the signals are weighed by: the item's popularity, the user's history and coherence.
# Popularity alone decides nothing: half of the noise that is learned from is as popular as the
# genuine items are, and each stratum has a budget of its own.
CONTEXT = (COUNT, col.HISTORY_LENGTH, COMPANY_SEMANTIC, COMPANY_COLLABORATIVE)
FEATURES = (*col.SIGNALS, *CONTEXT)
# Probabilities are rounded to this step before they meet a threshold, so that shards agree.
DECIMALS = 6
HIDDEN = 16
WEIGHT_DECAY = 1e-3
FIT_STEPS = 200


@dataclass(frozen=True)
class Calibrator:
    """Standardised signals -> one small hidden layer -> the log-odds of noise. All float64."""

    mean_F: Tensor
    scale_F: Tensor
    inner_FH: Tensor
    bias_H: Tensor
    outer_H: Tensor
    bias: Tensor

    def log_odds(self, feature_NF: Tensor) -> Tensor:
        """Log-odds (N,) of noise at the injection rate that it was fitted on."""
        return self._forward((feature_NF - self.mean_F) / self.scale_F)

    def contributions(self, feature_NF: Tensor, groups: list[list[int]]) -> Tensor:
        """What each group of features adds to the log-odds against its average value (N, G)."""
        x_NF = (feature_NF - self.mean_F) / self.scale_F
        whole_N = self._forward(x_NF)
        without = [self._forward(x_NF.index_fill(1, torch.tensor(g), 0.0)) for g in groups]
        return whole_N.unsqueeze(-1) - torch.stack(without, dim=1)

    def _forward(self, x_NF: Tensor) -> Tensor:
        return torch.tanh(x_NF @ self.inner_FH + self.bias_H) @ self.outer_H + self.bias

    def tensors(self) -> dict[str, Tensor]:
        """Weights by name."""
        return dict(vars(self))

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Calibrator":
        """The calibrator whose `tensors()` these are."""
        return cls(**tensors)


def features(rows: pl.DataFrame) -> Tensor:
    """Matrix (N, F), float64, of `FEATURES`; counts enter by their logarithm, null is NaN."""
    counts = (COUNT, col.HISTORY_LENGTH)
    chosen = rows.select(
        pl.col(name).cast(pl.Float64).log1p() if name in counts else pl.col(name)
        for name in FEATURES
    )
    return torch.tensor(chosen.fill_null(math.nan).to_numpy(), dtype=torch.float64)


def fit_calibrator(feature_NF: Tensor, noise_N: Tensor, seed: int) -> Calibrator:
    """Minimise cross-entropy plus weight decay by L-BFGS from a seeded start."""
    draw = torch.Generator().manual_seed(seed)
    mean_F, scale_F = feature_NF.mean(dim=0), feature_NF.std(dim=0).clamp(min=1e-9)
    share = noise_N.double().mean().clamp(1e-6, 1 - 1e-6)
    width = feature_NF.shape[1]
    start = [
        torch.randn(width, HIDDEN, generator=draw, dtype=torch.float64) / math.sqrt(width),
        torch.zeros(HIDDEN, dtype=torch.float64),
        torch.randn(HIDDEN, generator=draw, dtype=torch.float64) / math.sqrt(HIDDEN),
        torch.logit(share),
    ]
    weights = [x.requires_grad_() for x in start]
    optimizer = torch.optim.LBFGS(weights, max_iter=FIT_STEPS, line_search_fn="strong_wolfe")
    target_N = noise_N.double()

    def closure() -> Tensor:
        optimizer.zero_grad()
        logit_N = Calibrator(mean_F, scale_F, *weights).log_odds(feature_NF)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit_N, target_N)
        loss = loss + WEIGHT_DECAY * (weights[0].square().sum() + weights[2].square().sum())
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return Calibrator(mean_F, scale_F, *(x.detach() for x in weights))


def probability(log_odds_N: Tensor) -> Tensor:
    """Noise probability, rounded to `DECIMALS`."""
    return torch.round(torch.sigmoid(log_odds_N), decimals=DECIMALS)


def threshold(genuine: pl.Series, budget: float) -> float | None:
    """Smallest threshold that drops a further genuine row with probability at most `budget`.

    The ceil((n + 1)(1 - budget))-th smallest probability of n genuine rows, by exchangeability
    (split conformal prediction, Vovk et al. 2005); None if no probability would do.
    """
    place = math.ceil((len(genuine) + 1) * (1 - budget))
    if place > len(genuine):
        return None
    cut = round(float(genuine.sort()[place - 1]) + pow(10.0, -DECIMALS), DECIMALS)
    return cut if cut <= 1 else None


def stratum_of(count: pl.Expr, bounds: tuple[int, ...]) -> pl.Expr:
    """Name of the popularity stratum: "1-5", "6-20", "21+" for bounds (5, 20)."""
    names = strata_names(bounds)
    return pl.coalesce(
        *(pl.when(count <= b).then(pl.lit(name)) for b, name in zip(bounds, names, strict=False)),
        pl.lit(names[-1]),
    )


def strata_names(bounds: tuple[int, ...]) -> list[str]:
    """Names of the strata, rarest first."""
    lower = [1, *(bound + 1 for bound in bounds)]
    return [f"{a}-{b}" for a, b in zip(lower, bounds, strict=False)] + [f"{lower[-1]}+"]


def thresholds_table(
    rows: pl.DataFrame, bounds: tuple[int, ...], budget: float, min_rows: int
) -> list[dict[str, Any]]:
    """Per stratum: its threshold, and what it does to rows whose truth is known.

    Parameters
    ----------
    rows : pl.DataFrame
        Columns stratum, noise_probability, injected.
    bounds : tuple of int
        Upper item counts of the strata but the last.
    budget : float
        Share of genuine rows that may be dropped, in each stratum.
    min_rows : int
        A stratum with fewer genuine rows has no threshold.
    """
    table = []
    for name in strata_names(bounds):
        here = rows.filter(pl.col(col.STRATUM) == name)
        genuine = here.filter(~pl.col("injected"))[col.NOISE_PROBABILITY]
        noise = here.filter(pl.col("injected"))[col.NOISE_PROBABILITY]
        limit = threshold(genuine, budget) if len(genuine) >= min_rows else None
        table.append({"stratum": name, **_outcome(genuine, noise, limit)})
    return table


def _outcome(genuine: pl.Series, noise: pl.Series, limit: float | None) -> dict[str, Any]:
    dropped = int((genuine >= limit).sum()) if limit is not None else 0
    caught = int((noise >= limit).sum()) if limit is not None else 0
    return {
        "rows": len(genuine),
        "threshold": limit,
        "false_drop_rate": dropped / len(genuine) if len(genuine) else None,
        "false_drop_upper": upper_bound(dropped, len(genuine)),
        "recall": caught / len(noise) if len(noise) else None,
        "precision": caught / (caught + dropped) if caught + dropped else None,
    }


def upper_bound(successes: int, trials: int) -> float | None:
    """Upper end of the 95 % Wilson interval of a share."""
    if not trials:
        return None
    z, share = 1.96, successes / trials
    middle = share + z * z / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return min((middle + reach) / (1 + z * z / trials), 1.0)


def expected_calibration_error(probability_N: Tensor, noise_N: Tensor, bins: int = 10) -> float:
    """Mean distance of stated probability and true share over equally filled bins."""
    order = torch.argsort(probability_N, stable=True)
    parts = zip(probability_N[order].chunk(bins), noise_N[order].double().chunk(bins), strict=True)
    gaps = [(abs(float(p.mean() - y.mean())), len(p)) for p, y in parts]
    return sum(gap * size for gap, size in gaps) / max(len(order), 1)


def auroc(score: Tensor, noise: Tensor) -> float | None:
    """Probability that a noise row scores above a genuine one (ties half)."""
    positives, negatives = int(noise.sum()), int((~noise).sum())
    if not positives or not negatives:
        return None
    frame = pl.DataFrame({"rank": pl.Series(score.numpy()).rank("average"), "y": noise.numpy()})
    rank = float(frame.filter("y")["rank"].sum())
    above = rank - positives * (positives + 1) / 2
    return above / (positives * negatives)


def average_precision(score: Tensor, noise: Tensor) -> float | None:
    """Mean precision at each noise row, worst score first."""
    if not int(noise.sum()):
        return None
    hit = noise[torch.argsort(score, descending=True, stable=True)].double()
    precision = hit.cumsum(0) / torch.arange(1, len(hit) + 1)
    return float((precision * hit).sum() / hit.sum())
