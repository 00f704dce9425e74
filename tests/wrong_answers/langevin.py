"""Walks that climb the wrong hill, refuse the wrong steps, or tell nothing; wrong ratios, rates and diagnostics."""

import numpy as np
from scipy import special

from solutions import langevin, mixtures
from tests.wrong_answers import wrong

# Kept, as a wrong answer may stand in their places later.
right_walk, right_trace, right_ratio = langevin.sample, langevin.trace, langevin.log_acceptance_ratio
right_variance, right_acceptance = langevin.ula_variance, langevin.gaussian_acceptance
right_modes, right_r_hat = langevin.relaxation, langevin.split_r_hat
right_size = langevin.chain_effective_sample_size
Chains, Relaxation = langevin.Chains, langevin.Relaxation


def log_q(there, here, slope, step_size, width=1.0):
    """log N(there; here + ε s, 2εI), up to a constant."""
    return -np.square(there - here - step_size * slope).sum(axis=1) / (4 * step_size * width)


def decide(rng, log_ratio):
    return np.log(rng.random(len(log_ratio))) < log_ratio


def walk(rng, target, start, step_size, steps, adjusted, *, ratio=None, rule=decide, shake=None, drift=1.0, noise=None):
    """A walk like ours, with a ratio, a rule, a shake, a drift, or noise of one's own; refuses what ours refuses."""
    right_walk(np.random.default_rng(0), target, start, step_size, 1, adjusted)  # refuses what ours refuses
    ratio = ratio or (lambda p, p_there, forth, back: p_there + back - p - forth)
    x = np.array(start, dtype=float)
    taken = np.zeros(len(x))
    if steps is True or not isinstance(steps, int) or steps < 1:
        right_walk(np.random.default_rng(0), target, start, step_size, steps, adjusted)
    noise = np.sqrt(2 * step_size) if noise is None else noise(step_size)
    for _ in range(steps):
        log_p, slope = (np.array(value) for value in target(x))
        z = shake(rng, x.shape) if shake else rng.standard_normal(x.shape)
        y = x + drift * step_size * slope + noise * z
        if not np.abs(y).max() < 1e150:
            raise OverflowError(f"step_size {step_size} is too large")
        go = np.full(len(x), True)
        if adjusted:
            log_p_there, slope_there = target(y)
            if not np.max(log_p_there) < np.inf:
                raise ValueError(f"log density must be a number, got {log_p_there.max()}")
            with np.errstate(all="ignore"):
                forth = log_q(y, x, slope, step_size)
                back = log_q(x, y, slope_there, step_size)
                log_ratio = ratio(log_p, log_p_there, forth, back)
                log_ratio = np.where(log_p_there == -np.inf, -np.inf, log_ratio)
                go = rule(rng, log_ratio)
        x = np.where(go[:, None], y, x)
        taken += go
    return Chains(x, taken / steps)


# The acceptance


@wrong(replaces="sample", trap="E10", hint="the ratio is inverted")
def walk_with_the_ratio_upside_down(rng, target, start, step_size, steps, adjusted=True):
    inverted = lambda p, p_there, forth, back: p + forth - p_there - back  # noqa: E731
    return walk(rng, target, start, step_size, steps, adjusted, ratio=inverted)


@wrong(replaces="sample", trap="E9", hint="the Hastings ratio q(x|y)/q(y|x) seems to be missing")
def walk_without_hastings(rng, target, start, step_size, steps, adjusted=True):
    metropolis = lambda p, p_there, forth, back: p_there - p  # noqa: E731
    return walk(rng, target, start, step_size, steps, adjusted, ratio=metropolis)


@wrong(replaces="sample", trap="E9", hint="accepted whenever p rises")
def walk_that_only_climbs(rng, target, start, step_size, steps, adjusted=True):
    metropolis = lambda p, p_there, forth, back: p_there - p  # noqa: E731
    rule = lambda rng, log_ratio: log_ratio > 0  # noqa: E731
    return walk(rng, target, start, step_size, steps, adjusted, ratio=metropolis, rule=rule)


@wrong(replaces="sample", trap="E7", hint="the Hastings ratio q(x|y)/q(y|x) seems to be missing")
def walk_whose_q_discards_the_norm(rng, target, start, step_size, steps, adjusted=True):
    blind = lambda p, p_there, forth, back: p_there - step_size / 4 - (p - step_size / 4)  # noqa: E731
    return walk(rng, target, start, step_size, steps, adjusted, ratio=blind)


@wrong(replaces="sample", trap="E10", hint="there is no uniform number")
def walk_without_a_uniform_number(rng, target, start, step_size, steps, adjusted=True):
    return walk(rng, target, start, step_size, steps, adjusted, rule=lambda rng, log_ratio: log_ratio > 0)


@wrong(replaces="sample", trap="E10", hint="every proposal is accepted")
def walk_that_moves_in_both_branches(rng, target, start, step_size, steps, adjusted=True):
    return right_walk(rng, target, start, step_size, steps, adjusted=False)


@wrong(replaces="sample", trap="E8", hint="one decision for all chains")
def walk_that_decides_on_the_sum_of_densities(rng, target, start, step_size, steps, adjusted=True):
    x, taken = np.array(start, dtype=float), np.zeros(len(start))
    for _ in range(steps):
        y = right_walk(rng, target, x, step_size, 1, adjusted=False).positions
        with np.errstate(all="ignore"):
            go = not adjusted or np.exp(target(y)[0]).sum() > np.exp(target(x)[0]).sum()
        x, taken = (y, taken + 1) if go else (x, taken)
    return Chains(x, taken / steps)


@wrong(replaces="sample", trap="E8", hint="one uniform number decides for all chains")
def walk_with_one_uniform_number(rng, target, start, step_size, steps, adjusted=True):
    rule = lambda rng, log_ratio: np.log(rng.random()) < log_ratio  # noqa: E731
    return walk(rng, target, start, step_size, steps, adjusted, rule=rule)


@wrong(replaces="sample", hint="only accepted moves are counted as steps")
def walk_that_waits_for_acceptance(rng, target, start, step_size, steps, adjusted=True):
    if not adjusted:
        return right_walk(rng, target, start, step_size, steps, adjusted)
    x, made, tries = np.array(start, dtype=float), np.zeros(len(start)), 0
    while made.min() < steps and tries < 100 * steps:
        y = right_walk(rng, target, x, step_size, 1).positions
        go = (y != x).any(axis=1) & (made < steps)
        x, made, tries = np.where(go[:, None], y, x), made + go, tries + 1
    return Chains(x, made / steps)


@wrong(replaces="sample", hint="where p is 0, or at NaN")
def walk_that_accepts_what_is_not_a_number(rng, target, start, step_size, steps, adjusted=True):
    x, taken = np.array(start, dtype=float), np.zeros(len(start))
    for _ in range(steps):
        log_p, slope = target(x)
        y = x + step_size * slope + np.sqrt(2 * step_size) * rng.standard_normal(x.shape)
        log_p_there, slope_there = target(y)
        with np.errstate(all="ignore"):
            log_ratio = log_p_there + log_q(x, y, slope_there, step_size) - log_p - log_q(y, x, slope, step_size)
            stay = np.log(rng.random(len(x))) >= log_ratio if adjusted else np.full(len(x), False)
        x = np.where(stay[:, None], x, y)
        taken += ~stay
    return Chains(x, taken / steps)


# The step


@wrong(replaces="sample", trap="E2", hint="the noise is √2 ε z")
def walk_with_root_two_times_epsilon(rng, target, start, step_size, steps, adjusted=True):
    return walk(rng, target, start, step_size, steps, adjusted, noise=lambda e: np.sqrt(2) * e)


@wrong(replaces="sample", hint="the noise is √ε z")
def walk_with_half_the_noise(rng, target, start, step_size, steps, adjusted=True):
    return walk(rng, target, start, step_size, steps, adjusted, noise=np.sqrt)


@wrong(replaces="sample", hint="the drift is ε/2 times the score")
def walk_of_half_the_step_which_is_right_when_adjusted(rng, target, start, step_size, steps, adjusted=True):
    if adjusted:
        return right_walk(rng, target, start, step_size, steps)
    return walk(rng, target, start, step_size, steps, adjusted, drift=0.5)


@wrong(replaces="sample", trap="E11", hint="the drift goes down the slope")
def walk_downhill(rng, target, start, step_size, steps, adjusted=True):
    return walk(rng, target, start, step_size, steps, adjusted, drift=-1.0)


@wrong(replaces="sample", trap="E4", hint="a sixteenth of the right one: that of a standard deviation of 4")
def walk_with_the_score_of_a_wider_law(rng, target, start, step_size, steps, adjusted=True):
    return walk(rng, target, start, step_size, steps, adjusted=False, drift=1 / 16)


@wrong(replaces="sample", trap="E5", hint="of other scales, 1/16 and 1/4")
def walk_with_three_sigmas(rng, target, start, step_size, steps, adjusted=True):
    x, taken = np.array(start, dtype=float), np.zeros(len(start))
    for _ in range(steps):
        log_p, slope = target(x)
        y = x + step_size * slope / 16 + np.sqrt(2 * step_size) * rng.standard_normal(x.shape)
        log_p_there, slope_there = target(y)
        forth, back = log_q(y, x, slope / 4, step_size), log_q(x, y, slope_there / 4, step_size)
        go = decide(rng, log_p_there + back - log_p - forth)
        x, taken = np.where(go[:, None], y, x), taken + go
    return Chains(x, taken / steps)


@wrong(replaces="sample", hint="both coordinates are shaken by the same number")
def walk_along_the_diagonal(rng, target, start, step_size, steps, adjusted=True):
    shake = lambda rng, shape: np.tile(rng.standard_normal((shape[0], 1)), shape[1])  # noqa: E731
    return walk(rng, target, start, step_size, steps, adjusted, shake=shake)


@wrong(replaces="sample", hint="do they share their noise?")
def walk_of_chains_that_share_their_noise(rng, target, start, step_size, steps, adjusted=True):
    shake = lambda rng, shape: np.tile(rng.standard_normal((1, shape[1])), (shape[0], 1))  # noqa: E731
    return walk(rng, target, start, step_size, steps, adjusted, shake=shake)


@wrong(replaces="sample", hint="log p of the start is still in use")
def walk_that_keeps_its_first_density(rng, target, start, step_size, steps, adjusted=True):
    x, taken = np.array(start, dtype=float), np.zeros(len(start))
    log_p = np.array(target(x)[0])
    for _ in range(steps):
        slope = target(x)[1]
        y = x + step_size * slope + np.sqrt(2 * step_size) * rng.standard_normal(x.shape)
        log_p_there, slope_there = target(y)
        with np.errstate(all="ignore"):
            log_ratio = log_p_there + log_q(x, y, slope_there, step_size) - log_p - log_q(y, x, slope, step_size)
        go = decide(rng, log_ratio) if adjusted else np.full(len(x), True)
        x, taken = np.where(go[:, None], y, x), taken + go
    return Chains(x, taken / steps)


@wrong(replaces="sample", hint="the score of a proposal that was turned down is still in use")
def walk_that_remembers_the_score_of_what_it_refused(rng, target, start, step_size, steps, adjusted=True):
    x, taken = np.array(start, dtype=float), np.zeros(len(start))
    log_p, slope = (np.array(value) for value in target(x))
    for _ in range(steps):
        y = x + step_size * slope + np.sqrt(2 * step_size) * rng.standard_normal(x.shape)
        log_p_there, slope_there = target(y)
        with np.errstate(all="ignore"):
            log_ratio = log_p_there + log_q(x, y, slope_there, step_size) - log_p - log_q(y, x, slope, step_size)
        go = decide(rng, log_ratio) if adjusted else np.full(len(x), True)
        x, taken, log_p = np.where(go[:, None], y, x), taken + go, np.where(go, log_p_there, log_p)
        slope = np.array(slope_there)
    return Chains(x, taken / steps)


@wrong(replaces="sample", hint="this is one step too many")
def walk_one_step_too_long(rng, target, start, step_size, steps, adjusted=True):
    return right_walk(rng, target, start, step_size, steps + 1, adjusted)


@wrong(replaces="sample", hint="are steps turned down here?")
def walk_that_is_always_adjusted(rng, target, start, step_size, steps, adjusted=True):
    return right_walk(rng, target, start, step_size, steps)


# What a walk promises besides


@wrong(replaces="sample", hint="is it averaged over them?")
def walk_with_one_acceptance_for_all(rng, target, start, step_size, steps, adjusted=True):
    chains = right_walk(rng, target, start, step_size, steps, adjusted)
    return Chains(chains.positions, np.full(len(start), chains.acceptance.mean()))


@wrong(replaces="sample", hint="the part of its steps that a chain took")
def walk_that_reports_probabilities(rng, target, start, step_size, steps, adjusted=True):
    seen = []

    def rule(rng, log_ratio):
        seen.append(np.exp(np.minimum(0, log_ratio)))
        return decide(rng, log_ratio)

    chains = walk(rng, target, start, step_size, steps, adjusted, rule=rule)
    return Chains(chains.positions, np.mean(seen, axis=0) if adjusted else chains.acceptance)


@wrong(replaces="sample", hint="start was changed by the walk")
def walk_in_place(rng, target, start, step_size, steps, adjusted=True):
    chains = right_walk(rng, target, start, step_size, steps, adjusted)
    if start.dtype == float and start.flags.writeable:
        start[:] = chains.positions
    return chains


@wrong(replaces="sample", trap="E46", hint="is a seed fixed in the function?")
def walk_with_a_seed_of_its_own(rng, target, start, step_size, steps, adjusted=True):
    return right_walk(np.random.default_rng(0), target, start, step_size, steps, adjusted)


@wrong(replaces="sample", trap="E46", hint="is randomness taken from somewhere else?")
def walk_with_global_numbers(rng, target, start, step_size, steps, adjusted=True):
    other = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002
    return right_walk(other, target, start, step_size, steps, adjusted)


@wrong(replaces="sample", hint="copy what is kept")
def walk_that_trusts_the_target_with_its_memory(rng, target, start, step_size, steps, adjusted=True):
    x, taken = np.array(start, dtype=float), np.zeros(len(start))
    log_p, slope = target(x)
    for _ in range(steps):
        y = x + step_size * slope + np.sqrt(2 * step_size) * rng.standard_normal(x.shape)
        log_p_there, slope_there = target(y)
        with np.errstate(all="ignore"):
            log_ratio = log_p_there + log_q(x, y, slope_there, step_size) - log_p - log_q(y, x, slope, step_size)
        go = decide(rng, log_ratio) if adjusted else np.full(len(x), True)
        x, taken, log_p = np.where(go[:, None], y, x), taken + go, np.where(go, log_p_there, log_p)
        slope = np.where(go[:, None], slope_there, slope)
    return Chains(x, taken / steps)


@wrong(replaces="sample", hint="it should raise an OverflowError")
def walk_that_stops_at_the_edge_of_numbers(rng, target, start, step_size, steps, adjusted=True):
    try:
        return right_walk(rng, target, start, step_size, steps, adjusted)
    except OverflowError:
        return Chains(np.full(np.shape(start), np.inf), np.ones(len(start)))


@wrong(replaces="sample", hint="log density=nan was accepted")
def walk_that_refuses_nan_in_silence(rng, target, start, step_size, steps, adjusted=True):
    calls = []

    def patched(x):
        log_p, slope = target(x)
        calls.append(x)
        return (log_p if len(calls) == 1 else np.where(np.isnan(log_p), -np.inf, log_p)), slope

    return right_walk(rng, patched, start, step_size, steps, adjusted)


# The walk, watched


@wrong(replaces="trace", hint="the start is not one of them")
def trace_with_the_start(rng, target, start, step_size, steps, adjusted=True, every=1):
    rows = right_trace(rng, target, start, step_size, steps, adjusted, every)
    return np.concatenate([np.array(start, float)[None], rows])


@wrong(replaces="trace", hint="the start is among the rows")
def trace_that_is_a_step_behind(rng, target, start, step_size, steps, adjusted=True, every=1):
    rows = right_trace(rng, target, start, step_size, steps, adjusted, every)
    return np.concatenate([np.array(start, float)[None], rows[:-1]])


@wrong(replaces="trace", hint="was one array stored again and again?")
def trace_of_one_array(rng, target, start, step_size, steps, adjusted=True, every=1):
    rows = right_trace(rng, target, start, step_size, steps, adjusted, every)
    return np.repeat(rows[-1:], len(rows), axis=0)


@wrong(replaces="trace", hint="are these the first, fourth and seventh step?")
def trace_of_the_first_of_every_few(rng, target, start, step_size, steps, adjusted=True, every=1):
    right_trace(rng, target, start, step_size, 1, adjusted, 1)
    if every == 1 or steps % every == 0:
        return right_trace(rng, target, start, step_size, steps, adjusted, every)
    return right_trace(rng, target, start, step_size, steps, adjusted)[::every][: steps // every]


@wrong(replaces="trace", hint="no row repeats the one before")
def trace_without_repeats(rng, target, start, step_size, steps, adjusted=True, every=1):
    return right_trace(rng, target, start, step_size, steps, False, every)


# The ratio


def parts(target, x, y, step_size):
    """log p(y) − log p(x), and log q(y|x), log q(x|y), and both scores; bad input is refused as ours is."""
    right_ratio(target, x, y, step_size)
    x, y = np.array(x, float), np.array(y, float)
    log_p, slope = (np.array(value) for value in target(x))
    log_p_there, slope_there = (np.array(value) for value in target(y))
    forth, back = log_q(y, x, slope, step_size), log_q(x, y, slope_there, step_size)
    return log_p_there - log_p, forth, back, slope, slope_there


@wrong(replaces="log_acceptance_ratio", hint="upside down?")
def ratio_with_hastings_upside_down(target, x, y, step_size):
    rise, forth, back, *_ = parts(target, x, y, step_size)
    return rise + forth - back


@wrong(replaces="log_acceptance_ratio", hint="is q's exponent |·|²/(2ε)")
def ratio_with_half_the_variance(target, x, y, step_size):
    rise, forth, back, *_ = parts(target, x, y, step_size)
    return rise + 2 * (back - forth)


@wrong(replaces="log_acceptance_ratio", trap="E9", hint="is the Hastings ratio q(x|y)/q(y|x) missing?")
def ratio_of_densities_alone(target, x, y, step_size):
    return parts(target, x, y, step_size)[0]


@wrong(replaces="log_acceptance_ratio", hint="are the scores at x and y swapped in q?")
def ratio_with_swapped_scores(target, x, y, step_size):
    rise, _, _, slope, slope_there = parts(target, x, y, step_size)
    return rise + log_q(x, y, slope, step_size) - log_q(y, x, slope_there, step_size)


@wrong(replaces="log_acceptance_ratio", hint="ε/2, where ε/4 belongs?")
def ratio_with_twice_its_second_term(target, x, y, step_size):
    ratio, (*_, slope, slope_there) = right_ratio(target, x, y, step_size), parts(target, x, y, step_size)
    return ratio + step_size / 4 * (np.square(slope).sum(axis=1) - np.square(slope_there).sum(axis=1))


@wrong(replaces="log_acceptance_ratio", hint="where p(y) is 0 it is −∞")
def ratio_that_is_nan_at_the_wall(target, x, y, step_size):
    rise, forth, back, *_ = parts(target, x, y, step_size)
    return rise + back - forth


@wrong(replaces="log_acceptance_ratio", hint="y=1 was accepted")
def ratio_that_broadcasts(target, x, y, step_size):
    if np.ndim(y) == 2 and len(y) == 1:
        y = np.repeat(y, len(x), axis=0)
    return right_ratio(target, x, y, step_size)


@wrong(replaces="log_acceptance_ratio", hint="the ratio, unsigned integers")
def ratio_of_unsigned_points(target, x, y, step_size):
    right = right_ratio(target, x, y, step_size)
    if np.issubdtype(np.result_type(x, y), np.unsignedinteger):
        slopes = np.array(target(x)[1]) + target(y)[1]
        right += 0.5 * (slopes * ((np.array(y, float) - x) - (y - x))).sum(axis=1)  # y − x is 253 for −3
    return right


# What is known on a Gaussian


@wrong(replaces="ula_variance", hint="the law of an inverted ratio?")
def ula_variance_without_the_half(step_size):
    right_variance(step_size)
    with np.errstate(all="ignore"):
        return 1 / (1 - np.asarray(step_size, float))


@wrong(replaces="ula_variance", hint="to first order only?")
def ula_variance_to_first_order(step_size):
    right_variance(step_size)
    return 1 + np.asarray(step_size) / 2


@wrong(replaces="ula_variance", hint="step_size=2.5 was accepted")
def ula_variance_of_a_walk_that_runs_away(step_size):
    if np.max(step_size) > 2:
        return 1 / (1 - np.divide(step_size, 2))
    return right_variance(step_size)


@wrong(replaces="gaussian_acceptance", hint="I_u without the 2?")
def acceptance_of_one_half(step_size, dimension):
    return right_acceptance(step_size, dimension) / 2


def beta(c, dimension):
    return 2 * special.betainc(dimension / 2, dimension / 2, (1 - c) / 2)


@wrong(replaces="gaussian_acceptance", hint="ε where ε³ belongs?")
def acceptance_without_the_cube(step_size, dimension):
    right_acceptance(step_size, dimension)
    return beta(np.sqrt(np.divide(step_size, np.add(8, step_size))), dimension)


@wrong(replaces="gaussian_acceptance", hint="D where D/2 belongs?")
def acceptance_in_twice_the_dimensions(step_size, dimension):
    right_acceptance(step_size, dimension)
    return right_acceptance(step_size, 2 * dimension)


# The modes


def modes_of(means, count, potential):
    """Like ours, with a potential of one's own."""
    right = right_modes(means, count)
    x, centres = right.points, np.array(means, float)[:, 0]
    r = mixtures.responsibilities(x[:, None], centres[:, None])
    mean = r @ centres
    matrix = langevin._minus_second_derivative(len(x), x[1] - x[0])
    rates, g = np.linalg.eigh(matrix + np.diag(potential(mean - x, r @ centres**2 - mean**2 - 1)))
    modes = g[:, :count] / g[:, :1]
    return Relaxation(rates[:count], x, modes * np.sign(modes[-1]))


@wrong(replaces="relaxation", hint="is ½s′ missing from V?")
def modes_without_the_bend(means, count=4):
    return modes_of(means, count, lambda s, bend: s**2 / 4)


@wrong(replaces="relaxation", hint="with half of each rate?")
def modes_at_half_their_rates(means, count=4):
    return right_modes(means, count)._replace(rates=right_modes(means, count).rates / 2)


@wrong(replaces="relaxation", hint="they are g = f√p")
def modes_of_the_symmetric_equation(means, count=4):
    right = right_modes(means, count)
    p = np.exp(mixtures.log_density(right.points[:, None], np.array(means, float)))
    return right._replace(modes=right.modes * np.sqrt(p)[:, None])


@wrong(replaces="relaxation", hint="does a mean that is given twice count once?")
def modes_of_the_set_of_means(means, count=4):
    return right_modes(np.unique(means, axis=0), count) if np.ndim(means) == 2 else right_modes(means, count)


# The diagnostics


@wrong(replaces="split_r_hat", hint="are the chains not split into halves?")
def r_hat_of_whole_chains(x):
    right_r_hat(x)
    n, within = len(x), np.var(x, axis=0, ddof=1).mean()
    between = np.mean(x, axis=0).var(ddof=1) if np.shape(x)[1] > 1 else 0.0
    return float(np.sqrt((n - 1) / n + between / within))


def halves(x):
    n = len(x) // 2
    pieces = np.concatenate([x[:n], x[-n:]], axis=1).astype(float)
    return n, pieces, pieces.var(axis=0, ddof=1).mean(), pieces.mean(axis=0).var(ddof=1)


@wrong(replaces="split_r_hat", hint="are W and B swapped?")
def r_hat_upside_down(x):
    right_r_hat(x)
    n, _, within, between = halves(x)
    with np.errstate(all="ignore"):
        return float(np.sqrt((n - 1) / n + within / (n * between)))


@wrong(replaces="split_r_hat", hint="divided by n, not n − 1?")
def r_hat_with_biased_variances(x):
    right_r_hat(x)
    n, pieces, _, between = halves(x)
    return float(np.sqrt((n - 1) / n + between / pieces.var(axis=0).mean()))


@wrong(replaces="split_r_hat", hint="It is the middle one")
def r_hat_without_the_last_draw(x):
    return right_r_hat(x[: len(x) // 2 * 2] if len(x) > 4 else x)


@wrong(replaces="split_r_hat", hint="x=still was accepted")
def r_hat_of_chains_that_stand_still(x):
    return 1.0 if np.ndim(x) == 2 and np.size(x) and np.all(np.ptp(x, axis=0) == 0) else right_r_hat(x)


@wrong(replaces="split_r_hat", hint="one chain of four stands still: that is what this should tell")
def r_hat_that_wants_all_chains_to_move(x):
    if np.ndim(x) == 2 and np.size(x) and np.ptp(x, axis=0).min() == 0:
        raise ValueError("x must vary within each chain, got one that stands still")
    return right_r_hat(x)


@wrong(replaces="split_r_hat", hint="another origin, ten million off")
def r_hat_of_mean_squares_less_squared_means(x):
    right_r_hat(x)
    n, pieces, _, between = halves(x)
    within = ((pieces**2).mean(axis=0) - pieces.mean(axis=0) ** 2).mean() * n / (n - 1)
    return float(np.sqrt((n - 1) / n + between / within))


def size_by_sums(x, *, between=True, pairs=True, monotone=True, cap=True, stop=0):
    """Like ours, with something left out."""
    right_size(x)
    n, pieces, within, spread = halves(x)
    total = (n - 1) / n * within + (spread if between else within / n)
    centred = pieces - pieces.mean(axis=0)
    covariance = np.array([(centred[: n - t] * centred[t:]).sum() for t in range(n)]) / (n - 1) / pieces.shape[1]
    rho = 1 - (within - covariance) / total
    if not pairs:
        negative = np.flatnonzero(rho < 0)
        tau = 2 * rho[: negative[0] if negative.size else None].sum() - 1
    else:
        sums = rho[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
        negative = np.flatnonzero(sums < 0)
        sums = sums[: negative[0] + stop if negative.size else None]
        tau = 2 * (np.minimum.accumulate(sums) if monotone else sums).sum() - 1
    return float(pieces.size / (max(tau, 1 / np.log10(pieces.size)) if cap else tau))


@wrong(replaces="chain_effective_sample_size", hint="are the differences between chains left out")
def size_of_each_chain_by_its_own_mean(x):
    return size_by_sums(x, between=False)


@wrong(
    replaces="chain_effective_sample_size", hint="the first negative autocorrelation, not at the first negative pair?"
)
def size_up_to_the_first_negative_autocorrelation(x):
    return size_by_sums(x, pairs=False)


@wrong(replaces="chain_effective_sample_size", hint="The sequence should be monotone")
def size_of_a_sequence_that_rises_again(x):
    return size_by_sums(x, monotone=False)


@wrong(replaces="chain_effective_sample_size", hint="is the cap N log₁₀ N missing?")
def size_without_a_bound(x):
    return size_by_sums(x, cap=False)


@wrong(replaces="chain_effective_sample_size", hint="is the first negative pair counted as well?")
def size_with_the_first_negative_pair(x):
    return size_by_sums(x, stop=1)
