"""From signals to a calibrated probability, and how well it tells noise.

Fitted on injected noise in held-out users' nights (`rehearsal.py`); decides nothing itself.
"""

import math
from dataclasses import dataclass

import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.names import COUNT, FEATURES

# Probabilities are rounded to this step before they meet a threshold, so that shards agree.
DECIMALS = 6
KNOTS = 9  # quantiles between which a signal's rank is a line
KNOT_ROWS = 200_000  # that the quantiles are told from
WIDTHS = (64, 32)
EPOCHS = 30
BATCH_ROWS = 512
MOST_SHARE = 0.9  # of the own rows, that is ever taken to be noise
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
DROPOUT = 0.1


@dataclass(frozen=True)
class Calibrator:
    """Signals, each by value, by rank and by absence -> two hidden layers -> log-odds of noise.

    All float64, so that a probability does not depend on who shares the batch.
    """

    mean_F: Tensor
    scale_F: Tensor
    knot_FK: Tensor
    first_GH: Tensor  # G = 3 F
    first_bias_H: Tensor
    second_HE: Tensor
    second_bias_E: Tensor
    last_E: Tensor
    bias: Tensor

    def log_odds(self, feature_NF: Tensor) -> Tensor:
        """Log-odds (N,) of noise at the injection rate that it was fitted on; NaN: missing."""
        return self._forward(self._prepare(feature_NF))

    def contributions(self, feature_NF: Tensor, groups: list[list[int]]) -> Tensor:
        """What each group of features adds to the log-odds against its average value (N, G)."""
        x_NG, width = self._prepare(feature_NF), feature_NF.shape[1]
        whole_N = self._forward(x_NG)
        average = [torch.tensor([i + width * k for i in g for k in range(3)]) for g in groups]
        without = [self._forward(x_NG.index_fill(1, columns, 0.0)) for columns in average]
        return whole_N.unsqueeze(-1) - torch.stack(without, dim=1)

    def _prepare(self, feature_NF: Tensor) -> Tensor:
        """Standardised value, rank in [-2, 2], and absence (N, 3 F); what is absent is average."""
        absent_NF = feature_NF.isnan()
        value_NF = torch.where(absent_NF, self.mean_F, feature_NF)
        rank_NF = torch.stack(
            [_rank(x_N, knot_K) for x_N, knot_K in zip(value_NF.T, self.knot_FK, strict=True)], 1
        )
        scaled_NF = (value_NF - self.mean_F) / self.scale_F
        return torch.cat([scaled_NF, rank_NF.masked_fill(absent_NF, 0.0), absent_NF.double()], 1)

    def _forward(self, x_NG: Tensor) -> Tensor:
        hidden_NH = F.silu(x_NG @ self.first_GH + self.first_bias_H)
        return F.silu(hidden_NH @ self.second_HE + self.second_bias_E) @ self.last_E + self.bias

    def tensors(self) -> dict[str, Tensor]:
        """Weights by name."""
        return dict(vars(self))

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Calibrator":
        """The calibrator whose `tensors()` these are."""
        return cls(**tensors)


def _rank(x_N: Tensor, knot_K: Tensor) -> Tensor:
    """Where values stand among rising quantiles, from -2 to 2, a line between two of them."""
    upper_N = torch.searchsorted(knot_K, x_N.contiguous()).clamp(1, len(knot_K) - 1)
    low_N, high_N = knot_K[upper_N - 1], knot_K[upper_N]
    part_N = ((x_N - low_N) / (high_N - low_N).clamp(min=1e-9)).clamp(0, 1)
    return (upper_N - 1 + part_N) * (4 / (len(knot_K) - 1)) - 2


def features(rows: pl.DataFrame) -> Tensor:
    """Matrix (N, F), float64, of `FEATURES`; a count enters by its logarithm, null is NaN."""
    count = pl.col(COUNT).cast(pl.Float64).log1p()
    chosen = rows.select(count if name == COUNT else pl.col(name) for name in FEATURES)
    return torch.tensor(chosen.fill_null(math.nan).to_numpy(), dtype=torch.float64)


def fit_calibrator(
    feature_NF: Tensor, noise_N: Tensor, seed: int, known_share: float = 0.0
) -> Calibrator:
    """Minimise cross-entropy by AdamW from a seeded start.

    Parameters
    ----------
    feature_NF : Tensor
        As `features` gives them; may be NaN.
    noise_N : Tensor
        True where injected; the others are users' own rows.
    seed : int
        Of the start and of the batches.
    known_share : float
        Share of the own rows that is noise like the injected.
    """
    torch.manual_seed(seed)
    mean_F = feature_NF.nanmean(dim=0).nan_to_num()
    centred_NF = (feature_NF - mean_F).nan_to_num()
    scale_F = centred_NF.square().mean(dim=0).sqrt().clamp(min=1e-9)
    steps_K = torch.linspace(0, 1, KNOTS, dtype=torch.float64)
    some_MF = torch.where(feature_NF.isnan(), mean_F, feature_NF)[:KNOT_ROWS]
    knot_FK = torch.quantile(some_MF, steps_K, dim=0).T.contiguous()
    width, (hidden, narrow) = 3 * feature_NF.shape[1], WIDTHS
    first, second, last = (
        nn.Linear(a, b, dtype=torch.float64)
        for a, b in ((width, hidden), (hidden, narrow), (narrow, 1))
    )
    net = nn.Sequential(
        first, nn.SiLU(), nn.Dropout(DROPOUT), second, nn.SiLU(), nn.Dropout(DROPOUT), last
    )

    def fitted() -> Calibrator:
        return Calibrator(
            mean_F=mean_F,
            scale_F=scale_F,
            knot_FK=knot_FK,
            first_GH=first.weight.detach().T.contiguous(),
            first_bias_H=first.bias.detach(),
            second_HE=second.weight.detach().T.contiguous(),
            second_bias_E=second.bias.detach(),
            last_E=last.weight.detach()[0],
            bias=last.bias.detach()[0],
        )

    mixture = Mixture.of(noise_N, known_share)
    _descend(net, fitted()._prepare(feature_NF), noise_N.double(), mixture)
    return fitted()


def _descend(net: nn.Module, x_NG: Tensor, target_N: Tensor, mixture: "Mixture") -> None:
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batches = max(len(x_NG) // BATCH_ROWS, 1)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=EPOCHS * batches + 1
    )
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x_NG)).chunk(batches):
            injected_R = mixture.injected(net(x_NG[rows])[:, 0])
            loss = F.binary_cross_entropy_with_logits(injected_R, target_N[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()


@dataclass(frozen=True)
class Mixture:
    """Rehearsed rows: injected ones, and own ones, of which a share is noise like the injected.

    What is fitted tells injected rows from own ones. Where some of the own rows are noise, too,
    that is not yet how likely a row is noise: among what looks most like noise, both are alike. So
    the odds of noise are what is learned, and the odds to be injected follow from them (learning
    from positive and unlabelled rows, Elkan and Noto 2008).
    """

    share: float  # of noise in the own rows
    rate: float  # injected rows per own one

    @classmethod
    def of(cls, noise_N: Tensor, share: float) -> "Mixture":
        """The mixture of rows of which these are injected."""
        injected = int(noise_N.sum())
        return cls(min(share, MOST_SHARE), injected / max(len(noise_N) - injected, 1))

    def injected(self, log_odds_N: Tensor) -> Tensor:
        """Log-odds to be injected, by those of an own row to be noise.

        Where nothing is known of a share, the odds of noise are those at the injected rate.
        """
        if not self.share:
            return log_odds_N
        return math.log(self.rate / self.share) + F.logsigmoid(log_odds_N)


def probability(log_odds_N: Tensor) -> Tensor:
    """Noise probability, rounded to `DECIMALS`."""
    return torch.round(torch.sigmoid(log_odds_N), decimals=DECIMALS)


def expected_calibration_error(probability_N: Tensor, noise_N: Tensor, bins: int = 10) -> float:
    """Mean distance of stated probability and true share over equally filled bins."""
    order = torch.argsort(probability_N, stable=True)
    parts = zip(probability_N[order].chunk(bins), noise_N[order].double().chunk(bins), strict=True)
    gaps = [(abs(float(p.mean() - y.mean())), len(p)) for p, y in parts]
    return sum(gap * size for gap, size in gaps) / max(len(order), 1)


def calibration_curve(
    probability_N: Tensor, noise_N: Tensor, bins: int = 10
) -> list[dict[str, float]]:
    """Stated probability, true share of noise and rows of each equally wide bin that has rows."""
    place_N = (probability_N * bins).long().clamp(max=bins - 1)
    return [
        {
            "stated": float(probability_N[place_N == place].mean()),
            "true": float(noise_N[place_N == place].double().mean()),
            "rows": int((place_N == place).sum()),
        }
        for place in range(bins)
        if (place_N == place).any()
    ]


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
    """Mean precision at each noise row, worst score first; rows of one score come together."""
    if not int(noise.sum()):
        return None
    found_G, rows_G = ranked(score, noise)
    gained_G = found_G.diff(prepend=torch.zeros(1, dtype=found_G.dtype))
    return float((found_G / rows_G * gained_G).sum() / found_G[-1])


def ranked(score_N: Tensor, noise_N: Tensor) -> tuple[Tensor, Tensor]:
    """Noise rows and all rows down to each distinct score (G,), float64, the worst score first."""
    sorted_N, order_N = score_N.sort(descending=True, stable=True)
    last_N = torch.ones_like(noise_N)
    last_N[:-1] = sorted_N[1:] != sorted_N[:-1]
    rows_N = torch.arange(1, len(noise_N) + 1, dtype=torch.float64)
    return noise_N[order_N].double().cumsum(0)[last_N], rows_N[last_N]
