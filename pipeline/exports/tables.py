"""Formats that are tables: CSV, Parquet, and the frames of RecTools and RePlay."""

import polars as pl

from pipeline import columns as col
from pipeline.exports.files import Files
from pipeline.exports.log import COUNT, ITEM_INDEX, KEPT, USER_INDEX, WEIGHT, Log
from pipeline.exports.parts import Division


def csv(files: Files, log: Log, division: Division, *, weights: bool) -> None:
    """Every column of the source, ids as given; `kept` and `weight` if weights are asked for."""
    for parts in division.stream:
        for name, rows in parts.items():
            files.add_text(f"{name}.csv", _as_given(rows, weights=weights))
    for name, ids in id_maps(log).items():
        files.add_text(f"{name}.csv", ids)


def parquet(files: Files, log: Log, division: Division, *, weights: bool) -> None:
    """Likewise, typed; times with their zone."""
    for parts in division.stream:
        for name, rows in parts.items():
            in_utc = pl.col(col.EVENT_TIME).dt.replace_time_zone("UTC")
            table = _as_given(rows, weights=weights).with_columns(in_utc)
            files.add_table(f"{name}.parquet", table)
    add_id_maps(files, log)


def rectools(files: Files, log: Log, division: Division, *, weights: bool) -> None:
    """`rectools.Columns`: user_id, item_id (as given), weight, datetime (UTC)."""
    for parts in division.stream:
        for name, rows in parts.items():
            frame = rows.select(
                col.USER_ID, col.ITEM_ID, WEIGHT, pl.col(col.EVENT_TIME).alias("datetime")
            )
            files.add_table(f"{name}.parquet", frame)
    add_id_maps(files, log)


def replay(files: Files, log: Log, division: Division, *, weights: bool) -> None:
    """RePlay's own names: query_id, item_id (numbers), rating (the weight), timestamp (UTC)."""
    for parts in division.stream:
        for name, rows in parts.items():
            frame = numbered(log, rows).select(
                pl.col(USER_INDEX).alias("query_id"),
                pl.col(ITEM_INDEX).alias("item_id"),
                pl.col(WEIGHT).alias("rating"),
                pl.col(col.EVENT_TIME).alias("timestamp"),
            )
            files.add_table(f"{name}.parquet", frame)
    add_id_maps(files, log)


def numbered(log: Log, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with `user_index` and `item_index`, in their order."""
    for ids, key in (
        (log.users.drop(COUNT), col.USER_ID),
        (log.items.drop(col.TITLE), col.ITEM_ID),
    ):
        rows = rows.join(ids, on=key, how="left", maintain_order="left")
    return rows


def id_maps(log: Log) -> dict[str, pl.DataFrame]:
    """`users` (user_id, user_index) and `items` (item_id, item_index, title), by number."""
    return {
        "users": log.users.select(col.USER_ID, USER_INDEX),
        "items": log.items.select(col.ITEM_ID, ITEM_INDEX, col.TITLE),
    }


def add_id_maps(files: Files, log: Log) -> None:
    """Both maps as Parquet."""
    for name, ids in id_maps(log).items():
        files.add_table(f"{name}.parquet", ids)


def _as_given(rows: pl.DataFrame, *, weights: bool) -> pl.DataFrame:
    return rows if weights else rows.drop(KEPT, WEIGHT)
