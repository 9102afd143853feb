import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.models.batches import Places, Sequences, gather, windows
from pipeline.models.collaborative import item_factors
from pipeline.models.semantic import fit_space
from pipeline.models.signals import View, company, nearest, surprise

OWNER = torch.tensor([0, 0, 0, 1])
LENGTH = torch.tensor([3, 1])


def measured(x: torch.Tensor, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines (N,) of interactions to the others of their sequence, and to the likest of them."""
    table = torch.cat([torch.zeros(1, x.shape[1]).double(), x])
    sequences = Sequences(row, row, LENGTH)
    view = View.of(table, row, LENGTH)
    batch = gather(sequences, windows(LENGTH, 3, 1), torch.tensor([0, 1]))
    places = Places.of(batch.mask_BL)
    product, cosine = view.products(batch, torch.tensor([0, 1]), places.place_BQ)
    likest = nearest(cosine, places.place_BQ, batch.text_BL > 0)
    return view.to_others(product[batch.mask_BL], OWNER), places.flat(likest)


def test_an_item_does_not_vouch_for_itself():
    x = torch.tensor([[1.0, 0], [0, 2], [1, 1]]).double()
    mean, likest = measured(x, torch.tensor([1, 1, 2, 3]))
    assert mean[0] == pytest.approx(1 / math.sqrt(2))  # the others: (1, 0) and (0, 1)
    assert mean[2] == pytest.approx(0)  # the others: twice (1, 0)
    assert likest[:3].tolist() == pytest.approx([1, 1, 0])
    assert mean[3].isnan()  # a sequence of one has no others
    assert likest[3].isnan()


def test_items_without_a_vector_are_nobodys_evidence():
    x = torch.tensor([[1.0, 0], [0, 1]]).double()
    mean, likest = measured(x, torch.tensor([1, 0, 1, 2]))
    assert mean[0] == likest[0] == pytest.approx(1)
    assert mean[1].isnan()
    assert likest[1].isnan()


def test_cosines_to_the_others_are_those_of_a_loop():
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).double()
    row = torch.tensor([4, 2, 5, 1])
    mean, likest = measured(x, row)
    unit = F.normalize(x[row - 1], dim=-1)
    for here in range(3):
        others = unit[[k for k in range(3) if k != here]]
        assert mean[here] == pytest.approx(float(F.normalize(others.sum(0), dim=0) @ unit[here]))
        assert likest[here] == pytest.approx(float((others @ unit[here]).max()))


def test_places_keep_the_order_of_the_positions_that_were_chosen():
    chosen = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    places = Places.of(chosen)
    x = torch.arange(9).reshape(3, 3)
    assert places.flat(x.gather(1, places.place_BQ)).tolist() == x[chosen].tolist() == [0, 2, 7]
    assert places.row_N.tolist() == [0, 0, 2]
    assert len(places) == 3


def test_the_softmax_counts_the_item_once():
    draw = torch.Generator().manual_seed(0)
    state, table = (torch.randn(n, 4, generator=draw).double() for n in (3, 6))
    item, sample = torch.tensor([2, 0, 5]), torch.tensor([1, 2, 4])
    found = surprise(state, table[item], item, (sample, table[sample]))
    for row, own in enumerate(item.tolist()):
        counted = [own, *(number for number in sample.tolist() if number != own)]
        chance = (table[counted] @ state[row]).softmax(dim=0)[0]
        assert found[row] == pytest.approx(-math.log(chance))


def test_company_is_the_mean_over_the_others():
    found = company(torch.tensor([0.1, torch.nan, 0.3, 0.9]), OWNER)
    assert found.tolist() == pytest.approx([0.3, 0.2, 0.1, 0.0])


def test_factors_bring_together_items_with_the_same_users():
    users = [[1, 2], [1, 2], [2, 1], [3, 4], [4, 3], [3, 4]]
    item_N = torch.tensor([item for items in users for item in items])
    sequences = Sequences(item_N, item_N, torch.full((6,), 2))
    factor = item_factors(sequences, 4, 2, seed=0)
    cosine = torch.cosine_similarity(factor[1].unsqueeze(0), factor[2:], dim=-1)
    assert cosine.tolist() == pytest.approx([1, 0, 0], abs=1e-5)
    assert not factor[0].any()


def test_the_semantic_space_is_centred_and_keeps_the_largest_directions():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 6)) + 10).float()
    x[:, 0] *= 5
    table = fit_space(x, 3, 3).project(x)
    assert table.shape == (51, 3)
    assert not table[0].any()
    assert table[1:].mean(dim=0).abs().max() < 1e-5
    assert float(table[1:].norm(dim=1).mean()) == pytest.approx(1, abs=1e-4)
    assert table[1:].var(dim=0).argmax() == 0


def test_a_narrow_encoder_is_padded_with_zeros():
    table = fit_space(torch.randn(20, 2), 5, 5).project(torch.randn(3, 2))
    assert table.shape == (4, 5)
    assert not table[:, 2:].any()
