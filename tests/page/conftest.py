"""A real, headless Chromium, and pages of a lake whose logs and titles are hostile."""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from pathlib import Path

import pytest

from pipeline.evaluation.results import frame_of
from pipeline.steps.ingest import ingest
from pipeline.steps.report import report
from pipeline.storage import runs
from tests.conftest import NIGHTS, Workspace, copy_workspace, items, write_clicks, write_csv

PATIENCE_MS = 180_000  # of a machine that is busy with other tests
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, driven by Playwright."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("Chromium is not installed (`sudo make system`)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        launched = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        yield launched
        launched.close()


@dataclass
class Opened:
    """A page in the browser, and what it said and asked for."""

    page: object
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def opened(browser):
    """Function that opens a file and waits until its charts are drawn."""
    contexts = []

    def open_file(path: str, width: int = 1180, scheme: str = "light") -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            timezone_id="Pacific/Niue",
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.on("dialog", lambda dialog: found.said.append(dialog.message))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(Path(path).as_uri())
        found.page.wait_for_function(
            "[...document.querySelectorAll('[data-chart]')].every(e => e.querySelector('svg'))"
        )
        return found

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def hostile(cleaned: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two published nights; every title is a script, a rejected row too; an evaluation lies there.

    Not to be changed.
    """
    workspace = copy_workspace(cleaned, tmp_path_factory.mktemp("hostile"))
    with workspace.config_path.open("a") as config:
        config.write("\n[gate]\nmin_rows = 20\n")
    titled = [(item, f"{HOSTILE} {title}") for item, title in items()]
    write_csv(workspace.data / "items.csv", ["item_id", "title"], titled)
    noon = int(datetime.combine(NIGHTS[0], time(12), UTC).timestamp())
    late = [("user1", "g0-0", noon), ("user1", "g0-0", HOSTILE)]
    write_clicks(workspace.data / "clicks-bad.csv", late)
    ingest(workspace.config, workspace.lake)
    evaluated(workspace)
    return workspace


def evaluated(workspace: Workspace) -> None:
    """Leave what an evaluation writes: its long table, and its row in `runs`."""
    folder = workspace.folder / "evaluation"
    folder.mkdir()
    base = {"part": "usefulness", "backbone": "sasrec", "noise": "none", "metric": "NDCG", "k": 10}
    rows = []
    for arm, value in (("raw", 0.05), ("cleaned", 0.052), ("random", 0.047)):
        rows.append(
            {**base, "arm": arm, "value": value, "low": value - 0.002, "high": value + 0.002}
        )
    rows.append(
        {**base, "arm": "cleaned", "versus": "raw", "value": 0.002, "low": -0.001, "high": 0.005}
    )
    frame_of(rows).write_parquet(folder / "results.parquet")
    run = runs.Run("evaluate-1", "evaluate", NIGHTS[0], outputs={"folder": str(folder)})
    with runs.record(workspace.lake, workspace.config, run):
        pass


@pytest.fixture(scope="session")
def page_of_both(hostile: Workspace) -> str:
    """Path of the report of both nights."""
    return report(hostile.config, hostile.lake, NIGHTS[0], NIGHTS[1])
