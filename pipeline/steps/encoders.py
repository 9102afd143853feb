"""What the lake holds of each encoder, and dropping the vectors of one that no model needs."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from pipeline import columns as col
from pipeline.config import Config
from pipeline.encoders.cache import drop_vectors
from pipeline.errors import UserError
from pipeline.models import checkpoint
from pipeline.schemas import ITEM_EMBEDDINGS, RUNS
from pipeline.storage import catalog, files, runs
from pipeline.storage.lake import Lake


@dataclass(frozen=True)
class Stored:
    """The vectors of one encoder."""

    encoder_id: str
    texts: int
    size_bytes: int
    last_use: datetime | None  # end of the last run that names the encoder, UTC
    models: tuple[str, ...]  # versions that were trained with it
    champion: str | None  # the one of them that is promoted


def stored(lake: Lake) -> list[Stored]:
    """All encoders with vectors in the newest snapshot, by name. Reads metadata and `runs`."""
    used = lake.scan(RUNS).filter(pl.col(col.ENCODER_ID).is_not_null())
    last = dict(used.group_by(col.ENCODER_ID).agg(pl.col(col.ENDED_AT).max()).collect().iter_rows())
    needed = checkpoint.encoders(lake)
    champion = checkpoint.champion(lake)
    return [
        Stored(
            encoder_id=name,
            texts=texts,
            size_bytes=size,
            last_use=last.get(name),
            models=tuple(version for version, encoder in needed.items() if encoder == name),
            champion=champion if champion and needed.get(champion) == name else None,
        )
        for name, (texts, size) in lake.partition_sizes(ITEM_EMBEDDINGS).items()
    ]


def drop(config: Config, lake: Lake, encoder_id: str, *, force: bool = False) -> Stored:
    """Remove all vectors of one encoder in one commit; returns what was stored of it.

    The files stay for the readers of older snapshots, and for the last catalogue, until they are
    vacuumed. A model that is promoted in the same instant finds its vectors made again by the next
    `embed`.

    Raises
    ------
    UserError
        Nothing is stored of it, the promoted model needs it, or (without `force`) another model.
    ConflictError
        A run stored vectors of it in the same instant. Nothing was removed.
    """
    found = next((each for each in stored(lake) if each.encoder_id == encoder_id), None)
    if found is None:
        raise UserError(
            f'no vectors of "{encoder_id}" in {lake.root}: `iadsr encoders list` names all'
        )
    if found.champion:
        raise UserError(f"{encoder_id} stays: the promoted model {found.champion} needs it")
    if found.models and not force:
        raise UserError(
            f"{encoder_id} stays: {', '.join(found.models)} would need it if promoted "
            "(--force drops it all the same)"
        )
    inputs = {ITEM_EMBEDDINGS.name: lake.version(ITEM_EMBEDDINGS), "encoder": encoder_id}
    run = runs.Run(runs.run_id("drop", inputs), "drop", inputs=inputs, encoder_id=encoder_id)
    with runs.record(lake, config, run):
        drop_vectors(lake, encoder_id)
        run.counts = {"texts": found.texts, "bytes": found.size_bytes}
        run.outputs = {ITEM_EMBEDDINGS.name: lake.version(ITEM_EMBEDDINGS)}
    if files.exists(files.join(config.lake.catalog or lake.root, "catalog.sql")):
        catalog.build(lake, config.lake.catalog)
    return found
