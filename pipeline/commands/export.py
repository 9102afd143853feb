"""`iadsr export`: the cleaned log as files that recommender libraries load."""

from datetime import date
from typing import Any

import click

from pipeline.commands.options import Day
from pipeline.commands.session import existing_lake, session


@click.command()
@click.option(
    "--format",
    "library",
    type=click.Choice(["recbole", "rectools", "replay", "implicit", "csv", "parquet"]),
    required=True,
    help="Which library, or which kind of plain file.",
)
@click.option(
    "--split",
    type=click.Choice(["leave_one_out", "global_time"]),
    help="In parts as `iadsr evaluate` makes them, targets as they were before cleaning [whole].",
)
@click.option(
    "--weights",
    is_flag=True,
    help="Every interaction, with weight 1 - noise probability [only the kept ones].",
)
@click.option("--from", "first", type=Day(), help="First UTC date, inclusive [the first].")
@click.option("--to", "last", type=Day(), help="Last UTC date, inclusive [the newest].")
@click.option("--as-of", "as_of", metavar="RUN|TIME", help="An earlier published state (UTC).")
@click.option(
    "--out",
    metavar="FOLDER",
    help="Local or s3://; an export that is there is replaced [LAKE/exports/FORMAT].",
)
def export(*, out: str | None, first: date | None, last: date | None, **asked: Any) -> None:
    """Write what was cleaned in the format of a recommender library, with a manifest.

    Dates that were never cleaned are left out, and named. The same request of the same state gives
    the same bytes.
    """
    from pipeline.steps.export import Request
    from pipeline.steps.export import export as step

    if first and last and first > last:
        raise click.UsageError(f"--from {first} is after --to {last}")
    lake = existing_lake()
    done = step(session()[0], lake, Request(first=first, last=last, **asked), out)
    click.echo(done.outputs["folder"])
