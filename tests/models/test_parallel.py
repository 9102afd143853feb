"""Two processes under torchrun learn what one does, and only the first of them writes."""

import json
import os
import subprocess
import sys

import pytest
import torch

from pipeline.models import checkpoint, parallel
from pipeline.schemas import RUNS
from tests.conftest import TRAINED

# Relative difference of an epoch's loss that another order of sums, and noise drawn per process,
# may make on this small log.
TOLERANCE = 0.05


def test_the_shares_of_a_batch_are_a_partition_of_it(monkeypatch):
    chosen = torch.arange(7)
    monkeypatch.setenv("WORLD_SIZE", "3")
    parts = []
    for number in range(3):
        monkeypatch.setenv("RANK", str(number))
        parts.append(parallel.share(chosen))
        assert parallel.share(chosen[:2]).equal(chosen[:2])
    assert torch.cat(parts).sort().values.equal(chosen)


def test_training_under_torchrun_follows_the_curve_of_one_process(workspace):
    lake = workspace.lake
    alone = checkpoint.read_card(lake, checkpoint.champion(lake))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += ["-m", "pipeline", "--config", str(workspace.config_path), "train"]
    done = subprocess.run(
        [*command, "--date", str(TRAINED), "--no-promote"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (version,) = done.stdout.split()
    together = checkpoint.read_card(lake, version)
    assert together["processes"] == 2
    assert version != alone["model_version"]
    pairs = zip(alone["metrics"]["epochs"], together["metrics"]["epochs"], strict=True)
    for one, two in pairs:
        assert two["next_item"] == pytest.approx(one["next_item"], rel=TOLERANCE)
    trained = lake.scan(RUNS).collect()
    trained = trained.filter(trained["step"] == "train", trained["model_version"] == version)
    assert trained.height == 1
    assert json.loads(trained["counts"][0])["epochs"] == len(together["metrics"]["epochs"])
