"""Event times: unix seconds, milliseconds, microseconds or ISO 8601, as microseconds of UTC."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

import polars as pl

from pipeline.config import TimeUnit
from pipeline.errors import SourceError

MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 4.0e18  # microseconds; beyond it an Int64 would overflow
# What polars and Python read alike; polars alone takes `2024-1-1`, a sign, two spaces, second 60.
_PLAIN_ISO = r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,9})?Z?$"


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def detect_unit(samples: Sequence[str], file: str) -> TimeUnit:
    """The unit of a file's times, by the look of its first ones.

    Numbers are told apart by size: up to 1e11 are seconds (the year 5138), up to 1e14
    milliseconds, the rest microseconds.

    Raises
    ------
    SourceError
        Most samples are neither numbers nor ISO 8601.
    """
    numbers = [abs(number) for number in map(_number, samples) if number is not None]
    dates = sum(iso_micros(text) is not None for text in samples if _number(text) is None)
    if 2 * len(numbers) > len(samples):
        size = median(numbers)
        return "s" if size < 1e11 else "ms" if size < 1e14 else "us"
    if 2 * dates > len(samples):
        return "iso"
    shown = ", ".join(repr(text[:40]) for text in samples[:3]) or "none"
    raise SourceError(
        f"{file}: cannot tell the unit of its times (found: {shown}). "
        'State it in the source: time = "s", "ms", "us" or "iso"'
    )


def parse_text(text: pl.Expr, unit: TimeUnit) -> pl.Expr:
    """String -> Int64 microseconds; null where it is no time."""
    trimmed = text.str.strip_chars()
    if unit == "iso":
        return trimmed.map_elements(iso_micros, return_dtype=pl.Int64)
    return parse_number(trimmed.cast(pl.Float64, strict=False), unit)


def parse_number(number: pl.Expr, unit: TimeUnit) -> pl.Expr:
    """Float64 -> Int64 microseconds, rounded; null where it is not finite."""
    micros = (number * MICROS[unit]).round().clip(-_LARGEST, _LARGEST)
    return pl.when(number.is_finite()).then(micros).cast(pl.Int64)


def parse_plain_iso(text: pl.Expr) -> pl.Expr:
    """String -> Int64 microseconds for the commonest ISO spellings; null for any other.

    Never another time than `iso_micros`, nor one where that finds none.
    """
    spaced = text.str.strip_suffix("Z").str.replace("T", " ", literal=True)
    parsed = spaced.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    return pl.when(text.str.contains(_PLAIN_ISO)).then(parsed.to_physical())


def iso_micros(text: str) -> int | None:
    """Microseconds of an ISO 8601 text, UTC where it names no zone; None if it is none."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return to_micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
