"""Ingest against a bare polars CSV scan -> Parquet write of the same file, in one run.

    python benchmarks/ingest.py [--rows 5000000] [--days 30] [--shuffled]

Each measurement is a fresh process; the two sides alternate, and medians are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 3
DAY_S = 86_400
FIRST = 1_700_006_400  # 2023-11-15, midnight UTC
USERS, ITEMS = 200_000, 50_000

PROLOGUE = """
import json, sys, time
file, out = sys.argv[1:]
"""
EPILOGUE = """
# Not ru_maxrss: a child inherits its parent's.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak = int(status["VmHWM"].split()[0]) / 1024
cpu = time.process_time() - cpu
print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mib": peak, "counts": counts}))
"""
FLOOR = """
import polars as pl
cpu, start = time.process_time(), time.perf_counter()
pl.scan_csv(file).sink_parquet(out + ".parquet")
seconds = time.perf_counter() - start
counts = {}
"""
OURS = """
from pipeline.config import Config, SourceConfig
from pipeline.steps.ingest import ingest
from pipeline.storage.lake import Lake
config = Config(sources={"log": SourceConfig(format="csv", path=file)})
cpu, start = time.process_time(), time.perf_counter()
result, = ingest(config, Lake(out))
seconds = time.perf_counter() - start
counts = {"read": result.rows_read, "accepted": result.accepted,
          "duplicates": result.duplicates, "quarantined": result.quarantined}
"""


def generate(path: Path, rows: int, days: int, *, shuffled: bool) -> None:
    """Write a log in time order (or not), with 0.5 % repeated and 0.1 % broken lines."""
    import numpy as np  # noqa: PLC0415  (the measured processes must not inherit it)
    import polars as pl  # noqa: PLC0415

    rng = np.random.default_rng(0)
    times = rng.integers(FIRST, FIRST + days * DAY_S, rows)
    if not shuffled:
        times.sort()
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, USERS, rows),
            "item": rng.zipf(1.3, rows) % ITEMS,
            "timestamp": times,
            "rating": rng.integers(1, 6, rows).astype(float),
        }
    )
    repeated = rng.choice(rows - 1, rows // 200, replace=False) + 1
    order = np.arange(rows)
    order[repeated] = repeated - 1
    lines = frame[order].select(
        pl.format(
            "u{},i{},{},{}",
            pl.col("user").cast(pl.String).str.zfill(6),
            "item",
            "timestamp",
            "rating",
        ).alias("line")
    )["line"]
    # Broken in ways that the floor, which infers types from the first lines, reads as well.
    broken = rng.choice(np.arange(1000, rows), rows // 1000, replace=False)
    faults = (",i1,1700006400,3.0", "u000001,i1,1,3.0", "u000001,,1700006400,3.0")
    lines = lines.scatter(broken, [faults[i % len(faults)] for i in range(len(broken))])
    with path.open("w") as stream:
        stream.write("user_id,item_id,timestamp,rating\n")
        stream.write("\n".join(lines.to_list()) + "\n")


def measure(code: str, file: Path, out: Path) -> dict[str, object]:
    """Run one side in a fresh interpreter."""
    command = [sys.executable, "-c", PROLOGUE + code + EPILOGUE, str(file), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Generate the file, measure both sides alternately, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--shuffled", action="store_true", help="rows in no order of time")
    arguments = parser.parse_args()
    sides = {"polars scan -> Parquet": FLOOR, "iadsr ingest": OURS}
    found: dict[str, list[dict[str, object]]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory(prefix="iadsr-bench-") as folder:
        file = Path(folder) / "log.csv"
        generate(file, arguments.rows, arguments.days, shuffled=arguments.shuffled)
        for round_ in range(ROUNDS):
            for number, (name, code) in enumerate(sides.items()):
                found[name].append(measure(code, file, Path(folder) / f"{round_}-{number}"))
        size = file.stat().st_size / 2**20
    order = "in no order" if arguments.shuffled else "in time order"
    print(
        f"{arguments.rows:,} rows over {arguments.days} dates {order}, {size:.0f} MiB, "
        f"{os.cpu_count()} cores, median of {ROUNDS}\n"
    )
    print("| | seconds | CPU seconds | peak memory, MiB |\n|---|---|---|---|")
    medians = {}
    for name, rounds in found.items():
        s, c, p = (
            statistics.median(float(str(r[key])) for r in rounds)
            for key in ("seconds", "cpu", "peak_mib")
        )
        medians[name] = (s, c)
        print(f"| {name} | {s:.2f} | {c:.2f} | {p:.0f} |")
    (floor_s, floor_c), (ours_s, ours_c) = medians.values()
    print(f"| ratio | {ours_s / floor_s:.2f} | {ours_c / floor_c:.2f} | |")
    print(f"\niadsr ingest: {found['iadsr ingest'][-1]['counts']}")


if __name__ == "__main__":
    main()
