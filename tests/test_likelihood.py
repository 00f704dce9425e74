"""Maximum likelihood against fractions, sympy, quadrature and automatic gradients; ascents against closed forms."""

import copy
import itertools
import math
from fractions import Fraction
from functools import cache, partial

import mpmath
import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, linalg, special, stats

from solutions import likelihood
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_frequencies, assert_mean, assert_proportion, assert_unbiased

# A hundred roundings, each of 1.1e-16 of numbers that cancel to a thousandth of themselves, lose 1e-11.
SHARP = 1e-10
# Where a function is highest its values tell two points apart only at a distance of √eps, 1.5e-8.
PEAK = 1e-7

TOSSES = (0, 0, 1, 1, 0, 0, 1)
DATA = [[1.0, -2.0], [0.5, 1.5], [3.0, 0.0], [-1.0, 2.5], [2.0, 4.0]]
COVARIANCE = [[2.0, 0.6], [0.6, 1.0]]  # eigenvalues 0.72 and 2.28, in no direction of the axes
START = [-3.0, 2.0]


def tensor(x):
    """A tensor of float64."""
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def toss(ones, zeros):
    """So many ones and zeros, in an array."""
    return np.repeat([1, 0], [ones, zeros])


# The normal law


def mistakes_in_normal_variance(x):
    """What people compute when they mean the likeliest variance, and why."""
    x = np.asarray(x, dtype=float)
    return {
        "is this the standard deviation, not the variance?": x.std(),
        "is it divided by n - 1, which is unbiased but not likeliest?": x.var(ddof=1),
        "is this the mean of x², without the mean taken off?": np.mean(x**2),
        "is the sum not divided by n?": x.var() * len(x),
        "is this the mean of absolute deviations?": np.mean(np.abs(x - x.mean())),
        "is this the variance of the mean, σ²/n?": x.var() / len(x),
    }


def test_normal_mle_is_the_mean_and_the_mean_square_deviation():
    """For -4, 1, 2, 3, 7 it is 9/5 and 314/25, in exact fractions."""
    x = [-4, 1, 2, 3, 7]
    mean = Fraction(sum(x), 5)
    variance = sum((value - mean) ** 2 for value in x) / 5
    fit = likelihood.normal_mle(np.array(x, dtype=float))
    assert_close(fit.mean, float(mean), rtol=SHARP, what="the mean", mistakes={"is this the median?": 2.0})
    mistakes = mistakes_in_normal_variance(x)
    assert_close(fit.variance, float(variance), rtol=SHARP, what="the variance", mistakes=mistakes)


def test_normal_mle_agrees_with_scipy(rng):
    """scipy's norm.fit gives the mean and, as scale, the square root of the variance."""
    for n in (2, 3, 50):
        x = rng.normal(3.0, 2.0, n)
        loc, scale = stats.norm.fit(x)
        fit = likelihood.normal_mle(x)
        assert_close(fit.mean, loc, rtol=SHARP, atol=SHARP, what=f"the mean of {n}")
        mistakes = mistakes_in_normal_variance(x)
        assert_close(fit.variance, scale**2, rtol=SHARP, what=f"the variance of {n}", mistakes=mistakes)


def test_normal_mle_keeps_its_figures_far_from_zero():
    """Moved by 10⁸, whole numbers have the variance they had: E x² − (E x)² would lose every figure of it."""
    x = np.array([1.0, 2.0, 4.0, 9.0]) + 1e8
    cancelled = np.mean(x**2) - np.mean(x) ** 2
    mistakes = {"is this the mean of x² less the square of the mean, which cancel?": cancelled}
    fit = likelihood.normal_mle(x)
    assert_close(fit.mean, 1e8 + 4, rtol=1e-15, what="the mean near 10⁸")
    assert_close(fit.variance, 9.5, rtol=SHARP, what="the variance near 10⁸", mistakes=mistakes)


def test_normal_mle_of_many_observations(rng):
    """Of a million observations the sums are those of math.fsum, which does not round."""
    x = rng.exponential(3.0, 1_000_000)
    mean = math.fsum(x) / len(x)
    variance = math.fsum((x - mean) ** 2) / len(x)
    fit = likelihood.normal_mle(x)
    assert_close([fit.mean, fit.variance], [mean, variance], rtol=SHARP, what="the fit to a million")


def test_normal_mle_of_equal_observations_has_variance_zero():
    """One observation, or several that are equal, leave a variance of exactly 0, and no warning."""
    for x in ([-2.5], [3.0, 3.0, 3.0]):
        fit = likelihood.normal_mle(np.array(x))
        assert (fit.mean, fit.variance) == (x[0], 0.0), f"normal_mle({x}) gives {fit}, should give {x[0]} and 0"


@pytest.mark.claim("thm-normal-mle", kind="symbolic")
def test_normal_mle_solves_the_likelihood_equations():
    """sympy: L(μ̂,σ̂²) − L(μ,s) = n/2 (r−1−log r) + n(μ̂−μ)²/(2s), r = σ̂²/s; the gradient has no other root."""
    *xs, mu, mean = sympy.symbols("x1:5 mu mean", real=True)
    n, s, variance, r = sympy.symbols("n s variance r", positive=True)
    average = sum(xs) / 4
    spread = sum((x - average) ** 2 for x in xs)
    assert sympy.expand(sum((x - mu) ** 2 for x in xs) - spread - 4 * (average - mu) ** 2) == 0

    level = -n / 2 * sympy.log(2 * sympy.pi * s) - n * (variance + (mean - mu) ** 2) / (2 * s)
    slopes = [sympy.diff(level, mu), sympy.diff(level, s)]
    assert sympy.solve(slopes, [mu, s], dict=True) == [{mu: mean, s: variance}]
    gap = level.subs({mu: mean, s: variance}, simultaneous=True) - level
    ratio = variance / s
    stated = n / 2 * (ratio - 1 - sympy.log(ratio)) + n * (mean - mu) ** 2 / (2 * s)
    assert sympy.simplify(sympy.expand_log(gap - stated, force=True)) == 0
    # r − 1 − log r is convex, and 0 where its slope is, at r = 1 alone: otherwise it is positive.
    convex = r - 1 - sympy.log(r)
    assert sympy.diff(convex, r, 2).is_positive
    assert sympy.solve(sympy.diff(convex, r), r) == [1]
    assert convex.subs(r, 1) == 0

    fit = likelihood.normal_mle(np.array([1.0, 4.0, 5.0, 12.0]))
    numbers = dict(zip(xs, (1, 4, 5, 12), strict=True))
    want = [float(average.subs(numbers)), float(spread.subs(numbers) / 4)]
    assert_close([fit.mean, fit.variance], want, rtol=SHARP, what="normal_mle of 1, 4, 5, 12")


@pytest.mark.claim("thm-normal-mle")
def test_normal_mle_is_likelier_than_any_other_law(rng):
    """By scipy's densities it exceeds each N(μ, s) by n/2 (r−1−log r) + n(μ̂−μ)²/(2s) > 0, r = σ̂²/s."""
    x = rng.normal(1.0, 2.0, 7)
    fit = likelihood.normal_mle(x)

    def level(mean, variance):
        return stats.norm.logpdf(x, mean, np.sqrt(variance)).sum()

    for shift, ratio in itertools.product([-3.0, -1e-3, 0.0, 0.2, 5.0], [0.1, 0.999, 1.0, 1.3, 20.0]):
        mean, variance = fit.mean + shift, fit.variance / ratio
        gap = level(fit.mean, fit.variance) - level(mean, variance)
        want = 3.5 * (ratio - 1 - np.log(ratio)) + 3.5 * shift**2 / variance
        assert want > 0 or (shift, ratio) == (0.0, 1.0)
        what = f"how much likelier the fit is than one {shift} beside it with 1/{ratio} of its variance"
        # The levels are of size 10 to 10⁵, of which 1e-16 a rounding is lost.
        assert_close(gap, want, rtol=1e-9, atol=1e-10, what=what)


@pytest.mark.claim("thm-normal-mle", kind="automatic differentiation")
def test_normal_mle_is_where_the_gradient_vanishes(rng):
    """PyTorch's gradient of Σ log N(xᵢ; μ, σ²) in (μ, σ²) is 0 at the fit; with n − 1 it would not be."""
    x = rng.normal(-2.0, 3.0, 9)
    fit = likelihood.normal_mle(x)
    at = tensor([fit.mean, fit.variance]).requires_grad_()
    torch.distributions.Normal(at[0], at[1].sqrt()).log_prob(tensor(x)).sum().backward()
    # Each is a sum of nine terms of order 1 to 10.
    assert_close(at.grad, [0.0, 0.0], atol=1e-10 * max(1.0, 9 / fit.variance**2), what="the gradient at the fit")


def discrete_samples(law, n):
    """All samples of n from a law {value: probability}, and their probabilities."""
    samples = np.array(list(itertools.product(law, repeat=n)), dtype=float)
    return samples, np.array([math.prod(law[value] for value in sample) for sample in samples.tolist()], dtype=float)


@pytest.mark.claim("prop-normal-mle-bias")
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_normal_mle_has_a_variance_short_by_one_in_n(n):
    """Over all samples of a law on 0, 1, 3 the means are E x̄ = μ = 5/6 and E σ̂² = (n−1)/n σ², σ² = 41/36."""
    law = {0: Fraction(1, 2), 1: Fraction(1, 3), 3: Fraction(1, 6)}
    samples, weights = discrete_samples(law, n)
    fits = np.array([likelihood.normal_mle(x) for x in samples])
    variance = 41 / 36
    mistakes = {"is it divided by n - 1, which is unbiased but not likeliest?": [5 / 6, variance]}
    want = [5 / 6, (n - 1) / n * variance]
    assert_close(weights @ fits, want, rtol=SHARP, atol=SHARP, what=f"the mean fit to {n}", mistakes=mistakes)


@pytest.mark.claim("prop-normal-mle-bias")
def test_normal_mle_averages_to_the_mean_and_too_little_variance(rng):
    """Over 6,000 samples of n = 3 from N(10, 4), the fits average to 10 and to 4 · 2/3."""
    fits = np.array([likelihood.normal_mle(x) for x in rng.normal(10.0, 2.0, (6_000, 3))])
    assert_mean(fits[:, 0], 10.0, detects=0.13)
    hints = {"the variance seems to be divided by n - 1": 4.0, "the standard deviation seems to be returned": 1.6}
    assert_mean(fits[:, 1], 4 * 2 / 3, detects=0.35, hints=hints)


# The line


def mistakes_in_line(x, y):
    """What people compute when they mean slope, intercept and variance, and why; in exact fractions."""
    n, x, y = len(x), [Fraction(v) for v in x], [Fraction(v) for v in y]
    mean_x, mean_y = sum(x) / n, sum(y) / n
    sxx, syy = sum((v - mean_x) ** 2 for v in x), sum((v - mean_y) ** 2 for v in y)
    sxy = sum((v - mean_x) * (w - mean_y) for v, w in zip(x, y, strict=True))
    slope = sxy / sxx
    intercept, rss = mean_y - slope * mean_x, syy - sxy**2 / sxx
    through_zero = sum(v * w for v, w in zip(x, y, strict=True)) / sum(v * v for v in x)
    slopes = {
        "was Sxy divided by Syy, which is the line of x on y?": sxy / syy,
        "is this the correlation?": float(sxy) / math.sqrt(sxx * syy),
        "does this line go through the origin?": through_zero,
        "is Sxy divided by n, but Sxx by n - 1?": slope * Fraction(n - 1, n),
        "is Sxy divided by n - 1, but Sxx by n?": slope * Fraction(n, n - 1),
        "is Sxy not divided by Sxx?": sxy,
        "is this the slope of x over y?": 1 / slope if slope else 0,
    }
    intercepts = {
        "is this ȳ, without the slope's part?": mean_y,
        "is the sign of the slope's part reversed, ȳ + âx̄?": mean_y + slope * mean_x,
        "does this line go through the origin?": 0,
        "is it x̄ - âȳ, with x and y exchanged?": mean_x - slope * mean_y,
    }
    variances = {
        "is RSS divided by n - 2, which is unbiased but not likeliest?": rss / (n - 2),
        "is RSS divided by n - 1?": rss / (n - 1),
        "is this the sum of squares, not their mean?": rss,
        "is this the standard deviation of the noise, not its variance?": math.sqrt(rss / n),
        "is this the variance of y, about its mean and not about the line?": syy / n,
    }
    right = {"slope": slope, "intercept": intercept, "variance": rss / n}
    wrong = {"slope": slopes, "intercept": intercepts, "variance": variances}
    wrong = {part: {why: float(value) for why, value in found.items()} for part, found in wrong.items()}
    return {part: float(value) for part, value in right.items()}, wrong


@pytest.mark.parametrize(
    ("x", "y"),
    [((0, 1, 2, 4), (1, 3, 2, 7)), ((-3, -1, 0, 5, 8, 9), (12, 7, 8, -2, 1, -11)), ((2, 2, 3), (0.5, -1.5, 4.0))],
)
def test_line_mle_is_the_line_of_least_squares(x, y):
    """Slope Sxy/Sxx, intercept ȳ − âx̄ and variance RSS/n are those of exact fractions."""
    want, mistakes = mistakes_in_line(x, y)
    fit = likelihood.line_mle(np.array(x, dtype=float), np.array(y, dtype=float))
    for part in ("slope", "intercept", "variance"):
        assert_close(getattr(fit, part), want[part], rtol=SHARP, what=f"the {part}", mistakes=mistakes[part])


def test_line_mle_agrees_with_scipy(rng):
    """scipy's linregress gives slope and intercept, and through the slope's error RSS = (n−2) Sxx error²."""
    for n in (3, 10, 1000):
        x = rng.uniform(-1.0, 3.0, n)
        y = 2.0 - 0.7 * x + rng.normal(0.0, 0.4, n)
        theirs, fit = stats.linregress(x, y), likelihood.line_mle(x, y)
        assert_close([fit.slope, fit.intercept], [theirs.slope, theirs.intercept], rtol=1e-8, atol=1e-9, what="line")
        # Its error is that of 1 − r², which loses what r² = 0.99 takes off it; three points can have r² = 1 − 1e-6.
        rss = theirs.stderr**2 * (n - 2) * x.var() * n
        assert_close(fit.variance, rss / n, rtol=1e-8, atol=1e-12, what=f"the variance about a line of {n}")


def test_line_mle_keeps_its_figures_far_from_zero():
    """Moved by 10⁸ in x and y, the line has the slope and the variance it had."""
    x, y = [0, 10, 20, 40], [10, 30, 20, 70]
    want, _ = mistakes_in_line([value + 10**8 for value in x], [value + 10**8 for value in y])
    far_x, far_y = np.array(x) + 1e8, np.array(y) + 1e8
    fit = likelihood.line_mle(far_x, far_y)
    product, square = (far_x @ other - 4 * far_x.mean() * other.mean() for other in (far_y, far_x))
    mistakes = {"are the sums of products not centred before they are summed, so that they cancel?": product / square}
    # A number of size 10⁸ carries a rounding of 1.5e-8, which goes into residuals of size 10.
    for part in ("slope", "intercept", "variance"):
        assert_close(getattr(fit, part), want[part], rtol=1e-6, what=f"the {part} near 10⁸", mistakes=mistakes)


def test_line_mle_keeps_the_variance_about_a_steep_line():
    """About y = 2²⁰x ± 2⁻¹⁰, in exact fractions, the variance is 10⁻⁶, where Syy/n and â²Sxx/n are 4·10¹³."""
    x = np.arange(20.0)
    y = 2.0**20 * x + 2.0**-10 * (-1) ** np.arange(20)  # no rounding
    want, _ = mistakes_in_line(x.tolist(), y.tolist())
    fit = likelihood.line_mle(x, y)
    assert_close([fit.slope, fit.intercept], [want["slope"], want["intercept"]], rtol=SHARP, atol=1e-7, what="the line")
    # A residual of 10⁻³ is a difference of numbers of size 10⁷, which are rounded by 2e-9.
    what = "the variance about a steep line (as Syy/n - â²Sxx/n it would cancel: take the mean of squared residuals)"
    assert_close(fit.variance, want["variance"], rtol=1e-4, what=what)


def test_line_mle_weighs_every_observation_alike():
    """One of 200 observations that lies 1000 off counts as the others do, in exact fractions: these are squares."""
    x = np.arange(200.0)
    y = 2 * x + (-1.0) ** np.arange(200)
    y[7] += 1000
    want, _ = mistakes_in_line(x.tolist(), y.tolist())
    without, _ = mistakes_in_line(np.delete(x, 7).tolist(), np.delete(y, 7).tolist())
    fit = likelihood.line_mle(x, y)
    for part in ("slope", "intercept", "variance"):
        mistakes = {"is the observation that lies far off left out?": without[part]}
        what = f"the {part}, with one observation far off (is it given less weight than the others?)"
        assert_close(getattr(fit, part), want[part], rtol=SHARP, what=what, mistakes=mistakes)


def test_line_mle_through_two_points_leaves_no_variance():
    """Two points, or several on one line, leave the variance 0, to the last bit of numbers of size 10."""
    for x in ([1.0, 3.0], [-2.0, 0.0, 0.5, 8.0]):
        fit = likelihood.line_mle(np.array(x), 4.0 - 1.5 * np.array(x))
        assert_close(fit, [-1.5, 4.0, 0.0], rtol=SHARP, atol=1e-25, what=f"the line through {len(x)} points")


@pytest.mark.claim("thm-line-mle", kind="symbolic")
def test_line_mle_completes_the_square():
    """sympy: Σ(yᵢ−axᵢ−b)² = RSS + Sxx (a−â)² + n(ȳ−ax̄−b)², and no other (a, b, s) solves the equations."""
    xs, ys = sympy.symbols("x1:4", real=True), sympy.symbols("y1:4", real=True)
    a, b = sympy.symbols("a b", real=True)
    mean_x, mean_y = sum(xs) / 3, sum(ys) / 3
    sxx = sum((x - mean_x) ** 2 for x in xs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sxx
    intercept = mean_y - slope * mean_x

    def squares(a, b):
        return sum((y - a * x - b) ** 2 for x, y in zip(xs, ys, strict=True))

    whole = squares(slope, intercept) + sxx * (a - slope) ** 2 + 3 * (mean_y - a * mean_x - b) ** 2
    assert sympy.cancel(squares(a, b) - whole) == 0

    n, s, spread, rss = sympy.symbols("n s Sxx RSS", positive=True)
    best, centre, height = sympy.symbols("slope xbar ybar", real=True)
    around = rss + spread * (a - best) ** 2 + n * (height - a * centre - b) ** 2
    level = -n / 2 * sympy.log(2 * sympy.pi * s) - around / (2 * s)
    slopes = [sympy.diff(level, variable) for variable in (a, b, s)]
    assert sympy.solve(slopes, [a, b, s], dict=True) == [{a: best, b: height - best * centre, s: rss / n}]

    numbers = dict(zip((*xs, *ys), (1, 2, 5, 3, -1, 4), strict=True))
    want = [float(value.subs(numbers)) for value in (slope, intercept, squares(slope, intercept) / 3)]
    fit = likelihood.line_mle(np.array([1.0, 2.0, 5.0]), np.array([3.0, -1.0, 4.0]))
    assert_close(fit, want, rtol=SHARP, what="line_mle of three points")


@pytest.mark.claim("thm-line-mle")
def test_line_mle_is_likelier_than_any_other_line(rng):
    """By scipy's densities it exceeds each (a, b, s) by n/2 (r−1−log r) + (Sxx(a−â)² + n(ȳ−ax̄−b)²)/(2s) > 0."""
    x = rng.uniform(0.0, 4.0, 8)
    y = 1.0 + 0.5 * x + rng.normal(0.0, 1.0, 8)
    fit = likelihood.line_mle(x, y)

    def level(slope, intercept, variance):
        return stats.norm.logpdf(y, slope * x + intercept, np.sqrt(variance)).sum()

    for turn, lift, ratio in itertools.product([-2.0, 0.0, 1e-3], [0.0, 1.5], [0.2, 1.0, 4.0]):
        slope, intercept, variance = fit.slope + turn, fit.intercept - turn * x.mean() + lift, fit.variance / ratio
        gap = level(*fit) - level(slope, intercept, variance)
        off = np.sum((x - x.mean()) ** 2) * turn**2 + 8 * lift**2
        want = 4 * (ratio - 1 - np.log(ratio)) + off / (2 * variance)
        assert want > 0 or (turn, lift, ratio) == (0.0, 0.0, 1.0)
        what = f"how much likelier the fit is than a line turned by {turn}, lifted by {lift}, 1/{ratio} of its variance"
        assert_close(gap, want, rtol=1e-9, atol=1e-9, what=what)


@pytest.mark.claim("thm-line-mle", kind="automatic differentiation")
def test_line_mle_is_where_the_gradient_vanishes(rng):
    """PyTorch's gradient of Σ log N(yᵢ; axᵢ+b, σ²) in (a, b, σ²) is 0 at the fit."""
    x = rng.uniform(-1.0, 1.0, 12)
    y = 3.0 * x - 1.0 + rng.normal(0.0, 1.0, 12)
    at = tensor(likelihood.line_mle(x, y)).requires_grad_()
    law = torch.distributions.Normal(at[0] * tensor(x) + at[1], at[2].sqrt())
    law.log_prob(tensor(y)).sum().backward()
    # Each is a sum of twelve terms of order 1 to 10, over σ̂² or its square.
    scale = max(1.0, 12 / at[2].item() ** 2)
    assert_close(at.grad, np.zeros(3), atol=1e-10 * scale, what="the gradient at the fitted line")


@pytest.mark.claim("prop-line-bias")
@pytest.mark.parametrize(
    ("law", "variance"),
    [({-1.5: Fraction(1, 2), 1.5: Fraction(1, 2)}, 2.25), ({2: Fraction(1, 3), -1: Fraction(2, 3)}, 2.0)],
)
@pytest.mark.parametrize("x", [(0.0, 1.0, 5.0), (-2.0, -1.0, 0.0, 3.0, 4.0)])
def test_line_mle_is_unbiased_but_for_two_in_n(law, variance, x):
    """Over all noises of two laws on two points, E â = a, E b̂ = b and E σ̂² = (n−2)/n σ², whatever the law."""
    n, x = len(x), np.array(x)
    noises, weights = discrete_samples(law, n)
    fits = np.array([likelihood.line_mle(x, 0.75 * x - 2.0 + noise) for noise in noises])
    mistakes = {
        "is RSS divided by n - 2, which is unbiased but not likeliest?": [0.75, -2.0, variance],
        "is RSS divided by n - 1?": [0.75, -2.0, (n - 2) / (n - 1) * variance],
    }
    want = [0.75, -2.0, (n - 2) / n * variance]
    assert_close(weights @ fits, want, rtol=SHARP, what="the mean of the fits", mistakes=mistakes)


@pytest.mark.claim("prop-line-bias")
def test_line_mle_averages_to_the_line_and_too_little_variance(rng):
    """Over 4,000 lines through n = 5 points with noise N(0, 1), the fits average to a, b and 3/5."""
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    fits = np.array([likelihood.line_mle(x, 2.0 * x + 1.0 + noise) for noise in rng.standard_normal((4_000, 5))])
    hints = {
        "the residuals seem to be divided by n - 2": [2.0, 1.0, 1.0],
        "the residuals seem to be divided by n - 1": [2.0, 1.0, 0.75],
    }
    assert_unbiased(fits, [2.0, 1.0, 0.6], detects=[0.05, 0.07, 0.09], hints=hints)


# The logarithm


@pytest.mark.claim("prop-log-argmax")
def test_coin_log_posterior_orders_parameters_as_the_likelihood_does():
    """θ³(1−θ)⁴ in exact fractions at all θ = p/q, q ≤ 14: its log, and other increasing functions, order them alike."""
    thetas = sorted({Fraction(p, q) for q in range(2, 15) for p in range(1, q)})
    levels = [theta**3 * (1 - theta) ** 4 for theta in thetas]
    order = sorted(range(len(thetas)), key=levels.__getitem__)
    ranked = [levels[i] for i in order]
    assert [theta for theta, level in zip(thetas, levels, strict=True) if level == ranked[-1]] == [Fraction(3, 7)]
    # An increasing function keeps the order of any two, so it has the same maximisers.
    pairs = list(itertools.pairwise(ranked))
    for increasing in (lambda level: level / (1 + level), lambda level: level**3 + level):
        values = [increasing(level) for level in ranked]
        assert all((a < b) == (p < q) for (p, q), (a, b) in zip(pairs, itertools.pairwise(values), strict=True))
    mean, variance = 0.5, 1e3
    at = np.array([float(thetas[i]) for i in order])
    logs = likelihood.coin_log_posterior(at, TOSSES, mean, variance) + (at - mean) ** 2 / (2 * variance)
    want = [float(mpmath.log(mpmath.mpf(level.numerator)) - mpmath.log(level.denominator)) for level in ranked]
    assert_close(logs, want, rtol=SHARP, what="the log of the coin's likelihood")
    distinct = [i for i, (p, q) in enumerate(pairs) if q > p * (1 + Fraction(1, 10**9))]
    assert len(distinct) > 50
    assert np.all(np.diff(logs)[distinct] > 0), "the log orders two parameters otherwise than the likelihood"


@pytest.mark.claim("prop-log-argmax", kind="symbolic")
def test_coin_log_posterior_has_the_slope_of_the_likelihood_over_the_likelihood():
    """sympy: (log L)' = L'/L with 1/L > 0, so both rise and fall together; for the coin up to h/n alone."""
    theta, h, t, height = sympy.symbols("theta h t L", positive=True)
    level = theta**h * (1 - theta) ** t
    assert sympy.simplify(sympy.diff(sympy.log(level), theta) - sympy.diff(level, theta) / level) == 0
    assert sympy.diff(sympy.log(height), height).is_positive
    slope = sympy.diff(h * sympy.log(theta) + t * sympy.log(1 - theta), theta)
    assert sympy.solve(slope, theta) == [h / (h + t)]
    # With a very wide prior what is highest is the likelihood: the coin's slope at h/n is that of the prior alone.
    step, at, wide = 1e-4, 3 / 7, 1e6
    around = likelihood.coin_log_posterior(np.array([at - step, at, at + step]), TOSSES, at, wide)
    assert around[1] > max(around[0], around[2]), "the log of the coin's likelihood is not highest at h/n"


@pytest.mark.claim("prop-underflow")
@pytest.mark.parametrize("copies", [1, 700, 1000, 20_000])
def test_log_likelihood_stands_where_the_product_of_densities_underflows(copies):
    """Of n copies of 0 it is -n/2 log 2π; the product of their densities is 0 in float64 at 1,000 of them."""
    at_zero = 1 / math.sqrt(2 * math.pi)
    product = float(np.prod(np.full(copies, at_zero)))
    total = -copies / 2 * math.log(2 * math.pi)
    if total > -708:  # the smallest number with all its figures is 2^-1022 = e^-708.4
        assert_close(math.log(product), total, rtol=SHARP, what=f"the log of a product of {copies} densities")
    else:
        assert product == 0.0
    got = likelihood.log_likelihood(tensor(np.zeros((copies, 1))), tensor([0.0]), tensor([[1.0]]))
    mistakes = {"is it the log of a product, which underflows to 0?": -math.inf}
    assert_close(got, total, rtol=SHARP, what=f"log_likelihood of {copies} rows", mistakes=mistakes)


@pytest.mark.claim("prop-underflow")
def test_log_likelihood_goes_on_where_a_running_product_has_ended(rng):
    """Draw by draw the product is positive where Σ log f is above -744.6, and 0 below -746.3; log_likelihood goes on.

    Between them lies log 2⁻¹⁰⁷⁵ = -745.13. There a product is a whole number p of 2⁻¹⁰⁷⁴ = e^-744.44. The next factor
    f, at most 0.3989, makes it pf ± ½, so that its error stays below ½/(1-f) < 0.832: what is 1 or more was in truth
    above 0.168 = e^-1.78 of them, and what was above 0.832 = e^-0.18 of them is not 0.
    """
    x = rng.standard_normal(1_500)
    sums, products = np.cumsum(stats.norm.logpdf(x)), np.cumprod(stats.norm.pdf(x))
    assert np.all(products[sums > -744.6] > 0)
    assert np.all(products[sums < -746.3] == 0)
    assert sums[-1] < -746.3  # 1,500 draws make it -2,128 ± 27
    for n in (1, 600, 1_500):
        got = likelihood.log_likelihood(tensor(x[:n, None]), tensor([0.0]), tensor([[1.0]]))
        assert_close(got, sums[n - 1], rtol=SHARP, what=f"log_likelihood of {n} draws")


# The coin, and its likeliest probability


def cubic_roots(ones, zeros, mean, variance):
    """The three roots of θ³ − (1+m)θ² + (m − vn)θ + vh by the eigenvalues of its companion matrix, from below."""
    return np.sort_complex(np.roots([1, -(1 + mean), mean - variance * (ones + zeros), variance * ones]))


def bisected(ones, zeros, mean, variance, sign=-1):
    """Where the slope of the log posterior, times vθ(1−θ), changes its sign in [0, 1]: by halving, in fractions."""
    mean, variance = Fraction(mean), Fraction(variance)
    low, high = Fraction(0), Fraction(1)
    for _ in range(60):
        theta = (low + high) / 2
        slope = variance * (ones - (ones + zeros) * theta) + sign * (theta - mean) * theta * (1 - theta)
        low, high = (theta, high) if slope > 0 else (low, theta)
    return float((low + high) / 2)


@cache
def unit_nodes():
    """Nodes and weights of 300-point Gauss-Legendre quadrature on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(300)
    return (nodes + 1) / 2, weights / 2


def posterior_average(f, ones, zeros, mean, variance):
    """The mean of f(θ) by 300 Gauss-Legendre nodes on [0, 1]: of a polynomial of degree 599 it would be exact."""
    theta, weights = unit_nodes()
    log = special.xlogy(ones, theta) + special.xlog1py(zeros, -theta) - (theta - mean) ** 2 / (2 * variance)
    weights = weights * np.exp(log - log.max())
    return float(weights @ f(theta) / weights.sum())


def line_average(f, ones, zeros, mean, variance):
    """The mean of f(θ) if θ were free to leave [0, 1]: exact for polynomials, by 40 Gauss-Hermite nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    theta = mean + np.sqrt(variance) * nodes
    weights = weights * theta**ones * (1 - theta) ** zeros
    return float(weights @ f(theta) / weights.sum())


def mistakes_in_coin_map(ones, zeros, mean, variance):
    """What people return when they mean the MAP, and why."""
    n = ones + zeros
    mistakes = {
        "was the prior's variance taken for a standard deviation?": bisected(ones, zeros, mean, variance**2),
        "was the root of the prior's variance taken, as if it were a variance?": bisected(
            ones, zeros, mean, math.sqrt(variance)
        ),
        "is this h/n, which is likeliest without the prior?": ones / n,
        "is this the posterior's mean, not its highest point?": posterior_average(
            lambda x: x, ones, zeros, mean, variance
        ),
        "is the sign of the prior's term reversed?": bisected(ones, zeros, mean, variance, sign=1),
        "is the ½ in the prior's exponent missing?": bisected(ones, zeros, mean, variance / 2),
        "is the 2 lost that comes of deriving the prior's square?": bisected(ones, zeros, mean, 2 * variance),
        "are the ones and the zeros exchanged?": bisected(zeros, ones, mean, variance),
        "is this the prior's mean?": mean,
        "is this the probability of a 0?": 1 - bisected(ones, zeros, mean, variance),
    }
    if ones and zeros:
        low, _, high = cubic_roots(ones, zeros, mean, variance).real
        mistakes |= {
            "is this the root of the cubic that lies below 0?": low,
            "is this the root of the cubic that lies above 1?": high,
            "is this a root of the cubic below 0, cut off there?": 0.0,
            "is this a root of the cubic above 1, cut off there?": 1.0,
        }
    return mistakes


@pytest.mark.parametrize(
    ("ones", "zeros", "mean", "variance"),
    [
        (3, 4, 0.5, 0.1),
        (3, 4, 0.5, 0.01),
        (9, 2, 0.3, 0.05),
        (1, 30, 0.7, 0.002),
        (2, 1, -0.5, 0.3),
        (5, 8, 1.7, 2.0),
        (600, 600, 0.3, 0.01),  # many tosses
        (600, 600, 0.3, 5e-9),  # and a prior so narrow that they move its mean by 6e-6 only
        (3, 4, -300.0, 1.1e4),  # a wide one, so far away that it moves 3/7 by 1e-3
    ],
)
def test_coin_map_is_the_root_between_zero_and_one(ones, zeros, mean, variance):
    """It is where the slope of the log posterior changes sign, which bisection in exact fractions finds to 2⁻⁶¹."""
    got = likelihood.coin_map(toss(ones, zeros), mean, variance)
    what = f"coin_map of {ones} ones and {zeros} zeros, prior N({mean}, {variance})"
    mistakes = mistakes_in_coin_map(ones, zeros, mean, variance)
    assert_close(got, bisected(ones, zeros, mean, variance), atol=PEAK, what=what, mistakes=mistakes)


def test_coin_map_reads_its_second_number_as_a_variance():
    """For the tosses 0011001 and N(½, v): 1/√5 = 0.4472 if v = 1/10 is a variance; as a standard deviation, 0.4844."""
    mistakes = mistakes_in_coin_map(3, 4, 0.5, 0.1)
    got = likelihood.coin_map(TOSSES, 0.5, 0.1)
    assert_close(got, 1 / math.sqrt(5), atol=PEAK, what="coin_map(tosses, 0.5, 0.1)", mistakes=mistakes)
    got = likelihood.coin_map(TOSSES, 0.5, 0.1**2)
    assert_close(got, 0.4843630517, atol=PEAK, what="coin_map(tosses, 0.5, 0.01)")


@pytest.mark.claim("thm-coin-map")
@pytest.mark.parametrize("variance", [0.01, 0.1, 3.0])
@pytest.mark.parametrize("n", [1, 4])
def test_coin_map_of_one_side_alone(n, variance):
    """If only zeros came up it is the lesser root of θ² − (1+m)θ + m − vn, or 0; if only ones, the mirror image."""
    for mean in (-0.5, 0.0, 0.3, 0.5, 1.0, 1.5):
        low, high = ((1 + mean + side * math.sqrt((1 - mean) ** 2 + 4 * variance * n)) / 2 for side in (-1, 1))
        want = max(0.0, low)
        assert abs(bisected(0, n, mean, variance) - want) < 1e-14
        mistakes = {
            "is this the end of [0, 1] that h/n points to, without the prior?": 0.0,
            "is a root below 0 not cut off there?": low,
            "is this the greater root?": high,
            "is this the prior's mean?": mean,
        }
        what = f"coin_map of {n} zeros, prior N({mean}, {variance})"
        assert_close(likelihood.coin_map(toss(0, n), mean, variance), want, atol=PEAK, what=what, mistakes=mistakes)
        mistakes = {why: 1 - value for why, value in mistakes.items()}
        what = f"coin_map of {n} ones, prior N({1 - mean}, {variance})"
        got = likelihood.coin_map(toss(n, 0), 1 - mean, variance)
        assert_close(got, 1 - want, atol=PEAK, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-coin-map")
def test_coin_map_is_the_middle_one_of_three_real_roots(rng):
    """For 60 posteriors the companion matrix has one root below 0, one above 1, and coin_map between them."""
    for _ in range(60):
        ones, zeros = rng.integers(1, 40, 2)
        mean, variance = rng.normal(0.5, 1.0), 10 ** rng.uniform(-2.5, 2.0)
        roots = cubic_roots(ones, zeros, mean, variance)
        assert np.allclose(roots.imag, 0, atol=1e-9), roots
        low, middle, high = roots.real
        assert low < 0 < middle < 1 < high
        mistakes = {
            "is this the root of the cubic that lies below 0?": low,
            "is this the root of the cubic that lies above 1?": high,
        }
        what = f"coin_map of {ones} ones and {zeros} zeros, prior N({mean}, {variance})"
        assert_close(
            likelihood.coin_map(toss(ones, zeros), mean, variance), middle, atol=PEAK, what=what, mistakes=mistakes
        )


@pytest.mark.claim("thm-coin-map", kind="symbolic")
def test_coin_map_is_the_only_root_of_a_concave_log_posterior():
    """sympy: the slope times vθ(1−θ) is the cubic, positive at 0 and negative at 1; the curvature is negative."""
    theta, u, h, t, v = sympy.symbols("theta u h t v", positive=True)
    m = sympy.symbols("m", real=True)
    log_posterior = h * sympy.log(theta) + t * sympy.log(1 - theta) - (theta - m) ** 2 / (2 * v)
    slope = sympy.diff(log_posterior, theta)
    cubic = theta**3 - (1 + m) * theta**2 + (m - v * (h + t)) * theta + v * h
    assert sympy.expand(v * (h - (h + t) * theta) - (theta - m) * theta * (1 - theta) - cubic) == 0
    assert sympy.simplify(slope * v * theta * (1 - theta) - cubic) == 0
    curvature = -h / theta**2 - t / u**2 - 1 / v  # u = 1 − θ > 0
    assert sympy.simplify(sympy.diff(slope, theta) - curvature.subs(u, 1 - theta)) == 0
    assert curvature.is_negative
    # Positive at 0, negative at 1, and like θ³ far out: a root below 0, one between, one above 1.
    assert cubic.subs(theta, 0).is_positive
    assert sympy.expand(cubic.subs(theta, 1) + v * t) == 0
    assert sympy.Poly(cubic, theta).LC() == 1
    # With one side alone a factor comes off.
    assert sympy.expand(cubic.subs(h, 0) - theta * (theta**2 - (1 + m) * theta + m - v * t)) == 0
    assert sympy.expand(cubic.subs(t, 0) - (theta - 1) * (theta**2 - m * theta - v * h)) == 0
    # The chapter's own: 1/√5 solves it exactly.
    own = {h: 3, t: 4, m: sympy.Rational(1, 2), v: sympy.Rational(1, 10), theta: 1 / sympy.sqrt(5)}
    assert sympy.simplify(cubic.subs(own)) == 0
    got = likelihood.coin_map(TOSSES, 0.5, 0.1)
    mistakes = mistakes_in_coin_map(3, 4, 0.5, 0.1)
    assert_close(got, float(1 / sympy.sqrt(5)), atol=PEAK, what="coin_map(tosses, 0.5, 0.1)", mistakes=mistakes)


def test_coin_map_changes_sides_with_the_coin():
    """With zeros for ones, and a prior about 1 − m, it is 1 − θ̂."""
    for ones, zeros, mean, variance in [(3, 4, 0.2, 0.1), (0, 3, 0.6, 0.01), (7, 0, 0.4, 0.2)]:
        there = likelihood.coin_map(toss(ones, zeros), mean, variance)
        back = likelihood.coin_map(toss(zeros, ones), 1 - mean, variance)
        assert_close(there + back, 1.0, atol=2 * PEAK, what="coin_map and its mirror image, together")


def test_coin_map_lies_between_the_share_of_ones_and_the_prior():
    """From the cubic, |θ̂ − h/n| ≤ |θ̂ − m|/(4nv): a wide prior leaves h/n, and so do many tosses; a narrow one m."""
    for ones, zeros, variance in [(3, 4, 1e6), (2, 0, 1e9), (300_000, 200_000, 0.1)]:
        n = ones + zeros
        got = likelihood.coin_map(toss(ones, zeros), 0.5, variance)
        bound = 1 / (4 * n * variance) + PEAK
        assert abs(got - ones / n) <= bound, f"got {got} for {ones} of {n}, v = {variance}, within {bound:.2g} of h/n"
    # And v(h − nθ) = (θ−m)θ(1−θ) gives |θ̂ − m| ≤ vn/(θ̂(1−θ̂)), here 7e-9/0.24.
    assert_close(likelihood.coin_map(TOSSES, 0.4, 1e-9), 0.4, atol=PEAK, what="coin_map with a very narrow prior")


@pytest.mark.parametrize("variance", [1e-10, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("mean", [-2.0, 0.3, 3.0])
def test_coin_map_is_where_the_slope_changes_sign(variance, mean):
    """Just below θ̂ the posterior rises and just above it falls, in exact fractions, for opinions of every strength."""
    got = float(likelihood.coin_map(TOSSES, mean, variance))
    peak, m, v = Fraction(got), Fraction(mean), Fraction(variance)

    def slope(theta):
        return float(3 / theta - 4 / (1 - theta) - (theta - m) / v)

    # A narrow posterior shows its top to eight digits of θ̂ and 1 - θ̂, or to what a float near 1 can say. A wide one is
    # flat there: by its height alone, as a minimiser sees it, the top is known to the root of 10⁻¹⁵, some 10⁻⁷.
    away = max(min(peak, 1 - peak) / 10**8, Fraction(1, 2**50)) if variance <= 1e-3 else Fraction(1, 10**7)
    what = f"coin_map of 3 ones and 4 zeros, prior N({mean}, {variance}), is {got}"
    assert 0 < peak - away < peak + away < 1, f"{what}, should lie strictly between 0 and 1"
    below, above = slope(peak - away), slope(peak + away)
    assert below > 0, f"{what}: just below it the log posterior has the slope {below:.3g}, so its top is at a lower θ"
    assert above < 0, f"{what}: just above it the log posterior has the slope {above:.3g}, so its top is at a higher θ"


@pytest.mark.parametrize(
    ("ones", "zeros", "mean", "variance"),
    [(3, 4, 0.5, 0.1), (0, 2, 0.2, 0.01), (6, 0, 2.0, 0.7), (600, 600, 0.3, 0.01)],
)
def test_coin_log_posterior_is_likelihood_and_prior(ones, zeros, mean, variance):
    """It is h log θ + t log(1−θ) − (θ−m)²/(2v): scipy's binomial and normal, but for their constants."""
    theta = np.linspace(0.05, 0.95, 7)
    n = ones + zeros
    log_likelihood = stats.binom.logpmf(ones, n, theta) - math.log(math.comb(n, ones))
    prior = (theta - mean) ** 2 / (2 * variance)
    want = log_likelihood - prior
    mistakes = {
        "is the sign of the prior's term reversed?": log_likelihood + prior,
        "is the ½ in the prior's exponent missing?": log_likelihood - 2 * prior,
        "was the prior's variance taken for a standard deviation?": log_likelihood - prior / variance,
        "is the prior forgotten?": log_likelihood,
        "are the ones and the zeros exchanged?": special.xlogy(zeros, theta) + special.xlog1py(ones, -theta) - prior,
        "is it averaged over the tosses?": log_likelihood / n - prior,
        "is the prior counted once for every toss?": log_likelihood - n * prior,
        "is this the posterior itself, not its logarithm?": np.exp(want),
    }
    got = likelihood.coin_log_posterior(theta, toss(ones, zeros), mean, variance)
    # The terms, of size 20 at most for a few tosses, may cancel.
    assert_close(got, want, rtol=SHARP, atol=1e-12, what="coin_log_posterior", mistakes=mistakes)
    alone = likelihood.coin_log_posterior(0.25, toss(ones, zeros), mean, variance)
    want = ones * math.log(0.25) + zeros * math.log(0.75) - (0.25 - mean) ** 2 / (2 * variance)
    assert_close(alone, want, rtol=SHARP, atol=1e-12, what="coin_log_posterior of a number")


def test_coin_log_posterior_at_the_ends():
    """At 0 it is -∞ if a one came up, otherwise the prior's term alone; at 1 likewise; no NaN, and no warning."""
    ends, prior = np.array([0.0, 1.0]), -np.array([0.36, 0.16]) / 0.4
    inf = np.array([-np.inf, -np.inf])
    for tosses, want in [([0, 1], inf), ([0, 0], [prior[0], -np.inf]), ([1], [-np.inf, prior[1]])]:
        got = likelihood.coin_log_posterior(ends, tosses, 0.6, 0.2)
        what = f"coin_log_posterior at 0 and 1 after {tosses} (0 log 0 counts as 0)"
        assert_close(got, want, rtol=SHARP, what=what)


def test_coin_log_posterior_has_the_shape_of_theta():
    """θ may have two dimensions, and the prior mean may be negative."""
    theta = np.array([[0.1, 0.5, 0.9], [0.2, 0.3, 0.99]])
    got = likelihood.coin_log_posterior(theta, [0, 1, 1], -0.7, 0.2)
    want = 2 * np.log(theta) + np.log1p(-theta) - (theta + 0.7) ** 2 / 0.4
    assert_close(got, want, rtol=SHARP, what="coin_log_posterior of a table of θ")


@pytest.mark.claim("prop-truncation")
@pytest.mark.parametrize(("variance", "outside"), [(0.1, 0.114), (0.01, 5.7e-7)])
def test_coin_map_is_the_same_for_a_truncated_prior(variance, outside):
    """scipy's truncnorm is the normal density over its mass in [0, 1], 1 − 2Φ(−½/√v): one factor at every θ."""
    std = math.sqrt(variance)
    mass, _ = integrate.quad(lambda x: stats.norm.pdf(x, 0.5, std), 0, 1, epsabs=0, epsrel=1e-12)
    left_out = 2 * stats.norm.cdf(-0.5 / std)
    assert_close(left_out, 1 - mass, atol=1e-12, what="the prior's mass outside [0, 1]")
    assert_close(left_out, outside, rtol=0.01, what="the prior's mass outside [0, 1], as the text rounds it")
    theta = np.linspace(0.02, 0.98, 49)
    truncated = stats.truncnorm.logpdf(theta, -0.5 / std, 0.5 / std, 0.5, std)
    assert_close(
        truncated - stats.norm.logpdf(theta, 0.5, std), np.full(49, -math.log1p(-left_out)), rtol=1e-6, atol=1e-12
    )
    # So the MAP is where the slope of the truncated log posterior, too, goes through 0: up before it, down after it.
    peak, step = likelihood.coin_map(TOSSES, 0.5, variance), 1e-4
    around = peak + step * np.array([-1.5, -0.5, 0.5, 1.5])
    prior = stats.truncnorm.logpdf(around, -0.5 / std, 0.5 / std, 0.5, std)
    heights = 3 * np.log(around) + 4 * np.log1p(-around) + prior
    slopes = np.diff(heights) / step
    # Differences over 1e-4 are off by its square times the third derivative, below 1e-6, and by roundings of 1e-11.
    assert_close(slopes[1], 0.0, atol=1e-5, what="the slope of the truncated log posterior at coin_map")
    assert slopes[0] > 0 > slopes[2]


# The next toss


def mistakes_in_predictive(ones, zeros, a, b):
    """What people compute when they mean P(next is 1), and why."""
    n = ones + zeros
    mistakes = {
        "is this h/n, the likeliest θ, not its mean?": ones / n,
        "is n missing in the denominator?": (ones + a) / (a + b),
        "are a and b exchanged?": (ones + b) / (n + a + b),
        "is this the probability of a 0?": (zeros + b) / (n + a + b),
        "are the ones and the zeros exchanged?": (zeros + a) / (n + a + b),
        "are a and b missing in the denominator?": (ones + a) / n,
        "is b missing in the denominator?": (ones + a) / (n + a),
        "is this the posterior's odds, not a probability?": (ones + a) / (zeros + b),
        "is this the prior's mean, without the tosses?": a / (a + b),
    }
    if n + a + b > 2:
        mistakes["is this the posterior's highest point (the MAP), not its mean?"] = (ones + a - 1) / (n + a + b - 2)
    return mistakes


@pytest.mark.parametrize(
    ("ones", "zeros", "a", "b"), [(3, 4, 2.0, 5.0), (9, 2, 0.5, 1.5), (0, 5, 3.0, 0.25), (6, 0, 1.0, 1.0)]
)
def test_coin_predictive_is_the_mean_of_the_posterior(ones, zeros, a, b):
    """It is the mean of Beta(h+a, t+b), (h+a)/(n+a+b), by scipy."""
    got = likelihood.coin_predictive(toss(ones, zeros), a, b)
    want = stats.beta(ones + a, zeros + b).mean()
    what = f"coin_predictive of {ones} ones and {zeros} zeros, a={a}, b={b}"
    assert_close(got, want, rtol=SHARP, what=what, mistakes=mistakes_in_predictive(ones, zeros, a, b))


def test_coin_predictive_is_uniform_by_default():
    """For 0011001 and no word of a prior it is Laplace's 4/9; by keyword, a=2 and b=1 make it 5/10."""
    got = likelihood.coin_predictive(TOSSES)
    assert_close(got, 4 / 9, rtol=SHARP, what="coin_predictive(tosses)", mistakes=mistakes_in_predictive(3, 4, 1, 1))
    assert_close(likelihood.coin_predictive(TOSSES, a=2), 0.5, rtol=SHARP, what="coin_predictive(tosses, a=2)")
    assert_close(likelihood.coin_predictive(TOSSES, b=5), 4 / 13, rtol=SHARP, what="coin_predictive(tosses, b=5)")


@pytest.mark.claim("thm-succession", kind="symbolic")
def test_coin_predictive_is_a_ratio_of_integrals():
    """sympy: ∫θ^{h+a}(1−θ)^{t+b−1}dθ / ∫θ^{h+a−1}(1−θ)^{t+b−1}dθ is (h+a)/(n+a+b), for symbols and for 0011001."""
    theta = sympy.symbols("theta", positive=True)
    h, t, a, b = sympy.symbols("h t a b", positive=True)

    def beta(p, q):
        return sympy.gamma(p) * sympy.gamma(q) / sympy.gamma(p + q)

    ratio = sympy.gammasimp(beta(h + a + 1, t + b) / beta(h + a, t + b))
    assert sympy.simplify(ratio - (h + a) / (h + t + a + b)) == 0
    for alpha, beta_ in [(1, 1), (2, 3)]:
        posterior = sympy.expand(theta ** (3 + alpha - 1) * (1 - theta) ** (4 + beta_ - 1))
        above, below = (sympy.integrate(sympy.expand(f * posterior), (theta, 0, 1)) for f in (theta, 1))
        assert below == beta(sympy.Integer(3 + alpha), sympy.Integer(4 + beta_))
        mistakes = mistakes_in_predictive(3, 4, alpha, beta_)
        got = likelihood.coin_predictive(TOSSES, alpha, beta_)
        assert_close(got, float(above / below), rtol=SHARP, what="coin_predictive", mistakes=mistakes)
        if alpha == 1:
            assert above / below == sympy.Rational(4, 9)


@pytest.mark.claim("thm-succession")
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1.0, 2.5)])
def test_coin_predictive_agrees_with_quadrature(a, b):
    """Integrals of θ^{h+a-1}(1−θ)^{t+b−1}, with the powers as QUADPACK's weight so that ends may be singular."""
    for ones, zeros in [(0, 1), (3, 4), (7, 1)]:
        above, below = (
            integrate.quad(lambda x, k=k: x**k, 0, 1, weight="alg", wvar=(ones + a - 1, zeros + b - 1))[0]
            for k in (1, 0)
        )
        got = likelihood.coin_predictive(toss(ones, zeros), a, b)
        mistakes = mistakes_in_predictive(ones, zeros, a, b)
        assert_close(got, above / below, rtol=1e-7, what="coin_predictive", mistakes=mistakes)


@pytest.mark.claim("thm-succession")
def test_coin_predictive_multiplies_to_the_probability_of_a_sequence():
    """Predicted one after the other, the tosses of each of the 2⁵ sequences have probability B(h+a, t+b)/B(a, b)."""
    a, b, first = 1.5, 2.0, 1.5 / 3.5
    for sequence in itertools.product([0, 1], repeat=5):
        chance = first if sequence[0] else 1 - first
        for seen in range(1, 5):
            one = likelihood.coin_predictive(sequence[:seen], a, b)
            chance *= one if sequence[seen] else 1 - one
        want = special.beta(sum(sequence) + a, 5 - sum(sequence) + b) / special.beta(a, b)
        assert_close(chance, want, rtol=SHARP, what=f"the probability of {sequence}")


# Two zeros next


CASES = [
    (3, 4, 0.5, 0.1),
    (3, 4, 0.5, 0.01),
    (20, 40, 0.2, 0.05),
    (0, 3, 0.3, 0.02),
    (5, 0, 0.5, 0.1),
    (1, 2, 2.0, 0.5),
    (3, 4, 0.5, 100.0),
    (3, 4, -1.0, 2.0),
    (3, 4, 2.0, 1e4),
]
cases = pytest.mark.parametrize(("ones", "zeros", "mean", "variance"), CASES)


@cases
def test_two_tails_plugs_in_the_map(ones, zeros, mean, variance):
    """Plugged in it is (1−θ̂)² for the θ̂ of exact bisection; for 0011001 and N(½, 1/10) that is 0.305572809."""
    law = (ones, zeros, mean, variance)
    theta = bisected(*law)
    got = likelihood.two_tails(toss(ones, zeros), mean, variance).plugged_in
    average = posterior_average(lambda x: x, *law)
    mistakes = {
        "is this θ̂², two heads?": theta**2,
        "is this 1 - θ̂, a single tail?": 1 - theta,
        "is the posterior's mean plugged in, not its highest point?": (1 - average) ** 2,
        "is this the predictive probability, averaged over θ?": posterior_average(lambda x: (1 - x) ** 2, *law),
        "is h/n plugged in, without the prior?": (zeros / (ones + zeros)) ** 2,
        "was the prior's variance taken for a standard deviation?": (1 - bisected(ones, zeros, mean, variance**2)) ** 2,
    }
    assert_close(got, (1 - theta) ** 2, atol=2 * PEAK, what=f"two_tails{law}.plugged_in", mistakes=mistakes)
    if law == CASES[0]:
        assert_close(got, 0.305572809, atol=2 * PEAK, what="two_tails of 0011001, plugged in", mistakes=mistakes)


@pytest.mark.claim("prop-plug-in")
@cases
def test_two_tails_predicts_by_averaging_over_the_posterior(ones, zeros, mean, variance):
    """E[(1−θ)²] by 300 Gauss-Legendre nodes on [0, 1]; it is (1−Eθ)² + Var θ, and so above (1−Eθ)²."""
    law = (ones, zeros, mean, variance)
    average = posterior_average(lambda x: x, *law)
    spread = posterior_average(lambda x: (x - average) ** 2, *law)
    want = posterior_average(lambda x: (1 - x) ** 2, *law)
    assert_close((1 - average) ** 2 + spread, want, rtol=SHARP, what="(1−Eθ)² + Var θ")
    mistakes = {
        "is this the square of the mean, (1−Eθ)², without the variance of θ?": (1 - average) ** 2,
        "is this E[θ²], two heads?": posterior_average(lambda x: x**2, *law),
        "is this E(1−θ), a single tail?": 1 - average,
        "is this 1 - E[θ²], that not both are heads?": 1 - posterior_average(lambda x: x**2, *law),
        "is this the plugged-in probability, (1−θ̂)²?": (1 - bisected(*law)) ** 2,
        "does θ run over the whole line, where it should stay in [0, 1]?": line_average(lambda x: (1 - x) ** 2, *law),
        "was the prior's variance taken for a standard deviation?": posterior_average(
            lambda x: (1 - x) ** 2, ones, zeros, mean, variance**2
        ),
        "is the prior forgotten?": posterior_average(lambda x: (1 - x) ** 2, ones, zeros, 0.5, 1e9),
        "is Var θ taken off, not added?": (1 - average) ** 2 - spread,
    }
    got = likelihood.two_tails(toss(ones, zeros), mean, variance).predictive
    # As exact as quadrature is asked to be: 1e-8 is QUADPACK's own default.
    assert_close(got, want, rtol=1e-7, what=f"two_tails{law}.predictive", mistakes=mistakes)
    assert got > (1 - average) ** 2 + spread / 2


@pytest.mark.claim("prop-plug-in")
@pytest.mark.parametrize(("ones", "zeros"), [(3, 4), (0, 2), (5, 0), (100_000, 0), (300, 700)])
def test_two_tails_is_two_predictions_in_a_row_if_the_prior_is_flat(ones, zeros):
    """Under Beta(1, 1), exactly: (t+1)(t+2)/((n+2)(n+3)) = (1−Eθ)² + Var θ, which two coin_predictives multiply to."""
    n = ones + zeros
    p, q = ones + 1, zeros + 1
    exact = Fraction(q * (q + 1), (n + 2) * (n + 3))
    mean, variance = Fraction(p, n + 2), Fraction(p * q, (n + 2) ** 2 * (n + 3))
    assert exact == (1 - mean) ** 2 + variance > (1 - mean) ** 2
    tosses = toss(ones, zeros)
    again = np.append(tosses, 0)
    product = (1 - likelihood.coin_predictive(tosses)) * (1 - likelihood.coin_predictive(again))
    # 1 − p loses 1e-16 of a p near 1: 1e-11 of a q of 1e-5.
    assert_close(product, float(exact), rtol=SHARP, what="two predictions in a row")
    # On [0, 1] the prior N(½, v) lies between its height at ½ and e^{-1/(8v)} of it, here 1 − 1.25e-9.
    got = likelihood.two_tails(tosses, 0.5, 1e8).predictive
    what = f"two_tails of {ones} ones and {zeros} zeros with a flat prior"
    wrong = {"is this the square of the mean, (1−Eθ)², without the variance of θ?": float((1 - mean) ** 2)}
    assert_close(got, float(exact), rtol=1e-7, what=what, mistakes=wrong)


@pytest.mark.parametrize("zeros", [1, 5])
def test_two_tails_holds_where_the_prior_lies_far_outside(zeros):
    """For N(30, v) the posterior of u = 1−θ is u^t e^{−(29u + u²/2)/v}; with v = 10⁻⁴ only u near v/29 has weight."""
    variance = 1e-4
    unit = variance / 29  # so that the integrals are those of s^k e^{−s − s²v/(2·29²)}, s = u/unit

    def integral(power):
        def integrand(s):
            return s**power * math.exp(-s - s**2 * variance / (2 * 29**2))

        return integrate.quad(integrand, 0, math.inf, epsabs=0, epsrel=1e-12)[0]  # beyond u = 1 is e⁻²⁹⁰⁰⁰⁰ of it

    want = unit**2 * integral(zeros + 2) / integral(zeros)
    got = likelihood.two_tails(toss(0, zeros), 30.0, variance).predictive
    # θ is known to 1e-16, so u, 3e-6 or more, to 3e-11; the log posterior, of size 4e6, to 1e-9.
    assert_close(got, want, rtol=1e-8, what=f"two_tails of {zeros} zeros, prior N(30, {variance}), predictive")


@pytest.mark.claim("prop-truncation")
def test_two_tails_stays_within_zero_and_one():
    """For N(½, 1/10) the posterior mean and E[(1−θ)²] differ by over 0.01 from those of θ on the whole line.

    There Gauss-Hermite nodes are exact. With N(½, 1/100), less of which is cut off, they differ by below 0.001.
    """
    gaps = []
    for variance in (0.1, 0.01):
        law = (3, 4, 0.5, variance)
        inside, outside = posterior_average(lambda x: x, *law), line_average(lambda x: x, *law)
        two_inside, two_outside = (
            average(lambda x: (1 - x) ** 2, *law) for average in (posterior_average, line_average)
        )
        got = likelihood.two_tails(TOSSES, 0.5, variance).predictive
        mistakes = {"does θ run over the whole line, where it should stay in [0, 1]?": two_outside}
        assert_close(got, two_inside, rtol=1e-7, what=f"two_tails with v = {variance}", mistakes=mistakes)
        gaps.append((abs(inside - outside), abs(two_inside - two_outside)))
    assert min(gaps[0]) > 0.01 > 1e-3 > max(gaps[1]), gaps


# The log-likelihood


def level(data, mean, covariance):
    """The sum of scipy's log-densities."""
    data, mean, covariance = (np.asarray(value, dtype=float) for value in (data, mean, covariance))
    return float(np.sum(stats.multivariate_normal(mean, covariance).logpdf(data)))


def mistakes_in_level(data, mean, covariance):
    """What people compute when they mean the log-likelihood, and why."""
    data, mean, covariance = (np.asarray(value, dtype=float) for value in (data, mean, covariance))
    (n, d), away, inverse = data.shape, data - mean, np.linalg.inv(covariance)
    whole, log_det, turns = level(data, mean, covariance), np.linalg.slogdet(covariance)[1], math.log(2 * math.pi)
    square = -0.5 * np.sum(away @ inverse * away)
    rows = stats.multivariate_normal(mean, covariance).logpdf(data)
    return {
        "is the constant -n/2 log det(2πΣ) dropped?": square,
        "is the constant -nd/2 log 2π dropped?": whole + n * d / 2 * turns,
        "is -n/2 log det Σ dropped?": whole + n / 2 * log_det,
        "is it log det Σ where ½ log det Σ belongs?": whole - n / 2 * log_det,
        "is the sign of log det Σ reversed?": whole + n * log_det,
        "is the constant there once, not once a row?": square - (d * turns + log_det) / 2,
        "is log 2π there once a row, not once for each of the d columns?": whole + n * (d - 1) / 2 * turns,
        "is the ½ of the quadratic form missing?": whole + square,
        "is Σ used where Σ⁻¹ belongs?": whole - square - 0.5 * np.sum(away @ covariance * away),
        "was the covariance taken for a matrix of standard deviations?": level(data, mean, covariance @ covariance),
        "is the trace of Σ⁻¹ used, not the quadratic form?": whole - square - 0.5 * np.trace(inverse) * np.sum(away**2),
        "is the quadratic form that of the rows' mean, n times, not the sum over the rows?": whole
        - square
        - 0.5 * away.mean(0) @ inverse @ away.mean(0) * n,
        "are the covariances off the diagonal ignored?": level(data, mean, np.diag(np.diag(covariance))),
        "is this the mean over the rows, not their sum?": whole / n,
        "is the sign reversed, as in a loss?": -whole,
        "is this the log of the sum of the densities, not the sum of their logs?": special.logsumexp(rows),
        "is this the likelihood, not its log?": math.exp(whole),
    }


def random_covariance(rng, d):
    """A covariance with correlations, whose eigenvalues lie above ½."""
    root = rng.normal(size=(d, d))
    return 0.5 * np.eye(d) + root @ root.T


def test_log_likelihood_is_the_sum_of_the_log_densities():
    """Of five rows in the plane it is the sum of scipy's multivariate_normal.logpdf, which takes a covariance."""
    mistakes = mistakes_in_level(DATA, START, COVARIANCE)
    got = likelihood.log_likelihood(tensor(DATA), tensor(START), tensor(COVARIANCE))
    assert_close(got, level(DATA, START, COVARIANCE), rtol=SHARP, what="log_likelihood", mistakes=mistakes)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (20, 1), (1, 3), (20, 2), (50, 5), (100_000, 2)])
def test_log_likelihood_agrees_with_torch_in_any_dimension(rng, n, d):
    """For random rows, mean and covariance it is the sum of torch's MultivariateNormal.log_prob."""
    covariance = random_covariance(rng, d)
    data, mean = rng.normal(1.0, 2.0, (n, d)), rng.normal(size=d)
    law = torch.distributions.MultivariateNormal(tensor(mean), tensor(covariance))
    got = likelihood.log_likelihood(tensor(data), tensor(mean), tensor(covariance))
    mistakes = mistakes_in_level(data, mean, covariance) if n < 1000 else {}
    want = float(law.log_prob(tensor(data)).sum())
    assert_close(got, want, rtol=SHARP, what=f"log_likelihood of {n} rows in {d} dimensions", mistakes=mistakes)


def test_log_likelihood_compares_covariances():
    """Under I/2, 5I and 50I it is -n/2 (2 log 2πs + 10/s): 5I is likeliest; without log det it would be the widest."""
    data = tensor([[1.0, 3.0], [-3.0, 1.0], [-1.0, -3.0], [3.0, -1.0]])  # S = 5I, x̄ = 0
    levels = [
        float(likelihood.log_likelihood(data, tensor([0.0, 0.0]), s * torch.eye(2, dtype=torch.float64)))
        for s in (0.5, 5.0, 50.0)
    ]
    # L = −n/2 (2 log 2πs + 10/s), n = 4
    want = [-2 * (2 * math.log(2 * math.pi * s) + 10 / s) for s in (0.5, 5.0, 50.0)]
    mistakes = {"is the constant -n/2 log det(2πΣ) dropped?": [-20 / s for s in (0.5, 5.0, 50.0)]}
    assert_close(levels, want, rtol=SHARP, what="log_likelihood under I/2, 5I and 50I", mistakes=mistakes)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_log_likelihood_holds_in_hundreds_of_dimensions(rng, scale):
    """In 300 dimensions det Σ is some 1e-1200 or 1e1200, which no float is; its logarithm is numpy's slogdet."""
    root = rng.normal(size=(300, 3))
    covariance = scale * (np.eye(300) + root @ root.T)
    data = math.sqrt(scale) * rng.normal(size=(4, 300))
    square = np.sum(data @ np.linalg.inv(covariance) * data)
    want = -0.5 * (square + 4 * (300 * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1]))
    got = likelihood.log_likelihood(tensor(data), tensor(np.zeros(300)), tensor(covariance))
    assert torch.isfinite(got), f"log_likelihood in 300 dimensions is {got.item()}: does det Σ leave the floats?"
    assert_close(got, want, rtol=1e-9, what="log_likelihood in 300 dimensions")


@pytest.mark.claim("lem-bowl")
def test_log_likelihood_is_a_bowl_about_the_mean_of_the_data(rng):
    """L(μ) = L(x̄) − n/2 (μ−x̄)ᵀ Σ⁻¹ (μ−x̄), at points near and far, with an inverse of numpy's."""
    covariance, data = random_covariance(rng, 3), rng.normal(2.0, 1.0, (11, 3))
    peak = data.mean(axis=0)
    top = float(likelihood.log_likelihood(tensor(data), tensor(peak), tensor(covariance)))
    for scale in (0.01, 1.0, 100.0):
        mean = peak + scale * rng.normal(size=3)
        drop = (mean - peak) @ np.linalg.inv(covariance) @ (mean - peak)
        got = top - float(likelihood.log_likelihood(tensor(data), tensor(mean), tensor(covariance)))
        mistakes = {"is it n where n/2 belongs?": 11 * drop, "is the sum over the rows missing?": drop / 2}
        # The levels are of size 100, of which 1e-14 a rounding is lost.
        assert_close(got, 5.5 * drop, rtol=1e-9, atol=1e-10, what="the way down from the peak", mistakes=mistakes)


def gradients(what, value, **arguments):
    """The gradients of a number in the arguments, or a sentence that says in which it has none."""
    found = [None] * len(arguments)
    if value.requires_grad:
        found = torch.autograd.grad(value, [*arguments.values()], allow_unused=True)
    for name, gradient in zip(arguments, found, strict=True):
        why = "is something detached on the way, or taken out of torch?"
        assert gradient is not None, f"{what} cannot be differentiated by its {name}: {why}"
    return [gradient.numpy() for gradient in found]


@pytest.mark.claim("lem-bowl", kind="automatic differentiation")
def test_log_likelihood_has_the_gradient_n_times_the_inverse_times_the_way_to_the_peak(rng):
    """PyTorch's gradient in μ is n Σ⁻¹ (x̄−μ); its sign leads uphill."""
    covariance, data, mean = random_covariance(rng, 3), rng.normal(2.0, 1.0, (11, 3)), rng.normal(size=3)
    at = tensor(mean).requires_grad_()
    (got,) = gradients("log_likelihood", likelihood.log_likelihood(tensor(data), at, tensor(covariance)), mean=at)
    want = 11 * np.linalg.solve(covariance, data.mean(axis=0) - mean)
    mistakes = {
        "is this the gradient of a mean over the rows, not of their sum?": want / 11,
        "is the sign reversed, as in a loss?": -want,
        "is Σ used where Σ⁻¹ belongs?": 11 * covariance @ (data.mean(axis=0) - mean),
        "was the covariance taken for a matrix of standard deviations?": np.linalg.solve(covariance, want),
    }
    assert_close(got, want, rtol=SHARP, atol=1e-10, what="the gradient of log_likelihood in μ", mistakes=mistakes)


def test_log_likelihood_can_be_differentiated_by_data_and_covariance(rng):
    """In xᵢ the gradient is Σ⁻¹(μ−xᵢ); in Σ, ½ Σ⁻¹ (Σᵢ (xᵢ−μ)(xᵢ−μ)ᵀ) Σ⁻¹ − n/2 Σ⁻¹."""
    sigma, x, mean = random_covariance(rng, 2), rng.normal(size=(4, 2)), rng.normal(size=2)
    data, covariance = tensor(x).requires_grad_(), tensor(sigma).requires_grad_()
    height = likelihood.log_likelihood(data, tensor(mean), covariance)
    by_data, gradient = gradients("log_likelihood", height, data=data, covariance=covariance)
    inverse, away = np.linalg.inv(sigma), x - mean
    assert_close(by_data, -away @ inverse, rtol=SHARP, atol=1e-10, what="the gradient of log_likelihood in the data")
    want = 0.5 * inverse @ away.T @ away @ inverse - 2 * inverse
    mistakes = {"is the log det dropped, so that wider always is likelier?": want + 2 * inverse}
    # A gradient in a symmetric matrix may be spread over its two halves in any way.
    got = (gradient + gradient.T) / 2
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="the gradient of log_likelihood in Σ", mistakes=mistakes)


def test_log_likelihood_keeps_its_figures_far_from_zero():
    """Moved by 10⁸, with its mean, it is what it was: the square is not to be multiplied out."""
    far = tensor(DATA) + 1e8  # halves: no rounding
    got = likelihood.log_likelihood(far, tensor(START) + 1e8, tensor(COVARIANCE))
    assert_close(got, level(DATA, START, COVARIANCE), rtol=SHARP, what="log_likelihood near 10⁸")
    # Through x̄, which is only known to 1.5e-8 there, L is known to n Σ⁻¹(x̄−μ) times that, some 1e-6.
    got = likelihood.log_likelihood_at(tensor([START]) + 1e8, far, tensor(COVARIANCE))
    assert_close(got, [level(DATA, START, COVARIANCE)], atol=1e-5, what="log_likelihood_at near 10⁸")


def test_log_likelihood_is_finite_a_million_deviations_away():
    """At 10⁶ standard deviations the density is 0 to a float; its log is -½ (log 2π + 10¹²)."""
    got = likelihood.log_likelihood(tensor([[1e6]]), tensor([0.0]), tensor([[1.0]]))
    mistakes = {"is it the log of a density, which underflows to 0?": -math.inf}
    want = -0.5 * (math.log(2 * math.pi) + 1e12)
    assert_close(got, want, rtol=SHARP, what="log_likelihood far away", mistakes=mistakes)


@pytest.mark.claim("lem-bowl")
def test_log_likelihood_at_is_the_log_likelihood_of_each_row(rng):
    """Of seven means it gives seven numbers, scipy's, one for each row."""
    covariance, data, means = random_covariance(rng, 2), rng.normal(1.0, 2.0, (30, 2)), rng.normal(0.0, 5.0, (7, 2))
    want = np.array([level(data, mean, covariance) for mean in means])
    top, log_det = level(data, data.mean(0), covariance), np.linalg.slogdet(covariance)[1]
    mistakes = {
        "is the constant -n/2 log det(2πΣ) dropped?": want + 15 * (2 * math.log(2 * math.pi) + log_det),
        "is it n where n/2 belongs?": top + 2 * (want - top),
        "is L(x̄) missing?": want - top,
        "is the sign of the quadratic form reversed?": 2 * top - want,
        "is the quadratic form not multiplied by n?": top + (want - top) / 30,
    }
    got = likelihood.log_likelihood_at(tensor(means), tensor(data), tensor(covariance))
    assert_close(got, want, rtol=SHARP, what="log_likelihood_at", mistakes=mistakes)


@pytest.mark.parametrize(("n", "d", "m"), [(1, 2, 3), (4, 1, 3), (4, 3, 3), (2, 2, 2), (3, 2, 1), (3, 7, 2)])
def test_log_likelihood_at_gives_one_number_for_each_mean(rng, n, d, m):
    """The numbers are scipy's for a single row of data, a single column, a single mean, and seven dimensions."""
    covariance, data, means = random_covariance(rng, d), rng.normal(size=(n, d)), rng.normal(size=(m, d))
    want = [level(data, mean, covariance) for mean in means]
    got = likelihood.log_likelihood_at(tensor(means), tensor(data), tensor(covariance))
    assert_close(got, want, rtol=1e-9, atol=1e-9, what=f"log_likelihood_at {m} means of {n} rows in {d} dimensions")


def test_log_likelihood_at_of_no_means_is_empty():
    """For zero rows of means there are zero numbers: shape (0,)."""
    try:
        got = likelihood.log_likelihood_at(tensor(np.zeros((0, 2))), tensor(DATA), tensor(COVARIANCE))
    except RuntimeError as error:
        raise AssertionError(f"log_likelihood_at of no means should have the shape (0,), raised {error!r}") from None
    assert_close(got, np.zeros(0), what="log_likelihood_at of no means")


# The ascent


def plain_path(data, covariance, start, rate, steps):
    """x̄ + (I − λnΣ⁻¹)ᵗ (start − x̄) for t = 0, ..., steps, by powers of the matrix."""
    data, covariance, start = (np.asarray(value, dtype=float) for value in (data, covariance, start))
    peak = data.mean(axis=0)
    shrink = np.eye(len(peak)) - rate * len(data) * np.linalg.inv(covariance)
    return np.array([peak + np.linalg.matrix_power(shrink, t) @ (start - peak) for t in range(steps + 1)])


def mistakes_in_path(data, covariance, start, rate, steps):
    """Where ascents go that are not quite right, and why."""
    n, want = len(data), plain_path(data, covariance, start, rate, steps)
    return {
        "does it descend?": plain_path(data, covariance, start, -rate, steps),
        "is this the gradient of the mean over the rows, where that of the full sum was asked for?": plain_path(
            data, covariance, start, rate / n, steps
        ),
        "is the gradient multiplied by n twice?": plain_path(data, covariance, start, rate * n, steps),
        "is every row of the path the last mean, because none was copied?": np.tile(want[-1], (steps + 1, 1)),
        "is the start missing from the path?": plain_path(data, covariance, start, rate, steps + 1)[1:],
        "are gradients summed up from step to step, because they are not set to zero?": summed_up(
            data, covariance, start, rate, steps
        ),
        "is Σ used where Σ⁻¹ belongs?": plain_path(data, np.linalg.inv(covariance), start, rate, steps),
        "is Σ⁻¹ missing?": plain_path(data, np.eye(len(want[0])), start, rate, steps),
        "is a factor of 2 missing in the gradient?": plain_path(data, covariance, start, rate / 2, steps),
        "is a factor of 2 too many in the gradient?": plain_path(data, covariance, start, rate * 2, steps),
        "does it begin at 0, not at start?": plain_path(data, covariance, np.zeros_like(want[0]), rate, steps),
    }


def summed_up(data, covariance, start, rate, steps):
    """The path of a loop that forgets to set the gradient to zero."""
    data, mean, total = np.asarray(data), np.array(start, dtype=float), 0.0
    path = [mean]
    for _ in range(steps):
        total = total + len(data) * np.linalg.solve(covariance, data.mean(axis=0) - mean)
        mean = mean + rate * total
        path.append(mean)
    return np.array(path)


def torch_path(optimizer, data, covariance, start, rate, steps, sign=-1):
    """The path of a torch optimiser on minus torch's own log-density, in a loop of the tests' own."""
    data, mean = tensor(data), tensor(start).requires_grad_()
    climber, path = optimizer([mean], lr=rate), [mean.detach().numpy().copy()]

    def loss():
        climber.zero_grad()
        value = sign * torch.distributions.MultivariateNormal(mean, tensor(covariance)).log_prob(data).sum()
        value.backward()
        return value

    for _ in range(steps):
        climber.step(loss)
        path.append(mean.detach().numpy().copy())
    return np.array(path)


def ascend(data=DATA, covariance=COVARIANCE, start=START, rate=0.1, steps=6, **rest):
    """`likelihood.ascend` of plain lists; critical here is a rate of 0.29."""
    got = likelihood.ascend(tensor(data), tensor(covariance), start=tensor(start), rate=rate, steps=steps, **rest)
    for name, part in got._asdict().items():
        assert not part.requires_grad, f"{name} ask for gradients: detach them"
    return got


class AsksAgain(torch.optim.LBFGS):
    """LBFGS, which evaluates the loss many times in a step, and says so where it cannot."""

    def step(self, closure=None):
        why = "it evaluates the loss many times in a step, so give it a function that does: step(closure)"
        assert closure is not None, f"LBFGS was asked for a step without a closure; {why}"
        return super().step(closure)


@pytest.mark.parametrize(("rate", "steps"), [(0.03, 6), (0.1, 6), (0.25, 4), (0.35, 5), (0.1, 1), (0.2, 40)])
def test_ascend_follows_the_closed_form(rate, steps):
    """means are x̄ + (I − λnΣ⁻¹)ᵗ (start − x̄) for t = 0, ..., steps, at rates below and above the critical one.

    Of forty steps the last ones are below 10⁻⁸, and are taken nevertheless.
    """
    got = ascend(rate=rate, steps=steps).means
    want = plain_path(DATA, COVARIANCE, START, rate, steps)
    mistakes = mistakes_in_path(DATA, COVARIANCE, START, rate, steps)
    what = f"means, after each of {steps} steps with a rate of {rate}"
    assert_close(got, want, rtol=SHARP, atol=1e-10, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-step-size")
@pytest.mark.parametrize("d", [1, 2, 4])
def test_ascend_shrinks_the_error_along_each_eigenvector(rng, d):
    """In the eigenvectors of Σ the error is multiplied by 1 − λn/s at each step, s the eigenvalue."""
    covariance, data = random_covariance(rng, d), rng.normal(3.0, 1.0, (9, d))
    eigenvalues, vectors = np.linalg.eigh(covariance)
    rate, start = 1.3 * eigenvalues[0] / 9, rng.normal(size=d)
    means = ascend(data, covariance, start, rate, steps=8).means.numpy()
    errors = (means - data.mean(axis=0)) @ vectors
    want = (1 - rate * 9 / eigenvalues) ** np.arange(9)[:, None] * errors[0]
    mistakes = {
        "does it descend?": (1 + rate * 9 / eigenvalues) ** np.arange(9)[:, None] * errors[0],
        "is this the gradient of the mean over the rows, where that of the full sum was asked for?": (
            1 - rate / eigenvalues
        )
        ** np.arange(9)[:, None]
        * errors[0],
    }
    # Where a factor is near 0 the error is what rounding leaves of numbers of size 10.
    assert_close(errors, want, rtol=1e-9, atol=1e-12, what="the errors in the eigenvectors of Σ", mistakes=mistakes)


def test_ascend_tells_the_log_likelihood_of_all_the_data_on_its_way():
    """log_likelihoods are scipy's, of all rows at each mean of the path, the start's first; so they climb."""
    got = ascend(rate=0.1, steps=6)
    want = np.array([level(DATA, mean, COVARIANCE) for mean in got.means.numpy()])
    constant = 2.5 * (2 * math.log(2 * math.pi) + np.linalg.slogdet(COVARIANCE)[1])
    mistakes = {
        "is the constant -n/2 log det(2πΣ) dropped?": want + constant,
        "is the sign reversed, as in a loss?": -want,
        "are these means over the rows, not sums?": want / 5,
        "is the start's left out, and the end's there twice?": np.append(want[1:], want[-1]),
    }
    assert_close(got.log_likelihoods, want, rtol=SHARP, what="log_likelihoods, of all the data", mistakes=mistakes)
    assert np.all(np.diff(got.log_likelihoods.numpy()) > 0), "the log-likelihood falls: does it descend?"


def test_ascend_tells_the_log_likelihood_of_all_the_data_whatever_the_batch(generator):
    """With batches of two, too, log_likelihoods are those of all rows at each mean, complete, steps + 1 of them."""
    got = ascend(rate=0.05, steps=12, batch_size=2, generator=generator)
    want = np.array([level(DATA, mean, COVARIANCE) for mean in got.means.numpy()])
    assert_close(got.log_likelihoods, want, rtol=SHARP, what="log_likelihoods (of all the data, not of a batch)")


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("optimizer", [None, torch.optim.Adam])
def test_ascend_leaves_its_start_and_its_data_alone(generator, batch_size, optimizer):
    """What was passed is what it was, and the path begins with the start: nothing is written into it on the way."""
    data, covariance, start = tensor(DATA), tensor(COVARIANCE), tensor(START)
    options = {"rate": 0.1, "steps": 3, "batch_size": batch_size, "optimizer": optimizer, "generator": generator}
    means = likelihood.ascend(data, covariance, start=start, **options).means
    assert_close(start, START, rtol=0, what="start, after the ascent (is it moved in place?)")
    assert not start.requires_grad, "start asks for gradients after the ascent: is it moved in place?"
    assert_close(data, DATA, rtol=0, what="data, after the ascent")
    assert_close(covariance, COVARIANCE, rtol=0, what="covariance, after the ascent")
    assert_close(means[0], START, rtol=0, what="the first row of means, which is the start")


def test_ascend_starts_anew_each_time():
    """A second ascent from the same tensor goes the same way."""
    data, covariance, start = tensor(DATA), tensor(COVARIANCE), tensor(START)
    first, second = (likelihood.ascend(data, covariance, start=start, rate=0.1, steps=4).means for _ in range(2))
    assert_close(second, first, rtol=0, what="a second ascent from the same start (was start moved in place?)")


def test_ascend_takes_a_start_that_asks_for_gradients():
    """A start that requires gradients gives the same path, and the path requires none."""
    start = tensor(START).requires_grad_()
    got = likelihood.ascend(tensor(DATA), tensor(COVARIANCE), start=start, rate=0.1, steps=3)
    assert not got.means.requires_grad, "means ask for gradients: detach them"
    assert not got.log_likelihoods.requires_grad, "log_likelihoods ask for gradients: detach them"
    assert_close(got.means, plain_path(DATA, COVARIANCE, START, 0.1, 3), rtol=SHARP, atol=1e-10, what="means")


@pytest.mark.parametrize("batch_size", [None, 3])
def test_ascend_has_the_dtype_of_the_data(generator, batch_size):
    """float32 data give float32 results, float64 data float64 ones, whichever the start has."""
    for data, start in itertools.product([torch.float32, torch.float64], repeat=2):
        got = likelihood.ascend(
            tensor(DATA).to(data),
            tensor(COVARIANCE).to(data),
            start=tensor(START).to(start),
            rate=0.1,
            steps=3,
            batch_size=batch_size,
            generator=generator,
        )
        for part in got:
            assert part.dtype == data, f"{data} data and a {start} start give {part.dtype}, should give {data}"
        if batch_size is None:
            want = plain_path(DATA, COVARIANCE, START, 0.1, 3)
            # A float32 has 6e-8 of itself for a rounding, and there are some dozens on numbers below 10.
            assert_close(got.means, want, atol=1e-4 if data == torch.float32 else 1e-10, what=f"means in {data}")


def test_ascend_comes_from_afar_and_stays_far_out():
    """From 10⁶ away the path is the closed form; moved by 10⁸, data and start, it is the same path, 10⁸ further."""
    far = [1e6, -2e6]
    want = plain_path(DATA, COVARIANCE, far, 0.1, 40)
    assert_close(ascend(start=far, steps=40).means, want, rtol=1e-9, atol=1e-8, what="means, from 10⁶ away")
    data, start = np.array(DATA) + 1e8, np.array(START) + 1e8
    want = plain_path(DATA, COVARIANCE, START, 0.1, 20)
    # A rounding of 1.5e-8 at each step, of which less than half lives on to the next, makes 3e-8, and Σ⁻¹ mixes them.
    assert_close(ascend(data, start=start, steps=20).means - 1e8, want, atol=1e-6, what="means near 10⁸")


@pytest.mark.claim("thm-step-size")
def test_ascend_arrives_in_one_step_if_all_eigenvalues_are_equal(rng):
    """For Σ = 5I, n = 10,000 and λ = s/n = 5e-4 the first step is to x̄, from anywhere; at half of it, half the way."""
    data, n = rng.normal(1.0, math.sqrt(5), (10_000, 2)), 10_000
    peak = data.mean(axis=0)
    for start in ([0.0, 0.0], [-300.0, 20.0]):
        for share in (1.0, 0.5):
            got = ascend(data, 5 * np.eye(2), start, rate=share * 5 / n, steps=1).means[1]
            want = share * peak + (1 - share) * np.array(start)
            mistakes = mistakes_in_path(data, 5 * np.eye(2), start, share * 5 / n, 1)
            mistakes = {why: path[1] for why, path in mistakes.items() if path.shape == (2, 2)}
            what = f"the first step, at {share} of λ = s/n"
            assert_close(got, want, rtol=1e-9, atol=1e-9, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-step-size")
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.72 / 5, 0.2, 2.28 / 5, 0.6])
def test_ascend_never_arrives_in_one_step_if_two_eigenvalues_differ(rate):
    """Of 1 − λn/s₁ and 1 − λn/s₂ the larger is at least (s₂−s₁)/(s₂+s₁) for every λ: so much error is left."""
    (small, large), vectors = np.linalg.eigh(COVARIANCE)
    peak, least = np.mean(DATA, axis=0), (large - small) / (large + small)
    left = [
        np.linalg.norm(ascend(start=peak + vectors[:, i], rate=rate, steps=1).means[1].numpy() - peak) for i in (0, 1)
    ]
    assert_close(left, [abs(1 - rate * 5 / small), abs(1 - rate * 5 / large)], rtol=1e-9, atol=1e-12, what="error left")
    assert max(left) >= least - 1e-12, f"a rate of {rate} leaves {left}, should leave at least {least} of one"


def test_ascend_uses_the_optimizer_it_is_given():
    """Adam, SGD with momentum and LBFGS go where they go in a loop of our own, on minus torch's log-density."""

    def by_keyword(*parameters, **options):
        called = len(parameters) == 1 and set(options) == {"lr"}
        assert called, "an optimizer is made as optimizer([mean], lr=rate): the mean by position, the rate by keyword"
        return torch.optim.SGD(*parameters, **options)

    plain = plain_path(DATA, COVARIANCE, START, 0.1, 5)
    momentum, newton = partial(torch.optim.SGD, momentum=0.9), partial(AsksAgain, max_iter=3)
    optimizers = {"lr by keyword": by_keyword, "Adam": torch.optim.Adam, "momentum": momentum, "LBFGS": newton}
    for name, optimizer in optimizers.items():
        want = torch_path(optimizer, DATA, COVARIANCE, START, 0.1, 5)
        mistakes = {
            "is the optimizer ignored?": plain,
            "does it descend, because torch's optimisers minimise and were given L, not -L?": torch_path(
                optimizer, DATA, COVARIANCE, START, 0.1, 5, sign=1
            ),
        }
        got = ascend(steps=5, optimizer=optimizer).means
        # LBFGS divides differences of gradients by one another, which costs it some figures.
        assert_close(got, want, rtol=1e-8, atol=1e-8, what=f"means, with {name}", mistakes=mistakes)


def test_ascend_gives_an_optimizer_that_asks_again_the_same_batch(generator):
    """LBFGS evaluates a step many times; of a batch of one row it finds the highest point, that row, in one step."""
    climber = partial(AsksAgain, max_iter=50, line_search_fn="strong_wolfe", tolerance_change=1e-12)
    means = ascend(rate=1.0, steps=12, optimizer=climber, batch_size=1, generator=generator).means.numpy()[1:]
    want = nearest(means, np.array(DATA))
    # LBFGS stops where the gradient, of a bowl with n/k = 5 times Σ⁻¹, is below 1e-7.
    assert_close(means, want, atol=1e-5, what="where each step ends, with LBFGS on one row")


@pytest.mark.claim("prop-adam-first-step")
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_ascend_with_adam_begins_with_a_step_of_the_rate(size, rate):
    """Adam's first step is ±rate in every coordinate, uphill, for gradients of any size."""
    data, start = size * np.array(DATA), size * np.array([3.0, -1.0])
    gradient = 5 * np.linalg.solve(np.array(COVARIANCE), data.mean(axis=0) - start)
    step = (lambda means: means[1] - means[0])(
        ascend(data, start=start, rate=rate, steps=1, optimizer=torch.optim.Adam).means
    )
    # It is rate · g/(|g| + eps) with eps = 1e-8: short by 1e-8/|g|, and rounded with the position.
    short = 2e-8 / np.abs(gradient).min()
    mistakes = {"is the optimizer ignored?": rate * gradient, "does it descend?": -rate * np.sign(gradient)}
    rounding = 1e-15 * size
    want = rate * np.sign(gradient)
    assert_close(step, want, rtol=short, atol=10 * rounding, what="Adam's first step", mistakes=mistakes)


@pytest.mark.claim("prop-adam-first-step", kind="symbolic")
def test_ascend_with_adam_begins_as_its_formulas_say():
    """sympy: m = (1−β₁)g over 1−β₁, by the root of v = (1−β₂)g² over 1−β₂, is g/|g|: the sign, whatever β₁ and β₂."""
    g = sympy.symbols("g", real=True, nonzero=True)
    first, second = sympy.symbols("beta1 beta2", positive=True)
    m, v = (1 - first) * g, (1 - second) * g**2
    step = (m / (1 - first)) / sympy.sqrt(v / (1 - second))
    assert sympy.simplify(step - g / sympy.Abs(g)) == 0
    gradient = np.linalg.solve(COVARIANCE, np.mean(DATA, axis=0) - START)
    want = START + 0.2 * np.array([float(step.subs(g, value)) for value in gradient])
    got = ascend(rate=0.2, steps=1, optimizer=torch.optim.Adam).means[1]
    assert_close(got, want, rtol=1e-7, what="the mean after Adam's first step")


def test_ascend_says_so_when_it_leaves_the_numbers():
    """At a rate three million times too large the means overflow in 50 steps: an OverflowError names the rate."""
    with pytest.raises(OverflowError, match="rate"):
        ascend(rate=1e6, steps=60)


def test_ascend_says_so_when_only_its_heights_leave_the_numbers():
    """Multiplied by 1−λn/s = −4999 sixty times, the error is a number, its square none: an OverflowError too."""
    with pytest.raises(OverflowError):
        ascend(covariance=np.eye(2), rate=1e3, steps=60)


# Batches


def subset_means(data, k, replace=False):
    """The mean of every batch of k rows, without replacement or with."""
    choose = itertools.combinations_with_replacement if replace else itertools.combinations
    return np.array([np.mean(batch, axis=0) for batch in choose(np.asarray(data, dtype=float), k)])


def nearest(points, candidates):
    """For each point (t, d) the nearest of the candidates (m, d), or of its own, (t, m, d)."""
    candidates = np.broadcast_to(candidates, (len(points), *np.shape(candidates)[-2:]))
    index = np.linalg.norm(points[:, None] - candidates, axis=2).argmin(axis=1)
    return candidates[np.arange(len(points)), index]


def batch_means(means, covariance, n, rate):
    """The mean of the batch behind each step, which is μ + Σ (step)/(λn)."""
    means = means.numpy()
    return means[:-1] + np.diff(means, axis=0) @ np.asarray(covariance) / (rate * n)


# Coordinates in which no two batches of up to four rows have the same mean, repeated rows or not.
SPREAD = np.array([[1.0, 0.0], [5.0, -3.0], [25.0, 1.0], [125.0, 8.0], [-625.0, -2.0]])


@pytest.mark.claim("thm-minibatch")
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_ascend_steps_by_the_mean_of_a_batch(generator, k):
    """Each step is λ n Σ⁻¹ (the mean of k different rows − μ): scaled by n/k, one subset of the rows, none twice."""
    rate, n = 0.09, len(SPREAD)
    means = ascend(SPREAD, start=[40.0, 10.0], rate=rate, steps=60, batch_size=k, generator=generator).means
    got = batch_means(means, COVARIANCE, n, rate)
    here, subsets = means.numpy()[:-1, None], subset_means(SPREAD, k)
    mistakes = {
        "is the batch's sum not scaled by n/k?": nearest(got, here + k / n * (subsets - here)),
        "is this the gradient of the batch's mean, 1/k of its sum?": nearest(got, here + (subsets - here) / n),
        "is the batch's sum scaled by k/n, not by n/k?": nearest(got, here + (k / n) ** 2 * (subsets - here)),
        "is the batch's sum scaled by n, not by n/k?": nearest(got, here + k * (subsets - here)),
        "does it descend?": nearest(got, 2 * here - subsets),
        "are rows drawn with replacement, so that one can be twice in a batch?": nearest(
            got, subset_means(SPREAD, k, replace=True)
        ),
        "are all the rows used, and batch_size ignored?": np.tile(SPREAD.mean(axis=0), (60, 1)),
    }
    # Each b is a difference of positions of size 10³, divided by 0.3.
    assert_close(got, nearest(got, subsets), atol=1e-8, what=f"the means of the batches of {k}", mistakes=mistakes)


def test_ascend_with_a_batch_of_all_rows_is_plain(generator):
    """With batch_size = n each batch is all the data, in some order: the path is the closed form."""
    got = ascend(steps=5, batch_size=5, generator=generator).means
    want = plain_path(DATA, COVARIANCE, START, 0.1, 5)
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="means, with batches of all the rows")


def test_ascend_scales_a_batch_for_an_optimizer_too():
    """With torch.optim.SGD by name batches lead where they lead without an optimizer: n/k is in both."""
    plain, named = (
        ascend(rate=0.02, steps=8, batch_size=2, optimizer=optimizer, generator=torch.Generator().manual_seed(5)).means
        for optimizer in (None, torch.optim.SGD)
    )
    what = "means, with torch.optim.SGD and batches of two"
    assert_close(named, plain, rtol=1e-12, atol=1e-12, what=what)


def test_ascend_takes_its_randomness_from_the_generator_alone():
    """The same state gives the same path; another seed, the same generator again, and None give other ones."""

    def path(generator):
        data = np.arange(100.0).reshape(50, 2)
        return ascend(data, rate=0.001, steps=20, batch_size=3, generator=generator).means

    first, again, other = (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    means = path(first)
    assert_close(path(again), means, rtol=0, what="means, with a generator in the same state (is generator used?)")
    # There are 19,600 batches of 3: two walks agree in all of 20 steps once in 19,600²⁰ runs.
    for source, generator in {"another seed": other, "a second call": first, "no generator": None}.items():
        assert not torch.allclose(path(generator), means), f"ascend went the same way with {source}: is generator used?"
    assert not torch.allclose(path(None), path(None)), "ascend without a generator always goes the same way"


def test_ascend_stays_where_it_has_arrived():
    """From x̄ itself each of the steps + 1 means is x̄, each log-likelihood the highest: no stopping early."""
    peak = np.mean(DATA, axis=0)
    got = ascend(start=peak, rate=0.2, steps=7)
    assert_close(got.means, np.tile(peak, (8, 1)), rtol=1e-12, what="means, from x̄ on")
    want = np.full(8, level(DATA, peak, COVARIANCE))
    assert_close(got.log_likelihoods, want, rtol=SHARP, what="log_likelihoods, from x̄ on")


def test_ascend_leaves_the_global_generator_alone(generator):
    """torch's global generator is in the state it was in, with a generator of one's own and without."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20260101)  # to seed it once more, with 0 or whatever is usual, must show
        torch.rand(3)
        state = torch.get_rng_state()
        for own, batch_size in itertools.product((generator, None), (2, None)):
            ascend(steps=2, batch_size=batch_size, generator=own)
            same = torch.equal(torch.get_rng_state(), state)
            assert same, "ascend draws from torch's global generator, or seeds it: it should leave it alone"


@pytest.mark.claim("thm-minibatch")
def test_ascend_by_batches_has_the_mean_of_the_full_ascent():
    """Over all 6³ sequences of pairs from four numbers, in fractions, μ₃ has mean x̄ + (1−c)³(start − x̄)."""
    rows, s, rate, start = [Fraction(v) for v in (1, -2, 7, 4)], Fraction(3), Fraction(1, 5), Fraction(-6)
    batches = [sum(batch) / 2 for batch in itertools.combinations(rows, 2)]
    c, peak = rate * 4 / s, sum(rows) / 4

    def walk(sequence):
        mean = start
        for batch in sequence:
            mean += rate * 4 / s * (batch - mean)
        return mean

    ends = [walk(sequence) for sequence in itertools.product(batches, repeat=3)]
    assert sum(ends) / len(ends) == peak + (1 - c) ** 3 * (start - peak)
    # Their variance is what c² C (1 + (1−c)² + (1−c)⁴) makes it, on its way to c/(2−c) C.
    batch_variance = sum((batch - peak) ** 2 for batch in batches) / 6
    variance = sum(end**2 for end in ends) / len(ends) - (sum(ends) / len(ends)) ** 2
    assert variance == c**2 * batch_variance * sum((1 - c) ** (2 * t) for t in range(3))
    data = tensor([[float(row)] for row in rows])
    settled = likelihood.stationary_covariance(data, tensor([[3.0]]), rate=0.2, batch_size=2)
    limit = c**2 * batch_variance / (1 - (1 - c) ** 2)
    assert limit == c / (2 - c) * batch_variance
    mistakes = mistakes_in_settled(data, [[3.0]], 0.2, 2)
    assert_close(settled, [[float(limit)]], rtol=SHARP, what="stationary_covariance", mistakes=mistakes)


@pytest.mark.claim("cor-linear-scaling")
@pytest.mark.parametrize("k", [1, 2, 10])
def test_ascend_by_batches_covers_in_an_epoch_a_way_that_does_not_depend_on_their_size(generator, k):
    """On 60 equal rows, where batches make no noise, an epoch at λ = γk leaves (1 − γkn/s)^{n/k}, nearly e^{−γn²/s}."""
    n, s, gamma = 60, 4.0, 0.0005
    tau, epoch = gamma * n**2 / s, n // k
    data = np.tile([2.0, -1.0], (n, 1))
    start = [3.0, -1.0]
    means = ascend(data, s * np.eye(2), start, gamma * k, epoch, batch_size=k, generator=generator).means.numpy()
    left = means[-1, 0] - 2.0
    mistakes = {
        "is the batch's sum not scaled by n/k?": (1 - tau * k / n / epoch) ** epoch,
        "does it descend?": (1 + tau / epoch) ** epoch,
    }
    what = f"the error left by an epoch of batches of {k}"
    assert_close(left, (1 - tau / epoch) ** epoch, rtol=1e-9, what=what, mistakes=mistakes)
    # −x − x² ≤ log(1−x) ≤ −x for 0 ≤ x ≤ ½, with x = τ/N.
    assert math.exp(-tau - tau**2 / epoch) <= left <= math.exp(-tau)


@pytest.mark.claim("thm-minibatch")
def test_ascend_draws_every_batch_alike_and_anew(generator):
    """Of four rows all six pairs come up equally often, and whichever came before: no epochs, no favourites."""
    data, rate, steps = SPREAD[:4], 0.1, 900
    means = ascend(data, start=[0.0, 0.0], rate=rate, steps=steps, batch_size=2, generator=generator).means
    subsets = subset_means(data, 2)
    got = batch_means(means, COVARIANCE, 4, rate)
    which = np.linalg.norm(got[:, None] - subsets, axis=2).argmin(axis=1)
    counts = np.bincount(which, minlength=6)
    hints = {
        "the first k rows seem to be the batch at every step": np.eye(6)[0],
        "one and the same batch seems to be taken at every step": np.eye(6)[counts.argmax()],
        "the batches seem to be k rows in a run": np.array([1, 0, 0, 1, 0, 1]) / 3,
        "the batches seem to be the first half and the second": np.array([1, 0, 0, 0, 0, 1]) / 2,
    }
    assert_frequencies(counts, np.full(6, 1 / 6), detects=0.3, hints=hints)
    # Two independent pairs share no row, one or both with probabilities 1/6, 4/6 and 1/6, whatever the first one is.
    rows = np.array([[i in pair for i in range(4)] for pair in itertools.combinations(range(4), 2)])
    shared = np.bincount((rows[which[:-1]] & rows[which[1:]]).sum(axis=1), minlength=3)
    hints = {
        "the batches seem to be dealt out of one shuffle, so that the next depends on the last": [
            7 / 12,
            4 / 12,
            1 / 12,
        ],
        "every batch seems to be used twice": [1 / 12, 4 / 12, 7 / 12],
    }
    assert_frequencies(shared, [1 / 6, 4 / 6, 1 / 6], detects=0.3, hints=hints)


@pytest.mark.parametrize(("n", "k"), [(11, 1), (11, 2), (12, 3), (9, 9)])
def test_ascend_draws_every_row_alike(generator, n, k):
    """At the one-step rate μ is the batch's mean; that of rows 1, 2, 4, ... tells which k were drawn, none twice."""
    data, steps = 2.0 ** np.arange(n)[:, None], 20 if k == n else 900
    means = ascend(data, [[1.0]], [0.0], 1 / n, steps, batch_size=k, generator=generator).means
    sums = (means[1:, 0] * k).round().long()
    drawn = (sums[:, None] >> torch.arange(n)) & 1
    sizes = drawn.sum(dim=1)
    wrong = sizes[sizes != k].tolist()
    assert not wrong, f"a batch of {k} held {wrong[0]} different rows: drawn with replacement?"
    counts = drawn.sum(dim=0).numpy()
    if k == 1:
        assert_frequencies(counts, np.full(n, 1 / n), detects=0.4)
    elif k < n:
        for count in counts:
            assert_proportion(int(count), steps, k / n, detects=0.15)


CORNERS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
ROUND = np.array([[2.0, 0.5], [0.5, 2.0]])  # eigenvalues 1.5 and 2.5


@pytest.mark.claim("thm-minibatch")
def test_ascend_by_batches_settles_at_the_stationary_covariance(generator):
    """Batches of three corners of a square, λn = 15/8: every third of 1,200 means has the covariance P about x̄ = 0.

    The error shrinks to a quarter at a step, with either sign, so means three steps apart are correlated by 1/64, their
    products by 1/4096, which adds 5e-4 to the variance of a mean of products.
    """
    steps, rate = 1200, 15 / 32
    means = ascend(CORNERS, ROUND, [0.0, 0.0], rate, steps, batch_size=3, generator=generator).means.numpy()[12::3]
    want = likelihood.stationary_covariance(tensor(CORNERS), tensor(ROUND), rate=rate, batch_size=3).detach().numpy()
    # Batches have the covariance I/9, a is 3/4 and 5/4, a/(2−a) is 3/5 and 5/3.
    assert_close(want, np.array([[17, -8], [-8, 17]]) / 135, rtol=SHARP, what="stationary_covariance")
    unscaled = likelihood.stationary_covariance(tensor(CORNERS), tensor(ROUND), rate=rate * 3 / 4, batch_size=3)
    unscaled = unscaled.detach().numpy()

    def parts(matrix):
        return [matrix[0, 0], matrix[0, 1], matrix[1, 1]]

    products = np.stack([means[:, 0] ** 2, means[:, 0] * means[:, 1], means[:, 1] ** 2], axis=1)
    hints = {
        "rows seem to be drawn with replacement": parts(3 * want),
        "the batch's gradient seems not to be scaled by n/k": parts(unscaled),
    }
    assert_unbiased(products, parts(want), detects=0.07, hints=hints)
    assert_unbiased(means, [0.0, 0.0], detects=0.16)


@pytest.mark.claim("thm-minibatch")
def test_ascend_by_batches_comes_nearer_at_the_pace_of_the_full_ascent(generator):
    """Over 250 ascents of two steps by pairs, μ₂ averages to x̄ + (I − λnΣ⁻¹)²(start − x̄)."""
    start, rate = [6.0, -3.0], 0.3
    ends = np.array(
        [ascend(CORNERS, ROUND, start, rate, 2, batch_size=2, generator=generator).means[2].numpy() for _ in range(250)]
    )
    hints = {
        "the batch's gradient seems not to be scaled by n/k": plain_path(CORNERS, ROUND, start, rate / 2, 2)[2],
        "the start seems to be moved in place, from one ascent to the next": [0.0, 0.0],
    }
    assert_unbiased(ends, plain_path(CORNERS, ROUND, start, rate, 2)[2], detects=0.3, hints=hints)


# How large a step, how small a batch


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("n", [1, 40])
def test_critical_rate_is_twice_the_smallest_eigenvalue_over_n(rng, n, d):
    """It is 2 s/n for numpy's smallest eigenvalue s of Σ."""
    covariance = random_covariance(rng, d)
    eigenvalues = np.linalg.eigvalsh(covariance)
    want = 2 * eigenvalues[0] / n
    mistakes = {
        "is this the largest eigenvalue, not the smallest?": 2 * eigenvalues[-1] / n,
        "is this the rate that arrives in one step, half the critical one?": want / 2,
        "is 1/n missing?": want * n,
        "is this the smallest variance, not the smallest eigenvalue?": 2 * covariance.diagonal().min() / n,
        "is this an eigenvalue of Σ⁻¹?": 2 / eigenvalues[0] / n,
        "is this the mean of the eigenvalues?": 2 * eigenvalues.mean() / n,
        "is this the determinant, not an eigenvalue?": 2 * eigenvalues.prod() / n,
    }
    what = f"critical_rate({n}, Σ)"
    got = likelihood.critical_rate(n, tensor(covariance))
    assert isinstance(got, float), f"{what} should be a float, got a {type(got).__name__}: convert it with float(...)"
    assert_close(got, want, rtol=1e-9, what=what, mistakes=mistakes)


def test_critical_rate_of_the_exercise():
    """For 10,000 rows and Σ = 5I it is 1/1000."""
    got = likelihood.critical_rate(10_000, 5 * torch.eye(2, dtype=torch.float64))
    mistakes = {"is this the rate that arrives in one step, half the critical one?": 5e-4, "is 1/n missing?": 10.0}
    assert_close(got, 1e-3, rtol=SHARP, what="critical_rate(10000, 5I)", mistakes=mistakes)


@pytest.mark.claim("thm-step-size")
@pytest.mark.parametrize("share", [0.5, 0.99, 1.0, 1.01])
def test_critical_rate_parts_ascents_that_arrive_from_ascents_that_do_not(share):
    """From one off x̄ along the narrowest direction, 40 steps at share × critical leave (1 − 2 share)⁴⁰ of the error."""
    _, vectors = np.linalg.eigh(COVARIANCE)
    peak, narrow = np.mean(DATA, axis=0), vectors[:, 0]
    rate = share * likelihood.critical_rate(5, tensor(COVARIANCE))
    end = ascend(start=peak + narrow, rate=rate, steps=40).means[-1].numpy()
    factor = (1 - 2 * share) ** 40  # 0, 0.45, 1, 2.2
    mistakes = {
        "is this the rate that arrives in one step, half the critical one?": (1 - share) ** 40,
        "is 1/n missing?": (1 - 10 * share) ** 40,
    }
    assert_close((end - peak) @ narrow, factor, rtol=1e-8, atol=1e-12, what="the error left", mistakes=mistakes)
    # In any other direction less is left.
    wide = ascend(start=peak + vectors[:, 1], rate=rate, steps=40).means[-1].numpy()
    assert np.linalg.norm(wide - peak) < 1e-4, f"along the widest direction {np.linalg.norm(wide - peak)} is left"


@pytest.mark.claim("thm-step-size", kind="symbolic")
def test_critical_rate_is_where_a_factor_reaches_minus_one():
    """sympy: |1 − λn/s| < 1 exactly for 0 < λ < 2s/n; 1 − λn/s = 0 at λ = s/n alone, so for one s only."""
    n, s, other = sympy.symbols("n s other", positive=True)
    rate = sympy.symbols("lambda", real=True)
    factor = 1 - rate * n / s
    assert sympy.simplify(1 - factor**2 - rate * (n / s) ** 2 * (2 * s / n - rate)) == 0  # > 0 between its two roots
    assert sympy.solve(factor, rate) == [s / n]
    assert sympy.solve(factor.subs(rate, other / n), other) == [s]
    got = likelihood.critical_rate(7, torch.diag(tensor([3.0, 0.5, 2.0])))
    assert_close(got, float((2 * s / n).subs({s: 0.5, n: 7})), rtol=SHARP, what="critical_rate(7, diag(3, ½, 2))")


def mistakes_in_batch_covariance(data, k):
    """What people compute when they mean the covariance of a batch's mean, and why."""
    data, n = np.asarray(data, dtype=float), len(data)
    spread = np.atleast_2d(np.cov(data.T, ddof=0))
    want = spread / k * (n - k) / (n - 1)
    return {
        "is the factor (n−k)/(n−1) missing, as if rows were drawn with replacement?": spread / k,
        "is the factor (1 − k/n), where it is (n−k)/(n−1) with this S?": spread / k * (n - k) / n,
        "is it divided by n, not by k?": spread / n * (n - k) / (n - 1),
        "is it divided by n - 1 twice, in S too?": want * n / (n - 1),
        "is it not divided by k?": want * k,
        "is S not divided by n?": want * n,
        "is S about 0, not about x̄?": data.T @ data / n / k * (n - k) / (n - 1),
    }


@pytest.mark.claim("thm-batch-maximum")
@pytest.mark.parametrize("k", [1, 2, 3, 5, 6])
def test_batch_mean_covariance_is_that_of_all_subsets(rng, k):
    """The means of all subsets of k of six rows, enumerated, have mean x̄ and the covariance S/k (n−k)/(n−1)."""
    data = rng.normal(5.0, 2.0, (6, 2))
    means = subset_means(data, k)
    assert len(means) == math.comb(6, k)
    assert_close(means.mean(axis=0), data.mean(axis=0), rtol=SHARP, atol=SHARP, what="the mean of the subsets' means")
    away = means - data.mean(axis=0)
    mistakes = mistakes_in_batch_covariance(data, k)
    got = likelihood.batch_mean_covariance(tensor(data), k)
    want = away.T @ away / len(means)
    assert_close(got, want, rtol=1e-9, atol=1e-12, what=f"batch_mean_covariance(data, {k})", mistakes=mistakes)


def test_batch_mean_covariance_of_an_exact_example():
    """Of 0, 1, 5 the pairs have means ½, 5/2, 3, with variance 7/6 = S/2 · ½, S = 14/3; of all three, 0."""
    data = tensor([[0.0], [1.0], [5.0]])
    mistakes = mistakes_in_batch_covariance(data, 2)
    got = likelihood.batch_mean_covariance(data, 2)
    assert_close(got, [[7 / 6]], rtol=SHARP, what="batch_mean_covariance of 0, 1, 5", mistakes=mistakes)
    assert_close(likelihood.batch_mean_covariance(data, 3), [[0.0]], what="batch_mean_covariance of all rows")
    far = likelihood.batch_mean_covariance(data + 1e8, 2)
    assert_close(far, [[7 / 6]], rtol=1e-6, what="batch_mean_covariance near 10⁸")


@pytest.mark.claim("thm-batch-maximum")
@pytest.mark.parametrize("k", [1, 2, 4])
def test_log_likelihood_of_a_batch_is_highest_at_its_mean(k):
    """For every subset of five rows, L exceeds that at any μ by k/2 (μ−m)ᵀ Σ⁻¹ (μ−m), m the subset's mean."""
    inverse = np.linalg.inv(COVARIANCE)
    for batch, top in zip(itertools.combinations(DATA, k), subset_means(DATA, k), strict=True):
        heights = [
            float(likelihood.log_likelihood(tensor(batch), tensor(mean), tensor(COVARIANCE)))
            for mean in (top, START, [0.3, 0.7])
        ]
        drops = [k / 2 * (mean - top) @ inverse @ (mean - top) for mean in (np.array(START), np.array([0.3, 0.7]))]
        what = "how much lower a batch's likelihood is off its mean"
        assert_close(heights[0] - np.array(heights[1:]), drops, rtol=1e-9, atol=1e-11, what=what)


def test_log_likelihood_of_a_batch_is_scaled_by_its_rows():
    """Over all subsets of k of n rows, n/k times the batch's log-likelihood averages to that of all the data."""
    for k in (1, 2, 4):
        batches = list(itertools.combinations(DATA, k))
        levels = [likelihood.log_likelihood(tensor(b), tensor(START), tensor(COVARIANCE)) for b in batches]
        got = 5 / k * sum(float(height) for height in levels) / len(batches)
        mistakes = {
            "is the constant there once, not once a row?": mistakes_in_level(DATA, START, COVARIANCE)[
                "is the constant there once, not once a row?"
            ]
        }
        assert_close(
            got, level(DATA, START, COVARIANCE), rtol=SHARP, what=f"n/k × L of batches of {k}", mistakes=mistakes
        )


def mistakes_in_settled(data, covariance, rate, k):
    """What people compute when they mean the covariance at which a stochastic ascent settles, and why."""
    data, n = np.asarray(data, dtype=float), len(data)
    noise = np.atleast_2d(np.cov(data.T, ddof=0)) / k * (n - k) / (n - 1)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    a = rate * n / eigenvalues
    noise, outer, total = vectors.T @ noise @ vectors, np.outer(a, a), np.add.outer(a, a)

    def back(matrix):
        return vectors @ matrix @ vectors.T

    return {
        "is this the noise of a single step, A C Aᵀ?": back(noise * outer),
        "is the aᵢaⱼ missing in the denominator, as if the rate were small?": back(noise * outer / total),
        "is the sign of aᵢaⱼ reversed in the denominator?": back(noise * outer / (total + outer)),
        "is the rate missing: is this the covariance of the batches' means?": back(noise),
        "is A a mean's, λΣ⁻¹, without its n?": back(noise * outer / n / (total - outer / n)),
        "is the factor (n−k)/(n−1) missing, as if rows were drawn with replacement?": back(
            noise * outer / (total - outer)
        )
        * (n - 1)
        / max(n - k, 1),
        "is the factor (1 − k/n), where it is (n−k)/(n−1) with this S?": back(noise * outer / (total - outer))
        * (n - 1)
        / n,
        "is it left in the eigenvectors of Σ, not turned back?": noise * outer / (total - outer),
        "are only the variances in the eigenvectors kept, and their covariances dropped?": back(
            np.diag(np.diag(noise * outer / (total - outer)))
        ),
        "is Cᵢⱼ multiplied by aⱼ/(2−aⱼ), as if all eigenvalues were equal?": back(noise * a / (2 - a)),
    }


@pytest.mark.claim("thm-minibatch")
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.95])
@pytest.mark.parametrize(("d", "k"), [(1, 2), (2, 1), (3, 4), (5, 3)])
def test_stationary_covariance_solves_its_equation(rng, share, d, k):
    """It is scipy's solution of P = (I−A) P (I−A)ᵀ + A C Aᵀ, A = λnΣ⁻¹, C the covariance of all batches' means."""
    n, covariance = 7, random_covariance(rng, d)
    data = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    rate = share * 2 * np.linalg.eigvalsh(covariance)[0] / n
    away = subset_means(data, k) - data.mean(axis=0)
    shrink = np.eye(d) - rate * n * np.linalg.inv(covariance)
    step = np.eye(d) - shrink
    noise = step @ (away.T @ away / len(away)) @ step.T
    want = linalg.solve_discrete_lyapunov(shrink, noise)
    got = likelihood.stationary_covariance(tensor(data), tensor(covariance), rate=rate, batch_size=k)
    mistakes = mistakes_in_settled(data, covariance, rate, k)
    # Entries may vanish beside the largest; the slowest factor is 1 − 2 share/(s/s_min), whose square is taken off 1.
    atol = 1e-9 * np.abs(want).max()
    assert_close(got, want, rtol=1e-8, atol=atol, what="stationary_covariance", mistakes=mistakes)


@pytest.mark.claim("thm-minibatch")
def test_stationary_covariance_is_where_the_recursion_settles():
    """From 0, and from 100 I, 400 rounds of P ← (I−A) P (I−A)ᵀ + A C Aᵀ come to it."""
    rate, k, n = 0.1, 2, 5
    settled = likelihood.stationary_covariance(tensor(DATA), tensor(COVARIANCE), rate=rate, batch_size=k)
    away = subset_means(DATA, k) - np.mean(DATA, axis=0)
    step = rate * n * np.linalg.inv(COVARIANCE)
    shrink, noise = np.eye(2) - step, step @ (away.T @ away / len(away)) @ step.T
    mistakes = mistakes_in_settled(DATA, COVARIANCE, rate, k)
    for begin in (np.zeros((2, 2)), 100 * np.eye(2)):
        p = begin
        for _ in range(400):  # the slowest factor is 1 − 0.5/2.28 = 0.78, whose 800th power is 0
            p = shrink @ p @ shrink.T + noise
        assert_close(settled, p, rtol=1e-9, atol=1e-11, what="stationary_covariance", mistakes=mistakes)


@pytest.mark.claim("thm-minibatch")
@pytest.mark.parametrize(("k", "c"), [(1, 0.2), (3, 1.0), (5, 1.7), (8, 0.5)])
def test_stationary_covariance_for_equal_eigenvalues(rng, k, c):
    """For Σ = sI it is c/(2−c) · S/k (n−k)/(n−1), c = λn/s; for k = n there is no noise, and it is 0."""
    n, s, data = 8, 5.0, rng.normal(0.0, 2.0, (8, 2))
    spread = np.cov(data.T, ddof=0)
    want = c / (2 - c) * spread / k * (n - k) / (n - 1)
    got = likelihood.stationary_covariance(
        tensor(data), s * torch.eye(2, dtype=torch.float64), rate=c * s / n, batch_size=k
    )
    mistakes = mistakes_in_settled(data, s * np.eye(2), c * s / n, k)
    if k < n:
        mistakes |= {
            "is it c² where c/(2−c) belongs?": want * c * (2 - c),
            "is it c/2, for small c?": want * (2 - c) / 2,
        }
    assert_close(got, want, rtol=1e-9, atol=1e-12, what=f"stationary_covariance for c = {c}", mistakes=mistakes)


@pytest.mark.claim("cor-linear-scaling")
def test_stationary_covariance_scales_with_the_rate_per_row(rng):
    """With λ = γk and Σ = sI it is γ n(n−k)/(n−1) S/(2s) over 1 − c/2, c = γkn/s: to first order that alone."""
    n, s, data = 30, 5.0, rng.normal(0.0, 2.0, (30, 2))
    spread = np.cov(data.T, ddof=0)
    for gamma, k in itertools.product([1e-2, 1e-4, 1e-7], [1, 2, 10, 29]):
        covariance = s * torch.eye(2, dtype=torch.float64)
        got = likelihood.stationary_covariance(tensor(data), covariance, rate=gamma * k, batch_size=k)
        limit, c = gamma * n * (n - k) / (n - 1) * spread / (2 * s), gamma * k * n / s
        mistakes = mistakes_in_settled(data, s * np.eye(2), gamma * k, k) | {"is it off by a 2?": 2 * limit}
        what = f"stationary_covariance at γ = {gamma}, k = {k}"
        assert_close(got, limit / (1 - c / 2), rtol=1e-9, what=what, mistakes=mistakes)
        if gamma == 1e-7:
            assert_close(got, limit, rtol=c, what=what)


@pytest.mark.claim("cor-linear-scaling", kind="symbolic")
def test_stationary_covariance_and_the_pace_of_an_epoch_have_stated_limits():
    """sympy: c/(2−c) S/k (n−k)/(n−1) over γ tends to n(n−k)/(n−1) S/(2s); (1 − τ/N)^N to e^{−τ}, τ = γn²/s, N = n/k."""
    gamma, n, k, s, spread, tau, rounds = sympy.symbols("gamma n k s S tau N", positive=True)
    c = gamma * k * n / s
    settled = c / (2 - c) * spread / k * (n - k) / (n - 1)
    limit = sympy.limit(settled / gamma, gamma, 0)
    assert sympy.simplify(limit - n * (n - k) / (n - 1) * spread / (2 * s)) == 0
    # For k ≪ n, k is gone from it: as n grows, what is left is n S/(2s).
    assert sympy.limit(limit / n, n, sympy.oo) == spread / (2 * s)
    assert sympy.simplify((1 - c) - (1 - tau / rounds).subs({tau: gamma * n**2 / s, rounds: n / k})) == 0
    assert sympy.limit((1 - tau / rounds) ** rounds, rounds, sympy.oo) == sympy.exp(-tau)
    numbers = {gamma: 0.01, n: 5, k: 2, s: 3, spread: 14}
    data = tensor([[0.0], [1.0], [5.0], [-6.0], [2.0]])  # their variance is 66/5 − (2/5)²
    numbers[spread] = 13.2 - 0.16
    got = likelihood.stationary_covariance(data, tensor([[3.0]]), rate=0.02, batch_size=2)
    mistakes = mistakes_in_settled(data, [[3.0]], 0.02, 2)
    assert_close(got, [[float(settled.subs(numbers))]], rtol=1e-9, what="stationary_covariance", mistakes=mistakes)


# Bad input


NAN, INF = math.nan, math.inf
GOOD = {
    "normal_mle": {"x": np.array([1.0, 4.0])},
    "line_mle": {"x": np.array([0.0, 1.0, 3.0]), "y": np.array([2.0, 1.0, 0.0])},
    "coin_log_posterior": {"theta": 0.3, "tosses": [0, 1, 1], "prior_mean": 0.5, "prior_variance": 0.1},
    "coin_map": {"tosses": [0, 1, 1], "prior_mean": 0.5, "prior_variance": 0.1},
    "coin_predictive": {"tosses": [0, 1, 1], "a": 1.0, "b": 1.0},
    "two_tails": {"tosses": [0, 1, 1], "prior_mean": 0.5, "prior_variance": 0.1},
    "log_likelihood": {"data": DATA, "mean": START, "covariance": COVARIANCE},
    "log_likelihood_at": {"means": [START, START], "data": DATA, "covariance": COVARIANCE},
    "ascend": {"data": DATA, "covariance": COVARIANCE, "start": START, "rate": 0.1, "steps": 2},
    "critical_rate": {"n": 5, "covariance": COVARIANCE},
    "batch_mean_covariance": {"data": DATA, "batch_size": 2},
    "stationary_covariance": {"data": DATA, "covariance": COVARIANCE, "rate": 0.1, "batch_size": 2},
}
TENSORS = {"data", "mean", "means", "covariance", "start"}


def good(name, **changes):
    """Arguments that the function takes, but for the changes."""
    return {key: tensor(value) if key in TENSORS else value for key, value in (GOOD[name] | changes).items()}


def refused(name, argument, bad, value=None, **changes):
    """The function refuses `bad` in the place of a good argument, and shows the value, or at least the name."""
    __tracebackhide__ = True

    def call(**arguments):
        result = getattr(likelihood, name)(**arguments)
        return result.means if name == "ascend" else result

    call.__name__ = name
    value = bad if value is None else value
    assert_refused(call, **good(name, **changes, **{argument: bad}), argument=argument, value=value)


def takers(argument):
    """The functions with an argument of that name."""
    return pytest.mark.parametrize("name", [name for name, arguments in GOOD.items() if argument in arguments])


@pytest.mark.parametrize(("name", "argument"), [("normal_mle", "x"), ("line_mle", "x"), ("line_mle", "y")])
def test_fits_refuse_what_is_not_a_row_of_numbers(name, argument):
    """NaN or infinity, alone or further back, a table, or nothing at all raise a ValueError that names the argument."""
    for value in (NAN, INF, -INF):
        for bad in ([value], [1.0, value, 2.0]):
            refused(name, argument, np.array(bad), value)
    refused(name, argument, np.array([[0.0, 1.0, 2.0]]), 3)
    refused(name, argument, np.array([]), argument)


def test_line_mle_refuses_observations_at_one_place():
    """If all x are equal no slope is likeliest; even seven tenths, whose mean is not quite a tenth, are equal."""
    for x in ([2.5, 2.5, 2.5], [2.5], [0.1] * 7):
        refused("line_mle", "x", np.array(x), x[0], y=np.arange(float(len(x))))


def test_line_mle_refuses_lengths_that_differ():
    """Four x and three y raise a ValueError that tells both; so does one y, which would broadcast."""
    for y in (np.array([1.0, 2.0, 4.0]), np.array([1.0])):
        refused("line_mle", "y", y, len(y), x=np.array([0.0, 1.0, 2.0, 5.0]))
        refused("line_mle", "x", np.array([0.0, 1.0, 2.0, 5.0]), 4, y=y)


@takers("tosses")
def test_coin_functions_refuse_what_is_not_a_row_of_tosses(name):
    """Anything but zeros and ones in a row raises a ValueError, in a list and in an array."""
    for tosses, value in [([2], 2), ([0, 1, -1], -1), ([0, 0.5], 0.5), ([1, NAN], NAN), ([1, INF], INF)]:
        refused(name, "tosses", tosses, value)
        refused(name, "tosses", np.array(tosses), value)
    refused(name, "tosses", np.array([[0, 1, 1]]), 3)
    refused(name, "tosses", [], "tosses")


@takers("prior_variance")
def test_coin_functions_refuse_priors_that_no_law_is(name):
    """A prior variance that is not positive and finite, or a mean that is not finite, raises a ValueError."""
    for value in (0.0, -0.1, NAN, INF):
        refused(name, "prior_variance", value)
    for value in (NAN, INF, -INF):
        refused(name, "prior_mean", value)


@pytest.mark.parametrize("theta", [-0.1, 1.5, NAN, -INF])
def test_coin_log_posterior_refuses_what_is_no_probability(theta):
    """θ outside [0, 1], alone or as the second of an array, raises a ValueError that shows it."""
    refused("coin_log_posterior", "theta", theta)
    refused("coin_log_posterior", "theta", np.array([0.5, theta]), theta)


@pytest.mark.parametrize("argument", ["a", "b"])
def test_coin_predictive_refuses_a_prior_worth_nothing(argument):
    """a and b that are not positive and finite raise a ValueError."""
    for value in (0.0, -1.0, NAN, INF):
        refused("coin_predictive", argument, value)


@takers("data")
def test_functions_of_data_refuse_what_is_not_a_table_of_numbers(name):
    """NaN, infinity, no rows, or no columns raise a ValueError that names the data."""
    for value in (NAN, INF):
        refused(name, "data", [[0.0, 1.0], [value, 2.0]], value)
    refused(name, "data", np.zeros((0, 2)), "data")
    refused(name, "data", [1.0, 2.0, 3.0], 3)


@takers("covariance")
def test_functions_of_a_covariance_refuse_what_is_none(name):
    """A matrix that is not symmetric, not positive definite, or not square raises a ValueError that shows it."""
    for covariance, value in [
        ([[1.0, 0.25], [-0.75, 1.0]], -0.75),
        ([[1.0, 2.0], [2.0, 1.0]], 2.0),
        ([[-3.0, 0.0], [0.0, -1.0]], -3.0),
        ([[0.0, 0.0], [0.0, 0.0]], 0.0),
        ([[1.0, NAN], [NAN, 1.0]], NAN),
        (np.ones((2, 3)), 3),
    ]:
        refused(name, "covariance", covariance, value)
    if name != "critical_rate":
        refused(name, "covariance", np.eye(3), 3)


@pytest.mark.parametrize(("name", "argument"), [("log_likelihood", "mean"), ("ascend", "start")])
def test_functions_of_a_mean_refuse_what_is_no_point_of_the_data(name, argument):
    """A mean that is not finite, or of another dimension than the data, raises a ValueError."""
    for mean, value in [([0.0, NAN], NAN), ([0.0, -INF], -INF), ([0.0, 1.0, 2.0], 3), ([[0.0, 1.0]], 1)]:
        refused(name, argument, mean, value)


def test_log_likelihood_at_refuses_means_that_are_no_points_of_the_data():
    """A NaN or an infinity among the means, or means of another dimension, raise a ValueError."""
    for value in (NAN, INF, -INF):
        refused("log_likelihood_at", "means", [[0.0, 1.0], [2.0, value]], value)
    refused("log_likelihood_at", "means", np.zeros((2, 3)), "(2, 3)")


def test_ascend_refuses_a_rate_or_steps_that_lead_nowhere():
    """A rate that is not positive and finite, and steps that do not count, raise a ValueError."""
    for value in (0.0, -0.1, NAN, INF):
        refused("ascend", "rate", value)
    for value in (0, -1, 2.5):
        refused("ascend", "steps", value)


def test_ascend_refuses_before_it_draws():
    """Bad input leaves the generator as it was."""
    generator = torch.Generator().manual_seed(1)
    state = generator.get_state()
    refused("ascend", "rate", -1.0, batch_size=2, generator=generator)
    assert torch.equal(generator.get_state(), state), "ascend used the generator before it refused"


@pytest.mark.parametrize("name", ["ascend", "batch_mean_covariance", "stationary_covariance"])
def test_functions_of_a_batch_refuse_one_that_cannot_be_drawn(name):
    """A batch of no rows, or of more than there are, or of True, raises a ValueError."""
    for value in (0, -1, 6, 1.5, True):
        refused(name, "batch_size", value)


def test_critical_rate_refuses_a_number_that_does_not_count():
    """n must be 1, 2, 3, ..."""
    for value in (0, -1, 2.5):
        refused("critical_rate", "n", value)


def test_stationary_covariance_refuses_rates_at_which_nothing_settles():
    """At the critical rate, here 2 · 2/5 = 0.8, and above it there is no stationary covariance: a ValueError."""
    for rate in (0.0, -0.1, NAN, INF, 0.8, 1.0, 20.0):
        refused("stationary_covariance", "rate", rate, covariance=[[2.0, 0.0], [0.0, 3.0]])


# What arrays may ask for


@pytest.mark.parametrize(
    "tosses",
    [
        [0, 0, 1, 1, 0, 0, 1],
        (1, 1, 1, 0, 0, 0, 0),
        [False, False, True, True, False, False, True],
        np.array(TOSSES),
        np.array(TOSSES, dtype=bool),
        np.array(TOSSES, dtype=float),
        np.array(TOSSES, dtype=np.uint8),
        [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0],
    ],
    ids=["list", "tuple", "list of bools", "integers", "bools", "floats", "bytes", "list of floats"],
)
def test_coin_functions_take_tosses_of_any_kind_in_any_order(tosses):
    """Lists, tuples and arrays, of whole numbers, floats or bools: three ones of seven are three ones of seven."""
    assert_close(likelihood.coin_map(tosses, 0.5, 0.1), 1 / math.sqrt(5), atol=PEAK, what="coin_map")
    assert_close(likelihood.coin_predictive(tosses), 4 / 9, rtol=SHARP, what="coin_predictive")
    want = posterior_average(lambda x: (1 - x) ** 2, 3, 4, 0.5, 0.1)
    assert_close(likelihood.two_tails(tosses, 0.5, 0.1).predictive, want, rtol=1e-7, what="two_tails")
    want = 3 * math.log(0.25) + 4 * math.log(0.75) - 0.25**2 / 0.2
    assert_close(likelihood.coin_log_posterior(0.25, tosses, 0.5, 0.1), want, rtol=SHARP, what="coin_log_posterior")


def test_coin_functions_count_beyond_a_byte():
    """Of 300 ones and 200 zeros in an array of bytes, 300 are counted, not 44; and a thousand bools are not one."""
    for ones, zeros, kind in [(300, 200, np.uint8), (150, 50, np.int8), (600, 400, bool)]:
        tosses = toss(ones, zeros).astype(kind)
        want = (ones + 1) / (ones + zeros + 2)
        assert_close(likelihood.coin_predictive(tosses), want, rtol=SHARP, what=f"coin_predictive of {kind.__name__}")
        want = bisected(ones, zeros, 0.5, 0.1)
        assert_close(likelihood.coin_map(tosses, 0.5, 0.1), want, atol=PEAK, what=f"coin_map of {kind.__name__}")


@pytest.mark.parametrize(
    ("kind", "x"),
    [
        *((kind, (3, 100, 120, 7)) for kind in (np.int64, np.int8, np.uint8, np.float32)),
        (np.float32, (10_000, 10_001, 10_002)),
        (np.float16, (300, -300, 0)),
    ],
)
def test_normal_mle_of_whole_numbers(kind, x):
    """Numbers in types that overflow, or keep few figures, give what they give in exact fractions."""
    mean = Fraction(sum(x), len(x))
    want = [float(mean), float(sum((value - mean) ** 2 for value in x) / len(x))]
    x = np.array(x, dtype=kind)
    with np.errstate(all="ignore"):  # that the comparison may speak, and not a warning
        fit = likelihood.normal_mle(x)
        squares = np.mean((x - x.mean().astype(kind)) ** 2), np.mean(x * x) - np.mean(x) ** 2
    mistakes = {
        "do the numbers overflow their type, or lose their figures in it?": [want[0], squares[0]],
        "is this the mean of x² less the square of the mean, in the type of x?": [want[0], squares[1]],
    }
    assert_close(fit, want, rtol=SHARP, what=f"normal_mle of {kind.__name__}", mistakes=mistakes)


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint8, np.float32])
def test_line_mle_of_whole_numbers(kind):
    """Numbers in types that overflow, or keep few figures, give what they give as float64."""
    x, y = [3, 100, 120, 7], [90, 1, 20, 127]
    want, _ = mistakes_in_line(x, y)
    fit = likelihood.line_mle(np.array(x, dtype=kind), np.array(y, dtype=kind))
    assert_close(fit, [*want.values()], rtol=SHARP, what=f"line_mle of {kind.__name__}")


def test_fits_leave_their_arguments_alone():
    """Arrays that must not be written to are not written to."""
    x, y = np.array([4.0, 1.0, 3.0]), np.array([0.0, 2.0, 5.0])
    tosses, theta = np.array([0, 1, 1]), np.array([0.25, 0.5])
    for array in (x, y, tosses, theta):
        array.flags.writeable = False
    likelihood.normal_mle(x)
    likelihood.line_mle(x, y)
    likelihood.coin_map(tosses, 0.5, 0.1)
    likelihood.coin_predictive(tosses)
    likelihood.two_tails(tosses, 0.5, 0.1)
    likelihood.coin_log_posterior(theta, tosses, 0.5, 0.1)
    assert [x.tolist(), y.tolist(), tosses.tolist()] == [[4.0, 1.0, 3.0], [0.0, 2.0, 5.0], [0, 1, 1]]


@pytest.mark.parametrize("name", GOOD)
def test_functions_read_their_arguments_anew(name):
    """If an array is changed in place between two calls, the second gives what a copy of it gives."""

    def value(arguments):
        result = getattr(likelihood, name)(**arguments)
        return result.means if name == "ascend" else result

    arguments = copy.deepcopy(good(name))
    value(arguments)
    for argument in arguments.values():
        if isinstance(argument, list):
            argument[0] = 1  # a toss
        elif isinstance(argument, np.ndarray | torch.Tensor):
            argument *= 2
    want = value(copy.deepcopy(arguments))
    what = f"{name} of arrays changed since the last call (is a result kept from one call to the next?)"
    assert_close(value(arguments), want, rtol=SHARP, what=what)


def assert_left_alone_and_in_kind(name, **arguments):
    """Nothing is written into an argument; float32 in gives float32 out, float64 gives float64, and they agree."""
    __tracebackhide__ = True
    results = {}
    for dtype in (torch.float32, torch.float64):
        call = {key: value.to(dtype) if isinstance(value, torch.Tensor) else value for key, value in arguments.items()}
        kept = {key: value.clone() for key, value in call.items() if isinstance(value, torch.Tensor)}
        results[dtype] = getattr(likelihood, name)(**call)
        assert results[dtype].dtype == dtype, f"{name} of {dtype} gives {results[dtype].dtype}"
        for key, value in kept.items():
            assert torch.equal(call[key], value), f"{name} writes into {key}"
    # Some dozens of roundings of 6e-8, of numbers below 100.
    assert_close(results[torch.float32], results[torch.float64], rtol=1e-4, atol=1e-5, what=f"{name} in float32")


@pytest.mark.parametrize("name", ["log_likelihood", "log_likelihood_at"])
def test_log_likelihood_has_the_dtype_of_the_data(name):
    """float32 gives float32, float64 gives float64, and no argument is written to."""
    assert_left_alone_and_in_kind(name, **good(name))


def test_stationary_covariance_has_the_dtype_of_the_data():
    """float32 gives float32, float64 gives float64, and no argument is written to; of batch_mean_covariance too."""
    assert_left_alone_and_in_kind("batch_mean_covariance", data=tensor(DATA), batch_size=2)
    assert_left_alone_and_in_kind("stationary_covariance", **good("stationary_covariance"))
