import numpy as np
import polars as pl
import pytest

from pipeline.evaluation.noise import Noise
from pipeline.evaluation.ranking import both
from pipeline.evaluation.results import (
    SCHEMA,
    ablation_rows,
    detection_rows,
    frame_of,
    noise_columns,
    usefulness_rows,
)

USERS = 400


def ranks(hit: float, seed: int) -> pl.DataFrame:
    """First for a share of the users, else a miss; what one arm hits, a better arm hits too.

    Of the validation, every second of these hits is one.
    """
    lot = np.random.default_rng(seed).random(USERS)
    users = [f"u{n:03d}" for n in range(USERS)]
    test, validation = (
        pl.DataFrame(
            {
                "user_id": users,
                "rank": pl.Series(np.where(lot < share, 1, 99), dtype=pl.UInt32),
            }
        )
        for share in (hit, hit / 2)
    )
    return both(validation, test)


def measured(shares: dict[str, float]) -> pl.DataFrame:
    found = {arm: {seed: ranks(share, seed) for seed in (0, 1)} for arm, share in shares.items()}
    return frame_of(usefulness_rows(found))


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return measured({"noisy": 0.2, "cleaned": 0.35, "random": 0.15, "oracle": 0.4})


def only(table: pl.DataFrame, **want) -> dict:
    picked = table.filter(*(pl.col(name).eq_missing(value) for name, value in want.items()))
    return picked.row(0, named=True) | {"rows": picked.height}


def test_each_arm_has_its_value_by_seed_and_over_all(table):
    by_seed = [
        only(table, arm="cleaned", metric="HR", k=10, seed=s, versus=None)["value"] for s in (0, 1)
    ]
    whole = only(table, arm="cleaned", metric="HR", k=10, seed=None, versus=None)
    assert whole["rows"] == 1
    assert whole["value"] == pytest.approx(np.mean(by_seed))
    assert whole["low"] < whole["value"] < whole["high"]
    assert whole["n"] == USERS


def test_validation_is_told_apart_from_the_test(table):
    asked = {"arm": "cleaned", "k": 10, "versus": None}
    for seed in (0, 1, None):
        told = only(table, metric="validation HR", seed=seed, **asked)
        assert told["value"] == pytest.approx(0.175, abs=0.04)
        assert (told["rows"], told["n"]) == (1, USERS)
    apart = only(table, arm="cleaned", metric="validation NDCG", k=10, versus="noisy")
    assert 0 < apart["low"] < apart["value"] < apart["high"]
    assert table.filter(pl.col("metric").str.contains("recovery of validation")).is_empty()


def test_validation_and_test_may_be_of_different_users():
    """As where the log is cut by global time."""

    def part(users: int) -> pl.DataFrame:
        rank = pl.Series([1] * users, dtype=pl.UInt32)
        return pl.DataFrame({"user_id": [f"u{n}" for n in range(users)], "rank": rank})

    found = {0: both(part(30), part(20))}
    table = frame_of(usefulness_rows({"raw": found, "cleaned": found}))
    for metric, users in (("validation HR", 30), ("HR", 20)):
        told = only(table, arm="raw", metric=metric, k=10, seed=None, versus=None)
        assert (told["value"], told["n"]) == (1, users)


def test_differences_are_to_the_first_arm(table):
    better = only(table, arm="cleaned", metric="NDCG", k=10, versus="noisy")
    worse = only(table, arm="random", metric="NDCG", k=10, versus="noisy")
    assert better["low"] > 0 > worse["high"]
    assert better["error"] > 0
    assert table.filter(pl.col("versus").is_not_null())["arm"].unique().sort().to_list() == [
        "cleaned",
        "oracle",
        "random",
    ]


def test_recovery_stands_beside_the_errors_of_its_denominator(table):
    won = only(table, arm="cleaned", metric="recovery of NDCG", k=10)
    assert won["value"] == pytest.approx(0.75, abs=0.1)
    assert won["low"] < won["value"] < won["high"]
    assert only(table, arm="random", metric="recovery of HR", k=10)["value"] < 0
    gap = only(table, metric="standard errors of oracle - noisy, NDCG", k=10)
    assert gap["value"] > 4


def test_without_an_oracle_there_is_no_recovery():
    table = measured({"raw": 0.2, "cleaned": 0.2})
    assert table.filter(pl.col("metric").str.contains("recovery")).is_empty()


def test_the_gap_is_told_without_an_arm_between():
    table = measured({"noisy": 0.2, "oracle": 0.4})
    assert only(table, metric="standard errors of oracle - noisy, NDCG", k=10)["value"] > 4


def test_a_recovery_of_nothing_is_null_not_nan():
    table = measured({"noisy": 0.2, "cleaned": 0.2, "oracle": 0.2})
    assert only(table, metric="recovery of NDCG", k=10)["value"] is None
    assert only(table, metric="standard errors of oracle - noisy, NDCG", k=10)["value"] == 0


def test_seeds_of_detection_are_kept_and_averaged_with_their_span():
    def found(value: float | None) -> pl.DataFrame:
        row = ("ours", "AUROC", None, "1-5", value, 10)
        schema = ["arm", "metric", "k", "stratum", "value", "n"]
        return pl.DataFrame([row], schema=schema, orient="row", schema_overrides={"k": pl.Int64})

    table = frame_of(detection_rows({0: found(0.6), 1: found(0.8)}))
    whole = only(table, seed=None)
    assert (whole["value"], whole["low"], whole["high"]) == pytest.approx((0.7, 0.6, 0.8))
    assert only(table, seed=1)["value"] == 0.8
    assert whole["part"] == "detection"


def test_a_row_has_every_column():
    table = frame_of([noise_columns(Noise("uniform", 0.2))])
    assert table.schema == SCHEMA
    assert table.row(0, named=True)["noise"] == "uniform"
    assert table.row(0, named=True)["value"] is None


def test_an_ablation_is_told_against_with_all_of_the_same_seed():
    def found(whole: float, less: float) -> pl.DataFrame:
        rows = [
            ("with all", "", "AUROC", None, whole, 9),
            ("with all", "", "AUROC", "1-5", 0.1, 3),
            ("without x", "signal", "AUROC", None, less, 9),
            ("without x", "signal", "AUROC", "1-5", None, 3),
        ]
        columns = ["arm", "detail", "metric", "stratum", "value", "n"]
        return pl.DataFrame(rows, schema=columns, orient="row")

    table = frame_of(ablation_rows({0: found(0.8, 0.7), 1: found(0.9, 0.6)}))
    assert set(table["part"]) == {"ablation"}
    asked = {"arm": "without x", "metric": "AUROC", "stratum": None}
    by_seed = [only(table, versus="with all", seed=s, **asked)["value"] for s in (0, 1)]
    assert by_seed == pytest.approx([-0.1, -0.3])
    whole = only(table, versus="with all", seed=None, **asked)
    assert [whole[n] for n in ("value", "low", "high")] == pytest.approx([-0.2, -0.3, -0.1])
    assert only(table, versus=None, seed=None, **asked)["value"] == pytest.approx(0.65)
    cold = {**asked, "stratum": "1-5"}
    assert only(table, versus="with all", seed=None, **cold)["value"] is None
    assert table.filter(pl.col("arm") == "with all")["versus"].is_null().all()
