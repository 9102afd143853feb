"""Each check of sql/checks passes on a sound night and names the rows that violate it."""

from datetime import UTC, date, datetime

import duckdb
import polars as pl
import pytest

from pipeline.reasons import REASONS
from pipeline.schemas import CLEAN_INTERACTIONS, INTERACTIONS, SCORED_INTERACTIONS
from pipeline.storage.lake import conform
from pipeline.storage.sql import statements

DAY = date(2024, 1, 17)
NOON = datetime(2024, 1, 17, 12, tzinfo=UTC)


def sound_night() -> dict[str, pl.DataFrame]:
    """Three interactions: kept, removed, kept unscored."""
    event = {"user_id": "u", "event_time": NOON, "event_date": DAY}
    ids = [1, 2, 3]
    interactions = pl.DataFrame([{**event, "interaction_id": i, "item_id": f"i{i}"} for i in ids])
    provenance = {"model_version": "m", "encoder_id": "e", "config_digest": "c", "run_id": "r"}
    decisions = [
        {
            "decision": "keep",
            "reason": "below_threshold",
            "noise_probability": 0.1,
            "threshold": 0.8,
        },
        {
            "decision": "remove",
            "reason": "unlike_titles",
            "noise_probability": 0.9,
            "threshold": 0.8,
        },
        {
            "decision": "keep",
            "reason": "unknown_item",
            "noise_probability": None,
            "threshold": None,
        },
    ]
    scored = pl.DataFrame(
        [
            {**event, "interaction_id": i, "item_id": f"i{i}", **provenance, **d}
            for i, d in zip(ids, decisions, strict=True)
        ]
    )
    return {
        "interactions": conform(interactions, INTERACTIONS),
        "scored": conform(scored, SCORED_INTERACTIONS),
        "clean": conform(interactions.filter(pl.col("interaction_id") != 2), CLEAN_INTERACTIONS),
        "reasons": pl.DataFrame({"reason": list(REASONS)}),
        "settings": pl.DataFrame([{"event_date": DAY}]),
    }


def violations(check: str, tables: dict[str, pl.DataFrame]) -> list[dict[str, object]]:
    with duckdb.connect() as connection:
        for name, frame in tables.items():
            connection.register(name, frame)
        return connection.sql(statements("checks")[check]).pl().to_dicts()


def alter(tables: dict[str, pl.DataFrame], table: str, interaction: int, **values) -> None:
    here = pl.col("interaction_id") == interaction
    tables[table] = tables[table].with_columns(
        pl.when(here)
        .then(pl.lit(value))
        .otherwise(pl.col(name))
        .cast(tables[table][name].dtype)
        .alias(name)
        for name, value in values.items()
    )


@pytest.mark.parametrize("check", statements("checks"))
def test_a_sound_night_passes(check):
    assert violations(check, sound_night()) == []


@pytest.mark.parametrize("check", statements("checks"))
def test_a_check_says_what_it_demands_in_its_first_line(check):
    assert statements("checks")[check].startswith("-- ")


def test_an_interaction_without_a_decision_is_found():
    tables = sound_night()
    tables["scored"] = tables["scored"].filter(pl.col("interaction_id") != 3)
    found = violations("every_interaction_scored_once", tables)
    assert found == [{"interaction_id": 3, "accepted": 1, "decisions": 0}]


def test_a_decision_made_twice_and_one_on_nothing_are_found():
    tables = sound_night()
    strange = tables["scored"].head(1).with_columns(interaction_id=pl.lit(9, pl.Int64))
    tables["scored"] = pl.concat([tables["scored"], tables["scored"].head(1), strange])
    found = violations("every_interaction_scored_once", tables)
    assert found == [
        {"interaction_id": 1, "accepted": 1, "decisions": 2},
        {"interaction_id": 9, "accepted": 0, "decisions": 1},
    ]


def test_a_removed_row_among_the_clean_and_an_altered_one_are_found():
    tables = sound_night()
    removed = tables["interactions"].filter(pl.col("interaction_id") == 2)
    tables["clean"] = pl.concat([tables["clean"], removed])
    alter(tables, "clean", 3, value=5.0)
    found = [
        (row["fault"], row["interaction_id"])
        for row in violations("clean_is_what_was_kept", tables)
    ]
    assert found == [
        ("missing from clean", 3),
        ("not among the kept", 2),
        ("not among the kept", 3),
    ]


@pytest.mark.parametrize(
    ("interaction", "values"),
    [
        (2, {"noise_probability": 0.7}),  # removed below its threshold
        (2, {"threshold": None}),
        (1, {"noise_probability": 0.85}),  # kept as below, but above
        (1, {"reason": "no such reason"}),
        (1, {"reason": None}),
        (1, {"decision": "perhaps"}),
    ],
)
def test_a_decision_against_its_evidence_is_found(interaction, values):
    tables = sound_night()
    alter(tables, "scored", interaction, **values)
    found = violations("decision_follows_evidence", tables)
    assert [row["interaction_id"] for row in found] == [interaction]


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.5])
def test_a_probability_that_is_none_is_found(value):
    tables = sound_night()
    alter(tables, "scored", 1, noise_probability=value)
    found = violations("probability_is_a_probability", tables)
    assert [row["interaction_id"] for row in found] == [1]


@pytest.mark.parametrize(
    "values",
    [
        {"event_date": date(2024, 1, 18)},
        {"event_time": datetime(2024, 1, 18, 0, 0, tzinfo=UTC)},
        {"event_time": datetime(2024, 1, 16, 23, 59, 59, 999999, tzinfo=UTC)},
    ],
)
def test_a_row_of_another_date_is_found(values):
    tables = sound_night()
    alter(tables, "scored", 1, **values)
    assert [r["interaction_id"] for r in violations("rows_belong_to_the_date", tables)] == [1]


@pytest.mark.parametrize(
    "values", [{"model_version": "other"}, {"encoder_id": None}, {"user_id": None}]
)
def test_mixed_or_missing_provenance_is_found(values):
    tables = sound_night()
    alter(tables, "scored", 1, **values)
    assert len(violations("provenance_is_complete", tables)) == 1
