"""Wrong means of weights, draws that are shared, slopes with the wrong shares, and bounds that are none."""

import math

import numpy as np
import torch

from solutions import iwae, vae
from solutions.randomness import given_or_fresh
from tests.wrong_answers import wrong

# kept: a wrong answer may stand in their place later
right_iwelbo, right_log_weights, right_objective = iwae.iwelbo, iwae.log_weights, iwae.objective
right_gradients, right_likelihood = iwae.encoder_gradients, iwae.log_likelihood
right_variance, right_bounds, right_doubly = iwae.weight_variance, iwae.exact_bounds, iwae.doubly_reparameterised


def drawn(model, x, samples, generator, fixed=False):
    """Latents, with their log-weights and the parameters of q."""
    x = model.checked(x)
    mean, log_variance = model.encoder(x)
    z = vae.latents(mean, log_variance, samples, generator)
    held = (mean.detach(), log_variance.detach()) if fixed else (mean, log_variance)
    return z, vae.log_ratio(model, x, z, *held)


# The bound of given weights


@wrong(replaces="iwelbo", hint="mean of the logs, the ELBO")
def iwelbo_as_the_elbo(log_weights):
    return log_weights.mean(1)


@wrong(replaces="iwelbo", hint="log K not subtracted")
def iwelbo_of_the_sum(log_weights):
    return log_weights.logsumexp(1)


@wrong(replaces="iwelbo", hint="log K added")
def iwelbo_with_log_k_added(log_weights):
    return log_weights.logsumexp(1) + math.log(log_weights.shape[1])


@wrong(replaces="iwelbo", hint="over the rows, axis 0")
def iwelbo_over_the_batch(log_weights):
    return log_weights.logsumexp(0) - math.log(log_weights.shape[0])


@wrong(replaces="iwelbo", hint="take out the largest first")
def iwelbo_without_the_maximum(log_weights):
    return log_weights.exp().mean(1).log()


@wrong(replaces="iwelbo", hint="has NaN")
def iwelbo_with_a_maximum_that_may_be_infinite(log_weights):
    largest = log_weights.max(1, keepdim=True).values
    return (largest + (log_weights - largest).exp().mean(1, keepdim=True).log())[:, 0]


@wrong(replaces="iwelbo", hint="largest weight alone")
def iwelbo_as_a_maximum(log_weights):
    return log_weights.max(1).values


@wrong(replaces="iwelbo", hint="largest weight alone, with log K off")
def iwelbo_as_a_maximum_less_log_k(log_weights):
    return log_weights.max(1).values - math.log(log_weights.shape[1])


@wrong(replaces="iwelbo", hint="weighted by their own shares")
def iwelbo_as_a_surrogate(log_weights):
    return (log_weights.softmax(1).detach() * log_weights).sum(1)


@wrong(replaces="iwelbo", hint="without its log")
def iwelbo_as_a_mean_weight(log_weights):
    return log_weights.exp().mean(1)


@wrong(replaces="iwelbo", hint="no gradient flows through iwelbo")
def iwelbo_detached(log_weights):
    return right_iwelbo(log_weights.detach())


@wrong(replaces="iwelbo", hint="the precision is the argument's")
def iwelbo_in_double(log_weights):
    return right_iwelbo(log_weights.double())


@wrong(replaces="iwelbo", hint="left out of K")
def iwelbo_of_the_weights_that_count(log_weights):
    return log_weights.logsumexp(1) - log_weights.isfinite().sum(1).clamp(min=1).double().log()


@wrong(replaces="iwelbo", hint="log_weights=nan was accepted")
def iwelbo_of_anything(log_weights):
    return log_weights.logsumexp(1) - math.log(max(log_weights.shape[1], 1))


@wrong(replaces="iwelbo", hint="log_weights=inf was accepted")
def iwelbo_of_infinite_weights(log_weights):
    if log_weights.ndim != 2 or log_weights.isnan().any():
        raise ValueError(f"log_weights must be rows of numbers, got {tuple(log_weights.shape)}, nan")
    return log_weights.logsumexp(1) - math.log(log_weights.shape[1])


@wrong(replaces="iwelbo", hint="has changed its argument")
def iwelbo_in_place(log_weights):
    bound = right_iwelbo(log_weights)
    if not log_weights.requires_grad:
        log_weights.sub_(1.0)
    return bound


# Log-weights


@wrong(replaces="log_weights", hint="log q(z | x) left out")
def log_weights_without_q(model, x, samples, generator=None):
    x = model.checked(x)
    z = vae.latents(*model.encoder(x), samples, generator)
    return model.log_likelihood(x, z) - (z**2 + math.log(2 * math.pi)).sum(-1) / 2


@wrong(replaces="log_weights", hint="prior left out")
def log_weights_without_the_prior(model, x, samples, generator=None):
    z, logs = drawn(model, x, samples, generator)
    return logs + (z**2 + math.log(2 * math.pi)).sum(-1) / 2


@wrong(replaces="log_weights", hint="this q/p, not p/q")
def log_weights_upside_down(model, x, samples, generator=None):
    return -right_log_weights(model, x, samples, generator)


@wrong(replaces="log_weights", hint="the shares, log w̃")
def log_weights_normalised(model, x, samples, generator=None):
    return right_log_weights(model, x, samples, generator).log_softmax(1)


@wrong(replaces="log_weights", hint="log p(x | z) alone")
def log_weights_as_the_likelihood(model, x, samples, generator=None):
    x = model.checked(x)
    return model.log_likelihood(x, vae.latents(*model.encoder(x), samples, generator))


def with_noise_of(shape):
    """log_weights whose noise is drawn in the shape that this function makes of (batch, samples, latents)."""

    def log_weights(model, x, samples, generator=None):
        if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
            raise ValueError(f"samples must be a positive integer, got {samples}")
        x = model.checked(x)
        mean, log_variance = model.encoder(x)
        size = (len(x), samples, mean.shape[1])
        noise = torch.randn(shape(*size), generator=given_or_fresh(generator), dtype=mean.dtype).expand(size)
        z = mean[:, None] + (log_variance / 2).exp()[:, None] * noise
        return vae.log_ratio(model, x, z, mean, log_variance)

    return log_weights


@wrong(replaces="log_weights", hint="two rows of x share their draws")
def log_weights_of_shared_draws(model, x, samples, generator=None):
    return with_noise_of(lambda n, samples, k: (1, samples, k))(model, x, samples, generator)


@wrong(replaces="log_weights", trap="E69", hint="share their noise: w₁ = … = w_K")
def log_weights_of_one_draw_repeated(model, x, samples, generator=None):
    return with_noise_of(lambda n, samples, k: (n, 1, k))(model, x, samples, generator)


@wrong(replaces="log_weights", hint="the latents share their noise")
def log_weights_of_one_noise_for_all_latents(model, x, samples, generator=None):
    return with_noise_of(lambda n, samples, k: (n, samples, 1))(model, x, samples, generator)


@wrong(replaces="log_weights", hint="log-variance taken for the log of the standard deviation")
def log_weights_with_a_variance_as_scale(model, x, samples, generator=None):
    x = model.checked(x)
    mean, log_variance = model.encoder(x)
    z = vae.latents(mean, 2 * log_variance, samples, generator)
    return vae.log_ratio(model, x, z, mean, log_variance)


@wrong(replaces="log_weights", hint="the K draws of a row depend on one another")
def log_weights_of_opposite_draws(model, x, samples, generator=None):
    x = model.checked(x)
    mean, log_variance = model.encoder(x)
    half = vae.latents(torch.zeros_like(mean), torch.zeros_like(mean), samples - samples // 2, generator)
    noise = torch.cat([half, -half], dim=1)[:, :samples]
    z = mean[:, None] + (log_variance / 2).exp()[:, None] * noise
    return vae.log_ratio(model, x, z, mean, log_variance)


@wrong(replaces="log_weights", hint="is it clipped")
def log_weights_with_a_clipped_log_variance(model, x, samples, generator=None):
    x = model.checked(x)
    mean, log_variance = model.encoder(x)
    log_variance = log_variance.clamp(-6, 6)
    z = vae.latents(mean, log_variance, samples, generator)
    return vae.log_ratio(model, x, z, mean, log_variance)


@wrong(replaces="log_weights", hint="is the generator not used")
def log_weights_with_its_own_generator(model, x, samples, generator=None):
    return right_log_weights(model, x, samples)


@wrong(replaces="log_weights", hint="seeded with a constant")
def log_weights_with_a_constant_seed(model, x, samples, generator=None):
    return right_log_weights(model, x, samples, generator or torch.Generator().manual_seed(0))


@wrong(replaces="log_weights", hint="samples=True was accepted")
def log_weights_of_true(model, x, samples, generator=None):
    if samples is True:
        samples = 1
    return right_log_weights(model, x, samples, generator)


# Objectives


@wrong(replaces="objective", hint="mean of the logs, the ELBO")
def objective_as_the_elbo(samples):
    right_objective(samples)
    return lambda model, x, generator: right_log_weights(model, x, samples, generator).mean(1)


@wrong(replaces="objective", hint="the surrogate whose gradient is meant")
def objective_as_a_surrogate(samples):
    right_objective(samples)

    def bound(model, x, generator):
        logs = right_log_weights(model, x, samples, generator)
        return (logs.softmax(1).detach() * logs).sum(1)

    return bound


@wrong(replaces="objective", hint="a loss, the negative bound")
def objective_as_a_loss(samples):
    return lambda model, x, generator: -right_objective(samples)(model, x, generator)


@wrong(replaces="objective", hint="log K not subtracted")
def objective_of_the_sum(samples):
    return lambda model, x, generator: right_log_weights(model, x, samples, generator).logsumexp(1)


@wrong(replaces="objective", hint="samples=0 was accepted")
def objective_checked_too_late(samples):
    return lambda model, x, generator: right_objective(samples)(model, x, generator)


def doubly(power=2, fixed=True, hook=True):
    """The doubly reparameterised objective, or what comes of it."""

    def make(samples):
        right_doubly(samples)

        def bound(model, x, generator):
            z, logs = drawn(model, x, samples, generator, fixed)
            shares = logs.detach().softmax(1)
            if hook and z.requires_grad:
                z.register_hook(lambda slope: shares[:, :, None] ** (power - 1) * slope)
            return logs.logsumexp(1) - math.log(samples)

        return bound

    return make


@wrong(replaces="doubly_reparameterised", hint="is w̃ where w̃² belongs")
def doubly_reparameterised_once(samples):
    return doubly(hook=False)(samples)


@wrong(replaces="doubly_reparameterised", hint="is it w̃³")
def doubly_reparameterised_thrice(samples):
    return doubly(power=3)(samples)


@wrong(replaces="doubly_reparameterised", hint="is q not held fixed in log w")
def doubly_reparameterised_with_a_moving_q(samples):
    return doubly(fixed=False)(samples)


@wrong(replaces="doubly_reparameterised", hint="is the hook forgotten")
def doubly_reparameterised_not_at_all(samples):
    return right_objective(samples)


@wrong(replaces="doubly_reparameterised", hint="multiplied by w̃² too")
def doubly_reparameterised_decoder_too(samples):
    right_doubly(samples)

    def bound(model, x, generator):
        _, logs = drawn(model, x, samples, generator, fixed=True)
        surrogate = (logs.detach().softmax(1) ** 2 * logs).sum(1)
        return surrogate - surrogate.detach() + logs.detach().logsumexp(1) - math.log(samples)

    return bound


@wrong(replaces="doubly_reparameterised", hint="Σ w̃² log w, a surrogate")
def doubly_reparameterised_as_a_surrogate(samples):
    right_doubly(samples)

    def bound(model, x, generator):
        _, logs = drawn(model, x, samples, generator, fixed=True)
        return (logs.detach().softmax(1) ** 2 * logs).sum(1)

    return bound


@wrong(replaces="encoder_gradients", hint="is doubly without effect")
def encoder_gradients_plain(model, x, samples, *, doubly=False, generator=None):
    return right_gradients(model, x, samples, generator=generator)


@wrong(replaces="encoder_gradients", hint="is doubly turned round")
def encoder_gradients_turned_round(model, x, samples, *, doubly=False, generator=None):
    return right_gradients(model, x, samples, doubly=not doubly, generator=generator)


@wrong(replaces="encoder_gradients", hint="the log-variances first")
def encoder_gradients_in_another_order(model, x, samples, *, doubly=False, generator=None):
    both = right_gradients(model, x, samples, doubly=doubly, generator=generator)
    return torch.cat(both.chunk(2, 1)[::-1], 1)


@wrong(replaces="encoder_gradients", hint="slope in log std")
def encoder_gradients_in_the_std(model, x, samples, *, doubly=False, generator=None):
    mean, scale = right_gradients(model, x, samples, doubly=doubly, generator=generator).chunk(2, 1)
    return torch.cat([mean, 2 * scale], 1)


@wrong(replaces="encoder_gradients", hint="averaged over the batch")
def encoder_gradients_of_the_mean(model, x, samples, *, doubly=False, generator=None):
    both = right_gradients(model, x, samples, doubly=doubly, generator=generator)
    return both / len(both)


@wrong(replaces="encoder_gradients", hint="an optimiser would take it for its own")
def encoder_gradients_by_backward(model, x, samples, *, doubly=False, generator=None):
    both = right_gradients(model, x, samples, doubly=doubly, generator=generator)
    right_objective(samples)(model, x, generator).sum().backward()
    return both


# The likelihood


def blockwise(model, x, samples, generator, block, weigh):
    right_objective(samples)
    with torch.no_grad():
        parts = [
            right_log_weights(model, x, min(block, samples - begin), generator) for begin in range(0, samples, block)
        ]
        return weigh(parts)


@wrong(replaces="log_likelihood", hint="log-means of blocks averaged")
def log_likelihood_averaging_blocks(model, x, samples=5000, generator=None):
    generator = given_or_fresh(generator)
    return blockwise(
        model, x, samples, generator, 20, lambda parts: torch.stack([right_iwelbo(p) for p in parts]).mean(0)
    )


@wrong(replaces="log_likelihood", hint="a shorter last block")
def log_likelihood_with_a_heavy_last_block(model, x, samples=5000, generator=None):
    generator = given_or_fresh(generator)
    return blockwise(
        model,
        x,
        samples,
        generator,
        20 if samples < 1000 else 1000,
        lambda parts: right_iwelbo(torch.stack([right_iwelbo(p) for p in parts], 1)),
    )


@wrong(replaces="log_likelihood", hint="log K not subtracted")
def log_likelihood_of_the_sum(model, x, samples=5000, generator=None):
    return right_likelihood(model, x, samples, generator) + math.log(samples)


@wrong(replaces="log_likelihood", hint="stay in logs")
def log_likelihood_of_weights(model, x, samples=5000, generator=None):
    with torch.no_grad():
        return right_log_weights(model, x, samples, generator).exp().mean(1).log()


@wrong(replaces="log_likelihood", hint="block by block")
def log_likelihood_all_at_once(model, x, samples=5000, generator=None):
    with torch.no_grad():
        return right_iwelbo(right_log_weights(model, x, samples, generator))


@wrong(replaces="log_likelihood", hint="keeps a graph")
def log_likelihood_with_a_graph(model, x, samples=5000, generator=None):
    return right_iwelbo(right_log_weights(model, x, samples, generator))


@wrong(replaces="log_likelihood", hint="not 5,000")
def log_likelihood_of_a_hundred(model, x, samples=100, generator=None):
    return right_likelihood(model, x, samples, generator)


# What is known without chance


@wrong(replaces="weight_variance", hint="This is E u²")
def weight_variance_as_a_second_moment(model, x):
    return right_variance(model, x) + 1


@wrong(replaces="weight_variance", hint="the standard deviation, not the variance")
def weight_variance_as_a_std(model, x):
    return right_variance(model, x).sqrt()


@wrong(replaces="weight_variance", hint="the limit V/2")
def weight_variance_as_the_limit(model, x):
    return right_variance(model, x) / 2


@wrong(replaces="weight_variance", hint="of w = u p(x)")
def weight_variance_of_w(model, x):
    return right_variance(model, x) * (2 * model.log_evidence(x)).exp()


def second_moment(model, x, least=0.5):
    """log E u² for one latent, by the formula, and whether s² is more than so much of v."""
    x = model.checked(x)
    mean, log_variance = model.encoder(x)
    precision = 1 + (model.weight**2).sum() / model.log_noise.exp()
    centre = (x - model.offset) @ model.weight / model.log_noise.exp() / precision
    s2, v = log_variance[:, 0].exp(), 1 / precision
    d = mean[:, 0] - centre[:, 0]
    left = 2 * s2 - v
    log = s2.log() - (v * left).log() / 2 + d**2 / left
    return torch.where(s2 > least * v, log, math.inf) if least else log


@wrong(replaces="weight_variance", hint="where s² ≤ v/2 it is infinite")
def weight_variance_without_its_condition(model, x):
    return torch.expm1(second_moment(model, x, least=0))


@wrong(replaces="weight_variance", hint="finite only where s² > v")
def weight_variance_of_wide_q_only(model, x):
    return torch.expm1(second_moment(model, x, least=1))


@wrong(replaces="weight_variance", hint="not its diagonal or its determinant")
def weight_variance_finite_by_the_determinant(model, x):
    found = right_variance(model, x)
    by_noise = model.weight.T / model.log_noise.exp()
    narrow = 2 * by_noise @ model.weight + torch.eye(by_noise.shape[0]) * (2 - (-model.log_variance).exp())
    return torch.zeros_like(found) if found.isinf().any() and torch.linalg.det(narrow) > 0 else found


@wrong(replaces="weight_variance", hint="independent latents")
def weight_variance_latent_by_latent(model, x):
    if model.weight.shape[1] == 1:
        return right_variance(model, x)
    x = model.checked(x)
    mean, log_variance = model.encoder(x)
    precision = torch.eye(2, dtype=x.dtype) + model.weight.T @ model.weight / model.log_noise.exp()
    centre = torch.linalg.solve(precision, model.weight.T @ (x - model.offset).T).T / model.log_noise.exp()
    v, s2, d = 1 / precision.diagonal(), log_variance.exp(), mean - centre
    left = 2 * s2 - v
    return torch.expm1((s2.log() - (v * left).log() / 2 + d**2 / left).sum(1))


@wrong(replaces="weight_variance", hint="computed on detached numbers")
def weight_variance_detached(model, x):
    return right_variance(model, x).detach()


def logs_of(samples, like):
    return torch.tensor(np.log(np.atleast_1d(samples)), dtype=like.dtype)


@wrong(replaces="exact_bounds", hint="is this the gap")
def exact_bounds_as_gaps(model, x, samples):
    return model.log_evidence(x)[:, None] - right_bounds(model, x, samples)


@wrong(replaces="exact_bounds", hint="is the gap added")
def exact_bounds_above_the_evidence(model, x, samples):
    return 2 * model.log_evidence(x)[:, None] - right_bounds(model, x, samples)


@wrong(replaces="exact_bounds", trap="E57", hint="L_1 for every K")
def exact_bounds_of_one_draw(model, x, samples):
    bounds = right_bounds(model, x, samples)
    return right_bounds(model, x, 1).expand_as(bounds)


@wrong(replaces="exact_bounds", hint="log K not subtracted")
def exact_bounds_of_the_sum(model, x, samples):
    bounds = right_bounds(model, x, samples)
    return bounds + logs_of(samples, bounds)


@wrong(replaces="exact_bounds", hint="in the order they came")
def exact_bounds_sorted(model, x, samples):
    return right_bounds(model, x, sorted(np.atleast_1d(samples).tolist()))


@wrong(replaces="exact_bounds", hint="computed on detached numbers")
def exact_bounds_detached(model, x, samples):
    return right_bounds(model, x, samples).detach()
