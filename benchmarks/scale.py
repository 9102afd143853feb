"""Peak memory of a training epoch at 10 M interactions and 1 M items, on generated data.

    python benchmarks/scale.py [--interactions 10000000] [--items 1000000] [--steps 10]

All data, the item and text vectors and the optimizer's state are held as in training; the epoch is
cut after about so many steps, whose time is printed beside. On Linux.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from parts.log import generate

from pipeline import columns as col
from pipeline.config import Config
from pipeline.models.backbones import BACKBONES
from pipeline.models.batches import Sequences, encode
from pipeline.models.fit import Task, new_optimizer, run_epoch
from pipeline.models.model import count_items, new_aligner

PER_USER = 10


def peak_mib() -> float:
    """Largest resident memory of this process so far, or since `forget_peak`."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def forget_peak() -> None:
    """Begin anew: making the data up is not what is measured."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--backbone", choices=BACKBONES, default="gru4rec")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = Config().model.model_copy(update={"backbone": arguments.backbone})
    config = Config().model_copy(update={"model": model})
    log = generate(arguments.interactions // PER_USER, arguments.items, arguments.interactions)
    forget_peak()
    table = [("the log, as a table", peak_mib())]
    vocabulary = count_items(log, 1)
    whole = encode(log, col.USER_ID, vocabulary, vocabulary[col.ITEM_ID])
    table.append(("item counts, and the log as numbers", peak_mib()))
    text_TP = torch.randn(vocabulary.height + 1, config.model.semantic_dim)
    users = int((whole.length_U.cumsum(0) <= arguments.steps * config.train.batch_positions).sum())
    rows = int(whole.length_U[:users].sum())
    some = Sequences(whole.item_N[:rows], whole.text_N[:rows], whole.length_U[:users])
    aligner = new_aligner(vocabulary.height, config.model)
    optimizer = new_optimizer(aligner, config.train)
    task = Task(some, text_TP, config.sequence.max_length, config.train)
    start = time.process_time()
    run_epoch(
        aligner,
        optimizer,
        task,
        torch.Generator().manual_seed(0),
        np.random.default_rng(0),
        tau=config.model.gumbel_temperature,
    )
    seconds = (time.process_time() - start) / max(rows, 1) * config.train.batch_positions
    table.append(("epoch of the aligner", peak_mib()))
    print(
        f"{log.height:,} interactions, {vocabulary.height:,} items, {config.model.backbone}, "
        f"{rows:,} interactions trained on, {seconds:.2f} CPU s a step of "
        f"{config.train.batch_positions:,}\n\n| up to and with | peak memory, MiB |\n|---|---|"
    )
    for name, mib in table:
        print(f"| {name} | {mib:,.0f} |")


if __name__ == "__main__":
    main()
