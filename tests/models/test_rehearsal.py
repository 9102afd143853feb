"""What is rehearsed looks like production, but for the noise."""

from dataclasses import replace

import polars as pl
import pytest
import synthetic

from pipeline.models import noise, rehearsal
from pipeline.models.contamination import Known
from pipeline.models.rehearsal import logs, nights, rehearse

LENGTH = synthetic.CONFIG.sequence.max_length


def test_where_noise_is_known_all_draws_have_as_much(model, log, vectors, monkeypatch):
    """How much was put into a sequence would tell it from the noise that was there before."""
    rates = []

    def inject(*args, rate, **kwargs):
        rates.append(rate)
        return noise.inject(*args, rate=rate, **kwargs)

    monkeypatch.setattr(rehearsal, "inject", inject)
    rehearse(model.instruments, log, vectors, 3, "log", known=Known(0.3))
    assert len(set(rates)) == 1
    rates.clear()
    rehearse(model.instruments, log, vectors, 3, "log")
    assert len(set(rates)) > 2


def test_a_rehearsed_night_is_no_longer_than_one_in_production(model, log):
    frame = nights(log, LENGTH // 2, 3)
    settings = model.instruments.settings
    short = settings.sequence.model_copy(update={"max_length": LENGTH // 2})
    tools = replace(model.instruments, settings=replace(settings, sequence=short))
    noisy = rehearsal.with_noise(tools, frame, synthetic.vectors(), 1, part=3.0)
    before = noisy.group_by("sequence").agg((~pl.col("wanted")).sum())["wanted"]
    assert before.max() == LENGTH // 2
    assert noisy["injected"].mean() > 0.2


@pytest.mark.parametrize("make", [logs, lambda log: nights(log, LENGTH, 1)])
def test_rows_are_bounded_by_whole_sequences(log, monkeypatch, make):
    whole = make(log)
    monkeypatch.setattr(rehearsal, "MAX_ROWS", whole.height // 3)
    some = make(log)
    assert 0.6 * whole.height // 3 < some.height < 1.4 * whole.height // 3
    key = ["user_id", "interaction_id", "wanted"]
    lengths = some.group_by("sequence").len()["len"]
    assert set(lengths) <= set(whole.group_by("sequence").len()["len"])
    assert some.join(whole, on=key, how="anti").is_empty()
