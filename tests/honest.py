"""Statistical assertions that say how often they err, and what they would catch.

A test that draws random numbers is sometimes wrong. Each assertion here states how often it rejects a right answer
(`false_alarm`) and which error (`detects`) it catches with probability `power`; where the samples are too few for
that it fails too, and says how many it takes. The threshold follows from these rates and never from a run.

On `hints`, `{"what went wrong": the value this mistake would give}`: a failure that agrees with one of them says so.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import special, stats


class Performed(NamedTuple):
    """One assertion as it was made: what it compared, how often it errs, and what it catches, for the ledger."""

    what: str
    false_alarm: float
    power: float
    detects: float
    effect: str


performed: list[Performed] = []


def assert_mean(samples, truth: float, *, detects, false_alarm=1e-6, power=0.99, hints: Mapping | None = None):
    """The samples (n,), independent and with a finite third moment, have mean `truth`; `detects` is absolute."""
    __tracebackhide__ = True
    test = _stated("mean", "an error of {} in the mean", detects, false_alarm, power, truth)
    _judge_means(test, _checked(samples, 1)[:, None], np.array([truth]), np.array([detects]), hints)


def assert_variance(samples, truth: float, *, detects, false_alarm=1e-6, power=0.99, hints: Mapping | None = None):
    """The samples (n,), with a finite sixth moment, have variance `truth`; `detects` is relative to it."""
    __tracebackhide__ = True
    if not truth > 0:
        raise ValueError(f"truth must be a positive variance, got {truth}")
    test = _stated("variance", "a relative error of {} in the variance", detects, false_alarm, power, truth)
    x = _checked(samples, 1)
    squares = (x - x.mean()) ** 2 * len(x) / max(len(x) - 1, 1)  # their mean is the unbiased variance
    _judge_means(test, squares[:, None], np.array([truth]), np.array([detects * truth]), hints)


def assert_unbiased(estimates, truth, *, detects, false_alarm=1e-6, power=0.99, hints: Mapping | None = None):
    """Independent estimates, the rows of (n, d), have mean `truth` in every coordinate, all at once (Bonferroni)."""
    __tracebackhide__ = True
    test = _stated("estimate", "an error of {} in a coordinate of the mean", detects, false_alarm, power, truth)
    rows = _checked(estimates, 2)
    try:
        truth, detects = (np.broadcast_to(np.asarray(value, float), rows.shape[1:]) for value in (truth, detects))
    except ValueError:
        message = f"estimates of shape {rows.shape} cannot be held against a truth of shape {np.shape(truth)}"
        raise AssertionError(message) from None
    _judge_means(test, rows, truth, detects, hints)


def assert_proportion(successes, n, probability, *, detects, false_alarm=1e-6, power=0.99, hints=None):
    """`successes` of `n` independent trials fit `probability` (exact binomial test); `detects` is absolute."""
    __tracebackhide__ = True
    test = _stated("proportion", "an error of {} in the probability", detects, false_alarm, power, probability)
    if not (0 <= successes <= n and int(successes) == successes and n >= 1):
        raise ValueError(f"successes must be a whole number from 0 to n = {n} >= 1, got {successes}")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must lie in [0, 1], got {probability}")
    wrong = [p for p in (probability - detects, probability + detects) if 0 <= p <= 1]
    if not wrong:
        raise ValueError(f"detects must leave a probability within [0, 1] of {probability}, got {detects}")

    def usual(n: int) -> tuple[float, float]:
        return stats.binom.ppf(false_alarm / 2, n, probability), stats.binom.isf(false_alarm / 2, n, probability)

    def enough(n: int) -> bool:
        low, high = usual(n)
        return all(stats.binom.cdf(low - 1, n, p) + stats.binom.sf(high, n, p) >= power for p in wrong)

    low, high = usual(n)
    if not low <= successes <= high:
        share, width = successes / n, math.sqrt(probability * (1 - probability) / n)
        away = abs(share - probability) / width if width else math.inf
        spread = max(math.sqrt(share * (1 - share) / n), 1 / n)
        found = f"{_pm(share, spread)} ({successes} of {n}), not {probability:g}: {away:.1f} standard errors away"
        usually = f"{low:.0f} to {high:.0f} successes"
        agrees = _agreeing(hints, lambda p: abs(share - p) < min(5 * spread, abs(share - probability)))
        raise AssertionError(_failure(test, found, usually, agrees))
    _afford(test, enough, n)


def assert_distribution(samples, cdf: Callable, *, detects, false_alarm=1e-6, power=0.99, hints=None):
    """The samples (n,) follow `cdf` (Dvoretzky-Kiefer-Wolfowitz-Massart); `detects` is a distance sup |F - G|.

    P(sup |Fₙ - F| > ε) ≤ 2 exp(-2nε²) for every n and F (Massart, 1990). Where G is the truth and differs from F by
    `detects` at x, Fₙ(x) falls short of G(x) by more than ε with probability at most exp(-2nε²) (Hoeffding, 1963).
    """
    __tracebackhide__ = True
    test = _stated("distribution", "a distance of {} between distribution functions", detects, false_alarm, power)
    x = np.sort(_checked(samples, 1))
    n = len(x)
    rejects, misses = math.sqrt(math.log(2 / false_alarm) / 2), math.sqrt(-math.log(1 - power) / 2)
    usual = rejects / math.sqrt(n)
    distance = _sup_distance(x, cdf)
    if distance > usual:
        found = f"a distance of {_pm(distance, 0.5 / math.sqrt(n))} from the stated one ({n} samples)"
        agrees = _agreeing(hints, lambda other: _sup_distance(x, other) < min(usual, distance))
        raise AssertionError(_failure(test, found, f"distances up to {usual:.3g}", agrees))
    _afford(test, lambda n: (rejects + misses) / math.sqrt(n) <= detects, n)


def assert_frequencies(counts, probabilities, *, detects, false_alarm=1e-6, power=0.99, hints=None):
    """The counts (k,) fit `probabilities` (Pearson's χ²); `detects` is Cohen's w = √(Σ (qᵢ - pᵢ)²/pᵢ).

    The tail of χ² is bent as `_quantile` says. No contrast of the counts is more skewed than 1/√(the smallest expected
    count), so where that count is small no threshold is honest, and the assertion asks for more samples.
    """
    __tracebackhide__ = True
    test = _stated("frequencies", "an effect of w = {} in the frequencies", detects, false_alarm, power, probabilities)
    p, counts = np.asarray(probabilities, float), _checked(counts, 1)
    if p.ndim != 1 or (p < 0).any() or abs(p.sum() - 1) > 1e-9 or np.count_nonzero(p) < 2:
        raise ValueError(f"probabilities must be at least two, not negative, and sum to 1, got {probabilities}")
    if counts.shape != p.shape or (counts < 0).any() or (counts != np.round(counts)).any() or not counts.sum():
        raise AssertionError(f"counts must be {len(p)} whole numbers, not negative and not all 0, got {counts}")
    n, freedom = int(counts.sum()), np.count_nonzero(p) - 1

    def usual(n: int) -> float:
        bend = 1 / (6 * math.sqrt(n * p[p > 0].min()))
        return _quantile(lambda x: special.chdtrc(freedom, x**2), bend, false_alarm, math.sqrt(freedom) + 40) ** 2

    def enough(n: int) -> bool:
        return math.isfinite(usual(n)) and stats.ncx2.sf(usual(n), freedom, n * detects**2) >= power

    if not (statistic := _pearson(counts, p)) <= (limit := usual(n)):
        errors = np.sqrt(np.maximum(counts * (1 - counts / n), 1)) / n
        i = int(np.argmax(np.abs(counts / n - p) / errors))
        away = abs(counts[i] / n - p[i]) / errors[i]
        found = f"χ² = {statistic:.4g} on {freedom} degrees of freedom; the furthest is number {i}, with frequency "
        found += f"{_pm(counts[i] / n, errors[i])}, not {p[i]:.4g}: {away:.1f} standard errors away"
        agrees = _agreeing(hints, lambda q: _pearson(counts, np.asarray(q, float)) < min(limit, statistic))
        raise AssertionError(_failure(test, found, f"χ² up to {limit:.4g}", agrees))
    _afford(test, enough, n, f" (the smallest expected count is {n * p[p > 0].min():.3g})")


def _stated(what: str, effect: str, detects, false_alarm: float, power: float, truth=0.0) -> Performed:
    """Check what the author of a test has stated, and enter it in the ledger."""
    for name, rate in {"false_alarm": false_alarm, "power": power}.items():
        if not 0 < rate < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {rate}")
    sizes = np.asarray(detects, float)
    if not (sizes.size and np.isfinite(sizes).all() and (sizes > 0).all()):
        raise ValueError(f"detects must be positive and finite, got {detects}")
    if not np.isfinite(np.asarray(truth, float)).all():
        raise ValueError(f"the truth must be finite, got {truth}")
    extremes = dict.fromkeys(f"{size:g}" for size in (sizes.min(), sizes.max()))
    performed.append(Performed(what, false_alarm, power, float(sizes.max()), effect.format(" to ".join(extremes))))
    return performed[-1]


def _checked(samples, dimensions: int) -> np.ndarray:
    """The samples as floats, if there are any, of the right number of dimensions, all finite."""
    x = np.asarray(samples.detach().cpu() if hasattr(samples, "detach") else samples, float)
    if x.ndim != dimensions or not x.size:
        raise AssertionError(f"samples must be a non-empty array of {dimensions} dimension(s), got shape {x.shape}")
    if bad := int(np.count_nonzero(~np.isfinite(x))):
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise AssertionError(f"{bad} of {x.size} samples are not finite, the first at {first}: {x[first]}")
    return x


def _quantile(tail: Callable, bend: float, probability: float, top: float) -> float:
    """The first x up to `top` with  tail(x) exp(bend x³) ≤ probability;  infinite where there is none.

    The factor is what skewness does to a tail that would be normal (Cramér, 1938; for self-normalised sums: Jing, Shao
    and Wang, 2003). Once it outruns the tail, the samples are too few for any threshold to be honest.
    """
    low, high = 0.0, top
    for _ in range(2):  # two grids, the second within a step of the first; what is returned errs upwards
        x = np.linspace(low, high, 200)
        small = np.log(np.maximum(tail(x), 1e-300)) + bend * x**3 <= math.log(probability)
        if not small.any():
            return math.inf
        first = int(np.argmax(small))
        low, high = x[max(first - 1, 0)], x[first]
    return float(high)


def _t_quantile(n: int, skewness: float, probability: float) -> float:
    """How many standard errors the mean of n samples exceeds with at most this probability, on its heavier side.

    Sₙ/Vₙ = t √(n/(n - 1 + t²)) has tail (1 - Φ(x)) exp(|γ| x³/(3√n)) (Jing, Shao and Wang, 2003); Φ gives way to
    Student's law, which is exact for normal samples.
    """

    def t(x):
        return x * np.sqrt((n - 1) / (n - x**2))

    bend = abs(skewness) / (3 * math.sqrt(n))
    x = _quantile(lambda x: special.stdtr(n - 1, -t(x)), bend, probability, min(math.sqrt(n) * (1 - 1e-9), 40))
    return float(t(x)) if math.isfinite(x) else math.inf


def _judge_means(test: Performed, rows: np.ndarray, truth: np.ndarray, detects: np.ndarray, hints: Mapping | None):
    """Hold the mean of each column of (n, d) against the truth, each at a d-th of the false-alarm rate."""
    __tracebackhide__ = True
    n, d = rows.shape
    mean, centred = rows.mean(0), rows - rows.mean(0)
    std = np.sqrt((centred**2).sum(0) / max(n - 1, 1))
    error = np.hypot(std / math.sqrt(n), 1e-15 * np.abs(rows).max(0))  # no mean is known better than it is rounded
    error = np.maximum(error, 1e-100)
    skewness = (centred**3).mean(0) / np.maximum(std, 1e-100) ** 3 if n > 1 else np.zeros(d)
    away = np.abs(mean - truth) / error
    rate = test.false_alarm / (2 * d)
    limit = np.array([_t_quantile(n, g, rate) for g in skewness])
    if (away > limit).any():
        i = int(np.argmax(away / limit))
        where = f" in coordinate {i}" if d > 1 else ""
        found = f"{_pm(mean[i], error[i])}{where} ({n} samples), not {truth[i]:.6g}: {away[i]:.1f} standard errors away"

        def near(value) -> bool:
            off = np.abs(mean - value) / error
            return bool((off < 5).all() and np.square(off).sum() < np.square(away).sum())

        agrees = _agreeing(hints, near)
        raise AssertionError(_failure(test, found, f"errors up to {limit[i]:.2f} standard errors", agrees))
    for g, s, size in zip(skewness, error * math.sqrt(n), detects, strict=True):

        def enough(n: int, g=g, s=s, size=size) -> bool:
            return (_t_quantile(n, g, rate) + _t_quantile(n, g, 1 - test.power)) * s / math.sqrt(n) <= size

        _afford(test, enough, n, f" where they spread like these (standard deviation {s:.3g}, skewness {g:.2g})")


def _afford(test: Performed, enough: Callable[[int], bool], n: int, why: str = ""):
    """Fail where n samples are not enough, and name a number that is, with a fifth to spare."""
    __tracebackhide__ = True
    if enough(n):
        return
    few, many = n, 2 * n
    while not enough(many) and many < 1e15:
        few, many = many, 2 * many
    while many - few > 1 + few // 100:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    raise AssertionError(
        f"{n} samples are too few to catch {test.effect} with probability {test.power:g} "
        f"at a false-alarm rate of {test.false_alarm:g}{why}: take {float(f'{1.2 * many:.2g}'):.0f}"
    )


def _sup_distance(x: np.ndarray, cdf: Callable) -> float:
    """sup |Fₙ - F| for sorted samples, from both sides of each, so that F may have jumps."""
    at, before = (np.asarray(cdf(points), float) for points in (x, np.nextafter(x, -np.inf)))
    if at.shape != x.shape or not ((at >= 0) & (at <= 1)).all():
        raise ValueError("cdf must return a probability for each sample")
    above, below = (np.searchsorted(x, x, side) / len(x) for side in ("right", "left"))
    return float(max((above - at).max(), (before - below).max()))


def _pearson(counts: np.ndarray, p: np.ndarray) -> float:
    """Σ (Nᵢ - n pᵢ)² / (n pᵢ), infinite where something impossible was counted."""
    if counts[p == 0].any():
        return math.inf
    expected = counts.sum() * p[p > 0]
    return float(np.sum((counts[p > 0] - expected) ** 2 / expected))


def _agreeing(hints: Mapping[str, Any] | None, agrees: Callable[[Any], bool]) -> list[str]:
    return [hint for hint, value in (hints or {}).items() if agrees(value)]


def _failure(test: Performed, found: str, usual: str, hints: list[str]) -> str:
    rates = f"A right answer gives {usual}, but for one run in {1 / test.false_alarm:.3g}"
    rates += f"; {test.effect} is caught with probability {test.power:g}."
    return "\n".join([f"{test.what}: {found}.", rates, *(f"Hint: {hint}." for hint in hints)])


def _pm(value: float, error: float) -> str:
    return f"{value:.6g} ± {error:.2g}"
