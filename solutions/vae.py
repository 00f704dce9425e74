"""Variational autoencoders: a network for p(x | z), one for q(z | x), and a bound.

The latents z are (batch, samples, latents); whatever is said of each image is (batch,).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn
from tqdm import tqdm

from solutions import checks
from solutions.checks import Number
from solutions.datasets import binarise
from solutions.networks import on_weights, perceptron
from solutions.randomness import given_or_fresh

ESTIMATORS = ("analytic_kl", "total", "path")
PIXELS = ("stochastic", "fixed", "rounded")


class History(NamedTuple):
    """What a training run was worth, epoch by epoch, in nats for each image."""

    train: Float[ndarray, "epochs"]
    test: Float[ndarray, "epochs"]


def leaky() -> nn.Module:
    """Return  max(x, x/5)."""
    return nn.LeakyReLU(0.2)


class Encoder(nn.Module):
    """q(z | x) = N(mean(x), diag exp log_variance(x)),  from two hidden layers.

    Args:
        pixels, hidden, latents: how many of each.
        activation: makes the function between the layers; nn.Tanh for example.
        generator: draws the first weights; None for one that is seeded afresh.
    """

    def __init__(
        self,
        pixels: int,
        hidden: int = 200,
        latents: int = 20,
        *,
        activation: Callable[[], nn.Module] = leaky,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        checks.counting_number(pixels=pixels, hidden=hidden, latents=latents)
        sizes = [pixels, hidden, hidden, 2 * latents]
        self.pixels, self.latents = pixels, latents
        self.layers = perceptron(sizes, activation, given_or_fresh(generator))

    def forward(
        self, x: Float[Tensor, "batch pixels"]
    ) -> tuple[Float[Tensor, "batch latents"], Float[Tensor, "batch latents"]]:
        """Return the mean and the log-variance of each latent."""
        mean, log_variance = self.layers(x).chunk(2, dim=-1)
        return mean, log_variance


class Decoder(nn.Module):
    """p(x | z) = ∏ Bernoulli(xᵢ; sigmoid(logitsᵢ(z))),  from two hidden layers.

    Args:
        latents, hidden, pixels: how many of each.
        activation: makes the function between the layers.
        generator: draws the first weights; None for one that is seeded afresh.
    """

    def __init__(
        self,
        latents: int,
        hidden: int = 200,
        pixels: int = 784,
        *,
        activation: Callable[[], nn.Module] = leaky,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        checks.counting_number(latents=latents, hidden=hidden, pixels=pixels)
        sizes = [latents, hidden, hidden, pixels]
        self.latents, self.pixels = latents, pixels
        self.layers = perceptron(sizes, activation, given_or_fresh(generator))

    def forward(
        self, z: Float[Tensor, "*batch latents"]
    ) -> Float[Tensor, "*batch pixels"]:
        """Return the logits of the pixels."""
        return self.layers(z)


class VAE(nn.Module):
    """p(x, z) = N(z; 0, I) p(x | z),  with a network q(z | x) for its posterior.

    Args:
        encoder: module  x -> (mean, log_variance)  of the latents.
        decoder: module  z -> logits of the pixels.

    Reference: Kingma & Welling (2014), Auto-encoding variational Bayes.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def checked(self, x) -> Float[Tensor, "batch pixels"]:
        """Return images as rows of pixels, in the precision of the weights.

        Args:
            x: array or tensor of rows, or of square images, with entries in [0, 1].
        """
        x = on_weights(self, x=x)
        if x.ndim == 3:
            x = x.flatten(1)
        checks.rows(x=x)
        checks.fraction(x=x)
        pixels = getattr(self.encoder, "pixels", x.shape[1])
        if x.shape[1] != pixels:
            raise ValueError(f"x must have {pixels} pixels, got {x.shape[1]}")
        return x

    def log_likelihood(
        self,
        x: Float[Tensor, "batch pixels"],
        z: Float[Tensor, "batch samples latents"],
    ) -> Float[Tensor, "batch samples"]:
        """Return  log p(x | z) = Σᵢ xᵢ lᵢ − log(1 + exp lᵢ),  l the logits."""
        logits = self.decoder(z)
        return (logits @ x[:, :, None])[:, :, 0] - F.softplus(logits).sum(-1)


class LinearGaussian(nn.Module):
    """p(x, z) = N(z; 0, I) N(x; W z + b, variance · I),  where all is known exactly.

    Its q(z | x) is linear as well:  N(A x + c, diag exp log_variance).

    Args:
        weight: W, (d, k).
        offset: b, (d,).
        variance: of the noise.
        encoder: A, (k, d).
        shift: c, (k,).
        log_variance: of q(z | x), (k,).
    """

    def __init__(self, weight, offset, variance, encoder, shift, log_variance):
        super().__init__()
        checks.table(weight=weight, encoder=encoder)
        d, k = np.shape(weight)
        checks.of_shape((k, d), encoder=encoder)
        checks.series(offset=offset, shift=shift, log_variance=log_variance)
        checks.of_shape((d,), offset=offset)
        checks.of_shape((k,), shift=shift, log_variance=log_variance)
        checks.positive(variance=variance)

        def parameter(value):
            return nn.Parameter(torch.tensor(value, dtype=torch.float64))

        self.weight, self.offset = parameter(weight), parameter(offset)
        self.log_noise = parameter(math.log(variance))
        self.matrix, self.shift = parameter(encoder), parameter(shift)
        self.log_variance = parameter(log_variance)

    @classmethod
    def at_the_posterior(cls, weight, offset, variance):
        """Return the model with the best q(z | x): the posterior, if WᵀW is diagonal.

        Else its mean is the posterior's, and its precisions are.
        """
        weight, offset = np.array(weight, dtype=float), np.array(offset, dtype=float)
        precision = np.eye(weight.shape[1]) + weight.T @ weight / variance
        matrix = np.linalg.solve(precision, weight.T / variance)
        return cls(
            weight,
            offset,
            variance,
            matrix,
            -matrix @ offset,
            -np.log(np.diag(precision)),
        )

    def checked(self, x) -> Float[Tensor, "batch d"]:
        """Return points as a tensor in the precision of the weights."""
        x = on_weights(self, x=x)
        checks.table(x=x)
        if x.shape[1] != len(self.offset):
            raise ValueError(
                f"x must have {len(self.offset)} columns, got {x.shape[1]}"
            )
        return x

    def encoder(self, x):
        """Return the mean and the log-variance of q(z | x)."""
        mean = x @ self.matrix.T + self.shift
        return mean, self.log_variance.expand_as(mean)

    def log_likelihood(
        self, x: Float[Tensor, "batch d"], z: Float[Tensor, "batch samples k"]
    ) -> Float[Tensor, "batch samples"]:
        """Return log p(x | z)."""
        mean = z @ self.weight.T + self.offset
        return _log_normal(x[:, None], mean, self.log_noise)

    def log_evidence(self, x) -> Float[Tensor, "batch"]:
        """Return  log p(x) = log N(x; b, W Wᵀ + variance · I)."""
        x, d = self.checked(x), len(self.offset)
        covariance = self.weight @ self.weight.T
        covariance = covariance + self.log_noise.exp() * torch.eye(
            d, dtype=covariance.dtype, device=covariance.device
        )
        law = torch.distributions.MultivariateNormal(self.offset, covariance)
        return law.log_prob(x)


def gaussian_kl(
    mean: Float[Tensor, "batch k"], log_variance: Float[Tensor, "batch k"]
) -> Float[Tensor, "batch"]:
    """Return  KL(N(mean, diag exp log_variance) ‖ N(0, I))  of each row.

    It is  ½ Σᵢ (exp vᵢ + meanᵢ² − 1 − vᵢ),  v the log-variance; exp v − 1 is kept whole
    where v is small.
    """
    checks.same_shape(mean=mean, log_variance=log_variance)
    return (torch.expm1(log_variance) + mean**2 - log_variance).sum(-1) / 2


def latents(
    mean: Float[Tensor, "batch k"],
    log_variance: Float[Tensor, "batch k"],
    samples: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch samples k"]:
    """Return  z = mean + exp(log_variance/2) ε,  so many for each row, ε ~ N(0, I)."""
    generator = given_or_fresh(generator, mean.device)
    noise = torch.randn(
        (len(mean), samples, mean.shape[1]),
        generator=generator,
        dtype=mean.dtype,
        device=mean.device,
    )
    return mean[:, None] + (log_variance / 2).exp()[:, None] * noise


def log_ratio(
    model: nn.Module,
    x: Float[Tensor, "batch d"],
    z: Float[Tensor, "batch samples k"],
    mean: Float[Tensor, "batch k"],
    log_variance: Float[Tensor, "batch k"],
) -> Float[Tensor, "batch samples"]:
    """Return  log p(x, z) − log q(z | x),  q Gaussian."""
    prior = _log_normal(
        z, torch.zeros_like(mean)[:, None], torch.zeros_like(mean)[:, None]
    )
    posterior = _log_normal(z, mean[:, None], log_variance[:, None])
    return model.log_likelihood(x, z) + prior - posterior


def elbo(
    model: nn.Module,
    x,
    estimator: str = "analytic_kl",
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch"]:
    """Return an estimate of the ELBO of each row of x, from one draw of its latents.

    Args:
        model: a `VAE`, or another with `checked`, `encoder` and `log_likelihood`.
        x: images.
        estimator: "analytic_kl",  log p(x | z) − KL(q ‖ p);  "total",
            log p(x, z) − log q(z | x);  "path", the same, but its gradient leaves out
            that  log q(z | x)  depends on the encoder other than through z.
        generator: draws z; None for one that is seeded afresh.

    Reference: Roeder, Wu & Duvenaud (2017), Sticking the landing.
    """
    checks.one_of(ESTIMATORS, estimator=estimator)
    x = model.checked(x)
    mean, log_variance = model.encoder(x)
    z = latents(mean, log_variance, 1, generator)
    if estimator == "analytic_kl":
        return model.log_likelihood(x, z)[:, 0] - gaussian_kl(mean, log_variance)
    if estimator == "path":
        mean, log_variance = mean.detach(), log_variance.detach()
    return log_ratio(model, x, z, mean, log_variance)[:, 0]


def train(
    model: nn.Module,
    data,
    *,
    objective: str | Callable = "analytic_kl",
    epochs: int = 20,
    test=None,
    pixels: str | None = "stochastic",
    batch_size: int = 128,
    rate: Number = 1e-3,
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None,
) -> History:
    """Climb an objective by Adam, and tell after each epoch what it has come to.

    A run that leaves the numbers raises an OverflowError.

    Args:
        model: is changed in place.
        data: images, (n, pixels) or (n, side, side), in [0, 1].
        objective: an estimator of `elbo` by name, or a function
            (model, x, generator) -> (batch,).
        epochs: how often all the data are gone through, in a new order each time.
        test: other images; the ELBO ("analytic_kl") of them, as they are, is measured
            after each epoch.
        pixels: "stochastic", black and white images are drawn from the grey ones
            anew for each epoch; "fixed", they are drawn once; "rounded"; or None, the
            data are taken as they are.
        batch_size: of the minibatches.
        rate: Adam's.
        optimizer: goes on with this one instead of a new Adam.
        generator: draws orders, pixels and latents; None for one that is seeded afresh.

    Returns:
        History(train, test): the mean objective over each epoch, while the weights
        moved, and the mean ELBO of the test images after it (NaN without any).
    """
    if pixels is not None:
        checks.one_of(PIXELS, pixels=pixels)
    checks.counting_number(epochs=epochs, batch_size=batch_size)
    checks.positive(rate=rate)
    objective = _objective(objective)
    data, test = model.checked(data), None if test is None else model.checked(test)
    generator = given_or_fresh(generator, data.device)
    if pixels in ("fixed", "rounded"):
        data = binarise(data, {"fixed": "stochastic"}.get(pixels, pixels), generator)
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=rate)
    history = []
    for _ in tqdm(range(epochs), desc="epochs", disable=None, leave=False):
        total = torch.zeros((), device=data.device, dtype=data.dtype)
        order = torch.randperm(len(data), generator=generator, device=data.device)
        for rows in order.split(batch_size):
            x = data[rows]
            if pixels == "stochastic":
                x = torch.bernoulli(x, generator=generator)
            value = objective(model, x, generator)
            optimizer.zero_grad()
            (-value.mean()).backward()
            optimizer.step()
            total += value.detach().sum()
        mean = float(total) / len(data)
        if not math.isfinite(mean):
            raise OverflowError(
                f"training left the numbers: is a rate of {rate} too large?"
            )
        history.append((mean, _mean_elbo(model, test, generator)))
    return History(*np.array(history).T)


def _objective(objective: str | Callable) -> Callable:
    if callable(objective):
        return objective
    checks.one_of(ESTIMATORS, objective=objective)
    return lambda model, x, generator: elbo(model, x, objective, generator)


@torch.no_grad()
def _mean_elbo(model: nn.Module, x: Tensor | None, generator) -> float:
    if x is None:
        return math.nan
    total = sum(
        float(elbo(model, rows, generator=generator).sum()) for rows in x.split(2000)
    )
    return total / len(x)


def _log_normal(x, mean, log_variance) -> Tensor:
    """log N(x; mean, diag exp log_variance), summed over the last axis."""
    log_variance = log_variance.expand_as(mean)
    square = (x - mean) ** 2 * (-log_variance).exp()
    return -(square + log_variance + math.log(2 * math.pi)).sum(-1) / 2
