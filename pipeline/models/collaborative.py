"""Item factors from who-interacted-with-what: a truncated SVD of the damped user-item matrix.

Independent of order and of the backbone, and kinder to rare items than a likelihood is.
"""

import torch
from torch import Tensor

from pipeline.models.batches import Sequences

POWER_ITERATIONS = 6
# Exponents of the damping: heavy users and popular items weigh less than in the plain counts.
USER_DAMPING = 0.5
ITEM_DAMPING = 0.5


def item_factors(sequences: Sequences, vocabulary: int, rank: int, seed: int) -> Tensor:
    """Factors (V + 1, R), float32, row 0 zero, by randomised subspace iteration.

    Halko, Martinsson, Tropp (2011), algorithm 4.4, on the item side: the leading right singular
    vectors, each scaled by the square root of its singular value.
    """
    users = len(sequences.length_U)
    matrix = _damped(sequences, users, vocabulary)
    draw = torch.Generator().manual_seed(seed)
    rank = min(rank, users, vocabulary)
    basis = torch.randn(vocabulary, rank + 8, generator=draw, dtype=torch.float64)
    for _ in range(POWER_ITERATIONS):
        basis, _ = torch.linalg.qr(matrix.T @ (matrix @ basis))
    _, singular, right = torch.linalg.svd(matrix @ basis, full_matrices=False)
    factor_VR = (basis @ right.T)[:, :rank] * singular[:rank].sqrt()
    return torch.cat([factor_VR.new_zeros(1, factor_VR.shape[1]), factor_VR]).float()


def _damped(sequences: Sequences, users: int, vocabulary: int) -> Tensor:
    known = sequences.item_N > 0
    user_N, item_N = sequences.sequence_N[known], sequences.item_N[known] - 1
    by_user = torch.bincount(user_N, minlength=users).double().clamp(min=1)
    by_item = torch.bincount(item_N, minlength=vocabulary).double().clamp(min=1)
    value_N = by_user[user_N] ** -USER_DAMPING * by_item[item_N] ** -ITEM_DAMPING
    place_2N = torch.stack([user_N, item_N])
    size = (users, vocabulary)
    return torch.sparse_coo_tensor(place_2N, value_N, size, check_invariants=True).coalesce()
