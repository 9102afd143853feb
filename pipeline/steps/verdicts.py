"""How a check of `iadsr doctor` can end."""

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Verdict:
    """How a check ended, what it saw, and what to do about it."""

    verdict: str
    told: str
    mend: str = ""
