"""Airflow's web server shows the reports of the nights, to whoever may see their DAG runs.

The task `report` of `nightly_clean` links to them. Point `AIRFLOW__CORE__PLUGINS_FOLDER` at this
folder, and give the web server `IADSR_CONFIG` and the lake.
"""

import re
from typing import ClassVar

from airflow.api_fastapi.core_api.security import DagAccessEntity, requires_access_dag
from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

MAY_SEE_NIGHTS = requires_access_dag("GET", DagAccessEntity.RUN, "nightly_clean")
PREFIX = "/iadsr"
# What the step names them: a date, or two.
NAME = re.compile(r"\d{4}-\d\d-\d\d(_\d{4}-\d\d-\d\d)?\.html")

app = FastAPI(title="iadsr", openapi_url=None)


@app.get("/reports/{name}", dependencies=[Depends(MAY_SEE_NIGHTS)])
def report(name: str) -> HTMLResponse:
    """One page of `<lake>/reports/`."""
    from pipeline.configuration import load
    from pipeline.storage import files, places

    path = files.join(load().config.lake.path, places.REPORTS, name)
    if not (NAME.fullmatch(name) and files.exists(path)):
        raise HTTPException(404, "There is no such report: `iadsr report --date DATE` writes one.")
    return HTMLResponse(files.read_bytes(path))


class IadsrPlugin(AirflowPlugin):
    """What Airflow looks for in this file."""

    name = "iadsr"
    fastapi_apps: ClassVar = [{"app": app, "url_prefix": PREFIX, "name": "iadsr reports"}]
