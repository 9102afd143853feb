"""An encoder that loads no model, and a catalogue to embed."""

from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy as np
import polars as pl

from pipeline.encoders import Encoded
from pipeline.progress import Progress
from pipeline.schemas import ITEMS
from pipeline.storage.lake import Lake, conform

DIM = 384


def put_items(lake: Lake, texts: dict[str, str | None]) -> None:
    hashes = [sha256(text.encode()).hexdigest() if text else None for text in texts.values()]
    rows = {"item_id": list(texts), "text": list(texts.values()), "text_hash": hashes}
    lake.replace_all(
        ITEMS, conform(pl.DataFrame(rows, schema_overrides={"text": pl.String}), ITEMS)
    )


class Fake:
    """Each text's vector is drawn from its own bytes."""

    dim = DIM

    def __init__(self) -> None:
        self.read: list[str] = []
        self.before_each: Callable[[], object] = lambda: None
        self.spoil: Callable[[np.ndarray], np.ndarray] = lambda vectors: vectors

    def encode(self, texts: Sequence[str], progress: Progress) -> Encoded:
        self.before_each()
        self.read += texts
        progress.update(len(texts))
        seeds = [int(sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = [np.random.default_rng(seed).normal(size=DIM) for seed in seeds]
        return Encoded(self.spoil(np.array(rows, dtype=np.float32)), truncated=0)
