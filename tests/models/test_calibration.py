import pytest
import torch

from pipeline.models import calibration as cal


def test_the_calibrator_states_true_shares():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(6000, 3, generator=draw, dtype=torch.float64)
    chance = torch.sigmoid(2 * x[:, 0] - 1.5)
    noise = torch.rand(6000, generator=draw, dtype=torch.float64) < chance
    calibrator = cal.fit_calibrator(x[:3000], noise[:3000], seed=0)
    stated = cal.probability(calibrator.log_odds(x[3000:]))
    assert cal.expected_calibration_error(stated, noise[3000:]) < 0.03
    share = calibrator.contributions(x[3000:], [[0], [1], [2]])
    assert share.abs().mean(dim=0).argmax() == 0


def test_the_odds_are_those_of_noise_where_users_own_rows_hold_some():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(30_000, 2, generator=draw, dtype=torch.float64)
    injected = torch.arange(30_000) < 5_000
    own_noise = ~injected & (torch.rand(30_000, generator=draw) < 0.4)
    x[injected | own_noise, 0] += 2
    plain = cal.fit_calibrator(x, injected, seed=0)
    told = cal.fit_calibrator(x, injected, seed=0, known_share=0.4)
    own, truth = x[~injected], own_noise[~injected]
    stated = cal.probability(told.log_odds(own))
    assert cal.expected_calibration_error(stated, truth) < 0.03
    # Among own rows that are noise for certain, injected ones are as many as ever.
    assert cal.probability(plain.log_odds(own)).max() < 0.5 < stated.max()
    injected_chance = cal.Mixture.of(injected, 0.4).injected(told.log_odds(x)).sigmoid()
    assert cal.expected_calibration_error(injected_chance, injected) < 0.02


def test_a_missing_signal_is_told_from_an_average_one():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 2, generator=draw, dtype=torch.float64)
    missing = torch.rand(4000, generator=draw) < 0.3
    x[missing, 1] = torch.nan
    noise = missing & (torch.rand(4000, generator=draw) < 0.8)  # only the missing are noise
    calibrator = cal.fit_calibrator(x, noise, seed=0)
    stated = cal.probability(calibrator.log_odds(x))
    assert not stated.isnan().any()
    assert stated[missing].mean() == pytest.approx(0.8, abs=0.05)
    assert stated[~missing].mean() < 0.05


def test_a_rank_goes_in_a_line_between_quantiles():
    knots = torch.tensor([0.0, 1.0, 10.0]).double()
    found = cal._rank(torch.tensor([-5.0, 0.0, 0.5, 5.5, 99.0]).double(), knots)
    assert found.tolist() == pytest.approx([-2, -2, -1, 1, 2])


def test_auroc_and_average_precision_of_known_orders():
    noise = torch.tensor([True, False, True, False])
    assert cal.auroc(torch.tensor([4.0, 3.0, 2.0, 1.0]), noise) == 0.75
    assert cal.auroc(torch.zeros(4), noise) == 0.5
    assert cal.auroc(torch.zeros(4), torch.zeros(4, dtype=torch.bool)) is None
    found = cal.average_precision(torch.tensor([4.0, 3.0, 2.0, 1.0]), noise)
    assert found == pytest.approx((1 + 2 / 3) / 2)
    # Of equal scores no order counts.
    for order in ([0, 1, 2, 3], [1, 0, 3, 2]):
        assert cal.average_precision(torch.tensor([4.0, 4, 1, 1]), noise[order]) == 0.5
