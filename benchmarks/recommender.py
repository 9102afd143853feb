"""The recommender that judges tables, trained on a raw log: leave-one-out, full ranking.

    python benchmarks/recommender.py [DATA_DIR] [--backbones sasrec gru4rec caser] [--ties file]

DATA_DIR as in train.py. Trained on all but each user's last two items, its epoch chosen by the
second to last, judged by the last with the second to last in the history; seen items are not
ranked. `--ties file` keeps the file's order within equal times, as published figures do; `shuffle`
(default) does as the product does. `--set key=value` overrides settings of `[recommender]`. One
thread.
"""

import argparse
import time
from pathlib import Path

import polars as pl
import torch
from parts.log import read_log

from pipeline import columns as col
from pipeline.config import RecommenderConfig
from pipeline.evaluation.recommender import (
    CONTEXT,
    RANK,
    TARGET_WEIGHT,
    accuracy,
    fit_recommender,
    ranks,
)
from pipeline.models.backbones import BACKBONES
from pipeline.models.model import count_items


def split(log: pl.DataFrame, left_out: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All but the last `left_out` items of each user, and the first of those left out."""
    after = pl.int_range(pl.len() - 1, -1, -1).over(col.USER_ID)
    columns = log.with_columns(
        pl.lit(1.0).alias(TARGET_WEIGHT),
        pl.lit(True).alias(CONTEXT),
    )
    history = columns.filter(after >= left_out)
    return history, log.filter(after == left_out - 1).select(col.USER_ID, col.ITEM_ID)


def judge(log: pl.DataFrame, config: RecommenderConfig, seed: int) -> str:
    """Train, rank the last items, and tell in one row of the table."""
    train, validate = split(log, 2)
    history, test = split(log, 1)
    vocabulary = count_items(log, 1).select(col.ITEM_ID)
    cpu = time.process_time()
    fitted = fit_recommender(train, validate, vocabulary, config, seed)
    seconds = time.process_time() - cpu
    best = fitted.epochs[fitted.best_epoch]
    found = accuracy(ranks(fitted, history, test)[RANK])
    return (
        f"| {config.backbone} | {found['hit_rate']:.4f} | {found['ndcg']:.4f} | {best['ndcg']:.4f} "
        f"| {fitted.best_epoch + 1} of {len(fitted.epochs)} | {seconds:.0f} |"
    )


def main() -> None:
    """Train each backbone and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=[*BACKBONES])
    parser.add_argument("--ties", choices=("shuffle", "file"), default="shuffle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    log = read_log(arguments.data, shuffled=arguments.ties == "shuffle")
    settings = dict(pair.split("=", 1) for pair in arguments.set)
    print(
        f"{log.height:,} interactions, ties: {arguments.ties}, seed {arguments.seed}\n\n"
        "| backbone | HR@10 | NDCG@10 | NDCG@10 of validation | best epoch | CPU s, training |\n"
        + "|---" * 6
        + "|"
    )
    for name in arguments.backbones:
        config = RecommenderConfig.model_validate({"backbone": name} | settings)
        print(judge(log, config, arguments.seed), flush=True)


if __name__ == "__main__":
    main()
