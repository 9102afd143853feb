"""Which rows of a block are accepted, and why the others are not.

Two passes: vectorised over the rows that the fast parser typed; then, over what it left,
one row at a time down to text, whose word is final.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline import columns as col
from pipeline.config import IngestConfig, TimeUnit
from pipeline.hashing import interaction_hash
from pipeline.sources import reasons
from pipeline.sources.layout import Row
from pipeline.sources.reasons import DETAIL_LENGTH, RowRejectedError
from pipeline.sources.text import ABSENT_VALUE, Lines
from pipeline.sources.times import MICROS, parse_number, parse_plain_iso, parse_text, to_micros
from pipeline.storage.privacy import Erased, UserIds

_LINE = "\x1fline"
_MICROS = "\x1fmicros"

REJECTED_SCHEMA = {
    col.LINE: pl.Int64(),
    col.REASON: pl.String(),
    col.DETAIL: pl.String(),
    col.RAW: pl.Binary(),
    col.USER_ID: pl.String(),  # as stored; null: cannot be told; empty: the row has none
}


class Block(Protocol):
    """Some rows of a source file."""

    @property
    def rows(self) -> int:
        """How many."""
        ...

    def fast(self) -> tuple[pl.DataFrame, Lines]:
        """Typed fields of rows that are well-formed, and which rows (from 0) they are."""
        ...

    def raw(self, lines: Lines) -> list[bytes]:
        """Rows as they stand in the file."""
        ...

    def split(self, raw: bytes) -> Row:
        """The text of each field of one row. Raises RowRejectedError."""
        ...


@dataclass(frozen=True)
class Batch:
    """A block judged: `rows` = accepted (in the file's order) + rejected (lines from 1).

    `typed` holds the accepted rows and, where `good` is false, others that mean nothing (nulls,
    overflows): who drops repetitions too copies the rest once and not twice.
    """

    rows: int
    typed: pl.DataFrame
    rejected: pl.DataFrame
    good: npt.NDArray[np.bool_] | None = None  # None: all

    @property
    def accepted_rows(self) -> int:
        """How many are accepted."""
        return len(self.typed) if self.good is None else int(np.count_nonzero(self.good))

    @property
    def accepted(self) -> pl.DataFrame:
        """The accepted rows, copied."""
        return self.typed if self.good is None else self.typed.filter(pl.Series(self.good))

    def without(self, erased: Erased, ids: UserIds) -> "Batch":
        """The batch less the rows of erased users, and less the ids in lines of no known user.

        What is missing in `rows` then are the erased users' rows.
        """
        unsplit = self.rejected[col.USER_ID].is_null()
        theirs = erased.among(self.rejected[col.USER_ID])
        if unsplit.any():
            theirs |= unsplit & erased.in_lines(self.rejected[col.RAW], ids)
        hidden = pl.when(pl.lit(not ids.key) | pl.col(col.USER_ID).is_not_null())
        rejected = self.rejected.filter(~theirs).with_columns(hidden.then(pl.col(col.RAW)))
        gone = erased.among(self.typed[col.USER_ID])
        if not gone.any():
            return replace(self, rejected=rejected)
        good = ~gone.to_numpy() if self.good is None else self.good & ~gone.to_numpy()
        return replace(self, rejected=rejected, good=good)


@dataclass(frozen=True)
class Judge:
    """The rules of acceptance of one source."""

    fields: tuple[str, ...]
    unit: TimeUnit
    earliest: int  # microseconds
    latest: int
    max_id_length: int
    ids: UserIds

    @classmethod
    def of(
        cls,
        fields: tuple[str, ...],
        unit: TimeUnit,
        config: IngestConfig,
        now: datetime,
        ids: UserIds,
    ) -> "Judge":
        """Rules by the configuration; the latest plausible time is a day after `now`."""
        earliest = datetime.combine(config.earliest, time(), tzinfo=UTC)
        latest = to_micros(now + timedelta(days=1))
        return cls(fields, unit, to_micros(earliest), latest, config.max_id_length, ids)

    def judge(self, block: Block) -> Batch:
        """Sort the block's rows into accepted and rejected."""
        frame, lines = block.fast()
        good = (
            frame.select(self._certain(absent=ABSENT_VALUE in frame.columns)).to_series().to_numpy()
        )
        if len(frame) == block.rows and good.all():
            return Batch(block.rows, self._finish(frame, self._fast_micros(frame)), _no_rejects())
        doubtful = np.ones(block.rows, dtype=bool)
        doubtful[lines[good]] = False
        texts, rejected = self._split(block, np.flatnonzero(doubtful))
        judged = self._reasons(texts)
        refused = self._refused(judged.filter(pl.col(col.REASON).is_not_null()))
        rejected = pl.concat([rejected, refused]).sort(col.LINE)
        typed = self._finish(frame, self._fast_micros(frame))
        saved = judged.filter(pl.col(col.REASON).is_null())
        if saved.is_empty():
            return Batch(block.rows, typed, rejected, good)
        in_order = np.argsort(np.concatenate([lines[good], saved[_LINE].to_numpy()]))
        certain, saved = typed.filter(pl.Series(good)), self._finish(saved, pl.col(_MICROS))
        return Batch(block.rows, pl.concat([certain, saved])[in_order], rejected)

    def _certain(self, *, absent: bool) -> pl.Expr:
        """True where a typed row is surely good; what is not surely good may still be."""
        ids = [pl.col(name) for name in (col.USER_ID, col.ITEM_ID)]
        checks = [
            check
            for text in ids
            for check in (
                text.str.len_bytes().is_between(1, self.max_id_length),
                text.is_between(pl.lit("!"), pl.lit("~~")),  # begins with a visible ASCII character
            )
        ]
        if self.unit == "iso":
            bounds = (self.earliest, self.latest)
            checks.append(parse_plain_iso(pl.col(col.EVENT_TIME)).is_between(*bounds))
        else:
            scale = MICROS[self.unit]
            bounds = (-(-self.earliest // scale), self.latest // scale)
            checks.append(pl.col(col.EVENT_TIME).is_between(*bounds))
        if col.VALUE in self.fields:
            finite = pl.col(col.VALUE).is_finite()
            checks.append(finite.fill_null(pl.col(ABSENT_VALUE)) if absent else finite)
        return pl.all_horizontal(checks).fill_null(False).alias("certain")

    def _fast_micros(self, frame: pl.DataFrame) -> pl.Expr:
        moment = pl.col(col.EVENT_TIME)
        if self.unit == "iso":
            return parse_plain_iso(moment)
        if frame.schema[col.EVENT_TIME].is_integer():
            return moment * MICROS[self.unit]
        return parse_number(moment, self.unit)

    def _finish(self, frame: pl.DataFrame, micros: pl.Expr) -> pl.DataFrame:
        """Typed fields -> the columns of `interactions` that the row itself determines."""
        absent = pl.lit(None, dtype=pl.String)
        event_type = pl.col(col.EVENT_TYPE) if col.EVENT_TYPE in self.fields else absent
        value = pl.col(col.VALUE) if col.VALUE in self.fields else pl.lit(None, dtype=pl.Float64)
        known = (col.USER_ID, col.ITEM_ID, col.EVENT_TIME, col.EVENT_TYPE, col.VALUE)
        extra = [name for name in self.fields if name not in known]
        moment = pl.col(_MICROS).cast(pl.Datetime("us", "UTC"))
        timed = frame.with_columns(micros.alias(_MICROS), self.ids.stored(pl.col(col.USER_ID)))
        return timed.select(
            interaction_hash(
                pl.col(col.USER_ID), pl.col(col.ITEM_ID), pl.col(_MICROS), event_type
            ).alias(col.INTERACTION_ID),
            col.USER_ID,
            col.ITEM_ID,
            moment.alias(col.EVENT_TIME),
            moment.dt.date().alias(col.EVENT_DATE),
            event_type.alias(col.EVENT_TYPE),
            value.cast(pl.Float64, strict=False).alias(col.VALUE),
            *extra,
        )

    def _refused(self, judged: pl.DataFrame) -> pl.DataFrame:
        """Rows that could be split, for quarantine. A user's id is kept as it is stored."""
        user = self.ids.stored(pl.col(col.USER_ID))
        raw, detail = pl.col(col.RAW), pl.col(col.DETAIL)
        if self.ids.key:
            fields = [user if name == col.USER_ID else pl.col(name) for name in self.fields]
            raw = pl.struct(fields).struct.json_encode().cast(pl.Binary)
            of_an_id = pl.col(col.REASON).is_in([reasons.EMPTY_ID, reasons.ID_TOO_LONG])
            detail = pl.when(~of_an_id).then(detail)
        return judged.select(
            (pl.col(_LINE) + 1).alias(col.LINE),
            col.REASON,
            detail.alias(col.DETAIL),
            raw.alias(col.RAW),
            user.fill_null("").alias(col.USER_ID),
        )

    def _split(self, block: Block, lines: Lines) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Text fields of the rows that can be split, and the rows that cannot."""
        rows: list[tuple[object, ...]] = []
        rejected: list[tuple[object, ...]] = []
        for line, raw in zip(lines.tolist(), block.raw(lines), strict=True):
            try:
                rows.append((line, raw, *block.split(raw)))
            except RowRejectedError as error:
                rejected.append((line + 1, error.reason, error.detail, raw, None))
        schema = {_LINE: pl.Int64(), col.RAW: pl.Binary()} | dict.fromkeys(self.fields, pl.String())
        return (
            pl.DataFrame(rows, schema=schema, orient="row"),
            pl.DataFrame(rejected, schema=REJECTED_SCHEMA, orient="row"),
        )

    def _reasons(self, texts: pl.DataFrame) -> pl.DataFrame:
        """Text fields with their time in microseconds, typed value, reason and detail."""
        needed = [pl.col(name) for name in (col.USER_ID, col.ITEM_ID, col.EVENT_TIME)]
        ids = needed[:2]
        micros = pl.col(_MICROS)
        rules = [
            (reasons.MISSING_FIELD, name.is_null(), pl.lit(name.meta.output_name()))
            for name in needed
        ]
        rules += [(reasons.EMPTY_ID, i.str.strip_chars() == "", i) for i in ids]
        rules += [(reasons.ID_TOO_LONG, i.str.len_chars() > self.max_id_length, i) for i in ids]
        rules += [
            (reasons.UNPARSABLE_TIME, micros.is_null(), needed[2]),
            (
                reasons.IMPLAUSIBLE_TIME,
                ~micros.is_between(self.earliest, self.latest),
                needed[2],
            ),
        ]
        timed = texts.with_columns(parse_text(needed[2], self.unit).alias(_MICROS))
        if col.VALUE in self.fields:
            text = pl.col(col.VALUE).str.strip_chars()
            number = text.str.strip_prefix("+").cast(pl.Float64, strict=False)
            endless = text.str.contains(r"(?i)^[+-]?(nan|inf|infinity)$") | ~number.is_finite()
            rules += [
                (reasons.NON_FINITE_VALUE, endless, text),
                (reasons.UNPARSABLE_VALUE, number.is_null() & (text != ""), text),
            ]
        reason, detail = pl.lit(None, dtype=pl.String), pl.lit(None, dtype=pl.String)
        for code, broken, found in reversed(rules):
            reason = pl.when(broken).then(pl.lit(code)).otherwise(reason)
            detail = pl.when(broken).then(found.str.slice(0, DETAIL_LENGTH)).otherwise(detail)
        judged = timed.with_columns(reason.alias(col.REASON), detail.alias(col.DETAIL))
        if col.VALUE in self.fields:
            judged = judged.with_columns(number.alias(col.VALUE))
        return judged


def _no_rejects() -> pl.DataFrame:
    return pl.DataFrame(schema=REJECTED_SCHEMA)
