"""Gaussians in many dimensions: how far from the origin they live, how far from each other, and what lies between.

Throughout, x ~ N(0, I) in D dimensions. Its norm has the chi law with D degrees of freedom.
"""

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.special import digamma, gammaln, poch, xlogy

from solutions import checks
from solutions.checks import Number, Numbers

PATHS = ("linear", "polar")


def norm(x: Real[ndarray, "n d"]) -> Float[ndarray, "n"]:
    """Return  |x| = √(xᵀx) = √(Σᵢ xᵢ²),  the distance of each row of x from the origin.

    Args:
        x: n points in d dimensions, a row each.
    """
    checks.rows(x=x)
    return np.linalg.norm(x, axis=1)


def norm_density(r: Numbers, dimension: int) -> Numbers:
    """Return  r^{D−1} e^{−r²/2} / (2^{D/2−1} Γ(D/2)),  the density of |x|: the chi law with D degrees of freedom.

    Args:
        r: the norm; below 0 the density is 0.
        dimension: D, the number of coordinates.

    Reference: Forbes, Evans, Hastings and Peacock (2011), Statistical Distributions, chapter 11.
    """
    return np.exp(norm_log_density(r, dimension))


def norm_log_density(r: Numbers, dimension: int) -> Numbers:
    """Return  (D−1) log r − r²/2 − (D/2−1) log 2 − log Γ(D/2),  the log of `norm_density`.

    Args:
        r: the norm; where the density is 0 (below 0, at ∞, and at 0 for D > 1) its log is −∞.
        dimension: D, the number of coordinates.
    """
    checks.not_nan(r=r)
    checks.counting_number(dimension=dimension)
    possible = np.greater_equal(r, 0) & np.less(r, np.inf)
    r = np.where(possible, r, 0.0)
    log_f = xlogy(dimension - 1, r) - r**2 / 2 - (dimension / 2 - 1) * np.log(2) - gammaln(dimension / 2)
    return np.where(possible, log_f, -np.inf)[()]


def norm_mean(dimension: int) -> float:
    """Return  E|x| = √2 Γ((D+1)/2) / Γ(D/2),  which lies between √(D−1) and √D.

    Args:
        dimension: D, the number of coordinates.
    """
    checks.counting_number(dimension=dimension)
    return np.sqrt(2) * poch(dimension / 2, 0.5)  # poch(a, ½) = Γ(a+½)/Γ(a), accurate for large a too


def norm_mode(dimension: int) -> float:
    """Return  √(D−1),  where `norm_density` is highest.

    Args:
        dimension: D, the number of coordinates.
    """
    checks.counting_number(dimension=dimension)
    return np.sqrt(dimension - 1)


def distance_density(t: Numbers, dimension: int) -> Numbers:
    """Return  t^{D−1} e^{−t²/4} / (2^{D−1} Γ(D/2)),  the density of the distance |x − y| of two independent draws.

    The difference x − y is N(0, 2I), hence |x − y| = √2 |z| with z ~ N(0, I), and its density is that of |z| at
    t/√2 times the Jacobian 1/√2.

    Args:
        t: the distance; below 0 the density is 0.
        dimension: D, the number of coordinates.
    """
    checks.not_nan(t=t)
    checks.counting_number(dimension=dimension)
    return norm_density(np.divide(t, np.sqrt(2)), dimension) / np.sqrt(2)


def log_density(x: Real[ndarray, "n d"]) -> Float[ndarray, "n"]:
    """Return  log N(x; 0, I) = −½ (|x|² + D log 2π),  one number for each row of x.

    Args:
        x: n points in D dimensions, a row each.
    """
    return -0.5 * (norm(x) ** 2 + np.shape(x)[1] * np.log(2 * np.pi))


def linear_path(a: Real[ndarray, "*s"], b: Real[ndarray, "*s"], alpha: Number) -> Float[ndarray, "*s"]:
    """Return  αa + (1−α)b,  a point of the straight line from b (at α = 0) to a (at α = 1).

    Args:
        a, b: one point each, or as many rows each.
        alpha: how far along, between 0 and 1.
    """
    _check_path(a, b, alpha)
    return alpha * a + (1 - alpha) * b


def polar_path(a: Real[ndarray, "*s"], b: Real[ndarray, "*s"], alpha: Number) -> Float[ndarray, "*s"]:
    """Return  √α a + √(1−α) b,  which is N(0, I) at every α when a and b are, and independent.

    Args:
        a, b: one point each, or as many rows each.
        alpha: how far along, between 0 (at b) and 1 (at a).
    """
    _check_path(a, b, alpha)
    return np.sqrt(alpha) * a + np.sqrt(1 - alpha) * b


def path_variance(alpha: Numbers, path: str) -> Numbers:
    """Return the variance of every coordinate on the way between two independent draws from N(0, I).

    α² + (1−α)²  on the linear path, which is below 1 between the ends;  (√α)² + (√(1−α))² = 1  on the polar one.

    Args:
        alpha: how far along, between 0 and 1.
        path: "linear" or "polar".
    """
    checks.fraction(alpha=alpha)
    checks.one_of(PATHS, path=path)
    linear = np.square(alpha) + np.square(np.subtract(1.0, alpha))
    return linear if path == "linear" else np.ones_like(linear)[()]


def expected_log_density(alpha: Numbers, dimension: int, path: str) -> Numbers:
    """Return  E log N(z; 0, I) = −D/2 (log 2π + s²)  for z on the path between two independent draws from N(0, I).

    Here s² is the `path_variance`, so that E|z|² = Ds²: the straight line leads through likelier points.

    Args:
        alpha: how far along, between 0 and 1.
        dimension: D, the number of coordinates.
        path: "linear" or "polar".
    """
    checks.counting_number(dimension=dimension)
    return -dimension / 2 * (np.log(2 * np.pi) + path_variance(alpha, path))


def expected_norm_log_density(alpha: Numbers, dimension: int, path: str) -> Numbers:
    """Return  E log f(|z|),  f the chi density, for z on the path between two independent draws from N(0, I).

    With |z| = sR, R chi-distributed, s² the `path_variance` and  E log R = ½ (log 2 + ψ(D/2)),  it is
    (D−1) (log s + E log R) − Ds²/2 − (D/2−1) log 2 − log Γ(D/2).

    Args:
        alpha: how far along, between 0 and 1.
        dimension: D, the number of coordinates.
        path: "linear" or "polar".
    """
    checks.counting_number(dimension=dimension)
    s_squared = path_variance(alpha, path)
    mean_log_norm = 0.5 * (np.log(s_squared) + np.log(2) + digamma(dimension / 2))
    log_constant = (dimension / 2 - 1) * np.log(2) + gammaln(dimension / 2)
    return (dimension - 1) * mean_log_norm - dimension * s_squared / 2 - log_constant


def _check_path(a, b, alpha) -> None:
    checks.same_shape(a=a, b=b)
    checks.finite(a=a, b=b)
    checks.fraction(alpha=alpha)
