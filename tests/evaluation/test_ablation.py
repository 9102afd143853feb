import polars as pl
import pytest

from pipeline.columns import SIGNALS
from pipeline.configuration import override
from pipeline.evaluation import ablation
from pipeline.evaluation.ablation import ablate, fold_evidence, losses, measure, size
from pipeline.evaluation.cells import Cells
from pipeline.evaluation.cleaning import clean_log, fold
from pipeline.evaluation.detection import with_strata
from pipeline.evaluation.noise import noisy_log, parse
from pipeline.evaluation.splits import leave_one_out
from pipeline.models.calibration import auroc
from pipeline.models.names import CONTEXT, FEATURES
from tests.models import synthetic

CONFIG = override(synthetic.CONFIG, "evaluate", {"folds": 2})
CONFIG = override(CONFIG, "train", {"epochs": 2, "backbone_epochs": 1})
CONFIG = override(CONFIG, "cloze", {"epochs": 2})
MEASURED = pl.DataFrame({"metric": ["AUROC"], "stratum": ["1-5"], "value": [0.7], "n": [9]})


@pytest.fixture(scope="module")
def noisy(log) -> pl.DataFrame:
    return noisy_log(leave_one_out(log), parse("uniform:0.2"), 0, synthetic.vectors())


@pytest.fixture(scope="module")
def rows(noisy, vectors) -> pl.DataFrame:
    return fold_evidence(CONFIG, noisy, vectors)


@pytest.fixture(scope="module")
def truth(noisy, vectors) -> pl.DataFrame:
    return with_strata(CONFIG, noisy, vectors)


def value(found: pl.DataFrame, metric: str = "AUROC", **more) -> float:
    asked = {"stratum": None, "metric": metric} | more
    chosen = found.filter(*(pl.col(name).eq_missing(v) for name, v in asked.items()))
    return chosen["value"].item()


def test_with_all_is_what_cleaning_says_of_the_fold(noisy, vectors, rows, truth):
    _, judged = fold(noisy, ablation.FOLD, 2)
    decided = clean_log(CONFIG, noisy, vectors).join(judged, on="row", how="semi")
    told = decided.join(noisy, on="row", maintain_order="left")
    score = told["noise_probability"].fill_null(0.0).to_torch()
    found = measure(CONFIG, rows, truth)
    assert value(found) == auroc(score, told["injected"].to_torch())
    removed = told.filter("injected")["decision"] == "remove"
    assert value(found, "recall") == removed.mean()
    assert value(found, "recall") > 0
    assert set(found["n"].filter((found["metric"] == "AUROC") & found["stratum"].is_null())) == {
        judged.height
    }


def test_nothing_is_found_once_every_feature_is_missing(rows, truth):
    assert value(measure(CONFIG, rows, truth)) > 0.6
    assert value(measure(CONFIG, rows, truth, FEATURES)) == 0.5


def test_a_removed_signal_is_read_nowhere(rows, truth):
    """Neither its values in the rehearsal nor those of the judged rows matter."""
    name = SIGNALS[0]
    for where in (pl.col("rehearsed"), ~pl.col("rehearsed")):
        other = rows.with_columns(pl.when(where).then(-pl.col(name)).otherwise(pl.col(name)))
        gone = measure(CONFIG, other, truth, [name])
        assert gone.equals(measure(CONFIG, rows, truth, [name]))
        assert not measure(CONFIG, other, truth).equals(measure(CONFIG, rows, truth))


def test_each_signal_stands_alone_and_in_one_group():
    alone = [features for features in ablation.SIGNALS.values() if len(features) == 1]
    grouped = [name for features in ablation.SIGNALS.values() for name in features[1:] or ()]
    grouped += [features[0] for features in ablation.SIGNALS.values() if len(features) > 1]
    assert sorted(alone) == sorted((name,) for name in SIGNALS)
    assert sorted(grouped) == sorted((*SIGNALS, *CONTEXT))


def test_a_loss_that_is_off_already_is_not_removed():
    found = losses(CONFIG)
    assert "the alignment loss" in found
    assert found["the alignment loss"].model.align_weight == 0
    changed = [
        {name for name in ("model", "cloze", "train") if getattr(c, name) != getattr(CONFIG, name)}
        for c in found.values()
    ]
    assert all(len(sections) == 1 for sections in changed)
    without = override(CONFIG, "model", {"align_weight": 0.0})
    assert set(found) - set(losses(without)) == {"the alignment loss"}
    assert size(without) == size(CONFIG) - 1


AROUND = {"signal_surprise_around"}
BESIDES = {name for name in SIGNALS if "surprise" in name or "aligned" in name} - AROUND


@pytest.mark.parametrize(
    ("loss", "changed"),
    [
        ("the alignment loss", BESIDES),
        ("the reconstruction loss", BESIDES),
        ("stage two (alignment, mask, reconstruction)", BESIDES),
        ("stage one (the backbone alone)", BESIDES),
        ("the cloze's corruption", AROUND),
        ("the cloze's hidden items", AROUND),
    ],
)
def test_a_removed_loss_changes_what_is_measured_by_its_model(noisy, vectors, rows, loss, changed):
    other = fold_evidence(losses(CONFIG)[loss], noisy, vectors)
    assert {name for name in SIGNALS if not other[name].equals(rows[name])} == changed


def test_every_arm_is_measured_once_and_kept(noisy, vectors, rows, monkeypatch, tmp_path):
    fitted, told = [], []
    monkeypatch.setattr(ablation, "fold_evidence", lambda *asked: fitted.append(asked[0]) or rows)
    monkeypatch.setattr(ablation, "measure", lambda *_: MEASURED)
    folder = str(tmp_path)
    asked = {"label": "noise", "done": told.append}
    found = ablate(CONFIG, noisy, vectors, Cells(folder), **asked)
    assert found["arm"].n_unique() == sum(told) == size(CONFIG)
    assert len(fitted) == 2 + len(losses(CONFIG))  # with all, another seed, each loss
    assert fitted[0] == CONFIG
    kinds = dict(found.select("arm", "detail").iter_rows())
    assert kinds["with all"] == ""
    assert kinds["without signal_semantic"] == "signal"
    assert kinds["without the context features"] == "group of signals"
    assert kinds["without the cloze's corruption"] == "loss"
    again = Cells(folder)
    assert ablate(CONFIG, noisy, vectors, again, **asked).equals(found)
    assert (again.made, len(fitted)) == (0, 2 + len(losses(CONFIG)))


def test_a_killed_ablation_fits_no_instruments_twice(noisy, vectors, rows, monkeypatch, tmp_path):
    fitted, calls = [], []
    monkeypatch.setattr(ablation, "fold_evidence", lambda *asked: fitted.append(asked) or rows)

    def killed_at_the_fourth(*asked):
        calls.append(asked)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return MEASURED

    monkeypatch.setattr(ablation, "measure", killed_at_the_fourth)
    asked = {"label": "noise", "done": lambda n: None}
    with pytest.raises(KeyboardInterrupt):
        ablate(CONFIG, noisy, vectors, Cells(str(tmp_path)), **asked)
    ablate(CONFIG, noisy, vectors, Cells(str(tmp_path)), **asked)
    assert len(fitted) == 2 + len(losses(CONFIG))
    assert len(calls) == size(CONFIG) + 1
