"""Is everything that a night needs there, and in order? One verdict a check, each with its mend.

The checks run at once, and all together no longer than `DEADLINE_S`; none changes anything that
stays. What they look at is in `checkups.py`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.errors import IadsrError
from pipeline.steps.checkups import CHECKUPS
from pipeline.steps.verdicts import FAIL, Verdict
from pipeline.storage.lake import Lake

DEADLINE_S = 20.0


@dataclass(frozen=True)
class Checked:
    """One check and how it ended."""

    check: str
    verdict: str  # ok, warn or fail
    told: str
    mend: str = ""


def doctor(config: Config, lake: Lake, deadline_s: float = DEADLINE_S) -> Iterator[Checked]:
    """Every check in turn, as soon as those before it are known. Raises nothing."""
    found: dict[str, Verdict] = {}
    threads = {
        name: threading.Thread(target=_run, args=(found, name, check, config, lake), daemon=True)
        for name, check in CHECKUPS.items()
    }
    end = time.monotonic() + deadline_s
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(end - time.monotonic(), 0))
        late = Verdict(FAIL, f"no answer within {deadline_s:.0f} s", "is what it asks reachable?")
        verdict = found.get(name, late)
        yield Checked(name, verdict.verdict, verdict.told, verdict.mend)


def _run(
    found: dict[str, Verdict],
    name: str,
    check: Callable[[Config, Lake], Verdict],
    config: Config,
    lake: Lake,
) -> None:
    try:
        found[name] = check(config, lake)
    except IadsrError as error:  # its one line names the mend
        found[name] = Verdict(FAIL, str(error))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        found[name] = Verdict(FAIL, f"{type(error).__name__}: {first}")
