"""`iadsr maintain`: the upkeep of the lake."""

import click

from pipeline.commands.session import existing_lake, session


@click.command()
def maintain() -> None:
    """Compact the tables, remove dead files, drop old staging, list the stale dates.

    Files that were live within maintain.grace_hours stay: whoever holds an older catalogue can
    read on. No row of any table changes.
    """
    from pipeline.steps.maintain import maintain as step

    lake = existing_lake()
    done = step(session()[0], lake)
    click.echo(f"small files merged away: {done.files_merged:,}")
    click.echo(f"dead files deleted:      {done.files_deleted:,}")
    click.echo(f"old staging dropped:     {done.staging_dropped:,}")
    for day, (now, then) in done.stale.items():
        click.echo(f"stale: {day} ({now:,} interactions, {then:,} when cleaned)")
    if done.stale:
        first, last = min(done.stale), max(done.stale)
        click.echo(f"clean them: `iadsr backfill --from {first} --to {last} --stale --run`")
