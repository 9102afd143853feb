"""Pictures of the long table: PNG bytes by file name, none where there is nothing to show."""

import io
from collections.abc import Callable, Iterator

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline import columns as col
from pipeline.evaluation import names
from pipeline.evaluation.metrics import MIN_GAP_ERRORS
from pipeline.evaluation.results import GAP_ERRORS, RECOVERY

COLOURS = {"ours": "tab:blue", "iadsr": "tab:orange", "popularity": "tab:gray"}
DPI = 120


def plots(results: pl.DataFrame) -> dict[str, bytes]:
    """Every picture that the table has values for: file name -> PNG."""
    over_all = results.filter(pl.col(names.SEED).is_null())
    drawn = {name: draw(over_all) for name, draw in PICTURES.items()}
    return {name: _png(figure) for name, figure in drawn.items() if figure}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _panels(count: int, height: float = 3.4, width: float = 4.6) -> tuple[Figure, list[Axes]]:
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes


def _groups(frame: pl.DataFrame, *keys: str) -> Iterator[tuple[tuple[object, ...], pl.DataFrame]]:
    yield from frame.sort(*keys, maintain_order=True).group_by(*keys, maintain_order=True)


def robustness(results: pl.DataFrame) -> Figure | None:
    """AUROC and AP by noise rate, one panel per kind."""
    found = results.filter(
        pl.col(names.PART) == names.DETECTION,
        pl.col(names.METRIC).is_in(["AUROC", "AP"]),
        pl.col(col.STRATUM).is_null(),
    )
    if found.is_empty():
        return None
    kinds = list(_groups(found, names.NOISE))
    figure, axes = _panels(len(kinds))
    for ax, ((kind,), of_kind) in zip(axes, kinds, strict=False):
        for (arm, metric), line in _groups(of_kind, names.ARM, names.METRIC):
            points = line.sort(names.RATE)
            style, marker = ("-", "o") if metric == "AUROC" else ("--", "s")
            ax.plot(
                points[names.RATE],
                points[names.VALUE],
                style,
                marker=marker,
                color=COLOURS.get(str(arm)),
                label=f"{arm}, {metric}",
            )
        ax.set(title=f"{kind} noise", xlabel="injected rows per genuine row")
        ax.set(xlim=(0, None), ylim=(0, 1))
        ax.legend(fontsize=7, handlelength=4)
    return figure


def precision_recall(results: pl.DataFrame) -> Figure | None:
    """Precision by recall, one panel per kind and rate; a dot is a decision."""
    detection = results.filter(pl.col(names.PART) == names.DETECTION, pl.col(col.STRATUM).is_null())
    found = detection.filter(pl.col(names.METRIC) == "precision at recall")
    if found.is_empty():
        return None
    logs = list(_groups(found, names.NOISE, names.RATE))
    figure, axes = _panels(len(logs))
    for ax, ((kind, rate), curves) in zip(axes, logs, strict=False):
        for (arm,), line in _groups(curves, names.ARM):
            points = line.sort(names.K)
            colour = COLOURS.get(str(arm))
            ax.plot(points[names.K] / 100, points[names.VALUE], color=colour, label=str(arm))
        here = detection.filter(pl.col(names.NOISE) == kind, pl.col(names.RATE) == rate)
        dots = here.filter(pl.col(names.METRIC).is_in(["precision", "recall"]))
        dots = dots.pivot(names.METRIC, index=names.ARM, values=names.VALUE)
        for row in dots.drop_nulls().to_dicts():  # no precision where nothing goes
            colour = COLOURS.get(names.without_budget(row[names.ARM]))
            ax.plot(row["recall"], row["precision"], "o", color=colour)
        title = f"{kind} noise, rate {rate:g}"
        ax.set(title=title, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
        ax.legend(fontsize=7)
    return figure


def false_drops(results: pl.DataFrame) -> Figure | None:
    """Share of genuine rows removed by stratum, against the configured budget."""
    found = results.filter(
        pl.col(names.PART) == names.DETECTION,
        pl.col(names.METRIC) == "false drops",
        ~pl.col(names.ARM).str.contains(names.AT, literal=True),
    )
    if found.is_empty():
        return None
    budget = results.filter(pl.col(names.METRIC) == "false-drop budget")[names.VALUE]
    found = found.with_columns(pl.col(col.STRATUM).fill_null("all"))
    logs = list(_groups(found, names.NOISE, names.RATE))
    figure, axes = _panels(len(logs))
    for ax, ((kind, rate), rows) in zip(axes, logs, strict=False):
        strata = rows[col.STRATUM].unique(maintain_order=True).to_list()
        arms = rows[names.ARM].unique(maintain_order=True).to_list()
        for number, arm in enumerate(arms):
            bars = rows.filter(pl.col(names.ARM) == arm)
            place = [strata.index(s) + 0.8 * number / len(arms) for s in bars[col.STRATUM]]
            height = bars[names.VALUE].fill_null(0.0)
            ax.bar(place, height, 0.8 / len(arms), color=COLOURS.get(arm), label=arm)
        for limit in budget:
            ax.axhline(limit, color="black", linewidth=1, linestyle=":")
        ax.set_xticks(range(len(strata)), strata)
        ax.set(title=f"{kind} noise, rate {rate:g}", ylabel="genuine rows removed")
        ax.legend(fontsize=7)
    return figure


def ablation(results: pl.DataFrame) -> Figure | None:
    """What each removal changes in AUROC, one panel per kind and rate, the worst loss on top."""
    found = results.filter(
        pl.col(names.PART) == names.ABLATION,
        pl.col(names.METRIC) == "AUROC",
        pl.col(names.VERSUS).is_not_null(),
        pl.col(col.STRATUM).is_null(),
    )
    if found.is_empty():
        return None
    logs = list(_groups(found, names.NOISE, names.RATE))
    figure, axes = _panels(len(logs), height=6, width=6.9)
    for ax, ((kind, rate), rows) in zip(axes, logs, strict=False):
        bars = rows.sort(names.VALUE, descending=True)
        ax.barh(bars[names.ARM], bars[names.VALUE], color=COLOURS["ours"])
        ax.axvline(0, color="black", linewidth=1, linestyle=":")
        ax.tick_params(axis="y", labelsize=7)
        ax.locator_params(axis="x", nbins=5)
        ax.set(title=f"{kind} noise, rate {rate:g}", xlabel="AUROC, difference to with all")
    return figure


def usefulness(results: pl.DataFrame) -> Figure | None:
    """NDCG@10 of each arm against the baseline, with its interval."""
    found = results.filter(
        pl.col(names.METRIC) == "NDCG", pl.col(names.K) == 10, pl.col(names.VERSUS).is_not_null()
    )
    return _intervals(found, "NDCG@10, difference to {versus}") if found.height else None


def recovery(results: pl.DataFrame) -> Figure | None:
    """Recovery by NDCG@10, where oracle - noisy is well above its error."""
    gap = results.filter(
        pl.col(names.METRIC) == GAP_ERRORS + "NDCG",
        pl.col(names.K) == 10,
        pl.col(names.VALUE) >= MIN_GAP_ERRORS,
    )
    found = results.filter(pl.col(names.METRIC) == RECOVERY + "NDCG", pl.col(names.K) == 10).join(
        gap, on=[names.BACKBONE, names.NOISE, names.RATE], how="semi", maintain_order="left"
    )
    return _intervals(found, "recovery by NDCG@10") if found.height else None


def _intervals(found: pl.DataFrame, label: str) -> Figure:
    panels = list(_groups(found, names.BACKBONE, names.NOISE, names.RATE))
    figure, axes = _panels(len(panels))
    for ax, ((backbone, kind, rate), rows) in zip(axes, panels, strict=False):
        for place, row in enumerate(rows.reverse().iter_rows(named=True)):
            ax.plot([row[names.LOW], row[names.HIGH]], [place, place], color="tab:blue")
            ax.plot(row[names.VALUE], place, "o", color="tab:blue")
        ax.axvline(0, color="black", linewidth=1, linestyle=":")
        ax.set_yticks(range(rows.height), rows[names.ARM].reverse().to_list())
        log = "no noise injected" if kind == names.NO_NOISE else f"{kind} noise, rate {rate:g}"
        ax.set(title=f"{backbone}, {log}", xlabel=label.format(versus=rows[names.VERSUS].first()))
    return figure


PICTURES: dict[str, Callable[[pl.DataFrame], Figure | None]] = {
    "usefulness.png": usefulness,
    "recovery.png": recovery,
    "robustness.png": robustness,
    "precision_recall.png": precision_recall,
    "false_drops.png": false_drops,
    "ablation.png": ablation,
}
