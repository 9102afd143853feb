"""Item catalogues: the rows of a file, each with the text that the encoder will read."""

import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from string import Formatter

import numpy as np
import polars as pl

from pipeline import columns as col
from pipeline.config import CatalogueConfig
from pipeline.errors import ConfigError
from pipeline.sources import reasons
from pipeline.sources.judge import REJECTED_SCHEMA, Block
from pipeline.sources.reader import LayoutOf, open_rows
from pipeline.sources.reasons import DETAIL_LENGTH, RowRejectedError
from pipeline.sources.text import BLOCK_BYTES, TextBlock

_MOST_LINES = 1000  # of one row

ITEM_SCHEMA = {
    name: pl.String() for name in (col.ITEM_ID, col.TITLE, col.FIELDS, col.TEXT, col.TEXT_HASH)
}


@dataclass(frozen=True)
class ItemBatch:
    """A block of a catalogue: `rows` = items + rejected (lines from 1, within the file)."""

    rows: int
    items: pl.DataFrame
    rejected: pl.DataFrame


def read_catalogue(
    file: str,
    catalogue: CatalogueConfig,
    layout_of: LayoutOf | None,
    max_id_length: int,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[ItemBatch]:
    """Items of a catalogue in the file's order, repetitions included. Raises SourceError.

    A CSV file is read whole, as a quoted field may hold newlines; a row's line is its first.
    """
    whole = catalogue.format == "csv"
    with open_rows(file, catalogue, layout_of, -1 if whole else block_bytes) as opened:
        line = opened.header_lines
        types = {name: pl.String() for name in opened.fields}
        for block in (make(types) for make in opened.blocks):
            records = list(_records(block))
            items: list[tuple[str | None, ...]] = []
            rejected: list[tuple[object, ...]] = []
            for at, raw in records:
                try:
                    fields = dict(zip(opened.fields, block.split(raw), strict=True))
                    items.append(_item(fields, catalogue.template, max_id_length))
                except RowRejectedError as error:
                    rejected.append((line + at + 1, error.reason, error.detail, raw, ""))
            line += block.rows
            yield ItemBatch(
                len(records),
                pl.DataFrame(items, schema=ITEM_SCHEMA, orient="row"),
                pl.DataFrame(rejected, schema=REJECTED_SCHEMA, orient="row"),
            )


def _records(block: Block) -> Iterator[tuple[int, bytes]]:
    """Each row with its first line (from 0): one line, or more where a quoted field goes on."""
    raws = block.raw(np.arange(block.rows))
    form = block.layout.delimited if isinstance(block, TextBlock) else None
    at = 0
    while at < len(raws):
        raw, lines = raws[at], 1
        if form and form.quoted and raw.count(b'"') % 2:
            # The row ends where its quotes are even; if that is no row, the first line is bad.
            ahead = range(at + 1, min(at + _MOST_LINES, len(raws)))
            last = next((n for n in ahead if raws[n].count(b'"') % 2), at)
            assert isinstance(block, TextBlock)
            joined = block.span(at, last)
            with suppress(RowRejectedError):
                block.split(joined)
                raw, lines = joined, last - at + 1
        yield at, raw
        at += lines


def check_template(name: str, catalogue: CatalogueConfig) -> None:
    """Refuse a template that names a field which is not mapped. Raises ConfigError."""
    known = {col.ITEM_ID, col.TITLE, *catalogue.columns}
    key = f"catalogues.{name}.template"
    try:
        used = [field for _, field, _, _ in Formatter().parse(catalogue.template) if field]
    except ValueError as error:
        raise ConfigError(f'{key} "{catalogue.template}": {error}') from None
    for field in used:
        if field not in known:
            raise ConfigError(
                f"{key}: no field {{{field}}} (known: {', '.join(sorted(known))}). "
                f'Map it: catalogues.{name}.columns = {{ {field} = "..." }}'
            )


def render(template: str, fields: Mapping[str, str]) -> str:
    """The template with its fields put in, as plain text; whitespace collapsed."""
    parts = []
    for literal, field, _, _ in Formatter().parse(template):
        parts += [literal, fields.get(field, "") if field else ""]
    return " ".join("".join(parts).split())


def plain(text: str | None) -> str:
    """HTML entities decoded, whitespace collapsed; empty for None."""
    return " ".join(html.unescape(text or "").split())


def text_hash(text: str) -> str | None:
    """SHA-256 of the text in hex; None where there is no text."""
    return hashlib.sha256(text.encode()).hexdigest() if text else None


def _item(
    fields: Mapping[str, str | None], template: str, max_id_length: int
) -> tuple[str | None, ...]:
    item_id = fields[col.ITEM_ID]
    if item_id is None:
        raise RowRejectedError(reasons.MISSING_FIELD, col.ITEM_ID)
    if not item_id.strip():
        raise RowRejectedError(reasons.EMPTY_ID, item_id)
    if len(item_id) > max_id_length:
        raise RowRejectedError(reasons.ID_TOO_LONG, item_id[:DETAIL_LENGTH])
    texts = {name: plain(value) for name, value in fields.items()} | {col.ITEM_ID: item_id}
    others = {k: v for k, v in texts.items() if k not in (col.ITEM_ID, col.TITLE)}
    text = render(template, texts) if any(texts[k] for k in texts if k != col.ITEM_ID) else ""
    return (
        item_id,
        texts[col.TITLE] or None,
        json.dumps(others, ensure_ascii=False, sort_keys=True),
        text or None,
        text_hash(text),
    )
