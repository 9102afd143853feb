"""An earlier state is whole, also where another date was just being published."""

import json
from datetime import UTC, date, datetime

import pytest
from test_catalog import DAY, publish_rows, rows

from pipeline.errors import UserError
from pipeline.schemas import CLEAN_INTERACTIONS, SCORED_INTERACTIONS
from pipeline.storage import catalog, snapshots
from pipeline.storage.lake import Lake

OTHER = date(2024, 1, 18)


def publication(outputs: dict[str, int]) -> snapshots.Publication:
    moment = datetime.now(UTC).replace(tzinfo=None)
    return {"run_id": "night-1", "published_at": moment, "outputs": json.dumps(outputs)}


def test_a_date_that_was_between_its_commits_is_not_in_the_state(tmp_path):
    lake = Lake(str(tmp_path))
    publish_rows(lake, run=1, count=10, kept=9)
    scored, clean = (frame.with_columns(event_date=OTHER) for frame in rows(5, 4))
    marker = (catalog.date_marker(OTHER), 2)
    lake.replace_date(SCORED_INTERACTIONS, OTHER, scored, marker)
    then = publication(catalog.current_versions(lake))
    lake.replace_date(CLEAN_INTERACTIONS, OTHER, clean, marker)
    state = snapshots.state_of(lake, then)
    for table in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS):
        assert [str(DAY) in path for path in state.files[table.name]] == [True], table.name


def test_a_run_that_recorded_no_snapshots_is_told_in_one_line(tmp_path):
    lake = Lake(str(tmp_path))
    with pytest.raises(UserError, match="night-1 did not record its snapshot of interactions"):
        snapshots.state_of(lake, publication({"scored_interactions": 1}))
