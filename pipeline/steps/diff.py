"""Which decisions changed between two published states, and why. Reads only."""

from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from pipeline import columns as col
from pipeline.schemas import SCORED_INTERACTIONS
from pipeline.storage import catalog, snapshots
from pipeline.storage.lake import Lake
from pipeline.storage.sql import ask
from pipeline.storage.views import Snapshot


@dataclass(frozen=True)
class Diff:
    """Two states, and the decisions that differ: rows of `sql/queries/what_changed.sql`."""

    before: snapshots.Publication
    after: snapshots.Publication
    day: date | None
    changes: pl.DataFrame

    def causes(self) -> pl.DataFrame:
        """How many decisions changed how and why: decision_before, decision, why, count."""
        kinds = ["decision_before", col.DECISION, "why"]
        counted = self.changes.group_by(kinds).agg(pl.len().alias("count"))
        return counted.sort("count", *kinds, descending=[True, False, False, False])


def diff(lake: Lake, before: str, after: str, day: date | None = None) -> Diff:
    """Compare what two runs (or times) published: of `day`; else of the date that both are of.

    Runs of two dates: of all dates that both states have. Only dates whose files differ are read.

    Raises
    ------
    UserError
        There is no such state, or it has been vacuumed.
    """
    first, second = snapshots.find(lake, before), snapshots.find(lake, after)
    if day is None and first[col.EVENT_DATE] == second[col.EVENT_DATE]:
        day = first[col.EVENT_DATE]
    old, new = (snapshots.state_of(lake, found) for found in (first, second))
    with catalog.connect(lake, _without(new, old), _without(old, new)) as connection:
        changes = ask(connection, "what_changed", event_date=day).pl()
    return Diff(first, second, day, changes)


def _without(state: Snapshot, other: Snapshot) -> Snapshot:
    """The state less the decisions whose files the other has, too."""
    shared = set(other.files[SCORED_INTERACTIONS.name])
    own = [path for path in state.files[SCORED_INTERACTIONS.name] if path not in shared]
    return replace(state, files={**state.files, SCORED_INTERACTIONS.name: own})
