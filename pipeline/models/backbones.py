"""Registry of backbones: the name in the configuration -> the class."""

from collections.abc import Callable

from pipeline.config import BackboneConfig
from pipeline.models.backbone import Backbone
from pipeline.models.caser import Caser
from pipeline.models.gru4rec import GRU4Rec
from pipeline.models.sasrec import SASRec

BACKBONES: dict[str, Callable[[int, BackboneConfig], Backbone]] = {
    "gru4rec": GRU4Rec,
    "sasrec": SASRec,
    "caser": Caser,
}


def build(vocabulary: int, config: BackboneConfig) -> Backbone:
    """A fresh backbone for a vocabulary of that many items."""
    return BACKBONES[config.backbone](vocabulary, config)
