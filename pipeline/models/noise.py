"""Known noise: interactions that never happened, put into sequences where they can be found again.

An injector is a named function that draws item numbers; a new one is one line in `INJECTORS`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline import columns as col
from pipeline.models.names import COUNT, INJECTED, KIND

Rows = npt.NDArray[np.int64]


def uniform(counts: Rows, size: int, draw: np.random.Generator) -> Rows:
    """Any item with equal chance: mostly rare ones, so that popularity alone gives it away."""
    return draw.integers(len(counts), size=size)


def popularity(counts: Rows, size: int, draw: np.random.Generator) -> Rows:
    """Items as popular as genuine ones: popularity alone tells nothing."""
    return draw.choice(len(counts), size=size, p=counts / counts.sum())


INJECTORS: dict[str, Callable[[Rows, int, np.random.Generator], Rows]] = {
    "uniform": uniform,
    "popularity": popularity,
}


def inject(
    frame: pl.DataFrame,
    sequence: str,
    vocabulary: pl.DataFrame,
    *,
    rate: float,
    seed: int,
    kinds: tuple[str, ...] = tuple(INJECTORS),
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

    Returns
    -------
    pl.DataFrame
        The rows of `frame` and the injected ones in order, with `injected` (bool) and `kind`
        (that of the sequence's noise).
    """
    draw = np.random.default_rng(seed)
    run = frame.select(pl.col(sequence).rle_id()).to_series().to_numpy()
    of_sequence = draw.integers(len(kinds), size=int(run[-1]) + 1 if len(run) else 0)
    counts = vocabulary[COUNT].to_numpy()
    drawn = np.stack([INJECTORS[kind](counts, frame.height, draw) for kind in kinds])
    chosen = of_sequence[run]
    spawn = draw.random(frame.height) < rate
    side = draw.choice([-0.5, 0.5], size=frame.height)
    genuine = frame.with_columns(
        pl.lit(False).alias(INJECTED),
        pl.Series(KIND, np.array(kinds)[chosen]),
        pl.Series("place", np.arange(frame.height, dtype=np.float64)),
    )
    items = vocabulary[col.ITEM_ID].gather(drawn[chosen, np.arange(frame.height)])
    noise = genuine.with_columns(
        items.alias(col.ITEM_ID),
        pl.lit(True).alias(INJECTED),
        pl.col("place") + pl.Series(side),
    ).filter(pl.Series(spawn))
    noise = noise.join(frame, on=[sequence, col.ITEM_ID], how="anti")
    return pl.concat([genuine, noise]).sort(sequence, "place", maintain_order=True).drop("place")
