"""The staging area of a night: scored shards that wait for their audit, below `staging/<run_id>/`.

A run's folder is removed only when its publication is whole, so a folder that is there marks a
date whose publication is pending, in progress, or was cut short.
"""

import io
import re
from datetime import date

import polars as pl

from pipeline.storage import files
from pipeline.storage.lake import Lake

FOLDER = "staging"
_DAY = re.compile(r"-(\d{4}-\d{2}-\d{2})-")


def shard_path(lake: Lake, run_id: str, shard: int, shards: int) -> str:
    """File of one of a run's shards, which count from 0."""
    return lake.path(FOLDER, run_id, f"shard-{shard}-of-{shards}.parquet")


def write(path: str, frame: pl.DataFrame) -> None:
    """Stage rows; a reader sees the whole file or none."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    files.write_bytes(path, buffer.getvalue())


def read(path: str) -> pl.DataFrame:
    """Rows of one staged file."""
    return pl.read_parquet(io.BytesIO(files.read_bytes(path)))


def days(lake: Lake) -> list[date]:
    """Dates with a staging folder, sorted."""
    names = files.list_folders(lake.path(FOLDER))
    found = {match.group(1) for name in names if (match := _DAY.search(name))}
    return sorted(date.fromisoformat(day) for day in found)


def clear(lake: Lake, day: date) -> None:
    """Remove every staging folder of a date, those of superseded plans too."""
    for name in files.list_folders(lake.path(FOLDER)):
        if f"-{day.isoformat()}-" in name:
            files.delete_folder(lake.path(FOLDER, name))
