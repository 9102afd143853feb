"""Fits the aligner: stage one the backbone alone, stage two all losses; the best epoch stays."""

import copy
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipeline.config import ModelConfig, TrainConfig
from pipeline.errors import UserError
from pipeline.models import parallel
from pipeline.models.aligner import Aligner
from pipeline.models.batches import Sequences, buckets, gather, windows
from pipeline.models.losses import Proposal
from pipeline.models.model import new_aligner
from pipeline.progress import progress

TOP = 10
# The mask's temperature falls geometrically from here to `model.gumbel_temperature`.
GUMBEL_START = 2.0
# Of the full ranking: scores of one block, a bound of memory, and sequences, one of time.
SCORES = 10_000_000
RANKED = 10_000


@dataclass
class Fit:
    """The fitted aligner and, per epoch, its losses and validation metrics."""

    aligner: Aligner
    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0


@dataclass(frozen=True)
class Task:
    """What an epoch needs besides the aligner."""

    sequences: Sequences
    text_TP: Tensor
    max_length: int
    config: TrainConfig


def fit_aligner(task: Task, held_out: Sequences, vocabulary: int, model_config: ModelConfig) -> Fit:
    """Train until validation NDCG@10 has not risen for `patience` epochs of stage two.

    Deterministic by `task.config.seed`, on one machine with one number of threads and processes.
    Under `torchrun` each process learns from its share of every batch (`parallel.py`).
    """
    config = task.config
    torch.manual_seed(config.seed)
    draw = torch.Generator().manual_seed(config.seed)
    shuffle = np.random.default_rng(config.seed)
    fit = Fit(new_aligner(vocabulary, model_config))
    optimizer = new_optimizer(fit.aligner, config)
    best, best_state = -1.0, copy.deepcopy(fit.aligner.state_dict())
    with progress(config.epochs, "train", "epochs") as bar:
        for epoch in range(config.epochs):
            tau = None if epoch < config.backbone_epochs else _tau(epoch, config, model_config)
            losses = run_epoch(fit.aligner, optimizer, task, draw, shuffle, tau=tau)
            if not math.isfinite(losses["next_item"]):
                raise UserError(
                    f"the loss of epoch {epoch + 1} is no number: lower train.learning_rate"
                )
            metrics = rank_last(fit.aligner, held_out, task.max_length)
            fit.epochs.append({"epoch": epoch, **losses, **metrics})
            if metrics["ndcg"] > best or epoch == config.backbone_epochs:
                best, fit.best_epoch = metrics["ndcg"], epoch
                best_state = copy.deepcopy(fit.aligner.state_dict())
            bar.update(1)
            if epoch >= config.backbone_epochs and epoch - fit.best_epoch >= config.patience:
                break
    fit.aligner.load_state_dict(best_state)
    fit.aligner.eval()
    return fit


def new_optimizer(aligner: Aligner, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over all weights."""
    return torch.optim.AdamW(
        aligner.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )


def run_epoch(
    aligner: Aligner,
    optimizer: torch.optim.Optimizer,
    task: Task,
    draw: torch.Generator,
    shuffle: np.random.Generator,
    *,
    tau: float | None = None,
) -> dict[str, float]:
    """One pass over all windows; `tau` None is stage one. Returns the mean of each loss."""
    aligner.train()
    count_V = torch.bincount(task.sequences.item_N, minlength=aligner.backbone.items.num_embeddings)
    proposal = Proposal(count_V[1:], task.config)
    cut = windows(task.sequences.length_U, task.max_length, 1)
    totals: dict[str, Tensor] = {}
    steps = 0
    for chosen_B in buckets(cut, task.config.batch_positions, shuffle):
        batch = gather(task.sequences, cut, parallel.share(chosen_B))
        negatives = proposal.draw(draw)
        if tau is None:
            losses = {"next_item": aligner.backbone_loss(batch, negatives)}
            loss = losses["next_item"]
        else:
            losses = aligner.losses(batch, task.text_TP, negatives, tau, draw)
            loss = aligner.objective(losses)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parallel.average_gradients(aligner.parameters())
        optimizer.step()
        for name, value in losses.items():
            totals[name] = totals.get(name, torch.zeros(())) + value.detach()
        steps += 1
    return {name: float(total) / max(steps, 1) for name, total in totals.items()}


@torch.inference_mode()
def rank_last(aligner: Aligner, sequences: Sequences, max_length: int) -> dict[str, float]:
    """HR@10 and NDCG@10 of each sequence's last item, ranked among all items; 0 without any.

    Of more than `RANKED` sequences, some. Those of one item, or whose last item is unknown, are
    left out; ties count against us, and so does a score that is no number.
    """
    aligner.eval()
    cut = windows(sequences.length_U, max_length, 1)
    last = torch.cumsum(sequences.length_U, 0) - 1
    ends = torch.isin(cut.start_W + cut.length_W - 1, last) & (cut.length_W > 1)
    ends &= sequences.item_N[cut.start_W + cut.length_W - 1] > 0
    ranks = []
    ranked_W = torch.nonzero(ends)[:, 0]
    ranked_W = ranked_W[:: max(math.ceil(len(ranked_W) / RANKED), 1)]
    rows = max(SCORES // aligner.backbone.items.num_embeddings, 1)
    for chosen_B in torch.split(ranked_W, rows) if len(ranked_W) else ():
        batch = gather(sequences, cut, chosen_B)
        row_B, last_B = torch.arange(len(chosen_B)), batch.mask_BL.sum(dim=1) - 1
        state_BD = aligner.backbone.states(batch.item_BL)[row_B, last_B - 1]
        score_BV = state_BD @ aligner.backbone.items.weight[1:].T
        own_B = score_BV.gather(1, batch.item_BL[row_B, last_B].unsqueeze(-1) - 1)
        ranks.append((~(score_BV < own_B)).sum(dim=1))
    rank_N = torch.cat(ranks).double() if ranks else torch.full((1,), torch.inf).double()
    hit_N = rank_N <= TOP
    gain_N = torch.where(hit_N, 1 / torch.log2(rank_N + 1), 0)
    return {"hit_rate": float(hit_N.double().mean()), "ndcg": float(gain_N.mean())}


def _tau(epoch: int, config: TrainConfig, model_config: ModelConfig) -> float:
    stage_two = max(config.epochs - config.backbone_epochs - 1, 1)
    done = (epoch - config.backbone_epochs) / stage_two
    ratio = model_config.gumbel_temperature / GUMBEL_START
    return float(GUMBEL_START * ratio**done)
