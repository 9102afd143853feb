"""The interpreter that holds vLLM: where it is, what it holds, on which devices it works.

Starts no engine.
"""

import os
import subprocess
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pipeline
from pipeline.config import EncoderConfig
from pipeline.digests import digest
from pipeline.encoders import Identity
from pipeline.encoders.folder import identify as identify_folder
from pipeline.errors import ConfigError, EngineError, UserError

CPU = "cpu"
CONVERTER = Path(__file__).with_name("convert_gguf.py")
BUILT = ".venv-vllm/bin/python"  # by `make vllm`, in the checkout

# Settings of the engine that move no vector.
_NEUTRAL = {"gpu_memory_utilization", "kv_cache_memory_bytes", "max_num_seqs"}


def identify(config: EncoderConfig) -> Identity:
    """Identity of the model in the vLLM that `encoder.vllm.python` holds; starts no engine."""
    engines = dict(installed(interpreter(config)))
    options = {k: v for k, v in config.vllm.options.items() if k not in _NEUTRAL}
    if options:
        engines["options"] = digest(options)
    return replace(identify_folder(config), engines=engines)


def devices() -> tuple[str, ...]:
    """The GPUs that this process may use, by CUDA's names, or else the CPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        found = [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    else:
        found = [str(i) for i, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
    return tuple(found) or (CPU,)


def interpreter(config: EncoderConfig) -> Path:
    """The Python that holds vLLM. Raises ConfigError if it is not there."""
    beside = Path(pipeline.__file__).parents[1] / BUILT
    python = Path(config.vllm.python) if config.vllm.python else beside
    if not python.is_file():
        raise ConfigError(
            f"no interpreter with vLLM at {python}: run `make vllm` in the checkout, or set "
            "encoder.vllm.python"
        )
    return python


def convert(config: EncoderConfig, source: Path, folder: Path) -> None:
    """Write the model of a GGUF file into a new folder, by that interpreter.

    Raises
    ------
    UserError
        There is no such file, or the folder is there already.
    EngineError
        The file cannot be read as a model.
    """
    if not source.is_file():
        raise UserError(f"no file at {source}")
    if folder.exists():
        raise UserError(f"{folder} is there already: name a new folder")
    command = [str(interpreter(config)), "-I", str(CONVERTER), str(source), str(folder)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["killed"])[-1]
        raise EngineError(f"{source} was not converted: {why}")


@lru_cache(maxsize=8)
def installed(python: Path) -> dict[str, str]:
    """Version of vLLM there, by the name of its build."""
    code = (
        "from importlib.metadata import distributions as d\n"
        "for x in d(): x.name in ('vllm', 'vllm-cpu') and print(x.name, x.version)"
    )
    command = [str(python), "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode or not done.stdout.strip():
        raise ConfigError(f"encoder.vllm.python: {python} holds no vLLM; run `make vllm`")
    name, version = done.stdout.split()[:2]
    return {name: version}


def environment(device: str, workers: int, python: Path) -> dict[str, str]:
    """What a worker's process needs in its environment, beside what is there."""
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if device != CPU:
        return {**quiet, "CUDA_VISIBLE_DEVICES": device}
    threads = max(1, (os.cpu_count() or 1) // workers)
    wanted = {
        # The engine in the worker's own process: it starts in seconds, and not in half a minute.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(threads),
    }
    # vLLM asks for Intel's OpenMP, which its wheel brings along.
    openmp = python.parent.parent / "lib/libiomp5.so"
    if openmp.is_file():
        wanted["LD_PRELOAD"] = str(openmp)
    return {**quiet, **{k: os.environ.get(k, v) for k, v in wanted.items()}}
