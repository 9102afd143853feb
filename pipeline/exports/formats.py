"""Every format of an export, by name: one line each."""

from pipeline.exports.implicit import implicit
from pipeline.exports.recbole import recbole
from pipeline.exports.tables import csv, parquet, rectools, replay

# Name -> what writes the parts of a log into files, with weights or without.
FORMATS = {
    "recbole": recbole,
    "rectools": rectools,
    "replay": replay,
    "implicit": implicit,
    "csv": csv,
    "parquet": parquet,
}
