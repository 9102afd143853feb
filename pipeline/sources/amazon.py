"""Amazon reviews and metadata, one object a line: the field names of 2014, 2018 and 2023.

The 2014 metadata are Python literals, read with `ast.literal_eval`; all else is strict JSON.
"""

import ast
import json
from collections.abc import Callable, Mapping
from typing import Any

from pipeline import columns as col
from pipeline.config import SourceConfig, TimeUnit
from pipeline.errors import SourceError
from pipeline.sources import reasons
from pipeline.sources.delimited import decode
from pipeline.sources.layout import Layout, Row, Spec, resolve
from pipeline.sources.reasons import RowRejectedError

_Names = Mapping[str, tuple[str, ...]]

_UNTIL_2018: _Names = {
    col.USER_ID: ("reviewerID",),
    col.ITEM_ID: ("asin",),
    col.EVENT_TIME: ("unixReviewTime",),
    col.VALUE: ("overall",),
}
_SINCE_2023: _Names = {
    col.USER_ID: ("user_id",),
    col.ITEM_ID: ("parent_asin", "asin"),
    col.EVENT_TIME: ("timestamp",),
    col.VALUE: ("rating",),
}
_CATALOGUE: _Names = {col.ITEM_ID: ("parent_asin", "asin"), col.TITLE: ("title",)}


def layout(first: bytes, spec: Spec, file: str) -> Layout:
    """Layout by the first object. Raises SourceError if it is none, or lacks a needed field."""
    try:
        record = _read(first)
    except RowRejectedError as error:
        raise SourceError(
            f"{file}: line 1 is not a JSON object ({error.detail}); is the format amazon?"
        ) from None
    time: TimeUnit = "s"
    if not isinstance(spec, SourceConfig):
        # Metadata leave out what they do not know: an item without title or brand is no fault.
        defaults, found = _CATALOGUE, [*record, col.TITLE, *spec.columns.values()]
    elif "reviewerID" in record:
        defaults, found = _UNTIL_2018, list(record)
    else:
        defaults, found, time = _SINCE_2023, list(record), "ms"
    mapping = resolve(found, defaults, spec, file)
    keys: dict[str, tuple[str, ...]] = {name: (column,) for name, column in mapping.items()}
    if mapping[col.ITEM_ID] == "parent_asin" and col.ITEM_ID not in spec.columns:
        keys[col.ITEM_ID] = ("parent_asin", "asin")
    return Layout(fields=tuple(mapping), split=_splitter(keys), time=time)


def _splitter(keys: Mapping[str, tuple[str, ...]]) -> Callable[[bytes], Row]:
    def split(raw: bytes) -> Row:
        record = _read(raw)
        return [
            next((_text(record[key]) for key in candidates if record.get(key) is not None), None)
            for candidates in keys.values()
        ]

    return split


def _read(raw: bytes) -> dict[str, Any]:
    text = decode(raw)
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        record = _literal(text, str(error))
    if not isinstance(record, dict):
        raise RowRejectedError(reasons.MALFORMED_LINE, f"a {type(record).__name__}, not an object")
    return record


def _literal(text: str, json_error: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise RowRejectedError(reasons.MALFORMED_LINE, f"JSON: {json_error}") from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        try:
            value.encode()  # JSON can spell half of a surrogate pair, which is no text
        except UnicodeEncodeError as error:
            raise RowRejectedError(reasons.INVALID_UTF8, f"surrogate at {error.start}") from None
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
