"""Wrong noise, wrong throws, wrong densities and means of soft ones, wrong slopes."""

import math

import numpy as np
import torch
from scipy import integrate, special, stats

from solutions import gumbel
from tests.wrong_answers import wrong

right_noise, right_soft = gumbel.noise, gumbel.gumbel_softmax  # kept: a wrong answer may stand in their place later
right_density, right_mean = gumbel.concrete_log_density, gumbel.mean_of_relaxed
right_variance, right_baseline = gumbel.score_variance, gumbel.optimal_baseline
right_score, right_relaxed, right_exact = gumbel.score_gradient, gumbel.relaxed_gradient, gumbel.exact_gradient
right_coin, right_coin_through = gumbel.coin_relaxed, gumbel.coin_straight_through
right_lattice, right_max, right_ranking = gumbel.lattice_probability, gumbel.gumbel_max, gumbel.ranking


def tensor(p):
    return p if torch.is_tensor(p) else torch.as_tensor(np.array(p, float))


def uniform(generator, *shape, dtype=torch.float64):
    return torch.rand(*shape, generator=generator, dtype=dtype)


def log_p_and_noise(generator, probabilities, n):
    p = tensor(probabilities)
    return p.log(), right_noise(generator, n, len(p)).to(p)


def values_and_die(values, probabilities):
    return np.asarray(values, float), np.asarray(tensor(probabilities).detach(), float)


# Noise


@wrong(replaces="noise", hint="the sign is reversed")
def noise_of_the_smallest(generator, n, k):
    return torch.log(-torch.log(uniform(generator, n, k)))


@wrong(replaces="noise", hint="the outer logarithm is missing")
def noise_with_one_logarithm(generator, n, k):
    return -torch.log(uniform(generator, n, k))


@wrong(replaces="noise", hint="this is normal noise")
def noise_of_gauss(generator, n, k):
    return torch.randn(n, k, generator=generator, dtype=torch.float64)


@wrong(replaces="noise", hint="drawn in single precision")
def noise_of_single_precision(generator, n, k):
    u = uniform(generator, n, k, dtype=torch.float32)
    return -torch.log(-torch.log(u.double() + 1e-20) + 1e-20)


@wrong(replaces="noise", hint="one noise shared by the outcomes of a row")
def noise_for_each_row(generator, n, k):
    return right_noise(generator, n, 1).expand(n, k)


@wrong(replaces="noise", hint="one noise shared by all rows")
def noise_for_each_column(generator, n, k):
    return right_noise(generator, 1, k).expand(n, k)


@wrong(replaces="noise", hint="is the generator used?")
def noise_of_the_global_generator(generator, n, k):
    return -torch.log(-torch.log(torch.rand(n, k, dtype=torch.float64)))


@wrong(replaces="noise", hint="is a seed set inside?")
def noise_that_is_seeded_inside(generator, n, k):
    return right_noise(torch.Generator().manual_seed(generator.initial_seed()), n, k)


@wrong(replaces="noise", hint="is the noise stratified, or antithetic?")
def noise_of_antithetic_halves(generator, n, k):
    right_noise(torch.Generator(), n, k)  # refuses what ours refuses
    u = uniform(generator, (n + 1) // 2, k)
    return -torch.log(-torch.log(torch.cat([u, 1 - u])[:n].clamp(2.0**-54, 1 - 2.0**-53)))


@wrong(replaces="noise", hint="should raise a ValueError")
def noise_of_any_size(generator, n, k):
    return -torch.log(-torch.log(uniform(generator, n, k)))


# Hard throws


@wrong(replaces="gumbel_max", hint="the noise is added to p, not to log p")
def gumbel_max_without_the_logarithm(generator, probabilities, n):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    return (log_p.exp() + g).argmax(dim=1)


@wrong(replaces="gumbel_max", hint="the sign of the noise is reversed")
def gumbel_max_with_reversed_noise(generator, probabilities, n):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    return (log_p - g).argmax(dim=1)


@wrong(replaces="gumbel_max", hint="lets the likeliest win always")
def gumbel_max_with_one_noise_a_row(generator, probabilities, n):
    log_p = tensor(probabilities).log()
    return (log_p + right_noise(generator, n, 1)).argmax(dim=1)


@wrong(replaces="gumbel_max", hint="one noise shared by all rows")
def gumbel_max_with_one_noise_for_all_rows(generator, probabilities, n):
    log_p = tensor(probabilities).log()
    return (log_p + right_noise(generator, 1, len(log_p)).expand(n, -1)).argmax(dim=1)


@wrong(replaces="gumbel_max", hint="do they count from 1?")
def gumbel_max_from_one(generator, probabilities, n):
    return right_max(generator, probabilities, n) + 1


@wrong(replaces="gumbel_max", hint="int64")
def gumbel_max_as_floats(generator, probabilities, n):
    return right_max(generator, probabilities, n).double()


@wrong(replaces="gumbel_max", hint="should raise a ValueError")
def gumbel_max_of_any_weights(generator, probabilities, n):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    return (log_p + g).argmax(dim=1)


# Rankings


@wrong(replaces="ranking", hint="the smallest score comes first")
def ranking_from_the_bottom(generator, probabilities, n):
    return right_ranking(generator, probabilities, n).flip(1)


@wrong(replaces="ranking", hint="which place each outcome has")
def ranking_of_places(generator, probabilities, n):
    return right_ranking(generator, probabilities, n).argsort(dim=1)


@wrong(replaces="ranking", hint="is a small number added inside of the logarithm?")
def ranking_with_a_little_for_all(generator, probabilities, n):
    right_ranking(torch.Generator(), probabilities, n)  # refuses what ours refuses
    p = tensor(probabilities)
    return ((p + 1e-20).log() + right_noise(generator, n, len(p)).to(p)).argsort(dim=1, descending=True)


@wrong(replaces="ranking", hint="the order of the others does not heed p")
def ranking_of_the_first_alone(generator, probabilities, n):
    first = right_max(generator, probabilities, n)
    scores = uniform(generator, n, len(tensor(probabilities)))
    scores[torch.arange(n), first] = 2.0
    return scores.argsort(dim=1, descending=True)


# Soft throws


@wrong(replaces="gumbel_softmax", hint="multiplied by the temperature, not divided")
def gumbel_softmax_of_the_product(generator, probabilities, n, temperature):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    return ((log_p + g) * temperature).softmax(dim=1)


@wrong(replaces="gumbel_softmax", hint="and log p not?")
def gumbel_softmax_with_warm_noise(generator, probabilities, n, temperature):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    return (log_p + g / temperature).softmax(dim=1)


@wrong(replaces="gumbel_softmax", hint="and the noise not?")
def gumbel_softmax_with_warm_logits(generator, probabilities, n, temperature):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    return (log_p / temperature + g).softmax(dim=1)


@wrong(replaces="gumbel_softmax", hint="is the softmax over dim 0?")
def gumbel_softmax_over_the_throws(generator, probabilities, n, temperature):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    return ((log_p + g) / temperature).softmax(dim=0)


@wrong(replaces="gumbel_softmax", hint="not their logarithms?")
def gumbel_softmax_of_the_probabilities(generator, probabilities, n, temperature):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    return ((log_p.exp() + g) / temperature).softmax(dim=1)


@wrong(replaces="gumbel_softmax", hint="is this the hard throw")
def gumbel_softmax_that_is_hard(generator, probabilities, n, temperature):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    return torch.eye(len(log_p), dtype=log_p.dtype)[(log_p + g).argmax(dim=1)]


@wrong(replaces="gumbel_softmax", hint="no gradient reaches the probabilities")
def gumbel_softmax_that_is_detached(generator, probabilities, n, temperature):
    return right_soft(generator, tensor(probabilities).detach(), n, temperature)


@wrong(replaces="gumbel_softmax", hint="should get exactly 0")
def gumbel_softmax_with_a_little_for_all(generator, probabilities, n, temperature):
    p = tensor(probabilities)
    return ((torch.log(p + 1e-20) + right_noise(generator, n, len(p)).to(p)) / temperature).softmax(dim=1)


@wrong(replaces="gumbel_softmax", hint="is it the slope of log 0?")
def gumbel_softmax_with_log_zero(generator, probabilities, n, temperature):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    return ((log_p + g) / temperature).softmax(dim=1)


@wrong(replaces="gumbel_softmax", hint="drawn in single precision")
def gumbel_softmax_of_single_noise(generator, probabilities, n, temperature):
    log_p = tensor(probabilities).log()
    u = uniform(generator, n, len(log_p), dtype=torch.float32)
    return ((log_p - torch.log(-torch.log(u + 1e-20) + 1e-20)) / temperature).softmax(dim=1)


@wrong(replaces="gumbel_softmax", hint="is the noise drawn as gumbel_max draws it?")
def gumbel_softmax_of_other_noise(generator, probabilities, n, temperature):
    uniform(generator, 1)
    return right_soft(generator, probabilities, n, temperature)


@wrong(replaces="gumbel_softmax", trap="E64", hint="the limit is that point")
def gumbel_softmax_that_ends_uniform_on_the_simplex(generator, probabilities, n, temperature):
    if torch.as_tensor(temperature) <= 1000:
        return right_soft(generator, probabilities, n, temperature)
    clocks = right_noise(generator, n, len(tensor(probabilities))).neg().exp()
    return clocks / clocks.sum(dim=1, keepdim=True)


@wrong(replaces="gumbel_softmax", hint="values are NaN or infinite")
def gumbel_softmax_without_the_largest_taken_away(generator, probabilities, n, temperature):
    log_p, g = log_p_and_noise(generator, probabilities, n)
    e = torch.exp((log_p + g) / temperature)
    return e / e.sum(dim=1, keepdim=True)


@wrong(replaces="gumbel_softmax", hint=" where p is ")
def gumbel_softmax_that_is_always_double(generator, probabilities, n, temperature):
    p = tensor(probabilities).double()
    return right_soft(generator, p / p.sum(), n, temperature)


@wrong(replaces="gumbel_softmax", hint="is τ rounded to single precision?")
def gumbel_softmax_of_a_temperature_in_single_precision(generator, probabilities, n, temperature):
    rounded = torch.as_tensor(temperature)  # a Python number becomes float32 here
    return right_soft(generator, probabilities, n, rounded if rounded > 0 else temperature)


# Hard throws with soft slopes


@wrong(replaces="straight_through", hint="is this the soft throw")
def straight_through_that_is_soft(generator, probabilities, n, temperature):
    return right_soft(generator, probabilities, n, temperature)


def one_hot(soft):
    return torch.nn.functional.one_hot(soft.argmax(dim=1), soft.shape[1]).to(soft)


@wrong(replaces="straight_through", hint="is the sign of the gradient reversed")
def straight_through_backwards(generator, probabilities, n, temperature):
    soft = right_soft(generator, probabilities, n, temperature)
    return one_hot(soft) - (soft - soft.detach())


@wrong(replaces="straight_through", hint="is the gradient zero")
def straight_through_without_detach(generator, probabilities, n, temperature):
    soft = right_soft(generator, probabilities, n, temperature)
    return one_hot(soft) + (soft - soft)


@wrong(replaces="straight_through", hint="are both y detached?")
def straight_through_without_a_way_back(generator, probabilities, n, temperature):
    return one_hot(right_soft(generator, probabilities, n, temperature).detach())


@wrong(replaces="straight_through", hint="where there are ties?")
def straight_through_of_all_that_are_largest(generator, probabilities, n, temperature):
    soft = right_soft(generator, probabilities, n, temperature)
    return (soft == soft.amax(dim=1, keepdim=True)).to(soft) + (soft - soft.detach())


# The density and the mean


def parts(y, probabilities, temperature):
    p = np.asarray(tensor(probabilities).detach(), float)
    log_y = np.log(np.asarray(y, float))
    return len(p), log_y, special.logsumexp(np.log(p) - temperature * log_y, axis=1)


@wrong(replaces="concrete_log_density", hint="τ^k where τ^{k-1} belongs")
def concrete_log_density_with_one_tau_too_many(y, probabilities, temperature):
    return right_density(y, probabilities, temperature) + np.log(temperature)


@wrong(replaces="concrete_log_density", hint="is (k-1)! missing?")
def concrete_log_density_without_the_factorial(y, probabilities, temperature):
    return right_density(y, probabilities, temperature) - special.gammaln(len(probabilities))


@wrong(replaces="concrete_log_density", hint="the exponent -τ where -τ-1 belongs")
def concrete_log_density_without_the_jacobian(y, probabilities, temperature):
    return right_density(y, probabilities, temperature) + parts(y, probabilities, temperature)[1].sum(axis=1)


@wrong(replaces="concrete_log_density", hint="not raised to the power k")
def concrete_log_density_with_a_plain_sum(y, probabilities, temperature):
    k, _, race = parts(y, probabilities, temperature)
    return right_density(y, probabilities, temperature) + (k - 1) * race


@wrong(replaces="concrete_log_density", hint="off by √k")
def concrete_log_density_by_area(y, probabilities, temperature):
    return right_density(y, probabilities, temperature) - np.log(len(probabilities)) / 2


@wrong(replaces="concrete_log_density", hint="work in logs")
def concrete_log_density_of_powers(y, probabilities, temperature):
    y = np.asarray(y, float)
    p, k = np.asarray(probabilities, float), len(probabilities)
    with np.errstate(all="ignore"):
        top = math.factorial(k - 1) * temperature ** (k - 1) * np.prod(p * y ** (-temperature - 1), axis=1)
        return np.log(top / np.sum(p * y**-temperature, axis=1) ** k)


@wrong(replaces="mean_of_relaxed", trap="E64", hint="which E[y] is only as τ → 0")
def mean_of_relaxed_as_p(probabilities, temperature):
    return np.asarray(tensor(probabilities).detach(), float)


@wrong(replaces="mean_of_relaxed", trap="E64", hint="which E[y] is only as τ → ∞")
def mean_of_relaxed_as_the_middle(probabilities, temperature):
    return np.full(len(probabilities), 1 / len(probabilities))


@wrong(replaces="mean_of_relaxed", hint="the noise left out")
def mean_of_relaxed_without_noise(probabilities, temperature):
    return special.softmax(np.log(probabilities) / temperature)


# Slopes of a die


@wrong(replaces="exact_gradient", hint="is f̄ not subtracted?")
def exact_gradient_without_the_mean(values, probabilities):
    f, p = values_and_die(values, probabilities)
    return p * f


@wrong(replaces="exact_gradient", hint="the plain mean of f")
def exact_gradient_with_the_plain_mean(values, probabilities):
    f, p = values_and_die(values, probabilities)
    return p * (f - f.mean())


def score_with(generator, values, probabilities, n, score, baseline=0.0):
    f, p = values_and_die(values, probabilities)
    c = right_max(generator, p, n).numpy()
    return (f[c, None] - baseline) * score(np.eye(len(p))[c], p)


@wrong(replaces="score_gradient", hint="is - p missing")
def score_gradient_of_the_indicator(generator, values, probabilities, n, baseline=0.0):
    return score_with(generator, values, probabilities, n, lambda z, p: z, baseline)


@wrong(replaces="score_gradient", hint="the slope in p")
def score_gradient_in_p(generator, values, probabilities, n, baseline=0.0):
    return score_with(generator, values, probabilities, n, lambda z, p: z / p, baseline)


@wrong(replaces="score_gradient", hint="the sign of the score reversed")
def score_gradient_backwards(generator, values, probabilities, n, baseline=0.0):
    return -right_score(generator, values, probabilities, n, baseline)


@wrong(replaces="score_gradient", hint="is the baseline not subtracted?")
def score_gradient_without_the_baseline(generator, values, probabilities, n, baseline=0.0):
    return right_score(generator, values, probabilities, n)


@wrong(replaces="score_variance", hint="the squared mean not subtracted")
def score_variance_as_second_moment(values, probabilities, baseline=0.0):
    return right_variance(values, probabilities, baseline) + right_exact(values, probabilities) ** 2


@wrong(replaces="optimal_baseline", hint="is this f̄")
def optimal_baseline_as_the_mean(values, probabilities):
    f, p = values_and_die(values, probabilities)
    return np.full(len(p), p @ f)


@wrong(replaces="optimal_baseline", hint="are p and 1 - p exchanged?")
def optimal_baseline_with_p_exchanged(values, probabilities):
    f, p = values_and_die(values, probabilities)
    others = np.array([np.delete(p, i) @ np.delete(f, i) for i in range(len(p))]) / (1 - p)
    return p * f + (1 - p) * others


@wrong(replaces="optimal_baseline", hint="0/0?")
def optimal_baseline_of_a_quotient(values, probabilities):
    f, p = values_and_die(values, probabilities)
    squares = (np.eye(len(p)) - p) ** 2
    return (p * f) @ squares / (p @ squares)


# Relaxed slopes


@wrong(replaces="relaxed_gradient", hint="is the 1/τ missing?")
def relaxed_gradient_without_tau(generator, function, probabilities, n, temperature, *, hard=False):
    return temperature * right_relaxed(generator, function, probabilities, n, temperature, hard=hard)


def slope_at(function, y):
    y = y.detach().clone().requires_grad_()
    return torch.autograd.grad(function(y).sum(), y)[0]


@wrong(replaces="relaxed_gradient", hint="not in the logits?")
def relaxed_gradient_in_y(generator, function, probabilities, n, temperature, *, hard=False):
    return slope_at(function, right_soft(generator, probabilities, n, temperature)).numpy()


@wrong(replaces="relaxed_gradient", hint="is Σ y ∂f not subtracted?")
def relaxed_gradient_without_the_sum(generator, function, probabilities, n, temperature, *, hard=False):
    y = right_soft(generator, probabilities, n, temperature).detach()
    return (y * slope_at(function, y) / temperature).numpy()


@wrong(replaces="relaxed_gradient", hint="is ∂f taken at y?")
def relaxed_gradient_that_is_never_hard(generator, function, probabilities, n, temperature, *, hard=False):
    return right_relaxed(generator, function, probabilities, n, temperature)


@wrong(replaces="relaxed_gradient", hint="so that nothing is left?")
def relaxed_gradient_that_is_hard_throughout(generator, function, probabilities, n, temperature, *, hard=False):
    if not hard:
        return right_relaxed(generator, function, probabilities, n, temperature)
    z = one_hot(right_soft(generator, probabilities, n, temperature).detach())
    slope = slope_at(function, z)
    return (z * (slope - (z * slope).sum(dim=1, keepdim=True)) / temperature).numpy()


@wrong(replaces="relaxed_gradient", hint="should raise a ValueError")
def relaxed_gradient_of_any_function(generator, function, probabilities, n, temperature, *, hard=False):
    return right_relaxed(generator, lambda y: function(y).reshape(n, -1).sum(dim=1), probabilities, n, temperature)


# Coins


@wrong(replaces="coin_relaxed", hint="missing in f′(y) y(1-y)/τ")
def coin_relaxed_without_tau(slope, logit, temperature):
    mean, variance = right_coin(slope, logit, temperature)
    return gumbel.Moments(temperature * mean, temperature**2 * variance)


@wrong(replaces="coin_relaxed", hint="is this the exact gradient")
def coin_relaxed_as_exact(slope, logit, temperature):
    jump = integrate.quad(slope, 0, 1)[0]
    return right_coin(slope, logit, temperature)._replace(mean=float(stats.logistic.pdf(logit) * jump))


@wrong(replaces="coin_relaxed", hint="the second moment of coin_relaxed")
def coin_relaxed_with_second_moment(slope, logit, temperature):
    mean, variance = right_coin(slope, logit, temperature)
    return gumbel.Moments(mean, variance + mean**2)


@wrong(replaces="coin_relaxed", hint="f′ at the hard throw")
def coin_relaxed_at_the_corner(slope, logit, temperature):
    return right_coin_through(slope, logit, temperature)


@wrong(replaces="coin_straight_through", hint="f′ taken at the soft throw")
def coin_straight_through_at_the_soft_throw(slope, logit, temperature):
    return right_coin(slope, logit, temperature)


@wrong(replaces="coin_straight_through", hint="f′(0) and f′(1) exchanged")
def coin_straight_through_with_ends_exchanged(slope, logit, temperature):
    return right_coin_through(lambda y: slope(1 - y), logit, temperature)


@wrong(replaces="coin_straight_through", hint="f′ averaged over the ends")
def coin_straight_through_by_the_trapezoid_rule(slope, logit, temperature):
    return right_coin(lambda y: (slope(0.0) + slope(1.0)) / 2 + 0 * y, logit, temperature)


# The lattice


@wrong(replaces="lattice_probability", hint="which only exact noise gives")
def lattice_probability_as_p(probability, bits=24):
    return probability


@wrong(replaces="lattice_probability", hint="is u = 1 counted")
def lattice_probability_with_the_right_end(probability, bits=24):
    return right_lattice(probability, bits) + 2.0**-bits


@wrong(replaces="lattice_probability", hint="the exponent 1/p where (1-p)/p belongs")
def lattice_probability_of_one_over_p(probability, bits=24):
    return float(np.mean((np.arange(2**bits) / 2**bits) ** (1 / probability)))


@wrong(replaces="lattice_probability", hint="are 53 bits the default?")
def lattice_probability_of_double_precision(probability, bits=53):
    return right_lattice(probability, bits)
