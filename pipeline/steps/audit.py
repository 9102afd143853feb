"""Run the SQL checks of `sql/checks/` on staged rows. Each query returns its violations."""

from datetime import date, timedelta

import duckdb
import polars as pl

from pipeline import columns as col
from pipeline.config import Config
from pipeline.errors import ContractError
from pipeline.progress import logger
from pipeline.reasons import REASONS, REMOVE
from pipeline.schemas import SCORED_INTERACTIONS
from pipeline.storage.lake import Lake
from pipeline.storage.sql import statements

BAND_DAYS = 28
SHOWN_ROWS = 3


def audit(
    config: Config,
    lake: Lake,
    day: date,
    *,
    interactions: pl.DataFrame,
    scored: pl.DataFrame,
    clean: pl.DataFrame,
) -> None:
    """Check what is about to be published for `day`.

    The checks see the tables `interactions`, `scored`, `clean` (all of that date), `recent_nights`
    (removal share of the published dates before it), `reasons` and `settings`.

    Raises
    ------
    ContractError
        Naming the first check that failed, what it demands, and the first rows that violate it.
    """
    with duckdb.connect() as connection:
        tables = {
            "interactions": interactions,
            "scored": scored,
            "clean": clean,
            "recent_nights": _recent_nights(lake, day),
            "reasons": pl.DataFrame({col.REASON: list(REASONS)}),
            "settings": pl.DataFrame([{"event_date": day, **config.gate.model_dump()}]),
        }
        for name, frame in tables.items():
            connection.register(name, frame)
        checks = statements("checks")
        for name, query in checks.items():
            violations = connection.sql(query).pl()
            if violations.height:
                raise ContractError(_describe(day, name, query, violations))
    logger.info("audit of %s: %d checks passed", day, len(checks))


def _recent_nights(lake: Lake, day: date) -> pl.DataFrame:
    """Columns event_date (date), scored_rows (u32), removed_share (f64) of the last weeks."""
    published = lake.scan(SCORED_INTERACTIONS).filter(
        pl.col(col.EVENT_DATE) < day, pl.col(col.EVENT_DATE) >= day - timedelta(days=BAND_DAYS)
    )
    return (
        published.group_by(col.EVENT_DATE)
        .agg(
            pl.len().alias("scored_rows"),
            (pl.col(col.DECISION) == REMOVE).mean().alias("removed_share"),
        )
        .sort(col.EVENT_DATE)
        .collect()
    )


def _describe(day: date, name: str, query: str, violations: pl.DataFrame) -> str:
    demand = query.splitlines()[0].removeprefix("--").strip()
    rows = "; ".join(
        ", ".join(f"{k}={v}" for k, v in row.items())
        for row in violations.head(SHOWN_ROWS).iter_rows(named=True)
    )
    return (
        f"{day}: check {name} failed ({demand}) on {violations.height:,} rows, first: {rows}. "
        "Nothing was published."
    )
