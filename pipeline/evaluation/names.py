"""Names of the columns and of the parts of an evaluation. No logic."""

# A row of the log that is judged: its place in the (possibly noise-injected) training log.
ROW = "row"
# What the paper would say of it.
DECISION_IADSR = "decision_iadsr"
NOISE_PROBABILITY_IADSR = "noise_probability_iadsr"

# A measured value.
PART = "part"
DATASET = "dataset"
SPLIT = "split"
TIES = "ties"
BACKBONE = "backbone"
NOISE = "noise"
RATE = "rate"
ARM = "arm"
VERSUS = "versus"
SEED = "seed"
METRIC = "metric"
K = "k"
VALUE = "value"
LOW = "low"
HIGH = "high"
ERROR = "error"
N = "n"
DETAIL = "detail"

DETECTION, ABLATION = "detection", "ablation"
USEFULNESS, PROTOCOL = "usefulness", "protocol"
NO_NOISE = "none"
WITH_ALL = "with all"  # the arm of an ablation that nothing is removed from
