"""Score one shard of one date: decisions with their evidence, staged for the audit."""

import polars as pl

from pipeline import columns as col
from pipeline.config import Config
from pipeline.encoders.cache import read_vectors
from pipeline.errors import ConflictError
from pipeline.hashing import shard_of
from pipeline.models import checkpoint
from pipeline.models.decision import score_sequences
from pipeline.reasons import REMOVE
from pipeline.schemas import INTERACTIONS, SCORED_INTERACTIONS
from pipeline.sequences import read_sequences
from pipeline.steps.plan import Plan, is_published
from pipeline.storage import files, runs, staging
from pipeline.storage.lake import Lake, conform
from pipeline.storage.privacy import refuse_erased


def score(config: Config, lake: Lake, plan: Plan, shard: int = 0) -> runs.Run:
    """Decide on each interaction of the shard's users on the plan's date, and stage the rows.

    `shard` counts from 0 to `plan.shards` - 1. Shards partition the users; their union equals
    the whole.
    A shard that is staged already is not scored again, nor is one of a plan that is published.
    """
    path = staging.shard_path(lake, plan.run_id, shard, plan.shards)
    run = runs.Run(
        plan.run_id, "score", plan.day, model_version=plan.model_version, encoder_id=plan.encoder_id
    )
    with runs.record(lake, config, run):
        run.inputs = {
            "interactions": plan.interactions_version,
            "shard": f"{shard}/{plan.shards}",
        }
        if files.exists(path) or is_published(lake, plan):
            run.status = runs.UNCHANGED
        else:
            scored = _score(lake, plan, shard)
            staging.write(path, scored)
            _withdraw_erased(lake, path, scored)
            removed = scored.filter(pl.col(col.DECISION) == REMOVE).height
            run.counts = {"scored": scored.height, "removed": removed}
    return run


def _withdraw_erased(lake: Lake, path: str, scored: pl.DataFrame) -> None:
    """Looked at after the write: an erasure that began before it may have overlooked the file."""
    try:
        refuse_erased(lake, scored[col.USER_ID])
    except ConflictError:
        files.delete([path])
        raise


def _score(lake: Lake, plan: Plan, shard: int) -> pl.DataFrame:
    model = checkpoint.load(lake, plan.model_version)
    sequences = read_sequences(
        lake,
        model.instruments.settings.sequence,
        plan.day,
        version=plan.interactions_version,
        shard=(shard, plan.shards),
        active_on=plan.day,
    )
    vectors = read_vectors(
        lake,
        plan.encoder_id,
        sequences[col.ITEM_ID].unique(),
        items_version=plan.items_version,
        embeddings_version=plan.embeddings_version,
    )
    decided = score_sequences(model, sequences, vectors, plan.day)
    provenance = {
        col.MODEL_VERSION: plan.model_version,
        col.ENCODER_ID: plan.encoder_id,
        col.CONFIG_DIGEST: plan.config_digest,
        col.RUN_ID: plan.run_id,
    }
    events = _events(lake, plan, shard)
    scored = events.join(decided, on=col.INTERACTION_ID, how="left", maintain_order="left")
    scored = scored.with_columns(pl.lit(value).alias(name) for name, value in provenance.items())
    return conform(scored, SCORED_INTERACTIONS)


def _events(lake: Lake, plan: Plan, shard: int) -> pl.DataFrame:
    mine = shard_of(pl.col(col.USER_ID), plan.shards) == shard
    key = [col.INTERACTION_ID, col.USER_ID, col.ITEM_ID, col.EVENT_TIME, col.EVENT_DATE]
    return (
        lake.scan(INTERACTIONS, plan.interactions_version)
        .filter(pl.col(col.EVENT_DATE) == plan.day, mine)
        .select(key)
        .sort(col.USER_ID, col.EVENT_TIME, col.INTERACTION_ID)
        .collect()
    )
