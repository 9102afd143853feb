"""Opening one file of a log: its layout, its unit of time, and its rows in judged batches.

Blocks are judged two at a time by threads and handed on in the file's order; memory is bounded
by the block, not by the file.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

import numpy as np
import polars as pl

from pipeline import columns as col
from pipeline.config import IngestConfig, SourceConfig, TimeUnit
from pipeline.errors import SourceError
from pipeline.sources.judge import Batch, Block, Judge
from pipeline.sources.layout import Layout, Spec
from pipeline.sources.parquet import ParquetBlock, open_parquet
from pipeline.sources.reasons import RowRejectedError
from pipeline.sources.text import BLOCK_BYTES, TextBlock, blocks_of, open_text
from pipeline.sources.times import detect_unit
from pipeline.storage.privacy import UserIds

IN_FLIGHT = 2
_SAMPLES = 1000

LayoutOf = Callable[[bytes, Spec, str], Layout]
_UTF8_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Opened:
    """A file of which the layout is known."""

    fields: tuple[str, ...]
    time: TimeUnit | None  # the format's own unit
    header_lines: int
    blocks: Iterator[Callable[[Mapping[str, pl.DataType]], Block]]


@dataclass(frozen=True)
class Reading:
    """A log being read: the unit of its times, and its rows."""

    time: TimeUnit
    detected: bool  # the unit was told from the data, not from the configuration
    extra: tuple[str, ...]
    header_lines: int
    batches: Iterator[Batch]


@contextmanager
def open_rows(
    file: str, spec: Spec, layout_of: LayoutOf | None, block_bytes: int = BLOCK_BYTES
) -> Iterator[Opened]:
    """Open a file of any format (`layout_of` None: Parquet).

    Raises
    ------
    SourceError
        It cannot be read, is empty, or lacks a needed column.
    """
    if layout_of is None:
        layout, frames, mapping = open_parquet(file, spec)

        def parquet_block(frame: pl.DataFrame) -> Callable[[Mapping[str, pl.DataType]], Block]:
            return lambda dtypes: ParquetBlock(frame, mapping, dtypes)

        yield Opened(layout.fields, layout.time, 0, map(parquet_block, frames))
        return
    with open_text(file) as stream:
        first = stream.readline()
        start = len(_UTF8_BOM) if first.startswith(_UTF8_BOM) else 0
        first = first[start:]
        if not first.strip():
            what = "its first line is blank" if first else "it is empty"
            raise SourceError(f"{file}: {what}; expected a log or a catalogue")
        layout = layout_of(first.rstrip(b"\r\n"), spec, file)

        def text_block(content: bytes) -> Callable[[Mapping[str, pl.DataType]], Block]:
            return lambda dtypes: TextBlock(content, layout, dtypes)

        if not layout.header:
            stream.seek(start)
        blocks = map(text_block, blocks_of(stream, block_bytes))
        yield Opened(layout.fields, layout.time, int(layout.header), blocks)


@contextmanager
def open_log(
    file: str,
    source: SourceConfig,
    layout_of: LayoutOf | None,
    config: IngestConfig,
    *,
    now: datetime,
    ids: UserIds = UserIds(),  # noqa: B008  (frozen)
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Reading]:
    """Open a log and judge its rows. Raises SourceError, now or while it is read."""
    with open_rows(file, source, layout_of, block_bytes) as opened:
        first = next(opened.blocks, None)
        samples = _time_samples(first(_text_types(opened.fields)), opened.fields) if first else []
        stated = "time" in source.model_fields_set and not (layout_of is None and opened.time)
        unit = source.time if stated or opened.time is None else opened.time
        detected = unit == "auto"
        if detected:
            unit = detect_unit(samples, file) if samples else "s"
        dtypes = _dtypes(opened.fields, unit, samples)
        blocks = (make(dtypes) for make in chain([first] if first else [], opened.blocks))
        judge = Judge.of(opened.fields, unit, config, now, ids)
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            yield Reading(
                unit,
                detected,
                source.extra_columns,
                opened.header_lines,
                _in_order(pool, judge.judge, blocks),
            )


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Block], Batch], blocks: Iterable[Block]
) -> Iterator[Batch]:
    waiting: deque[Future[Batch]] = deque()
    try:
        for block in blocks:
            waiting.append(pool.submit(work, block))
            if len(waiting) > IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _text_types(fields: tuple[str, ...]) -> dict[str, pl.DataType]:
    return {name: pl.String() for name in fields}


def _dtypes(fields: tuple[str, ...], unit: TimeUnit, samples: list[str]) -> dict[str, pl.DataType]:
    """Types that the fast parser gives the fields; what does not fit is left to the careful one."""
    whole = bool(samples) and all(text.strip().isdigit() for text in samples[:10])
    number: pl.DataType = pl.Int64() if whole else pl.Float64()
    typed = {col.EVENT_TIME: pl.String() if unit == "iso" else number, col.VALUE: pl.Float64()}
    return {name: typed.get(name, pl.String()) for name in fields}


def _time_samples(block: Block, fields: tuple[str, ...]) -> list[str]:
    at = fields.index(col.EVENT_TIME)
    samples = []
    for raw in block.raw(np.arange(min(block.rows, _SAMPLES))):
        try:
            samples.append(block.split(raw)[at])
        except RowRejectedError:
            continue
    return [text for text in samples if text and text.strip()]
