"""Readers of interaction logs and item catalogues. A new format: see docs/sources.md."""

from pipeline.config import Format
from pipeline.sources import amazon, csv_files, jsonl, movielens, recbole
from pipeline.sources.reader import LayoutOf

# Format -> how the first line of a file tells its layout; None: columns are typed (Parquet).
FORMATS: dict[Format, LayoutOf | None] = {
    "csv": csv_files.layout,
    "jsonl": jsonl.layout,
    "movielens": movielens.layout,
    "recbole": recbole.layout,
    "amazon": amazon.layout,
    "parquet": None,
}

# Endings of the files that count in a folder; None: any.
SUFFIXES: dict[Format, tuple[str, ...] | None] = {
    "csv": (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz"),
    "jsonl": (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz"),
    "movielens": None,
    "recbole": (".inter", ".item", ".inter.gz", ".item.gz"),
    "amazon": (".json", ".jsonl", ".json.gz", ".jsonl.gz"),
    "parquet": (".parquet",),
}
