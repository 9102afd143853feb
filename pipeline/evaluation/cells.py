"""Finished pieces of an evaluation, each a file named by a digest of all that it depends on.

A piece is content-addressed: where nothing that it rests on has changed, it is not made again.
"""

import ast
import hashlib
import io
import time
from collections.abc import Callable, Iterator
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
# Packages whose code can change a cell.
JUDGING = ("pipeline.models", "pipeline.evaluation")


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


def code_digest(module: str) -> str:
    """Digest of what a module and all that it imports of `JUDGING` do.

    Comments, docstrings and layout do not count. Settings do not either: they are told apart.

    Parameters
    ----------
    module : str
        Name of a module of `pipeline`, for example "pipeline.evaluation.cleaning".
    """
    told: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if name in told or file is None:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        waiting += [found for found in _imported(tree) if found.startswith(JUDGING)]
        told[name] = _meaning(tree)
    return digest(told, 16)


def _file(module: str) -> Path | None:
    path = Path(pipeline.__file__).parent.joinpath(*module.split(".")[1:])
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _meaning(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
