"""Erasing, and the doctor, on S3: a real S3 API server on loopback, in a process of its own."""

import boto3
import polars as pl

from pipeline.schemas import RUNS, TABLES
from pipeline.steps import checkups
from pipeline.steps.erase import erase, survey
from pipeline.steps.verdicts import OK
from pipeline.storage.lake import Lake
from tests.conftest import contents
from tests.small_lake import fill, log, settings


def test_a_person_is_erased_from_a_lake_on_s3(bucket, tmp_path):
    log(tmp_path / "log.csv")
    config = settings(tmp_path, bucket)
    lake = Lake(bucket)
    fill(config, lake)
    assert survey(config, lake, "ann").found.held
    before = {table.name: contents(lake, table) for table in TABLES if table != RUNS}
    done = erase(config, lake, "ann")
    for name, frame in before.items():
        if name in ("interactions", "scored_interactions", "clean_interactions"):
            after = frame.filter(pl.col("user_id") != "ann")
            table = next(t for t in TABLES if t.name == name)
            assert contents(lake, table).equals(after), name
            assert done.rows[name] == frame.height - after.height > 0
    client = boto3.client("s3", region_name="us-east-1")
    entries = client.list_objects_v2(Bucket="lake")["Contents"]
    listed = [entry for entry in entries if not entry["Key"].endswith("/")]  # a folder has no bytes
    assert len(listed) == done.found.files + 2  # the row of `runs`: its log entry and its file
    for entry in listed:
        content = client.get_object(Bucket="lake", Key=entry["Key"])["Body"].read()
        assert b'"ann"' not in content, entry["Key"]
        assert b"ann,7" not in content, entry["Key"]


def test_the_doctor_finds_a_sound_store(bucket, tmp_path):
    lake, config = Lake(bucket), settings(tmp_path, bucket)
    assert checkups.store(config, lake).verdict == OK
    assert checkups.clock(config, lake).verdict == OK
    entries = boto3.client("s3").list_objects_v2(Bucket="lake").get("Contents", [])
    assert [e["Key"] for e in entries if not e["Key"].endswith("/")] == []
