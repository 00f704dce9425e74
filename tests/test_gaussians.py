"""The normal density against scipy, sympy and quadrature; its draws against the law they should have."""

import numpy as np
import pytest
import sympy
from scipy import integrate, stats

from solutions import gaussians
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_frequencies, assert_mean, assert_proportion

# (mean, variance): the standard one, narrow enough for a density above 1, wide, and the one drawn in the chapter.
LAWS = [(0.0, 1.0), (0.0, 0.01), (-3.0, 40.0), (10.0, 1.28)]
laws = pytest.mark.parametrize(("mean", "variance"), LAWS)
# exp and log of numbers up to 100 in size lose at most 100 units in the last place, 2e-14.
SHARP = 1e-12


def around(mean, variance):
    """Eleven points within five standard deviations of the mean, not symmetric about it."""
    return mean + np.sqrt(variance) * np.linspace(-4.5, 5.0, 11)


def integral(f, low, high, mean=0.0):
    """The integral by adaptive quadrature, to 1e-10; the mean is a break point, lest a narrow peak be missed."""
    breaks = [mean] if low < mean < high else None
    value, _ = integrate.quad(lambda x: float(f(x)), low, high, points=breaks, epsabs=1e-13, epsrel=1e-11, limit=200)
    return value


def mistakes_in_density(x, mean, variance):
    """What people compute when they mean the density, and why."""
    std, square = np.sqrt(variance), (x - mean) ** 2
    return {
        "was the variance used where the standard deviation belongs?": stats.norm.pdf(x, mean, variance),
        "is the ½ in the exponent missing?": np.exp(-square / variance) / np.sqrt(2 * np.pi * variance),
        "is the variance outside the square root of the normaliser?": stats.norm.pdf(x, mean, std) / std,
        "is the factor 1/σ of the normaliser missing?": stats.norm.pdf(x, mean, std) * std,
        "is the mean forgotten?": stats.norm.pdf(x, 0, std),
        "is this the log-density?": stats.norm.logpdf(x, mean, std),
        "is this the distribution function, P(X ≤ x)?": stats.norm.cdf(x, mean, std),
    }


# The density


@laws
def test_density_agrees_with_scipy(mean, variance):
    """density(x, mean, variance) is scipy's norm.pdf with scale = √variance, a standard deviation."""
    x = around(mean, variance)
    want = stats.norm.pdf(x, loc=mean, scale=np.sqrt(variance))
    got = gaussians.density(x, mean, variance)
    assert_close(
        got, want, rtol=SHARP, what=f"density(x, {mean}, {variance})", mistakes=mistakes_in_density(x, mean, variance)
    )


@pytest.mark.claim("thm-gaussian-normalises")
@laws
def test_density_integrates_to_one(mean, variance):
    """The integral of the density over twelve standard deviations either side is 1, by quadrature."""
    reach = 12 * np.sqrt(variance)  # leaves out less than 4e-33
    total = integral(lambda x: gaussians.density(x, mean, variance), mean - reach, mean + reach, mean)
    assert_close(total, 1.0, rtol=1e-10, what="the integral of the density")


@pytest.mark.claim("thm-gaussian-normalises", kind="symbolic")
def test_density_is_normalised_by_the_polar_coordinates_proof():
    """With I the integral of e^{-x²/2}, sympy does I² = ∫₀^{2π} ∫₀^∞ r e^{-r²/2} dr dφ = 2π; so density(0) is 1/I."""
    r, angle = sympy.symbols("r phi", positive=True)
    squared = sympy.integrate(r * sympy.exp(-(r**2) / 2), (r, 0, sympy.oo), (angle, 0, 2 * sympy.pi))
    assert squared == 2 * sympy.pi
    assert_close(gaussians.density(0.0), float(1 / sympy.sqrt(squared)), rtol=SHARP, what="density(0)")


@pytest.mark.claim("thm-gaussian-normalises", kind="symbolic")
@pytest.mark.claim("thm-affine", kind="symbolic")
def test_density_has_the_stated_mean_and_variance():
    """sympy integrates x f(x) and (x-μ)² f(x) to μ and σ² for symbols μ and σ; the function is that f."""
    x, mu = sympy.symbols("x mu", real=True)
    sigma = sympy.symbols("sigma", positive=True)
    f = sympy.exp(-((x - mu) ** 2) / (2 * sigma**2)) / sympy.sqrt(2 * sympy.pi * sigma**2)
    line = (x, -sympy.oo, sympy.oo)
    assert sympy.simplify(sympy.integrate(f, line)) == 1
    assert sympy.simplify(sympy.integrate(x * f, line) - mu) == 0
    assert sympy.simplify(sympy.integrate((x - mu) ** 2 * f, line) - sigma**2) == 0
    want = [float(f.subs({x: point, mu: 10, sigma: sympy.sqrt(2)})) for point in (7, 10, 12)]
    assert_close(gaussians.density(np.array([7.0, 10, 12]), 10, 2), want, rtol=SHARP, what="density(x, 10, 2)")


@pytest.mark.claim("prop-density-exceeds-one")
def test_density_peaks_above_one_exactly_below_variance_one_over_two_pi():
    """The largest density is 1/√(2πσ²), at the mean: 1 at σ² = 1/(2π), above for less, below for more."""
    edge = 1 / (2 * np.pi)
    assert_close(gaussians.density(3.0, 3.0, edge), 1.0, rtol=SHARP, what="the peak at variance 1/(2π)")
    assert gaussians.density(3.0, 3.0, edge * (1 - 1e-9)) > 1 > gaussians.density(3.0, 3.0, edge * (1 + 1e-9))
    for mean, variance in LAWS:
        peak = gaussians.density(mean, mean, variance)
        assert_close(peak, (2 * np.pi * variance) ** -0.5, rtol=SHARP, what="the peak")
        assert np.all(gaussians.density(around(mean, variance), mean, variance) < peak)


@pytest.mark.claim("prop-density-exceeds-one")
def test_density_above_one_leaves_every_point_without_probability():
    """P(|x| ≤ h), the integral of N(0, 0.01)'s density, is 2Φ(h/σ) - 1: below 2h times the peak, and 0 with h."""
    std, peak = 0.1, gaussians.density(0.0, 0.0, 0.01)
    assert peak > 3.98, f"the peak of N(0, 0.01) is 1/√(2π 0.01) = 3.99, got {peak}"
    for h in (1e-1, 1e-3, 1e-6):
        probability = integral(lambda x: gaussians.density(x, 0.0, 0.01), -h, h)
        assert_close(probability, 2 * stats.norm.cdf(h / std) - 1, rtol=1e-9, what=f"P(|x| ≤ {h})")
        assert 0.7 * 2 * h * peak < probability < 2 * h * peak  # at h = σ, 0.683 of 0.798


def test_density_at_zero_depends_on_the_mean():
    """At 0 the density of N(μ, σ²) is exp(-μ²/(2σ²))/√(2πσ²): 1/√(2πσ²) is the value at the mean, not at 0."""
    mean, variance = 1.5, 2.0
    want = np.exp(-0.5625) / np.sqrt(4 * np.pi)  # μ²/(2σ²) = 2.25/4
    mistakes = {"is the mean forgotten?": 1 / np.sqrt(4 * np.pi)}
    assert_close(gaussians.density(0.0, mean, variance), want, rtol=SHARP, what="density(0, 1.5, 2)", mistakes=mistakes)


def test_density_vanishes_at_infinity():
    """At ±∞ the density is 0 and its log is -∞, without a warning."""
    ends = np.array([-np.inf, np.inf])
    assert_close(gaussians.density(ends, 1.0, 2.0), [0.0, 0.0], what="density(±∞, 1, 2)")
    assert_close(gaussians.log_density(ends, 1.0, 2.0), [-np.inf, -np.inf], what="log_density(±∞, 1, 2)")


def test_density_takes_numbers_and_arrays_and_broadcasts():
    """A number gives a number, an array one value for each entry, and mean and variance may be arrays too."""
    x, mean, variance = np.array([[0.5], [2.0]]), np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.5, 4.0])
    want = stats.norm.pdf(x, mean, np.sqrt(variance))
    assert_close(gaussians.density(x, mean, variance), want, rtol=SHARP, what="density of x (2, 1) and mean (3,)")
    assert_close(gaussians.density(2), stats.norm.pdf(2), rtol=SHARP, what="density(2)")


# Its logarithm


@laws
def test_log_density_agrees_with_scipy(mean, variance):
    """log_density is scipy's norm.logpdf with scale = √variance, constant and all."""
    x = around(mean, variance)
    std = np.sqrt(variance)
    want = stats.norm.logpdf(x, mean, std)
    mistakes = {
        "was the variance used where the standard deviation belongs?": stats.norm.logpdf(x, mean, variance),
        "is the constant -½ log 2π dropped?": want + 0.5 * np.log(2 * np.pi),
        "is the constant -½ log 2πσ² dropped?": -((x - mean) ** 2) / (2 * variance),
        "is -½ log σ² dropped?": want + np.log(std),
        "is it log σ² where ½ log σ² belongs?": want - np.log(std),
        "is the ½ of the square missing?": want - (x - mean) ** 2 / (2 * variance),
        "is the mean forgotten?": stats.norm.logpdf(x, 0, std),
        "is this the density itself?": np.exp(want),
    }
    got = gaussians.log_density(x, mean, variance)
    # Near the zero of log f the terms, of size 5 at most, cancel: hence an absolute tolerance too.
    assert_close(got, want, rtol=SHARP, atol=SHARP, what=f"log_density(x, {mean}, {variance})", mistakes=mistakes)


def test_log_density_is_finite_where_the_density_underflows():
    """At 100 and 1e6 standard deviations f(x) is 0 to a float, and log f(x) = -½ (log 2πσ² + z²) is not."""
    z = np.array([100.0, -1e6])
    want = -0.5 * (np.log(2 * np.pi * 4) + z**2)
    mistakes = {"is it the log of a density that has underflowed to 0?": [-np.inf, -np.inf]}
    with np.errstate(all="ignore"):
        got = gaussians.log_density(1 + 2 * z, 1.0, 4.0)
    assert_close(got, want, rtol=SHARP, what="log_density far from the mean", mistakes=mistakes)


# The affine change of variables


@pytest.mark.claim("thm-affine")
@laws
def test_density_of_an_affine_map_has_its_jacobian(mean, variance):
    """density(μ + σz; μ, σ²) = density(z; 0, 1)/σ: without the 1/σ it would not integrate to 1."""
    z, std = around(0.0, 1.0), np.sqrt(variance)
    want = gaussians.density(z) / std
    got = gaussians.density(mean + std * z, mean, variance)
    mistakes = {"is the Jacobian 1/σ missing?": want * std, "is it 1/σ² where 1/σ belongs?": want / std}
    assert_close(got, want, rtol=1e-11, what="density of μ + σz", mistakes=mistakes)


@pytest.mark.claim("thm-affine", kind="symbolic")
def test_density_is_the_derivative_of_the_shifted_and_scaled_distribution_function():
    """P(μ + σz ≤ x) = Φ((x-μ)/σ); sympy's derivative of it in x is what `density` returns."""
    x, mu = sympy.symbols("x mu", real=True)
    sigma = sympy.symbols("sigma", positive=True)
    f = sympy.diff((1 + sympy.erf((x - mu) / (sigma * sympy.sqrt(2)))) / 2, x)
    f = sympy.lambdify((x, mu, sigma), f, "numpy")
    for mean, variance in LAWS:
        points = around(mean, variance)
        want = f(points, mean, np.sqrt(variance))
        mistakes = mistakes_in_density(points, mean, variance)
        assert_close(gaussians.density(points, mean, variance), want, rtol=SHARP, what="density", mistakes=mistakes)


@laws
def test_rescale_is_mean_plus_std_times_z(mean, variance):
    """rescale(z, μ, σ²) is μ + σz, for a number and for arrays of any shape."""
    z, std = around(0.0, 1.0), np.sqrt(variance)
    mistakes = {
        "was z multiplied by the variance, where the standard deviation belongs?": mean + variance * z,
        "is this the way back, from N(μ, σ²) to N(0, 1)?": (z - mean) / std,
        "was the mean added before scaling?": std * (z + mean),
        "is the mean forgotten?": std * z,
        "is z not scaled at all?": mean + z,
    }
    what = f"rescale(z, {mean}, {variance})"
    assert_close(gaussians.rescale(z, mean, variance), mean + std * z, rtol=SHARP, what=what, mistakes=mistakes)
    assert_close(gaussians.rescale(z[1:].reshape(2, 5), mean, variance), mean + std * z[1:].reshape(2, 5), what=what)
    whole = np.array([-2, 0, 3])
    mistakes = {"is the result cut to whole numbers because z is?": np.trunc(mean + std * whole)}
    assert_close(gaussians.rescale(whole, mean, variance), mean + std * whole, what=what, mistakes=mistakes)
    assert_close(gaussians.rescale(-2, mean, variance), mean - 2 * std, what=what)


@pytest.mark.claim("thm-affine")
def test_rescale_turns_standard_normals_into_the_stated_law(rng):
    """μ + σz for z ~ N(0, 1) has the distribution function Φ((x-μ)/σ)."""
    x = gaussians.rescale(rng.standard_normal(40_000), 10.0, 1.28)
    hints = {"z seems to be multiplied by the variance, not by the standard deviation": stats.norm(10, 1.28).cdf}
    assert_distribution(x, stats.norm(10, np.sqrt(1.28)).cdf, detects=0.025, hints=hints)


# Drawing


@laws
def test_draw_has_the_stated_law(rng, mean, variance):
    """10⁵ draws have the distribution function of N(μ, σ²); a σ wrong by 6 %, or a mean by σ/25, would be caught."""
    x = gaussians.draw(rng, 100_000, mean, variance)
    hints = {
        "the variance seems to be used where the standard deviation belongs": stats.norm(mean, variance).cdf,
        "the variance seems to be left at 1": stats.norm(mean, 1).cdf,
        "the mean seems to be forgotten": stats.norm(0, np.sqrt(variance)).cdf,
    }
    # sup |F - G| is 0.24 ε for a relative error ε of σ, and 0.4 δ for one of δσ in the mean; 0.0134 is what 10⁵ afford.
    assert_distribution(x, stats.norm(mean, np.sqrt(variance)).cdf, detects=0.0134, hints=hints)


def test_draw_is_standard_normal_by_default(rng):
    """draw(rng, n) is N(0, 1); the exercise's variance of 0.01 is its own choice, not the default."""
    hints = {"the default variance seems to be 0.01": stats.norm(0, 0.1).cdf}
    assert_distribution(gaussians.draw(rng, 40_000), stats.norm.cdf, detects=0.025, hints=hints)


def test_draw_gives_independent_draws(rng):
    """Successive draws are uncorrelated: the mean of xᵢ xᵢ₊₁ is 0 over disjoint pairs."""
    pairs = gaussians.draw(rng, 40_000).reshape(-1, 2)
    hints = {"these are antithetic pairs, x and -x": -1.0, "every draw is repeated": 1.0}
    assert_mean(pairs.prod(axis=1), 0.0, detects=0.06, hints=hints)


@pytest.mark.parametrize("n", [1, 5])
def test_draw_gives_means_that_spread_in_many_small_calls(rng, n):
    """√n(x̄-μ)/σ is N(0, 1) over 8,000 calls for n draws: nothing is centred, standardised or balanced in a call."""
    means = np.array([gaussians.draw(rng, n, 10.0, 1.28).mean() for _ in range(8_000)])
    assert_distribution((means - 10.0) / np.sqrt(1.28 / n), stats.norm.cdf, detects=0.05)


def test_draw_gives_float64_numbers_that_all_differ(rng):
    """No two of 10⁴ draws, nor their distances from the mean, are equal: a right answer fails once in 10⁷ runs."""
    x = gaussians.draw(rng, 10_000, 1.0, 2.0)
    assert x.dtype == np.float64, f"draw gives {x.dtype}, should give float64"
    assert len(np.unique(x)) == len(x), "some draws occur twice: repeated or rounded?"
    assert len(np.unique(np.abs(x - 1.0).round(14))) > len(x) - 3, "some draws mirror others at the mean"
    assert gaussians.draw(rng, 1).shape == (1,), "draw(rng, 1) should be an array of shape (1,)"


def test_draw_reaches_into_the_tails(rng):
    """P(|z| > 3.3), about one in a thousand, over 10⁶ draws."""
    far = np.count_nonzero(np.abs(gaussians.draw(rng, 1_000_000)) > 3.3)
    assert_proportion(far, 1_000_000, 2 * stats.norm.sf(3.3), detects=3e-4, hints={"the tails are cut off": 0.0})


def test_draw_gives_draws_whose_sum_spreads(rng):
    """The sum of 11 draws has variance 11: none of them undoes another, wherever it stands."""
    sums = np.array([gaussians.draw(rng, 11).sum() for _ in range(20_000)])
    hints = {"the draws seem to come as x and -x, which makes them dependent": 1.0}
    assert_mean(sums**2, 11.0, detects=1.6, hints=hints)


def test_draw_takes_its_randomness_from_rng_alone():
    """The same state gives the same draws, another seed or a second call other ones: no global or fixed seed."""
    first, again, other = (np.random.default_rng(seed) for seed in (1, 1, 2))
    x = gaussians.draw(first, 5)
    assert x.shape == (5,), f"draw(rng, 5) has shape {x.shape}, should have shape (5,)"
    assert_close(gaussians.draw(again, 5), x, rtol=0, what="draw(rng, 5) with an rng in the same state (is rng used?)")
    for y, source in [(gaussians.draw(first, 5), "a second call"), (gaussians.draw(other, 5), "another seed")]:
        assert not np.any(np.isclose(x, y)), f"draw gave the same numbers for {source}: is rng used?"


# Sample moments


@pytest.mark.claim("prop-sample-moments")
@laws
def test_density_gives_the_sample_moments_their_standard_errors(mean, variance):
    """The second and fourth central moments of f, by quadrature, give σ/√n and σ²√(2/(n-1)) for every n.

    For any law the variance of the sample mean is μ₂/n, and that of the unbiased sample variance
    (μ₄ - μ₂² (n-3)/(n-1))/n; with the normal law's μ₄ = 3σ⁴ it is 2σ⁴/(n-1).
    """
    reach = 14 * np.sqrt(variance)  # leaves out less than 1e-37 of the fourth moment
    second, fourth = (
        integral(
            lambda x, k=k: (x - mean) ** k * gaussians.density(x, mean, variance), mean - reach, mean + reach, mean
        )
        for k in (2, 4)
    )
    for n in (2, 5, 100_000):
        of_mean, of_variance = second / n, (fourth - second**2 * (n - 3) / (n - 1)) / n
        assert_close(np.sqrt(of_mean), np.sqrt(variance / n), rtol=1e-8, what="the standard error of the mean")
        assert_close(np.sqrt(of_variance), variance * np.sqrt(2 / (n - 1)), rtol=1e-8, what="that of the variance")


@pytest.mark.claim("prop-sample-moments")
@pytest.mark.parametrize("n", [2, 5])
def test_draw_gives_a_normal_mean_and_a_chi_square_variance_independently(rng, n):
    """√n(x̄-μ)/σ is N(0, 1), (n-1)s²/σ² chi-square with n-1 degrees, and one says nothing about the other."""
    repetitions, mean, variance = 40_000, 10.0, 1.28
    samples = gaussians.draw(rng, repetitions * n, mean, variance).reshape(repetitions, n)
    z = (samples.mean(axis=1) - mean) / np.sqrt(variance / n)
    chi_square = (n - 1) * samples.var(axis=1, ddof=1) / variance
    assert_distribution(z, stats.norm.cdf, detects=0.025)
    wrong = {"the degrees of freedom are n, not n-1": stats.chi2(n).cdf}
    assert_distribution(chi_square, stats.chi2(n - 1).cdf, detects=0.025, hints=wrong)
    far, large = np.abs(z) > stats.norm.isf(0.25), chi_square > stats.chi2.isf(0.5, n - 1)
    assert_frequencies(np.bincount(2 * far + large, minlength=4), np.full(4, 0.25), detects=0.05)


@pytest.mark.claim("prop-sample-moments")
def test_draw_gives_sample_moments_that_spread_as_stated(rng):
    """Over 10⁵ samples of n = 5 from N(10, 1.28): E(x̄-μ)² = σ²/n and E(s²-σ²)² = 2σ⁴/(n-1), within 5 and 14 %."""
    n, variance = 5, 1.28
    samples = gaussians.draw(rng, 100_000 * n, 10.0, variance).reshape(-1, n)
    of_mean, of_variance = variance / n, 2 * variance**2 / (n - 1)
    spread = (samples.mean(axis=1) - 10.0) ** 2
    assert_mean(
        spread,
        of_mean,
        detects=0.05 * of_mean,
        hints={"the variance seems to be used where the standard deviation belongs": variance**2 / n},
    )
    spread = (samples.var(axis=1, ddof=1) - variance) ** 2
    assert_mean(spread, of_variance, detects=0.14 * of_variance, hints={"n where n - 1 belongs": 2 * variance**2 / n})


# Bad input


@pytest.mark.parametrize("variance", [0.0, -1.0, np.nan, np.inf])
def test_density_refuses_a_variance_that_is_not_positive(variance):
    """A variance that is zero, negative, NaN or infinite raises a ValueError that says so."""
    assert_refused(gaussians.density, 0.5, 0.0, variance, argument="variance", value=variance)
    assert_refused(gaussians.log_density, np.array([0.5, 1.0]), 0.0, variance, argument="variance", value=variance)


@pytest.mark.parametrize("mean", [np.nan, -np.inf])
def test_density_refuses_a_mean_that_is_not_finite(mean):
    """A mean that is NaN or infinite raises a ValueError that says so."""
    assert_refused(gaussians.density, 0.5, mean, 1.0, argument="mean", value=mean)
    assert_refused(gaussians.log_density, 0.5, mean, 1.0, argument="mean", value=mean)


@pytest.mark.parametrize("x", [np.nan, np.array([0.0, np.nan])])
def test_density_refuses_nan(x):
    """A NaN among the points raises a ValueError that says so."""
    assert_refused(gaussians.density, x, argument="x", value=np.nan)
    assert_refused(gaussians.log_density, x, argument="x", value=np.nan)


def test_density_names_the_first_bad_entry_of_an_array():
    """Of an array of variances the message shows the one that will not do."""
    assert_refused(gaussians.density, 0.5, 0.0, np.array([1.0, -3.5]), argument="variance", value=-3.5)


def test_rescale_refuses_bad_input():
    """rescale refuses NaN, an infinite mean, and a variance that is not positive."""
    assert_refused(gaussians.rescale, np.nan, 0.0, 1.0, argument="z", value=np.nan)
    assert_refused(gaussians.rescale, 1.0, np.inf, 1.0, argument="mean", value=np.inf)
    assert_refused(gaussians.rescale, 1.0, 0.0, -2.0, argument="variance", value=-2.0)


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_draw_refuses_a_number_that_does_not_count(rng, n):
    """draw(rng, n) needs a positive integer n."""
    assert_refused(gaussians.draw, rng, n, argument="n", value=n)


def test_draw_refuses_bad_parameters_before_it_draws():
    """Bad parameters raise a ValueError, and leave the generator as it was."""
    rng, fresh = np.random.default_rng(1), np.random.default_rng(1)
    assert_refused(gaussians.draw, rng, 5, np.nan, 1.0, argument="mean", value=np.nan)
    assert_refused(gaussians.draw, rng, 5, 0.0, -1.0, argument="variance", value=-1.0)
    assert rng.random() == fresh.random(), "draw used the generator before it refused"


# What arrays may ask for


FUNCTIONS = [("density", ()), ("log_density", ()), ("rescale", (1.0, 2.0))]
functions = pytest.mark.parametrize(("name", "rest"), FUNCTIONS, ids=[name for name, _ in FUNCTIONS])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@functions
def test_whole_numbers_are_numbers(name, rest):
    """An array of integers gives what the same numbers as floats give."""
    whole = np.array([-2, 0, 1, 3])
    function = getattr(gaussians, name)
    assert_close(function(whole, *rest), function(whole.astype(float), *rest), what=f"{name} of an array of integers")


@functions
def test_arguments_are_left_alone(name, rest):
    """An array that must not be written to is not written to."""
    x = np.array([-2.0, 0.0, 1.0])
    x.flags.writeable = False
    assert np.all(np.isfinite(getattr(gaussians, name)(x, *rest)))
    assert x.tolist() == [-2.0, 0.0, 1.0]


@pytest.mark.parametrize("name", ["density", "log_density", "rescale"])
def test_arguments_broadcast(name):
    """A column of points against rows of means and variances gives a table, entry by entry."""
    function, x, mean, variance = (
        getattr(gaussians, name),
        np.array([[0.5], [-1.0]]),
        np.arange(3.0),
        np.arange(1.0, 4.0),
    )
    want = [[function(float(a), float(m), float(v)) for m, v in zip(mean, variance, strict=True)] for a in x[:, 0]]
    assert_close(function(x, mean, variance), np.array(want), what=f"{name} of shapes (2, 1), (3,), (3,)")


def test_log_density_of_a_number_is_a_number_and_standard_by_default():
    """log_density(2) is scipy's norm.logpdf(2), of shape ()."""
    assert_close(gaussians.log_density(2), stats.norm.logpdf(2), rtol=SHARP, what="log_density(2)")


@laws
def test_density_and_its_log_hold_far_from_the_mean(mean, variance):
    """At 10, 20 and 35 standard deviations, where the density is down to 1e-266, both are scipy's."""
    z = np.array([-35.0, -20.0, -10.0, 10.0, 20.0, 35.0])
    x, std = mean + np.sqrt(variance) * z, np.sqrt(variance)
    assert_close(gaussians.density(x, mean, variance), stats.norm.pdf(x, mean, std), rtol=1e-10, what="density far out")
    assert_close(gaussians.log_density(x, mean, variance), stats.norm.logpdf(x, mean, std), what="log_density far out")


def test_density_of_a_narrow_law_far_from_zero():
    """N(10⁶, 10⁻⁴): (x - μ)² is not to be multiplied out, or nothing is left of it."""
    x = 1e6 + np.array([-0.02, 0.0, 0.01])
    mistakes = {"was the square multiplied out?": np.exp(-(x**2 - 2e6 * x + 1e12) / 2e-4) / np.sqrt(2e-4 * np.pi)}
    what = "density of N(10⁶, 10⁻⁴)"
    assert_close(gaussians.density(x, 1e6, 1e-4), stats.norm.pdf(x, 1e6, 1e-2), what=what, mistakes=mistakes)


@pytest.mark.parametrize("name", ["density", "log_density", "rescale", "draw"])
@pytest.mark.parametrize(
    ("argument", "value"),
    [("variance", bad) for bad in (0.0, -1.0, np.nan, np.inf)] + [("mean", bad) for bad in (np.nan, np.inf, -np.inf)],
)
def test_parameters_that_no_law_has_are_refused(name, argument, value):
    """Every function refuses them, alone and, where arrays are welcome, as the second entry of an array."""
    function = getattr(gaussians, name)
    first = (np.random.default_rng(0), 3) if name == "draw" else (0.5,)
    good = {"mean": 0.0, "variance": 1.0}
    assert_refused(function, *first, *{**good, argument: value}.values(), argument=argument, value=value)
    if name != "draw":
        both = np.array([good[argument], value])
        assert_refused(function, *first, *{**good, argument: both}.values(), argument=argument, value=value)
