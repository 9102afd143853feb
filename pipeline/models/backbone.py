"""What every backbone offers: a causal state per position, and a pooled state.

An item's score is the product of its vector and the state before it.

A new backbone is one new file with one subclass, and one line in `backbones.py`.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pipeline.models.rows import maximum


class Backbone(nn.Module, ABC):
    """A sequential recommender over item numbers 1..V; 0 is padding and any unknown item."""

    def __init__(self, vocabulary: int, dim: int) -> None:
        super().__init__()
        self.items = nn.Embedding(vocabulary + 1, dim, padding_idx=0)
        self.empty = nn.Parameter(torch.zeros(dim))  # the state before the first item
        nn.init.normal_(self.items.weight, std=dim**-0.5)
        with torch.no_grad():
            self.items.weight[0].zero_()

    @abstractmethod
    def states(self, item_BL: Tensor) -> Tensor:
        """Short-term interest c_t (B, L, D): may depend on items 0..t of its own row only."""

    def before(self, c_BLD: Tensor) -> Tensor:
        """State *before* each position: what the item at the position is predicted from."""
        first_B1D = self.empty.expand(c_BLD.shape[0], 1, -1)
        return torch.cat([first_B1D, c_BLD[:, :-1]], dim=1)

    def pool(self, c_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Long-term interest c_L (B, D), and that of the other positions at each (B, L, D).

        The maximum over real positions only.
        """
        return maximum(c_BLD, mask_BL)
