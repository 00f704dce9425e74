"""Hard and soft throws of a die against enumeration, quadrature, sympy, mpmath, scipy and automatic differentiation."""

import contextlib
import itertools
import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, optimize, special, stats

from solutions import gumbel
from tests.diagnose import assert_close, assert_refused
from tests.honest import (
    assert_distribution,
    assert_frequencies,
    assert_mean,
    assert_proportion,
    assert_unbiased,
    assert_variance,
)

SOURCE = (0.1, 0.2, 0.5, 0.2)
DICE = {
    "the source's": SOURCE,
    "a coin": (0.3, 0.7),
    "three": (0.05, 0.35, 0.6),
    "six": (0.25, 0.05, 0.1, 0.3, 0.22, 0.08),
}
dice = pytest.mark.parametrize("name", DICE)
# A hundred roundings, magnified by the logarithms and powers that undo one another here.
SHARP = 1e-10

# The names that draw, each as a function of the generator, the probabilities and n alone
THROWS = {
    "gumbel_max": lambda g, p, n: gumbel.gumbel_max(g, p, n),
    "gumbel_softmax": lambda g, p, n: gumbel.gumbel_softmax(g, p, n, 0.5),
    "straight_through": lambda g, p, n: gumbel.straight_through(g, p, n, 0.5),
}
DRAWS = THROWS | {
    "ranking": lambda g, p, n: gumbel.ranking(g, p, n),
    "score_gradient": lambda g, p, n: gumbel.score_gradient(g, np.arange(len(p)) ** 2 + 1.0, p, n),
    "relaxed_gradient": lambda g, p, n: gumbel.relaxed_gradient(g, first_squared, p, n, 0.5),
}
throws = pytest.mark.parametrize("draws", THROWS)
SOFT = {
    "gumbel_softmax": lambda *a: gumbel.gumbel_softmax(*a),
    "straight_through": lambda *a: gumbel.straight_through(*a),
}
soft = pytest.mark.parametrize("throw", SOFT)


# What the tests know of dice and noise, without the module


def first_squared(y):
    return y[:, 0] ** 2 + 3 * y[:, -1]


def numbers(x):
    """The numbers alone, of a tensor too."""
    return np.asarray(x.detach() if torch.is_tensor(x) else x, float)


def tensor(p, **kwargs):
    return torch.tensor(np.asarray(p, float), **kwargs)


def twin(generator):
    """Another generator in the same state."""
    return torch.Generator().set_state(generator.get_state())


def softmax(scores):
    return special.softmax(np.asarray(scores, float), axis=-1)


def counts_of(throws, k):
    """How often each outcome came; words, where they are no outcomes."""
    throws = numbers(throws)
    assert not throws.size or throws.max() < k, f"an outcome {throws.max():.0f}, of a die of {k}: do they count from 1?"
    assert throws.min() >= 0
    return np.bincount(throws.astype(int), minlength=k)


def law_of_argmax(scores, law):
    """P(argmax (scoreᵢ + noiseᵢ) = i) = ∫ f(x - sᵢ) Πⱼ≠ᵢ F(x - sⱼ) dx on a grid."""
    x = np.linspace(-40, 60, 20_001)[:, None]
    f, F = law.pdf(x - np.asarray(scores)), law.cdf(x - np.asarray(scores))
    chance = np.array([(f[:, i] * np.delete(F, i, axis=1).prod(axis=1)).sum() for i in range(len(scores))])
    return chance / chance.sum()


def other_laws_of_argmax(p):
    """What other noise makes of the same logarithms."""
    log_p = np.log(p)
    return {
        "reversed": law_of_argmax(log_p, stats.gumbel_l),
        "exponential": law_of_argmax(log_p, stats.expon),
        "normal": law_of_argmax(log_p, stats.norm),
        "logistic": law_of_argmax(log_p, stats.logistic),
        "uniform": law_of_argmax(log_p, stats.uniform),
        "no log": softmax(p),
    }


def plackett_luce(order, p):
    """p_a · p_b/(1 - p_a) ⋯, in the kind of numbers that p is made of."""
    chance, left = 1, sum(p)
    for i in order:
        chance, left = chance * p[i] / left, left - p[i]
    return chance


def orders_of(k):
    return list(itertools.permutations(range(k)))


def logistic_density(x):
    return stats.logistic.pdf(x)


@cache
def _gauss(nodes=68):
    """Nodes and weights for integrals against E ~ Exp(1), as u = log E: trapezoids, exact for analytic integrands."""
    u = np.linspace(-22.8, 4.0, nodes)  # step 0.4: off by e^{-π²/0.4}, and by e^{-22.8} at the end
    return u, (u[1] - u[0]) * np.exp(u - np.exp(u))


def mean_by_cubature(p, tau):
    """E[softmax((ℓ + g)/τ)] for two or three outcomes, over all their noise on a grid: smooth for τ ≥ 0.5."""
    u, w = _gauss()
    axes = np.meshgrid(*[u] * len(p), indexing="ij", sparse=True)
    scores = np.stack(np.broadcast_arrays(*[np.log(q) - a for q, a in zip(p, axes, strict=True)]), axis=-1)
    y = softmax(scores / tau)
    for _ in p:
        y = np.tensordot(w, y, axes=(0, 0))
    return y


def coin_mean(p, tau):
    """E[σ((ℓ + L)/τ)] by adaptive quadrature over the logistic noise L, times P(it matters)."""
    logit = math.log(p / (1 - p))
    f = lambda x: special.expit((logit + x) / tau) * logistic_density(x)  # noqa: E731
    cuts = sorted({-60.0, *np.clip(-logit + tau * np.array([-40, -8, -2, 0, 2, 8, 40]), -59, 59), 60.0})
    return sum(integrate.quad(f, a, b, epsabs=1e-15, epsrel=1e-12)[0] for a, b in itertools.pairwise(cuts))


def coin_moments(slope, logit, tau):
    """Mean and variance of slope(y) y(1-y)/τ, y = σ((ℓ+L)/τ), by adaptive quadrature over L; slope of (y, z)."""

    def G(noise):
        y = special.expit((logit + noise) / tau)
        return slope(y, float(noise > -logit)) * y * special.expit(-(logit + noise) / tau) / tau

    offsets = np.array([-40, -20, -10, -5, -2, 0, 2, 5, 10, 20, 40]) * tau - logit
    cuts = sorted({-80.0, -20.0, 0.0, 20.0, 80.0, *np.clip(offsets, -80, 80)})
    moments = [
        sum(
            integrate.quad(lambda x, m=m: G(x) ** m * logistic_density(x), a, b, epsabs=1e-17, epsrel=1e-11)[0]
            for a, b in itertools.pairwise(cuts)
        )
        for m in (1, 2)
    ]
    return moments[0], moments[1] - moments[0] ** 2


def exact_coin(f, logit):
    """λ(ℓ)(f(1) - f(0))"""
    return logistic_density(logit) * (f(1.0) - f(0.0))


# Noise


@pytest.mark.claim("prop-gumbel-law")
def test_noise_has_the_law_of_gumbel(generator):
    """100,000 entries of noise against scipy's gumbel_r; what other formulas give is named."""
    got = gumbel.noise(generator, 20_000, 5)
    hints = {
        "the sign is reversed: log E where -log E belongs": stats.gumbel_l.cdf,
        "this is -log U, exponential: the outer logarithm is missing": stats.expon.cdf,
        "this is log U: the outer logarithm is missing": lambda x: np.exp(np.minimum(x, 0)),
        "this is normal noise, not Gumbel noise": stats.norm.cdf,
        "this is logistic noise, the difference of two Gumbel draws": stats.logistic.cdf,
        "this is U, uniform: both logarithms are missing": stats.uniform.cdf,
        "the mean is subtracted, which a Gumbel draw has": lambda x: stats.gumbel_r.cdf(x + np.euler_gamma),
    }
    assert_distribution(numbers(got).ravel(), stats.gumbel_r.cdf, detects=0.014, hints=hints)


@pytest.mark.claim("prop-gumbel-law")
def test_noise_has_the_mean_gamma_and_the_variance(generator):
    """Euler's γ and π²/6, of 200,000 entries."""
    got = numbers(gumbel.noise(generator, 100_000, 2)).ravel()
    assert_mean(got, np.euler_gamma, detects=0.03, hints={"the sign is reversed": -np.euler_gamma})
    assert_variance(got, np.pi**2 / 6, detects=0.05, hints={"this is the variance of logistic noise": np.pi**2 / 3})


@pytest.mark.claim("prop-gumbel-law", kind="symbolic")
def test_the_law_of_minus_log_of_an_exponential():
    """By sympy: P(-log E ≤ x) = P(E ≥ e⁻ˣ), its derivative, and the moments of -log E from E[Eᵃ] = Γ(1+a)."""
    x, t = sympy.symbols("x", real=True), sympy.symbols("t", positive=True)
    survival = sympy.exp(-t)  # P(E ≥ t), whose slope is less the density
    cdf = survival.subs(t, sympy.exp(-x))
    assert sympy.simplify(sympy.diff(cdf, x) - sympy.exp(-x - sympy.exp(-x))) == 0
    a = sympy.symbols("a", positive=True)
    powers = sympy.integrate(t**a * sympy.exp(-t), (t, 0, sympy.oo))  # E[e^{-ag}]
    log_mean = sympy.log(sympy.gamma(1 + a))
    assert sympy.simplify(powers - sympy.gamma(1 + a)) == 0
    assert sympy.simplify(-sympy.diff(log_mean, a).subs(a, 0) - sympy.EulerGamma) == 0
    assert sympy.simplify(sympy.diff(log_mean, a, 2).subs(a, 0) - sympy.pi**2 / 6) == 0


def test_noise_is_of_double_precision(generator):
    """float64, finite, and no two of 40,000 alike: in single precision U takes 2²⁴ values, and dozens would be.

    Of the 2⁵³ or more values in double precision two coincide once in 10⁷ runs.
    """
    got = gumbel.noise(generator, 10_000, 4)
    assert tuple(got.shape) == (10_000, 4)
    assert got.dtype == torch.float64, f"noise should be float64, is {got.dtype}"
    assert torch.isfinite(got).all(), "noise is not finite"
    repeated = got.numel() - len(torch.unique(got))
    assert not repeated, f"{repeated} of {got.numel()} numbers came twice: is the noise drawn in single precision?"


def test_noise_has_its_largest_values(generator):
    """The largest of n = 16 million is above 13.9: P(it is not) = exp(-n e^{-13.9}), once in 2,400,000 runs."""
    top = max(gumbel.noise(generator, 1_000_000, 4).max().item() for _ in range(4))
    words = "is a small number, 1e-6 or more, added inside of a logarithm?"
    assert top > 13.9, f"the largest of 16 million draws is {top:.4f}, and should be above 13.9: {words}"


def test_noise_is_drawn_anew_for_each_row_and_column(generator):
    """Products of deviations from γ have mean 0: in neighbours along columns and rows, and in halves of a column."""
    g = numbers(gumbel.noise(generator, 20_000, 4)) - np.euler_gamma
    assert len(np.unique(g[:, 0])) > 1, "all rows are the same: is one noise shared by all rows?"
    spread = g.std(axis=1)
    assert spread.min() > 0, "all columns are the same: is one noise shared by the outcomes of a row?"
    half = g[:10_000, 0]
    halves = [(half, g[10_000:, 0]), (half, g[:-10_001:-1, 0])]  # in the same order and in the reverse
    for one, other in [(g[:, 0], g[:, 1]), (g[:, 2], g[:, 3]), (g[::2, 0], g[1::2, 0]), *halves]:
        assert_mean(one * other, 0.0, detects=0.2, hints={"one noise is shared": np.pi**2 / 6})


# The race


@pytest.mark.claim("thm-race", kind="symbolic")
def test_the_race_by_symbolic_integration():
    """∫ₜ^∞ pᵢ e^{-pᵢs} Πⱼ≠ᵢ e^{-pⱼs} ds = (pᵢ/P) e^{-Pt} for three clocks of any rates, by sympy."""
    s, t, *p = sympy.symbols("s t p1:4", positive=True)
    survive = [sympy.integrate(q * sympy.exp(-q * s), (s, t, sympy.oo)) for q in p]  # P(T > t) from the density
    for i, q in enumerate(p):
        others = sympy.Mul(*(survive[j].subs(t, s) for j in range(3) if j != i))
        joint = sympy.integrate(sympy.powsimp(q * sympy.exp(-q * s) * others), (s, t, sympy.oo))
        assert sympy.simplify(joint - q / sum(p) * sympy.exp(-sum(p) * t)) == 0


@pytest.mark.claim("thm-race")
def test_noise_runs_a_race_whose_winner_does_not_tell_the_time(generator):
    """Clocks e^{-g}/p, p = (½, 1, 2½): who wins and when, a table of 3 × 4 quantile cells, is the product law."""
    p = np.array([0.5, 1.0, 2.5])
    clocks = np.exp(-numbers(gumbel.noise(generator, 40_000, 3))) / p
    quarter = np.floor(4 * stats.expon.cdf(clocks.min(axis=1), scale=1 / p.sum())).clip(0, 3).astype(int)
    counts = np.bincount(4 * clocks.argmin(axis=1) + quarter, minlength=12)
    assert_frequencies(counts, np.repeat(p / p.sum() / 4, 4), detects=0.06)


# Gumbel-max


@throws
@dice
def test_throws_have_the_probabilities(generator, draws, name):
    """40,000 throws, for soft ones where the largest entry stands, by χ²; other noise would give other frequencies."""
    p = np.array(DICE[name])
    got = THROWS[draws](generator, p, 40_000)
    got = got.argmax(dim=1) if got.ndim == 2 else got
    laws = other_laws_of_argmax(p)
    hints = {
        "the sign of the noise is reversed": laws["reversed"],
        "the noise is exponential: -log U has one logarithm too few": laws["exponential"],
        "the noise is normal": laws["normal"],
        "the noise is logistic": laws["logistic"],
        "the noise is uniform": laws["uniform"],
        "the noise is added to p, not to log p": laws["no log"],
        "one noise for all outcomes of a row lets the likeliest win always": np.eye(len(p))[p.argmax()],
        "there is no noise: the likeliest wins always": np.eye(len(p))[p.argmax()],
        "all outcomes are equally likely: where is p": np.full(len(p), 1 / len(p)),
        "the smallest score wins, not the largest": law_of_argmax(-np.log(p), stats.gumbel_l),
        "p is squared": p**2 / (p**2).sum(),
        "the outcomes are in reverse order": p[::-1],
    }
    hints = {words: law for words, law in hints.items() if not np.allclose(law, p, atol=1e-3)}
    assert_frequencies(counts_of(got, len(p)), p, detects=0.06, hints=hints)


@pytest.mark.claim("thm-gumbel-max")
def test_gumbel_max_has_the_probabilities_of_the_source(generator):
    """100,000 throws of (.1, .2, .5, .2) by χ²."""
    counts = counts_of(gumbel.gumbel_max(generator, SOURCE, 100_000), 4)
    assert_frequencies(counts, SOURCE, detects=0.035)


@pytest.mark.claim("thm-gumbel-max")
def test_the_joint_law_of_the_largest_score_and_its_place():
    """∫_{-∞}^a f(x - log pᵢ) Πⱼ≠ᵢ F(x - log pⱼ) dx = (pᵢ/P) exp(-P e^{-a}), by quadrature with scipy's gumbel_r."""
    p = np.array([0.3, 1.1, 0.05, 2.0])
    for i, a in itertools.product(range(4), (-1.0, 0.4, 2.0, 30.0)):

        def f(x, i=i):
            others = stats.gumbel_r.cdf(x - np.log(np.delete(p, i))).prod()
            return stats.gumbel_r.pdf(x - math.log(p[i])) * others

        joint = integrate.quad(f, -5, min(a, 1), epsrel=1e-11)[0] + integrate.quad(f, 1, max(a, 1), epsrel=1e-11)[0]
        want = p[i] / p.sum() * math.exp(-p.sum() * math.exp(-a))
        assert_close(joint, want, rtol=1e-8, what=f"P(argmax = {i}, max ≤ {a})")


@pytest.mark.claim("thm-gumbel-max")
def test_noise_makes_a_largest_score_that_does_not_tell_its_place(generator):
    """max s - log P is standard Gumbel, and its quarter is independent of argmax s, of 40,000 rows, Σp = 4."""
    p = np.array([0.5, 1.0, 2.5])
    scores = np.log(p) + numbers(gumbel.noise(generator, 40_000, 3))
    top = scores.max(axis=1) - np.log(p.sum())
    hints = {"log P is not subtracted from the largest": lambda x: stats.gumbel_r.cdf(x - np.log(4))}
    assert_distribution(top, stats.gumbel_r.cdf, detects=0.025, hints=hints)
    quarter = np.floor(4 * stats.gumbel_r.cdf(top)).clip(0, 3).astype(int)
    counts = np.bincount(4 * scores.argmax(axis=1) + quarter, minlength=12)
    assert_frequencies(counts, np.repeat(p / 16, 4), detects=0.06)


@pytest.mark.claim("thm-gumbel-max")
@pytest.mark.parametrize("draws", DRAWS)
def test_throws_never_show_what_is_impossible(generator, draws):
    """At p = 0 no throw of 2,000 comes, a soft one is exactly 0, a ranking has it last, no slope is NaN."""
    p = [0.0, 0.4, 0.0, 0.6]
    got = numbers(DRAWS[draws](generator, p, 2000))
    assert np.isfinite(got).all(), "a probability of 0 makes NaN or infinity"
    if draws == "gumbel_max":
        assert set(got) == {1, 3}, f"outcomes 0 and 2 have probability 0, got {sorted(set(got))}"
    elif draws == "ranking":
        assert set(got[:, 2:].ravel()) == {0, 2}, "outcomes of probability 0 should come last"
    elif draws in SOFT:
        got = got[:, [0, 2]]
        assert (got == 0).all(), f"an outcome of probability 0 gets up to {got.max():.3g}, should get exactly 0"


def test_ranking_has_the_rare_before_the_impossible(generator):
    """p = (0, 1e-30, 0, 1, 0): the orders begin 3, 1, but for one in 10³⁰."""
    got = numbers(gumbel.ranking(generator, [0.0, 1e-30, 0.0, 1.0, 0.0], 200))[:, :2]
    words = "an outcome of probability 0 comes before one of 1e-30: is a small number added inside of the logarithm?"
    assert (got == [3, 1]).all(), words


def test_gumbel_max_of_one_outcome_and_of_a_sure_one(generator):
    """Whole numbers [0, 1, 0] always give 1, a die of one face 0; int64, one number a throw."""
    sure = gumbel.gumbel_max(generator, [0, 1, 0], 50)
    assert sure.dtype == torch.int64, f"throws should be whole numbers (int64), are {sure.dtype}"
    assert tuple(sure.shape) == (50,)
    assert_close(sure, np.ones(50), what="throws of [0, 1, 0]", mistakes={"do they count from 1?": np.full(50, 2)})
    one = gumbel.gumbel_max(generator, [1.0], 3)
    assert_close(one, np.zeros(3), what="throws of [1.0]", mistakes={"do they count from 1?": np.ones(3)})


@pytest.mark.parametrize("draws", [*DRAWS, "noise"])
def test_draws_of_two_rows_are_independent(generator, draws):
    """600 calls with n = 2: both rows low, one, the other, or both high are the product law of the fair coin, by χ²."""
    call = (DRAWS | {"noise": lambda g, p, n: gumbel.noise(g, n, len(p))})[draws]
    middle = {"noise": -math.log(math.log(2)), "ranking": 0.5, "gumbel_max": 0.5}
    calls = [numbers(call(generator, [0.5, 0.5], 2)).reshape(2, -1)[:, 0] for _ in range(600)]
    if draws in {"score_gradient", "relaxed_gradient"}:  # which of the two sides has which values, the draws say
        middle[draws] = np.median(calls) if draws == "relaxed_gradient" else np.mean([np.min(calls), np.max(calls)])
    high = np.array(calls) > middle.get(draws, 0.5)
    hints = {
        "one of two is low and the other high: is the noise stratified, or antithetic?": [0, 0.5, 0.5, 0],
        "both rows are the same": [0.5, 0, 0, 0.5],
    }
    counts = np.bincount(2 * high[:, 0] + high[:, 1], minlength=4)
    assert_frequencies(counts, np.full(4, 0.25), detects=0.4, hints=hints)


@pytest.mark.parametrize("draws", DRAWS)
def test_draws_are_independent_of_one_another(generator, draws):
    """Rows of a die of 60 differ; for the coin, successive rows and halves pair by the product law, by χ²."""
    many = numbers(DRAWS[draws](generator, np.full(60, 1 / 60), 20)).reshape(20, -1)
    assert len(np.unique(many, axis=0)) > 1, "all rows are the same: is one noise shared by all rows?"
    got = numbers(DRAWS[draws](generator, np.array([0.3, 0.7]), 20_000)).reshape(20_000, -1)
    if draws == "relaxed_gradient":
        high = got[:, 0] > np.median(got[:, 0])
        for one, other in _paired(high):
            assert_proportion(int((one & other).sum()), 10_000, 0.25, detects=0.04)
        return
    first = {
        "gumbel_max": got[:, 0] == 0,
        "ranking": got[:, 0] == 0,
        "score_gradient": got[:, 0] > 0,
    }.get(draws, got[:, 0] > 0.5)
    for one, other in _paired(first):
        pairs = np.bincount(2 * one + other, minlength=4)
        assert_frequencies(pairs, [0.49, 0.21, 0.21, 0.09], detects=0.1)


def _paired(rows):
    """Neighbours; the first half and the second; the first half and the second from its end."""
    half = len(rows) // 2
    return [(rows[::2], rows[1::2]), (rows[:half], rows[half:]), (rows[:half], rows[::-1][:half])]


def test_gumbel_max_of_many_outcomes(generator):
    """A die of 400, pᵢ ∝ i + 10: 20,000 throws by χ² over eight groups of 50 faces."""
    p = np.arange(10.0, 410.0)
    p /= p.sum()
    counts = counts_of(gumbel.gumbel_max(generator, p, 10_000), 400).reshape(8, 50).sum(axis=1)
    assert_frequencies(counts, p.reshape(8, 50).sum(axis=1), detects=0.12)


# Rankings


@pytest.mark.claim("prop-plackett-luce")
@pytest.mark.parametrize("p", [(0.2, 0.3, 0.5), (0.1, 0.2, 0.5, 0.2)], ids=["three", "four"])
def test_ranking_has_the_law_of_draws_without_replacement(generator, p):
    """40,000 rankings over all k! orders by χ²."""
    k = len(p)
    got = gumbel.ranking(generator, p, 40_000)
    assert got.dtype == torch.int64, f"a ranking should be whole numbers (int64), is {got.dtype}"
    got = numbers(got)
    assert (np.sort(got, axis=1) == np.arange(k)).all(), "each row should hold every outcome from 0 to k-1 once"
    code = got @ k ** np.arange(k)
    orders = np.array(orders_of(k))
    law = np.array([plackett_luce(order, p) for order in orders])
    counts = np.array([(code == c).sum() for c in orders @ k ** np.arange(k)])
    inverse = [orders.tolist().index(np.argsort(order).tolist()) for order in orders]
    reverse = [orders.tolist().index(order[::-1].tolist()) for order in orders]
    others = np.array([np.prod(np.array(p)[order[:-1]]) for order in orders])
    hints = {
        "the smallest score comes first": law[reverse],
        "this says which place each outcome has, not which outcome each place has": law[inverse],
        "the order of the others does not heed p": [p[o[0]] / math.factorial(k - 1) for o in orders],
        "what is left is not renormalised": others / others.sum(),
        "all orders are equally likely": np.full(len(orders), 1 / len(orders)),
        "the noise is normal": _orders_of_normal_scores(p),
    }
    assert_frequencies(counts, law, detects=0.06, hints=hints)


@cache
def _orders_of_normal_scores(p):
    """The law of the order of log p + normal noise, by two millions of draws, for a hint."""
    scores = np.log(p) + np.random.default_rng(0).standard_normal((100_000, len(p)))
    code = (-scores).argsort(axis=1) @ len(p) ** np.arange(len(p))
    return np.array([(code == np.array(o) @ len(p) ** np.arange(len(p))).mean() for o in orders_of(len(p))])


@pytest.mark.claim("prop-plackett-luce", kind="symbolic")
def test_the_law_of_rankings_is_that_of_ordered_clocks():
    """P(T_a < T_b < T_c) by three symbolic integrals of e^{-pt}, the product formula; Σ over orders 1, marginals p."""
    rates = [sympy.Rational(1, 5), sympy.Rational(3, 10), sympy.Rational(1, 2)]
    r, s, t = sympy.symbols("r s t", positive=True)
    for order in orders_of(3):
        a, b, c = (rates[i] for i in order)
        last = sympy.integrate(c * sympy.exp(-c * t), (t, s, sympy.oo))
        middle = sympy.integrate(b * sympy.exp(-b * s) * last, (s, r, sympy.oo))
        chance = sympy.integrate(sympy.expand(a * sympy.exp(-a * r) * middle), (r, 0, sympy.oo))
        assert sympy.simplify(chance - plackett_luce(order, rates)) == 0, order
    p = [Fraction(1, 10), Fraction(1, 5), Fraction(1, 2), Fraction(1, 5)]
    law = {order: plackett_luce(order, p) for order in orders_of(4)}
    assert sum(law.values()) == 1
    assert [sum(chance for order, chance in law.items() if order[0] == i) for i in range(4)] == p
    without = [p[1] / (1 - p[0]), p[2] / (1 - p[0]), p[3] / (1 - p[0])]
    for rest in orders_of(3):
        whole = (0, *(i + 1 for i in rest))
        assert law[whole] / p[0] == plackett_luce(rest, without), "given the first, the die without it"


# Noise on a lattice


def lattice_by_counting(p, bits):
    """Mean over u = 0, δ, ..., 1-δ of P(the other's noise is below log(p/(1-p)) - log(-log u)), with scipy's law."""
    u = np.arange(1, 2**bits) / 2**bits
    wins = stats.gumbel_r.cdf(math.log(p / (1 - p)) - np.log(-np.log(u)))
    return float(wins.sum()) / 2**bits  # u = 0 has the noise -∞ and never wins


@pytest.mark.claim("prop-lattice-noise")
@pytest.mark.parametrize("bits", [1, 2, 5, 11, 16])
def test_lattice_probability_is_the_mean_over_the_lattice(bits):
    """Every u of the lattice in turn, its chance of winning by scipy's gumbel_r."""
    for p in (0.5, 0.3, 0.01, 1e-4):
        want = lattice_by_counting(p, bits)
        r, n = (1 - p) / p, 2**bits
        mistakes = {
            "is this p itself, which only exact noise gives?": p,
            "is u = 1 counted, the right end of the lattice?": want + 1 / n,
            "is the exponent 1/p where (1-p)/p belongs?": np.sum((np.arange(n) / n) ** (1 / p)) / n,
            "is the exponent upside down?": np.sum((np.arange(1, n) / n) ** (1 / r)) / n,
            "are the points taken in the middle of their cells?": np.sum(((np.arange(n) + 0.5) / n) ** r) / n,
        }
        got = gumbel.lattice_probability(p, bits)
        assert_close(got, want, rtol=1e-9, atol=1e-300, what=f"lattice_probability({p}, {bits})", mistakes=mistakes)
        assert got < p


@pytest.mark.claim("prop-lattice-noise")
@pytest.mark.parametrize("p", [1e-5, 1e-6, 1e-7, 1e-8])
def test_lattice_probability_of_single_precision_falls_short(p):
    """At 24 bits it is p · x/(eˣ - 1), x = δ(1-p)/p, up to p: .7314 at 1e-7, .01541 at 1e-8. 24 is the default."""
    x = 2.0**-24 * (1 - p) / p
    got = gumbel.lattice_probability(p)
    mistakes = {"is this p itself?": 1.0, "are 53 bits the default?": gumbel.lattice_probability(p, 53) / p}
    # e^{-δr} for (1-δ)^r is off by δ²r/2 = δx/2, and δ = 6e-8
    assert_close(got / p, x / math.expm1(x), rtol=1e-6, what=f"lattice_probability({p}) / p", mistakes=mistakes)
    assert got < p


@pytest.mark.claim("prop-lattice-noise")
@pytest.mark.parametrize(("r", "bits"), [(1, 30), (2, 24), (10, 24), (100, 30), (100, 53), (10**12, 53), (10**15, 53)])
def test_lattice_probability_of_many_points_is_a_power_sum(r, bits):
    """δ^{r+1} Σ j^r by Bernoulli's formula in fractions, p = 1/(r+1); for large r by the limit p x/(eˣ - 1)."""
    p, delta = 1 / (r + 1), Fraction(1, 2**bits)
    x = r * 2.0**-bits
    want = p * x / math.expm1(x)
    if r <= 100:
        terms = (math.comb(r + 1, m) * _bernoulli(m) * delta**m for m in range(r + 1))
        want = float(sum(terms) / (r + 1))
    assert_close(gumbel.lattice_probability(p, bits), want, rtol=1e-9, what=f"lattice_probability(1/{r + 1}, {bits})")


@cache
def _bernoulli(m):
    """B₀ = 1, B₁ = -½, B₂ = 1/6, ... from Σ C(m+1, j) Bⱼ = 0."""
    return Fraction(1) if m == 0 else -sum(math.comb(m + 1, j) * _bernoulli(j) for j in range(m)) / (m + 1)


@pytest.mark.claim("prop-lattice-noise")
def test_lattice_probability_is_that_of_throws_with_coarse_noise(rng):
    """-log(-log U) with U of 8 values beats an exact opponent as often as it says, p = .3, by 40,000 throws."""
    p, n = 0.3, 40_000
    with np.errstate(divide="ignore"):
        mine = np.log(p) - np.log(-np.log(rng.integers(0, 8, n) / 8))
    wins = int((mine > np.log(1 - p) + rng.gumbel(size=n)).sum())
    assert_proportion(wins, n, gumbel.lattice_probability(p, 3), detects=0.02, hints={"this is p": p})


# Soft throws


@dice
@pytest.mark.parametrize("tau", [0.3, 1.0, 4.0])
def test_gumbel_softmax_divides_the_scores_by_the_temperature(generator, name, tau):
    """From one state, y at τ is y at 1 to the power 1/τ, renormalised: log y + const = (log p + g)/τ."""
    p = np.array(DICE[name])
    y = numbers(gumbel.gumbel_softmax(twin(generator), p, 40, 1.0))
    assert (y > 0).all(), "entries are 0 at τ = 1: is this the hard throw, where the soft one is due?"
    scores = np.log(y)  # s up to a term in each row
    got = gumbel.gumbel_softmax(generator, p, 40, tau)
    noise = scores - np.log(p)
    want = softmax(scores / tau)
    mistakes = {
        "are the scores multiplied by the temperature, not divided?": softmax(scores * tau),
        "is only the noise divided by the temperature, and log p not?": softmax(np.log(p) + noise / tau),
        "is only log p divided by the temperature, and the noise not?": softmax(np.log(p) / tau + noise),
        "is the temperature not used at all?": softmax(scores),
        "is the square root of the temperature used?": softmax(scores / tau**0.5),
    }
    mistakes = {words: wrong for words, wrong in mistakes.items() if not np.allclose(wrong, want, atol=1e-6)}
    if tau == 0.3:
        mistakes["is τ rounded to single precision?"] = softmax(scores / float(np.float32(tau)))
    assert_close(got, want, rtol=SHARP, atol=1e-15, what=f"gumbel_softmax(..., {tau})", mistakes=mistakes)


@dice
def test_gumbel_softmax_starts_from_the_logarithms_of_the_probabilities(generator, name):
    """From one state, log y for p less log y for the fair die is (log p)/τ, up to a term in each row."""
    p, tau = np.array(DICE[name]), 0.8
    k = len(p)
    fair = tau * np.log(numbers(gumbel.gumbel_softmax(twin(generator), np.full(k, 1 / k), 40, tau)))
    got = gumbel.gumbel_softmax(generator, p, 40, tau)
    mistakes = {
        "are the probabilities added to the noise, and not their logarithms?": softmax((fair + p) / tau),
        "is a softmax of the probabilities taken, as if they were logits?": softmax((fair + p) / tau),
        "are the probabilities not used at all?": softmax(fair / tau),
        "is the sign of log p reversed?": softmax((fair - np.log(p)) / tau),
        "is the logarithm to the base 10 or 2?": softmax((fair + np.log10(p)) / tau),
    }
    want = softmax((fair + np.log(p)) / tau)
    assert_close(got, want, rtol=SHARP, atol=1e-15, what=f"gumbel_softmax(p, {tau})", mistakes=mistakes)


def test_gumbel_softmax_has_rows_that_sum_to_one(generator):
    """n ≠ k rows, each on the simplex."""
    got = gumbel.gumbel_softmax(generator, SOURCE, 300, 0.7)
    assert tuple(got.shape) == (300, 4)
    got = numbers(got)
    assert (got >= 0).all(), "an entry is negative"
    columns = np.allclose(got.sum(axis=0), 1)
    words = "the columns sum to one, not the rows: is the softmax over dim 0?" if columns else "rows should sum to one"
    assert np.allclose(got.sum(axis=1), 1, rtol=1e-12), words


@pytest.mark.claim("prop-temperature-limits")
@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0, 10.0, 1000.0])
def test_gumbel_softmax_is_largest_where_gumbel_max_says(generator, tau):
    """From the same state the argmax of y is the throw of gumbel_max, at every temperature."""
    hard = numbers(gumbel.gumbel_max(twin(generator), DICE["six"], 500))
    at = numbers(gumbel.gumbel_softmax(generator, DICE["six"], 500, tau)).argmax(axis=1)
    agree = int((at == hard).sum())
    words = "from the same state of the generator they should: is the noise drawn as gumbel_max draws it?"
    assert agree == 500, f"the largest entry stands where gumbel_max says in {agree} of 500 rows; {words}"


@pytest.mark.claim("prop-temperature-limits")
@pytest.mark.parametrize("tau", [0.05, 1.0, 30.0])
def test_gumbel_softmax_has_the_law_of_the_die_at_every_temperature(generator, tau):
    """The place of the largest entry, 60,000 throws of the source's die by χ² with 3 degrees of freedom."""
    at = gumbel.gumbel_softmax(generator, SOURCE, 60_000, tau).argmax(dim=1)
    assert_frequencies(counts_of(at, 4), SOURCE, detects=0.05)


@pytest.mark.claim("prop-temperature-limits")
def test_gumbel_softmax_tends_to_the_hard_throw_and_to_the_middle(generator):
    """τ(y - 1/k) at τ = 1e6 is (s - s̄)/k, s from y at 1; at τ = 1e-9 y is one-hot. The limit is a point, not a law."""
    p = np.array(SOURCE)
    scores = np.log(numbers(gumbel.gumbel_softmax(twin(generator), p, 200, 1.0)))
    far = numbers(gumbel.gumbel_softmax(twin(generator), p, 200, 1e6))
    spread = np.abs(far - 0.25).max()
    # s differ by less than 45, so that y is within 45/τ of the middle and the next order is below (45/τ)²
    assert spread < 5e-5, f"at τ = 1e6 y is {spread:.3g} from (1/k, ..., 1/k): the limit is that point"
    slope = (scores - scores.mean(axis=1, keepdims=True)) / 4
    assert_close(1e6 * (far - 0.25), slope, rtol=0, atol=2e-3, what="τ(y - 1/k) at τ = 1e6")
    near = numbers(gumbel.gumbel_softmax(generator, p, 200, 1e-9))
    assert_close(near, np.eye(4)[scores.argmax(axis=1)], rtol=0, atol=1e-12, what="y at τ = 1e-9")


@pytest.mark.claim("thm-concrete-density")
@pytest.mark.parametrize("tau", [0.4, 1.0, 2.5])
def test_gumbel_softmax_undoes_to_a_uniform_point_of_the_simplex(generator, tau):
    """w ∝ pᵢ yᵢ^{-τ} is (E₁, ..., E_k)/ΣE, uniform: w₁, w₂/(1-w₁), w₃/(1-w₁-w₂) have beta laws, by their cdf."""
    p = np.array(SOURCE)
    log_y = np.log(numbers(gumbel.gumbel_softmax(generator, p, 20_000, tau)))
    w, left = softmax(np.log(p) - tau * log_y), np.ones(20_000)
    for i in range(3):
        assert_distribution(w[:, i] / left, stats.beta(1, 3 - i).cdf, detects=0.03)
        left = left - w[:, i]
    # and they do not depend on one another: quarters of the first and of the second
    first = np.floor(4 * stats.beta(1, 3).cdf(w[:, 0])).clip(0, 3).astype(int)
    second = np.floor(4 * stats.beta(1, 2).cdf(w[:, 1] / (1 - w[:, 0]))).clip(0, 3).astype(int)
    assert_frequencies(np.bincount(4 * first + second, minlength=16), np.full(16, 1 / 16), detects=0.09)


def test_gumbel_softmax_of_a_coin_is_logistic_in_the_logit(generator):
    """τ log(y₁/y₂) - log(p₁/p₂) is logistic, by 40,000 throws: noise too narrow or too wide is named."""
    log_y = np.log(numbers(gumbel.gumbel_softmax(generator, [0.3, 0.7], 40_000, 0.8)))
    got = 0.8 * (log_y[:, 0] - log_y[:, 1]) - np.log(3 / 7)
    hints = {
        "the noise is normal": stats.norm(scale=np.sqrt(2)).cdf,
        "the noise is logistic, a difference of Gumbel draws already": lambda x: np.interp(
            x, _GRID, _difference_of(stats.logistic)
        ),
        "the noise is exponential: one logarithm is missing": stats.laplace.cdf,
        "the temperature is squared": stats.logistic(scale=1 / 0.8).cdf,
        "only one outcome has noise": stats.gumbel_r.cdf,
    }
    assert_distribution(got, stats.logistic.cdf, detects=0.025, hints=hints)


_GRID = np.linspace(-40, 40, 801)


@cache
def _difference_of(law):
    """P(X - Y ≤ x) on the grid."""
    t = np.linspace(-40, 40, 3201)
    return np.clip([(law.cdf(x + t) * law.pdf(t)).sum() * (t[1] - t[0]) for x in _GRID], 0, 1)


@soft
@pytest.mark.parametrize("k", [2, 4])
def test_soft_noise_is_drawn_in_double_precision(generator, throw, k):
    """Differences gᵢ - gⱼ for the fair die are no multiples of 2⁻²⁶, as they would be of draws in single precision."""
    p = tensor(np.full(k, 1 / k)).requires_grad_()
    if throw == "straight_through":  # its values do not show its noise, its slopes do
        y = SOFT[throw](generator, p, 50, 1.0)[:, 0]
        slope = torch.stack([torch.autograd.grad(v, p, retain_graph=True)[0] for v in y])
        log_y = torch.log(-slope[:, 1:] / slope[:, 1:2])[:, 1:] if k > 2 else None
        if log_y is None:
            return
        differences = numbers(log_y)
    else:
        log_y = torch.log(SOFT[throw](generator, p, 50, 1.0))
        differences = numbers(log_y[:, 1:] - log_y[:, :1])
    grid = 2.0**26 * differences
    near = float((np.abs(grid - np.round(grid)) < 1e-3).mean())
    assert near < 0.5, f"{near:.0%} of the noise lies on a lattice of 2⁻²⁶: is it drawn in single precision?"


def test_gumbel_softmax_has_clocks_of_double_precision(generator):
    """No e^{-g}, known up to a factor from y, are logarithms of multiples of 2⁻²⁴, nor numbers of single precision.

    Where the first clock of four is the earliest by far, few multiples of 2⁻²⁴ come into question for it, unless one of
    the others is above 10. Each says what the others would be: three within 1e-4 of multiples by chance, of up to 2¹⁵
    tries, happens less than once in 10⁶ runs.
    """
    y = numbers(gumbel.gumbel_softmax(generator, np.full(4, 0.25), 40_000, 1.0))
    row = y[(y[:, 0] / y[:, 1:].max(axis=1)).argmax()]
    times = row[0] / row[1:]  # the others' clocks, by the first
    first = -np.log1p(-np.arange(1.0, 2**15) / 2**24)
    first = first[first * times.max() < 10]  # beyond, U is so near to 1 that all of them are near multiples
    cells = -np.expm1(-first[:, None] * times) * 2**24
    at = np.abs(cells - np.round(cells)).max(axis=1).argmin()
    words = "is U drawn in single precision? Rare outcomes come too seldom then"
    assert np.abs(cells - np.round(cells)).max(axis=1)[at] > 1e-4, f"y comes of U that are multiples of 2⁻²⁴: {words}"
    single = first.astype(np.float32)
    single = np.concatenate([single, np.nextafter(single, np.float32(0)), np.nextafter(single, np.float32(1))])
    others = single.astype(float)[:, None] * times
    off = np.abs(others.astype(np.float32) / others - 1).max(axis=1).min()
    assert off > 1e-13, f"y comes of clocks -log U that are numbers of single precision: {words}"


@dice
@pytest.mark.parametrize("tau", [0.3, 1.7])
def test_gumbel_softmax_has_the_slopes_of_a_softmax(generator, name, tau):
    """∂yᵢ/∂pⱼ = yᵢ(1[i=j] - yⱼ)/(τ pⱼ) and ∂yᵢ/∂τ = -yᵢ(log yᵢ - Σ yⱼ log yⱼ)/τ, by automatic differentiation."""
    p, t = tensor(DICE[name]).requires_grad_(), tensor(tau).requires_grad_()
    y = gumbel.gumbel_softmax(generator, p, 6, t)
    assert y.requires_grad, "no gradient reaches the probabilities: is the graph cut, by detach() or a new tensor?"
    weights = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).reshape(y.shape)
    to_p, to_t = torch.autograd.grad((weights * y).sum(), (p, t), allow_unused=True)
    assert to_p is not None, "no gradient reaches the probabilities: is the graph cut, by detach() or a new tensor?"
    assert to_t is not None, "no gradient reaches the temperature: is it made a plain number?"
    y, w = numbers(y), numbers(weights)
    behind = w - (w * y).sum(axis=1, keepdims=True)
    want = (y * behind).sum(axis=0) / tau / np.array(DICE[name])
    mistakes = {
        "is this the slope in log p, not in p?": want * np.array(DICE[name]),
        "is the 1/τ missing?": want * tau,
    }
    assert_close(to_p, want, rtol=1e-8, atol=1e-12, what="the gradient in p", mistakes=mistakes)
    log_y = np.log(y)
    want = -(y * behind * log_y).sum() / tau
    assert_close(to_t, want, rtol=1e-8, atol=1e-12, what="the gradient in τ")


@soft
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("tau", [1.0, 1e-3, 1e-8, 1e-30])
def test_soft_throws_have_finite_values_and_slopes(generator, throw, dtype, tau):
    """Down to τ = 1e-30 and with p = 0 nothing is NaN: neither y nor its slopes in p and τ; 0 has the slope 0."""
    p = torch.tensor([0.25, 0.0, 0.6, 0.15], dtype=dtype).requires_grad_()
    t = torch.tensor(tau, dtype=dtype).requires_grad_()
    y = SOFT[throw](generator, p, 200, t)
    assert y.dtype == dtype, f"y is {y.dtype} where p is {dtype}"
    assert torch.isfinite(y).all(), f"values are NaN or infinite at τ = {tau}"
    assert_close(y.sum(dim=1), np.ones(200), rtol=1e-5, what="the sums of the rows")
    slopes = torch.autograd.grad((y * torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=dtype)).sum(), (p, t))
    names = "p" if dtype == torch.float32 and tau == 1e-30 else "pτ"  # 1/τ² is no number of single precision
    for name, slope in zip(names, slopes, strict=False):
        assert torch.isfinite(slope).all(), f"the gradient in {name} is NaN or infinite at τ = {tau}: {slope}"
    nothing = 1e3 * torch.finfo(dtype).eps * slopes[0].abs().max()  # what is left of a sum that cancels
    assert abs(slopes[0][1]) <= nothing, f"the outcome of probability 0 has the gradient {slopes[0][1]}, not 0"


def test_gumbel_softmax_has_the_slope_zero_in_what_is_impossible(generator):
    """At p = 0 the gradient is 0, and those of the others are those of the die without it."""
    p = tensor([0.25, 0.0, 0.75]).requires_grad_()
    y = gumbel.gumbel_softmax(generator, p, 30, 0.7)
    slope = numbers(torch.autograd.grad((y * torch.arange(90.0, dtype=torch.float64).reshape(30, 3)).sum(), p)[0])
    assert np.isfinite(slope).all(), f"the gradient is NaN with a p of 0: is it the slope of log 0? Got {slope}"
    y, weights = numbers(y)[:, [0, 2]], np.arange(90.0).reshape(30, 3)[:, [0, 2]]
    want = (y * (weights - (y * weights).sum(axis=1, keepdims=True))).sum(axis=0) / 0.7 / [0.25, 0.75]
    assert_close(slope, [want[0], 0.0, want[1]], rtol=1e-8, atol=1e-9, what="the gradient with a p of 0")


@soft
def test_soft_throws_refuse_or_bear_a_temperature_that_underflows(generator, throw):
    """τ = 1e-300: fine in double precision; in single it is 0, and is refused, if it is not borne."""
    y = SOFT[throw](twin(generator), tensor(SOURCE), 50, 1e-300)
    assert_close(y.max(dim=1).values, np.ones(50), rtol=1e-12, what="the largest entries at τ = 1e-300")
    with contextlib.suppress(ValueError):
        y = SOFT[throw](generator, torch.tensor(SOURCE), 50, 1e-300)
        assert torch.isfinite(y).all(), "1e-300 is 0 in single precision, and makes NaN: refuse it"


def test_gumbel_softmax_in_single_precision_is_that_in_double(generator):
    """From one state, float32 probabilities give the numbers of float64, to single precision."""
    single = torch.tensor(SOURCE)
    y = gumbel.gumbel_softmax(twin(generator), single, 100, 0.7)
    want = gumbel.gumbel_softmax(generator, single.double() / single.double().sum(), 100, 0.7)
    assert y.dtype == single.dtype, f"y is {y.dtype} where p is {single.dtype}"
    # s/τ of size 30 rounds to 30 · 6e-8 · a few
    assert_close(y, numbers(want), rtol=3e-5, atol=1e-7, what="gumbel_softmax in single precision")


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
def test_gumbel_softmax_has_the_mean_by_quadrature(generator, tau):
    """E[y] of a die of three, by cubature over all its noise."""
    p = DICE["three"]
    want = mean_by_cubature(p, tau)
    hints = {"the mean is that of the hard throws": np.array(p)}
    got = gumbel.gumbel_softmax(generator, p, 40_000, tau)
    assert_unbiased(numbers(got), want, detects=0.02, hints=hints)


# Hard throws with soft slopes


@pytest.mark.parametrize("tau", [0.2, 1.0, 5.0])
def test_straight_through_is_hard_going_forth_and_soft_coming_back(generator, tau):
    """Values one-hot; the gradient in p and τ that of gumbel_softmax from the same noise."""
    p, t = tensor(DICE["six"]).requires_grad_(), tensor(tau).requires_grad_()
    y = gumbel.gumbel_softmax(twin(generator), p, 30, t)
    got = gumbel.straight_through(generator, p, 30, t)
    soft, hard = numbers(y), np.eye(6)[numbers(y).argmax(axis=1)]
    mistakes = {
        "is this the soft throw, where the hard one is due?": soft,
        "is y added and not taken away again, z + y?": hard + soft,
        "is only the difference left, z − y?": hard - soft,
        "is only y − y left, without z?": np.zeros_like(hard),
    }
    assert_close(got, hard, rtol=0, atol=1e-12, what="straight_through", mistakes=mistakes)
    assert got.requires_grad, "no gradient reaches the probabilities: are both y detached?"
    weights = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).reshape(y.shape)
    want = torch.autograd.grad((weights * y).sum(), (p, t))
    slopes = torch.autograd.grad((weights * got).sum(), (p, t), allow_unused=True)
    for name, one, right in zip("pτ", slopes, want, strict=True):
        assert one is not None, f"no gradient reaches {name}"
        right = numbers(right)
        mistakes = {
            "is the gradient zero: is y taken with and without its gradient in the wrong order?": 0 * right,
            "is the sign of the gradient reversed: z − y + (y without its gradient)?": -right,
            "is the gradient there twice?": 2 * right,
        }
        assert_close(one, right, rtol=1e-9, atol=1e-13, what=f"the gradient in {name}", mistakes=mistakes)


def test_straight_through_has_one_winner_a_row_where_the_soft_throw_has_none(generator):
    """At τ = 1e30 rounding makes the entries of y equal: still a single 1 in each row."""
    got = numbers(gumbel.straight_through(generator, SOURCE, 50, 1e30))
    words = "is y compared with its largest entry, where there are ties?"
    winners = np.isclose(got, 1).sum(axis=1)
    assert (winners == 1).all(), f"a row has {winners.max()} winners at τ = 1e30: {words}"
    assert_close(got.sum(axis=1), np.ones(50), atol=1e-12, what="the sums of the rows at τ = 1e30")


# The density


def points_of(rng, n, k):
    """Points inside the simplex, some of them near its edges."""
    return rng.dirichlet(np.full(k, 0.7), n) * 0.999 + 0.001 / k


@pytest.mark.claim("thm-concrete-density", kind="automatic differentiation")
@dice
@pytest.mark.parametrize("tau", [0.3, 1.0, 2.2])
def test_concrete_log_density_is_the_change_of_variables(rng, name, tau):
    """(k-1)! |det ∂w/∂y|: w ∝ p y^{-τ} is uniform on the simplex; the Jacobian by automatic differentiation."""
    p, k = tensor(DICE[name]), len(DICE[name])
    points = points_of(rng, 8, k)

    def w(head):
        return torch.softmax(torch.log(p) - tau * torch.log(torch.cat([head, 1 - head.sum()[None]])), 0)[:-1]

    dets = [torch.linalg.slogdet(torch.func.jacrev(w)(tensor(y[:-1])))[1].item() for y in points]
    want = special.gammaln(k) + np.array(dets)
    got = gumbel.concrete_log_density(points, DICE[name], tau)
    q, log_y = np.array(DICE[name]), np.log(points)
    race = special.logsumexp(np.log(q) - tau * log_y, axis=1)
    mistakes = {
        "is it τ^k where τ^{k-1} belongs?": want + np.log(tau),
        "is (k-1)! missing?": want - special.gammaln(k),
        "is it k! where (k-1)! belongs?": want + np.log(k),
        "is the exponent -τ where -τ-1 belongs?": want + log_y.sum(axis=1),
        "is the exponent -τ+1 where -τ-1 belongs?": want + 2 * log_y.sum(axis=1),
        "is the sum Σ p y^{-τ} not raised to the power k?": want + (k - 1) * race,
        "is the factor τ^{k-1} missing?": want - (k - 1) * np.log(tau),
        "is Π p missing?": want - np.log(q).sum(),
        "is it e^{+τ log y} in the sum, y^τ for y^{-τ}?": want
        + k * race
        - k * special.logsumexp(np.log(q) + tau * log_y, axis=1),
        "is this the density itself, not its logarithm?": np.exp(want),
        "is this a density along the simplex, by its area, off by √k?": want - np.log(k) / 2,
    }
    mistakes = {words: wrong for words, wrong in mistakes.items() if not np.allclose(wrong, want, rtol=1e-6)}
    what = f"concrete_log_density(y, p, {tau})"
    assert_close(got, want, rtol=1e-8, atol=1e-8, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-concrete-density", kind="symbolic")
def test_the_determinant_of_the_concrete_density():
    """|det ∂E/∂(y₁, y₂, s)| = ΠE τ²/(s Πy) for E = s p y^{-τ}, k = 3; over s > 0 it leaves the density: by sympy."""
    a, b, s, tau, p, q, r = sympy.symbols("a b s tau p q r", positive=True)
    y = sympy.Matrix([a, b, 1 - a - b])
    E = sympy.Matrix([s * w * v ** (-tau) for w, v in zip((p, q, r), y, strict=True)])
    det = E.jacobian([a, b, s]).det()
    stated = sympy.prod(E) * tau**2 / (s * sympy.prod(y))
    at = {a: 0.2, b: 0.5, s: 1.3, p: 0.3, q: 0.9, r: 0.1}
    for t in (0.4, 1, 2.5):
        ratio = (det / stated).subs(tau, t).subs(at)
        assert abs(abs(float(ratio)) - 1) < 1e-12
    # ∫ e^{-sA} s^{k-1} ds = (k-1)!/A^k, with ΠE = s³ Π p y^{-τ}
    A = sympy.symbols("A", positive=True)
    assert sympy.integrate(s**2 * sympy.exp(-s * A), (s, 0, sympy.oo)) == 2 / A**3


@pytest.mark.claim("thm-concrete-density")
@pytest.mark.parametrize("tau", [0.4, 1.0, 3.0])
def test_concrete_log_density_of_a_coin_is_that_of_logistic_noise(tau):
    """σ((ℓ+L)/τ) has the density λ(τ log(y/(1-y)) - ℓ) τ/(y(1-y)), by scipy's logistic law."""
    y = np.array([1e-9, 0.03, 0.5, 0.61, 0.999])
    want = stats.logistic.logpdf(tau * special.logit(y) - np.log(0.2 / 0.8)) + np.log(tau / (y * (1 - y)))
    got = gumbel.concrete_log_density(np.column_stack([y, 1 - y]), [0.2, 0.8], tau)
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="concrete_log_density for a coin")


@pytest.mark.claim("thm-concrete-density")
@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_concrete_log_density_has_mass_one_and_the_mean(tau):
    """Over y = softmax(a, b, 0), whose Jacobian is y₁y₂y₃: mass 1, and the mean of cubature over the noise."""
    p = np.array([0.2, 0.3, 0.5])
    reach = 34 / min(tau, 1)
    x = np.linspace(-reach, reach, 281)
    a, b = (axis.ravel() for axis in np.meshgrid(x, x))
    log_y = special.log_softmax(np.column_stack([a, b, 0 * a]), axis=1)
    log_y = log_y[(log_y > -700).all(axis=1) & (log_y < -1e-15).all(axis=1)]
    y = np.exp(log_y)
    f = np.exp(gumbel.concrete_log_density(y, p, tau) + log_y.sum(axis=1)) * (x[1] - x[0]) ** 2
    # what rounds to a corner, y within 1e-15, is left out: of mass below 1e-15^τ
    atol = 20 * 1e-15**tau + 1e-7
    assert_close(f.sum(), 1.0, rtol=0, atol=atol, what="the mass of the density", mistakes={"is it ½: (k-1)!?": 0.5})
    assert_close(f @ y, mean_by_cubature(p, tau), rtol=0, atol=atol, what="the mean of the density")


def test_concrete_log_density_holds_in_the_corners():
    """y = 1e-300 and τ = 100, where y^{-τ} exceeds every float: against the coin's logistic law in logs."""
    y = np.array([[1e-300, 1 - 1e-16], [0.5, 0.5]])
    for tau in (0.01, 1.0, 100.0):
        with np.errstate(all="ignore"):
            got = gumbel.concrete_log_density(y, [0.2, 0.8], tau)
        assert np.isfinite(got).all(), (
            f"not finite at y = 1e-300, τ = {tau}: y^(-τ) overflows, work in logs (got {got})"
        )
        logit = np.log(y[:, 0]) - np.log(y[:, 1])
        want = stats.logistic.logpdf(tau * logit - np.log(0.25)) + np.log(tau) - np.log(y).sum(axis=1)
        assert_close(got, want, rtol=1e-9, atol=1e-9, what=f"concrete_log_density at τ = {tau}")


def test_concrete_log_density_takes_each_row_by_itself(rng):
    """One row, rows in another order, every second one, single precision, read-only: the same numbers."""
    p = np.array([0.2, 0.3, 0.5])
    y = points_of(rng, 12, 3)
    y.flags.writeable = False
    want = gumbel.concrete_log_density(y, p, 0.7)
    assert want.shape == (12,)
    assert_close(gumbel.concrete_log_density(y[::-2], p, 0.7), want[::-2], rtol=1e-12, what="rows in another order")
    assert_close(gumbel.concrete_log_density(y[3:4], p, 0.7), want[3:4], rtol=1e-12, what="one row")
    swapped = gumbel.concrete_log_density(y[:, [2, 0, 1]], p[[2, 0, 1]], 0.7)
    assert_close(swapped, want, rtol=1e-12, what="outcomes in another order")
    eighths = np.array([[0.125, 0.5, 0.375], [0.25, 0.5, 0.25]])
    single = gumbel.concrete_log_density(eighths.astype(np.float32), p, 0.7)
    want = gumbel.concrete_log_density(eighths, p, 0.7)
    assert_close(single, want, rtol=1e-5, what="concrete_log_density of single precision")


@pytest.mark.parametrize("tau", [0.5, 30.0])
def test_concrete_log_density_bears_points_in_single_precision(rng, tau):
    """Rows of float32, whose sums are off by 1e-7: the log density of these very numbers, to double precision."""
    p = np.array([0.2, 0.3, 0.5])
    y = points_of(rng, 200, 3).astype(np.float32)
    y[0] = [0.05, 0.35, 0.6]  # a sum of 1.00000002
    got = gumbel.concrete_log_density(y, p, tau)
    want = gumbel.concrete_log_density(y.astype(float) / y.astype(float).sum(axis=1, keepdims=True), p, tau)
    # a relative change of 1e-7 in all of a row moves  k (τ+1) log y + k τ log y  by 1e-7 k
    assert_close(got, want, rtol=0, atol=1e-6, what=f"concrete_log_density of float32, {tau}")


@pytest.mark.claim("prop-simplex-edges")
@pytest.mark.parametrize("k", [2, 3, 5])
def test_concrete_log_density_is_convex_up_to_one_over_k_less_one(rng, k):
    """Midpoints of 4,000 segments for τ ≤ 1/(k-1); for τ above it one from facet to facet lies the other way."""
    p = rng.dirichlet(np.full(k, 2.0)) * 0.9 + 0.1 / k

    def bend(one, other, tau):
        """How far the mean of the ends lies above the middle."""
        ends = gumbel.concrete_log_density(one, p, tau) + gumbel.concrete_log_density(other, p, tau)
        return ends / 2 - gumbel.concrete_log_density((one + other) / 2, p, tau)

    one, other = (rng.dirichlet(np.full(k, 0.5), 4000) * (1 - 1e-6) + 1e-6 / k for _ in range(2))
    for tau in np.array([0.2, 0.6, 1.0]) / (k - 1):
        assert bend(one, other, tau).min() > -1e-9, f"not convex at τ = {tau}"  # of logs of size 100, rounded
    rest = np.full(k - 1, 1 / (k - 1)) * (1 + 0.2 * np.cos(np.arange(k - 1)) * (k > 2))
    rest /= rest.sum()
    low, high = (np.append(eps, (1 - eps) * rest)[None] for eps in (1e-14, 3e-14))
    for factor in (1.05, 1.3, 3.0):
        tau = factor / (k - 1)
        # (log 1 + log 3)/2 - log 2 = -0.1438 times the exponent (k-1)τ - 1, up to ε^τ
        got = bend(low, high, tau)[0]
        assert_close(got, -0.14384103622589 * (factor - 1), rtol=0, atol=1e-2 * (factor - 1), what="the bend")


@pytest.mark.claim("prop-simplex-edges")
@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("tau", [0.8, 1.5])
def test_concrete_log_density_has_its_powers_at_the_edges(k, tau):
    """Towards a facet the log density has the slope (k-1)τ - 1 in log yᵢ, into a corner τ - (k-1) in log ε."""
    p = np.arange(1.0, k + 1) / np.arange(1, k + 1).sum()
    rest = np.arange(2.0, k + 1) / np.arange(2, k + 1).sum()
    for eps in (1e-13, 1e-12):
        facet = np.stack([np.append(e, (1 - e) * rest) for e in (eps, 10 * eps)])
        corner = np.stack([np.append(1 - e, e * rest) for e in (eps, 10 * eps)])
        for y, slope, what in [(facet, (k - 1) * tau - 1, "facet"), (corner, tau - (k - 1), "corner")]:
            got = np.diff(gumbel.concrete_log_density(y, p, tau))[0] / np.log(10)
            # corrections are of order k ε^τ ≤ 1e-8; 1 - 1e-13 is rounded to a part in 1e3 of the 1e-13
            assert_close(got, slope, rtol=0, atol=1e-6, what=f"the slope towards a {what}")


@pytest.mark.claim("prop-simplex-edges")
def test_concrete_log_density_of_the_fair_coin_at_one_is_uniform(rng):
    """1 for k = 2, p = ½, τ = 1; and for no other of 40 choices of k, p, τ the same at three points."""
    y = np.array([[1e-12, 1 - 1e-12], [0.3, 0.7], [0.99, 0.01]])
    got = gumbel.concrete_log_density(y, [0.5, 0.5], 1.0)
    assert_close(got, np.zeros(3), atol=1e-12, what="the log density of the fair coin at τ = 1")
    for k, tau in itertools.product((2, 3, 4, 6), (0.2, 1 / 3, 0.5, 1.0, 2.0)):
        fair = [np.full(k, 1 / k)] if (k, tau) != (2, 1.0) else []
        for p in [*fair, rng.dirichlet(np.full(k, 3.0))]:
            points = np.stack(
                [np.full(k, 1 / k), points_of(rng, 1, k)[0], np.append(1e-6, np.full(k - 1, (1 - 1e-6) / (k - 1)))]
            )
            assert np.ptp(gumbel.concrete_log_density(points, p, tau)) > 1e-4, (k, tau, p)


# The mean of soft throws


@pytest.mark.claim("thm-second-noise")
@pytest.mark.parametrize("tau", [1e-3, 0.1, 0.7, 1.0, 2.0, 50.0])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.97, 1e-4])
def test_mean_of_relaxed_of_a_coin_is_the_mean_over_logistic_noise(p, tau):
    """E[σ((ℓ+L)/τ)] and, the other way round, E[σ(ℓ+τL)], by adaptive quadrature."""
    want = coin_mean(p, tau)
    mistakes = {
        "is this p, which E[y] of a coin is only as τ → 0?": [p, 1 - p],
        "is this (1/k, ..., 1/k), which E[y] is only as τ → ∞?": [0.5, 0.5],
        "is this the softmax of ℓ/τ, the noise left out?": softmax(np.log([p, 1 - p]) / tau),
        "is the temperature upside down?": [coin_mean(p, 1 / tau), 1 - coin_mean(p, 1 / tau)],
    }
    got = gumbel.mean_of_relaxed([p, 1 - p], tau)
    mistakes = {words: m for words, m in mistakes.items() if not np.allclose(m, [want, 1 - want], rtol=1e-8)}
    assert_close(got, [want, 1 - want], rtol=1e-9, what=f"mean_of_relaxed([{p}, ...], {tau})", mistakes=mistakes)
    logit = math.log(p / (1 - p))
    offsets = (np.array([-40, -5, -1, 0, 1, 5, 40]) - logit) / tau
    cuts = sorted({-45.0, -5.0, 0.0, 5.0, 45.0, *np.clip(offsets, -45, 45)})
    f = lambda x: special.expit(logit + tau * x) * logistic_density(x)  # noqa: E731
    second = sum(integrate.quad(f, a, b, epsabs=1e-16, epsrel=1e-11)[0] for a, b in itertools.pairwise(cuts))
    assert_close(second, got[0], rtol=1e-8, what="E[σ(ℓ + τL)]")


@pytest.mark.claim("thm-second-noise")
@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_mean_of_relaxed_of_three_is_the_mean_by_cubature(tau):
    """E[softmax((ℓ+g)/τ)] and E[softmax(ℓ+τg)] over all the noise of three outcomes."""
    p = np.array(DICE["three"])
    got = gumbel.mean_of_relaxed(p, tau)
    assert_close(got, mean_by_cubature(p, tau), rtol=1e-8, what=f"mean_of_relaxed(p, {tau})")
    # softmax(ℓ + τg) = softmax((ℓ/τ + g)/(1/τ))
    tilted = p ** (1 / tau) / (p ** (1 / tau)).sum()
    assert_close(got, mean_by_cubature(tilted, 1 / tau), rtol=1e-8, what="E[softmax(ℓ + τg)]")


@pytest.mark.claim("thm-second-noise")
def test_mean_of_relaxed_is_the_chance_to_win_with_two_noises(rng):
    """P(argmax(ℓ + g + τg') = i), by 60,000 races of the source's die."""
    tau = 0.7
    scores = np.log(SOURCE) + rng.gumbel(size=(60_000, 4)) + tau * rng.gumbel(size=(60_000, 4))
    wins = np.bincount(scores.argmax(axis=1), minlength=4)
    assert_frequencies(wins, gumbel.mean_of_relaxed(SOURCE, tau), detects=0.05)


@pytest.mark.claim("thm-second-noise")
def test_mean_of_relaxed_leaves_the_probabilities_quadratically():
    """(E[y] - p)/τ² tends to (π²/6) p(Σp² - p), from τ = .01 and .02 extrapolated: the next term is O(τ)."""
    p = np.array(SOURCE)
    one, two = ((gumbel.mean_of_relaxed(p, t) - p) / t**2 for t in (0.01, 0.02))
    want = np.pi**2 / 6 * p * ((p**2).sum() - p)
    mistakes = {"is this p itself, which E[y] is only as τ → 0?": 0 * p}
    assert_close(2 * one - two, want, rtol=0, atol=2e-3, what="(E[y] - p)/τ² as τ → 0", mistakes=mistakes)


@pytest.mark.claim("thm-second-noise")
@pytest.mark.parametrize("p", [0.2, 0.05, 0.9, 0.6])
def test_mean_of_relaxed_of_a_coin_at_temperature_one(p):
    """r(r - 1 - log r)/(r - 1)², r = p₁/p₂."""
    r = p / (1 - p)
    want = r * (r - 1 - math.log(r)) / (r - 1) ** 2
    got = gumbel.mean_of_relaxed([p, 1 - p], 1.0)
    assert_close(got, [want, 1 - want], rtol=1e-11, what="mean_of_relaxed at τ = 1", mistakes={"is it p?": [p, 1 - p]})


@pytest.mark.claim("prop-temperature-limits")
def test_mean_of_relaxed_tends_to_the_probabilities_and_to_the_middle():
    """τ = 1e-6 gives p, 1e6 gives 1/k up to (ℓ - ℓ̄)/(kτ); impossible outcomes stay at 0; one outcome has it all."""
    p = np.array(SOURCE)
    assert_close(gumbel.mean_of_relaxed(p, 1e-6), p, rtol=1e-11, what="mean_of_relaxed at τ = 1e-6")
    got = gumbel.mean_of_relaxed(p, 1e6)
    slope = (np.log(p) - np.log(p).mean()) / 4
    assert_close(1e6 * (got - 0.25), slope, rtol=0, atol=1e-4, what="τ(E[y] - 1/k) at τ = 1e6")
    assert_close(
        gumbel.mean_of_relaxed([0.0, 0.2, 0.0, 0.8], 1e6), [0, 0.5, 0, 0.5], atol=1e-5, what="two are possible"
    )
    with_zeros = gumbel.mean_of_relaxed([0.0, 0.2, 0.0, 0.8], 1.0)
    assert_close(with_zeros[[1, 3]], gumbel.mean_of_relaxed([0.2, 0.8], 1.0), rtol=1e-12, what="without the zeros")
    assert (with_zeros[[0, 2]] == 0).all()
    assert_close(gumbel.mean_of_relaxed([1], 0.3), [1.0], rtol=1e-12, what="mean_of_relaxed of one outcome")


def test_mean_of_relaxed_of_the_sources_die():
    """.49864 at τ = .1 and .41976 at τ = 1 for the third outcome; sums are 1 for many dice and temperatures."""
    for tau, want in ((0.1, 0.49864), (1.0, 0.41976)):
        got = gumbel.mean_of_relaxed(SOURCE, tau)
        mistakes = {"is this p itself, which E[y] is only as τ → 0?": 0.5}
        assert_close(got[2], want, rtol=0, atol=5e-6, what=f"mean_of_relaxed at τ = {tau}", mistakes=mistakes)
    for name, tau in itertools.product(DICE, (1e-6, 0.03, 1.0, 40.0, 1e6)):
        total = gumbel.mean_of_relaxed(DICE[name], tau).sum()
        assert_close(total, 1.0, rtol=1e-12, what=f"the sum of mean_of_relaxed at τ = {tau}")


def test_mean_of_relaxed_of_rare_outcomes():
    """p = 1e-200 and 1e-12 beside the rest at τ = ½: E[y] ∝ p for rare ones, c(τ) p, with c = πτ/sin πτ."""
    got = gumbel.mean_of_relaxed([1e-200, 1 - 1e-12, 1e-12], 0.5)
    c = np.pi / 2
    # E[1/(1 + e^{(ℓ-L)/τ})] → p ∫ e^{-τ·}: c(τ) = Γ(1+τ)Γ(1-τ); what is left out is of order p^{1/τ - 1}
    assert_close(got[[0, 2]], [c * 1e-200, c * 1e-12], rtol=1e-8, what="mean_of_relaxed of rare outcomes")


# Slopes of a die, exact and by the score


VALUES = (3, -1, 2, 7)
FIFTHS = (Fraction(1, 10), Fraction(1, 5), Fraction(1, 2), Fraction(1, 5))


def score_rows(f, p, b):
    """(f_c - bᵢ)(1[c=i] - pᵢ), a row for each c, in the kind of numbers they come in."""
    k = len(p)
    return [[(f[c] - b[i]) * ((c == i) - p[i]) for i in range(k)] for c in range(k)]


def moments_by_enumeration(f, p, b):
    rows, k = score_rows(f, p, b), len(p)
    means = [sum(p[c] * rows[c][i] for c in range(k)) for i in range(k)]
    return means, [sum(p[c] * rows[c][i] ** 2 for c in range(k)) - means[i] ** 2 for i in range(k)]


@pytest.mark.claim("prop-die-score", kind="automatic differentiation")
def test_exact_gradient_is_the_automatic_gradient_in_the_logits(rng):
    """∂/∂ℓ of softmax(ℓ)·f; the sum of the slopes is 0."""
    for k in (5, 2, 1):
        f, logits = rng.normal(size=k) * 3, tensor(rng.normal(size=k)).requires_grad_()
        (torch.softmax(logits, 0) @ tensor(f)).backward()
        p = softmax(numbers(logits))
        mistakes = {
            "is f̄ not subtracted?": p * f,
            "is the factor p missing?": f - p @ f,
            "is the plain mean of f subtracted, not Σ p f?": p * (f - f.mean()),
            "is this the slope in p, not in the logits?": f,
            "is it p(1-p) f, the others left out?": p * (1 - p) * f,
        }
        got = gumbel.exact_gradient(f, p)
        mistakes = mistakes if k > 1 else None
        assert_close(got, numbers(logits.grad), rtol=1e-9, atol=1e-14, what="exact_gradient", mistakes=mistakes)


@pytest.mark.claim("prop-die-score")
def test_score_gradient_is_unbiased_whatever_the_baseline():
    """By enumeration in fractions: E[(f_c - b)(1[c=i] - pᵢ)] = pᵢ(fᵢ - f̄) for any b, exact_gradient agrees."""
    mean_f = sum(a * b for a, b in zip(VALUES, FIFTHS, strict=True))
    want = [q * (v - mean_f) for q, v in zip(FIFTHS, VALUES, strict=True)]
    for b in ([0] * 4, [5, -2, Fraction(1, 3), 100]):
        assert moments_by_enumeration(VALUES, FIFTHS, b)[0] == want
    assert_close(gumbel.exact_gradient(VALUES, SOURCE), [float(w) for w in want], rtol=1e-12, what="exact_gradient")


@pytest.mark.claim("prop-die-score")
@pytest.mark.parametrize("baseline", [0.0, 2.5, (3.0, -1.0, 0.5, 7.0)], ids=["none", "a number", "four"])
def test_score_gradient_has_rows_of_the_stated_form(generator, baseline):
    """Each of 20,000 rows is (f_c - b)(1[c=i] - p) of some c; these come with probability p; their mean is exact."""
    b = np.array(baseline) if np.ndim(baseline) else baseline
    f, p, every = np.array(VALUES, float), np.array(SOURCE), np.eye(4)
    got = gumbel.score_gradient(generator, f, p, 20_000, b)
    assert isinstance(got, np.ndarray), "score_gradient should be a NumPy array"
    assert got.shape == (20_000, 4)
    wrong = {
        "is - p missing in the score 1[c=i] - p?": (f[:, None] - b) * every,
        "is the score divided by p, as for the slope in p?": (f[:, None] - b) * every / p,
        "is the sign of the score reversed?": (f[:, None] - b) * (p - every),
        "is the baseline not subtracted?": f[:, None] * (every - p),
        "is the baseline added?": (f[:, None] + b) * (every - p),
        "is fᵢ of the coordinate taken, not f_c of the throw?": (f - b) * (every - p),
    }
    want = (f[:, None] - b) * (every - p)
    distance = np.abs(got[:, None] - want).max(axis=2)
    which = distance.argmin(axis=1)
    near = want[which]
    for words, rows in wrong.items():
        if np.abs(got[:, None] - rows).max(axis=2).min(axis=1).max() < 1e-9 and not np.allclose(rows, want):
            raise AssertionError(f"rows of score_gradient are wrong: {words}")
    assert_close(got, near, rtol=1e-9, atol=1e-12, what="a row of score_gradient, against the nearest possible one")
    assert_frequencies(np.bincount(which, minlength=4), p, detects=0.08)
    assert_unbiased(got, p * (f - p @ f), detects=0.6, hints={"the baseline is multiplied by something": p * f})


@pytest.mark.claim("prop-die-score")
@pytest.mark.parametrize("baseline", [0, 2, (3, -1, 5, 7)], ids=["none", "a number", "four"])
def test_score_variance_is_that_by_enumeration(baseline):
    """Σ_c p_c row² - mean², in fractions."""
    b = list(baseline) if np.ndim(baseline) else [baseline] * 4
    means, want = moments_by_enumeration(VALUES, FIFTHS, b)
    means, want = (np.array([float(v) for v in values]) for values in (means, want))
    got = gumbel.score_variance(VALUES, SOURCE, np.array(baseline, float) if np.ndim(baseline) else baseline)
    rows = np.array([[float(v) for v in row] for row in score_rows(VALUES, FIFTHS, b)])
    mistakes = {
        "is this the second moment, the squared mean not subtracted?": want + means**2,
        "is this the standard deviation?": np.sqrt(want),
        "is this the plain mean over outcomes, not weighted by p?": rows.var(axis=0),
        "is this the sum over the coordinates?": want.sum(),
        "is the sign of the squared mean wrong?": want + 2 * means**2,
        "is the baseline not subtracted?": [float(v) for v in moments_by_enumeration(VALUES, FIFTHS, [0] * 4)[1]],
    }
    mistakes = {words: m for words, m in mistakes.items() if np.shape(m) != (4,) or not np.allclose(m, want)}
    assert_close(got, want, rtol=1e-11, atol=1e-14, what="score_variance", mistakes=mistakes)


def test_score_variance_has_the_baseline_zero_by_default():
    """Without a baseline it is that of b = 0, and score_gradient's rows have it."""
    want = gumbel.score_variance(VALUES, SOURCE, 0.0)
    assert_close(gumbel.score_variance(VALUES, SOURCE), want, rtol=1e-12, what="score_variance without a baseline")


@pytest.mark.claim("prop-die-score")
def test_optimal_baseline_has_the_least_variance(rng):
    """(1-p)f + pm, by enumeration E[f s²]/E[s²] in fractions; a step off costs (b-b*)² p(1-p); the least is stated."""
    k, f, p = 4, VALUES, FIFTHS
    s2 = [[((c == i) - p[i]) ** 2 for i in range(k)] for c in range(k)]
    best = [sum(p[c] * f[c] * s2[c][i] for c in range(k)) / sum(p[c] * s2[c][i] for c in range(k)) for i in range(k)]
    m = [sum(p[j] * f[j] for j in range(k) if j != i) / (1 - p[i]) for i in range(k)]
    assert best == [(1 - p[i]) * f[i] + p[i] * m[i] for i in range(k)]
    mean_f = float(sum(a * b for a, b in zip(f, p, strict=True)))
    fs, ps, ms = (np.array([float(v) for v in values]) for values in (f, p, m))
    mistakes = {
        "is this f̄, the mean of f, in each coordinate?": np.full(4, mean_f),
        "is this m, the mean over the others alone?": ms,
        "are p and 1 - p exchanged?": ps * fs + (1 - ps) * ms,
        "is this f itself?": fs,
        "is m not divided by 1 - p?": (1 - ps) * fs + ps * ms * (1 - ps),
        "is it only the first term, (1-p) f?": (1 - ps) * fs,
    }
    got = gumbel.optimal_baseline(f, SOURCE)
    assert_close(got, [float(b) for b in best], rtol=1e-12, what="optimal_baseline", mistakes=mistakes)
    least = moments_by_enumeration(f, p, best)[1]
    for i in range(k):
        stated = p[i] ** 2 * sum(p[j] * (f[j] - m[i]) ** 2 for j in range(k) if j != i)
        assert least[i] == stated
        for step in (Fraction(-3, 2), Fraction(7)):
            off = moments_by_enumeration(f, p, [b + step for b in best])[1]
            assert off[i] == least[i] + step**2 * p[i] * (1 - p[i])
    assert_close(
        gumbel.score_variance(f, SOURCE, got), [float(v) for v in least], rtol=1e-9, what="score_variance at b*"
    )


@pytest.mark.claim("prop-die-score")
def test_optimal_baseline_of_a_coin_leaves_no_variance():
    """k = 2: with b* = (1-p)f₁ + p f₂ every draw is the exact gradient."""
    p, f = np.array([0.3, 0.7]), np.array([5.0, -2.0])
    b = gumbel.optimal_baseline(f, p)
    assert_close(b, [0.7 * 5 - 0.3 * 2, 0.3 * -2 + 0.7 * 5], rtol=1e-12, what="optimal_baseline of a coin")
    assert_close(gumbel.score_variance(f, p, b), [0.0, 0.0], atol=1e-14, what="score_variance of a coin at b*")


def test_optimal_baseline_where_nothing_moves():
    """At p = 0 and p = 1 it is f̄, and nothing is NaN; the variance there is 0."""
    with np.errstate(all="ignore"):
        got = gumbel.optimal_baseline([3.0, -1.0, 2.0], [0.0, 0.4, 0.6])
        sure = gumbel.optimal_baseline([3.0, -1.0], [0, 1])
    assert np.isfinite(got).all(), f"not finite at p = 0: 0/0? got {got}"
    assert np.isfinite(sure).all(), f"not finite at p = 1: 0/0? got {sure}"
    assert_close(got, [0.8, 0.6 * -1 + 0.4 * 2, 0.4 * 2 + 0.6 * -1], rtol=1e-12, what="optimal_baseline with p = 0")
    assert_close(sure, [-1.0, -1.0], rtol=1e-12, what="optimal_baseline with p = 1")
    assert_close(gumbel.score_variance([3.0, -1.0], [0, 1], sure), [0.0, 0.0], atol=1e-15, what="score_variance, p = 1")


# Relaxed slopes


def cubic(y):
    """A function of rows that no coordinate is missing from."""
    k = y.shape[1]
    a = torch.arange(1.0, k + 1, dtype=y.dtype)
    return (y**3) @ a - 2 * y[:, 0] * y[:, -1] + torch.sin(3 * y[:, 0])


def cubic_slope(y):
    k = y.shape[1]
    slope = 3 * np.arange(1.0, k + 1) * y**2
    slope[:, 0] += -2 * y[:, -1] + 3 * np.cos(3 * y[:, 0])
    slope[:, -1] += -2 * y[:, 0]
    return slope


@dice
@pytest.mark.parametrize("tau", [0.4, 2.0])
def test_relaxed_gradient_is_the_slope_at_the_throws_it_sees(generator, name, tau):
    """y(∂f - Σ y ∂f)/τ at the y that f was called with, by hand; the rows sum to 0."""
    seen = []

    def function(y):
        seen.append(numbers(y).copy())
        return cubic(y)

    got = gumbel.relaxed_gradient(generator, function, DICE[name], 50, tau)
    assert isinstance(got, np.ndarray), "relaxed_gradient should be a NumPy array"
    assert got.shape == (50, len(DICE[name]))
    y = seen[-1]
    assert not ((y == 0) | (y == 1)).all(), "f was called with hard throws, where soft ones are due"
    slope = cubic_slope(y)
    want = y * (slope - (y * slope).sum(axis=1, keepdims=True)) / tau
    p = np.array(DICE[name])
    mistakes = {
        "is the 1/τ missing?": want * tau,
        "is this the slope of f in y, not in the logits?": slope,
        "is Σ y ∂f not subtracted?": y * slope / tau,
        "is the factor y missing?": (slope - (y * slope).sum(axis=1, keepdims=True)) / tau,
        "is this the slope in p, not in the logits?": want / p,
        "is p taken where y belongs?": p * (slope - (p * slope).sum(axis=1, keepdims=True)) / tau,
        "is it averaged over the throws?": want.mean(axis=0),
        "is it divided by n?": want / 50,
    }
    assert_close(got, want, rtol=1e-8, atol=1e-11, what="relaxed_gradient", mistakes=mistakes)


@pytest.mark.claim("prop-relaxed-slope", kind="automatic differentiation")
@pytest.mark.parametrize("tau", [0.3, 1.0, 3.0])
def test_gumbel_softmax_carries_the_slope_in_the_logits(generator, tau):
    """autograd of f(softmax((ℓ+g)/τ)) through gumbel_softmax is y(∂f - Σ y ∂f)/τ, row by row."""
    logits = tensor(np.log(DICE["six"]) + 1.7).requires_grad_()
    y = gumbel.gumbel_softmax(generator, torch.softmax(logits, 0), 8, tau)
    got = torch.stack([torch.autograd.grad(v, logits, retain_graph=True)[0] for v in cubic(y)])
    y = numbers(y)
    slope = cubic_slope(y)
    want = y * (slope - (y * slope).sum(axis=1, keepdims=True)) / tau
    assert_close(got, want, rtol=1e-8, atol=1e-12, what="the slope in the logits", mistakes={"no 1/τ?": want * tau})


@pytest.mark.claim("prop-relaxed-slope")
@pytest.mark.parametrize("tau", [0.5, 1.5])
def test_relaxed_gradient_has_the_mean_of_the_difference_quotient(generator, tau):
    """For linear f the mean over 40,000 rows is the slope of c·E[y], by differences of the cubature in the logits."""
    logits, c, h = np.log(DICE["three"]), np.array([2.0, -1.0, 0.5]), 1e-4
    ends = [[c @ mean_by_cubature(softmax(logits + s * h * e), tau) for s in (1, -1)] for e in np.eye(3)]
    want = np.array([(up - down) / (2 * h) for up, down in ends])
    weights = tensor(c)
    p = np.array(DICE["three"])
    got = gumbel.relaxed_gradient(generator, lambda y: y @ weights, DICE["three"], 40_000, tau)
    hints = {
        "this is the mean of the exact gradient of the hard throws": p * (c - p @ c),
        "the 1/τ is missing": want * tau,
    }
    assert_unbiased(got, want, detects=0.03, hints=hints)


def test_relaxed_gradient_when_hard_takes_the_slope_at_the_corner(generator):
    """hard=True: f sees one-hot rows; for linear f the rows are those of hard=False from the same state."""
    seen = []

    def function(y):
        seen.append(numbers(y).copy())
        return y @ tensor([2.0, -1.0, 0.5])

    plain = gumbel.relaxed_gradient(twin(generator), function, DICE["three"], 40, 0.7)
    y = seen[-1]
    hard = gumbel.relaxed_gradient(generator, function, DICE["three"], 40, 0.7, hard=True)
    z = seen[-1]
    assert ((z == 0) | (z == 1)).all(), "hard=True: f should see hard throws, got soft ones: is ∂f taken at y?"
    assert_close(z, np.eye(3)[y.argmax(axis=1)], what="the hard throws")
    mistakes = {
        "is z taken for y in the factor too, so that nothing is left?": np.zeros_like(plain),
        "is y taken without its sum?": y * np.array([2.0, -1.0, 0.5]) / 0.7,
    }
    assert_close(hard, plain, rtol=1e-9, atol=1e-12, what="relaxed_gradient(..., hard=True)", mistakes=mistakes)


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
def test_relaxed_gradient_of_a_coin_has_the_moments_by_quadrature(generator, hard):
    """Mean and variance of f′(y) y(1-y)/τ, or f′(z), over logistic noise, by 60,000 rows; f = y³ - y, ℓ = .8."""
    logit, tau = 0.8, 0.6
    mean, variance = coin_moments(lambda y, z: 3 * (z if hard else y) ** 2 - 1, logit, tau)
    p = special.expit(logit)
    got = gumbel.relaxed_gradient(generator, lambda y: y[:, 0] ** 3 - y[:, 0], [p, 1 - p], 60_000, tau, hard=hard)
    other = coin_moments(lambda y, z: 3 * (y if hard else z) ** 2 - 1, logit, tau)[0]
    assert_mean(got[:, 0], mean, detects=0.02, hints={"hard is taken for soft, or soft for hard": other})
    assert_variance(got[:, 0], variance, detects=0.06)
    assert_close(got.sum(axis=1), np.zeros(60_000), atol=1e-12, what="the sums of the rows")


# The coin, exactly


SLOPES = {
    "a square": (lambda y: (y - 0.45) ** 2, lambda y: 2 * (y - 0.45)),
    "a line": (lambda y: 3 * y, lambda y: 3.0 + 0 * y),
    "a cubic": (lambda y: y**3 - y, lambda y: 3 * y**2 - 1),
    "a wave": (lambda y: np.sin(5 * y), lambda y: 5 * np.cos(5 * y)),
}
slopes = pytest.mark.parametrize("shape", SLOPES)


def test_coin_relaxed_of_a_wave_names_mistakes():
    """Mean and variance of f′(y) y(1-y)/τ for f = sin 5y at ℓ = .7, τ = .3, and what other formulas give."""
    (f, slope), logit, tau = SLOPES["a wave"], 0.7, 0.3
    mean, variance = coin_moments(lambda y, z: slope(y), logit, tau)
    got = gumbel.coin_relaxed(slope, logit, tau)
    mistakes = {
        "is the 1/τ missing in f′(y) y(1-y)/τ?": mean * tau,
        "is the sign of the logit reversed?": coin_moments(lambda y, z: slope(y), -logit, tau)[0],
        "is this the exact gradient, of hard throws?": exact_coin(f, logit),
        "is τ upside down?": coin_moments(lambda y, z: slope(y), logit, 1 / tau)[0],
        "is this the straight-through gradient, f′ at the hard throw?": coin_moments(lambda y, z: slope(z), logit, tau)[
            0
        ],
    }
    assert_close(got[0], mean, rtol=1e-8, what="the mean of coin_relaxed(slope, 0.7, 0.3)", mistakes=mistakes)
    mistakes = {
        "is this the second moment of coin_relaxed, the squared mean not subtracted?": variance + mean**2,
        "is this the standard deviation of coin_relaxed?": np.sqrt(variance),
    }
    assert_close(got[1], variance, rtol=1e-8, what="the variance of coin_relaxed(slope, 0.7, 0.3)", mistakes=mistakes)


def test_coin_straight_through_of_a_wave_names_mistakes():
    """Mean and variance of f′(z) y(1-y)/τ, z = 1[y > ½], for f = sin 5y at ℓ = .7, τ = .3, and other formulas."""
    (_, slope), logit, tau = SLOPES["a wave"], 0.7, 0.3
    mean, variance = coin_moments(lambda y, z: slope(z), logit, tau)
    got = gumbel.coin_straight_through(slope, logit, tau)
    bump = coin_moments(lambda y, z: 1.0, logit, tau)[0]
    mistakes = {
        "is f′ taken at the soft throw y, not at the hard one z?": coin_moments(lambda y, z: slope(y), logit, tau)[0],
        "is the 1/τ missing in f′(z) y(1-y)/τ?": mean * tau,
        "are f′(0) and f′(1) exchanged?": coin_moments(lambda y, z: slope(1 - z), logit, tau)[0],
        "is f′ averaged over the ends, whatever the throw?": (slope(0.0) + slope(1.0)) / 2 * bump,
    }
    assert_close(got[0], mean, rtol=1e-8, what="the mean of coin_straight_through", mistakes=mistakes)
    mistakes = {"is this the second moment of coin_straight_through, not the variance?": variance + mean**2}
    assert_close(got[1], variance, rtol=1e-8, what="the variance of coin_straight_through", mistakes=mistakes)


@pytest.mark.parametrize("function", ["coin_relaxed", "coin_straight_through"])
@slopes
@pytest.mark.parametrize(("logit", "tau"), [(0.0, 1.0), (-2.0, 0.05), (1.5, 4.0), (-6.0, 0.8), (3.0, 1.0)])
def test_coins_have_the_moments_over_logistic_noise(function, shape, logit, tau):
    """Mean and variance of f′ y(1-y)/τ, f′ at y or at z = 1[y > ½], by adaptive quadrature over L."""
    _, slope = SLOPES[shape]
    hard = function == "coin_straight_through"
    mean, variance = coin_moments(lambda y, z: slope(z if hard else y), logit, tau)
    got = gumbel.coin_straight_through(slope, logit, tau) if hard else gumbel.coin_relaxed(slope, logit, tau)
    assert_close(got[0], mean, rtol=1e-8, atol=1e-12, what=f"the mean of {function}(slope, {logit}, {tau})")
    assert_close(got[1], variance, rtol=1e-8, atol=1e-12, what=f"the variance of {function}(slope, {logit}, {tau})")


def in_y(integrand):
    """∫₀¹ by adaptive quadrature, cut where the integrands bend."""
    cuts = [0, 1e-6, 1e-3, 0.05, 0.3, 0.5, 0.7, 0.95, 0.999, 1 - 1e-6, 1]
    return sum(integrate.quad(integrand, a, b, epsabs=1e-15, epsrel=1e-11)[0] for a, b in itertools.pairwise(cuts))


@pytest.mark.claim("thm-coin-slopes")
@slopes
@pytest.mark.parametrize(("logit", "tau"), [(0.4, 0.5), (-1.5, 0.2), (2.0, 1.5)])
def test_coin_relaxed_is_an_integral_over_y(shape, logit, tau):
    """∫₀¹ f′(y) λ(τ log(y/(1-y)) - ℓ) dy, and for straight-through with f′(0) below ½ and f′(1) above."""
    _, slope = SLOPES[shape]
    bump = lambda y: logistic_density(tau * special.logit(y) - logit)  # noqa: E731
    want = in_y(lambda y: slope(y) * bump(y))
    assert_close(gumbel.coin_relaxed(slope, logit, tau)[0], want, rtol=1e-8, atol=1e-12, what="E[G]")
    want = in_y(lambda y: slope(float(y > 0.5)) * bump(y))
    assert_close(gumbel.coin_straight_through(slope, logit, tau)[0], want, rtol=1e-8, atol=1e-12, what="E[S]")


@pytest.mark.claim("thm-coin-slopes")
@slopes
@pytest.mark.parametrize("logit", [-1.3, 0.5, 2.0])
def test_coin_relaxed_and_straight_through_have_their_limits(shape, logit):
    """As τ → 0, first and second term of E[G] and E[S], and τE[G²], τE[S²]; extrapolated from τ = .001 and .002."""
    f, slope = SLOPES[shape]
    p = special.expit(logit)
    lam, bent = p * (1 - p), p * (1 - p) * (1 - 2 * p)
    means = {
        gumbel.coin_relaxed: (exact_coin(f, logit), -bent * in_y(lambda y: slope(y) * special.logit(y))),
        gumbel.coin_straight_through: (
            lam * (slope(0.0) + slope(1.0)) / 2,
            -bent * (slope(1.0) - slope(0.0)) * math.log(2),
        ),
    }
    seconds = {
        gumbel.coin_relaxed: lam * in_y(lambda y: slope(y) ** 2 * y * (1 - y)),
        gumbel.coin_straight_through: lam * (slope(0.0) ** 2 + slope(1.0) ** 2) / 12,
    }
    for function, (limit, rate) in means.items():
        one, two = ((function(slope, logit, t)[0] - limit) / t for t in (0.001, 0.002))
        # what is left is O(τ²) ∫ f′ log³: below 1e-4 here
        assert_close(2 * one - two, rate, rtol=0, atol=1e-4, what=f"the slope of the mean in τ, {shape}, {limit=}")
        one, two = (t * (v + m**2) for t in (0.001, 0.002) for m, v in [function(slope, logit, t)])
        assert_close(2 * one - two, seconds[function], rtol=0, atol=1e-4, what=f"τ times the second moment, {shape}")


@pytest.mark.claim("thm-coin-slopes")
def test_coin_straight_through_is_right_in_the_limit_for_squares_alone():
    """The trapezoid rule: exact in the limit for degree ≤ 2, off by λ(ℓ)/2 for y³; for linear f always that of G."""
    logit, lam = 0.7, logistic_density(0.7)
    limit = 2 * gumbel.coin_straight_through(SLOPES["a square"][1], logit, 1e-5)[0]
    limit -= gumbel.coin_straight_through(SLOPES["a square"][1], logit, 2e-5)[0]
    assert_close(limit, exact_coin(SLOPES["a square"][0], logit), rtol=1e-6, what="E[S] for a square, τ → 0")
    cube = gumbel.coin_straight_through(lambda y: 3 * y**2, logit, 1e-6)[0]
    assert_close(cube - lam, lam / 2, rtol=1e-4, what="the error of E[S] for y³, τ → 0")
    for tau in (0.2, 3.0):
        both = [f(SLOPES["a line"][1], logit, tau) for f in (gumbel.coin_relaxed, gumbel.coin_straight_through)]
        assert_close(both[0], both[1], rtol=1e-9, what="mean and variance for linear f")


@pytest.mark.claim("thm-coin-slopes")
def test_relaxed_gradient_of_a_line_does_not_care_whether_it_is_hard(generator):
    """For linear f, G = S in every draw, from the same state."""
    f = lambda y: 2.5 * y[:, 0]  # noqa: E731
    soft, hard = (gumbel.relaxed_gradient(twin(generator), f, [0.2, 0.8], 100, 0.4, hard=h) for h in (False, True))
    assert_close(hard, soft, rtol=1e-9, atol=1e-13, what="S", mistakes={"is nothing left?": np.zeros((100, 2))})


def test_coin_relaxed_holds_far_out():
    """ℓ = ±30 and τ from .01 to 100: finite, variances not negative, symmetric under y → 1-y, ℓ → -ℓ."""
    slope = lambda y: 2 * (y - 0.2)  # noqa: E731
    mirrored = lambda y: 2 * (0.8 - y)  # noqa: E731
    for logit, tau in itertools.product((-30.0, -3.0, 0.0, 30.0), (0.01, 0.5, 1.0, 3.0, 100.0)):
        for function in (gumbel.coin_relaxed, gumbel.coin_straight_through):
            mean, variance = function(slope, logit, tau)
            assert math.isfinite(mean), (logit, tau)
            assert math.isfinite(variance), (logit, tau)
            assert variance >= 0, f"a negative variance at logit {logit}, τ = {tau}"
            other = function(mirrored, -logit, tau)
            assert_close(
                mean, other[0], rtol=1e-6, atol=1e-25, what=f"the mean at {logit}, {tau}, and its mirror image"
            )


@pytest.mark.parametrize("function", ["coin_relaxed", "coin_straight_through"])
@pytest.mark.parametrize("tau", [3.0, 20.0])
def test_coins_that_are_all_but_sure_have_moments_of_powers(function, tau):
    """Far out y(1-y) is e^{-x}, x = (ℓ+L)/τ, and E[e^{-aL}] = πa/sin πa: the moments at |ℓ| = 60τ."""
    slope = lambda y: 2 * (y - 0.2)  # noqa: E731
    for side, end in ((1, slope(1.0)), (-1, slope(0.0))):
        first, second = (a * np.pi / np.sin(a * np.pi) * math.exp(-60 * m) for m, a in ((1, 1 / tau), (2, 2 / tau)))
        want = [end * first / tau, end**2 * (second - first**2) / tau**2]
        got = getattr(gumbel, function)(slope, side * 60 * tau, tau)
        assert_close(got, want, rtol=1e-8, what=f"{function} at ℓ = {side * 60 * tau:.0f}, τ = {tau:.0f}")


@pytest.mark.claim("prop-extension")
def test_coin_relaxed_depends_on_how_the_function_is_extended():
    """f + c y(1-y): the same corners, a mean that differs by c∫(1-2y)λ(τ log(y/(1-y)) - ℓ)dy, of the sign of -cℓ."""
    f, slope = SLOPES["a cubic"]
    for logit, tau, c in itertools.product((-3.0, 0.8), (0.1, 1.0, 3.0), (-4.0, 2.5)):
        other = lambda y, c=c: slope(y) + c * (1 - 2 * y)  # noqa: E731
        assert exact_coin(lambda y, c=c: f(y) + c * y * (1 - y), logit) == exact_coin(f, logit)
        moved = gumbel.coin_relaxed(other, logit, tau)[0] - gumbel.coin_relaxed(slope, logit, tau)[0]
        density = lambda y, a=logit, t=tau: logistic_density(t * special.logit(y) - a)  # noqa: E731
        want = c * in_y(lambda y, density=density: (1 - 2 * y) * density(y))
        assert_close(moved, want, rtol=1e-7, atol=1e-12, what=f"what c = {c} moves at ℓ = {logit}, τ = {tau}")
        assert np.sign(moved) == -np.sign(c * logit)
    # so that any number can be had: ask for 17 at ℓ = 1, τ = ½
    per_c = gumbel.coin_relaxed(lambda y: 1 - 2 * y, 1.0, 0.5)[0]
    c = (17 - gumbel.coin_relaxed(slope, 1.0, 0.5)[0]) / per_c
    got = gumbel.coin_relaxed(lambda y: slope(y) + c * (1 - 2 * y), 1.0, 0.5)[0]
    assert_close(got, 17.0, rtol=1e-9, what="the mean that was asked for")


@pytest.mark.claim("prop-best-temperature", kind="symbolic")
def test_the_best_temperature_minimises_bias_and_variance():
    """a²τ² + v/(nτ) has its minimum at (v/(2a²n))^{1/3}, of 3(a v/2)^{2/3} n^{-2/3}, by sympy."""
    a, v, n, tau = sympy.symbols("a v n tau", positive=True)
    error = a**2 * tau**2 + v / (n * tau)
    best = (v / (2 * a**2 * n)) ** sympy.Rational(1, 3)
    assert sympy.simplify(sympy.diff(error, tau).subs(tau, best)) == 0
    assert sympy.simplify(sympy.diff(error, tau, 2)).subs({a: 2, v: 3, n: 5, tau: 0.1}) > 0
    stated = 3 * (a * v / 2) ** sympy.Rational(2, 3) * n ** sympy.Rational(-2, 3)
    assert sympy.simplify(error.subs(tau, best) / stated) == 1


@pytest.mark.claim("prop-best-temperature")
@pytest.mark.parametrize("shape", ["a square", "a wave"])
def test_coin_relaxed_has_its_least_error_at_the_best_temperature(shape):
    """Exact bias and variance: n^{2/3} MSE → 3(av/2)^{2/3}; other constants and exponents do worse; the score wins."""
    f, slope = SLOPES[shape]
    logit, p = 1.2, special.expit(1.2)
    a = abs(p * (1 - p) * (1 - 2 * p) * in_y(lambda y: slope(y) * special.logit(y)))
    v = p * (1 - p) * in_y(lambda y: slope(y) ** 2 * y * (1 - y))
    limit = 3 * (a * v / 2) ** (2 / 3)

    def scaled(n, tau):
        mean, variance = gumbel.coin_relaxed(slope, logit, tau)
        return n ** (2 / 3) * ((mean - exact_coin(f, logit)) ** 2 + variance / n)

    away = []
    for n in (1e6, 1e9, 1e12):
        best = (v / (2 * a**2 * n)) ** (1 / 3)
        away.append(abs(scaled(n, best) / limit - 1))
        for other in (best / 2, 2 * best, best**0.75, best**1.5):
            assert scaled(n, other) > scaled(n, best), (n, other)
    # the corrections are of relative order τ_n, which falls tenfold from one n to the next
    assert away[1] < away[0] / 4
    assert away[2] < 2e-3, f"n^(2/3) MSE is off its limit by {away[2]:.2g} of it"
    # the score estimator, n MSE constant: better for large n
    score = gumbel.score_variance([f(0.0), f(1.0)], [1 - p, p])[1]
    best = (v / (2 * a**2 * 1e12)) ** (1 / 3)
    assert score / 1e12 < scaled(1e12, best) / 1e12 ** (2 / 3)


@pytest.mark.claim("prop-many-coins")
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_the_score_of_one_coin_among_many_hears_the_others(d):
    """By enumeration of 2^d outcomes in fractions, at the best b: variance (d-1)p²(1-p)²Δ², mean p(1-p)Δ."""
    p, f = Fraction(3, 10), (Fraction(1, 4), Fraction(2))
    mean = p * (1 - p) * (f[1] - f[0])

    def moments(b):
        outcomes = list(itertools.product((0, 1), repeat=d))
        chances = [math.prod(p if side else 1 - p for side in z) for z in outcomes]
        draws = [(sum(f[side] for side in z) - b) * (z[0] - p) for z in outcomes]
        first, second = (sum(q * x**m for q, x in zip(chances, draws, strict=True)) for m in (1, 2))
        return first, second - first**2

    low, middle, high = (moments(Fraction(b))[1] for b in (-1, 0, 1))
    best = (low - high) / (2 * (low + high - 2 * middle))  # of a parabola in b
    assert moments(best) == (mean, (d - 1) * mean**2)
    if d == 1:  # and the module's own score of a die agrees
        b = gumbel.optimal_baseline([float(v) for v in f], [0.7, 0.3])
        assert_close(b[1], float(best), rtol=1e-12, what="optimal_baseline of one coin")


@pytest.mark.claim("prop-wrong-bottom")
@pytest.mark.parametrize(("t", "tau"), [(0.45, 0.05), (0.45, 0.3), (0.45, 0.7), (0.499, 0.01), (0.2, 0.5), (0.2, 0.9)])
def test_coin_relaxed_comes_to_rest_at_the_wrong_bottom(t, tau):
    """e^{∓ℓ}E[G] → (1 ∓ τ - 2t) πτ/sin πτ; if 1-2t < τ the mean is negative far left: a rest at a p that is not 0."""
    slope = lambda y: 2 * (y - t)  # noqa: E731
    factor = np.pi * tau / np.sin(np.pi * tau)
    far = 12 / (1 - tau)  # what is left is of relative order e^{-far} and e^{-far (1-τ)/τ}
    for side in (-1, 1):
        got = gumbel.coin_relaxed(slope, side * far, tau)[0] * math.exp(far)
        want = (1 + side * tau - 2 * t) * factor
        beta = 2 * (special.beta(2 + side * tau, 1 - side * tau) - t * special.beta(1 + side * tau, 1 - side * tau))
        assert_close(want, beta, rtol=1e-10, what="the limit, by beta integrals")
        assert_close(got, want, rtol=1e-4, what=f"e^|ℓ| E[G] at ℓ = {side * far:.0f}")
    mean = lambda logit: gumbel.coin_relaxed(slope, logit, tau)[0]  # noqa: E731
    assert exact_coin(lambda y: (y - t) ** 2, 0.3) > 0
    if tau > 1 - 2 * t:
        assert mean(-far) < 0 < mean(far)
        rest = optimize.brentq(mean, -far, far)
        assert special.expit(rest) > 1e-6, "the rest is at p = 0"
    else:
        assert mean(-far) > 0


# What is refused


BAD_DICE = [
    ("a sum of 1.1", [0.5, 0.6], 1.1),
    ("a sum of 0.5", [0.25, 0.25], 0.5),
    ("a sum of 0.9999", [0.3333, 0.6666], 0.9999),
    ("a negative one", [-0.5, 1.5], -0.5),
    ("NaN", [0.5, np.nan], np.nan),
    ("infinity", [np.inf, 0.0], np.inf),
]
TAKES_A_DIE = {
    "gumbel_max": lambda p: gumbel.gumbel_max(torch.Generator(), p, 5),
    "ranking": lambda p: gumbel.ranking(torch.Generator(), p, 5),
    "gumbel_softmax": lambda p: gumbel.gumbel_softmax(torch.Generator(), p, 5, 1.0),
    "straight_through": lambda p: gumbel.straight_through(torch.Generator(), p, 5, 1.0),
    "mean_of_relaxed": lambda p: gumbel.mean_of_relaxed(p, 1.0),
    "concrete_log_density": lambda p: gumbel.concrete_log_density(np.array([[0.2, 0.8]]), p, 1.0),
    "exact_gradient": lambda p: gumbel.exact_gradient([1.0, 2.0], p),
    "score_gradient": lambda p: gumbel.score_gradient(torch.Generator(), [1.0, 2.0], p, 5),
    "score_variance": lambda p: gumbel.score_variance([1.0, 2.0], p),
    "optimal_baseline": lambda p: gumbel.optimal_baseline([1.0, 2.0], p),
    "relaxed_gradient": lambda p: gumbel.relaxed_gradient(torch.Generator(), first_squared, p, 5, 1.0),
}


@pytest.mark.parametrize("function", TAKES_A_DIE)
def test_functions_of_a_die_refuse_what_is_none(function):
    """What does not sum to one, negatives, NaN, infinity, none at all, a table should raise a ValueError."""
    call = lambda p: TAKES_A_DIE[function](p)  # noqa: E731
    call.__name__ = function
    for what, p, value in BAD_DICE:
        assert_refused(call, np.array(p), argument="probabilities", value="nan" if what == "NaN" else value)
    for p in (np.array([]), np.array([[0.5, 0.5]])):
        assert_refused(call, p, argument="probabilities", value="got")


@pytest.mark.parametrize("function", ["gumbel_max", "ranking", "gumbel_softmax", "score_gradient", "relaxed_gradient"])
def test_functions_that_draw_refuse_a_number_of_draws_that_is_none(function):
    """n = 0, -3, 2.5: ValueError."""
    calls = {
        "gumbel_max": lambda n: gumbel.gumbel_max(torch.Generator(), SOURCE, n),
        "ranking": lambda n: gumbel.ranking(torch.Generator(), SOURCE, n),
        "gumbel_softmax": lambda n: gumbel.gumbel_softmax(torch.Generator(), SOURCE, n, 1.0),
        "score_gradient": lambda n: gumbel.score_gradient(torch.Generator(), VALUES, SOURCE, n),
        "relaxed_gradient": lambda n: gumbel.relaxed_gradient(torch.Generator(), first_squared, SOURCE, n, 1.0),
    }
    call = calls[function]
    for n in (0, -3, 2.5):
        assert_refused(call, n, argument="n", value=n)


def test_noise_refuses_sizes_that_are_none():
    """n and k from 1: anything else should raise a ValueError."""
    for n, k, argument, value in [(0, 3, "n", 0), (2.5, 3, "n", 2.5), (3, 0, "k", 0), (3, -1, "k", -1)]:
        assert_refused(gumbel.noise, torch.Generator(), n, k, argument=argument, value=value)


@pytest.mark.parametrize(
    "function", ["gumbel_softmax", "straight_through", "relaxed_gradient", "mean_of_relaxed", "concrete_log_density"]
)
def test_functions_of_a_temperature_refuse_what_is_none(function):
    """τ = 0, -1, NaN, ∞: ValueError."""
    y = np.array([[0.2, 0.3, 0.4, 0.1]])
    calls = {
        "gumbel_softmax": lambda t: gumbel.gumbel_softmax(torch.Generator(), SOURCE, 5, t),
        "straight_through": lambda t: gumbel.straight_through(torch.Generator(), SOURCE, 5, t),
        "relaxed_gradient": lambda t: gumbel.relaxed_gradient(torch.Generator(), first_squared, SOURCE, 5, t),
        "mean_of_relaxed": lambda t: gumbel.mean_of_relaxed(SOURCE, t),
        "concrete_log_density": lambda t: gumbel.concrete_log_density(y, SOURCE, t),
    }
    for tau in (0.0, -1.0, np.nan, np.inf):
        value = "nan" if np.isnan(tau) else tau
        assert_refused(calls[function], tau, argument="temperature", value=value)


@pytest.mark.parametrize("function", ["coin_relaxed", "coin_straight_through"])
def test_functions_of_a_coin_refuse_what_has_no_meaning(function):
    """Logits and temperatures that are not finite, a slope that is NaN."""
    slope = SLOPES["a square"][1]
    calls = {"coin_relaxed": lambda *a: gumbel.coin_relaxed(*a)}
    calls["coin_straight_through"] = lambda *a: gumbel.coin_straight_through(*a)
    call = calls[function]
    for logit in (np.nan, np.inf):
        assert_refused(call, slope, logit, 1.0, argument="logit", value="nan" if np.isnan(logit) else logit)
    for tau in (0.0, -2.0, np.inf):
        assert_refused(call, slope, 0.5, tau, argument="temperature", value=tau)
    assert_refused(call, lambda y: np.nan * y, 0.5, 1.0, argument="slope", value="finite")


def test_concrete_log_density_refuses_points_outside_the_simplex():
    """Rows that do not sum to one, entries 0, 1 or negative, another number of columns, p = 0: ValueError."""
    p = np.array([0.2, 0.3, 0.5])
    calls = [
        ([[0.2, 0.3, 0.4]], p, "y", 0.9),
        ([[0.2, 0.3, 0.4], [0.2, 0.3, 0.6]], p, "y", ""),
        ([[0.5, 0.5, 0.0]], p, "y", 0.0),
        ([[-0.2, 0.6, 0.6]], p, "y", -0.2),
        ([[0.2, 0.8]], p, "y", 2),
        ([0.2, 0.3, 0.5], p, "y", "(3,)"),
        ([[0.2, 0.3, 0.5]], np.array([0.0, 0.5, 0.5]), "probabilities", 0.0),
        ([[0.2, 0.3, np.nan]], p, "y", "nan"),
    ]
    for y, q, argument, value in calls:
        assert_refused(gumbel.concrete_log_density, np.array(y), q, 1.0, argument=argument, value=value)


def test_functions_of_values_refuse_what_is_none():
    """As many values as outcomes, finite; a baseline that is a number or one for each."""
    p = [0.2, 0.3, 0.5]
    calls = {
        "exact_gradient": lambda v: gumbel.exact_gradient(v, p),
        "score_variance": lambda v: gumbel.score_variance(v, p),
        "optimal_baseline": lambda v: gumbel.optimal_baseline(v, p),
        "score_gradient": lambda v: gumbel.score_gradient(torch.Generator(), v, p, 4),
    }
    for call in calls.values():
        assert_refused(call, np.array([1.0, 2.0]), argument="values", value=2)
        assert_refused(call, np.array([1.0, np.inf, 2.0]), argument="values", value=np.inf)
        assert_refused(call, np.array([1.0, np.nan, 2.0]), argument="values", value="nan")
    for b, value in ((np.nan, "nan"), (np.array([1.0, 2.0]), "(2,)")):
        for call in (
            lambda b: gumbel.score_variance([1.0, 2.0, 3.0], p, b),
            lambda b: gumbel.score_gradient(torch.Generator(), [1.0, 2.0, 3.0], p, 4, b),
        ):
            assert_refused(call, b, argument="baseline", value=value)


def test_relaxed_gradient_refuses_a_function_of_the_wrong_shape():
    """f must give one number for each row: anything else should raise a ValueError."""
    for function in (lambda y: y, lambda y: y.sum(), lambda y: y.sum(dim=1, keepdim=True)):
        assert_refused(
            gumbel.relaxed_gradient, torch.Generator(), function, SOURCE, 5, 1.0, argument="function", value="(5,)"
        )


def test_lattice_probability_refuses_what_is_not_rare():
    """p in (0, ½], bits a counting number."""
    for p in (0.0, -0.1, 0.6, 1.0):
        assert_refused(gumbel.lattice_probability, p, argument="probability", value=p)
    assert_refused(gumbel.lattice_probability, np.nan, argument="probability", value="nan")
    for bits in (0, 1.5, -2):
        assert_refused(gumbel.lattice_probability, 0.1, bits, argument="bits", value=bits)


# Generators and arguments


@pytest.mark.parametrize("draws", [*DRAWS, "noise"])
def test_draws_are_seeded_by_their_generator_alone(draws, generator):
    """The same state gives the same draws, another one and a second call others; global states stay as they are."""
    call = (DRAWS | {"noise": lambda g, p, n: gumbel.noise(g, n, len(p))})[draws]
    p = np.full(12, 1 / 12)
    before, other = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    same = twin(generator)
    one, again = numbers(call(generator, p, 40)), numbers(call(generator, p, 40))
    assert np.array_equal(one, numbers(call(same, p, 40))), "the same state gave other draws: is the generator used?"
    assert not np.array_equal(one, again), "a second call repeats the first: is a seed set inside?"
    third = numbers(call(torch.Generator().manual_seed(same.initial_seed() % 1000 + 1), p, 40))
    assert not np.array_equal(one, third), "another seed gave the same draws: is the generator used?"
    assert torch.equal(before, torch.get_rng_state()), "PyTorch's global generator was used"
    assert np.array_equal(other, np.random.get_state()[1]), "NumPy's global generator was used"  # noqa: NPY002


@pytest.mark.parametrize("draws", [*DRAWS, "mean_of_relaxed", "exact_gradient"])
def test_functions_of_a_die_take_any_row_of_numbers(draws, generator):
    """Lists, tuples, read-only, every second entry, tensors: the same result; none is changed, none remembered."""
    calls = DRAWS | {
        "mean_of_relaxed": lambda g, p, n: gumbel.mean_of_relaxed(p, 0.5),
        "exact_gradient": lambda g, p, n: gumbel.exact_gradient([1.0, 2.0, 4.0, 8.0], p),
    }
    p = np.array([0.125, 0.25, 0.5, 0.125])  # exact in single precision too
    want = numbers(calls[draws](twin(generator), p, 20))
    read_only = p.copy()
    read_only.flags.writeable = False
    kinds = [p.tolist(), tuple(p), read_only, np.repeat(p, 2)[::2], p.astype(np.float32), tensor(p), p[::-1][::-1]]
    for kind in kinds:
        with_it = numbers(calls[draws](twin(generator), kind, 20))
        assert_close(with_it, want, rtol=1e-12, atol=1e-15, what=f"{draws} of {type(kind).__name__}")
    assert np.array_equal(p, [0.125, 0.25, 0.5, 0.125]), "the probabilities were changed"
    changing = tensor(p)
    calls[draws](twin(generator), changing, 20)
    assert np.array_equal(numbers(changing), p), "the probabilities were changed"
    p[:] = [0.0, 0.0, 1.0, 0.0]  # the same array, another die
    sure = numbers(calls[draws](twin(generator), p, 20))
    wrong = "the array was changed between two calls, the result was not: is it remembered?"
    assert not np.array_equal(sure, want), wrong
    if draws in SOFT:
        assert_close(sure, np.eye(4)[np.full(20, 2)], what=f"{draws} of the sure die")


@pytest.mark.parametrize("function", TAKES_A_DIE)
def test_functions_of_a_die_bear_sums_that_are_rounded(function):
    """(.35, .65) in single precision, a tensor or an array; none is changed, nor one of sum 1 + 1e-9 in double."""
    for p in (
        torch.tensor([0.35000002, 0.65]),
        np.array([0.35000002, 0.65], dtype=np.float32),
        np.array([0.35, 0.65 + 1e-9]),
        tensor([0.35, 0.65 + 1e-9]),
    ):
        before = numbers(p).copy()
        got = numbers(TAKES_A_DIE[function](p))
        assert np.isfinite(got).all()
        assert np.array_equal(numbers(p), before), (
            "the probabilities were changed: are they divided by their sum in place?"
        )


@pytest.mark.parametrize("draws", DRAWS)
def test_draws_of_one_row_and_of_one_outcome(draws, generator):
    """n = 1, k = 1 and probabilities as whole numbers."""
    k = 1 if draws in {"gumbel_max"} else 4
    one = numbers(DRAWS[draws](generator, SOURCE, 1))
    assert one.shape == ((1,) if draws == "gumbel_max" else (1, k))
    alone = numbers(DRAWS[draws](generator, np.array([1]), 7))
    value = {"gumbel_softmax": 1.0, "straight_through": 1.0}.get(draws, 0.0)
    assert_close(alone, np.full(alone.shape, value), atol=1e-12, what=f"{draws} of one sure outcome")
