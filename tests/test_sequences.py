from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from pipeline.config import SequenceConfig
from pipeline.digests import digest
from pipeline.schemas import INTERACTIONS
from pipeline.sequences import COLUMNS, read_sequences
from pipeline.storage.lake import Lake, conform

FIRST = date(2024, 1, 1)
SETTINGS = SequenceConfig(max_length=3)


def events(rows: list[tuple[str, str, int]]) -> pl.DataFrame:
    """(user, item, day) -> interactions at the day's first instant."""
    days = [FIRST + timedelta(days=day) for _, _, day in rows]
    frame = pl.DataFrame(
        {
            "interaction_id": [int(digest([u, i, d]), 16) for u, i, d in rows],
            "user_id": [user for user, _, _ in rows],
            "item_id": [item for _, item, _ in rows],
            "event_time": [datetime(d.year, d.month, d.day, tzinfo=UTC) for d in days],
            "event_date": days,
        }
    )
    return conform(frame, INTERACTIONS)


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake(str(tmp_path))
    rows = [(f"u{u}", f"i{u}-{day}", day) for u in range(6) for day in range(6) if (u + day) % 6]
    lake.append(INTERACTIONS, events(rows))
    return lake


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def test_users_come_one_after_the_other_in_time_order(lake):
    found = read_sequences(lake, SETTINGS, day(5))
    assert found.columns == list(COLUMNS)
    assert found.height == 30
    assert found.equals(found.sort("user_id", "event_time"))


def test_later_events_change_nothing(lake):
    before = read_sequences(lake, SETTINGS, day(3), active_on=day(3))
    lake.append(INTERACTIONS, events([(f"u{u}", "late", 4) for u in range(6)]))
    assert read_sequences(lake, SETTINGS, day(3), active_on=day(3)).equals(before)
    assert before["event_date"].max() == day(3)


def test_a_pinned_version_does_not_see_what_came_after(lake):
    version = lake.version(INTERACTIONS)
    lake.append(INTERACTIONS, events([("u0", "more", 1)]))
    assert read_sequences(lake, SETTINGS, day(5), version=version).height == 30
    assert read_sequences(lake, SETTINGS, day(5)).height == 31


def test_history_is_bounded_by_days(lake):
    recent = SETTINGS.model_copy(update={"history_days": 2})
    assert set(read_sequences(lake, recent, day(5))["event_date"]) == {day(4), day(5)}


def test_a_night_reads_active_users_their_whole_day_and_a_bounded_past(lake):
    lake.append(INTERACTIONS, events([("u0", f"burst{k}", 5) for k in range(9)]))
    found = read_sequences(lake, SETTINGS, day(5), active_on=day(5))
    assert set(found["user_id"]) == {"u0", "u2", "u3", "u4", "u5"}  # u1 did nothing that day
    burst = found.filter(pl.col("user_id") == "u0")
    assert (burst["event_date"] == day(5)).sum() == 10
    assert burst.height == 13
    assert burst["event_date"].to_list()[:3] == [day(2), day(3), day(4)]
    few = found.filter(pl.col("user_id") == "u5")["event_date"].to_list()
    assert few == [day(2), day(3), day(4), day(5)]


@pytest.mark.parametrize("active_on", [None, day(5)])
def test_shards_partition_the_users(lake, active_on):
    whole = read_sequences(lake, SETTINGS, day(5), active_on=active_on)
    parts = [
        read_sequences(lake, SETTINGS, day(5), shard=(i, 3), active_on=active_on) for i in range(3)
    ]
    assert pl.concat(parts).sort("user_id", "event_time").equals(whole)
    users = [set(part["user_id"]) for part in parts]
    assert sum(map(len, users)) == len(set.union(*users))


def test_ties_are_shuffled_by_seed_or_ordered_by_item(tmp_path):
    lake = Lake(str(tmp_path))
    lake.append(INTERACTIONS, events([("u", f"i{k:02d}", 0) for k in range(20)]))

    def order(**settings) -> list[str]:
        return read_sequences(lake, SequenceConfig(**settings), day(0))["item_id"].to_list()

    assert order(ties="item") == [f"i{k:02d}" for k in range(20)]
    assert order() == order(ties="shuffle", seed=0)
    assert order() != order(ties="item")
    assert order(seed=1) != order(seed=2)
    assert sorted(order(seed=1)) == order(ties="item")
