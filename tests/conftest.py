"""A small log with two tastes, and a lake in which it is ingested, embedded and trained on."""

import csv
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.config import Config
from pipeline.configuration import load
from pipeline.schemas import RUNS, TABLES, Table
from pipeline.storage.lake import Lake

# The models here are tiny: threads that wait for each other take longer than the work itself. For
# the programs that the tests start, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

FIRST_DAY = date(2024, 1, 1)
DAYS = 20
TRAINED = date(2024, 1, 16)
NIGHT = date(2024, 1, 17)
NIGHTS = [NIGHT + timedelta(days=i) for i in range(4)]

USERS = 120
TASTES = {
    "garden": ["rose", "tulip", "fern", "oak tree", "spade", "rake", "compost", "seed tray"],
    "music": [
        "violin",
        "drum kit",
        "guitar",
        "piano stool",
        "trumpet",
        "cello bow",
        "flute",
        "amp",
    ],
}

CONFIG = """
[lake]
path = "lake"

[sources.clicks]
format = "csv"
path = "{data}/clicks-*.csv"

[catalogues.items]
format = "csv"
path = "{data}/items.csv"

[model]
dim = 16
hidden = 16
semantic_dim = 8

[train]
epochs = 3
backbone_epochs = 1
negatives = 8
validation_share = 0.3

[decision]
min_calibration_rows = 20
false_drop_budget = 0.1
"""


def items() -> list[tuple[str, str]]:
    """(item_id, title) of 64 items: four of each thing."""
    return [
        (f"{taste[0]}{n}-{k}", f"{taste} {thing}, model {k}")
        for taste, things in TASTES.items()
        for n, thing in enumerate(things)
        for k in range(4)
    ]


def clicks(seed: int = 7) -> list[tuple[str, str, int]]:
    """(user_id, item_id, unix seconds): each user keeps to one taste, but for one click in ten."""
    rng = random.Random(seed)
    by_taste = {taste: [i for i, _ in items() if i[0] == taste[0]] for taste in TASTES}
    rows = []
    for user in range(USERS):
        own, other = list(TASTES) if user % 2 else list(TASTES)[::-1]
        for day in sorted(rng.choices(range(DAYS), k=rng.randint(10, 18))):
            taste = other if rng.random() < 0.1 else own
            at = datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(days=day)
            second = int(at.timestamp()) + rng.randrange(86_400)
            rows.append((f"user{user}", rng.choice(by_taste[taste]), second))
    return sorted(rows, key=lambda row: row[2])


def write_csv(path: Path, header: list[str], rows: list[tuple[object, ...]]) -> Path:
    """A CSV file with a header."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_clicks(path: Path, rows: list[tuple[str, str, int]]) -> Path:
    """An interaction log with our own column names."""
    return write_csv(path, ["user_id", "item_id", "event_time"], list(rows))


def contents(lake: Lake, table: Table) -> pl.DataFrame:
    """All rows of a table, in an order that does not depend on its files."""
    frame = lake.scan(table).collect()
    return frame.sort([name for name in frame.columns if frame[name].dtype != pl.List])


@dataclass(frozen=True)
class Workspace:
    """A folder with a configuration, a lake and the files it reads."""

    folder: Path
    data: Path

    @property
    def config_path(self) -> Path:
        return self.folder / "iadsr.toml"

    @property
    def config(self) -> Config:
        return load(self.config_path, {}).config

    @property
    def lake(self) -> Lake:
        return Lake(self.config.lake.path)

    def contents(self, table: Table) -> pl.DataFrame:
        """All rows of a table, in an order that does not depend on its files."""
        return contents(self.lake, table)

    def tables(self) -> dict[str, pl.DataFrame]:
        """Contents of every table but `runs`, which tells of every attempt."""
        return {t.name: self.contents(t) for t in TABLES if t != RUNS}

    def versions(self) -> dict[str, int]:
        """Snapshot version of every table but `runs`."""
        return {t.name: self.lake.version(t) for t in TABLES if t != RUNS}


def new_workspace(folder: Path, data: Path) -> Workspace:
    """An empty workspace that reads `data`."""
    folder.mkdir(parents=True, exist_ok=True)
    data.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(folder, data)
    workspace.config_path.write_text(CONFIG.format(data=data))
    return workspace


def copy_workspace(workspace: Workspace, root: Path) -> Workspace:
    """A copy below `root`, its data files too."""
    folder, data = root / "work", root / "data"
    shutil.copytree(workspace.folder, folder)
    shutil.copytree(workspace.data, data)
    copied = Workspace(folder, data)
    text = workspace.config_path.read_text()
    copied.config_path.write_text(text.replace(str(workspace.data), str(data)))
    return copied


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The log up to the first night, ingested, embedded and trained on. Copied, never changed."""
    from pipeline.steps.embed import embed
    from pipeline.steps.ingest import ingest
    from pipeline.steps.promote import promote
    from pipeline.steps.train import train

    root = tmp_path_factory.mktemp("trained")
    workspace = new_workspace(root / "work", root / "data")
    write_csv(workspace.data / "items.csv", ["item_id", "title"], list(items()))
    write_clicks(workspace.data / "clicks-all.csv", clicks())
    ingest(workspace.config, workspace.lake)
    embed(workspace.config, workspace.lake)
    promote(workspace.config, workspace.lake, train(workspace.config, workspace.lake, TRAINED))
    return workspace


@pytest.fixture(scope="session")
def cleaned(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The trained workspace with its first two nights published. Copied, never changed."""
    from pipeline.steps.night import run_night

    root = tmp_path_factory.mktemp("cleaned")
    workspace = copy_workspace(trained, root)
    for night in NIGHTS[:2]:
        run_night(workspace.config, workspace.lake, night)
    return workspace


@pytest.fixture
def copy_of(tmp_path: Path) -> Iterator[Callable[..., Workspace]]:
    """Function that gives a private copy of a workspace (its data files too)."""

    def copy(workspace: Workspace, name: str = "copy") -> Workspace:
        return copy_workspace(workspace, tmp_path / name)

    return copy


@pytest.fixture
def workspace(trained: Workspace, copy_of: Callable[..., Workspace]) -> Workspace:
    """A private copy of the trained workspace."""
    return copy_of(trained)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty S3 bucket on this machine, and the environment that leads to it."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    running.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="logs")
    yield "s3://logs"
    running.stop()
