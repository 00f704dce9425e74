"""Rows of the chapter `regression`: least squares with 10,000 rows and five columns."""

import numpy as np

from benchmarks.run import row
from solutions import regression

RNG = np.random.default_rng(0)
X = RNG.standard_normal((10_000, 5))
Y = X @ np.arange(1.0, 6.0) + RNG.standard_normal(10_000)


@row("least squares, 10,000 rows and 5 columns", library="numpy")
def ols_numpy():
    """Against `numpy.linalg.lstsq`."""
    return lambda: regression.ols(X, Y), lambda: np.linalg.lstsq(X, Y, rcond=None)[0]
