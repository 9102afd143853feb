"""Noise that others injected (LLM4DSR's), looked for by a model that never saw where it is.

    python benchmarks/peer_noise.py DATA_DIR [--cache FOLDER] [--seed 0]

DATA_DIR holds noise0.1-train_5000.csv.gz, -valid and -test, and id2name.json. In the windows of
eleven items one in ten was replaced. The model learns from the windows of train and valid, noise
included, without the users of the test windows; it judges the test windows but for their targets.
Title vectors (MiniLM) are kept in the cache folder. One thread.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import torch
from parts.windows import inputs, read_titles, read_windows, sequences

from pipeline import columns as col
from pipeline.config import Config, EncoderConfig
from pipeline.configuration import override
from pipeline.digests import digest
from pipeline.encoders import encoder_id, load
from pipeline.evaluation.cleaning import judge
from pipeline.evaluation.detection import detect_rows, suspicion
from pipeline.evaluation.names import NOISE_PROBABILITY_IADSR, ROW
from pipeline.models.names import COUNT, INJECTED, SEQUENCE, WANTED
from pipeline.models.thresholds import stratum_of
from pipeline.models.training import Learned, learn
from pipeline.progress import progress

NAMES = ("noise0.1-train_5000", "noise0.1-valid", "noise0.1-test")
LABELS = {"ours": "ours", "iadsr": "IADSR's logit", "popularity": "popularity alone"}


def embed(titles: pl.DataFrame, cache: Path) -> pl.DataFrame:
    """item_id and vector of each title, embedded once a cache."""
    config = EncoderConfig()
    texts = titles["title"].to_list()
    file = cache / f"{encoder_id(config)}-{digest(texts, 16)}.npy"
    if not file.exists():
        with load(config) as encoder, progress(len(texts), "embed", "titles") as bar:
            vectors = encoder.encode(texts, bar).vectors
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, vectors)
    vectors = np.load(file)
    column = pl.Series(col.VECTOR, vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
    return titles.select(col.ITEM_ID, column)


def judged(learned: Learned, test: pl.DataFrame, vectors: pl.DataFrame) -> pl.DataFrame:
    """The test positions with every score and decision, count and stratum by the training log."""
    frame = test.with_columns(pl.lit(True).alias(WANTED)).with_row_index(ROW)
    found = frame.join(judge(learned, frame, vectors), on=ROW, maintain_order="left")
    found = found.join(
        learned.instruments.vocabulary, on=col.ITEM_ID, how="left", maintain_order="left"
    )
    has_text = pl.col(col.ITEM_ID).is_in(vectors[col.ITEM_ID].implode())
    strata = learned.instruments.settings.decision.strata
    stratum = stratum_of(pl.col(COUNT), has_text, strata).alias(col.STRATUM)
    return found.with_columns(stratum, pl.col(COUNT).fill_null(0))


def ranking(config: Config, rows: pl.DataFrame) -> Iterator[str]:
    """A Markdown table: each score by AUROC, AP, and what it finds at the false-drop budget."""
    budget = config.decision.false_drop_budget
    yield (
        f"| score | AUROC | AP | precision at {budget:.0%} | recall at {budget:.0%} |\n"
        "|---|---|---|---|---|"
    )
    found = detect_rows(config, rows).filter(pl.col(col.STRATUM).is_null())
    scores = {
        "ours": pl.col(col.NOISE_PROBABILITY).fill_null(0.0),
        "iadsr": pl.col(NOISE_PROBABILITY_IADSR).fill_null(0.0),
        **{name: suspicion(name) for name in col.SIGNALS},
        "popularity": -pl.col(COUNT),
    }
    for name, score in scores.items():
        told = dict(found.filter(pl.col("arm") == name).select("metric", "value").iter_rows())
        precision, recall = at_budget(rows.with_columns(score.alias("score")), budget)
        yield (
            f"| {LABELS.get(name, name)} | {told['AUROC']:.3f} | {told['AP']:.3f} "
            f"| {precision:.3f} | {recall:.3f} |"
        )


def at_budget(rows: pl.DataFrame, budget: float) -> tuple[float, float]:
    """Precision and recall of the lowest threshold that drops no more genuine rows than allowed."""
    genuine = rows.filter(~pl.col(INJECTED))["score"].sort(descending=True)
    threshold = genuine[int(budget * len(genuine))]
    caught = rows.filter(pl.col("score") > threshold)[INJECTED]
    found = int(caught.sum())
    return found / max(len(caught), 1), found / int(rows[INJECTED].sum())


def decisions(config: Config, rows: pl.DataFrame) -> Iterator[str]:
    """A Markdown table of what was decided, by the thresholds that the calibration chose."""
    yield (
        "| decision | stratum | genuine rows | precision | recall | false drops |\n"
        + "|---" * 6
        + "|"
    )
    found = detect_rows(config, rows).filter(pl.col("arm").is_in(["ours", "iadsr"]))
    for (arm, stratum), part in found.group_by("arm", col.STRATUM, maintain_order=True):
        told = dict(part.select("metric", "value").iter_rows())
        if "false drops" not in told:
            continue
        genuine = part.filter(pl.col("metric") == "false drops")["n"].item()
        numbers = (told[name] for name in ("precision", "recall", "false drops"))
        cells = ("-" if value is None else f"{value:.3f}" for value in numbers)
        yield f"| {LABELS[str(arm)]} | {stratum or 'all'} | {genuine:,} | {' | '.join(cells)} |"


@contextmanager
def clock(what: str) -> Iterator[None]:
    """Print what took how long."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"- {what}: {wall:.0f} s ({cpu:.0f} s of CPU)", flush=True)


def measure(folder: Path, cache: Path, config: Config) -> None:
    """Train, judge and print."""
    train, valid, test = (read_windows(folder / f"{name}.csv.gz") for name in NAMES)
    with clock("title vectors"):
        vectors = embed(read_titles(folder), cache)
    windows = pl.concat([train, valid]).sort("timestamp", maintain_order=True)
    overlap = windows.join(test, on=col.USER_ID, how="semi")[col.USER_ID].n_unique()
    log = sequences(windows.join(test, on=col.USER_ID, how="anti"))
    print(
        f"- training: {log.height:,} interactions, {log[col.USER_ID].n_unique():,} users, "
        f"{log[col.ITEM_ID].n_unique():,} items, of {windows.height:,} windows; {overlap:,} users "
        "who have test windows were left out"
    )
    with clock("training and calibration"):
        learned = learn(config, log, vectors, "log")
    fit = learned.fit
    print(f"- aligner: epoch {fit.best_epoch + 1} of {len(fit.epochs)} is the best")
    positions = inputs(test)
    with clock("judging"):
        rows = judged(learned, positions, vectors)
    last = rows.filter(pl.col(SEQUENCE) == pl.col(SEQUENCE).max().over(col.USER_ID))
    for name, part in (("all test windows", rows), ("the last window of each user", last)):
        print(
            f"\n{name}: {part[SEQUENCE].n_unique():,} windows, {part.height:,} positions, "
            f"{part[INJECTED].sum():,} of them noise\n"
        )
        print("\n".join(ranking(config, part)))
    print("\nAs decided, all test windows:\n")
    print("\n".join(decisions(config, rows)))


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    cache = Path(tempfile.gettempdir()) / "iadsr-peer-noise"
    parser.add_argument("--cache", type=Path, default=cache)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.data is None:
        print("nothing to measure: name the folder of LLM4DSR's files (DATA_DIR)")
        return
    torch.set_num_threads(1)
    config = Config()
    for section in ("train", "cloze"):
        config = override(config, section, {"seed": arguments.seed})
    measure(arguments.data, arguments.cache, config)


if __name__ == "__main__":
    main()
