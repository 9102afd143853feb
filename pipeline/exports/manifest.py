"""`manifest.json`: what an export says of itself, and whether a folder is one, and whole.

It tells nothing of when or where the export was made: the same request gives the same bytes.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.storage import files

MANIFEST = "manifest.json"
FORMAT = "iadsr-export/1"  # the manifest's "format"
# While an upload is under way: an export of ours, and not whole.
PLACEHOLDER = json.dumps({"format": FORMAT}).encode()


def read_manifest(folder: str) -> dict[str, Any] | None:
    """The manifest of an export of ours; None: there is none in `folder`."""
    path = files.join(folder, MANIFEST)
    if not files.exists(path):
        return None
    try:
        manifest: Any = json.loads(files.read_bytes(path))
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else None


def write_manifest(folder: Path, told: Mapping[str, Any], rows: Mapping[str, int]) -> None:
    """Say of every file in `folder` how many bytes and, as of `rows`, rows it has; and `told`."""
    described = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        described[name] = {"bytes": path.stat().st_size, "sha256": _flushed_sha256(path)}
        if name in rows:
            described[name]["rows"] = rows[name]
    manifest = {"format": FORMAT, **told, "files": described}
    text = json.dumps(manifest, indent=2, default=str, ensure_ascii=False)
    files.write_bytes(str(folder / MANIFEST), f"{text}\n".encode())


def is_whole(folder: str, run_id: str) -> bool:
    """True if the folder holds what that run writes, every byte of it."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("run_id") != run_id:
        return False
    digests = {files.join(folder, name): of["sha256"] for name, of in manifest["files"].items()}
    return not files.missing(list(digests)) and all(
        _sha256(path) == digest for path, digest in digests.items()
    )


def _flushed_sha256(path: Path) -> str:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256(path: str) -> str:
    store, inner = files.filesystem(path)
    found = hashlib.sha256()
    with store.open_input_stream(inner) as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()
