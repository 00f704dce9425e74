"""Maximum likelihood by sampling: a positive phase, a negative phase, and their price.

The model is the mixture of `mixtures`, taken as if its constant were unknown:
p(x) = p~(x) / Z  with  log p~(x) = log Σᵢ exp(−|x − μᵢ|²/2).  Its parameters are the
means, (k, d), and gᵢ(x) = rᵢ(x) (x − μᵢ) is the slope of log p~(x) in μᵢ, where rᵢ is
the probability of component i given x. The data push the means (the positive phase),
and draws from the model push back (the negative phase).
"""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from scipy import optimize, stats
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from solutions import checks, langevin, mixtures

# How many updates at the rate 1 a fit takes unless told: the first half to arrive from
# far, the second to be averaged.
UPDATES = 300
RUNAWAY = 1e100  # beyond it, a mean's square will not be a number for long

Phases = tuple[Real[ndarray, "m d"], Real[ndarray, "n d"]]
Starts = Real[ndarray, "n d"] | Callable[[np.random.Generator], ndarray] | None


class Match(NamedTuple):
    """The means in the order of the truth, and the length of all their errors."""

    means: Float[ndarray, "k d"]
    distance: float


class Fit(NamedTuple):
    """The average over the later half of a path, and the path, its start first."""

    means: Float[ndarray, "k d"]
    path: Float[ndarray, "steps_plus_1 k d"]


class Negatives:
    """What `direct`, `mcmc`, `cd` and `persistent` return: a function of (rng, data,
    means) that returns (positives, negatives), rows for the two phases of an update.

    Args:
        phases: (rng, data, means, last) ↦ (positives, negatives), where last are the
            negatives of the call before, None at first.
        updates: how many updates a fit takes at the rate 1, unless it is told.
    """

    def __init__(self, phases: Callable[..., Phases], updates: int = UPDATES):
        self.phases, self.updates, self.last = phases, updates, None

    def __call__(
        self,
        rng: np.random.Generator,
        data: Real[ndarray, "j d"],
        means: Real[ndarray, "k d"],
    ) -> Phases:
        """Rows for the positive and for the negative phase."""
        _check_columns(data, means=means)
        positives, self.last = self.phases(rng, data, means, self.last)
        return positives, self.last

    def fresh(self) -> "Negatives":
        """The same, without a memory."""
        return Negatives(self.phases, self.updates)


def mean_gradient(
    x: Real[ndarray, "n d"], means: Real[ndarray, "k d"]
) -> Float[ndarray, "k d"]:
    """Return  1/n Σⱼ rᵢ(xⱼ) (xⱼ − μᵢ),  the mean over x of the slope of log p~ in μᵢ.

    Here rᵢ(x) is the probability of component i given x, `mixtures.responsibilities`.

    Args:
        x: the points to be averaged over, a row each, at least one.
        means: where the gradient is taken.
    """
    checks.table(x=x)
    weights = mixtures.responsibilities(x, means)
    # the points stand along the last axis, where NumPy's loops are long
    away = np.asarray(x, float).T - np.asarray(means, float)[:, :, None]
    return np.matmul(away, weights.T[:, :, None])[:, :, 0] / len(weights)


def match(means: Real[ndarray, "k d"], truth: Real[ndarray, "k d"]) -> Match:
    """Return the means, relabelled by π, and the least  √(Σᵢ |μ_π(i) − truthᵢ|²).

    The order of the components means nothing; π is the best of all k! orders.

    Args:
        means: the means to be judged.
        truth: what they are held against, as many.

    Reference: Kuhn (1955), The Hungarian method for the assignment problem.
    """
    checks.table(means=means, truth=truth)
    checks.same_shape(means=means, truth=truth)
    means, truth = np.array(means, dtype=float), np.asarray(truth, dtype=float)
    costs = np.sum((truth[:, None, :] - means) ** 2, axis=2)
    order = linear_sum_assignment(costs)[1]
    return Match(means[order], float(np.linalg.norm(means[order] - truth)))


def fit(
    rng: np.random.Generator,
    data: Real[ndarray, "j d"],
    start: Real[ndarray, "k d"],
    negatives: Callable[..., Phases],
    *,
    rate: float = 1.0,
    steps: int | None = None,
) -> Fit:
    """Climb by  μ ← μ + η (mean_gradient(positives) − mean_gradient(negatives)).

    The steps do not shrink, so the last iterate wanders for ever; the average over the
    later half of the path is what converges. A fit begins without a memory: chains that
    persist do so from update to update, not from fit to fit.

    Args:
        rng: the source of randomness, handed on to the negatives.
        data: the observations, a row each.
        start: where the means begin.
        negatives: `direct(n)` or one of its kin, or any function (rng, data, means) ↦
            (positives, negatives).
        rate: η.
        steps: how many updates; None for as many as this kind needs, its `updates`
            (300 if it has none) divided by the rate where that is below 1.

    Reference: Polyak and Juditsky (1992), Acceleration of stochastic approximation by
    averaging.
    """
    _check_columns(data, start=start)
    checks.positive(rate=rate)
    if steps is None:
        steps = ceil(getattr(negatives, "updates", UPDATES) / min(rate, 1.0))
    checks.counting_number(steps=steps)
    if hasattr(negatives, "fresh"):
        negatives = negatives.fresh()
    path = np.empty((steps + 1, *np.shape(start)))
    path[0] = start
    for t in tqdm(range(steps), desc="updates", disable=None, leave=False):
        # a copy, so that nobody rewrites the path
        positive, negative = negatives(rng, data, path[t].copy())
        push = mean_gradient(positive, path[t]) - mean_gradient(negative, path[t])
        with np.errstate(over="ignore"):
            path[t + 1] = path[t] + rate * push
        if not np.abs(path[t + 1]).max() < RUNAWAY:
            raise OverflowError(f"the means ran away at update {t + 1}, rate={rate}")
    return Fit(path[len(path) // 2 :].mean(axis=0), path)


def direct(n: int) -> Negatives:
    """Return negatives that are n draws from the model; the positives are all the data.

    Args:
        n: how many negatives an update draws.
    """
    checks.counting_number(n=n)

    def phases(rng, data, means, last):
        return data, mixtures.draw(rng, means, n)[0]

    return Negatives(phases)


def mcmc(
    n: int,
    chain_length: int,
    step_size: float,
    start: Starts = None,
    *,
    adjusted: bool = True,
) -> Negatives:
    """Return negatives that are where n new chains end; the positives are all the data.

    Args:
        n: how many chains an update starts.
        chain_length: how many steps each makes.
        step_size: ε of `langevin.sample`.
        start: where they start, (n, d), or a function of rng that draws that; None for
            normal draws with the mean and the variance of each column of the data.
        adjusted: whether the chains keep the model, by refusing some steps.
    """
    _check_chains(n, chain_length, step_size)
    _check_starts(n, start)

    def phases(rng, data, means, last):
        begin = _starts(rng, data, n, start)
        return data, _walk(rng, means, begin, step_size, chain_length, adjusted)

    return Negatives(phases)


def cd(
    n: int, chain_length: int, step_size: float, *, adjusted: bool = True
) -> Negatives:
    """Return negatives that are where chains end which start at the positives.

    The positives are n different rows of the data, drawn anew at each update.

    Args:
        n: how many rows, and so chains; at most as many as there are rows.
        chain_length: how many steps each chain makes.
        step_size: ε of `langevin.sample`.
        adjusted: whether the chains keep the model, by refusing some steps.

    Reference: Hinton (2002), Training products of experts by minimizing contrastive
    divergence.
    """
    _check_chains(n, chain_length, step_size)

    def phases(rng, data, means, last):
        checks.at_most(len(data), n=n)
        rows = np.asarray(data)[rng.choice(len(data), size=n, replace=False)]
        return rows, _walk(rng, means, rows, step_size, chain_length, adjusted)

    return Negatives(phases, _updates(chain_length, step_size))


def persistent(
    n: int,
    chain_length: int,
    step_size: float,
    start: Starts = None,
    *,
    adjusted: bool = True,
) -> Negatives:
    """Return negatives that are where n chains are which go on from update to update.

    The positives are all the data. The chains follow the model only if the means move
    slowly next to them: the rate has to be small where chain_length · step_size is.

    Args:
        n: how many chains there are.
        chain_length: how many steps each makes in an update.
        step_size: ε of `langevin.sample`.
        start: where the chains start, (n, d), or a function of rng that draws that;
            None for rows of the data, drawn with replacement.
        adjusted: whether the chains keep the model, by refusing some steps.

    Reference: Tieleman (2008), Training restricted Boltzmann machines using
    approximations to the likelihood gradient.
    """
    _check_chains(n, chain_length, step_size)
    _check_starts(n, start)

    def phases(rng, data, means, last):
        if last is None and start is None:
            last = np.asarray(data)[rng.integers(len(data), size=n)]
        elif last is None:
            last = _starts(rng, data, n, start)
        checks.of_shape((n, np.shape(data)[1]), chains=last)
        return data, _walk(rng, means, last, step_size, chain_length, adjusted)

    return Negatives(phases, _updates(chain_length, step_size))


def fit_em(
    data: Real[ndarray, "j d"],
    start: Real[ndarray, "k d"],
    *,
    tolerance: float = 1e-10,
    steps: int = 20_000,
) -> Float[ndarray, "k d"]:
    """Repeat  μᵢ ← Σⱼ rᵢ(xⱼ) xⱼ / Σⱼ rᵢ(xⱼ)  until no coordinate moves, and return μ.

    No step lowers the likelihood. Where it ends, at a local maximum as a rule, depends
    on the start. A component without any data stays where it is.

    Args:
        data: the observations, a row each.
        start: where the means begin.
        tolerance: what counts as no move, next to the largest absolute value in data.
        steps: how many steps it may take; if that is too few, a RuntimeError.

    Reference: Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data
    via the EM algorithm.
    """
    _check_columns(data, start=start)
    checks.positive(tolerance=tolerance)
    checks.counting_number(steps=steps)
    data, means = np.asarray(data, dtype=float), np.array(start, dtype=float)
    still = tolerance * np.abs(data).max()
    for _ in range(steps):
        weights = mixtures.responsibilities(data, means)
        shares = weights.sum(axis=0)[:, None]
        before = means.copy()
        np.divide(weights.T @ data, shares, out=means, where=shares > 0)
        moved = np.abs(means - before).max()
        if moved <= still:
            return means
    raise RuntimeError(f"EM still moves by {moved:.1e} after {steps} steps")


def stationary_covariance(
    information: Real[ndarray, "p p"], n: int, rate: float = 1.0
) -> Float[ndarray, "p p"]:
    """Return  η (2 − ηH)⁻¹ / n,  the wandering of the last iterate under `direct(n)`.

    It is its covariance around an optimum where the log-likelihood has the curvature
    −H and n exact negatives add noise of covariance H/n to each push.

    Args:
        information: H.
        n: how many negatives an update draws.
        rate: η, below 2 over the largest eigenvalue of H.
    """
    information = np.asarray(information, dtype=float)
    checks.positive_definite(len(information), information=information)
    checks.counting_number(n=n)
    checks.positive(rate=rate)
    largest = np.linalg.eigvalsh(information)[-1]
    if rate * largest >= 2:
        raise ValueError(f"rate must be below {2 / largest:.6g}, got {rate}")
    return rate * np.linalg.inv(2 * np.eye(len(information)) - rate * information) / n


def ball_probability(radius: float, covariance: Real[ndarray, "p p"]) -> float:
    """Return  P(|ξ| ≤ radius)  for  ξ ~ N(0, covariance),  to about 12 digits.

    |ξ|² is a sum of squares, weighted by the eigenvalues of the covariance, and so a
    mixture of χ² laws with p, p+2, p+4, ... degrees of freedom, scaled by the smallest.

    Args:
        radius: of a ball around 0.
        covariance: of a normal law with mean 0, its eigenvalues within a factor of 100.

    Reference: Ruben (1962), Probability content of regions under spherical normal
    distributions, IV.
    """
    checks.positive(radius=radius)
    covariance = np.asarray(covariance, dtype=float)
    checks.positive_definite(len(covariance), covariance=covariance)
    eigenvalues = np.linalg.eigvalsh(covariance)
    ratios = eigenvalues[0] / eigenvalues
    checks.at_most(100, condition_number_of_covariance=1 / ratios[-1])
    count = 1 + ceil(100 / ratios[-1])
    powers = np.sum((1 - ratios) ** np.arange(count)[:, None], axis=1)
    shares = np.zeros(count)
    shares[0] = np.sqrt(np.prod(ratios))
    for j in range(1, count):
        shares[j] = powers[j:0:-1] @ shares[:j] / (2 * j)
    degrees = len(ratios) + 2 * np.arange(count)
    return float(shares @ stats.chi2.cdf(radius**2 / eigenvalues[0], degrees))


def score_matching_gradient(
    x: Real[ndarray, "n d"], means: Real[ndarray, "k d"]
) -> Float[ndarray, "k d"]:
    """Return the mean over x of  s·∇gᵢ + Δgᵢ,  with the slope s = ∇ log p(x) in x.

    It is the gradient in the means of the objective of score matching, the mean of
    ½|s|² + ∇·s,  which is to be made small.

    Args:
        x: the points to be averaged over, a row each, at least one.
        means: where the gradient is taken.

    Reference: Hyvärinen (2005), Estimation of non-normalized statistical models by
    score matching.
    """
    checks.table(x=x)
    return _generator(x, means)[1].mean(axis=0)


def score_matching_covariance(means: Real[ndarray, "k d"]) -> Float[ndarray, "p p"]:
    """Return  D⁻¹ E[hhᵀ] D⁻¹,  h = s·∇g + Δg,  D = E[∇g ∇gᵀ],  at the truth.

    Over n, it is the covariance of the score matching estimate from many data n.

    Args:
        means: the true ones, in one dimension or two; they are raveled row by row.

    Reference: Hyvärinen (2005), Estimation of non-normalized statistical models by
    score matching.
    """
    size = np.size(means)

    def squares(x: ndarray) -> ndarray:
        slope, h = _generator(x, means)
        slope = slope.reshape(len(x), size, -1)
        h = h.reshape(len(x), size, 1)
        return np.stack([slope @ slope.mT, h @ h.mT], axis=1)

    d, spread = mixtures.expectation(squares, means)
    inverse = np.linalg.inv(d)
    return inverse @ spread @ inverse


def cd_information(time: float, side: float = 3.0) -> Float[ndarray, "8 8"]:
    """Return  A = ½ E[(g(x) − g(y)) (g(x) − g(y))ᵀ],  x ~ p,  y a Langevin time later.

    The means are the corners of a square, in the order of `mixtures.SQUARE`. It is how
    fast the mean push of contrastive divergence grows with the error of the means; as
    the time grows, A rises to the Fisher information.

    Args:
        time: t, how long the diffusion  dx = ∇ log p dt + √2 dW  runs; chains of
            `langevin.sample` with a small step approach it, with  t = steps · ε.
        side: of the square, between 1 and 20.
    """
    checks.positive(time=time)
    _check_side(side, 1)
    rates, slopes = _modes(side)
    return slopes * -np.expm1(-rates * time) @ slopes.T


def cd_covariance(time: float, side: float = 3.0) -> Float[ndarray, "8 8"]:
    """Return  A⁻¹ (2A − A′) A⁻¹,  with A of `cd_information` at t and A′ at 2t.

    Over n, it is the covariance of the estimate to which contrastive divergence with
    chains of time t leads from many data n, once the chains' own noise is averaged out.

    Args:
        time: t.
        side: of the square whose corners are the means, between 1 and 20.
    """
    checks.positive(time=time)
    _check_side(side, 1)
    rates, slopes = _modes(side)
    gone = -np.expm1(-rates * time)
    inverse = np.linalg.inv(slopes * gone @ slopes.T)
    # 2A − A′ has the modes' parts squared; written so, nothing is lost at small times
    return inverse @ (slopes * gone**2 @ slopes.T) @ inverse


def unadjusted_side(side: float, step_size: float, chain_length: int | None) -> float:
    """Return b with  E[x tanh(bx/2)] = E[y tanh(by/2)],  where the mean push vanishes.

    The data x are from the square with the given side, centred at 0, one coordinate of
    them; y is where an unadjusted chain for the square with side b ends that starts at
    x: contrastive divergence without refusals, from infinitely many data.

    Args:
        side: of the square that the data come from, between 2 and 20.
        step_size: ε of `langevin.sample`, between 1/10,000 and ½.
        chain_length: how many steps a chain makes; None for so many that the start is
            forgotten.
    """
    _check_side(side, 2)
    if not 1e-4 <= step_size <= 0.5:
        raise ValueError(f"step_size must be between 0.0001 and 0.5, got {step_size}")
    if chain_length is not None:
        checks.counting_number(chain_length=chain_length)
    h = min(0.1, np.sqrt(2 * step_size) / 1.5)
    x = np.arange(-side - 13, side + 13 + h, h)
    p = np.exp(-((x - side / 2) ** 2) / 2) + np.exp(-((x + side / 2) ** 2) / 2)
    p /= p.sum()

    def push(s: float) -> float:
        feature = x * np.tanh(s * x / 2)
        ahead = x + step_size * (s / 2 * np.tanh(s * x / 2) - x)
        kernel = np.exp(-((x - ahead[:, None]) ** 2) / (4 * step_size))
        kernel /= kernel.sum(axis=1, keepdims=True)
        if chain_length is None:
            away = np.eye(len(x)) - kernel + 1 / len(x)
            return (p - np.linalg.solve(away.T, np.full(len(x), 1 / len(x)))) @ feature
        later = feature
        for _ in range(chain_length):
            later = kernel @ later
        return p @ (feature - later)

    return float(optimize.brentq(push, 0.7 * side, 1.5 * side, xtol=1e-12))


def _generator(x, means) -> tuple[Float[ndarray, "n k d d"], Float[ndarray, "n k d"]]:
    """∇gᵢ, the place's coordinates last, and  s·∇gᵢ + Δgᵢ,  at each x.

    ∇rᵢ = rᵢ dᵢ and Δrᵢ = rᵢ (|dᵢ|² − Σⱼ rⱼ |dⱼ|²),  where  dᵢ = μᵢ − Σⱼ rⱼ μⱼ.
    """
    r = mixtures.responsibilities(x, means)
    x, means = np.asarray(x, dtype=float), np.asarray(means, dtype=float)
    away = x[:, None, :] - means
    centre = r @ means
    d = means - centre[:, None, :]
    square = np.sum(d**2, axis=2)
    spread = np.sum(r * square, axis=1, keepdims=True)
    slope = away[..., None] * d[..., None, :] + np.eye(x.shape[1])
    slope *= r[..., None, None]
    laplacian = r[..., None] * ((square - spread)[..., None] * away + 2 * d)
    return slope, np.einsum("nkde,ne->nkd", slope, centre - x) + laplacian


def _modes(side: float) -> tuple[Float[ndarray, "m"], Float[ndarray, "8 m"]]:
    """The rates of the diffusion's modes on the square, and g in their basis: products
    of modes on a line with two centres, where their rates add up.
    """
    pair = np.array([[-side / 2], [side / 2]])
    rates, x, modes = langevin.spectrum(pair, spacing=1 / 8)
    x = x[:, None]
    root = np.exp(0.5 * mixtures.log_density(x, pair))
    shares = mixtures.responsibilities(x, pair).T * root / np.linalg.norm(root)
    share, pull = shares @ modes, shares * (x - pair.T).T @ modes
    g = [
        np.multiply.outer(*two).ravel()
        for a in (0, 1)
        for b in (0, 1)
        for two in ((pull[a], share[b]), (share[a], pull[b]))
    ]
    return np.add.outer(rates, rates).ravel(), np.array(g)


def _walk(rng, means, start, step_size, steps, adjusted) -> Float[ndarray, "n d"]:
    target = mixtures.target(means)
    return langevin.sample(rng, target, start, step_size, steps, adjusted).positions


def _starts(rng, data, n, start) -> Float[ndarray, "n d"]:
    if start is None:
        data = np.asarray(data, dtype=float)
        noise = rng.standard_normal((n, data.shape[1]))
        return data.mean(axis=0) + data.std(axis=0) * noise
    start = start(rng) if callable(start) else start
    checks.of_shape((n, np.shape(data)[1]), start=start)
    return start


def _updates(chain_length, step_size) -> int:
    """How many a fit takes whose chains begin near where they end."""
    # the share of the slowest direction's pull that chains of time t = Lε keep, within
    # a tenth of it: measured on mixtures.SQUARE
    kept = -np.expm1(-2 * chain_length * step_size)
    return ceil(UPDATES / kept)


def _check_chains(n, chain_length, step_size) -> None:
    checks.counting_number(n=n, chain_length=chain_length)
    checks.positive(step_size=step_size)


def _check_starts(n, start) -> None:
    if start is not None and not callable(start):
        checks.table(start=start)
        checks.of_shape((n, np.shape(start)[1]), start=start)


def _check_side(side, smallest) -> None:
    if not smallest <= side <= 20:
        raise ValueError(f"side must be between {smallest} and 20, got {side}")


def _check_columns(data, **means) -> None:
    checks.table(data=data, **means)
    for name, value in means.items():
        checks.same_columns(**{name: value}, data=data)
