"""Wrong mixtures: their densities, slopes, draws and responsibilities."""

import numpy as np
from scipy.special import logsumexp, softmax

from solutions import mixtures
from tests.wrong_answers import wrong

right_target, right_draw = mixtures.target, mixtures.draw  # kept: a wrong answer may stand in its place later
right_log_density, right_score = mixtures.log_density, mixtures.score


def half_squares(x, means):
    return -0.5 * np.sum((np.asarray(x)[:, None] - means) ** 2, axis=2)


def log_constant(means):
    return np.log(len(means)) + np.shape(means)[1] / 2 * np.log(2 * np.pi)


@wrong(replaces="log_density", trap="E1", hint="weights sum to k")
def log_density_whose_weights_are_one(x, means):
    return right_log_density(x, means) + np.log(len(means))


@wrong(replaces="log_density", trap="E6", hint="underflows there")
def log_density_by_exponentials(x, means):
    return np.log(np.exp(half_squares(x, means)).sum(axis=1)) - log_constant(means)


@wrong(replaces="log_density", trap="E6", hint="without its logarithm")
def density_for_log_density(x, means):
    return np.exp(right_log_density(x, means))


@wrong(replaces="log_density", hint="mean of the logs")
def log_density_as_a_mean_of_logs(x, means):
    return half_squares(x, means).mean(axis=1) - log_constant(means) + np.log(len(means))


@wrong(replaces="log_density", hint="(2π)^{-d/2} missing")
def log_density_without_its_constant(x, means):
    return logsumexp(half_squares(x, means), axis=1) - np.log(len(means))


@wrong(replaces="log_density", hint="½ in the exponent missing")
def log_density_without_the_half(x, means):
    return logsumexp(2 * half_squares(x, means), axis=1) - log_constant(means)


@wrong(replaces="log_density", hint="maximum for the sum")
def log_density_of_the_nearest(x, means):
    return half_squares(x, means).max(axis=1) - log_constant(means)


@wrong(replaces="log_density", hint="do not multiply")
def log_density_multiplied_out(x, means):
    cross = np.asarray(x) @ np.transpose(means) - 0.5 * np.sum(np.square(means), axis=1)
    return logsumexp(cross, axis=1) - 0.5 * np.sum(np.square(x), axis=1) - log_constant(means)


@wrong(replaces="log_density", hint="x=nan was accepted")
def log_density_that_returns_nan_silently(x, means):
    with np.errstate(all="ignore"):
        return logsumexp(half_squares(x, means), axis=1) - log_constant(means)


@wrong(replaces="score", hint="sign reversed")
def score_downhill(x, means):
    return -right_score(x, means)


@wrong(replaces="score", hint="without the pull of the means")
def score_of_one_gaussian_at_zero(x, means):
    return -np.asarray(x, dtype=float)


@wrong(replaces="score", hint="-x missing")
def score_without_the_point(x, means):
    return softmax(half_squares(x, means), axis=1) @ means


@wrong(replaces="score", hint="the same responsibility")
def score_with_equal_responsibilities(x, means):
    return np.mean(means, axis=0) - x


@wrong(replaces="score", trap="E4", hint="a component standard deviation of 2")
def score_of_wider_components(x, means):
    return right_score(x, means) / 4


@wrong(replaces="score", trap="E6", hint="0/0")
def score_by_exponentials(x, means):
    weights = np.exp(half_squares(x, means))
    return weights @ means / weights.sum(axis=1, keepdims=True) - x


@wrong(replaces="responsibilities", hint="over the points")
def responsibilities_over_the_points(x, means):
    return softmax(half_squares(x, means), axis=0)


@wrong(replaces="responsibilities", hint="rounded to 0 or 1")
def responsibilities_of_k_means(x, means):
    return np.eye(len(means))[half_squares(x, means).argmax(axis=1)]


@wrong(replaces="responsibilities", hint="transposed")
def responsibilities_on_their_side(x, means):
    return softmax(half_squares(x, means), axis=1).T


@wrong(replaces="responsibilities", trap="E6", hint="0/0")
def responsibilities_by_exponentials(x, means):
    weights = np.exp(half_squares(x, means))
    return weights / weights.sum(axis=1, keepdims=True)


@wrong(replaces="draw", trap="E3", hint="should have shape")
def draw_of_an_index_for_a_mean(rng, means, n):
    component = rng.integers(len(means), size=n)
    return component + rng.standard_normal(n), component


@wrong(replaces="draw", trap="E3", hint="changed the means")
def draw_that_overwrites_the_means(rng, means, n):
    x, component = right_draw(rng, means, n)
    means[0] = component[0]
    return x, component


@wrong(replaces="draw", trap="E4", hint="standard deviation of 2")
def draw_of_wider_components(rng, means, n):
    x, component = right_draw(rng, means, n)
    return 2 * x - means[component], component


@wrong(replaces="draw", hint="all draws from one component")
def draw_of_one_component(rng, means, n):
    return means[0] + rng.standard_normal((n, means.shape[1])), np.zeros(n, dtype=int)


@wrong(replaces="draw", hint="take turns")
def draw_in_turns(rng, means, n):
    component = np.arange(n) % len(means)
    return means[component] + rng.standard_normal((n, means.shape[1])), component


@wrong(replaces="draw", hint="the same noise for all rows")
def draw_with_one_noise(rng, means, n):
    component = rng.integers(len(means), size=n)
    return means[component] + rng.standard_normal(means.shape[1]), component


@wrong(replaces="draw", hint="same noise in both coordinates")
def draw_along_the_diagonal(rng, means, n):
    component = rng.integers(len(means), size=n)
    return means[component] + rng.standard_normal((n, 1)), component


@wrong(replaces="draw", hint="is another one used")
def draw_with_a_generator_of_its_own(rng, means, n):
    return right_draw(np.random.default_rng(), means, n)


@wrong(replaces="draw", hint="n=0 was accepted")
def draw_of_nothing(rng, means, n):
    component = rng.integers(len(means), size=int(n))
    return means[component] + rng.standard_normal((int(n), means.shape[1])), component


@wrong(replaces="target", hint="copy them")
def target_that_follows_the_array(means):
    return lambda x: right_target(means)(x)


@wrong(replaces="target", hint="x=(4, 2) was accepted")
def target_that_broadcasts(means):
    means = np.array(means, dtype=float)

    def law(x):
        away = means[:, :, None] - np.asarray(x, dtype=float).T
        logs = -0.5 * np.sum(away**2, axis=1)
        slope = np.einsum("kn,kdn->nd", softmax(logs, axis=0), away)
        return logsumexp(logs, axis=0) - log_constant(means), slope

    return law


@wrong(replaces="target", hint="score that target returns")
def target_with_the_means_pull_only(means):
    law = right_target(means)
    return lambda x: (law(x)[0], law(x)[1] + x)


@wrong(replaces="target", hint="shape")
def target_the_other_way_round(means):
    law = right_target(means)
    return lambda x: law(x)[::-1]


@wrong(replaces="fisher_information", hint="its inverse")
def fisher_information_inverted(means):
    return np.linalg.inv(right_fisher_information(means))


@wrong(replaces="fisher_information", hint="1/k forgotten")
def fisher_information_summed(means):
    return len(means) * right_fisher_information(means)


@wrong(replaces="fisher_information", hint="as if the components were known")
def fisher_information_of_known_components(means):
    return np.eye(np.size(means)) / len(means)


right_fisher_information = mixtures.fisher_information
