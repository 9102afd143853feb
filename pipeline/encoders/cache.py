"""The vectors that the lake holds: read them by item, find the texts without, add new ones.

A text is embedded once per encoder, however many items carry it and however many runs are at work.
"""

import uuid

import polars as pl

from pipeline import columns as col
from pipeline.digests import digest
from pipeline.encoders import dimension
from pipeline.errors import ConflictError
from pipeline.schemas import ITEM_EMBEDDINGS, ITEMS
from pipeline.storage.lake import Lake, conform, marker_number

COMMIT_ATTEMPTS = 20  # each lost attempt means that another run got further


def read_vectors(
    lake: Lake,
    encoder_id: str,
    item_ids: pl.Series | None = None,
    *,
    items_version: int | None = None,
    embeddings_version: int | None = None,
) -> pl.DataFrame:
    """Vectors of the items (default: of all), sorted by item, as of these versions (default: now).

    An item without text, or whose text is not embedded yet, has no row.

    Returns
    -------
    DataFrame of `item_id` and `vector` (pl.Array(pl.Float32, dimension)).
    """
    items = lake.scan(ITEMS, items_version).filter(pl.col(col.TEXT_HASH).is_not_null())
    stored = _stored(lake, encoder_id, embeddings_version)
    if item_ids is not None:
        items = items.filter(pl.col(col.ITEM_ID).is_in(item_ids.unique().implode()))
        items = items.select(col.ITEM_ID, col.TEXT_HASH).collect().lazy()
        wanted = items.select(col.TEXT_HASH).unique().collect().to_series()
        stored = stored.filter(pl.col(col.TEXT_HASH).is_in(wanted.implode()))
    return (
        items.select(col.ITEM_ID, col.TEXT_HASH)
        .join(stored, on=col.TEXT_HASH)
        .select(col.ITEM_ID, pl.col(col.VECTOR).list.to_array(dimension(encoder_id)))
        .sort(col.ITEM_ID)
        .collect()
    )


def read_hashes(lake: Lake, encoder_id: str, hashes: pl.Series) -> pl.DataFrame:
    """`text_hash` and `vector` of those of the hashes that are stored, in no order."""
    stored = _stored(lake, encoder_id).filter(pl.col(col.TEXT_HASH).is_in(hashes.implode()))
    array = pl.col(col.VECTOR).list.to_array(dimension(encoder_id))
    return stored.select(col.TEXT_HASH, array).collect()


def missing_texts(lake: Lake, encoder_id: str, items_version: int | None = None) -> pl.DataFrame:
    """Distinct texts (`text_hash`, `text`) that have no vector yet, sorted by hash."""
    stored = _stored(lake, encoder_id).select(col.TEXT_HASH)
    return (
        lake.scan(ITEMS, items_version)
        .filter(has_text())
        .select(col.TEXT_HASH, col.TEXT)
        .unique(col.TEXT_HASH, keep="any")
        .join(stored, on=col.TEXT_HASH, how="anti")
        .sort(col.TEXT_HASH)
        .collect()
    )


def has_text() -> pl.Expr:
    """True for an item whose text an encoder can read."""
    text = pl.col(col.TEXT).fill_null("").str.strip_chars()
    return pl.col(col.TEXT_HASH).is_not_null() & (text != "")


class VectorWriter:
    """Adds the vectors of one encoder, and never a text twice.

    All commits of an encoder carry one marker, so of two runs that start from one snapshot only
    one commits. A run that meets another's commit looks up what is stored before each of its own.
    Make it before reading what is missing: what is committed in between is then seen as another's.
    """

    def __init__(self, lake: Lake, encoder_id: str) -> None:
        self.lake, self.encoder_id = lake, encoder_id
        self._key = _marker_key(encoder_id)
        self._last = lake.marker(ITEM_EMBEDDINGS, self._key)
        self._alone = True

    @property
    def is_first(self) -> bool:
        """Whether nothing was ever stored under this encoder."""
        return self._last is None

    def unstored(self, texts: pl.DataFrame, version: int | None = None) -> pl.DataFrame:
        """The rows of `texts` whose `text_hash` another run has not stored by now."""
        if self._alone:
            self._alone = self.lake.marker(ITEM_EMBEDDINGS, self._key, version) == self._last
        if self._alone:
            return texts
        hashes = texts[col.TEXT_HASH]
        near = pl.col(col.TEXT_HASH).is_between(pl.lit(hashes.min()), pl.lit(hashes.max()))
        stored = _stored(self.lake, self.encoder_id, version).filter(near).select(col.TEXT_HASH)
        return texts.join(stored.collect(), on=col.TEXT_HASH, how="anti", maintain_order="left")

    def append(self, vectors: pl.DataFrame) -> int:
        """Store `text_hash` and `vector` in one commit; the number of rows that were new."""
        for attempts_left in reversed(range(COMMIT_ATTEMPTS)):
            version = self.lake.version(ITEM_EMBEDDINGS)
            vectors = self.unstored(vectors, version)
            if vectors.is_empty():
                return 0
            number = marker_number(digest(vectors[col.TEXT_HASH].to_list(), 16))
            rows = vectors.with_columns(pl.lit(self.encoder_id).alias(col.ENCODER_ID))
            try:
                self.lake.append(
                    ITEM_EMBEDDINGS,
                    conform(rows, ITEM_EMBEDDINGS),
                    marker=(self._key, number),
                    since=version,
                )
            except ConflictError:
                if not attempts_left:
                    raise
            else:
                self._last = number
                return vectors.height
        raise AssertionError("unreachable: the last attempt returns or raises")


def drop_vectors(lake: Lake, encoder_id: str) -> None:
    """Remove all vectors of one encoder in one commit, which a writer at work notices.

    Raises ConflictError: a writer committed in the same instant.
    """
    number = marker_number(uuid.uuid4().hex)
    lake.delete_partition(ITEM_EMBEDDINGS, encoder_id, (_marker_key(encoder_id), number))


def _marker_key(encoder_id: str) -> str:
    return f"embed:{encoder_id}"


def _stored(lake: Lake, encoder_id: str, version: int | None = None) -> pl.LazyFrame:
    rows = lake.scan(ITEM_EMBEDDINGS, version).filter(pl.col(col.ENCODER_ID) == encoder_id)
    return rows.select(col.TEXT_HASH, col.VECTOR)
