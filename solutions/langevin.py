"""Draw from a law that can only be evaluated, with its slope: Langevin's walk.

A target is a function  x ↦ (log p(x), ∇log p(x))  of rows (n, d), where a constant may
be missing from log p; `mixtures.target` makes one.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.special import betainc
from tqdm import tqdm

from solutions import checks
from solutions.checks import Number, Numbers
from solutions.mixtures import Target, responsibilities

FAR = 1e150  # the square of a number beyond it is none: a walk that gets there is lost


class Chains(NamedTuple):
    """Where each chain is at last, a row each, and the part of its steps it took."""

    positions: Float[ndarray, "n d"]
    acceptance: Float[ndarray, "n"]


class Relaxation(NamedTuple):
    """The slowest modes of a diffusion: their rates, and a column of values each."""

    rates: Float[ndarray, "modes"]
    points: Float[ndarray, "m"]
    modes: Float[ndarray, "m modes"]


def sample(
    rng: np.random.Generator,
    target: Target,
    start: Real[ndarray, "n d"],
    step_size: Number,
    steps: int,
    adjusted: bool = True,
) -> Chains:
    """Return where n chains are after so many steps of the Langevin algorithm.

    Each step proposes  y = x + ε ∇log p(x) + √(2ε) z,  z ~ N(0, I).  Adjusted (MALA), a
    chain moves there with the probability  min(1, p(y) q(x|y) / (p(x) q(y|x))),  where
    q(y|x) = N(y; x + ε ∇log p(x), 2εI),  and stays where it is otherwise; each decides
    for itself. Unadjusted (ULA), all of them always move.

    Args:
        rng: the source of randomness.
        target: x ↦ (log p(x), ∇log p(x)), up to a constant; −∞ where p is 0.
        start: where the chains begin, a row each; p must be positive there.
        step_size: ε, positive; a step has the variance 2ε in each direction.
        steps: how many steps each chain makes.
        adjusted: whether steps can be refused. Where they cannot, a large ε can make
            the walk run away, which raises an OverflowError.

    Reference: Roberts and Tweedie (1996), Exponential convergence of Langevin
    distributions and their discrete approximations.
    """
    walk = _walk(rng, target, start, step_size, steps, adjusted)
    x, taken = deque(walk, maxlen=1).pop()
    return Chains(x, taken / steps)


def trace(
    rng: np.random.Generator,
    target: Target,
    start: Real[ndarray, "n d"],
    step_size: Number,
    steps: int,
    adjusted: bool = True,
    every: int = 1,
) -> Float[ndarray, "kept n d"]:
    """Return where the chains of `sample` are after every so many steps, the start not
    included. A chain that refuses is where it was, and that counts again.

    Args:
        rng, target, start, step_size, steps, adjusted: as for `sample`.
        every: keep the steps whose number it divides, ⌊steps / every⌋ of them.
    """
    checks.counting_number(steps=steps, every=every)
    checks.at_most(steps, every=every)
    walk = _walk(rng, target, start, step_size, steps, adjusted)
    return np.array([x for step, (x, _) in enumerate(walk, 1) if step % every == 0])


def log_acceptance_ratio(
    target: Target, x: Real[ndarray, "n d"], y: Real[ndarray, "n d"], step_size: Number
) -> Float[ndarray, "n"]:
    """Return  log p(y) q(x|y) − log p(x) q(y|x),  with the q of `sample`.

    Multiplied out, with s = ∇log p, it is
    log p(y) − log p(x) − ½(y−x)·(s(x)+s(y)) + ¼ε(|s(x)|² − |s(y)|²).
    A move is accepted with the probability e to this power, or 1 where that is more.

    Args:
        target: x ↦ (log p(x), ∇log p(x)), up to a constant.
        x: where the chains are, a row each; p must be positive there.
        y: where they may go; the ratio is −∞ where p is 0.
        step_size: ε, positive.
    """
    checks.table(x=x, y=y)
    checks.same_shape(x=x, y=y)
    checks.of_shape((), step_size=step_size)
    checks.positive(step_size=step_size)
    x, y = np.array(x, dtype=float), np.array(y, dtype=float)
    log_p, slope = _evaluate_at_start(target, x, "x")
    log_p_there, slope_there = target(y)
    _refuse_what_is_no_density(log_p_there)
    with np.errstate(invalid="ignore"):  # where p is 0, its slope may be anything
        ratio = (
            log_p_there - log_p + _log_way_back(y - x, slope, slope_there, step_size)
        )
    ratio = np.where(log_p_there == -np.inf, -np.inf, ratio)
    checks.not_nan(score=ratio)
    return ratio


def ula_variance(step_size: Numbers) -> Numbers:
    """Return  1 / (1 − ε/2),  the variance at which the unadjusted chain on N(0, 1)
    settles; in more dimensions, that of every coordinate on N(0, I).

    Args:
        step_size: ε, between 0 and 2, where the walk runs away.
    """
    checks.positive(step_size=step_size)
    if np.max(step_size) >= 2:
        largest = np.max(step_size)
        raise ValueError(
            f"step_size must be below 2, or nothing settles, got {largest}"
        )
    return 1 / (1 - np.divide(step_size, 2))


def gaussian_acceptance(step_size: Numbers, dimension: int) -> Numbers:
    """Return  2 I_u(D/2, D/2)  with  u = ½ (1 − √(ε³ / (8 + ε³))),  the mean acceptance
    probability of MALA on N(0, I) in D dimensions, once its chains have settled.

    I is the regularised incomplete beta function. In two dimensions it is 2u.

    Args:
        step_size: ε, positive.
        dimension: D, the number of coordinates.
    """
    checks.positive(step_size=step_size)
    checks.counting_number(dimension=dimension)
    u = 0.5 * (1 - 1 / np.sqrt(1 + 8 * np.power(step_size, -3.0)))
    return 2 * betainc(dimension / 2, dimension / 2, u)


def relaxation(means: Real[ndarray, "k 1"], count: int = 4) -> Relaxation:
    """Return the smallest κ, and their f, of  −f″ − (log p)′ f′ = κf,  on a line.

    p is the mixture of `mixtures`. Along its Langevin diffusion, E f decays as e^{−κt}.
    With g = f √p the equation is  −g″ + Vg = κg,  V = ¼s² + ½s′,  s = (log p)′,  and
    its matrix on a grid symmetric (sinc interpolation, converging exponentially). The
    first mode is the constant 1, with rate 0; all have E f² = 1, and are positive at
    the right end.

    Args:
        means: the centre of each component, at most 12 from one end to the other (at
            20 the rate would be lost in the rounding errors).
        count: how many modes, the constant included, at most 10.

    Reference: Pavliotis (2014), Stochastic Processes and Applications, section 4.9.
    """
    checks.table(means=means)
    checks.of_shape((len(means), 1), means=means)
    checks.counting_number(count=count)
    checks.at_most(10, count=count)
    checks.at_most(12, **{"spread of the means": np.ptp(np.asarray(means, float))})
    rates, points, g = spectrum(means)
    modes = g[:, :count] / g[:, :1]  # √p is the mode of rate 0
    modes *= np.sign(modes[-1])
    return Relaxation(rates[:count], points, modes)


def spectrum(
    means: Real[ndarray, "k 1"], spacing: Number = 0.1
) -> tuple[Float[ndarray, "m"], Float[ndarray, "m"], Float[ndarray, "m m"]]:
    """Return all κ, the points of a grid, and columns g with  −g″ + Vg = κg  on it.

    V is that of `relaxation`, which says more. The columns are orthonormal. What a sum
    over all of them gives is exact to many digits, though the fast modes are not.

    Args:
        means: the centre of each component.
        spacing: of the grid, which reaches 9 beyond the outermost means.
    """
    checks.table(means=means)
    checks.of_shape((len(means), 1), means=means)
    checks.positive(spacing=spacing)
    centres = np.array(means, dtype=float)[:, 0]
    points = np.arange(centres.min() - 9, centres.max() + 9 + spacing / 2, spacing)
    weights = responsibilities(points[:, None], centres[:, None])
    slope = weights @ centres - points
    bend = weights @ centres**2 - (weights @ centres) ** 2 - 1
    matrix = _minus_second_derivative(len(points), spacing)
    matrix += np.diag(slope**2 / 4 + bend / 2)
    rates, g = np.linalg.eigh(matrix)
    return rates, points, g


def split_r_hat(x: Real[ndarray, "draws chains"]) -> float:
    """Return  √( ((n−1)/n W + B/n) / W ),  each chain cut into halves of n draws.

    W is the mean of the variances within the halves, and B/n the variance of their
    means. It is never below √((n−1)/n), and near 1 if all halves look like draws from
    one law, which need not be the right one.

    Args:
        x: one number a draw, a column for each chain; at least four draws. The middle
            one of an odd number is left out.

    Reference: Gelman et al. (2013), Bayesian Data Analysis, section 11.4.
    """
    within, total, _ = _variances(x)
    return float(np.sqrt(total / within))


def chain_effective_sample_size(x: Real[ndarray, "draws chains"]) -> float:
    """Return  N / τ,  τ = −1 + 2 Σₜ Pₜ:  how many independent draws are worth as much.

    Pₜ = ρ₂ₜ + ρ₂ₜ₊₁ are sums of two autocorrelations, up to the first negative one and
    none larger than those before it (Geyer's initial monotone sequence). They come from
    all halves of chains together:  ρₜ = 1 − (W − cₜ) / ((n−1)/n W + B/n),  with W and B
    as in `split_r_hat` and cₜ the mean autocovariance within the halves, c₀ = W. No
    more than  N log₁₀ N  is claimed, and N is the number of draws in all halves.

    Args:
        x: one number a draw, a column for each chain; at least four draws. The middle
            one of an odd number is left out.

    Reference: Vehtari et al. (2021), Rank-normalization, folding, and localization: an
    improved R-hat, section 3.2.
    """
    within, total, halves = _variances(x)
    n = len(halves)
    spectrum = np.fft.rfft(halves - halves.mean(axis=0), 2 * n, axis=0)
    autocovariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:n].mean(axis=1)
    rho = 1 - (within - autocovariance / (n - 1)) / total
    pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs < 0)
    pairs = np.minimum.accumulate(pairs[: negative[0] if negative.size else None])
    tau = 2 * pairs.sum() - 1
    return halves.size / max(tau, 1 / np.log10(halves.size))


def _walk(
    rng, target, start, step_size, steps, adjusted
) -> Iterator[tuple[Float[ndarray, "n d"], ndarray]]:
    """Yield, after each step, where the chains are, and how often each has moved."""
    checks.table(start=start)
    checks.of_shape((), step_size=step_size)
    checks.positive(step_size=step_size)
    checks.counting_number(steps=steps)
    x = np.array(start, dtype=float, order="F")  # a coordinate after the other: fast
    taken = np.zeros(len(x))
    log_p, slope = _evaluate_at_start(target, x, "start")
    for step in tqdm(range(1, steps + 1), desc="chains", disable=None, leave=False):
        noise = rng.standard_normal(x.T.shape).T
        move = step_size * slope + np.sqrt(2 * step_size) * noise
        if not np.abs(x + move).max() < FAR:
            message = "leads beyond 1e150, where numbers end; take a smaller one"
            raise OverflowError(f"step_size = {step_size}: step {step} {message}")
        log_p_there, slope_there = target(x + move)
        if adjusted:
            _refuse_what_is_no_density(log_p_there)
            with np.errstate(invalid="ignore"):  # a slope where p is 0 decides nothing
                back = _log_way_back(move, slope, slope_there, step_size)
                log_ratio = log_p_there - log_p + back
            go = -rng.standard_exponential(len(x)) < log_ratio
            if np.isnan(log_ratio.sum()):
                checks.not_nan(score=log_ratio[log_p_there > -np.inf])
        else:
            go = np.ones(len(x), dtype=bool)
        x = np.where(go[:, None], x + move, x)
        slope = np.where(go[:, None], slope_there, slope)
        log_p = np.where(go, log_p_there, log_p)
        taken = taken + go
        if not np.isfinite(slope.sum()):
            checks.finite(score=slope)
        yield x, taken


def _log_way_back(move, slope, slope_there, step_size) -> Float[ndarray, "n"]:
    """log q(x|y) − log q(y|x),  multiplied out, for the move  y − x."""
    return np.einsum(
        "nd,nd->n",
        slope + slope_there,
        0.25 * step_size * (slope - slope_there) - 0.5 * move,
    )


def _evaluate_at_start(target, x, name) -> tuple[ndarray, ndarray]:
    """The target where chains begin, as copies: the next call may overwrite its own."""
    log_p, slope = (np.array(value, dtype=float) for value in target(x))
    checks.of_shape((len(x),), **{f"log density at {name}": log_p})
    checks.of_shape(x.shape, **{f"score at {name}": slope})
    checks.finite(**{f"log density at {name}": log_p, f"score at {name}": slope})
    return log_p, slope


def _refuse_what_is_no_density(log_p) -> None:
    if not np.max(log_p) < np.inf:  # so is NaN
        wrong = log_p[~(log_p < np.inf)][0]
        raise ValueError(f"log density must be a number or −∞ everywhere, got {wrong}")


def _minus_second_derivative(n: int, spacing: float) -> Float[ndarray, "n n"]:
    """−d²/dx² of what is interpolated by sincs between n points; exact for those."""
    apart = np.subtract.outer(np.arange(n), np.arange(n))
    signs = np.where(apart % 2, -2.0, 2.0)
    entries = signs / np.where(apart == 0, 1, apart) ** 2
    np.fill_diagonal(entries, np.pi**2 / 3)
    return entries / spacing**2


def _variances(x) -> tuple[float, float, Float[ndarray, "n m"]]:
    """W,  (n−1)/n W + B/n,  and the m half chains of n draws they are of."""
    checks.table(x=x)
    if len(x) < 4:
        raise ValueError(f"x must have at least four rows, draws, got {len(x)}")
    x = np.asarray(x, dtype=float)
    n = len(x) // 2
    halves = np.concatenate([x[:n], x[-n:]], axis=1)
    if np.ptp(halves, axis=0).max() == 0:
        raise ValueError("x must vary within a chain, got chains that stand still")
    within = halves.var(axis=0, ddof=1).mean()
    return within, (n - 1) / n * within + halves.mean(axis=0).var(ddof=1), halves
