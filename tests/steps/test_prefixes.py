"""The paper's joined texts: what is embedded, once, apart from the items' vectors."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from pipeline import encoders
from pipeline.config import Config
from pipeline.configuration import override
from pipeline.encoders.cache import read_vectors
from pipeline.errors import UserError
from pipeline.evaluation.names import ARM
from pipeline.models import checkpoint
from pipeline.models.evidence import evidence
from pipeline.schemas import ITEM_EMBEDDINGS, RUNS
from pipeline.steps import prefixes as step
from pipeline.steps.evaluate import evaluate
from pipeline.steps.plan import plan
from pipeline.steps.prefixes import joined, reading_prefixes
from pipeline.steps.promote import promote
from pipeline.steps.train import train
from pipeline.storage.lake import Lake
from tests.conftest import NIGHT, TRAINED, Workspace
from tests.steps.fakes import Fake, put_items


def sequences(*rows: tuple[str, str | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["sequence", "item_id"], orient="row")


def whole(x_TK: torch.Tensor) -> torch.Tensor:
    return x_TK


def asking_for_prefixes(config: Config) -> Config:
    return override(config, "model", {"texts": "prefixes"})


def test_each_row_has_the_titles_up_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "BLOCK_ROWS", 4)
    titles = {"a": "Red", "b": "Blue", "c": "Green"}
    frame = sequences(("u", None), ("u", "a"), ("u", "x"), ("u", "b"), ("u", "c"), ("v", "b"))
    blocks = list(joined(frame, titles, 3))
    assert [block.height for block in blocks] == [4, 2]
    found = pl.concat(blocks)
    assert found["text"].to_list() == [None, "Red", "Red", "Red, Blue", "Blue, Green", "Blue"]
    assert found["text_hash"].null_count() == 1
    assert found["text_hash"].n_unique() == 5


def test_each_distinct_text_is_embedded_once_and_apart_from_the_items(
    tmp_path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    put_items(lake, {"a": "Red", "b": "Blue", "c": None, "d": " "})
    config = asking_for_prefixes(Config())
    frame = sequences(("u", "c"), ("u", "a"), ("u", "b"), ("v", "a"), ("v", "d"), ("v", "b"))
    with reading_prefixes(config, lake) as read:
        found = read(frame, whole)
        changed = read(sequences(("u", "b"), ("v", "a"), ("v", "b")), whole)
    assert sorted(fake.read) == ["Blue", "Red", "Red, Blue"]
    vectors = Fake().encode(["Red", "Red, Blue", "Blue"], _Nothing()).vectors
    np.testing.assert_array_equal(found[[1, 2, 3, 4, 5]], vectors[[0, 1, 0, 0, 1]])
    np.testing.assert_array_equal(changed, vectors[[2, 0, 1]])
    assert not found[0].any()
    name = encoders.encoder_id(config.encoder)
    assert lake.partition_rows(ITEM_EMBEDDINGS) == {f"prefixes-of-{name}": 3}
    assert encoders.dimension(f"prefixes-of-{name}") == 384
    counts = [json.loads(c) for c in lake.scan(RUNS).sort("started_at").collect()["counts"]]
    assert [(c["texts"], c["embedded"]) for c in counts] == [(2, 2), (3, 1)]

    monkeypatch.setattr(encoders, "load", lambda _: pytest.fail("the model was loaded"))
    with reading_prefixes(config, lake) as read:
        np.testing.assert_array_equal(read(frame, whole), found)


class _Nothing:
    def update(self, n: int) -> None:
        pass


def test_a_title_that_a_rehearsal_hides_is_left_out_of_the_prefixes(workspace: Workspace) -> None:
    model = checkpoint.load(workspace.lake, str(checkpoint.champion(workspace.lake)))
    settings = model.instruments.settings
    asking = settings.model.model_copy(update={"texts": "prefixes"})
    read: list[str | None] = []

    def record(
        frame: pl.DataFrame, project: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        read.extend(frame["item_id"])
        return project(torch.ones(frame.height, 384))

    tools = replace(model.instruments, settings=replace(settings, model=asking), prefixes=record)
    frame = sequences(("u", "g0-0"), ("u", "g1-0"), ("u", "g2-0")).with_columns(
        pl.lit(True).alias("wanted"),
        pl.Series("hide_item", [True, False, False]),
        pl.Series("hide_text", [False, True, False]),
    )
    vectors = read_vectors(workspace.lake, str(model.card["encoder_id"]))
    assert evidence(tools, frame, vectors).height == 3
    assert read == ["g0-0", None, "g2-0"]


def test_no_rows_are_no_work(tmp_path, fake: Fake) -> None:
    lake = Lake(str(tmp_path / "lake"))
    with reading_prefixes(asking_for_prefixes(Config()), lake) as read:
        assert read(sequences(), whole).shape == (0, 384)


def test_the_default_asks_for_none(workspace: Workspace) -> None:
    with reading_prefixes(workspace.config, workspace.lake) as read:
        assert read is None


def test_a_night_cannot_use_such_a_model(workspace: Workspace, fake: Fake) -> None:
    config, lake = asking_for_prefixes(workspace.config), workspace.lake
    champion = checkpoint.champion(lake)
    refusals: list[Callable[[str], object]] = [
        lambda version: promote(config, lake, version),
        lambda version: plan(config, lake, NIGHT, version),
    ]
    version = train(config, lake, TRAINED)
    assert version != champion
    for refused in refusals:
        with pytest.raises(UserError, match="is for comparisons, no night can use it"):
            refused(version)
    assert checkpoint.champion(lake) == champion


def test_an_evaluation_measures_both_ways(workspace: Workspace, fake: Fake) -> None:
    quick = {"seeds": (0,), "noise": ("uniform:0.3",), "folds": 2, "split": "users"}
    config = override(workspace.config, "evaluate", quick)
    config = override(config, "cloze", {"dim": 16, "epochs": 1})
    both = (config, asking_for_prefixes(config))
    folders = [evaluate(each, workspace.lake, part="detection") for each in both]
    assert folders[0] != folders[1]
    assert any("trumpet, model" in text and ", music" in text for text in fake.read)
    found = [pl.read_parquet(f"{folder}/results.parquet") for folder in folders]
    scores = [
        table.filter(pl.col("metric") == "AUROC", pl.col("stratum").is_null())
        .select(ARM, "value")
        .rows_by_key(ARM, unique=True)
        for table in found
    ]
    moved = {arm for arm in scores[0] if scores[0][arm] != scores[1][arm]}
    assert "signal_aligned_short_short" in moved
    assert "signal_semantic" not in moved  # the items' own texts, either way
    done = len(fake.read)
    evaluate(both[1], workspace.lake, part="detection", out=str(workspace.folder / "again"))
    assert len(fake.read) == done
