"""From sequences and text vectors to a model: split, fit, factorise, rehearse, calibrate."""

from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import torch

from pipeline import columns as col
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.hashing import shard_of
from pipeline.models import calibration
from pipeline.models.batches import Prefixes, encode, number_items
from pipeline.models.calibration import Calibrator
from pipeline.models.cloze import fit_cloze
from pipeline.models.collaborative import item_factors
from pipeline.models.contamination import Known
from pipeline.models.evidence import evidence
from pipeline.models.fit import Fit, Task, fit_aligner
from pipeline.models.model import (
    Instruments,
    Model,
    Settings,
    count_items,
    noise_shares_of,
    sample_items,
)
from pipeline.models.names import DOUBT, SEQUENCE, WANTED
from pipeline.models.rehearsal import Scope, calibrate, rehearse
from pipeline.models.semantic import fit_space, matrix
from pipeline.progress import logger

# Users are held out by a hash of their name in so many parts: no list needs to be kept.
PARTS = 10_000
MIN_USERS = 2
# With less noise in the log, to know of it was not seen to help.
DIRTY = 0.1
# Where signals are weak, most of a clean log may look like noise: that tells nothing.
HALF = 0.5
# A surprise is normalised over so many items: more of them tell noise no better.
NORMALISER_ITEMS = 2_048
# Components of the text vectors that texts are compared by; models learn from the first few.
COMPARED_COMPONENTS = 256


def fit_model(
    config: Config,
    sequences: pl.DataFrame,
    vectors: pl.DataFrame,
    card: dict[str, Any],
    scope: Scope = "night",
    *,
    prefixes: Prefixes | None = None,
) -> Model:
    """Train, calibrate and describe a model.

    Parameters
    ----------
    config : Config
        Its sections sequence, model, cloze, train and decision are used.
    sequences : pl.DataFrame
        As `read_sequences` gives them.
    vectors : pl.DataFrame
        Columns item_id and vector.
    card : dict
        What is known of the model's origin; `metrics` and `calibration` are added.
    scope : str
        What it will judge: the last day of sequences, or whole sequences.
    prefixes : Prefixes, optional
        Reads the texts of `model.texts = "prefixes"`.

    Raises
    ------
    UserError
        Too few users to train or to calibrate on.
    """
    return learn(config, sequences, vectors, scope, prefixes).model(card)


@dataclass(frozen=True)
class Learned:
    """What a training comes to."""

    instruments: Instruments
    fit: Fit
    rehearsed: pl.DataFrame  # evidence on known noise, as `rehearse` gives it
    calibrator: Calibrator
    report: dict[str, Any]  # of the calibration, as `calibrate` gives it
    distrusted: int  # rows that were left out as noise

    def model(self, card: dict[str, Any]) -> Model:
        """The model, its card with `metrics` and `calibration` added."""
        metrics = {
            "epochs": self.fit.epochs,
            "best_epoch": self.fit.best_epoch,
            "distrusted_rows": self.distrusted,
        }
        story = {**card, "metrics": metrics, "calibration": self.report}
        return Model(instruments=self.instruments, calibrator=self.calibrator, card=story)


def learn(
    config: Config,
    sequences: pl.DataFrame,
    vectors: pl.DataFrame,
    scope: Scope,
    prefixes: Prefixes | None = None,
) -> Learned:
    """All of `fit_model` but the card.

    Where a log `looks_dirty`, the rehearsal is held again, and told how much noise there is and of
    which kinds. If `DIRTY` of the log or more was noise for certain, all is then learned anew
    without the rows that look most like it: what models have learned from, they no longer find
    unlikely. Raises UserError: too few users.
    """
    held = held_out(pl.col(col.USER_ID), config.train.validation_share)
    ours, theirs = sequences.filter(~held), sequences.filter(held)
    for frame, name in ((ours, "train on"), (theirs, "calibrate on")):
        if frame[col.USER_ID].n_unique() < MIN_USERS:
            raise UserError(
                f"too few users to {name} ({frame[col.USER_ID].n_unique()} of "
                f"{sequences[col.USER_ID].n_unique()}): ingest more history"
            )

    def rehearsed(tools: Instruments, known: Known) -> tuple[pl.DataFrame, Calibrator, Any]:
        rows = rehearse(tools, theirs, vectors, config.train.seed, scope, known=known)
        return rows, *calibrate(rows, config.decision, config.train.seed)

    kept = ours
    instruments, fit = fit_instruments(config, ours, theirs, vectors, prefixes)
    rows, calibrator, report = rehearsed(instruments, Known())
    certain = report["noise_share"] >= DIRTY
    if looks_dirty(report):
        rows, calibrator, report = rehearsed(instruments, known_by(report))
    if certain:
        kept = trusted(instruments, calibrator, ours, vectors, noise_shares_of(report))
    if kept.height < ours.height:
        out = 100 * (1 - kept.height / ours.height)
        logger.info("train: %.0f%% of the log looks like noise; once more without it", out)
        instruments, fit = fit_instruments(config, kept, theirs, vectors, prefixes)
        rows, calibrator, report = rehearsed(instruments, known_by(report))
    least, most = 100 * report["noise_share"], 100 * report["noise_share_most"]
    logger.info("train: noise in the log: %.1f%% at least, %.1f%% at most", least, most)
    return Learned(instruments, fit, rows, calibrator, report, ours.height - kept.height)


def looks_dirty(report: dict[str, Any]) -> bool:
    """True if `DIRTY` of the log or more is noise by the report of a calibration, or may well be.

    For certain is what signals do not explain by being weak, and they are weak among noise: of a
    log with 17 % of noise, 0 to 10 % were certain, and at most 19 to 23 % possible; of clean ones
    (Beauty, Games, MovieLens), 0 and at most 0 to 4 %.
    """
    least, most = report["noise_share"], report["noise_share_most"]
    return bool(least >= DIRTY or DIRTY <= most <= HALF)


def known_by(report: dict[str, Any]) -> Known:
    """What the report of a calibration says of the log's noise."""
    return Known(report["noise_share_most"], report["noise_kinds"])


def trusted(
    instruments: Instruments,
    calibrator: Calibrator,
    frame: pl.DataFrame,
    vectors: pl.DataFrame,
    shares: dict[str, float],
) -> pl.DataFrame:
    """The rows of a frame without those that look most like noise; what cannot be judged stays.

    Parameters
    ----------
    instruments, calibrator : Instruments, Calibrator
        What judges.
    frame : pl.DataFrame
        As `read_sequences` gives it.
    vectors : pl.DataFrame
        Columns item_id and vector.
    shares : dict
        Stratum -> share of its rows that is left out.
    """
    wanted = frame.with_columns(pl.col(col.USER_ID).alias(SEQUENCE), pl.lit(True).alias(WANTED))
    rows = evidence(instruments, wanted, vectors)
    odds = pl.Series("odds", calibrator.log_odds(calibration.features(rows)).numpy())
    stratum = pl.col(col.STRATUM)
    allowed = stratum.replace_strict(shares, default=0.0, return_dtype=pl.Float64) * pl.len()
    rank = pl.col("odds").rank("ordinal", descending=True)
    suspect = rows.with_columns(odds).select((rank <= allowed.first()).over(stratum)).to_series()
    return frame.filter(rows[DOUBT].is_not_null() | ~suspect)


def held_out(user_id: pl.Expr, share: float) -> pl.Expr:
    """True for the users that only validate and calibrate: the same in every training."""
    return shard_of(pl.concat_str(pl.lit("held out "), user_id), PARTS) < round(share * PARTS)


def fit_instruments(
    config: Config,
    ours: pl.DataFrame,
    theirs: pl.DataFrame,
    vectors: pl.DataFrame,
    prefixes: Prefixes | None = None,
) -> tuple[Instruments, Fit]:
    """What measures the signals, fitted on our users; theirs only stop the aligner in time."""
    assert (prefixes is not None) == (config.model.texts == "prefixes")
    seed, width = config.train.seed, config.model.semantic_dim
    vocabulary = count_items(ours, config.train.min_item_count)
    if vocabulary.is_empty():
        least = config.train.min_item_count
        raise UserError(f"no item occurs {least} times: lower train.min_item_count")
    known = vectors.join(vocabulary, on=col.ITEM_ID, how="semi")
    space = fit_space(matrix(known), width, max(width, COMPARED_COMPONENTS))
    text_TP = space.project(matrix(known))[:, :width].float()
    train = encode(ours, col.USER_ID, vocabulary, known[col.ITEM_ID])
    validate = encode(theirs, col.USER_ID, vocabulary, known[col.ITEM_ID])
    if prefixes:
        joined = ours.with_columns(pl.col(col.USER_ID).alias(SEQUENCE))
        prefix_NP = prefixes(joined, lambda x_TK: space.project(x_TK)[1:, :width].float())
        train = replace(train, prefix_NP=prefix_NP)
    task = Task(train, text_TP, config.sequence.max_length, config.train)
    fit = fit_aligner(task, validate, vocabulary.height, config.model)
    text_V = torch.cat(
        [torch.zeros(1, dtype=torch.long), number_items(vocabulary, known.select(col.ITEM_ID))]
    )
    cloze = fit_cloze(train, text_TP, text_V, config.sequence.max_length, config.cloze)
    sample_M = sample_items(vocabulary.height, NORMALISER_ITEMS, seed)
    with torch.inference_mode():
        around_MD = cloze.vectors(sample_M, text_TP[text_V[sample_M]]).clone()
    instruments = Instruments(
        settings=Settings(config.sequence, config.model, config.cloze, config.decision),
        vocabulary=vocabulary,
        aligner=fit.aligner,
        cloze=cloze,
        space=space,
        factor_VR=item_factors(train, vocabulary.height, config.model.dim, seed),
        sample_M=sample_M,
        around_MD=around_MD,
        prefixes=prefixes,
    )
    return instruments, fit
