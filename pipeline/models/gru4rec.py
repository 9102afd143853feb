"""GRU4Rec: one gated recurrent layer over item embeddings (Hidasi et al., 2016)."""

from torch import Tensor, nn

from pipeline.config import BackboneConfig
from pipeline.models.backbone import Backbone
from pipeline.models.dropout import Dropout


class GRU4Rec(Backbone):
    """Right-padded input: a recurrence cannot see what stands to its right."""

    def __init__(self, vocabulary: int, config: BackboneConfig) -> None:
        super().__init__(vocabulary, config.dim)
        self.dropout = Dropout(config.dropout)
        self.gru = nn.GRU(config.dim, config.hidden, batch_first=True)
        self.output = nn.Linear(config.hidden, config.dim)

    def states(self, item_BL: Tensor) -> Tensor:
        """Recurrent state per position, projected to the items' space (B, L, D)."""
        hidden_BLH, _ = self.gru(self.dropout(self.items(item_BL)))
        c_BLD: Tensor = self.output(self.dropout(hidden_BLH))
        return c_BLD
