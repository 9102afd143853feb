"""Names of the columns, the parts and the arms of an evaluation."""

# A row of the log that is judged: its place in the (possibly noise-injected) training log.
ROW = "row"
# What the paper would say of it.
DECISION_IADSR = "decision_iadsr"
NOISE_PROBABILITY_IADSR = "noise_probability_iadsr"
# The least false-drop budget under which the row would go.
LEAST_BUDGET = "least_budget"
# Of a rank: whether it is that of a validation item, or of a test item.
HELD_OUT = "held_out"
VALIDATION, TEST = "validation", "test"

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


AT = " at "


def at(name: str, budget: float) -> str:
    """The name of what is cleaned under another false-drop budget than the configured one."""
    return f"{name}{AT}{budget}"


def decision_at(budget: float) -> str:
    """The column of the decision under a budget."""
    return at("decision", budget)


def without_budget(arm: str) -> str:
    """The name of an arm that `at` may have changed."""
    return arm.split(AT, maxsplit=1)[0]
