"""Noise-contrastive estimation against Bayes, automatic gradients, quadrature by autodiff, and runs made twice."""

import itertools
import math
import multiprocessing
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import distributed
import joblib
import mpmath
import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, optimize, special, stats

from solutions import mixtures, noise_contrastive
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_mean, assert_proportion, assert_unbiased

# A few hundred roundings, each of 1.1e-16 of numbers that cancel to a hundredth of themselves.
SHARP = 1e-11
# A converged fit is within 1e-8 of a stationary point in each parameter; this leaves as much again for rounding.
STEP = 2e-8
KNOWN, UNKNOWN = "known", "unknown"

CORNERS = np.array([[0.0, 0.0], [0.0, 3.0], [3.0, 0.0], [3.0, 3.0]])
WIDE = stats.multivariate_normal([1.5, 1.5], 4 * np.eye(2))
PAIR = np.array([[0.0], [4.0]])
LINE = stats.multivariate_normal([2.0], [[9.0]])  # noise for one dimension
TRIPLE = np.array([[-1.0], [0.5], [3.0]])
OTHERS = np.array([[-1.0, 0.5], [2.5, 1.0], [0.5, 4.0]])  # three means, in no symmetric place
SKEW = stats.multivariate_normal([1.0, 1.5], [[5.0, 1.0], [1.0, 6.0]])
LAWS = {
    "the square": (CORNERS, WIDE),
    "a pair on a line": (PAIR, LINE),
    "three on a line": (TRIPLE, LINE),
    "three in the plane": (OTHERS, SKEW),
    "one in the plane": (np.array([[1.0, -2.0]]), stats.multivariate_normal([0.0, -1.0], [[4.0, 0.5], [0.5, 3.0]])),
}
laws = pytest.mark.parametrize("name", LAWS)
ratios = pytest.mark.parametrize("ratio", [0.5, 1, 10])
normalisers = pytest.mark.parametrize("normaliser", [KNOWN, UNKNOWN])


# What the tests know of the model, without the module


def true_c(means):
    """log k + (d/2) log 2π, the log of k integrals of exp(-|x|²/2)."""
    k, d = np.shape(means)
    return math.log(k) + d / 2 * math.log(2 * math.pi)


def log_sum(x, means):
    """log Σᵢ exp(-|x - μᵢ|²/2), by scipy."""
    x, means = np.asarray(x, float), np.asarray(means, float)
    return special.logsumexp(-0.5 * np.sum((x[:, None] - means) ** 2, axis=2), axis=1)


def slopes(x, means):
    """s = (r₁(x)(x - μ₁), ..., r_k(x)(x - μ_k), -1) for each row x, by scipy's softmax."""
    away = np.asarray(x, float)[:, None] - np.asarray(means, float)
    r = special.softmax(-0.5 * np.sum(away**2, axis=2), axis=1)
    return np.column_stack([(r[:, :, None] * away).reshape(len(away), -1), -np.ones(len(away))])


class Problem(NamedTuple):
    """Everything that `objective` asks for."""

    means: np.ndarray
    c: float
    data: np.ndarray
    noise: np.ndarray
    log_noise: object
    ratio: float


SHAPES = {  # k, d, n, m, ν
    "one mean on a line": (1, 1, 5, 3, 0.5),
    "four means in the plane": (4, 2, 6, 12, 2.0),
    "three means in the plane": (3, 2, 5, 4, 3.0),
    "two means in space": (2, 3, 7, 4, 10.0),
    "five means on a line": (5, 1, 4, 9, 0.3),
}
shapes = pytest.mark.parametrize("shape", SHAPES)


def a_problem(rng, shape):
    """Data, noise and a model that is not the truth, a few units apart: nothing under- or overflows."""
    k, d, n, m, ratio = SHAPES[shape]
    law = stats.multivariate_normal(np.arange(d) / 2, 3.0 * np.eye(d) + 0.5)
    means, c = rng.normal(0, 1.5, (k, d)), true_c(np.empty((k, d))) + rng.uniform(0.3, 0.8)
    return Problem(
        means, c, rng.normal(0.5, 1.3, (n, d)), law.rvs(m, random_state=rng).reshape(m, d), law.logpdf, ratio
    )


def odds(p, x, times_log_ratio=1.0):
    """log p(x) - log p_n(x) - log ν."""
    return log_sum(x, p.means) - p.c - p.log_noise(x) - times_log_ratio * math.log(p.ratio)


def value(of_data, of_noise, ratio):
    """mean log σ(G) over the data + ν mean log σ(-G) over the noise."""
    return np.mean(special.log_expit(of_data)) + ratio * np.mean(special.log_expit(-of_noise))


def torch_objective(p):
    """J as a function of θ = (means raveled, c), in PyTorch, straight from its definition."""
    data, noise, log_data, log_noise = (
        torch.tensor(np.array(part, dtype=float))
        for part in (p.data, p.noise, p.log_noise(p.data), p.log_noise(p.noise))
    )
    shape = np.shape(p.means)

    def level(theta, x, log_pn):
        means = theta[:-1].reshape(shape)
        logs = torch.logsumexp(-0.5 * ((x[:, None] - means) ** 2).sum(2), 1)
        return logs - theta[-1] - log_pn - math.log(p.ratio)

    def objective(theta):
        of_data, of_noise = level(theta, data, log_data), level(theta, noise, log_noise)
        logsigmoid = torch.nn.functional.logsigmoid
        return logsigmoid(of_data).mean() + p.ratio * logsigmoid(-of_noise).mean()

    return objective, torch.tensor(np.append(np.ravel(p.means), p.c))


def torch_gradient(p):
    """The gradient of J by automatic differentiation."""
    objective, theta = torch_objective(p)
    return torch.func.grad(objective)(theta).numpy()


def torch_hessian(p):
    """The Hessian of J by automatic differentiation."""
    objective, theta = torch_objective(p)
    return torch.func.jacrev(torch.func.grad(objective))(theta).numpy()


def ask(p, **changed):
    """`objective` of a problem."""
    return noise_contrastive.objective(*p._replace(**changed))


# Theory by quadrature: expectations on a grid whose ends are 9 and more standard deviations away, spacing 1/6


class Theory(NamedTuple):
    """What asymptotic theory says, by quadrature and automatic derivatives at the truth."""

    hessian: np.ndarray  # H, minus that of the population's J
    variance: np.ndarray  # V, n times the covariance of the gradient
    gradient: np.ndarray
    m: np.ndarray  # E_d[(1 - h) s sᵀ]
    b: np.ndarray  # E_d[(1 - h) s]
    fisher: np.ndarray  # of the means

    def part(self, normaliser):
        """M and b of the parameters that are learnt."""
        p = len(self.b) - (normaliser == KNOWN)
        return self.m[:p, :p], self.b[:p]

    def sandwich(self, normaliser):
        """H⁻¹ V H⁻¹ for the parameters that are learnt."""
        p = len(self.b) - (normaliser == KNOWN)
        inverse = np.linalg.inv(self.hessian[:p, :p])
        return inverse @ self.variance[:p, :p] @ inverse


def grid(means, reach=10.0, spacing=1 / 6):
    """Nodes of the trapezoid rule and the weight of each: for Gaussians it errs by exp(-2π²/spacing²)."""
    lines = [
        np.arange(low - reach, high + reach, spacing) for low, high in zip(means.min(0), means.max(0), strict=True)
    ]
    nodes = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, means.shape[1])
    return nodes, spacing ** means.shape[1]


@cache
def theory(name, ratio):
    """Theory for one of LAWS."""
    return work_out(*LAWS[name], ratio)


def work_out(means, law, ratio):
    """The population's J and its derivatives by PyTorch; (1 - h) and s nowhere written down but as derivatives."""
    nodes, weight = grid(means)
    x, log_pn = torch.tensor(nodes), torch.tensor(np.ravel(law.logpdf(nodes)))
    theta = torch.tensor(np.append(means.ravel(), true_c(means)))
    logsigmoid = torch.nn.functional.logsigmoid

    def level(theta, x):
        logs = torch.logsumexp(-0.5 * ((x[..., None, :] - theta[:-1].reshape(means.shape)) ** 2).sum(-1), -1)
        return logs - theta[-1]

    def of_data(theta, x, log_pn):
        return logsigmoid(level(theta, x) - log_pn - math.log(ratio))

    def of_noise(theta, x, log_pn):
        return logsigmoid(-(level(theta, x) - log_pn - math.log(ratio)))

    data, noise = weight * torch.exp(level(theta, x)), weight * torch.exp(log_pn)

    def population(theta):
        return (data * of_data(theta, x, log_pn)).sum() + ratio * (noise * of_noise(theta, x, log_pn)).sum()

    def covariance(weights, g):
        mean = weights @ g
        return ((g * weights[:, None]).T @ g - torch.outer(mean, mean)).numpy()

    by_data, by_noise = (
        torch.func.vmap(torch.func.grad(f), (None, 0, 0))(theta, x, log_pn) for f in (of_data, of_noise)
    )
    # ν n draws, weighted ν/(νn) each: ν times the covariance of one
    variance = covariance(data, by_data) + ratio * covariance(noise, by_noise)
    s = torch.func.vmap(torch.func.grad(level), (None, 0))(theta, x).numpy()
    w = data.numpy() * special.expit(-(level(theta, x) - log_pn).numpy() + math.log(ratio))
    gradient = torch.func.grad(population)
    return Theory(
        -torch.func.jacrev(gradient)(theta).numpy(),
        variance,
        gradient(theta).numpy(),
        (s * w[:, None]).T @ s,
        w @ s,
        (s[:, :-1] * data.numpy()[:, None]).T @ s[:, :-1],
    )


class Mixture:
    """The model itself as noise: p_n = p_d, drawn and evaluated without the module."""

    def __init__(self, means, deviation=1.0):
        self.means, self.deviation = np.asarray(means, float), deviation

    def rvs(self, size, random_state):
        """Draws, a row each."""
        which = random_state.integers(len(self.means), size=size)
        return self.means[which] + self.deviation * random_state.standard_normal((size, self.means.shape[1]))

    def logpdf(self, x):
        """The log-density of each row."""
        scaled = log_sum(np.asarray(x) / self.deviation, self.means / self.deviation)
        return scaled - true_c(self.means) - self.means.shape[1] * math.log(self.deviation)


class Recorded:
    """A law whose draws are kept, so that a test can hold a fit against the very noise it saw."""

    def __init__(self, law):
        self.law, self.draws = law, []

    def rvs(self, *args, **kwargs):
        """Draws of the law."""
        self.draws.append(np.array(self.law.rvs(*args, **kwargs)))
        return self.draws[-1].copy()

    def logpdf(self, x):
        """The log-density of the law."""
        return self.law.logpdf(x)

    def points(self, dimension):
        """All that was drawn, a row each."""
        return np.concatenate([draw.reshape(-1, dimension) for draw in self.draws])


class Given:
    """A law of which the same points are drawn each time: a fit has nothing random left."""

    def __init__(self, points, law):
        self.points, self.law = np.asarray(points, float), law

    def rvs(self, size, random_state):
        """The points, of which as many must be wanted as there are."""
        assert np.prod(size) in (len(self.points), self.points.size), f"{size} draws of noise, not {len(self.points)}"
        return self.points.copy()

    def logpdf(self, x):
        """The log-density of the law."""
        return self.law.logpdf(x)


def newton_step(p, normaliser):
    """How far Newton's next step would move each parameter, and whether J bends down in all directions, by PyTorch."""
    free = np.size(p.means) + (normaliser == UNKNOWN)
    bend = -torch_hessian(p)[:free, :free]
    if np.linalg.eigvalsh(bend)[0] <= 0:
        return np.full(free, np.inf), False
    return np.linalg.solve(bend, torch_gradient(p)[:free]), True


def draw(rng, means, n):
    """Data of the model, by hand."""
    return Mixture(means).rvs(n, rng)


# The normaliser


def test_true_log_normaliser_is_the_log_of_the_integral():
    """exp(true_log_normaliser) is ∫ Σᵢ exp(-|x-μᵢ|²/2) dx, by quadrature on a line and in the plane."""
    for means in (PAIR, TRIPLE, OTHERS, CORNERS, np.array([[7.0]])):
        nodes, weight = grid(means)
        want = math.log(weight * np.exp(log_sum(nodes, means)).sum())
        k, d = means.shape
        mistakes = {
            "is this log 2πk, as in the plane, in every dimension?": math.log(2 * math.pi * k) if d != 2 else np.nan,
            "is the number of components forgotten?": want - math.log(k) if k > 1 else np.nan,
            "is this Z, not its logarithm?": math.exp(want),
            "is the sign reversed: is it taken off where it is to be returned?": -want,
        }
        got = noise_contrastive.true_log_normaliser(means)
        assert_close(
            got, want, rtol=SHARP, what=f"the log-normaliser of {k} means in {d} dimensions", mistakes=mistakes
        )


def test_true_log_normaliser_in_any_dimension():
    """It is log k + (d/2) log 2π for d = 1, 2, 3, 7 and k = 1, 3, 10, wherever the means are, of integers too."""
    for k, d in itertools.product([1, 3, 10], [1, 2, 3, 7]):
        means = np.arange(k * d).reshape(k, d) * 100
        want = math.log(k) + d * math.log(math.sqrt(2 * math.pi))
        mistakes = {"is this log 2πk, as in the plane, in every dimension?": math.log(2 * math.pi * k)}
        mistakes = {} if d == 2 else mistakes
        got = noise_contrastive.true_log_normaliser(means)
        assert_close(got, want, rtol=SHARP, what=f"the log-normaliser for k = {k}, d = {d}", mistakes=mistakes)
    got = noise_contrastive.true_log_normaliser(np.array([[1.0], [1.0], [2.0]]))
    mistakes = {"are equal means counted once? Each has its own integral": true_c(PAIR)}
    assert_close(got, true_c(TRIPLE), rtol=SHARP, what="the log-normaliser of 1, 1 and 2", mistakes=mistakes)


# The probability of data


@pytest.mark.claim("thm-nce-posterior", kind="symbolic")
def test_probability_of_data_is_the_posterior_of_bayes():
    """sympy: Bayes with priors 1/(1+ν), ν/(1+ν) gives p/(p + ν p_n) = σ(log p − log p_n − log ν); in fractions too."""
    p, pn, nu = sympy.symbols("p p_n nu", positive=True)
    bayes = p / (1 + nu) / (p / (1 + nu) + pn * nu / (1 + nu))
    logit = sympy.log(p) - sympy.log(pn) - sympy.log(nu)
    assert sympy.simplify(bayes - p / (p + nu * pn)) == 0
    assert sympy.simplify(bayes - 1 / (1 + sympy.exp(-logit))) == 0

    # One mean at the origin of the line and x = 0, ±√(2 log 2): exp(-x²/2) is 1 and ½; Z = e^c is chosen 5.
    x, densities = np.array([[0.0], [math.sqrt(2 * math.log(2))]]), [Fraction(1, 5), Fraction(1, 10)]
    noise, ratio = [Fraction(1, 4), Fraction(1, 7)], Fraction(3, 2)
    want = [float(a / (a + ratio * b)) for a, b in zip(densities, noise, strict=True)]
    log_noise = [math.log(b) for b in noise]
    got = noise_contrastive.probability_of_data(
        x, np.zeros((1, 1)), math.log(5), lambda at: np.where(at[:, 0] == 0, *log_noise), float(ratio)
    )
    assert_close(got, want, rtol=SHARP, what="probability_of_data(x, ...) where p = 1/5, 1/10 and p_n = 1/4, 1/7")


@pytest.mark.claim("thm-nce-posterior")
@pytest.mark.parametrize("ratio", [0.2, 1, 10])
@laws
def test_probability_of_data_is_the_share_of_data_in_the_pool(rng, name, ratio):
    """At the true means and normaliser it is p_d/(p_d + ν p_n), with p_d and p_n from scipy's densities."""
    means, law = LAWS[name]
    x = rng.uniform(means.min() - 3, means.max() + 3, (20, means.shape[1]))
    d = means.shape[1]
    p = np.mean([np.ravel(stats.multivariate_normal(mean, np.eye(d)).pdf(x)) for mean in means], axis=0)
    pn = np.ravel(law.pdf(x))
    want = p / (p + ratio * pn)
    mistakes = {
        "is log ν forgotten? There are ν points of noise for each datum": p / (p + pn) if ratio != 1 else np.nan,
        "is log ν added where it belongs taken off?": p / (p + pn / ratio) if ratio != 1 else np.nan,
        "is this 1 - h, the probability that x is noise?": 1 - want,
        "are p and p_n exchanged?": pn / (pn + ratio * p) if ratio != 1 else np.nan,
        "is the log-normaliser not taken off?": p * np.exp(true_c(means)) / (p * np.exp(true_c(means)) + ratio * pn),
        "is the log-normaliser added where it belongs taken off?": 1
        / (1 + ratio * pn / p * np.exp(-2 * true_c(means))),
        "is the model normalised already, and log_normaliser taken off once more?": 1
        / (1 + ratio * pn / p * np.exp(true_c(means))),
        "is this the odds p/(ν p_n), not the probability?": p / (ratio * pn),
        "is this log h, not h?": np.log(want),
    }
    got = noise_contrastive.probability_of_data(x, means, true_c(means), law.logpdf, ratio)
    assert_close(got, want, rtol=1e-10, what=f"probability_of_data(x, ratio={ratio})", mistakes=mistakes)


@pytest.mark.claim("thm-nce-posterior")
def test_probability_of_data_is_calibrated_in_a_pool(rng):
    """In 40,000 points, each data with chance 1/(1+ν), label − h has mean 0, and so have its products with x."""
    ratio, n = 3.0, 40_000
    is_data = rng.random(n) < 1 / (1 + ratio)
    x = np.where(is_data[:, None], draw(rng, OTHERS, n), SKEW.rvs(n, random_state=rng))
    h = noise_contrastive.probability_of_data(x, OTHERS, true_c(OTHERS), SKEW.logpdf, ratio)
    off = is_data - h
    assert_unbiased(np.column_stack([off, off * x[:, 0], off * x[:, 1]]), 0.0, detects=[0.02, 0.1, 0.1])


def test_probability_of_data_is_right_far_away():
    """Up to 10⁶ away it is 0 or 1, by which law is the wider, and 1/(1+ν) where they are alike; no warning, no NaN."""
    x = np.array([[1e2, 0.0], [-1e4, 3.0], [1e6, -1e6]])
    for law, want in ((WIDE, 0.0), (stats.multivariate_normal([1.5, 1.5], 0.25 * np.eye(2)), 1.0)):
        got = noise_contrastive.probability_of_data(x, CORNERS, true_c(CORNERS), law.logpdf, 2.0)
        nan = int(np.isnan(got).sum())
        assert not nan, f"{nan} of {len(x)} probabilities are NaN far away: p and p_n are 0 there. Work in logs"
        assert_close(got, np.full(3, want), atol=1e-15, what="probability_of_data 100 to a million away")
    one, x = np.zeros((1, 2)), np.array([[50.0, 0.0], [1e2, 3.0], [-1e3, 0.0]])  # p down to exp(-500,000)
    got = noise_contrastive.probability_of_data(x, one, true_c(one), lambda x: log_sum(x, one) - true_c(one), 4.0)
    mistakes = {"are p and p_n floored or clipped, where both are tiny?": np.full(3, 0.5)}
    assert_close(got, np.full(3, 0.2), rtol=1e-6, what="probability_of_data where p = p_n", mistakes=mistakes)


def test_probability_of_data_keeps_the_digits_of_small_probabilities():
    """20 to 30 from the means h is 1e-60 to 1e-140: the same as mpmath's exp(G), to 10 digits."""
    x = np.array([[-20.0, 0.0], [25.0, 3.0], [0.0, 30.0]])
    logs = log_sum(x, CORNERS) - true_c(CORNERS) - WIDE.logpdf(x)
    want = [float(1 / (1 + mpmath.exp(-g))) for g in logs]
    got = noise_contrastive.probability_of_data(x, CORNERS, true_c(CORNERS), WIDE.logpdf, 1.0)
    assert_close(np.log(np.maximum(got, 1e-320)), np.log(want), rtol=SHARP, what="log h far away")


# The objective


def mistakes_in_value(p):
    """What people compute when they mean J, and why."""
    a, b, nu = odds(p, p.data), odds(p, p.noise), p.ratio
    shift, right = math.log(nu), value(odds(p, p.data), odds(p, p.noise), nu)
    sigma = special.log_expit
    found = {
        "is log ν forgotten in h?": value(a + shift, b + shift, nu),
        "is log ν added in h, where it is to be taken off?": value(a + 2 * shift, b + 2 * shift, nu),
        "is the noise's mean not multiplied by ν?": value(a, b, 1),
        "is the ratio there twice? A sum over the noise divided by n has it already": np.mean(sigma(a))
        + nu * np.sum(sigma(-b)) / len(a),
        "is the noise's sum divided by n, and not by its own number? It need not be νn": np.mean(sigma(a))
        + np.sum(sigma(-b)) / len(a),
        "is this one mean over all points? It should be one mean a sample": (np.sum(sigma(a)) + np.sum(sigma(-b)))
        / (len(a) + len(b)),
        "are these sums, not means?": np.sum(sigma(a)) + np.sum(sigma(-b)),
        "are these sums, not means, of the data and ν times the noise?": np.sum(sigma(a)) + nu * np.sum(sigma(-b)),
        "is this -J, which a minimiser wants? J is to be maximised": -right,
        "are p and p_n exchanged in h?": value(-a - 2 * shift, -b - 2 * shift, nu),
        "are data and noise exchanged: log h for the noise, log(1 - h) for the data?": value(-a, -b, nu),
        "is it log h for both samples? The noise's is log(1 - h)": value(a, -b, nu),
        "is the model normalised twice, by its true constant and by log_normaliser?": value(
            a - true_c(p.means), b - true_c(p.means), nu
        ),
        "is log_normaliser ignored?": value(a + p.c, b + p.c, nu),
        "is log_normaliser replaced by its true value?": value(
            a + p.c - true_c(p.means), b + p.c - true_c(p.means), nu
        ),
        "is log_normaliser added, where it is to be taken off?": value(a + 2 * p.c, b + 2 * p.c, nu),
        "is Z taken off, not its logarithm?": value(a + p.c - math.exp(p.c), b + p.c - math.exp(p.c), nu),
        "is this the log-likelihood, without the noise?": np.mean(sigma(a)),
        "is it h and 1 - h, without the logarithms?": np.mean(special.expit(a)) + nu * np.mean(special.expit(-b)),
    }
    return {why: wrong for why, wrong in found.items() if not np.isclose(wrong, right, rtol=1e-6)}


@shapes
def test_objective_is_the_mean_log_probability_of_being_right(rng, shape):
    """J = mean log h + ν mean log(1 − h), written down as on paper, where nothing overflows."""
    p = a_problem(rng, shape)
    h_data, h_noise = (
        1 / (1 + p.ratio * np.exp(p.log_noise(x)) / np.exp(log_sum(x, p.means) - p.c)) for x in (p.data, p.noise)
    )
    want = np.mean(np.log(h_data)) + p.ratio * np.mean(np.log(1 - h_noise))
    assert_close(ask(p)[0], want, rtol=1e-9, what=f"J of {shape}", mistakes=mistakes_in_value(p))


def mistakes_in_gradient(p):
    """What people compute when they mean the gradient, and why."""
    s_data, s_noise, nu = slopes(p.data, p.means), slopes(p.noise, p.means), p.ratio
    h_data, h_noise = special.expit(odds(p, p.data)), special.expit(odds(p, p.noise))
    push, pull = (1 - h_data) @ s_data / len(h_data), h_noise @ s_noise / len(h_noise)
    right = push - nu * pull
    k, d = p.means.shape

    def ends(x):
        return np.column_stack([(x[:, None] - p.means).reshape(len(x), -1), -np.ones(len(x))])

    bare_data, bare_noise = ends(p.data), ends(p.noise)
    last = np.append(np.ones(k * d), -1)
    g_data, g_noise = (special.expit(odds(p, x, 0.0)) for x in (p.data, p.noise))
    found = {
        "is the gradient that of -J? It should point uphill": -right,
        "is the entry of the normaliser missing?": right[:-1],
        "is the entry of the normaliser always 0? It is learnt too": np.append(right[:-1], 0.0),
        "is the sign of the normaliser's entry reversed? log p falls with it": right * last,
        "is the sign of all but the normaliser's entry reversed: a gradient in x, not in the means?": -right * last,
        "are the responsibilities forgotten?": (1 - h_data) @ bare_data / len(h_data)
        - nu * h_noise @ bare_noise / len(h_noise),
        "is it h for 1 - h, and the reverse?": h_data @ s_data / len(h_data)
        - nu * (1 - h_noise) @ s_noise / len(h_noise),
        "is the noise's part not multiplied by ν?": push - pull,
        "is the ratio there twice?": push - nu * h_noise @ s_noise / len(h_data),
        "is the noise's sum divided by n?": push - h_noise @ s_noise / len(h_data),
        "is the noise's part added, where it is to be taken off?": push + nu * pull,
        "is the noise's part missing?": push,
        "are these sums, not means?": push * len(h_data) - nu * pull * len(h_noise),
        "are these sums, not means, the noise's unweighted?": push * len(h_data) - pull * len(h_noise),
        "is this one mean over all points?": (push * len(h_data) - pull * len(h_noise)) / (len(h_data) + len(h_noise)),
        "is log ν forgotten in h?": (1 - g_data) @ s_data / len(h_data) - nu * g_noise @ s_noise / len(h_noise),
        "are the means raveled column by column, not row by row?": np.append(
            right[:-1].reshape(k, d).ravel(order="F"), right[-1]
        ),
        "does the normaliser's entry stand first? It comes after the means": np.roll(right, 1),
        "are the weights 1 - h and h missing: is it the slope of the log-likelihood?": s_data.mean(axis=0)
        - nu * s_noise.mean(axis=0),
    }
    return {
        why: wrong
        for why, wrong in found.items()
        if np.shape(wrong) != np.shape(right) or not np.allclose(wrong, right, rtol=1e-6)
    }


@pytest.mark.claim("prop-nce-gradient", kind="automatic differentiation")
@shapes
def test_objective_has_the_gradient_of_its_value(rng, shape):
    """mean (1−h)s − ν mean h s is PyTorch's gradient of J in the means, row by row, and c, for m ≠ νn too."""
    p = a_problem(rng, shape)
    got = ask(p)[1]
    want = torch_gradient(p)
    assert_close(got, want, rtol=1e-9, atol=1e-12, what=f"the gradient of {shape}", mistakes=mistakes_in_gradient(p))


@pytest.mark.claim("prop-nce-gradient", kind="symbolic")
def test_objective_has_the_gradient_that_sympy_finds():
    """For two means on a line, one datum and one noise point, sympy differentiates log h and ν log(1 − h)."""
    m1, m2, c = symbols = sympy.symbols("m1 m2 c", real=True)
    x, y, nu = sympy.Rational(1, 2), sympy.Rational(-3, 4), sympy.Integer(3)
    noise = sympy.Rational(1, 5)  # p_n at both points

    def h(at):
        model = (sympy.exp(-((at - m1) ** 2) / 2) + sympy.exp(-((at - m2) ** 2) / 2)) * sympy.exp(-c)
        return model / (model + nu * noise)

    j = sympy.log(h(x)) + nu * sympy.log(1 - h(y))
    where = {m1: sympy.Rational(1, 3), m2: sympy.Rational(-2), c: sympy.Rational(5, 4)}
    want = [float(sympy.diff(j, symbol).subs(where)) for symbol in symbols]
    got = noise_contrastive.objective(
        np.array([[1 / 3], [-2.0]]),
        1.25,
        np.array([[0.5]]),
        np.array([[-0.75]]),
        lambda x: np.full(len(x), -np.log(5)),
        3,
    )
    assert_close(got[0], float(j.subs(where)), rtol=SHARP, what="J")
    assert_close(got[1], want, rtol=SHARP, what="the gradient")


@pytest.mark.parametrize("away", [40.0, 1e3, 1e6])
def test_objective_is_finite_far_away(away):
    """With a datum, a noise point or a mean far off, J is mpmath's and its slope PyTorch's: nothing overflows."""
    means, law = np.array([[0.0, 0.0], [3.0, 1.0]]), stats.multivariate_normal([1.0, 1.0], [[0.5, 0.0], [0.0, 9.0]])
    near, far = np.array([[0.5, 1.0], [2.0, 0.0]]), np.array([[away, 0.0], [1.0, -away]])
    cases = {
        "a datum": Problem(means, 1.0, np.vstack([near, far]), near, law.logpdf, 2.0),
        "noise": Problem(means, 1.0, near, np.vstack([near, far]), law.logpdf, 2.0),
        "a mean": Problem(means + np.array([[away, 0], [0, 0]]), 1.0, near, near, law.logpdf, 2.0),
        "all means": Problem(means + away, 1.0, near, near + 1, law.logpdf, 2.0),
    }
    for what, p in cases.items():
        softplus = [
            [mpmath.log1p(mpmath.exp(mpmath.mpf(float(-sign * g)))) for g in odds(p, x)]
            for sign, x in ((1, p.data), (-1, p.noise))
        ]
        want = -float(sum(softplus[0]) / len(p.data) + p.ratio * sum(softplus[1]) / len(p.noise))
        with np.errstate(all="ignore"):
            got, gradient = ask(p)
        message = f"with {what} {away:g} away J is {got}: log h or log(1 - h) of an h that is 0 or 1. Work in logs"
        assert math.isfinite(got), message
        clipped = "is h kept away from 0 and 1 by a small number, which bounds J?"
        assert_close(got, want, rtol=1e-9, what=f"J with {what} {away:g} away (if it is too near 0: {clipped})")
        bad = f"with {what} {away:g} away the gradient is not finite: {gradient}. Do the weights overflow? Work in logs"
        assert np.isfinite(gradient).all(), bad
        assert_close(gradient, torch_gradient(p), rtol=1e-9, atol=1e-12, what=f"the gradient with {what} {away:g} away")


def test_objective_warns_of_nothing_far_away():
    """A noise point where p is e^3000 times p_n gives no warning: nothing overflows on the way."""
    law = stats.multivariate_normal([0.0], [[0.01]])
    p = Problem(np.array([[8.0]]), 1.0, np.array([[0.0], [8.0]]), np.array([[9.0]]), law.logpdf, 1)
    got, gradient = ask(p)  # a warning is an error here
    assert_close(got, value(odds(p, p.data), odds(p, p.noise), 1), rtol=1e-9, what="J")
    assert_close(gradient, torch_gradient(p), rtol=1e-9, atol=1e-12, what="the gradient")


def test_objective_takes_means_over_each_sample(rng):
    """Each datum twice, or each noise point three times, changes neither J nor its slope; nor does their order."""
    p = a_problem(rng, "three means in the plane")
    got, gradient = ask(p)
    for what, changed in {
        "each datum twice": {"data": np.repeat(p.data, 2, axis=0)},
        "each noise point three times": {"noise": np.tile(p.noise, (3, 1))},
        "in another order": {"data": p.data[::-1], "noise": p.noise[::-1]},
    }.items():
        other, slope = ask(p, **changed)
        assert_close(other, got, rtol=SHARP, what=f"J with {what} (are these sums, or is one count used for both?)")
        assert_close(slope, gradient, rtol=SHARP, atol=SHARP, what=f"the gradient with {what}")


def test_objective_of_one_point_each_and_one_mean():
    """One datum, one noise point, one mean: J = log σ(a) + ν log σ(−b), the slope by hand."""
    law = stats.multivariate_normal([0.0, 0.0], 2 * np.eye(2))
    x, y, mean = np.array([[1.0, 2.0]]), np.array([[-1.0, 0.5]]), np.array([[0.5, 0.0]])
    a, b = (float(-0.5 * np.sum((z - mean) ** 2) - 1.5 - law.logpdf(z) - math.log(0.4)) for z in (x, y))
    got, gradient = noise_contrastive.objective(mean, 1.5, x, y, law.logpdf, 0.4)
    assert_close(got, special.log_expit(a) + 0.4 * special.log_expit(-b), rtol=SHARP, what="J")
    pushes = special.expit(-a) * np.append(x - mean, -1) - 0.4 * special.expit(b) * np.append(y - mean, -1)
    assert_close(gradient, pushes, rtol=SHARP, what="the gradient")


def test_objective_of_any_kind_of_array(rng):
    """Integers, float32, read-only, every second row, Fortran order: J and slope are those of plain floats."""
    means, data, noise = (rng.integers(-3, 4, (n, 2)) for n in (3, 8, 6))
    means = means + np.arange(3)[:, None] * 10 // 3
    p = Problem(means.astype(float), 1.0, data.astype(float), noise.astype(float), SKEW.logpdf, 2.0)
    want, slope = value(odds(p, p.data), odds(p, p.noise), 2.0), torch_gradient(p)

    def read_only(x):
        x = x.astype(float)
        x.flags.writeable = False
        return x

    kinds = {
        "integers": lambda x: x,
        "float32": lambda x: x.astype(np.float32),
        "read-only arrays": read_only,
        "every second row": lambda x: np.repeat(x.astype(float), 2, axis=0)[::2],
        "Fortran order": lambda x: np.asfortranarray(x.astype(float)),
        "a transpose's transpose": lambda x: np.ascontiguousarray(x.astype(float).T).T,
    }
    for kind, make in kinds.items():
        got, gradient = noise_contrastive.objective(make(means), 1, make(data), make(noise), SKEW.logpdf, 2)
        assert_close(got, want, rtol=SHARP, what=f"J of {kind}")
        assert_close(gradient, slope, rtol=SHARP, atol=SHARP, what=f"the gradient of {kind}")
        h = noise_contrastive.probability_of_data(make(data), make(means), 1, SKEW.logpdf, 2)
        assert_close(h, special.expit(odds(p, p.data)), rtol=SHARP, what=f"probability_of_data of {kind}")
        best = noise_contrastive.best_log_normaliser(make(means), make(data), make(noise), SKEW.logpdf, 2)
        assert_close(best, best_by_roots(p), rtol=0, atol=1e-10, what=f"best_log_normaliser of {kind}")

    p = p._replace(means=p.means + 0.25, c=1.5, noise=p.noise + 1 / 3, ratio=0.75)
    got, gradient = ask(p, data=data)
    want, slope = value(odds(p, p.data), odds(p, p.noise), p.ratio), torch_gradient(p)
    hint = "is one made of the other's type, and rounded?"
    assert_close(got, want, rtol=SHARP, what=f"J of whole numbers for data, and fractions for noise ({hint})")
    assert_close(gradient, slope, rtol=SHARP, atol=SHARP, what="the gradient for such data and noise")
    best = noise_contrastive.best_log_normaliser(p.means, data, p.noise, p.log_noise, p.ratio)
    assert_close(best, best_by_roots(p), rtol=0, atol=1e-10, what="best_log_normaliser of such data and noise")


def test_objective_changes_nothing_and_remembers_nothing(rng):
    """Its arguments are as they were; and when they are changed in place, the next answer is another."""
    p = a_problem(rng, "four means in the plane")
    kept = [np.array(part) for part in (p.means, p.data, p.noise)]
    ask(p)
    noise_contrastive.best_log_normaliser(p.means, p.data, p.noise, p.log_noise, p.ratio)
    noise_contrastive.probability_of_data(p.data, p.means, p.c, p.log_noise, p.ratio)
    for name, before, now in zip(("means", "data", "noise"), kept, (p.means, p.data, p.noise), strict=True):
        assert np.array_equal(before, now), f"{name} was changed"
    for array in (p.means, p.data, p.noise):
        array += 0.5
        want, slope = value(odds(p, p.data), odds(p, p.noise), p.ratio), torch_gradient(p)
        got, gradient = ask(p)
        assert_close(got, want, rtol=1e-9, what="J after an argument was changed in place")
        assert_close(gradient, slope, rtol=1e-9, atol=1e-12, what="the gradient after an argument was changed in place")
    gradient[:] = 0
    assert_close(ask(p)[1], slope, rtol=1e-9, atol=1e-12, what="the gradient after the last one was overwritten")


# What the objective is highest at


def enumerated(rng):
    """A finite world: points, how often each is data and how often noise, so that samples are laws exactly."""
    x = np.array([[-1.0], [0.0], [0.7], [2.0], [3.5]])
    of_data, of_noise = rng.integers(1, 6, len(x)), rng.integers(1, 6, len(x))
    return x, of_data, of_noise


@pytest.mark.claim("thm-nce-population")
@pytest.mark.parametrize("ratio", [0.3, 1.0, 5.0])
def test_objective_falls_short_by_the_divergence_of_two_coins(rng, ratio):
    """On a finite set, J(log p_d) − J(g) = (1+ν) E_pool KL(Bernoulli(h*) ‖ Bernoulli(h)), by enumeration."""
    x, of_data, of_noise = enumerated(rng)
    data, noise = np.repeat(x, of_data, axis=0), np.repeat(x, of_noise, axis=0)
    pd, pn = of_data / of_data.sum(), of_noise / of_noise.sum()

    def log_noise(at):
        return np.log(pn[np.argmin(np.abs(at - x.T), axis=1)])

    highest = pd @ np.log(pd / (pd + ratio * pn)) + ratio * pn @ np.log(ratio * pn / (pd + ratio * pn))
    for means, c in (([[0.0]], 1.0), ([[0.0], [2.0]], 0.3), ([[-1.0], [1.0], [5.0]], -0.5)):
        means = np.array(means)
        best, model = pd / (pd + ratio * pn), np.exp(log_sum(x, means) - c)
        h = model / (model + ratio * pn)
        divergence = best * np.log(best / h) + (1 - best) * np.log((1 - best) / (1 - h))
        want = (pd + ratio * pn) @ divergence  # (1+ν) times the pool's mean
        assert want > 0
        got = noise_contrastive.objective(means, c, data, noise, log_noise, ratio)[0]
        assert_close(highest - got, want, rtol=1e-9, what="J(log p_d) - J(log p)")


@pytest.mark.claim("thm-nce-population", kind="symbolic")
def test_objective_of_a_function_is_highest_at_the_log_density():
    """sympy, at one point with any p_d, p_n, ν: the slope in g is 0 at g = log p_d alone, the bend −νp_d p_n/(...)."""
    g = sympy.symbols("g", real=True)
    pd, pn, nu, p = sympy.symbols("p_d p_n nu p", positive=True)
    h = sympy.exp(g) / (sympy.exp(g) + nu * pn)
    j = pd * sympy.log(h) + nu * pn * sympy.log(1 - h)
    slope = sympy.simplify(sympy.diff(j, g).subs(g, sympy.log(p)))
    assert sympy.solve(slope, p) == [pd]
    bend = sympy.diff(j, g, 2).subs(g, sympy.log(p))
    assert sympy.simplify(bend + (pd + nu * pn) * nu * pn * p / (p + nu * pn) ** 2) == 0  # negative for every p

    best = pd / (pd + nu * pn)
    gap = j.subs(g, sympy.log(pd)) - j.subs(g, sympy.log(p))
    at = p / (p + nu * pn)
    divergence = best * sympy.log(best / at) + (1 - best) * sympy.log((1 - best) / (1 - at))
    difference = sympy.expand_log(gap - (pd + nu * pn) * divergence, force=True)
    assert sympy.simplify(sympy.expand_log(sympy.simplify(difference), force=True)) == 0


@pytest.mark.claim("thm-nce-population")
def test_objective_needs_noise_where_there_are_data():
    """Where p_n = 0 the datum adds log 1 = 0 to J whatever g is there: J does not tell two models apart."""
    pd, nu = np.array([0.5, 0.5]), 2.0
    pn = np.array([1.0, 0.0])

    def j(model):
        with np.errstate(divide="ignore"):
            of_noise = np.where(pn > 0, np.log(nu * pn / (model + nu * pn)), 0.0)
        return pd @ np.log(model / (model + nu * pn)) + nu * pn @ of_noise

    assert_close(j(np.array([0.5, 0.1])), j(np.array([0.5, 0.5])), rtol=1e-12, what="J of another density out there")
    assert j(np.array([0.4, 0.5])) < j(np.array([0.5, 0.5]))


def population(means, truth, law, ratio, c=None):
    """J over the laws themselves, by quadrature."""
    nodes, weight = grid(truth, reach=12.0)
    data, noise = np.exp(log_sum(nodes, truth) - true_c(truth)), np.exp(np.ravel(law.logpdf(nodes)))
    g = log_sum(nodes, means) - (true_c(means) if c is None else c) - np.ravel(law.logpdf(nodes)) - math.log(ratio)
    return weight * (data @ special.log_expit(g) + ratio * noise @ special.log_expit(-g))


@pytest.mark.claim("thm-nce-consistency")
def test_objective_of_the_population_is_highest_at_the_truth_and_its_relabellings():
    """By quadrature J over (μ₁, μ₂, c) on a grid is below that of the truth, but for the two orders of the means."""
    highest = population(PAIR, PAIR, LINE, 2.0)
    assert_close(population(PAIR[::-1], PAIR, LINE, 2.0), highest, rtol=1e-12, what="J of the truth relabelled")
    steps = np.linspace(-2, 6, 9)
    for first, second, shift in itertools.product(steps, steps, [-0.5, 0.0, 0.5]):
        if (min(first, second), max(first, second), shift) != (0.0, 4.0, 0.0):
            other = population(np.array([[first], [second]]), PAIR, LINE, 2.0, true_c(PAIR) + shift)
            assert other < highest - 1e-4, (first, second, shift)


def bells(means, degree):
    """The values on a grid of all x^a exp(-|x - μᵢ|²/2), |a| ≤ degree: columns of length one."""
    nodes, _ = grid(means, reach=4.0, spacing=1 / 3)
    powers = [a for a in itertools.product(range(degree + 1), repeat=means.shape[1]) if sum(a) <= degree]
    columns = [
        np.prod((nodes - means.mean(0)) ** np.array(a), axis=1) * np.exp(-0.5 * np.sum((nodes - mean) ** 2, axis=1))
        for mean in means
        for a in powers
    ]
    return np.column_stack([column / np.linalg.norm(column) for column in columns])


@pytest.mark.claim("lem-nce-independent")
@pytest.mark.parametrize("degree", [1, 2])
@laws
def test_objective_rests_on_bells_that_are_independent(name, degree):
    """Polynomials times bells at different centres have full rank on a grid; with one centre twice they have not."""
    means, _ = LAWS[name]
    values = np.linalg.svd(bells(means, degree), compute_uv=False)
    assert values[-1] > 1e-8 * values[0], f"singular values from {values[0]:.3g} to {values[-1]:.3g}"
    values = np.linalg.svd(bells(np.vstack([means, means[:1]]), degree), compute_uv=False)
    assert values[-1] < 1e-13 * values[0]


@pytest.mark.claim("thm-nce-consistency")
@laws
def test_objective_of_the_population_is_level_at_the_truth(name):
    """The population's gradient is 0 at the truth, and its Hessian −M negative definite, by autodiff of quadrature."""
    t = theory(name, 2.0)
    assert_close(t.gradient, np.zeros_like(t.gradient), atol=1e-10, what="the population's gradient at the truth")
    assert np.linalg.eigvalsh(t.hessian)[0] > 1e-3
    assert_close(t.hessian, t.m, rtol=1e-8, atol=1e-9, what="minus the Hessian, against E[(1-h) s sᵀ]")


@pytest.mark.claim("prop-nce-likelihood")
def test_objective_becomes_the_likelihood_as_noise_grows():
    """J + log ν + mean log p_n → mean log p − ∫p, with error (½∫p²/p_n − mean p/p_n)/ν: noise on a grid is its law."""
    data = np.array([[-0.3], [1.1], [3.7], [4.2], [5.0]])
    low, high, spacing = -14.0, 18.0, 1 / 8
    noise = np.arange(low, high, spacing)[:, None]  # uniform on [low, high): its mean is the trapezoid rule

    def log_noise(x):
        return np.full(len(x), -math.log(high - low))

    for means, c in ((PAIR, true_c(PAIR)), (TRIPLE, 0.4)):
        model = np.exp(log_sum(noise, means) - c)
        at_data = log_sum(data, means) - c
        limit = at_data.mean() - spacing * model.sum()
        times = [np.exp(at_data) * (high - low), model * (high - low)]  # p/p_n, at the data and at the noise
        first = (times[1] ** 2).mean() / 2 - times[0].mean()
        second = (times[1] ** 3).mean() / 3 + (times[0] ** 2).mean() / 2
        for ratio in (1e4, 1e6):
            j = noise_contrastive.objective(means, c, data, noise, log_noise, ratio)[0]
            # the series of log(1 + q), q = p/(ν p_n), alternates; and J is summed to 1e-15 or so
            got = ratio * (j + math.log(ratio) - math.log(high - low) - limit)
            assert_close(
                got, first, rtol=0, atol=second / ratio + 1e-12 * ratio, what=f"ν times the error at ν = {ratio:g}"
            )


@pytest.mark.claim("prop-nce-likelihood")
def test_best_log_normaliser_becomes_the_true_one_as_noise_grows():
    """As ν → ∞ the best c tends to log ∫ p~, where J, so shifted, is the mean log-likelihood less 1."""
    data, low, high = np.array([[-0.3], [1.1], [3.7], [4.2]]), -14.0, 18.0
    noise = np.arange(low, high, 1 / 8)[:, None]

    def log_noise(x):
        return np.full(len(x), -math.log(high - low))

    for means in (PAIR, TRIPLE):
        gaps = []
        for ratio in (1e3, 1e5):
            c = noise_contrastive.best_log_normaliser(means, data, noise, log_noise, ratio)
            j = noise_contrastive.objective(means, c, data, noise, log_noise, ratio)[0]
            likelihood = np.mean(log_sum(data, means)) - true_c(means)
            gaps.append([c - true_c(means), j + math.log(ratio) - math.log(high - low) - (likelihood - 1)])
        # p/p_n is at most 13: both errors are of order 13/ν
        assert np.abs(gaps[0]).max() < 0.05, gaps
        assert_close(np.array(gaps[1]) * 100, gaps[0], rtol=0.05, what="the errors at ν = 1e5, a hundred times")


# The best normaliser


def best_by_roots(p):
    """The root of mean(1 − h) = ν mean h, by bisection on scipy's expit, on no interval of the module's."""
    a, b = odds(p._replace(c=0.0), p.data), odds(p._replace(c=0.0), p.noise)

    def slope(c):
        return p.ratio * np.mean(special.expit(b - c)) - np.mean(special.expit(c - a))

    edge = 50 + np.abs(np.concatenate([a, b])).max() + abs(math.log(p.ratio))
    return optimize.bisect(slope, -edge, edge, xtol=1e-13, maxiter=500)


@pytest.mark.claim("prop-nce-normaliser")
@shapes
def test_best_log_normaliser_is_the_root_of_the_balance(rng, shape):
    """There mean(1 − h) over the data is ν mean h over the noise: bisection finds it, and J is less on either side."""
    p = a_problem(rng, shape)
    want = best_by_roots(p)
    a, b = odds(p._replace(c=0.0), p.data, 0.0), odds(p._replace(c=0.0), p.noise, 0.0)
    mistakes = {
        "is this the true log-normaliser, whatever the data?": true_c(p.means),
        "is this the estimate by importance sampling, log mean p~/p_n over the noise?": special.logsumexp(b)
        - math.log(len(b)),
        "is the sign reversed?": -want,
        "is this Z, not its logarithm?": math.exp(want),
        "is log ν forgotten?": best_by_roots(p._replace(log_noise=lambda x: p.log_noise(x) - math.log(p.ratio))),
        "is ν there once only, in h or before the mean?": np.nan,
        "is this the mean of log p~ - log p_n over all points?": np.concatenate([a, b]).mean(),
        "is this the mean of log p~ - log p_n over the data?": a.mean(),
    }
    c = noise_contrastive.best_log_normaliser(p.means, p.data, p.noise, p.log_noise, p.ratio)
    assert_close(c, want, rtol=0, atol=1e-10, what=f"best_log_normaliser of {shape}", mistakes=mistakes)
    highest = ask(p, c=c)[0]
    for other in (c - 1, c - 1e-3, c + 1e-3, c + 1):
        assert ask(p, c=other)[0] < highest, f"J at {other} is not below J at best_log_normaliser, {c}"
    assert_close(ask(p, c=c)[1][-1], 0.0, atol=1e-11, what="the slope in c at best_log_normaliser")


@pytest.mark.claim("prop-nce-normaliser")
@shapes
def test_best_log_normaliser_is_the_only_top_of_a_concave_curve(rng, shape):
    """On a grid of c from −20 to 20 the slope in c falls strictly, from at most ν to at least −1."""
    p = a_problem(rng, shape)
    cs = np.linspace(-20, 20, 161)
    values, gradients = zip(*[ask(p, c=c) for c in cs], strict=True)
    last = np.array([gradient[-1] for gradient in gradients])
    assert np.all(np.diff(last) < 0), "the slope in c does not fall everywhere: J is not concave in c"
    assert np.all(np.diff(values, 2) < 0), "J is not concave in c"
    assert 0 < last[0] <= p.ratio, f"the slope in c tends to ν = {p.ratio} far to the left, got {last[0]}"
    assert -1 <= last[-1] < 0, f"the slope in c tends to -1 far to the right, got {last[-1]}"
    c = noise_contrastive.best_log_normaliser(p.means, p.data, p.noise, p.log_noise, p.ratio)
    between = np.concatenate([odds(p._replace(c=0.0), x, 0.0) for x in (p.data, p.noise)])
    assert between.min() <= c <= between.max()


@pytest.mark.claim("prop-nce-normaliser")
def test_best_log_normaliser_makes_the_probabilities_add_up(rng):
    """With m = νn, the probabilities of being data sum to n over all n + m points."""
    p = a_problem(rng, "four means in the plane")
    c = noise_contrastive.best_log_normaliser(p.means, p.data, p.noise, p.log_noise, p.ratio)
    pool = np.concatenate([p.data, p.noise])
    h = noise_contrastive.probability_of_data(pool, p.means, c, p.log_noise, p.ratio)
    assert_close(h.sum(), len(p.data), rtol=1e-10, what="the sum of h over the pool")


@pytest.mark.claim("prop-nce-normaliser")
def test_best_log_normaliser_of_two_points_is_halfway():
    """With one datum, one noise point and ν = 1 it is the mean of their log p~ − log p_n, however far these are."""
    for x, y in ((0.5, 1.5), (-40.0, 3.0), (1e3, 2.0), (5.0, -2e4), (2.0, 2.0), (-60.0, -60.5), (3e3, 3e3 + 1 / 64)):
        p = Problem(TRIPLE, 0.0, np.array([[x]]), np.array([[y]]), LINE.logpdf, 1)
        want = 0.5 * (odds(p, p.data) + odds(p, p.noise))[0]
        got = noise_contrastive.best_log_normaliser(TRIPLE, p.data, p.noise, LINE.logpdf, 1)
        assert np.isfinite(got), f"best_log_normaliser is {got} with points at {x} and {y}: does something overflow?"
        # where they are 10⁵ apart, h is 0 or 1 to a float for most c between
        if abs(odds(p, p.data) - odds(p, p.noise))[0] < 60:
            hint = "is it searched for in an interval of your own?"
            assert_close(got, want, rtol=1e-11, atol=1e-11, what=f"best_log_normaliser of {x} and {y} ({hint})")
        else:
            ends = sorted([odds(p, p.data)[0], odds(p, p.noise)[0]])
            assert ends[0] <= got <= ends[1], f"best_log_normaliser of {x} and {y} is {got}, not within {ends}"


def test_best_log_normaliser_where_model_and_noise_agree(rng):
    """Where p~ = e³ p_n at every point it is 3 − log of nothing: 3, for every ν and every sample."""
    law = Mixture(OTHERS)
    data, noise = draw(rng, OTHERS, 7), draw(rng, OTHERS, 4)
    for ratio in (0.1, 1, 30):
        got = noise_contrastive.best_log_normaliser(
            OTHERS, data, noise, lambda x: law.logpdf(x) + true_c(OTHERS) - 3.0, ratio
        )
        assert_close(got, 3.0, rtol=1e-10, what=f"best_log_normaliser with ratio={ratio}")


# One fit


def fitted(rng, means, n, law, normaliser, ratio=1, start=None):
    """A fit from the truth, and the problem that it has solved, at its solution."""
    data, noise = draw(rng, means, n), Recorded(law)
    fit = noise_contrastive.fit(
        rng, data, start=np.array(means) if start is None else start, noise=noise, ratio=ratio, normaliser=normaliser
    )
    assert noise.draws, "no noise was drawn from the law that was given: is the argument `noise` ignored?"
    return fit, Problem(fit.means, fit.log_normaliser, data, noise.points(means.shape[1]), law.logpdf, ratio)


@normalisers
@laws
@pytest.mark.parametrize("ratio", [1, 3])
def test_fit_is_a_maximum_for_the_noise_it_drew(rng, name, normaliser, ratio):
    """Of the very noise it drew, Newton's step by PyTorch is below 2e-8 and the Hessian negative definite."""
    means, law = LAWS[name]
    fit, p = fitted(rng, means, 300, law, normaliser, ratio)
    assert len(p.noise) == 300 * ratio, (
        f"{len(p.noise)} points of noise were drawn for 300 data, should be {300 * ratio}"
    )
    if normaliser == KNOWN:
        mistakes = {"is the normaliser learnt, though it is known?": best_by_roots(p)}
        got = fit.log_normaliser
        assert_close(got, true_c(means), rtol=1e-14, what="the known log_normaliser", mistakes=mistakes)
    else:
        learnt = abs(fit.log_normaliser - true_c(means)) > 1e-9
        assert learnt, "log_normaliser is its true value, to 1e-9: with normaliser='unknown' it is learnt"
    step, down = newton_step(p, normaliser)
    assert down, "the fit is no maximum of J: its Hessian is not negative definite there"
    largest = np.abs(step).max()
    message = f"Newton's next step would move a parameter by {largest:.2g}: the fit is not where the gradient is 0"
    assert fit.converged, f"the fit from the truth says that it has not converged; {message}"
    assert largest <= STEP, message


@normalisers
def test_fit_is_what_scipy_finds(rng, normaliser):
    """From the truth, scipy's trust-exact on PyTorch's J, gradient and Hessian ends at the same point."""
    fit, p = fitted(rng, OTHERS, 400, SKEW, normaliser)
    objective, _ = torch_objective(p)
    free = OTHERS.size + (normaliser == UNKNOWN)
    full = np.append(OTHERS.ravel(), true_c(OTHERS))

    def at(theta):
        return torch.tensor(np.concatenate([theta, full[free:]]))

    end = optimize.minimize(
        lambda theta: -float(objective(at(theta))),
        full[:free],
        jac=lambda theta: -torch.func.grad(objective)(at(theta)).numpy()[:free],
        hess=lambda theta: -torch.func.jacrev(torch.func.grad(objective))(at(theta)).numpy()[:free, :free],
        method="trust-exact",
        options={"gtol": 1e-9},
    )
    want = np.concatenate([end.x, full[free:]])
    got = np.append(fit.means.ravel(), fit.log_normaliser)
    assert_close(got, want, rtol=0, atol=1e-6, what=f"the fit with {normaliser} normaliser")


@normalisers
def test_fit_keeps_the_labels_of_its_start(rng, normaliser):
    """Begun at the truth in another order, with the same noise, it ends at the same means in that order."""
    data, noise = draw(rng, CORNERS, 400), Given(WIDE.rvs(400, random_state=rng), WIDE)
    order = [2, 0, 3, 1]
    first, second = (
        noise_contrastive.fit(rng, data, start=start, noise=noise, normaliser=normaliser)
        for start in (CORNERS, CORNERS[order])
    )
    mistakes = {
        "are the means put into an order of their own? The start's labels are kept": first.means[
            np.lexsort(first.means.T[::-1])
        ],
        "was the start ignored, or the means matched with something?": first.means,
    }
    what = "the means from the truth relabelled"
    assert_close(second.means, first.means[order], rtol=0, atol=1e-6, what=what, mistakes=mistakes)
    assert_close(second.log_normaliser, first.log_normaliser, rtol=0, atol=1e-6, what="log_normaliser")


def test_fit_goes_uphill_from_the_start_it_is_given(rng):
    """Of clusters at 0, 20 and 24 a start with two means at 0 stays so, below the highest J, one at the truth too."""
    data = np.concatenate([centre + rng.standard_normal((60, 1)) for centre in (0.0, 20.0, 24.0)])
    law = stats.multivariate_normal([14.0], [[200.0]])
    noise = Given(law.rvs(180, random_state=rng)[:, None], law)
    for start, low in (([-1.0, 1.0, 22.0], 2), ([22.0, -1.0, 1.0], 2), ([24.0, 0.0, 20.0], 1)):
        start = np.array(start)[:, None]
        fit = noise_contrastive.fit(rng, data, start=start, noise=noise)
        p = Problem(start, true_c(start), data, noise.points, law.logpdf, 1)
        uphill = ask(p, means=fit.means)[0] - ask(p)[0]
        assert uphill > 0, f"from {start.ravel()} the objective falls, by {-uphill:.3g}: J is to be maximised"
        kept = np.sum(fit.means < 10) == low and np.array_equal(fit.means < 10, start < 10)
        assert kept, f"from {start.ravel()} the fit goes to {fit.means.ravel()}: was the start ignored?"


def test_fit_says_when_it_has_not_converged(rng):
    """A mean 200 from all points feels no force: its gradient is 0, yet J is flat there and not highest."""
    data = draw(rng, CORNERS, 100)
    start = np.vstack([CORNERS[:3], [[200.0, 200.0]]])
    for normaliser in (KNOWN, UNKNOWN):
        fit = noise_contrastive.fit(rng, data, start=start, noise=WIDE, normaliser=normaliser)
        message = (
            f"with a mean left at {fit.means[3]} converged is True: a gradient of 0 is no maximum "
            "where J is flat; look at the Hessian"
        )
        assert not fit.converged, message


def test_fit_calls_only_a_maximum_converged(rng):
    """Begun on an axis of symmetry of data and noise, where the top is a saddle, it may leave or stay, but must say."""
    half = np.array([3.0, 0.0]) + rng.standard_normal((50, 2))
    data = np.concatenate([half, half * [-1, 1]])
    law = stats.multivariate_normal([0.0, 0.0], 9 * np.eye(2))
    points = law.rvs(50, random_state=rng)
    points = np.concatenate([points, points * [-1, 1]])
    start = np.array([[0.0, 1.0], [0.0, -1.0]])
    fit = noise_contrastive.fit(rng, data, start=start, noise=Given(points, law))
    p = Problem(fit.means, fit.log_normaliser, data, points, law.logpdf, 1)
    step, down = newton_step(p, KNOWN)
    if fit.converged:
        assert down, (
            "converged is True at a saddle: the gradient is 0, but J rises in some direction; look at the Hessian"
        )
        assert np.abs(step).max() <= STEP


def test_fit_does_not_fail_from_random_starts(rng):
    """Of 50 runs from starts uniform on the square, n = 100, at most 4 fail: for a rate of 1/500 one suite in 10⁷."""
    failed = 0
    for _ in range(25):
        data, start = draw(rng, CORNERS, 100), rng.uniform(0, 3, (4, 2))
        for normaliser in (KNOWN, UNKNOWN):
            fit = noise_contrastive.fit(rng, data, start=start, noise=WIDE, normaliser=normaliser)
            failed += not (fit.converged and np.isfinite(fit.means).all() and np.isfinite(fit.log_normaliser))
    message = f"{failed} of 50 runs failed: an unknown normaliser is not unstable where J and its slope are exact"
    assert failed <= 4, message


@normalisers
def test_fit_from_no_start_finds_clusters_that_are_far_apart(rng, normaliser):
    """Of clusters 40 apart, 50 data each, it finds every one, to 1 = 7 standard errors: no start was given."""
    for centres in (40.0 * CORNERS / 3, np.array([[0.0], [40.0], [80.0], [120.0]])):
        k, d = centres.shape
        data = rng.permutation(np.repeat(centres, 50, axis=0) + rng.standard_normal((50 * k, d)))
        fit = noise_contrastive.fit(rng, data, noise=Mixture(centres, 1.5), normaliser=normaliser)
        assert fit.means.shape == (k, d), f"without a start there should be 4 means, got shape {fit.means.shape}"
        nearest = np.abs(fit.means[:, None] - centres).max(axis=2).min(axis=0)
        message = f"no mean is within 1 of cluster {np.argmax(nearest)}: the nearest is {nearest.max():.3g} off. "
        assert nearest.max() < 1, message + "Are the starts spread over the data?"
        assert fit.converged


def test_fit_takes_as_many_components_as_it_is_told(rng):
    """components=1, 2, 3 give so many means; data at ±20 are found by 2, their mean by 1 where J is highest."""
    data = np.concatenate([centre + rng.standard_normal((40, 2)) for centre in (-20.0, 20.0)])
    noise = Mixture([[-20.0, -20.0], [20.0, 20.0]], 2.0)
    for k in (1, 2, 3):
        fit = noise_contrastive.fit(rng, data, noise=noise, components=k)
        assert fit.means.shape == (k, 2), f"components={k} gives means of shape {fit.means.shape}"
    fit = noise_contrastive.fit(rng, data, noise=noise, components=2)
    assert_close(np.sort(fit.means[:, 0]), [-20.0, 20.0], atol=1.5, what="two means of two clusters, to 7 errors")


def test_fit_draws_as_much_noise_as_the_ratio_says(rng):
    """νn points are drawn, rounded, but never none: 20 for ν = 2 and n = 10, 3 for ν = 0.26, 1 for ν = 0.001."""
    data, start = rng.normal(0.5, 1, (10, 1)), np.zeros((1, 1))
    for ratio, count in {1: 10, 2: 20, 0.26: 3, 0.001: 1, 7.5: 75}.items():
        noise = Recorded(LINE)
        noise_contrastive.fit(rng, data, start=start, noise=noise, ratio=ratio)
        got = sum(drawn.size for drawn in noise.draws)
        assert got == count, f"with ratio={ratio} and 10 data {got} points of noise were drawn, should be {count}"


def test_fit_takes_any_law_as_noise(rng):
    """Student's t in the plane and in three dimensions, scipy's or one's own: the fit is a maximum of its J."""
    for means in (OTHERS, np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 2.0]])):
        d = means.shape[1]
        for law in (stats.multivariate_t(means.mean(0), 4 * np.eye(d), df=5), Mixture(means, 2.0)):
            fit, p = fitted(rng, means, 300, law, UNKNOWN)
            step, down = newton_step(p, UNKNOWN)
            assert down, "the fit is no maximum of J"
            assert fit.converged
            assert np.abs(step).max() <= STEP, f"Newton's next step would be {np.abs(step).max():.2g}"


def test_fit_without_noise_makes_its_own_from_the_data(rng):
    """Shifted data and start give shifted means; two means 40 apart are found to 7 standard errors of theory."""
    data = draw(rng, OTHERS, 300)
    seed = int(rng.integers(2**60))
    near, far = (
        noise_contrastive.fit(np.random.default_rng(seed), data + shift, start=OTHERS + shift, normaliser=UNKNOWN)
        for shift in (0.0, 1000.0)
    )
    assert near.converged
    assert far.converged, "data far from 0 do not converge: is the noise not where the data are?"
    assert_close(far.means - 1000, near.means, atol=1e-6, what="the means of data shifted by 1000, less 1000")

    two = np.array([[-20.0], [20.0]])
    whole = work_out(two, stats.multivariate_normal([0.0], [[401.0]]), 1)
    errors = np.sqrt(np.diag(whole.sandwich(KNOWN)) / 400)
    fit = noise_contrastive.fit(rng, draw(rng, two, 400), start=two * 0.85)
    off = np.abs(fit.means.ravel() - two.ravel()) / errors
    message = f"means 40 apart are {off.max():.1f} standard errors off: has the noise the data's covariance?"
    assert fit.converged, message
    assert off.max() < 7, message


def test_fit_without_noise_makes_it_as_correlated_as_the_data(rng):
    """Of correlated data the mean c of 12 fits without noise is that of 12 with the data's Gaussian: Student's t."""
    data = rng.standard_normal((100, 2)) @ np.array([[1.0, 0.95], [0.0, 0.3]])

    def learnt(law):
        options = {"start": np.zeros((1, 2)), "noise": law, "ratio": 20, "normaliser": UNKNOWN}
        return np.array([noise_contrastive.fit(rng, data, **options).log_normaliser for _ in range(12)])

    own, whole, apart = (
        learnt(matrix if matrix is None else stats.multivariate_normal(data.mean(axis=0), matrix))
        for matrix in (None, np.cov(data.T, ddof=0), np.diag(data.var(axis=0)))
    )
    error = math.sqrt((own.var(ddof=1) + whole.var(ddof=1)) / 12)
    found = f"the mean c is {own.mean():.3f}, with the data's own Gaussian {whole.mean():.3f}, give or take {error:.3f}"
    hint = f"; with their variances alone it is {apart.mean():.3f}: has the noise the data's covariance?"
    # 11 degrees of freedom, where the variances are as unlike as can be: one false alarm in 10⁶
    assert abs(own.mean() - whole.mean()) < stats.t.isf(5e-7, 11) * error, found + hint


def test_fit_uses_only_the_generator_it_is_given(rng):
    """The same seed gives the same fit bit for bit, another seed another; NumPy's global state is not touched."""
    data = draw(rng, OTHERS, 100)
    before = np.random.get_state()  # noqa: NPY002
    own = OTHERS.copy()  # for a fit that spoils its start
    for options in ({"start": own, "noise": SKEW}, {"noise": SKEW, "components": 3}, {"start": own}):
        first, again, other = (
            noise_contrastive.fit(np.random.default_rng(seed), data, normaliser=UNKNOWN, **options)
            for seed in (5, 5, 6)
        )
        same = np.array_equal(first.means, again.means) and first.log_normaliser == again.log_normaliser
        assert same, "two fits with the same seed differ: is there another source of randomness?"
        apart = np.sort(first.means, axis=0) - np.sort(other.means, axis=0)
        assert np.abs(apart).max() > 1e-9, "fits with different seeds agree: is the generator not used for the noise?"
    after = np.random.get_state()  # noqa: NPY002
    unchanged = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert unchanged, "NumPy's global random state was used"
    generator = np.random.default_rng(5)
    first, second = (noise_contrastive.fit(generator, data, start=OTHERS, noise=SKEW) for _ in range(2))
    assert not np.array_equal(first.means, second.means), "two fits in a row with one generator are equal"


def test_fit_of_any_kind_of_array(rng):
    """Integers, float32, read-only or non-contiguous data and starts give the fit of floats, and stay as they were."""
    data = np.round(draw(rng, OTHERS * 2, 200))
    start = np.array([[-2, 1], [5, 2], [1, 8]])
    noise = Given(SKEW.rvs(200, random_state=rng), SKEW)
    want = noise_contrastive.fit(rng, data, start=start.astype(float), noise=noise, normaliser=UNKNOWN)
    frozen = data.copy()
    frozen.flags.writeable = False
    kinds = {
        "integers": data.astype(int),
        "float32": data.astype(np.float32),
        "read-only": frozen,
        "every second row": np.repeat(data, 2, axis=0)[::2],
        "Fortran order": np.asfortranarray(data),
    }
    for kind, x in kinds.items():
        kept = x.copy()
        got = noise_contrastive.fit(rng, x, start=start, noise=noise, normaliser=UNKNOWN)
        assert_close(got.means, want.means, rtol=0, atol=1e-7, what=f"the means of {kind}")
        assert np.array_equal(x, kept), f"data ({kind}) were changed"
    assert start.tolist() == [[-2, 1], [5, 2], [1, 8]], "the start was changed"
    floats = start.astype(float)
    noise_contrastive.fit(rng, data, start=floats, noise=noise)
    assert np.array_equal(floats, start), "the start was changed"


def mean_length(covariance):
    """E|e| for e ~ N(0, C) in the plane: √(π/2), a radius's mean, times that of √(λ₁ cos² θ + λ₂ sin² θ) over θ."""
    angle = np.arange(1000) * 2 * np.pi / 1000
    first, second = np.linalg.eigvalsh(covariance)
    return math.sqrt(math.pi / 2) * np.mean(np.sqrt(first * np.cos(angle) ** 2 + second * np.sin(angle) ** 2))


@pytest.mark.claim("thm-nce-consistency")
@pytest.mark.claim("thm-nce-covariance")
def test_fit_errs_as_theory_says(rng):
    """From the truth, c known, n = 1,000, the root of n times the length of the error averages that of N(0, Cov)."""
    t, n = theory("a pair on a line", 1), 1000
    length = mean_length(t.sandwich(KNOWN))
    errors = [np.linalg.norm(fitted(rng, PAIR, n, LINE, KNOWN)[0].means - PAIR) for _ in range(100)]
    # Of order 1/n the mean differs from its limit: by less than a fiftieth of what is detected.
    assert_mean(math.sqrt(n) * np.array(errors), length, detects=0.9 * length, false_alarm=1e-7)


# What it costs


def mistakes_in_covariance(t, ratio, normaliser):
    """What people compute when they mean the asymptotic covariance, and why."""
    m, b = t.part(normaliser)
    inverse = np.linalg.inv(m)
    other = t.sandwich(UNKNOWN if normaliser == KNOWN else KNOWN)
    block = np.linalg.inv(t.m)[: len(b), : len(b)]
    a = inverse @ b
    found = {
        "is the term with b bᵀ missing? The gradient's variance is not M": inverse,
        "is the noise taken for fixed: a factor 1 where 1 + 1/ν belongs?": inverse - np.outer(a, a),
        "is the factor 1/ν, where it is 1 + 1/ν?": inverse - np.outer(a, a) / ratio,
        "is the factor 1 + ν, where it is 1 + 1/ν?": inverse - (1 + ratio) * np.outer(a, a),
        "is b bᵀ added, where it is to be taken off?": inverse + (1 + 1 / ratio) * np.outer(a, a),
        "is this M, not its inverse?": m,
        "is this the covariance of the gradient, without M⁻¹ on either side?": m - (1 + 1 / ratio) * np.outer(b, b),
        "is this the Cramér-Rao bound?": np.linalg.inv(t.fisher),
        "are known and unknown exchanged?": other,
        "is this the means' block of the unknown case? Where c is known nothing is spent on it": t.sandwich(UNKNOWN)[
            : len(b), : len(b)
        ],
        "is this the means' block of the whole M⁻¹? With c known, only the means' part of M is inverted": block,
    }
    right = t.sandwich(normaliser)
    return {
        why: wrong
        for why, wrong in found.items()
        if np.shape(wrong) != np.shape(right) or not np.allclose(wrong, right, rtol=1e-4)
    }


@pytest.mark.claim("thm-nce-covariance", kind="automatic differentiation")
@laws
@ratios
@normalisers
def test_asymptotic_covariance_is_the_sandwich(name, ratio, normaliser):
    """H⁻¹ V H⁻¹, with H and the gradient's covariance V by PyTorch and quadrature, is M⁻¹ − (1+1/ν) M⁻¹ b bᵀ M⁻¹."""
    means, law = LAWS[name]
    t = theory(name, ratio)
    got = noise_contrastive.asymptotic_covariance(means, law, ratio, normaliser)
    what = f"asymptotic_covariance of {name}, ratio={ratio}, {normaliser}"
    mistakes = mistakes_in_covariance(t, ratio, normaliser)
    assert_close(got, t.sandwich(normaliser), rtol=1e-6, atol=1e-7, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-nce-covariance")
@laws
@ratios
def test_asymptotic_covariance_rests_on_the_gradients_variance(name, ratio):
    """n Cov(∇J) at the truth is M − (1+1/ν) b bᵀ, and minus the Hessian is M; M⁻¹ b = −e_c: by quadrature."""
    t = theory(name, ratio)
    want = t.m - (1 + 1 / ratio) * np.outer(t.b, t.b)
    assert_close(t.variance, want, rtol=1e-6, atol=1e-7, what="n times the covariance of the gradient")
    last = np.append(np.zeros(len(t.b) - 1), -1.0)
    assert_close(np.linalg.solve(t.m, t.b), last, atol=1e-8, what="M⁻¹b")


@pytest.mark.claim("thm-nce-covariance")
def test_objective_has_a_gradient_that_spreads_as_theory_says(rng):
    """At the truth, 1,500 gradients of n = 200 data and 600 noise points: mean 0, mean square (M − (1+1/ν) bbᵀ)/n."""
    means, law = LAWS["three on a line"]
    n, ratio = 200, 3
    t = theory("three on a line", ratio)
    data = draw(rng, means, 1500 * n).reshape(1500, n, 1)
    noise = law.rvs(1500 * ratio * n, random_state=rng).reshape(1500, ratio * n, 1)
    c = true_c(means)
    gradients = np.array(
        [noise_contrastive.objective(means, c, x, y, law.logpdf, ratio)[1] for x, y in zip(data, noise, strict=True)]
    )
    want = np.diag(t.m - (1 + 1 / ratio) * np.outer(t.b, t.b))
    hints = {
        "the term with b bᵀ seems to be missing": np.diag(t.m),
        "the noise seems to be taken for fixed": np.diag(t.m - np.outer(t.b, t.b)),
    }
    assert_unbiased(np.sqrt(n) * gradients, 0.0, detects=0.32 * np.sqrt(want))
    assert_unbiased(n * gradients**2, want, detects=0.75 * want, hints=hints)


@pytest.mark.claim("thm-nce-cost", kind="symbolic")
def test_asymptotic_covariance_pays_for_the_normaliser_by_a_rank_one_term():
    """sympy, for any b, w̄, ν and, turned onto its axes, A: unknown less known is κ a aᵀ, κ = 1/(w̄−bᵀA⁻¹b) + 1 + 1/ν."""
    a1, a2, b1, b2, w, nu = sympy.symbols("a1 a2 b1 b2 w nu", positive=True)
    a, b = sympy.diag(a1, a2), sympy.Matrix([b1, b2])
    m = a.row_join(-b).col_join((-b).T.row_join(sympy.Matrix([[w]])))
    whole = b.col_join(sympy.Matrix([[-w]]))
    term = 1 + 1 / nu
    m_inverse, a_inverse = m.inv().applyfunc(sympy.cancel), a.inv()
    at = (m_inverse * whole).applyfunc(sympy.cancel)
    assert at == sympy.Matrix([0, 0, -1])
    unknown = m_inverse - term * at * at.T
    along = a_inverse * b
    known = a_inverse - term * along * along.T
    kappa = 1 / (w - (b.T * along)[0]) + term
    difference = unknown[:2, :2] - known - kappa * along * along.T
    assert difference.applyfunc(sympy.cancel) == sympy.zeros(2, 2)


@pytest.mark.claim("thm-nce-cost")
@laws
@ratios
def test_asymptotic_covariance_pays_kappa_times_one_direction(name, ratio):
    """The module's two answers differ, for the means, by κ a aᵀ with A, b, w̄ by quadrature; κ > 0."""
    means, law = LAWS[name]
    t, p = theory(name, ratio), means.size
    known, unknown = (noise_contrastive.asymptotic_covariance(means, law, ratio, which) for which in (KNOWN, UNKNOWN))
    a_inverse, b, w = np.linalg.inv(t.m[:p, :p]), t.b[:p], t.m[p, p]
    a = a_inverse @ b
    kappa = 1 / (w - b @ a) + 1 + 1 / ratio
    assert kappa > 0
    mistakes = {"are the two the same, so that c costs nothing?": np.zeros((p, p))} if np.abs(a).max() > 1e-6 else {}
    got = unknown[:p, :p] - known
    assert_close(got, kappa * np.outer(a, a), rtol=1e-5, atol=1e-8, what="unknown less known", mistakes=mistakes)


@pytest.mark.claim("thm-nce-cost")
def test_asymptotic_covariance_of_the_square_costs_its_size_alone():
    """On the square the one direction is corners − centre, and the cost less than 1/1,000 of the trace."""
    outward = (CORNERS - 1.5).ravel()
    for ratio in (1, 10):
        known, unknown = (
            noise_contrastive.asymptotic_covariance(CORNERS, WIDE, ratio, which) for which in (KNOWN, UNKNOWN)
        )
        more = unknown[:8, :8] - known
        share = np.trace(more) / np.trace(known)
        want = np.trace(more) * np.outer(outward, outward) / (outward @ outward)
        assert_close(more, want, rtol=1e-6, atol=1e-9, what="unknown less known")
        assert 0 < share < 1e-3, f"an unknown normaliser costs {share:.3g} of the trace: it is not unstable"


@pytest.mark.claim("prop-nce-efficiency")
@laws
def test_asymptotic_covariance_is_never_below_the_bound(name):
    """The least eigenvalue of Cov − I⁻¹ is not negative for three noises and ν = 1/10 and 30; it falls with ν."""
    means, law = LAWS[name]
    p = means.size
    bound = np.linalg.inv(theory(name, 1).fisher)
    d = means.shape[1]
    narrow = stats.multivariate_normal(means.mean(axis=0), (0.6 + means.var(axis=0).max()) * np.eye(d))
    for noise in (law, narrow, Mixture(means + 0.5)):
        last = None
        for ratio in (0.1, 30):
            for which in (KNOWN, UNKNOWN):
                covariance = noise_contrastive.asymptotic_covariance(means, noise, ratio, which)[:p, :p]
                least = np.linalg.eigvalsh(covariance - bound)[0]
                message = f"Cov - I⁻¹ has the eigenvalue {least:.3g}: {which} beats the Cramér-Rao bound at ν = {ratio}"
                assert least > -1e-8 * np.trace(covariance), message
            if last is not None:
                least = np.linalg.eigvalsh(last - covariance)[0]
                assert least > -1e-8 * np.trace(last), f"more noise makes it worse, by {-least:.3g}, at ν = {ratio}"
            last = covariance


@pytest.mark.claim("prop-nce-efficiency")
@laws
@normalisers
def test_asymptotic_covariance_tends_to_the_bound(name, normaliser):
    """At ν = 10⁶ and 10⁷ it is I⁻¹ up to a term that falls as 1/ν."""
    means, law = LAWS[name]
    p = means.size
    bound = np.linalg.inv(theory(name, 1).fisher)
    away = [
        np.trace(noise_contrastive.asymptotic_covariance(means, law, ratio, normaliser)[:p, :p] - bound)
        for ratio in (1e6, 1e7)
    ]
    assert 0 < away[0] < 1e-3 * np.trace(bound), f"tr Cov at ν = 10⁶ is off the Cramér-Rao bound by {away[0]:.3g}"
    assert_close(10 * away[1], away[0], rtol=0.02, what="ten times what is left at ν = 10⁷")


@pytest.mark.claim("prop-nce-efficiency")
@laws
@ratios
@normalisers
def test_asymptotic_covariance_with_perfect_noise(name, ratio, normaliser):
    """With p_n = p_d it is (1 + 1/ν) I⁻¹ for the means, and 0 between them and c, exactly."""
    means, _ = LAWS[name]
    p = means.size
    want = (1 + 1 / ratio) * np.linalg.inv(theory(name, 1).fisher)
    mistakes = {
        "is it the Cramér-Rao bound, without what the noise adds?": want / (1 + 1 / ratio),
        "is the factor ν/(1 + ν) upside down?": want / (1 + 1 / ratio) ** 2,
    }
    got = noise_contrastive.asymptotic_covariance(means, Mixture(means), ratio, normaliser)
    assert_close(got[:p, :p], want, rtol=1e-7, atol=1e-9, what="the covariance with p_n = p_d", mistakes=mistakes)
    if normaliser == UNKNOWN:
        # M = ν/(1+ν) E s sᵀ, and E s = −e_c: 1/w̄ − (1 + 1/ν) = (1+ν)/ν − (1 + 1/ν) = 0
        assert_close(
            got[-1], np.zeros(p + 1), atol=1e-8, what="the normaliser's row: with p_n = p_d it is known at once"
        )


@pytest.mark.claim("prop-nce-coverage")
@laws
@ratios
def test_asymptotic_covariance_is_bounded_where_the_noise_covers(name, ratio):
    """Where p_n ≥ κ p_d, (1 + 1/(νκ)) I⁻¹ − Cov has no negative eigenvalue; κ by the least ratio on a grid."""
    means, law = LAWS[name]
    p, d = means.size, means.shape[1]
    bound = np.linalg.inv(theory(name, 1).fisher)
    nodes, _ = grid(means, reach=12.0)
    log_pd = log_sum(nodes, means) - true_c(means)
    wide = stats.multivariate_normal(means.mean(axis=0), 30 * np.eye(d))
    off = stats.multivariate_normal(means[0] + 1.0, 6 * np.eye(d))
    for noise in (law, wide, off, Mixture(means, 1.5)):
        kappa = np.exp(np.min(np.ravel(noise.logpdf(nodes)) - log_pd))
        for which in (KNOWN, UNKNOWN):
            covariance = noise_contrastive.asymptotic_covariance(means, noise, ratio, which)[:p, :p]
            least = np.linalg.eigvalsh((1 + 1 / (ratio * kappa)) * bound - covariance)[0]
            assert least > -1e-8 * np.trace(covariance), f"the bound is exceeded by {-least:.3g}, {which}"


def known_label_covariance(means):
    """k times the identity: each mean of its own share of the data, were their labels known."""
    return len(means) * np.eye(means.size)


@laws
def test_cramer_rao_is_the_inverse_information(name):
    """E[g gᵀ]⁻¹ with g = ∇ log p by PyTorch's automatic derivatives, averaged by another quadrature."""
    means, _ = LAWS[name]
    fisher = theory(name, 1).fisher
    want = np.linalg.inv(fisher)
    k = len(means)
    mistakes = {
        "is this the information itself, not its inverse?": fisher,
        "is 1/k forgotten, that each component has but a share of the data?": want / k if k > 1 else np.nan,
        "is 1/k there twice?": want * k if k > 1 else np.nan,
        "is this the bound with known labels, k I? Not to know them costs more": known_label_covariance(means),
        "is this the inverse of the diagonal alone?": np.diag(1 / np.diag(fisher)),
        "is only the diagonal returned, the covariances left out?": np.diag(np.diag(want)),
    }
    mistakes = {
        why: wrong
        for why, wrong in mistakes.items()
        if np.shape(wrong) != want.shape or not np.allclose(wrong, want, rtol=1e-6)
    }
    got = noise_contrastive.cramer_rao(means)
    assert_close(got, want, rtol=1e-7, atol=1e-9, what=f"cramer_rao of {name}", mistakes=mistakes)


def test_cramer_rao_of_means_far_apart():
    """Of k means 40 apart it is k times the identity, and of one mean the identity: each has 1/k of the data."""
    for means in (np.array([[5.0]]), np.array([[1.0, 2.0]]), np.array([[0.0], [40.0]]), 40.0 * CORNERS[:3]):
        k = len(means)
        mistakes = {"is 1/k forgotten, that each component has but a share of the data?": np.eye(means.size)}
        mistakes = {} if k == 1 else mistakes
        got = noise_contrastive.cramer_rao(means)
        assert_close(
            got, k * np.eye(means.size), rtol=1e-9, atol=1e-9, what=f"cramer_rao of {k} means", mistakes=mistakes
        )


def test_cramer_rao_of_two_means_that_are_near():
    """Of means ±½ on a line it is scipy's adaptive integral of the squared scores, inverted."""
    means = np.array([[-0.5], [0.5]])

    def entry(i, j):
        def f(x):
            s = slopes(np.array([[x]]), means)[0]
            return s[i] * s[j] * np.exp(log_sum(np.array([[x]]), means)[0] - true_c(means))

        return integrate.quad(f, -12, 12, epsabs=1e-13, epsrel=1e-11, limit=200)[0]

    fisher = np.array([[entry(i, j) for j in range(2)] for i in range(2)])
    got = noise_contrastive.cramer_rao(means)
    assert_close(got, np.linalg.inv(fisher), rtol=1e-7, what="cramer_rao of -½ and ½")


def test_cramer_rao_is_relabelled_and_moved_with_the_means():
    """Other labels permute its blocks, a shift leaves it; integers and read-only arrays do; nothing is changed."""
    bound = noise_contrastive.cramer_rao(OTHERS)
    order = [2, 0, 1]
    blocks = (2 * np.array(order)[:, None] + [0, 1]).ravel()
    assert_close(
        noise_contrastive.cramer_rao(OTHERS[order]), bound[np.ix_(blocks, blocks)], rtol=1e-9, what="relabelled"
    )
    assert_close(noise_contrastive.cramer_rao(OTHERS + 7.25), bound, rtol=1e-9, what="cramer_rao of means shifted")
    means = np.array(CORNERS, dtype=int)
    means.flags.writeable = False
    assert_close(
        noise_contrastive.cramer_rao(means), noise_contrastive.cramer_rao(CORNERS), rtol=1e-12, what="of integers"
    )
    for which in (KNOWN, UNKNOWN):
        got = noise_contrastive.asymptotic_covariance(means, WIDE, 2, which)
        want = noise_contrastive.asymptotic_covariance(np.asfortranarray(CORNERS), WIDE, 2.0, which)
        assert_close(got, want, rtol=1e-12, what="asymptotic_covariance of integers")
        assert np.array_equal(got, got.T), "a covariance is symmetric"


# The study


def a_study(seed, sizes=(30, 60), repetitions=3, **options):
    """A study that takes a moment: two means on a line."""
    options = {"means": PAIR, "noise": LINE} | options
    return noise_contrastive.study(np.random.default_rng(seed), list(sizes), repetitions, **options)


def same_tables(first, second):
    """Whether two tables are equal to the last bit."""
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


def part_of(table, **fields):
    """The rows where these fields have these values."""
    return table[np.logical_and.reduce([table[name] == wanted for name, wanted in fields.items()])]


def stuck(seed, **options):
    """A study most of whose runs fail: with clusters at 0 and 1,000, a mean between feels no data."""
    means = np.array([[0.0], [1000.0], [1001.0]])
    law = stats.multivariate_normal([500.0], [[250_000.0]])
    return means, a_study(seed, [10], 4, means=means, noise=law, **options)


@pytest.mark.claim("thm-nce-consistency")
def test_study_has_errors_that_fall_as_theory_says(rng):
    """From random starts, c unknown, √n times the error averages the length of N(0, Cov) at n = 300 and 1,200."""
    length = mean_length(theory("a pair on a line", 1).sandwich(UNKNOWN)[:2, :2])
    table = a_study(int(rng.integers(2**60)), [300, 1200], 100, normalisers=[UNKNOWN])
    assert len(table) == 200, f"the table has {len(table)} rows, should have 200: were runs dropped?"
    for n in (300, 1200):
        hints = {"the error does not fall with n, as if there were a floor": 2 * length}
        scaled = math.sqrt(n) * part_of(table, size=n)["error"]
        # Of order 1/n the mean differs from its limit: by less than a thirtieth of what is detected.
        assert_mean(scaled, length, detects=0.9 * length, false_alarm=1e-7, hints=hints)


def test_study_has_a_row_for_every_run_in_order():
    """Size as given, then repetition, then normaliser: every combination once, with the fields that are promised."""
    table = a_study(1, [40, 20], 3)
    want = list(itertools.product([40, 20], range(3), [KNOWN, UNKNOWN]))
    fields = ["size", "repetition", "normaliser", "means", "log_normaliser", "error", "converged", "failed"]
    missing = [field for field in fields if field not in (table.dtype.names or ())]
    assert not missing, f"the table has no field {missing}"
    got = [(int(row["size"]), int(row["repetition"]), str(row["normaliser"])) for row in table]
    assert got == want, f"the table has {len(got)} runs {got}, should have {len(want)}, {want}"
    assert table["means"].shape == (12, 2, 1)
    known = part_of(table, normaliser=KNOWN)
    assert_close(
        known["log_normaliser"], np.full(6, true_c(PAIR)), rtol=1e-14, what="the log_normaliser where it is known"
    )
    learnt = part_of(table, normaliser=UNKNOWN)["log_normaliser"]
    assert np.all(np.abs(learnt - true_c(PAIR)) > 1e-9), "the log_normaliser is not learnt where it is unknown"
    only = a_study(1, [40], 2, normalisers=(UNKNOWN,))
    assert only["normaliser"].tolist() == [UNKNOWN] * 2


def least_error(means, truth):
    """The least Euclidean distance over all orders of the means, by trying each."""
    return min(np.linalg.norm(means[list(order)] - truth) for order in itertools.permutations(range(len(truth))))


def test_study_matches_the_means_before_it_measures():
    """The error is √Σ|μ̂_π(i) − μᵢ|² for the best of all orders π, tried one by one; not the order they came in."""
    for truth, law in ((CORNERS, WIDE), (OTHERS, SKEW), (PAIR, LINE)):
        table = a_study(2, [60], 6, means=truth, noise=law)
        want = [least_error(means, truth) for means in table["means"]]
        unmatched = np.linalg.norm(table["means"] - truth, axis=(1, 2))
        mistakes = {
            "is this the error without a match: in the order the means came in?": unmatched,
            "is this the squared error?": np.square(want),
            "is this the root mean square over the means, not the root of the sum?": np.divide(
                want, math.sqrt(len(truth))
            ),
            "is this the root mean square over all coordinates?": np.divide(want, math.sqrt(truth.size)),
            "is each mean matched with the nearest true one, two perhaps with the same?": [
                math.sqrt(np.min(np.sum((means[:, None] - truth) ** 2, axis=2), axis=1).sum())
                for means in table["means"]
            ],
        }
        assert_close(table["error"], want, rtol=1e-9, what="the error of each run", mistakes=mistakes)


def test_study_keeps_the_runs_that_fail():
    """Where most runs fail, each is there all the same: failed is not finite or not converged, the error as it is."""
    truth, table = stuck(3)
    assert len(table) == 8, f"the table has {len(table)} rows, should have 8: were the runs that failed dropped?"
    finite = np.isfinite(table["means"]).all(axis=(1, 2)) & np.isfinite(table["log_normaliser"])
    want = ~(finite & table["converged"])
    assert np.array_equal(table["failed"], want), (
        f"failed is {table['failed']}, should be {want}: not finite or not converged"
    )
    assert table["failed"].any(), "of 8 runs with a mean that feels no data, none is said to have failed"
    errors = [least_error(means, truth) if ok else np.inf for means, ok in zip(table["means"], finite, strict=True)]
    assert not np.isnan(table["error"]).any(), "is the error left out where the run has failed? It is what it is"
    mistakes = {}
    for sentence, hidden in {"infinite": np.inf, "0": 0.0}.items():
        mistakes[f"is the error {sentence} where the run has failed? It is what it is"] = np.where(want, hidden, errors)
    assert_close(table["error"], errors, rtol=1e-9, what="the errors, of failed runs too", mistakes=mistakes)


def test_study_calls_no_run_failed_for_its_error():
    """Of clusters at 0, 40 and 44 many a run shares two between three means: converged, far off, and not failed."""
    means, law = np.array([[0.0], [40.0], [44.0]]), stats.multivariate_normal([28.0], [[900.0]])
    table = a_study(18, [40], 20, means=means, noise=law, normalisers=[KNOWN])
    lost = table[table["converged"] & (table["error"] > 10)]
    assert len(lost), "of 20 runs from random starts none has converged with an error above 10"
    message = f"{lost['failed'].sum()} runs that converged with an error above 10 are said to have failed: "
    assert not lost["failed"].any(), message + "failed is not finite or not converged, and the error another column"


class Watched:
    """A law that remembers every point it was asked about."""

    def __init__(self, law=LINE):
        self.law, self.points = law, set()

    def rvs(self, *args, **kwargs):
        """Draws of the law."""
        return self.law.rvs(*args, **kwargs)

    def logpdf(self, x):
        """The log-density of the law."""
        self.points.update(np.ravel(x).tolist())
        return self.law.logpdf(x)


def test_study_makes_runs_that_are_independent():
    """Whoever evaluates p_n sees all data and noise: 2 (20 + 21) points in each of 3 repetitions, all different."""
    seen = Watched()
    table = a_study(4, [20, 21], 3, noise=seen, normalisers=[KNOWN])
    got = len(seen.points - {0.0, 4.0})  # it may have been asked about the means as well
    message = f"in 6 runs on 2 · 3 · (20 + 21) = 246 data and draws of noise, {got} were different: "
    assert got == 246, message + "has each run random numbers of its own?"
    found = {tuple(np.sort(means.ravel()).round(9)) for means in table["means"]}
    assert len(found) == 6, f"{len(found)} different results in 6 runs: do all runs have the same random numbers?"


def test_study_draws_the_component_of_each_datum_by_itself(rng):
    """Two data of bells 1,000 apart are of different ones in half of 60 studies, not in all, as if shared out."""
    different, means = 0, np.array([[0.0], [1000.0]])
    for _ in range(60):
        law = Recorded(stats.multivariate_normal([500.0], [[1e6]]))
        seen = Watched(law)
        a_study(int(rng.integers(2**60)), [2], 1, means=means, noise=seen, normalisers=[KNOWN])
        data = seen.points - set(law.points(1).ravel().tolist()) - {0.0, 1000.0}
        assert len(data) == 2, f"besides its noise, a run on two data evaluates p_n at {data}"
        different += min(data) < 500 < max(data)
    hints = {"are there as many data of each component, by design?": 1.0, "are all data of one component?": 0.0}
    assert_proportion(different, 60, 0.5, detects=0.45, hints=hints)


def test_study_gives_both_normalisers_the_same_data_noise_and_start():
    """With both normalisers no point is seen that one alone does not see; and both end with the labels of the start."""
    one, both = Watched(), Watched()
    a_study(5, [20], 3, noise=one, normalisers=[UNKNOWN])
    table = a_study(5, [20], 16, noise=LINE)
    a_study(5, [20], 3, noise=both)
    more = len(both.points - one.points)
    assert not more, (
        f"with both normalisers {more} more points are drawn: known and unknown should share data and noise"
    )
    labels = [np.argsort(means[:, 0]).tolist() for means in table["means"]]
    assert labels[::2] == labels[1::2], "known and unknown end with other labels: do they share the start?"


def test_study_makes_a_run_the_same_whatever_others_there_are():
    """More sizes, more repetitions, or one normaliser alone: a run asked for with the same rng is the same to a bit."""
    whole = a_study(6, [30, 60], 3)
    fewer = a_study(6, [60], 2, normalisers=[UNKNOWN])
    want = part_of(whole, size=60, normaliser=UNKNOWN)[:2]
    assert same_tables(fewer, want), "a run changes with the runs beside it: give each random numbers of its own"
    swapped = a_study(6, [60, 30], 3, normalisers=[UNKNOWN, KNOWN])
    assert same_tables(np.sort(swapped, order=["size", "repetition", "normaliser"]), whole), (
        "a run changes with its place"
    )


def test_study_begins_within_the_box_of_the_true_means(rng):
    """Labels come from the start: of two means on a line, in either order equally often, over 80 repetitions."""
    table = a_study(int(rng.integers(2**60)), [20], 80, normalisers=[KNOWN])
    first_is_lower = table["means"][:, 0, 0] < table["means"][:, 1, 0]
    hints = {"the runs seem to start at the truth, or to be relabelled": 1.0}
    assert_proportion(int(first_is_lower.sum()), 80, 0.5, detects=0.4, hints=hints)
    # 500 away from 0 and 40 wide; the error from the middle of the square to its corners is 57
    law = stats.multivariate_normal([520.0, 520.0], 900 * np.eye(2))
    far = a_study(19, [40], 5, means=500 + CORNERS * 40 / 3, noise=law, normalisers=[KNOWN])
    assert far["error"].max() < 120, (
        f"with all means near 500 errors are up to {far['error'].max():.3g}: where is the start?"
    )


def test_study_passes_the_ratio_and_the_noise_on():
    """Every run draws νn points of the law it is given; without one it makes its own."""
    noise = Recorded(LINE)
    a_study(7, [20], 2, ratio=3, noise=noise, normalisers=[KNOWN])
    drawn = [draws.size for draws in noise.draws]
    assert sum(drawn) == 120, f"with ratio=3 two runs of 20 data drew {drawn} points of noise, should draw 60 each"
    given, own = a_study(7, [50], 4), a_study(7, [50], 4, noise=None)
    assert not np.array_equal(given["means"], own["means"]), "noise=None gives what a law of one's own gives"
    assert np.median(own["error"]) < 2


def test_study_of_the_square_unless_told_otherwise():
    """By default the true means are the square of `mixtures`: four means in the plane, errors measured from them."""
    table = noise_contrastive.study(np.random.default_rng(8), [200], 4, noise=WIDE)
    assert table["means"].shape == (8, 4, 2)
    want = [least_error(means, np.asarray(mixtures.SQUARE)) for means in table["means"]]
    assert_close(table["error"], want, rtol=1e-9, what="the error from the corners of the square")


def test_study_is_the_same_for_the_same_generator():
    """The same seed gives the same table bit for bit, another seed another; two calls on one rng differ."""
    before = np.random.get_state()  # noqa: NPY002
    assert same_tables(a_study(9), a_study(9)), "two studies with the same seed differ"
    different = not np.array_equal(a_study(9)["means"], a_study(10)["means"])
    assert different, "studies with different seeds agree: is the generator not used?"
    rng = np.random.default_rng(9)
    first, second = (noise_contrastive.study(rng, [30], 2, means=PAIR, noise=LINE) for _ in range(2))
    assert not np.array_equal(first["means"], second["means"]), "two studies in a row with one generator are equal"
    after = np.random.get_state()  # noqa: NPY002
    unchanged = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert unchanged, "NumPy's global random state was used"


def test_study_takes_means_of_any_kind_and_changes_nothing():
    """Integers and read-only arrays give the table of floats; sizes may be a generator."""
    means = np.array([[0], [4]])
    means.flags.writeable = False
    want = a_study(11)
    assert same_tables(a_study(11, means=means), want), "integer means give another table"
    numbers = noise_contrastive.study(
        np.random.default_rng(11), (int(n) for n in (30, 60)), 3, means=np.asfortranarray(PAIR), noise=LINE
    )
    assert same_tables(numbers, want)
    assert PAIR.tolist() == [[0.0], [4.0]]


def test_study_is_silent(capfd):
    """Nothing is written where there is no terminal, with a progress bar or without."""
    a_study(12, [30], 2)
    a_study(12, [30], 2, progress=False)
    written = capfd.readouterr()
    assert written.out == "", f"something was printed: {written.out!r}"
    assert written.err == "", f"something was written to stderr: {written.err!r}"


def test_study_gives_the_same_table_in_threads():
    """Two threads give the table of the serial run to the last bit, whichever is done first."""
    serial = a_study(13)
    with joblib.parallel_config("threading"):
        assert same_tables(a_study(13, n_jobs=2), serial), "two threads give another table than one"


# A study that is interrupted


class Counted:
    """A law that counts how often it is drawn from, and fails when that has been often enough."""

    def __init__(self, limit=math.inf):
        self.count, self.limit = 0, limit

    def rvs(self, *args, **kwargs):
        """Draws of LINE, or a power cut."""
        self.count += 1
        if self.count > self.limit:
            raise RuntimeError("power cut")
        return LINE.rvs(*args, **kwargs)

    def logpdf(self, x):
        """The log-density of LINE."""
        return LINE.logpdf(x)


@pytest.mark.parametrize("after", [0, 1, 5, 11])
def test_study_goes_on_where_it_was_interrupted(tmp_path, after):
    """Cut off after so many of 12 runs and called again alike, it makes the other runs only: the table is the same."""
    want, path = a_study(14), tmp_path / "study"
    with pytest.raises(RuntimeError, match="power cut"):
        a_study(14, noise=Counted(after), keep=path)
    rest = Counted()
    table = a_study(14, noise=rest, keep=path)
    assert same_tables(table, want), f"interrupted after {after} runs, the table is another"
    assert rest.count == 12 - after, (
        f"{rest.count} runs were made after {after} of 12 were kept: are results kept one by one?"
    )
    none = Counted()
    assert same_tables(a_study(14, noise=none, keep=str(path)), want), "read from the file alone, the table is another"
    assert none.count == 0, f"{none.count} runs were made again, though all were kept"


def test_study_goes_on_from_a_file_cut_anywhere(tmp_path):
    """Of the finished file any number of bytes may be left: the table is the same, and so is the file in the end."""
    path = tmp_path / "study"
    want = a_study(15, [20], 2, keep=path)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    cuts = {0, 1, len(whole) - 1, *ends, *(end - 1 for end in ends), *(end + 7 for end in ends[:-1])}
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        assert same_tables(a_study(15, [20], 2, keep=path), want), (
            f"cut to {cut} of {len(whole)} bytes, the table is another"
        )
        again = Counted()
        assert same_tables(a_study(15, [20], 2, keep=path, noise=again), want), (
            f"after a cut to {cut} bytes the file is bad"
        )
        assert again.count == 0, f"after a cut to {cut} bytes and a resumption {again.count} runs are not in the file"


def test_study_keeps_what_failed_too(tmp_path):
    """Runs that fail, with their errors, come back from the file to the last bit."""
    _, want = stuck(3)
    _, table = stuck(3, keep=tmp_path / "study")
    _, again = stuck(3, keep=tmp_path / "study")
    assert same_tables(table, want), "with a file the table is another"
    assert same_tables(again, want), "from the file the table is another"


def test_study_refuses_the_file_of_another_study(tmp_path):
    """Another seed, other sizes, repetitions, means, noise, ratio or normalisers: a ValueError, the file left alone."""
    path = tmp_path / "study"
    a_study(16, keep=path)
    kept = path.read_bytes()
    others = {
        "seed": {"seed": 17},
        "sizes": {"sizes": [30, 61]},
        "number of sizes": {"sizes": [30]},
        "repetitions": {"repetitions": 2},
        "means": {"means": PAIR + 1},
        "noise": {"noise": stats.multivariate_normal([2.0], [[8.0]])},
        "noise=None": {"noise": None},
        "ratio": {"ratio": 2},
        "normalisers": {"normalisers": [KNOWN]},
    }
    for what, changed in others.items():
        options = {"seed": 16} | changed
        assert_refused(a_study, keep=path, argument="keep", value="study", **options)
        assert path.read_bytes() == kept, f"the file of a study with another {what} was changed"


def test_study_refuses_a_file_of_something_else(tmp_path):
    """A file with other things in it is not a study to continue: it is left alone."""
    for text in ("a letter\nto my mother\n", "half a line", '{"seed": 1}\n', "[1, 2]\n"):
        path = tmp_path / "letter"
        path.write_text(text)
        assert_refused(a_study, 16, keep=path, argument="keep", value="letter")
        assert path.read_text() == text, "the file was changed"


def test_study_gives_the_same_table_on_a_dask_cluster(tmp_path):
    """On a Dask cluster, by joblib's parallel_config alone, the table is that of the serial run."""
    serial, before = a_study(13), set(multiprocessing.active_children())
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path
        ) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config("dask"),
    ):
        table = a_study(13, keep=tmp_path / "kept")
        worked = sum(client.run(lambda dask_worker: len(dask_worker.state.tasks) >= 0).values())
    assert worked == 1, "the worker does not answer at the end"
    assert same_tables(table, serial), "a Dask cluster gives another table than a serial run"
    assert same_tables(a_study(13, keep=tmp_path / "kept"), serial), "what was kept is another table"
    assert cluster.status.name == "closed", f"the cluster is {cluster.status.name} at the end"
    left = set(multiprocessing.active_children()) - before
    assert not left, f"processes are left over: {left}"


# Bad input


def test_true_log_normaliser_refuses_what_is_no_table():
    """Means are finite numbers in rows and columns, at least one of each."""
    f = noise_contrastive.true_log_normaliser
    assert_refused(f, np.array([1.0, 2.0]), argument="means", value="(2,)")
    assert_refused(f, np.empty((0, 2)), argument="means", value="(0, 2)")
    assert_refused(f, np.array([[1.0, np.nan]]), argument="means", value=np.nan)
    assert_refused(f, np.array([[1.0, np.inf]]), argument="means", value=np.inf)


X = np.array([[0.0, 1.0], [2.0, 0.5], [1.0, 3.0]])
Y = np.array([[1.0, 1.0], [0.0, 2.0]])


def with_nan(x):
    """The array with a NaN in it."""
    x = np.array(x, float)
    x[-1, 0] = np.nan
    return x


def nowhere(x):
    """The log-density of noise that is nowhere."""
    return np.full(len(x), -np.inf)


def not_a_number(x):
    """The log-density of noise that was computed wrongly."""
    return np.full(len(x), np.nan)


def two_values(x):
    """Two numbers, whatever was asked."""
    return np.zeros(2) if len(x) != 2 else np.zeros(5)


CALLS = {
    "probability_of_data": lambda means=CORNERS, c=1.0, data=X, noise=Y, log_noise=WIDE.logpdf, ratio=1.0: (
        data, means, c, log_noise, ratio,
    ),
    "objective": lambda means=CORNERS, c=1.0, data=X, noise=Y, log_noise=WIDE.logpdf, ratio=1.0: (
        means, c, data, noise, log_noise, ratio,
    ),
    "best_log_normaliser": lambda means=CORNERS, c=1.0, data=X, noise=Y, log_noise=WIDE.logpdf, ratio=1.0: (
        means, data, noise, log_noise, ratio,
    ),
}  # fmt: skip


def refused(name, argument, value, **bad):
    """`name` refuses this, where all else is right."""
    assert_refused(getattr(noise_contrastive, name), *CALLS[name](**bad), argument=argument, value=value)


@pytest.mark.parametrize("bad", [0, -1, -0.5, np.nan, np.inf])
def test_probability_of_data_and_objective_and_best_log_normaliser_refuse_a_ratio_that_is_not_positive(bad):
    """ν is a positive number, and finite."""
    for name in CALLS:
        refused(name, "ratio", bad, ratio=bad)


def test_probability_of_data_and_objective_and_best_log_normaliser_refuse_means_of_another_dimension():
    """The means have as many columns as the points, and one-dimensional arrays are no tables."""
    for name in CALLS:
        refused(name, "means", 3, means=np.zeros((4, 3)))
        refused(name, "means", "(2,)", means=np.zeros(2))
        refused(name, "means", np.nan, means=with_nan(CORNERS))


def test_probability_of_data_and_objective_and_best_log_normaliser_refuse_points_that_are_not_finite():
    """NaN and ∞ among the points, and points in one dimension too few."""
    for name in CALLS:
        point = "x" if name == "probability_of_data" else "data"
        refused(name, point, np.nan, data=with_nan(X))
        refused(name, point, np.inf, data=np.array([[np.inf, 0.0]]))
        refused(name, point, "(3,)", data=np.zeros(3))
        if point == "data":
            refused(name, "noise", np.nan, noise=with_nan(Y))
            refused(name, "noise", "(2,)", noise=np.zeros(2))
            refused(name, "noise", 3, noise=np.zeros((2, 3)))


def test_objective_and_best_log_normaliser_refuse_empty_samples():
    """A mean over no points is no number."""
    for name in ("objective", "best_log_normaliser"):
        refused(name, "data", "(0, 2)", data=np.empty((0, 2)))
        refused(name, "noise", "(0, 2)", noise=np.empty((0, 2)))


def test_probability_of_data_and_objective_refuse_a_normaliser_that_is_not_finite():
    """c is a finite number."""
    for name in ("objective", "probability_of_data"):
        for bad in (np.nan, np.inf, -np.inf):
            refused(name, "log_normaliser", bad, c=bad)


def test_probability_of_data_and_objective_and_best_log_normaliser_refuse_noise_that_does_not_cover_the_data():
    """Where log p_n is −∞ or NaN, h is 1 or nothing: noise must have a density wherever data can be."""
    for name in CALLS:
        refused(name, "noise", -np.inf, log_noise=nowhere)
        refused(name, "noise", np.nan, log_noise=not_a_number)
        refused(name, "noise", 2, log_noise=two_values)


def test_probability_of_data_of_no_points_is_empty():
    """Of no rows there are no probabilities, and one row has one."""
    f = noise_contrastive.probability_of_data
    assert f(np.empty((0, 2)), CORNERS, 1.0, lambda x: np.zeros(len(x)), 1).shape == (0,)
    assert f(X[:1], CORNERS, 1.0, WIDE.logpdf, 1).shape == (1,)


def refuses_fit(argument, value, data=X, **options):
    """`fit` refuses this, where all else is right."""
    options = {"start": Y, "noise": WIDE} | options
    assert_refused(noise_contrastive.fit, np.random.default_rng(1), data, argument=argument, value=value, **options)


def test_fit_refuses_options_that_mean_nothing():
    """A ratio that is not positive, a normaliser that is neither known nor unknown, no components at all."""
    for bad in (0, -2, np.nan):
        refuses_fit("ratio", bad, ratio=bad)
    refuses_fit("normaliser", "free", normaliser="free")
    refuses_fit("components", 0, start=None, components=0)
    refuses_fit("components", 2.5, start=None, components=2.5)
    refuses_fit("components", 4, start=None, data=np.repeat(X, 3, axis=0), components=4)
    refuses_fit("noise", "noise", noise="gaussian")


def test_fit_refuses_data_that_are_none():
    """Data are finite numbers in rows, at least one; a start has their columns and no two equal rows."""
    refuses_fit("data", "(0, 2)", data=np.empty((0, 2)))
    refuses_fit("data", "(3,)", data=np.zeros(3))
    refuses_fit("data", np.nan, data=with_nan(X))
    refuses_fit("data", -np.inf, data=np.array([[-np.inf, 1.0]]))
    refuses_fit("start", 3, start=np.zeros((1, 3)))
    refuses_fit("start", np.nan, start=with_nan(Y))
    refuses_fit("start", 7.0, start=np.full((2, 2), 7.0))


class Box:
    """Noise uniform on [0, 1)²."""

    def rvs(self, size, random_state):
        """Points of the box."""
        return random_state.random((size, 2))

    def logpdf(self, x):
        """0 within the box, −∞ without."""
        return np.where(((x >= 0) & (x < 1)).all(axis=1), 0.0, -np.inf)


def test_fit_refuses_noise_that_does_not_fit_the_data():
    """Noise on a box that leaves data out, or of another dimension; none for data on a line, or for a single datum."""
    refuses_fit("noise", -np.inf, noise=Box())
    refuses_fit("noise", "noise", noise=stats.multivariate_normal(np.zeros(3), np.eye(3)))
    refuses_fit("data", "data", data=np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), noise=None)
    refuses_fit("data", "data", data=np.array([[1.0, 2.0]]), noise=None)


def refuses_study(argument, value, sizes=(20,), repetitions=1, **options):
    """`study` refuses this, where all else is right."""
    assert_refused(a_study, 1, sizes, repetitions, argument=argument, value=value, **options)


def test_study_refuses_what_makes_no_study():
    """No size, a size that is none or there twice, no repetition, unknown or repeated normalisers, equal means."""
    refuses_study("sizes", "sizes", sizes=[])
    refuses_study("sizes", 20, sizes=[20, 20])
    refuses_study("sizes", 0, sizes=[0])
    refuses_study("sizes", 2.5, sizes=[2.5])
    refuses_study("repetitions", 0, repetitions=0)
    refuses_study("repetitions", 1.5, repetitions=1.5)
    refuses_study("normalisers", "normalisers", normalisers=[])
    refuses_study("normalisers", "free", normalisers=["free"])
    refuses_study("normalisers", KNOWN, normalisers=[KNOWN, KNOWN])
    refuses_study("means", 3.0, means=np.array([[3.0], [3.0]]))
    refuses_study("means", np.nan, means=np.array([[3.0], [np.nan]]))
    for bad in (0, -1, np.nan):
        refuses_study("ratio", bad, ratio=bad)
    refuses_study("noise", "noise", noise="gaussian")


def test_cramer_rao_and_asymptotic_covariance_refuse_means_without_an_inverse():
    """Means that coincide leave no inverse; nor is there a quadrature in three dimensions."""
    for means, argument, value in (
        (np.array([[1.0, 2.0], [1.0, 2.0]]), "means", 2.0),
        (np.zeros((2, 3)) + np.arange(2)[:, None], "dimension", 3),
        (with_nan(CORNERS), "means", np.nan),
        (np.zeros(3), "means", "(3,)"),
    ):
        assert_refused(noise_contrastive.cramer_rao, means, argument=argument, value=value)
        law = stats.multivariate_normal(np.zeros(means.shape[-1]), 4 * np.eye(means.shape[-1]))
        arguments = {"argument": argument, "value": value}
        assert_refused(noise_contrastive.asymptotic_covariance, means, law, 1, KNOWN, **arguments)


def test_asymptotic_covariance_refuses_options_that_mean_nothing():
    """A ratio that is not positive, an unknown normaliser, noise that is not everywhere."""
    f = noise_contrastive.asymptotic_covariance
    for bad in (0, -1, np.nan):
        assert_refused(f, CORNERS, WIDE, bad, KNOWN, argument="ratio", value=bad)
    assert_refused(f, CORNERS, WIDE, 1, "free", argument="normaliser", value="free")
    assert_refused(f, CORNERS, Box(), 1, KNOWN, argument="noise", value=-np.inf)
