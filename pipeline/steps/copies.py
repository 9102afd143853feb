"""What was made from the tables and lies beside them: where copies of a person can be."""

import json
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from pipeline import columns as col
from pipeline.config import Config
from pipeline.encoders import PREFIXES
from pipeline.encoders.cache import drop_vectors
from pipeline.evaluation.cells import FOLDER as CELLS
from pipeline.progress import progress
from pipeline.schemas import ITEM_EMBEDDINGS, RUNS
from pipeline.steps.export import STEP as EXPORT
from pipeline.steps.export import known_exports, unfinished_exports
from pipeline.storage import files, places, staging
from pipeline.storage.lake import Lake
from pipeline.storage.search import Needle

Sized = list[tuple[str, int]]


@dataclass(frozen=True)
class Copies:
    """Files that hold the user, files and exports that are outdated once the user is gone."""

    holding: list[str]  # staged shards, cells of evaluations: they are made again at need
    outdated: list[str]  # reports that name the user, catalogues of states that cannot be read
    exports: list[str]  # folders, those too that a killed run left half written


def everything(config: Config, lake: Lake) -> Sized:
    """Every file of the lake, and what catalogues, exports and evaluations lie elsewhere."""
    found = [
        *files.walk(lake.root),
        *_catalogues(config, lake),
        *(each for folder in _exports(lake) for each in files.walk(folder)),
        *(each for folder in _evaluations(lake) for each in files.walk(files.join(folder, CELLS))),
    ]
    return sorted({path: size for path, size, _ in found}.items())


def find(config: Config, lake: Lake, needle: Needle, since: datetime) -> Copies:
    """Copies of the user. Of what is outdated, only what was there before `since`."""
    folders = [lake.path(staging.FOLDER), *(files.join(f, CELLS) for f in _evaluations(lake))]
    there = [(path, size) for folder in folders for path, size, _ in files.walk(folder)]
    with progress(len(there), "look at what was derived", "files") as bar:
        held = needle.search(there, bar).held
    reports = [
        path
        for path, _, changed in files.walk(lake.path(places.REPORTS))
        if changed < since and needle.within(files.read_bytes(path))
    ]
    catalogues = [
        path
        for path, _, changed in _catalogues(config, lake)
        if changed < since and path.rpartition("/")[2].startswith("catalog-")
    ]
    written = _last_runs(lake, EXPORT)  # a folder that was moved with the lake has no run: it goes
    exports = {f for f in known_exports(lake) if f not in written or written[f] < since}
    exports.update(unfinished_exports(lake))
    outdated = sorted([*reports, *catalogues])
    return Copies(sorted({hit.path for hit in held}), outdated, sorted(exports))


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


def _exports(lake: Lake) -> list[str]:
    return [*known_exports(lake), *unfinished_exports(lake)]


def _catalogues(config: Config, lake: Lake) -> list[files.Entry]:
    """The newest one, and those of single states (`--as-of`)."""
    folder = config.lake.catalog or lake.root
    there = set(files.list_files(folder)) if files.exists(folder) else set()
    return [
        each
        for each in files.walk(folder)
        if each[0] in there and each[0].rpartition("/")[2].startswith("catalog")
    ]


def _evaluations(lake: Lake) -> set[str]:
    """Folders of evaluations, which `iadsr evaluate --out` may have put anywhere."""
    below = lake.path(places.EVALUATIONS)
    known = {files.join(below, name) for name in files.list_folders(below)}
    return known | set(_last_runs(lake, "evaluate"))


def _last_runs(lake: Lake, step: str) -> dict[str, datetime]:
    """Folder that a step wrote -> when its last run began."""
    rows = lake.scan(RUNS).filter(pl.col(col.STEP) == step).sort(col.STARTED_AT)
    found = {}
    for outputs, started in rows.select(col.OUTPUTS, col.STARTED_AT).collect().iter_rows():
        if folder := json.loads(outputs).get("folder"):
            found[folder] = started
    return found
