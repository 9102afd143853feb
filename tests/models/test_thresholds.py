import numpy as np
import polars as pl
import pytest
from mixtures import mixture

from pipeline.config import DecisionConfig
from pipeline.models import thresholds as thr
from pipeline.models.contamination import noise_share


def test_strata_are_named_and_closed_above():
    frame = pl.DataFrame({"count": [1, 5, 6, 20, 21, 900], "text": True})
    found = frame.select(thr.stratum_of(pl.col("count"), pl.col("text"), (5, 20))).to_series()
    assert found.to_list() == ["1-5", "1-5", "6-20", "6-20", "21+", "21+"]
    assert thr.strata_names(()) == ["1+", "new", "no text"]


def test_what_lacks_a_view_has_a_stratum_of_its_own():
    frame = pl.DataFrame({"count": [None, 7, None], "text": [True, False, False]})
    found = frame.select(thr.stratum_of(pl.col("count"), pl.col("text"), (5, 20))).to_series()
    assert found.to_list() == ["new", "no text", None]


@pytest.mark.parametrize("budget", [0.02, 0.05, 0.2])
def test_fresh_genuine_rows_are_dropped_within_the_budget(budget):
    """Not on average only: a standard error is kept, so that five of six draws keep it."""
    draw = np.random.default_rng(0)
    limits = [thr.threshold(pl.Series(draw.beta(1, 6, size=200)), budget) for _ in range(1000)]
    dropped = (1 - np.array(limits)) ** 6  # the chance of a further row, by that distribution
    assert 0.75 < (dropped <= budget).mean() < 0.92
    assert dropped.mean() > budget * 0.4


def test_noise_that_is_there_already_is_not_taken_for_genuine():
    draw = np.random.default_rng(2)
    own, noise, _ = mixture(draw, 0.35)
    share = noise_share(own, noise)
    fresh, _, fresh_noise = mixture(draw, 0.35)
    plain, corrected = thr.threshold(own, 0.05), thr.threshold(own, 0.05, noise, share)
    dropped = [(fresh.to_numpy()[~fresh_noise] >= limit).mean() for limit in (plain, corrected)]
    assert dropped[0] < 0.001  # what the budget of all own rows leaves of the genuine ones
    assert 0.005 < dropped[1] <= 0.058


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("apart", [0.25, 0.5, 1.0, 1.5, 2.0])  # AUROC .57, .64, .76, .86, .92
def test_weak_signals_do_not_overspend_the_budget(share, apart):
    """Much of what looks like noise is genuine then, and is no reason to remove more."""
    dropped = []
    for seed in range(4):
        draw = np.random.default_rng(seed)
        shift = np.where(draw.random(20_000) < share, apart, 0)
        own, noise, fresh = (
            pl.Series(1 / (1 + np.exp(-x)))
            for x in (
                shift + draw.normal(size=20_000),
                apart + draw.normal(size=4_000),
                draw.normal(size=20_000),
            )
        )
        limit = thr.threshold(own, 0.05, noise, noise_share(own, noise))
        dropped.append((fresh.to_numpy() >= limit).mean())
    assert 0.01 < np.mean(dropped) <= 0.062


@pytest.mark.parametrize("share", [0.0, 0.005, 0.01, 0.15])
def test_what_is_removed_is_noise_at_least_by_half(share):
    draw = np.random.default_rng(3)
    own, noise, is_noise = mixture(draw, share, n=40_000)
    found = noise_share(own, noise)
    removed = own.to_numpy() >= thr.threshold(own, 0.05, noise, found, min_precision=0.5)
    assert is_noise[removed].sum() >= 0.45 * removed.sum() if share else removed.mean() < 0.002
    if share in (0.005, 0.01):  # else nothing goes, or the budget binds
        assert removed.sum() < (own.to_numpy() >= thr.threshold(own, 0.05)).sum() / 2
        assert is_noise[removed].sum() > 0.4 * is_noise.sum()


def test_too_few_rows_for_a_budget_give_no_threshold():
    assert thr.threshold(pl.Series([0.1] * 20), 0.05) is None
    assert thr.threshold(pl.Series([0.1] * 40), 0.05) is not None
    assert thr.threshold(pl.Series([0.1] * 40), 0.05, distinct=20) is None  # as many judged twice


def rehearsed(stratum, chance, injected) -> pl.DataFrame:
    """Distinct rows of one user, judged."""
    told = {"stratum": stratum, "noise_probability": chance, "injected": injected}
    return pl.DataFrame({"event_time": range(len(chance)), "user_id": "u", "item_id": "i", **told})


def bounds(rows):
    return DecisionConfig(strata=(5,), min_precision=0, min_calibration_rows=rows)


def test_a_stratum_with_few_rows_is_never_cut():
    rows = rehearsed(
        ["1-5"] * 30 + ["6+"] * 130,
        [0.1] * 20 + [0.9] * 10 + [0.1] * 100 + [0.9] * 30,
        [False] * 20 + [True] * 10 + [False] * 100 + [True] * 30,
    )
    cold, warm, new, textless = thr.thresholds_table(rows, bounds(50))
    assert cold["threshold"] is None
    assert cold["recall"] == 0
    assert warm["threshold"] == pytest.approx(0.100001)
    assert (warm["recall"], warm["precision"], warm["false_drop_rate"]) == (1, 1, 0)
    assert 0 < warm["false_drop_upper"] < 0.05
    assert (new["rows"], new["threshold"], textless["threshold"]) == (0, None, None)


@pytest.mark.parametrize("min_precision", [0.0, 0.5])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.35])
def test_a_row_goes_from_its_least_budget_on(share, min_precision):
    """Of equal probabilities, too."""
    own, noise, _ = mixture(np.random.default_rng(4), share, n=3_000)
    rows = rehearsed(
        "6+", pl.concat([own, noise]).round(2), [False] * len(own) + [True] * len(noise)
    )
    settings = DecisionConfig(strata=(5,), min_precision=min_precision)
    least = thr.least_budgets(rows, rows, settings)
    gone = []
    for budget in (0.0, 0.01, 0.05, 0.2, 0.6):
        asked = settings.model_copy(update={"false_drop_budget": budget})
        limit = thr.thresholds_table(rows, asked)[1]["threshold"]
        goes = rows["noise_probability"] >= (2 if limit is None else limit)
        gone.append(int(goes.sum()))
        told = rows.select(thr.goes(pl.lit(least), budget).fill_null(False)).to_series()
        assert told.equals(goes, check_names=False)
    assert gone == sorted(gone)
    assert min_precision or gone[1] < gone[2] < gone[3]  # by precision, few may go at any budget


def test_a_row_without_a_threshold_goes_under_no_budget():
    held = rehearsed(["1-5"] * 30 + ["6+"] * 30, [n / 60 for n in range(60)], False)
    rows = pl.DataFrame(
        {"stratum": ["1-5", "new", None, "6+"], "noise_probability": [0.9, 0.9, 0.9, None]}
    )
    assert thr.least_budgets(rows, held, bounds(31)).to_list() == [None] * 4
    least = thr.least_budgets(rows, held, bounds(30))
    assert least[0] < 0.5
    assert least.to_list()[1:] == [None] * 3


def test_a_row_that_is_judged_several_times_counts_once():
    once = rehearsed(
        ["1-5"] * 1100,
        [*(i / 1000 for i in range(1000)), *[0.99] * 100],
        [False] * 1000 + [True] * 100,
    )
    alone, *_ = thr.thresholds_table(once, bounds(1000))
    often, *_ = thr.thresholds_table(pl.concat([once] * 5), bounds(1000))
    assert often["rows"] == alone["rows"] == 1000
    assert often["threshold"] == pytest.approx(alone["threshold"], abs=0.002)
    assert often["false_drop_upper"] == pytest.approx(alone["false_drop_upper"], abs=0.002)
    few, *_ = thr.thresholds_table(pl.concat([once] * 5), bounds(1001))
    assert few["threshold"] is None
