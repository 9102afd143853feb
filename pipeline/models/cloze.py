"""Cloze: what each item of a sequence is expected to be, given all the *others*, before and after.

One layer of attention in which no position sees itself, so that one pass tells all positions. An
item is its own vector plus its projected text: a rare item is known by what it says.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config import ClozeConfig
from pipeline.models.batches import Batch, Sequences, batches, buckets, windows
from pipeline.models.losses import Proposal, masked_mean, softmax_loss
from pipeline.progress import progress

FORBIDDEN = -1e9  # the attention logit of what must not be seen
WARM_UP = 0.1  # share of the steps in which the learning rate rises


class Cloze(nn.Module):
    """Leave-one-out attention over item numbers 1..V and projected texts."""

    def __init__(self, vocabulary: int, text_dim: int, config: ClozeConfig) -> None:
        super().__init__()
        dim, heads, reach = config.dim, config.heads, config.reach
        self.heads, self.reach = heads, reach
        self.items = nn.Embedding(vocabulary + 1, dim, padding_idx=0)
        self.text = nn.Linear(text_dim, dim, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.key = nn.Linear(dim, heads)
        self.value = nn.Linear(dim, heads * dim)
        self.distance = nn.Parameter(torch.zeros(heads, 2 * reach + 1))
        self.skip = nn.Linear(heads * dim, dim)
        self.widen = nn.Linear(heads * dim, 2 * dim)
        self.narrow = nn.Linear(2 * dim, dim)
        nn.init.normal_(self.items.weight, std=dim**-0.5)
        nn.init.normal_(self.text.weight, std=text_dim**-0.5)
        with torch.no_grad():
            self.items.weight[0].zero_()

    def vectors(self, item_X: Tensor, text_XP: Tensor) -> Tensor:
        """Vectors (X, D) of items by number (0: unknown) and projected text (zero: none)."""
        x_XD: Tensor = self.items(item_X) + self.text(text_XP)
        return x_XD

    def states(self, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """What is expected at each position (B, L, D), from the other real positions alone."""
        everywhere_1L = torch.arange(x_BLD.shape[1]).unsqueeze(0)
        return self.expect(*self.attend(x_BLD, mask_BL, everywhere_1L))

    def attend(self, x_BLD: Tensor, mask_BL: Tensor, place_BQ: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted means of the items that each of some places sees (B, Q, E), the heads in a row.

        Attention weighs an item by what it is and by how far it stands, before or after. Where
        there is no other, nothing is known: zero, and False in the second tensor (B, Q, 1). The
        places may be the same for all rows (1, Q).
        """
        x_BLD = self.dropout(x_BLD)
        place_L = torch.arange(x_BLD.shape[1])
        step_BQL = place_L - place_BQ.unsqueeze(-1)
        unseen_BQL = (step_BQL == 0) | ~mask_BL.unsqueeze(1)
        step_BQL = step_BQL.clamp(-self.reach, self.reach) + self.reach
        far_BHQL = self.distance[:, step_BQL].transpose(0, 1)
        logit_BHQL = self.key(x_BLD).transpose(1, 2).unsqueeze(2) + far_BHQL
        weight_BHQL = logit_BHQL.masked_fill(unseen_BQL.unsqueeze(1), FORBIDDEN).softmax(dim=-1)
        mean_BXD = weight_BHQL.flatten(1, 2) @ x_BLD
        mean_BHQD = mean_BXD.view(len(mean_BXD), self.heads, -1, x_BLD.shape[-1])
        seen_BQ1 = ~unseen_BQL.all(dim=-1, keepdim=True)
        mean_BQE = mean_BHQD.transpose(1, 2).flatten(start_dim=2)
        return mean_BQE.masked_fill(~seen_BQ1, 0.0), seen_BQ1

    def expect(self, mean_XE: Tensor, seen_X1: Tensor) -> Tensor:
        """The state (X, D), an MLP of the values of what is seen, at as many places as are asked.

        Weights sum to 1, so that the value of a mean is the mean of the values; and as nothing
        bends between the values and the two maps that read them, they are one map.
        """
        dim = self.narrow.out_features
        read_FE = torch.cat([self.skip.weight, self.widen.weight])
        read_FHD = read_FE.view(-1, self.heads, dim)
        value_HDD = self.value.weight.view(self.heads, dim, dim)
        map_FE = torch.einsum("fhd,hde->fhe", read_FHD, value_HDD).flatten(start_dim=1)
        bias_F = torch.cat([self.skip.bias, self.widen.bias])
        both_XF = nn.functional.linear(mean_XE, map_FE, bias_F)
        both_XF = both_XF + seen_X1.to(both_XF.dtype) * (read_FE @ self.value.bias)
        near_XD, wide_XF = torch.split(both_XF, [dim, 2 * dim], dim=-1)
        c_XD: Tensor = near_XD + self.narrow(self.dropout(nn.functional.gelu(wide_XF)))
        return c_XD


def fit_cloze(
    sequences: Sequences, text_TP: Tensor, text_V: Tensor, max_length: int, config: ClozeConfig
) -> Cloze:
    """Train on all positions of all sequences.

    Some positions are read as another item, drawn by popularity, so that what does not belong is
    expected and overlooked; of some the number is hidden, so that the text alone must do. The
    learning rate rises, then falls to zero: no epoch is chosen, and nothing is held out.

    Parameters
    ----------
    sequences : Sequences
        U sequences.
    text_TP : Tensor
        Projected texts, row 0 zero.
    text_V : Tensor
        Row of the text table of each item number from 0 on; 0: none.
    max_length : int
        Positions of a window.
    config : ClozeConfig
        Its shape and how it is fitted. Deterministic by `seed`, on one number of threads.
    """
    torch.manual_seed(config.seed)
    cloze = Cloze(len(text_V) - 1, text_TP.shape[1], config)
    optimizer = torch.optim.AdamW(
        cloze.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    shuffle = np.random.default_rng(config.seed)
    lesson = _Lesson.of(sequences, text_TP, text_V, config)
    cut = windows(sequences.length_U, max_length, 1)
    steps = config.epochs * sum(1 for _ in buckets(cut, config.batch_positions))
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / steps))
    cloze.train()
    with progress(config.epochs, "train cloze", "epochs") as bar:
        for _ in range(config.epochs):
            for batch in batches(sequences, cut, config.batch_positions, shuffle):
                loss = lesson.loss(cloze, batch)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                rate.step()
            bar.update(1)
    return cloze.eval()


@dataclass(frozen=True)
class _Lesson:
    """What a batch is turned into before it is learned from."""

    config: ClozeConfig
    text_TP: Tensor
    text_V: Tensor
    proposal: Proposal
    upto_V: Tensor  # popularity of the items up to each, itself included
    draw: torch.Generator

    @classmethod
    def of(
        cls, sequences: Sequences, text_TP: Tensor, text_V: Tensor, config: ClozeConfig
    ) -> "_Lesson":
        count_V = torch.bincount(sequences.item_N, minlength=len(text_V))[1:]
        upto_V = count_V.double().clamp(min=1).cumsum(0)
        draw = torch.Generator().manual_seed(config.seed)
        return cls(config, text_TP, text_V, Proposal(count_V, config), upto_V, draw)

    def loss(self, cloze: Cloze, batch: Batch) -> Tensor:
        """Mean cross-entropy of the positions that are left as they were."""
        chance_BL = torch.rand(batch.item_BL.shape, generator=self.draw)
        swapped_BL = (chance_BL < self.config.corruption) & batch.mask_BL
        hidden_BL = chance_BL > 1 - self.config.hidden_share
        other_BL = self._items(batch.item_BL)
        number_BL = torch.where(swapped_BL, other_BL, batch.item_BL).masked_fill(hidden_BL, 0)
        text_BL = torch.where(swapped_BL, self.text_V[other_BL], batch.text_BL)
        x_BLD = cloze.vectors(number_BL, self.text_TP[text_BL])
        told_BL = batch.target_BL & ~swapped_BL & ~(hidden_BL & (batch.text_BL == 0))
        told_BL &= batch.mask_BL.sum(dim=1, keepdim=True) > 1
        negatives = self.proposal.draw(self.draw)
        other_MD = cloze.vectors(negatives.item_M, self.text_TP[self.text_V[negatives.item_M]])
        state_ND = cloze.states(x_BLD, batch.mask_BL)[told_BL]
        loss_N = softmax_loss(state_ND, x_BLD[told_BL], batch.item_BL[told_BL], other_MD, negatives)
        return masked_mean(loss_N, torch.ones_like(loss_N))

    def _items(self, item_BL: Tensor) -> Tensor:
        """An item number, drawn by popularity, for each position."""
        point_BL = torch.rand(item_BL.shape, generator=self.draw, dtype=torch.float64)
        place_BL = torch.searchsorted(self.upto_V, point_BL * self.upto_V[-1])
        return place_BL.clamp(max=len(self.upto_V) - 1) + 1


def _rate(done: float) -> float:
    """Share of the full learning rate: up in a line, down along a cosine."""
    if done < WARM_UP:
        return done / WARM_UP + 1e-3
    fall = min((done - WARM_UP) / (1 - WARM_UP), 1.0)
    return 0.5 * (1 + math.cos(math.pi * fall))
