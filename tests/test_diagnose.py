"""The comparisons that explain: what they accept, what they reject, and what they say then."""

import numpy as np
import pytest

from tests.diagnose import assert_close, assert_refused

pytestmark = pytest.mark.machinery
WANT = np.array([0.3, 1.7, 2.9, 11.0])


def complaint(*args, **kwargs):
    with pytest.raises(AssertionError) as caught:
        assert_close(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("got", [WANT, WANT * (1 + 9e-10), list(WANT)])
def test_accepts_what_is_within_the_tolerance(got):
    assert_close(got, WANT)


def test_accepts_equal_infinities_and_tensors():
    torch = pytest.importorskip("torch")
    assert_close([-np.inf, 1.0], [-np.inf, 1.0])
    assert_close(torch.tensor([1.0, 2.0], requires_grad=True), [1.0, 2.0])


def test_rejects_just_outside_the_tolerance():
    complaint(WANT * (1 + 1.1e-9), WANT)
    complaint(WANT + 1.1e-3, WANT, rtol=0, atol=1e-3)
    assert_close(WANT + 0.9e-3, WANT, rtol=0, atol=1e-3)


class EqualsEverything:
    def __eq__(self, other):
        return True

    __hash__ = None


@pytest.mark.parametrize("got", [None, "0.3", 1j, EqualsEverything(), [[1], [1, 2]]])
def test_rejects_what_is_not_a_number(got):
    """Not even an object that claims to equal everything."""
    assert "f(x) should be made of real numbers, got" in complaint(got, 0.3, what="f(x)")


def test_names_the_worst_point():
    got = WANT + np.array([0, 0, 5, 0.1])
    assert "density(x) is wrong at 2 of 4 points, worst at [2]: got 7.9, want 2.9" in complaint(
        got, WANT, what="density(x)"
    )


def test_counts_what_is_not_finite():
    message = complaint([np.nan, 1.7, np.inf, 11.0], WANT)
    assert "2 of 4 values are NaN or infinite" in message


def test_nan_agrees_with_nothing():
    complaint(np.nan, np.nan)


@pytest.mark.parametrize(
    ("got", "guess"),
    [
        (-WANT, "factor of -1 everywhere: is the sign reversed"),
        (2 * WANT, "factor of 2 everywhere: is a ½ missing"),
        (WANT * np.sqrt(2), "factor of √2 everywhere: a variance"),
        (WANT / np.sqrt(2 * np.pi), "factor of 1/√(2π) everywhere"),
        (WANT / np.log(10), "log10 for the natural logarithm"),
        (4 * WANT, "factor of 4 everywhere"),
        (WANT * 4 / 3, "n for n − 1"),
        (1.234 * WANT, "the same factor everywhere, 1.234"),
        (0.0 * WANT, "It is 0 everywhere"),
        (WANT + 0.5 * np.log(2 * np.pi), "Too large by ½ log 2π everywhere: is a constant dropped"),
        (WANT - 3.5 * np.log(2 * np.pi), "Too small by 7 × ½ log 2π"),
        (WANT + 0.123, "the same term everywhere, 0.123"),
        (1 / WANT, "the reciprocal"),
        (WANT**2, "the square of what"),
        (np.sqrt(WANT), "the square root"),
        (np.log(WANT), "the logarithm"),
        (np.exp(WANT), "the exponential"),
        (WANT[::-1], "another order"),
        (WANT[:, None], "an axis too many"),
        (WANT.sum(), "summed or averaged"),
        (np.subtract.outer(WANT, WANT), "broadcast to (n, n)"),
    ],
)
def test_recognises_what_was_done(got, guess):
    assert guess in complaint(got, WANT)


def test_recognises_a_transpose():
    square, oblong = np.arange(4.0).reshape(2, 2), np.arange(6.0).reshape(2, 3)
    assert "It is transposed" in complaint(square.T, square)
    assert "is it transposed?" in complaint(oblong.T, oblong)


@pytest.mark.parametrize("got", [WANT + np.array([0.1, 0.2, -0.1, 0.05]), [5.0, 1.7, 2.9, 11.0]])
def test_does_not_guess_without_reason(got):
    message = complaint(got, WANT)
    assert len(message.splitlines()) == 1


def test_one_number_gives_no_unknown_factor_or_term():
    """Any two numbers differ by some factor: only a known one means something."""
    assert len(complaint(1.234, 1.0).splitlines()) == 1
    assert "factor of 2" in complaint(2.2, 1.1)


def test_a_foreseen_mistake_comes_before_the_guesses():
    message = complaint(2 * WANT, WANT, mistakes={"did you add it twice?": 2 * WANT, "or three times?": 3 * WANT})
    assert "known mistake: did you add it twice?" in message
    assert "three times" not in message
    assert "factor" not in message


def test_a_foreseen_mistake_may_have_another_shape():
    message = complaint(WANT.sum(), WANT, mistakes={"summed over the rows": WANT.sum()})
    assert "summed over the rows" in message


def refusing(error):
    def f(x):
        raise error

    return f


@pytest.mark.parametrize("text", ["x must be positive, got -1.0", "the argument x is -1", "-1.00 is no x"])
def test_a_refusal_names_the_argument_and_the_value(text):
    assert_refused(refusing(ValueError(text)), -1.0, argument="x", value=-1.0)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (np.sqrt, "was accepted, and returned nan"),  # with a warning, which is no refusal
        (refusing(ValueError("max is wrong, got -1.0")), "should mention ['x']"),
        (refusing(ValueError("x is wrong, got 1.0")), "should mention ['-1.0']"),
        (refusing(TypeError("x: -1.0")), "should raise a ValueError that says so, raised TypeError"),
    ],
)
def test_a_poor_refusal_is_explained(function, why):
    with pytest.raises(AssertionError) as caught:
        assert_refused(function, -1.0, argument="x", value=-1.0)
    assert why in str(caught.value)


def test_an_unwritten_function_is_no_refusal():
    with pytest.raises(NotImplementedError):
        assert_refused(refusing(NotImplementedError()), -1.0, argument="x", value=-1.0)


def test_a_refusal_shows_shapes_and_nan():
    assert_refused(refusing(ValueError("x must be (n, d), got (3,)")), [1, 2, 3], argument="x", value=(3,))
    assert_refused(refusing(ValueError("x must be a number, got nan")), np.nan, argument="x", value=np.nan)
