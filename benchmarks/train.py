"""One training epoch with every loss on, against the bare backbone and against a per-user loop.

    python benchmarks/train.py [DATA_DIR] [--epochs 5] [--backbones gru4rec sasrec caser]

DATA_DIR holds interactions.csv.gz (user_id, item_id, timestamp in seconds); without it a log is
generated. Text vectors are random (384 dimensions): their values do not change the time. The bare
backbone and the aligner run in turn, on the same batches, forward, backward and optimizer; CPU time
on one thread, wall time beside it. The loop (`parts/published_loop.py`) runs on a sample of the
users, and its time is extrapolated to all of them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from parts.log import read_log
from parts.published_loop import PublishedLoop
from torch import Tensor

from pipeline import columns as col
from pipeline.config import Config
from pipeline.models.backbones import BACKBONES
from pipeline.models.batches import encode
from pipeline.models.fit import Task, new_optimizer, run_epoch
from pipeline.models.model import count_items, new_aligner
from pipeline.models.semantic import fit_space

ENCODER_DIM = 384
FLOOR = 1.3  # the aligner's epoch may take so many times the backbone's
LOOP_FLOOR = 30  # and the per-user loop so many times the aligner's
LOOP_USERS = 512


def read_task(folder: Path | None, config: Config) -> tuple[Task, Tensor]:
    """The log as tensors, and random text vectors (V + 1, K) of its items."""
    log = read_log(folder)
    vocabulary = count_items(log, 1)
    draw = torch.Generator().manual_seed(0)
    vector_VK = torch.randn(vocabulary.height, ENCODER_DIM, generator=draw)
    dim = config.model.semantic_dim
    texts = fit_space(vector_VK, dim, dim).project(vector_VK).float()
    sequences = encode(log, col.USER_ID, vocabulary, vocabulary[col.ITEM_ID])
    task = Task(sequences, texts, config.sequence.max_length, config.train)
    return task, torch.cat([torch.zeros(1, ENCODER_DIM), vector_VK])


def epoch(task: Task, config: Config, tau: float | None) -> Callable[[], None]:
    """One more epoch of a model of its own, from the same seed, at each call."""
    torch.manual_seed(0)
    aligner = new_aligner(len(task.text_TP) - 1, config.model)
    optimizer = new_optimizer(aligner, config.train)
    draw, shuffle = torch.Generator().manual_seed(0), np.random.default_rng(0)

    def run() -> None:
        run_epoch(aligner, optimizer, task, draw, shuffle, tau=tau)

    return run


def loop(task: Task, text_VK: Tensor, config: Config) -> tuple[float, float]:
    """CPU and wall seconds of an epoch of the per-user loop, from a sample of the users."""
    users = torch.split(task.sequences.item_N, task.sequences.length_U.tolist())
    chosen = np.random.default_rng(0).permutation(len(users))[:LOOP_USERS]
    backbone = new_aligner(len(text_VK) - 1, config.model).backbone
    work = PublishedLoop(backbone, [users[user] for user in chosen], text_VK)
    share = len(chosen) / len(users)
    cpu, wall = measure(work.run)
    return cpu / share, wall / share


def measure(run: Callable[[], None]) -> tuple[float, float]:
    """CPU and wall seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(task: Task, text_VK: Tensor, config: Config, epochs: int) -> bool:
    """Measure one backbone and print its rows; whether the floors hold."""
    runs = {
        "bare backbone": epoch(task, config, None),
        "aligner": epoch(task, config, config.model.gumbel_temperature),
    }
    for run in runs.values():
        run()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(epochs):
        for name, run in runs.items():
            seconds[name].append(measure(run))
    median = {n: [statistics.median(x) for x in zip(*s, strict=True)] for n, s in seconds.items()}
    median["per-user loop"] = [*loop(task, text_VK, config)]
    bare, ours = median["bare backbone"], median["aligner"]
    for name, (cpu, wall) in median.items():
        print(
            f"| {config.model.backbone} | {name} | {cpu:.2f} | {wall:.2f} | {cpu / bare[0]:.2f} "
            f"| {cpu / ours[0]:.2f} |",
            flush=True,
        )
    return bool(ours[0] <= FLOOR * bare[0] and median["per-user loop"][0] >= LOOP_FLOOR * ours[0])


def main() -> None:
    """Measure and print a table; the exit code tells whether the floors hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=[*BACKBONES])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task, text_VK = read_task(arguments.data, Config())
    print(
        f"{len(task.sequences.item_N):,} interactions, {len(text_VK) - 1:,} items, one thread, "
        f"median of {arguments.epochs} epochs\n\n"
        "| backbone | epoch | CPU s | wall s | CPU / bare | CPU / aligner |\n" + "|---" * 6 + "|"
    )
    held = True
    for name in arguments.backbones:
        model = Config().model.model_copy(update={"backbone": name})
        config = Config().model_copy(update={"model": model})
        held &= compare(task, text_VK, config, arguments.epochs)
    raise SystemExit(not held)


if __name__ == "__main__":
    main()
