from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline import encoders
from pipeline.config import EncoderConfig
from tests.steps.fakes import Fake


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """What `encoders.load` gives instead of a model."""
    fake = Fake()

    @contextmanager
    def load(config: EncoderConfig) -> Iterator[Fake]:
        yield fake

    monkeypatch.setattr(encoders, "load", load)
    return fake
