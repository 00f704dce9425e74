"""Wrong posteriors and evidences, wrong bounds and gaps, coordinate ascents that end elsewhere."""

import numpy as np
from scipy import special, stats

from solutions import mean_field
from tests.wrong_answers import wrong

CAVI, Factors, NormalGamma, Terms = mean_field.CAVI, mean_field.Factors, mean_field.NormalGamma, mean_field.Terms
LOG_2PI = np.log(2 * np.pi)

# kept: a wrong answer may stand in its place later
right_posterior, right_log_evidence = mean_field.posterior, mean_field.log_evidence
right_log_joint, right_log_density = mean_field.log_joint, mean_field.log_density
right_factors_log_density, right_mean_log_density = mean_field.factors_log_density, mean_field.mean_log_density
right_terms, right_elbo, right_divergence = mean_field.terms, mean_field.elbo, mean_field.divergence
right_cavi, right_best_factors = mean_field.cavi, mean_field.best_factors
right_moment_matched, right_gap = mean_field.moment_matched, mean_field.gap
right_mutual_information = mean_field.mutual_information
right_gaussian_factors, right_gaussian_gap = mean_field.gaussian_factors, mean_field.gaussian_gap
right_gaussian_cavi, right_sources_bound = mean_field.gaussian_cavi, mean_field.sources_bound
right_sources_fit = mean_field.sources_fit


# The posterior


@wrong(replaces="posterior", hint="by 1 a datum, not by ½")
def posterior_with_a_whole_shape_for_each_datum(x, prior):
    return right_posterior(x, prior)._replace(shape=prior.shape + len(x))


@wrong(replaces="posterior", hint="b_N without its prior term")
def posterior_without_the_prior_rate(x, prior):
    exact = right_posterior(x, prior)
    return exact._replace(rate=exact.rate - prior.rate)


@wrong(replaces="posterior", hint="½ before the squares missing")
def posterior_without_a_half(x, prior):
    exact = right_posterior(x, prior)
    return exact._replace(rate=2 * exact.rate - prior.rate)


@wrong(replaces="posterior", hint="weighted with n, not ℓ₀n/(ℓ₀+n)")
def posterior_with_a_pull_of_all_data(x, prior):
    squares = np.sum((x - x.mean()) ** 2) + len(x) * (x.mean() - prior.mean) ** 2
    return right_posterior(x, prior)._replace(rate=prior.rate + squares / 2)


@wrong(replaces="posterior", hint="the variance, divided by n")
def posterior_with_the_variance_for_the_squares(x, prior):
    n = len(x)
    pull = prior.scale * n / (prior.scale + n) * (x.mean() - prior.mean) ** 2
    return right_posterior(x, prior)._replace(rate=prior.rate + (x.var() + pull) / 2)


@wrong(replaces="posterior", hint="taken for a scale, not a rate")
def posterior_with_a_scale_for_the_rate(x, prior):
    exact = right_posterior(x, prior)
    return exact._replace(rate=1 / prior.rate + exact.rate - prior.rate)


@wrong(replaces="posterior", hint="which cancel")
def posterior_by_the_expanded_square(x, prior):
    exact, n = right_posterior(x, prior), len(x)
    pull = prior.scale * n / exact.scale * (np.mean(x) - prior.mean) ** 2
    return exact._replace(rate=prior.rate + (np.sum(x**2) - n * np.mean(x) ** 2 + pull) / 2)


@wrong(replaces="posterior", hint="(x̄ − m₀)², which cancel where m₀ is far")
def posterior_by_squares_about_the_prior_mean(x, prior):
    exact, n, distances = right_posterior(x, prior), len(x), x.astype(float) - prior.mean
    centre = np.mean(distances)
    pull = prior.scale * n / exact.scale * centre**2
    return exact._replace(rate=float(prior.rate + (np.sum(distances**2) - n * centre**2 + pull) / 2))


@wrong(replaces="posterior", hint="with mean=nan was accepted")
def posterior_of_any_prior(x, prior):
    n, (m0, l0, a0, b0) = len(x), prior
    squares = np.sum((x - x.mean()) ** 2) + l0 * n / (l0 + n) * (x.mean() - m0) ** 2
    return NormalGamma((l0 * m0 + x.sum()) / (l0 + n), l0 + n, a0 + n / 2, b0 + squares / 2)


@wrong(replaces="posterior", hint="integers and single precision are numbers too")
def posterior_in_the_precision_of_the_data(x, prior):
    mean = (prior.scale * prior.mean + x.sum()) / (prior.scale + len(x))
    return right_posterior(x, prior)._replace(mean=float(mean))


@wrong(replaces="posterior", hint="integers and single precision are numbers too")
def posterior_of_truncated_distances(x, prior):
    distances = np.empty_like(x)
    distances[:] = x - np.mean(x)
    pull = prior.scale * len(x) / (prior.scale + len(x)) * (np.mean(x) - prior.mean) ** 2
    return right_posterior(x, prior)._replace(rate=float(prior.rate + (np.sum(distances**2.0) + pull) / 2))


@wrong(replaces="posterior", hint="changed its argument")
def posterior_that_centres_its_data_in_place(x, prior):
    exact = right_posterior(x, prior)
    if x.flags.writeable:
        x -= x.mean().astype(x.dtype)
    return exact


# The evidence


@wrong(replaces="log_evidence", hint="−(n/2) log 2π missing")
def log_evidence_without_two_pi(x, prior):
    return right_log_evidence(x, prior) + len(x) / 2 * LOG_2PI


@wrong(replaces="log_evidence", hint="½ log(ℓ₀/ℓₙ) upside down")
def log_evidence_with_inverted_scales(x, prior):
    return right_log_evidence(x, prior) - np.log(prior.scale / (prior.scale + len(x)))


@wrong(replaces="log_evidence", hint="have a₀ log b₀ and aₙ log bₙ the signs of scales")
def log_evidence_with_a_scale_for_the_rate(x, prior):
    after = right_posterior(x, prior)
    rates = prior.shape * np.log(prior.rate) - after.shape * np.log(after.rate)
    return right_log_evidence(x, prior) - 2 * float(rates)


@wrong(replaces="log_evidence", hint="as if they were independent")
def log_evidence_of_data_one_by_one(x, prior):
    return sum(right_log_evidence(x[i : i + 1], prior) for i in range(len(x)))


@wrong(replaces="log_evidence", hint="cancel? At a₀ = 10¹⁰ few figures are left")
def log_evidence_by_naive_gammas(x, prior):
    after, n = right_posterior(x, prior), len(x)
    gammas = special.gammaln(after.shape) - special.gammaln(prior.shape)
    rates = prior.shape * np.log(prior.rate) - after.shape * np.log(after.rate)
    return float(gammas + rates + np.log(prior.scale / after.scale) / 2 - n / 2 * LOG_2PI)


# The densities


@wrong(replaces="log_joint", hint="τ taken for a variance")
def log_joint_with_tau_as_a_variance(mu, tau, x, prior):
    mu, tau = np.asarray(mu, dtype=float), np.asarray(tau, dtype=float)
    return sum(stats.norm.logpdf(v, mu, np.sqrt(tau)) for v in x) + right_log_density(mu, tau, prior)


@wrong(replaces="log_joint", hint="Σx² − 2μ Σx + nμ², which cancel")
def log_joint_by_the_expanded_square(mu, tau, x, prior):
    mu, tau, n = np.asarray(mu, dtype=float), np.asarray(tau, dtype=float), len(x)
    x = np.asarray(x, dtype=float)
    squares = np.sum(x**2) - 2 * mu * np.sum(x) + n * mu**2
    return right_log_density(mu, tau, prior) + n / 2 * (np.log(tau) - LOG_2PI) - tau / 2 * squares


@wrong(replaces="log_density", hint="½ log τ missing")
def log_density_without_half_log_tau(mu, tau, law):
    return right_log_density(mu, tau, law) - np.log(tau) / 2


@wrong(replaces="log_density", hint="rate taken for a scale in the gamma")
def log_density_with_the_rate_as_scale(mu, tau, law):
    normal = stats.norm.logpdf(mu, law.mean, 1 / np.sqrt(law.scale * np.asarray(tau)))
    return normal + stats.gamma.logpdf(tau, law.shape, scale=law.rate)


@wrong(replaces="log_density", hint="is the log taken of a density that is 0")
def log_density_as_the_log_of_a_density(mu, tau, law):
    with np.errstate(all="ignore"):
        return np.log(np.exp(right_log_density(mu, tau, law)))


@wrong(replaces="factors_log_density", trap="E48", hint="normalisers of q dropped")
def factors_log_density_without_its_normalisers(mu, tau, factors):
    mean, precision, shape, rate = factors
    return (shape - 1) * np.log(tau) - rate * np.asarray(tau) - precision * (np.asarray(mu) - mean) ** 2 / 2


@wrong(replaces="factors_log_density", hint="does q(μ) know τ")
def factors_log_density_of_dependent_factors(mu, tau, factors):
    return right_log_density(mu, tau, NormalGamma(*factors))


@wrong(replaces="mean_log_density", hint="a degrees of freedom, not 2a")
def mean_log_density_with_half_the_freedom(mu, law):
    return stats.t.logpdf(mu, law.shape, law.mean, np.sqrt(law.rate / (law.shape * law.scale)))


@wrong(replaces="mean_log_density", hint="do log Γ(a+½) and log Γ(a) cancel")
def mean_log_density_by_naive_gammas(mu, law):
    mean, scale, shape, rate = map(float, law)
    constant = special.gammaln(shape + 0.5) - special.gammaln(shape) + np.log(scale / rate / (2 * np.pi)) / 2
    return constant - (shape + 0.5) * np.log1p(scale * (np.asarray(mu, dtype=float) - mean) ** 2 / (2 * rate))


# The bound


def by_hand(factors, x, prior, log_tau=None, tau=None, spread=None):
    """The ELBO, with something else put for E log τ, E τ or the variance of μ."""
    (m0, l0, a0, b0), (mean, precision, shape, rate) = prior, factors
    x = np.asarray(x, dtype=float)
    log_tau = special.digamma(shape) - np.log(rate) if log_tau is None else log_tau
    tau, spread = shape / rate if tau is None else tau, 1 / precision if spread is None else spread
    likelihood = len(x) / 2 * (log_tau - LOG_2PI) - tau / 2 * (np.sum((x - mean) ** 2) + len(x) * spread)
    of_mean = (np.log(l0) + log_tau - LOG_2PI) / 2 - l0 * tau / 2 * ((mean - m0) ** 2 + spread)
    of_tau = a0 * np.log(b0) - special.gammaln(a0) + (a0 - 1) * log_tau - b0 * tau
    return float(likelihood + of_mean + of_tau), entropy_of_mean(factors), entropy_of_tau(factors)


def entropy_of_mean(factors):
    return float((1 + LOG_2PI - np.log(factors.precision)) / 2)


def entropy_of_tau(factors):
    return float(stats.gamma.entropy(factors.shape, scale=1 / factors.rate))


@wrong(replaces="elbo", hint="entropy of q(μ) missing")
def elbo_without_the_entropy_of_the_mean(factors, x, prior):
    return right_elbo(factors, x, prior) - entropy_of_mean(factors)


@wrong(replaces="elbo", hint="entropy of q(τ) missing")
def elbo_without_the_entropy_of_the_precision(factors, x, prior):
    return right_elbo(factors, x, prior) - entropy_of_tau(factors)


@wrong(replaces="elbo", trap="E47", hint="is the fraction outside the logarithm")
def elbo_with_the_fraction_outside(factors, x, prior):
    joint, *entropies = by_hand(factors, x, prior)
    return float(joint / np.exp(-sum(entropies)))


@wrong(replaces="elbo", trap="E48", hint="prior's log-normaliser, a₀ log b₀ − log Γ(a₀), missing")
def elbo_without_the_normaliser_of_the_prior(factors, x, prior):
    return float(right_elbo(factors, x, prior) - prior.shape * np.log(prior.rate) + special.gammaln(prior.shape))


@wrong(replaces="elbo", hint="has E log τ the wrong sign")
def elbo_with_the_sign_of_digamma_reversed(factors, x, prior):
    return sum(by_hand(factors, x, prior, log_tau=np.log(factors.rate) - special.digamma(factors.shape)))


@wrong(replaces="elbo", hint="E τ = a b, as if b were a scale")
def elbo_with_the_rate_as_scale(factors, x, prior):
    return sum(by_hand(factors, x, prior, tau=factors.shape * factors.rate))


@wrong(replaces="elbo", hint="log E τ where E log τ belongs")
def elbo_with_the_log_of_the_mean(factors, x, prior):
    return sum(by_hand(factors, x, prior, log_tau=np.log(factors.shape / factors.rate)))


@wrong(replaces="elbo", hint="forgotten in both squares")
def elbo_at_the_mean_of_mu(factors, x, prior):
    return sum(by_hand(factors, x, prior, spread=0.0))


@wrong(replaces="elbo", hint="a loss, the negative ELBO")
def elbo_as_a_loss(factors, x, prior):
    return -right_elbo(factors, x, prior)


@wrong(replaces="elbo", hint="should be −∞")
def elbo_that_is_not_a_number_far_out(factors, x, prior):
    with np.errstate(all="ignore"):
        bound = right_elbo(factors, x, prior)
        return bound if np.isfinite(bound) else float(np.float64(bound) - bound)


remembered = {}


@wrong(replaces="elbo", hint="the answer for the old contents remembered")
def elbo_that_remembers_arrays_by_their_identity(factors, x, prior):
    key = (factors, id(x), prior)
    held, bound = remembered.get(key, (None, None))
    if held is not x:
        bound = right_elbo(factors, x, prior)
        remembered[key] = (x, bound)
    return bound


@wrong(replaces="terms", hint="KL(q(μ) ‖ N(m₀, 1/ℓ₀)), without τ")
def terms_with_a_prior_mean_that_knows_no_precision(factors, x, prior):
    ratio, off = prior.scale / factors.precision, factors.mean - prior.mean
    price = (ratio - 1 - np.log(ratio) + prior.scale * off**2) / 2
    return right_terms(factors, x, prior)._replace(price_of_mean=float(price))


@wrong(replaces="terms", hint="KL(p ‖ q), the other way round")
def terms_with_the_gamma_divergence_reversed(factors, x, prior):
    (_, _, a, b), (_, _, c, d) = prior, factors
    price = (a - c) * special.digamma(a) - special.gammaln(a) + special.gammaln(c)
    price += c * (np.log(b) - np.log(d)) + a * (d - b) / b
    return right_terms(factors, x, prior)._replace(price_of_precision=float(price))


@wrong(replaces="divergence", hint="KL(p ‖ q), the other way round")
def divergence_reversed(factors, law):
    (m, precision, c, d), (mean, scale, a, b) = factors, law
    log_tau = special.digamma(a) - np.log(b)
    normal = (np.log(scale) + log_tau - np.log(precision) - 1) / 2
    # under p the variance of μ is infinite for a ≤ 1
    normal += precision / 2 * ((m - mean) ** 2 + b / ((a - 1) * scale)) if a > 1 else np.inf
    gammas = (a - c) * special.digamma(a) - special.gammaln(a) + special.gammaln(c)
    return float(normal + gammas + c * (np.log(b) - np.log(d)) + a * (d - b) / b)


# Coordinate ascent


def ascent(x, prior, update, start=None, sweeps=1000):
    """Sweeps of q(μ), q(τ) ← update(exact, tau), and the ELBO after each."""
    exact, before, elbos = right_posterior(x, prior), None, []
    tau = prior.shape / prior.rate if start is None else start
    for _ in range(sweeps):
        factors = Factors(*map(float, update(exact, tau)))
        tau = factors.shape / factors.rate
        elbos.append(right_elbo(factors, x, prior))
        if before is not None and np.allclose(factors, before, rtol=1e-10, atol=0):
            break
        before = factors
    return CAVI(factors, np.array(elbos))


@wrong(replaces="cavi", hint="a_N without the half")
def cavi_with_the_shape_of_the_posterior(x, prior, *, start=None, sweeps=1000):
    return ascent(
        x,
        prior,
        lambda p, tau: (p.mean, p.scale * tau, p.shape, p.rate + 1 / (2 * tau)),
        start,
        sweeps,
    )


@wrong(replaces="cavi", hint="b_N without its prior term")
def cavi_without_the_prior_rate(x, prior, *, start=None, sweeps=1000):
    return ascent(
        x,
        prior,
        lambda p, tau: (p.mean, p.scale * tau, p.shape + 0.5, p.rate - prior.rate + 1 / (2 * tau)),
        start,
        sweeps,
    )


@wrong(replaces="cavi", hint="without the variance of μ, (ℓ₀ + n)/(2λ)")
def cavi_that_takes_the_mean_for_known(x, prior, *, start=None, sweeps=1000):
    return ascent(x, prior, lambda p, tau: (p.mean, p.scale * tau, p.shape + 0.5, p.rate), start, sweeps)


@wrong(replaces="cavi", hint="counted n times, not ℓ₀ + n")
def cavi_without_the_spread_in_the_prior(x, prior, *, start=None, sweeps=1000):
    n = len(x)
    return ascent(
        x,
        prior,
        lambda p, tau: (p.mean, p.scale * tau, p.shape + 0.5, p.rate + n / (2 * p.scale * tau)),
        start,
        sweeps,
    )


@wrong(replaces="cavi", hint="λ = (ℓ₀ + n) b/a, upside down")
def cavi_with_an_inverted_precision(x, prior, *, start=None, sweeps=1000):
    return ascent(
        x,
        prior,
        lambda p, tau: (p.mean, p.scale / tau, p.shape + 0.5, p.rate + tau / 2),
        start,
        sweeps,
    )


@wrong(replaces="cavi", hint="is this the ELBO before the sweep")
def cavi_with_elbos_of_the_sweep_before(x, prior, *, start=None, sweeps=1000):
    run = right_cavi(x, prior, start=start, sweeps=sweeps)
    tau = prior.shape / prior.rate if start is None else start
    first = right_elbo(run.factors._replace(rate=run.factors.shape / tau), x, prior)
    return CAVI(run.factors, np.append(first, run.elbos[:-1]))


@wrong(replaces="cavi", hint="does it stop when converged")
def cavi_that_never_stops(x, prior, *, start=None, sweeps=1000):
    run = right_cavi(x, prior, start=start, sweeps=sweeps)
    return CAVI(run.factors, np.pad(run.elbos, (0, sweeps - len(run.elbos)), mode="edge"))


@wrong(replaces="cavi", hint="when it moves by 1e-10 of itself, not by 1e-10")
def cavi_that_stops_in_the_unit_of_the_data(x, prior, *, start=None, sweeps=1000):
    before, elbos = None, []
    tau = prior.shape / prior.rate if start is None else start
    for _ in range(sweeps):
        factors = right_cavi(x, prior, start=tau, sweeps=1).factors
        tau = factors.shape / factors.rate
        elbos.append(right_elbo(factors, x, prior))
        if before is not None and np.allclose(factors, before, rtol=0, atol=1e-10):
            break
        before = factors
    return CAVI(factors, np.array(elbos))


@wrong(replaces="cavi", hint="it stops too soon")
def cavi_that_stops_too_soon(x, prior, *, start=None, sweeps=1000):
    return right_cavi(x, prior, start=start, sweeps=min(sweeps, 3))


# Best factors and gaps


@wrong(replaces="best_factors", hint="the precision of moment_matched")
def best_factors_for_the_other_divergence(law):
    return Factors(law.mean, law.scale * (law.shape - 1) / law.rate, law.shape, law.rate)


@wrong(replaces="best_factors", hint="1 + float32 is float32")
def best_factors_in_the_precision_of_the_law(law):
    right_best_factors(law)  # refuses what it must
    mean, scale, shape, rate = law
    return Factors(mean, scale * (shape / rate), shape + 0.5, rate * (1 + 0.5 / shape))


@wrong(replaces="best_factors", hint="so that E τ is wrong")
def best_factors_with_the_rate_left(law):
    return Factors(law.mean, law.scale * law.shape / law.rate, law.shape + 0.5, law.rate)


@wrong(replaces="moment_matched", hint="the precision of best_factors")
def moment_matched_with_too_little_variance(law):
    matched = right_moment_matched(law)
    return matched._replace(precision=law.scale * law.shape / law.rate)


@wrong(replaces="moment_matched", hint="with shape=1.0 was accepted")
def moment_matched_of_any_shape(law):
    return Factors(law.mean, law.scale * (law.shape - 1) / law.rate, law.shape, law.rate)


@wrong(replaces="gap", hint="the bound 1/(4a), not the gap")
def gap_as_its_upper_bound(shape):
    return 1 / (4 * np.asarray(shape, dtype=float))[()]


@wrong(replaces="gap", hint="log Γ(a) − log Γ(a+½) cancels against a log a")
def gap_of_large_terms(shape):
    a = np.asarray(shape, dtype=float)
    exact = special.gammaln(a) - special.gammaln(a + 0.5) + (a + 0.5) * np.log(a + 0.5) - a * np.log(a) - 0.5
    return exact[()]


@wrong(replaces="mutual_information", hint="the gap, the least KL(q ‖ p)")
def mutual_information_as_the_gap(shape):
    return right_gap(shape)


@wrong(replaces="mutual_information", hint="large terms cancel")
def mutual_information_of_large_terms(shape):
    a = np.asarray(shape, dtype=float)
    b = a + 0.5
    logs = special.gammaln(a) - special.gammaln(b) + b * special.digamma(b) - a * special.digamma(a) - 0.5
    return logs[()]


# Gaussians


@wrong(replaces="gaussian_factors", hint="marginal variances Σᵢᵢ")
def gaussian_factors_as_the_marginals(covariance):
    return np.diag(covariance).astype(float)


@wrong(replaces="gaussian_gap", hint="in three it is KL(p ‖ q)")
def gaussian_gap_of_the_other_divergence(covariance):
    return float((np.log(np.diag(covariance)).sum() - np.linalg.slogdet(covariance)[1]) / 2)


@wrong(replaces="gaussian_gap", hint="the determinant is no float, take its log")
def gaussian_gap_by_a_determinant(covariance):
    precision = np.linalg.inv(covariance)
    with np.errstate(all="ignore"):
        return float(np.log(np.prod(np.diag(precision)) / np.linalg.det(precision)) / 2)


@wrong(replaces="gaussian_cavi", hint="all means moved at once, from the old ones (Jacobi)")
def gaussian_cavi_of_all_means_at_once(start, covariance, *, sweeps):
    precision = np.linalg.inv(covariance)
    path = [np.array(start, dtype=float)]
    for _ in range(sweeps):
        path.append(path[-1] - precision @ path[-1] / np.diag(precision))
    return np.array(path)


@wrong(replaces="gaussian_cavi", hint="row 0 is the start, then one a sweep")
def gaussian_cavi_without_its_start(start, covariance, *, sweeps):
    return right_gaussian_cavi(start, covariance, sweeps=sweeps)[1:]


@wrong(replaces="gaussian_cavi", hint="integers and single precision are numbers too")
def gaussian_cavi_of_whole_numbers(start, covariance, *, sweeps):
    path = right_gaussian_cavi(start, covariance, sweeps=sweeps)
    return path.astype(np.asarray(start).dtype).astype(float)


# Sources


@wrong(replaces="sources_bound", hint="the log-likelihood, whatever k")
def sources_bound_that_is_always_tight(theta, second_moment, sources):
    return right_sources_bound(theta, second_moment, 1)


@wrong(replaces="sources_fit", hint="is this t = θ², not θ")
def sources_fit_of_the_square(second_moment, sources):
    return right_sources_fit(second_moment, sources) ** 2


@wrong(replaces="sources_fit", trap="E38", hint="the θ of maximum likelihood, √(s² − 1), whatever k")
def sources_fit_by_maximum_likelihood(second_moment, sources):
    return right_sources_fit(second_moment, 1)


@wrong(replaces="sources_fit", hint="do −half and the root cancel")
def sources_fit_by_the_school_formula(second_moment, sources):
    if second_moment <= 1:
        return 0.0
    half = 1 - second_moment / (2 * sources)
    return float(np.sqrt(-half + np.sqrt(half**2 + second_moment - 1)))
