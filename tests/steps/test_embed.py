"""The embed step: only what is new, nothing twice, nothing broken."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline import encoders
from pipeline.config import Config, EncoderConfig
from pipeline.encoders.cache import read_vectors
from pipeline.errors import ConfigError, ContractError
from pipeline.schemas import ITEM_EMBEDDINGS, RUNS
from pipeline.steps.embed import EmbedResult, embed
from pipeline.storage.lake import Lake
from tests.steps.fakes import Fake, put_items

SMALL = Config(encoder=EncoderConfig(commit_texts=4))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def titles(n: int) -> dict[str, str | None]:
    return {f"i{k:02}": f"title {k}" for k in range(n)}


def stored(lake: Lake) -> list[tuple[str, bytes]]:
    rows = lake.scan(ITEM_EMBEDDINGS).sort("text_hash").collect()
    return [(h, np.asarray(v).tobytes()) for h, v in rows.select("text_hash", "vector").rows()]


def counts(result: EmbedResult) -> tuple[int, int, int, int]:
    return result.texts, result.embedded, result.cached, result.no_text


def test_each_distinct_text_is_embedded_once(lake: Lake, fake: Fake) -> None:
    put_items(lake, {"a": "Red", "b": "Blue", "c": "Red", "d": None, "e": " "})
    result = embed(SMALL, lake)
    assert counts(result) == (2, 2, 0, 2)
    assert sorted(fake.read) == ["Blue", "Red"]
    found = read_vectors(lake, result.encoder_id)
    assert found["item_id"].to_list() == ["a", "b", "c"]
    assert found["vector"][0].to_list() == found["vector"][2].to_list()


def test_a_second_run_embeds_nothing_and_loads_no_model(
    lake: Lake, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_items(lake, titles(10))
    first = embed(SMALL, lake)
    version = lake.version(ITEM_EMBEDDINGS)
    monkeypatch.setattr(encoders, "load", lambda config: pytest.fail("the model was loaded"))
    second = embed(SMALL, lake)
    assert (first.status, second.status) == ("succeeded", "unchanged")
    assert counts(second) == (10, 0, 10, 0)
    assert lake.version(ITEM_EMBEDDINGS) == version


def test_only_the_texts_of_new_items_are_embedded(lake: Lake, fake: Fake) -> None:
    put_items(lake, titles(10))
    embed(SMALL, lake)
    fake.read.clear()
    put_items(lake, titles(12))
    assert counts(embed(SMALL, lake)) == (12, 2, 10, 0)
    assert sorted(fake.read) == ["title 10", "title 11"]


def test_an_empty_catalogue_is_no_work(lake: Lake, fake: Fake) -> None:
    assert counts(embed(SMALL, lake)) == (0, 0, 0, 0)


def test_another_encoder_starts_anew(lake: Lake, fake: Fake) -> None:
    put_items(lake, titles(3))
    embed(SMALL, lake)
    other = Config(encoder=EncoderConfig(prompt="title: "))
    assert counts(embed(other, lake)) == (3, 3, 0, 0)
    assert lake.partition_rows(ITEM_EMBEDDINGS).keys() == {
        encoders.encoder_id(SMALL.encoder),
        encoders.encoder_id(other.encoder),
    }


def test_the_run_is_recorded(lake: Lake, fake: Fake) -> None:
    put_items(lake, titles(3))
    result = embed(SMALL, lake)
    run = lake.scan(RUNS).collect().row(0, named=True)
    assert (run["step"], run["status"], run["run_id"]) == ("embed", "succeeded", result.run_id)
    assert run["encoder_id"] == result.encoder_id
    assert json.loads(run["counts"]) == {
        "texts": 3,
        "embedded": 3,
        "cached": 0,
        "truncated": 0,
        "no_text": 0,
    }


def spoil_nan(vectors: np.ndarray) -> np.ndarray:
    vectors[1, 7] = np.nan
    return vectors


def spoil_inf(vectors: np.ndarray) -> np.ndarray:
    vectors[0, 0] = np.inf
    return vectors


def spoil_zero(vectors: np.ndarray) -> np.ndarray:
    vectors[2] = 0
    return vectors


def spoil_dimension(vectors: np.ndarray) -> np.ndarray:
    return vectors[:, :-1]


def spoil_count(vectors: np.ndarray) -> np.ndarray:
    return vectors[:-1]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_nan, r"gave 1 vectors with NaN or infinite values \(items 'i\d\d', \.\.\.\)"),
        (spoil_inf, r"gave 1 vectors with NaN or infinite values"),
        (spoil_zero, r"gave 1 zero vectors \(items 'i\d\d', \.\.\.\)"),
        (spoil_dimension, r"gave vectors of shape \(4, 383\), wanted \(4, 384\) \(items 'i\d\d', "),
        (spoil_count, r"gave vectors of shape \(3, 384\), wanted \(4, 384\)"),
    ],
)
def test_a_broken_vector_stops_the_step_before_its_commit(
    lake: Lake, fake: Fake, spoil: Callable[[np.ndarray], np.ndarray], says: str
) -> None:
    put_items(lake, titles(8))

    def spoil_the_second_commit() -> None:
        fake.spoil = spoil if fake.read else fake.spoil

    fake.before_each = spoil_the_second_commit
    with pytest.raises(ContractError, match=says):
        embed(SMALL, lake)
    assert len(stored(lake)) == 4
    assert lake.scan(RUNS).collect()["status"].to_list() == ["failed"]
    fake.before_each, fake.spoil = lambda: None, lambda vectors: vectors
    assert counts(embed(SMALL, lake)) == (8, 4, 4, 0)


def test_a_run_inside_another_run_leaves_no_text_twice(lake: Lake, fake: Fake) -> None:
    """The inner run plans other commits, of which one overlaps what the outer run is embedding."""
    put_items(lake, titles(20))
    inner: list[EmbedResult] = []

    def run_another() -> None:
        if not inner and len(fake.read) == 4:
            fake.before_each = lambda: None
            inner.append(embed(Config(encoder=EncoderConfig(commit_texts=7)), lake))

    fake.before_each = run_another
    outer = embed(SMALL, lake)
    assert counts(inner[0]) == (20, 16, 4, 0)
    assert counts(outer) == (20, 4, 16, 0)
    assert len(fake.read) == 24  # the one commit of four that overlapped; the rest was skipped
    assert len({text_hash for text_hash, _ in stored(lake)}) == len(stored(lake)) == 20


SIDE_BY_SIDE = """
    import sys, time
    from contextlib import contextmanager
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_embed import Fake
    from pipeline import encoders
    from pipeline.config import Config, EncoderConfig
    from pipeline.steps.embed import embed
    from pipeline.storage.lake import Lake

    fake = Fake()
    fake.before_each = lambda: time.sleep(0.01)

    @contextmanager
    def load(config):
        yield fake

    encoders.load = load
    config = Config(encoder=EncoderConfig(commit_texts=int(sys.argv[1])))
    print("ready", flush=True)
    sys.stdin.readline()
    print(embed(config, Lake({root!r})).embedded)
"""


def test_processes_side_by_side_leave_no_text_twice(lake: Lake) -> None:
    """Each begins at the same moment, and commits after another number of texts."""
    put_items(lake, titles(60))
    lake.open(ITEM_EMBEDDINGS), lake.open(RUNS)
    code = textwrap.dedent(SIDE_BY_SIDE.format(tests=str(Path(__file__).parent), root=lake.root))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(size)], **pipes) for size in (3, 4, 5, 7)
    ]
    assert [each.stdout.readline() for each in running] == ["ready\n"] * 4
    for each in running:
        each.stdin.write("go\n")
        each.stdin.flush()
    embedded = [int(each.communicate()[0]) for each in running]
    assert [each.returncode for each in running] == [0] * 4
    assert sum(embedded) == 60, embedded
    assert len({text_hash for text_hash, _ in stored(lake)}) == len(stored(lake)) == 60


KILLED = """
    import os, signal, sys
    from contextlib import contextmanager
    sys.path.insert(0, {tests!r})
    from test_embed import SMALL, Fake
    from pipeline import encoders
    from pipeline.steps.embed import embed
    from pipeline.storage.lake import Lake

    fake = Fake()
    fake.before_each = lambda: len(fake.read) >= 8 and os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def load(config):
        yield fake

    encoders.load = load
    embed(SMALL, Lake({root!r}))
"""


def test_a_killed_run_keeps_its_commits_and_the_next_does_the_rest(
    lake: Lake, fake: Fake, tmp_path: Path
) -> None:
    put_items(lake, titles(15))
    code = textwrap.dedent(KILLED.format(tests=str(Path(__file__).parent), root=lake.root))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=os.environ, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert len(stored(lake)) == 8
    assert counts(embed(SMALL, lake)) == (15, 7, 8, 0)
    whole = Lake(str(tmp_path / "whole"))
    put_items(whole, titles(15))
    embed(SMALL, whole)
    assert stored(lake) == stored(whole)


def test_a_missing_model_is_one_clear_line(lake: Lake) -> None:
    put_items(lake, titles(1))
    with pytest.raises(ConfigError, match="is no installed package"):
        embed(Config(encoder=EncoderConfig(model="no-such-model")), lake)


def test_the_real_model_tells_what_is_alike(lake: Lake) -> None:
    put_items(lake, {"a": "Red lipstick, matte", "b": "Crimson lip colour", "c": "Garden hose"})
    result = embed(Config(), lake)
    a, b, c = read_vectors(lake, result.encoder_id)["vector"].to_numpy()
    assert result.embedded == 3
    assert a @ b > a @ c + 0.2
