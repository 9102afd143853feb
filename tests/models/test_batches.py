import numpy as np
import polars as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.batches import Sequences, batches, encode, windows


def sequences(lengths: list[int]) -> Sequences:
    number = torch.arange(1, sum(lengths) + 1)
    return Sequences(item_N=number, text_N=number, length_U=torch.tensor(lengths))


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=8)


@settings(deadline=None, max_examples=40)
@given(lengths, st.integers(2, 12), st.data())
def test_each_position_is_fresh_in_exactly_one_window(lengths, size, data):
    context = data.draw(st.integers(0, size - 1))
    cut = windows(torch.tensor(lengths), size, context)
    fresh = [
        position
        for start, length, first in zip(cut.start_W, cut.length_W, cut.fresh_W, strict=True)
        for position in range(int(start + first), int(start + length))
    ]
    assert sorted(fresh) == list(range(sum(lengths)))
    assert cut.length_W.max() <= size


@settings(deadline=None, max_examples=40)
@given(lengths, st.integers(2, 12))
def test_a_fresh_position_sees_half_a_window_before_it_or_all(lengths, size):
    cut = windows(torch.tensor(lengths), size, size // 2)
    begins = torch.isin(cut.start_W, torch.tensor([0, *np.cumsum(lengths)[:-1]]))
    assert (begins | (cut.fresh_W == size // 2)).all()


@settings(deadline=None, max_examples=40)
@given(lengths, st.integers(1, 100), st.booleans())
def test_batches_hold_every_position_once_and_mark_padding(lengths, positions, shuffled):
    flat = sequences(lengths)
    draw = np.random.default_rng(0) if shuffled else None
    cut = windows(flat.length_U, 10, 1)
    found = []
    for batch in batches(flat, cut, positions, draw):
        assert not batch.item_BL[~batch.mask_BL].any()
        assert torch.equal(batch.item_BL[batch.mask_BL], batch.index_BL[batch.mask_BL] + 1)
        found += batch.item_BL[batch.fresh_BL].tolist()
    assert sorted(found) == list(range(1, sum(lengths) + 1))


def test_items_are_numbered_from_one_and_unknown_ones_are_zero():
    frame = pl.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "new", "y"]})
    vocabulary = pl.DataFrame({"item_id": ["x", "y"]})
    found = encode(frame, "user_id", vocabulary, pl.Series(["y", "new"]))
    assert found.item_N.tolist() == [1, 0, 2]
    assert found.text_N.tolist() == [0, 2, 1]
    assert found.length_U.tolist() == [2, 1]
