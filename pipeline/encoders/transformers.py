"""Text to vectors with plain transformers on the CPU.

Legend of the shapes: B texts of a batch, T tokens, D dimensions.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import EncoderConfig
from pipeline.encoders import Encoded, Encoder
from pipeline.encoders.folder import find, identify
from pipeline.errors import ConfigError
from pipeline.progress import Progress

os.environ["HF_HUB_OFFLINE"] = "1"  # read while transformers is imported

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging


class TransformersEncoder:
    """A model folder, loaded."""

    def __init__(self, config: EncoderConfig) -> None:
        folder = find(config.model)
        folder.verify()
        self.config = config
        self.dim = identify(config).dim
        path = str(folder.path)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        if not self._tokenizer.is_fast:
            raise ConfigError(f"{folder.path} holds no tokenizer.json: save a fast tokenizer there")
        self._model: Any = AutoModel.from_pretrained(
            path, dtype=getattr(torch, config.dtype), local_files_only=True, use_safetensors=True
        ).eval()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], progress: Progress) -> Encoded:
        """Embed the texts, batched by length; see `Encoder`."""
        tokens, truncated = self._tokenize(texts)
        lengths = np.array([len(ids) for ids in tokens])
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows in batches(lengths, self.config.batch_tokens):
            vectors[rows] = self._embed([tokens[row] for row in rows]).numpy()
            progress.update(len(rows))
        return Encoded(vectors, truncated)

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        encodings = self._tokenizer(
            [self.config.prompt + text for text in texts],
            truncation=True,
            max_length=self.config.max_tokens,
            return_token_type_ids=False,
            return_attention_mask=False,
        ).encodings
        return [e.ids for e in encodings], sum(bool(e.overflowing) for e in encodings)

    def _embed(self, tokens: list[list[int]]) -> Tensor:
        pad = self._tokenizer.pad_token_id or 0
        ids_BT = pad_sequence([torch.tensor(ids) for ids in tokens], True, float(pad))
        lengths_B = torch.tensor([len(ids) for ids in tokens])
        mask_BT = torch.arange(ids_BT.shape[1]) < lengths_B[:, None]
        hidden_BTD = self._model(input_ids=ids_BT, attention_mask=mask_BT.long()).last_hidden_state
        vector_BD = pool(hidden_BTD.float(), mask_BT, self.config.pooling)[:, : self.dim]
        return torch.nn.functional.normalize(vector_BD, dim=-1)


@contextmanager
def load(config: EncoderConfig) -> Iterator[Encoder]:
    """Context of a loaded model."""
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    yield TransformersEncoder(config)


def batches(lengths: NDArray[np.int64], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Positions of the texts, longest first, in batches of at most `batch_tokens` padded tokens.

    A text longer than that makes a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def pool(hidden_BTD: Tensor, mask_BT: Tensor, pooling: str) -> Tensor:
    """One vector a text, from its real tokens only."""
    if pooling == "cls":
        return hidden_BTD[:, 0]
    lengths_B = mask_BT.sum(dim=1)
    if pooling == "last":
        return hidden_BTD[torch.arange(len(hidden_BTD)), (lengths_B - 1).clamp(min=0)]
    summed_BD = (hidden_BTD * mask_BT[:, :, None]).sum(dim=1)
    return summed_BD / lengths_B.clamp(min=1)[:, None]
