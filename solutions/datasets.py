"""Data that several chapters share: points along arcs, whose density is known."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real
from numpy import ndarray
from scipy.special import roots_legendre

from solutions import checks

_BLOCK = 2_000_000  # this many distances at a time


class Arcs(NamedTuple):
    """Points spread evenly along arcs of circles, plus N(0, noise_std² I).

    Each arc has a row in `centres`, and an entry in `radii`, in `begins`, the angle at
    which it begins, and in `angles`, how far it turns (2π closes a ring).
    """

    centres: Real[ndarray, "k 2"]
    radii: Real[ndarray, "k"]
    begins: Real[ndarray, "k"]
    angles: Real[ndarray, "k"]
    noise_std: float


MOONS = Arcs(
    centres=np.array([[-0.5, -0.25], [0.5, 0.25]]),
    radii=np.array([1.0, 1.0]),
    begins=np.array([0.0, np.pi]),
    angles=np.array([np.pi, np.pi]),
    noise_std=0.1,
)
RINGS = Arcs(
    centres=np.zeros((2, 2)),
    radii=np.array([1.0, 2.0]),
    begins=np.zeros(2),
    angles=np.full(2, 2 * np.pi),
    noise_std=0.1,
)


def draw_arcs(
    rng: np.random.Generator, data: Arcs, n: int
) -> tuple[Float[ndarray, "n 2"], Int[ndarray, "n"]]:
    """Draw points  c + r u(t) + noise_std z  and tell from which arc each comes.

    u(t) = (cos t, sin t), t is uniform along the arc, z is standard normal, and an arc
    is chosen in proportion to its length, radius times angle.

    Args:
        data: the arcs, `MOONS` or `RINGS` for example.
    """
    data = _checked(data)
    checks.counting_number(n=n)
    arc = rng.choice(len(data.radii), size=n, p=_shares(data))
    angle = data.begins[arc] + data.angles[arc] * rng.random(n)
    on_arc = data.centres[arc] + data.radii[arc, None] * _direction(angle)
    return on_arc + data.noise_std * rng.standard_normal((n, 2)), arc


def arcs_log_density(x: Real[ndarray, "n 2"], data: Arcs) -> Float[ndarray, "n"]:
    """Return  log Σₐ wₐ ∫ N(x; cₐ + rₐ u(t), noise_std² I) dt / angleₐ.

    The weight wₐ of an arc is in proportion to its length  rₐ angleₐ.
    The integrals along the arcs are done by Gauss and Legendre's rule, with so many
    points that 9 digits are right within 40 noise_std of an arc, and 6 far away.
    """
    checks.rows(x=x)
    checks.finite(x=x)
    data = _checked(data)
    if np.shape(x)[1] != 2:
        raise ValueError(f"x must have two columns, got {np.shape(x)[1]}")
    points, log_weights = _rule(data)
    x, variance = np.asarray(x, dtype=float), data.noise_std**2
    out = np.empty(len(x))
    size = max(1, _BLOCK // len(points))
    for block in (slice(i, i + size) for i in range(0, len(x), size)):
        square = ((x[block, None] - points) ** 2).sum(axis=2)
        out[block] = np.logaddexp.reduce(log_weights - square / (2 * variance), axis=1)
    return out - np.log(2 * np.pi * variance)


def arcs_entropy(data: Arcs) -> float:
    """Return  −∫ p log p  in nats, by quadrature: the lowest mean NLL of any model."""
    grid = np.stack(np.meshgrid(*arcs_axes(data, 2)), axis=-1).reshape(-1, 2)
    log_density = arcs_log_density(grid, data)
    cell = (data.noise_std / 2) ** 2
    return float(-(np.exp(log_density) * log_density).sum() * cell)


def arcs_axes(
    data: Arcs, cells: int
) -> tuple[Float[ndarray, "m1"], Float[ndarray, "m2"]]:
    """Return the two axes of a grid with so many cells per noise_std, which reaches 9
    noise_std beyond every circle: less than 1e-17 of the probability is outside.
    """
    data = _checked(data)
    checks.counting_number(cells=cells)
    reach = data.radii.max() + 9 * data.noise_std
    ends = data.centres.min(axis=0) - reach, data.centres.max(axis=0) + reach
    return tuple(
        np.arange(low, high, data.noise_std / cells)
        for low, high in zip(*ends, strict=True)
    )


def _checked(data: Arcs) -> Arcs:
    centres, radii, begins, angles, noise_std = data
    checks.table(centres=centres)
    k = len(centres)
    checks.of_shape((k, 2), centres=centres)
    checks.of_shape((k,), radii=radii, begins=begins, angles=angles)
    checks.positive(radii=radii, angles=angles, noise_std=noise_std)
    checks.finite(begins=begins)
    arrays = (np.asarray(a, dtype=float) for a in (centres, radii, begins, angles))
    return Arcs(*arrays, float(noise_std))


def _shares(data: Arcs) -> Float[ndarray, "k"]:
    lengths = data.radii * data.angles
    return lengths / lengths.sum()


def _direction(angle: Float[ndarray, "n"]) -> Float[ndarray, "n 2"]:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _rule(data: Arcs) -> tuple[Float[ndarray, "m 2"], Float[ndarray, "m"]]:
    """Points along all arcs, and the logarithms of their weights, which sum to one."""
    points, weights = [], []
    for arc, share in enumerate(_shares(data)):
        length = data.radii[arc] * data.angles[arc]
        nodes, weight = roots_legendre(30 + int(5 * length / data.noise_std))
        angle = data.begins[arc] + data.angles[arc] * (nodes + 1) / 2
        points.append(data.centres[arc] + data.radii[arc] * _direction(angle))
        weights.append(share * weight / 2)
    return np.concatenate(points), np.log(np.concatenate(weights))
