"""The mixture of standard Gaussians: against scipy, finite differences, quadrature and long draws."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from solutions import mixtures
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_frequencies, assert_unbiased

SQUARE = np.array([[0.0, 0.0], [0.0, 3.0], [3.0, 0.0], [3.0, 3.0]])
THREE = np.array([[-1.0, 2.0], [0.5, -4.0], [6.0, 1.0]])
LINE = np.array([[-2.0], [0.5], [1.0], [4.0], [9.0]])
ALONE = np.array([[1.0, -2.0, 0.5]])
everywhere = pytest.mark.parametrize("means", [SQUARE, THREE, LINE, ALONE], ids=["square", "three", "line", "alone"])
SHARP = 1e-11


def around(means, n=40):
    """Points on and off the means, as far as twelve standard deviations."""
    spread = np.random.default_rng(5).standard_normal((n, means.shape[1])) * np.linspace(0, 4, n)[:, None]
    return means[np.arange(n) % len(means)] + spread


def global_state():
    """The numbers that NumPy's global generator will go on from."""
    return np.random.get_state()[1].copy()  # noqa: NPY002


def logs_of_components(x, means):
    """log N(x; μᵢ, I), (n, k), by scipy."""
    return np.stack([stats.norm.logpdf(x - mean).sum(axis=1) for mean in means], axis=1)


# The density


@everywhere
def test_log_density_is_the_log_of_the_average_component(means):
    """log_density is the log of the mean of k scipy densities."""
    x = around(means)
    logs, d, k = logs_of_components(x, means), means.shape[1], len(means)
    want = special.logsumexp(logs, axis=1) - np.log(k)
    square = ((x[:, None] - means) ** 2).sum(axis=2)
    mistakes = {
        "do the weights sum to k, not to one? (1/k is missing)": want + np.log(k) if k > 1 else np.nan,
        "is this the mean of the logs, not the log of the mean?": logs.mean(axis=1) if k > 1 else np.nan,
        "is (2π)^{-d/2} missing?": want + d / 2 * np.log(2 * np.pi),
        "is the ½ in the exponent missing?": special.logsumexp(-square, axis=1) - np.log(k) - d / 2 * np.log(2 * np.pi),
        "is this the density, without its logarithm?": np.exp(want),
        "is this the likeliest component's alone, a maximum for the sum?": logs.max(axis=1) - np.log(k)
        if k > 1
        else np.nan,
    }
    assert_close(mixtures.log_density(x, means), want, rtol=SHARP, what="log_density(x, means)", mistakes=mistakes)


def test_log_density_integrates_to_one():
    """The density of five components on a line integrates to one, by adaptive quadrature."""
    total = integrate.quad(lambda u: np.exp(mixtures.log_density(np.array([[u]]), LINE)[0]), -12, 19, limit=200)[0]
    assert_close(total, 1.0, rtol=1e-9, what="the integral of exp(log_density)")


@pytest.mark.parametrize("far", [50.0, 1e4, 1e8])
def test_log_density_and_score_far_away(far):
    """A long way off all components, where each density underflows, the nearest one's parabola and slope remain."""
    x = np.array([[far, -far]])
    with np.errstate(all="ignore"):
        log_p, slope = mixtures.log_density(x, SQUARE)[0], mixtures.score(x, SQUARE)[0]
    assert np.isfinite(log_p), f"log_density at {x[0]} is {log_p}: exp underflows there; use logsumexp"
    assert np.all(np.isfinite(slope)), f"score at {x[0]} is {slope}, 0/0: use the logs of the weights"
    want = -0.5 * ((x[0] - [3.0, 0.0]) ** 2).sum() - np.log(4) - np.log(2 * np.pi)
    assert_close(log_p, want, rtol=SHARP, what="log_density far away")
    assert_close(slope, [3.0, 0.0] - x[0], rtol=SHARP, what="score far away")


def test_log_density_near_means_that_are_far_from_zero():
    """Moved by a million in every direction, points and means give what they gave at home, to 1e-8."""
    x = np.round(around(SQUARE), 3)
    home = mixtures.log_density(x, SQUARE)
    away = mixtures.log_density(x + 2.0**20, SQUARE + 2.0**20)
    assert_close(away, home, rtol=1e-8, what="log_density a million away (do not multiply |x - μ|² out)")


# Its slope


@everywhere
def test_score_is_the_slope_of_the_log_density(means):
    """score is the complex-step-free, central difference of scipy's log-density, to 1e-6."""
    x, h = around(means)[:25], 1e-5
    want = np.empty_like(x)
    for j in range(x.shape[1]):
        up, down = x.copy(), x.copy()
        up[:, j] += h
        down[:, j] -= h
        there, back = (special.logsumexp(logs_of_components(y, means), axis=1) for y in (up, down))
        want[:, j] = (there - back) / (2 * h)
    r = special.softmax(logs_of_components(x, means), axis=1)
    mistakes = {
        "is its sign reversed?": x - r @ means,
        "is it -x, without the pull of the means?": -x,
        "is -x missing?": r @ means,
        "has every component the same responsibility?": means.mean(axis=0) - x,
        "a component standard deviation of 2: is the score divided by its square?": (r @ means - x) / 4,
    }
    got = mixtures.score(x, means)
    assert_close(got, want, rtol=1e-6, atol=1e-6, what="score(x, means)", mistakes=mistakes)


@everywhere
def test_responsibilities_are_bayes_rule(means):
    """responsibilities are the softmax of scipy's log-densities; each row sums to one."""
    x = around(means)
    want = special.softmax(logs_of_components(x, means), axis=1)
    logs = logs_of_components(x, means)
    mistakes = {
        "are they normalised over the points, not over the components?": special.softmax(logs, axis=0),
        "are they not normalised?": np.exp(logs),
        "is each one rounded to 0 or 1?": np.eye(len(means))[logs.argmax(axis=1)],
        "are they the same everywhere, the prior's?": np.full_like(want, 1 / len(means)),
    }
    got = mixtures.responsibilities(x, means)
    assert_close(got, want, rtol=1e-9, atol=1e-15, what="responsibilities(x, means)", mistakes=mistakes)


def test_responsibilities_far_away_go_to_the_nearest():
    """At a point where every density underflows the nearest component takes all, and nothing is 0/0."""
    with np.errstate(all="ignore"):
        got = mixtures.responsibilities(np.array([[1e3, -1e3]]), SQUARE)
    assert np.all(np.isfinite(got)), f"responsibilities far away are {got}, 0/0: work in logs"
    assert_close(got, [[0.0, 0.0, 1.0, 0.0]], atol=1e-12, what="responsibilities far away")


@everywhere
def test_target_is_log_density_and_score_in_one(means):
    """target(means)(x) is what log_density and score say of x, as a pair in this order."""
    x = around(means)
    pair = mixtures.target(means)(x)
    assert isinstance(pair, tuple), f"target(means)(x) should be a pair, got {type(pair).__name__}"
    logs = special.logsumexp(logs_of_components(x, means), axis=1) - np.log(len(means))
    slope = special.softmax(logs_of_components(x, means), axis=1) @ means - x
    assert_close(pair[0], logs, rtol=SHARP, what="the log-density that target returns")
    assert_close(pair[1], slope, rtol=1e-9, atol=1e-9, what="the score that target returns")


def test_target_keeps_the_means_it_was_given():
    """A target does not change when the array it was made from does, nor does it change x."""
    means, x = SQUARE.copy(), around(SQUARE)
    law, before = mixtures.target(means), x.copy()
    want = law(x)[0]
    means += 1
    assert_close(law(x)[0], want, what="a target whose means were changed afterwards (copy them)")
    assert_close(x, before, what="x, after target(means)(x)")


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda x: np.repeat(x, 2, axis=0)[::2], np.float32])
def test_target_takes_any_layout(layout):
    """Columns stored one after the other, every other row of an array, and single precision give the same."""
    x = np.round(around(SQUARE) * 64) / 64
    assert_close(mixtures.target(SQUARE)(layout(x))[1], mixtures.score(x, SQUARE), what="score", rtol=1e-12, atol=1e-12)


def test_log_density_and_score_of_integers():
    """Integer points and means are as good as others; read-only ones as well."""
    x, means = np.array([[1, 2], [3, -1]]), SQUARE.astype(int)
    x.flags.writeable = means.flags.writeable = False
    want = special.logsumexp(logs_of_components(x.astype(float), SQUARE), axis=1) - np.log(4)
    assert_close(mixtures.log_density(x, means), want, rtol=SHARP, what="log_density of integers")
    slope = special.softmax(logs_of_components(x.astype(float), SQUARE), axis=1) @ SQUARE - x
    assert_close(mixtures.score(x, means), slope, rtol=1e-9, atol=1e-12, what="score of integers")


# Draws


def test_draw_gives_each_component_its_share(rng):
    """Of 60,000 draws each of three components has a third (χ²)."""
    _, component = mixtures.draw(rng, THREE, 60_000)
    counts = np.bincount(component, minlength=3)
    hints = {"all draws from one component": [1, 0, 0]}
    assert_frequencies(counts, np.full(3, 1 / 3), detects=0.05, hints=hints)


@pytest.mark.parametrize("means", [SQUARE, THREE], ids=["square", "three"])
def test_draw_puts_standard_noise_around_the_component_it_names(rng, means):
    """x - μ_c is N(0, I): mean 0, all second moments those of the identity, and uncorrelated with c."""
    x, component = mixtures.draw(rng, means, 40_000)
    z = x - means[component]
    moments = np.column_stack([z, z**2, z[:, :1] * z[:, 1:], z * (component[:, None] - component.mean())])
    hints = {
        "a component standard deviation of 2, not 1": [0, 0, 4, 4, 0, 0, 0],
        "a component standard deviation of 4, not 1": [0, 0, 16, 16, 0, 0, 0],
        "draws without their noise": np.zeros(7),
        "the same noise in both coordinates": [0, 0, 1, 1, 1, 0, 0],
    }
    assert_unbiased(moments, [0, 0, 1, 1, 0, 0, 0], detects=0.1, hints=hints)


def test_draw_has_gaussian_noise(rng):
    """The first coordinate of x - μ_c has the normal distribution function."""
    x, component = mixtures.draw(rng, THREE, 20_000)
    assert_distribution((x - THREE[component])[:, 0], stats.norm.cdf, detects=0.03)


def test_draw_is_independent_from_one_row_to_the_next(rng):
    """Products of neighbouring rows' noise and components have mean zero."""
    x, component = mixtures.draw(rng, SQUARE, 40_001)
    z, c = x - SQUARE[component], component - 1.5
    assert z[:, 0].std() > 0.5, "the same noise for all rows"
    assert np.any(c[1:] == c[:-1]), "the components take turns: the same one never comes twice"
    products = np.column_stack([z[1:] * z[:-1], c[1:] * c[:-1]])[::2]
    assert_unbiased(products, [0, 0, 0], detects=0.15)


def test_draw_returns_points_and_their_components(rng):
    """n points in rows, and n indices of components; of one draw too, and of one component."""
    for means, n in [(THREE, 7), (LINE, 1), (ALONE, 3)]:
        result = mixtures.draw(rng, means, n)
        assert isinstance(result, tuple), "draw should return (x, component)"
        x, component = result
        assert x.shape == (n, means.shape[1]), f"x should have shape {(n, means.shape[1])}, got {x.shape}"
        assert component.shape == (n,), f"component should have shape {(n,)}, got {component.shape}"
        assert component.dtype.kind == "i", f"component should be integers, got {component.dtype}"
        assert set(component) <= set(range(len(means))), f"component should count from 0, got {component}"


def test_draw_uses_the_generator_it_is_given():
    """The same generator gives the same draws, another one others; means and the global generator stay as they are."""
    means, state = THREE.copy(), global_state()
    one, same, other = (mixtures.draw(np.random.default_rng(seed), means, 9)[0] for seed in (1, 1, 2))
    assert np.array_equal(means, THREE), "draw changed the means: does the component's index overwrite them?"
    assert np.array_equal(one, same), "two generators with one seed gave different draws: is another one used?"
    assert not np.array_equal(one, other), "two seeds gave the same draws: is the generator used?"
    assert np.array_equal(state, global_state()), "draw moved NumPy's global generator"


# Averages


def test_expectation_of_powers():
    """E x, E x², E x⁴ and E x₁x₂ of the mixture, from the moments of a Gaussian."""

    def f(x):
        return np.column_stack([x, x**2, x**4, x[:, 0] * x[:, 1]])

    fourth = (THREE**4 + 6 * THREE**2 + 3).mean(axis=0)
    want = [*THREE.mean(axis=0), *(THREE**2 + 1).mean(axis=0), *fourth, (THREE[:, 0] * THREE[:, 1]).mean()]
    assert_close(mixtures.expectation(f, THREE), want, rtol=1e-12, atol=1e-12, what="expectation of powers")


def test_expectation_of_a_wave_and_of_arrays():
    """E cos(tx) on the line is the real part of the characteristic function; results keep their shape."""
    t = np.array([[0.5, 1.0], [2.0, 4.0]])
    got = mixtures.expectation(lambda x: np.cos(t * x[:, :, None]), LINE)
    want = (np.cos(t[:, :, None] * LINE[:, 0]) * np.exp(-(t[:, :, None] ** 2) / 2)).mean(axis=2)
    assert_close(got, want, rtol=1e-11, atol=1e-13, what="expectation of cos(tx)")
    assert_close(mixtures.expectation(lambda x: np.ones(len(x)), SQUARE), 1.0, what="expectation of 1")


@pytest.mark.parametrize("means", [SQUARE, LINE[::2], np.array([[0.0], [0.7]])], ids=["square", "line", "close"])
def test_fisher_information_is_the_average_curvature(means):
    """fisher_information is −E ∇²log p, by central differences of scipy's densities on a Gauss-Hermite grid."""
    size, d, h = means.size, means.shape[1], 1e-3
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    grid = np.stack(np.meshgrid(*[nodes] * d), axis=-1).reshape(-1, d)
    weight = np.prod(np.meshgrid(*[weights / weights.sum()] * d), axis=0).ravel()
    x = np.concatenate([(mean + grid)[weight > 1e-12] for mean in means])
    weight = np.tile(weight[weight > 1e-12], len(means)) / len(means)

    def average_log_p(step):
        return weight @ special.logsumexp(logs_of_components(x, means + step.reshape(means.shape)), axis=1)

    axes, want = h * np.eye(size), np.empty((size, size))
    for i, j in np.ndindex(size, size):
        plus, minus = axes[i] + axes[j], axes[i] - axes[j]
        fall = average_log_p(minus) + average_log_p(-minus) - average_log_p(plus) - average_log_p(-plus)
        want[i, j] = fall / (4 * h**2)
    mistakes = {
        "is it the bound, its inverse?": np.linalg.inv(want),
        "is 1/k forgotten, a sum over components for their mean?": len(means) * want,
        "is it the identity, as if the components were known?": np.eye(size) / len(means),
    }
    got = mixtures.fisher_information(means)
    assert_close(got, want, rtol=1e-4, atol=1e-5, what="fisher_information(means)", mistakes=mistakes)


def test_fisher_information_of_one_component_is_the_identity():
    """A single Gaussian has I = 1; components a long way from each other have 1/k on the diagonal each."""
    assert_close(mixtures.fisher_information(np.array([[2.0, -1.0]])), np.eye(2), atol=1e-12, what="I")
    apart = np.array([[0.0, 0.0], [40.0, 0.0], [0.0, 40.0]])
    assert_close(mixtures.fisher_information(apart), np.eye(6) / 3, atol=1e-12, what="I of components far apart")


# What is refused

BAD_MEANS = [
    (np.array([[0.0, np.nan], [1.0, 1.0]]), "nan"),
    (np.array([[0.0, np.inf]]), "inf"),
    (np.array([1.0, 2.0]), "(2,)"),
    (np.zeros((0, 2)), "(0, 2)"),
    (np.zeros((2, 0)), "(2, 0)"),
]


@pytest.mark.parametrize(("means", "shown"), BAD_MEANS)
@pytest.mark.parametrize("name", ["draw", "log_density", "score", "responsibilities", "target", "fisher_information"])
def test_bad_means_are_refused(name, means, shown):
    """NaN, ∞, a flat array, no components and no coordinates are refused by every function, in words."""
    function = getattr(mixtures, name)
    before = {"draw": (np.random.default_rng(0),), "target": (), "fisher_information": ()}.get(name, (SQUARE,))
    after = (3,) if name == "draw" else ()
    assert_refused(function, *before, means, *after, argument="means", value=shown)


@pytest.mark.parametrize("name", ["log_density", "score", "responsibilities"])
def test_points_that_do_not_fit_are_refused(name):
    """NaN and ∞ in x, a flat x, and x with another number of columns than the means."""
    function = getattr(mixtures, name)
    assert_refused(function, np.array([[0.0, np.nan]]), SQUARE, argument="x", value="nan")
    assert_refused(function, np.array([[0.0, np.inf]]), SQUARE, argument="x", value="inf")
    assert_refused(function, np.zeros(2), SQUARE, argument="x", value="(2,)")
    assert_refused(function, np.zeros((4, 3)), SQUARE, argument="means", value="2")
    assert_refused(function, np.zeros((4, 1)), SQUARE, argument="means", value="2")


@pytest.mark.parametrize("means", [SQUARE, LINE, ALONE], ids=["plane", "line", "space"])
def test_target_refuses_points_of_another_dimension(means):
    """A law in one dimension, two or three says so when it is given points of another, and broadcasts none of them."""
    for columns in {1, 2, 3} - {means.shape[1]}:
        law = mixtures.target(means)
        assert_refused(law, np.zeros((4, columns)), argument="x", value=f"(4, {columns})")
    assert_refused(mixtures.target(means), np.zeros(3), argument="x", value="(3,)")


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_draw_refuses_what_is_no_count(n):
    """Half a draw, none, or less."""
    assert_refused(mixtures.draw, np.random.default_rng(0), SQUARE, n, argument="n", value=n)


def test_expectation_refuses_more_than_two_dimensions():
    """The grid would have 145 cubed nodes around each mean."""
    assert_refused(mixtures.expectation, lambda x: x, np.zeros((1, 3)), argument="dimension", value=3)
