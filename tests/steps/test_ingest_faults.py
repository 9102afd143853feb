"""Ingest under kills, races, other stores and little memory: the tables end the same."""

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import columns as col
from pipeline.schemas import INTERACTIONS, QUARANTINE, RUNS
from pipeline.steps import ingest as step
from pipeline.steps.ingest import ingest
from pipeline.storage.lake import Lake
from tests.steps.test_ingest import GOOD_TIME, HEADER, NOW, TABLES, config_of, ingest_file, rows_of

DRIVER = """
import os, sys, time
from datetime import UTC, datetime
from pipeline.config import Config, SourceConfig
from pipeline.storage.appender import PartitionedAppend
from pipeline.storage.lake import Lake
from pipeline.steps.ingest import ingest

def hang(*_, **__):
    print("here", flush=True)
    time.sleep(600)

setattr(PartitionedAppend, sys.argv[3], hang)
config = Config(sources={"log": SourceConfig(format="csv", path=sys.argv[1])})
ingest(config, Lake(sys.argv[2]), now=datetime(2024, 6, 1, tzinfo=UTC))
"""


@pytest.mark.parametrize("moment", ["finish", "commit"])
def test_a_killed_ingest_is_completed_by_the_next(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(HEADER + b"".join(b"u,i%d,1700000000,1\nbad %d\n" % (n, n) for n in range(50)))
    killed, whole = Lake(str(tmp_path / "killed")), Lake(str(tmp_path / "whole"))
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path), killed.root, moment], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert rows_of(killed, INTERACTIONS).is_empty()
    assert len(rows_of(killed, QUARANTINE)) == (50 if moment == "commit" else 0)
    for lake in (killed, whole):
        ingest(config_of(path), lake, now=NOW)
    for table in (INTERACTIONS, QUARANTINE):
        assert rows_of(killed, table).equals(rows_of(whole, table))
    assert len(rows_of(killed, INTERACTIONS)) == 50


@pytest.mark.parametrize("name", ["open_log", "find_files"])
def test_an_ingest_that_is_overtaken_says_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Another run ingests the same file after this one has found it, or begun to read it."""
    path = tmp_path / "log.csv"
    path.write_bytes(HEADER + b"u,i,1700000000,1\nbad\n")
    lake, original = Lake(str(tmp_path / "lake")), getattr(step, name)

    def overtaken(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(step, name, original)
        ingest(config_of(path), lake, now=NOW)
        return original(*args, **kwargs)

    monkeypatch.setattr(step, name, overtaken)
    (result,) = ingest(config_of(path), lake, now=NOW)
    assert result.status == "unchanged"
    assert len(rows_of(lake, INTERACTIONS)) == len(rows_of(lake, QUARANTINE)) == 1


def test_two_ingests_of_one_file_at_once_land_it_once(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(HEADER + b"".join(b"u,i%d,1700000000,1\n" % n for n in range(1000)) + b"bad\n")
    code = DRIVER.replace("setattr(PartitionedAppend, sys.argv[3], hang)", "")
    lake = Lake(str(tmp_path / "lake"))
    for table in (*TABLES, RUNS):
        lake.open(table)
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), lake.root]) for _ in range(3)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(rows_of(lake, INTERACTIONS)) == 1000
    assert len(rows_of(lake, QUARANTINE)) == 1
    assert Counter(rows_of(lake, RUNS)[col.STATUS]) == {"succeeded": 1, "unchanged": 2}


def test_parquet_on_s3_into_a_lake_on_s3(bucket: str, tmp_path: Path) -> None:
    import boto3

    for day in (3, 4):
        path = tmp_path / f"{day}.parquet"
        at = [datetime(2024, 1, day, tzinfo=UTC)] * 2
        pl.DataFrame(
            {"user_id": ["u", None], "item_id": ["i", "j"], "event_time": at}
        ).write_parquet(path)
        host, _, folder = bucket.removeprefix("s3://").partition("/")
        key = f"{folder}/clicks/event_date=2024-01-0{day}/part.parquet"
        boto3.client("s3").upload_file(str(path), host, key)
    lake = Lake(f"{bucket}/lake")
    dated = config_of(f"{bucket}/clicks/event_date={{date}}", format="parquet")
    (one,) = ingest(dated, lake, day=date(2024, 1, 3), now=NOW)
    assert (one.accepted, one.quarantined) == (1, 1)
    whole = config_of(f"{bucket}/clicks", format="parquet")
    statuses = [result.status for result in ingest(whole, lake, now=NOW)]
    assert statuses == ["unchanged", "succeeded"]
    assert rows_of(lake, INTERACTIONS)[col.EVENT_DATE].sort().to_list() == [
        date(2024, 1, 3),
        date(2024, 1, 4),
    ]
    raw = rows_of(lake, QUARANTINE)[col.RAW][0]
    assert raw.startswith(b'{"user_id": null, "item_id": "j"')


def test_many_rejected_rows_wait_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.quarantine.MEMORY_BYTES", 100)
    lake, result = ingest_file(tmp_path, HEADER + b"".join(b"bad %d\n" % n for n in range(99)))
    assert result.quarantined == 99
    assert rows_of(lake, QUARANTINE)[col.LINE].sort().to_list() == list(range(2, 101))


def test_a_small_buffer_writes_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.storage.appender.BUFFER_ROWS", 3)
    lines = b"".join(b"u,i,%d,1\n" % (GOOD_TIME + 50_000 * n) for n in range(40))
    lake, _ = ingest_file(tmp_path, HEADER + lines)
    assert len(rows_of(lake, INTERACTIONS)) == 40
    assert sum(lake.partition_rows(INTERACTIONS).values()) == 40
