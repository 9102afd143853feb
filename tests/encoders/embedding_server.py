"""A small embeddings server on loopback that misbehaves as it is told to."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIM = 8


def vector(text: str) -> np.ndarray:
    """The vector of a text: drawn from its bytes, of no particular length."""
    seed = int(sha256(text.encode()).hexdigest()[:8], 16)
    return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)


def unit(text: str) -> np.ndarray:
    return vector(text) / np.linalg.norm(vector(text))


class Faulty(ThreadingHTTPServer):
    """Answers rightly, in no order, once its queue of faults is empty."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults: deque[Callable[[_Handler, Any], None]] = deque()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.busy = self.busiest = 0
        self.delay = 0.0
        self.max_tokens = 10**6
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """Nothing: a client that gave up is part of the test."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def texts(self) -> list[str]:
        return [text for body in self.bodies for text in body["input"]]


class _Handler(BaseHTTPRequestHandler):
    server: Faulty

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.keys.append(self.headers["authorization"])
            self.server.times.append(time.time())
            self.server.busy += 1
            self.server.busiest = max(self.server.busiest, self.server.busy)
            fault = self.server.faults.popleft() if self.server.faults else right
        time.sleep(self.server.delay)
        with self.server.lock:
            self.server.busy -= 1
        fault(self, body)

    def reply(self, status: int, content: Any, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def answer(texts: list[str], tokens: int) -> dict[str, Any]:
    rows = [
        {"object": "embedding", "index": i, "embedding": vector(text).tolist()}
        for i, text in enumerate(texts)
    ]
    return {"object": "list", "data": rows[::-1], "usage": {"prompt_tokens": tokens}}


def right(handler: _Handler, body: Any) -> None:
    """One vector a text, last text first; a word is a token, and too many are cut."""
    limit = body.get("truncate_prompt_tokens", 10**6)
    cut = [" ".join(text.split()[:limit]) for text in body["input"]]
    handler.reply(200, answer(cut, sum(len(text.split()) for text in cut)))


def status(code: int, says: str = "no", **headers: str) -> Callable[[_Handler, Any], None]:
    return lambda handler, body: handler.reply(code, {"error": {"message": says}}, **headers)


def content(said: Any) -> Callable[[_Handler, Any], None]:
    return lambda handler, body: handler.reply(200, said)


def dripping(handler: _Handler, body: Any) -> None:
    """A byte at a time, for longer than anyone waits."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    for _ in range(50):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return
        time.sleep(0.1)


def hang_up(handler: _Handler, body: Any) -> None:
    handler.close_connection = True
    handler.connection.close()


@contextmanager
def faulty_server() -> Iterator[Faulty]:
    with Faulty() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
