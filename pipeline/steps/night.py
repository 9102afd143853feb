"""One date through the whole chain: ingest, embed, score every shard, audit, publish, report."""

from datetime import date

from pipeline.config import Config
from pipeline.progress import logger
from pipeline.steps.embed import embed
from pipeline.steps.ingest import ingest
from pipeline.steps.plan import is_published, plan
from pipeline.steps.publish import publish
from pipeline.steps.report import report
from pipeline.steps.score import score
from pipeline.steps.status import late_dates
from pipeline.storage import runs
from pipeline.storage.lake import Lake


def run_night(
    config: Config,
    lake: Lake,
    day: date,
    model_version: str | None = None,
    *,
    late: bool = False,
    override: str | None = None,
) -> runs.Run:
    """Clean one date. A date whose inputs did not change is left as it is, and says so.

    With `late`, dates within `night.lateness_days` before it that changed since they were cleaned
    are cleaned again, after it. `override`: see `publish`; it holds for `day` alone. Each date gets
    its report; where that fails, the date is published all the same.
    """
    ingest(config, lake, day=day, earlier=config.night.lateness_days if late else 0)
    embed(config, lake)
    done = clean(config, lake, day, model_version, override)
    _tell(config, lake, day)
    for earlier in late_dates(config, lake, day) if late else []:
        clean(config, lake, earlier, model_version)
        _tell(config, lake, earlier)
    return done


def _tell(config: Config, lake: Lake, day: date) -> None:
    """Write the report. A failure is recorded in `runs`, and said: it takes nothing back."""
    try:
        report(config, lake, day, day)
    except Exception:
        logger.error(
            "%s is published, without its report: `iadsr report --date %s` tries again", day, day
        )


def clean(
    config: Config,
    lake: Lake,
    day: date,
    model_version: str | None = None,
    override: str | None = None,
) -> runs.Run:
    """Score and publish one date of what the lake holds."""
    planned = plan(config, lake, day, model_version)
    if is_published(lake, planned):
        logger.info("%s is already published by %s: nothing to do", day, planned.run_id)
    else:
        for shard in range(planned.shards):
            score(config, lake, planned, shard)
    return publish(config, lake, planned, override)
