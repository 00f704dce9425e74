"""Samples from a law that can only be evaluated, and its slope: Langevin's walk."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from tqdm import tqdm

from solutions import checks
from solutions.mixtures import Target


class Chains(NamedTuple):
    """Where each chain is at last, a row each, and the part of its steps it took."""

    positions: Float[ndarray, "n d"]
    acceptance: Float[ndarray, "n"]


def sample(
    rng: np.random.Generator,
    target: Target,
    start: Real[ndarray, "n d"],
    step_size: float,
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
        target: x ↦ (log p(x), ∇log p(x)), up to a constant; see `mixtures.target`.
        start: where the chains begin, a row each.
        step_size: ε, positive; a step has the variance 2ε in each direction.
        steps: how many steps each chain makes.
        adjusted: whether steps can be refused.

    Reference: Roberts and Tweedie (1996), Exponential convergence of Langevin
    distributions and their discrete approximations.
    """
    checks.table(start=start)
    checks.positive(step_size=step_size)
    checks.counting_number(steps=steps)
    x = np.array(start, dtype=float, order="F")  # a coordinate after the other: fast
    log_p, slope = target(x)
    _check_target(x, log_p, slope)
    taken = np.zeros(len(x))
    for _ in tqdm(range(steps), desc="chains", disable=None, leave=False):
        noise = rng.standard_normal(x.T.shape).T
        move = step_size * slope + np.sqrt(2 * step_size) * noise
        log_p_there, slope_there = target(x + move)
        if adjusted:
            back = _log_way_back(move, slope, slope_there, step_size)
            go = -rng.standard_exponential(len(x)) < log_p_there - log_p + back
        else:
            go = np.ones(len(x), dtype=bool)
        x = np.where(go[:, None], x + move, x)
        slope = np.where(go[:, None], slope_there, slope)
        log_p = np.where(go, log_p_there, log_p)
        taken += go
    return Chains(x, taken / steps)


def _log_way_back(move, slope, slope_there, step_size) -> Float[ndarray, "n"]:
    """log q(x|y) − log q(y|x),  multiplied out, for the move  y − x."""
    return np.einsum(
        "nd,nd->n",
        slope + slope_there,
        0.25 * step_size * (slope - slope_there) - 0.5 * move,
    )


def _check_target(x, log_p, slope) -> None:
    checks.of_shape((len(x),), log_density=log_p)
    checks.of_shape(x.shape, score=slope)
    checks.finite(log_density_at_start=log_p, score_at_start=slope)
