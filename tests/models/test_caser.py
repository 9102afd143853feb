import torch
import torch.nn.functional as F

from pipeline.config import BackboneConfig
from pipeline.models.caser import REACH, VERTICAL, Caser

FILTERS = 2


def caser() -> Caser:
    torch.manual_seed(0)
    config = BackboneConfig(backbone="caser", dim=4, hidden=FILTERS * REACH)
    return Caser(20, config).double().eval()


def test_a_state_is_the_papers_network_over_the_last_items():
    """Each filter slides over the image of the last items, one by one; zeros before the first."""
    backbone = caser()
    items = torch.tensor([3, 7, 1, 9, 4, 4, 2])
    found = backbone.states(items.unsqueeze(0))[0]
    for t in range(len(items)):
        image = torch.zeros(REACH, 4, dtype=torch.float64)
        last = backbone.items(items[max(0, t - REACH + 1) : t + 1])
        image[REACH - len(last) :] = last
        parts = []
        for height, conv in enumerate(backbone.horizontal, start=1):
            slid = [
                F.relu((conv.weight[f] * image[i : i + height].T).sum() + conv.bias[f])
                for f in range(FILTERS)
                for i in range(REACH - height + 1)
            ]
            parts += [x.amax() for x in torch.stack(slid).split(REACH - height + 1)]
        weight, bias = backbone.vertical.weight, backbone.vertical.bias
        parts += [weight[f] @ image[:, d] + bias[f] for d in range(4) for f in range(VERTICAL)]
        torch.testing.assert_close(found[t], backbone.output(torch.stack(parts)))


def test_a_state_looks_back_on_its_last_items_only():
    backbone = caser()
    one, other = torch.arange(1, 9).repeat(2, 1)
    other[2] = 20
    changed = (backbone.states(one.unsqueeze(0)) != backbone.states(other.unsqueeze(0))).any(dim=-1)
    assert changed[0].tolist() == [False] * 2 + [True] * REACH + [False]


def test_gradients_are_those_of_the_values():
    """The convolutions' backward passes are written by hand."""
    backbone = caser()
    items = torch.tensor([[3, 7, 1, 9, 4, 5], [2, 6, 8, 11, 2, 6]])

    def states(*weights: torch.Tensor) -> torch.Tensor:
        named = dict(zip(dict(backbone.named_parameters()), weights, strict=True))
        found: torch.Tensor = torch.func.functional_call(backbone, named, (items,))
        return found

    backbone.forward = backbone.states  # type: ignore[method-assign]
    assert torch.autograd.gradcheck(states, tuple(backbone.parameters()))


def test_no_sequences_have_no_states():
    assert caser().states(torch.zeros(0, 5, dtype=torch.long)).shape == (0, 5, 4)
