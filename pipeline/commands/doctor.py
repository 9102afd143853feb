"""`iadsr doctor`: whether everything that a night needs is there."""

import json
import os
import sys
from dataclasses import asdict

import click

from pipeline.commands.session import session


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(as_json: bool) -> None:
    """Check versions, weights, GPU, vLLM, the lake, free disk, the clock, Airflow: a line each.

    Exit code 2 if anything fails. A probe of the lake makes a table in it, and removes it.
    """
    from pipeline.console.health import line
    from pipeline.steps.doctor import doctor as step

    checks = []
    for checked in step(*session()):
        checks.append(checked)
        if not as_json:
            click.echo(line(checked))
    if as_json:
        click.echo(json.dumps([asdict(checked) for checked in checks], indent=2))
    if any(checked.verdict == "fail" for checked in checks):
        sys.stdout.flush()
        os._exit(2)  # a check that still waits for a server must not keep the process
