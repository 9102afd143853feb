"""Why was it removed? What is told agrees with the published row, and harms no terminal."""

import json

import polars as pl
import pytest

from pipeline import cli as command_line
from pipeline import columns as col
from pipeline.console.explanation import print_explanation, sentences
from pipeline.errors import UserError
from pipeline.models import checkpoint
from pipeline.schemas import INTERESTS, ITEMS, SCORED_INTERACTIONS
from pipeline.steps.explain import explain
from pipeline.steps.ingest import ingest
from pipeline.storage import catalog
from pipeline.storage.sql import ask
from tests.conftest import NIGHT, Workspace, write_clicks

HOSTILE = "\x1b[2J\x1b]0;owned\x07rm -rf\u202e\r\n'\"<script>"


@pytest.fixture(scope="module")
def removed(cleaned) -> dict:
    """The surest removal of the first night."""
    rows = cleaned.contents(SCORED_INTERACTIONS).filter(
        pl.col(col.DECISION) == "remove", pl.col(col.EVENT_DATE) == NIGHT
    )
    return rows.sort(col.NOISE_PROBABILITY, col.INTERACTION_ID).row(-1, named=True)


def explained(workspace: Workspace, row: dict):
    found = explain(workspace.lake, row[col.USER_ID], row[col.ITEM_ID], row[col.EVENT_DATE])
    assert len(found.decisions) == 1
    return found.decisions[0]


def test_the_sequence_is_whole_and_says_what_was_not_cleaned(cleaned, removed):
    found = explain(cleaned.lake, removed[col.USER_ID])
    days = [row[col.EVENT_DATE] for row in found.sequence]
    decided = [row[col.DECISION] is not None for row in found.sequence]
    assert days == sorted(days)
    assert decided == [
        NIGHT <= day <= cleaned.contents(SCORED_INTERACTIONS)["event_date"].max() for day in days
    ]
    assert {d.row[col.DECISION] for d in found.decisions} == {"remove"}


def test_the_strongest_signals_are_those_that_were_published(cleaned, removed):
    found = explained(cleaned, removed)
    named = removed[col.STRONGEST_SIGNALS].split(", ")
    assert [s.signal for s in found.against[:3]] == named
    assert [s.value for s in found.against] == [removed[s.signal] for s in found.against]
    assert found.note is None


def test_the_nearest_of_the_users_own_is_as_near_as_its_signal_says(cleaned, removed):
    near = explained(cleaned, removed).nearest
    own = {row[col.ITEM_ID] for row in explain(cleaned.lake, removed[col.USER_ID]).sequence}
    for view in ("semantic", "collaborative"):
        cosines = [n.cosine for n in near[view]]
        assert cosines[0] == pytest.approx(removed[f"signal_{view}_nearest"], abs=2e-6)
        assert cosines == sorted(cosines, reverse=True)
        assert {n.item_id for n in near[view]} <= own
        assert all(n.title for n in near[view])


def test_what_would_have_kept_it_is_below_the_threshold(cleaned):
    rows = cleaned.contents(SCORED_INTERACTIONS).filter(pl.col(col.DECISION) == "remove")
    by_signals = 0
    for row in rows.head(12).iter_rows(named=True):
        found = explained(cleaned, row)
        keep, told = found.kept_if, " ".join(sentences(found))
        assert keep.lower_by == row[col.NOISE_PROBABILITY] - row[col.THRESHOLD]
        assert keep.signals == [s.signal for s in found.against[: len(keep.signals)]]
        for part in ("disagrees most with", "by text:", "by behaviour:", "would have been kept"):
            assert part in told
        if keep.signals:
            by_signals += 1
            assert keep.noise_probability < row[col.THRESHOLD]
    assert by_signals > 3


def test_a_kept_row_is_explained_when_asked_for(cleaned):
    rows = cleaned.contents(SCORED_INTERACTIONS).filter(pl.col(col.REASON) == "below_threshold")
    found = explained(cleaned, rows.row(0, named=True))
    assert found.kept_if is None
    assert next(sentences(found)).startswith("Kept: ")


def test_history_that_came_late_is_noted(cleaned, removed, copy_of):
    workspace = copy_of(cleaned)
    before = int(removed[col.EVENT_TIME].timestamp()) - 60
    late = [(removed[col.USER_ID], removed[col.ITEM_ID], before - n) for n in range(5)]
    write_clicks(workspace.data / "clicks-late.csv", late)
    ingest(workspace.config, workspace.lake)
    rows = explain(workspace.lake, removed[col.USER_ID], day=NIGHT).decisions
    found = next(d for d in rows if d.row[col.INTERACTION_ID] == removed[col.INTERACTION_ID])
    assert "have changed since it was scored" in found.note
    assert found.row[col.NOISE_PROBABILITY] == removed[col.NOISE_PROBABILITY]


def test_without_its_model_a_decision_is_still_explained(cleaned, removed, copy_of):
    workspace = copy_of(cleaned)
    (workspace.folder / "lake/models" / removed[col.MODEL_VERSION] / checkpoint.CARD).unlink()
    found = explained(workspace, removed)
    assert (found.against, found.nearest, found.kept_if) == ([], {}, None)
    assert next(sentences(found)).startswith("Removed: ")
    assert "cannot be told: no model" in found.note


def test_hostile_titles_are_harmless_in_a_terminal(cleaned, removed, copy_of, capsys):
    workspace = copy_of(cleaned)
    items = workspace.lake.scan(ITEMS).with_columns(pl.lit(HOSTILE).alias(col.TITLE)).collect()
    workspace.lake.replace_all(ITEMS, items)
    print_explanation(explain(workspace.lake, removed[col.USER_ID], removed[col.ITEM_ID]))
    shown = capsys.readouterr().out
    assert "rm -rf" in shown
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_json_tells_the_same(cleaned, removed, capsys):
    arguments = ["explain", "--user", removed[col.USER_ID], "--item", removed[col.ITEM_ID]]
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--config", str(cleaned.config_path), *arguments, "--json"])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    found = explain(cleaned.lake, removed[col.USER_ID], removed[col.ITEM_ID])
    assert [row["item_id"] for row in told["sequence"]] == [r["item_id"] for r in found.sequence]
    assert [d["why"] for d in told["decisions"]] == [list(sentences(d)) for d in found.decisions]
    assert told["decisions"][0]["kept_if"]["lower_by"] > 0


def test_sql_tells_the_same(cleaned, removed):
    found = explained(cleaned, removed)
    with catalog.connect(cleaned.lake, catalog.snapshot(cleaned.lake)) as connection:
        asked = {name: removed[name] for name in (col.USER_ID, col.ITEM_ID, col.EVENT_DATE)}
        (told,) = ask(connection, "explain_interaction", **asked).pl().to_dicts()
    said = list(sentences(found))
    assert said[0] == told["explanation"]
    assert said[1] == f"It disagrees most with {told['disagrees_most_with']}."
    assert told["kept_if_lower_by"] == found.kept_if.lower_by
    assert told["nearest_by_text"].count('"') == 6


def test_every_signal_has_words():
    assert set(INTERESTS) == set(col.SIGNALS)


def test_who_was_never_cleaned_is_named(cleaned):
    with pytest.raises(UserError, match=r"no cleaned interaction of user 'nobody' and item 'x'"):
        explain(cleaned.lake, "nobody", "x")
