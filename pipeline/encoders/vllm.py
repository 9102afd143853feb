"""The program of one vLLM engine: texts in, vectors out. It runs in an interpreter that holds vLLM.

    PYTHON -I pipeline/encoders/vllm.py

`worker.py` starts it and speaks with it on stdin and stdout. It imports nothing else of this
package, whose own dependencies the other interpreter lacks; here, only `main` needs vLLM.

A message is a line of JSON, followed by an Arrow stream of as many bytes as the line says. What is
read from stdin: the settings, then leases (`{"lease": 7}` with a batch of texts). What is written:
`ready`, then `progress` and `vectors` of each lease, or one `error`.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Message = tuple[dict[str, Any], pa.RecordBatch | None]

GRACE_S = (
    5.0  # from the end of stdin, which is the end of whoever asked, to the end of this process
)
REPORT_EVERY_S = 0.5

# The weights and the activations are small beside a machine's memory, and an embedding keeps no
# cache between two steps: vLLM's own defaults would take nearly all of the memory, and a minute of
# compilation.
CPU_OPTIONS = {
    "enforce_eager": True,
    "gpu_memory_utilization": 0.3,
    "kv_cache_memory_bytes": 2**30,
}


class Lease(NamedTuple):
    """Tokenized texts that this process has to embed."""

    number: int
    tokens: list[list[int]]
    truncated: int


def write_message(
    stream: IO[bytes], head: dict[str, Any], batch: pa.RecordBatch | None = None
) -> None:
    """Send one message. Raises OSError if nobody reads any more."""
    body = b""
    if batch is not None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        body = sink.getvalue()
    stream.write(json.dumps({**head, "bytes": len(body)}).encode() + b"\n")
    stream.write(body)
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """The next message; None at the end, also if it comes in the middle of a message."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    head = json.loads(line)
    body = stream.read(head.pop("bytes"))
    try:
        return head, pa.ipc.open_stream(body).read_next_batch() if body else None
    except pa.ArrowInvalid:
        return None


class Engine:
    """A loaded model and its tokenizer.

    Parameters
    ----------
    settings
        `model` (a folder), `pooling`, `dtype`, `prompt`, `max_tokens`, `batch_tokens`, and
        `options`: further arguments of `vllm.LLM`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        from vllm import LLM  # noqa: PLC0415
        from vllm.config import PoolerConfig  # noqa: PLC0415
        from vllm.platforms import current_platform  # noqa: PLC0415

        self.device = str(current_platform.get_device_name())
        self._max_tokens, self._prompt = settings["max_tokens"], settings["prompt"]
        options = CPU_OPTIONS if current_platform.is_cpu() else {}
        self._llm = LLM(
            model=settings["model"],
            runner="pooling",
            convert="embed",
            dtype=settings["dtype"],
            max_model_len=self._max_tokens,
            max_num_batched_tokens=max(settings["batch_tokens"], self._max_tokens),
            # The raw vector is wanted: it is cut and brought to length 1 by who asked.
            pooler_config=PoolerConfig(
                seq_pooling_type=settings["pooling"].upper(), use_activation=False
            ),
            disable_log_stats=True,
            **{**options, **settings["options"]},
        )
        self._tokenizer: Any = self._llm.get_tokenizer()
        if not self._tokenizer.is_fast:
            raise ValueError(f"{settings['model']} holds no tokenizer.json")
        self.dim = len(self.embed([self._tokenize(["probe"])[0][0]], _Bar()).ravel())

    def prepare(self, message: Message) -> Lease:
        """Tokenize the texts of a lease; of one longer than `max_tokens`, only its beginning."""
        head, batch = message
        assert batch is not None
        tokens, truncated = self._tokenize(batch.column("text").to_pylist())
        return Lease(head["lease"], tokens, truncated)

    def _tokenize(self, texts: list[str]) -> tuple[list[list[int]], int]:
        encodings = self._tokenizer(
            [self._prompt + text for text in texts],
            truncation=True,
            max_length=self._max_tokens,
            return_token_type_ids=False,
            return_attention_mask=False,
        ).encodings
        return [e.ids for e in encodings], sum(bool(e.overflowing) for e in encodings)

    def embed(self, tokens: list[list[int]], bar: "_Bar") -> NDArray[np.float32]:
        """(texts, dim) in the order of the texts, embedded longest first.

        A text without any token, which the engine would refuse together with all others, gets a
        zero vector.
        """
        order = sorted((i for i in range(len(tokens)) if tokens[i]), key=lambda i: -len(tokens[i]))
        if not order:
            return np.zeros((len(tokens), self.dim), dtype=np.float32)
        found = self._llm.encode(
            [{"prompt_token_ids": tokens[i]} for i in order],
            pooling_task="embed",
            use_tqdm=bar.begin,
        )
        rows = np.stack([output.outputs.data.float().numpy() for output in found])
        vectors = np.zeros((len(tokens), rows.shape[1]), dtype=np.float32)
        vectors[order] = rows
        return vectors

    def close(self) -> None:
        """End vLLM's own processes, if it has any."""
        self._llm.llm_engine.engine_core.shutdown()


class _Bar:
    """What vLLM takes for its progress bar. It sends how many texts more are done."""

    def __init__(self, stream: IO[bytes] | None = None, lease: int = 0) -> None:
        self._stream, self._lease = stream, lease
        self.n, self._sent, self._last = 0, 0, time.monotonic()

    def begin(self, **_: Any) -> "_Bar":
        return self

    def update(self, n: int) -> None:
        self.n += n
        if self._stream and time.monotonic() - self._last >= REPORT_EVERY_S:
            head = {"event": "progress", "lease": self._lease, "texts": self.n - self._sent}
            write_message(self._stream, head)
            self._sent, self._last = self.n, time.monotonic()

    def refresh(self) -> None: ...

    def close(self) -> None: ...


def _listen(source: IO[bytes], inbox: "queue.SimpleQueue[Message | None]") -> None:
    """Receive leases. When nobody asks any more, end: this process and all that vLLM started."""
    while message := read_message(source):
        inbox.put(message)
    inbox.put(None)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


def _serve(engine: Engine, inbox: "queue.SimpleQueue[Message | None]", sink: IO[bytes]) -> None:
    """Embed one lease after the other, and tokenize the next one meanwhile."""

    def prepare() -> Lease | None:
        message = inbox.get()
        return engine.prepare(message) if message else None

    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(prepare)
        while lease := following.result():
            following = ahead.submit(prepare)
            vectors = engine.embed(lease.tokens, _Bar(sink, lease.number))
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
            head = {
                "event": "vectors",
                "lease": lease.number,
                "truncated": lease.truncated,
                "tokens": sum(map(len, lease.tokens)),
            }
            write_message(sink, head, pa.record_batch([column], ["vector"]))


def _private(descriptor: int, replacement: int, mode: Literal["rb", "wb"]) -> IO[bytes]:
    """A stream that what vLLM prints, and its own processes, cannot reach."""
    private = os.dup(descriptor)
    os.dup2(replacement, descriptor)
    return open(private, mode)


def main() -> None:
    """Serve until stdin ends."""
    assert os.getpgrp() == os.getpid(), "it ends its whole process group: start it in a new session"
    sink = _private(1, 2, "wb")
    source = _private(0, os.open(os.devnull, os.O_RDONLY), "rb")
    settings = read_message(source)
    assert settings is not None
    inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(source, inbox), daemon=True).start()
    try:
        engine = Engine(settings[0])
        write_message(sink, {"event": "ready", "dim": engine.dim, "device": engine.device})
        _serve(engine, inbox, sink)
        engine.close()
    except BaseException as error:
        traceback.print_exc()
        reason = (str(error).strip().splitlines() or [""])[0]
        write_message(sink, {"event": "error", "reason": f"{type(error).__name__}: {reason}"})
    finally:
        sys.stderr.flush()
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
