"""The full study of noise-contrastive estimation, whose results the chapter shows as recorded.

    python -m book.recorded.noise_contrastive

writes noise_contrastive.json beside this file: every run of the study, with the normaliser known and unknown, for one
draw of noise a datum (400 data sets of each of six sizes) and for ten (50); and, for comparison, what comes of 50 such
data sets when the objective is written down as one would on paper, and when one thing at a time is put right.

What the file already has is kept, and its seconds are counted: delete the file to do all of it again.
"""

import warnings
from itertools import product

import joblib
import numpy as np
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from book.recorded import keeping
from solutions import contrastive_divergence, mixtures
from solutions import noise_contrastive as nce

SEED = 2026
SIZES = [100, 150, 1000, 2000, 3000, 5000]
REPETITIONS = {1: 400, 10: 50}  # for each ratio of noise to data
ON_PAPER = 50
ALTERED = 1000  # the size at which one thing at a time is put right
CHANGES = ["logaddexp", "exact gradient", "log Z", "means", "best start"]
NOISE = multivariate_normal([1.5, 1.5], 4 * np.eye(2))


def on_paper(size, run, changes=()):
    """One run without log-space, with sums for means, Z for log Z, and finite differences for the gradient.

    The start of Z is drawn like that of the means, between 0 and 3. Each of CHANGES puts one of these right.
    """
    rng = np.random.default_rng([SEED, size, run])
    data, _ = mixtures.draw(rng, mixtures.SQUARE, size)
    noise = NOISE.rvs(size=size, random_state=rng)
    start = rng.uniform(0, 3, 9)
    noise_densities = NOISE.pdf(data), NOISE.pdf(noise)
    scale = size if "means" in changes else 1
    log_z = "log Z" in changes
    if "best start" in changes:
        start[8] = np.exp(nce.best_log_normaliser(start[:8].reshape(4, 2), data, noise, NOISE.logpdf, 1))
    if log_z:
        start[8] = np.log(start[8])

    def exactly(theta):
        """The chapter's objective and gradient at these parameters, or NaN where there is no model."""
        if not np.isfinite(theta).all() or (theta[8] <= 0 and not log_z):
            return np.nan, np.full(9, np.nan)
        c = theta[8] if log_z else np.log(theta[8])
        value, gradient = nce.objective(theta[:8].reshape(4, 2), c, data, noise, NOISE.logpdf, 1)
        if not log_z:
            gradient[8] /= theta[8]
        return -value * size / scale, -gradient * size / scale

    def cost(theta):
        if "logaddexp" in changes:
            return exactly(theta)[0]
        means, z = theta[:8].reshape(4, 2), np.exp(theta[8]) if log_z else theta[8]
        h_data, h_noise = (
            model / (model + density)
            for x, density in zip((data, noise), noise_densities, strict=True)
            for model in [np.exp(-np.sum((x[:, None] - means) ** 2, axis=2) / 2).sum(axis=1) / z]
        )
        return (-np.sum(np.log(h_data)) - np.sum(np.log(1 - h_noise))) / scale

    gradient = (lambda theta: exactly(theta)[1]) if "exact gradient" in changes else None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        end = minimize(cost, start, jac=gradient, method="BFGS")
    means, finite = end.x[:8].reshape(4, 2), bool(np.isfinite(end.x).all() and np.isfinite(end.fun))
    error = contrastive_divergence.match(means, mixtures.SQUARE).distance if np.isfinite(means).all() else np.inf
    return float(error), bool(end.success) and finite


def nce_errors(ratio, size, normaliser, jobs):
    """The errors of `fit` on all data sets of one size, and whether each fit converged."""
    rng, options = np.random.default_rng(SEED), {"noise": NOISE, "ratio": ratio, "n_jobs": jobs}
    runs = nce.study(rng, [size], REPETITIONS[ratio], normalisers=[normaliser], **options)
    return runs["error"], runs["converged"]


def on_paper_errors(size, changes, jobs):
    """The same for `on_paper`."""
    work = (joblib.delayed(on_paper)(size, run, changes) for run in range(ON_PAPER))
    return zip(*joblib.Parallel(n_jobs=jobs)(work), strict=True)


def main(path, jobs=1):
    """Run what the file has not."""

    def part(how, ratio, size, normaliser, changes, _):
        errors, converged = (
            nce_errors(ratio, size, normaliser, jobs) if how == "nce" else on_paper_errors(size, changes, jobs)
        )
        return {"errors": np.round(errors, 5).tolist(), "converged": [int(yes) for yes in converged]}

    altered = [[change] for change in CHANGES] + [CHANGES]
    wanted = [("on paper", 1, ALTERED, "unknown", changes, ON_PAPER) for changes in altered]
    wanted += [("on paper", 1, size, "unknown", [], ON_PAPER) for size in SIZES]
    wanted += [
        ("nce", ratio, size, normaliser, [], repetitions)
        for (ratio, repetitions), size, normaliser in product(REPETITIONS.items(), SIZES, nce.NORMALISERS)
    ]
    names = "how", "ratio", "size", "normaliser", "changes", "repetitions"
    notes = {"seed": SEED, "noise": "N((1.5, 1.5), 4 · identity)"}
    keeping.record(path, wanted, part, names, ["numpy", "scipy", "joblib"], **notes)


if __name__ == "__main__":
    parser = keeping.arguments(__file__, __doc__)
    parser.add_argument("--jobs", type=int, default=1)
    main(**vars(parser.parse_args()))
