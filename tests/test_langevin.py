"""Langevin's walk against quadrature, enumeration, Gaussians where all is known, and the laws that wrong ones keep."""

import fractions
import itertools
import math

import numpy as np
import pytest
import scipy.sparse.linalg
import sympy
import torch
from scipy import integrate, interpolate, linalg, sparse, special, stats

from solutions import langevin, mixtures
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_mean, assert_proportion, assert_unbiased, assert_variance

SQUARE = np.array([[0.0, 0.0], [0.0, 3.0], [3.0, 0.0], [3.0, 3.0]])
PAIR = np.array([[0.0], [3.0]])
UNEVEN = np.array([[-1.0], [0.5], [4.0]])
SPACE = np.array([[1.0, -2.0, 0.5], [0.0, 1.0, 2.0]])
ALONE = np.array([[2.5]])
TWICE = np.array([[3.5], [0.0], [3.5]])
NAN, INF = math.nan, math.inf


def gaussian(x):
    """N(0, I), with another constant."""
    return 7.0 - 0.5 * np.square(x).sum(axis=1), -np.asarray(x, dtype=float)


def gaussian_around(centre, variance=1.0):
    """A Gaussian of one's own: centre (d,), one variance for all directions or one for each."""

    def target(x):
        away = np.asarray(x, dtype=float) - centre
        return -300.0 - 0.5 * (away**2 / variance).sum(axis=1), -away / variance

    return target


def box(x):
    """Uniform on [−1, 1]: outside, the density is 0 and the score is anything, such as NaN."""
    inside = (np.abs(x) <= 1).all(axis=1)
    return np.where(inside, 0.0, -np.inf), np.where(inside[:, None], 0.0, np.nan)


def mixture(means):
    """The log density and score of a mixture, written independently of the book's."""
    means = np.asarray(means, dtype=float)

    def target(x):
        away = [mean[:, None] - np.asarray(x, dtype=float).T for mean in means]  # long rows: scipy's softmax is slow
        logs = np.array([-0.5 * np.square(one).sum(axis=0) for one in away])
        top = logs.max(axis=0)
        weights = np.exp(logs - top)
        total = weights.sum(axis=0)
        pull = sum(weight * one for weight, one in zip(weights, away, strict=True)) / total
        return top + np.log(total) - np.log(len(means)) - means.shape[1] / 2 * np.log(2 * np.pi), pull.T

    return target


def exact_draws(rng, means, n):
    """Draws from the mixture, without walking."""
    means = np.asarray(means, dtype=float)
    return means[rng.integers(len(means), size=n)] + rng.standard_normal((n, means.shape[1]))


def coordinate_cdf(means, j):
    """The distribution function of coordinate j of the mixture."""
    return lambda u: np.mean([stats.norm.cdf(u, mean[j]) for mean in means], axis=0)


def thrifty(target):
    """The same law, from a function that writes its answers into the same arrays at each call."""
    log_p, slope = np.empty(100), np.empty((100, 2))

    def overwriting(x):
        log_p[: len(x)], slope[: len(x)] = target(x)
        return log_p[: len(x)], slope[: len(x)]

    return overwriting


def global_state():
    """The numbers that NumPy's global generator will go on from."""
    return np.random.get_state()[1].copy()  # noqa: NPY002


def walk(*args, **kwargs):
    """`langevin.sample` without the floating-point warnings that a right answer may give."""
    with np.errstate(all="ignore"):
        return langevin.sample(*args, **kwargs)


# One step, where everything can be integrated

HASTINGS_FORGOTTEN = "the Hastings ratio q(x|y)/q(y|x) seems to be missing: only p(y)/p(x) decides"


def step_by_quadrature(target, x, step):
    """The mean of the next state, and the probability of a move, of MALA and of those who err, from x on a line."""
    slope = target(np.array([[x]]))[1][0, 0]
    here = target(np.array([[x]]))[0][0]
    results = {}

    def log_normal(there, centre):
        return -((there - centre) ** 2) / (4 * step)

    def add(name, accept, drift=1.0, drift_in_q=1.0, only_accepted=False):
        centre, width = x + drift * step * slope, np.sqrt(2 * step)
        y = np.linspace(centre - 9 * width, centre + 9 * width, 3001)
        log_p, slopes = target(y[:, None])
        forth = log_normal(y, x + drift_in_q * step * slope)
        back = log_normal(x, y + drift_in_q * step * slopes[:, 0])
        density = np.exp(log_normal(y, centre)) * accept(log_p - here, back - forth) * 18 * width / 3000
        density /= np.sqrt(4 * np.pi * step)
        moved = density.sum()
        mean = x + density @ (y - x) / (moved if only_accepted else 1.0)
        results[name] = (mean, 1.0 if only_accepted else moved)

    def ratio(f):
        return lambda p, q: np.exp(np.minimum(0.0, f(p, q)))

    right = ratio(lambda p, q: p + q)
    add("right", right)
    add("every proposal is accepted, or it is one decision for all chains", lambda p, q: np.ones_like(p))
    add("the ratio is inverted: p(x)q(y|x) belongs below", ratio(lambda p, q: -p - q))
    add(HASTINGS_FORGOTTEN, ratio(lambda p, q: p))
    add("q(y|x)/q(x|y) is upside down in the ratio", ratio(lambda p, q: p - q))
    add("q has the exponent |·|²/(2ε), not |·|²/(4ε)", ratio(lambda p, q: p + 2 * q))
    add("p(y)/p(x) seems to be missing from the ratio", ratio(lambda p, q: q))
    add("there is no uniform number: accepted if the ratio exceeds one", lambda p, q: (p + q > 0).astype(float))
    add("accepted whenever p rises, and only then", lambda p, q: (p > 0).astype(float))
    add("only accepted moves are counted as steps: who refuses stays, and is counted again", right, only_accepted=True)
    add("the proposal's score and that in q are of other scales, 1/16 and 1/4", right, drift=1 / 16, drift_in_q=1 / 4)
    add("the score is a sixteenth of the right one: that of a standard deviation of 4", right, 1 / 16, 1 / 16)
    add("the drift is ε/2 times the score, with the right noise", right, 0.5, 0.5)
    return results


def test_sample_makes_the_right_adjusted_step(rng):
    """60,000 single steps from one point: E x' and the share that moves, by quadrature over the proposals."""
    x, step, target = -1.0, 1.5, mixture(PAIR)
    foreseen = step_by_quadrature(target, x, step)
    mean, moved = foreseen.pop("right")
    got = walk(rng, target, np.full((60_000, 1), x), step, 1)
    positions = got.positions[:, 0]
    gone = positions != x
    assert gone.any(), f"none of 60,000 chains moved, with {moved:.2f} for each: is it one decision for all chains?"
    places = len(np.unique(positions[gone]))
    assert places > 1000, f"all chains that moved are at {places} place(s): do they share their noise?"
    means = {name: value[0] for name, value in foreseen.items()}
    assert_mean(positions, mean, detects=0.08, hints=means)
    shares = {name: value[1] for name, value in foreseen.items()}
    assert_proportion(gone.sum(), len(gone), moved, detects=0.02, hints=shares)
    for one, other in [(gone[::2], gone[1::2]), (gone[:30_000], gone[30_000:])]:
        assert_proportion(
            (one & other).sum(), 30_000, moved**2, detects=0.03, hints={"chains share their uniform numbers": moved}
        )
    assert_close(got.acceptance, gone.astype(float), what="acceptance after one step")


def test_sample_goes_on_from_where_it_is(rng):
    """60,000 chains after two steps from one point: E x″ by matrices on a grid, right and with what was not renewed."""
    begin, step = 2.4, 0.9
    line = begin + 0.06 * np.arange(-160, 161)
    log_p, slope = mixture(PAIR)(line[:, None])
    slope, at = slope[:, 0], 160

    def moves(x, slope_here, log_p_here):
        """The chances of going from each x to each point of the line, with this score and log p at x, and E x'."""
        forth = -((line - (x + step * slope_here)[:, None]) ** 2) / (4 * step)
        back = -((x[:, None] - line - step * slope) ** 2) / (4 * step)
        q = np.exp(forth) * 0.06 / np.sqrt(4 * np.pi * step)
        k = q * np.exp(np.minimum(0, log_p - log_p_here[:, None] + back - forth))
        return q, k, x + (k * (line - x[:, None])).sum(axis=1)

    here, there = np.full(321, begin), np.full(321, slope[at])
    q, k, mean = moves(line, slope, log_p)

    def second(mean, mean_of_those_who_stayed=None):
        """E x'' if the second step has these means: from each place, and from the start, by what was proposed."""
        stayed = np.full(321, mean[at]) if mean_of_those_who_stayed is None else mean_of_those_who_stayed
        return k[at] @ mean + (q[at] - k[at]) @ stayed

    old_log_p = np.full(321, log_p[at])
    want = second(mean)
    hints = {
        "the score of the start is still in use in the second step": second(moves(line, there, log_p)[2]),
        "log p of the start is still in use in the second step": second(moves(line, slope, old_log_p)[2]),
        "score and log p of the start are still in use in the second step": second(moves(line, there, old_log_p)[2]),
        "the score of a proposal that was turned down is still in use": second(mean, moves(here, slope, old_log_p)[2]),
        "this is one step too few": mean[at],
    }
    got = walk(rng, mixture(PAIR), np.full((60_000, 1), begin), step, 2).positions[:, 0]
    assert_mean(got, want, detects=0.08, hints=hints)


@pytest.mark.parametrize("step", [0.3, 1.2])
def test_sample_makes_the_right_unadjusted_step(rng, step):
    """x + ε s(x) + √(2ε) z from one point of a mixture in space: means and variances, and no correlations."""
    x = np.array([0.4, -1.4, 2.9])
    slope = mixture(SPACE)(x[None])[1][0]
    got = walk(rng, mixture(SPACE), np.tile(x, (20_000, 1)), step, 1, adjusted=False)
    move = got.positions - x
    assert np.ptp(move, axis=0).min() > 0, "all chains made one and the same step: do they share their noise?"
    away = move - move.mean(axis=0)
    hints = {"both coordinates are shaken by the same number": 2 * step}
    for i, j in itertools.combinations(range(3), 2):
        assert_mean(away[:, i] * away[:, j], 0.0, detects=0.15 * step, hints=hints)
    spread = 2 * step
    hints = {
        "the noise is √ε z, where √(2ε) z belongs": step,
        "the noise is 2ε z, where √(2ε) z belongs": 4 * step**2,
        "the noise is √2 ε z, where √(2ε) z belongs": 2 * step**2,
        "the noise is ε z, where √(2ε) z belongs": step**2,
        "the noise is missing": 0.0,
    }
    for j in range(3):
        assert_variance(move[:, j], spread, detects=0.1, hints=hints)
    hints = {
        "the drift is ε/2 times the score, where ε times belongs": slope * step / 2,
        "the drift goes down the slope": -slope * step,
        "the drift is 2ε times the score": 2 * slope * step,
        "the drift is the score, without ε": slope,
        "the score is a sixteenth of the right one: that of a standard deviation of 4": slope * step / 16,
        "the drift is missing": 0 * slope,
    }
    assert_unbiased(move, step * slope, detects=0.1 * np.sqrt(step), hints=hints)
    far = np.count_nonzero(np.abs(move - step * slope) > 3.05 * np.sqrt(spread))
    hints = {"the noise is cut off at 3, or not normal": 0.0}
    assert_proportion(far, move.size, 2 * stats.norm.sf(3.05), detects=0.002, hints=hints)
    assert_close(got.acceptance, np.ones(20_000), what="acceptance of an unadjusted walk")


def test_sample_decides_for_each_chain_by_itself(rng):
    """Of 100 chains at 0 on N(0, 1) a binomial number moves, with probability 1/√(1+ε²): how often it is far off."""
    n, step, runs = 100, 2.0, 100
    p = 1 / np.sqrt(1 + step**2)  # log R = −(ε/4) y², y = √(2ε) z
    low, high = stats.binom.interval(0.9, n, p)

    def off(p):
        return stats.binom.cdf(low - 1, n, p) + stats.binom.sf(high, n, p)

    def given_uniform(e):
        return stats.chi2.cdf(2 * e / step**2, 1)  # P(log R > −e)

    def over_uniform(f):
        return integrate.quad(lambda e: f(given_uniform(e)) * np.exp(-e), 0, 60, limit=200)[0]

    assert_close(over_uniform(lambda g: g), p, rtol=1e-6, what="the mean acceptance, over the uniform number")
    start = np.zeros((n, 1))
    moved = np.array([np.count_nonzero(walk(rng, gaussian, start, step, 1).positions) for _ in range(runs)])
    hints = {
        "one uniform number decides for all chains": over_uniform(off),
        "one decision is taken for all chains": 1.0,
    }
    assert_proportion(((moved < low) | (moved > high)).sum(), runs, off(p), detects=0.4, hints=hints)


# Many steps


@pytest.mark.claim("cor-wrong-acceptances")
def test_sample_keeps_a_gaussian(rng):
    """20,000 exact draws of N(c, I) after 25 steps of ½ have variance 1; wrong rules keep 4/3, 4/7 and 2."""
    centre = np.array([5.0, -2.0])
    start = centre + rng.standard_normal((20_000, 2))
    got = walk(rng, gaussian_around(centre), start, 0.5, 25).positions
    hints = {
        "everything is accepted: 1/(1 − ε/2)": 4 / 3,
        HASTINGS_FORGOTTEN + ", 1/(2 − ε/2)": 4 / 7,
        "the ratio is inverted, 1/(1 − ε)": 2.0,
    }
    for j in range(2):
        assert_variance(got[:, j], 1.0, detects=0.1, hints=hints)
        assert_mean(got[:, j], centre[j], detects=0.06)


@pytest.mark.parametrize(("name", "step"), [("square", 0.5), ("square", 2.0), ("uneven", 1.0), ("space", 0.8)])
def test_sample_keeps_exact_draws(rng, name, step):
    """Mixtures in one to three dimensions: exact draws, after 15 steps, still have the law of exact draws."""
    means = {"square": SQUARE, "uneven": UNEVEN, "space": SPACE}[name]
    got = walk(rng, mixture(means), exact_draws(rng, means, 8000), step, 15).positions
    for j in range(means.shape[1]):
        assert_distribution(got[:, j], coordinate_cdf(means, j), detects=0.05)


def test_sample_comes_to_the_law_from_elsewhere(rng):
    """From 30 standard deviations off, sixty steps of ½ lead to N(0, 1) and leave nothing of the start."""
    got = walk(rng, gaussian, np.full((20_000, 1), 30.0), 0.5, 60).positions
    assert_distribution(got[:, 0], stats.norm.cdf, detects=0.03)


def test_sample_keeps_a_gaussian_of_other_variances(rng):
    """Variances 4 and ¼ in two coordinates are kept at ε = ½: one step for all, and the law is still right."""
    variance = np.array([4.0, 0.25])
    start = np.array([1.0, -3.0]) + np.sqrt(variance) * rng.standard_normal((20_000, 2))
    got = walk(rng, gaussian_around(np.array([1.0, -3.0]), variance), start, 0.5, 25).positions
    for j in range(2):
        assert_variance(got[:, j], variance[j], detects=0.1)


def test_sample_respects_walls(rng):
    """Uniform on [−1, 1], whose score outside is NaN: exact draws stay uniform, and nobody gets out."""
    got = walk(rng, box, rng.uniform(-1, 1, (20_000, 1)), 0.2, 15).positions
    out = int((~(np.abs(got) <= 1)).sum())
    assert not out, f"{out} chains are where p is 0, or at NaN: a proposal with log p = −∞ must be turned down"
    hints = {"everything is accepted": 1 / 3 + 2 * 0.2 * 15}
    assert_variance(got[:, 0], 1 / 3, detects=0.08, hints=hints)
    assert_distribution(got[:, 0], stats.uniform(-1, 2).cdf, detects=0.03)


@pytest.mark.parametrize("score_elsewhere", [NAN, 0.0])
def test_sample_stays_where_all_proposals_are_turned_down(rng, score_elsewhere):
    """If p is positive at the starts alone, chains stand there after 9 steps, whatever the score elsewhere."""
    start = np.repeat(rng.standard_normal((3, 2)), 400, axis=0)

    def only_here(x):
        inside = (np.abs(np.asarray(x)[:, None] - start[::400]) < 1e-9).all(axis=2).any(axis=1)
        return np.where(inside, 0.0, -np.inf), np.where(inside[:, None], 0.5 + 0 * x, score_elsewhere)

    got = walk(rng, only_here, start, 0.5, 9)
    assert not np.isnan(got.positions).any(), "NaN: the score of a proposal that was turned down is still in use"
    assert_close(got.positions, start, what="the positions, where nothing can be accepted")
    assert_close(got.acceptance, np.zeros(1200), what="acceptance, where nothing can be accepted")


@pytest.mark.claim("prop-ula-bias")
@pytest.mark.parametrize(("steps", "begin"), [(1, 0.0), (3, 0.0), (40, 4.0)])
def test_sample_unadjusted_follows_its_recursion(rng, steps, begin):
    """N(0, I) at ε = ½: mean (1−ε)ⁿ m₀ and variance v + (1−ε)²ⁿ (v₀ − v), v = 4/3, after 1, 3 and 40 steps."""
    step, v = 0.5, 4 / 3
    start = 6.0 + np.sqrt(begin) * rng.standard_normal((20_000, 1))
    got = langevin.sample(rng, gaussian, start, step, steps, adjusted=False).positions[:, 0]
    mean, variance = ((1 - step) ** n * 6.0 for n in (steps, steps + 1)), {}
    for n in (steps - 1, steps, steps + 1):
        variance[n] = v + (1 - step) ** (2 * n) * (begin - v)
    mean, later = mean
    hints = {"this is one step too many": later, "this is one step too few": 2 * mean}
    assert_mean(got, mean, detects=0.1, hints=hints)
    hints = {
        "it is the right law's variance, 1: are steps turned down here?": 1.0,
        "this is one step too many": variance[steps + 1],
        "this is one step too few": variance[steps - 1],
    }
    hints = {name: value for name, value in hints.items() if not np.isclose(value, variance[steps], rtol=0.05)}
    assert_variance(got, variance[steps], detects=0.12, hints=hints)


@pytest.mark.claim("prop-ula-bias")
def test_sample_unadjusted_runs_away_beyond_two(rng):
    """At ε = 2 each step adds 4 to the variance: after ten it is 41."""
    start = rng.standard_normal((20_000, 1))
    got = langevin.sample(rng, gaussian, start, 2.0, 10, adjusted=False).positions[:, 0]
    assert_variance(got, 41.0, detects=0.1)


@pytest.mark.parametrize("name", ["sample", "trace"])
def test_walks_say_that_they_have_run_away(rng, name):
    """At ε = 3 on the square the unadjusted walk leaves all numbers, and says so; 1e100 is still a number."""
    far = np.asarray(getattr(langevin, name)(rng, gaussian, np.full((2, 1), 1e100), 0.5, 2, adjusted=False)[0])
    last = far if name == "sample" else far / 2  # trace's first row is after one step
    assert_close(last.ravel(), [0.25e100] * 2, what="two halvings of 1e100")
    said = "nothing: it should raise an OverflowError"
    try:
        with np.errstate(all="ignore"):
            getattr(langevin, name)(rng, mixture(SQUARE), np.full((5, 2), 1e100), 3.0, 400, adjusted=False)
    except OverflowError as error:
        said = str(error)
    assert "step_size" in said, f"of a walk that ran away, in which step_size is too large, it says {said}"


def test_sample_does_not_run_away_when_adjusted(rng):
    """At ε = 3 on the square, where the unadjusted walk explodes, the adjusted one only turns down."""
    assert np.abs(walk(rng, mixture(SQUARE), np.zeros((5, 2)), 3.0, 50).positions).max() < 20


# What is reported


@pytest.mark.claim("thm-gaussian-acceptance")
@pytest.mark.parametrize(("dimension", "step"), [(1, 1.0), (2, 0.5), (10, 0.8)])
def test_sample_accepts_as_often_as_it_should(rng, dimension, step):
    """The settled chain on N(0, I) accepts with the beta law's probability: 4,000 chains, 10 steps."""
    c = np.sqrt(step**3 / (8 + step**3))
    want = 2 * stats.beta.cdf((1 - c) / 2, dimension / 2, dimension / 2)
    got = walk(rng, gaussian, rng.standard_normal((4000, dimension)), step, 10).acceptance
    hints = {"everything is accepted": 1.0, "this is the share of refusals": 1 - want}
    assert_mean(got, want, detects=0.03, hints=hints)


def test_sample_reports_the_acceptance_of_each_chain(rng):
    """acceptance is one number for each chain, a whole number of its steps over all of them, and not all alike."""
    got = walk(rng, gaussian, rng.standard_normal((200, 2)), 1.5, 21).acceptance
    assert np.shape(got) == (200,), f"acceptance has shape {np.shape(got)}: one number for each of 200 chains"
    assert np.ptp(got) > 0, "acceptance is the same for all chains: is it averaged over them?"
    counts = np.asarray(got) * 21
    message = f"acceptance times 21 steps is {counts[:3]}: it should be the part of its steps that a chain took, k/21"
    assert np.allclose(counts, np.round(counts), rtol=0, atol=1e-9), message
    assert counts.max() <= 21.001, f"acceptance is {got.max()}: a part cannot exceed one"


def test_sample_answers_alike_to_one_seed(rng):
    """One seed, one answer; another seed, another; and NumPy's global numbers are left alone."""
    before, start = global_state(), rng.standard_normal((20, 2))
    one, again, other = (
        walk(np.random.default_rng(seed), mixture(SQUARE), start, 0.7, 5).positions for seed in (1, 1, 2)
    )
    assert_close(again, one, what="the positions from the same seed (is randomness taken from somewhere else?)")
    assert not np.allclose(other, one), "another seed gives the same positions: is a seed fixed in the function?"
    assert np.array_equal(global_state(), before), "the global generator was used; take all numbers from rng"


def test_sample_goes_on_in_its_generator(rng):
    """Two calls with one generator give two results: it is used, not copied."""
    start = rng.standard_normal((20, 2))
    one, two = (walk(rng, gaussian, start, 0.7, 3).positions for _ in range(2))
    assert not np.allclose(one, two), "a second call gave the same positions: is rng copied, or seeded anew?"


def test_sample_has_chains_that_do_not_move_together(rng):
    """On N(0, 1) neighbouring chains, the first and second half of them, from 0: their product has mean 0."""
    got = walk(rng, gaussian, np.zeros((20_000, 1)), 0.8, 12).positions[:, 0]
    hints = {"pairs of chains share their numbers": 1.0, "pairs of chains are mirror images": -1.0}
    for a, b in [(got[::2], got[1::2]), (got[:10_000], got[10_000:])]:
        assert_mean(a * b, 0.0, detects=0.1, hints=hints)
    for n in (5, 6):
        total = walk(rng, gaussian, np.zeros((n, 2)), 0.8, 1, adjusted=False).positions.sum(axis=0)
        assert np.abs(total).min() > 1e-9, f"the noise of {n} chains adds up to {total}: is it centred, or mirrored?"


@pytest.mark.parametrize("adjusted", [True, False])
def test_sample_takes_starts_of_any_kind_and_leaves_them_alone(rng, adjusted):
    """Integer, read-only, reversed, Fortran-ordered, single-precision starts give what plain floats give."""
    plain = np.round(3 * rng.standard_normal((8, 2)))
    kept = plain.copy()

    def run(start):
        return walk(np.random.default_rng(3), mixture(SQUARE), start, 0.9, 6, adjusted=adjusted).positions

    want = run(plain)
    assert np.array_equal(plain, kept), "start was changed by the walk: copy it"
    assert_close(want, run(plain), what="the same call again")
    frozen = plain.copy()
    frozen.flags.writeable = False
    wide = np.zeros((16, 4))
    wide[::2, ::2] = plain
    starts = {
        "integers": plain.astype(int),
        "read-only": frozen,
        "non-contiguous": wide[::2, ::2],
        "reversed twice": plain[::-1].copy()[::-1],
        "Fortran order": np.asfortranarray(plain),
        "float32": plain.astype(np.float32),
    }
    for kind, start in starts.items():
        assert_close(run(start), want, what=f"the positions from a start of {kind}")
    plain += 1.0
    assert not np.allclose(run(plain), want), "start was changed between two calls, and the result is the old one"


@pytest.mark.parametrize("adjusted", [True, False])
def test_sample_takes_a_target_that_reuses_its_memory(rng, adjusted):
    """A target that writes its answers into the same arrays at each call gives what a tidy one gives."""
    start, right = exact_draws(rng, SQUARE, 50), mixture(SQUARE)
    want, got = (
        walk(np.random.default_rng(5), target, start, 1.2, 8, adjusted=adjusted).positions
        for target in (right, thrifty(right))
    )
    assert_close(got, want, what="the positions, where the target reuses its arrays (copy what is kept)")


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("dimension", [1, 5])
def test_sample_takes_one_chain_or_few(rng, n, dimension):
    """One chain in one dimension, and a few in five, keep their shapes; log p off by 1000 changes nothing."""
    start = rng.standard_normal((n, dimension))

    def shifted(x):
        log_p, slope = gaussian(x)
        return log_p + 1000.0, slope

    one, two = (walk(np.random.default_rng(5), target, start, 0.6, 4) for target in (gaussian, shifted))
    assert np.shape(one.positions) == (n, dimension), f"positions have shape {np.shape(one.positions)}"
    assert np.shape(one.acceptance) == (n,), f"acceptance has shape {np.shape(one.acceptance)}"
    assert_close(two.positions, one.positions, what="the positions, with another constant in log p")


def test_sample_takes_extreme_targets(rng):
    """Where log p changes by thousands within a step, and a million from the centre, nothing overflows."""
    with np.errstate(over="raise"):
        steep = langevin.sample(rng, gaussian_around(np.zeros(2), 1e-4), np.full((50, 2), 3.0), 1e-6, 5)
        far = langevin.sample(rng, mixture(SQUARE), np.full((50, 2), 1e6), 0.5, 200)
    assert np.isfinite(steep.positions).all(), "NaN or ∞ on a steep target"
    assert np.abs(far.positions - 1.5).max() < 20, f"from a million, 200 steps led to {far.positions[0]}"


def test_a_step_in_a_thousand_dimensions_jumps_as_far_as_it_should(rng):
    """One step of the best size in a thousand dimensions: the mean of |x' − x|²/D, exact by a beta law."""
    dimension = 1000
    step = 1.36175 * dimension ** (-1 / 3)
    start = rng.standard_normal((1500, dimension))
    got = walk(rng, gaussian, start, step, 1).positions
    want = jump(step, dimension)
    hints = {"everything is accepted": 2 * step + step**2}
    assert_mean(np.square(got - start).mean(axis=1), want, detects=0.04, hints=hints)


# The chain, watched


@pytest.mark.parametrize("adjusted", [True, False])
def test_trace_keeps_every_so_many_steps(rng, adjusted):
    """Of ten steps every=3 keeps the third, sixth and ninth; every=1 keeps ten, the start not among them."""
    start = exact_draws(rng, SQUARE, 30)

    def rows(**every):
        return langevin.trace(np.random.default_rng(8), mixture(SQUARE), start, 0.9, 10, adjusted=adjusted, **every)

    whole, some = rows(every=1), rows(every=3)
    assert len(whole) == 10, f"trace of ten steps has {len(whole)} rows: the start is not one of them"
    mistakes = {
        "is it the first of every three, not the third?": whole[::3],
        "are these the first, fourth and seventh step?": whole[:9:3],
    }
    assert_close(some, whole[2::3], what="trace(every=3)", mistakes=mistakes)
    for every in (2, 5, 10):
        assert_close(rows(every=every), whole[every - 1 :: every], what=f"trace(every={every})")
    assert_close(rows(), whole, what="trace without every")


@pytest.mark.parametrize("step", [0.6, 1.5])
def test_trace_watches_the_right_walk(rng, step):
    """4,000 settled chains on N(0, 1), seen at 8 steps: how many move, E xx' from row to row, the law at last."""
    start = rng.standard_normal((4000, 1))
    rows = np.concatenate([start[None], langevin.trace(rng, gaussian, start, step, 8)])[:, :, 0]
    moved = np.diff(rows, axis=0) != 0
    assert not moved.all(), "no row repeats the one before: who refuses stays where it is, and is counted again"
    assert np.ptp(rows[-1] - start[:, 0]) > 0, "all chains made the same steps: do they share their noise?"
    c = np.sqrt(step**3 / (8 + step**3))
    assert_mean(moved.mean(axis=0), 2 * stats.beta.cdf((1 - c) / 2, 0.5, 0.5), detects=0.05)
    for one, other in [(rows[0], rows[1]), (rows[-2], rows[-1])]:
        assert_mean(one * other, 1 - jump(step, 1) / 2, detects=0.2, hints={"everything is accepted: 1 − ε": 1 - step})
    assert_variance(rows[-1], 1.0, detects=0.25)


def test_trace_goes_on_in_its_generator(rng):
    """Two calls with one generator give two results, and leave the start alone; NumPy's global numbers are not used."""
    start, before = rng.standard_normal((20, 2)), global_state()
    kept = start.copy()
    one, two = (langevin.trace(rng, gaussian, start, 0.7, 3) for _ in range(2))
    assert not np.allclose(one, two), "a second call gave the same rows: is rng copied, or seeded anew?"
    assert np.array_equal(start, kept), "start was changed by the walk: copy it"
    assert np.array_equal(global_state(), before), "the global generator was used; take all numbers from rng"


def test_trace_takes_what_sample_takes(rng):
    """Integer, read-only and single-precision starts, a target that reuses its memory, an integer ε."""
    plain, right = np.round(3 * rng.standard_normal((8, 2))), mixture(SQUARE)

    def rows(target=right, start=plain, step=1.0):
        return langevin.trace(np.random.default_rng(3), target, start, step, 6, every=2)

    frozen = plain.copy()
    frozen.flags.writeable = False
    cases = {
        "a start of integers": {"start": plain.astype(int)},
        "a read-only start": {"start": frozen},
        "a start of float32": {"start": plain.astype(np.float32)},
        "a target that reuses its arrays (copy what is kept)": {"target": thrifty(right)},
        "ε = 1 as an integer": {"step": 1},
    }
    want = rows()
    for name, changes in cases.items():
        assert_close(rows(**changes), want, what=f"trace, with {name}")


def test_trace_begins_after_the_first_step(rng):
    """Unadjusted on N(0, 1) from 6 its first rows have means 3, 1.5, 0.75 and variances 1, 1.25, 1.3125 at ε = ½."""
    rows = langevin.trace(rng, gaussian, np.full((20_000, 1), 6.0), 0.5, 3, adjusted=False)[:, :, 0]
    for row, mean, variance in zip(rows, [3.0, 1.5, 0.75], [1.0, 1.25, 1.3125], strict=True):
        hints = {"the start is among the rows": 2 * mean, "this is one step too late": mean / 2}
        assert np.ptp(row) > 0, f"all chains are at {row[0]}: the start is among the rows"
        assert_mean(row, mean, detects=0.08, hints=hints)
        assert_variance(row, variance, detects=0.1)


def test_trace_rows_are_not_one_and_the_same_array(rng):
    """Rows of an unadjusted trace all differ, and the start is left as it was."""
    start = rng.standard_normal((3, 2))
    kept = start.copy()
    rows = langevin.trace(rng, gaussian, start, 0.5, 6, adjusted=False)
    assert np.shape(rows) == (6, 3, 2), f"trace has shape {np.shape(rows)}, should have (6, 3, 2): steps, chains, d"
    same = [i for i in range(5) if np.allclose(rows[i], rows[i + 1])]
    assert not same, f"rows {same} are as the next ones: was one array stored again and again? Copy it"
    assert np.array_equal(start, kept), "start was changed by the walk: copy it"


# The ratio


def log_q(there, here, slope, step):
    """log N(there; here + ε s(here), 2εI) by scipy."""
    return stats.norm.logpdf(there, here + step * slope, np.sqrt(2 * step)).sum(axis=1)


@pytest.mark.claim("prop-mala-ratio")
@pytest.mark.parametrize("step", [0.005, 0.5, 3.0])
@pytest.mark.parametrize("means", [SQUARE, UNEVEN, SPACE], ids=["square", "uneven", "space"])
def test_log_acceptance_ratio_is_the_difference_of_four_logs(rng, means, step):
    """log p(y) + log q(x|y) − log p(x) − log q(y|x), each of the four by scipy."""
    x = exact_draws(rng, means, 40)
    y = x + 2 * np.sqrt(step) * rng.standard_normal(x.shape)
    (p_x, s_x), (p_y, s_y) = mixture(means)(x), mixture(means)(y)
    forth, back = log_q(y, x, s_x, step), log_q(x, y, s_y, step)
    want = p_y - p_x + back - forth
    scale = 1 / (4 * step)
    swapped = scale * (
        np.square(y - x - step * s_y).sum(axis=1) - np.square(x - y - step * s_x).sum(axis=1)
    )  # each q with the other's score
    one_score = log_q(x, y, s_x, step) - forth
    mistakes = {
        "is the Hastings part, log q(x|y) − log q(y|x), upside down?": p_y - p_x - back + forth,
        "is q's exponent |·|²/(2ε), where |·|²/(4ε) belongs?": p_y - p_x + 2 * (back - forth),
        "is the Hastings ratio q(x|y)/q(y|x) missing?": p_y - p_x,
        "is log p(y) − log p(x) missing?": back - forth,
        "is the whole ratio inverted?": -want,
        "are the scores at x and y swapped in q?": p_y - p_x + swapped,
        "is the score at x in both q's?": p_y - p_x + one_score,
        "is this exponentiated, R and not log R?": np.exp(want),
        "is it min(0, log R), the probability's logarithm?": np.minimum(want, 0),
        "is the second term, ¼ε(|s(x)|² − |s(y)|²), missing?": p_y - p_x - 0.5 * ((y - x) * (s_x + s_y)).sum(axis=1),
        "has the second term ε/2, where ε/4 belongs?": want
        + 0.25 * step * (np.square(s_x).sum(axis=1) - np.square(s_y).sum(axis=1)),
        "is it the sum over all chains?": np.full(len(x), want.sum()),
    }
    got = langevin.log_acceptance_ratio(mixture(means), x, y, step)
    # |x| is below 15, so each of the terms is below 3,000 or, at the smallest step, its square over 4ε.
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="log_acceptance_ratio(target, x, y, ε)", mistakes=mistakes)


@pytest.mark.claim("prop-mala-ratio")
@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_log_acceptance_ratio_on_a_gaussian(rng, dimension):
    """On N(0, I) it is −(ε/4)(|y|² − |x|²), whatever the constant of the density."""
    x, y = rng.standard_normal((2, 30, dimension))
    for step in (0.01, 0.5, 2.0, 10.0):
        want = -step / 4 * (np.square(y).sum(axis=1) - np.square(x).sum(axis=1))
        got = langevin.log_acceptance_ratio(gaussian, x, y, step)
        # log p is about 10 here; differences of its size cancel.
        mistakes = {"is it of the opposite sign?": -want, "is the Hastings ratio missing?": want * 2 / step}
        assert_close(got, want, rtol=1e-9, atol=1e-12 * (1 + step), what="the ratio on N(0, I)", mistakes=mistakes)


def test_log_acceptance_ratio_changes_its_sign_with_the_direction(rng):
    """There and back: the ratio from y to x is minus that from x to y, close by and a thousand away."""
    for far in (1.0, 30.0, 1000.0):
        x, y = far * rng.standard_normal((2, 30, 2))
        there, back = (langevin.log_acceptance_ratio(mixture(SQUARE), *pair, 0.7) for pair in [(x, y), (y, x)])
        assert np.isfinite(there).all(), f"the ratio is NaN or infinite at {far}"
        # the terms are about ε|x|², a thousand roundings of which are 1e-13 of it
        assert_close(back, -there, rtol=1e-9, atol=1e-12 * far**2, what="the way back")


def test_log_acceptance_ratio_is_minus_infinity_where_p_is_zero():
    """Outside the walls of a uniform law, where the score is NaN, the ratio is −∞; inside it is 0."""
    x, y = np.array([[0.5], [0.5], [-1.0]]), np.array([[1.5], [0.7], [-3.0]])
    with np.errstate(all="ignore"):
        got = langevin.log_acceptance_ratio(box, x, y, 0.3)
    assert not np.isnan(got).any(), f"the ratio is {got}: where p(y) is 0 it is −∞, whatever the score there"
    assert_close(got, [-INF, 0.0, -INF], what="log_acceptance_ratio, where p(y) is 0, is not, is")


def test_log_acceptance_ratio_takes_arrays_of_any_kind(rng):
    """Integer, read-only, non-contiguous and single-precision points, one row, a target that reuses its memory."""
    x, y = np.abs(np.round(3 * rng.standard_normal((2, 6, 2))))
    x[0], y[0] = 3.0, 0.0  # y − x is below 0 here, which unsigned integers cannot be
    right = mixture(SQUARE)
    want = langevin.log_acceptance_ratio(right, x, y, 0.5)
    kept = x.copy(), y.copy()
    wide = np.zeros((12, 4))
    wide[::2, ::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    cases = {
        "integers": (right, x.astype(int), y.astype(int)),
        "unsigned integers": (right, x.astype(np.uint8), y.astype(np.uint8)),
        "non-contiguous": (right, wide[::2, ::2], y),
        "read-only": (right, frozen, y),
        "float32": (right, x.astype(np.float32), y),
        "a target that reuses its arrays": (thrifty(right), x, y),
    }
    for kind, (target, a, b) in cases.items():
        assert_close(langevin.log_acceptance_ratio(target, a, b, 0.5), want, what=f"the ratio, {kind}")
    whole = [langevin.log_acceptance_ratio(right, x, y, step) for step in (3, 3.0)]
    assert_close(whole[0], whole[1], what="the ratio, ε = 3 as an integer")
    assert_close(
        langevin.log_acceptance_ratio(right, x, x, 0.5), np.zeros(6), atol=1e-12, what="the ratio of x to itself"
    )
    one = langevin.log_acceptance_ratio(right, x[:1], y[:1], 0.5)
    assert_close(one, want[:1], what="the ratio of one pair")
    assert np.array_equal(kept[0], x), "x was changed"
    assert np.array_equal(kept[1], y), "y was changed"


# What is known on a Gaussian


@pytest.mark.claim("prop-ula-bias")
def test_ula_variance_is_where_the_recursion_settles():
    """In fractions, v + (1−ε)²ⁿ(v₀ − v) is n rounds of v ← (1−ε)²v + 2ε; ula_variance(ε) is that v."""
    for step in map(fractions.Fraction, ["1/200", "1/2", "1", "4/3", "39/20"]):
        v = 1 / (1 - step / 2)
        for start in (fractions.Fraction(0), fractions.Fraction(7, 3)):
            now, mean = start, fractions.Fraction(5)
            for n in range(1, 9):
                now, mean = (1 - step) ** 2 * now + 2 * step, (1 - step) * mean
                assert now == v + (1 - step) ** (2 * n) * (start - v)
                assert mean == (1 - step) ** n * 5
        e = float(step)
        mistakes = {
            "is it 1/(1−ε), the law of an inverted ratio?": 1 / (1 - e) if e != 1 else NAN,
            "is it 1 + ε/2, to first order only?": 1 + e / 2,
            "is it the precision, one over it?": 1 - e / 2,
            "is it the standard deviation?": np.sqrt(float(v)),
            "is it 2ε, the variance of the noise alone?": 2 * e,
            "is it 1/(1 − (1−ε)²), with ε's noise left out?": 1 / (1 - (1 - e) ** 2),
        }
        assert_close(langevin.ula_variance(e), float(v), what=f"ula_variance({e})", mistakes=mistakes)


def test_ula_variance_takes_arrays():
    """An array gives an array of that shape, and is left alone; integers count as numbers; ε near 0 gives 1."""
    steps = np.array([[0.1, 0.5], [1.0, 1.9]])
    kept = steps.copy()
    want = np.array([[1 / 0.95, 4 / 3], [2.0, 20.0]])
    assert_close(langevin.ula_variance(steps), want, what="ula_variance of an array")
    assert np.array_equal(steps, kept), "step_size was changed"
    assert_close(langevin.ula_variance(1), 2.0, what="ula_variance(1)")
    assert_close(langevin.ula_variance(1e-300), 1.0, what="ula_variance(1e-300)")
    assert_close(langevin.ula_variance(2 - 2.0**-20), 2.0**21, what="ula_variance, a millionth below 2")


@pytest.mark.claim("prop-ula-bias", kind="symbolic")
def test_ula_steps_are_symmetric_with_respect_to_g():
    """sympy: log g(x)q(y|x) − log g(y)q(x|y) = 0 for g = e^{−(1−ε/2)x²/2}, not for 1 − ε or 1; ε = 2 adds 4."""
    x, y, e, v = sympy.symbols("x y epsilon v", real=True)

    def log_gq(x, y, precision):
        return -precision * x**2 / 2 - (y - (1 - e) * x) ** 2 / (4 * e)

    def odd(precision):
        return sympy.simplify(log_gq(x, y, precision) - log_gq(y, x, precision))

    assert odd(1 - e / 2) == 0
    assert odd(1 - e) != 0
    assert odd(sympy.Integer(1)) != 0
    step = sympy.expand((1 - e) ** 2 * v + 2 * e)
    assert sympy.simplify(step.subs(v, 1 / (1 - e / 2)) - 1 / (1 - e / 2)) == 0
    assert sympy.simplify(step.subs(e, 2) - v) == 4
    assert sympy.expand(step - v).subs({e: 3, v: 1}) > 0


def acceptance_by_quadrature(step, dimension):
    """E min(1, R) on N(0, I) from the definition, R = e^{−(ε/4)(|y|²−|x|²)}, given |x| by noncentral χ² laws.

    y ~ N(m, 2εI), |m| = |1−ε||x|; times e^{−(ε/4)|y|²} it is N(m/(1+ε²), 2ε/(1+ε²) I), up to a constant.
    """
    k = 1 + step**2

    def given(r):
        m2 = ((1 - step) * r) ** 2
        inside = stats.ncx2.cdf(r**2 / (2 * step), dimension, m2 / (2 * step))
        tilt = np.exp(step / 4 * r**2 - step / 4 * m2 / k) * k ** (-dimension / 2)
        outside = stats.ncx2.sf(r**2 * k / (2 * step), dimension, m2 / k / (2 * step))
        return (inside + tilt * outside) * stats.chi.pdf(r, dimension)

    r = np.linspace(0, np.sqrt(dimension) + 9, 4001)[1:]  # the integrand is smooth; Simpson's rule with 0 at 0 or not
    first = {1: stats.chi.pdf(0, 1) * k**-0.5}.get(dimension, 0.0)
    return integrate.simpson(np.append(first, given(r)), x=np.append(0.0, r))


@pytest.mark.claim("thm-gaussian-acceptance")
@pytest.mark.parametrize("dimension", [1, 2, 3, 10, 35])
@pytest.mark.parametrize("step", [0.1, 0.5, 1.3, 3.0])
def test_gaussian_acceptance_is_the_mean_of_the_probability(dimension, step):
    """2 I_u(D/2, D/2) is E min(1, R), integrated over |x| with noncentral χ² laws for y, from the definition."""
    want = acceptance_by_quadrature(step, dimension)
    cosine = np.sqrt(step**3 / (8 + step**3))
    half, u = dimension / 2, (1 - cosine) / 2
    mistakes = {
        "is it half of it, I_u without the 2?": want / 2,
        "is it ε where ε³ belongs?": 2 * special.betainc(half, half, (1 - np.sqrt(step / (8 + step))) / 2),
        "is it ε² where ε³ belongs?": 2 * special.betainc(half, half, (1 - np.sqrt(step**2 / (8 + step**2))) / 2),
        "is the square root missing?": 2 * special.betainc(half, half, (1 - cosine**2) / 2),
        "is it D where D/2 belongs?": 2 * special.betainc(dimension, dimension, u),
        "is it 1 − √(…), whatever the dimension?": 1 - cosine,
        "is it the limit of many dimensions?": 2 * stats.norm.cdf(-np.sqrt(step**3 * dimension / 8)),
        "is it the share that is turned down?": 1 - want,
        "is this random-walk Metropolis, without drift?": 2
        * special.betainc(half, half, (1 - np.sqrt(step / (2 + step))) / 2),
    }
    # Simpson's rule with steps of a four-hundredth, smooth but for |x| → 0: 1e-9 where it can be checked, D = 2
    got = langevin.gaussian_acceptance(step, dimension)
    assert_close(got, want, rtol=1e-7, what=f"gaussian_acceptance({step}, {dimension})", mistakes=mistakes)


@pytest.mark.claim("thm-gaussian-acceptance")
def test_gaussian_acceptance_in_the_plane():
    """For D = 2 it is 1 − √(ε³/(8+ε³)), for arrays too, from 1e-6 to 50; it falls with ε and with D."""
    steps = np.array([[1e-6, 0.01, 0.5], [1.0, 2.0, 50.0]])
    want = 1 - np.sqrt(steps**3 / (8 + steps**3))
    mistakes = {"is it only half of it?": want / 2, "is ε not cubed?": 1 - np.sqrt(steps / (8 + steps))}
    # at ε = 50 what is left is 3e-5, the difference of numbers near one
    got = langevin.gaussian_acceptance(steps, 2)
    assert_close(got, want, rtol=1e-9, what="gaussian_acceptance(ε, 2)", mistakes=mistakes)
    assert_close(langevin.gaussian_acceptance(2, 2), 1 - np.sqrt(0.5), what="gaussian_acceptance(2, 2)")
    assert_close(langevin.gaussian_acceptance(3, 2), 1 - np.sqrt(27 / 35), what="gaussian_acceptance(3, 2)")
    whole = langevin.gaussian_acceptance(np.array([2, 3]), 2)
    assert_close(whole, 1 - np.sqrt([1 / 2, 27 / 35]), what="gaussian_acceptance of an array of integers")
    many = [langevin.gaussian_acceptance(0.5, d) for d in (1, 2, 3, 10, 100, 1000)]
    assert np.all(np.diff(many) < 0), f"acceptance should fall with the dimension, got {many}"


@pytest.mark.parametrize("dimension", [4, 60, 1000, 100_000])
def test_gaussian_acceptance_by_tosses(dimension):
    """For even D, 2 I_u(D/2, D/2) is twice the chance of D/2 successes or more in D − 1 trials of probability u."""
    for step in (1.3, 1.3 * dimension ** (-1 / 3)):
        u = 0.5 * (1 - np.sqrt(step**3 / (8 + step**3)))
        want = 2 * stats.binom.sf(dimension // 2 - 1, dimension - 1, u)
        mistakes = {"is it the limit of many dimensions?": 2 * stats.norm.cdf(-np.sqrt(step**3 * dimension / 8))}
        got = langevin.gaussian_acceptance(step, dimension)
        what = f"gaussian_acceptance({step:.3g}, {dimension})"
        assert_close(got, want, rtol=1e-7, atol=1e-250, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-gaussian-acceptance", kind="symbolic")
def test_gaussian_acceptance_rests_on_two_eigenvalues():
    """sympy: (y−x)(y+x) = Σ λ z² with λ = (ε² ± √(ε⁴+8ε))/2, whose ratio gives c² = ε³/(8+ε³)."""
    e = sympy.symbols("epsilon", positive=True)
    covariance = sympy.Matrix([[1, 1 - e], [1 - e, (1 - e) ** 2 + 2 * e]])  # of x and y
    form = sympy.diag(-1, 1)
    values = list((covariance * form).eigenvals())
    want = [(e**2 + sign * sympy.sqrt(e**4 + 8 * e)) / 2 for sign in (1, -1)]
    for value in want:
        assert min(abs(sympy.N((value - v).subs(e, 0.37))) for v in values) < 1e-14
    assert sympy.simplify(sum(values) - sum(want)) == 0
    c = sum(want) / (want[0] - want[1])  # the roots are proportional to c ± 1
    assert sympy.simplify(c**2 - e**3 / (8 + e**3)) == 0


def jump(step, dimension):
    """E|x'−x|²/D on N(0, I), exactly: 2(2ε+ε²)[(1−c) I_u(D/2, D/2) + c I_u(D/2+1, D/2)], u = (1−c)/2.

    Twice the part with |y| < |x|, by the lemma of halves; given it, A/(A+B) < u as in the theorem on acceptance.
    """
    c = np.sqrt(step**3 / (8 + step**3))
    half, u = dimension / 2, (1 - c) / 2
    return (
        2 * (2 * step + step**2) * ((1 - c) * special.betainc(half, half, u) + c * special.betainc(half + 1, half, u))
    )


def test_jump_is_right_in_one_dimension():
    """The formula for E(x'−x)², which two tests here use, against a double integral of the definition."""
    x = np.linspace(-9, 9, 601)
    for step in (0.5, 1.4):
        m = (1 - step) * x[:, None]
        width = np.sqrt(2 * step)
        y = m + width * np.linspace(-9, 9, 1201)
        density = stats.norm.pdf(x)[:, None] * stats.norm.pdf(y, m, width)
        a = np.exp(np.minimum(0, -step / 4 * (y**2 - x[:, None] ** 2)))
        inner = integrate.trapezoid(density * a * (y - x[:, None]) ** 2, dx=width * 18 / 1200, axis=1)
        assert_close(integrate.trapezoid(inner, x), jump(step, 1), rtol=1e-4, what="E(x'−x)²")


@pytest.mark.claim("thm-optimal-scaling")
def test_gaussian_acceptance_has_its_limit_in_many_dimensions():
    """With ε = h D^{−1/3} it tends to 2Φ(−√(h³/8)): within 2e-4 at D = 1,000 and 1e-5 at a million, h near the best."""
    for h in (0.5, 1.0, 1.36175, 2.0):
        limit = 2 * stats.norm.cdf(-np.sqrt(h**3 / 8))
        mistakes = {
            "is the 2 missing?": limit / 2,
            "is it D where D/2 belongs?": 2 * stats.norm.cdf(-np.sqrt(h**3 / 4)),
        }
        for dimension, allowed in [(10**6, 1e-5), (1000, 3e-4)]:
            got = langevin.gaussian_acceptance(h * dimension ** (-1 / 3), dimension)
            assert_close(got, limit, rtol=0, atol=allowed, what=f"acceptance at D = {dimension}", mistakes=mistakes)


@pytest.mark.claim("thm-optimal-scaling")
def test_progress_is_largest_at_an_acceptance_of_574():
    """8 t^{2/3} Φ(−t) has its one maximum where ⅔Φ(−t) = tφ(t): h = 1.36175, acceptance .574236; jumps tend to 4hΦ."""
    h = np.linspace(0.001, 12, 200_001)
    t = np.sqrt(h**3 / 8)
    progress = 4 * h * stats.norm.cdf(-t)
    best = h[np.argmax(progress)]
    assert np.count_nonzero(np.diff(np.sign(np.diff(progress)))) == 1
    assert_close(best, 1.36175, rtol=1e-4, what="the best h")
    root = np.sqrt(1.36175**3 / 8)
    assert_close(2 / 3 * stats.norm.cdf(-root), root * stats.norm.pdf(root), rtol=1e-5, what="⅔Φ(−t) against tφ(t)")
    assert_close(2 * stats.norm.cdf(-root), 0.574236, rtol=1e-5, what="the best acceptance")
    for one in (0.5, 1.36175, 2.5):
        limit = 4 * one * stats.norm.cdf(-np.sqrt(one**3 / 8))
        for dimension in (1e3, 1e6, 1e9):
            step = one * dimension ** (-1 / 3)
            got = dimension ** (1 / 3) * jump(step, dimension)
            assert_close(got, limit * (1 + step / 2), rtol=2 / np.sqrt(dimension), what="the scaled jump")


@pytest.mark.claim("thm-optimal-scaling")
def test_settled_chains_are_correlated_by_one_minus_half_a_jump(rng):
    """On a chain of four states, in equilibrium with unit variance, E xx' = 1 − ½E(x'−x)²; and so does MALA."""
    states = np.array([-2.0, -0.3, 0.4, 1.7])
    flow = rng.random((4, 4))
    flow = (flow + flow.T) / (flow + flow.T).sum()  # p(x)K(x, y), symmetric
    p = flow.sum(axis=1)
    z = (states - p @ states) / np.sqrt(p @ states**2 - (p @ states) ** 2)
    correlation, squared = (flow * np.outer(z, z)).sum(), (flow * np.subtract.outer(z, z) ** 2).sum()
    assert_close(correlation, 1 - squared / 2, what="the lag-one autocorrelation")
    start = rng.standard_normal((20_000, 1))
    after = langevin.trace(rng, gaussian, start, 1.0, 1)[0]
    hints = {"everything is accepted: 1 − ε": 0.0}
    assert_mean((start * after)[:, 0], 1 - jump(1.0, 1) / 2, detects=0.1, hints=hints)


# Theorems on any law


@pytest.mark.claim("prop-mixture-score", kind="symbolic")
def test_the_score_of_two_bells():
    """sympy: for p = ½N(μ₁,1) + ½N(μ₂,1), (log p)' = Σrμ − x, (log p)'' = −1 + Σr(μ−μ̄)²; half-way it is a²/4 − 1."""
    x, a, b = sympy.symbols("x a b", real=True)
    weights = [sympy.exp(-((x - m) ** 2) / 2) for m in (a, b)]
    log_p = sympy.log(sum(weights))
    r = [w / sum(weights) for w in weights]
    mean = r[0] * a + r[1] * b
    bend = -1 + r[0] * (a - mean) ** 2 + r[1] * (b - mean) ** 2
    assert sympy.simplify(sympy.diff(log_p, x) - (mean - x)) == 0
    assert sympy.simplify(sympy.diff(log_p, x, 2) - bend) == 0
    assert sympy.simplify(bend.subs({b: -a, x: 0}) - ((2 * a) ** 2 / 4 - 1)) == 0


@pytest.mark.claim("prop-mixture-score", kind="automatic differentiation")
def test_the_score_of_a_mixture_and_its_derivative(rng):
    """On the square and off it, torch's gradient of the log-density is the score, its Hessian −I + Σr(μ−μ̄)(μ−μ̄)ᵀ."""
    for means in (SQUARE, SPACE):
        centres = torch.tensor(means)
        for x in exact_draws(rng, means, 12):

            def log_p(u, centres=centres):
                return torch.logsumexp(-0.5 * torch.square(u - centres).sum(1), 0)

            point = torch.tensor(x, requires_grad=True)
            gradient = torch.autograd.grad(log_p(point), point)[0].numpy()
            hessian = torch.autograd.functional.hessian(log_p, torch.tensor(x)).numpy()
            r = special.softmax(-0.5 * np.square(x - means).sum(axis=1))
            away = means - r @ means
            assert_close(gradient, r @ means - x, rtol=1e-10, atol=1e-12, what="the gradient of log p")
            assert_close(mixtures.score(x[None], means)[0], gradient, rtol=1e-10, atol=1e-12, what="mixtures.score")
            want = -np.eye(len(x)) + (r[:, None] * away).T @ away
            assert_close(hessian, want, rtol=1e-10, atol=1e-12, what="the Hessian of log p")


def wave(x, a, b, slope, step, drift=1.0, noise=2.0):
    """E cos(a·y + b) over the shake, y = x + drift ε s + √(noise ε) z, and cos(a·x + b) itself."""
    phase = x @ a + b
    moved = np.exp(-noise / 2 * step * a @ a) * np.cos(phase + drift * step * slope @ a)
    return moved, np.cos(phase)


@pytest.mark.claim("thm-langevin-keeps")
def test_a_step_moves_a_mean_by_its_generator(rng):
    """E[f(y)|x] = f + ε𝒜f + r for f = cos(a·x+b), |r| ≤ ½ε²(|a|²+|a·s|)²; the mean over z by Gauss-Hermite too."""
    a, b, x = np.array([1.0, -0.7]), 0.4, 3 * rng.standard_normal((200, 2)) + 1.5
    slope = mixture(SQUARE)(x)[1]
    generator_of_f = -(a @ a) * np.cos(x @ a + b) - (slope @ a) * np.sin(x @ a + b)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    for step in (1.0, 0.1, 1e-2, 1e-3):
        moved, still = wave(x, a, b, slope, step)
        phase = (x + step * slope) @ a + b
        by_nodes = np.cos(phase[:, None] + np.sqrt(2 * step * a @ a) * nodes) @ weights / weights.sum()
        assert_close(by_nodes, moved, rtol=0, atol=1e-12, what="E cos(a·y + b) over z")
        rest = np.abs(moved - still - step * generator_of_f)
        bound = 0.5 * step**2 * (a @ a + np.abs(slope @ a)) ** 2
        assert np.all(rest <= bound + 1e-14), "the remainder is not of second order"
        assert np.all(bound <= 4 * (a @ a + 1) ** 2 * step**2 * (1 + np.linalg.norm(slope, axis=1) ** 4))
    for wrong in ({"noise": 1.0}, {"drift": 0.5}, {"drift": -1.0}):  # and with other factors it is not
        moved, still = wave(x, a, b, slope, 1e-3, **wrong)
        assert np.any(np.abs(moved - still - 1e-3 * generator_of_f) > 0.5e-6 * (a @ a + np.abs(slope @ a)) ** 2)


@pytest.mark.claim("thm-langevin-keeps")
def test_a_step_from_the_law_moves_means_by_the_square_of_its_size():
    """By quadrature on the square: E_p 𝒜f = 0 to 1e-12, and E f(y) − E f(x) is quartered when ε is halved."""
    a, b = np.array([1.0, 0.5]), 0.3

    def mean_of(function):
        return mixtures.expectation(lambda x: function(x)[:, None], SQUARE)[0]

    def score(x):
        return mixture(SQUARE)(x)[1]

    def generator_of_f(x):
        return -(a @ a) * np.cos(x @ a + b) - (score(x) @ a) * np.sin(x @ a + b)

    assert abs(mean_of(generator_of_f)) < 1e-12

    def shift(step, **wrong):
        return mean_of(lambda x: np.subtract(*wave(x, a, b, score(x), step, **wrong)))

    large, small = shift(1 / 64), shift(1 / 128)
    assert_close(large / small, 4.0, rtol=1 / 16, what="the shift of E f, at ε over ε/2")
    for wrong in ({"noise": 1.0}, {"drift": 0.5}, {"noise": 4.0}, {"drift": 2.0}):
        assert_close(shift(1 / 64, **wrong) / shift(1 / 128, **wrong), 2.0, rtol=1 / 8, what=f"the shift, with {wrong}")


@pytest.mark.claim("thm-langevin-keeps")
def test_the_generator_is_symmetric_under_the_law():
    """E_p[g 𝒜f] = −E_p[∇g·∇f] by quadrature, f = cos(a·x), g = tanh(x₁ − x₂/2): neither zero nor of other sign."""
    a, b = np.array([0.8, -0.5]), np.array([1.0, -0.5])

    def left(x):
        slope = mixture(SQUARE)(x)[1]
        return np.tanh(x @ b) * (-(a @ a) * np.cos(x @ a) - (slope @ a) * np.sin(x @ a))

    def right(x):
        return (a @ b) * np.sin(x @ a) / np.cosh(x @ b) ** 2  # −∇g·∇f

    lhs, rhs = mixtures.expectation(lambda x: np.column_stack([left(x), right(x)]), SQUARE)
    assert abs(rhs) > 0.01
    assert_close(lhs, rhs, rtol=1e-6, what="E[g 𝒜f] against −E[∇g·∇f]")  # tanh has poles at ±iπ/2: 1/8 gives 7 digits


@pytest.mark.claim("thm-fokker-planck", kind="symbolic")
def test_densities_flow_as_fokker_and_planck_say():
    """sympy, p = N(0,1): N(me^{−t}, 1+(v−1)e^{−2t}) solves both forms, p stands still; ½Δ or 2Δ would not do."""
    x, t, m = sympy.symbols("x t m", real=True)
    v = sympy.symbols("v", positive=True)
    p = sympy.exp(-(x**2) / 2) / sympy.sqrt(2 * sympy.pi)
    s = sympy.diff(sympy.log(p), x)
    mean, var = m * sympy.exp(-t), 1 + (v - 1) * sympy.exp(-2 * t)
    log_rho = -((x - mean) ** 2) / (2 * var) - sympy.log(var) / 2
    slope, bend = sympy.diff(log_rho, x), sympy.diff(log_rho, x, 2)

    def residue(diffusion):  # over ρ, whose second derivative is ρ ((log ρ)″ + (log ρ)′²)
        flow = -slope * s - sympy.diff(s, x) + diffusion * (bend + slope**2)
        return sympy.simplify(sympy.diff(log_rho, t) - flow)

    assert residue(1) == 0
    assert residue(sympy.Rational(1, 2)) != 0
    assert residue(2) != 0
    rho = sympy.Function("rho")(x)
    forms = sympy.diff(p * sympy.diff(rho / p, x), x) - (sympy.diff(rho, x, 2) - sympy.diff(rho * s, x))
    assert sympy.simplify(forms) == 0
    assert sympy.simplify(p * s - sympy.diff(p, x)) == 0  # no flux


@pytest.mark.claim("thm-fokker-planck")
def test_distance_from_the_law_falls_as_its_slope_says():
    """p = N(0,1), ρ_t Gaussian: d/dt ∫(ρ−p)²/p by differences is −2∫p|∇(ρ/p)|² by quadrature, and negative."""
    x = np.linspace(-14, 14, 5601)
    p = stats.norm.pdf(x)

    def rho(t, m=0.8, v=0.6):
        return stats.norm.pdf(x, m * np.exp(-t), np.sqrt(1 + (v - 1) * np.exp(-2 * t)))

    def distance(t):
        return integrate.trapezoid((rho(t) - p) ** 2 / p, x)

    for t in (0.0, 0.3, 1.0):
        slope = (distance(t + 1e-4) - distance(t - 1e-4)) / 2e-4
        gradient = np.gradient(rho(t) / p, x, edge_order=2)
        want = -2 * integrate.trapezoid(p * gradient**2, x)
        assert want < 0
        assert_close(slope, want, rtol=1e-4, what="d/dt ∫(ρ−p)²/p")


@pytest.mark.claim("thm-fokker-planck", kind="automatic differentiation")
def test_nothing_flows_in_the_mixture(rng):
    """On the square and in space the flux p s − ∇p is zero, s by the book's score and ∇p by torch."""
    for means in (SQUARE, SPACE):
        x = torch.tensor(exact_draws(rng, means, 50), requires_grad=True)
        p = torch.exp(-0.5 * torch.square(x[:, None] - torch.tensor(means)).sum(2)).mean(1)
        gradient = torch.autograd.grad(p.sum(), x)[0].numpy()
        flux = p.detach().numpy()[:, None] * mixtures.score(x.detach().numpy(), means)
        assert_close(flux, gradient, rtol=1e-9, atol=1e-15, what="p s against ∇p")


def random_fractions(rng, shape, zeros=False):
    """Whole numbers from 1 to 9 as fractions, some of them 0."""
    numbers = rng.integers(0 if zeros else 1, 10, size=shape)
    return np.vectorize(lambda n: fractions.Fraction(int(n)), otypes=[object])(numbers)


def proposal(rng, n, zeros):
    """A random transition matrix of fractions, positive on the diagonal."""
    q = random_fractions(rng, (n, n), zeros) + np.diag([fractions.Fraction(1)] * n)
    return q / q.sum(axis=1)[:, None]


def chain_of(q, a):
    """The matrix of a chain that proposes by q, accepts by a, and stays otherwise."""
    k = q * a
    np.fill_diagonal(k, 0)
    np.fill_diagonal(k, 1 - k.sum(axis=1))
    return k


def ratios(p, q):
    """min(1, R) for all pairs, 1 where the denominator is 0."""
    forth = p[:, None] * q
    one = fractions.Fraction(1)
    return np.array(
        [[min(one, forth.T[i, j] / forth[i, j]) if forth[i, j] else one for j in range(len(p))] for i in range(len(p))]
    )


@pytest.mark.claim("thm-metropolis-hastings")
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("n", [4, 6])
def test_metropolis_and_hastings_keep_the_law(rng, n, zeros):
    """In fractions, for random p and q, zeros in both: p q a = min(pq, its transpose), and the next state has law p."""
    for _ in range(5):
        p, q = random_fractions(rng, n), proposal(rng, n, zeros)
        if zeros:
            p[0] = fractions.Fraction(0)  # from where p is 0 everything is accepted
        p = p / p.sum()
        a = ratios(p, q)
        forth = p[:, None] * q
        assert np.array_equal(forth * a, np.minimum(forth, forth.T))
        k = chain_of(q, a)
        assert np.array_equal(p @ k, p)
        if not np.array_equal(forth, forth.T):
            assert not np.array_equal(p @ chain_of(q, a * 0 + 1), p), "all accepted would do as well?"


@pytest.mark.claim("thm-metropolis-hastings")
def test_without_repeats_another_law_is_recorded(rng):
    """In fractions: accepted positions alone have the law p(x)·(1 − K(x,x)); for (⅔, ⅓) half and half."""
    p = np.array([fractions.Fraction(2, 3), fractions.Fraction(1, 3)])
    q = np.array([[0, 1], [1, 0]]) * fractions.Fraction(1)
    k = chain_of(q, ratios(p, q))
    assert np.array_equal(p @ k, p)
    moving = np.array([[0, 1], [1, 0]]) * fractions.Fraction(1)  # the chain of accepted moves
    half = np.array([fractions.Fraction(1, 2)] * 2)
    assert np.array_equal(half @ moving, half)
    p = random_fractions(rng, 5)
    p, q = p / p.sum(), proposal(rng, 5, False)
    k = chain_of(q, ratios(p, q))
    leave = 1 - np.diag(k)
    moves = (k - np.diag(np.diag(k))) / leave[:, None]
    recorded = p * leave / (p * leave).sum()
    assert np.array_equal(recorded @ moves, recorded)
    assert not np.array_equal(recorded, p)


@pytest.mark.claim("lem-half-acceptance")
@pytest.mark.parametrize("zeros", [False, True])
def test_half_of_the_acceptance_is_where_the_ratio_exceeds_one(rng, zeros):
    """In fractions, zeros in q or not: E min(1,R) = 2P(R>1) + P(R=1) = 1 − TV of (x,y) and (y,x)."""
    for n in (3, 5, 6):
        p, q = random_fractions(rng, n), proposal(rng, n, zeros)
        p = p / p.sum()
        forth = p[:, None] * q
        drawn = forth > 0
        ratio = np.where(drawn, forth.T / np.where(drawn, forth, fractions.Fraction(1)), fractions.Fraction(0))
        acceptance = (forth * np.minimum(ratio, fractions.Fraction(1))).sum()
        above, equal = forth[drawn & (ratio > 1)].sum(), forth[drawn & (ratio == 1)].sum()
        assert acceptance == 2 * above + equal
        assert acceptance == 1 - np.abs(forth - forth.T).sum() / 2
        assert equal > 0  # the diagonal
        assert acceptance != above + equal


@pytest.mark.claim("prop-mala-ratio", kind="symbolic")
def test_the_ratio_multiplied_out():
    """sympy, in 2-D: log q(x|y)/q(y|x) = −½(y−x)·(s(x)+s(y)) + ¼ε(|s(x)|²−|s(y)|²), on N(0,I) −(ε/4)(|y|²−|x|²)."""
    e = sympy.symbols("epsilon", positive=True)
    x, y, sx, sy = (sympy.Matrix(sympy.symbols(f"{name}:2", real=True)) for name in ("x", "y", "u", "v"))

    def log_q(there, here, slope):
        return -(there - here - e * slope).dot(there - here - e * slope) / (4 * e)

    hastings = log_q(x, y, sy) - log_q(y, x, sx)
    out = -(y - x).dot(sx + sy) / 2 + e / 4 * (sx.dot(sx) - sy.dot(sy))
    assert sympy.expand(hastings - out) == 0
    gaussian_ratio = (x.dot(x) - y.dot(y)) / 2 + out.subs(dict(zip([*sx, *sy], [*-x, *-y], strict=True)))
    assert sympy.expand(gaussian_ratio + e / 4 * (y.dot(y) - x.dot(x))) == 0


@pytest.mark.claim("thm-wrong-acceptances")
def test_every_acceptance_keeps_something(rng):
    """In fractions: q symmetric with respect to g, moves accepted with min(1, w(y)/w(x)): g·w is kept, not w."""
    n, one = 5, fractions.Fraction(1)
    for _ in range(5):
        g, w = random_fractions(rng, n), random_fractions(rng, n)
        flow = random_fractions(rng, (n, n))
        q = (flow + flow.T) / g[:, None]
        q = q / (2 * q.sum(axis=1).max())
        np.fill_diagonal(q, 0)
        np.fill_diagonal(q, 1 - q.sum(axis=1))
        assert np.array_equal(g[:, None] * q, (g[:, None] * q).T)
        a = np.array([[min(one, w[j] / w[i]) for j in range(n)] for i in range(n)])
        k = chain_of(q, a)
        assert np.array_equal((g * w)[:, None] * k, ((g * w)[:, None] * k).T)
        assert np.array_equal((g * w) @ k, g * w)
        if len(set(g)) > 1:
            assert not np.array_equal(w @ k, w)


def keeps(precision, c, step, log_acceptance):
    """How far one step of a chain on a line, as a matrix on a grid, moves N(0, 1/precision); as a part of its top."""
    line = np.arange(-14, 14.001, 1 / 25)
    forth = stats.norm.logpdf(line, (1 - c * step) * line[:, None], np.sqrt(2 * step))
    k = np.exp(forth + np.minimum(0, log_acceptance(line[:, None], line))) / 25
    np.fill_diagonal(k, 0)
    law = np.exp(-precision * line**2 / 2)
    return np.abs(law @ k - law * k.sum(axis=1)).max() / step


@pytest.mark.claim("cor-wrong-acceptances")
@pytest.mark.parametrize("step", [1 / 200, 1 / 2, 0.9])
def test_five_walks_keep_five_gaussians(step):
    """Matrices on a grid: precisions 1, 1−ε/2, 2−ε/2, 1−ε, and that of three sigmas, are kept, to 1e-9."""

    def hastings(c):
        return lambda x, y: (
            (x**2 - y**2) / 2 + ((y - (1 - c * step) * x) ** 2 - (x - (1 - c * step) * y) ** 2) / (4 * step)
        )

    def gamma(c):
        return c * (1 - c * step / 2)

    cases = {
        "right": (1.0, 1.0, hastings(1.0)),
        "all accepted": (1.0, gamma(1.0), lambda x, y: 0.0 * x * y),
        "no Hastings ratio": (1.0, 2 - step / 2, lambda x, y: (x**2 - y**2) / 2),
        "inverted": (1.0, 1 - step, lambda x, y: -hastings(1.0)(x, y)),
        "three sigmas": (1 / 16, gamma(1 / 16) + 1 - gamma(1 / 4), hastings(1 / 4)),
        "another drift": (0.6, gamma(0.6), lambda x, y: 0.0 * x * y),
    }
    for name, (c, precision, log_acceptance) in cases.items():
        far = keeps(precision, c, step, log_acceptance)
        assert far < 1e-9, f"{name}: the law moves by {far:.2g}"
        assert keeps(precision * 1.001, c, step, log_acceptance) > 1e-6, f"{name}: others are kept as well"
    assert abs(gamma(1 / 16) + 1 - gamma(1 / 4) - 13 / 16) < step / 30


@pytest.mark.claim("cor-wrong-acceptances", kind="symbolic")
def test_wrong_ratios_are_ratios_of_gaussians():
    """sympy: log q(x|y)/q(y|x) = ½γ(|y|²−|x|²), γ = c(1−cε/2), so that a ratio with c' keeps γ_c + 1 − γ_c'."""
    x, y, c = sympy.symbols("x y c", real=True)
    e = sympy.symbols("epsilon", positive=True)
    back, forth = (-((there - (1 - c * e) * here) ** 2) / (4 * e) for there, here in [(x, y), (y, x)])
    gamma = c * (1 - c * e / 2)
    assert sympy.simplify(back - forth - gamma * (y**2 - x**2) / 2) == 0
    kept = [gamma.subs(c, a) + 1 - gamma.subs(c, b) for a, b in [(1, 1), (1, 0)]]
    assert [sympy.simplify(k) for k in kept] == [1, 2 - e / 2]
    inverted = gamma.subs(c, 1) - (1 - gamma.subs(c, 1))  # g²/p
    assert sympy.simplify(inverted - (1 - e)) == 0
    assert sympy.limit((gamma.subs(c, sympy.Rational(1, 16)) + 1 - gamma.subs(c, sympy.Rational(1, 4))), e, 0) == (
        sympy.Rational(13, 16)
    )


# Modes


def by_splines(means, degree=7):
    """Rates and modes by Rayleigh and Ritz: splines f, stiffness E f'², mass E f², Gauss-Legendre between knots."""
    knots = np.linspace(means.min() - 7.5, means.max() + 7.5, 64)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    half = (knots[1] - knots[0]) / 2
    x = (knots[:-1, None] + half * (1 + nodes)).ravel()
    w = np.tile(half * weights, len(knots) - 1) * np.exp(mixture(means)(x[:, None])[0])
    ends = np.concatenate([[knots[0]] * degree, knots, [knots[-1]] * degree])
    splines = interpolate.BSpline(ends, np.eye(len(ends) - degree - 1), degree)
    values, slopes = splines(x), splines.derivative()(x)
    rates, columns = linalg.eigh((slopes.T * w) @ slopes, (values.T * w) @ values)
    return rates, lambda points: splines(points) @ columns


def by_waves(potential, low, high, n=300):
    """The lowest eigenvalues of −g″ + Vg with g = 0 at both ends, in sine waves."""
    j = np.arange(1, n + 1)
    sines = np.sqrt(2 / (n + 1)) * np.sin(np.pi * np.outer(j, j) / (n + 1))
    x = low + (high - low) * j / (n + 1)
    return np.linalg.eigvalsh((sines * (np.pi * j / (high - low)) ** 2) @ sines + np.diag(potential(x)))


def score_and_bend(means):
    """s and s′ of a mixture on a line, as functions of x (n,)."""

    def at(x):
        r = special.softmax(-0.5 * np.square(x[:, None] - means[:, 0]), axis=1)
        mean = r @ means[:, 0]
        return mean - x, r @ means[:, 0] ** 2 - mean**2 - 1

    return at


def wrong_rates(means, count):
    """What one gets from a potential that is wrong."""
    at = score_and_bend(means)
    low, high = means.min() - 10, means.max() + 10
    wrong = {
        "is ½s′ missing from V?": lambda s, b: s**2 / 4,
        "is it ½s² where ¼s² belongs?": lambda s, b: s**2 / 2 + b / 2,
        "is it ¼s′ where ½s′ belongs?": lambda s, b: s**2 / 4 + b / 4,
        "is the sign of s′ wrong in V?": lambda s, b: s**2 / 4 - b / 2,
        "is the variance of the means missing from s′, which is then −1?": lambda s, b: s**2 / 4 - 0.5,
        "does the variance of the means have the wrong sign in s′?": lambda s, b: s**2 / 4 + (-2 - b) / 2,
        "is it V = s² + s′?": lambda s, b: s**2 + b,
    }
    return {name: by_waves(lambda x, v=v: v(*at(x)), low, high)[:count] for name, v in wrong.items()}


@pytest.mark.claim("prop-schrodinger")
@pytest.mark.parametrize("means", [PAIR, UNEVEN, ALONE, TWICE], ids=["pair", "uneven", "alone", "twice"])
def test_relaxation_rates_are_those_of_splines(means):
    """The four smallest rates against Rayleigh and Ritz with splines, which know nothing of a potential."""
    five = by_splines(means)[0][:5]
    want = five[:4]
    mistakes = wrong_rates(means, 4) | {"is the generator ½Δ + …, with half of each rate?": want / 2}
    mistakes |= {
        "are these rates of twice the speed?": 2 * want,
        "is the constant left out?": five[1:],
    }
    if len(np.unique(means)) < len(means):
        mistakes["does a mean that is given twice count once?"] = by_splines(np.unique(means, axis=0))[0][:4]
    got = langevin.relaxation(means).rates
    assert_close(got, want, rtol=1e-7, atol=1e-8, what="relaxation(means).rates", mistakes=mistakes)


@pytest.mark.claim("prop-product-modes")
def test_relaxation_gap_by_birth_and_death(rng):
    """A walk on a grid that jumps to its neighbours, reversible under p: its gap, extrapolated, is .257219264."""
    gaps = []
    for spacing in (0.04, 0.02):
        x = np.arange(-7, 10 + spacing / 2, spacing)
        p = np.exp(mixture(PAIR)(x[:, None])[0])
        between = np.sqrt(p[:-1] * p[1:])  # the flow over each bond, over spacing²
        leave = (np.append(between, 0) + np.append(0, between)) / p
        diagonal, side = leave / spacing**2, -between / np.sqrt(p[:-1] * p[1:]) / spacing**2
        gaps.append(linalg.eigvalsh_tridiagonal(diagonal, side, select="i", select_range=(0, 2)))
    extrapolated = (4 * gaps[1] - gaps[0]) / 3
    got = langevin.relaxation(PAIR).rates[:3]
    assert_close(got, extrapolated, rtol=1e-6, atol=1e-6, what="the rates, against birth and death")
    # The square's rates are sums of two of them.
    one = np.append(got, langevin.relaxation(PAIR).rates[3])
    sums = np.sort(np.add.outer(one, one).ravel())[:6]
    assert_close(sums[1:3], [0.257219265] * 2, rtol=1e-7, what="the slowest rates of the square")
    assert_close(sums[3:], [0.514438530, 1.12632947, 1.12632947], rtol=1e-7, what="the next rates of the square")


def test_relaxation_rates_of_a_single_bell():
    """One component: 0, 1, 2, ..., 9 with the Hermite polynomials around its mean, over √n!."""
    got = langevin.relaxation(ALONE, count=10)
    mistakes = {
        "is the generator ½Δ + …, with half of each rate?": np.arange(10) / 2,
        "one too high?": np.arange(1, 11),
    }
    # nine to either side the ninth mode times √p is still 6e-4, whose square is what is lost; the fourth is 1e-6
    for few, tolerance in [(5, 1e-9), (10, 1e-5)]:
        foreseen = {name: value[:few] for name, value in mistakes.items()}
        want = np.arange(float(few))
        assert_close(got.rates[:few], want, rtol=0, atol=tolerance, what="the rates of one bell", mistakes=foreseen)
    near = np.abs(got.points - 2.5) < 3
    for n in range(5):
        want = special.eval_hermitenorm(n, got.points[near] - 2.5) / np.sqrt(special.factorial(n))
        assert_close(got.modes[near, n], want, rtol=0, atol=1e-7, what=f"mode {n} of one bell")


@pytest.mark.parametrize("means", [PAIR, UNEVEN], ids=["pair", "uneven"])
def test_relaxation_modes_are_normal_under_the_law(means):
    """Σ p fᵢ fⱼ h = 1 if i = j and 0 if not; the first mode is 1; all are positive at the right end."""
    got = langevin.relaxation(means, count=6)
    assert np.shape(got.modes) == (len(got.points), 6), f"modes have shape {np.shape(got.modes)}: a column for each"
    p = np.exp(mixture(means)(got.points[:, None])[0])
    spacing = got.points[1] - got.points[0]
    products = spacing * (got.modes * p[:, None]).T @ got.modes
    mistakes = {"normal without the spacing?": np.eye(6) * spacing}
    plain = spacing * got.modes.T @ got.modes
    if np.allclose(plain, np.eye(6), atol=1e-6) or np.allclose(plain / spacing, np.eye(6), atol=1e-6):
        raise AssertionError("the modes are orthonormal without p: they are g = f√p; divide by √p")
    # where √p is 1e-9 an eigenvector's entries are rounded to a part in 1e7, and p² there is nothing
    assert_close(products, np.eye(6), rtol=0, atol=1e-8, what="E fᵢfⱼ", mistakes=mistakes)
    assert np.all(got.modes[-1] > 0), f"modes should be positive at the right end, got {got.modes[-1]}"
    near = np.abs(got.points - means.mean()) < 6
    assert_close(got.modes[near, 0], np.ones(near.sum()), rtol=1e-6, what="mode 0, the constant")


@pytest.mark.claim("prop-schrodinger")
def test_relaxation_modes_are_those_of_splines():
    """f√p of the first four modes against Rayleigh and Ritz; both are positive at the right."""
    got = langevin.relaxation(UNEVEN)
    near = np.abs(got.points - 1.5) < 7
    want = by_splines(UNEVEN)[1](got.points[near])[:, :4]
    want *= np.sign(want[-1])
    root = np.exp(0.5 * mixture(UNEVEN)(got.points[near, None])[0])[:, None]
    # the splines end where √p is 1e-6: modes differ by the root of what rates do
    assert_close(got.modes[near] * root, want * root, rtol=0, atol=1e-4, what="f√p of the first four modes")


@pytest.mark.claim("thm-mode-decay")
def test_relaxation_modes_decay_along_the_diffusion():
    """E f(X_t) from a point, by the matrix exponential of a walk on a fine grid, is e^{−κt} f(x₀)."""
    got = langevin.relaxation(PAIR)
    h = 0.02
    x = np.arange(-6, 9 + h / 2, h)
    log_p = mixture(PAIR)(x[:, None])[0]
    up, down = np.exp(np.diff(log_p) / 2) / h**2, np.exp(-np.diff(log_p) / 2) / h**2
    leave = -(np.append(up, 0) + np.append(0, down))
    generator = sparse.diags([down, leave, up], [-1, 0, 1], format="csc")
    modes = interpolate.CubicSpline(got.points, got.modes[:, 1:3])(x)
    begin = np.argmin(np.abs(x + 0.6))
    t, parts = 1.5, 300
    # Crank and Nicolson: ((1 + tA/2n)/(1 − tA/2n))ⁿ is e^{tA} up to t³/n² for these modes
    identity = sparse.identity(len(x), format="csc")
    solve = scipy.sparse.linalg.factorized((identity - t / 2 / parts * generator).tocsc())
    later = modes.copy()
    for _ in range(parts):
        later = np.column_stack([solve(column) for column in ((identity + t / 2 / parts * generator) @ later).T])
    want = np.exp(-got.rates[1:3] * t) * modes[begin]
    mistakes = {"is the rate half, or doubled?": np.exp(-got.rates[1:3] * t / 2) * modes[begin]}
    assert_close(later[begin], want, rtol=2e-3, what="E f(X_t) against e^{−κt} f(x₀)", mistakes=mistakes)


@pytest.mark.claim("thm-mode-decay", kind="symbolic")
def test_hermite_polynomials_decay_at_whole_rates():
    """sympy: f″ − xf′ = −nf, and E f(xe^{−t} + √(1−e^{−2t})z) = e^{−nt} f(x), for Heₙ, n = 0, ..., 5."""
    x, z = sympy.symbols("x z", real=True)
    decay = sympy.symbols("r", positive=True)  # e^{−t}
    noise = sympy.sqrt(1 - decay**2)
    for n in range(6):
        f = sympy.expand(2 ** sympy.Rational(-n, 2) * sympy.hermite(n, x / sympy.sqrt(2)))
        assert sympy.expand(sympy.diff(f, x, 2) - x * sympy.diff(f, x) + n * f) == 0
        moved = sympy.Poly(sympy.expand(f.subs(x, x * decay + noise * z)), z)
        mean = sum(c * (sympy.factorial2(k - 1) if k else 1) for (k,), c in moved.terms() if k % 2 == 0)
        assert sympy.expand(sympy.expand(mean) - decay**n * f) == 0


@pytest.mark.claim("prop-schrodinger", kind="symbolic")
def test_the_equation_of_modes_is_that_of_schrodinger():
    """sympy, any log p and f: with g = f√p, −g″ + Vg = −√p (f″ + sf′), V = ¼s² + ½s′; ½s² or −½s′ would not do."""
    x = sympy.symbols("x", real=True)
    log_p, f = sympy.Function("L")(x), sympy.Function("f")(x)
    s, root = sympy.diff(log_p, x), sympy.exp(log_p / 2)
    g = f * root

    def residue(potential):
        return sympy.simplify(
            (-sympy.diff(g, x, 2) + potential * g) / root + sympy.diff(f, x, 2) + s * sympy.diff(f, x)
        )

    bend = sympy.diff(s, x)
    assert residue(s**2 / 4 + bend / 2) == 0
    assert residue(s**2 / 2 + bend / 2) != 0
    assert residue(s**2 / 4 - bend / 2) != 0
    h = sympy.Function("h")(x)
    assert sympy.simplify(f * h * sympy.exp(log_p) - (f * root) * (h * root)) == 0  # ∫f₁f₂p = ∫g₁g₂


@pytest.mark.claim("prop-product-modes", kind="symbolic")
def test_rates_of_products_add():
    """sympy: 𝒜(f₁f₂) = f₂𝒜₁f₁ + f₁𝒜₂f₂ for log p = L(x) + M(y), so that rates add; and the square is such a product."""
    x, y, k, m = sympy.symbols("x y kappa1 kappa2", real=True)
    log_p, log_r = sympy.Function("L")(x), sympy.Function("M")(y)
    f, g = sympy.Function("f")(x), sympy.Function("g")(y)
    product = f * g
    log_both = log_p + log_r
    generated = sum(sympy.diff(product, u, 2) + sympy.diff(log_both, u) * sympy.diff(product, u) for u in (x, y))
    modes = {
        sympy.diff(f, x, 2): -k * f - sympy.diff(log_p, x) * sympy.diff(f, x),
        sympy.diff(g, y, 2): -m * g - sympy.diff(log_r, y) * sympy.diff(g, y),
    }
    assert sympy.expand(generated.subs(modes) + (k + m) * product) == 0
    points = np.random.default_rng(1).normal(1.5, 3, (50, 2))
    lines = mixture(PAIR)(points[:, :1])[0] + mixture(PAIR)(points[:, 1:])[0]
    assert_close(mixtures.log_density(points, SQUARE), lines, what="log p of the square, as a sum of two lines")


def test_relaxation_moves_with_its_means():
    """Shifted means, another order, a mean given twice: the same rates, and modes on shifted points."""
    home = langevin.relaxation(UNEVEN)
    away = langevin.relaxation(UNEVEN + 1000.0)
    mirrored = langevin.relaxation(-UNEVEN)
    cases = {
        "shifted by 1,000": away.rates,
        "in another order": langevin.relaxation(UNEVEN[[2, 0, 1]]).rates,
        "each given twice": langevin.relaxation(np.concatenate([UNEVEN, UNEVEN])).rates,
        "mirrored": mirrored.rates,
        "in Fortran order, read-only": langevin.relaxation(np.broadcast_to(UNEVEN, (3, 1))).rates,
    }
    for name, rates in cases.items():
        assert_close(rates, home.rates, rtol=1e-7, atol=1e-8, what=f"the rates, with means {name}")
    wide = np.array([[1.0], [-5.0], [6.0], [0.0]])  # the ends stand in the middle
    rates = [langevin.relaxation(means).rates for means in (wide, np.sort(wide, axis=0))]
    assert_close(rates[0], rates[1], rtol=1e-7, atol=1e-8, what="the rates of means that are not sorted")
    small = [langevin.relaxation(np.array([[0], [12]], dtype)).rates for dtype in (np.int8, float)]
    assert_close(small[0], small[1], rtol=1e-7, atol=1e-9, what="the rates, with means of small integers")
    integers = langevin.relaxation(np.array([[0], [3]])).rates
    assert_close(integers, [0, 0.257219265, 1.12632947, 1.70572997], rtol=1e-7, atol=1e-9, what="integer means 0, 3")
    assert np.all(mirrored.modes[-1] > 0), f"with means mirrored, modes end at {mirrored.modes[-1]}: not positive"
    assert_close(away.points - 1000, home.points, rtol=0, atol=1e-9, what="points, shifted by 1,000")


def test_relaxation_of_bells_far_apart():
    """At distance 12 the gap is tiny and still positive, near the rule of thumb (2a/π)φ(a/2); at 0 it is 1."""
    got = langevin.relaxation(np.array([[0.0], [12.0]])).rates
    thumb = 24 / np.pi * stats.norm.pdf(6.0)
    assert 0 < got[1] < thumb, f"the gap at distance 12 is {got[1]}, the rule of thumb, an upper bound, is {thumb}"
    assert_close(got[1], thumb, rtol=0.1, what="the gap at distance 12, against the rule of thumb")
    counts = [len(langevin.relaxation(PAIR, count=k).rates) for k in (1, 3, 10)]
    assert counts == [1, 3, 10], f"relaxation(count=1, 3, 10) gave {counts} rates"


# A symmetric start


@pytest.mark.claim("prop-symmetric-start")
@pytest.mark.parametrize("adjusted", [True, False])
def test_a_mirrored_walk_is_the_mirror_image(rng, adjusted):
    """A walk from σx, shaken by Lz, deciding by the same numbers, is σ of the first: one coordinate about 3/2."""
    target, step, flip = mixture(SQUARE), 0.8, np.array([-1.0, 1.0])
    centre = np.array([1.5, 0.0])

    def mirror(x):
        return centre + flip * (x - centre)

    x = exact_draws(rng, SQUARE, 60)
    image = mirror(x)
    for _ in range(20):
        z, log_u = rng.standard_normal(x.shape), -rng.standard_exponential(60)

        def follow(here, shake, log_u=log_u):
            there = here + step * target(here)[1] + np.sqrt(2 * step) * shake
            ratio = langevin.log_acceptance_ratio(target, here, there, step)
            go = log_u < ratio if adjusted else np.full(60, True)
            return np.where(go[:, None], there, here)

        x, image = follow(x, z), follow(image, flip * z)
        assert_close(image, mirror(x), rtol=0, atol=1e-7, what="the image, against the mirror image")
        x, image = x, mirror(x)  # rounding errors are not to grow


@pytest.mark.claim("prop-symmetric-start")
@pytest.mark.parametrize("adjusted", [True, False])
def test_sample_keeps_a_symmetric_start_symmetric(rng, adjusted):
    """From (0, 4) or (3, 4), as likely, odd functions of x₁ − 3/2 have mean 0 after 7 steps; from (0, 4) alone not."""
    begin = np.column_stack([3.0 * rng.integers(0, 2, 20_000), np.full(20_000, 4.0)])
    away = langevin.sample(rng, mixture(SQUARE), begin, 0.4, 7, adjusted=adjusted).positions[:, 0] - 1.5
    assert_mean(away, 0.0, detects=0.2)
    assert_mean(np.sin(away), 0.0, detects=0.1)
    begin[:, 0] = 0.0
    away = langevin.sample(rng, mixture(SQUARE), begin, 0.4, 7, adjusted=adjusted).positions[:, 0] - 1.5
    assert away.mean() < -0.3, "the start was forgotten at once, and proves nothing"


# What the chains can tell


def halves_of(x):
    n = len(x) // 2
    return np.concatenate([x[:n], x[len(x) - n :]], axis=1)


def within_and_between(sequences):
    """W and B/n of the columns of (n, m), by sums."""
    n, m = sequences.shape
    means = sequences.sum(axis=0) / n
    within = ((sequences - means) ** 2).sum(axis=0) / (n - 1)
    return within.sum() / m, ((means - means.mean()) ** 2).sum() / (m - 1)


def r_hat_of(sequences):
    n = len(sequences)
    within, between = within_and_between(sequences)
    return np.sqrt((n - 1) / n + between / within)


def correlated(rng, draws, chains, rho):
    """Chains of unit variance, each number ρ times the last and the rest new, from their law."""
    x = rng.standard_normal((draws, chains))
    for t in range(1, draws):
        x[t] = rho * x[t - 1] + np.sqrt(1 - rho**2) * x[t]
    return x


@pytest.mark.parametrize(("draws", "chains"), [(4, 1), (5, 2), (50, 4), (101, 3), (8, 30)])
def test_split_r_hat_is_its_formula(rng, draws, chains):
    """√((n−1)/n + B/(nW)) of half chains, by plain sums, for odd and even numbers of draws, one chain or more."""
    x = correlated(rng, draws, chains, 0.6) + np.arange(chains)
    halves = halves_of(x)
    n = len(halves)
    within, between = within_and_between(halves)
    means = halves.mean(axis=0)
    want = r_hat_of(halves)
    mistakes = {
        "is it the square, without the root?": want**2,
        "is one multiplied by n that is not, B for B/n?": np.sqrt((n - 1) / n + n * between / within),
        "are W and B swapped?": np.sqrt((n - 1) / n + within / (n * between)),
        "is the factor (n−1)/n missing?": np.sqrt(1 + between / within),
        "are the variances divided by n, not n − 1?": np.sqrt((n - 1) / n + between / (within * (n - 1) / n)),
        "is the variance of the means divided by m, not m − 1?": np.sqrt((n - 1) / n + means.var() / within),
        "is (m+1)/m there, of an older definition?": np.sqrt(
            (n - 1) / n + (1 + 1 / halves.shape[1]) * between / within
        ),
        "is it the variance of all draws together over W?": np.sqrt(halves.var() / within),
    }
    if chains > 1:
        mistakes["are the chains not split into halves?"] = r_hat_of(x)
    if draws % 2:
        n = draws // 2
        mistakes["which draw of an odd number was left out? It is the middle one"] = r_hat_of(
            np.concatenate([x[:n], x[n : 2 * n]], axis=1)
        )
    assert_close(langevin.split_r_hat(x), want, what=f"split_r_hat, {draws} draws of {chains}", mistakes=mistakes)


def test_split_r_hat_of_four_draws():
    """0, 1, 0, 1: halves of equal means, √½, its least value; 0, 1, 2, 3: W = ½ and B/n = 2, √(½ + 4)."""
    mistakes = {"are the chains not split into halves?": np.sqrt(3 / 4)}
    got = langevin.split_r_hat(np.array([[0.0], [1.0], [0.0], [1.0]]))
    assert_close(got, np.sqrt(0.5), what="split_r_hat of 0, 1, 0, 1", mistakes=mistakes)
    assert_close(langevin.split_r_hat(np.array([[0], [1], [2], [3]])), np.sqrt(4.5), what="split_r_hat of 0, 1, 2, 3")


@pytest.mark.claim("prop-r-hat")
def test_split_r_hat_is_least_where_all_means_agree(rng):
    """R̂ ≥ √((n−1)/n), and equal to it if halves have one mean; the total sum of squares is m(n−1)W + (m−1)B."""
    for draws, chains in [(10, 2), (40, 5)]:
        x = correlated(rng, draws, chains, 0.3)
        halves = halves_of(x)
        n, m = halves.shape
        within, between = within_and_between(halves)
        total = np.square(halves - halves.mean()).sum()
        assert_close(total, m * (n - 1) * within + (m - 1) * n * between, what="the total sum of squares")
        least = np.sqrt((n - 1) / n)
        assert langevin.split_r_hat(x) > least
        centred = halves - halves.mean(axis=0)
        joined = np.concatenate([centred[:, :chains], centred[:, chains:]])
        assert_close(langevin.split_r_hat(joined), least, what="split_r_hat, where all means agree")


@pytest.mark.claim("prop-r-hat")
@pytest.mark.parametrize("rho", [0.0, 0.9, -0.4])
def test_expected_variances_of_short_chains(rho):
    """With the covariance ρ^|t−s| of each of m chains, traces give E V̂ = σ² and E W = σ² n/(n−1) (1 − τ/n)."""
    n, m, sigma2 = 7, 3, 2.5
    one = sigma2 * rho ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    covariance = np.kron(np.eye(m), one)  # chain by chain
    tau = one.sum() / n / sigma2
    centring = np.eye(n) - 1 / n
    w_form = np.kron(np.eye(m), centring) / (m * (n - 1))
    averages = np.kron(np.eye(m), np.ones((n, 1)) / n)
    b_form = averages @ (np.eye(m) - 1 / m) @ averages.T / (m - 1)
    within, between = np.trace(w_form @ covariance), np.trace(b_form @ covariance)
    assert_close((n - 1) / n * within + between, sigma2, what="E V̂")
    assert_close(within, sigma2 * n / (n - 1) * (1 - tau / n), what="E W")
    # and W and B/n are these forms: on any numbers
    x = np.random.default_rng(2).standard_normal((n, m))
    flat = x.T.ravel()
    for form, value in zip((w_form, b_form), within_and_between(x), strict=True):
        assert_close(flat @ form @ flat, value, what="a quadratic form")


def effective_size(x, drop=None):
    """N/τ as the docstring has it, by sums; `drop` leaves something out."""
    halves = halves_of(x)
    n, m = halves.shape
    within, between = within_and_between(halves)
    if drop == "between":
        between = within / n
    total = (n - 1) / n * within + between
    centred = halves - halves.mean(axis=0)
    rho = [1 - (within - (centred[: n - t] * centred[t:]).sum() / ((n - 1) * m)) / total for t in range(n)]
    if drop == "pairs":
        first = next((t for t in range(n) if rho[t] < 0), n)
        tau = 2 * sum(rho[:first]) - 1
        return n * m / max(tau, 1 / np.log10(n * m))
    pairs = []
    for t in range(0, n - 1, 2):
        pair = rho[t] + rho[t + 1]
        if pair < 0 and drop != "the first negative":
            break
        if drop != "monotone" and pairs:
            pair = min(pair, pairs[-1])
        pairs.append(pair)
        if pair < 0:
            break
    tau = 2 * sum(pairs) - 1
    if drop == "cap":
        return n * m / tau
    return n * m / max(tau, 1 / np.log10(n * m))


@pytest.mark.parametrize(
    ("draws", "chains", "rho"),
    [(4, 2, 0.0), (31, 1, 0.5), (60, 3, 0.9), (400, 4, 0.97), (90, 5, -0.5), (14, 30, 0.4), (301, 4, 0.2)],
)
def test_chain_effective_sample_size_is_its_formula(rng, draws, chains, rho):
    """Geyer's initial monotone sequence over half chains, by plain sums, for slow, fast and alternating chains."""
    x = correlated(rng, draws, chains, rho) + (0.3 * np.arange(chains) if rho > 0.8 or rho < 0 else 0.0)
    want = effective_size(x)
    mistakes = {
        "are the differences between chains left out, so that each is judged by its own mean?": effective_size(
            x, "between"
        ),
        "do you stop at the first negative autocorrelation, not at the first negative pair?": effective_size(
            x, "pairs"
        ),
        "may a pair exceed the one before it? The sequence should be monotone": effective_size(x, "monotone"),
        "is the first negative pair counted as well?": effective_size(x, "the first negative"),
        "is the cap N log₁₀ N missing?": effective_size(x, "cap"),
        "is it the number of draws over it, τ?": halves_of(x).size / want,
        "is it per draw, divided by N?": want / halves_of(x).size,
        "is N counted in one chain only?": want / halves_of(x).shape[1],
        "is τ = 1 + 2Σ over pairs, where −1 + 2Σ belongs? (ρ₀ is among them)": halves_of(x).size
        / (halves_of(x).size / want + 2),
    }
    mistakes = {name: value for name, value in mistakes.items() if not np.isclose(value, want, rtol=1e-6)}
    got = langevin.chain_effective_sample_size(x)
    assert_close(got, want, rtol=1e-8, what=f"chain_effective_sample_size, {draws} draws, ρ = {rho}", mistakes=mistakes)


def test_chain_effective_sample_size_of_known_autocorrelations(rng):
    """For correlations ρᵗ it is N(1−ρ)/(1+ρ), within a fifth: the estimate of τ spreads by 2 % (ρ = .8) or less."""
    for rho in (0.0, 0.5, 0.8):
        x = correlated(rng, 4000, 40, rho)
        want = x.size * (1 - rho) / (1 + rho)
        mistakes = {"is it N(1−ρ)/(1+ρ) for one chain?": want / 40, "is it N(1−ρ)?": want * (1 + rho)}
        got = langevin.chain_effective_sample_size(x)
        assert_close(got, want, rtol=0.2, what=f"the effective size for ρ = {rho}", mistakes=mistakes)


def test_chain_effective_sample_size_is_bounded_for_alternating_chains():
    """A chain that alternates is worth more than its draws, but no more than N log₁₀ N is claimed."""
    x = np.tile([[1.0, -1.0], [-1.0, 1.0]], (50, 1))
    for draws, n in [(100, 200), (99, 196)]:  # of an odd number, the middle one does not count
        mistakes = {"is it bounded by N?": n, "is it N ln N?": n * np.log(n)}
        got = langevin.chain_effective_sample_size(x[:draws])
        assert_close(got, n * np.log10(n), what=f"the effective size of {draws} draws", mistakes=mistakes)


def test_split_r_hat_sees_a_drift_and_a_stranger(rng):
    """A trend within all chains shows in their halves, as does one chain that is elsewhere; else it is near 1."""
    calm = rng.standard_normal((1000, 4))
    trend = calm + np.linspace(0, 4, 1000)[:, None]
    stranger = calm + np.array([0.0, 0.0, 0.0, 5.0])
    # B/n is a variance of 8 means of 500: at most 10 of 1/500, but for 1e-9 of the time
    assert abs(langevin.split_r_hat(calm) - 1) < 0.01, "R̂ of independent draws should be near 1"
    assert langevin.split_r_hat(trend) > 1.3, "a trend within the chains is not seen: are they split into halves?"
    assert langevin.split_r_hat(stranger) > 1.5, "a chain that is elsewhere is not seen"
    few = langevin.chain_effective_sample_size(stranger)
    assert few < 100, f"one chain elsewhere, and {few:.0f} effective draws: differences between chains must count"


def test_split_r_hat_and_effective_size_do_not_depend_on_the_unit(rng):
    """x → 1000 + 3x, columns in another order, x reversed in sign or in time, integers and views give the same."""
    x = np.round(10 * correlated(rng, 40, 3, 0.7))
    wide = np.zeros((80, 6))
    wide[::2, ::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    cases = {
        "another unit": 1000 + 3 * x,
        "another sign": -x,
        "another order of chains": x[:, [2, 0, 1]],
        "time reversed": x[::-1],
        "integers": x.astype(int),
        "float32": x.astype(np.float32),
        "a view": wide[::2, ::2],
        "read-only": frozen,
        "a tiny unit": 1e-120 * x,
        "another origin, ten million off": 1e7 + x,
    }
    for function in (langevin.split_r_hat, langevin.chain_effective_sample_size):
        want, kept = function(x), x.copy()
        for name, other in cases.items():
            assert_close(function(other), want, rtol=1e-6, what=f"{function.__name__}, {name}")
        assert np.array_equal(x, kept), "x was changed"


def test_split_r_hat_and_effective_size_count_a_chain_that_stands_still(rng):
    """One chain of four never moved: W is the mean of all variances, 0 among them, and both are their formulas."""
    x = correlated(rng, 60, 4, 0.5)
    x[:, 1] = 3.0
    halves = halves_of(x)
    mistakes = {"is the chain that stands still left out?": r_hat_of(halves_of(x[:, [0, 2, 3]]))}
    for function, want in [(langevin.split_r_hat, r_hat_of(halves)), (langevin.chain_effective_sample_size, None)]:
        want = want or effective_size(x)
        try:
            got = function(x)
        except ValueError as error:
            raise AssertionError(
                f"one chain of four stands still: that is what this should tell, not {error}"
            ) from None
        assert_close(got, want, rtol=1e-8, what="where one chain of four stands still", mistakes=mistakes)


def test_split_r_hat_and_effective_size_follow_changes(rng):
    """An array changed between two calls gives a new answer."""
    x = rng.standard_normal((40, 3))
    before = langevin.split_r_hat(x), langevin.chain_effective_sample_size(x)
    x[:20] += 3.0
    after = langevin.split_r_hat(x), langevin.chain_effective_sample_size(x)
    assert after[0] > before[0] + 0.5, "x was changed between two calls, and R̂ is the old one"
    assert after[1] < before[1] / 2, "x was changed between two calls, and the effective size is the old one"


# Bad input


def refused(name, argument, bad, value=None, **changes):
    """The function refuses `bad` in the place of a good argument, and shows the value."""
    __tracebackhide__ = True
    good = {
        "sample": {"target": gaussian, "start": np.zeros((5, 2)), "step_size": 0.5, "steps": 3},
        "trace": {"target": gaussian, "start": np.zeros((5, 2)), "step_size": 0.5, "steps": 3, "every": 1},
        "log_acceptance_ratio": {"target": gaussian, "x": np.zeros((5, 2)), "y": np.ones((5, 2)), "step_size": 0.5},
        "gaussian_acceptance": {"step_size": 0.5, "dimension": 2},
        "relaxation": {"means": PAIR, "count": 3},
    }[name] | changes

    def call(**arguments):
        if name in ("sample", "trace"):
            arguments["rng"] = np.random.default_rng(1)
        result = getattr(langevin, name)(**arguments)
        return np.asarray(result[0] if isinstance(result, tuple) else result)

    call.__name__ = name
    assert_refused(
        call,
        **good | ({} if bad is None else {argument: bad}),
        argument=argument,
        value=bad if value is None else value,
    )


walkers = pytest.mark.parametrize("name", ["sample", "trace"])


@walkers
def test_walks_refuse_bad_starts(name):
    """A row alone, no rows, no columns, NaN and ∞ raise a ValueError that names start."""
    for bad, value in [(np.zeros(2), 2), (np.zeros((0, 2)), 0), (np.zeros((3, 0)), 0), (np.zeros((2, 2, 2)), 2)]:
        refused(name, "start", bad, value)
    for value in (NAN, INF, -INF):
        refused(name, "start", np.array([[0.0, 0.0], [1.0, value]]), value)


@pytest.mark.parametrize("name", ["sample", "trace", "log_acceptance_ratio"])
def test_walks_refuse_bad_step_sizes(name):
    """0, negative, infinite, NaN, and an array of two, raise a ValueError that names step_size."""
    for bad in (0.0, -0.5, INF, NAN):
        refused(name, "step_size", bad)
    refused(name, "step_size", np.array([0.1, 0.2]), 2)


@walkers
def test_walks_refuse_bad_numbers_of_steps(name):
    """0, −2, 2.5, 3.0 and True raise a ValueError that names steps."""
    for bad in (0, -2, 2.5, 3.0, True):
        refused(name, "steps", bad)


def test_trace_refuses_a_bad_every():
    """0, −1, 1.5 and more than steps raise a ValueError that names every."""
    for bad in (0, -1, 1.5, 4):
        refused("trace", "every", bad)


@pytest.mark.parametrize(("name", "argument"), [("sample", "start"), ("trace", "start"), ("log_acceptance_ratio", "x")])
def test_walks_refuse_to_begin_where_there_is_no_density(name, argument):
    """−∞, +∞ or NaN for log p at the start, or in the score there, raise a ValueError that says where."""
    for bad in (-INF, INF, NAN):
        refused(name, argument, None, bad, **{"target": lambda x, b=bad: (np.full(len(x), b), -x)})
        refused(name, argument, None, bad, **{"target": lambda x, b=bad: (-x[:, 0], np.full(x.shape, b))})


@walkers
def test_walks_refuse_targets_of_other_shapes(name):
    """log p as a column or a number, a score as one number a row or transposed: a ValueError that says which."""
    for log_p in (lambda x: np.zeros((5, 1)), lambda x: 0.0):
        refused(name, "log density", None, 5, target=lambda x, f=log_p: (f(x), -x))
    for score in (lambda x: np.zeros(5), lambda x: np.zeros((2, 5))):
        refused(name, "score", None, 5, target=lambda x, f=score: (np.zeros(5), f(x)))


@walkers
def test_walks_refuse_what_is_no_density_on_the_way(name):
    """NaN or +∞ for log p at a proposal, or a NaN score where p is positive, raise a ValueError."""

    def elsewhere(value, score):
        def target(x):
            home = (x == 0).all(axis=1)
            return np.where(home, 0.0, value), np.where(home[:, None], 0.0 * x, score)

        return target

    for value in (NAN, INF):
        refused(name, "log density", None, value, target=elsewhere(value, 0.0))
    refused(name, "score", None, NAN, target=elsewhere(0.0, NAN))


def test_log_acceptance_ratio_refuses_what_does_not_fit():
    """Points of other shapes, rows alone, NaN, and NaN from the target, raise a ValueError that names them."""
    refused("log_acceptance_ratio", "y", np.ones((4, 2)), 4)
    refused("log_acceptance_ratio", "y", np.ones((1, 2)), 1)
    refused("log_acceptance_ratio", "x", np.ones((5, 3)), 3)
    refused("log_acceptance_ratio", "x", np.ones(2), 2)
    for value in (NAN, INF):
        for argument in ("x", "y"):
            refused("log_acceptance_ratio", argument, np.array([[0.0, value]] * 5), value)

    def broken(value, score):
        def target(x):
            home = (x == 0).all(axis=1)
            return np.where(home, 0.0, value), np.where(home[:, None], 0.0 * x, score)

        return target

    for value in (NAN, INF):
        refused("log_acceptance_ratio", "log density", None, value, target=broken(value, 0.0))
    refused("log_acceptance_ratio", "score", None, NAN, target=broken(0.0, NAN))


def test_ula_variance_refuses_steps_at_which_nothing_settles():
    """0, negative, 2 and more, NaN, alone or in an array, raise a ValueError that names step_size."""
    for bad in (0.0, -0.1, 2.0, 2.5, NAN, INF):
        assert_refused(langevin.ula_variance, bad, argument="step_size", value=bad)
        assert_refused(langevin.ula_variance, np.array([0.5, bad]), argument="step_size", value=bad)


def test_gaussian_acceptance_refuses_bad_arguments():
    """Steps of 0, below, NaN and ∞; dimensions 0, −1, 2.0, 1.5 and True: a ValueError that names them."""
    for bad in (0.0, -1.0, NAN, INF):
        refused("gaussian_acceptance", "step_size", bad)
        refused("gaussian_acceptance", "step_size", np.array([0.5, bad]), bad)
    for bad in (0, -1, 2.0, 1.5, True):
        refused("gaussian_acceptance", "dimension", bad)


def test_relaxation_refuses_bad_arguments():
    """Means in two columns, in a row, none, NaN, too far apart; counts 0, 11, 2.0: a ValueError that names them."""
    for bad, value in [(np.zeros((3, 2)), 2), (np.zeros(3), 3), (np.zeros((0, 1)), 0), (np.array([[0.0], [NAN]]), NAN)]:
        refused("relaxation", "means", bad, value)
    refused("relaxation", "means", np.array([[0.0], [12.5]]), 12.5)
    for bad in (0, -1, 11, 2.0, True):
        refused("relaxation", "count", bad)


@pytest.mark.parametrize("name", ["split_r_hat", "chain_effective_sample_size"])
def test_diagnostics_refuse_what_is_no_table_of_draws(name):
    """Three draws, a row alone, no chains, NaN, ∞, and chains that stand still, raise a ValueError that names x."""
    function = getattr(langevin, name)
    for bad, value in [(np.eye(3), 3), (np.arange(8.0), 8), (np.zeros((8, 0)), 0)]:
        assert_refused(function, bad, argument="x", value=value)
    for value in (NAN, INF):
        bad = np.arange(16.0).reshape(8, 2)
        bad[5, 1] = value
        assert_refused(function, bad, argument="x", value=value)
    assert_refused(function, np.ones((8, 2)), argument="x", value="still")
    assert_refused(function, np.ones((8, 2)) * [1.0, 2.0], argument="x", value="still")
    # six times 0.1 over six is not 0.1, so that their variance is not 0
    assert_refused(function, np.full((12, 2), 0.1), argument="x", value="still")


@pytest.mark.claim("thm-gaussian-acceptance")
@pytest.mark.parametrize(("dimension", "step"), [(1, 1.0), (2, 1.0), (10, 0.6)])
def test_sample_jumps_as_far_as_it_should(rng, dimension, step):
    """One step from 60,000 exact draws of N(0, I): the mean squared jump of a coordinate, from two beta laws."""
    start = rng.standard_normal((60_000, dimension))
    jumps = np.square(walk(rng, gaussian, start, step, 1).positions - start).mean(axis=1)
    c = np.sqrt(step**3 / (8 + step**3))
    below = [stats.beta.cdf((1 - c) / 2, dimension / 2 + more, dimension / 2) for more in (0, 1)]
    want = (4 * step + 2 * step**2) * ((1 - c) * below[0] + c * below[1])
    hints = {
        "twice the step times the acceptance, which is only the limit": 4 * step * below[0],
        "every move is made, and none refused": 2 * step + step**2,
    }
    assert_mean(jumps, want, detects=0.06 * want, hints=hints)
