"""Whether known noise is found: scores and decisions against the rows that were injected."""

import polars as pl
import torch
from torch import Tensor

from pipeline import columns as col
from pipeline.config import Config
from pipeline.evaluation.cleaning import further_budgets
from pipeline.evaluation.names import (
    ARM,
    DECISION_IADSR,
    METRIC,
    NOISE_PROBABILITY_IADSR,
    VALUE,
    K,
    N,
    at,
    decision_at,
)
from pipeline.models.calibration import (
    auroc,
    average_precision,
    ranked,
)
from pipeline.models.names import COUNT, INJECTED
from pipeline.models.thresholds import strata_names, stratum_of
from pipeline.reasons import REMOVE

# Points of the precision-recall curve, in per cent of the noise found.
RECALLS = tuple(range(5, 101, 5))
# Signals that are high for noise; the others are low.
SURPRISES = (col.SIGNAL_SURPRISE, col.SIGNAL_SURPRISE_AROUND)

SCHEMA = {
    ARM: pl.String,
    METRIC: pl.String,
    K: pl.Int64,
    col.STRATUM: pl.String,
    VALUE: pl.Float64,
    N: pl.Int64,
}
Row = tuple[str, str, int | None, str | None, float | None, int]


def detect(config: Config, log: pl.DataFrame, vectors: pl.DataFrame) -> pl.DataFrame:
    """Every measure of detection on one noise-injected and judged log.

    Parameters
    ----------
    config : Config
        Its strata are reported apart.
    log : pl.DataFrame
        Columns item_id, injected, noise_probability, decision; noise_probability_iadsr and
        decision_iadsr where the paper was asked, too, and the decisions under further budgets.
    vectors : pl.DataFrame
        Columns item_id and vector.

    Returns
    -------
    pl.DataFrame
        arm (the score, or the decision), metric, k, stratum (null: all), value, n (rows that the
        value is a mean over: all, noise, removed or genuine ones).
    """
    return detect_rows(config, with_strata(config, log, vectors))


def detect_rows(config: Config, rows: pl.DataFrame) -> pl.DataFrame:
    """`detect` on rows that have their items' `count` and `stratum` already."""
    # Not scored is not suspected; popularity alone is the control that every score must beat.
    scores = {
        "ours": pl.col(col.NOISE_PROBABILITY).fill_null(0.0),
        "popularity": -pl.col(COUNT).cast(pl.Float64),
    }
    if NOISE_PROBABILITY_IADSR in rows.columns:
        scores["iadsr"] = pl.col(NOISE_PROBABILITY_IADSR).fill_null(0.0)
    scores |= {name: suspicion(name) for name in col.SIGNALS if name in rows.columns}
    ours = {at("ours", budget): decision_at(budget) for budget in further_budgets(config)}
    decisions = {"ours": col.DECISION, **ours, "iadsr": DECISION_IADSR}
    return measured(config, rows, scores, decisions)


def with_strata(config: Config, log: pl.DataFrame, vectors: pl.DataFrame) -> pl.DataFrame:
    """The rows with `count` and `stratum` of their items, by the whole log."""
    count = pl.len().over(col.ITEM_ID).cast(pl.Int64)
    rows = log.with_columns(count.alias(COUNT))
    has_text = pl.col(col.ITEM_ID).is_in(vectors[col.ITEM_ID].implode())
    stratum = stratum_of(pl.col(COUNT), has_text, config.decision.strata)
    return rows.with_columns(stratum.alias(col.STRATUM))


def measured(
    config: Config, rows: pl.DataFrame, scores: dict[str, pl.Expr], decisions: dict[str, str]
) -> pl.DataFrame:
    """The measures of some scores and decisions, each over all rows and by stratum.

    Parameters
    ----------
    config : Config
        Its strata.
    rows : pl.DataFrame
        As `with_strata` gives them, with `injected`.
    scores : dict
        Arm -> a score that is high for noise.
    decisions : dict
        Arm -> the column of its decision; passed over where it is not there.
    """
    found: list[Row] = []
    for part in (None, *strata_names(config.decision.strata)):
        here = rows if part is None else rows.filter(pl.col(col.STRATUM) == part)
        if here.is_empty():
            continue
        for name, score in scores.items():
            found += _ranking(name, part, here, score)
        for name, column in decisions.items():
            if column in rows.columns:
                found += _decided(name, part, here, pl.col(column) == REMOVE)
    return pl.DataFrame(found, schema=SCHEMA, orient="row")


def suspicion(signal: str) -> pl.Expr:
    """A signal alone as a score of noise: high is suspect; where it is missing, its mean."""
    sign = 1 if signal in SURPRISES else -1
    return (sign * pl.col(signal)).fill_null(strategy="mean").fill_null(0.0)


def _ranking(arm: str, stratum: str | None, rows: pl.DataFrame, score: pl.Expr) -> list[Row]:
    value_N = torch.tensor(rows.select(score).to_series().to_numpy())
    noise_N = torch.tensor(rows[INJECTED].to_numpy())
    size, noise = rows.height, int(noise_N.sum())
    found: list[Row] = [
        (arm, "AUROC", None, stratum, auroc(value_N, noise_N), size),
        (arm, "AP", None, stratum, average_precision(value_N, noise_N), size),
    ]
    if stratum is None and noise:
        curve = _precision_at(value_N, noise_N)
        found += [(arm, "precision at recall", k, None, p, noise) for k, p in curve.items()]
    return found


def _precision_at(value_N: Tensor, noise_N: Tensor) -> dict[int, float]:
    """Precision where so many per cent of the noise are found, the worst scores first."""
    found_G, rows_G = ranked(value_N, noise_N)
    wanted_R = torch.tensor(RECALLS, dtype=torch.float64) / 100 * found_G[-1]
    place_R = torch.searchsorted(found_G, wanted_R - 1e-9)
    return dict(zip(RECALLS, (found_G / rows_G)[place_R].tolist(), strict=True))


def _decided(arm: str, stratum: str | None, rows: pl.DataFrame, removed: pl.Expr) -> list[Row]:
    told = rows.select(removed.alias("removed"), INJECTED)
    noise, genuine = told.filter(INJECTED)["removed"], told.filter(~pl.col(INJECTED))["removed"]
    caught, dropped = int(noise.sum()), int(genuine.sum())
    return [
        (arm, "precision", None, stratum, _share(caught, caught + dropped), caught + dropped),
        (arm, "recall", None, stratum, _share(caught, len(noise)), len(noise)),
        (arm, "false drops", None, stratum, _share(dropped, len(genuine)), len(genuine)),
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
