"""Flows on the line against scipy, mpmath, sympy, quadrature, root finding, automatic gradients and scikit-learn."""

import copy
import itertools
import math
import warnings
from fractions import Fraction
from functools import cache, partial

import mpmath
import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, optimize, special, stats
from sklearn import exceptions, mixture

from solutions import flows
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_frequencies, assert_mean, assert_variance

# A few hundred roundings, each of 1.1e-16 of numbers that cancel to a hundredth of themselves.
SHARP = 1e-11
BASES = ("uniform", "normal")
bases = pytest.mark.parametrize("base", BASES, ids=[f"MixtureCDF-{base}" for base in BASES])

# means, standard deviations, weights: no two problems share a number of bells and a size
MIXTURES = {
    "three bells": ([-1.0, 0.2, 1.5], [0.25, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]),
    "one bell": ([1.7], [0.6], [1.0]),
    "a needle in a hill": ([0.3, -0.4], [0.05, 3.0], [0.1, 0.9]),
    "four of all kinds": ([2.0, -3.0, 0.5, 0.6], [0.3, 1.1, 2.0, 0.4], [0.4, 0.3, 0.25, 0.05]),
    "far from zero": ([-4000.0, 5000.0], [300.0, 20.0], [0.6, 0.4]),
}
mixtures = pytest.mark.parametrize("name", MIXTURES)


# What the tests know of a mixture, without the module


def bells_of(name):
    """The mixture of that name, as the module wants it."""
    return flows.Bells(*(np.array(part) for part in MIXTURES[name]))


def tensor(x, **kwargs):
    return torch.tensor(np.asarray(x), dtype=torch.float64, **kwargs)


def numbers(x):
    return x.detach().double().numpy()


def plain(function):
    """The function, its result without a graph, so that a message can show it."""

    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        return tuple(part.detach() for part in result) if isinstance(result, tuple) else result.detach()

    call.__name__ = function.__name__
    return call


def logs(law, x, bells):
    """log wᵢ + a law's logarithm for each point and bell (n, k), by scipy."""
    means, stds, weights = (np.asarray(part, dtype=float) for part in bells)
    return np.log(weights) + law(np.asarray(x, dtype=float)[:, None], means, stds)


def log_p(x, bells):
    return special.logsumexp(logs(stats.norm.logpdf, x, bells), axis=1)


def log_cdf(x, bells):
    return special.logsumexp(logs(stats.norm.logcdf, x, bells), axis=1)


def log_sf(x, bells):
    return special.logsumexp(logs(stats.norm.logsf, x, bells), axis=1)


def cdf(x, bells):
    means, stds, weights = bells
    return np.clip(stats.norm.cdf(np.asarray(x)[:, None], means, stds) @ weights, 0.0, 1.0)


def shares(x, bells):
    """The responsibilities (n, k), by scipy."""
    return special.softmax(logs(stats.norm.logpdf, x, bells), axis=1)


def normal_z(x, bells):
    """Φ⁻¹(F(x)), from whichever tail is smaller."""
    below, above = log_cdf(x, bells), log_sf(x, bells)
    return np.where(below < above, special.ndtri_exp(np.minimum(below, -0.5)), -special.ndtri_exp(above))


def quantile(z, bells):
    """F⁻¹(z) by Brent's method, between the least and the largest of the bells' own quantiles."""
    means, stds, _ = bells
    ends = np.asarray(means) + np.asarray(stds) * special.ndtri(z)
    if ends.max() - ends.min() < 1e-12:
        return ends[0]
    return optimize.brentq(lambda x: cdf(np.array([x]), bells)[0] - z, ends.min() - 1e-9, ends.max() + 1e-9, xtol=1e-14)


def around(bells, reach=4.0):
    """Points in each bell: at its mean, and up to `reach` standard deviations to either side; in no order."""
    means, stds, _ = bells
    steps = np.array([0.0, -0.3, 1.1, -reach, 2.2, reach])
    return np.concatenate([m + s * steps for m, s in zip(means, stds, strict=True)])


@cache
def legendre():
    return np.polynomial.legendre.leggauss(20)


def nodes(bells, reach=12.0):
    """Points and weights of Gauss's rule of 20 points, between all points that lie whole stds from a bell's mean."""
    means, stds, _ = (np.asarray(part) for part in bells)
    edges = np.unique(means + np.arange(-reach, reach + 1)[:, None] * stds)
    x, weight = legendre()
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + x)).ravel(), (half * weight).ravel()


def integral(f, bells, reach=12.0):
    """∫ f over all that the bells reach; of a polynomial of degree 39 on each piece it is exact."""
    x, weight = nodes(bells, reach)
    return float(weight @ f(x))


def flow_of(bells, base="uniform", shift=0.7, dtype=torch.float64):
    """The flow with these bells; its logits are log wᵢ + shift, which softmax takes off again."""
    means, stds, weights = (np.asarray(part, dtype=float) for part in bells)
    flow = flows.MixtureCDF(len(means), base, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        flow.means.copy_(torch.from_numpy(means.copy()))
        flow.log_stds.copy_(torch.from_numpy(np.log(stds)))
        flow.logits.copy_(torch.from_numpy(np.log(weights) + shift))
    return flow.to(dtype)


def in_wider_bells(bells, scale):
    return bells._replace(stds=scale(np.asarray(bells.stds)))


# The bells: draws, log-densities, responsibilities


@pytest.mark.parametrize("name", ["three bells", "four of all kinds"])
def test_draw_follows_the_mixture(rng, name):
    """20,000 draws have the distribution function Σ wᵢ Φ((x - μᵢ)/σᵢ)."""
    bells = bells_of(name)
    x = flows.draw(rng, bells, 20_000)
    k = len(bells.means)
    last = np.append(np.full(k - 1, 0.25), 1 - 0.25 * (k - 1))
    hints = {
        "the stds seem to be taken for variances": partial(cdf, bells=in_wider_bells(bells, np.sqrt)),
        "the variances seem to be taken for stds": partial(cdf, bells=in_wider_bells(bells, np.square)),
        "all bells seem to be equally likely, whatever their weights": partial(
            cdf, bells=bells._replace(weights=np.full(k, 1 / k))
        ),
        "the last bell seems to have all that a quarter for each of the others leaves": partial(
            cdf, bells=bells._replace(weights=last)
        ),
        "this is the normal law of the mixture's mean, without the mixture": stats.norm(
            bells.weights @ bells.means, math.sqrt(bells.weights @ bells.stds**2)
        ).cdf,
    }
    assert_distribution(x, partial(cdf, bells=bells), detects=0.031, hints=hints)


def test_draw_chooses_a_bell_for_each_draw(rng):
    """From bells that do not meet, neighbours are of kinds i and j with probability wᵢ wⱼ: rows are independent."""
    bells = flows.Bells(np.array([-50.0, 0.0, 50.0]), np.ones(3), np.array([0.5, 0.3, 0.2]))
    x = flows.draw(rng, bells, 20_000)
    kind = np.digitize(x, [-25.0, 25.0])
    pairs = np.bincount(3 * kind[::2] + kind[1::2], minlength=9)
    hints = {
        "the draws seem to come bell by bell, in blocks: shuffle them": np.diag(bells.weights).ravel(),
        "all bells seem to be equally likely, whatever their weights": np.full(9, 1 / 9),
    }
    blocks = len(np.flatnonzero(np.diff(kind))) < 10
    assert not blocks, "the draws seem to come bell by bell, in blocks: each draw chooses a bell of its own"
    assert_frequencies(pairs, np.outer(bells.weights, bells.weights).ravel(), detects=0.12, hints=hints)
    within = (x - bells.means[kind]) / bells.stds[kind]
    assert_mean(within[::2] * within[1::2], 0.0, detects=0.08)


def test_draw_makes_means_that_spread_like_those_of_independent_draws(rng):
    """Over 2,000 calls the mean of ten draws has a tenth of a draw's variance, of the bells and within them alike."""
    bells = flows.Bells(np.array([-1.0, 1.0]), np.ones(2), np.array([0.5, 0.5]))
    means = np.array([flows.draw(rng, bells, 10).mean() for _ in range(2000)])
    hints = {"does each bell get a fixed number of draws, or has each draw a mirror image? Draw each by itself": 0.1}
    assert_variance(means, (1.0 + 1.0) / 10, detects=0.3, hints=hints)


def test_draw_is_seeded_by_its_generator_alone():
    """The same seed gives the same draws, another seed and a second call others; NumPy's own state stays."""
    bells = bells_of("four of all kinds")
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = np.random.default_rng(5)
    a, again = flows.draw(first, bells, 7), flows.draw(first, bells, 7)
    assert np.array_equal(a, flows.draw(np.random.default_rng(5), bells, 7)), "the same seed gives other draws"
    assert not np.isin(a, again).any(), "a second call repeats draws of the first"
    assert not np.isin(a, flows.draw(np.random.default_rng(6), bells, 7)).any(), "another seed gives the same draws"
    assert np.array_equal(before, np.random.get_state()[1]), "NumPy's global generator was used"  # noqa: NPY002


@mixtures
def test_log_density_is_that_of_scipy(name):
    """log Σ wᵢ N(x; μᵢ, σᵢ²) by scipy's norm.logpdf and logsumexp."""
    bells = bells_of(name)
    x = around(bells)
    want = log_p(x, bells)
    equal = bells._replace(weights=np.full(len(bells.weights), 1 / len(bells.weights)))
    mistakes = {
        "are the stds taken for variances?": log_p(x, in_wider_bells(bells, np.sqrt)),
        "are the weights forgotten, and every bell counted alike?": log_p(x, equal),
        "are the weights forgotten, and every bell counted whole?": log_p(x, equal) + np.log(len(bells.weights)),
        "is this the mean of the bells' logarithms, not the log of their mean?": (
            stats.norm.logpdf(x[:, None], bells.means, bells.stds) @ bells.weights
        ),
        "is this the density, not its logarithm?": np.exp(want),
        "is the 1/σ of each bell missing?": special.logsumexp(
            logs(stats.norm.logpdf, x, bells) + np.log(bells.stds), axis=1
        ),
    }
    got = flows.log_density(x, bells)
    assert_close(got, want, rtol=SHARP, atol=SHARP, what=f"log_density of {name}", mistakes=mistakes)


def test_log_density_holds_where_the_density_underflows():
    """A hundred standard deviations out it is about -5000, and no exponential of it is a number."""
    bells = bells_of("four of all kinds")
    x = np.array([-300.0, 250.0, 1e5])
    got = flows.log_density(x, bells)
    assert np.isfinite(got).all(), f"log_density in the far tails is {got}: the log of a sum that underflows?"
    assert_close(got, log_p(x, bells), rtol=SHARP, what="log_density in the far tails")


@mixtures
def test_responsibilities_are_those_of_bayes(name):
    """rᵢ = wᵢ N(x; μᵢ, σᵢ²)/p(x) by scipy; the rows sum to one."""
    bells = bells_of(name)
    x = around(bells)
    want, parts = shares(x, bells), logs(stats.norm.logpdf, x, bells)
    mistakes = {
        "are the weights left out?": special.softmax(parts - np.log(bells.weights), axis=1),
        "is the 1/σ of each bell left out?": special.softmax(parts + np.log(bells.stds), axis=1),
        "are the stds taken for variances?": shares(x, in_wider_bells(bells, np.sqrt)),
        "do the columns sum to one, not the rows?": special.softmax(parts, axis=0),
        "is each point given to one bell altogether?": (want == want.max(axis=1, keepdims=True)).astype(float),
    }
    got = flows.responsibilities(x, bells)
    what = f"responsibilities of {name}"
    assert_close(got, want, rtol=SHARP, atol=1e-300, what=what, mistakes=mistakes)
    assert_close(got.sum(axis=1), np.ones(len(x)), what="the sum of a row of the responsibilities")


def test_responsibilities_hold_where_every_density_underflows():
    """Between bells a hundred standard deviations away the nearer takes it all; no 0/0."""
    bells = flows.Bells(np.array([-100.0, 101.0]), np.ones(2), np.array([0.5, 0.5]))
    with np.errstate(all="ignore"):
        got = flows.responsibilities(np.array([0.0, -1000.0, 1000.0]), bells)
    assert np.isfinite(got).all(), f"responsibilities far out are {got}: 0/0? Work in logs"
    assert_close(got, [[1, 0], [1, 0], [0, 1]], atol=1e-40, what="responsibilities far out")


# The gradient


def gradient_by_torch(x, bells):
    """The slope of the mean NLL in means, log stds and logits (3, k), by automatic differentiation."""
    means, stds, weights = (np.asarray(part, dtype=float) for part in bells)
    theta = tensor(np.stack([means, np.log(stds), np.log(weights)])).requires_grad_()
    law = torch.distributions.Normal(theta[0], theta[1].exp())
    parts = torch.log_softmax(theta[2], 0) + law.log_prob(tensor(x)[:, None])
    (-torch.logsumexp(parts, 1).mean()).backward()
    return theta.grad.numpy()


@pytest.mark.claim("thm-mixture-gradient", kind="automatic differentiation")
@mixtures
def test_nll_gradient_is_the_automatic_gradient(rng, name):
    """Rows μ, log σ, logits of the slope of -1/n Σ log p are those that PyTorch finds."""
    bells = bells_of(name)
    x = rng.choice(around(bells, 3.0), 17)
    want = gradient_by_torch(x, bells)
    stds, r = bells.stds, shares(x, bells)
    u = (x[:, None] - bells.means) / stds
    rows = [-(r * u).mean(0) / stds, (r * (1 - u**2)).mean(0), bells.weights - r.mean(0)]
    mistakes = {
        "is this the slope of the log-likelihood, to be climbed?": -want,
        "is it summed over the data, not averaged?": want * len(x),
        "is the slope in μ short of its 1/σ?": [rows[0] * stds, *rows[1:]],
        "is the slope in μ divided by σ², not σ?": [rows[0] / stds, *rows[1:]],
        "is the middle row the slope in σ, not in log σ?": [rows[0], rows[1] / stds, rows[2]],
        "is the middle row the slope in log σ², half of that in log σ?": [rows[0], rows[1] / 2, rows[2]],
        "does the middle row forget the 1 of r(1 - u²), which comes from 1/σ?": [rows[0], -(r * u**2).mean(0), rows[2]],
        "is the last row -⟨r⟩, as if the weights had no normaliser?": [*rows[:2], -r.mean(0)],
        "is the last row the slope in the weights, -⟨r⟩/w?": [*rows[:2], -r.mean(0) / bells.weights],
    }
    got = flows.nll_gradient(x, bells)
    # Means of seventeen terms that can cancel; the slopes in μ go with 1/σ.
    atol = 1e-12 / min(1.0, stds.min())
    assert_close(got, want, rtol=1e-10, atol=atol, what=f"nll_gradient of {name}", mistakes=mistakes)


@pytest.mark.claim("thm-mixture-gradient", kind="automatic differentiation")
def test_nll_gradient_is_the_slope_of_the_flows_log_density():
    """The gradient that PyTorch takes through MixtureCDF.log_density is the one that is written out."""
    bells = bells_of("four of all kinds")
    x = around(bells, 3.0)
    for base in BASES:
        flow = flow_of(bells, base)
        (-flow.log_density(tensor(x)).mean()).backward()
        got = [numbers(part.grad) for part in (flow.means, flow.log_stds, flow.logits)]
        what = f"the gradient through log_density, {base} base"
        assert_close(np.stack(got), flows.nll_gradient(x, bells), rtol=1e-9, atol=1e-11, what=what)


@pytest.mark.claim("thm-mixture-gradient", kind="symbolic")
def test_nll_gradient_is_the_derivative_of_the_log_of_two_bells():
    """sympy: ∂log p is ru/σ, r(u² - 1), r - w for two bells; where the means vanish, so do the averages' equations."""
    x = sympy.Symbol("x", real=True)
    means, scales, logits = (sympy.symbols(f"{name}1:3", real=True) for name in ("m", "s", "l"))
    total = sum(sympy.exp(level) for level in logits)
    w = [sympy.exp(level) / total for level in logits]
    u = [(x - m) * sympy.exp(-s) for m, s in zip(means, scales, strict=True)]
    pairs = list(zip(w, u, scales, strict=True))
    joint = [wi * sympy.exp(-(ui**2) / 2 - s) / sympy.sqrt(2 * sympy.pi) for wi, ui, s in pairs]
    p = sum(joint)
    values = [(x, "7/10"), *zip(means, ("-1/3", "6/5"), strict=True), *zip(scales, ("1/4", "-1/2"), strict=True)]
    values = {key: sympy.Rational(value) for key, value in [*values, *zip(logits, ("2/5", "-3/10"), strict=True)]}
    slopes = []
    for i in range(2):
        r = joint[i] / p
        stated = [r * u[i] * sympy.exp(-scales[i]), r * (u[i] ** 2 - 1), r - w[i]]
        found = [sympy.diff(sympy.log(p), part[i]) for part in (means, scales, logits)]
        for one, other in zip(found, stated, strict=True):
            assert abs(sympy.N((one - other).subs(values), 40)) < 1e-35
        slopes.append([float(sympy.N(-value.subs(values), 30)) for value in found])
    # ⟨r u⟩ = 0 says μ = ⟨rx⟩/⟨r⟩, and ⟨r(u² - 1)⟩ = 0 says σ² = ⟨r(x - μ)²⟩/⟨r⟩: for sums of two data
    a, b, m, v, x1, x2 = sympy.symbols("a b m v x1 x2", positive=True)
    assert sympy.simplify(sympy.solve(a * (x1 - m) + b * (x2 - m), m)[0] - (a * x1 + b * x2) / (a + b)) == 0
    (best,) = sympy.solve(a * ((x1 - m) ** 2 / v - 1) + b * ((x2 - m) ** 2 / v - 1), v)
    assert sympy.simplify(best - (a * (x1 - m) ** 2 + b * (x2 - m) ** 2) / (a + b)) == 0

    weights = special.softmax([0.4, -0.3])
    bells = flows.Bells(np.array([-1 / 3, 1.2]), np.exp([0.25, -0.5]), weights)
    got = flows.nll_gradient(np.array([0.7]), bells)
    assert_close(got, np.transpose(slopes), rtol=1e-10, what="nll_gradient at one point, two bells")


@pytest.mark.claim("thm-mixture-gradient")
def test_fit_em_ends_where_nll_gradient_vanishes(rng):
    """Where all slopes vanish the three averages hold: w = ⟨r⟩, μ = ⟨rx⟩/⟨r⟩, σ² = ⟨r(x - μ)²⟩/⟨r⟩, by scipy's r."""
    x = np.concatenate([rng.normal(-2.0, 1.0, 60), rng.normal(2.0, 0.5, 40)])
    start = flows.Bells(np.array([-1.0, 1.0]), np.ones(2), np.array([0.5, 0.5]))
    bells = flows.fit_em(x, start, steps=5000, gain=1e-15).bells
    # Near its end the mean NLL is flat: steps that gain less than 1e-15 leave slopes of √1e-15 and less.
    slope = flows.nll_gradient(x, bells)
    assert_close(slope, np.zeros((2 + 1, 2)), atol=1e-6, what="the slope where fit_em ends")
    r = shares(x, bells)
    mass = r.mean(0)
    means = (r * x[:, None]).mean(0) / mass
    variances = (r * (x[:, None] - bells.means) ** 2).mean(0) / mass
    for part, got, want in [("w", bells.weights, mass), ("μ", bells.means, means), ("σ²", bells.stds**2, variances)]:
        assert_close(got, want, rtol=1e-5, atol=1e-5, what=f"{part} where fit_em ends")


# Entropy and divergence

ENTROPIES = {  # BELLS, the same with a half in the last bell, and with ¼ read as a variance
    1.1075560885: ([0.25] * 3, [1 / 3] * 3),
    1.0519501861: ([0.25] * 3, [0.25, 0.25, 0.5]),
    1.4880719251: ([0.5] * 3, [1 / 3] * 3),
}


@pytest.mark.claim("prop-floor")
@pytest.mark.parametrize("want", ENTROPIES)
def test_entropy_of_the_bells_of_the_source(want):
    """-∫ p log p by quadrature of scipy's densities, and to the ten digits that the chapter gives."""
    stds, weights = map(np.array, ENTROPIES[want])
    bells = flows.Bells(np.array([-1.0, 0.2, 1.5]), stds, weights)
    by_quadrature = -integral(lambda x: np.exp(log_p(x, bells)) * log_p(x, bells), bells)
    got = flows.entropy(bells)
    other = in_wider_bells(bells, np.sqrt)
    mistakes = {
        "is the sign reversed?": -by_quadrature,
        "is this the mean of the bells' own entropies, as if one knew the bell?": bells.weights
        @ (0.5 * np.log(2 * np.pi * np.e) + np.log(stds)),
        "is this the entropy of one Gaussian?": 0.5 * np.log(2 * np.pi * np.e),
        "are the stds taken for variances?": -integral(lambda x: np.exp(log_p(x, other)) * log_p(x, other), other),
    }
    assert_close(got, by_quadrature, rtol=1e-9, what="entropy(bells)", mistakes=mistakes)
    assert_close(got, want, rtol=0, atol=6e-11, what="entropy(bells), to ten digits")


@mixtures
def test_entropy_is_the_integral_by_quadrature(name):
    """-∫ p log p by quadrature of scipy's densities; for one bell ½ log 2πe + log σ."""
    bells = bells_of(name)
    want = -integral(lambda x: np.exp(log_p(x, bells)) * log_p(x, bells), bells)
    if name == "one bell":
        assert_close(want, 0.5 * np.log(2 * np.pi * np.e) + np.log(0.6), rtol=1e-9)
    mistakes = {
        "is this the mean of the bells' own entropies, as if one knew the bell?": bells.weights
        @ (0.5 * np.log(2 * np.pi * np.e) + np.log(bells.stds)),
        "is it in bits?": want / np.log(2),
    }
    got = flows.entropy(bells)
    assert isinstance(got, float), f"entropy should be a float, got {type(got).__name__}"
    assert_close(got, want, rtol=1e-9, what=f"entropy of {name}", mistakes=mistakes)


def test_entropy_grows_with_the_log_of_the_scale():
    """The entropy of a + bX is that of X plus log |b|, from 1e-6 to 1e6, with a bell of no weight or without."""
    bells = bells_of("four of all kinds")
    first = flows.entropy(bells)
    for a, b in [(0.0, 1e-6), (-3e5, 1e6), (7.0, 2.0)]:
        got = flows.entropy(flows.Bells(a + b * bells.means, b * bells.stds, bells.weights))
        assert_close(got, first + np.log(b), rtol=1e-9, what=f"entropy of {a} + {b} X")
    more = flows.Bells(*(np.append(part, value) for part, value in zip(bells, (90.0, 0.01, 0.0), strict=True)))
    assert_close(flows.entropy(more), first, rtol=1e-9, what="entropy with a bell of weight 0")


def test_entropy_and_kl_divergence_see_a_needle_in_a_hill():
    """A bell ten thousand times narrower than the other: a grid of equal steps goes past it."""
    needle = flows.Bells(np.array([0.0, 0.3]), np.array([1.0, 1e-4]), np.array([0.5, 0.5]))
    hill = flows.Bells(np.zeros(1), np.ones(1), np.ones(1))
    x, weight = nodes(needle)
    p = weight * np.exp(log_p(x, needle))
    assert_close(flows.entropy(needle), -p @ log_p(x, needle), rtol=1e-8, what="entropy of a needle in a hill")
    want = p @ (log_p(x, needle) - log_p(x, hill))
    assert_close(flows.kl_divergence(needle, hill), want, rtol=1e-8, what="kl_divergence of a needle from the hill")


GAUSSIANS = [(0.0, 1.0, 1.0, 2.0), (3.0, 0.5, -1.0, 0.4), (0.0, 0.01, 0.0, 5.0), (100.0, 1.0, 0.0, 1.0)]


@pytest.mark.parametrize(("m", "s", "n", "t"), GAUSSIANS)
def test_kl_divergence_of_two_gaussians(m, s, n, t):
    """∫ N(m, s²) log(N(m, s²)/N(n, t²)) = log(t/s) + (s² + (m - n)²)/(2t²) - ½."""
    one, other = (flows.Bells(np.array([a]), np.array([b]), np.ones(1)) for a, b in ((m, s), (n, t)))

    def closed(m, s, n, t):
        return np.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5

    want, reverse = closed(m, s, n, t), closed(n, t, m, s)
    mistakes = {
        "is this KL(other‖bells), the other direction?": reverse,
        "is this the mean of both directions?": (want + reverse) / 2,
        "is this the sum of both directions?": want + reverse,
        "are the stds taken for variances?": closed(m, s**0.5, n, t**0.5),
        "is this the cross-entropy, without the entropy taken off?": want + 0.5 * np.log(2 * np.pi * np.e * s**2),
    }
    got = flows.kl_divergence(one, other)
    what = f"kl_divergence of N({m}, {s}²) from N({n}, {t}²)"
    assert_close(got, want, rtol=1e-8, what=what, mistakes=mistakes)


def test_kl_divergence_is_the_integral_by_quadrature():
    """∫ p log(p/q) by quadrature of scipy's densities for mixtures, either way; 0 from one to itself."""
    p, q = bells_of("four of all kinds"), bells_of("a needle in a hill")

    def of(one, other):
        both = flows.Bells(*(np.concatenate(parts) for parts in zip(one, other, strict=True)))
        return integral(lambda x: np.exp(log_p(x, one)) * (log_p(x, one) - log_p(x, other)), both)

    forward, back = of(p, q), of(q, p)
    direction = "is this KL(other‖bells), the other direction?"
    got = flows.kl_divergence(p, q)
    assert_close(got, forward, rtol=1e-8, what="kl_divergence(p, q)", mistakes={direction: back})
    assert_close(flows.kl_divergence(q, p), back, rtol=1e-8, what="kl_divergence(q, p)", mistakes={direction: forward})
    turned = flows.Bells(*(part[::-1] for part in p))
    assert_close(flows.kl_divergence(p, turned), 0.0, atol=1e-12, what="kl_divergence(p, p in another order)")


@pytest.mark.claim("prop-floor")
def test_kl_divergence_and_entropy_are_what_held_out_points_cost():
    """For q = m·q₁, -∫ p log q = H + KL(p‖q₁) - log m ≥ H - log m, by quadrature; m = 2 cheats."""
    p, q = bells_of("three bells"), bells_of("four of all kinds")
    floor, gap = flows.entropy(p), flows.kl_divergence(p, q)
    for law, excess, m in itertools.product((p, q), (0.0, None), (0.3, 1.0, 2.0)):
        if (law is p) != (excess == 0.0):
            continue
        cost = -integral(lambda x, law=law, m=m: np.exp(log_p(x, p)) * (log_p(x, law) + np.log(m)), p)
        want = floor + (0.0 if law is p else gap) - np.log(m)
        assert_close(cost, want, rtol=1e-8, what=f"-∫ p log q for q of mass {m}")
        if m <= 1:
            assert cost >= floor - np.log(m) - 1e-10 >= floor - 1e-10
    assert gap > 0.1
    # weights of sum 2 make a "density" of mass 2, whose NLL lies under the floor
    assert -integral(lambda x: np.exp(log_p(x, p)) * (log_p(x, p) + np.log(2)), p) < floor


@pytest.mark.claim("prop-floor")
def test_log_density_of_held_out_points_averages_to_the_floor_and_more(rng):
    """Over 100,000 draws of p the mean NLL of p is H, and that of q is H + KL(p‖q)."""
    p, q = bells_of("three bells"), bells_of("four of all kinds")
    x = flows.draw(rng, p, 100_000)
    assert_mean(-flows.log_density(x, p), flows.entropy(p), detects=0.02)
    assert_mean(-flows.log_density(x, q), flows.entropy(p) + flows.kl_divergence(p, q), detects=0.06)


# Bisection


def bisected(function, target, low, high, **kwargs):
    return flows.bisect(function, tensor(target), tensor(low), tensor(high), **kwargs)


FUNCTIONS = {  # f, f⁻¹
    "exp": (torch.exp, np.log),
    "sinh": (torch.sinh, np.arcsinh),
    "a line": (lambda x: 3.0 * x - 2.0, lambda y: (y + 2.0) / 3.0),
}


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 60])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.claim("prop-bisection")
def test_bisect_is_as_close_as_its_steps_allow(name, steps):
    """|x - f⁻¹(y)| ≤ width/2^{steps+1} for exp, sinh and 3x - 2, each point in a bracket of its own that holds it."""
    function, back = FUNCTIONS[name]
    target = np.array([0.3, 1.0, 7.5, 20.0])
    root = back(target)
    low, high = root - np.array([0.1, 3.0, 0.01, 1.0]), root + np.array([0.9, 1.0, 2.0, 0.01])
    got = numbers(bisected(function, target, low, high, steps=steps))
    allowed = (high - low) / 2 ** (steps + 1)
    # near a root the function itself is rounded, by a few units in the last place
    over = np.abs(got - root) - allowed - 1e-14
    message = f"bisect of {name} after {steps} halvings is {np.abs(got - root)} off, where {allowed} is allowed"
    if (np.abs(got - root) <= 2 * allowed + 1e-14).all():
        message += ": is an end of the last bracket returned, not its middle?"
    elif np.isclose(got[0], root[0], rtol=0, atol=allowed[0] + 1e-14) or (over <= 0).any():
        message += ": some are close enough, others not: does each point have a bracket, and a decision, of its own?"
    assert (over <= 0).all(), message


def test_bisect_ends_in_the_middle_of_the_last_bracket():
    """In [0, 1], for the root 3/10: 1/4 after one halving, then 3/8, 5/16, 9/32."""
    want = {1: 0.25, 2: 0.375, 3: 0.3125, 4: 0.28125}
    for steps, value in want.items():
        got = bisected(lambda x: x, [0.3], [0.0], [1.0], steps=steps)
        low = math.floor(0.3 * 2**steps) / 2**steps
        mistakes = {
            "is the lower end of the bracket returned?": [low],
            "is the upper end of the bracket returned?": [low + 0.5**steps],
            "is one halving too many made?": [want.get(steps + 1, 0.0)],
            "is one halving too few made?": [want.get(steps - 1, 0.5)],
            "is the last middle returned, before the last decision?": [want.get(steps - 1, 0.5)],
        }
        assert_close(got, [value], rtol=1e-15, what=f"bisect in {steps} steps", mistakes=mistakes)


@pytest.mark.claim("prop-bisection")
@pytest.mark.parametrize("steps", [1, 8, 60])
def test_bisect_widens_a_bracket_that_does_not_hold_its_root(steps):
    """A root d outside a bracket of width ω is found to 2(ω + d)/2^{steps+1}, each from its own side."""
    root = np.array([0.5, 40.0, -300.0, 1e6, 1.25])
    low, high = np.array([0.0, 1.0, -1.0, 0.0, 1.0]), np.array([1.0, 3.0, 0.0, 1.0, 1.5])
    d = np.maximum(np.maximum(low - root, root - high), 0.0)
    got = numbers(bisected(torch.asinh, np.arcsinh(root), low, high, steps=steps))
    allowed = 2 * (high - low + d) / 2 ** (steps + 1) + 1e-14 * np.maximum(np.abs(root), 1)
    clipped = np.isclose(np.clip(root, low, high), got, rtol=0, atol=(high - low).max() / 2 ** min(steps, 8))
    message = f"bisect finds {got} in {steps} steps, for the roots {root}, where errors up to {allowed} are allowed"
    if clipped[d > 0].any():
        message += ": is a root outside its bracket clipped to the bracket's end?"
    assert (np.abs(got - root) <= allowed).all(), message


@pytest.mark.claim("prop-bisection")
def test_bisect_needs_no_more_doublings_than_stated():
    """Doubling [low, high] away from the wrong end takes ⌈log₂(1 + d/ω)⌉ times, and ends below 2(ω + d), exactly."""
    for omega, d in itertools.product((Fraction(1), Fraction(2, 7), Fraction(9)), (Fraction(k, 5) for k in range(60))):
        low, high, doublings = Fraction(0), omega, 0
        while high < omega + d:
            high, doublings = 2 * high - low, doublings + 1
        least = 0
        while 2**least < 1 + d / omega:
            least += 1
        assert doublings == least
        assert high - low < 2 * (omega + d) or d == 0
    # so bisect may look at the function that often, and 60 times for the halvings, and a few times to check
    for d in (0.0, 1.0, 1e3, 1e9):
        calls = []

        def counting(x, calls=calls):
            calls.append(1)
            return 2.0 * x

        got = bisected(counting, [2 * (1 + d)], [0.0], [1.0])
        assert_close(got, [1 + d], rtol=1e-9, what=f"bisect from {d} outside")
        allowed = 60 + 2 * math.ceil(math.log2(1 + d)) + 10
        assert len(calls) <= allowed, f"bisect asked for {len(calls)} values, where {allowed} are enough"


@pytest.mark.claim("prop-bisection")
def test_bisect_is_wrong_by_the_error_of_the_function_over_its_slope(rng):
    """With f = 2x off by up to δ = 1/100, the middle is within width/2^{k+1} + δ/2; and no better bound holds."""
    delta, root = 0.01, rng.uniform(0.2, 0.8, 50)
    noise = tensor(rng.uniform(-delta, delta, 50))
    for steps in (3, 8, 40):
        got = numbers(
            bisected(lambda x: 2 * x + noise * torch.cos(700 * x), 2 * root, np.zeros(50), np.ones(50), steps=steps)
        )
        assert (np.abs(got - root) <= 0.5 ** (steps + 1) + delta / 2 + 1e-12).all()
    worst = numbers(bisected(lambda x: 2 * x + delta, 2 * root, np.zeros(50), np.ones(50)))
    assert_close(root - worst, np.full(50, delta / 2), rtol=1e-9, what="the error where f is δ too large everywhere")


def test_bisect_decides_for_each_point_by_itself(rng):
    """A thousand roots at once are the roots one by one."""
    root = rng.uniform(-3.0, 3.0, 1000)
    low, high = root - rng.uniform(0.1, 5.0, 1000), root + rng.uniform(0.1, 5.0, 1000)
    got = numbers(bisected(torch.sinh, np.sinh(root), low, high))
    message = "is one decision made for all points, or one bracket shared?"
    right = np.isclose(got, root, rtol=1e-12, atol=1e-12)
    assert right.all(), (
        f"bisect finds {right.sum()} of 1000 roots, worst error {np.abs(got - root).max():.3g}: {message}"
    )


def test_bisect_holds_at_the_end_of_the_numbers():
    """Between 1e308 and 1.7e308 the sum of the ends is no number, but their middle is one."""
    got = bisected(lambda x: x, [1.5e308, -1.1e308], [1e308, -1.7e308], [1.7e308, -1e308])
    assert_close(got, [1.5e308, -1.1e308], rtol=1e-12, what="bisect near 1e308 (does low + high overflow?)")


def test_bisect_leaves_its_arguments_alone():
    """Targets and ends are as before; a bracket that has to grow does not grow in place."""
    parts = [tensor([5.0, 0.5]), tensor([0.0, 0.0]), tensor([1.0, 1.0])]
    before = [part.clone() for part in parts]
    flows.bisect(lambda x: x, *parts)
    for name, part, then in zip(("target", "low", "high"), parts, before, strict=True):
        assert torch.equal(part, then), f"bisect writes into {name}: it was {then}, and is {part}"


# The map: z and its slope


def mistakes_in_z(x, bells, shift):
    means, stds, weights = bells
    raw = cdf(x, bells._replace(weights=weights * np.exp(shift)))
    unclipped = stats.norm.cdf(x[:, None], means, stds) @ (weights * np.exp(shift))
    return {
        "are the weights exp(logits), which need not sum to one? Take the softmax": unclipped,
        "are the weights exp(logits), which need not sum to one, and the sum clipped?": raw,
        "is the ½ of Φ - ½ left in?": cdf(x, bells) - 0.5,
        "is the ½ of Φ - ½ left in, with weights exp(logits) that need not sum to one?": unclipped
        - 0.5 * np.sum(weights) * np.exp(shift),
        "are log_stds read as log variances?": cdf(x, in_wider_bells(bells, np.sqrt)),
        "are log_stds read as stds, without the exponential?": stats.norm.cdf((x[:, None] - means) / np.log(stds))
        @ weights,
        "are the weights left out?": stats.norm.cdf(x[:, None], means, stds).mean(1),
        "is this the density, not the distribution function?": np.exp(log_p(x, bells)),
        "is this 1 - F?": 1 - cdf(x, bells),
    }


@mixtures
def test_mixture_cdf_forward_is_the_distribution_function(name):
    """With the uniform base z = Σ wᵢ Φ((x - μᵢ)/σᵢ), by scipy, w the softmax of the logits; relative in the tail."""
    bells = bells_of(name)
    x = around(bells)
    z, _ = flow_of(bells, "uniform")(tensor(x))
    with np.errstate(all="ignore"):
        mistakes = mistakes_in_z(x, bells, 0.7)
    assert_close(z, cdf(x, bells), rtol=SHARP, what=f"z of {name}, uniform base", mistakes=mistakes)


@mixtures
def test_mixture_cdf_forward_is_the_normal_quantile_of_it(name):
    """With the normal base z = Φ⁻¹(F(x)), by scipy's ndtri_exp from the smaller tail."""
    bells = bells_of(name)
    x = around(bells)
    z, _ = flow_of(bells, "normal")(tensor(x))
    with np.errstate(all="ignore"):
        mistakes = {why: special.ndtri(np.clip(value, 0, 1)) for why, value in mistakes_in_z(x, bells, 0.7).items()}
        mistakes |= {"is Φ⁻¹ missing: is this z of the uniform base?": cdf(x, bells)}
    want = normal_z(x, bells)
    assert_close(z, want, rtol=1e-10, atol=1e-10, what=f"z of {name}, normal base", mistakes=mistakes)


@bases
@mixtures
def test_mixture_cdf_forward_has_the_slope_that_theory_asks_for(name, base):
    """log dz/dx is log p(x), less log φ(z) with the normal base."""
    bells = bells_of(name)
    x = around(bells)
    _, slope = flow_of(bells, base)(tensor(x))
    log_density, log_base = log_p(x, bells), stats.norm.logpdf(normal_z(x, bells)) * (base == "normal")
    want = log_density - log_base
    mistakes = {
        "is this log dx/dz, of the reverse map? The sign is reversed": -want,
        "is the log-determinant missing?": np.zeros(len(x)),
        "is this dz/dx, without the logarithm?": np.exp(want),
        "are the weights exp(logits), which need not sum to one? Take the softmax": want + 0.7,
        "is this the slope of F alone, without that of Φ⁻¹?": log_density,
        "is the base's log-density in it already? This is log dz/dx alone": want
        + stats.norm.logpdf(normal_z(x, bells)),
        "are log_stds read as log variances?": log_p(x, in_wider_bells(bells, np.sqrt)) - log_base,
        "is the 1/σ of each bell missing?": special.logsumexp(
            logs(stats.norm.logpdf, x, bells) + np.log(bells.stds), axis=1
        )
        - log_base,
    }
    # At four standard deviations z² is 16: what z loses to rounding the slope loses sixteenfold.
    what = f"log dz/dx of {name}, {base} base"
    assert_close(slope, want, rtol=1e-9, atol=1e-9, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-change-of-variables", kind="automatic differentiation")
@bases
@mixtures
def test_mixture_cdf_forward_returns_the_logarithm_of_its_own_derivative(name, base):
    """log_dz_dx is the log of what PyTorch finds for dz/dx."""
    bells = bells_of(name)
    x = tensor(around(bells, 3.0)).requires_grad_()
    z, slope = flow_of(bells, base)(x)
    (by_torch,) = torch.autograd.grad(z.sum(), x)
    mistakes = {
        "is this log dx/dz, of the reverse map? The sign is reversed": -by_torch.log(),
        "is the log-determinant missing?": torch.zeros_like(x),
    }
    assert_close(
        slope,
        by_torch.log(),
        rtol=1e-8,
        atol=1e-9,
        what="log_dz_dx",
        mistakes={k: numbers(v) for k, v in mistakes.items()},
    )


@bases
def test_mixture_cdf_forward_is_differentiable_in_everything(base):
    """Finite differences (gradcheck) agree with the gradients of z and log dz/dx in x, means, log stds and logits."""
    bells = bells_of("four of all kinds")

    def outputs(x, means, log_stds, logits):
        flow = flows.MixtureCDF(4, base, generator=torch.Generator().manual_seed(0)).double()
        parameters = {"means": means, "log_stds": log_stds, "logits": logits}
        return torch.func.functional_call(flow, parameters, (x,))

    x = tensor([-6.0, -0.3, 0.4, 2.2, 7.0]).requires_grad_()
    theta = [part.detach().clone().requires_grad_() for part in flow_of(bells).parameters()]
    assert torch.autograd.gradcheck(outputs, (x, *theta), atol=1e-6, rtol=1e-5)


def mp_tail(x, bells, sign):
    """The mass beyond x on the side of `sign`, in sixty digits, however small."""
    means, stds, weights = bells
    return sum(
        mpmath.mpf(float(w)) * mpmath.ncdf(-sign * (mpmath.mpf(float(x)) - float(m)) / float(s))
        for m, s, w in zip(means, stds, weights, strict=True)
    )


@pytest.mark.parametrize("name", ["three bells", "four of all kinds", "a needle in a hill"])
def test_mixture_cdf_forward_holds_in_the_tails(name):
    """At ±10 to ±1000: Φ(z) = F(x), and dz/dx = p(x)/φ(z), in sixty digits by mpmath; F too."""
    bells = bells_of(name)
    means, stds, weights = bells
    x = np.array([-1000.0, -200.0, -30.0, -10.0, 10.0, 30.0, 200.0, 1000.0])
    z, slope = (numbers(part) for part in flow_of(bells, "normal")(tensor(x)))
    assert np.isfinite(z).all(), (
        f"z of {x} is {z}: does F round to 0 or 1 before Φ⁻¹ sees it? Work in logs, in both tails"
    )
    assert np.isfinite(slope).all(), f"log dz/dx of {x} is {slope}: log p - log φ(z) of what underflows?"
    lower = numbers(flow_of(bells)(tensor(x))[0])
    with mpmath.workdps(60):
        for i, value in enumerate(x):
            sign = math.copysign(1.0, value)
            tail = mp_tail(value, bells, sign)
            of_z = mpmath.log(mpmath.ncdf(-sign * mpmath.mpf(float(z[i]))))
            # an error ε of z changes log Φ(z) by |z| ε: relative to z²/2 by 2 ε/|z|
            what = f"log Φ(z) at x = {value}"
            assert_close(float(of_z / mpmath.log(tail)), 1.0, rtol=1e-12, what=f"{what}, over log F(x)")
            best = mpmath.findroot(
                lambda y, t=tail, s=sign: mpmath.log(mpmath.ncdf(-s * y)) - mpmath.log(t), float(z[i])
            )
            parts = zip(means, stds, weights, strict=True)
            density = sum(float(w) * mpmath.npdf(mpmath.mpf(float(value)), float(m), float(s)) for m, s, w in parts)
            want = float(mpmath.log(density / mpmath.npdf(best)))
            # log p/φ(z) is a difference of numbers of size x²/2σ², unless it is not taken as one
            assert_close(slope[i], want, rtol=1e-9, atol=1e-9, what=f"log dz/dx at x = {value}, normal base")
            if value < 0 and tail > 1e-290:
                assert_close(lower[i], float(tail), rtol=1e-9, what=f"F({value})")


def test_mixture_cdf_forward_is_monotone_to_the_end_of_the_numbers():
    """z of the normal base rises from -1e150 to 1e150; far out its slope is 1/σ of the widest bell."""
    bells = flows.Bells(np.array([0.9, 1.2, -0.5]), np.array([2.0, 2.0, 0.5]), np.array([0.5, 0.3, 0.2]))
    x = np.concatenate([-np.logspace(150, 1, 40), np.linspace(-9, 9, 37), np.logspace(1, 150, 40)])
    z, slope = (numbers(part) for part in flow_of(bells, "normal")(tensor(x)))
    assert np.isfinite(z).all(), f"z is not finite at x = {x[~np.isfinite(z)]}"
    assert (np.diff(z) > 0).all(), f"z does not rise at x = {x[1:][np.diff(z) <= 0]}"
    far = np.abs(x) > 1e5
    assert_close(z[far], x[far] / 2.0, rtol=1e-4, what="z far out, which is about (x - μ)/σ of the widest bell")
    # (x - 1.2)/2 + c/x with c of order one: the slope is ½ up to 1/x²
    assert_close(slope[far], np.full(far.sum(), -np.log(2.0)), atol=1e-6, what="log dz/dx far out, -log σ")


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_mixture_cdf_forward_of_one_bell_is_a_line(scale):
    """One bell and the normal base: z = (x - μ)/σ and log dz/dx = -log σ, from 1e-3 to 1e150 standard deviations."""
    bells = flows.Bells(np.array([2.0 * scale]), np.array([0.3 * scale]), np.ones(1))
    u = np.concatenate([np.linspace(-9, 9, 37), [-1e3, 1e3, -1e8, 1e8, -1e150, 1e150]])
    x = 2.0 * scale + 0.3 * scale * u
    z, slope = flow_of(bells, "normal")(tensor(x))
    assert_close(z, (x - 2.0 * scale) / (0.3 * scale), rtol=1e-12, atol=1e-12, what="z of one bell")
    assert_close(slope, np.full(len(x), -np.log(0.3 * scale)), rtol=1e-12, atol=1e-12, what="log dz/dx of one bell")


@pytest.mark.claim("thm-change-of-variables")
@bases
def test_mixture_cdf_forward_makes_a_density_of_mass_one(base):
    """∫ g(T(x)) T'(x) dx = 1, and up to x it is G(T(x)), by quadrature; without T' it is not 1."""
    bells = bells_of("four of all kinds")
    flow, log_g = flow_of(bells, base), {"uniform": np.zeros_like, "normal": stats.norm.logpdf}[base]

    def density(x, times=1.0):
        z, slope = (numbers(part) for part in flow(tensor(x)))
        return np.exp(log_g(z) + times * slope)

    G = {"uniform": stats.uniform.cdf, "normal": stats.norm.cdf}[base]
    assert_close(integral(density, bells, 9.0), 1.0, rtol=1e-8, what="∫ g(T) T' dx: is the log-determinant right?")
    low, high = -13.0, 0.7
    x, weight = legendre()
    edges = np.linspace(low, high, 60)
    half = np.diff(edges)[:, None] / 2
    upto = (half * weight).ravel() @ density((edges[:-1, None] + half * (1 + x)).ravel())
    ends = numbers(flow(tensor([low, high]))[0])
    assert_close(upto, np.diff(G(ends))[0], rtol=1e-7, what="∫ q up to 0.7, which is G(T(0.7))")
    assert abs(integral(partial(density, times=0.0), bells, 9.0) - 1) > 0.1


MAPS = {  # T, g, between which x all but e⁻⁴⁰ of q lies, where J begins (or T's range, if that is later), and P(z ∈ R)
    "sinh and logistic": ("sinh(x)", "exp(-z)/(1 + exp(-z))**2", (-5, 5), -60, "1"),
    "exp and normal": ("exp(x)", "exp(-z**2/2)/sqrt(2*pi)", (-42, 3), 0, "1/2"),
    "exp and exponential": ("exp(x)", "exp(-z)", (-42, 5), 0, "1"),
    "a line and uniform": ("2*x + 1", "1", (-0.5, 0), 0, "1"),
    "a sigmoid and Laplace": ("x/sqrt(1 + x**2)", "exp(-Abs(z))/2", (-np.inf, np.inf), -1, "1 - exp(-1)"),
}


@pytest.mark.claim("thm-change-of-variables", kind="symbolic")
@pytest.mark.parametrize("case", MAPS)
def test_change_of_variables_has_the_mass_of_the_range(case):
    """q = g(T)T', T' by sympy, has up to x the mass that z has up to T(x), and in all P(z ∈ R), one only if R ⊇ J."""
    x, z = sympy.symbols("x z", real=True)
    stretch, law, (low, high), first, mass = MAPS[case]
    stretch, law = (sympy.sympify(part, locals={"x": x, "z": z}) for part in (stretch, law))
    q = sympy.lambdify(x, law.subs(z, stretch) * sympy.diff(stretch, x), "numpy")
    g, to = sympy.lambdify(z, law, "numpy"), sympy.lambdify(x, stretch, "numpy")

    def area(f, a, b):
        ends = [a, *[v for v in (-9, -3, -1, 0, 1, 3, 9) if a < v < b], b]
        return sum(integrate.quad(f, *pair, epsabs=1e-13)[0] for pair in itertools.pairwise(ends))

    assert_close(area(q, low, high), float(sympy.sympify(mass)), rtol=1e-8, what=f"∫ q for {case}")
    for point in (-0.4, -0.1):
        assert_close(area(q, low, point), area(g, first, to(point)), rtol=1e-8, what=f"∫ q up to {point} for {case}")


# The density of the flow


@bases
@mixtures
def test_mixture_cdf_log_density_is_that_of_the_mixture(name, base):
    """log_density is scipy's mixture of normals, with either base."""
    bells = bells_of(name)
    x = around(bells)
    want = log_p(x, bells)
    equal = bells._replace(weights=np.full(len(bells.weights), 1 / len(bells.weights)))
    mistakes = {
        "are the weights exp(logits), which need not sum to one? Take the softmax": want + 0.7,
        "are log_stds read as log variances?": log_p(x, in_wider_bells(bells, np.sqrt)),
        "is the 1/σ of each bell missing?": special.logsumexp(
            logs(stats.norm.logpdf, x, bells) + np.log(bells.stds), axis=1
        ),
        "is this the density, not its logarithm?": np.exp(want),
        "is the sign reversed, as in a loss?": -want,
        "are the weights left out?": log_p(x, equal),
        "is this log dz/dx, without the base's density?": want - stats.norm.logpdf(normal_z(x, bells)),
        "is the base's density that of the normal base, and the slope that of the uniform one?": want
        + stats.norm.logpdf(normal_z(x, bells)),
    }
    got = flow_of(bells, base).log_density(tensor(x))
    what = f"log_density of {name}, {base} base"
    assert_close(got, want, rtol=SHARP, atol=SHARP, what=what, mistakes=mistakes)
    assert_close(got, flows.log_density(x, bells), rtol=SHARP, atol=SHARP, what=f"{what}, and of the bells")


@pytest.mark.claim("thm-base-cancels")
@mixtures
def test_mixture_cdf_log_density_is_the_same_through_either_base(name):
    """log g(z) + log dz/dx from forward is log p for both bases, and for a logistic one by hand: T = log F/(1 - F)."""
    bells = bells_of(name)
    x = around(bells, 3.0)
    want = log_p(x, bells)
    for base, law in {"uniform": stats.uniform, "normal": stats.norm}.items():
        z, slope = (numbers(part) for part in flow_of(bells, base)(tensor(x)))
        what = f"log g(z) + log dz/dx of {name}, {base} base"
        mistakes = {"is the log-determinant missing?": law.logpdf(z), "is its sign wrong?": law.logpdf(z) - slope}
        assert_close(law.logpdf(z) + slope, want, rtol=1e-9, atol=1e-9, what=what, mistakes=mistakes)
        assert_close(flow_of(bells, base).log_density(tensor(x)), want, rtol=1e-9, atol=1e-9, what="log_density")
    at_x = tensor(x).requires_grad_()
    u, _ = flow_of(bells, "uniform")(at_x)
    z = torch.log(u / (1 - u))
    (slope,) = torch.autograd.grad(z.sum(), at_x)
    got = stats.logistic.logpdf(numbers(z)) + numbers(slope.log())
    assert_close(got, want, rtol=1e-8, atol=1e-8, what="the density through a logistic base")


@pytest.mark.claim("thm-base-cancels", kind="symbolic")
def test_the_base_cancels_for_unspecified_laws():
    """sympy: G(T(x)) = F(x) makes T' = F'/G'(T), so g(T)T' = F' for any F and G; and for three G in closed form."""
    x, y = sympy.symbols("x y", real=True)
    F, G, T = (sympy.Function(name) for name in "FGT")
    (slope,) = sympy.solve(sympy.diff(G(T(x)) - F(x), x), sympy.diff(T(x), x))
    density = sympy.diff(G(y), y).subs(y, T(x)).doit() * slope
    assert sympy.simplify(density.doit() - sympy.diff(F(x), x)) == 0
    closed = {  # G⁻¹, g
        "logistic": (sympy.log(y / (1 - y)), sympy.exp(-y) / (1 + sympy.exp(-y)) ** 2),
        "exponential": (-sympy.log(1 - y), sympy.exp(-y)),
        "normal": (sympy.sqrt(2) * sympy.erfinv(2 * y - 1), sympy.exp(-(y**2) / 2) / sympy.sqrt(2 * sympy.pi)),
    }
    for name, (back, g) in closed.items():
        T = back.subs(y, F(x))
        q = g.subs(y, T) * sympy.diff(T, x)
        assert sympy.simplify(q - sympy.diff(F(x), x)) == 0, name


@bases
def test_mixture_cdf_log_density_is_finite_for_every_finite_x(base):
    """From 40 to 1e308 and in float32 to 3e38 it is a number, and scipy's while its square is one."""
    bells = bells_of("four of all kinds")
    x = np.array([-40.0, 60.0, -1e3, 1e8, -1e150, 1e152])
    got = flow_of(bells, base).log_density(tensor(x))
    why = "does it pass through z, where φ(z) underflows, or take the log of a sum that does?"
    assert torch.isfinite(got).all(), f"log_density of {x}, {base} base, is {numbers(got)}: {why}"
    assert_close(got, log_p(x, bells), rtol=SHARP, what=f"log_density far out, {base} base")
    for dtype, far in ((torch.float64, 1.7e308), (torch.float32, 3e38), (torch.float32, 1e25)):
        flow = flow_of(bells, base, dtype=dtype)
        got = flow.log_density(torch.tensor([-far, far], dtype=dtype))
        assert torch.isfinite(got).all(), f"log_density at ±{far} is {got.tolist()} in {dtype}: does u² overflow?"
        assert (got < -1e30).all(), f"log_density at ±{far} is {got.tolist()}, where next to nothing is"


@bases
def test_mixture_cdf_log_density_is_differentiable(base):
    """Finite differences (gradcheck) agree with its gradients in x and in the parameters."""
    bells = bells_of("a needle in a hill")

    def output(x, means, log_stds, logits):
        flow = flows.MixtureCDF(2, base, generator=torch.Generator().manual_seed(0)).double()
        flow = copy.deepcopy(flow)
        for name, value in (("means", means), ("log_stds", log_stds), ("logits", logits)):
            delattr(flow, name)
            setattr(flow, name, value)
        return flow.log_density(x)

    theta = [part.detach().clone().requires_grad_() for part in flow_of(bells).parameters()]
    x = tensor([-1.0, 0.2, 0.35, 2.0]).requires_grad_()
    assert torch.autograd.gradcheck(output, (x, *theta), atol=1e-6, rtol=1e-5)


# The inverse

LEVELS = np.array([0.5, 1e-6, 0.9, 0.1, 0.999, 0.33, 1e-12, 1 - 1e-9, 0.66])


@mixtures
def test_mixture_cdf_inverse_is_the_quantile(name):
    """With the uniform base F⁻¹(z) by Brent's method on scipy's distribution function."""
    bells = bells_of(name)
    z = LEVELS[(LEVELS > 1e-7) & (LEVELS < 1 - 1e-7)]
    want = np.array([quantile(level, bells) for level in z])
    doubled = want.copy()
    mistakes = {
        "is the root sought in [-3, 3] only?": np.clip(want, -3, 3),
        "is the root sought in [-10, 10] only?": np.clip(want, -10, 10),
        "is this the reverse, forward(z)?": cdf(z, bells),
        "is the sign reversed?": -doubled,
        "is this the mean of the bells' quantiles?": (bells.means + bells.stds * special.ndtri(z)[:, None])
        @ bells.weights,
    }
    got = flow_of(bells).inverse(tensor(z))
    size = np.abs(bells.means).max() + bells.stds.max()
    # where the density is low x is as uncertain as F is rounded: 1e-16 over p, which is above 1e-6 of 1/size here
    what = f"inverse of {name}, uniform base"
    assert_close(got, want, rtol=1e-9, atol=1e-9 * size, what=what, mistakes=mistakes)


@bases
@mixtures
def test_mixture_cdf_inverse_undoes_forward(name, base):
    """inverse(forward(x)) is x to rounding, within four standard deviations of a bell; and forward(inverse(z)) is z."""
    bells = bells_of(name)
    flow = flow_of(bells, base)
    z = LEVELS if base == "uniform" else special.ndtri(LEVELS)
    x = flow.inverse(tensor(z))
    back, _ = flow(x)
    difference = np.abs(numbers(back) - z)
    # what x loses to rounding, z loses times dz/dx
    slope = numbers(flow(x)[1].exp())
    allowed = 4e-16 * np.abs(numbers(x)) * slope + 1e-12 * np.abs(z) + 2e-16
    message = f"forward(inverse(z)), {base} base, is off by {difference.max():.2g} at z = {z[difference.argmax()]:g}"
    if 1e-11 < difference.max() < 1e-4:
        message += ": does the search end too early? Bisect to the last digits"
    elif difference.max() >= 1e-4:
        message += ": does each z have a bracket, and a decision, of its own, and does the bracket hold the root?"
    assert (difference <= 100 * allowed).all(), message
    x = around(bells, 3.0)
    z, slope = flow(tensor(x))
    got = numbers(flow.inverse(z))
    # z is rounded by 1e-16 of itself, and near 1 of one: over dz/dx that is what x can be off by
    allowed = 1e-12 * (np.abs(x) + 1) + 1e-15 * np.maximum(1.0, np.abs(numbers(z))) / numbers(slope.exp())
    worst = np.argmax(np.abs(got - x) / allowed)
    assert (np.abs(got - x) <= 10 * allowed).all(), f"inverse(forward(x)) is {got[worst]}, where x is {x[worst]}"


def test_mixture_cdf_inverse_holds_at_the_ends():
    """z = 1e-300, 1 - 2⁻⁵³ (uniform) and ±38, ±1000 (normal) have an x, and Φ⁻¹(F(x)) by mpmath or scipy is z."""
    bells = bells_of("four of all kinds")
    z = np.array([1e-300, 1e-100, 1e-20, 1 - 2.0**-53, 1 - 1e-12])
    x = numbers(flow_of(bells, "uniform").inverse(tensor(z)))
    assert np.isfinite(x).all(), f"inverse of {z} is {x}"
    assert_close(log_cdf(x[:3], bells), np.log(z[:3]), rtol=1e-12, what="log F(inverse(z)) for tiny z")
    assert_close(np.exp(log_sf(x[3:], bells)), 1 - z[3:], rtol=1e-9, what="1 - F(inverse(z)) for z near 1")
    z = np.array([-1000.0, -38.0, -9.0, 9.0, 38.0, 1000.0])
    x = numbers(flow_of(bells, "normal").inverse(tensor(z)))
    why = "does Φ(z) round to 0 or 1 on the way?"
    assert np.isfinite(x).all(), f"inverse of {z} with the normal base is {x}: {why}"
    assert_close(normal_z(x, bells), z, rtol=1e-12, what=f"Φ⁻¹(F(inverse(z))), normal base ({why})")


def test_mixture_cdf_inverse_takes_each_z_by_itself(rng):
    """A thousand z at once give the x of each alone, and in another order these in that order."""
    bells = bells_of("far from zero")
    flow = flow_of(bells)
    z = rng.uniform(0.01, 0.99, 300)
    whole = numbers(flow.inverse(tensor(z)))
    order = rng.permutation(300)
    what = "inverse, in another order (is one bracket, or one decision, shared?)"
    assert_close(flow.inverse(tensor(z[order])), whole[order], rtol=1e-12, what=what)
    for i in range(5):
        assert_close(flow.inverse(tensor(z[i : i + 1])), whole[i : i + 1], rtol=1e-12, what="inverse of one z alone")
    assert_close(cdf(whole, bells), z, rtol=1e-9, what="F(inverse(z))")


@pytest.mark.claim("lem-quantile-bracket")
def test_mixture_cdf_inverse_lies_between_the_bells_own_quantiles(rng):
    """min qᵢ ≤ F⁻¹(z) ≤ max qᵢ, qᵢ = μᵢ + σᵢ Φ⁻¹(z), for 30 random mixtures: F there is below and above z."""
    for _ in range(30):
        k = rng.integers(1, 6)
        bells = flows.Bells(rng.normal(0, 3, k), np.exp(rng.normal(0, 1, k)), rng.dirichlet(np.ones(k)))
        z = np.append(rng.uniform(0, 1, 4), 1e-9)
        q = bells.means + bells.stds * special.ndtri(z)[:, None]
        low, high = q.min(axis=1), q.max(axis=1)
        assert (cdf(low, bells) <= z + 1e-14).all()
        assert (cdf(high, bells) >= z - 1e-14).all()
        x = numbers(flow_of(bells).inverse(tensor(z)))
        room = 1e-12 * (np.abs(low) + np.abs(high) + 1)
        assert ((low - room <= x) & (x <= high + room)).all(), f"inverse({z}) is {x}, not between {low} and {high}"


# The derivatives of the inverse


def implicit(x, bells):
    """∂x/∂μᵢ, ∂x/∂log σᵢ, ∂x/∂ℓᵢ (3, n, k) where F(x) = z stays, by scipy."""
    means, stds, weights = bells
    r, p = shares(x, bells), np.exp(log_p(x, bells))[:, None]
    below = stats.norm.cdf(x[:, None], means, stds)
    return np.stack([r, r * (x[:, None] - means), weights * (cdf(x, bells)[:, None] - below) / p])


@pytest.mark.claim("thm-implicit")
@bases
@pytest.mark.parametrize("name", ["one bell", "a needle in a hill", "four of all kinds"])
def test_mixture_cdf_inverse_has_the_implicit_derivatives(name, base):
    """∂x/∂θ is rᵢ, rᵢ(x - μᵢ), wᵢ(F - Φᵢ)/p, and ∂x/∂z is 1/(dz/dx), with scipy; the same θ-part for either base."""
    bells = bells_of(name)
    flow = flow_of(bells, base)
    levels = np.array([0.03, 0.4, 0.5, 0.77, 0.95])
    z = tensor(levels if base == "uniform" else special.ndtri(levels)).requires_grad_()
    x = flow.inverse(z)
    assert x.requires_grad, "inverse is cut off from the graph: it has no gradient in z or in the parameters"
    at_x = numbers(x)
    by_base = np.ones(5) if base == "uniform" else stats.norm.pdf(numbers(z))
    want_z = by_base / np.exp(log_p(at_x, bells))
    want = implicit(at_x, bells)
    found = [torch.autograd.grad(value, [z, *flow.parameters()], retain_graph=True, allow_unused=True) for value in x]
    missing = [n for n, g in zip(("z", "means", "log_stds", "logits"), found[0], strict=True) if g is None]
    assert not missing, f"inverse has no gradient in {', '.join(missing)}"
    got_z = np.stack([numbers(gradient[0]) for gradient in found])
    mistakes = {
        "is this dz/dx, not dx/dz?": np.diag(1 / want_z),
        "is the sign reversed?": -np.diag(want_z),
        "is the base's density left out?": np.diag(1 / np.exp(log_p(at_x, bells))),
    }
    assert_close(got_z, np.diag(want_z), rtol=1e-9, atol=1e-12, what=f"∂x/∂z, {base} base", mistakes=mistakes)
    for i, part in enumerate(("means", "log_stds", "logits")):
        got = np.stack([numbers(gradient[i + 1]) for gradient in found])
        p = np.exp(log_p(at_x, bells))[:, None]
        mistakes = {
            "is the sign reversed? It is -∂F/∂θ over p": -want[i],
            "is it not divided by the slope p?": want[i] * p,
            "is it multiplied by the slope p, not divided by it?": want[i] * p**2,
            "is it the derivative in a std, not in its logarithm?": want[i] / bells.stds,
            "is it the derivative in a weight, not in its logit?": -stats.norm.cdf(at_x[:, None], *bells[:2]) / p,
        }
        what = f"∂x/∂{part}, {base} base"
        assert_close(got, want[i], rtol=1e-9, atol=1e-11, what=what, mistakes=mistakes)
    assert_close(want[0].sum(axis=1), np.ones(5), what="Σ ∂x/∂μᵢ: all bells moved, x moves with them")


@pytest.mark.claim("thm-implicit")
def test_mixture_cdf_inverse_moves_as_finite_differences_say():
    """Brent's root of scipy's F, at parameters a step to either side, moves as the derivatives stated say."""
    bells = bells_of("a needle in a hill")
    levels = np.array([0.1, 0.52, 0.9])
    theta = np.stack([bells.means, np.log(bells.stds), np.log(bells.weights)])
    x = np.array([quantile(level, bells) for level in levels])
    step = 1e-5

    def roots(theta):
        moved = flows.Bells(theta[0], np.exp(theta[1]), special.softmax(theta[2]))
        return np.array([quantile(level, moved) for level in levels])

    want = np.empty((3, 3, 2))
    for i, j in itertools.product(range(3), range(2)):
        shift = np.zeros_like(theta)
        shift[i, j] = step
        want[i, :, j] = (roots(theta + shift) - roots(theta - shift)) / (2 * step)
    # central differences: a step squared times a third derivative (1/0.05³ at worst), and 1e-13 over the step
    assert_close(implicit(x, bells), want, rtol=1e-5, atol=1e-6, what="-∂F/∂θ/p")
    flow = flow_of(bells)
    found = [
        torch.autograd.grad(value, list(flow.parameters()), retain_graph=True) for value in flow.inverse(tensor(levels))
    ]
    got = np.stack([np.stack([numbers(g) for g in gradient]) for gradient in found], axis=1)
    assert_close(got, want, rtol=1e-5, atol=1e-6, what="the derivatives of inverse")


@bases
def test_mixture_cdf_inverse_has_finite_derivatives_at_the_ends(base):
    """Far in the tails ∂x/∂μ sums to one, and the gradient has no NaN; for one bell x = μ + σz exactly."""
    flow = flow_of(bells_of("four of all kinds"), base)
    z = tensor([1e-300, 1e-30, 1 - 2.0**-53] if base == "uniform" else [-38.0, -12.0, 12.0, 38.0])
    flow.inverse(z).sum().backward()
    assert_close(flow.means.grad.sum(), float(len(z)), rtol=1e-9, what="Σ ∂x/∂μ in the tails")
    for name, part in flow.named_parameters():
        assert torch.isfinite(part.grad).all(), f"the gradient of inverse in {name} is {part.grad} in the tails"
    one = flow_of(bells_of("one bell"), "normal")
    z = tensor([-38.0, -3.0, 0.0, 0.4, 38.0]).requires_grad_()
    x = one.inverse(z)
    x.sum().backward()
    assert_close(x, 1.7 + 0.6 * numbers(z), rtol=1e-12, atol=1e-12, what="inverse of one bell, normal base")
    assert_close(z.grad, np.full(5, 0.6), rtol=1e-9, what="∂x/∂z = σ of one bell, normal base")
    assert_close(one.means.grad, [5.0], rtol=1e-9, what="Σ ∂x/∂μ of one bell")
    assert_close(one.log_stds.grad, [0.6 * -2.6], rtol=1e-9, atol=1e-9, what="Σ ∂x/∂log σ = σ Σz of one bell")
    assert_close(one.logits.grad, [0.0], atol=1e-9, what="∂x/∂ℓ of one bell, whose weight is 1")


@pytest.mark.claim("thm-implicit")
@bases
def test_mixture_cdf_sample_has_the_gradient_of_an_expectation(generator, base):
    """Over 4,000 draws ∂/∂θ of x² averages to that of E x² = Σ wᵢ(μᵢ² + σᵢ²): 2wᵢμᵢ, 2wᵢσᵢ², wᵢ(μᵢ² + σᵢ² - E x²)."""
    bells = flows.Bells(np.array([-0.5, 1.0]), np.array([0.8, 0.5]), np.array([0.4, 0.6]))
    means, stds, weights = bells
    flow = flow_of(bells, base)
    x = flow.sample(generator, 4000)
    assert x.requires_grad, "the draws are cut off from the graph: sample has no gradient in the parameters"
    (x**2).sum().backward()
    at_x = numbers(x)
    rows = 2 * at_x[:, None] * implicit(at_x, bells)
    got = np.stack([numbers(part.grad) for part in (flow.means, flow.log_stds, flow.logits)])
    assert_close(got, rows.sum(axis=1), rtol=1e-8, atol=1e-7, what="the gradient of Σ x² through sample")
    second = means**2 + stds**2
    want = [2 * weights * means, 2 * weights * stds**2, weights * (second - weights @ second)]
    for i, j in itertools.product(range(3), range(2)):
        assert_mean(rows[i, :, j], want[i][j], detects=0.35)


# Draws


@bases
def test_mixture_cdf_sample_follows_the_mixture(generator, base):
    """10,000 draws have the distribution function F: what is drawn is of the base that the flow was made for."""
    bells = bells_of("three bells")
    x = numbers(flow_of(bells, base).sample(generator, 10_000))
    lowest, highest = x.min(), x.max()

    def mismatch(x):
        z = special.ndtri(cdf(x, bells)) if base == "normal" else cdf(x, bells)
        law = stats.uniform if base == "normal" else stats.norm
        return np.where(x < lowest, 0.0, np.where(x >= highest, 1.0, law.cdf(z)))

    drawn = "uniform" if base == "normal" else "normal"
    hints = {
        f"z seems to be drawn from the {drawn} law, where the base is {base}": mismatch,
        "log_stds seem to be read as log variances": partial(cdf, bells=in_wider_bells(bells, np.sqrt)),
    }
    assert_distribution(x, partial(cdf, bells=bells), detects=0.043, hints=hints)


@bases
def test_mixture_cdf_sample_draws_rows_that_are_independent(generator, base):
    """F of neighbouring draws is uncorrelated, and no draw comes twice."""
    bells = bells_of("four of all kinds")
    x = numbers(flow_of(bells, base).sample(generator, 10_000))
    assert len(np.unique(x)) == 10_000, "some draws come twice"
    u = cdf(x, bells) - 0.5
    assert_mean(u[::2] * u[1::2], 0.0, detects=0.011)
    # the second half beside the first, in its order and in reverse
    mirrored = {"is the second half of the draws the mirror image of the first?": -1 / 12}
    for other in (u[5000:], u[:4999:-1]):
        assert_mean(u[:5000] * other, 0.0, detects=0.011, hints=mirrored)
    x = numbers(flow_of(bells_of("one bell"), base).sample(generator, 40_000))
    twice = len(x) - len(np.unique(x))
    # by chance it happens to double precision once in 2⁵³/(40,000²/2) times, and to float32 48 times
    assert not twice, f"{twice} of 40,000 draws come twice: is z drawn in float32, of which there are 2²⁴ in (0, 1)?"


@bases
def test_mixture_cdf_sample_is_seeded_by_its_generator_alone(base):
    """The same seed gives the same draws, another seed and a second call others; PyTorch's own state stays."""
    flow, before = flow_of(bells_of("four of all kinds"), base), torch.get_rng_state()
    first = torch.Generator().manual_seed(5)
    a, again, same = flow.sample(first, 9), flow.sample(first, 9), flow.sample(torch.Generator().manual_seed(5), 9)
    other = flow.sample(torch.Generator().manual_seed(6), 9)
    assert torch.equal(a, same), "sample with the same seed gives other draws: is the generator passed on?"
    assert not torch.isin(a, again).any(), "a second call repeats draws of the first"
    assert not torch.isin(a, other).any(), "sample with another seed gives the same draws: is the generator passed on?"
    assert torch.equal(before, torch.get_rng_state()), "sample uses PyTorch's global generator"
    assert flow.sample(first, 1).shape == (1,)


@pytest.mark.claim("prop-base-mismatch")
def test_mixture_cdf_inverse_of_the_wrong_base_is_a_third_of_the_law():
    """Normal base, uniform z: only quantiles ½ to Φ(1), x in (.200, 1.515), density p/φ(z); exactly, by scipy."""
    bells = bells_of("three bells")
    flow = flow_of(bells, "normal")
    z = np.linspace(1e-9, 1 - 1e-9, 2001)
    x = numbers(flow.inverse(tensor(z)))
    levels = cdf(x, bells)
    assert_close(levels[[0, -1]], [0.5, stats.norm.cdf(1.0)], atol=1e-8, what="the range of F at the wrong draws")
    assert_close(np.diff(levels[[0, -1]])[0], 0.3413, rtol=0, atol=5e-5, what="their share of the law")
    assert_close(
        x[[0, -1]], [quantile(0.5, bells), quantile(stats.norm.cdf(1.0), bells)], rtol=1e-6, what="their range"
    )
    assert_close(np.round(x[[0, -1]], 3), [0.2, 1.515], what="their range, to three digits")
    assert (x > -0.4).all()  # a quarter and more of the law is at the first bell
    # of z uniform the share up to x is G'(T(x)) = T(x), and the density p g'/g = p/φ(T)
    assert_close(normal_z(x, bells), z, rtol=1e-7, atol=1e-9, what="T(x), the distribution function of wrong draws")
    slope = numbers(flow(tensor(x))[1])
    want = log_p(x, bells) - stats.norm.logpdf(z)
    assert_close(slope, want, rtol=1e-7, atol=1e-7, what="log of the density of the wrong draws, p/φ(z)")

    def wrong_density(x):
        return np.exp(log_p([x], bells) - stats.norm.logpdf(normal_z([x], bells)))[0]

    upto, _ = integrate.quad(wrong_density, x[0], x[1200])
    assert_close(upto, z[1200], rtol=1e-6, what="the mass of p g'(T)/g(T) up to x")
    total, _ = integrate.quad(wrong_density, x[0], x[-1])
    assert_close(total, 1.0, rtol=1e-6, what="the mass of p g'(T)/g(T)")


@pytest.mark.claim("prop-base-mismatch")
def test_mixture_cdf_inverse_of_normal_draws_has_none_for_two_thirds(generator):
    """Uniform base, normal z: a share 1 - (Φ(1) - ½) = .6587 of the draws has no x, and is refused."""
    share = 1 - (stats.norm.cdf(1.0) - 0.5)
    assert_close(share, 0.6587, rtol=0, atol=5e-5, what="P(Z outside (0, 1))")
    z = torch.randn(20_000, generator=generator, dtype=torch.float64).numpy()
    outside = (z <= 0) | (z >= 1)
    assert_mean(outside.astype(float), share, detects=0.03)
    flow = flow_of(bells_of("three bells"), "uniform")
    x = numbers(flow.inverse(tensor(z[~outside][:500])))
    assert_close(cdf(x, bells_of("three bells")), z[~outside][:500], rtol=1e-10, what="F(inverse(z)) inside")
    first = z[outside][0]
    assert_refused(plain(flow.inverse), tensor(z[outside][:1]), argument="z", value=float(first))


# The probability integral


@pytest.mark.claim("prop-probability-integral")
def test_mixture_cdf_forward_makes_the_mixtures_draws_uniform(rng):
    """F(X) of 20,000 draws of the bells is uniform, and Φ⁻¹(F(X)) normal, by forward with either base."""
    bells = bells_of("four of all kinds")
    x = flows.draw(rng, bells, 20_000)
    for base, law in {"uniform": stats.uniform, "normal": stats.norm}.items():
        z = numbers(flow_of(bells, base)(x)[0])
        assert_distribution(z, law.cdf, detects=0.031)


@pytest.mark.claim("prop-probability-integral")
def test_the_least_x_of_each_level_has_the_law_with_steps():
    """inf{x: F(x) ≥ u} over a grid of u has F's own steps, for a coin and a die, in fractions; F(X) is not uniform."""
    laws = [{0: Fraction(2, 7), 1: Fraction(5, 7)}, dict.fromkeys(range(1, 7), Fraction(1, 6))]
    for law in laws:
        steps, total = {}, Fraction(0)
        for value, chance in law.items():
            total += chance
            steps[value] = total
        m = 42 * 5
        levels = [Fraction(i, m) for i in range(1, m + 1)]  # each stands for the m-th of (0, 1) that ends in it
        least = [min(x for x in steps if steps[x] >= u) for u in levels]
        for value, chance in steps.items():
            assert Fraction(sum(x <= value for x in least), m) == chance
        # P(F(X) ≤ t) = t at the steps, and less between them: at t just below the first it is 0
        first = min(steps.values())
        assert sum(p for x, p in law.items() if steps[x] <= first / 2) == 0 != first / 2
    # for Poisson(2) the distance of F(X) from the uniform law is the largest jump
    k = np.arange(60)
    F = stats.poisson.cdf(k, 2.0)
    t = np.nextafter(F, 0)
    below = np.array([stats.poisson.pmf(k[level >= F], 2.0).sum() for level in t])
    assert_close(
        np.max(t - below), stats.poisson.pmf(k, 2.0).max(), rtol=1e-9, what="the distance of F(X) from uniform"
    )


# Weights that do not sum to one


@pytest.mark.claim("prop-sub-density")
@pytest.mark.parametrize("W", [1.0, math.sqrt(12), 5.0, 6.85])
def test_mixture_cdf_forward_less_a_half_makes_a_sub_density(W):
    """With z = W(F - ½) and base N(0, 1), ∫ φ(z) dz/dx = 2Φ(W/2) - 1, by quadrature through forward."""
    bells = bells_of("three bells")
    flow = flow_of(bells, "uniform")

    def density(x):
        F, slope = (numbers(part) for part in flow(tensor(x)))
        return stats.norm.pdf(W * (F - 0.5)) * W * np.exp(slope)

    want = 2 * stats.norm.cdf(W / 2) - 1
    assert_close(integral(density, bells, 9.0), want, rtol=1e-8, what=f"the mass for W = {W}")
    digits = {5.0: 0.98758, 6.85: 0.9994, math.sqrt(12): 0.9167}
    if W in digits:
        assert_close(want, digits[W], rtol=0, atol=5e-5, what=f"the mass for W = {W}, to four digits")


@pytest.mark.claim("prop-sub-density", kind="symbolic")
def test_sub_density_is_likeliest_where_the_mean_square_is_one():
    """sympy: log W - W²m/2 has its one maximum at W = 1/√m; m = E s² < ¼ makes it exceed 2; for s = F - ½ it is √12."""
    W, m, s = sympy.symbols("W m s", positive=True)
    level = sympy.log(W) - W**2 * m / 2
    # log of φ(Ws) W s' is log W - W²s²/2 + log s' - ½ log 2π: what depends on W is this, with m for s²
    full = sympy.log(sympy.exp(-((W * s) ** 2) / 2) / sympy.sqrt(2 * sympy.pi) * W)
    assert sympy.simplify(sympy.expand_log(full - level.subs(m, s**2), force=True) + sympy.log(2 * sympy.pi) / 2) == 0
    (best,) = sympy.solve(sympy.diff(level, W), W)
    assert sympy.simplify(best - 1 / sympy.sqrt(m)) == 0
    assert sympy.simplify(sympy.diff(level, W, 2)).is_negative
    assert best.subs(m, sympy.Rational(1, 4)) == 2
    assert sympy.diff(best, m).is_negative
    u = sympy.Symbol("u", real=True)
    uniform = sympy.integrate((u - sympy.Rational(1, 2)) ** 2, (u, 0, 1))
    assert uniform == sympy.Rational(1, 12)
    assert best.subs(m, uniform) == sympy.sqrt(12)
    assert_close(2 * stats.norm.cdf(math.sqrt(3)) - 1, 0.9167, rtol=0, atol=5e-5, what="the mass at √12")


@pytest.mark.claim("prop-sub-density")
def test_sub_density_has_its_best_width_by_quadrature():
    """E log p̃_W over the bells, for s = F - ½ of the bells and for that of another law, is largest at 1/√E s² > 2."""
    bells = bells_of("three bells")
    for other in (bells, flows.Bells(np.array([0.0]), np.array([2.0]), np.ones(1))):
        flow = flow_of(other, "uniform")
        x, weight = nodes(bells)
        weight = weight * np.exp(log_p(x, bells))
        F, slope = (numbers(part) for part in flow(tensor(x)))
        square = weight @ (F - 0.5) ** 2

        def cost(W, F=F, slope=slope, weight=weight):
            return -weight @ (stats.norm.logpdf(W * (F - 0.5)) + np.log(W) + slope)

        best = optimize.minimize_scalar(cost, bounds=(0.5, 20.0), method="bounded", options={"xatol": 1e-10}).x
        # a minimum is found to the square root of a rounding
        assert_close(best, 1 / math.sqrt(square), rtol=1e-6, what="the best W")
        assert best > 2
        if other is bells:
            assert_close(best, math.sqrt(12), rtol=1e-6, what="the best W where s = F - ½")
    assert 2 * stats.norm.cdf(1.0) - 1 > 0.682


# A flow and its bells


@bases
@mixtures
def test_mixture_cdf_from_bells_and_back(name, base):
    """bells() of from_bells is the same mixture to rounding, in double precision, of the base asked for."""
    bells = bells_of(name)
    flow = flows.MixtureCDF.from_bells(bells, base)
    assert flow.base == base
    for part, got, want in zip(bells._fields, flow.bells(), bells, strict=True):
        assert got.dtype == np.float64
        assert_close(got, want, rtol=1e-12, what=f"the {part} of from_bells(...).bells()")
    x = around(bells)
    assert_close(flow.log_density(tensor(x)), log_p(x, bells), rtol=SHARP, atol=SHARP, what="log_density of from_bells")


def test_mixture_cdf_bells_takes_the_softmax_and_the_exponential():
    """Parameters means, log_stds, logits are the bells (means, e^log_stds, softmax logits), as arrays of their own."""
    bells = bells_of("four of all kinds")
    flow = flow_of(bells, shift=-1.3)
    got = flow.bells()
    mistakes = {
        "weights": {"are they exp(logits), which need not sum to one?": np.exp(-1.3) * bells.weights},
        "stds": {"are they variances?": bells.stds**2, "are they roots, of log variances?": np.sqrt(bells.stds)},
        "means": {},
    }
    for part, values, want in zip(bells._fields, got, bells, strict=True):
        assert_close(values, want, rtol=1e-12, what=f"the {part} of bells()", mistakes=mistakes[part])
    got.means[:] = 0.0
    assert_close(flow.means, bells.means, what="the flow's means, after those that bells() gave were written to")


def test_mixture_cdf_bells_of_single_precision_are_a_mixture_in_double():
    """Of a flow in float32 the weights sum to one as float64 does, and the bells have an entropy."""
    bells = flows.Bells(np.linspace(-3, 3, 7), np.linspace(0.5, 1.5, 7), np.arange(1, 8) / 28)
    flow = flow_of(bells, dtype=torch.float32)
    got = flow.bells()
    want = special.softmax(numbers(flow.logits))
    assert_close(got.weights, want, rtol=1e-13, what="the weights of a flow in float32 (is the softmax in float64?)")
    assert_close(got.stds, np.exp(numbers(flow.log_stds)), rtol=1e-13, what="the stds of a flow in float32")
    assert_close(flows.entropy(got), flows.entropy(bells), rtol=1e-5, what="the entropy of a flow in float32")


def test_mixture_cdf_begins_with_means_of_its_generator():
    """Means are N(0, 1) of the generator, stds 1, weights equal; float32; the same seed, the same means."""
    seeded = [flows.MixtureCDF(2000, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(seeded[0].means, seeded[1].means), "the same seed gives other means: is the generator passed on?"
    assert not torch.isin(seeded[0].means, seeded[2].means).all(), "another seed gives the same means"
    flow = seeded[0]
    assert flow.base == "uniform"
    assert flow.means.dtype == torch.float32
    bells = flow.bells()
    assert_close(bells.stds, np.ones(2000), what="the first stds")
    assert_close(bells.weights, np.full(2000, 1 / 2000), rtol=1e-6, what="the first weights")
    assert_distribution(bells.means, stats.norm.cdf, detects=0.1)
    before = torch.get_rng_state()
    fresh = [flows.MixtureCDF(3).means for _ in range(2)]
    assert torch.equal(before, torch.get_rng_state()), "PyTorch's global generator was used"
    assert not torch.equal(*fresh), "without a generator two flows begin with the same means"
    assert sorted(name for name, _ in flow.named_parameters()) == ["log_stds", "logits", "means"]


@bases
def test_mixture_cdf_can_be_copied_and_saved(base):
    """A deep copy and a loaded state_dict give the same z, x and density; a copy that learns leaves its original."""
    flow = flow_of(bells_of("four of all kinds"), base)
    x = tensor([-1.0, 0.4, 3.0])
    other = flows.MixtureCDF(4, base).double()
    other.load_state_dict(flow.state_dict())
    twin = copy.deepcopy(flow)
    for one in (other, twin):
        assert_close(one(x)[0], numbers(flow(x)[0]), rtol=1e-14, what="z of a copy")
        assert_close(one.log_density(x), numbers(flow.log_density(x)), rtol=1e-14, what="log_density of a copy")
    before = numbers(flow.log_density(x))
    with torch.no_grad():
        twin.means += 1.0
    assert_close(flow.log_density(x), before, rtol=1e-15, what="log_density of the original")
    moved = flows.Bells(MIXTURES["four of all kinds"][0] + np.ones(4), *bells_of("four of all kinds")[1:])
    what = "log_density after the means have moved (is an earlier result kept?)"
    assert_close(twin.log_density(x), log_p(numbers(x), moved), rtol=SHARP, what=what)


# EM


def em_step(x, bells):
    """One step of the three formulas, with scipy's responsibilities at the old parameters."""
    r = shares(x, bells)
    mass = r.sum(axis=0)
    means = r.T @ x / mass
    return flows.Bells(means, np.sqrt((r * (x[:, None] - means) ** 2).sum(axis=0) / mass), mass / len(x))


def mistakes_in_em(x, bells):
    """What one step gives where one of the formulas is wrong, and why."""
    r, want = shares(x, bells), em_step(x, bells)
    mass = r.sum(axis=0)
    about_old = np.sqrt((r * (x[:, None] - bells.means) ** 2).sum(axis=0) / mass)
    return {
        "means": {
            "are they not divided by the mass ⟨rᵢ⟩?": r.T @ x / len(x),
            "is each point given to one bell altogether, as in k-means?": hard_means(x, r),
        },
        "stds": {
            "are the squares taken about the old means, not the new?": about_old,
            "is the root missing: are these variances?": want.stds**2,
            "do they stay as they were?": bells.stds,
        },
        "weights": {
            "do they stay as they were?": bells.weights,
            "are they all equal?": np.full(len(mass), 1 / len(mass)),
            "are they sums, not means?": mass,
        },
    }


def hard_means(x, r):
    chosen = np.eye(r.shape[1])[r.argmax(axis=1)]
    return chosen.T @ x / np.maximum(chosen.sum(axis=0), 1)


def a_sample(rng):
    """90 points in two heaps, and bells that are not theirs."""
    x = np.concatenate([rng.normal(-2.0, 0.7, 60), rng.normal(1.5, 1.2, 30)])
    return x, flows.Bells(np.array([-1.0, 0.5]), np.array([1.5, 0.8]), np.array([0.3, 0.7]))


@pytest.mark.claim("prop-em-mixture")
def test_fit_em_takes_the_step_of_the_three_formulas(rng):
    """After one step w = ⟨r⟩, μ = ⟨rx⟩/⟨r⟩, σ² = ⟨r(x - μ)²⟩/⟨r⟩, with scipy's r at the start; after three, thrice."""
    x, start = a_sample(rng)
    got, want, mistakes = flows.fit_em(x, start, steps=1), em_step(x, start), mistakes_in_em(x, start)
    for part in ("means", "stds", "weights"):
        what = f"the {part} after one step of fit_em"
        assert_close(getattr(got.bells, part), getattr(want, part), rtol=1e-10, what=what, mistakes=mistakes[part])
    want = em_step(x, em_step(x, want))
    for part, value in flows.fit_em(x, start, steps=3).bells._asdict().items():
        assert_close(value, getattr(want, part), rtol=1e-9, what=f"the {part} after three steps of fit_em")


def test_fit_em_is_that_of_scikit_learn(rng):
    """GaussianMixture of scikit-learn, from the same start and with as many steps, has the same bells."""
    x, start = a_sample(rng)
    theirs = mixture.GaussianMixture(
        2,
        tol=0.0,
        reg_covar=0.0,
        max_iter=25,
        init_params="random_from_data",
        means_init=start.means[:, None],
        weights_init=start.weights,
        precisions_init=start.stds[:, None, None] ** -2,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        theirs.fit(x[:, None])
    got = flows.fit_em(x, start, steps=25, gain=1e-300).bells
    # it adds 2e-15 to each mass, which is some tens
    assert_close(got.means, theirs.means_[:, 0], rtol=1e-8, atol=1e-9, what="the means after 25 steps of fit_em")
    assert_close(got.stds, np.sqrt(theirs.covariances_.ravel()), rtol=1e-8, what="the stds after 25 steps of fit_em")
    assert_close(got.weights, theirs.weights_, rtol=1e-8, what="the weights after 25 steps of fit_em")


@pytest.mark.claim("prop-em-mixture")
def test_fit_em_never_raises_the_mean_nll(rng):
    """From 20 random starts losses fall or stay (to rounding); by scipy the first and last are those of the ends."""
    for _ in range(20):
        k = rng.integers(1, 5)
        x = rng.standard_t(3, 40) * 3 + 1
        start = flows.Bells(rng.choice(x, k), np.exp(rng.normal(0, 1, k)), rng.dirichlet(np.ones(k) * 3))
        fit = flows.fit_em(x, start, steps=60)
        first, last = -log_p(x, start).mean(), -log_p(x, fit.bells).mean()
        mistakes = {"is the sign that of the log-likelihood?": -first, "is it summed over the data?": first * 40}
        assert_close(fit.losses[0], first, rtol=1e-10, what="losses[0] of fit_em, at the start", mistakes=mistakes)
        rise = np.diff(fit.losses).max() if len(fit.losses) > 1 else 0.0
        assert rise <= 1e-12 * np.abs(fit.losses).max(), f"a step of fit_em raises the mean NLL by {rise:.3g}"
        assert_close(fit.losses[-1], last, rtol=1e-10, what="losses[-1] of fit_em, at the bells it returns")


def test_fit_em_stops_where_it_is_told(rng):
    """losses has a value for the start and one for each step: `steps`, or fewer once a step gains less than `gain`."""
    x, start = a_sample(rng)
    for steps in (1, 4, 9):
        losses = flows.fit_em(x, start, steps=steps, gain=1e-300).losses
        assert len(losses) == steps + 1, f"{steps} steps of fit_em leave {len(losses)} losses, not {steps + 1}"
    long = flows.fit_em(x, start, steps=3000, gain=1e-4).losses
    gains = -np.diff(long)
    assert (gains[:-1] >= 1e-4).all(), "fit_em goes on although a step gained less than `gain`"
    assert gains[-1] < 1e-4, "fit_em stops although each step gained more than `gain`"
    short = flows.fit_em(x, start, gain=1e-2)
    got, want = short.losses[-1], -log_p(x, short.bells).mean()
    mistakes = {"is this the loss of the step before?": short.losses[-2]}
    if np.isclose(want, short.losses[-2], rtol=1e-12):
        mistakes = {"are the bells those of the step before?": got}
    what = "losses[-1] of fit_em, at the bells it returns, where it stops for want of gain"
    assert_close(got, want, rtol=1e-10, what=what, mistakes=mistakes)


def test_fit_em_moves_with_the_data(rng):
    """The bells of a + bx are a + b·means and b·stds, also a million stds from zero, where x² has no digits left."""
    x, start = a_sample(rng)
    one = flows.fit_em(x, start, steps=6, gain=1e-300)
    for a, b in ((-3e6, 1.0), (0.0, 1e-5), (1e7, 300.0)):
        moved = flows.Bells(a + b * start.means, b * start.stds, start.weights)
        got = flows.fit_em(a + b * x, moved, steps=6, gain=1e-300)
        # x is rounded by 1e-16 of a: 1e-9 of b, and a little more after six steps
        what = f"of fit_em to {a:g} + {b:g}x (is a variance taken as ⟨x²⟩ less the mean's square?)"
        assert_close((got.bells.means - a) / b, one.bells.means, rtol=1e-6, atol=1e-6, what=f"the means {what}")
        assert_close(got.bells.stds / b, one.bells.stds, rtol=1e-6, what=f"the stds {what}")
        assert_close(got.bells.weights, one.bells.weights, rtol=1e-6, what=f"the weights {what}")
        assert_close(got.losses, one.losses + np.log(b), rtol=1e-6, atol=1e-7, what=f"the losses {what}")


def test_fit_em_empties_a_bell_that_no_point_belongs_to(rng):
    """A bell a thousand stds away gets the weight 0, the others what they get without it, and nothing is NaN."""
    x, start = a_sample(rng)
    more = flows.Bells(*(np.append(part, value) for part, value in zip(start, (1e3, 0.5, 0.0), strict=True)))
    more = more._replace(weights=np.append(0.9 * start.weights, 0.1))
    with np.errstate(all="ignore"):
        got, want = flows.fit_em(x, more, steps=4), flows.fit_em(x, start, steps=4)
    assert_close(got.bells.weights[2], 0.0, atol=1e-15, what="the weight of the bell without points, ⟨r⟩")
    for name, part, other in zip(got.bells._fields, got.bells, want.bells, strict=True):
        assert np.isfinite(part).all(), f"the {name} of fit_em are {part}: 0/0 for a bell without points?"
        assert_close(part[:2], other, rtol=1e-9, what=f"the {name} of the bells that have points")


def test_fit_em_keeps_each_std_above_the_smallest(rng):
    """A bell on forty equal points ends at smallest_std times x's std, and no smaller; that of the others is free."""
    x = np.concatenate([np.full(40, 5.0), rng.normal(0, 1.0, 60)])
    start = flows.Bells(np.array([5.0, 0.0]), np.array([0.1, 1.0]), np.array([0.5, 0.5]))
    for smallest in (0.02, 1e-3):
        fit = flows.fit_em(x, start, smallest_std=smallest)
        mistakes = {"is the smallest std not over that of x?": smallest, "is there no smallest std?": 0.0}
        assert_close(fit.bells.stds[0], smallest * x.std(), rtol=1e-9, what="the smallest std", mistakes=mistakes)
        assert fit.bells.stds[1] > 0.5


def test_fit_em_of_one_bell_is_the_normal_fit(rng):
    """One bell ends, after one step, at x's mean and standard deviation (with n, not n - 1); x and start stay."""
    x, start = rng.normal(3.0, 2.0, 20), flows.Bells(np.zeros(1), np.ones(1), np.ones(1))
    x.flags.writeable = False
    fit = flows.fit_em(x, start, steps=5)
    assert_close(fit.bells.means, [x.mean()], rtol=SHARP, what="the mean of one bell")
    mistakes = {"is it divided by n - 1?": [x.std(ddof=1)]}
    assert_close(fit.bells.stds, [x.std()], rtol=SHARP, what="the std of one bell", mistakes=mistakes)
    assert_close(fit.bells.weights, [1.0], rtol=SHARP, what="the weight of one bell")
    assert_close(np.ravel(start), [0, 1, 1], what="the start, afterwards")


# The fit


def started(seed=0, components=3, dtype=torch.float64):
    return flows.MixtureCDF(components, generator=torch.Generator().manual_seed(seed)).to(dtype)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.claim("lem-batch-means")
def test_batch_means_are_weighted_by_their_size():
    """In fractions Σ bⱼmⱼ/n is the mean; a plain mean gives the last batch's points 12.577 and 15.625 times theirs."""
    for n, times, batches, last in ((6666, 12.577, 53, 10), (5000, 15.625, 40, 8)):
        x = [Fraction((7 * i) % 1001, 13) for i in range(n)]
        cut = [x[i : i + 128] for i in range(0, n, 128)]
        means = [sum(batch) / len(batch) for batch in cut]
        assert (len(cut), len(cut[-1])) == (batches, last)
        assert sum(len(batch) * mean for batch, mean in zip(cut, means, strict=True)) / n == sum(x) / n
        plain = sum(means) / len(means)
        stated = sum(Fraction(1, batches * len(batch)) * value for batch in cut for value in batch)
        assert plain == stated != sum(x) / n
        assert_close(n / (batches * last), times, rtol=5e-5, what=f"the excess weight of a point for n = {n}")


@pytest.mark.claim("lem-batch-means")
@pytest.mark.parametrize("batch_size", [128, 43, 1, 500])
def test_fit_losses_are_means_over_the_points(rng, batch_size):
    """At a rate of 1e-14 each of two epochs has the mean NLL of the start, by scipy, also with a last batch of one."""
    n = 129
    x = np.append(rng.normal(0, 1, n - 1), 30.0)
    start = started()
    each = -log_p(x, start.bells())
    want = each.mean()
    fit = flows.fit(
        x, components=3, start=start, rate=1e-14, falling=False, epochs=2, batch_size=batch_size, generator=seeded()
    )
    assert fit.losses.shape == (2,), f"losses of two epochs have shape {fit.losses.shape}, should have (2,)"
    batches = -(-n // batch_size)
    without = each.sum() - each
    mistakes = {
        "is it summed over the points, not averaged?": np.full(2, each.sum()),
        "is this the mean over batches of sums?": np.full(2, each.sum() / batches),
        "is the sign that of the log-likelihood?": np.full(2, -want),
    }
    if batch_size == 128:
        # any point can be the last batch: which one, the losses themselves say
        averaged = [(one / 128 + alone) / 2 for one, alone in zip(without, each, strict=True)]
        guesses = {
            "were the batch means averaged, so that the one point of the last batch counts for 128?": np.array(
                averaged
            ),
            "is the small last batch left out?": without / 128,
            "is the small last batch left out of the sum?": without / n,
            "is this the loss of the last batch alone?": each,
        }
        nearest = {why: all_near[np.abs(fit.losses[:, None] - all_near).argmin(1)] for why, all_near in guesses.items()}
        mistakes |= nearest
    what = f"losses of {n} points in batches of {batch_size} (each epoch sees each point once, and weighs all alike)"
    assert_close(fit.losses, np.full(2, want), rtol=1e-9, what=what, mistakes=mistakes)


def adam_by_torch(x, start, steps, rate):
    """Means, log stds and logits after so many steps of PyTorch's Adam on the mean NLL of all data; and the losses."""
    theta = [part.detach().clone().double().requires_grad_() for part in (start.means, start.log_stds, start.logits)]
    optimizer, losses = torch.optim.Adam(theta, lr=rate), []
    for _ in range(steps):
        law = torch.distributions.Normal(theta[0], theta[1].exp())
        parts = torch.log_softmax(theta[2], 0) + law.log_prob(tensor(x)[:, None])
        loss = -torch.logsumexp(parts, 1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return [numbers(part) for part in theta], losses


@pytest.mark.parametrize("steps", [1, 30])
def test_fit_takes_the_steps_of_adam(rng, steps):
    """With all data in one batch and a constant rate, PyTorch's Adam on its own gradient goes the same way."""
    x, start = rng.normal(1.0, 2.0, 50), started(2, 3)
    theta, losses = adam_by_torch(x, start, steps, 0.05)
    got = flows.fit(
        x, components=3, start=start, rate=0.05, falling=False, epochs=steps, batch_size=64, generator=seeded()
    )
    want = flows.Bells(theta[0], np.exp(theta[1]), special.softmax(theta[2]))
    still = start.bells()
    mistakes = {"is there one step more?": adam_by_torch(x, start, steps + 1, 0.05)[0][0]}
    mistakes |= {"is this the start, where nothing was learnt?": still.means}
    mistakes |= {"does it climb, where it should descend?": 2 * still.means - theta[0]} if steps == 1 else {}
    what = f"after {steps} steps of fit with one batch"
    assert_close(got.flow.means, want.means, rtol=1e-6, atol=1e-7, what=f"the means {what}", mistakes=mistakes)
    assert_close(got.flow.bells().stds, want.stds, rtol=1e-6, what=f"the stds {what}")
    assert_close(got.flow.bells().weights, want.weights, rtol=1e-6, what=f"the weights {what}")
    assert_close(got.losses, losses, rtol=1e-7, what=f"the losses {what}, each at the parameters that were visited")


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_fit_lets_its_rate_fall_with_each_step(epochs):
    """Towards data far away Adam makes full steps: of a rate that falls along a line to nothing they make half."""
    x, start = np.linspace(99.0, 101.0, 100), flows.MixtureCDF.from_bells(GOOD._replace(means=np.zeros(2)))
    steps, rate = 100 * epochs, 1e-4

    def travel(falling):
        settings = {"epochs": epochs, "batch_size": 1, "rate": rate, "falling": falling}
        fit = flows.fit(x, components=2, start=start, generator=seeded(), **settings)
        return fit.flow.bells().means / (steps * rate)

    # x differs by a hundredth, and σ grows by one in a hundred steps: each moves the slope by as much
    assert_close(travel(False), np.ones(2), atol=0.05, what="the way at a constant rate, over steps times rate")
    mistakes = {"the rate does not fall within an epoch": (epochs + 1) / (2 * epochs), "the rate does not fall": 1.0}
    got = float(travel(True).mean())
    near = [why for why, value in mistakes.items() if abs(got - value) < 0.03]
    why = "; ".join(near) if abs(got - 0.5) > 0.03 else ""
    what = f"the way at a falling rate, over steps times rate, in {epochs} epochs"
    assert abs(got - 0.5) <= 0.03, f"{what}, is {got:.3f}, where a line that falls to nothing gives 0.5: {why}"


@cache
def fitted_by(fit, seed, scale, shift):
    """600 draws from three bells, well apart,, and the default fit of 150 epochs; one for all tests that look at it."""
    bells = flows.Bells(np.array([-2.0, 0.3, 3.0]), np.array([0.3, 0.4, 0.5]), np.array([0.3, 0.4, 0.3]))
    rng = np.random.default_rng(seed)
    x = (bells.means + bells.stds * rng.standard_normal((600, 3)))[np.arange(600), rng.choice(3, 600, p=bells.weights)]
    return bells, x, fit(shift + scale * x, components=3, epochs=150, generator=seeded(seed))


def fitted(seed, scale=1.0, shift=0.0):
    return fitted_by(flows.fit, seed, scale, shift)


def likeliest(x, start):
    """The mean NLL that the three formulas reach in 300 steps."""
    for _ in range(300):
        start = em_step(x, start)
    return -log_p(x, start).mean()


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (4000.0, 1e5), (1e-6, -1e-3)])
def test_fit_reaches_the_likeliest_bells(rng, scale, shift):
    """Its mean NLL on the data, by scipy, is within 1/2000 of what EM reaches from the truth, at any scale of x."""
    seed = int(rng.integers(2**31))
    bells, x, fit = fitted(seed, scale=scale, shift=shift)
    data = shift + scale * x
    best = likeliest(data, flows.Bells(shift + scale * bells.means, scale * bells.stds, bells.weights))
    excess = -log_p(data, fit.flow.bells()).mean() - best
    message = f"the fit's mean NLL is {excess:.3g} above the best one, for data {shift:g} + {scale:g}x"
    if scale != 1.0:
        message += ": is x, in thousands or millionths, brought to the scale of the rate and of the start?"
    else:
        message += ": does the rate fall, so that the parameters come to rest, and is the start among the data?"
    # the truth itself is above it by 8 parameters/2n on average, 1/150: this is a fourteenth of that
    assert excess < 5e-4, message
    assert_close(fit.losses[-1], best, rtol=0, atol=3e-3, what="the last of the losses, beside the best mean NLL")


def test_fit_moves_with_the_data(rng):
    """The fit of a + bx has means a + b·means and stds b·stds, but for rounding in 750 steps; losses + log b."""
    seed = int(rng.integers(2**31))
    first = fitted(seed)[2]
    one, log_b = first.flow.bells(), np.log(4000.0)
    moved = fitted(seed, scale=4000.0, shift=1e5)[2]
    other = moved.flow.bells()
    assert_close(other.means, 1e5 + 4000 * one.means, rtol=1e-5, what="the means of 1e5 + 4000 x")
    assert_close(other.stds, 4000 * one.stds, rtol=1e-5, what="the stds of 1e5 + 4000 x")
    assert_close(other.weights, one.weights, rtol=1e-5, what="the weights of 1e5 + 4000 x")
    mistakes = {"are the losses those of standardised data, without log b?": first.losses}
    assert_close(moved.losses, first.losses + log_b, rtol=1e-5, what="losses of 1e5 + 4000 x", mistakes=mistakes)


def test_fit_depends_on_its_generator_and_not_on_its_base(rng):
    """The same seed gives the same fit, with either base, another seed another; PyTorch's own state stays."""
    x, before = rng.normal(0, 1, 60), torch.get_rng_state()
    a, same, normal, other = (
        flows.fit(x, components=2, epochs=4, batch_size=16, base=base, generator=seeded(seed))
        for base, seed in (("uniform", 1), ("uniform", 1), ("normal", 1), ("uniform", 2))
    )
    assert torch.equal(a.flow.means, same.flow.means), "fit with the same seed gives another flow"
    assert np.array_equal(a.losses, same.losses), "fit with the same seed has other losses"
    assert a.flow.base == "uniform", f"fit with the uniform base gives a flow of base {a.flow.base}"
    assert normal.flow.base == "normal", f"fit with the normal base gives a flow of base {normal.flow.base}"
    assert_close(normal.flow.means, numbers(a.flow.means), rtol=1e-9, what="the means with the normal base")
    assert_close(normal.losses, a.losses, rtol=1e-9, what="the losses with the normal base")
    shuffled = not np.allclose(a.losses[1:], other.losses[1:], rtol=1e-9)
    assert shuffled, "fit with another seed takes the same batches: is the order of the points drawn, from generator?"
    fresh = [flows.fit(x, components=2, epochs=2, batch_size=16).losses for _ in range(2)]
    assert torch.equal(before, torch.get_rng_state()), "fit uses PyTorch's global generator"
    assert not np.array_equal(*fresh), "without a generator two fits are the same: is it seeded afresh?"


def test_fit_visits_the_points_in_an_order_of_its_own_in_each_epoch():
    """Three points, one at a time, at a constant rate: were the order kept, each epoch would cost as much as the last.

    All thirty orders agree once in 6²⁹ times.
    """
    start = flows.MixtureCDF.from_bells(flows.Bells(np.zeros(1), np.ones(1), np.ones(1)))
    settings = {"rate": 0.05, "falling": False, "epochs": 60, "batch_size": 1, "generator": seeded()}
    losses = flows.fit(np.array([-1.0, 0.5, 3.0]), components=1, start=start, **settings).losses
    # where the order is kept Adam ends in a cycle, and third differences are below 1e-5; they are about 5e-3 otherwise
    rough = np.abs(np.diff(losses[-30:], 3)).max()
    assert rough > 2e-4, (
        "the losses of late epochs differ by nothing: are the points shuffled only once, before the first?"
    )


def test_fit_visits_the_points_in_an_order_that_is_drawn(rng):
    """Points in order of size, in batches of 10: with another seed the first epoch has another loss."""
    x = np.sort(rng.normal(0, 1, 40))
    ends = [
        flows.fit(x, components=2, epochs=3, batch_size=10, start=started(1, 2), generator=seeded(s)).losses[0]
        for s in range(6)
    ]
    assert len(np.unique(np.round(ends, 12))) == 6, "the first epoch goes the same way whatever the seed: no shuffling?"


def test_fit_leaves_its_arguments_alone(rng):
    """x, the start, its gradients and whether it takes any are as they were; the flow that comes back is another."""
    x, start = rng.normal(0, 1, 30), started(3)
    x.flags.writeable = False
    x_before, before = x.copy(), copy.deepcopy(start.state_dict())
    fit = flows.fit(x, components=3, start=start, epochs=2, generator=seeded())
    assert np.array_equal(x, x_before)
    for name, part in start.named_parameters():
        assert torch.equal(part, before[name]), f"fit writes into the {name} of its start"
        assert part.grad is None, f"fit leaves a gradient in the {name} of its start"
        assert part.requires_grad, f"fit switches off the gradient of the {name} of its start"
    assert fit.flow is not start, "fit returns the start itself"
    assert not any(part.requires_grad for part in fit.flow.parameters()), "the gradients of fit's flow are not off"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_fit_has_the_precision_of_the_data(rng, dtype):
    """float32 gives a flow in float32, all else one in float64; from arrays and tensors the same."""
    x = rng.normal(0, 5, 40).astype(dtype)
    fit = flows.fit(x, components=2, epochs=3, generator=seeded())
    want = torch.float32 if dtype is np.float32 else torch.float64
    assert fit.flow.means.dtype == want, f"fit of {np.dtype(dtype)} gives a flow in {fit.flow.means.dtype}"
    same = flows.fit(torch.from_numpy(x), components=2, epochs=3, generator=seeded())
    assert_close(same.flow.means, numbers(fit.flow.means), rtol=1e-12, what="the means of a fit to a tensor")
    double = flows.fit(x.astype(np.float64), components=2, epochs=3, generator=seeded())
    # one part in 1e7 of float32, and what Adam makes of it in a few steps
    assert_close(fit.flow.means, numbers(double.flow.means), rtol=1e-4, atol=1e-4, what="the means in float32")


def test_fit_keeps_each_std_above_the_smallest(rng):
    """Of 70 points 40 are equal: the narrower bell ends at smallest_std times x's std, and not below."""
    x = np.concatenate([np.full(40, 3.0), rng.normal(0, 1.0, 30)])
    fit = flows.fit(x, components=2, epochs=150, batch_size=16, smallest_std=0.2, generator=seeded())
    least, allowed = fit.flow.bells().stds.min(), 0.2 * x.std()
    assert least >= allowed * (1 - 1e-9), f"a bell has std {least:.3g}, where {allowed:.3g} is the least"
    assert_close(least, allowed, rtol=1e-6, what="the std of the bell on the equal points")
    x, start = 20 * x, flows.Bells(np.array([60.0, 0.0]), np.full(2, 20.0), np.array([0.5, 0.5]))
    start, settings = flows.MixtureCDF.from_bells(start), {"epochs": 150, "batch_size": 16, "smallest_std": 0.2}
    least = flows.fit(x, components=2, start=start, generator=seeded(), **settings).flow.bells().stds.min()
    mistakes = {"is the smallest std not over that of x?": 0.2}
    what = "the std of the bell on the equal points, from a start"
    assert_close(least, 0.2 * x.std(), rtol=1e-6, what=what, mistakes=mistakes)


def test_fit_of_one_bell_is_the_normal_fit(rng):
    """One bell ends at x's mean and standard deviation, with either base; its weight is one."""
    x = rng.normal(-3.0, 0.2, 200)
    for base in BASES:
        bells = flows.fit(x, components=1, base=base, epochs=300, batch_size=200, generator=seeded()).flow.bells()
        # the rate falls to nothing along a line, and with one batch there is no noise
        assert_close(bells.means, [x.mean()], rtol=1e-4, what=f"the mean of one bell, {base} base")
        assert_close(bells.stds, [x.std()], rtol=5e-3, what=f"the std of one bell, {base} base")
        assert_close(bells.weights, [1.0], what="the weight of one bell")


# Bad input

GOOD = flows.Bells(np.array([-1.0, 1.0]), np.array([0.5, 0.5]), np.array([0.5, 0.5]))
BAD_BELLS = [
    ("weights", [0.5, 0.7], 1.2),
    ("weights", [-0.5, 1.5], -0.5),
    ("weights", [1.0], (1,)),
    ("stds", [0.5, 0.0], 0.0),
    ("stds", [-0.25, 0.5], -0.25),
    ("stds", [0.5, np.inf], np.inf),
    ("stds", [0.5, 0.5, 0.5], (3,)),
    ("means", [np.nan, 1.0], np.nan),
]
TAKERS = {
    "draw": lambda bells: flows.draw(np.random.default_rng(0), bells, 3),
    "log_density": lambda bells: flows.log_density(np.zeros(3), bells),
    "responsibilities": lambda bells: flows.responsibilities(np.zeros(3), bells),
    "nll_gradient": lambda bells: flows.nll_gradient(np.zeros(3), bells),
    "entropy": lambda bells: flows.entropy(bells),
    "kl_divergence": lambda bells: flows.kl_divergence(GOOD, bells),
    "fit_em": lambda bells: flows.fit_em(np.arange(3.0), bells),
    "MixtureCDF": lambda bells: flows.MixtureCDF.from_bells(bells),
}


@pytest.mark.parametrize("name", TAKERS)
def test_functions_of_bells_refuse_what_is_no_mixture(name):
    """Weights that are negative or do not sum to one, stds that are not positive, parts of other sizes, NaN."""
    for part, values, value in BAD_BELLS:
        call = TAKERS[name]
        call.__name__ = name
        assert_refused(call, GOOD._replace(**{part: np.array(values)}), argument=part, value=value)


@pytest.mark.parametrize("name", ["log_density", "responsibilities", "nll_gradient", "fit_em"])
def test_functions_of_points_refuse_what_is_no_row_of_numbers(name):
    """x is a row of finite numbers, at least one."""
    function = getattr(flows, name)
    for x, value in BAD_ROWS:
        assert_refused(function, x, GOOD, argument="x", value=value)


BAD_ROWS = [
    (np.array([1.0, np.nan]), np.nan),
    (np.array([1.0, -np.inf]), -np.inf),
    (np.ones((2, 1)), (2, 1)),
    (np.array(1.0), "()"),
    (np.array([]), "none"),
]


def test_draw_and_nll_gradient_refuse_what_has_no_meaning():
    """No draws are none; a weight of 0 has no logit."""
    for n in (0, -1, 2.5):
        assert_refused(flows.draw, np.random.default_rng(0), GOOD, n, argument="n", value=n)
    none = GOOD._replace(weights=np.array([1.0, 0.0]))
    assert_refused(flows.nll_gradient, np.zeros(2), none, argument="weights", value=0.0)
    assert_refused(flows.MixtureCDF.from_bells, none, argument="weights", value=0.0)


def test_bisect_refuses_brackets_and_targets_without_meaning():
    """An end below the beginning, a value never taken, shapes that differ, NaN of the function, no steps."""
    one, two = tensor([1.0]), tensor([2.0])
    call = flows.bisect
    assert_refused(call, torch.exp, one, two, one, argument="high", value=-1.0)
    assert_refused(call, torch.exp, one, one, one, argument="high", value=0.0)
    assert_refused(call, torch.exp, tensor([-1.0]), one, two, argument="target", value=-1.0)
    assert_refused(call, torch.tanh, tensor([1.5]), one, two, argument="target", value=1.5)
    assert_refused(call, torch.exp, tensor([1.0, 2.0]), one, two, argument="target", value=(2,))
    assert_refused(call, torch.exp, tensor([np.nan]), one, two, argument="target", value=np.nan)
    assert_refused(call, torch.log, one, tensor([-1.0]), two, argument="function", value=np.nan)
    for steps in (0, 1.5):
        assert_refused(call, torch.exp, one, -one, two, steps=steps, argument="steps", value=steps)


def test_mixture_cdf_refuses_what_is_no_number_of_bells_and_no_base():
    """components is 1, 2, 3, ..., base one of two."""
    for components in (0, -1, 2.0, True):
        assert_refused(flows.MixtureCDF, components, argument="components", value=components)
    assert_refused(flows.MixtureCDF, 2, "gauss", argument="base", value="gauss")
    assert_refused(flows.MixtureCDF.from_bells, GOOD, "gauss", argument="base", value="gauss")


@bases
def test_mixture_cdf_refuses_points_that_are_no_row_of_numbers(base):
    """x is a row of finite numbers, at least one, in forward and log_density; an array or a tensor."""
    flow = flow_of(GOOD, base)
    for x, value in BAD_ROWS:
        for kind in (np.asarray, tensor):
            assert_refused(plain(flow.forward), kind(x), argument="x", value=value)
            assert_refused(plain(flow.log_density), kind(x), argument="x", value=value)
            assert_refused(plain(flow.inverse), kind(x), argument="z", value=value)


def test_mixture_cdf_refuses_to_invert_what_the_base_cannot_take():
    """With the uniform base z lies strictly between 0 and 1; ±∞ is no z with either; no draws are none."""
    flow = flow_of(GOOD, "uniform")
    for value in (0.0, 1.0, -0.1, 1.5, np.inf):
        assert_refused(plain(flow.inverse), tensor([0.5, value]), argument="z", value=value)
    for base in BASES:
        for n in (0, -2, 1.5):
            assert_refused(plain(flow_of(GOOD, base).sample), seeded(), n, argument="n", value=n)


def test_fit_refuses_data_that_tell_nothing():
    """One point, points all equal, NaN, ∞, a table, and numbers whose standard deviation is none."""
    call = partial(flows.fit, components=2)
    call.__name__ = "fit"
    for x, value in [*BAD_ROWS, (np.array([3.0]), 1), (np.full(4, 3.5), 3.5), (np.array([1e200, -1e200]), np.inf)]:
        assert_refused(call, x, argument="x", value=value)
    em = partial(flows.fit_em, start=GOOD)
    em.__name__ = "fit_em"
    for x, value in [(np.array([3.0]), 1), (np.full(4, 3.5), 3.5)]:
        assert_refused(em, x, argument="x", value=value)


def test_fit_refuses_settings_without_meaning():
    """components, epochs and batch_size count; rate and smallest_std are positive; base is one of two; start fits."""
    x = np.arange(5.0)
    for name, value in itertools.product(("components", "epochs", "batch_size"), (0, 2.5)):
        settings = {"components": 2, "epochs": 1, name: value}
        assert_refused(flows.fit, x, **settings, argument=name, value=value)
    for name, value in itertools.product(("rate", "smallest_std"), (0.0, -0.1, np.nan)):
        settings = {"components": 2, "epochs": 1, name: value}
        assert_refused(flows.fit, x, **settings, argument=name, value=value)
    assert_refused(flows.fit, x, components=2, base="gauss", argument="base", value="gauss")
    assert_refused(flows.fit, x, components=2, start=started(0, 3), argument="components", value=2)
    with pytest.raises(OverflowError, match="rate"):
        flows.fit(x, components=2, rate=1e308, epochs=20, generator=seeded())


def test_fit_em_refuses_settings_without_meaning():
    """steps count; gain and smallest_std are positive."""
    x = np.arange(5.0)
    for value in (0, 1.5):
        assert_refused(flows.fit_em, x, GOOD, steps=value, argument="steps", value=value)
    for name, value in itertools.product(("gain", "smallest_std"), (0.0, -1.0)):
        settings = {name: value}
        assert_refused(flows.fit_em, x, GOOD, **settings, argument=name, value=value)


# What arrays may ask for


@pytest.mark.parametrize("name", ["log_density", "responsibilities", "nll_gradient"])
def test_functions_of_points_take_any_array(name):
    """Whole numbers, float32, every second entry, read-only, one point: as with floats; nothing is kept."""
    function, bells = getattr(flows, name), bells_of("four of all kinds")
    x = np.array([2.0, -3.0, 0.0, 1.0, 5.0])
    want = function(x, bells)
    read_only = x.copy()
    read_only.flags.writeable = False
    for kind in (x.astype(np.int8), x.astype(np.int64), x.astype(np.float32), np.repeat(x, 2)[::2], read_only):
        got = function(kind, bells)
        assert got.dtype == np.float64
        assert_close(got, want, rtol=1e-12, what=f"{name} of {kind.dtype}")
    if name != "nll_gradient":
        for i in range(5):
            assert_close(function(x[i : i + 1], bells), want[i : i + 1], rtol=1e-12, what=f"{name} of one point")
    whole = flows.Bells(np.array([0, 3]), np.array([1, 2]), np.array([0.5, 0.5]))
    as_floats = flows.Bells(*(part.astype(float) for part in whole))
    assert_close(
        function(x, whole), function(x, as_floats), rtol=1e-12, what=f"{name} with means and stds that are whole"
    )
    x += 0.25
    bells.means[:] += 0.5
    fresh = function(x.copy(), flows.Bells(*(part.copy() for part in bells)))
    assert_close(function(x, bells), fresh, rtol=1e-12, what=f"{name} once x has changed in place")
    assert_close(bells.means, np.array(MIXTURES["four of all kinds"][0]) + 0.5, what="the means, afterwards")


@bases
def test_mixture_cdf_takes_any_row(base):
    """Arrays and tensors, whole, float32, every second entry, read-only, with gradients: the same values as float64."""
    flow = flow_of(bells_of("four of all kinds"), base)
    x = np.array([2.0, -3.0, 0.0, 1.0, 5.0])
    read_only = x.copy()
    read_only.flags.writeable = False
    kinds = [x, x.astype(np.int64), x.astype(np.float32), np.repeat(x, 2)[::2], read_only, x[::-1][::-1]]
    kinds += [tensor(x), torch.from_numpy(x.astype(np.float32)), tensor(np.repeat(x, 3))[::3]]
    kinds += [torch.tensor([2, -3, 0, 1, 5]), tensor(x).requires_grad_()]
    want = [numbers(part) for part in (*flow(tensor(x)), flow.log_density(tensor(x)))]
    for kind in kinds:
        got = [*flow(kind), flow.log_density(kind)]
        for what, one, other in zip(("z", "log dz/dx", "log_density"), got, want, strict=True):
            assert one.dtype == torch.float64, (
                f"{what} of {kind.dtype} is in {one.dtype}, though the flow is in float64"
            )
            assert_close(one, other, rtol=1e-12, atol=1e-13, what=f"{what} of {kind.dtype}")
    z = np.array([0.25, 0.5, 0.75])
    back = numbers(flow.inverse(tensor(z)))
    for kind in (z, z.astype(np.float32), np.repeat(z, 2)[::2]):
        assert_close(flow.inverse(kind), back, rtol=1e-12, atol=1e-12, what=f"inverse of {kind.dtype}")
    assert_close(flow.inverse(z[:1]), back[:1], rtol=1e-12, atol=1e-12, what="inverse of one z")
    large = flows.Bells(np.array([2.0**24, 2.0**24 + 3]), np.ones(2), np.array([0.5, 0.5]))
    whole = np.array([2**24 + 1, 2**24 + 5])
    for kind in (whole, torch.from_numpy(whole)):
        what = "log_density of whole numbers above 2²⁴, which float32 rounds"
        assert_close(flow_of(large, base).log_density(kind), log_p(whole, large), rtol=SHARP, what=what)
    x[:] += 0.5
    assert_close(
        flow.log_density(x), log_p(x, bells_of("four of all kinds")), rtol=SHARP, what="log_density, x changed"
    )


@bases
def test_mixture_cdf_works_in_the_wider_precision(base):
    """Parameters and argument in float32 give float32, right to its digits; either in float64 gives float64."""
    bells = bells_of("three bells")
    double, single = flow_of(bells, base), flow_of(bells, base, dtype=torch.float32)
    x = np.array([-1.2, 0.1, 0.5, 1.6])
    for kind, want in ((np.float32, torch.float32), (np.float64, torch.float64), (np.int64, torch.float32)):
        z, slope = single(x.astype(kind))
        for what, part in (("z", z), ("log dz/dx", slope), ("log_density", single.log_density(x.astype(kind)))):
            assert part.dtype == want, f"{what} of {np.dtype(kind)} with parameters in float32 is in {part.dtype}"
    z, slope = single(x.astype(np.float32))
    exact = [numbers(part) for part in (*double(x), double.log_density(x))]
    for what, got, value in zip(("z", "slope", "density"), (z, slope, single.log_density(x)), exact, strict=True):
        # σ = ¼ makes 1e-7 of x into 4e-7 of u, and log p has u² in it
        assert_close(got, value, rtol=2e-5, atol=2e-5, what=f"{what} in float32, {base} base")
    levels = np.array([0.2, 0.6, 0.9])
    assert single.inverse(levels.astype(np.float32)).dtype == torch.float32
    assert_close(single.inverse(levels.astype(np.float32)), numbers(double.inverse(levels)), rtol=1e-5, atol=1e-5)
    assert single.inverse(levels).dtype == torch.float64
    assert single.sample(seeded(), 3).dtype == torch.float32
    assert double.sample(seeded(), 3).dtype == torch.float64
