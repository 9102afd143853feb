"""Where an id is found in a file, and where the same characters are something else."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.progress import progress
from pipeline.storage.search import UNREADABLE, Needle

USER = "ann"


@pytest.fixture
def places(tmp_path):
    """Function: what a search of one file tells, as (held, elsewhere)."""

    def search(name: str, content: bytes | pa.Table, user: str = USER, **options: object):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pq.write_table(content, path, **options)
        with progress(1, "search", "files") as bar:
            found = Needle(user).search([(str(path), 1)], bar)
        return [hit.place for hit in found.held], [hit.place for hit in found.elsewhere]

    return search


def test_a_column_of_users_is_compared_as_whole_values(places):
    rows = pa.table({"user_id": ["anna", "ann-marie", "bob"], "item_id": ["ann", "x", "y"]})
    assert places("t.parquet", rows) == ([], ["item_id", "statistics of item_id"])
    rows = pa.table({"user_id": ["bob", "ann"], "item_id": ["x", "y"]})
    assert places("t.parquet", rows) == (["statistics of user_id", "user_id"], [])
    assert places("t.parquet", rows, write_statistics=False) == (["user_id"], [])


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.binary_view()],
    ids=str,
)
def test_text_of_every_kind(places, kind):
    column = pa.array(["bob", "ann"]).cast(kind)
    rows = pa.table({"user_id": column, "more": pa.array([["x"], ["ann"]], pa.list_(pa.string()))})
    held, elsewhere = places("t.parquet", rows, write_statistics=False)
    assert (held, elsewhere) == (["user_id"], ["more"])


def test_a_dictionary_is_searched_beyond_what_rows_refer_to(places):
    words = pa.array(["bob", "ann"])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int32()), words)
    rows = pa.table({"user_id": column})
    found = places("t.parquet", rows, write_statistics=False, store_schema=False)
    assert found == (["user_id"], [])


def test_statistics_in_a_log_and_in_a_checkpoint(places):
    stats = json.dumps({"minValues": {"user_id": "ann"}, "maxValues": {"item_id": "ann"}})
    entry = json.dumps({"add": {"path": "x", "stats": stats}}).encode()
    assert places("00.json", entry) == (["user_id"], ["item_id"])
    add = pa.array([{"path": "x", "stats": stats}])
    assert places("c.parquet", pa.table({"add": add})) == (["user_id"], ["item_id"])


@pytest.mark.parametrize("user", ["ann", "O'Hara", 'a "b" c', "é", "a\\b", "-x-"])
def test_the_predicate_of_a_delete(places, user):
    quoted = user.replace("'", "''")
    entry = {"commitInfo": {"operationParameters": {"predicate": f"user_id = '{quoted}'"}}}
    assert places("00.json", json.dumps(entry).encode(), user) == (["predicate"], [])


def test_a_quarantined_line_counts_if_its_user_is_not_known(places):
    lines = [b"ann;1", b"bob,ann", b"anna;1"]
    known = pa.table({"raw": lines, "user_id": ["bob", "bob", None], "detail": ["", "", ""]})
    assert places("q.parquet", known) == ([], [])
    unknown = pa.table({"raw": lines, "user_id": [None, "bob", None], "detail": ["", "", ""]})
    assert places("q.parquet", unknown) == (["raw"], [])
    assert places("q.parquet", pa.table({"raw": lines})) == (["raw"], [])


def test_text_and_what_cannot_be_read(places):
    assert places("report.md", b"| ann | 3 |") == ([], ["text"])
    assert places("report.md", b"| anna | 3 |") == ([], [])
    assert places("w.safetensors", b"\x00ann\x00") == ([], [])  # so short a word is chance
    assert places("t.parquet", b"PAR1 cut off") == ([], [UNREADABLE])
