"""kill -9 of `iadsr embed` while vLLM works for it; `make vllm` installs the engine."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.encoders import interpreter
from pipeline.schemas import ITEM_EMBEDDINGS
from pipeline.steps.embed import embed
from pipeline.steps.ingest import ingest
from tests.conftest import new_workspace, write_csv
from tests.processes import children, eventually, gone, group

ITEMS = 400
INSTALLED = Path(__file__).parents[2] / interpreter.BUILT
pytestmark = pytest.mark.skipif(not INSTALLED.is_file(), reason="no vLLM: run `make vllm`")


def test_a_killed_run_leaves_no_process_and_its_rerun_embeds_the_rest_only(tmp_path: Path) -> None:
    workspace = new_workspace(tmp_path / "work", tmp_path / "data")
    with workspace.config_path.open("a") as config:
        config.write('\n[encoder]\nbackend = "vllm"\ncommit_texts = 8\n')
    titles = [(f"i{n}", f"thing number {n}") for n in range(ITEMS)]
    write_csv(workspace.data / "items.csv", ["item_id", "title"], titles)
    ingest(workspace.config, workspace.lake, names=("items",))

    def stored() -> int:
        return workspace.lake.scan(ITEM_EMBEDDINGS).collect().height

    command = [sys.executable, "-m", "pipeline", "--config", str(workspace.config_path), "embed"]
    log = (tmp_path / "log").open("w")
    with log, subprocess.Popen(command, stderr=log, start_new_session=True) as run:
        assert eventually(lambda: run.poll() is not None or stored() > 0, 240)
        assert run.poll() is None, (tmp_path / "log").read_text()
        workers = children(run.pid)
        assert len(workers) == 1
        os.kill(run.pid, signal.SIGKILL)
    assert eventually(lambda: all(gone(pid) for pid in workers))
    kept = stored()
    assert 0 < kept < ITEMS
    result = embed(workspace.config, workspace.lake)
    assert (result.texts, result.embedded, result.cached) == (ITEMS, ITEMS - kept, kept)
    assert stored() == ITEMS


PARENT = """
import time
from pipeline import encoders
from pipeline.config import EncoderConfig

with encoders.load(EncoderConfig(backend="vllm")) as encoder:
    print(*encoder.process_ids(), flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["the step", "the worker"])
def test_what_vllm_started_ends_with_whoever_is_killed(victim: str) -> None:
    """With the engine in processes of its own, as vLLM has it on a GPU."""
    own = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": "auto"}
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=own) as step:
        try:
            assert step.stdout
            worker = int(step.stdout.readline())
            processes = group(worker)
            assert (
                len(processes) >= 3
            )  # the worker, the core of the engine, a process that computes
            os.kill(step.pid if victim == "the step" else worker, signal.SIGKILL)
            assert eventually(lambda: all(gone(pid) for pid in processes))
        finally:
            step.kill()
