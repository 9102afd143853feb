import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import BackboneConfig
from pipeline.models.backbones import BACKBONES, build

ITEMS = 30
CONFIG = BackboneConfig(dim=8, hidden=8)


@pytest.fixture(scope="module", params=sorted(BACKBONES))
def backbone(request):
    torch.manual_seed(0)
    config = CONFIG.model_copy(update={"backbone": request.param})
    return build(ITEMS, config).double().eval()


items = st.lists(st.integers(0, ITEMS), min_size=1, max_size=12)


@settings(deadline=None, max_examples=40)
@given(before=items, after=items, other=items, padding=st.integers(0, 5))
def test_a_state_never_depends_on_later_items_or_on_padding(
    backbone, before, after, other, padding
):
    one = torch.tensor([before + after + [0] * padding])
    two = torch.tensor([before + other])
    states = [backbone.states(x)[0, : len(before)] for x in (one, two)]
    torch.testing.assert_close(*states, rtol=0, atol=1e-12)


def test_a_state_depends_on_its_own_item_and_on_the_one_before(backbone):
    one, *others = backbone.states(torch.tensor([[3, 7, 1], [3, 7, 2], [3, 8, 1]]))[:, -1]
    assert not any(torch.allclose(one, other, atol=1e-4) for other in others)


def test_a_gradient_reaches_every_weight(backbone):
    before = backbone.before(backbone.states(torch.tensor([[3, 7, 1, 5, 2, 9]])))
    (before * torch.arange(8.0).cos()).sum().backward()
    untouched = [n for n, x in backbone.named_parameters() if x.grad is None or not x.grad.any()]
    backbone.zero_grad()
    assert not untouched


def test_the_pooled_state_ignores_padding(backbone):
    short = torch.tensor([[3, 7, 1]])
    padded = torch.tensor([[3, 7, 1, 0, 0]])
    pooled = [backbone.pool(backbone.states(x), x > 0)[0] for x in (short, padded)]
    torch.testing.assert_close(*pooled, rtol=0, atol=1e-12)


def test_the_state_before_the_first_item_is_the_empty_one(backbone):
    before = backbone.before(backbone.states(torch.tensor([[3, 7], [5, 2]])))
    assert torch.equal(before[0, 0], backbone.empty)
    assert torch.equal(before[:, 0], backbone.empty.expand(2, -1))


def test_an_unknown_item_is_the_zero_vector(backbone):
    assert not backbone.items(torch.tensor(0)).any()
