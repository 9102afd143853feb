"""Registry of backbones: the name in the configuration -> the class."""

from collections.abc import Callable

from pipeline.config import ModelConfig
from pipeline.models.backbone import Backbone
from pipeline.models.gru4rec import GRU4Rec

BACKBONES: dict[str, Callable[[int, ModelConfig], Backbone]] = {
    "gru4rec": GRU4Rec,
}


def build(vocabulary: int, config: ModelConfig) -> Backbone:
    """A fresh backbone for a vocabulary of that many items."""
    return BACKBONES[config.backbone](vocabulary, config)
