"""Ingest: logs into `interactions`, catalogues into `items`, rejected rows into `quarantine`.

A file is known by the digest of its bytes and of the settings that read it; it enters once. A
catalogue, of which the latest counts, enters again where others took its place in between.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import polars as pl
from deltalake import DeltaTable

from pipeline import columns as col
from pipeline.config import CatalogueConfig, Config, SourceConfig
from pipeline.errors import ConflictError, ContractError, UserError
from pipeline.progress import logger, progress
from pipeline.schemas import INTERACTIONS, ITEMS
from pipeline.sources import FORMATS, SUFFIXES
from pipeline.sources.catalogue import ITEM_SCHEMA, check_template, read_catalogue
from pipeline.sources.corrections import Corrections
from pipeline.sources.delivery import Delivery
from pipeline.sources.layout import Spec, check_spec
from pipeline.sources.paths import dated, find_files
from pipeline.sources.quarantine import Quarantine
from pipeline.sources.reader import Reading, open_log
from pipeline.sources.seen import KnownIds
from pipeline.sources.text import open_bytes
from pipeline.storage import runs
from pipeline.storage.appender import PartitionedAppend
from pipeline.storage.lake import Lake, conform, marker_number
from pipeline.storage.privacy import UserIds, erased, user_ids

ATTEMPTS = 4

_HASH_BYTES = 1 << 18  # stays in the processor's cache


@dataclass(frozen=True)
class IngestResult:
    """What became of one file. Counts are of rows, 0 where the file was known already."""

    source: str
    file: str
    run_id: str
    status: str
    rows_read: int = 0
    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    corrected: int = 0
    erased: int = 0


class _CorrectedError(Exception):
    """Accepted rows were corrected: what is appended must rest on the snapshot after it."""


@dataclass
class _Job(Delivery):
    """One file on its way into the lake, and what is counted while it is read."""

    lake: Lake
    now: datetime
    counts: Counter[str] = field(default_factory=Counter)
    corrected: int = 0  # accepted rows, by an earlier attempt of this run
    ids: UserIds = field(default_factory=UserIds)


def ingest(
    config: Config,
    lake: Lake,
    *,
    day: date | None = None,
    earlier: int = 0,
    names: Sequence[str] = (),
    now: datetime | None = None,
) -> list[IngestResult]:
    """Bring the files of the configured sources and catalogues into the lake, each exactly once.

    Parameters
    ----------
    config
        `sources`, `catalogues` and the bounds in `ingest`.
    lake
        Where the tables lie.
    day
        Put in place of `{date}` in paths; without it, every date that has a file.
    earlier
        So many dates before `day` are looked at, too: what was delivered late.
    names
        Sources and catalogues to take; none: all.
    now
        The clock by which times are implausible (default: the system's).

    Returns
    -------
    list of IngestResult
        One per file, in the order of the configuration.

    Raises
    ------
    ConfigError
        The settings of a source contradict each other.
    UserError
        A name is not configured.
    SourceError
        A file cannot be read. Earlier files stay ingested.
    ContractError
        Counts do not reconcile; the file is not ingested.
    ConflictError
        Other runs kept committing the same dates first.
    """
    now = now or datetime.now(UTC)
    results = []
    chosen = _chosen(config, names)
    user_ids(config, lake)  # a new lake is marked before its first snapshot is read
    for name, spec in chosen:
        for file in _files(name, spec, day, earlier):
            job = _Job(config, name, spec, file, _sha256(file), lake, now)
            results.append(_ingest_file(job))
    return results


def _files(name: str, spec: Spec, day: date | None, earlier: int) -> list[str]:
    """Files of a source for a date and the dates before it, those of the date last."""
    first = day - timedelta(days=earlier) if day else None
    days = [first + timedelta(days=i) for i in range(earlier + 1)] if first else [None]
    found: dict[str, None] = {}
    for each in days:
        files = find_files(spec.path, each, SUFFIXES[spec.format])
        if not files and each == day:
            logger.info("%s: no file for %s", name, day)
        found |= dict.fromkeys(files)
        if not dated(spec.path):
            break
    return list(found)


def _chosen(config: Config, names: Sequence[str]) -> list[tuple[str, Spec]]:
    """Sources, then catalogues, whose settings are in order. Checked before anything is read."""
    known: list[tuple[str, Spec]] = [*config.sources.items(), *config.catalogues.items()]
    for name in names:
        if name not in dict(known):
            listed = ", ".join(name for name, _ in known) or "none"
            raise UserError(f'no source or catalogue "{name}" is configured (known: {listed})')
    chosen = [(name, spec) for name, spec in known if not names or name in names]
    for name, spec in chosen:
        check_spec(name, spec)
        if isinstance(spec, CatalogueConfig):
            check_template(name, spec)
    return chosen


def _ingest_file(job: _Job) -> IngestResult:
    run = runs.Run(
        job.run_id, "ingest", inputs={"source": job.name, "file": job.file, "sha256": job.sha256}
    )
    with runs.record(job.lake, job.config, run):
        _until_committed(job, run)
    return IngestResult(job.name, job.file, run.run_id, run.status, **run.counts)


def _until_committed(job: _Job, run: runs.Run) -> None:
    attempt = 1
    while True:
        job.counts.clear()
        # The commit rests on the snapshot in which the marker was missed: whoever commits the
        # same file after it is noticed.
        snapshot = job.lake.open(job.table)
        if job.is_in(snapshot):
            run.status = runs.UNCHANGED
            run.outputs[job.table.name] = snapshot.version()
            logger.info("%s: already ingested", job.label)
            return
        try:
            take = _ingest_log if job.table is INTERACTIONS else _ingest_items
            take(job, run, snapshot)
        except _CorrectedError:
            continue
        except ConflictError as conflict:
            if attempt == ATTEMPTS:
                raise
            logger.info("%s: %s Trying again (%d).", job.label, conflict, attempt)
            attempt += 1
        else:
            return


def _ingest_log(job: _Job, run: runs.Run, snapshot: DeltaTable) -> None:
    assert isinstance(job.spec, SourceConfig)
    stamps = {col.SOURCE_FILE: job.file, col.RUN_ID: job.run_id}
    append = PartitionedAppend(job.lake, INTERACTIONS, snapshot, stamps)
    quarantine = Quarantine(job.lake, job.marker, job.file, job.run_id, job.now)
    layout_of = FORMATS[job.spec.format]
    job.ids = user_ids(job.config, job.lake)
    try:
        with (
            closing(quarantine),
            open_log(
                job.file,
                job.spec,
                layout_of,
                job.config.ingest,
                now=quarantine.judged_at,
                ids=job.ids,
            ) as reading,
        ):
            run.inputs["time"] = reading.time + (" (detected)" if reading.detected else "")
            if reading.detected:
                logger.info("%s: times look like %s", job.label, reading.time)
            corrections = Corrections(job.lake, snapshot.version())
            _take_in(job, reading, append, quarantine, corrections)
            append.finish()
            marker = (job.marker, marker_number(run.run_id))
            if found := corrections.finish():
                corrections.commit(stamps, marker, job.now)
                job.corrected += found
                raise _CorrectedError
            _reconcile(job, run, quarantine.reasons)
            run.outputs |= quarantine.commit()
            run.outputs[INTERACTIONS.name] = append.commit(
                marker, (job.bytes_marker, marker[1]), extra=job.spec.extra_columns
            )
    except BaseException:
        append.discard()
        raise


def _take_in(
    job: _Job,
    reading: Reading,
    append: PartitionedAppend,
    quarantine: Quarantine,
    corrections: Corrections,
) -> None:
    """Read the whole log: new rows to the append, rejected ones to quarantine.

    Rows of erased users are counted, and go nowhere. Who is erased is read after the snapshots on
    which the commits rest: an erasure that begins later makes them fail.
    """
    gone = erased(job.lake)
    dates = job.lake.partition_rows(INTERACTIONS, append.snapshot.version())
    known = KnownIds(append.snapshot, dates)
    correcting = not job.were_read(append.snapshot)
    line = reading.header_lines
    with progress(None, f"ingest {job.label}", "rows") as bar:
        for judged in reading.batches:
            batch = judged.without(gone, job.ids)
            quarantine.add(batch.rejected, line)
            fresh = known.fresh(batch.typed, batch.good)
            append.add(fresh)
            if correcting and batch.accepted_rows > len(fresh):
                corrections.add(batch.accepted, fresh)
            line += batch.rows
            job.counts["rows_read"] += batch.rows
            job.counts["accepted"] += len(fresh)
            job.counts["duplicates"] += batch.accepted_rows - len(fresh)
            job.counts["erased"] += batch.rows - batch.accepted_rows - len(batch.rejected)
            bar.update(batch.rows)
    # They stand already: corrected before the append, they are read as repeated here.
    job.counts["corrected"] = job.corrected
    job.counts["duplicates"] -= job.corrected


def _ingest_items(job: _Job, run: runs.Run, snapshot: DeltaTable) -> None:
    assert isinstance(job.spec, CatalogueConfig)
    version = snapshot.version()
    quarantine = Quarantine(job.lake, job.marker, job.file, job.run_id, job.now)
    batches, limit = [pl.DataFrame(schema=ITEM_SCHEMA)], job.config.ingest.max_id_length
    with closing(quarantine), progress(None, f"ingest {job.label}", "items") as bar:
        for batch in read_catalogue(job.file, job.spec, FORMATS[job.spec.format], limit):
            quarantine.add(batch.rejected, 0)
            batches.append(batch.items)
            job.counts["rows_read"] += batch.rows
            bar.update(batch.rows)
        read = pl.concat(batches)
        latest = read.unique(col.ITEM_ID, keep="last", maintain_order=True)
        job.counts["accepted"] = len(latest)
        job.counts["duplicates"] = len(read) - len(latest)
        _reconcile(job, run, quarantine.reasons)
        run.outputs |= quarantine.commit()
        _replace_items(job, latest, version)
    run.outputs[ITEMS.name] = job.lake.version(ITEMS)


def _replace_items(job: _Job, latest: pl.DataFrame, version: int) -> None:
    """Put changed and new items in place; the marker alone, where every item stands already."""
    stood = job.lake.scan(ITEMS, version).collect()
    changed = latest.join(stood, on=list(ITEM_SCHEMA), how="anti", nulls_equal=True)
    stamped = changed.with_columns(
        pl.lit(job.file).alias(col.SOURCE_FILE), pl.lit(job.run_id).alias(col.RUN_ID)
    )
    if changed.is_empty():
        job.lake.append(ITEMS, conform(stamped, ITEMS), job.latest, since=version)
        return
    kept = conform(stood.join(changed, on=col.ITEM_ID, how="anti"), ITEMS)
    items = pl.concat([kept, conform(stamped, ITEMS)]).sort(col.ITEM_ID)
    job.lake.replace_all(ITEMS, items, job.latest, since=version)


def _reconcile(job: _Job, run: runs.Run, reasons: Counter[str]) -> None:
    """Every row read must have ended in one place. Raises ContractError."""
    counts = job.counts
    counts["quarantined"] = reasons.total()
    names = ["rows_read", "accepted", "duplicates", "quarantined"]
    rare = [name for name in ("corrected", "erased") if counts[name]]
    names += rare
    run.counts = {name: counts[name] for name in names}
    why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
    line = (
        f"{job.label}: read {counts['rows_read']:,} = accepted {counts['accepted']:,} "
        f"+ duplicates {counts['duplicates']:,} + quarantined {counts['quarantined']:,}"
        + (f" ({why})" if why else "")
        + "".join(f" + {name} {counts[name]:,}" for name in rare)
    )
    if counts["rows_read"] != sum(counts[name] for name in names[1:]):
        raise ContractError(f"{line}: these do not add up. Nothing of this file was ingested.")
    logger.info("%s", line)


def _sha256(file: str) -> str:
    hasher, buffer = hashlib.sha256(), memoryview(bytearray(_HASH_BYTES))
    with open_bytes(file) as stream:
        while size := stream.readinto(buffer):  # type: ignore[attr-defined]
            hasher.update(buffer[:size])
    return hasher.hexdigest()
