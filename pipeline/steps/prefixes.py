"""The paper's texts: the titles of a sequence, joined up to each position, embedded and cached.

For comparisons (`model.texts = "prefixes"`), not for nights: a log has about as many prefixes as
interactions, and every noise that is put in makes new ones.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import polars as pl
import torch
from torch import Tensor

from pipeline import columns as col
from pipeline import encoders
from pipeline.config import Config
from pipeline.encoders import Encoder
from pipeline.encoders.cache import VectorWriter, read_hashes
from pipeline.hashing import stable_hash
from pipeline.models.batches import Prefixes
from pipeline.models.names import SEQUENCE
from pipeline.models.semantic import matrix
from pipeline.progress import progress
from pipeline.schemas import ITEM_EMBEDDINGS, ITEMS
from pipeline.steps.embed import embed_texts
from pipeline.storage import runs
from pipeline.storage.lake import Lake

SEPARATOR = ", "
# Interactions whose texts and whole vectors are held at a time: a bound of memory.
BLOCK_ROWS = 16_384


@contextmanager
def reading_prefixes(config: Config, lake: Lake) -> Iterator[Prefixes | None]:
    """What embeds joined texts, if the configuration asks for them; else None.

    The encoder is loaded when the first text is missing, and stays until the context ends.
    """
    with ExitStack() as stack:
        yield PrefixReader(config, lake, stack) if config.model.texts == "prefixes" else None


@dataclass
class PrefixReader:
    """Vectors of the joined texts of at most `sequence.max_length` items up to each position."""

    config: Config
    lake: Lake
    open_until: ExitStack
    _loaded: list[Encoder] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.encoder_id = encoders.prefix_encoder_id(encoders.encoder_id(self.config.encoder))
        self.items_version = self.lake.version(ITEMS)

    def __call__(self, frame: pl.DataFrame, project: Callable[[Tensor], Tensor]) -> Tensor:
        """See `Prefixes`. Embeds what is missing, as a run of the step `embed`."""
        inputs = {ITEMS.name: self.items_version, "sequences": _fingerprint(frame)}
        name = runs.run_id("embed", {**inputs, "encoder": self.encoder_id})
        run = runs.Run(name, "embed", inputs=inputs, encoder_id=self.encoder_id)
        run.counts = dict.fromkeys(("texts", "embedded", "truncated"), 0)
        parts = []
        with (
            runs.record(self.lake, self.config, run),
            progress(frame.height, "embed prefixes", "interactions") as bar,
        ):
            length = self.config.sequence.max_length
            for texts in joined(frame, self._texts(frame), length):
                parts.append(self._projected(texts, run, project))
                bar.update(texts.height)
            run.outputs = {ITEM_EMBEDDINGS.name: self.lake.version(ITEM_EMBEDDINGS)}
            run.status = runs.SUCCEEDED if run.counts["embedded"] else runs.UNCHANGED
        return torch.cat(parts) if parts else project(torch.zeros(0, self._width))

    @property
    def _width(self) -> int:
        return encoders.dimension(self.encoder_id)

    def _texts(self, frame: pl.DataFrame) -> dict[str, str]:
        """Text of each item of the frame that has one."""
        items = self.lake.scan(ITEMS, self.items_version).select(col.ITEM_ID, col.TEXT)
        text = pl.col(col.TEXT).fill_null("").str.strip_chars()
        named = pl.col(col.ITEM_ID).is_in(frame[col.ITEM_ID].unique().implode())
        return dict(items.filter(named, text != "").collect().iter_rows())

    def _projected(
        self, texts: pl.DataFrame, run: runs.Run, project: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Projected vectors (M, P) of the texts, zero where there is none."""
        distinct = texts.drop_nulls().unique(col.TEXT_HASH).sort(col.TEXT_HASH)
        run.counts["texts"] += distinct.height
        writer = VectorWriter(self.lake, self.encoder_id)
        found = read_hashes(self.lake, self.encoder_id, distinct[col.TEXT_HASH])
        missing = distinct.join(found, on=col.TEXT_HASH, how="anti", maintain_order="left")
        if missing.height:
            self._embed(missing, writer, run)
            found = read_hashes(self.lake, self.encoder_id, distinct[col.TEXT_HASH])
        rows = found.select(col.TEXT_HASH).with_row_index("row", offset=1)
        place = texts.join(rows, on=col.TEXT_HASH, how="left", maintain_order="left")["row"]
        projected = project(matrix(found).reshape(found.height, self._width))
        table = torch.cat([projected.new_zeros(1, projected.shape[1]), projected])
        return table[torch.tensor(place.fill_null(0).cast(pl.Int64).to_numpy())]

    def _embed(self, missing: pl.DataFrame, writer: VectorWriter, run: runs.Run) -> None:
        if not self._loaded:
            opened = encoders.load(self.config.encoder)
            self._loaded.append(self.open_until.enter_context(opened))
        commit_texts = self.config.encoder.commit_texts
        with progress(missing.height, "embed", "texts") as bar:
            embedded, cut = embed_texts(self._loaded[0], writer, missing, commit_texts, bar)
        run.counts["embedded"] += embedded
        run.counts["truncated"] += cut


def joined(frame: pl.DataFrame, texts: dict[str, str], max_length: int) -> Iterator[pl.DataFrame]:
    """`text` and `text_hash` of the prefix at each row, in blocks; null before the first text.

    Parameters
    ----------
    frame : pl.DataFrame
        Columns `sequence`, by which it is sorted, and item_id.
    texts : dict
        item_id -> text.
    max_length : int
        Of the items up to a row so many, the last, are joined.
    """
    found: list[str | None] = []
    last, titles = None, list[str | None]()
    for sequence, item in frame.select(SEQUENCE, col.ITEM_ID).iter_rows():
        before = titles[1 - max_length :] if sequence == last else []
        last, titles = sequence, [*before, texts.get(item)]
        found.append(SEPARATOR.join(title for title in titles if title) or None)
        if len(found) == BLOCK_ROWS:
            yield _hashed(found)
            found = []
    if found:
        yield _hashed(found)


def _hashed(texts: list[str | None]) -> pl.DataFrame:
    hashes = [hashlib.sha256(text.encode()).hexdigest() if text else None for text in texts]
    columns = {col.TEXT: texts, col.TEXT_HASH: hashes}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _fingerprint(frame: pl.DataFrame) -> str:
    rows = frame.select(stable_hash(pl.col(SEQUENCE).cast(pl.String), pl.col(col.ITEM_ID)))
    return hashlib.sha256(rows.to_series().to_numpy().tobytes()).hexdigest()[:16]
