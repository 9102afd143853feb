"""
### Train a model as of one UTC date, and promote it

ingest → embed → train. It reads events up to the end of the date and nothing later. Training
again on the same inputs is a no-op.

`params.date` if given (manual runs), else the day before the run fires (Monday 04:00 UTC).
From a shell: `iadsr train --date DATE`.
"""  # noqa: D212, D400, D415

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, get_current_context, task
from iadsr_common import DATE_PARAM, DEFAULT_ARGS, START, date_of, session

with DAG(
    dag_id="train_aligner",
    schedule=CronDataIntervalTimetable("0 4 * * 1", timezone="UTC"),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params={"date": Param(None, **DATE_PARAM)},
    tags=["iadsr"],
    doc_md=__doc__,
):

    @task
    def ingest() -> None:
        """Read every configured file; a file that is known is a no-op."""
        from pipeline.steps.ingest import ingest as step

        with session() as (config, lake):
            step(config, lake)

    @task
    def embed() -> None:
        """Embed the item texts that were never seen."""
        from pipeline.steps.embed import embed as step

        with session() as (config, lake):
            step(config, lake)

    @task
    def train() -> str:
        """Fit a model; returns its version."""
        from pipeline.steps.train import train as step

        with session() as (config, lake):
            return step(config, lake, date_of(get_current_context()))

    @task
    def promote(version: str) -> None:
        """Put the model in use if it is no worse than the one in use."""
        from pipeline.steps.promote import promote as step

        with session() as (config, lake):
            step(config, lake, version)

    version = train()
    ingest() >> embed() >> version
    promote(version)
