"""`iadsr report`: one page about published dates."""

from datetime import date

import click

from pipeline.commands.options import Day
from pipeline.commands.session import existing_lake, session
from pipeline.errors import UserError


@click.command()
@click.option("--date", "day", type=Day(), help="This UTC date [the newest published one].")
@click.option("--from", "first", type=Day(), help="First of several UTC dates, inclusive.")
@click.option("--to", "last", type=Day(), help="Last of them, inclusive.")
@click.option("--out", metavar="FILE", help="Where to [LAKE/reports/DATE.html].")
def report(day: date | None, first: date | None, last: date | None, out: str | None) -> None:
    """Write one page that tells what was removed and why, how sure that is, and what it took.

    The page needs no network. Every night writes its own.
    """
    from pipeline.steps.report import report as step

    if (first is None) != (last is None) or (day and first):
        raise UserError("say either --date, or both --from and --to")
    if first and last and first > last:
        raise UserError(f"--from {first} is after --to {last}")
    lake = existing_lake()
    click.echo(step(session()[0], lake, first or day, last or day, out))
