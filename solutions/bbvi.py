"""Black-box variational inference: the slope of the ELBO from evaluations alone.

The model is that of `mean_field`: data N(μ, 1/τ), a Normal-Gamma prior (m₀, ℓ₀, a₀, b₀)
and the factorised law  q(μ) q(τ) = N(m, 1/λ) Gamma(a, b),  shape and *rate*. Every
estimator here evaluates log p and log q at draws from q, multiplies by the score
s = ∇log q, and averages; none of them differentiates the model. Whatever belongs to the
four parameters comes in the order (mean, precision, shape, rate).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.special import digamma, expit, gammaln, lambertw, polygamma
from tqdm import tqdm

from solutions import checks, mean_field
from solutions.checks import Number, Numbers
from solutions.mean_field import Factors, NormalGamma

ESTIMATORS = ("naive", "rao_blackwell", "control_variate", "both")

FARTHEST = 1e60  # data within this have squares that can be summed

_LOG_2PI = np.log(2 * np.pi)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(12)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_TAIL = 50.0  # the quadrature over τ ends where its density is e^{−50} of the highest


class BBVI(NamedTuple):
    """Where a fit ended; the exact ELBO at its start and after each step."""

    factors: Factors
    elbos: Float[ndarray, "steps_and_one"]


class StudentT(NamedTuple):
    """The law of  location + scale · t,  t from Student's law with so many degrees."""

    degrees: float
    location: float
    scale: float


class _Model(NamedTuple):
    """What the log joint density needs of the data, its constant, and the prior."""

    n: int
    centre: float
    squares: float
    constant: float
    prior: NormalGamma


def log_q(
    factors: Factors, mu: Real[ndarray, "n"], tau: Real[ndarray, "n"]
) -> Float[ndarray, "n 2"]:
    """Return  log q(μ) = ½ (log λ − log 2π − λ (μ−m)²)  and
    log q(τ) = a log b − log Γ(a) + (a−1) log τ − bτ,  as two columns (n, 2).

    Args:
        factors: q.
        mu, tau: where, (n,) each; τ positive.
    """
    q, deviation, tau = _places(factors, mu, tau)
    return np.stack(_log_factors(q, deviation, tau, np.log(tau)), axis=-1)


def scores(
    factors: Factors, mu: Real[ndarray, "n"], tau: Real[ndarray, "n"]
) -> Float[ndarray, "n 4"]:
    """Return the slopes of log q(μ) + log q(τ) in its four parameters,

      λ (μ−m),   ½ (1/λ − (μ−m)²),   log b − ψ(a) + log τ,   a/b − τ.

    Args:
        factors: q.
        mu, tau: where, (n,) each; τ positive.

    Reference: Ranganath, Gerrish and Blei (2014), Black box variational inference.
    """
    q, deviation, tau = _places(factors, mu, tau)
    return _scores(q, deviation, tau, np.log(tau)).T.copy()


def std_score(factors: Factors, mu: Real[ndarray, "n"]) -> Float[ndarray, "n"]:
    """Return  (μ−m)²/σ³ − 1/σ,  the slope of log q(μ) in its standard deviation.

    As λ = σ⁻², it is the slope in λ times  dλ/dσ = −2σ⁻³.

    Args:
        factors: q, whose standard deviation is σ = λ^{−1/2}.
        mu: where, (n,).
    """
    q, deviation, _ = _places(factors, mu, np.ones(np.shape(mu)))
    std = q[1] ** -0.5
    return (np.square(deviation / std) - 1) / std


def exact_gradient(
    factors: Factors, x: Real[ndarray, "n"], prior: NormalGamma
) -> Float[ndarray, "4"]:
    """Return the gradient of the ELBO. With the exact posterior (mₙ, ℓₙ, aₙ, bₙ) and
    B = bₙ + ½ ℓₙ ((m−mₙ)² + 1/λ)  it is

      −ℓₙ (a/b) (m−mₙ),              ½ (ℓₙ (a/b) / λ − 1) / λ,
      (aₙ + ½ − a) ψ′(a) + 1 − B/b,  (aB/b − aₙ − ½) / b.

    Args:
        factors: q.
        x, prior: the data and the prior.
    """
    after = mean_field.posterior(x, _model(x, prior).prior)
    return _exact_gradient(_parameters(factors), after)


def fisher_information(factors: Factors) -> Float[ndarray, "4 4"]:
    """Return  E[s sᵀ]:  λ for the mean, 1/(2λ²) for the precision, and the block
    ψ′(a), −1/b; −1/b, a/b²  for shape and rate.

    Args:
        factors: q.
    """
    _, precision, shape, rate = _parameters(factors)
    information = np.diag([precision, 0.5 / precision**2, 0.0, shape / rate**2])
    information[2, 2] = polygamma(1, shape)
    information[2, 3] = information[3, 2] = -1 / rate
    return information


def integrands(
    factors: Factors,
    mu: Real[ndarray, "n"],
    tau: Real[ndarray, "n"],
    x: Real[ndarray, "n_data"],
    prior: NormalGamma,
    estimator: str,
) -> Float[ndarray, "n 4"]:
    """Return R, what multiplies a parameter's score:  log p − log q(μ) − log q(τ)  for
    "naive" and "control_variate"; for the other two

      −½ τ [n (x̄−μ)² + ℓ₀ (μ−m₀)²] − log q(μ)   for mean and precision,
      log p − log q(τ)                          for shape and rate.

    Here log p = log p(x, μ, τ), with all its constants.

    Args:
        factors: q.
        mu, tau: where, (n,) each; τ positive.
        x, prior: the data and the prior.
        estimator: one of `ESTIMATORS`.
    """
    model = _model(x, prior)
    checks.one_of(ESTIMATORS, estimator=estimator)
    q, deviation, tau = _places(factors, mu, tau)
    return _integrands(q, deviation, tau, np.log(tau), model, estimator).T.copy()


def leave_one_out(
    integrands: Real[ndarray, "n d"], scores: Real[ndarray, "n d"]
) -> Float[ndarray, "n d"]:
    """Return the rows  (Rᵢ − cᵢ) sᵢ  with  cᵢ = Σⱼ Rⱼ sⱼ² / Σⱼ sⱼ²  over all j ≠ i.

    That is  fᵢ − cᵢ sᵢ  for f = R s. The coefficient estimates a* = Cov(f, s) / Var(s),
    knowing that E[s] = 0, from all draws but the i-th: so every row keeps its mean.

    Args:
        integrands: R, a row for each of n ≥ 2 independent draws.
        scores: s, likewise.
    """
    checks.table(integrands=integrands, scores=scores)
    checks.same_shape(integrands=integrands, scores=scores)
    if len(scores) < 2:
        raise ValueError(f"scores must have at least two rows, got {len(scores)}")
    values = np.asarray(integrands, dtype=float)
    return _leave_one_out(values, np.asarray(scores, dtype=float))


def gradient(
    rng: np.random.Generator,
    factors: Factors,
    x: Real[ndarray, "n_data"],
    prior: NormalGamma,
    n: int,
    estimator: str,
) -> Float[ndarray, "4"]:
    """Return an unbiased estimate of the gradient of the ELBO, the mean of  R s  over n
    draws of (μ, τ) from q, with R as in `integrands`; for "control_variate" and "both",
    the mean of the rows of `leave_one_out`.

    Args:
        rng: the source of randomness.
        factors: q.
        x, prior: the data and the prior.
        n: how many draws; a control variate needs two.
        estimator: one of `ESTIMATORS`.

    Reference: Ranganath, Gerrish and Blei (2014), Black box variational inference.
    """
    model = _model(x, prior)
    q = _parameters(factors)
    _check_draws("n", n, estimator)
    return _finite(_gradient(rng, q, model, n, estimator), "gradient")


def best_coefficient(
    factors: Factors, x: Real[ndarray, "n"], prior: NormalGamma, estimator: str
) -> Float[ndarray, "4"]:
    """Return  a* = E[R s²] / E[s²]  for each parameter, by quadrature.

    Args:
        factors: q.
        x, prior: the data and the prior.
        estimator: one of `ESTIMATORS`, which says what R is.
    """
    weights, values, score = _on_nodes(factors, x, prior, estimator)
    return _best_coefficient(weights, values, score)


def draw_variance(
    factors: Factors, x: Real[ndarray, "n"], prior: NormalGamma, estimator: str
) -> Float[ndarray, "4"]:
    """Return  Var(R s),  or for "control_variate" and "both"  Var((R − a*) s)  with the
    best coefficient a*: the variance of one draw, by quadrature over μ and log τ.

    Args:
        factors: q.
        x, prior: the data and the prior.
        estimator: one of `ESTIMATORS`.
    """
    weights, values, score = _on_nodes(factors, x, prior, estimator)
    if estimator in ("control_variate", "both"):
        values = values - _best_coefficient(weights, values, score)[:, None]
    rows = values * score
    centred = rows - (rows @ weights)[:, None]
    return np.square(centred) @ weights


def same_sample_bias(
    factors: Factors, x: Real[ndarray, "n"], prior: NormalGamma
) -> Float[ndarray, "4"]:
    """Return  −E[(R − a*) s³] / E[s²],  by quadrature: n times the bias, for large n,
    of a gradient whose coefficient  Σⱼ Rⱼ sⱼ² / Σⱼ sⱼ²  comes from the same n draws.

    It is the same for the R of all `ESTIMATORS`: they differ by what is independent of
    the score in question.

    Args:
        factors: q.
        x, prior: the data and the prior.
    """
    weights, values, score = _on_nodes(factors, x, prior, "both")
    best = _best_coefficient(weights, values, score)
    cubes = ((values - best[:, None]) * score**3) @ weights
    return -cubes / (np.square(score) @ weights)


def softplus(raw: Numbers) -> Numbers:
    """Return  log(1 + eʳ),  positive for every number r, without overflow."""
    checks.finite(raw=raw)
    return np.logaddexp(0, np.asarray(raw, dtype=float))[()]


def softplus_inverse(value: Numbers) -> Numbers:
    """Return  log(eᵛ − 1) = v + log(1 − e^{−v}),  the raw number of a positive v."""
    checks.positive(value=value)
    value = np.asarray(value, dtype=float)
    return (value + np.log(-np.expm1(-value)))[()]


def raw_gradient(
    raw: Real[ndarray, "*runs 4"], gradient: Real[ndarray, "*runs 4"]
) -> Float[ndarray, "*runs 4"]:
    """Return the slope in raw parameters: that in the mean as it is, the other three
    times  d softplus(r)/dr = 1/(1 + e^{−r}).

    Args:
        raw: the mean, and the numbers whose softplus are precision, shape and rate.
        gradient: the slope in (mean, precision, shape, rate).
    """
    checks.finite(raw=raw, gradient=gradient)
    checks.same_shape(raw=raw, gradient=gradient)
    if np.shape(raw)[-1:] != (4,):
        raise ValueError(f"raw must be of shape (..., 4), got {np.shape(raw)}")
    slopes = expit(np.asarray(raw, dtype=float))
    slopes[..., 0] = 1.0
    return slopes * gradient


def climb(
    rng: np.random.Generator,
    x: Real[ndarray, "n"],
    prior: NormalGamma,
    *,
    estimator: str = "both",
    steps: int = 400,
    draws: int = 50,
    rate: Number = 0.5,
    reach: Number = 0.5,
    start: Factors | None = None,
) -> Float[ndarray, "steps_and_one 4"]:
    """Return the path of (mean, precision, shape, rate) up the ELBO, along estimated
    natural gradients  F⁻¹ĝ,  F = E[s sᵀ].

    Step t is  ρ F⁻¹ĝ  in the mean and the *logs* of the other parameters, so that these
    stay positive. Its size is  ρ = rate · min(1, reach/|ĝ|) / (1 + 10 t/steps),  where
    |ĝ|² = ĝᵀF⁻¹ĝ: no step is longer than rate · reach, in units in which a step of 1 in
    a mean is one standard deviation, however noisy the estimate.

    Args:
        rng: the source of randomness.
        x, prior: the data and the prior.
        estimator: one of `ESTIMATORS`. The first two need far more steps, if the data
            are many.
        steps: how many steps.
        draws: how many draws go into a step; a control variate needs two.
        rate: of the first step, at most 1, which with an exact gradient leads in one
            step as far as a sweep of `mean_field.cavi` does, but for the logs.
        reach: the longest that F⁻¹ĝ may be, before the rate.
        start: where to begin; by default at a law as wide as one observation is, with
            shape 1.

    A path that leaves the numbers raises an OverflowError.

    Reference: Hoffman, Blei, Wang and Paisley (2013), Stochastic variational inference.
    """
    model = _model(x, prior)
    _check_draws("draws", draws, estimator)
    checks.counting_number(steps=steps)
    checks.positive(rate=rate, reach=reach)
    checks.at_most(1, rate=rate)
    path = np.empty((steps + 1, 4))
    path[0] = _unit_start(model) if start is None else _parameters(start)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for t in tqdm(range(steps), desc="steps", disable=None, leave=False):
            slope = _gradient(rng, path[t], model, draws, estimator)
            direction = _natural(path[t], slope)
            length = np.sqrt(slope @ direction)
            size = rate * min(1.0, reach / length) / (1 + 10 * t / steps)
            path[t + 1] = q = _moved(path[t], size * direction)
            if not (np.isfinite(q).all() and (q[1:] > 0).all()):
                raise OverflowError(f"the climb left the numbers at step {t + 1}")
    return path


def fit(
    rng: np.random.Generator,
    x: Real[ndarray, "n"],
    prior: NormalGamma,
    *,
    estimator: str = "both",
    steps: int = 400,
    draws: int = 50,
    rate: Number = 0.5,
    reach: Number = 0.5,
    start: Factors | None = None,
) -> BBVI:
    """Return the end of  `climb(...)`  and the exact ELBO along it, which is at most
    log p(x) everywhere.

    Args:
        rng, x, prior, estimator, steps, draws, rate, reach, start: as for `climb`.
    """
    how = {"steps": steps, "draws": draws, "rate": rate, "reach": reach}
    path = climb(rng, x, prior, estimator=estimator, start=start, **how)
    laws = [Factors(*map(float, q)) for q in path]
    return BBVI(laws[-1], np.array([mean_field.elbo(q, x, prior) for q in laws]))


def adam(
    rng: np.random.Generator,
    x: Real[ndarray, "n"],
    prior: NormalGamma,
    *,
    start: Real[ndarray, "runs 4"],
    estimator: str,
    steps: int,
    draws: int = 50,
    rate: Number = 1e-3,
    chain: bool = True,
) -> Float[ndarray, "steps_and_one runs 4"]:
    """Return the paths of (mean, precision, shape, rate) as Adam climbs the ELBO in the
    raw parameters  r,  of which the last three are softplus(r), many runs side by side:

      r ← r + rate · m̂/(√v̂ + 10⁻⁸),   m ← 0.9 m + 0.1 ĝ,   v ← 0.999 v + 0.001 ĝ²,

    m̂ and v̂ being m and v over  1 − 0.9ᵗ  and  1 − 0.999ᵗ.

    Args:
        rng: the source of randomness.
        x, prior: the data and the prior.
        start: the raw parameters, a row for each run.
        estimator: one of `ESTIMATORS`, or "exact".
        steps: how many steps.
        draws: how many draws go into a step of a run.
        rate: the size of a step.
        chain: whether ĝ is the slope in r, or, as in the source, that in softplus(r).

    Reference: Kingma and Ba (2015), Adam: a method for stochastic optimization.
    """
    model = _model(x, prior)
    checks.table(start=start)
    checks.of_shape((len(start), 4), start=start)
    if estimator != "exact":
        _check_draws("draws", draws, estimator, (*ESTIMATORS, "exact"))
    checks.counting_number(steps=steps)
    checks.positive(rate=rate)
    after = mean_field.posterior(x, model.prior)
    raw = np.array(start, dtype=float).T
    first, second = np.zeros_like(raw), np.zeros_like(raw)
    path = np.empty((steps + 1, *raw.shape))
    path[0] = _from_raw(raw)
    for t in tqdm(range(1, steps + 1), desc="steps", disable=None, leave=False):
        q = path[t - 1]
        if estimator == "exact":
            slope = _exact_gradient(q, after)
        else:
            slope = _gradient(rng, q, model, draws, estimator)
        if chain:
            slope[1:] *= expit(raw[1:])
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        root = np.sqrt(second / (1 - 0.999**t)) + 1e-8
        raw = raw + rate * first / (1 - 0.9**t) / root
        path[t] = _from_raw(raw)
    return _finite(path, "path").swapaxes(1, 2).copy()


def predictive(law: NormalGamma) -> StudentT:
    """Return the law of the next observation:  2a  degrees, location m, and
    scale² = (b/a) (1 + 1/ℓ).

    Args:
        law: of (μ, τ), such as `mean_field.posterior` returns: mean m, scale ℓ, shape a
            and rate b.

    Reference: Murphy (2007), Conjugate Bayesian analysis of the Gaussian distribution.
    """
    law = mean_field.checked(law)
    spread = np.sqrt(law.rate / law.shape * (1 + 1 / law.scale))
    return StudentT(2 * law.shape, law.mean, float(spread))


def _scores(q, deviation, tau, log_tau):
    """The four scores, (4, n, ...), for q (4, ...) and draws (n, ...)."""
    _, precision, shape, rate = q
    score = np.empty((4, *tau.shape))  # to stack four arrays takes twice as long
    score[0] = precision * deviation
    score[1] = (1 / precision - deviation**2) / 2
    score[2] = np.log(rate) - digamma(shape) + log_tau
    score[3] = shape / rate - tau
    return score


def _log_factors(q, deviation, tau, log_tau):
    """log q(μ) and log q(τ)."""
    _, precision, shape, rate = q
    normal = (np.log(precision) - _LOG_2PI - precision * deviation**2) / 2
    normaliser = gammaln(shape) - shape * np.log(rate)
    return normal, (shape - 1) * log_tau - rate * tau - normaliser


def _integrands(q, deviation, tau, log_tau, model, estimator):
    """R for the four parameters, (4, n, ...)."""
    n, centre, squares, constant, prior = model
    log_normal, log_gamma = _log_factors(q, deviation, tau, log_tau)
    from_data = np.square(q[0] - centre + deviation)
    from_prior = np.square(q[0] - prior.mean + deviation)
    misfit = -tau / 2 * (n * from_data + prior.scale * from_prior)
    power = (n + 1) / 2 + prior.shape - 1
    log_joint = misfit + power * log_tau - tau * (squares / 2 + prior.rate) + constant
    for_tau = log_joint - log_gamma
    values = np.empty((4, *tau.shape))
    if estimator in ("naive", "control_variate"):
        values[:] = for_tau - log_normal
    else:
        values[:2], values[2:] = misfit - log_normal, for_tau
    return values


def _leave_one_out(values, score):
    """(R − c) s, all of shape (n, ...); sums over the others, as sums before and after,
    so that one large draw takes no digits from the rest."""
    squares = score**2
    mass, total = _others(np.array([squares, values * squares]))
    # without any score among the others, every number will do
    level = total / np.where(mass > 0, mass, 1.0)
    return (values - level) * score


def _others(values):
    before, after = np.zeros_like(values), np.zeros_like(values)
    values[:, :-1].cumsum(axis=1, out=before[:, 1:])
    values[:, :0:-1].cumsum(axis=1, out=after[:, -2::-1])
    return before + after


def _gradient(rng, q, model, n, estimator):
    """The mean of n rows, (4, ...)."""
    deviation = rng.standard_normal((n, *q.shape[1:])) / np.sqrt(q[1])
    # τ from its logarithm, which is finite for the smallest shapes: if g has the shape
    # a + 1 and u is uniform, g u^{1/a} has the shape a
    log_g = np.log(rng.standard_gamma(q[2] + 1, size=deviation.shape))
    log_u = -rng.standard_exponential(deviation.shape)
    log_tau = log_g + log_u / q[2] - np.log(q[3])
    tau = np.exp(log_tau)
    score = _scores(q, deviation, tau, log_tau)
    values = _integrands(q, deviation, tau, log_tau, model, estimator)
    if estimator in ("control_variate", "both"):
        rows = _leave_one_out(values.swapaxes(0, 1), score.swapaxes(0, 1))
        return rows.mean(axis=0)
    return (values * score).mean(axis=1)


def _exact_gradient(q, after):
    mean, precision, shape, rate = q
    ratio = shape / rate
    away = mean - after.mean
    total = after.rate + after.scale * (away**2 + 1 / precision) / 2
    return np.stack(
        [
            -after.scale * ratio * away,
            (after.scale * ratio / precision - 1) / precision / 2,
            (after.shape + 0.5 - shape) * polygamma(1, shape) + 1 - total / rate,
            (ratio * total - after.shape - 0.5) / rate,
        ]
    )


def _natural(q, slope):
    """F⁻¹ times a slope."""
    _, precision, shape, rate = q
    spread = polygamma(1, shape)
    determinant = shape * spread - 1  # times b²
    in_shape, in_rate = slope[2], rate * slope[3]
    return np.stack(
        [
            slope[0] / precision,
            2 * precision**2 * slope[1],
            (shape * in_shape + in_rate) / determinant,
            rate * (in_shape + spread * in_rate) / determinant,
        ]
    )


def _moved(q, step):
    """The step in the mean, and in the logs of the other three."""
    return np.concatenate([q[:1] + step[:1], q[1:] * np.exp(step[1:] / q[1:])])


def _unit_start(model):
    """As wide as one observation: N(x̄, v) and a shape of 1 around the precision 1/v."""
    n, centre, squares, _, prior = model
    variance = (squares / 2 + prior.rate) / (n / 2 + prior.shape)
    return np.array([centre, 1 / variance, 1.0, variance])


def _from_raw(raw):
    return np.concatenate([raw[:1], np.logaddexp(0, raw[1:])])


def _on_nodes(factors, x, prior, estimator):
    """Weights, R and scores at the nodes of a product rule over q.

    Over μ it is Gauss's, which is exact: all there are polynomials of low degree. In
    u = log(τ b/a) the density is as  e^{a (u − eᵘ)},  and in v with  u = v − e^{−v}  it
    falls steeply at both ends for every a: there a plain sum over equal steps converges
    faster than any power of the step.
    """
    model = _model(x, prior)
    checks.one_of(ESTIMATORS, estimator=estimator)
    q = _parameters(factors)
    _, precision, shape, rate = q
    tail = _TAIL / shape
    root = np.sqrt(2 * tail)
    low, high = -min(1 + tail, root + tail), min(root, np.log1p(tail + root))
    v = np.linspace(_stretched(low), _stretched(high), 600)
    u = v - np.exp(-v)
    mass = np.exp(shape * (u - np.expm1(u))) * (1 + np.exp(-v))
    weights = np.outer(mass / mass.sum(), _WEIGHTS).ravel()
    log_tau = np.repeat(u + np.log(shape / rate), len(_NODES))
    deviation = np.tile(_NODES / np.sqrt(precision), len(u))
    tau = np.exp(log_tau)
    values = _integrands(q, deviation, tau, log_tau, model, estimator)
    return weights, values, _scores(q, deviation, tau, log_tau)


def _stretched(u):
    """v with  v − e^{−v} = u,  or something less if u is far below 0."""
    return u + lambertw(np.exp(-u)).real if u > -1 else -np.log1p(-u)


def _best_coefficient(weights, values, score):
    squares = np.square(score)
    return (values * squares) @ weights / (squares @ weights)


def _check_draws(name, value, estimator, options=ESTIMATORS):
    checks.one_of(options, estimator=estimator)
    checks.counting_number(**{name: value})
    if estimator in ("control_variate", "both") and value < 2:
        raise ValueError(
            f"{name} must be at least 2 for the estimator {estimator!r}, got {value}"
        )


def _model(x, prior):
    checks.series(x=x)
    prior = mean_field.checked(prior)
    x = np.asarray(x, dtype=float)
    largest = np.abs(x).max()
    if largest > FARTHEST:
        raise ValueError(f"x must be within ±{FARTHEST:g}, got {largest:g} in size")
    centre = x.mean()
    constant = (
        (np.log(prior.scale) - (len(x) + 1) * _LOG_2PI) / 2
        + prior.shape * np.log(prior.rate)
        - gammaln(prior.shape)
    )
    return _Model(len(x), centre, np.square(x - centre).sum(), constant, prior)


def _parameters(factors):
    """(mean, precision, shape, rate) as an array."""
    return np.array(mean_field.checked(factors))


def _places(factors, mu, tau):
    """The parameters, μ − m and τ."""
    q = _parameters(factors)
    checks.finite(mu=mu)
    checks.positive(tau=tau)
    checks.same_shape(mu=mu, tau=tau)
    if np.ndim(mu) != 1:
        raise ValueError(f"mu and tau must be of shape (n,), got {np.shape(mu)}")
    return q, np.asarray(mu, dtype=float) - q[0], np.asarray(tau, dtype=float)


def _finite(values, name):
    if not np.isfinite(values).all():
        raise OverflowError(f"the {name} left the numbers")
    return values
