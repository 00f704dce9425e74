"""Scores, slopes and variances against automatic differentiation, closed moments, enumeration and other libraries."""

import itertools
import math
from collections import Counter
from functools import cache, partial

import mpmath
import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, special, stats

from solutions import bbvi, mean_field
from solutions.mean_field import Factors, NormalGamma
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_mean, assert_proportion, assert_unbiased, assert_variance

NAN, INF = math.nan, math.inf
NAMES = ("naive", "rao_blackwell", "control_variate", "both")
estimators = pytest.mark.parametrize("estimator", NAMES)
# Sums of some tens of terms, logs of Γ among them: they lose a few hundred units in the last place, 1e-13.
SHARP = 1e-10

X = np.array([0.3, -1.2, 2.5, 0.7, 1.9, -0.4, 3.1])
PRIOR = NormalGamma(0.4, 0.7, 1.5, 0.8)
Q = Factors(-0.5, 1.1, 2.5, 3.5)
MU = np.array([0.3, -1.9, -0.5, 2.4, 0.05])
TAU = np.array([0.2, 1.7, 0.9, 0.04, 6.0])
for shared in (X, MU, TAU):  # so that what writes to its arguments fails where it does, and not all tests after it
    shared.flags.writeable = False
PROBLEMS = {
    "seven": (X, PRIOR, Q),
    "one datum": (np.array([4.2]), NormalGamma(-2.0, 3.0, 0.6, 5.0), Factors(-1.0, 0.4, 0.7, 3.0)),
    "sixty, far off": (
        np.linspace(1000, 1004, 60),
        NormalGamma(990.0, 0.01, 2.0, 1.0),
        Factors(1001.0, 30.0, 20.0, 11.0),
    ),
    # where R s is not far from normal; the rate is small, so that softplus is not the identity there
    "calm": (X / 10, NormalGamma(0.04, 0.7, 1.5, 0.008), Factors(-0.15, 2000.0, 20.0, 0.3)),
    "tiny shape": (X, PRIOR, Factors(1.4, 2.0, 0.01, 0.02)),
    "huge shape": (X / 100, NormalGamma(0.0, 2.0, 1.0, 3.0), Factors(0.01, 40.0, 1e4, 2e3)),
}
problems = pytest.mark.parametrize("problem", PROBLEMS)


# What the tests know by themselves: closed moments, quadrature, automatic differentiation


@cache
def moment(i, k, j, variance, shape, rate):
    """E[δⁱ τᵏ (log τ)ʲ] for δ ~ N(0, variance), τ ~ Gamma(shape, rate): from the cumulants ψ⁽ʲ⁾(a+k) of log τ."""
    if i % 2:
        return mpmath.mpf(0)
    cumulants = [mpmath.psi(r, shape + k) - (mpmath.log(rate) if r == 0 else 0) for r in range(j)]
    moments = [mpmath.mpf(1)]
    for r in range(j):
        moments.append(sum(math.comb(r, s) * cumulants[s] * moments[r - s] for s in range(r + 1)))
    return (
        mpmath.fac2(i - 1) * mpmath.mpf(variance) ** (i // 2) * mpmath.rf(shape, k) / mpmath.mpf(rate) ** k * moments[j]
    )


class Polynomial(Counter):
    """Σ c δⁱ τᵏ (log τ)ʲ as {(i, k, j): c}, for δ = μ − m."""

    def __mul__(self, other):
        product = Polynomial()
        for (powers, c), (more, d) in itertools.product(self.items(), other.items()):
            product[tuple(map(sum, zip(powers, more, strict=True)))] += c * d
        return product

    def plus(self, other, times=1):
        total = Polynomial(self)
        for powers, c in other.items():
            total[powers] += times * c
        return total

    def mean(self, law):
        with mpmath.workdps(60):
            return mpmath.fsum(c * moment(*powers, *law) for powers, c in self.items() if c)


def number(c):
    return Polynomial({(0, 0, 0): mpmath.mpf(c)})


def law_of(q):
    return tuple(map(mpmath.mpf, (1 / mpmath.mpf(q.precision), q.shape, q.rate)))


def log_p_and_log_q(q, x, prior):
    """log p(x, μ, τ); the part of it with the misfit of μ; log q(μ); log q(τ): as polynomials."""
    with mpmath.workdps(60):
        n, m = len(x), mpmath.mpf(q.mean)
        a, b, precision = map(mpmath.mpf, (q.shape, q.rate, q.precision))
        m0, l0, a0, b0 = map(mpmath.mpf, prior)
        x = [mpmath.mpf(float(value)) for value in x]
        centre = mpmath.fsum(x) / n
        log_2pi = mpmath.log(2 * mpmath.pi)
        misfit = Polynomial(
            {
                (0, 1, 0): -(n * (m - centre) ** 2 + l0 * (m - m0) ** 2) / 2,
                (1, 1, 0): -(n * (m - centre) + l0 * (m - m0)),
                (2, 1, 0): -(n + l0) / 2,
            }
        )
        constant = (mpmath.log(l0) - (n + 1) * log_2pi) / 2 + a0 * mpmath.log(b0) - mpmath.loggamma(a0)
        rest = {
            (0, 0, 0): constant,
            (0, 0, 1): mpmath.mpf(n + 1) / 2 + a0 - 1,
            (0, 1, 0): -b0 - mpmath.fsum((value - centre) ** 2 for value in x) / 2,
        }
        normal = Polynomial({(0, 0, 0): (mpmath.log(precision) - log_2pi) / 2, (2, 0, 0): -precision / 2})
        gamma = Polynomial({(0, 0, 0): a * mpmath.log(b) - mpmath.loggamma(a), (0, 0, 1): a - 1, (0, 1, 0): -b})
        return misfit.plus(rest), misfit, normal, gamma


def score_polynomials(q):
    with mpmath.workdps(60):
        a, b, precision = map(mpmath.mpf, (q.shape, q.rate, q.precision))
        return [
            Polynomial({(1, 0, 0): precision}),
            Polynomial({(0, 0, 0): 1 / precision / 2, (2, 0, 0): -mpmath.mpf(1) / 2}),
            Polynomial({(0, 0, 0): mpmath.log(b) - mpmath.psi(0, a), (0, 0, 1): mpmath.mpf(1)}),
            Polynomial({(0, 0, 0): a / b, (0, 1, 0): -mpmath.mpf(1)}),
        ]


def rewards(q, x, prior, estimator):
    """R for the four parameters, as polynomials; also what some mistakes make of it."""
    log_p, misfit, normal, gamma = log_p_and_log_q(q, x, prior)
    for_mu, for_tau = misfit.plus(normal, -1), log_p.plus(gamma, -1)
    if estimator in ("rao_blackwell", "both"):
        return [for_mu, for_mu, for_tau, for_tau]
    if estimator == "swapped":
        return [for_tau, for_tau, for_mu, for_mu]
    if estimator == "without the entropy":
        return [log_p] * 4
    return [for_tau.plus(normal, -1)] * 4


@cache
def truth(problem, estimator):
    """The gradient E[R s], a* = E[R s²]/E[s²], the variances, and −E[(R−a*)s³]/E[s²], from closed moments."""
    x, prior, q = PROBLEMS[problem]
    law, rows = law_of(q), []
    with mpmath.workdps(60):
        for reward, s in zip(rewards(q, x, prior, estimator), score_polynomials(q), strict=True):
            squares = s * s
            mass = squares.mean(law)
            best = (reward * squares).mean(law) / mass
            centred = reward.plus(number(best), -1)
            row = (centred if estimator in ("control_variate", "both") else reward) * s
            mean = row.mean(law)
            variance = (row * row).mean(law) - mean**2
            rows.append([mean, best, variance, -(centred * squares * s).mean(law) / mass])
    return np.array(rows, dtype=float).T


def exact_mean(problem, estimator="naive", law=None):
    """E[R s], also where the draws are from another law."""
    x, prior, q = PROBLEMS[problem]
    pairs = zip(rewards(q, x, prior, estimator), score_polynomials(q), strict=True)
    return np.array([float((reward * s).mean(law or law_of(q))) for reward, s in pairs])


@cache
def nodes(q):
    """Places (μ, τ) and weights that average over q: Gauss's in μ, equal steps in log τ; right to 1e-12 for a ≥ ½."""
    z, weight = np.polynomial.hermite_e.hermegauss(9)
    log_tau = np.linspace(-70 / q.shape, np.log(60 + 10 * q.shape), 1500) - np.log(q.rate)
    log_mass = q.shape * log_tau - q.rate * np.exp(log_tau)
    mass = np.exp(log_mass - log_mass.max())
    weights = np.outer(weight / weight.sum(), mass / mass.sum()).ravel()
    found = np.repeat(q.mean + z / np.sqrt(q.precision), 1500), np.tile(np.exp(log_tau), 9), weights
    for array in found:
        array.flags.writeable = False
    return found


def log_joint(mu, tau, x, prior):
    """log p(x, μ, τ) by scipy, term by term."""
    likelihood = stats.norm.logpdf(x[:, None], mu, tau**-0.5).sum(axis=0)
    return (
        likelihood
        + stats.norm.logpdf(mu, prior.mean, (prior.scale * tau) ** -0.5)
        + stats.gamma.logpdf(tau, prior.shape, scale=1 / prior.rate)
    )


def log_factors(q, mu, tau):
    return stats.norm.logpdf(mu, q.mean, q.precision**-0.5), stats.gamma.logpdf(tau, q.shape, scale=1 / q.rate)


def misfit(mu, tau, x, prior):
    return -tau / 2 * (len(x) * (x.mean() - mu) ** 2 + prior.scale * (mu - prior.mean) ** 2)


def torch_elbo(theta, x, prior):
    """The ELBO in torch, from the moments of q and its entropies."""
    m, precision, a, b = theta
    x, n = torch.tensor(x, dtype=torch.float64), len(x)
    log_2pi = math.log(2 * math.pi)
    log_tau, tau = torch.digamma(a) - torch.log(b), a / b
    likelihood = n / 2 * (log_tau - log_2pi) - tau / 2 * (((x - m) ** 2).sum() + n / precision)
    square = (m - prior.mean) ** 2 + 1 / precision
    normal = (math.log(prior.scale) + log_tau - log_2pi - prior.scale * tau * square) / 2
    gamma = (
        prior.shape * math.log(prior.rate) - math.lgamma(prior.shape) + (prior.shape - 1) * log_tau - prior.rate * tau
    )
    entropies = torch.distributions.Normal(m, precision**-0.5).entropy() + torch.distributions.Gamma(a, b).entropy()
    return likelihood + normal + gamma + entropies


def torch_slope(q, x, prior):
    theta = torch.tensor(tuple(q), dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(torch_elbo(theta, x, prior), theta)[0].numpy()


def torch_scores(q, mu, tau):
    """∇ log q by automatic differentiation, a row for each place."""
    theta = torch.tensor([tuple(q)] * len(mu), dtype=torch.float64, requires_grad=True)
    m, precision, a, b = theta.T
    normal = torch.distributions.Normal(m, precision**-0.5).log_prob(torch.tensor(mu, dtype=torch.float64))
    gamma = torch.distributions.Gamma(a, b).log_prob(torch.tensor(tau, dtype=torch.float64))
    return torch.autograd.grad((normal + gamma).sum(), theta)[0].numpy()


def information(q):
    """E[s sᵀ] by quadrature, of scores by automatic differentiation."""
    mu, tau, weights = nodes(q)
    s = torch_scores(q, mu, tau)
    return (s * weights[:, None]).T @ s


@cache
def optimum(problem):
    x, prior, _ = PROBLEMS[problem]
    after = mean_field.posterior(x, prior)
    a = after.shape + 0.5
    b = after.rate * a / after.shape
    return Factors(after.mean, after.scale * a / b, a, b)


def global_state():
    """The numbers that NumPy's global generator will go on from."""
    return np.random.get_state()[1].copy()  # noqa: NPY002


def arrays_of_other_kinds(values):
    """The same numbers, not contiguous and read-only; and what they are as float32."""
    strided = np.repeat(values, 2)[::2]
    strided.flags.writeable = False
    return strided, np.asarray(values, dtype=np.float32)


def refused(function, bad, **right):
    """Each of the bad arguments, alone, is refused by name."""
    for argument, value, named in bad:
        shown = value if isinstance(value, int | float) else named[1] if isinstance(named, tuple) else value
        argument_named = named[0] if isinstance(named, tuple) else named or argument
        call = partial(function, **(right | {argument: value}))
        call.__name__ = function.__name__
        assert_refused(call, argument=argument_named, value=shown)


BAD_FACTORS = [
    ("factors", Q._replace(precision=0.0), ("precision", 0.0)),
    ("factors", Q._replace(precision=-1.5), ("precision", -1.5)),
    ("factors", Q._replace(shape=-2.0), ("shape", -2.0)),
    ("factors", Q._replace(shape=INF), ("shape", INF)),
    ("factors", Q._replace(rate=NAN), ("rate", NAN)),
    ("factors", Q._replace(rate=0.0), ("rate", 0.0)),
    ("factors", Q._replace(mean=NAN), ("mean", NAN)),
]
BAD_PRIORS = [
    ("prior", PRIOR._replace(scale=0.0), ("scale", 0.0)),
    ("prior", PRIOR._replace(shape=-1.0), ("shape", -1.0)),
    ("prior", PRIOR._replace(rate=NAN), ("rate", NAN)),
    ("prior", PRIOR._replace(mean=INF), ("mean", INF)),
]
BAD_DATA = [
    ("x", np.array([]), ("x", "x")),
    ("x", X[:, None], ("x", "(7, 1)")),
    ("x", np.array([1.0, NAN]), ("x", NAN)),
    ("x", np.array([1.0, -INF]), ("x", -INF)),
    ("x", np.array([1.0, 1e61]), ("x", 1e61)),
]
BAD_PLACES = [
    ("tau", np.array([1.0, 0.0]), ("tau", 0.0)),
    ("tau", np.array([1.0, -0.5]), ("tau", -0.5)),
    ("tau", np.array([NAN, 0.5]), ("tau", NAN)),
    ("mu", np.array([1.0, NAN]), ("mu", NAN)),
    ("mu", np.array([1.0, 2.0, 3.0]), ("mu", "(3,)")),
]
BAD_NAME = [("estimator", "rao-blackwell", ("estimator", "rao-blackwell"))]
PLACE = {"mu": np.array([0.3, 0.4]), "tau": np.array([1.0, 2.0])}


# The law that is fitted


def test_log_q_is_that_of_the_two_factors():
    """The columns are scipy's norm.logpdf with the standard deviation λ^{−1/2}, and gamma.logpdf with scale 1/b."""
    for q in (Q, Factors(2.0, 0.3, 0.4, 6.0), Factors(0.0, 50.0, 80.0, 9.0)):
        normal, gamma = log_factors(q, MU, TAU)

        def pair(a, b):
            return np.stack([a, b], axis=1)

        mistakes = {
            "is the precision taken for the variance?": pair(stats.norm.logpdf(MU, q.mean, q.precision**0.5), gamma),
            "is the precision taken for the standard deviation?": pair(
                stats.norm.logpdf(MU, q.mean, q.precision), gamma
            ),
            "is 1/λ, a variance, taken for the standard deviation?": pair(
                stats.norm.logpdf(MU, q.mean, 1 / q.precision), gamma
            ),
            "is the rate taken for a scale?": pair(normal, stats.gamma.logpdf(TAU, q.shape, scale=q.rate)),
            "is log 2π missing?": pair(normal + np.log(2 * np.pi) / 2, gamma),
            "is the normaliser of the Gamma law missing?": pair(
                normal, gamma - q.shape * np.log(q.rate) + special.gammaln(q.shape)
            ),
            "are the columns in the other order?": pair(gamma, normal),
        }
        assert_close(
            bbvi.log_q(q, MU, TAU), pair(normal, gamma), rtol=SHARP, atol=1e-12, what="log_q", mistakes=mistakes
        )


def test_log_q_and_scores_hold_far_out():
    """A thousand standard deviations off, and at τ from 1e-300 to 1e6, log_q is scipy's; the scores are torch's."""
    mu, tau = np.array([1e3, -1e3, 0.0, 0.1]), np.array([1e-300, 1e-8, 1e6, 5.0])
    got = bbvi.log_q(Q, mu, tau)
    assert np.isfinite(got).all(), f"log_q is not finite far out, a density underflows? Work in logs: {got}"
    assert_close(got, np.stack(log_factors(Q, mu, tau), axis=1), rtol=SHARP, what="log_q far out")
    assert_close(bbvi.scores(Q, mu, tau), torch_scores(Q, mu, tau), rtol=1e-9, what="scores far out")


@pytest.mark.claim("prop-bbvi-scores", kind="automatic differentiation")
def test_scores_are_the_slopes_of_log_q():
    """The four columns are the derivatives of torch's log-densities, for three laws."""
    for q in (Q, Factors(2.0, 0.3, 0.4, 6.0), Factors(0.5, 2.0, 2.5, 1.5)):
        m, precision, a, b = q
        want = torch_scores(q, MU, TAU)
        psi, d = special.digamma(a), MU - m

        def but(want=want, **columns):
            wrong = want.copy()
            for name, values in columns.items():
                wrong[:, "mlab".index(name)] = values
            return wrong

        mistakes = {
            "is the third ψ(a) − log b + log τ, as the source prints it? Its mean is not 0": but(
                a=psi - np.log(b) + np.log(TAU)
            ),
            "is the precision read as a variance?": but(m=d / precision, l=(d**2 / precision - 1) / (2 * precision)),
            "is the second the slope in the standard deviation?": but(l=d**2 * precision**1.5 - precision**0.5),
            "is the second the slope in the variance 1/λ, not in λ?": but(l=-(precision**2) * want[:, 1]),
            "is the rate taken for a scale?": but(a=np.log(TAU) - psi - np.log(b), b=TAU / b**2 - a / b),
            "is the last b/a − τ? The mean of τ is a/b": but(b=b / a - TAU),
            "is ψ(a) missing?": but(a=np.log(b) + np.log(TAU)),
            "is log Γ(a) where its derivative ψ(a) belongs?": but(a=np.log(b * TAU) - special.gammaln(a)),
            "is the slope in μ, not in m?": but(m=-want[:, 0]),
            "are shape and rate exchanged?": want[:, [0, 1, 3, 2]],
            "is it averaged over the draws?": np.broadcast_to(want.mean(axis=0), want.shape),
        }
        assert_close(bbvi.scores(q, MU, TAU), want, rtol=1e-9, atol=1e-11, what=f"scores at {q}", mistakes=mistakes)


@pytest.mark.claim("prop-bbvi-scores")
def test_scores_have_mean_zero_and_the_stated_second_moments():
    """By quadrature over q: mean 0, and E[s sᵀ] with λ, 1/(2λ²) and the block ψ′(a), −1/b, a/b²."""
    for q in (Q, Factors(2.0, 0.3, 0.7, 6.0), Factors(0.5, 2.0, 30.0, 1.5)):
        mu, tau, weights = nodes(q)
        s = bbvi.scores(q, mu, tau)
        _, precision, a, b = q
        want = np.diag([precision, 1 / (2 * precision**2), special.polygamma(1, a), a / b**2])
        want[2, 3] = want[3, 2] = -1 / b
        scale = np.sqrt(np.diag(want))
        assert_close(weights @ s / scale, np.zeros(4), atol=1e-9, what="the means of the scores, over their deviations")
        second = (s * weights[:, None]).T @ s / np.outer(scale, scale)
        assert_close(second, want / np.outer(scale, scale), atol=1e-9, what="the correlations of the scores")


@pytest.mark.claim("prop-bbvi-scores")
def test_scores_differ_from_the_printed_one_by_its_mean():
    """ψ(a) − log b + log τ has the mean 2(ψ(a) − log b), .595 at a = 2.5, b = 1.5; the right one has mean 0."""
    q = Factors(0.0, 1.0, 2.5, 1.5)
    mu, tau, weights = nodes(q)
    printed = special.digamma(2.5) - np.log(1.5) + np.log(tau)
    assert_close(weights @ printed, 2 * (special.digamma(2.5) - np.log(1.5)), what="the mean of the printed score")
    assert_close(weights @ printed, 0.5954, rtol=1e-4, what="the mean of the printed score")
    mistakes = {"is the sign of ψ and log b that of the printed score?": weights @ printed}
    got = weights @ bbvi.scores(q, mu, tau)[:, 2]
    assert_close(got, 0.0, atol=1e-10, what="the mean of the third score", mistakes=mistakes)


@pytest.mark.claim("prop-bbvi-scores", kind="automatic differentiation")
def test_std_score_is_the_slope_in_the_standard_deviation():
    """(μ−m)²/σ³ − 1/σ is torch's derivative of log q(μ) in σ, and −2σ⁻³ times that in λ; E[s²] = 2/σ²."""
    for q in (Q, Factors(2.0, 0.3, 0.4, 6.0), Factors(0.5, 40.0, 2.5, 1.5)):
        sigma = torch.full((len(MU),), q.precision**-0.5, dtype=torch.float64, requires_grad=True)
        log_density = torch.distributions.Normal(torch.tensor(float(q.mean)), sigma).log_prob(torch.tensor(MU))
        want = torch.autograd.grad(log_density.sum(), sigma)[0].numpy()
        in_precision, d, std = torch_scores(q, MU, TAU)[:, 1], MU - q.mean, q.precision**-0.5
        mistakes = {
            "is this the slope in λ? It lacks dλ/dσ": in_precision,
            "is σ taken for 1/λ?": d**2 * q.precision**3 - q.precision,
            "is σ taken for λ?": d**2 / q.precision**3 - 1 / q.precision,
            "is the second term −1/σ missing?": d**2 / std**3,
            "is it σ² where σ³ belongs?": d**2 / std**2 - 1 / std,
            "is it the slope in the variance σ²?": want / (2 * std),
        }
        got = bbvi.std_score(q, MU)
        assert_close(got, want, rtol=1e-9, atol=1e-11, what="std_score", mistakes=mistakes)
        assert_close(got, -2 / std**3 * in_precision, rtol=1e-9, atol=1e-11, what="std_score")
        mu, _, weights = nodes(Factors(q.mean, q.precision, 2.0, 1.0))
        assert_close(weights @ bbvi.std_score(q, mu) ** 2, 2 / std**2, rtol=1e-9, what="E[s²]")


@pytest.mark.claim("prop-bbvi-scores", kind="symbolic")
def test_scores_by_sympy_have_the_stated_information():
    """−E[∇s], by sympy from log q, is λ, 1/(2λ²) and ψ′(a), −1/b, a/b²; zero between μ's and τ's."""
    mu, m = sympy.symbols("mu m", real=True)
    lam, a, b, tau = sympy.symbols("lambda a b tau", positive=True)
    log_q = (sympy.log(lam) - sympy.log(2 * sympy.pi) - lam * (mu - m) ** 2) / 2
    log_q += a * sympy.log(b) - sympy.loggamma(a) + (a - 1) * sympy.log(tau) - b * tau
    hessian = sympy.hessian(log_q, (m, lam, a, b))
    average = hessian.subs(tau, a / b).subs(mu, m)  # linear in μ and τ
    want = sympy.Matrix(
        [[lam, 0, 0, 0], [0, 1 / (2 * lam**2), 0, 0], [0, 0, sympy.polygamma(1, a), -1 / b], [0, 0, -1 / b, a / b**2]]
    )
    assert sympy.simplify(average + want) == sympy.zeros(4, 4)
    at = {m: -0.5, lam: 1.1, a: 2.5, b: 3.5}
    assert_close(bbvi.fisher_information(Q), np.array(want.subs(at).evalf(), dtype=float), what="fisher_information")


def test_fisher_information_is_the_second_moment_of_the_scores():
    """E[s sᵀ] by quadrature of torch's scores, for three laws; and it is positive definite."""
    for q in (Q, Factors(2.0, 0.3, 0.7, 6.0), Factors(0.5, 2.0, 30.0, 1.5)):
        want = information(q)
        _, precision, a, b = q

        def but(want=want, **entries):
            wrong = want.copy()
            for name, value in entries.items():
                i, j = int(name[1]), int(name[2])
                wrong[i, j] = wrong[j, i] = value
            return wrong

        mistakes = {
            "is the second entry that of the standard deviation, 2λ?": but(_11=2 * precision),
            "is a ½ missing in 1/(2λ²)?": but(_11=1 / precision**2),
            "is the first entry 1/λ, where λ belongs?": but(_00=1 / precision),
            "is the correlation of shape and rate left out?": but(_23=0.0),
            "is the sign of −1/b, off the diagonal, reversed?": but(_23=1 / b),
            "is ψ(a) where ψ′(a) belongs?": but(_22=special.digamma(a)),
            "is 1/a where ψ′(a) belongs?": but(_22=1 / a),
            "is the last entry a/b, where a/b² belongs?": but(_33=a / b),
            "is it the inverse?": np.linalg.inv(want),
        }
        atol = 1e-9 * np.abs(want).max()
        got = bbvi.fisher_information(q)
        assert_close(got, want, rtol=1e-8, atol=atol, what=f"fisher_information({q})", mistakes=mistakes)
        assert np.linalg.eigvalsh(got).min() > 0


# The exact gradient


@pytest.mark.claim("prop-bbvi-exact-gradient", kind="automatic differentiation")
@problems
def test_exact_gradient_is_that_of_the_elbo(problem):
    """The gradient of the ELBO by torch, from the moments of q and its entropies; so far off as q may be."""
    x, prior, q = PROBLEMS[problem]
    after = mean_field.posterior(x, prior)
    want, (m, precision, a, b) = torch_slope(q, x, prior), q
    total = after.rate + after.scale * ((m - after.mean) ** 2 + 1 / precision) / 2

    def but(**entries):
        wrong = want.copy()
        for name, value in entries.items():
            wrong["mlab".index(name)] = value
        return wrong

    mistakes = {
        "is it the slope down, of −ELBO?": -want,
        "is the entropy of q(μ) missing?": but(l=want[1] + 0.5 / precision),
        "is the entropy of q(τ) missing?": but(a=want[2] - 1 + (a - 1) * special.polygamma(1, a), b=want[3] + 1 / b),
        "is it aₙ where aₙ + ½ belongs? τ stands in the prior of μ too": but(
            a=want[2] - special.polygamma(1, a) / 2, b=want[3] + 0.5 / b
        ),
        "is 1/λ missing in B?": but(
            a=want[2] + after.scale / precision / (2 * b), b=want[3] - a * after.scale / (2 * precision * b**2)
        ),
        "is ψ(a) where ψ′(a) belongs?": but(a=(after.shape + 0.5 - a) * special.digamma(a) + 1 - total / b),
        "is it the slope in the standard deviation?": but(l=-2 * precision**1.5 * want[1]),
        "is the prior left out, in the slope of the mean?": but(m=-len(x) * a / b * (m - x.mean())),
    }
    # The terms of a slope, of which it is a difference, lose some units in the last place.
    terms = np.abs([after.scale * a / b * (abs(m) + abs(after.mean)), 1 / precision, total / b + 1, a * total / b**2])
    got = bbvi.exact_gradient(q, x, prior)
    assert_close(got, want, rtol=1e-9, atol=1e-12 * terms.max(), what="exact_gradient", mistakes=mistakes)


@pytest.mark.claim("prop-bbvi-exact-gradient")
@pytest.mark.parametrize("problem", ["seven", "one datum"])
def test_exact_gradient_is_the_slope_of_mean_fields_elbo(problem):
    """Central differences of `mean_field.elbo`, with Richardson's extrapolation."""
    x, prior, q = PROBLEMS[problem]
    want = []
    for name, value in zip(Factors._fields, q, strict=True):

        def slope(h, name=name, value=value):
            up, down = (mean_field.elbo(q._replace(**{name: value + step}), x, prior) for step in (h, -h))
            return (up - down) / (2 * h)

        h = 1e-3 * abs(value)
        want.append((4 * slope(h / 2) - slope(h)) / 3)
    # The next term of the extrapolation is of order (h/value)⁴ = 1e-12; rounding adds 1e-16/1e-3 of the ELBO.
    assert_close(bbvi.exact_gradient(q, x, prior), want, rtol=1e-8, atol=1e-9, what="exact_gradient")


@pytest.mark.claim("prop-bbvi-exact-gradient")
@problems
def test_exact_gradient_is_zero_at_the_optimum_of_coordinate_ascent(problem):
    """It vanishes, in units of the score, at m = mₙ, a = aₙ + ½, b = bₙ a/aₙ, λ = ℓₙ a/b: where `cavi` ends."""
    x, prior, _ = PROBLEMS[problem]
    best = optimum(problem)
    assert_close(mean_field.cavi(x, prior).factors, best, rtol=1e-8, what="where coordinate ascent ends")
    units = np.sqrt(np.diag(information(best)))
    got = bbvi.exact_gradient(best, x, prior) / units
    assert_close(got, np.zeros(4), atol=1e-7, what="exact_gradient at the optimum, over the scores' deviations")


@pytest.mark.claim("prop-bbvi-exact-gradient")
def test_exact_gradient_is_zero_nowhere_else():
    """With m, λ and b such that their slopes vanish, that in a is (aₙ+½−a)(ψ′(a)−1/a): one zero on 60 shapes."""
    after = mean_field.posterior(X, PRIOR)
    for a in np.geomspace(0.55, 300, 60):
        # ∂_λ = 0 gives λ = ℓₙ a/b, so B = bₙ + b/(2a); ∂_b = 0 then gives b (aₙ + ½ − ½) = a bₙ
        b = a * after.rate / after.shape
        q = Factors(after.mean, after.scale * a / b, float(a), float(b))
        factor = special.polygamma(1, a) - 1 / a
        assert factor > 0
        want = [0, 0, (after.shape + 0.5 - a) * factor, 0]
        assert_close(bbvi.exact_gradient(q, X, PRIOR), want, rtol=1e-7, atol=1e-11, what="exact_gradient on the ridge")


def test_exact_gradient_and_all_that_is_exact_do_not_see_an_offset():
    """Data, prior and q moved by 2²⁶ give the same slopes, variances and R: sums of squares are of x − x̄, not of x."""
    x, c = np.array([0.25, -1.25, 2.5, 0.75, 2.0, -0.5, 3.25]), 2.0**26
    q, prior = Factors(-0.5, 1.1, 2.5, 3.5), NormalGamma(0.5, 0.7, 1.5, 0.8)
    q_far, prior_far = q._replace(mean=c - 0.5), prior._replace(mean=c + 0.5)
    mu = np.array([0.25, -2.0, 1.5])  # all of these are sums without rounding
    for function, more in (
        (bbvi.exact_gradient, ()),
        (bbvi.best_coefficient, ("naive",)),
        (bbvi.draw_variance, ("both",)),
        (bbvi.same_sample_bias, ()),
    ):
        want, got = function(q, x, prior, *more), function(q_far, x + c, prior_far, *more)
        what = f"{function.__name__} of data around 2²⁶ (is it Σx² − n x̄², which loses its digits there?)"
        assert_close(got, want, rtol=1e-6, atol=1e-7, what=what)
    near, far = (
        bbvi.integrands(law, mu + d, TAU[:3], x + d, before, "naive")
        for law, d, before in ((q, 0.0, prior), (q_far, c, prior_far))
    )
    assert_close(far, near, rtol=1e-6, atol=1e-7, what="integrands of data around 2²⁶")


@pytest.mark.claim("prop-natural-step")
@problems
def test_fisher_information_leads_to_the_mean_field_updates(problem):
    """F⁻¹∇ELBO = (ℓₙ(a/b)(mₙ−m)/λ, ℓₙa/b − λ, aₙ+½−a, B−b); a full step sets each factor to its best."""
    x, prior, q = PROBLEMS[problem]
    after = mean_field.posterior(x, prior)
    m, precision, a, b = q
    total = after.rate + after.scale * ((m - after.mean) ** 2 + 1 / precision) / 2
    ratio = after.scale * a / b
    want = np.array([ratio * (after.mean - m) / precision, ratio - precision, after.shape + 0.5 - a, total - b])
    F, slope = bbvi.fisher_information(q), bbvi.exact_gradient(q, x, prior)
    units = 1 / np.sqrt(np.diag(F))
    # For a shape of 10,000, shape and rate are correlated to 1 − 5e-5, and the solution loses as much.
    got = units * np.linalg.solve(F * np.outer(units, units), units * slope)
    assert_close(got, want, rtol=1e-6, atol=1e-9 * np.abs(want).max(), what="F⁻¹∇ELBO")


@pytest.mark.claim("prop-natural-step")
def test_fisher_information_steps_twice_to_what_coordinate_ascent_does():
    """Of two full steps of natural gradient the second sets the mean to mₙ, if λ = ℓₙ a/b as after the first."""
    after = mean_field.posterior(X, PRIOR)

    def stepped(q):
        return Factors(
            *map(float, np.array(q) + np.linalg.solve(bbvi.fisher_information(q), bbvi.exact_gradient(q, X, PRIOR)))
        )

    once = stepped(Q)
    misfit_of = lambda q: after.rate + after.scale * ((q.mean - after.mean) ** 2 + 1 / q.precision) / 2  # noqa: E731
    assert_close(
        once[1:], [after.scale * Q.shape / Q.rate, after.shape + 0.5, misfit_of(Q)], rtol=1e-8, what="one step"
    )
    tuned = once._replace(precision=after.scale * once.shape / once.rate)
    assert_close(stepped(tuned).mean, after.mean, rtol=1e-8, what="the mean after a step from λ = ℓₙ a/b")


# What multiplies the score


@estimators
@pytest.mark.parametrize("problem", ["seven", "one datum", "sixty, far off"])
def test_integrands_are_what_the_contract_says(problem, estimator):
    """R with all its constants: log p − log q(μ) − log q(τ) by scipy, or of each factor what its score needs."""
    x, prior, q = PROBLEMS[problem]
    mu, tau = MU + q.mean, TAU
    log_p, (normal, gamma) = log_joint(mu, tau, x, prior), log_factors(q, mu, tau)
    naive, for_mu, for_tau = log_p - normal - gamma, misfit(mu, tau, x, prior) - normal, log_p - gamma

    def columns(mean, shape):
        return np.stack([mean, mean, shape, shape], axis=1)

    full, dropped = columns(naive, naive), columns(for_mu, for_tau)
    want = full if estimator in ("naive", "control_variate") else dropped
    only_data = -tau / 2 * len(x) * (x.mean() - mu) ** 2 - normal
    constant = len(x) / 2 * np.log(2 * np.pi)
    mistakes = {
        "is only the other factor dropped, log p − log q(μ) and log p − log q(τ)?": columns(log_p - normal, for_tau),
        "is log q missing?": columns(log_p, log_p),
        "is log q of the factor missing?": columns(misfit(mu, tau, x, prior), log_p),
        "is the prior of μ left out?": columns(only_data, for_tau),
        "are the rewards of μ and of τ exchanged?": columns(for_tau, for_mu),
        "is this without the terms that can be dropped?": dropped,
        "is this with the terms that can be dropped?": full,
        "is the density of the data without its (2π)^{-n/2}?": want
        + (constant if want is full else [0, 0, constant, constant]),
        "is it the logarithm upside down, log q − log p?": -want,
        "is the likelihood averaged over the data, not summed?": want
        - (1 - 1 / len(x)) * stats.norm.logpdf(x[:, None], mu, tau**-0.5).sum(axis=0)[:, None],
        "is log q(τ) there twice in the reward of τ, with log q(μ)?": columns(for_mu, naive),
    }
    atol = 1e-13 * np.abs(want).max()
    got = bbvi.integrands(q, mu, tau, x, prior, estimator)
    assert_close(got, want, rtol=SHARP, atol=atol, what=f"integrands(..., {estimator!r})", mistakes=mistakes)


@pytest.mark.claim("thm-black-box")
@pytest.mark.parametrize("problem", ["seven", "one datum"])
def test_integrands_times_scores_average_to_the_gradient(problem):
    """E_q[(R − c) s] by quadrature is torch's gradient of the ELBO, for c = 0 and for c = 17."""
    x, prior, q = PROBLEMS[problem]
    mu, tau, weights = nodes(q)
    s, R = bbvi.scores(q, mu, tau), bbvi.integrands(q, mu, tau, x, prior, "naive")
    want = torch_slope(q, x, prior)
    without = exact_mean(problem, "without the entropy")
    mistakes = {"is log q missing?": without, "is the sign of one of the two reversed?": -want}
    for c in (0, 17):
        got = weights @ ((R - c) * s)
        assert_close(got, want, rtol=1e-8, atol=1e-8, what=f"E[(R − {c}) s]", mistakes=mistakes)


@pytest.mark.claim("thm-local-terms")
@pytest.mark.parametrize("estimator", ["rao_blackwell", "both"])
@pytest.mark.parametrize("problem", ["seven", "one datum"])
def test_integrands_without_what_can_be_dropped_average_to_the_gradient(problem, estimator):
    """E_q[R_μ s] and E_q[R_τ s] by quadrature are torch's gradient of the ELBO: what was dropped has mean 0."""
    x, prior, q = PROBLEMS[problem]
    mu, tau, weights = nodes(q)
    s, R = bbvi.scores(q, mu, tau), bbvi.integrands(q, mu, tau, x, prior, estimator)
    want = torch_slope(q, x, prior)
    mistakes = {"are the rewards of μ and of τ exchanged?": exact_mean(problem, "swapped")}
    assert_close(weights @ (R * s), want, rtol=1e-8, atol=1e-8, what="E[R s]", mistakes=mistakes)


def test_integrands_depend_on_the_data_by_what_is_sufficient():
    """The data in another order, and other data of the same number, mean and squares, give the same R."""
    other = np.sort(X)[::-1]
    angle = 0.7  # a rotation that keeps (1, ..., 1)
    basis = np.linalg.qr(np.column_stack([np.ones(7), np.eye(7)[:, :6]]))[0]
    turn = np.eye(7)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = basis @ turn @ basis.T @ X
    for estimator in NAMES:
        want = bbvi.integrands(Q, MU, TAU, X, PRIOR, estimator)
        for x in (other, turned):
            assert_close(bbvi.integrands(Q, MU, TAU, x, PRIOR, estimator), want, rtol=1e-9, what="integrands")


@pytest.mark.parametrize("name", ["log_q", "scores", "std_score", "integrands"])
def test_log_q_scores_std_score_and_integrands_take_arrays_of_any_kind(name):
    """Read-only, strided, float32 and integer arrays, one row; nothing is written to, nothing remembered."""
    more = {"integrands": (X, PRIOR, "both")}.get(name, ())

    def call(mu, tau):
        places = (mu,) if name == "std_score" else (mu, tau)
        return getattr(bbvi, name)(Q, *places, *more)

    mu, tau = MU.copy(), TAU.copy()
    want = call(mu, tau)
    assert np.array_equal(mu, MU), f"{name} has written to mu"
    assert np.array_equal(tau, TAU), f"{name} has written to tau"
    (strided_mu, single_mu), (strided_tau, single_tau) = arrays_of_other_kinds(MU), arrays_of_other_kinds(TAU)
    assert_close(call(strided_mu, strided_tau), want, rtol=1e-12, what=f"{name} of strided arrays")
    exactly = call(single_mu.astype(float), single_tau.astype(float))
    assert_close(
        call(single_mu, single_tau), exactly, rtol=SHARP, what=f"{name} of float32 arrays: computed in float64?"
    )
    whole = np.array([1, -2, 3])
    assert_close(call(whole, abs(whole)), call(whole * 1.0, abs(whole) * 1.0), rtol=1e-12, what=f"{name} of integers")
    assert_close(call(MU[1:2], TAU[1:2]), want[1:2], rtol=1e-12, what=f"{name} of one row")
    mu += 1.0
    mistakes = {"is the result of an earlier call remembered by the identity of the array?": want}
    assert_close(call(mu, tau), call(MU + 1.0, TAU), rtol=1e-12, what=f"{name} of changed data", mistakes=mistakes)


# One number a parameter


def rows_by_hand(R, s):
    """(Rᵢ − cᵢ) sᵢ, one row and one column at a time."""
    rows = np.empty(R.shape)
    for i, k in np.ndindex(R.shape):
        others = [j for j in range(len(R)) if j != i]
        mass = math.fsum(s[j, k] ** 2 for j in others)
        rows[i, k] = (R[i, k] - math.fsum(R[j, k] * s[j, k] ** 2 for j in others) / mass) * s[i, k]
    return rows


def matrix_rows(f, s):
    """f − C h/Var(h) with C the covariances of the draws, column by column, as the source's torch.cov has it."""
    columns = [
        f[:, k] - np.cov(np.stack([f[:, k], s[:, k]], axis=1)) @ s[:, k] / s[:, k].var(ddof=1)
        for k in range(f.shape[1])
    ]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_leave_one_out_uses_all_rows_but_one(rng, n):
    """(Rᵢ − cᵢ) sᵢ with cᵢ from all other rows, each column by itself: a double loop with exact sums."""
    R, s = rng.normal(-3, 2, (n, 5)), rng.normal(0, 1, (n, 5)) * [0.1, 1, 3, 10, 1]
    want, f, squares = rows_by_hand(R, s), R * s, s**2
    own = (R * squares).sum(axis=0) / squares.sum(axis=0)
    deviation = s - s.mean(axis=0)
    centred = (deviation * (f - f.mean(axis=0))).sum(axis=0) / (deviation**2).sum(axis=0)
    alone = np.array([np.delete(R, i, axis=0).mean(axis=0) for i in range(n)])
    total = np.array(
        [(np.delete(R * squares, i, axis=0)).sum() / np.delete(squares, i, axis=0).sum() for i in range(n)]
    )
    mistakes = {
        "is the row's own draw among those the coefficient comes from?": f - own * s,
        "is it Cov(f, s)/Var(s) of all draws, the own one included?": f - centred * s,
        "is the coefficient the plain mean of the other R, a baseline?": (R - alone) * s,
        "is it the plain mean of all R, a baseline with the own one in it?": (R - R.mean(axis=0)) * s,
        "is it one coefficient for all columns?": (R - total[:, None]) * s,
        "is it R s, with nothing subtracted?": f,
        "is the coefficient added, where it is to be subtracted?": 2 * f - want,
        "is it a matrix: did the covariance take the draws for variables?": matrix_rows(f, s),
        "is it R − c, without the score?": np.divide(want, s),
        "are these the coefficients, not the rows?": R - want / s,
        "is the mean taken over the rows?": np.broadcast_to(want.mean(axis=0), want.shape),
    }
    got = bbvi.leave_one_out(R, s)
    assert_close(got, want, rtol=1e-9, atol=1e-11, what="leave_one_out(R, s)", mistakes=mistakes)


@pytest.mark.claim("thm-leave-one-out")
@pytest.mark.parametrize("n", [2, 3])
def test_leave_one_out_keeps_the_mean_of_every_row(n):
    """Over all samples of n from four atoms (R, s), E[s] = 0, each row has the mean E[R s]; with the own draw not."""
    R, s = np.array([-3.0, 1.5, 4.0, -7.0]), np.array([-2.0, 1.0, 0.5, 2.5])
    p = np.array([0.42, 0.3, 0.08, 0.2])
    s = s - p @ s
    samples = list(itertools.product(range(4), repeat=n))
    weights = np.array([np.prod(p[list(sample)]) for sample in samples])
    rows, own = [], []
    for sample in map(list, samples):
        R_n, s_n = R[sample][:, None], s[sample][:, None]
        rows.append(bbvi.leave_one_out(R_n, s_n)[:, 0])
        own.append((R_n[:, 0] - (R_n * s_n**2).sum() / (s_n**2).sum()) * s_n[:, 0])
    want, biased = np.full(n, p @ (R * s)), weights @ np.array(own)
    assert np.abs(biased - want).min() > 0.05  # so the test can tell
    mistakes = {"is the row's own draw among those the coefficient comes from? That biases every row": biased}
    assert_close(weights @ np.array(rows), want, rtol=1e-10, what="the means of the rows", mistakes=mistakes)


@pytest.mark.claim("thm-leave-one-out")
def test_leave_one_out_does_not_see_a_constant(rng):
    """With c added to all R no row changes, up to the rounding of c; and a constant R gives rows of zeros."""
    R, s = rng.normal(0, 2, (40, 4)), rng.normal(0, 1, (40, 4))
    want = bbvi.leave_one_out(R, s)
    for c in (17.0, -1e4, 1e8):
        got = bbvi.leave_one_out(R + c, s)
        off = np.abs(got - want).max()
        # R + c is rounded to 1e-16 c, the averages to some tens of that; |s| < 10 but for one run in 1e20
        assert off <= 1e-13 * abs(c), (
            f"a constant of {c:g} in R, as in other units, changes rows by {off:.2g}: is c subtracted?"
        )
    zeros = bbvi.leave_one_out(np.full((40, 4), -178.0), s)
    assert np.abs(zeros).max() < 1e-10, f"rows of a constant R should be zero, and reach {np.abs(zeros).max():.3g}"


def test_leave_one_out_has_no_coefficient_where_the_other_scores_are_zero():
    """If all other scores of a column are 0, nothing is subtracted: no division of 0 by 0."""
    R = np.array([[1.0, 2.0], [3.0, 5.0], [-4.0, 6.0]])
    s = np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    with np.errstate(all="ignore"):
        got = bbvi.leave_one_out(R, s)
    assert np.isfinite(got).all(), (
        f"0/0: where all other scores are 0 the coefficient is to be 0, got rows {got.tolist()}"
    )
    assert_close(got, [[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]], what="leave_one_out with zero scores")


def test_leave_one_out_goes_with_its_rows_columns_and_units(rng):
    """Rows in another order give rows in that order; columns too; scores times 1e6 give rows times 1e6."""
    R, s = rng.normal(0, 2, (6, 3)), rng.normal(0, 1, (6, 3))
    R_before, s_before = R.copy(), s.copy()
    want = bbvi.leave_one_out(R, s)
    assert np.array_equal(R, R_before), "leave_one_out has written to the integrands"
    assert np.array_equal(s, s_before), "leave_one_out has written to the scores"
    order = rng.permutation(6)
    assert_close(
        bbvi.leave_one_out(R[order], s[order]), want[order], rtol=1e-9, atol=1e-12, what="rows in another order"
    )
    assert_close(bbvi.leave_one_out(R[:, ::-1], s[:, ::-1]), want[:, ::-1], rtol=1e-9, what="columns in another order")
    assert_close(bbvi.leave_one_out(R, 1e6 * s), 1e6 * want, rtol=1e-9, what="scores in other units")
    assert_close(bbvi.leave_one_out(R[:, :1], s[:, :1]), want[:, :1], rtol=1e-9, what="one column")
    whole = np.array([[3, 1], [2, -5], [4, 2]])
    assert_close(bbvi.leave_one_out(whole, whole[::-1]), rows_by_hand(whole, whole[::-1]), what="integers")
    single = bbvi.leave_one_out(R.astype(np.float32), s.astype(np.float32))
    wide = bbvi.leave_one_out(R.astype(np.float32).astype(float), s.astype(np.float32).astype(float))
    assert_close(single, wide, rtol=1e-10, what="leave_one_out of float32: computed in float64?")
    for array in (R, s):
        array.flags.writeable = False
    assert_close(bbvi.leave_one_out(R, s), want, rtol=1e-12, what="read-only arrays")


@pytest.mark.claim("thm-constant-noise")
def test_best_coefficient_leaves_a_parabola_of_variances():
    """On five atoms: Var((R−c)s) = Var((R−a*)s) + (c−a*)²E[s²], least (1−ρ²)Var(Rs); constants shift a*."""
    p = np.array([0.1, 0.25, 0.3, 0.15, 0.2])
    s, R = np.array([-3.0, 1.0, 0.4, -1.1, 0.9]), np.array([-180.0, -170.0, -186.0, -181.5, -179.0])
    s = s - p @ s

    def variance(f):
        return p @ (f - p @ f) ** 2

    best = p @ (R * s**2) / (p @ s**2)
    assert R.min() < best < R.max()
    for c in (0.0, best, -180.0, 1e3):
        assert_close(variance((R - c) * s), variance((R - best) * s) + (c - best) ** 2 * (p @ s**2), what="Var((R−c)s)")
    f = R * s
    correlation = (p @ (f * s) - (p @ f) * (p @ s)) / np.sqrt(variance(f) * variance(s))
    assert_close(variance((R - best) * s), (1 - correlation**2) * variance(f), rtol=1e-8, what="(1−ρ²)Var f")
    assert_close(best, correlation * np.sqrt(variance(f) / variance(s)), what="Cov(f, s)/Var(s)")
    assert_close(p @ ((R + 17) * s**2) / (p @ s**2), best + 17, what="a* of R + 17")
    # and of the functions: the naive variance is what is left with a*, and a*² E[s²] more
    with_number, naive = (bbvi.draw_variance(Q, X, PRIOR, name) for name in ("control_variate", "naive"))
    number_ = bbvi.best_coefficient(Q, X, PRIOR, "naive")
    want = with_number + number_**2 * np.diag(bbvi.fisher_information(Q))
    assert_close(naive, want, rtol=1e-9, what="Var(R s), as Var((R−a*)s) + a*² E[s²]")


@problems
@estimators
def test_best_coefficient_is_the_average_with_the_squares_of_the_score(problem, estimator):
    """a* = E[R s²]/E[s²] from closed moments of ε, τ and log τ, for shapes from 0.01 to 10,000."""
    x, prior, q = PROBLEMS[problem]
    want = truth(problem, estimator)[1]
    mass = np.diag(bbvi.fisher_information(q))
    mean, law = truth(problem, estimator)[0], law_of(q)
    average = [float(reward.mean(law)) for reward in rewards(q, x, prior, estimator)]
    mistakes = {
        "is the division by E[s²] missing?": want * mass,
        "is it the plain mean of R, without the weights s²?": average,
        "is it E[R s]/E[s²], with s for s²?": mean / mass,
        "is the sign reversed?": -want,
        "is it R without what can be dropped?": truth(problem, "both")[1],
        "is it R with what can be dropped?": truth(problem, "naive")[1],
    }
    got = bbvi.best_coefficient(q, x, prior, estimator)
    atol = 1e-11 * np.abs(want).max()
    assert_close(got, want, rtol=1e-9, atol=atol, what=f"best_coefficient(..., {estimator!r})", mistakes=mistakes)


@pytest.mark.claim("thm-constant-noise")
@problems
@estimators
def test_draw_variance_is_exact(problem, estimator):
    """Var(R s), or Var((R−a*) s), from closed moments of ε, τ and log τ, for shapes from 0.01 to 10,000."""
    x, prior, q = PROBLEMS[problem]
    mean, _, want, _ = truth(problem, estimator)
    other = {"naive": "control_variate", "rao_blackwell": "both", "control_variate": "naive", "both": "rao_blackwell"}
    law = law_of(q)
    averages = np.array([float(reward.mean(law)) for reward in rewards(q, x, prior, estimator)])
    best, mass = truth(problem, estimator)[1], np.diag(bbvi.fisher_information(q))
    mistakes = {
        "is the control variate the wrong way: missing where it belongs, or there where not?": truth(
            problem, other[estimator]
        )[2],
        "is it the second moment, without the square of the mean subtracted?": want + mean**2,
        "is it the standard deviation?": np.sqrt(want),
        "is the mean of R subtracted, a baseline, where a* belongs?": want + (averages - best) ** 2 * mass,
        "is it the other R, with or without what can be dropped?": truth(
            problem,
            {"naive": "rao_blackwell", "rao_blackwell": "naive", "control_variate": "both", "both": "control_variate"}[
                estimator
            ],
        )[2],
        "is it the variance of R, without the score?": [
            float((r * r).mean(law) - r.mean(law) ** 2) for r in rewards(q, x, prior, estimator)
        ],
    }
    got = bbvi.draw_variance(q, x, prior, estimator)
    assert_close(got, want, rtol=1e-8, what=f"draw_variance(..., {estimator!r})", mistakes=mistakes)


@problems
def test_same_sample_bias_is_exact(problem):
    """−E[(R−a*) s³]/E[s²] from closed moments, the same for the R of the naive estimator and of the other."""
    x, prior, q = PROBLEMS[problem]
    want = truth(problem, "both")[3]
    mean, mass = truth(problem, "both")[0], np.diag(bbvi.fisher_information(q))
    scale = np.sqrt(truth(problem, "both")[2])  # in these units rounding is 1e-12, also where the bias is nearly 0
    assert_close(want / scale, truth(problem, "naive")[3] / scale, rtol=1e-8, atol=1e-10, what="that of the naive R")
    third, best = [], truth(problem, "both")[1]
    with mpmath.workdps(60):
        for s in score_polynomials(q):
            third.append(float((s * s * s).mean(law_of(q))))
    mistakes = {
        "is the sign reversed?": -want / scale,
        "is a* not subtracted from R?": (want - best * np.array(third) / mass) / scale,
        "is the division by E[s²] missing?": want * mass / scale,
        "is it s where s³ belongs?": -mean / mass / scale,
    }
    got = bbvi.same_sample_bias(q, x, prior)
    assert_close(
        got / scale, want / scale, rtol=1e-8, atol=1e-10, what="same_sample_bias, over √Var", mistakes=mistakes
    )


def multinomials(n, k):
    """All counts (c₁, …, c_k) that sum to n."""
    if k == 1:
        return np.array([[n]])
    return np.concatenate([np.insert(multinomials(n - first, k - 1), 0, first, axis=1) for first in range(n + 1)])


@pytest.mark.claim("prop-same-sample-bias")
def test_same_sample_bias_of_a_discrete_law_by_enumeration():
    """n times the bias tends to −E[(R−a*)s³]/E[s²]: three atoms, all counts of n = 25, 50, 100 and 200 draws."""
    p, s, R = np.array([0.3, 0.5, 0.2]), np.array([-2.0, 0.6, 1.5]), np.array([-1.0, 2.0, 5.0])
    assert_close(p @ s, 0.0, atol=1e-15, what="E[s]")
    best = p @ (R * s**2) / (p @ s**2)
    want = -p @ ((R - best) * s**3) / (p @ s**2)
    scaled = []
    for n in (25, 50, 100, 200):
        counts = multinomials(n, 3)
        weights = stats.multinomial.pmf(counts, n, p)
        coefficient = counts @ (R * s**2) / (counts @ s**2)
        estimate = (counts @ (R * s) - coefficient * (counts @ s)) / n
        scaled.append(n * (weights @ estimate - p @ (R * s)))
    errors = np.abs(np.array(scaled) - want)
    assert np.all(errors[1:] < errors[:-1] / np.sqrt(2)), (scaled, want)  # O(n^{-1/2}) at least
    assert_close(2 * scaled[3] - scaled[2], want, rtol=1e-3, what="n · bias, extrapolated")


@pytest.mark.claim("prop-same-sample-bias")
@pytest.mark.parametrize("n", [1, 2, 4])
def test_same_sample_bias_is_zero_where_the_mean_of_r_does_not_depend_on_s(n):
    """Six atoms with E[R | s] = 3 for each s: over all 6ⁿ samples the estimate has the mean E[R s] = 0."""
    s, R = np.repeat([-2.0, 0.6, 1.5], 2), np.array([1.0, 5.0, 2.0, 4.0, -6.0, 12.0])
    p = np.repeat([0.3, 0.5, 0.2], 2) / 2
    samples = np.array(list(itertools.product(range(6), repeat=n)))
    weights = p[samples].prod(axis=1)
    s_n, R_n = s[samples], R[samples]
    coefficient = (R_n * s_n**2).sum(axis=1) / (s_n**2).sum(axis=1)
    estimate = ((R_n - coefficient[:, None]) * s_n).mean(axis=1)
    assert_close(weights @ estimate, p @ (R * s), atol=1e-13, what="the mean of the estimate")
    assert abs(bbvi.same_sample_bias(optimum("seven"), X, PRIOR)).max() < 1e-8


@pytest.mark.claim("prop-same-sample-bias")
def test_same_sample_bias_is_what_a_simulation_shows(rng):
    """n times what leaving the own draw in changes, of 800 samples of 200 draws: in mean, shape and rate."""
    (x, prior, q), n, repetitions = PROBLEMS["calm"], 200, 800
    mu = rng.normal(q.mean, q.precision**-0.5, n * repetitions)
    tau = rng.gamma(q.shape, 1 / q.rate, n * repetitions)
    s = torch_scores(q, mu, tau).reshape(repetitions, n, 4).swapaxes(0, 1).reshape(n, -1)  # a column for each sample
    normal, gamma = log_factors(q, mu, tau)
    R = np.repeat((log_joint(mu, tau, x, prior) - normal - gamma).reshape(repetitions, n).T, 4, axis=1)
    without = bbvi.leave_one_out(R, s).mean(axis=0)  # unbiased, and nearly the same from draw to draw
    coefficient = (R * s**2).sum(axis=0) / (s**2).sum(axis=0)
    rows = n * (((R - coefficient) * s).mean(axis=0) - without).reshape(repetitions, 4)
    want = bbvi.same_sample_bias(q, x, prior)
    units = np.sqrt(bbvi.draw_variance(q, x, prior, "control_variate"))
    # the next order is 1/n: some 1 % of the bias, and a small part of what would be seen; the precision's is too skewed
    rows, want = (rows / units)[:, [0, 2, 3]], (want / units)[[0, 2, 3]]
    hints = {"the sign seems to be reversed": -want, "there seems to be no bias": np.zeros(3)}
    assert_unbiased(rows, want, detects=0.9, hints=hints)


@pytest.mark.claim("prop-matrix-coefficient")
def test_leave_one_out_is_not_what_the_matrix_computes(generator):
    """torch.cov over rows (fᵢ, hᵢ) is ½(fᵢ−hᵢ)(fⱼ−hⱼ), and the mean of f − Ch/V is (1 − ½(S−1)(â−1)) f̄ if h̄ = 0."""
    S = 50
    f, h = (torch.randn((S, 1), generator=generator, dtype=torch.float64) * k - k for k in (40.0, 2.0))
    for centred in (False, True):
        if centred:
            h = h - h.mean()
        C, V = torch.cov(torch.cat([f, h], dim=1)), h.var()
        assert_close(C, (f - h) @ (f - h).T / 2, rtol=1e-9, atol=1e-9, what="torch.cov of the rows")
        got = (f - C @ h / V).mean()
        assert_close(got, f.mean() - (f - h).mean() * ((f - h) * h).sum() / (2 * V), rtol=1e-8, what="its mean")
        if centred:
            a = ((f - f.mean()) * h).sum() / (S - 1) / V
            assert_close(got, (1 - (S - 1) / 2 * (a - 1)) * f.mean(), rtol=1e-7, what="its mean, with h̄ = 0")
    R, s = (f / h).numpy(), h.numpy()
    mistakes = {"is it a matrix: did the covariance take the draws for variables?": (f - C @ h / V).numpy()}
    assert_close(bbvi.leave_one_out(R, s), rows_by_hand(R, s), rtol=1e-8, atol=1e-8, what="rows", mistakes=mistakes)


# Dropping


@pytest.mark.claim("thm-rao-blackwell")
def test_rao_blackwell_of_a_discrete_law_by_enumeration(rng):
    """Var f = Var E[f|T] + E Var(f|T), and E[f|T] has the mean of f: random tables of f and p on 4 × 5 pairs."""
    p, f = rng.dirichlet(np.ones(20)).reshape(4, 5), rng.normal(size=(4, 5))
    given, weight = (p * f).sum(axis=1) / p.sum(axis=1), p.sum(axis=1)
    within = (p * (f - given[:, None]) ** 2).sum(axis=1) / weight
    mean = (p * f).sum()
    assert_close(weight @ given, mean, atol=1e-14, what="the mean of E[f|T]")
    assert_close((p * (f - mean) ** 2).sum(), weight @ (given - mean) ** 2 + weight @ within, what="Var f")


def test_draw_variance_without_mu_is_not_more_than_with_it():
    """Averaging R over μ given τ, by quadrature, leaves the rows of τ's parameters less variance, by E Var(f|τ)."""
    mu, tau, weights = nodes(Q)
    f = bbvi.integrands(Q, mu, tau, X, PRIOR, "naive")[:, 2:] * bbvi.scores(Q, mu, tau)[:, 2:]
    f, w = f.reshape(9, 1500, 2), weights.reshape(9, 1500)
    given = (w[:, :, None] * f).sum(axis=0) / w.sum(axis=0)[:, None]
    mean = w.sum(axis=0) @ given
    between = w.sum(axis=0) @ (given - mean) ** 2
    within = np.einsum("ij,ijk->k", w, (f - given) ** 2)
    got = bbvi.draw_variance(Q, X, PRIOR, "naive")[2:]
    assert_close(got, between + within, rtol=1e-8, what="Var f, as Var E[f|τ] + E Var(f|τ)")


def plate(rng, n):
    """All states of bits w1, w2, v, z, y₁, …, y_n under random tables: log p, log q of each, and the parts of log p."""
    states = np.array(list(itertools.product([0, 1], repeat=n + 4))).T
    w1, w2, v, z, *y = states
    tables = np.log(rng.dirichlet([1, 1], size=(5, 2)))
    seen = np.log(rng.uniform(0.05, 0.95, size=(n, 2, 2)))
    parts = {
        "w1": tables[0, 0, w1],
        "w2": tables[1, 0, w2],
        "v": tables[2, w1, v],
        "z": tables[3, v, z],
        "y": sum(tables[4, w2, bit] for bit in y),
    }
    parts |= {f"x{i}": seen[i, z, y[i]] for i in range(n)}
    return states, parts


@pytest.mark.claim("cor-plate")
@pytest.mark.claim("thm-local-terms")
@pytest.mark.parametrize("n", [1, 3])
def test_softplus_gives_the_bits_whose_gradient_needs_the_blanket_alone(rng, n):
    """On all 2^{n+4} states: E[∇log q(z)(log p(z|v) + Σₙ log p(xₙ|z,yₙ) − log q(z))] is the slope of the exact ELBO."""
    states, parts = plate(rng, n)
    logits = rng.normal(size=n + 4)
    log_p = sum(parts.values())

    def logs_of_q(logits):  # log q of a bit = bit · logit − softplus(logit)
        return states * logits[:, None] - np.array([bbvi.softplus(float(r)) for r in logits])[:, None]

    def elbo(logits):
        log_q = logs_of_q(logits).sum(axis=0)
        return np.exp(log_q) @ (log_p - log_q)

    def difference(h):
        step = h * np.eye(n + 4)[3]
        return (elbo(logits + step) - elbo(logits - step)) / (2 * h)

    want = (4 * difference(5e-3) - difference(1e-2)) / 3
    logs = logs_of_q(logits)
    q, score = np.exp(logs.sum(axis=0)), states[3] - special.expit(logits[3])
    likelihood = sum(parts[f"x{i}"] for i in range(n))
    local = q @ (score * (parts["z"] + likelihood - logs[3]))
    everything = q @ (score * (log_p - logs.sum(axis=0)))
    assert_close(everything, want, rtol=1e-6, atol=1e-8, what="the average with everything")
    assert_close(local, want, rtol=1e-6, atol=1e-8, what="the average with the blanket alone")
    # the average over v, z and y alone: marginals of q over these, each state once
    some = np.exp(logs[2:].sum(axis=0))
    needed = (states[0] == 0) & (states[1] == 0)
    assert_close((some * score * (parts["z"] + likelihood - logs[3]))[needed].sum(), local, what="without w1 and w2")
    if n > 1:
        one = q @ (score * (parts["z"] + parts["x0"] - logs[3]))
        assert abs(one - want) > 1e-6, "one datum instead of the sum cannot be right"


# At the optimum


@pytest.mark.claim("thm-at-the-optimum")
@pytest.mark.parametrize("problem", ["seven", "one datum", "sixty, far off"])
def test_integrands_at_the_optimum_are_what_the_theorem_says(rng, problem):
    """R = ELBO − ½(t−1)(ε²−1); up to constants R_μ = −½(t−1)(ε²+k) and R_τ = −½t(ε²−1): at 50 random places."""
    x, prior, _ = PROBLEMS[problem]
    q = optimum(problem)
    m, precision, a, b = q
    mu, tau = rng.normal(m, 2 * precision**-0.5, 50), rng.gamma(a, 1 / b, 50) * rng.uniform(0.5, 2, 50)
    square, t = precision * (mu - m) ** 2, tau * b / a
    k = a / b * len(x) * prior.scale * (x.mean() - prior.mean) ** 2 / (prior.scale + len(x))
    elbo = mean_field.elbo(q, x, prior)
    naive = elbo - (t - 1) * (square - 1) / 2
    got = bbvi.integrands(q, mu, tau, x, prior, "naive")
    atol = 1e-9 * np.abs(naive).max()
    assert_close(got, np.stack([naive] * 4, axis=1), rtol=1e-8, atol=atol, what="R at the optimum")
    got = bbvi.integrands(q, mu, tau, x, prior, "both")
    for_mu, for_tau = -(t - 1) * (square + k) / 2, -t * (square - 1) / 2
    want = np.stack([for_mu, for_mu, for_tau, for_tau], axis=1)
    assert_close(got - got[0], want - want[0], rtol=1e-7, atol=atol, what="R_μ and R_τ at the optimum, up to constants")


@pytest.mark.claim("thm-at-the-optimum")
@problems
def test_draw_variance_at_the_optimum_is_what_the_theorem_says(problem):
    """Closed forms of the variances with and without dropping; dropping is worse; the naive one has ELBO² E[s²]."""
    x, prior, _ = PROBLEMS[problem]
    q = optimum(problem)
    _, precision, a, b = q
    k = a / b * len(x) * prior.scale * (x.mean() - prior.mean) ** 2 / (prior.scale + len(x))
    # E[(t−1)² s_a²] from closed moments of t = τb/a and log τ
    with mpmath.workdps(60):
        law, s = law_of(q), score_polynomials(q)[2]
        t = Polynomial({(0, 1, 0): mpmath.mpf(b) / a})
        off = t.plus(number(1), -1)
        shape_alone, shape_both = (float((f * f * s * s).mean(law)) / 2 for f in (off, t))
    assert_close(shape_both - shape_alone, float(special.polygamma(1, a)) / 2, rtol=1e-6, what="½ψ′(a)")
    alone = [5 * precision / (2 * a), 15 / (4 * a * precision**2), shape_alone, 3 * (a + 2) / (2 * a * b**2)]
    both = [
        precision * (15 + 6 * k + k**2) / (4 * a),
        (39 + 10 * k + k**2) / (8 * a * precision**2),
        shape_both,
        (a + 1) * (a + 6) / (2 * a * b**2),
    ]
    got = {name: bbvi.draw_variance(q, x, prior, name) for name in NAMES}
    assert_close(got["control_variate"], alone, rtol=1e-7, what="draw_variance(..., 'control_variate') at the optimum")
    assert_close(got["both"], both, rtol=1e-7, what="draw_variance(..., 'both') at the optimum")
    assert np.all(got["both"] > got["control_variate"])
    elbo = mean_field.elbo(q, x, prior)
    assert_close(bbvi.best_coefficient(q, x, prior, "naive"), np.full(4, elbo), rtol=1e-8, what="a* at the optimum")
    wasted = elbo**2 * np.diag(bbvi.fisher_information(q))
    assert_close(got["naive"], np.array(alone) + wasted, rtol=1e-7, what="draw_variance(..., 'naive') at the optimum")


# The estimate


def estimates(rng, q, x, prior, n, estimator, repetitions):
    return np.array([bbvi.gradient(rng, q, x, prior, n, estimator) for _ in range(repetitions)])


@pytest.mark.claim("thm-black-box")
@estimators
def test_gradient_is_unbiased(rng, estimator):
    """300 estimates of 100 draws against the gradient from closed moments, in units of one estimate's deviation."""
    x, prior, q = PROBLEMS["calm"]
    mean, _, variance, _ = truth("calm", estimator)
    n, units = 100, np.sqrt(variance / 100)
    precision, a, b = (mpmath.mpf(value) for value in q[1:])
    raw = special.expit(bbvi.softplus_inverse(np.array(q[1:])))
    wrong = {
        "log q seems to be missing": exact_mean("calm", "without the entropy"),
        "the sign seems to be reversed": -mean,
        "it seems to be a sum over the draws, not a mean": n * mean,
        "it seems to be the slope in the raw parameters, times 1/(1+e^{−r})": mean * [1, *raw],
        "the rewards of μ and of τ seem to be exchanged": exact_mean("calm", "swapped"),
        "τ seems to be drawn with the rate as a scale": exact_mean("calm", estimator, (1 / precision, a, 1 / b)),
        "μ seems to be drawn with the variance λ": exact_mean("calm", estimator, (precision, a, b)),
        "μ seems to be drawn with the standard deviation 1/λ": exact_mean("calm", estimator, (1 / precision**2, a, b)),
        "μ seems to be drawn with the standard deviation λ": exact_mean("calm", estimator, (precision**2, a, b)),
        "precision seems to have the slope of the standard deviation": mean * [1, -2 * q.precision**1.5, 1, 1],
    }
    rows = estimates(rng, q, x, prior, n, estimator, 300)
    hints = {words: value / units for words, value in wrong.items()}
    assert_unbiased(rows / units, mean / units, detects=0.6, hints=hints)


@pytest.mark.claim("thm-leave-one-out")
@pytest.mark.parametrize("estimator", ["control_variate", "both"])
def test_gradient_is_unbiased_from_five_draws(rng, estimator):
    """With five draws a coefficient that has seen its draw misses by half a deviation; 1,100 estimates do not."""
    x, prior, q = PROBLEMS["calm"]
    mean, _, variance, _ = truth("calm", estimator)
    units = np.sqrt(variance / 5)
    rows = estimates(rng, q, x, prior, 5, estimator, 1100)
    # What a coefficient from the same five draws gives, by 12,000 samples, to 1/100 of the units: as a hint
    mu, tau = rng.normal(q.mean, q.precision**-0.5, 60_000), rng.gamma(q.shape, 1 / q.rate, 60_000)
    s, R = (
        f(q, mu, tau, *more).reshape(-1, 5, 4)
        for f, more in ((bbvi.scores, ()), (bbvi.integrands, (x, prior, estimator)))
    )
    f = R * s
    own = f - (f * s).sum(axis=1, keepdims=True) / (s**2).sum(axis=1, keepdims=True) * s
    centred_s = s - s.mean(axis=1, keepdims=True)
    covariance = (f * centred_s).sum(axis=1, keepdims=True) / (centred_s**2).sum(axis=1, keepdims=True)
    hints = {
        "the coefficient seems to come from the same draws, the own one included": own.mean(axis=(0, 1)) / units,
        "Cov(f, s)/Var(s) seems to come from the same draws": (f - covariance * s).mean(axis=(0, 1)) / units,
        "it seems to be divided by n − 1, not n": 1.25 * mean / units,
    }
    some = [0, 2, 3]  # the precision's bias is a hundredth of a deviation
    hints = {words: value[some] for words, value in hints.items()}
    assert_unbiased((rows / units)[:, some], (mean / units)[some], detects=0.6, hints=hints)


def test_gradient_is_unbiased_from_one_draw(rng):
    """n = 1 is enough without a control variate: the slope in the mean, 900 single draws against closed moments."""
    x, prior, q = PROBLEMS["calm"]
    mean, _, variance, _ = truth("calm", "rao_blackwell")
    with np.errstate(all="ignore"):
        rows = estimates(rng, q, x, prior, 1, "rao_blackwell", 900) / np.sqrt(variance)
    assert np.isfinite(rows).all(), "with n = 1 the estimate is not finite: is it divided by n − 1?"
    assert_mean(rows[:, 0], mean[0] / np.sqrt(variance[0]), detects=0.5)


@pytest.mark.parametrize("estimator", ["naive", "rao_blackwell"])
def test_gradient_has_the_variance_of_n_independent_draws(rng, estimator):
    """The slope in the mean: 1,200 estimates of 100 draws have 1/100 of one draw's variance, from closed moments."""
    x, prior, q = PROBLEMS["calm"]
    one = {name: truth("calm", name)[2][0] for name in NAMES}
    hints = {
        "it is that of the other R, with or without what can be dropped": one[
            "rao_blackwell" if estimator == "naive" else "naive"
        ],
        "it is that of the control variate, which this estimator has not": one["control_variate"],
        "n seems to be ignored: it is one draw's variance": 100 * one[estimator],
        "it is twice the variance: half of the draws unused": 2 * one[estimator],
    }
    rows = estimates(rng, q, x, prior, 100, estimator, 1200)[:, 0] * np.sqrt(100 / one[estimator])
    hints = {words: value / one[estimator] for words, value in hints.items()}
    assert_variance(rows, 1.0, detects=1.2, hints=hints)


@pytest.mark.claim("thm-constant-noise")
@pytest.mark.parametrize("estimator", ["control_variate", "both"])
@pytest.mark.parametrize("problem", ["sixty, far off", "seven"])
def test_gradient_with_a_control_variate_is_as_quiet_as_it_can_be(rng, problem, estimator):
    """At the optimum at most a few of 60 estimates are ten of the least standard deviations off, and none is naive.

    A right one may have up to three times the least variance (half of the draws spent on the coefficient, say). By
    Chebyshev's inequality an estimate is then off by ten with probability at most 0.03: more than 13 of 60 have
    probability 1e-8, Bonferroni's factor 4 included. Without the number a deviation is 20 to 400 times the least.
    """
    x, prior, _ = PROBLEMS[problem]
    q = optimum(problem)
    least = np.sqrt(bbvi.draw_variance(q, x, prior, estimator) / 100)
    naive = np.sqrt(bbvi.draw_variance(q, x, prior, "naive") / 100)
    rows = estimates(rng, q, x, prior, 100, estimator, 60)
    off = (np.abs(rows) > 10 * least).sum(axis=0)
    typical = np.median(np.abs(rows), axis=0)
    assert stats.binom.sf(13, 60, 0.03) * 4 < 1e-6
    assert off.max() <= 13, (
        f"{off} of 60 estimates of (mean, precision, shape, rate) are more than ten times the least standard deviation "
        f"{least} off; they spread by {typical}, the naive ones by {naive}. Is the number not subtracted, is it one "
        "for all parameters, or a matrix of covariances of the draws?"
    )


@pytest.mark.parametrize("estimator", ["control_variate", "both"])
def test_gradient_with_a_control_variate_does_not_see_the_units(estimator):
    """Data in units of 1/1000 add −n log 1000 to log p and change the slopes by the chain rule, draw by draw."""
    k = 1e3
    got, other = (
        bbvi.gradient(np.random.default_rng(8), q, x, prior, 30, estimator)
        for q, x, prior in [
            (Q, X, PRIOR),
            (
                Factors(k * Q.mean, Q.precision / k**2, Q.shape, k**2 * Q.rate),
                k * X,
                PRIOR._replace(mean=k * PRIOR.mean, rate=k**2 * PRIOR.rate),
            ),
        ]
    )
    back = other * [k, 1 / k**2, 1, k**2]
    units = np.sqrt(truth("seven", estimator)[2] / 30)
    off = np.abs(back - got) / units
    # R is some hundred in size and rounded to 1e-14; a mean of thirty of them, times scores, to some tens of that
    assert off.max() < 1e-9, (
        f"the units of the data change the estimate by {off} of its deviations: log p's constant is not subtracted"
    )


@pytest.mark.parametrize("estimator", ["naive", "rao_blackwell"])
def test_gradient_of_one_draw_is_its_integrand_times_its_score(estimator):
    """From ĝ of one draw follow μ (by the ratio of two slopes) and τ (of the others); with them, ĝ = R s exactly."""
    m, precision, a, b = Q
    rng, off = np.random.default_rng(5), []
    for _ in range(40):
        got = bbvi.gradient(rng, Q, X, PRIOR, 1, estimator)
        # s_λ/s_m = r is a quadratic in μ − m;  s_a/s_b = r is  log τ + rτ = k,  which Lambert's function solves
        half = precision * got[1] / got[0]
        mu = m - half + np.array([1, -1]) * np.sqrt(half**2 + 1 / precision)
        r = got[2] / got[3]
        k = special.digamma(a) - np.log(b) + r * a / b
        tau = (special.lambertw(r * np.exp(k), [0, -1]) / r).real
        mu, tau = (values.ravel() for values in np.meshgrid(mu, tau[tau > 0]))
        want = bbvi.integrands(Q, mu, tau, X, PRIOR, estimator) * bbvi.scores(Q, mu, tau)
        # and the draw is one of these candidates, if it is one draw of the stated R
        off.append((np.abs(want - got) / np.abs(got)).max(axis=1).min())
    # half of the draws may lose ten digits, near a double root: a thousandth does
    assert np.median(off) < 1e-6, (
        f"a gradient of one draw is not R s with the R of {estimator!r} and a score of q: off by {np.median(off):.2g} "
        "of itself. Is what can be dropped left in, or something else dropped?"
    )


def test_gradient_drops_what_has_nothing_to_do_with_the_score(rng):
    """With the shape 0.01 log τ is by far the largest part of log p; the slopes of μ's parameters are free of it.

    A right one may have three times the variance, so by Chebyshev's inequality is off by five deviations in 0.12 of
    all estimates at most; more than 53 of 200 have probability 1e-8. With log p in R_μ a deviation is 6 to 13 times.
    """
    x, prior, q = PROBLEMS["tiny shape"]
    assert stats.binom.sf(53, 200, 0.12) * 4 < 1e-6
    for name in ("rao_blackwell", "both"):
        mean, _, variance, _ = truth("tiny shape", name)
        least = np.sqrt(variance / 100)
        off = (np.abs(estimates(rng, q, x, prior, 100, name, 200) - mean) > 5 * least).sum(axis=0)[:2]
        assert off.max() <= 53, (
            f"{off} of 200 estimates of (mean, precision) with {name!r} are more than five times the stated deviation "
            "off: does R for μ contain terms of log p without μ, as if only log q(τ) were dropped?"
        )


def test_gradient_has_the_variance_of_three_draws(rng):
    """The slope in the mean from three draws: a count that is one too small or too large shows there."""
    x, prior, q = PROBLEMS["calm"]
    one = truth("calm", "rao_blackwell")[2][0]
    hints = {"it seems to be that of n + 1 draws": 0.75, "it seems to be that of n − 1 draws": 1.5}
    rows = estimates(rng, q, x, prior, 3, "rao_blackwell", 6000)[:, 0] * np.sqrt(3 / one)
    assert_variance(rows, 1.0, detects=0.5, hints=hints)


@pytest.mark.claim("thm-leave-one-out")
@pytest.mark.parametrize("estimator", ["control_variate", "both"])
def test_gradient_is_unbiased_from_fifty_draws(rng, estimator):
    """The slope in the shape: leaving the own draw in still adds a quarter of a deviation, 1.8/√50."""
    x, prior, q = PROBLEMS["calm"]
    mean, _, variance, bias = (row[2] for row in truth("calm", estimator))
    units = np.sqrt(variance / 50)
    rows = estimates(rng, q, x, prior, 50, estimator, 2000)[:, 2] / units
    hints = {"the coefficient seems to come from the same draws, the own one included": (mean + bias / 50) / units}
    assert_mean(rows, mean / units, detects=0.25, hints=hints)


def test_gradient_draws_log_tau_where_tau_is_below_every_float(rng):
    """With the shape 0.001 log τ is below −2000 in an eighth of all draws: the ratio of two slopes tells."""
    q = Factors(0.5, 1.0, 1e-3, 1e-3)
    with np.errstate(all="ignore"):
        rows = estimates(rng, q, X, PRIOR, 1, "rao_blackwell", 500)
    assert np.isfinite(rows).all(), "with the shape 0.001 an estimate is not finite: draw log τ, not τ"
    # s_a/s_b = (log b − ψ(a) + log τ)/(a/b), τ = 0 beside a/b; the τ of a/b to 2a/b, one in 1,500, are miscounted
    log_tau = rows[:, 2] / rows[:, 3] * q.shape / q.rate - np.log(q.rate) + special.digamma(q.shape)
    share = math.exp(q.shape * (np.log(q.rate) - 2000) - special.gammaln(q.shape + 1))  # xᵃ/Γ(a+1), the law of small x
    hints = {"τ seems to be drawn, and put up to the smallest float: draw log τ": 0.0}
    assert_proportion(int((log_tau < -2000).sum()), 500, share, detects=0.13, hints=hints)


@estimators
def test_gradient_draws_from_its_generator_alone(estimator):
    """The same seed gives the same, another another; NumPy's global generator is as it was; no argument changes."""
    state, x = global_state(), X.copy()
    one, again, other = (bbvi.gradient(np.random.default_rng(seed), Q, x, PRIOR, 20, estimator) for seed in (5, 5, 6))
    assert np.array_equal(state, global_state()), "the global generator was used: draw from rng"
    assert np.array_equal(one, again), "the same seed gave another result: draw from rng alone"
    assert not np.isclose(one, other).any(), "another seed gave the same result"
    assert np.array_equal(x, X), "gradient has written to x"
    rng = np.random.default_rng(5)
    first, second = (bbvi.gradient(rng, Q, x, PRIOR, 20, estimator) for _ in range(2))
    assert not np.isclose(first, second).any(), "two calls with one generator gave the same: is it seeded anew?"
    x += 3.0
    moved = bbvi.gradient(np.random.default_rng(5), Q, x, PRIOR, 20, estimator)
    assert not np.isclose(one, moved).all(), "other data gave the same result: is it remembered by identity?"
    x -= 3.0
    assert_close(
        bbvi.gradient(np.random.default_rng(5), Q, x, PRIOR, 20, estimator), one, rtol=1e-7, what="gradient again"
    )


def test_gradient_takes_data_of_any_kind():
    """Integers, float32, read-only and strided data, one datum; and parameters that are integers."""
    whole = np.array([1, 0, 3, 2])
    q, prior = Factors(1, 2, 3, 4), NormalGamma(0, 1, 2, 3)
    for name in NAMES:
        want = bbvi.gradient(
            np.random.default_rng(5), Factors(1.0, 2.0, 3.0, 4.0), whole * 1.0, NormalGamma(0.0, 1.0, 2.0, 3.0), 9, name
        )
        strided, single = arrays_of_other_kinds(whole * 1.0)
        for x in (whole, strided, single):
            got = bbvi.gradient(np.random.default_rng(5), q, x, prior, 9, name)
            assert_close(got, want, rtol=1e-9, what=f"gradient of {x.dtype}")
    assert np.shape(bbvi.gradient(np.random.default_rng(5), q, np.array([2.0]), prior, 2, "both")) == (4,)


def test_gradient_is_finite_where_tau_is_below_every_float():
    """With the shape 0.001 half of all τ are below 1e-308: their logarithms are not −∞, nor the estimate NaN."""
    q = Factors(0.5, 1.0, 1e-3, 1e-3)
    with np.errstate(all="ignore"):
        for name in NAMES:
            got = bbvi.gradient(np.random.default_rng(5), q, X, PRIOR, 50, name)
            assert np.isfinite(got).all(), f"{name} gives {got}: draw log τ, not τ, whose logarithm may be −∞"


# Parameters without bounds


def test_softplus_is_the_logarithm_of_one_plus_exp():
    """log(1 + eʳ) to 50 digits by mpmath, from −700 to 700 and beyond; numbers stay numbers."""
    raw = np.array([-700.0, -40.0, -5.0, -1e-3, 0.0, 1.0, 19.0, 35.0, 700.0, 1e5])
    with mpmath.workdps(400):
        want = [float(mpmath.log1p(mpmath.exp(mpmath.mpf(r)))) for r in raw]
    with np.errstate(all="ignore"):
        naive = np.log(1 + np.exp(raw))
        got = bbvi.softplus(raw)
    assert np.isfinite(got).all(), f"softplus overflows: eʳ is not a number at r = 1e5 (got {got})"
    assert (got > 0).all(), f"softplus is 0 at some r: 1 + eʳ is rounded to 1 (got {got})"
    mistakes = {
        "is it log(1 + eʳ) as it stands, which loses eʳ beside 1?": naive,
        "is it exp?": np.exp(np.minimum(raw, 709)),
    }
    assert_close(got, want, rtol=1e-14, what="softplus(raw)", mistakes=mistakes)
    assert np.ndim(bbvi.softplus(1)) == 0
    assert_close(
        bbvi.softplus(np.array([[1, 2], [3, 4]])), np.log1p(np.exp([[1.0, 2], [3, 4]])), what="softplus of integers"
    )


def test_softplus_inverse_goes_back():
    """log(eᵛ − 1) to 50 digits by mpmath, from 1e-300 to 1e300; and it undoes softplus."""
    value = np.array([1e-300, 1e-30, 1e-5, 0.3, np.log(2), 1.0, 5.0, 40.0, 800.0, 1e300])
    with mpmath.workdps(400):
        want = [float(mpmath.log(mpmath.expm1(mpmath.mpf(v)))) if v < 1e4 else v for v in value]
    with np.errstate(all="ignore"):
        got = bbvi.softplus_inverse(value)
    assert np.isfinite(got).all(), f"softplus_inverse is not finite: eᵛ overflows, or eᵛ − 1 is 0 (got {got})"
    mistakes = {"is it the logarithm?": np.log(value)}
    assert_close(got, want, rtol=1e-13, atol=1e-15, what="softplus_inverse(value)", mistakes=mistakes)
    raw = np.array([-600.0, -3.0, 0.2, 7.0, 600.0])
    assert_close(bbvi.softplus_inverse(bbvi.softplus(raw)), raw, rtol=1e-12, atol=1e-14, what="there and back")
    assert np.ndim(bbvi.softplus_inverse(2)) == 0


@pytest.mark.parametrize("name", ["softplus", "softplus_inverse", "raw_gradient"])
def test_softplus_softplus_inverse_and_raw_gradient_compute_in_float64(name):
    """float32 and read-only arrays give what the same numbers in float64 do, in float64."""
    values = np.array([0.3, 1.7, 5.1, 9.3])
    strided, single = arrays_of_other_kinds(values)
    call = getattr(bbvi, name)
    if name == "raw_gradient":
        call = lambda values: bbvi.raw_gradient(values, values)  # noqa: E731
    got, want = call(single), call(single.astype(float))
    assert got.dtype == np.float64, f"{name} of float32 arrays is {got.dtype}: computed in float64?"
    assert_close(got, want, rtol=SHARP, what=f"{name} of float32 arrays: computed in float64?")
    assert_close(call(strided), call(values), rtol=1e-12, what=f"{name} of read-only arrays")


@pytest.mark.claim("prop-softplus-chain", kind="automatic differentiation")
def test_raw_gradient_is_the_slope_of_the_elbo_in_the_raw_parameters(rng):
    """Torch's gradient of ELBO(m, softplus(r)) in (m, r), at eight random places; the mean's entry is as it was."""
    raw = rng.normal(0, 1.5, (8, 4))
    slopes, want = np.empty((8, 4)), np.empty((8, 4))
    for i, row in enumerate(raw):
        r = torch.tensor(row, requires_grad=True)
        theta = torch.cat([r[:1], torch.nn.functional.softplus(r[1:])])
        theta.retain_grad()
        torch_elbo(theta, X, PRIOR).backward()
        want[i], slopes[i] = r.grad.numpy(), theta.grad.numpy()
    sigmoid = special.expit(raw)
    sigmoid[:, 0] = 1
    twice = sigmoid * (1 - sigmoid)
    twice[:, 0] = 1
    mistakes = {
        "is the factor 1/(1+e^{−r}) missing, as in the source?": slopes,
        "is the mean's slope multiplied as well?": slopes * special.expit(raw),
        "is it divided by 1/(1+e^{−r})?": slopes / sigmoid,
        "is it the slope of the logistic function, σ(r)(1−σ(r))?": slopes * twice,
        "is it 1/(1+eʳ), with the sign of r reversed?": slopes * np.where(np.arange(4) > 0, special.expit(-raw), 1),
        "is it the chain rule of exp, not of softplus?": slopes * np.where(np.arange(4) > 0, np.exp(raw), 1),
        "is the factor taken at softplus(r), not at r?": slopes
        * np.where(np.arange(4) > 0, special.expit(np.logaddexp(0, raw)), 1),
        "is the factor there twice?": slopes * sigmoid**2,
    }
    got = bbvi.raw_gradient(raw, slopes)
    assert_close(got, want, rtol=1e-9, atol=1e-11, what="raw_gradient", mistakes=mistakes)
    assert_close(bbvi.raw_gradient(raw[0], slopes[0]), want[0], rtol=1e-9, atol=1e-11, what="raw_gradient of one row")
    deep = bbvi.raw_gradient(raw.reshape(2, 4, 4), slopes.reshape(2, 4, 4))
    assert_close(deep, want.reshape(2, 4, 4), rtol=1e-9, atol=1e-11, what="raw_gradient of (2, 4, 4)")


def test_raw_gradient_neither_overflows_nor_writes():
    """At r = ±700 the factors are e^{−700} and 1; the arguments, read-only, are as they were; integers will do."""
    raw, slope = np.array([[700.0, -700.0, 700.0, 0.0], [-700.0, 30.0, -30.0, 1.0]]), np.full((2, 4), 2.0)
    before = raw.copy(), slope.copy()
    with np.errstate(all="ignore"):
        got = bbvi.raw_gradient(raw, slope)
    want = 2 * special.expit(raw)
    want[:, 0] = 2
    assert np.isfinite(got).all(), f"raw_gradient overflows at r = ±700: {got}"
    assert_close(got, want, rtol=1e-12, what="raw_gradient at r = ±700")
    assert np.array_equal(raw, before[0]), "raw_gradient has written to raw"
    assert np.array_equal(slope, before[1]), "raw_gradient has written to the gradient"
    assert_close(bbvi.raw_gradient(np.array([1, 0, 0, 0]), np.array([3, 4, 6, 8])), [3, 2, 3, 4], what="of integers")


@pytest.mark.claim("prop-softplus-chain")
def test_raw_gradient_is_that_of_a_function_and_without_the_factor_is_not():
    """The Jacobian of raw_gradient ∘ exact_gradient is symmetric; without the factor (shape, rate) entries differ."""
    raw = bbvi.softplus_inverse(np.array([1.0, *Q[1:]]))
    raw[0] = Q.mean

    def field(r, chain):
        slope = bbvi.exact_gradient(Factors(r[0], *bbvi.softplus(r[1:])), X, PRIOR)
        return bbvi.raw_gradient(r, slope) if chain else slope

    for chain in (True, False):
        h, eye = 1e-3, np.eye(4)
        jacobian = np.array(
            [
                (
                    8 * (field(raw + h * e, chain) - field(raw - h * e, chain))
                    - (field(raw + 2 * h * e, chain) - field(raw - 2 * h * e, chain))
                )
                / (12 * h)
                for e in eye
            ]
        )
        if chain:
            assert_close(jacobian, jacobian.T, rtol=1e-6, atol=1e-8, what="the Jacobian with the factor, transposed")
        else:
            assert abs(jacobian[2, 3] - jacobian[3, 2]) > 0.05 * abs(jacobian[2, 3])
            theta = torch.tensor(tuple(Q), dtype=torch.float64)
            hessian = torch.autograd.functional.hessian(lambda theta: torch_elbo(theta, X, PRIOR), theta).numpy()
            factors = special.expit(raw)
            factors[0] = 1
            assert_close(jacobian, factors[:, None] * hessian, rtol=1e-6, atol=1e-8, what="∂ⱼ of entry i: H_ij σ(r_j)")
    slope = field(raw, False)
    assert slope @ field(raw, True) > 0


# The climb


CLIMB = {"steps": 6, "draws": 10}
START = Factors(0.0, 1.3, 1.3, 1.3)


def test_climb_begins_at_the_start_and_keeps_its_steps_short(rng):
    """dᵀFd ≤ (rate · reach/(1 + 10t/steps))² for each step d in the mean and the logs: as long as that if it is cut."""
    path = bbvi.climb(rng, X, PRIOR, steps=40, draws=4, rate=0.5, reach=0.3, estimator="naive", start=START)
    assert_close(path[0], START, what="the first row of the path: the start")
    assert path.shape == (41, 4), f"the path has shape {path.shape}: the start and 40 steps are 41 rows"
    longest = 0.15 / (1 + 10 * np.arange(40) / 40)
    lengths = []
    for q, following in itertools.pairwise(path):
        d = np.append(following[0] - q[0], q[1:] * np.log(following[1:] / q[1:]))
        lengths.append(np.sqrt(d @ bbvi.fisher_information(Factors(*map(float, q))) @ d))
    ratio = np.array(lengths) / longest
    assert ratio.max() < 1 + 1e-6, f"a step is {ratio.max():.3g} times as long as rate · reach/(1 + 10 t/steps) allows"
    # with four draws a naive natural gradient is far longer than 0.3 almost always, and so it is cut
    assert (ratio > 1 - 1e-6).sum() > 10, (
        f"steps are shorter than they may be: {ratio.round(3)} of rate · reach/(1 + 10 t/steps)"
    )


@pytest.mark.claim("prop-natural-step")
def test_climb_steps_along_the_natural_gradient(rng):
    """With no limit, F d / rate of the first step d is an unbiased estimate of the gradient; the second is a sixth."""
    x, prior, start = PROBLEMS["calm"]
    F, exact = bbvi.fisher_information(start), bbvi.exact_gradient(start, x, prior)
    rows, later, n = [], [], 20
    for _ in range(250):
        path = bbvi.climb(rng, x, prior, steps=2, draws=n, rate=1e-3, reach=1e9, start=start)
        d = np.append(path[1, 0] - path[0, 0], path[0, 1:] * np.log(path[1, 1:] / path[0, 1:]))
        rows.append(F @ d / 1e-3)
        q = Factors(*map(float, path[1]))
        d = np.append(path[2, 0] - path[1, 0], path[1, 1:] * np.log(path[2, 1:] / path[1, 1:]))
        later.append(bbvi.fisher_information(q) @ d / 1e-3 * 6 - bbvi.exact_gradient(q, x, prior))
    units = np.sqrt(bbvi.draw_variance(start, x, prior, "both") / n)
    plain = F @ exact
    hints = {
        "it seems to go down the ELBO": -exact / units,
        "it seems to be the plain gradient, without F⁻¹": plain / units,
        "it seems to lack the block's −1/b: F's diagonal alone": F @ (exact / np.diag(F)) / units,
        "nothing seems to move": np.zeros(4),
    }
    assert_unbiased(np.array(rows) / units, exact / units, detects=1.0, hints=hints)
    hints = {"the step seems not to shrink as 1/(1 + 10 t/steps)": 5 * exact / units}
    assert_unbiased(np.array(later) / units, np.zeros(4), detects=1.2, hints=hints)
    together = (np.sign(np.array(rows) - exact) == np.sign(later))[:, 0].mean()
    # 0.52, or 0.68 if one sign had 0.8; 0.9 of 250 has then a probability of 1e-15
    assert together < 0.9, (
        f"in {together:.0%} of 250 climbs both steps err to one side: do all steps share one set of draws?"
    )


def test_climb_draws_from_its_generator_alone():
    """The same seed gives the same path, another another; NumPy's global generator and x are as they were."""
    state, x = global_state(), X.copy()
    one, again, other = (bbvi.climb(np.random.default_rng(seed), x, PRIOR, **CLIMB) for seed in (5, 5, 6))
    assert np.array_equal(state, global_state()), "the global generator was used: draw from rng"
    assert np.array_equal(one, again), "the same seed gave another path: draw from rng alone"
    assert_close(one[0], other[0], what="the start, which is not random")
    assert not np.isclose(one[1:, 0], other[1:, 0]).any(), "another seed gave the same path"
    assert np.array_equal(x, X), "climb has written to x"
    assert (one[:, 1:] > 0).all()


@estimators
def test_fit_ends_where_the_climb_ends_and_reports_exact_elbos(estimator):
    """factors is the last row of `climb` with the same seed, and elbos are `mean_field.elbo` along it, all of them."""
    best, given = optimum("sixty, far off"), PROBLEMS["sixty, far off"][:2]
    how = {"estimator": estimator, "steps": 4, "draws": 10, "start": best, "reach": 0.05}
    got = bbvi.fit(np.random.default_rng(5), *given, **how)
    path = [Factors(*map(float, row)) for row in bbvi.climb(np.random.default_rng(5), *given, **how)]
    assert_close(got.factors, path[-1], what="fit(...).factors, and where the climb ends")
    want = np.array([mean_field.elbo(q, *given) for q in path])
    entropies = np.array(
        [stats.norm.entropy(q.mean, q.precision**-0.5) + stats.gamma.entropy(q.shape, scale=1 / q.rate) for q in path]
    )
    if np.ndim(got.elbos) == 1 and len(got.elbos) == len(want):
        highest, evidence = np.max(got.elbos), mean_field.log_evidence(*given)
        assert highest <= evidence + 1e-9 or np.allclose(got.elbos, -want), (
            f"a logged ELBO of {highest:.6g} is above log p(x) = {evidence:.6g}: half of the entropy broadcast away?"
        )
    assert np.shape(got.elbos) == (5,), f"elbos has shape {np.shape(got.elbos)}: the start and 4 steps are 5 values"
    mistakes = {
        "does log q, stacked (2, S), count half?": want - entropies / 2,
        "is it the loss, −ELBO?": -want,
        "is the entropy missing?": want - entropies,
        "are the elbos those of the optimum?": np.full(5, want[0]),
    }
    assert_close(got.elbos, want, rtol=1e-9, what="fit(...).elbos", mistakes=mistakes)


def test_fit_has_a_start_of_its_own_and_one_that_is_given():
    """elbos[0] is that of the start; by default as wide as one observation, so in any units and at any offset."""
    got = bbvi.fit(np.random.default_rng(5), X, PRIOR, **CLIMB, start=START)
    want = mean_field.elbo(START, X, PRIOR)
    assert_close(got.elbos[0], want, what="elbos[0], the ELBO of the start that was given")
    assert_close(got.elbos[-1], mean_field.elbo(got.factors, X, PRIOR), what="elbos[-1], the ELBO of the factors")
    once, moved = (
        bbvi.climb(np.random.default_rng(5), 1e3 * X + c, NormalGamma(1e3 * 0.4 + c, 0.7, 1.5, 0.8e6), **CLIMB)
        for c in (0.0, 5e5)
    )
    assert_close(
        moved - [5e5, 0, 0, 0],
        once,
        rtol=1e-6,
        atol=1e-6 * np.abs(once[:, 0]).max(),
        what="the path of data with an offset",
    )
    path = bbvi.climb(np.random.default_rng(5), X, PRIOR, **CLIMB)
    assert_close(once, path * [1e3, 1e-6, 1, 1e6], rtol=1e-6, what="the path of data in other units")


FITS = {
    "one datum": (np.array([4.2]), NormalGamma(-2.0, 3.0, 0.6, 5.0), "both"),
    "forty of scale 1/1000 around 1000": (
        1000 + 1e-3 * stats.norm.ppf((np.arange(40) + 0.5) / 40),
        NormalGamma(1000.0, 0.1, 1.0, 2e-6),
        "both",
    ),
    "a thousand": (
        1 + 1.4 * stats.norm.ppf((np.arange(1000) + 0.5) / 1000),
        NormalGamma(1.0, 0.1, 1.0, 2.0),
        "control_variate",
    ),
}


@pytest.mark.parametrize("case", FITS)
def test_fit_comes_to_the_optimum_of_coordinate_ascent(rng, case):
    """With its defaults the fit ends within 0.05 nats of `mean_field.cavi`, as it promises, and below log p(x)."""
    x, prior, estimator = FITS[case]
    got = bbvi.fit(rng, x, prior, estimator=estimator)
    best, evidence = mean_field.cavi(x, prior).elbos[-1], mean_field.log_evidence(x, prior)
    assert np.all(got.elbos <= evidence + 1e-9), (
        f"a logged ELBO of {got.elbos.max():.6g} is above log p(x) = {evidence:.6g}"
    )
    end = mean_field.elbo(got.factors, x, prior)
    assert best - end < 0.05, (
        f"the fit ends {best - end:.4g} nats short of coordinate ascent ({best:.6g}): it has not converged"
    )


def test_fit_uses_the_estimator_it_is_told_to():
    """From one seed and one start, the four estimators go four ways; more draws and another rate too."""
    how = {"steps": 1, "draws": 10, "start": START, "reach": 1e6, "rate": 1e-3}
    ends = {name: bbvi.fit(np.random.default_rng(5), X, PRIOR, estimator=name, **how).factors.mean for name in NAMES}
    assert len({round(value / 1e-9) for value in ends.values()}) == 4, f"some estimators are the same: {ends}"
    base = bbvi.fit(np.random.default_rng(5), X, PRIOR, **how).factors.mean
    assert_close(base, ends["both"], what="the fit with the default estimator, 'both'")
    for change in ({"draws": 20}, {"rate": 5e-3}, {"reach": 1e-9}, {"steps": 2}):
        other = bbvi.fit(np.random.default_rng(5), X, PRIOR, **(how | change)).factors.mean
        assert not np.isclose(other, base, rtol=1e-9), f"{change} makes no difference to the fit"


def test_fit_and_climb_say_so_where_they_leave_the_numbers():
    """From a start so far off that a step cannot be a number, an OverflowError, not NaN."""
    for function in (bbvi.climb, bbvi.fit):
        with np.errstate(all="ignore"), pytest.raises(OverflowError):
            function(np.random.default_rng(5), X, PRIOR, start=Factors(0.0, 1e-300, 1e-3, 1e3))


def adam_by_hand(start, steps, rate, chain, floor=0.0):
    """The path of Adam as its paper has it, along torch's gradient of the ELBO in the raw parameters."""
    raw, first, second, path = np.array(start), 0.0, 0.0, []
    for t in range(1, steps + 1):
        r = torch.tensor(raw, requires_grad=True)
        theta = torch.cat([r[:1], torch.nn.functional.softplus(r[1:])])
        theta.retain_grad()
        torch_elbo(theta, X, PRIOR).backward()
        path.append(theta.detach().numpy())
        slope = (r if chain else theta).grad.numpy()
        first, second = first + (slope - first) / 10, second + (slope**2 - second) / 1000
        raw = raw + rate * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t) + floor) + 1e-8)
    return np.array([*path, np.append(raw[0], np.log1p(np.exp(raw[1:])))])


RAW = np.array([[0.0, 1.0, 1.0, 1.0], [2.0, -1.0, 0.5, 3.0]])


@pytest.mark.claim("prop-softplus-chain", kind="automatic differentiation")
@pytest.mark.parametrize("chain", [True, False])
def test_adam_with_the_exact_gradient_is_that_of_the_paper(rng, chain):
    """Thirty steps of two runs against Adam's formulas along torch's gradient, with the chain rule or without."""
    got = bbvi.adam(rng, X, PRIOR, start=RAW, estimator="exact", steps=30, rate=0.02, chain=chain)
    assert got.shape == (31, 2, 4), f"the paths have shape {got.shape}, should be (steps + 1, runs, 4)"
    for run in range(2):
        want, other = (adam_by_hand(RAW[run], 30, 0.02, which) for which in (chain, not chain))
        mistakes = {
            "is the chain rule of softplus the wrong way: in where it is left out, or out where it is in?": other,
            "are these the raw parameters, not softplus of them?": np.c_[
                want[:, 0], bbvi.softplus_inverse(want[:, 1:])
            ],
        }
        assert_close(got[:, run], want, rtol=1e-7, what=f"the path of run {run}", mistakes=mistakes)


def test_adam_adds_its_1e_8_to_the_root():
    """So near the optimum that the slopes are 1e-5, √(v̂ + 10⁻⁸) would be ten times as large as √v̂ + 10⁻⁸."""
    best = optimum("seven")
    start = np.array([best.mean, *bbvi.softplus_inverse(np.array(best[1:]))]) + 1e-5
    got = bbvi.adam(np.random.default_rng(5), X, PRIOR, start=start[None], estimator="exact", steps=3, rate=1e-3)[:, 0]
    want, inside = (adam_by_hand(start, 3, 1e-3, True, floor) for floor in (0.0, 1e-8))
    mistakes = {"is 10⁻⁸ added to v̂, under the root?": inside - want[0]}
    assert_close(got - want[0], want - want[0], rtol=1e-3, atol=1e-9, what="Adam's moves", mistakes=mistakes)


def test_adam_uses_the_estimator_and_the_draws_it_is_told_to():
    """From one seed and one start the estimators go five ways, and more draws go another."""
    how = {"start": RAW[:1], "steps": 3, "draws": 5}

    def end(estimator, **change):
        return bbvi.adam(np.random.default_rng(5), X, PRIOR, estimator=estimator, **(how | change))[-1, 0, 0]

    ends = {name: end(name) for name in ("exact", *NAMES)}
    assert len({round(value / 1e-10) for value in ends.values()}) == 5, f"some estimators are the same: {ends}"
    for name in NAMES:
        assert abs(end(name, draws=20) - ends[name]) > 1e-10, f"draws = 20 makes no difference to adam with {name!r}"


@pytest.mark.parametrize("estimator", ["exact", *NAMES])
def test_adam_takes_a_first_step_of_the_rate(rng, estimator):
    """path[0] is softplus of the start, and the first step moves every raw number by the rate, whatever the slope."""
    start = np.repeat(RAW, 3, axis=0)
    path = bbvi.adam(rng, X, PRIOR, start=start, estimator=estimator, steps=1, draws=20, rate=1e-2)
    want = np.c_[start[:, 0], np.log1p(np.exp(start[:, 1:]))]
    assert_close(path[0], want, what="path[0], softplus of the start", mistakes={"is it the raw start?": start})
    raw = np.c_[path[1][:, 0], bbvi.softplus_inverse(path[1][:, 1:])]
    moved = np.abs(raw - start)
    # |ĝ|/(|ĝ| + 1e-8), so 1 for slopes above 1e-2; one below has a probability of some 1e-4 and then moves by 1e-8 less
    assert_close(moved, np.full(moved.shape, 1e-2), rtol=1e-3, what="the first step: the moments over 1 − βᵗ?")


def test_adam_climbs_with_the_slope_of_its_estimator(rng):
    """Of 4 × 20 first steps with 3,000 draws few go the wrong way: by Chebyshev's inequality each with p ≤ 0.02."""
    x, prior, q = PROBLEMS["seven"]
    start = np.repeat([[q.mean, *bbvi.softplus_inverse(np.array(q[1:]))]], 20, axis=0)
    up = np.sign(truth("seven", "naive")[0])
    for name in NAMES:
        mean, _, variance, _ = truth("seven", name)
        assert (variance / 3000 / mean**2).max() * 3 < 0.2
        path = bbvi.adam(rng, x, prior, start=start, estimator=name, steps=1, draws=3000, rate=1e-3)
        right = (np.sign(path[1] - path[0]) == up).sum(axis=0)
        # from 20 runs at p ≤ 0.2 of a wrong way (really below 1e-3), 18 wrong have probability 1e-10
        assert right.min() > 2, f"{name} goes the wrong way in {20 - right} of 20 runs: down the ELBO?"


def test_adam_runs_are_independent_and_drawn_from_the_generator():
    """Two runs from one start part; the same seed gives the same; "exact" needs none; nothing is written to."""
    start, state, x = np.repeat(RAW[:1], 3, axis=0), global_state(), X.copy()
    how = {"steps": 3, "draws": 5, "estimator": "both"}
    one, again, other = (bbvi.adam(np.random.default_rng(seed), x, PRIOR, start=start, **how) for seed in (5, 5, 6))
    assert np.array_equal(state, global_state()), "the global generator was used: draw from rng"
    assert np.array_equal(one, again), "the same seed gave another path: draw from rng alone"
    assert not np.isclose(one[2:], other[2:]).all(), "another seed gave the same path"
    assert not np.isclose(one[2:, 0], one[2:, 1]).all(), (
        "two runs from one start are the same: each needs draws of its own"
    )
    assert np.array_equal(start, np.repeat(RAW[:1], 3, axis=0)), "adam has written to its start"
    assert np.array_equal(x, X), "adam has written to x"
    exact = bbvi.adam(np.random.default_rng(5), x, PRIOR, start=start, estimator="exact", steps=3)
    assert np.array_equal(exact[:, 0], exact[:, 2]), "two runs with the exact gradient from one start differ"
    assert bbvi.adam(np.random.default_rng(5), x, PRIOR, start=np.array([[0, 1, 1, 1]]), **how).shape == (4, 1, 4)


# What is reported, and what is predicted


@pytest.mark.claim("prop-logged-bound")
@pytest.mark.parametrize("problem", ["seven", "sixty, far off"])
def test_log_q_stacked_counts_half_in_a_mean(rng, problem):
    """np.mean(log p − stack) is E log p − ½(E log q(μ) + E log q(τ)): the ELBO less half the entropies, on average."""
    x, prior, q = PROBLEMS[problem]
    law = law_of(q)
    log_p, _, normal, gamma = log_p_and_log_q(q, x, prior)
    average = float(log_p.mean(law))
    halves = [-float(part.mean(law)) for part in (normal, gamma)]
    entropies = [stats.norm.entropy(q.mean, q.precision**-0.5), stats.gamma.entropy(q.shape, scale=1 / q.rate)]
    assert_close(halves, entropies, rtol=1e-9, what="the entropies of q(μ) and q(τ)")
    elbo = mean_field.elbo(q, x, prior)
    assert_close(average + sum(entropies) / 2, elbo - sum(entropies) / 2, rtol=1e-9, what="what is logged, on average")
    mu, tau = rng.normal(q.mean, q.precision**-0.5, 4000), rng.gamma(q.shape, 1 / q.rate, 4000)
    stacked = bbvi.log_q(q, mu, tau).T
    rows = (log_joint(mu, tau, x, prior) - stacked).mean(axis=0)
    assert_close(np.mean(log_joint(mu, tau, x, prior) - stacked), rows.mean(), what="the mean over (2, S)")
    scale = rows.std()
    want = elbo - sum(entropies) / 2
    assert_mean(rows / scale, want / scale, detects=0.15, hints={"it seems to be the ELBO": elbo / scale})


@pytest.mark.claim("prop-logged-bound")
def test_log_q_stacked_exceeds_the_evidence_where_q_is_narrow():
    """ELBO − ½(H + H) > log p(x) just where −½(H + H) > log p(x) − ELBO: at the optimum of sixty data, not of one."""
    above = {}
    for problem in ("one datum", "sixty, far off"):
        x, prior, _ = PROBLEMS[problem]
        q = optimum(problem)
        entropies = stats.norm.entropy(q.mean, q.precision**-0.5) + stats.gamma.entropy(q.shape, scale=1 / q.rate)
        mu, tau, weights = nodes(q)
        logged = weights @ (log_joint(mu, tau, x, prior) - bbvi.log_q(q, mu, tau).mean(axis=1))
        elbo, evidence = mean_field.elbo(q, x, prior), mean_field.log_evidence(x, prior)
        assert_close(logged, elbo - entropies / 2, rtol=1e-8, what="what is logged")
        above[problem] = logged > evidence
        assert above[problem] == (-entropies / 2 > evidence - elbo)
    assert above == {"one datum": False, "sixty, far off": True}


@pytest.mark.claim("prop-predictive")
@pytest.mark.parametrize("problem", ["seven", "one datum", "sixty, far off"])
def test_predictive_is_the_ratio_of_two_evidences(problem):
    """Student's density is p(x, x′)/p(x) by `mean_field.log_evidence`: 2aₙ degrees, scale² = (bₙ/aₙ)(1 + 1/ℓₙ)."""
    x, prior, _ = PROBLEMS[problem]
    after = mean_field.posterior(x, prior)
    got = bbvi.predictive(after)
    spread = np.sqrt(after.rate / after.shape)
    want = (2 * after.shape, after.mean, spread * np.sqrt(1 + 1 / after.scale))
    mistakes = {
        "are the degrees a, not 2a?": (after.shape, *want[1:]),
        "are the degrees n − 1?": (len(x) - 1, *want[1:]),
        "is the uncertainty of μ, 1/ℓ, left out?": (want[0], want[1], spread),
        "is it 1 + ℓ where 1 + 1/ℓ belongs?": (want[0], want[1], spread * np.sqrt(1 + after.scale)),
        "is the scale squared, not the scale?": (want[0], want[1], want[2] ** 2),
        "is a/b where b/a belongs?": (want[0], want[1], want[2] / spread**2),
        "is it the standard deviation, not the scale?": (
            want[0],
            want[1],
            want[2] * np.sqrt(after.shape / (after.shape - 1)),
        )
        if after.shape > 1
        else want,
        "is it the law of μ, not of the next observation?": (want[0], want[1], spread / np.sqrt(after.scale)),
    }
    assert_close(got, want, rtol=1e-9, what="predictive(posterior): degrees, location, scale", mistakes=mistakes)
    before = mean_field.log_evidence(x, prior)
    for away in (-3.0, -0.7, 0.0, 1.1, 6.0):
        point = after.mean + away * spread
        ratio = mean_field.log_evidence(np.append(x, point), prior) - before
        density = stats.t.logpdf(point, got.degrees, got.location, got.scale)
        assert_close(
            density, ratio, rtol=1e-8, atol=1e-9, what="the predictive log-density, and log p(x, x′) − log p(x)"
        )


@pytest.mark.claim("prop-predictive")
def test_predictive_is_the_mixture_over_the_posterior():
    """∫ N(x; m, (1 + 1/ℓ)/τ) Gamma(τ; a, b) dτ by quadrature: N(x; μ, 1/τ) averaged over μ given τ, and over τ."""
    law = NormalGamma(0.7, 2.5, 1.3, 4.0)
    got = bbvi.predictive(law)
    for point in (-6.0, 0.0, 0.7, 2.0):

        def both(tau, point=point):
            return stats.norm.pdf(point, law.mean, np.sqrt((1 + 1 / law.scale) / tau)) * stats.gamma.pdf(
                tau, law.shape, scale=1 / law.rate
            )

        want = integrate.quad(both, 0, 0.5, epsrel=1e-11)[0] + integrate.quad(both, 0.5, 30, epsrel=1e-11, limit=200)[0]
        assert_close(
            stats.t.pdf(point, got.degrees, got.location, got.scale), want, rtol=1e-7, what="the predictive density"
        )
    assert_close(bbvi.predictive(NormalGamma(1, 2, 3, 4)), (6, 1, np.sqrt(2)), what="predictive of integers")


# Arguments that are refused


def test_log_q_scores_and_std_score_refuse_what_is_no_law_or_no_place():
    """Parameters out of bounds, τ ≤ 0, NaN, arrays of different lengths or of two dimensions are refused by name."""
    for function in (bbvi.log_q, bbvi.scores):
        refused(function, BAD_FACTORS + BAD_PLACES, factors=Q, **PLACE)
        two = {"mu": np.zeros((2, 1)), "tau": np.ones((2, 1))}
        assert_refused(function, factors=Q, **two, argument="mu", value="(2, 1)")
    refused(bbvi.std_score, [*BAD_FACTORS, ("mu", np.array([0.0, NAN]), ("mu", NAN))], factors=Q, mu=PLACE["mu"])


def test_exact_gradient_and_fisher_information_refuse_bad_arguments():
    """Parameters out of bounds, priors out of bounds, data that are none or not in a row are refused by name."""
    refused(bbvi.exact_gradient, BAD_FACTORS + BAD_PRIORS + BAD_DATA, factors=Q, x=X, prior=PRIOR)
    refused(bbvi.fisher_information, BAD_FACTORS, factors=Q)


def test_integrands_refuse_bad_arguments():
    """An unknown estimator, bad data, priors, laws and places are refused by name."""
    bad = BAD_NAME + BAD_FACTORS + BAD_PRIORS + BAD_DATA + BAD_PLACES
    refused(bbvi.integrands, bad, factors=Q, **PLACE, x=X, prior=PRIOR, estimator="naive")


def test_leave_one_out_refuses_bad_arguments():
    """One row has no others; arrays of different shapes, of one dimension, with NaN are refused by name."""
    two = np.ones((3, 2))
    bad = [
        ("scores", np.ones((3, 1)), ("scores", "(3, 1)")),
        ("scores", np.full((3, 2), NAN), ("scores", NAN)),
        ("integrands", np.full((3, 2), INF), ("integrands", INF)),
        ("integrands", np.ones(3), ("integrands", "(3,)")),
    ]
    refused(bbvi.leave_one_out, bad, integrands=two, scores=two)
    one = np.ones((1, 2))
    assert_refused(bbvi.leave_one_out, integrands=one, scores=one, argument="scores", value=1)


def test_gradient_refuses_bad_arguments():
    """n = 0, 2.5, True, n = 1 with a control variate, unknown estimators ("exact" too), bad data, laws, priors."""
    right = {"rng": np.random.default_rng(5), "factors": Q, "x": X, "prior": PRIOR, "n": 4, "estimator": "naive"}
    bad = [("n", 0, "n"), ("n", 2.5, "n"), ("n", -3, "n"), ("estimator", "exact", ("estimator", "exact"))]
    refused(bbvi.gradient, bad + BAD_NAME + BAD_FACTORS + BAD_PRIORS + BAD_DATA, **right)
    assert_refused(bbvi.gradient, **(right | {"n": True}), argument="n", value="True")
    for name in ("control_variate", "both"):  # "with n=1 was accepted" is what is said if not
        assert_refused(bbvi.gradient, **(right | {"n": 1, "estimator": name}), argument="n", value=1)


def test_best_coefficient_draw_variance_and_same_sample_bias_refuse_bad_arguments():
    """An unknown estimator, bad data, priors and laws are refused by name."""
    for function in (bbvi.best_coefficient, bbvi.draw_variance):
        refused(function, BAD_NAME + BAD_FACTORS + BAD_PRIORS + BAD_DATA, factors=Q, x=X, prior=PRIOR, estimator="both")
    refused(bbvi.same_sample_bias, BAD_FACTORS + BAD_PRIORS + BAD_DATA, factors=Q, x=X, prior=PRIOR)


def test_softplus_softplus_inverse_and_raw_gradient_refuse_bad_arguments():
    """softplus_inverse of 0 or less, NaN, and slopes whose last axis is not 4 are refused by name."""
    refused(bbvi.softplus_inverse, [("value", 0.0, "value"), ("value", -1.0, "value"), ("value", NAN, "value")])
    refused(bbvi.softplus, [("raw", NAN, "raw")])
    bad = [
        ("gradient", np.ones((2, 4)), ("gradient", "(2, 4)")),
        ("gradient", np.array([1.0, NAN, 1.0, 1.0]), ("gradient", NAN)),
        ("raw", np.array([1.0, INF, 1.0, 1.0]), ("raw", INF)),
    ]
    refused(bbvi.raw_gradient, bad, raw=np.ones(4), gradient=np.ones(4))
    assert_refused(bbvi.raw_gradient, raw=np.ones(3), gradient=np.ones(3), argument="raw", value="(3,)")


@pytest.mark.parametrize("name", ["climb", "fit"])
def test_climb_and_fit_refuse_bad_arguments(name):
    """steps, draws, rate (at most 1), reach, the estimator, the start, data and prior, each by its name."""
    right = {"rng": np.random.default_rng(5), "x": X, "prior": PRIOR, "steps": 2, "draws": 4}
    bad = [
        ("steps", 0, "steps"),
        ("steps", 2.5, "steps"),
        ("draws", 0, "draws"),
        ("draws", 1, "draws"),
        ("rate", 0.0, "rate"),
        ("rate", -0.1, "rate"),
        ("rate", 1.5, "rate"),
        ("reach", 0.0, "reach"),
        ("reach", NAN, "reach"),
        ("start", START._replace(precision=-1.0), ("precision", -1.0)),
        ("estimator", "exact", ("estimator", "exact")),
    ]
    refused(getattr(bbvi, name), bad + BAD_NAME + BAD_PRIORS + BAD_DATA, **right)


def test_adam_refuses_bad_arguments():
    """steps, draws, rate, the estimator, a start that is not (runs, 4), data and prior, each by its name."""
    right = {
        "rng": np.random.default_rng(5),
        "x": X,
        "prior": PRIOR,
        "start": RAW,
        "estimator": "both",
        "steps": 2,
        "draws": 4,
    }
    bad = [
        ("steps", 0, "steps"),
        ("draws", 1, "draws"),
        ("draws", 2.5, "draws"),
        ("rate", 0.0, "rate"),
        ("start", RAW[0], ("start", "(4,)")),
        ("start", RAW[:, :3], ("start", "(2, 3)")),
        ("start", RAW * NAN, ("start", NAN)),
    ]
    refused(bbvi.adam, bad + BAD_NAME + BAD_PRIORS + BAD_DATA, **right)


def test_predictive_refuses_what_is_no_law():
    """scale, shape and rate that are not positive, a mean that is no number: each by its name."""
    bad = [("law", law, named) for _, law, named in BAD_PRIORS]
    refused(bbvi.predictive, bad, law=PRIOR)
