"""Proof on any configured log: that known noise is found, that a recommender is better for it.

Between `models` and `steps`: it judges what the models decide, and writes nothing to the tables.
"""
