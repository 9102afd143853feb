"""Why was this interaction kept or removed? A user's sequence, and each decision in words.

What was decided is read from the published state. What weighed most, which of the user's items
are nearest, and what would have kept it are asked of the model that scored the row.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from pipeline import columns as col
from pipeline.encoders.cache import read_vectors
from pipeline.errors import IadsrError, UserError
from pipeline.models import checkpoint
from pipeline.models.decision import decide
from pipeline.models.evidence import evidence
from pipeline.models.model import Model
from pipeline.models.names import SEQUENCE, WANTED
from pipeline.models.neighbours import nearest_items
from pipeline.models.weights import probability_without, signal_weights
from pipeline.reasons import REMOVE
from pipeline.sequences import read_sequences
from pipeline.storage import catalog
from pipeline.storage.lake import Lake
from pipeline.storage.sql import ask

# A probability that is computed again may differ in its last digit, as of another machine.
SAME = 1e-4


@dataclass(frozen=True)
class Signal:
    """A measurement that spoke for noise: `weight` is what it added to the log-odds, alone."""

    signal: str
    value: float
    weight: float


@dataclass(frozen=True)
class Neighbour:
    """Another item of the user's own history; `cosine` is to the item that is explained."""

    item_id: str
    title: str | None
    cosine: float


@dataclass(frozen=True)
class Keep:
    """What would have kept a removed row: `signals` at their usual values, for example."""

    lower_by: float
    signals: list[str]
    noise_probability: float | None  # that it would have had; None: no signals would do


@dataclass(frozen=True)
class Decision:
    """One decision: the published row, and what the model that scored it tells of it."""

    row: dict[str, Any]
    against: list[Signal] = field(default_factory=list)
    nearest: dict[str, list[Neighbour]] = field(default_factory=dict)  # view -> the nearest first
    kept_if: Keep | None = None
    note: str | None = None  # why something is not told, or is of today


@dataclass(frozen=True)
class Explanation:
    """A user's whole sequence, and the decisions that were asked for, oldest first."""

    user_id: str
    sequence: list[dict[str, Any]]  # rows of sql/queries/explain_user.sql
    decisions: list[Decision]


def explain(lake: Lake, user: str, item: str | None = None, day: date | None = None) -> Explanation:
    """Explain the decisions on one user's `item`, or of one `day`; else all removals.

    Raises
    ------
    UserError
        Nothing of that user (item, date) has been cleaned.
    """
    with catalog.connect(lake, catalog.snapshot(lake), user=user) as connection:
        found = ask(connection, "explain_user", user_id=user, item_id=None, event_date=None).pl()
    asked = found.filter(pl.col(col.DECISION).is_not_null())
    if item is not None:
        asked = asked.filter(pl.col(col.ITEM_ID) == item)
    if day is not None:
        asked = asked.filter(pl.col(col.EVENT_DATE) == day)
    if asked.is_empty():
        what = "".join([f" and item {item!r}" if item else "", f" on {day}" if day else ""])
        raise UserError(
            f"no cleaned interaction of user {user!r}{what} in {lake.root}: ids are compared "
            "exactly as given in the source; `iadsr status` lists the cleaned dates"
        )
    if item is None and day is None:
        asked = asked.filter(pl.col(col.DECISION) == REMOVE)
    decisions = []
    for version in asked[col.MODEL_VERSION].unique(maintain_order=True):
        rows = asked.filter(pl.col(col.MODEL_VERSION) == version)
        try:
            model = checkpoint.load(lake, version)
        except IadsrError as error:
            note = (
                f"what weighed most and what is nearest cannot be told: {error}. "
                "`iadsr run --date DATE` cleans the date by the model in use"
            )
            decisions += [Decision(row, note=note) for row in rows.iter_rows(named=True)]
        else:
            decisions += _decisions(lake, user, model, rows, titles=found)
    return Explanation(user, found.to_dicts(), sorted(decisions, key=_by_time))


def _by_time(decision: Decision) -> Any:
    return decision.row[col.EVENT_TIME], decision.row[col.INTERACTION_ID]


def _decisions(
    lake: Lake, user: str, model: Model, rows: pl.DataFrame, titles: pl.DataFrame
) -> Iterator[Decision]:
    """What one model tells of its decisions, each night as of its own end."""
    settings = model.instruments.settings.sequence
    title = dict(titles.select(col.ITEM_ID, col.TITLE).iter_rows())
    for night in rows[col.EVENT_DATE].unique(maintain_order=True):
        sequence = read_sequences(lake, settings, night, active_on=night, user=user)
        today = pl.col(col.EVENT_DATE) == night
        sequence = sequence.with_columns(pl.lit(user).alias(SEQUENCE), today.alias(WANTED))
        vectors = read_vectors(lake, str(model.card["encoder_id"]), sequence[col.ITEM_ID])
        judged = decide(model, evidence(model.instruments, sequence, vectors))
        for row in rows.filter(today).iter_rows(named=True):
            number = row[col.INTERACTION_ID]
            near = nearest_items(model.instruments, sequence, vectors, number)
            neighbours = {
                view: [Neighbour(item, title.get(item), cosine) for item, cosine in found]
                for view, found in near.items()
            }
            here = judged.filter(pl.col(col.INTERACTION_ID) == number)
            yield Decision(row, nearest=neighbours, **_judgement(model, here, row))


def _judgement(model: Model, here: pl.DataFrame, row: dict[str, Any]) -> dict[str, Any]:
    """`against`, `kept_if` and `note` of a decision; nothing of a row that was not judged."""
    stored = row[col.NOISE_PROBABILITY]
    if stored is None:
        return {}
    weights = dict(zip(col.SIGNALS, signal_weights(model, here)[0].tolist(), strict=True))
    order = sorted((name for name in weights if weights[name] > 0), key=lambda n: -weights[n])
    against = [Signal(name, here[name].item(), weights[name]) for name in order]
    now, note = here[col.NOISE_PROBABILITY].item(), None
    if now is None or abs(now - stored) > SAME:
        chance = "not be judged" if now is None else f"have the noise probability {now:.3f}"
        note = (
            "its history or the item texts have changed since it was scored: what weighed most and "
            f"what is nearest is of today, as of which it would {chance}"
        )
    kept_if = None
    if row[col.DECISION] == REMOVE:
        kept_if = _keep(model, here, order, stored, row[col.THRESHOLD])
    return {"against": against, "kept_if": kept_if, "note": note}


def _keep(
    model: Model, here: pl.DataFrame, order: list[str], stored: float, threshold: float
) -> Keep:
    """The fewest of the strongest signals that, at their usual values, would have kept the row."""
    groups = [order[: count + 1] for count in range(len(order))]
    without = probability_without(model, here, groups)[0].tolist() if groups else []
    for group, chance in zip(groups, without, strict=True):
        if chance < threshold:
            return Keep(stored - threshold, group, chance)
    return Keep(stored - threshold, [], None)
