"""One vLLM worker as its parent sees it: a process to start, to give leases, to hear and to end."""

import contextlib
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.encoders import vllm

PROGRAM = vllm.__file__
# Of the parent's environment: they would lead the other interpreter into the parent's packages.
_OF_THIS_INTERPRETER = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
_PORT_TAKEN = "address already in use"


class Event(NamedTuple):
    """What a worker said, or that it is gone."""

    worker: "Worker"
    head: dict[str, Any]  # `event` is one of ready, progress, vectors, error, gone
    batch: pa.RecordBatch | None = None


class Worker:
    """A process that embeds on one device. Its events come to the queue that it is given.

    It ends with `stop`, or by itself when this process is no more, however that came about: its
    stdin ends then. Its processes are a group of their own, so that none stays behind.
    """

    def __init__(
        self,
        python: Path,
        device: str,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        events: "queue.SimpleQueue[Event]",
    ) -> None:
        self.device = device
        self.ready = False
        self.leases: set[int] = set()
        self._events = events
        log, name = tempfile.mkstemp(prefix="iadsr-vllm-", suffix=".log")
        self._log, self._blamed = Path(name), False
        inherited = {k: v for k, v in os.environ.items() if k not in _OF_THIS_INTERPRETER}
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [python, "-I", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**inherited, **environment},
                start_new_session=True,
            )
        finally:
            os.close(log)
        threading.Thread(target=self._hear, daemon=True).start()
        self._send(dict(settings))

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    def give(self, lease: int, texts: Sequence[str]) -> None:
        """Have the texts embedded. If the worker is gone, the event says so."""
        self.leases.add(lease)
        batch = pa.record_batch([pa.array(texts, pa.large_string())], ["text"])
        self._send({"lease": lease}, batch)

    def stop(self, *, patient: bool) -> None:
        """End the process and all that it started; `patient`: let vLLM clean up first."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * vllm.GRACE_S if patient else 0)
        self._kill()
        self._process.wait()
        if not self._blamed:
            self._log.unlink(missing_ok=True)

    def blame(self) -> Path:
        """What vLLM printed, for an error to name; it stays after the end."""
        self._blamed = True
        return self._log

    def port_was_taken(self) -> bool:
        """Whether vLLM died of a port that another process took first."""
        with contextlib.suppress(OSError):  # whoever cleans /tmp may have been here
            return _PORT_TAKEN in self._log.read_text(errors="replace").lower()
        return False

    def fate(self) -> str:
        """How the process ended, in words."""
        code = self._process.returncode
        return f"was killed by signal {-code}" if code and code < 0 else f"ended with code {code}"

    def _send(self, head: dict[str, Any], batch: pa.RecordBatch | None = None) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            vllm.write_message(self._process.stdin, head, batch)

    def _hear(self) -> None:
        assert self._process.stdout is not None
        while message := vllm.read_message(self._process.stdout):
            self._events.put(Event(self, *message))
        self._kill()
        self._process.wait()
        self._events.put(Event(self, {"event": "gone"}))

    def _kill(self) -> None:
        """Kill the group: what vLLM started outlives a worker that was killed."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
