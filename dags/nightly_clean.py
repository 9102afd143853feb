"""
### Clean one UTC date

ingest → embed → plan → score (one mapped task a shard) → publish → report.

**Which date?** `date` if given (manual runs), else the day before the run fires (02:00 UTC).
`airflow backfill create --from-date A --to-date B` takes the runs whose interval *starts* from
A 00:00 to B 00:00, so the last date that it cleans is the day before B.

**Late events?** A scheduled run also cleans again the dates within `night.lateness_days` before its
own that changed since they were cleaned. Older ones wait for a backfill: `iadsr status` lists them.

**It failed?** Nothing was published; what stood for that date still stands. The last log line of
the red task says what, where, and how to mend it; the alert names the command that runs exactly
that piece again. Clear the task to run the rest, or from a shell: `iadsr run --date DATE`.

**What became of it?** The task `report` writes a page on each date that was published; its link
*Report* opens it. It is a teardown: where it fails it is red, and the night stays published.

**Manual runs:** `date`, `model` (version; empty: the one in use), `dry_run` (audit, publish
nothing), `override` (the reason why a gate that refused may be passed).

The configuration is the file that `IADSR_CONFIG` names. Runbook: `docs/runbook.md`.
"""  # noqa: D212, D400, D415

from datetime import timedelta
from typing import Any

from airflow.sdk import (
    DAG,
    CronDataIntervalTimetable,
    Param,
    TriggerRule,
    get_current_context,
    task,
)
from airflow.sdk.exceptions import AirflowSkipException
from iadsr_common import (
    CLEAN,
    DATE_PARAM,
    DEFAULT_ARGS,
    DRY_RUN_PARAM,
    GPU,
    LAKE,
    LONG,
    MODEL_PARAM,
    OVERRIDE_PARAM,
    START,
    ReportLink,
    date_of,
    session,
)

with DAG(
    dag_id="nightly_clean",
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=START,
    catchup=False,
    max_active_runs=4,
    dagrun_timeout=timedelta(hours=12),
    default_args=DEFAULT_ARGS,
    params={
        "date": Param(None, **DATE_PARAM),
        "model": Param(None, **MODEL_PARAM),
        "dry_run": Param(False, **DRY_RUN_PARAM),
        "override": Param(None, **OVERRIDE_PARAM),
    },
    tags=["iadsr", "nightly"],
    doc_md=__doc__,
):

    def late_days(config: Any, context: Any) -> int:
        """Days before its date that a run looks at again: backfills have runs for those."""
        scheduled = context["dag_run"].run_type == "scheduled"
        return config.night.lateness_days if scheduled else 0

    @task(**LAKE)
    def ingest() -> None:
        """Read the date's files and the catalogues; a file that is known is a no-op."""
        from pipeline.steps.ingest import ingest as step

        context = get_current_context()
        with session() as (config, lake):
            step(config, lake, day=date_of(context), earlier=late_days(config, context))

    @task(**GPU, execution_timeout=LONG)
    def embed() -> None:
        """Embed the item texts that were never seen."""
        from pipeline.steps.embed import embed as step

        with session() as (config, lake):
            step(config, lake)

    @task
    def plan() -> list[dict[str, Any]]:
        """Pin the snapshots and the model for the date, and for those that changed late."""
        from pipeline.steps.plan import plan as step
        from pipeline.steps.status import late_dates

        context = get_current_context()
        with session() as (config, lake):
            day = date_of(context)
            late = late_dates(config, lake, day) if late_days(config, context) else []
            model = context["params"]["model"]
            return [step(config, lake, each, model).to_dict() for each in (day, *late)]

    @task
    def shards(plans: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What each task scores: a shard of the users of one date."""
        return [{"planned": p, "shard": i} for p in plans for i in range(p["shards"])]

    @task(map_index_template="{{ shard_name }}", execution_timeout=LONG)
    def score(planned: dict[str, Any], shard: int) -> None:
        """Score one shard of the users and stage the result."""
        from pipeline.steps.plan import Plan
        from pipeline.steps.score import score as step

        get_current_context()["shard_name"] = f"{planned['day']} {shard}/{planned['shards']}"
        with session() as (config, lake):
            step(config, lake, Plan.from_dict(planned), shard)

    # A date is published when its own shards are there, whatever became of another date's.
    @task(
        map_index_template="{{ day }}",
        trigger_rule=TriggerRule.ALL_DONE,
        outlets=[CLEAN],
        **LAKE,
    )
    def publish(planned: dict[str, Any]) -> None:
        """Audit the staged shards and publish the date, or nothing."""
        from pipeline.steps.plan import Plan
        from pipeline.steps.publish import publish as step
        from pipeline.storage.runs import removed_share

        context = get_current_context()
        context["day"] = planned["day"]
        params = context["params"]
        with session() as (config, lake):
            pinned = Plan.from_dict(planned)
            run = step(config, lake, pinned, params["override"], dry_run=params["dry_run"])
        context["outlet_events"][CLEAN].extra = {
            "date": planned["day"],
            "status": "dry run" if params["dry_run"] else run.status,
            **run.counts,
            "removed_share": removed_share(run.counts),
            "model_version": run.model_version,
            "run_id": run.run_id,
        }

    @task(**LAKE)
    def report(plans: list[dict[str, Any]] | None) -> str:
        """Write the page on each date that was published; the name of the night's own."""
        from pipeline.steps.plan import Plan, is_published
        from pipeline.steps.report import report as step

        with session() as (config, lake):
            pinned = [Plan.from_dict(each) for each in plans or []]
            days = [each.day for each in pinned if is_published(lake, each)]
            if not days:
                raise AirflowSkipException("nothing was published")
            pages = [step(config, lake, day, day) for day in days]
        return pages[0].rpartition("/")[2]

    plans = plan()
    ingest() >> embed() >> plans
    told = report(plans).as_teardown()
    told.operator.operator_extra_links = (ReportLink(),)
    score.expand_kwargs(shards(plans)) >> publish.expand(planned=plans) >> told
