"""A lake of a few rows on which no model is trained: three dates, two of them published."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from pipeline.config import Config
from pipeline.reasons import KEEP, REMOVE
from pipeline.schemas import CLEAN_INTERACTIONS, INTERACTIONS, SCORED_INTERACTIONS
from pipeline.steps.ingest import ingest
from pipeline.storage import catalog
from pipeline.storage.lake import Lake, conform

DAY = date(2024, 1, 1)
USERS = ["ann", "bob", "ann-marie", "7"]
# An id of an item, and parts of other ids, are no user's.
ITEMS = ["7", "ann's book", "3"]
BROKEN = ["ann,7,yesterday", "ann;7;1704067200", "bob,,1704067200", "bob;7;x"]


def log(path: Path, broken: list[str] = BROKEN) -> Path:
    """Each user meets each item on each of three dates; then the broken lines."""
    at = int(datetime.combine(DAY, datetime.min.time(), UTC).timestamp())
    rows = [
        f"{user},{item},{at + day * 86_400 + 60 * n}"
        for day in range(3)
        for n, item in enumerate(ITEMS)
        for user in USERS
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["user_id,item_id,event_time", *rows, *broken, ""]))
    return path


def settings(folder: Path, lake: str, **privacy: object) -> Config:
    """A configuration that reads `log` into the lake."""
    source = {"format": "csv", "path": str(folder / "log*.csv")}
    values = {"lake": {"path": lake}, "sources": {"log": source}, "privacy": privacy}
    return Config.model_validate(values)


def fill(config: Config, lake: Lake) -> None:
    """Ingest, and publish two dates: every third interaction is removed."""
    ingest(config, lake)
    for offset in range(2):
        day = DAY + timedelta(days=offset)
        rows = lake.scan(INTERACTIONS).filter(pl.col("event_date") == day).collect()
        rows = rows.sort("user_id", "event_time").with_row_index("n")
        removed = pl.col("n") % 3 == 0
        decided = rows.with_columns(
            decision=pl.when(removed).then(pl.lit(REMOVE)).otherwise(pl.lit(KEEP))
        )
        scored = conform(decided, SCORED_INTERACTIONS)
        marker = (catalog.date_marker(day), offset + 1)
        lake.replace_date(SCORED_INTERACTIONS, day, scored, marker)
        kept = conform(decided.filter(~removed), CLEAN_INTERACTIONS)
        lake.replace_date(CLEAN_INTERACTIONS, day, kept, marker)
    catalog.build(lake)
