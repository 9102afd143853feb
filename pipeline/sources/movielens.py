"""MovieLens as published: 100K (`u.data`, `u.item`) and 1M (`ratings.dat`, `movies.dat`).

The separator is read off the first line; titles are Latin-1, which is the format's own encoding.
Columns are named by position, as the files have no header.
"""

from pipeline import columns as col
from pipeline.config import SourceConfig
from pipeline.sources.delimited import delimited_layout
from pipeline.sources.layout import Layout, Spec

_LOG = {col.USER_ID: ("1",), col.ITEM_ID: ("2",), col.VALUE: ("3",), col.EVENT_TIME: ("4",)}
_CATALOGUE = {col.ITEM_ID: ("1",), col.TITLE: ("2",)}


def layout(first: bytes, spec: Spec, file: str) -> Layout:
    """Layout of a MovieLens file by its first line. Raises SourceError for a missing column."""
    log = isinstance(spec, SourceConfig)
    separator = next((mark for mark in ("::", "|", "\t") if mark.encode() in first), "\t")
    width = len(first.decode("latin-1").split(separator))
    return delimited_layout(
        [str(position + 1) for position in range(width)],
        _LOG if log else _CATALOGUE,
        spec,
        file,
        separator=separator,
        encoding="utf-8" if log else "latin-1",
        time="s",
    )
