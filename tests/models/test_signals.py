import math

import numpy as np
import pytest
import torch

from pipeline.models.batches import Sequences
from pipeline.models.collaborative import item_factors
from pipeline.models.semantic import fit_space
from pipeline.models.signals import company, nearest, others_cosine

OWNER = torch.tensor([0, 0, 0, 1])


def test_an_item_does_not_vouch_for_itself():
    x = torch.tensor([[1.0, 0], [1, 0], [0, 1], [1, 1]]).double()
    found = others_cosine(x, OWNER)
    assert found[0] == pytest.approx(1 / math.sqrt(2))  # the others: (1, 0) and (0, 1)
    assert found[2] == pytest.approx(0)  # the others: twice (1, 0)
    assert found[3].isnan()  # a sequence of one has no others


def test_items_without_a_vector_are_nobodys_evidence():
    x = torch.tensor([[1.0, 0], [0, 0], [1, 0], [0, 1]]).double()
    found = others_cosine(x, OWNER)
    assert found[0] == pytest.approx(1)
    assert found[1].isnan()


def test_the_nearest_is_another_position_that_is_there():
    x = torch.tensor([[[1.0, 0], [1, 1], [0, 1], [1, 0]]]).double()
    found = nearest(x, torch.tensor([[True, True, True, False]]))
    assert found[0, 0] == pytest.approx(1 / math.sqrt(2))
    assert found[0, 3].isnan()


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
