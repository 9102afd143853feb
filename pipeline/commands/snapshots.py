"""`iadsr snapshot list`, `iadsr rollback`, `iadsr diff`: states that were published before."""

from datetime import date

import click

from pipeline.commands.options import Day, date_option, override_option
from pipeline.commands.session import existing_lake, session


@click.group("snapshot")
def snapshot() -> None:
    """Look at the states that were published; each can be read again until it is vacuumed."""


@snapshot.command("list")
@click.option("--date", "day", type=Day(), help="Only publications of this date.")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="How many.")
def list_(day: date | None, last: int) -> None:
    """Published states, the newest last: when, which date, what was kept, by which run.

    `iadsr catalog --as-of RUN` opens one, `iadsr diff RUN RUN` compares two.
    """
    from pipeline.console.snapshots import print_states
    from pipeline.storage.snapshots import is_readable, publications

    lake = existing_lake()
    found = [state for state in publications(lake) if day in (None, state["event_date"])][-last:]
    print_states([(state, is_readable(lake, state)) for state in found])


@click.command()
@date_option
@click.option("--to", metavar="RUN", required=True, help="The run that had published it.")
@override_option
def rollback(day: date, to: str, reason: str | None) -> None:
    """Publish again what an earlier run made of one date, audited as any publication.

    The model in use stays as it is: a date that got late events since is stale, and cleaned again
    with that model.
    """
    from pipeline.steps.rollback import rollback as step

    lake = existing_lake()
    done = step(session()[0], lake, day, to, reason)
    click.echo(f"{day} {'is already as' if done.status == 'unchanged' else 'is again as'} {to}")


@click.command()
@click.argument("before", metavar="RUN_A")
@click.argument("after", metavar="RUN_B")
@click.option("--date", "day", type=Day(), help="Only this date.")
def diff(before: str, after: str, day: date | None) -> None:
    """Say which decisions changed from the state of RUN_A to that of RUN_B, and why.

    Runs of one date are compared on that date, others on all dates that both have. Times (UTC) do,
    too.
    """
    from pipeline.console.snapshots import print_diff
    from pipeline.steps.diff import diff as step

    print_diff(step(existing_lake(), before, after, day))
