"""Columns of frames that never leave this package, and which of them a probability is made from."""

from pipeline import columns as col

COUNT = "count"  # interactions of the item in training
SEQUENCE = "sequence"
WANTED = "wanted"  # the interaction is to be scored
DOUBT = "doubt"  # reason code to keep it, whatever its probability
INJECTED = "injected"
KIND = "kind"  # of the noise in the sequence
KNOWN_SHARE = "known_share"  # of own rows that are known to be noise already
HIDE_ITEM = "hide_item"  # judge the interaction as if the item had never been seen
HIDE_TEXT = "hide_text"  # ... as if it had no text
HAS_TEXT = "has_text"
COMPANY_SEMANTIC = "company_semantic"
COMPANY_COLLABORATIVE = "company_collaborative"
VIEWS_AGREE = "views_agree"

# What the signals are weighed by: the item's popularity, and how well the user's other items hang
# together. Popularity alone decides nothing: half of the noise that is learned from is as popular
# as the genuine items are, and each stratum has a budget of its own. The length of the history is
# not among them: noise makes it longer, so that it tells how much was injected, not what is noise.
CONTEXT = (COUNT, COMPANY_SEMANTIC, COMPANY_COLLABORATIVE)
FEATURES = (*col.SIGNALS, *CONTEXT)  # what a probability is made from
