"""Wrong divergences, codes, slopes and bounds; training that looks where it should not."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from solutions import vae
from solutions.datasets import binarise
from solutions.vae import ESTIMATORS, Drawn, Encoder, Grid, History, LinearGaussian, Moments
from tests.wrong_answers import wrong

# kept: a wrong answer may stand in their place later
right_divergence, right_latent_kl, right_kl, right_latents = vae.divergence, vae.latent_kl, vae.gaussian_kl, vae.latents
right_ratio, right_elbo, right_mean_elbo = vae.log_ratio, vae.elbo, vae.mean_elbo
right_slopes, right_weight_slopes, right_exact = vae.latent_gradients, vae.weight_gradients, vae.exact_gradient
right_refine, right_grid, right_draw, right_train = vae.refine, vae.on_grid, vae.draw, vae.train
right_entropy, right_normaliser, right_pca = vae.pixel_entropy, vae.grey_log_normaliser, vae.probabilistic_pca
RightVAE = vae.VAE


# Divergences


@wrong(replaces="divergence", trap="E72", hint="as the source prints it")
def divergence_as_printed(mean, covariance, other_mean, other_covariance):
    apart = other_mean - mean
    logs = np.linalg.slogdet(other_covariance)[1] - np.linalg.slogdet(covariance)[1]
    return float(2 * logs + apart @ np.linalg.solve(other_covariance, apart)) / 2


@wrong(replaces="divergence", trap="E72", hint="is −k forgotten")
def divergence_without_its_dimension(mean, covariance, other_mean, other_covariance):
    return right_divergence(mean, covariance, other_mean, other_covariance) + len(mean) / 2


@wrong(replaces="divergence", hint="reversed divergence")
def divergence_the_other_way_round(mean, covariance, other_mean, other_covariance):
    return right_divergence(other_mean, other_covariance, mean, covariance)


@wrong(replaces="divergence", hint="off-diagonal entries left out")
def divergence_of_the_diagonals(mean, covariance, other_mean, other_covariance):
    s, t = np.diag(covariance), np.diag(other_covariance)
    return float(((s + (mean - other_mean) ** 2) / t - 1 - np.log(s / t)).sum() / 2)


@wrong(replaces="divergence", hint="does a determinant underflow?")
def divergence_by_determinants(mean, covariance, other_mean, other_covariance):
    right_divergence(mean, covariance, other_mean, other_covariance)  # looks at its arguments
    inverse, apart = np.linalg.inv(other_covariance), np.subtract(other_mean, mean)
    with np.errstate(all="ignore"):
        logs = np.log(np.linalg.det(other_covariance) / np.linalg.det(covariance))
    return float(np.trace(inverse @ covariance) - len(mean) + apart @ inverse @ apart + logs) / 2


@wrong(replaces="divergence", hint="was accepted")
def divergence_of_anything(mean, covariance, other_mean, other_covariance):
    inverse, apart = np.linalg.pinv(other_covariance), np.subtract(other_mean, mean)
    logs = np.linalg.slogdet(other_covariance)[1] - np.linalg.slogdet(covariance)[1]
    return float(np.trace(inverse @ covariance) - len(mean) + apart @ inverse @ apart + logs) / 2


@wrong(replaces="gaussian_kl", trap="E72", hint="as the source prints it")
def gaussian_kl_as_printed(mean, log_variance):
    return (mean**2 - 2 * log_variance).sum(1) / 2


@wrong(replaces="gaussian_kl", trap="E72", hint="one for each latent, forgotten")
def gaussian_kl_without_its_dimension(mean, log_variance):
    return (log_variance.exp() + mean**2 - log_variance).sum(1) / 2


@wrong(replaces="gaussian_kl", hint="read as a log-standard deviation")
def gaussian_kl_of_log_stds(mean, log_variance):
    return ((2 * log_variance).exp() + mean**2 - 1 - 2 * log_variance).sum(1) / 2


@wrong(replaces="gaussian_kl", hint="reversed divergence")
def gaussian_kl_of_the_prior_from_q(mean, log_variance):
    return ((1 + mean**2) / log_variance.exp() - 1 + log_variance).sum(1) / 2


@wrong(replaces="gaussian_kl", hint="is the sign reversed")
def gaussian_kl_with_the_sign_of_a_loss(mean, log_variance):
    return (1 + log_variance - mean**2 - log_variance.exp()).sum(1) / 2


@wrong(replaces="latent_kl", hint="is −1 forgotten?")
def latent_kl_without_its_one(mean, log_variance):
    return (log_variance.exp() + mean**2 - log_variance) / 2


# Codes


def codes(mean, std, noise):
    return mean[:, None] + std[:, None] * noise


def noise_like(mean, samples, generator):
    standard = right_latents(torch.zeros_like(mean), torch.zeros_like(mean), samples, generator)
    return standard.detach()


@wrong(replaces="latents", hint="read as a log-standard deviation")
def latents_of_log_stds(mean, log_variance, samples, generator=None):
    return codes(mean, log_variance.exp(), noise_like(mean, samples, generator))


@wrong(replaces="latents", hint="the noise is shared by the rows")
def latents_with_the_batch_in_step(mean, log_variance, samples, generator=None):
    return codes(mean, (log_variance / 2).exp(), noise_like(mean[:1], samples, generator))


@wrong(replaces="latents", hint="is a seed fixed inside?")
def latents_with_a_seed_of_their_own(mean, log_variance, samples, generator=None):
    return right_latents(mean, log_variance, samples, torch.Generator().manual_seed(0))


@wrong(replaces="latents", hint="is another one drawn from?")
def latents_from_the_global_generator(mean, log_variance, samples, generator=None):
    noise = torch.randn(len(mean), samples, mean.shape[1], dtype=mean.dtype)
    return codes(mean, (log_variance / 2).exp(), noise)


@wrong(replaces="latents", hint="are they detached from the mean and the log-variance?")
def latents_without_a_slope(mean, log_variance, samples, generator=None):
    return right_latents(mean, log_variance, samples, generator).detach()


@wrong(replaces="log_ratio", hint="is the prior log p(z) forgotten?")
def log_ratio_without_the_prior(model, x, z, mean, log_variance):
    zero = torch.zeros_like(z[:, :1, :][:, 0])
    return right_ratio(model, x, z, mean, log_variance) + (z**2 + math.log(2 * math.pi)).sum(-1) / 2 + 0 * zero.sum()


# The bound


def parts(model, x, generator):
    x = model.checked(x)
    mean, log_variance = model.encoder(x)
    return x, mean, log_variance, right_latents(mean, log_variance, 1, generator)


def named(estimator):
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {ESTIMATORS}, got {estimator!r}")


@wrong(replaces="elbo", trap="E66", hint="is the score still in it")
def elbo_with_a_path_that_is_total(model, x, estimator="analytic_kl", generator=None):
    return right_elbo(model, x, "total" if estimator == "path" else estimator, generator)


@wrong(replaces="elbo", trap="E67", hint="is it the analytic KL under another name?")
def elbo_with_a_total_that_is_analytic(model, x, estimator="analytic_kl", generator=None):
    return right_elbo(model, x, "analytic_kl" if estimator == "total" else estimator, generator)


@wrong(replaces="elbo", hint="are the draws detached too")
def elbo_with_detached_draws(model, x, estimator="analytic_kl", generator=None):
    named(estimator)
    if estimator != "path":
        return right_elbo(model, x, estimator, generator)
    x, mean, log_variance, z = parts(model, x, generator)
    return right_ratio(model, x, z.detach() + 0 * z, mean.detach(), log_variance.detach())[:, 0]


@wrong(replaces="elbo", hint="is the KL, a price, added?")
def elbo_plus_the_divergence(model, x, estimator="analytic_kl", generator=None):
    named(estimator)
    if estimator != "analytic_kl":
        return right_elbo(model, x, estimator, generator)
    x, mean, log_variance, z = parts(model, x, generator)
    return model.log_likelihood(x, z)[:, 0] + right_latent_kl(mean, log_variance).sum(1)


@wrong(replaces="elbo", hint="is the KL summed over all rows?")
def elbo_with_the_divergence_of_the_batch(model, x, estimator="analytic_kl", generator=None):
    named(estimator)
    if estimator != "analytic_kl":
        return right_elbo(model, x, estimator, generator)
    x, mean, log_variance, z = parts(model, x, generator)
    return model.log_likelihood(x, z)[:, 0] - right_latent_kl(mean, log_variance).sum()


@wrong(replaces="mean_elbo", hint="it is a log-mean-exp")
def mean_elbo_by_logsumexp(model, x, samples=100, generator=None):
    x = model.checked(x)
    with torch.no_grad():
        mean, log_variance = model.encoder(x)
        z = right_latents(mean, log_variance, samples, generator)
        values = model.log_likelihood(x, z) - right_latent_kl(mean, log_variance).sum(1, keepdim=True)
    return values.logsumexp(1) - math.log(samples)


# Gradients


@wrong(replaces="latent_gradients", trap="E65", hint="in the log-standard deviation?")
def latent_gradients_in_log_stds(model, x, estimator, draws, generator=None):
    found = right_slopes(model, x, estimator, draws, generator)
    k = found.shape[2] // 2
    return torch.cat([found[..., :k], 2 * found[..., k:]], -1)


@wrong(replaces="latent_gradients", hint="draws share their noise")
def latent_gradients_that_share_their_noise(model, x, estimator, draws, generator=None):
    return right_slopes(model, x, estimator, max(draws // 2, 1), generator).repeat_interleave(2, 1)[:, :draws]


@wrong(replaces="latent_gradients", hint="is the gradient of the loss")
def latent_gradients_of_a_loss(model, x, estimator, draws, generator=None):
    return -right_slopes(model, x, estimator, draws, generator)


@wrong(replaces="weight_gradients", hint="of the sum over the images, not of their mean")
def weight_gradients_of_a_sum(model, x, estimator, draws, generator=None):
    return len(x) * right_weight_slopes(model, x, estimator, draws, generator)


@wrong(replaces="exact_gradient", trap="E66", hint="in the log-standard deviation, four times as large?")
def exact_gradient_in_log_stds(model, x, estimator):
    mean, variance = right_exact(model, x, estimator)
    return Moments(mean, variance * torch.tensor([1, 4]))


@wrong(replaces="exact_gradient", trap="E67", hint="is it the variance of")
def exact_gradient_of_the_wrong_rival(model, x, estimator):
    return right_exact(model, x, "total" if estimator == "analytic_kl" else estimator)


def tables(model, x):
    noise, w = model.log_noise.exp(), model.weight[:, 0]
    a, r = w @ w / noise, (model.checked(x) - model.offset) @ w / (w @ w)
    mean, log_variance = (part[:, 0] for part in model.encoder(model.checked(x)))
    return a, r, mean, log_variance.exp()


@wrong(replaces="exact_gradient", hint="are δ and u")
def exact_gradient_with_the_wrong_distance(model, x, estimator):
    mean, variance = right_exact(model, x, estimator)
    if estimator == "analytic_kl":
        a, r, m, v = tables(model, x)
        tilt = m - a * r / (1 + a)
        variance = torch.stack([a**2 * v + 0 * m, (a**2 * tilt**2 * v + 2 * a**2 * v**2) / 4], -1)
    return Moments(mean.detach(), variance.detach())


# Networks


@wrong(replaces="VAE", hint="is it averaged over the pixels, not summed?")
class VAEWithAveragedPixels(RightVAE):
    def log_likelihood(self, x, z):
        return super().log_likelihood(x, z) / x.shape[1]


@wrong(replaces="VAE", hint="is a sigmoid taken twice?")
class VAEWithTwoSigmoids(RightVAE):
    def log_likelihood(self, x, z):
        p = self.decoder(z).sigmoid()
        x = x[:, None].expand_as(p)
        return -F.binary_cross_entropy_with_logits(p, x, reduction="none").sum(-1)


@wrong(replaces="VAE", hint="clamped at −100")
class VAEWithClampedLogarithms(RightVAE):
    def log_likelihood(self, x, z):
        p = self.decoder(z).sigmoid()
        return -F.binary_cross_entropy(p, x[:, None].expand_as(p), reduction="none").sum(-1)


@wrong(replaces="VAE", hint="was accepted")
class VAEOfAnyImage(RightVAE):
    def checked(self, x):
        x = torch.as_tensor(np.ascontiguousarray(x), dtype=next(self.parameters()).dtype)
        return x.reshape(len(x), -1)


@wrong(replaces="Encoder", hint="are mean and log-variance exchanged?")
class EncoderInTheOtherOrder(Encoder):
    def forward(self, x):
        return self.layers(x).chunk(2, -1)[::-1]


@wrong(replaces="Encoder", hint="is another one drawn from?")
class EncoderFromTheGlobalGenerator(Encoder):
    def __init__(self, pixels, hidden=200, latents=20, *, activation=vae.leaky, generator=None):
        super().__init__(pixels, hidden, latents, activation=activation)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()


# Afterwards


@wrong(replaces="refine", hint="refine changed the model")
def refine_by_training_the_model(model, x, *, steps=300, rate=0.02, generator=None):
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(min(steps, 3)):
        optimizer.zero_grad()
        (-right_elbo(model, x, "path", generator).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        return model.encoder(model.checked(x))


@wrong(replaces="on_grid", hint="is h where h^k belongs")
def on_grid_with_one_step(model, x, points=121, reach=5.0):
    z, log_posterior, log_evidence = right_grid(model, x, points, reach)
    less = (z.shape[1] - 1) * math.log(2 * reach / (points - 1))
    return Grid(z, log_posterior + less, log_evidence - less)


@wrong(replaces="on_grid", hint="is the prior forgotten?")
def on_grid_without_the_prior(model, x, points=121, reach=5.0):
    z, log_posterior, log_evidence = right_grid(model, x, points, reach)
    k = z.shape[1]
    log_joint = log_posterior + log_evidence[:, None] + ((z**2).sum(1) + k * math.log(2 * math.pi)) / 2
    log_evidence = log_joint.logsumexp(1) + k * math.log(2 * reach / (points - 1))
    return Grid(z, log_joint - log_evidence[:, None], log_evidence)


@wrong(replaces="draw", trap="E74", hint="rounded, not thrown")
def draw_of_rounded_pixels(model, n, generator=None):
    p, _ = right_draw(model, n, generator)
    return Drawn(p, p.round())


@wrong(replaces="draw", trap="E73", hint="are they probabilities, not thrown?")
def draw_of_grey_pixels(model, n, generator=None):
    p, _ = right_draw(model, n, generator)
    return Drawn(p, p)


@wrong(replaces="reconstruct", hint="are they at q's mean")
def reconstruct_from_the_mean(model, x, generator=None):
    with torch.no_grad():
        return model.decoder(model.encoder(model.checked(x))[0]).sigmoid()


@wrong(replaces="activity", hint="with q's own variance in it?")
def activity_of_codes(model, x):
    with torch.no_grad():
        mean, log_variance = model.encoder(model.checked(x))
        return mean.var(0) + log_variance.exp().mean(0)


# Grey


@wrong(replaces="pixel_entropy", hint="in bits")
def pixel_entropy_in_bits(images):
    return right_entropy(images) / math.log(2)


@wrong(replaces="pixel_entropy", hint="0 log 0 is 0")
def pixel_entropy_with_nan(images):
    right_entropy(images)
    g = torch.as_tensor(np.array(images, dtype=float)).flatten(1)
    return -(g * g.log() + (1 - g) * (1 - g).log()).sum(1)


@wrong(replaces="grey_log_normaliser", hint="what of l = 0?")
def grey_log_normaliser_with_a_hole(logits):
    return (logits / (logits / 2).tanh()).log()


@wrong(replaces="grey_log_normaliser", hint="is the sign reversed")
def grey_log_normaliser_of_the_mass(logits):
    return -right_normaliser(logits)


@wrong(replaces="probabilistic_pca", hint="divided by n − 1, not by n?")
def probabilistic_pca_with_n_less_one(x, latents):
    right_pca(x, latents)
    x = np.asarray(x, dtype=float)
    return right_pca((x - x.mean(0)) * math.sqrt(len(x) / (len(x) - 1)) + x.mean(0), latents)


def from_spectrum(x, latents, noise, scale):
    right_pca(x, latents)
    x = np.asarray(x, dtype=float)
    s, u = np.linalg.eigh(np.cov(x.T, ddof=0))
    s, u = s[::-1], u[:, ::-1]
    r = noise(s)
    return LinearGaussian.at_the_posterior(u[:, :latents] * scale(s[:latents], r), x.mean(0), r)


@wrong(replaces="probabilistic_pca", hint="without the noise subtracted from s?")
def probabilistic_pca_with_full_columns(x, latents):
    return from_spectrum(x, latents, lambda s: s[latents:].mean(), lambda s, r: np.sqrt(s))


# Training


def loop(model, data, options, *, throw=None, measure="test", zero=True, sign=1, weighted=True):
    """A training loop with one thing wrong."""
    objective, epochs, test = options.get("objective", "analytic_kl"), options.get("epochs", 20), options.get("test")
    pixels, size, rate = options.get("pixels", "stochastic"), options.get("batch_size", 128), options.get("rate", 1e-3)
    generator = options.get("generator") or torch.Generator().manual_seed(int(np.random.SeedSequence().entropy % 2**60))
    if isinstance(objective, str):
        name = objective
        objective = lambda model, x, generator: right_elbo(model, x, name, generator)  # noqa: E731
    data, test = model.checked(data), None if test is None else model.checked(test)
    pixels = throw or pixels
    if pixels in ("fixed", "rounded"):
        data = binarise(data, "stochastic" if pixels == "fixed" else pixels, generator)
    optimizer, history = options.get("optimizer") or torch.optim.Adam(model.parameters(), lr=rate), []
    for _ in range(epochs):
        values = []
        order = torch.randperm(len(data), generator=generator)
        for rows in order.split(size):
            x = torch.bernoulli(data[rows], generator=generator) if pixels == "stochastic" else data[rows]
            value = objective(model, x, generator)
            if zero:
                optimizer.zero_grad()
            (-sign * value.mean()).backward()
            optimizer.step()
            values.append(value.detach())
        mean = float(torch.cat(values).mean() if weighted else torch.stack([v.mean() for v in values]).mean())
        if not math.isfinite(mean):
            raise OverflowError(f"is a rate of {rate} too large?")
        if test is None:
            measured = math.nan
        elif measure == "running":
            measured = mean
        else:
            measured = _bound(model, data if measure == "train" else test, generator)
        history.append((mean, measured))
    return History(*np.array(history).T)


@torch.no_grad()
def _bound(model, x, generator):
    return float(right_elbo(model, x, generator=generator).mean())


@wrong(replaces="train", trap="E68", hint="is it the running average over the training images?")
def train_with_a_running_average(model, data, **options):
    return loop(model, data, options, measure="running")


@wrong(replaces="train", trap="E68", hint="is it measured on the training images?")
def train_measured_on_the_training_images(model, data, **options):
    return loop(model, data, options, measure="train")


@wrong(replaces="train", trap="E74", hint="were they thrown once, before the first?")
def train_with_pixels_thrown_once(model, data, **options):
    fixed = options.get("pixels", "stochastic") == "stochastic"
    return loop(model, data, options, throw="fixed" if fixed else None)


@wrong(replaces="train", trap="E74", hint="rounded, not thrown")
def train_with_rounded_pixels(model, data, **options):
    fixed = options.get("pixels", "stochastic") == "fixed"
    return loop(model, data, options, throw="rounded" if fixed else None)


@wrong(replaces="train", hint="is zero_grad missing?")
def train_without_zero_grad(model, data, **options):
    return loop(model, data, options, zero=False)


@wrong(replaces="train", hint="is the objective gone down, not climbed?")
def train_downhill(model, data, **options):
    return loop(model, data, options, sign=-1)


@wrong(replaces="train", hint="is it the mean of the batches' means")
def train_with_a_mean_of_means(model, data, **options):
    return loop(model, data, options, weighted=False)


@wrong(replaces="train", hint="are test images among them?")
def train_on_the_test_images_too(model, data, **options):
    if options.get("test") is not None:
        data = np.vstack([np.asarray(data), np.asarray(options["test"])])
    return right_train(model, data, **options)


@wrong(replaces="train", hint="is the noise drawn once?")
def train_with_dice_thrown_once(model, data, *, generator=None, objective="analytic_kl", **options):
    if not isinstance(objective, str):
        return right_train(model, data, objective=objective, generator=generator, **options)
    seed = int(torch.randint(2**60, (), generator=generator))

    def same(model, x, generator):
        return right_elbo(model, x, objective, torch.Generator().manual_seed(seed))

    return right_train(model, data, objective=same, generator=generator, **options)


@wrong(replaces="train", hint="is it the slope of another?")
def train_that_ignores_its_objective(model, data, *, objective="analytic_kl", **options):
    named(objective) if isinstance(objective, str) else None
    return right_train(model, data, objective="total" if objective == "path" else objective, **options)


# Right on the examples, wrong elsewhere


@wrong(replaces="Encoder", hint="is it clamped?")
class EncoderWithClampedLogVariances(Encoder):
    def forward(self, x):
        mean, log_variance = super().forward(x)
        return mean, log_variance.clamp(-10, 10)


@wrong(replaces="on_grid", hint="are exponentials summed that underflow?")
def on_grid_by_sums_of_densities(model, x, points=121, reach=5.0):
    grid = right_grid(model, x, points, reach)
    log_joint = (grid.log_posterior + grid.log_evidence[:, None]).double()
    cell = grid.z.shape[1] * math.log(2 * reach / (points - 1))
    log_evidence = log_joint.exp().sum(1).log() + cell
    return Grid(grid.z, log_joint - log_evidence[:, None], log_evidence)


@wrong(replaces="draw", hint="another's, reversed")
def draw_of_antithetic_codes(model, n, generator=None):
    z = torch.randn((-(-n // 2), model.decoder.latents), generator=generator).to(next(model.parameters()).dtype)
    probabilities = model.decoder(torch.cat([z, -z])[:n]).sigmoid().detach()
    return Drawn(probabilities, torch.bernoulli(probabilities, generator=generator))
