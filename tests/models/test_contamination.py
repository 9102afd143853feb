import numpy as np
import polars as pl
import pytest
from mixtures import mixture

from pipeline.models import contamination as con


@pytest.mark.parametrize("share", [0.0, 0.02, 0.15, 0.35])
def test_the_share_of_noise_is_told_from_how_much_looks_like_it(share):
    own, noise, _ = mixture(np.random.default_rng(1), share)
    found = con.noise_share(own, noise)
    sure = found.least
    assert sure == 0 if share < con.LEAST_SHARE else 0.75 * share < sure <= 1.05 * share
    assert share * 0.95 <= found.most < share + 0.025


def test_of_little_noise_no_share_is_told():
    few = pl.Series([0.9] * (con.MIN_NOISE - 1))
    assert con.noise_share(pl.Series([0.9] * 500), few) == con.NoiseShare(0.0, 1.0)


def rehearsed(**counts):
    """Injected rows of each kind by stratum."""
    return pl.DataFrame(
        [
            {"kind": kind, "stratum": stratum, "injected": True}
            for kind, of_kind in counts.items()
            for stratum, count in zip(("cold", "popular"), of_kind, strict=True)
            for _ in range(count)
        ]
    )


def strata(*shares):
    return [
        {"stratum": name, "rows": rows, "noise_share": share}
        for name, rows, share in zip(("cold", "popular"), (100, 900), shares, strict=True)
    ]


@pytest.mark.parametrize(
    ("shares", "uniform"),
    [
        ((0.3, 0.3), 0.0),  # as popular as the log: 30 and 270 rows
        ((0.9, 0.1 / 3), 0.813),  # 90 and 30 rows: 0.75 cold, of 0.1 to 0.9
        ((1.0, 0.0), 1.0),  # all of it cold, more so than any kind
        ((0.0, 0.0), 0.5),  # none found: nothing known
    ],
)
def test_kinds_of_noise_are_told_by_the_popularity_of_its_items(shares, uniform):
    rows = rehearsed(uniform=(180, 20), popularity=(10, 90))
    found = con.noise_kinds(rows, strata(*shares), ("uniform", "popularity"))
    trusted = con.KIND_TRUST * uniform + (1 - con.KIND_TRUST) / 2
    assert found["uniform"] == pytest.approx(trusted, abs=0.01)
    assert sum(found.values()) == pytest.approx(1)


def test_kinds_that_are_spread_alike_are_as_likely():
    rows = rehearsed(uniform=(180, 20), popularity=(10, 90), burst=(20, 180))
    found = con.noise_kinds(rows, strata(0.3, 0.3), ("uniform", "popularity", "burst", "near"))
    assert found["popularity"] == pytest.approx(found["burst"])
    assert found["near"] == pytest.approx(found["uniform"], abs=1e-3)  # was not rehearsed
