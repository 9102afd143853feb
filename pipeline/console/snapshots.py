"""Lines for a terminal: published states, and what changed between two of them."""

import click

from pipeline import columns as col
from pipeline.console.lines import clean_text
from pipeline.steps.diff import Diff
from pipeline.storage.snapshots import Publication

SHOWN_CHANGES = 20


def print_states(states: list[tuple[Publication, bool]]) -> None:
    """Print published states, with whether each can still be read."""
    click.echo("published (UTC)      date        kept     removed  readable  run")
    for state, readable in states:
        kept, removed = ("" if state[n] is None else f"{state[n]:,}" for n in ("kept", "removed"))
        when = f"{state['published_at']:%Y-%m-%d %H:%M:%S}"
        mark = "yes" if readable else "vacuumed"
        line = f"{when}  {state[col.EVENT_DATE]}  {kept:>7}  {removed:>7}  {mark:<8}"
        click.echo(f"{line}  {state[col.RUN_ID]}  {state[col.MODEL_VERSION]}")


def print_diff(found: Diff) -> None:
    """Print how many decisions changed how and why, then the first of them."""
    for label, state in (("before", found.before), ("after", found.after)):
        when = f"{state['published_at']:%Y-%m-%d %H:%M:%S}"
        click.echo(f"{label:<6}  {when}  {state[col.RUN_ID]}  {state[col.MODEL_VERSION]}")
    click.echo(f"of      {found.day or 'every date that both have'}\n")
    if found.changes.is_empty():
        click.echo("no decision differs")
        return
    for old, new, why, count in found.causes().iter_rows():
        click.echo(f"{count:>9,}  {old or '(none)':<7} -> {new or '(none)':<7}  {why}")
    click.echo("")
    for row in found.changes.head(SHOWN_CHANGES).iter_rows(named=True):
        title = clean_text(row[col.TITLE] or "(no title)")
        user, item = clean_text(row[col.USER_ID]), clean_text(row[col.ITEM_ID])
        change = f"{row['decision_before'] or '(none)'} -> {row[col.DECISION] or '(none)'}"
        click.echo(f"{row[col.EVENT_DATE]}  user {user}  {item}  {title}")
        click.echo(f"    {change}: {row['why']}; {_numbers(row)}")
    if found.changes.height > SHOWN_CHANGES:
        click.echo(
            f"\n{SHOWN_CHANGES} of {found.changes.height:,}; all of them: "
            f"`iadsr catalog --as-of {found.before[col.RUN_ID]}`, then "
            "sql/queries/what_changed.sql"
        )


def _numbers(row: dict[str, object]) -> str:
    def told(name: str, digits: str) -> str:
        old, new = row[f"{name}_before"], row[name]
        shown = ["none" if value is None else format(value, digits) for value in (old, new)]
        return shown[0] if old == new else " -> ".join(shown)

    return (
        f"noise probability {told('probability', '.3f')}, threshold {told('threshold', '.3f')}, "
        f"history {told('history', ',')}"
    )
