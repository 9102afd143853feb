"""The Markdown report: tables made from the long table alone, what matters most first."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from pipeline import columns as col
from pipeline.evaluation import names
from pipeline.evaluation.metrics import CUTOFFS, GAINS, MIN_GAP_ERRORS
from pipeline.evaluation.results import DROPPED, GAP_ERRORS, ON_VALIDATION, RECOVERY
from pipeline.evaluation.usefulness import BASELINES, DELIVERED

HEADLINE_GAIN, HEADLINE_K = "NDCG", 10
PLOT_TITLES = {
    "usefulness.png": "Difference of each arm to the baseline, with 95 % intervals",
    "recovery.png": "Recovery, where oracle - noisy is well above its error",
    "robustness.png": "Detection by noise rate",
    "precision_recall.png": "Precision and recall; a dot is a decision",
    "ablation.png": "Detection without each signal and each loss",
    "false_drops.png": "Genuine rows removed by stratum, against the budget (dotted)",
}
# Popularity-weighted noise first: of it, popularity alone tells nothing.
FIRST_KIND = "popularity"
NOTHING = "-"  # not measured, or nothing to measure

Lines = Iterator[str]


def markdown(results: pl.DataFrame, pictures: list[str]) -> str:
    """The report as Markdown.

    Parameters
    ----------
    results : pl.DataFrame
        The columns of `results.SCHEMA`.
    pictures : list of str
        Names of the picture files that lie beside it.
    """
    whole = results.filter(pl.col(names.SEED).is_null())
    first = results.row(0, named=True)
    lines = [f"# Evaluation of {first[names.DATASET]}", ""]
    lines += [*_headline(whole), *_usefulness(results), *_recovery(whole), *_detection(whole)]
    lines += [*_ablation(whole), *_pictures(pictures)]
    lines += _protocol(results)
    return "\n".join(lines) + "\n"


def _headline(whole: pl.DataFrame) -> Lines:
    yield from ("## Headline", "")
    for row in _headline_differences(whole).iter_rows(named=True):
        log = _log(row[names.NOISE], row[names.RATE])
        gain = f"{HEADLINE_GAIN}@{HEADLINE_K} of {row[names.ARM]} - {row[names.VERSUS]}"
        yield f"- {row[names.BACKBONE]}, {log}: {gain} = {_interval(row)}: **{_verdict(row)}**."
    for row in _gaps(whole).iter_rows(named=True):
        yield f"- {row[names.BACKBONE]}, {_log(row[names.NOISE], row[names.RATE])}: {_won(row)}."
    yield from _preferred(whole)
    facts = whole.filter(pl.col(names.PART) == names.PROTOCOL)
    budget = dict(facts.select(names.METRIC, names.VALUE).iter_rows()).get("false-drop budget")
    for (kind, rate), here in _logs(whole.filter(pl.col(names.PART) == names.DETECTION)):
        values = {(r[names.ARM], r[names.METRIC]): r[names.VALUE] for r in _all_strata(here)}
        found = " / ".join(_number(values.get(("ours", m))) for m in ("AUROC", "AP"))
        alone = " / ".join(_number(values.get(("popularity", m))) for m in ("AUROC", "AP"))
        drops = _percent(values.get(("ours", "false drops")))
        yield (
            f"- Detection, {_log(kind, rate)}: AUROC / AP {found} (popularity alone {alone}); "
            f"{drops} of the genuine rows removed (budget {_percent(budget)})."
        )
    for (kind, rate), here in _logs(_removals(whole)):
        worst = here.sort(names.VALUE, nulls_last=True).row(0, named=True)
        yield (
            f"- Ablation, {_log(kind, rate)}: AUROC falls most {worst[names.ARM]} "
            f"({_number(worst[names.VALUE], sign='+')})."
        )
    yield ""


def _preferred(whole: pl.DataFrame) -> Lines:
    """The table that a recommender should learn from, by validation, and what the test says of it.

    The test has no part in the choice; but what luck an arm's training had is in both.
    """
    arm = pl.col(names.ARM)
    to_be_had = arm.str.split(names.AT).list.first().is_in([*BASELINES, *DELIVERED])
    here = whole.filter(pl.col(names.K) == HEADLINE_K, to_be_had)
    validated = here.filter(pl.col(names.METRIC) == ON_VALIDATION + HEADLINE_GAIN)
    for (kind, rate), of_log in _logs(validated.filter(pl.col(names.VERSUS).is_null())):
        for (backbone,), arms in of_log.group_by(names.BACKBONE, maintain_order=True):
            best = arms.sort(names.VALUE, descending=True, maintain_order=True).row(0, named=True)
            chosen = f"{backbone}, {_log(kind, rate)}: by validation"
            same = (names.BACKBONE, names.NOISE, names.RATE, names.ARM)
            apart = here.filter(
                pl.col(names.VERSUS).is_not_null(), *(pl.col(n) == best[n] for n in same)
            )
            if apart.is_empty():
                if arms.height > 1:
                    yield f"- {chosen}, nothing is better than **{best[names.ARM]}**."
                continue
            told = {row[names.METRIC]: row for row in apart.iter_rows(named=True)}
            there, test = told[ON_VALIDATION + HEADLINE_GAIN], told[HEADLINE_GAIN]
            gain = f"{HEADLINE_GAIN}@{HEADLINE_K} - {there[names.VERSUS]}"
            yield (
                f"- {chosen} **{best[names.ARM]}** is best ({gain} = {_interval(there)}: "
                f"{_verdict(there)}); on the test {_interval(test)}."
            )


def _removals(whole: pl.DataFrame) -> pl.DataFrame:
    """Differences in AUROC over all strata of what had something removed."""
    return whole.filter(
        pl.col(names.PART) == names.ABLATION,
        pl.col(names.VERSUS).is_not_null(),
        pl.col(names.METRIC) == "AUROC",
        pl.col(col.STRATUM).is_null(),
        pl.col(names.DETAIL) != "",
    )


def _headline_differences(whole: pl.DataFrame) -> pl.DataFrame:
    return whole.filter(
        pl.col(names.ARM).is_in(DELIVERED),
        pl.col(names.VERSUS).is_not_null(),
        pl.col(names.METRIC) == HEADLINE_GAIN,
        pl.col(names.K) == HEADLINE_K,
    )


def _gaps(whole: pl.DataFrame) -> pl.DataFrame:
    """Recovery of what we publish, with `gap`: oracle - noisy in standard errors."""
    here = whole.filter(pl.col(names.K) == HEADLINE_K)
    on = [names.BACKBONE, names.NOISE, names.RATE]
    gap = here.filter(pl.col(names.METRIC) == GAP_ERRORS + HEADLINE_GAIN)
    won = here.filter(
        pl.col(names.METRIC) == RECOVERY + HEADLINE_GAIN, pl.col(names.ARM).is_in(DELIVERED)
    )
    return won.join(gap.select(*on, pl.col(names.VALUE).alias("gap")), on=on, maintain_order="left")


def _won(row: dict[str, Any]) -> str:
    arm, gap = row[names.ARM], f"oracle - noisy = {row['gap']:.1f} standard errors"
    if row["gap"] < MIN_GAP_ERRORS:
        return f"no recovery of {arm} can be told ({gap}; {MIN_GAP_ERRORS:g} are needed)"
    return f"recovery of {arm} {_interval(row, sign='', digits=2)} ({gap})"


def _usefulness(results: pl.DataFrame) -> Lines:
    found = results.filter(pl.col(names.PART) == names.USEFULNESS)
    if found.is_empty():
        return
    yield from ("## Usefulness", "")
    yield "Mean over users and seeds; in brackets the 95 % interval of the difference."
    for (kind, rate), of_log in _logs(found):
        backbones = of_log[names.BACKBONE].drop_nulls().unique(maintain_order=True)
        for backbone in backbones:
            here = of_log.filter(pl.col(names.BACKBONE) == backbone)
            yield from ("", f"### {backbone}, {_log(kind, rate)}", "")
            yield from _arms_table(here, of_log)


def _arms_table(here: pl.DataFrame, of_log: pl.DataFrame) -> Lines:
    whole = here.filter(pl.col(names.SEED).is_null())
    dropped = dict(
        of_log.filter(pl.col(names.METRIC) == DROPPED)
        .group_by(names.ARM)
        .agg(pl.col(names.VALUE).mean())
        .iter_rows()
    )
    gains = [(metric, k) for metric in GAINS for k in CUTOFFS]
    apart = whole.filter(
        pl.col(names.VERSUS).is_not_null(),
        pl.col(names.METRIC) == HEADLINE_GAIN,
        pl.col(names.K) == HEADLINE_K,
    )
    differences = {row[names.ARM]: row for row in apart.iter_rows(named=True)}
    plain = whole.filter(pl.col(names.VERSUS).is_null())
    values = {
        (r[names.ARM], r[names.METRIC], r[names.K]): r[names.VALUE]
        for r in plain.iter_rows(named=True)
    }
    difference = f"{HEADLINE_GAIN}@{HEADLINE_K} difference"
    validated = f"{HEADLINE_GAIN}@{HEADLINE_K} on validation"
    header = ["arm", "rows dropped", validated, *(f"{m}@{k}" for m, k in gains), difference]
    arms = plain.filter(pl.col(names.METRIC) == HEADLINE_GAIN)[names.ARM].unique(
        maintain_order=True
    )
    yield from _table(
        header,
        [
            [
                arm,
                _percent(dropped.get(arm)),
                _number(values.get((arm, ON_VALIDATION + HEADLINE_GAIN, HEADLINE_K)), 4),
                *(_number(values.get((arm, m, k)), 4) for m, k in gains),
                _interval(differences[arm]) if arm in differences else "",
            ]
            for arm in arms
        ],
    )


def _recovery(whole: pl.DataFrame) -> Lines:
    gaps = whole.filter(
        pl.col(names.METRIC).str.starts_with(GAP_ERRORS), pl.col(names.K) == HEADLINE_K
    )
    if gaps.is_empty():
        return
    yield from ("", "## Recovery", "")
    yield (
        "(arm - noisy) / (oracle - noisy). Where oracle - noisy is less than "
        f"{MIN_GAP_ERRORS:g} standard errors the ratio says nothing and is not shown."
    )
    yield ""
    rows = []
    for gap in gaps.iter_rows(named=True):
        metric = gap[names.METRIC].removeprefix(GAP_ERRORS)
        won = whole.filter(
            pl.col(names.METRIC) == RECOVERY + metric,
            pl.col(names.K) == HEADLINE_K,
            *(pl.col(n) == gap[n] for n in (names.BACKBONE, names.NOISE, names.RATE)),
        )
        log = _log(gap[names.NOISE], gap[names.RATE])
        of_gap = [gap[names.BACKBONE], log, f"{metric}@{HEADLINE_K}", f"{gap[names.VALUE]:.1f}"]
        if gap[names.VALUE] < MIN_GAP_ERRORS:
            rows.append([*of_gap, "all", "not told"])
            continue
        for row in won.iter_rows(named=True):
            rows.append([*of_gap, row[names.ARM], _interval(row, sign="", digits=2)])
    header = ["backbone", "log", "metric", "oracle - noisy, standard errors", "arm", "recovery"]
    yield from _table(header, rows)


def _detection(whole: pl.DataFrame) -> Lines:
    found = whole.filter(pl.col(names.PART) == names.DETECTION)
    if found.is_empty():
        return
    yield from ("", "## Detection", "", "Mean over seeds.", "")
    metrics = ("AUROC", "AP", "precision", "recall", "false drops")
    rows = []
    for (kind, rate), of_log in _logs(found):
        for arm in of_log[names.ARM].unique(maintain_order=True):
            strata = of_log[col.STRATUM].unique(maintain_order=True).to_list()
            for stratum in [None] if arm in col.SIGNALS else strata:
                here = of_log.filter(
                    pl.col(names.ARM) == arm, pl.col(col.STRATUM).eq_missing(stratum)
                )
                values = dict(here.select(names.METRIC, names.VALUE).iter_rows())
                told = [_number(values.get(metric)) for metric in metrics]
                if set(told) != {NOTHING}:
                    rows.append([_log(kind, rate), arm, stratum or "all", *told])
    yield from _table(["log", "score", "stratum", *metrics], rows)


def _ablation(whole: pl.DataFrame) -> Lines:
    """One table a log, sorted by the loss of AUROC."""
    found = whole.filter(pl.col(names.PART) == names.ABLATION)
    if found.is_empty():
        return
    yield from ("", "## Ablation", "")
    yield (
        "One fold is judged, with one thing removed at a time; mean over seeds, in brackets the "
        f"difference to {names.WITH_ALL}. What is smaller than the difference of another seed "
        "may be luck. Signals overlap: what one tells, others tell too; the groups show it."
    )
    strata = found[col.STRATUM].drop_nulls().unique(maintain_order=True).to_list()
    cold = next(iter(strata), None)
    measures = [("AUROC", None), ("AP", None), ("AUROC", cold), ("recall", None)]
    header = ["arm", "removed", *(f"{m} of {s}" if s else m for m, s in measures)]
    for (kind, rate), of_log in _logs(found):
        values = {
            (r[names.ARM], r[names.VERSUS], r[names.METRIC], r[col.STRATUM]): r[names.VALUE]
            for r in of_log.iter_rows(named=True)
        }
        arms = dict(of_log.select(names.ARM, names.DETAIL).iter_rows())
        lost = {arm: values.get((arm, names.WITH_ALL, "AUROC", None)) for arm in arms}
        order = sorted(arms, key=lambda arm: (arm != names.WITH_ALL, lost[arm] or 0.0))
        yield from ("", f"### {_log(kind, rate)}", "")
        rows = [
            [arm, arms[arm], *(_changed(values, arm, metric, s) for metric, s in measures)]
            for arm in order
        ]
        yield from _table(header, rows)


def _changed(
    values: dict[tuple[str, str | None, str, str | None], float | None],
    arm: str,
    metric: str,
    stratum: str | None,
) -> str:
    value = _number(values.get((arm, None, metric, stratum)))
    apart = values.get((arm, names.WITH_ALL, metric, stratum))
    return value if apart is None else f"{value} ({_number(apart, sign='+')})"


def _pictures(pictures: list[str]) -> Lines:
    if pictures:
        yield from ("", "## Pictures")
    for name in pictures:
        yield from ("", f"![{PLOT_TITLES[name]}]({name})", "", f"{PLOT_TITLES[name]}.")


def _protocol(results: pl.DataFrame) -> Lines:
    first = results.row(0, named=True)
    seeds = results[names.SEED].drop_nulls().unique().sort().to_list()
    yield from ("", "## Protocol", "")
    yield f"- Data set {first[names.DATASET]}, split {first[names.SPLIT]}, seeds {seeds}."
    yield f"- Equal timestamps: {first[names.TIES]}."
    for row in results.filter(pl.col(names.PART) == names.PROTOCOL).iter_rows(named=True):
        yield f"- {row[names.METRIC]}: {row[names.DETAIL] or f'{row[names.VALUE]:,g}'}"
    yield (
        "- Labels are never cleaned nor injected; items that the user has had (removed ones too) "
        "are not ranked; all other items are, without sampling."
    )


def _logs(found: pl.DataFrame) -> Iterator[tuple[tuple[str, float], pl.DataFrame]]:
    ordered = found.sort(
        pl.col(names.NOISE) != names.NO_NOISE,
        pl.col(names.NOISE) != FIRST_KIND,
        names.NOISE,
        names.RATE,
        maintain_order=True,
    )
    for (kind, rate), here in ordered.group_by(names.NOISE, names.RATE, maintain_order=True):
        yield (str(kind), float(str(rate))), here


def _all_strata(here: pl.DataFrame) -> Iterator[dict[str, Any]]:
    yield from here.filter(pl.col(col.STRATUM).is_null()).iter_rows(named=True)


def _log(kind: str, rate: float) -> str:
    return "log as it is" if kind == names.NO_NOISE else f"{kind} noise {rate:.0%}"


def _verdict(row: dict[str, float]) -> str:
    if row[names.LOW] > 0:
        return "better"
    return "worse" if row[names.HIGH] < 0 else "no measurable difference"


def _interval(row: dict[str, float], sign: str = "+", digits: int = 4) -> str:
    if row[names.VALUE] is None:
        return NOTHING
    value, low, high = (f"{row[n]:{sign}.{digits}f}" for n in (names.VALUE, names.LOW, names.HIGH))
    return f"{value} [{low}, {high}]"


def _number(value: float | None, digits: int = 3, sign: str = "") -> str:
    return NOTHING if value is None else f"{value:{sign}.{digits}f}"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def _table(header: list[str], rows: list[list[str]]) -> Lines:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
