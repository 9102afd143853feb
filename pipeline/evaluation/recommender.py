"""A backbone trained alone on one table, as the judge of what cleaning did to it.

Nothing of the aligner is here: no text, no mask, no other loss than the next item's.
"""

import copy
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from pipeline import columns as col
from pipeline.config import RecommenderConfig
from pipeline.errors import UserError
from pipeline.hashing import stable_hash
from pipeline.models.backbone import Backbone
from pipeline.models.backbones import build
from pipeline.models.batches import Sequences, Windows, buckets, gather, number_items, windows
from pipeline.models.losses import Proposal, masked_mean, next_item_loss
from pipeline.progress import progress

CONTEXT = "context"
TARGET_WEIGHT = "target_weight"
RANK = "rank"
TOP = 10
DECAY = 9  # of the averaging
# Scores of one block of the full ranking: a bound of memory.
SCORES = 2**23


@dataclass(frozen=True)
class FittedRecommender:
    """The backbone of the best epoch, in evaluation mode, and the story of its training."""

    config: RecommenderConfig
    vocabulary: pl.DataFrame
    backbone: Backbone
    epochs: list[dict[str, float]] = field(default_factory=list)  # loss, hit_rate, ndcg
    best_epoch: int = 0


@dataclass(frozen=True)
class _Targets:
    """What is to be predicted, sorted by the window of the context just before it."""

    cut: Windows  # of the context, without empty ones
    item_T: Tensor
    weight_T: Tensor
    place_T: Tensor  # how many items of its window the model has read by then
    first_W: Tensor  # number of the window's first target
    count_W: Tensor

    def of(self, chosen_B: Tensor) -> tuple[Tensor, Tensor]:
        """Row in the batch, and number, of each target of the chosen windows."""
        return _ranges(self.first_W[chosen_B], self.count_W[chosen_B])


def fit_recommender(
    train: pl.DataFrame,
    validate: pl.DataFrame,
    vocabulary: pl.DataFrame,
    config: RecommenderConfig,
    seed: int,
) -> FittedRecommender:
    """Train for `epochs`, and keep the averaged weights of the best epoch.

    Averaged are the weights after each step, the late ones most (polynomial decay, Shamir and Zhang
    2013): single epochs differ by more than a cleaning can change. The best epoch is that of the
    highest NDCG@10 on the validation items; none is left out, as where to stop early is chance.

    Parameters
    ----------
    train : pl.DataFrame
        Sorted by user and, within a user, in sequence order: user_id, item_id, target_weight
        (f64, the row's weight in the next-item loss; 0: never a target), context (bool; False:
        the model does not read the item, and may only have to predict it). Users without any
        context are not learned from.
    validate : pl.DataFrame
        user_id, item_id: the held-out next item, one row per user; of more than `validate_users`,
        so many are looked at, chosen by a hash of their name.
    vocabulary : pl.DataFrame
        item_id, each once: what is ranked. Other items are read as unknown, and never predicted.
    config : RecommenderConfig
        The backbone and how it is trained.
    seed : int
        Equal seeds give equal weights, on one machine with one number of threads.

    Raises
    ------
    UserError
        There is nothing to predict, in `train` or in `validate`.
    """
    inputs, targets = _training_rows(train, vocabulary, config.max_length)
    if not len(targets.item_T):
        raise UserError("no interaction to learn from: every target weight is 0, or no context is")
    torch.manual_seed(seed)
    draw, shuffle = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    fitted = FittedRecommender(config, vocabulary, build(vocabulary.height, config))
    optimizer = torch.optim.AdamW(
        fitted.backbone.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
    averaged = AveragedModel(fitted.backbone, avg_fn=_average)
    optimizer.register_step_post_hook(lambda *_: averaged.update_parameters(fitted.backbone))
    judged = replace(fitted, backbone=cast("Backbone", averaged.module).eval())
    count_V = torch.bincount(targets.item_T, targets.weight_T, minlength=vocabulary.height + 1)
    proposal = Proposal(count_V[1:], config)
    some = validate.sort(stable_hash(pl.col(col.USER_ID))).head(config.validate_users)
    best, best_epoch, best_state = -1.0, 0, copy.deepcopy(judged.backbone.state_dict())
    with progress(config.epochs, f"train {config.backbone}", "epochs") as bar:
        for epoch in range(config.epochs):
            loss = _epoch(fitted, optimizer, inputs, targets, proposal, draw=draw, shuffle=shuffle)
            metrics = accuracy(ranks(judged, train, some)[RANK])
            judged.epochs.append({"epoch": epoch, "loss": loss, **metrics})
            bar.update(1)
            if metrics["ndcg"] > best:
                best, best_epoch = metrics["ndcg"], epoch
                best_state = copy.deepcopy(judged.backbone.state_dict())
    judged.backbone.load_state_dict(best_state)
    return replace(judged, best_epoch=best_epoch)


def _average(mean: Tensor, x: Tensor, steps: Tensor | int) -> Tensor:
    """The mean of the weights so far with those of one step more: about the last tenth counts."""
    return torch.lerp(mean, x, float((DECAY + 1) / (steps + 1 + DECAY)))


def _epoch(
    fitted: FittedRecommender,
    optimizer: torch.optim.Optimizer,
    inputs: Sequences,
    targets: _Targets,
    proposal: Proposal,
    *,
    draw: torch.Generator,
    shuffle: np.random.Generator,
) -> float:
    """One pass over all windows; the mean loss of its batches."""
    backbone = fitted.backbone.train()
    total, steps = torch.zeros(()), 0
    for chosen_B in buckets(targets.cut, fitted.config.batch_positions, shuffle):
        row_T, number_T = targets.of(chosen_B)
        if not len(row_T):
            continue
        batch = gather(inputs, targets.cut, chosen_B)
        c_BLD = backbone.states(batch.item_BL)
        state_TD = _after(backbone, c_BLD, row_T, targets.place_T[number_T])
        item_T, weight_T = targets.item_T[number_T], targets.weight_T[number_T]
        loss_T = next_item_loss(backbone, state_TD, item_T, proposal.draw(draw))
        loss = masked_mean(loss_T, weight_T.to(loss_T.dtype))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach()
        steps += 1
    return float(total) / max(steps, 1)


def _after(backbone: Backbone, c_BLD: Tensor, row_T: Tensor, place_T: Tensor) -> Tensor:
    """State (T, D) of a row after its first `place` items."""
    empty_B1D = backbone.empty.expand(c_BLD.shape[0], 1, -1)
    return torch.cat([empty_B1D, c_BLD], dim=1)[row_T, place_T]


def _training_rows(
    train: pl.DataFrame, vocabulary: pl.DataFrame, max_length: int
) -> tuple[Sequences, _Targets]:
    """The context as sequences, and the targets by the window that they are predicted in."""
    item_N = number_items(train, vocabulary.select(col.ITEM_ID))
    user_N = torch.tensor(train[col.USER_ID].rle_id().cast(pl.Int64).to_numpy())
    context_N = torch.tensor(train[CONTEXT].to_numpy())
    weight_N = torch.tensor(train[TARGET_WEIGHT].to_numpy())
    length_U = torch.bincount(user_N[context_N])
    length_U = length_U[length_U > 0]
    cut = windows(length_U, max_length, 0)
    before_N = context_N.cumsum(0) - context_N.long()  # context rows before the row, of all users
    has_N = torch.isin(user_N, user_N[context_N])
    target_N = (weight_N > 0) & (item_N > 0) & has_N
    first_U = torch.zeros(int(user_N.max()) + 1 if len(user_N) else 0, dtype=torch.long)
    first_U.scatter_reduce_(0, user_N, before_N, "amin", include_self=False)
    started_N = (before_N > first_U[user_N]).long()
    last_T = (before_N - started_N)[target_N]  # the item just read; the user's first, if none is
    window_T = torch.searchsorted(cut.start_W, last_T, right=True) - 1
    place_T = last_T - cut.start_W[window_T] + started_N[target_N]
    count_W = torch.bincount(window_T, minlength=len(cut))
    targets = _Targets(
        cut=cut,
        item_T=item_N[target_N],
        weight_T=weight_N[target_N],
        place_T=place_T,
        first_W=count_W.cumsum(0) - count_W,
        count_W=count_W,
    )
    read_C = item_N[context_N]
    return Sequences(read_C, torch.zeros_like(read_C), length_U), targets


@torch.inference_mode()
def ranks(fitted: FittedRecommender, history: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    """Rank of each user's target among all items of the vocabulary but those in the history.

    Parameters
    ----------
    fitted : FittedRecommender
        As `fit_recommender` gives it.
    history : pl.DataFrame
        user_id, item_id, context, sorted like `train`; of the context the last `max_length`
        items are read; what is no context is left out of the ranking, too. Users without any are
        ranked for by the state before the first item.
    targets : pl.DataFrame
        user_id, item_id: one row per user.

    Returns
    -------
    pl.DataFrame
        user_id and rank (i64), in the order of `targets`: 1 is first, ties count against us;
        null where the vocabulary lacks the target.
    """
    fitted.backbone.eval()
    known = fitted.vocabulary.select(col.ITEM_ID)
    users = targets.select(col.USER_ID).with_row_index("number")
    rows = history.join(users, on=col.USER_ID, maintain_order="left").sort(
        "number", maintain_order=True
    )
    target_U = number_items(targets, known)
    read = _Histories.of(rows.filter(CONTEXT), known, len(target_U))
    seen = _Histories.of(rows, known, len(target_U))
    rank_U = torch.zeros(len(target_U), dtype=torch.long)
    chosen_U = torch.nonzero(target_U)[:, 0]
    chosen_U = chosen_U[read.length_U[chosen_U].argsort(stable=True)]
    for user_B in torch.split(chosen_U, max(SCORES // known.height, 1)):
        state_BD = _last_states(fitted, read, user_B)
        score_BV = state_BD @ fitted.backbone.items.weight.T
        own_B1 = score_BV.gather(1, target_U[user_B].unsqueeze(-1))
        score_BV[:, 0] = -torch.inf
        row_H, place_H = seen.rows(user_B)
        score_BV[row_H, seen.item_N[place_H]] = -torch.inf
        score_BV.scatter_(1, target_U[user_B].unsqueeze(-1), own_B1)  # also one that was seen
        rank_U[user_B] = (score_BV >= own_B1).sum(dim=1)
    rank = pl.Series(RANK, rank_U.numpy())
    return targets.select(col.USER_ID, rank.replace(0, None))


@dataclass(frozen=True)
class _Histories:
    """Items of U users, one after the other, in the order of the targets."""

    item_N: Tensor
    length_U: Tensor
    first_U: Tensor

    @classmethod
    def of(cls, rows: pl.DataFrame, known: pl.DataFrame, users: int) -> "_Histories":
        """From rows that are sorted by `number`, the user's."""
        number_N = torch.tensor(rows["number"].cast(pl.Int64).to_numpy())
        length_U = torch.bincount(number_N, minlength=users)
        return cls(number_items(rows, known), length_U, length_U.cumsum(0) - length_U)

    def rows(self, user_B: Tensor) -> tuple[Tensor, Tensor]:
        """Row in the block, and place in `item_N`, of each item of the users."""
        return _ranges(self.first_U[user_B], self.length_U[user_B])


def _last_states(fitted: FittedRecommender, read: _Histories, user_B: Tensor) -> Tensor:
    """State (B, D) after the last item of each user's context."""
    state_BD = fitted.backbone.empty.repeat(len(user_B), 1)
    row_C = torch.nonzero(read.length_U[user_B])[:, 0]
    if len(row_C):
        user_C = user_B[row_C]
        length_C = read.length_U[user_C].clamp(max=fitted.config.max_length)
        start_C = read.first_U[user_C] + read.length_U[user_C] - length_C
        items = Sequences(read.item_N, torch.zeros_like(read.item_N), read.length_U)
        cut = Windows(start_C, length_C, torch.zeros_like(length_C))
        batch = gather(items, cut, torch.arange(len(row_C)))
        c_CLD = fitted.backbone.states(batch.item_BL)
        state_BD[row_C] = c_CLD[torch.arange(len(row_C)), length_C - 1]
    return state_BD


def accuracy(rank: pl.Series) -> dict[str, float]:
    """HR@10 and NDCG@10 over the targets that have a rank.

    Raises
    ------
    UserError
        No target has one.
    """
    known = rank.drop_nulls().to_numpy().astype(np.float64)
    if not len(known):
        raise UserError("none of the held-out items is in the vocabulary: nothing to judge by")
    hit = known <= TOP
    gain = np.where(hit, 1 / np.log2(known + 1), 0.0)
    return {"hit_rate": float(hit.mean()), "ndcg": float(gain.mean())}


def _ranges(first_B: Tensor, count_B: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers first..first + count - 1 of each row, and the row of each."""
    row_N = torch.repeat_interleave(torch.arange(len(count_B)), count_B)
    offset_B = first_B - (count_B.cumsum(0) - count_B)
    return row_N, offset_B[row_N] + torch.arange(len(row_N))
