"""One file of a source or catalogue, and by what the lake knows that it was read already."""

from dataclasses import dataclass
from os.path import commonprefix
from pathlib import PurePosixPath
from typing import Any

from deltalake import DeltaTable

from pipeline.config import Config, SourceConfig
from pipeline.digests import digest
from pipeline.schemas import INTERACTIONS, ITEMS, Table
from pipeline.sources.layout import Spec
from pipeline.sources.parquet import hive_values
from pipeline.storage import runs
from pipeline.storage.lake import marker_number


@dataclass
class Delivery:
    """A file, as it is read by these settings."""

    config: Config
    name: str
    spec: Spec
    file: str
    sha256: str

    @property
    def identity(self) -> str:
        """The file's bytes and how they are read."""
        return digest({"sha256": self.sha256} | self._read_by, 32)

    @property
    def marker(self) -> str:
        """The file's key among a table's markers."""
        return "file:" + self.identity

    @property
    def latest(self) -> tuple[str, int]:
        """The marker of a catalogue's place: what was read there last. It may move as a whole."""
        shared = commonprefix([self.file, self.spec.path])  # noqa: RUF071  (a glob cuts names)
        inside = self.file.removeprefix(shared)
        return f"catalogue:{self.name}:{inside}", marker_number(self.identity)

    @property
    def bytes_marker(self) -> str:
        """The key of a log's bytes, however they are read."""
        return "bytes:" + self.sha256

    def were_read(self, snapshot: DeltaTable) -> bool:
        """True if a log's bytes were read before, in another way: they are no later delivery."""
        earlier = "file:" + digest({"sha256": self.sha256, "spec": self._spec}, 32)
        keys = (self.bytes_marker, earlier)  # the latter is all that earlier releases have left
        return any(snapshot.transaction_version(key) is not None for key in keys)

    @property
    def run_id(self) -> str:
        """Name of this piece of work."""
        return runs.run_id("ingest", {"file": self.sha256} | self._read_by)

    @property
    def _read_by(self) -> dict[str, Any]:
        """What the bytes are read by; without what is usual, as earlier releases named it."""
        bounds = self.config.ingest.model_dump(
            mode="json",
            exclude=None if self.table is INTERACTIONS else {"earliest"},
            exclude_defaults=True,
        )
        hive = hive_values(self.file) if self.spec.format == "parquet" else {}
        rare = {name: told for name, told in (("bounds", bounds), ("hive", hive)) if told}
        return {"spec": self._spec} | rare

    @property
    def _spec(self) -> str:
        return digest(self.spec.model_dump(mode="json", exclude={"path"}), 32)

    @property
    def table(self) -> Table:
        """The table that the file's rows land in."""
        return INTERACTIONS if isinstance(self.spec, SourceConfig) else ITEMS

    @property
    def label(self) -> str:
        """The file's name in messages."""
        return PurePosixPath(self.file).name

    def is_in(self, snapshot: DeltaTable) -> bool:
        """True if the file was read already; a catalogue: if it was the last one in its place."""
        key, number = self.latest
        if self.table is ITEMS and (last := snapshot.transaction_version(key)) is not None:
            return last == number
        return snapshot.transaction_version(self.marker) is not None
