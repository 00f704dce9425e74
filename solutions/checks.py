"""What the functions of the course ask of their arguments, and how they say no.

Each check takes arguments by name, so that its message can name them:
`positive(variance=-1.0)` raises `ValueError: variance must be positive and finite, got
-1.0`. Of an array it shows the first entry that will not do.
"""

from numbers import Integral, Real

import jaxtyping
import numpy as np
from numpy import ndarray

Number = Real
# A number, or an array; the arrays of one call broadcast against one another.
Numbers = Number | jaxtyping.Real[ndarray, "*#shape"]


def not_nan(**arguments) -> None:
    """Refuse NaN; ±∞ passes."""
    _entries(lambda value: ~np.isnan(value), "a number", arguments)


def finite(**arguments) -> None:
    """Refuse NaN and ±∞."""
    _entries(np.isfinite, "finite", arguments)


def positive(**arguments) -> None:
    """Refuse whatever is not in (0, ∞)."""
    _entries(
        lambda value: (value > 0) & np.isfinite(value), "positive and finite", arguments
    )


def fraction(**arguments) -> None:
    """Refuse whatever is not in [0, 1]."""
    _entries(lambda value: (value >= 0) & (value <= 1), "between 0 and 1", arguments)


def proper_fraction(**arguments) -> None:
    """Refuse whatever is not in (0, 1)."""
    _entries(
        lambda value: (value > 0) & (value < 1), "strictly between 0 and 1", arguments
    )


def counting_number(**arguments) -> None:
    """Refuse whatever is not one of 1, 2, 3, ..."""
    for name, value in arguments.items():
        _require(
            isinstance(value, Integral) and value is not True and value >= 1,
            name,
            "a positive integer",
            value,
        )


def rows(**arguments) -> None:
    """Refuse arrays that are not of shape (n, d), and NaN in them."""
    for name, value in arguments.items():
        _require(np.ndim(value) == 2, name, "of shape (n, d)", _shape(value))
    not_nan(**arguments)


def series(**arguments) -> None:
    """Refuse arrays that are not of shape (n,) with n ≥ 1, NaN and ±∞ in them."""
    for name, value in arguments.items():
        shape = _shape(value)
        got = "none" if 0 in shape else f"shape {shape}"
        _require(
            len(shape) == 1 and shape[0] > 0,
            name,
            "numbers in a row, at least one",
            got,
        )
    finite(**arguments)


def table(**arguments) -> None:
    """Refuse arrays that are not of shape (n, d) with n ≥ 1, NaN and ±∞ in them."""
    rows(**arguments)
    for name, value in arguments.items():
        shape = _shape(value)
        _require(min(shape) > 0, name, "at least one row and one column", shape)
    finite(**arguments)


def positive_definite(dimension: int, **arguments) -> None:
    """Refuse what is not a symmetric positive definite matrix of d rows."""
    for name, value in arguments.items():
        of_shape((dimension, dimension), **{name: value})
        value = _plain(value)
        holds = value.size > 0 and (
            np.abs(value - value.T).max() <= 1e-6 * np.abs(value).max()
            and np.linalg.eigvalsh(value).min() > 0
        )
        _require(holds, name, "symmetric and positive definite", value.tolist())


def zeros_and_ones(**arguments) -> None:
    """Refuse whatever is neither 0 nor 1."""
    _entries(lambda value: (value == 0) | (value == 1), "0 or 1", arguments)


def at_most(limit, **arguments) -> None:
    """Refuse what is larger than the limit."""
    for name, value in arguments.items():
        _require(value <= limit, name, f"at most {limit}", value)


def of_shape(shape, **arguments) -> None:
    """Refuse arrays of another shape."""
    for name, value in arguments.items():
        _require(
            _shape(value) == tuple(shape),
            name,
            f"of shape {tuple(shape)}",
            _shape(value),
        )


def same_shape(**arguments) -> None:
    """Refuse arrays whose shapes differ."""
    shapes = [_shape(value) for value in arguments.values()]
    _require(
        len(set(shapes)) == 1,
        " and ".join(arguments),
        "of the same shape",
        " and ".join(map(str, shapes)),
    )


def same_columns(**two) -> None:
    """Refuse the first of two arrays (n, d) if it is not as wide as the second."""
    (name, value), (other, model) = two.items()
    width, got = _shape(model)[1], _shape(value)[1]
    if width != got:
        raise ValueError(
            f"{name} must have as many columns as {other}, {width}, got {got}"
        )


def one_of(options, **arguments) -> None:
    """Refuse whatever is not among the options."""
    for name, value in arguments.items():
        _require(
            value in options,
            name,
            "one of " + ", ".join(map(repr, options)),
            repr(value),
        )


def _entries(holds, allowed, arguments) -> None:
    for name, value in arguments.items():
        value = _plain(value)
        right = holds(value)
        if not right.all():
            _require(False, name, allowed, value[~right][0])


def _shape(value) -> tuple[int, ...]:
    """The shape as a plain tuple, of a tensor too."""
    return tuple(np.shape(value))


def _plain(value) -> ndarray:
    """The numbers alone, of a tensor too."""
    detached = value.detach().cpu() if hasattr(value, "detach") else value
    numbers = np.asarray(detached)
    return numbers if numbers.dtype.kind == "f" else numbers.astype(float)


def _require(holds, name, allowed, value) -> None:
    if not holds:
        raise ValueError(f"{name} must be {allowed}, got {value}")
