"""Embed the item texts that have no vector yet. What is committed survives a kill.

Which model does it, and how, is `pipeline.encoders`' business.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline import columns as col
from pipeline import encoders
from pipeline.config import Config
from pipeline.encoders import Encoder, golden
from pipeline.encoders.cache import VectorWriter, has_text, missing_texts
from pipeline.errors import ContractError
from pipeline.progress import Progress, progress
from pipeline.schemas import ITEM_EMBEDDINGS, ITEMS
from pipeline.storage import runs
from pipeline.storage.lake import Lake

NAMED_ITEMS = 3  # items that an error names


@dataclass(frozen=True)
class EmbedResult:
    """What one run of the step did; `texts` = `embedded` + `cached`."""

    run_id: str
    encoder_id: str
    status: str
    texts: int  # distinct texts of the catalogue
    embedded: int  # by this run
    cached: int  # stored before, or by another run meanwhile
    truncated: int  # texts that this run read only the beginning of
    no_text: int  # items


def embed(config: Config, lake: Lake) -> EmbedResult:
    """Embed every text of `items` that the encoder has not seen.

    Commits every `encoder.commit_texts` texts. The plan follows the texts' hashes, so a re-run
    after a kill makes the same commits as the run that was not killed.

    Raises
    ------
    ConfigError
        The model is not there.
    ContractError
        The weights are not the pinned ones, vLLM does not agree with plain transformers (golden
        check), or the model gave a vector that cannot be used. Nothing of that commit is stored.
    EngineError
        vLLM failed.
    """
    encoder_id = encoders.encoder_id(config.encoder)
    version = lake.version(ITEMS)
    inputs = {ITEMS.name: version}
    name = runs.run_id("embed", {**inputs, "encoder": encoder_id})
    run = runs.Run(name, "embed", inputs=inputs, encoder_id=encoder_id)
    with runs.record(lake, config, run):
        writer = VectorWriter(lake, encoder_id)
        missing = missing_texts(lake, encoder_id, version)
        texts, no_text = _count(lake, version)
        embedded, truncated = _embed(config, writer, missing) if missing.height else (0, 0)
        run.counts = {
            "texts": texts,
            "embedded": embedded,
            "cached": texts - embedded,
            "truncated": truncated,
            "no_text": no_text,
        }
        run.outputs = {ITEM_EMBEDDINGS.name: lake.version(ITEM_EMBEDDINGS)}
        run.status = runs.SUCCEEDED if embedded else runs.UNCHANGED
    return EmbedResult(name, encoder_id, run.status, **run.counts)


def _embed(config: Config, writer: VectorWriter, missing: pl.DataFrame) -> tuple[int, int]:
    """Texts embedded, and how many of them were truncated."""
    with (
        encoders.load(config.encoder) as encoder,
        progress(missing.height, "embed", "texts") as bar,
    ):
        if config.encoder.backend == "vllm" and config.encoder.vllm.golden and writer.is_first:
            golden.check(config.encoder, encoder, missing[col.TEXT].to_list())
        return embed_texts(encoder, writer, missing, config.encoder.commit_texts, bar)


def embed_texts(
    encoder: Encoder, writer: VectorWriter, missing: pl.DataFrame, commit_texts: int, bar: Progress
) -> tuple[int, int]:
    """Embed `text`, store the vectors by `text_hash`; texts embedded, and of them truncated."""
    embedded = truncated = 0
    for planned in missing.iter_slices(commit_texts):
        chunk = writer.unstored(planned)
        bar.update(planned.height - chunk.height)
        if chunk.is_empty():
            continue
        encoded = encoder.encode(chunk[col.TEXT].to_list(), bar)
        _check(encoded.vectors, chunk, writer)
        vectors = pl.DataFrame({col.TEXT_HASH: chunk[col.TEXT_HASH], col.VECTOR: encoded.vectors})
        embedded += writer.append(vectors)
        truncated += encoded.truncated
    return embedded, truncated


def _check(vectors: NDArray[np.float32], chunk: pl.DataFrame, writer: VectorWriter) -> None:
    """Raise ContractError unless there is one usable vector for each text."""
    wanted = (chunk.height, encoders.dimension(writer.encoder_id))
    everything = np.ones(chunk.height, dtype=bool)
    if vectors.shape != wanted:
        _refuse(f"vectors of shape {vectors.shape}, wanted {wanted}", everything, chunk, writer)
    norms = np.linalg.norm(vectors, axis=1)
    broken = ~np.isfinite(norms)
    if broken.any():
        _refuse(f"{broken.sum():,} vectors with NaN or infinite values", broken, chunk, writer)
    zero = norms == 0
    if zero.any():
        _refuse(f"{zero.sum():,} zero vectors", zero, chunk, writer)


def _refuse(found: str, rows: NDArray[np.bool_], chunk: pl.DataFrame, writer: VectorWriter) -> None:
    hashes = chunk.filter(pl.Series(rows))[col.TEXT_HASH]
    carriers = writer.lake.scan(ITEMS).filter(pl.col(col.TEXT_HASH).is_in(hashes.implode()))
    items = carriers.select(pl.col(col.ITEM_ID).sort().head(NAMED_ITEMS)).collect().to_series()
    named = ", ".join(repr(item) for item in items) or "none: joined texts"
    raise ContractError(
        f"{writer.encoder_id} gave {found} (items {named}, ...); "
        "none of these texts' vectors was stored: check encoder.model and encoder.dtype"
    )


def _count(lake: Lake, version: int) -> tuple[int, int]:
    """Distinct texts, and items without text."""
    counted = lake.scan(ITEMS, version).select(
        pl.col(col.TEXT_HASH).filter(has_text()).n_unique().alias("texts"),
        (~has_text()).sum().alias("no_text"),
    )
    texts, no_text = counted.collect().row(0)
    return texts, no_text
