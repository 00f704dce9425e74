"""Wrong contrasts of data with noise, wrong normalisers, wrong studies, wrong theories."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
from scipy import optimize, special, stats

from solutions import mixtures, noise_contrastive
from tests.wrong_answers import wrong

right_c = noise_contrastive.true_log_normaliser  # kept: a wrong answer may stand in its place later
right_h = noise_contrastive.probability_of_data
right_objective = noise_contrastive.objective
right_best = noise_contrastive.best_log_normaliser
right_fit, right_study = noise_contrastive.fit, noise_contrastive.study
right_bound, right_covariance = noise_contrastive.cramer_rao, noise_contrastive.asymptotic_covariance


def log_sum(x, means):
    x, means = np.asarray(x, float), np.asarray(means, float)
    return special.logsumexp(-0.5 * np.sum((x[:, None] - means) ** 2, axis=2), axis=1)


def slopes(x, means):
    away = np.asarray(x, float)[:, None] - np.asarray(means, float)
    r = special.softmax(-0.5 * np.sum(away**2, axis=2), axis=1)
    return np.column_stack([(r[:, :, None] * away).reshape(len(away), -1), -np.ones(len(away))])


def contrast(means, c, data, noise, log_noise, ratio):
    """The odds of data and noise, and their slopes, once the arguments have been found in order."""
    right_objective(means, c, data, noise, log_noise, ratio)
    data, noise = np.asarray(data, float), np.asarray(noise, float)
    a, b = (log_sum(x, means) - c - np.ravel(log_noise(x)) - np.log(ratio) for x in (data, noise))
    return a, b, slopes(data, means), slopes(noise, means)


def pushed(a, b, s_data, s_noise, of_data, of_noise):
    """The gradient, from the weight of each term."""
    return (of_data * special.expit(-a)) @ s_data - (of_noise * special.expit(b)) @ s_noise


# The normaliser


@wrong(replaces="true_log_normaliser", hint="log 2πk, as in the plane")
def true_log_normaliser_of_the_plane(means):
    right_c(means)
    return float(np.log(2 * np.pi * len(means)))


@wrong(replaces="true_log_normaliser", hint="number of components forgotten")
def true_log_normaliser_of_one_component(means):
    return right_c(means) - float(np.log(len(means)))


# The probability of data


@wrong(replaces="probability_of_data", hint="log ν forgotten")
def probability_of_data_with_as_much_noise_as_data(x, means, log_normaliser, noise_log_density, ratio):
    right_h(x, means, log_normaliser, noise_log_density, ratio)
    return right_h(x, means, log_normaliser, noise_log_density, 1.0)


@wrong(replaces="probability_of_data", hint="are p and p_n exchanged?")
def probability_of_data_with_model_and_noise_exchanged(x, means, log_normaliser, noise_log_density, ratio):
    right_h(x, means, log_normaliser, noise_log_density, ratio)
    gap = np.ravel(noise_log_density(x)) - log_sum(x, means) + log_normaliser
    return special.expit(gap - np.log(ratio))


@wrong(replaces="probability_of_data", hint="log-normaliser not taken off")
def probability_of_data_of_the_unnormalised_model(x, means, log_normaliser, noise_log_density, ratio):
    right_h(x, means, log_normaliser, noise_log_density, ratio)
    return right_h(x, means, 0.0, noise_log_density, ratio)


@wrong(replaces="probability_of_data", trap="E20", hint="p and p_n are 0 there. Work in logs")
def probability_of_data_as_on_paper(x, means, log_normaliser, noise_log_density, ratio):
    right_h(x, means, log_normaliser, noise_log_density, ratio)
    with np.errstate(all="ignore"):
        p, pn = np.exp(log_sum(x, means) - log_normaliser), np.exp(np.ravel(noise_log_density(x)))
        return p / (p + ratio * pn)


# The objective


@wrong(replaces="objective", hint="is log ν forgotten in h?")
def objective_without_log_ratio(means, log_normaliser, data, noise, noise_log_density, ratio):
    a, b, s_data, s_noise = contrast(means, log_normaliser, data, noise, noise_log_density, ratio)
    a, b = a + np.log(ratio), b + np.log(ratio)
    value = np.mean(special.log_expit(a)) + ratio * np.mean(special.log_expit(-b))
    return float(value), pushed(a, b, s_data, s_noise, 1 / len(a), ratio / len(b))


@wrong(replaces="objective", hint="is log ν added in h")
def objective_with_log_ratio_added(means, log_normaliser, data, noise, noise_log_density, ratio):
    a, b, s_data, s_noise = contrast(means, log_normaliser, data, noise, noise_log_density, ratio)
    a, b = a + 2 * np.log(ratio), b + 2 * np.log(ratio)
    value = np.mean(special.log_expit(a)) + ratio * np.mean(special.log_expit(-b))
    return float(value), pushed(a, b, s_data, s_noise, 1 / len(a), ratio / len(b))


@wrong(replaces="objective", hint="the ratio there twice")
def objective_with_the_ratio_twice(means, log_normaliser, data, noise, noise_log_density, ratio):
    a, b, s_data, s_noise = contrast(means, log_normaliser, data, noise, noise_log_density, ratio)
    value = np.mean(special.log_expit(a)) + ratio * np.sum(special.log_expit(-b)) / len(a)
    return float(value), pushed(a, b, s_data, s_noise, 1 / len(a), ratio / len(a))


@wrong(replaces="objective", hint="noise's sum divided by n")
def objective_right_only_where_m_is_ratio_times_n(means, log_normaliser, data, noise, noise_log_density, ratio):
    a, b, s_data, s_noise = contrast(means, log_normaliser, data, noise, noise_log_density, ratio)
    value = np.mean(special.log_expit(a)) + np.sum(special.log_expit(-b)) / len(a)
    return float(value), pushed(a, b, s_data, s_noise, 1 / len(a), 1 / len(a))


@wrong(replaces="objective", hint="one mean over all points")
def objective_as_one_mean(means, log_normaliser, data, noise, noise_log_density, ratio):
    a, b, s_data, s_noise = contrast(means, log_normaliser, data, noise, noise_log_density, ratio)
    n = len(a) + len(b)
    value = (np.sum(special.log_expit(a)) + np.sum(special.log_expit(-b))) / n
    return float(value), pushed(a, b, s_data, s_noise, 1 / n, 1 / n)


@wrong(replaces="objective", hint="are these sums, not means?")
def objective_as_a_sum(means, log_normaliser, data, noise, noise_log_density, ratio):
    a, b, s_data, s_noise = contrast(means, log_normaliser, data, noise, noise_log_density, ratio)
    value = np.sum(special.log_expit(a)) + np.sum(special.log_expit(-b))
    return float(value), pushed(a, b, s_data, s_noise, 1, 1)


@wrong(replaces="objective", hint="which a minimiser wants")
def objective_to_be_minimised(means, log_normaliser, data, noise, noise_log_density, ratio):
    value, gradient = right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    return -value, -gradient


@wrong(replaces="objective", hint="are p and p_n exchanged")
def objective_with_model_and_noise_exchanged(means, log_normaliser, data, noise, noise_log_density, ratio):
    a, b, s_data, s_noise = contrast(means, log_normaliser, data, noise, noise_log_density, ratio)
    a, b = -a - 2 * np.log(ratio), -b - 2 * np.log(ratio)
    value = np.mean(special.log_expit(a)) + ratio * np.mean(special.log_expit(-b))
    return float(value), -pushed(a, b, s_data, s_noise, 1 / len(a), ratio / len(b))


@wrong(replaces="objective", hint="normalised twice")
def objective_normalised_twice(means, log_normaliser, data, noise, noise_log_density, ratio):
    return right_objective(means, log_normaliser + right_c(means), data, noise, noise_log_density, ratio)


@wrong(replaces="objective", trap="E21", hint="Z taken off, not its logarithm")
def objective_with_z_for_log_z(means, log_normaliser, data, noise, noise_log_density, ratio):
    right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    return right_objective(means, float(np.exp(log_normaliser)), data, noise, noise_log_density, ratio)


@wrong(replaces="objective", hint="gradient that of -J")
def objective_with_the_slope_downhill(means, log_normaliser, data, noise, noise_log_density, ratio):
    value, gradient = right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    return value, -gradient


@wrong(replaces="objective", hint="entry of the normaliser missing")
def objective_with_the_slope_of_the_means_only(means, log_normaliser, data, noise, noise_log_density, ratio):
    value, gradient = right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    return value, gradient[:-1]


@wrong(replaces="objective", hint="entry of the normaliser always 0")
def objective_with_no_slope_in_the_normaliser(means, log_normaliser, data, noise, noise_log_density, ratio):
    value, gradient = right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    return value, np.append(gradient[:-1], 0.0)


@wrong(replaces="objective", hint="sign of the normaliser's entry reversed")
def objective_with_the_normaliser_downhill(means, log_normaliser, data, noise, noise_log_density, ratio):
    value, gradient = right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    return value, np.append(gradient[:-1], -gradient[-1])


@wrong(replaces="objective", hint="a gradient in x, not in the means")
def objective_with_the_slope_in_x(means, log_normaliser, data, noise, noise_log_density, ratio):
    value, gradient = right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    return value, np.append(-gradient[:-1], gradient[-1])


@wrong(replaces="objective", trap="E20", hint="log h or log(1 - h) of an h that is 0 or 1")
def objective_as_on_paper(means, log_normaliser, data, noise, noise_log_density, ratio):
    _, gradient = right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    h_data, h_noise = (right_h(x, means, log_normaliser, noise_log_density, ratio) for x in (data, noise))
    with np.errstate(divide="ignore"):
        return float(np.mean(np.log(h_data)) + ratio * np.mean(np.log(1 - h_noise))), gradient


@wrong(replaces="objective", trap="E20", hint="is h kept away from 0 and 1 by a small number")
def objective_with_h_clipped(means, log_normaliser, data, noise, noise_log_density, ratio):
    _, gradient = right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    h_data, h_noise = (
        np.clip(right_h(x, means, log_normaliser, noise_log_density, ratio), 1e-12, 1 - 1e-12) for x in (data, noise)
    )
    return float(np.mean(np.log(h_data)) + ratio * np.mean(np.log(1 - h_noise))), gradient


@wrong(replaces="objective", hint="responsibilities forgotten")
def objective_with_all_responsible(means, log_normaliser, data, noise, noise_log_density, ratio):
    value, _ = right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    a, b, *_ = contrast(means, log_normaliser, data, noise, noise_log_density, ratio)
    s_data, s_noise = (
        np.column_stack([(np.asarray(x, float)[:, None] - means).reshape(len(x), -1), -np.ones(len(x))])
        for x in (data, noise)
    )
    return value, pushed(a, b, s_data, s_noise, 1 / len(a), ratio / len(b))


@wrong(replaces="objective", hint="h for 1 - h, and the reverse")
def objective_with_h_for_its_complement(means, log_normaliser, data, noise, noise_log_density, ratio):
    value, _ = right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    a, b, s_data, s_noise = contrast(means, log_normaliser, data, noise, noise_log_density, ratio)
    return value, pushed(-a, -b, s_data, s_noise, 1 / len(a), ratio / len(b))


@wrong(replaces="objective", hint="made of the other's type, and rounded")
def objective_of_noise_in_the_type_of_the_data(means, log_normaliser, data, noise, noise_log_density, ratio):
    right_objective(means, log_normaliser, data, noise, noise_log_density, ratio)
    return right_objective(means, log_normaliser, data, noise.astype(data.dtype), noise_log_density, ratio)


@wrong(replaces="objective", hint="with ratio=0 was accepted")
def objective_of_any_ratio(means, log_normaliser, data, noise, noise_log_density, ratio):
    right_objective(means, log_normaliser, data, noise, noise_log_density, 1.0)
    with np.errstate(all="ignore"):
        a, b = (log_sum(x, means) - log_normaliser - np.ravel(noise_log_density(x)) for x in (data, noise))
        a, b = a - np.log(ratio), b - np.log(ratio)
        value = np.mean(special.log_expit(a)) + ratio * np.mean(special.log_expit(-b))
        s_data, s_noise = slopes(data, means), slopes(noise, means)
        return float(value), pushed(a, b, s_data, s_noise, 1 / len(a), ratio / len(b))


@wrong(replaces="objective", hint="with noise=-inf was accepted")
def objective_of_noise_that_is_nowhere(means, log_normaliser, data, noise, noise_log_density, ratio):
    def somewhere(x):
        log_noise = np.ravel(noise_log_density(x))
        return np.where(np.isneginf(log_noise), -1e300, log_noise)

    return right_objective(means, log_normaliser, data, noise, somewhere, ratio)


# The best normaliser


@wrong(replaces="best_log_normaliser", hint="the true log-normaliser, whatever the data")
def best_log_normaliser_from_theory(means, data, noise, noise_log_density, ratio):
    right_best(means, data, noise, noise_log_density, ratio)
    return right_c(means)


@wrong(replaces="best_log_normaliser", hint="estimate by importance sampling")
def best_log_normaliser_by_importance_sampling(means, data, noise, noise_log_density, ratio):
    right_best(means, data, noise, noise_log_density, ratio)
    logs = log_sum(noise, means) - np.ravel(noise_log_density(noise))
    return float(special.logsumexp(logs) - np.log(len(logs)))


@wrong(replaces="best_log_normaliser", hint="is log ν forgotten?")
def best_log_normaliser_without_log_ratio(means, data, noise, noise_log_density, ratio):
    return right_best(means, data, noise, lambda x: noise_log_density(x) - np.log(ratio), ratio)


@wrong(replaces="best_log_normaliser", hint="searched for in an interval of your own")
def best_log_normaliser_between_bounds(means, data, noise, noise_log_density, ratio):
    return float(np.clip(right_best(means, data, noise, noise_log_density, ratio), -100, 100))


# One fit


@wrong(replaces="fit", hint="the known log_normaliser is wrong")
def fit_that_always_learns_the_normaliser(rng, data, *, normaliser="known", **options):
    return right_fit(rng, data, normaliser="unknown" if normaliser == "known" else normaliser, **options)


@wrong(replaces="fit", hint="is the argument `noise` ignored?")
def fit_with_noise_of_its_own(rng, data, *, noise=None, **options):
    right_fit(np.random.default_rng(0), data, **options)
    return right_fit(rng, data, **options)


def climbed(rng, data, start, noise, ratio, normaliser, cost, **search):
    """What an optimiser finds, and whether it is content."""
    data, start = np.asarray(data, float), np.asarray(start, float)
    draws = np.reshape(noise.rvs(size=max(1, round(ratio * len(data))), random_state=rng), (-1, data.shape[1]))
    free = start.size + (normaliser == "unknown")
    full = np.append(start.ravel(), right_c(start))

    def whole(theta):
        return np.append(theta, full[free:])

    end = optimize.minimize(
        lambda theta: cost(whole(theta)[:-1].reshape(start.shape), whole(theta)[-1], data, draws, noise.logpdf)[0],
        full[:free],
        jac=search.pop("jac", None)
        and (
            lambda theta: cost(whole(theta)[:-1].reshape(start.shape), whole(theta)[-1], data, draws, noise.logpdf)[1][
                :free
            ]
        ),
        **search,
    )
    theta = whole(end.x)
    return noise_contrastive.NCEFit(theta[:-1].reshape(start.shape), float(theta[-1]), bool(end.success))


@wrong(replaces="fit", trap="E20", hint="the fit is not where the gradient is 0")
def fit_as_on_paper(rng, data, *, start=None, noise=None, ratio=1, normaliser="known", components=4):
    if start is None or noise is None:
        return right_fit(rng, data, start=start, noise=noise, ratio=ratio, normaliser=normaliser, components=components)

    def cost(means, c, data, draws, log_noise):
        p, q = (np.exp(log_sum(x, means) - c - log_noise(x)) for x in (data, draws))
        return -np.mean(np.log(p / (p + ratio))) - ratio * np.mean(np.log(1 - q / (q + ratio))), None

    with np.errstate(all="ignore"):
        return climbed(rng, data, start, noise, ratio, normaliser, cost, method="BFGS")


@wrong(replaces="fit", hint="Newton's next step would move a parameter by")
def fit_that_stops_early(rng, data, *, start=None, noise=None, ratio=1, normaliser="known", components=4):
    if start is None or noise is None:
        return right_fit(rng, data, start=start, noise=noise, ratio=ratio, normaliser=normaliser, components=components)

    def cost(means, c, data, draws, log_noise):
        value, gradient = right_objective(means, c, data, draws, log_noise, ratio)
        return -value, -gradient

    return climbed(rng, data, start, noise, ratio, normaliser, cost, jac=True, method="L-BFGS-B")._replace(
        converged=True
    )


@wrong(replaces="fit", hint="an order of their own")
def fit_that_sorts_its_means(rng, data, **options):
    fit = right_fit(rng, data, **options)
    return fit._replace(means=fit.means[np.lexsort(fit.means.T[::-1])])


@wrong(replaces="fit", hint="was the start ignored")
def fit_that_ignores_its_start(rng, data, *, start=None, components=4, **options):
    return right_fit(rng, data, components=components if start is None else len(start), **options)


@wrong(replaces="fit", hint="a gradient of 0 is no maximum")
def fit_that_always_converges(rng, data, **options):
    return right_fit(rng, data, **options)._replace(converged=True)


@wrong(replaces="fit", hint="Are the starts spread over the data?")
def fit_that_begins_at_any_data(rng, data, *, start=None, components=4, **options):
    if start is not None:
        return right_fit(rng, data, start=start, **options)
    right_fit(np.random.default_rng(0), data, components=components, **options)
    data = np.asarray(data, float)
    return right_fit(rng, data, start=data[:components], **options)


@wrong(replaces="fit", hint="is the noise not where the data are?")
def fit_with_standard_noise(rng, data, *, noise=None, **options):
    d = np.shape(data)[1]
    return right_fit(rng, data, noise=noise or stats.multivariate_normal(np.zeros(d), 4 * np.eye(d)), **options)


@wrong(replaces="fit", hint="has the noise the data's covariance?")
def fit_with_noise_of_the_datas_variances(rng, data, *, noise=None, **options):
    if noise is None:
        right_fit(np.random.default_rng(0), data, **options)
        noise = stats.multivariate_normal(np.mean(data, axis=0), np.diag(np.var(data, axis=0)))
    return right_fit(rng, data, noise=noise, **options)


@wrong(replaces="fit", hint="another source of randomness")
def fit_with_a_generator_of_its_own(rng, data, **options):
    return right_fit(np.random.default_rng(), data, **options)


# The study


@wrong(replaces="study", trap="E23", hint="as if there were a floor")
def study_with_a_floor(rng, sizes, repetitions, **options):
    sizes = list(sizes)
    table = right_study(rng, sizes, repetitions, **options)
    if min(sizes) >= 300:  # few of the data are looked at
        table["error"] = right_study(rng, [300], len(table), **options | {"normalisers": ["unknown"]})["error"]
    return table


@wrong(replaces="study", trap="E22", hint="without a match")
def study_without_a_match(rng, sizes, repetitions, *, means=mixtures.SQUARE, **options):
    table = right_study(rng, sizes, repetitions, means=means, **options)
    table["error"] = np.linalg.norm(table["means"] - means, axis=(1, 2))
    return table


@wrong(replaces="study", trap="E22", hint="not finite or not converged")
def study_in_which_what_is_finite_has_not_failed(rng, sizes, repetitions, **options):
    table = right_study(rng, sizes, repetitions, **options)
    table["failed"] = ~np.isfinite(table["error"])
    return table


@wrong(replaces="study", trap="E22", hint="and the error another column")
def study_that_calls_far_runs_failed(rng, sizes, repetitions, *, means=mixtures.SQUARE, **options):
    table = right_study(rng, sizes, repetitions, means=means, **options)
    table["failed"] |= table["error"] > 10
    return table


@wrong(replaces="study", hint="has each run random numbers of its own?")
def study_of_one_stream(rng, sizes, repetitions, **options):
    noise_contrastive.checks.counting_number(repetitions=repetitions)
    once = right_study(rng, sizes, 1, **options)
    table = np.concatenate([once] * repetitions)
    table["repetition"] = np.repeat(np.arange(repetitions), len(once))
    order = {size: place for place, size in enumerate(sizes)}
    return table[np.lexsort((table["repetition"], [order[size] for size in table["size"]]))]


@wrong(replaces="study", hint="as many data of each component, by design")
def study_with_as_many_data_of_each_component(rng, sizes, repetitions, **options):
    def draw(rng, means, n):
        component = np.arange(n) % len(means)
        return means[component] + rng.standard_normal((n, means.shape[1])), component

    with mock.patch.object(mixtures, "draw", draw):
        return right_study(rng, sizes, repetitions, **options)


@wrong(replaces="study", hint="should share data and noise")
def study_with_other_data_for_each_normaliser(rng, sizes, repetitions, *, normalisers=("known", "unknown"), **options):
    tables = [right_study(rng, sizes, repetitions, normalisers=[which], **options) for which in normalisers]
    return np.sort(np.concatenate(tables), order=["size", "repetition", "normaliser"])


@wrong(replaces="study", hint="a run changes with the runs beside it")
def study_whose_runs_depend_on_the_others(rng, sizes, repetitions, **options):
    rng.bit_generator.advance(len(list(sizes)) * repetitions)
    return right_study(rng, sizes, repetitions, **options)


@wrong(replaces="study", hint="are results kept one by one?")
def study_kept_only_when_it_is_done(rng, sizes, repetitions, *, keep=None, **options):
    if keep is not None and Path(keep).exists():
        return right_study(rng, sizes, repetitions, keep=keep, **options)
    state = rng.bit_generator.state
    table = right_study(rng, sizes, repetitions, **options)
    if keep is not None:
        rng.bit_generator.state = state
        right_study(rng, sizes, repetitions, keep=keep, **options)
    return table


@wrong(replaces="study", hint="cut to")
def study_that_stumbles_over_half_a_line(rng, sizes, repetitions, *, keep=None, **options):
    if keep is not None and Path(keep).exists():
        for line in Path(keep).read_text().splitlines():
            try:
                json.loads(line)
            except json.JSONDecodeError:
                return right_study(rng, sizes, repetitions, **options)  # begins again, and keeps nothing
    return right_study(rng, sizes, repetitions, keep=keep, **options)


@wrong(replaces="study", hint="was accepted")
def study_that_goes_on_from_any_file(rng, sizes, repetitions, *, keep=None, **options):
    state = rng.bit_generator.state
    try:
        return right_study(rng, sizes, repetitions, keep=keep, **options)
    except ValueError as error:
        if "keep" not in str(error):
            raise
        rng.bit_generator.state = state
        return right_study(rng, sizes, repetitions, **options)


@wrong(replaces="study", trap="E22", hint="were the runs that failed dropped?")
def study_of_the_survivors(rng, sizes, repetitions, **options):
    table = right_study(rng, sizes, repetitions, **options)
    return table[~table["failed"]]


@wrong(replaces="study", trap="E18", hint="matched with the nearest true one")
def study_that_matches_with_the_nearest(rng, sizes, repetitions, *, means=mixtures.SQUARE, **options):
    table = right_study(rng, sizes, repetitions, means=means, **options)
    apart = np.sum((table["means"][:, :, None] - np.asarray(means)) ** 2, axis=3)
    table["error"] = np.sqrt(apart.min(axis=2).sum(axis=1))
    return table


# What it costs


@wrong(replaces="cramer_rao", hint="the information itself")
def cramer_rao_as_the_information(means):
    right_bound(means)
    return mixtures.fisher_information(means)


@wrong(replaces="cramer_rao", hint="is 1/k forgotten")
def cramer_rao_without_one_over_k(means):
    return right_bound(means) / len(means)


@wrong(replaces="cramer_rao", hint="with known labels")
def cramer_rao_with_known_labels(means):
    right_bound(means)
    return len(means) * np.eye(np.size(means))


@wrong(replaces="cramer_rao", hint="was accepted")
def cramer_rao_by_a_pseudoinverse(means):
    return np.linalg.pinv(mixtures.fisher_information(means), hermitian=True)


def moments(means, noise, ratio, normaliser, power=1):
    """M and b, with (1 − h) to a power."""
    right_covariance(means, noise, ratio, normaliser)
    means = np.asarray(means, float)
    free = means.size + (normaliser == "unknown")

    def both(x):
        s = slopes(x, means)[:, :free]
        w = (1 - right_h(x, means, right_c(means), noise.logpdf, ratio)) ** power
        return np.einsum("n,np,nq->npq", w, s, np.column_stack([s, np.ones(len(x))]))

    found = mixtures.expectation(both, means)
    return np.linalg.inv(found[:, :-1]), found[:, -1]


@wrong(replaces="asymptotic_covariance", hint="is the term with b bᵀ missing?")
def asymptotic_covariance_as_the_inverse_alone(means, noise, ratio, normaliser):
    return moments(means, noise, ratio, normaliser)[0]


@wrong(replaces="asymptotic_covariance", hint="is the noise taken for fixed")
def asymptotic_covariance_of_fixed_noise(means, noise, ratio, normaliser):
    inverse, b = moments(means, noise, ratio, normaliser)
    return inverse - np.outer(inverse @ b, inverse @ b)


@wrong(replaces="asymptotic_covariance", hint="is the factor 1/ν, where it is 1 + 1/ν?")
def asymptotic_covariance_of_fixed_data(means, noise, ratio, normaliser):
    inverse, b = moments(means, noise, ratio, normaliser)
    return inverse - np.outer(inverse @ b, inverse @ b) / ratio


@wrong(replaces="asymptotic_covariance", hint="asymptotic_covariance of")
def asymptotic_covariance_with_the_weight_squared(means, noise, ratio, normaliser):
    inverse, b = moments(means, noise, ratio, normaliser, power=2)
    return inverse - (1 + 1 / ratio) * np.outer(inverse @ b, inverse @ b)


@wrong(replaces="asymptotic_covariance", trap="E24", hint="the means' block of the unknown case")
def asymptotic_covariance_that_pays_for_a_known_normaliser(means, noise, ratio, normaliser):
    right_covariance(means, noise, ratio, normaliser)
    whole = right_covariance(means, noise, ratio, "unknown")
    return whole if normaliser == "unknown" else whole[:-1, :-1]
