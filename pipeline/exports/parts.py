"""Into which parts an export is divided, and what a row weighs in each.

The splits are the evaluation's own: made of all decided interactions, so that no cleaning moves a
target. Only what is learned from is cleaned, or weighted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from pipeline import columns as col
from pipeline.config import EvaluateConfig
from pipeline.evaluation.splits import Split, global_time, leave_one_out
from pipeline.exports.log import KEPT, WEIGHT, Log

SplitName = Literal["leave_one_out", "global_time"]

WHOLE = "interactions"  # the one part of an export without a split
TRAIN, VALID, TEST = "train", "valid", "test"
# By global time: what lies between the cuts. By last items that is VALID, and not told twice.
BETWEEN = "between"

Parts = Mapping[str, pl.DataFrame]  # part -> rows as of `Log.read`, weighed


@dataclass(frozen=True)
class Division:
    """The parts, a few users at a time where the split allows it, and what the split counted."""

    names: tuple[str, ...]
    stream: Iterator[Parts]
    counts: dict[str, int]


def divide(
    log: Log, split: SplitName | None, settings: EvaluateConfig, *, weights: bool
) -> Division:
    """The log's parts; with `weights` each row that is learned from, else the kept ones.

    A split holds the whole log in memory, as an evaluation does.

    Raises
    ------
    UserError
        The split leaves no target.
    """
    if split is None:
        whole = ({WHOLE: _learned(chunk, weights=weights)} for chunk in log.chunks())
        return Division((WHOLE,), whole, {})
    frame = log.read(log.users)
    if split == "leave_one_out":
        found = leave_one_out(frame)
    else:
        found = global_time(
            frame, validate_share=settings.validate_share, test_share=settings.test_share
        )
    parts = {TRAIN: _learned(found.train, weights=weights)}
    parts |= {name: _whole(rows) for name, rows in _targets(frame, found).items()}
    if split == "global_time":
        parts[BETWEEN] = _whole(found.between)
    return Division(tuple(parts), iter([parts]), found.counts)


def _targets(frame: pl.DataFrame, split: Split) -> dict[str, pl.DataFrame]:
    """The rows of the log that are the split's targets: a user's first after `train`, and last."""
    before = pl.concat([split.train, split.between]).select(col.INTERACTION_ID)
    after = frame.join(before, on=col.INTERACTION_ID, how="anti", maintain_order="left")
    found = {VALID: (split.between, split.validate), TEST: (after, split.test)}
    return {
        name: rows.unique(col.USER_ID, keep="first", maintain_order=True).join(
            asked, on=col.USER_ID, how="semi", maintain_order="left"
        )
        for name, (rows, asked) in found.items()
    }


def _learned(rows: pl.DataFrame, *, weights: bool) -> pl.DataFrame:
    return rows if weights else _whole(rows.filter(KEPT))


def _whole(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that nothing is taken from, whatever was decided on them."""
    return rows.with_columns(pl.lit(True).alias(KEPT), pl.lit(1.0).alias(WEIGHT))
