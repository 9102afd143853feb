"""CSV and TSV: any separator, quoted fields, with or without a header.

Without a header the columns are named by position: "1", "2", ... A quoted field may hold
newlines in a catalogue, not in a log.
"""

from collections.abc import Mapping

from pipeline import columns as col
from pipeline.config import SourceConfig
from pipeline.sources.delimited import delimited_layout, split_header
from pipeline.sources.layout import LOG_NAMES, Layout, Spec

_Names = Mapping[str, tuple[str, ...]]

_HEADERLESS_LOG: _Names = {col.USER_ID: ("1",), col.ITEM_ID: ("2",), col.EVENT_TIME: ("3",)}
_CATALOGUE: _Names = {
    col.ITEM_ID: (col.ITEM_ID, "ItemID", "id"),
    col.TITLE: (col.TITLE, "Title", "name"),
}
_HEADERLESS_CATALOGUE: _Names = {col.ITEM_ID: ("1",), col.TITLE: ("2",)}


def layout(first: bytes, spec: Spec, file: str) -> Layout:
    """Layout of a CSV file by its first line. Raises SourceError for a missing column."""
    log = isinstance(spec, SourceConfig)
    found = split_header(first, spec.separator, file, quoted=True)
    if spec.header:
        defaults = LOG_NAMES if log else _CATALOGUE
    else:
        found = [str(position + 1) for position in range(len(found))]
        defaults = _HEADERLESS_LOG if log else _HEADERLESS_CATALOGUE
    return delimited_layout(
        found, defaults, spec, file, separator=spec.separator, quoted=True, header=spec.header
    )
