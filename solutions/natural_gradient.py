"""The natural gradient, on the gamma law.

The law has a shape α and a SCALE β: its density is  x^{α−1} e^{−x/β} / (Γ(α) β^α),  its
mean αβ. As an exponential family it is  exp(η·T(x) − A(η))  with T(x) = (log x, x) and
η = (α−1, −1/β). A pair stands along the last axis of an array, a matrix along the last
two; shapes and scales may be arrays, which broadcast. Shapes, scales and data may lie
between 1e-70 and 1e70, where no formula overflows; what lies farther out is refused.
"""

import math

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.special import digamma, gammaln, zeta

from solutions import checks, stirling
from solutions.checks import Number, Numbers

COORDINATES = ("shape_scale", "log", "natural")
SMALLEST, LARGEST = 1e-70, 1e70  # within, no result here overflows

_MANY = 20.0  # from this shape on the asymptotic series is exact to rounding
_NEWTON_STEPS = 8  # from anywhere, five reach the last digits


def to_natural(shape: Numbers, scale: Numbers) -> Float[ndarray, "*_ 2"]:
    """Return the natural parameters,  η = (α − 1, −1/β).

    Args:
        shape: α, positive.
        scale: β, positive: not the rate, which is 1/β.
    """
    shape, scale = _law(shape, scale)
    return _join(shape - 1, -1 / scale)


def from_natural(eta: Real[ndarray, "*batch 2"]) -> Float[ndarray, "*batch 2"]:
    """Return  (α, β) = (η₁ + 1, −1/η₂).

    Args:
        eta: η, with η₁ > −1 and η₂ < 0.
    """
    return _join(*_from_natural(eta))


def log_normaliser(eta: Real[ndarray, "*batch 2"]) -> Numbers:
    """Return  A(η) = log Γ(η₁ + 1) − (η₁ + 1) log(−η₂),  so that exp(η·T(x) − A(η)) has
    area one. In terms of shape and scale it is  log Γ(α) + α log β.

    Args:
        eta: η, with η₁ > −1 and η₂ < 0.

    Reference: Brown (1986), Fundamentals of statistical exponential families.
    """
    shape, scale = _from_natural(eta)
    return (gammaln(shape) + shape * np.log(scale))[()]


def mean_statistics(shape: Numbers, scale: Numbers) -> Float[ndarray, "*_ 2"]:
    """Return  (E log x, E x) = (ψ(α) + log β, αβ),  which is ∇A(η).

    Args:
        shape: α, positive.
        scale: β, positive.
    """
    shape, scale = _law(shape, scale)
    return _join(digamma(shape) + np.log(scale), shape * scale)


def from_mean_statistics(mean_log: Numbers, mean: Numbers) -> Float[ndarray, "*_ 2"]:
    """Return the (α, β) with  ψ(α) + log β = E log x  and  αβ = E x.

    It is the inverse of `mean_statistics`, and the likeliest law for data with these
    averages. There is exactly one as long as the mean of the logs is below the log of
    the mean.

    Args:
        mean_log: the mean of log x.
        mean: the mean of x, positive.
    """
    checks.finite(mean_log=mean_log)
    _in_range(mean=mean)
    mean = np.asarray(mean, dtype=float)
    gap = np.log(mean) - mean_log
    if not (gap > 0).all():
        below = f"got {gap.min():g} between them"
        raise ValueError(f"mean_log must be below the log of mean, {below}")
    _in_range(gap=gap)
    shape = _shape_of_gap(gap)
    return _join(shape, mean / shape)


def natural_fisher(eta: Real[ndarray, "*batch 2"]) -> Float[ndarray, "*batch 2 2"]:
    """Return  F(η) = ∇²A(η) = Cov(T) = [[ψ₁(α), β], [β, αβ²]].

    Args:
        eta: η, with η₁ > −1 and η₂ < 0.
    """
    shape, scale = _from_natural(eta)
    return _matrix(zeta(2, shape), scale, scale, shape * scale**2)


def jacobian(shape: Numbers, scale: Numbers) -> Float[ndarray, "*_ 2 2"]:
    """Return  J = ∂η/∂(α, β) = diag(1, 1/β²),  whose inverse is diag(1, β²).

    Args:
        shape: α, positive.
        scale: β, positive.
    """
    shape, scale = _law(shape, scale)
    zero = np.zeros_like(scale)
    return _matrix(zero + 1, zero, zero, 1 / scale**2)


def fisher_information(shape: Numbers, scale: Numbers) -> Float[ndarray, "*_ 2 2"]:
    """Return  F(α, β) = Jᵀ F(η) J = [[ψ₁(α), 1/β], [1/β, α/β²]],  of one observation.

    Args:
        shape: α, positive.
        scale: β, positive.

    Reference: Amari (1998), Natural gradient works efficiently in learning.
    """
    shape, scale = _law(shape, scale)
    return _matrix(zeta(2, shape), 1 / scale, 1 / scale, shape / scale**2)


def inverse_fisher(shape: Numbers, scale: Numbers) -> Float[ndarray, "*_ 2 2"]:
    """Return  F(α, β)⁻¹ = [[α, −β], [−β, β² ψ₁(α)]] / (α ψ₁(α) − 1).

    Written with q = α (α ψ₁(α) − 1), which stays between ½ and 1, it is
    [[α²/q, −αβ/q], [−αβ/q, β² (1/q + 1/α)]],  and nothing cancels at large α.

    Args:
        shape: α, positive.
        scale: β, positive.
    """
    first, mixed, last = _inverse_entries(*_law(shape, scale))
    return _matrix(first, mixed, mixed, last)


def kl_divergence(
    shape: Numbers, scale: Numbers, other_shape: Numbers, other_scale: Numbers
) -> Numbers:
    """Return  KL(p ‖ p′) = S(α′) − S(α) − S′(α) (α′ − α) + α′ (ρ − 1 − log ρ)  for p
    with (α, β) and p′ with (α′, β′).

    Here ρ = αβ / (α′β′) compares the means, and  S(α) = log Γ(α) − α log α + α,  a
    convex function, the shapes: no part is negative.

    Args:
        shape: α, of the law p over which the average is taken.
        scale: β, of the same law.
        other_shape: α′, of the law p′ that is compared with it.
        other_scale: β′, of that law.
    """
    shape, scale = _law(shape, scale)
    other_shape, other_scale = _law(other_shape, other_scale, "other_")
    # u = ρ − 1, without a subtraction of nearly equal numbers where ρ is near 1
    u = ((shape - other_shape) + shape * (scale - other_scale) / other_scale) / (
        other_shape
    )
    of_the_means = other_shape * (u - np.log1p(u))
    difference = other_shape - shape
    of_the_shapes = _convex(other_shape) - _convex(shape) + _gap(shape) * difference
    return np.maximum(of_the_shapes, 0.0) + np.maximum(of_the_means, 0.0)


def mean_nll(shape: Numbers, scale: Numbers, x: Real[ndarray, "n"]) -> Numbers:
    """Return  L(α, β) = log Γ(α) + α log β − (α−1) (Σᵢ log xᵢ)/n + x̄/β,  the mean
    negative log-likelihood.

    Args:
        shape: α, positive.
        scale: β, positive.
        x: the data, all positive.
    """
    shape, scale = _law(shape, scale)
    mean_log, mean = _averages(x)
    log_area = gammaln(shape) + shape * np.log(scale)
    return (log_area - (shape - 1) * mean_log + mean / scale)[()]


def nll_gradient(
    shape: Numbers, scale: Numbers, x: Real[ndarray, "n"]
) -> Float[ndarray, "*_ 2"]:
    """Return  ∇L = (ψ(α) + log β − (Σᵢ log xᵢ)/n, α/β − x̄/β²),  the slope of `mean_nll`
    in α and in β.

    Args:
        shape: α, positive.
        scale: β, positive.
        x: the data, all positive.
    """
    shape, scale = _law(shape, scale)
    return _join(*_slope(shape, scale, *_averages(x)))


def nll_hessian(
    shape: Numbers, scale: Numbers, x: Real[ndarray, "n"]
) -> Float[ndarray, "*_ 2 2"]:
    """Return  ∇²L = [[ψ₁(α), 1/β], [1/β, 2x̄/β³ − α/β²]],  which is F(α, β) where αβ = x̄
    and need not be positive definite elsewhere.

    Args:
        shape: α, positive.
        scale: β, positive.
        x: the data, all positive.
    """
    shape, scale = _law(shape, scale)
    _, mean = _averages(x)
    last = (2 * mean / scale - shape) / scale**2
    return _matrix(zeta(2, shape), 1 / scale, 1 / scale, last)


def mle(x: Real[ndarray, "n"]) -> Float[ndarray, "2"]:
    """Return the likeliest (α, β): the only solution of  log α − ψ(α) = log x̄ −
    (Σᵢ log xᵢ)/n  and  αβ = x̄.

    Args:
        x: the data, positive and not all equal.
    """
    _averages(x)
    x = np.asarray(x, dtype=float)
    mean = x.mean()
    ratio = x / mean
    # log x̄ − mean log x, term by term not negative
    gap = np.mean(ratio - 1 - np.log(ratio))
    if not gap > 0:
        raise ValueError(
            f"x must hold values that differ, got {x[0]} {x.size} times, to rounding: "
            "the likelihood grows with the shape, and has no maximum"
        )
    shape = _shape_of_gap(gap)
    return _join(shape, mean / shape)


def natural_flow(
    start: Real[ndarray, "2"], x: Real[ndarray, "n"], times: Real[ndarray, "m"]
) -> Float[ndarray, "m 2"]:
    """Return where  dθ/dt = −F(θ)⁻¹ ∇L(θ)  has come to, θ = (α, β), from the start.

    No equation is solved in steps: in the coordinates m = (E log x, E x) the flow is
    the straight line  m(t) = T̄ + e^{−t} (m(0) − T̄),  T̄ being the averages of the data.

    Args:
        start: (α, β) at time 0, both positive.
        x: the data, all positive.
        times: t, one or more, not negative. Where the data are equal the shape
            grows for ever: times at which m, rounded, does not show it are refused.
    """
    here = mean_statistics(*_start(start))
    there = np.array(_averages(x))
    checks.series(times=times)
    if np.min(times) < 0:
        raise ValueError(f"times must not be negative, got {np.min(times)}")
    left = np.exp(-np.asarray(times, dtype=float))[:, None]
    mean_log, mean = (left * here + (1 - left) * there).T
    if not (np.log(mean) > mean_log).all():
        raise ValueError(
            f"x must hold values that differ, got {x[0]} {x.size} times, to rounding: "
            f"by t = {np.max(times):g} the shape has grown too large"
        )
    return from_mean_statistics(mean_log, mean)


def descend(
    x: Real[ndarray, "n"],
    start: Real[ndarray, "2"],
    *,
    rate: Number,
    steps: int,
    natural: bool,
    coordinates: str = "shape_scale",
    floor: Number = 1e-4,
) -> Float[ndarray, "steps_plus_1 2"]:
    """Return the path of  φ ← φ − λ ∇L(φ),  or if natural  φ ← φ − λ F(φ)⁻¹ ∇L(φ).

    L is the mean negative log-likelihood. Whatever the coordinates φ, the path is
    returned in (α, β), the start first.

    Args:
        x: the data, all positive.
        start: (α, β), both positive.
        rate: λ, positive.
        steps: how many.
        natural: whether the gradient is multiplied by the inverse Fisher matrix.
        coordinates: the φ in which the steps are straight: "shape_scale" for (α, β),
            "log" for (log α, log β), "natural" for η = (α−1, −1/β).
        floor: a step that would lead out of the domain, or below this, is cut off here,
            each coordinate by itself: α and β, or for "natural" α and 1/β.

    Raises:
        OverflowError: if a step, for its rate is too large, leads beyond 1e70.

    Reference: Amari (1998), Natural gradient works efficiently in learning.
    """
    averages = _averages(x)
    shape, scale = (float(number) for number in _start(start))
    checks.positive(rate=rate, floor=floor)
    checks.counting_number(steps=steps)
    checks.one_of(COORDINATES, coordinates=coordinates)
    rate = float(rate)
    path = np.empty((steps + 1, 2))
    path[0] = shape, scale
    for step in range(steps):
        change = _change(shape, scale, averages, natural, coordinates)
        moved = [-rate * float(number) for number in change]
        shape, scale = _move(shape, scale, moved, coordinates, floor)
        if not (shape <= LARGEST and SMALLEST <= scale <= LARGEST):
            raise OverflowError(
                f"the descent left the numbers at step {step + 1}: "
                f"a rate of {rate} is too large here"
            )
        path[step + 1] = shape, scale
    return path


def _change(shape, scale, averages, natural, coordinates):
    """∇L or F⁻¹∇L in the coordinates φ, of which ∂φ/∂(α, β) is diagonal."""
    slope = _slope(shape, scale, *averages)
    stretch = {
        "shape_scale": (1.0, 1.0),
        "log": (1 / shape, 1 / scale),
        "natural": (1.0, 1 / scale**2),
    }[coordinates]
    if not natural:
        return slope[0] / stretch[0], slope[1] / stretch[1]
    first, mixed, last = _inverse_entries(shape, scale)
    in_shape = first * slope[0] + mixed * slope[1]
    in_scale = mixed * slope[0] + last * slope[1]
    return stretch[0] * in_shape, stretch[1] * in_scale


def _move(shape, scale, moved, coordinates, floor):
    """The (α, β) that a straight step in φ leads to."""
    if coordinates == "log":
        growth = (math.exp(min(step, 700.0)) for step in moved)
        shape, scale = (a * g for a, g in zip((shape, scale), growth, strict=True))
        return max(shape, floor), max(scale, floor)
    if coordinates == "natural":
        return max(shape + moved[0], floor), 1 / max(1 / scale - moved[1], floor)
    return max(shape + moved[0], floor), max(scale + moved[1], floor)


def _slope(shape, scale, mean_log, mean):
    """∂L/∂α and ∂L/∂β."""
    in_shape = digamma(shape) + np.log(scale) - mean_log
    return in_shape, (shape - mean / scale) / scale


def _inverse_entries(shape, scale):
    """The three different entries of F(α, β)⁻¹."""
    q = _excess(shape)
    return shape**2 / q, -shape * scale / q, scale**2 * (1 / q + 1 / shape)


def _excess(shape):
    """q(α) = α (α ψ₁(α) − 1), which falls from 1 to ½."""
    few = np.minimum(shape, _MANY)
    direct = 1 - few + few**2 * zeta(2, 1 + few)
    r = 1 / np.maximum(shape, _MANY)
    s = r**2
    tail = 1 / 6 - s * (1 / 30 - s * (1 / 42 - s * (1 / 30 - s * 5 / 66)))
    return np.where(shape < _MANY, direct, 1 / 2 + r * tail)[()]


def _gap(shape):
    """log α − ψ(α), between 1/(2α) and 1/α."""
    return (0.5 - stirling.slope_remainder(shape)) / shape


def _convex(shape):
    """S(α) = log Γ(α) − α log α + α, whose derivative is −(log α − ψ(α))."""
    return stirling.remainder(shape) + (np.log(2 * np.pi) - np.log(shape)) / 2


def _shape_of_gap(gap):
    """The α with log α − ψ(α) = gap, by Newton's method in u = 1/α, where the slope is
    q. It lies between gap and 2 gap.
    """
    u = 1.5 * gap
    for _ in range(_NEWTON_STEPS):
        u = u - (_gap(1 / u) - gap) / _excess(1 / u)
    return 1 / u


def _averages(x):
    """The means of log x and of x: all that the likelihood knows of the data."""
    checks.series(x=x)
    _in_range(x=x)
    x = np.asarray(x, dtype=float)
    return float(np.log(x).mean()), float(x.mean())


def _law(shape, scale, prefix=""):
    _in_range(**{f"{prefix}shape": shape, f"{prefix}scale": scale})
    return np.broadcast_arrays(
        np.asarray(shape, dtype=float), np.asarray(scale, dtype=float)
    )


def _from_natural(eta):
    checks.finite(eta=eta)
    if np.shape(eta)[-1:] != (2,):
        raise ValueError(
            f"eta must have two numbers along its last axis, got shape {np.shape(eta)}"
        )
    eta = np.asarray(eta, dtype=float)
    first, second = eta[..., 0], eta[..., 1]
    inside = (first > -1) & (second < 0)
    if not inside.all():
        wrong = eta[~inside][0]
        raise ValueError(f"eta must have η₁ > −1 and η₂ < 0, got {wrong.tolist()}")
    return _law(first + 1, -1 / second)


def _start(start):
    checks.of_shape((2,), start=start)
    _in_range(start=start)
    return np.asarray(start, dtype=float)


def _in_range(**arguments):
    checks.positive(**arguments)
    for name, value in arguments.items():
        value = np.asarray(value, dtype=float)
        wrong = value[(value < SMALLEST) | (value > LARGEST)]
        if wrong.size:
            allowed = f"between {SMALLEST:g} and {LARGEST:g}"
            raise ValueError(f"{name} must be {allowed}, got {wrong[0]:g}")


def _join(first, second):
    return np.stack(np.broadcast_arrays(first, second), axis=-1)


def _matrix(*entries):
    """2×2 matrices, their entries row by row."""
    entries = np.stack(np.broadcast_arrays(*entries), axis=-1)
    return entries.reshape(*entries.shape[:-1], 2, 2)
