"""The id of an interaction: pinned, since it must never change between versions."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hashing import interaction_hash

PINNED = [
    -3774083812334359279,
    -1317647125033283498,
]  # agrees with Python's integers and xxhash.xxh64


def ids(rows: list[tuple[str, str, int, str | None]]) -> list[int]:
    schema = {"user": pl.String, "item": pl.String, "micros": pl.Int64, "type": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.select(interaction_hash(*map(pl.col, schema)).alias("id"))["id"].to_list()


def test_ids_are_the_same_in_every_version() -> None:
    assert ids([("u", "i", 1_700_000_000_000_000, None), ("u", "i", -1, "click")]) == PINNED


def test_user_and_item_do_not_trade_places() -> None:
    assert len(set(ids([("a", "b", 1, None), ("b", "a", 1, None), ("a", "b", 1, "c")]))) == 3


@given(st.sets(st.integers(-(2**50), 2**50), max_size=50))
def test_times_of_one_user_and_item_never_share_an_id(times: set[int]) -> None:
    assert len(set(ids([("u", "i", time, "click") for time in times]))) == len(times)
