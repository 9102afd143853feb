"""IADSR's mathematics (CIKM 2025, section 3): two views of a user, aligned, tell noise.

c = collaborative (backbone), s = semantic (item text); t = short-term, up to position t; L =
long-term, the whole sequence. All sums run over real positions and items with text only. Padding
is on the right. What is decided about an interaction stands in `calibration.py`, not here.
"""
# ruff: noqa: N815  (fields carry their shape)

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import ModelConfig
from pipeline.models.backbone import Backbone
from pipeline.models.batches import Batch

# Without evidence (l_t = 0) an interaction stays with probability sigmoid(2) = 0.88: doubt keeps.
KEEP_BIAS = 2.0
# So many positions of a batch, drawn anew each time, are contrasted (InfoNCE) and rebuilt.
COMPARED = 512
EPSILON = 1e-12


@dataclass(frozen=True)
class Views:
    """Both views of a batch, short-term at each position and long-term."""

    c_BLD: Tensor
    s_BLD: Tensor
    c_BD: Tensor
    s_BD: Tensor


class Aligner(nn.Module):
    """A backbone, the maps of the semantic view into its space, and the decoder."""

    def __init__(self, backbone: Backbone, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.short = nn.Linear(config.semantic_dim, config.dim, bias=False)  # W_s
        self.long = nn.Linear(config.semantic_dim, config.dim, bias=False)  # W_L
        self.decoder = nn.Linear(config.dim, config.dim)  # Dec

    def views(self, batch: Batch, text_TP: Tensor) -> Views:
        """Collaborative and semantic view, short- and long-term (eq. 1 to 4).

        s_t = W_s mean(z_1..z_t) and s_L = W_L mean(z_1..z_n): the mean and the maps are linear,
        so that each item's text is projected once, ahead, into `text_TP`.
        """
        c_BLD = self.backbone.states(batch.item_BL)
        prefix_BLP = causal_mean(text_TP[batch.text_BL], batch.text_BL > 0)
        last_B = batch.mask_BL.sum(dim=1) - 1
        return Views(
            c_BLD=c_BLD,
            s_BLD=self.short(prefix_BLP),
            c_BD=self.backbone.pool(c_BLD, batch.mask_BL),
            s_BD=self.long(prefix_BLP[torch.arange(len(last_B)), last_B]),
        )

    def losses(
        self, batch: Batch, text_TP: Tensor, negative_M: Tensor, tau: float, draw: torch.Generator
    ) -> dict[str, Tensor]:
        """Stage two: every term of the objective (eq. 5 to 11), unweighted."""
        views, temperature = self.views(batch, text_TP), self.config.temperature
        logit_N = torch.stack(cosines(views)).sum(dim=0)[batch.mask_BL]
        mask_N = gumbel_mask(logit_N, tau, draw)
        item_N = batch.item_BL[batch.mask_BL]
        entropy_N = next_item_loss(self.backbone, views.c_BLD, batch, negative_M)
        some_M = torch.randperm(len(item_N), generator=draw)[:COMPARED]
        place_M = torch.nonzero(batch.mask_BL.flatten())[some_M, 0]
        c_MD = views.c_BLD.flatten(end_dim=1).index_select(0, place_M)
        s_MD = views.s_BLD.flatten(end_dim=1).index_select(0, place_M)
        rebuilt_MD = self.decoder(mask_N[some_M].unsqueeze(-1) * c_MD)
        return {
            "next_item": masked_mean(entropy_N, mask_N * batch.target_BL[batch.mask_BL]),
            "align_short": info_nce(c_MD, s_MD, temperature),
            "align_long": info_nce(views.c_BD, views.s_BD, temperature),
            "reconstruction": F.mse_loss(rebuilt_MD, self.backbone.items(item_N[some_M]).detach()),
        }

    def backbone_loss(self, batch: Batch, negative_M: Tensor) -> Tensor:
        """Stage one: the next-item loss alone."""
        entropy_N = next_item_loss(
            self.backbone, self.backbone.states(batch.item_BL), batch, negative_M
        )
        return masked_mean(entropy_N, batch.target_BL[batch.mask_BL].float())

    def objective(self, losses: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the terms (eq. 12)."""
        align = losses["align_short"] + losses["align_long"]
        return (
            losses["next_item"]
            + self.config.align_weight * align
            + self.config.reconstruction_weight * losses["reconstruction"]
        )


def causal_mean(x_BLP: Tensor, mask_BL: Tensor) -> Tensor:
    """Mean of the masked-in positions 0..t, zero where there is none; x is zero elsewhere."""
    count_BL1 = mask_BL.cumsum(dim=1).clamp(min=1).unsqueeze(-1)
    return x_BLP.cumsum(dim=1) / count_BL1


def info_nce(a_ND: Tensor, b_ND: Tensor, temperature: float) -> Tensor:
    """-log softmax of each a's own b against the others' b, by cosine over the temperature."""
    similarity_NN = F.normalize(a_ND, dim=-1) @ F.normalize(b_ND, dim=-1).T / temperature
    return F.cross_entropy(similarity_NN, torch.arange(len(a_ND), device=a_ND.device))


def cosines(views: Views) -> tuple[Tensor, Tensor, Tensor]:
    """cos(s_L, c_t), cos(c_L, s_t), cos(c_t, s_t), each (B, L): their sum is the noise logit."""
    c_BD1 = F.normalize(views.c_BD, dim=-1).unsqueeze(-1)
    s_BD1 = F.normalize(views.s_BD, dim=-1).unsqueeze(-1)
    c_BL, s_BL = inverse_norm(views.c_BLD), inverse_norm(views.s_BLD)
    return (
        (views.c_BLD @ s_BD1)[..., 0] * c_BL,
        (views.s_BLD @ c_BD1)[..., 0] * s_BL,
        (views.c_BLD * views.s_BLD).sum(dim=-1) * c_BL * s_BL,
    )


def inverse_norm(x_BLD: Tensor) -> Tensor:
    """1 / |x| (B, L), finite at zero."""
    return x_BLD.square().sum(dim=-1).clamp(min=EPSILON).rsqrt()


def gumbel_mask(logit_N: Tensor, tau: float, draw: torch.Generator) -> Tensor:
    """Hard 0/1 mask whose gradient is that of the relaxed one (straight-through Gumbel-sigmoid)."""
    uniform_N = torch.rand(logit_N.shape, generator=draw).clamp(1e-6, 1 - 1e-6)
    soft_N = torch.sigmoid((logit_N + KEEP_BIAS + torch.logit(uniform_N)) / tau)
    hard_N = (soft_N > 0.5).to(soft_N.dtype)
    return hard_N + (soft_N - soft_N.detach())


def next_item_loss(backbone: Backbone, c_BLD: Tensor, batch: Batch, negative_M: Tensor) -> Tensor:
    """Cross-entropy (N,) of the item at each real position, given the state before it.

    The softmax runs over the item and the batch's shared uniform negatives: all have the same
    proposal probability, so that no logQ correction is due.
    """
    before_ND = backbone.before(c_BLD)[batch.mask_BL]
    item_N = batch.item_BL[batch.mask_BL]
    positive_N1 = (before_ND * backbone.items(item_N)).sum(dim=-1, keepdim=True)
    negative_NM = backbone.scores(before_ND, negative_M)
    hit_NM = item_N.unsqueeze(-1) == negative_M
    negative_NM = negative_NM.masked_fill(hit_NM, -torch.inf)
    logit_NM = torch.cat([positive_N1, negative_NM], dim=1)
    return F.cross_entropy(logit_NM, torch.zeros_like(item_N), reduction="none")


def masked_mean(x_N: Tensor, weight_N: Tensor) -> Tensor:
    """Weighted mean. Divided by the weights' own sum: dropping everything gains nothing."""
    return (x_N * weight_N).sum() / weight_N.sum().clamp(min=1.0)
