"""Run the SQL of `sql/checks/` and `sql/gates/` on staged rows. Each query returns violations.

A check is a promise of the tables: nobody can waive it. A gate is a limit on what is usual: who
gives a reason may pass it.
"""

from datetime import date, timedelta
from typing import Any

import duckdb
import polars as pl

from pipeline import columns as col
from pipeline.config import BAND_DAYS, Config
from pipeline.errors import ContractError, GateError
from pipeline.progress import logger
from pipeline.reasons import REASONS, REMOVE
from pipeline.schemas import CLEAN_INTERACTIONS, SCORED_INTERACTIONS
from pipeline.storage.lake import Lake
from pipeline.storage.sql import statements

SHOWN_ROWS = 3
_ROWS = "scored_rows"


def audit(
    config: Config,
    lake: Lake,
    day: date,
    *,
    interactions: pl.DataFrame,
    scored: pl.DataFrame,
    clean: pl.DataFrame,
    override: str | None = None,
    again: str,
) -> dict[str, list[dict[str, Any]]]:
    """Check what is about to be published for `day`.

    The queries see the tables `interactions`, `scored`, `clean` (all of that date),
    `recent_nights` and `recent_strata` (what was usual on the published dates before it),
    `reasons` and `settings`. `again` is the command that publishes with an override.

    Returns
    -------
    dict
        Gates that were overridden -> what they measured against which limit.

    Raises
    ------
    ContractError
        Naming the first check that failed, what it demands, and the first rows that violate it.
    GateError
        Naming the gates that refuse, where no `override` (a reason) is given.
    """
    with duckdb.connect() as connection:
        tables = {
            "interactions": interactions,
            "scored": scored,
            "clean": clean,
            "recent_nights": _recent_nights(lake, day),
            "recent_strata": _recent_strata(lake, day),
            "reasons": pl.DataFrame({col.REASON: list(REASONS)}),
            "settings": pl.DataFrame([{"event_date": day, **config.gate.model_dump()}]),
        }
        for name, frame in tables.items():
            connection.register(name, frame)
        checks, gates = statements("checks"), statements("gates")
        for name, query in checks.items():
            violations = connection.sql(query).pl()
            if violations.height:
                failed = _describe(f"check {name} failed", query, violations)
                raise ContractError(f"{day}: {failed}. Nothing was published.")
        found = {name: connection.sql(query).pl() for name, query in gates.items()}
    refused = {name: rows for name, rows in found.items() if rows.height}
    told = "; ".join(_describe(f"gate {n} refuses", gates[n], r) for n, r in refused.items())
    if refused and not override:
        raise GateError(
            f"{day}: {told}. Nothing was published; what stood for this date still stands. "
            f'To publish it all the same: `{again} --override "REASON"`'
        )
    if refused:
        logger.warning("%s: published all the same (%s): %s", day, override, told)
    logger.info(
        "audit of %s: %d checks and %d gates passed", day, len(checks), len(gates) - len(refused)
    )
    return {name: rows.to_dicts() for name, rows in refused.items()}


def _recent(lake: Lake, table: Any, day: date) -> pl.LazyFrame:
    return lake.scan(table).filter(
        pl.col(col.EVENT_DATE) < day, pl.col(col.EVENT_DATE) >= day - timedelta(days=BAND_DAYS)
    )


def _recent_nights(lake: Lake, day: date) -> pl.DataFrame:
    """What was usual on the published dates of the last weeks, one row a date.

    Columns event_date, scored_rows (u32), silent_hours (f64: from the last interaction to
    midnight), and the share of nulls (f64) in value, event_type, noise_probability.
    """
    midnight = pl.col(col.EVENT_DATE).first().cast(pl.Datetime("us", "UTC")) + pl.duration(days=1)
    silent = (midnight - pl.col(col.EVENT_TIME).max()).dt.total_seconds() / 3600
    scored = (
        _recent(lake, SCORED_INTERACTIONS, day)
        .group_by(col.EVENT_DATE)
        .agg(
            pl.len().alias(_ROWS),
            silent.alias("silent_hours"),
            pl.col(col.NOISE_PROBABILITY).is_null().mean(),
        )
    )
    nulls = [pl.col(name).is_null().mean() for name in (col.VALUE, col.EVENT_TYPE)]
    clean = _recent(lake, CLEAN_INTERACTIONS, day).group_by(col.EVENT_DATE).agg(nulls)
    return scored.join(clean, on=col.EVENT_DATE, how="left").sort(col.EVENT_DATE).collect()


def _recent_strata(lake: Lake, day: date) -> pl.DataFrame:
    """Columns event_date, stratum (and "all"), scored_rows, removed_share of the last weeks."""
    counted = (
        _recent(lake, SCORED_INTERACTIONS, day)
        .group_by(col.EVENT_DATE, col.STRATUM)
        .agg(pl.len().alias(_ROWS), (pl.col(col.DECISION) == REMOVE).sum().alias("removed"))
    )
    whole = counted.group_by(col.EVENT_DATE).agg(
        pl.lit("all").alias(col.STRATUM), pl.col(_ROWS, "removed").sum()
    )
    share = (pl.col("removed") / pl.col(_ROWS)).alias("removed_share")
    parts = pl.concat([counted, whole.select(counted.collect_schema().names())])
    return parts.select(col.EVENT_DATE, col.STRATUM, _ROWS, share).sort(pl.all()).collect()


def _describe(verdict: str, query: str, violations: pl.DataFrame) -> str:
    demand = query.splitlines()[0].removeprefix("--").strip()
    rows = "; ".join(
        ", ".join(f"{k}={v}" for k, v in row.items())
        for row in violations.head(SHOWN_ROWS).iter_rows(named=True)
    )
    return f"{verdict} ({demand}) on {violations.height:,} rows, first: {rows}"
