"""Known noise: interactions that never happened, put into sequences where they can be found again.

An injector is a named function that chooses items; a new one is one line in `INJECTORS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline import columns as col
from pipeline.models.names import COUNT, INJECTED, KIND

Rows = npt.NDArray[np.int64]

BURST = 3  # interactions of another user that come together
NEAREST = 50  # likest texts that a `near` item is drawn from
_CELLS = 2**24  # cosines at a time: a bound of memory


@dataclass(frozen=True)
class Setting:
    """The sequences that noise is put into, as numbers: items are places in the vocabulary."""

    item: Rows  # of each row; -1: unknown
    sequence: Rows  # of each row, rising
    counts: Rows  # of each item of the vocabulary
    vocabulary: pl.DataFrame
    vectors: pl.DataFrame | None

    @cached_property
    def unit(self) -> npt.NDArray[np.float32]:
        """Centred text vector of each item of the vocabulary, of length 1; zero: no text."""
        if self.vectors is None:
            raise ValueError("noise of the kind `near` needs the vectors of the texts")
        found = self.vocabulary.select(col.ITEM_ID).join(
            self.vectors, on=col.ITEM_ID, how="left", maintain_order="left"
        )[col.VECTOR]
        there = found.is_not_null().to_numpy()
        width = len(found.drop_nulls()[0])
        table = found.drop_nulls().cast(pl.Array(pl.Float32, width)).to_numpy()
        table = table - table.mean(axis=0)
        unit = np.zeros((len(found), width), dtype=np.float32)
        unit[there] = table / np.linalg.norm(table, axis=1, keepdims=True).clip(1e-9)
        return unit


# A setting, the rows that get a neighbour, a generator -> the row and the item of each noise.
Injector = Callable[[Setting, Rows, np.random.Generator], tuple[Rows, Rows]]


def uniform(setting: Setting, spawn: Rows, draw: np.random.Generator) -> tuple[Rows, Rows]:
    """Any item with equal chance: mostly rare ones, so that popularity alone gives it away."""
    return spawn, draw.integers(len(setting.counts), size=len(spawn))


def popularity(setting: Setting, spawn: Rows, draw: np.random.Generator) -> tuple[Rows, Rows]:
    """Items as popular as genuine ones: popularity alone tells nothing."""
    chance = setting.counts / setting.counts.sum()
    return spawn, draw.choice(len(chance), size=len(spawn), p=chance)


def near(setting: Setting, spawn: Rows, draw: np.random.Generator) -> tuple[Rows, Rows]:
    """One of the items whose texts are likest to the row's own: the text tells nothing."""
    wanted, place = np.unique(setting.item[spawn], return_inverse=True)
    told = np.flatnonzero(setting.unit.any(axis=1))  # items with text
    likest = min(NEAREST + 1, len(told))
    if not likest:
        return spawn[:0], setting.item[:0]
    found = np.empty((len(wanted), likest), dtype=np.int64)
    rows = max(_CELLS // len(told), 1)
    for start in range(0, len(wanted), rows):
        block = wanted[start : start + rows]
        cosine = setting.unit[block] @ setting.unit[told].T
        # The item itself, the likest of all, is drawn as any, and left out below.
        likest_there = np.argpartition(-cosine, likest - 1)[:, :likest]
        found[start : start + len(block)] = told[likest_there]
    item = found[place, draw.integers(likest, size=len(spawn))]
    known = (setting.item[spawn] >= 0) & setting.unit[setting.item[spawn]].any(axis=1)
    known &= item != setting.item[spawn]
    return spawn[known], item[known]


def burst(setting: Setting, spawn: Rows, draw: np.random.Generator) -> tuple[Rows, Rows]:
    """`BURST` successive items of another user, together: a shared account."""
    start = spawn[draw.random(len(spawn)) < 1 / BURST]
    source = draw.integers(len(setting.item), size=len(start))
    row = np.repeat(start, BURST)
    taken = np.repeat(source, BURST) + np.tile(np.arange(BURST), len(start))
    inside = taken < len(setting.item)
    row, taken, source = row[inside], taken[inside], np.repeat(source, BURST)[inside]
    good = (setting.sequence[taken] == setting.sequence[source]) & (setting.item[taken] >= 0)
    return row[good], setting.item[taken[good]]


INJECTORS: dict[str, Injector] = {
    "uniform": uniform,
    "popularity": popularity,
    "near": near,
    "burst": burst,
}


def inject(
    frame: pl.DataFrame,
    sequence: str,
    vocabulary: pl.DataFrame,
    *,
    rate: float,
    seed: int,
    kinds: tuple[str, ...] = ("uniform", "popularity"),
    weights: dict[str, float] | None = None,
    vectors: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Insert about `rate` x rows noise interactions at random places of the sequences.

    Each row gains a neighbour, before or after it, with probability `rate`; the neighbour
    shares its time and date. Each sequence has noise of one kind. An item that the sequence
    holds already is no noise and is left out.

    Parameters
    ----------
    frame : pl.DataFrame
        Sorted by the column `sequence` and, within it, in sequence order.
    sequence : str
        Name of that column.
    vocabulary : pl.DataFrame
        Columns item_id and count.
    rate : float
        Noise rows per row.
    seed : int
        Equal seeds give equal noise.
    kinds : tuple of str
        Names of injectors; each sequence gets one of them by lot.
    weights : dict, optional
        How likely each is, of sum 1; none: each as likely.
    vectors : pl.DataFrame, optional
        Columns item_id and vector: what `near` needs.

    Returns
    -------
    pl.DataFrame
        The rows of `frame` and the injected ones in order, with `injected` (bool) and `kind`
        (that of the sequence's noise).
    """
    draw = np.random.default_rng(seed)
    setting = _setting(frame, sequence, vocabulary, vectors)
    sequences = int(setting.sequence.max(initial=-1)) + 1
    if weights:
        of_sequence = draw.choice(len(kinds), size=sequences, p=[weights[kind] for kind in kinds])
    else:
        of_sequence = draw.integers(len(kinds), size=sequences)
    chosen = of_sequence[setting.sequence]
    spawn = np.flatnonzero(draw.random(frame.height) < rate)
    side = draw.choice([-0.5, 0.5], size=frame.height)
    found = [
        INJECTORS[kind](setting, spawn[chosen[spawn] == number], draw)
        for number, kind in enumerate(kinds)
    ]
    row, item = (np.concatenate(parts) for parts in zip(*found, strict=True))
    genuine = frame.with_columns(
        pl.lit(False).alias(INJECTED),
        pl.Series(KIND, np.array(kinds)[chosen], dtype=pl.String),
        pl.Series("place", np.arange(frame.height, dtype=np.float64)),
    )
    noise = genuine[row].with_columns(
        vocabulary[col.ITEM_ID].gather(item).alias(col.ITEM_ID),
        pl.lit(True).alias(INJECTED),
        pl.col("place") + pl.Series(side[row]),
    )
    noise = noise.join(frame, on=[sequence, col.ITEM_ID], how="anti", maintain_order="left")
    noise = noise.unique([sequence, col.ITEM_ID], keep="first", maintain_order=True)
    return pl.concat([genuine, noise]).sort(sequence, "place", maintain_order=True).drop("place")


def _setting(
    frame: pl.DataFrame,
    sequence: str,
    vocabulary: pl.DataFrame,
    vectors: pl.DataFrame | None,
) -> Setting:
    numbered = vocabulary.select(col.ITEM_ID).with_row_index("number")
    items = frame.select(col.ITEM_ID).join(
        numbered, on=col.ITEM_ID, how="left", maintain_order="left"
    )
    return Setting(
        item=items["number"].cast(pl.Int64).fill_null(-1).to_numpy(),
        sequence=frame.select(pl.col(sequence).rle_id().cast(pl.Int64)).to_series().to_numpy(),
        counts=vocabulary[COUNT].to_numpy(),
        vocabulary=vocabulary,
        vectors=vectors,
    )
