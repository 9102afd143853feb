"""What was made from the tables and lies beside them: where copies of a person can be."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

import polars as pl

from pipeline import columns as col
from pipeline.config import Config
from pipeline.encoders import PREFIXES
from pipeline.encoders.cache import drop_vectors
from pipeline.progress import progress
from pipeline.schemas import ITEM_EMBEDDINGS, RUNS, TABLES
from pipeline.steps.export import STEP as EXPORT
from pipeline.steps.export import known_exports
from pipeline.storage import files
from pipeline.storage.lake import Lake
from pipeline.storage.search import Needle

EVALUATE = "evaluate"
REPORT = ".html"

Sized = list[tuple[str, int]]


@dataclass(frozen=True)
class Copies:
    """Files that hold the user, files and exports that are outdated once the user is gone."""

    holding: list[str]  # staged shards, cells of evaluations: they are made again at need
    outdated: list[str]  # reports that name the user, catalogues of states that cannot be read
    exports: list[str]  # folders


def everything(config: Config, lake: Lake) -> Sized:
    """Every file of the lake, of the catalogue's folder, of exports and evaluations elsewhere."""
    folders = [lake.root, *_folders(lake, EXPORT), *_folders(lake, EVALUATE)]
    found = {path: size for folder in folders for path, size, _ in files.walk(folder)}
    if config.lake.catalog:
        catalogues = files.list_files(config.lake.catalog)
        found |= {path: 0 for path in catalogues if _stem(path).startswith("catalog")}
    return sorted(found.items())


def find(config: Config, lake: Lake, needle: Needle, since: datetime) -> Copies:
    """Copies of the user. Of what is outdated, only what was there before `since`."""
    folders = [lake.root, *_folders(lake, EVALUATE)]
    there = [
        each for folder in folders for each in files.walk(folder) if not _of_a_table(lake, each[0])
    ]
    with progress(len(there), "look at what was derived", "files") as bar:
        held = needle.search([(path, size) for path, size, _ in there], bar).held
    reports = [
        path
        for path, _, changed in there
        if path.endswith(REPORT) and changed < since and needle.within(files.read_bytes(path))
    ]
    return Copies(
        sorted({hit.path for hit in held}),
        sorted([*reports, *_past_catalogues(config, lake, since)]),
        _past_exports(lake, since),
    )


def drop_prefixes(lake: Lake) -> list[str]:
    """Drop the vectors of whole histories' texts (`model.texts = "prefixes"`); returns the files.

    They do not tell whose history it was. They are made again at need.
    """
    dropped = []
    for encoder_id, paths in lake.partition_files(ITEM_EMBEDDINGS).items():
        if encoder_id.startswith(PREFIXES):
            drop_vectors(lake, encoder_id)
            dropped += paths
    files.delete(dropped)
    return dropped


def _of_a_table(lake: Lake, path: str) -> bool:
    return any(path.startswith(lake.path(table.name, "")) for table in TABLES)


def _past_catalogues(config: Config, lake: Lake, since: datetime) -> list[str]:
    """Catalogues of single states (`--as-of`)."""
    folder = config.lake.catalog or lake.root
    there = [
        each
        for each in files.walk(folder)
        if PurePosixPath(each[0]).parent.name == PurePosixPath(folder).name
    ]
    return [
        path for path, _, changed in there if _stem(path).startswith("catalog-") and changed < since
    ]


def _past_exports(lake: Lake, since: datetime) -> list[str]:
    """Exports that are still there, and were last written before."""
    written = _last_runs(lake, EXPORT)
    return [folder for folder in known_exports(lake) if written[folder] < since]


def _folders(lake: Lake, step: str) -> list[str]:
    """Folders outside of the lake that a step wrote."""
    return [folder for folder in _last_runs(lake, step) if not folder.startswith(lake.path(""))]


def _last_runs(lake: Lake, step: str) -> dict[str, datetime]:
    """Folder that a step wrote -> when its last run began."""
    rows = lake.scan(RUNS).filter(pl.col(col.STEP) == step).sort(col.STARTED_AT)
    found = {}
    for outputs, started in rows.select(col.OUTPUTS, col.STARTED_AT).collect().iter_rows():
        if folder := json.loads(outputs).get("folder"):
            found[folder] = started
    return found


def _stem(path: str) -> str:
    return path.rpartition("/")[2]
