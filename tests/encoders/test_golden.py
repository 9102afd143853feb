"""The golden check refuses vectors that are not the model's."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline import encoders
from pipeline.config import EncoderConfig
from pipeline.encoders import Encoded, Encoder, golden
from pipeline.errors import ContractError
from pipeline.progress import Progress

TITLES = [f"{'very ' * (n % 12)}red lipstick number {n}" for n in range(60)]
CONFIG = EncoderConfig(backend="vllm")


class Scaled:
    """Another encoder's vectors, made a little, or utterly, wrong."""

    dim = 384

    def __init__(self, encoder: Encoder, factor: float) -> None:
        self.encoder, self.factor = encoder, factor
        self.read: list[str] = []

    def encode(self, texts: Sequence[str], progress: Progress) -> Encoded:
        self.read = list(texts)
        vectors = self.encoder.encode(texts, progress).vectors.copy()
        vectors[3, 0] *= self.factor
        return Encoded(vectors, 0)


def test_equal_vectors_of_twenty_texts_of_all_lengths_pass(minilm: Encoder) -> None:
    encoder = Scaled(minilm, 1)
    golden.check(CONFIG, encoder, TITLES)
    assert len(encoder.read) == 20
    assert [len(encoder.read[0]), len(encoder.read[-1])] == [21, 77]


def test_another_pooling_is_refused() -> None:
    with (
        encoders.load(EncoderConfig(pooling="cls")) as pooled_otherwise,
        pytest.raises(ContractError, match=r"20 of 20 texts have another vector .* mean pooling"),
    ):
        golden.check(CONFIG, pooled_otherwise, TITLES)


def test_one_text_whose_vector_is_broken_is_refused(minilm: Encoder) -> None:
    with pytest.raises(ContractError, match=r"1 of 20 texts .*cosine nan at the worst"):
        golden.check(CONFIG, Scaled(minilm, np.nan), TITLES)


def test_another_dimension_is_refused(minilm: Encoder) -> None:
    shorter = EncoderConfig(backend="vllm", dim=128)
    with pytest.raises(ContractError, match=r"shape \(20, 384\) from vllm, \(20, 128\) from trans"):
        golden.check(shorter, minilm, TITLES)
