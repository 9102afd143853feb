"""Exports: the cleaned log as files that recommender libraries load.

`log.py` reads the decided interactions, `parts.py` divides them as an evaluation does, and each
format is a function that writes a stream of parts into a folder; `FORMATS` names them all.
"""
