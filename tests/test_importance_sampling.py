"""A casino's rare event against all paths of small boards in fractions, mirrored binomials in integers, and torch."""

import itertools
import math
from collections import Counter
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import pytest
import sympy
import torch
from scipy import optimize, stats

from solutions import estimate, importance_sampling
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_frequencies, assert_mean, assert_proportion, assert_unbiased, assert_variance

# Logs of a few hundred in size lose 1e-16 of themselves at each of a few hundred steps.
SHARP = 1e-10
# Where a function is lowest its values tell two points apart only at a distance of √eps times a few.
VALLEY = 2e-7

P = 18 / 37
CASINO = (100, 200, 600)  # start, goal and max_rounds of the chapter
EXACT = 2.38838345060695704e-06  # the probability of winning there, from the formula in integers below
EVER = (1 - (19 / 18) ** 100) / (1 - (19 / 18) ** 200)  # the same without a last play
OWN = (30, 50, 90)  # a casino of one's own, with the goal not twice the start
BOARDS = [(1, 3, 4), (2, 5, 9), (3, 4, 8), (2, 4, 10), (4, 7, 9), (1, 2, 3)]
boards = pytest.mark.parametrize("board", BOARDS, ids=lambda board: "-".join(map(str, board)))
either_weight = pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "full"])
SEVERAL = [Fraction(1, 5), Fraction(2, 5), Fraction(1, 2), Fraction(3, 5), Fraction(9, 10)]

MP = mpmath.mp.clone()
MP.dps = 50


def game_of(board, p=P):
    """The game on this board, which is (start, goal, max_rounds)."""
    start, goal, rounds = board
    return importance_sampling.Game(start, goal, p, rounds)


# What is known without the functions of the chapter


@cache
def stopped_paths(board):
    """Every way a game can go until it ends: its plays, +1 or −1 each, and the capital it leaves."""
    start, goal, rounds = board
    ended, going = [], [((), start)]
    while going:
        steps, capital = going.pop()
        if capital in (0, goal) or len(steps) == rounds:
            ended.append((steps, capital))
        else:
            going += [((*steps, step), capital + step) for step in (1, -1)]
    return ended


@cache
def full_paths(board):
    """All 2^K sequences of K plays: the plays until the game ends, whether it is won, and all K plays."""
    wins = {steps: capital == board[1] for steps, capital in stopped_paths(board)}
    found = []
    for steps in itertools.product((1, -1), repeat=board[2]):
        ended = next(n for n in range(len(steps) + 1) if steps[:n] in wins)
        found.append((steps[:ended], wins[steps[:ended]], steps))
    return found


def chance(steps, p):
    """How probable these plays are where each is won with probability p."""
    j = sum(step == 1 for step in steps)
    return p**j * (1 - p) ** (len(steps) - j)


def won_paths(board):
    """The plays of each game that is won."""
    return [steps for steps, capital in stopped_paths(board) if capital == board[1]]


def probability(board, p):
    """P, by all paths."""
    return sum(chance(steps, p) for steps in won_paths(board))


def second_moment(board, p, q, stopped):
    """The mean of the squared weight, by all paths: of the stopped one, or by all 2^K sequences of the full one."""
    if stopped:
        return sum(chance(steps, p) ** 2 / chance(steps, q) for steps in won_paths(board))
    counts = Counter(sum(step == 1 for step in steps) for _, won, steps in full_paths(board) if won)
    up, down = p**2 / q, (1 - p) ** 2 / (1 - q)
    return sum(count * up**j * down ** (board[2] - j) for j, count in counts.items())


@cache
def mirrored(board):
    """Σₖ (d+2kg)/n · C(n, (n+d+2kg)/2) for n = 0..K, in integers."""
    start, goal, rounds = board
    distance, counts = goal - start, [0]
    for n in range(1, rounds + 1):
        far = n // (2 * goal) + 1
        images = [distance + 2 * k * goal for k in range(-far - 1, far + 1)]
        total = sum(m * math.comb(n, (n + m) // 2) for m in images if abs(m) <= n and (n + m) % 2 == 0)
        assert total % n == 0
        counts.append(total // n)
    return counts


def terms(board, up, down, factor=1):
    """{n: a(n) upʲ downˡ factor^{K−n}} for every n at which the game can be won."""
    distance, rounds = board[1] - board[0], board[2]
    return {
        n: ways * up ** ((n + distance) // 2) * down ** ((n - distance) // 2) * factor ** (rounds - n)
        for n, ways in enumerate(mirrored(board))
        if ways
    }


def moments(board, p, q, stopped=True):
    """P, and the mean squared weight, in 50 digits."""
    p, q = MP.mpf(p), MP.mpf(q)
    up, down = p**2 / q, (1 - p) ** 2 / (1 - q)
    squares = terms(board, up, down, 1 if stopped else up + down)
    return MP.fsum(terms(board, p, 1 - p).values()), MP.fsum(squares.values())


def relative(board, p, q, stopped=True):
    """The relative variance of one weight, from 50 digits."""
    mean, square = moments(board, p, q, stopped)
    return float(square / mean**2 - 1)


def lowest(board, p, stopped=True):
    """The best tilt: the zero of the derivative of the second moment, written out."""
    distance, rounds = board[1] - board[0], board[2]
    n = np.array([n for n, ways in enumerate(mirrored(board)) if ways])
    log_ways = np.array([math.log(ways) for ways in mirrored(board) if ways])
    wins, losses, idle = (n + distance) / 2, (n - distance) / 2, 0 if stopped else rounds - n

    def slope(q):
        up, down = p**2 / q, (1 - p) ** 2 / (1 - q)
        logs = log_ways + wins * np.log(up) + losses * np.log(down) + idle * np.log(up + down)
        weight = np.exp(logs - logs.max())
        rise = -wins / q + losses / (1 - q) + idle * (down / (1 - q) - up / q) / (up + down)
        return weight @ rise / weight.sum()

    return optimize.brentq(slope, 1e-9, 1 - 1e-9, xtol=1e-15)


def mean_plays(board, p):
    """E[n | won]."""
    law = terms(board, MP.mpf(p), 1 - MP.mpf(p))
    return float(MP.fsum(n * each for n, each in law.items()) / MP.fsum(law.values()))


def winning_table(board, p):
    """h(t, x) by the recursion, in fractions if p is one: rows t = 0..K, columns x = 0..goal."""
    _, goal, rounds = board
    table = [[p * 0] * goal + [p * 0 + 1]]
    for _ in range(rounds):
        after = table[0]
        inner = [p * after[x + 1] + (1 - p) * after[x - 1] for x in range(1, goal)]
        table.insert(0, [p * 0, *inner, p * 0 + 1])
    return table


def perfect(board, p):
    """The plan under which every game is won, from fractions; p where there is nothing to decide."""
    h = winning_table(board, p)
    plan = [[p] * (board[1] + 1) for _ in range(board[2])]
    for t, x in itertools.product(range(board[2]), range(1, board[1])):
        if h[t][x]:
            plan[t][x] = p * h[t + 1][x + 1] / h[t][x]
    return plan


def planned(steps, board, plan):
    """How probable these plays are under a plan."""
    capital, product = board[0], 1
    for t, step in enumerate(steps):
        q = plan[t][capital]
        product *= q if step == 1 else 1 - q
        capital += step
    return product


def some_plan(rng, board):
    """A plan with tilts between 0.2 and 0.8."""
    return rng.uniform(0.2, 0.8, (board[2], board[1] + 1))


def plain(plan):
    """A plan of fractions as an array."""
    return np.array(plan, dtype=float)


def test_the_oracles_of_this_file_agree():
    """Paths one by one, the formula with mirrors and the recursion give the same P; the casino's is the stated one."""
    p, q = Fraction(18, 37), Fraction(11, 20)
    for board in BOARDS:
        exact = probability(board, p)
        assert exact == sum(terms(board, p, 1 - p).values()) == winning_table(board, p)[0][board[0]]
        r = p**2 / q + (1 - p) ** 2 / (1 - q)
        for stopped in (True, False):
            by_count = sum(terms(board, p**2 / q, (1 - p) ** 2 / (1 - q), 1 if stopped else r).values())
            assert by_count == second_moment(board, p, q, stopped)
    assert float(sum(terms(CASINO, p, 1 - p).values())) == EXACT


# The rules


def test_game_is_a_value():
    """The defaults are the source's; two games of the same rules are equal, hash alike, and cannot be changed."""
    game = importance_sampling.Game()
    found = (game.start, game.goal, game.win_probability, game.max_rounds)
    assert found == (100, 200, 18 / 37, 600), f"Game() is {found}, should be 100, 200, 18/37, 600"
    twin = importance_sampling.Game(start=100, goal=200, win_probability=18 / 37, max_rounds=600)
    assert game == twin, "two games of the same rules are not equal: do they compare by identity?"
    assert hash(game) == hash(twin), "equal games should have equal hashes"
    assert len({game, twin, importance_sampling.Game(start=99)}) == 2, "a game with another start should differ"
    with pytest.raises(AttributeError):
        game.start = 7
    edges = [importance_sampling.Game(start=start, goal=3, max_rounds=1) for start in (0, 3)]
    assert [edge.start for edge in edges] == [0, 3], "a start at 0 or at the goal is allowed"


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64])
def test_game_takes_integers_of_numpy(kind):
    """Of any width, and counts with them as with Python's, in which nothing overflows."""
    board, p = (50, 70, 90), Fraction(1, 4)
    game = importance_sampling.Game(*map(kind, board[:2]), p, kind(board[2]))
    twin = game_of(board, p)
    assert game == twin, f"{game} and {twin} should be equal"
    assert repr(game) == repr(twin), f"a game of {kind.__name__} shows as {game!r}, should be {twin!r}: int() each rule"
    words = f"of a game of {kind.__name__}: do its integers overflow? Let Game make Python's of them"
    same = importance_sampling.winning_paths(game) == mirrored(board)
    assert same, f"winning_paths {words}"
    want = sum(terms(board, p, 1 - p).values())
    got = importance_sampling.exact_probability(game)
    assert got == want, f"exact_probability is {float(got):.6g}, should be {float(want):.6g}, {words}"
    got = importance_sampling.probability_without_horizon(game)
    assert_close(
        got, importance_sampling.probability_without_horizon(twin), what=f"probability_without_horizon {words}"
    )


def test_game_refuses_rules_that_make_no_sense():
    """A start outside [0, goal], a goal or a last play that is no positive integer, a certain or impossible win."""
    for start in (-1, 201, 1.5, True):
        assert_refused(importance_sampling.Game, start=start, argument="start", value=start)
    for goal in (0, -3, 2.5):
        assert_refused(importance_sampling.Game, start=0, goal=goal, argument="goal", value=goal)
    for p in (0.0, 1.0, -0.1, 1.2, math.nan):
        assert_refused(importance_sampling.Game, win_probability=p, argument="win_probability", value=p)
    for rounds in (0, -4, 600.5):
        assert_refused(importance_sampling.Game, max_rounds=rounds, argument="max_rounds", value=rounds)


# How many ways to win, and how probable


def mistakes_in_paths(board):
    """Counts of other paths."""
    start, goal, rounds = board
    d = goal - start
    once = [0] + [
        Fraction(d, n) * math.comb(n, (n + d) // 2) if (n + d) % 2 == 0 and n >= d else 0 for n in range(1, rounds + 1)
    ]
    anywhere = [math.comb(n, (n + d) // 2) if (n + d) % 2 == 0 and n >= d else 0 for n in range(rounds + 1)]
    return {
        "are games that touch 0 counted as going on? They are lost there": [float(x) for x in once],
        "are these all paths that stand at the goal, not those that reach it first?": anywhere,
        "is this the number of ways to have won by the n-th play, a running sum?": np.cumsum(mirrored(board)),
        "is the index off by one? Entry n is for n plays": [*mirrored(board)[1:], 0],
    }


@pytest.mark.claim("prop-winning-paths")
@boards
def test_winning_paths_are_those_one_can_list(board):
    """a(n) against a list of all paths of ±1 that reach the goal before 0, one by one."""
    lengths = Counter(len(steps) for steps in won_paths(board))
    want = [lengths[n] for n in range(board[2] + 1)]
    mistakes = mistakes_in_paths(board)
    got = importance_sampling.winning_paths(game_of(board))
    assert_close([float(x) for x in got], want, rtol=1e-12, what=f"winning_paths of {board}", mistakes=mistakes)


@pytest.mark.claim("prop-winning-paths")
@pytest.mark.parametrize("board", [CASINO, OWN, (30, 60, 1500), (7, 8, 40), (1, 9, 60)], ids=str)
def test_winning_paths_are_the_mirrored_binomials(board):
    """a(n) = Σₖ (d+2kg)/n C(n, (n+d+2kg)/2) in integers, digit by digit, up to numbers beyond every float."""
    got, want = importance_sampling.winning_paths(game_of(board)), mirrored(board)
    assert len(got) == len(want), f"winning_paths has {len(got)} entries, should have K + 1 = {len(want)}"
    wrong = [n for n in range(len(want)) if got[n] != want[n]]
    n = wrong[0] if wrong else 0
    about = "rounded? Count in Python's integers" if wrong and math.isclose(got[n], want[n]) else "miscounted"
    assert not wrong, f"winning_paths at n = {n} is {got[n]}, should be {want[n]}: {about}"


def test_every_function_takes_fractions():
    """A p and a tilt given as fractions are those numbers: the same results, and the same games from the same seed."""
    exact, plain_game = (game_of((2, 5, 9), p) for p in (Fraction(3, 8), 0.375))
    plan, tilt = np.full((9, 6), 0.625), Fraction(5, 8)
    one, other = (
        {
            "log_winning_probabilities": importance_sampling.log_winning_probabilities(game),
            "probability_without_horizon": importance_sampling.probability_without_horizon(game),
            "winning_times": importance_sampling.winning_times(game),
            "log_second_moment": importance_sampling.log_second_moment(game, q),
            "relative_variance": importance_sampling.relative_variance(game, q, stopped=False),
            "best_tilt": importance_sampling.best_tilt(game),
            "best_tilt of full paths": importance_sampling.best_tilt(game, stopped=False),
            "cross_entropy_tilt": importance_sampling.cross_entropy_tilt(game),
            "ideal_tilts": importance_sampling.ideal_tilts(game),
            "plan_relative_variance": importance_sampling.plan_relative_variance(game, plan),
            "play": importance_sampling.play(np.random.default_rng(1), game, 20, q).plays,
            "log_weights": importance_sampling.log_weights(np.random.default_rng(1), game, 20, q, stopped=False),
            "estimate": importance_sampling.estimate(np.random.default_rng(1), game, 20, q),
            "follow": importance_sampling.follow(np.random.default_rng(1), game, 20, plan).log_weight,
        }
        for game, q in ((exact, tilt), (plain_game, 0.625))
    )
    for name, want in other.items():
        assert_close(one[name], want, rtol=SHARP, what=f"{name} with p = 3/8, and a tilt of 5/8 if any, as fractions")


def test_winning_paths_at_the_ends_of_the_board():
    """Start = goal is won after no play, in one way; start = 0, or a goal out of reach, in none."""
    for board, want in {(3, 3, 4): [1, 0, 0, 0, 0], (0, 3, 4): [0] * 5, (1, 9, 7): [0] * 8, (0, 1, 2): [0] * 3}.items():
        got = importance_sampling.winning_paths(game_of(board))
        assert_close([float(x) for x in got], want, what=f"winning_paths of {board}")


@boards
def test_exact_probability_is_the_sum_over_all_paths(board):
    """A fraction, equal to the sum over the won paths of pʲ(1−p)ˡ."""
    for p in (Fraction(18, 37), Fraction(1, 2), Fraction(9, 10)):
        got, want = importance_sampling.exact_probability(game_of(board, p)), probability(board, p)
        assert_close(float(got), float(want), rtol=1e-12, what=f"exact_probability of {board}, p = {p}")
        assert got == want, f"exact_probability of {board} is rounded: got {got!r}, want {want!r}"


def test_exact_probability_when_there_is_nothing_to_play_for():
    """1 at the goal, 0 at 0 and where the goal is out of reach, as fractions."""
    for board, want in {(4, 4, 3): 1, (0, 4, 3): 0, (1, 5, 3): 0, (0, 1, 1): 0, (1, 1, 1): 1}.items():
        got = importance_sampling.exact_probability(game_of(board, Fraction(18, 37)))
        assert got == want, f"exact_probability of {board} is {got}, should be {want}"


def test_exact_probability_of_the_casino():
    """The fraction of the formula with mirrors, exactly; of a float p, that of the binary number which it is."""
    for board, p in itertools.product((CASINO, OWN), (Fraction(18, 37), 0.55)):
        got, exact = importance_sampling.exact_probability(game_of(board, p)), Fraction(p)
        want = sum(terms(board, exact, 1 - exact).values())
        assert_close(float(got), float(want), rtol=1e-12, what=f"exact_probability of {board}, p = {p}")
        assert got == want, f"exact_probability of {board} with p = {p!r} is rounded somewhere"


def test_probability_of_winning_the_casino():
    """2.38838345060695704e-06, from integers; and 4.466e-3 would be the probability without a last play."""
    mistakes = {
        "is the last play ignored? That is the probability of winning ever": EVER,
        "is it the horizon off by one, or two? The last play is number K": float(
            sum(list(terms(CASINO, P, 1 - P).values())[:-1])
        ),
        "do games that touch 0 go on? They are lost there": float(
            MP.fsum(
                MP.mpf(100)
                / n
                * MP.binomial(n, (n + 100) // 2)
                * MP.mpf(P) ** ((n + 100) // 2)
                * (1 - MP.mpf(P)) ** ((n - 100) // 2)
                for n in range(100, 601, 2)
            )
        ),
        "is this where the capital is after all K plays, and not whether it ever reached the goal?": float(
            stats.binom.sf(349, 600, P)
        ),
    }
    got = importance_sampling.probability_of_winning(importance_sampling.Game())
    assert_close(got, EXACT, rtol=SHARP, what="probability_of_winning(Game())", mistakes=mistakes)


@boards
def test_probability_of_winning_a_small_game(board):
    """The sum over all won paths, one by one, for five probabilities of winning a play."""
    for p in SEVERAL:
        want = float(probability(board, p))
        mistakes = {
            "are wins and losses exchanged?": float(probability(board, 1 - p)),
            "is the last play missing? It is number K": float(probability((*board[:2], board[2] - 1), p)),
            "is there a play too many? The last is number K": float(probability((*board[:2], board[2] + 1), p)),
        }
        mistakes = {words: wrong for words, wrong in mistakes.items() if wrong != want}
        for kind in (p, float(p)):
            got = importance_sampling.probability_of_winning(game_of(board, kind))
            assert_close(got, want, rtol=SHARP, what=f"probability_of_winning, {board}, p = {p}", mistakes=mistakes)


def test_probability_of_winning_when_there_is_nothing_to_play_for():
    """1 at the goal, 0 at 0 and where the goal is out of reach."""
    for board, want in {(4, 4, 3): 1.0, (0, 4, 3): 0.0, (1, 5, 3): 0.0, (0, 1, 1): 0.0, (1, 1, 1): 1.0}.items():
        got = importance_sampling.probability_of_winning(game_of(board))
        assert_close(got, want, what=f"probability_of_winning of {board}")


@pytest.mark.parametrize(("board", "p"), [((30, 60, 1500), 0.45), (OWN, 0.3), ((60, 200, 300), 0.1)], ids=str)
def test_probability_of_winning_a_long_or_a_hopeless_game(board, p):
    """Where counts exceed every float, and down to 1e-133, against 50 digits."""
    got = importance_sampling.probability_of_winning(game_of(board, p))
    assert_close(got, float(moments(board, p, p)[0]), rtol=SHARP, what=f"probability_of_winning of {board}, p = {p}")


@boards
def test_log_winning_probabilities_are_the_recursion_in_fractions(board):
    """log h(t, x) at every time and capital against h in fractions; −∞ where there is no way to win."""
    p = Fraction(2, 5)
    h = plain(winning_table(board, p))
    with np.errstate(divide="ignore"):
        want = np.log(h)
    got = importance_sampling.log_winning_probabilities(game_of(board, float(p)))
    assert not np.isnan(got).any(), "log_winning_probabilities has NaN: where winning is impossible it is −∞"
    mistakes = {"is this h and not its logarithm?": h, "are the times in reverse, t = K first?": want[::-1]}
    # log 1 = 0 may be missed by a rounding
    assert_close(got, want, rtol=SHARP, atol=1e-14, what=f"log_winning_probabilities of {board}", mistakes=mistakes)


def test_log_winning_probabilities_do_not_underflow():
    """With p = 1e-120 three wins in a row have a probability of 1e-360, which is 0 to a float; its log is not."""
    board, p = (3, 6, 9), 1e-120
    got = importance_sampling.log_winning_probabilities(game_of(board, p))[0, 3]
    mistakes = {"does the probability underflow before its logarithm is taken?": -np.inf}
    assert_close(got, 3 * math.log(p), rtol=SHARP, what="log h(0, 3) for p = 1e-120", mistakes=mistakes)


@pytest.mark.claim("prop-winning-paths")
@boards
def test_winning_times_are_the_law_of_the_winning_play(board):
    """P(won at play n) for n = 0..K, by all paths; their sum is P."""
    p = Fraction(2, 5)
    law = Counter()
    for steps in won_paths(board):
        law[len(steps)] += chance(steps, p)
    want = plain([law[n] for n in range(board[2] + 1)])
    mistakes = {
        "is this the law given that the game is won? Its sum is P, not 1": want / want.sum(),
        "is this the probability to have won by play n, a running sum?": np.cumsum(want),
        "are these the ways to win, without their probability?": [float(n) for n in mirrored(board)],
    }
    got = importance_sampling.winning_times(game_of(board, float(p)))
    assert_close(got, want, rtol=SHARP, what=f"winning_times of {board}", mistakes=mistakes)


@pytest.mark.claim("prop-winning-paths")
def test_winning_times_of_the_casino():
    """a(n) pʲ(1−p)ˡ from integers and 50 digits, entry by entry; 1 at n = 0 for a game that starts at its goal."""
    for board, p in [(CASINO, P), (OWN, 0.3), ((30, 60, 1500), 0.55)]:
        law = terms(board, MP.mpf(p), 1 - MP.mpf(p))
        want = [float(law.get(n, 0)) for n in range(board[2] + 1)]
        assert_close(importance_sampling.winning_times(game_of(board, p)), want, what=f"winning_times of {board}")
    assert_close(importance_sampling.winning_times(game_of((2, 2, 3))), [1, 0, 0, 0], what="winning_times at the goal")
    for board in [(0, 2, 3), (1, 9, 3)]:
        what = f"winning_times of {board}, where there is no way to win"
        assert_close(importance_sampling.winning_times(game_of(board)), [0, 0, 0, 0], what=what)


# Without a last play


@pytest.mark.claim("prop-ruin")
@pytest.mark.parametrize("p", [0.1, P, 0.5, 0.7, 0.9])
def test_probability_without_horizon_solves_its_linear_system(p):
    """h(x) = p h(x+1) + (1−p) h(x−1), h(0) = 0, h(g) = 1, solved by numpy for all x; s/g for p = ½."""
    for goal in (1, 2, 3, 12):
        system, right = np.eye(goal + 1), np.zeros(goal + 1)
        right[goal] = 1
        for x in range(1, goal):
            system[x, [x - 1, x + 1]] = p - 1, -p
        want = np.linalg.solve(system, right)
        mistakes = {
            "is r upside down? It is (1−p)/p": np.linalg.solve(
                np.where(np.eye(goal + 1) > 0, 1, system[::-1, ::-1]), right
            ),
            "is this the probability of ruin?": 1 - want,
        }
        got = [importance_sampling.probability_without_horizon(game_of((s, goal, 1), p)) for s in range(goal + 1)]
        # the system is solved to its condition, a few thousand roundings
        assert_close(got, want, rtol=1e-11, atol=1e-15, what=f"h(0..{goal}), p = {p}", mistakes=mistakes)


def test_probability_without_horizon_overflows_nothing():
    """(1−rˢ)/(1−rᵍ) in 50 digits for p near ½, near 0 and 1, and for a million chips; .00446628 at the casino."""
    for start, goal, p in [
        (100, 200, P),
        (999_999, 1_000_000, 0.4),
        (1, 1_000_000, 0.6),
        (1, 1_000_000, 0.4),
        (500_000, 1_000_000, 0.5 - 1e-9),
        (500_000, 1_000_000, 0.5 + 1e-10),  # all but ½, and yet not s/g
        (3, 7, 0.5 + 1e-12),
        (2, 5, 1e-9),
        (2, 5, 1 - 1e-9),
        (3, 8, 0.5),
    ]:
        with MP.workdps(100):
            r = (1 - MP.mpf(p)) / MP.mpf(p)
            want = float((1 - r**start) / (1 - r**goal)) if r != 1 else start / goal
        got = importance_sampling.probability_without_horizon(game_of((start, goal, 5), p))
        bad = "overflows or cancels: divide r^g out of both, use expm1"
        assert math.isfinite(got), f"probability_without_horizon from {start} to {goal} with p = {p} {bad}, got {got}"
        # 1 − 2p has lost all but 1e-16/|1 − 2p| of its figures, times the million chips over which it matters
        assert_close(got, want, rtol=1e-6, what=f"probability_without_horizon({start} of {goal}, p = {p}), which {bad}")
    got = importance_sampling.probability_without_horizon(importance_sampling.Game())
    assert_close(got, EVER, rtol=SHARP, what="probability_without_horizon(Game())")


@pytest.mark.claim("prop-ruin")
@pytest.mark.parametrize("p", [0.3, 0.5, 0.6])
def test_probability_of_winning_rises_to_that_without_a_last_play(p):
    """It grows with K, and differs from (1−rˢ)/(1−rᵍ) by at most (1−pᵍ)^{K/g − 1}, the chance to be playing still."""
    board = (2, 5)
    r = (1 - p) / p
    limit = (1 - r**2) / (1 - r**5) if r != 1 else 2 / 5
    rounds = [1, 2, 3, 5, 8, 20, 100, 1000]
    got = np.array([importance_sampling.probability_of_winning(game_of((*board, k), p)) for k in rounds])
    assert np.all(np.diff(got) >= 0), f"probability_of_winning should grow with max_rounds, got {got} at {rounds}"
    left = (1 - p**5) ** (np.array(rounds) / 5 - 1)
    assert np.all((limit - got >= -1e-12) & (limit - got <= left + 1e-12)), (got, limit)
    assert_close(got[-1], limit, rtol=1e-9, atol=left[-1], what="probability_of_winning with 1,000 plays")


# The plays


def assert_law(counts, law, detects):
    """The outcomes are as frequent as this law says; those less probable than a fiftieth are taken together."""
    assert set(counts) <= set(law), f"{set(counts) - set(law)} cannot happen"
    often = [outcome for outcome in law if law[outcome] >= 0.02]
    rare = [outcome for outcome in law if law[outcome] < 0.02]
    if sum(law[outcome] for outcome in rare) < 0.02:
        rare.append(often.pop())
    groups = [*([outcome] for outcome in often), rare]
    observed, expected = ([sum(of[each] for each in group) for group in groups] for of in (counts, law))
    assert_frequencies(observed, expected, detects=detects)


def ends(board, q):
    """{(plays, capital): probability} of how a game ends under the tilt q."""
    law = Counter()
    for steps, capital in stopped_paths(board):
        law[len(steps), capital] += float(chance(steps, q))
    return law


@boards
@pytest.mark.parametrize("tilt", [0.35, 0.6])
def test_play_ends_as_often_in_each_way_as_all_paths_say(rng, board, tilt):
    """The joint law of plays and capital at the end of 8,000 games, against all paths."""
    law = ends(board, tilt)
    plays, capital = importance_sampling.play(rng, game_of(board), 8_000, tilt)
    counts = Counter(zip(np.asarray(plays).tolist(), np.asarray(capital).tolist(), strict=True))
    for plays, capital in counts:
        what = f"a game of {board} ended after {plays} plays with a capital of {capital}"
        beyond = "a leap beyond the last play" if plays > board[2] else "does a game go on at 0 or at the goal"
        assert (plays, capital) in law, f"{what}, which no game can: {beyond}?"
    assert_law(counts, law, detects=0.15)


def test_play_of_the_casino(rng):
    """With tilt 0.588, 8,000 games are won as often, and take as long on average, as the formula says."""
    tilt = 0.588
    law = {n: float(each) for n, each in terms(CASINO, MP.mpf(tilt), 1 - MP.mpf(tilt)).items()}
    plays, capital = importance_sampling.play(rng, importance_sampling.Game(), 8_000, tilt)
    won = capital == 200
    hints = {"the game's own p seems to deal, not the tilt": EXACT, "as often as with no last play": 1.0}
    assert_proportion(int(won.sum()), 8_000, sum(law.values()), detects=0.05, hints=hints)
    truth = sum(n * each for n, each in law.items())
    assert_mean(np.where(won, plays, 0), truth, detects=25.0)  # the standard deviation is about 250
    assert np.all(plays[(capital > 0) & ~won] == 600), "a game that is neither won nor lost ends with the last play"


def test_play_with_more_chips_than_a_short_integer_holds(rng):
    """A goal of 70,000 and 40,000 plays, of which the fewest that can end a game are 35,000."""
    game = game_of((35_000, 70_000, 40_000))
    plays, capital = importance_sampling.play(rng, game, 5, 0.5)
    # twelve standard deviations of a sum of 40,000 signs
    level = np.all(plays == 40_000) and np.all(np.abs(capital - 35_000) < 12 * math.sqrt(40_000))
    assert level, f"five fair games ended after {plays} plays with {capital}: do the integers hold as much?"
    plays, capital = importance_sampling.play(rng, game, 5, 0.999)
    # about 35 plays are lost, each of which takes another to make up for
    quick = np.all(capital == 70_000) and np.all(np.abs(plays - 35_070) < 200)
    assert quick, f"five games with tilt 0.999 ended after {plays} plays with {capital}: do the integers hold as much?"


def test_play_of_games_that_are_over_before_they_begin(rng):
    """At 0 and at the goal no play is made."""
    for start in (0, 3):
        plays, capital = importance_sampling.play(rng, game_of((start, 3, 5)), 4, 0.5)
        assert_close(plays, np.zeros(4), what=f"plays of games that start at {start}")
        assert_close(capital, np.full(4, start), what=f"capitals of games that start at {start}")


def test_play_makes_games_independent_of_each_other(rng):
    """Of neighbours, and of one call and the next, both are won as often as independent games are."""
    board, tilt = (2, 4, 10), 0.55
    won = float(probability(board, tilt))
    first, second = (importance_sampling.play(rng, game_of(board), 6_000, tilt).capital == 4 for _ in range(2))
    both = [won**2, won * (1 - won), (1 - won) * won, (1 - won) ** 2]
    for one, other, which in [(first[::2], first[1::2], "neighbours"), (first, second, "one call and the next")]:
        counts = [int(np.sum((one == a) & (other == b))) for a, b in itertools.product([True, False], repeat=2)]
        assert counts[1] + counts[2], f"{which} are always won together: does a call begin its random numbers anew?"
        assert_frequencies(counts, both, detects=0.15)


def test_play_returns_the_games_in_no_order(rng):
    """The first half of 8,000 games takes as many plays on average as all paths say, and so does the second."""
    board, tilt = (2, 5, 9), 0.55
    law = ends(board, tilt)
    plays, _ = importance_sampling.play(rng, game_of(board), 8_000, tilt)
    truth = sum(n * share for (n, _), share in law.items())
    # the mean of the shorter half of all games
    lengths = sorted({n for n, _ in law})
    up_to = [min(sum(share for (n, _), share in law.items() if n <= last), 0.5) for last in lengths]
    shorter = 2 * float(np.diff([0, *up_to]) @ lengths)
    for half, sorted_mean in [(plays[:4_000], shorter), (plays[4_000:], 2 * truth - shorter)]:
        hints = {"the games seem to be sorted by how long they take": sorted_mean}
        assert_mean(half, truth, detects=0.4, hints=hints)


def test_play_never_repeats_itself(rng):
    """Of 400 calls, and of 400 parts of one, no two deal the same 40 games: no stream is begun anew."""
    # games that cannot end before their 19 plays: two agree with the probability that two binomials do
    agree = sum(stats.binom.pmf(range(20), 19, 0.5) ** 2)
    assert agree**40 * 400**2 < 1e-20
    game = game_of((20, 40, 19))
    calls = [importance_sampling.play(rng, game, 40, 0.5).capital for _ in range(400)]
    parts = importance_sampling.play(rng, game, 16_000, 0.5).capital.reshape(400, 40)
    for which, rows in {"calls": calls, "parts of one call": parts}.items():
        same = 400 - len({tuple(row) for row in rows})
        assert not same, f"of 400 {which} {same} repeat another: is a generator seeded inside, from a few numbers?"


# The weights


def weight_law(board, p, q, stopped):
    """{log weight: probability} under q, rounded to 9 decimals, by all paths; −∞ for lost games."""
    law = Counter()
    for begun, won, steps in full_paths(board):
        counted = begun if stopped else steps
        value = round(math.log(chance(counted, p) / chance(counted, q)), 9) if won else -math.inf
        law[value + 0.0] += float(chance(steps, q))
    return law


@pytest.mark.claim("thm-likelihood-ratio")
@either_weight
@pytest.mark.parametrize("board", [*BOARDS, (2, 2, 3)], ids=lambda board: "-".join(map(str, board)))
def test_log_weights_are_those_of_all_paths_as_often_as_these(rng, board, stopped):
    """Each value log p(ω)/q(ω) of 6,000 games occurs on some path, and as often as these paths under the tilt."""
    p, tilt = 0.45, 0.6
    law, other = weight_law(board, p, tilt, stopped), weight_law(board, p, tilt, not stopped)
    game = game_of(board, p)
    got = np.asarray(importance_sampling.log_weights(rng, game, 6_000, tilt, stopped=stopped))
    counts = Counter(np.round(got, 9).tolist())
    diagnoses = {
        "is the weight upside down? It is p/q": {-value for value in law},
        "are lost games given a weight? Theirs is 0, and its log −∞": {
            round(math.log(chance(s, p) / chance(s, tilt)), 9) + 0.0 for s, _ in stopped_paths(board)
        },
        "is the factor (1−p)/(1−q) of lost plays missing?": {
            round(sum(step == 1 for step in s) * math.log(p / tilt), 9) for s in won_paths(board)
        },
        "is the log missing?": {round(math.exp(value), 9) for value in law},
        "is the last play, the winning one, left out?": {
            round(math.log(chance(s[:-1], p) / chance(s[:-1], tilt)), 9) + 0.0 for s in won_paths(board)
        },
        "are there no weights, only the tilt?": {0.0},
        "is this not the weight asked for, but "
        + ("that of all K plays, though the game stops?" if stopped else "the stopped one? All K plays count"): set(
            other
        ),
    }

    def nearest(value, values):
        return next((each for each in values if value == each or abs(value - each) <= 1e-8), None)

    strange = [value for value in counts if nearest(value, law) is None]
    if strange:
        allowed = [set(values) | {-math.inf} for values in diagnoses.values()]
        words = [w for w, ok in zip(diagnoses, allowed, strict=True) if all(nearest(v, ok) is not None for v in counts)]
        raise AssertionError(
            f"log_weights with stopped={stopped} on {board} has {strange[0]}, which no path has. " + " ".join(words)
        )
    observed = Counter()
    for value, n in counts.items():
        observed[nearest(value, law)] += n
    if len(law) > 1:
        assert_law(observed, law, detects=0.2)


@pytest.mark.claim("prop-mirror")
def test_log_weights_of_won_games_depend_on_their_length_alone(rng):
    """(p(1−q)/(q(1−p)))^{d/2} (p(1−p)/(q(1−q)))^{n/2}: with the tilt 1−p it is (p/(1−p))^d for every won game."""
    board, p = (4, 7, 41), 0.4
    for tilt in (0.6, 0.55, 0.7):
        n = np.arange(3, 42, 2)
        allowed = 1.5 * np.log(p * (1 - tilt) / tilt / (1 - p)) + n / 2 * np.log(p * (1 - p) / tilt / (1 - tilt))
        got = importance_sampling.log_weights(rng, game_of(board, p), 1_000, tilt)
        won = got[np.isfinite(got)]
        near = allowed[np.argmin(np.abs(won[:, None] - allowed), axis=1)]
        assert_close(won, near, rtol=SHARP, what=f"the weights of games won with tilt {tilt}")
        if tilt == 1 - p:
            assert_close(won, np.full(len(won), 3 * np.log(2 / 3)), rtol=SHARP, what="the weights in the mirror")
    assert np.all((got == -np.inf) | np.isfinite(got)), "log_weights has NaN or ∞"


def test_log_weights_do_not_underflow(rng):
    """With p = 1e-3 and 200 wins a product of the ratios is 1e-540, 0 to a float: the log is a sum of logs."""
    board, p, tilt = (300, 500, 600), 1e-3, 0.9
    allowed = [(n + 200) / 2 * np.log(p / tilt) + (n - 200) / 2 * np.log((1 - p) / (1 - tilt)) for n in range(200, 601)]
    got = importance_sampling.log_weights(rng, game_of(board, p), 100, tilt)
    assert np.isfinite(got).any(), "every game seems lost: does a product of ratios underflow? Add logs"
    near = np.array(allowed)[np.argmin(np.abs(got[np.isfinite(got)][:, None] - allowed), axis=1)]
    assert_close(got[np.isfinite(got)], near, rtol=SHARP, what="log_weights of 200 wins with p = 1e-3")


@pytest.mark.claim("thm-stopped")
def test_log_weights_of_full_paths_are_the_stopped_ones_times_noise(rng):
    """On 20,000 games mean and mean square of U/P and V/P are the exact ones: V² has the larger mean."""
    board, p, tilt = (2, 5, 9), 0.4, 0.55
    mean = float(probability(board, p))
    for stopped in (True, False):
        log_w = importance_sampling.log_weights(rng, game_of(board, p), 20_000, tilt, stopped=stopped)
        w = np.exp(log_w) / mean
        square = float(second_moment(board, p, tilt, stopped)) / mean**2
        other = float(second_moment(board, p, tilt, not stopped)) / mean**2
        hints = {f"these seem to be the {'full' if stopped else 'stopped'} weights": [1.0, other]}
        assert_unbiased(np.column_stack([w, w**2]), [1.0, square], detects=[0.2, 1.5], hints=hints)


@either_weight
def test_log_weights_of_different_games_are_independent(rng, stopped):
    """Of neighbours' weights, cut off at 2P, and of one game's in this call and the next, the product has mean m²."""
    board, p, tilt = (2, 4, 10), 0.45, 0.6
    exact = float(probability(board, p))
    law = {min(math.exp(log_w) / exact, 2): 0.0 for log_w in weight_law(board, p, tilt, stopped)}
    for log_w, share in weight_law(board, p, tilt, stopped).items():
        law[min(math.exp(log_w) / exact, 2)] += share
    mean, square = (sum(w**power * share for w, share in law.items()) for power in (1, 2))
    one, other = (
        np.minimum(np.exp(importance_sampling.log_weights(rng, game_of(board, p), 8_000, tilt, stopped)) / exact, 2)
        for _ in range(2)
    )
    hints = {"the games seem to share their random numbers": square}
    assert_mean(one[::2] * one[1::2], mean**2, detects=0.15, hints=hints)
    assert_mean(one * other, mean**2, detects=0.15, hints=hints)


@pytest.mark.claim("thm-likelihood-ratio")
def test_weights_make_expectations_right_on_any_countable_set(rng):
    """In fractions: E_q[wf] = E_p[f], Var_q(wf) = E_p[wf²] − (E_p f)²; where q closes a way, just that is missing."""
    for closed in range(4):
        p, q, f = ([Fraction(int(x), 12) for x in rng.integers(1, 12, 7)] for _ in range(3))
        for i in range(closed):
            q[i] = Fraction(0)
        p, q = ([each / sum(law) for each in law] for law in (p, q))
        f[5] = -f[5]
        w = [a / b if b else None for a, b in zip(p, q, strict=True)]
        wf = [a * b if a is not None else 0 for a, b in zip(w, f, strict=True)]
        mean_q = sum(a * b for a, b in zip(q, wf, strict=True))
        missing = sum(a * b for a, b, c in zip(p, f, q, strict=True) if not c)
        mean_p = sum(a * b for a, b in zip(p, f, strict=True))
        assert mean_q == mean_p - missing
        if not closed:
            variance = sum(b * (x - mean_q) ** 2 for b, x in zip(q, wf, strict=True))
            assert variance == sum(a * b * c**2 for a, b, c in zip(p, w, f, strict=True)) - mean_p**2


@pytest.mark.claim("thm-likelihood-ratio")
@boards
def test_relative_variance_is_that_over_all_paths(board):
    """Under q, w·1{won} has mean P and variance E_p[w 1{won}] − P², path by path in fractions, for every tilt."""
    p = Fraction(2, 5)
    mean = importance_sampling.probability_of_winning(game_of(board, float(p)))
    for q in SEVERAL:
        weights = [chance(s, p) / chance(s, q) for s in won_paths(board)]
        expected = sum(chance(s, q) * w for s, w in zip(won_paths(board), weights, strict=True))
        assert_close(mean, float(expected), rtol=SHARP, what=f"E_q[w 1{{won}}] on {board}")
        variance = sum(chance(s, p) * w for s, w in zip(won_paths(board), weights, strict=True)) - expected**2
        got = importance_sampling.relative_variance(game_of(board, float(p)), float(q))
        want = float(variance / expected**2)
        assert_close(got, want, rtol=SHARP, atol=1e-12, what=f"relative_variance of {board}, tilt {q}")


@pytest.mark.claim("thm-likelihood-ratio")
@boards
def test_plan_that_closes_a_way_misses_just_what_goes_there(board):
    """With a tilt of 1 at the first play, E_q[w 1{won}] lacks the won paths that begin with a loss: refused."""
    p = Fraction(2, 5)
    plan = [[Fraction(3, 5)] * (board[1] + 1) for _ in range(board[2])]
    plan[0][board[0]] = Fraction(1)
    found = sum(
        planned(s, board, plan) * (chance(s, p) / planned(s, board, plan))
        for s in won_paths(board)
        if planned(s, board, plan)
    )
    missing = sum(chance(s, p) for s in won_paths(board) if s[0] == -1)
    assert found == probability(board, p) - missing
    if missing:
        for function, arguments in [(importance_sampling.plan_relative_variance, ())]:
            assert_refused(function, game_of(board, float(p)), plain(plan), *arguments, argument="tilts", value=1.0)


# The estimate


def test_estimate_in_the_mirror_is_a_count(rng):
    """With tilt 1−p every won game weighs c = (p/(1−p))^d: k of n won give c k/n ± c√(k(n−k)/(n²(n−1)))."""
    board, p, n = (3, 6, 9), 0.4, 40  # 56 of 100 games are won; that all or none are has probability 1e-10
    c = (p / (1 - p)) ** 3
    for _ in range(5):
        value, error = importance_sampling.estimate(rng, game_of(board, p), n, 1 - p)
        k = round(float(value) * n / c)
        mistakes = {
            "is the mean taken over the won games alone? The lost ones count as zeros": c,
            "are the weights upside down?": 1 / c,
        }
        words = "should be a whole number: are the weights divided by their sum (self-normalised), or missing?"
        wrong = [sentence for sentence, x in mistakes.items() if np.isclose(value, x)]
        whole = abs(float(value) * n / c - k) < 1e-6 and 0 < k < n
        assert whole, (
            f"the estimate is {value:.6g}, or {float(value) * n / c:.4g} times c/n: {' '.join(wrong) or words}"
        )
        spread = c * math.sqrt(k * (n - k)) / n
        mistakes = {
            "is this the standard deviation of one game, not divided by √n?": spread * math.sqrt(n / (n - 1)),
            "is the variance divided by n, where n − 1 makes it unbiased?": spread / math.sqrt(n),
            "is this the standard error of the won games alone? The zeros of the lost ones vary too": 0.0,
            "is this the squared standard error?": spread**2 / (n - 1),
            "is it relative to the value?": spread / math.sqrt(n - 1) / value,
            "is it divided by n where √n belongs?": spread / math.sqrt((n - 1) * n),
        }
        want = spread / math.sqrt(n - 1)
        what = f"the standard error of {k} of {n} won"
        assert_close(error, want, rtol=SHARP, atol=1e-15, what=what, mistakes=mistakes)


@pytest.mark.parametrize("n", [31, 200_000])
@either_weight
@pytest.mark.parametrize("tilt", [0.02, 0.3, 0.7])
def test_estimate_of_two_weights_can_be_taken_apart(rng, tilt, stopped, n):
    """Where a won game weighs a or b, the estimate and its error say how many weighed which: two whole numbers."""
    board, p = ((1, 3, 4), 0.5) if stopped else ((1, 2, 2), 0.5)
    a, b = (math.exp(each) for each in weight_law(board, p, tilt, stopped) if each > -math.inf)
    value, error = importance_sampling.estimate(rng, game_of(board, p), n, tilt, stopped=stopped)
    # Σw = ka + lb, and Σw² = ka² + lb² by the definition of the standard error
    total, square = n * value, n * (n - 1) * error**2 + n * value**2
    l = (square - a * total) / (b * (b - a))  # noqa: E741
    k = (total - l * b) / a
    whole = all(-1e-3 < x < n + 1e-3 and abs(x - round(x)) < 1e-3 for x in (k, l)) and k + l < n + 1e-3
    says = (
        f"{n} games with tilt {tilt} gave {value:.6g} ± {error:.3g}, as if {k:.6g} weighed {a:.4g} and {l:.6g} {b:.4g}"
    )
    assert whole, f"{says}: are large weights cut off, are only some of the games counted, is the error another's?"


@either_weight
def test_estimate_is_unbiased_and_varies_as_the_exact_variance_says(rng, stopped):
    """Over 1,500 estimates from 20 games each: the mean is P, their variance and mean squared error Var(w)/20."""
    board, p, tilt, n = (2, 5, 9), 0.4, 0.5, 20
    exact = float(probability(board, p))
    variance, other = (
        (float(second_moment(board, p, tilt, which)) / exact**2 - 1) / n for which in (stopped, not stopped)
    )
    game = game_of(board, p)
    found = [importance_sampling.estimate(rng, game, n, tilt, stopped=stopped) for _ in range(1_500)]
    values, errors = (np.array([float(part) for part in parts]) / exact for parts in zip(*found, strict=True))
    hints = {
        "the games with the tilt are counted without their weights": float(probability(board, tilt)) / exact,
        "the mean seems to be over the won games alone": 1 / float(probability(board, tilt)),
    }
    assert_mean(values, 1.0, detects=0.15, hints=hints)
    name = "all K plays seem to count though the game stops" if stopped else "the weights seem to stop with the game"
    assert_variance(values, variance, detects=0.6, hints={name: other})
    assert_mean(errors**2, variance, detects=0.3 * variance, hints={name: other})


def test_estimate_of_the_casino(rng):
    """With the tilt 0.588, 8,000 games give P to 1.5 %, and a standard error of that size."""
    value, error = importance_sampling.estimate(rng, importance_sampling.Game(), 8_000, 0.588)
    says = f"the estimate of the casino's P is {value:.4g} ± {error:.2g}, P is {EXACT:.4g}"
    words = "are the weights missing? The games were tilted" if value > 0.1 else ""
    words = "is the last play ignored? The casino closes after 600" if 10 * EXACT < value < 0.1 else words
    # w/P is at most 5.4 and has variance 1.79: by Bernstein's inequality 10 % are exceeded once in 3e8 runs
    assert abs(value / EXACT - 1) < 0.1, f"{says}. {words}"
    spread = math.sqrt(relative(CASINO, P, 0.588) / 8_000) * EXACT
    full = math.sqrt(relative(CASINO, P, 0.588, stopped=False) / 8_000) * EXACT
    words = "do all 600 plays count though the game stops?" if error > 1.3 * spread else ""
    # w²/P² is at most 29 and has variance 32: by the same inequality its mean is off by 0.45 once in 5e9 runs
    assert 0.8 < error / spread < 1.25, f"{says}: the error should be {spread:.2g} ({full:.2g} for full paths). {words}"


def test_estimate_of_what_cannot_happen_and_of_what_must(rng):
    """Out of reach it is 0 ± 0, at the goal 1 ± 0; with tilt = p and stopped or not every weight is 1."""
    for board, want in {(1, 9, 7): 0.0, (0, 3, 4): 0.0, (3, 3, 4): 1.0}.items():
        got = importance_sampling.estimate(rng, game_of(board), 10, 0.6)
        assert_close(got, [want, 0.0], what=f"the estimate and its error for {board}")
    for p in (0.1, 0.3, 0.7):
        # ten games of one play that all but one of 1e11 win: the weights are equal
        got = importance_sampling.estimate(rng, game_of((1, 2, 1), p), 10, 1 - 1e-12)
        assert_close(got, [p, 0.0], atol=1e-12, what=f"the estimate and its error where all weights are {p}")
    for stopped in (True, False):
        value, _ = importance_sampling.estimate(rng, game_of((2, 4, 10), 0.45), 50, 0.45, stopped=stopped)
        assert_close(value * 50, round(value * 50), rtol=1e-9, what="50 times the share of games won with tilt p")


@pytest.mark.claim("prop-crude")
def test_estimate_without_a_tilt_is_the_share_of_wins(rng):
    """Of 10 games, 1,500 times: the number won is binomial, so that none is won with probability (1−P)^10."""
    board, p, n = (2, 5, 9), 0.45, 10
    exact, game = float(probability(board, p)), game_of(board, p)
    shares = np.array([importance_sampling.estimate(rng, game, n, p).value for _ in range(1_500)])
    assert_mean(shares, exact, detects=0.3 * exact)
    law = {k: float(stats.binom.pmf(k, n, exact)) for k in range(n + 1)}
    assert law[0] == pytest.approx((1 - exact) ** n)
    assert_law(Counter(np.round(shares * n).astype(int).tolist()), law, detects=0.25)


# The second moment


@pytest.mark.claim("prop-crude")
@pytest.mark.parametrize("board", [CASINO, OWN, *BOARDS], ids=str)
def test_relative_variance_without_a_tilt_is_that_of_a_coin(board):
    """At q = p, stopped or not, it is (1−P)/P: n games have the binomial's relative deviation √((1−P)/(nP))."""
    exact = float(moments(board, P, P)[0])
    for stopped in (True, False):
        got = importance_sampling.relative_variance(game_of(board), P, stopped=stopped)
        mistakes = {"is this 1/P, the second moment, from which 1 must be taken?": 1 / exact}
        what = f"relative_variance of {board} without a tilt"
        assert_close(got, (1 - exact) / exact, rtol=SHARP, what=what, mistakes=mistakes)
        for n in (10, 3000):
            want = stats.binom.std(n, exact) / (n * exact)
            assert_close(math.sqrt(got / n), want, rtol=1e-9, what=f"the relative deviation of the share of {n} games")


@pytest.mark.claim("prop-crude")
def test_nothing_seen_bounds_the_probability():
    """(1−P)ⁿ ≥ 1 − nP in fractions; (1−P)ⁿ ≥ 1/20 just up to 1 − 20^{−1/n} < log(20)/n < 3/n, in 50 digits."""
    for n in (1, 2, 3, 10, 3000):
        for p in (Fraction(1, 10_000), Fraction(1, 30), Fraction(1, 2), Fraction(9, 10)):
            assert (1 - p) ** n >= 1 - n * p
        bound = 1 - MP.mpf(20) ** (-MP.mpf(1) / n)
        assert abs((1 - bound) ** n - MP.mpf(1) / 20) < MP.mpf(10) ** -40
        assert bound < MP.log(20) / n < MP.mpf(3) / n
        for nudge, enough in [(1 - 1e-9, True), (1 + 1e-9, False)]:
            p = float(bound) * nudge
            assert (stats.binom.pmf(0, n, p) >= 1 / 20) == enough
    assert stats.binom.pmf(0, 3000, EXACT) > 0.99


def mistakes_in_variance(board, p, q, stopped):
    """What people compute when they mean the relative variance of the weight."""
    mean, square = moments(board, p, q, stopped)
    one, two = MP.mpf(p), MP.mpf(q)
    r = one**2 / two + (1 - one) ** 2 / (1 - two)
    upside = MP.fsum(terms(board, two**2 / one, (1 - two) ** 2 / (1 - one)).values()) / mean**2 - 1
    found = {
        "is this the relative second moment, from which 1 must be taken?": square / mean**2,
        "is this the variance itself, not divided by P²?": square - mean**2,
        "is the variance divided by P where P² belongs?": (square - mean**2) / mean,
        "is this the standard deviation, a square root too many?": MP.sqrt(max(square / mean**2 - 1, 0)),
        "is the weight squared but not averaged under q, p² for p²/q?": MP.fsum(
            terms(board, one**2, (1 - one) ** 2).values()
        )
        / mean**2
        - 1,
        "are p and q exchanged? It is p²/q": upside,
        "are the weights not squared, p for p²/q?": 1 / mean - 1,
    }
    other = moments(board, p, q, not stopped)[1] / mean**2 - 1
    if stopped:
        found["do all K plays count, though the weight should stop with the game?"] = other
    else:
        found["is this the stopped weight's? All K plays should count"] = other
        plays = terms(board, one**2 / two, (1 - one) ** 2 / (1 - two))
        found["is the factor r to the power K, not K − n?"] = (
            MP.fsum(each * r ** board[2] for each in plays.values()) / mean**2 - 1
        )
        found["is the factor r to the power n, not K − n?"] = (
            MP.fsum(each * r**n for n, each in plays.items()) / mean**2 - 1
        )
    want = float(square / mean**2 - 1)
    return {words: float(x) for words, x in found.items() if not np.isclose(float(x), want, rtol=1e-6)}


@pytest.mark.claim("prop-second-moment")
@either_weight
@pytest.mark.parametrize(("board", "p"), [(CASINO, P), (OWN, 0.3)], ids=str)
def test_relative_variance_of_large_boards(board, p, stopped):
    """Σ a(n)(p²/q)ʲ((1−p)²/(1−q))ˡ (times r^{K−n}) over P², less 1, from integers in 50 digits, at six tilts."""
    for q in (0.45, 0.5, 0.55, 0.588, 0.62, 0.65):
        want, mistakes = relative(board, p, q, stopped), mistakes_in_variance(board, p, q, stopped)
        got = importance_sampling.relative_variance(game_of(board, p), q, stopped=stopped)
        what = f"relative_variance of {board} at tilt {q}, stopped={stopped}"
        assert_close(got, want, rtol=1e-9, what=what, mistakes=mistakes)


def test_relative_variance_of_the_casino():
    """The square roots that the chapter prints: 3.8602 and 6.7493 at 0.55, 20.17 and 20,350 at 0.65, 151.6 at ½."""
    game = importance_sampling.Game()
    for q, stopped, want in [
        (0.55, True, 3.860164596969197),
        (0.55, False, 6.749346616857878),
        (0.65, True, 20.166357852),
        (0.65, False, 2.0349663e4),
        (0.5, True, 151.62746),
    ]:
        got = math.sqrt(importance_sampling.relative_variance(game, q, stopped=stopped))
        assert_close(got, want, rtol=1e-6, what=f"the relative deviation at tilt {q}, stopped={stopped}")


@pytest.mark.claim("prop-second-moment")
@either_weight
@pytest.mark.parametrize("board", [*BOARDS, (2, 2, 3)], ids=lambda board: "-".join(map(str, board)))
def test_log_second_moment_is_that_over_all_paths(board, stopped):
    """exp of it is the mean of U², or of V² over all 2^K sequences, path by path in fractions."""
    p = Fraction(2, 5)
    for q in SEVERAL:
        want = float(second_moment(board, p, q, stopped))
        got = importance_sampling.log_second_moment(game_of(board, float(p)), float(q), stopped=stopped)
        mistakes = {
            "do all K plays count, though the weight should stop with the game?"
            if stopped
            else "is this the stopped weight's? All K plays should count": float(
                second_moment(board, p, q, not stopped)
            ),
            "is this the mean of the weight, not of its square?": float(probability(board, p)),
            "is this p(ω)², not averaged under q?": float(sum(chance(s, p) ** 2 for s in won_paths(board))),
        }
        mistakes = {words: np.log(x) for words, x in mistakes.items() if not np.isclose(x, want)}
        what = f"log_second_moment of {board}, tilt {q}, stopped={stopped}"
        assert_close(got, math.log(want), rtol=SHARP, atol=1e-12, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-stopped")
@boards
def test_stopped_weight_is_what_the_full_one_is_on_average(board):
    """In fractions, over all 2^K sequences: E[V | the first T plays] = U, E V² = E[U² r^{K−T}], Var V ≥ Var U."""
    p = Fraction(2, 5)
    wins_early = any(len(steps) < board[2] for steps in won_paths(board))
    for q in SEVERAL:
        r = p**2 / q + (1 - p) ** 2 / (1 - q)
        assert r == 1 + (p - q) ** 2 / (q * (1 - q))
        given, square = Counter(), Counter()
        for begun, won, steps in full_paths(board):
            if won:
                rest = chance(steps, q) / chance(begun, q)
                v = chance(steps, p) / chance(steps, q)
                given[begun] += rest * v
                square[begun] += rest * v**2
        for begun in given:
            u = chance(begun, p) / chance(begun, q)
            assert given[begun] == u
            assert square[begun] == u**2 * r ** (board[2] - len(begun))
        game = game_of(board, float(p))
        stopped, full = (
            importance_sampling.log_second_moment(game, float(q), stopped=which) for which in (True, False)
        )
        total = sum(chance(begun, q) * square[begun] for begun in square)
        what = f"log E V² of {board}, tilt {q}"
        assert_close(full, math.log(total), rtol=SHARP, atol=1e-12, what=what)
        equal = q == p or not wins_early
        assert (abs(full - stopped) < 1e-12) if equal else (full > stopped + 1e-6), f"{what}: {full} against {stopped}"


@pytest.mark.claim("thm-stopped", kind="symbolic")
def test_an_idle_play_multiplies_the_square_by_r():
    """sympy: a ratio has mean 1, mean square p²/q + (1−p)²/(1−q) = 1 + (p−q)²/(q(1−q)), which is 1 only at q = p."""
    p, q = sympy.symbols("p q", positive=True)
    ratios = {p / q: q, (1 - p) / (1 - q): 1 - q}
    assert sympy.simplify(sum(ratio * weight for ratio, weight in ratios.items())) == 1
    r = sum(ratio**2 * weight for ratio, weight in ratios.items())
    assert sympy.simplify(r - p**2 / q - (1 - p) ** 2 / (1 - q)) == 0
    assert sympy.simplify(r - 1 - (p - q) ** 2 / (q * (1 - q))) == 0
    # where every win is the first play and K − 1 plays are idle, the full weight's second moment is p²/q · r^{K−1}
    for tilt in (0.2, 0.4, 0.7):
        got = importance_sampling.log_second_moment(game_of((1, 2, 6), 0.4), tilt, stopped=False)
        want = sympy.log(p**2 / q * r**5).subs({p: 0.4, q: tilt})
        assert_close(got, float(want), rtol=SHARP, what="log E V² where the first play decides")


@pytest.mark.claim("thm-stopped")
def test_relative_variance_of_full_paths_is_the_stopped_one_where_nothing_is_idle():
    """If no game can be won before the last play both are equal; one more play, and the full one is larger."""
    for board, equal in {(2, 8, 6): True, (2, 8, 7): False, (3, 9, 8): False}.items():
        stopped, full = (
            importance_sampling.relative_variance(game_of(board, 0.4), 0.7, stopped=which) for which in (True, False)
        )
        if equal:
            assert_close(full, stopped, rtol=1e-9, what=f"relative_variance of full paths on {board}")
        assert equal or full > 1.05 * stopped, (
            f"relative_variance on {board}: {full} with idle plays, {stopped} without"
        )


@pytest.mark.claim("prop-mirror")
@pytest.mark.parametrize(("board", "p"), [(CASINO, P), (OWN, 0.3), ((2, 5, 9), 0.4)], ids=str)
def test_relative_variance_in_the_mirror_is_that_of_winning_there(board, p):
    """At the tilt 1−p it is 1/Q − 1 with Q = P((1−p)/p)^d, the probability of winning under 1−p."""
    exact = moments(board, p, p)[0]
    q = float(exact * ((1 - MP.mpf(p)) / MP.mpf(p)) ** (board[1] - board[0]))
    what = f"the probability of winning {board} in the mirror"
    assert_close(importance_sampling.probability_of_winning(game_of(board, 1 - p)), q, rtol=1e-9, what=what)
    got = importance_sampling.relative_variance(game_of(board, p), 1 - p)
    assert_close(got, 1 / q - 1, rtol=1e-9, what=f"relative_variance of {board} in the mirror")
    if board == CASINO:
        assert_close(got, 1877.3925703926817, rtol=1e-9, what="relative_variance of the casino in the mirror")


def test_relative_variance_takes_tilts_of_any_shape():
    """Of an array each tilt by itself, of any shape, whatever its memory looks like; of a number a number."""
    game = game_of((2, 5, 9), 0.4)
    tilts = np.array([[0.3, 0.4, 0.5], [0.6, 0.7, 0.8]])
    for stopped in (True, False):
        want = np.array([[relative((2, 5, 9), 0.4, q, stopped) for q in row] for row in tilts])
        table = np.repeat(tilts, 2, axis=1)
        locked = tilts.copy()
        locked.flags.writeable = False
        for given in (tilts, table[:, ::2], np.asfortranarray(tilts), locked):
            got = importance_sampling.relative_variance(game, given, stopped=stopped)
            mistakes = {"are the tilts averaged or added, where each stands for itself?": want.mean()}
            assert_close(got, want, rtol=SHARP, atol=1e-12, what="relative_variance of a table", mistakes=mistakes)
            got = importance_sampling.log_second_moment(game, given, stopped=stopped)
            square = np.log((1 + want) * float(probability((2, 5, 9), 0.4)) ** 2)
            assert_close(got, square, rtol=SHARP, what="log_second_moment of a table")
        assert np.array_equal(locked, tilts)
        for q in (0.7, Fraction(7, 10), np.float64(0.7)):
            got = importance_sampling.relative_variance(game, q, stopped=stopped)
            assert_close(got, want[1, 1], rtol=SHARP, what=f"relative_variance at {q!r}")
        row = tilts[0].copy()
        importance_sampling.relative_variance(game, row, stopped=stopped)
        row[:] = tilts[1]
        got = importance_sampling.relative_variance(game, row, stopped=stopped)
        assert_close(got, want[1], rtol=SHARP, what="relative_variance of an array changed since the last call")
        got = importance_sampling.relative_variance(game, tilts[0].astype(np.float32), stopped=stopped)
        assert_close(got, want[0], rtol=1e-5, what="relative_variance of float32 tilts")
        eighths = np.array([0.375, 0.625, 0.875])  # which float32 holds exactly
        square = [math.log(second_moment((2, 5, 9), 0.4, q, stopped)) for q in eighths]
        got = importance_sampling.log_second_moment(game, eighths.astype(np.float32), stopped=stopped)
        words = "log_second_moment of float32 tilts, to be computed in float64"
        assert_close(got, square, rtol=SHARP, atol=1e-12, what=words)


@pytest.mark.filterwarnings("error")
def test_relative_variance_at_the_edges_of_what_a_float_holds():
    """∞ above the largest float, 0 where every game is won, and no NaN or warning; p = 1e-120 is no trouble."""
    game = importance_sampling.Game()
    for stopped in (True, False):
        got = importance_sampling.relative_variance(game, np.array([1e-300, 1e-17, 1 - 1e-16]), stopped=stopped)
        assert not np.isnan(got).any(), f"relative_variance has NaN at the edges: {got}"
        assert_close(got, np.full(3, np.inf), what="relative_variance at tilts 1e-300, 1e-17, 1 − 1e-16")
    got = importance_sampling.relative_variance(game_of((3, 6, 9), 1e-120), 0.5)
    assert math.isfinite(got), f"relative_variance for p = 1e-120 is {got}: does P underflow? Work in logs"
    # the only way that counts is three wins: p⁶/q³ over p⁶
    assert_close(got, 7.0, rtol=1e-9, what="relative_variance for p = 1e-120, tilt ½")
    # two games of one way each, for which the tilt 1 − 1e-12 is all but perfect
    near = importance_sampling.relative_variance(game_of((2, 5, 3), 0.4), 1 - 1e-12)
    assert 0 <= near < 1e-10, f"relative_variance of an almost perfect tilt is {near}: it is never negative"
    got = importance_sampling.relative_variance(game_of((3, 3, 5), 0.4), 0.6)
    assert_close(got, 0.0, atol=1e-12, what="relative_variance of a game that starts at its goal")


# The best tilt


def mistakes_in_tilt(board, p, want):
    """Other tilts that have been taken for it."""
    distance, rounds = board[1] - board[0], board[2]
    found = {
        "is this the mirror, 1−p?": 1 - p,
        "is this the cross-entropy tilt, over the winners' own law?": (1 + distance / mean_plays(board, p)) / 2,
        "is this the tilt that arrives at the last play on average, (1 + d/K)/2?": (1 + distance / rounds) / 2,
        "is this the best tilt of full paths, with all K plays counted?": lowest(board, p, stopped=False),
        "is this the best tilt of stopped weights?": lowest(board, p),
        "is this the best tilt of the default game, whatever game is given?": 0.588069730803751,
        "is p itself returned?": p,
    }
    return {words: x for words, x in found.items() if abs(x - want) > 1e-6}


@either_weight
@pytest.mark.parametrize(
    ("board", "p"), [(CASINO, P), (OWN, 0.3), (OWN, 0.7), ((2, 5, 9), 0.4), ((1, 3, 4), 0.9)], ids=str
)
def test_best_tilt_has_the_smallest_variance(board, p, stopped):
    """The zero of the second moment's derivative, written out by hand; .58807, and .56527 of full paths, here."""
    want = lowest(board, p, stopped)
    got = importance_sampling.best_tilt(game_of(board, p), stopped=stopped)
    what = f"best_tilt of {board}, p = {p}, stopped={stopped}"
    mistakes = mistakes_in_tilt(board, p, want)
    assert 0 < got < 1, f"{what} is {got}: does the search run to the end, as if more were always better?"
    assert_close(got, want, rtol=0, atol=VALLEY, what=what, mistakes=mistakes)
    if board == CASINO:
        number = 0.588069730803751 if stopped else 0.565266609700219
        assert_close(got, number, rtol=0, atol=VALLEY, what=f"best_tilt(Game(), stopped={stopped})")
        spread = 1.337030903 if stopped else 5.481692651
        assert_close(math.sqrt(relative(board, p, got, stopped)), spread, rtol=1e-8, what="the deviation there")


def test_best_tilt_is_that_of_stopped_weights_unless_told():
    """best_tilt(game) is .588070, with stopped=True understood."""
    got = importance_sampling.best_tilt(importance_sampling.Game())
    mistakes = mistakes_in_tilt(CASINO, P, 0.588069730803751)
    assert_close(got, 0.588069730803751, rtol=0, atol=VALLEY, what="best_tilt(Game())", mistakes=mistakes)


@pytest.mark.claim("thm-best-tilt")
@pytest.mark.parametrize(("board", "p"), [(CASINO, P), (OWN, 0.3), ((2, 5, 9), 0.4), ((3, 4, 8), 0.6)], ids=str)
def test_best_tilt_is_the_only_fixed_point(board, p):
    """q − (1 + d/E*_q[n])/2 is 0 at best_tilt, negative at every grid point below it and positive above."""
    distance, got = board[1] - board[0], importance_sampling.best_tilt(game_of(board, p))

    def off(q):
        one, q = MP.mpf(p), MP.mpf(q)
        law = terms(board, one**2 / q, (1 - one) ** 2 / (1 - q))
        mean = MP.fsum(n * each for n, each in law.items()) / MP.fsum(law.values())
        return float(q - (1 + distance / mean) / 2)

    assert_close(off(got), 0.0, atol=1e-6, what=f"q − (1 + d/E*[n])/2 at best_tilt of {board}, p = {p}")
    grid = np.linspace(0.05, 0.99, 25)
    grid = grid[np.abs(grid - got) > 1e-3]
    assert all((off(q) > 0) == (q > got) for q in grid), "another fixed point"


@pytest.mark.claim("thm-best-tilt", kind="automatic differentiation")
@either_weight
@pytest.mark.parametrize(("board", "p"), [(CASINO, P), (OWN, 0.3), ((2, 5, 9), 0.4)], ids=str)
def test_best_tilt_is_where_the_automatic_gradient_vanishes(board, p, stopped):
    """torch differentiates log Σ a(n)(p²/q)ʲ...: zero at best_tilt, and the second derivative positive everywhere."""
    distance, rounds = board[1] - board[0], board[2]
    n = torch.tensor([n for n, ways in enumerate(mirrored(board)) if ways], dtype=torch.float64)
    log_ways = torch.tensor([math.log(ways) for ways in mirrored(board) if ways], dtype=torch.float64)

    def log_square(q):
        up, down = p**2 / q, (1 - p) ** 2 / (1 - q)
        logs = log_ways + (n + distance) / 2 * up.log() + (n - distance) / 2 * down.log()
        return torch.logsumexp(logs if stopped else logs + (rounds - n) * (up + down).log(), 0)

    def derivatives(q):
        q = torch.tensor(float(q), dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad(log_square(q), q, create_graph=True)
        return first.item(), torch.autograd.grad(first, q)[0].item()

    game = game_of(board, p)
    best = importance_sampling.best_tilt(game, stopped=stopped)
    slope, bend = derivatives(best)
    assert_close(slope / bend, 0.0, atol=VALLEY, what=f"Newton's step from best_tilt of {board}, stopped={stopped}")
    grid = np.linspace(0.02, 0.98, 33)
    assert all(derivatives(q)[1] > 0 for q in grid), "the log second moment should be strictly convex"
    values = importance_sampling.log_second_moment(game, grid, stopped=stopped)
    want = [log_square(torch.tensor(q, dtype=torch.float64)).item() for q in grid]
    assert_close(values, want, rtol=SHARP, atol=1e-11, what="log_second_moment on a grid")
    assert np.all(np.diff(values, 2) > 0), "log_second_moment should be strictly convex in q"


@pytest.mark.claim("thm-best-tilt")
def test_relative_variance_falls_to_nothing_where_no_way_to_win_has_a_loss():
    """With K = d there is one way, d wins: q^{−d} − 1 falls all the way to q = 1, and no tilt is the best."""
    q = np.array([0.1, 0.5, 0.9, 0.999])
    got = importance_sampling.relative_variance(game_of((2, 5, 3), 0.4), q)
    assert_close(got, q**-3.0 - 1, rtol=SHARP, what="relative_variance where only three wins in a row will do")
    assert_refused(importance_sampling.best_tilt, game_of((2, 5, 3), 0.4), argument="max_rounds", value=3)


def test_best_tilt_near_the_edges():
    """Very rare, and nearly certain, plays: the fixed point in 50 digits, below 1."""
    for board, p in [((2, 4, 20), 1e-6), ((2, 4, 20), 1 - 1e-6), ((1, 3, 40), 0.02), ((30, 130, 200), 1e-4)]:
        got = importance_sampling.best_tilt(game_of(board, p))
        one, q = MP.mpf(p), MP.mpf(float(got))
        law = terms(board, one**2 / q, (1 - one) ** 2 / (1 - q))
        mean = MP.fsum(n * each for n, each in law.items()) / MP.fsum(law.values())
        assert 0 < got < 1, f"best_tilt for p = {p} is {got}"
        want = float((1 + (board[1] - board[0]) / mean) / 2)
        assert_close(got, want, rtol=0, atol=VALLEY, what=f"best_tilt of {board} for p = {p}")
    # the first play decides, the other two are idle: the full weight's moment is p²/q r², with its zero by hand
    got = importance_sampling.best_tilt(game_of((1, 2, 3), 0.4), stopped=False)
    want = optimize.minimize_scalar(
        lambda q: -math.log(q) + 2 * math.log(0.16 / q + 0.36 / (1 - q)), bounds=(0.1, 0.9), options={"xatol": 1e-10}
    )
    assert_close(got, want.x, rtol=0, atol=VALLEY, what="best_tilt of full paths where the first play decides")


@pytest.mark.claim("prop-cross-entropy")
@boards
def test_cross_entropy_tilt_minimises_the_divergence_over_all_paths(board):
    """KL of the won paths' law from the law under q, listed path by path: its derivative vanishes there alone."""
    p = 0.4
    if board in [(1, 2, 3)]:
        assert_refused(importance_sampling.cross_entropy_tilt, game_of(board, p), argument="goal", value=2)
        return
    law = np.array([chance(s, p) for s in won_paths(board)]) / probability(board, p)
    j = np.array([s.count(1) for s in won_paths(board)])
    n = np.array([len(s) for s in won_paths(board)])

    def divergence(q):
        return float(law @ (np.log(law) - j * np.log(q) - (n - j) * np.log(1 - q)))

    everywhere = sum(chance(s, p) * np.array([s.count(1), len(s)]) for s, _ in stopped_paths(board))
    mistakes = {
        "is this the mean of wins/plays, where it is the ratio of the means?": law @ (j / n),
        "are the lost games counted too? It is given that the game is won": everywhere[0] / everywhere[1],
        "is this the tilt of the least variance?": lowest(board, p),
        "is every length of a won game counted alike?": (1 + (board[1] - board[0]) / np.unique(n).mean()) / 2,
    }
    got = importance_sampling.cross_entropy_tilt(game_of(board, p))
    want = law @ j / (law @ n)
    mistakes = {words: wrong for words, wrong in mistakes.items() if abs(wrong - want) > 1e-7}
    assert_close(got, want, rtol=SHARP, what=f"cross_entropy_tilt of {board}", mistakes=mistakes)
    found = optimize.minimize_scalar(divergence, bounds=(0.01, 0.999), method="bounded", options={"xatol": 1e-10})
    assert_close(got, found.x, rtol=0, atol=VALLEY, what=f"cross_entropy_tilt of {board}, against a search")
    assert all(divergence(q) > divergence(got) for q in np.linspace(0.02, 0.99, 50) if abs(q - got) > 1e-4)


@pytest.mark.claim("prop-cross-entropy")
@pytest.mark.parametrize(
    ("board", "p"), [(CASINO, P), (OWN, 0.3), (OWN, 0.7), ((30, 60, 1500), 0.45), ((30, 130, 200), 1e-4)], ids=str
)
def test_cross_entropy_tilt_of_large_boards(board, p):
    """(1 + d/E[n | won])/2 with the law from integers in 50 digits, be P even 1e-400; .591896 for the casino."""
    got = importance_sampling.cross_entropy_tilt(game_of(board, p))
    want = (1 + (board[1] - board[0]) / mean_plays(board, p)) / 2
    mistakes = {
        words: wrong for words, wrong in mistakes_in_tilt(board, p, want).items() if "cross-entropy" not in words
    }
    assert_close(got, want, rtol=SHARP, what=f"cross_entropy_tilt of {board}, p = {p}", mistakes=mistakes)
    if board == CASINO:
        assert_close(got, 0.59189605126416, rtol=1e-10, what="cross_entropy_tilt(Game())")


# Plans


@boards
def test_ideal_tilts_are_those_of_fractions(board):
    """p h(t+1, x+1)/h(t, x) in fractions; p where nothing is left to decide; 1 just where only winning can win."""
    p = Fraction(2, 5)
    h, want = winning_table(board, p), perfect(board, p)
    got = importance_sampling.ideal_tilts(game_of(board, float(p)))
    assert not np.isnan(got).any(), "ideal_tilts has NaN: is it 0/0 where the game is over or hopeless? There it is p"

    def table(f):
        rows = [[p] * (board[1] + 1) for _ in range(board[2])]
        for t, x in itertools.product(range(board[2]), range(1, board[1])):
            if h[t][x]:
                rows[t][x] = f(t, x)
        return plain(rows)

    endless = [Fraction(0)]
    for x in range(board[1]):
        endless.append(endless[-1] + ((1 - p) / p) ** x)
    mistakes = {
        "is it h(t, x+1), the same round, where h(t+1, x+1) belongs?": table(lambda t, x: p * h[t][x + 1] / h[t][x]),
        "is the factor p missing?": table(lambda t, x: h[t + 1][x + 1] / h[t][x]),
        "is this h without a last play?": table(lambda t, x: p * endless[x + 1] / endless[x]),
        "is this the tilt for losing, one minus what it should be?": table(lambda t, x: 1 - want[t][x]),
        "is it only the ratio of chances up and down, without p and 1−p?": table(
            lambda t, x: h[t + 1][x + 1] / (h[t + 1][x + 1] + h[t + 1][x - 1])
        ),
    }
    mistakes = {words: wrong for words, wrong in mistakes.items() if not np.allclose(wrong, plain(want))}
    assert_close(got, plain(want), rtol=SHARP, what=f"ideal_tilts of {board}", mistakes=mistakes)
    for t, x in itertools.product(range(board[2]), range(1, board[1])):
        if h[t][x]:
            certain = not h[t + 1][x - 1]
            says = f"ideal_tilts at capital {x} after {t} plays is {got[t, x]!r}"
            right = 1 - 1e-12 <= got[t, x] <= 1 if certain else got[t, x] < 1
            assert right, f"{says}: it is 1 just where only winning this play can win the game"


def test_ideal_tilts_where_there_is_no_way_to_win():
    """Far from a goal out of reach, and on a board of 0 and the goal alone, nothing is to decide: p."""
    for board in [(1, 9, 3), (0, 1, 3), (1, 1, 3)]:
        want = plain(perfect(board, Fraction(3, 8)))
        got = importance_sampling.ideal_tilts(game_of(board, 0.375))
        assert_close(got, want, rtol=SHARP, what=f"ideal_tilts of {board}")


def test_ideal_tilts_of_the_casino():
    """Against the ratio of h in 50 digits, also where h is tiny or all but 1; of ours the shape and the variance."""
    for board, p in [(OWN, 0.3), ((3, 6, 9), 1e-120), ((2, 5, 9), 1 - 1e-14)]:
        got = importance_sampling.ideal_tilts(game_of(board, p))
        want = perfect(board, MP.mpf(p))
        assert_close(got, plain(want), rtol=1e-9, what=f"ideal_tilts of {board}, p = {p}")
        # a way that is open with a probability of 1e-120 is open: no tilt there may be rounded to 1
        h = winning_table(board, MP.mpf(p))
        rounded = [
            (t, x) for t in range(board[2]) for x in range(1, board[1]) if got[t, x] >= 1 and h[t + 1][x - 1] > 0
        ]
        says = f"ideal_tilts of {board}, p = {p}, at (t, x) = {rounded[:1]} is 1, where a loss would not be the end"
        assert not rounded, f"{says}: rounding has closed a way to win"
    tilts = importance_sampling.ideal_tilts(importance_sampling.Game())
    assert tilts.shape == (600, 201), f"ideal_tilts has shape {tilts.shape}, should be (K, goal + 1) = (600, 201)"
    assert np.all((tilts > 0) & (tilts <= 1)), "ideal_tilts should lie in (0, 1]"
    left = importance_sampling.plan_relative_variance(importance_sampling.Game(), tilts)
    # 600 roundings of the plan, each of which moves the variance by its square, and as many of the variance
    assert_close(left, 0.0, atol=1e-10, what="plan_relative_variance of the casino's ideal plan")


@pytest.mark.claim("thm-doob")
@boards
def test_ideal_tilts_win_every_time_with_the_weight_p(board):
    """Over all paths the plan's probability is 0 for a lost one, and p(ω)/P for a won one, so that its weight is P."""
    p = 0.4
    exact = probability(board, p)
    plan = importance_sampling.ideal_tilts(game_of(board, p)).tolist()
    total = 0
    for steps, capital in stopped_paths(board):
        got = planned(steps, board, plan)
        total += got
        if capital == board[1]:
            what = f"the plan's probability of the won path {steps} on {board}"
            assert_close(got, chance(steps, p) / exact, rtol=SHARP, what=what)
        else:
            assert got < 1e-12, f"the plan loses by {steps} on {board} with probability {got}: it should never lose"
    assert_close(total, 1.0, rtol=SHARP, what="the sum over all paths")


@pytest.mark.claim("thm-doob", kind="symbolic")
def test_ideal_tilts_are_the_only_ones_without_variance():
    """s = 1, g = 3, K = 4 by sympy: the variance over all four tilts that matter is 0 only at 1, 1/(1+u), 1, 1."""
    p, a, b, c, d = sympy.symbols("p a b c d", positive=True)
    u = p * (1 - p)
    # the two ways: up up; up down up up. Given their laws α and β ≤ 1 − α the mean square is p⁴/α + p⁶(1−p)²/β
    ways = {p**2: a * b, p**3 * (1 - p): a * (1 - b) * c * d}
    exact = sum(ways)
    square = sum(weight**2 / law for weight, law in ways.items())
    best = {a: 1, b: 1 / (1 + u), c: 1, d: 1}
    assert sympy.simplify(square.subs(best) - exact**2) == 0
    # Cauchy and Schwarz: (α + β)(Σ x²/α) − (Σ x)² = (x₁β − x₂α)²/(αβ), and α + β ≤ 1
    (x, alpha), (y, beta) = ways.items()
    assert sympy.simplify((alpha + beta) * square - exact**2 - (x * beta - y * alpha) ** 2 / (alpha * beta)) == 0
    tilts = importance_sampling.ideal_tilts(game_of((1, 3, 4), 0.4))
    want = [1.0, float(1 / (1 + u.subs(p, sympy.Rational(2, 5)))), 1.0, 1.0]
    assert_close([tilts[0, 1], tilts[1, 2], tilts[2, 1], tilts[3, 2]], want, rtol=SHARP, what="the four tilts")


@pytest.mark.claim("thm-doob")
@boards
def test_plan_relative_variance_is_nothing_for_the_ideal_plan_alone(rng, board):
    """0 for the plan of fractions; moved at a place that is reached and has a choice, it is positive."""
    p = Fraction(2, 5)
    want, h = perfect(board, p), winning_table(board, p)
    game = game_of(board, float(p))
    what = f"plan_relative_variance of the ideal plan of {board}"
    got = importance_sampling.plan_relative_variance(game, plain(want))
    assert_close(got, 0.0, atol=1e-12, what=what)
    assert got >= 0, f"{what} is {got}: a variance is never negative"
    assert_close(importance_sampling.plan_relative_variance(game, importance_sampling.ideal_tilts(game)), 0, atol=1e-12)
    reached = set()
    for steps in won_paths(board):
        capital = board[0]
        for t, step in enumerate(steps):
            reached.add((t, capital))
            capital += step
    for t, x in reached:
        plan = plain(want)
        plan[t, x] *= 0.9
        assert importance_sampling.plan_relative_variance(game, plan) > 1e-4, (t, x, h[t][x])


@pytest.mark.claim("thm-doob")
@pytest.mark.parametrize(("board", "p"), [((2, 5, 9), 0.4), (OWN, 0.3), (CASINO, P)], ids=str)
def test_follow_the_ideal_plan_and_win(rng, board, p):
    """Every game is won, with a log weight of log P: the estimate has no error at all."""
    game = game_of(board, p)
    capitals, log_weight = importance_sampling.follow(rng, game, 20, importance_sampling.ideal_tilts(game))
    lost = int(np.sum(capitals[:, -1] != board[1]))
    assert not lost, f"{lost} of 20 games under the ideal plan of {board} are lost"
    want = float(MP.log(moments(board, p, p)[0]))
    assert_close(log_weight, np.full(20, want), rtol=1e-9, what="the log weights under the ideal plan, log P")


@pytest.mark.claim("prop-plan")
@boards
def test_plan_relative_variance_is_that_over_all_paths(rng, board):
    """E[w²]/P² − 1 over all paths, for plans at random, one with extreme tilts; the weights' mean is P."""
    p = 0.4
    exact = probability(board, p)
    for plan in (some_plan(rng, board), some_plan(rng, board) ** 6):
        laws = {steps: planned(steps, board, plan) for steps in won_paths(board)}
        weights = {steps: chance(steps, p) / law for steps, law in laws.items()}
        assert_close(sum(law * weights[steps] for steps, law in laws.items()), exact, what="E[w 1{won}] under a plan")
        square = sum(law * weights[steps] ** 2 for steps, law in laws.items())
        mistakes = {
            "is this the second moment, from which 1 must be taken?": square / exact**2,
            "is it p for p²/q, which gives 1/P − 1 under any plan?": 1 / exact - 1,
        }
        reversed_ = {steps: planned(steps, board, plan[::-1]) for steps in won_paths(board)}
        backwards = sum(chance(steps, p) ** 2 / law for steps, law in reversed_.items()) / exact**2 - 1
        mistakes["is the plan read backwards in time?"] = backwards
        mistakes = {words: wrong for words, wrong in mistakes.items() if not np.isclose(wrong, square / exact**2 - 1)}
        got = importance_sampling.plan_relative_variance(game_of(board, p), plan)
        what = f"plan_relative_variance of a random plan on {board}"
        # the random tilts are of all sizes, down to 0.2⁶: no more than a rounding of the second moment is lost
        assert_close(got, square / exact**2 - 1, rtol=SHARP, atol=1e-11, what=what, mistakes=mistakes)


@pytest.mark.claim("prop-plan")
@pytest.mark.parametrize(
    ("board", "p"), [(CASINO, P), (OWN, 0.3), ((2, 5, 9), 0.6), ((3, 6, 9), 1e-120), ((30, 130, 200), 1e-4)], ids=str
)
def test_plan_relative_variance_of_a_constant_plan(board, p):
    """With the same tilt everywhere it is Σ a(n)(p²/q)ʲ((1−p)²/(1−q))ˡ/P² − 1, from integers."""
    for q in (0.5, 0.588, 0.65):
        plan = np.full((board[2], board[1] + 1), q)
        got = importance_sampling.plan_relative_variance(game_of(board, p), plan)
        assert_close(
            got, relative(board, p, q), rtol=1e-9, what=f"plan_relative_variance of {board}, tilt {q} everywhere"
        )


@boards
def test_follow_keeps_the_rules_and_the_books(rng, board):
    """Each of 3,000 walks goes by ones, stops at 0 and the goal, and has the weight of its own plays under the plan."""
    p, plan = 0.4, some_plan(rng, board)
    capitals, log_weight = importance_sampling.follow(rng, game_of(board, p), 3_000, plan)
    capitals = np.asarray(capitals)
    shape = (3_000, board[2] + 1)
    assert capitals.shape == shape, f"capitals have shape {capitals.shape}, should have (n, K + 1) = {shape}"
    assert np.all(capitals[:, 0] == board[0]), "the first capital is not the start"
    before, steps = capitals[:, :-1], np.diff(capitals, axis=1)
    over = (before == 0) | (before == board[1])
    assert np.all(steps[over] == 0), "a game went on after its end: at 0 and at the goal the capital stays"
    assert np.all(np.abs(steps[~over]) == 1), "a play moves the capital by one"
    q = plan[np.arange(board[2]), before]
    log_ratio = np.where(steps > 0, np.log(p / q), np.log((1 - p) / (1 - q))) * ~over
    won = capitals[:, -1] == board[1]
    assert won.any(), "no game of 3,000 was won"
    idle = np.where(steps >= 0, np.log(p / q), np.log((1 - p) / (1 - q)))
    total = log_ratio.sum(axis=1)
    mistakes = {
        "is the weight upside down?": np.where(won, -total, -np.inf)[won],
        "is the factor (1−p)/(1−q) of lost plays missing?": np.where(steps > 0, log_ratio, 0).sum(axis=1)[won],
        "do idle plays count after the end?": idle.sum(axis=1)[won],
        "is the log missing?": np.exp(total)[won],
        "is the tilt looked up at the capital after the play, not before?": (
            np.where(
                steps > 0,
                np.log(p / plan[np.arange(board[2]), capitals[:, 1:]]),
                np.log((1 - p) / (1 - plan[np.arange(board[2]), capitals[:, 1:]])),
            )
            * ~over
        ).sum(axis=1)[won],
        "is the tilt looked up by the capital alone, in the first row?": (
            np.where(steps > 0, np.log(p / plan[0, before]), np.log((1 - p) / (1 - plan[0, before]))) * ~over
        ).sum(axis=1)[won],
    }
    got = np.asarray(log_weight)[won]
    # sums of logs that nearly cancel are as exact as their terms, of size 1
    assert_close(got, total[won], rtol=SHARP, atol=1e-12, what="the log weights of won games", mistakes=mistakes)
    assert np.all(np.asarray(log_weight)[~won] == -np.inf), "the log weight of a lost game should be −∞"


@boards
def test_follow_deals_by_the_plan(rng, board):
    """The paths of 8,000 games under a random plan are as frequent as the products of their tilts."""
    plan = np.round(some_plan(rng, board), 2)
    law = {steps: float(planned(steps, board, plan)) for steps, _ in stopped_paths(board)}
    capitals, _ = importance_sampling.follow(rng, game_of(board, 0.4), 8_000, plan)
    counts = Counter(tuple(step for step in row if step) for row in np.diff(capitals, axis=1).tolist())
    assert_law(counts, law, detects=0.15)


def test_follow_makes_games_independent_of_each_other(rng):
    """Two neighbours win their first play together as often as independent ones do."""
    plan = np.full((10, 5), 0.5)
    first = importance_sampling.follow(rng, game_of((2, 4, 10)), 8_000, plan).capitals[:, 1] == 3
    one, other = first[::2], first[1::2]
    counts = [int(np.sum((one == a) & (other == b))) for a, b in itertools.product([True, False], repeat=2)]
    assert counts[1] + counts[2], "all games go the same way: one random number decided for all of them"
    assert_frequencies(counts, [0.25] * 4, detects=0.15)


def test_follow_deals_every_game_by_itself(rng):
    """Of 8 games of one fair play, 2,000 times: the number won is binomial, not closer to 4 than chance has it."""
    game, plan = game_of((1, 2, 1)), np.full((1, 3), 0.5)
    wins = [int(np.sum(importance_sampling.follow(rng, game, 8, plan).capitals[:, -1] == 2)) for _ in range(2_000)]
    assert_law(Counter(wins), {k: float(stats.binom.pmf(k, 8, 0.5)) for k in range(9)}, detects=0.25)


@pytest.mark.claim("prop-plan")
def test_follow_gives_unbiased_weights(rng):
    """On 10,000 games under a random plan, mean and mean square of w/P are 1 and 1 + plan_relative_variance."""
    board, p = (2, 5, 9), 0.4
    plan = rng.uniform(0.4, 0.7, (9, 6))
    exact = probability(board, p)
    square = 1 + importance_sampling.plan_relative_variance(game_of(board, p), plan)
    w = np.exp(importance_sampling.follow(rng, game_of(board, p), 10_000, plan).log_weight) / exact
    assert_unbiased(np.column_stack([w, w**2]), [1.0, square], detects=[0.3, 2.5])


@pytest.mark.parametrize("kind", ["locked", "fortran", "strided", "float32"])
def test_plans_of_every_kind_of_array(kind):
    """Read-only, transposed in memory, every other column, float32, changed since: follow and the variance see q."""
    board, p = (2, 5, 9), 0.4
    tilts = np.random.default_rng(5).integers(2, 8, (9, 6)) / 8
    given = {
        "locked": tilts.copy(),
        "fortran": np.asfortranarray(tilts),
        "strided": np.repeat(tilts, 2, axis=1)[:, ::2],
        "float32": tilts.astype(np.float32),  # eighths, which it holds exactly
    }[kind]
    given.flags.writeable = False
    game, exact = game_of(board, p), probability(board, p)
    square = sum(chance(s, p) ** 2 / planned(s, board, tilts) for s in won_paths(board))
    got = importance_sampling.plan_relative_variance(game, given)
    assert_close(got, square / exact**2 - 1, rtol=SHARP, what=f"plan_relative_variance, {kind}")
    runs = [importance_sampling.follow(np.random.default_rng(1), game, 30, plan) for plan in (given, tilts)]
    assert_close(runs[0].log_weight, runs[1].log_weight, rtol=SHARP, atol=1e-12, what=f"follow with a {kind} plan")
    given = tilts.copy()
    given[:, [0, -1]] = 0.9
    kept = given.copy()
    importance_sampling.plan_relative_variance(game, given)
    importance_sampling.follow(np.random.default_rng(1), game, 30, given)
    assert np.array_equal(given, kept), "the plan was changed: it is the caller's"
    given[:] = 0.5
    want = float(second_moment(board, p, 0.5, stopped=True) / exact**2 - 1)
    got = importance_sampling.plan_relative_variance(game, given)
    assert_close(got, want, rtol=SHARP, what="plan_relative_variance of a plan changed since the last call")


def test_follow_of_games_that_are_over_or_certain(rng):
    """At 0 and the goal nothing happens; a plan of ones, as integers, is obeyed."""
    for start, want in {0: -np.inf, 3: 0.0}.items():
        capitals, log_weight = importance_sampling.follow(rng, game_of((start, 3, 5)), 4, np.full((5, 4), 0.5))
        assert_close(capitals, np.full((4, 6), start), what=f"capitals of games that start at {start}")
        assert_close(log_weight, np.full(4, want), what=f"log weights of games that start at {start}")
    capitals, log_weight = importance_sampling.follow(rng, game_of((1, 2, 1), 0.4), 4, np.ones((1, 3), dtype=int))
    assert_close(capitals, np.tile([1, 2], (4, 1)), what="capitals where the only play is won")
    assert_close(log_weight, np.full(4, np.log(0.4)), what="log weights where the only play is won")


# What the sample says


@pytest.mark.claim("prop-effective")
def test_effective_sample_size_is_the_standard_error_in_another_unit(rng):
    """n/ESS = 1 + (n−1)(SE/w̄)² to rounding, for random weights of all kinds, some of them zero."""
    for n in (2, 3, 50, 1000):
        weights = rng.exponential(size=n) ** rng.integers(1, 5) * (rng.random(n) < 0.7)
        weights[0] = 0.3
        value, error = estimate.mean_of(weights)
        with np.errstate(divide="ignore"):
            size = estimate.effective_sample_size(np.log(weights))
        assert_close(n / size, 1 + (n - 1) * (error / value) ** 2, rtol=SHARP, what=f"{n}/ESS")


@pytest.mark.claim("prop-effective")
def test_log_weights_have_the_effective_size_of_their_relative_variance(rng):
    """ESS/n is the ratio a²/b of two means, which tend to P and P²(1+ρ²): of 20,000 games, both within 10 %."""
    board, p, tilt = (2, 5, 9), 0.45, 0.6
    exact = float(probability(board, p))
    log_w = importance_sampling.log_weights(rng, game_of(board, p), 20_000, tilt)
    limit = 1 + importance_sampling.relative_variance(game_of(board, p), tilt)
    w = np.exp(log_w) / exact
    assert_unbiased(np.column_stack([w, w**2 / limit]), [1.0, 1.0], detects=0.1)
    size = estimate.effective_sample_size(log_w) / 20_000
    assert_close(size, w.mean() ** 2 / np.mean(w**2), rtol=1e-9, what="ESS/n")
    # both means within 10 % of 1 leave their ratio a²/b within 35 %
    assert_close(size, 1 / limit, rtol=0.35, what="ESS/n against 1/(1 + ρ²)")


# Randomness


def draws(rng):
    """One call of each function that draws."""
    game = game_of((2, 5, 9), 0.45)
    plan = np.full((9, 6), 0.55)
    return {
        "play": lambda: np.concatenate(importance_sampling.play(rng, game, 50, 0.55)),
        "log_weights": lambda: importance_sampling.log_weights(rng, game, 50, 0.55),
        "estimate": lambda: np.array(importance_sampling.estimate(rng, game_of(OWN), 50, 0.6, stopped=False)),
        "follow": lambda: importance_sampling.follow(rng, game, 50, plan).capitals,
    }


@pytest.mark.parametrize("name", ["play", "log_weights", "estimate", "follow"])
def test_draws_come_from_the_generator_alone(name):
    """The same seed gives the same, another seed and the next call something else; the global state is untouched."""
    old = np.random.get_state(legacy=True)  # noqa: NPY002
    generator = np.random.default_rng(1)
    first, following = draws(generator)[name](), draws(generator)[name]()
    again, other = draws(np.random.default_rng(1))[name](), draws(np.random.default_rng(2))[name]()
    assert np.array_equal(first, again), f"{name}: the same seed gave something else; does it draw from elsewhere?"
    assert not np.array_equal(first, other), f"{name}: another seed gave the same; is the seed set inside?"
    assert not np.array_equal(first, following), f"{name}: the next call gave the same; is the stream begun anew?"
    new = np.random.get_state(legacy=True)  # noqa: NPY002
    same = np.array_equal(old[1], new[1]) and old[2:] == new[2:]
    assert same, f"{name} uses NumPy's global random state: draw from rng"


def test_one_game_is_a_sample_too(rng):
    """n = 1 for everything that draws but the estimate, which needs two for its error."""
    game = game_of((2, 5, 9), 0.45)
    assert importance_sampling.play(rng, game, 1, 0.5).plays.shape == (1,)
    assert importance_sampling.log_weights(rng, game, 1, 0.5, stopped=False).shape == (1,)
    capitals, log_weight = importance_sampling.follow(rng, game_of((4, 5, 9), 0.45), 1, np.full((9, 6), 0.9))
    assert capitals.shape == (1, 10), f"capitals of one game have shape {capitals.shape}, should be (1, K + 1)"
    steps = np.diff(capitals[0])
    want = np.sum(steps == 1) * math.log(0.45 / 0.9) + np.sum(steps == -1) * math.log(0.55 / 0.1)
    want = want if capitals[0, -1] == 5 else -math.inf
    assert_close(log_weight, [want], rtol=SHARP, atol=1e-12, what="the log weight of one game")
    value, error = importance_sampling.estimate(rng, game, 2, 0.5)
    assert math.isfinite(value)
    assert math.isfinite(error)


# Bad input


BAD_TILTS = [0.0, 1.0, -0.2, 1.2, math.nan]
BAD_COUNTS = [0, -1, 2.5, True]


@pytest.mark.parametrize("name", ["play", "log_weights", "estimate"])
def test_games_refuse_bad_tilts_and_numbers_of_games(rng, name):
    """A tilt must lie strictly between 0 and 1, and n be a positive integer, two at least for an estimate."""
    function, game = getattr(importance_sampling, name), game_of((2, 5, 9))
    for tilt in BAD_TILTS:
        assert_refused(function, rng, game, 10, tilt, argument="tilt", value=tilt)
    for n in BAD_COUNTS:
        assert_refused(function, rng, game, n, 0.5, argument="n", value=n)
    if name == "estimate":
        assert_refused(function, rng, game, 1, 0.5, argument="n", value=1)


@pytest.mark.parametrize("name", ["log_second_moment", "relative_variance"])
def test_moments_refuse_bad_tilts_and_games_without_a_way_to_win(name):
    """A tilt outside (0, 1), alone or in an array; a start at 0; a goal out of reach."""
    function = getattr(importance_sampling, name)
    for stopped in (True, False):
        for tilt in BAD_TILTS:
            assert_refused(function, game_of((2, 5, 9)), tilt, stopped, argument="tilt", value=tilt)
            assert_refused(function, game_of((2, 5, 9)), np.array([0.5, tilt]), stopped, argument="tilt", value=tilt)
        assert_refused(function, game_of((0, 5, 9)), 0.5, stopped, argument="start", value=0)
        assert_refused(function, game_of((100, 200, 99)), 0.5, stopped, argument="max_rounds", value=99)


@pytest.mark.parametrize(
    ("name", "options", "spare"),
    [("best_tilt", {}, 2), ("best_tilt", {"stopped": False}, 1), ("cross_entropy_tilt", {}, 2)],
    ids=["best_tilt", "best_tilt-full", "cross_entropy_tilt"],
)
def test_best_tilts_refuse_games_without_one(name, options, spare):
    """Where there is no way to win, nothing to win, or none but straight wins, no tilt in (0, 1) is the best."""
    function = getattr(importance_sampling, name)
    assert_refused(function, game_of((0, 5, 9)), **options, argument="start", value=0)
    assert_refused(function, game_of((5, 5, 9)), **options, argument="start", value=5)
    for rounds in range(2, 3 + spare):
        assert_refused(function, game_of((2, 5, rounds)), **options, argument="max_rounds", value=rounds)
    assert 0.5 < function(game_of((2, 5, 3 + spare), 0.45), **options) < 1
    if spare == 2:
        assert_refused(function, game_of((1, 2, 9)), **options, argument="goal", value=2)


@pytest.mark.parametrize("name", ["follow", "plan_relative_variance"])
def test_plans_refuse_bad_tilts(name):
    """Another shape, entries outside [0, 1] or NaN, and a 0 or 1 that closes a way to win."""
    board, p = (1, 3, 4), 0.4

    def call(tilts):
        drawing = (np.random.default_rng(0), game_of(board, p), 5)
        return (*drawing, tilts) if name == "follow" else (game_of(board, p), tilts)

    function = getattr(importance_sampling, name)
    for shape in [(4, 3), (5, 4), (4, 4, 1), (4,)]:
        assert_refused(function, *call(np.full(shape, 0.5)), argument="tilts", value=shape)
    for bad in (-0.1, 1.2, math.nan):
        tilts = np.full((4, 4), 0.5)
        tilts[1, 2] = bad
        assert_refused(function, *call(tilts), argument="tilts", value=bad)
    for t, x, bad in [(0, 1, 0.0), (1, 2, 0.0), (1, 2, 1.0), (3, 2, 0.0)]:
        tilts = np.full((4, 4), 0.5)
        tilts[t, x] = bad
        assert_refused(function, *call(tilts), argument="tilts", value=bad)
    open_ways = plain(perfect(board, Fraction(2, 5)))  # ones where only winning will do
    function(*call(open_ways))
    tilts = np.full((4, 4), 0.5)
    tilts[:, [0, 3]] = 0.0  # where the game is over
    tilts[3, 1] = 0.0  # where it cannot be won any more
    function(*call(tilts))


def test_follow_refuses_numbers_of_games_that_are_none(rng):
    """n must be a positive integer."""
    for n in BAD_COUNTS:
        assert_refused(
            importance_sampling.follow, rng, game_of((1, 3, 4)), n, np.full((4, 4), 0.5), argument="n", value=n
        )


def test_plan_relative_variance_of_a_game_that_is_won_before_it_begins():
    """At the goal the weight is 1, whatever the plan: the variance is 0."""
    got = importance_sampling.plan_relative_variance(game_of((3, 3, 5)), np.full((5, 4), 0.3))
    assert_close(got, 0.0, atol=1e-12, what="plan_relative_variance of a game that starts at its goal")


def test_plan_relative_variance_refuses_games_without_a_way_to_win():
    """A start at 0, and a goal out of reach."""
    for board, argument, value in [((0, 3, 4), "start", 0), ((1, 9, 4), "max_rounds", 4)]:
        plan = np.full((board[2], board[1] + 1), 0.5)
        assert_refused(importance_sampling.plan_relative_variance, game_of(board), plan, argument=argument, value=value)
