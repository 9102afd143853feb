"""Faults of disk, network, clock and volume: what stood stays readable, the re-run completes it."""

import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import boto3
import duckdb
import polars as pl
import pytest

from pipeline.schemas import CLEAN_INTERACTIONS, INTERACTIONS, SCORED_INTERACTIONS
from pipeline.steps.night import run_night
from pipeline.storage.lake import Lake
from tests.conftest import NIGHT, NIGHTS, Workspace, contents, items, write_clicks
from tests.s3 import BUCKET, s3_server

pytestmark = pytest.mark.integration

LAKE = f"s3://{BUCKET}"


def start(workspace: Workspace, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The command as a user runs it."""
    command = [sys.executable, "-m", "pipeline", "--config", str(workspace.config_path), *arguments]
    return subprocess.Popen(
        command, env=os.environ | environment, stderr=subprocess.PIPE, text=True
    )


def assert_reconciled(lake: Lake) -> None:
    """Every accepted interaction of a cleaned date has one decision, and is clean if kept."""
    scored, clean = contents(lake, SCORED_INTERACTIONS), contents(lake, CLEAN_INTERACTIONS)
    days = scored["event_date"].unique()
    accepted = contents(lake, INTERACTIONS).filter(pl.col("event_date").is_in(days.implode()))
    assert sorted(accepted["interaction_id"]) == sorted(scored["interaction_id"])
    kept = scored.filter(pl.col("decision") == "keep")
    assert sorted(kept["interaction_id"]) == sorted(clean["interaction_id"])


def cut(connection: socket.socket) -> None:
    """Close it; whoever waits for it in another thread is woken."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class Proxy:
    """A TCP proxy on loopback to an S3 server that can go away and come back."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target, self.connections, self.open = target, 0, []
        self.port = 0
        self.up()

    def up(self) -> None:
        """Listen (again, on the same port)."""
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections and cut those that are open."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            cut(connection)
        self.open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            self.connections += 1
            self.open += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        """Pass on what comes until one end is closed; then both are."""
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        cut(source)
        cut(sink)


@pytest.fixture
def store(monkeypatch) -> Iterator[tuple[str, int]]:
    """Address of an S3 server with an empty bucket."""
    with s3_server(monkeypatch) as address:
        yield address


def upload(root: Path) -> None:
    """A local lake, object by object."""
    client = boto3.client("s3", region_name="us-east-1")
    for file in sorted(p for p in root.rglob("*") if p.is_file()):
        client.upload_file(str(file), BUCKET, file.relative_to(root).as_posix())


def test_an_s3_endpoint_that_is_gone_for_30_seconds(workspace, store):
    upload(workspace.folder / "lake")
    proxy = Proxy(store)
    remote = {"IADSR_LAKE__PATH": LAKE, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
    run_night(workspace.config, workspace.lake, NIGHT)
    night = start(workspace, "run", "--date", str(NIGHT), **remote)
    while proxy.connections < 5:  # it is at work
        time.sleep(0.05)
    proxy.down()
    time.sleep(30)
    proxy.up()
    code, said = night.wait(300), night.stderr.read()
    if code:  # what could not wait says so in one line, and the re-run does it
        last = said.splitlines()[-1]
        assert last.startswith("error: "), said
        assert "Generic S3 error" in last
        again = start(workspace, "run", "--date", str(NIGHT), **remote)
        assert again.wait(300) == 0, again.stderr.read()
    proxy.down()
    lake = Lake(LAKE)
    for table in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS):
        assert contents(lake, table).equals(workspace.contents(table)), table.name
    assert_reconciled(lake)


def test_dates_published_at_once_on_s3_all_land(workspace, store):
    upload(workspace.folder / "lake")
    remote = {"IADSR_LAKE__PATH": LAKE}
    runs = [start(workspace, "run", "--date", str(day), **remote) for day in NIGHTS[:3]]
    said = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * 3, said
    assert set(contents(Lake(LAKE), SCORED_INTERACTIONS)["event_date"]) == set(NIGHTS[:3])
    assert_reconciled(Lake(LAKE))


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of that size."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(workspace, trained, copy_of, tmp_path):
    expected = copy_of(trained, "expected")
    for day in NIGHTS[:2]:
        run_night(expected.config, expected.lake, day)
    with small_disk(tmp_path / "disk", 16) as disk:
        shutil.copytree(workspace.folder / "lake", disk / "lake")
        lake = {"IADSR_LAKE__PATH": str(disk / "lake")}
        assert start(workspace, "run", "--date", str(NIGHTS[0]), **lake).wait(120) == 0
        ballast = disk / "ballast"
        full = pytest.raises(OSError, match="No space left")
        with ballast.open("wb", buffering=0) as stream, full:
            while True:
                stream.write(b"x" * 4096)

        night = start(workspace, "run", "--date", str(NIGHTS[1]), **lake)
        said = night.communicate()[1]
        assert night.returncode == 2, said
        assert "No space left" in said.splitlines()[-1]
        with duckdb.connect(disk / "lake" / "catalog.duckdb", read_only=True) as reader:
            days = reader.execute("SELECT DISTINCT event_date FROM clean_interactions").fetchall()
        assert days == [(NIGHTS[0],)]

        ballast.unlink()
        assert start(workspace, "run", "--date", str(NIGHTS[1]), **lake).wait(120) == 0
        for table in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS):
            assert contents(Lake(str(disk / "lake")), table).equals(expected.contents(table))
        assert_reconciled(Lake(str(disk / "lake")))


def test_a_date_with_a_hundred_times_the_usual_events(workspace):
    usual = workspace.contents(INTERACTIONS).filter(pl.col("event_date") == NIGHT).height
    draw, catalogue = random.Random(3), [item for item, _ in items()]
    midnight = int(datetime.combine(NIGHT, datetime.min.time(), UTC).timestamp())
    events = [
        (f"user{draw.randrange(120)}", draw.choice(catalogue), midnight + draw.randrange(86_400))
        for _ in range(100 * usual)
    ]
    write_clicks(workspace.data / "clicks-flood.csv", sorted(events, key=lambda e: e[2]))
    # Almost all of it is noise here: the gate that sees a share of the removed says so.
    refused = start(workspace, "run", "--date", str(NIGHT))
    said = refused.communicate()[1]
    if refused.returncode:
        assert refused.returncode == 3
        assert "gate removal_share_is_usual refuses" in said
        reason = ("--override", "a flood of clicks")
        accepted = start(workspace, "run", "--date", str(NIGHT), *reason)
        assert accepted.wait(300) == 0, accepted.stderr.read()
    assert_reconciled(workspace.lake)
    assert workspace.contents(SCORED_INTERACTIONS).height > 90 * usual


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Kiritimati", "America/New_York"])
def test_dates_are_utc_wherever_the_machine_stands(workspace, trained, copy_of, zone):
    """Around New Year and both changes of the clock, to the second."""
    moments = ["2023-12-31T23:59:59", "2024-01-01T00:00:00", "2023-03-26T01:00:00"]
    moments += ["2023-10-29T00:30:00", "2023-10-29T01:30:00", "2023-10-29T23:59:59"]
    events = [
        ("user1", f"g{i}-0", int(datetime.fromisoformat(m).replace(tzinfo=UTC).timestamp()))
        for i, m in enumerate(moments)
    ]
    write_clicks(workspace.data / "clicks-clock.csv", sorted(events, key=lambda e: e[2]))
    assert start(workspace, "ingest", TZ=zone).wait(120) == 0
    found = workspace.contents(INTERACTIONS).filter(pl.col("source_file").str.contains("clock"))
    dates = found.sort("event_time")["event_date"].cast(pl.String).to_list()
    assert dates == sorted(moment[:10] for moment in moments)
    assert start(workspace, "run", "--date", "2023-12-31", TZ=zone).wait(120) == 0
    scored = workspace.contents(SCORED_INTERACTIONS)
    assert scored["event_time"].to_list() == [datetime(2023, 12, 31, 23, 59, 59, tzinfo=UTC)]
