"""The one long table of an evaluation: every measured value is a row, and tables read it alone."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl

from pipeline import columns as col
from pipeline.evaluation import metrics, names
from pipeline.evaluation.metrics import Estimate, Floats
from pipeline.evaluation.names import HELD_OUT, TEST, VALIDATION
from pipeline.evaluation.noise import Noise
from pipeline.evaluation.usefulness import BASELINE_NOISY

SCHEMA = {
    names.PART: pl.String,
    names.DATASET: pl.String,
    names.SPLIT: pl.String,
    names.TIES: pl.String,
    names.BACKBONE: pl.String,
    names.NOISE: pl.String,
    names.RATE: pl.Float64,
    names.ARM: pl.String,
    names.VERSUS: pl.String,  # null: the value of the arm; else its difference to that arm
    names.SEED: pl.Int64,  # null: over all seeds
    names.METRIC: pl.String,
    names.K: pl.Int64,
    col.STRATUM: pl.String,  # null: all
    names.VALUE: pl.Float64,
    names.LOW: pl.Float64,
    names.HIGH: pl.Float64,
    names.ERROR: pl.Float64,  # standard error
    names.N: pl.Int64,
    names.DETAIL: pl.String,  # of the protocol: what is no number
}
RECOVERY = "recovery of "
ON_VALIDATION = "validation "
PREFIXES = {TEST: "", VALIDATION: ON_VALIDATION}  # of the metrics
GAP_ERRORS = "standard errors of oracle - noisy, "
DROPPED = "rows dropped"
# Users are resampled alike in every evaluation, so that a report made twice is the same.
BOOTSTRAP_SEED = 0

Row = dict[str, Any]


def frame_of(rows: Iterable[Row]) -> pl.DataFrame:
    """The rows as a table with the columns of `SCHEMA`; what a row does not name is null."""
    return pl.DataFrame(list(rows), schema=SCHEMA).with_columns(pl.col(pl.Float64).fill_nan(None))


def noise_columns(noise: Noise) -> Row:
    """The columns that tell the noise."""
    return {names.NOISE: noise.kind, names.RATE: noise.rate}


def usefulness_rows(ranks: dict[str, dict[int, pl.DataFrame]]) -> Iterator[Row]:
    """Metrics of every arm, by seed and over all, its difference to the baseline, its recovery.

    Parameters
    ----------
    ranks : dict
        Arm -> seed -> held_out, user_id and rank of the same items. The first arm is the baseline.
    """
    for held_out, prefix in PREFIXES.items():
        of_arm = {
            arm: {seed: found.filter(pl.col(HELD_OUT) == held_out) for seed, found in seeds.items()}
            for arm, seeds in ranks.items()
        }
        for row in _of_held_out(of_arm, recovered=held_out == TEST):
            yield {names.PART: names.USEFULNESS, **row, names.METRIC: prefix + row[names.METRIC]}


def _of_held_out(ranks: dict[str, dict[int, pl.DataFrame]], *, recovered: bool) -> Iterator[Row]:
    for arm, by_seed in ranks.items():
        for seed, found in by_seed.items():
            yield from _seed_rows(arm, seed, found)
    arms = list(ranks)
    tables = [metrics.per_user(pl.concat(by_seed.values())) for by_seed in ranks.values()]
    users = tables[0].height
    # Columns: all values of the first arm, then all of the second, ...
    value_UC = np.hstack([t.drop(col.USER_ID).to_numpy() for t in tables])
    mean_C = value_UC.mean(axis=0)
    drawn_BC = metrics.resampled_means(value_UC, BOOTSTRAP_SEED)
    width = len(metrics.columns())
    for place, (_, metric, k) in enumerate(metrics.columns()):
        of_arm = {arm: number * width + place for number, arm in enumerate(arms)}
        rows = [*_compared(of_arm, mean_C, drawn_BC, metric)]
        if recovered and "oracle" in of_arm:
            rows += _recoveries(of_arm, mean_C, drawn_BC, metric)
        for row in rows:
            yield {names.K: k, names.N: users, **row}


def _seed_rows(arm: str, seed: int, ranks: pl.DataFrame) -> Iterator[Row]:
    means = metrics.per_user(ranks).drop(col.USER_ID).mean().row(0, named=True)
    for name, metric, k in metrics.columns():
        yield {
            names.ARM: arm,
            names.SEED: seed,
            names.METRIC: metric,
            names.K: k,
            names.VALUE: means[name],
            names.N: ranks.height,
        }


def _compared(
    of_arm: dict[str, int], mean_C: Floats, drawn_BC: Floats, metric: str
) -> Iterator[Row]:
    baseline = next(iter(of_arm))
    at = of_arm[baseline]
    for arm, here in of_arm.items():
        told = metrics.estimate(float(mean_C[here]), drawn_BC[:, here])
        yield {names.ARM: arm, names.METRIC: metric, **_columns(told)}
        if arm == baseline:
            continue
        apart = metrics.estimate(
            float(mean_C[here] - mean_C[at]), drawn_BC[:, here] - drawn_BC[:, at]
        )
        yield {names.ARM: arm, names.VERSUS: baseline, names.METRIC: metric, **_columns(apart)}


def _recoveries(
    of_arm: dict[str, int], mean_C: Floats, drawn_BC: Floats, metric: str
) -> Iterator[Row]:
    ends = [of_arm[BASELINE_NOISY], of_arm["oracle"]]
    for arm, here in of_arm.items():
        if arm == BASELINE_NOISY:
            continue
        chosen = [here, *ends]
        found = metrics.recovery(mean_C[chosen], drawn_BC[:, chosen])
        if arm == "oracle":
            yield {names.ARM: arm, names.METRIC: GAP_ERRORS + metric, names.VALUE: found.gap_errors}
        else:
            yield {names.ARM: arm, names.METRIC: RECOVERY + metric, **_columns(found.share)}


def _columns(told: Estimate) -> Row:
    return {
        names.VALUE: told.value,
        names.LOW: told.low,
        names.HIGH: told.high,
        names.ERROR: told.error,
    }


def detection_rows(found: dict[int, pl.DataFrame]) -> Iterator[Row]:
    """Measures by seed and, over all seeds, their mean with the least and the greatest.

    Parameters
    ----------
    found : dict
        Seed -> what `detect` gives.
    """
    yield from _over_seeds(names.DETECTION, found)


def ablation_rows(found: dict[int, pl.DataFrame]) -> Iterator[Row]:
    """Measures of every arm, and their differences to `with all`, by seed and over all seeds.

    Parameters
    ----------
    found : dict
        Seed -> what `ablate` gives.
    """
    yield from _over_seeds(names.ABLATION, {seed: _against_all(f) for seed, f in found.items()})


def _against_all(frame: pl.DataFrame) -> pl.DataFrame:
    is_all = pl.col(names.ARM) == names.WITH_ALL
    on = [names.METRIC, col.STRATUM]
    whole = frame.filter(is_all).select(*on, pl.col(names.VALUE).alias("whole"))
    apart = frame.filter(~is_all).join(
        whole, on=on, how="left", nulls_equal=True, maintain_order="left"
    )
    apart = apart.with_columns(
        pl.col(names.VALUE) - pl.col("whole"), pl.lit(names.WITH_ALL).alias(names.VERSUS)
    ).drop("whole")
    return pl.concat([frame, apart], how="diagonal")


def _over_seeds(part: str, found: dict[int, pl.DataFrame]) -> Iterator[Row]:
    base = {names.PART: part}
    for seed, frame in found.items():
        for row in frame.iter_rows(named=True):
            yield {**base, names.SEED: seed, **row}
    columns = next(iter(found.values())).columns
    keys = [name for name in columns if name not in (names.VALUE, names.N)]
    value = pl.col(names.VALUE)
    over_all = (
        pl.concat(found.values())
        .group_by(keys, maintain_order=True)
        .agg(
            value.mean(),
            value.min().alias(names.LOW),
            value.max().alias(names.HIGH),
            pl.col(names.N).sum(),
        )
    )
    for row in over_all.iter_rows(named=True):
        yield {**base, **row}
