import polars as pl
import pytest

from pipeline.evaluation import cells as cells_module
from pipeline.evaluation.cells import Cells, code_digest, fingerprint

FRAME = pl.DataFrame({"user_id": ["a", "b"], "rank": [1, None]})


def test_a_cell_is_made_once(tmp_path):
    made = []

    def make() -> pl.DataFrame:
        made.append(1)
        return FRAME

    cells = Cells(str(tmp_path))
    assert cells.get("ranks", "raw", {"seed": 0}, make).equals(FRAME)
    assert Cells(str(tmp_path)).get("ranks", "raw", {"seed": 0}, make).equals(FRAME)
    assert len(made) == 1
    cells.get("ranks", "raw", {"seed": 1}, make)
    cells.get("cleaning", "raw", {"seed": 0}, make)
    assert (len(made), cells.made, cells.found) == (3, 3, 0)


def test_a_cell_that_failed_is_not_there(tmp_path):
    def fail() -> pl.DataFrame:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cells(str(tmp_path)).get("ranks", "raw", {}, fail)
    assert Cells(str(tmp_path)).get("ranks", "raw", {}, lambda: FRAME).equals(FRAME)


@pytest.mark.parametrize(
    "other",
    [
        FRAME.reverse(),
        FRAME.rename({"rank": "place"}),
        FRAME.with_columns(pl.col("rank").cast(pl.UInt32)),
        FRAME.with_columns(pl.lit(1).alias("rank")),
        FRAME.head(1),
    ],
)
def test_a_fingerprint_tells_values_names_types_and_order(other):
    assert fingerprint(FRAME) == fingerprint(FRAME.clone())
    assert fingerprint(FRAME) != fingerprint(other)


def test_a_fingerprint_reads_vectors():
    def vectors(last: float) -> pl.DataFrame:
        column = pl.Series("vector", [[1.0, 2.0], [3.0, last]], dtype=pl.Array(pl.Float32, 2))
        return pl.DataFrame({"item_id": ["a", "b"], "vector": column})

    assert fingerprint(vectors(4.0)) == fingerprint(vectors(4.0))
    assert fingerprint(vectors(4.0)) != fingerprint(vectors(4.5))


def test_code_is_what_it_does_not_how_it_is_laid_out(tmp_path, monkeypatch):
    package = tmp_path / "__init__.py"
    monkeypatch.setattr(cells_module.pipeline, "__file__", str(package))
    module = tmp_path / "a.py"

    def told(source: str) -> str:
        module.write_text(source)
        return code_digest("a.py")

    plain = told("def f(x):\n    return x + 1\n")
    assert (
        told('"""Story."""\n\n\ndef f(x):\n    """Add one."""\n    return (x + 1)  # why\n')
        == plain
    )
    assert told("def f(x):\n    return x + 2\n") != plain


def test_a_package_is_all_its_modules():
    assert code_digest("models") != code_digest("models/noise.py") != code_digest("storage")
