"""
### Train a model as of one UTC date, and put it in use if it is no worse

ingest → embed → train → promote. It reads events up to the end of the date and nothing later.
Training again on the same inputs is a no-op.

**Promotion.** Challenger and champion judge the same nights of users that neither learned from. A
challenger that finds less noise, or drops more genuine rows, than `[promotion]` allows fails the
task `promote`; the champion stays in use, and the log says what was measured against which limit.
To use it all the same: `iadsr models promote VERSION --override "REASON"`, or `override` here.
To go back: `iadsr models rollback --reason REASON`.

**Manual runs:** `date` (empty: the day before the run fires, Monday 04:00 UTC), `dry_run` (train
and compare, promote nothing), `override`. From a shell: `iadsr train --date DATE`.
"""  # noqa: D212, D400, D415

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, get_current_context, task
from iadsr_common import (
    DATE_PARAM,
    DEFAULT_ARGS,
    DRY_RUN_PARAM,
    GPU,
    LAKE,
    LONG,
    MODEL,
    OVERRIDE_PARAM,
    START,
    date_of,
    session,
)

with DAG(
    dag_id="train_aligner",
    schedule=CronDataIntervalTimetable("0 4 * * 1", timezone="UTC"),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params={
        "date": Param(None, **DATE_PARAM),
        "dry_run": Param(False, **DRY_RUN_PARAM),
        "override": Param(None, **OVERRIDE_PARAM),
    },
    tags=["iadsr", "weekly"],
    doc_md=__doc__,
):

    @task(**LAKE)
    def ingest() -> None:
        """Read every configured file; a file that is known is a no-op."""
        from pipeline.steps.ingest import ingest as step

        with session() as (config, lake):
            step(config, lake)

    @task(**GPU, execution_timeout=LONG)
    def embed() -> None:
        """Embed the item texts that were never seen."""
        from pipeline.steps.embed import embed as step

        with session() as (config, lake):
            step(config, lake)

    @task(**GPU, execution_timeout=LONG)
    def train() -> str:
        """Fit a model; returns its version."""
        from pipeline.steps.train import train as step

        with session() as (config, lake):
            return step(config, lake, date_of(get_current_context()))

    @task(outlets=[MODEL])
    def promote(version: str) -> None:
        """Compare the model with the one in use, and put it in use if it is no worse."""
        from pipeline.steps.promote import compare
        from pipeline.steps.promote import promote as step

        context = get_current_context()
        params = context["params"]
        with session() as (config, lake):
            if params["dry_run"]:
                status, measures = "dry run", [str(c) for c in compare(config, lake, version)]
            else:
                run = step(config, lake, version, params["override"])
                status, measures = run.status, run.inputs.get("measures", [])
        context["outlet_events"][MODEL].extra = {
            "model_version": version,
            "status": status,
            "measures": measures,
        }

    version = train()
    ingest() >> embed() >> version
    promote(version)
