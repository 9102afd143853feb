"""
### Keep the lake small and quick to read

Merges small files, rebuilds the catalogue, deletes files that no snapshot of the last
`maintain.grace_hours` holds, drops old staging, and reports the stale dates. Changes no row, and
may run beside nights and backfills: where both commit to one date at once, one of them does so at
its next try.

Sundays, 05:00 UTC. From a shell: `iadsr maintain`.
"""  # noqa: D212, D400, D415

from airflow.sdk import DAG, CronTriggerTimetable, task
from iadsr_common import DEFAULT_ARGS, LAKE, LONG, START, session

with DAG(
    dag_id="maintain_lake",
    schedule=CronTriggerTimetable("0 5 * * 0", timezone="UTC"),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=["iadsr", "weekly"],
    doc_md=__doc__,
):

    @task(**LAKE, execution_timeout=LONG)
    def maintain() -> dict[str, list[int]]:
        """Returns the stale dates: date -> interactions now, interactions when it was cleaned."""
        from pipeline.steps.maintain import maintain as step

        with session() as (config, lake):
            stale = step(config, lake).stale
        return {str(day): list(counts) for day, counts in stale.items()}

    maintain()
