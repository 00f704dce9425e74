"""A Monte Carlo result never travels without its standard error."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Real
from numpy import ndarray

from solutions import checks


class Estimate(NamedTuple):
    """A number and its standard error, or arrays of both; printed as `0.1234 ± 0.0056`.

    The standard error is shown to two significant digits and the value to the same
    decimal place.
    """

    value: float | ndarray
    standard_error: float | ndarray

    def __repr__(self) -> str:
        shown = np.vectorize(_show, otypes=[object])(self.value, self.standard_error)
        return (
            np.array2string(shown, separator=", ", formatter={"object": str})
            if shown.ndim
            else shown.item()
        )


def mean_of(samples: Real[ndarray, "n *rest"] | Bool[ndarray, "n *rest"]) -> Estimate:
    """Return  x̄ = Σᵢ xᵢ / n  and its standard error  √(Σᵢ (xᵢ − x̄)² / (n (n−1))).

    The variance of x̄ is σ²/n, and dividing by n−1 makes the estimate of σ² unbiased.

    Args:
        samples: at least two independent draws, along the first axis; what is shaped
            alike is averaged apart.

    Reference: Owen (2013), Monte Carlo theory, methods and examples, section 2.1.
    """
    checks.finite(samples=samples)
    if np.ndim(samples) == 0 or len(samples) < 2:
        got = f"got shape {np.shape(samples)}"
        raise ValueError(f"samples must be at least two, along the first axis, {got}")
    samples = np.asarray(samples, dtype=float)
    return Estimate(
        samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    )


def effective_sample_size(log_weights: Float[ndarray, "n"]) -> float:
    """Return  (Σᵢ wᵢ)² / Σᵢ wᵢ²,  the number of equally weighted draws that would be
    worth as much.

    It is n when all weights are equal and 1 when one of them has everything. The
    weights are given by their logs, and the largest is set to 1 first: a factor common
    to all cancels.

    Args:
        log_weights: log wᵢ; −∞ is a weight of 0, which not all of them may have.

    Reference: Kong, Liu and Wong (1994), Sequential imputations and Bayesian missing
    data problems.
    """
    checks.not_nan(log_weights=log_weights)
    largest = np.max(log_weights, initial=-np.inf)
    if not np.isfinite(largest):
        raise ValueError(
            f"log_weights must be below ∞ and not all −∞, got a largest of {largest}"
        )
    weights = np.exp(log_weights - largest)
    return float(weights.sum() ** 2 / np.square(weights).sum())


def _show(value: float, error: float) -> str:
    """Return  `value ± error`,  plain where that is short and in scientific notation
    where it is not.
    """
    if not np.isfinite(value) or not np.isfinite(error):
        return f"{value:.6g} ± {error:.2g}"
    if error == 0:
        return f"{value:z.10g} ± 0"
    last = _exponent(error) - 1  # the power of ten of the last digit shown
    if -4 <= max(_exponent(value), _exponent(error)) < 6 and last >= -9:
        shown = (
            np.round(number, -last) if last > 0 else number for number in (value, error)
        )
        return " ± ".join(f"{number:z.{max(-last, 0)}f}" for number in shown)
    # negative where the value is less than the last digit of its error
    digits = _exponent(value) - last
    return f"{value if digits >= 0 else 0.0:z.{min(max(digits, 0), 16)}e} ± {error:.1e}"


def _exponent(number: float) -> int:
    """Return the power of ten of a number rounded to two significant digits, −∞ being
    out of an int's reach for 0.
    """
    return int(f"{number:.1e}".split("e")[1]) if number else -400
