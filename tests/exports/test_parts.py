"""An export's parts are the evaluation's: no cleaning moves a target."""

from datetime import date

import polars as pl
import pytest

from pipeline import columns as col
from pipeline.evaluation.splits import global_time, leave_one_out
from pipeline.exports.manifest import read_manifest
from pipeline.sequences import read_sequences
from pipeline.steps.export import Request, export


def day(number: int) -> date:
    return date(2024, 1, number)


# One user removes a row to learn from, the other both targets; the last user is too short.
LOG = [
    *[("u", item, n, 0.9 if item == "b" else 0.1) for n, item in enumerate("abcde", start=1)],
    *[("v", item, n, 0.9 if n > 4 else None) for n, item in enumerate("badcba", start=1)],
    ("w", "a", 3, 0.2),
    ("w", "e", 6, 0.2),
]


def read(folder, part: str) -> pl.DataFrame:
    return pl.read_parquet(folder / f"{part}.parquet")


def pairs(frame: pl.DataFrame) -> list[tuple[str, str]]:
    return frame.select(col.USER_ID, col.ITEM_ID).rows()


def test_leave_one_out_by_eye(config, decided, tmp_path):
    export(config, decided(LOG), Request("parquet", "leave_one_out"), str(tmp_path / "out"))
    train, valid, test = (read(tmp_path / "out", part) for part in ("train", "valid", "test"))
    assert pairs(train) == [
        *zip("uu", "ac", strict=True),
        *zip("vvvv", "badc", strict=True),
        ("w", "a"),
        ("w", "e"),
    ]
    assert pairs(valid) == [("u", "d"), ("v", "b")]
    assert pairs(test) == [("u", "e"), ("v", "a")]
    assert not (tmp_path / "out" / "between.parquet").exists()
    manifest = read_manifest(str(tmp_path / "out"))
    assert manifest is not None
    assert manifest["split_counts"]["users_too_short"] == 1


@pytest.mark.parametrize("split", ["leave_one_out", "global_time"])
def test_the_parts_are_those_of_an_evaluation(config, decided, tmp_path, split):
    lake = decided(LOG)
    out = tmp_path / "out"
    export(config, lake, Request("parquet", split, weights=True), str(out))
    frame = read_sequences(lake, config.sequence, day(31))
    found = leave_one_out(frame) if split == "leave_one_out" else global_time(frame)
    asked = {"train": found.train, "valid": found.validate, "test": found.test}
    if split == "global_time":
        asked["between"] = found.between
    for part, rows in asked.items():
        assert pairs(read(out, part)) == pairs(rows), part
    removed = read(out, "train").filter(pl.col("weight") < 0.5)
    assert not removed.is_empty() and not removed["kept"].any()
    assert read(out, "test")["kept"].all()  # targets are what users did
    assert read(out, "test")["weight"].to_list() == [1.0] * found.test.height


def test_recbole_gets_the_items_before_each_target(config, decided, tmp_path):
    out = tmp_path / "out"
    export(config, decided(LOG), Request("recbole", "leave_one_out"), str(out))

    def lists(part: str) -> list[tuple[str, str, str]]:
        frame = pl.read_csv(out / "iadsr" / f"iadsr.{part}_sequences.inter", separator="\t")
        assert frame.columns[3] == "item_id_list:token_seq"
        return [(u, i, before.replace("\x1f", "")) for u, i, _, before in frame.rows()]

    assert lists("train") == [
        ("u", "c", "a"),
        ("v", "a", "b"),
        ("v", "d", "ba"),
        ("v", "c", "bad"),
        ("w", "e", "a"),
    ]
    assert lists("valid") == [("u", "d", "ac"), ("v", "b", "badc")]
    assert lists("test") == [("u", "e", "acd"), ("v", "a", "badcb")]


def test_a_list_is_as_long_as_a_sequence_may_be(config, decided, tmp_path):
    sequence = config.sequence.model_copy(update={"max_length": 2})
    short = config.model_copy(update={"sequence": sequence})
    export(short, decided(LOG), Request("recbole", "leave_one_out"), str(tmp_path / "out"))
    frame = pl.read_csv(tmp_path / "out/iadsr/iadsr.test_sequences.inter", separator="\t")
    assert frame["item_id_list:token_seq"].to_list() == ["c\x1fd", "c\x1fb"]
