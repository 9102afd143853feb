"""Column names, one place for each. No logic.

Imported as `from pipeline import columns as col`.
"""

# An interaction.
INTERACTION_ID = "interaction_id"
USER_ID = "user_id"
ITEM_ID = "item_id"
EVENT_TIME = "event_time"
EVENT_DATE = "event_date"
EVENT_TYPE = "event_type"
VALUE = "value"
SOURCE_FILE = "source_file"
RUN_ID = "run_id"

# A quarantined row.
INGEST_DATE = "ingest_date"
LINE = "line"
REASON = "reason"
DETAIL = "detail"
RAW = "raw"

# An item and its text.
TITLE = "title"
FIELDS = "fields"
TEXT = "text"
TEXT_HASH = "text_hash"
ENCODER_ID = "encoder_id"
VECTOR = "vector"

# A decision and its evidence.
DECISION = "decision"
NOISE_PROBABILITY = "noise_probability"
THRESHOLD = "threshold"
STRATUM = "stratum"
HISTORY_LENGTH = "history_length"
MODEL_VERSION = "model_version"

SIGNAL_SEMANTIC = "signal_semantic"
SIGNAL_COLLABORATIVE = "signal_collaborative"
SIGNAL_SEMANTIC_NEAREST = "signal_semantic_nearest"
SIGNAL_COLLABORATIVE_NEAREST = "signal_collaborative_nearest"
SIGNAL_SURPRISE = "signal_surprise"
SIGNAL_SURPRISE_AROUND = "signal_surprise_around"
SIGNAL_ALIGNED_LONG_SHORT = "signal_aligned_long_short"
SIGNAL_ALIGNED_SHORT_LONG = "signal_aligned_short_long"
SIGNAL_ALIGNED_SHORT_SHORT = "signal_aligned_short_short"
SIGNALS = (
    SIGNAL_SEMANTIC,
    SIGNAL_COLLABORATIVE,
    SIGNAL_SEMANTIC_NEAREST,
    SIGNAL_COLLABORATIVE_NEAREST,
    SIGNAL_SURPRISE,
    SIGNAL_SURPRISE_AROUND,
    SIGNAL_ALIGNED_LONG_SHORT,
    SIGNAL_ALIGNED_SHORT_LONG,
    SIGNAL_ALIGNED_SHORT_SHORT,
)
STRONGEST_SIGNALS = "strongest_signals"

# A run.
STEP = "step"
STATUS = "status"
STARTED_AT = "started_at"
ENDED_AT = "ended_at"
DURATION_S = "duration_s"
COUNTS = "counts"
INPUTS = "inputs"
OUTPUTS = "outputs"
CONFIG_DIGEST = "config_digest"
CODE_VERSION = "code_version"
ENGINES = "engines"
PEAK_MEMORY_BYTES = "peak_memory_bytes"
ERROR = "error"
