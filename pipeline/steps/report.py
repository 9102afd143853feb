"""Write the report of published dates as one HTML page: `<lake>/reports/DATE.html`."""

from datetime import date

from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.page.figures import figures
from pipeline.page.html import render
from pipeline.progress import logger
from pipeline.storage import files, places, runs, snapshots
from pipeline.storage.lake import Lake


def path_of(lake: Lake, first: date, last: date) -> str:
    """Where the report of these dates lies."""
    name = f"{first}" if first == last else f"{first}_{last}"
    return lake.path(places.REPORTS, f"{name}.html")


def report(
    config: Config,
    lake: Lake,
    first: date | None = None,
    last: date | None = None,
    out: str | None = None,
) -> str:
    """Write the page on the dates from `first` to `last`; of the same state, the same bytes.

    Parameters
    ----------
    config : Config
        Its section `gate` says which band is usual.
    lake : Lake
        The lake.
    first, last : date, optional
        Both inclusive; with neither: the newest published date.
    out : str, optional
        A file; default: see `path_of`.

    Returns
    -------
    str
        Path of the page.

    Raises
    ------
    UserError
        None of the dates is published.
    """
    published = sorted({state["event_date"] for state in snapshots.publications(lake)})
    if not published:
        raise UserError("no date is published yet: `iadsr run --date DATE` cleans one")
    first, last = first or published[-1], last or first or published[-1]
    if not any(first <= day <= last for day in published):
        raise UserError(
            f"nothing is published from {first} to {last}; published are {len(published):,} dates "
            f"from {published[0]} to {published[-1]}"
        )
    target = out or path_of(lake, first, last)
    name = runs.run_id("report", {"first": str(first), "last": str(last)})
    run = runs.Run(name, "report", last, outputs={"page": target})
    with runs.record(lake, config, run):
        page = render(figures(config, lake, first, last), config, first, last)
        if files.exists(target) and files.read_bytes(target) == page:
            run.status = runs.UNCHANGED
        else:
            files.write_bytes(target, page)
        run.counts = {"bytes": len(page)}
    logger.info("report: %s", target)
    return target
