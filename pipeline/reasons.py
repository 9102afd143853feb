"""Reason codes of decisions, and their words. Rejected rows have their own, in `sources`."""

from pipeline import columns as col

# Kept.
BELOW_THRESHOLD = "below_threshold"
SHORT_HISTORY = "short_history"
UNKNOWN_ITEM = "unknown_item"
VIEWS_DISAGREE = "views_disagree"
STRATUM_NOT_CALIBRATED = "stratum_not_calibrated"
SIGNAL_MISSING = "signal_missing"

# Removed: named by the evidence that weighed most.
UNLIKE_TITLES = "unlike_titles"
UNLIKE_BEHAVIOUR = "unlike_behaviour"
UNEXPECTED_NEXT = "unexpected_next"
UNEXPECTED_AMONG = "unexpected_among"
VIEWS_MISALIGNED = "views_misaligned"

KEEP, REMOVE = "keep", "remove"

REASONS = {
    BELOW_THRESHOLD: "it fits the user's other interactions well enough",
    SHORT_HISTORY: "the user has too little history to judge by",
    UNKNOWN_ITEM: "the item was not known when the model was trained, and has no text",
    VIEWS_DISAGREE: "the user's behaviour and the texts of their items disagree as a whole",
    STRATUM_NOT_CALIBRATED: "too few items of this popularity were seen to set a safe threshold",
    SIGNAL_MISSING: "a signal could not be computed",
    UNLIKE_TITLES: "its text is unlike the texts of the user's other items",
    UNLIKE_BEHAVIOUR: "people who interact with the user's other items rarely interact with it",
    UNEXPECTED_NEXT: "it is an unlikely next item after the ones before it",
    UNEXPECTED_AMONG: "it is unlikely among the user's other items, before and after it",
    VIEWS_MISALIGNED: "it fits neither the user's long-term nor short-term interests in both views",
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
