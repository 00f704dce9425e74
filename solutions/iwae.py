"""Importance weighted autoencoders: a tighter bound from many draws of the latents."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from solutions import checks, vae
from solutions.randomness import given_or_fresh

_ROWS = 2_000  # latents decoded at a time, where no gradient is needed


def iwelbo(log_weights: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch"]:
    """Return  log (1/K) Σₖ wₖ  of each row, the importance weighted bound L_K.

    Args:
        log_weights: log wₖ, each  log p(x, z) − log q(z | x)  for a draw z of q.

    Reference: Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders.
    """
    samples = log_weights.shape[1]
    checks.counting_number(samples=samples)
    return log_weights.logsumexp(1) - math.log(samples)


def log_weights(
    model: nn.Module, x, samples: int, generator: torch.Generator | None = None
) -> Float[Tensor, "batch samples"]:
    """Return  log p(x, z) − log q(z | x)  for so many draws of z for each row of x.

    Args:
        model: a `VAE`, or another with `checked`, `encoder` and `log_likelihood`.
        x: images.
        samples: K.
        generator: draws z; None for one that is seeded afresh.
    """
    checks.counting_number(samples=samples)
    x = model.checked(x)
    mean, log_variance = model.encoder(x)
    z = vae.latents(mean, log_variance, samples, generator)
    return vae.log_ratio(model, x, z, mean, log_variance)


def objective(samples: int) -> Callable:
    """Return the objective  L_K,  for `vae.train`."""
    checks.counting_number(samples=samples)
    return lambda model, x, generator: iwelbo(log_weights(model, x, samples, generator))


@torch.no_grad()
def log_likelihood(
    model: nn.Module,
    x,
    samples: int = 5000,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch"]:
    """Return  L_K  of each row of x, with K so large that it stands for  log p(x).

    On average it is too small. It needs no more memory for more samples.

    Args:
        samples: K.
    """
    checks.counting_number(samples=samples)
    x = model.checked(x)
    generator = given_or_fresh(generator, x.device)
    bounds = []
    for rows in tqdm(
        x.split(min(_ROWS, 100)), desc="images", disable=None, leave=False
    ):
        total = torch.full((len(rows),), -math.inf, dtype=x.dtype, device=x.device)
        mean, log_variance = model.encoder(rows)
        at_once = max(1, _ROWS // len(rows))
        for begin in range(0, samples, at_once):
            some = min(at_once, samples - begin)
            z = vae.latents(mean, log_variance, some, generator)
            logs = vae.log_ratio(model, rows, z, mean, log_variance)
            total = torch.logaddexp(total, logs.logsumexp(1))
        bounds.append(total - math.log(samples))
    return torch.cat(bounds)
