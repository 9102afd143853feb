import json
import sys
from pathlib import Path

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from parts.windows import inputs, merged, read_titles, read_windows, sequences

from pipeline.models.thresholds import IDENTITY


@pytest.mark.parametrize(
    ("windows", "whole"),
    [
        (["abcde", "bcdef", "cdefg"], "abcdefg"),  # one step apart
        (["abc", "abcd", "abcde"], "abcde"),  # from the user's beginning
        (["abcde", "defgh"], "abcdefgh"),
        (["bcdef", "abcde"], "abcdef"),  # equal times, the earlier one second
        (["abcde", "cdefg", "bcdef"], "abcdefg"),  # inside
        (["abcde", "vwxyz"], "abcdevwxyz"),  # what lies between is not there
        (["abcab", "abxyz"], "abcabxyz"),
    ],
)
def test_windows_are_joined_into_one_sequence(windows, whole):
    assert merged([list(window) for window in windows]) == list(whole)


@pytest.fixture
def file(tmp_path) -> Path:
    rows = [
        ("7", [3, 4, 5], [0, 1, 0], 20),
        ("8", [1, 9], [1, 0], 15),
        ("7", [2, 3, 4], [0, 0, 1], 10),
    ]
    table = pl.DataFrame(
        [(u, json.dumps(i), json.dumps(m), "['x']", t) for u, i, m, t in rows],
        schema=["user_id", "item_ids", "mask", "item_titles", "timestamp"],
        orient="row",
    )
    table.write_csv(tmp_path / "windows.csv")
    return tmp_path / "windows.csv"


def test_sequences_are_in_time_order_and_tell_nothing_of_the_mask(file):
    found = sequences(read_windows(file))
    items = found.select("user_id", "item_id").rows()
    assert items == [("7", "2"), ("7", "3"), ("7", "4"), ("7", "5"), ("8", "1"), ("8", "9")]
    assert found["event_time"].dt.microsecond().to_list() == [0, 1, 2, 3, 0, 1]
    assert set(found.columns) == set(IDENTITY)  # what a calibration tells rows apart by


def test_targets_are_not_judged_and_noise_is_where_the_mask_says(file):
    found = inputs(read_windows(file))
    assert found.select("item_id", "injected").rows() == [
        ("2", False),
        ("3", False),
        ("1", True),
        ("3", False),
        ("4", True),
    ]
    assert found["sequence"].to_list() == [0, 0, 1, 2, 2]


def test_titles_are_plain_text_and_items_without_one_are_left_out(tmp_path):
    names = {"1": "Tom &amp;  Jerry", "2": " ", "3": "Rake"}
    (tmp_path / "id2name.json").write_text(json.dumps(names), encoding="utf-8")
    assert read_titles(tmp_path).rows() == [("1", "Tom & Jerry"), ("3", "Rake")]
