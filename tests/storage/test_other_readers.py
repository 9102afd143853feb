"""The catalogue in other readers: an older DuckDB, DuckDB's shell, over S3 by httpfs; polars."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline.schemas import CLEAN_INTERACTIONS
from pipeline.storage import catalog, files
from pipeline.storage.lake import Lake
from pipeline.storage.sql import SQL, statements
from tests.conftest import contents
from tests.storage.test_catalog import publish_rows

READERS = Path(__file__).parent.parent.parent / ".venv-duckdb"
SHELL = READERS / "shell/duckdb_cli/duckdb"
needs_readers = pytest.mark.skipif(
    not (READERS / ".installed").is_file(), reason="no other DuckDB: run `make duckdb`"
)

ASK_EVERYTHING = """
import json, sys
import duckdb
path, *queries = json.load(sys.stdin)
opened = duckdb.connect(path, read_only=True)
views = [name for name, in opened.execute(
    "SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
rows = {v: opened.execute(f"SELECT count(*) FROM (FROM {v})").fetchall()[0][0] for v in views}
for query in queries:
    opened.execute(query).fetchall()
print(json.dumps([duckdb.__version__, rows]))
"""

READ_S3 = """
import json, sys
from pathlib import Path
import duckdb, duckdb_extension_httpfs
endpoint, root, script = json.load(sys.stdin)
opened = duckdb.connect()
(extension,) = Path(duckdb_extension_httpfs.__file__).parent.rglob("*.duckdb_extension")
opened.execute(f"LOAD '{extension}'")
opened.execute(f"CREATE SECRET (TYPE s3, KEY_ID 'test', SECRET 'test', REGION 'us-east-1', "
               f"ENDPOINT '{endpoint}', USE_SSL false, URL_STYLE 'path')")
opened.execute("SET VARIABLE lake = ?", [root])
opened.execute(script)
print(json.dumps(opened.execute("SELECT count(*) FROM clean_interactions").fetchall()[0][0]))
"""


def run(version: str, code: str, *given: str):
    """What a program prints (as JSON) that runs with another version of DuckDB."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(given),
        env=os.environ | {"PYTHONPATH": str(READERS / version)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_readers
def test_duckdb_1_4_answers_every_view_and_every_question(cleaned):
    path = str(cleaned.folder / "lake" / catalog.DUCKDB_FILE)
    questions = [q for name, q in statements("queries").items() if name != "what_changed"]
    version, rows = run("1.4", ASK_EVERYTHING, path, *questions)
    assert version.startswith("1.4.")
    assert rows["clean_interactions"] == len(contents(cleaned.lake, CLEAN_INTERACTIONS))
    assert {"removed_interactions", "stale_dates", "signals"} <= set(rows)


@needs_readers
def test_the_shell_reads_a_question_from_its_file(cleaned):
    path = cleaned.folder / "lake" / catalog.DUCKDB_FILE
    question = f".read '{SQL}/queries/night_summary.sql'"
    command = [SHELL, "-readonly", "-json", path, "-c", question]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    nights = json.loads(told)
    assert len(nights) == 2
    kept = sum(int(night["kept"]) for night in nights)
    assert kept == len(contents(cleaned.lake, CLEAN_INTERACTIONS))


@needs_readers
def test_the_sql_file_reads_a_lake_on_s3_from_wherever_it_lies(bucket):
    publish_rows(Lake(bucket), run=1, count=10, kept=9)
    catalog.build(Lake(bucket))
    script = files.read_bytes(files.join(bucket, "catalog.sql")).decode()
    moved = bucket.replace("nightly", "moved")
    store, inner = files.filesystem(bucket)
    for found in store.get_file_info(files.fs.FileSelector(inner, recursive=True)):
        if found.is_file:
            store.copy_file(found.path, found.path.replace("nightly", "moved"))
    store.delete_dir(inner)
    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    assert run("1.5", READ_S3, endpoint, moved, script) == 9


def test_polars_reads_the_table_itself(cleaned):
    path = str(cleaned.folder / "lake" / CLEAN_INTERACTIONS.name)
    rows = pl.scan_delta(path).select(pl.len()).collect().item()
    assert rows == len(contents(cleaned.lake, CLEAN_INTERACTIONS))
