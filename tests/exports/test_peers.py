"""The libraries themselves load what was exported, and train on it.

Each runs in the environment that `make peers` builds; the programs are in `tests/peers/`.
"""

import json
import os
import re
import shlex
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import cli as command_line
from pipeline import columns as col
from pipeline.exports.parts import SplitName
from pipeline.steps.export import Request, export
from tests.conftest import FIRST_DAY, USERS, clicks, items

ROOT = Path(__file__).parents[2]
EPOCH = date(1970, 1, 1)
PYTHON = ROOT / ".venv-peers/bin/python"
pytestmark = [
    pytest.mark.skipif(not PYTHON.is_file(), reason="no recommender libraries: run `make peers`"),
    pytest.mark.slow,
]

# Title, command and program of each example in the documentation.
EXAMPLES = re.findall(
    r"^## ([^\n]+)\n+```sh\niadsr ([^\n]+)\n```\n+```python\n(.*?)```",
    (ROOT / "docs/exports.md").read_text(),
    re.MULTILINE | re.DOTALL,
)

# What breaks files of separated fields, or is taken for something else.
HOSTILE = {
    'tab\there, "quoted"': 'a "title"\twith\na line break',
    "007": "None",
    "two words": "=HYPERLINK()",
    "ünï ☃": "<script>alert(1)</script>",
}


@pytest.fixture
def lake(decided):
    """A log of two tastes, and a user with hostile ids."""
    days = [1 + second // 86_400 - (FIRST_DAY - EPOCH).days for _, _, second in clicks()]
    rows = [
        (user, item, day, n % 10 / 10)
        for n, ((user, item, _), day) in enumerate(zip(clicks(), days, strict=True))
    ]
    rows += [("1e5", item, 2 + n, 0.1) for n, item in enumerate(HOSTILE)]
    return decided(rows, dict(items()) | HOSTILE)


@pytest.fixture
def exported(config, lake, tmp_path):
    """Function that exports that log: the folder."""

    def run(library: str, split: SplitName | None = None, *, weights: bool = False) -> Path:
        export(config, lake, Request(library, split, weights), str(tmp_path / "out"))
        return tmp_path / "out"

    return run


def run_python(*arguments: str | Path, cwd: Path) -> str:
    """What a program prints in the libraries' environment."""
    done = subprocess.run(
        [PYTHON, *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def told_by(program: str, *arguments: str | Path, cwd: Path) -> dict[str, Any]:
    """The facts that a program of `tests/peers/` prints on its last line."""
    printed = run_python(ROOT / "tests/peers" / program, *arguments, cwd=cwd)
    facts: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return facts


@pytest.mark.parametrize(
    ("command", "program"), [e[1:] for e in EXAMPLES], ids=[e[0] for e in EXAMPLES]
)
def test_an_example_of_the_documentation_runs(lake, tmp_path, monkeypatch, command, program):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="0"):
        command_line.main(shlex.split(command))
    run_python("-c", program, cwd=tmp_path)


def test_every_library_has_an_example():
    assert len(EXAMPLES) == 5


def test_recbole_trains_on_an_export(exported, tmp_path):
    out = exported("recbole", weights=True)
    told = told_by("recbole_trains.py", out, "BPR", "recbole.yaml", cwd=tmp_path)
    manifest = json.loads((out / "manifest.json").read_text())
    assert told["rows"] == manifest["counts"]["interactions"]
    assert (told["users"], told["items"]) == (USERS + 1, 64 + len(HOSTILE))
    assert told["types"] == {
        "user_id": "token",
        "item_id": "token",
        "timestamp": "float",
        "weight": "float",
        "title": "token",
    }
    assert set(HOSTILE) <= set(told["item_ids"])
    assert "1e5" in told["user_ids"]
    assert set(HOSTILE.values()) - {"None"} <= set(told["titles"])


def test_recbole_trains_a_sequential_model_on_our_split(exported, tmp_path):
    out = exported("recbole", "leave_one_out")
    told = told_by("recbole_trains.py", out, "SASRec", "recbole-sequential.yaml", cwd=tmp_path)
    manifest = json.loads((out / "manifest.json").read_text())
    sequences = [told for name, told in manifest["files"].items() if "_sequences" in name]
    assert told["rows"] == sum(found["rows"] for found in sequences)
    assert set(told["test"]) == {"hit@10"}
    known = pl.read_parquet(out / "users.parquet")[col.USER_ID][-1]
    frames = [
        pl.read_csv(out / f"iadsr/iadsr.{part}.inter", separator="\t")
        for part in ("train", "valid")
    ]
    before = pl.concat(frames).filter(pl.col("user_id:token") == known)["item_id:token"]
    assert told["last_list"] == before.to_list()


def test_rectools_trains_on_an_export(exported, tmp_path):
    out = exported("rectools", "leave_one_out", weights=True)
    told = told_by("rectools_trains.py", out, "train", cwd=tmp_path)
    train = pl.read_parquet(out / "train.parquet")
    assert told["rows"] == train.height
    assert told["users"] == train[col.USER_ID].n_unique()
    assert told["weights"] == pytest.approx(train["weight"].sum())
    assert 0 < told["weights"] < train.height
    assert set(told["recommended"]) <= set(train[col.ITEM_ID])


def test_replay_loads_an_export(exported, tmp_path):
    out = exported("replay")
    told = told_by("replay_loads.py", out, "interactions", cwd=tmp_path)
    rows = pl.read_parquet(out / "interactions.parquet")
    assert (told["rows"], told["last"] + told["rest"]) == (rows.height, rows.height)
    assert told["users"] == pl.read_parquet(out / "users.parquet").height
    assert told["items"] == pl.read_parquet(out / "items.parquet").height


def test_implicit_trains_on_an_export(exported, tmp_path):
    out = exported("implicit", weights=True)
    told = told_by("implicit_trains.py", out, "interactions", cwd=tmp_path)
    assert told["shape"] == [USERS + 1, 64 + len(HOSTILE)]
    counts = json.loads((out / "manifest.json").read_text())["counts"]
    assert 0 < told["sum"] < counts["interactions"]
    assert set(told["recommended"]) <= {item for item, _ in items()} | set(HOSTILE)
