"""Dropout with eight coins from one draw: `nn.Dropout` takes a fifth of a backbone's epoch."""

import torch
from torch import Tensor, nn

SIDES = 256


class Dropout(nn.Module):
    """Zeroes entries with chance `rate`, to the nearest 256th, and scales the others up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropped = min(round(rate * SIDES), SIDES - 1)

    def forward(self, x_X: Tensor) -> Tensor:
        """The entries of `x`, of any shape; in evaluation mode as they are."""
        if not self.training or not self.dropped:
            return x_X
        draws = torch.empty((x_X.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        coin_X = draws.view(torch.uint8)[: x_X.numel()].view(x_X.shape)
        return x_X * (coin_X >= self.dropped).to(x_X.dtype).mul_(SIDES / (SIDES - self.dropped))
