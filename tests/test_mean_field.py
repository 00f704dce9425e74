"""The Normal-Gamma model and its factors against quadrature, fractions, mpmath, enumeration and minimisation."""

import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
import torch
from scipy import optimize, special, stats

from solutions import mean_field
from tests.diagnose import assert_close, assert_refused

# A hundred roundings, each of 1.1e-16 of numbers that cancel to a thousandth of themselves, lose 1e-11.
SHARP = 1e-10
LOG_2PI = np.log(2 * np.pi)

# Data, and the prior's mean m₀, scale ℓ₀, shape a₀ and rate b₀: all of them halves of halves, exact in float32.
PROBLEMS = {
    "four data": ((1.0, 4.0, 5.0, 12.0), (2.0, 0.5, 1.5, 3.0)),
    "one datum": ((-2.0,), (1.0, 3.0, 0.25, 0.5)),
    "three data": ((0.5, -0.25, 0.75), (-1.0, 2.0, 4.0, 0.125)),
    "seven data": ((10.5, 9.0, 11.25, 10.0, 8.5, 12.0, 9.75), (0.0, 0.25, 0.5, 10.0)),
}
problems = pytest.mark.parametrize("problem", PROBLEMS)
# The parameters m, ℓ, a, b of Normal-Gammas, and m, λ, a, b of products that lie near and far.
LAWS = ((0.3, 2.0, 1.7, 0.9), (-4.0, 0.5, 0.6, 3.0), (10.0, 30.0, 25.0, 2.0), (1.0, 0.25, 2.0, 0.125))
FACTORS = ((0.3, 3.5, 2.2, 1.1), (-3.0, 0.25, 1.5, 0.5), (9.5, 300.0, 20.0, 2.5), (0.0, 1.0, 0.75, 4.0))
laws = pytest.mark.parametrize("numbers", LAWS)
pairs = pytest.mark.parametrize(("inner", "outer"), [*zip(FACTORS, LAWS, strict=True), (FACTORS[3], LAWS[0])])
SHAPES = (0.05, 0.3, 0.5, 1.0, 1.7, 4.0, 12.5, 80.0)


def law(mean, scale, shape, rate):
    return mean_field.NormalGamma(mean, scale, shape, rate)


def product(mean, precision, shape, rate):
    return mean_field.Factors(mean, precision, shape, rate)


def given(problem):
    """Data and prior."""
    x, prior = PROBLEMS[problem]
    return np.array(x), law(*prior)


def exact_posterior(x, prior):
    """The posterior in fractions, one datum after the other, as `law`."""
    mean, scale, shape, rate = map(Fraction, prior)
    for value in map(Fraction, np.asarray(x, dtype=float).tolist()):
        rate += scale * (value - mean) ** 2 / (2 * (scale + 1))
        mean = (scale * mean + value) / (scale + 1)
        scale, shape = scale + 1, shape + Fraction(1, 2)
    return law(float(mean), float(scale), float(shape), float(rate))


def scipy_normal_gamma(mu, tau, numbers):
    """scipy's log density of the Normal-Gamma."""
    mean, scale, shape, rate = numbers
    return stats.norm.logpdf(mu, mean, 1 / np.sqrt(scale * tau)) + stats.gamma.logpdf(tau, shape, scale=1 / rate)


def scipy_product(mu, tau, numbers):
    """scipy's log density of the product."""
    mean, precision, shape, rate = numbers
    return stats.norm.logpdf(mu, mean, 1 / np.sqrt(precision)) + stats.gamma.logpdf(tau, shape, scale=1 / rate)


def scipy_joint(mu, tau, x, numbers):
    """scipy's log density of data, μ and τ."""
    return sum(stats.norm.logpdf(v, mu, 1 / np.sqrt(tau)) for v in x) + scipy_normal_gamma(mu, tau, numbers)


def scipy_evidence(x, prior):
    """scipy's log density of the data: a Student law with 2a₀ degrees of freedom and shape b₀/a₀ (I + 11ᵀ/ℓ₀)."""
    mean, scale, shape, rate = prior
    matrix = rate / shape * (np.eye(len(x)) + 1 / scale)
    return stats.multivariate_t.logpdf(x, np.full(len(x), mean), matrix, df=2 * shape)


def log_steps(shape):
    """Values of log τ, 45 units of -log density to both sides of where Gamma(shape, 1) has its top, in equal steps."""
    low, high = 10 / np.sqrt(shape) + 45 / shape, 10 / np.sqrt(shape) + np.log1p(45 / shape)
    return np.log(shape) + np.linspace(-low, high, 1501)


def gamma_nodes(shape, rate):
    """Points τ and weights that average smooth functions under Gamma(shape, rate): trapezoids in log τ."""
    u = log_steps(shape)
    weights = np.exp(shape * (u - np.log(shape)) - np.exp(u) + shape)
    return np.exp(u) / rate, weights / weights.sum()


def normal_nodes():
    """Points and weights that average polynomials of degree 15 under N(0, 1)."""
    z, weights = np.polynomial.hermite_e.hermegauss(8)
    return z[:, None], weights[:, None] / weights.sum()


def average(f, numbers):
    """E f(μ, τ) under the product, to 1e-13 of the size of f; f is a polynomial in μ."""
    mean, precision, shape, rate = numbers
    (tau, weights), (z, normal) = gamma_nodes(shape, rate), normal_nodes()
    return float(np.sum(normal * weights * f(mean + z / np.sqrt(precision), tau)))


def plane(numbers):
    """Points μ, τ, and areas: sums over them are integrals of what falls off as this Normal-Gamma does."""
    mean, scale, shape, rate = numbers
    u, t = log_steps(shape), np.linspace(-9, 9, 121)[:, None]
    tau = np.exp(u) / rate
    return mean + t / np.sqrt(scale * tau), tau, (u[1] - u[0]) * (t[1] - t[0]) * np.sqrt(tau / scale)


def entropies(numbers):
    """The entropies of q(μ) and of q(τ), by scipy."""
    _, precision, shape, rate = numbers
    return stats.norm.entropy(0, 1 / np.sqrt(precision)), stats.gamma.entropy(shape, scale=1 / rate)


def expected_joint(x, prior, numbers, tau=None, log_tau=None, variance=None):
    """E log p(x, μ, τ) under the product; with something else put for E τ, E log τ or the variance of μ, if given."""
    (m0, l0, a0, b0), (mean, precision, shape, rate) = prior, numbers
    tau = shape / rate if tau is None else tau
    log_tau = special.digamma(shape) - np.log(rate) if log_tau is None else log_tau
    variance = 1 / precision if variance is None else variance
    likelihood = len(x) / 2 * (log_tau - LOG_2PI) - tau / 2 * (np.sum((x - mean) ** 2) + len(x) * variance)
    of_mean = (np.log(l0) + log_tau - LOG_2PI) / 2 - tau / 2 * l0 * ((mean - m0) ** 2 + variance)
    return likelihood + of_mean + a0 * np.log(b0) - special.gammaln(a0) + (a0 - 1) * log_tau - b0 * tau


def kl_by_hand(inner, outer, lib=np, digamma=special.digamma, gammaln=special.gammaln):
    """KL(q ‖ p) of a product q to a Normal-Gamma p, in NumPy or PyTorch."""
    (mean, precision, shape, rate), (m, scale, a, b) = inner, outer
    log_tau, tau = digamma(shape) - lib.log(rate), shape / rate
    normals = (lib.log(precision) - np.log(scale) - log_tau - 1 + scale * tau * ((mean - m) ** 2 + 1 / precision)) / 2
    of_shape = (shape - a) * log_tau - gammaln(shape) + gammaln(torch.tensor(a) if lib is torch else a)
    return normals + of_shape + shape * lib.log(rate) - a * np.log(b) - (rate - b) * tau


def normal_kl(mean, variance, other_mean, other_variance):
    """KL(N(mean, variance) ‖ N(other_mean, other_variance))."""
    ratio = variance / other_variance
    return (ratio - 1 - np.log(ratio) + (mean - other_mean) ** 2 / other_variance) / 2


def gamma_kl(shape, rate, other_shape, other_rate):
    """KL(Gamma(shape, rate) ‖ Gamma(other_shape, other_rate)), averaged over points, to 1e-13."""
    tau, weights = gamma_nodes(shape, rate)
    ratio = stats.gamma.logpdf(tau, shape, scale=1 / rate) - stats.gamma.logpdf(tau, other_shape, scale=1 / other_rate)
    return float(weights @ ratio)


def gaussian_kl(inner, outer):
    """KL(N(0, inner) ‖ N(0, outer)) of two covariance matrices."""
    ratio = np.linalg.solve(outer, inner)
    return (np.trace(ratio) - len(outer) - np.linalg.slogdet(ratio)[1]) / 2


def mp_stirling(x):
    """R(x) = log Γ(x) − x log x + x in mpmath."""
    return mpmath.loggamma(x) - x * mpmath.log(x) + x


def mp_gap(shape):
    """R(a) − R(a+½), with figures to spare: for the smallest a that is 300 before the first that counts."""
    with mpmath.workdps(400 if shape < 1e-50 else 60):
        a = mpmath.mpf(shape)
        return float(mp_stirling(a) - mp_stirling(a + mpmath.mpf(1) / 2))


def mp_mutual_information(shape):
    """R(a) − R(a+½) + (a+½) R′(a+½) − a R′(a)."""
    with mpmath.workdps(400 if shape < 1e-50 else 60):
        a, half = mpmath.mpf(shape), mpmath.mpf(1) / 2
        of_half = (a + half) * (mpmath.digamma(a + half) - mpmath.log(a + half))
        of_none = a * (mpmath.digamma(a) - mpmath.log(a))
        return float(mp_stirling(a) - mp_stirling(a + half) + of_half - of_none)


def mp_evidence(x, prior):
    """log p(x) by its formula, in sixty figures."""
    with mpmath.workdps(60):
        m0, l0, a0, b0 = map(mpmath.mpf, prior)
        x, n = [mpmath.mpf(v) for v in x], len(x)
        centre, half = sum(x) / n, mpmath.mpf(n) / 2
        squares = sum((v - centre) ** 2 for v in x) + l0 * n / (l0 + n) * (centre - m0) ** 2
        gammas = mpmath.loggamma(a0 + half) - mpmath.loggamma(a0)
        rates = a0 * mpmath.log(b0) - (a0 + half) * mpmath.log(b0 + squares / 2)
        return float(gammas + rates + mpmath.log(l0 / (l0 + n)) / 2 - half * mpmath.log(2 * mpmath.pi))


def table(rng, *shape):
    """Random probabilities, none of them 0."""
    p = rng.gamma(0.7, size=shape) + 1e-3
    return p / p.sum()


def kl(q, p):
    """Σ q log(q/p) of two tables."""
    return float(np.sum(q * np.log(q / p)))


def random_covariance(rng, d):
    """A covariance whose correlations are neither all small nor all near one."""
    a = rng.standard_normal((d, d + 2))
    return a @ a.T / (d + 2) + 0.1 * np.eye(d)


# The evidence and its bound, for any model


@pytest.mark.claim("prop-evidence-identity")
def test_evidence_is_the_bound_plus_the_divergence(rng):
    """By enumeration: log p(x) = E_q log(p(x,z)/q(z)) + KL(q ‖ p(·|x)), and q = p(·|x) leaves no gap."""
    for size in (2, 3, 7):
        joint = table(rng, size, 4)[:, 1]  # p(x, z) at one of four x
        posterior, evidence = joint / joint.sum(), np.log(joint.sum())
        for q in (table(rng, size), posterior):
            bound = float(np.sum(q * np.log(joint / q)))
            assert_close(bound + kl(q, posterior), evidence, rtol=SHARP, atol=SHARP, what="bound + divergence")
            assert bound <= evidence + SHARP
        assert_close(np.sum(posterior * np.log(joint / posterior)), evidence, rtol=SHARP, what="the bound at p(·|x)")


@pytest.mark.claim("prop-evidence-identity")
@problems
@pytest.mark.parametrize("numbers", FACTORS)
def test_log_evidence_is_elbo_plus_divergence(problem, numbers):
    """At any factors log p(x) − ELBO is KL(q ‖ posterior), by quadrature of scipy's densities, and not negative."""
    x, prior = given(problem)
    after = exact_posterior(x, prior)
    want = average(lambda mu, tau: scipy_product(mu, tau, numbers) - scipy_normal_gamma(mu, tau, after), numbers)
    q = product(*numbers)
    got = mean_field.log_evidence(x, prior) - mean_field.elbo(q, x, prior)
    assert want > 0
    # Both levels are of size 1 to 10⁴, and lose 1e-14 of it.
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="log_evidence − elbo, against KL(q ‖ posterior)")
    assert_close(mean_field.divergence(q, after), want, rtol=1e-9, what="divergence(q, posterior)")


@pytest.mark.claim("prop-printed-form")
def test_printed_form_of_the_bound_does_not_depend_on_q(rng):
    """By enumeration, E_q[log p(x,z) / q(z)] is Σ log p(x,z) for every q: the fraction belongs inside the log."""
    log_joint = np.log(table(rng, 5, 3)[:, 0])
    for q in table(rng, 4, 5) * 4:
        q = q / q.sum()
        assert_close(np.sum(q * (log_joint / q)), log_joint.sum(), rtol=SHARP, what="E_q[log p(x,z) / q(z)]")
        assert np.sum(q * np.log(np.exp(log_joint) / q)) <= np.log(np.exp(log_joint).sum()) + SHARP


@pytest.mark.claim("prop-printed-form")
def test_printed_form_of_the_bound_diverges_for_gaussians():
    """z ~ N(0,1), x | z ~ N(z,1): over |z − c| < r it is −2r³/3 + O(r), whatever q; the right one is −2.047 at q."""
    x, q = 1.5, stats.norm(0.3, 0.8)

    def log_joint(z):
        return stats.norm.logpdf(z) + stats.norm.logpdf(x, z)

    for centre, r in itertools.product((-1.0, 0.0, 2.0), (10.0, 100.0, 1000.0)):
        z, weights = np.polynomial.legendre.leggauss(60)
        z = centre + r * z
        printed = r * weights @ log_joint(z)  # ∫ q (log p / q) dz, a polynomial's integral
        rest = -2 * r * (LOG_2PI + (centre**2 + (x - centre) ** 2) / 2)
        assert_close(printed, -2 * r**3 / 3 + rest, rtol=1e-10, what=f"the printed form over |z − {centre}| < {r}")
    z = np.linspace(-15, 15, 3001)
    right = 0.01 * np.sum(q.pdf(z) * (log_joint(z) - q.logpdf(z)))
    divergence = 0.01 * np.sum(q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z, x / 2, np.sqrt(0.5))))
    assert_close(right, -2.047082, atol=5e-7, rtol=0, what="the ELBO of N(0.3, 0.8²)")
    assert_close(divergence, 0.219070, atol=5e-7, rtol=0, what="KL(q ‖ p(z|x))")
    assert_close(right + divergence, stats.norm.logpdf(x, 0, np.sqrt(2)), rtol=SHARP, what="log p(x)")


@pytest.mark.claim("prop-nested-families")
def test_nested_families_come_nearer_the_more_they_allow(rng):
    """KL to N(0, Σ): equal variances ⊃ products ⊃ all Gaussians give ever less, each at its closed-form best."""
    for d in (2, 3, 5):
        covariance = random_covariance(rng, d)
        precision = np.linalg.inv(covariance)
        equal = gaussian_kl(np.eye(d) * d / np.trace(precision), covariance)  # KL's slope in the variance is 0
        for factor in (0.9, 1.1):
            assert equal < gaussian_kl(factor * np.eye(d) * d / np.trace(precision), covariance)
        products = gaussian_kl(np.diag(mean_field.gaussian_factors(covariance)), covariance)
        assert 0 < products < equal, f"KL of the best product is {products}, of the best with equal variances {equal}"


@pytest.mark.claim("prop-nested-families")
@laws
def test_best_factors_are_nearer_than_the_best_of_a_smaller_family(numbers):
    """Among N × Gamma with the shape, the precision or the rate of p held fixed, the least KL is larger."""
    exact = law(*numbers)
    least = mean_field.divergence(mean_field.best_factors(exact), exact)
    mean, scale, shape, rate = numbers

    def unfold(logs, fixed):
        free = iter(np.exp(logs))
        return [mean, *(value if value else next(free) for value in fixed)]

    for fixed in ((0, shape, 0), (scale, 0, 0), (0, 0, rate)):
        start = [0.0, 0.0]
        best = optimize.minimize(lambda logs, fixed=fixed: kl_by_hand(unfold(logs, fixed), numbers), start)
        assert least <= best.fun + 1e-9, f"the best factors, at {least}, are beaten by a smaller family, at {best.fun}"


@pytest.mark.claim("prop-pinsker")
def test_pinsker_bounds_every_event_of_small_tables(rng):
    """|q(A) − p(A)| ≤ √(KL/2) for all events A of random tables; for two equal halves it is tight to second order."""
    for size in (2, 3, 6):
        events = np.array(list(itertools.product([0, 1], repeat=size)))
        for _ in range(20):
            q, p = table(rng, size), table(rng, size)
            assert np.abs(events @ (q - p)).max() <= np.sqrt(kl(q, p) / 2)
    q, p = np.array([0.501, 0.499]), np.array([0.499, 0.501])
    assert_close(0.002, np.sqrt(kl(q, p) / 2), rtol=1e-4, what="√(KL/2) of two nearly equal coins")


@pytest.mark.claim("prop-pinsker")
@laws
def test_best_factors_give_every_event_nearly_its_probability(numbers):
    """P(μ > c) and P(τ > c) under q and p, by scipy, are within √(KL/2), which is below √(1/(8a))."""
    mean, scale, shape, rate = numbers
    q = mean_field.best_factors(law(*numbers))
    bound = np.sqrt(mean_field.divergence(q, law(*numbers)) / 2)
    assert bound < np.sqrt(1 / (8 * shape))
    c = np.linspace(-6, 6, 201) * np.sqrt(rate / (shape * scale))
    of_mean = stats.norm.sf(c, q.mean - mean, q.precision**-0.5) - stats.t.sf(
        c, 2 * shape, scale=np.sqrt(rate / shape / scale)
    )
    c = np.geomspace(1e-3, 10, 201) * shape / rate
    of_tau = stats.gamma.sf(c, q.shape, scale=1 / q.rate) - stats.gamma.sf(c, shape, scale=1 / rate)
    worst = max(np.abs(of_mean).max(), np.abs(of_tau).max())
    assert 1e-4 < worst < bound, f"an event's probability is off by {worst}, with √(KL/2) = {bound}"


@pytest.mark.claim("prop-tight-and-wrong")
def test_tight_bounds_leave_the_mean_free():
    """p = (1−ε) N(0,1) + ε N(c,1): KL(q ‖ p) ≤ −log(1−ε) by quadrature, while the means differ by εc."""
    z = np.linspace(-12, 12, 4801)
    q = stats.norm.logpdf(z)
    for eps, c in itertools.product((0.5, 0.1, 1e-3), (1.0, 10.0, 1e6)):
        p = np.logaddexp(np.log1p(-eps) + q, np.log(eps) + stats.norm.logpdf(z, c))
        divergence = 0.005 * np.sum(np.exp(q) * (q - p))
        assert 0 < divergence <= -np.log1p(-eps) + 1e-12
        if c >= 10:  # r is then out of sight of q, and the bound is reached
            assert_close(divergence, -np.log1p(-eps), rtol=0.02, what="KL(q ‖ p) where r is far away")
    wide = np.linspace(-12, 22, 6801)
    p = 0.9 * stats.norm.pdf(wide) + 0.1 * stats.norm.pdf(wide, 10.0)
    assert_close(0.005 * np.sum(wide * p), 1.0, rtol=SHARP, what="the mean under p, ε c")


# The exact posterior


@pytest.mark.claim("thm-normal-gamma-posterior")
@problems
def test_posterior_is_that_of_one_datum_at_a_time(problem):
    """The parameters are those of updating with one datum after the other, in exact fractions."""
    x, prior = given(problem)
    want, got = exact_posterior(x, prior), mean_field.posterior(x, prior)
    (m0, l0, a0, b0), n, centre = prior, len(x), x.mean()
    squares, pull = np.sum((x - centre) ** 2), l0 * n / (l0 + n) * (centre - m0) ** 2
    mistakes = {
        "is the mean x̄, as if the prior had no say?": centre,
        "is the prior mean weighted as one datum, not as ℓ₀?": (m0 + x.sum()) / (1 + n),
        "is the data's sum divided by ℓ₀ + n, and ℓ₀ m₀ forgotten?": x.sum() / (l0 + n),
    }
    assert_close(got.mean, want.mean, rtol=SHARP, what="the posterior's mean", mistakes=mistakes)
    mistakes = {
        "is the scale n, without the prior's ℓ₀?": n,
        "does the scale grow by ½ a datum?": l0 + n / 2,
        "is this 1/(ℓ₀ + n)?": 1 / (l0 + n),
    }
    assert_close(got.scale, want.scale, rtol=SHARP, what="the posterior's scale", mistakes=mistakes)
    mistakes = {
        "does the shape grow by 1 a datum, not by ½?": a0 + n,
        "does the shape grow by ½ (n + 1), as that of the factor q(τ) does?": a0 + (n + 1) / 2,
        "does the shape grow by ½ (n − 1)?": a0 + (n - 1) / 2,
        "is the prior's shape a₀ forgotten?": n / 2,
    }
    assert_close(got.shape, want.shape, rtol=SHARP, what="the posterior's shape", mistakes=mistakes)
    mistakes = {
        "is b_N without its prior term, b₀?": want.rate - b0,
        "is the ½ before the squares missing?": b0 + squares + pull,
        "is the pull between x̄ and m₀ weighted with n, not ℓ₀n/(ℓ₀+n)?": b0 + (squares + n * (centre - m0) ** 2) / 2,
        "is the pull between x̄ and m₀ weighted with ℓ₀, not ℓ₀n/(ℓ₀+n)?": b0 + (squares + l0 * (centre - m0) ** 2) / 2,
        "is the pull between x̄ and m₀ missing?": b0 + squares / 2,
        "is this the variance, divided by n, where the sum of squares belongs?": b0 + (squares / n + pull) / 2,
        "is b₀ taken for a scale, not a rate, when the data are added?": 1 / b0 + (squares + pull) / 2,
        "is the rate returned as a scale, 1/b?": 1 / want.rate,
    }
    assert_close(got.rate, want.rate, rtol=SHARP, what="the posterior's rate", mistakes=mistakes)


@pytest.mark.claim("thm-normal-gamma-posterior")
@problems
def test_posterior_is_the_joint_up_to_the_evidence(problem, rng):
    """At thirty (μ, τ), scipy's log p(x, μ, τ) less its log density under `posterior` is the number `log_evidence`."""
    x, prior = given(problem)
    mu, tau = rng.normal(x.mean(), 3.0, 30), rng.gamma(2.0, 1.0, 30)
    got = scipy_joint(mu, tau, x, prior) - scipy_normal_gamma(mu, tau, mean_field.posterior(x, prior))
    want = np.full(30, mean_field.log_evidence(x, prior))
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="log p(x, μ, τ) − log p(μ, τ | x)")


@pytest.mark.claim("thm-normal-gamma-posterior")
@pytest.mark.parametrize("first", [1, 2, 3])
def test_posterior_and_log_evidence_of_data_in_two_parts(first):
    """The first posterior as the second's prior gives the posterior of all data, and the evidences multiply."""
    x, prior = given("four data")
    between = mean_field.posterior(x[:first], prior)
    got, want = mean_field.posterior(x[first:], between), mean_field.posterior(x, prior)
    assert_close(list(got), list(want), rtol=SHARP, what="the posterior in two parts")
    parts = mean_field.log_evidence(x[:first], prior) + mean_field.log_evidence(x[first:], between)
    assert_close(parts, mean_field.log_evidence(x, prior), rtol=SHARP, what="the evidence in two parts")


@pytest.mark.parametrize("prior", [(1e8 + 3, 0.5, 1.5, 3.0), (0.0, 2.0**-60, 1.5, 3.0)])
def test_posterior_keeps_its_figures_far_from_zero(prior):
    """Exact fractions, for data near 10⁸: with a prior beside them, and with one at 0 that has next to no weight."""
    x, prior = np.array([1.0, 2.0, 4.0, 9.0]) + 1e8, law(*prior)
    want, got = exact_posterior(x, prior), mean_field.posterior(x, prior)
    (m0, l0, _, b0), n = prior, len(x)
    expanded = np.sum(x**2) - n * x.mean() ** 2 + l0 * n / (l0 + n) * (x.mean() - m0) ** 2
    completed = np.sum(x**2) + l0 * m0**2 - (l0 + n) * want.mean**2
    about_prior = np.sum((x - m0) ** 2) - n * (x.mean() - m0) ** 2 + l0 * n / (l0 + n) * (x.mean() - m0) ** 2
    mistakes = {
        "is this Σ(x − m₀)² less n (x̄ − m₀)², which cancel where m₀ is far?": b0 + about_prior / 2,
        "is this Σx² less n x̄², which cancel?": b0 + expanded / 2,
        "is this Σx² + ℓ₀m₀² less ℓₙmₙ², which cancel?": b0 + completed / 2,
    }
    assert_close(got.mean - 1e8, want.mean - 1e8, atol=1e-7, rtol=0, what="the mean less 10⁸")
    assert_close(got.rate, want.rate, rtol=1e-7, what="the rate near 10⁸", mistakes=mistakes)


@pytest.mark.claim("thm-normal-gamma-posterior")
@problems
def test_log_evidence_is_the_student_law_of_the_data(problem):
    """scipy's multivariate t: 2a₀ degrees of freedom, centred at m₀, shape b₀/a₀ (I + 11ᵀ/ℓ₀)."""
    x, prior = given(problem)
    want, n, after = scipy_evidence(x, prior), len(x), exact_posterior(x, prior)
    (_, _, a0, b0), scales = prior, np.log(prior.scale / after.scale) / 2
    rates = a0 * np.log(b0) - after.shape * np.log(after.rate)
    mistakes = {
        "is −(n/2) log 2π missing?": want + n / 2 * LOG_2PI,
        "is ½ log(ℓ₀/ℓₙ) missing?": want - scales,
        "is ½ log(ℓ₀/ℓₙ) upside down?": want - 2 * scales,
        "is log(ℓ₀/ℓₙ) without its ½?": want + scales,
        "have a₀ log b₀ and aₙ log bₙ the signs of scales, where b is a rate?": want - 2 * rates,
        "is a₀ log b₀ missing?": want - a0 * np.log(b0),
        "are the gamma functions missing?": want - special.gammaln(after.shape) + special.gammaln(a0),
        "is log Γ(a₀) missing?": want + special.gammaln(a0),
        "is it divided by n?": want / n if n > 1 else np.nan,
        "is this the evidence, not its logarithm?": np.exp(want),
        "is it the product of the predictive laws of single data, as if they were independent?": sum(
            scipy_evidence(np.array([v]), prior) for v in x
        )
        if n > 1
        else np.nan,
    }
    got = mean_field.log_evidence(x, prior)
    assert isinstance(got, float)
    assert_close(got, want, rtol=SHARP, atol=1e-10, what="log_evidence(x, prior)", mistakes=mistakes)


@pytest.mark.claim("thm-normal-gamma-posterior")
@problems
def test_log_evidence_is_the_integral_of_the_joint(problem):
    """∫∫ exp(log_joint) dμ dτ, by trapezoids placed where the posterior is, is exp(log_evidence)."""
    x, prior = given(problem)
    mu, tau, areas = plane(exact_posterior(x, prior))
    logs = mean_field.log_joint(mu, tau, x, prior)
    got = special.logsumexp(logs, b=np.broadcast_to(areas, logs.shape))
    assert_close(mean_field.log_evidence(x, prior), got, rtol=1e-9, atol=1e-9, what="log_evidence(x, prior)")


@pytest.mark.parametrize(
    "prior",
    [
        (0.5, 1.0, 1e-300, 1e-300),
        (0.5, 1.0, 1e8, 1e8),
        (0.5, 1.0, 1e10, 1e10),
        (0.5, 1.0, 1e10, 3e10),
        (0.5, 1.0, 1e15, 3e15),
        (1.5, 1e300, 2.0, 1.0),
        (1.5, 1e-300, 2.0, 1.0),
        (0.5, 2.0, 3.0, 1e-300),
        (0.5, 2.0, 3.0, 1e300),
        (-1e6, 2.0, 3.0, 1.0),
    ],
)
def test_log_evidence_is_exact_for_extreme_priors(prior):
    """mpmath in 60 figures; log Γ(aₙ) − log Γ(a₀) is about 10¹¹ less 10¹¹ where a₀ is 10¹⁰."""
    x = np.array([1.0, 4.0, 5.0, 12.0])
    n, (m0, l0, a0, b0) = 4, prior
    rate = b0 + (np.sum((x - x.mean()) ** 2) + n * (l0 / (l0 + n)) * (x.mean() - m0) ** 2) / 2
    gammas = special.gammaln(a0 + n / 2) - special.gammaln(a0)
    naive = gammas + a0 * np.log(b0) - (a0 + n / 2) * np.log(rate) + np.log(l0 / (l0 + n)) / 2 - n / 2 * LOG_2PI
    mistakes = {"do log Γ(aₙ) and log Γ(a₀), or the logs of rates, cancel? At a₀ = 10¹⁰ few figures are left": naive}
    got = mean_field.log_evidence(x, law(*prior))
    assert np.isfinite(got), f"log_evidence is {got} for the prior {prior}"
    assert_close(got, mp_evidence(x, prior), rtol=1e-9, what=f"log_evidence at {prior}", mistakes=mistakes)


@problems
def test_log_joint_is_the_sum_of_scipys_log_densities(problem):
    """log_joint is Σ log N(xᵢ; μ, 1/τ) + log N(μ; m₀, 1/(ℓ₀τ)) + log Gamma(τ; a₀, b₀), on a grid, by scipy."""
    x, prior = given(problem)
    mu, tau = np.array([[-3.0], [0.5], [20.0]]), np.array([1e-3, 0.4, 1.0, 30.0])
    want, n = scipy_joint(mu, tau, x, prior), len(x)
    of_prior = scipy_normal_gamma(mu, tau, prior)
    likelihood = want - of_prior
    a0, b0 = prior.shape, prior.rate
    with_variance = sum(stats.norm.logpdf(v, mu, np.sqrt(tau)) for v in x) + of_prior
    mistakes = {
        "is −(n/2) log 2π of the likelihood missing?": want + n / 2 * LOG_2PI,
        "is (n/2) log τ missing from the likelihood?": want - n / 2 * np.log(tau),
        "is the prior missing?": likelihood,
        "is the likelihood missing?": of_prior,
        "is the likelihood averaged over the data, not summed?": likelihood / n + of_prior if n > 1 else np.nan,
        "is τ taken for a variance, where it is a precision?": with_variance,
        "is the prior's rate taken for a scale?": want
        - stats.gamma.logpdf(tau, a0, scale=1 / b0)
        + stats.gamma.logpdf(tau, a0, scale=b0),
        "is the prior of μ without τ, N(m₀, 1/ℓ₀)?": likelihood
        + scipy_product(mu, tau, (prior.mean, prior.scale, a0, b0)),
    }
    got = mean_field.log_joint(mu, tau, x, prior)
    assert_close(got, want, rtol=SHARP, atol=SHARP, what="log_joint", mistakes=mistakes)
    one = mean_field.log_joint(0.5, 0.4, x, prior)
    assert_close(one, want[1, 1], rtol=SHARP, atol=SHARP, what="log_joint of two numbers")


def test_log_joint_keeps_its_figures_far_from_zero():
    """With data, μ and prior near 10⁸, where Σx² − 2μΣx + nμ² has no figure left, scipy's sum is met."""
    x, prior = np.array([1.0, 2.0, 4.0, 9.0]) + 1e8, law(1e8 + 3, 0.5, 1.5, 3.0)
    mu, tau = 1e8 + np.array([2.0, 7.0]), 0.7
    expanded = np.sum(x**2) - 2 * mu * x.sum() + 4 * mu**2
    want = scipy_joint(mu, tau, x, prior)
    wrong = scipy_normal_gamma(mu, tau, prior) + 2 * (np.log(tau) - LOG_2PI) - tau / 2 * expanded
    mistakes = {"is this Σx² − 2μ Σx + nμ², which cancel?": wrong}
    assert_close(mean_field.log_joint(mu, tau, x, prior), want, rtol=1e-7, what="log_joint", mistakes=mistakes)


@laws
def test_log_density_is_scipys_normal_times_gamma(numbers):
    """log_density is log N(μ; m, 1/(ℓτ)) + log Gamma(τ; a, rate b), on a grid of μ and τ, by scipy."""
    mean, scale, shape, rate = numbers
    mu, tau = mean + np.array([[-30.0], [-1.0], [0.0], [0.3]]), np.array([1e-6, 0.4, 1.0, 3.0, 50.0])
    want = scipy_normal_gamma(mu, tau, numbers)
    of_tau = stats.gamma.logpdf(tau, shape, scale=1 / rate)
    mistakes = {
        "is ½ log τ missing from log N(μ; m, 1/(ℓτ))?": want - np.log(tau) / 2,
        "is ½ log ℓ missing?": want - np.log(scale) / 2,
        "is −½ log 2π missing?": want + LOG_2PI / 2,
        "is the rate taken for a scale in the gamma?": want - of_tau + stats.gamma.logpdf(tau, shape, scale=rate),
        "is it N(μ; m, 1/ℓ), without τ?": scipy_product(mu, tau, numbers),
        "is ℓτ taken for a variance, where it is a precision?": stats.norm.logpdf(mu, mean, np.sqrt(scale * tau))
        + of_tau,
        "is 1/(ℓτ), a variance, taken for a standard deviation?": stats.norm.logpdf(mu, mean, 1 / (scale * tau))
        + of_tau,
        "is the gamma's normaliser, a log b − log Γ(a), missing?": want - shape * np.log(rate) + special.gammaln(shape),
        "is it τ^a where τ^{a−1} belongs?": want + np.log(tau),
        "is this the density, not its logarithm?": np.exp(want),
    }
    got = mean_field.log_density(mu, tau, law(*numbers))
    assert_close(got, want, rtol=SHARP, atol=SHARP, what="log_density", mistakes=mistakes)
    assert_close(mean_field.log_density(mu[1, 0], 0.4, law(*numbers)), want[1, 1], rtol=SHARP, what="log_density")


@laws
def test_factors_log_density_is_scipys_product(numbers):
    """factors_log_density is log N(μ; m, 1/λ) + log Gamma(τ; a, rate b), on a grid of μ and τ, by scipy."""
    mean, precision, shape, rate = numbers
    mu, tau = mean + np.array([[-30.0], [-1.0], [0.0], [0.3]]), np.array([1e-6, 0.4, 1.0, 3.0, 50.0])
    want = scipy_product(mu, tau, numbers)
    of_tau = stats.gamma.logpdf(tau, shape, scale=1 / rate)
    mistakes = {
        "are the normalisers of q dropped, as where log q* = E log p + const.?": want
        - np.log(precision) / 2
        + LOG_2PI / 2
        - shape * np.log(rate)
        + special.gammaln(shape),
        "does q(μ) know τ, as the exact law does? The factors are independent": scipy_normal_gamma(mu, tau, numbers),
        "is λ taken for a variance, where it is a precision?": stats.norm.logpdf(mu, mean, np.sqrt(precision)) + of_tau,
        "is 1/λ, a variance, taken for a standard deviation?": stats.norm.logpdf(mu, mean, 1 / precision) + of_tau,
        "is the rate taken for a scale in the gamma?": want - of_tau + stats.gamma.logpdf(tau, shape, scale=rate),
        "is −½ log 2π missing?": want + LOG_2PI / 2,
    }
    got = mean_field.factors_log_density(mu, tau, product(*numbers))
    assert_close(got, want, rtol=SHARP, atol=SHARP, what="factors_log_density", mistakes=mistakes)


@laws
def test_log_density_and_factors_log_density_integrate_to_one(numbers):
    """Both integrate to 1 over the half-plane, by trapezoids."""
    mu, tau, areas = plane(numbers)
    total = np.sum(areas * np.exp(mean_field.log_density(mu, tau, law(*numbers))))
    assert_close(total, 1.0, rtol=1e-9, what="the integral of exp(log_density)")
    mean, precision, _, _ = numbers
    t, u = np.linspace(-9, 9, 121)[:, None], np.log(tau)
    mu, areas = mean + t / np.sqrt(precision), (u[1] - u[0]) * tau * 0.15 / np.sqrt(precision)
    total = np.sum(areas * np.exp(mean_field.factors_log_density(mu, tau, product(*numbers))))
    assert_close(total, 1.0, rtol=1e-9, what="the integral of exp(factors_log_density)")


@pytest.mark.parametrize("name", ["log_density", "factors_log_density"])
def test_log_densities_are_finite_in_the_far_tails(name):
    """log_density and factors_log_density at |μ| = 10¹⁵⁰ and τ from 10⁻³⁰⁰ to 10⁶ are finite, and scipy's."""
    kind, by_scipy = {"log_density": (law, scipy_normal_gamma), "factors_log_density": (product, scipy_product)}[name]
    numbers = (0.3, 2.0, 1.7, 0.9)
    mu, tau = np.array([[-1e150], [1e3], [1e100]]), np.array([1e-300, 1e-5, 1e6])
    got = getattr(mean_field, name)(mu, tau, kind(*numbers))
    assert np.isfinite(got).all(), f"{name} is not finite in the tails: is the log taken of a density that is 0?"
    assert_close(got, by_scipy(mu, tau, numbers), rtol=SHARP, what=f"{name} in the tails")


def student(numbers):
    """scipy's law of μ with τ integrated out."""
    mean, scale, shape, rate = numbers
    return stats.t(2 * shape, loc=mean, scale=np.sqrt(rate / (shape * scale)))


@pytest.mark.claim("prop-marginals")
@laws
def test_mean_log_density_is_scipys_student_law(numbers):
    """scipy's t with 2a degrees of freedom, location m and scale √(b/(aℓ)), out to 10⁶."""
    mean, scale, shape, rate = numbers
    mu = mean + np.array([-1e6, -30.0, -1.0, 0.0, 0.5, 10.0])
    want = student(numbers).logpdf(mu)
    width = np.sqrt(rate / (shape * scale))
    mistakes = {
        "has it a degrees of freedom, not 2a?": stats.t.logpdf(mu, shape, mean, width),
        "is its scale √(b/ℓ), without a?": stats.t.logpdf(mu, 2 * shape, mean, np.sqrt(rate / scale)),
        "is b/(aℓ) taken for the scale, without the root?": stats.t.logpdf(mu, 2 * shape, mean, width**2),
        "is the rate taken for a scale?": stats.t.logpdf(mu, 2 * shape, mean, np.sqrt(1 / (rate * shape * scale))),
        "is this a normal law, as if τ were known to be a/b?": stats.norm.logpdf(mu, mean, width),
        "has it 2a + 1 degrees of freedom?": stats.t.logpdf(mu, 2 * shape + 1, mean, width),
        "is the log of the scale missing: is this the density of (μ − m) over its scale?": want + np.log(width),
    }
    got = mean_field.mean_log_density(mu, law(*numbers))
    assert_close(got, want, rtol=SHARP, atol=SHARP, what="mean_log_density", mistakes=mistakes)


@pytest.mark.claim("prop-marginals")
@laws
def test_mean_log_density_is_log_density_with_tau_integrated_out(numbers):
    """∫ exp(log_density) dτ at five μ is exp(mean_log_density), by trapezoids in log τ; and ∫ dμ leaves the gamma."""
    mean, scale, shape, rate = numbers
    exact = law(*numbers)
    for mu in mean + np.array([-3.0, -0.5, 0.0, 0.2, 2.0]):
        u = log_steps(shape + 0.5) - np.log(rate + scale * (mu - mean) ** 2 / 2)  # where p(μ, τ) is, at this μ
        logs = mean_field.log_density(mu, np.exp(u), exact) + u
        got = mean_field.mean_log_density(mu, exact)
        assert_close(got, special.logsumexp(logs) + np.log(u[1] - u[0]), rtol=1e-9, atol=1e-9, what=f"at μ = {mu}")
    tau, t = np.array([0.1, 1.0, 4.0]) * shape / rate, np.linspace(-9, 9, 121)[:, None]
    areas = 0.15 / np.sqrt(scale * tau)
    got = np.sum(areas * np.exp(mean_field.log_density(mean + t / np.sqrt(scale * tau), tau, exact)), axis=0)
    assert_close(got, stats.gamma.pdf(tau, shape, scale=1 / rate), rtol=1e-9, what="∫ p(μ, τ) dμ")


@pytest.mark.claim("prop-marginals")
@pytest.mark.parametrize("numbers", [(0.3, 2.0, 2.5, 0.9), (10.0, 30.0, 25.0, 2.0), (-1.0, 0.25, 4.0, 3.0)])
def test_log_density_has_the_stated_moments(numbers):
    """∫∫: E μ = m, Var μ = b/((a−1)ℓ), E τ = a/b, Var τ = a/b², Cov(μ, τ) = 0, Cov((μ−m)², τ) = −1/(ℓ(a−1))."""
    mean, scale, shape, rate = numbers
    mu, tau, areas = plane(numbers)
    p = areas * np.exp(mean_field.log_density(mu, tau, law(*numbers)))
    off = mu - mean
    moments = [np.sum(p * f) for f in (off, off**2, tau, (tau - shape / rate) ** 2, off * tau)]
    want = [0.0, rate / ((shape - 1) * scale), shape / rate, shape / rate**2, 0.0]
    assert_close(moments, want, rtol=1e-8, atol=1e-9, what="E(μ−m), Var μ, E τ, Var τ, Cov(μ, τ)")
    covariance = np.sum(p * off**2 * tau) - moments[1] * moments[2]
    assert_close(covariance, -1 / (scale * (shape - 1)), rtol=1e-8, what="Cov((μ−m)², τ)")


@pytest.mark.claim("prop-marginals")
def test_mean_log_density_has_no_variance_for_shapes_up_to_one():
    """Up to R, ∫ μ² p(μ) dμ grows by (2b)^a/(ℓ^a B) log 10 at a = 1 with each tenfold R: μ² p(μ) ~ 1/μ, sympy says."""
    m = sympy.symbols("m", positive=True)
    density = (1 + m**2 / 2) ** sympy.Rational(-3, 2) / sympy.sqrt(8)  # a = b = ℓ = 1
    assert sympy.integrate(density, (m, -sympy.oo, sympy.oo)) == 1
    limit = float(sympy.limit(m * m**2 * density, m, sympy.oo))
    for mu in (1e4, 1e6):
        got = mu**3 * np.exp(mean_field.mean_log_density(mu, law(0.0, 1.0, 1.0, 1.0)))
        assert_close(got, limit, rtol=1e-7, what="μ³ p(μ) far out, for shape 1")


@pytest.mark.parametrize("shape", [1e-300, 1e-3, 1e6, 1e10, 1e15])
def test_mean_log_density_is_exact_for_extreme_shapes(shape):
    """mpmath in 60 figures; at a = 10¹⁵ this is nearly N(0, 1), and log Γ(a+½) − log Γ(a) by itself is noise."""
    mu = np.array([0.0, 0.7, -3.0])
    with mpmath.workdps(60):
        a = mpmath.mpf(shape)
        constant = mpmath.loggamma(a + 0.5) - mpmath.loggamma(a) - mpmath.log(2 * mpmath.pi * a) / 2
        want = [float(constant - (a + 0.5) * mpmath.log1p(mpmath.mpf(v) ** 2 / (2 * a))) for v in mu]
    constant = special.gammaln(shape + 0.5) - special.gammaln(shape) - np.log(2 * np.pi * shape) / 2
    mistakes = {"do log Γ(a+½) and log Γ(a) cancel?": constant - (shape + 0.5) * np.log1p(mu**2 / (2 * shape))}
    # Of a/b and 1/b a rounding each is lost.
    got = mean_field.mean_log_density(mu, law(0.0, 1.0, shape, shape))
    assert_close(got, want, rtol=1e-9, what=f"mean_log_density for shape {shape:g}", mistakes=mistakes)


# The bound for factors


@problems
@pytest.mark.parametrize("numbers", FACTORS)
def test_terms_are_three_averages(problem, numbers):
    """Each is the average of scipy's log densities over q, by quadrature; both prices are positive."""
    x, prior = given(problem)
    (m0, l0, a0, b0), (mean, precision, shape, rate) = prior, numbers
    n, tau, log_tau = len(x), shape / rate, special.digamma(shape) - np.log(rate)
    squares = np.sum((x - mean) ** 2)

    def fit(mu, tau):
        return sum(stats.norm.logpdf(v, mu, 1 / np.sqrt(tau)) for v in x)

    def of_mean(mu, tau):
        own = stats.norm.logpdf(mu, mean, 1 / np.sqrt(precision))
        return own - stats.norm.logpdf(mu, m0, 1 / np.sqrt(l0 * tau))

    got, want = mean_field.terms(product(*numbers), x, prior), average(fit, numbers)
    mistakes = {
        "is E(x−μ)² taken as (x−m)², without the variance 1/λ of q(μ)?": want + tau * n / precision / 2,
        "is it log E τ where E log τ belongs?": want + n / 2 * (np.log(tau) - log_tau),
        "is E log τ without −log b?": want + n / 2 * np.log(rate),
        "is E log τ = ψ(a) + log b, as if b were a scale?": want + n * np.log(rate),
        "has E log τ the wrong sign?": want - n * log_tau,
        "is E τ = a b, as if b were a scale?": want - (shape * rate - tau) / 2 * (squares + n / precision),
        "is −(n/2) log 2π missing?": want + n / 2 * LOG_2PI,
        "is the variance 1/λ counted once, not for each datum?": want + tau * (n - 1) / precision / 2
        if n > 1
        else np.nan,
        "is λ added where the variance 1/λ belongs?": want - tau * n * (precision - 1 / precision) / 2,
    }
    assert_close(got.fit, want, rtol=SHARP, atol=SHARP, what="fit, E log p(x | μ, τ)", mistakes=mistakes)

    want = average(of_mean, numbers)
    mistakes = {
        "is this KL(q(μ) ‖ N(m₀, 1/ℓ₀)), without τ?": normal_kl(mean, 1 / precision, m0, 1 / l0),
        "is it log E τ where E log τ belongs?": normal_kl(mean, 1 / precision, m0, 1 / (l0 * tau)),
        "is the sign reversed: a price is what is paid?": -want,
        "is this E log p(μ | τ) without the entropy of q(μ)?": want + entropies(numbers)[0],
        "is (m − m₀)² forgotten?": want - l0 * tau * (mean - m0) ** 2 / 2,
    }
    what = "price_of_mean, E[log q(μ) − log p(μ | τ)]"
    assert_close(got.price_of_mean, want, rtol=SHARP, atol=SHARP, what=what, mistakes=mistakes)

    want = gamma_kl(shape, rate, a0, b0)
    mistakes = {
        "is this KL(p ‖ q), the other way round?": gamma_kl(a0, b0, shape, rate),
        "are rates taken for scales?": gamma_kl(shape, 1 / rate, a0, 1 / b0),
        "is the sign reversed: a price is what is paid?": -want,
        "is the prior's log-normaliser, a₀ log b₀ − log Γ(a₀), missing?": want + a0 * np.log(b0) - special.gammaln(a0),
        "is the entropy of q(τ) missing?": want + entropies(numbers)[1],
    }
    what = "price_of_precision, E[log q(τ) − log p(τ)]"
    assert_close(got.price_of_precision, want, rtol=SHARP, atol=SHARP, what=what, mistakes=mistakes)
    assert min(got[1:]) > 0


@problems
@pytest.mark.parametrize("numbers", FACTORS)
def test_elbo_is_the_average_of_log_joint_less_log_q(problem, numbers):
    """E_q[log p(x, μ, τ) − log q(μ) − log q(τ)] of scipy's densities, by quadrature."""
    x, prior = given(problem)
    want = average(lambda mu, tau: scipy_joint(mu, tau, x, prior) - scipy_product(mu, tau, numbers), numbers)
    (of_mean, of_tau), (_, precision, shape, rate) = entropies(numbers), numbers
    (_, l0, a0, b0), n, tau = prior, len(x), shape / rate
    log_tau = special.digamma(shape) - np.log(rate)

    def with_other(**changes):
        return expected_joint(x, prior, numbers, **changes) + of_mean + of_tau

    mistakes = {
        "is the entropy of q(μ) missing?": want - of_mean,
        "is the entropy of q(τ) missing?": want - of_tau,
        "are both entropies missing: is this E log p alone?": want - of_mean - of_tau,
        "is the entropy subtracted, not added?": want - 2 * (of_mean + of_tau),
        "is the sign reversed: is this a loss, the negative ELBO?": -want,
        "is the fraction outside the logarithm: is E log p divided by q?": (want - of_mean - of_tau)
        / np.exp(-of_mean - of_tau),
        "is the prior's log-normaliser, a₀ log b₀ − log Γ(a₀), missing?": want - a0 * np.log(b0) + special.gammaln(a0),
        "is ½ log ℓ₀ of the prior of μ missing?": want - np.log(l0) / 2,
        "is ½ E log τ of the prior of μ missing?": want - log_tau / 2,
        "is −(n/2) log 2π missing?": want + n / 2 * LOG_2PI,
        "are −(n/2) log 2π and the ½ log 2π of the prior of μ missing?": want + (n + 1) / 2 * LOG_2PI,
        "is it log E τ where E log τ belongs?": with_other(log_tau=np.log(tau)),
        "has E log τ the wrong sign?": with_other(log_tau=-log_tau),
        "is E log τ = ψ(a) + log b, as if b were a scale?": with_other(log_tau=special.digamma(shape) + np.log(rate)),
        "is E τ = a b, as if b were a scale?": with_other(tau=shape * rate),
        "is E(x−μ)² taken as (x−m)², without the variance 1/λ of q(μ)?": want + tau * n / precision / 2,
        "is E(μ−m₀)² taken as (m−m₀)², without the variance 1/λ of q(μ)?": want + tau * l0 / precision / 2,
        "is 1/λ, the variance of q(μ), forgotten in both squares?": with_other(variance=0.0),
        "is the prior counted twice?": 2 * want
        - (average(lambda mu, tau: sum(stats.norm.logpdf(v, mu, 1 / np.sqrt(tau)) for v in x), numbers))
        - of_mean
        - of_tau,
    }
    got = mean_field.elbo(product(*numbers), x, prior)
    assert isinstance(got, float)
    assert_close(got, want, rtol=SHARP, atol=SHARP, what="elbo(q, x, prior)", mistakes=mistakes)


def test_elbo_is_fit_less_two_prices():
    """elbo is the first of the terms minus the other two."""
    x, prior = given("four data")
    q = product(*FACTORS[0])
    fit, price_of_mean, price_of_precision = mean_field.terms(q, x, prior)
    mistakes = {"are the prices added, not subtracted?": fit + price_of_mean + price_of_precision}
    got = mean_field.elbo(q, x, prior)
    assert_close(got, fit - price_of_mean - price_of_precision, rtol=SHARP, what="elbo", mistakes=mistakes)


def test_elbo_is_never_above_log_evidence(rng):
    """For a hundred random factors, data and priors, near the posterior and far from it."""
    for _ in range(100):
        x = rng.normal(rng.normal(0, 3), 2.0, rng.integers(1, 6))
        prior = law(rng.normal(), *np.exp(rng.normal(0, 1, 3)))
        best = mean_field.best_factors(mean_field.posterior(x, prior))
        spread = rng.choice([1e-3, 0.3, 2.0])
        near = product(best.mean + spread * rng.normal(), *(np.exp(spread * rng.normal(size=3)) * best[1:]))
        bound, level = mean_field.elbo(near, x, prior), mean_field.log_evidence(x, prior)
        assert bound <= level, f"the ELBO {bound} is above log p(x) = {level}: it must be a lower bound"


def test_elbo_is_minus_infinity_where_everything_overflows():
    """A mean of 10²⁰⁰, whose square is no float, gives −∞, not NaN and no warning."""
    x, prior = given("four data")
    for numbers in ((1e200, 1.0, 2.0, 1.0), (-1e200, 1e-3, 2.0, 1.0)):
        got = mean_field.elbo(product(*numbers), x, prior)
        assert got == -np.inf, f"elbo of a mean of {numbers[0]:g} is {got}, should be −∞"


@pairs
def test_divergence_is_the_average_of_a_log_ratio(inner, outer):
    """KL(q ‖ p) = E_q[log q − log p] of scipy's densities, by quadrature."""
    want = average(lambda mu, tau: scipy_product(mu, tau, inner) - scipy_normal_gamma(mu, tau, outer), inner)
    mu, tau, areas = plane(outer)
    p = scipy_normal_gamma(mu, tau, outer)
    reverse = np.sum(areas * np.exp(p) * (p - scipy_product(mu, tau, inner)))
    (mean, precision, shape, rate), (m, scale, a, b) = inner, outer
    jensen = (np.log(shape / rate) - special.digamma(shape) + np.log(rate)) / 2
    normal = normal_kl(mean, 1 / precision, m, 1 / scale)
    mistakes = {
        "is this KL(p ‖ q), the other way round?": reverse,
        "is the sign reversed?": -want,
        "is it log E τ where E log τ belongs, in the normal's part?": want - jensen,
        "is the part of μ that of N(m, 1/ℓ), without τ?": normal + gamma_kl(shape, rate, a, b),
        "is the part of τ missing?": want - gamma_kl(shape, rate, a, b),
        "is the part of μ missing?": gamma_kl(shape, rate, a, b),
        "are rates taken for scales in the gamma's part?": want
        - gamma_kl(shape, rate, a, b)
        + gamma_kl(shape, 1 / rate, a, 1 / b),
    }
    got = mean_field.divergence(product(*inner), law(*outer))
    assert isinstance(got, float)
    assert_close(got, want, rtol=1e-9, atol=1e-11, what="divergence(q, p)", mistakes=mistakes)


def test_divergence_of_nearly_known_precisions():
    """For shapes up to 10⁸ the best q is at mpmath's gap, 1/(4a), but for the rounding of log Γ(a)."""
    for shape in (1e3, 1e5, 1e8):
        best = (1.0, 2.0 / 3.0, shape + 0.5, 3.0 * (shape + 0.5))
        got = mean_field.divergence(product(*best), law(1.0, 2.0, shape, 3.0 * shape))
        lost = 1e-15 * shape * np.log(shape)  # numbers of size a log a lose 1e-16 of it, each
        what = f"divergence of the best factors of shape {shape:g}"
        assert_close(got, mp_gap(shape), rtol=1e-9, atol=lost, what=what)


# Coordinate ascent


def best_by_hand(exact):
    """The fixed point, from the posterior."""
    mean, scale, shape, rate = exact
    return mean, scale * shape / rate, shape + 0.5, rate * (shape + 0.5) / shape


@pytest.mark.claim("thm-fixed-point")
@problems
def test_cavi_ends_at_the_fixed_point(problem):
    """m = mₙ, λ = ℓₙaₙ/bₙ, a = aₙ + ½ and b = bₙ(aₙ+½)/aₙ, of the posterior in exact fractions."""
    x, prior = given(problem)
    exact = exact_posterior(x, prior)
    (_, l0, a0, b0), n, want = prior, len(x), best_by_hand(exact)
    got, a, c = mean_field.cavi(x, prior).factors, exact.shape, exact.rate
    assert_close(got.mean, want[0], rtol=1e-9, what="the mean", mistakes={"is it x̄, without the prior?": x.mean()})
    mistakes = {
        "is a_N without the half: a₀ + n/2, as in the exact posterior?": a,
        "is it a₀ + n?": a0 + n,
        "is the shape without the prior's a₀?": (n + 1) / 2,
    }
    assert_close(got.shape, want[2], rtol=1e-9, what="the shape", mistakes=mistakes)
    pulled = c + (n / 2 * l0 / (l0 + n) * n / (l0 + n) - n / 2 * l0 / (l0 + n)) * (x.mean() - prior.mean) ** 2
    mistakes = {
        "is b_N without its prior term, b₀?": (c - b0) * (a + 0.5) / a,
        "is b_N without the variance of μ, (ℓ₀ + n)/(2λ)?": c,
        "is the variance of μ counted n times, not ℓ₀ + n?": c / (1 - n / (exact.scale * (2 * a + 1))),
        "is it λ = (ℓ₀ + n) b/a, upside down?": (c + np.sqrt(c**2 + 2 * a + 1)) / 2,
        "is b_N without ℓ₀ (m − m₀)²?": pulled * (a + 0.5) / a,
        "is the ½ before the squares missing?": (2 * c - b0) * (2 * a + 1) / (2 * a - 1) if a > 0.5 else np.nan,
        "is this where the shape a_N without the half leads?": c * a / (a - 0.5),
        "is this the rate of the exact posterior?": c,
    }
    assert_close(got.rate, want[3], rtol=1e-9, what="the rate", mistakes=mistakes)
    mistakes = {
        "is it n a/b, without the prior's ℓ₀?": n * a / c,
        "is it (ℓ₀ + n) b/a, upside down?": exact.scale * c / a,
        "is this the variance, not the precision, of q(μ)?": 1 / want[1],
        "is it ℓ₀ + n, without E τ?": exact.scale,
    }
    assert_close(got.precision, want[1], rtol=1e-9, what="the precision", mistakes=mistakes)


@problems
def test_cavi_and_best_factors_agree(problem):
    """Where the ascent ends is what best_factors gives for the posterior."""
    x, prior = given(problem)
    got, want = mean_field.cavi(x, prior).factors, mean_field.best_factors(mean_field.posterior(x, prior))
    assert_close(list(got), list(want), rtol=1e-9, what="cavi(x, prior).factors, against best_factors(posterior)")


@pytest.mark.claim("thm-fixed-point")
@problems
@pytest.mark.parametrize("start", [1e-4, 0.7, 1e5])
def test_cavi_takes_the_rate_to_its_limit_by_a_constant_factor(problem, start):
    """Sweep k leaves b = bₙ + r_k with r₁ = 1/(2 start); the distance to its limit shrinks by 1/(2a₀+n+1) each."""
    x, prior = given(problem)
    exact = exact_posterior(x, prior)
    limit = best_by_hand(exact)[3]
    shape, rate = exact.shape + 0.5, exact.rate + 1 / (2 * start)
    distance = rate - limit
    for sweeps in (1, 2, 3):
        run = mean_field.cavi(x, prior, start=start, sweeps=sweeps)
        precision = exact.scale * (start if sweeps == 1 else shape / (limit + distance * (2 * shape)))
        late = {"is q(τ) set before q(μ), or the precision of the sweep before returned?": exact.scale * shape / rate}
        mistakes = late | {"is the start E τ forgotten?": exact.scale * prior.shape / prior.rate}
        what = f"after {sweeps} sweeps from {start}"
        assert_close(run.factors.precision, precision, rtol=1e-9, what=f"the precision {what}", mistakes=mistakes)
        want = [exact.mean, shape]
        assert_close([run.factors.mean, run.factors.shape], want, rtol=SHARP, what=f"mean and shape {what}")
        assert_close(run.factors.rate, limit + distance, rtol=1e-9, what=f"the rate {what}")
        assert len(run.elbos) == sweeps, f"{len(run.elbos)} ELBOs after {sweeps} sweeps: it takes one for each sweep"
        distance /= 2 * shape
        rate = limit + distance


def test_cavi_starts_from_the_prior_mean_of_tau():
    """Without `start` the first precision is (ℓ₀ + n) a₀/b₀."""
    x, prior = given("four data")
    got = mean_field.cavi(x, prior, sweeps=1).factors.precision
    mistakes = {
        "does it start at b₀/a₀, not at a₀/b₀?": 4.5 * 3.0 / 1.5,
        "does it start at 1?": 4.5,
        "does it start where it will end, at the posterior's aₙ/bₙ?": 4.5 * 3.5 / exact_posterior(x, prior).rate,
    }
    assert_close(got, 4.5 * 1.5 / 3.0, rtol=SHARP, what="the first precision", mistakes=mistakes)


@problems
def test_cavi_reports_the_elbo_after_each_sweep(problem):
    """elbos[k] is, by quadrature of scipy's densities, that of the factors that k + 1 sweeps return."""
    x, prior = given(problem)
    run = mean_field.cavi(x, prior, start=50.0)
    ends = [tuple(mean_field.cavi(x, prior, start=50.0, sweeps=k + 1).factors) for k in range(4)]
    wants = [expected_joint(x, prior, q) + sum(entropies(q)) for q in ends]
    for k in (1, 2, 0):
        mistakes = {
            "is this the ELBO before the sweep, or is that of the start there too?": wants[k - 1] if k else np.nan,
            "is this the ELBO after the next sweep, the first left out?": wants[k + 1],
            "is the sign reversed: are these losses?": -wants[k],
        }
        assert_close(run.elbos[k], wants[k], rtol=1e-9, atol=1e-10, what=f"elbos[{k}]", mistakes=mistakes)
    last = expected_joint(x, prior, run.factors) + sum(entropies(run.factors))
    assert_close(run.elbos[-1], last, rtol=1e-9, atol=1e-10, what="elbos[-1], of the factors returned")


@problems
def test_cavi_goes_on_until_nothing_moves(problem):
    """One sweep more, from the E τ where it ended, moves no parameter by 1e-9 of itself."""
    x, prior = given(problem)
    end = mean_field.cavi(x, prior, start=1e3).factors
    more = mean_field.cavi(x, prior, start=end.shape / end.rate, sweeps=1).factors
    moved = np.max(np.abs(np.array(more) / np.array(end) - 1))
    assert moved <= 1e-9, f"another sweep moves a parameter by {moved:.2g} of itself: it stops too soon"


def test_cavi_stops_when_nothing_moves():
    """For four data each sweep leaves an eighth of the distance: 1e-10 of it is there after 15 sweeps, not 1,000."""
    x, prior = given("four data")
    for start in (None, 1e-3, 1e3):
        count = len(mean_field.cavi(x, prior, start=start).elbos)
        assert 5 <= count <= 40, f"{count} sweeps, where nothing moves after 15: does it stop when converged?"
        assert len(mean_field.cavi(x, prior, start=start, sweeps=4).elbos) == 4, "sweeps is the most it may take"
    assert len(mean_field.cavi(x, prior, sweeps=1).elbos) == 1


@pytest.mark.parametrize("unit", [2.0**-20, 2.0**20])
def test_cavi_stops_after_as_many_sweeps_in_any_unit(unit):
    """In a unit that is a power of 2 every parameter is multiplied by one exactly, and so is how far it moves."""
    x, prior = given("four data")
    other = law(unit * prior.mean, prior.scale, prior.shape, unit**2 * prior.rate)
    want, got = len(mean_field.cavi(x, prior).elbos), len(mean_field.cavi(unit * x, other).elbos)
    why = "a parameter has stopped when it moves by 1e-10 of itself, not by 1e-10"
    assert abs(got - want) <= 1, f"{want} sweeps for the data, {got} for {unit:g} times the data: {why}"


@problems
def test_cavi_does_not_depend_on_its_start(problem):
    """From E τ = 10⁻⁶, 1 and 10⁶ it ends at the same factors, to 1e-9."""
    x, prior = given(problem)
    ends = [list(mean_field.cavi(x, prior, start=start).factors) for start in (1e-6, 1, 1e6)]
    assert_close(ends, [list(best_by_hand(exact_posterior(x, prior)))] * 3, rtol=1e-9, what="where three starts end")


@pytest.mark.claim("cor-cavi-climbs")
@problems
def test_cavi_climbs_by_the_divergences_of_its_updates(problem):
    """From sweep to sweep the ELBO rises by KL(old q(μ) ‖ new) + KL(old q(τ) ‖ new): normal and gamma laws'."""
    x, prior = given(problem)
    runs = [mean_field.cavi(x, prior, start=1e-3, sweeps=k) for k in (1, 2, 3, 4)]
    for before, after in itertools.pairwise(runs):
        old, new = before.factors, after.factors
        want = normal_kl(old.mean, 1 / old.precision, new.mean, 1 / new.precision)
        want += gamma_kl(old.shape, old.rate, new.shape, new.rate)
        got = after.elbos[-1] - before.elbos[-1]
        assert_close(got, want, rtol=1e-8, atol=1e-11 * abs(after.elbos[-1]) + 1e-12, what="the rise of the ELBO")


@pytest.mark.claim("cor-cavi-climbs")
@problems
def test_elbo_rises_by_the_divergence_of_an_update(problem):
    """From arbitrary factors, putting the best q(μ), and the best q(τ), raises `elbo` by exactly KL(old ‖ new)."""
    x, prior = given(problem)
    exact, n = exact_posterior(x, prior), len(x)
    for mean, precision, shape, rate in FACTORS:
        old, best = product(mean, precision, shape, rate), (exact.mean, exact.scale * shape / rate)
        got = mean_field.elbo(product(*best, shape, rate), x, prior) - mean_field.elbo(old, x, prior)
        assert_close(got, normal_kl(mean, 1 / precision, best[0], 1 / best[1]), rtol=1e-8, what="the rise by q(μ)")
        squares = np.sum((x - mean) ** 2) + prior.scale * (mean - prior.mean) ** 2 + (prior.scale + n) / precision
        best = (prior.shape + (n + 1) / 2, prior.rate + squares / 2)
        got = mean_field.elbo(product(mean, precision, *best), x, prior) - mean_field.elbo(old, x, prior)
        assert_close(got, gamma_kl(shape, rate, *best), rtol=1e-8, what="the rise by q(τ)")


@problems
def test_cavi_never_falls(problem):
    """No ELBO is below the one before by more than its rounding, and the last is the highest."""
    x, prior = given(problem)
    for start in (None, 1e-5, 1e5):
        elbos = mean_field.cavi(x, prior, start=start).elbos
        fall = np.max(-np.diff(elbos), initial=0.0)
        assert fall <= 1e-12 * np.abs(elbos).max(), f"the ELBO falls by {fall:g}: an update is not the best one"


@pytest.mark.claim("thm-mean-field-update")
def test_mean_field_update_of_a_table_with_three_blocks(rng):
    """Enumeration: ELBO(q₁, q₂) = log Z₁ + H(q₂) − KL(q₁ ‖ q₁*), q₁* ∝ exp E_{q₂} log p, for each of three blocks."""
    joint = table(rng, 3, 4, 2) * 0.37  # p(x, z) at one x: it need not sum to 1
    q = [table(rng, size) for size in joint.shape]
    for block in range(3):
        others = [q[i] for i in range(3) if i != block]
        rest = np.multiply.outer(*others)
        expected = np.tensordot(np.moveaxis(np.log(joint), block, 0), rest, 2)
        z = np.exp(expected).sum()
        best = np.exp(expected) / z

        def bound(own, block=block, rest=rest):
            law = np.moveaxis(np.multiply.outer(own, rest), 0, block)
            return float(np.sum(law * (np.log(joint) - np.log(law))))

        for own in (q[block], best, table(rng, len(best))):
            want = np.log(z) - np.sum(rest * np.log(rest)) - kl(own, best)
            assert_close(bound(own), want, rtol=SHARP, what="the ELBO")
        rise = bound(best) - bound(q[block])
        assert_close(rise, kl(q[block], best), rtol=1e-8, what="the rise of the ELBO, KL(old ‖ new)")


@pytest.mark.claim("cor-cavi-climbs")
def test_mean_field_ascent_on_a_table_climbs_by_its_divergences(rng):
    """Ten sweeps on a table with two blocks: each update raises the ELBO by KL(old ‖ new) ≥ 0."""
    joint = table(rng, 4, 5)
    q = [table(rng, 4), table(rng, 5)]

    def bound():
        law = np.multiply.outer(*q)
        return float(np.sum(law * (np.log(joint) - np.log(law))))

    for block in [0, 1] * 10:
        before, old = bound(), q[block]
        expected = np.tensordot(np.moveaxis(np.log(joint), block, 0), q[1 - block], 1)
        q[block] = np.exp(expected) / np.exp(expected).sum()
        assert_close(bound() - before, kl(old, q[block]), rtol=1e-6, atol=1e-13, what="the rise of the ELBO")


@pytest.mark.claim("thm-mean-field-update")
@problems
@pytest.mark.parametrize("numbers", FACTORS[:2])
def test_elbo_is_log_z_plus_entropy_less_divergence(problem, numbers):
    """For any q: elbo = log Z + H(the other factor) − KL(this ‖ its best), Z by quadrature of exp E `log_joint`."""
    x, prior = given(problem)
    exact, n = exact_posterior(x, prior), len(x)
    mean, precision, shape, rate = numbers
    bound, (of_mean, of_tau) = mean_field.elbo(product(*numbers), x, prior), entropies(numbers)

    squares = np.sum((x - mean) ** 2) + prior.scale * (mean - prior.mean) ** 2 + (prior.scale + n) / precision
    best = (prior.shape + (n + 1) / 2, prior.rate + squares / 2)
    z, weights = normal_nodes()
    u = log_steps(best[0]) - np.log(best[1])
    logs = np.sum(weights * mean_field.log_joint(mean + z / np.sqrt(precision), np.exp(u), x, prior), axis=0) + u
    log_z = special.logsumexp(logs) + np.log(u[1] - u[0])
    assert_close(bound, log_z + of_mean - gamma_kl(shape, rate, *best), rtol=1e-9, what="elbo, by log Z of q(τ)")

    tau, weights = gamma_nodes(shape, rate)
    best = (exact.mean, exact.scale * shape / rate)
    mu = best[0] + np.linspace(-9, 9, 121)[:, None] / np.sqrt(best[1])
    logs = np.sum(weights * mean_field.log_joint(mu, tau, x, prior), axis=1)
    log_z = special.logsumexp(logs) + np.log(0.15 / np.sqrt(best[1]))
    fall = normal_kl(mean, 1 / precision, best[0], 1 / best[1])
    assert_close(bound, log_z + of_tau - fall, rtol=1e-9, what="elbo, by log Z of q(μ)")


# The best factors


@pytest.mark.claim("thm-fixed-point")
@laws
def test_best_factors_are_the_fixed_point(numbers):
    """m, ℓa/b, a + ½ and b(a+½)/a; the law with τ's own marginal would have shape a and rate b."""
    mean, scale, shape, rate = numbers
    got, want = mean_field.best_factors(law(*numbers)), best_by_hand(numbers)
    assert_close(got.mean, mean, rtol=SHARP, what="the mean")
    matched = scale * (shape - 1) / rate
    mistakes = {
        "is this the precision of moment_matched, which is best for KL(p ‖ q)?": matched,
        "is it ℓ b/a, upside down?": scale * rate / shape,
        "is this the variance, not the precision?": 1 / want[1],
        "is E τ = (a + ½)/b, the half put in but the rate left?": scale * (shape + 0.5) / rate,
    }
    assert_close(got.precision, want[1], rtol=SHARP, what="the precision", mistakes=mistakes)
    mistakes = {"is the shape without the half?": shape, "is a half taken off, not added?": shape - 0.5}
    assert_close(got.shape, want[2], rtol=SHARP, what="the shape", mistakes=mistakes)
    mistakes = {
        "is the rate left as it was, so that E τ is wrong?": rate,
        "is the rate b a/(a + ½), upside down?": rate * shape / (shape + 0.5),
        "is the rate b + ½?": rate + 0.5,
    }
    assert_close(got.rate, want[3], rtol=SHARP, what="the rate", mistakes=mistakes)


@pytest.mark.claim("thm-fixed-point")
@laws
def test_best_factors_are_found_by_minimisation(numbers):
    """BFGS on KL(q ‖ p), written out anew, ends at them from four starts; and there `divergence` is least."""
    got = mean_field.best_factors(law(*numbers))
    mean, scale, shape, rate = numbers

    def loss(v):  # in units of p's own
        return kl_by_hand((mean + v[0] * np.sqrt(rate / shape / scale), *np.exp(v[1:])), numbers)

    top = np.log([scale * shape / rate, shape, rate])
    for start in ((1.0, *top), (-2.0, *(top + 1.5)), (0.0, *(top - 1)), (0.5, *(top + np.array([1, -1, 1])))):
        best = optimize.minimize(loss, start, options={"gtol": 1e-8})
        # The loss tells two points apart only at √eps of its curvature.
        want = (mean + best.x[0] * np.sqrt(rate / shape / scale), *np.exp(best.x[1:]))
        assert_close(list(got), want, rtol=1e-4, atol=1e-5, what="best_factors, against BFGS")
        assert_close(mean_field.divergence(got, law(*numbers)), best.fun, atol=1e-9, what="its divergence")


@pytest.mark.claim("thm-fixed-point", kind="automatic differentiation")
@laws
def test_best_factors_leave_no_gradient(numbers):
    """PyTorch's gradient of KL(q ‖ p) in log λ, log a, log b and m is 0 there; its Hessian is positive definite."""
    at = torch.tensor(tuple(mean_field.best_factors(law(*numbers))), dtype=torch.float64)
    start = torch.cat([at[:1], at[1:].log()])

    def loss(v):
        inner = (v[0], *v[1:].exp())
        return kl_by_hand(inner, numbers, torch, torch.digamma, lambda a: torch.lgamma(torch.as_tensor(a).double()))

    gradient = torch.autograd.functional.jacobian(loss, start)
    # a log Γ of size a log a loses 1e-16 of it.
    assert_close(gradient, np.zeros(4), atol=1e-9, what="the gradient of KL(q ‖ p) at best_factors")
    assert torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, start)).min() > 0


@pytest.mark.claim("thm-fixed-point")
@laws
def test_best_factors_are_the_exponentials_of_expected_logs(numbers):
    """Among all densities: log q(μ) − E_{q(τ)} log p and log q(τ) − E_{q(μ)} log p, by quadrature, are constant."""
    exact, q = law(*numbers), mean_field.best_factors(law(*numbers))
    mu = q.mean + np.array([[-3.0], [-0.2], [0.0], [1.0], [5.0]]) / np.sqrt(q.precision)
    nodes, weights = gamma_nodes(q.shape, q.rate)
    off = np.sum(weights * scipy_normal_gamma(mu, nodes, exact), axis=1)
    off = stats.norm.logpdf(mu[:, 0], q.mean, q.precision**-0.5) - off
    assert_close(off, np.full(5, off[2]), rtol=1e-9, atol=1e-9, what="log q(μ) − E log p")
    tau, (z, weights) = np.array([0.01, 0.3, 1.0, 2.0, 6.0]) * q.shape / q.rate, normal_nodes()
    off = np.sum(weights * scipy_normal_gamma(q.mean + z / np.sqrt(q.precision), tau, exact), axis=0)
    off = stats.gamma.logpdf(tau, q.shape, scale=1 / q.rate) - off
    assert_close(off, np.full(5, off[2]), rtol=1e-9, atol=1e-9, what="log q(τ) − E log p")


@pytest.mark.claim("thm-gap")
@pytest.mark.parametrize("count", [1, 2, 5])
def test_gap_is_what_cavi_leaves_whatever_the_data(count, rng):
    """log_evidence − the last ELBO is gap(a₀ + n/2), the same for any data, m₀, ℓ₀ and b₀."""
    for _ in range(4):
        x = rng.normal(rng.normal(0, 5), np.exp(rng.normal()), count)
        m0, l0, a0, b0 = rng.normal(), np.exp(rng.normal()), rng.choice([0.25, 1.0, 7.5]), np.exp(rng.normal())
        prior = law(m0, l0, a0, b0)
        left = mean_field.log_evidence(x, prior) - mean_field.cavi(x, prior).elbos[-1]
        mistakes = {
            "is it the gap at a + ½, the shape of q(τ), not at the exact a?": mp_gap(a0 + (count + 1) / 2),
            "is it the gap at the prior's shape?": mp_gap(a0),
        }
        want = mp_gap(a0 + count / 2)
        assert_close(left, want, atol=1e-9, rtol=1e-9, what="log p(x) − ELBO", mistakes=mistakes)
        assert_close(mean_field.gap(a0 + count / 2), left, atol=1e-9, what="gap(a₀ + n/2)")


@pytest.mark.claim("thm-gap")
def test_gap_is_the_difference_of_two_remainders():
    """mpmath: R(a) − R(a+½), R(x) = log Γ(x) − x log x + x, for a from 10⁻³⁰⁰ to 10¹⁵."""
    shapes = np.array([1e-300, 1e-20, 1e-6, *SHAPES, 29.0, 31.0, 1e3, 1e5, 1e8, 1e12, 1e15])
    want = np.array([mp_gap(shape) for shape in shapes])
    mistakes = {
        "is this the bound 1/(4a), not the gap?": 1 / (4 * shapes),
        "is this the bound ½ log(1 + 1/(2a)), not the gap?": np.log1p(1 / (2 * shapes)) / 2,
        "is the sign reversed: a divergence is positive?": -want,
        "is this the mutual information?": [mp_mutual_information(shape) for shape in shapes],
        "is a ½ missing?": 2 * want,
    }
    got = mean_field.gap(shapes)
    assert_close(got[3:11], want[3:11], rtol=1e-9, what="gap(a), a from 0.05 to 80", mistakes=_cut(mistakes, 3, 11))
    large = got[-4:]
    noise = np.abs(large * 4 * shapes[-4:] - 1).max()  # the gap is 1/(4a) up to 1/a of itself
    assert noise < 1e-3, f"gap(10⁵), ..., gap(10¹⁵) are {large}: log Γ(a) − log Γ(a+½) cancels against a log a"
    assert_close(got, want, rtol=1e-9, what="gap(a)", mistakes=mistakes)


def _cut(mistakes, low, high):
    return {sentence: np.asarray(value)[low:high] for sentence, value in mistakes.items()}


@pytest.mark.claim("thm-gap")
def test_gap_lies_between_its_bounds():
    """½ log(1 + 1/(2a)) < gap(a) < 1/(4a) for 200 shapes from 10⁻⁶ to 10⁶."""
    shapes = np.geomspace(1e-6, 1e6, 200)
    got = mean_field.gap(shapes)
    assert np.all(np.log1p(1 / (2 * shapes)) / 2 < got), "gap is not above ½ log(1 + 1/(2a))"
    assert np.all(got < 1 / (4 * shapes)), "gap is not below 1/(4a)"


@pytest.mark.claim("thm-gap")
@laws
def test_gap_is_the_divergence_of_best_factors(numbers):
    """KL(q ‖ p) of best_factors, by quadrature of scipy's densities, is gap(a), whatever m, ℓ and b."""
    q = tuple(mean_field.best_factors(law(*numbers)))
    want = average(lambda mu, tau: scipy_product(mu, tau, q) - scipy_normal_gamma(mu, tau, numbers), q)
    assert_close(mean_field.gap(numbers[2]), want, rtol=1e-9, atol=1e-11, what="gap(a)")
    assert_close(mean_field.divergence(product(*q), law(*numbers)), want, rtol=1e-9, atol=1e-11, what="divergence")


@pytest.mark.claim("lem-digamma")
def test_digamma_lies_below_the_logarithm_by_little_more_than_half_a_reciprocal():
    """1/(2x) < log x − ψ(x) < 1/(2x) + 1/(12x²), in mpmath, for 80 x from 10⁻⁸ to 10⁸; both ends are approached."""
    with mpmath.workdps(60):
        for x in map(mpmath.mpf, np.geomspace(1e-8, 1e8, 80).tolist()):
            left = mpmath.log(x) - mpmath.digamma(x)
            assert 1 / (2 * x) < left < 1 / (2 * x) + 1 / (12 * x**2)
        x = mpmath.mpf(10) ** 8
        second = (mpmath.log(x) - mpmath.digamma(x) - 1 / (2 * x)) * 12 * x**2
    assert_close(float(second), 1.0, rtol=1e-9, what="(log x − ψ(x) − 1/(2x)) 12x² at 10⁸")


@pytest.mark.claim("prop-factor-moments")
@pytest.mark.parametrize("numbers", [(0.3, 2.0, 1.7, 0.9), (10.0, 30.0, 25.0, 2.0), (1.0, 0.25, 2.0, 0.125)])
def test_best_factors_have_the_right_means_and_too_little_variance(numbers):
    """Against scipy's Student and gamma laws: both means, (a−1)/a of the variance of μ, a/(a+½) of that of τ."""
    shape, exact = numbers[2], stats.gamma(numbers[2], scale=1 / numbers[3])
    q = mean_field.best_factors(law(*numbers))
    assert_close(q.mean, student(numbers).mean(), rtol=SHARP, what="E μ under q")
    assert_close(q.shape / q.rate, exact.mean(), rtol=SHARP, what="E τ under q")
    ratios = [1 / q.precision / student(numbers).var(), q.shape / q.rate**2 / exact.var()]
    want = [(shape - 1) / shape, shape / (shape + 0.5)]
    assert_close(ratios, want, rtol=SHARP, what="the variances of μ and τ under q, over the exact ones")


@pytest.mark.claim("prop-factor-moments")
@laws
def test_best_factors_hold_the_law_of_mu_at_the_mean_precision(numbers):
    """log q(μ) is log p(μ | τ = a/b), up to no constant: log_density there, less scipy's log p(τ)."""
    mean, _, shape, rate = numbers
    q = mean_field.best_factors(law(*numbers))
    mu, tau = mean + np.array([-2.0, 0.0, 0.7]), shape / rate
    want = mean_field.log_density(mu, tau, law(*numbers)) - stats.gamma.logpdf(tau, shape, scale=1 / rate)
    got = stats.norm.logpdf(mu, q.mean, q.precision**-0.5)
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="log q(μ), against log p(μ | τ = a/b)")


# The other way round


@pytest.mark.claim("prop-reverse")
def test_reverse_divergence_splits_into_three(rng):
    """Tables: KL(p ‖ q₁q₂) = KL(p ‖ p₁p₂) + KL(p₁ ‖ q₁) + KL(p₂ ‖ q₂), so that the marginals are best."""
    for shape in ((2, 2), (3, 5)):
        p, q1, q2 = table(rng, *shape), table(rng, shape[0]), table(rng, shape[1])
        p1, p2 = p.sum(axis=1), p.sum(axis=0)
        want = kl(p, np.outer(p1, p2)) + kl(p1, q1) + kl(p2, q2)
        assert_close(kl(p, np.outer(q1, q2)), want, rtol=SHARP, what="KL(p ‖ q)")


@pytest.mark.claim("prop-reverse")
@laws
def test_mutual_information_is_the_divergence_from_the_marginals(numbers):
    """KL(p ‖ p(μ)p(τ)) = E log p(μ | τ) − E log p(μ), of scipy's laws, by trapezoids, whatever m, ℓ and b."""
    _, scale, shape, rate = numbers
    tau, weights = gamma_nodes(shape, rate)
    given_tau = weights @ (np.log(scale * tau) - LOG_2PI - 1) / 2
    exact, width = student(numbers), np.sqrt(rate / (shape * scale))
    v = np.linspace(-1, 1, 4001) * (5 + 45 / (2 * shape))
    p = exact.logpdf(numbers[0] + width * np.sinh(v))
    alone = (v[1] - v[0]) * np.sum(width * np.cosh(v) * np.exp(p) * p)
    got = mean_field.mutual_information(shape)
    assert_close(got, given_tau - alone, rtol=1e-8, atol=1e-11, what="mutual_information(a)")


@pytest.mark.claim("prop-reverse")
def test_mutual_information_is_exact_for_all_shapes():
    """mpmath: R(a) − R(a+½) + (a+½) R′(a+½) − a R′(a), for a from 10⁻³⁰⁰ to 10¹⁵."""
    shapes = np.array([1e-300, 1e-20, 1e-6, *SHAPES, 29.0, 31.0, 1e3, 1e5, 1e8, 1e12, 1e15])
    want = np.array([mp_mutual_information(shape) for shape in shapes])
    gaps = np.array([mp_gap(shape) for shape in shapes])
    mistakes = {
        "is this the gap, the least KL(q ‖ p)?": gaps,
        "is this the part that R′ gives, without R(a) − R(a+½)?": want - gaps,
        "is the part with R′ subtracted, not added?": 2 * gaps - want,
        "is the sign reversed: a divergence is positive?": -want,
        "is this 1/(4a), to which it tends?": 1 / (4 * shapes),
    }
    got = mean_field.mutual_information(shapes)
    mid = _cut(mistakes, 3, 11)
    assert_close(got[3:11], want[3:11], rtol=1e-9, what="mutual_information(a), a from 0.05 to 80", mistakes=mid)
    large = got[-4:]
    noise = np.abs(large / want[-4:] - 1).max()
    assert noise < 1e-3, f"mutual_information(10⁵), ..., (10¹⁵) are {large}: large terms cancel"
    assert_close(got, want, rtol=1e-9, what="mutual_information(a)", mistakes=mistakes)


@pytest.mark.claim("prop-reverse")
@pytest.mark.parametrize("numbers", [(0.3, 2.0, 1.7, 0.9), (10.0, 30.0, 25.0, 2.0), (1.0, 0.25, 2.0, 0.125)])
def test_moment_matched_has_the_moments_of_both_marginals(numbers):
    """Its mean and variance of μ are those of scipy's Student law; its gamma is that of p itself."""
    got, exact = mean_field.moment_matched(law(*numbers)), student(numbers)
    _, scale, shape, rate = numbers
    assert_close(got.mean, exact.mean(), rtol=SHARP, what="the mean")
    mistakes = {
        "is this the precision of best_factors, ℓ a/b, which is best for KL(q ‖ p)?": scale * shape / rate,
        "is this the variance, not the precision?": exact.var(),
        "is it the width of the Student law, squared, not its variance?": 1 / (rate / (shape * scale)),
        "is b taken for a scale?": scale * (shape - 1) * rate,
    }
    assert_close(1 / got.precision, exact.var(), rtol=SHARP, what="1/precision", mistakes=_inverse(mistakes))
    mistakes = {"is this the shape of best_factors, with the half?": shape + 0.5, "is 1 taken off a?": shape - 1}
    assert_close(got.shape, shape, rtol=SHARP, what="the shape", mistakes=mistakes)
    mistakes = {"is this the rate of best_factors?": rate * (shape + 0.5) / shape}
    assert_close(got.rate, rate, rtol=SHARP, what="the rate", mistakes=mistakes)


def _inverse(mistakes):
    return {sentence: 1 / value for sentence, value in mistakes.items()}


@pytest.mark.claim("prop-reverse")
@pytest.mark.parametrize("numbers", [(0.3, 2.0, 1.7, 0.9), (10.0, 30.0, 25.0, 2.0)])
def test_moment_matched_is_found_by_minimisation(numbers):
    """KL(p ‖ q) over N × Gamma, by scipy's moments of p and BFGS, is least there; nearby q's are worse."""
    mean, scale, shape, rate = numbers
    spread, tau = rate / ((shape - 1) * scale), shape / rate
    log_tau = special.digamma(shape) - np.log(rate)

    def cross_entropy(v):
        centre, (precision, a, b) = v[0], np.exp(v[1:])
        normal = (LOG_2PI - np.log(precision) + precision * (spread + (mean - centre) ** 2)) / 2
        return normal - a * np.log(b) + special.gammaln(a) - (a - 1) * log_tau + b * tau

    best = optimize.minimize(cross_entropy, [mean + 0.5, *np.log([scale, shape + 1, rate])], options={"gtol": 1e-8})
    want = (best.x[0], *np.exp(best.x[1:]))
    assert_close(list(mean_field.moment_matched(law(*numbers))), want, rtol=1e-4, atol=1e-5, what="moment_matched")


@pytest.mark.claim("prop-reverse")
@pytest.mark.parametrize("shape", [1.01, 1.5, 3.0, 40.0])
def test_moment_matched_has_the_stated_divergence(shape):
    """Its KL(q ‖ p), by quadrature, is ½[1/(a−1) + log(a−1) − ψ(a)], above the gap, whatever m, ℓ and b."""
    numbers = (0.7, 3.0, shape, 1.3)
    q = mean_field.moment_matched(law(*numbers))
    want = (1 / (shape - 1) + np.log(shape - 1) - special.digamma(shape)) / 2
    by_quadrature = average(lambda mu, tau: scipy_product(mu, tau, q) - scipy_normal_gamma(mu, tau, numbers), tuple(q))
    assert_close(by_quadrature, want, rtol=1e-9, what="KL(q ‖ p) of moment_matched, by quadrature")
    assert_close(mean_field.divergence(q, law(*numbers)), want, rtol=1e-9, what="divergence(moment_matched(p), p)")
    assert want > mean_field.gap(shape)


# Two Gaussian models


@pytest.mark.claim("thm-gaussian-mean-field")
@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_gaussian_factors_are_the_conditional_variances(d, rng):
    """1/Λᵢᵢ is Σᵢᵢ − Σᵢ₋ᵢ Σ₋ᵢ₋ᵢ⁻¹ Σ₋ᵢᵢ, the variance of coordinate i when all others are known."""
    covariance = random_covariance(rng, d)
    want = []
    for i in range(d):
        others = np.arange(d) != i
        across = covariance[i, others]
        want.append(covariance[i, i] - across @ np.linalg.solve(covariance[np.ix_(others, others)], across))
    precision = np.linalg.inv(covariance)
    mistakes = {
        "are these the marginal variances Σᵢᵢ, not 1/Λᵢᵢ?": np.diag(covariance),
        "are these the precisions Λᵢᵢ, not the variances 1/Λᵢᵢ?": np.diag(precision),
        "are these 1/Σᵢᵢ?": 1 / np.diag(covariance),
        "are these the standard deviations?": np.sqrt(want),
        "are these the eigenvalues?": np.linalg.eigvalsh(covariance),
    }
    got = mean_field.gaussian_factors(covariance)
    assert_close(got, want, rtol=1e-8, what="gaussian_factors(Σ)", mistakes=mistakes)


@pytest.mark.claim("thm-gaussian-mean-field")
def test_gaussian_factors_are_found_by_minimisation(rng):
    """KL(N(0, diag v) ‖ N(0, Σ)), by the formula with trace and determinants, is least there, in 3 dimensions."""
    covariance = random_covariance(rng, 3)
    best = optimize.minimize(lambda v: gaussian_kl(np.diag(np.exp(v)), covariance), np.zeros(3), options={"gtol": 1e-9})
    assert_close(mean_field.gaussian_factors(covariance), np.exp(best.x), rtol=1e-5, what="gaussian_factors")
    assert_close(mean_field.gaussian_gap(covariance), best.fun, rtol=1e-8, what="gaussian_gap, the least KL")


@pytest.mark.claim("thm-gaussian-mean-field")
def test_gaussian_factors_in_two_dimensions():
    """Variances are (1 − ρ²) Σᵢᵢ, and the gap is −½ log(1 − ρ²), for six correlations."""
    for rho in (-0.999, -0.5, 0.0, 0.1, 0.9, 0.9999):
        covariance = np.array([[4.0, 2 * 3 * rho], [2 * 3 * rho, 9.0]])
        rest = 1 - rho**2
        got = mean_field.gaussian_factors(covariance)
        assert_close(got, [4 * rest, 9 * rest], rtol=1e-9, what=f"the variances at ρ = {rho}")
        mistakes = {
            "is the ½ missing?": -np.log(rest),
            "is the sign reversed?": np.log(rest) / 2,
            "is it −½ log(1 − ρ), without the square?": -np.log(1 - rho) / 2,
        }
        got, want = mean_field.gaussian_gap(covariance), -np.log(rest) / 2
        assert_close(got, want, rtol=1e-9, atol=1e-12, what=f"gaussian_gap, ρ = {rho}", mistakes=mistakes)


@pytest.mark.claim("thm-gaussian-mean-field")
@pytest.mark.parametrize("d", [1, 3, 4, 6])
def test_gaussian_gap_is_the_divergence_of_the_best_product(d, rng):
    """KL(N(0, diag 1/Λᵢᵢ) ‖ N(0, Σ)) by trace and determinants."""
    covariance = random_covariance(rng, d)
    precision = np.linalg.inv(covariance)
    want = gaussian_kl(np.diag(1 / np.diag(precision)), covariance)
    with_sigma = (np.log(np.diag(covariance)).sum() - np.linalg.slogdet(covariance)[1]) / 2
    mistakes = {
        "is Σ where Λ belongs? In two dimensions that is the same, in three it is KL(p ‖ q)": with_sigma,
        "is the ½ missing?": 2 * want,
        "is the sign reversed?": -want,
        "is the log of the determinant missing?": np.log(np.diag(precision)).sum() / 2,
        "is this the KL of the product of the marginals?": gaussian_kl(np.diag(np.diag(covariance)), covariance),
    }
    got = mean_field.gaussian_gap(covariance)
    assert isinstance(got, float)
    assert_close(got, want, rtol=1e-8, atol=1e-12, what=f"gaussian_gap in {d} dimensions", mistakes=mistakes)


def test_gaussian_gap_survives_tiny_and_huge_units():
    """Coordinates in units of 10⁻⁵⁰ and 10⁵⁰ do not change it: det Σ = 10⁻⁶⁰⁰ is no float, but its log is."""
    correlated = 0.5 * np.eye(6) + 0.5
    want = gaussian_kl(np.diag(1 / np.diag(np.linalg.inv(correlated))), correlated)
    for unit in (1e-100, 1e100):
        got = mean_field.gaussian_gap(unit * correlated)
        assert np.isfinite(got), f"gaussian_gap of {unit:g} Σ is {got}: the determinant is no float, take its log"
        assert_close(got, want, rtol=1e-9, what=f"gaussian_gap of {unit:g} Σ")
        factors = mean_field.gaussian_factors(unit * correlated)
        assert_close(factors, unit / np.diag(np.linalg.inv(correlated)), rtol=1e-9, what="gaussian_factors")


@pytest.mark.claim("thm-gaussian-mean-field")
@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_gaussian_cavi_sets_one_mean_after_the_other(d, rng):
    """mᵢ ← −Σⱼ Λᵢⱼ mⱼ/Λᵢᵢ, written as a loop over coordinates, new values used at once; row 0 is the start."""
    covariance, start = random_covariance(rng, d), rng.normal(0, 3, d)
    precision = np.linalg.inv(covariance)

    def path(matrix, at_once=True, order=1, sign=-1):
        rows = [start.copy()]
        for _ in range(4):
            old, new = rows[-1], rows[-1].copy()
            for i in range(d)[::order]:
                source = new if at_once else old
                new[i] = sign * (matrix[i] @ source - matrix[i, i] * source[i]) / matrix[i, i]
            rows.append(new)
        return np.array(rows)

    want = path(precision)
    mistakes = {
        "are all means moved at once, from the old ones (Jacobi)?": path(precision, at_once=False),
        "is Σ taken for Λ?": path(covariance),
        "is the sign reversed?": path(precision, sign=1),
        "is the last coordinate moved first?": path(precision, order=-1),
        "is every row the last, because none was copied?": np.tile(want[-1], (5, 1)),
    }
    got = mean_field.gaussian_cavi(start, covariance, sweeps=4)
    assert len(got) == 5, f"gaussian_cavi has {len(got)} rows after 4 sweeps: row 0 is the start, then one a sweep"
    assert_close(got, want, rtol=1e-8, atol=1e-11, what="gaussian_cavi(start, Σ, sweeps=4)", mistakes=mistakes)


@pytest.mark.claim("thm-gaussian-mean-field")
@pytest.mark.parametrize("rho", [-0.95, 0.3, 0.999])
def test_gaussian_cavi_shrinks_by_the_squared_correlation(rho):
    """In two dimensions each sweep after the first multiplies both means by ρ², whatever the variances."""
    covariance = np.array([[4.0, 6 * rho], [6 * rho, 9.0]])
    path = mean_field.gaussian_cavi(np.array([1.0, -2.0]), covariance, sweeps=6)
    mistakes = {
        "do they shrink by ρ, not ρ²: are all means moved at once?": np.full((5, 2), rho),
        "do they shrink by |ρ|?": np.full((5, 2), abs(rho)),
    }
    got = path[2:] / path[1:-1]
    assert_close(got, np.full((5, 2), rho**2), rtol=1e-7, what="the ratio of successive means", mistakes=mistakes)


@pytest.mark.claim("thm-gaussian-mean-field")
def test_gaussian_cavi_lowers_the_divergence_to_the_gap(rng):
    """½ mᵀΛm, what the means add to KL(q ‖ p), falls with every sweep, to nothing."""
    covariance = random_covariance(rng, 4)
    path = mean_field.gaussian_cavi(np.array([3.0, -1.0, 4.0, 1.0]), covariance, sweeps=400)
    excess = np.einsum("ki,ij,kj->k", path, np.linalg.inv(covariance), path) / 2
    assert np.all(np.diff(excess) <= 1e-12 * excess[:-1]), "a sweep raises KL(q ‖ p)"
    assert excess[-1] < 1e-6 * excess[0]


def sources_covariance(theta, k):
    """The posterior covariance of z: (I + (t/k) 11ᵀ)⁻¹."""
    return np.linalg.inv(np.eye(k) + theta**2 / k)


@pytest.mark.claim("prop-sources")
@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_sources_bound_is_the_likelihood_less_the_gaussian_gap(k):
    """mean log N(x; 0, 1+θ²) less KL of the best product to p(z|x), by trace and determinants."""
    x, theta = np.array([0.5, -2.0, 3.0, 1.0]), np.array([-1.5, 0.0, 0.3, 1.0, 4.0])
    second = np.mean(x**2)
    levels = np.array([stats.norm.logpdf(x, 0, np.sqrt(1 + v**2)).mean() for v in theta])
    bests = [np.diag(1 / np.diag(np.linalg.inv(sources_covariance(v, k)))) for v in theta]
    gaps = np.array([gaussian_kl(q, sources_covariance(v, k)) for q, v in zip(bests, theta, strict=True)])
    want, t = levels - gaps, theta**2
    mistakes = {
        "is this the log-likelihood, whatever k?": levels,
        "is the gap added, not subtracted?": levels + gaps,
        "is it (k/2) log(1 + θ²), where θ²/k belongs?": want + (k * np.log1p(t / k) - k * np.log1p(t)) / 2,
        "is it ½ log(1 + θ²/k), without the factor k?": want + (k - 1) / 2 * np.log1p(t / k),
        "is −½ log 2π missing?": want + LOG_2PI / 2,
        "is θ taken for θ²?": -(LOG_2PI + second / (1 + theta) + k * np.log(np.maximum(1 + theta / k, 1e-9))) / 2,
        "is s taken for s²?": want + (second - np.sqrt(second)) / (2 * (1 + t)),
    }
    got = mean_field.sources_bound(theta, second, k)
    assert_close(got, want, rtol=1e-9, what=f"sources_bound(θ, s², {k})", mistakes=mistakes)
    assert_close(mean_field.sources_bound(0.3, second, k), want[2], rtol=1e-9, what="sources_bound of a number")
    assert_close(mean_field.sources_bound(-theta, second, k), want, rtol=1e-9, what="sources_bound of −θ")


@pytest.mark.claim("prop-sources")
@pytest.mark.parametrize("k", [1, 2, 3])
def test_sources_bound_is_the_largest_elbo(k):
    """The ELBO of one datum, over means and variances of a factorised q(z) and maximised by BFGS, averaged over x."""
    theta, x = 1.3, np.array([0.5, -2.0])

    def loss(v, datum):
        mean, variance = v[:k], np.exp(v[k:])
        fit = -(LOG_2PI + (datum - theta * mean.sum() / np.sqrt(k)) ** 2 + theta**2 * variance.sum() / k) / 2
        return -fit + np.sum(variance + mean**2 - 1 - v[k:]) / 2

    best = [-optimize.minimize(loss, np.full(2 * k, 0.1), args=(datum,)).fun for datum in x]
    got = mean_field.sources_bound(theta, float(np.mean(x**2)), k)
    assert_close(got, np.mean(best), rtol=1e-8, what=f"sources_bound, {k} sources")


@pytest.mark.claim("prop-sources", kind="symbolic")
def test_sources_bound_is_stationary_where_it_is_stated():
    """sympy: its slope in t is 0 where (1+t)² = s²(1 + t/k); with one positive root for s² > 1, and s² − 1 at k = 1."""
    t, k, s = sympy.symbols("t k s", positive=True)
    bound = -sympy.log(2 * sympy.pi) / 2 - s / (2 * (1 + t)) - k / 2 * sympy.log(1 + t / k)
    slope = sympy.together(sympy.diff(bound, t) * 2 * (1 + t) ** 2 * (1 + t / k))
    assert sympy.simplify(slope - (s * (1 + t / k) - (1 + t) ** 2)) == 0
    assert sympy.solve((s * (1 + t / k) - (1 + t) ** 2).subs(k, 1), t) == [s - 1]
    limit = sympy.limit((s * (1 + t / k) - (1 + t) ** 2), k, sympy.oo)
    assert sympy.simplify(limit.subs(t, sympy.sqrt(s) - 1)) == 0
    got = mean_field.sources_bound(np.array([0.5, 2.0]), 7.0, 3)
    want = [float(bound.subs({t: v**2, k: 3, s: 7})) for v in (0.5, 2.0)]
    assert_close(got, want, rtol=SHARP, what="sources_bound")


def sources_root(second, k):
    """The positive root t of (1+t)² = s² (1 + t/k), in sixty figures; 0 for s² ≤ 1."""
    with mpmath.workdps(60):
        s = mpmath.mpf(second)
        half = 1 - s / (2 * k)
        return float(-half + mpmath.sqrt(half**2 + s - 1)) if second > 1 else 0.0


@pytest.mark.claim("prop-sources")
@pytest.mark.parametrize("k", [1, 2, 3, 10, 1000])
def test_sources_fit_is_the_root_of_the_stated_equation(k):
    """mpmath's positive root t of (1+t)² = s²(1 + t/k), and its square root θ, for s² from .2 to 400."""
    seconds = np.array([0.2, 1.0, 1.0001, 1.5, 4.0, 9.0, 50.0, 400.0])
    t = np.array([sources_root(second, k) for second in seconds])
    want, over = np.sqrt(t), np.maximum(seconds - 1, 0)
    small = np.sqrt([sources_root(np.sqrt(second), k) for second in seconds])
    mistakes = {
        "is this t = θ², not θ?": t,
        "is this the limit for k → ∞, whatever k?": np.sqrt(np.maximum(np.sqrt(seconds) - 1, 0)),
        "is this the θ of maximum likelihood, √(s² − 1), whatever k? The bound is not tight for k > 1": np.sqrt(over),
        "is s taken for s²?": small,
        "is the sign reversed: θ should not be negative?": -want,
    }
    got = [mean_field.sources_fit(float(second), k) for second in seconds]
    assert_close(got, want, rtol=1e-9, what=f"sources_fit(s², {k}) for eight s²", mistakes=mistakes)


@pytest.mark.claim("prop-sources")
@pytest.mark.parametrize(("second", "k"), [(5.0, 1), (5.0, 2), (1.3, 4), (100.0, 3), (0.7, 2)])
def test_sources_fit_is_where_sources_bound_is_highest(second, k):
    """On a fine grid of θ ≥ 0 the bound is nowhere above its value at the fit."""
    fit = mean_field.sources_fit(second, k)
    theta = np.linspace(0, 3 * np.sqrt(second), 3001)
    bounds = mean_field.sources_bound(theta, second, k)
    at = mean_field.sources_bound(fit, second, k)
    assert np.all(bounds <= at + 1e-12), f"θ = {theta[bounds.argmax()]} has a higher bound than the fit, {fit}"
    assert abs(theta[bounds.argmax()] - fit) < 3 * theta[1]


@pytest.mark.claim("prop-sources")
def test_sources_fit_falls_with_the_number_of_sources():
    """For s² = 9: θ² is 8 for one source, decreases in k, and tends to s − 1 = 2."""
    fits = [mean_field.sources_fit(9.0, k) for k in (1, 2, 3, 5, 10, 100, 10**9)]
    assert_close(fits[0], np.sqrt(8), rtol=SHARP, what="the fit with one source, maximum likelihood")
    assert np.all(np.diff(fits) < 0)
    assert_close(fits[-1], np.sqrt(2), rtol=1e-8, what="the fit with 10⁹ sources, √(s − 1)")


def test_sources_fit_keeps_its_figures_near_one():
    """For s² = 1 + 10⁻⁸ and 1 + 10⁻¹² against mpmath: a difference of nearly equal numbers would have few."""
    for small, k in itertools.product((2.0**-27, 2.0**-40), (2, 7)):
        want = np.sqrt(sources_root(1 + small, k))
        half = 1 - (1 + small) / (2 * k)
        naive = np.sqrt(-half + np.sqrt(half**2 + small))
        mistakes = {"do −half and the root cancel? Divide by their sum instead": naive}
        got = mean_field.sources_fit(1 + small, k)
        assert_close(got, want, rtol=1e-9, what=f"sources_fit(1 + {small:g}, {k})", mistakes=mistakes)


# Profiles


@pytest.mark.claim("thm-profile")
def test_profile_maximisers_of_random_tables(rng):
    """f = g + h, h ≥ 0 with a 0 in each row, ties and all: (θ, φ) maximises g iff θ maximises f and h(θ, φ) = 0."""
    for _ in range(200):
        f = rng.integers(-2, 1, 5)
        h = rng.integers(0, 3, (5, 4))
        h[np.arange(5), rng.integers(0, 4, 5)] = 0
        g = f[:, None] - h
        assert g.max() == f.max()
        both = (f[:, None] == f.max()) & (h == 0)
        assert np.array_equal(g == g.max(), both)
        assert np.array_equal((g == g.max()).any(axis=1), f == f.max())


@pytest.mark.claim("thm-profile")
def test_profile_of_a_gap_that_is_not_closed(rng):
    """If the least h(θ, ·) is c(θ), the best g(θ, ·) is f − c, in random tables; its top may lie elsewhere than f's."""
    moved = 0
    for _ in range(200):
        f, c, h = rng.normal(size=5), rng.random(5), rng.exponential(size=(5, 4))
        h += c[:, None] - h.min(axis=1, keepdims=True)
        profile = (f[:, None] - h).max(axis=1)
        assert_close(profile, f - c, rtol=1e-9, atol=1e-12, what="sup_φ g(θ, φ)")
        moved += profile.argmax() != f.argmax()
    assert moved > 0  # two fifths of them or so: none of 200 is out of the question


@pytest.mark.claim("thm-profile", kind="symbolic")
def test_profile_of_an_infimum_that_is_no_minimum():
    """sympy: f = −(θ²−1)², h = e^{−φ}(θ−1)²: f has maximisers ±1, g = f − h only θ = 1, and sup g = sup f = 0."""
    theta, phi = sympy.symbols("theta phi", real=True)
    f, h = -((theta**2 - 1) ** 2), sympy.exp(-phi) * (theta - 1) ** 2
    assert sympy.solveset(sympy.Eq(f, 0), theta, sympy.S.Reals) == sympy.FiniteSet(-1, 1)
    assert sympy.limit(h, phi, sympy.oo) == 0
    assert (f - h).subs(theta, 1) == 0
    assert (f - h).subs(theta, -1).is_negative
    assert sympy.limit((f - h).subs(theta, -1), phi, sympy.oo) == 0


@pytest.mark.claim("thm-profile")
def test_profile_of_elbo_over_factors():
    """sup_q ELBO = log p(x) − gap(a₀ + n/2): over b₀ it peaks where log p(x) does, for c is the same all along."""
    x = np.array([1.0, 4.0, 5.0, 12.0])
    grid = np.geomspace(0.05, 500, 60)
    profiles, levels = [], []
    for prior in [law(5.0, 1.0, 0.05, b) for b in grid] + [law(5.0, 1.0, a, 10 * a) for a in grid]:
        profiles.append(mean_field.elbo(mean_field.best_factors(mean_field.posterior(x, prior)), x, prior))
        levels.append(mean_field.log_evidence(x, prior))
    gaps = np.array([mp_gap(a + 2) for a in [0.05] * 60 + grid.tolist()])
    assert_close(profiles, np.array(levels) - gaps, rtol=1e-9, atol=1e-9, what="sup_q ELBO, log p(x) − gap")
    assert np.argmax(profiles[:60]) == np.argmax(levels[:60])


# Arrays, and what is done to them

X_FUNCTIONS = ("posterior", "log_evidence", "log_joint", "terms", "elbo", "cavi")
ARGUMENTS = {
    "posterior": ("x", "prior"),
    "log_evidence": ("x", "prior"),
    "log_joint": ("mu", "tau", "x", "prior"),
    "log_density": ("mu", "tau", "law"),
    "factors_log_density": ("mu", "tau", "factors"),
    "mean_log_density": ("mu", "law"),
    "terms": ("factors", "x", "prior"),
    "elbo": ("factors", "x", "prior"),
    "divergence": ("factors", "law"),
    "cavi": ("x", "prior"),
    "best_factors": ("law",),
    "moment_matched": ("law",),
    "gap": ("shape",),
    "mutual_information": ("shape",),
    "gaussian_factors": ("covariance",),
    "gaussian_gap": ("covariance",),
    "gaussian_cavi": ("start", "covariance"),
    "sources_bound": ("theta", "second_moment", "sources"),
    "sources_fit": ("second_moment", "sources"),
}


def good(name, **changes):
    """Arguments with which the function works, some of them changed."""
    usual = {
        "x": np.array([1.0, 4.0, 5.0, 12.0]),
        "prior": law(2.0, 0.5, 1.5, 3.0),
        "law": law(2.0, 0.5, 1.5, 3.0),
        "factors": product(1.0, 2.0, 3.0, 4.0),
        "mu": 0.5,
        "tau": 2.0,
        "shape": 1.5,
        "covariance": np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]]),
        "start": np.array([1.0, -2.0, 4.0]),
        "theta": 0.5,
        "second_moment": 4.0,
        "sources": 3,
    }
    more = {"gaussian_cavi": {"sweeps": 2}}.get(name, {})
    return {key: usual[key] for key in ARGUMENTS[name]} | more | changes


def call(name, **changes):
    """What the function returns, its numbers in a row."""
    result = getattr(mean_field, name)(**good(name, **changes))
    flat = itertools.chain.from_iterable(result) if name == "cavi" else None
    return np.array(list(flat)) if name == "cavi" else np.ravel(result).astype(float)


def variants(array):
    """The same numbers as integers, in single precision, read-only and with gaps in memory."""
    frozen = array.copy()
    frozen.setflags(write=False)
    spread = np.full([3 * size for size in array.shape], np.nan)
    inside = spread[tuple(slice(1, None, 3) for _ in array.shape)]
    inside[...] = array
    kinds = {"integers": array.astype(int), "single precision": array.astype(np.float32)}
    return kinds | {"read-only": frozen, "with gaps in memory": inside}


ARRAYS = [(name, "x") for name in X_FUNCTIONS] + [
    ("log_joint", "mu"),
    ("log_joint", "tau"),
    ("log_density", "mu"),
    ("log_density", "tau"),
    ("factors_log_density", "mu"),
    ("factors_log_density", "tau"),
    ("mean_log_density", "mu"),
    ("gap", "shape"),
    ("mutual_information", "shape"),
    ("gaussian_factors", "covariance"),
    ("gaussian_gap", "covariance"),
    ("gaussian_cavi", "covariance"),
    ("gaussian_cavi", "start"),
    ("sources_bound", "theta"),
]


def array_for(name, argument):
    """An array of small whole numbers for this argument, as an argument and changed."""
    if argument == "covariance":
        return np.array([[4.0, 1.0, 0.0], [1.0, 2.0, -1.0], [0.0, -1.0, 3.0]]), np.diag([1.0, 2.0, 4.0])
    if argument == "start":
        return np.array([1.0, -2.0, 4.0]), np.array([3.0, 0.0, 1.0])
    if argument == "x":
        return np.array([1.0, 4.0, 5.0, 12.0]), np.array([2.0, 3.0, 3.0, 7.0])
    return np.array([1.0, 3.0, 2.0]), np.array([5.0, 7.0, 40.0])


@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_arrays_of_any_kind_give_the_same(name, argument):
    """Integers, single precision, read-only arrays and views with gaps give what float64 gives, and are left alone."""
    array, _ = array_for(name, argument)
    want = call(name, **{argument: array.copy()})
    for kind, other in variants(array).items():
        before = other.copy()
        got = call(name, **{argument: other})
        assert np.array_equal(other, before), f"{name} changed its argument: {argument} was {before}, is {other}"
        what = f"{name} where {argument} is {kind} (integers and single precision are numbers too)"
        assert_close(got, want, rtol=1e-9, atol=1e-13, what=what)


@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_arrays_in_single_precision_are_reckoned_with_in_double(name, argument):
    """Of numbers that float32 holds, sums and squares are rounded there; the answer is that of float64 all the same."""
    array, _ = array_for(name, argument)
    single = (1.1 * array).astype(np.float32)
    want, got = (call(name, **{argument: values}) for values in (single.astype(float), single))
    what = f"{name} where {argument} is single precision (turn it into float64 before anything else)"
    assert_close(got, want, rtol=1e-9, atol=1e-13, what=what)


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("cavi", "start", np.float32(0.7)),
        ("sources_bound", "second_moment", np.float32(1.3)),
        ("sources_fit", "second_moment", np.float32(1.3)),
        ("sources_fit", "second_moment", np.int8(100)),
    ],
)
def test_numbers_of_any_kind_are_reckoned_with_in_double(name, argument, value):
    """A number in single precision, or in eight bits, is the number it is: nothing is rounded to its kind."""
    want, got = (call(name, **{argument: number}) for number in (value.item(), value))
    assert_close(got, want, rtol=1e-9, what=f"{name} where {argument} is a {type(value).__name__}")


@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_arrays_that_change_between_two_calls(name, argument):
    """A changed array gives the answer for what it holds now; an equal call gives an equal answer."""
    array, other = array_for(name, argument)
    first, want = call(name, **{argument: array.copy()}), call(name, **{argument: other.copy()})
    held = array.copy()
    assert_close(call(name, **{argument: held}), first, rtol=1e-14, what=f"{name}, twice")
    held[...] = other
    remembered = {"is the answer for the old contents remembered?": first}
    assert_close(call(name, **{argument: held}), want, rtol=1e-14, what=f"{name}, changed", mistakes=remembered)


@pytest.mark.parametrize("name", [name for name, names in ARGUMENTS.items() if {"prior", "law"} & set(names)])
def test_laws_with_whole_numbers_are_laws(name):
    """Parameters that are Python or NumPy integers are taken as the numbers they are."""
    whole, kinds = (2, 1, 3, 4), (int, np.int64)
    wants = {key: law(2.0, 1.0, 3.0, 4.0) for key in ("prior", "law") if key in ARGUMENTS[name]}
    want = call(name, **wants)
    for kind in kinds:
        got = call(name, **{key: law(*map(kind, whole)) for key in wants})
        assert_close(got, want, rtol=1e-9, what=f"{name} with parameters of type {kind.__name__}")
    if "factors" in ARGUMENTS[name]:
        got = call(name, **wants, factors=product(*map(np.int64, (1, 2, 3, 4))))
        assert_close(got, want, rtol=1e-9, what=f"{name} with factors of whole numbers")


@pytest.mark.parametrize(
    "name", [name for name, names in ARGUMENTS.items() if {"prior", "law", "factors"} & set(names)]
)
def test_laws_in_single_precision_are_reckoned_with_in_double(name):
    """Parameters of type np.float32 are the numbers that they hold; what comes of them has the figures of float64."""
    kinds = {"prior": law, "law": law, "factors": product}
    for argument in kinds.keys() & set(ARGUMENTS[name]):
        single = [np.float32(v) for v in (2.1, 0.7, 3.3, 4.9)]
        want, got = (call(name, **{argument: kinds[argument](*map(kind, single))}) for kind in (float, np.float32))
        what = (
            f"{name} where the parameters of {argument} are of type float32 (make them floats: 1 + float32 is float32)"
        )
        assert_close(got, want, rtol=1e-9, atol=1e-13, what=what)


@pytest.mark.parametrize("name", ["log_joint", "log_density", "factors_log_density"])
def test_log_densities_broadcast_mu_and_tau(name):
    """A column of μ and a row of τ give a table, entry by entry that of two numbers; a number gives a number."""
    mu, tau = np.array([[-1.0], [0.5]]), np.array([0.1, 1.0, 7.0])
    got = getattr(mean_field, name)(**good(name, mu=mu, tau=tau))
    want = [[getattr(mean_field, name)(**good(name, mu=float(m), tau=float(t))) for t in tau] for m in mu[:, 0]]
    assert_close(got, want, rtol=SHARP, atol=1e-13, what=f"{name} of a column and a row")
    assert np.ndim(want[0][0]) == 0
    empty = getattr(mean_field, name)(**good(name, mu=np.zeros(0), tau=1.0))
    assert np.shape(empty) == (0,), f"{name} of no μ has shape {np.shape(empty)}"


def test_gap_and_sources_bound_keep_shapes():
    """A number gives a number, a table of shapes a table of gaps."""
    shapes = np.array([[0.5, 1.0, 2.0], [3.0, 50.0, 1e4]])
    for name, f in {
        "gap": mean_field.gap,
        "mutual_information": mean_field.mutual_information,
        "sources_bound": lambda theta: mean_field.sources_bound(theta, 4.0, 3),
    }.items():
        want = [[f(v) for v in row] for row in shapes.tolist()]
        assert_close(f(shapes), want, rtol=1e-12, what=f"{name} of a table")
        assert np.ndim(f(1.5)) == 0


def test_gaussian_cavi_returns_rows_of_their_own():
    """The path shares no memory with the start, and its rows are separate."""
    start = np.array([1.0, -2.0, 4.0])
    path = mean_field.gaussian_cavi(**good("gaussian_cavi", start=start))
    path[0] = 99.0
    assert np.array_equal(start, [1.0, -2.0, 4.0]), "row 0 of gaussian_cavi is the start itself, not a copy"


def test_no_function_touches_random_numbers():
    """cavi and gaussian_cavi give the same twice, and leave NumPy's global state as it was."""
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for name in ("cavi", "gaussian_cavi", "elbo", "sources_fit"):
        assert np.array_equal(call(name), call(name)), f"{name} gives two answers to one question"
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


@problems
def test_cavi_does_not_care_for_the_order_of_the_data(problem):
    """Reversed data give the same posterior, evidence and factors."""
    x, prior = given(problem)
    for name in ("posterior", "log_evidence", "cavi"):
        got, want = (call(name, x=values, prior=prior) for values in (x[::-1].copy(), x))
        assert_close(got, want, rtol=1e-9, what=f"{name} of the data in reverse")


# What is refused

NOT_POSITIVE = (0.0, -1.5, np.nan, np.inf, -np.inf)
NOT_FINITE = (np.nan, np.inf, -np.inf)


def refused(name, argument, value, **changes):
    assert_refused(getattr(mean_field, name), **good(name, **changes), argument=argument, value=value)


@pytest.mark.parametrize("name", [name for name, names in ARGUMENTS.items() if {"prior", "law"} & set(names)])
def test_laws_that_are_none_are_refused(name):
    """A mean that is not finite, or a scale, shape or rate that is not positive and finite, is named, and shown."""
    (key,) = {"prior", "law"} & set(ARGUMENTS[name])
    for field, values in {
        "mean": NOT_FINITE,
        "scale": NOT_POSITIVE,
        "shape": NOT_POSITIVE,
        "rate": NOT_POSITIVE,
    }.items():
        for value in values:
            refused(name, field, value, **{key: good(name)[key]._replace(**{field: value})})


@pytest.mark.parametrize("name", ["factors_log_density", "terms", "elbo", "divergence"])
def test_factors_that_are_none_are_refused(name):
    """A mean that is not finite, or a precision, shape or rate that is not positive and finite."""
    wrong = {"mean": NOT_FINITE, "precision": NOT_POSITIVE, "shape": NOT_POSITIVE, "rate": NOT_POSITIVE}
    for field, values in wrong.items():
        for value in values:
            refused(name, field, value, factors=good(name)["factors"]._replace(**{field: value}))


@pytest.mark.parametrize("name", X_FUNCTIONS)
def test_data_that_are_none_are_refused(name):
    """No data, data in a table, NaN and ±∞ among them."""
    refused(name, "x", "x", x=np.array([]))
    refused(name, "x", 2, x=np.array([[1.0], [2.0]]))
    for value in NOT_FINITE:
        refused(name, "x", value, x=np.array([1.0, value, 2.0]))


def test_posterior_refuses_data_whose_squares_overflow():
    """For ±10²⁰⁰ no rate is a float, and the message says rate."""
    refused("posterior", "rate", np.inf, x=np.array([1e200, -1e200]))


@pytest.mark.parametrize("name", ["log_joint", "log_density", "factors_log_density", "mean_log_density"])
def test_points_that_are_none_are_refused(name):
    """μ must be finite, and τ positive; one bad entry of an array is enough."""
    for value in NOT_FINITE:
        refused(name, "mu", value, mu=value)
        refused(name, "mu", value, mu=np.array([0.0, value]))
    for value in NOT_POSITIVE if "tau" in ARGUMENTS[name] else ():
        refused(name, "tau", value, tau=value)
        refused(name, "tau", value, tau=np.array([1.0, value]))


def test_cavi_refuses_starts_and_sweeps_that_are_none():
    """A start that is not positive and finite; no sweeps, or a part of one."""
    for value in NOT_POSITIVE:
        refused("cavi", "start", value, start=value)
    for value in (0, -1, 1.5):
        refused("cavi", "sweeps", value, sweeps=value)


def test_moment_matched_refuses_shapes_up_to_one():
    """Where the variance of μ is infinite no law has it; just above 1 there is one."""
    for value in (1.0, 0.5):
        refused("moment_matched", "shape", value, law=law(0.0, 1.0, value, 1.0))
    near = mean_field.moment_matched(law(0.0, 2.0, 1.0 + 2.0**-20, 1.0))
    assert_close(near.precision, 2.0 * 2.0**-20, rtol=1e-9, what="the precision for a shape just above 1")


@pytest.mark.parametrize("name", ["gap", "mutual_information"])
def test_gap_and_mutual_information_refuse_shapes_that_are_none(name):
    """A shape that is not positive and finite, alone or in an array."""
    for value in NOT_POSITIVE:
        refused(name, "shape", value, shape=value)
        refused(name, "shape", value, shape=np.array([1.0, value]))


@pytest.mark.parametrize("name", ["gaussian_factors", "gaussian_gap", "gaussian_cavi"])
def test_covariances_that_are_none_are_refused(name):
    """Not positive definite, not symmetric, not square, empty, or with NaN."""
    more = {"start": np.zeros(2)} if name == "gaussian_cavi" else {}
    for wrong in ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[2.0, 0.5], [0.0, 1.0]]):
        refused(name, "covariance", "covariance", covariance=np.array(wrong), **more)
    refused(name, "covariance", "covariance", covariance=np.ones((2, 3)), **more)
    refused(name, "covariance", "covariance", covariance=np.zeros((0, 0)), **more)
    refused(name, "covariance", np.nan, covariance=np.array([[1.0, np.nan], [np.nan, 1.0]]), **more)


def test_gaussian_cavi_refuses_starts_and_sweeps_that_are_none():
    """A start of another length or with NaN; no sweeps, or a part of one."""
    refused("gaussian_cavi", "start", 2, start=np.zeros(2))
    refused("gaussian_cavi", "start", np.nan, start=np.array([0.0, np.nan, 1.0]))
    for value in (0, -2, 1.5):
        refused("gaussian_cavi", "sweeps", value, sweeps=value)


@pytest.mark.parametrize("name", ["sources_bound", "sources_fit"])
def test_sources_that_are_none_are_refused(name):
    """A second moment that is not positive and finite, a number of sources that counts nothing, θ that is NaN."""
    for value in NOT_POSITIVE:
        refused(name, "second_moment", value, second_moment=value)
    for value in (0, -1, 2.5):
        refused(name, "sources", value, sources=value)
    for value in NOT_FINITE if name == "sources_bound" else ():
        refused(name, "theta", value, theta=value)
        refused(name, "theta", value, theta=np.array([0.0, value]))
