"""Wrong games, wrong weights of right games, wrong variances, tilts and plans."""

import math
from fractions import Fraction
from math import comb

import numpy as np
from scipy import optimize, special, stats

from solutions import importance_sampling
from solutions.estimate import Estimate, mean_of
from tests.wrong_answers import wrong

# kept: a wrong answer may stand in their place later
right_Game, right_Games, right_Walks = importance_sampling.Game, importance_sampling.Games, importance_sampling.Walks
right_winning_paths, right_play = importance_sampling.winning_paths, importance_sampling.play
right_log_h = importance_sampling.log_winning_probabilities
right_probability = importance_sampling.probability_of_winning
right_without_horizon = importance_sampling.probability_without_horizon
right_winning_times, right_log_weights = importance_sampling.winning_times, importance_sampling.log_weights
right_estimate, right_log_second_moment = importance_sampling.estimate, importance_sampling.log_second_moment
right_relative_variance, right_best_tilt = importance_sampling.relative_variance, importance_sampling.best_tilt
right_cross_entropy_tilt, right_ideal_tilts = importance_sampling.cross_entropy_tilt, importance_sampling.ideal_tilts
right_follow, right_plan_variance = importance_sampling.follow, importance_sampling.plan_relative_variance


# The rules


@wrong(replaces="Game", hint="start=-1 was accepted")
class GameWithAnyRules(right_Game):
    def __post_init__(self):
        pass


# Counting


@wrong(replaces="winning_paths", hint="games that touch 0")
def winning_paths_without_ruin(game):
    d = game.goal - game.start
    return [0] + [
        d * comb(n, (n + d) // 2) // n if (n + d) % 2 == 0 and n >= d else 0 for n in range(1, game.max_rounds + 1)
    ]


@wrong(replaces="winning_paths", hint="rounded? Count in Python's integers")
def winning_paths_in_floats(game):
    return [int(float(ways)) for ways in right_winning_paths(game)]


@wrong(replaces="exact_probability", hint="is rounded")
def exact_probability_of_a_float(game):
    return Fraction(right_probability(game))


@wrong(replaces="probability_of_winning", trap="E41", hint="is the last play ignored?")
def probability_of_winning_ever(game):
    return right_without_horizon(game)


@wrong(replaces="probability_of_winning", trap="E41", hint="is the last play missing?")
def probability_of_winning_before_the_last_play(game):
    return float(right_winning_times(game)[:-1].sum())


@wrong(replaces="probability_of_winning", hint="not whether it ever reached the goal")
def probability_of_winning_by_where_it_ends(game):
    wins = (game.max_rounds + game.goal - game.start + 1) // 2
    return float(stats.binom.sf(wins - 1, game.max_rounds, float(game.win_probability)))


@wrong(replaces="log_winning_probabilities", hint="underflow before its logarithm")
def log_winning_probabilities_through_probabilities(game):
    p, h = float(game.win_probability), np.zeros((game.max_rounds + 1, game.goal + 1))
    h[:, -1] = 1.0
    for t in reversed(range(game.max_rounds)):
        h[t, 1:-1] = p * h[t + 1, 2:] + (1 - p) * h[t + 1, :-2]
    with np.errstate(divide="ignore"):
        return np.log(h)


@wrong(replaces="probability_without_horizon", hint="overflows or cancels")
def probability_without_horizon_by_powers(game):
    p = float(game.win_probability)
    if p == 0.5:
        return game.start / game.goal
    r = (1 - p) / p
    with np.errstate(all="ignore"):
        return float((1 - np.float64(r) ** game.start) / (1 - np.float64(r) ** game.goal))


@wrong(replaces="winning_times", hint="given that the game is won")
def winning_times_given_a_win(game):
    times = right_winning_times(game)
    return times / max(times.sum(), 1e-300)


# Games


def play_by_play(rng, game, n, tilt, low=0, over=False):
    """Games with the plays made one after the other; lost at `low`."""
    capital, plays = np.full(n, game.start), np.zeros(n, dtype=np.int64)
    for _ in range(game.max_rounds):
        going = (capital < game.goal) & (capital > low) | over
        capital = capital + going * np.where(rng.random(n) < float(tilt), 1, -1)
        plays = plays + going
    return right_Games(plays, capital)


@wrong(replaces="play", hint="does a game go on at 0")
def play_without_ruin(rng, game, n, tilt):
    return play_by_play(rng, game, n, tilt, low=-math.inf)


@wrong(replaces="play", hint="a leap beyond the last play")
def play_in_leaps_over_the_deadline(rng, game, n, tilt):
    capital, plays = np.full(n, game.start), np.zeros(n, dtype=np.int64)
    while (going := (capital > 0) & (capital < game.goal) & (plays < game.max_rounds)).any():
        safe = np.minimum(capital, game.goal - capital) * going
        capital = capital + 2 * rng.binomial(safe, tilt) - safe
        plays = plays + safe
    return right_Games(plays, capital)


@wrong(replaces="play", hint="standard errors away")
def play_with_a_leap_that_misses_returns(rng, game, n, tilt):
    """A leap by the sign of one play: right at the ends, but each leap goes all the way."""
    capital, plays = np.full(n, game.start), np.zeros(n, dtype=np.int64)
    while (going := (capital > 0) & (capital < game.goal) & (plays < game.max_rounds)).any():
        safe = np.minimum(np.minimum(capital, game.goal - capital), game.max_rounds - plays) * going
        capital = capital + safe * np.where(rng.random(n) < tilt, 1, -1)
        plays = plays + safe
    return right_Games(plays, capital)


@wrong(replaces="play", hint="always won together")
def play_one_game_for_all(rng, game, n, tilt):
    plays, capital = right_play(rng, game, 1, tilt)
    return right_Games(np.repeat(plays, n), np.repeat(capital, n))


@wrong(replaces="play", trap="E46", hint="does it draw from elsewhere?")
def play_with_global_randomness(rng, game, n, tilt):
    return right_play(np.random.default_rng(np.random.randint(2**31)), game, n, tilt)  # noqa: NPY002


@wrong(replaces="play", hint="is a generator seeded inside, from a few numbers?")
def play_from_a_thousand_seeds(rng, game, n, tilt):
    return right_play(np.random.default_rng(rng.integers(1000)), game, n, tilt)


@wrong(replaces="play", hint="sorted by how long they take")
def play_in_the_order_in_which_games_end(rng, game, n, tilt):
    plays, capital = right_play(rng, game, n, tilt)
    order = np.argsort(plays, kind="stable")
    return right_Games(plays[order], capital[order])


# Weights


def weights_of(plays, capital, game, tilt, p=None):
    """Log weights by hand, of all games."""
    p, q = float(game.win_probability if p is None else p), float(tilt)
    wins = (plays + capital - game.start) // 2
    return wins * np.log(p / q) + (plays - wins) * np.log((1 - p) / (1 - q))


@wrong(replaces="log_weights", trap="E40", hint="that of all K plays, though the game stops")
def log_weights_of_all_plays(rng, game, n, tilt, stopped=True):
    return right_log_weights(rng, game, n, tilt, stopped=False)


@wrong(replaces="log_weights", hint="weight upside down")
def log_weights_upside_down(rng, game, n, tilt, stopped=True):
    w = right_log_weights(rng, game, n, tilt, stopped)
    return np.where(np.isfinite(w), -w, w)


@wrong(replaces="log_weights", hint="(1−p)/(1−q) of lost plays missing")
def log_weights_of_the_wins(rng, game, n, tilt, stopped=True):
    plays, capital = right_play(rng, game, n, tilt)
    wins = (plays + capital - game.start) // 2
    return np.where(capital == game.goal, wins * np.log(float(game.win_probability) / tilt), -np.inf)


@wrong(replaces="log_weights", hint="are lost games given a weight?")
def log_weights_of_lost_games_too(rng, game, n, tilt, stopped=True):
    return weights_of(*right_play(rng, game, n, tilt), game, tilt)


@wrong(replaces="log_weights", hint="the last play, the winning one, left out")
def log_weights_without_the_last_play(rng, game, n, tilt, stopped=True):
    return right_log_weights(rng, game, n, tilt, stopped) - np.log(float(game.win_probability) / tilt)


@wrong(replaces="log_weights", hint="does a product of ratios underflow?")
def log_weights_through_a_product(rng, game, n, tilt, stopped=True):
    with np.errstate(divide="ignore"):
        return np.log(np.exp(right_log_weights(rng, game, n, tilt, stopped)))


@wrong(replaces="log_weights", hint="frequencies: ")
def log_weights_with_the_same_idle_plays_for_all_games(rng, game, n, tilt, stopped=True):
    """Each weight has the right law, but they are not independent."""
    plays, capital = right_play(rng, game, n, tilt)
    w = weights_of(plays, capital, game, tilt)
    if not stopped:
        p, q = float(game.win_probability), float(tilt)
        idle = np.where(rng.random(game.max_rounds) < q, np.log(p / q), np.log((1 - p) / (1 - q)))
        w = w + np.concatenate([[0.0], np.cumsum(idle)])[game.max_rounds - plays]
    return np.where(capital == game.goal, w, -np.inf)


# Estimates


@wrong(replaces="estimate", trap="E40", hint="all K plays seem to count though the game stops")
def estimate_with_all_plays(rng, game, n, tilt, stopped=True):
    return right_estimate(rng, game, n, tilt, stopped=False)


@wrong(replaces="estimate", trap="E40", hint="the weights seem to stop with the game")
def estimate_always_stopped(rng, game, n, tilt, stopped=True):
    return right_estimate(rng, game, n, tilt)


@wrong(replaces="estimate", trap="E41", hint="standard error of the won games alone")
def estimate_with_the_error_of_the_won_games(rng, game, n, tilt, stopped=True):
    w = np.exp(right_log_weights(rng, game, n, tilt, stopped))
    won = w[w > 0]
    return Estimate(w.mean(), won.std(ddof=1) / np.sqrt(len(won)) if len(won) > 1 else 0.0)


@wrong(replaces="estimate", trap="E41", hint="not divided by √n")
def estimate_with_a_standard_deviation(rng, game, n, tilt, stopped=True):
    w = np.exp(right_log_weights(rng, game, n, tilt, stopped))
    return Estimate(w.mean(), w.std(ddof=1))


@wrong(replaces="estimate", trap="E41", hint="n − 1 makes it unbiased")
def estimate_with_a_biased_error(rng, game, n, tilt, stopped=True):
    w = np.exp(right_log_weights(rng, game, n, tilt, stopped))
    return Estimate(w.mean(), w.std() / np.sqrt(n))


@wrong(replaces="estimate", trap="E41", hint="standard error")
def estimate_without_an_error(rng, game, n, tilt, stopped=True):
    return Estimate(right_estimate(rng, game, n, tilt, stopped).value, 0.0)


@wrong(replaces="estimate", hint="won games alone? The lost ones count as zeros")
def estimate_over_the_won_games(rng, game, n, tilt, stopped=True):
    w = np.exp(right_log_weights(rng, game, n, tilt, stopped))
    return mean_of(w[w > 0]) if np.sum(w > 0) > 1 else Estimate(0.0, 0.0)


@wrong(replaces="estimate", hint="self-normalised")
def estimate_self_normalised(rng, game, n, tilt, stopped=True):
    plays, capital = right_play(rng, game, n, tilt)
    w, won = np.exp(weights_of(plays, capital, game, tilt)), capital == game.goal
    value = np.sum(w * won) / w.sum()
    return Estimate(value, np.sqrt(np.sum(w**2 * (won - value) ** 2)) / w.sum())


@wrong(replaces="estimate", hint="are large weights cut off")
def estimate_with_large_weights_cut_off(rng, game, n, tilt, stopped=True):
    return mean_of(np.minimum(np.exp(right_log_weights(rng, game, n, tilt, stopped)), 1.0))


@wrong(replaces="estimate", hint="are the weights missing")
def estimate_without_weights(rng, game, n, tilt, stopped=True):
    return mean_of((right_play(rng, game, n, tilt).capital == game.goal).astype(float))


@wrong(replaces="estimate", hint="is the stream begun anew?")
def estimate_with_the_stream_begun_anew(rng, game, n, tilt, stopped=True):
    return right_estimate(np.random.default_rng(rng.bit_generator.seed_seq), game, n, tilt, stopped)


@wrong(replaces="estimate", trap="E41", hint="is the last play ignored?")
def estimate_without_the_last_play(rng, game, n, tilt, stopped=True):
    """Right on boards on which hardly any game lasts; the casino's goes on until it is decided."""
    if game.max_rounds > 100:
        game = right_Game(game.start, game.goal, game.win_probability, 40 * game.max_rounds)
    return right_estimate(rng, game, n, tilt, stopped)


# Moments


@wrong(replaces="log_second_moment", hint="All K plays should count")
def log_second_moment_always_stopped(game, tilt, stopped=True):
    return right_log_second_moment(game, tilt)


def log_moment(game, up, down, power=lambda n, rounds: 0 * n):
    """log Σ a(n) upʲ downˡ r^power,  for arrays of up and down."""
    ways, d = right_winning_paths(game), game.goal - game.start
    n = np.array([n for n, count in enumerate(ways) if count])
    logs = np.array([math.log(ways[k]) for k in n]) + power(n, game.max_rounds) * np.log(up + down)[..., None]
    logs = logs + (n + d) / 2 * np.log(up)[..., None] + (n - d) / 2 * np.log(down)[..., None]
    return special.logsumexp(logs, axis=-1)[()]


def variance_of(game, log_square):
    """The relative variance that belongs to it."""
    return np.maximum(np.expm1(log_square - 2 * right_log_h(game)[0, game.start]), 0.0)[()]


@wrong(replaces="relative_variance", hint="from which 1 must be taken")
def relative_variance_without_the_one(game, tilt, stopped=True):
    return right_relative_variance(game, tilt, stopped) + 1


@wrong(replaces="relative_variance", hint="divided by P where P² belongs")
def relative_variance_over_p(game, tilt, stopped=True):
    return right_relative_variance(game, tilt, stopped) * right_probability(game)


@wrong(replaces="relative_variance", trap="E40", hint="do all K plays count")
def relative_variance_of_full_paths(game, tilt, stopped=True):
    return right_relative_variance(game, tilt, stopped=False)


@wrong(replaces="relative_variance", hint="p for p²/q")
def relative_variance_with_the_weight_not_squared(game, tilt, stopped=True):
    right_relative_variance(game, tilt, stopped)
    return 1 / right_probability(game) - 1 + 0.0 * np.asarray(tilt)


@wrong(replaces="relative_variance", hint="r to the power K, not K − n")
def relative_variance_with_k_idle_plays(game, tilt, stopped=True):
    p, q = float(game.win_probability), np.asarray(tilt, dtype=float)
    if stopped:
        return right_relative_variance(game, tilt)
    return variance_of(game, log_moment(game, p**2 / q, (1 - p) ** 2 / (1 - q), lambda n, rounds: rounds + 0 * n))


@wrong(replaces="relative_variance", hint="should have shape (2, 3)")
def relative_variance_of_the_first_tilt(game, tilt, stopped=True):
    right_relative_variance(game, tilt, stopped)
    return right_relative_variance(game, float(np.ravel(tilt)[0]), stopped)


@wrong(replaces="relative_variance", hint="does P underflow?")
def relative_variance_with_p_itself(game, tilt, stopped=True):
    with np.errstate(all="ignore"):
        return np.exp(right_log_second_moment(game, tilt, stopped)) / np.float64(right_probability(game)) ** 2 - 1


_remembered = {}


@wrong(replaces="relative_variance", hint="changed since the last call")
def relative_variance_remembered_by_identity(game, tilt, stopped=True):
    key = (id(tilt), id(game), stopped)
    if key not in _remembered:
        _remembered[key] = (right_relative_variance(game, tilt, stopped), tilt, game)
    return _remembered[key][0]


# Tilts


@wrong(replaces="best_tilt", trap="E40", hint="best tilt of full paths")
def best_tilt_of_full_paths(game, stopped=True):
    right_best_tilt(game, stopped)
    return right_best_tilt(game, stopped=False)


@wrong(replaces="best_tilt", hint="is this the mirror, 1−p?")
def best_tilt_in_the_mirror(game, stopped=True):
    right_best_tilt(game, stopped)
    return 1 - float(game.win_probability)


@wrong(replaces="best_tilt", hint="is this the cross-entropy tilt")
def best_tilt_by_cross_entropy(game, stopped=True):
    right_best_tilt(game, stopped)
    return right_cross_entropy_tilt(game)


@wrong(replaces="best_tilt", hint="arrives at the last play on average")
def best_tilt_just_in_time(game, stopped=True):
    right_best_tilt(game, stopped)
    return (1 + (game.goal - game.start) / game.max_rounds) / 2


@wrong(replaces="best_tilt", hint="whatever game is given")
def best_tilt_by_heart(game, stopped=True):
    right_best_tilt(game, stopped)
    return 0.588069730803751


@wrong(replaces="best_tilt", hint="does the search run to the end")
def best_tilt_that_wins_most(game, stopped=True):
    right_best_tilt(game, stopped)
    return 1.0


@wrong(replaces="best_tilt", hint="best_tilt of")
def best_tilt_on_a_grid(game, stopped=True):
    right_best_tilt(game, stopped)
    tilts = np.linspace(0.01, 0.99, 981)
    return float(tilts[np.argmin(right_log_second_moment(game, tilts, stopped))])


@wrong(replaces="best_tilt", hint="max_rounds=3 was accepted")
def best_tilt_of_any_game(game, stopped=True):
    found = optimize.minimize_scalar(
        lambda q: right_log_second_moment(game, q, stopped), bounds=(0, 1), method="bounded", options={"xatol": 1e-12}
    )
    return float(found.x)


@wrong(replaces="cross_entropy_tilt", hint="mean of wins/plays")
def cross_entropy_tilt_by_mean_shares(game):
    right_cross_entropy_tilt(game)
    law, d = right_winning_times(game), game.goal - game.start
    n = np.maximum(np.arange(len(law)), 1)
    return float(law @ ((n + d) / 2 / n) / law.sum())


@wrong(replaces="cross_entropy_tilt", hint="are the lost games counted too?")
def cross_entropy_tilt_of_all_games(game):
    """Wins over plays of all games, which is p by Wald."""
    right_cross_entropy_tilt(game)
    return float(game.win_probability)


# Plans


def plan_of(game, f):
    """A plan with f(h, p) where winning is possible, and p elsewhere."""
    h, p = np.exp(right_log_h(game)), float(game.win_probability)
    tilts = np.full((game.max_rounds, game.goal + 1), p)
    alive = h[:-1, 1:-1] > 0
    with np.errstate(all="ignore"):
        tilts[:, 1:-1][alive] = f(h, p)[alive]
    return tilts


@wrong(replaces="ideal_tilts", hint="the same round, where h(t+1, x+1) belongs")
def ideal_tilts_a_round_late(game):
    return plan_of(game, lambda h, p: p * h[:-1, 2:] / h[:-1, 1:-1])


@wrong(replaces="ideal_tilts", hint="is the factor p missing?")
def ideal_tilts_without_p(game):
    return plan_of(game, lambda h, p: h[1:, 2:] / h[:-1, 1:-1])


@wrong(replaces="ideal_tilts", trap="E41", hint="is this h without a last play?")
def ideal_tilts_without_a_last_play(game):
    p = float(game.win_probability)
    h = np.cumsum(np.concatenate([[0.0], ((1 - p) / p) ** np.arange(game.goal)]))
    return plan_of(game, lambda _, p: np.tile(p * h[2:] / h[1:-1], (game.max_rounds, 1)))


@wrong(replaces="ideal_tilts", hint="ideal_tilts has NaN")
def ideal_tilts_with_nan(game):
    h, p = np.exp(right_log_h(game)), float(game.win_probability)
    tilts = np.full((game.max_rounds, game.goal + 1), p)
    with np.errstate(all="ignore"):
        tilts[:, 1:-1] = p * h[1:, 2:] / h[:-1, 1:-1]
    return tilts


@wrong(replaces="ideal_tilts", hint="rounding has closed a way to win")
def ideal_tilts_rounded_to_one(game):
    log_h, p = right_log_h(game), float(game.win_probability)
    tilts = np.full((game.max_rounds, game.goal + 1), p)
    alive = np.isfinite(log_h[:-1, 1:-1])
    ratio = math.log(p) + log_h[1:, 2:][alive] - log_h[:-1, 1:-1][alive]
    tilts[:, 1:-1][alive] = np.exp(np.minimum(ratio, 0.0))
    return tilts


@wrong(replaces="follow", hint="do idle plays count after the end?")
def follow_with_idle_plays(rng, game, n, tilts):
    capitals, log_weight = right_follow(rng, game, n, tilts)
    before, steps = capitals[:, :-1], np.diff(capitals, axis=1)
    q, p = np.asarray(tilts, float)[np.arange(game.max_rounds), before], float(game.win_probability)
    with np.errstate(all="ignore"):
        idle = np.where(steps >= 0, np.log(p / q), np.log((1 - p) / (1 - q))).sum(axis=1)
    return right_Walks(capitals, np.where(np.isfinite(log_weight), idle, -np.inf))


@wrong(replaces="follow", hint="all games go the same way")
def follow_with_one_number_for_all_games(rng, game, n, tilts):
    capitals, w = right_follow(rng, game, 1, tilts)
    return right_Walks(np.repeat(capitals, n, axis=0), np.repeat(w, n))


def walk(uniforms, game, n, tilts):
    """Games by a plan, which is not checked, from n uniform numbers for each play."""
    capitals, w = np.full((n, game.max_rounds + 1), game.start, dtype=np.int64), np.zeros(n)
    p, tilts = float(game.win_probability), np.asarray(tilts, dtype=float)
    for t in range(game.max_rounds):
        here = capitals[:, t]
        going, q = (here > 0) & (here < game.goal), tilts[t, here]
        won = uniforms(n) < q
        with np.errstate(all="ignore"):
            w += np.where(going, np.where(won, np.log(p / q), np.log((1 - p) / (1 - q))), 0)
        capitals[:, t + 1] = here + going * np.where(won, 1, -1)
    return right_Walks(capitals, np.where(capitals[:, -1] == game.goal, w, -np.inf))


@wrong(replaces="follow", hint="was accepted")
def follow_any_plan(rng, game, n, tilts):
    return walk(rng.random, game, n, tilts)


@wrong(replaces="follow", hint="standard errors away")
def follow_with_antithetic_games(rng, game, n, tilts):
    def mirrored(n):
        u = rng.random((n + 1) // 2)
        return np.concatenate([u, 1 - u])[:n]

    right_follow(rng, game, n, tilts)  # refuses what is to be refused
    return walk(mirrored, game, n, tilts)


@wrong(replaces="plan_relative_variance", hint="read backwards in time")
def plan_relative_variance_backwards(game, tilts):
    right_plan_variance(game, tilts)
    return right_plan_variance(game, np.clip(tilts[::-1], 1e-12, 1 - 1e-12))
