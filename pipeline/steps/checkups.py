"""What `iadsr doctor` looks at: each check gives a verdict, or raises the error that tells it."""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import polars as pl
from packaging.requirements import Requirement

from pipeline import __version__
from pipeline import columns as col
from pipeline.config import Config
from pipeline.encoders import folder, interpreter
from pipeline.errors import ConflictError, ContractError, StoreError
from pipeline.models import checkpoint
from pipeline.schemas import INTERACTIONS, RUNS, TABLES
from pipeline.steps.checkup_of_airflow import airflow
from pipeline.steps.verdicts import FAIL, OK, WARN, Verdict
from pipeline.storage import files
from pipeline.storage.lake import Lake, conform
from pipeline.storage.privacy import configured, erasures, user_ids

ANSWER_S = 3.0  # until a server answers
LEAST_FREE = 256 << 20  # bytes: a night's files, and what is spilled
SKEW_S = 5.0  # between this clock and the store's


def versions(config: Config, lake: Lake) -> Verdict:
    """Versions of this package and of what it requires."""
    told = f"iadsr {__version__}, Python {sys.version.split()[0]}"
    try:
        wanted = [Requirement(text) for text in metadata.requires("iadsr") or []]
    except metadata.PackageNotFoundError:
        return Verdict(WARN, f"{told}, not installed as a package", "`make` or `pip install .`")
    wrong = []
    for each in wanted:
        if each.marker and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{each.name} is not installed")
        else:
            if not each.specifier.contains(found, prereleases=True):
                wrong.append(f"{each.name} is {found}, wanted {each.specifier}")
    if wrong:
        return Verdict(FAIL, "; ".join(wrong), "install by constraints.txt: `make`")
    return Verdict(OK, told)


def weights(config: Config, lake: Lake) -> Verdict:
    """The encoder's weights, against the digests that are known of them."""
    if config.encoder.backend == "openai":
        return _embeddings_server(config.encoder.server.url)
    found = folder.find(config.encoder.model)
    found.verify()
    if not found.pinned:
        return Verdict(OK, f"{found.path} (no digest is known of it)")
    return Verdict(OK, f"{found.path}: SHA-256 as published")


def _embeddings_server(url: str) -> Verdict:
    try:
        with urllib.request.urlopen(f"{url}/models", timeout=ANSWER_S):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:  # an answer all the same; a key is not sent
        return Verdict(OK, f"{url} answers ({error.code})")
    except OSError as error:
        return Verdict(FAIL, f"{url} does not answer ({error})", "start it, or mend encoder.server")
    return Verdict(OK, f"{url} answers")


def model(config: Config, lake: Lake) -> Verdict:
    """The files of the model in use, against its card."""
    _refuse_unreachable(lake)
    if not files.exists(lake.root):
        return Verdict(WARN, f"no lake at {lake.root} yet", "`iadsr ingest` makes it")
    version = checkpoint.champion(lake)
    if version is None:
        return Verdict(WARN, "none is in use", "`iadsr train --date DATE`")
    try:
        checkpoint.verify(lake, version)
    except ContractError as error:
        mend = '`iadsr models rollback --reason "damaged"`, or delete its folder and train again'
        return Verdict(FAIL, str(error), mend)
    return Verdict(OK, f"{version}: as its card says")


def gpu(config: Config, lake: Lake) -> Verdict:
    """The GPUs, if there are any, and if those that are configured are."""
    there = interpreter.devices()
    absent = [name for name in config.encoder.vllm.devices if name not in (*there, "cpu")]
    if config.encoder.backend == "vllm" and absent:
        told = f"encoder.vllm.devices names {', '.join(absent)}, there is {', '.join(there)}"
        return Verdict(FAIL, told, "name those that are there, or mend the driver")
    if there == (interpreter.CPU,):
        return Verdict(OK, "none: all runs on the CPU")
    query = ["nvidia-smi", "--query-gpu=name,memory.free", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        return Verdict(
            FAIL, f"{len(there)} GPUs, but nvidia-smi fails ({error})", "mend the driver"
        )
    return Verdict(OK, "; ".join(told.strip().splitlines()))


def vllm(config: Config, lake: Lake) -> Verdict:
    """The interpreter that holds vLLM, where it is needed."""
    if config.encoder.backend != "vllm":
        return Verdict(OK, f"not needed (encoder.backend is {config.encoder.backend})")
    python = interpreter.interpreter(config.encoder)
    name, version = next(iter(interpreter.installed(python).items()))
    return Verdict(OK, f"{name} {version} in {python}")


def store(config: Config, lake: Lake) -> Verdict:
    """A table is made in the lake, committed to, and refuses what a lost race would commit."""
    _refuse_unreachable(lake)
    with _scratch(lake) as scratch:
        row, old = conform(pl.DataFrame({col.RUN_ID: ["doctor"]}), RUNS), scratch.version(RUNS)
        scratch.append(RUNS, row, ("doctor", 1), since=old)
        try:
            scratch.append(RUNS, row, ("doctor", 2), since=old)
        except ConflictError:
            pass
        else:
            mend = "nights would overwrite each other: use a store with conditional puts"
            return Verdict(FAIL, f"{lake.root} lets two runs commit the same version", mend)
    return Verdict(OK, f"{lake.root}: a commit passes, and one that comes second is refused")


def disk(config: Config, lake: Lake) -> Verdict:
    """Free space of the lake, if it is local, and of the folder for temporary files."""
    places = [tempfile.gettempdir()]
    largest = 0
    if not files.is_remote(lake.root):
        places.insert(0, str(_existing(Path(lake.root))))
        there = [table for table in TABLES if files.exists(lake.path(table.name))]
        largest = max((lake.size(table)[1] for table in there), default=0)
    free = {place: shutil.disk_usage(place).free for place in places}
    told = ", ".join(f"{size >> 20:,} MiB free in {place}" for place, size in free.items())
    if min(free.values()) < LEAST_FREE:
        return Verdict(FAIL, told, f"a night needs {LEAST_FREE >> 20} MiB and more: make room")
    if free[places[0]] < largest:
        mend = f"the largest table has {largest >> 20:,} MiB; to rewrite it as much is needed"
        return Verdict(WARN, told, mend)
    return Verdict(OK, told)


def clock(config: Config, lake: Lake) -> Verdict:
    """The clock here against the store's, and against the last run's."""
    _refuse_unreachable(lake)
    with _scratch(lake) as scratch:
        before = datetime.now(UTC)
        files.write_bytes(scratch.path("clock"), before.isoformat().encode())
        after = datetime.now(UTC)
        (_, _, written), *_ = files.walk(scratch.root)
    # S3 tells whole seconds.
    skew = max((before - written).total_seconds() - 1, (written - after).total_seconds(), 0)
    if skew > SKEW_S:
        return Verdict(FAIL, f"{skew:.0f} s off the store's clock", "synchronise it (NTP)")
    if files.exists(lake.path(RUNS.name)):
        last = lake.scan(RUNS).select(pl.col(col.ENDED_AT).max()).collect().item()
        if last is not None and (last - after).total_seconds() > SKEW_S:
            told = f"{after:%Y-%m-%d %H:%M:%S} UTC, but a run ended at {last:%Y-%m-%d %H:%M:%S}"
            return Verdict(FAIL, told, "synchronise it (NTP)")
    return Verdict(OK, f"{after:%Y-%m-%d %H:%M:%S} UTC, as the store's")


def privacy(config: Config, lake: Lake) -> Verdict:
    """The key of the user ids, and erasures that were cut off."""
    ids = configured(config)
    _refuse_unreachable(lake)
    kind = ids.kind.partition(":")[0]
    if not (files.exists(lake.path(INTERACTIONS.name)) and lake.partition_rows(INTERACTIONS)):
        return Verdict(OK, f"user ids will be {kind}")
    user_ids(config, lake)
    recorded, pending = erasures(lake)
    if pending:
        return Verdict(
            WARN, f"{pending} erasures are pending", "`iadsr erase --user U --yes` again"
        )
    return Verdict(OK, f"user ids are {kind}, {recorded:,} erasures")


@contextmanager
def _scratch(lake: Lake) -> Iterator[Lake]:
    """A lake within the lake, which is removed, as is the lake's folder if it was not there."""
    new = not files.exists(lake.root)
    scratch = Lake(lake.path(f"doctor-{uuid.uuid4().hex}"))
    try:
        yield scratch
    finally:
        files.delete_folder(scratch.root)
        if new and not files.is_remote(lake.root):
            with suppress(OSError):
                Path(lake.root).rmdir()


def _refuse_unreachable(lake: Lake) -> None:
    """Raise StoreError if an S3 endpoint does not answer at once: its clients wait for minutes."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not (files.is_remote(lake.root) and endpoint):
        return
    try:
        with urllib.request.urlopen(endpoint, timeout=ANSWER_S):  # noqa: S310
            pass
    except urllib.error.HTTPError:
        pass  # an answer
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise StoreError(
            f"{lake.root}: the endpoint {endpoint} does not answer ({reason}): start it, or mend "
            "AWS_ENDPOINT_URL"
        ) from None


def _existing(path: Path) -> Path:
    """The path, or its nearest folder that is there."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


CHECKUPS: dict[str, Callable[[Config, Lake], Verdict]] = {
    "versions": versions,
    "weights": weights,
    "model": model,
    "gpu": gpu,
    "vllm": vllm,
    "lake": store,
    "disk": disk,
    "clock": clock,
    "privacy": privacy,
    "airflow": airflow,
}
