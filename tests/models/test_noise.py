import itertools
import math

import polars as pl
import pytest

from pipeline.models.noise import BURST, inject

VECTORS = pl.DataFrame(
    {
        "item_id": [f"i{n}" for n in range(100)],
        "vector": pl.Series(
            [[math.cos(n / 16), math.sin(n / 16)] for n in range(100)],
            dtype=pl.Array(pl.Float32, 2),
        ),
    }
)
VOCABULARY = pl.DataFrame({"item_id": [f"i{n}" for n in range(100)], "count": [1] * 50 + [99] * 50})
LOG = pl.DataFrame(
    {
        "user_id": [f"u{n // 10:03d}" for n in range(3000)],
        "item_id": [f"own{n}" for n in range(3000)],
        "event_date": [n % 10 for n in range(3000)],
    }
)


@pytest.fixture(params=["uniform", "popularity"])
def noisy(request) -> pl.DataFrame:
    return inject(LOG, "user_id", VOCABULARY, rate=0.2, seed=3, kinds=(request.param,))


def test_genuine_rows_stay_as_they_were(noisy):
    genuine = noisy.filter(~pl.col("injected")).select(LOG.columns)
    assert genuine.equals(LOG)


def test_the_rate_is_kept_and_each_noise_row_lies_beside_a_row_of_its_date(noisy):
    assert noisy["injected"].sum() == pytest.approx(600, rel=0.15)
    beside = pl.any_horizontal(
        pl.col("event_date") == pl.col("event_date").shift(k).over("user_id") for k in (1, -1)
    )
    assert noisy.select(beside.alias("beside"), "injected").filter("injected")["beside"].all()


def test_noise_stands_before_and_after_genuine_rows(noisy):
    first = noisy.group_by("user_id", maintain_order=True).first()["injected"]
    assert 0.02 < first.mean() < 0.25


def test_popular_noise_is_as_popular_as_the_log_and_uniform_noise_is_not():
    popular = {}
    for kind in ("uniform", "popularity"):
        noisy = inject(LOG, "user_id", VOCABULARY, rate=0.5, seed=3, kinds=(kind,))
        drawn = noisy.filter("injected").join(VOCABULARY, on="item_id")
        popular[kind] = (drawn["count"] == 99).mean()
    assert popular["uniform"] == pytest.approx(0.5, abs=0.05)
    assert popular["popularity"] == pytest.approx(0.99, abs=0.01)


def test_an_item_that_the_user_has_is_no_noise():
    log = pl.DataFrame({"user_id": ["a"] * 100, "item_id": [f"i{n}" for n in range(100)]})
    noisy = inject(log, "user_id", VOCABULARY, rate=0.5, seed=0, kinds=("uniform",))
    assert not noisy["injected"].any()


def test_kinds_come_as_often_as_they_weigh():
    weights = {"uniform": 0.1, "popularity": 0.9}
    noisy = inject(LOG, "user_id", VOCABULARY, rate=0.2, seed=3, weights=weights)
    kinds = noisy.group_by("user_id").agg(pl.col("kind").unique().alias("kinds"))
    assert kinds["kinds"].list.len().max() == 1
    popular = (kinds["kinds"].list.first() == "popularity").mean()
    assert popular == pytest.approx(0.9, abs=0.04)


def test_equal_seeds_give_equal_noise():
    one, two, other = (inject(LOG, "user_id", VOCABULARY, rate=0.2, seed=s) for s in (1, 1, 2))
    assert one.equals(two)
    assert not one.equals(other)


def known_log(users: int = 300) -> pl.DataFrame:
    """Users take ten items in a row."""
    return pl.DataFrame(
        {
            "user_id": [f"u{n // 10:03d}" for n in range(10 * users)],
            "item_id": [f"i{(7 * (n // 10) + n % 10) % 100}" for n in range(10 * users)],
        }
    )


def test_near_noise_has_a_text_like_its_neighbours():
    noisy = inject(
        known_log(), "user_id", VOCABULARY, rate=0.3, seed=1, kinds=("near",), vectors=VECTORS
    )
    number = pl.col("item_id").str.strip_prefix("i").cast(pl.Int64)
    place = number - number.shift(1).over("user_id")
    near = noisy.with_columns(place.alias("step")).filter("injected").drop_nulls("step")
    uniform = inject(known_log(), "user_id", VOCABULARY, rate=0.3, seed=1, kinds=("uniform",))
    far = uniform.with_columns(place.alias("step")).filter("injected").drop_nulls("step")
    assert near.height > 300
    assert near["step"].abs().median() < 0.7 * far["step"].abs().median()


def test_near_noise_has_a_text():
    told = VECTORS.filter(pl.col("item_id").str.ends_with("0"))  # ten of a hundred
    noisy = inject(
        known_log(), "user_id", VOCABULARY, rate=0.3, seed=1, kinds=("near",), vectors=told
    )
    found = noisy.filter("injected")["item_id"]
    assert len(found) > 50
    assert found.is_in(told["item_id"].implode()).all()


def test_near_noise_without_vectors_is_refused():
    with pytest.raises(ValueError, match="near"):
        inject(known_log(3), "user_id", VOCABULARY, rate=0.5, seed=1, kinds=("near",))


def test_a_burst_is_a_run_of_another_users_items():
    noisy = inject(known_log(), "user_id", VOCABULARY, rate=0.3, seed=1, kinds=("burst",))
    number = pl.col("item_id").str.strip_prefix("i").cast(pl.Int64)
    run = pl.col("injected").rle_id().over("user_id").alias("run")
    runs = (
        noisy.with_columns(number.alias("number"), run)
        .filter("injected")
        .group_by("user_id", "run", maintain_order=True)
        .agg("number")["number"]
    )
    whole = [r for r in runs.to_list() if len(r) == BURST]
    assert len(whole) > 100
    steps = [(b - a) % 100 for r in whole for a, b in itertools.pairwise(r)]
    assert steps.count(1) > 0.9 * len(steps)  # an item that the user has is left out of a run
