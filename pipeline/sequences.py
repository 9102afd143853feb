"""Users' sequences as of a date, read from the lake for training and for every night alike.

Nothing after `as_of` is read, and nothing here looks across users: a shard reads what the whole
would read for its users. Amazon's files carry whole days, so that most of their order is ties.
"""

from datetime import date, timedelta

import polars as pl

from pipeline import columns as col
from pipeline.config import SequenceConfig
from pipeline.errors import UserError
from pipeline.hashing import shard_of, stable_hash
from pipeline.schemas import INTERACTIONS
from pipeline.storage.lake import Lake

COLUMNS = (col.INTERACTION_ID, col.USER_ID, col.ITEM_ID, col.EVENT_TIME, col.EVENT_DATE)


def read_sequences(
    lake: Lake,
    settings: SequenceConfig,
    as_of: date,
    *,
    version: int | None = None,
    shard: tuple[int, int] = (0, 1),
    active_on: date | None = None,
    user: str | None = None,
) -> pl.DataFrame:
    """Interactions up to the end of `as_of`, sorted by user and, within a user, in sequence order.

    Parameters
    ----------
    lake : Lake
        Where `interactions` lies.
    settings : SequenceConfig
        Length of the history, order within equal timestamps.
    as_of : date
        Last date that is read; the first is `history_days - 1` days before it.
    version : int, optional
        Snapshot of `interactions`; default: the newest.
    shard : tuple of int
        Index (from 0) and number of shards.
    active_on : date, optional
        Read only users with an event on that date: all their events of it, and at most
        `max_length` before.
    user : str, optional
        Read only this one.

    Returns
    -------
    pl.DataFrame
        Columns `COLUMNS`.
    """
    last = min(as_of, active_on) if active_on else as_of
    index, shards = shard
    events = lake.scan(INTERACTIONS, version).filter(
        pl.col(col.EVENT_DATE) <= last,
        pl.col(col.EVENT_DATE) > as_of - timedelta(days=settings.history_days),
    )
    if shards > 1:
        events = events.filter(shard_of(pl.col(col.USER_ID), shards) == index)
    if user is not None:
        events = events.filter(pl.col(col.USER_ID) == user)
    events = events.select(COLUMNS)
    if active_on:
        active = events.filter(pl.col(col.EVENT_DATE) == active_on).select(col.USER_ID).unique()
        events = events.join(active, on=col.USER_ID, how="semi")
    ordered = events.sort(*sequence_order(settings))
    if active_on:
        ordered = ordered.filter(
            within_reach(pl.col(col.EVENT_DATE) == active_on, col.USER_ID, settings.max_length)
        )
    return ordered.collect(engine="streaming")


def rows_in_reach(
    lake: Lake, settings: SequenceConfig, as_of: date, version: int
) -> dict[str, int]:
    """Date (ISO) -> interactions of it, for the dates that `read_sequences` reads as of `as_of`."""
    earliest = as_of - timedelta(days=settings.history_days)
    counts = lake.partition_rows(INTERACTIONS, version)
    return {day.isoformat(): rows for day, rows in counts.items() if earliest < day <= as_of}


def nothing_in_reach(lake: Lake, settings: SequenceConfig, as_of: date) -> UserError:
    """The error where `rows_in_reach` finds none: too old for it, or none at all."""
    before = [day for day in lake.partition_rows(INTERACTIONS) if day <= as_of]
    if not before:
        return UserError(f'no interactions up to {as_of} in {lake.root} (run "iadsr ingest")')
    return UserError(
        f"no interactions in the {settings.history_days} days up to {as_of} in {lake.root}: the "
        f"newest before are of {max(before)} (name that date, or raise sequence.history_days)"
    )


def sequence_order(settings: SequenceConfig) -> tuple[pl.Expr, ...]:
    """Sort keys of a sequence: user, time, then the tie policy, then the identity.

    `shuffle` orders equal timestamps by a seeded hash that no source and no catalogue knows;
    `item` by the item's name, which in catalogues sorted by name tells the next item.
    """
    identity = pl.col(col.INTERACTION_ID)
    tie = {
        "shuffle": stable_hash(identity, pl.lit(settings.seed)),
        "item": pl.col(col.ITEM_ID),
    }[settings.ties]
    return pl.col(col.USER_ID), pl.col(col.EVENT_TIME), tie, identity


def within_reach(last_day: pl.Expr, sequence: str, max_length: int) -> pl.Expr:
    """True for the rows of the last day and for the `max_length` rows before them, per sequence.

    Rows are in sequence order and end with the last day, which `last_day` is true for.
    """
    before = pl.len().cast(pl.Int64) - last_day.sum() - pl.int_range(pl.len())
    return (before <= max_length).over(sequence)
