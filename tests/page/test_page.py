"""The report in a real browser: it draws, it is safe, and its figures are those of the SQL."""

import duckdb
import pytest

from pipeline.storage import catalog
from pipeline.storage.sql import ask
from tests.conftest import NIGHTS
from tests.page.conftest import HOSTILE

SPAN = {"first": NIGHTS[0], "last": NIGHTS[1]}
CHARTS = {
    "calibration",
    "noise_probability",
    "removal_by_day",
    "removal_by_popularity",
    "run_times",
    "usefulness",
}


@pytest.fixture
def sql(hostile):
    """The catalogue that an analyst opens."""
    path = catalog.build(hostile.lake, str(hostile.folder))
    with duckdb.connect(path, read_only=True) as connection:
        yield connection


def table(page, section: str, place: int = 0) -> list[list[str]]:
    """The cells of a section's table: exact values where they carry one, else their text."""
    return (
        page.locator(f"#{section} table")
        .nth(place)
        .evaluate(
            """table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => {
             const exact = cell.querySelector("data, time");
             return exact ? exact.value ?? exact.dateTime : cell.textContent.trim();
           }))"""
        )
    )


def test_every_chart_is_drawn_without_a_word_and_without_the_network(opened, page_of_both):
    found = opened(page_of_both)
    drawn = found.page.locator("[data-chart]").evaluate_all("all => all.map(e => e.dataset.chart)")
    assert set(drawn) == CHARTS
    marks = found.page.locator(".chart svg .mark-rect path, .chart svg .mark-symbol path")
    assert marks.count() > len(CHARTS)
    assert found.said == []
    assert [url.partition("?")[0] for url in found.requests] == [f"file://{page_of_both}"]


def test_the_page_forbids_itself_the_network_and_foreign_scripts(opened, page_of_both):
    found = opened(page_of_both)
    refused = found.page.evaluate(
        """async () => {
             const script = document.createElement("script");
             script.textContent = "window.ran = true";
             document.body.append(script);
             const asked = await fetch("http://127.0.0.1:9/").catch(() => "refused");
             return [window.ran ?? "refused", asked];
           }"""
    )
    assert refused == ["refused", "refused"]
    assert all("Content Security Policy" in text for text in found.said)


def test_the_headline_is_what_sql_says(opened, page_of_both, sql):
    page = opened(page_of_both).page
    kept, removed = sql.sql(
        "SELECT kept.n, removed.n FROM (SELECT count(*) AS n FROM clean_interactions) AS kept, "
        "(SELECT count(*) AS n FROM removed_interactions) AS removed"
    ).fetchall()[0]
    shown = page.locator("#headline .figure").all_inner_texts()
    rejected = sql.sql("FROM quarantine").fetchall()
    assert shown == [f"{kept:,}", f"{removed:,}", f"{len(rejected)}", "4 of 4"]
    assert f"{kept:,} were kept and {removed:,} removed" in page.locator("#lead").inner_text()


def test_the_tables_are_what_sql_says(opened, page_of_both, sql):
    page = opened(page_of_both).page
    days = ask(sql, "night_summary", **SPAN).fetchall()
    assert [(r[0], int(r[1]), int(r[2])) for r in table(page, "days")] == [
        (str(day), n, removed) for day, n, _, removed, _ in days
    ]
    strata = sql.sql(
        "SELECT stratum, sum(interactions), sum(removed), any_value(false_drop_budget) "
        "FROM removal_by_popularity GROUP BY stratum"
    ).fetchall()
    shown = {(r[0], int(r[1]), int(r[3])) for r in table(page, "popularity")}
    assert shown == {(stratum, n, removed) for stratum, n, removed, _ in strata}
    counted = sql.sql("SELECT count(noise_probability) FROM scored_interactions").fetchall()[0][0]
    assert sum(int(r[3]) for r in table(page, "probabilities")) == counted
    assert sum(int(r[4]) for r in table(page, "calibration")) > 0


def test_removals_and_keeps_stand_in_the_order_of_the_cookbook(opened, page_of_both, sql):
    page = opened(page_of_both).page
    for section, query in (("removals", "most_certain_removals"), ("keeps", "narrowest_keeps")):
        expected = ask(sql, query, **SPAN, count=10).pl()
        shown = table(page, section)
        assert [float(row[2]) for row in shown] == expected["noise_probability"].to_list()
        assert [row[1] for row in shown] == expected["explanation"].to_list()


def test_hostile_text_is_shown_as_text(opened, page_of_both):
    found = opened(page_of_both)
    assert found.page.locator("#removals th[scope=row]").first.inner_text().startswith(HOSTILE)
    assert HOSTILE in found.page.locator("#quarantine table").inner_text()
    assert found.page.locator("script").count() == 3
    assert found.said == []


@pytest.mark.parametrize("width", [1180, 390, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_the_scheme_is_followed(opened, page_of_both, width, scheme):
    page = opened(page_of_both, width, scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper, label = page.evaluate(
        """() => [getComputedStyle(document.body).backgroundColor,
                  getComputedStyle(document.querySelector('.chart svg text')).fill]"""
    )
    assert (brightness(paper) > 128) == (scheme == "light")
    assert abs(brightness(paper) - brightness(label)) > 75


def test_paper_is_white_whatever_the_screen(opened, page_of_both):
    page = opened(page_of_both, scheme="dark").page
    page.emulate_media(media="print")
    ink, label = page.evaluate(
        """() => [getComputedStyle(document.body).color,
                  getComputedStyle(document.querySelector('.chart svg text')).fill]"""
    )
    assert max(brightness(ink), brightness(label)) < 128
    assert not page.locator("nav").is_visible()
    assert page.locator(".chart svg").first.is_visible()
    assert page.pdf().startswith(b"%PDF")


def test_the_keyboard_reaches_the_figures_and_opens_a_table(opened, page_of_both):
    page = opened(page_of_both).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#headline")
    days = page.locator("#days table")
    assert not days.is_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#days summary') !== null"):
            break
    page.keyboard.press("Enter")
    assert days.is_visible()


def test_a_screen_reader_finds_its_way(opened, page_of_both):
    page = opened(page_of_both).page
    for role, count in (("banner", 1), ("main", 1), ("navigation", 1), ("contentinfo", 1)):
        assert page.get_by_role(role).count() == count
    assert page.locator("h1").count() == 1
    headed = "all => all.every(e => document.getElementById(e.getAttribute('aria-labelledby')))"
    assert page.locator("section").evaluate_all(headed)
    assert page.locator("table").evaluate_all("all => all.every(e => e.caption.textContent)")
    assert page.locator("nav a").evaluate_all(
        "all => all.every(e => document.querySelector(e.hash))"
    )
    told = "all => all.every(e => e.ariaLabel && e.nextElementSibling.querySelector('table'))"
    assert page.locator("figure").evaluate_all(told)


def brightness(colour: str) -> float:
    """0 to 255, of `rgb(r, g, b)`."""
    red, green, blue = (int(part) for part in colour.strip("rgba()").split(",")[:3])
    return 0.3 * red + 0.59 * green + 0.11 * blue
