"""Implicit's format: a user-item matrix in compressed rows, as `scipy.sparse.load_npz` reads it."""

import io

import numpy as np
import polars as pl

from pipeline.exports.files import Files
from pipeline.exports.log import ITEM_INDEX, USER_INDEX, WEIGHT, Log
from pipeline.exports.parts import Division
from pipeline.exports.tables import add_id_maps, numbered


def implicit(files: Files, log: Log, division: Division, *, weights: bool) -> None:
    """A matrix for each part: the weights of a user's interactions with an item, summed.

    Memory: 8 bytes for each pair of user and item, and 8 for each user.
    """
    pairs: dict[str, list[pl.DataFrame]] = {name: [] for name in division.names}
    rows = dict.fromkeys(division.names, 0)
    for parts in division.stream:
        for name, part in parts.items():
            pairs[name].append(_pairs(numbered(log, part)))
            rows[name] += part.height
    for name, found in pairs.items():
        files.add_bytes(f"{name}.npz", _matrix(pl.concat(found), log), rows[name])
    add_id_maps(files, log)


def _pairs(rows: pl.DataFrame) -> pl.DataFrame:
    """user_index, item_index (i32) and weight (f32) of each pair, by user, then by item."""
    keys = [pl.col(USER_INDEX).cast(pl.Int32), pl.col(ITEM_INDEX).cast(pl.Int32)]
    summed = rows.group_by(keys, maintain_order=True).agg(pl.col(WEIGHT).sum().cast(pl.Float32))
    return summed.sort(USER_INDEX, ITEM_INDEX)


def _matrix(pairs: pl.DataFrame, log: Log) -> bytes:
    """The bytes of the `.npz`: what `scipy.sparse.save_npz` writes; no pickle."""
    users, items = log.users.height, log.items.height
    per_user = np.bincount(pairs[USER_INDEX].to_numpy(), minlength=users)
    dtype = np.int32 if pairs.height < np.iinfo(np.int32).max else np.int64
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        indices=pairs[ITEM_INDEX].to_numpy().astype(dtype),
        indptr=np.concatenate([[0], np.cumsum(per_user)]).astype(dtype),
        format=np.array(b"csr"),
        shape=np.array([users, items]),
        data=pairs[WEIGHT].to_numpy(),
    )
    return buffer.getvalue()
