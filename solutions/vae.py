"""Variational autoencoders: a network for p(x | z), one for q(z | x), and a bound.

The latents z are (batch, samples, latents); whatever is said of each image is (batch,).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.linalg import solve_triangular
from torch import Tensor, nn
from tqdm import tqdm

from solutions import checks
from solutions.checks import Number
from solutions.datasets import binarise
from solutions.networks import on_weights, perceptron
from solutions.randomness import given_or_fresh
from solutions.tensors import as_tensor

ESTIMATORS = ("analytic_kl", "total", "path")
PIXELS = ("stochastic", "fixed", "rounded")


class History(NamedTuple):
    """What a training run was worth, epoch by epoch, in nats for each image."""

    train: Float[ndarray, "epochs"]
    test: Float[ndarray, "epochs"]


class Moments(NamedTuple):
    """The mean and the variance of what one draw says of a gradient."""

    mean: Float[Tensor, "batch two"]
    variance: Float[Tensor, "batch two"]


class Drawn(NamedTuple):
    """What a model drew: the probability of each pixel, and the pixels thrown."""

    probabilities: Float[Tensor, "n pixels"]
    pixels: Float[Tensor, "n pixels"]


class Grid(NamedTuple):
    """Latents on a grid, log p(z | x) there for each image, and log p(x)."""

    z: Float[Tensor, "m k"]
    log_posterior: Float[Tensor, "batch m"]
    log_evidence: Float[Tensor, "batch"]


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
        for name in ("latents", "pixels"):
            wanted = getattr(encoder, name, None)
            got = getattr(decoder, name, wanted)
            if wanted is not None and got != wanted:
                raise ValueError(
                    f"decoder must have the encoder's {name}, {wanted}, got {got}"
                )
        self.encoder, self.decoder = encoder, decoder

    def checked(self, x) -> Float[Tensor, "batch pixels"]:
        """Return images as rows of pixels, in the precision of the weights.

        Args:
            x: array or tensor of rows, or of square images, with entries in [0, 1].
        """
        x = on_weights(self, x=_straight(x))
        if x.ndim == 3:
            x = x.flatten(1)
        checks.table(x=x)
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
            return nn.Parameter(as_tensor(value).detach().double().clone())

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
        x = on_weights(self, x=_straight(x))
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

    def posterior(self, x) -> tuple[Float[Tensor, "batch k"], Float[Tensor, "k k"]]:
        """Return the mean and the covariance of p(z | x).

        The covariance is  C = (I + WᵀW / variance)⁻¹,  the mean
        C Wᵀ(x − b) / variance.
        """
        x, noise = self.checked(x), self.log_noise.exp()
        precision = self.weight.T @ self.weight / noise
        precision = precision + torch.eye(
            len(self.shift), dtype=precision.dtype, device=precision.device
        )
        covariance = torch.linalg.inv(precision)
        return (x - self.offset) @ self.weight / noise @ covariance, covariance

    def exact_elbo(self, x) -> Float[Tensor, "batch"]:
        """Return  E_q[log p(x | z)] − KL(q ‖ p)  without a draw.

        At  m = mean(x),  v = exp log_variance  the first term is
        log N(x; W m + b, variance · I) − Σⱼ |Wⱼ|² vⱼ / (2 variance),  Wⱼ the columns.
        """
        x = self.checked(x)
        mean, log_variance = self.encoder(x)
        spread = (self.weight**2).sum(0) @ self.log_variance.exp()
        fit = self.log_likelihood(x, mean[:, None])[:, 0]
        fit = fit - spread / 2 * (-self.log_noise).exp()
        return fit - latent_kl(mean, log_variance).sum(-1)


def divergence(
    mean: Real[ndarray, "k"],
    covariance: Real[ndarray, "k k"],
    other_mean: Real[ndarray, "k"],
    other_covariance: Real[ndarray, "k k"],
) -> float:
    """Return  KL(N(m, S) ‖ N(n, T)),  between any two Gaussians with densities.

    It is  ½ (tr(T⁻¹S) − k + (n − m)ᵀT⁻¹(n − m) + log det T − log det S).

    Args:
        mean, covariance: m and S, of the law under which the mean is taken.
        other_mean, other_covariance: n and T.
    """
    checks.series(mean=mean, other_mean=other_mean)
    checks.same_shape(mean=mean, other_mean=other_mean)
    k = len(mean)
    checks.positive_definite(k, covariance=covariance)
    checks.positive_definite(k, other_covariance=other_covariance)
    # With T = LLᵀ and S = MMᵀ all is in  A = L⁻¹M:  tr(T⁻¹S) is the sum of its squares,
    # and twice the logarithms of its diagonal sum to log det S − log det T.
    lower = np.linalg.cholesky(np.asarray(other_covariance, dtype=float))
    both = np.linalg.cholesky(np.asarray(covariance, dtype=float))
    both = solve_triangular(lower, both, lower=True)
    apart = np.subtract(other_mean, mean, dtype=float)
    apart = solve_triangular(lower, apart, lower=True)
    diagonal = np.diag(both)
    own = (diagonal**2 - 1 - 2 * np.log(diagonal)).sum()
    return float(own + np.square(np.tril(both, -1)).sum() + (apart**2).sum()) / 2


def latent_kl(
    mean: Float[Tensor, "batch k"], log_variance: Float[Tensor, "batch k"]
) -> Float[Tensor, "batch k"]:
    """Return  KL(N(meanᵢ, exp vᵢ) ‖ N(0, 1))  of each latent,  v the log-variance.

    It is  ½ (exp vᵢ − 1 + meanᵢ² − vᵢ);  exp v − 1 is kept whole where v is small.
    """
    return (torch.expm1(log_variance) + mean**2 - log_variance) / 2


def gaussian_kl(
    mean: Float[Tensor, "batch k"], log_variance: Float[Tensor, "batch k"]
) -> Float[Tensor, "batch"]:
    """Return  KL(N(mean, diag exp log_variance) ‖ N(0, I))  of each row.

    It is  ½ Σᵢ (exp vᵢ + meanᵢ² − 1 − vᵢ),  v the log-variance.
    """
    checks.same_shape(mean=mean, log_variance=log_variance)
    checks.not_nan(mean=mean, log_variance=log_variance)
    return latent_kl(mean, log_variance).sum(-1)


def latents(
    mean: Float[Tensor, "batch k"],
    log_variance: Float[Tensor, "batch k"],
    samples: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch samples k"]:
    """Return  z = mean + exp(log_variance/2) ε,  so many for each row, ε ~ N(0, I)."""
    checks.counting_number(samples=samples)
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
    spread = log_variance[:, None]
    square = (z - mean[:, None]) ** 2 * (-spread).exp()
    # log p(z) − log q(z | x); the constants of the two cancel.
    return model.log_likelihood(x, z) + (square + spread - z**2).sum(-1) / 2


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
    return _estimates(model, x, mean, log_variance, 1, estimator, generator)[:, 0]


def _estimates(
    model, x, mean, log_variance, samples, estimator, generator
) -> Float[Tensor, "batch samples"]:
    """Each draw's estimate of the ELBO."""
    z = latents(mean, log_variance, samples, generator)
    if estimator == "analytic_kl":
        divergence = latent_kl(mean, log_variance).sum(-1, keepdim=True)
        return model.log_likelihood(x, z) - divergence
    if estimator == "path":
        mean, log_variance = mean.detach(), log_variance.detach()
    return log_ratio(model, x, z, mean, log_variance)


@torch.no_grad()
def mean_elbo(
    model: nn.Module,
    x,
    samples: int = 100,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch"]:
    """Return the ELBO ("analytic_kl") of each row of x, averaged over so many draws.

    Args:
        model, x, generator: as for `elbo`.
        samples: draws for each row; the average is unbiased for any number of them.
    """
    checks.counting_number(samples=samples)
    x = model.checked(x)
    generator = given_or_fresh(generator, x.device)
    return torch.cat(
        [
            _estimates(
                model, rows, *model.encoder(rows), samples, "analytic_kl", generator
            ).mean(1)
            for rows in x.split(max(1, 20_000 // samples))
        ]
    )


def latent_gradients(
    model: nn.Module,
    x,
    estimator: str,
    draws: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch draws twice_k"]:
    """Return what single draws say of the ELBO's gradient in the encoder's *output*.

    The last axis is ∂/∂mean of each latent, then ∂/∂log_variance of each. An encoder's
    weights get these, multiplied by the Jacobian of its output.

    Args:
        model, x, estimator, generator: as for `elbo`.
        draws: for each row of x.
    """
    checks.one_of(ESTIMATORS, estimator=estimator)
    checks.counting_number(draws=draws)
    x = model.checked(x)
    with torch.no_grad():
        outputs = [
            output.repeat_interleave(draws, 0).requires_grad_()
            for output in model.encoder(x)
        ]
    rows = x.repeat_interleave(draws, 0)
    values = _estimates(model, rows, *outputs, 1, estimator, generator)
    gradients = torch.autograd.grad(values.sum(), outputs)
    return torch.cat(gradients, -1).reshape(len(x), draws, -1)


def weight_gradients(
    model: nn.Module,
    x,
    estimator: str,
    draws: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "draws weights"]:
    """Return so many estimates of the gradient of the mean ELBO of x in the weights of
    the encoder, each from one draw for each row of x.

    Args:
        model: with an encoder that is a module.
        x, estimator, generator: as for `elbo`.
        draws: how often.
    """
    checks.one_of(ESTIMATORS, estimator=estimator)
    checks.counting_number(draws=draws)
    x, weights = model.checked(x), list(model.encoder.parameters())
    generator = given_or_fresh(generator, x.device)
    gradients = (
        torch.autograd.grad(elbo(model, x, estimator, generator).mean(), weights)
        for _ in range(draws)
    )
    return torch.stack([torch.cat([g.flatten() for g in each]) for each in gradients])


@torch.no_grad()
def exact_gradient(model: LinearGaussian, x, estimator: str) -> Moments:
    """Return mean and variance of one draw's gradient, where there is one latent.

    In the coordinates (mean m, log-variance) of q = N(m, v), and with P the precision
    of the posterior, m* its mean, δ = m − m*, the means are
    (−Pδ, ½ (1 − Pv))  for every estimator, and the variances
    "path"  ((Pv − 1)²/v, ¼ (P²δ²v + 2 (Pv − 1)²)),
    "total"  (P²v, ¼ (P²δ²v + 2 P²v²)),
    "analytic_kl"  (a²v, ¼ (a²u²v + 2 a²v²)),
    with a = P − 1 the precision of the likelihood as a function of z, r the place of
    its maximum, and u = m − r.

    Args:
        model: with k = 1.
        x: points.
        estimator: see `elbo`.
    """
    checks.one_of(ESTIMATORS, estimator=estimator)
    x = model.checked(x)
    latents = model.weight.shape[1]
    if latents != 1:
        raise ValueError(f"model must have one latent, got {latents}")
    noise, w = model.log_noise.exp(), model.weight[:, 0]
    a, pull = w @ w / noise, (x - model.offset) @ w / noise  # pull: a r
    precision = 1 + a
    m, log_variance = (output[:, 0] for output in model.encoder(x))
    v = log_variance.exp()
    slope = -(precision * m - pull)
    mean = torch.stack([slope, (1 - precision * v) / 2], -1)
    if estimator == "path":
        tilt, bend = slope, precision - 1 / v
    elif estimator == "total":
        tilt, bend = slope, precision
    else:
        tilt, bend = pull - a * m, a
    # A draw says  (tilt − bend √v ε,  ½ (tilt √v ε − bend v ε²))  up to constants.
    variance = [bend**2 * v, (tilt**2 * v + 2 * bend**2 * v**2) / 4]
    return Moments(mean, torch.stack(variance, -1))


def refine(
    model: nn.Module,
    x,
    *,
    steps: int = 300,
    rate: Number = 0.02,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "batch k"], Float[Tensor, "batch k"]]:
    """Return the mean and the log-variance of the best q for each row of x by itself.

    They start where the encoder puts them, and climb the ELBO ("path", sixteen draws a
    step) by Adam, whose rate falls linearly to zero; the model stays as it is.

    Args:
        model, x, generator: as for `elbo`.
        steps, rate: of Adam.
    """
    checks.counting_number(steps=steps)
    checks.positive(rate=rate)
    x = model.checked(x)
    generator = given_or_fresh(generator, x.device)
    with torch.no_grad():
        outputs = [output.clone().requires_grad_() for output in model.encoder(x)]
    optimizer = torch.optim.Adam(outputs, lr=rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        values = _estimates(model, x, *outputs, 16, "path", generator)
        gradients = torch.autograd.grad(-values.mean(1).sum(), outputs)
        for output, gradient in zip(outputs, gradients, strict=True):
            output.grad = gradient
        optimizer.step()
    mean, log_variance = outputs
    return mean.detach(), log_variance.detach()


@torch.no_grad()
def on_grid(model: VAE, x, points: int = 121, reach: Number = 5.0) -> Grid:
    """Return  log p(z | x)  on a grid of one or two latents, and  log p(x).

    The evidence is the sum  h^k Σ p(z) p(x | z)  over the grid, h the distance of
    neighbours. It is exact up to what lies outside, of which the prior holds at most
    k P(|N(0, 1)| > reach), and to how the posterior bends from one point to the next.

    Args:
        model: with one or two latents.
        x: images.
        points: along each axis, at least two.
        reach: from −reach to reach.
    """
    x, k = model.checked(x), model.decoder.latents
    checks.at_most(2, latents=k)
    checks.counting_number(points=points)
    checks.positive(reach=reach)
    if points < 2:
        raise ValueError(f"points must be at least 2, got {points}")
    axis = torch.linspace(-reach, reach, points, dtype=x.dtype, device=x.device)
    z = torch.cartesian_prod(*[axis] * k).reshape(-1, k)
    logits = model.decoder(z)
    log_joint = x @ logits.T - F.softplus(logits).sum(-1)
    log_joint += _log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
    cell = k * math.log(2 * reach / (points - 1))
    log_evidence = log_joint.double().logsumexp(1) + cell
    return Grid(z, log_joint - log_evidence[:, None].to(x.dtype), log_evidence)


@torch.no_grad()
def draw(model: VAE, n: int, generator: torch.Generator | None = None) -> Drawn:
    """Return n images of the model:  z ~ N(0, I),  then each pixel by itself.

    Args:
        model: with a decoder of so many `latents`.
        n: how many.
        generator: draws z, then throws the pixels; None for one seeded afresh.
    """
    checks.counting_number(n=n)
    weight = next(model.parameters())
    generator = given_or_fresh(generator, weight.device)
    z = torch.randn(
        (n, model.decoder.latents),
        generator=generator,
        dtype=weight.dtype,
        device=weight.device,
    )
    probabilities = model.decoder(z).sigmoid()
    return Drawn(probabilities, torch.bernoulli(probabilities, generator=generator))


@torch.no_grad()
def reconstruct(
    model: VAE, x, generator: torch.Generator | None = None
) -> Float[Tensor, "batch pixels"]:
    """Return the probabilities of the pixels at a draw of  q(z | x)  for each row.

    Args:
        model, x, generator: as for `elbo`.
    """
    x = model.checked(x)
    z = latents(*model.encoder(x), 1, generator)
    return model.decoder(z[:, 0]).sigmoid()


@torch.no_grad()
def activity(model: nn.Module, x) -> Float[Tensor, "k"]:
    """Return  Var_x(E_q[z_u | x])  of each latent u, over the rows of x.

    Burda and others call a latent active where it exceeds 1/100.

    Args:
        model: as for `elbo`.
        x: at least two rows.

    Reference: Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders.
    """
    x = model.checked(x)
    if len(x) < 2:
        raise ValueError(f"x must have at least two rows, got {len(x)}")
    return model.encoder(x)[0].var(0)


def pixel_entropy(images) -> Float[Tensor, "n"]:
    """Return  Σᵢ −gᵢ log gᵢ − (1 − gᵢ) log(1 − gᵢ)  of each grey image g.

    That is the entropy of its pixels, thrown black and white by themselves: no model of
    the throws can have a smaller mean of  −log p.

    Args:
        images: (n, pixels) or (n, side, side), in [0, 1].
    """
    images = as_tensor(images)
    checks.fraction(images=images)
    if images.ndim not in (2, 3):
        shape = tuple(images.shape)
        raise ValueError(f"images must be (n, pixels) or (n, side, side), got {shape}")
    both = torch.special.entr(images) + torch.special.entr(1 - images)
    return both.flatten(1).sum(1)


def grey_log_normaliser(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return  log(l / tanh(l/2)),  which turns  x l − log(1 + exp l)  into the
    logarithm of a density of grey x in [0, 1].

    Reference: Loaiza-Ganem & Cunningham (2019), The continuous Bernoulli.
    """
    checks.finite(logits=logits)
    size = logits.abs()
    small = size < 1e-2  # there  l / tanh(l/2) = 2 (1 + l²/12 − l⁴/720 + ...)
    safe = torch.where(small, torch.ones_like(size), size)
    series = math.log(2) + torch.log1p(size**2 / 12 - size**4 / 720)
    return torch.where(small, series, safe.log() - (safe / 2).tanh().log())


def probabilistic_pca(x, latents: int) -> LinearGaussian:
    """Return the likeliest linear-Gaussian model of the rows of x, q its posterior.

    With s₁ ≥ ... ≥ s_d the eigenvalues of the covariance of x (divided by n), u₁, u₂,
    ... its eigenvectors, and k latents:  variance = mean(s_{k+1}, ..., s_d),
    Wⱼ = √(sⱼ − variance) uⱼ,  b = mean(x).

    Args:
        x: (n, d) points.
        latents: k < d.

    Reference: Tipping & Bishop (1999), Probabilistic principal component analysis.
    """
    x = np.asarray(as_tensor(x).detach().cpu(), dtype=float)
    checks.table(x=x)
    checks.counting_number(latents=latents)
    checks.at_most(x.shape[1] - 1, latents=latents)
    mean = x.mean(0)
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    values, vectors = values[::-1], vectors[:, ::-1]
    noise = values[latents:].mean()
    if noise <= 1e-12 * values[0] or values[0] <= 0:
        raise ValueError(
            f"x must vary in more than {latents} directions, got a rest of {noise}"
        )
    scale = np.sqrt(np.maximum(values[:latents] - noise, 0))
    return LinearGaussian.at_the_posterior(vectors[:, :latents] * scale, mean, noise)


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
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=rate, fused=True)
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


def _straight(x):
    """An array without negative strides, which tensors cannot have."""
    return x if isinstance(x, Tensor) else np.ascontiguousarray(x)


def _log_normal(x, mean, log_variance) -> Tensor:
    """log N(x; mean, diag exp log_variance), summed over the last axis."""
    log_variance = log_variance.expand_as(mean)
    square = (x - mean) ** 2 * (-log_variance).exp()
    return -(square + log_variance + math.log(2 * math.pi)).sum(-1) / 2
