"""RecBole atomic files: `.inter` and `.item`, tab-separated, with a header of `name:type`."""

from pipeline import columns as col
from pipeline.config import SourceConfig
from pipeline.sources.delimited import delimited_layout, split_header
from pipeline.sources.layout import Layout, Spec

_LOG = {
    col.EVENT_TIME: ("timestamp", col.EVENT_TIME, "time"),
    col.VALUE: ("rating", col.VALUE),
}
_CATALOGUE = {col.TITLE: (col.TITLE, "movie_title", "item_title", "name", "item_name")}


def layout(first: bytes, spec: Spec, file: str) -> Layout:
    """Layout of an atomic file by its header. Raises SourceError for a missing column."""
    header = split_header(first, "\t", file, quoted=False)
    found = [name.rpartition(":")[0] or name for name in header]
    defaults = _LOG if isinstance(spec, SourceConfig) else _CATALOGUE
    return delimited_layout(found, defaults, spec, file, separator="\t", header=True, time="s")
