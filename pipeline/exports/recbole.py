"""RecBole's format: atomic files (typed headers, tabs) of a dataset, and configurations for them.

A split is written twice: as it is, for general models, and with the items before each target, for
sequential ones, which RecBole does not derive from files that are split already.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline import columns as col
from pipeline.errors import UserError
from pipeline.exports.files import Files
from pipeline.exports.log import USER_INDEX, WEIGHT, Log
from pipeline.exports.parts import BETWEEN, TEST, TRAIN, VALID, WHOLE, Division, Parts
from pipeline.exports.tables import add_id_maps, numbered

# Its folder has its name, as RecBole wants it.
DATASET = "iadsr"
# Between the items of a list. RecBole's own, a space, stands in the ids of some logs.
LIST_SEPARATOR = "\x1f"
# Targets whose lists are made at a time: a bound of memory.
SLICE_ROWS = 100_000
# What pandas, with which RecBole reads, takes for a missing value.
_MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
_LIST = "item_id_list"
_COLUMNS = {"user_id": "token", "item_id": "token", "timestamp": "float", "weight": "float"}
_SEQUENCES = "_sequences"


def recbole(files: Files, log: Log, division: Division, *, weights: bool) -> None:
    """`.inter` files with user_id, item_id, timestamp (seconds) and, if asked for, weight; `.item`.

    Raises
    ------
    UserError
        An id that RecBole cannot read.
    """
    _refuse_unreadable(log)
    for parts in division.stream:
        for name, rows in parts.items():
            _add(files, _path(name), _interactions(rows, weights=weights))
        if TRAIN in parts:
            for name, rows in _sequences(log, parts):
                _add(files, _path(name + _SEQUENCES), _interactions(rows, weights=weights))
    items = log.items.select(col.ITEM_ID, col.TITLE)
    header = ["item_id:token", "title:token"]
    files.add_text(f"{DATASET}/{DATASET}.item", items, separator="\t", header=header)
    add_id_maps(files, log)
    for name, text in _configurations(log, division, weights=weights).items():
        files.add_bytes(name, text.encode())


def _refuse_unreadable(log: Log) -> None:
    for ids in (log.users[col.USER_ID], log.items[col.ITEM_ID]):
        if len(found := ids.filter(ids.is_in(_MISSING))):
            raise UserError(
                f"RecBole cannot read the {ids.name} {found[0]!r}: pandas takes it for a missing "
                "value (choose another format, or name it otherwise in the source)"
            )
        if len(found := ids.filter(ids.str.contains(LIST_SEPARATOR, literal=True))):
            raise UserError(
                f"RecBole cannot read the {ids.name} {found[0]!r}: it holds the character that "
                "separates the items of a list (choose another format)"
            )


def _path(part: str) -> str:
    return f"{DATASET}/{DATASET}.inter" if part == WHOLE else f"{DATASET}/{DATASET}.{part}.inter"


def _add(files: Files, path: str, rows: pl.DataFrame) -> None:
    types = {**_COLUMNS, _LIST: "token_seq"}
    header = [f"{name}:{types[name]}" for name in rows.columns]
    files.add_text(path, rows, separator="\t", header=header)


def _interactions(rows: pl.DataFrame, *, weights: bool) -> pl.DataFrame:
    seconds = pl.col(col.EVENT_TIME).dt.timestamp("us") / 1e6
    extra = [WEIGHT] * weights + [_LIST] * (_LIST in rows.columns)
    return rows.select(col.USER_ID, col.ITEM_ID, seconds.alias("timestamp"), *extra)


def _sequences(log: Log, parts: Parts) -> Iterator[tuple[str, pl.DataFrame]]:
    """Targets with the items before them; a target without any is left out.

    Of training rows, those before; at validation, all of the user's training; at the test, what
    lies between, too.
    """
    train = numbered(log, parts[TRAIN])
    between = numbered(log, parts.get(BETWEEN, parts[VALID]))
    known = pl.concat([train, between]).sort(USER_INDEX, maintain_order=True)
    for name, targets, history in (
        (TRAIN, train, train),
        (VALID, numbered(log, parts[VALID]), train),
        (TEST, numbered(log, parts[TEST]), known),
    ):
        owners = history[USER_INDEX].to_numpy()
        users = targets[USER_INDEX].to_numpy()
        starts = np.searchsorted(owners, users, side="left")
        ends = np.searchsorted(owners, users, side="right")
        if name == TRAIN:
            ends = np.arange(targets.height)
        starts = np.maximum(starts, ends - log.settings.max_length)
        for at in range(0, max(targets.height, 1), SLICE_ROWS):
            here = slice(at, at + SLICE_ROWS)
            lists = _lists(history[col.ITEM_ID], starts[here], ends[here])
            yield name, targets[here].with_columns(lists).filter(pl.Series(starts < ends)[here])


def _lists(
    items: pl.Series, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> pl.Series:
    """For each pair, the items from its start up to its end, as one text."""
    lengths = ends - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts, lengths)
    flat = items.gather(places).to_arrow(compat_level=pl.CompatLevel.oldest())
    lists = pl.Series(_LIST, pa.LargeListArray.from_arrays(offsets, flat))
    return lists.list.join(LIST_SEPARATOR)


def _configurations(log: Log, division: Division, *, weights: bool) -> dict[str, str]:
    """File name -> YAML: give one to RecBole, with `data_path` the folder of this export."""
    inter = ["user_id", "item_id", "timestamp", *(["weight"] * weights)]
    shared = ["USER_ID_FIELD: user_id", "ITEM_ID_FIELD: item_id", "TIME_FIELD: timestamp"]

    def text(loaded: list[str], *lines: str) -> str:
        columns = f"load_col: {{inter: [{', '.join(loaded)}], item: [item_id, title]}}"
        return "\n".join([*shared, columns, *lines, ""])

    if division.names == (WHOLE,):
        return {"recbole.yaml": text(inter)}
    parts = [TRAIN, VALID, TEST]
    sequences = [name + _SEQUENCES for name in parts]
    return {
        "recbole.yaml": text(inter, f"benchmark_filename: [{', '.join(parts)}]"),
        "recbole-sequential.yaml": text(
            [*inter, _LIST],
            f"benchmark_filename: [{', '.join(sequences)}]",
            f"alias_of_item_id: [{_LIST}]",
            'seq_separator: "\\x1F"',
            f"MAX_ITEM_LIST_LENGTH: {log.settings.max_length}",
        ),
    }
