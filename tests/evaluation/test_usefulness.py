import polars as pl
import pytest

from pipeline.config import RecommenderConfig
from pipeline.evaluation.noise import noisy_log, parse
from pipeline.evaluation.ranking import measure_ranks
from pipeline.evaluation.splits import leave_one_out
from pipeline.evaluation.usefulness import (
    ARMS,
    arms_of,
    dropped_share,
    everything,
    task_of,
)
from tests.evaluation.fakes import counting
from tests.models import synthetic

VECTORS = synthetic.vectors()


@pytest.fixture(scope="module")
def split(log):
    return leave_one_out(log)


@pytest.fixture(scope="module")
def judged(split) -> pl.DataFrame:
    """Injected rows are found but for one in ten, which are kept; some have no probability."""
    log = noisy_log(split, parse("uniform:0.5"), 0, VECTORS)
    found = pl.col("injected") & (pl.col("row") % 10 > 0)
    return log.with_columns(
        pl.when(found).then(pl.lit("remove")).otherwise(pl.lit("keep")).alias("decision"),
        pl.when(pl.col("row") % 10 > 0)
        .then(found.cast(pl.Float64) * 0.75 + 0.125)
        .alias("noise_probability"),
    )


def removed(judged) -> pl.Series:
    return judged["decision"] == "remove"


def unused(used) -> pl.Series:
    return (used["target_weight"] == 0) & ~used["context"]


@pytest.mark.parametrize("name", [n for n in ARMS if n != "iadsr"])
def test_an_arm_speaks_of_every_row(judged, name):
    used = ARMS[name](judged, 0)
    assert used.schema == {
        "user_id": pl.String,
        "item_id": pl.String,
        "target_weight": pl.Float64,
        "context": pl.Boolean,
    }
    assert used.select("user_id", "item_id").equals(judged.select("user_id", "item_id"))
    assert used["target_weight"].is_between(0, 1).all()


def test_cleaned_drops_what_was_removed(judged):
    assert unused(ARMS["cleaned"](judged, 0)).equals(removed(judged), check_names=False)


def test_weighted_learns_by_the_chance_to_be_genuine_and_feeds_all(judged):
    used = ARMS["weighted"](judged, 0)
    assert used["context"].all()
    assert set(used.filter(removed(judged))["target_weight"]) == {0.125}
    assert set(used.filter(judged["noise_probability"].is_null())["target_weight"]) == {1.0}


def test_context_and_target_take_away_one_role(judged):
    gone = removed(judged)
    fed, learned = ARMS["context"](judged, 0), ARMS["target"](judged, 0)
    assert fed["context"].equals(~gone, check_names=False)
    assert (fed["target_weight"] == 1).all()
    assert (learned["target_weight"] == 0).equals(gone, check_names=False)
    assert learned["context"].all()


@pytest.mark.parametrize("name", ["random", "popularity"])
def test_controls_drop_as_many_rows_by_their_seed(judged, name):
    one, again, other = (ARMS[name](judged, seed) for seed in (0, 0, 1))
    assert unused(one).sum() == removed(judged).sum()
    assert one.equals(again)
    assert not one.equals(other)


def test_soft_random_deals_out_the_weights_and_drops_of_soft_by_its_seed(judged):
    soft = ARMS["soft"](judged, 0)
    one, again, other = (ARMS["soft_random"](judged, seed) for seed in (0, 0, 1))
    what = ["target_weight", "context"]
    assert one.select(what).sort(what).equals(soft.select(what).sort(what))
    assert one.equals(again)
    assert not one.equals(other)
    assert not one.equals(soft)


def test_popularity_drops_the_rarest_items_first(judged):
    count = judged.select(pl.len().over("item_id")).to_series()
    gone = unused(ARMS["popularity"](judged, 0))
    assert count.filter(gone).max() <= count.filter(~gone).min()


def test_random_drops_genuine_rows_and_noise_alike(judged):
    gone = unused(ARMS["random"](judged, 0))
    share = judged["injected"].mean()
    assert judged.filter(gone)["injected"].mean() == pytest.approx(share, abs=0.08)


def test_oracle_drops_the_injected_rows(judged):
    used = ARMS["oracle"](judged, 0)
    assert unused(used).equals(judged["injected"], check_names=False)
    assert dropped_share(used) == pytest.approx(judged["injected"].mean())


def test_arms_are_those_that_the_log_can_have(judged, split):
    assert list(arms_of(judged, tuple(ARMS))) == ["noisy", *(n for n in ARMS if n != "iadsr")]
    assert list(arms_of(judged, ("random", "cleaned"))) == ["noisy", "cleaned", "random"]
    told = judged.with_columns(pl.lit("keep").alias("decision_iadsr"))
    assert "iadsr" in arms_of(told, tuple(ARMS))
    assert dropped_share(arms_of(told, tuple(ARMS))["iadsr"](told, 0)) == 0
    raw = noisy_log(split, parse("none"), 0, VECTORS)
    assert list(arms_of(raw, ("cleaned", "oracle"))) == ["raw", "cleaned"]


def test_dropped_rows_are_not_learned_from_but_count_as_seen(judged, split):
    task = task_of(split, judged, ARMS["cleaned"](judged, 0))
    assert task.train.height == judged.height - removed(judged).sum()
    assert task.history.height == judged.height + split.between.height
    assert (~task.history["context"]).sum() == removed(judged).sum()


def test_all_arms_share_vocabulary_labels_and_what_was_seen(judged, split):
    one, two = (task_of(split, judged, ARMS[name](judged, 0)) for name in ("cleaned", "random"))
    assert one.vocabulary.equals(two.vocabulary)
    assert one.targets.equals(two.targets)
    seen = ["user_id", "item_id"]
    assert one.history.select(seen).equals(two.history.select(seen))


def test_history_stays_in_sequence_order_and_ends_with_the_validation_item(judged, split):
    task = task_of(split, judged, everything(judged, 0))
    last = task.history.group_by("user_id", maintain_order=True).last()
    assert last.select("user_id", "item_id").equals(split.validate)


def test_every_target_has_a_rank_or_is_a_miss(judged, split):
    task = task_of(split, judged, everything(judged, 0))

    def lazy(task, config, seed):
        return counting(task, config, seed).tail(5)

    found = measure_ranks(task, RecommenderConfig(), 0, lazy)
    validated, tested = found.partition_by("held_out")[::-1]
    assert validated["user_id"].to_list() == sorted(split.validate["user_id"])
    assert tested["user_id"].to_list() == sorted(split.test["user_id"])
    assert validated["rank"].is_null().all()
    assert tested["rank"].is_not_null().sum() == 5


def test_the_validation_item_is_ranked_by_what_the_arm_reads_before_it(judged, split):
    task = task_of(split, judged, ARMS["cleaned"](judged, 0))
    before = task.validate_history
    assert before.select("user_id", "item_id").equals(judged.select("user_id", "item_id"))
    assert (~before["context"]).equals(removed(judged), check_names=False)  # seen, but not read
    ranks = counting(task, RecommenderConfig(), 0)
    assert set(ranks["held_out"]) == {"validation", "test"}
    assert ranks.filter(pl.col("held_out") == "validation")["rank"].is_not_null().sum() > 100


def test_what_a_lake_delivers_comes_under_each_budget_too(judged):
    told = judged.with_columns(
        pl.when(pl.col("row") % 3 > 0)
        .then(pl.lit("keep"))
        .otherwise(pl.lit("remove"))
        .alias("decision at 0.2")
    )
    arms = arms_of(told, ("cleaned", "random", "soft"), (0.2,))
    assert list(arms) == ["noisy", "cleaned", "cleaned at 0.2", "soft", "soft at 0.2", "random"]
    third = told["decision at 0.2"] == "remove"
    assert unused(arms["cleaned at 0.2"](told, 0)).equals(third, check_names=False)
    assert (~arms["soft at 0.2"](told, 0)["context"]).equals(third, check_names=False)
    assert unused(arms["cleaned"](told, 0)).equals(removed(told), check_names=False)


def test_the_fewer_noise_rows_the_better_the_recommender(log):
    split = leave_one_out(log.filter(pl.col("user_id") < "u0030"))
    noisy = noisy_log(split, parse("uniform:1"), 0, VECTORS)

    def mean_rank(arm) -> float:
        task = task_of(split, noisy, arm(noisy, 0))
        found = measure_ranks(task, RecommenderConfig(), 0, counting)
        return found.filter(pl.col("held_out") == "test")["rank"].mean()

    assert mean_rank(ARMS["oracle"]) < mean_rank(everything)
