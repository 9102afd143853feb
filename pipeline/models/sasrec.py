"""SASRec: causal self-attention over item embeddings (Kang & McAuley, 2018), in pre-norm form.

Positions enter as rotations of queries and keys (Su et al., 2021): only distances count, so that
no table bounds the length of a window.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import BackboneConfig
from pipeline.models.backbone import Backbone
from pipeline.models.dropout import Dropout

ROTATION_BASE = 10_000.0


class SASRec(Backbone):
    """Right-padded input: the causal mask alone keeps padding, which stands later, from view."""

    def __init__(self, vocabulary: int, config: BackboneConfig) -> None:
        super().__init__(vocabulary, config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    def states(self, item_BL: Tensor) -> Tensor:
        """Output of the last block per position (B, L, D)."""
        x_BLD = self.dropout(self.items(item_BL))
        for block in self.blocks:
            x_BLD = block(x_BLD)
        c_BLD: Tensor = self.norm(x_BLD)
        return c_BLD


class _Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = Dropout(config.dropout)
        self.attention_norm = nn.LayerNorm(config.dim)
        self.query_key_value = nn.Linear(config.dim, 3 * config.dim)
        self.mix = nn.Linear(config.dim, config.dim)
        self.forward_norm = nn.LayerNorm(config.dim)
        self.widen = nn.Linear(config.dim, config.hidden)
        self.narrow = nn.Linear(config.hidden, config.dim)

    def forward(self, x_BLD: Tensor) -> Tensor:
        x_BLD = x_BLD + self.dropout(self._attend(self.attention_norm(x_BLD)))
        wide_BLF = F.gelu(self.widen(self.forward_norm(x_BLD)))
        out_BLD: Tensor = x_BLD + self.dropout(self.narrow(wide_BLF))
        return out_BLD

    def _attend(self, x_BLD: Tensor) -> Tensor:
        all_BLXE = self.query_key_value(x_BLD).unflatten(-1, (3 * self.heads, -1))
        turned_BLXE, v_BLHE = all_BLXE.split([2 * self.heads, self.heads], dim=2)
        q_BHLE, k_BHLE = _rotate(turned_BLXE).transpose(1, 2).chunk(2, dim=1)
        seen_BHLE = F.scaled_dot_product_attention(
            q_BHLE, k_BHLE, v_BLHE.transpose(1, 2), is_causal=True
        )
        mixed_BLD: Tensor = self.mix(seen_BHLE.transpose(1, 2).flatten(start_dim=2))
        return mixed_BLD


def _rotate(x_BLXE: Tensor) -> Tensor:
    """Turn each pair of components, as a complex number, by an angle in proportion to the place."""
    length, width = x_BLXE.shape[1], x_BLXE.shape[-1]
    speed_E = ROTATION_BASE ** -(torch.arange(0, width, 2, dtype=x_BLXE.dtype) / width)
    angle_L1E = torch.arange(length, dtype=x_BLXE.dtype)[:, None, None] * speed_E
    turn_L1E = torch.polar(torch.ones_like(angle_L1E), angle_L1E)
    pair_BLXE = torch.view_as_complex(torch.unflatten(x_BLXE, -1, (-1, 2)))
    return torch.view_as_real(pair_BLXE * turn_L1E).flatten(start_dim=-2)
