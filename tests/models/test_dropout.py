import pytest
import torch

from pipeline.models.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_entries_are_dropped_at_the_rate_and_the_mean_stays(rate):
    torch.manual_seed(0)
    found = Dropout(rate)(torch.ones(100, 1001))
    assert float((found == 0).double().mean()) == pytest.approx(rate, abs=0.005)
    assert float(found.mean()) == pytest.approx(1, rel=0.01)
    assert len(found.unique()) == 2


def test_coins_are_independent_within_and_between_draws():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(20_000, 16)) > 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(16)
    assert float(correlation.abs().max()) < 0.04


def test_the_gradient_flows_where_the_entry_stays():
    torch.manual_seed(0)
    x = torch.ones(3, 5, requires_grad=True)
    found = Dropout(0.5)(x)
    found.sum().backward()
    assert torch.equal(x.grad, found)


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero():
    x = torch.randn(3, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
