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


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Digest of a module `a` of the judging packages; the others are as given."""
    monkeypatch.setattr(cells_module.pipeline, "__file__", str(tmp_path / "__init__.py"))

    def digest_of(source: str, **others: str) -> str:
        for name, text in {"evaluation/a": source, **others}.items():
            file = tmp_path / f"{name}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        return code_digest("pipeline.evaluation.a")

    return digest_of


def test_code_is_what_it_does_not_how_it_is_laid_out(told):
    plain = told("def f(x):\n    return x + 1\n")
    documented = '"""Story."""\n\n\ndef f(x):\n    """Add one."""\n    return (x + 1)  # why\n'
    assert told(documented) == plain
    assert told("def f(x):\n    return x + 2\n") != plain


@pytest.mark.parametrize("how", ["import pipeline.models.b", "from pipeline.models import b"])
def test_what_a_module_imports_counts_and_what_it_does_not_does_not(told, how):
    one, deep = {"models/b": "from pipeline.models.c import x"}, "x = 1"
    plain = told(how, **one, **{"models/c": deep, "models/d": "y = 1"})
    assert told(how, **one, **{"models/c": deep, "models/d": "y = 2"}) == plain
    assert told(how, **one, **{"models/c": "x = 2"}) != plain


def test_a_recommender_does_not_rest_on_the_signals_of_noise(monkeypatch):
    files = []
    file = cells_module._file
    monkeypatch.setattr(cells_module, "_file", lambda name: files.append(name) or file(name))
    code_digest("pipeline.evaluation.recommender")
    assert {"pipeline.models.sasrec", "pipeline.models.losses"} <= set(files)
    assert not {"pipeline.models.signals", "pipeline.models.calibration"} & set(files)
    code_digest("pipeline.evaluation.cleaning")
    assert {"pipeline.models.signals", "pipeline.models.calibration"} <= set(files)
