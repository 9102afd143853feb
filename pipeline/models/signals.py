"""Signals of noise, each a named measurement of one interaction; none decides alone.

Everything is computed in float64: a value must not depend on who shares the batch, and float32
sums do in their last digits. No signal lets an item vouch for itself.
"""

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import columns as col
from pipeline.models.aligner import cosines
from pipeline.models.batches import Batch, Sequences, batches, windows
from pipeline.models.model import Instruments
from pipeline.models.names import COMPANY_COLLABORATIVE, COMPANY_SEMANTIC, VIEWS_AGREE

# Padded positions of one forward pass, and rows of one block of the softmax: bounds of memory.
POSITIONS = 16_384
SOFTMAX_ROWS = 1_024

WINDOWED = (
    col.SIGNAL_ALIGNED_LONG_SHORT,
    col.SIGNAL_ALIGNED_SHORT_LONG,
    col.SIGNAL_ALIGNED_SHORT_SHORT,
    col.SIGNAL_SEMANTIC_NEAREST,
    col.SIGNAL_COLLABORATIVE_NEAREST,
    col.SIGNAL_SURPRISE,
    col.SIGNAL_SURPRISE_AROUND,
    VIEWS_AGREE,
)
MEASURED = (*col.SIGNALS, COMPANY_SEMANTIC, COMPANY_COLLABORATIVE, VIEWS_AGREE)


def exact(instruments: Instruments) -> Instruments:
    """The instruments in float64 and evaluation mode: a copy, the original is as it was."""
    return replace(
        instruments,
        aligner=copy.deepcopy(instruments.aligner).double().eval(),
        cloze=copy.deepcopy(instruments.cloze).double().eval(),
        around_MD=instruments.around_MD.double(),
        factor_VR=instruments.factor_VR.double(),
    )


def others_cosine(x_NP: Tensor, sequence_N: Tensor) -> Tensor:
    """Cosine of each row to the mean direction of the *other* rows of its sequence.

    Rows of zeros (no text, unknown item) are nobody's evidence. NaN where the row, or all
    others, are zero.
    """
    unit_NP = F.normalize(x_NP, dim=-1)
    total_UP = torch.zeros(int(sequence_N[-1]) + 1, x_NP.shape[1], dtype=x_NP.dtype)
    total_UP.index_add_(0, sequence_N, unit_NP)
    others_NP = total_UP[sequence_N] - unit_NP
    product_N = (unit_NP * others_NP).sum(dim=-1)
    size_N = unit_NP.norm(dim=-1) * others_NP.norm(dim=-1)
    return torch.where(size_N > 1e-9, product_N / size_N, torch.nan)


def semantic(text_TP: Tensor, sequences: Sequences) -> Tensor:
    """How like the texts of the user's other items the item's text is."""
    return others_cosine(text_TP[sequences.text_N], sequences.sequence_N)


def collaborative(factor_VR: Tensor, sequences: Sequences) -> Tensor:
    """How like the user's other items the item is, by who else took them."""
    return others_cosine(factor_VR[sequences.item_N], sequences.sequence_N)


def surprise(
    state_ND: Tensor, own_ND: Tensor, item_N: Tensor, sample: tuple[Tensor, Tensor]
) -> Tensor:
    """-log p(item | state) (N,), the softmax over a fixed sample of the catalogue.

    `sample` is the numbers (M,) and the vectors (M, D) of its items. The item itself always counts
    in the normaliser, once.
    """
    number_M, other_MD = sample
    found = []
    for part in torch.split(torch.arange(len(item_N)), SOFTMAX_ROWS):
        own_R = (state_ND[part] * own_ND[part]).sum(dim=-1)
        logit_RM = state_ND[part] @ other_MD.T
        logit_RM = logit_RM.masked_fill(item_N[part].unsqueeze(-1) == number_M, -torch.inf)
        found.append(torch.logaddexp(own_R, logit_RM.logsumexp(dim=1)) - own_R)
    return torch.cat(found) if found else state_ND.new_zeros(0)


def nearest(x_BLP: Tensor, present_BL: Tensor) -> Tensor:
    """Cosine (B, L) of each position to the likest *other* position of its window; NaN: none."""
    unit_BLP = F.normalize(x_BLP, dim=-1)
    cosine_BLL = unit_BLP @ unit_BLP.transpose(1, 2)
    itself_LL = torch.eye(x_BLP.shape[1], dtype=torch.bool)
    unlike_BLL = itself_LL | ~(present_BL.unsqueeze(1) & present_BL.unsqueeze(2))
    likest_BL = cosine_BLL.masked_fill(unlike_BLL, -torch.inf).amax(dim=-1)
    return torch.where(likest_BL.isinf(), torch.nan, likest_BL)


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
        As `exact` gives them.
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
    sequence_N = sequences.sequence_N
    semantic_N = semantic(text_TP, sequences)
    collaborative_N = collaborative(instruments.factor_VR, sequences)
    found = {
        col.SIGNAL_SEMANTIC: semantic_N,
        col.SIGNAL_COLLABORATIVE: collaborative_N,
        COMPANY_SEMANTIC: company(semantic_N, sequence_N),
        COMPANY_COLLABORATIVE: company(collaborative_N, sequence_N),
        **_by_window(instruments, text_TP, sequences, wanted_N),
    }
    return {name: found[name][wanted_N] for name in MEASURED}


def _by_window(
    instruments: Instruments, text_TP: Tensor, sequences: Sequences, wanted_N: Tensor
) -> dict[str, Tensor]:
    """The signals that need the backbone or the neighbours; NaN where not wanted."""
    max_length = instruments.settings.sequence.max_length
    cut = windows(sequences.length_U, max_length, max_length // 2)
    flat_NS = torch.full((len(wanted_N), len(WINDOWED)), torch.nan, dtype=torch.float64)
    for batch in batches(sequences, cut, POSITIONS):
        index_N = batch.index_BL[batch.mask_BL]
        ours_N = wanted_N[index_N] & batch.fresh_BL[batch.mask_BL]
        if ours_N.any():
            flat_NS[index_N[ours_N]] = _window_signals(instruments, text_TP, batch, ours_N)
    return dict(zip(WINDOWED, flat_NS.unbind(dim=1), strict=True))


def _window_signals(
    instruments: Instruments, text_TP: Tensor, batch: Batch, ours_N: Tensor
) -> Tensor:
    """Columns `WINDOWED` (n, S) of the chosen real positions of a batch."""
    aligner, cloze, mask_BL = instruments.aligner, instruments.cloze, batch.mask_BL
    numbers_M = instruments.sample_M
    text_BLP = text_TP[batch.text_BL]
    aligned_BLP = text_BLP[..., : instruments.settings.model.semantic_dim]
    views = aligner.views(batch, aligned_BLP)
    agree_B = F.cosine_similarity(views.c_BD, views.s_BD, dim=-1)
    x_BLD = cloze.vectors(batch.item_BL, aligned_BLP)
    factor_BLR = instruments.factor_VR[batch.item_BL]

    def ours(x_BLX: Tensor) -> Tensor:
        return x_BLX[mask_BL][ours_N]

    item_N, text_N = ours(batch.item_BL), ours(batch.text_BL)
    known_N, told_N = item_N > 0, text_N > 0
    long_short_N, short_long_N, short_short_N = map(ours, cosines(views))
    next_N = surprise(
        ours(views.before_BLD),
        aligner.backbone.items(item_N),
        item_N,
        (numbers_M, aligner.backbone.items(numbers_M)),
    )
    around_N = surprise(
        cloze.expect(ours(cloze.attend(x_BLD, mask_BL))),
        ours(x_BLD),
        item_N,
        (numbers_M, instruments.around_MD),
    )
    columns = (
        _only(known_N, long_short_N),
        _only(told_N, short_long_N),
        _only(told_N, short_short_N),
        ours(nearest(text_BLP, batch.text_BL > 0)),
        ours(nearest(factor_BLR, batch.item_BL > 0)),
        _only(known_N, next_N),
        _only(known_N | told_N, around_N),
        ours(agree_B.unsqueeze(1).expand_as(mask_BL)),
    )
    return torch.stack(columns, dim=1)


def _only(there_N: Tensor, x_N: Tensor) -> Tensor:
    """NaN where the view that a signal rests on is not there."""
    return torch.where(there_N, x_N, torch.nan)
