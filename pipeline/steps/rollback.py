"""Put a date back to what an earlier run made of it: its decisions are staged and published again.

Audited and committed as any publication. Which model is in use stays as it is.
"""

import json
from datetime import date

import polars as pl

from pipeline import columns as col
from pipeline.config import Config
from pipeline.errors import ContractError, UserError
from pipeline.schemas import INTERACTIONS, ITEM_EMBEDDINGS, ITEMS, SCORED_INTERACTIONS
from pipeline.steps.plan import Plan, is_published
from pipeline.steps.publish import publish
from pipeline.storage import catalog, files, runs, snapshots, staging
from pipeline.storage.lake import Lake, conform


def rollback(
    config: Config, lake: Lake, day: date, to: str, override: str | None = None
) -> runs.Run:
    """Publish again what the run `to` published for `day`; `override`: see `publish`.

    A date that got late events since is stale afterwards, and cleaned again as any.

    Raises
    ------
    UserError
        That run did not publish this date, or its state has been vacuumed.
    ContractError
        A check found rows that violate it, or a gate refused (GateError). Nothing was published.
    ConflictError
        Another run published this date at the same moment.
    """
    target = snapshots.find(lake, to)
    if target[col.RUN_ID] != to or target[col.EVENT_DATE] != day:
        raise UserError(
            f"{to} did not publish {day}: `iadsr snapshot list --date {day}` lists what did"
        )
    plan = _plan(target, day)
    name = runs.run_id("rollback", {"to": to}, day)
    run = runs.Run(name, "rollback", day, model_version=plan.model_version)
    with runs.record(lake, config, run):
        run.inputs = {"run_id": to}
        folder = lake.path(staging.FOLDER, to)
        began = files.exists(folder)  # by a rollback that was cut short, between commits perhaps
        if not is_published(lake, plan):
            snapshots.state_of(lake, target)  # in one line, if it cannot be read
            staging.write(staging.shard_path(lake, to, 0, 1), _scored(lake, target, day))
        again = f"iadsr rollback --date {day} --to {to}"
        try:
            done = publish(config, lake, plan, override, again=again)
        except ContractError:
            if not began:
                files.delete_folder(folder)  # it would be told as pending
            raise
        run.status, run.counts = done.status, done.counts
        run.outputs = done.outputs
    if run.status != runs.UNCHANGED:
        catalog.build(lake, config.lake.catalog)  # once more: with the row of this run
    return run


def _plan(target: snapshots.Publication, day: date) -> Plan:
    """The plan that the run worked from, as far as a publication needs it; in one shard."""
    versions, read = snapshots.versions_of(target), json.loads(target[col.INPUTS])
    return Plan(
        run_id=target[col.RUN_ID],
        day=day,
        shards=1,
        interactions_version=read[INTERACTIONS.name],
        items_version=read[ITEMS.name],
        embeddings_version=versions[ITEM_EMBEDDINGS.name],
        model_version=target[col.MODEL_VERSION],
        encoder_id=target[col.ENCODER_ID],
        config_digest="",  # every scored row carries its own
    )


def _scored(lake: Lake, target: snapshots.Publication, day: date) -> pl.DataFrame:
    snapshot = lake.scan(SCORED_INTERACTIONS, target["scored_version"])
    return conform(snapshot.filter(pl.col(col.EVENT_DATE) == day).collect(), SCORED_INTERACTIONS)
