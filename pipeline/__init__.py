"""Offline batch denoising of interaction logs: ingest, embed, train, score, audit, publish.

Importing this package loads nothing heavy; the steps live in `pipeline.steps`.
"""

__version__ = "0.3.2"
