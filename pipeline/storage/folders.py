"""A folder of files that is put in place as a whole, on a local path or S3.

Locally it is made beside its place and renamed; between the two renames that replace an older one,
there is none. On S3 it is made here and uploaded, its `last` file last: who reads that file first
finds all that it names.
"""

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyarrow import fs

from pipeline.errors import ConflictError
from pipeline.storage import files

# A younger one may belong to a run that is still writing.
ABANDONED_AFTER_S = 86_400


def resolve(folder: str) -> str:
    """The folder's full path, links followed; a URI as it is, without a slash at its end."""
    return folder.rstrip("/") if files.is_remote(folder) else str(Path(folder).resolve())


def is_free(folder: str) -> bool:
    """True if nothing is there, or a folder with nothing in it."""
    store, inner = files.filesystem(folder)
    found = store.get_file_info(inner).type
    if found == fs.FileType.Directory:
        return not store.get_file_info(fs.FileSelector(inner))
    return bool(found == fs.FileType.NotFound)


def leftovers(folder: str) -> list[Path]:
    """Local folders beside it: what runs that were killed, or are at work, have written for it."""
    if files.is_remote(folder):
        return []
    return sorted(Path(folder).parent.glob(f".{Path(folder).name}.writing-*"))


@contextmanager
def replacing(folder: str, last: str, placeholder: bytes) -> Iterator[Path]:
    """A new local folder, to be filled; when the body is done, it stands in place of `folder`.

    Parameters
    ----------
    folder : str
        As of `resolve`. What stood there goes.
    last : str
        Name of the file that says what the folder holds.
    placeholder : bytes
        What that file says while an upload is under way.

    Raises
    ------
    ConflictError
        Another run put a folder there at the same moment.
    StoreError
        The disk or the store failed. Locally, what stood there stands.
    """
    with files.in_one_line(folder):
        if files.is_remote(folder):
            with tempfile.TemporaryDirectory() as made:
                yield Path(made)
                _upload(Path(made), folder, last, placeholder)
            return
        for old in leftovers(folder):
            if time.time() - old.stat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(old)
        made_here = _beside(Path(folder))
        made_here.mkdir(parents=True)
        try:
            yield made_here
            _swap(made_here, Path(folder))
        finally:
            shutil.rmtree(made_here, ignore_errors=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.writing-{uuid.uuid4().hex}")


def _swap(made: Path, target: Path) -> None:
    old = _beside(target)
    if target.exists():
        target.rename(old)
    try:
        made.rename(target)
    except OSError as error:
        if target.exists():
            raise ConflictError(
                f"{target}: another run put its own there at the same time ({error.strerror}): "
                "run it again"
            ) from None
        if old.exists():
            old.rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _upload(made: Path, folder: str, last: str, placeholder: bytes) -> None:
    store, inner = files.filesystem(folder)
    files.write_bytes(files.join(folder, last), placeholder)
    names = sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file())
    for name in sorted(names, key=lambda name: name == last):
        fs.copy_files(
            str(made / name),
            f"{inner}/{name}",
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=store,
        )
    for found in store.get_file_info(fs.FileSelector(inner, recursive=True)):
        if found.type == fs.FileType.File and found.path.removeprefix(f"{inner}/") not in names:
            store.delete_file(found.path)
