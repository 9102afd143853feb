import json

import pytest
import torch

from pipeline.errors import ContractError, StoreError, UserError
from pipeline.models import checkpoint
from pipeline.storage.lake import Lake


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(str(tmp_path))


def test_a_model_comes_back_as_it_was_saved(lake, model):
    version = checkpoint.save(lake, model)
    again = checkpoint.load(lake, version)
    assert again.tensors().keys() == model.tensors().keys()
    assert all(torch.equal(x, again.tensors()[name]) for name, x in model.tensors().items())
    assert again.instruments.vocabulary.equals(model.instruments.vocabulary)
    assert again.thresholds == model.thresholds
    assert again.version == version


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.VOCABULARY])
def test_a_file_that_was_changed_is_refused(lake, model, tmp_path, name):
    version = checkpoint.save(lake, model)
    path = tmp_path / "models" / version / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ContractError, match=name):
        checkpoint.load(lake, version)
    path.unlink()
    with pytest.raises(ContractError, match="missing"):
        checkpoint.load(lake, version)


def test_a_model_without_its_card_is_not_there(lake, model, tmp_path):
    version = checkpoint.save(lake, model)
    assert checkpoint.exists(lake, version)
    (tmp_path / "models" / version / checkpoint.CARD).unlink()
    assert not checkpoint.exists(lake, version)
    with pytest.raises(UserError, match="iadsr train"):
        checkpoint.load(lake, version)


def test_the_champion_is_the_one_promoted_last(lake, model):
    assert checkpoint.champion(lake) is None
    version = checkpoint.save(lake, model)
    assert checkpoint.champion(lake) is None
    checkpoint.promote(lake, version)
    assert checkpoint.champion(lake) == version
    with pytest.raises(UserError):
        checkpoint.promote(lake, "gru4rec-none")
    assert checkpoint.champion(lake) == version


def test_the_card_is_strict_json(lake, model, tmp_path):
    version = checkpoint.save(lake, model)
    text = (tmp_path / "models" / version / checkpoint.CARD).read_text()
    json.loads(text, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("section", "name", "told"),
    [("config", "cloze", r"had no \[cloze\]"), ("calibration", "features", "by other features")],
)
def test_a_model_of_another_version_is_one_clear_line(lake, model, tmp_path, section, name, told):
    version = checkpoint.save(lake, model)
    path = tmp_path / "models" / version / checkpoint.CARD
    card = json.loads(path.read_text())
    del card[section][name]
    path.write_text(json.dumps(card))
    with pytest.raises(UserError, match=f"{told}: train again"):
        checkpoint.load(lake, version)


def test_a_broken_champion_says_what_to_do(lake, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / checkpoint.CHAMPION).write_text("{")
    with pytest.raises(StoreError, match=r"champion\.json is no JSON: .*models promote"):
        checkpoint.champion(lake)
