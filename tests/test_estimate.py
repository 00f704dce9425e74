"""An estimate is right, its standard error is right, and both survive being printed."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats

from solutions import estimate
from tests import honest

numbers = st.floats(-1e6, 1e6, allow_subnormal=False)
_PRINTED = re.compile(r"([-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?) ± (\d+(?:\.\d+)?(?:e[-+]\d+)?)")


@pytest.mark.parametrize(
    ("value", "error", "printed"),
    [
        (0.12341, 0.0056, "0.1234 ± 0.0056"),
        (-12.3, 0.1, "-12.30 ± 0.10"),
        (1.0, 0.0996, "1.00 ± 0.10"),
        (-1e-9, 0.1, "0.00 ± 0.10"),
        (3.0, 12.3, "3 ± 12"),
        (123456.0, 1234.0, "123500 ± 1200"),
        (2.524e-6, 2.9e-7, "2.52e-06 ± 2.9e-07"),
        (-1234567.0, 890.0, "-1.23457e+06 ± 8.9e+02"),
        (3e-9, 2.94e-6, "0e+00 ± 2.9e-06"),
        (0.0, 2.94e-6, "0e+00 ± 2.9e-06"),
        (1.0, 1.23e-12, "1.0000000000000e+00 ± 1.2e-12"),
        (0.25, 0.0, "0.25 ± 0"),
        (1 / 3, 0.0, "0.3333333333 ± 0"),
        (0.0, 0.0, "0 ± 0"),
        (math.nan, 0.1, "nan ± 0.1"),
        (1.5, math.nan, "1.5 ± nan"),
        (-math.inf, math.inf, "-inf ± inf"),
    ],
)
def test_an_estimate_prints_its_error_to_two_digits_and_itself_to_the_same_place(value, error, printed):
    assert repr(estimate.Estimate(value, error)) == printed
    assert str(estimate.Estimate(np.float64(value), np.float64(error))) == printed


def test_arrays_of_estimates_print_entry_by_entry():
    assert repr(estimate.Estimate(np.array([0.5, 2.0]), np.array([0.01, 0.1]))) == "[0.500 ± 0.010, 2.00 ± 0.10]"
    assert repr(estimate.Estimate(np.ones((2, 1)), 0.1)) == "[[1.00 ± 0.10],\n [1.00 ± 0.10]]"


@given(st.floats(-1e300, 1e300), st.floats(1e-300, 1e300))
def test_what_is_printed_reads_back_within_half_a_digit(value, error):
    match = _PRINTED.fullmatch(repr(estimate.Estimate(value, error)))
    assert match
    read, read_error = map(float, match.groups())
    assert abs(read_error - error) <= 0.051 * error  # two significant digits
    assert abs(read - value) <= 0.051 * error + 1e-15 * abs(value)  # the same place, or all that a float has


@given(arrays(float, array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=5), elements=numbers))
def test_mean_and_standard_error_match_scipy(x):
    """Against `scipy.stats.sem`, along the first axis, for arrays of any shape."""
    mean, error = estimate.mean_of(x)
    assert np.shape(mean) == np.shape(error) == x.shape[1:]
    scale = np.abs(x).max()
    np.testing.assert_allclose(mean, np.sum(x, axis=0) / len(x), rtol=1e-12, atol=1e-12 * scale)
    np.testing.assert_allclose(error, stats.sem(x, axis=0), rtol=1e-9, atol=1e-12 * scale)


def test_two_samples_by_hand():
    """Of 1 and 5 the mean is 3, s² = 8, and the standard error √(8/2) = 2."""
    assert estimate.mean_of(np.array([1.0, 5.0])) == (3.0, 2.0)


def test_outcomes_and_counts_are_samples_too():
    """For an indicator s² = n/(n−1) p(1−p): with 3 successes in 4 the standard error is √(3/16/3) = 1/4."""
    assert estimate.mean_of(np.array([True, True, False, True])) == (0.75, 0.25)
    assert estimate.mean_of(np.array([1, 1, 0, 1])) == (0.75, 0.25)


def test_single_precision_is_averaged_in_double():
    """Between 2²⁴ and 2²⁴ + 2 lies 2²⁴ + 1, which float32 does not have."""
    assert estimate.mean_of(np.array([2.0**24, 2.0**24 + 2], dtype=np.float32)) == (2**24 + 1, 1.0)


@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_the_standard_error_is_that_of_the_mean(rng, law):
    """Squared, it is unbiased for σ²/n; and (mean − truth)² has that very expectation."""
    draws = {"normal": rng.normal(2.0, 3.0, (20, 40_000)), "uniform": rng.uniform(0, 12, (20, 40_000))}[law]
    truth, variance = {"normal": (2.0, 9.0), "uniform": (6.0, 12.0)}[law]
    mean, error = estimate.mean_of(draws)
    honest.assert_mean(mean, truth, detects=0.05)
    honest.assert_mean(error**2, variance / 20, detects=0.05 * variance / 20)
    honest.assert_variance(mean, variance / 20, detects=0.1)


def test_the_truth_lies_within_so_many_standard_errors_as_often_as_student_says(rng):
    """(mean − truth) / error follows Student's law with n − 1 degrees of freedom, here 4."""
    mean, error = estimate.mean_of(rng.normal(2.0, 3.0, (5, 20_000)))
    honest.assert_distribution((mean - 2.0) / error, stats.t(4).cdf, detects=0.03)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([1.0], r"samples must be at least two, along the first axis, got shape \(1,\)"),
        ([], r"samples must be at least two, along the first axis, got shape \(0,\)"),
        ([1.0, math.nan], "samples must be finite, got nan"),
        ([1.0, -math.inf], "samples must be finite, got -inf"),
    ],
)
def test_mean_of_refuses_what_has_no_standard_error(samples, message):
    with pytest.raises(ValueError, match=message):
        estimate.mean_of(np.array(samples))


@given(arrays(float, st.integers(1, 30), elements=st.floats(-30, 30)), st.floats(-1e4, 1e4))
def test_effective_sample_size_is_between_one_and_n_and_ignores_a_common_factor(log_weights, shift):
    size = estimate.effective_sample_size(log_weights)
    weights = np.exp(log_weights)
    assert math.isclose(size, weights.sum() ** 2 / (weights**2).sum(), rel_tol=1e-9)
    assert 1 - 1e-9 <= size <= len(weights) * (1 + 1e-9)
    assert math.isclose(estimate.effective_sample_size(log_weights + shift), size, rel_tol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 1000.0, -1000.0])
@pytest.mark.parametrize(
    ("weights", "size"), [([1, 1, 1, 1], 4.0), ([1, 0, 0], 1.0), ([1, 1, 0], 2.0), ([2, 1], 9 / 5), ([3.0], 1.0)]
)
def test_effective_sample_size_by_hand(weights, size, scale):
    """Weights of any size: e^{±1000} is beyond a float."""
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.array(weights, dtype=float)) + scale
    assert math.isclose(estimate.effective_sample_size(log_weights), size, rel_tol=1e-12)


def test_effective_sample_size_of_a_gaussian_shift(rng):
    """For N(0, 1) weighted to N(μ, 1) it tends to n / E[w²] = n e^{−μ²}: each mean of the ratio is held apart."""
    x = rng.normal(size=200_000)
    log_weights = 0.5 * x - 0.125
    share = estimate.effective_sample_size(log_weights) / len(x)
    weights = np.exp(log_weights)
    first, second = estimate.mean_of(weights), estimate.mean_of(weights**2)
    assert math.isclose(share, first.value**2 / second.value, rel_tol=1e-12)
    honest.assert_unbiased(np.stack([weights, weights**2], axis=1), [1.0, math.exp(0.25)], detects=[0.02, 0.1])


@pytest.mark.parametrize(
    ("log_weights", "message"),
    [
        ([0.0, math.nan], "log_weights must be a number, got nan"),
        ([0.0, math.inf], "log_weights must be below ∞ and not all −∞, got a largest of inf"),
        ([-math.inf, -math.inf], "got a largest of -inf"),
        ([], "got a largest of -inf"),
    ],
)
def test_effective_sample_size_refuses_weights_that_have_none(log_weights, message):
    with pytest.raises(ValueError, match=message):
        estimate.effective_sample_size(np.array(log_weights))


def test_standard_error_survives_a_large_mean():
    """Of 10⁸ + 1, 2, 3 the standard error is 1/√3: E x² - (E x)² would have nothing left."""
    got = estimate.mean_of(1e8 + np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(got.standard_error, 1 / np.sqrt(3), rtol=1e-12)
