"""Each gate of sql/gates lets a usual night pass and says what it measured against which limit."""

from datetime import UTC, date, datetime, timedelta

import duckdb
import polars as pl
import pytest

from pipeline.config import GateConfig
from pipeline.storage.sql import statements

DAY = date(2024, 1, 17)
ROWS = 1000


def night(
    rows: int = ROWS,
    removed: int = 40,
    stratum: str = "21+",
    last_hour: float = 24,
    null_values: int = 0,
) -> dict[str, pl.DataFrame]:
    """The three tables of one date."""
    last = datetime(2024, 1, 17, tzinfo=UTC) + timedelta(hours=last_hour, seconds=-1)
    scored = pl.DataFrame(
        {
            "decision": ["remove"] * removed + ["keep"] * (rows - removed),
            "stratum": [stratum] * rows,
            "noise_probability": [0.5] * rows,
            "event_time": [last] * rows,
        },
        schema={
            "decision": pl.String,
            "stratum": pl.String,
            "noise_probability": pl.Float64,
            "event_time": pl.Datetime("us", "UTC"),
        },
    )
    values = [None] * null_values + [1.0] * (rows - null_values)
    clean = pl.DataFrame(
        {"value": values, "event_type": ["view"] * rows},
        schema={"value": pl.Float64, "event_type": pl.String},
    )
    return {"scored": scored, "clean": clean, "interactions": scored}


def usual(nights: int = 10, rows: int = ROWS, share: float = 0.04) -> dict[str, pl.DataFrame]:
    """What was published before."""
    dates = [DAY - timedelta(days=i + 1) for i in range(nights)]
    recent = pl.DataFrame(
        {
            "event_date": dates,
            "scored_rows": [rows] * nights,
            "silent_hours": [0.5] * nights,
            "noise_probability": [0.0] * nights,
            "value": [0.0] * nights,
            "event_type": [0.0] * nights,
        }
    )
    strata = pl.DataFrame(
        {
            "event_date": dates * 2,
            "stratum": ["all"] * nights + ["21+"] * nights,
            "scored_rows": [rows] * nights * 2,
            "removed_share": [share] * nights * 2,
        }
    )
    return {"recent_nights": recent, "recent_strata": strata}


def violations(gate: str, *tables: dict[str, pl.DataFrame], **settings: object) -> list[dict]:
    config = GateConfig(**settings).model_dump()
    with duckdb.connect() as connection:
        for group in (*tables, {"settings": pl.DataFrame([{"event_date": DAY, **config}])}):
            for name, frame in group.items():
                connection.register(name, frame)
        return connection.sql(statements("gates")[gate]).pl().to_dicts()


@pytest.mark.parametrize("gate", statements("gates"))
def test_a_usual_night_passes_and_so_does_a_first_one(gate):
    assert violations(gate, night(), usual()) == []
    assert violations(gate, night(), usual(nights=6)) == []
    assert violations(gate, night(rows=0, removed=0), usual(nights=0)) == []


@pytest.mark.parametrize("gate", statements("gates"))
def test_a_gate_says_what_it_demands_in_its_first_line(gate):
    assert statements("gates")[gate].startswith("-- ")


def test_a_removal_share_above_the_limit_is_refused():
    found = violations("removal_share_is_usual", night(removed=301), usual(nights=0))
    assert [(row["stratum"], row["removed_share"]) for row in found] == [("all", 0.301)]
    assert violations("removal_share_is_usual", night(removed=300), usual(nights=0)) == []


def test_a_removal_share_that_jumps_out_of_its_band_is_refused():
    found = violations("removal_share_is_usual", night(removed=95), usual())
    assert {row["usual_upper_bound"] for row in found} == {0.09}
    assert violations("removal_share_is_usual", night(removed=85), usual()) == []


def test_a_stratum_out_of_its_own_band_is_refused_where_the_whole_is_within():
    cold = pl.DataFrame(
        {
            "event_date": [DAY - timedelta(days=i) for i in range(1, 11)],
            "stratum": ["1-5"] * 10,
            "scored_rows": [ROWS] * 10,
            "removed_share": [0.01] * 10,
        }
    )
    before = usual()
    before["recent_strata"] = pl.concat([before["recent_strata"], cold])
    found = violations("removal_share_is_usual", night(removed=80, stratum="1-5"), before)
    assert [(row["stratum"], row["usual_upper_bound"]) for row in found] == [("1-5", 0.06)]


def test_small_nights_neither_make_the_band_nor_are_held_to_it():
    gate = "removal_share_is_usual"
    assert violations(gate, night(removed=200), usual(rows=10, share=0.0)) == []
    assert violations(gate, night(rows=50, removed=50), usual()) == []


@pytest.mark.parametrize(("rows", "refused"), [(0, 1), (330, 1), (340, 0), (2990, 0), (3010, 1)])
def test_far_fewer_or_more_interactions_than_usual_are_refused(rows, refused):
    found = violations("volume_is_usual", night(rows=rows, removed=0), usual())
    assert len(found) == refused
    if refused:
        row = {"interactions": rows, "usual_lower_bound": 333, "usual_upper_bound": 3000}
        assert found == [row]


def test_values_that_go_missing_are_refused():
    found = violations("nulls_are_usual", night(null_values=150), usual())
    assert found == [{"field": "value", "null_share": 0.15, "usual_upper_bound": 0.1}]
    assert violations("nulls_are_usual", night(null_values=90), usual()) == []


def test_a_log_that_ends_in_the_afternoon_is_refused_where_it_usually_ends_at_midnight():
    found = violations("date_is_complete", night(last_hour=16), usual())
    assert found == [{"silent_hours": 8.0, "usual_upper_bound": 6.5}]
    assert violations("date_is_complete", night(last_hour=18), usual()) == []
