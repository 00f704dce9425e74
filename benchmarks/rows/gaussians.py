"""Rows of the chapter `gaussians`: the log-density, on 100,000 points."""

import numpy as np
import torch
from scipy import stats

from benchmarks.run import row
from solutions import gaussians

X = np.random.default_rng(0).normal(1.0, 2.0, 100_000)


@row("log-density of N(1, 4) at 100,000 points", library="scipy")
def gaussian_log_density_scipy():
    """Against `scipy.stats.norm.logpdf`."""
    return lambda: gaussians.log_density(X, 1.0, 4.0), lambda: stats.norm.logpdf(X, 1.0, 2.0)


@row("log-density of N(1, 4) at 100,000 points", library="torch")
def gaussian_log_density_torch():
    """Against `torch.distributions.Normal.log_prob`, its distribution built once and its argument checks on."""
    x, law = torch.from_numpy(X), torch.distributions.Normal(torch.tensor(1.0).double(), torch.tensor(2.0).double())
    return lambda: gaussians.log_density(X, 1.0, 4.0), lambda: law.log_prob(x)
