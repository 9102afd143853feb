"""Stored vectors: read by item, never mixed, never doubled."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from pipeline.encoders.cache import VectorWriter, missing_texts, read_vectors
from pipeline.errors import ConflictError
from pipeline.schemas import ITEM_EMBEDDINGS, ITEMS, Table
from pipeline.storage.lake import Lake, conform

ONE, OTHER = "one-mean-2-float32-000000000000", "other-mean-2-float32-000000000000"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    rows = {
        "item_id": ["b", "a", "c", "d", "e"],
        "text": ["Blue", "Red", "Blue", None, "  "],
        "text_hash": ["h1", "h2", "h1", None, "h3"],
    }
    lake.append(ITEMS, conform(pl.DataFrame(rows), ITEMS))
    return lake


def vectors(**by_hash: list[float]) -> pl.DataFrame:
    return pl.DataFrame(
        {"text_hash": list(by_hash), "vector": list(by_hash.values())},
        schema={"text_hash": pl.String, "vector": pl.Array(pl.Float32, 2)},
    )


def stored(lake: Lake) -> list[str]:
    return lake.scan(ITEM_EMBEDDINGS).collect()["text_hash"].sort().to_list()


def test_each_distinct_text_is_missing_once(lake: Lake) -> None:
    missing = missing_texts(lake, ONE)
    assert missing.rows() == [("h1", "Blue"), ("h2", "Red")]
    VectorWriter(lake, ONE).append(vectors(h1=[1, 0]))
    assert missing_texts(lake, ONE).rows() == [("h2", "Red")]
    assert missing_texts(lake, OTHER).height == 2


def test_items_with_one_text_share_its_vector(lake: Lake) -> None:
    VectorWriter(lake, ONE).append(vectors(h1=[1, 0], h2=[0, 1]))
    found = read_vectors(lake, ONE)
    assert found.schema == {"item_id": pl.String, "vector": pl.Array(pl.Float32, 2)}
    assert [(item, list(vector)) for item, vector in found.rows()] == [
        ("a", [0.0, 1.0]),
        ("b", [1.0, 0.0]),
        ("c", [1.0, 0.0]),
    ]


def test_only_the_wanted_items_are_read(lake: Lake) -> None:
    VectorWriter(lake, ONE).append(vectors(h1=[1, 0], h2=[0, 1]))
    wanted = pl.Series(["c", "c", "d", "unknown"])
    assert read_vectors(lake, ONE, wanted)["item_id"].to_list() == ["c"]
    nothing = read_vectors(lake, ONE, pl.Series([], dtype=pl.String))
    assert nothing.schema["vector"] == pl.Array(pl.Float32, 2)
    assert nothing.is_empty()


def test_vectors_of_two_encoders_never_mix(lake: Lake) -> None:
    VectorWriter(lake, ONE).append(vectors(h1=[1, 0]))
    VectorWriter(lake, OTHER).append(vectors(h1=[0, 1]))
    assert read_vectors(lake, ONE)["vector"].to_list()[0] == [1, 0]
    assert read_vectors(lake, OTHER)["vector"].to_list()[0] == [0, 1]


def test_the_files_of_other_encoders_are_not_opened(lake: Lake) -> None:
    VectorWriter(lake, ONE).append(vectors(h1=[1, 0]))
    VectorWriter(lake, OTHER).append(vectors(h1=[0, 1]))
    shutil.rmtree(lake.path("item_embeddings", f"encoder_id={OTHER}"))
    assert read_vectors(lake, ONE).height == 2
    assert read_vectors(lake, ONE, pl.Series(["b"])).height == 1


def test_two_writers_of_one_plan_store_each_text_once(lake: Lake) -> None:
    first, second = VectorWriter(lake, ONE), VectorWriter(lake, ONE)
    assert first.append(vectors(h1=[1, 0])) == 1
    assert first.append(vectors(h2=[1, 0])) == 1
    assert second.append(vectors(h1=[1, 0])) == 0
    assert second.append(vectors(h2=[1, 0], h3=[1, 0])) == 1
    assert first.append(vectors(h3=[1, 0], h4=[1, 0])) == 1
    assert stored(lake) == ["h1", "h2", "h3", "h4"]


class RacingLake(Lake):
    """Lets another writer commit at the last moment before each of the first appends."""

    rivals: list[pl.DataFrame]

    def append(self, table: Table, *args: object, **options: object) -> None:
        if self.rivals:
            VectorWriter(Lake(self.root), ONE).append(self.rivals.pop())
        super().append(table, *args, **options)


def test_a_commit_between_look_and_write_is_seen(lake: Lake) -> None:
    racing = RacingLake(lake.root)
    object.__setattr__(racing, "rivals", [vectors(h3=[0, 1]), vectors(h1=[0, 1])])
    writer = VectorWriter(racing, ONE)
    assert writer.append(vectors(h1=[1, 0], h2=[1, 0], h3=[1, 0])) == 1
    assert stored(lake) == ["h1", "h2", "h3"]


def test_a_commit_that_never_succeeds_ends_in_the_conflict(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConflictError("another run committed first")

    monkeypatch.setattr(Lake, "append", refuse)
    with pytest.raises(ConflictError):
        VectorWriter(lake, ONE).append(vectors(h1=[1, 0]))
