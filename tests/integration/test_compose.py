"""docker-compose.yml follows the compose specification and our own rules for it."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline import __version__

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DOCUMENT = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = DOCUMENT["services"]


def test_it_follows_the_specification():
    from compose_spec import PyCompose

    compose = PyCompose.from_yaml(yaml.safe_dump(DOCUMENT))
    compose.validate()
    assert set(compose.service_names()) == set(SERVICES)


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_a_service_has_a_health_check_and_limits(name):
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert SERVICES[name]["healthcheck"]["test"]
    assert {"cpus", "memory"} <= set(limits)


def test_our_images_are_of_this_release():
    """With the tag of before, an upgrade would go on with the image of before."""
    ours = {s["image"] for s in SERVICES.values() if s["image"].startswith("iadsr-")}
    assert {image.rpartition(":")[2] for image in ours} == {__version__}


def test_images_are_pinned_by_version():
    for name, service in SERVICES.items():
        _, _, tag = service["image"].rpartition(":")
        assert re.search(r"\d+\.\d+|RELEASE\.\d{4}", tag), name


def test_no_secret_stands_in_the_file():
    needed = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    example = dict(
        line.split("=", 1)
        for line in (ROOT / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert needed <= set(example)
    assert not any(example.values())
    for service in SERVICES.values():
        for key, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|KEY", key):
                assert str(value).startswith("${"), key


def test_every_task_has_a_worker_and_its_pool():
    commands = [" ".join(SERVICES[name]["command"]) for name in ("worker-cpu", "worker-gpu")]
    environment = DOCUMENT["x-airflow"]["environment"]
    pools = yaml.safe_load((ROOT / "dags" / "pools.json").read_text())
    assert f"--queues {environment['DAGS_CPU_QUEUE']} " in commands[0]
    assert environment["DAGS_GPU_QUEUE"] == "${DAGS_GPU_QUEUE:-cpu}"
    assert "--queues gpu " in commands[1]
    assert {environment["DAGS_GPU_POOL"], environment["DAGS_LAKE_POOL"]} == set(pools)


def test_the_images_run_as_an_ordinary_user():
    assert re.search(r"^USER airflow$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
