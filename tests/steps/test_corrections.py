"""A later file with another value for an accepted event corrects it; nothing is lost by it."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipeline.config import Config, SourceConfig
from pipeline.errors import ConflictError
from pipeline.schemas import INTERACTIONS, QUARANTINE
from pipeline.steps.ingest import IngestResult, ingest
from pipeline.storage.lake import Lake, correction_key

NOW = datetime(2024, 6, 1, tzinfo=UTC)
DAY = date(2023, 11, 14)
HEADER = "user_id,item_id,timestamp,rating\n"
FIRST = "u,a,1700000000,3\nu,b,1700000060,4\nv,a,1700090000,5\n"


def deliver(tmp_path: Path, name: str, rows: str) -> tuple[Lake, IngestResult]:
    """Ingest one more file."""
    file = tmp_path / f"{name}.csv"
    file.write_text(HEADER + rows)
    lake = Lake(str(tmp_path / "lake"))
    config = Config(sources={"log": SourceConfig(format="csv", path=str(file))})
    (result,) = ingest(config, lake, now=NOW)
    return lake, result


def values(lake: Lake) -> dict[tuple[str, str], float | None]:
    rows = lake.scan(INTERACTIONS).collect()
    return {(r["user_id"], r["item_id"]): r["value"] for r in rows.iter_rows(named=True)}


def test_the_later_delivery_wins_and_the_earlier_value_is_kept_aside(tmp_path):
    deliver(tmp_path, "first", FIRST)
    lake, result = deliver(
        tmp_path, "second", "u,a,1700000000,1\nu,b,1700000060,4\nu,c,1700000120,2\n"
    )

    assert (result.rows_read, result.accepted) == (3, 1)
    assert (result.duplicates, result.corrected, result.quarantined) == (1, 1, 0)
    assert values(lake) == {("u", "a"): 1, ("u", "b"): 4, ("u", "c"): 2, ("v", "a"): 5}
    (aside,) = lake.scan(QUARANTINE).collect().to_dicts()
    assert aside["reason"] == "superseded"
    assert aside["source_file"].endswith("first.csv")
    assert json.loads(aside["raw"])["value"] == 3.0
    assert aside["detail"] == "value 3.0 was corrected to 1.0"


def test_a_correction_marks_its_date_and_no_other(tmp_path):
    deliver(tmp_path, "first", FIRST)
    lake, _ = deliver(tmp_path, "second", "u,a,1700000000,1\n")
    assert lake.marker(INTERACTIONS, correction_key(DAY)) is not None
    assert lake.marker(INTERACTIONS, correction_key(date(2023, 11, 15))) is None


@pytest.mark.parametrize(
    "rows",
    [
        "u,a,1700000000,3\n",  # the same value again
        "u,a,1700000000,\n",  # no value: nothing to correct by
        "u,d,1700000000,1\nu,d,1700000000,2\n",  # repeated within one file
    ],
)
def test_what_is_no_correction_counts_as_a_duplicate(tmp_path, rows):
    deliver(tmp_path, "first", FIRST)
    lake, result = deliver(tmp_path, "second", rows)
    assert (result.duplicates, result.corrected) == (1, 0)
    assert lake.size(QUARANTINE)[0] == 0


def test_a_correction_cut_short_is_completed_by_the_rerun(tmp_path, monkeypatch):
    deliver(tmp_path, "first", FIRST)
    replace = Lake.replace_date
    seen = []

    def second_date_fails(self, table, day, *rest, **options):
        seen.append(day)
        if len(seen) == 2:
            raise KeyboardInterrupt
        replace(self, table, day, *rest, **options)

    corrected = "u,a,1700000000,1\nv,a,1700090000,2\n"
    monkeypatch.setattr(Lake, "replace_date", second_date_fails)
    with pytest.raises(KeyboardInterrupt):
        deliver(tmp_path, "second", corrected)
    monkeypatch.undo()
    lake, _ = deliver(tmp_path, "second", corrected)
    assert values(lake) == {("u", "a"): 1, ("u", "b"): 4, ("v", "a"): 2}
    assert lake.size(QUARANTINE)[0] == 2


def test_a_date_that_another_run_changes_meanwhile_is_corrected_on_top_of_it(tmp_path, monkeypatch):
    deliver(tmp_path, "first", FIRST)
    replace = Lake.replace_date
    calls = []

    def loses_once(self, *rest, **options):
        calls.append(rest)
        if len(calls) == 1:
            raise ConflictError("another run committed first.")
        replace(self, *rest, **options)

    monkeypatch.setattr(Lake, "replace_date", loses_once)
    lake, result = deliver(tmp_path, "second", "u,a,1700000000,1\n")
    assert result.corrected == 1
    assert values(lake)["u", "a"] == 1
