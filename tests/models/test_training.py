import polars as pl
import pytest
import synthetic

from pipeline.models.model import count_items
from pipeline.models.noise import inject
from pipeline.models.training import DIRTY, learn, looks_dirty, trusted


def test_what_is_trusted_is_less_noisy(model, log, vectors):
    noisy = inject(log, "user_id", count_items(log, 1), rate=0.3, seed=7, kinds=("uniform",))
    shares = {"1-40": 0.3, "41+": 0.1}
    kept = trusted(model.instruments, model.calibrator, noisy, vectors, shares)
    popular = model.instruments.vocabulary.filter(pl.col("count") > 40)
    for part, share in (("anti", 0.3), ("semi", 0.1)):
        had, has = (f.join(popular, on="item_id", how=part).height for f in (noisy, kept))
        assert has == had - int(share * had)
    assert kept["injected"].mean() < noisy["injected"].mean() / 2
    assert kept.equals(noisy.join(kept, on=noisy.columns, how="semi", maintain_order="left"))


def test_what_cannot_be_judged_is_learned_from(model, log, vectors):
    short = log.filter(pl.int_range(pl.len()).over("user_id") < 3)
    assert trusted(
        model.instruments, model.calibrator, short, vectors, {"1-40": 0.9, "41+": 0.9}
    ).equals(short)


def test_a_noisy_log_is_learned_from_twice(log, vectors):
    popular = count_items(log, 1)
    noisy = inject(log, "user_id", popular, rate=0.5, seed=7, kinds=("uniform",))
    found = learn(synthetic.CONFIG, noisy, vectors, "log")
    assert DIRTY < found.report["noise_share_known"] <= noisy["injected"].mean() * 1.1
    assert 0 < found.report["noise_share"] <= noisy["injected"].mean() * 1.1
    assert found.distrusted > 0
    assert found.instruments.vocabulary["count"].sum() < noisy.height


def test_some_noise_is_told_of_though_the_log_is_learned_from_once(log, vectors):
    """The signals are too weak among it for all to be certain."""
    noisy = inject(log, "user_id", count_items(log, 1), rate=0.3, seed=7, kinds=("uniform",))
    found = learn(synthetic.CONFIG, noisy, vectors, "log")
    assert found.report["noise_share_known"] > DIRTY
    assert found.report["noise_share"] < DIRTY
    assert found.distrusted == 0


@pytest.mark.parametrize(
    ("least", "most", "told"),
    [
        (0.0, 0.04, False),  # a clean log
        (0.0, 0.2, True),
        (0.05, 0.2, True),
        (0.2, 0.6, True),
        (0.0, 0.6, False),  # weak signals
        (0.0, 1.0, False),  # too few rows to tell from
    ],
)
def test_a_log_looks_dirty_where_noise_is_certain_or_likely(least, most, told):
    assert looks_dirty({"noise_share": least, "noise_share_most": most}) is told


def test_a_log_without_noise_is_learned_from_once(model):
    assert model.card["calibration"]["noise_share_known"] == 0
    assert model.card["metrics"]["distrusted_rows"] == 0
