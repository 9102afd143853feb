"""
### Train a recommender when a night is published

An example of a DAG that listens to the asset of the clean table: copy it out of `examples/`, which
Airflow passes over (`.airflowignore`). It trains the configured backbone (`[recommender]`) on
`clean_interactions`, each user's last two items held out, and returns its HR@10 and NDCG@10.
"""  # noqa: D212, D400, D415

from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from iadsr_common import CLEAN, DEFAULT_ARGS, GPU, LONG, START, session

with DAG(
    dag_id="train_recommender",
    schedule=[CLEAN],
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=["iadsr", "example"],
    doc_md=__doc__,
):

    @task
    def published() -> list[str]:
        """The dates that changed; skips the rest where a night found nothing to do."""
        events = get_current_context()["triggering_asset_events"].get(CLEAN, [])
        days = [e.extra["date"] for e in events if e.extra.get("status") == "succeeded"]
        if events and not days:
            raise AirflowSkipException("nothing new was published")
        return days

    @task(**GPU, execution_timeout=LONG)
    def train(days: list[str]) -> dict[str, float]:
        """Learn from the clean table as it stands."""
        from pipeline.evaluation.recommender import RANK, accuracy, fit_recommender, ranks
        from pipeline.evaluation.splits import leave_one_out
        from pipeline.evaluation.usefulness import everything, task_of
        from pipeline.schemas import CLEAN_INTERACTIONS
        from pipeline.sequences import COLUMNS, sequence_order

        with session() as (config, lake):
            clean = lake.scan(CLEAN_INTERACTIONS).select(COLUMNS).collect()
            split = leave_one_out(clean.sort(*sequence_order(config.sequence)))
            job = task_of(split, split.train, everything(split.train, 0))
            settings = config.recommender
            fitted = fit_recommender(job.train, job.validate, job.vocabulary, settings, seed=0)
            return accuracy(ranks(fitted, job.history, job.targets)[RANK])

    train(published())
