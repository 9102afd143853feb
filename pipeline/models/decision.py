"""The decision on each interaction of a day, with its evidence and its reason. Doubt keeps.

`score_sequences` looks at one user at a time: the union of shards equals the whole.
"""

import itertools
from collections.abc import Iterator
from datetime import date

import polars as pl
import torch
from torch import Tensor

from pipeline import columns as col
from pipeline import reasons
from pipeline.models import calibration
from pipeline.models.batches import encode
from pipeline.models.model import Instruments, Model
from pipeline.models.names import COUNT, DOUBT, SEQUENCE, VIEWS_AGREE, WANTED
from pipeline.models.semantic import matrix
from pipeline.models.signals import exact, measure

# Reason of a removal -> the signals that can bring it about.
BLAME = {
    reasons.UNLIKE_TITLES: [col.SIGNAL_SEMANTIC, col.SIGNAL_SEMANTIC_NEAREST],
    reasons.UNLIKE_BEHAVIOUR: [col.SIGNAL_COLLABORATIVE, col.SIGNAL_COLLABORATIVE_NEAREST],
    reasons.UNEXPECTED_NEXT: [col.SIGNAL_SURPRISE],
    reasons.VIEWS_MISALIGNED: [
        col.SIGNAL_ALIGNED_LONG_SHORT,
        col.SIGNAL_ALIGNED_SHORT_LONG,
        col.SIGNAL_ALIGNED_SHORT_SHORT,
    ],
}
# Interactions that are measured at a time, whole users together: a bound of memory.
CHUNK_ROWS = 100_000
SIGNAL_DECIMALS = 6


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
        One row per interaction of `day`: interaction_id, the signals, noise_probability,
        threshold, stratum, history_length, decision, reason. Null where not computed.
    """
    frame = sequences.with_columns(
        pl.col(col.USER_ID).alias(SEQUENCE), (pl.col(col.EVENT_DATE) == day).alias(WANTED)
    )
    return decide(model, frame, vectors).select(
        col.INTERACTION_ID,
        *col.SIGNALS,
        col.NOISE_PROBABILITY,
        col.THRESHOLD,
        col.STRATUM,
        col.HISTORY_LENGTH,
        col.DECISION,
        col.REASON,
    )


def decide(model: Model, frame: pl.DataFrame, vectors: pl.DataFrame) -> pl.DataFrame:
    """The wanted rows with their evidence, probability, threshold, decision and reason.

    Parameters
    ----------
    model : Model
        A trained model.
    frame : pl.DataFrame
        Sorted by `sequence`, with item_id and `wanted`; its columns stay.
    vectors : pl.DataFrame
        Columns item_id and vector.
    """
    rows = _with_probability(model, evidence(model.instruments, frame, vectors))
    return rows.with_columns(_reason().alias(col.REASON), _verdict().alias(col.DECISION))


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
        .when(_removed())
        .then(pl.col("blame"))
        .otherwise(pl.lit(reasons.BELOW_THRESHOLD))
    )


def evidence(instruments: Instruments, frame: pl.DataFrame, vectors: pl.DataFrame) -> pl.DataFrame:
    """Signals, stratum, history length and doubt of the wanted rows, in their order.

    Parameters
    ----------
    instruments : Instruments
        What measures.
    frame : pl.DataFrame
        Sorted by `sequence`, with item_id and `wanted`.
    vectors : pl.DataFrame
        Columns item_id and vector.
    """
    tools = exact(instruments)
    texts = vectors.join(frame.select(col.ITEM_ID), on=col.ITEM_ID, how="semi")
    width = len(tools.space.mean_K)
    text_TP = tools.space.project(matrix(texts).reshape(texts.height, width))
    parts = []
    for chunk in _chunks(frame):
        sequences = encode(chunk, SEQUENCE, tools.vocabulary, texts[col.ITEM_ID])
        wanted_N = torch.tensor(chunk[WANTED].to_numpy())
        found = measure(tools, text_TP, sequences, wanted_N)
        rows = chunk.with_columns(pl.len().over(SEQUENCE).cast(pl.Int64).alias(col.HISTORY_LENGTH))
        parts.append(
            rows.filter(WANTED).with_columns(
                *(_column(name, x) for name, x in found.items()),
                pl.Series("has_text", (sequences.text_N > 0)[wanted_N].numpy()),
            )
        )
    rows = pl.concat(parts)
    counted = rows.join(instruments.vocabulary, on=col.ITEM_ID, how="left", maintain_order="left")
    bounds = instruments.settings.decision.strata
    stratum = pl.when(pl.col(COUNT).is_not_null()).then(
        calibration.stratum_of(pl.col(COUNT), bounds)
    )
    return counted.with_columns(stratum.alias(col.STRATUM), _doubt(instruments).alias(DOUBT))


def _column(name: str, x: Tensor) -> pl.Series:
    return pl.Series(name, x.numpy()).round(SIGNAL_DECIMALS).fill_nan(None)


def _doubt(instruments: Instruments) -> pl.Expr:
    """Reason to keep a row whatever its probability; null if there is none."""
    settings = instruments.settings
    missing = pl.any_horizontal(
        [pl.col(name).is_null() | pl.col(name).is_infinite() for name in col.SIGNALS]
    )
    short = pl.col(col.HISTORY_LENGTH) < settings.decision.min_history
    return (
        pl.when(short)
        .then(pl.lit(reasons.SHORT_HISTORY))
        .when(pl.col(COUNT).is_null())
        .then(pl.lit(reasons.UNKNOWN_ITEM))
        .when(~pl.col("has_text"))
        .then(pl.lit(reasons.NO_TEXT))
        .when(missing)
        .then(pl.lit(reasons.SIGNAL_MISSING))
        .when(pl.col(VIEWS_AGREE) < settings.model.user_gate)
        .then(pl.lit(reasons.VIEWS_DISAGREE))
    )


def _with_probability(model: Model, rows: pl.DataFrame) -> pl.DataFrame:
    """Add the noise probability (null with a missing signal), its threshold and what weighs most.

    `blame` is rounded before the largest is chosen, so that the first of equals wins always.
    """
    feature_NF = calibration.features(rows)
    groups = [[calibration.FEATURES.index(name) for name in names] for names in BLAME.values()]
    share_NG = model.calibrator.contributions(feature_NF, groups).nan_to_num()
    blame_N = torch.round(share_NG, decimals=SIGNAL_DECIMALS).argmax(dim=1)
    chance_N = calibration.probability(model.calibrator.log_odds(feature_NF))
    limit = {name: limit for name, limit in model.thresholds.items() if limit is not None}
    return rows.with_columns(
        _column(col.NOISE_PROBABILITY, chance_N),
        pl.col(col.STRATUM)
        .replace_strict(limit, default=None, return_dtype=pl.Float64)
        .alias(col.THRESHOLD),
        pl.Series("blame", list(BLAME), dtype=pl.String).gather(blame_N.numpy()),
    )


def _chunks(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Slices of whole sequences, of about `CHUNK_ROWS` rows; one empty slice of an empty frame."""
    ends = frame.select(pl.col(SEQUENCE).rle().struct.field("len").cum_sum()).to_series()
    bucket = (ends - 1) // CHUNK_ROWS
    starts = [0, *ends.filter(bucket.shift(-1) > bucket).to_list(), frame.height]
    for start, end in itertools.pairwise(starts):
        yield frame.slice(start, end - start)
