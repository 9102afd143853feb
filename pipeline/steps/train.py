"""Train the aligner as of a date, calibrate it, and keep it as a model version of the lake."""

from datetime import UTC, date, datetime
from importlib import metadata
from typing import Any

import polars as pl
import torch

from pipeline import __version__
from pipeline import columns as col
from pipeline.config import Config
from pipeline.digests import digest
from pipeline.encoders import encoder_id as name_encoder
from pipeline.encoders.cache import read_vectors
from pipeline.errors import UserError
from pipeline.models import checkpoint, parallel
from pipeline.models.model import Model
from pipeline.models.names import FEATURES
from pipeline.models.training import fit_model
from pipeline.schemas import INTERACTIONS, ITEM_EMBEDDINGS, ITEMS
from pipeline.sequences import nothing_in_reach, read_sequences, rows_in_reach
from pipeline.steps.prefixes import reading_prefixes
from pipeline.storage import runs
from pipeline.storage.lake import Lake

ENGINES = ("polars", "torch", "safetensors")


def train(config: Config, lake: Lake, as_of: date) -> str:
    """Fit a model on everything up to the end of `as_of`, unless it is there already.

    It is not in use before it is promoted (`steps/promote.py`).

    Returns
    -------
    The model version, `<backbone>-<as_of>-<16 hex>`: a function of data, configuration and code.

    Raises
    ------
    UserError
        No interactions up to that date, no vectors for the encoder, or too few users.
    """
    origin = _origin(config, lake, as_of)
    version = runs.run_id(config.model.backbone, _identity(origin), as_of)
    run = runs.Run(
        runs.run_id("train", version, as_of),
        "train",
        as_of,
        model_version=version,
        encoder_id=origin["encoder_id"],
    )
    if parallel.rank():  # learns beside the first process, which alone writes
        if not checkpoint.exists(lake, version):
            _fit(config, lake, as_of, {"model_version": version, **origin})
        return version
    with runs.record(lake, config, run):
        run.inputs = {name: origin[name] for name in ("interactions_version", "items_version")}
        run.outputs = {"model": version}
        if checkpoint.exists(lake, version):
            run.status = runs.UNCHANGED
        else:
            model, run.counts = _fit(config, lake, as_of, {"model_version": version, **origin})
            checkpoint.save(lake, model)
        run.outputs["calibration"] = checkpoint.read_card(lake, version)["calibration"]
    return version


def _origin(config: Config, lake: Lake, as_of: date) -> dict[str, Any]:
    """What the model will be made from: the part of its card that is known before training."""
    interactions = lake.version(INTERACTIONS)
    history = rows_in_reach(lake, config.sequence, as_of, interactions)
    encoder_id, embeddings = name_encoder(config.encoder), lake.version(ITEM_EMBEDDINGS)
    return {
        "as_of": as_of.isoformat(),
        "interactions_version": interactions,
        "items_version": lake.version(ITEMS),
        "embeddings_version": embeddings,
        "vectors": lake.partition_rows(ITEM_EMBEDDINGS, embeddings).get(encoder_id, 0),
        "interactions": sum(history.values()),
        "fingerprint": digest(history, 16),
        "encoder_id": encoder_id,
        "config_digest": config.digest(*checkpoint.MADE_WITH),
        "config": config.model_dump(mode="json", include=set(checkpoint.MADE_WITH)),
        "code_version": __version__,
        "seed": config.train.seed,
        "processes": parallel.processes(),
    }


def _identity(origin: dict[str, Any]) -> dict[str, Any]:
    """What two models must share to be the same. A later snapshot with the same rows does."""
    names = ("fingerprint", "items_version", "vectors", "encoder_id", "config_digest")
    identity = {name: origin[name] for name in names} | {"features": FEATURES}
    if origin["processes"] > 1:  # sums in another order: other weights, in their last digits
        identity["processes"] = origin["processes"]
    return identity


def _fit(
    config: Config, lake: Lake, as_of: date, card: dict[str, Any]
) -> tuple[Model, dict[str, int]]:
    if not card["interactions"]:
        raise nothing_in_reach(lake, config.sequence, as_of)
    sequences = read_sequences(lake, config.sequence, as_of, version=card["interactions_version"])
    vectors = read_vectors(
        lake,
        card["encoder_id"],
        sequences[col.ITEM_ID].unique(),
        items_version=card["items_version"],
        embeddings_version=card["embeddings_version"],
    )
    if vectors.is_empty():
        raise UserError(
            f'no vectors of the encoder {card["encoder_id"]} in {lake.root} (run "iadsr embed")'
        )
    engines = {name: metadata.version(name) for name in ENGINES}
    card = card | {
        "engines": engines | {"threads": torch.get_num_threads()},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with reading_prefixes(config, lake) as prefixes:
        model = fit_model(config, sequences, vectors, card, prefixes=prefixes)
    users = sequences.select(pl.col(col.USER_ID).n_unique()).item()
    return model, {
        "interactions": sequences.height,
        "users": users,
        "items": model.instruments.vocabulary.height,
        "epochs": len(model.card["metrics"]["epochs"]),
    }
