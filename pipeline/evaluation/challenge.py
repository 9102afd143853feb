"""Two models on the same held-out data: what each finds, drops wrongly, and is worth downstream.

Held-out users are those that neither model learned from. Their nights are rehearsed with noise
drawn anew. Each model was calibrated on nights of the same users, among other noise, and the
challenger on later ones, too: that favours it a little, and is why [promotion] has tolerances.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline import columns as col
from pipeline.config import Config, DecisionConfig
from pipeline.errors import UserError
from pipeline.evaluation.names import ROW
from pipeline.evaluation.recommender import RANK, accuracy, fit_recommender, ranks
from pipeline.evaluation.splits import leave_one_out
from pipeline.evaluation.usefulness import cleaned, task_of
from pipeline.models.decision import decide
from pipeline.models.evidence import evidence
from pipeline.models.model import Model
from pipeline.models.names import DOUBT, INJECTED, SEQUENCE, WANTED
from pipeline.models.rehearsal import nights, with_noise
from pipeline.models.thresholds import strata_names
from pipeline.models.training import held_out
from pipeline.reasons import REMOVE

# Far from the seeds of any training's own rehearsals.
SEED_OFFSET = 1_000


@dataclass(frozen=True)
class Contender:
    """A model, and the vectors of its own encoder (columns item_id, vector)."""

    model: Model
    vectors: pl.DataFrame


@dataclass(frozen=True)
class Measures:
    """What one model did on the held-out nights. Shares, from 0 to 1; None: too few rows."""

    found: float  # of the noise, where the budget of genuine rows is removed
    false_drops: float  # of the genuine rows, by the model's own thresholds
    cold_false_drops: float | None  # of those whose item is rare


def rehearsed_nights(
    sequences: pl.DataFrame, challenger: Contender, validation_share: float
) -> pl.DataFrame:
    """Nights of the held-out users, as `evidence` reads them, with `injected`.

    Parameters
    ----------
    sequences : pl.DataFrame
        As `read_sequences` gives them.
    challenger : Contender
        Its settings and vocabulary make the noise.
    validation_share : float
        The smaller of the shares of users that the models held out: those stand in both.

    Raises
    ------
    UserError
        No held-out user has a night.
    """
    instruments = challenger.model.instruments
    theirs = sequences.filter(held_out(pl.col(col.USER_ID), validation_share))
    frame = nights(theirs, instruments.settings.sequence.max_length, SEED_OFFSET)
    if frame.is_empty():
        raise UserError("no held-out user has a night to judge the models on: ingest more history")
    return with_noise(instruments, frame, challenger.vectors, SEED_OFFSET)


def measure(
    contenders: list[Contender], frame: pl.DataFrame, config: DecisionConfig
) -> list[Measures]:
    """Measures of each contender on the same rehearsed nights; the first one's strata count."""
    judged = [decide(c.model, evidence(c.model.instruments, frame, c.vectors)) for c in contenders]
    stratum = judged[0][col.STRATUM]
    return [_measures(rows.with_columns(stratum), config) for rows in judged]


def downstream(contenders: list[Contender], sequences: pl.DataFrame, config: Config) -> list[float]:
    """NDCG@10 on last items of a recommender trained on what each contender keeps.

    Cleaning never touches those items; the models may have learned from them, like any history.
    """
    split = leave_one_out(sequences)
    log = split.train.with_columns(pl.lit(False).alias(INJECTED)).with_row_index(ROW)
    found = []
    for contender in contenders:
        frame = log.with_columns(pl.col(col.USER_ID).alias(SEQUENCE), pl.lit(True).alias(WANTED))
        model = contender.model
        judged = decide(model, evidence(model.instruments, frame, contender.vectors))
        task = task_of(split, judged, cleaned(judged, 0))
        asked = (task.train, task.validate, task.vocabulary)
        fitted = fit_recommender(*asked, config.recommender, seed=0)
        found.append(accuracy(ranks(fitted, task.history, task.targets)[RANK])["ndcg"])
    return found


def _measures(rows: pl.DataFrame, config: DecisionConfig) -> Measures:
    cold = rows.filter(pl.col(col.STRATUM) == strata_names(config.strata)[0], ~pl.col(INJECTED))
    enough = cold.height >= config.min_calibration_rows
    return Measures(
        found=_found_at(rows, config.false_drop_budget),
        false_drops=_dropped(rows.filter(~pl.col(INJECTED))),
        cold_false_drops=_dropped(cold) if enough else None,
    )


def _found_at(rows: pl.DataFrame, budget: float) -> float:
    """Share of the noise whose score lies above all but `budget` of the genuine rows'."""
    certain = pl.when(pl.col(DOUBT).is_null()).then(pl.col(col.NOISE_PROBABILITY)).fill_null(0.0)
    score = rows.select(certain).to_series().to_numpy()
    noise = rows[INJECTED].to_numpy()
    genuine = np.sort(score[~noise])[::-1]
    if not len(genuine) or not noise.any():
        return 0.0
    limit = genuine[min(int(budget * len(genuine)), len(genuine) - 1)]
    return float((score[noise] > limit).mean())


def _dropped(rows: pl.DataFrame) -> float:
    return rows.filter(pl.col(col.DECISION) == REMOVE).height / max(rows.height, 1)
