"""The losses: next item by a sampled or full softmax, InfoNCE between two views, weighted means.

What is lost where is decided by the callers: the aligner, and the recommender for evaluation.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.config import SoftmaxConfig
from pipeline.models.backbone import Backbone

# Logits of one block of the softmax: what the processor's cache holds.
BLOCK = 2**19
# Terms of a softmax that are kept for its backward pass: 64 MiB in float32.
KEPT = 2**24


@dataclass(frozen=True)
class Negatives:
    """Items that stand for the whole catalogue in a softmax, in rising order, each once."""

    item_M: Tensor
    bias_M: Tensor  # -log of the probability to be among them: the logQ correction


class Proposal:
    """Draws the negatives of a batch: more often what is popular, by `negatives_power`."""

    def __init__(self, count_V: Tensor, config: SoftmaxConfig) -> None:
        self.config = config
        weight_V = count_V.double().clamp(min=1) ** config.negatives_power
        self.chance_V = weight_V / weight_V.sum()
        self.upto_V = self.chance_V.cumsum(0)

    def draw(self, draw: torch.Generator) -> Negatives:
        """The distinct items of `negatives` draws; all items for the full softmax.

        exp(logit + bias), summed over them, is an unbiased estimate of the sum of exp(logit) over
        all items (Horvitz & Thompson, 1952), whatever the chances.
        """
        items, size = len(self.upto_V), self.config.negatives
        if self.config.softmax == "full":
            return Negatives(torch.arange(1, items + 1), torch.zeros(items))
        point_M = torch.rand(size, generator=draw, dtype=torch.float64)
        place_M = torch.unique(torch.searchsorted(self.upto_V, point_M).clamp_(max=items - 1))
        absent_M = torch.log1p(-self.chance_V[place_M]) * size
        return Negatives(place_M + 1, -torch.log(-torch.expm1(absent_M)).float())


def next_item_loss(
    backbone: Backbone, before_ND: Tensor, item_N: Tensor, negatives: Negatives
) -> Tensor:
    """-log p(item | state before it) (N,): the softmax over the item and the negatives."""
    own_ND, other_MD = backbone.items(item_N), backbone.items(negatives.item_M)
    return softmax_loss(before_ND, own_ND, item_N, other_MD, negatives)


def softmax_loss(
    state_ND: Tensor, own_ND: Tensor, item_N: Tensor, other_MD: Tensor, negatives: Negatives
) -> Tensor:
    """-log p(item | state) (N,), from the vectors of the items and of the negatives.

    The item counts once, also if it is among the negatives.
    """
    own_N = (state_ND * own_ND).sum(dim=-1)
    column_N = torch.searchsorted(negatives.item_M, item_N).clamp(max=len(negatives.item_M) - 1)
    column_N = torch.where(negatives.item_M[column_N] == item_N, column_N, -1)
    bias_M = negatives.bias_M.to(own_N.dtype)
    rest_N: Tensor = _LogSumExp.apply(  # type: ignore[no-untyped-call]
        state_ND, other_MD, bias_M, column_N
    )
    loss_N: Tensor = torch.logaddexp(own_N, rest_N) - own_N
    return loss_N


class _LogSumExp(torch.autograd.Function):
    """log sum over m of exp(x_n . y_m + bias_m), in blocks, each row without one column (-1: none).

    A block that the cache holds takes half the time. The terms are kept for the backward pass, a
    third of the time less, unless they are many: then they are computed anew.
    """

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, y_MD: Tensor, bias_M: Tensor, column_N: Tensor) -> Tensor:
        found_N = torch.empty_like(x_ND[:, 0])
        ctx.kept = []
        for rows in _blocks(len(x_ND), len(y_MD)):
            top_R1, term_RM, total_R1 = _terms(x_ND[rows], y_MD, bias_M, column_N[rows])
            found_N[rows] = (top_R1 + total_R1.log())[:, 0]
            if len(x_ND) * len(y_MD) <= KEPT:
                ctx.kept.append((term_RM, total_R1))
        ctx.save_for_backward(x_ND, y_MD, bias_M, column_N)
        return found_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x_ND, y_MD, bias_M, column_N = ctx.saved_tensors
        x_grad_ND, y_grad_MD = torch.empty_like(x_ND), torch.zeros_like(y_MD)
        for block, rows in enumerate(_blocks(len(x_ND), len(y_MD))):
            if ctx.kept:
                term_RM, total_R1 = ctx.kept[block]
            else:
                _, term_RM, total_R1 = _terms(x_ND[rows], y_MD, bias_M, column_N[rows])
            # Of a row whose only column is left out all is 0; any other has a term that is 1.
            share_RM = term_RM * (grad_N[rows, None] / total_R1.clamp(min=1))
            x_grad_ND[rows] = share_RM @ y_MD
            y_grad_MD.addmm_(share_RM.T, x_ND[rows])
        ctx.kept = []  # freed, though the loss may live on
        return x_grad_ND, y_grad_MD, None, None


def _blocks(rows: int, columns: int) -> list[slice]:
    step = max(BLOCK // max(columns, 1), 32)
    return [slice(start, start + step) for start in range(0, rows, step)]


def _terms(
    x_RD: Tensor, y_MD: Tensor, bias_M: Tensor, column_R: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The largest logit of each row (R, 1), exp(logit - largest) (R, M), and its sum (R, 1)."""
    logit_RM = torch.addmm(bias_M, x_RD, y_MD.T)
    row_H = torch.nonzero(column_R >= 0)[:, 0]
    logit_RM[row_H, column_R[row_H]] = -torch.inf
    top_R1 = logit_RM.amax(dim=1, keepdim=True).clamp_(min=torch.finfo(logit_RM.dtype).min)
    term_RM = logit_RM.sub_(top_R1).exp_()
    return top_R1, term_RM, term_RM.sum(dim=1, keepdim=True)


def info_nce(a_ND: Tensor, b_ND: Tensor, temperature: float) -> Tensor:
    """-log softmax of each a's own b against the others' b, by cosine over the temperature."""
    similarity_NN = (F.normalize(a_ND, dim=-1) / temperature) @ F.normalize(b_ND, dim=-1).T
    return F.cross_entropy(similarity_NN, torch.arange(len(a_ND), device=a_ND.device))


def masked_mean(x_N: Tensor, weight_N: Tensor) -> Tensor:
    """Weighted mean. Divided by the weights' own sum: dropping everything gains nothing."""
    return (x_N * weight_N).sum() / weight_N.sum().clamp(min=1.0)
