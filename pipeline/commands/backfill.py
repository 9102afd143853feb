"""`iadsr backfill`: plan the cleaning of many dates, and run it on this machine."""

from datetime import date, timedelta

import click

from pipeline.commands.options import Day, model_option
from pipeline.commands.session import existing_lake, session


@click.command()
@click.option("--from", "first", type=Day(), required=True, help="First UTC date, inclusive.")
@click.option("--to", "last", type=Day(), required=True, help="Last UTC date, inclusive.")
@click.option("--stale", "select", flag_value="stale", help="Only dates that changed since.")
@click.option("--missing", "select", flag_value="missing", help="Only dates never cleaned.")
@click.option("--all", "select", flag_value="all", help="Every date, also those that are done.")
@click.option("--run", "running", is_flag=True, help="Clean them here [only say which].")
@click.option("--parallel", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--backwards", is_flag=True, help="The newest date first.")
@model_option
def backfill(
    *,
    first: date,
    last: date,
    select: str | None,
    running: bool,
    parallel: int,
    backwards: bool,
    model_version: str | None,
) -> None:
    """Say which dates need cleaning, why, and how long it may take; with --run, clean them.

    Without --stale, --missing or --all: the dates never cleaned, and the stale ones. Run it again
    to go on where it was cut off.
    """
    from pipeline.console.backfill import print_backfill
    from pipeline.steps import backfill as step

    lake = existing_lake()
    config = session()[0]
    if running:
        step.bring_in(config, lake, first, last)
    planned = step.plan_backfill(lake, first, last, select or "missing and stale")  # type: ignore[arg-type]
    print_backfill(planned, parallel)
    days = [each.day for each in planned]
    if running and days:
        days = days[::-1] if backwards else days
        done = step.run_backfill(config, lake, days, parallel=parallel, model_version=model_version)
        click.echo(f"{done:,} dates are clean")
    elif days:
        end = days[-1] + timedelta(days=1)
        click.echo(
            "clean them here with --run, or in Airflow (its end is exclusive):\n"
            f"  airflow backfill create --dag-id nightly_clean --from-date {days[0]} "
            f"--to-date {end} --reprocess-behavior completed"
        )
