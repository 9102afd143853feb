import numpy as np
import polars as pl
import pytest
import synthetic
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import ClozeConfig
from pipeline.models.batches import encode
from pipeline.models.cloze import Cloze, fit_cloze
from pipeline.models.model import count_items

ITEMS, TEXT = 30, 6
CONFIG = ClozeConfig(dim=8, heads=2, reach=3)
items = st.lists(st.integers(1, ITEMS), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def cloze() -> Cloze:
    torch.manual_seed(0)
    return Cloze(ITEMS, TEXT, CONFIG).double().eval()


def states(cloze: Cloze, sequence: list[int], padding: int = 0) -> torch.Tensor:
    item = torch.tensor([sequence + [0] * padding])
    text = torch.zeros(*item.shape, TEXT, dtype=torch.float64)
    mask = torch.arange(item.shape[1]).unsqueeze(0) < len(sequence)
    return cloze.states(cloze.vectors(item, text), mask)[0, : len(sequence)]


@settings(deadline=None, max_examples=40)
@given(sequence=items, other=st.integers(1, ITEMS), padding=st.integers(0, 4), data=st.data())
def test_what_is_expected_at_a_position_never_depends_on_its_own_item_or_on_padding(
    cloze, sequence, other, padding, data
):
    place = data.draw(st.integers(0, len(sequence) - 1))
    changed = [*sequence[:place], other, *sequence[place + 1 :]]
    one, two = states(cloze, sequence)[place], states(cloze, changed, padding)[place]
    torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


def test_some_places_see_what_they_see_among_all(cloze):
    item = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 0]])
    mask = item > 0
    x = cloze.vectors(item, torch.zeros(2, 4, TEXT, dtype=torch.float64))
    whole = cloze.attend(x, mask, torch.arange(4).unsqueeze(0))[0]
    place = torch.tensor([[3, 1], [0, 2]])
    some = cloze.attend(x, mask, place)[0]
    wanted = whole.gather(1, place.unsqueeze(-1).expand_as(some))
    torch.testing.assert_close(some, wanted)


def test_the_state_is_an_mlp_of_the_values_of_the_others(cloze):
    item = torch.tensor([[4, 7, 9]])
    x = cloze.vectors(item, torch.zeros(1, 3, TEXT, dtype=torch.float64))
    found = cloze.states(x, item > 0)[0, 1]
    logit = cloze.key(x[0, [0, 2]]) + cloze.distance[:, [CONFIG.reach - 1, CONFIG.reach + 1]].T
    value = cloze.value(x[0, [0, 2]]).unflatten(-1, (CONFIG.heads, -1))
    seen = (logit.softmax(dim=0).unsqueeze(-1) * value).sum(dim=0).flatten()
    wanted = cloze.skip(seen) + cloze.narrow(torch.nn.functional.gelu(cloze.widen(seen)))
    torch.testing.assert_close(found, wanted)


def test_what_is_expected_depends_on_items_before_and_after(cloze):
    middle = states(cloze, [1, 2, 3])[1]
    assert not torch.allclose(middle, states(cloze, [4, 2, 3])[1])
    assert not torch.allclose(middle, states(cloze, [1, 2, 4])[1])


def test_a_position_without_others_expects_what_nothing_tells(cloze):
    one, two = states(cloze, [1]), states(cloze, [2], padding=3)
    torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


def test_an_item_is_known_by_its_number_and_by_its_text(cloze):
    text = torch.randn(1, TEXT, dtype=torch.float64)
    none = torch.zeros(1, TEXT, dtype=torch.float64)
    number, unknown = torch.tensor([3]), torch.tensor([0])
    assert not cloze.vectors(unknown, none).any()
    both = cloze.vectors(number, none) + cloze.vectors(unknown, text)
    torch.testing.assert_close(cloze.vectors(number, text), both)


def test_training_learns_the_tastes(log, vectors):
    vocabulary = count_items(log, 1)
    sequences = encode(log, "user_id", vocabulary, pl.Series([], dtype=pl.String))
    none = torch.zeros(1, TEXT)
    text_of = torch.zeros(vocabulary.height + 1, dtype=torch.long)
    config = synthetic.CONFIG.cloze
    cloze, again = (fit_cloze(sequences, none, text_of, 12, config) for _ in range(2))
    taste = np.array([synthetic.taste(item) for item in vocabulary["item_id"]])
    likes = [torch.tensor(np.flatnonzero(taste == t)[:6] + 1) for t in (0, 1)]
    for own, number in enumerate(likes):
        x = cloze.vectors(number.unsqueeze(0), torch.zeros(1, 6, TEXT))
        expected = cloze.states(x, torch.ones(1, 6, dtype=torch.bool))[0, 2]
        score = (cloze.items.weight[1:] @ expected).detach().numpy()
        assert score[taste == own].mean() > score[taste != own].mean() + 1
    assert torch.equal(cloze.items.weight, again.items.weight)
