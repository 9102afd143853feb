"""Noise probabilities of rows, genuine and noise, drawn from two known distributions."""

import numpy as np
import polars as pl


def mixture(draw, share, n=20_000):
    """Probabilities of own rows, some of them noise, of injected rows, and which own is noise."""
    is_noise = draw.random(n) < share
    own = np.where(is_noise, draw.beta(4, 2, size=n), draw.beta(1, 6, size=n))
    return pl.Series(own), pl.Series(draw.beta(4, 2, size=n)), is_noise
