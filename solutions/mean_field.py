"""The Normal-Gamma model, its exact posterior, and the best factorised law beside it.

Data x₁, …, xₙ ~ N(μ, 1/τ) are independent given μ and τ, and the prior is
μ | τ ~ N(m₀, 1/(ℓ₀ τ)),  τ ~ Gamma(a₀, b₀),  shape and *rate*. The factorised laws are
q(μ) q(τ) = N(m, 1/λ) Gamma(a, b), again shape and rate.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.special import digamma, gammaln

from solutions import checks
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


class CAVI(NamedTuple):
    """Where coordinate ascent ended, and the ELBO after each of its sweeps."""

    factors: Factors
    elbos: Float[ndarray, "sweeps"]


def posterior(x: Real[ndarray, "n"], prior: NormalGamma) -> NormalGamma:
    """Return the law of (μ, τ) given the data, a Normal-Gamma again, with

      scale = ℓ₀ + n,  mean = (ℓ₀ m₀ + n x̄) / (ℓ₀ + n),  shape = a₀ + n/2,
      rate = b₀ + ½ [Σᵢ (xᵢ − x̄)² + ℓ₀ n (x̄ − m₀)² / (ℓ₀ + n)].

    Reference: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution.
    """
    x, prior = _data(x), _checked(prior)
    n, centre = len(x), x.mean()
    scale = prior.scale + n
    squares = np.square(x - centre).sum()
    pull = prior.scale * n / scale * (centre - prior.mean) ** 2
    return NormalGamma(
        mean=float(prior.mean + n / scale * (centre - prior.mean)),
        scale=float(scale),
        shape=float(prior.shape + n / 2),
        rate=float(prior.rate + (squares + pull) / 2),
    )


def log_evidence(x: Real[ndarray, "n"], prior: NormalGamma) -> float:
    """Return  log p(x) = log Γ(a) − log Γ(a₀) + a₀ log b₀ − a log b
    + ½ log(ℓ₀/ℓ) − (n/2) log 2π,  where a, b and ℓ are those of the posterior.
    """
    after, before = posterior(x, prior), _checked(prior)
    logs = [
        gammaln(law.shape) - law.shape * np.log(law.rate) - np.log(law.scale) / 2
        for law in (after, before)
    ]
    return float(logs[0] - logs[1] - len(x) / 2 * _LOG_2PI)


def log_joint(
    mu: Numbers, tau: Numbers, x: Real[ndarray, "n"], prior: NormalGamma
) -> Numbers:
    """Return  log p(x, μ, τ),  all its constants included.

    Args:
        mu: μ, a number or an array that broadcasts with tau.
        tau: τ, positive.
    """
    x, prior = _data(x), _checked(prior)
    n, centre = len(x), x.mean()
    checks.finite(mu=mu)
    checks.positive(tau=tau)
    mu, tau = np.asarray(mu, dtype=float), np.asarray(tau, dtype=float)
    squares = np.square(x - centre).sum() + n * (centre - mu) ** 2
    log_likelihood = n / 2 * (np.log(tau) - _LOG_2PI) - tau / 2 * squares
    return (log_likelihood + log_density(mu, tau, prior))[()]


def log_density(mu: Numbers, tau: Numbers, law: NormalGamma) -> Numbers:
    """Return  log N(μ; mean, 1/(scale τ)) + log Gamma(τ; shape, rate)."""
    law = _checked(law)
    checks.finite(mu=mu)
    checks.positive(tau=tau)
    mu, tau = np.asarray(mu, dtype=float), np.asarray(tau, dtype=float)
    precision = law.scale * tau
    normal = (np.log(precision) - _LOG_2PI - precision * (mu - law.mean) ** 2) / 2
    return (normal + _log_gamma(tau, law.shape, law.rate))[()]


def elbo(factors: Factors, x: Real[ndarray, "n"], prior: NormalGamma) -> float:
    """Return  E_q[log p(x, μ, τ) − log q(μ) − log q(τ)],  which is at most log p(x)."""
    x, prior, q = _data(x), _checked(prior), _checked(factors)
    n = len(x)
    tau, log_tau = q.shape / q.rate, digamma(q.shape) - np.log(q.rate)
    squares = np.square(x - q.mean).sum() + n / q.precision
    likelihood = n / 2 * (log_tau - _LOG_2PI) - tau / 2 * squares
    square = (q.mean - prior.mean) ** 2 + 1 / q.precision
    normal = (np.log(prior.scale) + log_tau - _LOG_2PI - prior.scale * tau * square) / 2
    gamma = (
        prior.shape * np.log(prior.rate)
        - gammaln(prior.shape)
        + (prior.shape - 1) * log_tau
        - prior.rate * tau
    )
    entropies = (
        (1 + _LOG_2PI - np.log(q.precision)) / 2
        + (q.shape - np.log(q.rate))
        + (gammaln(q.shape) + (1 - q.shape) * digamma(q.shape))
    )
    return float(likelihood + normal + gamma + entropies)


def cavi(x: Real[ndarray, "n"], prior: NormalGamma, *, sweeps: int = 1000) -> CAVI:
    """Set q(μ), then q(τ), to the best while the other stands still, again and again,

      mean = (ℓ₀ m₀ + n x̄) / (ℓ₀ + n),  precision = (ℓ₀ + n) a/b,  shape = a₀ + (n+1)/2,
      rate = b₀ + ½ [Σᵢ (xᵢ − mean)² + ℓ₀ (mean − m₀)² + (ℓ₀ + n) / precision],

    until no parameter moves by 1e-10 of itself. The precision begins with the prior's
    mean of τ.
    """
    x, prior = _data(x), _checked(prior)
    checks.counting_number(sweeps=sweeps)
    exact = posterior(x, prior)
    shape = prior.shape + (len(x) + 1) / 2
    factors, elbos = None, []
    tau = prior.shape / prior.rate
    for _ in range(sweeps):
        before, precision = factors, exact.scale * tau
        rate = exact.rate + exact.scale / precision / 2
        factors, tau = Factors(exact.mean, precision, shape, rate), shape / rate
        elbos.append(elbo(factors, x, prior))
        if before is not None and np.allclose(factors, before, rtol=1e-10, atol=0):
            break
    return CAVI(factors, np.array(elbos))


def _log_gamma(tau, shape, rate):
    normaliser = gammaln(shape) - shape * np.log(rate)
    return (shape - 1) * np.log(tau) - rate * tau - normaliser


def _data(x) -> ndarray:
    checks.series(x=x)
    return np.asarray(x, dtype=float)


def _checked(law):
    """The same law, its parameters floats, the mean finite and the others positive."""
    mean, *others = law
    checks.finite(mean=mean)
    checks.positive(**dict(zip(law._fields[1:], others, strict=True)))
    return type(law)(*map(float, law))
