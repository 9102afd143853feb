"""What turns item text into vectors: one protocol, and one line per backend.

Importing it loads no engine; neither does `encoder_id`, by which the vectors are stored.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.config import EncoderConfig
from pipeline.digests import digest
from pipeline.progress import Progress


class Encoded(NamedTuple):
    """One vector a text, in the order of the texts, each of length 1 (L2)."""

    vectors: NDArray[np.float32]
    truncated: int  # texts longer than `max_tokens`, of which only the beginning was read


class Encoder(Protocol):
    """A loaded model."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str], progress: Progress) -> Encoded:
        """Embed the texts, which are not empty; `progress` counts them as they are done."""
        ...


@dataclass(frozen=True)
class Identity:
    """What decides a vector, beside the text and the configuration."""

    name: str
    revision: str  # digest of the weights and of the tokenizer, or of what is stated of them
    pooling: str
    dim: int
    dtype: str
    engines: dict[str, str]
    normalized: str = "l2"


@dataclass(frozen=True)
class _Backend:
    identify: str  # "module:function" from an EncoderConfig to its Identity; loads no engine
    load: str  # "module:function" from an EncoderConfig to a context with its Encoder


PREFIXES = "prefixes-of-"  # begins the names under which vectors of joined texts stand

_BACKENDS = {
    "transformers": _Backend(
        identify="pipeline.encoders.folder:identify", load="pipeline.encoders.transformers:load"
    ),
    "vllm": _Backend(
        identify="pipeline.encoders.interpreter:identify", load="pipeline.encoders.pool:load"
    ),
    "openai": _Backend(
        identify="pipeline.encoders.openai:identify", load="pipeline.encoders.openai:load"
    ),
}


def encoder_id(config: EncoderConfig) -> str:
    """Name of the encoder in the lake: `<model>-<pooling>-<dimension>-<dtype>-<12 hex>`.

    The digest covers all that moves a vector, the engine's version too: vectors of two encoders
    never mix.
    """
    identity: Identity = _call(_BACKENDS[config.backend].identify, config)
    settings = config.model_dump(include={"backend", "prompt", "max_tokens"})
    model = re.sub(r"[^a-z0-9._]+", "-", identity.name.lower()).strip("-._") or "model"
    seal = digest({**asdict(identity), **settings})
    return f"{model}-{identity.pooling}-{identity.dim}-{identity.dtype}-{seal}"


def prefix_encoder_id(encoder_id: str) -> str:
    """Where the vectors of joined texts stand: apart from the items', so that they can be dropped.

    No night reads them, and no item's vector is looked for among them.
    """
    return PREFIXES + encoder_id


def dimension(encoder_id: str) -> int:
    """Length of the vectors, which the name of an encoder tells."""
    return int(encoder_id.rsplit("-", 3)[1])


def cut_to_unit(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """The first `dim` values of each row, as a vector of length 1; a zero row stays zero."""
    cut = vectors[:, :dim]
    norms: NDArray[np.float32] = np.linalg.norm(cut, axis=1, keepdims=True)
    norms[norms == 0] = 1
    return cut / norms


def load(config: EncoderConfig) -> AbstractContextManager[Encoder]:
    """The encoder, ready; leaving the context ends what it started."""
    encoder: AbstractContextManager[Encoder] = _call(_BACKENDS[config.backend].load, config)
    return encoder


def _call(target: str, config: EncoderConfig) -> Any:
    module, function = target.split(":")
    return getattr(import_module(module), function)(config)
