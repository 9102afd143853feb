"""Which files a configured path means: a file, a glob, a folder, or a path with `{date}`."""

import difflib
import glob
import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

from pyarrow import fs

from pipeline.errors import SourceError
from pipeline.progress import logger
from pipeline.storage import files

_DATE = re.compile(r"\{date(?::([^{}]*))?\}")
_MAGIC = re.compile(r"[*?\[]")
_HIDDEN = (".", "_")  # first letters
_LOST = "lost+found"  # at the root of a volume, for root alone


def find_files(
    path: str, day: date | None = None, suffixes: tuple[str, ...] | None = None
) -> list[str]:
    """The files of a source, sorted.

    Parameters
    ----------
    path
        A file, a glob, a folder (all files below it that are not hidden), local or `s3://`.
        `{date}` stands for the ISO date, `{date:%Y/%m/%d}` for any other spelling.
    day
        Put in place of `{date}`; without it any date matches.
    suffixes
        Of the files that count in a folder; None takes all.

    Returns
    -------
    list of str
        Empty only if `path` has `{date}`, `day` is given and that date has no file.

    Raises
    ------
    SourceError
        Nothing is there, or no file, or a folder holds no readable one.
    """
    one_date = dated(path) and day is not None
    pattern = _DATE.sub(lambda match: _spell(match.group(1), day), path)
    found = _expand(pattern, suffixes)
    if found is None and one_date:
        return []
    if found is None:
        raise SourceError(_nothing_at(pattern))
    if not found and not one_date:
        raise SourceError(f"{pattern}: no readable files in this folder")
    return sorted(found)


def dated(path: str) -> bool:
    """True if the path has `{date}`: one file, or folder, for each date."""
    return _DATE.search(path) is not None


def _spell(form: str | None, day: date | None) -> str:
    if day is not None:
        return day.strftime(form or "%Y-%m-%d")
    return re.sub(r"%[a-zA-Z]", "*", form) if form else "*"


def _expand(pattern: str, suffixes: tuple[str, ...] | None) -> list[str] | None:
    """Files that the pattern means; None if nothing is there at all."""
    if files.is_remote(pattern):
        return _expand_remote(pattern, suffixes)
    exact = Path(pattern)
    matches = [exact] if exact.exists() else [Path(m) for m in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    if not matches:
        return None
    found: list[str] = []
    for match in matches:
        if match.is_dir():
            inside = (path.relative_to(match).as_posix() for path in _inside(match))
            found += [str(match / name) for name in _readable(inside, suffixes, str(match))]
        elif match.exists() and not match.is_file():
            raise SourceError(f"{match}: a pipe or a device; write its content into a file first")
        else:
            found.append(str(match))
    return found


def _inside(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Files at any depth that are not hidden. Links are followed, but for one back up: a loop."""
    real = folder.resolve()
    if any(each.is_relative_to(real) for each in above):
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(
            f"{folder}: cannot be read ({error.strerror or error}): give the permission, or name a "
            "folder below it"
        ) from None
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith(_HIDDEN) and entry.name != _LOST:
            yield from _inside(entry, above | {real})
        elif entry.is_file():
            yield entry


def _expand_remote(pattern: str, suffixes: tuple[str, ...] | None) -> list[str] | None:
    store, inner = files.filesystem(pattern)
    scheme = pattern.partition("://")[0]
    magic = _MAGIC.search(inner)
    if magic is None and store.get_file_info(inner).type == fs.FileType.File:
        return [pattern]
    folder = inner[: magic.start()].rpartition("/")[0] if magic else inner.rstrip("/")
    listed = store.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    names = [f.path.removeprefix(folder + "/") for f in listed if f.type == fs.FileType.File]
    if magic:
        matcher = re.compile(_glob_regex(inner.removeprefix(folder + "/").rstrip("/")))
        names = [name for name in names if matcher.fullmatch(name)]
    found = [f"{scheme}://{folder}/{name}" for name in _readable(names, suffixes, pattern)]
    return found if listed and (found or not magic) else None


def _glob_regex(pattern: str) -> str:
    """Regex of a glob: `*` stays within a folder; a match may be a folder of files."""
    parts = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*|\?|\[[^\]]*\]|.", pattern)
    return (
        "".join(parts.get(t, t if t.startswith("[") else re.escape(t)) for t in tokens) + "(/.*)?"
    )


def _readable(names: Iterable[str], suffixes: tuple[str, ...] | None, where: str) -> list[str]:
    """Names without hidden parts (`.part`, `_SUCCESS`, `_delta_log/`) and with a wanted suffix."""
    shown = [n for n in names if not any(part.startswith(_HIDDEN) for part in n.split("/"))]
    if suffixes is None:
        return shown
    wanted = [name for name in shown if name.lower().endswith(suffixes)]
    if passed := len(shown) - len(wanted):
        logger.info("%s: %d passed over, not named %s", where, passed, ", ".join(suffixes))
    return wanted


def _nothing_at(pattern: str) -> str:
    if _MAGIC.search(pattern):
        return f"{pattern}: this pattern matches no file; check the path in the configuration"
    near: list[str] = []
    if not files.is_remote(pattern) and Path(pattern).parent.is_dir():
        siblings = [p.name for p in Path(pattern).parent.iterdir()]
        near = difflib.get_close_matches(Path(pattern).name, siblings, n=1)
    meant = f' (did you mean "{near[0]}"?)' if near else "; check the path in the configuration"
    return f"{pattern}: no such file or folder{meant}"
