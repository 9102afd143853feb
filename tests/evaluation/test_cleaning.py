import polars as pl
import pytest

from pipeline.columns import SIGNALS
from pipeline.configuration import override
from pipeline.evaluation import cleaning
from pipeline.evaluation.cleaning import clean_log, decide_under, further_budgets
from pipeline.evaluation.noise import noisy_log, parse
from pipeline.evaluation.splits import leave_one_out
from pipeline.models.calibration import auroc
from tests.models import synthetic

CONFIG = override(synthetic.CONFIG, "evaluate", {"folds": 2})
QUICK = override(CONFIG, "train", {"epochs": 1, "backbone_epochs": 0})


@pytest.fixture(scope="module")
def noisy(log) -> pl.DataFrame:
    return noisy_log(leave_one_out(log), parse("uniform:0.2"), 0, synthetic.vectors())


@pytest.fixture(scope="module")
def decided(noisy, vectors) -> pl.DataFrame:
    return clean_log(CONFIG, noisy, vectors)


def test_every_row_is_decided_once_in_order(noisy, decided):
    assert decided["row"].equals(noisy["row"])
    told = ["noise_probability", "decision"]
    paper = [f"{name}_iadsr" for name in told]
    assert decided.columns == ["row", *told, "least_budget", *SIGNALS, *paper]
    assert set(decided["decision"]) == {"keep", "remove"}
    assert not decided["decision_iadsr"].equals(decided["decision"], check_names=False)


def test_under_the_configured_budget_the_decision_is_the_models_own(decided):
    budget = CONFIG.decision.false_drop_budget
    asked = override(CONFIG, "decision", {"false_drop_budget": 0.4})
    asked = override(asked, "evaluate", {"budgets": (0.3, budget, 0.0, 0.3, 0.4)})
    assert further_budgets(asked) == (0.0, budget, 0.3)
    told = decide_under(asked, decided)
    assert told[f"decision at {budget}"].equals(told["decision"], check_names=False)
    gone = [(told[f"decision at {b}"] == "remove") for b in (0.0, budget, 0.3)]
    assert gone[0].sum() < gone[1].sum() < gone[2].sum()
    assert (gone[1] <= gone[2]).all()  # what goes under a budget goes under a greater one


def test_what_is_in_doubt_goes_under_no_budget(noisy, vectors):
    few = noisy.filter(pl.col("user_id") < "u0080")
    length = few.select(pl.len().over("user_id")).to_series()
    needed = int(length.median())
    found = clean_log(override(QUICK, "decision", {"min_history": needed}), few, vectors)
    assert (length < needed).any()
    assert found["least_budget"].filter(length < needed).is_null().all()
    assert found["least_budget"].filter(length >= needed).is_not_null().any()


def test_noise_is_found_among_users_that_no_model_was_trained_on(noisy, decided):
    # Noise of the user's own taste cannot be told from what they would take.
    own = noisy["user_id"].str.tail(1).cast(pl.Int64) % 2
    taste = noisy["item_id"].str.strip_prefix("i").cast(pl.Int64) // synthetic.ITEMS
    told = (taste != own) | ~noisy["injected"]
    score = decided["noise_probability"].fill_null(0).filter(told).to_torch()
    assert auroc(score, noisy["injected"].filter(told).to_torch()) > 0.75


def test_what_is_known_of_the_noise_is_not_looked_at(noisy, vectors):
    told = noisy.with_columns(~pl.col("injected"), pl.lit("remove").alias("decision"))
    few = pl.col("user_id") < "u0080"
    plain, other = (clean_log(QUICK, x.filter(few), vectors) for x in (noisy, told))
    assert other.equals(plain)


def test_each_user_is_judged_by_a_model_trained_without_them(noisy, vectors, monkeypatch):
    trained, judged = [], []

    def learn(config, sequences, vectors, scope, prefixes):
        assert scope == "log"
        trained.append(set(sequences["user_id"]))
        return len(trained)

    def judge(learned, frame, vectors):
        judged.append(set(frame["user_id"]))
        assert frame["wanted"].all()
        assert learned == len(judged)
        return frame.select(
            "row", pl.lit(0.5).alias("noise_probability"), pl.lit("keep").alias("decision")
        )

    monkeypatch.setattr(cleaning, "learn", learn)
    monkeypatch.setattr(cleaning, "judge", judge)
    clean_log(override(CONFIG, "evaluate", {"folds": 3}), noisy, vectors)
    users = set(noisy["user_id"])
    assert len(judged) == 3
    assert sum(len(part) for part in judged) == len(users)
    for learned, fold in zip(trained, judged, strict=True):
        assert learned == users - fold
        assert 0.2 < len(fold) / len(users) < 0.5
