"""The gamma law and its natural gradient against quadrature, sympy, mpmath, PyTorch, scipy's fits and flow solvers."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, optimize, special, stats

from solutions import natural_gradient
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_proportion, assert_unbiased, assert_variance

# A dozen roundings, each of 1.1e-16, of numbers that cancel to a thousandth or so lose 1e-12.
SHARP = 1e-10
# Where a fit by another root finder, or a flow followed by another solver, is right as well.
FITTED, FOLLOWED = 1e-8, 1e-7
LAWS = np.array([(0.5, 8.0), (3.0, 2.0), (1.0, 1.0), (0.06, 30.0), (7.3, 0.4), (150.0, 0.02)])
SHAPES, SCALES = LAWS.T
OWN = np.array([0.3, 4.1, 1.7, 0.02, 9.5, 2.2, 2.2])
START = np.array([0.5, 8.0])
COORDINATES = ("shape_scale", "log", "natural")
MP = mpmath.mp.clone()
MP.dps = 60
FAR = MP.clone()  # for shapes of up to 1e70: ψ₁(α) and 1/α agree in the first seventy digits
FAR.dps = 240


def the_data():
    """The thousand draws of the chapter, Gamma(3) times 2: data, not randomness."""
    return np.random.default_rng(0).gamma(3, 2, 1000)


def averages(x):
    """The means of log x and of x."""
    return np.log(x).mean(), x.mean()


def trigamma(shape):
    return special.polygamma(1, shape)


def matrices(a, b, c, d):
    """[[a, b], [c, d]] along the last two axes."""
    a, b, c, d = np.broadcast_arrays(a, b, c, d)
    return np.stack([np.stack([a, b], -1), np.stack([c, d], -1)], -2)


def pairs(a, b):
    return np.stack(np.broadcast_arrays(a, b), -1)


def etas(shape=SHAPES, scale=SCALES):
    return pairs(shape - 1, -1 / scale)


def gamma_fisher(shape, scale):
    """F(α, β), written out."""
    return matrices(trigamma(shape), 1 / scale, 1 / scale, shape / scale**2)


def mean_under(f, shape, scale):
    """E f(x) under one gamma law, by quadrature in u = log x: the density of u is e^{αu − e^u/β} / (Γ(α) β^α)."""
    constant = math.lgamma(shape) + shape * math.log(scale)

    def integrand(u):
        return f(math.exp(u)) * math.exp(shape * u - math.exp(u) / scale - constant)

    mode, width = math.log(shape * scale), 1 / math.sqrt(shape)
    ends = [mode - 45 / shape - 12 * width, mode - 3 * width, mode + width, mode + 12 * width + 5]
    parts = itertools.pairwise(ends)
    return sum(integrate.quad(integrand, *part, epsabs=1e-13, epsrel=1e-11, limit=200)[0] for part in parts)


def mp_gap(shape, context=MP):
    """log α − ψ(α) to sixty digits, or to those of the context."""
    shape = context.mpf(shape)
    return context.log(shape) - context.psi(0, shape)


def mp_kl(shape, scale, other_shape, other_scale, context=MP):
    """KL as it stands in tables, (α−α′)ψ(α) − log Γ(α) + log Γ(α′) + α′ log(β′/β) + α(β−β′)/β′."""
    a, b, c, d = (context.mpf(float(number)) for number in (shape, scale, other_shape, other_scale))
    logs = context.loggamma(c) - context.loggamma(a) + c * context.log(d / b)
    return float((a - c) * context.psi(0, a) + logs + a * (b - d) / d)


def torch_nll(law, x):
    """The mean negative log-likelihood by PyTorch's gamma distribution, whose second parameter is the rate."""
    return -torch.distributions.Gamma(law[0], 1 / law[1]).log_prob(torch.as_tensor(x)).mean()


def slope_and_curvature(f, point):
    """Gradient and Hessian by automatic differentiation."""
    point = torch.tensor(np.asarray(point), dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(f, point)
    return slope.numpy(), torch.autograd.functional.hessian(f, point).numpy()


def slope_of(shape, scale, x):
    """∇L, written out."""
    mean_log, mean = averages(x)
    return np.array([special.digamma(shape) + np.log(scale) - mean_log, shape / scale - mean / scale**2])


# From α, β to the coordinates φ and back; ∂(α, β)/∂φ; and the lowest φ.
INTO = {
    "shape_scale": lambda law: np.array(law),
    "log": np.log,
    "natural": lambda law: np.array([law[0] - 1, -1 / law[1]]),
}
BACK = {
    "shape_scale": lambda phi: np.array(phi),
    "log": np.exp,
    "natural": lambda phi: np.array([phi[0] + 1, -1 / phi[1]]),
}
STRETCH = {
    "shape_scale": lambda law: np.eye(2),
    "log": np.diag,
    "natural": lambda law: np.diag([1.0, law[1] ** 2]),
}


def natural_direction(law, slope, stretch):
    """F(φ)⁻¹∇L, from F(φ) = KᵀFK with K = ∂(α, β)/∂φ, by solving."""
    return np.linalg.solve(stretch.T @ gamma_fisher(*law) @ stretch, stretch.T @ slope)


def plain_direction(law, slope, stretch):
    return stretch.T @ slope


def walk(x, start, *, rate, steps, natural, coordinates="shape_scale", floor=1e-4, direction=None):
    """The same descent as `descend`, in small steps of linear algebra; `direction` to go a wrong way."""
    direction = direction or (natural_direction if natural else plain_direction)
    path = [np.array(start, dtype=float)]
    for _ in range(steps):
        law = path[-1]
        phi = INTO[coordinates](law) - rate * direction(law, slope_of(*law, x), STRETCH[coordinates](law))
        if coordinates == "natural":
            phi = np.array([max(phi[0], floor - 1), min(phi[1], -floor)])
        law = BACK[coordinates](phi)
        path.append(law if coordinates == "natural" else np.maximum(law, floor))
    return np.array(path)


CALLS = {
    "to_natural": (np.array([2.0, 1.0, 4.0]), np.array([3.0, 1.0, 2.0])),
    "from_natural": (np.array([[2.0, -3.0], [1.0, -1.0], [4.0, -2.0]]),),
    "log_normaliser": (np.array([[2.0, -3.0], [1.0, -1.0], [4.0, -2.0]]),),
    "mean_statistics": (np.array([2.0, 1.0, 4.0]), np.array([3.0, 1.0, 2.0])),
    "from_mean_statistics": (np.array([0.0, 1.0, -2.0]), np.array([3.0, 4.0, 2.0])),
    "natural_fisher": (np.array([[2.0, -3.0], [1.0, -1.0], [4.0, -2.0]]),),
    "jacobian": (np.array([2.0, 1.0, 4.0]), np.array([3.0, 1.0, 2.0])),
    "fisher_information": (np.array([2.0, 1.0, 4.0]), np.array([3.0, 1.0, 2.0])),
    "inverse_fisher": (np.array([2.0, 1.0, 4.0]), np.array([3.0, 1.0, 2.0])),
    "kl_divergence": tuple(np.array(row) for row in ([2.0, 1.0, 4.0], [3.0, 1.0, 2.0], [1.0, 2.0, 5.0], [4.0, 1, 1])),
    "mean_nll": (np.array([2.0, 1.0, 4.0]), np.array([3.0, 1.0, 2.0]), np.array([1.0, 7.0, 3.0, 2.0])),
    "nll_gradient": (np.array([2.0, 1.0, 4.0]), np.array([3.0, 1.0, 2.0]), np.array([1.0, 7.0, 3.0, 2.0])),
    "nll_hessian": (np.array([2.0, 1.0, 4.0]), np.array([3.0, 1.0, 2.0]), np.array([1.0, 7.0, 3.0, 2.0])),
    "mle": (np.array([1.0, 7.0, 3.0, 2.0]),),
    "natural_flow": (np.array([2.0, 3.0]), np.array([1.0, 7.0, 3.0, 2.0]), np.array([0.0, 1.0, 2.0, 3.0])),
    "descend": (np.array([1.0, 7.0, 3.0, 2.0]), np.array([2.0, 3.0])),
}
OPTIONS = {"descend": {"rate": 0.1, "steps": 4, "natural": True}}
every_function = pytest.mark.parametrize("name", CALLS)


@pytest.fixture(autouse=True)
def intact():
    """Whatever a function writes to the arrays above is undone after the test, so that the next one is about itself."""
    kept = [(a, a.copy()) for a in (LAWS, OWN, START, *itertools.chain(*CALLS.values()))]
    yield
    for array, before in kept:
        array[...] = before


def call(name, *arguments):
    return getattr(natural_gradient, name)(*arguments, **OPTIONS.get(name, {}))


# The family


@pytest.mark.claim("prop-gamma-family")
def test_to_natural_is_shape_less_one_and_minus_the_rate():
    """η = (α − 1, −1/β) at six laws, a pair along the last axis."""
    mistakes = {
        "is the second −β, the scale taken for the rate?": pairs(SHAPES - 1, -SCALES),
        "is the first α, without the − 1?": pairs(SHAPES, -1 / SCALES),
        "is the sign of the second lost?": pairs(SHAPES - 1, 1 / SCALES),
        "are the two the wrong way round?": pairs(-1 / SCALES, SHAPES - 1),
        "do the pairs stand along the first axis?": np.array([SHAPES - 1, -1 / SCALES]),
    }
    got = natural_gradient.to_natural(SHAPES, SCALES)
    assert_close(got, etas(), rtol=SHARP, what="to_natural(shape, scale)", mistakes=mistakes)
    assert_close(natural_gradient.to_natural(3, 2), [2, -0.5], rtol=SHARP, what="to_natural(3, 2)")


def test_from_natural_is_the_way_back():
    """(η₁ + 1, −1/η₂): the six laws again, one law, and a stack of them."""
    mistakes = {
        "is the second −η₂, which is the rate?": pairs(SHAPES, 1 / SCALES),
        "is the + 1 of the shape missing?": pairs(SHAPES - 1, SCALES),
        "is 1 taken off twice?": pairs(SHAPES - 2, SCALES),
        "is the sign of the scale lost?": pairs(SHAPES, -SCALES),
    }
    got = natural_gradient.from_natural(etas())
    assert_close(got, LAWS, rtol=SHARP, what="from_natural(eta)", mistakes=mistakes)
    assert_close(natural_gradient.from_natural(np.array([2, -4])), [3, 0.25], rtol=SHARP, what="from_natural((2, −4))")
    stack = etas().reshape(3, 2, 2)
    assert_close(
        natural_gradient.from_natural(stack), LAWS.reshape(3, 2, 2), rtol=SHARP, what="from_natural of a stack"
    )


@pytest.mark.claim("prop-gamma-family")
def test_log_normaliser_is_log_gamma_and_the_scale():
    """A(η) = log Γ(α) + α log β, by mpmath, at the six laws."""
    a, b = SHAPES, SCALES
    want = [float(MP.loggamma(MP.mpf(s)) + MP.mpf(s) * MP.log(MP.mpf(t))) for s, t in LAWS]
    with np.errstate(all="ignore"):
        mistakes = {
            "is log Γ(α) missing?": a * np.log(b),
            "is α log β missing?": special.gammaln(a),
            "is the scale taken for the rate, −α log β?": special.gammaln(a) - a * np.log(b),
            "is it Γ(η₁) where Γ(η₁ + 1) belongs?": special.gammaln(a - 1) + a * np.log(b),
            "is it η₁ log β where (η₁ + 1) log β belongs?": special.gammaln(a) + (a - 1) * np.log(b),
            "is it log Γ(α + 1)?": special.gammaln(a + 1) + a * np.log(b),
            "is it the logarithm of the constant before the exponential, −A?": -np.array(want),
            "Γ(α) for its logarithm?": special.gamma(a) + a * np.log(b),
        }
    # log Γ(1 ± 0) and log β near 1 cancel to nothing, by absolute rounding
    got = natural_gradient.log_normaliser(etas())
    assert_close(got, want, rtol=SHARP, atol=1e-13, what="log_normaliser(eta)", mistakes=mistakes)


@pytest.mark.parametrize("shape", [1e-50, 1e-3, 60.0, 400.0, 1e6, 1e12, 1e50])
def test_log_normaliser_mean_statistics_and_natural_fisher_of_far_shapes(shape):
    """At shapes of 1e-50 to 1e50: mpmath's log Γ, ψ and ψ₁, where Γ overflows and a short series is too coarse."""
    scale = 0.3
    eta = natural_gradient.to_natural(shape, scale)
    a = FAR.mpf(float(eta[0])) + 1  # below 1e-16 η₁ = α − 1 forgets α
    with np.errstate(all="ignore"):
        if a > 0:
            want = float(FAR.loggamma(a) + a * FAR.log(FAR.mpf(scale)))
            got = natural_gradient.log_normaliser(eta)
            mistakes = {
                "Γ(α) overflows from α = 171 on: is its logarithm taken of it?": np.log(special.gamma(shape))
                + shape * np.log(scale)
            }
            # log Γ(α) and α log β of some size cancel
            what = f"log_normaliser at α = {shape:g}"
            assert_close(got, want, rtol=SHARP, atol=1e-13, what=what, mistakes=mistakes)
            got, psi = natural_gradient.natural_fisher(eta), float(FAR.psi(1, a))
            mistakes = {"is ψ₁ the first terms of a series?": 1 / shape + 1 / (2 * shape**2)}
            what = f"ψ₁(α) in natural_fisher at α = {shape:g}"
            assert_close(got[0, 0], psi, rtol=SHARP, what=what, mistakes=mistakes)
        got = natural_gradient.mean_statistics(shape, scale)
        want = float(FAR.psi(0, FAR.mpf(shape)) + FAR.log(FAR.mpf(scale)))
        mistakes = {"is ψ the first terms of a series?": math.log(shape * scale) - 1 / (2 * shape)}
        what = f"E log x in mean_statistics at α = {shape:g}"
        assert_close(got[0], want, rtol=SHARP, atol=1e-13, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-log-normaliser")
def test_log_normaliser_is_the_log_of_the_area():
    """e^{A(η)} = ∫ x^{η₁} e^{η₂x} dx, by quadrature at laws of one's own."""
    for first, second in [(-0.6, -0.3), (0.0, -2.0), (1.7, -0.9), (6.0, -1.1)]:
        got = natural_gradient.log_normaliser(np.array([first, second]))

        def decay(x, second=second):
            return math.exp(second * x)

        def tail(x, first=first, second=second):
            return x**first * math.exp(second * x)

        low = integrate.quad(decay, 0, 1, weight="alg", wvar=(first, 0))[0]
        high = integrate.quad(tail, 1, np.inf, epsabs=0, epsrel=1e-11)[0]
        what = f"log_normaliser(({first}, {second})) as log ∫ x^η₁ e^η₂x dx"
        assert_close(got, math.log(low + high), rtol=1e-9, atol=1e-10, what=what)


@pytest.mark.claim("prop-gamma-family")
def test_log_normaliser_makes_the_density_scipy_s():
    """η·T(x) − A(η) is scipy's gamma.logpdf of shape α and scale β, far into both tails."""
    x = np.array([1e-8, 0.01, 0.4, 1.0, 3.0, 17.0, 300.0])
    for law, eta in zip(LAWS, etas(), strict=True):
        a = natural_gradient.log_normaliser(natural_gradient.to_natural(*law))
        got = np.array([np.log(x), x]).T @ eta - a
        assert_close(got, stats.gamma.logpdf(x, law[0], scale=law[1]), rtol=SHARP, atol=SHARP, what="η·T(x) − A(η)")


@pytest.mark.claim("prop-gamma-family", kind="symbolic")
def test_the_gamma_family_by_sympy():
    """log p = η·T − A, ∇A = (ψ(α) + log β, αβ), ∇²A = [[ψ₁, β], [β, αβ²]] in symbols; A is infinite outside."""
    a, b, x = sympy.symbols("alpha beta x", positive=True)
    first, second = sympy.symbols("eta_1 eta_2", real=True)
    log_area = sympy.loggamma(first + 1) - (first + 1) * sympy.log(-second)
    at = {first: a - 1, second: -1 / b}
    log_density = (a - 1) * sympy.log(x) - x / b - sympy.loggamma(a) - a * sympy.log(b)
    family = (first * sympy.log(x) + second * x - log_area).subs(at)
    assert sympy.simplify(sympy.expand_log(family - log_density, force=True)) == 0
    slope = [sympy.diff(log_area, eta).subs(at) for eta in (first, second)]
    assert sympy.simplify(sympy.expand_log(slope[0] - sympy.polygamma(0, a) - sympy.log(b), force=True)) == 0
    assert sympy.simplify(slope[1] - a * b) == 0
    curvature = sympy.hessian(log_area, (first, second)).subs(at)
    want = sympy.Matrix([[sympy.polygamma(1, a), b], [b, a * b**2]])
    assert sympy.simplify(curvature - want) == sympy.zeros(2)
    # outside: e^{−x} ≥ e^{−1} on (0, 1), so η₁ = −1 has an infinite area; so has η₂ = 0, at ∞
    assert sympy.integrate(1 / x, (x, 0, 1)) == sympy.oo
    assert sympy.integrate(x ** sympy.Rational(-1, 2), (x, 1, sympy.oo)) == sympy.oo


def test_mean_statistics_is_digamma_and_the_product():
    """(E log x, E x) = (ψ(α) + log β, αβ), by mpmath, at the six laws."""
    a, b = LAWS.T
    want = pairs([float(MP.psi(0, MP.mpf(s)) + MP.log(MP.mpf(t))) for s, t in LAWS], a * b)
    mistakes = {
        "is it log(αβ), the log of the mean for the mean of the log?": pairs(np.log(a * b), a * b),
        "are the signs of ψ and log β reversed?": pairs(-special.digamma(a) - np.log(b), a * b),
        "is the scale taken for the rate?": pairs(special.digamma(a) - np.log(b), a / b),
        "is it ψ(α) − log β, the scale taken for the rate?": pairs(special.digamma(a) - np.log(b), a * b),
        "is the mean α/β, the scale taken for the rate?": pairs(special.digamma(a) + np.log(b), a / b),
        "is log β missing?": pairs(special.digamma(a), a * b),
        "the trigamma function ψ₁ for ψ?": pairs(trigamma(a) + np.log(b), a * b),
        "is it ψ(α − 1), with η₁ for α?": pairs(special.digamma(a) - 1 / (a - 1 + (a == 1)) + np.log(b), a * b),
        "are the two the wrong way round?": want[:, ::-1],
        "the mode (α − 1)β for the mean αβ?": pairs(want[:, 0], (a - 1) * b),
    }
    got = natural_gradient.mean_statistics(a, b)
    assert_close(got, want, rtol=SHARP, atol=1e-13, what="mean_statistics(shape, scale)", mistakes=mistakes)


@pytest.mark.claim("thm-log-normaliser")
def test_mean_statistics_and_natural_fisher_are_mean_and_covariance_of_the_statistics():
    """∇A = E T and ∇²A = Cov T at three laws, every moment of (log x, x) by quadrature."""
    for shape, scale in [(0.7, 3.0), (3.0, 2.0), (11.0, 0.2)]:
        mean = [mean_under(f, shape, scale) for f in (math.log, lambda x: x)]
        first, second = mean
        products = (
            lambda x, first=first: (math.log(x) - first) ** 2,
            lambda x, first=first, second=second: (math.log(x) - first) * (x - second),
            lambda x, second=second: (x - second) ** 2,
        )
        a, b, c = (mean_under(f, shape, scale) for f in products)
        what = f"mean_statistics({shape}, {scale}), against E T"
        assert_close(natural_gradient.mean_statistics(shape, scale), mean, rtol=1e-8, what=what)
        got = natural_gradient.natural_fisher(natural_gradient.to_natural(shape, scale))
        assert_close(got, [[a, b], [b, c]], rtol=1e-8, what=f"natural_fisher at ({shape}, {scale}), against Cov T")


@pytest.mark.claim("thm-log-normaliser", kind="automatic differentiation")
def test_log_normaliser_has_these_derivatives():
    """A's gradient and Hessian by PyTorch are mean_statistics and natural_fisher; A itself is log_normaliser."""

    def log_area(eta):
        return torch.lgamma(eta[0] + 1) - (eta[0] + 1) * torch.log(-eta[1])

    for law in LAWS:
        eta = natural_gradient.to_natural(*law)
        slope, curvature = slope_and_curvature(log_area, eta)
        value = log_area(torch.tensor(eta)).item()
        assert_close(natural_gradient.log_normaliser(eta), value, rtol=SHARP, atol=1e-13, what=f"A at {law}")
        assert_close(natural_gradient.mean_statistics(*law), slope, rtol=SHARP, atol=1e-13, what=f"∇A at {law}")
        # PyTorch's ψ₁ knows nine digits
        assert_close(natural_gradient.natural_fisher(eta), curvature, rtol=1e-8, what=f"∇²A at {law}")


@pytest.mark.claim("thm-log-normaliser", kind="symbolic")
def test_other_families_have_moments_from_their_normalisers():
    """The same for the exponential law, the Poisson law and the coin by sympy: A′ and A″ are mean and variance."""
    eta, x = sympy.symbols("eta x", real=True)
    k = sympy.symbols("k", integer=True, nonnegative=True)
    rate = sympy.symbols("r", positive=True)

    def exponential(f):
        return sympy.integrate(f(x) * rate * sympy.exp(-rate * x), (x, 0, sympy.oo))

    def poisson(f):
        return sympy.simplify(sympy.summation(f(k) * rate**k * sympy.exp(-rate) / sympy.factorial(k), (k, 0, sympy.oo)))

    def coin(f):
        return (f(0) + f(1) * rate) / (1 + rate)

    families = [
        (exponential, -sympy.log(-eta), -rate),
        (poisson, sympy.exp(eta), sympy.log(rate)),
        (coin, sympy.log(1 + sympy.exp(eta)), sympy.log(rate)),
    ]
    for average, log_area, at in families:
        mean, square = average(lambda t: t), average(lambda t: t**2)
        assert sympy.simplify(sympy.diff(log_area, eta).subs(eta, at) - mean) == 0
        assert sympy.simplify(sympy.diff(log_area, eta, 2).subs(eta, at) - (square - mean**2)) == 0


@pytest.mark.claim("thm-log-normaliser")
def test_log_normaliser_is_strictly_convex(rng):
    """A at a point between two is below their chord, at 500 pairs; with T = (x, 2x) it is flat along (2, −1)."""
    one, two = (pairs(rng.exponential(3, 500) - 1 + 1e-3, -rng.exponential(2, 500) - 1e-3) for _ in range(2))
    t = rng.uniform(0.1, 0.9, 500)
    between = natural_gradient.log_normaliser(t[:, None] * one + (1 - t[:, None]) * two)
    chord = t * natural_gradient.log_normaliser(one) + (1 - t) * natural_gradient.log_normaliser(two)
    assert np.all(between < chord), "log_normaliser is not convex: between two points it lies above their chord"
    eta = np.array([-0.4, -0.3])  # the exponential law with T = (x, 2x): A = −log(−η₁ − 2η₂)
    values = [-math.log(-(eta + s * np.array([2.0, -1.0])) @ [1.0, 2.0]) for s in (-0.2, 0.0, 0.3)]
    assert_close(values, values[0] * np.ones(3), rtol=SHARP, what="A along a c with c·T = 0")


def test_natural_fisher_is_the_covariance_of_the_statistics():
    """[[ψ₁(α), β], [β, αβ²]] at the six laws, with ψ₁ by mpmath."""
    a, b = LAWS.T
    psi = np.array([float(MP.psi(1, MP.mpf(s))) for s in a])
    want = matrices(psi, b, b, a * b**2)
    mistakes = {
        "is it the matrix of α and the rate?": matrices(psi, -b, -b, a * b**2),
        "is this F(α, β), not F(η)?": matrices(psi, 1 / b, 1 / b, a / b**2),
        "is the mixed entry αβ, E x for the covariance?": matrices(psi, a * b, a * b, a * b**2),
        "is the scale taken for the rate?": matrices(psi, 1 / b, 1 / b, a / b**2),
        "is the variance of x αβ, with β not squared?": matrices(psi, b, b, a * b),
        "is the second moment taken for the variance?": matrices(psi, b, b, a * (a + 1) * b**2),
        "is ψ taken for ψ₁?": matrices(special.digamma(a), b, b, a * b**2),
        "is it ψ₁(α + 1)?": matrices(trigamma(a + 1), b, b, a * b**2),
        "are the off-diagonal entries forgotten?": matrices(psi, 0, 0, a * b**2),
    }
    got = natural_gradient.natural_fisher(etas())
    assert_close(got, want, rtol=SHARP, what="natural_fisher(eta)", mistakes=mistakes)


@pytest.mark.claim("lem-trigamma")
def test_the_bounds_of_trigamma():
    """1/(2α²) < ψ₁ − 1/α < 1/α² and 1/(2α) < log α − ψ < 1/α, from 1e-6 to 1e8; ½ < q < 1 falls to both ends."""
    grid = [MP.mpf(10) ** (MP.mpf(k) / 4) for k in range(-24, 33)]
    excess = [a**2 * (MP.psi(1, a) - 1 / a) for a in grid]
    gap = [a * (MP.log(a) - MP.psi(0, a)) for a in grid]
    assert all(0.5 < value < 1 for value in excess), "α²(ψ₁ − 1/α) leaves (½, 1)"
    assert all(0.5 < value < 1 for value in gap), "α(log α − ψ) leaves (½, 1)"
    assert all(low > high for low, high in itertools.pairwise(excess)), "q does not fall"
    assert_close([float(excess[0]), float(excess[-1])], [1, 0.5], rtol=2e-6, what="q at 1e-6 and at 1e8")
    assert_close(float(gap[-1]), 0.5, rtol=1e-6, what="α(log α − ψ(α)) at 1e8")
    assert_close(float(MP.mpf("1e-40") * mp_gap("1e-40")), 1.0, rtol=1e-6, what="α(log α − ψ(α)) at 1e-40")


@pytest.mark.claim("lem-trigamma")
def test_inverse_fisher_has_entries_within_the_bounds_of_trigamma():
    """Its first entry is α²/q with ½ < q < 1, so between α² and 2α², for shapes from 1e-6 to 1e6."""
    shape = np.logspace(-6, 6, 49)
    q = shape**2 / natural_gradient.inverse_fisher(shape, 2.0)[:, 0, 0]
    want = [float(a**2 * MP.psi(1, a) - a) for a in map(MP.mpf, shape)]
    assert_close(q, want, rtol=1e-9, what="q(α) = α(αψ₁(α) − 1), from inverse_fisher")


# The Fisher matrix in two coordinate systems


def test_jacobian_is_one_and_the_inverse_square():
    """∂(α − 1, −1/β)/∂(α, β) = diag(1, 1/β²), and by automatic differentiation."""
    b = SCALES
    mistakes = {
        "J⁻¹ for J?": matrices(1, 0, 0, b**2),
        "is the sign reversed, the derivative of 1/β?": matrices(1, 0, 0, -1 / b**2),
        "is it 1/β, or the derivative of a logarithm?": matrices(1, 0, 0, 1 / b),
        "is it the derivative of −β, the scale taken for the rate?": matrices(1, 0, 0, -1),
        "is it the identity?": matrices(1, 0, 0, np.ones(6)),
    }
    got = natural_gradient.jacobian(SHAPES, b)
    assert_close(got, matrices(1, 0, 0, 1 / b**2), rtol=SHARP, what="jacobian(shape, scale)", mistakes=mistakes)
    law = torch.tensor([2.5, 0.3], dtype=torch.float64)
    want = torch.autograd.functional.jacobian(lambda law: torch.stack([law[0] - 1, -1 / law[1]]), law)
    assert_close(natural_gradient.jacobian(2.5, 0.3), want, rtol=SHARP, what="jacobian(2.5, 0.3), by autograd")


@pytest.mark.claim("thm-fisher-transforms")
def test_fisher_information_of_shape_and_scale():
    """F(α, β) = [[ψ₁, 1/β], [1/β, α/β²]] at the six laws, with ψ₁ by mpmath."""
    a, b = LAWS.T
    psi = np.array([float(MP.psi(1, MP.mpf(s))) for s in a])
    mistakes = {
        "is this the matrix of α and the rate, −1/β for 1/β?": matrices(psi, -1 / b, -1 / b, a / b**2),
        "is it the matrix of α and the rate at 1/β?": matrices(psi, -b, -b, a * b**2),
        "is this F(η), without the Jacobian?": matrices(psi, b, b, a * b**2),
        "is J⁻¹ taken for J?": matrices(psi, b**3, b**3, a * b**6),
        "is one J of JᵀF(η)J missing, on the right?": matrices(psi, b, 1 / b, a),
        "is one J of JᵀF(η)J missing, on the left?": matrices(psi, 1 / b, b, a),
        "is this the inverse?": np.linalg.inv(gamma_fisher(a, b)),
        "is ψ taken for ψ₁?": matrices(special.digamma(a), 1 / b, 1 / b, a / b**2),
        "are the off-diagonal entries forgotten?": matrices(psi, 0, 0, a / b**2),
        "α/β for α/β²?": matrices(psi, 1 / b, 1 / b, a / b),
        "the Fisher matrix of α and the mean?": matrices(psi - 1 / a, 0, 0, 1 / (a * b**2)),
    }
    got = natural_gradient.fisher_information(a, b)
    want = matrices(psi, 1 / b, 1 / b, a / b**2)
    assert_close(got, want, rtol=SHARP, what="fisher_information(shape, scale)", mistakes=mistakes)


@pytest.mark.claim("thm-fisher-transforms")
def test_fisher_information_is_jacobian_natural_fisher_jacobian():
    """F(θ) = JᵀF(η)J and F(θ)⁻¹ = J⁻¹F(η)⁻¹J⁻ᵀ, by linear algebra on what the functions return."""
    j = natural_gradient.jacobian(SHAPES, SCALES)
    f = natural_gradient.natural_fisher(natural_gradient.to_natural(SHAPES, SCALES))
    want = j.swapaxes(-1, -2) @ f @ j
    assert_close(natural_gradient.fisher_information(SHAPES, SCALES), want, rtol=SHARP, what="JᵀF(η)J")
    back = np.linalg.inv(j)
    want = back @ np.linalg.inv(f) @ back.swapaxes(-1, -2)
    assert_close(natural_gradient.inverse_fisher(SHAPES, SCALES), want, rtol=1e-9, what="J⁻¹F(η)⁻¹J⁻ᵀ")


@pytest.mark.claim("thm-fisher-transforms")
def test_fisher_information_is_the_mean_product_of_scores():
    """E[∇log p ∇log pᵀ] by quadrature, the scores by central differences of scipy's logpdf, at two laws."""
    h = 1e-5
    for shape, scale in [(0.8, 3.0), (4.0, 0.3)]:

        def score(x, shape=shape, scale=scale):
            in_shape = stats_logpdf(x, shape + h, scale) - stats_logpdf(x, shape - h, scale)
            in_scale = stats_logpdf(x, shape, scale * (1 + h)) - stats_logpdf(x, shape, scale * (1 - h))
            return in_shape / (2 * h), in_scale / (2 * h * scale)

        entries = [
            mean_under(lambda x, i=i, j=j: score(x)[i] * score(x)[j], shape, scale) for i, j in [(0, 0), (0, 1), (1, 1)]
        ]
        a, b, c = entries
        got = natural_gradient.fisher_information(shape, scale)
        # central differences err by h² = 1e-10 times third derivatives, of about a hundred here, and by rounding
        assert_close(got, [[a, b], [b, c]], rtol=1e-6, what=f"fisher_information({shape}, {scale}) as E[score scoreᵀ]")


def stats_logpdf(x, shape, scale):
    """log p, written out: quicker than scipy.stats for one number."""
    return (shape - 1) * math.log(x) - x / scale - math.lgamma(shape) - shape * math.log(scale)


@pytest.mark.claim("thm-fisher-transforms", kind="symbolic")
def test_the_fisher_matrix_changes_coordinates_by_sympy():
    """F(α, β), its determinant and its inverse in symbols, and F(η) again after a change there and back."""
    a, b, psi = sympy.symbols("alpha beta psi", positive=True)
    natural = sympy.Matrix([[psi, b], [b, a * b**2]])
    j = sympy.Matrix([a - 1, -1 / b]).jacobian([a, b])
    f = sympy.Matrix([[psi, 1 / b], [1 / b, a / b**2]])
    assert sympy.simplify(j.T * natural * j - f) == sympy.zeros(2)
    assert sympy.simplify(f.det() - (a * psi - 1) / b**2) == 0
    inverse = sympy.Matrix([[a, -b], [-b, b**2 * psi]]) / (a * psi - 1)
    assert sympy.simplify(f * inverse - sympy.eye(2)) == sympy.zeros(2)
    assert sympy.simplify(j.inv() * natural.inv() * j.inv().T - inverse) == sympy.zeros(2)
    wrong = sympy.simplify(j.T * natural.inv() * j - inverse)  # the trap: J for J⁻¹
    assert wrong.subs({a: 2, b: 8, psi: 1}) != sympy.zeros(2)
    # in other coordinates, too, the expected Hessian of −log p in them: here u = αβ², v = β/α, both ways
    u, v = a * b**2, b / a
    k = sympy.Matrix([u, v]).jacobian([a, b]).inv()  # ∂(α, β)/∂(u, v)
    assert sympy.simplify(k.T * f * k * (sympy.Matrix([u, v]).jacobian([a, b])) - k.T * f) == sympy.zeros(2)


@pytest.mark.claim("thm-fisher-transforms")
def test_fisher_information_agrees_with_the_expected_hessian_in_the_logarithms():
    """In φ = (log α, log β) the mean Hessian of −log p, by quadrature of autograd's form, is KᵀF(α, β)K."""
    shape, scale = 1.7, 0.6
    phi = torch.log(torch.tensor([shape, scale], dtype=torch.float64))

    def minus_log_density(phi, t):  # linear in the statistics T = (log x, x), so that only E T is needed
        a, b = torch.exp(phi)
        return torch.lgamma(a) + a * torch.log(b) - (a - 1) * t[0] + t[1] / b

    t = [mean_under(math.log, shape, scale), mean_under(lambda x: x, shape, scale)]
    want = torch.autograd.functional.hessian(lambda phi: minus_log_density(phi, t), phi).numpy()
    k = np.diag([shape, scale])
    got = k @ natural_gradient.fisher_information(shape, scale) @ k
    assert_close(got, want, rtol=1e-8, what="KᵀF(α, β)K with K = diag(α, β)")


@pytest.mark.claim("thm-fisher-transforms")
def test_inverse_fisher_of_shape_and_scale():
    """F(α, β)⁻¹ = [[α, −β], [−β, β²ψ₁]]/(αψ₁ − 1) at the six laws, by mpmath."""
    a, b = LAWS.T
    psi = np.array([float(MP.psi(1, MP.mpf(s))) for s in a])
    over = np.array([float(MP.mpf(s) * MP.psi(1, MP.mpf(s)) - 1) for s in a])[:, None, None]
    want = matrices(a, -b, -b, b**2 * psi) / over
    mistakes = {
        "J for J⁻¹? That is F(η)⁻¹ with β² too few and β⁴ too few": matrices(a, -1 / b, -1 / b, psi / b**2) / over,
        "J F(η)⁻¹ Jᵀ where J⁻¹ F(η)⁻¹ J⁻ᵀ belongs?": matrices(a, -1 / b**3, -1 / b**3, psi / b**6) / over,
        "is one J⁻¹ missing, on the left?": matrices(a, -b, -1 / b, psi) / over,
        "is one J⁻¹ missing, on the right?": matrices(a, -1 / b, -b, psi) / over,
        "is this F itself, not inverted?": gamma_fisher(a, b),
        "is the sign of the off-diagonal entries lost?": matrices(a, b, b, b**2 * psi) / over,
        "is each entry inverted by itself?": 1 / gamma_fisher(a, b),
        "is only the diagonal inverted?": matrices(1 / psi, 0, 0, b**2 / a),
        "is the determinant forgotten?": matrices(a / b**2, -1 / b, -1 / b, psi),
        "is the determinant αψ₁ + 1?": matrices(a, -b, -b, b**2 * psi) * 1 / (over + 2),
        "are the diagonal entries not swapped?": matrices(b**2 * psi, -b, -b, a) / over,
        "is it the inverse for α and the rate?": matrices(a, b, b, b**2 * psi) / over,
        "ψ for ψ₁?": matrices(a, -b, -b, b**2 * special.digamma(a)) / (a * special.digamma(a) - 1)[:, None, None],
    }
    got = natural_gradient.inverse_fisher(a, b)
    assert_close(got, want, rtol=1e-9, what="inverse_fisher(shape, scale)", mistakes=mistakes)
    product = got @ natural_gradient.fisher_information(a, b)
    # entries of up to 1e6 that cancel
    assert_close(product, np.broadcast_to(np.eye(2), (6, 2, 2)), rtol=0, atol=1e-7, what="F⁻¹F")


@pytest.mark.parametrize("shape", [1e-70, 1e-12, 1e4, 1e8, 1e15, 1e70])
def test_inverse_fisher_keeps_its_digits_at_far_shapes(shape):
    """At shapes of 1e-70 to 1e70, where αψ₁ − 1 as it stands has no digit left: mpmath's, to ten digits."""
    a = FAR.mpf(shape)
    psi = FAR.psi(1, a)
    over = a * psi - 1
    b = 0.3
    want = [[float(a / over), float(-b / over)], [float(-b / over), float(FAR.mpf(b) ** 2 * psi / over)]]
    with np.errstate(all="ignore"):
        got = np.asarray(natural_gradient.inverse_fisher(shape, b))
    # scipy's ψ₁ at shapes below 20 and any series at those above know twelve digits or more
    right = np.allclose(got, want, rtol=SHARP, atol=0)
    hint = "αψ₁ − 1 cancels at large shapes, if it is right at small ones"
    assert right, f"inverse_fisher({shape:g}, {b}): {hint}. Got {got.tolist()}, want {want}"


@pytest.mark.parametrize("scale", [1e-70, 1.0, 1e70])
def test_fisher_information_holds_at_far_shapes_and_scales(scale):
    """F(α, β) at the shape 1e70, and ∇A at 1e-70 too, with scales as far, against mpmath: no overflow, no zero."""
    shape = 1e70
    want = [[float(FAR.psi(1, FAR.mpf(shape))), 1 / scale], [1 / scale, shape / scale**2]]
    got = natural_gradient.fisher_information(shape, scale)
    assert_close(got, want, rtol=SHARP, what=f"fisher_information({shape:g}, {scale:g})")
    for shape in (1e-70, 1e70):
        log, mean = natural_gradient.mean_statistics(shape, scale)
        want = float(FAR.psi(0, FAR.mpf(shape)) + FAR.log(FAR.mpf(scale)))
        # ψ(1e70) = 161 and log 1e-70 = −161 leave nothing but what they were rounded to, 3e-14
        assert_close(log, want, rtol=SHARP, atol=1e-12, what=f"E log x at ({shape:g}, {scale:g})")
        assert_close(mean, shape * scale, rtol=SHARP, what=f"E x at ({shape:g}, {scale:g})")


def test_fisher_information_of_a_change_of_unit():
    """Twice the scale, half the mixed entry, a quarter of the last; inverse_fisher the other way; the shape alone."""
    c = 2.5
    d = np.diag([1.0, 1 / c])
    for name, change in {"fisher_information": d, "inverse_fisher": np.linalg.inv(d)}.items():
        f = getattr(natural_gradient, name)
        want = change @ f(SHAPES, SCALES) @ change
        assert_close(f(SHAPES, c * SCALES), want, rtol=1e-9, what=f"{name} in another unit of x")


# The divergence


def test_kl_divergence_at_pairs_of_laws():
    """All 36 pairs of the six laws against the formula in tables, to sixty digits."""
    a, b, c, d = (
        side.ravel() for side in (*(m[:, None] + 0 * m for m in LAWS.T), *(0 * m[:, None] + m for m in LAWS.T))
    )
    want = np.array([mp_kl(*four) for four in zip(a, b, c, d, strict=True)])

    def plain(a, b, c, d):
        logs = special.gammaln(c) - special.gammaln(a) + c * np.log(d / b)
        return (a - c) * special.digamma(a) + logs + a * (b - d) / d

    mistakes = {
        "is it KL(other‖first), the wrong way round?": plain(c, d, a, b),
        "is the scale taken for the rate?": plain(a, 1 / b, c, 1 / d),
        "is the sum of both ways taken?": plain(a, b, c, d) + plain(c, d, a, b),
        "is the part of the means missing?": plain(a, 1 / a, c, 1 / c),
        "is the part of the shapes missing?": want - plain(a, 1 / a, c, 1 / c),
        "α in front of ρ − 1 − log ρ, where α′ belongs?": plain(a, 1 / a, c, 1 / c)
        + a * (a * b / (c * d) - 1 - np.log(a * b / (c * d))),
        "is this the quadratic form ½δᵀFδ?": 0.5
        * np.einsum("ni,nij,nj->n", pairs(c - a, d - b), gamma_fisher(a, b), pairs(c - a, d - b)),
    }
    got = natural_gradient.kl_divergence(a, b, c, d)
    assert_close(got, want, rtol=SHARP, atol=1e-12, what="kl_divergence of 36 pairs", mistakes=mistakes)


@pytest.mark.claim("prop-two-rulers")
def test_kl_divergence_is_the_mean_log_ratio_in_two_parts():
    """∫ p log(p/p′) by quadrature is [S(α′) − S(α) − S′(α)(α′ − α)] + α′(ρ − 1 − log ρ), neither part negative."""

    def s(shape):
        return math.lgamma(shape) - shape * math.log(shape) + shape

    for (a, b), (c, d) in itertools.permutations([(0.8, 3.0), (3.0, 2.0), (6.0, 0.2)], 2):
        log_ratio = mean_under(lambda x, a=a, b=b, c=c, d=d: stats_logpdf(x, a, b) - stats_logpdf(x, c, d), a, b)
        rho = a * b / (c * d)
        shapes = s(c) - s(a) + (math.log(a) - special.digamma(a)) * (c - a)
        means = c * (rho - 1 - math.log(rho))
        assert shapes > 0
        assert means > 0
        assert_close(shapes + means, log_ratio, rtol=1e-8, what="the two parts together, against ∫ p log(p/p′)")
        got = natural_gradient.kl_divergence(a, b, c, d)
        mistakes = {
            "is it KL(other‖first), the wrong way round?": mp_kl(c, d, a, b),
            "is the part of the means missing?": shapes,
            "is the part of the shapes missing?": means,
        }
        what = f"kl_divergence({a}, {b}, {c}, {d}), against ∫ p log(p/p′)"
        assert_close(got, log_ratio, rtol=1e-8, what=what, mistakes=mistakes)


@pytest.mark.claim("prop-two-rulers", kind="symbolic")
def test_the_two_rulers_by_sympy():
    """KL's two parts are the formula in tables; in (α, m = αβ) the Fisher matrix is diag(ψ₁ − 1/α, α/m²)."""
    a, b, c, d, m = sympy.symbols("alpha beta gamma delta m", positive=True)

    def s(t):
        return sympy.loggamma(t) - t * sympy.log(t) + t

    rho = a * b / (c * d)
    slope = sympy.polygamma(0, a) - sympy.log(a)
    parts = s(c) - s(a) - slope * (c - a) + c * (rho - 1 - sympy.log(rho))
    table = (a - c) * sympy.polygamma(0, a) - sympy.loggamma(a) + sympy.loggamma(c) + c * sympy.log(d / b)
    table += a * (b - d) / d
    assert sympy.simplify(sympy.expand(sympy.expand_log(parts - table, force=True))) == 0
    j = sympy.Matrix([a, m / a]).jacobian([a, m])  # ∂(α, β)/∂(α, m)
    f = sympy.Matrix([[sympy.polygamma(1, a), a / m], [a / m, a * a**2 / m**2]])  # F(α, β) with β = m/α
    want = sympy.diag(sympy.polygamma(1, a) - 1 / a, a / m**2)
    assert sympy.simplify(j.T * f * j - want) == sympy.zeros(2)


@pytest.mark.claim("prop-two-rulers")
def test_fisher_information_is_diagonal_in_shape_and_mean():
    """KᵀF(α, β)K with K = ∂(α, β)/∂(α, m) is diag(ψ₁ − 1/α, α/m²) at the six laws."""
    a, b = LAWS.T
    k = matrices(1, 0, -b / a, 1 / a)
    got = k.swapaxes(-1, -2) @ natural_gradient.fisher_information(a, b) @ k
    want = matrices(trigamma(a) - 1 / a, 0, 0, a / (a * b) ** 2)
    assert_close(got, want, rtol=1e-9, atol=1e-12, what="the Fisher matrix of (α, αβ)")


def test_kl_divergence_is_zero_only_at_home_and_never_negative(rng):
    """0 for equal laws, and not below 0 however near: 2,000 laws a billionth apart, a few by mpmath."""
    assert_close(natural_gradient.kl_divergence(SHAPES, SCALES, SHAPES, SCALES), np.zeros(6), rtol=0, atol=1e-12)
    shape, scale = rng.exponential(5, 2000) + 0.01, rng.exponential(5, 2000) + 0.01
    near = shape * (1 + 1e-9 * rng.standard_normal(2000)), scale * (1 + 1e-9 * rng.standard_normal(2000))
    got = natural_gradient.kl_divergence(shape, scale, *near)
    assert np.all(got >= -1e-300), f"kl_divergence of laws a billionth apart is negative: {got.min():g}"
    few = slice(None, None, 50)
    want = [mp_kl(*four) for four in zip(shape[few], scale[few], near[0][few], near[1][few], strict=True)]
    # S and its tangent are of up to a hundred here, and rounded to 1e-14
    assert_close(got[few], want, rtol=1e-7, atol=1e-13, what="kl_divergence of laws a billionth apart")


@pytest.mark.parametrize("shape", [1e6, 1e10, 1e15])
def test_kl_divergence_keeps_its_digits_at_huge_shapes(shape):
    """At shapes of 1e6 to 1e15, in whose log Γ(α) of up to 3e16 a KL of about 1 has no digit: mpmath's to eight."""
    other_shape, scale, other_scale = 1.5 * shape, 2.0, 2.0 / 1.5
    wide = other_scale * (1 + 1 / math.sqrt(shape))
    got = natural_gradient.kl_divergence(shape, scale, other_shape, wide)
    want = mp_kl(shape, scale, other_shape, wide, FAR)
    message = f"log Γ(α) of huge shapes cancels, if small ones are right: got {got}, want {want}"
    # the scale itself is rounded to 1e-16, which its distance of 1/√α ≥ 3e-8 knows to 1e-8
    assert np.isclose(got, want, rtol=1e-6, atol=0), (
        f"kl_divergence({shape:g}, 2, {other_shape:g}, {wide:g}): {message}"
    )


def test_kl_divergence_of_near_laws_has_its_third_order():
    """Shapes and scales a few ten-thousandths apart: mpmath's KL to five digits, more than the quadratic form has."""
    for law in LAWS:
        other = law * [1.0005, 0.9997]
        d = other - law
        mistakes = {"is it the quadratic form ½ d·Fd alone?": d @ gamma_fisher(*law) @ d / 2}
        got = natural_gradient.kl_divergence(*law, *other)
        # terms of up to 1e3 that cancel, rounded to 1e-13
        what = f"kl_divergence of {law} and {other}"
        assert_close(got, mp_kl(*law, *other), rtol=1e-5, atol=3e-12, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-kl-quadratic")
def test_kl_divergence_is_half_the_quadratic_form_and_a_third_order():
    """KL(η‖η+δ) = ½δᵀFδ + D³A/6, KL(η+δ‖η) = ½δᵀFδ + D³A/3: the errors fall as |δ|³, then as |δ|⁴."""
    for law, direction in [((3.0, 2.0), (0.6, 0.08)), ((0.7, 0.5), (-0.2, 0.5)), ((9.0, 1.0), (1.5, -0.1))]:
        eta, delta = natural_gradient.to_natural(*law), np.array(direction)
        f = natural_gradient.natural_fisher(eta)
        a, b = law
        d1, d2 = delta  # D³A of A = log Γ(η₁ + 1) − (η₁ + 1) log(−η₂), term by term
        third = special.polygamma(2, a) * d1**3 + 3 * b**2 * d1 * d2**2 + 2 * a * b**3 * d2**3
        for t in (0.02, 0.01):
            there = natural_gradient.from_natural(eta + t * delta)
            form = 0.5 * t**2 * delta @ f @ delta
            ways = {
                "KL(η‖η+δ)": (natural_gradient.kl_divergence(*law, *there), third / 6),
                "KL(η+δ‖η)": (natural_gradient.kl_divergence(*there, *law), third / 3),
            }
            for way, (got, cubic) in ways.items():
                left = (got - form) / t**3
                # what is left is of fourth order: t times a tenth of the form's size, and rounding of 1e-15/t³
                assert_close(left, cubic, rtol=0, atol=t * delta @ f @ delta, what=f"({way} − ½δᵀFδ)/t³ at {law}")


@pytest.mark.claim("thm-kl-quadratic", kind="symbolic")
def test_the_third_order_of_kl_by_sympy():
    """For any A: A(η+δ) − A(η) − δA′ = ½A″δ² + A‴δ³/6 + …, the other way round A‴δ³/3; in θ too ½F only."""
    eta, delta = sympy.symbols("eta delta")
    for area in (-sympy.log(-eta), sympy.exp(eta), sympy.loggamma(eta + 1)):
        there = area.subs(eta, eta + delta)
        forwards = there - area - delta * sympy.diff(area, eta)
        backwards = area - there + delta * sympy.diff(area, eta).subs(eta, eta + delta)
        second, third = sympy.diff(area, eta, 2), sympy.diff(area, eta, 3)
        for divergence, share in ((forwards, 6), (backwards, 3)):
            derivatives = [sympy.diff(divergence, delta, k).subs(delta, 0) for k in range(4)]
            assert [sympy.simplify(d) for d in derivatives[:2]] == [0, 0]
            assert sympy.simplify(derivatives[2] - second) == 0
            assert sympy.simplify(derivatives[3] - 6 * third / share) == 0


@pytest.mark.claim("thm-kl-quadratic", kind="automatic differentiation")
def test_kl_divergence_has_the_fisher_matrix_as_its_hessian():
    """The Hessian of δ ↦ KL(θ‖θ+δ) at 0 by PyTorch is fisher_information, in (α, β) and in the logarithms."""
    for law in LAWS:
        here = torch.distributions.Gamma(*(torch.tensor(v, dtype=torch.float64) for v in (law[0], 1 / law[1])))

        def kl(other, here=here):
            return torch.distributions.kl_divergence(here, torch.distributions.Gamma(other[0], 1 / other[1]))

        slope, curvature = slope_and_curvature(kl, law)
        f = natural_gradient.fisher_information(*law)
        assert_close(slope * law, np.zeros(2), rtol=0, atol=1e-10, what="the slope of KL at home")
        assert_close(f, curvature, rtol=1e-9, what=f"fisher_information{tuple(law)} as the Hessian of KL")
        _, curvature = slope_and_curvature(lambda phi, kl=kl: kl(torch.exp(phi)), np.log(law))
        assert_close(np.diag(law) @ f @ np.diag(law), curvature, rtol=1e-9, what="KᵀFK in (log α, log β)")


# The likelihood


def test_mean_nll_is_minus_the_mean_of_scipy_s_logpdf(rng):
    """L(α, β) = −(1/n) Σ log p(xᵢ) with scipy's gamma law, for data of one's own, a law at a time and all at once."""
    x = rng.gamma(1.4, 3.0, 37)
    a, b = LAWS.T
    want = np.array([-stats.gamma.logpdf(x, s, scale=t).mean() for s, t in LAWS])
    log, mean = averages(x)
    g = special.gammaln(a)
    mistakes = {
        "is the scale taken for the rate?": g - a * np.log(b) - (a - 1) * log + mean * b,
        "is it the sum over the data, not the mean?": want * 37,
        "is it the log-likelihood, without the minus?": -want,
        "is log Γ(α) missing?": want - g,
        "is α log β missing?": want - a * np.log(b),
        "α log x where (α − 1) log x belongs?": want - log,
        "the log of the mean for the mean of the logs?": want - (a - 1) * (np.log(mean) - log),
        "log Γ(α) with the sign reversed?": want - 2 * g,
        "is (α − 1) log x added, not taken off?": want + 2 * (a - 1) * log,
        "is x̄ β where x̄/β belongs?": want - mean / b + mean * b,
        "the median for the mean?": want + (np.median(x) - mean) / b,
    }
    got = natural_gradient.mean_nll(a, b, x)
    assert_close(got, want, rtol=SHARP, what="mean_nll(shape, scale, x)", mistakes=mistakes)
    assert_close(natural_gradient.mean_nll(3, 2, x), want[1], rtol=SHARP, what="mean_nll(3, 2, x)")


def test_nll_gradient_is_autograd_s(rng):
    """∇L by PyTorch at the six laws, for data of one's own; at (½, 8) on the chapter's data that of the closed form."""
    x = rng.gamma(1.4, 3.0, 37)
    a, b = LAWS.T
    want = np.array([slope_and_curvature(lambda law: torch_nll(law, x), law)[0] for law in LAWS])
    log, mean = averages(x)
    psi = special.digamma(a)
    one, two = want.T
    mistakes = {
        "is the scale taken for the rate?": pairs(psi - np.log(b) - log, mean - a / b),
        "is this the slope at (α, 1/β), with the scale taken for the rate?": pairs(
            psi - np.log(b) - log, (a - mean * b) * b
        ),
        "is this the slope of the log-likelihood, a sign?": -want,
        "is it the sum over the data, not the mean?": want * 37,
        "is log β missing?": pairs(one - np.log(b), two),
        "is the sign of log β reversed?": pairs(one - 2 * np.log(b), two),
        "the trigamma function ψ₁ for ψ?": pairs(one - psi + trigamma(a), two),
        "is the slope in β times β²?": pairs(one, two * b**2),
        "is the slope in β times β?": pairs(one, two * b),
        "is this the slope in log α and log β?": pairs(one * a, two * b),
        "is this the slope in η, E T − T̄?": pairs(one, two * b**2),
        "is x̄/β where x̄/β² belongs?": pairs(one, (a - mean) / b),
        "the log of the mean for the mean of the logs?": pairs(one + log - np.log(mean), two),
        "are the two the wrong way round?": want[:, ::-1],
        "is F⁻¹∇L returned, not ∇L?": np.linalg.solve(gamma_fisher(a, b), want[..., None])[..., 0],
    }
    got = natural_gradient.nll_gradient(a, b, x)
    assert_close(got, want, rtol=1e-9, atol=1e-12, what="nll_gradient(shape, scale, x)", mistakes=mistakes)
    x = the_data()
    what = "nll_gradient(0.5, 8, x) on the chapter's data"
    assert_close(natural_gradient.nll_gradient(0.5, 8.0, x), slope_of(0.5, 8.0, x), rtol=SHARP, what=what)


@pytest.mark.claim("prop-nll-convexity", kind="automatic differentiation")
def test_nll_hessian_is_autograd_s(rng):
    """∇²L by PyTorch at the six laws, for data of one's own."""
    x = rng.gamma(1.4, 3.0, 37)
    a, b = LAWS.T
    want = np.array([slope_and_curvature(lambda law: torch_nll(law, x), law)[1] for law in LAWS])
    mean = x.mean()
    psi, last = want[:, 0, 0], want[:, 1, 1]
    mistakes = {
        "is this the Fisher matrix? It is the Hessian only where αβ = x̄": gamma_fisher(a, b),
        "is it the Hessian of the log-likelihood, a sign?": -want,
        "is the scale taken for the rate?": matrices(psi, -1 / b, -1 / b, a / b**2),
        "is the 2 of 2x̄/β³ missing?": matrices(psi, 1 / b, 1 / b, last - mean / b**3),
        "is the sign of α/β² reversed?": matrices(psi, 1 / b, 1 / b, last + 2 * a / b**2),
        "is it the sum over the data, not the mean?": want * 37,
        "is the mixed entry's sign reversed?": matrices(psi, -1 / b, -1 / b, last),
        "is this the Hessian in η?": matrices(psi, b, b, a * b**2),
        "ψ for ψ₁?": matrices(special.digamma(a), 1 / b, 1 / b, last),
    }
    got = natural_gradient.nll_hessian(a, b, x)
    assert_close(got, want, rtol=1e-9, what="nll_hessian(shape, scale, x)", mistakes=mistakes)


@pytest.mark.claim("prop-nll-convexity")
def test_nll_hessian_is_positive_definite_just_where_the_mean_is_large_enough():
    """On a grid of 900 laws the smaller eigenvalue is positive iff 2x̄/β > α + 1/ψ₁(α); both kinds occur."""
    mean = OWN.mean()
    shape, scale = (side.ravel() for side in np.meshgrid(np.logspace(-2, 2, 30), np.logspace(-2, 2, 30)))
    margin = 2 * mean / scale - shape - 1 / trigamma(shape)
    hessian = natural_gradient.nll_hessian(shape, scale, OWN)
    unit = matrices(1, 0, 0, 1 * scale)  # the unit of β changes no sign, and keeps the eigenvalues apart
    lowest = np.linalg.eigvalsh(unit @ hessian @ unit)[:, 0]
    clear = np.abs(margin) > 1e-6 * shape
    assert np.array_equal(lowest[clear] > 0, margin[clear] > 0), "positive definite elsewhere than 2x̄/β > α + 1/ψ₁"
    assert 100 < np.sum(margin > 0) < 800
    edge = 2 * mean / (shape + 1 / trigamma(shape))  # the boundary itself
    det = np.linalg.det(natural_gradient.nll_hessian(shape, edge, OWN)) * edge**2
    assert_close(det / (shape * trigamma(shape)), np.zeros(900), rtol=0, atol=1e-10, what="det ∇²L on the boundary")


@pytest.mark.claim("prop-nll-convexity", kind="automatic differentiation")
def test_mean_nll_is_strictly_convex_in_eta(rng):
    """In η the Hessian of L by PyTorch is F(η), positive definite; L between two laws lies below their chord."""
    for eta in etas():
        _, curvature = slope_and_curvature(lambda eta: torch_nll(torch.stack([eta[0] + 1, -1 / eta[1]]), OWN), eta)
        assert_close(natural_gradient.natural_fisher(eta), curvature, rtol=1e-9, what="F(η) as the Hessian of L in η")
        scaled = np.diag([1, -eta[1]]) @ curvature @ np.diag([1, -eta[1]])
        assert np.linalg.eigvalsh(scaled)[0] > 0
    one, two = (pairs(rng.exponential(3, 300) - 0.99, -rng.exponential(2, 300) - 0.01) for _ in range(2))

    def nll(eta):
        return natural_gradient.mean_nll(eta[:, 0] + 1, -1 / eta[:, 1], OWN)

    assert np.all(nll((one + two) / 2) < (nll(one) + nll(two)) / 2), "mean_nll is not convex in η"


def test_mean_nll_knows_of_the_data_only_two_averages(rng):
    """Thrice the same data, in another order: the same L, slope, Hessian and fit; a mean is not a sum."""
    x = rng.gamma(2.0, 0.5, 25)
    thrice = rng.permutation(np.tile(x, 3))
    for name in ("mean_nll", "nll_gradient", "nll_hessian"):
        f = getattr(natural_gradient, name)
        mistakes = {"is it the sum over the data, not the mean?": 3 * np.asarray(f(1.3, 0.8, x))}
        assert_close(
            f(1.3, 0.8, thrice), f(1.3, 0.8, x), rtol=SHARP, what=f"{name}, all data thrice", mistakes=mistakes
        )
    assert_close(natural_gradient.mle(thrice), natural_gradient.mle(x), rtol=FITTED, what="mle, all data thrice")


def test_mean_nll_of_one_datum_and_far_out():
    """One datum alone, data of 1e-60 and 1e60, shapes and scales of 1e±60: mpmath's L, without a warning."""
    cases = [
        (2.0, 3.0, [4.0]),
        (0.5, 1e60, [1e-60, 1e60]),
        (1e-60, 1.0, [1e-60, 5.0]),
        (1e60, 1e-60, [1.0, 2.0]),
    ]
    for shape, scale, x in cases:
        a, b = FAR.mpf(shape), FAR.mpf(scale)
        terms = [FAR.loggamma(a) + a * FAR.log(b) - (a - 1) * FAR.log(FAR.mpf(v)) + FAR.mpf(v) / b for v in x]
        want = float(sum(terms) / len(x))
        got = natural_gradient.mean_nll(shape, scale, np.array(x))
        # log Γ(1e60) = 1.4e62 cancels against α log β to no digit but those of its size
        assert_close(got, want, rtol=SHARP, atol=1e-12 * shape * 140, what=f"mean_nll({shape:g}, {scale:g}, {x})")


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_mean_nll_and_nll_gradient_of_so_many_data_that_their_product_overflows(unit):
    """Two thousand data that are two in turn: L, ∇L, the fit, the flow and the descent are those of the two."""
    few = np.array([2.0, 5.0]) * unit
    many = np.tile(few, 1000)
    start, times = np.array([0.7, 3.0 * unit]), np.array([0.4, 2.0])
    functions = {
        "mean_nll": lambda x: natural_gradient.mean_nll(0.7, 3.0 * unit, x),
        "nll_gradient": lambda x: natural_gradient.nll_gradient(0.7, 3.0 * unit, x),
        "mle": natural_gradient.mle,
        "natural_flow": lambda x: natural_gradient.natural_flow(start, x, times),
        "descend": lambda x: natural_gradient.descend(
            x, start, rate=0.1, steps=3, natural=True, coordinates="log", floor=1e-12
        ),
    }
    for name, f in functions.items():
        with np.errstate(all="ignore"):
            got, want = np.asarray(f(many)), np.asarray(f(few))
        assert np.isfinite(got).all(), f"{name} of 2000 data is {got}: sum their logarithms, as their product overflows"
        assert_close(got, want, rtol=FITTED, what=f"{name} of 2000 data, two in turn")


# The likeliest law


def likeliest(x):
    """log α − ψ(α) = s by mpmath's root finder, from sixty digits of s on."""
    x = [MP.mpf(float(v)) for v in x]
    mean = sum(x) / len(x)
    gap = MP.log(mean) - sum(MP.log(v) for v in x) / len(x)
    low, high = 1 / (2 * gap), 1 / gap
    shape = MP.findroot(lambda a: MP.log(a) - MP.psi(0, a) - gap, (low, high), solver="ridder", tol=1e-50)
    return np.array([float(shape), float(mean / shape)])


def moments(x):
    return np.array([x.mean() ** 2 / x.var(), x.var() / x.mean()])


@pytest.mark.claim("thm-gamma-mle")
def test_mle_solves_its_two_equations(rng):
    """log α̂ − ψ(α̂) = log x̄ − mean log x and α̂β̂ = x̄, by mpmath's root finder, for four data sets."""
    for x in (OWN, rng.gamma(0.3, 5, 30), rng.gamma(40, 0.1, 50), np.array([1.0, 2.0])):
        want = likeliest(x)
        s = np.log(x.mean()) - np.log(x).mean()
        first = (3 - s + np.sqrt((s - 3) ** 2 + 24 * s)) / (12 * s)
        shape, scale = want
        mistakes = {
            "are these the moments x̄²/s² and s²/x̄, not the likeliest?": moments(x),
            "the moments, with n − 1 for n?": np.array([x.mean() ** 2 / x.var(ddof=1), x.var(ddof=1) / x.mean()]),
            "is it the usual first guess, without Newton's steps?": np.array([first, x.mean() / first]),
            "is the second the rate, 1/β?": np.array([shape, 1 / scale]),
            "is it (scale, shape)?": want[::-1],
            "is it 1/(2s), the first term of the series?": np.array([1 / (2 * s), 2 * s * x.mean()]),
        }
        assert_close(natural_gradient.mle(x), want, rtol=FITTED, what=f"mle of {len(x)} data", mistakes=mistakes)


def test_mle_is_scipy_s_fit(rng):
    """scipy.stats.gamma.fit with loc = 0, for the chapter's data and for 200 others; not the law they came from."""
    for x in (the_data(), rng.gamma(1.4, 3.0, 200)):
        shape, _, scale = stats.gamma.fit(x, floc=0)
        mistakes = {
            "is this the law that the data were drawn from? The likeliest is another": [3.0, 2.0],
            "are these the moments, not the likeliest?": moments(x),
            "is the second the rate, 1/β?": [shape, 1 / scale],
        }
        assert_close(natural_gradient.mle(x), [shape, scale], rtol=1e-7, what="mle(x)", mistakes=mistakes)


@pytest.mark.claim("thm-gamma-mle")
def test_mle_is_the_only_minimum(rng):
    """L − L(θ̂) = KL(θ̂‖θ) at 400 laws, to rounding, so positive elsewhere; there ∇L = 0; 1/(2s) < α̂ < 1/s."""
    for x in (OWN, rng.gamma(5.0, 0.2, 40)):
        best = natural_gradient.mle(x)
        shape, scale = rng.lognormal(0, 1.5, (2, 400))
        above = natural_gradient.mean_nll(shape, scale, x) - natural_gradient.mean_nll(*best, x)
        want = np.array([mp_kl(*best, *law) for law in zip(shape, scale, strict=True)])
        # the L of a law far off is in the hundreds, and rounded to 1e-13
        assert_close(above, want, rtol=1e-7, atol=1e-11, what="L(θ) − L(θ̂), against KL(θ̂‖θ)")
        got = natural_gradient.kl_divergence(*best, shape, scale)
        assert_close(above, got, rtol=1e-7, atol=1e-11, what="L(θ) − L(θ̂), against kl_divergence(θ̂, θ)")
        slope = natural_gradient.nll_gradient(*best, x) * best
        assert_close(slope, [0, 0], rtol=0, atol=1e-7, what="the slope of L in the logarithms at mle(x)")
        s = np.log(x.mean()) - np.log(x).mean()
        assert 1 / (2 * s) < best[0] < 1 / s, f"mle: the shape {best[0]} is not between 1/(2s) and 1/s, s = {s}"


@pytest.mark.claim("thm-gamma-mle")
def test_mean_nll_has_no_minimum_where_all_data_are_equal():
    """Along β = x/α it is S(α) + log x, which falls below every bound: about −½ log α."""
    shape = np.logspace(0, 8, 9)
    got = natural_gradient.mean_nll(shape, 5.0 / shape, np.full(4, 5.0))
    want = [float(MP.loggamma(a) - a * MP.log(a) + a + MP.log(5)) for a in map(MP.mpf, shape)]
    assert_close(got, want, rtol=0, atol=1e-5, what="mean_nll(α, x/α) of equal data")  # 1e9, rounded to 1e-7
    assert np.all(np.diff(got) < -1), "S(α) + log x should fall by ½ log 10 a decade"


def test_mle_of_data_of_every_kind(rng):
    """Two data, integers, a spread of 1e-3 to 1e3, in another unit: αs the same, β in the unit."""
    x = rng.integers(1, 50, 12)
    assert_close(natural_gradient.mle(x), likeliest(x), rtol=FITTED, what="mle of integers")
    assert_close(natural_gradient.mle(np.array([1, 7])), likeliest([1, 7]), rtol=FITTED, what="mle of (1, 7)")
    wide = np.array([1e-3, 1e3, 1.0])
    assert_close(natural_gradient.mle(wide), likeliest(wide), rtol=FITTED, what="mle of data far apart")
    for unit in (1e-9, 1e7):
        want = natural_gradient.mle(OWN) * [1, unit]
        assert_close(natural_gradient.mle(unit * OWN), want, rtol=1e-7, what=f"mle of the data times {unit:g}")


@pytest.mark.parametrize("spread", [1e-3, 1e-5, 1e-7])
def test_mle_of_nearly_equal_data(spread):
    """Of (1, 1 + spread), of shape up to 4e14, where log x̄ − mean log x as it stands keeps no digit: mpmath's."""
    x = np.array([1.0, 1.0 + spread])
    got, want = np.asarray(natural_gradient.mle(x)), likeliest(x)
    # the spread itself is what was rounded: by 1e-16 of 1, 1e-9 of 1e-7
    message = f"mle of {x}: log x̄ − mean log x cancels, if other data are right. Got {got}, want {want}"
    assert np.allclose(got, want, rtol=1e-6, atol=0), message


def test_from_mean_statistics_is_the_way_back():
    """mean_statistics undone at laws between 0.06 and 150, and at a grid of ψ(α) + log β and αβ given."""
    t = natural_gradient.mean_statistics(SHAPES, SCALES)
    gap = np.log(t[:, 1]) - t[:, 0]
    first = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    mistakes = {
        "is it the usual first guess, without Newton's steps?": pairs(first, t[:, 1] / first),
        "is the second the rate, 1/β?": pairs(SHAPES, 1 / SCALES),
        "is the second the mean αβ?": pairs(SHAPES, SHAPES * SCALES),
    }
    got = natural_gradient.from_mean_statistics(*t.T)
    assert_close(got, LAWS, rtol=FITTED, what="from_mean_statistics(mean_statistics)", mistakes=mistakes)
    log, mean = np.array([[-3.0], [0.1]]), np.array([1.2, 5.0, 40.0])
    got = natural_gradient.from_mean_statistics(log, mean)
    assert np.shape(got) == (2, 3, 2), f"from_mean_statistics should broadcast to (2, 3, 2), got {np.shape(got)}"
    gap = np.log(mean) - log
    first = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    shape = [
        [optimize.brentq(lambda a, s=s: np.log(a) - special.digamma(a) - s, 0.4 / s, 1.1 / s, xtol=1e-14) for s in row]
        for row in gap
    ]
    mistakes = {"is it the usual first guess, without Newton's steps?": pairs(first, mean / first)}
    want = pairs(np.array(shape), mean / shape)
    assert_close(got, want, rtol=FITTED, what="from_mean_statistics, by root finding", mistakes=mistakes)


@pytest.mark.parametrize("gap", [1e-6, 1e-3, 0.4, 30.0, 600.0])
def test_from_mean_statistics_at_near_and_far_averages(gap):
    """α with log α − ψ(α) = s for s from 1e-6 to 600, that is shapes from 5e5 to 1/600: the equation, by mpmath."""
    shape, scale = natural_gradient.from_mean_statistics(-gap, 1.0)
    # −gap is exact, and log 1 = 0: what is left is the equation, whose slope in log α is between ½ s and 2 s
    assert_close(float(mp_gap(float(shape))), gap, rtol=FITTED, what=f"log α − ψ(α) for s = {gap:g}")
    assert_close(shape * scale, 1.0, rtol=SHARP, what="αβ")


# The natural flow


def right_hand_side(x):
    mean_log, mean = averages(x)

    def move(t, law):
        shape, scale = law
        one, two = math.log(scale) + special.digamma(shape) - mean_log, shape / scale - mean / scale**2
        psi = special.zeta(2, shape)
        over = shape * psi - 1
        return [(scale * two - shape * one) / over, scale * (one - scale * psi * two) / over]

    return move


@pytest.mark.claim("thm-straight-flow")
def test_natural_flow_is_what_a_solver_follows():
    """dθ/dt = −F⁻¹∇L by scipy's DOP853, on the chapter's data and on one's own."""
    for x, start in [(the_data(), START), (OWN, np.array([4.0, 0.2]))]:
        times = np.array([0.0, 0.1, 0.7, 2.0, 5.0])
        solved = integrate.solve_ivp(right_hand_side(x), (0, 5), start, "DOP853", times, rtol=1e-11, atol=1e-12)
        best = likeliest(x)
        left = np.exp(-times)[:, None]
        here, there = INTO["natural"](start), INTO["natural"](best)
        eta = left * here + (1 - left) * there
        half = integrate.solve_ivp(right_hand_side(x), (0, 3), start, "DOP853", times / 2, rtol=1e-11, atol=1e-12).y.T
        euler = np.array(
            [start if t == 0 else walk(x, start, rate=t / 400, steps=400, natural=True)[-1] for t in times]
        )
        mistakes = {
            "is the line straight in (α, β), not in the means?": left * start + (1 - left) * best,
            "is the line straight in η, not in the means?": pairs(eta[:, 0] + 1, -1 / eta[:, 1]),
            "straight in the logarithms, not in the means?": start**left * best ** (1 - left),
            "are these values of t against those of a flow half as fast?": half,
            "is this the descent in many small steps, each a step of Euler's, and not the flow itself?": euler,
        }
        got = natural_gradient.natural_flow(start, x, times)
        what = f"natural_flow from {start}"
        assert_close(got, solved.y.T, rtol=FOLLOWED, what=what, mistakes=mistakes)


def test_natural_flow_begins_and_ends_where_it_should():
    """At t = 0 the start, at t = 40 the likeliest law; times in any order, one alone, and half-way in the means."""
    got = natural_gradient.natural_flow(START, OWN, np.array([40.0, 0.0, 1.5, 0.0]))
    best = likeliest(OWN)
    assert_close(
        got[1], START, rtol=FOLLOWED, what="natural_flow at t = 0", mistakes={"is e^{−t} the wrong way?": best}
    )
    assert_close(got[0], best, rtol=FOLLOWED, what="natural_flow at t = 40", mistakes={"does it not move?": START})
    assert_close(got[3], got[1], rtol=SHARP, what="natural_flow at the same time twice")
    alone = natural_gradient.natural_flow(START, OWN, np.array([1.5]))
    assert_close(alone, got[2:3], rtol=SHARP, what="natural_flow at one time alone, which it must not restart from 0")
    half = natural_gradient.natural_flow(START, OWN, np.array([math.log(2)]))[0]
    t = [special.digamma(0.5) + math.log(8), 4.0]
    mean = (np.array(t) + averages(OWN)) / 2
    means = [special.digamma(half[0]) + np.log(half[1]), half[0] * half[1]]
    assert_close(means, mean, rtol=FOLLOWED, what="(E log x, E x) at t = log 2, half-way to the averages")


@pytest.mark.claim("thm-straight-flow")
def test_natural_flow_is_straight_in_the_means(rng):
    """(E log x, E x) − T̄ shrinks as e^{−t} for 50 data sets and starts, for ever and to the likeliest law."""
    times = np.array([0.0, 0.3, 1.0, 4.0, 13.0, 30.0])
    for _ in range(50):
        x, start = rng.gamma(rng.uniform(0.2, 8), 3.0, 10), rng.lognormal(0, 1, 2)
        flow = natural_gradient.natural_flow(start, x, times)
        means = pairs(special.digamma(flow[:, 0]) + np.log(flow[:, 1]), flow.prod(1))
        away = means - averages(x)
        assert_close(away, np.exp(-times)[:, None] * away[0], rtol=1e-6, atol=1e-7, what="the means less the averages")
        assert_close(flow[-1], natural_gradient.mle(x), rtol=1e-6, what="natural_flow at t = 30, against mle")


@pytest.mark.claim("thm-straight-flow")
def test_natural_flow_exists_for_equal_data_too():
    """Of data that are all 3 the flow has no end, but it is there at every time: its means are on the line."""
    x, times = np.full(4, 3.0), np.array([0.5, 2.0, 8.0])
    flow = natural_gradient.natural_flow(START, x, times)
    means = pairs(special.digamma(flow[:, 0]) + np.log(flow[:, 1]), flow.prod(1))
    start = np.array([special.digamma(0.5) + math.log(8), 4.0])
    want = averages(x) + np.exp(-times)[:, None] * (start - averages(x))
    assert_close(means, want, rtol=1e-7, what="(E log x, E x) along the flow of equal data")
    assert np.all(np.diff(flow[:, 0]) > 0), "the shape should grow, for ever"
    try:
        late = natural_gradient.natural_flow(START, x, np.array([0.5, 90.0]))
    except ValueError as error:
        named = str(error).startswith(("x ", "times "))
        assert named, f"natural_flow of equal data at t = 90 raised {error}, which names neither x nor times"  # noqa: PT017
    else:
        assert np.isfinite(late).all(), (
            f"natural_flow of equal data at t = 90 is {late.tolist()}: refuse it, or say where"
        )


@pytest.mark.claim("thm-straight-flow", kind="automatic differentiation")
def test_natural_fisher_is_the_jacobian_of_the_means():
    """∂m/∂η = F(η), so F(m) = F(η)⁻¹ and a natural step in m is m ← (1 − λ)m + λT̄: at the six laws, by PyTorch."""

    def means(eta):
        return torch.stack([torch.digamma(eta[0] + 1) - torch.log(-eta[1]), -(eta[0] + 1) / eta[1]])

    for eta in etas():
        f = torch.autograd.functional.jacobian(means, torch.tensor(eta)).numpy()
        assert_close(natural_gradient.natural_fisher(eta), f, rtol=1e-9, what=f"natural_fisher({eta})")
        in_means = np.linalg.inv(f).T @ f @ np.linalg.inv(f)  # F(m) = KᵀF(η)K with K = ∂η/∂m
        assert_close(in_means, np.linalg.inv(f), rtol=1e-6, what="F(m), against F(η)⁻¹")
        law = BACK["natural"](eta)
        m = natural_gradient.mean_statistics(*law)
        stretch = np.linalg.inv(STRETCH["natural"](law) @ np.eye(2))  # ∂η/∂(α, β)
        k = np.linalg.inv(f @ stretch)  # ∂(α, β)/∂m
        slope = k.T @ natural_gradient.nll_gradient(*law, OWN)
        step = np.linalg.solve(in_means, slope)
        assert_close(step, m - averages(OWN), rtol=1e-5, atol=1e-8, what="F(m)⁻¹ ∂L/∂m, against m − T̄")


@pytest.mark.claim("thm-flow-invariant")
def test_natural_flow_is_the_same_in_all_coordinates():
    """dφ/dt = −F(φ)⁻¹∇L solved in the logarithms, in η and in (log α, αβ): carried back, all the same flow."""
    ways = {
        "the logarithms": (np.log, np.exp, np.diag),
        "η": (INTO["natural"], BACK["natural"], STRETCH["natural"]),
        "(log α, αβ)": (
            lambda law: np.array([np.log(law[0]), law[0] * law[1]]),
            lambda phi: np.array([np.exp(phi[0]), phi[1] / np.exp(phi[0])]),
            lambda law: np.array([[law[0], 0.0], [-law[1], 1 / law[0]]]),
        ),
    }
    times = np.array([0.2, 1.0, 3.0])
    want = natural_gradient.natural_flow(START, OWN, times)
    for name, (into, back, stretch) in ways.items():

        def move(t, phi, back=back, stretch=stretch):
            law = back(phi)
            return -natural_direction(law, slope_of(*law, OWN), stretch(law))

        solved = integrate.solve_ivp(move, (0, 3), into(START), "DOP853", times, rtol=1e-11, atol=1e-12)
        got = np.array([back(phi) for phi in solved.y.T])
        assert_close(got, want, rtol=FOLLOWED, what=f"the flow solved in {name}, against natural_flow")


@pytest.mark.claim("thm-flow-invariant")
def test_natural_flow_goes_down_at_the_rate_of_its_slope():
    """dL/dt = −∇LᵀF⁻¹∇L along natural_flow, by central differences in time."""
    times = np.array([0.05, 0.4, 1.0, 2.5])
    h = 1e-4
    here = natural_gradient.natural_flow(START, OWN, times)
    late, early = (
        natural_gradient.mean_nll(*natural_gradient.natural_flow(START, OWN, times + s).T, OWN) for s in (h, -h)
    )
    slopes = natural_gradient.nll_gradient(*here.T, OWN)
    want = -np.einsum("ni,nij,nj->n", slopes, natural_gradient.inverse_fisher(*here.T), slopes)
    # central differences err by h²/6 times a third derivative, of the size of the slope: 1e-8; rounding 1e-15/h
    assert_close((late - early) / (2 * h), want, rtol=1e-6, atol=1e-9, what="dL/dt along natural_flow")


@pytest.mark.claim("thm-steepest-descent")
def test_natural_direction_is_the_steepest_on_small_kl_circles():
    """The lowest L on KL(θ‖θ+δ) = ε, searched by angle: δ/√(2ε) → −F⁻¹g/√(gᵀF⁻¹g), ten times nearer for ε/100."""
    for law in (START, np.array([4.0, 0.3])):
        slope = natural_gradient.nll_gradient(*law, OWN)
        inverse = natural_gradient.inverse_fisher(*law)
        want = -inverse @ slope / math.sqrt(slope @ inverse @ slope)
        root = np.linalg.cholesky(inverse)  # circles of the form ½δᵀFδ = ε become round
        errors = []
        for epsilon in (1e-3, 1e-5, 1e-7):
            centre, width = math.pi, math.pi
            for _ in range(5):
                angles = centre + width * np.linspace(-1, 1, 41)
                rays = root @ np.array([np.cos(angles), np.sin(angles)]) * math.sqrt(2 * epsilon)
                low, high = np.full(41, 0.5), np.full(41, 2.0)
                for _ in range(45):
                    middle = (low + high) / 2
                    inside = natural_gradient.kl_divergence(*law, *(law[:, None] + middle * rays)) < epsilon
                    low, high = np.where(inside, middle, low), np.where(inside, high, middle)
                delta = low * rays
                nll = natural_gradient.mean_nll(*(law[:, None] + delta), OWN)
                best = int(np.argmin(nll))
                centre, width = angles[best], width / 10
            errors.append(
                np.abs(root.T @ np.linalg.inv(inverse) @ (delta[:, best] / math.sqrt(2 * epsilon) - want)).max()
            )
        # the search by angle is good to 2π/20/10⁴, and KL of 1e-7 to 1e-9 of itself: 1e-3 in all at the last
        assert errors[-1] < 2e-3, f"natural direction at {law}: off by {errors} for ε = 1e-3, 1e-5, 1e-7"
        assert errors[0] < 0.3
        # on a small circle of ½|δ|² = ε, the angles 2π/20,000 apart, the lowest is where the plain gradient points
        angles = np.linspace(0, 2 * math.pi, 20_000, endpoint=False)
        circle = np.array([np.cos(angles), np.sin(angles)])
        nll = natural_gradient.mean_nll(*(law[:, None] + 1e-5 * circle), OWN)
        plain = -slope / np.linalg.norm(slope)
        assert_close(circle[:, np.argmin(nll)], plain, rtol=0, atol=2e-3, what="the lowest L on a circle, by its angle")
        assert abs(plain @ want / np.linalg.norm(want)) < 0.999, "here the plain direction should be another"


@pytest.mark.claim("thm-steepest-descent", kind="symbolic")
def test_the_steepest_direction_by_lagrange():
    """In symbols: −F⁻¹g/√(gᵀF⁻¹g) has length 1 under F, and g·d = −√(gᵀF⁻¹g) ≤ g·e for every e of length 1."""
    p, q, r, angle = sympy.symbols("p q r t", positive=True)
    g = sympy.Matrix(sympy.symbols("g_1 g_2", real=True))
    root = sympy.Matrix([[p, 0], [q, r]])
    f = root * root.T
    steep = (g.T * f.inv() * g)[0]
    d = -f.inv() * g / sympy.sqrt(steep)
    assert sympy.simplify((d.T * f * d)[0] - 1) == 0
    e = root.T.inv() * sympy.Matrix([sympy.cos(angle), sympy.sin(angle)])  # every vector of length 1 under F
    assert sympy.simplify((e.T * f * e)[0] - 1) == 0
    cross = (root.inv() * g)[0] * sympy.sin(angle) - (root.inv() * g)[1] * sympy.cos(angle)
    assert sympy.simplify(steep - (g.T * e)[0] ** 2 - cross**2) == 0  # a square more: Cauchy and Schwarz


# The descents


@pytest.mark.parametrize("natural", [True, False])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_descend_takes_these_steps(coordinates, natural, rng):
    """Thirty steps from a start of one's own on data of one's own, against KᵀFK solved anew at each."""
    x, start = rng.gamma(2.0, 1.5, 20), np.array([1.2, 1.1])
    rate = 0.15 if natural else 0.02
    options = {"rate": rate, "steps": 30, "natural": natural}
    want = walk(x, start, coordinates=coordinates, **options)
    mistakes = {
        f"are these the steps in {other}? The coordinates change the path": walk(x, start, coordinates=other, **options)
        for other in COORDINATES
        if other != coordinates
    }
    turned = options | {"natural": not natural}
    mistakes["is natural ignored or turned round?"] = walk(x, start, coordinates=coordinates, **turned)
    mistakes["is the path without its start?"] = want[1:]
    mistakes["is it only the last place, not the path?"] = want[-1]
    got = natural_gradient.descend(x, start, coordinates=coordinates, **options)
    what = f"descend(natural={natural}, coordinates={coordinates!r})"
    assert_close(got, want, rtol=1e-9, what=what, mistakes=mistakes)


def test_descend_multiplies_the_gradient_by_the_inverse_fisher_matrix():
    """One natural step on the chapter's data from (½, 8), and one at a tenth of the rate: θ − λF⁻¹∇L, by solving."""
    x = the_data()
    f, g = gamma_fisher(*START), slope_of(*START, x)
    inverse, j = np.linalg.inv(f), np.diag([1.0, 1 / START[1] ** 2])
    log, mean = averages(x)
    rated = np.array([special.digamma(0.5) - math.log(8.0) - log, mean - 0.5 / 8.0])
    changes = {
        "a step up the slope: is the sign of the gradient reversed?": -inverse @ g,
        "F∇L where F⁻¹∇L belongs?": f @ g,
        "is the plain gradient taken, with natural ignored or turned round?": g,
        "is J taken for J⁻¹, so that F(θ)⁻¹ is J F(η)⁻¹ Jᵀ?": j @ j @ inverse @ j @ j @ g,
        "is F(η)⁻¹ taken for F(θ)⁻¹?": j @ inverse @ j @ g,
        "is only the diagonal of F inverted?": g / np.diag(f),
        "is the gradient divided by its length?": g / np.linalg.norm(g),
        "is the gradient summed over the data, not averaged?": len(x) * inverse @ g,
        "is F that of all the data, the gradient that of one?": inverse @ g / len(x),
        "is this Newton's step, with the Hessian for F?": np.linalg.solve(hessian_of(START, x), g),
        "is this the slope with the scale taken for the rate?": inverse @ rated,
    }
    for rate in (0.1, 0.01):
        mistakes = {
            words: np.array([START, np.maximum(START - rate * change, 1e-4)]) for words, change in changes.items()
        }
        want = np.array([START, START - rate * inverse @ g])
        got = natural_gradient.descend(x, START, rate=rate, steps=1, natural=True)
        assert_close(got, want, rtol=1e-9, what=f"one natural step, rate {rate}, from {START}", mistakes=mistakes)


def test_descend_without_the_matrix_takes_the_plain_gradient():
    """One plain step on the chapter's data from (½, 8) at three rates: θ − λ∇L."""
    x = the_data()
    f, g = gamma_fisher(*START), slope_of(*START, x)
    changes = {
        "a step up the slope: is the sign of the gradient reversed?": -g,
        "is natural ignored or turned round: is this F⁻¹∇L?": np.linalg.solve(f, g),
        "is the gradient summed over the data, not averaged?": len(x) * g,
        "is the gradient divided by its length?": g / np.linalg.norm(g),
        "is the plain step one in η?": np.array([g[0], g[1] * START[1] ** 2]),
    }
    for rate in (1.0, 0.1, 0.01):
        mistakes = {
            words: np.array([START, np.maximum(START - rate * change, 1e-4)]) for words, change in changes.items()
        }
        got = natural_gradient.descend(x, START, rate=rate, steps=1, natural=False)
        want = np.array([START, START - rate * g])
        assert_close(got, want, rtol=1e-9, what=f"one plain step, rate {rate}, from {START}", mistakes=mistakes)


def hessian_of(law, x):
    """∇²L, written out."""
    shape, scale = law
    return np.array([[trigamma(shape), 1 / scale], [1 / scale, 2 * x.mean() / scale**3 - shape / scale**2]])


@pytest.mark.parametrize("natural", [True, False])
def test_descend_goes_to_the_likeliest_law_fast_or_slowly(natural):
    """150 steps of 0.1 from (½, 8): natural ones end within 1e-5 of mle, plain ones far from it, both as computed."""
    x = the_data()
    got = natural_gradient.descend(x, START, rate=0.1, steps=150, natural=natural)
    want = walk(x, START, rate=0.1, steps=150, natural=natural)
    other = walk(x, START, rate=0.1, steps=150, natural=not natural)
    mistakes = {
        "is natural ignored or turned round?": other,
        "is the path without its start?": want[1:],
        "is the start there twice, and the last step missing?": np.vstack([want[:1], want[:-1]]),
    }
    assert_close(got, want, rtol=1e-9, what=f"descend(natural={natural}), 150 steps", mistakes=mistakes)
    away = np.abs(got[-1] - natural_gradient.mle(x)).max()
    assert (away < 1e-5) if natural else (away > 1), f"descend(natural={natural}) ends {away} away from mle(x)"


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_descend_is_cut_off_at_the_floor(coordinates):
    """Steps out of the domain end at the floor, each coordinate by itself, and go on from there: 1e-4 or as given."""
    x, met = np.array([0.5, 2.0, 1.0]), np.zeros(2, dtype=bool)
    cases = [
        ((0.1, 4.0), 3.0, 3, {"floor": 0.03}),
        ((9.0, 0.3), 2.0, 3, {"floor": 0.25}),
        ((6.0, 3.0), 0.5, 3, {"floor": 0.2}),
        ((0.05, 9.0), 0.7, 3, {}),
        ((6.0, 3.0), 2.5, 1, {}),
    ]
    for start, rate, steps, options in cases:
        options = {"rate": rate, "steps": steps, "natural": False, "coordinates": coordinates, **options}
        with np.errstate(all="ignore"):
            got = natural_gradient.descend(x, np.array(start), **options)
            want = walk(x, start, **options)
        bounded = want ** [1, -1] if coordinates == "natural" else want  # of η the floor is one of α and 1/β
        met |= np.isclose(bounded, options.get("floor", 1e-4)).any(axis=0)
        assert np.isfinite(got).all(), f"descend leaves the domain, no floor: {got.tolist()}"
        mistakes = {}
        if "floor" in options:
            with np.errstate(all="ignore"):
                ignored = walk(x, start, **(options | {"floor": 1e-4}))
            mistakes["is the floor ignored, 1e-4 whatever was asked for?"] = ignored
        what = f"descend from {start}, rate {rate}, in {coordinates!r}, cut off at the floor"
        assert_close(got, want, rtol=1e-9, what=what, mistakes=mistakes)
    assert met.all(), "each of the two should have met the floor somewhere"


def test_descend_cuts_off_one_coordinate_and_leaves_the_other():
    """A step that takes the shape below zero moves the scale all the same; one that takes the scale, the shape."""
    x = OWN
    for start, natural in [((1.0, 6.0), False), ((6.0, 0.8), False), ((6.0, 0.8), True), ((0.4, 30.0), True)]:
        slope = slope_of(*start, x)
        change = np.linalg.solve(gamma_fisher(*start), slope) if natural else slope
        rate = 1.2 * min(now / c for now, c in zip(start, change, strict=True) if c > 0)
        moved = np.array(start) - rate * change
        want = np.array([start, np.maximum(moved, 1e-4)])
        mistakes = {
            "is the whole step refused, not each coordinate cut off by itself?": np.array([start, start]),
            "is the absolute value taken, a reflection?": np.array([start, np.abs(moved)]),
            "no floor: the law has left the domain?": np.array([start, moved]),
        }
        with np.errstate(all="ignore"):
            got = natural_gradient.descend(x, np.array(start), rate=rate, steps=1, natural=natural)
        assert (moved <= 0).sum() == 1
        assert_close(got, want, rtol=1e-9, what=f"one step out of the domain from {start}", mistakes=mistakes)


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_descend_says_so_where_it_leaves_the_numbers(coordinates):
    """With rates of 1e30 and 1e200 there is an error or a path of positive numbers, but never a NaN."""
    for rate, start in itertools.product((1e30, 1e200), (START, np.array([30.0, 0.01]))):
        for natural in (True, False):
            options = {"rate": rate, "steps": 6, "natural": natural, "coordinates": coordinates}
            try:
                with np.errstate(all="ignore"):
                    path = natural_gradient.descend(OWN, start, **options)
            except (
                ArithmeticError,
                ValueError,
                torch.linalg.LinAlgError,
            ):  # or a singular matrix: it is said, not passed on
                continue
            fine = np.isfinite(path) & (path > 0)
            assert fine.all(), f"descend({options}) goes on with NaN, 0 or ∞: {path.tolist()}. Raise an OverflowError"


@pytest.mark.claim("prop-step-invariant")
def test_descend_is_exactly_invariant_under_affine_changes():
    """Natural steps in (α, 1/β) are those in η; in units of x a thousand times smaller β follows, all coordinates."""
    x, start, rate = OWN, np.array([1.5, 1.0]), 0.2
    path = [start]
    for _ in range(12):
        law = path[-1]
        k = np.diag([1.0, -(law[1] ** 2)])  # ∂(α, β)/∂(α, r) with r = 1/β
        shape, r = np.array([law[0], 1 / law[1]]) - rate * natural_direction(law, slope_of(*law, x), k)
        path.append(np.array([shape, 1 / r]))
    got = natural_gradient.descend(x, start, rate=rate, steps=12, natural=True, coordinates="natural")
    assert_close(got, np.array(path), rtol=1e-9, what="natural steps in η, against those in (α, 1/β)")
    for coordinates in COORDINATES:
        options = {"rate": rate, "steps": 12, "natural": True, "coordinates": coordinates, "floor": 1e-9}
        one = natural_gradient.descend(x, start, **options)
        other = natural_gradient.descend(1000 * x, start * [1, 1000], **options)
        assert_close(other, one * [1, 1000], rtol=1e-8, what=f"natural steps in {coordinates!r}, in another unit")
    one = natural_gradient.descend(x, start, rate=0.05, steps=12, natural=False)
    other = natural_gradient.descend(3 * x, start * [1, 3], rate=0.05, steps=12, natural=False)
    assert np.abs(other / (one * [1, 3]) - 1).max() > 0.05, "plain steps should depend on the unit"


@pytest.mark.claim("prop-step-invariant")
def test_descend_differs_in_other_coordinates_by_the_square_of_the_rate():
    """One natural step: apart by λ², a quarter for half the rate. For a fixed time: from the flow by λ, a half."""
    start, x = np.array([1.5, 1.0]), OWN
    for one, two in itertools.combinations(COORDINATES, 2):

        def apart(rate, one=one, two=two):
            options = {"rate": rate, "steps": 1, "natural": True}
            a, b = (natural_gradient.descend(x, start, coordinates=c, **options)[1] for c in (one, two))
            return np.linalg.norm(a - b)

        ratio = apart(0.002) / apart(0.001)
        assert abs(ratio - 4) < 0.05, f"natural steps in {one!r} and {two!r}: apart by λ^{math.log2(ratio):.3f}, not λ²"
    flow = natural_gradient.natural_flow(start, x, np.array([1.0]))[0]
    for coordinates in COORDINATES:
        off = [
            np.linalg.norm(
                natural_gradient.descend(x, start, rate=1 / k, steps=k, natural=True, coordinates=coordinates)[-1]
                - flow
            )
            for k in (100, 200)
        ]
        ratio = off[0] / off[1]
        what = f"natural steps in {coordinates!r} up to t = 1"
        assert abs(ratio - 2) < 0.05, f"{what}: off the flow by λ^{math.log2(ratio):.3f}, not λ: {off}"
        assert off[1] < 0.05, f"{what}: {off[1]} away from the flow at λ = 1/200"


@pytest.mark.claim("prop-natural-newton", kind="automatic differentiation")
def test_descend_in_eta_with_rate_one_is_newton_s_step():
    """In η a natural step of rate 1 is −(∇²L)⁻¹∇L, the Hessian by PyTorch, from laws near and far where it stays in."""
    compared = 0
    for law in [(2.5, 1.0), (1.0, 2.0), (0.7, 6.0), (1.2, 3.0), (0.9, 4.5)]:
        eta = INTO["natural"](law)
        nll = slope_and_curvature(lambda eta: torch_nll(torch.stack([eta[0] + 1, -1 / eta[1]]), OWN), eta)
        there = eta - np.linalg.solve(nll[1], nll[0])
        if there[0] > -1 + 1e-3 and there[1] < -1e-3:
            got = natural_gradient.descend(OWN, np.array(law), rate=1, steps=1, natural=True, coordinates="natural")
            assert_close(got[1], BACK["natural"](there), rtol=1e-6, what=f"a natural step in η from {law}, rate 1")
            compared += 1
    assert compared >= 2


@pytest.mark.claim("prop-natural-newton")
def test_nll_hessian_is_the_fisher_matrix_and_a_curvature_of_coordinates():
    """∇²L = F + Σᵢ(m − T̄)ᵢ∇²ηᵢ; for η = (α − 1, −1/β) only the last entry differs, by 2(x̄ − αβ)/β³."""
    a, b = LAWS.T
    got = natural_gradient.nll_hessian(a, b, OWN) - natural_gradient.fisher_information(a, b)
    bend = -2 / b**3  # the second derivative of −1/β
    away = a * b - OWN.mean()
    want = matrices(0, 0, 0, away * bend)
    mistakes = {"is the Fisher matrix given for the Hessian?": np.zeros((6, 2, 2))}
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="nll_hessian − fisher_information", mistakes=mistakes)
    law = torch.tensor([1.7, 0.6], dtype=torch.float64)  # and in the logarithms, with both curvatures, by PyTorch
    phi = torch.log(law)
    _, curvature = slope_and_curvature(lambda phi: torch_nll(torch.exp(phi), OWN), phi)
    m = natural_gradient.mean_statistics(1.7, 0.6) - averages(OWN)
    k = np.diag(law.numpy())
    bends = np.diag([1.7, 0.0]) * m[0] + np.diag([0.0, -1 / 0.6]) * m[1]  # ∇² of e^φ₁ − 1 and of −e^{−φ₂}
    want = k @ natural_gradient.fisher_information(1.7, 0.6) @ k + bends
    assert_close(curvature, want, rtol=1e-9, what="∇²L in the logarithms")


@pytest.mark.claim("thm-local-rates")
def test_nll_hessian_is_the_fisher_matrix_at_the_likeliest_law(rng):
    """∇²L(θ̂) = F(θ̂) for three data sets, in (α, β), and by PyTorch in the logarithms."""
    for x in (OWN, rng.gamma(0.3, 2.0, 15), rng.gamma(20.0, 2.0, 15)):
        best = natural_gradient.mle(x)
        f = natural_gradient.fisher_information(*best)
        k = np.diag(best)
        got = k @ natural_gradient.nll_hessian(*best, x) @ k
        assert_close(got, k @ f @ k, rtol=1e-7, what="nll_hessian at mle(x), against fisher_information")
        _, curvature = slope_and_curvature(lambda phi, x=x: torch_nll(torch.exp(phi), x), np.log(best))
        assert_close(curvature, k @ f @ k, rtol=1e-6, what="∇²L in the logarithms, against KᵀFK")


@pytest.mark.claim("thm-local-rates")
def test_descend_shrinks_errors_as_predicted():
    """Near θ̂ a plain step is e ← (I − λF)e, a natural one e ← (1 − λ)e, up to |e|²; at λ = 1 quadratic."""
    best = likeliest(OWN)
    f = gamma_fisher(*best)
    for angle in (0.3, 1.9):
        e = 1e-5 * best * [math.cos(angle), math.sin(angle)]
        for rate in (0.03, 0.5):
            got = natural_gradient.descend(OWN, best + e, rate=rate, steps=1, natural=False)[1] - best
            want = (np.eye(2) - rate * f) @ e
            mistakes = {"is this a natural step?": (1 - rate) * e}
            # what is of second order is |e|² times third derivatives, of up to 100 here
            assert_close(
                got, want, rtol=0, atol=1e-8, what=f"the error after a plain step of {rate}", mistakes=mistakes
            )
            for coordinates in COORDINATES:
                options = {"rate": rate, "steps": 1, "natural": True, "coordinates": coordinates}
                got = natural_gradient.descend(OWN, best + e, **options)[1] - best
                assert_close(
                    got, (1 - rate) * e, rtol=0, atol=1e-9, what=f"a natural step of {rate} in {coordinates!r}"
                )
    for coordinates in COORDINATES:
        start = best * [1.05, 0.97]
        path = natural_gradient.descend(OWN, start, rate=1.0, steps=3, natural=True, coordinates=coordinates)
        away = np.abs(path / best - 1).max(axis=1)
        square = all(late < 3 * early**2 + 1e-9 for early, late in itertools.pairwise(away))
        assert square, f"natural steps of rate 1 in {coordinates!r} are not quadratic: errors {away}"


@pytest.mark.claim("thm-local-rates")
def test_descend_converges_from_near_just_below_the_critical_rate():
    """Plain: at 0.97 of 2/s_max errors die out, at 1.03 they grow; natural: at 1.94 they do, at 2.06 they grow."""
    best = likeliest(OWN)
    s, vectors = np.linalg.eigh(gamma_fisher(*best))
    start = best + 1e-6 * vectors.sum(axis=1)
    for natural, critical in ((False, 2 / s[-1]), (True, 2.0)):
        for share in (0.97, 1.03):
            path = natural_gradient.descend(OWN, start, rate=share * critical, steps=60, natural=natural)
            first, last = (np.abs(vectors[:, -1] @ (path[k] - best)) for k in (10, 60))
            rate = (last / first) ** (1 / 50)
            want = 2 * share - 1
            what = f"the factor of the error a step, at {share} of the critical rate, natural={natural}"
            # errors of 1e-6 growing to 3e-5 bend by 1e-3 of themselves; the mle is known to 1e-16
            assert_close(rate, want, rtol=1e-3, what=what)


def test_descend_stands_still_at_the_likeliest_law():
    """From mle(x) no kind of step in any coordinates leads away, and the other way round: ends agree with it."""
    best = likeliest(OWN)
    for natural, coordinates in itertools.product((True, False), COORDINATES):
        options = {"natural": natural, "coordinates": coordinates}
        path = natural_gradient.descend(OWN, best, rate=0.01, steps=5, **options)
        assert_close(path, np.tile(best, (6, 1)), rtol=1e-9, what=f"descend from the mle, {options}")
    end = natural_gradient.descend(OWN, np.array([2.0, 2.0]), rate=0.5, steps=60, natural=True)[-1]
    assert_close(end, natural_gradient.mle(OWN), rtol=FITTED, what="the end of 60 natural steps, against mle")


def test_descend_goes_on_where_its_steps_are_small():
    """From near the likeliest law, and with a rate of 1e-10, no step is left out: each is what the slope says."""
    best = likeliest(OWN)
    for natural, coordinates in itertools.product((True, False), COORDINATES):
        for start, rate in ((best * [1 + 1e-6, 1 - 1e-6], 0.01), (START, 1e-10)):
            options = {"rate": rate, "steps": 5, "natural": natural, "coordinates": coordinates}
            moved = np.diff(natural_gradient.descend(OWN, start, **options), axis=0)
            want = np.diff(walk(OWN, start, **options), axis=0)
            mistakes = {"does it stop where its steps are small? It should take all": np.zeros((5, 2))}
            # numbers near 8 are rounded to 1e-15, a thousand times less than they move
            what = f"the small steps of descend({options})"
            assert_close(moved, want, rtol=1e-3, atol=1e-13, what=what, mistakes=mistakes)


def test_descend_takes_as_many_steps_as_asked_for():
    """Of 1, 2 and 7 steps the paths have 2, 3 and 8 places, start in front, one the beginning of the other."""
    start = np.array([2.0, 1.5])
    long = natural_gradient.descend(OWN, start, rate=0.1, steps=7, natural=True)
    for steps in (1, 2, 7):
        path = natural_gradient.descend(OWN, start, rate=0.1, steps=steps, natural=True)
        assert np.shape(path) == (steps + 1, 2), f"the path of {steps} steps has shape {np.shape(path)}: start and all?"
        assert_close(path, long[: steps + 1], rtol=SHARP, what=f"the path of {steps} steps")
    assert_close(long[0], start, rtol=SHARP, what="the first place of the path, which should be the start")
    low = natural_gradient.descend(OWN, np.array([1e-6, 2e-5]), rate=1e-12, steps=1, natural=True)
    what = "the first place of a path whose start is below the floor, which should be the start all the same"
    assert_close(low[0], [1e-6, 2e-5], rtol=SHARP, what=what)
    assert_close(low[1], [1e-4, 1e-4], rtol=SHARP, what="the second, at the floor")
    as_numpy = natural_gradient.descend(OWN, start, rate=np.float64(0.1), steps=7, natural=True)
    assert_close(as_numpy, long, rtol=SHARP, what="descend with a rate of NumPy's")


# What an estimator can and cannot do


def central_moment(i, j, shape, scale):
    """E (x − αβ)^i (log x − E log x)^j, by quadrature."""
    mean, log = shape * scale, special.digamma(shape) + math.log(scale)
    return mean_under(lambda x: (x - mean) ** i * (math.log(x) - log) ** j, shape, scale)


@pytest.mark.claim("prop-cramer-rao")
def test_inverse_fisher_bounds_the_mean_and_the_covariance_with_the_log():
    """x̄ and the sample covariance of x and log x are unbiased for (αβ, β): their exact Cov − F⁻¹/n ⪰ 0, x̄ attains."""
    for shape, scale in [(0.9, 1.5), (4.0, 0.5)]:
        m20, m11, m02, m21, m22 = (
            central_moment(i, j, shape, scale) for i, j in [(2, 0), (1, 1), (0, 2), (2, 1), (2, 2)]
        )
        assert_close(m11, scale, rtol=1e-8, what="Cov(x, log x), which is β")
        k = np.array([[scale, shape], [0.0, 1.0]])  # ∂(αβ, β)/∂(α, β)
        bound = k @ natural_gradient.inverse_fisher(shape, scale) @ k.T
        for n in (2, 5, 100):
            spread = m22 / n - m11**2 * (n - 2) / (n * (n - 1)) + m20 * m02 / (n * (n - 1))
            covariance = np.array([[m20 / n, m21 / n], [m21 / n, spread]])
            over = covariance - bound / n
            lowest = np.linalg.eigvalsh(over)[0]
            assert lowest > -1e-7, f"n = {n}: an unbiased estimator below F⁻¹/n by {lowest}: is the bound too large?"
            assert over[1, 1] > 0.01 * bound[1, 1] / n, "this estimator of β should be above the bound"
            assert_close(covariance[0, 0], bound[0, 0] / n, rtol=1e-7, what="Var x̄, against ∇mᵀF⁻¹∇m/n")
            assert_close(covariance[0, 0], shape * scale**2 / n, rtol=1e-7, what="Var x̄, against αβ²/n")
            assert np.linalg.eigvalsh(covariance - 1.05 * bound / n)[0] < 0, "a bound 5 % larger would hold as well"


@pytest.mark.claim("prop-cramer-rao")
def test_inverse_fisher_comes_from_the_covariance_with_the_score():
    """Cov(estimator, score) is the Jacobian of what it estimates: for x̄, mean log x, x̄² + …, by quadrature."""
    shape, scale = 2.2, 0.7
    psi = special.digamma(shape) + math.log(scale)

    def covariance(f):
        scores = (lambda x: math.log(x) - psi, lambda x: x / scale**2 - shape / scale)
        return [mean_under(lambda x, s=s: f(x) * s(x), shape, scale) for s in scores]

    assert_close(covariance(lambda x: x), [scale, shape], rtol=1e-8, what="Cov(x, score), against ∇(αβ)")
    want = [trigamma(shape), 1 / scale]
    assert_close(covariance(math.log), want, rtol=1e-8, what="Cov(log x, score), against ∇(ψ(α) + log β)")
    squares = [(2 * shape + 1) * scale**2, 2 * shape * (shape + 1) * scale]
    assert_close(covariance(lambda x: x**2), squares, rtol=1e-8, what="Cov(x², score), against ∇(α(α+1)β²)")
    want = np.array(squares) @ natural_gradient.inverse_fisher(shape, scale) @ squares
    variance = shape * (shape + 1) * scale**4 * ((shape + 2) * (shape + 3) - shape * (shape + 1))
    assert want < variance, "x² should be a worse estimator of its mean than the bound"
    t_variance = np.array([scale, shape]) @ natural_gradient.inverse_fisher(shape, scale) @ [scale, shape]
    assert_close(t_variance, shape * scale**2, rtol=1e-9, what="∇mᵀF⁻¹∇m, against Var x")


@pytest.mark.claim("prop-cramer-rao")
def test_inverse_fisher_is_no_bound_for_biased_estimators(rng):
    """Sample covariances of x and log x average to β over 40,000 pairs; the constant 1 has no variance, and a bias."""
    shape, scale = 2.0, 1.5
    x = rng.gamma(shape, scale, (40_000, 2))
    log = np.log(x)
    samples = (x[:, 0] - x[:, 1]) * (log[:, 0] - log[:, 1]) / 2
    hints = {"divided by n, not n − 1": [scale / 2]}
    assert_unbiased(samples[:, None], [scale], detects=0.1, hints=hints)
    assert natural_gradient.inverse_fisher(shape, scale)[1, 1] / 2 > 0
    variance = np.var(samples)
    assert variance > natural_gradient.inverse_fisher(shape, scale)[1, 1] / 2, "an unbiased estimator below F⁻¹/n"


@pytest.fixture
def many_fits(rng):
    """The likeliest laws of 4,000 data sets of 1,000 from Gamma(2) times 0.5, by from_mean_statistics."""
    x = rng.gamma(2.0, 0.5, (4000, 1000))
    fits = natural_gradient.from_mean_statistics(np.log(x).mean(axis=1), x.mean(axis=1))
    return fits, 1000, (2.0, 0.5)


@pytest.mark.claim("thm-mle-spread")
def test_mle_spreads_as_the_inverse_fisher_matrix(many_fits):
    """√n (θ̂ − θ₀) of 4,000 fits: the roots of F make two coordinates of variance 1, normal to a distance of 0.08."""
    fits, n, law = many_fits
    root = np.linalg.cholesky(natural_gradient.inverse_fisher(*law))
    z = math.sqrt(n) * np.linalg.solve(root, (fits - law).T)
    assert_close(root @ root.T, np.linalg.inv(gamma_fisher(*law)), rtol=1e-9, what="inverse_fisher")
    for row in z:
        # of order 1/√n: the mean is about 0.05 too high, which moves the distribution function by 0.02
        assert_variance(row, 1.0, detects=0.2, hints={"divided by n where √n belongs": 1 / n})
        assert_distribution(row - row.mean(), stats.norm.cdf, detects=0.08)


@pytest.mark.claim("thm-mle-spread")
def test_kl_divergence_of_the_fits_is_chi_squared(many_fits):
    """2n KL(θ̂‖θ₀) = 2n(L(θ₀) − L(θ̂)) follows χ²₂; the set below −2 log ε covers the truth 95 and 50 times in 100."""
    fits, n, law = many_fits
    statistic = 2 * n * natural_gradient.kl_divergence(*fits.T, *law)
    hints = {
        "is the 2 of 2n missing": stats.chi2(2, scale=0.5).cdf,
        "it follows χ² with one degree of freedom": stats.chi2(1).cdf,
    }
    assert_distribution(statistic, stats.chi2(2).cdf, detects=0.08, hints=hints)
    for epsilon in (0.05, 0.5):
        covered = int(np.sum(statistic <= -2 * math.log(epsilon)))
        assert_proportion(covered, len(fits), 1 - epsilon, detects=0.07)


@pytest.mark.claim("thm-mle-spread")
def test_mle_region_is_the_same_set_of_laws_in_all_coordinates(rng):
    """2n(L(θ) − L(θ̂)) is 2n KL(θ̂‖θ), whatever coordinates θ is written in: by the laws alone, at 200 of them."""
    x = rng.gamma(2.0, 0.5, 30)
    best = natural_gradient.mle(x)
    laws = best * np.exp(rng.normal(0, 0.3, (200, 2)))
    height = 60 * (natural_gradient.mean_nll(*laws.T, x) - natural_gradient.mean_nll(*best, x))
    for into, back in ((INTO["natural"], BACK["natural"]), (np.log, np.exp)):
        again = np.array([back(into(law)) for law in laws])
        kl = [60 * mp_kl(*best, *law) for law in again]
        assert_close(height, kl, rtol=1e-7, atol=1e-9, what="2n(L(θ) − L(θ̂)), against 2n KL(θ̂‖θ)")


# Arrays of every kind


@every_function
def test_every_kind_of_array_gives_the_same(name):
    """Integers, float32, read-only, every other one and transposed: as in float64, and an answer in float64."""
    arguments = CALLS[name]
    want = np.asarray(call(name, *(a.copy() for a in arguments)))
    assert want.dtype == np.float64, f"{name} should return float64, got {want.dtype}"
    kinds = {
        "float32": lambda a: a.astype(np.float32),
        "read-only": lambda a: frozen(a),
        "every other one": lambda a: np.repeat(a, 2, axis=0)[::2],
        "in another order of memory": lambda a: np.asfortranarray(a),
        "backwards in memory": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    }
    if not (want.size and any(np.any(a != a.round()) for a in arguments)):
        kinds["integers"] = lambda a: a.astype(int)
        kinds["small integers"] = lambda a: a.astype(np.int8)
    for kind, change in kinds.items():
        got = call(name, *(change(a) for a in arguments))
        assert np.asarray(got).dtype == np.float64, (
            f"{name} of {kind}: should return float64, computed in {np.asarray(got).dtype}"
        )
        # the numbers are whole, and so the same in all kinds
        assert_close(got, want, rtol=1e-9, atol=1e-12, what=f"{name} of {kind} arrays")


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@every_function
def test_every_function_leaves_its_arguments_alone(name):
    """Nothing is written to an argument or kept of it: called again, after a change in place, the new answer."""
    arguments = [a.copy() for a in CALLS[name]]
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = np.array(call(name, *arguments))
    for ours, before in zip(arguments, CALLS[name], strict=True):
        assert np.array_equal(ours, before), f"{name} wrote to an argument that it was given"
    answer = call(name, *arguments)
    assert_close(answer, first, rtol=0, what=f"{name}, called twice")
    if isinstance(answer, np.ndarray) and answer.flags.writeable:
        answer[...] = 0
        for ours, before in zip(arguments, CALLS[name], strict=True):
            assert np.array_equal(ours, before), f"the answer of {name} shares its memory with an argument: copy it"
    for a in arguments:
        a[...] = np.where(a == 0, 0, a * 1.25)
    if name == "from_mean_statistics":
        arguments[0][...] -= 0.5
    want = call(name, *(a.copy() for a in arguments))
    assert not np.array_equal(want, first)
    assert_close(call(name, *arguments), want, rtol=0, what=f"{name}, of arrays that were changed between two calls")
    assert np.array_equal(state, np.random.get_state()[1]), f"{name} drew from NumPy's global generator"  # noqa: NPY002


LAW_FUNCTIONS = [
    "to_natural", "mean_statistics", "jacobian", "fisher_information", "inverse_fisher",
    "mean_nll", "nll_gradient", "nll_hessian", "kl_divergence",
]  # fmt: skip
TAIL = {"": (), "mean_nll": (OWN,), "nll_gradient": (OWN,), "nll_hessian": (OWN,), "kl_divergence": (2.0, 3.0)}


@pytest.mark.parametrize("name", LAW_FUNCTIONS)
def test_fields_of_laws_are_laws_one_by_one(name):
    """Shapes (4, 1) with scales (3,) give (4, 3, …), one law () plain numbers: each entry that of its law alone."""
    f, rest = getattr(natural_gradient, name), TAIL.get(name, ())
    shape, scale = np.array([[0.4], [1.0], [2.0], [33.0]]), np.array([0.2, 1.0, 7.0])
    want = np.array([[f(float(a), float(b), *rest) for b in scale] for a in shape[:, 0]])
    each = {"to_natural": (2,), "mean_statistics": (2,), "nll_gradient": (2,), "mean_nll": (), "kl_divergence": ()}
    assert want.shape == (4, 3, *each.get(name, (2, 2))), f"{name} of one law has shape {want.shape[2:]}"
    got = f(shape, scale, *rest)
    assert_close(got, want, rtol=SHARP, atol=1e-12, what=f"{name} of shapes (4, 1) and scales (3,)")
    assert_close(f(shape, 7.0, *rest), want[:, 2:], rtol=SHARP, atol=1e-12, what=f"{name} of many shapes, one scale")
    assert_close(f(33.0, scale, *rest), want[3], rtol=SHARP, atol=1e-12, what=f"{name} of one shape, many scales")
    assert_close(f(33, 7, *rest), want[3, 2], rtol=SHARP, atol=1e-12, what=f"{name} of integers")
    assert_close(f(shape[:1, 0], scale[:1], *rest), want[:1, 0], rtol=SHARP, what=f"{name} of one law in an array")


@pytest.mark.parametrize("name", ["from_natural", "log_normaliser", "natural_fisher"])
def test_fields_of_eta_are_laws_one_by_one(name):
    """η of shape (2, 3, 2) give (2, 3, …), the values that each has by itself; (2,) gives one."""
    f = getattr(natural_gradient, name)
    eta = etas().reshape(2, 3, 2)
    want = np.array([[f(one) for one in row] for row in eta])
    assert want.shape == (2, 3, *{"from_natural": (2,), "log_normaliser": ()}.get(name, (2, 2)))
    assert_close(f(eta), want, rtol=SHARP, atol=1e-13, what=f"{name} of η of shape (2, 3, 2)")
    assert_close(f(eta[:1, :1]), want[:1, :1], rtol=SHARP, atol=1e-13, what=f"{name} of η of shape (1, 1, 2)")


def test_kl_divergence_of_a_field_against_one_law():
    """One law against a table of them, and the table against the one: broadcast, each as by itself."""
    shape, scale = np.array([[0.4], [2.0]]), np.array([0.2, 1.0, 7.0])
    for reverse in (False, True):

        def kl(a, b, reverse=reverse):
            return natural_gradient.kl_divergence(*((a, b, 3.0, 2.0) if reverse else (3.0, 2.0, a, b)))

        want = [[mp_kl(*((a, b, 3.0, 2.0) if reverse else (3.0, 2.0, a, b))) for b in scale] for a in shape[:, 0]]
        assert_close(kl(shape, scale), want, rtol=SHARP, atol=1e-13, what="kl_divergence with one law, many others")


# Bad input


@pytest.mark.parametrize("name", LAW_FUNCTIONS)
def test_laws_that_are_none_are_refused(name):
    """A shape or scale of 0, below, NaN or ∞, in an array too, is a ValueError with its name and what it was."""
    f, rest = getattr(natural_gradient, name), TAIL.get(name, ())
    for value in (0.0, -1.5, np.nan, np.inf):
        for kind in (value, np.array([2.0, value, 1.0])):
            assert_refused(f, kind, 2.5, *rest, argument="shape", value=value)
            assert_refused(f, 2.5, kind, *rest, argument="scale", value=value)


@pytest.mark.parametrize("name", LAW_FUNCTIONS)
def test_laws_too_far_out_are_refused_or_computed(name):
    """Beyond 1e±70 no result is promised: a ValueError that names the argument, or finite numbers, but no NaN."""
    f, rest = getattr(natural_gradient, name), TAIL.get(name, ())
    for shape, scale in itertools.product((1e-200, 1.0, 1e200), repeat=2):
        try:
            with np.errstate(all="ignore"):
                got = f(shape, scale, *rest)
        except ValueError as error:
            named = "shape" in str(error) or "scale" in str(error)
            assert named, f"{name}({shape:g}, {scale:g}) raised {error}, which names no argument"  # noqa: PT017
        else:
            assert np.isfinite(got).all(), f"{name}({shape:g}, {scale:g}) is {got}: refuse what overflows"


def test_kl_divergence_refuses_other_laws_that_are_none():
    """The other law is held to the same: its arguments are named other_shape and other_scale."""
    for value in (0.0, -1.5, np.nan, np.inf):
        assert_refused(natural_gradient.kl_divergence, 2.0, 3.0, value, 1.0, argument="other_shape", value=value)
        assert_refused(natural_gradient.kl_divergence, 2.0, 3.0, 1.0, value, argument="other_scale", value=value)


@pytest.mark.parametrize("name", ["from_natural", "log_normaliser", "natural_fisher"])
def test_eta_outside_the_domain_is_refused(name):
    """η₁ ≤ −1, η₂ ≥ 0, NaN, in a stack too; and what has no two numbers along its last axis."""
    f = getattr(natural_gradient, name)
    for first, second, shown in [(-1.5, -2.0, -1.5), (-1.0, -2.5, -2.5), (3.5, 0.0, 3.5), (2.5, 4.5, 4.5)]:
        assert_refused(f, np.array([first, second]), argument="eta", value=shown)
        assert_refused(f, np.array([[1.0, -1.0], [first, second]]), argument="eta", value=shown)
    assert_refused(f, np.array([np.nan, -2.0]), argument="eta", value=np.nan)
    assert_refused(f, np.array([2.0, -np.inf]), argument="eta", value=-np.inf)
    assert_refused(f, np.array([2.0, 3.0, -1.0]), argument="eta", value=3)


DATA_FUNCTIONS = {
    "mean_nll": lambda x: natural_gradient.mean_nll(2.0, 3.0, x),
    "nll_gradient": lambda x: natural_gradient.nll_gradient(2.0, 3.0, x),
    "nll_hessian": lambda x: natural_gradient.nll_hessian(2.0, 3.0, x),
    "mle": lambda x: natural_gradient.mle(x),
    "natural_flow": lambda x: natural_gradient.natural_flow(START, x, np.array([1.0])),
    "descend": lambda x: natural_gradient.descend(x, START, rate=0.1, steps=2, natural=True),
}


@pytest.mark.parametrize("name", DATA_FUNCTIONS)
def test_data_that_are_none_are_refused(name):
    """Data of 0, below, NaN, ∞, no data, and a table of them."""

    def f(x):
        return DATA_FUNCTIONS[name](x)

    f.__name__ = name
    for value in (0.0, -1.5, np.nan, np.inf):
        assert_refused(f, np.array([2.5, value, 1.5]), argument="x", value=value)
    assert_refused(f, np.array([]), argument="x", value="x")
    assert_refused(f, np.arange(1.0, 16.0).reshape(3, 5), argument="x", value=5)


def test_mle_refuses_equal_data():
    """Of equal data the likelihood has no maximum: four times 4, three times 0.1, and one alone."""
    for x, value in [([4.0] * 4, 4.0), ([0.1] * 3, 0.1), ([7.5], 7.5)]:
        assert_refused(natural_gradient.mle, np.array(x), argument="x", value=value)


def test_from_mean_statistics_refuses_averages_that_no_data_have():
    """The mean of the logs is below the log of the mean: equal or above is refused, so are NaN and a mean of 0."""
    f = natural_gradient.from_mean_statistics
    assert_refused(f, 0.0, 1.0, argument="mean_log", value="mean_log")
    assert_refused(f, 2.5, 1.0, argument="mean_log", value="mean_log")
    assert_refused(f, np.array([-1.0, 2.5]), np.array([1.0, 1.0]), argument="mean_log", value="mean_log")
    assert_refused(f, np.nan, 1.0, argument="mean_log", value=np.nan)
    assert_refused(f, -np.inf, 1.0, argument="mean_log", value=-np.inf)
    for value in (0.0, -1.5, np.nan, np.inf):
        assert_refused(f, -1.0, value, argument="mean", value=value)


def test_natural_flow_refuses_bad_starts_and_times():
    """A start that is no law or not one of two numbers; times below 0, none, NaN."""
    f, times = natural_gradient.natural_flow, np.array([0.0, 1.0])
    for value in (0.0, -1.5, np.nan, np.inf):
        assert_refused(f, np.array([value, 2.5]), OWN, times, argument="start", value=value)
        assert_refused(f, np.array([2.5, value]), OWN, times, argument="start", value=value)
    assert_refused(f, np.array([1.0, 2.0, 3.0]), OWN, times, argument="start", value=3)
    for value in (-1.5, np.nan, np.inf):
        assert_refused(f, START, OWN, np.array([1.0, value]), argument="times", value=value)
    assert_refused(f, START, OWN, np.array([]), argument="times", value="times")


def test_descend_refuses_bad_arguments():
    """A rate or floor of 0 or below, no steps or half a one, a start that is no law, coordinates unheard of."""

    def descend(**changes):
        options = {"rate": 0.1, "steps": 3, "natural": True} | changes
        start = options.pop("start", START)
        return natural_gradient.descend(OWN, start, **options)

    for value in (0.0, -1.5, np.nan, np.inf):
        assert_refused(descend, rate=value, argument="rate", value=value)
        assert_refused(descend, floor=value, argument="floor", value=value)
        assert_refused(descend, start=np.array([value, 2.5]), argument="start", value=value)
        assert_refused(descend, start=np.array([2.5, value]), argument="start", value=value)
    for value in (0, -2, 2.5):
        assert_refused(descend, steps=value, argument="steps", value=value)
    assert_refused(descend, start=np.array([1.0, 2.0, 3.0]), argument="start", value=3)
    assert_refused(descend, coordinates="polar", argument="coordinates", value="polar")
