"""Signals of noise, each a named measurement of one interaction; none decides alone.

Everything is computed in float64: a value must not depend on who shares the batch, and float32
sums do in their last digits. No signal lets an item vouch for itself, but for one way around:
states after an item have read it, and are among the others that c_L is the maximum of.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import columns as col
from pipeline.models.aligner import cosines
from pipeline.models.batches import Batch, Places, Sequences, batches, windows
from pipeline.models.model import Instruments
from pipeline.models.names import COMPANY_COLLABORATIVE, COMPANY_SEMANTIC, VIEWS_AGREE

# Padded positions of one forward pass, and rows of one block of the softmax: bounds of memory.
POSITIONS = 4_096
SOFTMAX_ROWS = 256

TINY = 1e-9  # squared length of what is no direction

# Measured window by window; and over the whole sequence, with what the others' values come to.
WINDOWED = (
    col.SIGNAL_SEMANTIC_NEAREST,
    col.SIGNAL_COLLABORATIVE_NEAREST,
    col.SIGNAL_ALIGNED_LONG_SHORT,
    col.SIGNAL_ALIGNED_SHORT_LONG,
    col.SIGNAL_ALIGNED_SHORT_SHORT,
    col.SIGNAL_SURPRISE,
    col.SIGNAL_SURPRISE_AROUND,
    VIEWS_AGREE,
)
OTHERS = (
    (col.SIGNAL_SEMANTIC, COMPANY_SEMANTIC),
    (col.SIGNAL_COLLABORATIVE, COMPANY_COLLABORATIVE),
)
MEASURED = (*col.SIGNALS, COMPANY_SEMANTIC, COMPANY_COLLABORATIVE, VIEWS_AGREE)


def exact(
    instruments: Instruments, text_TP: Tensor, sequences: Sequences
) -> tuple[Instruments, Tensor, Sequences]:
    """What measures these sequences, in float64: copies, that know their items and texts only.

    Items and texts are numbered anew, so that cost and memory follow the sequences and not the
    catalogue. The originals are as they were.
    """
    zero = torch.zeros(1, dtype=torch.long)
    item_V = torch.unique(torch.cat([zero, instruments.sample_M, sequences.item_N]))
    text_T = torch.unique(torch.cat([zero, sequences.text_N]))
    tables = (instruments.aligner.backbone.items, instruments.cloze.items)
    # What `deepcopy` is told that it has copied already, it does not copy.
    few: dict[int, Any] = {
        id(x): nn.Embedding(len(item_V), x.embedding_dim, 0, _weight=x.weight.detach()[item_V])
        for x in tables
    }
    tools = replace(
        instruments,
        aligner=copy.deepcopy(instruments.aligner, few).double().eval(),
        cloze=copy.deepcopy(instruments.cloze, few).double().eval(),
        around_MD=instruments.around_MD.double(),
        factor_VR=instruments.factor_VR[item_V].double(),
        sample_M=torch.searchsorted(item_V, instruments.sample_M),
    )
    numbered = replace(
        sequences,
        item_N=torch.searchsorted(item_V, sequences.item_N),
        text_N=torch.searchsorted(text_T, sequences.text_N),
    )
    return tools, text_TP[text_T], numbered


@dataclass(frozen=True)
class View:
    """Items as directions, and where the interactions of all sequences stand among them."""

    unit_TP: Tensor  # of length 1; row 0, of items that the view does not know, is zero
    row_N: Tensor
    total_UP: Tensor  # of each sequence

    @classmethod
    def of(cls, x_TP: Tensor, row_N: Tensor, length_U: Tensor) -> "View":
        """The view of vectors (T, P) with row 0 zero, of sequences that lie one after the other."""
        unit_TP = F.normalize(x_TP, dim=-1)
        start_U = length_U.cumsum(0) - length_U
        return cls(unit_TP, row_N, F.embedding_bag(row_N, unit_TP, start_U, mode="sum"))

    def products(self, batch: Batch, owner_B: Tensor, place_BQ: Tensor) -> tuple[Tensor, Tensor]:
        """Of each position with its sequence's total (B, L), of places with each of them (B, Q, L).

        `owner_B` is the sequence of each window.
        """
        unit_BLP = self.unit_TP[self.row_N[batch.index_BL] * batch.mask_BL]
        place_BQP = unit_BLP.gather(1, place_BQ.unsqueeze(-1).expand(-1, -1, unit_BLP.shape[-1]))
        both_BXP = torch.cat([self.total_UP[owner_B].unsqueeze(1), place_BQP], dim=1)
        product_BXL = both_BXP @ unit_BLP.transpose(1, 2)
        return product_BXL[:, 0], product_BXL[:, 1:]

    def to_others(self, product_N: Tensor, sequence_N: Tensor) -> Tensor:
        """Cosine (N,) of each interaction to the mean direction of the *others* of its sequence.

        `product_N` is that with the total, u . t, so that u . (t - u) = u . t - 1 and |t - u|^2 =
        |t|^2 - 2 u . t + 1. NaN where the interaction, or what the others come to, is zero.
        """
        square_N = self.total_UP.square().sum(dim=-1)[sequence_N] - 2 * product_N + 1
        there_N = (self.row_N > 0) & (square_N > TINY)
        return torch.where(there_N, (product_N - 1) / square_N.clamp(min=TINY).sqrt(), torch.nan)


def nearest(cosine_BQL: Tensor, place_BQ: Tensor, present_BL: Tensor) -> Tensor:
    """Cosine (B, Q) of places to the likest *other* position of their window; NaN: none."""
    itself_BQL = place_BQ.unsqueeze(-1) == torch.arange(present_BL.shape[1])
    unlike_BQL = itself_BQL | ~present_BL.unsqueeze(1)
    likest_BQ = cosine_BQL.masked_fill(unlike_BQL, -torch.inf).amax(dim=-1)
    return likest_BQ.masked_fill(likest_BQ.isinf() | ~present_BL.gather(1, place_BQ), torch.nan)


def surprise(
    state_ND: Tensor, own_ND: Tensor, item_N: Tensor, sample: tuple[Tensor, Tensor]
) -> Tensor:
    """-log p(item | state) (N,), the softmax over a fixed sample of the catalogue.

    `sample` is the numbers (M,) and the vectors (M, D) of its items. The item itself always counts
    in the normaliser, once.
    """
    number_M, other_MD = sample
    column_N = torch.searchsorted(number_M, item_N).clamp(max=len(number_M) - 1)
    found = []
    for part in torch.split(torch.arange(len(item_N)), SOFTMAX_ROWS):
        own_R = (state_ND[part] * own_ND[part]).sum(dim=-1)
        logit_RM = state_ND[part] @ other_MD.T
        row_R, column_R = torch.arange(len(part)), column_N[part]
        twice_R = number_M[column_R] == item_N[part]
        logit_RM[row_R[twice_R], column_R[twice_R]] = -torch.inf
        found.append(torch.logaddexp(own_R, logit_RM.logsumexp(dim=1)) - own_R)
    return torch.cat(found) if found else state_ND.new_zeros(0)


def company(signal_N: Tensor, sequence_N: Tensor) -> Tensor:
    """Mean of a signal over the *other* interactions of the sequence: how coherent the user is.

    Zero where it is known of none of them.
    """
    known_N = ~signal_N.isnan()
    value_N = signal_N.nan_to_num()
    users = int(sequence_N[-1]) + 1
    total_U = torch.zeros(users, dtype=value_N.dtype).index_add_(0, sequence_N, value_N)
    count_U = torch.bincount(sequence_N, weights=known_N.double(), minlength=users)
    others_N = (count_U[sequence_N] - known_N.double()).clamp(min=1)
    return (total_U[sequence_N] - value_N) / others_N


@torch.inference_mode()
def measure(
    instruments: Instruments, text_TP: Tensor, sequences: Sequences, wanted_N: Tensor
) -> dict[str, Tensor]:
    """All signals of the wanted interactions, in their order, and their context.

    Parameters
    ----------
    instruments : Instruments
        What measures.
    text_TP : Tensor
        Projected texts, float64, row 0 zero; the aligner reads the first `semantic_dim` columns.
    sequences : Sequences
        Whole sequences as of the night: later events of the same day are seen, nothing later.
    wanted_N : Tensor
        True for the interactions to score.

    Returns
    -------
    dict
        Name -> (n,), float64. Signals are NaN where they cannot be told. Besides them: the
        context (`COMPANY_...`), and `VIEWS_AGREE`, the cosine of the two long-term views.
    """
    if not len(wanted_N):
        return {name: torch.zeros(0, dtype=torch.float64) for name in MEASURED}
    instruments, text_TP, sequences = exact(instruments, text_TP, sequences)
    tools = _Tools.of(instruments, text_TP, sequences)
    max_length = instruments.settings.sequence.max_length
    sequence_N = sequences.sequence_N
    flat_NS = torch.full((len(wanted_N), len(WINDOWED)), torch.nan, dtype=torch.float64)
    product_VN = torch.zeros(len(tools.views), len(wanted_N), dtype=torch.float64)
    # Each position sees `max_length` before it, or all.
    cut = windows(sequences.length_U, max_length + max(max_length // 2, 1), max_length)
    for batch in batches(sequences, cut, POSITIONS):
        chosen_BL = batch.fresh_BL & wanted_N[batch.index_BL]
        places = Places.of(chosen_BL)
        owner_B = sequence_N[batch.index_BL[:, 0]]
        index_N, nearest_VN = batch.index_BL[batch.fresh_BL], []
        for view, product_N in zip(tools.views, product_VN, strict=True):
            product_BL, cosine_BQL = view.products(batch, owner_B, places.place_BQ)
            product_N[index_N] = product_BL[batch.fresh_BL]
            present_BL = (view.row_N[batch.index_BL] > 0) & batch.mask_BL
            nearest_VN.append(places.flat(nearest(cosine_BQL, places.place_BQ, present_BL)))
        if len(places):
            rest = tools.window_signals(batch, chosen_BL, places)
            flat_NS[batch.index_BL[chosen_BL]] = torch.stack([*nearest_VN, *rest], dim=1)
    found = dict(zip(WINDOWED, flat_NS.unbind(dim=1), strict=True))
    for view, product_N, (signal, around) in zip(tools.views, product_VN, OTHERS, strict=True):
        found[signal] = view.to_others(product_N, sequence_N)
        found[around] = company(found[signal], sequence_N)
    return {name: found[name][wanted_N] for name in MEASURED}


@dataclass(frozen=True)
class _Tools:
    """What is told once of each item of the sequences, and what measures."""

    instruments: Instruments
    views: tuple[View, View]  # semantic, collaborative
    aligned_TP: Tensor  # what the aligner and the cloze read of the texts
    around_TD: Tensor  # the same, as the cloze sees it

    @classmethod
    def of(cls, instruments: Instruments, text_TP: Tensor, sequences: Sequences) -> "_Tools":
        aligned_TP = text_TP[:, : instruments.settings.model.semantic_dim].contiguous()
        views = (
            View.of(text_TP, sequences.text_N, sequences.length_U),
            View.of(instruments.factor_VR, sequences.item_N, sequences.length_U),
        )
        return cls(instruments, views, aligned_TP, instruments.cloze.text(aligned_TP))

    def window_signals(self, batch: Batch, chosen_BL: Tensor, places: Places) -> tuple[Tensor, ...]:
        """The signals (n,) of the chosen positions that a network measures, as in `WINDOWED`."""
        aligner, cloze = self.instruments.aligner, self.instruments.cloze
        number_M = self.instruments.sample_M
        item_N, text_N = batch.item_BL[chosen_BL], batch.text_BL[chosen_BL]
        known_N, told_N = item_N > 0, text_N > 0
        views = aligner.views(batch, self.aligned_TP, chosen_BL)
        agree_B = F.cosine_similarity(views.c_BD, views.s_BD, dim=-1)
        long_short_N, short_long_N, short_short_N = cosines(views)
        items = aligner.backbone.items
        next_N = surprise(views.before_XD, items(item_N), item_N, (number_M, items(number_M)))
        x_BLD = cloze.items(batch.item_BL) + self.around_TD[batch.text_BL]
        seen = map(places.flat, cloze.attend(x_BLD, batch.mask_BL, places.place_BQ))
        sample = (number_M, self.instruments.around_MD)
        around_N = surprise(cloze.expect(*seen), x_BLD[chosen_BL], item_N, sample)
        return (
            _only(known_N, long_short_N),
            _only(told_N, short_long_N),
            _only(told_N, short_short_N),
            _only(known_N, next_N),
            _only(known_N | told_N, around_N),
            agree_B[places.row_N],
        )


def _only(there_N: Tensor, x_N: Tensor) -> Tensor:
    """NaN where the view that a signal rests on is not there."""
    return torch.where(there_N, x_N, torch.nan)
