"""One training epoch with every loss on, against the bare backbone with the same next-item loss.

    python benchmarks/train.py DATA_DIR [--epochs 5]

DATA_DIR holds interactions.csv.gz (user_id, item_id, timestamp in seconds). Text vectors are random
(384 dimensions): their values do not change the time. Both kinds of epoch run in turn, on the same
batches, forward, backward and optimizer; CPU time on one thread, wall time beside it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch

from pipeline import columns as col
from pipeline.config import Config
from pipeline.models.batches import encode
from pipeline.models.fit import Task, new_optimizer, run_epoch
from pipeline.models.model import count_items, new_aligner
from pipeline.models.semantic import fit_space

ENCODER_DIM = 384
FLOOR = 1.3  # the aligner's epoch may take so many times the backbone's


def read_task(folder: Path, config: Config) -> tuple[Task, int]:
    """The log as tensors, with random text vectors, and the size of its vocabulary."""
    log = pl.read_csv(folder / "interactions.csv.gz", infer_schema=False)
    log = log.sort(col.USER_ID, pl.col("timestamp").cast(pl.Int64), maintain_order=True)
    vocabulary = count_items(log, 1)
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(vocabulary.height, ENCODER_DIM, generator=draw)
    texts = (
        fit_space(vectors, config.model.semantic_dim, config.model.semantic_dim)
        .project(vectors)
        .float()
    )
    sequences = encode(log, col.USER_ID, vocabulary, vocabulary[col.ITEM_ID])
    return Task(sequences, texts, config.sequence.max_length, config.train), vocabulary.height


def epoch(task: Task, vocabulary: int, config: Config, tau: float | None) -> Callable[[], None]:
    """One more epoch of a model of its own, from the same seed, at each call."""
    torch.manual_seed(0)
    aligner = new_aligner(vocabulary, config.model)
    optimizer = new_optimizer(aligner, config.train)
    draw, shuffle = torch.Generator().manual_seed(0), np.random.default_rng(0)

    def run() -> None:
        run_epoch(aligner, optimizer, task, draw, shuffle, tau=tau)

    return run


def measure(run: Callable[[], None]) -> tuple[float, float]:
    """CPU and wall seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    """Measure and print a table; the exit code tells whether the floor holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = Config()
    task, vocabulary = read_task(arguments.data, config)
    runs = {
        "bare backbone": epoch(task, vocabulary, config, None),
        "aligner": epoch(task, vocabulary, config, config.model.gumbel_temperature),
    }
    for run in runs.values():
        run()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(arguments.epochs):
        for name, run in runs.items():
            seconds[name].append(measure(run))
    median = {n: [statistics.median(x) for x in zip(*s, strict=True)] for n, s in seconds.items()}
    bare = median["bare backbone"]
    print(
        f"{len(task.sequences.item_N):,} interactions, {vocabulary:,} items, one thread, "
        f"median of {arguments.epochs} epochs, {config.model.backbone}\n"
    )
    print("| epoch | CPU s | wall s | CPU ratio | wall ratio |\n|---|---|---|---|---|")
    for name, (cpu, wall) in median.items():
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {cpu / bare[0]:.2f} | {wall / bare[1]:.2f} |")
    raise SystemExit(median["aligner"][0] > FLOOR * bare[0])


if __name__ == "__main__":
    main()
