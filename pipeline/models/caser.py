"""Caser: convolutions over the last items, seen as an image (Tang & Wang, 2018), at each position.

The paper's user vector is left out: it knows nothing of new users, and needs one row a user.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import BackboneConfig
from pipeline.models.backbone import Backbone
from pipeline.models.dropout import Dropout

# Items that a state looks back on, and vertical filters: the paper's best on its denser data.
REACH = 5
VERTICAL = 4


class Caser(Backbone):
    """The input is padded on the left by zeros, so that a position sees its last items only."""

    def __init__(self, vocabulary: int, config: BackboneConfig) -> None:
        super().__init__(vocabulary, config.dim)
        filters = max(config.hidden // REACH, 1)
        self.dropout = Dropout(config.dropout)
        self.horizontal = nn.ModuleList(
            nn.Conv1d(config.dim, filters, height) for height in range(1, REACH + 1)
        )
        self.vertical = nn.Linear(REACH, VERTICAL)
        self.output = nn.Linear(REACH * filters + VERTICAL * config.dim, config.dim)

    def states(self, item_BL: Tensor) -> Tensor:
        """Both convolutions of the last `REACH` items per position, projected (B, L, D)."""
        sequences, length = item_BL.shape
        x_BPD = F.pad(self.dropout(self.items(item_BL)), (0, 0, REACH - 1, 0))
        # One row after the other; a window beyond a sequence's length reaches into the next.
        x_DR = F.pad(x_BPD.flatten(0, 1).T, (0, REACH - 1))
        convs = [tuple(conv.parameters()) for conv in self.horizontal]
        tap_GD = torch.cat([weight.permute(2, 0, 1).flatten(0, 1) for weight, _ in convs])
        bias_HF = torch.stack([bias for _, bias in convs])
        best_FW = F.relu(_Horizontal.apply(x_DR, tap_GD, bias_HF))  # type: ignore[no-untyped-call]
        sum_FW = _Vertical.apply(  # type: ignore[no-untyped-call]
            x_DR, self.vertical.weight, self.vertical.bias
        )
        both_FW = torch.cat([best_FW, sum_FW])
        both_FBL = both_FW.view(len(both_FW), *x_BPD.shape[:2])[:, :, :length]
        c_ND: Tensor = self.output(self.dropout(both_FBL).flatten(1).T)
        return c_ND.view(sequences, length, c_ND.shape[1])


class _Horizontal(torch.autograd.Function):
    """Greatest value of each horizontal filter in the window that begins at each row (H * F, W).

    One product gives what each row of each filter makes of each row of the input; added up along
    diagonals, these are the convolutions. Five convolutions take a third longer, or more.
    """

    @staticmethod
    def forward(ctx: Any, x_DR: Tensor, tap_GD: Tensor, bias_HF: Tensor) -> Tensor:
        windows = x_DR.shape[1] - REACH + 1
        best_HFW = x_DR.new_empty(*bias_HF.shape, windows)
        ctx.greater = {}
        for height, tap_KFR in _by_height(tap_GD @ x_DR):
            places, best_FW = REACH - height + 1, best_HFW[height - 1]
            value_FP = tap_KFR[0, :, : windows + places - 1] + bias_HF[height - 1, :, None]
            for k in range(1, height):
                value_FP += tap_KFR[k, :, k : k + windows + places - 1]
            best_FW.copy_(value_FP[:, :windows])
            for place in range(1, places):
                value_FW = value_FP[:, place : place + windows]
                ctx.greater[height, place] = value_FW > best_FW
                torch.maximum(best_FW, value_FW, out=best_FW)
        ctx.save_for_backward(x_DR, tap_GD)
        return best_HFW.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, grad_GW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_DR, tap_GD = ctx.saved_tensors
        windows = grad_GW.shape[1]
        grad_HFW = grad_GW.reshape(REACH, len(grad_GW) // REACH, windows)
        tap_grad_GR = x_DR.new_zeros(len(tap_GD), x_DR.shape[1])
        for height, tap_KFR in _by_height(tap_grad_GR):
            places, left_FW = REACH - height + 1, grad_HFW[height - 1]
            value_FP = tap_KFR[0, :, : windows + places - 1]
            for place in range(places - 1, 0, -1):  # the last that was greater is the greatest
                taken_FW = left_FW * ctx.greater[height, place]
                left_FW = left_FW - taken_FW
                value_FP[:, place : place + windows] += taken_FW
            value_FP[:, :windows] += left_FW
            for k in range(1, height):
                tap_KFR[k, :, k : k + windows + places - 1] = value_FP
        return tap_GD.T @ tap_grad_GR, tap_grad_GR @ x_DR.T, grad_HFW.sum(dim=2)


class _Vertical(torch.autograd.Function):
    """Weighted sums, by each vertical filter, of the window that begins at each row (D * V, W)."""

    @staticmethod
    def forward(ctx: Any, x_DR: Tensor, weight_VK: Tensor, bias_V: Tensor) -> Tensor:
        down_VN = torch.addmm(bias_V[:, None], weight_VK, _windows(x_DR))
        ctx.save_for_backward(x_DR, weight_VK)
        down_VDW = down_VN.view(len(weight_VK), len(x_DR), down_VN.shape[1] // len(x_DR))
        return down_VDW.transpose(0, 1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, grad_GW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_DR, weight_VK = ctx.saved_tensors
        dim, windows = len(x_DR), grad_GW.shape[1]
        grad_DVW = grad_GW.reshape(dim, len(weight_VK), windows)
        grad_VN = grad_DVW.transpose(0, 1).flatten(1)
        x_grad_DR = torch.zeros_like(x_DR)
        for k, grad_N in enumerate(weight_VK.T @ grad_VN):
            x_grad_DR[:, k : k + windows] += grad_N.view(dim, windows)
        return x_grad_DR, grad_VN @ _windows(x_DR).T, grad_VN.sum(dim=1)


def _by_height(tap_GR: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Height of the filters, and what each of their rows (K) makes of the input's (K, F, R)."""
    filters = len(tap_GR) // sum(range(1, REACH + 1))
    parts = torch.split(tap_GR, [height * filters for height in range(1, REACH + 1)])
    for height, part in enumerate(parts, 1):
        yield height, part.view(height, filters, tap_GR.shape[1])


def _windows(x_DR: Tensor) -> Tensor:
    """The rows that windows begin with, those that come second, up to the last (REACH, D * W)."""
    return x_DR.unfold(1, x_DR.shape[1] - REACH + 1, 1).transpose(0, 1).flatten(1)
