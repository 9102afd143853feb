import polars as pl
import synthetic

from pipeline.models.model import count_items
from pipeline.models.noise import inject
from pipeline.models.training import fit_model, trusted


def test_a_second_pass_learns_from_what_is_less_noisy(model, log, vectors):
    noisy = inject(log, "user_id", count_items(log, 1), rate=0.3, seed=7, kinds=("uniform",))
    kept = trusted(model.instruments, model.calibrator, noisy, vectors, distrust=0.2)
    assert kept.height == noisy.height - int(0.2 * noisy.height)
    assert kept["injected"].mean() < noisy["injected"].mean() / 2
    assert kept.equals(noisy.join(kept, on=noisy.columns, how="semi", maintain_order="left"))


def test_what_cannot_be_judged_is_learned_from(model, log, vectors):
    short = log.filter(pl.int_range(pl.len()).over("user_id") < 3)
    assert trusted(model.instruments, model.calibrator, short, vectors, distrust=0.9).equals(short)


def test_with_distrust_a_model_learns_from_less(model, log, vectors):
    train = synthetic.CONFIG.train.model_copy(update={"distrust": 0.1})
    twice = fit_model(synthetic.CONFIG.model_copy(update={"train": train}), log, vectors, {})
    seen = twice.instruments.vocabulary["count"].sum()
    assert seen < model.instruments.vocabulary["count"].sum()
