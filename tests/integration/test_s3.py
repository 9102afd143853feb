"""The same night with its lake on S3 (a real S3 API server on loopback) gives the same tables."""

import boto3
import duckdb
import polars as pl

from pipeline.configuration import load
from pipeline.schemas import RUNS, SCORED_INTERACTIONS, TABLES
from pipeline.steps.embed import embed
from pipeline.steps.erase import erase, survey
from pipeline.steps.explain import explain
from pipeline.steps.ingest import ingest
from pipeline.steps.night import run_night
from pipeline.steps.promote import promote
from pipeline.steps.status import status
from pipeline.steps.train import train
from pipeline.storage import files
from pipeline.storage.lake import Lake
from tests.conftest import NIGHT, TRAINED, contents
from tests.small_lake import fill, log, settings


def test_a_lake_on_s3_holds_what_a_local_one_does(workspace, bucket):
    environment = {"IADSR_LAKE__PATH": bucket}
    config = load(workspace.config_path, environment).config
    lake = Lake(config.lake.path)
    ingest(config, lake)
    embed(config, lake)
    promote(config, lake, train(config, lake, TRAINED))
    assert run_night(config, lake, NIGHT).status == "succeeded"
    assert run_night(config, lake, NIGHT).status == "unchanged"
    assert status(lake).cleaned == [NIGHT]

    run_night(workspace.config, workspace.lake, NIGHT)
    for table in TABLES:
        if table != RUNS:
            # The copied workspace was ingested from another folder.
            remote, local = (
                contents(where, table).drop("source_file", strict=False)
                for where in (lake, workspace.lake)
            )
            assert remote.equals(local), table.name

    removed = (
        contents(lake, SCORED_INTERACTIONS)
        .filter(pl.col("decision") == "remove")
        .row(0, named=True)
    )
    told = explain(lake, removed["user_id"], removed["item_id"])
    assert told == explain(workspace.lake, removed["user_id"], removed["item_id"])
    assert told.decisions[0].kept_if is not None

    script = files.read_bytes(files.join(bucket, "catalog.sql")).decode()
    assert f"SET VARIABLE lake = coalesce(getvariable('lake'), '{bucket}')" in script
    assert "read_parquet([getvariable('lake') || '/interactions/event_date=" in script
    assert duckdb.extract_statements(script)


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
