"""The models of a lake and their standing. Reads only."""

from dataclasses import dataclass
from typing import Any

from pipeline.errors import UserError
from pipeline.models import checkpoint
from pipeline.storage.lake import Lake

IN_USE, WITHDRAWN, UNUSABLE = "in use", "rolled back", "of another release"


@dataclass(frozen=True)
class ModelEntry:
    """One trained model."""

    version: str
    standing: str  # "" for one that is neither in use, nor rolled back, nor unusable
    as_of: str = ""
    created_at: str = ""
    auroc: float | None = None  # mean over the kinds of noise it was calibrated on


def list_models(lake: Lake) -> list[ModelEntry]:
    """Every model that is there whole, the newest as-of date last."""
    champion, withdrawn = checkpoint.champion(lake), checkpoint.withdrawn(lake)
    entries = []
    for version in checkpoint.versions(lake):
        standing = WITHDRAWN if version in withdrawn else ""
        standing = IN_USE if version == champion else standing
        try:
            card = checkpoint.read_card(lake, version)
        except UserError:
            entries.append(ModelEntry(version, ", ".join(filter(None, [standing, UNUSABLE]))))
            continue
        created = str(card.get("created_at", ""))
        entries.append(ModelEntry(version, standing, card["as_of"], created, _auroc(card)))
    return sorted(entries, key=lambda entry: (entry.as_of, entry.created_at))


def _auroc(card: dict[str, Any]) -> float | None:
    kinds = card["calibration"]["detection"].values()
    values = [kind["auroc"] for kind in kinds if kind["auroc"] is not None]
    return sum(values) / len(values) if values else None
