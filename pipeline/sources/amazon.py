"""Amazon reviews and metadata, one object a line: the field names of 2014, 2018 and 2023.

The 2014 metadata are Python literals, read with `ast.literal_eval`; all else is strict JSON.
"""

import ast
import json
from typing import Any

from pipeline import columns as col
from pipeline.config import SourceConfig, TimeUnit
from pipeline.sources import reasons
from pipeline.sources.delimited import decode
from pipeline.sources.jsonl import Names, an_object, first_object, keys_of, splitter
from pipeline.sources.layout import Layout, Spec
from pipeline.sources.reasons import RowRejectedError

_UNTIL_2018: Names = {
    col.USER_ID: ("reviewerID",),
    col.ITEM_ID: ("asin",),
    col.EVENT_TIME: ("unixReviewTime",),
    col.VALUE: ("overall",),
}
_SINCE_2023: Names = {
    col.USER_ID: ("user_id",),
    col.ITEM_ID: ("parent_asin", "asin"),
    col.EVENT_TIME: ("timestamp",),
    col.VALUE: ("rating",),
}
_CATALOGUE: Names = {col.ITEM_ID: ("parent_asin", "asin"), col.TITLE: ("title",)}


def layout(first: bytes, spec: Spec, file: str) -> Layout:
    """Layout by the first object. Raises SourceError if it is none, or lacks a needed field."""
    record = first_object(first, _read, file, "amazon")
    time: TimeUnit = "s"
    if not isinstance(spec, SourceConfig):
        # Metadata leave out what they do not know: an item without title or brand is no fault.
        defaults, found = _CATALOGUE, [*record, col.TITLE, *spec.columns.values()]
    elif "reviewerID" in record:
        defaults, found = _UNTIL_2018, list(record)
    else:
        defaults, found, time = _SINCE_2023, list(record), "ms"
    keys = keys_of(found, defaults, spec, file)
    if keys[col.ITEM_ID] == ("parent_asin",) and col.ITEM_ID not in spec.columns:
        keys[col.ITEM_ID] = ("parent_asin", "asin")
    return Layout(fields=tuple(keys), split=splitter(keys, _read), time=time)


def _read(raw: bytes) -> dict[str, Any]:
    text = decode(raw)
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        record = _literal(text, str(error))
    return an_object(record)


def _literal(text: str, json_error: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise RowRejectedError(reasons.MALFORMED_LINE, f"JSON: {json_error}") from None
