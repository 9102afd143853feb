import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import RecommenderConfig
from pipeline.errors import UserError
from pipeline.evaluation import recommender
from pipeline.evaluation.recommender import accuracy, fit_recommender, ranks
from pipeline.models.backbones import BACKBONES

ITEMS = [f"i{number:02d}" for number in range(12)]
VOCABULARY = pl.DataFrame({"item_id": ITEMS})
QUICK = RecommenderConfig(
    dim=16, hidden=16, dropout=0.0, epochs=12, batch_positions=64, learning_rate=0.02, max_length=4
)


def rows(*users: tuple[str, list[int]], **columns: object) -> pl.DataFrame:
    """One row per item number; by default all are read and predicted."""
    pairs = [(user, ITEMS[number]) for user, numbers in users for number in numbers]
    frame = pl.DataFrame(pairs, schema={"user_id": pl.String, "item_id": pl.String}, orient="row")
    given_columns = {"target_weight": 1.0, "context": True} | columns
    return frame.with_columns(
        pl.Series(name, value) if isinstance(value, list) else pl.lit(value).alias(name)
        for name, value in given_columns.items()
    )


def next_ones(*users: tuple[str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(user, f"i{number:02d}") for user, number in users],
        schema={"user_id": pl.String, "item_id": pl.String},
        orient="row",
    )


# Everyone walks round the circle of items, from a place of their own.
WALKS = [(f"u{start:02d}", [(start + step) % 12 for step in range(7)]) for start in range(12)]
TRAIN = rows(*WALKS)
NEXT = next_ones(*((user, (walk[-1] + 1) % 12) for user, walk in WALKS))


@pytest.fixture(scope="module", params=sorted(BACKBONES))
def fitted(request):
    config = QUICK.model_copy(update={"backbone": request.param})
    return fit_recommender(TRAIN, NEXT, VOCABULARY, config, seed=0)


def test_it_learns_what_comes_next(fitted):
    assert ranks(fitted, TRAIN, NEXT)["rank"].to_list() == [1] * 12


@torch.inference_mode()
def test_ranks_match_a_loop_over_users_and_items(fitted):
    history = rows(("a", [3, 4, 5, 6, 7, 8]), ("b", [1, 9]), ("c", [2]))
    history = history.with_columns(context=~pl.col("item_id").is_in(["i04", "i09"]))
    targets = next_ones(("c", 5), ("new", 3), ("a", 0), ("b", 1))
    found = ranks(fitted, history, targets)
    for user, target, rank in targets.with_columns(found["rank"]).rows():
        own = history.filter(user_id=user)
        read = [ITEMS.index(i) + 1 for i in own.filter("context")["item_id"]][-4:]
        backbone = fitted.backbone
        state = backbone.states(torch.tensor([read]))[0, -1] if read else backbone.empty
        score = {i: float(state @ backbone.items.weight[k + 1]) for k, i in enumerate(ITEMS)}
        rivals = {i for i in ITEMS if i not in own["item_id"]} - {target}
        assert rank == 1 + sum(score[i] >= score[target] for i in rivals)


def test_blocks_and_other_users_change_no_rank(fitted, monkeypatch):
    whole = ranks(fitted, TRAIN, NEXT)
    monkeypatch.setattr(recommender, "SCORES", 1)
    assert ranks(fitted, TRAIN, NEXT).equals(whole)
    alone = pl.concat([ranks(fitted, TRAIN, NEXT[user]) for user in range(NEXT.height)])
    assert alone.equals(whole)


def test_a_target_outside_the_vocabulary_has_no_rank(fitted):
    found = ranks(fitted, TRAIN, next_ones(("u00", 99), ("u01", 8)))
    assert found["rank"].is_null().to_list() == [True, False]
    assert found.schema == {"user_id": pl.String, "rank": pl.Int64}


def test_ties_count_against_the_target(fitted):
    with torch.no_grad():
        kept = fitted.backbone.items.weight.clone()
        fitted.backbone.items.weight.zero_()
        found = ranks(fitted, TRAIN, NEXT)["rank"].to_list()
        fitted.backbone.items.weight.copy_(kept)
    assert found == [12 - 7] * 12


def test_two_trainings_give_equal_weights_and_the_best_epoch_stays():
    config = QUICK.model_copy(update={"epochs": 5, "dropout": 0.3})
    one, two = (fit_recommender(TRAIN, NEXT, VOCABULARY, config, seed=3) for _ in range(2))
    for name, weight in one.backbone.state_dict().items():
        assert torch.equal(weight, two.backbone.state_dict()[name])
    assert len(one.epochs) == config.epochs
    best = one.epochs[one.best_epoch]
    assert best["ndcg"] == max(epoch["ndcg"] for epoch in one.epochs)
    assert accuracy(ranks(one, TRAIN, NEXT)["rank"])["ndcg"] == best["ndcg"]


def test_the_last_tenth_of_the_steps_is_averaged():
    mean = torch.zeros(())  # the first weights are copied, as `AveragedModel` does
    for step in range(1, 1000):
        mean = recommender._average(mean, torch.tensor(float(step)), step)
    assert 900 < mean < 920


walk = st.lists(
    st.tuples(st.integers(0, 11), st.booleans(), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=1,
    max_size=9,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(walk, min_size=1, max_size=5), st.integers(1, 4))
def test_each_target_is_predicted_from_the_context_before_it(walks, max_length):
    """Against a loop: its window is a stretch of the context, and ends just before the target."""
    flat = [(f"u{u}", *row) for u, user in enumerate(walks) for row in user]
    train = pl.DataFrame(flat, schema=["user_id", "item", "context", "target_weight"], orient="row")
    train = train.with_columns(item_id=pl.Series([ITEMS[i] for i in train["item"]]))
    inputs, targets = recommender._training_rows(train, VOCABULARY, max_length)
    found = []
    for window in range(len(targets.cut)):
        start = int(targets.cut.start_W[window])
        _, numbers = targets.of(torch.tensor([window]))
        for number in numbers.tolist():
            place = int(targets.place_T[number])
            read = inputs.item_N[start : start + place].tolist()
            assert place <= int(targets.cut.length_W[window])
            found.append(
                (start, read, int(targets.item_T[number]), float(targets.weight_T[number]))
            )
    wanted, first = [], 0
    for user in walks:
        context = [item + 1 for item, kept, _ in user if kept]
        read = 0
        for item, kept, weight in user:
            if context and weight:
                begin = max(read - 1, 0) // max_length * max_length
                wanted.append((first + begin, context[begin:read], item + 1, weight))
            read += kept
        first += len(context)
    assert sorted(found) == sorted(wanted)


def test_weights_and_context_reach_the_training():
    """The walk back is read by nobody and weighs nothing, so that it teaches nothing."""
    back = rows(*((user, walk[::-1]) for user, walk in WALKS), target_weight=0.0, context=False)
    both = pl.concat([TRAIN, back]).sort("user_id", maintain_order=True)
    one, two = (fit_recommender(t, NEXT, VOCABULARY, QUICK, seed=0) for t in (TRAIN, both))
    for name, weight in one.backbone.state_dict().items():
        assert torch.equal(weight, two.backbone.state_dict()[name])


def test_nothing_to_learn_from_is_one_clear_line():
    with pytest.raises(UserError, match="nothing to judge by"):
        accuracy(pl.Series("rank", [None], dtype=pl.Int64))
    for columns in ({"target_weight": 0.0}, {"context": False}):
        with pytest.raises(UserError, match="no interaction to learn from"):
            fit_recommender(rows(*WALKS, **columns), NEXT, VOCABULARY, QUICK, seed=0)
