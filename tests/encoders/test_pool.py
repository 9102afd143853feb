"""Who gets which texts, and what a worker's death changes: nothing. The engine here is a stub."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import EncoderConfig, VllmConfig
from pipeline.encoders import Encoded, cut_to_unit, interpreter, pool, worker
from pipeline.errors import ConfigError, EngineError
from tests.processes import eventually, gone

STUB = str(Path(__file__).with_name("stub_worker.py"))
TEXTS = [f"{chr(97 + n % 26)}{'x' * (n * 7 % 31)}" for n in range(50)]
WANTED = cut_to_unit(np.array([[len(t), ord(t[0]), 1] for t in TEXTS], dtype=np.float32), 3)


class Counter:
    done = 0

    def update(self, n: int) -> None:
        self.done += n


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker, "PROGRAM", STUB)
    monkeypatch.setattr(interpreter, "installed", lambda python: {"stub": "1"})
    monkeypatch.setattr(pool, "LEASE_TEXTS", 4)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def logs(folder: Path) -> list[Path]:
    return list(folder.glob("iadsr-vllm-*.log"))


def settings(*, workers: int = 1, **options: Any) -> EncoderConfig:
    vllm = VllmConfig(python=sys.executable, devices=("cpu",) * workers, options=options)
    return EncoderConfig(backend="vllm", vllm=vllm)


def encode(config: EncoderConfig, texts: list[str] = TEXTS) -> Encoded:
    counter = Counter()
    with pool.load(config) as encoder:
        encoded = encoder.encode(texts, counter)
    assert counter.done == len(texts)
    return encoded


@pytest.mark.parametrize("workers", [1, 3])
def test_vectors_come_in_the_order_of_the_texts_whatever_the_number_of_workers(
    workers: int,
) -> None:
    encoded = encode(settings(workers=workers))
    np.testing.assert_array_equal(encoded.vectors, WANTED)
    assert encoded.truncated == 13  # the stub counts one a lease


def test_the_leases_of_a_worker_that_was_killed_are_taken_up_again(tmp_path: Path) -> None:
    encoded = encode(settings(workers=2, die=str(tmp_path / "died")))
    assert (tmp_path / "died").exists()
    np.testing.assert_array_equal(encoded.vectors, WANTED)
    assert encoded.truncated == 13
    assert logs(tmp_path) == []


def test_texts_that_kill_every_worker_end_in_one_line() -> None:
    with pytest.raises(EngineError, match=r"was killed by signal 9, 2 times over the same texts"):
        encode(settings(), ["poison" + "y" * 90, *TEXTS])


def test_a_start_is_tried_again_if_a_port_was_taken(tmp_path: Path) -> None:
    encoded = encode(settings(port_taken=str(tmp_path / "tried")))
    np.testing.assert_array_equal(encoded.vectors, WANTED)


def test_no_other_failure_of_the_start_is_tried_again(tmp_path: Path) -> None:
    line = r"could not load .* on cpu: ValueError: no such architecture \(its log: /\S+\.log\)$"
    with pytest.raises(EngineError, match=line) as caught:
        encode(settings(broken=True))
    log = Path(str(caught.value).rpartition(": ")[2].rstrip(")"))
    assert log.read_text().count("Traceback") == 1
    assert logs(tmp_path) == [log]


def test_a_failure_of_the_engine_is_one_line() -> None:
    with pytest.raises(EngineError, match=r"^vLLM failed: RuntimeError: out of memory \(its log: "):
        encode(settings(fail=True))


def test_a_missing_interpreter_says_what_to_run() -> None:
    config = EncoderConfig(backend="vllm", vllm=VllmConfig(python="/nowhere/python"))
    with pytest.raises(ConfigError, match="no interpreter with vLLM at /nowhere/python: run `make"):
        encode(config)


def test_a_gpu_is_not_left_to_a_build_for_cpus() -> None:
    vllm = VllmConfig(python=sys.executable, devices=("0",))
    with pytest.raises(ConfigError, match="holds vLLM for CPUs, but there is a GPU"):
        encode(EncoderConfig(backend="vllm", vllm=vllm))


def test_devices_are_those_that_cuda_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-1f")
    assert interpreter.devices() == ("2", "GPU-1f")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert interpreter.devices() == ("cpu",)


PARENT = """
    import sys
    from pipeline.encoders import interpreter, pool, worker
    from tests.encoders.test_pool import STUB, TEXTS, Counter, settings

    worker.PROGRAM = STUB
    interpreter.installed = lambda python: {"stub": "1"}
    with pool.load(settings(workers=2, sleep=60)) as encoder:
        print(*encoder.process_ids(), flush=True)
        encoder.encode(TEXTS, Counter())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_who_started_it(how: signal.Signals) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PARENT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert not any(gone(pid) for pid in workers)
        os.kill(parent.pid, how)
        parent.wait()
    assert eventually(lambda: all(gone(pid) for pid in workers))
