"""Decisions on a whole log, each user judged by a model that was trained without them.

A night judges its last day; here every interaction is judged, by what stands before and after it.
"""

from dataclasses import replace

import polars as pl

from pipeline import columns as col
from pipeline.config import Config
from pipeline.evaluation.names import (
    DECISION_IADSR,
    LEAST_BUDGET,
    NOISE_PROBABILITY_IADSR,
    ROW,
    decision_at,
)
from pipeline.hashing import shard_of
from pipeline.models.batches import Prefixes
from pipeline.models.calibration import features, probability
from pipeline.models.decision import decide
from pipeline.models.evidence import column, evidence
from pipeline.models.model import Model
from pipeline.models.names import DOUBT, SEQUENCE, WANTED
from pipeline.models.rehearsal import held_for_thresholds
from pipeline.models.thresholds import goes, least_budgets
from pipeline.models.training import Learned, learn
from pipeline.progress import progress
from pipeline.reasons import KEEP, REMOVE
from pipeline.sequences import COLUMNS


def clean_log(
    config: Config, log: pl.DataFrame, vectors: pl.DataFrame, prefixes: Prefixes | None = None
) -> pl.DataFrame:
    """Noise probability and decision of every interaction, out of fold.

    Parameters
    ----------
    config : Config
        Its `checkpoint.MADE_WITH` make the models; `evaluate.folds` tells in how many parts the
        users are judged.
    log : pl.DataFrame
        `row` and the columns of `pipeline.sequences.COLUMNS`, sorted by user in sequence order.
        No other column is looked at.
    vectors : pl.DataFrame
        Columns item_id and vector.
    prefixes : Prefixes, optional
        As for `fit_model`.

    Returns
    -------
    pl.DataFrame
        row, noise_probability (null where not scored) and decision, the least false-drop budget
        under which the row would go by the calibrator (null: none), what the paper says
        (noise_probability_iadsr, decision_iadsr), and each signal; in the order of `log`.

    Raises
    ------
    UserError
        A fold leaves too few users to train or to calibrate on.
    """
    folds = config.evaluate.folds
    parts = []
    with progress(folds, "clean", "folds") as bar:
        for number in range(folds):
            others, judged = fold(log, number, folds)
            learned = learn(config, others, vectors, "log", prefixes)
            parts.append(judge(learned, judged, vectors))
            bar.update(1)
    return pl.concat(parts).sort(ROW)


def fold(log: pl.DataFrame, number: int, folds: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the model of a fold learns from, and what it judges: other users, all their rows.

    Parameters
    ----------
    log : pl.DataFrame
        As `clean_log` takes it; what is known of the noise is left behind.
    number, folds : int
        Which fold (from 0), of how many.
    """
    frame = log.select(ROW, *COLUMNS)
    # Not the hash that holds users out for calibration: each fold shall have both.
    mine = shard_of(pl.concat_str(pl.lit("fold "), pl.col(col.USER_ID)), folds) == number
    judged = frame.filter(mine).with_columns(
        pl.col(col.USER_ID).alias(SEQUENCE), pl.lit(True).alias(WANTED)
    )
    return frame.filter(~mine), judged


def judge(learned: Learned, frame: pl.DataFrame, vectors: pl.DataFrame) -> pl.DataFrame:
    """Our decision and the paper's on the wanted rows of a frame, as `clean_log` gives them.

    Parameters
    ----------
    learned : Learned
        What judges.
    frame : pl.DataFrame
        As for `evidence`, with `row`.
    vectors : pl.DataFrame
        Columns item_id and vector.
    """
    model = learned.model({})
    rows = evidence(model.instruments, frame, vectors)
    told = [ROW, col.NOISE_PROBABILITY, col.DECISION]
    paper = decide(_by_the_paper(model), rows).select(told)
    paper = paper.rename(
        {col.NOISE_PROBABILITY: NOISE_PROBABILITY_IADSR, col.DECISION: DECISION_IADSR}
    )
    ours = decide(model, rows).with_columns(_least(learned, rows))
    ours = ours.select(*told, LEAST_BUDGET, *col.SIGNALS)
    return ours.join(paper, on=ROW, maintain_order="left")


def _least(learned: Learned, rows: pl.DataFrame) -> pl.Series:
    """The least budget under which each row of `evidence` goes by our own decision."""
    chance_N = probability(learned.calibrator.log_odds(features(rows)))
    certain = pl.when(pl.col(DOUBT).is_null()).then(col.NOISE_PROBABILITY)
    judged = rows.with_columns(column(col.NOISE_PROBABILITY, chance_N)).with_columns(certain)
    held = held_for_thresholds(learned.rehearsed, learned.calibrator)
    settings = learned.instruments.settings.decision
    return least_budgets(judged, held, settings).alias(LEAST_BUDGET)


def decide_under(config: Config, log: pl.DataFrame) -> pl.DataFrame:
    """Add to a judged log its decision under each of `further_budgets`, named by `decision_at`."""
    return log.with_columns(
        pl.when(goes(pl.col(LEAST_BUDGET), budget))
        .then(pl.lit(REMOVE))
        .otherwise(pl.lit(KEEP))
        .alias(decision_at(budget))
        for budget in further_budgets(config)
    )


def further_budgets(config: Config) -> tuple[float, ...]:
    """The `evaluate.budgets`, rising, without the one of the decision itself."""
    return tuple(sorted({*config.evaluate.budgets} - {config.decision.false_drop_budget}))


def _by_the_paper(model: Model) -> Model:
    settings = model.instruments.settings
    decision = settings.decision.model_copy(update={"method": "iadsr"})
    tools = replace(model.instruments, settings=replace(settings, decision=decision))
    return replace(model, instruments=tools)
