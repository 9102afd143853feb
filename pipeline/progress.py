"""Progress and messages of long steps: a bar on a terminal, plain log lines otherwise."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm

LOG_EVERY_S = 10.0

logger = logging.getLogger("iadsr")


class Progress(Protocol):
    """Something that is told how much more is done."""

    def update(self, n: int) -> object:
        """`n` more units are done."""
        ...


class _LogLines:
    """Says how far the step is, at most once in `LOG_EVERY_S` seconds."""

    def __init__(self, total: int | None, label: str, unit: str) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done = 0
        self.started = self.last = time.monotonic()

    def update(self, n: int) -> None:
        """Count `n` more units and say so when it is time."""
        self.done += n
        now = time.monotonic()
        if now - self.last >= LOG_EVERY_S:
            self.last = now
            of = f" of {self.total:,} ({self.done / self.total:.0%})" if self.total else ""
            pace = self._pace(now - self.started)
            logger.info("%s: %s%s %s%s", self.label, f"{self.done:,}", of, self.unit, pace)

    def _pace(self, seconds: float) -> str:
        if not self.done:
            return ""
        rate = self.done / seconds
        return f", {rate:,.0f}/s" if rate >= 1 else f", {1 / rate:.1f} s each"


@contextmanager
def progress(total: int | None, label: str, unit: str) -> Iterator[Progress]:
    """Open the progress of one long loop; its body tells `update` how much more is done."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=label, unit=f" {unit}", leave=False) as bar:
            yield bar
    else:
        yield _LogLines(total, label, unit)
