"""
### Clean one UTC date

ingest → embed → plan → score (one mapped task a shard) → publish.

**Which date?** `params.date` if given (manual runs), else the day before the run fires (02:00 UTC).
`airflow backfill create --from-date A --to-date B` takes the runs whose interval *starts* from
A 00:00 to B 00:00, so the last date that it cleans is the day before B.

**It failed?** Nothing was published; what stood for that date still stands. The last log line of
the red task says what, where, and how to mend it. Clear the task to run the rest, or from a shell:
`iadsr run --date DATE`.

The configuration is the file that `IADSR_CONFIG` names.
"""  # noqa: D212, D400, D415

from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, get_current_context, task
from iadsr_common import DATE_PARAM, DEFAULT_ARGS, START, date_of, session

with DAG(
    dag_id="nightly_clean",
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=START,
    catchup=False,
    max_active_runs=4,
    default_args=DEFAULT_ARGS,
    params={"date": Param(None, **DATE_PARAM)},
    tags=["iadsr"],
    doc_md=__doc__,
):

    @task
    def ingest() -> None:
        """Read the date's files and the catalogues; a file that is known is a no-op."""
        from pipeline.steps.ingest import ingest as step

        with session() as (config, lake):
            step(config, lake, day=date_of(get_current_context()))

    @task
    def embed() -> None:
        """Embed the item texts that were never seen."""
        from pipeline.steps.embed import embed as step

        with session() as (config, lake):
            step(config, lake)

    @task
    def plan() -> dict[str, Any]:
        """Pin the snapshots and the model that every later task of this run reads."""
        from pipeline.steps.plan import plan as step

        with session() as (config, lake):
            return step(config, lake, date_of(get_current_context())).to_dict()

    @task
    def shards(planned: dict[str, Any]) -> list[int]:
        """Indices of the shards to score."""
        return list(range(planned["shards"]))

    @task(map_index_template="{{ shard_name }}")
    def score(planned: dict[str, Any], shard: int) -> None:
        """Score one shard of the users and stage the result."""
        from pipeline.steps.plan import Plan
        from pipeline.steps.score import score as step

        get_current_context()["shard_name"] = f"{shard}/{planned['shards']}"
        with session() as (config, lake):
            step(config, lake, Plan.from_dict(planned), shard)

    @task
    def publish(planned: dict[str, Any]) -> None:
        """Audit the staged shards and publish the date, or nothing."""
        from pipeline.steps.plan import Plan
        from pipeline.steps.publish import publish as step

        with session() as (config, lake):
            step(config, lake, Plan.from_dict(planned))

    pinned = plan()
    ingest() >> embed() >> pinned
    score.partial(planned=pinned).expand(shard=shards(pinned)) >> publish(pinned)
