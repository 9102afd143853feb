"""Lines for a terminal about models."""

import click

from pipeline.steps.models import ModelEntry


def print_models(entries: list[ModelEntry]) -> None:
    """Print one line a model, the newest last."""
    if not entries:
        click.echo("no models: train one with `iadsr train --date DATE`")
        return
    click.echo(f"{'model':<44} {'as of':<10}  {'made (UTC)':<19}  AUROC  standing")
    for entry in entries:
        auroc = "" if entry.auroc is None else f"{entry.auroc:.3f}"
        made = entry.created_at[:19].replace("T", " ")
        line = f"{entry.version:<44} {entry.as_of:<10}  {made:<19}  {auroc:<5}  {entry.standing}"
        click.echo(line.rstrip())
