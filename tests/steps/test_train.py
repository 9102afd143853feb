from datetime import date, timedelta

import polars as pl
import pytest

from pipeline.errors import UserError
from pipeline.models import calibration, checkpoint, rehearsal
from pipeline.models.names import FEATURES
from pipeline.schemas import INTERACTIONS, RUNS
from pipeline.steps import train as steps_train
from pipeline.steps.evaluate import evaluate
from pipeline.steps.models import list_models
from pipeline.steps.promote import promote
from pipeline.steps.train import train
from pipeline.storage.lake import Lake

AS_OF = date(2024, 1, 16)


def last_run(lake: Lake) -> dict:
    return lake.scan(RUNS).sort("started_at").last().collect().to_dicts()[0]


def test_a_trained_model_tells_its_story(trained):
    version = checkpoint.champion(trained.lake)
    card = checkpoint.read_card(trained.lake, version)
    assert version.startswith("gru4rec-2024-01-16-")
    assert card["as_of"] == "2024-01-16"
    assert card["interactions_version"] <= trained.lake.version(INTERACTIONS)
    assert set(card["config"]) == {"sequence", "model", "cloze", "train", "decision"}
    assert len(card["metrics"]["epochs"]) == trained.config.train.epochs
    assert {"hit_rate", "ndcg", "next_item"} <= set(card["metrics"]["epochs"][-1])
    assert [row["stratum"] for row in card["calibration"]["strata"]] == [
        "1-5",
        "6-20",
        "21+",
        "new",
        "no text",
    ]
    assert set(card["files"]) == {checkpoint.WEIGHTS, checkpoint.VOCABULARY}


def test_training_again_changes_nothing_and_says_so(workspace):
    before = checkpoint.champion(workspace.lake)
    assert train(workspace.config, workspace.lake, AS_OF) == before
    assert last_run(workspace.lake)["status"] == "unchanged"


def test_later_events_do_not_change_the_name_of_a_model(workspace):
    later = workspace.lake.scan(INTERACTIONS).head(1).collect()
    shift = pl.col("event_date") + timedelta(days=400)
    workspace.lake.append(INTERACTIONS, later.with_columns(event_date=shift))
    before = checkpoint.champion(workspace.lake)
    assert train(workspace.config, workspace.lake, AS_OF) == before


def test_a_release_that_judges_by_other_features_trains_anew(workspace, monkeypatch):
    lake, before = workspace.lake, checkpoint.champion(workspace.lake)
    for module in (steps_train, checkpoint, rehearsal, calibration):
        monkeypatch.setattr(module, "FEATURES", FEATURES[:-1])
    with pytest.raises(UserError, match="judged by other features: train again"):
        checkpoint.load(lake, before)
    assert [entry.standing for entry in list_models(lake)] == ["in use, of another release"]
    version = train(workspace.config, lake, AS_OF)
    assert version != before
    promote(workspace.config, lake, version)
    assert checkpoint.champion(lake) == version
    with pytest.raises(UserError, match=f"{before}, in use before, is gone or of another release"):
        checkpoint.roll_back(lake)


def test_a_model_is_not_in_use_before_it_is_promoted(workspace):
    before = checkpoint.champion(workspace.lake)
    config = workspace.config
    other = config.train.model_copy(update={"seed": 1})
    version = train(config.model_copy(update={"train": other}), workspace.lake, AS_OF)
    assert version != before
    assert checkpoint.champion(workspace.lake) == before
    assert checkpoint.load(workspace.lake, version).version == version


def test_without_interactions_there_is_one_clear_line(workspace):
    with pytest.raises(UserError, match=r"no interactions up to 1999-01-01.*iadsr ingest"):
        train(workspace.config, workspace.lake, date(1999, 1, 1))
    assert last_run(workspace.lake)["status"] == "failed"


@pytest.mark.parametrize(
    "step", [train, lambda config, lake, day: evaluate(config, lake, day, part="detection")]
)
def test_where_all_interactions_are_too_old_the_newest_date_is_named(workspace, step):
    """Ingesting again, as for an empty lake, would change nothing."""
    says = r"no interactions in the 90 days up to 2030-01-01 .* newest before are of 2024-01-\d\d"
    short = workspace.config.sequence.model_copy(update={"history_days": 90})
    with pytest.raises(UserError, match=says + r".*sequence\.history_days"):
        step(
            workspace.config.model_copy(update={"sequence": short}),
            workspace.lake,
            date(2030, 1, 1),
        )


def test_without_vectors_there_is_one_clear_line(workspace):
    encoder = workspace.config.encoder.model_copy(update={"prompt": "another encoder: "})
    config = workspace.config.model_copy(update={"encoder": encoder})
    with pytest.raises(UserError, match=r"no vectors of the encoder .*iadsr embed"):
        train(config, workspace.lake, AS_OF)


def test_too_few_users_are_refused(workspace):
    with pytest.raises(UserError, match="too few users"):
        few = workspace.config.train.model_copy(update={"validation_share": 0.001})
        train(workspace.config.model_copy(update={"train": few}), workspace.lake, AS_OF)
