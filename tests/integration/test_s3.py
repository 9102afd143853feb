"""The same night with its lake on S3 (a real S3 API server on loopback) gives the same tables."""

import duckdb
import polars as pl

from pipeline.configuration import load
from pipeline.schemas import RUNS, SCORED_INTERACTIONS, TABLES
from pipeline.steps.embed import embed
from pipeline.steps.explain import explain
from pipeline.steps.ingest import ingest
from pipeline.steps.night import run_night
from pipeline.steps.promote import promote
from pipeline.steps.status import status
from pipeline.steps.train import train
from pipeline.storage import files
from pipeline.storage.lake import Lake
from tests.conftest import NIGHT, TRAINED, contents


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
