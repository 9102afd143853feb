import polars as pl

from pipeline.evaluation.plots import PICTURES, plots
from pipeline.evaluation.report import PLOT_TITLES
from tests.evaluation.tables import table

PNG = b"\x89PNG"


def test_every_picture_is_drawn_once_there_are_values():
    found = plots(table())
    assert set(found) == set(PICTURES) == set(PLOT_TITLES)
    assert all(content.startswith(PNG) for content in found.values())


def test_equal_tables_give_equal_bytes():
    one, same, other = (
        plots(found.filter(found["part"] == "usefulness", found["noise"] == "none"))
        for found in (table(), table(), table(apart=-0.02))
    )
    assert one == same
    assert one["usefulness.png"] != other["usefulness.png"]


def test_nothing_is_drawn_of_what_was_not_measured():
    whole = table()
    detection = plots(whole.filter(whole["part"] == "detection"))
    assert set(detection) == {"robustness.png", "precision_recall.png", "false_drops.png"}
    assert set(plots(whole.filter(whole["part"] == "usefulness"))) == {
        "usefulness.png",
        "recovery.png",
    }


def test_a_recovery_within_its_error_is_not_drawn():
    assert "recovery.png" not in plots(table(gap_errors=3.9))


def test_a_decision_that_removes_nothing_is_no_dot():
    nothing = table().with_columns(
        pl.when(pl.col("metric") != "precision").then(pl.col("value")).alias("value")
    )
    (axes,) = PICTURES["precision_recall.png"](nothing).axes
    assert [line.get_label() for line in axes.lines] == ["ours"]  # the curve
    assert len(PICTURES["precision_recall.png"](table()).axes[0].lines) == 2


def test_intervals_and_budget_are_where_the_table_says():
    figure = PICTURES["usefulness.png"](table())
    spans = [line.get_xdata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert any(list(span) == [0.01, 0.03] for span in map(list, spans))
    removed = PICTURES["ablation.png"](table()).axes[0].patches
    assert [round(bar.get_width(), 3) for bar in removed] == [-0.01, -0.05, -0.2]  # worst on top
    bars = PICTURES["false_drops.png"](table()).axes[0]
    assert {round(bar.get_height(), 3) for bar in bars.patches} == {0.04, 0.03}
    assert 0.05 in [line.get_ydata()[0] for line in bars.lines]
