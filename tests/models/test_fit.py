from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import synthetic
import torch
from safetensors.torch import save

from pipeline.config import TrainConfig
from pipeline.errors import UserError
from pipeline.models import fit
from pipeline.models.backbones import BACKBONES
from pipeline.models.batches import Sequences
from pipeline.models.fit import Task, fit_aligner, new_optimizer, rank_last, run_epoch
from pipeline.models.model import new_aligner
from pipeline.models.training import fit_model, held_out

SETTINGS = synthetic.CONFIG.model


def task(lengths: list[int], **changes: int) -> Task:
    draw = torch.Generator().manual_seed(1)
    item_N = torch.randint(1, 21, (sum(lengths),), generator=draw)
    text_TP = torch.randn(21, SETTINGS.semantic_dim, generator=draw)
    text_TP[0] = 0
    config = TrainConfig(negatives=8, batch_positions=64, learning_rate=0.01, **changes)
    return Task(Sequences(item_N, item_N, torch.tensor(lengths)), text_TP, 10, config)


def test_two_trainings_give_equal_bytes(log, vectors):
    few = log.filter(pl.col("user_id") < "u0080")
    quick = synthetic.CONFIG.train.model_copy(update={"epochs": 3, "backbone_epochs": 1})
    config = synthetic.CONFIG.model_copy(update={"train": quick})
    weights = [save(fit_model(config, few, vectors, {}).tensors()) for _ in range(2)]
    assert weights[0] == weights[1]


def test_the_best_epoch_is_restored():
    work = task([8] * 20, epochs=6, backbone_epochs=1, patience=2)
    fit = fit_aligner(work, work.sequences, 20, SETTINGS)
    stage_two = {e["epoch"]: e["ndcg"] for e in fit.epochs if e["epoch"] >= 1}
    assert stage_two[fit.best_epoch] == max(stage_two.values())
    assert rank_last(fit.aligner, work.sequences, 10)["ndcg"] == stage_two[fit.best_epoch]


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
@pytest.mark.parametrize("softmax", ["sampled", "full"])
def test_every_backbone_learns_a_walk_round_the_items(backbone, softmax):
    walks = (torch.arange(20).unsqueeze(-1) + torch.arange(9)) % 20 + 1
    work = task([9] * 20, epochs=12, backbone_epochs=4, patience=12)
    settings = SETTINGS.model_copy(update={"backbone": backbone})
    train = work.config.model_copy(update={"softmax": softmax, "negatives": 8})
    walked = Sequences(walks.flatten(), walks.flatten(), work.sequences.length_U)
    work = Task(walked, work.text_TP, 10, train)
    fit = fit_aligner(work, walked, 20, settings)
    assert fit.epochs[fit.best_epoch]["ndcg"] > 0.7  # by chance: 0.23


def test_stage_one_leaves_the_semantic_maps_alone():
    work, torch_seed = task([8] * 20), torch.Generator().manual_seed(0)
    aligner = new_aligner(20, SETTINGS)
    before = aligner.short.weight.detach().clone()
    optimizer = new_optimizer(aligner, work.config)
    run_epoch(aligner, optimizer, work, torch_seed, np.random.default_rng(0))
    assert torch.equal(aligner.short.weight, before)
    run_epoch(aligner, optimizer, work, torch_seed, np.random.default_rng(0), tau=1.0)
    assert not torch.equal(aligner.short.weight, before)


def test_a_perfect_recommender_ranks_the_last_item_first():
    aligner = new_aligner(20, SETTINGS)
    sequences = Sequences(torch.tensor([3, 5]), torch.tensor([0, 0]), torch.tensor([2]))
    with torch.no_grad():
        aligner.backbone.items.weight.zero_()
        aligner.backbone.output.bias.fill_(1.0)
        aligner.backbone.items.weight[5] = 9.0
    assert rank_last(aligner, sequences, 10) == {"hit_rate": 1.0, "ndcg": 1.0}


def test_ties_count_against_the_recommender():
    aligner = new_aligner(20, SETTINGS)
    sequences = Sequences(torch.tensor([3, 5]), torch.tensor([0, 0]), torch.tensor([2]))
    with torch.no_grad():
        aligner.backbone.items.weight.zero_()
    assert rank_last(aligner, sequences, 10)["hit_rate"] == 0.0


def test_no_number_is_no_good_score_and_nothing_to_rank_is_no_score():
    aligner = new_aligner(20, SETTINGS)
    sequences = Sequences(torch.tensor([3, 5]), torch.tensor([0, 0]), torch.tensor([2]))
    with torch.no_grad():
        aligner.backbone.items.weight[3:] = torch.nan
    assert rank_last(aligner, sequences, 10) == {"hit_rate": 0.0, "ndcg": 0.0}
    alone = Sequences(torch.tensor([3, 5]), torch.tensor([0, 0]), torch.tensor([1, 1]))
    assert rank_last(aligner, alone, 10) == {"hit_rate": 0.0, "ndcg": 0.0}


def test_a_training_that_diverges_says_what_to_lower():
    work = task([5] * 40)
    wild = replace(work, config=work.config.model_copy(update={"learning_rate": 1e30}))
    with pytest.raises(UserError, match=r"lower train\.learning_rate"):
        fit_aligner(wild, work.sequences, 20, SETTINGS)


def test_of_many_sequences_some_are_ranked(monkeypatch):
    aligner, work = new_aligner(20, SETTINGS), task([5] * 40)
    whole = rank_last(aligner, work.sequences, 10)
    monkeypatch.setattr(fit, "SCORES", 1)
    assert rank_last(aligner, work.sequences, 10) == whole
    monkeypatch.setattr(fit, "RANKED", 20)
    every_other = [n for n in range(0, 40, 2) for n in range(5 * n, 5 * n + 5)]
    some = Sequences(
        *(x[every_other] for x in (work.sequences.item_N, work.sequences.text_N)),
        torch.tensor([5] * 20),
    )
    assert rank_last(aligner, work.sequences, 10) == pytest.approx(rank_last(aligner, some, 10))


def test_held_out_users_do_not_depend_on_the_others(log):
    users = log.select("user_id").unique()
    few = users.filter(pl.col("user_id") < "u0050")
    chosen = users.filter(held_out(pl.col("user_id"), 0.4))
    assert chosen.height == pytest.approx(0.4 * users.height, rel=0.3)
    again = few.filter(held_out(pl.col("user_id"), 0.4))
    assert set(again["user_id"]) == set(chosen["user_id"]) & set(few["user_id"])
