"""What is stored of each encoder, and dropping it: never what the promoted model needs."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipeline import encoders
from pipeline.encoders.cache import VectorWriter, drop_vectors, missing_texts
from pipeline.errors import ConflictError, UserError
from pipeline.models import checkpoint
from pipeline.schemas import ITEM_EMBEDDINGS, RUNS
from pipeline.steps.encoders import drop, stored
from pipeline.storage import catalog
from pipeline.storage.lake import Lake
from tests.conftest import Workspace, items

OLD = "old-model-mean-2-float32-000000000000"


def vectors(*hashes: str) -> pl.DataFrame:
    rows = {"text_hash": list(hashes), "vector": [[1.0, 0.0] for _ in hashes]}
    return pl.DataFrame(rows, schema_overrides={"vector": pl.Array(pl.Float32, 2)})


@pytest.fixture
def own(workspace: Workspace) -> str:
    """The encoder of the promoted model; the lake holds vectors of an old one, too."""
    VectorWriter(workspace.lake, OLD).append(vectors("h1", "h2", "h3"))
    return encoders.encoder_id(workspace.config.encoder)


def test_the_list_tells_what_is_stored_and_who_needs_it(workspace, own):
    mine, old = stored(workspace.lake)
    champion = checkpoint.champion(workspace.lake)
    assert (mine.encoder_id, mine.texts, mine.models) == (own, len(items()), (champion,))
    assert mine.champion == champion
    assert mine.last_use == workspace.contents(RUNS)["ended_at"].max()
    assert (old.encoder_id, old.texts, old.models, old.champion) == (OLD, 3, (), None)
    assert old.last_use is None
    folder = Path(workspace.lake.path("item_embeddings", f"encoder_id={OLD}"))
    assert old.size_bytes == sum(file.stat().st_size for file in folder.glob("*.parquet"))


def test_dropping_removes_all_of_one_encoder_and_nothing_else(workspace, own):
    catalog.build(workspace.lake)
    version = workspace.lake.version(ITEM_EMBEDDINGS)
    assert drop(workspace.config, workspace.lake, OLD).texts == 3
    assert [each.encoder_id for each in stored(workspace.lake)] == [own]
    assert workspace.lake.version(ITEM_EMBEDDINGS) == version + 1
    run = workspace.contents(RUNS).filter(pl.col("step") == "drop").row(0, named=True)
    assert json.loads(run["counts"])["texts"] == 3
    with duckdb.connect(workspace.lake.path("catalog.duckdb"), read_only=True) as reader:
        seen = reader.sql("SELECT DISTINCT encoder_id FROM item_embeddings").fetchall()
    assert seen == [(own,)]
    before = workspace.lake.scan(ITEM_EMBEDDINGS, version)
    assert before.filter(pl.col("encoder_id") == OLD).collect().height == 3  # until vacuumed


def test_what_the_promoted_model_needs_stays_even_by_force(workspace, own):
    with pytest.raises(UserError, match=f"{own} stays: the promoted model .* needs it"):
        drop(workspace.config, workspace.lake, own, force=True)
    assert len(stored(workspace.lake)) == 2


def test_what_another_model_was_trained_with_goes_by_force_only(workspace, own):
    card = Path(workspace.lake.path("models", "older", "card.json"))
    card.parent.mkdir()
    card.write_text(json.dumps({"encoder_id": OLD, "config": {}}))  # of an older release
    with pytest.raises(UserError, match=r"older would need it if promoted \(--force"):
        drop(workspace.config, workspace.lake, OLD)
    assert drop(workspace.config, workspace.lake, OLD, force=True).models == ("older",)


def test_a_name_that_is_not_there_is_one_line(workspace, own):
    with pytest.raises(UserError, match='no vectors of "x\' OR 1=1"'):
        drop(workspace.config, workspace.lake, "x' OR 1=1")


def test_vectors_that_are_stored_in_the_same_instant_are_not_lost(workspace, own, monkeypatch):
    opened = Lake.open

    def open_and_be_overtaken(lake, table, version=None):
        monkeypatch.setattr(Lake, "open", opened)
        found = opened(lake, table, version)
        VectorWriter(workspace.lake, OLD).append(vectors("h4"))
        return found

    monkeypatch.setattr(Lake, "open", open_and_be_overtaken)
    with pytest.raises(ConflictError, match="another run committed first"):
        drop_vectors(workspace.lake, OLD)
    assert workspace.lake.partition_rows(ITEM_EMBEDDINGS)[OLD] == 4


def test_a_writer_at_work_goes_on_after_the_drop(workspace, own):
    writer = VectorWriter(workspace.lake, OLD)
    drop_vectors(workspace.lake, OLD)
    assert writer.append(vectors("h3", "h5")) == 2
    assert workspace.lake.partition_rows(ITEM_EMBEDDINGS)[OLD] == 2


def test_what_was_dropped_is_missing_again(workspace, own):
    lake = workspace.lake
    drop_vectors(lake, own)
    assert missing_texts(lake, own).height == len(items())


def test_the_command_lists_and_drops(workspace, own):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline", "--config", str(workspace.config_path)]
        command += ["encoders", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    listed = run("list").stdout
    assert f"{own}\n  64 texts, " in listed
    assert f"models: {checkpoint.champion(workspace.lake)} (promoted)" in listed
    assert f"{OLD}\n  3 texts, " in listed
    dropped = run("drop", OLD)
    assert dropped.stdout.startswith(f"dropped 3 vectors of {OLD}\n")
    assert "when the table is next vacuumed" in dropped.stdout
    refused = run("drop", own)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
