"""Plain files are written whole or not at all, and a failing store is named in one line."""

import os
import re
from pathlib import Path

import pytest

from pipeline.errors import StoreError, UserError
from pipeline.schemas import ITEMS
from pipeline.storage import files
from pipeline.storage.lake import Lake
from tests.steps.fakes import put_items


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = str(tmp_path / "card.json")
    files.write_bytes(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"card\.json: .*No space left on device .*free space"):
        files.write_bytes(path, b"new")
    assert files.read_bytes(path) == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["card.json"]


def test_a_lake_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "lake").write_text("a file, not a folder")
    with pytest.raises(UserError, match=r"lake/items: .*check lake\.path") as error:
        Lake(str(tmp_path / "lake")).open(ITEMS)
    assert "\n" not in str(error.value)


def test_all_causes_that_the_store_gives_are_told_in_one_line():
    said = (
        "Generic S3 error\n \x1b[31m↳\x1b[0m Error performing GET http://x\n ↳ Connection refused"
    )
    with pytest.raises(StoreError) as error, files.in_one_line("s3://lake/runs"):
        raise OSError(said)
    assert str(error.value).startswith(
        "s3://lake/runs: Generic S3 error: Error performing GET http://x: Connection refused ("
    )


def test_the_age_of_a_folder_is_that_of_its_newest_file(tmp_path):
    for name, at in (("old", 1_000_000_000), ("new", 1_600_000_000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    assert 0 < files.age(str(tmp_path)).days < 365 * 20
    assert files.age(str(tmp_path / "none")).days > 365 * 100


def test_a_checkpoint_that_is_gone_is_told_with_what_mends_it(tmp_path):
    lake = Lake(str(tmp_path / "lake"))
    put_items(lake, {"a": "x"})
    put_items(lake, {"b": "y"})
    lake.open(ITEMS).create_checkpoint()
    log = tmp_path / "lake/items/_delta_log"
    for checkpoint in log.glob("*.checkpoint.parquet"):
        checkpoint.unlink()
    with pytest.raises(StoreError, match=r"delete .*/_last_checkpoint ") as error:
        lake.scan(ITEMS)
    assert "\n" not in str(error.value)
    Path(re.search("delete (.*?_last_checkpoint)", str(error.value)).group(1)).unlink()
    assert lake.scan(ITEMS).collect()["item_id"].to_list() == ["b"]
