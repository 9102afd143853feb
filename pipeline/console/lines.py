"""Lines for a terminal: status, encoders, the summary of the demo."""

import json
import sys
from datetime import date

import click

from pipeline import columns as col
from pipeline.steps.demo import DemoResult
from pipeline.steps.encoders import Stored
from pipeline.steps.status import Status

LISTED_DATES = 5


def print_status(status: Status) -> None:
    """Print the state of a lake in a screenful."""
    click.echo("table                  version        rows         size")
    for table, version, rows, size in status.tables.iter_rows():
        click.echo(f"{table:<21} {version:>8} {rows:>11,} {_size(size):>12}")
    click.echo(f"\npromoted model: {status.champion or 'none (run `iadsr train --date DATE`)'}")
    click.echo(f"cleaned dates:  {_dates(status.cleaned)}")
    click.echo(f"not cleaned:    {_dates(status.uncleaned)}")
    click.echo(f"stale dates:    {_dates(list(status.stale))}")
    for day, (now, then) in status.stale.items():
        click.echo(
            f"  {day}: {now:,} interactions, {then:,} when cleaned: `iadsr run --date {day}`"
        )
    if status.pending:
        click.echo(f"staged, not published: {_dates(status.pending)}")
    recorded, pending = status.erasures
    if recorded:
        more = f", {pending} pending: `iadsr erase --user U --yes` again" if pending else ""
        click.echo(f"erasures:       {recorded:,}{more}")
    click.echo("\nlast runs")
    for row in status.last_runs.iter_rows(named=True):
        counts = json.loads(row[col.COUNTS])
        note = row[col.ERROR] or ", ".join(f"{name} {n:,}" for name, n in counts.items())
        took = f"{row[col.DURATION_S]:>7.1f} s"
        started = f"{row[col.STARTED_AT]:%Y-%m-%d %H:%M:%S}"
        outcome = f"{row[col.STEP]:<8} {row[col.STATUS]:<9}"
        click.echo(f"{started}  {outcome} {took}  {row[col.RUN_ID]}  {note}")


def print_encoders(found: list[Stored]) -> None:
    """Print what is stored of each encoder, and who needs it."""
    if not found:
        click.echo("no vectors are stored (run `iadsr embed`)")
    for each in found:
        last = f"{each.last_use:%Y-%m-%d %H:%M}" if each.last_use else "unknown"
        marks = [f"{v} (promoted)" if v == each.champion else v for v in each.models]
        click.echo(each.encoder_id)
        click.echo(f"  {each.texts:,} texts, {_size(each.size_bytes)}, last used {last}")
        click.echo(f"  models: {', '.join(marks) or 'none'}")


def print_dropped(dropped: Stored) -> None:
    """Print what went, and when its bytes do."""
    click.echo(f"dropped {dropped.texts:,} vectors of {dropped.encoder_id}")
    click.echo(
        f"{_size(dropped.size_bytes)} will be free when the table is next vacuumed, after the "
        "grace time: until then older snapshots and open catalogues can be read"
    )


def print_demo(result: DemoResult) -> None:
    """Print what the three nights did, and the line that opens the catalogue."""
    accepted, quarantined = f"{result.accepted:,}", f"{result.quarantined:,}"
    click.echo(f"\ningested {accepted} interactions, quarantined {quarantined} rows\n")
    click.echo("night        interactions     kept  removed")
    for row in result.nights.iter_rows(named=True):
        counts = f"{row['interactions']:>12,} {row['kept']:>8,} {row['removed']:>8,}"
        click.echo(f"{row[col.EVENT_DATE]}   {counts}")
    click.echo("\nthe most certain removals")
    for row in result.removals.iter_rows(named=True):
        title = clean_text(row[col.TITLE] or "(no title)")
        click.echo(f"  {row[col.EVENT_DATE]}  user {row[col.USER_ID]}  {title}")
        click.echo(f"    {row['explanation']}")
    if not result.changed:
        click.echo("\nnothing had changed: every table is as it was before this run")
    click.echo(f"\nread the report in a browser:\n  {result.page}")
    connect = f"import duckdb; db = duckdb.connect({str(result.catalogue)!r}, read_only=True)"
    click.echo("\nopen the catalogue:")
    click.echo(f"  {sys.executable} -i -c \"{connect}; db.sql('SHOW TABLES').show()\"")


def clean_text(text: str, limit: int = 70) -> str:
    """Text from a catalogue made safe for a terminal: no control characters, at most `limit`."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


def _dates(days: list[date]) -> str:
    if not days:
        return "none"
    shown = ", ".join(str(day) for day in days[-LISTED_DATES:])
    return shown if len(days) <= LISTED_DATES else f"{len(days):,}, the last: {shown}"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
