"""The Normal-Gamma model, its exact posterior, and the best factorised law beside it.

Data x₁, …, xₙ ~ N(μ, 1/τ) are independent given μ and τ, and the prior is
μ | τ ~ N(m₀, 1/(ℓ₀ τ)),  τ ~ Gamma(a₀, b₀),  shape and *rate*. The factorised laws are
q(μ) q(τ) = N(m, 1/λ) Gamma(a, b), again shape and rate. Two Gaussian models beside it
show what factorising costs where the unknowns are correlated.

Several results use  R(x) = log Γ(x) − x log x + x,  what Stirling leaves of log Γ.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.linalg import solve_triangular
from scipy.special import digamma, gammaln

from solutions import checks, stirling
from solutions.checks import Number, Numbers

_LOG_2PI = np.log(2 * np.pi)


class NormalGamma(NamedTuple):
    """The law  μ | τ ~ N(mean, 1/(scale τ)),  τ ~ Gamma(shape, rate)."""

    mean: Number
    scale: Number
    shape: Number
    rate: Number


class Factors(NamedTuple):
    """The law  q(μ) q(τ) = N(mean, 1/precision) Gamma(shape, rate)."""

    mean: Number
    precision: Number
    shape: Number
    rate: Number


class Terms(NamedTuple):
    """The ELBO in three parts: it is  fit − price_of_mean − price_of_precision."""

    fit: float
    price_of_mean: float
    price_of_precision: float


class CAVI(NamedTuple):
    """Where coordinate ascent ended, and the ELBO after each of its sweeps."""

    factors: Factors
    elbos: Float[ndarray, "sweeps"]


def checked(law: NormalGamma | Factors) -> NormalGamma | Factors:
    """Return the same law, its parameters floats.

    Args:
        law: refused if its mean is not finite, or another parameter not positive.
    """
    mean, *others = law
    checks.finite(mean=mean)
    checks.positive(**dict(zip(law._fields[1:], others, strict=True)))
    return type(law)(*map(float, law))


def posterior(x: Real[ndarray, "n"], prior: NormalGamma) -> NormalGamma:
    """Return the law of (μ, τ) given the data, a Normal-Gamma again, with

      scale = ℓ₀ + n,  mean = (ℓ₀ m₀ + n x̄) / (ℓ₀ + n),  shape = a₀ + n/2,
      rate = b₀ + ½ [Σᵢ (xᵢ − x̄)² + ℓ₀ n (x̄ − m₀)² / (ℓ₀ + n)].

    Args:
        x: the data, at least one.
        prior: (m₀, ℓ₀, a₀, b₀).

    Reference: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution.
    """
    x, prior = _data(x), checked(prior)
    n, scale = len(x), prior.scale + len(x)
    mean = prior.mean + n / scale * _mean(x - prior.mean)
    rate = prior.rate + _half_squares(x, prior)
    return checked(NormalGamma(mean, scale, prior.shape + n / 2, rate))


def log_evidence(x: Real[ndarray, "n"], prior: NormalGamma) -> float:
    """Return  log p(x) = log Γ(aₙ) − log Γ(a₀) + a₀ log b₀ − aₙ log bₙ
    + ½ log(ℓ₀/ℓₙ) − (n/2) log 2π,  with the parameters of the posterior.

    For the sake of large a₀ it is computed as  R(aₙ) − R(a₀) + (n/2) (log(aₙ/bₙ) − 1)
    + a₀ [log(aₙ/a₀) − log(bₙ/b₀)]  and the last two terms.

    Args:
        x: the data, at least one.
        prior: (m₀, ℓ₀, a₀, b₀).
    """
    x, prior = _data(x), checked(prior)
    after, n = posterior(x, prior), len(x)
    shapes = _log_growth(prior.shape, n / 2)
    rates = _log_growth(prior.rate, _half_squares(x, prior))
    remainders = (
        stirling.remainder(after.shape) - stirling.remainder(prior.shape) - shapes / 2
    )
    likelihood = n / 2 * (np.log(after.shape) - np.log(after.rate) - 1 - _LOG_2PI)
    scales = _log_growth(prior.scale, n)
    return float(remainders + likelihood + prior.shape * (shapes - rates) - scales / 2)


def log_joint(
    mu: Numbers, tau: Numbers, x: Real[ndarray, "n"], prior: NormalGamma
) -> Numbers:
    """Return  log p(x, μ, τ),  all its constants included.

    Args:
        mu: μ, a number or an array that broadcasts with tau.
        tau: τ, positive.
        x: the data, at least one.
        prior: (m₀, ℓ₀, a₀, b₀).
    """
    x, prior = _data(x), checked(prior)
    mu, tau = _unknowns(mu, tau)
    n, centre = len(x), _mean(x)
    squares = np.square(x - centre).sum() + n * (centre - mu) ** 2
    log_likelihood = n / 2 * (np.log(tau) - _LOG_2PI) - tau / 2 * squares
    return (log_likelihood + log_density(mu, tau, prior))[()]


def log_density(mu: Numbers, tau: Numbers, law: NormalGamma) -> Numbers:
    """Return  log N(μ; mean, 1/(scale τ)) + log Gamma(τ; shape, rate).

    Args:
        mu: μ, a number or an array that broadcasts with tau.
        tau: τ, positive.
        law: its parameters.
    """
    law = checked(law)
    mu, tau = _unknowns(mu, tau)
    normal = _log_normal(mu, law.mean, law.scale * tau)
    return (normal + _log_gamma(tau, law.shape, law.rate))[()]


def factors_log_density(mu: Numbers, tau: Numbers, factors: Factors) -> Numbers:
    """Return  log N(μ; mean, 1/precision) + log Gamma(τ; shape, rate).

    Args:
        mu: μ, a number or an array that broadcasts with tau.
        tau: τ, positive.
        factors: the parameters of q(μ) and of q(τ).
    """
    q = checked(factors)
    mu, tau = _unknowns(mu, tau)
    normal = _log_normal(mu, q.mean, q.precision)
    return (normal + _log_gamma(tau, q.shape, q.rate))[()]


def mean_log_density(mu: Numbers, law: NormalGamma) -> Numbers:
    """Return  log Γ(a+½) − log Γ(a) + ½ log(ℓ/(2πb)) − (a+½) log(1 + ℓ(μ−m)²/(2b)),
    the log density of μ with τ integrated out: a Student law with 2a degrees of
    freedom, centred at m and scaled by √(b/(aℓ)).

    Args:
        mu: μ, a number or an array.
        law: the joint law of μ and τ; (m, ℓ, a, b) are its parameters.
    """
    law = checked(law)
    checks.finite(mu=mu)
    mu = np.asarray(mu, dtype=float)
    # log Γ(a+½) − log Γ(a) − ½ log a, small where a is large
    gammas = law.shape * _log_growth(law.shape, 0.5) - 0.5
    gammas += stirling.remainder(law.shape + 0.5) - stirling.remainder(law.shape)
    precision = np.exp(np.log(law.scale) + np.log(law.shape) - np.log(law.rate))
    squares = precision * (mu - law.mean) ** 2 / (2 * law.shape)
    constant = gammas + (np.log(precision) - _LOG_2PI) / 2
    return (constant - (law.shape + 0.5) * np.log1p(squares))[()]


def terms(factors: Factors, x: Real[ndarray, "n"], prior: NormalGamma) -> Terms:
    """Return  E_q[log p(x | μ, τ)],  E_q[log q(μ) − log p(μ | τ)]  and
    E_q[log q(τ) − log p(τ)]:  how well q explains the data, and what it pays to leave
    the prior. The ELBO is the first minus the other two, neither of which is negative.

    Args:
        factors: the parameters of q(μ) and of q(τ).
        x: the data, at least one.
        prior: (m₀, ℓ₀, a₀, b₀).
    """
    x, prior, q = _data(x), checked(prior), checked(factors)
    tau, log_tau = q.shape / q.rate, digamma(q.shape) - np.log(q.rate)
    with np.errstate(over="ignore"):  # too far out, the ELBO is −∞
        squares = np.square(x - q.mean).sum() + len(x) / q.precision
        fit = len(x) / 2 * (log_tau - _LOG_2PI) - tau / 2 * squares
    return Terms(float(fit), _conditional_kl(q, prior), _gamma_kl(q, prior))


def elbo(factors: Factors, x: Real[ndarray, "n"], prior: NormalGamma) -> float:
    """Return  E_q[log p(x, μ, τ) − log q(μ) − log q(τ)],  which is at most log p(x).

    Args:
        factors: the parameters of q(μ) and of q(τ).
        x: the data, at least one.
        prior: (m₀, ℓ₀, a₀, b₀).
    """
    fit, *prices = terms(factors, x, prior)
    return fit - sum(prices)


def divergence(factors: Factors, law: NormalGamma) -> float:
    """Return  KL(q ‖ p) = E_q[log q(μ) + log q(τ) − log p(μ, τ)]  for a Normal-Gamma p.

    Args:
        factors: the parameters of q(μ) and of q(τ).
        law: p; if it is the posterior, this is log p(x) minus the ELBO.
    """
    q, law = checked(factors), checked(law)
    return _conditional_kl(q, law) + _gamma_kl(q, law)


def cavi(
    x: Real[ndarray, "n"],
    prior: NormalGamma,
    *,
    start: Number | None = None,
    sweeps: int = 1000,
) -> CAVI:
    """Set q(μ), then q(τ), to the best while the other stands still, again and again,

      mean = (ℓ₀ m₀ + n x̄) / (ℓ₀ + n),  precision = (ℓ₀ + n) a/b,  shape = a₀ + (n+1)/2,
      rate = b₀ + ½ [Σᵢ (xᵢ − mean)² + ℓ₀ (mean − m₀)² + (ℓ₀ + n) / precision],

    until no parameter moves by 1e-10 of itself, or the sweeps are over.

    Args:
        x: the data, at least one.
        prior: (m₀, ℓ₀, a₀, b₀).
        start: what the first q(μ) takes for the mean of τ; None: the prior's, a₀/b₀.
        sweeps: at most so many; each at least halves what the rate is off by.

    Reference: Bishop (2006), Pattern Recognition and Machine Learning, section 10.1.3.
    """
    x, prior = _data(x), checked(prior)
    checks.counting_number(sweeps=sweeps)
    tau = prior.shape / prior.rate if start is None else start
    checks.positive(start=tau)
    exact, factors, elbos, tau = posterior(x, prior), None, [], float(tau)
    shape = exact.shape + 0.5
    for _ in range(sweeps):
        before, precision = factors, exact.scale * tau
        rate = exact.rate + exact.scale / precision / 2  # m is mₙ
        factors, tau = Factors(exact.mean, precision, shape, rate), shape / rate
        elbos.append(elbo(factors, x, prior))
        if before is not None and np.allclose(factors, before, rtol=1e-10, atol=0):
            break
    return CAVI(factors, np.array(elbos))


def best_factors(law: NormalGamma) -> Factors:
    """Return the q(μ) q(τ) with the smallest KL(q ‖ p) to a Normal-Gamma p, where
    coordinate ascent ends:  mean = m,  precision = ℓ a/b,  shape = a + ½,
    rate = b (a + ½)/a.

    Args:
        law: p, with the parameters (m, ℓ, a, b).
    """
    law = checked(law)
    precision, growth = law.scale * (law.shape / law.rate), 1 + 0.5 / law.shape
    return checked(Factors(law.mean, precision, law.shape + 0.5, law.rate * growth))


def moment_matched(law: NormalGamma) -> Factors:
    """Return the N(μ) Gamma(τ) with the smallest KL(p ‖ q) to a Normal-Gamma p:
    mean = m,  precision = ℓ (a−1)/b,  shape = a,  rate = b.

    Args:
        law: p, with the parameters (m, ℓ, a, b); for a ≤ 1 the variance of μ is
            infinite, and no such law is best.
    """
    law = checked(law)
    if law.shape <= 1:
        raise ValueError(f"shape must be above 1, got {law.shape}")
    precision = law.scale * ((law.shape - 1) / law.rate)
    return checked(Factors(law.mean, precision, law.shape, law.rate))


def gap(shape: Numbers) -> Numbers:
    """Return  R(a) − R(a+½) = log Γ(a) − log Γ(a+½) + (a+½) log(a+½) − a log a − ½,
    the smallest KL(q ‖ p) of any product q(μ) q(τ) to a Normal-Gamma p.

    Args:
        shape: a, the shape of p.
    """
    checks.positive(shape=shape)
    shape = np.asarray(shape, dtype=float)
    return (
        _log_growth(shape, 0.5) / 2
        + stirling.remainder(shape)
        - stirling.remainder(shape + 0.5)
    )[()]


def mutual_information(shape: Numbers) -> Numbers:
    """Return  R(a) − R(a+½) + (a+½) R′(a+½) − a R′(a),  which is KL(p ‖ p(μ) p(τ)), the
    smallest KL(p ‖ q) of a Normal-Gamma p to any product q(μ) q(τ).

    Args:
        shape: a, the shape of p.
    """
    checks.positive(shape=shape)
    shape = np.asarray(shape, dtype=float)
    return (
        gap(shape)
        + stirling.slope_remainder(shape + 0.5)
        - stirling.slope_remainder(shape)
    )[()]


def gaussian_factors(covariance: Real[ndarray, "d d"]) -> Float[ndarray, "d"]:
    """Return  1/Λᵢᵢ,  Λ = Σ⁻¹:  the variances of the product with the smallest
    KL(q ‖ p) to p = N(mean, Σ). The means are those of p.

    Args:
        covariance: Σ.
    """
    return 1 / np.diag(_precision(covariance))


def gaussian_gap(covariance: Real[ndarray, "d d"]) -> float:
    """Return  ½ (Σᵢ log Λᵢᵢ − log det Λ),  Λ = Σ⁻¹:  the smallest KL(q ‖ p) of any
    product to p = N(mean, Σ). In two dimensions it is −½ log(1 − ρ²).

    Args:
        covariance: Σ.
    """
    factor = np.linalg.cholesky(_precision(covariance))
    # log Λᵢᵢ − 2 log Lᵢᵢ, from Λ = L Lᵀ, is the log of 1 + Σⱼ Lᵢⱼ²/Lᵢᵢ² over j < i
    pivots = np.diag(factor)[:, None]
    return float(
        np.log1p(np.square(np.tril(factor, -1) / pivots).sum(axis=1)).sum() / 2
    )


def gaussian_cavi(
    start: Real[ndarray, "d"], covariance: Real[ndarray, "d d"], *, sweeps: int
) -> Float[ndarray, "{sweeps}+1 d"]:
    """Return how far the means of the factors are from those of p = N(mean, Σ) after
    0, 1, 2, … sweeps of coordinate ascent:  mᵢ ← −Σⱼ Λᵢⱼ mⱼ / Λᵢᵢ,  the sum over j ≠ i,
    for one i after the other. In two dimensions a sweep shrinks them by ρ².

    Args:
        start: the distances at first.
        covariance: Σ.
        sweeps: how many.
    """
    precision = _precision(covariance)
    checks.series(start=start)
    checks.of_shape(precision.shape[:1], start=start)
    checks.counting_number(sweeps=sweeps)
    # Gauss-Seidel: the new means, before and at i, stand on the left
    sweep = -solve_triangular(np.tril(precision), np.triu(precision, 1), lower=True)
    path = [np.array(start, dtype=float)]
    for _ in range(sweeps):
        path.append(sweep @ path[-1])
    return np.array(path)


def sources_bound(theta: Numbers, second_moment: Number, sources: int) -> Numbers:
    """Return  −½ log 2π − s²/(2(1+θ²)) − (k/2) log(1 + θ²/k),  the largest ELBO, per
    datum, of  x | z ~ N(θ (z₁ + … + z_k)/√k, 1),  z ~ N(0, I),  among factorised q(z).
    For k = 1 it is the log-likelihood, which does not depend on k.

    Args:
        theta: θ, a number or an array.
        second_moment: s², the mean of the x².
        sources: k, how many coordinates z has.
    """
    checks.finite(theta=theta)
    checks.positive(second_moment=second_moment)
    checks.counting_number(sources=sources)
    second_moment, sources = float(second_moment), int(sources)
    signal = np.square(np.asarray(theta, dtype=float))
    price = sources * np.log1p(signal / sources)
    return (-(_LOG_2PI + second_moment / (1 + signal) + price) / 2)[()]


def sources_fit(second_moment: Number, sources: int) -> float:
    """Return the θ ≥ 0 at which `sources_bound` is largest: its square t is 0 for
    s² ≤ 1, and else the positive root of  (1+t)² = s² (1 + t/k).  For k = 1 it is
    s² − 1; as k grows, it falls towards  s − 1.

    Args:
        second_moment: s², the mean of the x².
        sources: k, how many coordinates z has.
    """
    checks.positive(second_moment=second_moment)
    checks.counting_number(sources=sources)
    second_moment, sources = float(second_moment), int(sources)
    excess = max(second_moment - 1.0, 0.0)
    half = 1 - second_moment / (2 * sources)
    # t² + 2 half t − excess = 0, solved without a difference of nearly equal numbers
    root = np.hypot(half, np.sqrt(excess))
    return float(np.sqrt(excess / (root + half) if half > 0 else root - half))


def _conditional_kl(q, law):
    """E_q[log q(μ) − log p(μ | τ)] = ½ [r − 1 − log r + ℓ E[τ] (m_q − m)² − R′(a_q)],
    where  r = ℓ E[τ]/λ.
    """
    tau, log_tau = q.shape / q.rate, np.log(q.shape) - np.log(q.rate)
    log_ratio = np.log(law.scale) + log_tau - np.log(q.precision)
    with np.errstate(over="ignore"):
        distance = law.scale * tau * np.square(q.mean - law.mean)
    spread = (0.5 - stirling.slope_remainder(q.shape)) / q.shape
    return float((_above_tangent(log_ratio) + distance + spread) / 2)


def _gamma_kl(q, law):
    """KL of two gamma laws,  R(a) − R(a_q) − (a − a_q) R′(a_q) + a (u − 1 − log u),
    where u is the mean of q over that of the other.
    """
    log_shapes = np.log(q.shape) - np.log(law.shape)
    log_means = log_shapes - np.log(q.rate) + np.log(law.rate)
    remainders = (
        log_shapes / 2 + stirling.remainder(law.shape) - stirling.remainder(q.shape)
    )
    slope = (stirling.slope_remainder(q.shape) - 0.5) / q.shape
    shapes = remainders - (law.shape - q.shape) * slope
    return float(shapes + law.shape * _above_tangent(log_means))


def _above_tangent(log_ratio):
    """r − 1 − log r."""
    with np.errstate(over="ignore"):
        return np.expm1(log_ratio) - log_ratio


def _log_growth(value, increase):
    """log((value + increase)/value),  for any two numbers that are not negative."""
    larger, smaller = np.maximum(value, increase), np.minimum(value, increase)
    return np.log1p(smaller / larger) + (np.log(larger) - np.log(value))


def _half_squares(x, prior):
    """What the data add to the rate."""
    n, distances = len(x), x - prior.mean
    centre, weight = _mean(distances), n * (prior.scale / (prior.scale + n))
    with np.errstate(over="ignore"):  # what overflows is refused as a rate
        squares = np.square(distances - centre).sum()
        return float(squares + weight * np.square(centre)) / 2


def _mean(x):
    """The mean of numbers that may all be large and nearly equal."""
    return float(x[0] + (x - x[0]).mean())


def _log_normal(mu, mean, precision):
    return (np.log(precision) - _LOG_2PI - precision * (mu - mean) ** 2) / 2


def _log_gamma(tau, shape, rate):
    normaliser = gammaln(shape) - shape * np.log(rate)
    return (shape - 1) * np.log(tau) - rate * tau - normaliser


def _precision(covariance):
    checks.table(covariance=covariance)
    checks.positive_definite(len(covariance), covariance=covariance)
    precision = np.linalg.inv(np.asarray(covariance, dtype=float))
    return (precision + precision.T) / 2


def _unknowns(mu, tau):
    checks.finite(mu=mu)
    checks.positive(tau=tau)
    return np.asarray(mu, dtype=float), np.asarray(tau, dtype=float)


def _data(x) -> ndarray:
    checks.series(x=x)
    return np.asarray(x, dtype=float)
