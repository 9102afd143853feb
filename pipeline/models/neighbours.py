"""The items of a user's own history that are nearest to one of them, in each view."""

import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import columns as col
from pipeline.models.batches import encode
from pipeline.models.evidence import SIGNAL_DECIMALS
from pipeline.models.model import Instruments
from pipeline.models.names import SEQUENCE
from pipeline.models.semantic import matrix

NEAREST = 3
SEMANTIC, COLLABORATIVE = "semantic", "collaborative"


def nearest_items(
    tools: Instruments, sequence: pl.DataFrame, vectors: pl.DataFrame, interaction_id: int
) -> dict[str, list[tuple[str, float]]]:
    """View -> up to `NEAREST` other items of the sequence with their cosines, the nearest first.

    Parameters
    ----------
    tools : Instruments
        The text space and the item factors of the model that scored the interaction.
    sequence : pl.DataFrame
        One user's interactions: interaction_id, item_id, and `sequence` (the same in all rows).
    vectors : pl.DataFrame
        Columns item_id and vector of the items that have text.
    interaction_id : int
        One of the sequence's.

    Returns
    -------
    dict
        A view is empty where the item has no text, or is unknown to the model.
    """
    texts = vectors.join(sequence, on=col.ITEM_ID, how="semi")
    text_TP = tools.space.project(matrix(texts).reshape(texts.height, len(tools.space.mean_K)))
    numbers = encode(sequence, SEQUENCE, tools.vocabulary, texts[col.ITEM_ID])
    here = int(sequence[col.INTERACTION_ID].index_of(interaction_id) or 0)
    views = {
        SEMANTIC: text_TP[numbers.text_N],
        COLLABORATIVE: tools.factor_VR.double()[numbers.item_N],
    }
    return {view: _nearest(x_NP, here, sequence[col.ITEM_ID]) for view, x_NP in views.items()}


def _nearest(x_NP: Tensor, here: int, items: pl.Series) -> list[tuple[str, float]]:
    unit_NP = F.normalize(x_NP, dim=-1)
    cosine_N = torch.round(unit_NP @ unit_NP[here], decimals=SIGNAL_DECIMALS)
    there_N = unit_NP.norm(dim=-1) > 0
    found = pl.DataFrame({"item": items, "cosine": cosine_N.numpy(), "there": there_N.numpy()})
    if not there_N[here]:
        return []
    others = found.filter(pl.col("item") != items[here], "there")
    ranked = others.unique("item", keep="any").sort("cosine", "item", descending=[True, False])
    return list(ranked.select("item", "cosine").head(NEAREST).iter_rows())
