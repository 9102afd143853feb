"""An evaluation, end to end: what it writes, that it goes on where it stopped, what it refuses."""

import logging
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.config import Config
from pipeline.configuration import override
from pipeline.errors import UserError
from pipeline.evaluation import ranking, unseen
from pipeline.evaluation.results import SCHEMA
from pipeline.schemas import INTERACTIONS, RUNS
from pipeline.steps import evaluate as step
from pipeline.steps.evaluate import evaluate
from pipeline.storage.lake import Lake
from tests.conftest import Workspace
from tests.evaluation.fakes import first

RUINED = pl.DataFrame({"row": [0]})
MEASURED = pl.DataFrame({"metric": ["AUROC"], "value": [0.7], "n": [9]}).with_columns(
    pl.lit(None, pl.String).alias("stratum")
)
ARMS = ("cleaned", "random", "oracle")


def quick(workspace: Workspace, **asked: object) -> Config:
    settings = {"seeds": (0, 1), "noise": ("none", "uniform:0.3"), "arms": ARMS, "folds": 2}
    config = override(workspace.config, "evaluate", settings | asked)
    config = override(config, "cloze", {"dim": 16, "epochs": 1})
    config = override(config, "train", {"epochs": 1, "backbone_epochs": 0, "validation_share": 0.6})
    return override(config, "recommender", {"dim": 16, "hidden": 16, "epochs": 1})


def results(folder: str) -> pl.DataFrame:
    return pl.read_parquet(f"{folder}/results.parquet")


@pytest.fixture(scope="module")
def done(trained, tmp_path_factory) -> tuple[Workspace, str]:
    out = str(tmp_path_factory.mktemp("evaluation"))
    assert evaluate(quick(trained), trained.lake, out=out) == out
    return trained, out


def last_run(lake: Lake) -> dict:
    return lake.scan(RUNS).sort("started_at").last().collect().to_dicts()[0]


def test_every_measure_is_a_row_of_the_long_table(done):
    table = results(done[1])
    assert table.schema == SCHEMA
    assert set(table["part"]) == {"detection", "usefulness", "ablation", "protocol"}
    assert set(table["dataset"]) == {"clicks"}
    assert set(table["ties"]) == {"shuffle (seed 0)"}
    values = table.filter(pl.col("metric") == "NDCG", pl.col("k") == 10, pl.col("versus").is_null())
    arms = values.group_by("noise").agg(pl.col("arm").unique().sort()).sort("noise")
    assert arms["arm"].to_list() == [
        ["cleaned", "random", "raw"],
        ["cleaned", "noisy", "oracle", "random"],
    ]
    assert set(values["seed"]) == {0, 1, None}
    assert values["value"].is_between(0, 1).all()
    assert (values.filter(pl.col("seed").is_null())["n"] == 120).all()
    validated = table.filter(pl.col("metric") == "validation NDCG", pl.col("k") == 10)
    validated = validated.filter(pl.col("versus").is_null())
    assert validated["value"].is_between(0, 1).all()
    key = ["noise", "arm", "seed"]
    assert validated.select(key).sort(key).equals(values.select(key).sort(key))
    assert set(table.filter(pl.col("part") == "detection")["noise"]) == {"uniform"}
    removed = table.filter(pl.col("part") == "ablation", pl.col("versus") == "with all")
    assert set(removed["noise"]) == {"uniform"}
    assert {"without signal_semantic", "without the alignment loss"} <= set(removed["arm"])


def test_report_and_pictures_lie_beside_the_table(done):
    folder = done[1]
    report = Path(folder, "report.md").read_text(encoding="utf-8")
    assert report.startswith("# Evaluation of clicks\n\n## Headline\n")
    for name in ("usefulness.png", "robustness.png", "precision_recall.png", "false_drops.png"):
        assert f"({name})" in report
        assert Path(folder, name).read_bytes().startswith(b"\x89PNG")


def test_a_second_run_makes_nothing_anew_and_says_so(done, caplog):
    workspace, out = done
    before = results(out)
    caplog.set_level(logging.INFO, "iadsr")
    evaluate(quick(workspace), workspace.lake, out=out)
    assert "ranks of oracle, uniform:0.3, sasrec, seed 1: there already" in caplog.text
    assert results(out).equals(before)
    run = last_run(workspace.lake)
    assert (run["step"], run["status"]) == ("evaluate", "unchanged")
    assert '"cells": 0' in run["counts"]


def test_a_killed_run_goes_on_where_it_stopped(trained, tmp_path, monkeypatch):
    config = quick(trained, noise=("none",), seeds=(0,))
    train_and_rank, trainings = ranking.train_and_rank, []

    def killed_at_the_second(task, settings, seed):
        trainings.append(seed)
        if len(trainings) == 2:
            raise KeyboardInterrupt
        return train_and_rank(task, settings, seed)

    monkeypatch.setattr(ranking, "train_and_rank", killed_at_the_second)
    for _ in range(2):
        try:
            evaluate(config, trained.lake, part="usefulness", out=str(tmp_path))
        except KeyboardInterrupt:
            assert not (tmp_path / "report.md").exists()
    assert len(trainings) == 4  # raw, cleaned (killed), cleaned, random
    assert (tmp_path / "report.md").exists()


def test_what_a_cell_rests_on_names_it(done, monkeypatch):
    """Another seed of the recommender, another arm: only what changed is made."""
    workspace, out = done
    made = []
    monkeypatch.setattr(
        ranking,
        "train_and_rank",
        lambda task, settings, seed: made.append(seed) or first(task),
    )
    monkeypatch.setattr(step, "clean_log", lambda *_: pytest.fail("cleaned anew"))
    more = quick(workspace, arms=("cleaned", "target"), noise=("uniform:0.3",))
    evaluate(more, workspace.lake, out=out, part="usefulness")
    assert made == [0, 1]  # the new arm alone
    other = override(more, "recommender", {"dropout": 0.1})
    evaluate(other, workspace.lake, out=out, part="usefulness")
    assert len(made) == 2 + 2 * 3


def test_a_further_budget_costs_no_cleaning(done, monkeypatch, caplog):
    workspace, out = done
    caplog.set_level(logging.INFO, "iadsr")
    monkeypatch.setattr(ranking, "train_and_rank", lambda task, settings, seed: first(task))
    monkeypatch.setattr(step, "clean_log", lambda *_: pytest.fail("cleaned anew"))
    budgets = (0.5, 0.001, workspace.config.decision.false_drop_budget)
    asked = quick(workspace, noise=("uniform:0.3",), arms=("cleaned",), budgets=budgets)
    evaluate(asked, workspace.lake, out=out, part="usefulness")
    table = results(out).filter(pl.col("metric") == "rows dropped", pl.col("seed") == 0)
    dropped = dict(table.select("arm", "value").iter_rows())
    assert list(dropped) == ["noisy", "cleaned", "cleaned at 0.001", "cleaned at 0.5"]
    assert dropped["cleaned at 0.001"] <= dropped["cleaned"] < dropped["cleaned at 0.5"]
    evaluate(asked, workspace.lake, out=out, part="detection")
    found = results(out).filter(pl.col("arm") == "ours at 0.5", pl.col("stratum").is_null())
    assert set(found["metric"]) == {"precision", "recall", "false drops"}


def test_by_default_the_folder_is_the_lakes_and_named_by_the_newest_date(workspace):
    config = quick(workspace, noise=("uniform:0.3",), seeds=(0,))
    folder = evaluate(config, workspace.lake, part="detection")
    newest = workspace.contents(INTERACTIONS)["event_date"].max()
    assert folder.startswith(f"{workspace.lake.root}/evaluations/{newest}-")
    assert set(results(folder)["part"]) == {"detection", "protocol"}

    later = workspace.lake.scan(INTERACTIONS).head(1).collect()
    workspace.lake.append(INTERACTIONS, later.with_columns(event_date=newest + timedelta(days=400)))
    assert evaluate(config, workspace.lake, newest, part="detection") == folder
    assert last_run(workspace.lake)["status"] == "unchanged"


def test_by_global_time_nothing_after_the_date_is_read(workspace, monkeypatch):
    seen = []
    monkeypatch.setattr(
        ranking,
        "train_and_rank",
        lambda task, settings, seed: seen.append(task) or first(task),
    )
    config = quick(workspace, noise=("none",), seeds=(0,), split="global_time", arms=())
    evaluate(config, workspace.lake, date(2024, 1, 12), part="usefulness")
    rows = workspace.contents(INTERACTIONS)
    upto = rows.filter(pl.col("event_date") <= date(2024, 1, 12))
    (task,) = seen
    assert 0 < task.train.height < upto.height < rows.height


def test_an_ablation_cleans_nothing_and_is_not_made_twice(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(step, "clean_log", lambda *_: pytest.fail("cleaned"))
    made = []
    monkeypatch.setattr(step.ablation, "fold_evidence", lambda *_: made.append(1) or RUINED)
    monkeypatch.setattr(step.ablation, "measure", lambda *_: MEASURED)
    config = quick(workspace, noise=("none", "uniform:0.3"))
    for _ in range(2):
        evaluate(config, workspace.lake, part="ablation", out=str(tmp_path))
        assert set(results(str(tmp_path))["part"]) == {"ablation", "protocol"}
    assert len(made) == 2 + len(step.ablation.losses(config))
    assert last_run(workspace.lake)["status"] == "unchanged"
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| without the alignment loss | loss | 0.700 (+0.000) |" in report


@pytest.mark.parametrize(
    ("asked", "part", "says"),
    [
        ({"noise": ("none",)}, "detection", "detection needs noise that is known"),
        ({"noise": ("none",)}, "ablation", "ablation needs noise that is known"),
        ({"noise": ("unifrom:0.1",)}, "all", 'no noise of the kind "unifrom"'),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(workspace, asked, part, says):
    with pytest.raises(UserError, match=says):
        evaluate(quick(workspace, **asked), workspace.lake, part=part)


def test_budgets_that_nothing_is_decided_by_are_refused(workspace):
    config = override(quick(workspace, budgets=(0.1,)), "decision", {"method": "iadsr"})
    with pytest.raises(UserError, match=r"evaluate\.budgets are for decision\.method"):
        evaluate(config, workspace.lake, part="usefulness")
    config = quick(workspace, budgets=(0.1,), arms=("random", "oracle"))
    with pytest.raises(UserError, match=r'for the arms "cleaned" and "soft"'):
        evaluate(config, workspace.lake, part="usefulness")


def test_without_interactions_or_vectors_there_is_one_clear_line(workspace, tmp_path):
    config = quick(workspace)
    with pytest.raises(UserError, match=r"no interactions in .*iadsr ingest"):
        evaluate(config, Lake(str(tmp_path)))
    with pytest.raises(UserError, match=r"no interactions up to 1999-01-01.*iadsr ingest"):
        evaluate(config, workspace.lake, date(1999, 1, 1))
    other = override(config, "encoder", {"prompt": "another encoder: "})
    with pytest.raises(UserError, match=r"no vectors of the encoder .*iadsr embed"):
        evaluate(other, workspace.lake)


def test_a_fold_of_the_users_is_judged_whole_by_a_model_of_the_others(trained, tmp_path):
    config = quick(trained, split="users", noise=("uniform:0.3", "burst:0.3"))
    out = evaluate(config, trained.lake, part="detection", out=str(tmp_path / "users"))
    table = results(out)
    assert set(table["part"]) == {"detection", "protocol"}
    found = table.filter(pl.col("part") == "detection", pl.col("stratum").is_null())
    judged = found.filter(pl.col("arm") == "ours", pl.col("metric") == "AUROC")
    assert set(judged["noise"]) == {"uniform", "burst"}
    assert judged["value"].is_between(0, 1).all()
    genuine = found.filter(pl.col("arm") == "ours", pl.col("metric") == "false drops")["n"]
    everything = trained.lake.size(INTERACTIONS)[0]
    assert genuine.n_unique() == 1
    assert 0.2 * everything < genuine[0] < 0.8 * everything  # one fold of two, without noise


def test_a_fold_of_the_users_is_judged_once_for_all_budgets(trained, tmp_path, monkeypatch):
    out, asked = str(tmp_path / "users"), {"split": "users", "noise": ("uniform:0.3",)}
    evaluate(quick(trained, seeds=(0,), **asked), trained.lake, part="detection", out=out)
    monkeypatch.setattr(unseen, "learn", lambda *_: pytest.fail("learned anew"))
    more = quick(trained, seeds=(0,), budgets=(0.3,), **asked)
    evaluate(more, trained.lake, part="detection", out=out)
    found = results(out).filter(pl.col("metric") == "recall", pl.col("stratum").is_null())
    recall = dict(found.filter(pl.col("seed") == 0).select("arm", "value").iter_rows())
    assert recall["ours"] < recall["ours at 0.3"]


def test_a_split_by_users_has_nothing_to_predict(trained):
    with pytest.raises(UserError, match="--part detection"):
        evaluate(quick(trained, split="users"), trained.lake, part="all")
