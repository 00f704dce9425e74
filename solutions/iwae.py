"""Importance weighted autoencoders: a tighter bound from many draws of the latents.

The weights of the draws z of q(z | x) are  w = p(x, z) / q(z | x),  by their logs, and
K of them make the bound  L_K = E[log (w₁ + … + w_K)/K] ≤ log p(x).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from solutions import checks, vae
from solutions.randomness import given_or_fresh

_IMAGES = 100  # whose likelihood is estimated together
_ROWS = 2_000  # latents decoded at a time, where no gradient is needed

# The trapezoid rules of `exact_bounds`; halving a step changes nothing but the last
# digits. Beyond _FAR standard deviations the normal density is nearly no number.
_NOISE_STEP, _TIME_STEP, _FAR = 0.02, 0.125, 37


def iwelbo(log_weights: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch"]:
    """Return  log (1/K) Σₖ wₖ  of each row, whose mean is the bound L_K.

    Args:
        log_weights: log wₖ, each  log p(x, z) − log q(z | x)  for a draw z of q. A
            weight of zero is −∞, and a row of nothing else has the bound −∞ and no
            gradient.

    Reference: Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders.
    """
    checks.rows(log_weights=log_weights)
    if log_weights.shape[1] == 0:
        raise ValueError("log_weights must have at least one column, got none")
    if (log_weights == math.inf).any():
        raise ValueError("log_weights must be below ∞, got inf")
    return _log_mean_exp(log_weights)


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
    return _log_weights(model, x, *model.encoder(x), samples, generator)


def objective(samples: int) -> Callable:
    """Return the objective  log (1/K) Σₖ wₖ  for `vae.train`.

    Its gradient is  Σₖ w̃ₖ ∇log wₖ,  with  w̃ₖ = wₖ / Σⱼ wⱼ,  where ∇ takes in how z
    moves with the encoder.

    Args:
        samples: K.
    """
    checks.counting_number(samples=samples)
    return lambda model, x, generator: _log_mean_exp(
        log_weights(model, x, samples, generator)
    )


def doubly_reparameterised(samples: int) -> Callable:
    """Return an objective like `objective`, with another gradient for the encoder φ:

    Σₖ w̃ₖ² (∂log wₖ/∂zₖ) (∂zₖ/∂φ),  which has the same mean. The decoder's gradient and
    the value are as they were.

    Args:
        samples: K; for one draw this is the "path" estimator of `vae.elbo`.

    Reference: Tucker, Lawson, Gu & Maddison (2019), Doubly reparameterized gradient
    estimators for Monte Carlo objectives.
    """
    checks.counting_number(samples=samples)

    def bound(model, x, generator):
        x = model.checked(x)
        return _log_mean_exp(
            _doubly_weighted(model, x, *model.encoder(x), samples, generator)
        )

    return bound


def encoder_gradients(
    model: nn.Module,
    x,
    samples: int,
    *,
    doubly: bool = False,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch parameters"]:
    """Return the gradient of  log (1/K) Σₖ wₖ  in the mean and the log-variance of q.

    Each row of x has its own q, and a row of slopes: in its means, and then in its
    log-variances.

    Args:
        model: a `VAE`, or another with `checked`, `encoder` and `log_likelihood`.
        x: images; a row given n times gets n independent estimates.
        samples: K.
        doubly: whether to take the estimator of `doubly_reparameterised`.
        generator: draws z; None for one that is seeded afresh.
    """
    checks.counting_number(samples=samples)
    x = model.checked(x)
    law = [part.detach().requires_grad_() for part in model.encoder(x)]
    weigh = _doubly_weighted if doubly else _log_weights
    bound = _log_mean_exp(weigh(model, x, *law, samples, generator))
    return torch.cat(torch.autograd.grad(bound.sum(), law), dim=1)


@torch.no_grad()
def log_likelihood(
    model: nn.Module,
    x,
    samples: int = 5000,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch"]:
    """Return  log (1/K) Σₖ wₖ  of each row of x, with K so large that it may stand for
    log p(x).

    On average it is too small. The weights are summed block by block, so that more
    draws need no more memory.

    Args:
        model: a `VAE`, or another with `checked`, `encoder` and `log_likelihood`.
        x: images.
        samples: K.
        generator: draws z; None for one that is seeded afresh.
    """
    checks.counting_number(samples=samples)
    x = model.checked(x)
    generator = given_or_fresh(generator, x.device)
    bounds = []
    for rows in tqdm(x.split(_IMAGES), desc="images", disable=None, leave=False):
        law = model.encoder(rows)
        at_once = _ROWS // len(rows) if len(rows) else samples
        total = rows.new_full((len(rows),), -math.inf)
        for begin in range(0, samples, at_once):
            some = min(at_once, samples - begin)
            block = _log_weights(model, rows, *law, some, generator)
            total = torch.logaddexp(total, block.logsumexp(1))
        bounds.append(total - math.log(samples))
    return torch.cat(bounds)


def weight_variance(model: vae.LinearGaussian, x) -> Float[Tensor, "batch"]:
    """Return the variance of  u = w / p(x),  for a `LinearGaussian` model.

    With P the precision of the posterior, Q that of q(z | x), A = 2P − Q, and d the
    distance of their means,

    E[u²] = |P| (|Q| |A|)^{−½} exp(½ dᵀ (Q + Q A⁻¹ Q) d),  and E[u] = 1,

    if A is positive definite; otherwise it is infinite. In one dimension it is finite
    where the variance of q is more than half the posterior's.

    Args:
        model: with any number of latents.
        x: points, (batch, d).
    """
    x, (mean, log_variance), (centre, precision) = _laws(model, x)
    q = (-log_variance[0]).exp().diag()
    a = 2 * precision - q
    if torch.linalg.eigvalsh(a.detach()).min() <= 0:
        return x.new_full((len(x),), math.inf)
    inside = q + q @ torch.linalg.solve(a, q)
    distance = mean - centre
    log_second = (
        torch.logdet(precision)
        - (torch.logdet(q) + torch.logdet(a)) / 2
        + torch.einsum("bi,ij,bj->b", distance, inside, distance) / 2
    )
    return torch.expm1(log_second)


def exact_bounds(
    model: vae.LinearGaussian, x, samples: int | Sequence[int]
) -> Float[Tensor, "batch many"]:
    """Return L_K without chance, for a `LinearGaussian` model with one latent.

    It is  log p(x) − ∫₀^∞ (M(t/K)^K − e^{−t}) dt/t  with  M(s) = E[e^{−su}],
    u = w / p(x),  by the trapezoid rule in log t, and for M in the noise. Gradients
    flow to all parameters of the model.

    Args:
        model: the standard deviation of its q(z | x) must be between a quarter of the
            posterior's and four times it, and the posterior not too far out.
        x: points, (batch, d).
        samples: K, or several.
    """
    samples = np.atleast_1d(samples).tolist()
    for number in samples or [0]:
        checks.counting_number(samples=number)
    x, law, posterior = _laws(model, x)
    noise = _noise_nodes(law, posterior)
    mean, log_variance = law
    z = mean[:, None] + (log_variance / 2).exp()[:, None] * noise[:, None]
    evidence = model.log_evidence(x)
    log_u = vae.log_ratio(model, x, z, *law) - evidence[:, None]
    density = torch.exp(-(noise**2) / 2) * _NOISE_STEP / math.sqrt(2 * math.pi)
    return torch.stack(
        [
            whole - _gaps(row, noise, density, samples)
            for whole, row in zip(evidence, log_u, strict=True)
        ]
    )


def _gaps(log_u, noise, density, samples) -> Float[Tensor, "many"]:
    """∫ (M(e^r)^K − exp(−K e^r)) dr,  for each K."""
    begin = -45 - math.log(max(samples))
    end = 4 - float(log_u.detach()[noise.abs() < 9].min())
    r = torch.arange(begin, max(end, 4), _TIME_STEP, dtype=log_u.dtype)
    # exp(−e^7) is 0, and so is its slope
    falls = torch.expm1(-(r[:, None] + log_u).clamp(max=7).exp()) @ density
    some = falls > -1 + 1e-14  # beyond, M is 0 but for rounding
    log_m = torch.log1p(falls[some])
    return torch.stack(
        [
            ((number * log_m).exp().sum() - (-number * r.exp()).exp().sum())
            * _TIME_STEP
            for number in samples
        ]
    )


def _noise_nodes(law, posterior) -> Float[Tensor, "nodes"]:
    """Where (z − mean)/std is looked at: wherever q or the posterior has mass."""
    (mean, log_variance), (centre, precision) = law, posterior
    if precision.shape != (1, 1):
        raise ValueError(f"model must have one latent, got {len(precision)}")
    std = (log_variance / 2).detach().exp()
    ratio = 1 / (std * precision.detach().sqrt())  # the posterior's over that of q
    if ratio.min() < 0.25 or ratio.max() > 4:
        raise ValueError(
            "model must have a q(z | x) with a standard deviation between a quarter of"
            f" the posterior's and four times it, got {float(1 / ratio[0, 0]):.3g}"
        )
    reach = 8 * ratio + ((mean - centre).detach() / std).abs()
    if reach.max() > _FAR:
        raise ValueError(
            "x must have its posterior within reach of q(z | x): 8 of its standard"
            f" deviations must end before {_FAR} of those of q, got"
            f" {float(reach.max()):.3g}"
        )
    end = max(9.0, float(reach.max()))
    return torch.arange(-end, end + _NOISE_STEP, _NOISE_STEP, dtype=mean.dtype)


def _laws(model, x):
    """Points, and mean and log-variance of q, and mean and precision of p(z | x)."""
    if not isinstance(model, vae.LinearGaussian):
        raise ValueError(
            f"model must be a LinearGaussian, got a {type(model).__name__}"
        )
    x = model.checked(x)
    by_noise = model.weight.T / model.log_noise.exp()
    precision = by_noise @ model.weight
    precision = precision + torch.eye(len(precision), dtype=precision.dtype)
    centre = torch.linalg.solve(precision, by_noise @ (x - model.offset).T).T
    return x, model.encoder(x), (centre, precision)


def _log_mean_exp(log_weights: Tensor) -> Tensor:
    return log_weights.logsumexp(1) - math.log(log_weights.shape[1])


def _log_weights(model, x, mean, log_variance, samples, generator) -> Tensor:
    z = vae.latents(mean, log_variance, samples, generator)
    return vae.log_ratio(model, x, z, mean, log_variance)


def _doubly_weighted(model, x, mean, log_variance, samples, generator) -> Tensor:
    """The log-weights; a slope that comes to z is multiplied by its w̃ once more, and
    the other ways from q to its weights are cut.
    """
    z = vae.latents(mean, log_variance, samples, generator)
    logs = vae.log_ratio(model, x, z, mean.detach(), log_variance.detach())
    shares = logs.detach().softmax(1)
    if z.requires_grad:
        z.register_hook(lambda slope: shares[:, :, None] * slope)
    return logs
