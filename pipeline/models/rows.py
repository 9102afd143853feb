"""Two row-wise functions with gradients of their own: autograd's take three times as long.

They are half of what the aligner adds to the backbone's epoch (`benchmarks/train.py`).
"""

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-6


class _Cosine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a_XD: Tensor, b_XD: Tensor) -> Tensor:
        a_X1, b_X1 = (1 / x.norm(dim=-1, keepdim=True).clamp(min=EPSILON) for x in (a_XD, b_XD))
        found_X1 = (a_XD * b_XD).sum(dim=-1, keepdim=True) * a_X1 * b_X1
        ctx.save_for_backward(a_XD, b_XD, a_X1, b_X1, found_X1)
        return found_X1[..., 0]

    @staticmethod
    def backward(ctx: Any, grad_X: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        a_XD, b_XD, a_X1, b_X1, found_X1 = ctx.saved_tensors
        along_X1 = grad_X.unsqueeze(-1) * a_X1 * b_X1
        within_X1 = grad_X.unsqueeze(-1) * found_X1
        return (
            (b_XD * along_X1).addcmul_(a_XD, within_X1 * a_X1.square(), value=-1),
            (a_XD * along_X1).addcmul_(b_XD, within_X1 * b_X1.square(), value=-1),
        )


class _OthersMaximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        real_BLD = x_BLD.masked_fill(~mask_BL.unsqueeze(-1), -torch.inf)
        first_B1D = real_BLD.amax(dim=1, keepdim=True)
        first_BLD = real_BLD == first_B1D
        rest_BLD = real_BLD.masked_fill_(first_BLD, -torch.inf)
        second_B1D = rest_BLD.amax(dim=1, keepdim=True)
        alone_B1D = second_B1D.isinf()
        second_BLD = (rest_BLD == second_B1D) & ~alone_B1D
        ctx.save_for_backward(first_BLD, second_BLD)
        return torch.where(first_BLD, second_B1D.masked_fill(alone_B1D, 0), first_B1D)

    @staticmethod
    def backward(ctx: Any, grad_BLD: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        first_BLD, second_BLD = ctx.saved_tensors
        second_B1D = (grad_BLD * first_BLD).sum(dim=1, keepdim=True)
        first_B1D = grad_BLD.sum(dim=1, keepdim=True) - second_B1D
        return (first_BLD * first_B1D).addcmul_(second_BLD, second_B1D), None


def cosine(a_XD: Tensor, b_XD: Tensor) -> Tensor:
    """Cosine of each row of one tensor to the same row of another; zero if a row is zero."""
    found_X: Tensor = _Cosine.apply(a_XD, b_XD)  # type: ignore[no-untyped-call]
    return found_X


def others_maximum(x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """At each position the maximum over the *other* real positions; zero if there is no other.

    Of positions that share the maximum, each leaves out all of them.
    """
    found_BLD: Tensor = _OthersMaximum.apply(x_BLD, mask_BL)  # type: ignore[no-untyped-call]
    return found_BLD
