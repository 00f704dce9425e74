"""The statistical assertions hold to the rates they state: on right answers, on wrong ones, on skewed samples."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from tests import honest

pytestmark = pytest.mark.machinery

# For each law: how to draw from it, and its distribution in scipy, for mean, variance and cdf.
LAWS = {
    "normal": (lambda rng, size: rng.normal(1.0, 2.0, size), stats.norm(1.0, 2.0)),
    "uniform": (lambda rng, size: rng.uniform(-1.0, 1.0, size), stats.uniform(-1.0, 2.0)),
    "exponential": (lambda rng, size: rng.exponential(size=size), stats.expon()),
    "chi-square": (lambda rng, size: rng.chisquare(1, size), stats.chi2(1)),
}
laws = pytest.mark.parametrize("law", LAWS)


def verdict(assertion, *args, **options) -> str:
    try:
        assertion(*args, **options)
    except AssertionError as error:
        return "refused" if "too few" in str(error) else "rejected"
    return "passed"


def verdicts(assertion, data, *args, **options) -> Counter:
    return Counter(verdict(assertion, x, *args, **options) for x in data)


def assert_rate(found: Counter, *, at_most=1.0, at_least=0.0):
    """The rejections fit a rate within these bounds; fails on a right answer once in a million runs."""
    n = found["rejected"] + found["passed"]
    assert found["refused"] <= n / 10  # the spread is estimated: a number of samples near the limit is refused at times
    assert stats.binom.ppf(1e-6, n, at_least) <= found["rejected"] <= stats.binom.isf(1e-6, n, at_most)


@laws
@pytest.mark.parametrize("n", [200, 2000])
def test_mean_keeps_its_false_alarm_rate(rng, law, n):
    draw, truth = LAWS[law]
    found = verdicts(honest.assert_mean, draw(rng, (500, n)), truth.mean(), detects=9.0, false_alarm=0.05, power=0.9)
    assert_rate(found, at_most=0.05)


@laws
def test_mean_catches_what_it_says(rng, law):
    draw, truth = LAWS[law]
    data, off = draw(rng, (500, 1500)), 0.1 * truth.std()
    for error in (-off, off):
        found = verdicts(honest.assert_mean, data + error, truth.mean(), detects=off, false_alarm=0.05, power=0.9)
        assert_rate(found, at_least=0.9)


def test_mean_keeps_a_false_alarm_rate_of_one_in_a_million_on_skewed_samples(rng):
    """Exponential samples, drawn from a faster exponential law and weighted back, reach the tail itself."""
    n, runs = 600, 1500
    rate = 1 + 5.9 / math.sqrt(n)  # under it a typical mean is 5.9 standard errors below 1: a false alarm, barely
    x = rng.exponential(1 / rate, (runs, n))
    weights = np.exp((rate - 1) * x.sum(1) - n * math.log(rate))
    alarms = weights * [verdict(honest.assert_mean, row, 1.0, detects=0.9) == "rejected" for row in x]
    assert alarms.mean() + 5 * alarms.std() / math.sqrt(runs) < 1e-6  # about half a millionth: one tail of the two
    errors = (x.mean(1) - 1) / (x.std(1, ddof=1) / math.sqrt(n))
    naive = weights * (errors < stats.norm.ppf(1e-6 / 2))
    assert naive.mean() - 5 * naive.std() / math.sqrt(runs) > 2e-6  # what Student's threshold would have done


@laws
def test_variance_keeps_its_false_alarm_rate(rng, law):
    draw, truth = LAWS[law]
    found = verdicts(honest.assert_variance, draw(rng, (500, 5000)), truth.var(), detects=9.0, false_alarm=0.05)
    assert_rate(found, at_most=0.05)


@laws
def test_variance_catches_what_it_says(rng, law):
    draw, truth = LAWS[law]
    size = {"normal": 1.1, "uniform": 1.06, "exponential": 1.25, "chi-square": 1.4}[law]
    data = math.sqrt(size) * draw(rng, (300, 5000))
    found = verdicts(honest.assert_variance, data, truth.var(), detects=size - 1, false_alarm=0.05, power=0.9)
    assert_rate(found, at_least=0.9)


@pytest.mark.parametrize("p", [0.5, 0.02])
def test_proportion_keeps_both_rates(rng, p):
    rates = {"detects": 0.02, "false_alarm": 0.05, "power": 0.9}
    right = Counter(verdict(honest.assert_proportion, k, 8000, p, **rates) for k in rng.binomial(8000, p, 800))
    assert_rate(right, at_most=0.05)
    wrong = Counter(verdict(honest.assert_proportion, k, 8000, p, **rates) for k in rng.binomial(8000, p + 0.02, 500))
    assert_rate(wrong, at_least=0.9)


def test_proportion_is_exact():
    """Ten coins: 0 or 10 heads have probability 1/512 together, 1 or 9 add 20/1024."""
    extremes = {"detects": 0.49, "power": 0.5, "false_alarm": 2 / 1024 + 1e-9}
    assert verdict(honest.assert_proportion, 0, 10, 0.5, **extremes) == "rejected"
    assert verdict(honest.assert_proportion, 1, 10, 0.5, **extremes) == "passed"
    extremes["false_alarm"] = 2 / 1024 - 1e-9
    assert verdict(honest.assert_proportion, 10, 10, 0.5, **extremes) == "refused"


@laws
def test_distribution_keeps_both_rates(rng, law):
    draw, truth = LAWS[law]
    rates = {"false_alarm": 0.05, "power": 0.9}
    assert_rate(
        verdicts(honest.assert_distribution, draw(rng, (800, 500)), truth.cdf, detects=0.2, **rates), at_most=0.05
    )
    off = 0.3 * truth.std()
    distance = np.abs(truth.cdf(x := np.linspace(-9, 9, 4001)) - truth.cdf(x - off)).max()
    n = math.ceil(1.01 * (1.3581 + 1.0730) ** 2 / distance**2)  # √(ln(2/0.05)/2) and √(ln(1/0.1)/2)
    data = draw(rng, (400, n)) + off
    assert_rate(verdicts(honest.assert_distribution, data, truth.cdf, detects=distance, **rates), at_least=0.9)


def test_distribution_allows_jumps(rng):
    """The distance to a law with atoms is taken on both sides of each jump: exactly 0.1 here."""
    data = np.repeat([0.0, 1.0, 2.0], [200, 200, 600])
    cdf = stats.rv_discrete(values=([0, 1, 2], [0.3, 0.2, 0.5])).cdf
    with pytest.raises(AssertionError, match=r"a distance of 0\.1 "):
        honest.assert_distribution(data, cdf, detects=0.5, false_alarm=0.05)
    fair = rng.binomial(10, 0.3, (400, 1000))
    assert_rate(
        verdicts(honest.assert_distribution, fair, stats.binom(10, 0.3).cdf, detects=0.2, false_alarm=0.05),
        at_most=0.05,
    )


@pytest.mark.parametrize("n", [200, 5000])
@pytest.mark.parametrize("p", [[0.5, 0.5], [0.1, 0.2, 0.7], [0.25, 0.05, 0.7]])
def test_frequencies_keep_both_rates(rng, n, p):
    w = 8 / math.sqrt(n)
    rates = {"detects": w, "false_alarm": 0.05, "power": 0.9}
    assert_rate(verdicts(honest.assert_frequencies, rng.multinomial(n, p, 800), p, **rates), at_most=0.05)
    q = np.array(p)
    shift = w * math.sqrt(p[0] * p[-1] / (p[0] + p[-1]))  # moved from the last to the first: Cohen's effect is w
    q[[0, -1]] += min(shift, p[-1]), -min(shift, p[-1])
    assert_rate(verdicts(honest.assert_frequencies, rng.multinomial(n, q, 400), p, **rates), at_least=0.9)


def test_frequencies_keep_a_false_alarm_rate_of_one_in_a_million_where_chi_square_does_not():
    """Exactly, for two outcomes: Pearson's own threshold is crossed several times as often as it says."""
    n, p = 25_000, 0.001
    counts = np.arange(80)
    laws = stats.binom.pmf(counts, n, p)
    rejected = [verdict(honest.assert_frequencies, [k, n - k], [p, 1 - p], detects=0.5) == "rejected" for k in counts]
    assert laws @ rejected + stats.binom.sf(79, n, p) < 1e-6
    naive = (counts - n * p) ** 2 / (n * p * (1 - p)) > stats.chi2.isf(1e-6, 1)
    assert laws @ naive > 4e-6


def test_unbiased_keeps_both_rates_over_all_coordinates(rng):
    data = rng.exponential(size=(400, 1500, 3)) * [1, 10, 100]
    truth, errors = np.array([1.0, 10.0, 100.0]), np.array([0.15, 1.5, 15.0])
    rates = {"detects": errors, "false_alarm": 0.05, "power": 0.9}
    assert_rate(verdicts(honest.assert_unbiased, data, truth, **rates), at_most=0.05)
    assert_rate(verdicts(honest.assert_unbiased, data + np.array([0, 0, 15]), truth, **rates), at_least=0.9)


def test_too_few_samples_are_refused_and_the_number_named_is_enough(rng):
    """It is exact where the truth fixes the spread (margin 1), and estimated where the samples do (margin 1.5)."""
    draws = [
        (1.5, lambda n: (honest.assert_mean, rng.normal(size=n), 0.0)),
        (1.5, lambda n: (honest.assert_variance, rng.normal(size=n), 1.0)),
        (1.5, lambda n: (honest.assert_unbiased, rng.normal(size=(n, 2)), 0.0)),
        (1, lambda n: (honest.assert_distribution, rng.normal(size=n), stats.norm.cdf)),
        (1, lambda n: (honest.assert_frequencies, rng.multinomial(n, [0.3, 0.7]), [0.3, 0.7])),
        (1, lambda n: (honest.assert_proportion, rng.binomial(n, 0.3), n, 0.3)),
    ]
    for margin, draw in draws:
        assertion, *arguments = draw(2000)
        with pytest.raises(AssertionError, match="2000 samples are too few") as failure:
            assertion(*arguments, detects=0.05)
        needed = float(str(failure.value).split("take ")[1])
        assertion, *arguments = draw(round(margin * needed))
        assertion(*arguments, detects=0.05)


def test_so_small_an_expected_count_is_refused_even_where_the_effect_is_huge():
    with pytest.raises(AssertionError, match="the smallest expected count is 5"):
        honest.assert_frequencies([5, 995], [0.005, 0.995], detects=10.0)


def test_a_failure_says_what_was_measured_and_how_far_off_it_is(rng):
    with pytest.raises(AssertionError) as failure:
        honest.assert_mean(np.tile([0.0, 2.0], 5000), 0.5, detects=0.1)
    message = str(failure.value)
    assert "mean: 1 ± 0.01 (10000 samples), not 0.5: 50.0 standard errors away." in message
    assert "one run in 1e+06; an error of 0.1 in the mean is caught with probability 0.99." in message
    with pytest.raises(AssertionError, match="in coordinate 1 "):
        honest.assert_unbiased(rng.normal(size=(10_000, 3)) + np.array([0, 1, 0]), 0.0, detects=0.2)


def test_an_agreeing_hint_is_shown_and_no_other(rng):
    x = rng.normal(0.0, 2.0, 20_000)
    other, coin = stats.norm(0, 2).cdf, np.array([0.5, 0.5])
    cases = [
        (honest.assert_mean, (x**2, 2.0), {"the square": 4.0, "the cube": 8.0}),
        (honest.assert_variance, (x, 2.0), {"the square": 4.0, "the cube": 8.0}),
        (honest.assert_unbiased, (np.stack([x, x**2], 1), [0, 2]), {"the square": [0, 4], "the cube": [0, 8]}),
        (honest.assert_proportion, (10_000, 20_000, 0.3), {"the square": 0.5, "the cube": 0.2}),
        (honest.assert_distribution, (x, stats.norm.cdf), {"the square": other, "the cube": stats.expon.cdf}),
        (honest.assert_frequencies, ([5000, 5000], [0.3, 0.7]), {"the square": coin, "the cube": [0.4, 0.6]}),
    ]
    for assertion, arguments, hints in cases:
        with pytest.raises(AssertionError, match="Hint: the square") as failure:
            assertion(*arguments, detects=0.2, hints=hints)
        assert "the cube" not in str(failure.value)


def test_each_assertion_enters_the_ledger_once(rng):
    x = rng.normal(size=20_000)
    honest.performed.clear()
    honest.assert_mean(x, 0.0, detects=0.1)
    honest.assert_variance(x, 1.0, detects=0.15, false_alarm=1e-7)
    honest.assert_unbiased(x.reshape(-1, 2), 0.0, detects=[0.1, 0.2])
    assert [(entry.what, entry.false_alarm, entry.detects, entry.effect) for entry in honest.performed] == [
        ("mean", 1e-6, 0.1, "an error of 0.1 in the mean"),
        ("variance", 1e-7, 0.15, "a relative error of 0.15 in the variance"),
        ("estimate", 1e-6, 0.2, "an error of 0.1 to 0.2 in a coordinate of the mean"),
    ]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_rejected(rng, bad):
    x = rng.normal(size=(100, 2))
    x[3, 1] = bad
    for assertion, samples in (
        (honest.assert_mean, x[:, 1]),
        (honest.assert_variance, x[:, 1]),
        (honest.assert_unbiased, x),
    ):
        with pytest.raises(AssertionError, match=r"1 of .* samples are not finite"):
            assertion(samples, 1.0, detects=1.0)
    with pytest.raises(AssertionError, match="not finite"):
        honest.assert_distribution(x[:, 1], stats.norm.cdf, detects=0.5)
    with pytest.raises(AssertionError, match="not finite"):
        honest.assert_frequencies([bad, 1], [0.5, 0.5], detects=0.5)


def test_samples_of_the_wrong_shape_are_rejected():
    with pytest.raises(AssertionError, match="non-empty"):
        honest.assert_mean([], 0.0, detects=1.0)
    with pytest.raises(AssertionError, match=r"got shape \(2, 2\)"):
        honest.assert_mean(np.ones((2, 2)), 0.0, detects=1.0)
    with pytest.raises(AssertionError, match="truth of shape"):
        honest.assert_unbiased(np.ones((10, 2)), np.zeros(3), detects=1.0)
    with pytest.raises(AssertionError, match="2 whole numbers"):
        honest.assert_frequencies([1, 2, 3], [0.5, 0.5], detects=1.0)
    assert verdict(honest.assert_mean, [1.0], 1.0, detects=1.0) == "refused"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_samples_that_never_vary_must_hit_the_truth(value):
    """Without any spread the mean is right or wrong, and not a warning about 0/0."""
    honest.assert_mean(np.full(100, value), value, detects=0.1)
    with pytest.raises(AssertionError, match=r"not 1: .* standard errors away"):
        honest.assert_mean(np.full(100, value), 1.0, detects=0.1)


def test_something_impossible_is_rejected_however_rare():
    assert verdict(honest.assert_frequencies, [1, 5000, 5000], [0, 0.5, 0.5], detects=0.5) == "rejected"
    honest.assert_frequencies([0, 5000, 5000], [0, 0.5, 0.5], detects=0.5)
    assert verdict(honest.assert_proportion, 1, 1000, 0.0, detects=0.5) == "rejected"
    honest.assert_proportion(0, 1000, 0.0, detects=0.5)


def test_torch_samples_are_welcome(generator):
    import torch

    x = torch.randn(10_000, generator=generator, dtype=torch.float64, requires_grad=True)
    honest.assert_mean(x, 0.0, detects=0.1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"detects": 0.1, "false_alarm": 0.0}, "false_alarm must lie between 0 and 1, got 0.0"),
        ({"detects": 0.1, "power": 1.0}, "power must lie between 0 and 1, got 1.0"),
        ({"detects": 0.0}, "detects must be positive and finite, got 0.0"),
        ({"detects": math.nan}, "detects must be positive and finite, got nan"),
    ],
)
def test_a_badly_stated_test_is_an_error_of_its_author(arguments, named):
    with pytest.raises(ValueError, match=named):
        honest.assert_mean(np.arange(10.0), 4.5, **arguments)


def test_a_badly_stated_truth_is_an_error_of_its_author():
    with pytest.raises(ValueError, match="the truth must be finite, got nan"):
        honest.assert_mean(np.arange(10.0), math.nan, detects=0.1)
    with pytest.raises(ValueError, match="positive variance, got 0"):
        honest.assert_variance(np.arange(10.0), 0.0, detects=0.1)
    with pytest.raises(ValueError, match=r"probability must lie in \[0, 1\], got 1.5"):
        honest.assert_proportion(5, 10, 1.5, detects=0.1)
    with pytest.raises(ValueError, match="successes must be a whole number"):
        honest.assert_proportion(11, 10, 0.5, detects=0.1)
    with pytest.raises(ValueError, match="detects must leave a probability within"):
        honest.assert_proportion(5, 10, 0.5, detects=0.7)
    with pytest.raises(ValueError, match="sum to 1"):
        honest.assert_frequencies([5, 5], [0.5, 0.6], detects=0.1)
    with pytest.raises(ValueError, match="a probability for each sample"):
        honest.assert_distribution(np.arange(10.0), stats.norm.logcdf, detects=0.5)
