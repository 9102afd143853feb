"""Short digests of plain values: they name runs, model versions and configurations."""

import hashlib
import json
from typing import Any


def digest(value: Any, length: int = 12) -> str:
    """First `length` hex digits of the SHA-256 of the value's canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]
