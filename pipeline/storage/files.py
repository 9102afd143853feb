"""Plain files of the lake (models, staging, catalogue), on a local folder or S3 alike.

A write is atomic: a reader sees the old bytes or the new ones. Tables are `lake.py`'s.
"""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deltalake.exceptions import CommitFailedError, DeltaError
from pyarrow import fs

from pipeline.errors import StoreError, causes

Entry = tuple[str, int, datetime]  # full path, size in bytes, last change


def is_remote(root: str) -> bool:
    """True where `root` is a URI of an object store rather than a local path."""
    return "://" in root


def join(root: str, *parts: str) -> str:
    """The path of `parts` below `root`, with forward slashes."""
    return "/".join([root.rstrip("/"), *parts])


def filesystem(path: str) -> tuple[fs.FileSystem, str]:
    """Pyarrow's filesystem for `path` and the path within it. S3 credentials: environment only."""
    if not is_remote(path):
        return fs.LocalFileSystem(), str(Path(path).absolute())
    if not path.startswith("s3://"):
        return fs.FileSystem.from_uri(path)  # type: ignore[no-any-return]
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.rpartition("://")
    store = fs.S3FileSystem(
        endpoint_override=host or None,
        scheme=scheme or "https",
        region=os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1")),
    )
    return store, path.removeprefix("s3://")


def exists(path: str) -> bool:
    """True if a file or folder is there."""
    store, inner = filesystem(path)
    return bool(store.get_file_info(inner).type != fs.FileType.NotFound)


def missing(paths: list[str]) -> list[str]:
    """Those of the files that are not there."""
    if not paths:
        return []
    store = filesystem(paths[0])[0]
    found = store.get_file_info([filesystem(path)[1] for path in paths])
    return [p for p, f in zip(paths, found, strict=True) if f.type == fs.FileType.NotFound]


def read_bytes(path: str) -> bytes:
    """The file's content. Raises FileNotFoundError."""
    store, inner = filesystem(path)
    with store.open_input_stream(inner) as stream:
        return bytes(stream.read())


@contextmanager
def in_one_line(path: str) -> Iterator[None]:
    """Turn a failure of the store (permissions, disk, network) into one line that names `path`.

    A lost race is none of these: it passes as it is.
    """
    try:
        yield
    except CommitFailedError:
        raise
    except (DeltaError, OSError) as error:
        raise StoreError(
            f"{path}: {causes(error)} "
            "(check lake.path, its permissions, free space and credentials)"
        ) from None


def write_bytes(path: str, content: bytes) -> None:
    """Put `content` at `path` in one step (local: temporary file, fsync, rename; S3: one put)."""
    with in_one_line(path):
        if is_remote(path):
            store, inner = filesystem(path)
            with store.open_output_stream(inner) as stream:
                stream.write(content)
        else:
            _replace(Path(path).absolute(), content)


def _replace(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: what a killed run leaves is searched as what it is (`search.py`).
    temporary = target.with_name(f".{uuid.uuid4().hex}.{target.name}")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def list_files(folder: str) -> list[str]:
    """Full paths of the files directly in `folder`, sorted; empty if there is no such folder.

    Without what writes that were killed have left (a dot is before their names).
    """
    store, inner = filesystem(folder)
    found = store.get_file_info(fs.FileSelector(inner, allow_not_found=True))
    names = sorted(f.base_name for f in found if f.type == fs.FileType.File)
    return [join(folder, name) for name in names if not name.startswith(".")]


def list_folders(folder: str) -> list[str]:
    """Names of the folders directly in `folder`, sorted; empty if there is no such folder."""
    store, inner = filesystem(folder)
    found = store.get_file_info(fs.FileSelector(inner, allow_not_found=True))
    return sorted(f.base_name for f in found if f.type == fs.FileType.Directory)


def age(folder: str) -> timedelta:
    """Time since the newest file in `folder` was written; the longest time if there is none."""
    store, inner = filesystem(folder)
    found = store.get_file_info(fs.FileSelector(inner, allow_not_found=True))
    newest = max((f.mtime for f in found if f.mtime), default=None)
    return datetime.now(UTC) - newest if newest else timedelta.max


def walk(folder: str) -> list[Entry]:
    """Full path, size and last change of each file at any depth below `folder`, by path."""
    store, inner = filesystem(folder)
    found = store.get_file_info(fs.FileSelector(inner, allow_not_found=True, recursive=True))
    return sorted(
        (join(folder, f.path.removeprefix(inner).lstrip("/")), f.size, f.mtime)
        for f in found
        if f.type == fs.FileType.File
    )


def delete(paths: Iterable[str]) -> None:
    """Remove files, one after the other; those that are gone already are passed over."""
    for path in paths:
        store, inner = filesystem(path)
        with in_one_line(path), suppress(FileNotFoundError):
            store.delete_file(inner)


def delete_folder(folder: str) -> None:
    """Remove a folder and all below it, if it is there."""
    if exists(folder):
        store, inner = filesystem(folder)
        store.delete_dir(inner)
