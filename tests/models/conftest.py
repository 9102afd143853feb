import polars as pl
import pytest
import synthetic

from pipeline.models.model import Model
from pipeline.models.training import fit_model

CARD = {
    "model_version": "gru4rec-2024-01-08-0123456789abcdef",
    "config": synthetic.CONFIG.model_dump(mode="json"),
    "encoder_id": "test",
}


@pytest.fixture(scope="session")
def log() -> pl.DataFrame:
    return synthetic.log()


@pytest.fixture(scope="session")
def vectors() -> pl.DataFrame:
    return synthetic.vectors()


@pytest.fixture(scope="session")
def model(log, vectors) -> Model:
    return fit_model(synthetic.CONFIG, log, vectors, CARD)
