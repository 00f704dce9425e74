"""Rows of the chapter `high_dimensions`: the chi law of the norm, on 100,000 points."""

import numpy as np
from scipy import stats

from benchmarks.run import row
from solutions import high_dimensions

DIMENSION = 100
R = np.sqrt(np.random.default_rng(0).chisquare(DIMENSION, 100_000))


@row("density of the norm in 100 dimensions at 100,000 points", library="scipy")
def norm_density_scipy():
    """Against `scipy.stats.chi.pdf`."""
    return lambda: high_dimensions.norm_density(R, DIMENSION), lambda: stats.chi.pdf(R, DIMENSION)
