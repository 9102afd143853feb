"""What a signal weighs is what the calibrated probability loses without it."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
import synthetic
import torch

from pipeline import columns as col
from pipeline.models.decision import decide
from pipeline.models.evidence import evidence
from pipeline.models.names import SEQUENCE, WANTED
from pipeline.models.weights import probability_without, signal_weights

DAY = synthetic.FIRST_DAY + timedelta(days=synthetic.DAYS - 1)


def with_method(model, method):
    tools = model.instruments
    decision = tools.settings.decision.model_copy(update={"method": method})
    settings = replace(tools.settings, decision=decision)
    return replace(model, instruments=replace(tools, settings=settings))


@pytest.mark.parametrize("method", ["calibrated", "iadsr"])
def test_a_weight_is_what_the_log_odds_lose_without_the_signal(model, vectors, method):
    judge = with_method(model, method)
    frame = synthetic.log(users=20, seed=5).with_columns(
        pl.col("user_id").alias(SEQUENCE), (pl.col("event_date") == DAY).alias(WANTED)
    )
    rows = decide(judge, evidence(judge.instruments, frame, vectors))
    alone = [[name] for name in col.SIGNALS]
    whole_N = torch.tensor(rows[col.NOISE_PROBABILITY].to_numpy())
    without_NS = probability_without(judge, rows, alone)
    lost_NS = torch.logit(whole_N).unsqueeze(-1) - torch.logit(without_NS)
    sure_N = (whole_N > 0.02) & (whole_N < 0.98)  # where rounding the probability loses little
    assert sure_N.sum() > 5
    assert torch.allclose(signal_weights(judge, rows)[sure_N], lost_NS[sure_N], atol=2e-3)
