import polars as pl
import pytest

from pipeline.errors import UserError
from pipeline.evaluation.noise import Noise, noisy_log, parse
from pipeline.evaluation.splits import leave_one_out
from pipeline.models.noise import INJECTORS
from tests.models import synthetic

VECTORS = synthetic.vectors()


@pytest.mark.parametrize(
    ("text", "noise"),
    [
        ("none", Noise("none", 0.0)),
        ("uniform:0.2", Noise("uniform", 0.2)),
        ("popularity:.05", Noise("popularity", 0.05)),
        ("uniform:1", Noise("uniform", 1.0)),
    ],
)
def test_noise_is_named_by_kind_and_rate(text, noise):
    assert parse(text) == noise
    assert parse(str(noise)) == noise


@pytest.mark.parametrize("text", ["uniform", "uniform:0", "uniform:2", "uniform:x", "unform:0.1"])
def test_noise_that_cannot_be_is_refused_in_one_line(text):
    with pytest.raises(UserError, match=text.partition(":")[0]):
        parse(text)


def test_without_noise_the_log_is_the_training_part(log):
    split = leave_one_out(log)
    found = noisy_log(split, parse("none"), 0, VECTORS)
    assert found.drop("row", "injected").equals(split.train)
    assert not found["injected"].any()
    assert found["row"].to_list() == list(range(split.train.height))


def test_noise_comes_at_its_rate_and_by_its_seed(log):
    split = leave_one_out(log)
    one, again, other = (
        noisy_log(split, parse("uniform:0.3"), seed, VECTORS) for seed in (1, 1, 2)
    )
    assert one.equals(again)
    assert not one.equals(other)
    # Four items in ten are drawn twice or are the user's own.
    assert 0.15 < one["injected"].sum() / split.train.height < 0.3


@pytest.mark.parametrize("kind", INJECTORS)
def test_what_a_user_takes_later_is_no_noise(log, kind):
    split = leave_one_out(log)
    found = noisy_log(split, parse(f"{kind}:1"), 0, VECTORS).filter("injected")
    later = pl.concat([split.validate, split.test])
    assert found.join(later, on=["user_id", "item_id"], how="semi").is_empty()
    assert found.height > 100
