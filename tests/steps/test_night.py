"""A night, end to end: what is published, that it can be repeated, and what it does not read."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
import pytest

from pipeline import columns as col
from pipeline.errors import ConflictError, GateError, UserError
from pipeline.models import checkpoint
from pipeline.schemas import CLEAN_INTERACTIONS, INTERACTIONS, RUNS, SCORED_INTERACTIONS
from pipeline.steps.ingest import ingest
from pipeline.steps.night import run_night
from pipeline.steps.plan import Plan, plan
from pipeline.steps.publish import publish
from pipeline.steps.score import score
from pipeline.steps.status import status
from pipeline.storage import staging
from tests.conftest import NIGHT, NIGHTS, Workspace, items, write_clicks
from tests.steps.fakes import put_items


def night(workspace: Workspace, day=NIGHT):
    return run_night(workspace.config, workspace.lake, day)


def staged(workspace: Workspace, pinned: Plan) -> pl.DataFrame:
    """Score every shard and read what was staged."""
    parts = []
    for shard in range(pinned.shards):
        score(workspace.config, workspace.lake, pinned, shard)
        path = staging.shard_path(workspace.lake, pinned.run_id, shard, pinned.shards)
        parts.append(staging.read(path))
    return pl.concat(parts).sort(col.INTERACTION_ID)


def test_every_interaction_of_the_date_is_decided_and_the_kept_are_clean(workspace):
    run = night(workspace)
    accepted = workspace.contents(INTERACTIONS).filter(pl.col(col.EVENT_DATE) == NIGHT)
    scored = workspace.contents(SCORED_INTERACTIONS)
    clean = workspace.contents(CLEAN_INTERACTIONS)

    assert set(scored[col.INTERACTION_ID]) == set(accepted[col.INTERACTION_ID])
    assert run.counts == {
        "interactions": accepted.height,
        "kept": clean.height,
        "removed": scored.height - clean.height,
    }
    kept = scored.filter(pl.col(col.DECISION) == "keep")[col.INTERACTION_ID]
    assert set(clean[col.INTERACTION_ID]) == set(kept)
    assert 0 < clean.height < scored.height


def test_clean_rows_are_the_accepted_rows_unaltered(workspace):
    night(workspace)
    clean = workspace.contents(CLEAN_INTERACTIONS)
    accepted = workspace.contents(INTERACTIONS).select(clean.columns)
    assert clean.join(accepted, on=clean.columns, how="anti", nulls_equal=True).is_empty()


def test_a_second_run_changes_nothing_and_says_so(workspace):
    night(workspace)
    versions = workspace.versions()
    catalogue = (workspace.folder / "lake" / "catalog.duckdb").read_bytes()
    assert night(workspace).status == "unchanged"
    assert workspace.versions() == versions
    assert (workspace.folder / "lake" / "catalog.duckdb").read_bytes() == catalogue


def test_the_union_of_shards_equals_the_whole(workspace, trained, copy_of):
    whole = staged(workspace, plan(workspace.config, workspace.lake, NIGHT))
    for shards in (2, 3, 7):
        other = copy_of(trained, f"shards{shards}")
        pinned = plan(other.config, other.lake, NIGHT, shards=shards)
        assert staged(other, pinned).equals(whole)


def test_shards_of_one_plan_read_the_texts_that_it_pinned(workspace, trained, copy_of):
    pinned = plan(workspace.config, workspace.lake, NIGHT)
    whole = staged(workspace, pinned)
    other = copy_of(trained, "changed")
    put_items(other.lake, {item: "something else" for item, _ in items()})
    assert staged(other, pinned).equals(whole)


def test_scoring_a_date_reads_nothing_later(workspace, trained, copy_of):
    night(workspace)
    later = copy_of(trained, "later")
    moment = int(datetime(2024, 1, 18, tzinfo=UTC).timestamp())
    users = [f"user{n}" for n in range(120)]
    write_clicks(later.data / "clicks-later.csv", [(u, "g0-0", moment) for u in users])
    ingest(later.config, later.lake)
    night(later)
    assert later.contents(SCORED_INTERACTIONS).equals(workspace.contents(SCORED_INTERACTIONS))


def test_a_late_event_makes_its_date_stale_until_it_is_cleaned_again(workspace):
    night(workspace)
    assert status(workspace.lake).stale == {}
    late = int((datetime.combine(NIGHT, datetime.min.time(), UTC)).timestamp())
    write_clicks(workspace.data / "clicks-late.csv", [("user3", "g0-0", late)])
    ingest(workspace.config, workspace.lake)

    before = workspace.contents(SCORED_INTERACTIONS).height
    assert status(workspace.lake).stale == {NIGHT: (before + 1, before)}

    night(workspace)
    assert status(workspace.lake).stale == {}
    assert workspace.contents(SCORED_INTERACTIONS).height == before + 1


def deliver_late(workspace: Workspace, day, item: str = "g0-0") -> None:
    """One more event of a date, in a file of its own."""
    at = int(datetime.combine(day, datetime.min.time(), UTC).timestamp())
    write_clicks(workspace.data / f"clicks-late-{day}.csv", [("user3", item, at)])


def test_the_next_night_cleans_what_changed_within_the_lateness_window(workspace):
    for day in NIGHTS[:2]:
        night(workspace, day)
    before = workspace.contents(SCORED_INTERACTIONS).height
    deliver_late(workspace, NIGHTS[0])
    run_night(workspace.config, workspace.lake, NIGHTS[2], late=True)
    assert status(workspace.lake).stale == {}
    third = workspace.contents(SCORED_INTERACTIONS).filter(pl.col(col.EVENT_DATE) == NIGHTS[2])
    assert workspace.contents(SCORED_INTERACTIONS).height == before + 1 + third.height


def test_what_changed_before_the_lateness_window_stays_listed(workspace):
    night(workspace, NIGHTS[0])
    deliver_late(workspace, NIGHTS[0])
    run_night(workspace.config, workspace.lake, NIGHTS[0] + timedelta(days=4), late=True)
    assert list(status(workspace.lake).stale) == [NIGHTS[0]]


def test_a_gate_refuses_an_unusual_night_and_a_recorded_reason_overrides_it(workspace):
    strict = workspace.config.gate.model_copy(update={"max_removed_share": 1e-6, "min_rows": 1})
    config = workspace.config.model_copy(update={"gate": strict})
    with pytest.raises(
        GateError, match=r"removal_share_is_usual refuses .*removed_share=0\."
    ) as no:
        run_night(config, workspace.lake, NIGHT)
    model = checkpoint.champion(workspace.lake)
    again = f'`iadsr publish --date {NIGHT} --model {model} --shards 1 --override "REASON"`'
    assert again in str(no.value)
    assert workspace.contents(SCORED_INTERACTIONS).is_empty()

    run_night(config, workspace.lake, NIGHT, override="a campaign ran")
    assert not workspace.contents(SCORED_INTERACTIONS).is_empty()
    published = workspace.contents(RUNS).filter(pl.col("step") == "publish").sort("started_at")
    assert published["status"].to_list() == ["failed", "succeeded"]
    override = json.loads(published["inputs"][-1])["override"]
    assert override["reason"] == "a campaign ran"
    assert "max_removed_share" in override["gates"]["removal_share_is_usual"][0]


def test_a_date_without_events_is_published_empty(workspace):
    empty = NIGHTS[-1] + timedelta(days=300)
    assert night(workspace, empty).counts == {"interactions": 0, "kept": 0, "removed": 0}
    assert empty in status(workspace.lake).cleaned
    assert night(workspace, empty).status == "unchanged"


def test_other_dates_stay_as_they_are(workspace):
    night(workspace, NIGHTS[0])
    first = workspace.contents(SCORED_INTERACTIONS)
    night(workspace, NIGHTS[1])
    both = workspace.contents(SCORED_INTERACTIONS)
    assert both.filter(pl.col(col.EVENT_DATE) == NIGHTS[0]).equals(first)


def test_publishing_needs_every_shard(workspace):
    pinned = plan(workspace.config, workspace.lake, NIGHT, shards=2)
    score(workspace.config, workspace.lake, pinned, 0)
    with pytest.raises(UserError, match=r"shards 1/2 .* run `iadsr score --date 2024-01-17"):
        publish(workspace.config, workspace.lake, pinned)
    assert workspace.lake.version(SCORED_INTERACTIONS) == 0


def test_without_a_model_the_error_says_what_to_run(workspace):
    (workspace.folder / "lake/models/champion.json").unlink()
    with pytest.raises(UserError, match="iadsr train --date"):
        night(workspace)


def test_of_two_publications_of_one_date_at_once_one_wins(workspace, monkeypatch):
    """The loser opened the table before the winner committed."""
    pinned = plan(workspace.config, workspace.lake, NIGHT)
    scored = staged(workspace, pinned)
    lake = workspace.lake
    stale = lake.open(SCORED_INTERACTIONS)
    lake.replace_date(SCORED_INTERACTIONS, NIGHT, scored, ("date:2024-01-17", 1))
    monkeypatch.setattr(type(lake), "open", lambda *_: stale)
    with pytest.raises(ConflictError, match=r"scored_interactions .*another run committed first"):
        lake.replace_date(SCORED_INTERACTIONS, NIGHT, scored, ("date:2024-01-17", 2))


def test_dates_published_at_once_by_processes_all_land(workspace):
    days = [NIGHT - timedelta(days=i) for i in range(-3, 5)]
    for day in days:
        score(workspace.config, workspace.lake, plan(workspace.config, workspace.lake, day))
    command = [sys.executable, "-m", "pipeline", "--config", workspace.config_path]
    publishing = [
        subprocess.Popen(
            [*command, "publish", "--date", str(day)],
            stderr=subprocess.PIPE,
        )
        for day in days
    ]
    errors = [process.communicate()[1].decode() for process in publishing]
    assert [process.returncode for process in publishing] == [0] * 8, errors

    with duckdb.connect(workspace.folder / "lake" / "catalog.duckdb", read_only=True) as reader:
        shown = reader.execute("SELECT DISTINCT event_date FROM scored_interactions").fetchall()
    assert {row[0] for row in shown} == set(days)


def test_a_run_is_recorded_with_its_inputs_and_digests(workspace):
    run = night(workspace)
    row = workspace.contents(RUNS).filter(
        pl.col(col.RUN_ID) == run.run_id, pl.col("step") == "publish"
    )
    recorded = row.row(0, named=True)
    assert recorded[col.STATUS] == "succeeded"
    assert recorded[col.CONFIG_DIGEST] == workspace.config.digest()
    assert recorded[col.MODEL_VERSION].startswith("gru4rec-2024-01-16-")
    assert '"interactions"' in recorded[col.INPUTS]
