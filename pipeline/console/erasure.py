"""Lines for a terminal: what an erasure would remove, or has."""

import click

from pipeline.steps.erase import Erasure
from pipeline.storage.search import Found

SHOWN = 5


def print_survey(would: Erasure) -> None:
    """Say where the user stands, and what erasing takes away."""
    _rows(would)
    held = {hit.path for hit in would.found.held}
    click.echo(f"files that hold the user: {len(held):,} of {would.found.files:,} searched")
    for path in would.removed[:SHOWN]:
        click.echo(f"  would be removed: {path}")
    if len(would.removed) > SHOWN:
        click.echo(f"  ... and {len(would.removed) - SHOWN:,} more files and exports")
    _elsewhere(would.found)
    if would.finished_at:
        click.echo(f"erased at {would.finished_at}")
        if not held:
            return
    click.echo(
        "with --yes they go for good: states published until now can then no longer be read "
        "(snapshot list, diff, rollback, catalog --as-of), and open catalogues must be opened "
        "again. Nothing was changed."
    )


def print_erasure(done: Erasure) -> None:
    """Say what went, and the proof."""
    _rows(done)
    click.echo(f"files and exports removed: {len(done.removed):,}")
    click.echo(
        f"searched {done.found.files:,} files, {done.found.size:,} bytes, every Parquet file "
        "decoded: 0 hold the user"
    )
    _elsewhere(done.found)
    click.echo("not ours to erase: source files, backups, and what readers have copied")


def _rows(erasure: Erasure) -> None:
    for table, rows in erasure.rows.items():
        click.echo(f"{table:<20} {rows:>9,} rows")


def _elsewhere(found: Found) -> None:
    """The same characters as something else: for a person to judge."""
    places = sorted({(hit.place, hit.path) for hit in found.elsewhere})
    if places:
        click.echo("the same characters stand elsewhere as something else (not as a user's id):")
    for place, path in places[:SHOWN]:
        click.echo(f"  {place}: {path}")
    if len(places) > SHOWN:
        click.echo(f"  ... and in {len(places) - SHOWN:,} more places")
