"""A user's sequence as a table for a terminal, and why each decision was made, in sentences.

The same as JSON. Text from logs and catalogues is made harmless before it is printed.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

import click

from pipeline import columns as col
from pipeline.console.lines import clean_text
from pipeline.reasons import REMOVE
from pipeline.schemas import INTERESTS
from pipeline.steps.explain import Decision, Explanation, Neighbour, Signal

SHOWN_ROWS = 50  # of the sequence, in the terminal
SHOWN_DECISIONS = 20
NAMED_SIGNALS = 3
TITLE_WIDTH = 46

VIEWS = {"semantic": "by text", "collaborative": "by behaviour"}


def print_explanation(found: Explanation) -> None:
    """Print the sequence, removed rows marked, then the reasons of what was asked for."""
    asked = found.decisions[-SHOWN_DECISIONS:]
    _print_sequence(found, asked)
    if not found.decisions:
        click.echo("\nNothing of it was removed (--item or --date tells why something was kept).")
    if len(asked) < len(found.decisions):
        click.echo(f"\nThe last {len(asked)} of {len(found.decisions):,} (--json tells all).")
    for decision in asked:
        row = decision.row
        click.echo(f"\n{_moment(row)}  {_named(row[col.ITEM_ID], row[col.TITLE])}")
        for sentence in sentences(decision):
            click.echo(f"  {sentence}")


def to_json(found: Explanation) -> str:
    """The explanation, whole, with the same sentences; characters beyond ASCII are escaped."""
    whole = asdict(found)
    for told, decision in zip(whole["decisions"], found.decisions, strict=True):
        told["why"] = list(sentences(decision))
    return json.dumps(whole, indent=2, default=_plain)


def sentences(decision: Decision) -> Iterator[str]:
    """Why: the verdict, what it disagrees with, what is nearest, what would have kept it."""
    yield decision.row["explanation"]
    if decision.against:
        told = "; ".join(_told(signal) for signal in decision.against[:NAMED_SIGNALS])
        yield f"It disagrees most with {told}."
    for view, words in VIEWS.items():
        if view in decision.nearest:
            yield f"Nearest of the user's own {words}: {_listed(decision.nearest[view])}."
    if keep := decision.kept_if:
        below = f"It would have been kept with a noise probability lower by {keep.lower_by:.3f}"
        if keep.noise_probability is None:
            yield f"{below}; no signal at its usual value would have done that."
        else:
            named = " and ".join(name.removeprefix("signal_") for name in keep.signals)
            yield f"{below}: with {named} as usual it would be {keep.noise_probability:.3f}."
    if decision.note:
        yield f"Note: {clean_text(decision.note, 400)}."


def _print_sequence(found: Explanation, asked: list[Decision]) -> None:
    rows = found.sequence
    last = len(rows)
    if asked:  # a window that ends a little after the last decision that is explained
        at = [row[col.INTERACTION_ID] for row in rows].index(asked[-1].row[col.INTERACTION_ID])
        last = min(last, max(at + 6, SHOWN_ROWS))
    shown = rows[max(last - SHOWN_ROWS, 0) : last]
    of = "" if len(shown) == len(rows) else f", {len(shown)} of them shown (--json tells all)"
    user = clean_text(found.user_id)
    click.echo(f"user {user}: {len(rows):,} interactions{of}; - removed, + kept, . not cleaned\n")
    head = f"  {'time':<16}  {'item':<14}  {'title':<{TITLE_WIDTH}}  noise  threshold"
    click.echo(head.rstrip())
    for row in shown:
        mark = {None: ".", REMOVE: "-"}.get(row[col.DECISION], "+")
        item = clean_text(row[col.ITEM_ID], 14)
        title = clean_text(row[col.TITLE] or "", TITLE_WIDTH)
        chance, threshold = (_number(row[n]) for n in (col.NOISE_PROBABILITY, col.THRESHOLD))
        line = (
            f"{mark} {_moment(row)}  {item:<14}  {title:<{TITLE_WIDTH}}  {chance:>5}  {threshold}"
        )
        click.echo(line.rstrip())


def _told(signal: Signal) -> str:
    name = signal.signal.removeprefix("signal_")
    return f"{INTERESTS[signal.signal]} ({name} {signal.value:.3f})"


def _listed(neighbours: list[Neighbour]) -> str:
    if not neighbours:
        return "none (it has no such view, or no other item has)"
    return ", ".join(f"{_named(n.item_id, n.title)} ({n.cosine:.3f})" for n in neighbours)


def _named(item: str, title: str | None) -> str:
    return f'{clean_text(item)} "{clean_text(title)}"' if title else clean_text(item)


def _moment(row: dict[str, Any]) -> str:
    return f"{row[col.EVENT_TIME]:%Y-%m-%d %H:%M}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _plain(value: Any) -> str:
    assert isinstance(value, date | datetime)
    return value.isoformat()
