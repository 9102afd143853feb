"""What each signal and each loss is worth: known noise is looked for with one of them removed.

One fold of the log is judged, as `cleaning.py` judges it. Nothing here is cleaned.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import polars as pl

from pipeline import columns as col
from pipeline import reasons
from pipeline.config import Config
from pipeline.configuration import override
from pipeline.evaluation.cells import Cells, code_digest, fingerprint
from pipeline.evaluation.cleaning import fold
from pipeline.evaluation.detection import measured, with_strata
from pipeline.evaluation.names import ARM, DETAIL, ROW, WITH_ALL, K
from pipeline.models.batches import Prefixes
from pipeline.models.checkpoint import MADE_WITH
from pipeline.models.decision import BLAME, decide_calibrated
from pipeline.models.evidence import evidence
from pipeline.models.model import thresholds_of
from pipeline.models.names import (
    CONTEXT,
    DOUBT,
    FEATURES,
    INJECTED,
    KIND,
    KNOWN_SHARE,
    SEQUENCE,
)
from pipeline.models.rehearsal import calibrate
from pipeline.models.thresholds import IDENTITY
from pipeline.models.training import learn

# Nothing is removed, only luck is another: a smaller difference than this one's may be luck, too.
OTHER_SEED = "with all, another seed"
SEED_STEP = 1_000
FOLD = 0  # the one that is judged

# What is removed -> the features that are then missing.
SIGNALS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in col.SIGNALS},
    "the semantic signals": (*BLAME[reasons.UNLIKE_TITLES],),
    "the collaborative signals": (*BLAME[reasons.UNLIKE_BEHAVIOUR],),
    "the surprises": (col.SIGNAL_SURPRISE, col.SIGNAL_SURPRISE_AROUND),
    "the aligned signals (the paper's logit)": (*BLAME[reasons.VIEWS_MISALIGNED],),
    "the context features": CONTEXT,
}
REHEARSED = "rehearsed"  # evidence on rehearsed noise, not on the judged fold
KEPT = (ROW, *IDENTITY, *FEATURES, col.STRATUM, DOUBT, INJECTED, KIND, KNOWN_SHARE, REHEARSED)


def losses(config: Config) -> dict[str, Config]:
    """What is removed -> the configuration without it; what it has not is not there.

    Parameters
    ----------
    config : Config
        The configuration with all.
    """
    off: dict[str, tuple[str, dict[str, Any]]] = {
        "the alignment loss": ("model", {"align_weight": 0.0}),
        "the reconstruction loss": ("model", {"reconstruction_weight": 0.0}),
        "stage two (alignment, mask, reconstruction)": (
            "train",
            {"backbone_epochs": config.train.epochs},
        ),
        "stage one (the backbone alone)": ("train", {"backbone_epochs": 0}),
        "the cloze's corruption": ("cloze", {"corruption": 0.0}),
        "the cloze's hidden items": ("cloze", {"hidden_share": 0.0}),
    }
    found = {name: override(config, section, values) for name, (section, values) in off.items()}
    return {name: other for name, other in found.items() if other != config}


def size(config: Config) -> int:
    """How many measured arms there are."""
    return 2 + len(SIGNALS) + len(losses(config))


def ablate(
    config: Config,
    log: pl.DataFrame,
    vectors: pl.DataFrame,
    cells: Cells,
    *,
    label: str,
    done: Callable[[int], object],
    prefixes: Prefixes | None = None,
) -> pl.DataFrame:
    """Detection with all, and with one signal, one group of signals, or one loss removed.

    A removed signal is missing in the rehearsal and in the judged fold alike, and the calibrator
    is fitted anew; a removed loss changes the instruments, and all is fitted anew.

    Parameters
    ----------
    config : Config
        As for `clean_log`; our own decision is measured, whatever `decision.method` says.
    log : pl.DataFrame
        As for `clean_log`, with `injected`.
    vectors : pl.DataFrame
        Columns item_id and vector.
    cells : Cells
        Where each arm is kept once it is measured.
    label : str
        What the log is called in messages.
    done : callable
        Is told of each arm.
    prefixes : Prefixes, optional
        As for `fit_model`.

    Returns
    -------
    pl.DataFrame
        arm, detail (kind of what is removed), metric, stratum (null: all), value, n.

    Raises
    ------
    UserError
        The fold leaves too few users to train or to calibrate on.
    """
    bench = _Bench(config, log, vectors, cells, label, prefixes)
    arms: list[tuple[str, str, Callable[[], pl.DataFrame]]] = [
        (WITH_ALL, "", partial(bench.without, ())),
        (OTHER_SEED, "", partial(bench.fitted_by, _reseeded(config))),
    ]
    for name, features in SIGNALS.items():
        kind = "signal" if name in col.SIGNALS else "group of signals"
        arms.append((f"without {name}", kind, partial(bench.without, features)))
    for name, other in losses(config).items():
        arms.append((f"without {name}", "loss", partial(bench.fitted_by, other)))
    found = []
    for arm, kind, measure in arms:
        frame = measure()
        found.append(frame.with_columns(pl.lit(arm).alias(ARM), pl.lit(kind).alias(DETAIL)))
        done(1)
    return pl.concat(found)


def _reseeded(config: Config) -> Config:
    for section in ("train", "cloze"):
        seed = getattr(config, section).seed + SEED_STEP
        config = override(config, section, {"seed": seed})
    return config


@dataclass(frozen=True)
class _Bench:
    """One noisy log on which all arms are measured."""

    config: Config
    log: pl.DataFrame
    vectors: pl.DataFrame
    cells: Cells
    label: str
    prefixes: Prefixes | None

    def without(self, features: Iterable[str]) -> pl.DataFrame:
        """Measures with some features missing; the instruments are those with all."""
        names = list(features)
        return self.cells.get(
            "ablation",
            f"{self.label}, without {', '.join(names) or 'nothing'}",
            {**self._rests_on(self.config), "without": names},
            lambda: measure(self.config, self.whole, self.truth, names),
        )

    def fitted_by(self, config: Config) -> pl.DataFrame:
        """Measures with instruments of another configuration."""
        changed = [n for n in MADE_WITH if getattr(config, n) != getattr(self.config, n)]
        return self.cells.get(
            "ablation",
            f"{self.label}, another [{'], ['.join(changed)}]",
            {**self._rests_on(config), "without": []},
            lambda: measure(config, self._evidence(config), self.truth),
        )

    @cached_property
    def whole(self) -> pl.DataFrame:
        """Evidence with all: most of the work, so that it is a cell of its own."""
        return self.cells.get(
            "evidence",
            self.label,
            self._rests_on(self.config),
            lambda: self._evidence(self.config),
        )

    def _evidence(self, config: Config) -> pl.DataFrame:
        return fold_evidence(config, self.log, self.vectors, self.prefixes)

    @cached_property
    def truth(self) -> pl.DataFrame:
        """What is known of every row of the log: injected, count, stratum."""
        return with_strata(self.config, self.log, self.vectors)

    @cached_property
    def _shared(self) -> dict[str, object]:
        return {
            "data": [fingerprint(self.log), fingerprint(self.vectors)],
            "folds": self.config.evaluate.folds,
            "code": code_digest(__name__),
        }

    def _rests_on(self, config: Config) -> dict[str, object]:
        return {**self._shared, "config": config.digest(*MADE_WITH)}


def fold_evidence(
    config: Config, log: pl.DataFrame, vectors: pl.DataFrame, prefixes: Prefixes | None = None
) -> pl.DataFrame:
    """Evidence on the rehearsals of one fold's model, and on the rows that it judges.

    Returns
    -------
    pl.DataFrame
        Columns `KEPT`; `row` is that of the log where not `rehearsed`.
    """
    learned, judged = fold(log, FOLD, config.evaluate.folds)
    model = learn(config, learned, vectors, "log", prefixes)
    found = evidence(model.instruments, judged, vectors)
    parts = [
        rows.drop(SEQUENCE).with_columns(pl.lit(here).alias(REHEARSED))
        for rows, here in ((model.rehearsed, True), (found, False))
    ]
    return pl.concat(parts, how="diagonal").select(KEPT)


def measure(
    config: Config, rows: pl.DataFrame, truth: pl.DataFrame, without: Iterable[str] = ()
) -> pl.DataFrame:
    """Calibrate on the rehearsals, decide on the judged rows, and hold that against the truth.

    Parameters
    ----------
    config : Config
        Its sections decision and train.
    rows : pl.DataFrame
        As `fold_evidence` gives them.
    truth : pl.DataFrame
        The whole log: row, injected, count and stratum.
    without : iterable of str
        Features that are missing, of `names.FEATURES`.
    """
    gone = [pl.lit(None, dtype=rows.schema[name]).alias(name) for name in without]
    rows = rows.with_columns(gone)
    calibrator, report = calibrate(rows.filter(REHEARSED), config.decision, config.train.seed)
    judged = rows.filter(~pl.col(REHEARSED))
    decided = decide_calibrated(calibrator, thresholds_of(report), judged)
    told = decided.select(ROW, col.NOISE_PROBABILITY, col.DECISION)
    here = truth.join(told, on=ROW, maintain_order="left")
    # Not scored is not suspected.
    score = pl.col(col.NOISE_PROBABILITY).fill_null(0.0)
    found = measured(config, here, {WITH_ALL: score}, {WITH_ALL: col.DECISION})
    return found.filter(pl.col(K).is_null()).drop(ARM, K)
