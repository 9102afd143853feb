"""`iadsr models`: which models there are, which one is in use, and changing that by hand."""

import click

from pipeline.commands.options import override_option
from pipeline.commands.session import existing_lake, session


@click.group("models")
def models() -> None:
    """Look at trained models; put one in use, or go back to the one before."""


@models.command("list")
def list_() -> None:
    """Every model: as of which date, when made, how much noise it found, and its standing."""
    from pipeline.console.models import print_models
    from pipeline.steps.models import list_models

    print_models(list_models(existing_lake()))


@models.command()
@click.argument("version")
@override_option
def promote(version: str, reason: str | None) -> None:
    """Put VERSION in use, if it is no worse than the model in use on held-out users."""
    from pipeline.steps.promote import promote as step

    lake = existing_lake()
    done = step(session()[0], lake, version, override=reason)
    click.echo(f"{version} {'was in use already' if done.status == 'unchanged' else 'is in use'}")


@models.command()
@click.option("--reason", required=True, help="Recorded in `runs`.")
def rollback(reason: str) -> None:
    """Put the model in use again that was before the present one."""
    from pipeline.steps.promote import rollback as step

    lake = existing_lake()
    click.echo(f"{step(session()[0], lake, reason)} is in use")
