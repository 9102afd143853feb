"""Two row-wise functions with gradients of their own: autograd's take three times as long.

They are half of what the aligner adds to the backbone's epoch (`benchmarks/train.py`).
"""

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-6
FAR = 1e30  # below every value


class _Cosine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a_XD: Tensor, b_XD: Tensor) -> Tensor:
        a_X1, b_X1 = (1 / x.norm(dim=-1, keepdim=True).clamp(min=EPSILON) for x in (a_XD, b_XD))
        found_X1: Tensor = (a_XD * b_XD).sum(dim=-1, keepdim=True) * a_X1 * b_X1
        ctx.save_for_backward(a_XD, b_XD, a_X1, b_X1, found_X1)
        return found_X1[..., 0]

    @staticmethod
    def backward(ctx: Any, grad_X: Tensor) -> tuple[Tensor, Tensor]:
        a_XD, b_XD, a_X1, b_X1, found_X1 = ctx.saved_tensors
        along_X1 = grad_X.unsqueeze(-1) * a_X1 * b_X1
        within_X1 = grad_X.unsqueeze(-1) * found_X1
        return (
            (b_XD * along_X1).addcmul_(a_XD, within_X1 * a_X1.square(), value=-1),
            (a_XD * along_X1).addcmul_(b_XD, within_X1 * b_X1.square(), value=-1),
        )


class _Maximum(torch.autograd.Function):
    """Marks are floats 0 and 1: `where` and `masked_fill` take ten times as long as `mul`."""

    @staticmethod
    def forward(ctx: Any, x_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        rest_BLD = x_BLD - (~mask_BL).to(x_BLD.dtype).unsqueeze(-1) * FAR
        first_B1D = rest_BLD.amax(dim=1, keepdim=True)
        first_BLD = (rest_BLD - first_B1D).sign_().add_(1)
        rest_BLD.add_(first_BLD, alpha=-FAR)
        second_B1D = rest_BLD.amax(dim=1, keepdim=True)
        there_B1D = (second_B1D > -FAR / 2).to(x_BLD.dtype)
        second_BLD = (rest_BLD - second_B1D).sign_().add_(1).mul_(there_B1D)
        alone_B1D = (first_BLD.sum(dim=1, keepdim=True) == 1).to(x_BLD.dtype)
        ctx.save_for_backward(first_BLD, second_BLD, alone_B1D)
        rest_B1D = torch.lerp(first_B1D, second_B1D * there_B1D, alone_B1D)
        return first_B1D[:, 0], torch.lerp(first_B1D, rest_B1D, first_BLD)

    @staticmethod
    def backward(ctx: Any, grad_BD: Tensor, others_BLD: Tensor) -> tuple[Tensor, None]:
        first_BLD, second_BLD, alone_B1D = ctx.saved_tensors
        second_B1D = (others_BLD * first_BLD).sum(dim=1, keepdim=True) * alone_B1D
        first_B1D = grad_BD.unsqueeze(1) + others_BLD.sum(dim=1, keepdim=True) - second_B1D
        return (first_BLD * first_B1D).addcmul_(second_BLD, second_B1D), None


def cosine(a_XD: Tensor, b_XD: Tensor) -> Tensor:
    """Cosine of each row of one tensor to the same row of another; zero if a row is zero."""
    found_X: Tensor = _Cosine.apply(a_XD, b_XD)  # type: ignore[no-untyped-call]
    return found_X


def maximum(x_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over the real positions (B, D) and, at each, over the *others* (B, L, D).

    Zero where there is no other. Of positions that share the maximum, each still sees the others':
    two states that are equal but for their last digits mean the same, whichever is the larger.
    """
    found: tuple[Tensor, Tensor] = _Maximum.apply(x_BLD, mask_BL)  # type: ignore[no-untyped-call]
    return found
