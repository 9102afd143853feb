"""Column names of frames that never leave this package."""

COUNT = "count"  # interactions of the item in training
SEQUENCE = "sequence"
WANTED = "wanted"  # the interaction is to be scored
DOUBT = "doubt"  # reason code to keep it, whatever its probability
INJECTED = "injected"
KIND = "kind"  # of the noise in the sequence
COMPANY_SEMANTIC = "company_semantic"
COMPANY_COLLABORATIVE = "company_collaborative"
VIEWS_AGREE = "views_agree"
