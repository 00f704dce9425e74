"""A casino's rare event, measured by games tilted for the gambler, and exactly.

A gambler begins with `start` and stakes one unit at each play, which is won with
probability p. The game is won on reaching `goal`, and lost at 0 or after K plays. A
*tilt* is another probability q with which the plays are simulated. A won game of n
plays has j = (n + d)/2 wins and l = (n − d)/2 losses, where d = goal − start, so that
its weight  (p/q)ʲ ((1−p)/(1−q))ˡ  depends on nothing but n.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import log, log1p
from numbers import Integral
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real
from numpy import ndarray
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logsumexp, softmax

from solutions import checks
from solutions.checks import Number, Numbers
from solutions.estimate import Estimate, mean_of


@dataclass(frozen=True)
class Game:
    """The rules of a game; refused when they make no sense.

    Args:
        start: the capital at the beginning, between 0 and the goal.
        goal: the capital at which the game is won; at 0 it is lost.
        win_probability: p, the probability of winning a play, strictly between 0 and 1.
        max_rounds: K, after how many plays the game is over.
    """

    start: Integral = 100
    goal: Integral = 200
    win_probability: Number = 18 / 37
    max_rounds: Integral = 600

    def __post_init__(self):
        checks.counting_number(goal=self.goal, max_rounds=self.max_rounds)
        whole = isinstance(self.start, Integral) and not isinstance(self.start, bool)
        if not whole or not 0 <= self.start <= self.goal:
            allowed = f"an integer between 0 and the goal, {self.goal}"
            raise ValueError(f"start must be {allowed}, got {self.start}")
        checks.proper_fraction(win_probability=self.win_probability)
        for name in ("start", "goal", "max_rounds"):
            # NumPy's integers would overflow where paths are counted
            object.__setattr__(self, name, int(getattr(self, name)))


class Games(NamedTuple):
    """How many plays each game took, and the capital with which it ended."""

    plays: Int[ndarray, "n"]
    capital: Int[ndarray, "n"]


class Walks(NamedTuple):
    """The capital after 0, 1, ..., K plays, and the log weight, −∞ for lost games."""

    capitals: Int[ndarray, "n times"]
    log_weight: Float[ndarray, "n"]


def winning_paths(game: Game) -> list[int]:
    """Return  a(0), a(1), ..., a(K),  how many ways to win at exactly the n-th play.

    Counted forwards:  N(n+1, x) = N(n, x−1) + N(n, x+1)  ways to stand at x after n+1
    plays and not to have ended; of these a(n+1) = N(n, goal − 1) win at the next. All
    are integers, without an error.

    Args:
        game: the rules.

    Reference: Feller (1968), An Introduction to Probability Theory and Its
    Applications, volume I, chapter III.
    """
    if game.start == game.goal:
        return [1] + [0] * game.max_rounds
    ways = np.zeros(game.goal + 1, dtype=object)
    ways[game.start] = int(game.start > 0)
    ends = [0]
    for _ in range(game.max_rounds):
        ends.append(ways[-2])
        ways[1:-1] = ways[:-2] + ways[2:]
    return ends


def exact_probability(game: Game) -> Fraction:
    """Return  Σₙ a(n) pʲ (1−p)ˡ  as a fraction;  j, l = (n ± d)/2.

    Args:
        game: the rules; give p as a `Fraction`, or the answer is for the binary number
            that a float is.
    """
    p = Fraction(game.win_probability)
    up, down, whole = p.numerator, p.denominator - p.numerator, p.denominator
    distance, rounds = game.goal - game.start, game.max_rounds
    # the numerator over the common denominator wholeᴷ
    total = sum(
        ways
        * up ** ((n + distance) // 2)
        * down ** ((n - distance) // 2)
        # a path of n plays may be continued in any way
        * whole ** (rounds - n)
        for n, ways in enumerate(winning_paths(game))
        if ways
    )
    return Fraction(total, whole**rounds)


def log_winning_probabilities(game: Game) -> Float[ndarray, "times capitals"]:
    """Return  log h(t, x),  h the probability of winning with capital x after t plays.

    Backwards from the end,  h(t, x) = p h(t+1, x+1) + (1−p) h(t+1, x−1),  with
    h(t, goal) = 1, h(t, 0) = 0 and h(K, x) = 0 below the goal. Rows are t = 0..K,
    columns x = 0..goal; where there is no way to win, −∞.

    Args:
        game: the rules.
    """
    log_p, log_not_p = _logs(game.win_probability)
    log_h = np.full((game.max_rounds + 1, game.goal + 1), -np.inf)
    log_h[:, -1] = 0.0
    for t in reversed(range(game.max_rounds)):
        up, down = log_h[t + 1, 2:], log_h[t + 1, :-2]
        log_h[t, 1:-1] = np.logaddexp(log_p + up, log_not_p + down)
    return log_h


def probability_of_winning(game: Game) -> float:
    """Return  h(0, start),  by the recursion of `log_winning_probabilities`.

    Args:
        game: the rules.
    """
    return float(np.exp(log_winning_probabilities(game)[0, game.start]))


def probability_without_horizon(game: Game) -> float:
    """Return  (1 − rˢ) / (1 − rᵍ),  r = (1−p)/p,  for a game without a last play.

    Here s is the start and g the goal. For p = ½ it is s/g.

    Args:
        game: the rules; `max_rounds` does not matter.

    Reference: Feller (1968), volume I, chapter XIV.
    """
    log_p, log_not_p = _logs(game.win_probability)
    log_r = log_not_p - log_p
    if game.start == 0:
        return 0.0
    if log_r == 0:
        return game.start / game.goal
    if log_r < 0:
        return float(np.expm1(game.start * log_r) / np.expm1(game.goal * log_r))
    # the same, times r^{s−g} above and below, which cannot overflow
    factor = np.exp((game.start - game.goal) * log_r)
    shrunk = np.expm1(-game.start * log_r) / np.expm1(-game.goal * log_r)
    return float(factor * shrunk)


def winning_times(game: Game) -> Float[ndarray, "times"]:
    """Return  P(won at play n) = a(n) pʲ (1−p)ˡ  for n = 0, 1, ..., K.

    Their sum is the probability of winning.

    Args:
        game: the rules.
    """
    law = np.zeros(game.max_rounds + 1)
    plays, log_ways = _wins(game)
    law[plays] = np.exp(log_ways + _log_chance(game, plays, game.win_probability))
    return law


def play(rng: np.random.Generator, game: Game, n: int, tilt: Number) -> Games:
    """Play n games in which each play is won with probability `tilt`.

    No game can end before as many plays as separate it from the goal, from 0 or from
    the last play; so many are made at once, as one binomial number. The law of what is
    returned is the same as play by play.

    Args:
        rng: the source of randomness.
        game: the rules.
        n: how many games.
        tilt: q, strictly between 0 and 1; the game's own p cheats nobody.
    """
    checks.counting_number(n=n)
    checks.proper_fraction(tilt=tilt)
    plays = np.zeros(n, dtype=np.int64)
    capital = np.full(n, game.start, dtype=np.int64)
    going = np.arange(n if 0 < game.start < game.goal else 0)
    while going.size:
        here, left = capital[going], game.max_rounds - plays[going]
        safe = np.minimum(np.minimum(here, game.goal - here), left)
        here += 2 * rng.binomial(safe, float(tilt)) - safe
        capital[going] = here
        plays[going] += safe
        going = going[(here > 0) & (here < game.goal) & (safe < left)]
    return Games(plays, capital)


def log_weights(
    rng: np.random.Generator, game: Game, n: int, tilt: Number, stopped: bool = True
) -> Float[ndarray, "n"]:
    """Return  j log(p/q) + l log((1−p)/(1−q))  for n games played with the tilt q.

    Here j and l are the wins and losses until the game ended. A game that was not won
    has weight 0, and −∞ is returned for it.

    Args:
        rng: the source of randomness.
        game: the rules.
        n: how many games.
        tilt: q, strictly between 0 and 1.
        stopped: False to count all K plays, also those that are made, idly, after the
            end of the game.
    """
    plays, capital = play(rng, game, n, tilt)
    wins = (plays + capital - game.start) // 2
    if not stopped:
        wins += rng.binomial(game.max_rounds - plays, float(tilt))
        plays = np.full(n, game.max_rounds)
    log_p, log_not_p = _logs(game.win_probability)
    log_q, log_not_q = _logs(tilt)
    log_ratio = wins * (log_p - log_q) + (plays - wins) * (log_not_p - log_not_q)
    return np.where(capital == game.goal, log_ratio, -np.inf)


def estimate(
    rng: np.random.Generator, game: Game, n: int, tilt: Number, stopped: bool = True
) -> Estimate:
    """Return  Σᵢ wᵢ / n,  wᵢ the weight of the i-th game if it is won and else 0.

    It estimates the probability of winning without bias, from games with tilt q.

    Args:
        rng: the source of randomness.
        game: the rules.
        n: how many games, at least two.
        tilt: q, strictly between 0 and 1.
        stopped: whether the weights stop when the game does, see `log_weights`.

    Reference: Owen (2013), Monte Carlo theory, methods and examples, chapter 9.
    """
    checks.counting_number(n=n)
    if n < 2:
        raise ValueError(f"n must be at least 2 for a standard error, got {n}")
    return mean_of(np.exp(log_weights(rng, game, n, tilt, stopped)))


def log_second_moment(game: Game, tilt: Numbers, stopped: bool = True) -> Numbers:
    """Return  log Σₙ a(n) (p²/q)ʲ ((1−p)²/(1−q))ˡ,  the log of the mean squared weight.

    With  j, l = (n ± d)/2.  Of full paths each of the K − n plays after the end
    multiplies the term by  p²/q + (1−p)²/(1−q) ≥ 1.  It is convex in q.

    Args:
        game: the rules, under which there must be a way to win.
        tilt: q, strictly between 0 and 1; of an array, each by itself.
        stopped: whether the weights stop when the game does.
    """
    checks.proper_fraction(tilt=tilt)
    q = np.asarray(tilt, dtype=float)[..., None]
    plays, log_ways = _possible_wins(game)
    log_terms = _log_squares(game, plays, log_ways, np.log(q), np.log1p(-q), stopped)
    return logsumexp(log_terms, axis=-1)[()]


def relative_variance(game: Game, tilt: Numbers, stopped: bool = True) -> Numbers:
    """Return  Var w / P²,  w the weight of one game and P the probability of winning.

    Divided by n it is the squared relative standard error of `estimate`. It is exact,
    and ∞ where it is larger than a float can be.

    Args:
        game: the rules, under which there must be a way to win.
        tilt: q, strictly between 0 and 1; of an array, each by itself.
        stopped: whether the weights stop when the game does.
    """
    plays, log_ways = _possible_wins(game)
    log_p = logsumexp(log_ways + _log_chance(game, plays, game.win_probability))
    with np.errstate(over="ignore"):
        ratio = np.expm1(log_second_moment(game, tilt, stopped) - 2 * log_p)
    return np.maximum(ratio, 0.0)[()]


def best_tilt(game: Game, stopped: bool = True) -> float:
    """Return the q for which `relative_variance` is smallest.

    For stopped weights it solves  q = (1 + d / E n) / 2,  where n are the plays of a
    won game, drawn with probabilities proportional to  P(won at n) · weight(n).

    Args:
        game: the rules; there must be a way to win that contains a lost play (or, of
            full paths, an idle one), else the variance falls all the way to q = 1.
        stopped: whether the weights stop when the game does.
    """
    # all K plays of a full path count, so that one idle play is enough of a brake
    _check_spare(game, 2 if stopped else 1)
    distance, log_odds = game.goal - game.start, _logs(game.win_probability)
    plays, log_ways = _wins(game)

    def slope(u):
        """The derivative of the log second moment with respect to u = log(q/(1−q))."""
        log_q, log_not_q = log_expit(u), log_expit(-u)
        log_terms = _log_squares(game, plays, log_ways, log_q, log_not_q, stopped)
        mean = softmax(log_terms) @ plays
        wins, losses = (mean + distance) / 2, (mean - distance) / 2
        if not stopped:
            # the share of wins among the idle plays of the squared law
            share = expit(2 * (log_odds[0] - log_odds[1]) - u)
            idle = game.max_rounds - mean
            wins, losses = wins + idle * share, losses + idle * (1 - share)
        return expit(u) * losses - expit(-u) * wins

    return float(min(expit(brentq(slope, -700, 700)), np.nextafter(1, 0)))


def cross_entropy_tilt(game: Game) -> float:
    """Return  E[wins | won] / E[plays | won] = (1 + d / E[n | won]) / 2.

    Among all tilts it makes the won games, as the true p deals them, likeliest; in
    other words, their law has the least Kullback-Leibler divergence from it.

    Args:
        game: the rules; some won game must contain a lost play.

    Reference: Rubinstein and Kroese (2004), The Cross-Entropy Method, chapter 3.
    """
    _check_spare(game, 2)
    plays, log_ways = _wins(game)
    law = softmax(log_ways + _log_chance(game, plays, game.win_probability))
    return float(1 + (game.goal - game.start) / (law @ plays)) / 2


def ideal_tilts(game: Game) -> Float[ndarray, "rounds capitals"]:
    """Return  q(t, x) = p h(t+1, x+1) / h(t, x),  the plan that wins every time.

    Under it each won game has the weight P: the variance is zero. Rows are t = 0..K−1,
    columns x = 0..goal. Where the game is over, or cannot be won any more, it is p.

    Args:
        game: the rules.

    Reference: Doob (1957), Conditional Brownian motion and the boundary limits of
    harmonic functions.
    """
    log_h = log_winning_probabilities(game)
    log_p, _ = _logs(game.win_probability)
    tilts = np.full((game.max_rounds, game.goal + 1), float(game.win_probability))
    now, up, down = log_h[:-1, 1:-1], log_h[1:, 2:], log_h[1:, :-2]
    alive = np.isfinite(now)
    # 1 is for where a loss is the end of all hope; rounding must not close a way
    most = np.where(np.isfinite(down), np.nextafter(1, 0), 1.0)[alive]
    tilts[:, 1:-1][alive] = np.minimum(np.exp(log_p + up[alive] - now[alive]), most)
    return tilts


def follow(
    rng: np.random.Generator,
    game: Game,
    n: int,
    tilts: Real[ndarray, "rounds capitals"],
) -> Walks:
    """Play n games by a plan: the tilt may depend on the round and on the capital.

    The log weight of a won game is  Σₜ log(p/q) over its wins + log((1−p)/(1−q)) over
    its losses.  All capitals are kept; after its end a game stays where it is.

    Args:
        rng: the source of randomness.
        game: the rules.
        n: how many games.
        tilts: q(t, x) at capital x after t plays, (K, goal + 1), between 0 and 1; no
            way to win may be closed.
    """
    checks.counting_number(n=n)
    _check_plan(game, tilts)
    log_p, log_not_p = _logs(game.win_probability)
    capitals = np.empty((n, game.max_rounds + 1), dtype=np.int64)
    capitals[:, 0] = game.start
    log_weight = np.zeros(n)
    for t in range(game.max_rounds):
        here = capitals[:, t]
        going, q = (here > 0) & (here < game.goal), np.asarray(tilts, float)[t, here]
        won = rng.random(n) < q
        chance = np.where(going, np.where(won, q, 1 - q), 1.0)
        log_weight += going * np.where(won, log_p, log_not_p) - np.log(chance)
        capitals[:, t + 1] = here + going * np.where(won, 1, -1)
    lost = capitals[:, -1] < game.goal
    return Walks(capitals, np.where(lost, -np.inf, log_weight))


def plan_relative_variance(
    game: Game, tilts: Real[ndarray, "rounds capitals"]
) -> float:
    """Return  m(0, start) / P² − 1,  the relative variance of one weight under a plan.

    The mean squared weight of what is still to come is, backwards from the end,
    m(t, x) = (p²/q) m(t+1, x+1) + ((1−p)²/(1−q)) m(t+1, x−1),  q = q(t, x),  with
    m = 1 at the goal and m = 0 at 0 and after the last play.

    Args:
        game: the rules, under which there must be a way to win.
        tilts: q(t, x), as for `follow`.
    """
    _possible_wins(game)
    _check_plan(game, tilts)
    log_p, log_not_p = _logs(game.win_probability)
    log_m = np.full(game.goal + 1, -np.inf)
    log_m[-1] = 0.0
    for q in np.asarray(tilts, float)[::-1, 1:-1]:
        # where a tilt is 0 or 1, the way it closes leads nowhere, and m is 0 there
        up, down = np.where(q > 0, q, 1.0), np.where(q < 1, 1 - q, 1.0)
        won = 2 * log_p - np.log(up) + log_m[2:]
        lost = 2 * log_not_p - np.log(down) + log_m[:-2]
        log_m[1:-1] = np.logaddexp(won, lost)
    log_probability = log_winning_probabilities(game)[0, game.start]
    with np.errstate(over="ignore"):
        ratio = np.expm1(log_m[game.start] - 2 * log_probability)
    return float(max(ratio, 0.0))


def _logs(probability: Number) -> tuple[float, float]:
    """Return  log p  and  log(1−p)."""
    return log(probability), log1p(-probability)


def _wins(game: Game) -> tuple[Int[ndarray, "m"], Float[ndarray, "m"]]:
    """Return the n at which the game can be won, and  log a(n)."""
    ways = winning_paths(game)
    plays = [n for n, count in enumerate(ways) if count]
    return np.array(plays, dtype=np.int64), np.array([log(ways[n]) for n in plays])


def _possible_wins(game: Game) -> tuple[Int[ndarray, "m"], Float[ndarray, "m"]]:
    """The same, of a game that can be won."""
    if game.start == 0:
        raise ValueError("start must be above 0 for a way to win, got 0")
    distance = game.goal - game.start
    if distance > game.max_rounds:
        allowed = f"at least goal − start = {distance} for a way to win"
        raise ValueError(f"max_rounds must be {allowed}, got {game.max_rounds}")
    return _wins(game)


def _log_chance(game: Game, plays: Int[ndarray, "m"], p: Number):
    """Return  j log p + l log(1−p),  the log probability of a winning path."""
    log_p, log_not_p = _logs(p)
    distance = game.goal - game.start
    return (plays + distance) / 2 * log_p + (plays - distance) / 2 * log_not_p


def _log_squares(game: Game, plays, log_ways, log_q, log_not_q, stopped: bool):
    """Return the logs of the terms that `log_second_moment` adds up."""
    distance = game.goal - game.start
    wins, losses = (plays + distance) / 2, (plays - distance) / 2
    log_p, log_not_p = _logs(game.win_probability)
    up, down = 2 * log_p - log_q, 2 * log_not_p - log_not_q
    idle = 0.0 if stopped else (game.max_rounds - plays) * np.logaddexp(up, down)
    return log_ways + wins * up + losses * down + idle


def _check_spare(game: Game, spare: int) -> None:
    """Refuse games that leave no more than the plays needed to win straight away."""
    _possible_wins(game)
    if game.start == game.goal:
        raise ValueError(f"start must be below the goal for a tilt, got {game.start}")
    least = game.goal - game.start + spare
    if game.max_rounds < least:
        allowed = f"at least {least} for a best tilt below 1"
        raise ValueError(f"max_rounds must be {allowed}, got {game.max_rounds}")
    if spare == 2 and game.goal == 2:
        raise ValueError("goal must be above 2 for a way to win with a loss, got 2")


def _check_plan(game: Game, tilts) -> None:
    """Refuse plans under which a game that the true p could win cannot occur."""
    checks.of_shape((game.max_rounds, game.goal + 1), tilts=tilts)
    checks.fraction(tilts=tilts)
    log_h = log_winning_probabilities(game)
    inner = np.asarray(tilts, dtype=float)[:, 1:-1]
    closed = (inner == 0) & np.isfinite(log_h[1:, 2:])
    closed |= (inner == 1) & np.isfinite(log_h[1:, :-2])
    if closed.any():
        t, x = np.argwhere(closed)[0]
        where = f"{inner[t, x]} at capital {x + 1} after {t} plays"
        raise ValueError(f"tilts must leave every way to win open, got {where}")
