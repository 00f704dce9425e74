"""What Stirling's formula leaves, against arithmetic with 300 digits."""

import mpmath
import numpy as np
import pytest

from solutions import stirling
from tests.diagnose import assert_close

# from very small to very large, and on both sides of where a series takes over
PLACES = np.concatenate([np.geomspace(1e-100, 1e100, 41), np.linspace(10, 50, 33)])


def remainder(x):
    """By the definition of log Γ."""
    return mpmath.loggamma(x) - (x - mpmath.mpf(1) / 2) * mpmath.log(x) + x - mpmath.log(2 * mpmath.pi) / 2


def slope_remainder(x):
    """By the definition of ψ."""
    return x * (mpmath.digamma(x) - mpmath.log(x)) + mpmath.mpf(1) / 2


@pytest.mark.parametrize("wanted", [remainder, slope_remainder], ids=lambda f: f.__name__)
def test_what_stirling_leaves_is_right_to_the_last_digits(wanted):
    """Of large arguments all that is left is 1/(12x) or so, of which a difference of log Γs would have no digit."""
    function = getattr(stirling, wanted.__name__)
    with mpmath.workdps(300):
        want = np.array([float(wanted(mpmath.mpf(x))) for x in PLACES.tolist()])
    assert_close(function(PLACES), want, rtol=1e-14, atol=2e-14, what=wanted.__name__)
    far = PLACES > 30
    assert_close(function(PLACES[far]), want[far], rtol=1e-13, what=f"{wanted.__name__} of large x")
    assert_close(
        function(7), want.dtype.type(function(np.array([7.0]))[0]), rtol=0, what=f"{wanted.__name__} of a number"
    )
