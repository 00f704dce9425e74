"""Slopes of a sampled average against quadrature, sympy, fractions, automatic differentiation and curves of rows."""

import fractions
import itertools
import math

import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, linalg, optimize, special, stats

from solutions import gradient_estimators
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_mean, assert_unbiased, assert_variance

NAN, INF = math.nan, math.inf
PLACES = np.array([[0.0, 0.0], [-1.3, 0.4], [2.1, -0.7], [0.44, -0.5], [1.37, 0.67], [3.0, 1.2], [-6.0, -2.0]])
# Far out, very wide (σ = e⁵ = 148), and very narrow (σ = 1/1000).
FAR = np.array([[100.0, 0.3], [-40.0, 5.0], [0.7, 3.0], [1.0, np.log(1e-3)], [-2.5, np.log(2e-3)], [0.0, -5.0]])
# The trapezoidal rule over ε; it errs by e^{-72} for leaving out |ε| > 12, and by far less for its step.
NOISE = np.linspace(-12, 12, 4001)
WEIGHT = np.exp(-(NOISE**2) / 2) / np.exp(-(NOISE**2) / 2).sum()


def wave(k, theta):
    """F⁽ᵏ⁾: the imaginary part of the k-th derivative in μ of  E[x e^{ix}] = (μ + iσ²) e^{iμ − σ²/2}."""
    mean, variance = theta[..., 0], np.exp(2 * theta[..., 1])
    return (1j**k * (mean + 1j * (variance - k)) * np.exp(1j * mean - variance / 2)).imag


def rest(theta):
    """The slope of (μ−1)²/2 + σ − τ."""
    return np.stack([theta[..., 0] - 1, np.exp(theta[..., 1]) - 1], axis=-1)


def wave_slope(theta):
    return np.stack([wave(1, theta), np.exp(2 * theta[..., 1]) * wave(2, theta)], axis=-1)


def slope(theta):
    """∇f."""
    theta = np.asarray(theta, dtype=float)
    return wave_slope(theta) + rest(theta)


def curvature(theta):
    """∇²f."""
    theta = np.asarray(theta, dtype=float)
    v = np.exp(2 * theta[..., 1])
    mixed = v * wave(3, theta)
    corner = 2 * v * wave(2, theta) + v**2 * wave(4, theta) + np.sqrt(v)
    return np.stack([np.stack([wave(2, theta) + 1, mixed], -1), np.stack([mixed, corner], -1)], -2)


def h(x):
    return x * np.sin(x)


def h_slope(x):
    return np.sin(x) + x * np.cos(x)


def score(noise, theta):
    return np.stack([noise / np.exp(theta[..., 1]), noise**2 - 1], axis=-1)


def draw(noise, theta):
    return theta[..., 0] + np.exp(theta[..., 1]) * noise


def score_row(noise, theta, baseline=0.0):
    """A row of the score gradient, without the slope of the rest."""
    return (h(draw(noise, theta))[..., None] - baseline) * score(noise, theta)


def moved_row(noise, theta):
    """A row of the reparameterised gradient, without the slope of the rest."""
    x = draw(noise, theta)
    return h_slope(x)[..., None] * np.stack([np.ones_like(x), np.exp(theta[..., 1]) * noise], axis=-1)


def average(values):
    """E over ε of values (4001, ...) on NOISE."""
    return np.tensordot(WEIGHT, values, axes=1)


def by_quadrature(row, theta, *more):
    """Mean (..., 2) and covariance (..., 2, 2) of a row, for θ (..., 2)."""
    theta = np.asarray(theta, dtype=float)
    noise = np.broadcast_to(NOISE.reshape(-1, *[1] * (theta.ndim - 1)), (len(NOISE), *theta.shape[:-1]))
    rows = row(noise, theta, *more)
    mean = average(rows)
    rows = rows - mean
    return mean, average(rows[..., :, None] * rows[..., None, :])


def variances(covariance):
    return np.diagonal(covariance, axis1=-2, axis2=-1)


def best_baseline(theta):
    """E[h s²]/E[s²] for each coordinate, by quadrature."""
    theta = np.asarray(theta, dtype=float)
    noise = np.broadcast_to(NOISE.reshape(-1, *[1] * (theta.ndim - 1)), (len(NOISE), *theta.shape[:-1]))
    weights = np.stack([noise**2, (noise**2 - 1) ** 2], axis=-1)
    return average(h(draw(noise, theta))[..., None] * weights) / np.array([1.0, 2.0])


def global_state():
    """The numbers that NumPy's global generator will go on from."""
    return np.random.get_state()[1].copy()  # noqa: NPY002


# What is to be made small: f, its slope, its curvature


@pytest.mark.claim("prop-wave-average", kind="symbolic")
def test_average_of_the_wave_and_its_derivatives():
    """E[x sin x] from the characteristic function; its derivatives in μ up to the fourth, and in τ, by sympy."""
    mean, omega = sympy.symbols("mu omega", real=True)
    v = sympy.symbols("v", positive=True)
    # E[cos ωx] is the real part of E[e^{iωx}] = e^{iωμ − ω²v/2}, and E[x sin ωx] = −d/dω E[cos ωx]
    wavy = -sympy.diff(sympy.cos(omega * mean) * sympy.exp(-(omega**2) * v / 2), omega).subs(omega, 1)
    grow = sympy.exp(v / 2)
    for k in range(5):
        phi = mean + k * sympy.pi / 2
        stated = mean * sympy.sin(phi) + (v - k) * sympy.cos(phi)
        assert sympy.simplify(sympy.expand(grow * sympy.diff(wavy, mean, k)) - stated) == 0, k
    in_tau = 2 * v * sympy.diff(wavy, v)  # as v = e^{2τ}
    assert sympy.simplify(sympy.expand(grow * (in_tau - v * sympy.diff(wavy, mean, 2)))) == 0


@pytest.mark.claim("prop-wave-average")
def test_objective_is_the_average_and_the_rest():
    """E[x sin x] by the trapezoidal rule over ε, plus (μ−1)²/2 + σ − τ, at thirteen θ."""
    theta = np.concatenate([PLACES, FAR])
    mean, tau = theta.T
    std = np.exp(tau)
    wavy = average(h(draw(NOISE[:, None], theta)))
    others = (mean - 1) ** 2 / 2 + std - tau
    mistakes = {
        "is E[x sin x] taken for μ sin μ, x for its mean?": h(mean) + others,
        "is it e^{−σ/2} where e^{−σ²/2} belongs?": np.exp(-std / 2) * (h(mean) + std**2 * np.cos(mean)) + others,
        "is it e^{−σ²} where e^{−σ²/2} belongs?": np.exp(-(std**2)) * (h(mean) + std**2 * np.cos(mean)) + others,
        "is the term σ² cos μ missing?": np.exp(-(std**2) / 2) * h(mean) + others,
        "is it σ cos μ where σ² cos μ belongs?": np.exp(-(std**2) / 2) * (h(mean) + std * np.cos(mean)) + others,
        "is the sign of log σ = τ reversed?": wavy + others + 2 * tau,
        "is log σ missing?": wavy + others + tau,
        "is σ missing?": wavy + others - std,
        "is the ½ of (μ−1)² missing?": wavy + others + (mean - 1) ** 2 / 2,
        "is it (μ+1)² where (μ−1)² belongs?": wavy + others + 2 * mean,
        "is τ taken for σ: are these N(μ, τ²), with σ − log σ made of τ?": average(h(mean + tau * NOISE[:, None]))
        + (mean - 1) ** 2 / 2
        + tau
        - np.log(np.abs(np.where(tau == 0, 1, tau))),
        "is only E[x sin x] returned, without (μ−1)²/2 + σ − τ?": wavy,
    }
    # The sums cancel: at σ = e⁵ the values up to 1,000 of the integrand leave 1e-13.
    got = gradient_estimators.objective(theta)
    assert_close(got, wavy + others, rtol=1e-10, atol=1e-11, what="objective(theta)", mistakes=mistakes)


def test_objective_of_one_place_is_a_number():
    """At θ = (0, 0):  e^{−½} (0 + 1) + ½ + 1 − 0,  as a number; at (π, 0): −e^{−½} + (π−1)²/2 + 1."""
    assert_close(gradient_estimators.objective(np.zeros(2)), math.exp(-0.5) + 1.5, what="objective((0, 0))")
    want = -math.exp(-0.5) + (math.pi - 1) ** 2 / 2 + 1
    assert_close(gradient_estimators.objective(np.array([math.pi, 0.0])), want, what="objective((π, 0))")


@pytest.mark.claim("prop-wave-average", kind="automatic differentiation")
def test_exact_gradient_is_the_derivative_of_the_average():
    """∇f against automatic differentiation of the average over 4001 fixed ε, which moves with θ."""
    theta = torch.tensor(PLACES, requires_grad=True)
    x = theta[:, 0] + torch.exp(theta[:, 1]) * torch.tensor(NOISE)[:, None]
    f = torch.tensor(WEIGHT) @ (x * torch.sin(x)) + (theta[:, 0] - 1) ** 2 / 2 + torch.exp(theta[:, 1]) - theta[:, 1]
    (want,) = torch.autograd.grad(f.sum(), theta)
    want, std = want.numpy(), np.exp(PLACES[:, 1])
    wavy, others = wave_slope(PLACES), rest(PLACES)
    both = np.stack([np.ones_like(std), std], axis=-1)
    in_variance = np.stack([wavy[:, 0], wavy[:, 1] / std], axis=-1) + others
    mistakes = {
        "is the second entry the slope in σ, where that in τ = log σ is σ times as large?": want / both,
        "is the slope of E[x sin x] in σ taken for that in τ: a factor of σ is missing": in_variance,
        "is the slope in σ² taken for that in τ: the factor 2σ² is missing": want
        / np.stack([both[:, 0], 2 * std**2], 1),
        "is only the slope of E[x sin x] returned, without (μ−1, σ−1)?": wavy,
        "is the slope of the rest, (μ−1, σ−1), subtracted?": wavy - others,
        "is this the way down, −∇f?": -want,
        "are the two entries swapped?": want[:, ::-1],
        "is the slope of σ − τ taken as 1 − 1/σ, which is its slope in σ?": wavy
        + np.stack([others[:, 0], 1 - 1 / std], axis=-1),
        "is the slope of σ − τ taken as σ, without the −1 of −τ?": want + np.array([0.0, 1.0]),
        "is E[x sin x] taken for μ sin μ?": np.stack([h_slope(PLACES[:, 0]), 0 * std], axis=-1) + others,
        "is E[x sin x] differentiated in μ alone, and not in τ?": want - wavy * [0.0, 1.0],
        "is it ½F″ for F″ in the slope in τ?": want - 0.5 * wavy * [0.0, 1.0],
    }
    got = gradient_estimators.exact_gradient(PLACES)
    assert_close(got, want, rtol=1e-10, atol=1e-12, what="exact_gradient(theta)", mistakes=mistakes)


@pytest.mark.claim("prop-wave-average", kind="symbolic")
def test_exact_gradient_and_hessian_are_those_of_sympy():
    """∇f and ∇²f, differentiated by sympy from the closed form of f, at PLACES and at a grid of 35 θ."""
    mean, tau = sympy.symbols("mu tau", real=True)
    v = sympy.exp(2 * tau)
    f = sympy.exp(-v / 2) * (mean * sympy.sin(mean) + v * sympy.cos(mean))
    f += (mean - 1) ** 2 / 2 + sympy.exp(tau) - tau
    grid = np.stack(np.meshgrid(np.linspace(-7, 9, 7), np.linspace(-3, 1.5, 5)), axis=-1)
    for theta in (PLACES, grid):
        at = theta[..., 0], theta[..., 1]
        first = [sympy.lambdify((mean, tau), sympy.diff(f, a))(*at) for a in (mean, tau)]
        second = [[sympy.lambdify((mean, tau), sympy.diff(f, a, b))(*at) for a in (mean, tau)] for b in (mean, tau)]
        got = gradient_estimators.exact_gradient(theta)
        assert_close(got, np.stack(first, -1), atol=1e-11, what="exact_gradient(theta)")
        want = np.moveaxis(np.array(second), (0, 1), (-2, -1))
        got = gradient_estimators.hessian(theta)
        assert_close(got, want, atol=1e-11, what="hessian(theta)")


def test_hessian_is_the_second_derivative_by_automatic_differentiation():
    """∇²f against torch's second derivatives of the closed form, θ by θ, with the mistakes one makes in τ."""

    def f(theta):
        mean, v = theta[0], torch.exp(2 * theta[1])
        wavy = torch.exp(-v / 2) * (mean * torch.sin(mean) + v * torch.cos(mean))
        return wavy + (mean - 1) ** 2 / 2 + torch.sqrt(v) - theta[1]

    want = np.stack([torch.autograd.functional.hessian(f, torch.tensor(theta)).numpy() for theta in PLACES])
    std = np.exp(PLACES[:, 1])
    v, corner, unit = std**2, np.diag([0.0, 1.0]), np.eye(2)
    first = np.array([slope(theta)[1] for theta in PLACES])
    per_std = np.stack([np.ones_like(std), std], axis=-1)
    in_std = want / per_std[:, :, None] / per_std[:, None, :] - (first / v)[:, None, None] * corner
    mistakes = {
        "are these second derivatives in σ, where those in τ = log σ are asked for?": in_std,
        "is the term 2σ²F″ in the last entry missing: σ² depends on τ too?": want
        - (2 * v * wave(2, PLACES))[:, None, None] * corner,
        "is the 1 from (μ−1)²/2 missing?": want - np.diag([1.0, 0.0]),
        "is the σ of the last entry missing, σ's own second derivative in τ?": want - std[:, None, None] * corner,
        "are the mixed derivatives missing?": want * unit,
        "is it the inverse of what was asked for?": np.linalg.inv(want),
    }
    got = gradient_estimators.hessian(PLACES)
    assert_close(got, want, rtol=1e-10, atol=1e-12, what="hessian(theta)", mistakes=mistakes)


def test_hessian_exact_gradient_and_objective_are_finite_far_out():
    """At τ = 5, 20, ±100 and μ = ±1e9, where e^{−σ²/2} is 0 or 1, only the rest, or F at σ = 0, is left."""
    wide = np.array([[0.3, 5.0], [-2.0, 20.0], [1e9, 100.0], [5.0, 100.0]])
    narrow = np.array([[0.3, -20.0], [-2.0, -100.0], [4.0, -60.0]])
    mean, tau = wide.T
    with np.errstate(all="ignore"):
        got = [function(wide) for function in map(vars(gradient_estimators).get, ("objective", "exact_gradient"))]
        bent = gradient_estimators.hessian(wide)
        close = [function(narrow) for function in map(vars(gradient_estimators).get, ("objective", "exact_gradient"))]
        sharp = gradient_estimators.hessian(narrow)
    assert_close(got[0], (mean - 1) ** 2 / 2 + np.exp(tau) - tau, what="objective where σ is huge")
    assert_close(got[1], rest(wide), what="exact_gradient where σ is huge")
    want = np.zeros((4, 2, 2))
    want[:, 0, 0], want[:, 1, 1] = 1.0, np.exp(tau)
    assert_close(bent, want, what="hessian where σ is huge")
    mean, tau = narrow.T
    assert_close(close[0], h(mean) + (mean - 1) ** 2 / 2 - tau, rtol=1e-8, what="objective where σ is tiny")
    want = np.stack([h_slope(mean) + mean - 1, -np.ones(3)], axis=-1)
    assert_close(close[1], want, rtol=1e-8, what="exact_gradient where σ is tiny")
    want = np.zeros((3, 2, 2))
    want[:, 0, 0] = 1 + 2 * np.cos(mean) - h(mean)
    assert_close(sharp, want, rtol=1e-8, atol=1e-8, what="hessian where σ is tiny")


# Its valleys


def test_stationary_points_are_two_valleys_and_a_saddle():
    """scipy's root of ∇f from near each; the order is local minimum, saddle, global minimum; θ = (μ, log σ)."""
    found = [optimize.root(slope, start, jac=curvature, tol=1e-14).x for start in ([0.5, -0.6], [0.9, 0.2], [1.3, 0.6])]
    want = np.array(found)
    mistakes = {
        "are these (μ, σ), where θ = (μ, log σ) is asked for?": np.stack([want[:, 0], np.exp(want[:, 1])], axis=-1),
        "are the two minima in each other's place?": want[::-1],
        "is the saddle not in the middle?": want[[0, 2, 1]],
        "is the saddle first?": want[[1, 0, 2]],
    }
    got = gradient_estimators.stationary_points()
    assert len(got) == 3, f"stationary_points has {len(got)} points, not a minimum, a saddle and a minimum"
    assert_close(np.stack(got), want, rtol=0, atol=1e-9, what="stationary_points()", mistakes=mistakes)
    named = np.stack([got.local_minimum, got.saddle, got.global_minimum])
    assert_close(named, want, rtol=0, atol=1e-9, what="stationary_points() by its names", mistakes=mistakes)


@pytest.mark.claim("thm-three-points")
def test_stationary_points_have_their_heights_and_curvatures():
    """f = 1.696168236, 1.801988, 1.6644007564; slope 0; eigenvalues of ∇²f: ++, −+, ++; and no shared arrays."""
    points = np.stack(gradient_estimators.stationary_points())
    std = np.exp(points[:, 1])
    known = [[0.4422974883, 0.6064950249], [0.862958, 1.174332], [1.3666992952, 1.9621982281]]
    for point, width, (mean, sigma), places in zip(points, std, known, (10, 6, 10), strict=True):
        assert_close([point[0], width], [mean, sigma], rtol=0, atol=0.6 * 10.0**-places, what="a point (μ, σ)")
    heights = gradient_estimators.objective(points)
    assert_close(heights[[0, 2]], [1.696168236, 1.6644007564], rtol=0, atol=6e-10, what="f at the two minima")
    assert_close(heights[1], 1.801988, rtol=0, atol=6e-7, what="f at the saddle")
    assert np.abs(slope(points)).max() < 1e-9
    assert np.abs(gradient_estimators.exact_gradient(points)).max() < 1e-9
    signs = np.sign(np.linalg.eigvalsh(gradient_estimators.hessian(points)))
    assert_close(signs, [[1, 1], [-1, 1], [1, 1]], what="the signs of the eigenvalues of the Hessian")
    gradient_estimators.stationary_points()[0][:] = 7.0
    again = np.stack(gradient_estimators.stationary_points())
    assert_close(again, points, what="stationary_points() after someone wrote into an earlier answer")


def sizes(middle, half, orders):
    """Over rectangles of θ: bounds for v = σ², and for |F⁽ᵏ⁾| ≤ e^{−v/2} √(μ² + (v−k)²)."""
    low, high = (np.exp(2 * (middle[:, 1] + sign * half[:, 1])) for sign in (-1, 1))
    far = np.abs(middle[:, 0]) + half[:, 0]
    waves = {k: np.exp(-low / 2) * np.hypot(far, np.maximum(np.abs(low - k), np.abs(high - k))) for k in orders}
    return high, waves


def nowhere_flat(low, high, boxes=(), least=1e-3):
    """The rectangles, of those that cut up [low, high], in which ∇f may be 0: all others have a slope all over.

    At the middle the slope is so large that its derivatives, all bounded, cannot bring it to 0 within the rectangle.
    What lies in one of `boxes` (centre, half) is left out.
    """
    low, high = np.array(low, float), np.array(high, float)
    cells = 16
    edges = [low[i] + (high[i] - low[i]) * (np.arange(cells) + 0.5) / cells for i in range(2)]
    middle = np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1).reshape(-1, 2)
    half = np.broadcast_to((high - low) / (2 * cells), middle.shape)
    while len(middle) and half.max() > least:
        v, most = sizes(middle, half, (2, 3, 4))
        std = np.sqrt(v)
        changes = np.stack(
            [
                (1 + most[2]) * half[:, 0] + v * most[3] * half[:, 1],
                v * most[3] * half[:, 0] + (2 * v * most[2] + v**2 * most[4] + std) * half[:, 1],
            ],
            axis=-1,
        )
        open_still = (np.abs(slope(middle)) <= changes).all(axis=1)
        for centre, width in boxes:
            open_still &= ~(np.abs(middle - centre) + half <= width).all(axis=1)
        middle, half = middle[open_still], half[open_still] / 2
        corners = [(a, b) for a in (-1, 1) for b in (-1, 1)]
        middle = np.concatenate([middle + half * corner for corner in corners])
        half = np.concatenate([half] * 4)
    return middle


@pytest.mark.claim("thm-three-points")
def test_stationary_points_are_all_there_are():
    """A proof by cells: no other cell of the box holds a zero of ∇f; within 1/100 of each point θ − H⁻¹∇f contracts."""
    points, width = np.stack(gradient_estimators.stationary_points()), np.array([0.01, 0.01])
    for point in points:
        # |H⁻¹ (H − H(θ))| in the largest row sum, by the bounds for the third derivatives over the square
        v, most = sizes(point[None], width[None], (2, 3, 4, 5, 6))
        mixed = 2 * v * most[3] + v**2 * most[5]
        last = 4 * v * most[2] + 6 * v**2 * most[4] + v**3 * most[6] + np.sqrt(v)
        third = np.array([[[most[3], v * most[4]], [v * most[4], mixed]], [[v * most[4], mixed], [mixed, last]]])
        changes = third[..., 0].sum(axis=-1) * width[0]
        shrink = np.abs(np.linalg.inv(gradient_estimators.hessian(point))) @ changes
        assert shrink.sum(axis=1).max() < 0.5, "θ − H⁻¹∇f does not contract by ½"
        assert np.abs(slope(point)).max() < 1e-9
    left = nowhere_flat([0.0, math.log(1 / 4)], [10.0, math.log(5)], [(point, width) for point in points])
    assert not len(left), f"∇f may be 0 near {left[:3]}"


@pytest.mark.claim("thm-three-points")
def test_second_minimum_is_the_global_one():
    """f is at least ½(μ−1)² − |μ| − 2/e + σ − τ, which beyond a box exceeds f at the lower minimum, the second."""
    lower, _, lowest = gradient_estimators.stationary_points()
    height = gradient_estimators.objective(lowest)
    assert height < gradient_estimators.objective(lower), "the second minimum is not the lower one"
    variance = np.linspace(0, 60, 6001)
    assert (variance * np.exp(-variance / 2)).max() <= 2 / math.e + 1e-12  # so |E[x sin x]| ≤ |μ| + 2/e
    theta = np.stack(np.meshgrid(np.linspace(-12, 14, 261), np.linspace(-7, 4, 221)), axis=-1)
    mean, tau = np.moveaxis(theta, -1, 0)
    floor = (mean - 1) ** 2 / 2 - np.abs(mean) - 2 / math.e + np.exp(tau) - tau
    values = gradient_estimators.objective(theta)
    assert (values >= floor - 1e-9).all(), "f is below its bound"
    assert values.min() >= height, "f is lower somewhere else"
    edge = np.ones_like(mean, dtype=bool)
    edge[1:-1, 1:-1] = False
    # in each coordinate the bound only rises outwards from the edge: it is convex in μ beyond 0, and in τ
    assert floor[edge].min() > height + 1, "the bound does not exceed the lowest value around the box"


@pytest.mark.claim("prop-box")
def test_no_stationary_point_lies_outside_the_box():
    """The same cells, all around 0 < μ < 10, 1/4 < σ < 5, over −15 ≤ μ ≤ 30 and −5 ≤ τ ≤ 4."""
    for low, high in [
        ([-15.0, -5.0], [0.0, 4.0]),
        ([10.0, -5.0], [30.0, 4.0]),
        ([0.0, -5.0], [10.0, math.log(1 / 4)]),
        ([0.0, math.log(5)], [10.0, 4.0]),
    ]:
        left = nowhere_flat(low, high)
        assert not len(left), f"∇f may be 0 near {left[:3]}"


@pytest.mark.claim("prop-box")
def test_exact_gradient_is_not_zero_far_from_the_box():
    """The inequalities of the proof: the identity for μ; τ's equation at σ ≤ ¼, ≥ 5; and μ ≥ 10 along ∂f/∂μ = 0."""
    std = np.exp(np.linspace(-12, 6, 1801))
    v = std**2
    decay = np.exp(-v / 2)
    # ∂f/∂μ = μ(1 + e cos μ) − 1 + e(1−v) sin μ, so that μ ≤ 0 makes it negative: |e(1−v)| < 1 < ∞
    mean = np.linspace(-500, 1000, 201)[:, None]
    theta = np.stack(np.broadcast_arrays(mean, np.log(std)), axis=-1)
    in_mean = mean * (1 + decay * np.cos(mean)) - 1 + decay * (1 - v) * np.sin(mean)
    got = gradient_estimators.exact_gradient(theta)
    assert_close(got[..., 0], in_mean, rtol=1e-9, atol=1e-9, what="the slope in μ")
    assert np.abs(decay * (1 - v)).max() < 1
    peak = optimize.minimize_scalar(lambda v: np.exp(-v / 2) * (1 - v), bounds=(1, 10), method="bounded")
    assert_close([peak.x, -peak.fun], [3.0, 2 * math.exp(-1.5)], rtol=1e-5, what="the lowest value of e(1−v)")
    assert (in_mean[mean[:, 0] <= 0] < 0).all()
    # σ ≤ ¼ or σ ≥ 5, and 0 < μ < 10: |F″| ≤ e (10 + |2 − v|)
    outside = (std <= 1 / 4) | (std >= 5)
    assert (v * decay * (np.abs(2 - v) + 10) < np.abs(1 - std))[outside].all()
    assert not (v * decay * (np.abs(2 - v) + 10) < np.abs(1 - std)).all()
    # μ ≥ 10: where ∂f/∂μ = 0, ∂f/∂τ is negative
    s = np.linspace(0, 1, 2001)
    assert (s * (2.252 * (1 + s) - 9 * s**2)).max() < (1 - std + 1.24 * v).min()
    many = np.concatenate([np.linspace(10, 60, 1501), np.linspace(1000, 1010, 301)])
    zeros = 0
    for m in many:
        values = m * (1 + decay * math.cos(m)) - 1 + decay * (1 - v) * math.sin(m)
        for i in np.flatnonzero(np.sign(values[1:]) != np.sign(values[:-1])):
            here = slope(np.array([[m, math.log(std[i])], [m, math.log(std[i + 1])]]))
            assert (here[:, 1] < -0.05).all(), (m, here)
            assert v[i] < 2 * math.log(5 / 4)
            zeros += 1
    assert zeros > 100, "the curve ∂f/∂μ = 0 was not met"


# The two identities


@pytest.mark.claim("prop-score-identity", kind="symbolic")
def test_scores_have_mean_zero():
    """E[∇ log q] = 0: a Gaussian in μ and τ, by sympy; a gamma in shape and scale, by quadrature; a softmax."""
    x, eps, mean, tau = sympy.symbols("x epsilon mu tau", real=True)
    std = sympy.exp(tau)
    log_q = -((x - mean) ** 2) / (2 * std**2) - tau
    for parameter, stated in [(mean, (x - mean) / std**2), (tau, (x - mean) ** 2 / std**2 - 1)]:
        got = sympy.diff(log_q, parameter)
        assert sympy.simplify(got - stated) == 0
        in_noise = sympy.simplify(got.subs(x, mean + std * eps)) * sympy.exp(-(eps**2) / 2)
        assert sympy.simplify(sympy.integrate(sympy.expand(in_noise), (eps, -sympy.oo, sympy.oo))) == 0
    for shape, scale in [(1.3, 0.4), (4.0, 2.0)]:
        q = stats.gamma(shape, scale=scale).pdf
        scores = [
            lambda x, k=shape, s=scale: np.log(x / s) - special.digamma(k),
            lambda x, k=shape, s=scale: x / s**2 - k / s,
        ]
        for one in scores:
            mean_score = integrate.quad(lambda x, one=one, q=q: one(x) * q(x), 0, np.inf, limit=200)[0]
            assert_close(mean_score, 0.0, atol=1e-7, what="the mean of a gamma's score")
    p = np.array([1, 2, 3, 5, 8]) / 19
    assert_close(p @ (np.eye(5) - p), np.zeros(5), atol=1e-15, what="the mean of a softmax's scores")


@pytest.mark.claim("prop-moving-support", kind="symbolic")
def test_the_score_of_a_moving_interval_is_not_centred():
    """U(0, θ): the score −1/θ has mean −1/θ, and d/dθ E h = E[h s] + h(θ)/θ, for five h, by sympy."""
    x, theta = sympy.symbols("x theta", positive=True)

    def mean(expression):
        return sympy.integrate(expression / theta, (x, 0, theta))

    s = sympy.diff(sympy.log(1 / theta), theta)
    assert sympy.simplify(mean(s) + 1 / theta) == 0
    for function in (sympy.Integer(1), x, x**3 - x, sympy.cos(x), x * sympy.sin(x)):
        edge = sympy.simplify(sympy.diff(mean(function), theta) - mean(function * s))
        assert sympy.simplify(edge - function.subs(x, theta) / theta) == 0, function
        assert edge != 0


@pytest.mark.claim("thm-log-derivative")
def test_exact_gradient_is_the_mean_of_the_wave_times_the_score():
    """E[x sin x ∇log q] by quadrature is ∇f without the slope of the rest, at thirteen θ."""
    theta = np.concatenate([PLACES, FAR[:3]])
    want, _ = by_quadrature(score_row, theta)
    got = gradient_estimators.exact_gradient(theta) - rest(theta)
    # 1e-14 of the largest values of (h) s, 1e5
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="∇f less the slope of the rest")


@pytest.mark.claim("thm-log-derivative", kind="symbolic")
def test_the_log_derivative_identity_for_polynomials_and_when_the_function_moves():
    """∇E[h] = E[h ∇log q] for x, x³, x⁴ − x under N(μ, e^{2τ}); where h holds θ, E[∇h] is to be added. And a gamma."""
    eps, mean, tau, x = sympy.symbols("epsilon mu tau x", real=True)

    def expect(polynomial):
        """E over ε ~ N(0, 1), term by term."""
        terms = sympy.Poly(sympy.expand(polynomial), eps).terms()
        return sum(c * (sympy.factorial2(k - 1) if k else 1) for (k,), c in terms if k % 2 == 0)

    std = sympy.exp(tau)
    scores = {mean: eps / std, tau: eps**2 - 1}
    for function in (x, x**3, x**4 - x, mean * x**2, tau * x + mean**2 * x**3):
        moved = function.subs(x, mean + std * eps)
        for parameter, s in scores.items():
            left = sympy.diff(expect(moved), parameter)
            extra = expect(sympy.diff(function, parameter).subs(x, mean + std * eps))
            assert sympy.simplify(left - expect(moved * s) - extra) == 0
            if not function.has(mean, tau):
                assert extra == 0
    for shape in (0.8, 3.0):  # E[x²] = k(k+1), whose slope is 2k + 1
        q = stats.gamma(shape).pdf
        got = integrate.quad(lambda x, k=shape, q=q: x**2 * (np.log(x) - special.digamma(k)) * q(x), 0, np.inf)[0]
        assert_close(got, 2 * shape + 1, rtol=1e-7, what="E[x² d/dk log q] of a gamma")


@pytest.mark.claim("prop-log-ratio", kind="symbolic")
def test_the_gradient_of_a_log_ratio():
    """∇E_q[log(h/q)] = E_q[(∇log q) log(h/q)] for h = exp(−x⁴/4 + x): the other term is 0, this one is not."""
    eps, mean, tau = sympy.symbols("epsilon mu tau", real=True)

    def expect(polynomial):
        terms = sympy.Poly(sympy.expand(polynomial), eps).terms()
        return sympy.expand(sum(c * (sympy.factorial2(k - 1) if k else 1) for (k,), c in terms if k % 2 == 0))

    std = sympy.exp(tau)
    x = mean + std * eps
    log_h = -(x**4) / 4 + x
    log_q = -(eps**2) / 2 - tau - sympy.log(2 * sympy.pi) / 2
    for parameter, s in {mean: eps / std, tau: eps**2 - 1}.items():
        whole = sympy.diff(expect(log_h - log_q), parameter)
        first, second = expect(s * (log_h - log_q)), expect(-s)
        assert second == 0
        assert sympy.simplify(whole - first) == 0
        assert sympy.simplify(first) != 0
        reverse = sympy.diff(expect(log_q - log_h), parameter)
        assert sympy.simplify(reverse + first) == 0
        assert sympy.simplify(reverse - first) != 0


@pytest.mark.claim("thm-reparameterised")
def test_exact_gradient_is_the_mean_of_the_moved_slope():
    """E[h′(x) (1, σε)] by quadrature is ∇f without the slope of the rest, at ten θ; and for e^{x/2}, in closed form."""
    theta = np.concatenate([PLACES, FAR[:3]])
    want, _ = by_quadrature(moved_row, theta)
    got = gradient_estimators.exact_gradient(theta) - rest(theta)
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="∇f less the slope of the rest")
    for mean, tau in PLACES:
        v = math.exp(2 * tau)
        x = mean + math.exp(tau) * NOISE
        got = [average(np.exp(x / 2) / 2), average(np.exp(x / 2) / 2 * math.exp(tau) * NOISE)]
        want = np.array([1 / 2, v / 4]) * math.exp(mean / 2 + v / 8)
        assert_close(got, want, rtol=1e-9, what="the slopes of E[e^{x/2}] = e^{μ/2 + σ²/8}")


@pytest.mark.claim("thm-reparameterised", kind="symbolic")
def test_the_reparameterised_identity_for_polynomials_and_not_for_a_step():
    """∇E[h] = E[h′(x)(1, σε)] for powers; for a step, h′ = 0 where it exists and the slope is the density at it."""
    eps, mean, tau = sympy.symbols("epsilon mu tau", real=True)

    def expect(polynomial):
        terms = sympy.Poly(sympy.expand(polynomial), eps).terms()
        return sum(c * (sympy.factorial2(k - 1) if k else 1) for (k,), c in terms if k % 2 == 0)

    std = sympy.exp(tau)
    x = mean + std * eps
    for power in range(1, 6):
        for parameter, way in {mean: 1, tau: std * eps}.items():
            left = sympy.diff(expect(x**power), parameter)
            assert sympy.simplify(left - expect(power * x ** (power - 1) * way)) == 0
    # P(x > 0) = Φ(μ/σ), of which the slope in μ at 0.3, σ = 1 is the density there, not E[0]
    assert stats.norm.pdf(0.3) > 0.38


# The score gradient, row by row


def nearest(rows, curve):
    """How far rows (m, 2) are from the curve ε → (2,), and the ε where they are nearest: a grid, and finer ones."""
    grid = np.linspace(-7, 7, 7001)
    away = np.square(rows[:, None, :] - curve(grid)).sum(axis=-1)
    inside = away[:, 1:-1]
    low = (inside <= away[:, :-2]) & (inside <= away[:, 2:])
    candidates = np.argsort(np.where(low, inside, np.inf), axis=1)[:, :5] + 1
    noise, width, zoom = grid[candidates], grid[1] - grid[0], np.linspace(-1, 1, 41)
    for _ in range(8):
        finer = noise[..., None] + width * zoom
        away = np.square(rows[:, None, None, :] - curve(finer)).sum(axis=-1)
        noise = np.take_along_axis(finer, away.argmin(axis=-1)[..., None], -1)[..., 0]
        width /= 20
    distance = np.sqrt(np.square(rows[:, None, :] - curve(noise)).sum(axis=-1))
    best = distance.argmin(axis=1)[:, None]
    return np.take_along_axis(distance, best, 1)[:, 0], np.take_along_axis(noise, best, 1)[:, 0]


def assert_rows(rows, curve, *, what, formula, mistakes):
    """Each of the rows (m, 2) is curve(ε) for some ε; if not, say of which mistake they are."""
    __tracebackhide__ = True
    rows = np.asarray(rows, dtype=float)
    assert np.isfinite(rows).all(), f"{what} has NaN or ∞ among its rows"
    bound = 1e-8 * (1 + np.abs(rows).max(axis=1))
    distance, _ = nearest(rows, curve)
    if (distance <= bound).all():
        return
    bad = int(np.argmax(distance / bound))
    lines = [f"{what}: {np.sum(distance > bound)} of {len(rows)} rows are not {formula} for any ε"]
    lines.append(f"row {bad} is {rows[bad]}, which is {distance[bad]:.3g} away from all of these")
    for sentence, other in mistakes.items():
        if (nearest(rows, other)[0] <= bound).all():
            lines.append(f"These rows are those of a known mistake: {sentence}")
    raise AssertionError("\n".join(lines))


SCORE = "(x sin x − b) ((x−μ)/σ², (x−μ)²/σ² − 1) + (μ−1, σ−1)"
MOVED = "(sin x + x cos x) (1, σε) + (μ−1, σ−1)"


def score_mistakes(theta, b):
    """Curves ε → (..., 2) of rows that people write for the score gradient; b (2,)."""
    mean, std = theta[0], math.exp(theta[1])
    others = rest(theta)

    def curve(first, second, minus=b, add=others, height=h):
        return lambda e: (height(mean + std * e)[..., None] - minus) * np.stack([first(e), second(e)], -1) + add

    def one(e):
        return e / std

    def two(e):
        return e**2 - 1

    f_height = lambda x: h(x) + (mean - 1) ** 2 / 2 + std - math.log(std)  # noqa: E731
    return {
        "the score of μ is (x−μ)/σ², and here it is (x−μ)/σ": curve(lambda e: e, two),
        "the score of μ is (x−μ)/σ², and here it is x−μ": curve(lambda e: std * e, two),
        "the score of τ is (x−μ)²/σ² − 1: here the −1 is missing": curve(one, lambda e: e**2),
        "this is the score in σ, where that in τ = log σ is asked for": curve(one, lambda e: two(e) / std),
        "the score of τ is (x−μ)²/σ² − 1, and here it is half of that, the score of log σ²": curve(
            one, lambda e: two(e) / 2
        ),
        "the score of τ is (x−μ)²/σ² − 1, and here σ stands for σ²": curve(one, lambda e: std * e**2 - 1),
        "the score's sign is reversed": curve(lambda e: -one(e), lambda e: -two(e)),
        "this is the way down: −∇f": lambda e: -curve(one, two)(e),
        "the baseline is ignored": curve(one, two, minus=np.zeros(2)),
        "the baseline is added, not subtracted": curve(one, two, minus=-b),
        "the baselines of the two coordinates are swapped": curve(one, two, minus=b[::-1]),
        "the first baseline is used for both coordinates": curve(one, two, minus=b[:1]),
        "the baseline is taken off after the score is multiplied: this moves the mean by −b": lambda e: (
            curve(one, two, minus=np.zeros(2))(e) - b
        ),
        "the slope of the rest, (μ−1, σ−1), is missing": curve(one, two, add=0 * others),
        "the slope of the rest, (μ−1, σ−1), is subtracted": curve(one, two, add=-others),
        "the slope of the rest in τ is σ − 1, and here it is its slope in σ, 1 − 1/σ": curve(
            one, two, add=np.array([mean - 1, 1 - 1 / std])
        ),
        "the whole of f is multiplied by the score; the rest depends on θ, and its slope is lost": curve(
            one, two, height=f_height, add=0 * others
        ),
        "the rest is multiplied by the score, and its slope added too: its variance is for nothing": curve(
            one, two, height=f_height
        ),
        "what is averaged is x sin x, and here it is sin x": curve(one, two, height=np.sin),
        "what is averaged is x sin x, and here it is x cos x": curve(one, two, height=lambda x: x * np.cos(x)),
        "this is the reparameterised gradient": moved_mistakes(theta)[""],
    }


def moved_mistakes(theta):
    """Curves ε → (..., 2) of rows that people write for the reparameterised gradient; "" is the right one."""
    mean, std = theta[0], math.exp(theta[1])
    others = rest(theta)

    def curve(way, add=others, derivative=h_slope):
        return lambda e: derivative(mean + std * e)[..., None] * np.stack([np.ones_like(e), way(e)], -1) + add

    def right(e):
        return std * e

    return {
        "": curve(right),
        "the chain rule for τ gives the factor σε, and here it is ε": curve(lambda e: e),
        "the chain rule for τ gives the factor σε, and here there is none": curve(np.ones_like),
        "the chain rule for τ gives the factor σε, and here it is σ²ε": curve(lambda e: std**2 * e),
        "the chain rule for τ gives the factor σε, and here it is x": curve(lambda e: mean + std * e),
        "the slope of x sin x is sin x + x cos x, and here it is x cos x": curve(
            right, derivative=lambda x: x * np.cos(x)
        ),
        "the slope of x sin x is sin x + x cos x, and here it is cos x": curve(right, derivative=np.cos),
        "the slope of x sin x is sin x + x cos x, and here it is sin x − x cos x": curve(
            right, derivative=lambda x: np.sin(x) - x * np.cos(x)
        ),
        "the slope of the rest, (μ−1, σ−1), is missing": curve(right, add=0 * others),
        "the slope of the rest, (μ−1, σ−1), is subtracted": curve(right, add=-others),
        "the slope of the rest in τ is σ − 1, and here it is its slope in σ, 1 − 1/σ": curve(
            right, add=np.array([mean - 1, 1 - 1 / std])
        ),
        "this is the way down: −∇f": lambda e: -curve(right)(e),
        "this is the score gradient": lambda e: score_row(e, theta) + others,
    }


def has_shape(got, shape, what):
    got = np.asarray(got, dtype=float)
    more = ": one row for each draw, not their mean" if got.shape == shape[1:] else ""
    assert got.shape == shape, f"{what} has shape {got.shape}, should have shape {shape}{more}"
    return got


@pytest.mark.parametrize("baseline", [0.0, 1.3, [0.7, -0.4]], ids=["none", "number", "pair"])
def test_score_gradient_has_the_right_rows(rng, baseline):
    """Each row is the formula at some ε, to rounding: a point of a curve in the plane; at two θ."""
    b = np.broadcast_to(np.asarray(baseline, dtype=float), (2,))
    given = baseline if np.ndim(baseline) == 0 else np.array(baseline)
    for theta in np.array([[-1.3, 0.4], [2.1, -0.7]]):
        rows = has_shape(gradient_estimators.score_gradient(rng, theta, 24, given), (24, 2), "score_gradient(..., 24)")
        assert_rows(
            rows,
            lambda e, theta=theta: score_row(e, theta, b) + rest(theta),
            what=f"score_gradient(rng, {theta}, 24, {baseline})",
            formula=SCORE,
            mistakes=score_mistakes(theta, b),
        )


def test_score_gradient_takes_many_places_at_once(rng):
    """θ (3, 2, 2): row (i, j) of each draw is the formula at θ[i, j], with a baseline for each θ and coordinate."""
    theta = np.concatenate([PLACES[:5], [[0.9, -1.1]]]).reshape(3, 2, 2)
    baseline = np.linspace(-2, 2, 12).reshape(3, 2, 2)
    for b in (0.0, baseline):
        rows = has_shape(
            gradient_estimators.score_gradient(rng, theta, 7, b), (7, 3, 2, 2), "score_gradient of θ (3, 2, 2)"
        )
        for place in np.ndindex(3, 2):
            here = np.broadcast_to(b, theta.shape)[place]
            assert_rows(
                rows[(slice(None), *place)],
                lambda e, place=place, here=here: score_row(e, theta[place], here) + rest(theta[place]),
                what=f"score_gradient at θ{list(place)} of (3, 2, 2)",
                formula=SCORE,
                mistakes=score_mistakes(theta[place], here),
            )


def test_reparameterised_gradient_has_the_right_rows(rng):
    """Each row is the formula at some ε, to rounding, at two θ; and at six of them at once."""
    for theta in np.array([[-1.3, 0.4], [2.1, -0.7]]):
        rows = gradient_estimators.reparameterised_gradient(rng, theta, 24)
        rows = has_shape(rows, (24, 2), "reparameterised_gradient(..., 24)")
        mistakes = moved_mistakes(theta)
        what = f"reparameterised_gradient(rng, {theta}, 24)"
        assert_rows(rows, mistakes.pop(""), what=what, formula=MOVED, mistakes=mistakes)
    theta = np.concatenate([PLACES[:5], [[0.9, -1.1]]]).reshape(3, 2, 2)
    rows = gradient_estimators.reparameterised_gradient(rng, theta, 7)
    rows = has_shape(rows, (7, 3, 2, 2), "reparameterised_gradient of θ (3, 2, 2)")
    for place in np.ndindex(3, 2):
        mistakes = moved_mistakes(theta[place])
        what = f"reparameterised_gradient at θ{list(place)} of (3, 2, 2)"
        assert_rows(rows[(slice(None), *place)], mistakes.pop(""), what=what, formula=MOVED, mistakes=mistakes)


def two_roots(rows, theta):
    """The two ε that  row_τ/row_μ = σ(ε² − 1)/ε  leaves, (..., 2)."""
    ratio = rows[..., 1] / (np.exp(theta[..., 1]) * rows[..., 0])
    root = np.sqrt(ratio**2 + 4)
    large = (ratio + np.copysign(root, ratio)) / 2  # the other without subtraction
    return np.stack([large, -1 / large], axis=-1)


def noise_of(name, rows, theta):
    """The ε of each row (..., 2), for the score gradient without a baseline or the reparameterised one."""
    rows = np.asarray(rows) - rest(theta)
    if name == "reparameterised_gradient":
        return rows[..., 1] / (np.exp(theta[..., 1]) * rows[..., 0])
    roots = two_roots(rows, theta)
    fits = np.abs(score_row(roots, theta[..., None, :])[..., 0] - rows[..., :1])
    return np.take_along_axis(roots, fits.argmin(axis=-1)[..., None], -1)[..., 0]


SAMPLERS = pytest.mark.parametrize("name", ["score_gradient", "reparameterised_gradient"])
ALL_SAMPLERS = pytest.mark.parametrize("name", ["score_gradient", "leave_one_out_gradient", "reparameterised_gradient"])


@SAMPLERS
def test_draws_follow_their_normal_law(rng, name):
    """ε, read off 8,000 rows, is N(0, 1); that of one θ is independent of the next θ's and of the next row's."""
    theta = np.array([[0.3, -0.8], [0.3, -0.8], [-1.1, 0.5]])
    std = math.exp(-0.8)
    rows = has_shape(getattr(gradient_estimators, name)(rng, theta, 8000), (8000, 3, 2), f"{name} at three θ")
    noise = noise_of(name, rows, theta)
    hints = {
        "x seems to be drawn with variance σ, standard deviation √σ": stats.norm(scale=std**-0.5).cdf,
        "x seems to be drawn with the variance σ² as its standard deviation": stats.norm(scale=std).cdf,
        "x seems to be drawn with standard deviation 1": stats.norm(scale=1 / std).cdf,
        "x seems to be drawn with τ as its standard deviation": stats.norm(scale=0.8 / std).cdf,
        "ε is uniform, not normal": stats.uniform(0, 1).cdf,
        "ε is never negative": stats.halfnorm.cdf,
    }
    assert_distribution(noise[:, 0], stats.norm.cdf, detects=0.06, hints=hints)
    assert_distribution(noise[:, 2], stats.norm.cdf, detects=0.06)
    shared = {"many θ share their draws, where each has its own": 1.0, "pairs of θ are mirrored": -1.0}
    assert_mean(noise[:, 0] * noise[:, 1], 0.0, detects=0.12, hints=shared)
    assert_mean(noise[:, 0] * noise[:, 2], 0.0, detects=0.12, hints=shared)
    rows_share = {"rows come in equal pairs": 1.0, "rows come in mirrored pairs": -1.0}
    assert_mean(noise[::2, 0] * noise[1::2, 0], 0.0, detects=0.15, hints=rows_share)
    assert_mean(noise[:4000, 0] * noise[4000:, 0], 0.0, detects=0.15, hints=rows_share)


# Each draw's baseline, made of the others


def left_out_rows(noise, theta, own=False):
    """(hᵢ − bᵢ) sᵢ for noise (..., n), with bᵢ the mean of the others, or of all."""
    heights = h(draw(noise, theta[..., None, :]))
    n = noise.shape[-1]
    level = heights.mean(axis=-1, keepdims=True) if own else (heights.sum(axis=-1, keepdims=True) - heights) / (n - 1)
    return (heights - level)[..., None] * score(noise, theta[..., None, :])


def left_out_choices(bare, theta):
    """Rows (m, n, 2) without the rest, θ (m, 2): the 2ⁿ ways to choose a root for each row, ε (m, 2ⁿ, n)."""
    n = bare.shape[1]
    roots = two_roots(bare, theta[:, None, :])
    return np.stack([roots[:, np.arange(n), which] for which in itertools.product([0, 1], repeat=n)], axis=1)


def left_out_noise(bare, theta, **kind):
    """The choice that fits best, ε (m, n), and how far its rows are from the given ones, relative to their size."""
    noise = left_out_choices(bare, theta)
    wide = np.broadcast_to(theta[:, None, :], (*noise.shape[:2], 2))
    rows = score_row(noise, wide[:, :, None, :]) if kind.get("none") else left_out_rows(noise, wide, **kind)
    away = np.abs(rows - bare[:, None]).max(axis=(-1, -2))
    best = away.argmin(axis=1)
    size = 1 + np.abs(bare).max(axis=(1, 2))
    return noise[np.arange(len(bare)), best], away.min(axis=1) / size


@pytest.mark.parametrize("n", [2, 3, 5])
def test_leave_one_out_gradient_has_the_right_rows(rng, n):
    """From row_τ/row_μ two ε are left for each draw; one of the 2ⁿ choices gives the n rows, at each of 12 θ."""
    theta = np.tile([[0.3, -0.5], [-1.4, 0.6], [2.2, 0.1], [0.8, -1.2]], (3, 1))
    rows = gradient_estimators.leave_one_out_gradient(rng, theta, n)
    rows = has_shape(rows, (n, 12, 2), f"leave_one_out_gradient(rng, θ (12, 2), {n})")
    assert np.isfinite(rows).all(), "leave_one_out_gradient has NaN or ∞ among its rows"

    def fits(sampled, **kind):
        with np.errstate(all="ignore"):
            return (left_out_noise(np.moveaxis(sampled, 0, 1), theta, **kind)[1] < 1e-6).all()

    others = rest(theta)
    if fits(rows - others):
        return
    mistakes = {
        "the draw itself is in its baseline: with hᵢ − h̄ the mean is (1 − 1/n)∇F, too small": fits(
            rows - others, own=True
        ),
        "there is no baseline at all: these are rows of score_gradient": fits(rows - others, none=True),
        "the slope of the rest, (μ−1, σ−1), is missing": fits(rows),
        "the slope of the rest, (μ−1, σ−1), is subtracted": fits(rows + others),
        "this is the way down: −∇f": fits(-rows - others),
        "every row is divided by n: to take their mean is left to the caller": fits(n * (rows - others)),
    }
    lines = ["leave_one_out_gradient: its rows are not (hᵢ − bᵢ)∇log q + (μ−1, σ−1) with bᵢ the mean of the other hⱼ"]
    raise AssertionError("\n".join(lines + [f"Hint: {hint}" for hint, true in mistakes.items() if true]))


def test_leave_one_out_gradient_draws_follow_their_normal_law(rng):
    """ε, read off 3,000 pairs of rows at each of two θ, is N(0, 1); those of a pair, and of two θ, are independent."""
    theta = np.tile([[0.3, -0.8], [-1.1, 0.5]], (3000, 1))
    rows = has_shape(gradient_estimators.leave_one_out_gradient(rng, theta, 2), (2, 6000, 2), "leave_one_out_gradient")
    noise, _ = left_out_noise(np.moveaxis(rows - rest(theta), 0, 1), theta)
    std = math.exp(-0.8)
    hints = {
        "x seems to be drawn with variance σ, standard deviation √σ": stats.norm(scale=std**-0.5).cdf,
        "x seems to be drawn with standard deviation 1": stats.norm(scale=1 / std).cdf,
    }
    assert_distribution(noise[::2].ravel(), stats.norm.cdf, detects=0.06, hints=hints)
    assert_distribution(noise[1::2].ravel(), stats.norm.cdf, detects=0.06)
    hints = {"the draws are mirrored in pairs": -1.0}
    assert_mean(noise[:, 0] * noise[:, 1], 0.0, detects=0.15, hints=hints)
    hints = {"many θ share their draws, where each has its own": 1.0}
    assert_mean(noise[::2, 0] * noise[1::2, 0], 0.0, detects=0.2, hints=hints)


@ALL_SAMPLERS
def test_draws_of_one_call_are_independent(rng, name):
    """Three draws at each of 4,000 θ: neither ε nor how large |ε| is says anything about the other two."""
    theta = np.tile([0.3, -0.8], (4000, 1))
    rows = has_shape(getattr(gradient_estimators, name)(rng, theta, 3), (3, 4000, 2), f"{name} at 4,000 θ")
    with np.errstate(all="ignore"):  # of wrong rows no ε can be read off
        if name == "leave_one_out_gradient":
            noise = left_out_noise(np.moveaxis(rows - rest(theta), 0, 1), theta)[0].T
        else:
            noise = noise_of(name, rows, theta)

    def products(values):
        """The mean of the products of two of three, one for each θ."""
        return (values.sum(axis=0) ** 2 - np.square(values).sum(axis=0)) / 6

    middles = 3 * -np.diff(stats.norm.pdf(stats.norm.ppf(np.arange(4) / 3)))  # of three slices of equal probability
    hints = {
        "the draws of a call are centred: their own mean is taken off": -1 / 3,
        "the draws of a call are centred and scaled: their own mean is taken off, and their variance is made 1": -1 / 2,
        "the draws of a call are stratified, one in each slice: their rows help each other": products(middles),
        "the draws of a call are the same one": 1.0,
    }
    assert_mean(products(noise), 0.0, detects=0.1, hints=hints)
    sizes_as_normal = stats.norm.ppf(np.clip(2 * stats.norm.cdf(np.abs(noise)) - 1, 1e-9, 1 - 1e-9))
    hints = {"the draws of a call have the same size: are they mirrored?": 1.0}
    assert_mean(products(sizes_as_normal), 0.0, detects=0.1, hints=hints)


@pytest.mark.claim("thm-same-sample")
def test_leave_one_out_gradient_is_unbiased(rng):
    """60,000 pairs of rows: their mean is ∇f, where the mean of the same sample would leave half of ∇F."""
    theta = np.array([-1.3, -1.0])
    rows = gradient_estimators.leave_one_out_gradient(rng, np.broadcast_to(theta, (60_000, 2)), 2)
    half = rest(theta) + wave_slope(theta) / 2
    half = {"the sample's own mean is the baseline: of ∇F the factor 1 − 1/n = ½ is left": half}
    rows = has_shape(rows, (2, 60_000, 2), "leave_one_out_gradient of 60,000 θ")
    assert_unbiased(rows.mean(axis=0), slope(theta), detects=0.1, hints=half)
    assert_unbiased(rows[1], slope(theta), detects=0.1, hints=half)


@pytest.mark.claim("thm-log-derivative")
def test_score_gradient_has_the_mean_and_the_variance_it_should(rng):
    """60,000 rows with a baseline of one's own: mean ∇f, and in μ, where tails are lighter, the variance too."""
    theta, b = np.array([0.9, -1.5]), np.array([0.5, 0.8])
    rows = gradient_estimators.score_gradient(rng, theta, 60_000, b)
    hints = {"the slope of the rest is lost": wave_slope(theta), "it is the way down": -slope(theta)}
    assert_unbiased(rows, slope(theta), detects=0.1, hints=hints)
    want, plain = (by_quadrature(score_row, theta, value)[1][0, 0] for value in (b, 0.0))
    assert_variance(rows[:, 0], want, detects=0.4, hints={"the baseline seems to be ignored": plain})


@pytest.mark.claim("thm-reparameterised")
def test_reparameterised_gradient_has_the_mean_and_the_variance_it_should(rng):
    """60,000 rows: mean ∇f, variances by quadrature."""
    theta = np.array([0.9, -1.5])
    rows = gradient_estimators.reparameterised_gradient(rng, theta, 60_000)
    _, covariance = by_quadrature(moved_row, theta)
    assert_unbiased(rows, slope(theta), detects=0.1, hints={"the slope of the rest is lost": wave_slope(theta)})
    for i in range(2):
        assert_variance(rows[:, i], covariance[i, i], detects=0.4)


def sample(name, seed, theta, n=6):
    """Rows of an estimator by its name."""
    source = np.random.default_rng(seed) if isinstance(seed, int) else seed
    return np.asarray(getattr(gradient_estimators, name)(source, theta, n))


@ALL_SAMPLERS
def test_estimators_answer_alike_to_one_seed(name):
    """E46. One seed, one answer; another seed, another; a second call, another; NumPy's global numbers untouched."""
    before, theta = global_state(), PLACES[:3]
    one, again, other = (sample(name, seed, theta) for seed in (1, 1, 2))
    assert_close(again, one, what=f"{name} from the same seed (is randomness taken from somewhere else?)")
    assert not np.isclose(other, one).any(), f"{name}: another seed gives the same rows; is a seed fixed inside?"
    source = np.random.default_rng(4)
    first, second = (sample(name, source, theta) for _ in range(2))
    assert not np.isclose(first, second).any(), f"{name}: a second call gave the same rows; is rng copied, or seeded?"
    assert np.array_equal(global_state(), before), f"{name}: the global generator was used; take all numbers from rng"


@ALL_SAMPLERS
def test_estimators_are_finite_far_out(rng, name):
    """σ from e^{−5} to e^5, μ up to 1e9: finite rows, at six θ at once and one by one; one row where one is enough."""
    theta = np.array([[0.4, -5.0], [1e6, 0.0], [-3.0, 5.0], [0.0, 0.0], [1e9, -1.0], [2.0, 100.0]])
    with np.errstate(all="ignore"):
        rows = sample(name, rng, theta, 4)
    has_shape(rows, (4, 6, 2), name)
    assert np.isfinite(rows).all(), f"{name} has NaN or ∞ among its rows at {theta[~np.isfinite(rows).all((0, 2))]}"
    least = 2 if name == "leave_one_out_gradient" else 1
    has_shape(sample(name, rng, theta[0], least), (least, 2), f"{name}(rng, θ, {least})")
    has_shape(sample(name, rng, theta[:1], least), (least, 1, 2), f"{name}(rng, θ (1, 2), {least})")


# Baselines, known before the draws or not


@pytest.mark.claim("prop-baseline")
def test_optimal_baseline_is_its_ratio_of_averages():
    """E[h s²]/E[s²] by quadrature for each coordinate, at thirteen θ."""
    theta = np.concatenate([PLACES, FAR])
    want = best_baseline(theta)
    gradient, mass = wave_slope(theta), np.stack([np.exp(-2 * theta[:, 1]), 2 + 0 * theta[:, 1]], axis=-1)
    mistakes = {
        "is this E[h], the mean of x sin x, for both coordinates?": np.stack([wave(0, theta)] * 2, axis=-1),
        "is it E[h s]/E[s²], without the square above: the slope?": gradient / mass,
        "is it E[h s²], not divided by E[s²]?": want * mass,
        "are the two coordinates swapped?": want[:, ::-1],
        "is it the baseline of μ for both coordinates?": want[:, [0, 0]],
        "is it the baseline of τ for both coordinates?": want[:, [1, 1]],
        "is its sign reversed, for a baseline that is added?": -want,
        "is h(μ) taken for a mean?": np.stack([h(theta[:, 0])] * 2, axis=-1),
        "is E[s²] of τ taken as 1, not 2?": want * [1.0, 2.0],
    }
    # 1e-13 of the largest values of h s², of which the mean is taken
    size = np.abs(want).max()
    got = gradient_estimators.optimal_baseline(theta)
    assert_close(got, want, rtol=1e-9, atol=1e-13 * size, what="optimal_baseline(theta)", mistakes=mistakes)


@pytest.mark.claim("prop-baseline")
@pytest.mark.parametrize("away", [-1.5, 0.0, 0.2, 10.0])
def test_score_variance_is_a_parabola_in_the_baseline(away):
    """Var((h−b)s) = Var((h−b*)s) + (b−b*)² E[s²], with E[s²] = 1/σ² and 2; the mean stays E[h s], by quadrature."""
    theta = PLACES
    best = gradient_estimators.optimal_baseline(theta)
    mass = np.stack([np.exp(-2 * theta[:, 1]), np.full(len(theta), 2.0)], axis=-1)
    want = gradient_estimators.score_variance(theta, best) + away**2 * mass
    got = gradient_estimators.score_variance(theta, best + away)
    assert_close(
        got, want, rtol=1e-8, what="score_variance(theta, b* + c) against score_variance(theta, b*) + c² E[s²]"
    )
    mean, covariance = by_quadrature(score_row, theta, best_baseline(theta) + away)
    plain, _ = by_quadrature(score_row, theta)
    assert_close(mean, plain, atol=1e-9, what="the mean of (h−b)s")
    assert_close(got, variances(covariance), rtol=1e-8, what="score_variance(theta, b* + c), by quadrature")


@pytest.mark.claim("thm-same-sample", kind="enumeration")
@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_mean_of_the_same_sample_shrinks_the_gradient(n):
    """All samples of n from three points of a softmax, in fractions: E = (1 − 1/n)∇F, and leaving one out is exact."""
    half = fractions.Fraction(1, 2)
    p = [half, half * half, half * half]
    heights = [fractions.Fraction(v) for v in (3, -1, 7)]
    total = sum(a * b for a, b in zip(p, heights, strict=True))
    for j in range(3):
        s = [int(k == j) - p[j] for k in range(3)]
        gradient = p[j] * (heights[j] - total)
        assert sum(w * v * z for w, v, z in zip(p, heights, s, strict=True)) == gradient
        same = left = covariance = fractions.Fraction(0)
        for points in itertools.product(range(3), repeat=n):
            weight = math.prod((p[k] for k in points), start=fractions.Fraction(1))
            mean = sum((heights[k] for k in points), start=fractions.Fraction(0)) / n
            score_mean = sum((s[k] for k in points), start=fractions.Fraction(0)) / n
            same += weight * sum((heights[k] - mean) * s[k] for k in points) / n
            covariance += weight * sum((heights[k] - mean) * (s[k] - score_mean) for k in points) / (n - 1)
            for i, k in enumerate(points):
                others = sum((heights[m] for a, m in enumerate(points) if a != i), start=fractions.Fraction(0)) / (
                    n - 1
                )
                assert heights[k] - others == (heights[k] - mean) * fractions.Fraction(n, n - 1)
                left += weight * (heights[k] - others) * s[k] / n
        assert same == (1 - fractions.Fraction(1, n)) * gradient
        assert left == covariance == gradient


# Exact variances


@pytest.mark.claim("lem-oscillating-moments", kind="symbolic")
def test_oscillating_moments_follow_their_recursion():
    """mₖ = E[εᵏ e^{iwε}], the k-th derivative of e^{−w²/2} over iᵏ, obeys mₖ₊₁ = iw mₖ + k mₖ₋₁; and by quadrature."""
    w = sympy.symbols("w", real=True)
    moments = [sympy.diff(sympy.exp(-(w**2) / 2), w, k) / sympy.I**k for k in range(9)]
    assert sympy.simplify(moments[1] - sympy.I * w * moments[0]) == 0
    for k in range(1, 8):
        assert sympy.simplify(moments[k + 1] - sympy.I * w * moments[k] - k * moments[k - 1]) == 0
    for k in range(9):
        for value in (0.0, 0.7, 3.1):
            got, want = average(NOISE**k * np.exp(1j * value * NOISE)), complex(moments[k].subs(w, value))
            assert_close([got.real, got.imag], [want.real, want.imag], atol=1e-10, what=f"m_{k}({value})")


@pytest.mark.claim("prop-exact-variances", kind="symbolic")
def test_squares_of_the_wave_and_of_its_slope():
    """h² = ½x²(1 − cos 2x) and h′² = ½(1+x²) + ½(x²−1) cos 2x + x sin 2x."""
    x = sympy.symbols("x", real=True)
    height = x * sympy.sin(x)
    assert sympy.simplify(sympy.expand_trig(height**2 - x**2 * (1 - sympy.cos(2 * x)) / 2)) == 0
    stated = (1 + x**2) / 2 + (x**2 - 1) * sympy.cos(2 * x) / 2 + x * sympy.sin(2 * x)
    assert sympy.simplify(sympy.expand_trig(sympy.diff(height, x) ** 2 - stated)) == 0


def pair(i, j, values):
    """A matrix (..., 2, 2) of 0 but for the symmetric entries i, j."""
    matrix = np.zeros((*np.shape(values), 2, 2))
    matrix[..., i, j] = matrix[..., j, i] = values
    return matrix


@pytest.mark.claim("prop-exact-variances")
@pytest.mark.parametrize("kind", ["none", "number", "pair", "each", "best"])
def test_score_covariance_and_score_variance_are_those_of_a_row(kind):
    """E[(h−bᵢ)(h−bⱼ)sᵢsⱼ] − ∂ᵢF∂ⱼF by the trapezoidal rule, at thirteen θ and five kinds of b; and its diagonal."""
    theta = np.concatenate([PLACES, FAR])
    best = best_baseline(theta)
    baseline = {"none": 0.0, "number": -1.7, "pair": np.array([0.4, 1.1]), "each": best + 0.3, "best": best}[kind]
    b = np.broadcast_to(baseline, theta.shape)
    _, want = by_quadrature(score_row, theta, b)
    std = np.exp(theta[:, 1])
    gradient = wave_slope(theta)
    means = gradient[:, :, None] * gradient[:, None, :]
    per_std = np.stack([np.ones_like(std), std], axis=-1)
    without_one = by_quadrature(
        lambda e, t: (h(draw(e, t))[..., None] - b) * np.stack([e / np.exp(t[..., 1]), e**2], -1), theta
    )[1]
    mistakes = {
        "is this the second moment, from which the square of the mean is not subtracted?": want + means,
        "is the square of the whole gradient subtracted, with the rest's slope, which is not sampled?": want
        + means
        - slope(theta)[:, :, None] * slope(theta)[:, None, :],
        "is the baseline ignored?": by_quadrature(score_row, theta)[1],
        "is the baseline added, not subtracted?": by_quadrature(score_row, theta, -b)[1],
        "are the baselines of the coordinates swapped?": by_quadrature(score_row, theta, b[:, ::-1])[1],
        "is this the covariance of the score in σ, where that in τ is asked for?": want
        / per_std[:, :, None]
        / per_std[:, None, :],
        "is the score of μ (x−μ)/σ, with σ for σ²?": want
        * np.stack([std, 1 + 0 * std], -1)[:, :, None]
        * np.stack([std, 1 + 0 * std], -1)[:, None, :],
        "is the −1 in the score of τ missing?": without_one,
        "are the entries off the diagonal missing?": want * np.eye(2),
        "is this the covariance of a reparameterised row?": by_quadrature(moved_row, theta)[1],
    }
    scale = np.sqrt(variances(want))
    scaled = {k: v / scale[:, :, None] / scale[:, None, :] for k, v in mistakes.items()}
    with np.errstate(all="ignore"):
        got = np.asarray(gradient_estimators.score_covariance(theta, baseline))
        diagonal = gradient_estimators.score_variance(theta, baseline)
    assert got.shape == want.shape, f"score_covariance has shape {got.shape}, should have shape {want.shape}"
    # In units of the two standard deviations, in which covariances are correlations; σ = 1/1000 is among these θ.
    assert_close(
        got / scale[:, :, None] / scale[:, None, :],
        want / scale[:, :, None] / scale[:, None, :],
        rtol=0,
        atol=1e-8,
        what="score_covariance(theta, baseline), over its standard deviations",
        mistakes=scaled,
    )
    wanted = {k: variances(v) for k, v in mistakes.items()} | {
        "is this the standard deviation, where the variance is asked for?": scale
    }
    assert_close(diagonal, scale**2, rtol=1e-8, what="score_variance(theta, baseline)", mistakes=wanted)


@pytest.mark.claim("prop-exact-variances")
def test_reparameterised_covariance_and_reparameterised_variance_are_those_of_a_row():
    """E[h′² wᵢwⱼ] − ∂ᵢF∂ⱼF with w = (1, σε) by the trapezoidal rule, at thirteen θ; and its diagonal."""
    theta = np.concatenate([PLACES, FAR])
    _, want = by_quadrature(moved_row, theta)
    gradient = wave_slope(theta)
    std = np.exp(theta[:, 1])
    per_std = np.stack([np.ones_like(std), std], axis=-1)

    def other(derivative):
        return by_quadrature(
            lambda e, t: derivative(draw(e, t))[..., None] * np.stack([np.ones_like(e), np.exp(t[..., 1]) * e], -1),
            theta,
        )[1]

    mistakes = {
        "is this the second moment, from which the square of the mean is not subtracted?": want
        + gradient[:, :, None] * gradient[:, None, :],
        "is the square of the whole gradient subtracted, with the rest's slope, which is not sampled?": want
        + gradient[:, :, None] * gradient[:, None, :]
        - slope(theta)[:, :, None] * slope(theta)[:, None, :],
        "is the factor σ of σε missing?": want / per_std[:, :, None] / per_std[:, None, :],
        "is the slope of x sin x taken as x cos x?": other(lambda x: x * np.cos(x)),
        "are the entries off the diagonal missing?": want * np.eye(2),
        "is this the covariance of a score row?": by_quadrature(score_row, theta)[1],
    }
    scale = np.sqrt(variances(want))
    scaled = {k: v / scale[:, :, None] / scale[:, None, :] for k, v in mistakes.items()}
    with np.errstate(all="ignore"):
        got = np.asarray(gradient_estimators.reparameterised_covariance(theta))
        diagonal = gradient_estimators.reparameterised_variance(theta)
    assert got.shape == want.shape, f"reparameterised_covariance has shape {got.shape}, should have shape {want.shape}"
    # In units of the two standard deviations; σ = 1/1000 is among these θ.
    assert_close(
        got / scale[:, :, None] / scale[:, None, :],
        want / scale[:, :, None] / scale[:, None, :],
        rtol=0,
        atol=1e-8,
        what="reparameterised_covariance(theta), over its standard deviations",
        mistakes=scaled,
    )
    wanted = {k: variances(v) for k, v in mistakes.items()} | {
        "is this the standard deviation, where the variance is asked for?": scale
    }
    assert_close(diagonal, scale**2, rtol=1e-8, what="reparameterised_variance(theta)", mistakes=wanted)


def test_score_variance_and_reparameterised_variance_at_the_three_points():
    """E44. At (0, 0), the local and the global minimum: neither estimator has the smaller variance everywhere."""
    points = gradient_estimators.stationary_points()
    table = {
        (0.0, 0.0): [1.838, 3.414, 0.367, 1.759, 1.0, 1.226],
        tuple(points[0]): [2.550, 2.820, 0.688, 0.628, 0.589, 0.243],
        tuple(points[2]): [1.631, 19.63, 1.520, 19.55, 3.231, 26.62],
    }
    for place, want in table.items():
        theta = np.array(place)
        got = [
            gradient_estimators.score_variance(theta),
            gradient_estimators.score_variance(theta, gradient_estimators.optimal_baseline(theta)),
            gradient_estimators.reparameterised_variance(theta),
        ]
        unit = np.where(np.array(want) > 10, 0.01, 0.001)  # to which they are rounded
        what = (
            f"the variances at {theta} of score, score with the best baseline, moved slope, in units of 1/1000, 1/100"
        )
        assert_close(np.concatenate(got) / unit, want / unit, rtol=0, atol=0.6, what=what)
    worse = gradient_estimators.score_variance(points[2]) < gradient_estimators.reparameterised_variance(points[2])
    assert worse.all()


@pytest.mark.claim("prop-narrow")
def test_score_variance_and_reparameterised_variance_keep_their_digits_where_narrow():
    """At σ = e^{−15} they are their limits as σ → 0 up to σ² = 1e-13: nothing may cancel."""
    mean = np.array([0.8, -2.3, 4.0])
    theta = np.stack([mean, np.full(3, -15.0)], axis=-1)
    std, level = math.exp(-15), h(mean)
    first, second = h_slope(mean), 2 * np.cos(mean) - h(mean)
    words = "where σ is tiny (is a square subtracted from a second moment of nearly its size? The digits cancel)"
    with np.errstate(all="ignore"):
        free = gradient_estimators.score_variance(theta, np.full(2, 0.3))
        best = gradient_estimators.score_variance(theta, np.stack([level, level], axis=-1))
        moved = gradient_estimators.reparameterised_variance(theta)
        baseline = gradient_estimators.optimal_baseline(theta)
        whole = gradient_estimators.score_covariance(theta, np.stack([level, level], axis=-1))
        moved_whole = gradient_estimators.reparameterised_covariance(theta)
    assert_close(variances(whole), best, rtol=1e-6, what=f"score_covariance, against score_variance, {words}")
    message = f"reparameterised_covariance, against reparameterised_variance, {words}"
    assert_close(variances(moved_whole), moved, rtol=1e-6, what=message)
    want = np.stack([(level - 0.3) ** 2 / std**2, 2 * (level - 0.3) ** 2], axis=-1)
    assert_close(free, want, rtol=1e-6, what=f"score_variance with a baseline off the best {words}")
    want = np.stack([2 * first**2, 10 * std**2 * first**2], axis=-1)
    assert_close(best, want, rtol=1e-6, what=f"score_variance with the best baseline {words}")
    want = np.stack([std**2 * second**2, std**2 * first**2], axis=-1)
    assert_close(moved, want, rtol=1e-6, what=f"reparameterised_variance {words}")
    assert_close(baseline, np.stack([level, level], axis=-1), rtol=1e-9, what="optimal_baseline where σ is tiny")


def test_score_covariance_and_reparameterised_covariance_are_finite_and_definite():
    """On a grid from μ = −1e9, τ = −100 to μ = 1e9, τ = 100: finite, symmetric, variances not negative, |corr| ≤ 1."""
    theta = np.stack(np.meshgrid([-1e9, -50.0, 0.0, 3.0, 1e9], [-100.0, -6.0, -0.7, 0.0, 4.0, 20.0, 100.0]), axis=-1)
    with np.errstate(all="ignore"):
        results = {
            "score_covariance": gradient_estimators.score_covariance(theta),
            "score_covariance with a baseline": gradient_estimators.score_covariance(theta, np.array([0.4, -2.0])),
            "reparameterised_covariance": gradient_estimators.reparameterised_covariance(theta),
        }
    for name, got in results.items():
        assert np.isfinite(got).all(), f"{name} is NaN or infinite at {theta[~np.isfinite(got).all((-1, -2))][:3]}"
        both = variances(got)
        assert (both >= 0).all(), f"{name} has negative variances: digits are cancelled"
        bound = np.sqrt(both[..., 0]) * np.sqrt(both[..., 1])
        gap = np.abs(got[..., 0, 1] - got[..., 1, 0])
        assert (gap <= 1e-8 * bound).all(), f"{name} is not symmetric"
        assert (np.abs(got[..., 0, 1]) <= bound * (1 + 1e-8)).all(), f"{name}: a correlation exceeds 1"


# Where each must win


@pytest.mark.claim("prop-straight-line", kind="symbolic")
def test_variances_for_a_straight_line():
    """h(x) = x: by moments of ε, (0, σ²) for the moved slope; with b: ((μ−b)²/σ² + 2, 2(μ−b)² + 10σ²); best b = μ."""
    eps, mean, b = sympy.symbols("epsilon mu b", real=True)
    std = sympy.symbols("sigma", positive=True)

    def expect(polynomial):
        terms = sympy.Poly(sympy.expand(polynomial), eps).terms()
        return sum(c * (sympy.factorial2(k - 1) if k else 1) for (k,), c in terms if k % 2 == 0)

    def variance(row):
        return sympy.simplify(expect(row**2) - expect(row) ** 2)

    assert variance(sympy.Integer(1) + 0 * eps) == 0
    assert sympy.simplify(variance(std * eps) - std**2) == 0
    in_mean, in_tau = ((mean + std * eps - b) * s for s in (eps / std, eps**2 - 1))
    assert sympy.simplify(variance(in_mean) - ((mean - b) ** 2 / std**2 + 2)) == 0
    assert sympy.simplify(variance(in_tau) - (2 * (mean - b) ** 2 + 10 * std**2)) == 0
    for s in (eps / std, eps**2 - 1):
        assert sympy.simplify(expect((mean + std * eps) * s**2) / expect(s**2) - mean) == 0


@pytest.mark.claim("thm-wave")
def test_variances_for_a_wave():
    """sin ωx: both second moments by the trapezoidal rule; which is the smaller; over a period, ωσ < 1 decides."""
    means_of_x = np.linspace(-2, 3, 23)
    for omega, std in itertools.product([0.3, 1.0, 2.5, 7.0], [0.2, 0.9, 1.1, 1.4]):
        u = omega * std
        c = np.cos(2 * omega * means_of_x)
        x = means_of_x + std * NOISE[:, None]
        by_score = average((np.sin(omega * x) * NOISE[:, None] / std) ** 2)
        by_path = average((omega * np.cos(omega * x)) ** 2)
        want = (1 - c * (1 - 4 * u**2) * np.exp(-2 * u**2)) / (2 * std**2)
        assert_close(by_score, want, rtol=1e-10, what="E[(sin ωx)² s²]")
        assert_close(by_path, omega**2 * (1 + c * np.exp(-2 * u**2)) / 2, rtol=1e-10, what="E[ω² cos² ωx]")
        means = average(np.sin(omega * x) * NOISE[:, None] / std), average(omega * np.cos(omega * x))
        assert_close(*means, atol=1e-10, what="the two means")
        smaller = by_path < by_score
        stated = u**2 - 1 < c * (3 * u**2 - 1) * np.exp(-2 * u**2)
        assert np.array_equal(smaller, stated), (omega, std)
        assert (by_score - means[0] ** 2 <= 1 / std**2).all()
        period = np.arange(64) * 2 * np.pi / omega / 64
        x = period + std * NOISE[:, None]
        gap = average((np.sin(omega * x) * NOISE[:, None] / std) ** 2 - (omega * np.cos(omega * x)) ** 2).mean()
        assert_close(gap, (1 - u**2) / (2 * std**2), rtol=1e-9, what="score − reparameterised, over a period")
        assert (gap > 0) == (omega * std < 1)
        tau = average((np.sin(omega * x) * (NOISE[:, None] ** 2 - 1)) ** 2).mean()
        moved = average((omega * np.cos(omega * x) * std * NOISE[:, None]) ** 2).mean()
        assert_close([tau, moved], [1.0, u**2 / 2], rtol=1e-9, what="both second moments in τ, over a period")
    x = 0.4 + 0.7 * np.linspace(-12, 12, 200_001)
    weight = np.exp(-(((x - 0.4) / 0.7) ** 2) / 2)
    omega = 300.0
    variance = weight @ (omega * np.cos(omega * x)) ** 2 / weight.sum()
    assert_close(variance, omega**2 / 2, rtol=1e-9, what="the reparameterised variance at ω = 300")


@pytest.mark.claim("prop-narrow", kind="symbolic")
def test_variances_where_the_bell_is_narrow():
    """h by its first four Taylor coefficients at μ: the leading power of σ in each variance, by sympy."""
    eps, b = sympy.symbols("epsilon b", real=True)
    std = sympy.symbols("sigma", positive=True)
    jet = sympy.symbols("h0:5", real=True)
    x = std * eps
    height = sum(c * x**k / sympy.factorial(k) for k, c in enumerate(jet))
    inclination = sum(c * x ** (k - 1) / sympy.factorial(k - 1) for k, c in enumerate(jet) if k)

    def expect(polynomial):
        terms = sympy.Poly(sympy.expand(polynomial), eps).terms()
        return sympy.expand(sum(c * (sympy.factorial2(k - 1) if k else 1) for (k,), c in terms if k % 2 == 0))

    def variance(row):
        return sympy.expand(expect(row**2) - expect(row) ** 2)

    def limit(expression):
        return sympy.expand(expression).subs(std, 0)

    h0, h1, h2 = jet[:3]
    scores = eps / std, eps**2 - 1
    assert sympy.expand(limit(std**2 * variance((height - b) * scores[0])) - (h0 - b) ** 2) == 0
    assert sympy.expand(limit(variance((height - b) * scores[1])) - 2 * (h0 - b) ** 2) == 0
    best = [expect(height * s**2) / expect(s**2) for s in scores]
    assert sympy.expand(limit(variance((height - sympy.expand(best[0])) * scores[0])) - 2 * h1**2) == 0
    in_tau = variance((height - sympy.expand(best[1])) * scores[1])
    assert sympy.expand(limit(in_tau / std**2) - 10 * h1**2) == 0
    assert sympy.expand(limit(variance(inclination) / std**2) - h2**2) == 0
    assert sympy.expand(limit(variance(inclination * std * eps) / std**2) - h1**2) == 0


@pytest.mark.claim("prop-narrow")
def test_score_variance_and_reparameterised_variance_approach_their_limits():
    """From τ = −4 to −5 the distances to the limits fall by e², within 5 %, as errors of order σ² do."""
    mean, b = 0.8, 1.7
    level, first, second = h(mean), h_slope(mean), 2 * np.cos(mean) - h(mean)
    gaps = []
    for tau in (-4.0, -5.0):
        theta, v = np.array([mean, tau]), math.exp(2 * tau)
        best = gradient_estimators.optimal_baseline(theta)
        got = [
            gradient_estimators.score_variance(theta, b) * [v, 1.0],
            gradient_estimators.score_variance(theta, best) / [1.0, v],
            gradient_estimators.reparameterised_variance(theta) / v,
        ]
        limits = [[(level - b) ** 2, 2 * (level - b) ** 2], [2 * first**2, 10 * first**2], [second**2, first**2]]
        gaps.append(np.array(got) - limits)
    assert_close(gaps[0] / gaps[1], np.full((3, 2), math.e**2), rtol=0.05, what="the falls of the distances")


# Down the hill


def go_down(start, rate, steps, decay=0.0):
    """The exact descent, written once more."""
    path = [np.array(start, dtype=float)]
    for t in range(steps):
        path.append(path[-1] - rate / (t + 1) ** decay * slope(path[-1]))
    return np.stack(path)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1])
def test_descend_follows_the_exact_slope(decay):
    """Fifty steps of θ ← θ − rate (t+1)^{−decay} ∇f from a place of one's own, written once more."""
    start, rate = np.array([-1.1, 0.7]), 0.07
    want = go_down(start, rate, 50, decay)
    late = [start]
    for t in range(50):
        late.append(late[-1] - rate / max(t, 1) ** decay * slope(late[-1]))
    in_std = [start]
    for t in range(50):
        in_std.append(in_std[-1] - rate / (t + 1) ** decay * slope(in_std[-1]) / [1.0, math.exp(in_std[-1][1])])
    uphill = [start]
    for t in range(50):
        with np.errstate(all="ignore"):
            uphill.append(uphill[-1] + rate / (t + 1) ** decay * slope(uphill[-1]))
    early = [start]
    for t in range(50):
        early.append(early[-1] - rate / (t + 2) ** decay * slope(early[-1]))
    mistakes = {
        "is it going up, not down?": uphill,
        "does the decay begin one step late?": late,
        "does the decay begin one step early?": early,
        "is the decay ignored?": go_down(start, rate, 50),
        "is the slope in σ taken for that in τ?": in_std,
        "is the start missing, and one step too many taken?": go_down(start, rate, 51, decay)[1:],
    }
    if decay == 0:
        for name in list(mistakes):
            if "decay" in name:
                del mistakes[name]
    got = np.asarray(gradient_estimators.descend(start, rate=rate, steps=50, decay=decay))
    if got.shape == (50, 2):
        raise AssertionError("the path has 50 rows, where 51 are asked for: the start is one of them")
    assert_close(
        got,
        want,
        rtol=1e-9,
        atol=1e-11,
        what=f"descend(start, rate={rate}, steps=50, decay={decay})",
        mistakes=mistakes,
    )


def test_descend_stops_short_of_the_local_minimum():
    """E42. From (0, 0) at 5e-4, 10,000 steps end at (μ, σ) = (.443821, .608870); to come within 1e-6 takes 28,381."""
    path = gradient_estimators.descend(np.zeros(2), rate=5e-4, steps=10_000)
    mean, tau = path[-1]
    mistakes = {"is this the local minimum itself, which 10,000 steps do not reach?": [0.4422974883, 0.6064950249]}
    what = "(μ, σ) after 10,000 steps"
    assert_close([mean, math.exp(tau)], [0.443821, 0.608870], rtol=0, atol=6e-7, what=what, mistakes=mistakes)
    there = gradient_estimators.stationary_points().local_minimum
    steps = 10_000
    while (
        math.hypot(mean - there[0], math.exp(tau) - math.exp(there[1])) > 1e-6 and steps < 40_000
    ):  # the same in floats
        v = math.exp(2 * tau)
        first = mean * math.cos(mean) + (1 - v) * math.sin(mean)
        second = (2 - v) * math.cos(mean) - mean * math.sin(mean)
        mean -= 5e-4 * (math.exp(-v / 2) * first + mean - 1)
        tau -= 5e-4 * (math.exp(-v / 2) * v * second + math.exp(tau) - 1)
        steps += 1
    assert abs(steps - 28_381) <= 1, f"within 1e-6 of the local minimum after {steps} steps, not after 28,381"


def test_descend_ends_in_the_valley_it_starts_in():
    """E43. From (0, 0) it finds the local minimum, from σ = 2 and 3 the global one; at the saddle it stays."""
    points = gradient_estimators.stationary_points()
    start = np.array([[0.0, 0.0], [0.0, math.log(2)], [2.0, math.log(3)], points.saddle])
    path = gradient_estimators.descend(start, rate=0.1, steps=600)
    want = np.stack([points.local_minimum, points.global_minimum, points.global_minimum])
    mistakes = {"does the first start also end in the global minimum?": np.stack([points.global_minimum] * 3)}
    assert_close(path[-1, :3], want, rtol=0, atol=1e-9, what="where three descents end", mistakes=mistakes)
    assert_close(path[10, 3], points.saddle, rtol=0, atol=1e-9, what="the descent from the saddle, after ten steps")


def test_descend_takes_many_starts_as_it_takes_one():
    """θ (2, 3, 2): each exact path is what its start alone gives, and the first row is the start."""
    start = np.concatenate([PLACES[:5], [[0.9, -1.1]]]).reshape(2, 3, 2)
    path = np.asarray(gradient_estimators.descend(start, rate=0.03, steps=12))
    assert path.shape == (13, 2, 3, 2), f"descend of starts (2, 3, 2) has shape {path.shape}, not (13, 2, 3, 2)"
    assert_close(path[0], start, what="the first row of the path (is it the start?)")
    assert_close(path, go_down(start, 0.03, 12), atol=1e-12, what="descend from six starts at once")
    for place in np.ndindex(2, 3):
        alone = gradient_estimators.descend(start[place], rate=0.03, steps=12)
        assert_close(alone, path[(slice(None), *place)], atol=1e-12, what="the same start, alone")
    assert_close(
        gradient_estimators.descend(start[0, 0], rate=1, steps=1)[1], start[0, 0] - slope(start[0, 0]), what="one step"
    )


KINDS = pytest.mark.parametrize("gradient", ["score", "reparameterised"])


def slopes_of(path, rate, decay=0.0):
    """The g of each step, from  θ ← θ − rate (t+1)^{−decay} g."""
    path = np.asarray(path)
    rates = rate * (np.arange(len(path) - 1) + 1.0) ** -decay
    return (path[:-1] - path[1:]) / rates.reshape(-1, *[1] * (path.ndim - 1))


@KINDS
@pytest.mark.parametrize("decay", [0.0, 0.8])
def test_descend_takes_rows_of_its_estimator(rng, gradient, decay):
    """With one draw a step, each step is a row of the estimator at the place it is taken from, at some ε."""
    start, rate, b = np.array([[0.5, 0.3], [-1.4, -0.6], [1.8, 0.6]]), 0.05, np.array([0.9, -0.5])
    more = {"baseline": b} if gradient == "score" else {}
    path = gradient_estimators.descend(
        start, rate=rate, steps=5, gradient=gradient, rng=rng, draws=1, decay=decay, **more
    )
    path = has_shape(path, (6, 3, 2), "descend(start (3, 2), steps=5)")
    got = slopes_of(path, rate, decay)
    still = slopes_of(path, rate)
    for t, i in np.ndindex(5, 3):
        theta = path[t, i]
        curve, formula = (
            (lambda e, theta=theta: score_row(e, theta, b) + rest(theta), SCORE)
            if gradient == "score"
            else (moved_mistakes(theta)[""], MOVED)
        )
        mistakes = score_mistakes(theta, b) if gradient == "score" else moved_mistakes(theta)
        mistakes.pop("", None)
        what = f"step {t} of descend with gradient={gradient!r}, decay={decay}, (θ − θ_next)/rate"
        if t and decay and nearest(still[t, i][None], curve)[0][0] < 1e-8:
            what += " (is the decay ignored?)"
        if nearest(-got[t, i][None], curve)[0][0] < 1e-8:
            what += " (is it going up, not down?)"
        assert_rows(got[t, i][None], curve, what=what, formula=formula, mistakes=mistakes)


@pytest.mark.parametrize("gradient", ["score", "leave_one_out", "reparameterised"])
def test_descend_averages_its_draws(rng, gradient):
    """The first step of 60,000 starts, with three draws: mean ∇f, and for μ a third of the variance of a row."""
    theta, rate, b = np.array([-1.3, -1.5]), 0.01, np.array([0.9, 1.2])
    more = {"baseline": b} if gradient == "score" else {}
    start = np.tile(theta, (60_000, 1))
    path = gradient_estimators.descend(start, rate=rate, steps=1, gradient=gradient, rng=rng, draws=3, **more)
    got = slopes_of(path, rate)[0]
    want, others = slope(theta), rest(theta)
    hints = {
        "the draws are added, not averaged": others + 3 * (want - others),
        "the rest is added once for each draw": want + 2 * others,
        "the slope of the rest is missing": want - others,
        "of ∇F the factor 1 − 1/n is left: the sample's own mean is the baseline": others + (want - others) * 2 / 3,
        "the descent goes up": -want,
    }
    assert_unbiased(got, want, detects=0.1, hints=hints)
    if gradient == "leave_one_out":
        return
    row, extra = (score_row, [b]) if gradient == "score" else (moved_row, [])
    variance = by_quadrature(row, theta, *extra)[1][0, 0] / 3
    hints = {
        "one draw is taken, where three are asked for": 3 * variance,
        "the baseline is ignored": by_quadrature(score_row, theta)[1][0, 0] / 3,
    }
    assert_variance(got[:, 0], variance, detects=0.4, hints=hints)


def test_descend_leaves_one_out_among_the_draws_of_a_step(rng):
    """The first step of 60,000 starts, with two draws: in μ the variance of their sample covariance of h and score.

    The mean of the rows is the sample covariance of h and s, whose variance for two draws is, with central moments,
    ½ (μ₂₂ + μ₂₀μ₀₂): that it is smaller or larger with another baseline tells them apart where their means do not.
    """
    theta, rate = np.array([-1.3, -1.5]), 0.01
    path = gradient_estimators.descend(
        np.tile(theta, (60_000, 1)), rate=rate, steps=1, gradient="leave_one_out", rng=rng, draws=2
    )
    heights, first = h(draw(NOISE, theta)), score(NOISE, theta)[:, 0]
    centred = heights - average(heights)
    want = (average(centred**2 * first**2) + average(centred**2) * average(first**2)) / 2
    plain, best = (by_quadrature(score_row, theta, b)[1][0, 0] / 2 for b in (0.0, best_baseline(theta)))
    hints = {
        "no draw has a baseline: these are steps of gradient='score'": plain,
        "the baseline is not made of the other draws of the same start: it is nearly the best there is": best,
        "the baseline is E[h], known before the draws": by_quadrature(score_row, theta, average(heights))[1][0, 0] / 2,
    }
    assert_variance(slopes_of(path, rate)[0][:, 0], want, detects=0.3, hints=hints)


@pytest.mark.parametrize("gradient", ["exact", "leave_one_out", "reparameterised"])
def test_descend_has_a_baseline_for_the_score_alone(gradient):
    """Given with another gradient, a baseline changes nothing; nor does an rng given with the exact gradient."""

    def run(**more):
        source = np.random.default_rng(1)
        return gradient_estimators.descend(
            PLACES[:3], rate=0.01, steps=3, gradient=gradient, rng=source, draws=2, **more
        )

    plain = run()
    for baseline in (3.0, np.array([0.4, -7.0])):
        what = f"descend with gradient={gradient!r} and baseline={baseline}, which is for 'score' alone,"
        assert_close(run(baseline=baseline), plain, atol=1e-11, what=what)
    if gradient == "exact":
        alone = gradient_estimators.descend(PLACES[:3], rate=0.01, steps=3)
        assert_close(plain, alone, what="descend with the exact gradient and an rng, which it does not need,")


def test_descend_draws_anew_for_each_start_and_step(rng):
    """ε, read off two reparameterised steps of 6,000 starts: independent from step to step and start to start."""
    start = np.tile([0.7, -0.2], (6000, 1))
    path = gradient_estimators.descend(start, rate=1e-3, steps=2, gradient="reparameterised", rng=rng)
    noise = noise_of("reparameterised_gradient", slopes_of(path, 1e-3), np.asarray(path)[:-1])
    hints = {"every start, or every step, has the same draws": 1.0, "draws are mirrored": -1.0}
    assert_mean(noise[0] * noise[1], 0.0, detects=0.15, hints=hints)
    assert_mean(noise[0, ::2] * noise[0, 1::2], 0.0, detects=0.2, hints=hints)
    assert_mean(noise[0, :3000] * noise[0, 3000:], 0.0, detects=0.2, hints=hints)
    assert_distribution(noise[1], stats.norm.cdf, detects=0.06)


@pytest.mark.parametrize("gradient", ["score", "leave_one_out", "reparameterised"])
def test_descend_answers_alike_to_one_seed(gradient):
    """E46. One seed, one path; another seed or a second call, another; NumPy's global numbers untouched."""
    before, start = global_state(), PLACES[:3].copy()

    def run(source):
        source = np.random.default_rng(source) if isinstance(source, int) else source
        return gradient_estimators.descend(start, rate=0.01, steps=4, gradient=gradient, rng=source, draws=2)

    one, again, other = run(1), run(1), run(2)
    assert_close(again, one, what="the path from the same seed (is randomness taken from somewhere else?)")
    assert not np.isclose(one[1:], other[1:], rtol=1e-12).all(axis=-1).any(), "another seed gives the same path"
    source = np.random.default_rng(1)
    assert not np.isclose(run(source)[1:], run(source)[1:], rtol=1e-12).all(axis=-1).any(), (
        "a second call gave the same path: is rng copied, or seeded anew?"
    )
    assert np.array_equal(global_state(), before), "the global generator was used; take all numbers from rng"


def test_descend_takes_a_baseline_for_each_start(rng):
    """For starts (2, 2) a baseline (2, 2) has a number for each start and coordinate, (2,) for each coordinate."""
    start = np.array([[0.5, 0.3], [1.4, -0.6]])
    for baseline in (np.array([[0.9, -0.5], [2.0, 3.0]]), np.array([0.9, -0.5]), 1.1):
        path = gradient_estimators.descend(start, rate=0.01, steps=3, gradient="score", rng=rng, baseline=baseline)
        got = slopes_of(path, 0.01)
        for t, i in np.ndindex(3, 2):
            theta, b = path[t, i], np.broadcast_to(baseline, (2, 2))[i]
            assert_rows(
                got[t, i][None],
                lambda e, theta=theta, b=b: score_row(e, theta, b) + rest(theta),
                what=f"step {t} of descend with baseline={baseline}",
                formula=SCORE,
                mistakes=score_mistakes(theta, b),
            )


def test_descend_says_that_it_has_run_away(rng):
    """Rates of 50 and 1e6, and a start whose noise is huge: an OverflowError that names the rate, no NaN."""
    for rate in (50.0, 1e6):
        with pytest.raises(OverflowError, match="rate") as error, np.errstate(all="ignore"):
            gradient_estimators.descend(np.array([3.0, 1.0]), rate=rate, steps=60)
        assert f"{rate:g}" in str(error.value) or str(rate) in str(error.value), f"{error.value} does not show {rate}"
    with pytest.raises(OverflowError, match="rate"), np.errstate(all="ignore"):
        gradient_estimators.descend(np.array([[0.0, 0.0], [3.0, 6.0]]), rate=20.0, steps=50, gradient="score", rng=rng)
    with pytest.raises(OverflowError, match="rate"), np.errstate(all="ignore"):  # |μ| > 1e9, and only just
        gradient_estimators.descend(np.array([-9e8, 0.0]), rate=2.5, steps=1)


# The cloud of a settled descent


def random_problem(rng, d):
    """A Hessian with eigenvalues between ½ and 4, and a noise of one's own, of rank d − 1 where d > 1."""
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    values = rng.uniform(0.5, 4.0, d)
    factor = rng.standard_normal((d, max(d - 1, 1)))
    return (basis * values) @ basis.T, factor @ factor.T, values


@pytest.mark.claim("thm-settled-cloud")
@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.47])
def test_stationary_covariance_is_kept_by_a_step(rng, d, rate):
    """Σ = (I−αH) Σ (I−αH) + α²C, the only one by Kronecker products, also with scipy; in the eigenbasis; H at fault."""
    bend, noise, _ = random_problem(rng, d)
    step = np.eye(d) - rate * bend
    want = np.linalg.solve(np.eye(d * d) - np.kron(step, step), rate**2 * noise.ravel()).reshape(d, d)
    assert_close(linalg.solve_discrete_lyapunov(step, rate**2 * noise), want, rtol=1e-7, atol=1e-12, what="scipy's")
    first_order = linalg.solve_continuous_lyapunov(bend, rate * noise)
    values, turn = np.linalg.eigh(bend)
    inner = rate * (turn.T @ noise @ turn) / (values[:, None] + values - rate * np.multiply.outer(values, values))
    assert_close(turn @ inner @ turn.T, want, rtol=1e-7, atol=1e-12, what="αC_ij/(λ_i + λ_j − αλ_iλ_j)")
    mistakes = {
        "is this the first order in α, HΣ + ΣH = αC, without the term α²HΣH?": first_order,
        "is it αC H⁻¹/2, as if C and H had the same axes and α were small?": rate / 2 * noise @ np.linalg.inv(bend),
        "is α taken for α²: are the noises too large?": want / rate,
        "is the noise α⁴C: a variance taken for a standard deviation?": want * rate**2,
        "is this one step's noise, α²C?": rate**2 * noise,
        "is this H⁻¹CH⁻¹, the limit for an average?": np.linalg.inv(bend) @ noise @ np.linalg.inv(bend),
        "is I − αH used once, where it stands on both sides?": np.linalg.solve(rate * bend, rate**2 * noise),
        "are only the diagonal entries right: is the noise turned into H's axes, and its mixed terms dropped?": (
            turn * np.diag(inner)
        )
        @ turn.T,
    }
    got = gradient_estimators.stationary_covariance(bend, noise, rate=rate)
    scale = 1e-9 * np.abs(want).max()
    assert_close(got, want, rtol=0, atol=scale, what=f"stationary_covariance(H, C, rate={rate})", mistakes=mistakes)
    kept = step @ got @ step + rate**2 * noise
    assert_close(kept, got, rtol=0, atol=scale, what="Σ after one more step")


@pytest.mark.claim("thm-settled-cloud")
def test_descents_settle_in_the_stationary_covariance(rng):
    """30,000 runs of δ ← δ − α(Hδ + ξ) with noise that is not normal: after 40 steps mean 0, covariance Σ."""
    bend, noise, rate = np.array([[2.0, 0.6], [0.6, 1.0]]), np.array([[1.0, 0.5], [0.5, 2.0]]), 0.4
    factor = np.linalg.cholesky(noise)
    delta = np.tile([3.0, -5.0], (30_000, 1))
    for _ in range(40):
        xi = rng.choice([-1.0, 1.0], size=delta.shape) @ factor.T
        delta = delta - rate * (delta @ bend + xi)
    want = gradient_estimators.stationary_covariance(bend, noise, rate=rate)
    left = np.linalg.matrix_power(np.eye(2) - rate * bend, 40) @ [3.0, -5.0]
    assert_unbiased(delta, left, detects=0.05)
    assert np.abs(left).max() < 1e-3
    for direction in ([1.0, 0.0], [0.0, 1.0], [0.6, 0.8]):
        variance = np.array(direction) @ want @ direction
        first = np.array(direction) @ linalg.solve_continuous_lyapunov(bend, rate * noise) @ direction
        hints = {"this is the first order in α only": first}
        assert_variance(delta @ direction, variance, detects=0.1, hints=hints)


@pytest.mark.claim("thm-averaged-descent")
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_average_covariance_is_that_of_the_mean_of_a_path(rng, d, steps):
    """Each ξ's weight in (δ₁ + ... + δ_T)/T, followed through the recursion: their squares add up; and the start's."""
    bend, noise, _ = random_problem(rng, d)
    rate = 0.35
    step, inverse = np.eye(d) - rate * bend, np.linalg.inv(bend)
    want = np.zeros((d, d))
    for born in range(steps):  # ξ enters with −α, and is then multiplied by I − αH
        effect, total = -rate * np.eye(d), np.zeros((d, d))
        for _ in range(born, steps):
            total, effect = total + effect, step @ effect
        want += total @ noise @ total.T / steps**2
    powers = [np.linalg.matrix_power(step, m) for m in range(1, steps + 1)]
    gone = [(np.eye(d) - power) @ inverse for power in powers]
    assert_close(sum(g @ noise @ g.T for g in gone) / steps**2, want, rtol=1e-8, atol=1e-13, what="the stated sum")
    start = rng.standard_normal(d)
    mean = sum(power @ start for power in powers) / steps
    stated = step @ (np.eye(d) - powers[-1]) @ inverse @ start / (rate * steps)
    assert_close(stated, mean, rtol=1e-8, atol=1e-12, what="the mean of the average, from δ₀")
    limit = inverse @ noise @ inverse
    settled = gradient_estimators.stationary_covariance(bend, noise, rate=rate)
    with_start = [np.eye(d) * 0, *gone][:steps]
    mistakes = {
        "is this the limit H⁻¹CH⁻¹/T, from where the path is settled?": limit / steps,
        "is it Σ/T, as if the steps of a path were independent?": settled / steps,
        "is it Σ, the covariance of a single step?": settled,
        "is it T times the covariance?": want * steps,
        "is the start among the T places averaged?": sum(g @ noise @ g.T for g in with_start) / steps**2,
        "is it averaged over T + 1 places, the start among them?": want * (steps / (steps + 1)) ** 2,
    }
    got = gradient_estimators.average_covariance(bend, noise, rate=rate, steps=steps)
    scale = 1e-9 * np.abs(want).max()
    assert_close(got, want, rtol=0, atol=scale, what=f"average_covariance(H, C, steps={steps})", mistakes=mistakes)


@pytest.mark.parametrize("rate", [1e-10, 1e-6, 1e-3, 0.4, 0.6, 1.9])
@pytest.mark.parametrize("steps", [1, 3, 100])
def test_average_covariance_keeps_its_digits_at_any_rate(rate, steps):
    """In fractions, H = C = 1: α²/T² Σₘ (1 + a + ... + a^{m−1})²; at small rates 1 − aᵐ would cancel."""
    shrink, total, walked = 1 - fractions.Fraction(rate), fractions.Fraction(0), fractions.Fraction(0)
    for _ in range(steps):
        walked = 1 + shrink * walked
        total += walked**2
    want = float(fractions.Fraction(rate) ** 2 * total / steps**2)
    got = gradient_estimators.average_covariance(np.eye(1), np.eye(1), rate=rate, steps=steps)
    assert_close(got, [[want]], rtol=1e-9, what=f"average_covariance, rate {rate}, {steps} steps")
    settled = gradient_estimators.stationary_covariance(np.eye(1), np.eye(1), rate=rate)
    assert_close(
        settled, [[float(fractions.Fraction(rate) ** 2 / (1 - shrink**2))]], rtol=1e-12, what=f"at a rate of {rate}"
    )


@pytest.mark.claim("thm-averaged-descent")
@pytest.mark.parametrize("rate", [0.05, 0.3, 0.6])
def test_average_covariance_forgets_the_rate(rate):
    """T Cov is H⁻¹CH⁻¹ to within 1/T times the sum of what is missing, for three rates, at T = 10⁵ and 10³."""
    bend, noise = np.array([[2.0, 0.6], [0.6, 1.0]]), np.array([[1.0, 0.5], [0.5, 2.0]])
    inverse = np.linalg.inv(bend)
    limit = inverse @ noise @ inverse
    largest = 1 / (1 - np.abs(1 - rate * np.linalg.eigvalsh(bend)).max())  # Σ|a|ᵐ
    for steps in (10**3, 10**5):
        got = steps * gradient_estimators.average_covariance(bend, noise, rate=rate, steps=steps)
        assert_close(
            got, limit, rtol=0, atol=3 * largest * np.linalg.norm(limit, 2) / steps, what="T times the covariance"
        )
        gap = steps * (got - limit)
        assert np.abs(gap).max() > 1e-3, "T Cov − H⁻¹CH⁻¹ is not of the order 1/T: is the limit returned?"


# Arguments of any kind


def at(theta, name, **more):
    """A function of θ called at θ, those that draw with the same seed each time."""
    function = getattr(gradient_estimators, name)
    if name == "descend":
        return function(theta, rate=0.01, steps=3, gradient="score", rng=np.random.default_rng(3), **more)
    if name in ("score_gradient", "leave_one_out_gradient", "reparameterised_gradient"):
        return function(np.random.default_rng(3), theta, 4, **more)
    return function(theta, **more)


OF_THETA = [
    "objective",
    "exact_gradient",
    "hessian",
    "score_gradient",
    "leave_one_out_gradient",
    "reparameterised_gradient",
    "optimal_baseline",
    "score_covariance",
    "score_variance",
    "reparameterised_covariance",
    "reparameterised_variance",
    "descend",
]
ENDS = {
    "objective": (),
    "hessian": (2, 2),
    "score_covariance": (2, 2),
    "reparameterised_covariance": (2, 2),
}


@pytest.mark.parametrize("name", OF_THETA)
def test_arrays_of_any_kind_are_taken_and_left_alone(name):
    """Integer, read-only, strided, reversed and single-precision θ give what plain floats give; none is changed."""
    plain = np.array([[0.0, 0.0], [2.0, -1.0], [-1.0, 1.0], [3.0, -2.0]])
    kept = plain.copy()
    want = np.array(at(plain, name), dtype=float)
    assert np.array_equal(plain, kept), f"{name} changes its argument theta: copy it"
    frozen = plain.copy()
    frozen.flags.writeable = False
    wide = np.zeros((8, 4))
    wide[::2, ::2] = plain
    kinds = {
        "integers": plain.astype(int),
        "read-only": frozen,
        "strided": wide[::2, ::2],
        "reversed twice": plain[::-1].copy()[::-1],
        "Fortran order": np.asfortranarray(plain),
        "float32": plain.astype(np.float32),
    }
    for kind, theta in kinds.items():
        got = at(theta, name)
        assert_close(got, want, rtol=1e-12, atol=1e-13, what=f"{name} of {kind} θ (are they made float64 first?)")
    plain += 0.5
    assert not np.allclose(at(plain, name), want), (
        f"{name}: theta was changed between two calls, the result is the old one"
    )


@pytest.mark.parametrize("name", OF_THETA)
def test_many_places_at_once_keep_their_order_and_shape(name):
    """θ (2, 3, 2), (1, 2), (2,) and (0, 2): the answer's shape follows, and what does not draw agrees one by one."""
    theta = np.concatenate([PLACES[:5], [[0.9, -1.1]]]).reshape(2, 3, 2)
    drawn = {"descend": (4,)}.get(name, (4,) if name.endswith("_gradient") and name != "exact_gradient" else ())
    end = ENDS.get(name, (2,))
    for shape in [(2, 3), (1,), (), (0,)]:
        places = theta[:0, 0] if shape == (0,) else theta[tuple([0] * (2 - len(shape)))][: shape[0] if shape else None]
        places = places[0] if shape == () and places.ndim > 1 else places
        got = np.asarray(at(places, name))
        want = (*drawn, *shape, *end)
        assert got.shape == want, f"{name} of θ {places.shape} has shape {got.shape}, should have shape {want}"
    if drawn:
        return
    together = np.asarray(at(theta, name))
    for place in np.ndindex(2, 3):
        assert_close(at(theta[place], name), together[place], rtol=1e-11, atol=1e-13, what=f"{name} at one θ of many")


@pytest.mark.parametrize("name", ["score_gradient", "score_covariance", "score_variance", "descend"])
def test_baselines_of_any_kind_are_taken_and_left_alone(name):
    """Integers, read-only and single-precision arrays, NumPy's own numbers; 0 is none; a pair is for coordinates."""
    theta = PLACES[:3]
    whole = np.array([1.0, -2.0])
    want = np.array(at(theta, name, baseline=whole))
    frozen = whole.copy()
    frozen.flags.writeable = False
    for b in (whole.astype(int), frozen, whole.astype(np.float32), np.tile(whole, (3, 1))):
        assert_close(
            at(theta, name, baseline=b), want, rtol=1e-12, what=f"{name} with a baseline of {b.dtype}, {b.shape}"
        )
    assert np.array_equal(whole, [1.0, -2.0]), f"{name} changes its argument baseline"
    two = [at(theta[:2], name, baseline=b) for b in (whole, np.tile(whole, (2, 1)))]
    assert_close(*two, what=f"{name} of two θ with a pair as baseline, one for each coordinate, not for each θ")
    assert_close(at(theta, name, baseline=0), at(theta, name), what=f"{name} with baseline=0")
    one = at(theta, name, baseline=np.array([2.0, 2.0]))
    for number in (2, 2.0, np.float64(2.0), np.float32(2.0)):
        assert_close(at(theta, name, baseline=number), one, what=f"{name} with baseline={number!r}")


def test_descend_leaves_its_start_alone():
    """The path is an array of its own: to write into its first row does not change the start."""
    start = np.array([[0.3, 0.1], [1.0, -0.4]])
    path = gradient_estimators.descend(start, rate=0.1, steps=2)
    path[:] = 9.0
    assert_close(start, [[0.3, 0.1], [1.0, -0.4]], what="start, after someone wrote into the path")
    whole = np.array([[0, 0], [2, -1]])
    got = gradient_estimators.descend(whole, rate=0.1, steps=2)
    assert_close(got, go_down(whole, 0.1, 2), atol=1e-12, what="the exact descent from a start of integers")
    assert_close(whole, [[0, 0], [2, -1]], what="a start of integers, after the call")


@pytest.mark.parametrize("name", ["stationary_covariance", "average_covariance"])
def test_matrices_of_any_kind_are_taken_and_left_alone(name):
    """Integer, read-only, Fortran-ordered and single-precision H and C; in one dimension a plain formula."""
    function = getattr(gradient_estimators, name)
    more = {"steps": 9} if name == "average_covariance" else {}
    bend, noise = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([[2.0, 1.0], [1.0, 5.0]])
    want = np.array(function(bend, noise, rate=0.2, **more))
    assert_close(bend, [[3, 1], [1, 2]], what="hessian, after the call")
    assert_close(noise, [[2, 1], [1, 5]], what="noise, after the call")
    frozen = bend.copy()
    frozen.flags.writeable = False
    for kind in (frozen, bend.astype(int), np.asfortranarray(bend), bend.astype(np.float32)):
        assert_close(
            function(kind, noise, rate=0.2, **more),
            want,
            rtol=1e-12,
            what=f"{name} with H of {kind.dtype} (is it made float64 first?)",
        )
    for kind in (noise.astype(int), noise.astype(np.float32)):
        assert_close(
            function(bend, kind, rate=0.2, **more),
            want,
            rtol=1e-12,
            what=f"{name} with C of {kind.dtype} (is it made float64 first?)",
        )
    assert_close(function(bend, 2 * noise, rate=0.2, **more), 2 * want, what=f"{name} with twice the noise")
    assert_close(function(bend, 0 * noise, rate=0.2, **more), 0 * want, what=f"{name} without noise")
    assert_close(function(np.eye(1), np.eye(1), rate=1, **more), [[1 / more.get("steps", 1)]], what=f"{name} at αH = 1")
    bend += np.eye(2)
    assert not np.allclose(function(bend, noise, rate=0.2, **more), want), (
        f"{name}: H changed, the result is the old one"
    )


# What is refused


def refused(name, argument, bad, value=None, **changes):
    """`name`, called with good arguments but for one, raises a ValueError that names it."""
    theta = np.array([[0.3, 0.1], [1.0, -0.4]])
    matrices = {"hessian": np.array([[2.0, 0.5], [0.5, 1.0]]), "noise": np.eye(2), "rate": 0.1}
    good = {
        "descend": {"start": theta, "rate": 0.1, "steps": 2, "gradient": "exact"},
        "stationary_covariance": matrices,
        "average_covariance": matrices | {"steps": 5},
    }.get(name, {"theta": theta})
    if name in ("score_gradient", "leave_one_out_gradient", "reparameterised_gradient"):
        good = good | {"n": 3}

    def call(**arguments):
        if name.endswith("_gradient") and name != "exact_gradient":
            arguments["rng"] = np.random.default_rng(1)
        return getattr(gradient_estimators, name)(**arguments)

    call.__name__ = name
    given = good | changes | {argument: bad}
    assert_refused(call, **given, argument=argument, value=bad if value is None else value)


@pytest.mark.parametrize("name", OF_THETA)
def test_functions_refuse_bad_theta(name):
    """θ of other shapes, NaN and ∞ among them, |τ| > 100 and |μ| > 1e9 raise a ValueError that names θ."""
    argument = "start" if name == "descend" else "theta"
    for bad, value in [(np.zeros(3), 3), (np.zeros((4, 1)), 1), (np.float64(0.7), argument), (np.zeros((2, 5)), 5)]:
        refused(name, argument, bad, value)
    for value in (NAN, INF, -INF):
        refused(name, argument, np.array([[0.0, 0.0], [1.0, value]]), value)
        refused(name, argument, np.array([value, 0.0]), value)
    for bad, value in [([0.0, 101.0], 101), ([0.0, -200.0], 200), ([2e9, 0.0], 2e9), ([-3e12, 1.0], 3e12)]:
        try:
            refused(name, argument, np.array(bad), value)
        except AssertionError as error:
            if "which should mention" not in str(error):
                raise
            refused(name, argument, np.array(bad), -value)


@ALL_SAMPLERS
def test_estimators_refuse_bad_numbers_of_draws(name):
    """n = 0, −1, 2.5, 3.0, True (and 1, where one is to be left out) raise a ValueError that names n."""
    for bad in [0, -1, 2.5, 3.0, True] + [1] * (name == "leave_one_out_gradient"):
        refused(name, "n", bad)


@pytest.mark.parametrize("name", ["score_gradient", "score_covariance", "score_variance", "descend"])
def test_functions_refuse_bad_baselines(name):
    """Baselines of other shapes, NaN and ∞, raise a ValueError that names baseline."""
    more = {"gradient": "score", "rng": np.random.default_rng(1)} if name == "descend" else {}
    for bad, value in [(np.zeros(3), 3), (np.zeros((5, 2)), 5), (np.zeros((2, 1)), 1), (np.zeros((4, 2, 2)), 4)]:
        refused(name, "baseline", bad, value, **more)
    for value in (NAN, INF):
        refused(name, "baseline", value, **more)
        refused(name, "baseline", np.array([0.0, value]), value, **more)


def test_descend_refuses_bad_arguments():
    """Rates, steps, gradients, draws, decays that make no sense, and a missing rng: a ValueError that names it."""
    for bad in (0.0, -0.1, NAN, INF):
        refused("descend", "rate", bad)
    for bad in (0, -3, 2.5, 2.0, True):
        refused("descend", "steps", bad)
    for bad in ("newton", "Exact", ""):
        refused("descend", "gradient", bad, "gradient")
    for gradient in ("score", "leave_one_out", "reparameterised"):
        refused("descend", "rng", None, "rng", gradient=gradient, draws=2)
        for bad in (0, -1, 1.5, True):
            refused("descend", "draws", bad, gradient=gradient, rng=np.random.default_rng(1))
    refused("descend", "draws", 1, gradient="leave_one_out", rng=np.random.default_rng(1))
    for bad in (-0.1, 1.1, NAN):
        refused("descend", "decay", bad)


@pytest.mark.parametrize("name", ["stationary_covariance", "average_covariance"])
def test_clouds_refuse_bad_arguments(name):
    """H not symmetric or not positive definite, C no covariance, of another shape, NaN; rates from 2/λ on, or 0."""
    for bad in (
        [[2.0, 0.5], [0.1, 1.0]],
        [[1.0, 2.0], [2.0, 1.0]],
        [[1.0, 0.0], [0.0, 0.0]],
        [[-1.0, 0.0], [0.0, 2.0]],
    ):
        refused(name, "hessian", np.array(bad), "hessian")
    refused(name, "hessian", np.ones((2, 3)), 3)
    refused(name, "noise", np.eye(3), 3)
    for bad in ([[1.0, 0.5], [0.1, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[-1.0, 0.0], [0.0, 2.0]]):
        refused(name, "noise", np.array(bad), "noise")
    refused(name, "noise", np.array([[1.0, 0.0], [0.0, NAN]]), NAN)
    for bad in (0.0, -0.1, NAN, INF):
        refused(name, "rate", bad)
    for bad in (0.5, 0.51, 3.0):  # the largest eigenvalue is 4
        refused(name, "rate", bad, hessian=np.diag([1.0, 4.0]))


def test_average_covariance_refuses_bad_steps():
    """0, −1, 2.5, 3.0 and True raise a ValueError that names steps."""
    for bad in (0, -1, 2.5, 3.0, True):
        refused("average_covariance", "steps", bad)
