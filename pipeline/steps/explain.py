"""Why was this interaction kept or removed? One user's decisions with titles, in words."""

from datetime import date

import duckdb
import polars as pl

from pipeline.errors import UserError
from pipeline.storage import catalog
from pipeline.storage.lake import Lake
from pipeline.storage.sql import ask


def explain(
    lake: Lake, user: str, item: str | None = None, day: date | None = None
) -> pl.DataFrame:
    """Decisions on one user's interactions, oldest first, from the newest published state.

    Returns
    -------
    Columns event_date, event_time, item_id, title, decision, reason, explanation,
    noise_probability, threshold, and each signal.

    Raises
    ------
    UserError
        Nothing of that user (item, date) has been cleaned.
    """
    state = catalog.snapshot(lake)
    with duckdb.connect() as connection:
        for statement in catalog.view_statements(lake, state):
            connection.execute(statement)
        asked = ask(connection, "explain_user", user_id=user, item_id=item, event_date=day)
        found: pl.DataFrame = asked.filter("decision IS NOT NULL").pl()
    if found.is_empty():
        what = "".join([f" and item {item!r}" if item else "", f" on {day}" if day else ""])
        raise UserError(
            f"no cleaned interaction of user {user!r}{what} in {lake.root}: ids are compared "
            "exactly as given in the source; `iadsr status` lists the cleaned dates"
        )
    return found
