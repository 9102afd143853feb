import sys
from pathlib import Path

import torch

from pipeline.config import BackboneConfig
from pipeline.models.caser import Caser

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from parts.published_loop import published_states


def test_the_published_convolutions_are_ours():
    """Else their times tell nothing of each other."""
    torch.manual_seed(0)
    backbone = Caser(20, BackboneConfig(backbone="caser", dim=4, hidden=10)).double().eval()
    items = torch.randint(0, 21, (3, 9))
    ours, theirs = backbone.states(items), published_states(backbone, items)
    torch.testing.assert_close(ours, theirs)
    weights = tuple(backbone.parameters())
    for a, b in zip(
        torch.autograd.grad(ours.square().sum(), weights, allow_unused=True),
        torch.autograd.grad(theirs.square().sum(), weights, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
