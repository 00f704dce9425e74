"""The slope of an average over a law that moves: two estimators, and their variances.

The average is over x = μ + σε with ε ~ N(0, 1) and θ = (μ, τ), σ = eᵗ, t = τ. What is
to be made small is  f(θ) = E[x sin x] + (μ−1)²/2 + σ − log σ.  Only E[x sin x] is ever
sampled. Arrays of shape (..., 2) hold many θ; sampled gradients stand along the first
axis, a row for each draw.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray

from solutions import checks
from solutions.checks import Number, Numbers

GRADIENTS = ("exact", "score", "leave_one_out", "reparameterised")
FARTHEST = (1e9, 100.0)  # |μ| and |τ|: within, no result here overflows

# Below this σ the closed forms of the variances subtract nearly equal numbers, and a
# quadrature, whose error is below rounding there, does not.
_NARROW = 0.5
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(48)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


class StationaryPoints(NamedTuple):
    """The three θ at which the gradient of f is zero."""

    local_minimum: Float[ndarray, "2"]
    saddle: Float[ndarray, "2"]
    global_minimum: Float[ndarray, "2"]


def objective(theta: Real[ndarray, "*batch 2"]) -> Numbers:
    """Return  f(θ) = e^{−σ²/2} (μ sin μ + σ² cos μ) + (μ−1)²/2 + σ − τ.

    Args:
        theta: (μ, τ), or many of them, along the last axis.
    """
    mean, tau = _coordinates(theta)
    return (_wave(mean, tau, 0) + (mean - 1) ** 2 / 2 + np.exp(tau) - tau)[()]


def exact_gradient(theta: Real[ndarray, "*batch 2"]) -> Float[ndarray, "*batch 2"]:
    """Return  ∇f(θ) = (F′ + μ − 1, σ² F″ + σ − 1),  where F = E[x sin x].

    Primes are derivatives in μ:  F⁽ᵏ⁾ = e^{−σ²/2} (μ sin φ + (σ²−k) cos φ)  with
    φ = μ + kπ/2. The slope in τ comes from the heat equation  ∂F/∂(σ²) = ½ F″.

    Args:
        theta: (μ, τ), or many of them, along the last axis.
    """
    _coordinates(theta)
    theta = np.asarray(theta, dtype=float)
    return _wave_gradient(theta) + _rest_gradient(theta)


def hessian(theta: Real[ndarray, "*batch 2"]) -> Float[ndarray, "*batch 2 2"]:
    """Return the second derivatives of f,  F″ + 1,  σ² F‴  (twice)  and
    2σ² F″ + σ⁴ F⁗ + σ,  in the order of θ = (μ, τ), with the F⁽ᵏ⁾ of `exact_gradient`.

    Args:
        theta: (μ, τ), or many of them, along the last axis.
    """
    mean, tau = _coordinates(theta)
    second, third, fourth = (_wave(mean, tau, order) for order in (2, 3, 4))
    variance = _clipped_variance(tau)
    mixed = variance * third
    in_tau = 2 * variance * second + variance**2 * fourth + np.exp(tau)
    rows = [np.stack([second + 1, mixed], -1), np.stack([mixed, in_tau], -1)]
    return np.stack(rows, axis=-2)


def stationary_points() -> StationaryPoints:
    """Return the two minima of f and the saddle between them, by Newton's method:
    θ ← θ − (∇²f)⁻¹ ∇f,  from near each, until nothing changes but the last digits.
    """
    theta = np.array([[0.44, -0.5], [0.86, 0.16], [1.37, 0.67]])
    for _ in range(8):
        slope = exact_gradient(theta)[..., None]
        theta = theta - np.linalg.solve(hessian(theta), slope)[..., 0]
    return StationaryPoints(*theta)


def score_gradient(
    rng: np.random.Generator,
    theta: Real[ndarray, "*batch 2"],
    n: int,
    baseline: Number | Real[ndarray, "*_"] = 0.0,
) -> Float[ndarray, "n *batch 2"]:
    """Return  (x sin x − b) ∇log q(x; θ) + (μ − 1, σ − 1)  for n draws x ~ N(μ, σ²).

    The score is  ∇log q = ((x−μ)/σ², (x−μ)²/σ² − 1).  Every row has the mean ∇f(θ).

    Args:
        rng: the source of randomness.
        theta: (μ, τ), or many of them, along the last axis.
        n: how many draws; each of many θ gets its own.
        baseline: b, a number, or one for each coordinate, known before the draws.

    Reference: Williams (1992), Simple statistical gradient-following algorithms for
    connectionist reinforcement learning.
    """
    _coordinates(theta)
    checks.counting_number(n=n)
    baseline = _baseline(baseline, theta)
    theta = np.asarray(theta, dtype=float)
    noise = rng.standard_normal((n, *theta.shape[:-1]))
    return _score_rows(noise, theta, baseline) + _rest_gradient(theta)


def leave_one_out_gradient(
    rng: np.random.Generator, theta: Real[ndarray, "*batch 2"], n: int
) -> Float[ndarray, "n *batch 2"]:
    """Return  (hᵢ − bᵢ) ∇log q(xᵢ; θ) + (μ − 1, σ − 1),  where hᵢ = xᵢ sin xᵢ and
    bᵢ is the mean of the other hⱼ, so that  hᵢ − bᵢ = (hᵢ − h̄) n/(n−1).

    Every row has the mean ∇f(θ), but the rows of one call are not independent.

    Args:
        rng: the source of randomness.
        theta: (μ, τ), or many of them, along the last axis.
        n: how many draws, at least two.

    Reference: Kool, van Hoof and Welling (2019), Buy 4 REINFORCE samples, get a
    baseline for free!
    """
    _coordinates(theta)
    _check_draws("n", n, 2)
    theta = np.asarray(theta, dtype=float)
    noise = rng.standard_normal((n, *theta.shape[:-1]))
    return _leave_one_out_rows(noise, theta) + _rest_gradient(theta)


def reparameterised_gradient(
    rng: np.random.Generator, theta: Real[ndarray, "*batch 2"], n: int
) -> Float[ndarray, "n *batch 2"]:
    """Return  (sin x + x cos x) (1, σε) + (μ − 1, σ − 1)  for n draws of ε ~ N(0, 1).

    Here  x = μ + σε,  whose derivatives in μ and τ are 1 and σε. Every row has the mean
    ∇f(θ).

    Args:
        rng: the source of randomness.
        theta: (μ, τ), or many of them, along the last axis.
        n: how many draws; each of many θ gets its own.

    Reference: Kingma and Welling (2014), Auto-encoding variational Bayes.
    """
    _coordinates(theta)
    checks.counting_number(n=n)
    theta = np.asarray(theta, dtype=float)
    noise = rng.standard_normal((n, *theta.shape[:-1]))
    return _reparameterised_rows(noise, theta) + _rest_gradient(theta)


def optimal_baseline(theta: Real[ndarray, "*batch 2"]) -> Float[ndarray, "*batch 2"]:
    """Return  b = E[h s²] / E[s²]  for each coordinate s of the score;  h = x sin x.

    With it, the score gradient has the smallest variance that a constant can give it.

    Args:
        theta: (μ, τ), or many of them, along the last axis.
    """
    mean, tau = _coordinates(theta)
    x = [mean, np.exp(tau)]
    squares = [[0.0, 0.0, 1.0], [1.0, 0.0, -2.0, 0.0, 1.0]]  # ε² and (ε²−1)²
    best = [
        _expectation(_product(x, square), x, 1).imag / mass
        for square, mass in zip(squares, (1.0, 2.0), strict=True)
    ]
    return np.stack(best, axis=-1)


def score_covariance(
    theta: Real[ndarray, "*batch 2"], baseline: Number | Real[ndarray, "*_"] = 0.0
) -> Float[ndarray, "*batch 2 2"]:
    """Return  E[(h−bᵢ)(h−bⱼ) sᵢsⱼ] − ∂ᵢF ∂ⱼF,  the covariance of one row of
    `score_gradient`, exactly.

    As  h² = ½x² (1 − cos 2x),  everything is a mean of a polynomial in ε times
    e^{iωx}. For σ < ½ it comes from a quadrature instead, which is as exact there.

    Args:
        theta: (μ, τ), or many of them, along the last axis.
        baseline: b, a number, or one for each coordinate.
    """
    mean, tau = _coordinates(theta)
    b = _baseline(baseline, theta)
    theta = np.asarray(theta, dtype=float)
    x = [mean, np.exp(tau)]
    scores = [[0.0, np.exp(-tau)], [-1.0, 0.0, 1.0]]

    def second_moment(i, j):
        both = _product(scores[i], scores[j])
        squared = _product(_product(x, x), both)
        h_squared = (_expectation(squared, x, 0) - _expectation(squared, x, 2)).real / 2
        h = _expectation(_product(x, both), x, 1).imag
        one = _expectation(both, x, 0).real
        return h_squared - (b[..., i] + b[..., j]) * h + b[..., i] * b[..., j] * one

    rows = _score_rows(_nodes(theta), theta, b)
    return _covariance(theta, second_moment, rows)


def score_variance(
    theta: Real[ndarray, "*batch 2"], baseline: Number | Real[ndarray, "*_"] = 0.0
) -> Float[ndarray, "*batch 2"]:
    """Return  E[(h−bᵢ)² sᵢ²] − (∂ᵢF)²,  the variances of one row of `score_gradient`.

    Args:
        theta: (μ, τ), or many of them, along the last axis.
        baseline: b, a number, or one for each coordinate.
    """
    return _diagonal(score_covariance(theta, baseline))


def reparameterised_covariance(
    theta: Real[ndarray, "*batch 2"],
) -> Float[ndarray, "*batch 2 2"]:
    """Return  E[h′² wᵢwⱼ] − ∂ᵢF ∂ⱼF  with w = (1, σε), the covariance of one row of
    `reparameterised_gradient`, exactly.

    Here  h′² = (sin x + x cos x)² = ½ (1 + x²) + ½ (x²−1) cos 2x + x sin 2x.  For σ < ½
    it comes from a quadrature instead, which is as exact there.

    Args:
        theta: (μ, τ), or many of them, along the last axis.
    """
    mean, tau = _coordinates(theta)
    theta = np.asarray(theta, dtype=float)
    x = [mean, np.exp(tau)]
    slopes = [[1.0], [0.0, np.exp(tau)]]

    def second_moment(i, j):
        both = _product(slopes[i], slopes[j])
        once, twice = _product(x, both), _product(_product(x, x), both)
        level = _expectation(both, x, 0) + _expectation(twice, x, 0)
        wave = _expectation(twice, x, 2) - _expectation(both, x, 2)
        return (level + wave).real / 2 + _expectation(once, x, 2).imag

    rows = _reparameterised_rows(_nodes(theta), theta)
    return _covariance(theta, second_moment, rows)


def reparameterised_variance(
    theta: Real[ndarray, "*batch 2"],
) -> Float[ndarray, "*batch 2"]:
    """Return  E[h′² wᵢ²] − (∂ᵢF)²,  the variances of one row of
    `reparameterised_gradient`;  w = (1, σε).

    Args:
        theta: (μ, τ), or many of them, along the last axis.
    """
    return _diagonal(reparameterised_covariance(theta))


def descend(
    start: Real[ndarray, "*batch 2"],
    *,
    rate: Number,
    steps: int,
    gradient: str = "exact",
    rng: np.random.Generator | None = None,
    draws: int = 1,
    baseline: Number | Real[ndarray, "*_"] = 0.0,
    decay: Number = 0.0,
) -> Float[ndarray, "steps_and_one *batch 2"]:
    """Return the path of  θ ← θ − rate (t+1)^{−decay} g,  t = 0, 1, ..., steps − 1.

    It begins with its start. Here g is ∇f(θ), or the mean of so many draws of one of
    its estimators.

    Args:
        start: (μ, τ), or many of them, along the last axis, each of which goes its way.
        rate: the size of the first step, positive.
        steps: how many steps.
        gradient: "exact", "score", "leave_one_out" or "reparameterised".
        rng: the source of randomness, for all but the exact gradient.
        draws: how many draws go into a step; leave-one-out needs two.
        baseline: for "score": a number, or one for each coordinate.
        decay: between 0 (the rate stays as it is) and 1.

    A path on which |μ| exceeds 10⁹ or |τ| exceeds 100 raises an OverflowError.
    """
    _coordinates(start, name="start")
    checks.of_shape((), rate=rate, decay=decay)
    checks.positive(rate=rate)
    checks.counting_number(steps=steps)
    checks.one_of(GRADIENTS, gradient=gradient)
    _check_draws("draws", draws, 2 if gradient == "leave_one_out" else 1)
    checks.fraction(decay=decay)
    baseline = _baseline(baseline, start)
    if rng is None and gradient != "exact":
        raise ValueError(f"rng must be given for the gradient {gradient!r}, got None")

    theta = np.array(start, dtype=float)
    path = np.empty((steps + 1, *theta.shape))
    path[0] = theta
    for step in range(steps):
        if gradient == "exact":
            slope = _wave_gradient(theta)
        else:
            noise = rng.standard_normal((draws, *theta.shape[:-1]))
            if gradient == "score":
                rows = _score_rows(noise, theta, baseline)
            elif gradient == "leave_one_out":
                rows = _leave_one_out_rows(noise, theta)
            else:
                rows = _reparameterised_rows(noise, theta)
            slope = rows.mean(axis=0)
        slope = slope + _rest_gradient(theta)
        theta = theta - rate * (step + 1.0) ** -decay * slope
        if not (np.abs(theta) <= FARTHEST).all():
            raise OverflowError(
                f"the descent left the numbers at step {step + 1}: "
                f"a rate of {rate} is too large here"
            )
        path[step + 1] = theta
    return path


def stationary_covariance(
    hessian: Real[ndarray, "d d"], noise: Real[ndarray, "d d"], *, rate: Number
) -> Float[ndarray, "d d"]:
    """Return the Σ with  Σ = (I−αH) Σ (I−αH) + α²C,  where a descent settles.

    It is  δ ← δ − α(Hδ + ξ)  with independent noise ξ of mean 0 and covariance C. In
    the eigenvectors of H the entries of Σ are  α² Cᵢⱼ / (1 − aᵢaⱼ),  a = 1 − αλ.

    Args:
        hessian: H, symmetric and positive definite.
        noise: C, the covariance of the noise in one step: if that takes the mean of n
            draws, the covariance of a draw over n. It may be 0.
        rate: α, below 2/λ for the largest eigenvalue λ of H.
    """
    curvature, turn, noise = _modes(hessian, noise, rate)
    # α²/(1 − aᵢaⱼ), without the 1s that cancel where the rate is small
    pairs = np.add.outer(curvature, curvature)
    lost = pairs - rate * np.multiply.outer(curvature, curvature)
    return turn @ (rate * noise / lost) @ turn.T


def average_covariance(
    hessian: Real[ndarray, "d d"],
    noise: Real[ndarray, "d d"],
    *,
    rate: Number,
    steps: int,
) -> Float[ndarray, "d d"]:
    """Return the covariance of  (δ₁ + ... + δ_N) / N,  which N times tends to H⁻¹CH⁻¹.

    The descent is  δ ← δ − α(Hδ + ξ)  from a fixed δ₀. In the eigenvectors of H the
    entries are  Cᵢⱼ / (λᵢλⱼN²) · Σₖ (1−aᵢᵏ)(1−aⱼᵏ),  k = 1..N,  a = 1 − αλ.

    Args:
        hessian, noise, rate: H, C and α, as for `stationary_covariance`.
        steps: N, how many steps are averaged; the start is not among them.

    Reference: Polyak and Juditsky (1992), Acceleration of stochastic approximation by
    averaging.
    """
    checks.counting_number(steps=steps)
    curvature, turn, noise = _modes(hessian, noise, rate)
    times, step = np.arange(1, steps + 1)[:, None], rate * curvature
    slow = np.log1p(-np.minimum(step, 0.5))  # for a near 1, where 1 − aᵏ would cancel
    gone = np.where(step < 0.5, -np.expm1(times * slow), 1 - (1 - step) ** times)
    weights = gone.T @ gone / float(steps) ** 2
    return turn @ (weights * noise / np.multiply.outer(curvature, curvature)) @ turn.T


def _wave(mean, tau, order):
    """F⁽ᵏ⁾, the k-th derivative in μ of E[x sin x]."""
    variance = _clipped_variance(tau)
    turned = [(np.sin, np.cos), (np.cos, lambda u: -np.sin(u))][order % 2]
    sign = (-1) ** (order // 2)
    sine, cosine = (sign * function(mean) for function in turned)
    return np.exp(-variance / 2) * (mean * sine + (variance - order) * cosine)


def _clipped_variance(tau):
    """σ², or 10⁴ if it is more: there e^{−σ²/2} is 0, and so is all it multiplies."""
    return np.minimum(np.exp(2 * tau), 1e4)


def _wave_gradient(theta):
    """∇F = (F′, σ² F″)."""
    mean, tau = theta[..., 0], theta[..., 1]
    in_tau = _clipped_variance(tau) * _wave(mean, tau, 2)
    return np.stack([_wave(mean, tau, 1), in_tau], axis=-1)


def _rest_gradient(theta):
    """The slope of (μ−1)²/2 + σ − τ, which nobody needs to sample."""
    return np.stack([theta[..., 0] - 1, np.expm1(theta[..., 1])], axis=-1)


def _score_rows(noise, theta, baseline):
    """(h − b) ∇log q, for noise ε (n, ...) and θ (..., 2)."""
    std = np.exp(theta[..., 1])
    x = theta[..., 0] + std * noise
    score = np.stack([noise / std, noise**2 - 1], axis=-1)
    return ((x * np.sin(x))[..., None] - baseline) * score


def _leave_one_out_rows(noise, theta):
    x = theta[..., 0] + np.exp(theta[..., 1]) * noise
    h = x * np.sin(x)
    n = len(noise)
    others = (h.sum(axis=0) - h) / (n - 1)
    return _score_rows(noise, theta, others[..., None])


def _reparameterised_rows(noise, theta):
    """h′(x) (1, σε), for noise ε (n, ...) and θ (..., 2)."""
    moved = np.exp(theta[..., 1]) * noise
    x = theta[..., 0] + moved
    slope = np.sin(x) + x * np.cos(x)
    return np.stack([slope, slope * moved], axis=-1)


def _product(p, q):
    """The coefficients of the product of two polynomials."""
    product = [0.0] * (len(p) + len(q) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(q):
            product[i + j] = product[i + j] + a * b
    return product


def _expectation(polynomial, x, frequency):
    """E[P(ε) e^{iωx}],  P by its coefficients and x = μ + σε by its own.

    With w = ωσ,  mₖ = E[εᵏ e^{iwε}]  begins with e^{−w²/2}, and integration by parts
    gives  mₖ₊₁ = i w mₖ + k mₖ₋₁.
    """
    mean, std = x
    w = frequency * std
    before, moment, total = 0.0, np.exp(-np.square(w) / 2) + 0j, 0.0
    for k, coefficient in enumerate(polynomial):
        total = total + coefficient * moment
        before, moment = moment, 1j * w * moment + k * before
    return np.exp(1j * frequency * mean) * total


def _nodes(theta):
    """The nodes ε of the quadrature, along a first axis."""
    column = _NODES.reshape(-1, *[1] * (theta.ndim - 1))
    return np.broadcast_to(column, (len(_NODES), *theta.shape[:-1]))


def _covariance(theta, second_moment, rows):
    """The closed form, or where σ is small the covariance of rows at the nodes."""
    slope = _wave_gradient(theta)
    closed = np.empty((*theta.shape, 2))
    for i, j in [(0, 0), (0, 1), (1, 1)]:
        entry = second_moment(i, j) - slope[..., i] * slope[..., j]
        closed[..., i, j] = closed[..., j, i] = entry
    centred = rows - np.einsum("q,q...i->...i", _WEIGHTS, rows)
    summed = np.einsum("q,q...i,q...j->...ij", _WEIGHTS, centred, centred)
    narrow = np.exp(theta[..., 1]) < _NARROW
    return np.where(narrow[..., None, None], summed, closed)


def _diagonal(covariance):
    return np.diagonal(covariance, axis1=-2, axis2=-1).copy()


def _modes(hessian, noise, rate):
    """Eigenvalues λ and eigenvectors of H, and C in their basis."""
    d = len(np.atleast_2d(hessian))
    checks.positive_definite(d, hessian=hessian)
    checks.of_shape((d, d), noise=noise)
    checks.finite(noise=noise)
    noise = np.asarray(noise, dtype=float)
    size = np.abs(noise).max()
    lopsided = np.abs(noise - noise.T).max() > 1e-6 * size
    if lopsided or np.linalg.eigvalsh(noise).min() < -1e-6 * size:
        allowed = "a covariance, symmetric and without negative eigenvalues"
        raise ValueError(f"noise must be {allowed}, got {noise.tolist()}")
    checks.of_shape((), rate=rate)
    checks.positive(rate=rate)
    curvature, turn = np.linalg.eigh(np.asarray(hessian, dtype=float))
    if rate >= 2 / curvature[-1]:
        limit = f"below 2/λ = {2 / curvature[-1]:.6g}"
        raise ValueError(f"rate must be {limit}, or nothing settles, got {rate}")
    return curvature, turn, turn.T @ noise @ turn


def _coordinates(theta, name="theta"):
    """μ and τ, after a look at them."""
    shape = np.shape(theta)
    if not shape or shape[-1] != 2:
        raise ValueError(f"{name} must be of shape (..., 2), got {shape}")
    checks.finite(**{name: theta})
    theta = np.asarray(theta, dtype=float)
    for index, (symbol, limit) in enumerate(zip("μτ", FARTHEST, strict=True)):
        farthest = np.abs(theta[..., index]).max(initial=0.0)
        if farthest > limit:
            allowed = f"|{symbol}| at most {limit:g}"
            raise ValueError(f"{name} must have {allowed}, got {farthest:g}")
    return theta[..., 0], theta[..., 1]


def _baseline(baseline, theta):
    """b with a last axis: for each coordinate, and perhaps for each θ."""
    checks.finite(baseline=baseline)
    shape, allowed = np.shape(baseline), [(), (2,), np.shape(theta)]
    if shape not in allowed:
        shapes = " or ".join(map(str, dict.fromkeys(allowed)))
        raise ValueError(f"baseline must be of shape {shapes}, got {shape}")
    return np.broadcast_to(np.asarray(baseline, dtype=float), (*shape[:-1], 2))


def _check_draws(name, value, least):
    checks.counting_number(**{name: value})
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
