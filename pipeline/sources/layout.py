"""How the rows of one file are laid out: which of its columns is which of ours.

A layout splits one row; it judges no value (that is `judge.py`).
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline import columns as col
from pipeline.config import CatalogueConfig, SourceConfig, TimeUnit
from pipeline.errors import ConfigError, SourceError
from pipeline.schemas import INTERACTIONS

Spec = SourceConfig | CatalogueConfig
Row = Sequence[str | None]

# A log's columns by our names, and by what else they are called in files whose columns have names.
LOG_NAMES: Mapping[str, tuple[str, ...]] = {
    col.EVENT_TIME: (col.EVENT_TIME, "timestamp", "time"),
    col.VALUE: (col.VALUE, "rating"),
}
NEEDED_OF_LOG = (col.USER_ID, col.ITEM_ID, col.EVENT_TIME)
OPTIONAL_OF_LOG = (col.EVENT_TYPE, col.VALUE)
NEEDED_OF_CATALOGUE = (col.ITEM_ID, col.TITLE)

_OF_EXPORTS = ("kept", "weight")  # columns that an export with weights adds


@dataclass(frozen=True)
class Delimited:
    """What the vectorised parser needs to know of a delimited text file."""

    separator: bytes
    quoted: bool
    width: int  # columns in the file
    positions: tuple[int, ...]  # of the layout's fields, from 0


@dataclass(frozen=True)
class Layout:
    """The fields of a file's rows.

    `split` takes one row's bytes and gives one text (or None) per field;
    it raises `RowRejectedError`.
    """

    fields: tuple[str, ...]
    split: Callable[[bytes], Row]
    header: bool = False  # the first line holds no row
    delimited: Delimited | None = None
    time: TimeUnit | None = None  # the format's own unit, where the config states none


def resolve(
    found: Sequence[str],
    defaults: Mapping[str, Sequence[str]],
    spec: Spec,
    file: str,
    *,
    sparse: bool = False,
) -> dict[str, str]:
    """Our field -> the file's column, in our order.

    Parameters
    ----------
    found
        The columns of the file.
    defaults
        Our field -> the names that the format usually gives it, best first.
    spec
        Its `columns` come before the defaults.
    file
        Named in errors.
    sparse
        `found` are the columns of one row, and rows leave out what they do not know: what is
        optional is taken as found, by its best name.

    Raises
    ------
    SourceError
        A needed or configured column is not in the file.
    """
    log = isinstance(spec, SourceConfig)
    needed = NEEDED_OF_LOG if log else NEEDED_OF_CATALOGUE
    optional = OPTIONAL_OF_LOG if log else tuple(k for k in spec.columns if k not in needed)
    mapping: dict[str, str] = {}
    for name in (*needed, *optional):
        wanted = names_of(name, defaults, spec)
        absent = wanted[0] if sparse and name in optional else None
        present = next((candidate for candidate in wanted if candidate in found), absent)
        if present is not None:
            mapping[name] = present
        elif name in needed or name in spec.columns:
            raise _missing(name, wanted[0], found, file)
    for name in extra_columns(spec):
        if name not in found and not sparse:
            raise _missing(name, name, found, file)
        mapping[name] = name
    return mapping


def names_of(name: str, defaults: Mapping[str, Sequence[str]], spec: Spec) -> Sequence[str]:
    """What a field may be called in the file, best first."""
    return (spec.columns[name],) if name in spec.columns else defaults.get(name, (name,))


def check_unique(found: Sequence[str], read: Iterable[str], file: str) -> None:
    """Refuse a file in which a column that is read has a namesake. Raises SourceError."""
    for column in read:
        if (times := found.count(column)) > 1:
            raise SourceError(
                f'{file}: {times} columns are called "{column}"; rename all but one of them'
            )


def extra_columns(spec: Spec) -> tuple[str, ...]:
    """Further columns of a log that are kept as text; none of a catalogue."""
    return spec.extra_columns if isinstance(spec, SourceConfig) else ()


def check_spec(name: str, spec: Spec) -> None:
    """Refuse a source whose own settings contradict each other.

    Raises
    ------
    ConfigError
        An unknown key of `columns`, or an extra column with the name of another or one of ours.
    """
    if not isinstance(spec, SourceConfig):
        return
    known = (*NEEDED_OF_LOG, *OPTIONAL_OF_LOG)
    for key in spec.columns:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise ConfigError(f'sources.{name}.columns: unknown "{key}" (did you mean "{near}"?)')
    names = [extra.lower() for extra in spec.extra_columns]  # Delta tells no case apart
    for at, extra in enumerate(spec.extra_columns):
        key = f'sources.{name}.extra_columns: "{extra}"'
        if names[at] in INTERACTIONS.columns:
            raise ConfigError(
                f"{key} is a column of `interactions` already; "
                f"map it with sources.{name}.columns, or rename it in the file"
            )
        if names[at] in _OF_EXPORTS:
            raise ConfigError(f"{key} is a column of exports already; rename it in the file")
        if names[at] in names[:at]:
            raise ConfigError(f"{key} is listed twice (case does not count); name it once")


def _missing(name: str, wanted: str, found: Sequence[str], file: str) -> SourceError:
    near = difflib.get_close_matches(wanted, found, n=1, cutoff=0.5)
    meant = f'; did you mean "{near[0]}"?' if near else ""
    listed = ", ".join(repr(column[:40]) for column in found[:30])
    return SourceError(
        f'{file}: no column "{wanted}" for {name} (found: {listed}{meant}). '
        f'Name it in the source\'s columns: {name} = "..."'
    )
