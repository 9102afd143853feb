"""Texts to vectors by vLLM: one worker a device, each taking the next lease of texts.

The cut into leases follows the texts alone, so the result does not depend on how many workers
there are, which of them took what, or whether one died.
"""

import queue
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config import EncoderConfig
from pipeline.encoders import Encoded, Encoder, cut_to_unit
from pipeline.encoders.folder import find
from pipeline.encoders.interpreter import CPU, devices, environment, identify, interpreter
from pipeline.encoders.worker import Event, Worker
from pipeline.errors import ConfigError, EngineError
from pipeline.progress import Progress, logger

LEASE_TEXTS = 2048
LEASES_AHEAD = 2  # of one worker: one in the engine, one that is tokenized meanwhile
LEASE_ATTEMPTS = 2
SAY_EVERY_S = 30.0  # that it is still starting
START_ATTEMPTS = 3  # if a port was taken: nothing else gets better by itself


class VllmEncoder:
    """Workers that hold the model."""

    def __init__(self, config: EncoderConfig) -> None:
        folder = find(config.model)
        folder.verify()
        self.dim = identify(config).dim
        self.tokens = 0  # embedded so far
        self._config = config
        self._python = interpreter(config)
        self._devices = config.vllm.devices or devices()
        self._settings = {
            "model": str(folder.path.resolve()),
            **config.model_dump(
                include={"pooling", "dtype", "prompt", "max_tokens", "batch_tokens"}
            ),
            "options": config.vllm.options,
        }
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._workers: list[Worker] = []

    def start(self) -> None:
        """Start all workers, and wait until each is ready. Raises EngineError or ConfigError."""
        begun = time.monotonic()
        logger.info("vLLM: starting %s on %s", self._config.model, ", ".join(self._devices))
        for device in self._devices:
            self._workers.append(self._start(device))
        attempts = START_ATTEMPTS
        while not all(worker.ready for worker in self._workers):
            try:
                event = self._events.get(timeout=SAY_EVERY_S)
            except queue.Empty:
                logger.info("vLLM: still starting, %.0f s", time.monotonic() - begun)
                continue
            worker = event.worker
            if worker not in self._workers:
                continue  # the last words of one that was replaced
            if event.head["event"] == "ready":
                self._greet(event)
            elif attempts > 1 and worker.port_was_taken():
                attempts -= 1
                logger.warning("vLLM: a port was taken; starting on %s again", worker.device)
                self._replace(worker)
            else:
                raise self._could_not_start(event)
        logger.info("vLLM: ready after %.1f s", time.monotonic() - begun)

    def process_ids(self) -> list[int]:
        """Of the workers, in the order of the devices."""
        return [worker.pid for worker in self._workers]

    def encode(self, texts: Sequence[str], progress: Progress) -> Encoded:
        """Embed the texts, longest first, in leases; see `Encoder`.

        Raises
        ------
        EngineError
            vLLM failed, or its workers died again and again.
        """
        work = _Work(texts, progress)
        while work.left:
            self._deal(work)
            event = self._events.get()
            if event.worker in self._workers:
                self._heed(event, work)
        vectors = cut_to_unit(work.vectors, self._config.dim or work.vectors.shape[1])
        return Encoded(vectors, work.truncated)

    def stop(self, *, patient: bool) -> None:
        """End every worker; `patient`: let it clean up."""
        for worker in self._workers:
            worker.stop(patient=patient)

    def _start(self, device: str) -> Worker:
        settings = environment(device, len(self._devices), self._python)
        return Worker(self._python, device, self._settings, settings, self._events)

    def _replace(self, worker: Worker) -> None:
        worker.stop(patient=False)  # first: a GPU has no room for both
        self._workers[self._workers.index(worker)] = self._start(worker.device)

    def _greet(self, event: Event) -> None:
        worker = event.worker
        if worker.device != CPU and event.head["device"] == CPU:
            raise ConfigError(
                f"{self._python} holds vLLM for CPUs, but there is a GPU ({worker.device}): run "
                f'`make vllm` on this machine, or set encoder.vllm.devices = ["{CPU}"]'
            )
        worker.ready = True

    def _deal(self, work: "_Work") -> None:
        """Give leases to workers that are ready, one each before anyone gets a second."""
        for ahead in range(1, LEASES_AHEAD + 1):
            for worker in self._workers:
                if work.waiting and worker.ready and len(worker.leases) < ahead:
                    lease = work.waiting.popleft()
                    worker.give(lease, work.texts_of(lease))

    def _heed(self, event: Event, work: "_Work") -> None:
        worker, head, batch = event
        if head["event"] == "progress":
            work.count(head["lease"], head["texts"])
        elif head["event"] == "vectors":
            assert batch is not None
            worker.leases.remove(head["lease"])
            work.finish(head["lease"], vectors_of(batch), head["truncated"])
            self.tokens += head["tokens"]
        elif head["event"] == "ready":
            self._greet(event)
        elif not worker.ready:
            raise self._could_not_start(event)
        elif head["event"] == "error":
            raise EngineError(f"vLLM failed: {head['reason']} (its log: {worker.blame()})")
        else:
            self._take_up(worker, work)

    def _take_up(self, worker: Worker, work: "_Work") -> None:
        """Put a dead worker's leases back, and a new worker in its place."""
        tried = work.put_back(worker.leases)
        if tried >= LEASE_ATTEMPTS:
            raise EngineError(
                f"vLLM's worker on {worker.device} {worker.fate()}, {tried} times over the same "
                f"texts (its log: {worker.blame()}); what was committed stands"
            )
        logger.warning("vLLM: the worker on %s %s; starting it again", worker.device, worker.fate())
        self._replace(worker)

    def _could_not_start(self, event: Event) -> EngineError:
        worker = event.worker
        reason = event.head.get("reason") or f"its process {worker.fate()}"
        return EngineError(
            f"vLLM could not load {self._config.model} on {worker.device}: {reason} "
            f"(its log: {worker.blame()})"
        )


class _Work:
    """Texts, cut into leases by length, and what is known of each."""

    def __init__(self, texts: Sequence[str], progress: Progress) -> None:
        self.vectors: NDArray[np.float32] = np.empty((len(texts), 0), dtype=np.float32)
        self.truncated = 0
        order = np.argsort([-len(text) for text in texts], kind="stable")
        self._texts, self._progress = texts, progress
        self._rows = [order[i : i + LEASE_TEXTS] for i in range(0, len(order), LEASE_TEXTS)]
        self._counted, self._tried = [0] * len(self._rows), [0] * len(self._rows)
        self.waiting = deque(range(len(self._rows)))
        self.left = len(self._rows)

    def texts_of(self, lease: int) -> list[str]:
        return [self._texts[row] for row in self._rows[lease]]

    def count(self, lease: int, texts: int) -> None:
        self._counted[lease] += texts
        self._progress.update(texts)

    def finish(self, lease: int, vectors: NDArray[np.float32], truncated: int) -> None:
        rows = self._rows[lease]
        if self.vectors.shape[1] != vectors.shape[1]:
            self.vectors = np.zeros((len(self._texts), vectors.shape[1]), dtype=np.float32)
        self.vectors[rows] = vectors
        self.truncated += truncated
        self.count(lease, len(rows) - self._counted[lease])
        self.left -= 1

    def put_back(self, leases: set[int]) -> int:
        """The leases wait again, first; how often the most tried of them was tried."""
        self.waiting.extendleft(sorted(leases, reverse=True))
        for lease in leases:
            self._tried[lease] += 1
            self.count(lease, -self._counted[lease])
        return max((self._tried[lease] for lease in leases), default=0)


def vectors_of(batch: pa.RecordBatch) -> NDArray[np.float32]:
    """(texts, dim) of a worker's answer."""
    column = batch.column("vector")
    rows: NDArray[np.float32] = column.flatten().to_numpy().reshape(-1, column.type.list_size)
    return rows


@contextmanager
def load(config: EncoderConfig) -> Iterator[Encoder]:
    """Context of a started engine on each device; no process outlives it."""
    encoder = VllmEncoder(config)
    try:
        encoder.start()
        yield encoder
    except BaseException:
        encoder.stop(patient=False)
        raise
    encoder.stop(patient=True)
    logger.info("vLLM: %s tokens embedded", f"{encoder.tokens:,}")
