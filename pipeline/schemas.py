"""The tables of the lake: columns and partitions. What each promises is checked in sql/checks/.

Schemas are Arrow's; every field carries its description, from which the data dictionary is made.
"""

from dataclasses import dataclass

import pyarrow as pa

from pipeline import columns as col

TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Table:
    """One table of the lake: `name` is its folder and its view, `one_row_is` its contract."""

    name: str
    one_row_is: str
    schema: pa.Schema
    partition_by: str | None = None

    @property
    def columns(self) -> list[str]:
        """Column names, in order."""
        return list(self.schema.names)


def _field(name: str, dtype: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, dtype, metadata={"description": description})


_INTERACTION = [
    _field(col.INTERACTION_ID, pa.int64(), "stable hash of user, item, time and type"),
    _field(col.USER_ID, pa.string(), "as given in the source, or its keyed hash"),
    _field(col.ITEM_ID, pa.string(), "as given in the source"),
    _field(col.EVENT_TIME, TIMESTAMP, "when it happened (UTC)"),
    _field(col.EVENT_DATE, pa.date32(), "UTC date of event_time"),
    _field(col.EVENT_TYPE, pa.string(), "click, purchase, ...; null where the source has none"),
    _field(col.VALUE, pa.float64(), "rating, price, ...; null where the source has none"),
    _field(col.SOURCE_FILE, pa.string(), "file the row was read from"),
    _field(col.RUN_ID, pa.string(), "ingest run that accepted the row"),
]

INTERACTIONS = Table(
    "interactions", "an accepted event", pa.schema(_INTERACTION), partition_by=col.EVENT_DATE
)

QUARANTINE = Table(
    "quarantine",
    "a rejected row of a source file, kept verbatim",
    pa.schema(
        [
            _field(col.INGEST_DATE, pa.date32(), "UTC date on which the row was rejected"),
            _field(col.SOURCE_FILE, pa.string(), "file the row was read from"),
            _field(col.LINE, pa.int64(), "line (or row of a Parquet file) in that file, from 1"),
            _field(col.REASON, pa.string(), "reason code"),
            _field(col.DETAIL, pa.string(), "what was found"),
            _field(
                col.RAW,
                pa.binary(),
                "the row's bytes, verbatim; its fields as JSON where user ids are hashed",
            ),
            _field(col.RUN_ID, pa.string(), "ingest run that rejected the row"),
            _field(
                col.USER_ID,
                pa.string(),
                "user of the row; null where it cannot be told, empty for a row of a catalogue",
            ),
        ]
    ),
    partition_by=col.INGEST_DATE,
)

ITEMS = Table(
    "items",
    "an item with its latest text",
    pa.schema(
        [
            _field(col.ITEM_ID, pa.string(), "as given in the catalogue"),
            _field(col.TITLE, pa.string(), "title, HTML entities decoded"),
            _field(col.FIELDS, pa.string(), "the catalogue's other mapped fields, as JSON"),
            _field(col.TEXT, pa.string(), "the rendered template: what the encoder reads"),
            _field(col.TEXT_HASH, pa.string(), "SHA-256 of text, in hex; null where text is empty"),
            _field(col.SOURCE_FILE, pa.string(), "file the item was read from"),
            _field(col.RUN_ID, pa.string(), "ingest run that wrote the row"),
        ]
    ),
)

ITEM_EMBEDDINGS = Table(
    "item_embeddings",
    "the vector of one text under one encoder",
    pa.schema(
        [
            _field(col.ENCODER_ID, pa.string(), "model, revision, pooling, prompt, dimension, ..."),
            _field(col.TEXT_HASH, pa.string(), "SHA-256 of the text, in hex"),
            _field(col.VECTOR, pa.list_(pa.float32()), "all of one encoder have one length"),
        ]
    ),
    partition_by=col.ENCODER_ID,
)

SIGNAL_DESCRIPTIONS = {
    col.SIGNAL_SEMANTIC: "cosine of the item's text to the user's other items",
    col.SIGNAL_COLLABORATIVE: "cosine of the item's embedding to the user's other items",
    col.SIGNAL_SEMANTIC_NEAREST: "cosine of the item's text to the likest of the user's others",
    col.SIGNAL_COLLABORATIVE_NEAREST: "the same of its embedding",
    col.SIGNAL_SURPRISE: "negative log-likelihood of the item after the items before it",
    col.SIGNAL_SURPRISE_AROUND: "the same after all the user's others, by what they are and say",
    col.SIGNAL_ALIGNED_LONG_SHORT: "cos(s_L, c_t): texts of the user's others, behaviour to here",
    col.SIGNAL_ALIGNED_SHORT_LONG: "cos(c_L, s_t): behaviour at the user's others, text of this",
    col.SIGNAL_ALIGNED_SHORT_SHORT: "cos(c_t, s_t): behaviour just before, text of this",
}

# What a signal compares the item with.
INTERESTS = {
    col.SIGNAL_SEMANTIC: "the long-term interest as texts tell it",
    col.SIGNAL_SEMANTIC_NEAREST: "even the likest of the user's texts",
    col.SIGNAL_COLLABORATIVE: "the long-term interest as behaviour tells it",
    col.SIGNAL_COLLABORATIVE_NEAREST: "even the likest of the user's items by behaviour",
    col.SIGNAL_SURPRISE: "the short-term interest: what came just before",
    col.SIGNAL_SURPRISE_AROUND: "what came before and after",
    col.SIGNAL_ALIGNED_LONG_SHORT: "the long-term interest of texts, against behaviour up to here",
    col.SIGNAL_ALIGNED_SHORT_LONG: "the long-term interest of behaviour, against its text",
    col.SIGNAL_ALIGNED_SHORT_SHORT: "the short-term interest of behaviour, against its text",
}

SCORED_INTERACTIONS = Table(
    "scored_interactions",
    "the decision on one interaction of a cleaned date, with its evidence",
    pa.schema(
        [
            *_INTERACTION[:5],
            _field(col.DECISION, pa.string(), "keep or remove"),
            _field(col.REASON, pa.string(), "reason code of the decision"),
            _field(col.NOISE_PROBABILITY, pa.float64(), "calibrated; null where not scored"),
            _field(col.THRESHOLD, pa.float64(), "the stratum's; removed at or above it"),
            _field(
                col.STRATUM,
                pa.string(),
                "popularity of the item when the model was trained; or what is not known of it",
            ),
            _field(col.HISTORY_LENGTH, pa.int64(), "interactions of the user read for it"),
            *[_field(name, pa.float64(), text) for name, text in SIGNAL_DESCRIPTIONS.items()],
            _field(
                col.STRONGEST_SIGNALS,
                pa.string(),
                "up to three signals that raised the probability most, the first the strongest, "
                "separated by a comma; null where kept",
            ),
            _field(col.MODEL_VERSION, pa.string(), "model that scored it"),
            _field(col.ENCODER_ID, pa.string(), "encoder of the semantic view"),
            _field(col.CONFIG_DIGEST, pa.string(), "digest of the decision's configuration"),
            _field(col.RUN_ID, pa.string(), "run that scored it"),
        ]
    ),
    partition_by=col.EVENT_DATE,
)

CLEAN_INTERACTIONS = Table(
    "clean_interactions", "a kept interaction", pa.schema(_INTERACTION), partition_by=col.EVENT_DATE
)

RUNS = Table(
    "runs",
    "one execution of a step",
    pa.schema(
        [
            _field(col.RUN_ID, pa.string(), "names the work: equal inputs give an equal run_id"),
            _field(
                col.STEP,
                pa.string(),
                "ingest, embed, train, compare, promote, models rollback, score, audit, publish, "
                "report, rollback, evaluate, drop, export, erase, maintain",
            ),
            _field(
                col.EVENT_DATE, pa.date32(), "cleaned or as-of date; null for a step without one"
            ),
            _field(col.STATUS, pa.string(), "succeeded, unchanged or failed"),
            _field(col.STARTED_AT, TIMESTAMP, "when it began (UTC)"),
            _field(col.ENDED_AT, TIMESTAMP, "when it ended (UTC)"),
            _field(col.DURATION_S, pa.float64(), "seconds"),
            _field(col.COUNTS, pa.string(), "JSON: rows by outcome"),
            _field(col.INPUTS, pa.string(), "JSON: table -> snapshot version; files and digests"),
            _field(
                col.OUTPUTS,
                pa.string(),
                "JSON: table -> snapshot version; a folder, page or model that was made",
            ),
            _field(col.MODEL_VERSION, pa.string(), "model that was used or made; null without one"),
            _field(col.ENCODER_ID, pa.string(), "encoder that was used; null without one"),
            _field(col.CONFIG_DIGEST, pa.string(), "digest of the whole effective configuration"),
            _field(col.CODE_VERSION, pa.string(), "version of this package"),
            _field(col.ENGINES, pa.string(), "JSON: versions of polars, deltalake, torch, ..."),
            _field(col.PEAK_MEMORY_BYTES, pa.int64(), "peak resident memory of the process"),
            _field(col.ERROR, pa.string(), "the one line that ended a failed run"),
        ]
    ),
)

TABLES = (
    INTERACTIONS,
    QUARANTINE,
    ITEMS,
    ITEM_EMBEDDINGS,
    SCORED_INTERACTIONS,
    CLEAN_INTERACTIONS,
    RUNS,
)
