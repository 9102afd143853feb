"""What a recommender learns from and what it is asked: labels that no cleaning ever touches.

Sequence order, its tie policy included, is the frame's own: that of `sequences.py`.
"""

from dataclasses import dataclass

import polars as pl

from pipeline import columns as col
from pipeline.errors import UserError

MIN_LENGTH = 3  # one interaction to learn from, one to validate on, one to test on


@dataclass(frozen=True)
class Split:
    """A log in parts. Only `train` may be injected with noise or cleaned."""

    train: pl.DataFrame  # columns of the log, sorted by user in sequence order
    between: pl.DataFrame  # after `train`, before the test target: context of the test, no more
    validate: pl.DataFrame  # user_id, item_id; one row per user
    test: pl.DataFrame
    counts: dict[str, int]


def leave_one_out(frame: pl.DataFrame) -> Split:
    """The last item of each sequence is the test target, the one before it the validation target.

    Sequences of fewer than three interactions are trained on whole. At test time the validation
    item is part of the history, as it is in the literature.

    Parameters
    ----------
    frame : pl.DataFrame
        Columns of `pipeline.sequences.COLUMNS`, sorted by user in sequence order.

    Raises
    ------
    UserError
        No sequence is long enough.
    """
    length, place = pl.len().over(col.USER_ID), pl.int_range(pl.len()).over(col.USER_ID)
    left = length.cast(pl.Int64) - place
    enough = length >= MIN_LENGTH
    between = frame.filter(enough & (left == 2))
    test = frame.filter(enough & (left == 1))
    if test.is_empty():
        raise UserError(f"no user has {MIN_LENGTH} interactions: there is nothing to test on")
    train = frame.filter(~enough | (left > 2))
    users = frame[col.USER_ID].n_unique()
    counts = {"users": users, "users_too_short": users - test.height}
    return _split(train, between, between, test, counts)


def global_time(
    frame: pl.DataFrame, *, validate_share: float = 0.1, test_share: float = 0.1
) -> Split:
    """Cut the log at two moments; a user's first interaction after a cut is the target.

    The moments leave about `test_share` of the interactions after the second cut, and
    `validate_share` between the two; interactions of one instant are never parted. History is
    all that lies before the cut. Targets of users without history, and targets whose item is
    unknown in training, are dropped and counted.

    Parameters
    ----------
    frame : pl.DataFrame
        Columns of `pipeline.sequences.COLUMNS`, sorted by user in sequence order.
    validate_share, test_share : float
        Shares of the interactions.

    Raises
    ------
    UserError
        A part is empty.
    """
    time = pl.col(col.EVENT_TIME)
    moments = frame[col.EVENT_TIME].sort()
    validate_at, test_at = (
        moments[min(int(len(moments) * (1 - share)), len(moments) - 1)]
        for share in (validate_share + test_share, test_share)
    )
    train = frame.filter(time < validate_at)
    between = frame.filter(time >= validate_at, time < test_at)
    validate, lost = _targets(between, train, train)
    test, lost_test = _targets(frame.filter(time >= test_at), frame.filter(time < test_at), train)
    if test.is_empty() or validate.is_empty():
        raise UserError(
            "a split by time leaves no user with history and a target (too few users return: "
            "try --split leave_one_out)"
        )
    counts = {f"validate_{name}": n for name, n in lost.items()}
    counts |= {f"test_{name}": n for name, n in lost_test.items()}
    return _split(
        train, between, validate, test, {"users": frame[col.USER_ID].n_unique(), **counts}
    )


def _targets(
    later: pl.DataFrame, history: pl.DataFrame, train: pl.DataFrame
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Each user's first row of `later` that can be asked for, and how many cannot."""
    first = later.unique(col.USER_ID, keep="first", maintain_order=True)
    known = first.join(history, on=col.USER_ID, how="semi", maintain_order="left")
    asked = known.join(train, on=col.ITEM_ID, how="semi", maintain_order="left")
    lost = {
        "users_without_history": first.height - known.height,
        "targets_unknown": known.height - asked.height,
    }
    return asked, lost


def undivided(frame: pl.DataFrame) -> Split:
    """Nothing is held out to predict: users themselves are (`unseen.py`)."""
    none = frame.clear()
    return _split(frame, none, none, none, {"users": frame[col.USER_ID].n_unique()})


def _split(
    train: pl.DataFrame,
    between: pl.DataFrame,
    validate: pl.DataFrame,
    test: pl.DataFrame,
    counts: dict[str, int],
) -> Split:
    sizes = {"train": train, "between": between, "validate": validate, "test": test}
    counts = counts | {name: part.height for name, part in sizes.items()}
    target = (col.USER_ID, col.ITEM_ID)
    return Split(train, between, validate.select(target), test.select(target), counts)
