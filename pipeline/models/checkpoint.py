"""Models in the lake: `models/<version>/` holds weights, vocabulary and card; no pickles.

The card is written last and carries the checksum of the others: without it there is no model.
Torch is loaded where tensors are: planning and publishing a night read cards only.
"""

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import polars as pl

from pipeline.config import ClozeConfig, DecisionConfig, ModelConfig, SequenceConfig
from pipeline.errors import ContractError, StoreError, UserError
from pipeline.models.names import FEATURES
from pipeline.storage import files
from pipeline.storage.lake import Lake

if TYPE_CHECKING:
    from pipeline.models.model import Model

FOLDER = "models"
CHAMPION = "champion.json"
CARD = "card.json"
WEIGHTS = "model.safetensors"
VOCABULARY = "vocabulary.parquet"
# Sections of the configuration that a model is made with, and those that it decides with.
MADE_WITH = ("sequence", "model", "cloze", "train", "decision")
USED_WITH = ("sequence", "model", "cloze", "decision")


def save(lake: Lake, model: "Model") -> str:
    """Write the model under its version, the card last; returns the version."""
    from safetensors.torch import save as tensors_to_bytes

    table = io.BytesIO()
    model.instruments.vocabulary.write_parquet(table)
    tensors = {name: x.contiguous() for name, x in model.tensors().items()}
    contents = {WEIGHTS: tensors_to_bytes(tensors), VOCABULARY: table.getvalue()}
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name, content in contents.items():
        files.write_bytes(lake.path(FOLDER, model.version, name), content)
    card = json.dumps({**model.card, "files": checksums}, indent=2, sort_keys=True)
    files.write_bytes(lake.path(FOLDER, model.version, CARD), card.encode())
    return model.version


def exists(lake: Lake, version: str) -> bool:
    """True if the model is there whole."""
    return files.exists(lake.path(FOLDER, version, CARD))


def load(lake: Lake, version: str) -> "Model":
    """Read a model and check it against its card.

    Raises
    ------
    UserError
        There is no such model.
    ContractError
        A file is missing or is not the one that the card describes.
    """
    from safetensors.torch import load as tensors_from_bytes

    from pipeline.models.model import Settings, from_tensors

    card = read_card(lake, version)
    contents = {name: _checked(lake, version, name, card) for name in (WEIGHTS, VOCABULARY)}
    sections = card["config"]
    settings = Settings(
        sequence=SequenceConfig.model_validate(sections["sequence"]),
        model=ModelConfig.model_validate(sections["model"]),
        cloze=ClozeConfig.model_validate(sections["cloze"]),
        decision=DecisionConfig.model_validate(sections["decision"]),
    )
    vocabulary = pl.read_parquet(io.BytesIO(contents[VOCABULARY]))
    return from_tensors(tensors_from_bytes(contents[WEIGHTS]), vocabulary, settings, card)


def verify(lake: Lake, version: str) -> None:
    """Check a model's files against its card, without loading it. Raises as `load`."""
    card = read_card(lake, version)
    for name in (WEIGHTS, VOCABULARY):
        _checked(lake, version, name, card)


def read_card(lake: Lake, version: str) -> dict[str, Any]:
    """The card of a model. Raises UserError if there is none, or one of another release."""
    try:
        content = files.read_bytes(lake.path(FOLDER, version, CARD))
    except FileNotFoundError:
        raise UserError(f'no model "{version}" in {lake.root} (run "iadsr train")') from None
    card: dict[str, Any] = json.loads(content)
    absent = [name for name in USED_WITH if name not in card["config"]]
    if absent or card.get("calibration", {}).get("features") != list(FEATURES):
        lacks = f"had no [{'], ['.join(absent)}]" if absent else "judged by other features"
        raise UserError(
            f'model "{version}" in {lake.root} was made by another release, which {lacks}: '
            'train again ("iadsr train --date DATE")'
        )
    return card


def usable(lake: Lake, version: str) -> bool:
    """True if this release can judge by the model: its card can be read."""
    try:
        read_card(lake, version)
    except UserError:
        return False
    return True


def encoders(lake: Lake) -> dict[str, str]:
    """Version -> encoder_id of every model that is there whole, of an older release too."""
    found = {}
    for version in files.list_folders(lake.path(FOLDER)):
        if exists(lake, version):
            card = json.loads(files.read_bytes(lake.path(FOLDER, version, CARD)))
            found[version] = str(card["encoder_id"])
    return found


def versions(lake: Lake) -> list[str]:
    """Models that are there whole, sorted."""
    return [v for v in files.list_folders(lake.path(FOLDER)) if exists(lake, v)]


def champion(lake: Lake) -> str | None:
    """Version of the model in use, if one has been promoted."""
    version: str | None = _use(lake).get("model_version")
    return version


def withdrawn(lake: Lake) -> list[str]:
    """Versions that were rolled back, and have not been promoted again."""
    return list(_use(lake).get("withdrawn", []))


def promote(lake: Lake, version: str) -> None:
    """Put a whole model in use. Raises UserError: no such model, or one for comparisons only."""
    refuse_prefixes(read_card(lake, version)["config"]["model"].get("texts"))
    use = _use(lake)
    current, previous = use.get("model_version"), use.get("previous", [])
    if current not in (None, version):
        previous = [*previous, current]
    _write_use(lake, version, previous, [v for v in withdrawn(lake) if v != version])


def roll_back(lake: Lake) -> str:
    """Put the model in use again that was before, and withdraw the present one.

    Returns its version. Raises UserError: there was none before, or it is gone.
    """
    use = _use(lake)
    if not use.get("previous"):
        raise UserError(f"no earlier model in {lake.root} to go back to (`iadsr models list`)")
    *earlier, version = use["previous"]
    if not usable(lake, version):
        raise UserError(
            f"{version}, in use before, is gone or of another release; {use['model_version']} "
            "stays: for another, `iadsr models list`, then `iadsr models promote VERSION`"
        )
    _write_use(lake, version, earlier, [*withdrawn(lake), use["model_version"]])
    return str(version)


def _use(lake: Lake) -> dict[str, Any]:
    """What `champion.json` says: model_version, previous (the last one last), withdrawn."""
    path = lake.path(FOLDER, CHAMPION)
    try:
        use: dict[str, Any] = json.loads(files.read_bytes(path))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise StoreError(
            f"{path} is no JSON: restore it, or delete it and run `iadsr models promote VERSION`"
        ) from None
    return use


def _write_use(lake: Lake, version: str, previous: list[str], withdrawn: list[str]) -> None:
    use = {"model_version": version, "previous": previous, "withdrawn": withdrawn}
    files.write_bytes(lake.path(FOLDER, CHAMPION), json.dumps(use).encode())


def refuse_prefixes(texts: str | None) -> None:
    """Raise UserError if a model reads the joined texts of sequences: each night has new ones."""
    if texts == "prefixes":
        raise UserError(
            'model.texts = "prefixes" is for comparisons, no night can use it (each would embed '
            'its users\' histories anew): `iadsr train --no-promote`, `iadsr evaluate`, or "items"'
        )


def _checked(lake: Lake, version: str, name: str, card: dict[str, Any]) -> bytes:
    path = lake.path(FOLDER, version, name)
    try:
        content = files.read_bytes(path)
    except FileNotFoundError:
        raise ContractError(f"{path} is missing: train the model again") from None
    if hashlib.sha256(content).hexdigest() != card["files"][name]:
        raise ContractError(f"{path} is not the file that its card describes: train again")
    return content
