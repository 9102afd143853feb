"""The cookbook: each question is asked of a real catalogue, and answered right on given rows."""

import json
from datetime import date, timedelta

import duckdb
import pytest
from conftest import DAY, decision
from test_views import NOON, TRAINED, run_row

from pipeline.schemas import INTERESTS
from pipeline.storage import catalog
from pipeline.storage.lake import Lake
from pipeline.storage.sql import ask, statements

QUERIES = statements("queries")


@pytest.fixture
def answer(opened):
    """Function that asks a question of given rows; `variables` are the query's."""

    def run(query, variables=None, **given):
        with opened(**given) as catalogue:
            return ask(catalogue, query, **(variables or {})).pl().to_dicts()

    return run


@pytest.fixture(scope="module")
def published(cleaned):
    """The catalogue of two nights, with itself attached as the state before."""
    path = cleaned.folder / "lake" / catalog.DUCKDB_FILE
    with duckdb.connect(path, read_only=True) as connection:
        connection.execute(f"ATTACH '{path}' AS before (READ_ONLY)")
        yield connection


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_begins_with_its_question(query):
    assert QUERIES[query].startswith("-- ")
    assert "?" in QUERIES[query].splitlines()[0]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_answered_without_any_variable_set(published, query):
    rows = published.sql(QUERIES[query]).fetchall()
    has_nothing_to_tell = {
        "dates_to_clean_again",
        "explain_interaction",  # of nobody
        "explain_user",
        "failed_runs",
        "rejected_rows",
        "users_who_lost_much",  # two nights are too few
        "what_changed",
    }
    assert bool(rows) == (query not in has_nothing_to_tell)


@pytest.mark.parametrize("query", sorted(set(QUERIES) - {"what_changed"}))
def test_a_query_can_be_asked_of_an_empty_lake(tmp_path, query):
    with duckdb.connect(catalog.build(Lake(str(tmp_path)))) as empty:
        assert empty.sql(QUERIES[query]).fetchall() == []


def test_dates_and_counts_narrow_an_answer(published):
    nights = ask(published, "night_summary").fetchall()
    later = ask(published, "night_summary", first=DAY + timedelta(days=1), last=None).fetchall()
    assert len(nights) == 2
    assert later == nights[1:]
    assert len(ask(published, "most_certain_removals", count=2).fetchall()) == 2


def test_users_who_lost_more_than_a_share(answer):
    rows = [decision("much", f"i{n}", 0.9 if n < 3 else 0.1) for n in range(6)]
    rows += [decision("little", f"i{n}", 0.9 if n < 1 else 0.1) for n in range(6)]
    rows += [decision("few", "i", 0.9)]
    found = answer("users_who_lost_much", scored_interactions=rows)
    assert [(row["user_id"], row["removed_share"]) for row in found] == [("much", 0.5)]
    found = answer("users_who_lost_much", {"least": 1, "share": 0.6}, scored_interactions=rows)
    assert [row["user_id"] for row in found] == ["few"]


def test_items_that_are_removed_most_and_whether_they_are_cold(answer):
    rows = [
        decision("u", "rare", 0.9),
        decision("v", "rare", 0.9),
        decision("u", "known", 0.9, stratum="21+"),
        decision("u", "fine", 0.1),
    ]
    found = answer("items_removed_most", scored_interactions=rows)
    assert [(r["item_id"], r["is_cold"], r["removed"]) for r in found] == [
        ("rare", True, 2),
        ("known", False, 1),
    ]


def test_raw_and_clean_counts_of_a_day(answer):
    event = {"event_date": DAY, "user_id": "u"}
    tomorrow = event | {"event_date": DAY + timedelta(days=1)}
    found = answer(
        "clean_against_raw",
        interactions=[event, event, event, event, tomorrow],
        clean_interactions=[event, event, event],
    )
    shown = [(r["raw_interactions"], r["clean_interactions"], r["missing_share"]) for r in found]
    assert shown == [(4, 3, 0.25), (1, None, None)]


def test_what_a_training_run_read(answer):
    night = run_row("publish", 1, run_id="night-1", inputs={"interactions": 8, "items": 2})
    rows = [TRAINED, run_row("train", -90, run_id="older"), night]
    found = answer("what_did_a_run_read", runs=rows)
    assert [(r["run_id"], r["read_up_to"], r["input"], r["version"]) for r in found] == [
        ("train-1", date(2024, 1, 16), "interactions_version", "7")
    ]
    found = answer("what_did_a_run_read", {"run_id": "night-1"}, runs=rows)
    assert [(r["input"], r["version"]) for r in found] == [("interactions", "8"), ("items", "2")]


def test_what_changed_since_the_last_model(answer):
    second = DAY + timedelta(days=1)
    newer = TRAINED | {"model_version": "m2", "run_id": "train-2", "ended_at": NOON}
    rows = [decision("u", "i", 0.9), decision("u", "j", 0.1)]
    rows += [decision("u", "i", 0.1, event_date=second, model_version="m2", threshold=0.7)]
    found = answer("since_the_last_model", runs=[TRAINED, newer], scored_interactions=rows)
    assert [tuple(row.values()) for row in found] == [("1-5", 0.5, 0.0, -0.5, 0.8, 0.7)]


def test_a_failure_that_was_mended(answer):
    found = answer(
        "failed_runs",
        runs=[
            run_row("publish", 0, status="failed", error="disk full"),
            run_row("publish", 1),
            run_row("embed", 2, status="failed", error="no weights"),
        ],
    )
    assert [(row["error"], row["mended_since"]) for row in found] == [
        ("no weights", False),
        ("disk full", True),
    ]


def test_rejected_rows_as_a_share_of_their_file(answer):
    found = answer(
        "rejected_rows",
        quarantine=[{"source_file": "a.csv", "reason": "no_user", "line": 1, "ingest_date": DAY}],
        runs=[run_row("ingest", 0, counts={"rows_read": 4}, inputs={"file": "a.csv"})],
    )
    assert [(row["rejected_rows"], row["share_of_file"]) for row in found] == [(1, 0.25)]


def test_an_interaction_weighs_one_less_its_noise_probability(answer):
    event = {"event_date": DAY, "user_id": "u"}
    found = answer(
        "weighted_interactions",
        interactions=[event | {"item_id": i, "interaction_id": n} for n, i in enumerate("ab")],
        scored_interactions=[
            decision("u", "a", 0.875, interaction_id=0),
            decision("u", "b", None, interaction_id=1),
        ],
    )
    told = [(row["item_id"], row["kept"], row["weight"]) for row in found]
    assert told == [("a", False, 0.125), ("b", True, 1.0)]


def test_a_decision_is_explained_with_what_the_tables_know(answer):
    vectors = {"rake": [1.0, 0.0], "spade": [0.8, 0.6], "flute": [0.0, 1.0], "later": [1.0, 0.0]}
    event = {"user_id": "u", "event_date": DAY}
    removed = {
        "strongest_signals": "signal_surprise, signal_semantic",
        "signal_surprise": 9.5,
        "signal_semantic": 0.125,
        "signal_collaborative": 0.5,
    }
    given = {
        "items": [{"item_id": name, "title": name, "text_hash": name} for name in vectors],
        "item_embeddings": [
            {"encoder_id": encoder, "text_hash": name, "vector": vector}
            for name, vector in vectors.items()
            for encoder in ("e", "another")
        ],
        "interactions": [event | {"item_id": name} for name in ("rake", "rake", "spade", "flute")]
        + [event | {"item_id": "later", "event_date": DAY + timedelta(days=1)}],
        "scored_interactions": [
            decision("u", "rake", 0.9, encoder_id="e", interaction_id=1, **removed),
            decision("u", "spade", 0.1, encoder_id="e", interaction_id=2),
        ],
    }
    rake, spade = answer("explain_interaction", {"user_id": "u", "count": 1}, **given)
    assert rake["explanation"].startswith("Removed: its text is unlike")
    assert rake["disagrees_most_with"] == (
        f"{INTERESTS['signal_surprise']} (surprise 9.500); "
        f"{INTERESTS['signal_semantic']} (semantic 0.125)"
    )
    assert rake["nearest_by_text"] == 'spade "spade" (0.800)'
    assert rake["kept_if_lower_by"] == pytest.approx(0.1)
    assert (spade["disagrees_most_with"], spade["kept_if_lower_by"]) == (None, None)
    assert spade["nearest_by_text"] == 'rake "rake" (0.800)'
    (only,) = answer("explain_interaction", {"user_id": "u", "item_id": "spade"}, **given)
    assert only["nearest_by_text"] == 'rake "rake" (0.800), flute "flute" (0.600)'


def changes(opened, before: dict, after: dict) -> list[str]:
    """Why each decision changed between two states, by interaction."""
    with opened(**after) as later, opened(**before) as earlier:
        file = earlier.execute("SELECT path FROM duckdb_databases() WHERE path <> ''").fetchone()[0]
        earlier.close()
        later.execute(f"ATTACH '{file}' AS before (READ_ONLY)")
        found = ask(later, "what_changed").pl()
    return dict(found.select("item_id", "why").iter_rows())


def test_a_changed_decision_is_put_down_to_its_cause(opened):
    def row(number, item, probability, **other):
        values = {"interaction_id": number, "history_length": 9}
        return decision("u", item, probability, **(values | other))

    before = [
        row(1, "same", 0.9),
        row(2, "model", 0.1),
        row(3, "threshold", 0.7),
        row(4, "late history", 0.1),
        row(5, "text", 0.1),
        row(6, "gone", 0.1),
        row(7, "unjudged", None),
    ]
    new = {"model_version": "m2"}
    after = [
        row(1, "same", 0.95, **new),
        row(2, "model", 0.9, **new),
        row(3, "threshold", 0.72, threshold=0.6, decision="remove", **new),
        row(4, "late history", 0.9, history_length=10),
        row(5, "text", 0.9),
        row(7, "unjudged", 0.9, **new),
        row(8, "late event", 0.1),
        row(9, "other date", 0.9, event_date=DAY + timedelta(days=1)),
    ]
    found = changes(opened, {"scored_interactions": before}, {"scored_interactions": after})
    assert found == {
        "model": "new model",
        "threshold": "new threshold",
        "late history": "late data",
        "text": "other history or item text",
        "gone": "taken away",
        "unjudged": "new model",
        "late event": "late data",
    }


def test_variables_are_values_not_text(answer):
    hostile = "'; DROP VIEW runs; --"
    event = {"event_date": DAY, "user_id": hostile, "item_id": "i", "interaction_id": 1}
    found = answer("explain_user", {"user_id": hostile}, interactions=[event])
    assert json.dumps([row["item_id"] for row in found]) == '["i"]'
