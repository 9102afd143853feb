"""Items embedded once against the paper's joined prefixes: texts, time, and noise that is found.

    python benchmarks/fidelity.py [DATA_DIR] [--users 300] [--lake FOLDER] [--noise popularity:0.2]

DATA_DIR holds interactions.csv.gz (user_id, item_id, timestamp) and items.csv.gz (ItemID, Title),
as of Beauty; without it a log is generated. Some users are drawn; a model learns from two thirds of
them and judges the others, whose sequences get known noise. With a lake that is kept, the next run
finds the vectors there, and goes on where one that was stopped ended. One thread.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from pipeline import columns as col
from pipeline.config import Config
from pipeline.configuration import override
from pipeline.encoders import encoder_id, prefix_encoder_id
from pipeline.encoders.cache import read_vectors
from pipeline.evaluation.detection import detect_rows
from pipeline.evaluation.noise import parse
from pipeline.evaluation.unseen import Unseen
from pipeline.models.batches import Prefixes
from pipeline.schemas import INTERACTIONS, ITEM_EMBEDDINGS, RUNS
from pipeline.sequences import read_sequences
from pipeline.steps.embed import embed
from pipeline.steps.ingest import ingest
from pipeline.steps.prefixes import reading_prefixes
from pipeline.storage.lake import Lake

SHOWN = {
    "ours": "ours",
    "iadsr": "IADSR's logit",
    col.SIGNAL_ALIGNED_LONG_SHORT: "cos(s_L, c_t)",
    col.SIGNAL_ALIGNED_SHORT_LONG: "cos(c_L, s_t)",
    col.SIGNAL_ALIGNED_SHORT_SHORT: "cos(c_t, s_t)",
}
DAY_S = 86_400


def generated(folder: Path) -> None:
    """A log of users who keep to one of eight kinds of things, but for one in ten."""
    kinds = ["lipstick", "shampoo", "garden hose", "violin", "tea", "novel", "bicycle", "lamp"]
    made = ["Red", "Blue", "Small", "Large", "French", "Organic", "Classic", "New"]
    titles = [f"{a} {k}, {b.lower()} edition" for k in kinds for a in made for b in made if a != b]
    each, draw = len(titles) // len(kinds), random.Random(0)
    rows = [
        (f"u{user}", f"i{each * (user % 8 if draw.random() > 0.1 else draw.randrange(8)) + i}", t)
        for user in range(3_000)
        for t, i in enumerate(draw.choices(range(each), k=draw.randint(5, 14)))
    ]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "day"], orient="row")
    log = log.select(
        "user_id", "item_id", (1_400_000_000 + pl.col("day") * DAY_S).alias("timestamp")
    )
    log.write_csv(folder / "interactions.csv")
    items = pl.DataFrame({"ItemID": [f"i{n}" for n in range(len(titles))], "Title": titles})
    items.write_csv(folder / "items.csv")


def sample(data: Path | None, folder: Path, users: int) -> None:
    """Interactions of so many users, drawn, and the titles of their items, as CSV in `folder`."""
    if data is None:
        generated(folder)
    source, suffix = (folder, "csv") if data is None else (data, "csv.gz")
    log = pl.read_csv(source / f"interactions.{suffix}", infer_schema=False)
    items = pl.read_csv(source / f"items.{suffix}", infer_schema=False)
    drawn = log[col.USER_ID].unique().sort().sample(users, seed=0, shuffle=True)
    log = log.filter(pl.col(col.USER_ID).is_in(drawn.implode()))
    log.write_csv(folder / "sampled.csv")
    items.filter(pl.col("ItemID").is_in(log[col.ITEM_ID].implode())).write_csv(
        folder / "titles.csv"
    )


def configuration(folder: Path) -> Config:
    """The defaults, over the sampled log."""
    return Config.model_validate(
        {
            "lake": {"path": str(folder / "lake")},
            "encoder": {"commit_texts": 256},
            "sources": {
                "log": {
                    "format": "csv",
                    "path": str(folder / "sampled.csv"),
                    "columns": {"event_time": "timestamp"},
                }
            },
            "catalogues": {
                "items": {
                    "format": "csv",
                    "path": str(folder / "titles.csv"),
                    "columns": {"item_id": "ItemID", "title": "Title"},
                }
            },
        }
    )


@dataclass
class Watched:
    """Prefixes, and the CPU seconds that reading them takes, embedding and all."""

    read: Prefixes
    seconds: float = 0.0

    def __call__(self, frame: pl.DataFrame, project: Callable[[Tensor], Tensor]) -> Tensor:
        """As `Prefixes`."""
        start = time.process_time()
        found = self.read(frame, project)
        self.seconds += time.process_time() - start
        return found


def embedded(lake: Lake, encoder: str) -> int:
    """Texts that finished runs have embedded under an encoder."""
    runs = lake.scan(RUNS).filter(pl.col(col.STEP) == "embed", pl.col(col.ENCODER_ID) == encoder)
    return sum(json.loads(counts).get("embedded", 0) for counts in runs.collect()[col.COUNTS])


def measure(config: Config, lake: Lake, noise: str) -> str:
    """Embed what one way needs, train, judge, and tell in one row of the table."""
    items = encoder_id(config.encoder)
    encoder = items if config.model.texts == "items" else prefix_encoder_id(items)
    before = embedded(lake, encoder)
    start = time.process_time()
    embed(config, lake)
    seconds = time.process_time() - start
    frame = read_sequences(lake, config.sequence, max(lake.partition_rows(INTERACTIONS)))
    vectors = read_vectors(lake, items)
    with reading_prefixes(config, lake) as read:
        watched = Watched(read) if read else None
        start = time.process_time()
        bench = Unseen(config, frame, vectors, watched)
        found = detect_rows(config, bench.judged(parse(noise), config.train.seed))
        rest = time.process_time() - start
    if watched:
        seconds, rest = watched.seconds, rest - watched.seconds
    texts, new = lake.partition_rows(ITEM_EMBEDDINGS)[encoder], embedded(lake, encoder) - before
    told = found.filter(pl.col("stratum").is_null()).select("arm", "metric", "value")
    value = {(arm, metric): number for arm, metric, number in told.iter_rows()}
    scores = [f"{value[arm, 'AUROC']:.3f}" for arm in SHOWN]
    precisions = [f"{value[arm, 'AP']:.3f}" for arm in ("ours", "iadsr")]
    cost = [f"{texts:,}", f"{new:,}", f"{seconds:.0f}", f"{rest:.0f}"]
    cells = [*cost, *scores, *precisions]
    return f"| {config.model.texts} | {' | '.join(cells)} |"


def main() -> None:
    """Print a table with a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--lake", type=Path, help="keep the lake, its vectors and its log here")
    parser.add_argument("--noise", default="popularity:0.2")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.lake or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        sample(arguments.data, folder, arguments.users)
        config = configuration(folder)
        for section in ("train", "cloze"):
            config = override(config, section, {"seed": arguments.seed})
        lake = Lake(config.lake.path)
        ingest(config, lake)
        users, rows = arguments.users, lake.size(INTERACTIONS)[0]
        head = ["texts", "of them now", "embed CPU s", "rest CPU s"]
        head += [f"AUROC {name}" for name in SHOWN.values()] + ["AP ours", "AP IADSR's logit"]
        print(f"{users:,} users, {rows:,} interactions, {arguments.noise}, seed {arguments.seed}\n")
        print(f"| semantic view | {' | '.join(head)} |\n|{'---|' * (len(head) + 1)}", flush=True)
        for texts in ("items", "prefixes"):
            print(measure(override(config, "model", {"texts": texts}), lake, arguments.noise))


if __name__ == "__main__":
    main()
