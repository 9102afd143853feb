import polars as pl
import pytest

from tests.models import synthetic


@pytest.fixture(scope="session")
def log() -> pl.DataFrame:
    return synthetic.log()


@pytest.fixture(scope="session")
def vectors() -> pl.DataFrame:
    return synthetic.vectors()
