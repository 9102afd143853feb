"""The program of a worker with an engine that is no vLLM: for tests of who leases and who waits.

Each text's vector is its length, its first character and one. `options` make it misbehave.
"""

import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

PROGRAM = Path(__file__).parents[2] / "pipeline/encoders/vllm.py"

spec = importlib.util.spec_from_file_location("program", PROGRAM)
assert spec
assert spec.loader
program: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)
program.GRACE_S = 0.2


class Engine:
    """What `program.main` needs of an engine."""

    dim, device = 3, "cpu"

    def __init__(self, settings: dict[str, Any]) -> None:
        self.options = settings["options"]
        self.once("port_taken", lambda: sys.exit("OSError: Address already in use"))
        if "broken" in self.options:
            raise ValueError("no such architecture\nand a long explanation")

    def once(self, name: str, act: Any) -> None:
        """Misbehave, unless the file that the option names says that it was done."""
        if name in self.options:
            try:
                Path(self.options[name]).touch(exist_ok=False)
            except FileExistsError:
                return
            act()

    def prepare(self, message: Any) -> Any:
        head, batch = message
        texts = batch.column("text").to_pylist()
        return program.Lease(head["lease"], [list(text.encode()) for text in texts], 1)

    def embed(self, tokens: list[list[int]], bar: Any) -> np.ndarray:
        bar.begin()
        if bytes(tokens[0]).startswith(b"poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        self.once("die", lambda: os.kill(os.getpid(), signal.SIGKILL))
        if "fail" in self.options:
            raise RuntimeError("out of memory\nand a long explanation")
        time.sleep(self.options.get("sleep", 0))
        bar._last = 0
        bar.update(len(tokens))
        return np.array([[len(t), t[0], 1] for t in tokens], dtype=np.float32)

    def close(self) -> None: ...


program.Engine = Engine
if __name__ == "__main__":
    program.main()
