"""Maximum likelihood: estimators one can write down, and gradient ascent for the rest.

A line y = ax + b + ε has slope a, intercept b and noise ε ~ N(0, σ²). A coin shows 1
with probability θ. The law to be climbed is N(μ, Σ) in d dimensions, where Σ is known;
its data are rows of a tensor.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Real
from numpy import ndarray
from scipy import integrate, optimize
from scipy.special import xlog1py, xlogy
from torch import Tensor
from tqdm import tqdm

from solutions import checks
from solutions.checks import Number, Numbers
from solutions.randomness import given_or_fresh

Tosses = Real[ndarray, "n"] | Bool[ndarray, "n"] | Sequence[Number]


class NormalFit(NamedTuple):
    """The normal law that makes the data likeliest."""

    mean: float
    variance: float


class LineFit(NamedTuple):
    """The line and the variance of the noise that make the data likeliest."""

    slope: float
    intercept: float
    variance: float


class TwoTails(NamedTuple):
    """The probability of two zeros next: at the likeliest θ, and averaged over θ."""

    plugged_in: float
    predictive: float


class Ascent(NamedTuple):
    """Where an ascent went, from its start on: means (steps + 1, d), and how high."""

    means: Float[Tensor, "steps_plus_1 d"]
    log_likelihoods: Float[Tensor, "steps_plus_1"]


def normal_mle(x: Real[ndarray, "n"]) -> NormalFit:
    """Return  μ̂ = x̄,  σ̂² = 1/n Σᵢ (xᵢ−x̄)²,  which make x likeliest.

    The variance is biased: its mean is (n−1)/n σ². If all xᵢ are equal it is 0, which
    no normal law has: the likelihood then grows without bound as σ² → 0.

    Args:
        x: n ≥ 1 observations.

    Reference: Bishop (2006), eq. 1.55 to 1.58.
    """
    checks.series(x=x)
    mean = np.mean(x, dtype=float)
    return NormalFit(float(mean), float(np.mean(np.square(x - mean))))


def line_mle(x: Real[ndarray, "n"], y: Real[ndarray, "n"]) -> LineFit:
    """Return  â = Sxy/Sxx,  b̂ = ȳ − âx̄,  σ̂² = 1/n Σᵢ (yᵢ − âxᵢ − b̂)²,  the best line.

    Best is likeliest. Here  Sxy = Σᵢ (xᵢ−x̄)(yᵢ−ȳ)  and  Sxx = Σᵢ (xᵢ−x̄)².  The mean
    of σ̂² is (n−2)/n σ².

    Args:
        x: where the observations were made; not all at one place.
        y: what was observed there.

    Reference: Wasserman (2004), All of Statistics, sections 13.1 and 13.2.
    """
    checks.series(x=x, y=y)
    checks.same_shape(x=x, y=y)
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if np.all(x == x[0]):
        raise ValueError(f"x must not be constant, got {x[0]} everywhere")
    dx, dy = x - x.mean(), y - y.mean()
    unit = np.abs(dx).max()  # squares in these units neither vanish nor overflow
    slope = (dx / unit) @ dy / np.sum((dx / unit) ** 2) / unit
    variance = np.mean((dy - slope * dx) ** 2)
    return LineFit(float(slope), float(y.mean() - slope * x.mean()), float(variance))


def coin_log_posterior(
    theta: Numbers, tosses: Tosses, prior_mean: Number, prior_variance: Number
) -> Numbers:
    """Return  h log θ + t log(1−θ) − (θ−m)²/(2v),  the log of the posterior of θ.

    A term that does not depend on θ is left out. There were h ones and t zeros, and the
    prior is N(m, v) restricted to [0, 1].

    Args:
        theta: the probability of a 1, in [0, 1].
        tosses: at least one 0 or 1.
        prior_mean: m.
        prior_variance: v > 0, a variance.
    """
    checks.fraction(theta=theta)
    ones, zeros = _count(tosses)
    _check_prior(prior_mean, prior_variance)
    data = xlogy(ones, theta) + xlog1py(zeros, np.negative(theta))
    return data - np.square(np.subtract(theta, prior_mean)) / (2 * prior_variance)


def coin_map(tosses: Tosses, prior_mean: Number, prior_variance: Number) -> float:
    """Return the θ in [0, 1] where the posterior of a coin is highest.

    If both sides have come up, it is the only root of the cubic
    v(h − nθ) − (θ−m)θ(1−θ)  between 0 and 1. If not, the cubic has a factor θ or 1−θ,
    and what remains is a quadratic, whose root counts if it lies in [0, 1].

    Args:
        tosses: n ≥ 1 tosses, h of which are 1 and the others 0.
        prior_mean: m, of the normal prior.
        prior_variance: v > 0, its variance. That θ cannot leave [0, 1] changes the
            prior's constant, and so leaves its highest point alone.

    Reference: Bishop (2006), section 2.1, with another prior.
    """
    ones, zeros = _count(tosses)
    _check_prior(prior_mean, prior_variance)
    m, v = float(prior_mean), float(prior_variance)
    if ones == 0:  # the lesser root of θ² − (1+m)θ + m − vt, or 0
        root = 2 * (m - v * zeros) / (1 + m + np.hypot(1 - m, 2 * np.sqrt(v * zeros)))
        return float(max(root, 0.0))
    if zeros == 0:  # the greater root of θ² − mθ − vh, or 1
        width = np.hypot(m, 2 * np.sqrt(v * ones))
        root = (m + width) / 2 if m > 0 else 2 * v * ones / (width - m)
        return float(min(root, 1.0))

    def cubic(theta: float) -> float:
        return v * (ones - len(tosses) * theta) - (theta - m) * theta * (1 - theta)

    return optimize.brentq(cubic, 0, 1, xtol=1e-300, rtol=1e-15)


def coin_predictive(tosses: Tosses, a: Number = 1.0, b: Number = 1.0) -> float:
    """Return  P(next is 1) = (h + a)/(n + a + b),  θ being averaged over its posterior.

    The prior is Beta(a, b), uniform by default. Then it is Laplace's rule of
    succession,  (h + 1)/(n + 2).

    Args:
        tosses: n ≥ 1 tosses, h of which are 1 and the others 0.
        a, b: the ones and zeros that the prior is worth, both positive.

    Reference: Bishop (2006), eq. 2.20.
    """
    ones, zeros = _count(tosses)
    checks.positive(a=a, b=b)
    return (ones + a) / (ones + zeros + a + b)


def two_tails(tosses: Tosses, prior_mean: Number, prior_variance: Number) -> TwoTails:
    """Return  (1−θ̂)²  and  E[(1−θ)² | tosses],  the probability that two zeros follow.

    The first takes `coin_map` for the truth. The second averages over the posterior,
    whose prior is N(m, v) restricted to [0, 1].

    Args:
        tosses: at least one 0 or 1.
        prior_mean: m.
        prior_variance: v > 0, a variance.
    """
    likeliest = coin_map(tosses, prior_mean, prior_variance)
    ones, zeros = _count(tosses)

    def fall(theta: float) -> float:
        """How far the log posterior at θ lies below its highest point.

        As a difference of two heights it would drown in rounding where both are large.
        """
        heads = xlogy(ones, theta / likeliest) if ones else 0.0
        tails = xlogy(zeros, (1 - theta) / (1 - likeliest)) if zeros else 0.0
        middle = (theta + likeliest) / 2
        return (
            (theta - likeliest) * (middle - prior_mean) / prior_variance - heads - tails
        )

    def edge(end: float) -> float:
        """Where the posterior has fallen to e⁻⁷² of its height, or else the end."""
        if fall(end) <= 72:
            return end
        return optimize.brentq(lambda theta: min(fall(theta), 1e6) - 72, end, likeliest)

    sides = (edge(0.0), likeliest), (likeliest, edge(1.0))

    def integral(power: int) -> float:
        """Of (1−θ)^power times the posterior, on either side of its highest point."""

        def integrand(theta: float) -> float:
            return (1 - theta) ** power * np.exp(-fall(theta))

        precise = {"epsabs": 0, "epsrel": 1e-9}
        return sum(integrate.quad(integrand, *side, **precise)[0] for side in sides)

    return TwoTails((1 - likeliest) ** 2, integral(2) / integral(0))


def log_likelihood(
    data: Float[Tensor, "n d"],
    mean: Float[Tensor, "d"],
    covariance: Float[Tensor, "d d"],
) -> Float[Tensor, ""]:
    """Return  L = −½ Σᵢ (xᵢ−μ)ᵀ Σ⁻¹ (xᵢ−μ) − n/2 log det(2πΣ),  summed over the rows.

    It is complete with its constant, so that covariances can be compared too, and it
    can be differentiated by each argument.

    Args:
        data: n ≥ 1 observations, a row each.
        mean: μ.
        covariance: Σ, symmetric and positive definite; a covariance, not a matrix of
            standard deviations.

    Reference: Bishop (2006), eq. 2.118.
    """
    _check_data(data, covariance)
    _check_mean(data, mean=mean)
    return _log_likelihood(data, mean, torch.linalg.cholesky(covariance))


def log_likelihood_at(
    means: Float[Tensor, "m d"],
    data: Float[Tensor, "n d"],
    covariance: Float[Tensor, "d d"],
) -> Float[Tensor, "m"]:
    """Return  L(μ) = L(x̄) − n/2 (μ−x̄)ᵀ Σ⁻¹ (μ−x̄)  for each row μ of `means`.

    It is the `log_likelihood`, many times over. Where μ varies the data come in through
    their mean x̄ alone, so that a whole surface costs little.

    Args:
        means: where; a row each.
        data: n ≥ 1 observations, a row each.
        covariance: Σ.

    Reference: Bishop (2006), eq. 2.121, and the square completed.
    """
    _check_data(data, covariance)
    checks.of_shape((len(means), data.shape[1]), means=means)
    checks.finite(means=means)
    return _log_likelihood_at(means, data, torch.linalg.cholesky(covariance))


def ascend(
    data: Float[Tensor, "n d"],
    covariance: Float[Tensor, "d d"],
    *,
    start: Float[Tensor, "d"],
    rate: Number,
    steps: int,
    batch_size: int | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    generator: torch.Generator | None = None,
) -> Ascent:
    """Climb the log-likelihood of the mean by  μ ← μ + λ ∇L(μ),  and return the path.

    With a batch of k rows, drawn anew at every step, ∇L is estimated by n/k times the
    gradient of the batch's sum: unbiased, and on one scale for every k.

    Args:
        data: n ≥ 1 observations, a row each.
        covariance: Σ, known.
        start: the first μ.
        rate: λ > 0, which multiplies the gradient of the full sum, not of its mean.
        steps: how many.
        batch_size: k, or None for all the rows.
        optimizer: makes a torch optimiser, as `optimizer([mean], lr=rate)`, which then
            takes the steps in its own way; it is given −L, because it minimises.
        generator: draws the batches; None for one that is seeded afresh.

    Reference: Robbins and Monro (1951), A stochastic approximation method.
    """
    _check_data(data, covariance)
    _check_mean(data, start=start)
    checks.positive(rate=rate)
    checks.counting_number(steps=steps)
    size = len(data) if batch_size is None else batch_size
    checks.counting_number(batch_size=size)
    checks.at_most(len(data), batch_size=size)
    generator = given_or_fresh(generator)
    factor = torch.linalg.cholesky(covariance.to(data))
    mean = start.detach().clone().to(data).requires_grad_()
    path = [mean.detach().clone()]
    climber = (optimizer or torch.optim.SGD)([mean], lr=rate)

    for _ in tqdm(range(steps), desc="ascent", disable=None, leave=False):
        batch = data
        if batch_size is not None:
            batch = data[torch.randperm(len(data), generator=generator)[:size]]

        def descent(batch=batch) -> Tensor:
            climber.zero_grad()
            loss = -len(data) / size * _log_likelihood(batch, mean, factor)
            loss.backward()
            return loss

        climber.step(descent)
        path.append(mean.detach().clone())

    means = torch.stack(path)
    heights = _log_likelihood_at(means, data, factor)
    if not torch.isfinite(heights).all():
        raise OverflowError(
            f"the ascent left the numbers: a rate of {rate} is too large"
        )
    return Ascent(means, heights)


def critical_rate(n: int, covariance: Float[Tensor, "d d"]) -> float:
    """Return  2s/n,  s the smallest eigenvalue of Σ: the rate where ascents get lost.

    Below it every plain ascent on n rows arrives; at half of it in a single step, if
    all eigenvalues are the same.

    Args:
        n: how many rows the data have.
        covariance: Σ.
    """
    checks.counting_number(n=n)
    checks.positive_definite(len(covariance), covariance=covariance)
    return float(2 * torch.linalg.eigvalsh(covariance)[0] / n)


def batch_mean_covariance(
    data: Float[Tensor, "n d"], batch_size: int
) -> Float[Tensor, "d d"]:
    """Return  S/k (n−k)/(n−1),  the covariance of the mean of k rows of the n.

    The k rows are drawn without replacement, all subsets being equally likely, and
    S = 1/n Σᵢ (xᵢ−x̄)(xᵢ−x̄)ᵀ. Their mean is where their own likelihood is highest.

    Args:
        data: n ≥ 1 observations, a row each. The mean of all of them is certain: 0.
        batch_size: k, from 1 to n.

    Reference: Cochran (1977), Sampling Techniques, section 2.5.
    """
    checks.table(data=data)
    checks.counting_number(batch_size=batch_size)
    checks.at_most(len(data), batch_size=batch_size)
    n, away = len(data), data - data.mean(dim=0)
    return away.mT @ away / n / batch_size * (n - batch_size) / max(n - 1, 1)


def stationary_covariance(
    data: Float[Tensor, "n d"],
    covariance: Float[Tensor, "d d"],
    *,
    rate: Number,
    batch_size: int,
) -> Float[Tensor, "d d"]:
    """Return P, the covariance of μ about x̄ once a stochastic ascent has settled.

    It solves  P = (I−A) P (I−A)ᵀ + A C Aᵀ,  A = λn Σ⁻¹,  C the `batch_mean_covariance`:
    in the eigenvectors of Σ, with a the eigenvalues of A,  Pᵢⱼ = Cᵢⱼ aᵢaⱼ/(aᵢ+aⱼ−aᵢaⱼ).

    Args:
        data: n ≥ 2 observations, a row each.
        covariance: Σ.
        rate: λ, above 0 and below the `critical_rate`.
        batch_size: k, from 1 to n.

    Reference: Mandt, Hoffman and Blei (2017), Stochastic gradient descent as
    approximate Bayesian inference, for small rates.
    """
    _check_data(data, covariance)
    checks.positive(rate=rate)
    limit = critical_rate(len(data), covariance)
    if rate >= limit:
        raise ValueError(f"rate must be below the critical {limit:.6g}, got {rate}")
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    a = rate * len(data) / eigenvalues
    noise = vectors.mT @ batch_mean_covariance(data, batch_size) @ vectors
    settled = noise * torch.outer(a, a) / (a[:, None] + a - torch.outer(a, a))
    return vectors @ settled @ vectors.mT


def _log_likelihood(data: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """`log_likelihood` with the Cholesky factor of the covariance, unchecked."""
    n, d = data.shape
    away = torch.linalg.solve_triangular(factor, (data - mean).mT, upper=False)
    log_det = d * np.log(2 * np.pi) + 2 * factor.diagonal().log().sum()
    return -0.5 * ((away**2).sum() + n * log_det)


def _log_likelihood_at(means: Tensor, data: Tensor, factor: Tensor) -> Tensor:
    """`log_likelihood_at`, likewise."""
    peak = data.mean(dim=0)
    away = torch.linalg.solve_triangular(factor, (means - peak).mT, upper=False)
    return _log_likelihood(data, peak, factor) - len(data) / 2 * (away**2).sum(dim=0)


def _count(tosses: Tosses) -> tuple[int, int]:
    """How many ones and how many zeros."""
    checks.series(tosses=tosses)
    checks.zeros_and_ones(tosses=tosses)
    ones = int(np.sum(tosses))
    return ones, len(tosses) - ones


def _check_prior(prior_mean: Number, prior_variance: Number) -> None:
    checks.finite(prior_mean=prior_mean)
    checks.positive(prior_variance=prior_variance)


def _check_data(data: Tensor, covariance: Tensor) -> None:
    checks.table(data=data)
    checks.positive_definite(data.shape[1], covariance=covariance)


def _check_mean(data: Tensor, **mean: Tensor) -> None:
    """`mean`, by the name the caller has for it, is one point of the data's space."""
    checks.finite(**mean)
    checks.of_shape(data.shape[1:], **mean)
