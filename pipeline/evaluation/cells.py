"""Finished pieces of an evaluation, each a file named by a digest of all that it depends on.

A piece is content-addressed: where nothing that it rests on has changed, it is not made again.
"""

import ast
import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

import pipeline
from pipeline.digests import digest
from pipeline.hashing import stable_hash
from pipeline.progress import logger
from pipeline.storage import files

FOLDER = "cells"


@dataclass
class Cells:
    """The cells below one folder (local or S3), and how many were found there or made."""

    folder: str
    found: int = 0
    made: int = 0

    def get(
        self, kind: str, label: str, rests_on: dict[str, Any], make: Callable[[], pl.DataFrame]
    ) -> pl.DataFrame:
        """The cell's frame: read where it is there, else made and written in one step."""
        name = f"{kind}-{digest(rests_on, 16)}.parquet"
        path = files.join(self.folder, FOLDER, name)
        if files.exists(path):
            self.found += 1
            logger.info("%s of %s: there already", kind, label)
            return pl.read_parquet(io.BytesIO(files.read_bytes(path)))
        clock = time.monotonic()
        frame = make()
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        files.write_bytes(path, buffer.getvalue())
        self.made += 1
        logger.info("%s of %s: %.1f s", kind, label, time.monotonic() - clock)
        return frame


def fingerprint(*frames: pl.DataFrame) -> str:
    """Digest of the frames' columns, values and order (arrays hold numbers without nulls)."""
    found = hashlib.sha256()
    for frame in frames:
        found.update(repr(list(frame.schema.items())).encode())
        arrays = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Array)]
        plain = [pl.col(name) for name in frame.columns if name not in arrays]
        if plain:
            found.update(frame.select(stable_hash(*plain)).to_series().to_numpy().tobytes())
        for name in arrays:  # vectors: their bytes, without a detour over text
            found.update(frame[name].to_numpy().tobytes())
    return found.hexdigest()[:16]


def code_digest(*parts: str) -> str:
    """Digest of what some modules do; comments, docstrings and layout do not count.

    Parameters
    ----------
    parts : str
        Modules ("evaluation/cleaning.py") or packages ("models") of `pipeline`.
    """
    root = Path(pipeline.__file__).parent
    modules = sorted(
        module
        for part in parts
        for module in ([root / part] if part.endswith(".py") else (root / part).rglob("*.py"))
    )
    told = {str(m.relative_to(root)): _meaning(m.read_text(encoding="utf-8")) for m in modules}
    return digest(told, 16)


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
