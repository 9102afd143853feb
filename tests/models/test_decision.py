from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import synthetic
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import columns as col
from pipeline import reasons
from pipeline.models import calibration
from pipeline.models.calibration import Calibrator
from pipeline.models.decision import BLAME, score_sequences
from pipeline.models.names import FEATURES

DAY = synthetic.FIRST_DAY + timedelta(days=synthetic.DAYS - 1)


@pytest.fixture(scope="module")
def night() -> pl.DataFrame:
    """New users; on the last day, half of them take one item of the other taste."""
    log = synthetic.log(users=60, seed=9)
    last = (pl.col("event_date") == DAY) & (pl.int_range(pl.len()).over("user_id") == pl.len() - 1)
    last = last.over("user_id")
    number = pl.col("item_id").str.strip_prefix("i").cast(pl.Int64)
    strange = last & (pl.col("user_id").str.tail(2).cast(pl.Int64) % 4 < 2)
    other = "i" + ((number + synthetic.ITEMS) % (2 * synthetic.ITEMS)).cast(pl.String)
    return log.with_columns(pl.when(strange).then(other).otherwise("item_id").alias("item_id"))


@pytest.fixture(scope="module")
def scored(model, night, vectors) -> pl.DataFrame:
    return score_sequences(model, night, vectors, DAY)


def with_threshold(model, threshold):
    strata = [row | {"threshold": threshold} for row in model.card["calibration"]["strata"]]
    return replace(model, card={**model.card, "calibration": {"strata": strata}})


def test_each_interaction_of_the_day_has_one_row(scored, night):
    wanted = night.filter(pl.col("event_date") == DAY)["interaction_id"]
    assert scored["interaction_id"].to_list() == wanted.to_list()
    assert scored[col.NOISE_PROBABILITY].is_between(0, 1).all()


def test_the_item_of_the_other_taste_is_found(scored, night):
    rows = scored.join(night, on="interaction_id")
    own = rows["user_id"].str.tail(2).cast(pl.Int64) % 2
    strange = rows["item_id"].map_elements(synthetic.taste, return_dtype=pl.Int64) != own
    score = torch.tensor(rows[col.NOISE_PROBABILITY].to_numpy())
    assert calibration.auroc(score, torch.tensor(strange.to_numpy())) > 0.9
    removed = rows.filter(strange)[col.DECISION] == reasons.REMOVE
    assert removed.mean() > 0.5
    wrongly = rows.filter(~strange)[col.DECISION] == reasons.REMOVE
    assert wrongly.mean() < 0.12


@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 999), parts=st.integers(2, 5))
def test_the_union_of_shards_equals_the_whole(model, night, vectors, scored, seed, parts):
    users = night["user_id"].unique(maintain_order=True)
    shard = np.random.default_rng(seed).integers(parts, size=len(users))
    found = [
        score_sequences(
            model,
            night.filter(pl.col("user_id").is_in(users.filter(shard == i).to_list())),
            vectors,
            DAY,
        )
        for i in range(parts)
    ]
    assert pl.concat(found).sort("interaction_id").equals(scored.sort("interaction_id"))


def test_chunks_of_users_equal_the_whole(model, night, vectors, scored, monkeypatch):
    monkeypatch.setattr("pipeline.models.evidence.CHUNK_ROWS", 50)
    monkeypatch.setattr("pipeline.models.signals.POSITIONS", 40)
    assert score_sequences(model, night, vectors, DAY).equals(scored)


def test_a_night_without_interactions_has_no_rows(model, night, vectors, scored):
    assert score_sequences(model, night, vectors, DAY + timedelta(days=9)).is_empty()
    assert score_sequences(model, night.clear(), vectors, DAY).schema == scored.schema


def one_user(night) -> pl.DataFrame:
    return night.filter(pl.col("user_id") == "u0001")


def reasons_of(model, frame, vectors) -> set[str]:
    found = score_sequences(with_threshold(model, 0.0), frame, vectors, DAY)
    assert (found[col.DECISION] == reasons.KEEP).all()
    return set(found[col.REASON])


def test_a_short_history_keeps(model, night, vectors):
    frame = one_user(night).tail(3)
    assert reasons_of(model, frame.with_columns(event_date=DAY), vectors) == {"short_history"}


def renamed(night) -> pl.DataFrame:
    """The user's items of the day are new to the model."""
    new = pl.when(pl.col("event_date") == DAY).then(pl.lit("new")).otherwise("item_id")
    return one_user(night).with_columns(new.alias("item_id"))


def test_an_unknown_item_without_text_keeps(model, night, vectors):
    assert reasons_of(model, renamed(night), vectors) == {"unknown_item"}


def test_a_new_item_is_judged_by_its_text(model, night, vectors):
    own = vectors.filter(pl.col("item_id") == "i25").with_columns(item_id=pl.lit("new"))
    other = vectors.filter(pl.col("item_id") == "i5").with_columns(item_id=pl.lit("new"))
    likes = synthetic.taste(one_user(night)["item_id"][0]) == 1
    own, other = (own, other) if likes else (other, own)
    fits, strange = (
        score_sequences(model, renamed(night), pl.concat([vectors, text]), DAY)
        for text in (own, other)
    )
    assert set(fits[col.STRATUM]) == {"new"}
    assert fits[col.SIGNAL_COLLABORATIVE].null_count() == fits.height
    assert (fits[col.NOISE_PROBABILITY] < strange[col.NOISE_PROBABILITY]).all()


def test_an_item_without_text_is_judged_by_the_rest(model, night, vectors):
    today = one_user(night).filter(pl.col("event_date") == DAY)["item_id"]
    known = vectors.filter(~pl.col("item_id").is_in(today.to_list()))
    for texts in (known, vectors.clear()):
        found = score_sequences(model, one_user(night), texts, DAY)
        assert set(found[col.STRATUM]) == {"no text"}
        assert found[col.SIGNAL_SEMANTIC].null_count() == found.height
        assert found[col.NOISE_PROBABILITY].is_between(0, 1).all()


def test_a_sequence_of_one_keeps(model, night, vectors):
    frame = one_user(night).tail(1)
    assert reasons_of(model, frame, vectors) == {"short_history"}


def test_a_missing_signal_keeps(model, night, vectors):
    today = one_user(night).filter(pl.col("event_date") == DAY)["item_id"].head(1)
    only = vectors.filter(pl.col("item_id").is_in(today.to_list()))
    found = score_sequences(with_threshold(model, 0.0), one_user(night), only, DAY).head(1)
    assert found[col.REASON].item() == "signal_missing"
    assert found[col.SIGNAL_SEMANTIC].item() is None
    assert found[col.NOISE_PROBABILITY].item() is None


def test_views_that_disagree_keep(model, night, vectors):
    tools = model.instruments
    gate = tools.settings.model.model_copy(update={"user_gate": 1.0})
    strict = replace(tools, settings=replace(tools.settings, model=gate))
    found = reasons_of(replace(model, instruments=strict), one_user(night), vectors)
    assert found == {"views_disagree"}


def test_a_stratum_without_a_threshold_keeps(model, night, vectors):
    found = score_sequences(with_threshold(model, None), night, vectors, DAY)
    assert set(found[col.REASON]) == {"stratum_not_calibrated"}
    assert set(found[col.DECISION]) == {reasons.KEEP}


def test_what_is_below_its_threshold_stays(scored):
    kept = scored.filter(pl.col(col.REASON) == "below_threshold")
    assert (kept[col.NOISE_PROBABILITY] < kept[col.THRESHOLD]).all()
    assert (kept[col.DECISION] == reasons.KEEP).all()


@pytest.mark.parametrize("reason", BLAME)
def test_a_removal_names_the_signal_that_weighed_most(model, night, vectors, reason):
    size, (hidden, narrow) = len(FEATURES), calibration.WIDTHS
    first = torch.zeros(3 * size, hidden, dtype=torch.float64)
    first[[FEATURES.index(name) for name in BLAME[reason]]] = 1e-3
    only = Calibrator(
        mean_F=torch.full((size,), -10.0).double(),  # every signal stands far above its average
        scale_F=torch.ones(size).double(),
        knot_FK=torch.tensor([[0.0, 1.0]]).double().repeat(size, 1),
        first_GH=first,
        first_bias_H=torch.zeros(hidden).double(),
        second_HE=torch.ones(hidden, narrow).double(),
        second_bias_E=torch.zeros(narrow).double(),
        last_E=torch.ones(narrow).double(),
        bias=torch.tensor(0.0).double(),
    )
    judge = with_threshold(replace(model, calibrator=only), 0.0)
    found = score_sequences(judge, night, vectors, DAY)
    assert set(found[col.REASON]) == {reason}
    assert set(found[col.DECISION]) == {reasons.REMOVE}
    assert reason in reasons.REASONS
    named = found[col.STRONGEST_SIGNALS].str.split(", ")
    assert set(named.explode()) == set(BLAME[reason])


def test_the_papers_method_decides_by_its_logit_alone(model, night, vectors):
    tools = model.instruments
    paper = tools.settings.decision.model_copy(update={"method": "iadsr"})
    theirs = replace(
        model, instruments=replace(tools, settings=replace(tools.settings, decision=paper))
    )
    found = score_sequences(theirs, night, vectors, DAY)
    logit = sum(found[name] for name in BLAME[reasons.VIEWS_MISALIGNED])
    assert np.allclose(found[col.NOISE_PROBABILITY], 1 / (1 + np.exp(logit)), atol=1e-5)
    judged = found.filter(pl.col(col.REASON).is_in(["below_threshold", "views_misaligned"]))
    removed = judged[col.DECISION] == reasons.REMOVE
    assert (removed == (judged[col.NOISE_PROBABILITY] >= 0.5)).all()
    assert set(judged[col.THRESHOLD]) == {0.5}
    named = judged.filter(removed)[col.STRONGEST_SIGNALS].str.split(", ").explode()
    assert set(named) <= set(BLAME[reasons.VIEWS_MISALIGNED])
    assert judged.filter(~removed)[col.STRONGEST_SIGNALS].is_null().all()


def test_every_reason_has_words():
    assert set(BLAME) <= set(reasons.REASONS)
