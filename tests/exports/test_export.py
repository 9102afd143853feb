"""What an export holds, where it is put, and what it says of itself."""

import hashlib
import json
import os
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_parts import LOG, day

from pipeline import cli as command_line
from pipeline import columns as col
from pipeline.commands.export import export as command
from pipeline.errors import ConflictError, UserError
from pipeline.exports import log as reading
from pipeline.exports.formats import FORMATS
from pipeline.exports.manifest import MANIFEST, read_manifest
from pipeline.schemas import RUNS
from pipeline.steps.export import Request, export, known_exports
from pipeline.storage import files, folders, runs


def made(folder: str) -> dict[str, bytes]:
    """Every file of an export."""
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_kept_rows_are_exported_or_all_with_weights(config, decided, tmp_path):
    lake = decided([("u", "a", 1, 0.1), ("u", "b", 2, 0.9), ("v", "a", 1, None)])
    out = str(tmp_path / "out")
    export(config, lake, Request("csv"), out)
    kept = pl.read_csv(f"{out}/interactions.csv")
    assert kept.select("user_id", "item_id", "event_time", "value").rows() == [
        ("u", "a", "2024-01-01T00:00:00.000000Z", 3.5),
        ("v", "a", "2024-01-01T02:00:00.000000Z", 3.5),
    ]
    export(config, lake, Request("parquet", weights=True), out)
    weighed = pl.read_parquet(f"{out}/interactions.parquet")
    assert weighed.select("user_id", "item_id", "kept", "weight").rows() == [
        ("u", "a", True, 0.9),
        ("u", "b", False, pytest.approx(0.1)),
        ("v", "a", True, 1.0),
    ]
    assert weighed.schema[col.EVENT_TIME] == pl.Datetime("us", "UTC")
    assert not Path(out, "interactions.csv").exists()  # the folder holds one export


@pytest.mark.parametrize("library", FORMATS)
@pytest.mark.parametrize("split", [None, "leave_one_out"])
def test_the_same_request_gives_the_same_bytes(config, decided, tmp_path, library, split):
    lake = decided(LOG, {"a": "Fern"})
    first, again = str(tmp_path / "first"), str(tmp_path / "again")
    assert export(config, lake, Request(library, split), first).status == runs.SUCCEEDED
    assert export(config, lake, Request(library, split), again).status == runs.SUCCEEDED
    assert made(first) == made(again)


def test_an_export_that_is_there_is_not_written_again_unless_it_is_damaged(
    config, decided, tmp_path
):
    lake, out = decided(LOG), str(tmp_path / "out")
    export(config, lake, Request("csv"), out)
    before = made(out)
    assert export(config, lake, Request("csv"), out).status == runs.UNCHANGED
    Path(out, "users.csv").write_text("user_id\n")
    assert export(config, lake, Request("csv"), out).status == runs.SUCCEEDED
    assert made(out) == before
    assert export(config, lake, Request("csv", weights=True), out).status == runs.SUCCEEDED


@pytest.mark.parametrize("library", ["csv", "recbole", "implicit"])
def test_reading_a_few_users_at_a_time_changes_nothing(
    config, decided, tmp_path, monkeypatch, library
):
    lake = decided(LOG)
    export(config, lake, Request(library), str(tmp_path / "at-once"))
    monkeypatch.setattr(reading, "CHUNK_ROWS", 2)
    export(config, lake, Request(library), str(tmp_path / "by-user"))
    tables = [name for name in made(str(tmp_path / "at-once")) if not name.endswith(".parquet")]
    assert len(tables) > 1
    for name in tables:
        assert (tmp_path / "at-once" / name).read_bytes() == (
            tmp_path / "by-user" / name
        ).read_bytes()


def test_the_manifest_names_what_was_read_and_every_file(config, decided, tmp_path):
    lake, out = decided(LOG, undecided=6), str(tmp_path / "out")
    run = export(config, lake, Request("rectools"), out)
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest["format"] == "iadsr-export/1"
    assert manifest["run_id"] == run.run_id
    assert manifest["tables"] == {"interactions": 1, "items": 0, "scored_interactions": 1}
    assert [found["model_version"] for found in manifest["decided_by"]] == ["model-1"]
    assert manifest["counts"]["removed"] == 2
    assert sorted(manifest["files"]) == sorted(set(made(out)) - {MANIFEST})
    for name, content in made(out).items():
        if name != MANIFEST:
            assert manifest["files"][name]["sha256"] == hashlib.sha256(content).hexdigest()
    rows = pl.read_parquet(f"{out}/interactions.parquet").height
    assert manifest["files"]["interactions.parquet"]["rows"] == rows


def test_dates_that_were_not_cleaned_are_left_out_and_named(config, decided, tmp_path, caplog):
    lake, out = decided(LOG, undecided=5), str(tmp_path / "out")
    export(config, lake, Request("csv", last=day(6)), out)
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest["dates"]["uncleaned"] == ["2024-01-05", "2024-01-06"]
    shown = pl.read_csv(f"{out}/interactions.csv")["event_time"].str.slice(0, 10)
    assert shown.max() == "2024-01-04"
    (line,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "2 dates were never cleaned and are left out (2024-01-05 to 2024-01-06)" in line
    assert "iadsr backfill --from 2024-01-05 --to 2024-01-06 --run" in line
    with pytest.raises(UserError, match="no date from 2024-01-05 was cleaned"):
        export(config, lake, Request("csv", first=day(5)), out)


def test_a_date_that_changed_since_is_exported_as_it_was_cleaned(config, decided, tmp_path, caplog):
    decided([("u", "a", 1, 0.1), ("u", "b", 2, 0.1)])
    lake, out = decided([("u", "c", 2, None)], undecided=1), str(tmp_path / "out")
    export(config, lake, Request("csv"), out)
    assert pl.read_csv(f"{out}/interactions.csv")["item_id"].to_list() == ["a", "b"]
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest["dates"]["stale"] == ["2024-01-02"]
    assert "1 changed since" in caplog.text


def test_every_export_is_known_until_it_is_gone(config, decided, tmp_path):
    lake = decided(LOG)
    export(config, lake, Request("csv"))
    export(config, lake, Request("csv"), str(tmp_path / "elsewhere"))
    below = str(Path(lake.root, "exports", "csv"))
    assert known_exports(lake) == sorted([below, str(tmp_path / "elsewhere")])
    outputs = lake.scan(RUNS).filter(pl.col(col.STEP) == "export").collect()[col.OUTPUTS]
    assert {"folder": below} in [json.loads(told) for told in outputs]
    Path(below, MANIFEST).unlink()
    assert known_exports(lake) == [str(tmp_path / "elsewhere")]


def test_a_folder_of_something_else_is_left_alone(config, decided, tmp_path):
    lake = decided(LOG)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "manifest.json").write_text('{"format": "of another program"}')
    with pytest.raises(UserError, match="thesis holds something that is no export"):
        export(config, lake, Request("csv"), str(tmp_path / "thesis"))
    with pytest.raises(UserError, match="interactions holds something that is no export"):
        export(config, lake, Request("csv"), lake.path("interactions"))
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["manifest.json"]


def test_a_failed_export_leaves_the_one_before_and_nothing_else(config, decided, tmp_path):
    lake, out = decided([*LOG, ("NA", "a", 1, 0.1)]), str(tmp_path / "deep" / "out")
    export(config, lake, Request("csv"), out)
    before = made(out)
    with pytest.raises(UserError, match="RecBole cannot read the user_id 'NA'"):
        export(config, lake, Request("recbole"), out)
    assert made(out) == before
    assert [path.name for path in Path(out).parent.iterdir()] == ["out"]
    assert known_exports(lake) == [out]


def test_what_a_killed_run_left_a_day_ago_goes_with_the_next(config, decided, tmp_path):
    lake, out = decided(LOG), tmp_path / "out"
    old, young = (tmp_path / f".out.writing-{name}" for name in ("old", "young"))
    for left in (old, young):
        left.mkdir()
        (left / "interactions.csv").touch()
    os.utime(old, (0, 0))
    export(config, lake, Request("csv"), str(out))
    assert folders.leftovers(str(out)) == [young]


def test_of_two_exports_into_one_folder_at_once_one_wins(config, decided, tmp_path):
    out = tmp_path / "out"
    with (
        pytest.raises(ConflictError, match="another run put its own there"),
        folders.replacing(str(out), MANIFEST, b"") as mine,
    ):
        (mine / "mine").touch()
        real = Path.rename

        def overtaken(path: Path, target: Path) -> Path:
            out.mkdir()
            (out / "theirs").touch()
            return real(path, target)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "rename", overtaken)
            folders._swap(mine, out)
    assert [path.name for path in out.iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir() if "writing" in path.name] == []


def test_the_matrix_sums_what_a_user_did_with_an_item(config, decided, tmp_path):
    lake = decided([("u", "a", 1, 0.5), ("u", "a", 2, 0.25), ("v", "b", 1, 0.9), ("w", "a", 1, 0)])
    export(config, lake, Request("implicit", weights=True), str(tmp_path / "out"))
    with np.load(tmp_path / "out" / "interactions.npz", allow_pickle=False) as found:
        assert found["shape"].tolist() == [3, 2]
        assert found["indptr"].tolist() == [0, 1, 2, 3]
        assert found["indices"].tolist() == [0, 1, 0]
        assert found["data"].tolist() == pytest.approx([1.25, 0.1, 1.0])
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    assert items.rows() == [("a", 0, None), ("b", 1, None)]


def test_an_earlier_state_is_exported_as_it_was(cleaned, tmp_path):
    from pipeline.storage import snapshots

    first = snapshots.publications(cleaned.lake)[0]
    out = str(tmp_path / "out")
    export(cleaned.config, cleaned.lake, Request("csv", as_of=first[col.RUN_ID]), out)
    shown = pl.read_csv(f"{out}/interactions.csv")["event_time"].str.slice(0, 10).unique()
    assert shown.to_list() == [str(first[col.EVENT_DATE])]


def test_the_command_line(config, decided, tmp_path, monkeypatch, capsys):
    decided(LOG)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="0"):
        command_line.main(["export", "--format", "replay", "--out", "here", "--to", "2024-01-05"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "here")
    assert pl.read_parquet("here/interactions.parquet")["timestamp"].dt.date().max() == date(
        2024, 1, 5
    )
    with pytest.raises(SystemExit, match="2"):
        command_line.main(
            ["export", "--format", "csv", "--from", "2024-01-05", "--to", "2024-01-04"]
        )
    (option,) = [option for option in command.params if option.name == "library"]
    assert list(option.type.choices) == list(FORMATS)


def test_an_export_on_s3_is_replaced_whole_its_manifest_last(config, decided, bucket):
    lake, out = decided(LOG), f"{bucket}/exports/july"
    export(config, lake, Request("recbole"), out)
    assert "iadsr.inter" in "".join(files.list_files(f"{out}/iadsr"))
    assert export(config, lake, Request("recbole"), out).status == runs.UNCHANGED
    # An upload that was cut short left this.
    files.write_bytes(f"{out}/{MANIFEST}", b'{"format": "iadsr-export/1"}')
    export(config, lake, Request("csv"), f"{out}/")
    names = [path.rsplit("/", 1)[-1] for path in files.list_files(out)]
    assert names == ["interactions.csv", "items.csv", "manifest.json", "users.csv"]
    assert files.list_files(f"{out}/iadsr") == []
    assert known_exports(lake) == [out]
    with pytest.raises(UserError, match="holds something that is no export"):
        export(config, lake, Request("csv"), f"{bucket}/exports")
