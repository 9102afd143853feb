"""Evidence on interactions: every signal, the stratum, and the doubts that keep a row whatever.

Looks at one sequence at a time: the union of shards equals the whole. Decides nothing.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import torch
from torch import Tensor

from pipeline import columns as col
from pipeline import reasons
from pipeline.models.batches import Prefixes, Sequences, encode
from pipeline.models.model import Instruments
from pipeline.models.names import (
    COUNT,
    DOUBT,
    HAS_TEXT,
    HIDE_ITEM,
    HIDE_TEXT,
    SEQUENCE,
    VIEWS_AGREE,
    WANTED,
)
from pipeline.models.semantic import matrix
from pipeline.models.signals import measure
from pipeline.models.thresholds import stratum_of

# What an interaction with an unknown item, or without text, cannot be told of.
NEEDS_ITEM = (
    col.SIGNAL_COLLABORATIVE,
    col.SIGNAL_COLLABORATIVE_NEAREST,
    col.SIGNAL_SURPRISE,
    col.SIGNAL_ALIGNED_LONG_SHORT,
)
NEEDS_TEXT = (
    col.SIGNAL_SEMANTIC,
    col.SIGNAL_SEMANTIC_NEAREST,
    col.SIGNAL_ALIGNED_SHORT_LONG,
    col.SIGNAL_ALIGNED_SHORT_SHORT,
)
# Interactions that are measured at a time, whole sequences together: a bound of memory.
CHUNK_ROWS = 100_000
SIGNAL_DECIMALS = 6


def evidence(instruments: Instruments, frame: pl.DataFrame, vectors: pl.DataFrame) -> pl.DataFrame:
    """Signals, stratum, history length and doubt of the wanted rows, in their order.

    Parameters
    ----------
    instruments : Instruments
        What measures.
    frame : pl.DataFrame
        Sorted by `sequence`, with item_id and `wanted`; where `hide_item` or `hide_text` (bool)
        are there and true, the row is read as if its item were unknown, or had no text.
    vectors : pl.DataFrame
        Columns item_id and vector.
    """
    assert (instruments.prefixes is not None) == (instruments.settings.model.texts == "prefixes")
    texts = vectors.join(frame.select(col.ITEM_ID), on=col.ITEM_ID, how="semi")
    width = len(instruments.space.mean_K)
    text_TP = instruments.space.project(matrix(texts).reshape(texts.height, width))
    parts = [_measured(instruments, chunk, texts, text_TP) for chunk in _chunks(frame)]
    rows = pl.concat(parts).join(
        instruments.vocabulary, on=col.ITEM_ID, how="left", maintain_order="left"
    )
    if HIDE_ITEM in frame.columns:
        rows = rows.with_columns(pl.when(~pl.col(HIDE_ITEM)).then(pl.col(COUNT)).alias(COUNT))
    bounds = instruments.settings.decision.strata
    stratum = stratum_of(pl.col(COUNT), pl.col(HAS_TEXT), bounds)
    return rows.with_columns(stratum.alias(col.STRATUM), _doubt(instruments).alias(DOUBT))


def column(name: str, x: Tensor) -> pl.Series:
    """A column of float64 values, rounded so that shards agree; NaN becomes null."""
    return pl.Series(name, x.numpy()).round(SIGNAL_DECIMALS).fill_nan(None)


def _measured(
    tools: Instruments, chunk: pl.DataFrame, texts: pl.DataFrame, text_TP: Tensor
) -> pl.DataFrame:
    sequences = _hidden(encode(chunk, SEQUENCE, tools.vocabulary, texts[col.ITEM_ID]), chunk)
    if tools.prefixes:
        sequences = replace(sequences, prefix_NP=_prefixes(tools, tools.prefixes, chunk))
    wanted_N = torch.tensor(chunk[WANTED].to_numpy())
    found = measure(tools, text_TP, sequences, wanted_N)
    length = pl.len().over(SEQUENCE).cast(pl.Int64).alias(col.HISTORY_LENGTH)
    return (
        chunk.with_columns(length)
        .filter(WANTED)
        .with_columns(
            *(column(name, x) for name, x in found.items()),
            pl.Series(HAS_TEXT, (sequences.text_N > 0)[wanted_N].numpy()),
        )
    )


def _prefixes(tools: Instruments, read: Prefixes, chunk: pl.DataFrame) -> Tensor:
    if HIDE_TEXT in chunk.columns:
        told = pl.when(~pl.col(HIDE_TEXT)).then(col.ITEM_ID).alias(col.ITEM_ID)
        chunk = chunk.with_columns(told)
    width = tools.settings.model.semantic_dim
    return read(chunk, lambda x_TK: tools.space.project(x_TK)[1:, :width])


def _hidden(sequences: Sequences, chunk: pl.DataFrame) -> Sequences:
    if HIDE_ITEM not in chunk.columns:
        return sequences
    item_N, text_N = (torch.tensor(chunk[name].to_numpy()) for name in (HIDE_ITEM, HIDE_TEXT))
    return replace(
        sequences,
        item_N=sequences.item_N.masked_fill(item_N, 0),
        text_N=sequences.text_N.masked_fill(text_N, 0),
    )


def _doubt(instruments: Instruments) -> pl.Expr:
    """Reason to keep a row whatever its probability; null if there is none."""
    settings = instruments.settings
    known, told = pl.col(COUNT).is_not_null(), pl.col(HAS_TEXT)
    always = [name for name in col.SIGNALS if name not in NEEDS_ITEM + NEEDS_TEXT]
    missing = pl.any_horizontal(
        *(_absent(name) for name in always),
        *(_absent(name) & known for name in NEEDS_ITEM),
        *(_absent(name) & told for name in NEEDS_TEXT),
    )
    return (
        pl.when(pl.col(col.HISTORY_LENGTH) < settings.decision.min_history)
        .then(pl.lit(reasons.SHORT_HISTORY))
        .when(~known & ~told)
        .then(pl.lit(reasons.UNKNOWN_ITEM))
        .when(missing)
        .then(pl.lit(reasons.SIGNAL_MISSING))
        .when(pl.col(VIEWS_AGREE) < settings.model.user_gate)
        .then(pl.lit(reasons.VIEWS_DISAGREE))
    )


def _absent(name: str) -> pl.Expr:
    return pl.col(name).is_null() | pl.col(name).is_infinite()


def _chunks(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Slices of whole sequences, of about `CHUNK_ROWS` rows; one empty slice of an empty frame."""
    ends = frame.select(pl.col(SEQUENCE).rle().struct.field("len").cum_sum()).to_series()
    bucket = (ends - 1) // CHUNK_ROWS
    starts = [0, *ends.filter(bucket.shift(-1) > bucket).to_list(), frame.height]
    for start, end in itertools.pairwise(starts):
        yield frame.slice(start, end - start)
