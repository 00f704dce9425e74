"""Dice with a slope: Gumbel noise, the hard draws that it makes, and the soft ones.

A die has the probabilities p, which sum to one. With  s = log p + g,  g independent
standard Gumbel noise, argmax s is an exact throw of it, and  y = softmax(s/τ)  is a
point inside the simplex that moves smoothly with p. Logits ℓ are any numbers with
softmax(ℓ) = p. What draws returns torch tensors, in the precision of a floating-point
tensor of probabilities and in float64 for everything else; what computes takes and
returns NumPy arrays.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Real
from numpy import ndarray
from scipy.special import expit, gammaln, logsumexp
from torch import Tensor

from solutions import checks
from solutions.checks import Number
from solutions.tensors import as_tensor

Probabilities = Sequence[Number] | Real[ndarray, "k"] | Real[Tensor, "k"]
Values = Sequence[Number] | Real[ndarray, "k"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_FAR = 45.0  # e⁻⁴⁵ is nothing beside one
_UNDERFLOW = 1e4  # and e^{−10⁴} is zero in every precision


class Moments(NamedTuple):
    """The mean and the variance of one draw."""

    mean: float
    variance: float


def noise(generator: torch.Generator, n: int, k: int) -> Float[Tensor, "n k"]:
    """Return  g = −log E,  E = −log(1−U),  U uniform: P(g ≤ x) = exp(−e^{−x}).

    The draws are float64. In float32 U would have 24 bits, and the largest g, which
    decide how often rare outcomes come, would be missing.

    Args:
        generator: the source of randomness.
        n, k: how many rows and columns.

    Reference: Gumbel (1954), Statistical theory of extreme values and some practical
    applications.
    """
    checks.counting_number(n=n, k=k)
    where = {"dtype": torch.float64, "device": generator.device}
    clock = -torch.rand(n, k, generator=generator, **where).neg().log1p()
    # U is 0 once in 2⁵³ draws, and would make g infinite
    return -clock.clamp_min(2.0**-54).log()


def gumbel_max(
    generator: torch.Generator, probabilities: Probabilities, n: int
) -> Int64[Tensor, "n"]:
    """Return n independent throws,  argmaxᵢ (log pᵢ + gᵢ),  outcomes from 0 to k−1.

    Outcome i has exactly the probability pᵢ; one of probability 0 never comes.

    Args:
        generator: the source of randomness.
        probabilities: p, which sum to one.
        n: how many throws.

    Reference: Maddison, Tarlow and Minka (2014), A* sampling, section 2.
    """
    return _scores(generator, _tensor(probabilities), n).argmax(dim=1)


def ranking(
    generator: torch.Generator, probabilities: Probabilities, n: int
) -> Int64[Tensor, "n k"]:
    """Return, n times, all outcomes by falling  log pᵢ + gᵢ.

    The order a, b, c, ... has the probability  p_a · p_b/(1−p_a) · p_c/(1−p_a−p_b) ⋯.
    The first m columns are m draws without replacement. Outcomes of probability 0 come
    last.

    Args:
        generator: the source of randomness.
        probabilities: p, which sum to one.
        n: how many rankings.

    Reference: Yellott (1977), The relationship between Luce's choice axiom,
    Thurstone's theory of comparative judgment, and the double exponential distribution.
    """
    scores = _scores(generator, _tensor(probabilities), n)
    return scores.argsort(dim=1, descending=True, stable=True)


def gumbel_softmax(
    generator: torch.Generator,
    probabilities: Probabilities,
    n: int,
    temperature: Number | Real[Tensor, ""],
) -> Float[Tensor, "n k"]:
    """Return n soft throws,  yᵢ = e^{sᵢ/τ} / Σⱼ e^{sⱼ/τ}  with s = log p + g.

    Each row sums to one. From the same state of the generator its largest entry stands
    where `gumbel_max` says (unless τ is so large that rounding makes entries equal).
    Gradients flow to tensors of probabilities and to a temperature that is a tensor. An
    outcome of probability 0 gets exactly 0, and the gradient 0.

    Args:
        generator: the source of randomness.
        probabilities: p, which sum to one.
        n: how many throws.
        temperature: τ, positive.

    Reference: Jang, Gu and Poole (2017), Categorical reparameterization with
    Gumbel-softmax; Maddison, Mnih and Teh (2017), The Concrete distribution.
    """
    p = _tensor(probabilities)
    temperature = _temperature(temperature, p)
    scores = _scores(generator, p, n)
    behind = scores - scores.detach().amax(dim=1, keepdim=True)
    # what underflows anyway is cut off, lest 1/τ make it infinite and its slope NaN
    floor = -_UNDERFLOW * temperature.detach()
    return (torch.where(behind > floor, behind, floor) / temperature).softmax(dim=1)


def straight_through(
    generator: torch.Generator,
    probabilities: Probabilities,
    n: int,
    temperature: Number | Real[Tensor, ""],
) -> Float[Tensor, "n k"]:
    """Return  z + y − (y without its gradient):  hard throws with soft gradients.

    The values are one-hot rows z, exact throws, up to rounding (which at a very large τ
    makes entries of y equal, and the first of them wins); the gradient is that of the
    `gumbel_softmax` y from the same noise.

    Args:
        generator, probabilities, n, temperature: as for `gumbel_softmax`.

    Reference: Bengio, Léonard and Courville (2013), Estimating or propagating gradients
    through stochastic neurons; Jang, Gu and Poole (2017), section 2.2.
    """
    soft = gumbel_softmax(generator, probabilities, n, temperature)
    hard = _one_hot(soft.detach())
    return hard + (soft - soft.detach())


def concrete_log_density(
    y: Real[ndarray, "n k"], probabilities: Probabilities, temperature: Number
) -> Float[ndarray, "n"]:
    """Return  log (k−1)! + (k−1) log τ + Σᵢ (log pᵢ − (τ+1) log yᵢ)
    − k log Σᵢ pᵢ yᵢ^{−τ},  the log density of `gumbel_softmax`.

    It is a density in y₁, ..., y_{k−1}, on the simplex.

    Args:
        y: n points strictly inside the simplex: rows of positive numbers that sum to 1.
        probabilities: p, strictly between 0 and 1.
        temperature: τ, positive.

    Reference: Maddison, Mnih and Teh (2017), definition 1.
    """
    p = _array(probabilities)
    checks.proper_fraction(probabilities=p)
    checks.rows(y=y)
    checks.same_columns(y=y, probabilities=p[None])
    checks.proper_fraction(y=y)
    precision, y = _precision(y), np.asarray(y, dtype=float)
    _require_sum(y, "each row of y", precision)
    tau = _positive_number(temperature)
    k, log_p, log_y = len(p), np.log(p), np.log(y)
    log_constant = gammaln(k) + (k - 1) * np.log(tau) + log_p.sum()
    race = logsumexp(log_p - tau * log_y, axis=1)
    return log_constant - (tau + 1) * log_y.sum(axis=1) - k * race


def mean_of_relaxed(
    probabilities: Probabilities, temperature: Number
) -> Float[ndarray, "k"]:
    """Return  E[yᵢ] = ∫ f(x−ℓᵢ) Πⱼ≠ᵢ F(x−ℓⱼ) dx,  the mean of `gumbel_softmax`.

    F and f are the distribution function and the density of g + τg′, two Gumbel draws:
    E[yᵢ] is the probability that this noise makes i the largest. Exact to rounding.

    Args:
        probabilities: p, which sum to one.
        temperature: τ, positive.
    """
    p, tau = _array(probabilities), _positive_number(temperature)
    logits = np.log(p[p > 0])
    if tau > 1:  # the largest of ℓ + g + τg′ is that of ℓ/τ + g/τ + g′
        logits, tau = logits / tau, 1 / tau
    logits = logits - logits.max()
    x = np.arange(-12.0, _FAR, 1 / 8)[:, None]
    F, f = _twice_gumbel(x - logits, tau)
    mean = np.zeros(len(p))
    none = np.ones((len(x), 1))
    before = np.cumprod(np.hstack([none, F[:, :-1]]), axis=1)
    after = np.cumprod(np.hstack([none, F[:, :0:-1]]), axis=1)[:, ::-1]
    mean[p > 0] = (before * f * after).sum(axis=0) / 8
    return mean


def exact_gradient(values: Values, probabilities: Probabilities) -> Float[ndarray, "k"]:
    """Return  pᵢ (fᵢ − Σⱼ pⱼ fⱼ),  the slope of Σⱼ pⱼ fⱼ in the logits.

    Args:
        values: f, one for each outcome.
        probabilities: p, which sum to one.
    """
    f, p = _values(values, probabilities)
    return p * (f - p @ f)


def score_gradient(
    generator: torch.Generator,
    values: Values,
    probabilities: Probabilities,
    n: int,
    baseline: Number | Real[ndarray, "k"] = 0.0,
) -> Float[ndarray, "n k"]:
    """Return  (f_c − bᵢ) (1[c=i] − pᵢ)  for n throws c, a row each.

    Every row has the mean `exact_gradient`.

    Args:
        generator: the source of randomness.
        values: f, one for each outcome.
        probabilities: p, which sum to one.
        n: how many throws.
        baseline: b, a number, or one for each coordinate, known before the throws.

    Reference: Williams (1992), Simple statistical gradient-following algorithms for
    connectionist reinforcement learning.
    """
    f, p = _values(values, probabilities)
    b = _baseline(baseline, p)
    throws = gumbel_max(generator, p, n).cpu().numpy()
    return (f[throws, None] - b) * (np.eye(len(p))[throws] - p)


def score_variance(
    values: Values,
    probabilities: Probabilities,
    baseline: Number | Real[ndarray, "k"] = 0.0,
) -> Float[ndarray, "k"]:
    """Return  Σ_c p_c (f_c − bᵢ)² (1[c=i] − pᵢ)² − (pᵢ (fᵢ − f̄))²,  the variances of a
    row of `score_gradient`, by enumeration;  f̄ = Σⱼ pⱼ fⱼ.

    Args:
        values: f, one for each outcome.
        probabilities: p, which sum to one.
        baseline: b, a number, or one for each coordinate.
    """
    f, p = _values(values, probabilities)
    rows = (f[:, None] - _baseline(baseline, p)) * (np.eye(len(p)) - p)
    return p @ (rows - p @ rows) ** 2


def optimal_baseline(
    values: Values, probabilities: Probabilities
) -> Float[ndarray, "k"]:
    """Return  (1−pᵢ) fᵢ + pᵢ mᵢ,  mᵢ = Σⱼ≠ᵢ pⱼ fⱼ / (1−pᵢ),  the best baseline for
    coordinate i.

    It is E[f s²]/E[s²] for the score s = 1[c=i] − pᵢ; where s is always 0, at pᵢ = 0
    and 1, every baseline does, and f̄ stands there.

    Args:
        values: f, one for each outcome.
        probabilities: p, which sum to one.
    """
    f, p = _values(values, probabilities)
    squares = (np.eye(len(p)) - p) ** 2  # a row for each outcome
    moving = (p > 0) & (p < 1)
    mass = np.where(moving, p @ squares, 1.0)
    return np.where(moving, (p * f) @ squares / mass, p @ f)


def relaxed_gradient(
    generator: torch.Generator,
    function: Callable[[Tensor], Tensor],
    probabilities: Probabilities,
    n: int,
    temperature: Number,
    *,
    hard: bool = False,
) -> Float[ndarray, "n k"]:
    """Return  yᵢ (∂ᵢf − Σⱼ yⱼ ∂ⱼf) / τ  for n soft throws y, a row each.

    This is the slope of f(y) in the logits. Its mean is the slope of E[f(y)], not of
    E[f(z)]; z are hard throws.

    Args:
        generator: the source of randomness.
        function: f, differentiable, of rows (n, k) to numbers (n,).
        probabilities: p, which sum to one.
        n: how many throws.
        temperature: τ, positive.
        hard: take ∂f at the hard throw z and not at y: the straight-through gradient.
    """
    soft = gumbel_softmax(generator, probabilities, n, temperature).detach()
    at = (_one_hot(soft) if hard else soft.clone()).requires_grad_()
    value = function(at)
    checks.of_shape((n,), **{"function(y)": value})
    slope = torch.autograd.grad(value.sum(), at)[0]
    rows = soft * (slope - (soft * slope).sum(dim=1, keepdim=True)) / float(temperature)
    return rows.cpu().numpy()


def coin_relaxed(
    slope: Callable[[ndarray], ndarray], logit: Number, temperature: Number
) -> Moments:
    """Return the mean and the variance of  f′(y) y(1−y)/τ,  y = σ((ℓ+L)/τ),
    the relaxed gradient in ℓ for a coin, by quadrature.

    L is logistic noise with the density λ, and  mean = ∫₀¹ f′(y) λ(τ log(y/(1−y)) − ℓ)
    dy.  The exact gradient is  λ(ℓ) ∫₀¹ f′(y) dy.

    Args:
        slope: f′, a smooth function on [0, 1].
        logit: ℓ = log(p/(1−p)), p the probability of z = 1.
        temperature: τ, positive.
    """
    return _coin_moments(slope, logit, temperature)


def coin_straight_through(
    slope: Callable[[ndarray], ndarray], logit: Number, temperature: Number
) -> Moments:
    """Return the mean and the variance of  f′(z) y(1−y)/τ,  z = 1[y > ½],  the
    straight-through gradient in ℓ for a coin, by quadrature.

    Args:
        slope, logit, temperature: as for `coin_relaxed`.
    """
    return _coin_moments(
        lambda y: slope(np.where(y > 0.5, 1.0, 0.0)), logit, temperature
    )


def lattice_probability(probability: Number, bits: int = 24) -> float:
    """Return  δ Σ_{j<N} (jδ)^r,  N = 2^bits, δ = 1/N, r = (1−p)/p,  with which a rare
    outcome comes if its noise is −log(−log U), U uniform on {0, δ, ..., 1−δ}.

    The noise of the other outcomes is exact here. The sum is the left Riemann sum of
    ∫₀¹ u^r du = p.

    Args:
        probability: p, positive and at most ½.
        bits: of `torch.rand` 24 in float32, 53 in float64.
    """
    checks.of_shape((), probability=probability)
    checks.positive(probability=probability)
    checks.at_most(0.5, probability=probability)
    checks.counting_number(bits=bits)
    p, delta = float(probability), 2.0**-bits
    r = (1 - p) / p
    # (1−jδ)^r ≤ e^{−jδr}: from the right end, until nothing is left
    last = min(2.0**bits, np.ceil(_FAR / (delta * r)) + 1)
    if last > 2.0**20:  # many small terms: the formula of Euler and Maclaurin
        return p - delta / 2 + delta**2 * r / 12
    return float(delta * np.exp(r * np.log1p(-delta * np.arange(1.0, last))).sum())


def _scores(generator, p, n):
    """log p + g; −∞ for what is impossible."""
    checks.counting_number(n=n)
    possible = p > 0
    log_p = torch.where(possible, p, 1.0).log()  # no −∞, whose gradient is NaN
    scores = log_p + noise(generator, n, len(p)).to(p)
    return scores.masked_fill(~possible, -torch.inf)


def _tensor(probabilities):
    """p, if it is one, in the precision that is promised."""
    is_float = torch.is_tensor(probabilities) and probabilities.is_floating_point()
    p = probabilities if is_float else as_tensor(np.asarray(probabilities, float))
    plain = p.detach().double().cpu().numpy()
    checks.series(probabilities=plain)
    checks.fraction(probabilities=plain)
    _require_sum(plain, "probabilities", _precision(probabilities))
    return p


def _array(probabilities):
    return _tensor(probabilities).detach().double().cpu().numpy()


def _precision(numbers):
    """eps of the precision in which they are given; that of float64 for whole ones."""
    if torch.is_tensor(numbers) and numbers.is_floating_point():
        return torch.finfo(numbers.dtype).eps
    dtype = np.asarray(numbers).dtype
    return np.finfo(dtype if dtype.kind == "f" else float).eps


def _require_sum(array, name, precision):
    off = np.abs(array.sum(axis=-1) - 1)
    if (off > precision**0.5).any():
        worst = array.sum(axis=-1).flat[off.argmax()]
        raise ValueError(f"{name} must sum to one, got a sum of {worst}")


def _temperature(temperature, p):
    """τ as a tensor in the precision of p, where it may not be 0."""
    _positive_number(temperature)
    temperature = torch.as_tensor(temperature, dtype=p.dtype, device=p.device)
    checks.positive(temperature=temperature.detach().cpu())
    return temperature


def _positive_number(temperature):
    checks.of_shape((), temperature=temperature)
    checks.positive(temperature=temperature)
    return float(temperature.detach() if torch.is_tensor(temperature) else temperature)


def _values(values, probabilities):
    p = _array(probabilities)
    checks.series(values=values)
    if len(values) != len(p):
        raise ValueError(
            f"values must be as many as probabilities, {len(p)}, got {len(values)}"
        )
    return np.asarray(values, dtype=float), p


def _baseline(baseline, p):
    checks.finite(baseline=baseline)
    if np.ndim(baseline):
        checks.of_shape(p.shape, baseline=baseline)
    return np.asarray(baseline, dtype=float)


def _one_hot(soft):
    return torch.nn.functional.one_hot(soft.argmax(1), soft.shape[1]).to(soft)


def _twice_gumbel(x, tau):
    """The distribution function and the density of g + τg′ at x, for τ ≤ 1.

    With g′ = −log u they are the means of e^{−w} and w e^{−w},  w = e^{−x} u^{−τ},
    over u ~ Exp(1); here u = e^v.
    """
    lowest = -_FAR - max(0.0, x.max() - _FAR)
    v = np.arange(lowest, 4.0, 1 / 8)
    weight = np.exp(v - np.exp(v)) / 8
    F, f = np.empty_like(x), np.empty_like(x)
    for column in range(x.shape[1]):  # a table at a time, lest k of them fill memory
        log_w = np.minimum(-x[:, column, None] - tau * v, 700.0)
        alive = np.exp(-np.exp(log_w)) * weight
        F[:, column], f[:, column] = alive.sum(1), (np.exp(log_w) * alive).sum(1)
    return F, f


def _coin_moments(slope, logit, temperature):
    """Means over L by quadrature in x = (ℓ+L)/τ, where y = σ(x) and dy = y(1−y) dx."""
    checks.of_shape((), logit=logit)
    checks.finite(logit=logit)
    tau, logit = _positive_number(temperature), float(logit)
    # outside of [0, ℓ/τ] the integrand falls like e^{−(1+τ)|x|}, in it, for τ < 1, like
    # e^{−(1−τ)|x|}
    other = _FAR / (1 + tau)
    reach = abs(logit) / tau + other
    side = reach if tau >= 1 else min(reach, _FAR / (1 - tau))
    low, high = (-other, side) if logit > 0 else (-side, other)
    width = min(1.0, 1 / tau)
    below = np.linspace(low, 0, int(np.ceil(-low / width)) + 1)
    above = np.linspace(0, high, int(np.ceil(high / width)) + 1)
    edges = np.concatenate([below, above[1:]])
    half = np.diff(edges)[:, None] / 2
    x = (edges[:-1, None] + half * (_NODES + 1)).ravel()
    weight = (half * _WEIGHTS).ravel() * _logistic_density(tau * x - logit)
    values = np.asarray(slope(expit(x)), dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("slope must be finite on [0, 1], got a value that is not")
    bump = _logistic_density(x)  # y(1−y)
    mean = float(np.sum(weight * values * bump))
    spread = values * bump / tau - mean
    inside = float(tau * np.sum(weight * spread**2))
    outside = 1 - tau * np.sum(weight)  # where y(1−y) is nothing
    return Moments(mean, inside + max(float(outside), 0.0) * mean**2)


def _logistic_density(x):
    e = np.exp(-np.abs(x))
    return e / (1 + e) ** 2
