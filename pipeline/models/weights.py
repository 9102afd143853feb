"""What each signal, taken alone, adds to a row's log-odds of noise. Explains; decides nothing.

A signal weighs what the log-odds would lose if it had its average value.
"""

import polars as pl
import torch
from torch import Tensor

from pipeline import columns as col
from pipeline.models.calibration import features, probability
from pipeline.models.evidence import SIGNAL_DECIMALS
from pipeline.models.model import Model
from pipeline.models.names import FEATURES
from pipeline.reasons import REMOVE

STRONGEST = 3


def signal_weights(model: Model, rows: pl.DataFrame) -> Tensor:
    """Weights (N, S), float64, in the order of `columns.SIGNALS`, of rows with `evidence`.

    Positive: it speaks for noise. By the paper's decision a signal is a term of -l_t, or nothing.
    """
    if model.instruments.settings.decision.method == "calibrated":
        alone = [[FEATURES.index(name)] for name in col.SIGNALS]
        weight_NS = model.calibrator.contributions(features(rows), alone)
    else:
        terms = [-pl.col(n) if "aligned" in n else pl.lit(0.0).alias(n) for n in col.SIGNALS]
        weight_NS = torch.tensor(rows.select(terms).to_numpy(), dtype=torch.float64)
    # Rounded, so that the first of equals wins whoever shares the batch.
    return torch.round(weight_NS, decimals=SIGNAL_DECIMALS)


def strongest_signals(model: Model, rows: pl.DataFrame) -> pl.Series:
    """Names of the up to `STRONGEST` signals that spoke most for noise; null where kept."""
    removed = rows.select((pl.col(col.DECISION) == REMOVE).arg_true()).to_series()
    weight_NS = signal_weights(model, rows[removed])
    order_NS = torch.argsort(weight_NS, dim=1, descending=True, stable=True)[:, :STRONGEST]
    names: list[str | None] = [None] * rows.height
    for row, weight_S, order_S in zip(removed, weight_NS, order_NS, strict=True):
        names[row] = ", ".join(col.SIGNALS[i] for i in order_S.tolist() if weight_S[i] > 0)
    return pl.Series(col.STRONGEST_SIGNALS, names, dtype=pl.String)


def probability_without(model: Model, rows: pl.DataFrame, groups: list[list[str]]) -> Tensor:
    """Noise probability (N, G) that rows with `evidence` would have with usual signals.

    Usual are those that a group names: at their average, or (by the paper's decision) at zero.
    """
    if model.instruments.settings.decision.method == "calibrated":
        x_NF = features(rows)
        numbers = [[FEATURES.index(name) for name in group] for group in groups]
        odds_N, share_NG = (
            model.calibrator.log_odds(x_NF),
            model.calibrator.contributions(x_NF, numbers),
        )
    else:
        weight_NS = signal_weights(model, rows)
        odds_N = weight_NS.sum(dim=1)
        numbers = [[col.SIGNALS.index(name) for name in group] for group in groups]
        share_NG = torch.stack([weight_NS[:, group].sum(dim=1) for group in numbers], dim=1)
    return probability(odds_N.unsqueeze(-1) - share_NG)
