"""Lines for a terminal about a planned backfill."""

import click

from pipeline.steps.backfill import PlannedDate

LISTED = 40


def print_backfill(planned: list[PlannedDate], parallel: int) -> None:
    """Print the dates, each with its reason, rows and estimate, and what they come to."""
    if not planned:
        click.echo("nothing to clean in this range")
        return
    click.echo("date        interactions   about  why")
    for each in planned[:LISTED]:
        about = "?" if each.seconds is None else f"{each.seconds:.0f} s"
        click.echo(f"{each.day}  {each.rows:>12,}  {about:>6}  {each.why}")
    if len(planned) > LISTED:
        click.echo(f"... and {len(planned) - LISTED:,} more, the last {planned[-1].day}")
    rows = sum(each.rows for each in planned)
    estimates = [each.seconds for each in planned if each.seconds is not None]
    took = f"about {_span(sum(estimates) / parallel)}" if estimates else "no night to estimate by"
    click.echo(f"{len(planned):,} dates, {rows:,} interactions, {took} ({parallel} at a time)")


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
