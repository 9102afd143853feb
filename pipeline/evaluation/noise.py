"""The log that an evaluation cleans: as it is, or with noise at known places of its training part.

What a user takes later is no noise: an injected row is dropped if its item is one of the labels.
"""

import re
from dataclasses import dataclass

import polars as pl

from pipeline import columns as col
from pipeline.errors import UserError
from pipeline.evaluation.names import NO_NOISE, ROW
from pipeline.evaluation.splits import Split
from pipeline.models.model import count_items
from pipeline.models.names import INJECTED, KIND
from pipeline.models.noise import INJECTORS, inject

_FORM = re.compile(r"([a-z_]+):(0?\.\d+|1(?:\.0*)?)")


@dataclass(frozen=True)
class Noise:
    """A kind of noise and its rate: injected rows per genuine row."""

    kind: str
    rate: float

    @property
    def none(self) -> bool:
        """True for the log as it is."""
        return self.kind == NO_NOISE

    def __str__(self) -> str:
        return NO_NOISE if self.none else f"{self.kind}:{self.rate:g}"


def parse(text: str) -> Noise:
    """`kind:rate`, or `none`. Raises UserError."""
    if text == NO_NOISE:
        return Noise(NO_NOISE, 0.0)
    found = _FORM.fullmatch(text)
    if not found or not float(found.group(2)):
        raise UserError(f'noise "{text}": write kind:rate with a rate in (0, 1], or "{NO_NOISE}"')
    if found.group(1) not in INJECTORS:
        known = ", ".join(INJECTORS)
        raise UserError(f'no noise of the kind "{found.group(1)}" (there are: {known})')
    return Noise(found.group(1), float(found.group(2)))


def noisy_log(split: Split, noise: Noise, seed: int, vectors: pl.DataFrame) -> pl.DataFrame:
    """The training part with the noise in it.

    Parameters
    ----------
    split : Split
        Its labels tell what is no noise.
    noise : Noise
        What to inject.
    seed : int
        Equal seeds give equal noise.
    vectors : pl.DataFrame
        Columns item_id and vector: noise can be near by its text.

    Returns
    -------
    pl.DataFrame
        The columns of `split.train`, `row` (its place, UInt32) and `injected` (bool).
    """
    if noise.none:
        log = split.train.with_columns(pl.lit(False).alias(INJECTED))
    else:
        log = inject(
            split.train,
            col.USER_ID,
            count_items(split.train, 1),
            rate=noise.rate,
            seed=seed,
            kinds=(noise.kind,),
            vectors=vectors,
        ).drop(KIND)
        later = pl.concat(
            [split.between.select(col.USER_ID, col.ITEM_ID), split.validate, split.test]
        )
        log = _without_labels(log, later)
    return log.with_row_index(ROW)


def _without_labels(log: pl.DataFrame, later: pl.DataFrame) -> pl.DataFrame:
    taken = later.unique().with_columns(pl.lit(True).alias("taken"))
    marked = log.join(taken, on=[col.USER_ID, col.ITEM_ID], how="left", maintain_order="left")
    return marked.filter(~pl.col(INJECTED) | pl.col("taken").is_null()).drop("taken")
