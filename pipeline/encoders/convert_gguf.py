"""A GGUF file, turned once into a model folder that vLLM and transformers load alike.

    .venv-vllm/bin/python -I pipeline/encoders/convert_gguf.py MODEL.gguf FOLDER

It runs in the interpreter of vLLM and imports nothing of this package. The weights are written in
float32, as the file's quantized ones come out. Architectures: those that transformers reads from
GGUF (Llama, Qwen2, Qwen3, Mistral, ...).
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read while transformers is imported


def convert(source: Path, folder: Path) -> None:
    """Write the model and its tokenizer into `folder`."""
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    place, file = str(source.parent), source.name
    read: Any = AutoModelForCausalLM.from_pretrained(place, gguf_file=file, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(place, gguf_file=file)
    # A model that was read from GGUF is written as quantized: its weights go into a fresh one.
    known = read.config.to_dict()
    known.pop("quantization_config", None)
    fresh = type(read)(type(read.config).from_dict(known))
    fresh.load_state_dict(read.state_dict())
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Read the two paths and convert."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a file.gguf")
    parser.add_argument("folder", type=Path, help="where the model folder goes; must not exist")
    arguments = parser.parse_args()
    if not arguments.source.is_file():
        sys.exit(f"error: no file at {arguments.source}")
    if arguments.folder.exists():
        sys.exit(f"error: {arguments.folder} is there already: name a new folder")
    convert(arguments.source, arguments.folder)


if __name__ == "__main__":
    main()
