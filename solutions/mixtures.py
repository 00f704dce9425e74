"""The law of Part II: k standard Gaussians, equally likely, around k means.

p(x) = (1/k) Σᵢ (2π)^{−d/2} exp(−|x − μᵢ|²/2).  Data are rows, x is (n, d), and so are
the means, (k, d). Every component has unit variance in every direction.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
from jaxtyping import Float, Int, Real
from numpy import ndarray

from solutions import checks

# What a sampler asks of a law: x ↦ (log p(x), ∇ log p(x)), rows in, rows out.
Target = Callable[[ndarray], tuple[ndarray, ndarray]]

# Four components on the corners of a square, whom Part II never stops asking for.
SQUARE = np.array([[0.0, 0.0], [0.0, 3.0], [3.0, 0.0], [3.0, 3.0]])
SQUARE.flags.writeable = False


def draw(
    rng: np.random.Generator, means: Real[ndarray, "k d"], n: int
) -> tuple[Float[ndarray, "n d"], Int[ndarray, "n"]]:
    """Return n draws  x = μ_c + z,  c uniform on 0..k−1 and z ~ N(0, I), and their c.

    Args:
        rng: the source of randomness.
        means: the centre of each component.
        n: how many draws.
    """
    checks.table(means=means)
    checks.counting_number(n=n)
    component = rng.integers(len(means), size=n)
    noise = rng.standard_normal((n, np.shape(means)[1]))
    return means[component] + noise, component


def log_density(
    x: Real[ndarray, "n d"], means: Real[ndarray, "k d"]
) -> Float[ndarray, "n"]:
    """Return  log p(x) = log Σᵢ exp(−|x − μᵢ|²/2) − log k − (d/2) log 2π.

    Args:
        x: n points, a row each.
        means: the centre of each component.
    """
    _check(x, means)
    return target(means)(x)[0]


def score(
    x: Real[ndarray, "n d"], means: Real[ndarray, "k d"]
) -> Float[ndarray, "n d"]:
    """Return  ∇ₓ log p(x) = Σᵢ rᵢ(x) μᵢ − x,  with the `responsibilities` rᵢ.

    Args:
        x: n points, a row each.
        means: the centre of each component.
    """
    _check(x, means)
    return target(means)(x)[1]


def responsibilities(
    x: Real[ndarray, "n d"], means: Real[ndarray, "k d"]
) -> Float[ndarray, "n k"]:
    """Return  rᵢ(x) = exp(−|x − μᵢ|²/2) / Σⱼ exp(−|x − μⱼ|²/2) = P(component i | x).

    Args:
        x: n points, a row each.
        means: the centre of each component.
    """
    _check(x, means)
    _, weights, _ = _weigh(np.asarray(x, float), np.asarray(means, float))
    return (weights / weights.sum(axis=0)).T


def target(means: Real[ndarray, "k d"]) -> Target:
    """Return the function  x ↦ (log p(x), ∇ log p(x)),  both from one pass over x.

    It is what samplers call in their inner loop, so of x only the shape is checked. One
    that is stored a coordinate after the other (Fortran order) is fastest.

    Args:
        means: the centre of each component; copied, and so safe from later changes.
    """
    checks.table(means=means)
    means = np.array(means, dtype=float)
    constant = np.log(len(means)) + means.shape[1] / 2 * np.log(2 * np.pi)

    def log_density_and_score(x: ndarray) -> tuple[ndarray, ndarray]:
        x = np.asarray(x, dtype=float)
        if x.ndim != 2 or x.shape[1] != means.shape[1]:
            checks.of_shape((len(x), means.shape[1]), x=x)
        away, weights, largest = _weigh(x, means)
        total = weights.sum(axis=0)
        pull = np.einsum("kn,kdn->dn", weights, away)
        pull /= total
        return np.log(total) + largest - constant, pull.T

    return log_density_and_score


def expectation(
    function: Callable[[ndarray], ndarray], means: Real[ndarray, "k d"]
) -> float | Float[ndarray, "*rest"]:
    """Return  E f(x), x ~ p,  by the trapezoid rule: eighths, up to ±9 around a mean.

    For a smooth f that grows no faster than a power, it is exact to about 13 digits.

    Args:
        function: f, from rows x (n, d) to an array whose first axis has length n.
        means: the centre of each component, in one dimension or two.
    """
    checks.table(means=means)
    dimension = np.shape(means)[1]
    checks.at_most(2, dimension=dimension)
    line = np.arange(-9, 9 + 1 / 16, 1 / 8)
    nodes = np.array(list(product(line, repeat=dimension)))
    weights = np.exp(-0.5 * np.sum(nodes**2, axis=1))
    weights /= weights.sum()
    return np.mean(
        [np.tensordot(weights, function(mean + nodes), axes=1) for mean in means],
        axis=0,
    )


def fisher_information(means: Real[ndarray, "k d"]) -> Float[ndarray, "p p"]:
    """Return  I = E[g gᵀ],  g = ∇ log p(x) with respect to the means, for one draw.

    Component i has  gᵢ = rᵢ(x) (x − μᵢ),  with the `responsibilities` rᵢ; the means are
    raveled row by row, so that I is (kd, kd). No unbiased estimate of them from n draws
    has a covariance smaller than I⁻¹/n, the Cramér–Rao bound.

    Args:
        means: the centre of each component, in one dimension or two.

    Reference: Lehmann and Casella (1998), Theory of Point Estimation, section 2.6.
    """

    def outer_product(x: ndarray) -> ndarray:
        away = x[:, None, :] - np.asarray(means, dtype=float)
        g = (responsibilities(x, means)[:, :, None] * away).reshape(len(x), -1)
        return g[:, :, None] * g[:, None, :]

    return expectation(outer_product, means)


def _weigh(
    x: Float[ndarray, "n d"], means: Float[ndarray, "k d"]
) -> tuple[Float[ndarray, "k d n"], Float[ndarray, "k n"], Float[ndarray, "n"]]:
    """μᵢ − x,  wᵢ = exp(−|x − μᵢ|²/2) over the largest of the k,  and its logarithm.

    The points stand along the last axis, where NumPy's loops are long.
    """
    away = means[:, :, None] - np.ascontiguousarray(x.T)
    exponents = np.einsum("kdn,kdn->kn", away, away)
    exponents *= -0.5
    largest = exponents.max(axis=0)
    exponents -= largest
    return away, np.exp(exponents, out=exponents), largest


def _check(x, means) -> None:
    checks.table(means=means)
    checks.rows(x=x)
    checks.finite(x=x)
    checks.same_columns(means=means, x=x)
