"""Rehearses nights on held-out users: their sequences cut at a date, with known noise put in.

What the night will meet is what calibration sees: history first, labels on the last day only.
"""

from typing import Any

import numpy as np
import polars as pl
import torch

from pipeline import columns as col
from pipeline.config import DecisionConfig
from pipeline.errors import UserError
from pipeline.hashing import stable_hash
from pipeline.models import calibration
from pipeline.models.calibration import Calibrator
from pipeline.models.decision import evidence
from pipeline.models.model import Instruments
from pipeline.models.names import DOUBT, INJECTED, KIND, SEQUENCE, WANTED
from pipeline.models.noise import inject
from pipeline.sequences import within_reach

NIGHTS_PER_USER = 4
# Rows of all rehearsed nights together, history included: a bound of time and memory.
MAX_ROWS = 300_000


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
    chosen = chosen.select(col.USER_ID, "lot", pl.col(col.EVENT_DATE).alias("night"))
    cut = held_out.join(chosen, on=col.USER_ID, maintain_order="right_left")
    cut = cut.filter(pl.col(col.EVENT_DATE) <= pl.col("night"))
    cut = cut.with_columns(
        pl.col("lot").alias(SEQUENCE), (pl.col(col.EVENT_DATE) == pl.col("night")).alias(WANTED)
    ).drop("lot", "night")
    cut = cut.filter(within_reach(pl.col(WANTED), SEQUENCE, max_length))
    return cut.filter((pl.int_range(pl.len()) < MAX_ROWS).first().over(SEQUENCE))


def rehearse(
    instruments: Instruments, held_out: pl.DataFrame, vectors: pl.DataFrame, seed: int
) -> pl.DataFrame:
    """Evidence on the last day of every rehearsed night, with `injected` and `kind`."""
    settings = instruments.settings
    frame = nights(held_out, settings.sequence.max_length, seed)
    rate = settings.decision.injection_rate
    noisy = inject(frame, SEQUENCE, instruments.vocabulary, rate=rate, seed=seed)
    return evidence(instruments, noisy, vectors).filter(pl.col(DOUBT).is_null())


def calibrate(rows: pl.DataFrame, config: DecisionConfig, seed: int) -> tuple[Calibrator, Any]:
    """Fit the calibrator on one half of the users, choose thresholds on the other.

    Returns
    -------
    tuple
        The calibrator, and the part `calibration` of the card: thresholds and their effect per
        stratum, calibration error, detection per kind of noise, all on the second half.

    Raises
    ------
    UserError
        A half has no noise, or nothing genuine.
    """
    half = stable_hash(pl.col(col.USER_ID), pl.lit("calibration")) % 2 == 0
    first, second = rows.filter(half), rows.filter(~half)
    if min(part[INJECTED].n_unique() for part in (first, second)) < 2:
        raise UserError(
            f"too few users to calibrate on: {rows.height} interactions on the rehearsed nights of "
            "the held-out users (ingest more history, or raise train.validation_share)"
        )
    noise_N = torch.tensor(first[INJECTED].to_numpy())
    calibrator = calibration.fit_calibrator(calibration.features(first), noise_N, seed)
    chance = calibration.probability(calibrator.log_odds(calibration.features(second)))
    judged = second.with_columns(pl.Series(col.NOISE_PROBABILITY, chance.numpy()))
    truth = torch.tensor(second[INJECTED].to_numpy())
    report = {
        "injection_rate": config.injection_rate,
        "false_drop_budget": config.false_drop_budget,
        "rows_fitted": first.height,
        "rows_judged": second.height,
        "calibration_error": calibration.expected_calibration_error(chance, truth),
        "detection": {
            str(kind): _detection(judged.filter(pl.col(KIND) == kind))
            for kind in judged[KIND].unique().sort()
        },
        "strata": calibration.thresholds_table(
            judged, config.strata, config.false_drop_budget, config.min_calibration_rows
        ),
    }
    return calibrator, report


def _detection(rows: pl.DataFrame) -> dict[str, float | None]:
    score = torch.tensor(rows[col.NOISE_PROBABILITY].to_numpy())
    truth = torch.tensor(rows[INJECTED].to_numpy())
    return {
        "auroc": calibration.auroc(score, truth),
        "average_precision": calibration.average_precision(score, truth),
    }
