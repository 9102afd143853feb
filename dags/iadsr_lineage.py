"""Names the lake's tables in a task's OpenLineage events: what it read and wrote, rows, snapshots.

Airflow's provider (extra `lineage`) sends the events; it takes the data sets from the inlets and
outlets of the task. Where it is not installed, nothing is named.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlparse

# Step -> table -> which of the step's counts tells how many rows of it were read, or written.
READ = {
    "embed": {"items": "texts"},
    "score": {"interactions": "scored"},
    "publish": {"interactions": "interactions"},
    "train": {"interactions": "interactions"},
}
WRITTEN = {
    "ingest": {"interactions": "accepted", "items": "accepted", "quarantine": "quarantined"},
    "embed": {"item_embeddings": "embedded"},
    "publish": {"scored_interactions": "interactions", "clean_interactions": "kept"},
}


def name_tables(task: Any, root: str, row: Mapping[str, Any]) -> None:
    """Add the tables of a step's run, a row of `runs`, to the task's inlets and outlets.

    `root` is the lake's path. A table that the run left as it was is no output.
    """
    if find_spec("airflow.providers.openlineage") is None:
        return
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import input_statistics_input_dataset as read
    from openlineage.client.facet_v2 import output_statistics_output_dataset as written

    counts, inputs, outputs = (json.loads(row[name]) for name in ("counts", "inputs", "outputs"))
    for table, count in READ.get(row["step"], {}).items():
        if rows := counts.get(count):
            statistics = {"inputStatistics": read.InputStatisticsInputDatasetFacet(rowCount=rows)}
            found = InputDataset(**_named(root, table, inputs), inputFacets=statistics)
            task.inlets = [*task.inlets, found]
    for table, count in WRITTEN.get(row["step"], {}).items():
        if table in outputs and (rows := counts.get(count)):
            statistics = {
                "outputStatistics": written.OutputStatisticsOutputDatasetFacet(rowCount=rows)
            }
            made = OutputDataset(**_named(root, table, outputs), outputFacets=statistics)
            task.outlets = [*task.outlets, made]


def _named(root: str, table: str, versions: Mapping[str, Any]) -> dict[str, Any]:
    """Namespace and name of a table by OpenLineage's convention, and its snapshot if known."""
    from openlineage.client.facet_v2 import dataset_version_dataset as facet

    at = urlparse(root)
    namespace, folder = (f"{at.scheme}://{at.netloc}", at.path) if at.scheme else ("file", root)
    name = f"{folder}/{table}"
    version = versions.get(table, versions.get(f"{table}_version"))
    facets = {} if version is None else {"version": facet.DatasetVersionDatasetFacet(str(version))}
    name = name.lstrip("/") if at.scheme else name
    return {"namespace": namespace, "name": name, "facets": facets}
