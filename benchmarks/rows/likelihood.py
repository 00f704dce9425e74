"""Rows of the chapter `likelihood`: the log-likelihood of 10,000 rows in the plane."""

import torch

from benchmarks.run import row
from solutions import likelihood

GENERATOR = torch.Generator().manual_seed(0)
DATA = torch.randn(10_000, 2, generator=GENERATOR, dtype=torch.float64)
MEAN = torch.zeros(2, dtype=torch.float64)
COVARIANCE = torch.tensor([[5.0, 1.0], [1.0, 2.0]], dtype=torch.float64)


@row("log-likelihood of 10,000 rows in the plane", library="torch")
def log_likelihood_torch():
    """Against `torch.distributions.MultivariateNormal`, made anew at each call, as an ascent would."""

    def theirs():
        return torch.distributions.MultivariateNormal(MEAN, COVARIANCE).log_prob(DATA).sum()

    return lambda: likelihood.log_likelihood(DATA, MEAN, COVARIANCE), theirs
