"""IADSR's mathematics (CIKM 2025, section 3): two views of a user, aligned, tell noise.

c = collaborative (backbone), s = semantic (item text); t = short-term, up to position t; L =
long-term, the whole sequence. All sums run over real positions and items with text only. Padding
is on the right. What is decided about an interaction stands in `calibration.py`, not here.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import ModelConfig
from pipeline.models.backbone import Backbone
from pipeline.models.batches import Batch
from pipeline.models.losses import Negatives, info_nce, masked_mean, next_item_loss
from pipeline.models.rows import cosine

# Without evidence (l_t = 0) an interaction stays with probability sigmoid(2) = 0.88: doubt keeps.
KEEP_BIAS = 2.0
# So many positions of a batch, and users, drawn anew each time, are contrasted (InfoNCE) and
# rebuilt.
COMPARED = 256


@dataclass(frozen=True)
class Views:
    """Both views of a batch, short-term at each position and long-term, and what meets what.

    X are the positions: B, L, or n chosen ones.
    """

    c_XD: Tensor  # state with the item at the position
    before_XD: Tensor  # state before it
    s_XD: Tensor  # the item's text
    c_BD: Tensor
    s_BD: Tensor
    c_others_XD: Tensor  # c_L and s_L of the other positions
    s_others_XD: Tensor


class Aligner(nn.Module):
    """A backbone, the maps of the semantic view into its space, and the decoder."""

    def __init__(self, backbone: Backbone, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.short = nn.Linear(config.semantic_dim, config.dim, bias=False)  # W_s
        self.long = nn.Linear(config.semantic_dim, config.dim, bias=False)  # W_L
        self.decoder = nn.Linear(config.dim, config.dim)  # Dec

    def views(self, batch: Batch, text_TP: Tensor, chosen_BL: Tensor | None = None) -> Views:
        """Collaborative and semantic view, short- and long-term (eq. 1 to 4).

        `text_TP` are the projected texts, row 0 zero. With `chosen_BL` (bool) what stands at each
        position is told of the chosen ones only: (n, D) instead of (B, L, D).

        s_t = W_s z_t of the item's own text, s_L = W_L (z_1 + .. + z_n): the formulas of section 3
        (design, 5.1). The paper's code embeds the joined titles 1..t instead, of which the item at
        t is a small part: read where the batch carries them (`model.texts = "prefixes"`). Nor does
        an item vouch for itself here: it is judged by c_L and s_L of the others, and by the state
        before it. The InfoNCE terms pair the plain views.
        """
        c_BLD = self.backbone.states(batch.item_BL)
        c_BD, c_others_BLD = self.backbone.pool(c_BLD, batch.mask_BL)
        s_XD, s_BD, s_others_XD = self._semantic(batch, text_TP, chosen_BL)
        return Views(
            c_XD=_at(c_BLD, chosen_BL),
            before_XD=_at(self.backbone.before(c_BLD), chosen_BL),
            s_XD=s_XD,
            c_BD=c_BD,
            s_BD=s_BD,
            c_others_XD=_at(c_others_BLD, chosen_BL),
            s_others_XD=s_others_XD,
        )

    def _semantic(
        self, batch: Batch, text_TP: Tensor, chosen_BL: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """s_t, s_L, and s_L of the others at each position.

        Of a joined text no item can be left out: with prefixes s_L is that of the whole window.
        """
        length = batch.text_BL.shape[1]
        if batch.prefix_BLP is None:
            z_XP = text_TP[_at(batch.text_BL, chosen_BL)]
            # Only directions count, so that the sum is as good as the mean.
            total_BP = F.embedding_bag(batch.text_BL, text_TP, mode="sum")
            total_XP = _at(total_BP.unsqueeze(1).expand(-1, length, -1), chosen_BL)
            return self.short(z_XP), self.long(total_BP), self.long(total_XP - z_XP)
        s_XD = self.short(_at(batch.prefix_BLP, chosen_BL))
        last_B = batch.mask_BL.sum(dim=1) - 1
        s_BD = self.long(batch.prefix_BLP[torch.arange(len(last_B)), last_B])
        return s_XD, s_BD, _at(s_BD.unsqueeze(1).expand(-1, length, -1), chosen_BL)

    def losses(
        self,
        batch: Batch,
        text_TP: Tensor,
        negatives: Negatives,
        tau: float,
        draw: torch.Generator,
    ) -> dict[str, Tensor]:
        """Stage two: every term of the objective (eq. 5 to 11), unweighted."""
        views, temperature = self.views(batch, text_TP), self.config.temperature
        mask_N = gumbel_mask(sum_of_cosines(views)[batch.mask_BL], tau, draw)
        gated_B = cosine(views.c_BD.detach(), views.s_BD.detach()) < self.config.user_gate
        mask_N = mask_N.masked_fill(gated_B.unsqueeze(1).expand_as(batch.mask_BL)[batch.mask_BL], 1)
        entropy_N = self._next_item_loss(views.before_XD, batch, negatives)
        some_M = torch.randperm(len(mask_N), generator=draw)[:COMPARED]
        some_B = torch.randperm(len(views.c_BD), generator=draw)[:COMPARED]
        place_M = torch.nonzero(batch.mask_BL.flatten())[some_M, 0]
        c_MD, s_MD = (
            x.flatten(end_dim=1).index_select(0, place_M) for x in (views.c_XD, views.s_XD)
        )
        rebuilt_MD = self.decoder(mask_N[some_M].unsqueeze(-1) * c_MD)
        item_MD = self.backbone.items(batch.item_BL.flatten()[place_M]).detach()
        return {
            "next_item": masked_mean(entropy_N, mask_N * batch.target_BL[batch.mask_BL]),
            "align_short": info_nce(c_MD, s_MD, temperature),
            "align_long": info_nce(views.c_BD[some_B], views.s_BD[some_B], temperature),
            "reconstruction": F.mse_loss(rebuilt_MD, item_MD),
        }

    def backbone_loss(self, batch: Batch, negatives: Negatives) -> Tensor:
        """Stage one: the next-item loss alone."""
        before_BLD = self.backbone.before(self.backbone.states(batch.item_BL))
        entropy_N = self._next_item_loss(before_BLD, batch, negatives)
        return masked_mean(entropy_N, batch.target_BL[batch.mask_BL].float())

    def _next_item_loss(self, before_BLD: Tensor, batch: Batch, negatives: Negatives) -> Tensor:
        """Of every real position (N,)."""
        mask_BL = batch.mask_BL
        return next_item_loss(self.backbone, before_BLD[mask_BL], batch.item_BL[mask_BL], negatives)

    def objective(self, losses: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the terms (eq. 12)."""
        align = losses["align_short"] + losses["align_long"]
        return (
            losses["next_item"]
            + self.config.align_weight * align
            + self.config.reconstruction_weight * losses["reconstruction"]
        )


def cosines(views: Views) -> tuple[Tensor, Tensor, Tensor]:
    """cos(s_L, c_t), cos(c_L, s_t), cos(c_t, s_t), each (X,): their sum is the noise logit.

    s_L and c_L are the other positions', and the last c_t is the state before the item.
    """
    return (
        cosine(views.s_others_XD, views.c_XD),
        cosine(views.c_others_XD, views.s_XD),
        cosine(views.before_XD, views.s_XD),
    )


def sum_of_cosines(views: Views) -> Tensor:
    """The noise logit l_t (X,) of eq. 7: high for what fits."""
    first_X, second_X, third_X = cosines(views)
    return first_X + second_X + third_X


def gumbel_mask(logit_N: Tensor, tau: float, draw: torch.Generator) -> Tensor:
    """Hard 0/1 mask whose gradient is that of the relaxed one (straight-through Gumbel-sigmoid)."""
    uniform_N = torch.rand(logit_N.shape, generator=draw).clamp(1e-6, 1 - 1e-6)
    soft_N = torch.sigmoid((logit_N + KEEP_BIAS + torch.logit(uniform_N)) / tau)
    hard_N = (soft_N > 0.5).to(soft_N.dtype)
    return hard_N + (soft_N - soft_N.detach())


def _at(x_BLX: Tensor, chosen_BL: Tensor | None) -> Tensor:
    """What stands at the chosen positions, or all of it."""
    return x_BLX if chosen_BL is None else x_BLX[chosen_BL]
