"""The pages that are made from the code say what the code says."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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


def test_the_page_on_the_report_names_every_query_behind_it():
    page = (ROOT / "docs/report.md").read_text()
    named = set(re.findall(r"`(\w+)`", page.split("## What each figure means")[1]))
    assert named >= {file.stem for file in (ROOT / "sql/report").glob("*.sql")}
