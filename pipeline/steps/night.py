"""One date through the whole chain: ingest, embed, score every shard, audit, publish."""

from datetime import date

from pipeline.config import Config
from pipeline.progress import logger
from pipeline.steps.embed import embed
from pipeline.steps.ingest import ingest
from pipeline.steps.plan import is_published, plan
from pipeline.steps.publish import publish
from pipeline.steps.score import score
from pipeline.storage import runs
from pipeline.storage.lake import Lake


def run_night(config: Config, lake: Lake, day: date, model_version: str | None = None) -> runs.Run:
    """Clean one date. A date whose inputs did not change is left as it is, and says so."""
    ingest(config, lake, day=day)
    embed(config, lake)
    planned = plan(config, lake, day, model_version)
    if is_published(lake, planned):
        logger.info("%s is already published by %s: nothing to do", day, planned.run_id)
    else:
        for shard in range(planned.shards):
            score(config, lake, planned, shard)
    return publish(config, lake, planned)
