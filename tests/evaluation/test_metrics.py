import math

import numpy as np
import polars as pl
import pytest

from pipeline.evaluation.metrics import (
    CUTOFFS,
    MIN_GAP_ERRORS,
    estimate,
    per_user,
    recovery,
    resampled_means,
)


def ranks(rows: list[tuple[str, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"user_id": pl.String, "rank": pl.UInt32}, orient="row")


def test_a_hit_counts_up_to_its_cutoff_and_a_miss_is_nothing():
    found = per_user(ranks([("a", 1), ("b", 6), ("c", None), ("d", 21)]))
    assert found["HR@5"].to_list() == [1, 0, 0, 0]
    assert found["HR@10"].to_list() == [1, 1, 0, 0]
    assert found["NDCG@5"].to_list() == [1, 0, 0, 0]
    assert found["NDCG@10"].to_list() == pytest.approx([1, 1 / math.log2(7), 0, 0])
    assert found.width == 1 + 2 * len(CUTOFFS)


def test_the_rank_at_the_cutoff_is_a_hit():
    found = per_user(ranks([("a", 5), ("b", 10), ("c", 20)]))
    assert found["HR@5"].to_list() == [1, 0, 0]
    assert found["HR@10"].to_list() == [1, 1, 0]
    assert found["HR@20"].to_list() == [1, 1, 1]


def test_seeds_are_averaged_per_user_first():
    found = per_user(ranks([("a", 1), ("b", None), ("a", None), ("b", None)]))
    assert found["user_id"].to_list() == ["a", "b"]
    assert found["HR@5"].to_list() == [0.5, 0.0]


def test_the_interval_is_that_of_the_mean():
    draw = np.random.default_rng(1)
    value = draw.normal(3.0, 2.0, size=(2_500, 1))
    drawn = resampled_means(value, seed=0)[:, 0]
    told = estimate(float(value.mean()), drawn)
    assert told.error == pytest.approx(2.0 / 50, rel=0.1)
    assert told.low == pytest.approx(told.value - 1.96 * 0.04, abs=0.006)
    assert told.high == pytest.approx(told.value + 1.96 * 0.04, abs=0.006)


def test_arms_are_resampled_together():
    """Two arms that differ by the same for each user: no doubt about the difference."""
    one = np.random.default_rng(1).normal(size=(400, 1))
    drawn = resampled_means(np.hstack([one, one + 0.1]), seed=0)
    apart = estimate(0.1, drawn[:, 1] - drawn[:, 0])
    assert (apart.low, apart.high) == pytest.approx((0.1, 0.1))
    assert estimate(0.0, drawn[:, 0]).error > 0.03


def test_blocks_and_seeds(monkeypatch):
    value = np.random.default_rng(1).normal(size=(50, 2))
    assert np.array_equal(resampled_means(value, 0), resampled_means(value, 0))
    assert not np.array_equal(resampled_means(value, 0), resampled_means(value, 1))
    whole = resampled_means(value, 0, draws=90)
    monkeypatch.setattr("pipeline.evaluation.metrics.BLOCK", 50 * 40)
    parts = resampled_means(value, 0, draws=90)
    assert whole.shape == parts.shape == (90, 2)
    assert parts == pytest.approx(whole)


def test_recovery_is_told_with_the_error_of_its_denominator():
    draw = np.random.default_rng(3)
    noisy = draw.normal(0.2, 0.1, size=1_000)
    noise = draw.normal(0, 0.02, size=(2, 1_000))
    value = np.stack([noisy + 0.03 + noise[0], noisy, noisy + 0.05 + noise[1]], axis=1)
    found = recovery(value.mean(axis=0), resampled_means(value, 0))
    assert found.share.value == pytest.approx(0.6, abs=0.03)
    assert found.share.low < 0.6 < found.share.high
    assert found.gap.value == pytest.approx(0.05, abs=0.002)
    assert found.gap_errors == pytest.approx(0.05 / (0.02 / math.sqrt(1_000)), rel=0.1)


def test_a_recovery_without_a_gap_is_no_number():
    value = np.random.default_rng(2).normal(0.2, 0.1, size=(100, 3))
    gap = recovery(value.mean(axis=0), resampled_means(value, 0)).gap_errors
    assert abs(gap) < MIN_GAP_ERRORS
    same = np.repeat(value[:, :1], 3, axis=1)
    found = recovery(same.mean(axis=0), resampled_means(same, 0))
    assert math.isnan(found.share.value)
