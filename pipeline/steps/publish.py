"""Audit the staged decisions of one date and publish them: all of it, or nothing.

Order of commits: `scored_interactions`, `clean_interactions`, the catalogue. The catalogue never
shows a date that is between the first two (see `storage/catalog.py`); a re-run completes it.
"""

import polars as pl

from pipeline import columns as col
from pipeline.config import Config
from pipeline.errors import ConflictError, UserError
from pipeline.reasons import KEEP
from pipeline.schemas import CLEAN_INTERACTIONS, INTERACTIONS, SCORED_INTERACTIONS
from pipeline.steps.audit import audit
from pipeline.steps.plan import Plan, is_published
from pipeline.storage import catalog, files, runs, staging
from pipeline.storage.lake import Lake, conform, correction_key, marker_number
from pipeline.storage.privacy import refuse_erased

# Stands for no run in a marker: what was read came before any correction.
NOT_CORRECTED = 0


def publish(
    config: Config,
    lake: Lake,
    plan: Plan,
    override: str | None = None,
    *,
    dry_run: bool = False,
    again: str | None = None,
) -> runs.Run:
    """Audit the staged shards (see `audit`), then commit them and swap the catalogue.

    `override` is the reason why gates may be passed; it is recorded with what they measured.
    `again` is the command that can give one, where it is not `iadsr publish`. With `dry_run` it
    ends before the first commit, and stands in `runs` as step `audit`.

    Raises
    ------
    UserError
        A shard has not been scored.
    ContractError
        A check found rows that violate it, or a gate refused (GateError). Nothing was published.
    ConflictError
        Another run published this date at the same moment.
    """
    run = runs.Run(
        plan.run_id,
        "audit" if dry_run else "publish",
        plan.day,
        model_version=plan.model_version,
        encoder_id=plan.encoder_id,
    )
    with runs.record(lake, config, run):
        run.inputs = {"interactions": plan.interactions_version, "items": plan.items_version}
        if is_published(lake, plan):
            run.status = runs.UNCHANGED
        else:
            interactions = _interactions(lake, plan)
            scored = _staged(lake, plan)
            clean = _kept(interactions, scored)
            passed = audit(
                config,
                lake,
                plan.day,
                interactions=interactions,
                scored=scored,
                clean=clean,
                override=override,
                again=again or f"iadsr publish {plan.options} --shards {plan.shards}",
            )
            if passed:
                run.inputs["override"] = {"reason": override, "gates": passed}
            if not dry_run:
                _commit(lake, plan, scored, clean)
            run.counts = {
                "interactions": interactions.height,
                "kept": clean.height,
                "removed": scored.height - clean.height,
            }
        # The whole state that readers see from now on: it can be read again by this run's name.
        run.outputs = dict(catalog.current_versions(lake))
    # After the run's own row is written, so that the catalogue shows it.
    if not dry_run and (run.status != runs.UNCHANGED or plan.day in staging.days(lake)):
        catalog.build(lake, config.lake.catalog)
        staging.clear(lake, plan.run_id)
    return run


def _interactions(lake: Lake, plan: Plan) -> pl.DataFrame:
    snapshot = lake.scan(INTERACTIONS, plan.interactions_version)
    found = snapshot.filter(pl.col(col.EVENT_DATE) == plan.day).collect()
    extra = [name for name in found.columns if name not in INTERACTIONS.columns]
    return conform(found, INTERACTIONS, extra)


def _staged(lake: Lake, plan: Plan) -> pl.DataFrame:
    count = plan.shards
    paths = [staging.shard_path(lake, plan.run_id, i, count) for i in range(count)]
    missing = [f"{i}/{count}" for i, path in enumerate(paths) if not files.exists(path)]
    if missing:
        raise UserError(
            f"{plan.day}: shards {', '.join(missing)} of {plan.run_id} are not scored yet: "
            f"run `iadsr score {plan.options} --shard {missing[0]}`"
        )
    return pl.concat([staging.read(path) for path in paths]).sort(
        col.USER_ID, col.EVENT_TIME, col.INTERACTION_ID
    )


def _kept(interactions: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    kept = scored.filter(pl.col(col.DECISION) == KEEP).select(col.INTERACTION_ID)
    clean = kept.join(interactions, on=col.INTERACTION_ID, how="left", maintain_order="left")
    return clean.select(interactions.columns)


def _commit(lake: Lake, plan: Plan, scored: pl.DataFrame, clean: pl.DataFrame) -> None:
    """Both tables, or a ConflictError if another run publishes the same date meanwhile.

    Both versions are pinned before the first commit: whoever commits in between is noticed.
    """
    key, number = catalog.date_marker(plan.day), marker_number(plan.run_id)
    corrected = correction_key(plan.day)
    seen = lake.marker(INTERACTIONS, corrected, plan.interactions_version)
    if seen is None and lake.marker(SCORED_INTERACTIONS, corrected) is not None:
        seen = NOT_CORRECTED  # a rollback to before the first correction
    seen_markers = [] if seen is None else [(corrected, seen)]
    frames = {SCORED_INTERACTIONS: scored, CLEAN_INTERACTIONS: clean}
    since = {table: lake.version(table) for table in frames}
    refuse_erased(lake, scored[col.USER_ID])
    for table, frame in frames.items():
        if lake.marker(table, key, since[table]) != number:
            markers = [(key, number), *seen_markers]
            lake.replace_date(table, plan.day, frame, *markers, since=since[table])
    if not is_published(lake, plan):
        raise ConflictError(
            f"{plan.day}: another run published this date at the same time; run it again"
        )
