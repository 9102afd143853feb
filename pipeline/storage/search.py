"""Where a user's id stands in the bytes of a lake's files: every Parquet file is decoded.

*Held* is an id where ids of users stand: a column `user_id` (its statistics, in footers and in the
log, too), a quarantined row whose user is not known, the text of an error. *Elsewhere* are the same
characters as something else (an item's id, say, or a word): told, and nobody's data.
"""

import html
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import columns as col
from pipeline.progress import Progress
from pipeline.storage import files

# Text in which an id of a user may stand among other words, by the name of its column or key.
_TEXTS = frozenset({col.ERROR, "predicate"})
# A shorter id stands in binary files by chance.
_SHORTEST_IN_BINARY = 8
_BINARY = (".safetensors", ".png", ".npz", ".npy", ".duckdb")
_WORD = rb"[0-9A-Za-z_]"

UNREADABLE = "no whole Parquet file: it was not searched"


@dataclass(frozen=True, order=True)
class Hit:
    """A file in which the id stands, and where in it."""

    path: str
    place: str


@dataclass
class Found:
    """What a search saw: `files` and `size` (bytes) are those that were read."""

    files: int = 0
    size: int = 0
    held: list[Hit] = field(default_factory=list)
    elsewhere: list[Hit] = field(default_factory=list)

    def __iadd__(self, other: "Found") -> "Found":
        self.files += other.files
        self.size += other.size
        self.held += other.held
        self.elsewhere += other.elsewhere
        return self


@dataclass(frozen=True)
class Needle:
    """A stored user id, and the ways in which it may be written."""

    user: str

    @cached_property
    def _spellings(self) -> list[bytes]:
        quoted = json.dumps(self.user)[1:-1], json.dumps(self.user, ensure_ascii=False)[1:-1]
        texts = {self.user, *quoted, html.escape(self.user)}
        texts |= {self.user.replace(mark, mark * 2) for mark in "'\""}
        found = {text.encode(errors="surrogatepass") for text in texts}
        with suppress(UnicodeEncodeError):
            found.add(self.user.encode("latin-1"))
        return sorted(found)

    @cached_property
    def _token(self) -> re.Pattern[bytes]:
        either = b"|".join(re.escape(spelling) for spelling in self._spellings)
        return re.compile(rb"(?<!%s)(?:%s)(?!%s)" % (_WORD, either, _WORD))

    def within(self, text: bytes | str | None) -> bool:
        """True if the id stands in the text as a word of its own."""
        content = text.encode(errors="surrogatepass") if isinstance(text, str) else text or b""
        return bool(self._token.search(content))

    def search(self, found: list[tuple[str, int]], bar: Progress) -> Found:
        """Look into files, given with their sizes. One that has gone meanwhile is left out."""
        told = Found()
        for path, size in found:
            try:
                hits = list(self._in_file(path))
            except FileNotFoundError:
                continue
            told.files += 1
            told.size += size
            places = {(place, held) for place, held in hits}
            for place, held in sorted(places):
                (told.held if held else told.elsewhere).append(Hit(path, place))
            bar.update(1)
        return told

    def _in_file(self, path: str) -> Iterator[tuple[str, bool]]:
        """(Place, whether held) of each hit."""
        if path.endswith(".parquet"):
            yield from self._in_parquet(path)
            return
        content = files.read_bytes(path)
        if path.endswith((".json", ".jsonl")) or ".json" in path.rpartition("/")[2]:
            yield from self._in_json(content)
        elif self.within(content) and self._says_something(path):
            yield "text", False

    def _says_something(self, path: str) -> bool:
        return not path.endswith(_BINARY) or len(self.user) >= _SHORTEST_IN_BINARY

    def _in_json(self, content: bytes) -> Iterator[tuple[str, bool]]:
        for text in content.splitlines() if content.count(b"\n{") else [content]:
            try:
                value = json.loads(text) if text.strip() else None
            except ValueError:
                if self.within(text):
                    yield "text", False
                continue
            yield from self._in_value("", value)

    def _in_value(self, key: str, value: Any) -> Iterator[tuple[str, bool]]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from self._in_value(str(name), inner)
        elif isinstance(value, list):
            for inner in value:
                yield from self._in_value(key, inner)
        elif isinstance(value, str):
            if value == self.user:
                yield key, key == col.USER_ID
            elif key in _TEXTS and self.within(value):
                yield key, True
            elif value.startswith(("{", "[")):
                yield from self._in_json(value.encode())

    def _in_parquet(self, path: str) -> Iterator[tuple[str, bool]]:
        store, inner = files.filesystem(path)
        with store.open_input_file(inner) as stream:
            try:
                file = pq.ParquetFile(stream, read_dictionary=self._texts_of(stream))
            except pa.ArrowInvalid:
                yield UNREADABLE, False
                return
            yield from self._in_footer(file)
            schema = file.schema_arrow
            for group in range(file.num_row_groups):
                for name in (f.name for f in schema if _holds_text(f.type)):
                    column = file.read_row_group(group, columns=[name]).column(0)
                    for leaf, values in _leaves(name, column):
                        yield from self._in_values(leaf, values)
                if col.RAW in schema.names:
                    yield from self._in_quarantine(file, group)

    @staticmethod
    def _texts_of(stream: pa.NativeFile) -> list[str]:
        """Columns that are read with the dictionaries in which their values lie."""
        schema = pq.read_schema(stream)
        stream.seek(0)
        return [f.name for f in schema if _is_text(f.type)]

    def _in_footer(self, file: pq.ParquetFile) -> Iterator[tuple[str, bool]]:
        for group in range(file.metadata.num_row_groups):
            for number in range(file.metadata.num_columns):
                chunk = file.metadata.row_group(group).column(number)
                stated = chunk.statistics
                if stated is not None and stated.has_min_max:
                    for value in (stated.min, stated.max):
                        if value in (self.user, self.user.encode(errors="surrogatepass")):
                            name = chunk.path_in_schema
                            yield f"statistics of {name}", name == col.USER_ID
        for value in (file.metadata.metadata or {}).values():
            if value == self.user.encode(errors="surrogatepass"):
                yield "footer", False

    def _in_values(self, name: str, values: pa.Array) -> Iterator[tuple[str, bool]]:
        as_type = self.user.encode() if _is_binary(values.type) else self.user
        if pc.any(pc.equal(values, pa.scalar(as_type, values.type))).as_py():
            yield name, name == col.USER_ID
        if name in _TEXTS and any(self.within(v) for v in values.to_pylist()):
            yield name, True
        if not _is_binary(values.type) and pc.any(pc.starts_with(values, "{")).as_py():
            for text in values.to_pylist():
                if text and text.startswith("{") and self._may_be_in(text):
                    yield from self._in_json(text.encode())

    def _may_be_in(self, text: str) -> bool:
        content = text.encode(errors="surrogatepass")
        return any(spelling in content for spelling in self._spellings)

    def _in_quarantine(self, file: pq.ParquetFile, group: int) -> Iterator[tuple[str, bool]]:
        """A line of which the user is not known, and that holds the id."""
        names = [n for n in (col.USER_ID, col.RAW, col.DETAIL) if n in file.schema_arrow.names]
        for row in file.read_row_group(group, columns=names).to_pylist():
            unknown = row.get(col.USER_ID) is None
            if unknown and (self.within(row[col.RAW]) or self.within(row.get(col.DETAIL))):
                yield col.RAW, True
                return


def _is_binary(dtype: pa.DataType) -> bool:
    of_bytes = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_one(dtype) for is_one in of_bytes)


def _is_text(dtype: pa.DataType) -> bool:
    of_text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return _is_binary(dtype) or any(is_one(dtype) for is_one in of_text)


def _holds_text(dtype: pa.DataType) -> bool:
    inner = [dtype.field(i).type for i in range(dtype.num_fields)]
    if pa.types.is_dictionary(dtype):
        inner.append(dtype.value_type)
    return _is_text(dtype) or any(_holds_text(each) for each in inner)


def _leaves(name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, pa.Array]]:
    """The strings (or bytes) of a column at any depth, each with the name next to it."""
    for chunk in column.chunks:
        yield from _leaves_of(name, chunk)


def _leaves_of(name: str, array: pa.Array) -> Iterable[tuple[str, pa.Array]]:
    dtype = array.type
    if pa.types.is_dictionary(dtype):
        # All of the dictionary: also what no row refers to stands in the file.
        yield from _leaves_of(name, array.dictionary)
    elif pa.types.is_struct(dtype):
        for number, inner in enumerate(dtype):
            yield from _leaves_of(inner.name, array.field(number))
    elif pa.types.is_map(dtype):
        yield from _leaves_of(name, array.keys)
        yield from _leaves_of(name, array.items)
    elif pa.types.is_nested(dtype):  # lists of all kinds
        yield from _leaves_of(name, array.flatten())
    elif _is_text(dtype):
        # Of the kinds of text that there are, Arrow compares these.
        yield name, array.cast(pa.large_binary() if _is_binary(dtype) else pa.large_string())
