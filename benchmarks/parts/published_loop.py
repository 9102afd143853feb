"""The method's training epoch with the structure of the paper's public code, to be timed only.

Batches of 32 users, padded to 31 items; Python loops over users and positions; one text vector for
each *prefix* of each user's sequence, looked up user by user; an output layer over all items, of
which the loss takes the batch's last items only; three cosines for each position, a mask and a
reconstruction for each user. The backbones are ours, but for Caser's convolutions: PyTorch's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.backbone import Backbone
from pipeline.models.caser import REACH, Caser

BATCH_USERS = 32
LENGTH = 31
TEMPERATURE = 0.1


class PublishedLoop:
    """An epoch over some users; `prefix_texts` and the model are made before it is timed."""

    def __init__(self, backbone: Backbone, users: list[Tensor], text_TK: Tensor) -> None:
        width = backbone.items.embedding_dim
        self.backbone = backbone
        self.users = [items[-LENGTH - 1 :] for items in users if len(items) > 1]
        self.short = nn.Linear(text_TK.shape[1], width, bias=False)
        self.long = nn.Linear(text_TK.shape[1], width, bias=False)
        self.output = nn.Linear(width, backbone.items.num_embeddings)
        self.decoder = nn.Linear(width, width)
        self.masks: dict[int, list[float]] = {}
        parts = (backbone, self.short, self.long, self.output, self.decoder)
        self.optimizer = torch.optim.Adam([w for part in parts for w in part.parameters()], lr=1e-3)
        self.prefix_texts = {
            user: [text_TK[items[: t + 1]].mean(dim=0) for t in range(len(items) - 1)]
            for user, items in enumerate(self.users)
        }

    def run(self) -> None:
        """One epoch."""
        for start in range(0, len(self.users), BATCH_USERS):
            loss = self._loss(list(range(start, min(start + BATCH_USERS, len(self.users)))))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()

    def _loss(self, batch: list[int]) -> Tensor:
        lengths = [len(self.users[user]) - 1 for user in batch]
        items = torch.zeros(len(batch), LENGTH, dtype=torch.long)
        for row, user in enumerate(batch):
            items[row, : lengths[row]] = self.users[user][:-1]
        states = published_states(self.backbone, items)
        texts = [self.short(torch.stack(self.prefix_texts[user])) for user in batch]
        wholes = self.long(torch.stack([self.prefix_texts[user][-1] for user in batch]))
        pooled = states.amax(dim=1)
        last = torch.stack([states[row, length - 1] for row, length in enumerate(lengths)])
        logits = torch.tanh(self.output(last))
        wanted = torch.stack([self.users[user][-1] for user in batch])
        loss = F.cross_entropy(logits[:, wanted], torch.arange(len(batch)))
        real = torch.cat([states[row, :length] for row, length in enumerate(lengths)])
        loss = loss + _contrast(real, torch.cat(texts)) + _contrast(pooled, wholes)
        rebuilt = torch.zeros(())
        for row, (user, length) in enumerate(zip(batch, lengths, strict=True)):
            mask = self._mask(states[row, :length], texts[row], pooled[row], wholes[row])
            self.masks[user] = mask.tolist()
            found = self.decoder(states[row, :length] * mask.unsqueeze(-1))
            rebuilt = rebuilt + F.mse_loss(found, self.backbone.items(items[row, :length]))
        return loss + rebuilt / len(batch)

    @staticmethod
    def _mask(states: Tensor, texts: Tensor, pooled: Tensor, whole: Tensor) -> Tensor:
        logits = torch.zeros(len(states))
        for t in range(len(states)):
            logits[t] = (
                F.cosine_similarity(whole, states[t], dim=-1)
                + F.cosine_similarity(pooled, texts[t], dim=-1)
                + F.cosine_similarity(states[t], texts[t], dim=-1)
            )
        soft = torch.sigmoid(logits + torch.logit(torch.rand(len(states)).clamp(1e-6, 1 - 1e-6)))
        return (soft > 0.5).float() + (soft - soft.detach())


def published_states(backbone: Backbone, items: Tensor) -> Tensor:
    """The backbone's states; those of Caser by one convolution of PyTorch for each height."""
    if not isinstance(backbone, Caser):
        return backbone.states(items)
    image = F.pad(backbone.dropout(backbone.items(items)).transpose(1, 2), (REACH - 1, 0))
    across = [
        F.max_pool1d(F.relu(conv(image)), REACH - height, stride=1)
        for height, conv in enumerate(backbone.horizontal)
    ]
    down = backbone.vertical(image.unfold(-1, REACH, 1)).transpose(2, 3).flatten(1, 2)
    found: Tensor = backbone.output(backbone.dropout(torch.cat([*across, down], dim=1).mT))
    return found


def _contrast(a: Tensor, b: Tensor) -> Tensor:
    similarity = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    return F.cross_entropy(similarity / TEMPERATURE, torch.arange(len(a)))
