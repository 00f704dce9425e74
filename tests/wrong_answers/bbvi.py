"""Wrong scores, wrong rewards, numbers that are matrices or have seen their draw, and climbs to elsewhere."""

import numpy as np
from scipy import special, stats

from solutions import bbvi, mean_field
from solutions.bbvi import BBVI, StudentT
from solutions.mean_field import Factors
from tests.wrong_answers import wrong

# kept: a wrong answer may stand in their place later
right_log_q, right_scores, right_integrands = bbvi.log_q, bbvi.scores, bbvi.integrands
right_leave_one_out, right_gradient, right_exact = bbvi.leave_one_out, bbvi.gradient, bbvi.exact_gradient
right_fisher, right_variance, right_best = bbvi.fisher_information, bbvi.draw_variance, bbvi.best_coefficient
right_bias, right_climb, right_fit, right_adam = bbvi.same_sample_bias, bbvi.climb, bbvi.fit, bbvi.adam
right_softplus, right_inverse, right_raw = bbvi.softplus, bbvi.softplus_inverse, bbvi.raw_gradient
right_std_score, right_predictive = bbvi.std_score, bbvi.predictive


def columns(*values):
    return np.stack(values, axis=1)


# The law that is fitted


@wrong(replaces="log_q", hint="precision taken for the variance")
def log_q_of_a_variance(factors, mu, tau):
    m, precision, a, b = factors
    return columns(stats.norm.logpdf(mu, m, np.sqrt(precision)), stats.gamma.logpdf(tau, a, scale=1 / b))


@wrong(replaces="log_q", hint="rate taken for a scale")
def log_q_with_the_rate_as_scale(factors, mu, tau):
    m, precision, a, b = factors
    return columns(stats.norm.logpdf(mu, m, precision**-0.5), stats.gamma.logpdf(tau, a, scale=b))


@wrong(replaces="log_q", hint="log 2π missing")
def log_q_without_two_pi(factors, mu, tau):
    return right_log_q(factors, mu, tau) + np.array([np.log(2 * np.pi) / 2, 0])


@wrong(replaces="log_q", hint="a density underflows")
def log_q_as_the_log_of_a_density(factors, mu, tau):
    m, precision, a, b = factors
    with np.errstate(divide="ignore"):
        return np.log(columns(stats.norm.pdf(mu, m, precision**-0.5), stats.gamma.pdf(tau, a, scale=1 / b)))


@wrong(replaces="scores", trap="E49", hint="as the source prints it")
def scores_as_printed(factors, mu, tau):
    s = right_scores(factors, mu, tau)
    s[:, 2] = special.digamma(factors.shape) - np.log(factors.rate) + np.log(tau)
    return s


@wrong(replaces="scores", hint="precision read as a variance")
def scores_of_a_variance(factors, mu, tau):
    s, (m, variance, _, _) = right_scores(factors, mu, tau), factors
    s[:, 0] = (mu - m) / variance
    s[:, 1] = ((mu - m) ** 2 / variance - 1) / (2 * variance)
    return s


@wrong(replaces="scores", hint="the slope in the standard deviation")
def scores_with_that_of_the_standard_deviation(factors, mu, tau):
    s = right_scores(factors, mu, tau)
    s[:, 1] = right_std_score(factors, mu)
    return s


@wrong(replaces="scores", hint="rate taken for a scale")
def scores_of_a_scale(factors, mu, tau):
    s, (_, _, a, b) = right_scores(factors, mu, tau), factors
    s[:, 2] = np.log(tau) - special.digamma(a) - np.log(b)
    s[:, 3] = tau / b**2 - a / b
    return s


@wrong(replaces="std_score", hint="lacks dλ/dσ")
def std_score_of_the_precision(factors, mu):
    return right_scores(factors, mu, np.ones(len(mu)))[:, 1]


@wrong(replaces="fisher_information", hint="correlation of shape and rate left out")
def fisher_information_diagonal(factors):
    return np.diag(np.diag(right_fisher(factors)))


@wrong(replaces="fisher_information", hint="that of the standard deviation, 2λ")
def fisher_information_of_the_deviation(factors):
    F = right_fisher(factors)
    F[1, 1] = 2 * factors.precision
    return F


@wrong(replaces="exact_gradient", hint="slope down, of −ELBO")
def exact_gradient_of_the_loss(factors, x, prior):
    return -right_exact(factors, x, prior)


@wrong(replaces="exact_gradient", hint="aₙ where aₙ + ½ belongs")
def exact_gradient_without_taus_half(factors, x, prior):
    _, _, a, b = factors
    return right_exact(factors, x, prior) + np.array([0, 0, -special.polygamma(1, a) / 2, 0.5 / b])


@wrong(replaces="exact_gradient", hint="entropy of q(μ) missing")
def exact_gradient_without_the_entropy(factors, x, prior):
    return right_exact(factors, x, prior) + np.array([0, 0.5 / factors.precision, 0, 0])


# Rewards


@wrong(replaces="integrands", trap="E53", hint="only the other factor dropped")
def integrands_half_dropped(factors, mu, tau, x, prior, estimator):
    R = right_integrands(factors, mu, tau, x, prior, "naive")
    normal, gamma = right_log_q(factors, mu, tau).T
    partly = R + columns(gamma, gamma, normal, normal)
    return partly if estimator in ("naive", "control_variate") else right_integrands(factors, mu, tau, x, prior, "both")


@wrong(replaces="integrands", hint="log q missing")
def integrands_without_the_entropy(factors, mu, tau, x, prior, estimator):
    R = right_integrands(factors, mu, tau, x, prior, "naive")
    return R + right_log_q(factors, mu, tau).sum(axis=1, keepdims=True)


@wrong(replaces="integrands", hint="prior of μ left out")
def integrands_without_the_prior(factors, mu, tau, x, prior, estimator):
    R = right_integrands(factors, mu, tau, x, prior, estimator).copy()
    if estimator in ("rao_blackwell", "both"):
        R[:, :2] += (tau / 2 * prior.scale * (mu - prior.mean) ** 2)[:, None]
    return R


@wrong(replaces="integrands", hint="without its (2π)^{-n/2}")
def integrands_without_a_constant(factors, mu, tau, x, prior, estimator):
    R, constant = right_integrands(factors, mu, tau, x, prior, estimator), len(x) / 2 * np.log(2 * np.pi)
    return R + (constant if estimator in ("naive", "control_variate") else np.array([0, 0, constant, constant]))


@wrong(replaces="integrands", hint="rewards of μ and of τ exchanged")
def integrands_exchanged(factors, mu, tau, x, prior, estimator):
    return right_integrands(factors, mu, tau, x, prior, estimator)[:, [2, 3, 0, 1]]


# One number a parameter


@wrong(replaces="leave_one_out", trap="E54", hint="own draw among those")
def leave_one_out_with_all_in(integrands, scores):
    f, squares = integrands * scores, scores**2
    return f - (integrands * squares).sum(axis=0) / squares.sum(axis=0) * scores


@wrong(replaces="leave_one_out", trap="E54", hint="Cov(f, s)/Var(s) of all draws")
def leave_one_out_with_a_covariance_of_all(integrands, scores):
    f, deviation = integrands * scores, scores - scores.mean(axis=0)
    return f - (deviation * (f - f.mean(axis=0))).sum(axis=0) / (deviation**2).sum(axis=0) * scores


@wrong(replaces="leave_one_out", trap="E50", hint="take the draws for variables")
def leave_one_out_with_a_matrix(integrands, scores):
    f = integrands * scores
    rows = np.empty(np.shape(f))
    for k in range(f.shape[1]):
        C = np.cov(columns(f[:, k], scores[:, k]))
        rows[:, k] = f[:, k] - C @ scores[:, k] / scores[:, k].var(ddof=1)
    return rows


@wrong(replaces="leave_one_out", hint="plain mean of the other R")
def leave_one_out_of_a_baseline(integrands, scores):
    n = len(scores)
    others = (integrands.sum(axis=0) - integrands) / (n - 1)
    return (integrands - others) * scores


@wrong(replaces="leave_one_out", hint="one coefficient for all columns")
def leave_one_out_of_all_columns(integrands, scores):
    squares = scores**2
    top, bottom = (integrands * squares).sum(axis=1), squares.sum(axis=1)
    c = (top.sum() - top) / (bottom.sum() - bottom)
    return (integrands - c[:, None]) * scores


@wrong(replaces="leave_one_out", hint="with nothing subtracted")
def leave_one_out_of_nothing(integrands, scores):
    return integrands * np.asarray(scores, dtype=float)


@wrong(replaces="leave_one_out", hint="0/0")
def leave_one_out_with_a_division_by_zero(integrands, scores):
    squares = np.square(np.asarray(scores, dtype=float))
    top, bottom = (integrands * squares).sum(axis=0) - integrands * squares, squares.sum(axis=0) - squares
    return (integrands - top / bottom) * scores


@wrong(replaces="leave_one_out", hint="has written to the integrands")
def leave_one_out_in_place(integrands, scores):
    rows = right_leave_one_out(integrands, scores)
    integrands[...] = rows
    return rows


@wrong(replaces="leave_one_out", hint="scores=1 was accepted")
def leave_one_out_of_one_row(integrands, scores):
    return right_leave_one_out(integrands, scores) if len(scores) > 1 else integrands * scores


@wrong(replaces="best_coefficient", hint="without the weights s²")
def best_coefficient_as_the_mean(factors, x, prior, estimator):
    mu, tau, weights = _nodes(factors)
    return weights @ right_integrands(factors, mu, tau, x, prior, estimator)


@wrong(replaces="best_coefficient", hint="R without what can be dropped")
def best_coefficient_of_the_other_reward(factors, x, prior, estimator):
    right_best(factors, x, prior, estimator)
    return right_best(factors, x, prior, "both")


@wrong(replaces="draw_variance", hint="second moment")
def draw_variance_about_zero(factors, x, prior, estimator):
    return right_variance(factors, x, prior, estimator) + right_exact(factors, x, prior) ** 2


@wrong(replaces="draw_variance", hint="control variate the wrong way")
def draw_variance_without_the_number(factors, x, prior, estimator):
    without = {"control_variate": "naive", "both": "rao_blackwell"}
    return right_variance(factors, x, prior, without.get(estimator, estimator))


@wrong(replaces="draw_variance", hint="a baseline, where a* belongs")
def draw_variance_with_a_baseline(factors, x, prior, estimator):
    variance = right_variance(factors, x, prior, estimator)
    if estimator in ("naive", "rao_blackwell"):
        return variance
    mu, tau, weights = _nodes(factors)
    mean = weights @ right_integrands(factors, mu, tau, x, prior, estimator)
    return variance + (mean - right_best(factors, x, prior, estimator)) ** 2 * np.diag(right_fisher(factors))


@wrong(replaces="same_sample_bias", hint="sign reversed")
def same_sample_bias_upwards(factors, x, prior):
    return -right_bias(factors, x, prior)


# The estimate


def _nodes(q):
    """Places and weights that average over q, fine enough for shapes above ½."""
    z, weight = np.polynomial.hermite_e.hermegauss(9)
    log_tau = np.linspace(-70 / q.shape, np.log(60 + 10 * q.shape), 3000) - np.log(q.rate)
    log_mass = q.shape * log_tau - q.rate * np.exp(log_tau)
    mass = np.exp(log_mass - log_mass.max())
    weights = np.outer(weight / weight.sum(), mass / mass.sum()).ravel()
    return np.repeat(q.mean + z / np.sqrt(q.precision), 3000), np.tile(np.exp(log_tau), 9), weights


def _draws(rng, q, n, scale=None, std=None):
    mu = q.mean + (q.precision**-0.5 if std is None else std) * rng.standard_normal(n)
    return mu, rng.gamma(q.shape, 1 / q.rate if scale is None else scale, n)


def _averaged(q, mu, tau, x, prior, estimator, rows=right_leave_one_out):
    s, R = right_scores(q, mu, tau), right_integrands(q, mu, tau, x, prior, estimator)
    return (rows(R, s) if estimator in ("control_variate", "both") else R * s).mean(axis=0)


@wrong(replaces="gradient", trap="E54", hint="the own one included")
def gradient_with_a_number_that_has_seen_its_draw(rng, factors, x, prior, n, estimator):
    return _averaged(factors, *_draws(rng, factors, n), x, prior, estimator, leave_one_out_with_all_in)


@wrong(replaces="gradient", trap="E54", hint="Cov(f, s)/Var(s) seems to come from the same draws")
def gradient_with_a_covariance_of_the_same_draws(rng, factors, x, prior, n, estimator):
    return _averaged(factors, *_draws(rng, factors, n), x, prior, estimator, leave_one_out_with_a_covariance_of_all)


@wrong(replaces="gradient", trap="E50", hint="matrix of covariances of the draws")
def gradient_with_a_matrix(rng, factors, x, prior, n, estimator):
    return _averaged(factors, *_draws(rng, factors, n), x, prior, estimator, leave_one_out_with_a_matrix)


@wrong(replaces="gradient", hint="log p's constant is not subtracted")
def gradient_without_the_number(rng, factors, x, prior, n, estimator):
    return _averaged(factors, *_draws(rng, factors, n), x, prior, estimator, leave_one_out_of_nothing)


@wrong(replaces="gradient", trap="E44", hint="Is the number not subtracted")
def gradient_that_is_always_naive(rng, factors, x, prior, n, estimator):
    return right_gradient(rng, factors, x, prior, n, "naive")


@wrong(replaces="gradient", trap="E51", hint="slope in the raw parameters")
def gradient_in_the_raw_parameters(rng, factors, x, prior, n, estimator):
    raw = np.append(factors.mean, right_inverse(np.array(factors[1:], dtype=float)))
    return right_raw(raw, right_gradient(rng, factors, x, prior, n, estimator))


@wrong(replaces="gradient", hint="a sum over the draws")
def gradient_summed(rng, factors, x, prior, n, estimator):
    return n * right_gradient(rng, factors, x, prior, n, estimator)


@wrong(replaces="gradient", hint="divided by n − 1")
def gradient_with_bessels_correction(rng, factors, x, prior, n, estimator):
    return np.float64(n) / (n - 1) * right_gradient(rng, factors, x, prior, n, estimator)


@wrong(replaces="gradient", hint="log q seems to be missing")
def gradient_of_log_p_alone(rng, factors, x, prior, n, estimator):
    mu, tau = _draws(rng, factors, n)
    s, R = right_scores(factors, mu, tau), right_integrands(factors, mu, tau, x, prior, "naive")
    return ((R + right_log_q(factors, mu, tau).sum(axis=1, keepdims=True)) * s).mean(axis=0)


@wrong(replaces="gradient", hint="drawn with the rate as a scale")
def gradient_with_the_rate_as_scale(rng, factors, x, prior, n, estimator):
    return _averaged(factors, *_draws(rng, factors, n, scale=factors.rate), x, prior, estimator)


@wrong(replaces="gradient", hint="the sign seems to be reversed")
def gradient_downwards(rng, factors, x, prior, n, estimator):
    return -right_gradient(rng, factors, x, prior, n, estimator)


@wrong(replaces="gradient", trap="E46", hint="the global generator was used")
def gradient_from_the_global_generator(rng, factors, x, prior, n, estimator):
    other = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002
    return right_gradient(other, factors, x, prior, n, estimator)


@wrong(replaces="gradient", trap="E46", hint="another seed gave the same")
def gradient_seeded_within(rng, factors, x, prior, n, estimator):
    return right_gradient(np.random.default_rng(0), factors, x, prior, n, estimator)


@wrong(replaces="gradient", hint="with n=1 was accepted")
def gradient_of_one_draw_alone(rng, factors, x, prior, n, estimator):
    plain = {"control_variate": "naive", "both": "rao_blackwell"}
    return right_gradient(rng, factors, x, prior, n, plain[estimator] if n == 1 and estimator in plain else estimator)


@wrong(replaces="gradient", hint="draw log τ, not τ")
def gradient_whose_tau_underflows(rng, factors, x, prior, n, estimator):
    right_gradient(np.random.default_rng(0), factors, x, prior, n, estimator)
    mu, tau = _draws(rng, factors, n)
    return _averaged(factors, mu, tau, x, prior, estimator) if (tau > 0).all() else np.full(4, np.nan)


@wrong(replaces="gradient", trap="E53", hint="what can be dropped left in")
def gradient_half_dropped(rng, factors, x, prior, n, estimator):
    if estimator not in ("rao_blackwell", "both"):
        return right_gradient(rng, factors, x, prior, n, estimator)
    mu, tau = _draws(rng, factors, n)
    normal, gamma = right_log_q(factors, mu, tau).T
    R = right_integrands(factors, mu, tau, x, prior, "naive") + columns(gamma, gamma, normal, normal)
    s = right_scores(factors, mu, tau)
    return (right_leave_one_out(R, s) if estimator == "both" else R * s).mean(axis=0)


# Parameters without bounds


@wrong(replaces="softplus", hint="softplus overflows")
def softplus_as_it_stands(raw):
    with np.errstate(over="ignore"):
        return np.log(1 + np.exp(np.asarray(raw, dtype=float)))[()]


@wrong(replaces="softplus_inverse", hint="eᵛ overflows")
def softplus_inverse_as_it_stands(value):
    with np.errstate(over="ignore", divide="ignore"):
        return np.log(np.exp(np.asarray(value, dtype=float)) - 1)[()]


@wrong(replaces="softplus_inverse", hint="value=0.0 was accepted")
def softplus_inverse_of_nothing(value):
    value = np.asarray(value, dtype=float)
    with np.errstate(all="ignore"):
        return (value + np.log(-np.expm1(-value)))[()]


@wrong(replaces="raw_gradient", trap="E51", hint="1/(1+e^{−r}) missing")
def raw_gradient_without_the_factor(raw, gradient):
    return np.array(gradient, dtype=float)


@wrong(replaces="raw_gradient", hint="mean's slope multiplied as well")
def raw_gradient_of_the_mean_too(raw, gradient):
    return special.expit(raw) * gradient


# The climb


@wrong(replaces="fit", trap="E52", hint="half of the entropy broadcast away")
def fit_with_half_the_entropy(rng, x, prior, **how):
    path = right_climb(rng, x, prior, **how)
    laws = [Factors(*map(float, q)) for q in path]
    entropies = [
        stats.norm.entropy(q.mean, q.precision**-0.5) + stats.gamma.entropy(q.shape, scale=1 / q.rate) for q in laws
    ]
    return BBVI(laws[-1], np.array([mean_field.elbo(q, x, prior) for q in laws]) - np.array(entropies) / 2)


@wrong(replaces="fit", hint="is it the loss, −ELBO")
def fit_that_reports_its_loss(rng, x, prior, **how):
    factors, elbos = right_fit(rng, x, prior, **how)
    return BBVI(factors, -elbos)


@wrong(replaces="fit", trap="E55", hint="it has not converged")
def fit_that_does_not_arrive(rng, x, prior, **how):
    return right_fit(rng, x, prior, **({"rate": 1e-3} | how))


@wrong(replaces="fit", hint="some estimators are the same")
def fit_with_one_estimator(rng, x, prior, *, estimator="both", **how):
    return right_fit(rng, x, prior, **how)


@wrong(replaces="climb", hint="plain gradient, without F⁻¹")
def climb_along_the_plain_gradient(rng, x, prior, *, start, steps, draws, rate, reach, estimator="both"):
    path = [np.array(start, dtype=float)]
    for t in range(steps):
        q = Factors(*map(float, path[-1]))
        d = rate / (1 + 10 * t / steps) * right_gradient(rng, q, x, prior, draws, estimator)
        path.append(np.append(q.mean + d[0], np.array(q[1:]) * np.exp(d[1:] / np.array(q[1:]))))
    return np.array(path)


@wrong(replaces="climb", hint="times as long as rate · reach")
def climb_without_a_limit(rng, x, prior, **how):
    return right_climb(rng, x, prior, **(how | {"reach": 3 * how.get("reach", 0.5)}))


@wrong(replaces="climb", hint="seems not to shrink")
def climb_at_one_rate(rng, x, prior, *, steps=400, start=None, **how):
    path, q = [], start
    for _ in range(steps):
        step = right_climb(rng, x, prior, steps=1, start=q, **how)
        path.append(step[0])
        q = Factors(*map(float, step[1]))
    return np.array([*path, step[1]])


@wrong(replaces="climb", trap="E46", hint="all steps share one set of draws")
def climb_with_one_set_of_draws(rng, x, prior, *, steps=400, rate=0.5, start=None, **how):
    seed, path, q = rng.integers(2**60), [], start
    for t in range(steps):
        rate_now = rate / (1 + 10 * t / steps)
        step = right_climb(np.random.default_rng(seed), x, prior, steps=1, rate=rate_now, start=q, **how)
        path.append(step[0])
        q = Factors(*map(float, step[1]))
    return np.array([*path, step[1]])


@wrong(replaces="adam", trap="E51", hint="chain rule of softplus the wrong way")
def adam_without_the_chain_rule(rng, x, prior, *, chain=True, **how):
    return right_adam(rng, x, prior, chain=False, **how)


@wrong(replaces="adam", hint="each needs draws of its own")
def adam_with_one_draw_for_all(rng, x, prior, *, start, **how):
    state, paths = rng.bit_generator.state, []
    for row in start:
        rng.bit_generator.state = state
        paths.append(right_adam(rng, x, prior, start=row[None], **how))
    return np.concatenate(paths, axis=1)


@wrong(replaces="adam", hint="under the root")
def adam_with_its_floor_under_the_root(rng, x, prior, *, start, estimator, steps, rate=1e-3, chain=True, **how):
    if estimator != "exact":
        return right_adam(rng, x, prior, start=start, estimator=estimator, steps=steps, rate=rate, chain=chain, **how)
    raw, first, second, path = np.array(start, dtype=float), 0.0, 0.0, []
    for t in range(1, steps + 1):
        path.append(columns(raw[:, 0], *right_softplus(raw[:, 1:]).T))
        slope = np.array([right_exact(Factors(*map(float, q)), x, prior) for q in path[-1]])
        slope = right_raw(raw, slope) if chain else slope
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        raw = raw + rate * first / (1 - 0.9**t) / np.sqrt(second / (1 - 0.999**t) + 1e-8)
    return np.array([*path, columns(raw[:, 0], *right_softplus(raw[:, 1:]).T)])


# What is predicted


@wrong(replaces="predictive", trap="E56", hint="1/ℓ, left out")
def predictive_of_a_mean_that_is_known(law):
    return StudentT(2.0 * law.shape, float(law.mean), float(np.sqrt(law.rate / law.shape)))
