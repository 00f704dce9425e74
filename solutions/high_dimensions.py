"""Gaussians in many dimensions: where they live, how far apart, and what lies between.

Throughout, x ~ N(0, I) in D dimensions. Its norm has the chi law with D degrees of
freedom.
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
    """Return  r^{D−1} e^{−r²/2} / (2^{D/2−1} Γ(D/2)),  the density of |x|.

    It is the chi law with D degrees of freedom.

    Args:
        r: the norm; below 0 the density is 0.
        dimension: D, the number of coordinates.

    Reference: Forbes, Evans, Hastings and Peacock (2011), Statistical Distributions,
    chapter 11.
    """
    return np.exp(norm_log_density(r, dimension))


def norm_log_density(r: Numbers, dimension: int) -> Numbers:
    """Return  (D−1) log r − r²/2 − (D/2−1) log 2 − log Γ(D/2),  the log density of |x|.

    Args:
        r: the norm; where the density is 0 (below 0, at ∞, and at 0 for D > 1) its log
            is −∞.
        dimension: D, the number of coordinates.
    """
    checks.not_nan(r=r)
    checks.counting_number(dimension=dimension)
    possible = np.greater_equal(r, 0) & np.less(r, np.inf)
    r = np.where(possible, r, 0.0)
    log_f = (
        xlogy(dimension - 1, r)
        - r**2 / 2
        - (dimension / 2 - 1) * np.log(2)
        - gammaln(dimension / 2)
    )
    return np.where(possible, log_f, -np.inf)[()]


def norm_mean(dimension: int) -> float:
    """Return  E|x| = √2 Γ((D+1)/2) / Γ(D/2),  which lies between √(D−1) and √D.

    Args:
        dimension: D, the number of coordinates.
    """
    checks.counting_number(dimension=dimension)
    # poch(a, ½) = Γ(a+½)/Γ(a), accurate for large a too
    return np.sqrt(2) * poch(dimension / 2, 0.5)


def norm_mode(dimension: int) -> float:
    """Return  √(D−1),  where `norm_density` is highest.

    Args:
        dimension: D, the number of coordinates.
    """
    checks.counting_number(dimension=dimension)
    return np.sqrt(dimension - 1)


def distance_density(t: Numbers, dimension: int) -> Numbers:
    """Return  t^{D−1} e^{−t²/4} / (2^{D−1} Γ(D/2)),  the density of |x − y|.

    For independent draws x and y the difference is N(0, 2I), hence |x − y| = √2 |z|
    with z ~ N(0, I), and its density is that of |z| at t/√2 times the Jacobian 1/√2.

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


def linear_path(
    a: Real[ndarray, "*s"], b: Real[ndarray, "*s"], alpha: Number
) -> Float[ndarray, "*s"]:
    """Return  αa + (1−α)b,  the straight way from b (α = 0) to a (α = 1).

    Args:
        a, b: one point each, or as many rows each.
        alpha: how far along, between 0 and 1.
    """
    _check_path(a, b, alpha)
    return alpha * a + (1 - alpha) * b


def polar_path(
    a: Real[ndarray, "*s"], b: Real[ndarray, "*s"], alpha: Number
) -> Float[ndarray, "*s"]:
    """Return  √α a + √(1−α) b,  which is N(0, I) if a and b are, independently.

    Args:
        a, b: one point each, or as many rows each.
        alpha: how far along, between 0 (at b) and 1 (at a).
    """
    _check_path(a, b, alpha)
    return np.sqrt(alpha) * a + np.sqrt(1 - alpha) * b


def path_variance(alpha: Numbers, path: str) -> Numbers:
    """Return s², the variance of each coordinate between two draws from N(0, I).

    On the linear path it is  α² + (1−α)²,  below 1 between the ends.
    On the polar path it is  (√α)² + (√(1−α))² = 1.

    Args:
        alpha: how far along, between 0 and 1.
        path: "linear" or "polar".
    """
    checks.fraction(alpha=alpha)
    checks.one_of(PATHS, path=path)
    linear = np.square(alpha) + np.square(np.subtract(1.0, alpha))
    return linear if path == "linear" else np.ones_like(linear)[()]


def expected_log_density(alpha: Numbers, dimension: int, path: str) -> Numbers:
    """Return  E log N(z; 0, I) = −D/2 (log 2π + s²)  for z between two draws.

    The draws are independent, from N(0, I). Here s² is the `path_variance`, so that
    E|z|² = Ds²: the straight line leads through likelier points.

    Args:
        alpha: how far along, between 0 and 1.
        dimension: D, the number of coordinates.
        path: "linear" or "polar".
    """
    checks.counting_number(dimension=dimension)
    return -dimension / 2 * (np.log(2 * np.pi) + path_variance(alpha, path))


def expected_norm_log_density(alpha: Numbers, dimension: int, path: str) -> Numbers:
    """Return  E log f(|z|),  f the density of the norm, for z between two draws.

    With |z| = sR, where s² is the `path_variance` and R has the density f, it is
    (D−1) (log s + E log R) − Ds²/2 − (D/2−1) log 2 − log Γ(D/2),  and
    E log R = ½ (log 2 + ψ(D/2)).

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
