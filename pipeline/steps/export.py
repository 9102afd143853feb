"""Write the cleaned log as files that recommender libraries load: what an export is, and where.

An export is a folder whose `manifest.json` says `"format": "iadsr-export/1"`; a folder without it
is none of ours, and never replaced or removed. Each one that was written is a row of `runs` (step
"export") whose outputs name the folder: `{"folder": "/absolute/path or s3://..."}`. Those below a
lake that was moved since are found where they lie. Whoever has to find all of them (`iadsr erase`)
asks `known_exports`, and `unfinished_exports` for what killed runs left.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pipeline import __version__
from pipeline import columns as col
from pipeline.config import Config
from pipeline.digests import digest
from pipeline.errors import UserError
from pipeline.exports.files import Files
from pipeline.exports.formats import FORMATS
from pipeline.exports.log import Log, open_log
from pipeline.exports.manifest import (
    FORMAT,
    MANIFEST,
    PLACEHOLDER,
    is_whole,
    read_manifest,
    write_manifest,
)
from pipeline.exports.parts import Division, Parts, SplitName, divide
from pipeline.progress import Progress, logger, progress
from pipeline.schemas import INTERACTIONS, ITEMS, RUNS, SCORED_INTERACTIONS
from pipeline.steps.status import stale_dates
from pipeline.storage import catalog, files, folders, places, runs, snapshots
from pipeline.storage.lake import Lake
from pipeline.storage.sql import answer, statements
from pipeline.storage.views import Snapshot

STEP = "export"
READ = (INTERACTIONS, ITEMS, SCORED_INTERACTIONS)


@dataclass(frozen=True)
class Request:
    """What is to be exported: of the dates from `first` to `last` those that were cleaned."""

    library: str  # a name of `exports.formats.FORMATS`
    split: SplitName | None = None
    weights: bool = False  # every interaction, with 1 - noise probability; else the kept ones
    first: date | None = None
    last: date | None = None
    as_of: str | None = None  # an earlier state: a run, or a time


@dataclass(frozen=True)
class Dates:
    """The range, and what of it is not as clean as it could be."""

    first: date
    last: date
    cleaned: int
    uncleaned: list[date]  # with interactions, none of them decided: left out
    stale: list[date]  # exported as they were when they were cleaned


def export(config: Config, lake: Lake, request: Request, out: str | None = None) -> runs.Run:
    """Write an export, or find it there already; its folder stands in the outputs of the run.

    Parameters
    ----------
    config : Config
        `sequence` says in what order rows are, `evaluate` where a split by time cuts.
    lake : Lake
        Its newest published state is read, or that of `request.as_of`.
    request : Request
        What to export. Dates that were never cleaned are left out, dates that changed since are
        exported as they were cleaned; both are warned of, and named in the manifest.
    out : str, optional
        Folder, local or on S3; default: `exports/<library>` below the lake.

    Raises
    ------
    UserError
        The folder holds something else, no date of the range was cleaned, the split leaves no
        target, or there is no such state. Nothing was written.
    ConflictError
        Another export was put into the same folder at the same time.
    """
    target = folders.resolve(out or _default(lake, request.library))
    if not folders.is_free(target) and read_manifest(target) is None:
        raise UserError(
            f"{target} holds something that is no export (no {MANIFEST} of {FORMAT}): it is not "
            "replaced; name another folder with --out"
        )
    state = snapshots.state_of(lake, snapshots.find(lake, request.as_of)) if request.as_of else None
    state = state or catalog.snapshot(lake)
    with catalog.connect(lake, state) as connection:
        dates = _dates(config, lake, request, state, connection)
        inputs = _inputs(config, request, state, dates)
        run = runs.Run(runs.run_id(STEP, inputs), STEP, inputs=inputs, outputs={"folder": target})
        with runs.record(lake, config, run):
            log = open_log(connection, config.sequence, dates.first, dates.last)
            decided = answer(
                connection, statements("exports")["deciders"], first=dates.first, last=dates.last
            ).pl()
            run.counts = _counts(decided)
            if is_whole(target, run.run_id):
                run.status = runs.UNCHANGED
            else:
                told = _told(run, dates, log, decided)
                with folders.replacing(target, MANIFEST, PLACEHOLDER) as folder:
                    _write(config, log, request, folder, told)
    return run


def known_exports(lake: Lake) -> list[str]:
    """Folders of all exports of this lake that are still there, sorted."""
    there = _named(lake) | _below(lake)
    return sorted(folder for folder in there if read_manifest(folder) is not None)


def unfinished_exports(lake: Lake) -> list[str]:
    """Folders that runs which were killed, or are still at work, have filled so far, sorted.

    Beside every folder that `runs` names, and beside those of the lake.
    """
    targets = _named(lake) | _below(lake) | {_default(lake, library) for library in FORMATS}
    return sorted(str(left) for target in targets for left in folders.leftovers(target))


def _named(lake: Lake) -> set[str]:
    exported = lake.scan(RUNS).filter(pl.col(col.STEP) == STEP)
    written = exported.select(col.OUTPUTS).unique().collect().to_series()
    return {json.loads(outputs)["folder"] for outputs in written}


def _below(lake: Lake) -> set[str]:
    """Folders below the lake with a manifest: `runs` names them as they were called then."""
    paths = (path.rpartition("/") for path, _, _ in files.walk(lake.path(places.EXPORTS)))
    return {folders.resolve(folder) for folder, _, name in paths if name == MANIFEST}


def _default(lake: Lake, library: str) -> str:
    return lake.path(places.EXPORTS, library)


def _dates(
    config: Config,
    lake: Lake,
    request: Request,
    state: Snapshot,
    connection: duckdb.DuckDBPyConnection,
) -> Dates:
    """What of the asked range there is. A split reads as far back as an evaluation does."""
    variables = {"first": request.first, "last": request.last}
    found = answer(connection, statements("exports")["dates"], **variables).pl()
    if request.split and request.first is None and not found.is_empty():
        reach = timedelta(days=config.sequence.history_days)
        newest = request.last or found[col.EVENT_DATE][-1]
        found = found.filter(pl.col(col.EVENT_DATE) > newest - reach)
    cleaned = found.filter(pl.col("scored") > 0)[col.EVENT_DATE]
    if cleaned.is_empty():
        raise UserError(
            f"no date {_range(request.first, request.last)}was cleaned in {lake.root}: `iadsr run` "
            "cleans one, `iadsr backfill` many"
        )
    dates = Dates(
        request.first or found[col.EVENT_DATE][0],
        request.last or found[col.EVENT_DATE][-1],
        len(cleaned),
        found.filter(pl.col("scored") == 0)[col.EVENT_DATE].to_list(),
        list(stale_dates(lake, cleaned.to_list(), state.versions)),
    )
    if dates.uncleaned or dates.stale:
        logger.warning("%s", _warning(dates))
    return dates


def _range(first: date | None, last: date | None) -> str:
    return "".join([f"from {first} " if first else "", f"up to {last} " if last else ""])


def _warning(dates: Dates) -> str:
    told = []
    if some := dates.uncleaned:
        told.append(f"{len(some):,} dates were never cleaned and are left out ({_ends(some)})")
    if some := dates.stale:
        told.append(
            f"{len(some):,} changed since and are exported as they were cleaned ({_ends(some)})"
        )
    late = sorted([*dates.uncleaned, *dates.stale])
    return f"{'; '.join(told)}: `iadsr backfill --from {late[0]} --to {late[-1]} --run` cleans them"


def _ends(days: list[date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _inputs(config: Config, request: Request, state: Snapshot, dates: Dates) -> dict[str, Any]:
    """All that the files rest on: equal inputs give equal bytes."""
    decisions = [path.rsplit("/", 1)[-1] for path in state.files[SCORED_INTERACTIONS.name]]
    asked = {name: value for name, value in asdict(request).items() if name != "as_of"}
    return {
        **{table.name: state.versions[table.name] for table in READ},
        # A date that stood between its two commits is read from files of an earlier version.
        "decisions": digest(decisions, 16),
        **asked,
        "first": str(dates.first),
        "last": str(dates.last),
        "config_digest": config.digest("sequence", "evaluate"),
    }


def _counts(decided: pl.DataFrame) -> dict[str, int]:
    total, kept = (int(decided[name].sum()) for name in ("interactions", "kept"))
    return {"interactions": total, "kept": kept, "removed": total - kept}


def _write(config: Config, log: Log, request: Request, folder: Path, told: dict[str, Any]) -> None:
    """Fill the folder: the parts, the id maps, the manifest."""
    with Files(folder) as written, progress(log.rows, STEP, "rows") as bar:
        division = divide(log, request.split, config.evaluate, weights=request.weights)
        followed = Division(division.names, _followed(division, bar), division.counts)
        FORMATS[request.library](written, log, followed, weights=request.weights)
    write_manifest(folder, told | {"split_counts": division.counts}, written.rows)


def _followed(division: Division, bar: Progress) -> Iterator[Parts]:
    for parts in division.stream:
        yield parts
        bar.update(sum(rows.height for rows in parts.values()))


def _told(run: runs.Run, dates: Dates, log: Log, decided: pl.DataFrame) -> dict[str, Any]:
    """What the manifest tells, but for files and split."""
    return {
        "run_id": run.run_id,
        "code_version": __version__,
        **{name: run.inputs[name] for name in ("library", "split", "weights")},
        "dates": asdict(dates),
        "tables": {table.name: run.inputs[table.name] for table in READ},
        "config_digest": run.inputs["config_digest"],
        "counts": {**run.counts, "users": log.users.height, "items": log.items.height},
        "decided_by": decided.to_dicts(),
    }
