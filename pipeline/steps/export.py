"""Write the cleaned log as files that recommender libraries load: what an export is, and where.

An export is a folder whose `manifest.json` says `"format": "iadsr-export/1"`; a folder without it
is none of ours, and never replaced or removed. Each one that was written is a row of `runs` (step
"export") whose outputs name the folder: `{"folder": "/absolute/path or s3://..."}`. Whoever has to
find all of them (`iadsr erase`) asks `known_exports`.
"""

import json
from typing import Any

import polars as pl

from pipeline import columns as col
from pipeline.schemas import RUNS
from pipeline.storage import files, runs
from pipeline.storage.lake import Lake

STEP = "export"
MANIFEST = "manifest.json"
FORMAT = "iadsr-export/1"  # the manifest's "format"


def known_exports(lake: Lake) -> list[str]:
    """Folders of all exports of this lake that are still there, sorted. Reads `runs`."""
    done = lake.scan(RUNS).filter(
        pl.col(col.STEP) == STEP, pl.col(col.STATUS).is_in([runs.SUCCEEDED, runs.UNCHANGED])
    )
    written = done.select(col.OUTPUTS).unique().collect().to_series()
    folders = {json.loads(outputs)["folder"] for outputs in written}
    return sorted(folder for folder in folders if read_manifest(folder))


def read_manifest(folder: str) -> dict[str, Any] | None:
    """The manifest of an export of ours; None: there is none in `folder`."""
    path = files.join(folder, MANIFEST)
    if not files.exists(path):
        return None
    try:
        manifest: Any = json.loads(files.read_bytes(path))
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else None
