"""How user ids are stored (plain, or as keyed hashes), and whose rows may not be stored again.

An erased user leaves a *tombstone*: a file in `erasures/`, named by a hash of the stored id, keyed
by a random number (`salt` beside it). It tells an id that is held against it, and does not say
whose it is.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config import Config, PrivacyConfig
from pipeline.errors import ConfigError, ConflictError
from pipeline.hashing import keyed_hash
from pipeline.schemas import INTERACTIONS, QUARANTINE
from pipeline.storage import files
from pipeline.storage.lake import Lake

FOLDER = "erasures"
SALT = "salt"  # the file there that is no tombstone
PROPERTY = "iadsr.user_ids"  # of the table `interactions`
PLAIN, HASHED = "plain", "hashed"
SHORTEST_KEY = 32  # characters

# Between these a malformed line may hold an id.
_SEPARATORS = (",", ";", "\t", "|", "::", ":", " ", '"', "'")


@dataclass(frozen=True)
class UserIds:
    """How the ids of a source become those of the lake: by `key`, or (None) as they are."""

    key: str | None = None

    def stored(self, user: pl.Expr) -> pl.Expr:
        """The ids as they are stored."""
        return keyed_hash(user, self.key) if self.key else user

    def one(self, user: str) -> str:
        """One id as it is stored."""
        return _one(self.stored(pl.lit(user)))

    @property
    def kind(self) -> str:
        """What the lake remembers of it: never the key, but a fingerprint of it."""
        if self.key is None:
            return PLAIN
        return f"{HASHED}:{_one(keyed_hash(pl.lit('fingerprint of the key'), self.key))}"


def configured(config: Config) -> UserIds:
    """How ids are stored, by the configuration. Raises ConfigError: there is no key."""
    return UserIds(_key(config.privacy))


def user_ids(config: Config, lake: Lake) -> UserIds:
    """How ids are stored, by the configuration; a lake without rows is marked so.

    Raises
    ------
    ConfigError
        There is no key, or the lake stores ids in another way or by another key.
    """
    ids = configured(config)
    snapshot = lake.open(INTERACTIONS)
    found = snapshot.metadata().configuration.get(PROPERTY, PLAIN)
    if found == ids.kind:
        return ids
    if found != PLAIN:
        raise ConfigError(
            f"{lake.root} holds hashed user ids: set privacy.hash_users = true, and name the key"
            if ids.key is None
            else f"{lake.root} holds user ids hashed by another key: give "
            f"{_where(config.privacy)} the key of its first ingest"
        )
    if lake.partition_rows(INTERACTIONS) or lake.partition_rows(QUARANTINE):
        raise ConfigError(
            f"privacy.hash_users is true, but {lake.root} holds plain user ids: hashing begins "
            "with a new lake (set lake.path to another folder and ingest again)"
        )
    lake.set_property(INTERACTIONS, PROPERTY, ids.kind)
    return ids


def _key(privacy: PrivacyConfig) -> str | None:
    if not privacy.hash_users:
        return None
    try:
        key = (
            os.environ.get(privacy.key_variable, "")
            if privacy.key_variable
            else Path(privacy.key_file).read_text(encoding="utf-8")
        ).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"privacy.key_file: {privacy.key_file} cannot be read ({error})"
        ) from None
    if len(key) < SHORTEST_KEY:
        what = f"a key of {len(key)} characters" if key else "no key"
        raise ConfigError(
            f"{_where(privacy)} holds {what}; at least {SHORTEST_KEY} are needed "
            "(make one: `openssl rand -hex 32`)"
        )
    return key


def _where(privacy: PrivacyConfig) -> str:
    return f"${privacy.key_variable}" if privacy.key_variable else privacy.key_file


@dataclass(frozen=True)
class Erased:
    """The tombstones of a lake, as they were when they were read."""

    salt: str
    digests: frozenset[str]

    def among(self, stored: pl.Series) -> pl.Series:
        """True where a stored id is an erased user's; false where it is null."""
        if not self.digests:
            return pl.repeat(False, len(stored), eager=True)
        found = keyed_hash(pl.col(stored.name), self.salt).is_in(list(self.digests))
        return stored.to_frame().select(found.fill_null(False)).to_series()

    def in_lines(self, raw: pl.Series, ids: UserIds) -> pl.Series:
        """True where a line that cannot be split may be an erased user's: it holds the id."""
        if not self.digests:
            return pl.repeat(False, len(raw), eager=True)
        words = [sorted(_words(line)) for line in raw]
        frame = pl.DataFrame({"word": words}, schema={"word": pl.List(pl.String)})
        flat = frame.with_row_index("line").explode("word").with_columns(ids.stored(pl.col("word")))
        lines = flat.filter(self.among(flat["word"]))["line"]
        return pl.int_range(len(raw), eager=True).is_in(lines.unique().to_list())


def erased(lake: Lake) -> Erased:
    """Whose rows may not be stored. Read it *after* the snapshot on which a commit will rest."""
    found = [path.rpartition("/")[2].removesuffix(".json") for path in _tombstones(lake)]
    if found:
        _keep_salt(lake)  # of a lake in which an older version erased
    return Erased(_salt(lake), frozenset(found))


def refuse_erased(lake: Lake, stored: pl.Series) -> None:
    """Raise ConflictError if one of these users was erased, in the meantime, say."""
    if erased(lake).among(stored).any():
        raise ConflictError(
            "a user of these rows has been erased since they were read. "
            "Nothing of this run was published; run it again."
        )


@dataclass(frozen=True)
class Tombstone:
    """What stays of an erased user."""

    lake: Lake
    stored_id: str

    @cached_property
    def name(self) -> str:
        """The hash that stands for the user."""
        return _one(keyed_hash(pl.lit(self.stored_id), _salt(self.lake)))

    @property
    def _path(self) -> str:
        return self.lake.path(FOLDER, f"{self.name}.json")

    def read(self) -> dict[str, Any]:
        """`recorded_at`, `finished_at` (ISO, UTC), `rows` (table -> number), as far as known."""
        try:
            told: dict[str, Any] = json.loads(files.read_bytes(self._path))
        except FileNotFoundError:
            return {}
        return told

    def write(self, **more: Any) -> dict[str, Any]:
        """Add what is known; from the first time on nothing of the user is stored any more."""
        told = {"recorded_at": _now(), **self.read(), **more}
        _keep_salt(self.lake)
        files.write_bytes(self._path, json.dumps(told).encode())
        return told

    def finish(self) -> None:
        """Everything of the user is gone."""
        self.write(finished_at=_now())


def erasures(lake: Lake) -> tuple[int, int]:
    """How many erasures were recorded, and how many of them are pending."""
    told = [json.loads(files.read_bytes(path)) for path in _tombstones(lake)]
    return len(told), sum("finished_at" not in each for each in told)


def _words(line: bytes | None) -> set[str]:
    """What stands between separators, of one kind or of all kinds."""
    text = (line or b"").decode(errors="replace")
    parts = {part for separator in _SEPARATORS for part in text.split(separator)}
    for separator in _SEPARATORS:
        text = text.replace(separator, "\n")
    trimmed = {part.strip(" \t\r\"'{}[]") for part in (*parts, *text.split("\n"))}
    return trimmed - {""}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _tombstones(lake: Lake) -> list[str]:
    return [path for path in files.list_files(lake.path(FOLDER)) if path.endswith(".json")]


def _salt(lake: Lake) -> str:
    """The number kept, or the identity of `interactions`: random, and alike for all who ask."""
    try:
        return files.read_bytes(lake.path(FOLDER, SALT)).decode()
    except FileNotFoundError:
        return str(lake.open(INTERACTIONS).metadata().id)


def _keep_salt(lake: Lake) -> None:
    """Keep it in a file: the tombstones must hold when `interactions` is made anew."""
    if not files.exists(lake.path(FOLDER, SALT)):
        files.write_bytes(lake.path(FOLDER, SALT), _salt(lake).encode())


def _one(text: pl.Expr) -> str:
    return str(pl.select(text).item())
