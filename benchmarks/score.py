"""Scoring a night against the bare forward pass of the backbone over the same sequences.

    python benchmarks/score.py [DATA_DIR] [--backbones gru4rec sasrec caser] [--profile]

DATA_DIR as in train.py. Of each user the last interaction is scored, the others are its history.
The bare pass is float32 over the same windows, in batches as large; scoring is float64, so that
the pass is timed in float64 as well. CPU time on one thread, median of five rounds in turn.
"""

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import torch
from parts.log import read_log

from pipeline import columns as col
from pipeline.config import Config, ModelConfig, TrainConfig
from pipeline.models.backbone import Backbone
from pipeline.models.backbones import BACKBONES
from pipeline.models.batches import Sequences, batches, encode, windows
from pipeline.models.decision import score_sequences
from pipeline.models.model import Model
from pipeline.models.signals import POSITIONS, exact, measure
from pipeline.models.training import fit_model

ENCODER_DIM = 384
FLOOR = 1.3  # scoring may take so many times the bare forward pass
ROUNDS = 5
DAY = date(2024, 6, 1)
TRAIN_USERS = 3_000  # the model need not be good to be timed


def nights(folder: Path | None, max_length: int) -> pl.DataFrame:
    """Users' last interactions, one a day up to `DAY`, as `read_sequences` gives them."""
    log = read_log(folder)
    age = pl.int_range(pl.len() - 1, -1, -1).over(col.USER_ID)
    dated = log.with_columns((pl.lit(DAY) - age * timedelta(days=1)).alias(col.EVENT_DATE))
    return (
        dated.filter(age <= max_length)
        .with_row_index(col.INTERACTION_ID)
        .with_columns(
            pl.col(col.INTERACTION_ID).cast(pl.Int64),
            pl.col(col.EVENT_DATE).cast(pl.Datetime("us", "UTC")).alias(col.EVENT_TIME),
        )
    )


def random_vectors(frame: pl.DataFrame) -> pl.DataFrame:
    """A random vector for every item: the values do not change the time."""
    items = frame.select(col.ITEM_ID).unique().sort(col.ITEM_ID)
    matrix = np.random.default_rng(0).normal(size=(items.height, ENCODER_DIM)).astype(np.float32)
    return items.with_columns(
        pl.Series(col.VECTOR, matrix, dtype=pl.Array(pl.Float32, ENCODER_DIM))
    )


def quick_model(frame: pl.DataFrame, vectors: pl.DataFrame, backbone: str) -> Model:
    """A model of one epoch over some of the users; its vocabulary is what they took."""
    config = Config(
        model=ModelConfig(backbone=backbone),  # type: ignore[arg-type]
        train=TrainConfig(epochs=1, backbone_epochs=0),
    )
    users = frame[col.USER_ID].unique(maintain_order=True).head(TRAIN_USERS)
    return fit_model(config, frame.filter(pl.col(col.USER_ID).is_in(users.implode())), vectors, {})


def forward(backbone: Backbone, sequences: Sequences, max_length: int) -> Callable[[], None]:
    """One pass over all windows, states only."""

    @torch.inference_mode()
    def run() -> None:
        cut = windows(sequences.length_U, max_length, max_length // 2)
        for batch in batches(sequences, cut, POSITIONS):
            backbone.states(batch.item_BL)

    return run


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(frame: pl.DataFrame, vectors: pl.DataFrame, backbone: str, *, profile: bool) -> bool:
    """Measure one backbone and print its rows; whether the floor holds."""
    model = quick_model(frame, vectors, backbone)
    tools = exact(model.instruments)
    max_length = model.instruments.settings.sequence.max_length
    sequences = encode(frame, col.USER_ID, tools.vocabulary, vectors[col.ITEM_ID])
    text_TP = torch.randn(vectors.height + 1, tools.space.components_KP.shape[1]).double()
    wanted_N = torch.tensor((frame[col.EVENT_DATE] == DAY).to_numpy())
    runs: dict[str, Callable[[], object]] = {
        "bare forward pass": forward(model.instruments.aligner.backbone, sequences, max_length),
        "the same in float64": forward(tools.aligner.backbone, sequences, max_length),
        "signals": lambda: measure(tools, text_TP, sequences, wanted_N),
        "scoring": lambda: score_sequences(model, frame, vectors, DAY),
    }
    seconds = {name: [cpu_seconds(run)] for name, run in runs.items()}  # the first warms up
    for _ in range(ROUNDS):
        for name, run in runs.items():
            seconds[name].append(cpu_seconds(run))
    median = {name: statistics.median(found[1:]) for name, found in seconds.items()}
    bare = median["bare forward pass"]
    for name, found in median.items():
        print(f"| {backbone} | {name} | {found:.2f} | {found / bare:.2f} |", flush=True)
    if profile:
        with cProfile.Profile() as watch:
            score_sequences(model, frame, vectors, DAY)
        pstats.Stats(watch).sort_stats("tottime").print_stats(25)
    return median["scoring"] <= FLOOR * bare


def main() -> None:
    """Measure and print a table; the exit code tells whether the floor holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=[*BACKBONES])
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frame = nights(arguments.data, Config().sequence.max_length)
    vectors = random_vectors(frame)
    print(
        f"{frame[col.USER_ID].n_unique():,} users, {frame.height:,} interactions, one thread\n\n"
        "| backbone | what | CPU s | CPU / bare |\n|---|---|---|---|"
    )
    held = [
        compare(frame, vectors, name, profile=arguments.profile) for name in arguments.backbones
    ]
    raise SystemExit(not all(held))


if __name__ == "__main__":
    main()
