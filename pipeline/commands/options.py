"""Types and options that several commands share."""

from datetime import date
from typing import Any

import click


class Day(click.ParamType[date]):
    """An ISO date."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: Any, ctx: Any) -> date:
        """Parse, or end with one line."""
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date (write YYYY-MM-DD)")


class Shard(click.ParamType[tuple[int, int]]):
    """`i/n`, i from 0."""

    name = "i/n"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """Parse, or end with one line."""
        if isinstance(value, tuple):
            return value
        index, _, count = value.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            self.fail(f"{value!r} is not a shard (write i/n with 0 <= i < n, for example 0/4)")
        return int(index), int(count)


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers of one kind, separated by commas.

    Parameters
    ----------
    kind : type
        `int` or `float`.
    example : str
        What a user may write.
    """

    def __init__(self, kind: type[float], example: str) -> None:
        self.kind, self.name = kind, example

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """Parse, or end with one line."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in value.split(","))
        except ValueError:
            what = "whole numbers" if self.kind is int else "numbers"
            self.fail(f"{value!r} are no {what} (write for example {self.name})")


date_option = click.option("--date", "day", type=Day(), required=True, help="UTC date.")
model_option = click.option("--model", "model_version", help="Model version [the promoted one].")
override_option = click.option(
    "--override", "reason", metavar="REASON", help="Pass the gates; the reason is recorded."
)
