"""The services of docker-compose.yml, started natively: PostgreSQL, Redis, Airflow on Celery.

The environment is the file's own; only addresses, secrets and paths are this machine's.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import yaml

from tests.processes import free_port

ROOT = Path(__file__).parents[2]
SECRET = "only-for-this-test-" * 4  # long enough to sign with
REVIVALS = 3  # of one service


def postgres_binary(name: str) -> str | None:
    """A program of PostgreSQL, which Debian keeps out of the PATH."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(packaged[-1]) if packaged else shutil.which(name)


class Cluster:
    """All services, in a folder of their own, on free ports of loopback."""

    def __init__(self, config_path: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="iadsr-cluster-"))
        self.folder.chmod(0o755)  # PostgreSQL does not run as root
        self.ports = {name: free_port() for name in ("postgres", "redis", "api", "logs", "logs2")}
        self.environment = {**os.environ, **self._compose_environment(), **self._local(config_path)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.revived: dict[str, int] = {}

    def _compose_environment(self) -> dict[str, str]:
        """What docker-compose.yml gives every Airflow process, with addresses of this machine."""
        document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        found = {}
        for name, value in document["x-airflow"]["environment"].items():
            text = re.sub(r"\$\{(\w+):-([^}]*)\}", r"\2", str(value))
            text = re.sub(r"\$\{\w+:\?[^}]*\}", SECRET, text)
            text = text.replace("@postgres/", f"@127.0.0.1:{self.ports['postgres']}/")
            text = text.replace("@redis:6379", f"@127.0.0.1:{self.ports['redis']}")
            found[name] = text.replace("api-server:8080", f"127.0.0.1:{self.ports['api']}")
        return found

    def _local(self, config_path: Path) -> dict[str, str]:
        return {
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__FERNET_KEY": "",
            "DAGS_GPU_QUEUE": "gpu",
            "IADSR_CONFIG": str(config_path),
            "PYTHONPATH": str(ROOT),
            # What the tests trigger, and no night of the machine's own date.
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
            # Minutes in production; here, seconds.
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__SCHEDULER__PARSING_PROCESSES": "1",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        }

    # Services -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until it serves."""
        self._start_postgres()
        redis = ["redis-server", "--port", str(self.ports["redis"]), "--requirepass", SECRET]
        self.spawn("redis", [*redis, "--dir", str(self.folder), "--bind", "127.0.0.1"])
        self.airflow("db", "migrate")
        self.airflow("pools", "import", str(ROOT / "dags" / "pools.json"))
        address = ["--host", "127.0.0.1", "--port", str(self.ports["api"])]
        self.spawn_airflow("api-server", "api-server", *address)
        self.spawn_airflow("scheduler", "scheduler", "--skip-serve-logs")
        self.spawn_airflow("dag-processor", "dag-processor")
        self.start_worker("cpu", concurrency=2)
        self.start_worker("gpu", concurrency=1)
        self.wait_until(self._serves, "the api-server")
        self.wait_until(
            lambda: self.sql("SELECT 1 FROM dag WHERE dag_id = 'nightly_clean'"), "the DAGs"
        )

    def start_worker(self, queue: str, concurrency: int) -> None:
        """A Celery worker of one queue."""
        ports = {"cpu": "logs", "gpu": "logs2"}
        self.environment["AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT"] = str(self.ports[ports[queue]])
        name = f"worker-{queue}"
        options = ["--queues", queue, "--concurrency", str(concurrency)]
        options += ["--celery-hostname", f"{queue}-{time.monotonic_ns()}@%h"]
        options += ["--pid", str(self.folder / f"{name}-{time.monotonic_ns()}.pid")]
        self.spawn_airflow(name, "celery", "worker", *options)

    def _start_postgres(self) -> None:
        data = self.folder / "postgres"
        data.mkdir()
        self._as_postgres_owner(data)
        init = [postgres_binary("initdb"), "-D", str(data), "-U", "airflow", "--auth=trust", "-N"]
        self._postgres_program([str(part) for part in init])
        self.restart_postgres("start")
        connection = self.connect("postgres")
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE airflow")
        connection.close()

    def restart_postgres(self, action: str = "restart") -> None:
        """`pg_ctl start` or `restart`: connections are cut."""
        data = self.folder / "postgres"
        options = f"-p {self.ports['postgres']} -c listen_addresses=127.0.0.1 -k {data}"
        control = [str(postgres_binary("pg_ctl")), "-D", str(data), "-w", "-m", "fast"]
        log = str(data / "server.log")
        self._postgres_program([*control, "-o", options, "-l", log, action])

    def _as_postgres_owner(self, data: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(data, "postgres", "postgres")

    @staticmethod
    def _postgres_program(command: list[str]) -> None:
        prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*prefix, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        assert done.returncode == 0, done.stderr.decode()

    def wait_until(
        self, true: Callable[[], Any], what: str, seconds: float = 600, poll: float = 0.5
    ) -> Any:
        """Ask every `poll` seconds until it is true; returns what it gave.

        A service that exits is started again meanwhile, as `restart: unless-stopped` does.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := true():
                return found
            for name, process in list(self.processes.items()):
                if process.poll() is not None:
                    self._revive(name)
            time.sleep(poll)
        raise TimeoutError(f"{what}: not within {seconds:.0f} s")

    def _revive(self, name: str) -> None:
        self.revived[name] = self.revived.get(name, 0) + 1
        if self.revived[name] > REVIVALS:
            log = (self.folder / f"{name}.log").read_text()
            raise RuntimeError(f"{name} keeps dying: {log[-2000:]}")
        self.spawn(name, [str(part) for part in self.processes[name].args])

    def _serves(self) -> bool:
        address = f"http://127.0.0.1:{self.ports['api']}/api/v2/version"
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except OSError:
            return False
        return True

    def spawn_airflow(self, name: str, *arguments: str) -> None:
        """Start one of Airflow's processes."""
        self.spawn(name, [sys.executable, "-m", "airflow", *arguments])

    def spawn(self, name: str, command: list[str]) -> None:
        """Start a process, its output to a log file, in a group of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )

    def kill(self, name: str) -> None:
        """kill -9 of a service and all that it started."""
        os.killpg(self.processes.pop(name).pid, signal.SIGKILL)

    def stop(self) -> None:
        """End everything that was started here, and remove the folder."""
        alive = [process for process in self.processes.values() if process.poll() is None]
        for process in alive:
            os.killpg(process.pid, signal.SIGTERM)
        for process in alive:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        if (self.folder / "postgres").exists():
            self.restart_postgres("stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    # Airflow ------------------------------------------------------------------------------------

    def airflow(self, *arguments: str) -> str:
        """Run an `airflow` command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def trigger(self, dag_id: str, run_id: str, conf: str) -> None:
        """Queue a manual run."""
        self.airflow("dags", "trigger", dag_id, "--run-id", run_id, "--conf", conf)

    def connect(self, database: str = "airflow") -> Any:
        """A connection to PostgreSQL."""
        return psycopg2.connect(
            host="127.0.0.1", port=self.ports["postgres"], user="airflow", dbname=database
        )

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of a query; none while the database is away."""
        try:
            connection = self.connect()
        except psycopg2.OperationalError:
            return []
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, values)
                return cursor.fetchall()
        finally:
            connection.close()

    def wait_for_run(self, run_id: str, seconds: float = 900) -> str:
        """The run's final state."""
        query = "SELECT state FROM dag_run WHERE run_id = %s AND state IN ('success', 'failed')"
        return str(self.wait_until(lambda: self.sql(query, run_id), run_id, seconds)[0][0])

    def wait_for_task(self, run_id: str, task_id: str, state: str = "running") -> None:
        """Until a task of the run is in that state."""
        query = "SELECT 1 FROM task_instance WHERE run_id = %s AND task_id = %s AND state = %s"
        self.wait_until(lambda: self.sql(query, run_id, task_id, state), f"{run_id}: {task_id}")
