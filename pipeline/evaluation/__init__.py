"""What a cleaned table is worth: recommenders trained on it, and how they rank held-out items."""
