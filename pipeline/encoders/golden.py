"""The golden check: an engine's vectors against those of plain transformers, on a few texts.

An engine may pool, mask, truncate or tokenize otherwise than it is told; nothing fails then, and
every vector is wrong.
"""

from collections.abc import Sequence

import numpy as np

from pipeline import encoders
from pipeline.config import EncoderConfig
from pipeline.encoders import Encoder
from pipeline.errors import ContractError
from pipeline.progress import logger

TEXTS = 20
# Cosine of each text's two vectors, of which plain transformers' is computed in float32.
TOLERANCE = {"float32": 0.999, "float16": 0.995, "bfloat16": 0.99}


_ADVICE = (
    "nothing was stored. Does the model pool, mask or project in its own way? "
    "See docs/encoders.md (encoder.vllm.golden = false accepts it unseen)"
)


class _NoProgress:
    def update(self, n: int) -> None: ...


def check(config: EncoderConfig, encoder: Encoder, texts: Sequence[str]) -> None:
    """Compare `TEXTS` of the texts, from the shortest to the longest. Raises ContractError."""
    ranked = sorted(texts, key=len)
    at = np.linspace(0, len(ranked) - 1, min(TEXTS, len(ranked))).round().astype(int)
    sample = [ranked[i] for i in at]
    found = encoder.encode(sample, _NoProgress()).vectors
    plain = config.model_copy(update={"backend": "transformers", "dtype": "float32"})
    with encoders.load(plain) as reference:
        wanted = reference.encode(sample, _NoProgress()).vectors
    if found.shape != wanted.shape:
        raise ContractError(
            f"{config.model}: vectors of shape {found.shape} from {config.backend}, "
            f"{wanted.shape} from transformers; {_ADVICE}"
        )
    cosine = np.einsum("nd,nd->n", found, wanted)
    needed = TOLERANCE[config.dtype]
    apart = ~(cosine >= needed)  # not `<`: a NaN is apart, too
    if apart.any():
        raise ContractError(
            f"{config.model}: {apart.sum()} of {len(sample)} texts have another vector in "
            f"{config.backend} than in transformers with {config.pooling} pooling (cosine "
            f"{cosine.min():.4f} at the worst, wanted {needed} in {config.dtype}); {_ADVICE}"
        )
    logger.info(
        "%s agrees with transformers on %s texts (cosine %.6f at the worst)",
        config.backend,
        len(sample),
        cosine.min(),
    )
