"""The semantic space: text vectors centred on the catalogue and projected, once per item.

Sentence encoders give every title a large common part; without it, cosines tell far more.
"""

from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from pipeline import columns as col


@dataclass(frozen=True)
class SemanticSpace:
    """x -> (x - mean) @ components, fixed when the model is trained."""

    mean_K: Tensor
    components_KP: Tensor

    def project(self, vector_TK: Tensor) -> Tensor:
        """Table (T + 1, P), float64; row 0, of items without text, is zero."""
        centred_TK = vector_TK.double() - self.mean_K.double()
        text_TP = centred_TK @ self.components_KP.double()
        return torch.cat([text_TP.new_zeros(1, text_TP.shape[1]), text_TP])


def fit_space(vector_TK: Tensor, dim: int, wide: int) -> SemanticSpace:
    """Mean and `wide` leading principal components of the catalogue's vectors.

    Scaled so that the first `dim`, which models are trained on, have unit length on average; with
    fewer dimensions to be had, the rest are zero.
    """
    x_TK = vector_TK.double()
    mean_K = x_TK.mean(dim=0)
    centred_TK = x_TK - mean_K
    _, basis_KK = torch.linalg.eigh(centred_TK.T @ centred_TK)
    leading_KP = basis_KK.flip(dims=[1])[:, :wide]
    scale = (centred_TK @ leading_KP[:, :dim]).norm(dim=1).mean().clamp(min=1e-12)
    components_KP = torch.zeros(x_TK.shape[1], wide, dtype=torch.float64)
    components_KP[:, : leading_KP.shape[1]] = leading_KP / scale
    return SemanticSpace(mean_K.float(), components_KP.float())


def matrix(vectors: pl.DataFrame) -> Tensor:
    """The column `vector` (list or array of float32) as (T, K)."""
    column = vectors[col.VECTOR]
    width = len(column[0]) if len(column) else 0
    array = column.cast(pl.Array(pl.Float32, width)).to_numpy()
    return torch.from_numpy(array.reshape(len(column), width).copy())
