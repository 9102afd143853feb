"""The figures of the report: each question of `sql/report/`, on given rows."""

from datetime import date, timedelta

import duckdb
import polars as pl
import pytest
from conftest import DAY, decision
from test_views import CALIBRATION, TRAINED, run_row

from pipeline.storage.sql import answer as ask
from pipeline.storage.sql import statements

SPAN = {"first": DAY, "last": DAY}
BAND = {"band_days": 28, "min_rows": 4, "min_nights": 3}


@pytest.fixture
def answer(opened):
    """Function that asks a question of given rows; `variables` beyond the dates are its own."""

    def run(query, variables=None, **given):
        with opened(**given) as catalogue:
            found = ask(catalogue, statements("report")[query], **(SPAN | (variables or {})))
            return found.pl().to_dicts()

    return run


def published(minute=0, **values):
    return run_row("publish", minute, model_version="m1", **values)


def nights(*removed):
    """Ten decisions a night, so many of them removals; the last night is DAY."""
    days = [DAY - timedelta(days=len(removed) - 1 - i) for i in range(len(removed))]
    return [
        decision(f"u{n}", "i", 0.9 if n < count else 0.1, event_date=day)
        for day, count in zip(days, removed, strict=True)
        for n in range(10)
    ]


@pytest.mark.parametrize("query", statements("report"))
def test_a_figure_begins_with_its_question(query):
    assert "?" in statements("report")[query].partition("\nWITH")[0]


def test_the_band_is_the_one_that_the_gate_holds_nights_to(answer):
    shares = (1, 2, 0, 3, 10)
    days = answer("removal_by_day", BAND, scored_interactions=nights(*shares))
    assert [row["removed_share"] for row in days] == [0.1, 0.2, 0.0, 0.3, 1.0]
    assert [row["in_report"] for row in days] == [False] * 4 + [True]
    # Two earlier nights are too few, three are not.
    assert [row["usual_upper_bound"] is None for row in days] == [True] * 3 + [False] * 2

    with duckdb.connect() as gate:
        strata = [{"stratum": "all", "scored_rows": 10, "removed_share": n / 10} for n in shares]
        settings = {"max_removed_share": 0.3, "min_rows": 4, "min_nights": 3}
        for name, frame in {
            "scored": pl.DataFrame(nights(10)),
            "recent_strata": pl.DataFrame(strata[:-1]),
            "settings": pl.DataFrame([settings]),
        }.items():
            gate.register(name, frame)
        limit = gate.sql(statements("gates")["removal_share_is_usual"]).pl()
    assert days[-1]["usual_upper_bound"] == pytest.approx(
        limit.row(0, named=True)["usual_upper_bound"], abs=1e-4
    )


def test_nights_of_few_rows_and_old_ones_make_no_band(answer):
    few = [decision("u", "i", 0.9, event_date=DAY - timedelta(days=n)) for n in range(1, 4)]
    old = [{**row, "event_date": row["event_date"] - timedelta(days=40)} for row in nights(1, 1, 1)]
    days = answer("removal_by_day", BAND, scored_interactions=[*few, *old, *nights(1)])
    assert [row["is_held_to_it"] for row in days] == [False] * 3 + [True]
    assert all(row["usual_upper_bound"] is None for row in days)


def test_the_headline_counts_what_became_of_the_rows(answer):
    rows = [decision("u", "i", 0.9), decision("u", "j", 0.1), decision("v", "k", None)]
    other = decision("w", "i", 0.9, event_date=date(2024, 1, 18))
    (found,) = answer("headline", scored_interactions=[*rows, other], runs=[published()])
    assert tuple(found.values()) == (1, 3, 2, 1, 1, 2, 1, pytest.approx(1 / 3))


def test_an_overridden_gate_is_told_with_its_reason_and_the_refusal_before_it(answer):
    override = {"override": {"reason": "a campaign", "gates": {"volume_is_usual": [{"n": 1}]}}}
    runs = [
        published(0, status="failed", error="GateError: no"),
        published(1, inputs=override),
    ]
    gates = answer("gates", {"gates": ["nulls_are_usual", "volume_is_usual"]}, runs=runs)
    assert [tuple(row.values()) for row in gates] == [
        ("nulls_are_usual", 1, 0, None, None),
        ("volume_is_usual", 0, 1, DAY, "a campaign"),
    ]
    (state,) = answer("publications", runs=runs)
    assert (state["refusals"], state["override_reason"]) == (1, "a campaign")


def test_a_stratum_is_held_against_the_budget_of_the_model(answer):
    rows = [
        decision("u", "i", 0.9),
        decision("u", "j", 0.1),
        decision("v", "k", 0.1, stratum="21+"),
    ]
    found = answer(
        "removal_by_popularity", {"model": "m1"}, scored_interactions=rows, runs=[TRAINED]
    )
    assert [tuple(row.values()) for row in found] == [
        ("1-5", 2, 2, 1, 0.5, 0.8, 0.05, 0.04, 0.06, 0.5),
        ("21+", 1, 1, 0, 0.0, None, None, None, None, None),
    ]


def test_probabilities_are_counted_in_steps_that_leave_none_out(answer):
    rows = [decision("u", str(n), p) for n, p in enumerate((0.0, 0.02, 0.025, 0.8, 1.0, None))]
    found = answer("noise_probability", scored_interactions=rows)
    assert [(row["lower_end"], row["decision"], row["interactions"]) for row in found] == [
        (0.0, "keep", 2),
        (0.025, "keep", 1),
        (0.8, "remove", 1),
        (0.975, "remove", 1),
    ]


def test_a_calibration_curve_has_the_intervals_of_its_bins(answer):
    curve = [{"stated": 0.05, "true": 0.0, "rows": 10}, {"stated": 0.52, "true": 0.5, "rows": 100}]
    trained = {
        **TRAINED,
        **run_row("train", 0, outputs={"calibration": CALIBRATION | {"curve": curve}}),
    }
    found = answer("calibration", {"model": "m1"}, runs=[trained | {"model_version": "m1"}])
    assert [row["judged"] for row in found] == [10, 100]
    ends = [(round(row["lower_end"], 4), round(row["upper_end"], 4)) for row in found]
    assert ends == [(0.0, 0.2775), (0.4038, 0.5962)]  # as any table of Wilson's has them


def test_a_model_of_before_has_no_curve_but_what_it_detected(answer):
    assert answer("calibration", {"model": "m1"}, runs=[TRAINED]) == []
    found = answer("detection", {"model": "m1"}, runs=[TRAINED])
    assert [tuple(row.values()) for row in found] == [
        ("popularity", 0.8, 0.5),
        ("uniform", 0.9, 0.6),
    ]
    (model,) = answer("model", runs=[TRAINED, published()])
    assert (model["model_version"], model["users"]) == ("m1", 100)


def test_the_newest_promotion_tells_its_measures(answer):
    measure = {"measure": "false drops", "challenger": 0.04, "champion": 0.05, "limit": 0.06}
    measures = {"champion": "m0", "measures": [measure | {"kept": True}]}
    runs = [run_row("promote", 0, model_version="m1", inputs=measures)]
    found = answer("promotion", {"model": "m1"}, runs=runs)
    assert [tuple(row.values()) for row in found] == [("m0", "false drops", 0.04, 0.05, 0.06, True)]


def test_rejected_rows_are_those_of_the_files_and_of_the_night_after(answer):
    def rejected(file, line, reason, ingested):
        return {"source_file": file, "line": line, "reason": reason, "ingest_date": ingested}

    found = answer(
        "quarantine",
        interactions=[{"event_date": DAY, "source_file": "a.csv", "user_id": "u", "item_id": "i"}],
        quarantine=[
            rejected("a.csv", 9, "empty_id", date(2023, 1, 1)),
            rejected("a.csv", 7, "empty_id", date(2023, 1, 1)),
            rejected("broken.csv", 1, "bad_time", DAY + timedelta(days=1)),
            rejected("elsewhere.csv", 1, "bad_time", date(2023, 1, 1)),
            rejected("a.csv", 3, "superseded", DAY + timedelta(days=1)),
        ],
    )
    assert [tuple(row.values())[:5] for row in found] == [
        ("empty_id", 2, 1, "a.csv", 7),
        ("bad_time", 1, 1, "broken.csv", 1),
    ]


def test_the_times_are_those_since_the_publication_before(answer):
    before = published(0, event_date=DAY - timedelta(days=1), run_id="night-0")
    runs = [
        run_row("ingest", -5, event_date=None),  # of the night before
        before,
        run_row("ingest", 5, event_date=None, duration_s=3.0, peak_memory_bytes=7),
        run_row("ingest", 6, event_date=None, status="unchanged"),
        run_row("score", 7, run_id="night-1", duration_s=2.0),
        run_row("score", 8, run_id="night-1", duration_s=4.0),
        published(9, run_id="night-1"),
        run_row("report", 10),
        run_row("ingest", 11, event_date=None),  # of the night after
    ]
    found = answer("run_times", runs=runs)
    assert [tuple(row.values())[:3] for row in found] == [
        ("ingest", 1, 3.0),
        ("score", 2, 6.0),
        ("publish", 1, 1.0),
    ]


def test_usefulness_sets_each_arm_beside_its_difference(opened):
    base = {"part": "usefulness", "backbone": "sasrec", "noise": "none", "rate": None}
    base |= {"metric": "NDCG", "k": 10, "seed": None, "versus": None, "n": 9}
    rows = [
        {**base, "arm": "cleaned", "value": 0.06, "low": 0.05, "high": 0.07},
        {**base, "arm": "raw", "value": 0.05, "low": 0.04, "high": 0.06},
        {**base, "arm": "cleaned", "versus": "raw", "value": 0.01, "low": 0.0, "high": 0.02},
        {**base, "arm": "raw", "seed": 0, "value": 0.5, "low": None, "high": None},
    ]
    with opened() as catalogue:
        catalogue.register("evaluation_results", pl.DataFrame(rows, infer_schema_length=None))
        found = ask(catalogue, statements("report")["usefulness"]).pl().to_dicts()
    assert [(row["arm"], row["ndcg"], row["difference"]) for row in found] == [
        ("raw", 0.05, None),
        ("cleaned", 0.06, 0.01),
    ]
    assert found[0]["log"] == "the log as it is"


def test_the_newest_evaluation_is_the_one_that_is_told(answer):
    runs = [
        run_row("evaluate", 1, outputs={"folder": "old"}),
        run_row("evaluate", 2, outputs={"folder": "new"}, status="unchanged"),
        run_row("evaluate", 3, outputs={"folder": "none"}, status="failed"),
    ]
    (found,) = answer("evaluation", runs=runs)
    assert (found["folder"], found["as_of"]) == ("new", DAY)
