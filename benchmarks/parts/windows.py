"""LLM4DSR's files: windows of a user's items, of which some were replaced by noise at known places.

Reads them and joins overlapping windows; knows nothing of models.
"""

import html
import json
from pathlib import Path

import polars as pl

from pipeline import columns as col
from pipeline.models.names import INJECTED, SEQUENCE

ITEMS = "items"


def read_windows(file: Path) -> pl.DataFrame:
    """user_id, items (list of item names), mask (list of 0 and 1), timestamp, one row a window.

    In time order, the file's order within equal times.
    """
    lists = {"item_ids": pl.List(pl.Int64), "mask": pl.List(pl.Int8)}
    table = pl.read_csv(file, columns=[col.USER_ID, "timestamp", *lists])
    decoded = [pl.col(name).str.json_decode(dtype) for name, dtype in lists.items()]
    return (
        table.with_columns(pl.col(col.USER_ID).cast(pl.String), *decoded)
        .with_columns(pl.col("item_ids").cast(pl.List(pl.String)).alias(ITEMS))
        .sort("timestamp", maintain_order=True)
        .select(col.USER_ID, ITEMS, "mask", "timestamp")
    )


def read_titles(folder: Path) -> pl.DataFrame:
    """item_id and title of every item that has one."""
    names = json.loads((folder / "id2name.json").read_text(encoding="utf-8"))
    titles = {item: " ".join(html.unescape(name).split()) for item, name in names.items()}
    kept = {item: title for item, title in titles.items() if title}
    return pl.DataFrame({col.ITEM_ID: list(kept), "title": list(kept.values())})


def sequences(windows: pl.DataFrame) -> pl.DataFrame:
    """user_id, item_id, event_time: the windows of each user in one sequence, masks unread.

    Only windows have a time: of a row, its place in the sequence stands for it, in microseconds.
    """
    by_user = windows.group_by(col.USER_ID, maintain_order=True).agg(ITEMS).sort(col.USER_ID)
    found = [
        (user, item, place)
        for user, parts in by_user.iter_rows()
        for place, item in enumerate(merged(parts))
    ]
    frame = pl.DataFrame(found, schema=[col.USER_ID, col.ITEM_ID, col.EVENT_TIME], orient="row")
    return frame.with_columns(pl.col(col.EVENT_TIME).cast(pl.Datetime("us", "UTC")))


def merged(windows: list[list[str]]) -> list[str]:
    """One sequence of windows in time order: they overlap, hold each other, or leave gaps."""
    whole = list(windows[0])
    for window in windows[1:]:
        whole = _joined(whole, window)
    return whole


def _joined(whole: list[str], window: list[str]) -> list[str]:
    short, long = sorted((whole, window), key=len)
    if any(long[at : at + len(short)] == short for at in range(len(long) - len(short) + 1)):
        return long
    for overlap in range(len(short) - 1, 0, -1):
        if whole[-overlap:] == window[:overlap]:
            return whole + window[overlap:]
        if whole[:overlap] == window[-overlap:]:  # equal times: the earlier one came second
            return window[:-overlap] + whole
    return whole + [item for item in window if item not in whole]


def inputs(windows: pl.DataFrame) -> pl.DataFrame:
    """sequence, user_id, item_id, injected: each window without its last item, the target."""
    size = pl.col(ITEMS).list.len() - 1
    cut = windows.with_columns(pl.col(ITEMS, "mask").list.head(size))
    return (
        cut.with_row_index(SEQUENCE)
        .explode(ITEMS, "mask")
        .select(
            SEQUENCE,
            col.USER_ID,
            pl.col(ITEMS).alias(col.ITEM_ID),
            (pl.col("mask") == 1).alias(INJECTED),
        )
    )
