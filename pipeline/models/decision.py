"""The decision on each interaction, with its evidence and its reason. Doubt keeps.

`score_sequences` decides on one day; `decide` on any rows with evidence.
"""

from datetime import date

import polars as pl
import torch

from pipeline import columns as col
from pipeline import reasons
from pipeline.models import calibration
from pipeline.models.calibration import Calibrator
from pipeline.models.evidence import SIGNAL_DECIMALS, column, evidence
from pipeline.models.model import Model
from pipeline.models.names import DOUBT, FEATURES, SEQUENCE, WANTED
from pipeline.models.weights import strongest_signals

# Reason of a removal -> the signals that can bring it about.
BLAME = {
    reasons.UNLIKE_TITLES: [col.SIGNAL_SEMANTIC, col.SIGNAL_SEMANTIC_NEAREST],
    reasons.UNLIKE_BEHAVIOUR: [col.SIGNAL_COLLABORATIVE, col.SIGNAL_COLLABORATIVE_NEAREST],
    reasons.UNEXPECTED_NEXT: [col.SIGNAL_SURPRISE],
    reasons.UNEXPECTED_AMONG: [col.SIGNAL_SURPRISE_AROUND],
    reasons.VIEWS_MISALIGNED: [
        col.SIGNAL_ALIGNED_LONG_SHORT,
        col.SIGNAL_ALIGNED_SHORT_LONG,
        col.SIGNAL_ALIGNED_SHORT_SHORT,
    ],
}
# The paper's mask removes what is more likely masked than not.
IADSR_THRESHOLD = 0.5


def score_sequences(
    model: Model, sequences: pl.DataFrame, vectors: pl.DataFrame, day: date
) -> pl.DataFrame:
    """Decide on every interaction of `day`.

    Parameters
    ----------
    model : Model
        A trained model.
    sequences : pl.DataFrame
        As `read_sequences(..., active_on=day)` gives them: sorted by user, nothing after `day`.
    vectors : pl.DataFrame
        Columns item_id and vector (list or array of float32) of the items that have text.
    day : date
        The date to score.

    Returns
    -------
    pl.DataFrame
        One row per interaction of `day`: interaction_id, the signals, the strongest of them,
        noise_probability, threshold, stratum, history_length, decision, reason. Null where not
        computed.
    """
    frame = sequences.with_columns(
        pl.col(col.USER_ID).alias(SEQUENCE), (pl.col(col.EVENT_DATE) == day).alias(WANTED)
    )
    decided = decide(model, evidence(model.instruments, frame, vectors))
    return decided.with_columns(strongest_signals(model, decided)).select(
        col.INTERACTION_ID,
        *col.SIGNALS,
        col.STRONGEST_SIGNALS,
        col.NOISE_PROBABILITY,
        col.THRESHOLD,
        col.STRATUM,
        col.HISTORY_LENGTH,
        col.DECISION,
        col.REASON,
    )


def decide(model: Model, rows: pl.DataFrame) -> pl.DataFrame:
    """Add noise_probability, threshold, decision and reason to rows with `evidence`."""
    if model.instruments.settings.decision.method == "calibrated":
        return decide_calibrated(model.calibrator, model.thresholds, rows)
    return _decided(_by_the_paper(rows))


def decide_calibrated(
    calibrator: Calibrator, thresholds: dict[str, float | None], rows: pl.DataFrame
) -> pl.DataFrame:
    """`decide` by our own decision, whatever made the evidence; `thresholds` by stratum."""
    return _decided(_calibrated(calibrator, thresholds, rows))


def _decided(judged: pl.DataFrame) -> pl.DataFrame:
    unknown = pl.col(DOUBT).is_in([reasons.SIGNAL_MISSING, reasons.UNKNOWN_ITEM]).fill_null(False)
    judged = judged.with_columns(pl.when(~unknown).then(col.NOISE_PROBABILITY))
    return judged.with_columns(_reason().alias(col.REASON), _verdict().alias(col.DECISION))


def noise_by_the_paper(rows: pl.DataFrame) -> pl.Series:
    """IADSR's probability to be masked, sigmoid(-l_t) (eq. 7 and 8), null where l_t is unknown.

    The paper samples its mask; the probability itself decides here, so that a row's fate is no
    matter of luck.
    """
    logit = sum(
        (pl.col(name) for name in BLAME[reasons.VIEWS_MISALIGNED]), start=pl.lit(0.0)
    ).alias(col.NOISE_PROBABILITY)
    return (1 / (1 + rows.select(logit).to_series().exp())).round(SIGNAL_DECIMALS)


def _by_the_paper(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        noise_by_the_paper(rows),
        pl.lit(IADSR_THRESHOLD).alias(col.THRESHOLD),
        pl.lit(reasons.VIEWS_MISALIGNED).alias("blame"),
    )


def _calibrated(
    calibrator: Calibrator, thresholds: dict[str, float | None], rows: pl.DataFrame
) -> pl.DataFrame:
    """The calibrator's probability, the threshold of the stratum, and what weighs most if removed.

    `blame` is rounded before the largest is chosen, so that the first of equals wins always.
    """
    feature_NF = calibration.features(rows)
    chance_N = calibration.probability(calibrator.log_odds(feature_NF))
    limit = {name: limit for name, limit in thresholds.items() if limit is not None}
    judged = rows.with_columns(
        column(col.NOISE_PROBABILITY, chance_N),
        pl.col(col.STRATUM)
        .replace_strict(limit, default=None, return_dtype=pl.Float64)
        .alias(col.THRESHOLD),
    )
    removed = judged.select(_removed().fill_null(False).arg_true()).to_series()
    groups = [[FEATURES.index(name) for name in names] for names in BLAME.values()]
    share_NG = calibrator.contributions(feature_NF[torch.tensor(removed.to_numpy()).long()], groups)
    most_N = torch.round(share_NG, decimals=SIGNAL_DECIMALS).argmax(dim=1)
    blame = pl.Series("blame", list(BLAME), dtype=pl.String).gather(most_N.numpy())
    nothing = pl.repeat(None, rows.height, dtype=pl.String, eager=True).alias("blame")
    return judged.with_columns(nothing.scatter(removed, blame))


def _removed() -> pl.Expr:
    certain = pl.col(DOUBT).is_null() & pl.col(col.THRESHOLD).is_not_null()
    return certain & (pl.col(col.NOISE_PROBABILITY) >= pl.col(col.THRESHOLD))


def _verdict() -> pl.Expr:
    return pl.when(_removed()).then(pl.lit(reasons.REMOVE)).otherwise(pl.lit(reasons.KEEP))


def _reason() -> pl.Expr:
    return (
        pl.when(pl.col(DOUBT).is_not_null())
        .then(pl.col(DOUBT))
        .when(pl.col(col.THRESHOLD).is_null())
        .then(pl.lit(reasons.STRATUM_NOT_CALIBRATED))
        .when(pl.col(col.NOISE_PROBABILITY).is_null())
        .then(pl.lit(reasons.SIGNAL_MISSING))
        .when(_removed())
        .then(pl.col("blame"))
        .otherwise(pl.lit(reasons.BELOW_THRESHOLD))
    )
