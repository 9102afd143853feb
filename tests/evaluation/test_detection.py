import polars as pl
import pytest

from pipeline.config import Config
from pipeline.evaluation.detection import RECALLS, detect

# Ten items twice and one ten times; noise is one row of each rare item.
ITEMS = [f"rare{n}" for n in range(10) for _ in range(2)] + ["popular"] * 10
VECTORS = pl.DataFrame({"item_id": sorted({*ITEMS})})
INJECTED = [bool(n % 2) for n in range(20)] + [False] * 10


def log(chance: list[float | None], removed: list[bool], **more: list) -> pl.DataFrame:
    told = ["remove" if r else "keep" for r in removed]
    return pl.DataFrame(
        {"item_id": ITEMS, "injected": INJECTED, "noise_probability": chance, "decision": told}
        | more
    )


def value(found: pl.DataFrame, arm: str, metric: str, stratum: str | None = None, k=None):
    rows = found.filter(
        pl.col("arm") == arm,
        pl.col("metric") == metric,
        pl.col("stratum").eq_missing(stratum),
        pl.col("k").eq_missing(k),
    )
    return rows["value"].item()


@pytest.fixture
def perfect() -> pl.DataFrame:
    return detect(Config(), log([float(n) for n in INJECTED], INJECTED), VECTORS)


def test_a_perfect_score_finds_all_and_drops_nothing_genuine(perfect):
    assert value(perfect, "ours", "AUROC") == value(perfect, "ours", "AP") == 1
    assert value(perfect, "ours", "precision") == value(perfect, "ours", "recall") == 1
    assert value(perfect, "ours", "false drops") == 0
    assert [value(perfect, "ours", "precision at recall", k=k) for k in RECALLS] == [1] * 20


def test_popularity_is_told_beside_it(perfect):
    # Half of the rare rows are noise, none of the popular ones.
    assert value(perfect, "popularity", "AUROC") == pytest.approx((5 + 10) / 20)
    assert value(perfect, "popularity", "AUROC", "1-5") == pytest.approx(0.5)


def test_decisions_are_counted_by_stratum():
    removed = [n < 6 for n in range(30)]  # three noise rows, three genuine rare ones
    found = detect(Config(), log([0.5] * 30, removed), VECTORS)
    assert value(found, "ours", "precision") == 0.5
    assert value(found, "ours", "recall") == 0.3
    assert value(found, "ours", "false drops") == 3 / 20
    assert value(found, "ours", "false drops", "1-5") == 3 / 10
    assert value(found, "ours", "false drops", "6-20") == 0
    assert value(found, "ours", "recall", "6-20") is None


def test_what_was_not_scored_is_not_suspected():
    chance = [None if n else 0.1 for n in INJECTED]
    found = detect(Config(), log(chance, [False] * 30), VECTORS)
    assert value(found, "ours", "AUROC") == 0
    assert value(found, "ours", "precision") is None


def test_the_papers_decision_is_told_where_it_was_taken():
    paper = {
        "decision_iadsr": ["remove" if n else "keep" for n in INJECTED],
        "noise_probability_iadsr": [float(n) for n in INJECTED],
    }
    found = detect(Config(), log([0.5] * 30, [False] * 30, **paper), VECTORS)
    assert value(found, "iadsr", "AUROC") == 1
    assert value(found, "iadsr", "recall") == 1
    assert value(found, "ours", "recall") == 0


def test_items_without_text_have_a_stratum_of_their_own():
    told = log([0.5] * 30, [True] * 30)
    found = detect(Config(), told, VECTORS.filter(pl.col("item_id") != "popular"))
    assert value(found, "ours", "false drops", "no text") == 1
    assert set(found["stratum"]) == {None, "1-5", "no text"}
