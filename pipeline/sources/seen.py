"""The ids of interactions already met: which rows of a batch are repetitions."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
from deltalake import DeltaTable

from pipeline import columns as col
from pipeline.sources.times import to_micros

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SLOT_BITS = 26
_SIFT_BITS = 18
_FEW = 16  # one suspect in so many rows is searched for without slots
_FAN_IN = 16  # sorted runs of about one size that merge into one
_NEAR = 32  # rows of one time, in a batch in time order, that are compared pair by pair
_SCANS = 16  # where ids are not sorted, so few scans of a batch are cheaper than to sort it


class SeenIds:
    """A growing set of ids, in sorted runs: 8 bytes an id (16 while runs merge).

    The id of an event rests on its time: what is later than all before it is new. Where many
    are not later, 64 MiB with a byte per hash slot tell most new ids at once; only the others
    are searched for. A batch in time order repeats itself only among neighbours: it is sorted
    when more than a few ids must be searched for in it, which in a log in time order is never.
    """

    def __init__(self) -> None:
        self._runs: list[Ids] = []
        self._unsorted: list[tuple[Ids, int, int]] = []  # ids, their earliest and latest time
        self._latest: int | None = None
        self._slots: npt.NDArray[np.uint8] | None = None

    def include(self, ids: Ids, latest: int) -> None:
        """Take in ids of events up to the time `latest`."""
        self._push(np.sort(ids))
        self._latest = latest if self._latest is None else max(latest, self._latest)

    def add(self, ids: Ids, times: Ids) -> Mask | None:
        """Take in a batch.

        Parameters
        ----------
        ids
            int64[n], in the order of the rows.
        times
            int64[n], of the events; two of one id have one time.

        Returns
        -------
        bool[n] or None
            True where the id was met before, in this batch or an earlier one;
            None where nothing was.
        """
        if not len(ids):
            return None
        latest, before = int(times.max()), ids[:0]
        if self._latest is not None and (late := times <= self._latest).any():
            before = self._met(ids[late], times[late], len(ids))
        repeated = _repeated_nearby(ids, times)
        if repeated is None:
            ordered = np.sort(ids)
            repeated = _repeated(ids, ordered)
            self._push(ordered)
        else:
            self._unsorted.append((ids, int(times[0]), latest))
        self._latest = latest if self._latest is None else max(latest, self._latest)
        repeated[_positions(ids, before)] = True
        return repeated if repeated.any() else None

    def _met(self, suspects: Ids, times: Ids, of: int) -> Ids:
        """Which of the suspects, in a batch of so many ids, were taken in; sorted."""
        first, last = times.min(), times.max()
        possible = [run for run in self._unsorted if run[1] <= last and run[2] >= first]
        found = suspects[:0]
        if len(suspects) * len(possible) <= _SCANS:
            scanned = [s for ids, _, _ in possible for s in suspects if (ids == s).any()]
            found = np.array(scanned, dtype=np.int64)
        else:
            self._unsorted = [run for run in self._unsorted if run[1] > last or run[2] < first]
            for ids, _, _ in possible:
                self._push(np.sort(ids))
        return np.union1d(found, self._met_sorted(suspects, of))

    def _met_sorted(self, suspects: Ids, of: int) -> Ids:
        """Which of the suspects are in a sorted run."""
        if self._runs and _FEW * len(suspects) > of:
            if self._slots is None:
                self._slots = np.zeros(1 << _SLOT_BITS, dtype=np.uint8)
                for run in self._runs:
                    self._slots[_slots_of(run)] = 1
            suspects = suspects[self._slots[_slots_of(suspects)].view(np.bool_)]
        met = [suspects[_member(suspects, run)] for run in self._runs]
        return np.concatenate([*met, suspects[:0]])

    def _push(self, ordered: Ids) -> None:
        if not len(ordered):
            return
        if self._slots is not None:
            self._slots[_slots_of(ordered)] = 1
        self._runs.append(ordered)
        while len(self._runs) >= _FAN_IN and len(self._runs[-_FAN_IN]) <= 2 * len(self._runs[-1]):
            merged = np.sort(np.concatenate(self._runs[-_FAN_IN:]), kind="stable")
            self._runs[-_FAN_IN:] = [merged]


class KnownIds:
    """Ids of the rows met in one file, and of those that stand in the dates it touches."""

    def __init__(self, snapshot: DeltaTable, dates: Iterable[date]) -> None:
        self._snapshot, self._unread, self._seen = snapshot, set(dates), SeenIds()

    def fresh(self, rows: pl.DataFrame, good: Mask | None = None) -> pl.DataFrame:
        """The good rows whose id was never met, first occurrences only."""
        keys = rows.select(col.INTERACTION_ID, col.EVENT_TIME, col.EVENT_DATE)
        if good is not None:
            keys = keys.filter(pl.Series(good))
        if self._unread:
            touched = self._unread.intersection(keys[col.EVENT_DATE].unique().to_list())
            for day in sorted(touched):
                self._read(day)
            self._unread -= touched
        times = keys[col.EVENT_TIME].to_physical().to_numpy()
        repeated = self._seen.add(keys[col.INTERACTION_ID].to_numpy(), times)
        kept = good
        if repeated is not None and good is None:
            kept = ~repeated
        elif repeated is not None and good is not None:
            kept = good.copy()
            kept[good] = ~repeated
        return rows if kept is None else rows.filter(pl.Series(kept))

    def _read(self, day: date) -> None:
        stood = pl.scan_delta(self._snapshot).filter(pl.col(col.EVENT_DATE) == day)
        ids = stood.select(col.INTERACTION_ID).collect().to_series().to_numpy()
        midnight = datetime.combine(day, time(), tzinfo=UTC) + timedelta(days=1)
        self._seen.include(ids, to_micros(midnight))


def _repeated_nearby(ids: Ids, times: Ids) -> Mask | None:
    """Where an id stands before already, if times never fall and change often; else None."""
    if (times[1:] < times[:-1]).any() or (times[_NEAR:] == times[:-_NEAR]).any():
        return None
    repeated = np.zeros(len(ids), dtype=np.bool_)
    for step in range(1, len(ids)):
        if not (times[step:] == times[:-step]).any():
            break
        repeated[step:] |= ids[step:] == ids[:-step]
    return repeated


def _repeated(ids: Ids, ordered: Ids) -> Mask:
    """Where an id stands before already; `ordered` are the ids, sorted."""
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    at = _positions(ids, np.unique(again))
    first = at[np.unique(ids[at], return_index=True)[1]]
    repeated = np.zeros(len(ids), dtype=np.bool_)
    repeated[np.setdiff1d(at, first)] = True
    return repeated


def _slots_of(ids: Ids) -> npt.NDArray[np.int64]:
    return (ids.view(np.uint64) >> np.uint64(64 - _SLOT_BITS)).view(np.int64)


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
