import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from pipeline.config import BackboneConfig
from pipeline.models.sasrec import ROTATION_BASE, SASRec

HEADS, WIDTH = 2, 4
CONFIG = BackboneConfig(backbone="sasrec", dim=HEADS * WIDTH, hidden=6, heads=HEADS, layers=2)


@pytest.fixture
def backbone() -> SASRec:
    torch.manual_seed(0)
    return SASRec(20, CONFIG).double().eval()


def turned(x: torch.Tensor, place: int) -> torch.Tensor:
    """Each pair of components as a complex number, times e^(i angle)."""
    pairs = torch.complex(x[0::2], x[1::2])
    for k in range(WIDTH // 2):
        angle = place * ROTATION_BASE ** (-2 * k / WIDTH)
        pairs[k] *= complex(math.cos(angle), math.sin(angle))
    return torch.stack([pairs.real, pairs.imag], dim=1).flatten()


def test_the_states_match_a_loop_over_positions_and_heads(backbone):
    items = torch.tensor([3, 7, 1, 9])
    x = backbone.items(items)
    for block in backbone.blocks:
        normed = block.attention_norm(x)
        q, k, v = block.query_key_value(normed).chunk(3, dim=-1)
        seen = torch.zeros_like(x)
        for t in range(len(items)):
            for head in range(HEADS):
                own = slice(head * WIDTH, (head + 1) * WIDTH)
                logits = [
                    torch.dot(turned(q[t, own], t), turned(k[u, own], u)) / math.sqrt(WIDTH)
                    for u in range(t + 1)
                ]
                seen[t, own] = torch.stack(logits).softmax(dim=0) @ v[: t + 1, own]
        x = x + block.mix(seen)
        x = x + block.narrow(F.gelu(block.widen(block.forward_norm(x))))
    torch.testing.assert_close(backbone.states(items.unsqueeze(0))[0], backbone.norm(x))


def test_a_state_sees_every_item_before_it_and_their_order(backbone):
    one = backbone.states(torch.tensor([[3, 7, 1, 9]]))[0, -1]
    for other in ([4, 7, 1, 9], [3, 7, 2, 9], [7, 3, 1, 9]):
        assert not torch.allclose(backbone.states(torch.tensor([other]))[0, -1], one)


def test_heads_that_do_not_fit_the_width_are_refused():
    with pytest.raises(
        ValidationError, match="dim 10 must be a multiple of twice the heads, 2 x 2"
    ):
        BackboneConfig(backbone="sasrec", dim=10)
    assert BackboneConfig(backbone="gru4rec", dim=10).dim == 10
