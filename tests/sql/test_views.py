"""Each view says what one row is, and makes of given rows the rows that are expected."""

import json
import re
from datetime import UTC, date, datetime, timedelta

import pytest
from conftest import DAY, decision

from pipeline.schemas import TABLES
from pipeline.storage.sql import statements

NOON = datetime(2024, 1, 18, 12, tzinfo=UTC)


def run_row(step: str, minute: int, **values):
    """A row of `runs`, `minute` minutes after noon; counts, inputs and outputs as JSON."""
    texts = {k: json.dumps(values.pop(k, {})) for k in ("counts", "inputs", "outputs")}
    moment = NOON + timedelta(minutes=minute)
    return {
        "run_id": f"{step}-1",
        "step": step,
        "event_date": DAY,
        "status": "succeeded",
        "started_at": moment,
        "ended_at": moment,
        "duration_s": 1.0,
        **texts,
        **values,
    }


CALIBRATION = {
    "false_drop_budget": 0.05,
    "calibration_error": 0.01,
    "detection": {
        "uniform": {"auroc": 0.9, "average_precision": 0.6},
        "popularity": {"auroc": 0.8, "average_precision": 0.5},
    },
    "strata": [
        {
            "stratum": "1-5",
            "threshold": 0.8,
            "rows": 300,
            "noise_share": 0.1,
            "false_drop_rate": 0.04,
            "false_drop_upper": 0.06,
            "recall": 0.5,
            "precision": 0.7,
        },
        {"stratum": "new", "threshold": None, "rows": 3, "false_drop_rate": 0.0},
    ],
}
TRAINED = run_row(
    "train",
    -60,
    event_date=date(2024, 1, 16),
    model_version="m1",
    counts={"interactions": 1000, "users": 100, "items": 50},
    inputs={"interactions_version": 7},
    outputs={"model": "m1", "calibration": CALIBRATION},
)


def test_every_view_and_every_column_says_what_it_is(opened):
    with opened() as catalogue:
        views = "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
        said = dict(catalogue.execute(views).fetchall())
        columns = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
        silent = [row[:2] for row in catalogue.execute(columns).fetchall() if not row[2]]
    assert set(said) == {t.name for t in TABLES} | set(statements("views")) | {"reasons", "signals"}
    assert silent == []
    assert all(comment.startswith("One row is ") for comment in said.values())


@pytest.mark.parametrize("view", statements("views"))
def test_a_view_is_one_file_that_begins_with_its_contract(view):
    text = statements("views")[view]
    contract = re.search(rf"COMMENT ON VIEW {view} IS\s+'(.*?)';", text)[1].replace("''", "'")
    assert text.startswith(f"-- {contract}\nCREATE OR REPLACE VIEW {view} AS\n")


def test_a_removal_has_a_title_words_and_its_strongest_signals(ask):
    found = ask(
        "FROM removed_interactions",
        items=[{"item_id": "i", "title": "Rake"}],
        scored_interactions=[decision("u", "i", 0.9), decision("u", "j", 0.1)],
    )
    assert len(found) == 1
    row = found[0]
    assert (row["title"], row["reason"]) == ("Rake", "unlike_titles")
    assert row["reason_in_words"] == "its text is unlike the texts of the user's other items"
    assert row["explanation"] == (
        "Removed: its text is unlike the texts of the user's other items; noise probability 0.900 "
        "is at or above 0.800, the threshold for items with 1-5 interactions."
    )
    signals = [row[f"{place}_signal"] for place in ("strongest", "second", "third")]
    assert signals == ["signal_semantic", "signal_surprise", None]


def test_a_user_has_a_row_for_each_cleaned_date(ask):
    found = ask(
        "FROM user_noise_daily ORDER BY ALL",
        scored_interactions=[
            decision("u", "i", 0.9),
            decision("u", "j", 0.1),
            decision("u", "k", None),
            decision("u", "k", 0.2, event_date=date(2024, 1, 18)),
        ],
    )
    shares = [row.pop("removed_share") for row in found]
    assert shares == [pytest.approx(1 / 3), 0.0]
    assert [tuple(row.values()) for row in found] == [
        (DAY, "u", 3, 2, 1, 0.5, 0.9),
        (date(2024, 1, 18), "u", 1, 1, 0, 0.2, 0.2),
    ]


def test_an_item_without_a_title_has_a_row_too(ask):
    found = ask(
        "FROM item_noise_daily ORDER BY item_id",
        items=[{"item_id": "i", "title": "Rake"}],
        scored_interactions=[
            decision("u", "i", 0.9),
            decision("v", "i", 0.5),
            decision("v", "j", None, stratum=None),
        ],
    )
    assert [tuple(row.values()) for row in found] == [
        (DAY, "i", "Rake", "1-5", 2, 2, 1, 0.5, 0.7),
        (DAY, "j", None, None, 1, 0, 0, 0.0, None),
    ]


def test_removal_by_popularity_names_the_budget_of_its_model(ask):
    found = ask(
        "FROM removal_by_popularity ORDER BY stratum",
        runs=[TRAINED],
        scored_interactions=[
            decision("u", "i", 0.9),
            decision("u", "j", 0.1),
            decision("u", "k", None, stratum=None, threshold=None),
        ],
    )
    assert [tuple(row.values()) for row in found] == [
        (DAY, "1-5", 1, 2, 2, 1, 0.5, 0.8, 0.05, 0.04, "m1"),
        (DAY, "unknown", None, 1, 0, 0, 0.0, None, None, None, "m1"),
    ]


def test_a_model_has_one_row_however_often_it_was_asked_for(ask):
    again = run_row(
        "train", 0, status="unchanged", model_version="m1", outputs={"calibration": CALIBRATION}
    )
    failed = run_row("train", 1, status="failed", model_version="m2")
    found = ask(
        "FROM model_history",
        runs=[TRAINED, again, failed],
        scored_interactions=[decision("u", "i", 0.9), decision("u", "j", 0.1)],
    )
    assert len(found) == 1
    expected = {
        "model_version": "m1",
        "trained_as_of": date(2024, 1, 16),
        "interactions": 1000,
        "interactions_version": 7,
        "false_drop_budget": 0.05,
        "auroc": pytest.approx(0.85),
        "average_precision": pytest.approx(0.55),
        "dates_cleaned": 1,
        "first_date": DAY,
        "removed_share": 0.5,
    }
    assert {name: found[0][name] for name in expected} == expected


def test_a_stratum_that_is_never_cut_has_no_threshold(ask):
    found = ask("FROM model_strata ORDER BY stratum", runs=[TRAINED])
    assert [(r["stratum"], r["threshold"], r["noise_share"], r["recall"]) for r in found] == [
        ("1-5", 0.8, 0.1, 0.5),
        ("new", None, None, None),
    ]


def test_a_publication_that_was_killed_after_its_commits_is_a_state(ask):
    found = ask(
        "FROM published_states ORDER BY published_at",
        runs=[
            run_row(
                "publish", 0, run_id="a", counts={"kept": 3}, outputs={"clean_interactions": 4}
            ),
            run_row("publish", 1, run_id="a", status="unchanged"),
            run_row("publish", 2, run_id="b", status="failed"),
            run_row("publish", 3, run_id="b", status="unchanged"),
            run_row("score", 4),
            run_row("rollback", 5, run_id="c"),
        ],
    )
    assert [(row["run_id"], row["kept"], row["clean_version"]) for row in found] == [
        ("a", 3, 4),
        ("b", None, None),
    ]


def test_a_date_with_a_late_event_is_stale(ask):
    event = {"user_id": "u", "item_id": "i", "event_date": DAY}
    found = ask(
        "SELECT * EXCLUDE (published_at) FROM stale_dates",
        runs=[run_row("publish", 0), run_row("publish", 0, event_date=date(2024, 1, 18))],
        interactions=[event, event, event | {"event_date": date(2024, 1, 19)}],
        scored_interactions=[decision("u", "i", 0.1)],
    )
    assert [tuple(row.values()) for row in found] == [(DAY, 2, 1, 1, 0)]


def test_a_date_corrected_after_it_was_read_is_stale(ask):
    def replaced(day: date, run: str) -> dict:
        raw = json.dumps({"event_date": day.isoformat(), "value": 3.0}).encode()
        return {"reason": "superseded", "raw": raw, "run_id": run, "ingest_date": DAY}

    other = date(2024, 1, 18)
    after, again, before = (
        run_row("ingest", 0, run_id=run, outputs={"interactions": version})
        for run, version in (("after", 8), ("after", 9), ("before", 5))
    )
    found = ask(
        "SELECT event_date, late_interactions, corrected_interactions FROM stale_dates",
        runs=[
            run_row("publish", 0, inputs={"interactions": 7}),
            run_row("publish", 0, run_id="publish-2", event_date=other, inputs={"interactions": 8}),
            after,
            again,
            before,
        ],
        quarantine=[
            replaced(DAY, "after"),
            replaced(DAY, "before"),
            replaced(other, "after"),
            {"reason": "no_user", "raw": b"\xff", "run_id": "after", "ingest_date": DAY},
        ],
    )
    assert [tuple(row.values()) for row in found] == [(DAY, 0, 1)]


def test_rejected_rows_are_counted_by_file_and_reason(ask):
    rejected = {"source_file": "a.csv", "reason": "no_user", "ingest_date": DAY}
    found = ask(
        "FROM quarantine_summary",
        quarantine=[
            rejected | {"line": 9, "detail": "nine"},
            rejected | {"line": 2, "detail": "two"},
            rejected | {"line": 1, "reason": "superseded"},
        ],
    )
    assert [tuple(row.values()) for row in found] == [("a.csv", "no_user", 2, 2, "two", DAY)]


def test_the_history_of_runs_has_counts_as_columns(ask):
    found = ask(
        "SELECT step, interactions, quarantined, kept, read_interactions_version, read_file "
        "FROM run_history ORDER BY started_at",
        runs=[
            run_row(
                "ingest",
                0,
                counts={"rows_read": 5, "accepted": 4, "quarantined": 1},
                inputs={"file": "a.csv"},
            ),
            run_row(
                "publish", 1, counts={"interactions": 4, "kept": 3}, inputs={"interactions": 7}
            ),
        ],
    )
    assert [tuple(row.values()) for row in found] == [
        ("ingest", 4, 1, None, None, "a.csv"),
        ("publish", 4, None, 3, 7, None),
    ]


def test_times_are_plain_utc_whatever_the_readers_time_zone(opened):
    with opened(runs=[run_row("publish", 0)]) as catalogue:
        catalogue.execute("SET TimeZone = 'Asia/Tokyo'")
        shown = catalogue.execute("SELECT started_at::VARCHAR FROM run_history").fetchall()
    assert shown == [("2024-01-18 12:00:00",)]
