"""Scoring a night against the bare forward pass of the backbone over the same sequences.

    python benchmarks/score.py [DATA_DIR] [--backbones gru4rec sasrec caser] [--profile]

DATA_DIR as in train.py. Of each user the last interaction is scored, the others are its history.
The bare pass is float32 over the same windows, in batches as large; scoring is float64, so that
the pass is timed in float64 as well, and beside it the other parts of the signals, each alone. CPU
time on one thread, median of the rounds, all of them in turn.
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
from torch import Tensor

from pipeline import columns as col
from pipeline.config import ClozeConfig, Config, ModelConfig, TrainConfig
from pipeline.models.backbone import Backbone
from pipeline.models.backbones import BACKBONES
from pipeline.models.batches import Batch, Places, Sequences, batches, encode, windows
from pipeline.models.decision import score_sequences
from pipeline.models.model import Instruments, Model
from pipeline.models.semantic import matrix
from pipeline.models.signals import POSITIONS, View, exact, measure, surprise
from pipeline.models.training import fit_model

ENCODER_DIM = 384
FLOOR = 1.3  # scoring may take so many times the bare forward pass
ROUNDS = 3
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
        model=ModelConfig(backbone=backbone),
        cloze=ClozeConfig(epochs=1),
        train=TrainConfig(epochs=1, backbone_epochs=0),
    )
    users = frame[col.USER_ID].unique(maintain_order=True).head(TRAIN_USERS)
    return fit_model(config, frame.filter(pl.col(col.USER_ID).is_in(users.implode())), vectors, {})


def forward(backbone: Backbone, sequences: Sequences, max_length: int) -> Callable[[], None]:
    """One pass over all windows, states only."""

    def work(batch: Batch) -> None:
        backbone.states(batch.item_BL)

    return each_batch(sequences, max_length, work)


def each_batch(
    sequences: Sequences, max_length: int, work: Callable[[Batch], None]
) -> Callable[[], None]:
    """The work on every batch of windows, as scoring cuts them."""

    @torch.inference_mode()
    def run() -> None:
        for batch in batches(
            sequences, windows(sequences.length_U, max_length, max_length // 2), POSITIONS
        ):
            work(batch)

    return run


def parts(
    tools: Instruments, text_TP: Tensor, sequences: Sequences, wanted_N: Tensor
) -> dict[str, Callable[[], object]]:
    """What the signals are made of besides the backbone's pass, each part alone."""
    max_length = tools.settings.sequence.max_length
    aligned_TP = text_TP[:, : tools.settings.model.semantic_dim].contiguous()
    sequence_N, cloze, sample_M = sequences.sequence_N, tools.cloze, tools.sample_M

    def directions(x_TP: Tensor, row_N: Tensor) -> Callable[[], None]:
        view = View.of(x_TP, row_N, sequences.length_U)

        def work(batch: Batch) -> None:
            chosen_BL = batch.fresh_BL & wanted_N[batch.index_BL]
            owner_B = sequence_N[batch.index_BL[:, 0]]
            view.products(batch, owner_B, Places.of(chosen_BL).place_BQ)

        return each_batch(sequences, max_length, work)

    @torch.inference_mode()
    def around() -> None:
        text_TD = cloze.text(aligned_TP)

        def work(batch: Batch) -> None:
            places = Places.of(batch.fresh_BL & wanted_N[batch.index_BL])
            x_BLD = cloze.items(batch.item_BL) + text_TD[batch.text_BL]
            seen = cloze.attend(x_BLD, batch.mask_BL, places.place_BQ)
            cloze.expect(*map(places.flat, seen))

        each_batch(sequences, max_length, work)()

    @torch.inference_mode()
    def softmax(table_VD: Tensor, sample_MD: Tensor) -> None:
        item_N = sequences.item_N[wanted_N]
        own_ND = table_VD[item_N]
        surprise(own_ND, own_ND, item_N, (sample_M, sample_MD))

    items_VD = tools.aligner.backbone.items.weight.detach()
    return {
        "cosines, texts and factors": lambda: (
            directions(text_TP, sequences.text_N)(),
            directions(tools.factor_VR, sequences.item_N)(),
        ),
        "cloze": around,
        "softmax over the sample, twice": lambda: (
            softmax(items_VD, items_VD[sample_M]),
            softmax(cloze.items.weight.detach(), tools.around_MD),
        ),
    }


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(frame: pl.DataFrame, vectors: pl.DataFrame, backbone: str, *, profile: bool) -> bool:
    """Measure one backbone and print its rows; whether the floor holds."""
    model = quick_model(frame, vectors, backbone)
    max_length = model.instruments.settings.sequence.max_length
    plain = encode(frame, col.USER_ID, model.instruments.vocabulary, vectors[col.ITEM_ID])
    plain_TP = model.instruments.space.project(matrix(vectors))
    wanted_N = torch.tensor((frame[col.EVENT_DATE] == DAY).to_numpy())
    tools, text_TP, sequences = exact(model.instruments, plain_TP, plain)
    runs: dict[str, Callable[[], object]] = {
        "bare forward pass": forward(model.instruments.aligner.backbone, plain, max_length),
        "the same in float64": forward(tools.aligner.backbone, sequences, max_length),
        **parts(tools, text_TP, sequences, wanted_N),
        "signals": lambda: measure(model.instruments, plain_TP, plain, wanted_N),
        "texts, projected": lambda: tools.space.project(matrix(vectors)),
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
