"""Gaussians on the line: their density, affine maps of them, and how to draw them.

The normal law N(μ, σ²) is written by its mean μ and its *variance* σ²; σ = √σ² is the
standard deviation. Numbers and NumPy arrays are welcome alike, and broadcast.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.random import Generator

from solutions import checks
from solutions.checks import Number, Numbers


def density(x: Numbers, mean: Numbers = 0.0, variance: Numbers = 1.0) -> Numbers:
    """Return  f(x) = 1/√(2πσ²) exp(−(x−μ)²/(2σ²)),  the density of N(μ, σ²) at x.

    A density, not a probability: at the mean it is above 1 as soon as the variance is
    below 1/(2π).

    Args:
        x: where; ±∞ is allowed, and has density 0.
        mean: μ.
        variance: σ² > 0, the square of what scipy calls `scale`.

    Reference: Bishop (2006), Pattern Recognition and Machine Learning, eq. 1.46.
    """
    return np.exp(log_density(x, mean, variance))


def log_density(x: Numbers, mean: Numbers = 0.0, variance: Numbers = 1.0) -> Numbers:
    """Return  log f(x) = −½ (log 2πσ² + (x−μ)²/σ²),  the log of `density`.

    Computed without passing through the density, so that it is finite for x far from
    the mean, where f(x) itself is too small for a float.

    Args:
        x: where; ±∞ is allowed, and has log-density −∞.
        mean: μ.
        variance: σ² > 0.

    Reference: Bishop (2006), eq. 1.54, for one observation.
    """
    checks.not_nan(x=x)
    checks.finite(mean=mean)
    checks.positive(variance=variance)
    z = np.subtract(x, mean, dtype=float) / np.sqrt(variance)
    return -0.5 * (np.log(2 * np.pi) + np.log(variance) + z**2)


def rescale(z: Numbers, mean: Numbers, variance: Numbers) -> Numbers:
    """Return  μ + σz,  which is N(μ, σ²) when z is N(0, 1).

    Args:
        z: draws from N(0, 1), or any other numbers: the map is affine.
        mean: μ, where 0 goes.
        variance: σ² > 0, the square of what z is multiplied by.

    Reference: Wasserman (2004), All of Statistics, section 2.4.
    """
    checks.not_nan(z=z)
    checks.finite(mean=mean)
    checks.positive(variance=variance)
    return mean + np.sqrt(variance) * z


def draw(
    rng: Generator, n: int, mean: Number = 0.0, variance: Number = 1.0
) -> Float[ndarray, "{n}"]:
    """Return n independent draws  μ + σz,  z ~ N(0, 1),  from N(μ, σ²).

    Args:
        rng: where the randomness comes from; the same state gives the same draws.
        n: how many, at least one.
        mean: μ.
        variance: σ² > 0.

    Reference: Wasserman (2004), section 2.4.
    """
    checks.counting_number(n=n)
    checks.finite(mean=mean)
    checks.positive(variance=variance)
    return rescale(rng.standard_normal(n), mean, variance)
