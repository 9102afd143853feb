"""The ids of interactions already met: which rows of a batch are repetitions."""

from collections.abc import Iterable
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl
from deltalake import DeltaTable

from pipeline import columns as col

Ids = npt.NDArray[np.int64]

_SLOT_BITS = 26
_SIFT_BITS = 18
_FAN_IN = 16  # sorted runs of about one size that merge into one


class SeenIds:
    """A growing set of ids, in sorted runs: 8 bytes an id (16 while runs merge) and 64 MiB.

    A byte per hash slot tells most new ids at once; only the others are searched for.
    """

    def __init__(self) -> None:
        self._runs: list[Ids] = []
        self._slots = np.zeros(1 << _SLOT_BITS, dtype=np.uint8)

    def add(self, ids: Ids) -> npt.NDArray[np.bool_] | None:
        """Take in a batch.

        Parameters
        ----------
        ids
            int64[n], in the order of the rows.

        Returns
        -------
        bool[n] or None
            True where the id was met before, in this batch or an earlier one;
            None where nothing was.
        """
        ordered = np.sort(ids)
        slots = ordered.view(np.uint64) >> np.uint64(64 - _SLOT_BITS)
        slots = slots.view(np.int64)
        suspects = ordered[self._slots[slots].view(np.bool_)]
        self._slots[slots] = 1
        met = [suspects[_member(suspects, run)] for run in self._runs]
        again = ordered[1:][ordered[1:] == ordered[:-1]]
        self._push(ordered)
        before = np.unique(np.concatenate([*met, ordered[:0]]))
        if not len(before) and not len(again):
            return None
        repeated = np.zeros(len(ids), dtype=np.bool_)
        repeated[_positions(ids, before)] = True
        at = _positions(ids, np.unique(again))
        first = at[np.unique(ids[at], return_index=True)[1]]
        repeated[np.setdiff1d(at, first)] = True
        return repeated

    def _push(self, ordered: Ids) -> None:
        if len(ordered):
            self._runs.append(ordered)
        while len(self._runs) >= _FAN_IN and len(self._runs[-_FAN_IN]) <= 2 * len(self._runs[-1]):
            merged = np.sort(np.concatenate(self._runs[-_FAN_IN:]), kind="stable")
            self._runs[-_FAN_IN:] = [merged]


class KnownIds:
    """Ids of the rows met in one file, and of those that stand in the dates it touches."""

    def __init__(self, snapshot: DeltaTable, dates: Iterable[date]) -> None:
        self._snapshot, self._unread, self._seen = snapshot, set(dates), SeenIds()

    def fresh(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows whose id was never met, first occurrences only, in `event_date` order."""
        if self._unread:
            touched = self._unread.intersection(rows[col.EVENT_DATE].unique().to_list())
            for day in sorted(touched):
                self._read(day)
            self._unread -= touched
        repeated = self._seen.add(rows[col.INTERACTION_ID].to_numpy())
        if repeated is not None:
            rows = rows.filter(pl.Series(~repeated))
        if rows[col.EVENT_DATE].is_sorted():
            return rows
        return rows.sort(col.EVENT_DATE, maintain_order=True)

    def _read(self, day: date) -> None:
        stood = pl.scan_delta(self._snapshot).filter(pl.col(col.EVENT_DATE) == day)
        self._seen.add(stood.select(col.INTERACTION_ID).collect().to_series().to_numpy())


def _member(ids: Ids, ordered: Ids) -> npt.NDArray[np.bool_]:
    """Which ids are in the sorted array."""
    at = np.searchsorted(ordered, ids)
    found: npt.NDArray[np.bool_] = ordered[np.minimum(at, len(ordered) - 1)] == ids
    return found


def _positions(ids: Ids, ordered: Ids) -> npt.NDArray[np.intp]:
    """Where the few ids of the sorted array stand: the low bits sift out most others."""
    if not len(ordered):
        return np.empty(0, dtype=np.intp)
    marked = np.zeros(1 << _SIFT_BITS, dtype=np.bool_)
    marked[ordered & (len(marked) - 1)] = True
    at = np.flatnonzero(marked[ids & (len(marked) - 1)])
    return at[_member(ids[at], ordered)]
