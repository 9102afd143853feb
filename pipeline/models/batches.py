"""From frames to tensors: item numbers, windows over long sequences, length-bucketed batches.

Sequences lie one after the other in flat tensors; no Python loop runs over users or positions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline import columns as col


class Prefixes(Protocol):
    """What embeds the joined texts of the items of a sequence up to each position."""

    def __call__(self, frame: pl.DataFrame, project: Callable[[Tensor], Tensor]) -> Tensor:
        """Projected prefixes (N, P) of a frame's rows; zero where no item so far has a text.

        Parameters
        ----------
        frame : pl.DataFrame
            Columns `sequence`, by which it is sorted, and item_id (null: as if it had no text).
        project : callable
            Maps vectors (M, K), float32, to (M, P); called on a part of the rows at a time.
        """
        ...


@dataclass(frozen=True)
class Sequences:
    """U sequences, N interactions, as numbers."""

    item_N: Tensor  # number in the vocabulary, 0 = unknown
    text_N: Tensor  # row of the text table, 0 = no text
    length_U: Tensor
    prefix_NP: Tensor | None = None  # texts up to each interaction, where models read these

    @property
    def sequence_N(self) -> Tensor:
        """The sequence that each interaction belongs to."""
        return torch.repeat_interleave(torch.arange(len(self.length_U)), self.length_U)


@dataclass(frozen=True)
class Windows:
    """Stretches of sequences; each position of a sequence is `fresh` in exactly one of them."""

    start_W: Tensor  # first position, in the flat tensors
    length_W: Tensor
    fresh_W: Tensor  # offset in the window of the first fresh position

    def __len__(self) -> int:
        return len(self.start_W)


@dataclass(frozen=True)
class Batch:
    """Windows side by side, padded on the right with 0."""

    item_BL: Tensor
    text_BL: Tensor
    mask_BL: Tensor  # real positions
    fresh_BL: Tensor  # real positions that no other window answers for
    index_BL: Tensor  # where each position stands in the flat tensors
    prefix_BLP: Tensor | None = None

    @property
    def target_BL(self) -> Tensor:
        """Fresh positions whose item is known: what a next-item loss is taken over."""
        return self.fresh_BL & (self.item_BL > 0)


@dataclass(frozen=True)
class Places:
    """Chosen positions of a batch, window by window: as many columns as one window has at most."""

    place_BQ: Tensor
    there_BQ: Tensor  # False: only fills its row

    def __len__(self) -> int:
        return int(self.there_BQ.sum())

    @classmethod
    def of(cls, chosen_BL: Tensor) -> "Places":
        """The places where `chosen_BL` (bool) is true, in their order."""
        count_B = chosen_BL.sum(dim=1)
        most = int(count_B.max())
        order_BL = chosen_BL.byte().argsort(dim=1, descending=True, stable=True)
        return cls(order_BL[:, :most], torch.arange(most) < count_B.unsqueeze(-1))

    @property
    def row_N(self) -> Tensor:
        """The window of each chosen position."""
        return torch.nonzero(self.there_BQ)[:, 0]

    def flat(self, x_BQX: Tensor) -> Tensor:
        """What stands at the chosen positions, (n, X), in the order of `x_BLX[chosen_BL]`."""
        return x_BQX[self.there_BQ]


def encode(
    frame: pl.DataFrame, sequence: str, vocabulary: pl.DataFrame, text_items: pl.Series
) -> Sequences:
    """Number the items of a frame that is sorted by the column `sequence`.

    Parameters
    ----------
    frame : pl.DataFrame
        Columns `sequence` and item_id.
    sequence : str
        Name of the column that tells sequences apart.
    vocabulary : pl.DataFrame
        Column item_id; its first row is item number 1.
    text_items : pl.Series
        item_id of each row of the text table, from row 1.
    """
    text = text_items.alias(col.ITEM_ID).to_frame()
    length = frame.select(pl.col(sequence).rle().struct.field("len").cast(pl.Int64)).to_series()
    return Sequences(
        item_N=number_items(frame, vocabulary.select(col.ITEM_ID)),
        text_N=number_items(frame, text),
        length_U=torch.tensor(length.to_numpy()),
    )


def number_items(frame: pl.DataFrame, known: pl.DataFrame) -> Tensor:
    """The row of each item_id of the frame in `known`, from 1 on (N,); 0 where it is not known."""
    numbered = known.with_row_index("number", offset=1)
    found = frame.select(col.ITEM_ID).join(
        numbered, on=col.ITEM_ID, how="left", maintain_order="left"
    )
    return torch.tensor(found["number"].fill_null(0).cast(pl.Int64).to_numpy())


def windows(length_U: Tensor, size: int, context: int) -> Windows:
    """Cut sequences into windows of at most `size` positions.

    A window after the first begins with `context` positions of the one before it, which are
    only read: every fresh position sees at least `context` positions to its left, or all.
    """
    stride = size - context
    extra_U = (length_U - size).clamp(min=0)
    count_U = 1 + (extra_U + stride - 1) // stride
    sequence_W = torch.repeat_interleave(torch.arange(len(length_U)), count_U)
    first_W = torch.repeat_interleave(count_U.cumsum(0) - count_U, count_U)
    offset_W = (torch.arange(len(sequence_W)) - first_W) * stride
    start_U = length_U.cumsum(0) - length_U
    return Windows(
        start_W=start_U[sequence_W] + offset_W,
        length_W=(length_U[sequence_W] - offset_W).clamp(max=size),
        fresh_W=torch.where(offset_W > 0, context, 0),
    )


def gather(sequences: Sequences, cut: Windows, chosen_B: Tensor) -> Batch:
    """The chosen windows as one padded batch."""
    length_B = cut.length_W[chosen_B]
    place_L = torch.arange(int(length_B.max()))
    mask_BL = place_L < length_B.unsqueeze(-1)
    index_BL = (cut.start_W[chosen_B].unsqueeze(-1) + place_L) * mask_BL
    item_BL = sequences.item_N[index_BL] * mask_BL
    prefix_NP = sequences.prefix_NP
    return Batch(
        item_BL=item_BL,
        text_BL=sequences.text_N[index_BL] * mask_BL,
        mask_BL=mask_BL,
        fresh_BL=mask_BL & (place_L >= cut.fresh_W[chosen_B].unsqueeze(-1)),
        index_BL=index_BL,
        prefix_BLP=None if prefix_NP is None else prefix_NP[index_BL] * mask_BL.unsqueeze(-1),
    )


def batches(
    sequences: Sequences, cut: Windows, positions: int, shuffle: np.random.Generator | None = None
) -> Iterator[Batch]:
    """All windows as batches, chosen by `buckets`."""
    for chosen_B in buckets(cut, positions, shuffle):
        yield gather(sequences, cut, chosen_B)


def buckets(
    cut: Windows, positions: int, shuffle: np.random.Generator | None = None
) -> Iterator[Tensor]:
    """Numbers of windows, those of like length together, about `positions` positions a bucket.

    Shuffled among equal lengths, and buckets among each other, if a generator is given.
    """
    order = np.arange(len(cut)) if shuffle is None else shuffle.permutation(len(cut))
    length = cut.length_W.numpy()[order]
    by_length = np.argsort(length, kind="stable")
    order, length = order[by_length], length[by_length]
    bucket = np.cumsum(length) // max(positions, 1)
    groups = np.split(order, np.flatnonzero(np.diff(bucket)) + 1)
    sequence = np.arange(len(groups)) if shuffle is None else shuffle.permutation(len(groups))
    for group in sequence:
        if len(groups[group]):
            yield torch.from_numpy(groups[group])
