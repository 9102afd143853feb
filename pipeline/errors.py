"""Every error that a user can meet. Each message says what, where, and how to mend it.

The exit code of the command line is the class's: a script can tell the kinds apart.
"""

import re

_ARROW = re.compile(r"\x1b\[\d*m|↳")
_LONGEST_REASON = 2000


class IadsrError(Exception):
    """Base of all errors that end a command with one line instead of a traceback."""

    exit_code = 70


class UserError(IadsrError):
    """Something that the caller asked for cannot be: a path, an option, an order of steps."""

    exit_code = 2


class ConfigError(UserError):
    """The configuration is wrong; the message names the key and where its value came from."""


class SourceError(UserError):
    """A source file cannot be read at all: missing, empty, truncated, without a needed column."""


class StoreError(UserError):
    """The lake's store failed: disk, network, permissions. Trying again later may do."""


class GoneError(UserError):
    """A state of a table that was, and can no longer be read."""


class ContractError(IadsrError):
    """Data broke a promise of its table: an audit or a gate refused. Nothing was published."""

    exit_code = 3


class GateError(ContractError):
    """A gate refused what is sound but not as usual, or worse; a person may overrule it."""


class ConflictError(IadsrError):
    """Another run committed the same partition first. Nothing of this run was published."""

    exit_code = 4


class EngineError(IadsrError):
    """A program that works for us failed. Nothing was published; trying again may help."""

    exit_code = 5


class InternalError(IadsrError):
    """None of the others: a mistake of ours, or of a library."""


def is_interruption(error: BaseException) -> bool:
    """True for what ends a program by intent. A panic of a library in Rust is no `Exception`."""
    return not isinstance(error, Exception) and type(error).__name__ != "PanicException"


def explained(error: BaseException) -> IadsrError:
    """Any error as one of ours: what the system refused is a UserError, the unexpected internal."""
    if isinstance(error, IadsrError):
        return error
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return UserError(f"{type(error).__name__}:{where} {error.strerror or causes(error)}")
    first = (str(error).splitlines() or [""])[0]
    told = InternalError(f"{type(error).__name__}: {first}")
    told.__cause__ = error
    return told


def causes(error: BaseException) -> str:
    """What an error says, in one line: an object store puts each cause on a line, with an arrow."""
    lines = (_ARROW.sub("", line).strip() for line in str(error).splitlines())
    return ": ".join(filter(None, lines))[:_LONGEST_REASON] or type(error).__name__
