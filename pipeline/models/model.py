"""A trained model: everything that scoring needs, as tensors, a vocabulary and a card."""

from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from pipeline import columns as col
from pipeline.config import ClozeConfig, DecisionConfig, ModelConfig, SequenceConfig
from pipeline.models.aligner import Aligner
from pipeline.models.backbones import build
from pipeline.models.batches import Prefixes
from pipeline.models.calibration import Calibrator
from pipeline.models.cloze import Cloze
from pipeline.models.names import COUNT
from pipeline.models.semantic import SemanticSpace


@dataclass(frozen=True)
class Settings:
    """The configuration that a model was made with, and is used with."""

    sequence: SequenceConfig
    model: ModelConfig
    cloze: ClozeConfig
    decision: DecisionConfig


@dataclass(frozen=True)
class Instruments:
    """What measures the signals: vocabulary (item_id, count) and fitted weights."""

    settings: Settings
    vocabulary: pl.DataFrame
    aligner: Aligner
    cloze: Cloze
    space: SemanticSpace
    factor_VR: Tensor
    sample_M: Tensor  # item numbers over which surprises are normalised
    around_MD: Tensor  # their vectors in the cloze, with the texts that it was trained on
    prefixes: Prefixes | None = None  # never stored; there for `model.texts = "prefixes"`


@dataclass(frozen=True)
class Model:
    """Instruments, the calibrator that weighs their signals, and the card that tells of both."""

    instruments: Instruments
    calibrator: Calibrator
    card: dict[str, Any]

    @property
    def version(self) -> str:
        """Name of the model, a function of all that it was made from."""
        return str(self.card["model_version"])

    @property
    def thresholds(self) -> dict[str, float | None]:
        """Popularity stratum -> noise probability from which on a row is removed; None: never."""
        return thresholds_of(self.card["calibration"])

    def tensors(self) -> dict[str, Tensor]:
        """All weights by name."""
        tools = self.instruments
        aligner = {f"aligner.{name}": x for name, x in tools.aligner.state_dict().items()}
        cloze = {f"cloze.{name}": x for name, x in tools.cloze.state_dict().items()}
        return {
            **aligner,
            **cloze,
            "semantic.mean": tools.space.mean_K,
            "semantic.components": tools.space.components_KP,
            "collaborative.factors": tools.factor_VR,
            "surprise.sample": tools.sample_M,
            "surprise.around": tools.around_MD,
            **{f"calibrator.{name}": x for name, x in self.calibrator.tensors().items()},
        }


def from_tensors(
    tensors: dict[str, Tensor], vocabulary: pl.DataFrame, settings: Settings, card: dict[str, Any]
) -> Model:
    """The model whose `tensors()` these are."""
    aligner = new_aligner(vocabulary.height, settings.model)
    aligner.load_state_dict(_below("aligner.", tensors))
    cloze = Cloze(vocabulary.height, settings.model.semantic_dim, settings.cloze)
    cloze.load_state_dict(_below("cloze.", tensors))
    instruments = Instruments(
        settings=settings,
        vocabulary=vocabulary,
        aligner=aligner.eval(),
        cloze=cloze.eval(),
        space=SemanticSpace(tensors["semantic.mean"], tensors["semantic.components"]),
        factor_VR=tensors["collaborative.factors"],
        sample_M=tensors["surprise.sample"],
        around_MD=tensors["surprise.around"],
    )
    calibrator = Calibrator.from_tensors(_below("calibrator.", tensors))
    return Model(instruments=instruments, calibrator=calibrator, card=card)


def thresholds_of(report: dict[str, Any]) -> dict[str, float | None]:
    """Popularity stratum -> threshold, of the report of a calibration."""
    return {row["stratum"]: row["threshold"] for row in report["strata"]}


def noise_shares_of(report: dict[str, Any]) -> dict[str, float]:
    """Popularity stratum -> share of its rows that is noise, of the report of a calibration."""
    return {row["stratum"]: row["noise_share"] for row in report["strata"]}


def new_aligner(vocabulary: int, config: ModelConfig) -> Aligner:
    """An untrained aligner over a backbone of the configured kind."""
    return Aligner(build(vocabulary, config), config)


def count_items(frame: pl.DataFrame, min_count: int) -> pl.DataFrame:
    """Vocabulary of a frame of interactions, sorted by item_id: item_id, count."""
    return (
        frame.group_by(col.ITEM_ID)
        .agg(pl.len().cast(pl.Int64).alias(COUNT))
        .filter(pl.col(COUNT) >= min_count)
        .sort(col.ITEM_ID)
    )


def sample_items(vocabulary: int, size: int, seed: int) -> Tensor:
    """`size` item numbers drawn once, sorted; all of them if there are no more."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randperm(vocabulary, generator=draw)[:size].sort().values + 1


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): x for k, x in tensors.items() if k.startswith(prefix)}
