"""A challenger is promoted if it is no worse; a worse one, or one rolled back, needs a reason."""

import json

import pytest
import torch

from pipeline.errors import GateError, UserError
from pipeline.models import checkpoint
from pipeline.schemas import RUNS
from pipeline.steps.models import list_models
from pipeline.steps.promote import compare, promote, rollback
from pipeline.steps.train import train
from tests.conftest import TRAINED, Workspace


def challenger(workspace: Workspace, seed: int = 1) -> str:
    """Another model of the same data, not promoted."""
    config = workspace.config
    other = config.train.model_copy(update={"seed": seed})
    return train(config.model_copy(update={"train": other}), workspace.lake, TRAINED)


def blinded(workspace: Workspace, version: str) -> str:
    """The model with a calibrator that knows nothing."""
    lake = workspace.lake
    model = checkpoint.load(lake, version)
    for weights in model.calibrator.tensors().values():
        if weights.dtype.is_floating_point:
            torch.zero_(weights)
    model.card["model_version"] = "blind-2024-01-16-0000000000000000"
    return checkpoint.save(lake, model)


def last_run(workspace: Workspace, step: str) -> dict:
    rows = workspace.contents(RUNS)
    return rows.filter(rows["step"] == step).sort("started_at").to_dicts()[-1]


def test_a_model_compared_with_itself_is_equal(workspace):
    champion = checkpoint.champion(workspace.lake)
    copied = checkpoint.load(workspace.lake, champion)
    copied.card["model_version"] = "copy-2024-01-16-0000000000000000"
    found = compare(workspace.config, workspace.lake, checkpoint.save(workspace.lake, copied))
    assert [c.name for c in found][:2] == ["noise found at the budget", "false drops"]
    for comparison in found:
        assert comparison.challenger == comparison.champion
        assert comparison.kept
    assert found[0].champion > 0.2  # there is something to lose


def test_a_worse_model_is_refused_and_the_champion_stays(workspace):
    champion = checkpoint.champion(workspace.lake)
    blind = blinded(workspace, champion)
    with pytest.raises(GateError, match=r"noise found at the budget 0\.0.*stays in use") as refused:
        promote(workspace.config, workspace.lake, blind)
    assert f"iadsr models promote {blind} --override" in str(refused.value)
    assert checkpoint.champion(workspace.lake) == champion
    assert last_run(workspace, "promote")["status"] == "failed"


def test_an_override_promotes_it_and_its_reason_is_recorded(workspace):
    blind = blinded(workspace, checkpoint.champion(workspace.lake))
    promote(workspace.config, workspace.lake, blind, override="rehearsing a bad model")
    assert checkpoint.champion(workspace.lake) == blind
    override = json.loads(last_run(workspace, "promote")["inputs"])["override"]
    assert override["reason"] == "rehearsing a bad model"
    assert override["gates"][0].startswith("noise found at the budget")


def test_the_model_before_comes_back_and_training_does_not_undo_it(workspace):
    first = checkpoint.champion(workspace.lake)
    second = challenger(workspace)
    promote(workspace.config, workspace.lake, second, override="to have two")
    assert rollback(workspace.config, workspace.lake, "too eager") == first
    assert {e.version: e.standing for e in list_models(workspace.lake)} == {
        first: "in use",
        second: "rolled back",
    }
    with pytest.raises(GateError, match="it was rolled back before"):
        promote(workspace.config, workspace.lake, second)
    with pytest.raises(UserError, match="no earlier model"):
        rollback(workspace.config, workspace.lake, "once more")


def test_without_a_champion_the_first_model_is_promoted(workspace):
    version = checkpoint.champion(workspace.lake)
    (workspace.folder / "lake/models/champion.json").unlink()
    promote(workspace.config, workspace.lake, version)
    assert checkpoint.champion(workspace.lake) == version


def test_a_recommender_trained_on_what_each_keeps_is_compared_on_request(workspace):
    limits = workspace.config.promotion.model_copy(update={"downstream": True})
    quick = workspace.config.recommender.model_copy(update={"epochs": 1, "dim": 8, "heads": 1})
    config = workspace.config.model_copy(update={"promotion": limits, "recommender": quick})
    found = compare(config, workspace.lake, challenger(workspace))
    assert found[-1].name == "downstream NDCG@10"
    assert found[-1].limit == pytest.approx(found[-1].champion * 0.95)
