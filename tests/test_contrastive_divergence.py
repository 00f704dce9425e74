"""Fits by sampling against automatic derivatives, quadrature, linear recursions, and chains on a few states."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, linalg, optimize, special, stats

from solutions import contrastive_divergence, mixtures
from tests.diagnose import assert_close, assert_refused
from tests.honest import (
    assert_distribution,
    assert_frequencies,
    assert_mean,
    assert_proportion,
    assert_unbiased,
    assert_variance,
)

# Sums of a hundred terms of size 1 to 10, each rounded by 1e-16 of itself.
SHARP = 1e-10
# Chains with this step move by √(2ε) z, 1e-6 at the most: they stay where they start.
TINY, HARDLY = 1e-14, 1e-5

# A problem of one's own: three means that form no square, and points among and around them.
MEANS = np.array([[0.5, -1.0], [2.0, 1.5], [-1.5, 1.0]])
POINTS = np.array([[0.0, 0.25], [1.5, -2.0], [3.0, 3.0], [-2.0, 0.5], [0.75, 0.5]])


def torched(x):
    """A tensor of float64."""
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def log_model(x, means):
    """Log p~, (n,), of tensors."""
    return torch.logsumexp(-0.5 * ((x[:, None, :] - means) ** 2).sum(dim=2), dim=1)


def responsibilities(x, means):
    """P(component | x), (n, k), through scipy's softmax."""
    return special.softmax(-0.5 * ((x[:, None, :] - means) ** 2).sum(axis=2), axis=1)


def slopes(x, means):
    """∇ log p~ in the means, raveled, a row for each x."""
    return (responsibilities(x, means)[:, :, None] * (x[:, None, :] - means)).reshape(len(x), -1)


def score(x, means):
    """∇ log p in x, a row for each."""
    return responsibilities(x, means) @ means - x


def global_state(moved=True):
    """NumPy's global state, after a draw, so that no seed has just been set."""
    if moved:
        np.random.random()  # noqa: NPY002
    _, key, place, *_ = np.random.get_state()  # noqa: NPY002
    return key.tolist(), place


def mean_log_likelihood(x, means):
    """The mean over x of log p~, which is that of log p up to a constant."""
    return special.logsumexp(-0.5 * ((x[:, None, :] - means) ** 2).sum(axis=2), axis=1).mean()


def apart(mistakes, want):
    """The mistakes that would show here."""
    return {why: value for why, value in mistakes.items() if np.shape(value) != np.shape(want) or np.any(value != want)}


# The gradient


def mistakes_in_mean_gradient(x, means):
    """What people compute when they mean the mean slope in the means, and why."""
    away = x[:, None, :] - means
    squares = (away**2).sum(axis=2)
    r = responsibilities(x, means)

    def weighted(weights):
        return np.einsum("nk,nkd->kd", weights, away) / len(x)

    nearest = np.eye(len(means))[squares.argmin(axis=1)]
    return {
        "are the responsibilities missing, so that each mean is pulled by every point?": weighted(np.ones_like(r)),
        "is the distance not squared in the responsibilities?": weighted(special.softmax(-np.sqrt(squares) / 2, 1)),
        "is the ½ missing in the responsibilities?": weighted(special.softmax(-squares, axis=1)),
        "are the responsibilities not normalised over the components?": weighted(np.exp(-squares / 2)),
        "are the responsibilities normalised over the points, not over the components?": weighted(
            special.softmax(-squares / 2, axis=0)
        ),
        "is it divided by the sum of the responsibilities, which is the step of EM?": weighted(r)
        * len(x)
        / r.sum(axis=0)[:, None],
        "does each point pull its nearest mean alone?": weighted(nearest),
        "is it the sum over the points, not the mean?": weighted(r) * len(x),
        "is it the slope at one point, not the mean over the points?": r[-1][:, None] * away[-1],
        "is it the slope at the first point, not the mean over the points?": r[0][:, None] * away[0],
        "is the sum over the points not divided by n, but by k?": weighted(r) * len(x) / len(means),
        "is this x weighted, without the mean taken off?": np.einsum("nk,nd->kd", r, x) / len(x),
    }


def test_mean_gradient_is_the_weighted_mean_of_the_ways_to_the_points():
    """1/n Σⱼ rᵢ(xⱼ)(xⱼ − μᵢ) for five points and three means, with scipy's softmax for r."""
    want = slopes(POINTS, MEANS).mean(axis=0).reshape(3, 2)
    got = contrastive_divergence.mean_gradient(POINTS, MEANS)
    mistakes = mistakes_in_mean_gradient(POINTS, MEANS)
    assert_close(got, want, rtol=SHARP, atol=1e-14, what="mean_gradient(x, means)", mistakes=mistakes)


@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (1, 4, 2), (6, 1, 3), (7, 2, 1), (2, 5, 2), (40, 3, 4)])
def test_mean_gradient_is_the_automatic_gradient(rng, n, k, d):
    """PyTorch's gradient of the mean of log Σᵢ exp(−|x − μᵢ|²/2) in the means, for several shapes."""
    x, means = 2 * rng.standard_normal((n, d)), 2 * rng.standard_normal((k, d))
    at = torched(means).requires_grad_()
    log_model(torched(x), at).mean().backward()
    got = contrastive_divergence.mean_gradient(x, means)
    mistakes = apart(mistakes_in_mean_gradient(x, means), at.grad.numpy())
    what = f"mean_gradient of {n} points and {k} means in {d} dimension(s)"
    assert_close(got, at.grad, rtol=SHARP, atol=1e-12, what=what, mistakes=mistakes)


def test_mean_gradient_far_from_every_mean():
    """Points 10³ and 10⁸ from all the means pull the nearest alone: nothing is 0/0, and nothing overflows."""
    x = np.array([[1e3, 0.0], [-1e8, 1.0]])
    want = np.array([[-1e8 - 0.0, 1.0 - 0.0], [1e3 - 3.0, 0.0 - 0.0]]) / 2
    with np.errstate(all="ignore"):
        got = contrastive_divergence.mean_gradient(x, np.array([[0.0, 0.0], [3.0, 0.0]]))
    assert np.all(np.isfinite(got)), f"far from every mean the responsibilities are 0/0: work in logarithms (got {got})"
    assert_close(got, want, rtol=SHARP, what="mean_gradient far from every mean")


def test_mean_gradient_of_equal_means_is_shared():
    """Two means in one place share what one alone would get, for all data that are alike."""
    x = np.array([[1.0, 2.0], [3.0, -1.0]])
    got = contrastive_divergence.mean_gradient(x, np.zeros((2, 2)))
    assert_close(got, [[1.0, 0.25], [1.0, 0.25]], rtol=SHARP, what="mean_gradient of two means at 0")


@pytest.mark.claim("thm-gradient-log-z")
def test_mean_gradient_of_the_data_less_that_of_the_model_is_the_slope_of_the_likelihood(rng):
    """Data mean − model mean of ∇ log p~ is the difference quotient of mean log p~ − log Z, Z by quadrature in 1-D."""
    data, means = rng.normal(0.0, 2.0, (9, 1)), np.array([[-1.2], [0.3], [2.0]])
    grid = np.linspace(-16, 16, 3201)[:, None]  # the trapezoid rule on smooth bells: exact to rounding

    def log_likelihood(flat):
        z = special.logsumexp(-0.5 * (grid - flat) ** 2, axis=1)
        return mean_log_likelihood(data, flat[:, None]) - special.logsumexp(z) - np.log(0.01)

    steps = 1e-5 * np.eye(3)
    want = [(log_likelihood(means[:, 0] + e) - log_likelihood(means[:, 0] - e)) / 2e-5 for e in steps]
    weights = special.softmax(special.logsumexp(-0.5 * (grid - means[:, 0]) ** 2, axis=1))
    got = contrastive_divergence.mean_gradient(data, means)[:, 0] - weights @ slopes(grid, means)
    # Values of size 10 are rounded by 1e-15, over 2e-5; third derivatives add 1e-10.
    assert_close(got, want, rtol=1e-7, atol=1e-8, what="data mean − model mean")


@pytest.mark.claim("thm-gradient-log-z")
@pytest.mark.parametrize("model", ["quartic", "mixture of unknown width"])
def test_gradient_of_log_z_is_the_model_mean_of_the_slope(model):
    """Where Z depends on the parameter: E ∇log p~, by quadrature, is the difference quotient of log ∫ p~."""

    def log_p(x, a, b):
        if model == "quartic":
            return -a * x**2 - b * x**4
        return np.logaddexp(-((x - b) ** 2) / (2 * a), -((x + 2.0) ** 2) / (2 * a))

    def log_z(a, b):
        return np.log(integrate.quad(lambda x: np.exp(log_p(x, a, b)), -25, 25, epsabs=0, epsrel=1e-12, limit=400)[0])

    at, h = np.array([0.7, 0.4]), 1e-4
    quotient = [(log_z(*(at + e)) - log_z(*(at - e))) / (2 * h) for e in h * np.eye(2)]
    mean, level = [], log_z(*at)
    for i in range(2):

        def weighted(x, i=i):
            a = [torched(v).requires_grad_() for v in at]
            if model == "quartic":
                value = -a[0] * x**2 - a[1] * x**4
            else:
                value = torch.logaddexp(-((x - a[1]) ** 2) / (2 * a[0]), -((x + 2.0) ** 2) / (2 * a[0]))
            slope = torch.autograd.grad(value, a)[i]
            return float(slope) * np.exp(log_p(x, *at) - level)

        x = np.arange(-15, 15, 1 / 8)  # the trapezoid rule for a smooth bell
        mean.append(sum(weighted(v) for v in x) / 8)
    # The quotient is off by h²/6 of a third derivative of size 10.
    assert_close(mean, quotient, rtol=1e-6, atol=1e-7, what="E ∇log p~")
    assert np.abs(quotient).max() > 0.1


@pytest.mark.claim("thm-gradient-log-z", kind="symbolic")
def test_gradient_of_log_z_of_a_normal_law_of_unknown_variance():
    """sympy: for p~ = exp(−x²/(2v)), log Z = ½ log 2πv, whose slope 1/(2v) is E x²/(2v²)."""
    x, v = sympy.symbols("x v", positive=True)
    p = sympy.exp(-(x**2) / (2 * v))
    z = 2 * sympy.integrate(p, (x, 0, sympy.oo))
    assert sympy.simplify(z - sympy.sqrt(2 * sympy.pi * v)) == 0
    mean = 2 * sympy.integrate(sympy.diff(sympy.log(p), v) * p / z, (x, 0, sympy.oo))
    assert sympy.simplify(mean - sympy.diff(sympy.log(z), v)) == 0
    assert sympy.simplify(mean - 1 / (2 * v)) == 0


@pytest.mark.claim("prop-negative-phase")
def test_mean_gradient_under_the_model_is_zero(rng):
    """E r(x)(x − μ) = 0 for random means, by quadrature with PyTorch's slopes: Z depends on none of them."""
    for k, d in [(1, 2), (2, 1), (3, 2), (4, 2)]:
        means = rng.uniform(-2, 2, (k, d))

        def slope(x, means=means):
            at = torched(means)[None].expand(len(x), *means.shape).clone().requires_grad_()
            value = torch.logsumexp(-0.5 * ((torched(x)[:, None, :] - at) ** 2).sum(dim=2), dim=1)
            return torch.autograd.grad(value.sum(), at)[0].numpy()

        assert_close(mixtures.expectation(slope, means), np.zeros((k, d)), atol=1e-11, what="E ∇log p~ in the means")


@pytest.mark.claim("prop-negative-phase")
def test_mean_gradient_of_direct_negatives_has_mean_zero_and_the_information_as_covariance(rng):
    """Over 20,000 draws of n = 25 negatives, E ḡ = 0 and n E ḡḡᵀ = I, the Fisher information."""
    means, n = np.array([[-1.0], [1.5]]), 25
    draws = contrastive_divergence.direct(20_000 * n)(rng, np.zeros((3, 1)), means)[1]
    g = slopes(draws, means).reshape(-1, n, 2).mean(axis=1)
    for i in range(20):
        got = contrastive_divergence.mean_gradient(draws[i * n : (i + 1) * n], means)
        assert_close(got[:, 0], g[i], rtol=SHARP, atol=1e-12, what="mean_gradient of 25 negatives")
    assert_unbiased(g, [0.0, 0.0], detects=0.02)
    products = n * np.column_stack([g[:, 0] ** 2, g[:, 0] * g[:, 1], g[:, 1] ** 2])
    information = mixtures.fisher_information(means)[[0, 0, 1], [0, 1, 1]]
    assert_unbiased(products, information, detects=0.1, hints={"n is missing, or there twice": information * n})


@pytest.mark.claim("prop-rate-one", kind="automatic differentiation")
@pytest.mark.parametrize(("k", "d", "n"), [(1, 2, 5), (2, 1, 6), (3, 2, 8), (4, 2, 30)])
def test_mean_gradient_steps_below_rate_two_never_descend(rng, k, d, n):
    """PyTorch's Hessian is ⪰ −diag(r̄) ⪰ −1; a step η of the exact gradient G gains at least η(1 − η/2)|G|²."""
    for spread in (0.3, 1.0, 4.0):
        x, means = spread * rng.standard_normal((n, d)), spread * rng.standard_normal((k, d))
        flat = torched(means.ravel())
        hessian = torch.autograd.functional.hessian(
            lambda m, x=x: log_model(torched(x), m.reshape(k, d)).mean(), flat
        ).numpy()
        shares = responsibilities(x, means).mean(axis=0)
        lowest = np.linalg.eigvalsh(hessian + np.kron(np.diag(shares), np.eye(d))).min()
        assert lowest > -1e-10, f"the Hessian is below −diag(r̄) by {lowest}"
        assert np.linalg.eigvalsh(hessian).min() > -1 - 1e-10
        if k == 1:
            assert_close(hessian, -np.eye(d), rtol=SHARP, atol=SHARP, what="the Hessian of one Gaussian")
        g = contrastive_divergence.mean_gradient(x, means)
        for rate in (0.1, 0.5, 1.0, 1.5, 1.99):
            gain = mean_log_likelihood(x, means + rate * g) - mean_log_likelihood(x, means)
            least = rate * (1 - rate / 2) * (g**2).sum()
            assert gain >= least - 1e-10, f"a step of rate {rate} gains {gain}, less than {least}"
            if k == 1:
                assert_close(gain, least, rtol=1e-7, atol=1e-10, what="what a step gains for one Gaussian")


@pytest.mark.claim("prop-em-ascent")
def test_mean_gradient_over_the_shares_is_the_step_of_em(rng):
    """μᵢ + (mean_gradient)ᵢ/r̄ᵢ is Σⱼ rᵢ xⱼ/Σⱼ rᵢ, and the likelihood never falls, over 30 steps from three starts."""
    x = np.concatenate([rng.normal(-2, 1, (12, 2)), rng.normal(2, 1, (9, 2))])
    for _ in range(3):
        means = rng.normal(0, 3, (3, 2))
        before = mean_log_likelihood(x, means)
        for _ in range(30):
            r = responsibilities(x, means)
            want = np.array([np.average(x, axis=0, weights=r[:, i]) for i in range(3)])
            step = contrastive_divergence.mean_gradient(x, means) / r.mean(axis=0)[:, None]
            assert_close(means + step, want, rtol=1e-8, atol=1e-9, what="μ + gradient/r̄")
            means = want
            after = mean_log_likelihood(x, means)
            assert after >= before - 1e-12
            before = after


def test_mean_gradient_refuses_what_is_no_table():
    """No rows, other columns, NaN, ±∞ and a single point without its row are refused."""
    f, good = contrastive_divergence.mean_gradient, np.zeros((2, 2))
    assert_refused(f, np.zeros((0, 2)), good, argument="x", value=(0, 2))
    assert_refused(f, np.zeros(2), good, argument="x", value=(2,))
    assert_refused(f, good, np.zeros(2), argument="means", value=(2,))
    assert_refused(f, good, np.zeros((0, 2)), argument="means", value=(0, 2))
    assert_refused(f, good, np.zeros((2, 3)), argument="means", value=3)
    assert_refused(f, good, np.zeros((2, 1)), argument="means", value=1)
    for bad in (np.nan, np.inf, -np.inf):
        wrong = np.array([[0.0, 1.0], [bad, 2.0]])
        assert_refused(f, wrong, good, argument="x", value=bad)
        assert_refused(f, good, wrong, argument="means", value=bad)


# Relabelling


def mistakes_in_distance(errors):
    """What people call the distance of means that are in the right order."""
    lengths = np.linalg.norm(errors, axis=1)
    return {
        "is it the sum of the distances of the pairs?": lengths.sum(),
        "is it the mean of the distances of the pairs?": lengths.mean(),
        "is the square root missing?": (lengths**2).sum(),
        "is it divided by √k, a root mean square?": np.sqrt((lengths**2).mean()),
        "is it the largest of the distances?": lengths.max(),
        "is it the mean square?": (lengths**2).mean(),
    }


def test_match_undoes_an_order():
    """Each truth gets its own mean, after a cycle of three, and the distance is √(Σ |error|²)."""
    truth = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 7.0], [9.0, 9.0]])
    errors = np.array([[0.1, 0.2], [-0.3, 0.0], [0.0, 0.4], [0.5, -0.5]])
    for order in ([0, 1, 2, 3], [1, 2, 0, 3], [2, 0, 1, 3], [3, 0, 1, 2]):
        shuffled = (truth + errors)[order]
        got = contrastive_divergence.match(shuffled, truth)
        mistakes = {
            "are they in the order they came in?": shuffled,
            "is it the inverse of the order that was asked for?": shuffled[order],
            "is this the truth itself?": truth,
        }
        mistakes = {why: value for why, value in mistakes.items() if not np.array_equal(value, truth + errors)}
        assert_close(got.means, truth + errors, rtol=SHARP, what=f"match(means[{order}]).means", mistakes=mistakes)
        mistakes = mistakes_in_distance(errors) | {
            "are they compared in the order they came in?": np.linalg.norm(shuffled - truth)
        }
        mistakes = {why: value for why, value in mistakes.items() if abs(value - np.linalg.norm(errors)) > 1e-6}
        what = f"match(means[{order}]).distance"
        assert_close(got.distance, np.linalg.norm(errors), rtol=SHARP, what=what, mistakes=mistakes)


def test_match_gives_each_truth_a_mean_of_its_own():
    """Of −5 and 1.4, the truths 0 and 3 get −5 and 1.4: the nearest for each, or greedily, is not the least error."""
    means, truth = np.array([[1.4], [-5.0]]), np.array([[0.0], [3.0]])
    got = contrastive_divergence.match(means, truth)
    mistakes = {
        "did two truths get the same mean?": [[1.4], [1.4]],
        "was the nearest pair matched first, and the others with what is left?": [[1.4], [-5.0]],
    }
    assert_close(got.means, [[-5.0], [1.4]], what="match(means, truth).means", mistakes=mistakes)
    assert_close(got.distance, np.sqrt(25 + 1.6**2), what="match(means, truth).distance")


def test_match_minimises_squares_not_distances():
    """Errors 1.04 and 1.1 beat errors 0 and 2.12: less in squares, though more in distances."""
    truth, means = np.array([[0.0, 0.3], [1.0, 0.0]]), np.array([[1.0, 0.0], [2.1, 0.0]])
    got = contrastive_divergence.match(means, truth)
    mistakes = {"is the sum of distances minimised, not of their squares?": means[::-1]}
    assert_close(got.means, means, what="match(means, truth).means", mistakes=mistakes)
    assert_close(got.distance, np.sqrt(1.09 + 1.21), what="match(means, truth).distance")


@pytest.mark.parametrize(("k", "d"), [(1, 2), (2, 1), (3, 3), (5, 2), (6, 1), (7, 2)])
def test_match_is_the_best_of_all_orders(rng, k, d):
    """Of random means and truths that have nothing to do with each other, the best of all k! orders."""
    for _ in range(5):
        means, truth = rng.standard_normal((2, k, d))
        orders = [means[list(order)] for order in itertools.permutations(range(k))]
        best = min(orders, key=lambda m: ((m - truth) ** 2).sum())
        got = contrastive_divergence.match(means, truth)
        mistakes = mistakes_in_distance(best - truth)
        if k > 1:
            assert_close(got.distance, np.linalg.norm(best - truth), what="the distance", mistakes=mistakes)
        assert_close(got.means, best, what=f"{k} means in the order of the truth")


def test_match_of_the_printed_means_says_that_two_corners_were_missed():
    """The three times printed means of the square lie 4.431 from it: (3, 0) and (3, 3) have no mean near them."""
    printed = np.array(
        [[-0.31091859, 0.03061885], [-0.01691787, 3.00878443], [-0.981965, 2.99639136], [-0.0769686, -0.04974094]]
    )
    got = contrastive_divergence.match(printed, mixtures.SQUARE)
    assert_close(got.distance, 4.431, rtol=2e-4, what="match(printed, SQUARE).distance, to four digits")
    want = min(
        (printed[list(p)] for p in itertools.permutations(range(4))), key=lambda m: np.sum((m - mixtures.SQUARE) ** 2)
    )
    assert_close(got.means, want, what="match(printed, SQUARE).means")


def test_match_returns_an_array_of_its_own():
    """Writing on what came back changes neither the means nor the truth."""
    means, truth = np.array([[1.0, 2.0]]), np.array([[1.0, 2.5]])
    contrastive_divergence.match(means, truth).means[:] = 9
    assert_close(means, [[1.0, 2.0]], what="means, after the result was written on")
    assert_close(truth, [[1.0, 2.5]], what="truth, after the result was written on")


def test_match_refuses_what_cannot_be_matched():
    """Different shapes, nothing at all, and NaN are refused."""
    f = contrastive_divergence.match
    for other in [(2, 2), (3, 1), (1, 2)]:
        assert_refused(f, np.zeros((3, 2)), np.zeros(other), argument="truth", value=other)
    assert_refused(f, np.array([[np.nan]]), np.zeros((1, 1)), argument="means", value=np.nan)
    assert_refused(f, np.zeros((1, 1)), np.array([[np.inf]]), argument="truth", value=np.inf)
    assert_refused(f, np.zeros(3), np.zeros((3, 1)), argument="means", value=(3,))


# Negatives

KINDS = {
    "direct": lambda n, **more: contrastive_divergence.direct(n),
    "mcmc": lambda n, steps=1, size=0.1, **more: contrastive_divergence.mcmc(n, steps, size, **more),
    "cd": lambda n, steps=1, size=0.1, **more: contrastive_divergence.cd(n, steps, size, **more),
    "persistent": lambda n, steps=1, size=0.1, **more: contrastive_divergence.persistent(n, steps, size, **more),
}
kinds = pytest.mark.parametrize("kind", KINDS)
chains = pytest.mark.parametrize("kind", ["mcmc", "cd", "persistent"])


def started(kind, start, steps, size, **more):
    """Negatives whose chains start at these rows, if they get them as data."""
    given = {} if kind == "cd" else {"start": start}
    return KINDS[kind](len(start), steps=steps, size=size, **given, **more)


def in_order(rows):
    """The rows, sorted."""
    return rows[np.lexsort(rows.T[::-1])]


def is_all_the_data(positives, data, kind):
    """All the data are the positives, in any order."""
    assert np.shape(positives) == np.shape(data), (
        f"the positives of {kind} should be all the data, {np.shape(data)}, got {np.shape(positives)}"
    )
    assert_close(in_order(np.asarray(positives)), in_order(data), what=f"the positives of {kind}, all the data, sorted")


@pytest.mark.parametrize("kind", ["direct", "mcmc", "persistent"])
def test_positives_are_all_the_data(rng, kind):
    """Call after call, the positives are the data, and there are n negatives, however many data there are."""
    data = rng.standard_normal((7, 2))
    negatives = KINDS[kind](5)
    for _ in range(2):
        positives, negative = negatives(rng, data, MEANS)
        is_all_the_data(positives, data, kind)
        assert np.shape(negative) == (5, 2), f"{kind}(5) gave negatives of shape {np.shape(negative)}, not (5, 2)"


def test_direct_negatives_are_draws_of_the_model(rng):
    """Around three far means: 12,000 draws divide evenly, and their distances from their means are N(0, I)."""
    means = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    x = contrastive_divergence.direct(12_000)(rng, np.full((4, 2), 50.0), means)[1]
    nearest = ((x[:, None, :] - means) ** 2).sum(axis=2).argmin(axis=1)
    away = x - means[nearest]
    assert np.abs(away).max() < 10, (
        f"negatives of direct lie up to {np.abs(away).max():.3g} from every mean: are they draws of the model?"
    )
    counts = np.bincount(nearest, minlength=3)
    hints = {"all the draws seem to be of one component": np.eye(3)[counts.argmax()]}
    assert_frequencies(counts, np.ones(3) / 3, detects=0.1, hints=hints)
    hints = {"these seem to be draws of a component with another variance": [0, 0, 2, 2, 0]}
    rows = np.column_stack([away, away**2, away.prod(axis=1)])
    assert_unbiased(rows, [0, 0, 1, 1, 0], detects=0.15, hints=hints)


def test_direct_negatives_follow_the_means_they_are_given(rng):
    """Another call with other means, in the same array, draws from the new ones; the data have no say."""
    negatives, means, data = contrastive_divergence.direct(300), np.zeros((2, 1)), np.full((5, 1), 40.0)
    for place in (0.0, -300.0, 700.0):
        means[:] = place
        x = negatives(rng, data, means)[1]
        assert np.abs(x - place).max() < 10, (
            f"with both means at {place:g}, direct drew negatives at {x.mean():.4g}: not of the means it was given"
        )


def test_direct_draws_are_independent(rng):
    """Of one Gaussian in 3,000 dimensions: the mean of 5 negatives has variance 1/5, for no draw tells of another."""
    x = contrastive_divergence.direct(5)(rng, np.zeros((2, 3_000)), np.full((1, 3_000), 2.0))[1] - 2.0
    hints = {"all the negatives of an update seem to be the same draw": 1.0}
    assert_variance(x.mean(axis=0), 0.2, detects=0.3, hints=hints)
    assert_mean(x[0] * x[1], 0.0, detects=0.2)
    assert_mean(x[0, :-1] * x[0, 1:], 0.0, detects=0.2)


def test_cd_positives_are_different_rows_of_the_data_where_its_chains_start(rng):
    """Of 9 rows cd takes 4 different ones; chains that hardly move end at them, row for row."""
    data = 10 * rng.standard_normal((9, 2))
    for _ in range(5):
        positives, negatives = KINDS["cd"](4, size=TINY)(rng, data, MEANS)
        assert np.shape(positives) == (4, 2), (
            f"the positives of cd should be the 4 rows at which its chains start, got {np.shape(positives)}"
        )
        equal = (np.asarray(positives)[:, None, :] == data).all(axis=2)
        assert equal.any(axis=1).all(), (
            "the positives of cd are not rows of the data: are they draws of the model, or of another law?"
        )
        assert equal.any(axis=0).sum() == 4, "the positives of cd are not different rows: drawn with replacement?"
        assert np.shape(negatives) == (4, 2), f"cd(4) gave negatives of shape {np.shape(negatives)}, not (4, 2)"
        moved = np.abs(negatives - positives).max()
        assert moved < HARDLY, (
            f"chains of cd that hardly move end {moved:.3g} from the positives: they do not start there, row for row"
        )


def test_cd_takes_other_rows_at_each_update(rng):
    """Of four rows each pair is as likely as another, over 300 calls for two."""
    data, negatives = np.arange(4.0)[:, None], KINDS["cd"](2)
    counts = dict.fromkeys(itertools.combinations(range(4), 2), 0)
    pairs = []
    for _ in range(301):
        positives = np.sort(negatives(rng, data, np.zeros((1, 1)))[0][:, 0])
        pairs.append(tuple(positives.astype(int).tolist()))
        counts[pairs[-1]] += 1
    assert sum(count > 0 for count in counts.values()) > 1, "cd takes the same rows at each update"
    assert_frequencies(list(counts.values()), np.full(6, 1 / 6), detects=0.6)
    # Whatever the pair before, one of the six has no row in common with it.
    others = sum(not set(one) & set(two) for one, two in itertools.pairwise(pairs))
    hints = {"the rows seem to be dealt out like cards, none twice before all were taken once": 7 / 12}
    assert_proportion(others, 300, 1 / 6, detects=0.25, hints=hints)


def test_cd_of_all_the_data_takes_each_row_once(rng):
    """With n = J the positives are the data, in some order, also where rows are equal."""
    data = np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 5.0]])
    positives, negatives = KINDS["cd"](3, size=TINY)(rng, data, MEANS)
    is_all_the_data(positives, data, "cd(J, ...)")
    assert np.abs(negatives - positives).max() < HARDLY


def test_cd_refuses_more_rows_than_there_are(rng):
    """n = 4 rows of 3 cannot be different: refused when the data come."""
    negatives = KINDS["cd"](4)
    assert_refused(lambda: negatives(rng, np.zeros((3, 2)), MEANS), argument="n", value=4)


def test_direct_draws_choose_their_components_independently(rng):
    """Of four draws around two far means two belong to the first with probability 6/16, not always."""
    negatives, data, means = contrastive_divergence.direct(4), np.zeros((1, 1)), np.array([[-100.0], [100.0]])
    evenly = sum(int(np.sum(negatives(rng, data, means)[1] < 0)) == 2 for _ in range(400))
    hints = {"each component seems to be given an equal share of the draws, where chance should choose": 1.0}
    assert_proportion(evenly, 400, 6 / 16, detects=0.2, hints=hints)


@pytest.mark.parametrize("kind", ["mcmc", "cd"])
def test_chains_that_start_anew_start_at_the_data_of_this_call(rng, kind):
    """Called with other data, more or fewer, the chains start at these; what was in the call before is forgotten."""
    negatives = KINDS[kind](4, size=TINY)
    for place, rows in [(0.0, 6), (1e4, 6), (-2e4, 9), (3e4, 5)]:
        data = place + rng.standard_normal((rows, 2))
        x = negatives(rng, data, MEANS)[1]
        assert np.abs(x - place).max() < 100, (
            f"with the data near {place:g} the chains of {kind} start near {x.mean():.4g}: at the data of another call?"
        )


@pytest.mark.parametrize("kind", ["mcmc", "persistent"])
def test_chains_start_where_they_are_told(rng, kind):
    """Chains that hardly move end at the start, array or function of rng, row for row."""
    start, data = 10 * rng.standard_normal((4, 2)), rng.standard_normal((3, 2))
    for given in (start, lambda rng: start):
        negatives = KINDS[kind](4, size=TINY, start=given)(rng, data, MEANS)[1]
        assert np.shape(negatives) == (4, 2), f"{kind}(4) gave negatives of shape {np.shape(negatives)}"
        moved = np.abs(negatives - start).max()
        assert moved < HARDLY, f"chains of {kind} that hardly move end {moved:.3g} from their start"


def test_mcmc_starts_by_the_mean_and_variance_of_each_column(rng):
    """Without a start, chains that hardly move are normal with the data's column means and variances."""
    data = np.array([[1.0, -20.0], [2.0, -10.0], [3.0, -30.0], [6.0, 0.0]])
    x = KINDS["mcmc"](5_000, size=TINY)(rng, data, MEANS)[1]
    mean, std = data.mean(axis=0), data.std(axis=0)
    for i in range(2):
        hints = {
            "the standard deviation seems to be multiplied by the mean: √v · m · z for m + √v z": stats.norm(
                0, abs(mean[i] * std[i])
            ).cdf,
            "these seem to be rows of the data": lambda x, i=i: np.mean(data[:, i] <= x[:, None], axis=1),
            "the variance seems to be taken for a standard deviation": stats.norm(mean[i], std[i] ** 2).cdf,
            "the mean of the data seems to be missing": stats.norm(0, std[i]).cdf,
            "the standard deviation of the data seems to be missing": stats.norm(mean[i], 1).cdf,
            "all columns seem to share one mean and variance": stats.norm(data.mean(), data.std()).cdf,
        }
        # The variance with n − 1 for n, a third too large, is at a distance of 0.03: no matter here.
        assert_distribution(x[:, i], stats.norm(mean[i], std[i]).cdf, detects=0.1, hints=hints)


def test_mcmc_starts_anew_at_each_call(rng):
    """Each call calls the start, and draws other starts; the chains before are forgotten."""
    seen = []

    def start(rng):
        seen.append(rng.standard_normal((3, 1)))
        return seen[-1]

    negatives, data = KINDS["mcmc"](3, size=TINY, start=start), np.zeros((2, 1))
    for call in (1, 2, 3):
        x = negatives(rng, data, np.zeros((1, 1)))[1]
        assert len(seen) == call, f"after {call} calls mcmc had asked for its start {len(seen)} times: chains go on?"
        assert np.abs(x - seen[-1]).max() < HARDLY, "the chains of mcmc do not start anew at each call"


def test_persistent_starts_once_at_rows_of_the_data(rng):
    """Without a start 3,000 chains begin at rows of the data, each as likely; then they go on."""
    data, negatives = np.array([[-50.0], [0.0], [70.0]]), KINDS["persistent"](3_000, size=TINY)
    first = negatives(rng, data, np.zeros((1, 1)))[1]
    away = np.abs(first - data[:, 0])
    assert away.min(axis=1).max() < HARDLY, "without a start, the chains of persistent do not begin at rows of the data"
    assert_frequencies(np.bincount(away.argmin(axis=1), minlength=3), np.ones(3) / 3, detects=0.15)
    rows = KINDS["persistent"](5, size=TINY)(rng, 100 * np.arange(50.0)[:, None], np.zeros((1, 1)))[1]
    # Chance draws these five in one run of 2.6 million.
    assert sorted(np.round(rows[:, 0] / 100)) != [0, 1, 2, 3, 4], "persistent starts at the first rows, not at any"
    second = negatives(rng, data, np.zeros((1, 1)))[1]
    moved = np.abs(second - first).max()
    assert moved < HARDLY, f"the chains of persistent do not go on from the call before: they are {moved:.3g} away"


def test_persistent_starts_at_rows_drawn_with_replacement(rng):
    """Of 20 chains and 20 data: that no two start at one row happens by chance once in 43 million runs."""
    data = 100 * np.arange(20.0)[:, None]
    x = KINDS["persistent"](20, size=TINY)(rng, data, np.zeros((1, 1)))[1]
    different = len(np.unique(np.round(x / 100)))
    assert different < 20, "the 20 chains of persistent start at 20 different rows: drawn without replacement?"


def test_persistent_goes_on_whatever_the_data(rng):
    """Other data, as minibatches are, are no reason to start anew."""
    negatives, data = KINDS["persistent"](5, size=TINY), rng.standard_normal((6, 2))
    first = negatives(rng, data, MEANS)[1].copy()
    for other in (data + 1e4, data[:3] - 1e4):
        moved = np.abs(negatives(rng, other, MEANS)[1] - first).max()
        assert moved < HARDLY, f"with other data the chains of persistent start anew, {moved:.3g} away"


def test_persistent_asks_for_its_start_once(rng):
    """A start that is a function is called at the first call alone; fresh() forgets the chains, and asks again."""
    seen = []

    def start(rng):
        seen.append(rng.standard_normal((3, 1)))
        return seen[-1]

    negatives, data, means = KINDS["persistent"](3, size=TINY, start=start), np.zeros((2, 1)), np.zeros((1, 1))
    for _ in range(3):
        x = negatives(rng, data, means)[1]
    assert len(seen) == 1, f"persistent asked for its start {len(seen)} times: its chains start anew"
    assert np.abs(x - seen[0]).max() < HARDLY, "the chains of persistent are not where they started, as they should be"
    again = negatives.fresh()(rng, data, means)[1]
    assert len(seen) == 2, "fresh() does not forget the chains"
    assert np.abs(again - seen[1]).max() < HARDLY, "fresh() does not forget the chains"


def walked(mean, x, steps, size):
    """The law N(m, v) of an unadjusted chain for N(mean, 1) that has made so many steps from x."""
    left = (1 - size) ** steps
    return mean + left * (x - mean), 2 * size * (1 - left**2) / (1 - (1 - size) ** 2)


@chains
def test_chains_make_their_steps(rng, kind):
    """Three unadjusted steps for N(−1, 1) from 10: exactly N(−1 + 11(1 − ε)³, 2ε(1 + (1−ε)² + (1−ε)⁴)); then again."""
    n, size, steps, mean = 4_000, 0.1, 3, -1.0
    negatives = started(kind, np.full((n, 1), 10.0), steps, size, adjusted=False)
    data, means = np.full((n, 1), 10.0), np.array([[mean]])

    def law(steps, size=size):
        m, v = walked(mean, 10.0, steps, size)
        return stats.norm(m, np.sqrt(v)).cdf

    for call in (1, 2):
        x = negatives(rng, data, means)[1][:, 0]
        hints = {
            "the negatives seem to be draws of the model, not ends of chains": stats.norm(mean, 1).cdf,
            "the chains seem to make one step, whatever their length": law(1),
            "the chains seem to make a step too few": law(steps - 1),
            "the chains seem to make a step too many": law(steps + 1),
            "the noise of a step seems to have the variance ε, not 2ε": stats.norm(
                law_mean := walked(mean, 10.0, steps, size)[0], np.sqrt(walked(mean, 10.0, steps, size)[1] / 2)
            ).cdf,
            "the noise of a step seems to have the standard deviation 2ε, not the variance": stats.norm(
                law_mean, np.sqrt(walked(mean, 10.0, steps, size)[1] * 2 * size)
            ).cdf,
        }
        total = steps * call if kind == "persistent" else steps
        if kind == "persistent" and call == 2:
            hints |= {"the chains seem to start anew": law(steps)}
        elif call == 2:
            hints |= {"the chains seem to go on from the call before": law(2 * steps)}
        assert_distribution(x, law(total), detects=0.08, hints=hints)


@chains
def test_chains_follow_the_slope_of_the_means_they_are_given(rng, kind):
    """One unadjusted step from x is x + ε s(x) + √(2ε) z for three means, with scipy's softmax: z is N(0, 1)."""
    n, size = 2_500, 0.3
    data = 2 * rng.standard_normal((n, 2))
    negatives = started(kind, data, 1, size, adjusted=False)
    elsewhere = MEANS * [[-1.0, 2.0]] + 0.5
    before, old = data, MEANS
    for means in (MEANS, elsewhere):
        positives, x = negatives(rng, data, means)
        begin = before if kind == "persistent" else positives if kind == "cd" else data
        before = x
        s = score(begin, means)
        z = ((x - begin - size * s) / np.sqrt(2 * size)).ravel()
        s = s.ravel()
        rows = np.column_stack([z, z**2, z * s])
        part = size / np.sqrt(2 * size)
        mean, square = s.mean(), (s**2).mean()
        hints = {
            "the drift seems to be missing": [-part * mean, 1 + part**2 * square, -part * square],
            "the drift seems to be reversed": [-2 * part * mean, 1 + 4 * part**2 * square, -2 * part * square],
            "the drift seems to be halved": [-part / 2 * mean, 1 + part**2 / 4 * square, -part / 2 * square],
            "the drift seems to be doubled": [part * mean, 1 + part**2 * square, part * square],
            "the noise seems to have the variance ε, not 2ε": [0, 0.5, 0],
        }
        if old is not means:
            off = score(begin, old).ravel() - s
            value = [part * off.mean(), 1 + part**2 * (off**2).mean(), part * (off * s).mean()]
            hints |= {"the chains seem to follow the means of the call before": value}
        assert_unbiased(rows, [0, 1, 0], detects=[0.15, 0.25, 0.4], hints=hints)


@chains
@pytest.mark.parametrize("adjusted", [True, False])
def test_chains_keep_the_model_if_adjusted_and_not_if_not(rng, kind, adjusted):
    """Steps ε = 1 from draws of N(2, 1) leave them N(2, 1) if some are refused, as by default, and N(2, 2) if not."""
    n, steps = 6_000, 1
    data = rng.normal(2.0, 1.0, (n, 1))
    more = {} if adjusted else {"adjusted": False}
    positives, x = started(kind, data, steps, 1.0, **more)(rng, data, np.array([[2.0]]))
    begin = positives if kind == "cd" else data
    stayed = np.mean(x == begin)
    assert stayed < 0.9, f"of the chains of {kind}, {stayed:.0%} have not moved"
    right, other = stats.norm(2, 1 if adjusted else np.sqrt(2)).cdf, stats.norm(2, np.sqrt(2) if adjusted else 1).cdf
    hint = "no step seems to be refused" if adjusted else "steps seem to be refused in spite of adjusted=False"
    assert_distribution(x[:, 0], right, detects=0.06, hints={hint: other})
    assert adjusted == (stayed > 0), f"with adjusted={adjusted}, {stayed:.1%} of the steps of {kind} were refused"


@chains
def test_chains_reach_the_model(rng, kind):
    """Sixty adjusted steps of ½ from 3 (one call, or sixty of one step) leave nothing of it: N(0, 1)."""
    n = 4_000
    data, means = np.full((n, 1), 3.0), np.zeros((1, 1))
    calls = 60 if kind == "persistent" else 1
    negatives = started(kind, data, 60 // calls, 0.5)
    for _ in range(calls):
        x = negatives(rng, data, means)[1]
    # A step forgets at least a third: 0.67^60 = 4e-11 of the start is left.
    assert_distribution(x[:, 0], stats.norm.cdf, detects=0.08)


@chains
def test_chains_are_independent(rng, kind):
    """Four unadjusted chains in 3,000 columns: their mean step has the variance ¼, and no call tells of another."""
    start, means = np.zeros((4, 3_000)), np.zeros((1, 3_000))
    negatives = started(kind, start, 1, 0.2, adjusted=False)
    first = negatives(rng, start, means)[1] / np.sqrt(0.4)
    second = negatives(rng, start, means)[1] / np.sqrt(0.4) - (0.8 * first if kind == "persistent" else 0)
    hints = {"all chains seem to make the same step": 1.0}
    assert_variance(first.mean(axis=0), 0.25, detects=0.3, hints=hints)
    assert_mean(first[0] * first[1], 0.0, detects=0.2)
    assert_mean(first[0, :-1] * first[0, 1:], 0.0, detects=0.2)
    assert_mean(first[0] * second[0], 0.0, detects=0.2)


@kinds
def test_negatives_are_reproducible(rng, kind):
    """The same state of rng gives the same rows, another one others; NumPy's global state is left alone."""
    data, means = rng.standard_normal((20, 2)), MEANS.copy()
    kept, held = data.copy(), means.copy()
    state = global_state()

    def run(seed):
        return [np.array(rows) for rows in KINDS[kind](6, steps=2)(np.random.default_rng(seed), data, means)]

    for one, other in zip(run(5), run(5), strict=True):
        assert np.array_equal(one, other), f"{kind} gives other rows from the same state of rng"
    assert not np.array_equal(run(5)[1], run(6)[1]), f"{kind} gives the same negatives from another state of rng"
    assert state == global_state(moved=False), f"{kind} uses NumPy's global state"
    assert np.array_equal(data, kept), f"{kind} writes on the data"
    assert np.array_equal(means, held), f"{kind} writes on the means: samples are no parameters"


@kinds
def test_negatives_are_drawn_anew_at_each_call(rng, kind):
    """Two calls with one rng give different negatives, and no two rows of them are equal."""
    more = {} if kind == "direct" else {"adjusted": False}  # so that no chain stays where it is
    negatives, data = KINDS[kind](6, **more), rng.standard_normal((20, 2))
    first, second = (np.array(negatives(rng, data, MEANS)[1]) for _ in range(2))
    assert not np.any(first == second), f"{kind} gives the same negatives twice"
    assert len(np.unique(first[:, 0])) == 6, f"{kind} gives the same negative in several rows"


@kinds
def test_negatives_take_any_arrays(rng, kind):
    """Whole numbers, float32, read-only and strided arrays, one row, one component give rows of finite floats."""
    whole = np.arange(12).reshape(6, 2)
    locked = whole.astype(float)
    locked.flags.writeable = False
    strided = np.arange(48.0).reshape(12, 4)[::2, ::2]
    for data in (whole, whole.astype(np.int8), whole.astype(np.float32), locked, strided, strided[:1]):
        for means in (MEANS, MEANS[:1], np.array([[3, 4], [7, 8]], np.int8), np.asfortranarray(MEANS)):
            n = min(3, len(data))
            positives, negatives = KINDS[kind](n)(rng, data, means)
            assert np.shape(negatives) == (n, 2), f"{kind} gave negatives of shape {np.shape(negatives)}, not ({n}, 2)"
            assert np.all(np.isfinite(negatives)), f"{kind} gave negatives that are not finite: {negatives}"
            assert np.asarray(negatives).dtype == float, f"{kind} rounds its negatives to {np.asarray(negatives).dtype}"
            assert np.shape(positives)[1] == 2


@kinds
def test_negatives_refuse_what_is_no_count(kind):
    """n, the number of chains, and their length are 1, 2, 3, ..."""
    make = getattr(contrastive_divergence, kind)
    for bad in (0, -1, 2.5):
        assert_refused(make, bad, *(() if kind == "direct" else (1, 0.1)), argument="n", value=bad)
        if kind != "direct":
            assert_refused(make, 3, bad, 0.1, argument="chain_length", value=bad)


@chains
def test_negatives_refuse_what_is_no_step_size(kind):
    """ε is positive and finite, and this is said before any data come."""
    for bad in (0.0, -0.1, np.nan, np.inf):
        assert_refused(getattr(contrastive_divergence, kind), 3, 1, bad, argument="step_size", value=bad)


@pytest.mark.parametrize("kind", ["mcmc", "persistent"])
def test_negatives_refuse_a_start_of_another_shape(rng, kind):
    """A start has a row for each chain and a column for each of the data, also if a function draws it."""
    make, data = getattr(contrastive_divergence, kind), np.zeros((5, 2))
    assert_refused(make, 4, 1, 0.1, np.zeros((3, 2)), argument="start", value=(3, 2))
    assert_refused(make, 4, 1, 0.1, np.full((4, 2), np.nan), argument="start", value=np.nan)
    wide, short = make(4, 1, 0.1, np.zeros((4, 3))), make(4, 1, 0.1, lambda rng: np.zeros((3, 2)))
    assert_refused(lambda: wide(rng, data, MEANS), argument="start", value=(4, 3))
    assert_refused(lambda: short(rng, data, MEANS), argument="start", value=(3, 2))


@kinds
def test_negatives_refuse_bad_data_and_means(rng, kind):
    """NaN, no rows, and means with other columns than the data are refused at the call."""
    negatives = KINDS[kind](1)
    assert_refused(lambda: negatives(rng, np.zeros((0, 2)), MEANS), argument="data", value=(0, 2))
    assert_refused(lambda: negatives(rng, np.full((3, 2), np.nan), MEANS), argument="data", value=np.nan)
    assert_refused(lambda: negatives(rng, np.zeros((3, 3)), MEANS), argument="means", value=2)
    assert_refused(lambda: negatives(rng, np.zeros((3, 2)), MEANS * np.inf), argument="means", value=np.inf)


def test_persistent_refuses_data_of_another_width(rng):
    """Chains in two dimensions cannot go on in three."""
    negatives = KINDS["persistent"](4)
    negatives(rng, np.zeros((3, 2)), MEANS)
    with pytest.raises(ValueError, match=r"[23]"):  # that says which widths do not fit, in whatever words
        negatives(rng, np.zeros((3, 3)), np.zeros((2, 3)))


# The fit


def halves(rng, data, means):
    """Negatives that are no draws: half-way between the means and (1, −2)."""
    return data, (means + np.array([1.0, -2.0])) / 2


def climbed(data, start, rate, steps, sign=1.0, negatives=halves, decay=0.0, average=np.mean):
    """The path of a climb with such negatives, start first, by scipy's softmax."""
    path = [np.array(start, dtype=float)]
    for t in range(steps):
        positive, negative = negatives(None, data, path[-1])
        push = average(slopes(positive, path[-1]), axis=0) - average(slopes(negative, path[-1]), axis=0)
        path.append(path[-1] + sign * rate / (t + 1) ** decay * push.reshape(path[-1].shape))
    return np.array(path)


def overwritten(means, steps):
    """The path where the negatives become the means."""
    path = [means]
    for _ in range(steps):
        path.append(halves(None, POINTS, path[-1])[1])
    return np.array(path)


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_fit_climbs_and_averages_the_later_half(rng, rate):
    """With negatives that are a function of the means, path and average are those of a loop with scipy's softmax."""
    more = {} if rate == 1 else {"rate": rate}
    got = contrastive_divergence.fit(rng, POINTS, MEANS, halves, steps=7, **more)
    path = climbed(POINTS, MEANS, rate, 7)
    assert np.shape(got.path) == (8, 3, 2), (
        f"a path of 7 steps has 8 places, the start first: its shape should be (8, 3, 2), got {np.shape(got.path)}"
    )
    full = climbed(POINTS, MEANS, 1.0, 7)
    mistakes = {
        "are the two phases exchanged, so that it descends?": climbed(POINTS, MEANS, rate, 7, sign=-1.0),
        "is the rate left out?": full,
        "is the rate there twice?": climbed(POINTS, MEANS, rate**2, 7),
        "does the rate shrink from step to step?": climbed(POINTS, MEANS, rate, 7, decay=1.0),
        "do the negatives take the place of the means?": overwritten(MEANS, 7),
        "is the start missing from the path?": climbed(POINTS, path[1], rate, 7),
        "is the negative phase missing?": ascended(POINTS, MEANS, rate, 7),
        "is the gradient summed over the data, not averaged?": climbed(POINTS, MEANS, rate, 7, average=np.sum),
    }
    mistakes = {why: value for why, value in mistakes.items() if value.shape == path.shape and (value != path).any()}
    assert_close(got.path, path, rtol=SHARP, atol=1e-12, what="fit(...).path", mistakes=mistakes)
    mistakes = {
        "is this the last iterate, not the average of the later half?": path[-1],
        "is this the average of the whole path?": path.mean(axis=0),
        "is this the average of the earlier half?": path[:4].mean(axis=0),
        "is this the average of all but the start?": path[1:].mean(axis=0),
        "is this the median?": np.median(path[4:], axis=0),
    }
    assert_close(got.means, path[4:].mean(axis=0), rtol=SHARP, atol=1e-12, what="fit(...).means", mistakes=mistakes)


def ascended(data, start, rate, steps):
    """The path without a negative phase."""
    path = [np.array(start, dtype=float)]
    for _ in range(steps):
        path.append(path[-1] + rate * slopes(data, path[-1]).mean(axis=0).reshape(path[-1].shape))
    return np.array(path)


def test_fit_makes_the_steps_it_is_told_however_small():
    """At a rest, where no step is longer than 0.1, fit goes on: 9 steps are 9 steps, with 1, 5 and 9 too."""
    data = np.array([[0.3, 0.1], [-0.3, 0.2]])
    for steps in (1, 5, 9):
        path = contrastive_divergence.fit(
            np.random.default_rng(0), data, data.mean(axis=0)[None], lambda rng, x, m: (x, m + 0.01), steps=steps
        ).path
        assert len(path) == steps + 1, f"told to make {steps} steps, fit returned a path of {len(path)} places"
        # One Gaussian: the push is x̄ − μ − 0.01.
        want = data.mean(axis=0) - 0.01 * (np.arange(steps + 1)[:, None, None] > 0)
        assert_close(path, want, rtol=SHARP, atol=1e-14, what="the path near its rest")


@pytest.mark.parametrize("updates", [None, 10])
def test_fit_makes_as_many_steps_as_the_kind_needs(updates):
    """Without steps: 300, or the kind's updates, over min(rate, 1), rounded up."""

    def still(rng, data, means):
        return data, data

    if updates:
        still.updates = updates
    for rate in (2.0, 0.7):
        path = contrastive_divergence.fit(np.random.default_rng(0), POINTS, MEANS, still, rate=rate).path
        want = int(np.ceil((updates or 300) / min(rate, 1.0)))
        assert len(path) == want + 1, f"fit with rate={rate} made {len(path) - 1} steps, should make {want}"


@kinds
def test_fit_gives_short_chains_more_steps(kind):
    """Chains of time t = Lε leave 1 − e^(−2t) of the gradient: 300 steps over that; direct and mcmc need 300."""
    for steps, size in [(1, 0.25), (5, 0.02), (3, 1e-4)]:
        got = getattr(KINDS[kind](1, steps=steps, size=size), "updates", 300)
        want = 300 / (1 - np.exp(-2 * steps * size)) if kind in ("cd", "persistent") else 300
        where = f"for {kind} of time {steps * size:g}" if want != 300 else f"for {kind}"
        assert 0.5 * want < got < 2 * want, f"{where} fit makes {got} steps unless told, should make about {want:.0f}"


def test_fit_hands_on_what_the_negatives_need(rng):
    """They get rng, all the data and the present means, of which they may do what they like; the push is at these."""
    seen = []

    def greedy(handed, data, means):
        assert handed is rng, "fit hands another rng on to the negatives"
        assert np.array_equal(data, POINTS), "fit does not hand all the data on to the negatives"
        seen.append(means.copy())
        answer = halves(None, POINTS, means.copy())
        means[:] = 1e3  # nobody's business
        return answer

    start = MEANS.copy()
    path = contrastive_divergence.fit(rng, POINTS, start, greedy, steps=5).path
    hint = "the path, where the negatives write on the means they get (hand them a copy)"
    assert_close(path, climbed(POINTS, MEANS, 1.0, 5), rtol=SHARP, atol=1e-12, what=hint)
    assert_close(np.array(seen), path[:-1], what="the means that the negatives were given, update for update")
    assert_close(start, MEANS, what="start, after the fit")


def test_fit_uses_the_positives_it_is_given(rng):
    """The positive phase is over the positives, not over the data; they may be few."""

    def few(rng, data, means):
        return data[:2] + 1.0, halves(None, data, means)[1]

    path = contrastive_divergence.fit(rng, POINTS, MEANS, few, steps=3).path
    want = climbed(POINTS, MEANS, 1.0, 3, negatives=few)
    mistakes = {"is the positive phase over the data, and not over the positives?": climbed(POINTS, MEANS, 1.0, 3)}
    assert_close(path, want, rtol=SHARP, atol=1e-12, what="the path with few positives", mistakes=mistakes)


@pytest.mark.parametrize("kind", ["persistent", "mcmc", "cd", "direct"])
def test_fit_begins_without_a_memory(kind):
    """Two fits with the same negatives and equal generators are equal, also after a call in between."""
    data, negatives = np.linspace(-2, 2, 8)[:, None], KINDS[kind](4)
    start = np.array([[-1.0], [1.0]])
    one, other, third = (
        (
            contrastive_divergence.fit(np.random.default_rng(8), data, start, negatives, steps=5),
            negatives(np.random.default_rng(9), data, start),
        )[0]
        for _ in range(3)
    )
    for later in (other, third):
        assert np.array_equal(one.path, later.path), "equal fits differ: are chains of an earlier fit inherited?"
    differs = contrastive_divergence.fit(np.random.default_rng(10), data, start, negatives, steps=5)
    assert not np.array_equal(one.path, differs.path), "another generator gives the same path"


def test_fit_leaves_its_arguments_alone(rng):
    """Read-only whole numbers are fitted like floats; NumPy's global state stays; the start is copied into the path."""
    data, start = np.array([[0, 1], [4, 2], [-3, 5]], np.int8), np.array([[0, 0], [1, 3]], np.int8)
    for array in (data, start):
        array.flags.writeable = False
    state = global_state()
    got = contrastive_divergence.fit(rng, data, start, halves, steps=5)
    want = climbed(data.astype(float), start, 1.0, 5)
    assert_close(got.path, want, rtol=SHARP, atol=1e-12, what="the path from whole numbers")
    assert state == global_state(moved=False), "fit uses NumPy's global state"
    strided = np.zeros((6, 4))
    strided[::2, ::2] = data
    got = contrastive_divergence.fit(rng, strided[::2, ::2], np.asfortranarray(start), halves, steps=5)
    assert_close(got.path, want, rtol=SHARP, atol=1e-12, what="the path from strided data")
    got = contrastive_divergence.fit(rng, data.astype(np.float32), start.astype(np.float32), halves, steps=5)
    assert_close(
        got.path, want, rtol=SHARP, atol=1e-12, what="the path from float32, which should not be rounded to it"
    )


def test_fit_says_when_the_means_run_away(rng):
    """At the rate 10 one Gaussian's error grows ninefold a step; fit names the rate, and returns no numbers."""
    data = np.array([[0.0], [1.0]])
    said = "nothing"
    with np.errstate(all="ignore"):
        try:
            contrastive_divergence.fit(rng, data, np.array([[3.0]]), KINDS["direct"](5), rate=10.0, steps=400)
        except OverflowError as error:
            said = str(error)
    assert "10" in said, (
        f"the means ran away, and fit said {said}: an OverflowError should say so, and name the rate, 10"
    )


def test_fit_refuses_bad_input(rng):
    """A rate is positive, steps are counted, start and data have the same columns, and no entry is NaN."""
    f, negatives = contrastive_divergence.fit, KINDS["direct"](3)
    for bad in (0.0, -1.0, np.nan, np.inf):
        assert_refused(f, rng, POINTS, MEANS, negatives, rate=bad, argument="rate", value=bad)
    for bad in (0, -3, 2.5):
        assert_refused(f, rng, POINTS, MEANS, negatives, steps=bad, argument="steps", value=bad)
    assert_refused(f, rng, POINTS, np.zeros((2, 3)), negatives, argument="start", value=3)
    assert_refused(f, rng, POINTS, np.full((2, 2), np.nan), negatives, argument="start", value=np.nan)
    assert_refused(f, rng, np.full((2, 2), np.nan), MEANS, negatives, argument="data", value=np.nan)
    assert_refused(f, rng, np.zeros((0, 2)), MEANS, negatives, argument="data", value=(0, 2))


def linear_climb(kind, rate, size, steps, before, rest):
    """For one Gaussian: how μ − x̄ moves on average, and how it depends on the noise of each update's negatives.

    The start of the path is `before`, that of the chains `rest`, both as means over the chains less the data mean.
    """
    shift, noise = np.array([before, rest]), np.zeros((2, steps))  # μ, and the mean of the chains
    shifts, noises = [before], [noise[0]]
    keep = 0.0 if kind == "direct" else 1 - size
    for t in range(steps):
        if kind in ("mcmc", "cd"):
            shift, noise = np.array([shift[0], rest if kind == "mcmc" else 0.0]), np.array([noise[0], 0 * noise[0]])
        ends = (1 - keep) * shift[0] + keep * shift[1]
        ends_noise = (1 - keep) * noise[0] + keep * noise[1] + np.eye(steps)[t]
        shift = np.array([shift[0] - rate * ends, ends])
        noise = np.array([noise[0] - rate * ends_noise, ends_noise])
        shifts.append(shift[0])
        noises.append(noise[0])
    return np.array(shifts), np.array(noises)


@pytest.mark.claim("prop-correlation")
@kinds
def test_fit_of_one_gaussian_wanders_as_its_linear_recursion(rng, kind):
    """Three thousand columns are as many fits: last place and average have mean and variance of linear algebra."""
    columns, n, steps, rate, size = 3_000, 4, 41, 0.8, 0.3
    data = np.repeat(rng.standard_normal((1, columns)), n, axis=0)
    rest, before = 0.0 if kind == "cd" else 1.5, 0.7
    given = {"start": data + rest} if kind in ("mcmc", "persistent") else {}
    more = {} if kind == "direct" else {"adjusted": False}
    negatives = KINDS[kind](n, steps=1, size=size, **given, **more)
    got = contrastive_divergence.fit(rng, data, data[:1] + before, negatives, rate=rate, steps=steps)
    shifts, noises = linear_climb(kind, rate, size, steps, before, rest)
    variance = (1.0 if kind == "direct" else 2 * size) / n

    last = (got.path[-1] - data[0] - shifts[-1]).ravel()
    spread = variance * (noises[-1] ** 2).sum()
    # At rest, with ρ = 1 − ε; a step's noise has here the variance 2ε, not 1 − ρ². 0.84^41 = 7e-4 is left.
    rho, q = 1 - size, (2 - size) / size
    stated = {
        "direct": rate / (n * (2 - rate)),
        "persistent": rate / n * q**2 / (2 * q - rate) * 2 * size / (1 - rho**2),
    }.get(kind, spread)
    assert_close(spread, stated, rtol=1e-3, what="the stationary variance of the linear recursion")
    assert_close(shifts[-1], -rho / (1 - rho) * rest * (kind == "mcmc"), rtol=1e-3, atol=5e-3, what="where it rests")
    assert_mean(last, 0.0, detects=0.15 * np.sqrt(spread), hints={"it seems to be off by its start": before})
    assert_variance(last, spread, detects=0.3)
    half = (steps + 1) // 2
    average = (got.means - data[0] - shifts[half:].mean()).ravel()
    shrunk = variance * (noises[half:].mean(axis=0) ** 2).sum()
    hints = {"the last iterate seems to be returned, not the average": spread}
    assert_mean(average, 0.0, detects=0.15 * np.sqrt(shrunk))
    assert_variance(average, shrunk, detects=0.3, hints=hints)


def test_fit_with_direct_negatives_reaches_the_likeliest_means(rng):
    """The average ends at the maximum of the likelihood, up to noise of covariance I⁻¹/(n T), T the averaged steps."""
    data, n, steps = mixtures.draw(rng, 1.5 * MEANS, 300)[0], 1_000, 161
    found = optimize.minimize(lambda m: -mean_log_likelihood(data, m.reshape(3, 2)), 1.5 * MEANS.ravel(), tol=1e-10)
    got = contrastive_divergence.fit(rng, data, 1.5 * MEANS, KINDS["direct"](n), steps=steps)
    off = got.means.ravel() - found.x
    information = mixtures.fisher_information(found.x.reshape(3, 2))
    # Noise and curvature are each I, up to how 300 data differ from their law; the start and the curvature of the
    # model leave less than the noise. Twice the quantile of χ² that one run in a million exceeds allows for them.
    distance = off @ information @ off * n * (steps + 1) / 2
    limit = 2 * stats.chi2.isf(1e-6, 6)
    assert distance < limit, (
        f"the fit ends {np.abs(off).max():.3g} from the likeliest means: {distance:.3g} > {limit:.3g}"
    )


# The rate: how far the last iterate wanders


def random_information(rng, p):
    """A symmetric positive definite matrix with eigenvalues between 0.1 and 1."""
    turn = stats.ortho_group.rvs(p, random_state=rng) if p > 1 else np.eye(1)
    return turn @ np.diag(rng.uniform(0.1, 1.0, p)) @ turn.T


@pytest.mark.claim("thm-constant-rate")
@pytest.mark.parametrize("p", [1, 2, 5])
@pytest.mark.parametrize("rate", [0.1, 1.0, 1.9])
def test_stationary_covariance_solves_the_lyapunov_equation(rng, p, rate):
    """C = (1 − ηH) C (1 − ηH) + η²H/n, by scipy's solver; the step's covariance is 2η²H(2 − ηH)⁻¹/n."""
    h, n = random_information(rng, p), 7
    eye = np.eye(p)
    want = linalg.solve_discrete_lyapunov(eye - rate * h, rate**2 * h / n)
    mistakes = {
        "is n missing?": want * n,
        "is it divided by √n, not by n?": want * np.sqrt(n),
        "is the rate's ηH in the bracket missing?": rate * eye / (2 * n),
        "is the η in the bracket missing?": rate * np.linalg.inv(2 * eye - h) / n,
        "is the η in front missing?": np.linalg.inv(2 * eye - rate * h) / n,
        "is it η² in front?": rate**2 * np.linalg.inv(2 * eye - rate * h) / n,
        "is this the covariance of a step?": rate**2 * 2 * h @ np.linalg.inv(2 * eye - rate * h) / n,
        "is this the bound I⁻¹/n?": np.linalg.inv(h) / n,
        "is the sign in the bracket reversed?": rate * np.linalg.inv(2 * eye + rate * h) / n,
        "is the 2 in the bracket 1?": rate * np.linalg.inv(eye - rate * h) / n,
        "is the inverse taken entry by entry?": rate / (2 * eye - rate * h) / n,
        "is H multiplied in, as by noise that is not shaped by H?": rate * np.linalg.inv(2 * eye - rate * h) @ h / n,
    }
    mistakes = {why: value for why, value in mistakes.items() if not np.allclose(value, want, rtol=1e-6)}
    got = contrastive_divergence.stationary_covariance(h, n, rate)
    assert_close(got, want, rtol=1e-8, atol=1e-12, what=f"stationary_covariance(H, {n}, {rate})", mistakes=mistakes)
    # δ' − δ = −η(Hδ + ξ), whose parts are independent
    step = rate**2 * (h @ got @ h + h / n)
    assert_close(step, 2 * rate**2 * h @ np.linalg.inv(2 * eye - rate * h) / n, rtol=1e-8, atol=1e-12, what="the step")


def test_stationary_covariance_has_the_rate_one_unless_told():
    """Of H = diag(1, ½), (2 − H)⁻¹/n is diag(1, ⅔)/10; whole numbers do."""
    got = contrastive_divergence.stationary_covariance(np.diag([1.0, 0.5]), 10)
    assert_close(got, np.diag([0.1, 1 / 15]), what="stationary_covariance(diag(1, ½), 10)")
    got = contrastive_divergence.stationary_covariance(np.array([[1]]), 2, 0.5)
    assert_close(got, [[1 / 6]], what="stationary_covariance of a whole number")


@pytest.mark.claim("thm-constant-rate", kind="symbolic")
def test_stationary_covariance_in_one_dimension():
    """sympy: v = (1 − ηh)² v + η²h/n has the one solution η/(n(2 − ηh)), positive if and only if ηh < 2."""
    v, h, rate, n = sympy.symbols("v h eta n", positive=True)
    (found,) = sympy.solve(v - (1 - rate * h) ** 2 * v - rate**2 * h / n, v)
    assert sympy.simplify(found - rate / (n * (2 - rate * h))) == 0
    step = sympy.simplify(rate**2 * (h**2 * found + h / n))
    assert sympy.simplify(step - 2 * rate**2 * h / (n * (2 - rate * h))) == 0
    for size, wide, many in [(0.3, 0.8, 5), (1.0, 1.9, 2)]:
        want = float(found.subs({h: size, rate: wide, n: many}))
        got = contrastive_divergence.stationary_covariance(np.array([[size]]), many, wide)
        assert_close(got, [[want]], what=f"stationary_covariance([[{size}]], {many}, {wide})")


def test_stationary_covariance_refuses_what_runs_away():
    """η times the largest eigenvalue must be below 2, H positive definite and symmetric, n a count."""
    f, h = contrastive_divergence.stationary_covariance, np.diag([0.5, 0.25])
    for bad in (4.0, 4.5, 100.0, 0.0, -1.0, np.nan):
        assert_refused(f, h, 3, bad, argument="rate", value=bad)
    assert_refused(f, np.array([[1.0, 0.5], [0.0, 1.0]]), 3, argument="information", value=0.5)
    assert_refused(f, np.diag([1.0, -0.1]), 3, argument="information", value=-0.1)
    assert_refused(f, np.zeros((2, 3)), 3, argument="information", value=(2, 3))
    for bad in (0, 1.5):
        assert_refused(f, h, bad, argument="n", value=bad)


@pytest.mark.claim("thm-average")
def test_average_of_a_linear_recursion_is_exact(rng):
    """(1/T) Σ δₜ = H⁻¹[(δ₀ − δ_T)/(ηT) − mean of ξ], for one random path in four dimensions."""
    h, rate, steps = random_information(rng, 4), 0.7, 25
    noise, path = rng.standard_normal((steps, 4)), [rng.standard_normal(4)]
    for xi in noise:
        path.append(path[-1] - rate * (h @ path[-1] + xi))
    want = np.linalg.solve(h, (path[0] - path[-1]) / (rate * steps) - noise.mean(axis=0))
    assert_close(np.mean(path[:-1], axis=0), want, rtol=1e-8, atol=1e-10, what="the average of the path")


@pytest.mark.claim("thm-average")
def test_average_of_a_linear_recursion_loses_its_noise_like_one_over_t(rng):
    """By linear algebra its covariance is H⁻¹SH⁻¹/T + O(1/T²) for any S, and H⁻¹/(nT) for S = H/n: no rate in it."""
    h, n = random_information(rng, 3), 6
    other = random_information(rng, 3)
    for rate, s in itertools.product((0.3, 1.5), (h / n, other)):
        step = np.eye(3) - rate * h

        def covariance(steps, step=step, rate=rate, s=s):
            # ξ at time u moves each later δ by −η(1 − ηH)^(t − u − 1)
            sums = itertools.accumulate(range(steps - 2), lambda total, _: np.eye(3) + step @ total, initial=np.eye(3))
            return sum(rate**2 * total @ s @ total.T for total in sums) / steps**2

        inverse = np.linalg.inv(h)
        limit = inverse @ s @ inverse
        # The error of T × covariance falls like 1/T: twice the value at 2T less that at T is off by far less.
        one, two = 600 * covariance(600), 1200 * covariance(1200)
        scale = np.abs(limit).max()
        assert np.abs(two - limit).max() < 0.6 * np.abs(one - limit).max() + 1e-12
        assert_close(2 * two - one, limit, rtol=1e-6, atol=1e-6 * scale, what="T × the covariance of the average")
        if s is not other:
            assert_close(limit, inverse / n, rtol=1e-8, atol=1e-10, what="H⁻¹(H/n)H⁻¹")


# The stop rule


def mistakes_in_ball(radius, covariance):
    """What people compute when they mean P(|ξ| ≤ radius) in two dimensions, and why."""
    variances = np.linalg.eigvalsh(covariance)
    return {
        "is it the complement, P(|ξ| > radius)?": 1 - in_ball(radius, variances),
        "is the covariance taken for its mean eigenvalue times the identity?": stats.chi2.cdf(
            radius**2 / variances.mean(), 2
        ),
        "are the correlations left out?": in_ball(radius, np.diag(covariance)),
        "are the eigenvalues taken for standard deviations, not variances?": in_ball(radius, variances**2),
        "is this a square, each coordinate within the radius on its own?": np.prod(
            2 * stats.norm.cdf(radius / np.sqrt(variances)) - 1
        ),
        "is the radius not squared?": in_ball(np.sqrt(radius), variances),
        "is this P(ξᵀC⁻¹ξ ≤ radius²), of an ellipse?": stats.chi2.cdf(radius**2, 2),
    }


def in_ball(radius, variances):
    """P(Σ λᵢ zᵢ² ≤ radius²): in two dimensions by polar coordinates, for λ in pairs a sum of exponential laws."""
    variances, square = np.asarray(variances, dtype=float), radius**2
    if len(variances) == 2:

        def along(angle):
            direction = np.cos(angle) ** 2 / variances[0] + np.sin(angle) ** 2 / variances[1]
            return -np.expm1(-square * direction / 2) / direction

        whole = integrate.quad(along, 0, np.pi / 2, epsabs=1e-13, epsrel=1e-12, limit=200)[0]
        return 2 * whole / (np.pi * np.sqrt(variances.prod()))
    pairs, lone = variances[: len(variances) // 2 * 2 : 2], variances[len(variances) // 2 * 2 :]
    assert np.array_equal(np.repeat(pairs, 2), variances[: 2 * len(pairs)])
    parts = [np.prod([a / (a - b) for b in pairs if b != a]) for a in pairs]

    def of_pairs(square):
        return 1 - sum(part * np.exp(-square / (2 * a)) for part, a in zip(parts, pairs, strict=True))

    if not len(lone):
        return of_pairs(square)
    end = radius / np.sqrt(lone[0])
    return integrate.quad(lambda z: stats.norm.pdf(z) * of_pairs(square - lone[0] * z**2), -end, end, epsabs=1e-13)[0]


@pytest.mark.parametrize("p", [1, 2, 3, 8])
def test_ball_probability_of_a_round_law_is_chi_squared(p):
    """For v times the identity it is scipy's chi2.cdf(radius²/v, p), from the deep inside to far outside."""
    for v in (0.01, 1.0, 30.0):
        for z in (0.2, 1.0, np.sqrt(p), 6.0):
            radius = float(z * np.sqrt(v))
            want = stats.chi2.cdf(z**2, p)
            got = contrastive_divergence.ball_probability(radius, v * np.eye(p))
            mistakes = {
                "is it the complement, P(|ξ| > radius)?": 1 - want,
                "is the variance taken for a standard deviation?": stats.chi2.cdf((radius / v) ** 2, p),
                "is the variance left out?": stats.chi2.cdf(radius**2, p),
                "is the radius not squared?": stats.chi2.cdf(radius / v, p),
                "is this a cube, each coordinate within the radius on its own?": (2 * stats.norm.cdf(z) - 1) ** p,
            }
            mistakes = {why: value for why, value in mistakes.items() if abs(value - want) > 1e-6}
            what = f"ball_probability({radius:.3g}, {v} I of {p})"
            assert_close(got, want, rtol=1e-9, atol=1e-12, what=what, mistakes=mistakes)


@pytest.mark.parametrize("variances", [(2.0, 0.3), (1.0, 0.02), (0.5, 0.5, 0.1), (3.0, 3.0, 1.0, 1.0, 0.2, 0.2)])
def test_ball_probability_of_an_oblong_law(rng, variances):
    """In two dimensions by quadrature over the angle, for variances in pairs by exponential laws; any axes do."""
    turn = stats.ortho_group.rvs(len(variances), random_state=rng)
    covariance = turn @ np.diag(variances) @ turn.T
    covariance = (covariance + covariance.T) / 2
    for radius in (0.3, 1.5, 2.5):
        want = in_ball(radius, variances)
        mistakes = mistakes_in_ball(radius, covariance) if len(variances) == 2 else {}
        mistakes = {why: value for why, value in mistakes.items() if abs(value - want) > 1e-4}
        got = contrastive_divergence.ball_probability(radius, covariance)
        # 1 − Σ e^(−r²/2λ), of size 10, cancels to 1e-5 for the smallest ball in six dimensions.
        what = f"ball_probability({radius}, C)"
        assert_close(got, want, rtol=1e-8, atol=1e-12, what=what, mistakes=mistakes)


def test_ball_probability_of_a_stop_rule_is_that_of_a_coin():
    """On the square, from 100 negatives, a step below 0.1 has probability 0.3662 at the optimum, 0.3079 later."""
    information = mixtures.fisher_information(mixtures.SQUARE)
    at = contrastive_divergence.ball_probability(0.1, information / 100)
    wander = 2 * information @ np.linalg.inv(2 * np.eye(8) - information) / 100
    later = contrastive_divergence.ball_probability(0.1, (wander + wander.T) / 2)
    assert_close([at, later], [0.3662, 0.3079], rtol=0, atol=6e-5, what="the stop rule's probabilities, to four digits")


def test_ball_probability_ends_at_zero_and_one():
    """A tiny ball has its volume times the density at 0; a huge one everything."""
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]])
    radius = 1e-4
    want = np.pi * radius**2 / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
    got = contrastive_divergence.ball_probability(radius, covariance)
    assert_close(got, want, rtol=1e-7, what="ball_probability(1e-4, C)")
    assert_close(contrastive_divergence.ball_probability(1e3, covariance), 1.0, what="ball_probability(1e3, C)")


def test_ball_probability_refuses_bad_input():
    """A radius is positive; a covariance is symmetric, positive definite, and not 100 times longer than wide."""
    f = contrastive_divergence.ball_probability
    for bad in (0.0, -1.0, np.nan):
        assert_refused(f, bad, np.eye(2), argument="radius", value=bad)
    assert_refused(f, 1.0, np.array([[1.0, 2.0], [2.0, 1.0]]), argument="covariance", value=2.0)
    assert_refused(f, 1.0, np.array([[1.0, 0.5], [0.0, 1.0]]), argument="covariance", value=0.5)
    assert_refused(f, 1.0, np.zeros((2, 3)), argument="covariance", value=(2, 3))
    assert_refused(f, 1.0, np.diag([1.0, 1 / 128]), argument="condition_number_of_covariance", value=128.0)


# EM


def em(data, means, steps=3_000):
    """The step of EM, often, with scipy's softmax."""
    for _ in range(steps):
        r = responsibilities(data, means)
        means = r.T @ data / r.sum(axis=0)[:, None]
    return means


def em_of_weights(data, means, steps=3_000):
    """EM that estimates weights too."""
    weights = np.ones(len(means)) / len(means)
    for _ in range(steps):
        r = special.softmax(-0.5 * ((data[:, None, :] - means) ** 2).sum(axis=2) + np.log(weights), axis=1)
        means, weights = r.T @ data / r.sum(axis=0)[:, None], r.mean(axis=0)
    return means


def k_means(data, means):
    """Each point to its nearest mean, until nothing changes."""
    for _ in range(100):
        nearest = ((data[:, None, :] - means) ** 2).sum(axis=2).argmin(axis=1)
        means = np.array([data[nearest == i].mean(axis=0) for i in range(len(means))])
    return means


def scattered(n, d, first=1):
    """Points that look drawn and are not, between −3 and 3: how long EM takes depends on the data."""
    return 3 * np.sin(np.arange(first, first + n * d) ** 2.0).reshape(n, d)


def test_fit_em_of_two_points_is_a_hyperbolic_tangent():
    """For data at ±a and means at ±m the end is m = a tanh(am), by scipy's root; hard clusters would say a."""
    for a in (1.2, 1.7, 3.0):
        data = np.array([[a], [-a]])
        m = optimize.brentq(lambda m, a=a: a * np.tanh(a * m) - m, 0.1, a, xtol=1e-14)
        got = contrastive_divergence.fit_em(data, np.array([[0.5], [-0.5]]))
        mistakes = {
            "does each point belong to one mean alone (k-means)?": [[a], [-a]],
            "are the means exchanged?": [[-m], [m]],
            "is this one step of EM?": [[a * np.tanh(a / 2)], [-a * np.tanh(a / 2)]],
        }
        mistakes = {why: value for why, value in mistakes.items() if not np.allclose(value, [[m], [-m]], rtol=1e-6)}
        # It stops where no mean moves by 1e-10 a, and is then at most 3 times as far from the end for a = 1.2.
        assert_close(got, [[m], [-m]], rtol=1e-8, what=f"fit_em of ±{a}", mistakes=mistakes)


def test_fit_em_stops_where_no_mean_moves_by_more_than_the_tolerance():
    """A first move of 0.144 is none at the tolerance 0.001, next to the largest datum, 1001.2: one step is made.

    So it is by other norms of a move. Whether the last one counts is left open; without a tolerance it ends at ±1.001.
    """
    data, start = np.array([[1001.2], [998.8]]), np.array([[1000.5], [999.5]])
    away = np.abs(contrastive_divergence.fit_em(data, start, tolerance=1e-3) - 1000)
    assert np.all((away > 0.499) & (away < 0.7)), (
        f"fit_em of 1000 ± 1.2 from 1000 ± 0.5 with tolerance=0.001, which is relative to the largest of the data, "
        f"should stop after one step, at 1000 ± 0.644; it ended at 1000 ± {away.max():.4g}"
    )


def test_fit_em_is_where_the_gradient_vanishes(rng):
    """Of two clusters of different size: no weights are estimated, the gradient is 0, and scipy climbs no higher."""
    data = np.concatenate([rng.normal(-1.5, 1, (24, 2)), rng.normal(1.5, 1, (8, 2))])
    start = np.array([[-1.0, -1.0], [1.0, 1.0]])
    kept = start.copy()
    got = contrastive_divergence.fit_em(data, start)
    want = em(data, start)
    mistakes = {
        "are the weights of the components estimated too? They are equal": em_of_weights(data, start),
        "does each point belong to one mean alone (k-means)?": k_means(data, start),
        "is this one step of EM?": em(data, start, 1),
        "are these ten steps of EM?": em(data, start, 10),
        "are these 100 steps of EM?": em(data, start, 100),
        "is this the mean of all the data?": np.repeat(data.mean(axis=0)[None], 2, axis=0),
        "is this the start?": start,
    }
    mistakes = {why: value for why, value in mistakes.items() if not np.allclose(value, want, rtol=1e-5)}
    # A stop at moves of 1e-10 is some 1e-8 from the end where EM keeps 0.99 of an error.
    assert_close(got, want, rtol=1e-6, atol=1e-6, what="fit_em(data, start)", mistakes=mistakes)
    gradient = slopes(data, got).mean(axis=0)
    assert_close(gradient, np.zeros(4), atol=1e-8, what="the gradient where fit_em ends")
    best = optimize.minimize(lambda m: -mean_log_likelihood(data, m.reshape(2, 2)), got.ravel(), tol=1e-9)
    assert mean_log_likelihood(data, got) >= -best.fun - 1e-9
    assert np.array_equal(start, kept), "fit_em writes on its start"


@pytest.mark.claim("prop-em-ascent")
@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (3, 5, 2), (20, 4, 2), (15, 2, 3)])
def test_fit_em_never_ends_below_its_start(n, k, d):
    """From scattered starts the likelihood at the end is at least that at the start, and the gradient there is 0."""
    data = scattered(n, d)
    for first in (100, 200, 300):
        start = scattered(k, d, first)
        got = contrastive_divergence.fit_em(data, start, tolerance=1e-9)
        assert got.shape == (k, d)
        assert mean_log_likelihood(data, got) >= mean_log_likelihood(data, start) - 1e-12
        shares = responsibilities(data, got).mean(axis=0)[:, None]
        step = slopes(data, got).mean(axis=0).reshape(k, d) / shares
        assert_close(step, np.zeros((k, d)), atol=1e-7, what="the step of EM where fit_em ends")


def test_fit_em_of_one_component_is_the_mean(rng):
    """With k = 1 the end is the mean of the data, from anywhere."""
    data = rng.standard_normal((6, 3))
    for place in (0.0, 50.0, -1e6):
        got = contrastive_divergence.fit_em(data, np.full((1, 3), place))
        assert_close(got, data.mean(axis=0)[None], rtol=1e-9, atol=1e-12, what=f"fit_em with k = 1 from {place}")
    got = contrastive_divergence.fit_em(np.array([[0.0], [0.0], [6.0]]), np.array([[1.0]]))
    mistakes = {"are equal rows counted once? Each is a datum": [[3.0]]}
    assert_close(got, [[2.0]], rtol=1e-9, what="fit_em with k = 1 of 0, 0 and 6", mistakes=mistakes)


def test_fit_em_leaves_a_mean_without_data_where_it_is():
    """A mean at 10⁹ is responsible for nothing, and stays; the others are fitted as if alone."""
    data = np.array([[0.0], [1.0], [8.0], [9.0]])
    with np.errstate(all="ignore"):
        got = contrastive_divergence.fit_em(data, np.array([[1e9], [0.0], [7.0]]))
    assert np.all(np.isfinite(got)), f"a mean without data became {got.ravel()}: 0/0"
    want = np.concatenate([[[1e9]], em(data, np.array([[0.0], [7.0]]))])
    assert_close(got, want, rtol=1e-8, atol=1e-8, what="fit_em with a mean at 10⁹")


def test_fit_em_is_in_no_hurry():
    """Data at ±1.01 keep 0.98 of an error a step: from 0.9 it takes a thousand to reach m = a tanh(am)."""
    a = 1.01
    m = optimize.brentq(lambda m: a * np.tanh(a * m) - m, 0.05, a, xtol=1e-15)
    got = contrastive_divergence.fit_em(np.array([[a], [-a]]), np.array([[0.9], [-0.9]]))
    # It stops at a move of 1e-10, and is then 1/(1 − 0.96) times as far from the end.
    assert_close(got, [[m], [-m]], rtol=1e-7, what="fit_em of ±1.01 (did it stop too early?)")


def test_fit_em_is_the_same_far_from_zero_and_at_any_order():
    """Data and start moved by 1000, or taken in another order, give the end moved, and in the same order of means."""
    data, start = scattered(14, 2), np.array([[1.0, 1.0], [-1.0, 0.0]])
    want = contrastive_divergence.fit_em(data, start)
    # The tolerance is relative to the largest of the data, 10⁻⁷ here, of which EM may keep up to 100 times.
    moved = contrastive_divergence.fit_em(data + 1000.0, start + 1000.0, tolerance=1e-13)
    assert_close(moved - 1000, want, rtol=0, atol=1e-6, what="fit_em of moved data")
    again = contrastive_divergence.fit_em(data[::-1], start[::-1])
    assert_close(again[::-1], want, rtol=0, atol=1e-6, what="fit_em of data and means in reverse")


def test_fit_em_says_when_steps_do_not_suffice():
    """With two steps for what takes fifty, a RuntimeError says so; no half-way means are returned."""
    data = np.array([[1.2], [-1.2]])
    with pytest.raises(RuntimeError):
        contrastive_divergence.fit_em(data, np.array([[0.5], [-0.5]]), steps=2)


def test_fit_em_refuses_bad_input():
    """No data, NaN, other columns, a tolerance that is not positive, and steps that are not counted are refused."""
    f = contrastive_divergence.fit_em
    assert_refused(f, np.zeros((0, 2)), MEANS, argument="data", value=(0, 2))
    assert_refused(f, np.full((2, 2), np.nan), MEANS, argument="data", value=np.nan)
    assert_refused(f, POINTS, np.zeros((2, 3)), argument="start", value=3)
    assert_refused(f, POINTS, MEANS * np.inf, argument="start", value=np.inf)
    for bad in (0.0, -1.0, np.nan):
        assert_refused(f, POINTS, MEANS, tolerance=bad, argument="tolerance", value=bad)
    for bad in (0, 2.5):
        assert_refused(f, POINTS, MEANS, steps=bad, argument="steps", value=bad)


# Score matching


def objective(x, means):
    """½|s|² + ∇·s at each x, of tensors, with s and its divergence multiplied out."""
    r = torch.softmax(-0.5 * ((x[:, None, :] - means) ** 2).sum(dim=2), dim=1)
    centre = r @ means
    square = (means**2).sum(dim=1)
    divergence = r @ square - (centre**2).sum(dim=1) - x.shape[1]
    return 0.5 * ((centre - x) ** 2).sum(dim=1) + divergence


def mistakes_in_score_matching(x, means):
    """What people compute when they mean the gradient of score matching, and why."""

    def gradient(function):
        at = torched(means).requires_grad_()
        return torch.autograd.grad(function(torched(x), at).mean(), at)[0].numpy()

    def half_square(x, m):
        centre = torch.softmax(-0.5 * ((x[:, None, :] - m) ** 2).sum(dim=2), dim=1) @ m
        return 0.5 * ((centre - x) ** 2).sum(dim=1)

    whole, square = gradient(objective), gradient(half_square)
    return {
        "is the divergence ∇·s missing?": square,
        "is the square ½|s|² missing?": whole - square,
        "is the ½ of ½|s|² missing?": whole + square,
        "is the sign of the divergence reversed?": 2 * square - whole,
        "is it to be made large, with the sign reversed?": -whole,
        "is it the sum over the points, not the mean?": whole * len(x),
        "is this the gradient of the likelihood?": slopes(x, means).mean(axis=0).reshape(means.shape),
    }


def test_score_matching_gradient_of_one_gaussian_is_the_way_from_the_mean():
    """For k = 1 the objective is ½|x − μ|² − d: its gradient, to be made small, is μ − x̄."""
    got = contrastive_divergence.score_matching_gradient(POINTS, np.array([[4.0, -1.0]]))
    mistakes = {"is it to be made large, with the sign reversed?": POINTS.mean(axis=0)[None] - [[4.0, -1.0]]}
    want = [[4.0, -1.0]] - POINTS.mean(axis=0)
    assert_close(got, want, rtol=SHARP, what="score_matching_gradient for k = 1", mistakes=mistakes)


@pytest.mark.parametrize(("n", "k", "d"), [(5, 3, 2), (1, 2, 1), (1, 1, 2), (4, 2, 3), (30, 4, 2), (3, 5, 1)])
def test_score_matching_gradient_is_the_automatic_gradient(rng, n, k, d):
    """PyTorch's gradient in the means of the mean of ½|s|² + ∇·s, multiplied out by hand."""
    x, means = 1.5 * rng.standard_normal((n, d)), 1.5 * rng.standard_normal((k, d))
    at = torched(means).requires_grad_()
    want = torch.autograd.grad(objective(torched(x), at).mean(), at)[0].numpy()
    mistakes = {w: v for w, v in mistakes_in_score_matching(x, means).items() if not np.allclose(v, want, rtol=1e-6)}
    got = contrastive_divergence.score_matching_gradient(x, means)
    what = f"score_matching_gradient of {n} points and {k} means in {d} dimension(s)"
    assert_close(got, want, rtol=1e-9, atol=1e-12, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-score-matching", kind="automatic differentiation")
def test_score_matching_gradient_is_that_of_the_automatic_slope_and_divergence(rng):
    """With s and ∇·s themselves by PyTorch, from log p~ alone, the gradient is the same: a third derivative."""
    points, means = 1.5 * rng.standard_normal((3, 2)), 1.5 * rng.standard_normal((3, 2))
    x, at = torched(points).requires_grad_(), torched(means).requires_grad_()
    s = torch.autograd.grad(log_model(x, at).sum(), x, create_graph=True)[0]
    divergence = sum(torch.autograd.grad(s[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(2))
    assert_close(divergence, (objective(x, at) - 0.5 * (s**2).sum(dim=1)).detach(), rtol=1e-9, atol=1e-11, what="∇·s")
    want = torch.autograd.grad((0.5 * (s**2).sum(dim=1) + divergence).mean(), at)[0]
    got = contrastive_divergence.score_matching_gradient(points, means)
    assert_close(got, want, rtol=1e-9, atol=1e-11, what="score_matching_gradient(x, means)")


def test_score_matching_gradient_far_from_every_mean():
    """Points 10³ from all the means see one Gaussian: μ − x, halved over two points; nothing is 0/0."""
    x = np.array([[1e3, 0.0], [-1e3, 1.0]])
    with np.errstate(all="ignore"):
        got = contrastive_divergence.score_matching_gradient(x, np.array([[0.0, 0.0], [3.0, 0.0]]))
    assert np.all(np.isfinite(got)), f"far from every mean the responsibilities are 0/0: work in logarithms (got {got})"
    assert_close(got, [[500.0, -0.5], [-498.5, 0.0]], what="score_matching_gradient far from every mean")


def test_score_matching_gradient_refuses_bad_input():
    """No rows, other columns, and NaN are refused."""
    f, good = contrastive_divergence.score_matching_gradient, np.zeros((2, 2))
    assert_refused(f, np.zeros((0, 2)), good, argument="x", value=(0, 2))
    assert_refused(f, good, np.zeros((2, 3)), argument="means", value=3)
    for bad in (np.nan, np.inf):
        assert_refused(f, np.full((2, 2), bad), good, argument="x", value=bad)
        assert_refused(f, good, np.full((2, 2), bad), argument="means", value=bad)
    assert_refused(f, np.zeros(2), good, argument="x", value=(2,))
    assert_refused(contrastive_divergence.score_matching_covariance, good * np.nan, argument="means", value=np.nan)
    assert_refused(contrastive_divergence.score_matching_covariance, np.zeros(3), argument="means", value=(3,))


def cells(means, h=0.25):
    """Points of a grid 8 beyond the means, as a tensor, and their probabilities, for the trapezoid rule."""
    lines = [np.arange(column.min() - 8, column.max() + 8 + h, h) for column in means.T]
    x = torched(np.array(list(itertools.product(*lines))))
    return x, torch.softmax(log_model(x, torched(means)), dim=0)


@pytest.mark.claim("thm-score-matching")
@pytest.mark.parametrize("means", [[[0.0], [1.5]], [[0.0, 0.0], [2.0, 0.5], [-1.0, 1.5]], [[1.0, 2.0]]])
def test_score_matching_covariance_is_that_of_an_estimate_from_its_equations(means):
    """H⁻¹ E[hhᵀ] H⁻¹ on a grid, h and the mean objective's Hessian H by PyTorch; H = E[∇g ∇gᵀ] = −E[g hᵀ]."""
    means = np.array(means)
    x, p = cells(means)
    at, size = torched(means), means.size

    def mean_objective(flat):
        return p @ objective(x, flat.reshape(means.shape))

    hessian = torch.autograd.functional.hessian(mean_objective, at.ravel())
    at_each = at.expand(len(x), *means.shape).clone().requires_grad_()
    each = torch.func.vmap(lambda row, m: objective(row[None], m)[0])(x, at_each)
    h = torch.autograd.grad(each.sum(), at_each)[0].reshape(len(x), size)
    middle = (h * p[:, None]).T @ h

    g = torched(slopes(x.numpy(), means))
    assert_close(-(g * p[:, None]).T @ h, hessian, rtol=1e-7, atol=1e-8, what="−E[g hᵀ], the Hessian at the truth")
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: weighted_ways(row, at)))(x)
    assert_close(torch.einsum("n,nia,nja->ij", p, jacobian, jacobian), hessian, rtol=1e-7, atol=1e-8, what="E[∇g ∇gᵀ]")

    inverse = torch.linalg.inv(hessian)
    want = (inverse @ middle @ inverse).numpy()
    information = ((g * p[:, None]).T @ g).numpy()
    mistakes = {
        "is this D⁻¹ alone?": inverse,
        "is this E[hhᵀ] alone?": middle,
        "is one of the two D⁻¹ missing?": inverse @ middle,
        "is this D E[hhᵀ]⁻¹ D, its inverse?": np.linalg.inv(want),
        "is this the bound of the likelihood, I⁻¹?": np.linalg.inv(information),
        "is the Fisher information used for D?": np.linalg.inv(information)
        @ middle.numpy()
        @ np.linalg.inv(information),
    }
    mistakes = {why: np.asarray(value) for why, value in mistakes.items() if len(means) > 1}
    got = contrastive_divergence.score_matching_covariance(means)
    assert_close(got, want, rtol=1e-6, atol=1e-7, what="score_matching_covariance(means)", mistakes=mistakes)
    excess = np.linalg.eigvalsh(got - np.linalg.inv(information))
    assert excess.min() > -1e-7, "score matching beats the Cramér-Rao bound"
    assert (excess.max() > 1e-3) == (len(means) > 1)


def weighted_ways(row, means):
    """∇ log p~ in the means at one x, raveled, of tensors."""
    away = row - means
    return (torch.softmax(-0.5 * (away**2).sum(dim=1), dim=0)[:, None] * away).ravel()


@pytest.mark.claim("thm-score-matching")
def test_score_matching_objective_is_the_squared_error_of_the_slope_up_to_a_constant():
    """½E|s − s*|² − E[½|s|² + ∇·s] is ½E|s*|², by quadrature, whatever the means; also for p* that is no mixture."""
    x = np.arange(-12, 12, 1 / 32)[:, None]
    for log_p, slope in [
        (special.logsumexp(-0.5 * (x - [-1.0, 2.0]) ** 2, axis=1), score(x, np.array([[-1.0], [2.0]]))[:, 0]),
        (-(x[:, 0] ** 2) / 2 - x[:, 0] ** 4 / 20, -x[:, 0] - x[:, 0] ** 3 / 5),
    ]:
        p = special.softmax(log_p)
        for means in ([[0.0], [1.0], [-2.0]], [[0.3], [2.5], [2.0]]):
            s = score(x, np.array(means))[:, 0]
            error = 0.5 * p @ (s - slope) ** 2
            mean = float(torched(p) @ objective(torched(x), torched(means)))
            assert_close(error - mean, 0.5 * p @ slope**2, rtol=1e-8, what="½E|s − s*|² − E[½|s|² + ∇·s]")


# Short chains


def slope_equations(x, means):
    """H = s·∇g + Δg at each x, raveled, by PyTorch's gradient of ½|s|² + ∇·s."""
    at = torched(means).expand(len(x), *means.shape).clone().requires_grad_()
    each = torch.func.vmap(lambda row, m: objective(row[None], m)[0])(torched(x), at)
    return torch.autograd.grad(each.sum(), at)[0].reshape(len(x), -1).numpy()


@pytest.mark.claim("thm-cd-one")
def test_score_matching_gradient_is_what_one_short_step_leaves_of_the_push():
    """E g(y) = g + ε(s·∇g + Δg) + O(ε²) for one unadjusted step, by Gauss–Hermite; the push is −ε × gradient."""
    z, w = np.polynomial.hermite_e.hermegauss(30)
    z, w = np.array(list(itertools.product(z, z))), np.outer(w, w).ravel() / w.sum() ** 2
    g, h = slopes(POINTS, MEANS), slope_equations(POINTS, MEANS)
    gradient = contrastive_divergence.score_matching_gradient(POINTS, MEANS)
    assert_close(gradient.ravel(), h.mean(axis=0), rtol=1e-9, atol=1e-12, what="score_matching_gradient(x, means)")
    rests, pushes = [], []
    for size in (4e-3, 2e-3, 1e-3):
        ends = (POINTS + size * score(POINTS, MEANS))[:, None, :] + np.sqrt(2 * size) * z
        later = np.einsum("m,nmp->np", w, slopes(ends.reshape(-1, 2), MEANS).reshape(len(POINTS), len(z), -1))
        rests.append((later - g - size * h) / size**2)
        pushes.append(((g - later).mean(axis=0) + size * gradient.ravel()) / size**2)
    for rest in (rests, pushes):
        # Over ε² the rest is a constant c + O(ε): it halves its way to c, and stays of the size of fourth derivatives.
        assert np.abs(rest[-1]).max() < 30
        first, second = np.abs(rest[0] - rest[1]).max(), np.abs(rest[1] - rest[2]).max()
        assert second < 0.6 * first + 1e-6, f"the rest over ε² does not settle: it changes by {first}, then {second}"
    assert np.abs(h).max() > 0.3  # so a term of this order would show


def coordinate(side, h):
    """Points of a grid, and the modes of the diffusion for the mixture of two at ±side/2: rates, and vectors √p-wise.

    Jumps to the neighbours at the rates √(p′/p)/h² keep p and are reversible; the generator's error is O(h²).
    """
    x = np.arange(-side / 2 - 8, side / 2 + 8 + h / 2, h)
    log_p = np.logaddexp(-((x - side / 2) ** 2) / 2, -((x + side / 2) ** 2) / 2)
    steps = np.diff(log_p) / 2
    leave = (np.append(np.exp(steps), 0) + np.append(0, np.exp(-steps))) / h**2
    rates, modes = linalg.eigh_tridiagonal(leave, np.full(len(x) - 1, -1 / h**2))
    keep = rates < 2e3
    return x, np.sqrt(special.softmax(log_p)), rates[keep], modes[:, keep]


def correlations(side, time, h):
    """E[u(x) v(y)] for u, v among the responsibilities r and pulls r(x − μ) in one coordinate, y a time later."""
    x, root, rates, modes = coordinate(side, h)
    upper = special.expit(side * x)
    parts = np.stack([1 - upper, upper, (1 - upper) * (x + side / 2), upper * (x - side / 2)])
    parts = (parts * root) @ modes
    return (parts * np.exp(-rates * time)) @ parts.T


def information_of(time, side, h=None):
    """A = E[g(x)g(x)ᵀ] − E[g(x)g(y)ᵀ], from correlations in each coordinate alone; extrapolated in the grid."""
    if h is None:
        fine, coarse = information_of(time, side, 0.05), information_of(time, side, 0.1)
        return fine + (fine - coarse) / 3
    now, later = correlations(side, 0.0, h), correlations(side, time, h)
    # component (a, b) has r = r_a r_b, and the gradient's coordinate 0 pulls in the first, 1 in the second
    index = [(2 * (axis == 0) + a, 2 * (axis == 1) + b) for a, b, axis in itertools.product((0, 1), (0, 1), (0, 1))]
    first, second = (np.array(column) for column in zip(*index, strict=True))

    def both(c):
        return c[np.ix_(first, first)] * c[np.ix_(second, second)]

    return both(now) - both(later)


@pytest.mark.parametrize("side", [3.0, 1.5])
def test_cd_information_is_that_of_a_walk_on_a_grid(side):
    """I − E[g(x)g(y)ᵀ] with the diffusion as a birth-and-death process, coordinate by coordinate; at four times."""
    more = {} if side == 3 else {"side": side}
    for time in (0.05, 0.5, 4.0):
        want = information_of(time, side)
        twice, information = information_of(2 * time, side), mixtures.fisher_information(side / 3 * mixtures.SQUARE)
        mistakes = {
            "is it 2A, without the ½?": 2 * want,
            "is the time taken twice?": twice,
            "is the time halved, for dx = ½∇log p dt + dW?": information_of(time / 2, side),
            "is this what is left, E[g(x)g(y)ᵀ], not I less that?": information - want,
            "is this the Fisher information?": information,
            "is the side left out, and 3 taken?": information_of(time, 3.0),
            "are the coordinates taken in another order?": want.reshape(2, 2, 2, 2, 2, 2)
            .transpose(1, 0, 2, 4, 3, 5)
            .reshape(8, 8),
        }
        mistakes = {w: v for w, v in mistakes.items() if not np.allclose(v, want, rtol=1e-3, atol=1e-4)}
        got = contrastive_divergence.cd_information(time, **more)
        # Extrapolated grids are right to 1e-5; the mistakes are off by more than 1e-3.
        what = f"cd_information({time}, side={side})"
        assert_close(got, want, rtol=1e-4, atol=2e-5, what=what, mistakes=mistakes)


@pytest.mark.parametrize("side", [3.0, 1.5])
def test_cd_covariance_is_the_sandwich_of_its_informations(side):
    """A⁻¹(2A − A′)A⁻¹ with both from the walk on a grid; never below I⁻¹, and not A⁻¹."""
    more = {} if side == 3 else {"side": side}
    bound = np.linalg.inv(mixtures.fisher_information(side / 3 * mixtures.SQUARE))
    for time in (0.3, 2.0):
        a, later = information_of(time, side), information_of(2 * time, side)
        inverse = np.linalg.inv(a)
        want = inverse @ (2 * a - later) @ inverse
        mistakes = {
            "is this A⁻¹?": inverse,
            "is this 2A⁻¹, the chains' own noise?": 2 * inverse,
            "is one of the two A⁻¹ missing?": inverse @ (2 * a - later),
            "is the middle 2A, as if the chains' noise were in it?": 2 * inverse,
            "is the middle A′, not 2A − A′?": inverse @ later @ inverse,
            "is this the bound I⁻¹?": bound,
            "is the middle A at t, so that this is A⁻¹AA⁻¹ = A⁻¹?": inverse,
        }
        got = contrastive_divergence.cd_covariance(time, **more)
        # A's error of 1e-5 over its smallest eigenvalue, 0.03 to 0.2.
        assert_close(got, want, rtol=2e-3, atol=2e-3, what=f"cd_covariance({time}, side={side})", mistakes=mistakes)
        assert np.linalg.eigvalsh(got - bound).min() > -1e-9, "cd_covariance is below the Cramér-Rao bound"


@pytest.mark.claim("prop-cd-limits")
@pytest.mark.parametrize("side", [3.0, 2.0])
def test_cd_information_rises_from_score_matching_to_the_fisher_information(side):
    """A(t) − tD is O(t²) with D = E[∇g∇gᵀ] by PyTorch; A rises, in the order of matrices, to I by t = 40."""
    corners = side / 3 * mixtures.SQUARE
    x, p = cells(corners, 0.5)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: weighted_ways(row, torched(corners))))(x)
    d = torch.einsum("n,nia,nja->ij", p, jacobian, jacobian).numpy()
    ratios = [contrastive_divergence.cd_information(t, side) / t for t in (1e-6, 1e-3, 2e-3)]
    # The grid of halves is right to 1e-6, and t times fourth derivatives are 1e-5.
    assert_close(ratios[0], d, rtol=1e-4, atol=1e-4, what="A/t at t = 1e-6")
    one, two = (np.abs(ratio - ratios[0]).max() for ratio in ratios[1:])
    assert 1.8 < two / one < 2.2, f"A − tD does not fall like t²: {one} at 0.001, {two} at 0.002"
    information = mixtures.fisher_information(corners)
    before = np.zeros((8, 8))
    for t in (0.01, 0.1, 0.5, 2.0, 8.0, 40.0):
        a = contrastive_divergence.cd_information(t, side)
        assert np.linalg.eigvalsh(a - before).min() > -1e-10, f"A falls somewhere before t = {t}"
        assert np.linalg.eigvalsh(information - a).min() > -1e-10, f"A at t = {t} is above I"
        before = a
    # The slowest mode, of rate 0.257 on the side 3, is in the product of two: e^(−40 · 0.257) = 3e-5 is left of it.
    assert_close(before, information, rtol=0, atol=2e-4, what="A at t = 40")
    assert_close(contrastive_divergence.cd_information(400.0, side), information, rtol=1e-8, atol=1e-9, what="A at 400")


@pytest.mark.claim("prop-cd-limits")
@pytest.mark.parametrize("side", [3.0, 2.0])
def test_cd_covariance_goes_from_score_matching_to_the_bound(side):
    """At t = 1e-6 it is score_matching_covariance, at 400 the inverse Fisher information, of that square."""
    corners = side / 3 * mixtures.SQUARE
    got = contrastive_divergence.cd_covariance(1e-6, side)
    want = contrastive_divergence.score_matching_covariance(corners)
    assert_close(got, want, rtol=1e-3, atol=1e-3, what="cd_covariance(1e-6)")  # 2A − A′, as written, loses 1e-4
    got = contrastive_divergence.cd_covariance(400.0, side)
    want = np.linalg.inv(mixtures.fisher_information(corners))
    assert_close(got, want, rtol=1e-7, atol=1e-8, what="cd_covariance(400)")


@pytest.mark.parametrize("name", ["cd_information", "cd_covariance"])
def test_cd_information_and_cd_covariance_refuse_bad_input(name):
    """A time is positive; a side is between 1 and 20."""
    f = getattr(contrastive_divergence, name)
    for bad in (0.0, -1.0, np.nan):
        assert_refused(f, bad, argument="time", value=bad)
    for bad in (0.5, 21.0, -3.0, np.nan):
        assert_refused(f, 1.0, bad, argument="side", value=bad)


def states(theta, kernel, steps):
    """A law on six states, p ∝ exp(f(θ)), f not linear in θ: p, ∇log p~ (6, 2), and a kernel's power that keeps p."""
    at = torched(theta).requires_grad_()
    base = torched([[0.3, -1.0], [1.2, 0.4], [-0.5, 0.8], [0.0, -0.2], [2.0, 1.0], [-1.4, 0.6]])
    log_p = base @ at + 0.5 * torch.sin(base.flip(1) @ (at**2))
    p = torch.softmax(log_p, dim=0).detach().numpy()
    g = np.array([torch.autograd.grad(value, at, retain_graph=True)[0].numpy() for value in log_p])

    def barker(proposal):
        k = proposal * p / (p[:, None] + p)  # smooth in θ, where Metropolis' rule has corners
        np.fill_diagonal(k, 0)
        return k + np.diag(1 - k.sum(axis=1))

    ring = np.roll(np.eye(6), 1, axis=1) / 2 + np.roll(np.eye(6), -1, axis=1) / 2
    leaps = np.full((6, 6), 1 / 6)
    one = {
        "reversible": barker(ring),
        "not reversible": barker(ring)
        @ barker(leaps + 0.1 * np.roll(np.eye(6), 2, 1) + 0.1 * np.roll(np.eye(6), -2, 1)),
        "independent": np.tile(p, (6, 1)),
        "lazy": 0.6 * np.eye(6) + 0.4 * np.tile(p, (6, 1)),
    }[kernel]
    return SimpleNamespace(p=p, g=g, k=np.linalg.matrix_power(one, steps))


TRUTH = np.array([0.4, -0.7])


def equations(theta, weights, kernel, steps):
    """The push of contrastive divergence without its noise, for data with these weights."""
    model = states(theta, kernel, steps)
    return weights @ (model.g - model.k @ model.g)


def ingredients(kernel, steps):
    """p and g at the truth, centred there, A_L, A_2L, ψ and I."""
    model = states(TRUTH, kernel, steps)
    g = model.g - model.p @ model.g
    weighted = model.p[:, None] * g
    r = (model.k @ g).T @ weighted
    twice = (model.k @ model.k @ g).T @ weighted
    information = weighted.T @ g
    return SimpleNamespace(
        model=model, g=g, a=information - r, twice=information - twice, psi=g - model.k @ g, information=information
    )


@pytest.mark.claim("thm-cd")
@pytest.mark.parametrize("kernel", ["reversible", "not reversible", "independent", "lazy"])
@pytest.mark.parametrize("steps", [1, 3])
def test_cd_push_vanishes_at_the_truth_with_the_slope_minus_a(kernel, steps):
    """On six states: the mean push is 0 at θ*, its slope is −(I − R), and A is ½E ΔΔᵀ if reversible."""
    found, p = ingredients(kernel, steps), states(TRUTH, kernel, steps).p
    assert_close(p @ states(TRUTH, kernel, steps).k, p, rtol=1e-12, what="p after the kernel")
    assert_close(equations(TRUTH, p, kernel, steps), np.zeros(2), atol=1e-14, what="the mean push at the truth")
    away = equations(TRUTH + 0.3, p, kernel, steps)
    assert np.abs(away).max() > 0.02, "the mean push vanishes elsewhere too"
    h = 1e-5
    quotient = np.column_stack(
        [
            (equations(TRUTH + e, p, kernel, steps) - equations(TRUTH - e, p, kernel, steps)) / (2 * h)
            for e in h * np.eye(2)
        ]
    )
    assert_close(quotient, -found.a, rtol=1e-7, atol=1e-9, what="the slope of the mean push")
    if kernel != "not reversible":
        moves = found.g[:, None, :] - found.g
        half = 0.5 * np.einsum("xy,xyi,xyj->ij", found.model.p[:, None] * found.model.k, moves, moves)
        assert_close(half, found.a, rtol=1e-9, atol=1e-12, what="½E[(g(x) − g(y))(g(x) − g(y))ᵀ]")
    if kernel == "independent":
        assert_close(found.a, found.information, rtol=1e-9, what="A of exact negatives")


@pytest.mark.claim("thm-cd")
@pytest.mark.parametrize(
    ("kernel", "steps"), [("reversible", 1), ("reversible", 4), ("not reversible", 2), ("lazy", 1)]
)
def test_cd_root_has_the_sandwich_as_its_covariance(kernel, steps):
    """The root's response to more weight on each state, by scipy's solver, has the covariance A⁻¹BA⁻ᵀ ⪰ I⁻¹."""
    found, h = ingredients(kernel, steps), 1e-5
    p = found.model.p

    def root(weights):
        solved = optimize.root(equations, TRUTH, args=(weights, kernel, steps), tol=1e-13)
        return solved.x

    responses = np.array([(root((1 - h) * p + h * e) - root((1 + h) * p - h * e)) / (2 * h) for e in np.eye(6)])
    covariance = (responses * p[:, None]).T @ responses
    b = (found.psi * p[:, None]).T @ found.psi
    inverse = np.linalg.inv(found.a)
    assert_close(covariance, inverse @ b @ inverse.T, rtol=1e-5, what="the covariance of the root, times J")
    if kernel != "not reversible":
        assert_close(b, 2 * found.a - found.twice, rtol=1e-9, atol=1e-12, what="B = 2A_L − A_2L")
    excess = np.linalg.eigvalsh(inverse @ b @ inverse.T - np.linalg.inv(found.information))
    assert excess.min() > -1e-9
    equal = np.abs(found.psi - found.g @ np.linalg.solve(found.information, found.a.T)).max() < 1e-9
    assert equal == (excess.max() < 1e-9) == (kernel == "lazy")


@pytest.mark.claim("cor-cd-noise")
@pytest.mark.parametrize(("kernel", "steps"), [("reversible", 1), ("reversible", 2), ("independent", 1), ("lazy", 3)])
def test_cd_noise_is_twice_a_over_n(kernel, steps):
    """A row and its chain push with covariance 2A (2I if exact); the average's noise is 2A⁻¹/(nT) ⪰ 2I⁻¹/(nT)."""
    found = ingredients(kernel, steps)
    joint = found.model.p[:, None] * found.model.k
    moves = found.g[:, None, :] - found.g
    assert_close(np.einsum("xy,xyi->i", joint, moves), np.zeros(2), atol=1e-14, what="the mean push at the truth")
    push = np.einsum("xy,xyi,xyj->ij", joint, moves, moves)
    assert_close(push, 2 * found.a, rtol=1e-9, atol=1e-13, what="the covariance of the push of one row")
    if kernel == "independent":
        assert_close(push, 2 * found.information, rtol=1e-9, what="that of a datum and an exact negative")
    # δ' = δ − η(Aδ + ξ) with this noise, n = 1: the covariance of the average by linear algebra, at T and 2T.
    step, sums, totals, limits = np.eye(2) - 0.5 * found.a, np.zeros((2, 2)), np.zeros((2, 2)), []
    for t in range(1, 8001):
        sums = np.eye(2) + step @ sums
        totals = totals + 0.25 * sums @ push @ sums.T
        if t in (3999, 7999):
            limits.append(totals / (t + 1))
    want = 2 * np.linalg.inv(found.a)
    assert_close(2 * limits[1] - limits[0], want, rtol=1e-5, what="T × the covariance of the average")
    r = found.information - found.a
    if np.linalg.eigvalsh((r + r.T) / 2).min() >= -1e-12:
        assert np.linalg.eigvalsh(want - 2 * np.linalg.inv(found.information)).min() > -1e-9
    else:
        assert kernel == "reversible"
        assert steps == 1


def metropolis_on_a_grid(means, size, steps):
    """In one dimension: points, their probabilities, and the adjusted Langevin kernel's power between them."""
    x = np.linspace(means.min() - 6.5, means.max() + 6.5, 420)
    log_p = special.logsumexp(-0.5 * (x[:, None] - means[:, 0]) ** 2, axis=1)
    ahead = x + size * score(x[:, None], means)[:, 0]
    log_q = -((x - ahead[:, None]) ** 2) / (4 * size) - 0.5 * np.log(4 * np.pi * size)
    log_ratio = log_p + log_q.T - (log_p[:, None] + log_q)
    kernel = np.exp(log_q + np.minimum(0, log_ratio)) * (x[1] - x[0])
    kernel[np.diag_indices(len(x))] += 1 - kernel.sum(axis=1)
    return x, special.softmax(log_p), np.linalg.matrix_power(kernel, steps)


@pytest.mark.claim("cor-cd-noise")
def test_cd_pushes_with_covariance_twice_a(rng):
    """At the truth, 20,000 rows less the ends of their chains: E ΔΔᵀ = 2A, A of the adjusted kernel on a grid."""
    means, size, steps = np.array([[-1.2], [1.2]]), 0.4, 2
    x, p, kernel = metropolis_on_a_grid(means, size, steps)
    g = slopes(x[:, None], means)
    a = g.T @ (p[:, None] * (g - kernel @ g))
    data = mixtures.draw(rng, means, 20_000)[0]
    positives, negatives = KINDS["cd"](20_000, steps=steps, size=size)(rng, data, means)
    moves = slopes(positives, means) - slopes(negatives, means)
    products = np.column_stack([moves[:, 0] ** 2, moves[:, 0] * moves[:, 1], moves[:, 1] ** 2])
    truth = 2 * a[[0, 0, 1], [0, 1, 1]]
    information = 2 * mixtures.fisher_information(means)[[0, 0, 1], [0, 1, 1]]
    hints = {"the chains seem to be independent of the positives: do they start there, row for row": information}
    assert_unbiased(products, truth, detects=0.06, hints=hints)
    assert_unbiased(moves, [0.0, 0.0], detects=0.06)


@pytest.mark.claim("prop-correlation", kind="symbolic")
def test_correlated_chains_in_one_dimension():
    """sympy: stationary variances η/(n(2−η)), (η/n)q²/(2q−η), 2η/(n(2−η(1−ρ))), averaged 1, q, q + 1 over nT."""
    rate, rho, n = sympy.symbols("eta rho n", positive=True)
    q = (1 + rho) / (1 - rho)
    a, b, c = sympy.symbols("a b c")

    def variance(step, noise):
        """Of the first coordinate, where s' = step s + noise."""
        size = step.shape[0]
        unknown = sympy.Matrix([[a]]) if size == 1 else sympy.Matrix([[a, b], [b, c]])
        found = sympy.solve(list(unknown - step * unknown * step.T - noise), [a, b, c][: 2 * size - 1], dict=True)
        return sympy.simplify(found[0][a])

    def long_run(step, forces, variances):
        """T times the variance of the average, in the limit: the response to a steady force, squared."""
        response = (sympy.eye(step.shape[0]) - step).inv() * forces
        return sympy.simplify(sum(v * response[0, i] ** 2 for i, v in enumerate(variances)))

    noise = (1 - rho**2) / n
    exact = sympy.Matrix([[1 - rate]]), sympy.Matrix([[rate]]), [1 / n]
    # (μ, ȳ) about x̄: ȳ' = μ + ρ(ȳ − μ) + w, then μ' = μ − ηȳ'
    forces = sympy.Matrix([[-rate], [1]])
    persistent = sympy.Matrix([[1 - rate * (1 - rho), -rate * rho], [1 - rho, rho]]), forces, [noise]
    # positives x̄ₙ with variance 1/n, negatives from them: the push is (1 − ρ)(x̄ₙ − μ) − w
    cd = sympy.Matrix([[1 - rate * (1 - rho)]]), sympy.Matrix([[rate * (1 - rho), -rate]]), [1 / n, noise]
    stated = [
        (exact, rate / (n * (2 - rate)), 1 / n),
        (persistent, rate / n * q**2 / (2 * q - rate), q / n),
        (cd, 2 * rate / (n * (2 - rate * (1 - rho))), (q + 1) / n),
    ]
    for (step, forces, variances), last, average in stated:
        spread = forces * sympy.diag(*variances) * forces.T
        assert sympy.simplify(variance(step, spread) - last) == 0
        assert sympy.simplify(long_run(step, forces, variances) - average) == 0

    largest = sympy.lambdify((rate, rho), persistent[0], "numpy")
    for r in (0.0, 0.3, 0.9):
        edge = 2 * (1 + r) / (1 - r)
        inside, outside = (
            np.abs(np.linalg.eigvals(np.array(largest(f * edge, r), float))).max() for f in (0.999, 1.001)
        )
        assert inside < 1 < outside, f"persistent chains with ρ = {r} are not stable exactly below the rate 2q"


@pytest.mark.claim("prop-correlation", kind="symbolic")
def test_chains_that_start_elsewhere_rest_elsewhere():
    """sympy: with starts of mean m the push x̄ − (μ + ρ(m − μ)) vanishes at x̄ + ρ/(1 − ρ)(x̄ − m) alone."""
    mu, m, mean, rho = sympy.symbols("mu m xbar rho")
    (rest,) = sympy.solve(mean - (mu + rho * (m - mu)), mu)
    assert sympy.simplify(rest - (mean + rho / (1 - rho) * (mean - m))) == 0


def corner_coordinate(side, h=1 / 16):
    """One coordinate of a square's law, centred: a grid, and its probabilities."""
    x = np.arange(-side / 2 - 9, side / 2 + 9 + h, h)
    return x, special.softmax(np.logaddexp(-((x - side / 2) ** 2) / 2, -((x + side / 2) ** 2) / 2))


@pytest.mark.claim("prop-unadjusted-square")
@pytest.mark.parametrize(("size", "side"), [(0.1, 3.0), (0.5, 3.0), (0.3, 2.2)])
def test_unadjusted_side_is_where_the_push_vanishes(size, side):
    """All eight coordinates of the push, by quadrature in 2-D over x and z, are 0 there, and ¼ of E − E′ elsewhere."""
    rest = contrastive_divergence.unadjusted_side(side, size, 1)
    z = np.arange(-8, 8.1, 0.25)  # the trapezoid rule: the poles of tanh are far enough from the line
    w, w2 = special.softmax(-(z**2) / 2), 2 * special.softmax(-(z**2) / 2)
    line, p = corner_coordinate(side, 1 / 2)
    x, weights = np.array(list(itertools.product(line, line))), np.outer(p, p).ravel()
    keep = weights > 1e-12
    x, weights = x[keep], weights[keep] / weights[keep].sum()

    def push(s):
        corners = s * (mixtures.SQUARE / 3 - 0.5)
        ahead = x + size * score(x, corners)
        total = weights @ slopes(x, corners)
        for i, j in itertools.product(range(0, len(z), 2), repeat=2):
            if w2[i] * w2[j] > 1e-8:
                noise = np.sqrt(2 * size) * np.array([z[i], z[j]])
                total -= w2[i] * w2[j] * (weights @ slopes(ahead + noise, corners))
        return total

    mistakes = {"is this the side of the data itself?": side}
    line, p = corner_coordinate(side)

    def gap(s, size=size):
        ahead = line + size * (s / 2 * np.tanh(s * line / 2) - line)
        ends = ahead[:, None] + np.sqrt(2 * size) * z
        return p @ (line * np.tanh(s * line / 2)) - p @ (ends * np.tanh(s * ends / 2)) @ w

    want = optimize.brentq(gap, 0.8 * side, 1.4 * side, xtol=1e-12)
    mistakes |= {
        "is the noise's variance taken for ε, not 2ε?": optimize.brentq(
            lambda s: gap_with_noise(line, p, s, side, size, z, w, np.sqrt(size)), 0.2, 4 * side
        )
    }
    what = f"unadjusted_side({side}, {size}, 1)"
    assert_close(rest, want, rtol=1e-6, what=what, mistakes=mistakes)
    # Cells of ½ leave 2e-6 of E tanh, and the pairs of z left out 1e-6.
    assert_close(push(rest), np.zeros(8), atol=2e-5, what="the push at rest")
    signs = (2 * mixtures.SQUARE / 3 - 1).ravel()
    assert_close(
        push(0.9 * side), signs * gap(0.9 * side) / 4, rtol=1e-3, atol=2e-5, what="the push at 0.9 of the side"
    )


def gap_with_noise(line, p, s, side, size, z, w, noise):
    """E − E′ with another noise."""
    ahead = line + size * (s / 2 * np.tanh(s * line / 2) - line)
    ends = ahead[:, None] + noise * z
    return p @ (line * np.tanh(s * line / 2)) - p @ (ends * np.tanh(s * ends / 2)) @ w


@pytest.mark.claim("prop-unadjusted-square")
@pytest.mark.parametrize(("size", "length"), [(0.2, 3), (0.2, 40), (0.2, None), (0.02, 200), (0.02, None)])
def test_unadjusted_side_after_several_steps(size, length):
    """With the step as a matrix on a grid, to its power or until it rests, E − E′ changes sign at the side."""
    side, h = 3.0, 1 / 8
    x, p = corner_coordinate(side, h)

    def gap(s):
        ahead = x + size * (s / 2 * np.tanh(s * x / 2) - x)
        kernel = np.exp(-((x - ahead[:, None]) ** 2) / (4 * size)) * h / np.sqrt(4 * np.pi * size)
        law = p
        for _ in range(length or round(80 / size)):
            law = law @ kernel
        return (p - law / law.sum()) @ (x * np.tanh(s * x / 2))

    got = contrastive_divergence.unadjusted_side(side, size, length)
    assert_close(gap(got), 0.0, atol=1e-7, what=f"E − E′ at unadjusted_side({side}, {size}, {length}) = {got}")
    assert gap(got - 0.01) * gap(got + 0.01) < 0


def test_unadjusted_side_of_small_steps_is_that_of_the_data():
    """The error is of first order in ε: near 0 the side is that of the data, and halving ε halves the distance."""
    for side in (3.0, 5.0):
        one, two = (contrastive_divergence.unadjusted_side(side, size, 1) - side for size in (2e-3, 4e-3))
        assert abs(one) < 0.01, f"unadjusted_side({side}, 0.002, 1) is off by {one}, which is not of the order of ε"
        assert 1.9 < two / one < 2.1, f"unadjusted_side is off by {one} at ε = 0.002, by {two} at 0.004: not like ε"


def test_unadjusted_side_refuses_bad_input():
    """A side is between 2 and 20, ε between 1/10,000 and ½, and a length is counted, or None."""
    f = contrastive_divergence.unadjusted_side
    for bad in (1.5, 21.0, np.nan):
        assert_refused(f, bad, 0.1, 1, argument="side", value=bad)
    for bad in (0.0, 0.6, -0.1, np.nan):
        assert_refused(f, 3.0, bad, 1, argument="step_size", value=bad)
    for bad in (0, 2.5):
        assert_refused(f, 3.0, 0.1, bad, argument="chain_length", value=bad)


# What arrays may ask for

SYMMETRIC = [[2, 1], [1, 3]]
CALLS = {
    "mean_gradient": (POINTS * 4, MEANS * 2),
    "match": (MEANS * 2, MEANS[::-1] * 2 + 1),
    "score_matching_gradient": (POINTS * 4, MEANS * 2),
    "fit_em": (POINTS * 4, MEANS * 2),
    "stationary_covariance": (SYMMETRIC, 3, 0.1),
    "ball_probability": (1.0, SYMMETRIC),
    "score_matching_covariance": (np.array([[0], [3]]),),
}
every_call = pytest.mark.parametrize("name", CALLS)


def called(name, kind):
    """The function on its arrays made by `kind`, and these arrays."""
    arguments = [kind(np.array(a)) if isinstance(a, np.ndarray | list) else a for a in CALLS[name]]
    return getattr(contrastive_divergence, name)(*arguments), arguments


def flat(result):
    """All its numbers."""
    parts = result if isinstance(result, tuple) else (result,)
    return np.concatenate([np.ravel(part) for part in parts]).astype(float)


@every_call
def test_arrays_of_any_kind_are_numbers(name):
    """Whole numbers of 8 and 64 bits, float32, Fortran order and strides give what the same floats give."""
    floats = [np.array(a, float) for a in CALLS[name] if isinstance(a, np.ndarray | list)]
    assert all((a == np.round(a)).all() for a in floats)
    want = flat(called(name, lambda a: a.astype(float))[0])

    def strided(a):
        whole = np.full((3 * len(a), 2 * a.shape[1]), np.nan)
        whole[::3, ::2] = a
        return whole[::3, ::2]

    kinds_of = {
        "int64": lambda a: a.astype(np.int64),
        "int8": lambda a: a.astype(np.int8),
        "float32": lambda a: a.astype(np.float32),
        "Fortran order": np.asfortranarray,
        "strides": strided,
        "reversed strides": lambda a: a.astype(float)[::-1].copy()[::-1],
    }
    for kind, make in kinds_of.items():
        assert_close(flat(called(name, make)[0]), want, rtol=1e-9, atol=1e-12, what=f"{name} of {kind}")


@pytest.mark.parametrize("name", ["mean_gradient", "match", "score_matching_gradient", "fit_em"])
def test_arrays_may_be_of_different_kinds(name):
    """Whole numbers beside fractions, in either place, are not a reason to round the fractions."""
    function, fractions = getattr(contrastive_divergence, name), POINTS[:3]
    whole = np.array([[3, -1], [0, 2], [1, 1]])
    for kind in (np.int64, np.int8, np.float32):
        for i in (0, 1):
            pair = [fractions / 3, fractions / 3]
            pair[i] = whole.astype(kind)
            got, want = function(*pair), function(*(np.asarray(array, float) for array in pair))
            what = f"{name} with {np.dtype(kind)} in place {i} and fractions in the other"
            assert_close(flat(got), flat(want), rtol=1e-9, atol=1e-12, what=what)


@every_call
def test_arguments_are_left_alone(name):
    """Arrays that must not be written to are not written to, and the result is an array of its own."""

    def locked(a):
        a = a.astype(float)
        a.flags.writeable = False
        return a

    result, arguments = called(name, locked)
    before = [np.array(a) for a in CALLS[name] if isinstance(a, np.ndarray | list)]
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    assert all(np.array_equal(now, then) for now, then in zip(arrays, before, strict=True))
    parts = result if isinstance(result, tuple) else (result,)
    assert not any(isinstance(p, np.ndarray) and np.shares_memory(p, a) for p in parts for a in arrays)


@every_call
def test_arrays_that_have_changed_are_read_again(name):
    """After the numbers in the same arrays have changed, the result is that of the new numbers."""
    arrays = [np.array(a, float) for a in CALLS[name] if isinstance(a, np.ndarray | list)]
    given = iter(arrays)
    arguments = [next(given) if isinstance(a, np.ndarray | list) else a for a in CALLS[name]]
    function = getattr(contrastive_divergence, name)
    first = flat(function(*arguments))
    for a in arrays:
        a *= 1.25
    again = flat(function(*arguments))
    given = iter(arrays)
    fresh = [next(given).copy() if isinstance(a, np.ndarray | list) else a for a in CALLS[name]]
    assert_close(again, flat(function(*fresh)), rtol=1e-12, atol=1e-14, what=f"{name} of arrays that have changed")
    assert not np.allclose(again, first), f"{name} of arrays that have changed is what it was before"
