"""What Stirling's formula leaves of log Γ and of its slope, right to the last digits.

Differences of log Γ at large arguments lose all of theirs; differences of these do not.
"""

import numpy as np
from scipy.special import digamma, gammaln

from solutions.checks import Numbers

_LARGE = 30.0  # from here on, the asymptotic series are exact to rounding


def remainder(x: Numbers) -> Numbers:
    """Return  log Γ(x) − (x − ½) log x + x − ½ log 2π,  which is about 1/(12x).

    Args:
        x: positive.
    """
    few, inverse, square = _split(x)
    series = 1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))
    direct = gammaln(few) - (few - 0.5) * np.log(few) + few - np.log(2 * np.pi) / 2
    return np.where(few < _LARGE, direct, series * inverse)[()]


def slope_remainder(x: Numbers) -> Numbers:
    """Return  x (ψ(x) − log x) + ½,  which is about −1/(12x).

    Args:
        x: positive.
    """
    few, inverse, square = _split(x)
    series = -1 / 12 + square * (1 / 120 - square * (1 / 252 - square / 240))
    direct = few * (digamma(few) - np.log(few)) + 0.5
    return np.where(few < _LARGE, direct, series * inverse)[()]


def _split(x):
    """The smaller arguments, and 1/x and 1/x² of the larger ones; each cut off."""
    x = np.asarray(x, dtype=float)
    inverse = 1 / np.maximum(x, _LARGE)
    return np.minimum(x, _LARGE), inverse, inverse**2
