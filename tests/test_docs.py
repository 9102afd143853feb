"""The pages made from the code say what it says; what the others point at is there."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE = runpy.run_path(str(ROOT / "docs/generate.py"))


@pytest.mark.parametrize("page", MADE["PAGES"])
def test_a_page_is_as_it_would_be_made_now(page):
    assert (ROOT / "docs" / page).read_text() == MADE["PAGES"][page](), "run `make docs`"


def test_every_setting_says_what_it_does():
    assert MADE["undescribed"]() == []


def test_the_cookbook_lists_every_query():
    cookbook = (ROOT / "docs/sql.md").read_text().split("## Cookbook")[1].split("## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", cookbook, re.MULTILINE)
    assert listed == sorted(file.stem for file in (ROOT / "sql/queries").glob("*.sql"))


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What `page.md#...` can name: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def names_in(file: Path) -> set[str]:
    """Functions, classes and their methods (`Class.method`) of a module."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            found |= {f"{node.name}.{x.name}" for x in inner if isinstance(x, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text_of(page))
    lost = []
    for link in (markdown or html for markdown, html in links):
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        outside = "://" in link
        if not outside and not (file.exists() and (not anchor or anchor in anchors(file))):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_every_function_that_is_named_exists(page):
    lost = []
    for named in re.findall(r"`([\w./-]+\.(?:py|sql|md|toml)(?::[\w.]+)?)`", text_of(page)):
        path, _, name = named.partition(":")
        if not name and not path.startswith(("pipeline/", "sql/", "tests/", "docs/", "dags/")):
            continue  # a file of the reader's, or the short name of one that the page has named
        files = [f for f in ROOT.glob("[!.]*/**/*.py") if f.as_posix().endswith(f"/{path}")]
        found = any(name in names_in(file) for file in files) if name else (ROOT / path).exists()
        if not found and "NAME" not in named:
            lost.append(named)
    assert lost == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_page_can_be_reached(page):
    index = (ROOT / "docs/README.md").read_text()
    assert page.name == "README.md" or f"]({page.name})" in index


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 250


def test_the_page_on_the_report_names_every_query_behind_it():
    page = (ROOT / "docs/report.md").read_text()
    named = set(re.findall(r"`(\w+)`", page.split("## What each figure means")[1]))
    assert named >= {file.stem for file in (ROOT / "sql/report").glob("*.sql")}
