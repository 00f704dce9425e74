"""Noise-contrastive estimation: a density learnt by telling data from noise.

The model is the mixture of Part II up to a factor,  log p(x) = log Σᵢ exp(−|x − μᵢ|²/2)
− c,  with k means and the log-normaliser c, whose true value  log k + (d/2) log 2π  can
be used, or learnt like any other parameter. Noise comes as anything with the methods
`rvs(size=, random_state=)` and `logpdf(x)`: SciPy's frozen distributions, for one.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import joblib
import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.optimize import brentq, minimize
from scipy.special import expit
from scipy.stats import multivariate_normal
from tqdm import tqdm

from solutions import checks, contrastive_divergence, mixtures
from solutions.checks import Number

NORMALISERS = ("known", "unknown")
STARTS = 4
LogDensity = Callable[[ndarray], ndarray]


@runtime_checkable
class Noise(Protocol):
    """A law that can be drawn from, and whose log-density can be evaluated."""

    def rvs(self, *args, **kwargs):
        """Return  `size`  draws, made with the generator  `random_state`."""

    def logpdf(self, *args, **kwargs):
        """Return the log-density at each row of an array."""


class NCEFit(NamedTuple):
    """Estimates of the means and of c, and whether they are a maximum."""

    means: Float[ndarray, "k d"]
    log_normaliser: float
    converged: bool


def true_log_normaliser(means: Real[ndarray, "k d"]) -> float:
    """Return  log ∫ Σᵢ exp(−|x − μᵢ|²/2) dx = log k + (d/2) log 2π,  wherever they are.

    Args:
        means: the centre of each component.
    """
    checks.table(means=means)
    k, dimension = np.shape(means)
    return float(np.log(k) + dimension / 2 * np.log(2 * np.pi))


def probability_of_data(
    x: Real[ndarray, "n d"],
    means: Real[ndarray, "k d"],
    log_normaliser: Number,
    noise_log_density: LogDensity,
    ratio: Number,
) -> Float[ndarray, "n"]:
    """Return  h(x) = p(x) / (p(x) + ν pₙ(x)) = σ(log p(x) − log pₙ(x) − log ν).

    It is the probability that x is data, where ν draws of noise come with each datum.

    Args:
        x: n points, a row each.
        means, log_normaliser: the model.
        noise_log_density: log pₙ, rows in, numbers out.
        ratio: ν, positive.
    """
    checks.rows(x=x)
    checks.positive(ratio=ratio)
    _check_model(means, log_normaliser, x=x)
    x = _floats(x)
    log_noise = _log_density(noise_log_density, x, "x")
    return expit(
        _components(x, _floats(means)).log_sum
        - (log_noise + np.log(ratio) + log_normaliser)
    )


def objective(
    means: Real[ndarray, "k d"],
    log_normaliser: Number,
    data: Real[ndarray, "n d"],
    noise: Real[ndarray, "m d"],
    noise_log_density: LogDensity,
    ratio: Number,
) -> tuple[float, Float[ndarray, "p"]]:
    """Return  J = (1/n) Σ_data log h(x) + (ν/m) Σ_noise log(1 − h(x)),  and its slope.

    h is `probability_of_data`. J is to be maximised. Its gradient with respect to
    (μ₁, ..., μ_k, c), the means raveled row by row, is  (1/n) Σ_data (1 − h) s −
    (ν/m) Σ_noise h s,  where  s = ∇ log p = (r₁(x)(x − μ₁), ..., r_k(x)(x − μ_k), −1)
    with the responsibilities rᵢ of `mixtures`.

    Args:
        means, log_normaliser: the model at which J is evaluated.
        data: n observations, a row each.
        noise: m draws from the noise, a row each.
        noise_log_density: log pₙ, rows in, numbers out; finite at data and noise.
        ratio: ν, positive; where m is not νn, both means are weighted as stated.

    Reference: Gutmann and Hyvärinen (2012), Noise-contrastive estimation of
    unnormalized statistical models, section 2.2.
    """
    _check_model(means, log_normaliser, data=data, noise=noise)
    contrast = _contrast(data, noise, noise_log_density, ratio)
    return _objective(contrast, _floats(means), float(log_normaliser))


def best_log_normaliser(
    means: Real[ndarray, "k d"],
    data: Real[ndarray, "n d"],
    noise: Real[ndarray, "m d"],
    noise_log_density: LogDensity,
    ratio: Number,
) -> float:
    """Return the c that maximises J, the only root of  Ē_data(1 − h) = ν Ē_noise h.

    Ē is the mean over the sample. J is strictly concave in c, and c lies between the
    least and the largest of  log Σᵢ exp(−|x − μᵢ|²/2) − log pₙ(x)  over all points.

    Args:
        means: the model's, at which c is the best.
        data, noise, noise_log_density, ratio: as for `objective`.
    """
    _check_model(means, 0.0, data=data, noise=noise)
    contrast = _contrast(data, noise, noise_log_density, ratio)
    return _best_log_normaliser(contrast, _floats(means))


def fit(
    rng: np.random.Generator,
    data: Real[ndarray, "n d"],
    *,
    start: Real[ndarray, "k d"] | None = None,
    noise: Noise | None = None,
    ratio: Number = 1,
    normaliser: str = "known",
    components: int = 4,
) -> NCEFit:
    """Return the means, and c, that maximise the `objective`, uphill from the start.

    It draws νn points of noise, climbs by BFGS with the exact gradient, and ends with
    Newton's method. A fit has converged where the Hessian is negative definite and
    Newton's next step moves no parameter by 1e−8; a mean too far from all points to
    feel any force has not. Many a maximum is only local: the start matters.

    Args:
        rng: the source of randomness.
        data: n observations, a row each.
        start: the means to begin at, all different; with None the fit begins four
            times at data that lie far apart, as k-means++ does, and keeps the best.
        noise: the law to contrast the data with, anything with `rvs` and `logpdf` that
            has a density wherever the data can be; None is the Gaussian with the data's
            mean and covariance.
        ratio: ν, how many draws of noise for each datum; νn is rounded, to 1 at least.
        normaliser: "known" keeps c at its true value, "unknown" learns it too.
        components: k, where there is no start.
    """
    checks.table(data=data)
    checks.positive(ratio=ratio)
    checks.one_of(NORMALISERS, normaliser=normaliser)
    checks.counting_number(components=components)
    _check_noise(noise)
    data = _floats(data)
    if start is not None:
        _check_different(start=start)
        checks.same_columns(start=start, data=data)
    noise = _gaussian_like(data) if noise is None else noise
    count = max(1, round(ratio * len(data)))
    draws = _draw_noise(rng, noise, count, data.shape[1])
    contrast = _contrast(data, draws, noise.logpdf, count / len(data))
    learn_c = normaliser == "unknown"
    if start is not None:
        return _climb(contrast, _floats(start), learn_c)
    found = [
        _climb(contrast, _far_apart(rng, data, components), learn_c)
        for _ in range(STARTS)
    ]
    return max(
        found, key=lambda end: (end.converged, _objective(contrast, *end[:2])[0])
    )


def study(
    rng: np.random.Generator,
    sizes: Iterable[int],
    repetitions: int,
    *,
    means: Real[ndarray, "k d"] = mixtures.SQUARE,
    noise: Noise | None = None,
    ratio: Number = 1,
    normalisers: Sequence[str] = NORMALISERS,
    n_jobs: int | None = None,
    keep: str | os.PathLike | None = None,
    progress: bool = True,
) -> ndarray:
    """Return a table of all runs: `fit` on fresh data, for each size and normaliser.

    A row has the fields size, repetition, normaliser, means, log_normaliser, error,
    converged and failed. The error is the Euclidean distance of all the means from the
    true ones, matched with them as well as possible (∞ if they are not finite). A run
    failed if it is not finite or has not converged; it stays in the table. Runs start
    uniformly in the smallest box around the true means. Each size and repetition has
    random numbers of its own, and the normalisers share them, data, noise and start:
    a run does not depend on which others there are, nor on where it is made.

    Args:
        rng: gives the study its seed.
        sizes: how many data, for each part of the study.
        repetitions: how many data sets of each size.
        means: the true ones, all different.
        noise, ratio: as for `fit`.
        normalisers: one or both of "known" and "unknown".
        n_jobs: how many runs at a time, as in joblib, whose backend is used: None is
            one, or what `joblib.parallel_config` says.
        keep: a file to which each run is added when it is done. A study that was
            interrupted goes on from there if called alike, its rng in the same state.
        progress: whether a terminal shows a progress bar.
    """
    sizes, normalisers = list(sizes), list(normalisers)
    _check_study(sizes, repetitions, means, noise, ratio, normalisers)
    means = np.array(means, dtype=float)
    setting = {
        "seed": int(rng.integers(2**63)),
        "sizes": [int(size) for size in sizes],
        "repetitions": int(repetitions),
        "means": means.tolist(),
        "noise": None if noise is None else np.ravel(noise.logpdf(means)).tolist(),
        "ratio": float(ratio),
        "normalisers": normalisers,
    }
    runs = list(product(setting["sizes"], range(repetitions), normalisers))
    done = {} if keep is None else _resume(keep, setting)
    work = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        joblib.delayed(_run)(setting["seed"], run, means, noise, ratio)
        for run in runs
        if run not in done
    )
    hidden = None if progress else True  # None: hidden unless this is a terminal
    with tqdm(work, "runs", len(runs), initial=len(done), disable=hidden) as finished:
        for run, result in finished:
            done[run] = result
            if keep is not None:
                _append(keep, [*run, *result])
    return _table(runs, done, means)


def cramer_rao(means: Real[ndarray, "k d"]) -> Float[ndarray, "p p"]:
    """Return  I⁻¹,  the Cramér–Rao bound on the covariance, for one observation.

    I is the `mixtures.fisher_information` of the means, raveled row by row. For n
    observations the bound is I⁻¹/n.

    Args:
        means: the centre of each component, in one dimension or two, all different.
    """
    _check_different(means=means)
    return _inverse(mixtures.fisher_information(means))


def asymptotic_covariance(
    means: Real[ndarray, "k d"], noise: Noise, ratio: Number, normaliser: str
) -> Float[ndarray, "p p"]:
    """Return  M⁻¹ − (1 + 1/ν) M⁻¹ b bᵀ M⁻¹,  the limit of n Cov(θ̂) as n grows.

    Here  M = E[(1 − h) s sᵀ],  b = E[(1 − h) s]  over the data's law, with h and s as
    in `objective`, at the truth. With c known, θ̂ and s are without their last entry.

    Args:
        means: the true ones, in one dimension or two, all different.
        noise: the law of the noise, anything with `logpdf`.
        ratio: ν, how many draws of noise for each datum.
        normaliser: "known", for a matrix (kd, kd), or "unknown", (kd + 1, kd + 1).

    Reference: Gutmann and Hyvärinen (2012), theorem 3.
    """
    _check_different(means=means)
    checks.positive(ratio=ratio)
    checks.one_of(NORMALISERS, normaliser=normaliser)
    means, c = _floats(means), true_log_normaliser(means)
    kept = means.size + (normaliser == "unknown")

    def moments(x: ndarray) -> ndarray:
        parts = _components(x, means)
        s = _slopes(parts)[:kept]
        log_noise = _log_density(noise.logpdf, x, "the quadrature's nodes")
        noise_odds = expit(log_noise + np.log(ratio) + c - parts.log_sum)  # 1 − h
        # s sᵀ, and s beside it as a last column
        columns = np.concatenate([s, np.ones((1, len(x)))])
        return np.einsum("n,pn,qn->npq", noise_odds, s, columns)

    both = mixtures.expectation(moments, means)
    inverse, b = _inverse(both[:, :-1]), both[:, -1]
    return inverse - (1 + 1 / ratio) * np.outer(inverse @ b, inverse @ b)


class _Components(NamedTuple):
    """What the k components say of n points; these stand last, for long loops."""

    away: Float[ndarray, "k d n"]  # x − μᵢ
    responsibilities: Float[ndarray, "k n"]
    log_sum: Float[ndarray, "n"]  # log Σᵢ exp(−|x − μᵢ|²/2)


def _components(x, means) -> _Components:
    away = x.T - means[:, :, None]
    exponents = -0.5 * np.einsum("kdn,kdn->kn", away, away)
    largest = exponents.max(axis=0)
    weights = np.exp(exponents - largest)
    total = weights.sum(axis=0)
    return _Components(away, weights / total, np.log(total) + largest)


def _slopes(parts: _Components) -> Float[ndarray, "p n"]:
    """s = ∇ log p(x)  with respect to the means, raveled, and to c."""
    k, dimension, n = parts.away.shape
    s = np.full((k * dimension + 1, n), -1.0)
    np.multiply(
        parts.responsibilities[:, None], parts.away, out=s[:-1].reshape(k, dimension, n)
    )
    return s


class _Contrast(NamedTuple):
    """Data and noise, one after the other."""

    x: Float[ndarray, "n d"]
    log_noise: Float[ndarray, "n"]  # log ν pₙ(x)
    side: Float[ndarray, "n"]  # +1 for data, −1 for noise
    weight: Float[ndarray, "n"]  # 1/n for data, ν/m for noise
    ratio: float


def _contrast(data, noise, noise_log_density, ratio) -> _Contrast:
    checks.positive(ratio=ratio)
    checks.table(data=data, noise=noise)
    data, noise = _floats(data), _floats(noise)
    log_noise = np.concatenate(
        [
            _log_density(noise_log_density, data, "the data"),
            _log_density(noise_log_density, noise, "the noise"),
        ]
    )
    counts = [len(data), len(noise)]
    return _Contrast(
        np.concatenate([data, noise]),
        log_noise + np.log(ratio),
        np.repeat([1.0, -1.0], counts),
        np.repeat([1 / len(data), ratio / len(noise)], counts),
        float(ratio),
    )


def _objective(contrast, means, c) -> tuple[float, Float[ndarray, "p"]]:
    parts = _components(contrast.x, means)
    # the log of the odds of being right; log h and log(1 − h) are −log(1 + e^−margin)
    margin = contrast.side * (parts.log_sum - c - contrast.log_noise)
    value = -np.sum(contrast.weight * np.logaddexp(0.0, -margin))
    pull = contrast.weight * contrast.side * expit(-margin)
    return float(value), np.einsum("pn,n->p", _slopes(parts), pull)


def _hessian(contrast, means, c) -> Float[ndarray, "p p"]:
    """Σ pull ∇² log p − Σ weight h (1 − h) s sᵀ,  with the gradient's  Σ pull s."""
    parts = _components(contrast.x, means)
    s = _slopes(parts)
    margin = contrast.side * (parts.log_sum - c - contrast.log_noise)
    pull = contrast.weight * contrast.side * expit(-margin)
    bend = contrast.weight * expit(margin) * expit(-margin)
    matrix = -np.einsum("pn,qn,n->pq", s, s, bend)
    # ∇² log p = the blocks rᵢ ((x − μᵢ)(x − μᵢ)ᵀ − I), less the outer product of s
    matrix[:-1, :-1] -= np.einsum("pn,qn,n->pq", s[:-1], s[:-1], pull)
    dimension = means.shape[1]
    for i, (away, force) in enumerate(
        zip(parts.away, parts.responsibilities * pull, strict=True)
    ):
        block = slice(i * dimension, (i + 1) * dimension)
        matrix[block, block] += np.einsum("dn,en,n->de", away, away, force)
        matrix[block, block] -= force.sum() * np.eye(dimension)
    return matrix


def _best_log_normaliser(contrast, means) -> float:
    log_sum = _components(contrast.x, means).log_sum

    def slope(c: float) -> float:
        margin = contrast.side * (log_sum - c - contrast.log_noise)
        return -np.sum(contrast.weight * contrast.side * expit(-margin))

    between = log_sum - contrast.log_noise + np.log(contrast.ratio)
    # one further on either side, where rounding cannot hide the change of sign
    return float(brentq(slope, between.min() - 1, between.max() + 1, xtol=1e-13))


def _climb(contrast, start, learn_c: bool) -> NCEFit:
    """BFGS to near a maximum, and Newton's method onto it, if there is one."""
    fixed = true_log_normaliser(start)
    theta = start.ravel()
    if learn_c:
        theta = np.append(theta, _best_log_normaliser(contrast, start))
    p = len(theta)

    def model(theta) -> tuple[ndarray, float]:
        means = theta[: start.size].reshape(start.shape)
        return means, float(theta[-1]) if learn_c else fixed

    def cost(theta) -> tuple[float, ndarray]:
        value, gradient = _objective(contrast, *model(theta))
        return -value, -gradient[:p]

    theta = minimize(cost, theta, jac=True, method="BFGS", options={"gtol": 1e-6}).x
    converged = False
    for _ in range(10):
        curvature = -_hessian(contrast, *model(theta))[:p, :p]
        if not _is_positive_definite(curvature):
            break
        step = -np.linalg.solve(curvature, cost(theta)[1])
        converged = bool(np.abs(step).max() <= 1e-8)
        if converged or np.abs(step).max() > 0.1:  # so near a maximum steps are small
            break
        theta = theta + step
    return NCEFit(*model(theta), converged)


def _is_positive_definite(matrix) -> bool:
    """Whether all eigenvalues are positive, beyond the reach of rounding errors."""
    if not np.isfinite(matrix).all():
        return False
    values = np.linalg.eigvalsh(matrix)
    return bool(values[0] > 1e-10 * abs(values[-1]))


def _inverse(matrix) -> Float[ndarray, "p p"]:
    if not _is_positive_definite(matrix):
        raise ValueError(
            "means must be far enough apart, and the noise must cover them, for the "
            f"information to have an inverse, got eigenvalues from "
            f"{np.linalg.eigvalsh(matrix)[0]:.2g}"
        )
    inverse = np.linalg.inv(matrix)
    return (inverse + inverse.T) / 2


def _gaussian_like(data):
    covariance = np.cov(data.T, ddof=0).reshape(data.shape[1], -1)
    if not _is_positive_definite(covariance):
        raise ValueError(
            "data must not lie on a line or a plane, or noise be given: no Gaussian "
            f"has their covariance, got {covariance.tolist()}"
        )
    return multivariate_normal(data.mean(axis=0), covariance)


def _draw_noise(rng, noise, n, dimension) -> Float[ndarray, "n d"]:
    draws = _floats(noise.rvs(size=n, random_state=rng))
    if draws.size != n * dimension:
        raise ValueError(
            f"noise must draw points of {dimension} coordinates, like the data, "
            f"got {draws.size} numbers for {n} draws"
        )
    return draws.reshape(n, dimension)  # SciPy drops axes of length one


def _log_density(noise_log_density, x, where) -> Float[ndarray, "n"]:
    values = _floats(noise_log_density(x))
    if values.size != len(x):
        raise ValueError(
            f"noise's log-density must be one number for each of {len(x)} points, "
            f"got shape {values.shape}"
        )
    wrong = values[~np.isfinite(values)]
    if wrong.size:
        raise ValueError(
            f"noise must cover {where}: its log-density must be finite there, "
            f"got {wrong[0]}"
        )
    return values.reshape(len(x))


def _far_apart(rng, data, k) -> Float[ndarray, "k d"]:
    """k data: each next one drawn by its squared distance to the nearest so far."""
    chosen = [data[rng.integers(len(data))]]
    while len(chosen) < k:
        squared = np.min([np.sum((data - x) ** 2, axis=1) for x in chosen], axis=0)
        if squared.sum() == 0:
            raise ValueError(
                f"components must be at most the number of different data, got {k}"
            )
        chosen.append(data[rng.choice(len(data), p=squared / squared.sum())])
    return np.array(chosen)


def _run(seed, run, means, noise, ratio) -> tuple[tuple, list]:
    """One run of a study, and its result: the means, c, whether the fit converged."""
    size, repetition, normaliser = run
    rng = np.random.default_rng([seed, size, repetition])
    data, _ = mixtures.draw(rng, means, size)
    start = rng.uniform(means.min(axis=0), means.max(axis=0), means.shape)
    found = fit(rng, data, start=start, noise=noise, ratio=ratio, normaliser=normaliser)
    return run, [found.means.tolist(), found.log_normaliser, found.converged]


def _table(runs, done, truth) -> ndarray:
    fields = [
        ("size", int),
        ("repetition", int),
        ("normaliser", "U7"),
        ("means", float, truth.shape),
        ("log_normaliser", float),
        ("error", float),
        ("converged", bool),
        ("failed", bool),
    ]
    rows = []
    for run in runs:
        means, c, converged = done[run]
        finite = np.isfinite(means).all() and np.isfinite(c)
        error = np.inf
        if finite:
            error = contrastive_divergence.match(np.array(means), truth).distance
        rows.append((*run, means, c, error, converged, not (finite and converged)))
    return np.array(rows, dtype=fields)


def _resume(keep, setting) -> dict:
    """The runs that the file holds; half a line, left by a crash, is cut off."""
    header = json.dumps(setting)
    text = Path(keep).read_text() if Path(keep).exists() else ""
    first, ended, _ = text.partition("\n")
    if first != header and (ended or not header.startswith(first)):
        raise ValueError(
            f"keep must be a new file, or one of the very same study, got {keep}, "
            f"which begins with {first[:60]!r}"
        )
    whole = text[: text.rfind("\n") + 1]
    with Path(keep).open("a") as file:
        file.truncate(len(whole))  # all is ASCII: a character is a byte
        if not whole:
            file.write(header + "\n")
    lines = [json.loads(line) for line in whole.splitlines()[1:]]
    return {tuple(line[:3]): line[3:] for line in lines}


def _append(keep, line) -> None:
    with Path(keep).open("a") as file:
        file.write(json.dumps(line) + "\n")


def _floats(values) -> ndarray:
    return np.asarray(values, dtype=float)


def _check_model(means, log_normaliser, **samples) -> None:
    checks.table(means=means)
    checks.finite(log_normaliser=log_normaliser)
    for name, sample in samples.items():
        checks.rows(**{name: sample})
        checks.finite(**{name: sample})
        checks.same_columns(means=means, **{name: sample})


def _check_different(**means) -> None:
    checks.table(**means)
    for name, value in means.items():
        if len(np.unique(value, axis=0)) < len(value):
            raise ValueError(f"{name} must be different, got {np.asarray(value)}")


def _check_noise(noise) -> None:
    if noise is not None and not isinstance(noise, Noise):
        raise ValueError(
            f"noise must have the methods rvs and logpdf, got {type(noise).__name__}"
        )


def _check_study(sizes, repetitions, means, noise, ratio, normalisers) -> None:
    for size in sizes:
        checks.counting_number(sizes=size)
    for option in normalisers:
        checks.one_of(NORMALISERS, normalisers=option)
    for name, values in {"sizes": sizes, "normalisers": normalisers}.items():
        if len(values) == 0 or len(set(values)) < len(values):
            raise ValueError(f"{name} must be different, at least one, got {values}")
    checks.counting_number(repetitions=repetitions)
    checks.positive(ratio=ratio)
    _check_different(means=means)
    _check_noise(noise)
