import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.config import BackboneConfig, SoftmaxConfig
from pipeline.models import losses
from pipeline.models.backbones import build
from pipeline.models.losses import Negatives, Proposal, info_nce, masked_mean, next_item_loss

ITEMS = 30
COUNTS = torch.arange(1, ITEMS + 1) ** 2


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return build(ITEMS, BackboneConfig(dim=8, hidden=8)).double()


@pytest.fixture
def before():
    return torch.randn(6, 8, dtype=torch.float64, requires_grad=True)


def test_the_full_softmax_is_cross_entropy_over_all_items_values_and_gradients(
    backbone, before, monkeypatch
):
    monkeypatch.setattr(losses, "BLOCK", 1)  # blocks of 32 rows
    states = before.repeat(20, 1).detach().requires_grad_()
    item = torch.arange(120) % ITEMS + 1
    weight = torch.rand(120, dtype=torch.float64)
    negatives = Proposal(COUNTS, SoftmaxConfig(softmax="full")).draw(torch.Generator())
    ours = next_item_loss(backbone, states, item, negatives)
    logits = states @ backbone.items.weight[1:].T
    plain = F.cross_entropy(logits, item - 1, reduction="none")
    torch.testing.assert_close(ours, plain)
    leaves = (states, backbone.items.weight)
    torch.testing.assert_close(
        torch.autograd.grad((ours * weight).sum(), leaves),
        torch.autograd.grad((plain * weight).sum(), leaves),
    )


def test_the_sampled_softmax_matches_a_loop_and_counts_the_item_once(backbone, before):
    item = torch.tensor([2, 3, 9, 1, 30, 7])
    negatives = Negatives(torch.tensor([2, 3, 7, 30]), torch.tensor([0.5, -0.2, 1.0, 0.0]))
    found = next_item_loss(backbone, before, item, negatives)
    for n, own in enumerate(item.tolist()):
        logit = {i: torch.dot(before[n], backbone.items(torch.tensor(i))) for i in range(ITEMS + 1)}
        rest = [
            logit[m] + bias
            for m, bias in zip(negatives.item_M.tolist(), negatives.bias_M, strict=True)
            if m != own
        ]
        wanted = torch.logsumexp(torch.stack([logit[own], *rest]), dim=0) - logit[own]
        torch.testing.assert_close(found[n], wanted)


def test_an_item_that_is_the_only_negative_costs_nothing_and_has_no_gradient(backbone, before):
    loss = next_item_loss(
        backbone, before, torch.full((6,), 4), Negatives(torch.tensor([4]), torch.zeros(1))
    )
    loss.sum().backward()
    assert not loss.any()
    assert not before.grad.any()


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_the_corrected_negatives_estimate_the_whole_sum_without_bias(power):
    proposal = Proposal(COUNTS, SoftmaxConfig(negatives=8, negatives_power=power))
    draw = torch.Generator().manual_seed(0)
    value_V = torch.arange(ITEMS).sin().exp().double()
    sums = []
    for _ in range(4000):
        negatives = proposal.draw(draw)
        sums.append((value_V[negatives.item_M - 1] * negatives.bias_M.double().exp()).sum())
    estimate = torch.stack(sums)
    error = float(estimate.std()) / math.sqrt(len(sums))
    assert float(estimate.mean()) == pytest.approx(float(value_V.sum()), abs=4 * error)


def test_popular_items_are_drawn_more_often_and_each_once_a_batch():
    proposal = Proposal(COUNTS, SoftmaxConfig(negatives=20, negatives_power=1.0))
    draw = torch.Generator().manual_seed(0)
    drawn = [proposal.draw(draw).item_M for _ in range(50)]
    assert all(len(items.unique()) == len(items) for items in drawn)
    seen = torch.bincount(torch.cat(drawn), minlength=ITEMS + 1)
    assert seen[0] == 0
    assert seen[-5:].sum() > 5 * seen[1:6].sum()


def test_info_nce_matches_a_loop():
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    similarity = [[float(F.cosine_similarity(x, y, dim=0)) / 0.1 for y in b] for x in a]
    wanted = [
        -math.log(math.exp(row[i]) / sum(math.exp(x) for x in row))
        for i, row in enumerate(similarity)
    ]
    assert float(info_nce(a, b, 0.1)) == pytest.approx(sum(wanted) / 3, rel=1e-4)


def test_a_masked_item_is_no_target_and_dropping_all_gains_nothing():
    loss = torch.tensor([1.0, 5.0])
    assert masked_mean(loss, torch.tensor([1.0, 0.0])) == 1.0
    assert masked_mean(loss, torch.tensor([0.5, 0.5])) == masked_mean(loss, torch.ones(2))
