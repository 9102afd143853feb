"""`iadsr erase`: take a person out of the lake."""

import click

from pipeline.commands.session import existing_lake, session


@click.command()
@click.option("--user", required=True, help="User id, as in the source.")
@click.option("--yes", is_flag=True, help="Do it [only say what would go].")
def erase(user: str, yes: bool) -> None:
    """Remove a user from every table, state, cache and export, for good, and prove it.

    States that were published before can no longer be read (snapshot list, diff, rollback,
    catalog --as-of). Sources and backups are not ours: delete the user there, too. What a source
    delivers of the user from now on is counted as erased, and not stored.
    """
    from pipeline.console.erasure import print_erasure, print_survey
    from pipeline.steps import erase as step

    lake = existing_lake()
    config = session()[0]
    if yes:
        print_erasure(step.erase(config, lake, user))
    else:
        print_survey(step.survey(config, lake, user))
