"""The staging area of a night: scored shards that wait for their audit, below `staging/<run_id>/`.

A run's folder is removed only when its publication is whole, so a folder that is there marks a
date whose publication is pending, in progress, or was cut short.
"""

import io
import re
from collections.abc import Collection
from datetime import date, timedelta

import polars as pl

from pipeline.storage import files
from pipeline.storage.lake import Lake

FOLDER = "staging"
# A younger folder may belong to a run that is about to commit.
ABANDONED_AFTER = timedelta(days=1)
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


def drop_expired(lake: Lake, grace: timedelta, kept: Collection[date]) -> int:
    """Remove folders in which nothing was written for `grace`, but of `kept`; returns how many."""
    dropped = 0
    for name in files.list_folders(lake.path(FOLDER)):
        path, match = lake.path(FOLDER, name), _DAY.search(name)
        day = date.fromisoformat(match.group(1)) if match else None
        if day not in kept and files.age(path) > grace:
            files.delete_folder(path)
            dropped += 1
    return dropped


def clear(lake: Lake, run_id: str) -> None:
    """Remove a run's staging folder, and those that earlier runs of its date have abandoned."""
    day = _DAY.search(run_id)
    for name in files.list_folders(lake.path(FOLDER)):
        path = lake.path(FOLDER, name)
        superseded = day is not None and day.group() in name
        if name == run_id or (superseded and files.age(path) > ABANDONED_AFTER):
            files.delete_folder(path)
