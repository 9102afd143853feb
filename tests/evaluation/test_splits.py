from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.evaluation.noise import Noise, noisy_log
from pipeline.evaluation.splits import Split, global_time, leave_one_out
from pipeline.evaluation.usefulness import ARMS, everything, task_of
from pipeline.models.noise import INJECTORS
from pipeline.sequences import COLUMNS
from tests.models import synthetic

VECTORS = synthetic.vectors()
START = datetime(2024, 1, 1, tzinfo=UTC)
# (user, item, hour): any log, repeats and equal times among it.
EVENTS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 12)), min_size=6, max_size=60
)


def log_of(events: list[tuple[int, int, int]]) -> pl.DataFrame:
    times = [START + timedelta(hours=hour) for _, _, hour in events]
    frame = pl.DataFrame(
        {
            "interaction_id": range(len(events)),
            "user_id": [f"u{user}" for user, _, _ in events],
            "item_id": [f"i{item}" for _, item, _ in events],
            "event_time": times,
            "event_date": [time.date() for time in times],
        }
    )
    return frame.select(COLUMNS).sort("user_id", "event_time", "interaction_id")


def split_or_none(frame: pl.DataFrame, way: str) -> Split | None:
    try:
        if way == "leave_one_out":
            return leave_one_out(frame)
        return global_time(frame, validate_share=0.3, test_share=0.3)
    except UserError:
        return None


def pairs(frame: pl.DataFrame) -> list[tuple[str, str]]:
    return list(frame.select("user_id", "item_id").iter_rows())


def test_the_last_two_items_of_each_sequence_are_left_out():
    frame = log_of([(0, 1, 0), (0, 2, 1), (0, 3, 2), (0, 4, 3), (1, 5, 0), (1, 6, 1)])
    split = leave_one_out(frame)
    assert pairs(split.test) == [("u0", "i4")]
    assert pairs(split.validate) == pairs(split.between) == [("u0", "i3")]
    assert pairs(split.train) == [("u0", "i1"), ("u0", "i2"), ("u1", "i5"), ("u1", "i6")]
    assert split.counts["users_too_short"] == 1


def test_the_parts_of_leave_one_out_are_the_log():
    frame = log_of([(user, item, item) for user in range(4) for item in range(user + 2)])
    split = leave_one_out(frame)
    rows = pairs(split.train) + pairs(split.between) + pairs(split.test)
    assert sorted(rows) == sorted(pairs(frame))


def test_by_time_the_first_interaction_after_a_cut_is_the_target():
    events = [(0, 1, 0), (0, 2, 6), (0, 1, 8), (0, 2, 9)]
    events += [(1, 2, 1), (1, 1, 2), (1, 1, 7), (2, 1, 3), (2, 9, 8), (3, 1, 9)]
    split = global_time(log_of(events), validate_share=0.3, test_share=0.3)
    assert pairs(split.train) == [("u0", "i1"), ("u1", "i2"), ("u1", "i1"), ("u2", "i1")]
    assert pairs(split.between) == [("u0", "i2"), ("u1", "i1")]
    assert pairs(split.validate) == [("u0", "i2"), ("u1", "i1")]
    assert pairs(split.test) == [("u0", "i1")]  # user 2's item is new, user 3 has no history
    assert split.counts["test_targets_unknown"] == 1
    assert split.counts["test_users_without_history"] == 1


def test_events_of_one_instant_are_never_parted():
    frame = log_of([(0, 1, 0), (1, 2, 0), (0, 2, 5), (1, 2, 5), (2, 2, 5), (0, 1, 9), (1, 1, 9)])
    split = global_time(frame, validate_share=0.4, test_share=0.2)
    assert split.train["event_time"].max() < split.between["event_time"].min()
    assert split.between["event_time"].n_unique() == 1


def test_a_log_too_short_to_split_is_refused_in_one_line():
    with pytest.raises(UserError, match="no user has 3 interactions"):
        leave_one_out(log_of([(0, 1, 0), (0, 2, 1), (1, 1, 0)]))
    with pytest.raises(UserError, match="too few users return"):
        global_time(log_of([(user, 1, 0) for user in range(5)]))


@settings(deadline=None, max_examples=60)
@given(
    events=EVENTS,
    way=st.sampled_from(["leave_one_out", "global_time"]),
    arm=st.sampled_from(["everything", *(set(ARMS) - {"iadsr"})]),
    kind=st.sampled_from([*INJECTORS]),
    rate=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_neither_noise_nor_an_arm_touches_a_label(events, way, arm, kind, rate, seed):
    frame = log_of(events)
    split = split_or_none(frame, way)
    if split is None:
        return
    noise = Noise(kind, rate) if rate else Noise("none", 0.0)
    log = noisy_log(split, noise, seed, VECTORS)
    genuine = log.filter(~pl.col("injected"))
    assert genuine.select(COLUMNS).equals(split.train)
    labels = {*pairs(split.validate), *pairs(split.test), *pairs(split.between)}
    assert not labels & set(pairs(log.filter("injected")))

    removed = pl.when(pl.col("row") % 3 == seed % 3).then(pl.lit("remove"))
    judged = log.with_columns(
        removed.otherwise(pl.lit("keep")).alias("decision"),
        pl.lit(0.4).alias("noise_probability"),
    )
    use = everything if arm == "everything" else ARMS[arm]
    task = task_of(split, judged, use(judged, seed))
    assert task.targets.equals(split.test)
    assert task.validate.equals(split.validate)
    later = split.between.join(split.test, on="user_id", how="semi")
    whole = task.history.group_by("user_id", maintain_order=True)
    for (user,), rows in whole:
        mine = later.filter(pl.col("user_id") == user)["item_id"]
        last = rows.tail(len(mine))
        assert last["item_id"].to_list() == mine.to_list()
        assert last["context"].all()


@settings(deadline=None, max_examples=40)
@given(events=EVENTS)
def test_by_time_every_target_lies_after_all_that_is_trained_on(events):
    split = split_or_none(log_of(events), "global_time")
    if split is None:
        return
    assert split.train["event_time"].max() < split.between["event_time"].min()
    assert set(split.test["item_id"]) <= set(split.train["item_id"])
    assert split.test["user_id"].is_unique().all()
    known = {*split.train["user_id"], *split.between["user_id"]}
    assert set(split.test["user_id"]) <= known
    assert set(split.validate["user_id"]) <= set(split.train["user_id"])
