"""Training in several processes that `torchrun` started: who am I, and the mean of gradients.

Every process holds the whole model and learns from its share of each batch; after each step all
have the same weights. Without torchrun there is one process, and nothing here does anything.
"""

import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def rank() -> int:
    """Number of this process, from 0; the first one writes what is learned."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share(chosen_B: Tensor) -> Tensor:
    """The windows of a batch that are this process's; all of them if there are too few to share."""
    if len(chosen_B) < processes():
        return chosen_B
    return chosen_B[rank() :: processes()]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Put the mean over all processes in place of each gradient, in one message."""
    if processes() == 1:
        return
    _join()
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat /= processes()
    parts = torch.split(flat, [g.numel() for g in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _join() -> None:
    """Meet the other processes, once: over nccl on GPUs, over gloo without."""
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
