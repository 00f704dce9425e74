"""Comparisons that explain: not only that two numbers differ, but what was probably done to one of them.

    assert_close(got, want, what="density(x, 3, 4)", mistakes={"was the variance taken for a std?": wrong_value})

fails with the worst point, what was got and wanted there, and a diagnosis: first among the `mistakes` the test
foresees (a sentence, and the value that mistake would give), then among those that happen everywhere: a constant
factor or term, a reversed sign, a square, a transpose. Statistical comparisons are in `tests.honest`.
"""

import re
import warnings
from unittest import mock

import jaxtyping
import numpy as np

_FACTORS = {
    "-1: is the sign reversed?": -1.0,
    "2: is a ½ missing?": 2.0,
    "½: is there a ½ too many?": 0.5,
    "4": 4.0,
    "¼": 0.25,
    "√2: a variance taken for a standard deviation, or a Jacobian forgotten?": np.sqrt(2),
    "1/√2: a variance taken for a standard deviation, or a Jacobian too many?": np.sqrt(0.5),
    "π": np.pi,
    "1/π": 1 / np.pi,
    "√π": np.sqrt(np.pi),
    "1/√π": 1 / np.sqrt(np.pi),
    "2π: is a normalising constant missing?": 2 * np.pi,
    "1/(2π): is a normalising constant there twice?": 0.5 / np.pi,
    "√(2π): is the normalising constant missing?": np.sqrt(2 * np.pi),
    "1/√(2π): is the normalising constant there twice?": np.sqrt(0.5 / np.pi),
    "1/log 10: log10 for the natural logarithm?": 1 / np.log(10),
    "1/log 2: log2 for the natural logarithm?": 1 / np.log(2),
    "log 2": np.log(2),
}
_TERMS = {"½ log 2π": 0.5 * np.log(2 * np.pi), "½ log 2": 0.5 * np.log(2), "½ log π": 0.5 * np.log(np.pi)}
_MAPS = {
    "the reciprocal of what was asked for": np.reciprocal,
    "the square of what was asked for: is a square root missing?": np.square,
    "the square root of what was asked for": np.sqrt,
    "the logarithm of what was asked for": np.log,
    "the exponential of what was asked for: is a log missing?": np.exp,
}


def assert_close(got, want, *, rtol=1e-9, atol=0.0, what="", mistakes=None):
    """`|got - want| <= atol + rtol |want|` at every point, and `got` has the shape of `want`; if not, say why.

    Args:
        got, want: numbers, arrays or tensors; infinities agree with themselves, NaN agrees with nothing.
        what: what was computed, in the words of the code: "density(x, mean=3)".
        mistakes: {sentence: the value that this mistake would give}.
    """
    __tracebackhide__ = True
    what = what or "the result"
    got, want = _array(got, what), np.asarray(want, dtype=float)
    if _same(got, want, rtol, atol):
        return
    lines = [_difference(got, want, rtol, atol, what)]
    foreseen = [sentence for sentence, value in (mistakes or {}).items() if _same(got, value, rtol, atol)]
    lines += [f"This is what one gets from a known mistake: {sentence}" for sentence in foreseen]
    if not foreseen:
        lines += _guesses(got, want, min(rtol, 1e-3), atol)
    raise AssertionError("\n".join(lines))


def assert_refused(function, *args, argument, value, **kwargs):
    """`function(*args, **kwargs)` raises a ValueError that names the argument and shows its value.

    The shape checks that the tests put around every function are off meanwhile: its own checks are what is tested.
    """
    __tracebackhide__ = True
    call = f"{function.__name__} with {argument}={value}"
    try:
        with mock.patch.object(jaxtyping.config, "jaxtyping_disable", True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function(*args, **kwargs)
    except ValueError as error:
        missing = [str(word) for word in (argument, value) if not _mentions(str(error), word)]
        if missing:
            raise AssertionError(f"{call} raised ValueError({error!s:.200}), which should mention {missing}") from None
    except NotImplementedError:
        raise
    except Exception as error:
        raise AssertionError(f"{call} should raise a ValueError that says so, raised {error!r:.200}") from None
    else:
        result = result.detach() if hasattr(result, "detach") else result
        several = isinstance(result, tuple)
        returned = f"{result!r:.200}" if several else np.array2string(np.asarray(result), threshold=6)
        raise AssertionError(f"{call} was accepted, and returned {returned}: bad input should raise a ValueError")


def _mentions(message, word):
    """Whether the message holds the word, or, for a number, that number however it is written."""
    message = re.sub("∞|infinity", "inf", message.replace("−", "-"), flags=re.I)
    message = re.sub(r"\bnan\b", "nan", message, flags=re.I)
    numbers = re.findall(r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\b(?:nan|inf)\b)", message)
    same = isinstance(word, float | int) and any(np.isclose(float(n), word, equal_nan=True) for n in numbers)
    return same or re.search(rf"(?<![\w.-]){re.escape(str(word))}(?![\w])", message) is not None


def _array(got, what):
    if hasattr(got, "detach"):
        got = got.detach().cpu().numpy()
    try:
        array = np.asarray(got)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise AssertionError(f"{what} should be made of real numbers, got {got!r:.200}")
    return array.astype(float)


def _same(a, b, rtol, atol):
    return np.shape(a) == np.shape(b) and bool(np.all(np.isclose(a, b, rtol=rtol, atol=atol)))


def _difference(got, want, rtol, atol, what):
    if got.shape != want.shape:
        return f"{what} has shape {got.shape}, should have shape {want.shape}{_shape_guess(got, want)}"
    wrong = ~np.isclose(got, want, rtol=rtol, atol=atol)
    with np.errstate(all="ignore"):
        error = np.where(wrong, np.abs(got - want) / (atol + rtol * np.abs(want)), 0.0)
    worst = np.unravel_index(np.argmax(np.nan_to_num(error, nan=np.inf, posinf=np.inf)), got.shape)
    where = f", worst at [{', '.join(map(str, worst))}]" if got.ndim else ""
    count = f" at {wrong.sum()} of {wrong.size} points{where}" if got.ndim else ""
    tolerance = f"rtol={rtol:g}" + (f", atol={atol:g}" if atol else "")
    lines = [f"{what} is wrong{count}: got {got[worst]:.12g}, want {want[worst]:.12g} ({tolerance})"]
    if broken := int((~np.isfinite(got) & np.isfinite(want)).sum()):
        lines.append(f"{broken} of {got.size} values are NaN or infinite where they should be finite")
    return "\n".join(lines)


def _shape_guess(got, want):
    if got.shape == want.shape[::-1]:
        return ": is it transposed?"
    if got.size == 1 < want.size:
        return ": summed or averaged over everything, where one number for each point was asked for?"
    if got.ndim > want.ndim and got.size == want.size:
        return ": the right number of values, with an axis too many"
    if got.size == want.size**2:
        return ": did (n, 1) meet (n,) and broadcast to (n, n)?"
    return ""


def _guesses(got, want, rtol, atol):
    """Sentences about what was probably done to `want`, likeliest first; at most one."""
    if got.shape != want.shape or got.size == 0 or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return []
    with np.errstate(all="ignore"):
        guesses = [_factor(got, want, rtol, atol), _term(got, want, rtol, atol)]
        several = len(np.unique(want)) > 1  # at one point, log 1 = 0 says nothing
        guesses += [f"It is {name}" for name, f in _MAPS.items() if several and _same(got, f(want), rtol, atol)]
    if got.ndim == 2 and _same(got, want.T, rtol, atol):
        guesses.append("It is transposed")
    if got.ndim and _same(np.sort(got, axis=None), np.sort(want, axis=None), rtol, atol):
        guesses.append("These are the right numbers in another order")
    return [guess for guess in guesses if guess][:1]


def _factor(got, want, rtol, atol):
    """The factor between `got` and `want`, if it is a known one, or the same at different values."""
    factors = dict(_FACTORS)
    if want.ndim and (n := len(want)) > 2:
        factors |= {f"n = {n}: a sum for a mean?": n, f"1/n = 1/{n}: a mean for a sum?": 1 / n}
        factors |= {f"{a}/{b}: n for n − 1, or the reverse?": a / b for a, b in [(n, n - 1), (n - 1, n)]}
    for name, factor in factors.items():
        if np.any(want != 0) and _same(got, factor * want, rtol, atol):
            return f"Off by a factor of {name.replace(':', ' everywhere:') if ':' in name else name + ' everywhere'}"
    if not got.any():
        return "It is 0 everywhere" if got.size > 1 else ""
    factor = got.flat[0] / want.flat[0]
    several = len(np.unique(want)) > 1 and np.all(want != 0)
    return (
        f"Off by the same factor everywhere, {factor:.6g}" if several and _same(got, factor * want, rtol, atol) else ""
    )


def _term(got, want, rtol, atol):
    """The constant between `got` and `want`, as a multiple of a known one if it is a small one."""
    shift = got.flat[0] - want.flat[0]
    if not _same(got, want + shift, rtol, atol):
        return ""
    for name, term in _TERMS.items():
        times = round(shift / term)
        if 0 < abs(times) <= 2000 and _same(got, want + times * term, rtol, atol):
            multiple = name if abs(times) == 1 else f"{abs(times)} × {name}"
            way = "large" if times > 0 else "small"
            return f"Too {way} by {multiple} everywhere: is a constant dropped, or there twice?"
    return f"Off by the same term everywhere, {shift:.6g}" if len(np.unique(want)) > 1 else ""
