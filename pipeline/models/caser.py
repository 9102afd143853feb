"""Caser: convolutions over the last items, seen as an image (Tang & Wang, 2018), at each position.

The paper's user vector is left out: it knows nothing of new users, and needs one row a user.
"""

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
        x_BDL = F.pad(self.dropout(self.items(item_BL)).transpose(1, 2), (REACH - 1, 0))
        across_BFL = [self._strongest(conv, x_BDL) for conv in self.horizontal]
        down_BDLF = self.vertical(x_BDL.unfold(-1, REACH, 1))
        down_BLF = down_BDLF.permute(0, 2, 1, 3).flatten(start_dim=2)
        both_BLF = torch.cat([*(x.transpose(1, 2) for x in across_BFL), down_BLF], dim=-1)
        c_BLD: Tensor = self.output(self.dropout(both_BLF))
        return c_BLD

    @staticmethod
    def _strongest(conv: nn.Module, x_BDL: Tensor) -> Tensor:
        """Maximum of a horizontal filter over the places where it fits into the last items."""
        found_BFL = F.relu(conv(x_BDL))
        places = found_BFL.shape[-1] - x_BDL.shape[-1] + REACH
        return F.max_pool1d(found_BFL, places, stride=1)
