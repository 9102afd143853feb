"""Reason codes of decisions, and their words. Rejected rows have their own, in `sources`."""

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
