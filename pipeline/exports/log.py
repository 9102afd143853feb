"""The decided interactions of a range of dates in one state of the lake, users in order.

Memory is bounded by `CHUNK_ROWS`, and by the lists of users and of items.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import duckdb
import polars as pl

from pipeline import columns as col
from pipeline.config import SequenceConfig
from pipeline.sequences import sequence_order
from pipeline.storage.sql import answer, statements

CHUNK_ROWS = 4_000_000

KEPT, WEIGHT = "kept", "weight"
USER_INDEX, ITEM_INDEX = "user_index", "item_index"
COUNT = "interactions"


@dataclass(frozen=True)
class Log:
    """What is exported, and the numbers of its ids: places in their byte order, from 0.

    Ids of all decided interactions are numbered, removed ones too: an export with weights and one
    without give an id the same number.
    """

    connection: duckdb.DuckDBPyConnection
    first: date
    last: date
    settings: SequenceConfig
    users: pl.DataFrame  # user_id, interactions, user_index
    items: pl.DataFrame  # item_id, title, item_index

    @property
    def rows(self) -> int:
        """Decided interactions."""
        return int(self.users[COUNT].sum())

    def read(self, users: pl.DataFrame) -> pl.DataFrame:
        """All rows of a run of neighbouring users, by user in sequence order.

        Columns: interaction_id, user_id, item_id, event_time (UTC, without zone), kept (bool),
        weight (f64: 1 - noise probability), event_type, value, then further ones of the source.
        """
        found: pl.DataFrame = answer(
            self.connection,
            statements("exports")["rows"],
            first=self.first,
            last=self.last,
            first_user=users[col.USER_ID][0],
            last_user=users[col.USER_ID][-1],
        ).pl()
        return found.sort(*sequence_order(self.settings))

    def chunks(self) -> Iterator[pl.DataFrame]:
        """All rows, whole users together: about `CHUNK_ROWS` at a time, and one user more."""
        before = pl.col(COUNT).cum_sum() - pl.col(COUNT)
        numbered = self.users.with_columns((before // CHUNK_ROWS).alias("chunk"))
        for users in numbered.partition_by("chunk", maintain_order=True):
            yield self.read(users)


def open_log(
    connection: duckdb.DuckDBPyConnection, settings: SequenceConfig, first: date, last: date
) -> Log:
    """The log of the dates from `first` to `last`, over a connection with the lake's views."""
    users, items = (
        answer(connection, statements("exports")[name], first=first, last=last).pl()
        for name in ("users", "items")
    )
    return Log(
        connection,
        first,
        last,
        settings,
        users.with_columns(pl.int_range(pl.len()).alias(USER_INDEX)),
        items.with_columns(pl.int_range(pl.len()).alias(ITEM_INDEX)),
    )
