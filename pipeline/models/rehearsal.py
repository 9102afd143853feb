"""Rehearses cleaning on held-out users: their sequences, with known noise put in.

A rehearsed night is a sequence cut at a date, of which the last day is judged, as in production;
a rehearsed log is whole sequences, all judged, as in the cleaning of a training log at once.
"""

from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from pipeline import columns as col
from pipeline.config import DecisionConfig
from pipeline.errors import UserError
from pipeline.hashing import shard_of, stable_hash
from pipeline.models import calibration, thresholds
from pipeline.models.calibration import Calibrator
from pipeline.models.contamination import Known, NoiseShare, noise_kinds
from pipeline.models.evidence import evidence
from pipeline.models.model import Instruments
from pipeline.models.names import (
    DOUBT,
    FEATURES,
    HIDE_ITEM,
    HIDE_TEXT,
    INJECTED,
    KIND,
    KNOWN_SHARE,
    SEQUENCE,
    WANTED,
)
from pipeline.models.noise import inject
from pipeline.sequences import within_reach

Scope = Literal["night", "log"]

NIGHTS_PER_USER = 4
# Rows of all rehearsed sequences together, history included: a bound of time and memory.
MAX_ROWS = 300_000
# Noise is drawn anew at each of these parts of `decision.injection_rate`, so that thresholds hold
# among little noise and among much; in the last draw, so many rows lack their item or their text.
RATES = (0.25, 0.5, 1.0, 1.5, 1.0)
# Where the own rows are known to hold noise, always at this: a history that does not hang together
# would tell a draw with much noise, hence what was injected from what was noise before.
ONE_RATE = 1.0
HIDDEN_SHARE = 0.15
LOTS = 1_000  # into which users are cast, where all would be too many
NOTHING = Known()
# One user in so many sets the thresholds; the others fit the calibrator.
THRESHOLD_PARTS = 3


def nights(held_out: pl.DataFrame, max_length: int, seed: int) -> pl.DataFrame:
    """Some nights of each held-out user, as sequences of their own.

    Returns
    -------
    pl.DataFrame
        The columns of `held_out`, `sequence` (user and date) and `wanted` (the last day).
    """
    dates = held_out.select(col.USER_ID, col.EVENT_DATE).unique(maintain_order=True)
    lot = pl.Series("lot", np.random.default_rng(seed).permutation(dates.height))
    chosen = dates.with_columns(lot).sort("lot")
    chosen = chosen.filter(pl.int_range(pl.len()).over(col.USER_ID) < NIGHTS_PER_USER)
    chosen = chosen.head(MAX_ROWS)  # none is shorter than a row
    chosen = chosen.select(col.USER_ID, "lot", pl.col(col.EVENT_DATE).alias("night"))
    cut = held_out.join(chosen, on=col.USER_ID, maintain_order="right_left")
    cut = cut.filter(pl.col(col.EVENT_DATE) <= pl.col("night"))
    cut = cut.with_columns(
        pl.col("lot").alias(SEQUENCE), (pl.col(col.EVENT_DATE) == pl.col("night")).alias(WANTED)
    ).drop("lot", "night")
    cut = cut.filter(within_reach(pl.col(WANTED), SEQUENCE, max_length))
    return _bounded(cut)


def logs(held_out: pl.DataFrame) -> pl.DataFrame:
    """Whole sequences of the held-out users, all rows `wanted`."""
    if held_out.height > MAX_ROWS:  # some users, by lot: their names may tell when they came
        lot = shard_of(pl.concat_str(pl.lit("rehearsed "), col.USER_ID), LOTS)
        held_out = held_out.filter(lot < LOTS * MAX_ROWS // held_out.height)
    user = pl.col(col.USER_ID).rle_id().alias(SEQUENCE)
    return _bounded(held_out.with_columns(user, pl.lit(True).alias(WANTED)))


def _bounded(frame: pl.DataFrame) -> pl.DataFrame:
    place = frame.select(pl.int_range(pl.len()).alias("place")).to_series()
    first = frame.with_columns(place).select(pl.col("place").first().over(SEQUENCE)).to_series()
    return frame.filter(first < MAX_ROWS)


def with_noise(
    instruments: Instruments,
    frame: pl.DataFrame,
    vectors: pl.DataFrame,
    seed: int,
    *,
    part: float = 1.0,
    weights: dict[str, float] | None = None,
) -> pl.DataFrame:
    """Put noise into nights or logs, as `inject` does, by the settings of the instruments.

    A night is cut to `sequence.max_length` rows before its day, as in production, where noise
    takes the place of what came earlier.

    Parameters
    ----------
    instruments : Instruments
        Their vocabulary and settings.
    frame : pl.DataFrame
        As `nights` or `logs` gives it.
    vectors : pl.DataFrame
        Columns item_id and vector.
    seed : int
        Of the noise.
    part : float
        Of `decision.injection_rate`.
    weights : dict, optional
        Kind -> how likely it is; none: each as likely.
    """
    settings = instruments.settings
    noisy = inject(
        frame,
        SEQUENCE,
        instruments.vocabulary,
        rate=min(part * settings.decision.injection_rate, 1.0),
        seed=seed,
        kinds=settings.decision.injection_kinds,
        weights=weights,
        vectors=vectors,
    )
    return noisy.filter(within_reach(pl.col(WANTED), SEQUENCE, settings.sequence.max_length))


def rehearse(
    instruments: Instruments,
    held_out: pl.DataFrame,
    vectors: pl.DataFrame,
    seed: int,
    scope: Scope = "night",
    *,
    known: Known = NOTHING,
) -> pl.DataFrame:
    """Evidence on every judged row of every rehearsal, with `injected`, `kind` and `known_share`.

    The kinds are mixed as what is known of the log's noise says.

    Where something is hidden of a row (its item's number or its text), only that row counts:
    it tells what new items, and items without text, look like.
    """
    settings = instruments.settings
    if scope == "night":
        frame = nights(held_out, settings.sequence.max_length, seed)
    else:
        frame = logs(held_out)
    found = []
    for number, part in enumerate([ONE_RATE] * len(RATES) if known.share else RATES):
        noisy = with_noise(
            instruments, frame, vectors, seed + number, part=part, weights=known.kinds
        )
        if number + 1 == len(RATES):
            noisy = _hide(noisy, seed)
        rows = evidence(instruments, noisy, vectors).filter(pl.col(DOUBT).is_null())
        found.append(rows.drop(HIDE_ITEM, HIDE_TEXT, strict=False))
    return pl.concat(found).with_columns(pl.lit(known.share).alias(KNOWN_SHARE))


def _hide(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Of some wanted rows hide the item, of others the text; want only those."""
    lot = np.random.default_rng(seed).random(frame.height)
    return frame.with_columns(
        pl.Series(HIDE_ITEM, lot < HIDDEN_SHARE) & pl.col(WANTED),
        pl.Series(HIDE_TEXT, lot > 1 - HIDDEN_SHARE) & pl.col(WANTED),
    ).with_columns((pl.col(HIDE_ITEM) | pl.col(HIDE_TEXT)).alias(WANTED))


def calibrate(rows: pl.DataFrame, config: DecisionConfig, seed: int) -> tuple[Calibrator, Any]:
    """Fit the calibrator on most of the users, choose thresholds on the others.

    Returns
    -------
    tuple
        The calibrator, and the part `calibration` of the card: thresholds and their effect per
        stratum, the share of noise that the log holds already, calibration error, detection per
        kind of noise, all on the other users.

    Raises
    ------
    UserError
        A part has no noise, or nothing genuine.
    """
    first, second = rows.filter(~_sets_thresholds()), rows.filter(_sets_thresholds())
    if min(part[INJECTED].n_unique() for part in (first, second)) < 2:
        raise UserError(
            f"too few users to calibrate on: {rows.height} interactions on the rehearsed nights of "
            "the held-out users (ingest more history, or raise train.validation_share)"
        )
    noise_N = torch.tensor(first[INJECTED].to_numpy())
    known_share = float(rows[KNOWN_SHARE][0])
    calibrator = calibration.fit_calibrator(calibration.features(first), noise_N, seed, known_share)
    log_odds = calibrator.log_odds(calibration.features(second))
    judged = _with_probability(second, log_odds)
    truth = torch.tensor(second[INJECTED].to_numpy())
    stated = calibration.Mixture.of(truth, known_share).injected(log_odds).sigmoid()
    strata = thresholds.thresholds_table(judged, config)
    share = _over_all(strata)
    report = {
        "injection_rate": config.injection_rate,
        "injection_kinds": list(config.injection_kinds),
        "features": list(FEATURES),
        "false_drop_budget": config.false_drop_budget,
        "min_precision": config.min_precision,
        "rows_fitted": first.height,
        "rows_judged": second.height,
        "calibration_error": calibration.expected_calibration_error(stated, truth),
        "curve": calibration.calibration_curve(stated, truth),
        "detection": {
            str(kind): _detection(judged.filter(pl.col(KIND) == kind))
            for kind in judged[KIND].unique().sort()
        },
        "noise_share": share.least,
        "noise_share_most": share.most,
        "noise_share_known": known_share,
        "noise_kinds": noise_kinds(judged, _whole(strata), config.injection_kinds),
        "strata": strata,
    }
    return calibrator, report


def held_for_thresholds(rows: pl.DataFrame, calibrator: Calibrator) -> pl.DataFrame:
    """The rehearsed rows that `calibrate` chose the thresholds on, with noise_probability."""
    second = rows.filter(_sets_thresholds())
    return _with_probability(second, calibrator.log_odds(calibration.features(second)))


def _sets_thresholds() -> pl.Expr:
    lot = stable_hash(pl.col(col.USER_ID), pl.lit("calibration")).reinterpret(signed=False)
    return lot % THRESHOLD_PARTS == 0


def _with_probability(rows: pl.DataFrame, log_odds: torch.Tensor) -> pl.DataFrame:
    chance = calibration.probability(log_odds)
    return rows.with_columns(pl.Series(col.NOISE_PROBABILITY, chance.numpy()))


def _over_all(strata: list[dict[str, Any]]) -> NoiseShare:
    """The share of noise over the strata that it is told of; 0 to 1 where it is told of none."""
    told = [s for s in _whole(strata) if s["noise_share_most"] < 1]
    rows = sum(s["rows"] for s in told)
    if not rows:
        return NoiseShare(0.0, 1.0)
    names = ("noise_share", "noise_share_most")
    return NoiseShare(*(float(sum(s[n] * s["rows"] for s in told) / rows) for n in names))


def _whole(strata: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Strata by popularity: rows that had something hidden are copies of others."""
    return [s for s in strata if s["stratum"] not in (thresholds.NEW, thresholds.TEXTLESS)]


def _detection(rows: pl.DataFrame) -> dict[str, float | None]:
    score = torch.tensor(rows[col.NOISE_PROBABILITY].to_numpy())
    truth = torch.tensor(rows[INJECTED].to_numpy())
    return {
        "auroc": calibration.auroc(score, truth),
        "average_precision": calibration.average_precision(score, truth),
    }
