import logging

import pytest

from pipeline import progress
from pipeline.progress import LOG_EVERY_S


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    return now


def test_a_line_now_and_then_says_how_far_a_step_is(clock, caplog):
    caplog.set_level(logging.INFO, logger="iadsr")
    with progress.progress(4_000, "embed", "texts") as bar:
        bar.update(1_000)
        clock[0] += LOG_EVERY_S
        bar.update(1_000)
        clock[0] += LOG_EVERY_S / 2
        bar.update(500)
    assert caplog.messages == ["embed: 2,000 of 4,000 (50%) texts, 200/s"]


def test_a_slow_step_tells_the_time_of_each(clock, caplog):
    caplog.set_level(logging.INFO, logger="iadsr")
    with progress.progress(None, "train", "epochs") as bar:
        clock[0] += 3 * LOG_EVERY_S
        bar.update(2)
    assert caplog.messages == ["train: 2 epochs, 15.0 s each"]


def test_nothing_done_yet_has_no_pace(clock, caplog):
    """A step that begins by counting what is there already may find none, late."""
    caplog.set_level(logging.INFO, logger="iadsr")
    with progress.progress(20, "embed", "texts") as bar:
        clock[0] += 2 * LOG_EVERY_S
        bar.update(0)
    assert caplog.messages == ["embed: 0 of 20 (0%) texts"]
