"""The chain, its posterior, the bound, the clouds and the walk back, against exact fractions, quadrature and sympy."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, special, stats
from scipy.spatial.distance import cdist

from solutions import diffusion
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_mean, assert_proportion, assert_unbiased, assert_variance

# Neither rising nor falling, so that β of one step is not mistaken for that of another.
BETAS = np.array([0.1, 0.35, 0.02, 0.6, 0.25])
DATA = np.array([[0.5, -2.0, 7.0], [1.5, 0.25, -0.5]])
# Sums and products of a few numbers, a few units in the last place each; float32 has seven digits.
SHARP, SINGLE = 1e-12, 2e-6


def exact_tables(betas):
    """ᾱ_0..ᾱ_T, 1 - ᾱ_0..1 - ᾱ_T and β̃_1..β̃_T in fractions, rounded once at the end."""
    betas = [Fraction(float(beta)) for beta in betas]
    alpha_bars = [Fraction(1)]
    for beta in betas:
        alpha_bars.append(alpha_bars[-1] * (1 - beta))
    noise = [1 - alpha_bar for alpha_bar in alpha_bars]
    posteriors = [beta * before / after for beta, before, after in zip(betas, noise, noise[1:], strict=False)]
    return tuple(np.array([float(entry) for entry in table]) for table in (alpha_bars, noise, posteriors))


def conditioned(betas, t):
    """The coefficients of x_0 and x_t in E[x_{t-1} | x_t, x_0], and the variance, by conditioning a joint Gaussian."""
    alpha_bars, noise, _ = exact_tables(betas)
    slope = np.sqrt(1 - betas[t - 1])
    # given x_0: Var x_{t-1} = 1 - ᾱ_{t-1}, x_t = √α_t x_{t-1} + √β_t z
    covariance, variance = slope * noise[t - 1], slope**2 * noise[t - 1] + betas[t - 1]
    gain = covariance / variance
    of_x0 = np.sqrt(alpha_bars[t - 1]) - gain * np.sqrt(alpha_bars[t])
    return of_x0, gain, noise[t - 1] - gain * covariance


# The schedule


def test_schedule_tables_are_the_products_of_what_remains():
    """The tables of ᾱ, 1 - ᾱ and β̃, from t = 0 or 1 on, are what exact fractions give, for other lengths too."""
    for betas in (BETAS, np.array([0.3]), np.linspace(0.9, 0.05, 9)):
        schedule = diffusion.Schedule(betas)
        alpha_bars, noise, posteriors = exact_tables(betas)
        assert schedule.steps == len(betas), f"steps is {schedule.steps} for {len(betas)} betas"
        assert_close(schedule.betas, betas, what="betas")
        mistakes = {
            "is this α_t = 1 - β_t, where ᾱ_t is their product?": [1, *(1 - betas)],
            "is the product of the β_t taken, not of the α_t = 1 - β_t?": np.cumprod([1, *betas]),
            "does it begin with ᾱ_1? ᾱ_0 = 1 comes first": alpha_bars[1:],
        }
        assert_close(schedule.alpha_bars, alpha_bars, rtol=SHARP, what="alpha_bars", mistakes=mistakes)
        mistakes = {
            "does it begin with 1 - ᾱ_1? 1 - ᾱ_0 = 0 comes first": noise[1:],
            "is the square root taken? These are variances": np.sqrt(noise),
        }
        assert_close(schedule.noise_variances, noise, rtol=SHARP, what="noise_variances", mistakes=mistakes)
        mistakes = {
            "is this β_t itself, the variance of the step forwards?": betas,
            "is 1 - ᾱ_{t-1} forgotten?": betas / noise[1:],
            "is it upside down: (1 - ᾱ_t)/(1 - ᾱ_{t-1})?": np.divide(
                betas * noise[1:], noise[:-1], out=np.zeros(len(betas)), where=noise[:-1] > 0
            ),
            "are α_{t-1} and α_t taken where ᾱ_{t-1} and ᾱ_t belong?": [0, *betas[:-1]],
        }
        got = schedule.posterior_variances
        assert_close(got, posteriors, rtol=SHARP, atol=1e-300, what="posterior_variances", mistakes=mistakes)


def test_schedule_methods_count_the_steps_from_one():
    """beta(t), alpha(t), posterior_variance(t) and alpha_bar(t) look up step t, for numbers and for arrays of them."""
    schedule, (alpha_bars, _, posteriors) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    steps, padded = np.arange(1, 6), np.append(BETAS, np.nan)
    rows = {
        "beta": (BETAS, {"is betas[t] taken? β_1 is betas[0]": padded[1:]}),
        "alpha": (1 - BETAS, {"is this ᾱ_t?": alpha_bars[1:], "is betas[t] taken? β_1 is betas[0]": 1 - padded[1:]}),
        "alpha_bar": (
            alpha_bars[1:],
            {
                "is this ᾱ_{t-1}? alpha_bar(0) is 1, alpha_bar(1) = 1 - β_1": alpha_bars[:-1],
                "is this α_t?": 1 - BETAS,
            },
        ),
        "posterior_variance": (posteriors, {"is this β_t?": BETAS, "is this the standard deviation?": posteriors**0.5}),
    }
    for name, (want, mistakes) in rows.items():
        method = getattr(schedule, name)
        early = [float(method(int(t))) for t in steps[:-1]]
        shown = {sentence: value[:-1] for sentence, value in mistakes.items()}
        assert_close(early, want[:-1], rtol=SHARP, atol=1e-300, what=f"{name}(t) for t = 1..4", mistakes=shown)
        few = np.array([4, 2, 2])
        each = [float(method(int(t))) for t in steps[:-1]] + [float(method(np.int64(5)))]
        assert_close(each, want, rtol=SHARP, atol=1e-300, what=f"{name}(t) for t = 1..5", mistakes=mistakes)
        assert_close(method(steps), want, rtol=SHARP, atol=1e-300, what=f"{name}(array)", mistakes=mistakes)
        assert_close(method(few), want[few - 1], rtol=SHARP, what=f"{name}([4, 2, 2])")
    assert_close(schedule.alpha_bar(0), 1.0, what="alpha_bar(0)")
    assert_close(schedule.alpha_bar(np.array([0, 5])), alpha_bars[[0, 5]], rtol=SHARP, what="alpha_bar([0, 5])")


def test_schedule_keeps_its_digits_where_almost_nothing_is_lost():
    """With β = 1e-12 or less, 1 - ᾱ_t is what fractions give, to twelve digits, and so is β̃_t."""
    for betas in (np.array([1e-12, 3e-12, 2e-12, 0.5]), np.array([1e-20, 2e-20]), np.array([1 - 1e-9, 0.5, 0.999])):
        schedule, (_, noise, posteriors) = diffusion.Schedule(betas), exact_tables(betas)
        worst = np.max(np.abs(schedule.noise_variances[1:] / noise[1:] - 1))
        assert worst < SHARP, f"1 - ᾱ_t loses its digits where β is {betas[0]:g}: a relative error of {worst:.2g}"
        assert_close(schedule.posterior_variances, posteriors, rtol=SHARP, atol=1e-300, what="posterior_variances")


def test_schedule_keeps_a_copy_of_what_it_was_given():
    """The betas changed afterwards leave the schedule as it was; float32, read-only and strided betas work."""
    betas = BETAS.copy()
    schedule = diffusion.Schedule(betas)
    betas[:] = 0.9
    assert_close(schedule.betas, BETAS, what="betas, after the array that was given has been overwritten")
    assert_close(schedule.beta(2), 0.35, what="beta(2), after the array that was given has been overwritten")
    assert np.all(betas == 0.9), "Schedule has changed the betas that it was given"
    strided = np.repeat(BETAS, 2)[::2]
    strided.flags.writeable = False
    assert_close(diffusion.Schedule(strided).alpha_bars, exact_tables(BETAS)[0], rtol=SHARP, what="alpha_bars")
    single = BETAS.astype(np.float32)
    assert_close(diffusion.Schedule(single).alpha_bars, exact_tables(single)[0], rtol=SHARP, what="alpha_bars")


def test_schedule_refuses_what_is_no_share():
    """β outside (0, 1), NaN, none at all, a matrix; t outside 1..T or not whole."""
    for value in (0.0, 1.0, -0.1, 1.5, np.nan, np.inf):
        assert_refused(diffusion.Schedule, np.array([0.1, value]), argument="betas", value=value)
    assert_refused(diffusion.Schedule, np.array([]), argument="betas", value="none")
    assert_refused(diffusion.Schedule, np.full((2, 2), 0.1), argument="betas", value="(2, 2)")
    schedule = diffusion.Schedule(BETAS)
    for method in (schedule.beta, schedule.alpha, schedule.posterior_variance):
        for t in (0, 6, -1, 1.5):
            assert_refused(method, t, argument="t", value=t)
    for t in (-1, 6, 0.5):
        assert_refused(schedule.alpha_bar, t, argument="t", value=t)
    assert_refused(schedule.beta, np.array([1, 0]), argument="t", value=0)


@pytest.mark.parametrize(("first", "last"), [(0.1, 20.0), (2.0, 0.5), (3.0, 3.0)])
def test_linear_schedule_integrates_its_rate(first, last):
    """Each β_t is 1 - exp(-∫ b) over its interval, by quadrature; ᾱ_T = exp(-(first + last)/2) for all T."""
    edges = np.arange(9) / 8
    rate = lambda u: first + (last - first) * u  # noqa: E731
    want = [-np.expm1(-integrate.quad(rate, a, b)[0]) for a, b in itertools.pairwise(edges)]
    mistakes = {
        "is the rate taken at the end of each interval?": -np.expm1(-rate(edges[1:]) / 8),
        "is the rate taken at the beginning of each interval?": -np.expm1(-rate(edges[:-1]) / 8),
        "is it b/T, not 1 - exp(-b/T)?": rate(edges[:-1] + 1 / 16) / 8,
        "are these the paper's, from 1e-4 to 0.02, whatever T and the rate?": np.linspace(1e-4, 0.02, 8),
        "does the rate run from first in the first step to last in the last?": -np.expm1(
            -np.linspace(first, last, 8) / 8
        ),
    }
    got = diffusion.linear_schedule(8, first, last).betas
    assert_close(got, want, rtol=1e-10, what=f"linear_schedule(8, {first}, {last}).betas", mistakes=mistakes)
    for steps in (1, 3, 8, 1000):
        schedule = diffusion.linear_schedule(steps, first, last)
        assert schedule.steps == steps, f"{schedule.steps} steps, not {steps}"
        assert_close(schedule.alpha_bar(steps), np.exp(-(first + last) / 2), rtol=1e-10, what="the last alpha_bar")


def test_linear_schedule_passes_through_the_levels_of_coarser_ones():
    """The ᾱ of 3T steps, every third, is ᾱ of T steps; with 1000 steps β runs from 1e-4 to 0.02, as in the paper."""
    fine, coarse = diffusion.linear_schedule(30), diffusion.linear_schedule(10)
    assert_close(fine.alpha_bars[::3], coarse.alpha_bars, rtol=1e-10, what="every third alpha_bar of 30 steps")
    paper = diffusion.linear_schedule(1000).betas
    # b(u)/1000 at half a step from either end, 1.1e-4 and 0.01999, less half its square
    assert_close(paper[[0, -1]], [1.1e-4, 0.0198], rtol=5e-3, what="the first and the last β of 1000")


def test_linear_schedule_refuses_rates_that_are_not_positive():
    """Steps below 1, rates of 0, negative, NaN."""
    assert_refused(diffusion.linear_schedule, 0, argument="steps", value=0)
    assert_refused(diffusion.linear_schedule, 2.5, argument="steps", value=2.5)
    for value in (0.0, -1.0, np.nan, np.inf):
        assert_refused(diffusion.linear_schedule, 5, value, 2.0, argument="first", value=value)
        assert_refused(diffusion.linear_schedule, 5, 2.0, value, argument="last", value=value)


# The way forwards


@pytest.mark.claim("prop-forward-marginal")
def test_marginal_is_what_the_steps_compose_to():
    """Mean and std of t steps x → √α x + √β z, one after another, for every t and a schedule that is not monotone."""
    schedule, alpha_bars = diffusion.Schedule(BETAS), exact_tables(BETAS)[0]
    factor, variance = 1.0, 0.0
    for t, beta in enumerate(BETAS, start=1):
        factor, variance = np.sqrt(1 - beta) * factor, (1 - beta) * variance + beta
        mean, std = diffusion.marginal(DATA, t, schedule)
        mistakes = {
            "is x_0 not shrunk? Its factor is √ᾱ_t": DATA,
            "is it ᾱ_t x_0, without the square root?": alpha_bars[t] * DATA,
            "is it √α_t of one step, not √ᾱ_t of all so far?": np.sqrt(1 - beta) * DATA,
            "is t off by one: √ᾱ_{t-1}?": np.sqrt(alpha_bars[t - 1]) * DATA,
            "is t off by one: √ᾱ_{t+1}?": np.sqrt(alpha_bars[min(t + 1, 5)]) * DATA,
        }
        assert_close(mean, factor * DATA, rtol=SHARP, what=f"the mean of marginal at t = {t}", mistakes=mistakes)
        mistakes = {
            "is this the variance 1 - ᾱ_t, not its root?": variance,
            "is it √β_t, the noise of one step?": np.sqrt(beta),
            "is it 1 - √ᾱ_t?": 1 - factor,
            "is t off by one: √(1 - ᾱ_{t-1})?": np.sqrt(1 - alpha_bars[t - 1]),
        }
        assert_close(std, np.sqrt(variance), rtol=SHARP, what=f"the std of marginal at t = {t}", mistakes=mistakes)


@pytest.mark.claim("prop-forward-marginal", kind="symbolic")
def test_marginal_passes_from_one_step_to_the_next():
    """For sympy: if x_{t-1} has mean √ᾱ x_0 and variance 1 - ᾱ, x_t has √(αᾱ) x_0 and 1 - αᾱ."""
    alpha, before, x0 = sympy.symbols("alpha before x0", positive=True)
    mean, variance = sympy.sqrt(alpha) * sympy.sqrt(before) * x0, alpha * (1 - before) + (1 - alpha)
    assert sympy.simplify(mean - sympy.sqrt(alpha * before) * x0) == 0
    assert sympy.simplify(variance - (1 - alpha * before)) == 0
    schedule = diffusion.Schedule(BETAS)
    for t in range(2, 6):
        at = {alpha: 1 - BETAS[t - 1], before: exact_tables(BETAS)[0][t - 1], x0: 1.7}
        got = diffusion.marginal(np.array([1.7]), t, schedule)
        assert_close(got.mean, [float(mean.subs(at))], rtol=SHARP, what=f"the mean of marginal at t = {t}")
        assert_close(got.std, float(sympy.sqrt(variance.subs(at))), rtol=SHARP, what=f"the std of marginal, t = {t}")


@pytest.mark.claim("prop-forward-marginal")
def test_marginal_is_the_law_of_simulated_steps(rng):
    """20,000 walks of five noisy steps from x_0 = 1.5, standardised with mean and std, are N(0, 1)."""
    schedule = diffusion.Schedule(BETAS)
    x = np.full(20_000, 1.5)
    for beta in BETAS:
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.standard_normal(len(x))
    mean, std = diffusion.marginal(np.array([1.5]), 5, schedule)
    assert_distribution((x - mean) / std, stats.norm.cdf, detects=0.03)


def test_marginal_takes_a_time_for_each_row():
    """With t an array, row i is that of t_i, and std is a column to go with it; in 1-D a row. Arrays and tensors."""
    schedule, (alpha_bars, noise, _) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    t = np.array([4, 1, 4, 5])
    x0 = np.arange(12.0).reshape(4, 3) - 5
    mean, std = diffusion.marginal(x0, t, schedule)
    mistakes = {"is the first t taken for all rows?": np.sqrt(alpha_bars[4]) * x0}
    assert_close(mean, np.sqrt(alpha_bars[t])[:, None] * x0, rtol=SHARP, what="the mean, t by row", mistakes=mistakes)
    assert_close(std, np.sqrt(noise[t])[:, None], rtol=SHARP, what="the std, t by row")
    mean, std = diffusion.marginal(x0[:, 1], t, schedule)
    assert_close(mean, np.sqrt(alpha_bars[t]) * x0[:, 1], rtol=SHARP, what="the mean in one dimension, t by row")
    assert_close(std, np.sqrt(noise[t]), rtol=SHARP, what="the std in one dimension, t by row")
    square = np.arange(16.0).reshape(4, 4)  # as many rows as columns: along which does t run?
    got = diffusion.marginal(torch.tensor(square), torch.tensor(t), schedule)
    mistakes = {"does t run along the columns, not the rows?": np.sqrt(alpha_bars[t]) * square}
    want = np.sqrt(alpha_bars[t])[:, None] * square
    assert_close(got.mean, want, rtol=SHARP, what="the mean of a tensor, t by row", mistakes=mistakes)
    assert_close(got.std, np.sqrt(noise[t])[:, None], rtol=SHARP, what="the std of a tensor, t by row")


def kinds_of(x):
    """The same numbers as a read-only, a strided, a float32 and a Fortran array, and as tensors of both precisions."""
    locked, single = x.copy(), x.astype(np.float32)
    locked.flags.writeable = False
    return [
        ("a read-only array", locked, np.float64),
        ("a strided array", np.repeat(x, 2, axis=0)[::2], np.float64),
        ("an array in Fortran's order", np.asfortranarray(x), np.float64),
        ("a float32 array", single, np.float32),
        ("a tensor", torch.tensor(x), torch.float64),
        ("a float32 tensor", torch.tensor(single), torch.float32),
    ]


def test_marginal_and_posterior_answer_in_the_kind_they_were_asked():
    """Arrays give arrays and tensors give tensors, of the same precision; whole numbers count as real ones."""
    schedule, x0, xt = diffusion.Schedule(BETAS), DATA, DATA[::-1].copy()
    forward = np.sqrt(exact_tables(BETAS)[0][4]) * x0
    of_x0, of_xt, _ = conditioned(BETAS, 4)
    back = of_x0 * x0 + of_xt * xt
    for (name, a, dtype), (_, b, _) in zip(kinds_of(x0), kinds_of(xt), strict=True):
        rtol = SHARP if dtype in (np.float64, torch.float64) else SINGLE
        for what, got, want in (
            ("marginal", diffusion.marginal(a, 4, schedule), forward),
            ("posterior", diffusion.posterior(a, b, 4, schedule), back),
        ):
            assert isinstance(got.mean, type(a)), f"{what} of {name} has a mean of type {type(got.mean).__name__}"
            assert got.mean.dtype == dtype, f"{what} of {name} has a mean of dtype {got.mean.dtype}, not {dtype}"
            assert_close(got.mean, want, rtol=rtol, atol=rtol, what=f"the mean of {what} of {name}")
    whole = np.array([[2, -3], [0, 7]])
    for kind in (whole, torch.tensor(whole)):
        got = diffusion.marginal(kind, 4, schedule).mean
        assert_close(got, np.sqrt(exact_tables(BETAS)[0][4]) * whole, rtol=SINGLE, what="the mean for whole numbers")
        got = diffusion.posterior(kind, kind, 4, schedule).mean
        assert_close(got, (of_x0 + of_xt) * whole, rtol=SINGLE, what="the posterior's mean for whole numbers")


def test_marginal_leaves_its_arguments_alone():
    """Neither marginal nor posterior writes to x_0, x_t or t; each call looks at them afresh."""
    schedule, x0, xt, t = diffusion.Schedule(BETAS), DATA.copy(), -DATA, np.array([2, 3])
    first = diffusion.marginal(x0, t, schedule).mean, diffusion.posterior(x0, xt, t, schedule).mean
    assert (x0 == DATA).all(), "x0 was changed"
    assert (xt == -DATA).all(), "xt was changed"
    assert t.tolist() == [2, 3], "t was changed"
    x0 *= 2
    xt *= 2
    again = diffusion.marginal(x0, t, schedule).mean, diffusion.posterior(x0, xt, t, schedule).mean
    for name, before, after in zip(("marginal", "posterior"), first, again, strict=True):
        assert_close(after, 2 * before, rtol=SHARP, what=f"the mean of {name}, after x0 and xt were doubled in place")


# One step back, when the beginning is known


@pytest.mark.claim("thm-reverse-posterior")
def test_posterior_is_the_joint_gaussian_conditioned():
    """Mean and std of x_{t-1} given x_t and x_0 are those of the joint Gaussian, conditioned, at every t ≥ 2."""
    schedule, (alpha_bars, noise, _) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    x0, xt = DATA, np.array([[1.0, 0.5, -4.0], [2.0, -3.0, 0.1]])
    for t in range(2, 6):
        of_x0, of_xt, variance = conditioned(BETAS, t)
        beta, alpha = BETAS[t - 1], 1 - BETAS[t - 1]
        back = np.sqrt(alpha) * noise[t - 1] / noise[t] * xt
        mistakes = {
            "is ᾱ_t taken for ᾱ_{t-1} in the weight of x_0?": np.sqrt(alpha_bars[t]) * beta / noise[t] * x0 + back,
            "is the square root of ᾱ_{t-1} forgotten?": alpha_bars[t - 1] * beta / noise[t] * x0 + back,
            "is the square root of α_t forgotten?": of_x0 * x0 + np.sqrt(alpha) * back,
            "is 1 - ᾱ_t taken for 1 - ᾱ_{t-1} in the weight of x_t?": of_x0 * x0 + np.sqrt(alpha) * xt,
            "are x_0 and x_t exchanged?": of_x0 * xt + of_xt * x0,
            "is the division by 1 - ᾱ_t missing?": noise[t] * (of_x0 * x0 + of_xt * xt),
            "is √ᾱ_t taken for √α_t in the weight of x_t?": of_x0 * x0 + np.sqrt(alpha_bars[t] / alpha) * back,
        }
        got = diffusion.posterior(x0, xt, t, schedule)
        want = of_x0 * x0 + of_xt * xt
        assert_close(got.mean, want, rtol=SHARP, atol=SHARP, what=f"the posterior's mean at t = {t}", mistakes=mistakes)
        mistakes = {
            "is this the variance β̃_t, not its root?": variance,
            "is this √β_t, where √β̃_t belongs?": np.sqrt(beta),
            "is (1 - ᾱ_{t-1})/(1 - ᾱ_t) upside down?": np.sqrt(beta * noise[t] / noise[t - 1]),
        }
        what = f"the posterior's std at t = {t}"
        assert_close(got.std, np.sqrt(variance), rtol=1e-11, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-reverse-posterior", kind="symbolic")
def test_posterior_is_bayes_rule_for_sympy():
    """Log q(x_t|x_{t-1}) + log q(x_{t-1}|x_0) - log N(x_{t-1}; μ̃, β̃) does not depend on x_{t-1}."""
    x0, x, xt = sympy.symbols("x0 x xt", real=True)
    alpha, before = sympy.symbols("alpha before", positive=True)
    beta, after = 1 - alpha, alpha * before
    mean = (sympy.sqrt(before) * beta * x0 + sympy.sqrt(alpha) * (1 - before) * xt) / (1 - after)
    variance = beta * (1 - before) / (1 - after)
    forwards = -((xt - sympy.sqrt(alpha) * x) ** 2) / (2 * beta)
    prior = -((x - sympy.sqrt(before) * x0) ** 2) / (2 * (1 - before))
    difference = forwards + prior + (x - mean) ** 2 / (2 * variance)
    assert sympy.simplify(sympy.diff(difference, x)) == 0
    alpha_bars, schedule = exact_tables(BETAS)[0], diffusion.Schedule(BETAS)
    for t in (2, 5):
        at = {alpha: 1 - BETAS[t - 1], before: alpha_bars[t - 1], x0: -1.2, xt: 2.5}
        got = diffusion.posterior(np.array([-1.2]), np.array([2.5]), t, schedule)
        assert_close(got.mean, [float(mean.subs(at))], rtol=1e-11, what=f"the posterior's mean at t = {t}")
        assert_close(got.std, float(sympy.sqrt(variance.subs(at))), rtol=1e-11, what=f"the posterior's std at t = {t}")


def test_posterior_is_a_point_at_the_first_step():
    """At t = 1 the mean is x_0, whatever x_t, and the std is 0."""
    got = diffusion.posterior(DATA, DATA + 3, 1, diffusion.Schedule(BETAS))
    assert_close(got.mean, DATA, rtol=SHARP, what="the posterior's mean at t = 1")
    assert_close(got.std, 0.0, what="the posterior's std at t = 1")


def test_posterior_takes_a_time_for_each_row():
    """With t an array, row i is that of t_i, the first step among them, and std a column; in 1-D a row."""
    schedule, t = diffusion.Schedule(BETAS), np.array([3, 1, 5, 2])
    x0, xt = np.arange(8.0).reshape(4, 2), np.arange(8.0).reshape(4, 2)[::-1] ** 2 / 7
    rows = [conditioned(BETAS, step) if step > 1 else (1.0, 0.0, 0.0) for step in t]
    want = np.stack([a * x + b * y for (a, b, _), x, y in zip(rows, x0, xt, strict=True)])
    stds = np.sqrt([variance for *_, variance in rows])
    got = diffusion.posterior(x0, xt, t, schedule)
    assert_close(got.mean, want, rtol=1e-11, atol=SHARP, what="the posterior's mean, t by row")
    assert_close(got.std, stds[:, None], rtol=1e-11, what="the posterior's std, t by row")
    got = diffusion.posterior(torch.tensor(x0[:, 0]), torch.tensor(xt[:, 0].copy()), torch.tensor(t), schedule)
    assert_close(got.mean, want[:, 0], rtol=1e-11, atol=SHARP, what="the posterior's mean in one dimension, t by row")
    assert_close(got.std, stds, rtol=1e-11, what="the posterior's std in one dimension, t by row")


def test_posterior_keeps_its_digits_where_almost_nothing_is_lost():
    """With β = 1e-12 and 3e-12 the weights are ¾ and ¼, up to 1e-11: nothing is lost to 1 - ᾱ."""
    got = diffusion.posterior(np.array([1.0]), np.array([5.0]), 2, diffusion.Schedule(np.array([1e-12, 3e-12])))
    assert_close(got.mean, [2.0], rtol=1e-9, what="the posterior's mean with tiny β")
    assert_close(got.std, np.sqrt(0.75e-12), rtol=1e-9, what="the posterior's std with tiny β")


def test_marginal_refuses_times_and_data_that_do_not_fit():
    """Times outside 1..T, not whole, of another length than the rows; NaN in the data."""
    schedule = diffusion.Schedule(BETAS)
    for t in (0, 6, 2.5):
        assert_refused(diffusion.marginal, DATA, t, schedule, argument="t", value=t)
    assert_refused(diffusion.marginal, DATA, np.array([1, 2, 3]), schedule, argument="t", value="(3,)")
    assert_refused(diffusion.marginal, DATA, np.array([1, 9]), schedule, argument="t", value=9)
    assert_refused(diffusion.marginal, np.array([1.0, np.nan]), 1, schedule, argument="x0", value=np.nan)


def test_posterior_refuses_times_and_data_that_do_not_fit():
    """Times outside 1..T; x_0 and x_t of different shapes; NaN in either."""
    schedule = diffusion.Schedule(BETAS)
    for t in (0, 6, 2.5):
        assert_refused(diffusion.posterior, DATA, DATA, t, schedule, argument="t", value=t)
    assert_refused(diffusion.posterior, DATA, DATA[:1], 2, schedule, argument="xt", value="(1, 3)")
    broken = np.array([1.0, np.nan])
    assert_refused(diffusion.posterior, broken, np.zeros(2), 2, schedule, argument="x0", value=np.nan)
    assert_refused(diffusion.posterior, np.zeros(2), broken, 2, schedule, argument="xt", value=np.nan)


# What the decoder says


def test_gaussian_log_density_is_that_of_scipy():
    """A sum over the coordinates of scipy's norm.logpdf, in one dimension and in three, up to 1,000 std away."""
    mean, std = DATA[::-1].copy() / 3, 0.3
    terms = stats.norm.logpdf(DATA, mean, std)
    mistakes = {
        "is this a mean over the coordinates, not their sum?": terms.mean(axis=1),
        "is the variance taken for a standard deviation?": stats.norm.logpdf(DATA, mean, std**2).sum(axis=1),
        "is it log std once, not once a coordinate?": terms.sum(axis=1) + 2 * np.log(std),
        "is the sign reversed?": -terms.sum(axis=1),
        "is the constant ½ log 2π counted once, not once a coordinate?": terms.sum(axis=1) + np.log(2 * np.pi),
    }
    got = diffusion.gaussian_log_density(torch.tensor(DATA), torch.tensor(mean), std)
    assert_close(got, terms.sum(axis=1), rtol=SHARP, what="gaussian_log_density", mistakes=mistakes)
    x = torch.tensor([0.0, 2.0, -1000.0], dtype=torch.float64)
    got = diffusion.gaussian_log_density(x, torch.ones_like(x), torch.tensor(2.0, dtype=torch.float64))
    assert_close(got, stats.norm.logpdf(x.numpy(), 1, 2), rtol=SHARP, what="gaussian_log_density of (n,)")


@pytest.mark.parametrize("levels", [2, 3, 5, 256])
def test_discretised_log_probability_gives_the_levels_a_sum_of_one(levels):
    """Over all levels the probabilities sum to 1, for means inside and outside [-1, 1] and std large and small."""
    grey = torch.linspace(-1, 1, levels, dtype=torch.float64)
    for mean, std in ((0.3, 0.5), (-0.9, 0.05), (3.0, 1.0), (0.0, 20.0), (0.1, 1e-3)):
        log_p = diffusion.discretised_log_probability(levels)(grey, torch.full_like(grey, mean), std)
        total = np.exp(log_p.numpy()).sum()
        what = f"the sum over {levels} levels, mean {mean}, std {std} (do the end cells reach to infinity?)"
        assert_close(total, 1.0, rtol=1e-9, what=what)


def test_discretised_log_probability_is_the_mass_of_the_cell():
    """With five levels the cells end at ±¼ and ±¾: differences of scipy's distribution function, summed over pixels."""
    decoder = diffusion.discretised_log_probability(5)
    grey, mean, std = (
        np.array([[-1.0, 0.5, 0.0], [1.0, -0.5, 0.5]]),
        np.array([[-0.7, 0.2, 0.4], [0.3, -1.0, 2.0]]),
        0.6,
    )

    def log_mass(half, ends=np.inf, std=std, width=1.0):
        low = np.where(grey == -1, -max(ends, 0), grey - half)
        high = np.where(grey == 1, max(ends, 0), grey + half)
        return np.log((stats.norm.cdf(high, mean, std) - stats.norm.cdf(low, mean, std)) / width)

    want = log_mass(0.25)
    mistakes = {
        "is half a cell 1/levels? It is 1/(levels - 1)": log_mass(0.2).sum(axis=1),
        "is half a cell 1/(2 levels)?": log_mass(0.1).sum(axis=1),
        "is half a cell 1/(2 (levels - 1))? The levels lie 2/(levels - 1) apart": log_mass(0.125).sum(axis=1),
        "do the cells at the ends stop at half a step? They reach to infinity": log_mass(0.25, 1.25).sum(axis=1),
        "is the variance taken for a standard deviation?": log_mass(0.25, std=std**2).sum(axis=1),
        "is this a mean over the pixels, not their sum?": want.mean(axis=1),
        "is this a density, the mass divided by the cell's width?": log_mass(0.25, width=0.5).sum(axis=1),
    }
    got = decoder(torch.tensor(grey), torch.tensor(mean), std)
    assert_close(got, want.sum(axis=1), rtol=1e-10, what="discretised_log_probability(5)", mistakes=mistakes)
    got = decoder(torch.tensor(grey[0]), torch.tensor(mean[0]), std)
    assert_close(got, want[0], rtol=1e-10, what="discretised_log_probability(5) of (n,)")


def test_discretised_log_probability_is_finite_far_in_the_tails():
    """A hundred std away the mass underflows, but its logarithm is finite: that of the nearer end, by mpmath."""
    mpmath = pytest.importorskip("mpmath")
    decoder = diffusion.discretised_log_probability(3)
    for grey, mean, std in ((0.0, 50.0, 0.5), (0.0, -50.0, 0.5), (-1.0, 40.0, 0.4), (1.0, -40.0, 0.4), (0.0, 9.0, 0.1)):
        low, high = (-np.inf if grey == -1 else grey - 0.5), (np.inf if grey == 1 else grey + 0.5)
        near, far = sorted([abs(low - mean) / std, abs(high - mean) / std])
        with mpmath.workdps(50):
            tails = [mpmath.erfc(mpmath.mpf(float(end)) / mpmath.sqrt(2)) / 2 for end in (near, far)]
            want = float(mpmath.log(tails[0] - tails[1]))
        x = torch.tensor([grey], dtype=torch.float64)
        got = decoder(x, torch.full_like(x, mean), std)
        assert np.isfinite(got.numpy()).all(), f"log 0: the mass of {grey} under N({mean}, {std}²) underflows ({got})"
        assert_close(got, [want], rtol=1e-9, what=f"the log mass of {grey} under N({mean}, {std}²)")


def test_discretised_log_probability_refuses_shades_between_the_levels():
    """Fewer than two levels; x_0 off the grid, or outside [-1, 1]."""
    for levels in (0, 1, -3, 2.5):
        assert_refused(diffusion.discretised_log_probability, levels, argument="levels", value=levels)
    decoder = diffusion.discretised_log_probability(3)
    for grey in (0.5, 2.0, -3.0):
        x = torch.tensor([0.0, grey], dtype=torch.float64)
        assert_refused(decoder, x, torch.zeros_like(x), 1.0, argument="x0", value=grey)


# The bound


class Watched:
    """A reverse model that keeps every x_t it is asked about."""

    def __init__(self, model):
        self.model, self.seen = model, {}

    def __call__(self, xt, t):
        self.seen.setdefault(int(t), []).append(xt.detach().clone())
        return self.model(xt, t)

    def rows(self, t):
        """All rows it has seen at t, as an array."""
        return torch.cat(self.seen[t]).numpy()


class Linear:
    """The reverse model N(a_t x_t + c_t, s_t²), and what the bound is with it, in closed form."""

    def __init__(self, slopes, shifts, stds):
        self.slopes, self.shifts, self.stds = (np.array(a, dtype=float) for a in (slopes, shifts, stds))

    def __call__(self, xt, t):
        return self.slopes[t - 1] * xt + self.shifts[t - 1], float(self.stds[t - 1])

    @classmethod
    def still(cls, betas):
        """One whose mean follows x_t as q's does, so that no part of the bound depends on x_t."""
        steps = range(2, len(betas) + 1)
        stds = np.linspace(0.4, 1.1, len(betas))
        return cls([0.0, *(conditioned(betas, t)[1] for t in steps)], np.linspace(0.7, -0.3, len(betas)), stds)

    def parts(self, x0, betas, reverse=False, noise_share=1.0):
        """L_T (n,), L_t (T - 1, n) and L_0 (n,); with the divergences reversed, or other noise in x_t."""
        alpha_bars, noise, _ = exact_tables(betas)
        noise_of_xt = noise * noise_share
        columns = x0.reshape(len(x0), -1)

        def kl(square, v, w):
            return (
                0.5 * (np.log(v / w) + (w + square) / v - 1)
                if reverse
                else 0.5 * (np.log(w / v) + (v + square) / w - 1)
            )

        L_T = kl(alpha_bars[-1] * columns**2, noise[-1], 1.0).sum(axis=1)
        L_t = []
        for t in range(2, len(betas) + 1):
            of_x0, of_xt, variance = conditioned(betas, t)
            slope = of_xt - self.slopes[t - 1]
            middle = (of_x0 + slope * np.sqrt(alpha_bars[t])) * columns - self.shifts[t - 1]
            square = middle**2 + slope**2 * noise_of_xt[t]
            L_t.append(kl(square, variance, self.stds[t - 1] ** 2).sum(axis=1))
        a, c, v = self.slopes[0], self.shifts[0], self.stds[0] ** 2
        square = (columns - a * np.sqrt(alpha_bars[1]) * columns - c) ** 2 + a**2 * noise_of_xt[1]
        L_0 = (0.5 * np.log(2 * np.pi * v) + square / (2 * v)).sum(axis=1)
        return L_T, np.array(L_t).reshape(len(betas) - 1, len(x0)), L_0

    def left_side(self, x0, betas):
        """E_q[log q(x_{1:T}|x_0) - log p(x_{0:T})] of a number, from the joint Gaussian of the path."""
        alpha_bars, noise, _ = exact_tables(betas)
        steps = np.arange(len(betas) + 1)
        early, late = np.minimum.outer(steps, steps), np.maximum.outer(steps, steps)
        mean, covariance = np.sqrt(alpha_bars) * x0, np.sqrt(alpha_bars[late] / alpha_bars[early]) * noise[early]
        total = -0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance[1:, 1:])[1]
        rows, shifts, variances = [np.eye(len(steps))[-1]], [0.0], [1.0]
        for t in steps[1:]:
            rows.append(np.eye(len(steps))[t - 1] - self.slopes[t - 1] * np.eye(len(steps))[t])
            shifts.append(self.shifts[t - 1])
            variances.append(self.stds[t - 1] ** 2)
        for row, shift, variance in zip(rows, shifts, variances, strict=True):
            square = (row @ mean - shift) ** 2 + row @ covariance @ row
            total += 0.5 * np.log(2 * np.pi * variance) + square / (2 * variance)
        return total

    def negative_log_density(self, x0):
        """The exact -log p(x_0) of a number."""
        mean, variance = 0.0, 1.0
        for a, c, s in zip(self.slopes[::-1], self.shifts[::-1], self.stds[::-1], strict=True):
            mean, variance = a * mean + c, a**2 * variance + s**2
        return -stats.norm.logpdf(x0, mean, np.sqrt(variance))


def assert_parts(got, want, what, rtol=1e-10, mistakes=None):
    """Hold L_T, L_t and L_0 against what is wanted, each with its mistakes, and their total."""
    mistakes = mistakes or {}
    for name, value, right in zip(("L_T", "L_t", "L_0"), (got.L_T, got.L_t, got.L_0), want, strict=True):
        assert_close(value, right, rtol=rtol, atol=rtol, what=f"{name} {what}", mistakes=mistakes.get(name))
    total = want[0] + np.sum(want[1], axis=0) + want[2]
    assert_close(got.total, total, rtol=rtol, atol=rtol, what=f"the total {what}")


def test_bound_is_exact_where_nothing_depends_on_the_draws(generator):
    """All parts, for a reverse model whose mean follows x_t as q's does: closed forms, (n, d) and (n,), and T = 1."""
    for betas, x0 in ((BETAS, DATA), (np.array([0.2, 0.7]), DATA[:, 1]), (np.array([0.4]), DATA)):
        model = Linear.still(betas)
        want, d = model.parts(x0, betas), DATA.shape[1] if x0.ndim == 2 else 1
        reverse, (alpha_bars, noise, _) = model.parts(x0, betas, reverse=True), exact_tables(betas)
        columns = x0.reshape(len(x0), -1)
        v = model.stds[1:, None] ** 2
        mistakes = {
            "L_T": {
                "is this KL(p ‖ q), the divergence the other way round?": reverse[0],
                "is it left out? q(x_T|x_0) is not yet N(0, I)": np.zeros(len(x0)),
                "is it averaged over the coordinates, not summed?": want[0] / d,
                "is √ᾱ_T x_0, the mean of x_T, forgotten?": 0.0 * want[0]
                + 0.5 * d * (noise[-1] - 1 - np.log(noise[-1])),
                "is the variance of x_T, 1 - ᾱ_T, taken for 1?": 0.5 * alpha_bars[-1] * (columns**2).sum(axis=1),
                "is this a cross-entropy, without the entropy of q?": want[0]
                + 0.5 * d * np.log(2 * np.pi * np.e * noise[-1]),
            },
            "L_t": {
                "is this KL(p ‖ q), the divergence the other way round?": reverse[1],
                "is it averaged over the coordinates, not summed?": want[1] / d,
                "is only the distance of the means counted, not that of the variances?": want[1]
                - 0.5 * d * (np.log(v / exact_tables(betas)[2][1:, None]) + exact_tables(betas)[2][1:, None] / v - 1),
                "does it run from T down to 2? Its first row is t = 2": want[1][::-1],
                "are its rows and columns exchanged? (T - 1, n) is asked for": want[1].T,
            },
            "L_0": {
                "is the sign of L_0 reversed: log p(x_0|x_1) where -log p(x_0|x_1) belongs?": -want[2],
                "is it averaged over the coordinates, not summed?": want[2] / d,
                "is the constant ½ log 2π left out?": want[2] - 0.5 * d * np.log(2 * np.pi),
                "is it a divergence from the point x_0, without log σ?": want[2]
                - 0.5 * d * np.log(2 * np.pi * model.stds[0] ** 2),
            },
        }
        got = diffusion.bound(model, x0, diffusion.Schedule(betas), generator=generator)
        assert_parts(got, want, f"of bound with {len(betas)} steps", mistakes=mistakes)
        more = diffusion.bound(model, x0, diffusion.Schedule(betas), generator=generator, draws=3)
        assert_parts(more, want, f"of bound with {len(betas)} steps and draws=3")


def test_bound_takes_data_of_any_kind(generator):
    """Read-only, strided, float32 arrays and tensors, whole numbers and one row; the data are left as they were."""
    model, schedule = Linear.still(BETAS), diffusion.Schedule(BETAS)
    want = model.parts(DATA, BETAS)
    for name, x0, dtype in kinds_of(DATA):
        rtol = 1e-10 if dtype in (np.float64, torch.float64) else 2e-5  # a few tens of float32 operations
        assert_parts(diffusion.bound(model, x0, schedule, generator=generator), want, f"of bound of {name}", rtol)
        assert_close(x0, DATA, rtol=1e-6, what=f"{name}, after bound has looked at it")
    whole = np.array([[2, -3, 1]])
    got = diffusion.bound(model, whole, schedule, generator=generator)
    assert_parts(got, model.parts(whole.astype(float), BETAS), "of bound of one row of whole numbers", 2e-5)


@pytest.mark.claim("thm-diffusion-bound")
@pytest.mark.parametrize("steps", [2, 3, 4, 5])
def test_bound_is_the_expectation_over_the_joint_gaussian(generator, rng, steps):
    """L_T + Σ L + L_0 is E_q[-log p(x_{0:T})/q(x_{1:T}|x_0)] from the joint Gaussian, and at least -log p(x_0)."""
    betas = BETAS[:steps]
    exact = Linear.still(betas)
    free = Linear(rng.uniform(-0.5, 1.5, steps), rng.normal(size=steps), rng.uniform(0.3, 1.5, steps))
    for x0 in (-1.3, 0.4, 2.0):
        for model in (exact, free):
            L_T, L_t, L_0 = model.parts(np.array([x0]), betas)
            left = model.left_side(x0, betas)
            assert_close(L_T + L_t.sum(axis=0) + L_0, [left], rtol=1e-9, atol=1e-9, what="the parts in closed form")
            assert left >= model.negative_log_density(x0) - 1e-9, "the bound is below -log p(x_0)"
        got = diffusion.bound(exact, np.array([x0]), diffusion.Schedule(betas), generator=generator)
        want, L_0 = exact.left_side(x0, betas), exact.parts(np.array([x0]), betas)[2]
        mistakes = {"is the sign of L_0 reversed: log p(x_0|x_1) where -log p(x_0|x_1) belongs?": want - 2 * L_0}
        assert_close(got.total, [want], rtol=1e-9, atol=1e-9, what="bound(...).total", mistakes=mistakes)


@pytest.mark.claim("thm-diffusion-bound")
def test_bound_has_the_right_mean_where_it_depends_on_the_draws(generator):
    """20,000 times the bound of one datum, each part, against closed forms in a model with slopes of its own."""
    betas, n = BETAS[:3], 20_000
    model = Linear([0.6, 1.1, 0.5], [0.2, -0.4, 0.3], [0.7, 0.8, 0.9])
    x0 = np.full((n, 1), 1.2)
    got = diffusion.bound(model, x0, diffusion.Schedule(betas), generator=generator)
    _, L_t, L_0 = model.parts(x0[:1], betas)
    hints = {
        name: np.append(other[1], other[2])
        for name, other in (
            ("x_t is taken at its mean, without noise", model.parts(x0[:1], betas, noise_share=0.0)),
            ("the noise of x_t has twice the variance of q(x_t|x_0)", model.parts(x0[:1], betas, noise_share=2.0)),
        )
    }
    assert_unbiased(np.vstack([got.L_t, got.L_0]).T, np.append(L_t, L_0), detects=0.1, hints=hints)


def test_bound_draws_noise_of_its_own_for_each_row_and_step(generator):
    """The x_t that the model sees, standardised, are N(0, 1), and uncorrelated between rows, coordinates and steps."""
    betas, n = np.array([0.3, 0.5, 0.2]), 6000
    alpha_bars, noise, _ = exact_tables(betas)
    x0 = np.stack([np.linspace(-2, 2, n), np.linspace(1, 4, n)], axis=1)
    model = Watched(Linear.still(betas))
    diffusion.bound(model, x0, diffusion.Schedule(betas), generator=generator)
    z = {t: (model.rows(t) - np.sqrt(alpha_bars[t]) * x0) / np.sqrt(noise[t]) for t in (1, 2, 3)}
    for t in z:
        assert np.ptp(z[t][:, 0]) > 0.1, "all rows share one draw of x_t, or its noise"
        assert_distribution(z[t].ravel(), stats.norm.cdf, detects=0.05)
        assert_mean(z[t][:, 0] * z[t][:, 1], 0.0, detects=0.15, hints={"both coordinates share their noise": 1.0})
        pairs = z[t][0::2, 0] * z[t][1::2, 0]
        assert_mean(pairs, 0.0, detects=0.2, hints={"neighbouring rows share their noise": 1.0})
    for s, t in ((1, 2), (2, 3), (1, 3)):
        assert_mean(z[s][:, 0] * z[t][:, 0], 0.0, detects=0.15, hints={"all steps share their noise": 1.0})


def test_bound_averages_over_the_draws(generator):
    """With draws=10 the variance of L_{t-1} and of L_0 over 6,000 rows is a tenth of that with one, in closed form."""
    betas = np.array([0.3, 0.5])
    alpha_bars, noise, _ = exact_tables(betas)
    model = Linear([0.4, 1.2], [0.1, 0.2], [0.7, 0.8])
    x0 = np.full(6000, 0.8)
    got = diffusion.bound(model, x0, diffusion.Schedule(betas), generator=generator, draws=10)
    of_x0, of_xt, _ = conditioned(betas, 2)
    rows = {
        "L_t": (got.L_t[0], of_xt - 1.2, of_x0 * 0.8 - 0.2, 2, 0.8),
        "L_0": (got.L_0, -0.4, 0.8 - 0.1, 1, 0.7),
    }
    for name, (values, slope, rest, t, std) in rows.items():
        # x_t enters as (rest + slope x_t)²/(2 std²), the square of a Gaussian
        mean, variance = rest + slope * np.sqrt(alpha_bars[t]) * 0.8, slope**2 * noise[t]
        spread = (2 * variance**2 + 4 * mean**2 * variance) / (4 * std**4)
        squares = (values - values.mean()) ** 2
        # the variance over 6,000 rows is known to a few hundredths of itself; ten times as much is no chance
        assert squares.mean() < spread / 2, f"{name} varies as with a single draw, not as an average over ten"
        assert_mean(squares, spread / 10, detects=spread / 10)


def test_bound_asks_the_decoder_that_it_is_given(generator):
    """L_0 is minus what the decoder says of x_0 and the model's step from x_1, and nothing else changes."""
    model, schedule, asked = Linear.still(BETAS), diffusion.Schedule(BETAS), []

    def decoder(x0, mean, std):
        asked.append((x0.clone(), mean.clone(), float(std)))
        return x0[:, 0] * 3.0 + mean[:, 1]

    got = diffusion.bound(model, DATA, schedule, generator=generator, decoder=decoder)
    want = model.parts(DATA, BETAS)
    assert_parts(got, (want[0], want[1], -(3 * DATA[:, 0] + 0.7)), "of bound with a decoder of one's own")
    assert len(asked) == 1, f"the decoder was asked {len(asked)} times: p(x_0|x_1) only is its affair"
    assert_close(asked[0][0], DATA, what="the x_0 that the decoder was shown")
    assert_close(asked[0][2], model.stds[0], what="the std that the decoder was shown")


def test_bound_refuses_data_and_draws_that_will_not_do():
    """Draws below 1, NaN or no data; a model that says a std of 0 or NaN."""
    model, schedule = Linear.still(BETAS), diffusion.Schedule(BETAS)
    for draws in (0, -1, 1.5):
        assert_refused(diffusion.bound, model, DATA, schedule, draws=draws, argument="draws", value=draws)
    for function in (diffusion.bound, diffusion.path_terms):
        assert_refused(function, model, np.array([0.1, np.nan]), schedule, argument="x0", value=np.nan)
        assert_refused(function, model, np.zeros((0, 2)), schedule, argument="x0", value="(0, 2)")
        assert_refused(function, lambda xt, t: (xt, 0.0), DATA, schedule, argument="std", value=0.0)


def test_path_terms_are_those_of_the_path_that_was_drawn(generator):
    """From the x_t that the model saw: -log p(x_T), then log q(x_t|x_{t-1}) - log p(x_{t-1}|x_t), by scipy."""
    for x0 in (DATA, DATA[:, 2]):
        model = Watched(Linear([0.5, 1.2, 0.3, 0.9, 1.4], [0.2, 0.0, -0.3, 0.5, 0.1], [0.7, 0.9, 0.4, 1.2, 0.6]))
        got = diffusion.path_terms(model, x0, diffusion.Schedule(BETAS), generator=generator)
        path = [x0, *(model.rows(t) for t in range(1, 6))]

        def summed(terms):
            return terms.sum(axis=1) if terms.ndim == 2 else terms

        last = summed(-stats.norm.logpdf(path[5]))
        there, back = [], []
        for t in range(1, 6):
            mean, std = model.model(path[t], t)
            there.append(
                summed(stats.norm.logpdf(path[t], np.sqrt(1 - BETAS[t - 1]) * path[t - 1], BETAS[t - 1] ** 0.5))
            )
            back.append(summed(stats.norm.logpdf(path[t - 1], mean, std)))
        there, back = np.array(there), np.array(back)
        mistakes = {
            "is -log p(x_T) the last row? It is the first": np.vstack([there - back, last]),
            "is log q(x_t|x_{t-1}) left out?": np.vstack([last, -back]),
            "is the sign of log p(x_{t-1}|x_t) reversed?": np.vstack([last, there + back]),
            "is log p(x_T) there with the wrong sign?": np.vstack([-last, there - back]),
            "is the sign of every term after the first reversed?": np.vstack([last, back - there]),
        }
        want = np.vstack([last, there - back])
        assert_close(got, want, rtol=1e-9, atol=1e-9, what="path_terms", mistakes=mistakes)


def test_path_terms_follow_one_path_of_the_chain(generator):
    """The residuals x_t - √α_t x_{t-1} over √β_t of 6,000 paths are N(0, 1), independent of one another."""
    x0 = np.full(6000, 1.5)
    model = Watched(Linear.still(BETAS))
    diffusion.path_terms(model, x0, diffusion.Schedule(BETAS), generator=generator)
    path = [x0, *(model.rows(t) for t in range(1, 6))]
    z = [(path[t] - np.sqrt(1 - BETAS[t - 1]) * path[t - 1]) / np.sqrt(BETAS[t - 1]) for t in range(1, 6)]
    assert_distribution(np.concatenate(z), stats.norm.cdf, detects=0.05)
    for before, after in itertools.pairwise(z):
        assert_mean(before * after, 0.0, detects=0.15, hints={"all steps share their noise": 1.0})
    for one in z:
        assert_mean(one[::2] * one[1::2], 0.0, detects=0.2, hints={"all rows share their noise": one[0] ** 2})


@pytest.mark.claim("thm-diffusion-bound")
def test_path_terms_sum_to_the_bound_on_average(generator):
    """The sum of 20,000 paths' terms has the mean that the parts of the bound have in closed form."""
    betas = BETAS[1:4]
    model = Linear([0.6, 0.9, 0.7], [0.2, -0.4, 0.3], [0.7, 0.8, 0.9])
    x0 = np.full((20_000, 1), 1.2)
    L_T, L_t, L_0 = model.parts(x0[:1], betas)
    truth = (L_T + L_t.sum(axis=0) + L_0).item()
    got = diffusion.path_terms(model, x0, diffusion.Schedule(betas), generator=generator).sum(axis=0)
    assert_mean(got, truth, detects=0.15)


def test_path_terms_ask_the_decoder_at_the_first_step_only(generator):
    """A decoder that says 0 of everything leaves log q(x_1|x_0) in row 1, and the other rows as they were."""
    schedule, seed = diffusion.Schedule(BETAS), generator.initial_seed()
    model = Watched(Linear.still(BETAS))
    usual = diffusion.path_terms(model, DATA, schedule, generator=torch.Generator().manual_seed(seed))
    other = diffusion.path_terms(
        model, DATA, schedule, generator=torch.Generator().manual_seed(seed), decoder=lambda x0, mean, std: 0 * x0[:, 0]
    )
    x1 = model.seen[1][1].numpy()
    want = usual.copy()
    want[1] = stats.norm.logpdf(x1, np.sqrt(0.9) * DATA, np.sqrt(0.1)).sum(axis=1)
    assert_close(other, want, rtol=1e-9, what="path_terms with a decoder that says 0")


# Gaussian data, where everything is known


def chain_variances(data_variance, betas):
    """v_0, ..., v_T, each by one step from the last."""
    variances = [data_variance]
    for beta in betas:
        variances.append((1 - beta) * variances[-1] + beta)
    return np.array(variances)


def differential_entropy(variance):
    return 0.5 * np.log(2 * np.pi * np.e * variance)


def gaussian_kl(variance, other, square=0.0):
    return 0.5 * (np.log(other / variance) + (variance + square) / other - 1)


@pytest.mark.claim("prop-gaussian-chain")
@pytest.mark.parametrize("data_variance", [0.2, 1.0, 5.0])
def test_gaussian_step_is_the_joint_gaussian_conditioned(data_variance):
    """Of x_{t-1} given x_t, from the joint Gaussian of the two; and it leads from N(0, v_T) back to N(0, v_0)."""
    v, schedule = chain_variances(data_variance, BETAS), diffusion.Schedule(BETAS)
    model = diffusion.gaussian_step(data_variance, schedule)
    xt = torch.tensor(DATA)
    backwards = v[-1]
    for t in range(5, 0, -1):
        beta = BETAS[t - 1]
        gain = np.sqrt(1 - beta) * v[t - 1] / v[t]
        variance = v[t - 1] - gain * np.sqrt(1 - beta) * v[t - 1]
        mean, std = model(xt, t)
        mistakes = {
            "is √α_t forgotten?": gain / np.sqrt(1 - beta) * DATA,
            "is v_{t-1}/v_t upside down?": np.sqrt(1 - beta) * v[t] / v[t - 1] * DATA,
            "is v_{t-1}/v_t forgotten?": np.sqrt(1 - beta) * DATA,
            "is it divided by √α_t, as if the data were undone without noise?": DATA / np.sqrt(1 - beta),
        }
        what = f"of gaussian_step({data_variance}) at t = {t}"
        assert_close(mean, gain * DATA, rtol=SHARP, what=f"the mean {what}", mistakes=mistakes)
        mistakes = {
            "is this the variance, not its root?": variance,
            "is it √β_t, right only for data of variance 1?": np.sqrt(beta),
            "is it √β̃_t, right only where x_0 is known?": np.sqrt(exact_tables(BETAS)[2][t - 1]),
        }
        assert_close(std, np.sqrt(variance), rtol=1e-11, what=f"the std {what}", mistakes=mistakes)
        slope = (mean.numpy() / DATA)[0, 0]
        backwards = slope**2 * backwards + float(std) ** 2
        assert_close(backwards, v[t - 1], rtol=1e-11, what=f"the variance of x_{t - 1}, reached from N(0, v_T)")


@pytest.mark.claim("prop-gaussian-chain")
@pytest.mark.parametrize("data_variance", [0.3, 4.0])
def test_gaussian_bound_terms_are_averages_by_quadrature(data_variance):
    """Each term for four choices of variances, by Gauss and Hermite's rule over x_0 and x_t: exact for squares."""
    schedule, (alpha_bars, noise, posteriors) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    v = chain_variances(data_variance, BETAS)
    best = BETAS * v[:-1] / v[1:]
    own = np.array([0.2, 0.5, 0.1, 0.9, 0.3])
    floored = np.array([BETAS[0], *posteriors[1:]])
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    x0 = np.sqrt(data_variance) * nodes[:, None]
    for variances, used in (("best", best), ("beta", BETAS), ("posterior", floored), (own, own)):
        terms = []
        for t in range(1, 6):
            xt = np.sqrt(alpha_bars[t]) * x0 + np.sqrt(noise[t]) * nodes
            mean = np.sqrt(1 - BETAS[t - 1]) * v[t - 1] / v[t] * xt
            if t == 1:
                L_0 = (weights * -stats.norm.logpdf(x0, mean, np.sqrt(used[0]))).sum()
            else:
                of_x0, of_xt, variance = conditioned(BETAS, t)
                square = (of_x0 * x0 + of_xt * xt - mean) ** 2
                terms.append((weights * gaussian_kl(variance, used[t - 1], square)).sum())
        L_T = (weights.sum(axis=1) * gaussian_kl(noise[-1], 1.0, alpha_bars[-1] * x0[:, 0] ** 2)).sum()
        got = diffusion.gaussian_bound(data_variance, schedule, variances)
        mistakes = {
            "L_T": {
                "is this KL(q_T ‖ N(0, 1)), without what x_0 says of x_T?": gaussian_kl(v[-1], 1.0),
                "is v_T forgotten?": -0.5 * np.log(noise[-1]),
            },
            "L_0": {
                "is the sign of L_0 reversed?": -L_0,
                "is the constant ½ log 2π left out?": L_0 - 0.5 * np.log(2 * np.pi),
            },
            "L_t": {
                "is σ_t² held against v*_t, where log β̃_t belongs?": gaussian_kl(best, used)[1:],
                "is β̃_t held against σ_t², as if the means agreed?": gaussian_kl(posteriors[1:], used[1:]),
                "is it log(σ_t²/β_t)?": np.array(terms) + 0.5 * np.log(posteriors[1:] / BETAS[1:]),
            },
        }
        what = f"of gaussian_bound({data_variance}, ..., {'numbers' if variances is own else repr(variances)})"
        assert_parts(got, (L_T, np.array(terms), L_0), what, mistakes=mistakes)


@pytest.mark.claim("thm-bound-average")
def test_gaussian_bound_total_is_the_entropy_and_the_divergences():
    """H(q_0) + KL(q_T ‖ p) with the exact conditionals; with other variances, their divergences besides."""
    schedule = diffusion.Schedule(BETAS)
    for data_variance in (0.01, 0.5, 1.0, 30.0):
        v = chain_variances(data_variance, BETAS)
        best = BETAS * v[:-1] / v[1:]
        least = differential_entropy(data_variance) + gaussian_kl(v[-1], 1.0)
        got = diffusion.gaussian_bound(data_variance, schedule).total
        mistakes = {
            "is this the entropy of the data alone, without KL(q_T ‖ p)?": differential_entropy(data_variance),
            "is the sign of L_0 reversed?": got - 2 * diffusion.gaussian_bound(data_variance, schedule).L_0,
        }
        what = f"gaussian_bound({data_variance}).total"
        assert_close(got, least, rtol=1e-10, atol=1e-10, what=what, mistakes=mistakes)
        for used in (BETAS, np.array([0.2, 0.5, 0.1, 0.9, 0.3])):
            got = diffusion.gaussian_bound(data_variance, schedule, used).total
            want = least + gaussian_kl(best, used).sum()
            assert_close(got, want, rtol=1e-10, atol=1e-10, what=f"{what} with variances of one's own")


@pytest.mark.claim("thm-bound-average", kind="quadrature")
def test_bound_on_average_is_the_entropy_and_the_divergences_of_a_mixture(generator):
    """For a two-humped law of x_0: the average of bound is H(q_0) + KL(q_T ‖ p) + Σ E KL, all three by quadrature."""
    betas, centres, width = np.array([0.3, 0.5]), np.array([-1.0, 0.6]), 0.4
    alpha_bars, noise, _ = exact_tables(betas)
    model, x = Linear.still(betas), np.linspace(-8, 8, 801)  # twenty points to the narrowest width
    step = x[1] - x[0]

    def density(t, x):
        std = np.sqrt(alpha_bars[t] * width**2 + noise[t])
        return stats.norm.pdf(x[..., None], np.sqrt(alpha_bars[t]) * centres, std).mean(axis=-1)

    q = [density(t, x) for t in range(3)]
    right = -special.xlogy(q[0], q[0]).sum() * step
    right += (q[2] * (np.log(q[2]) - stats.norm.logpdf(x))).sum() * step
    for t in (1, 2):
        forwards = stats.norm.pdf(x[None, :], np.sqrt(1 - betas[t - 1]) * x[:, None], np.sqrt(betas[t - 1]))
        joint = q[t - 1][:, None] * forwards
        mean, std = model(x, t)
        log_p = stats.norm.logpdf(x[:, None], mean * np.ones_like(x), std)
        right += (special.xlogy(joint, joint) - joint * np.log(q[t]) - joint * log_p).sum() * step**2
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)  # the bound is a square in x_0: three nodes are exact
    x0 = (centres[:, None] + width * nodes).ravel()
    got = diffusion.bound(model, x0, diffusion.Schedule(betas), generator=generator).total
    average = (got * np.tile(weights / weights.sum() / 2, 2)).sum()
    assert_close(average, right, rtol=1e-6, what="the average of bound over the data")


@pytest.mark.claim("prop-refinement")
@pytest.mark.parametrize(("data_variance", "first", "last"), [(0.25, 0.1, 6.0), (3.0, 2.0, 4.0)])
def test_gaussian_bound_with_beta_loses_as_much_as_the_integral(data_variance, first, last):
    """T times what β_t for v*_t costs tends to ¼ ∫ b² (1 - 1/v)² du, by scipy's quad; what is left falls like 1/T."""

    def integrand(u):
        rate, total = first + (last - first) * u, first * u + (last - first) * u**2 / 2
        return 0.25 * rate**2 * (1 - 1 / (1 + (data_variance - 1) * np.exp(-total))) ** 2

    limit, off = integrate.quad(integrand, 0, 1)[0], []
    for steps in (500, 1000, 2000):
        schedule = diffusion.linear_schedule(steps, first, last)
        best, beta = (diffusion.gaussian_bound(data_variance, schedule, name).total for name in ("best", "beta"))
        off.append(steps * (beta - best) - limit)
    what = f"of T times the loss from its limit, data variance {data_variance}"
    assert abs(off[-1]) < 0.02 * limit, f"the distance {what} is {off[-1]:.3g} at T = 2000, the limit {limit:.3g}"
    # the next term of the expansion is of order 1/T², so the quotients are 2 up to a few parts in 500
    assert_close([off[0] / off[1], off[1] / off[2]], [2.0, 2.0], rtol=0.05, what=f"how fast the distance falls {what}")


@pytest.mark.claim("prop-euler")
@pytest.mark.parametrize("data_variance", [0.25, 1.0, 4.0])
def test_gaussian_bound_with_the_posteriors_variances_loses_half_eulers_constant(data_variance):
    """However fine the steps: at T = 1e3, 1e4, 1e5 the loss is γ/2, up to an error that falls like 1/T."""
    for steps in (1000, 10_000, 100_000):
        close = 100 / steps  # a few times b/v_0, for the slope of v and the logarithms left out, each of order b/T
        schedule = diffusion.linear_schedule(steps, 5.0, 5.0)
        best, used = (diffusion.gaussian_bound(data_variance, schedule, name).total for name in ("best", "posterior"))
        assert_close(used - best, np.euler_gamma / 2, rtol=0, atol=close, what=f"the loss with {steps} steps")
    t = np.arange(2, 1_000_001.0)
    series = 0.5 * (1 / (t - 1) + np.log1p(-1 / t)).sum()  # log t/(t-1) = -log(1 - 1/t)
    assert_close(series, np.euler_gamma / 2, rtol=0, atol=1e-6, what="Σ ½ (t/(t-1) - 1 - log(t/(t-1)))")


def test_gaussian_bound_and_step_refuse_variances_that_are_none():
    """Data variances of 0, below, NaN; variances of another length, negative, or of an unknown name."""
    schedule = diffusion.Schedule(BETAS)
    for function in (diffusion.gaussian_bound, diffusion.gaussian_step):
        for value in (0.0, -1.0, np.nan):
            assert_refused(function, value, schedule, argument="data_variance", value=value)
    assert_refused(diffusion.gaussian_bound, 1.0, schedule, np.ones(4), argument="variances", value="(4,)")
    assert_refused(diffusion.gaussian_bound, 1.0, schedule, -np.ones(5), argument="variances", value=-1.0)
    assert_refused(diffusion.gaussian_bound, 1.0, schedule, "worst", argument="variances", value="'worst'")
    for t in (0, 6):
        model = diffusion.gaussian_step(1.0, schedule)
        assert_refused(lambda t, model=model: model(torch.zeros(2, 1), t), t, argument="t", value=t)


@pytest.mark.claim("prop-term-variance", kind="quadrature")
def test_posterior_averages_the_path_term_to_the_divergence():
    """E[log q(x_{t-1}|x_t, x_0)/p(x_{t-1}|x_t) | x_t, x_0] is the divergence of L_{t-1}, by Gauss and Hermite."""
    schedule = diffusion.Schedule(BETAS)
    model = diffusion.gaussian_step(2.0, schedule)
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    for t in range(2, 6):
        for x0, xt in ((0.3, -1.0), (-2.0, 1.5)):
            q = diffusion.posterior(np.array([x0]), np.array([xt]), t, schedule)
            mean, std = model(torch.tensor([xt], dtype=torch.float64), t)
            x = q.mean + q.std * nodes
            ratio = stats.norm.logpdf(x, q.mean, q.std) - stats.norm.logpdf(x, float(mean), float(std))
            average = (weights * ratio).sum() / weights.sum()
            spread = (weights * (ratio - average) ** 2).sum() / weights.sum()
            want = gaussian_kl(q.std**2, float(std) ** 2, (q.mean.item() - float(mean)) ** 2)
            assert_close(average, want, rtol=1e-9, atol=1e-11, what=f"the mean of R_{t} given x_t and x_0")
            assert spread > 1e-3, "a term of the path does not vary, given x_t and x_0"


@pytest.mark.claim("prop-term-variance")
def test_path_terms_do_not_vary_where_the_divergences_do(generator):
    """With the exact q(x_{t-1}|x_t), path by path: -log q_0(x_0) + log q_T(x_T)/p(x_T); bound's total still varies."""
    schedule, x0 = diffusion.Schedule(BETAS), np.full(40, 0.7)
    for data_variance in (1.0, 3.0):
        v = chain_variances(data_variance, BETAS)
        model = Watched(diffusion.gaussian_step(data_variance, schedule))
        got = diffusion.path_terms(model, x0, schedule, generator=generator).sum(axis=0)
        last = model.rows(5)
        want = -stats.norm.logpdf(x0, 0, np.sqrt(data_variance))
        want = want + stats.norm.logpdf(last, 0, np.sqrt(v[-1])) - stats.norm.logpdf(last)
        what = f"the sum of path_terms for data of variance {data_variance}"
        assert_close(got, want, rtol=1e-10, atol=1e-10, what=what)
        total = diffusion.bound(model, x0, schedule, generator=generator).total
        assert total.std() > 0.01, f"bound(...).total hardly varies: a std of {total.std():.2g}"


# Clouds: laws that stay of their kind when noise is added


POINTS = np.array([[0.0, 1.0], [2.0, -0.5], [-1.5, 0.3]])
WEIGHTS = np.array([0.5, 0.2, 0.3])


def a_cloud(std=0.3, dimension=2):
    return diffusion.Cloud(POINTS[:, :dimension], np.log(WEIGHTS), std)


def mixture(x, points, weights, std):
    """log p, ∇ log p and the responsibilities of Σ wᵢ N(pointᵢ, std² I), by loops over scipy's normal law."""
    d = points.shape[1]
    each = np.array([stats.multivariate_normal(point, std**2 * np.eye(d)).logpdf(x) for point in points])
    joint = each.reshape(len(points), len(x)) + np.log(weights)[:, None]
    log_p = special.logsumexp(joint, axis=0)
    r = np.exp(joint - log_p)
    return log_p, sum(r[i][:, None] * (points[i] - x) for i in range(len(points))) / std**2, r


def test_cloud_gives_its_points_equal_weights():
    """cloud(points, std) has log-weights -log k that sum to one, and the points and std that it was given."""
    for points in (POINTS, POINTS[:1], np.array([[3], [4]])):
        got = diffusion.cloud(points, 0.25)
        assert_close(got.points, points, what="points")
        mistakes = {"are these the weights, not their logarithms?": np.full(len(points), 1 / len(points))}
        want = np.full(len(points), -np.log(len(points)))
        assert_close(got.log_weights, want, rtol=SHARP, what="log_weights", mistakes=mistakes)
        assert_close(got.std, 0.25, what="std")
    assert_close(diffusion.cloud(POINTS).std, 0.0, what="std, where none is given")


def test_arcs_cloud_makes_up_the_density_of_the_arcs():
    """Weights that sum to one, and a log-density that is datasets.arcs_log_density, near the arcs and between them."""
    from solutions import datasets

    own = datasets.Arcs(
        np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([1.0, 0.5]), np.zeros(2), np.array([3.0, 1.0]), 0.2
    )
    x = np.array([[0.0, 0.0], [0.5, 0.7], [-1.4, -0.2], [1.5, 2.0], [2.0, -2.0]])
    for data in (datasets.MOONS, datasets.RINGS, own):
        points, log_weights = datasets.arcs_rule(data)
        assert_close(np.exp(log_weights).sum(), 1.0, rtol=1e-9, what="the sum of arcs_rule's weights")
        got = diffusion.arcs_cloud(data)
        assert_close(got.points, points, what="the points of arcs_cloud")
        assert_close(got.std, data.noise_std, what="the std of arcs_cloud")
        log_p, _ = diffusion.log_density_and_score(x, got)
        assert_close(log_p, datasets.arcs_log_density(x, data), rtol=1e-7, what="the log-density of arcs_cloud")


def test_noised_shrinks_the_points_and_widens_the_rest():
    """Points √ᾱ_t pointᵢ, variance ᾱ_t std² + 1 - ᾱ_t, weights as before, at every t from 0 on; std = 0 too."""
    schedule, (alpha_bars, noise, _) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    for std in (0.0, 0.3, 2.0):
        for t in range(6):
            got = diffusion.noised(a_cloud(std), t, schedule)
            mistakes = {
                "are the points not shrunk?": POINTS,
                "are they shrunk by ᾱ_t, without the square root?": alpha_bars[t] * POINTS,
            }
            what = f"the points of noised at t = {t}"
            assert_close(got.points, np.sqrt(alpha_bars[t]) * POINTS, rtol=SHARP, what=what, mistakes=mistakes)
            assert_close(got.log_weights, np.log(WEIGHTS), what=f"the log_weights of noised at t = {t}")
            variance = alpha_bars[t] * std**2 + noise[t]
            mistakes = {
                "is this the variance, not its root?": variance,
                "is the std of the data forgotten?": np.sqrt(noise[t]),
                "is the variance of the data not shrunk by ᾱ_t?": np.sqrt(std**2 + noise[t]),
                "are standard deviations added, not variances?": np.sqrt(alpha_bars[t]) * std + np.sqrt(noise[t]),
            }
            what = f"the std of noised at t = {t}, of a cloud with std {std}"
            assert_close(got.std, np.sqrt(variance), rtol=SHARP, what=what, mistakes=mistakes)


def test_draw_cloud_follows_the_weights_and_the_width(rng):
    """20,000 draws in one coordinate against the mixture's distribution function; rows and coordinates independent."""
    data = a_cloud(0.4)
    x = diffusion.draw_cloud(rng, data, 20_000)
    for j in range(2):

        def cdf(value, j=j, weights=WEIGHTS, std=0.4):
            return (weights * stats.norm.cdf(value[:, None], POINTS[:, j], std)).sum(axis=1)

        hints = {
            "all points are drawn equally often: the weights are forgotten": lambda v, cdf=cdf: cdf(v, weights=1 / 3),
            "std is taken for a variance": lambda v, cdf=cdf: cdf(v, std=np.sqrt(0.4)),
            "the variance std² is taken for a std": lambda v, cdf=cdf: cdf(v, std=0.16),
            "the noise is forgotten": lambda v, cdf=cdf: cdf(v, std=1e-9),
        }
        assert_distribution(x[:, j], cdf, detects=0.03, hints=hints)
    centred = x - WEIGHTS @ POINTS
    truth = (WEIGHTS[:, None, None] * np.einsum("ij,ik->ijk", POINTS, POINTS)).sum(axis=0)
    truth = (truth - np.outer(WEIGHTS @ POINTS, WEIGHTS @ POINTS))[0, 1]
    hints = {"both coordinates share their noise": truth + 0.16, "each coordinate chooses its own point": 0.0}
    assert_mean(centred[:, 0] * centred[:, 1], truth, detects=0.1, hints=hints)
    assert_mean(centred[::2, 0] * centred[1::2, 0], 0.0, detects=0.15, hints={"rows share their draw": 1.0})
    exactly = diffusion.draw_cloud(rng, diffusion.cloud(POINTS), 50)
    assert (exactly[:, None] == POINTS).all(axis=2).any(axis=1).all(), "with std = 0 draws are not points of the cloud"


def test_draw_cloud_leaves_to_chance_how_often_a_point_is_drawn(rng):
    """Of nine draws a point of weight ½ gets a binomial number, of variance 9/4; and points come twice."""
    data = diffusion.Cloud(POINTS, np.log(WEIGHTS), 0.0)
    counts = np.array([(diffusion.draw_cloud(rng, data, 9)[:, 1] == 1.0).sum() for _ in range(1000)])
    hints = {"each point gets its share of the draws, where the number is left to chance": 0.25}
    assert_variance(counts.astype(float), 2.25, detects=0.5, hints=hints)
    # 60 of 60 points without a repetition: a chance of 60!/60^60, 1e-25
    many = diffusion.draw_cloud(rng, diffusion.cloud(np.arange(60.0)[:, None]), 60)
    assert len(np.unique(many)) < 60, "draw_cloud draws without replacement: no point comes twice"


def test_log_density_and_score_look_at_all_of_many_rows():
    """2,500 rows and 2,000 points, more than fit in one block: the last rows get what they get alone."""
    x, data = np.linspace(-3, 3, 2500)[:, None], diffusion.cloud(np.linspace(-2, 2, 2000)[:, None], 0.3)
    log_p, score = diffusion.log_density_and_score(x, data)
    assert log_p.shape == (2500,), f"of 2,500 rows, the log-density is of shape {log_p.shape}"
    assert score.shape == (2500, 1), f"of 2,500 rows, the score is of shape {score.shape}"
    for some in (slice(0, 3), slice(1998, 2003), slice(2497, 2500)):
        alone = diffusion.log_density_and_score(x[some], data)
        assert_close(log_p[some], alone[0], rtol=1e-9, what="the log-density of a few rows among many, against alone")
        assert_close(score[some], alone[1], rtol=1e-8, atol=1e-8, what="the score of a few rows among many")


def test_log_density_and_score_are_those_of_a_mixture():
    """Against loops over scipy's normal law: unequal weights, in one, two and three dimensions, near and far."""
    for points, std in ((POINTS[:, :1], 0.5), (POINTS, 0.3), (np.column_stack([POINTS, [1.0, 0.0, -2.0]]), 1.2)):
        d = points.shape[1]
        x = np.vstack([points + 0.1, np.full((1, d), 0.4), np.full((1, d), -3.0)])
        data = diffusion.Cloud(points, np.log(WEIGHTS), std)
        log_p, score, r = mixture(x, points, WEIGHTS, std)
        got_p, got_score = diffusion.log_density_and_score(x, data)
        mistakes = {
            "is the constant -(d/2) log 2π std² left out?": log_p + d / 2 * np.log(2 * np.pi * std**2),
            "is the constant counted once, not once a coordinate?": log_p + (d - 1) / 2 * np.log(2 * np.pi * std**2),
            "are the weights forgotten?": mixture(x, points, np.full(3, 1 / 3), std)[0],
            "is this the density, not its logarithm?": np.exp(log_p),
        }
        assert_close(got_p, log_p, rtol=1e-10, what=f"the log-density in {d} dimensions", mistakes=mistakes)
        hard = (points[r.argmax(axis=0)] - x) / std**2
        mistakes = {
            "is it divided by std, not by std²?": score * std,
            "is the division by std² missing?": score * std**2,
            "is the sign reversed?": -score,
            "is only the likeliest point counted, not all with their shares rᵢ?": hard,
            "are the weights forgotten?": mixture(x, points, np.full(3, 1 / 3), std)[1],
            "is this the gradient of p, not of log p?": score * np.exp(log_p)[:, None],
        }
        what = f"the score in {d} dimensions"
        assert_close(got_score, score, rtol=1e-8, atol=1e-9, what=what, mistakes=mistakes)
    far = np.array([[400.0, -300.0]])
    log_p, score, _ = mixture(far, POINTS, WEIGHTS, 0.3)
    with np.errstate(all="ignore"):
        got_p, got_score = diffusion.log_density_and_score(far, a_cloud())
    assert np.isfinite(got_p).all(), f"log 0: the density underflows 1,000 std away ({got_p})"
    assert np.isfinite(got_score).all(), f"0/0: the density underflows 1,000 std away ({got_score})"
    assert_close(got_p, log_p, rtol=1e-9, what="the log-density far away")
    assert_close(got_score, score, rtol=1e-9, what="the score far away")


def test_log_density_and_score_take_arrays_of_any_kind():
    """Read-only, strided and whole numbers, one row; nothing is written to, and two calls are two looks."""
    data, x = a_cloud(), DATA[:, :2].copy()
    want = mixture(x, POINTS, WEIGHTS, 0.3)
    for name, kind, dtype in kinds_of(x)[:4]:
        rtol = 1e-9 if dtype == np.float64 else 1e-4
        got = diffusion.log_density_and_score(kind, data)
        assert_close(got[0], want[0], rtol=rtol, what=f"the log-density at {name}")
        assert_close(got[1], want[1], rtol=rtol, what=f"the score at {name}")
    whole = np.array([[1, -2]])
    got = diffusion.log_density_and_score(whole, data)
    assert_close(got[1], mixture(whole, POINTS, WEIGHTS, 0.3)[1], rtol=1e-9, what="the score at whole numbers")
    x += 1
    got = diffusion.log_density_and_score(x, data)[0]
    assert_close(got, mixture(x, POINTS, WEIGHTS, 0.3)[0], rtol=1e-9, what="the log-density after x changed in place")


@pytest.mark.claim("prop-tweedie")
def test_exact_denoiser_is_the_mean_of_the_noise_given_the_sum():
    """E[ε | x_t] by the shares of the points, E[x_0 | x_t] by Tweedie's formula from the score: the same."""
    schedule, (alpha_bars, noise, _) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    xt = np.array([[0.2, 0.5], [1.0, -1.0], [-0.7, 0.4], [4.0, 3.0]])
    for std in (0.0, 0.3):
        denoiser = diffusion.exact_denoiser(a_cloud(std), schedule)
        for t in range(1, 6):
            a, v = np.sqrt(alpha_bars[t]), alpha_bars[t] * std**2 + noise[t]
            _, score, r = mixture(xt, a * POINTS, WEIGHTS, np.sqrt(v))
            # given the point, x_0 is Gaussian with this mean, by conditioning
            each = POINTS[:, None] + a * std**2 / v * (xt - a * POINTS[:, None])
            x0 = (r[:, :, None] * each).sum(axis=0)
            want = (xt - a * x0) / np.sqrt(noise[t])
            got = denoiser(torch.tensor(xt), t)
            mistakes = {
                "is the sign reversed? ε* is minus the score, times √(1 - ᾱ_t)": -want,
                "is this the score itself?": score,
                "is it the score times 1 - ᾱ_t, not its root?": want * np.sqrt(noise[t]),
                "is this E[x_0 | x_t]?": x0,
            }
            what = f"exact_denoiser at t = {t}, cloud std {std}"
            assert_close(got, want, rtol=1e-9, atol=1e-9, what=what, mistakes=mistakes)
            tweedie = (
                xt + noise[t] * diffusion.log_density_and_score(xt, diffusion.noised(a_cloud(std), t, schedule))[1]
            ) / a
            assert_close(tweedie, x0, rtol=1e-8, atol=1e-9, what=f"(x_t + (1 - ᾱ_t) score)/√ᾱ_t at t = {t}")


@pytest.mark.claim("prop-tweedie", kind="quadrature")
def test_exact_denoiser_is_an_integral_over_the_noise():
    """In one dimension E[ε | x_t] is ∫ ε q(x_0) N(ε) over x_0 = (x_t - √(1-ᾱ_t) ε)/√ᾱ_t, by quadrature."""
    schedule, (alpha_bars, noise, _) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    denoiser, e = diffusion.exact_denoiser(a_cloud(0.3, 1), schedule), np.linspace(-12, 12, 24_001)
    for t in (1, 3, 5):
        for xt in (-1.0, 0.2, 2.5):
            x0 = (xt - np.sqrt(noise[t]) * e) / np.sqrt(alpha_bars[t])
            q = stats.norm.pdf(e) * (WEIGHTS * stats.norm.pdf(x0[:, None], POINTS[:, 0], 0.3)).sum(axis=1)
            got = denoiser(torch.tensor([[xt]], dtype=torch.float64), t)
            assert_close(got, [[(e * q).sum() / q.sum()]], rtol=1e-8, what=f"E[ε | x_t = {xt}] at t = {t}")


def fisher_by_quadrature(t, std=0.3, points=None):
    """∫ q′²/q of the noised one-dimensional cloud."""
    alpha_bars, noise, _ = exact_tables(BETAS)
    points = POINTS[:, :1] if points is None else points
    v = np.sqrt(alpha_bars[t] * std**2 + noise[t])
    x = np.linspace(-14, 14, 14_001)[:, None]
    log_p, score, _ = mixture(x, np.sqrt(alpha_bars[t]) * points, WEIGHTS, v)
    return (np.exp(log_p) * score[:, 0] ** 2).sum() * (x[1, 0] - x[0, 0])


def test_fisher_informations_are_means_of_squared_scores():
    """J_t by quadrature in one dimension; 2/v_t for one point in two; J of a product is the sum."""
    # between points g apart the density has zeros πv/g off the real line, so a grid with two cells for each std
    # misses up to exp(-4π² std/g) of the integral, of which the valley between them holds little: a few in 10,000
    coarse = 1e-3
    schedule, v = diffusion.Schedule(BETAS), chain_variances(0.09, BETAS)[1:]
    want = [fisher_by_quadrature(t) for t in range(1, 6)]
    mistakes = {"does it begin with t = 0? Its first is J_1": [fisher_by_quadrature(t) for t in range(5)]}
    got = diffusion.fisher_informations(a_cloud(0.3, 1), schedule)
    assert_close(got, want, rtol=coarse, what="fisher_informations in one dimension", mistakes=mistakes)
    got = diffusion.fisher_informations(diffusion.cloud(np.array([[1.0, -2.0]]), 0.3), schedule)
    mistakes = {"is this J for one coordinate? It sums over both": 1 / v}
    assert_close(got, 2 / v, rtol=1e-6, what="fisher_informations of N(m, 0.09 I) in the plane", mistakes=mistakes)
    product = np.column_stack([POINTS[:, 0], np.zeros(3)])
    got = diffusion.fisher_informations(diffusion.Cloud(product, np.log(WEIGHTS), 0.3), schedule)
    assert_close(got, np.array(want) + 1 / v, rtol=coarse, what="fisher_informations of a product of two laws")


@pytest.mark.claim("thm-denoising-score", kind="quadrature")
def test_exact_denoiser_beats_every_other_by_what_the_theorem_says():
    """E|s - ∇log q(x_t|x_0)|² - E|s - ∇log q_t|² is d/(1-ᾱ_t) - J_t for four functions s, by quadrature."""
    schedule, (alpha_bars, noise, _) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    informations = diffusion.fisher_informations(a_cloud(0.3, 1), schedule)
    denoiser = diffusion.exact_denoiser(a_cloud(0.3, 1), schedule)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    x0 = POINTS[:, 0, None, None] + 0.3 * nodes[:, None]
    p = WEIGHTS[:, None, None] * weights
    for t in (2, 5):
        std = np.sqrt(noise[t])
        xt = np.sqrt(alpha_bars[t]) * x0 + std * nodes
        score = -denoiser(torch.tensor(xt.reshape(-1, 1)), t).numpy().reshape(xt.shape) / std
        want = 1 / noise[t] - informations[t - 1]
        for s in (score, 0 * xt, -xt, np.sin(xt)):
            difference = (p * ((s + nodes / std) ** 2 - (s - score) ** 2)).sum()
            assert_close(difference, want, rtol=1e-5, what=f"d/(1 - ᾱ_t) - J_t at t = {t}")


@pytest.mark.claim("thm-denoising-score")
def test_noise_loss_of_the_exact_denoiser_is_the_least(rng, generator):
    """The mean of 20,000 squares |ε - ε*|² is d - (1 - ᾱ_t) J_t, with the J_t of fisher_informations."""
    schedule, data = diffusion.Schedule(BETAS), a_cloud()
    x0 = torch.tensor(diffusion.draw_cloud(rng, data, 20_000))
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    denoiser = diffusion.exact_denoiser(data, schedule)
    _, variances, _ = exact_tables(BETAS)
    J = diffusion.fisher_informations(data, schedule)
    for t in (1, 4):
        loss = diffusion.noise_loss(denoiser, x0, t, schedule, noise)
        hints = {
            "this is d - J_t: 1 - ᾱ_t is forgotten": 2 - J[t - 1],
            "this is the mean over coordinates": 1 - variances[t] * J[t - 1] / 2,
        }
        assert_mean(loss.numpy(), 2 - variances[t] * J[t - 1], detects=0.2, hints=hints)


@pytest.mark.claim("thm-best-step", kind="quadrature")
def test_best_variances_are_those_of_the_exact_reverse_step():
    """E Var[x_{t-1} | x_t] of a one-dimensional cloud, by quadrature, is σ_t*² for e_t = 1 - (1 - ᾱ_t) J_t."""
    schedule, (alpha_bars, noise, posteriors) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    informations = np.array([fisher_by_quadrature(t) for t in range(1, 6)])
    got = diffusion.best_variances(1 - noise[1:] * informations, schedule, 1)
    x = np.linspace(-9, 9, 1201)
    step = x[1] - x[0]
    for t in range(1, 6):
        std = np.sqrt(alpha_bars[t - 1] * 0.09 + noise[t - 1])
        q = (WEIGHTS * stats.norm.pdf(x[:, None], np.sqrt(alpha_bars[t - 1]) * POINTS[:, 0], std)).sum(axis=1)
        beta = BETAS[t - 1]
        joint = q[:, None] * stats.norm.pdf(x[None, :], np.sqrt(1 - beta) * x[:, None], np.sqrt(beta)) * step**2
        mass = np.maximum(joint.sum(axis=0), 1e-300)
        mean = (x[:, None] * joint).sum(axis=0) / mass
        want = ((x[:, None] - mean) ** 2 * joint).sum()
        assert_close(got[t - 1], want, rtol=1e-6, what=f"E Var[x_{t - 1} | x_{t}]")
        # and no other variance gives a lower bound: E KL + const = ½ (log σ² + want/σ²)
        other = want * np.array([0.8, 0.95, 1.05, 1.3])
        assert np.all(np.log(other) + want / other > np.log(want) + 1)
        closed = beta / (1 - beta) * (1 - beta * informations[t - 1])
        assert_close(got[t - 1], closed, rtol=1e-6, what=f"(β_t/α_t)(1 - β_t J_t) at t = {t}")
    assert np.all(got >= posteriors)


@pytest.mark.claim("thm-best-step")
def test_best_variances_of_gaussian_data_are_known():
    """For N(0, v_0 I): β_t v_{t-1}/v_t, in d = 1 and 3; β_t for v_0 = 1, more for v_0 > 1; β̃_t where nothing errs."""
    schedule, (_, noise, posteriors) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    for data_variance in (0.2, 1.0, 4.0):
        v = chain_variances(data_variance, BETAS)
        for d in (1, 3):
            errors = d * (1 - noise[1:] / v[1:])
            want = BETAS * v[:-1] / v[1:]
            more = want - posteriors
            mistakes = {
                "is the division by d missing?": posteriors + d * more,
                "is α_t missing below?": posteriors + (1 - BETAS) * more,
                "is β̃_t forgotten?": more,
                "is β_t added, not β̃_t?": BETAS + more,
                "is it β_t where β_t² belongs?": posteriors + more / BETAS,
                "is 1 - ᾱ_t missing below?": posteriors + noise[1:] * more,
                "is this the standard deviation?": np.sqrt(want),
            }
            got = diffusion.best_variances(errors, schedule, d)
            what = f"best_variances for N(0, {data_variance} I), d = {d}"
            assert_close(got, want, rtol=1e-10, what=what, mistakes=mistakes)
            assert np.all((got > BETAS) == (data_variance > 1)) or data_variance == 1, "σ² > β_t is for v_0 > 1 only"
    tiny = diffusion.best_variances(np.full(5, 1e-12), schedule, 2)
    assert_close(tiny, posteriors, rtol=1e-9, atol=1e-11, what="best_variances where x_0 is known")


def test_a_width_for_each_coordinate(generator):
    """Each column of errors has the variances of one dimension; equal columns have the bound of one width."""
    schedule = diffusion.Schedule(BETAS)
    errors = np.linspace(0.2, 0.9, 15).reshape(5, 3)
    got = diffusion.best_variances(errors, schedule, 3)
    for column in range(3):
        want = diffusion.best_variances(errors[:, column], schedule, 1)
        assert_close(got[:, column], want, what=f"best_variances, column {column}")
    x0 = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    one = diffusion.reverse_step(lambda xt, t: 0.3 * xt, schedule, got[:, 0])
    each = diffusion.reverse_step(lambda xt, t: 0.3 * xt, schedule, np.repeat(got[:, :1], 3, axis=1))
    bounds = [diffusion.bound(m, x0, schedule, generator=torch.Generator().manual_seed(5)) for m in (one, each)]
    assert_close(bounds[1].total, bounds[0].total, what="the bound with three equal widths")
    uneven = diffusion.reverse_step(lambda xt, t: 0.3 * xt, schedule, got)
    for t in range(1, 6):
        assert_close(uneven(x0, t).std, np.sqrt(got[t - 1]), what=f"the widths at t = {t}")
    assert_refused(uneven, x0[:, :2], 3, argument="xt", value=2)


@pytest.mark.claim("thm-best-step")
def test_best_variances_leave_the_least_bound_with_any_denoiser(generator):
    """With σ_t² for the errors e_t of a poor guess, L_{t-1} averages (d/2) log(σ_t²/β̃_t), L_0 (d/2) log 2πe σ_1²."""
    schedule, (_, noise, posteriors) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    x0, d = DATA, 3
    seed = generator.initial_seed()
    model = Watched(diffusion.reverse_step(lambda xt, t: 0.3 * xt, schedule))
    diffusion.bound(model, x0, schedule, generator=torch.Generator().manual_seed(seed), draws=4)
    errors = []
    for t in range(1, 6):
        seen = model.rows(t)
        e = (seen - np.tile(np.sqrt(1 - noise[t]) * x0, (4, 1))) / np.sqrt(noise[t])
        errors.append((np.square(e - 0.3 * seen)).sum(axis=1).mean())
    best = diffusion.best_variances(np.array(errors), schedule, d)
    model = diffusion.reverse_step(lambda xt, t: 0.3 * xt, schedule, best)
    got = diffusion.bound(model, x0, schedule, generator=torch.Generator().manual_seed(seed), draws=4)
    want = d / 2 * np.log(best[1:] / posteriors[1:])
    assert_close(got.L_t.mean(axis=1), want, rtol=1e-8, what="the average of L_{t-1} with the best variances")
    want = d / 2 * np.log(2 * np.pi * np.e * best[0])
    assert_close(got.L_0.mean(), want, rtol=1e-8, what="the average of L_0 with the best variances")


def test_clouds_refuse_what_is_no_law():
    """Weights that do not sum to one or are of another length, a negative std, NaN, t out of range, three columns."""
    schedule = diffusion.Schedule(BETAS)
    assert_refused(diffusion.cloud, POINTS, -0.1, argument="std", value=-0.1)
    assert_refused(diffusion.cloud, np.array([[np.nan]]), argument="points", value=np.nan)
    assert_refused(diffusion.cloud, np.zeros((0, 2)), argument="points", value="(0, 2)")
    heavy = diffusion.Cloud(POINTS, np.zeros(3), 0.1)
    short = diffusion.Cloud(POINTS, np.log(WEIGHTS[:2]), 0.1)
    for function in (
        lambda data: diffusion.noised(data, 1, schedule),
        lambda data: diffusion.draw_cloud(np.random.default_rng(0), data, 3),
        lambda data: diffusion.log_density_and_score(POINTS, data),
        lambda data: diffusion.exact_denoiser(data, schedule),
        lambda data: diffusion.fisher_informations(data, schedule),
    ):
        assert_refused(function, heavy, argument="log_weights", value=3.0)
        assert_refused(function, short, argument="log_weights", value="(2,)")
    for t in (-1, 6, 0.5):
        assert_refused(diffusion.noised, a_cloud(), t, schedule, argument="t", value=t)
    assert_refused(diffusion.draw_cloud, np.random.default_rng(0), a_cloud(), 0, argument="n", value=0)
    assert_refused(diffusion.log_density_and_score, POINTS, a_cloud(0.0), argument="std", value=0.0)
    assert_refused(diffusion.log_density_and_score, POINTS[:, :1], a_cloud(), argument="x", value=1)
    deep = diffusion.cloud(np.zeros((2, 3)), 0.1)
    assert_refused(diffusion.fisher_informations, deep, schedule, argument="data", value=3)
    assert_refused(diffusion.best_variances, np.ones(4), schedule, 2, argument="errors", value="(4,)")
    assert_refused(diffusion.best_variances, np.array([1, 1, -1.0, 1, 1]), schedule, 2, argument="errors", value=-1.0)
    assert_refused(diffusion.best_variances, np.ones(5), schedule, 0, argument="dimension", value=0)


# The way back with a guess of the noise


def guess(xt, t):
    """Some guess of the noise, that depends on t."""
    return 0.3 * xt + 0.1 * t


def test_reverse_variances_are_those_named():
    """For "beta" the β_t, for "posterior" the β̃_t with β_1 at t = 1, or the numbers that are given."""
    schedule, (_, _, posteriors) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    assert_close(diffusion.reverse_variances(schedule), BETAS, rtol=SHARP, what="reverse_variances(schedule)")
    assert_close(diffusion.reverse_variances(schedule, "beta"), BETAS, rtol=SHARP, what='reverse_variances "beta"')
    floored = np.array([BETAS[0], *posteriors[1:]])
    mistakes = {
        "is β̃_1 = 0 taken at t = 1, where it leaves no density?": posteriors,
        "is β_t taken for β̃_t?": BETAS,
        "is β̃_2 repeated at t = 1? It is β_1": np.array([posteriors[1], *posteriors[1:]]),
        "are these standard deviations?": np.sqrt(floored),
    }
    got = diffusion.reverse_variances(schedule, "posterior")
    assert_close(got, floored, rtol=SHARP, what='reverse_variances "posterior"', mistakes=mistakes)
    own = np.array([3, 1, 4, 1, 5])
    assert_close(diffusion.reverse_variances(schedule, own), own, what="reverse_variances of five numbers")


def test_reverse_step_takes_the_guessed_noise_away():
    """(x_t - β_t/√(1-ᾱ_t) ε̂)/√α_t and σ_t, at every t, for three choices of variances; x_t is left as it was."""
    schedule, (alpha_bars, noise, posteriors) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    own = np.array([0.2, 0.5, 0.1, 0.9, 0.3])
    floored = np.array([BETAS[0], *posteriors[1:]])
    for variances, used in (("beta", BETAS), ("posterior", floored), (own, own)):
        model = diffusion.reverse_step(guess, schedule, variances)
        for t in range(1, 6):
            xt, beta = torch.tensor(DATA), BETAS[t - 1]
            alpha, e = 1 - beta, guess(DATA, t)
            want = (DATA - beta / np.sqrt(noise[t]) * e) / np.sqrt(alpha)
            mistakes = {
                "is 1/√α_t forgotten?": want * np.sqrt(alpha),
                "is α_t taken for ᾱ_t in √(1 - ᾱ_t)?": (DATA - np.sqrt(beta) * e) / np.sqrt(alpha),
                "is the guessed noise added, not taken away?": (DATA + beta / np.sqrt(noise[t]) * e) / np.sqrt(alpha),
                "is it divided by 1 - ᾱ_t, not by its root?": (DATA - beta / noise[t] * e) / np.sqrt(alpha),
                "is it √β_t where β_t belongs?": (DATA - np.sqrt(beta / noise[t]) * e) / np.sqrt(alpha),
                "is it divided by α_t, not by its root?": want / np.sqrt(alpha),
                "is this the guess of x_0, not the mean of x_{t-1}?": (DATA - np.sqrt(noise[t]) * e)
                / np.sqrt(alpha_bars[t]),
                "is ᾱ_{t-1} taken for ᾱ_t?": (DATA - beta / np.sqrt(noise[max(t - 1, 1)]) * e) / np.sqrt(alpha),
            }
            mean, std = model(xt, t)
            what = f"the mean of reverse_step at t = {t}"
            assert_close(mean, want, rtol=SHARP, atol=SHARP, what=what, mistakes=mistakes)
            mistakes = {"is this the variance σ_t², not its root?": used[t - 1]}
            assert_close(std, np.sqrt(used[t - 1]), rtol=SHARP, what=f"the std at t = {t}", mistakes=mistakes)
            assert_close(xt, DATA, what="x_t, after reverse_step has looked at it")
    assert_close(diffusion.reverse_step(guess, schedule)(xt, 3)[1], np.sqrt(BETAS[2]), what="the std, by default")


@pytest.mark.claim("prop-noise-prediction", kind="symbolic")
def test_reverse_step_is_the_posterior_with_the_guess_in_place_of_the_noise():
    """For sympy, μ̃_t with x_0 = (x_t - √(1-ᾱ_t) ε)/√ᾱ_t is (x_t - β_t/√(1-ᾱ_t) ε)/√α_t; and so for the functions."""
    alpha, before = sympy.symbols("alpha before", positive=True)
    xt, e = sympy.symbols("xt e", real=True)
    beta, after = 1 - alpha, alpha * before
    x0 = (xt - sympy.sqrt(1 - after) * e) / sympy.sqrt(after)
    mean = (sympy.sqrt(before) * beta * x0 + sympy.sqrt(alpha) * (1 - before) * xt) / (1 - after)
    stated = (xt - beta / sympy.sqrt(1 - after) * e) / sympy.sqrt(alpha)
    for symbol in (xt, e):  # linear in both
        assert sympy.simplify(sympy.diff(mean - stated, symbol)) == 0
    schedule, (alpha_bars, noise, _) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    model, x = diffusion.reverse_step(guess, schedule), DATA
    for t in range(1, 6):
        clean = (x - np.sqrt(noise[t]) * guess(x, t)) / np.sqrt(alpha_bars[t])
        want = diffusion.posterior(clean, x, t, schedule).mean
        got = model(torch.tensor(x), t)[0]
        assert_close(got, want, rtol=1e-9, atol=1e-10, what=f"the mean of reverse_step at t = {t}")


@pytest.mark.claim("prop-noise-prediction")
def test_bound_weights_turn_squares_of_the_noise_into_the_bound(generator):
    """Draw by draw, L_{t-1} and L_0 are the weight times |ε - ε̂|² and the stated constants, in three dimensions."""
    schedule, (alpha_bars, noise, posteriors) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    own, d = np.array([0.2, 0.5, 0.1, 0.9, 0.3]), 3
    model = Watched(diffusion.reverse_step(guess, schedule, own))
    got = diffusion.bound(model, DATA, schedule, generator=generator)
    weights = diffusion.bound_weights(schedule, own)
    for t in range(1, 6):
        xt = model.rows(t)
        e = (xt - np.sqrt(alpha_bars[t]) * DATA) / np.sqrt(noise[t])
        loss = diffusion.noise_loss(guess, torch.tensor(DATA), t, schedule, torch.tensor(e)).numpy()
        assert_close(loss, ((e - guess(xt, t)) ** 2).sum(axis=1), rtol=1e-9, what=f"noise_loss at t = {t}")
        if t == 1:
            want = weights[0] * loss + d / 2 * np.log(2 * np.pi * own[0])
            assert_close(got.L_0, want, rtol=1e-9, atol=1e-9, what="L_0 of bound, from |ε - ε̂|²")
        else:
            v, b = own[t - 1], posteriors[t - 1]
            want = weights[t - 1] * loss + d / 2 * (np.log(v / b) + b / v - 1)
            assert_close(got.L_t[t - 2], want, rtol=1e-9, atol=1e-9, what=f"L_{t - 1} of bound, from |ε - ε̂|²")


def test_bound_weights_are_the_stated_ones():
    """β_t²/(2 σ_t² α_t (1 - ᾱ_t)) in fractions, for "beta", "posterior" and five numbers."""
    schedule, (_, noise, posteriors) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    own = np.array([0.2, 0.5, 0.1, 0.9, 0.3])
    floored = np.array([BETAS[0], *posteriors[1:]])
    for variances, used in (("beta", BETAS), ("posterior", floored), (own, own)):
        want = BETAS**2 / (2 * used * (1 - BETAS) * noise[1:])
        mistakes = {
            "is the factor 2 below missing?": 2 * want,
            "is α_t missing below?": (1 - BETAS) * want,
            "is 1 - ᾱ_t missing below?": noise[1:] * want,
            "is it 1 - ᾱ_{t-1}?": BETAS**2 / (2 * used * (1 - BETAS) * np.append(1, noise[1:-1])),
            "is σ_t taken for σ_t²?": want * np.sqrt(used),
            "is β_t there once, not squared?": want / BETAS,
            "is ᾱ_t taken for α_t?": want * (1 - BETAS) / (1 - noise[1:]),
        }
        got = diffusion.bound_weights(schedule, variances)
        assert_close(got, want, rtol=SHARP, what="bound_weights", mistakes=mistakes)
    got = diffusion.bound_weights(schedule)
    assert_close(got, BETAS / (2 * (1 - BETAS) * noise[1:]), rtol=SHARP, what="bound_weights(schedule)")


def test_reverse_step_and_weights_refuse_variances_that_are_none():
    """Unknown names, negative variances, NaN, another length; t out of range."""
    schedule = diffusion.Schedule(BETAS)
    for function in (
        lambda variances: diffusion.reverse_variances(schedule, variances),
        lambda variances: diffusion.reverse_step(guess, schedule, variances),
        lambda variances: diffusion.bound_weights(schedule, variances),
    ):
        assert_refused(function, "small", argument="variances", value="'small'")
        assert_refused(function, np.ones(4), argument="variances", value="(4,)")
        assert_refused(function, np.array([1, 1, 0.0, 1, 1]), argument="variances", value=0.0)
        assert_refused(function, np.array([1, 1, np.nan, 1, 1]), argument="variances", value=np.nan)
    model = diffusion.reverse_step(guess, schedule)
    for t in (0, 6):
        assert_refused(lambda t: model(torch.zeros(2, 1), t), t, argument="t", value=t)


def test_noise_loss_sums_the_squares_of_each_row():
    """|ε - ε̂(x_t, t)|² with x_t made of x_0 and ε, summed over three coordinates; with a t for each row too."""
    schedule, (alpha_bars, noise, _) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    x0, e = torch.tensor(DATA), torch.tensor(DATA[::-1] / 3 + 0.2)
    shown = []

    def denoiser(xt, t):
        shown.append(xt.numpy().copy())
        return 0.5 * xt

    xt = np.sqrt(alpha_bars[4]) * DATA + np.sqrt(noise[4]) * e.numpy()
    square = (e.numpy() - 0.5 * xt) ** 2
    mistakes = {
        "is this a mean over the coordinates, not their sum?": square.mean(axis=1),
        "is the mean over the rows taken? One number for each row is asked for": square.sum(axis=1).mean(),
        "is it |x_0 - ε̂|²?": ((DATA - 0.5 * xt) ** 2).sum(axis=1),
        "is the denoiser shown x_0, not x_t?": ((e.numpy() - 0.5 * DATA) ** 2).sum(axis=1),
        "is the noise added with 1 - ᾱ_t, not its root?": (
            (e.numpy() - 0.5 * (np.sqrt(alpha_bars[4]) * DATA + noise[4] * e.numpy())) ** 2
        ).sum(axis=1),
        "is x_0 not shrunk in x_t?": ((e.numpy() - 0.5 * (DATA + np.sqrt(noise[4]) * e.numpy())) ** 2).sum(axis=1),
        "is it ½ |ε - ε̂|²?": square.sum(axis=1) / 2,
    }
    got = diffusion.noise_loss(denoiser, x0, 4, schedule, e)
    assert_close(got, square.sum(axis=1), rtol=SHARP, what="noise_loss at t = 4", mistakes=mistakes)
    assert_close(shown[0], xt, rtol=SHARP, what="the x_t that the denoiser was shown")
    t = torch.tensor([5, 2])
    got = diffusion.noise_loss(denoiser, x0, t, schedule, e)
    want = [diffusion.noise_loss(denoiser, x0[i : i + 1], int(t[i]), schedule, e[i : i + 1]).item() for i in (0, 1)]
    assert_close(got, want, rtol=SHARP, what="noise_loss with a t for each row")
    assert_refused(diffusion.noise_loss, denoiser, x0, 2, schedule, e[:1], argument="noise", value="(1, 3)")
    assert_refused(diffusion.noise_loss, denoiser, x0, 0, schedule, e, argument="t", value=0)


# The network


def a_denoiser(seed=1, dimension=2, betas=BETAS, **options):
    """A small one with given weights."""
    return diffusion.Denoiser(
        dimension, diffusion.Schedule(betas), 16, 2, generator=torch.Generator().manual_seed(seed), **options
    )


def test_denoiser_looks_at_each_row_and_its_time(generator):
    """A row's guess is the same alone, among others, and with t a number or by row; another t, another guess."""
    denoiser, x = a_denoiser(), torch.randn(6, 2, generator=generator)
    t = torch.tensor([1, 5, 3, 3, 2, 4])
    with torch.no_grad():
        together = denoiser(x, t).numpy()
        alone = np.concatenate([denoiser(x[i : i + 1], int(t[i])).numpy() for i in range(6)])
        assert_close(together, alone, rtol=1e-4, atol=1e-5, what="the guesses for six rows at once, against one by one")
        same = x[:1].expand(5, 2)
        by_time = denoiser(same, torch.arange(1, 6)).numpy()
    gaps = np.abs(by_time[:, None] - by_time).max(axis=2) + np.eye(5)
    assert gaps.min() > 1e-4, "the guess does not depend on t: is the time fed as a constant?"
    assert by_time.shape == (5, 2), f"the guess for 5 rows of 2 has shape {by_time.shape}"


def test_denoiser_takes_its_weights_from_the_generator():
    """Equal seeds give equal weights, others others; hidden and layers count what they say."""
    first, again, other = ([w.detach().numpy() for w in a_denoiser(seed).parameters()] for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True)), "equal generators give different weights"
    assert not all((a == b).all() for a, b in zip(first, other, strict=True)), (
        "the generator's seed makes no difference"
    )
    for hidden, layers in ((16, 2), (7, 1), (9, 4)):
        sizes = [
            w.shape[0]
            for w in diffusion.Denoiser(3, diffusion.Schedule(BETAS), hidden, layers).parameters()
            if w.ndim == 2
        ]
        what = f"rows of the weights with hidden={hidden}, layers={layers}"
        assert_close(sizes, [hidden] * layers + [3], what=what)


def test_denoiser_adds_its_network_to_the_share_of_x_t(generator):
    """With a network that says c everywhere the guess is √(1-ᾱ_t) x_t + √ᾱ_t c; the network itself sees t."""
    (alpha_bars, noise, _), c = exact_tables(BETAS), torch.tensor([0.5, -2.0, 1.0])
    x = torch.randn(4, 3, generator=generator)
    denoiser = a_denoiser(dimension=3)
    with torch.no_grad():
        heard = [(denoiser(0 * x[:1], t) / math.sqrt(alpha_bars[t])).numpy() for t in range(1, 6)]
        gap = min(np.abs(a - b).max() for a, b in itertools.combinations(heard, 2))
        assert gap > 1e-4, "the network gives one answer at x_t = 0 for two t: is the time fed as a constant?"
        for weight in denoiser.parameters():
            weight.copy_(c if weight.shape == (3,) else torch.zeros_like(weight))
        for t in range(1, 6):
            of_xt, of_network = np.sqrt(noise[t]) * x.numpy(), np.sqrt(alpha_bars[t]) * c.numpy()
            mistakes = {
                "is it the network alone, without √(1-ᾱ_t) x_t?": 0 * of_xt + c.numpy(),
                "is the network not scaled by √ᾱ_t?": of_xt + c.numpy(),
                "is the network's part subtracted?": of_xt - of_network,
                "are √ᾱ_t and √(1-ᾱ_t) exchanged?": np.sqrt(alpha_bars[t]) * x.numpy() + np.sqrt(noise[t]) * c.numpy(),
                "is √(1-ᾱ_t) taken without its root?": noise[t] * x.numpy() + of_network,
            }
            what = f"the guess at t = {t} of a Denoiser whose network says c"
            assert_close(denoiser(x, t), of_xt + of_network, rtol=1e-5, atol=1e-5, what=what, mistakes=mistakes)


def test_denoiser_refuses_shapes_and_times_that_do_not_fit():
    """Another number of columns, t out of range or of another length; sizes below 1."""
    denoiser, x = a_denoiser(), torch.zeros(4, 2)
    for t in (0, 6):
        assert_refused(denoiser.forward, x, t, argument="t", value=t)
    assert_refused(denoiser.forward, x, torch.tensor([1, 2]), argument="t", value="(4,)")
    assert_refused(denoiser.forward, torch.zeros(4, 3), 1, argument="xt", value="(4, 3)")
    schedule = diffusion.Schedule(BETAS)
    for sizes, name in (((0, schedule), "dimension"), ((2, schedule, 0), "hidden"), ((2, schedule, 8, 0), "layers")):
        assert_refused(diffusion.Denoiser, *sizes, argument=name, value=0)


def watched_training(steps, batch_size, generator, data, rate=1e-9, weights=None, betas=BETAS[:3]):
    """The losses of train, and x_t, t and ε̂ at each step."""
    denoiser, heard = a_denoiser(betas=betas), []

    def listen(module, given, answer):
        heard.append((given[0].detach().clone(), np.broadcast_to(np.asarray(given[1]), len(given[0])), answer.detach()))

    denoiser.register_forward_hook(listen)
    schedule = diffusion.Schedule(betas)
    options = {"steps": steps, "batch_size": batch_size, "rate": rate, "weights": weights, "generator": generator}
    return diffusion.train(denoiser, data, schedule, **options), heard


def test_train_returns_the_mean_loss_of_each_minibatch(generator):
    """With a point for data, the noise can be read off x_t: each loss is the mean of w_t |ε - ε̂|² over the rows."""
    point, weights = np.array([[1.0, -0.5]]), np.array([0.5, 3.0, 10.0])
    alpha_bars, noise, _ = exact_tables(BETAS[:3])
    for given in (None, weights):
        losses, heard = watched_training(6, 20, generator, point, weights=given)
        assert len(heard) == 6, f"the denoiser was asked {len(heard)} times in 6 steps"
        want, plain, means = [], [], []
        for xt, t, answer in heard:
            assert xt.shape == (20, 2), (
                f"a minibatch has shape {tuple(xt.shape)}: batch_size is 20, the points have d = 2"
            )
            e = (xt.numpy() - np.sqrt(alpha_bars[t])[:, None] * point) / np.sqrt(noise[t])[:, None]
            square = ((e - answer.numpy()) ** 2).sum(axis=1)
            w = np.ones(3) if given is None else given
            want.append((w[t - 1] * square).mean())
            plain.append(square.mean())
            means.append((w[t - 1] * square).mean() / 2)
        mistakes = {"is it a mean over the coordinates too?": means}
        if given is not None:
            mistakes["are the weights ignored?"] = plain
        # float32: ε is read off x_t with an error of 1e-7/√(1 - ᾱ_1), a few digits less than x_t
        assert_close(losses, want, rtol=1e-4, what="the losses of train", mistakes=mistakes)


def test_train_draws_times_and_noise_for_each_minibatch(generator):
    """Of 600 minibatches: each t of 1..3 a third of the time, ε ~ N(0, 1), and no noise shared between rows."""
    point = np.array([[1.0, -0.5]])
    alpha_bars, noise, _ = exact_tables(BETAS[:3])
    _, heard = watched_training(600, 4, generator, point)
    first = np.array([t[0] for _, t, _ in heard])
    for t in (1, 2, 3):
        assert_proportion(int((first == t).sum()), 600, 1 / 3, detects=0.17, hints={"t = 3 is never drawn": 0.5})
    alike = sum(int(t[0] == t[1]) for _, t, _ in heard)
    hints = {"one t serves the whole minibatch: every row needs its own": 1.0}
    assert_proportion(alike, 600, 1 / 3, detects=0.17, hints=hints)
    z = np.array(
        [(xt.numpy() - np.sqrt(alpha_bars[t])[:, None] * point) / np.sqrt(noise[t])[:, None] for xt, t, _ in heard]
    )
    shared = np.abs(z[:, 0] - z[:, 1]).max() < 1e-2
    assert not shared, "one draw of noise serves the whole minibatch: every row needs its own"
    assert_distribution(z[:, 0].ravel(), stats.norm.cdf, detects=0.15)
    assert_mean(z[:, 0, 0] * z[:, 1, 0], 0.0, detects=0.6, hints={"rows share their noise": 1.0})
    assert_mean(z[:, 0, 0] * z[:, 0, 1], 0.0, detects=0.6, hints={"both coordinates share their noise": 1.0})


def test_train_draws_its_minibatches_from_all_the_data(generator):
    """Three far points for data: each is a third of the rows, and rows of a minibatch are independent."""
    points = np.array([[-100.0], [0.0], [100.0]])
    denoiser, heard = a_denoiser(dimension=1), []
    denoiser.register_forward_hook(
        lambda module, given, answer: heard.append((given[0].detach().numpy().copy(), given[1]))
    )
    schedule = diffusion.Schedule(BETAS)
    diffusion.train(denoiser, points, schedule, steps=300, batch_size=3, rate=1e-9, generator=generator)
    alpha_bars = exact_tables(BETAS)[0]
    chosen = np.array(
        [np.round(xt[:, 0] / np.sqrt(alpha_bars[np.broadcast_to(np.asarray(t), 3)]) / 100) for xt, t in heard]
    )
    for which in (-1, 0, 1):
        assert_proportion(
            int((chosen[:, 0] == which).sum()), 300, 1 / 3, detects=0.25, hints={"it is the only row": 1.0}
        )
    # with replacement: two of three rows agree in a third of the minibatches
    assert_proportion(int((chosen[:, 0] == chosen[:, 1]).sum()), 300, 1 / 3, detects=0.25)


def test_train_takes_steps_of_the_rate_and_slows_down(generator):
    """Adam moves a weight by about the rate at most: the largest of 40 moves is of that size, the last far smaller."""
    data, schedule = torch.randn(50, 2, generator=generator), diffusion.Schedule(BETAS)
    for rate in (1e-4, 3e-3):
        denoiser, kept = a_denoiser(), []

        def keep(*_, denoiser=denoiser, kept=kept):
            kept.append(torch.cat([w.detach().flatten().clone() for w in denoiser.parameters()]))

        denoiser.register_forward_hook(keep)
        diffusion.train(denoiser, data, schedule, steps=40, batch_size=8, rate=rate, generator=generator)
        keep()
        moves = np.array([(b - a).abs().max().item() for a, b in itertools.pairwise(kept)])
        # |m|/√v of Adam is about 1 at most where gradients are alike, and never above (1 - 0.9)/√(1 - 0.999) = 3.2
        assert moves.max() < 4 * rate, f"a weight moves by {moves.max():.2g} in a step, with a rate of {rate}"
        assert moves.max() > rate / 10, f"no weight moves by more than {moves.max():.2g} in a step, at a rate of {rate}"
        assert moves[-1] < moves.max() / 10, (
            f"the last step is {moves[-1]:.2g}, the largest {moves.max():.2g}: the rate does not fall to nothing"
        )


def test_train_brings_the_denoiser_near_the_best_one(generator):
    """On data N(0, 4), the mean square distance from -√(1-ᾱ_t) score falls below a tenth of what it was."""
    schedule, (_, noise, _) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    data = 2 * torch.randn(4000, 1, generator=generator)
    denoiser, v = a_denoiser(dimension=1), chain_variances(4.0, BETAS)
    z = torch.linspace(-2, 2, 41)[:, None]

    def distance():
        with torch.no_grad():
            return np.mean(
                [
                    ((denoiser(np.sqrt(v[t]) * z, t) - np.sqrt(noise[t] / v[t]) * z) ** 2).mean().item()
                    for t in range(1, 6)
                ]
            )

    before = distance()
    losses = diffusion.train(denoiser, data, schedule, steps=400, batch_size=128, rate=0.01, generator=generator)
    assert losses.shape == (400,), f"the losses have shape {losses.shape}, not (400,)"
    assert distance() < 0.1 * before, f"the distance from the best guess went from {before:.3g} to {distance():.3g}"


def test_train_refuses_data_and_rates_that_will_not_do():
    """Steps and batches below 1, rates that are not positive, weights of another length; a schedule of other steps."""
    schedule, data = diffusion.Schedule(BETAS), np.zeros((4, 2))
    for name, value in (("steps", 0), ("batch_size", 0), ("rate", 0.0), ("rate", np.nan)):
        assert_refused(
            diffusion.train, a_denoiser(), data, schedule, argument=name, value=value, **{"steps": 1, name: value}
        )
    wrong = {"weights": np.ones(4)}
    assert_refused(diffusion.train, a_denoiser(), data, schedule, steps=1, argument="weights", value="(4,)", **wrong)
    negative = {"weights": -np.ones(5)}
    assert_refused(diffusion.train, a_denoiser(), data, schedule, steps=1, argument="weights", value=-1.0, **negative)
    assert_refused(diffusion.train, a_denoiser(), np.zeros((4, 3)), schedule, steps=1, argument="data", value="(4, 3)")
    broken = np.array([[0.0, np.nan]])
    assert_refused(diffusion.train, a_denoiser(), broken, schedule, steps=1, argument="data", value=np.nan)
    short = diffusion.Schedule(BETAS[:3])
    assert_refused(diffusion.train, a_denoiser(), data, short, steps=1, argument="schedule", value=3)
    with pytest.raises(OverflowError, match="rate"):
        diffusion.train(a_denoiser(), data, schedule, steps=20, batch_size=4, rate=1e30)


# Samples


def test_sample_walks_back_to_the_variance_of_the_recursion(generator):
    """With the exact steps of N(0, 3), from N(0, 1): variances by recursion, with the last noise and without it."""
    schedule, model = diffusion.Schedule(BETAS), None
    v = chain_variances(3.0, BETAS)
    model = diffusion.gaussian_step(3.0, schedule)
    slopes, added = np.sqrt(1 - BETAS) * v[:-1] / v[1:], BETAS * v[:-1] / v[1:]
    variance = 1.0
    for t in range(5, 1, -1):
        variance = slopes[t - 1] ** 2 * variance + added[t - 1]
    clean, noisy = slopes[0] ** 2 * variance, slopes[0] ** 2 * variance + added[0]
    for end, want, other in ((True, noisy, clean), (False, clean, noisy)):
        x = diffusion.sample(generator, model, schedule, 20_000, dimension=1, noisy_end=end)[:, 0].numpy()
        hint = "the last step adds no noise" if end else "the last step adds noise: x_0 is its mean"
        # the last noise is a 28th of the variance, and is told apart exactly in the test of the path
        hints = {hint: stats.norm(scale=np.sqrt(other)).cdf}
        assert_distribution(x, stats.norm(scale=np.sqrt(want)).cdf, detects=0.03, hints=hints)


def test_sample_returns_the_path_it_took(generator):
    """path[T] ~ N(0, I), the residuals of every step are N(0, 1) and uncorrelated, and path[0] is the last mean."""
    schedule, model = diffusion.Schedule(BETAS), Linear.still(BETAS)
    model.slopes = np.array([0.7, 0.9, -0.5, 0.4, 1.1])
    n = 3000
    for end in (False, True):
        path = diffusion.sample(generator, model, schedule, n, dimension=2, noisy_end=end, path=True).numpy()
        assert path.shape == (6, n, 2), f"the path has shape {path.shape}, not (T + 1, n, d) = (6, {n}, 2)"
        z = {6: path[5]}
        for t in range(1, 6):
            mean, std = model(path[t], t)
            z[t] = (path[t - 1] - mean) / std
        if not end:
            last = np.abs(z.pop(1)).max()
            assert last < 1e-9, (
                f"the last step adds noise, though noisy_end=False: x_0 is off its mean by {last:.3g} std"
            )
        for t in z:
            assert np.ptp(z[t][:, 0]) > 0.1 or not np.ptp(z[t]), "all chains share their noise"
            hints = {
                "it has no noise": lambda x: (x >= 0) * 1.0,
                "its noise is scaled by σ², not σ": stats.norm(scale=float(model.stds[min(t, 5) - 1])).cdf,
            }
            assert_distribution(z[t].ravel(), stats.norm.cdf, detects=0.06, hints=hints)
            assert_mean(z[t][:, 0] * z[t][:, 1], 0.0, detects=0.2, hints={"both coordinates share their noise": 1.0})
            assert_mean(
                z[t][::2, 0] * z[t][1::2, 0], 0.0, detects=0.25, hints={"neighbouring chains share their noise": 1.0}
            )
        for s, t in itertools.pairwise(z):
            assert_mean(z[s][:, 0] * z[t][:, 0], 0.0, detects=0.2, hints={"all steps share their noise": 1.0})


def test_sample_goes_as_far_as_the_model_says(generator):
    """A model that moves x_t by 10 with a std of 0.1: each step of the path does, and x_0 lies near 50."""
    schedule = diffusion.Schedule(BETAS)
    path = diffusion.sample(generator, lambda xt, t: (xt + 10.0, 0.1), schedule, 50, dimension=2, path=True).numpy()
    # 10 std: no draw goes as far
    worst = np.abs(path[:-1] - path[1:] - 10).max()
    assert worst < 1, f"a step of the path is {worst:.3g} off the model's mean, 10 std or more: is x_t clipped?"


def test_sample_ends_alike_with_the_path_and_without(generator):
    """Where the last mean is 0, x_0 is 0 without the last noise and is not with it, whether the path is asked for."""
    schedule, model = diffusion.Schedule(BETAS), Linear(np.zeros(5), np.zeros(5), np.ones(5))
    for path in (False, True):
        options = {"dimension": 2, "path": path}
        clean, noisy = (
            diffusion.sample(generator, model, schedule, 8, noisy_end=end, **options).numpy().reshape(-1, 8, 2)[0]
            for end in (False, True)
        )
        assert (clean == 0).all(), f"the last step adds noise, though noisy_end=False (path={path})"
        assert (noisy != 0).all(), f"the last step adds no noise, though noisy_end=True (path={path})"


def test_sample_takes_a_denoiser_for_its_reverse_step():
    """A Denoiser is walked back as its reverse_step with variances β_t, in its dimension and precision."""
    schedule, denoiser = diffusion.Schedule(BETAS), a_denoiser(dimension=3)
    path = diffusion.sample(torch.Generator().manual_seed(3), denoiser, schedule, 2, path=True)
    with torch.no_grad():
        mean, _ = diffusion.reverse_step(denoiser, schedule)(path[1], 1)
    assert_close(path[0], mean.numpy(), rtol=1e-5, atol=1e-5, what="x_0 drawn with a Denoiser")
    assert path.shape == (6, 2, 3), f"the path has shape {tuple(path.shape)}, not (6, 2, 3)"
    assert not path.requires_grad, "the draws carry the gradients of every step along: sample without them"
    parts = diffusion.bound(denoiser, DATA, schedule, generator=torch.Generator().manual_seed(3))
    model = diffusion.reverse_step(denoiser, schedule)
    again = diffusion.bound(model, DATA.astype(np.float32), schedule, generator=torch.Generator().manual_seed(3))
    assert_close(parts.total, again.total, rtol=1e-4, what="the bound of a Denoiser, against that of its reverse_step")


def test_sample_refuses_what_it_cannot_draw():
    """Draws below 1, no dimension or a wrong one, a schedule that is not the denoiser's, a std of 0."""
    schedule, model, g = diffusion.Schedule(BETAS), Linear.still(BETAS), torch.Generator()
    assert_refused(diffusion.sample, g, model, schedule, 0, dimension=1, argument="n", value=0)
    assert_refused(diffusion.sample, g, model, schedule, 2, argument="dimension", value="None")
    assert_refused(diffusion.sample, g, model, schedule, 2, dimension=0, argument="dimension", value=0)
    assert_refused(diffusion.sample, g, a_denoiser(), schedule, 2, dimension=3, argument="dimension", value=3)
    assert_refused(diffusion.sample, g, a_denoiser(), diffusion.Schedule(BETAS[:2]), 2, argument="schedule", value=2)
    broken = lambda xt, t: (xt, 0.0)  # noqa: E731
    assert_refused(diffusion.sample, g, broken, schedule, 2, dimension=1, argument="std", value=0.0)


@pytest.mark.claim("prop-memoriser")
def test_exact_denoiser_of_training_data_gives_them_back(generator):
    """Its last mean is Σ rᵢ xᵢ, by the shares, and no other guess has a smaller loss; samples are training points."""
    schedule, (alpha_bars, noise, _) = diffusion.Schedule(BETAS), exact_tables(BETAS)
    denoiser = diffusion.exact_denoiser(diffusion.cloud(POINTS), schedule)
    model = diffusion.reverse_step(denoiser, schedule)
    x1 = np.array([[0.3, 0.8], [1.1, 0.1], [-3.0, 2.0]])
    square = ((x1[:, None] - np.sqrt(alpha_bars[1]) * POINTS) ** 2).sum(axis=2)
    r = special.softmax(-square / (2 * noise[1]), axis=1)
    mistakes = {"is it the nearest training point alone?": POINTS[square.argmin(axis=1)]}
    got = model(torch.tensor(x1), 1)[0]
    assert_close(got, r @ POINTS, rtol=1e-9, atol=1e-9, what="the mean of the last reverse step", mistakes=mistakes)
    # the loss at x_t is Σ rᵢ |εᵢ - ε̂|², least at the mean of the εᵢ: any move δ costs |δ|²
    xt, t = torch.tensor(x1), 4
    square = ((x1[:, None] - np.sqrt(alpha_bars[t]) * POINTS) ** 2).sum(axis=2)
    r = special.softmax(-square / (2 * noise[t]), axis=1)
    e = (x1[:, None] - np.sqrt(alpha_bars[t]) * POINTS) / np.sqrt(noise[t])
    best = denoiser(xt, t).numpy()
    for move in (np.array([0.1, 0.0]), np.array([-0.2, 0.3])):
        costs = [(r[:, :, None] * (e - guessed[:, None]) ** 2).sum(axis=(1, 2)) for guessed in (best, best + move)]
        assert_close(costs[1] - costs[0], np.full(3, move @ move), rtol=1e-8, what="what it costs to move the guess")
    far = 50 * POINTS
    schedule = diffusion.linear_schedule(40)
    model = diffusion.reverse_step(diffusion.exact_denoiser(diffusion.cloud(far), schedule), schedule)
    x = diffusion.sample(generator, model, schedule, 60, dimension=2).numpy()
    nearest = np.sqrt(((x[:, None] - far) ** 2).sum(axis=2)).min(axis=1)
    assert nearest.max() < 1e-6, f"a sample lies {nearest.max():.3g} away from every training point"


@pytest.mark.parametrize("name", ["draw_cloud", "energy_test", "bound", "path_terms", "sample", "train", "Denoiser"])
def test_generators_alone_decide_what_is_drawn(name):
    """Equal seeds give equal results, another seed another; neither NumPy's nor PyTorch's global state moves."""
    schedule, model = diffusion.Schedule(BETAS), Linear.still(BETAS)
    model.slopes = model.slopes + 0.5
    x, y = DATA.T @ np.eye(2), POINTS

    def torches(seed):
        return torch.Generator().manual_seed(seed)

    def run(seed):
        rng = np.random.default_rng(seed)
        if name == "draw_cloud":
            return diffusion.draw_cloud(rng, a_cloud(), 5)
        if name == "energy_test":
            return [diffusion.energy_test(rng, x, y, 39).p_value for _ in range(10)]
        if name == "bound":
            return diffusion.bound(model, DATA, schedule, generator=torches(seed)).total
        if name == "path_terms":
            return diffusion.path_terms(model, DATA, schedule, generator=torches(seed))
        if name == "sample":
            return diffusion.sample(torches(seed), model, schedule, 3, dimension=2).numpy()
        if name == "Denoiser":
            return a_denoiser(seed)(torch.ones(2, 2), 3).detach().numpy()
        return diffusion.train(a_denoiser(), x, schedule, steps=2, batch_size=4, generator=torches(seed))

    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first, again, other = (np.array(run(seed)) for seed in (5, 5, 6))
    assert (first == again).all(), f"{name}: the same seed gave two results"
    assert (first != other).any(), f"{name}: another seed made no difference"
    assert (np.random.get_state()[1] == numpy_state).all(), f"{name} has moved NumPy's global state"  # noqa: NPY002
    assert (torch.get_rng_state() == torch_state).all(), f"{name} has moved PyTorch's global state"


@pytest.mark.parametrize("name", ["bound", "path_terms", "train", "Denoiser"])
def test_without_a_generator_every_call_draws_afresh(name):
    """With generator=None two calls draw differently: the seed is not always the same."""
    schedule, model = diffusion.Schedule(BETAS), Linear.still(BETAS)
    model.slopes = model.slopes + 0.5

    def run():
        if name == "bound":
            return diffusion.bound(model, DATA, schedule).total
        if name == "path_terms":
            return diffusion.path_terms(model, DATA, schedule)
        if name == "train":
            return diffusion.train(a_denoiser(), DATA[:, :2], schedule, steps=2, batch_size=4)
        return diffusion.Denoiser(2, schedule, 16, 2)(torch.ones(2, 2), 3).detach().numpy()

    first, second = run(), run()
    assert (first != second).any(), f"{name} without a generator draws the same twice: is a seed fixed inside?"


# Two samples, one law?


def by_pairs(x, y):
    """2 E|x-y| - E|x-x'| - E|y-y'|, by a double loop."""

    def mean_distance(a, b):
        return np.mean([[math.dist(p, q) for q in b] for p in a])

    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)


def test_energy_test_statistic_is_a_mean_over_all_pairs(rng):
    """Against a double loop over all pairs, in one and three dimensions, for samples of different sizes."""
    for n, m, d in ((5, 8, 3), (7, 4, 1), (1, 1, 2)):
        x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.7
        kept = x.copy(), y.copy()
        within = [np.mean([[math.dist(p, q) for q in a] for p in a]) for a in (x, y)]
        across = (by_pairs(x, y) + sum(within)) / 2
        mistakes = {
            "is E|x-y| counted once, not twice?": across - sum(within),
            "are pairs of a point with itself left out? All n² pairs count": 2 * across
            - sum(w * k / max(k - 1, 1) for w, k in zip(within, (n, m), strict=True)),
            "are distances squared: is the root forgotten?": 2 * ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum(),
            "are the distances within counted once, each pair for two?": 2 * across - sum(within) / 2,
            "is the root of the statistic taken?": np.sqrt(by_pairs(x, y)),
        }
        got = diffusion.energy_test(rng, x, y, 9).statistic
        assert_close(got, by_pairs(x, y), rtol=1e-9, atol=1e-12, what="the statistic of energy_test", mistakes=mistakes)
        assert (x == kept[0]).all() and (y == kept[1]).all(), "energy_test has changed its samples"  # noqa: PT018
    x, y = rng.normal(size=(700, 2)), rng.normal(size=(450, 2)) + np.linspace(0, 2, 450)[:, None]
    want = 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()
    got = diffusion.energy_test(rng, x, y, 1).statistic
    assert_close(got, want, rtol=1e-9, what="the statistic of 700 and 450 points (are only some of them looked at?)")
    whole = np.array([[0], [3], [4]])
    got = diffusion.energy_test(rng, whole, whole[:2] + 1, 9).statistic
    assert_close(got, by_pairs(whole, whole[:2] + 1), rtol=1e-9, what="the statistic for whole numbers")


@pytest.mark.claim("prop-permutation")
def test_energy_test_rejects_one_law_as_rarely_as_it_says(rng):
    """Of 1,500 tests on draws of one law, p ≤ a in a share a of them, for a = 1/20, ¼ and ½; no p is 0."""
    p = np.array(
        [diffusion.energy_test(rng, *np.split(rng.exponential(size=(17, 1)), [8]), 19).p_value for _ in range(1500)]
    )
    assert p.min() > 0, "a p-value of 0: is it b/P? It is (1 + b)/(1 + P)"
    assert_close(20 * p, np.round(20 * p), rtol=1e-9, what="20 p, with 19 permutations")
    for a, hint in ((1, 2), (5, 6), (10, 11)):
        share = int((20 * p < a + 0.5).sum())
        hints = {"p is a step too small": hint / 20, "p is one minus what it should be": 1 - a / 20}
        assert_proportion(share, 1500, a / 20, detects=0.1, hints=hints)


@pytest.mark.claim("prop-permutation")
def test_energy_test_counts_the_relabellings_that_are_as_large(rng):
    """For samples far apart p is 1/(1 + P); for equal points 1; for n = m = 2, by enumeration of all six labellings."""
    x, y = rng.normal(size=(12, 2)), rng.normal(size=(15, 2)) + 50
    for permutations in (1, 9, 199):
        got = diffusion.energy_test(rng, x, y, permutations).p_value
        mistakes = {
            "is it b/P? It is (1 + b)/(1 + P), never 0": 0.0,
            "is it 1/P, without the 1 below?": 1 / permutations,
            "is the tail the wrong one: labellings with a smaller statistic?": 1.0,
        }
        what = f"p of samples far apart, {permutations} permutations"
        assert_close(got, 1 / (1 + permutations), rtol=1e-9, what=what, mistakes=mistakes)
    equal = np.ones((4, 2))
    got = diffusion.energy_test(rng, equal, equal[:3], 19).p_value
    mistakes = {"are equal statistics not counted as at least as large?": 0.05}
    assert_close(got, 1.0, what="p where all points are equal", mistakes=mistakes)
    four = np.array([[0.0], [1.0], [3.1], [7.7]])
    labellings = [by_pairs(four[list(c)], np.delete(four, c, axis=0)) for c in itertools.combinations(range(4), 2)]
    share = np.mean(np.array(labellings) >= by_pairs(four[[0, 2]], four[[1, 3]]) - 1e-9)
    p = diffusion.energy_test(rng, four[[0, 2]], four[[1, 3]], 5000).p_value
    hits = round(p * 5001 - 1)
    assert_proportion(hits, 5000, share, detects=0.05)


def test_energy_test_sees_that_widths_differ(rng):
    """N(0, 1) and N(0, 25) have equal means, yet with 150 points each p is the least there is."""
    p = diffusion.energy_test(rng, rng.normal(size=(150, 1)), 5 * rng.normal(size=(150, 1)), 99).p_value
    assert p == 0.01, f"p is {p} for widths of 1 and 5: are only the means compared?"


def test_energy_test_refuses_samples_that_cannot_be_compared():
    """Permutations below 1, columns that differ, no points, NaN."""
    rng, x = np.random.default_rng(0), np.zeros((3, 2))
    for value in (0, -5, 1.5):
        assert_refused(diffusion.energy_test, rng, x, x, value, argument="permutations", value=value)
    assert_refused(diffusion.energy_test, rng, x, x[:, :1], 9, argument="y", value=1)
    assert_refused(diffusion.energy_test, rng, x[:0], x, 9, argument="x", value="(0, 2)")
    assert_refused(diffusion.energy_test, rng, np.full((2, 2), np.nan), x, 9, argument="x", value=np.nan)
