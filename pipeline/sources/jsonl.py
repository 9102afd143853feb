"""JSON lines: one object a line, fields by name. The names of a log of your own are configured.

An object leaves out what it does not know: only what every row needs must be in the first one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline import columns as col
from pipeline.config import SourceConfig
from pipeline.errors import SourceError
from pipeline.sources import reasons
from pipeline.sources.delimited import decode
from pipeline.sources.layout import LOG_NAMES, Layout, Row, Spec, names_of, resolve
from pipeline.sources.reasons import RowRejectedError

Read = Callable[[bytes], dict[str, Any]]
Keys = tuple[str, ...]
Names = Mapping[str, Keys]

_CATALOGUE: Names = {col.ITEM_ID: (col.ITEM_ID, "id"), col.TITLE: (col.TITLE, "name")}


def layout(first: bytes, spec: Spec, file: str) -> Layout:
    """Layout by the first object. Raises SourceError if it is none, or lacks a needed field."""
    record = first_object(first, read_object, file, "jsonl")
    defaults = LOG_NAMES if isinstance(spec, SourceConfig) else _CATALOGUE
    keys = keys_of(list(record), defaults, spec, file)
    return Layout(fields=tuple(keys), split=splitter(keys, read_object))


def keys_of(found: Sequence[str], defaults: Names, spec: Spec, file: str) -> dict[str, Keys]:
    """Our field -> its key in the first object (`found`), or those that it may have in others."""
    mapping = resolve(found, defaults, spec, file, sparse=True)
    return {
        name: (key,) if key in found else tuple(names_of(name, defaults, spec))
        for name, key in mapping.items()
    }


def first_object(first: bytes, read: Read, file: str, name: str) -> dict[str, Any]:
    """The object in the first line. Raises SourceError if there is none."""
    try:
        return read(first)
    except RowRejectedError as error:
        raise SourceError(
            f"{file}: line 1 is not a JSON object ({error.detail}); is the format {name}?"
        ) from None


def splitter(keys: Names, read: Read) -> Callable[[bytes], Row]:
    """What takes one line and gives, of each field, the first of its `keys` that is not null."""

    def split(raw: bytes) -> Row:
        record = read(raw)
        return [
            next((_text(record[key]) for key in candidates if record.get(key) is not None), None)
            for candidates in keys.values()
        ]

    return split


def read_object(raw: bytes) -> dict[str, Any]:
    """The object in one line. Raises RowRejectedError."""
    try:
        return an_object(json.loads(decode(raw)))
    except (ValueError, RecursionError) as error:
        raise RowRejectedError(reasons.MALFORMED_LINE, f"JSON: {error}") from None


def an_object(value: Any) -> dict[str, Any]:
    """`value`, if it is an object. Raises RowRejectedError."""
    if not isinstance(value, dict):
        raise RowRejectedError(reasons.MALFORMED_LINE, f"a {type(value).__name__}, not an object")
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        try:
            value.encode()  # JSON can spell half of a surrogate pair, which is no text
        except UnicodeEncodeError as error:
            raise RowRejectedError(reasons.INVALID_UTF8, f"surrogate at {error.start}") from None
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
