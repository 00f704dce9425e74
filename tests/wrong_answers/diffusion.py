"""Wrong schedules, steps, bounds, denoisers, samples and p-values."""

import math

import numpy as np
import torch
from scipy.spatial.distance import cdist

from solutions import diffusion
from tests.wrong_answers import wrong

RightSchedule, RightDenoiser, Step, Bound = diffusion.Schedule, diffusion.Denoiser, diffusion.Step, diffusion.Bound
Cloud, TwoSampleTest = diffusion.Cloud, diffusion.TwoSampleTest
right_marginal, right_posterior, right_bound = diffusion.marginal, diffusion.posterior, diffusion.bound
right_path_terms, right_log_density = diffusion.path_terms, diffusion.gaussian_log_density
right_gaussian_step, right_gaussian_bound = diffusion.gaussian_step, diffusion.gaussian_bound
right_noised, right_look, right_exact = diffusion.noised, diffusion.log_density_and_score, diffusion.exact_denoiser
right_draw_cloud, right_fisher, right_best = (
    diffusion.draw_cloud,
    diffusion.fisher_informations,
    diffusion.best_variances,
)
right_variances, right_reverse_step, right_weights = (
    diffusion.reverse_variances,
    diffusion.reverse_step,
    diffusion.bound_weights,
)
right_noise_loss, right_train, right_sample = diffusion.noise_loss, diffusion.train, diffusion.sample
right_energy_test = diffusion.energy_test


# The schedule


@wrong(replaces="Schedule", hint="is betas[t] taken?")
class ScheduleThatCountsFromZero(RightSchedule):
    def beta(self, t):
        return self.betas[t]


@wrong(replaces="Schedule", hint="is this ᾱ_{t-1}?")
class ScheduleWithAlphaBarOfTheStepBefore(RightSchedule):
    def alpha_bar(self, t):
        return self.alpha_bars[np.maximum(np.asarray(t) - 1, 0)]


@wrong(replaces="Schedule", hint="is this α_t = 1 - β_t, where ᾱ_t is their product?")
class ScheduleWithAlphaForAlphaBar(RightSchedule):
    def __init__(self, betas):
        super().__init__(betas)
        self.alpha_bars = np.append(1.0, 1 - self.betas)


@wrong(replaces="Schedule", hint="loses its digits")
class ScheduleThatSubtracts(RightSchedule):
    def __init__(self, betas):
        super().__init__(betas)
        self.noise_variances = 1 - self.alpha_bars


@wrong(replaces="Schedule", hint="is 1 - ᾱ_{t-1} forgotten?")
class ScheduleWithHalfThePosteriorVariance(RightSchedule):
    def __init__(self, betas):
        super().__init__(betas)
        self.posterior_variances = self.betas / self.noise_variances[1:]


@wrong(replaces="Schedule", hint="after the array that was given has been overwritten")
class ScheduleThatKeepsTheArray(RightSchedule):
    def __init__(self, betas):
        super().__init__(betas)
        self.betas = betas


@wrong(replaces="linear_schedule", hint="rate taken at the end of each interval")
def linear_schedule_of_right_ends(steps, first=0.1, last=20.0):
    rate = first + (last - first) * np.arange(1, steps + 1) / steps
    return RightSchedule(-np.expm1(-rate / steps))


@wrong(replaces="linear_schedule", hint="are these the paper's, from 1e-4 to 0.02")
def linear_schedule_from_the_paper_whatever_the_steps(steps, first=0.1, last=20.0):
    return RightSchedule(np.linspace(1e-4, 0.02, steps))


@wrong(replaces="linear_schedule", hint="is it b/T, not 1 - exp(-b/T)?")
def linear_schedule_without_the_exponential(steps, first=0.1, last=20.0):
    rate = first + (last - first) * (np.arange(steps) + 0.5) / steps
    return RightSchedule(np.minimum(rate / steps, 0.999))


# Marginal and posterior


@wrong(replaces="marginal", hint="is this the variance 1 - ᾱ_t, not its root?")
def marginal_with_the_variance_for_a_std(x0, t, schedule):
    mean, std = right_marginal(x0, t, schedule)
    return Step(mean, std**2)


@wrong(replaces="marginal", hint="is x_0 not shrunk?")
def marginal_that_only_adds(x0, t, schedule):
    mean, std = right_marginal(x0, t, schedule)
    return Step(0 * mean + x0, std)


@wrong(replaces="marginal", hint="without the square root?")
def marginal_shrunk_by_alpha_bar(x0, t, schedule):
    mean, std = right_marginal(x0, t, schedule)
    return Step(mean**2 / np.where(np.asarray(x0) == 0, 1, x0), std)


@wrong(replaces="marginal", hint="of one step, not √ᾱ_t")
def marginal_of_one_step(x0, t, schedule):
    beta = schedule.beta(t)
    return Step(np.sqrt(1 - beta) * x0, np.sqrt(beta))


@wrong(replaces="marginal", hint="is the first t taken for all rows?")
def marginal_with_the_first_time(x0, t, schedule):
    return right_marginal(x0, t if np.ndim(t) == 0 else int(t[0]), schedule)


@wrong(replaces="marginal", hint="has a mean of dtype float64")
def marginal_in_double_precision_always(x0, t, schedule):
    kind = torch.is_tensor(x0)
    return right_marginal(x0.double() if kind else np.asarray(x0, dtype=float), t, schedule)


def _posterior(x0, xt, t, schedule, of_x0, of_xt, std):
    """A posterior with formulas of one's own where t is a number greater than 1, and the right one elsewhere."""
    right = right_posterior(x0, xt, t, schedule)
    if np.ndim(t) or t == 1:
        return right
    q = schedule.alpha_bars[t - 1], schedule.alpha_bars[t], schedule.betas[t - 1]
    return Step(of_x0(*q) * x0 + of_xt(*q) * xt, right.std if std is None else std(*q))


def _x0(before, after, beta):
    return math.sqrt(before) * beta / (1 - after)


def _xt(before, after, beta):
    return math.sqrt(1 - beta) * (1 - before) / (1 - after)


@wrong(replaces="posterior", hint="is ᾱ_t taken for ᾱ_{t-1} in the weight of x_0?")
def posterior_with_the_later_alpha_bar(x0, xt, t, schedule):
    return _posterior(x0, xt, t, schedule, lambda a, b, c: math.sqrt(b) * c / (1 - b), _xt, None)


@wrong(replaces="posterior", hint="is the square root of ᾱ_{t-1} forgotten?")
def posterior_without_a_root(x0, xt, t, schedule):
    return _posterior(x0, xt, t, schedule, lambda a, b, c: a * c / (1 - b), _xt, None)


@wrong(replaces="posterior", hint="is the square root of α_t forgotten?")
def posterior_without_the_other_root(x0, xt, t, schedule):
    return _posterior(x0, xt, t, schedule, _x0, lambda a, b, c: (1 - c) * (1 - a) / (1 - b), None)


@wrong(replaces="posterior", hint="is this √β_t, where √β̃_t belongs?")
def posterior_with_the_variance_of_the_step(x0, xt, t, schedule):
    return _posterior(x0, xt, t, schedule, _x0, _xt, lambda a, b, c: math.sqrt(c))


@wrong(replaces="posterior", hint="is this the variance β̃_t, not its root?")
def posterior_with_the_variance_for_a_std(x0, xt, t, schedule):
    return _posterior(x0, xt, t, schedule, _x0, _xt, lambda a, b, c: c * (1 - a) / (1 - b))


@wrong(replaces="posterior", hint="xt=(1, 3)")
def posterior_that_broadcasts(x0, xt, t, schedule):
    return (
        right_posterior(*np.broadcast_arrays(x0, xt), t, schedule)
        if not torch.is_tensor(x0)
        else right_posterior(x0, xt, t, schedule)
    )


# Decoders and the bound


@wrong(replaces="gaussian_log_density", hint="is this a mean over the coordinates")
def gaussian_log_density_per_coordinate(x0, mean, std):
    total = right_log_density(x0, mean, std)
    return total / x0.shape[1] if x0.ndim == 2 else total


@wrong(replaces="gaussian_log_density", hint="is it log std once")
def gaussian_log_density_with_one_log_std(x0, mean, std):
    total = right_log_density(x0, mean, std)
    return total + (x0.shape[1] - 1) * math.log(std) if x0.ndim == 2 else total


def _cells(levels, half, ends=math.inf):
    def decoder(x0, mean, std):
        low = torch.where(x0 <= -1, -ends, x0 - half)
        high = torch.where(x0 >= 1, ends, x0 + half)
        normal = torch.distributions.Normal(0.0, 1.0)
        terms = torch.log(normal.cdf((high - mean) / std) - normal.cdf((low - mean) / std))
        return terms.sum(dim=1) if terms.ndim == 2 else terms

    return decoder


@wrong(replaces="discretised_log_probability", hint="is half a cell 1/levels?")
def discretised_log_probability_with_narrow_cells(levels):
    return _cells(levels, 1 / levels)


@wrong(replaces="discretised_log_probability", hint="do the end cells reach to infinity?")
def discretised_log_probability_with_finite_ends(levels):
    return _cells(levels, 1 / (levels - 1), 1 + 1 / (levels - 1))


@wrong(replaces="discretised_log_probability", hint="underflows")
def discretised_log_probability_of_differences(levels):
    return _cells(levels, 1 / (levels - 1))


@wrong(replaces="bound", trap="E71", hint="is the sign of L_0 reversed")
def bound_with_the_printed_sign(*args, **options):
    parts = right_bound(*args, **options)
    return parts._replace(L_0=-parts.L_0)


@wrong(replaces="bound", hint="is it left out? q(x_T|x_0) is not yet N(0, I)")
def bound_without_its_last_part(*args, **options):
    parts = right_bound(*args, **options)
    return parts._replace(L_T=0 * parts.L_T)


def _own_bound(model, x0, schedule, generator, decoder, noise=None, kl=None, share=1.0, reduce="sum", at=None):
    x0 = torch.as_tensor(x0 if torch.is_tensor(x0) else np.array(x0), dtype=torch.float64)
    model = right_reverse_step(model, schedule) if isinstance(model, RightDenoiser) else model
    kl = kl or (lambda m, s, n, r: torch.log(torch.as_tensor(r / s)) + (s**2 + (m - n) ** 2) / (2 * r**2) - 0.5)
    noise = noise or (lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype))

    def rows(x):
        return getattr(x, reduce)(dim=1) if x.ndim == 2 else x

    mean, std = right_marginal(x0, schedule.steps, schedule)
    L_T, L_t = rows(kl(mean, std, 0 * mean, torch.tensor(1.0))), [torch.zeros(0, len(x0), dtype=x0.dtype)]
    z = noise(x0)
    for t in range(1, schedule.steps + 1):
        mean, std = right_marginal(x0, t, schedule)
        z = z if at == "once" else noise(x0)
        xt = mean + share * std * z
        there = Step(*model(xt, t))
        if t == 1:
            L_0 = -decoder(x0, *there)
        else:
            L_t.append(rows(kl(*right_posterior(x0, xt, t, schedule), *there))[None])
    return Bound(L_T.numpy(), torch.cat(L_t).numpy(), L_0.numpy())


@wrong(replaces="bound", hint="is this KL(p ‖ q), the divergence the other way round?")
def bound_with_reversed_divergences(model, x0, schedule, *, generator=None, draws=1, decoder=right_log_density):
    def kl(m, s, n, r):
        s, r = torch.as_tensor(s), torch.as_tensor(r)
        return torch.log(s / r) + (r**2 + (m - n) ** 2) / (2 * s**2) - 0.5

    return _own_bound(model, x0, schedule, generator, decoder, kl=kl)


@wrong(replaces="bound", hint="is it averaged over the coordinates, not summed?")
def bound_per_coordinate(model, x0, schedule, *, generator=None, draws=1, decoder=right_log_density):
    return _own_bound(model, x0, schedule, generator, decoder, reduce="mean")


@wrong(replaces="bound", hint="without noise")
def bound_at_the_means(model, x0, schedule, *, generator=None, draws=1, decoder=right_log_density):
    return _own_bound(model, x0, schedule, generator, decoder, share=0.0)


@wrong(replaces="bound", hint="all rows share one draw of x_t, or its noise")
def bound_with_one_noise_for_all_rows(model, x0, schedule, *, generator=None, draws=1, decoder=right_log_density):
    def noise(x):
        return torch.randn(x.shape[1:], generator=generator, dtype=x.dtype).expand(x.shape)

    return _own_bound(model, x0, schedule, generator, decoder, noise=noise)


@wrong(replaces="bound", hint="all steps share their noise")
def bound_with_one_noise_for_all_steps(model, x0, schedule, *, generator=None, draws=1, decoder=right_log_density):
    return _own_bound(model, x0, schedule, generator, decoder, at="once")


@wrong(replaces="bound", hint="varies as with a single draw")
def bound_that_draws_once(model, x0, schedule, *, generator=None, draws=1, decoder=right_log_density):
    return right_bound(model, x0, schedule, generator=generator, decoder=decoder)


@wrong(replaces="bound", hint="of bound with a decoder of one's own")
def bound_with_a_decoder_of_its_own(model, x0, schedule, *, generator=None, draws=1, decoder=right_log_density):
    return right_bound(model, x0, schedule, generator=generator, draws=draws)


@wrong(replaces="bound", hint="is a seed fixed inside?")
def bound_that_seeds_itself(model, x0, schedule, *, generator=None, draws=1, decoder=right_log_density):
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    return right_bound(model, x0, schedule, generator=generator, draws=draws, decoder=decoder)


@wrong(replaces="path_terms", hint="is log q(x_t|x_{t-1}) left out?")
def path_terms_without_the_way_there(model, x0, schedule, *, generator=None, decoder=right_log_density):
    zero = torch.zeros(len(x0), dtype=torch.float64)
    seen = {0: torch.as_tensor(np.array(x0))}

    def watched(xt, t):
        seen[t] = xt
        return model(xt, t)

    terms = right_path_terms(watched, x0, schedule, generator=generator, decoder=decoder).copy()
    for t in range(1, schedule.steps + 1):
        beta = schedule.betas[t - 1]
        there = right_log_density(seen[t], math.sqrt(1 - beta) * seen[t - 1], math.sqrt(beta))
        terms[t] -= (zero + there).numpy()
    return terms


@wrong(replaces="path_terms", hint="is -log p(x_T) the last row?")
def path_terms_with_the_first_one_last(*args, **options):
    return np.roll(right_path_terms(*args, **options), -1, axis=0)


# Gaussian data


@wrong(replaces="gaussian_step", hint="right only for data of variance 1?")
def gaussian_step_with_the_forward_std(data_variance, schedule):
    model = right_gaussian_step(data_variance, schedule)
    return lambda xt, t: Step(model(xt, t)[0], math.sqrt(schedule.beta(t)))


@wrong(replaces="gaussian_step", hint="is √α_t forgotten?")
def gaussian_step_without_alpha(data_variance, schedule):
    model = right_gaussian_step(data_variance, schedule)

    def step(xt, t):
        mean, std = model(xt, t)
        return Step(mean / math.sqrt(schedule.alpha(t)), std)

    return step


@wrong(replaces="gaussian_bound", hint="without what x_0 says of x_T?")
def gaussian_bound_from_the_law_of_the_end(data_variance, schedule, variances="best"):
    v = schedule.alpha_bars[-1] * data_variance + schedule.noise_variances[-1]
    return right_gaussian_bound(data_variance, schedule, variances)._replace(L_T=0.5 * (v - 1 - np.log(v)))


@wrong(replaces="gaussian_bound", trap="E71", hint="is the sign of L_0 reversed?")
def gaussian_bound_with_the_printed_sign(data_variance, schedule, variances="best"):
    parts = right_gaussian_bound(data_variance, schedule, variances)
    return parts._replace(L_0=-parts.L_0)


# Clouds


@wrong(replaces="noised", hint="are the points not shrunk?")
def noised_where_it_stands(data, t, schedule):
    return right_noised(data, t, schedule)._replace(points=np.asarray(data.points, dtype=float))


@wrong(replaces="noised", hint="is the variance of the data not shrunk by ᾱ_t?")
def noised_with_the_whole_variance(data, t, schedule):
    std = float(np.sqrt(data.std**2 + schedule.noise_variances[t]))
    return right_noised(data, t, schedule)._replace(std=std)


@wrong(replaces="draw_cloud", hint="the weights are forgotten")
def draw_cloud_with_equal_chances(rng, data, n):
    return right_draw_cloud(rng, diffusion.cloud(data.points, data.std), n)


@wrong(replaces="draw_cloud", hint="each point gets its share of the draws")
def draw_cloud_with_fixed_shares(rng, data, n):
    edges = np.cumsum(np.exp(data.log_weights))
    chosen = np.searchsorted(edges, (np.arange(n) + rng.uniform()) / n).clip(0, len(edges) - 1)
    points = data.points[rng.permutation(chosen)]
    return points + data.std * rng.standard_normal(points.shape)


@wrong(replaces="log_density_and_score", hint="is it divided by std, not by std²?")
def log_density_and_score_divided_by_std(x, data):
    log_density, score = right_look(x, data)
    return log_density, score * data.std


@wrong(replaces="log_density_and_score", hint="the density underflows")
def log_density_and_score_of_sums(x, data):
    square = cdist(x, data.points, "sqeuclidean")
    p = np.exp(data.log_weights - square / (2 * data.std**2))
    constant = x.shape[1] / 2 * np.log(2 * np.pi * data.std**2)
    with np.errstate(all="ignore"):
        r = p / p.sum(axis=1, keepdims=True)
        return np.log(p.sum(axis=1)) - constant, (r @ data.points - x) / data.std**2


@wrong(replaces="exact_denoiser", hint="is the sign reversed? ε* is minus the score")
def exact_denoiser_with_the_wrong_sign(data, schedule):
    denoiser = right_exact(data, schedule)
    return lambda xt, t: -denoiser(xt, t)


@wrong(replaces="exact_denoiser", hint="is it the score times 1 - ᾱ_t, not its root?")
def exact_denoiser_without_the_root(data, schedule):
    denoiser = right_exact(data, schedule)
    return lambda xt, t: float(np.sqrt(schedule.noise_variances[t])) * denoiser(xt, t)


@wrong(replaces="fisher_informations", hint="does it begin with t = 0?")
def fisher_informations_from_time_zero(data, schedule):
    first = RightSchedule(np.array([1e-12, *schedule.betas[:-1]]))
    return right_fisher(data, first)


@wrong(replaces="best_variances", hint="is the division by d missing?")
def best_variances_of_all_coordinates(errors, schedule, dimension):
    return right_best(np.asarray(errors), schedule, 1)


@wrong(replaces="best_variances", hint="is β̃_t forgotten?")
def best_variances_without_the_posteriors(errors, schedule, dimension):
    return right_best(errors, schedule, dimension) - schedule.posterior_variances


# The way back


@wrong(replaces="reverse_variances", hint="is β̃_1 = 0 taken at t = 1")
def reverse_variances_without_a_floor(schedule, variances="beta"):
    named = isinstance(variances, str) and variances == "posterior"
    return schedule.posterior_variances if named else right_variances(schedule, variances)


def _reverse(denoiser, schedule, variances, mean):
    used = right_variances(schedule, variances)

    def model(xt, t):
        beta, noise = float(schedule.beta(t)), float(schedule.noise_variances[t])
        return Step(mean(xt, denoiser(xt, t), beta, noise), math.sqrt(used[t - 1]))

    return model


@wrong(replaces="reverse_step", hint="is 1/√α_t forgotten?")
def reverse_step_without_growth(denoiser, schedule, variances="beta"):
    return _reverse(denoiser, schedule, variances, lambda x, e, b, v: x - b / math.sqrt(v) * e)


@wrong(replaces="reverse_step", hint="is α_t taken for ᾱ_t in √(1 - ᾱ_t)?")
def reverse_step_with_alpha_for_alpha_bar(denoiser, schedule, variances="beta"):
    return _reverse(denoiser, schedule, variances, lambda x, e, b, v: (x - math.sqrt(b) * e) / math.sqrt(1 - b))


@wrong(replaces="reverse_step", hint="is the guessed noise added, not taken away?")
def reverse_step_that_adds(denoiser, schedule, variances="beta"):
    return _reverse(denoiser, schedule, variances, lambda x, e, b, v: (x + b / math.sqrt(v) * e) / math.sqrt(1 - b))


@wrong(replaces="reverse_step", hint="is this the variance σ_t², not its root?")
def reverse_step_with_the_variance_for_a_std(denoiser, schedule, variances="beta"):
    model = right_reverse_step(denoiser, schedule, variances)

    def step(xt, t):
        mean, std = model(xt, t)
        return Step(mean, std**2)

    return step


@wrong(replaces="bound_weights", hint="is the factor 2 below missing?")
def bound_weights_without_the_half(schedule, variances="beta"):
    return 2 * right_weights(schedule, variances)


@wrong(replaces="bound_weights", hint="is α_t missing below?")
def bound_weights_without_alpha(schedule, variances="beta"):
    return right_weights(schedule, variances) * (1 - schedule.betas)


# The network and its training


@wrong(replaces="Denoiser", hint="is the time fed as a constant?")
class DenoiserWithoutAClock(RightDenoiser):
    def forward(self, xt, t):
        return super().forward(xt, 1)


@wrong(replaces="Denoiser", hint="the generator's seed makes no difference")
class DenoiserWithWeightsOfItsOwn(RightDenoiser):
    def __init__(self, dimension, schedule, hidden=128, layers=3, *, generator=None):
        super().__init__(dimension, schedule, hidden, layers, generator=torch.Generator().manual_seed(0))


@wrong(replaces="noise_loss", hint="is this a mean over the coordinates, not their sum?")
def noise_loss_per_coordinate(denoiser, x0, t, schedule, noise):
    return right_noise_loss(denoiser, x0, t, schedule, noise) / x0.shape[1]


@wrong(replaces="noise_loss", hint="is the noise added with 1 - ᾱ_t, not its root?")
def noise_loss_with_the_variance_for_a_std(denoiser, x0, t, schedule, noise):
    mean, std = right_marginal(x0, t, schedule)
    return ((noise - denoiser(mean + std**2 * noise, t)) ** 2).sum(dim=1)


def _own_train(
    denoiser, data, schedule, steps, batch_size, rate, weights, generator, last=None, shared=False, one=False
):
    x0, losses = torch.as_tensor(data if torch.is_tensor(data) else np.array(data), dtype=torch.float32), []
    w = torch.ones(schedule.steps) if weights is None else torch.as_tensor(weights, dtype=torch.float32)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=rate)
    for _ in range(steps):
        batch = x0[torch.randint(len(x0), (batch_size,), generator=generator)]
        t = torch.randint(1, last or schedule.steps + 1, (1 if one else batch_size,), generator=generator)
        t = t.expand(batch_size)
        noise = torch.randn(batch[:1].shape if shared else batch.shape, generator=generator).expand(batch.shape)
        loss = (w[t - 1] * right_noise_loss(denoiser, batch, t, schedule, noise)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


@wrong(replaces="train", hint="t = 3 is never drawn")
def train_without_the_last_step(
    denoiser, data, schedule, *, steps=2000, batch_size=256, rate=0.005, weights=None, generator=None
):
    return _own_train(denoiser, data, schedule, steps, batch_size, rate, weights, generator, last=schedule.steps)


@wrong(replaces="train", hint="one draw of noise serves the whole minibatch")
def train_with_one_noise_for_the_minibatch(
    denoiser, data, schedule, *, steps=2000, batch_size=256, rate=0.005, weights=None, generator=None
):
    return _own_train(denoiser, data, schedule, steps, batch_size, rate, weights, generator, shared=True)


@wrong(replaces="train", hint="one t serves the whole minibatch")
def train_with_one_time_for_the_minibatch(
    denoiser, data, schedule, *, steps=2000, batch_size=256, rate=0.005, weights=None, generator=None
):
    return _own_train(denoiser, data, schedule, steps, batch_size, rate, weights, generator, one=True)


@wrong(replaces="train", hint="are the weights ignored?")
def train_without_weights(
    denoiser, data, schedule, *, steps=2000, batch_size=256, rate=0.005, weights=None, generator=None
):
    return _own_train(denoiser, data, schedule, steps, batch_size, rate, None, generator)


# Samples


@wrong(replaces="sample", hint="the last step adds noise, though noisy_end=False")
def sample_with_noise_at_the_end(generator, model, schedule, n, *, dimension=None, noisy_end=False, path=False):
    return right_sample(generator, model, schedule, n, dimension=dimension, noisy_end=True, path=path)


@wrong(replaces="sample", hint="it has no noise")
def sample_of_means(generator, model, schedule, n, *, dimension=None, noisy_end=False, path=False):
    model = right_reverse_step(model, schedule) if isinstance(model, RightDenoiser) else model
    stages = [torch.randn(n, dimension, generator=generator, dtype=torch.float64)]
    for t in range(schedule.steps, 0, -1):
        stages.append(model(stages[-1], t)[0])
    return torch.stack(stages[::-1]) if path else stages[-1]


@wrong(replaces="sample", hint="all chains share their noise")
def sample_with_one_noise_for_all_chains(generator, model, schedule, n, *, dimension=None, noisy_end=False, path=False):
    def step(xt, t):
        mean, std = model(xt, t)
        shared = torch.randn(1, dimension, generator=generator, dtype=torch.float64)
        return Step(mean + (std * shared if t > 1 or noisy_end else 0), 1e-12)

    return right_sample(generator, step, schedule, n, dimension=dimension, path=path)


@wrong(replaces="sample", hint="its noise is scaled by σ², not σ")
def sample_with_variances_for_stds(generator, model, schedule, n, *, dimension=None, noisy_end=False, path=False):
    def step(xt, t):
        mean, std = model(xt, t)
        return Step(mean, std**2)

    return right_sample(generator, step, schedule, n, dimension=dimension, noisy_end=noisy_end, path=path)


# Two samples


@wrong(replaces="energy_test", hint="is it b/P? It is (1 + b)/(1 + P), never 0")
def energy_test_with_p_values_of_zero(rng, x, y, permutations=199):
    statistic, p = right_energy_test(rng, x, y, permutations)
    return TwoSampleTest(statistic, (p * (1 + permutations) - 1) / permutations)


@wrong(replaces="energy_test", hint="is E|x-y| counted once, not twice?")
def energy_test_with_one_cross_term(rng, x, y, permutations=199):
    statistic, p = right_energy_test(rng, x, y, permutations)
    return TwoSampleTest(statistic - cdist(x, y).mean(), p)


@wrong(replaces="energy_test", hint="are distances squared")
def energy_test_of_squared_distances(rng, x, y, permutations=199):
    _, p = right_energy_test(rng, x, y, permutations)
    square = [cdist(a, b, "sqeuclidean").mean() for a, b in ((x, y), (x, x), (y, y))]
    return TwoSampleTest(2 * square[0] - square[1] - square[2], p)


@wrong(replaces="energy_test", hint="are equal statistics not counted")
def energy_test_with_strict_inequality(rng, x, y, permutations=199):
    both, n = np.concatenate([x, y]).astype(float), len(x)

    def statistic(z):
        a, b = z[:n], z[n:]
        return float(2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean())

    first = statistic(both)
    larger = sum(statistic(rng.permutation(both)) > first + 1e-12 for _ in range(permutations))
    return TwoSampleTest(first, (1 + larger) / (1 + permutations))
