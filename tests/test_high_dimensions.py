"""Norms, distances and paths of Gaussian vectors against scipy, sympy, quadrature and exact averages over pairs."""

import itertools

import numpy as np
import pytest
import sympy
from scipy import integrate, special, stats

from solutions import gaussians, high_dimensions
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_mean, assert_unbiased

DIMENSIONS = (1, 2, 3, 10, 100)
dimensions = pytest.mark.parametrize("dimension", DIMENSIONS)
ALPHAS = np.array([0.0, 0.1, 0.25, 0.5, 0.8, 1.0])
paths = pytest.mark.parametrize("path", ["linear", "polar"])
# exp and log of numbers up to 1,000 in size lose at most 1,000 units in the last place, 2e-13.
SHARP = 1e-11


def around_the_shell(dimension):
    """Nine norms that N(0, I) takes, from √D - 2 to √D + 3; none negative."""
    return np.linspace(max(np.sqrt(dimension) - 2, 0.05), np.sqrt(dimension) + 3, 9)


def integral(f, low, high):
    """The integral by adaptive quadrature, to 1e-10."""
    return integrate.quad(lambda r: float(f(r)), low, high, epsabs=1e-14, epsrel=1e-11, limit=200)[0]


def over_all_norms(f, dimension, scale=1.0):
    """The integral of f over [0, ∞), up to ten times `scale` off the shell: of a chi density this leaves out e^-50."""
    shell = scale * np.sqrt(dimension)
    low, high = max(0.0, shell - 10 * scale), shell + 10 * scale
    return integral(f, low, shell) + integral(f, shell, high)


def gauss_hermite_pairs(dimension, nodes=3):
    """Pairs a, b (m, D) and weights (m,) that average polynomials of degree 2·nodes - 1 exactly as N(0, I) does."""
    x, weight = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.array(list(itertools.product(x, repeat=2 * dimension)))
    weights = np.array([np.prod(w) for w in itertools.product(weight / weight.sum(), repeat=2 * dimension)])
    return points[:, :dimension], points[:, dimension:], weights


def walk(path, a, b, alpha):
    return {"linear": high_dimensions.linear_path, "polar": high_dimensions.polar_path}[path](a, b, alpha)


# The norm and its law


def test_norm_is_the_square_root_of_the_sum_of_squares():
    """norm gives one √(Σᵢ xᵢ²) for each row: 5 for (3, 4), and 13 for (-5, 12)."""
    x = np.array([[3.0, 4.0], [-5.0, 12.0], [0.0, 0.0]])
    mistakes = {
        "is the square root missing?": [25.0, 169.0, 0.0],
        "is this the norm of the columns, axis 0?": np.linalg.norm(x, axis=0),
        "is this the norm of the whole array, not of each row?": np.linalg.norm(x),
        "is this the sum of absolute values, not of squares?": np.abs(x).sum(axis=1),
        "a mean of squares for their sum?": np.sqrt((x**2).mean(axis=1)),
    }
    assert_close(high_dimensions.norm(x), [5.0, 13.0, 0.0], what="norm(x)", mistakes=mistakes)


@pytest.mark.claim("thm-chi")
@dimensions
def test_norm_density_is_the_chi_density(dimension):
    """norm_density is scipy's chi.pdf with D degrees of freedom."""
    r = around_the_shell(dimension)
    want = stats.chi.pdf(r, dimension)
    density_of_the_vector = np.exp(-(r**2) / 2) * (2 * np.pi) ** (-dimension / 2)
    mistakes = {
        "is this N(0, I) at distance r, without the sphere's area, so without r^{D-1}?": density_of_the_vector,
        "is it r^D where r^{D-1} belongs?": want * r,
        "is it r^{D-2} where r^{D-1} belongs?": want / r,
        "is this the density of |x|² (chi-squared), not of |x|?": stats.chi2.pdf(r, dimension),
        "is the Jacobian 2r of r² missing?": stats.chi2.pdf(r**2, dimension),
    }
    got = high_dimensions.norm_density(r, dimension)
    assert_close(got, want, rtol=SHARP, what=f"norm_density(r, {dimension})", mistakes=mistakes)


def test_norm_density_holds_in_a_thousand_dimensions():
    """At D = 1,000, where Γ(D/2) and r^{D-1} exceed every float, norm_density is still scipy's chi.pdf."""
    r = around_the_shell(1000)
    with np.errstate(all="ignore"):
        got = high_dimensions.norm_density(r, 1000)
    assert np.all(np.isfinite(got) & (got > 0)), f"Γ(D/2) or r^(D-1) overflows: work in logs (got {got})"
    assert_close(got, stats.chi.pdf(r, 1000), rtol=SHARP, what="norm_density(r, 1000)")


@pytest.mark.claim("thm-chi")
@dimensions
def test_norm_density_integrates_to_one(dimension):
    """The chi density integrates to 1 over r > 0, by quadrature."""
    total = over_all_norms(lambda r: high_dimensions.norm_density(r, dimension), dimension)
    assert_close(total, 1.0, rtol=1e-9, what="the integral of norm_density")


@pytest.mark.claim("thm-chi", kind="symbolic")
@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 7])
def test_norm_density_is_the_polar_coordinates_integral(dimension):
    """N(0, I) at distance r times the sphere's area 2π^{D/2} r^{D-1} / Γ(D/2); sympy integrates it to 1."""
    r = sympy.symbols("r", positive=True)
    half = sympy.Rational(dimension, 2)
    area = 2 * sympy.pi**half * r ** (dimension - 1) / sympy.gamma(half)
    f = area * (2 * sympy.pi) ** (-half) * sympy.exp(-(r**2) / 2)
    assert sympy.simplify(sympy.integrate(f, (r, 0, sympy.oo))) == 1
    points = around_the_shell(dimension)
    want = sympy.lambdify(r, f, "numpy")(points)
    assert_close(high_dimensions.norm_density(points, dimension), want, rtol=SHARP, what="norm_density")


@pytest.mark.claim("thm-chi")
@dimensions
def test_norm_of_gaussian_draws_is_chi_distributed(rng, dimension):
    """|x| for 20,000 rows x ~ N(0, I) has the chi law's distribution function."""
    r = high_dimensions.norm(rng.standard_normal((20_000, dimension)))
    hints = {"the square root seems to be missing": stats.chi2(dimension).cdf}
    assert_distribution(r, stats.chi(dimension).cdf, detects=0.03, hints=hints)


def test_norm_density_is_zero_where_no_norm_can_be():
    """Below 0 and at ∞ the density is 0; at 0 it is √(2/π) in one dimension and 0 in more. No warnings."""
    r = np.array([-1.0, -0.3, 0.0, np.inf])
    for dimension, at_zero in {1: np.sqrt(2 / np.pi), 2: 0.0, 3: 0.0}.items():
        got = high_dimensions.norm_density(r, dimension)
        nan = int(np.isnan(got).sum())
        assert not nan, f"norm_density(r, {dimension}) at r = -1, -0.3, 0, ∞ has NaN: {got}"
        assert got[0] == got[1] == 0, f"norm_density is not 0 at negative r: got {got[:2]} at -1 and -0.3"
        assert_close(got, [0, 0, at_zero, 0], rtol=SHARP, what=f"norm_density(r, {dimension}) at -1, -0.3, 0, ∞")
    assert_close(high_dimensions.norm_density(1, 2), np.exp(-0.5), rtol=SHARP, what="norm_density(1, 2)")


@dimensions
def test_norm_log_density_is_finite_where_the_density_underflows(dimension):
    """norm_log_density is scipy's chi.logpdf, up to r = 1,000 where the density itself is 0 to a float."""
    r = np.append(around_the_shell(dimension), 1000.0)
    got = high_dimensions.norm_log_density(r, dimension)
    assert_close(got, stats.chi.logpdf(r, dimension), rtol=SHARP, atol=SHARP, what=f"norm_log_density(r, {dimension})")


# Where the norm lies


@pytest.mark.claim("prop-chi-mean-mode")
@dimensions
def test_norm_mean_is_the_mean_of_the_norm_density(dimension):
    """√2 Γ((D+1)/2)/Γ(D/2) is the integral of r f(r), by quadrature, and lies between √(D-1) and √D."""
    mean = over_all_norms(lambda r: r * high_dimensions.norm_density(r, dimension), dimension)
    got = high_dimensions.norm_mean(dimension)
    mistakes = {"is this the root of the mean square, √(E|x|²) = √D?": np.sqrt(dimension)}
    assert_close(got, mean, rtol=1e-9, what=f"norm_mean({dimension})", mistakes=mistakes)
    assert np.sqrt(dimension - 1) < got < np.sqrt(dimension)


@pytest.mark.claim("prop-chi-mean-mode")
def test_norm_mean_leaves_a_variance_between_its_bounds():
    """D/(2D+1) < D - (E|x|)² < ½ for D = 1, ..., 2,000, where the two bounds are 1e-4 apart."""
    many = np.arange(1, 2001)
    variances = np.array([dimension - high_dimensions.norm_mean(int(dimension)) ** 2 for dimension in many])
    assert np.all(many / (2 * many + 1) < variances), variances
    assert np.all(variances < 0.5), variances


@pytest.mark.claim("prop-chi-mean-mode")
def test_norm_mean_leaves_a_variance_that_tends_to_one_half():
    """Var|x| = D - (E|x|)² is 1 - 2/π for D = 1 and grows to ½: it is ½ - 1/(8D) up to 1/D²."""
    with np.errstate(all="ignore"):
        means = [high_dimensions.norm_mean(d) for d in (1, 2, 3, 10, 100, 1000)]
    assert np.isfinite(means[-1]), "norm_mean(1000) is not finite: does Γ overflow? Work in logs"
    variances = np.array([1, 2, 3, 10, 100, 1000]) - np.square(means)
    assert_close(variances[0], 1 - 2 / np.pi, what="the variance of |x| for D = 1")
    assert np.all(np.diff(variances) > 0)
    assert np.all(variances < 0.5)
    for d, variance in zip((100, 1000), variances[-2:], strict=True):
        assert_close(variance, 0.5 - 1 / (8 * d), rtol=0, atol=1 / d**2, what=f"the variance of |x| for D = {d}")


@pytest.mark.claim("prop-chi-mean-mode")
@dimensions
def test_norm_density_is_highest_at_the_mode(dimension):
    """The mode is √(D-1): there the derivative (D-1)/r - r of log f is 0, and f is higher than anywhere near."""
    mode = high_dimensions.norm_mode(dimension)
    assert_close(mode, np.sqrt(dimension - 1), what=f"norm_mode({dimension})")
    grid = np.linspace(0, mode + 5, 2001)
    away = grid[np.abs(grid - mode) > 1e-3]
    assert np.all(high_dimensions.norm_density(away, dimension) < high_dimensions.norm_density(mode, dimension))


@pytest.mark.claim("thm-shell")
@dimensions
def test_norm_density_has_almost_all_its_mass_in_the_shell(dimension):
    """The integral of norm_density over E|x| ± t is at least 1 - 2e^{-t²/2}."""
    centre = stats.chi.mean(dimension)
    for t in (1.25, 2.0, 3.0, 4.0):
        low = max(0.0, centre - t)
        inside = sum(
            integral(lambda r: high_dimensions.norm_density(r, dimension), *ends)
            for ends in [(low, centre), (centre, centre + t)]
        )
        exact = stats.chi.cdf(centre + t, dimension) - stats.chi.cdf(low, dimension)
        assert_close(inside, exact, rtol=1e-8, what=f"P(| |x| - E|x| | < {t})")
        assert inside >= 1 - 2 * np.exp(-(t**2) / 2)


@pytest.mark.claim("thm-shell")
def test_norm_mean_is_the_centre_of_a_shell_of_constant_thickness():
    """P(| |x| - E|x| | ≥ t) ≤ 2e^{-t²/2} on a grid of 14 dimensions and 161 values of t, by the exact chi tails."""
    t = np.linspace(0, 8, 161)
    for dimension in (1, 2, 3, 4, 5, 7, 10, 20, 50, 100, 300, 1000, 10_000, 100_000):
        centre = high_dimensions.norm_mean(dimension)
        outside = stats.chi.sf(centre + t, dimension) + stats.chi.cdf(centre - t, dimension)
        assert np.all(outside <= 2 * np.exp(-(t**2) / 2))


@pytest.mark.claim("thm-shell")
def test_norm_mean_bound_is_not_improved_by_another_exponent():
    """In one dimension log P(|x| - E|x| ≥ t) comes within 6 % of -t²/2 at t = 35: 2e^{-ct²} fails for c = 0.53."""
    t = 35.0
    log_tail = np.log(2) + stats.norm.logsf(high_dimensions.norm_mean(1) + t)
    assert log_tail <= np.log(2) - t**2 / 2
    assert log_tail > np.log(2) - 0.53 * t**2


@pytest.mark.claim("prop-density-versus-mass")
@pytest.mark.parametrize(("dimension", "mass"), [(2, 0.393), (3, 0.199), (10, 1.7e-4), (100, 1.8e-80)])
def test_log_density_is_highest_where_there_is_no_mass(rng, dimension, mass):
    """N(0, I) is densest at 0, yet P(|x| < 1), the integral of norm_density, is P(D/2, ½): .393, ..., 1.8e-80."""
    at_zero = high_dimensions.log_density(np.zeros((1, dimension)))
    assert_close(at_zero, [-dimension / 2 * np.log(2 * np.pi)], what="log_density(0)")
    assert np.all(high_dimensions.log_density(rng.standard_normal((1000, dimension))) < at_zero)
    exact = special.gammainc(dimension / 2, 0.5)
    scaled = integral(lambda r: high_dimensions.norm_density(r, dimension) / exact, 0, 1)
    assert_close(scaled, 1.0, rtol=1e-9, what="the integral of norm_density over (0, 1), over P(D/2, ½)")
    assert_close(exact, mass, rtol=0.03, what="P(|x| < 1), to two digits")


# The distance of two draws


@pytest.mark.claim("prop-density-versus-mass")
def test_norm_density_leaves_the_unit_ball_less_than_the_bound():
    """P(|x| < 1) is positive and at most 1/(2^{D/2} Γ(D/2+1)), by which it is divided to stay a number."""
    for dimension in (1, 2, 3, 10, 100, 300):
        log_bound = -dimension / 2 * np.log(2) - special.gammaln(dimension / 2 + 1)

        def share(r, dimension=dimension, log_bound=log_bound):
            return np.exp(high_dimensions.norm_log_density(r, dimension) - log_bound)

        assert np.exp(-0.5) < integral(share, 0, 1) < 1, dimension


@pytest.mark.claim("lem-sum")
@pytest.mark.parametrize(("a", "b"), [(1.0, -1.0), (0.3, 0.7), (2.0, 0.1)])
def test_density_of_a_sum_is_the_convolution(a, b):
    """∫ f(x) f((z - ax)/b)/|b| dx, by quadrature, is the density of N(0, a² + b²)."""
    for z in (-1.5, 0.0, 0.4, 3.0):
        mixed = integral(lambda x, z=z: gaussians.density(x) * gaussians.density((z - a * x) / b) / abs(b), -12, 12)
        want = gaussians.density(z, 0.0, a**2 + b**2)
        assert_close(mixed, want, rtol=1e-8, what=f"the density of {a}x + {b}y at {z}")


@pytest.mark.claim("thm-distance")
@dimensions
def test_distance_density_is_the_chi_density_stretched_by_root_two(dimension):
    """|x - y| = √2 R with R chi-distributed: scipy's chi.pdf with scale = √2, Jacobian and all."""
    t = np.sqrt(2) * around_the_shell(dimension)
    want = stats.chi.pdf(t, dimension, scale=np.sqrt(2))
    mistakes = {
        "is the Jacobian 1/√2 missing?": want * np.sqrt(2),
        "is the covariance of x - y taken for √2 I? It is 2I": stats.chi.pdf(t, dimension, scale=2**0.25),
        "is √2, the standard deviation, used as 2?": stats.chi.pdf(t, dimension, scale=2),
        "is this the law of |x|, not of |x - y|?": stats.chi.pdf(t, dimension),
    }
    got = high_dimensions.distance_density(t, dimension)
    assert_close(got, want, rtol=SHARP, what=f"distance_density(t, {dimension})", mistakes=mistakes)


@pytest.mark.claim("thm-distance")
@dimensions
def test_distance_density_integrates_to_one(dimension):
    """It integrates to 1 in every dimension; without the Jacobian it is √2."""
    total = over_all_norms(lambda t: high_dimensions.distance_density(t, dimension), dimension, scale=np.sqrt(2))
    assert_close(total, 1.0, rtol=1e-9, what="the integral of distance_density")


@pytest.mark.claim("thm-distance", kind="symbolic")
@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 7])
def test_distance_density_is_the_stated_formula(dimension):
    """t^{D-1} e^{-t²/4} / (2^{D-1} Γ(D/2)) is, for sympy, the law of √2 R, and integrates to 1."""
    t = sympy.symbols("t", positive=True)
    half = sympy.Rational(dimension, 2)
    chi = t ** (dimension - 1) * sympy.exp(-(t**2) / 2) / (2 ** (half - 1) * sympy.gamma(half))
    stated = t ** (dimension - 1) * sympy.exp(-(t**2) / 4) / (2 ** (dimension - 1) * sympy.gamma(half))
    assert sympy.simplify(chi.subs(t, t / sympy.sqrt(2)) / sympy.sqrt(2) - stated) == 0
    assert sympy.simplify(sympy.integrate(stated, (t, 0, sympy.oo))) == 1
    points = np.array([0.2, 1.0, 3.1])
    want = sympy.lambdify(t, stated, "numpy")(points)
    assert_close(high_dimensions.distance_density(points, dimension), want, rtol=SHARP, what="distance_density")


@pytest.mark.claim("thm-distance")
@dimensions
def test_norm_of_a_difference_follows_the_distance_density(rng, dimension):
    """x - y has variance 2 a coordinate, and |x - y| the distribution function of √2 R."""
    x, y = rng.standard_normal((2, 20_000, dimension))
    distance = high_dimensions.norm(x - y)
    assert_distribution(distance, stats.chi(dimension, scale=np.sqrt(2)).cdf, detects=0.03)
    assert_mean(
        (x - y)[:, 0] ** 2,
        2.0,
        detects=0.2,
        hints={"√2 is the standard deviation of a coordinate, not its variance": np.sqrt(2)},
    )


def test_distance_density_is_zero_where_no_distance_can_be():
    """Below 0 and at ∞ the density is 0; at 0 it is 1/√π in one dimension and 0 in more."""
    t = np.array([-1.0, 0.0, np.inf])
    for dimension, at_zero in {1: np.sqrt(1 / np.pi), 2: 0.0, 3: 0.0}.items():
        got = high_dimensions.distance_density(t, dimension)
        assert_close(got, [0, at_zero, 0], rtol=SHARP, what=f"distance_density(t, {dimension}) at -1, 0, ∞")


# The density of N(0, I)


@dimensions
def test_log_density_is_the_sum_over_coordinates(rng, dimension):
    """log_density gives each row the sum of scipy's norm.logpdf over its entries."""
    x = rng.standard_normal((7, dimension))
    each = stats.norm.logpdf(x)
    want, constant = each.sum(axis=1), 0.5 * np.log(2 * np.pi)
    mistakes = {
        "are the rows summed too? One number for each row": each.sum(),
        "is the mean over the coordinates taken, where their sum belongs?": each.mean(axis=1),
        "is the constant -D/2 log 2π dropped?": want + dimension * constant,
        "is the constant -½ log 2π counted once, not once a coordinate?": want + (dimension - 1) * constant,
        "is the ½ of |x|² missing?": want - (x**2).sum(axis=1) / 2,
        "is it |x| where |x|² belongs?": -dimension * constant - np.sqrt((x**2).sum(axis=1)) / 2,
        "are the columns summed, axis 0?": each.sum(axis=0),
    }
    if dimension == 1:  # where half of these are right
        mistakes = {sentence: wrong for sentence, wrong in mistakes.items() if not np.array_equal(wrong, want)}
    assert_close(high_dimensions.log_density(x), want, rtol=SHARP, what="log_density(x)", mistakes=mistakes)


def test_log_density_is_finite_in_a_thousand_dimensions():
    """There the density itself, and a product of 1,000 of them, is 0 to a float; its log is the sum of the logs."""
    x = np.linspace(-2, 2, 2000).reshape(2, 1000)
    mistakes = {"is this the log of a product that underflows?": [-np.inf, -np.inf]}
    want = stats.norm.logpdf(x).sum(axis=1)
    assert_close(high_dimensions.log_density(x), want, rtol=SHARP, what="log_density(x)", mistakes=mistakes)


# Paths between two draws


def test_linear_path_goes_straight_from_b_to_a():
    """linear_path is αa + (1-α)b: b at α = 0, a at 1, and a quarter of the way at ¼."""
    a, b = np.array([[4.0, 0.0, 8.0]]), np.array([[0.0, -4.0, 4.0]])
    assert_close(
        high_dimensions.linear_path(a, b, 0.0), b, what="linear_path at alpha = 0", mistakes={"are a and b swapped?": a}
    )
    assert_close(
        high_dimensions.linear_path(a, b, 1.0), a, what="linear_path at alpha = 1", mistakes={"are a and b swapped?": b}
    )
    mistakes = {
        "are a and b swapped?": 0.75 * a + 0.25 * b,
        "are these the polar weights √α and √(1-α)?": 0.5 * a + np.sqrt(0.75) * b,
        "are the weights squared?": 0.0625 * a + 0.5625 * b,
    }
    got = high_dimensions.linear_path(a, b, 0.25)
    assert_close(got, [[1.0, -3.0, 5.0]], what="linear_path at alpha = 1/4", mistakes=mistakes)
    assert_close(high_dimensions.linear_path(a[0], b[0], 0.5), [2.0, -2.0, 6.0], what="linear_path of two vectors")


def test_polar_path_has_the_roots_as_weights():
    """polar_path is √α a + √(1-α) b, whose squared weights sum to 1: (0.6, 0.8) at α = 0.36."""
    a, b = np.array([[5.0, 0.0, -5.0]]), np.array([[0.0, 5.0, 5.0]])
    assert_close(
        high_dimensions.polar_path(a, b, 0.0), b, what="polar_path at alpha = 0", mistakes={"are a and b swapped?": a}
    )
    assert_close(
        high_dimensions.polar_path(a, b, 1.0), a, what="polar_path at alpha = 1", mistakes={"are a and b swapped?": b}
    )
    mistakes = {
        "are a and b swapped?": 0.8 * a + 0.6 * b,
        "are these the linear weights α and 1-α?": 0.36 * a + 0.64 * b,
        "is it α and √(1-α²)? The weights are √α and √(1-α)": 0.36 * a + np.sqrt(1 - 0.36**2) * b,
        "is it α and √(1-α)?": 0.36 * a + 0.8 * b,
        "is it √α and 1-√α, which sum to 1? Their squares should": 0.6 * a + 0.4 * b,
    }
    got = high_dimensions.polar_path(a, b, 0.36)
    assert_close(got, [[3.0, 4.0, 1.0]], what="polar_path at alpha = 0.36", mistakes=mistakes)


@pytest.mark.claim("thm-paths")
@paths
@pytest.mark.parametrize("dimension", [1, 2])
def test_expected_log_density_is_the_average_over_all_pairs(path, dimension):
    """Gauss-Hermite averages log_density along the path over a, b ~ N(0, I) exactly: it is quadratic in them."""
    a, b, weights = gauss_hermite_pairs(dimension)
    for alpha in ALPHAS:
        want = weights @ high_dimensions.log_density(walk(path, a, b, alpha))
        got = high_dimensions.expected_log_density(alpha, dimension, path)
        assert_close(got, want, rtol=SHARP, what=f"expected_log_density({alpha}, {dimension}, {path!r})")


@pytest.mark.claim("thm-paths")
@paths
@dimensions
def test_expected_log_density_is_the_closed_form(path, dimension):
    """-D/2 (log 2π + s²) with s² = α² + (1-α)² on the line and (√α)² + (√(1-α))² = 1 on the polar path."""
    squares = ALPHAS**2 + (1 - ALPHAS) ** 2
    variances = {"linear": squares, "polar": np.ones_like(ALPHAS)}

    def with_variance(variance):
        return -dimension / 2 * (np.log(2 * np.pi) + variance)

    want = with_variance(variances.pop(path))
    mistakes = {
        "are linear and polar swapped?": with_variance(*variances.values()),
        "did the weights add, not their squares? Variances add": with_variance(ALPHAS + (1 - ALPHAS)),
        "is the variance taken for √(α²) + √(1-α²)? It is (√α)² + (√(1-α))²": with_variance(
            ALPHAS + np.sqrt(1 - ALPHAS**2)
        ),
        "is this the log-density at the mean, 0, not the mean log-density?": with_variance(0 * ALPHAS),
        "is the D of -D/2 missing?": want / dimension,
        "is the constant dropped?": want + dimension / 2 * np.log(2 * np.pi),
    }
    mistakes = {sentence: wrong for sentence, wrong in mistakes.items() if not np.allclose(wrong, want)}
    got = high_dimensions.expected_log_density(ALPHAS, dimension, path)
    assert_close(got, want, rtol=SHARP, what=f"expected_log_density(alpha, {dimension}, {path!r})", mistakes=mistakes)


@pytest.mark.claim("thm-paths")
@paths
def test_expected_log_density_is_the_mean_over_random_pairs(rng, path):
    """Over 4,000 pairs in ten dimensions the log-densities average to it at each α."""
    a, b = rng.standard_normal((2, 4000, 10))
    rows = np.column_stack([high_dimensions.log_density(walk(path, a, b, alpha)) for alpha in (0.1, 0.5, 0.8)])
    truth = [high_dimensions.expected_log_density(alpha, 10, path) for alpha in (0.1, 0.5, 0.8)]
    assert_unbiased(rows, truth, detects=0.3)  # the standard deviation is √(D/2) s² = 2.2 at most


@pytest.mark.claim("cor-path-gap")
@dimensions
def test_expected_log_density_gains_d_alpha_one_minus_alpha_on_the_line(dimension):
    """Linear minus polar is Dα(1-α): 0 at the ends, positive between, D/4 in the middle."""
    linear, polar = (high_dimensions.expected_log_density(ALPHAS, dimension, path) for path in ("linear", "polar"))
    assert_close(linear - polar, dimension * ALPHAS * (1 - ALPHAS), rtol=1e-9, atol=1e-12, what="the gap")
    assert_close((linear - polar)[ALPHAS == 0.5], [dimension / 4], rtol=1e-9, what="the gap in the middle")


@pytest.mark.claim("cor-path-gap", kind="symbolic")
def test_expected_log_density_gap_follows_from_the_variances():
    """For sympy, -D/2 ((α² + (1-α)²) - ((√α)² + (√(1-α))²)) is Dα(1-α)."""
    d, alpha = sympy.symbols("D alpha", positive=True)
    linear, polar = alpha**2 + (1 - alpha) ** 2, sympy.sqrt(alpha) ** 2 + sympy.sqrt(1 - alpha) ** 2
    assert sympy.expand(-d / 2 * (linear - polar) - d * alpha * (1 - alpha)) == 0
    gap = np.subtract(*(high_dimensions.expected_log_density(0.3, 10, path) for path in ("linear", "polar")))
    assert_close(gap, 2.1, what="the gap at alpha = 0.3 in ten dimensions")


# The norm along the paths


@pytest.mark.claim("thm-norm-along-paths")
@paths
@dimensions
def test_expected_norm_log_density_is_the_integral_over_the_chi_law(path, dimension):
    """|z| = sR on the path, R chi-distributed: the integral of norm_log_density(s r) times scipy's chi.pdf(r)."""
    for alpha in ALPHAS:
        s = np.sqrt(alpha**2 + (1 - alpha) ** 2) if path == "linear" else 1.0

        def weighted(r, s=s):
            return high_dimensions.norm_log_density(s * r, dimension) * stats.chi.pdf(r, dimension)

        want = over_all_norms(weighted, dimension)
        jensen = high_dimensions.norm_log_density(s * np.sqrt(dimension), dimension)
        mistakes = {"is this the log-density at |z| = s√D, log E for E log?": jensen}
        got = high_dimensions.expected_norm_log_density(alpha, dimension, path)
        what = f"expected_norm_log_density({alpha}, {dimension}, {path!r})"
        assert_close(got, want, rtol=1e-8, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-norm-along-paths")
@dimensions
def test_expected_norm_log_density_changes_on_the_line_and_not_on_the_polar_path(dimension):
    """Linear minus ends is ½(D-1) log s² + D/2 (1 - s²), s² = α² + (1-α)²; polar minus ends is 0."""
    linear, polar = (high_dimensions.expected_norm_log_density(ALPHAS, dimension, p) for p in ("linear", "polar"))
    s_squared = ALPHAS**2 + (1 - ALPHAS) ** 2
    want = (dimension - 1) / 2 * np.log(s_squared) + dimension / 2 * (1 - s_squared)
    assert_close(linear - linear[0], want, rtol=1e-9, atol=1e-11, what="the change on the line")
    assert_close(polar - polar[0], np.zeros_like(ALPHAS), atol=1e-11, what="the change on the polar path")
    assert_close(polar[0], linear[0], what="the value at the ends")


@pytest.mark.claim("thm-norm-along-paths")
@paths
def test_expected_norm_log_density_is_the_mean_over_random_pairs(rng, path):
    """Over 20,000 pairs in ten dimensions the log chi densities of the norms average to it at each α."""
    a, b = rng.standard_normal((2, 20_000, 10))
    norms = [high_dimensions.norm(walk(path, a, b, alpha)) for alpha in (0.1, 0.5)]
    rows = np.column_stack([stats.chi.logpdf(norm, 10) for norm in norms])
    truth = [high_dimensions.expected_norm_log_density(alpha, 10, path) for alpha in (0.1, 0.5)]
    assert_unbiased(rows, truth, detects=0.12)


CROSSING = 2 * np.log(2) / (2 * np.log(2) - 1)


@pytest.mark.claim("cor-crossing", kind="symbolic")
def test_expected_norm_log_density_crosses_between_three_and_four_dimensions():
    """The midpoint's gap D/4 - (D-1)(log 2)/2 has, for sympy, one zero, 2 log 2/(2 log 2 - 1) = 3.5887."""
    d = sympy.symbols("D", positive=True)
    s_squared = sympy.Rational(1, 2)
    gap = (d - 1) / 2 * sympy.log(s_squared) + d / 2 * (1 - s_squared)
    assert sympy.simplify(gap - (d / 4 - (d - 1) * sympy.log(2) / 2)) == 0
    (zero,) = sympy.solve(gap, d)
    assert_close(float(zero), CROSSING, what="the dimension of the crossing")
    assert_close(CROSSING, 3.5887, rtol=2e-5, what="the dimension of the crossing, to five digits")
    for dimension in range(1, 101):
        middle, end = high_dimensions.expected_norm_log_density(np.array([0.5, 0.0]), dimension, "linear")
        assert_close(middle - end, float(gap.subs(d, dimension)), rtol=1e-8, what=f"the gap in {dimension} dimensions")
        assert (middle > end) == (dimension < CROSSING)


@pytest.mark.claim("cor-crossing")
def test_expected_norm_log_density_changes_sign_once_on_either_half_or_never():
    """On 2,000 points of the first half: no sign change for D ≤ 3, one for D ≥ 4, and earlier the larger D is."""
    alphas = np.linspace(0, 0.5, 2001)[1:]
    last = 1.0
    for dimension in (1, 2, 3, 4, 5, 10, 30, 100):
        end = high_dimensions.expected_norm_log_density(0.0, dimension, "linear")
        above = high_dimensions.expected_norm_log_density(alphas, dimension, "linear") > end
        assert above[0], dimension
        changes = np.flatnonzero(np.diff(above))
        assert len(changes) == (dimension > 3), dimension
        if len(changes):
            assert alphas[changes[0]] < last, dimension
            last = alphas[changes[0]]


@pytest.mark.claim("prop-ruler")
@dimensions
def test_norm_density_by_another_ruler_crosses_elsewhere(dimension):
    """Δ of |x|² and of log|x|, by quadrature of their log-densities over the chi law, are the stated ones."""
    f, log_f = high_dimensions.norm_density, high_dimensions.norm_log_density
    for s in np.sqrt([0.5, 0.7, 0.95]):
        by_square, by_log = (
            over_all_norms(
                lambda r, power=power, s=s: (
                    f(r, dimension) * (log_f(s * r, dimension) - log_f(r, dimension) + power * np.log(s))
                ),
                dimension,
            )
            for power in (-1, 1)
        )
        assert_close(by_square, (dimension - 2) * np.log(s) + dimension / 2 * (1 - s**2), rtol=1e-7, atol=1e-9)
        assert_close(by_log, dimension / 2 * (2 * np.log(s) + 1 - s**2), rtol=1e-7, atol=1e-9)
        assert by_log < 0
    crossing = 4 * np.log(2) / (2 * np.log(2) - 1)
    midpoint = (dimension - 2) / 2 * np.log(0.5) + dimension / 4
    assert (midpoint > 0) == (dimension < crossing)


@pytest.mark.claim("cor-crossing", kind="symbolic")
def test_expected_norm_log_density_rises_near_the_ends_in_every_dimension():
    """At α = 0 the gap has, for sympy, derivative 1 in every dimension: near the ends the line is always above."""
    d, alpha = sympy.symbols("D alpha", positive=True)
    s_squared = alpha**2 + (1 - alpha) ** 2
    gap = (d - 1) / 2 * sympy.log(s_squared) + d / 2 * (1 - s_squared)
    assert sympy.simplify(sympy.diff(gap, alpha).subs(alpha, 0)) == 1
    assert sympy.simplify(gap.subs(alpha, 1 - alpha) - gap) == 0
    for dimension in DIMENSIONS:
        step = 1e-3 / dimension  # the second-order term is at most 2D α² = 2e-3 α
        near = high_dimensions.expected_norm_log_density(np.array([0.0, step, 1 - step]), dimension, "linear")
        assert_close((near[1:] - near[0]) / step, [1.0, 1.0], rtol=3e-3, what="the slope at the ends")


# Bad input


@pytest.mark.parametrize("dimension", [0, -2, 2.5])
@pytest.mark.parametrize("name", ["norm_density", "norm_log_density", "distance_density"])
def test_densities_refuse_what_is_no_dimension(name, dimension):
    """The densities of a norm and of a distance need a positive integer D."""
    assert_refused(getattr(high_dimensions, name), 1.0, dimension, argument="dimension", value=dimension)


@pytest.mark.parametrize(
    ("name", "argument"), [("norm_density", "r"), ("norm_log_density", "r"), ("distance_density", "t")]
)
def test_densities_refuse_nan(name, argument):
    """A norm or a distance that is NaN is refused."""
    assert_refused(getattr(high_dimensions, name), np.array([1.0, np.nan]), 3, argument=argument, value=np.nan)


@pytest.mark.parametrize("name", ["norm_mean", "norm_mode"])
def test_norm_mean_and_mode_refuse_what_is_no_dimension(name):
    """The mean and the mode of the norm need a positive integer D."""
    assert_refused(getattr(high_dimensions, name), 0, argument="dimension", value=0)


@pytest.mark.parametrize("name", ["norm", "log_density"])
def test_functions_of_points_refuse_what_is_not_rows(name):
    """norm and log_density need an array of shape (n, d) without NaN."""
    function = getattr(high_dimensions, name)
    assert_refused(function, np.ones(3), argument="x", value=(3,))
    assert_refused(function, np.array([[1.0, np.nan]]), argument="x", value=np.nan)


@pytest.mark.parametrize("name", ["linear_path", "polar_path"])
def test_paths_refuse_bad_input(name):
    """Both paths end at α = 0 and 1, and join finite points of the same shape."""
    function, a = getattr(high_dimensions, name), np.ones((2, 3))
    for alpha in (-0.1, 1.1, np.nan):
        assert_refused(function, a, a, alpha, argument="alpha", value=alpha)
    assert_refused(function, a, np.ones((2, 1)), 0.5, argument="b", value=(2, 1))
    assert_refused(function, np.inf * a, a, 0.0, argument="a", value=np.inf)


@pytest.mark.parametrize("name", ["expected_log_density", "expected_norm_log_density"])
def test_expected_densities_refuse_bad_input(name):
    """The expectations along a path need an α in [0, 1], a positive integer D, and one of the two paths."""
    function = getattr(high_dimensions, name)
    for alpha in (-0.1, 1.1, np.nan):
        assert_refused(function, alpha, 3, "polar", argument="alpha", value=alpha)
    assert_refused(function, 0.5, 0, "linear", argument="dimension", value=0)
    assert_refused(function, 0.5, 3, "spherical", argument="path", value="spherical")


# What arrays may ask for


@pytest.mark.parametrize("dimension", [1_000, 100_000])
def test_many_dimensions_overflow_nothing(dimension):
    """At D = 1,000 and 100,000 every function of D is finite, and scipy's where scipy has it."""
    r = around_the_shell(dimension)
    t, root = np.sqrt(2) * r, np.sqrt(2)
    law = stats.chi(dimension)
    hint = {"Γ(D/2) overflows: work in logs": np.full(len(r), -np.inf)}
    got = high_dimensions.norm_log_density(r, dimension)
    # The terms are up to 10⁶ in size and cancel: 2e-10 of them may be lost, which is absolute in a logarithm.
    assert_close(got, law.logpdf(r), rtol=0, atol=1e-8, what="norm_log_density", mistakes=hint)
    assert_close(high_dimensions.norm_density(r, dimension), law.pdf(r), rtol=1e-8, what="norm_density")
    distances = high_dimensions.distance_density(t, dimension)
    assert_close(distances, law.pdf(t / root) / root, rtol=1e-8, what="distance_density")
    mean = high_dimensions.norm_mean(dimension)
    assert_close(mean, np.sqrt(dimension - 0.5 + 1 / (8 * dimension)), rtol=1e-10, what="norm_mean")
    for path, s2 in [("linear", 0.5), ("polar", 1.0)]:
        got = high_dimensions.expected_log_density(0.5, dimension, path)
        assert_close(got, -dimension / 2 * (np.log(2 * np.pi) + s2), what="expected_log_density")
        gap = np.subtract(*high_dimensions.expected_norm_log_density(np.array([0.5, 0.0]), dimension, path))
        want = (dimension - 1) / 2 * np.log(s2) + dimension / 2 * (1 - s2)
        assert_close(gap, want, rtol=1e-9, atol=1e-8, what="expected_norm_log_density, midpoint minus ends")


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_norm_log_density_is_minus_infinity_where_the_density_is_zero(dimension):
    """Below 0 and at ±∞ always, at 0 from two dimensions on; there the density of a distance is 0."""
    r = np.array([-np.inf, -1.0, 0.0, np.inf])
    at_zero = 0.5 * np.log(2 / np.pi) if dimension == 1 else -np.inf
    want = np.array([-np.inf, -np.inf, at_zero, -np.inf])
    assert_close(high_dimensions.norm_log_density(r, dimension), want, what=f"norm_log_density(r, {dimension})")
    zeros = high_dimensions.distance_density(r[[0, 1, 3]], dimension)
    assert_close(zeros, np.zeros(3), what=f"distance_density(t, {dimension}) where there is no distance")


def calls(whole):
    """Each function that takes an array, ready to be called with one made by `whole`."""
    points, others, r = (
        whole([[3, 4], [-5, 12], [0, 1]]),
        whole([[1, 2], [2, -2], [0, 7]]),
        whole([[1, 2, 3], [4, 5, 6]]),
    )
    return {
        "norm": (points,),
        "log_density": (points,),
        "norm_density": (r, 3),
        "norm_log_density": (r, 3),
        "distance_density": (r, 3),
        "linear_path": (points, others, 0.25),
        "polar_path": (points, others, 0.25),
    }


every_call = pytest.mark.parametrize("name", calls(np.array))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@every_call
def test_whole_numbers_are_numbers(name):
    """Arrays of integers, small ones too, give what the same numbers as floats give."""
    function, floats = getattr(high_dimensions, name), calls(lambda rows: np.array(rows, float))[name]
    for kind in (np.int64, np.int8):
        whole = calls(lambda rows, kind=kind: np.array(rows, kind))[name]
        assert_close(function(*whole), function(*floats), what=f"{name} of {np.dtype(kind)}")
    if name == "norm":
        assert_close(function(np.full((1, 2), 100, np.int8)), np.array([100 * np.sqrt(2)]), what="norm of int8 100s")


@every_call
def test_arguments_are_left_alone(name):
    """Arrays that must not be written to are not written to."""

    def locked(rows):
        array = np.array(rows, float)
        array.flags.writeable = False
        return array

    arguments, fresh = calls(locked)[name], calls(locked)[name]
    assert np.all(np.isfinite(getattr(high_dimensions, name)(*arguments)))
    assert all(np.array_equal(now, then) for now, then in zip(arguments, fresh, strict=True))


@every_call
def test_a_table_is_worked_entry_by_entry(name):
    """Rows (or entries) taken one by one give the rows of the whole."""
    function, (first, *rest) = getattr(high_dimensions, name), calls(lambda rows: np.array(rows, float))[name]
    whole = function(first, *rest)
    for i in range(len(first)):
        one = function(first[i : i + 1], *(x[i : i + 1] if isinstance(x, np.ndarray) else x for x in rest))
        assert_close(one, whole[i : i + 1], what=f"{name} of row {i} alone")


@pytest.mark.parametrize("dimension", [0, -2, 2.5])
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("norm_density", (1.0,), ()),
        ("norm_log_density", (1.0,), ()),
        ("distance_density", (1.0,), ()),
        ("norm_mean", (), ()),
        ("norm_mode", (), ()),
        ("expected_log_density", (0.5,), ("linear",)),
        ("expected_norm_log_density", (0.5,), ("linear",)),
    ],
)
def test_a_dimension_counts(name, before, after, dimension):
    """A dimension that is not 1, 2, 3, ... is refused by every function that takes one."""
    function = getattr(high_dimensions, name)
    assert_refused(function, *before, dimension, *after, argument="dimension", value=dimension)


@pytest.mark.parametrize("name", ["linear_path", "polar_path"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_paths_join_finite_points(name, bad):
    """NaN and ∞ are refused at either end."""
    function, good, wrong = getattr(high_dimensions, name), np.zeros((2, 2)), np.array([[0.0, 1.0], [bad, 0.0]])
    assert_refused(function, wrong, good, 0.5, argument="a", value=bad)
    assert_refused(function, good, wrong, 0.5, argument="b", value=bad)


@pytest.mark.parametrize("name", ["expected_log_density", "expected_norm_log_density"])
def test_one_bad_alpha_among_good_ones_is_refused(name):
    """The expectations refuse an array of positions if one of them is off the path."""
    assert_refused(getattr(high_dimensions, name), np.array([0.2, 1.5]), 3, "linear", argument="alpha", value=1.5)
