"""Wrong fits, wrong coins, and ascents that lose their way."""

import numpy as np
import torch
from scipy import integrate, optimize, stats

from solutions import likelihood
from tests.wrong_answers import wrong

# Kept, as a wrong answer may stand in their places later. They also refuse bad input for the wrong ones.
right_normal, right_line = likelihood.normal_mle, likelihood.line_mle
right_posterior, right_map, right_predictive = (
    likelihood.coin_log_posterior,
    likelihood.coin_map,
    likelihood.coin_predictive,
)
right_tails, right_level, right_levels = likelihood.two_tails, likelihood.log_likelihood, likelihood.log_likelihood_at
right_ascent, right_critical = likelihood.ascend, likelihood.critical_rate
right_levels_unchecked = likelihood._log_likelihood_at
right_noise, right_settled = likelihood.batch_mean_covariance, likelihood.stationary_covariance

NormalFit, LineFit, TwoTails, Ascent = (
    likelihood.NormalFit,
    likelihood.LineFit,
    likelihood.TwoTails,
    likelihood.Ascent,
)


# The normal law


@wrong(replaces="normal_mle", hint="standard deviation, not the variance")
def normal_with_the_standard_deviation(x):
    fit = right_normal(x)
    return NormalFit(fit.mean, np.sqrt(fit.variance))


@wrong(replaces="normal_mle", hint="divided by n - 1, which is unbiased but not likeliest")
def normal_with_the_unbiased_variance(x):
    fit = right_normal(x)
    return NormalFit(fit.mean, fit.variance * len(x) / max(len(x) - 1, 1))


@wrong(replaces="normal_mle", hint="mean of x² less the square of the mean, which cancel")
def normal_by_the_mean_of_squares(x):
    right_normal(x)
    x = np.asarray(x, dtype=float)
    return NormalFit(x.mean(), np.mean(x**2) - np.mean(x) ** 2)


@wrong(replaces="normal_mle", hint="without the mean taken off")
def normal_about_zero(x):
    return NormalFit(right_normal(x).mean, np.mean(np.square(x, dtype=float)))


@wrong(replaces="normal_mle", hint="is this the median?")
def normal_at_the_median(x):
    right_normal(x)
    return NormalFit(np.median(x), np.mean((x - np.median(x)) ** 2))


@wrong(replaces="normal_mle", hint="overflow their type")
def normal_in_the_type_of_the_data(x):
    right_normal(x)
    mean = x.mean().astype(x.dtype)
    return NormalFit(x.mean(), np.mean((x - mean) ** 2)) if x.dtype.kind in "iu" else right_normal(x)


@wrong(replaces="normal_mle", hint="lose their figures in it")
def normal_in_single_precision(x):
    right_normal(x)
    return NormalFit(float(np.mean(x)), float(np.var(x)))


@wrong(replaces="normal_mle", hint="less the square of the mean, in the type of x")
def normal_by_the_mean_of_squares_in_single_precision(x):
    right = right_normal(x)
    return right._replace(variance=np.mean(x * x) - np.mean(x) ** 2) if x.dtype == np.float32 else right


@wrong(replaces="normal_mle", hint="x=nan was accepted")
def normal_of_anything(x):
    return NormalFit(np.mean(x), np.var(x))


# The line


def line(slope, intercept, x, y, freedom=0):
    return LineFit(slope, intercept, np.sum((y - slope * x - intercept) ** 2) / (len(x) - freedom))


@wrong(replaces="line_mle", hint="RSS divided by n - 2, which is unbiased but not likeliest")
def line_with_the_unbiased_variance(x, y):
    fit = right_line(x, y)
    return fit._replace(variance=fit.variance * len(x) / max(len(x) - 2, 1))


@wrong(replaces="line_mle", hint="is RSS divided by n - 1?")
def line_with_one_degree_of_freedom_taken_off(x, y):
    fit = right_line(x, y)
    return fit._replace(variance=fit.variance * len(x) / (len(x) - 1))


@wrong(replaces="line_mle", hint="standard deviation of the noise, not its variance")
def line_with_the_standard_deviation(x, y):
    fit = right_line(x, y)
    return fit._replace(variance=np.sqrt(fit.variance))


@wrong(replaces="line_mle", hint="about its mean and not about the line")
def line_with_the_variance_of_y(x, y):
    return right_line(x, y)._replace(variance=np.var(y))


@wrong(replaces="line_mle", hint="the line of x on y")
def line_of_x_on_y(x, y):
    fit = right_line(x, y)
    slope = fit.slope * np.var(x) / np.var(y)
    return line(slope, np.mean(y) - slope * np.mean(x), x, y)


@wrong(replaces="line_mle", hint="is this the correlation?")
def line_with_the_correlation_for_a_slope(x, y):
    right_line(x, y)
    slope = np.corrcoef(x, y)[0, 1]
    return line(slope, np.mean(y) - slope * np.mean(x), x, y)


@wrong(replaces="line_mle", hint="through the origin")
def line_through_the_origin(x, y):
    right_line(x, y)
    return line(np.dot(x, y) / np.dot(x, x), 0.0, x, y)


@wrong(replaces="line_mle", hint="without the slope's part")
def line_with_the_mean_for_an_intercept(x, y):
    return right_line(x, y)._replace(intercept=np.mean(y))


@wrong(replaces="line_mle", hint="Sxy divided by n - 1, but Sxx by n?")
def line_by_numpys_cov_and_var(x, y):
    right_line(x, y)
    slope = np.cov(x, y)[0, 1] / np.var(x)
    return line(slope, np.mean(y) - slope * np.mean(x), x, y)


@wrong(replaces="line_mle", hint="not centred before they are summed")
def line_by_sums_of_products(x, y):
    right_line(x, y)
    x, y, n = np.asarray(x, dtype=float), np.asarray(y, dtype=float), len(x)
    with np.errstate(all="ignore"):
        slope = (x @ y - n * x.mean() * y.mean()) / (x @ x - n * x.mean() ** 2)
    return line(slope, y.mean() - slope * x.mean(), x, y)


@wrong(replaces="line_mle", hint="as Syy/n - â²Sxx/n it would cancel")
def line_with_the_variance_by_a_difference(x, y):
    right, x, y = right_line(x, y), np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return right._replace(variance=max(np.var(y) - right.slope**2 * np.var(x), 0.0))


@wrong(replaces="line_mle", hint="observation that lies far off left out")
def line_without_outliers(x, y):
    right = right_line(x, y)
    near = np.abs(y - right.slope * x - right.intercept) <= 5 * np.sqrt(right.variance)
    return right_line(x[near], y[near]) if np.ptp(x[near]) > 0 else right


@wrong(replaces="line_mle", hint="x=2.5 was accepted")
def line_through_a_column(x, y):
    if np.shape(x) != np.shape(y):
        return right_line(x, y)
    dx, dy = x - np.mean(x), y - np.mean(y)
    with np.errstate(all="ignore"):
        slope = dx @ dy / (dx @ dx)
    return line(slope, np.mean(y) - slope * np.mean(x), x, y)


@wrong(replaces="line_mle", hint="y=1 was accepted")
def line_through_whatever_broadcasts(x, y):
    return right_line(x, np.resize(y, len(x)) if np.size(y) == 1 else y)


# The coin


@wrong(replaces="coin_log_posterior", hint="sign of the prior's term reversed")
def posterior_with_the_prior_turned_over(theta, tosses, prior_mean, prior_variance):
    return right_posterior(theta, tosses, prior_mean, prior_variance) + (theta - prior_mean) ** 2 / prior_variance


@wrong(replaces="coin_log_posterior", trap="E30", hint="variance taken for a standard deviation")
def posterior_with_a_standard_deviation_asked_for(theta, tosses, prior_mean, prior_variance):
    return right_posterior(theta, tosses, prior_mean, prior_variance**2 if prior_variance > 0 else prior_variance)


@wrong(replaces="coin_log_posterior", hint="0 log 0 counts as 0")
def posterior_with_nan_at_the_ends(theta, tosses, prior_mean, prior_variance):
    right_posterior(theta, tosses, prior_mean, prior_variance)
    ones, n = np.sum(tosses), len(tosses)
    with np.errstate(all="ignore"):
        data = ones * np.log(theta) + (n - ones) * np.log(np.subtract(1, theta))
    return data - np.square(np.subtract(theta, prior_mean)) / (2 * prior_variance)


@wrong(replaces="coin_log_posterior", hint="prior counted once for every toss")
def posterior_with_a_prior_for_every_toss(theta, tosses, prior_mean, prior_variance):
    right_posterior(theta, tosses, prior_mean, prior_variance)
    return right_posterior(theta, tosses, prior_mean, prior_variance / len(tosses))


@wrong(replaces="coin_log_posterior", hint="theta=-0.1 was accepted")
def posterior_beyond_the_ends(theta, tosses, prior_mean, prior_variance):
    return right_posterior(np.clip(np.nan_to_num(theta), 0, 1), tosses, prior_mean, prior_variance)


def roots(tosses, m, v):
    """The three roots of the cubic, from below."""
    return np.sort(np.roots([1, -(1 + m), m - v * len(tosses), v * np.sum(tosses)]).real)


@wrong(replaces="coin_map", hint="root of the cubic that lies below 0")
def map_at_the_lowest_root(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)
    return float(roots(tosses, prior_mean, prior_variance)[0])


@wrong(replaces="coin_map", hint="root of the cubic that lies above 1")
def map_at_the_highest_root(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)
    return float(roots(tosses, prior_mean, prior_variance)[2])


@wrong(replaces="coin_map", hint="below 0, cut off there")
def map_at_the_first_root_cut_off(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)
    return float(np.clip(roots(tosses, prior_mean, prior_variance)[0], 0, 1))


@wrong(replaces="coin_map", hint="above 1, cut off there")
def map_at_the_last_root_cut_off(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)
    return float(np.clip(roots(tosses, prior_mean, prior_variance)[2], 0, 1))


@wrong(replaces="coin_map", trap="E30", hint="variance taken for a standard deviation")
def map_with_a_standard_deviation_asked_for(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)
    return right_map(tosses, prior_mean, prior_variance**2)


@wrong(replaces="coin_map", trap="E30", hint="root of the prior's variance taken, as if it were a variance")
def map_with_the_standard_deviation_for_a_variance(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)
    return right_map(tosses, prior_mean, np.sqrt(prior_variance))


@wrong(replaces="coin_map", hint="likeliest without the prior")
def map_without_the_prior(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)
    return float(np.mean(tosses))


@wrong(replaces="coin_map", hint="posterior's mean, not its highest point")
def mean_for_map(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)

    def integral(power):
        return integrate.quad(
            lambda x: x**power * np.exp(right_posterior(x, tosses, prior_mean, prior_variance)), 0, 1, epsabs=0
        )[0]

    return integral(1) / integral(0)


def zero_of_the_slope(tosses, m, v, sign=-1.0):
    """Where the slope of a log posterior is 0, searched for between the ends."""
    ones, zeros = np.sum(tosses), len(tosses) - np.sum(tosses)
    slope = lambda x: ones / x - zeros / (1 - x) + sign * (x - m) / v  # noqa: E731
    return float(optimize.brentq(slope, 1e-12, 1 - 1e-12, xtol=1e-15))


@wrong(replaces="coin_map", hint="sign of the prior's term reversed")
def map_away_from_the_prior(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)
    return zero_of_the_slope(tosses, prior_mean, prior_variance, sign=1.0)


@wrong(replaces="coin_map", hint="2 lost that comes of deriving the prior's square")
def map_with_half_the_slope_of_the_prior(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)
    return right_map(tosses, prior_mean, 2 * prior_variance)


@wrong(replaces="coin_map", hint="the end of [0, 1] that h/n points to")
def map_at_the_end_if_one_side_is_all(tosses, prior_mean, prior_variance):
    right = right_map(tosses, prior_mean, prior_variance)
    return float(np.mean(tosses)) if np.mean(tosses) in (0, 1) else right


@wrong(replaces="coin_map", hint="root below 0 not cut off")
def map_outside_of_zero_and_one(tosses, prior_mean, prior_variance):
    right = right_map(tosses, prior_mean, prior_variance)
    m, n = prior_mean, len(tosses)
    root = np.sqrt((1 - m) ** 2 + 4 * prior_variance * n)
    return right if np.any(tosses) else float((1 + m - root) / 2)


@wrong(replaces="coin_map", hint="f(a) and f(b) must have different signs")
def map_searched_for_between_the_ends(tosses, prior_mean, prior_variance):
    right_map(tosses, prior_mean, prior_variance)
    return zero_of_the_slope(tosses, prior_mean, prior_variance)


@wrong(replaces="coin_map", hint="tosses=2 was accepted")
def map_of_any_numbers(tosses, prior_mean, prior_variance):
    return right_map(np.not_equal(tosses, 0), prior_mean, prior_variance)


@wrong(replaces="coin_map", hint="prior_variance=0.0 was accepted")
def map_of_a_prior_without_variance(tosses, prior_mean, prior_variance):
    return right_map(tosses, prior_mean, prior_variance) if prior_variance else float(prior_mean)


# The next toss


@wrong(replaces="coin_predictive", hint="the likeliest θ, not its mean")
def predictive_by_plugging_in(tosses, a=1.0, b=1.0):
    right_predictive(tosses, a, b)
    return float(np.mean(tosses))


@wrong(replaces="coin_predictive", hint="posterior's highest point (the MAP), not its mean")
def predictive_at_the_mode(tosses, a=1.0, b=1.0):
    right_predictive(tosses, a, b)
    return (np.sum(tosses) + a - 1) / (len(tosses) + a + b - 2)


@wrong(replaces="coin_predictive", hint="is n missing in the denominator?")
def predictive_without_n(tosses, a=1.0, b=1.0):
    right_predictive(tosses, a, b)
    return (np.sum(tosses) + a) / (a + b)


@wrong(replaces="coin_predictive", hint="a and b exchanged")
def predictive_with_a_and_b_exchanged(tosses, a=1.0, b=1.0):
    right_predictive(tosses, a, b)
    return right_predictive(tosses, b, a)


@wrong(replaces="coin_predictive", hint="the probability of a 0")
def predictive_of_a_zero(tosses, a=1.0, b=1.0):
    return 1 - right_predictive(tosses, a, b)


@wrong(replaces="coin_predictive", hint="coin_predictive(tosses)")
def predictive_with_another_default(tosses, a=0.5, b=0.5):
    return right_predictive(tosses, a, b)


@wrong(replaces="coin_predictive", hint="a=0.0 was accepted")
def predictive_of_a_prior_worth_nothing(tosses, a=1.0, b=1.0):
    if a < 0 or b < 0:
        raise ValueError(f"a and b must not be negative, got {a} and {b}")
    return (np.sum(tosses) + a) / (len(tosses) + a + b)


# Two zeros next


@wrong(replaces="two_tails", hint="square of the mean, (1−Eθ)², without the variance of θ")
def tails_squared_after_averaging(tosses, prior_mean, prior_variance):
    plugged_in = right_tails(tosses, prior_mean, prior_variance).plugged_in
    return TwoTails(plugged_in, (1 - mean_for_map(tosses, prior_mean, prior_variance)) ** 2)


def average(f, tosses, m, v, low, high):
    ones, zeros = np.sum(tosses), len(tosses) - np.sum(tosses)

    def integral(g):
        weight = lambda x: x**ones * (1 - x) ** zeros * stats.norm.pdf(x, m, np.sqrt(v))  # noqa: E731
        return integrate.quad(lambda x: g(x) * weight(x), low, high, points=[m], epsabs=0, limit=200)[0]

    return integral(f) / integral(lambda x: 1.0)


@wrong(replaces="two_tails", hint="two heads")
def tails_for_heads(tosses, prior_mean, prior_variance):
    right = right_tails(tosses, prior_mean, prior_variance)
    return TwoTails(right.plugged_in, 1 - 2 * (1 - mean_for_map(tosses, prior_mean, prior_variance)) + right.predictive)


@wrong(replaces="two_tails", hint="is this θ̂², two heads?")
def tails_for_heads_plugged_in(tosses, prior_mean, prior_variance):
    right = right_tails(tosses, prior_mean, prior_variance)
    return right._replace(plugged_in=right_map(tosses, prior_mean, prior_variance) ** 2)


@wrong(replaces="two_tails", trap="E30", hint="over the whole line, where it should stay in [0, 1]")
def tails_over_the_whole_line(tosses, prior_mean, prior_variance):
    right = right_tails(tosses, prior_mean, prior_variance)
    reach = 20 * np.sqrt(prior_variance)
    ends = (prior_mean - reach, prior_mean + reach)
    return right._replace(predictive=average(lambda x: (1 - x) ** 2, tosses, prior_mean, prior_variance, *ends))


@wrong(replaces="two_tails", hint="the plugged-in probability, (1−θ̂)²")
def tails_plugged_in_twice(tosses, prior_mean, prior_variance):
    plugged_in = right_tails(tosses, prior_mean, prior_variance).plugged_in
    return TwoTails(plugged_in, plugged_in)


@wrong(replaces="two_tails", hint="posterior's mean plugged in, not its highest point")
def tails_with_the_mean_plugged_in(tosses, prior_mean, prior_variance):
    right = right_tails(tosses, prior_mean, prior_variance)
    return right._replace(plugged_in=(1 - mean_for_map(tosses, prior_mean, prior_variance)) ** 2)


@wrong(replaces="two_tails", hint="a single tail")
def tails_once(tosses, prior_mean, prior_variance):
    right = right_tails(tosses, prior_mean, prior_variance)
    return right._replace(predictive=1 - mean_for_map(tosses, prior_mean, prior_variance))


@wrong(replaces="two_tails", hint="of 100000 ones and 0 zeros")
def tails_by_a_product_that_underflows(tosses, prior_mean, prior_variance):
    right = right_tails(tosses, prior_mean, prior_variance)
    theta = np.linspace(0, 1, 20_001)
    weights = np.prod(np.where(np.asarray(tosses)[:20, None], theta, 1 - theta), axis=0) ** (len(tosses) / 20)
    weights = weights * np.exp(-((theta - prior_mean) ** 2) / (2 * prior_variance))
    return (
        right if len(tosses) < 10_000 else right._replace(predictive=float(weights @ (1 - theta) ** 2 / weights.sum()))
    )


# The log-likelihood


def parts(data, mean, covariance):
    """Of a log-likelihood: the quadratic form, and the logarithms of 2π and of det Σ."""
    away = data - mean
    square = -0.5 * (away @ torch.linalg.inv(covariance) * away).sum()
    return square, data.shape[1] * np.log(2 * np.pi), torch.logdet(covariance)


@wrong(replaces="log_likelihood", trap="E29", hint="constant -n/2 log det(2πΣ) dropped")
def level_without_its_constant(data, mean, covariance):
    right_level(data, mean, covariance)
    return parts(data, mean, covariance)[0]


@wrong(replaces="log_likelihood", trap="E29", hint="-n/2 log det Σ dropped")
def level_without_the_determinant(data, mean, covariance):
    return right_level(data, mean, covariance) + len(data) / 2 * torch.logdet(covariance)


@wrong(replaces="log_likelihood", hint="log det Σ where ½ log det Σ belongs")
def level_with_the_whole_determinant(data, mean, covariance):
    return right_level(data, mean, covariance) - len(data) / 2 * torch.logdet(covariance)


@wrong(replaces="log_likelihood", hint="constant there once, not once a row")
def level_with_one_constant_for_all_rows(data, mean, covariance):
    right_level(data, mean, covariance)
    square, turns, log_det = parts(data, mean, covariance)
    return square - (turns + log_det) / 2


@wrong(replaces="log_likelihood", hint="not once for each of the d columns")
def level_with_the_constant_of_one_dimension(data, mean, covariance):
    n, d = data.shape
    return right_level(data, mean, covariance) + n * (d - 1) / 2 * np.log(2 * np.pi)


@wrong(replaces="log_likelihood", trap="E27", hint="covariance taken for a matrix of standard deviations")
def level_with_standard_deviations(data, mean, covariance):
    right_level(data, mean, covariance)
    return (
        torch.distributions.MultivariateNormal(mean, scale_tril=covariance).log_prob(data).sum()
        if (len(mean) == 1)
        else right_level(data, mean, covariance @ covariance)
    )


@wrong(replaces="log_likelihood", trap="E28", hint="sign reversed, as in a loss")
def level_of_a_loss(data, mean, covariance):
    return -right_level(data, mean, covariance)


@wrong(replaces="log_likelihood", hint="mean over the rows, not their sum")
def level_of_a_row(data, mean, covariance):
    return right_level(data, mean, covariance) / len(data)


@wrong(replaces="log_likelihood", hint="½ of the quadratic form missing")
def level_with_twice_the_square(data, mean, covariance):
    return right_level(data, mean, covariance) + parts(data, mean, covariance)[0]


@wrong(replaces="log_likelihood", hint="Σ used where Σ⁻¹ belongs")
def level_without_the_inverse(data, mean, covariance):
    right = right_level(data, mean, covariance)
    away = data - mean
    return right - parts(data, mean, covariance)[0] - 0.5 * (away @ covariance * away).sum()


@wrong(replaces="log_likelihood", hint="trace of Σ⁻¹ used, not the quadratic form")
def level_with_a_trace(data, mean, covariance):
    right = right_level(data, mean, covariance)
    trace = torch.trace(torch.linalg.inv(covariance))
    return right - parts(data, mean, covariance)[0] - 0.5 * trace * ((data - mean) ** 2).sum()


@wrong(replaces="log_likelihood", hint="covariances off the diagonal ignored")
def level_without_correlations(data, mean, covariance):
    right_level(data, mean, covariance)
    return torch.distributions.Normal(mean, covariance.diagonal().sqrt()).log_prob(data).sum()


@wrong(replaces="log_likelihood", hint="log of a product, which underflows to 0")
def level_by_a_product(data, mean, covariance):
    right_level(data, mean, covariance)
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(data).exp().prod().log()


@wrong(replaces="log_likelihood", hint="does det Σ leave the floats?")
def level_by_a_determinant(data, mean, covariance):
    right_level(data, mean, covariance)
    return parts(data, mean, covariance)[0] - len(data) / 2 * torch.log(torch.det(2 * np.pi * covariance))


@wrong(replaces="log_likelihood", hint="log_likelihood near 10⁸")
def level_multiplied_out(data, mean, covariance):
    right_level(data, mean, covariance)
    n, inverse = len(data), torch.linalg.inv(covariance)
    square = (data @ inverse * data).sum() - 2 * data.sum(0) @ inverse @ mean + n * mean @ inverse @ mean
    _, turns, log_det = parts(data, mean, covariance)
    return -0.5 * (square + n * (turns + log_det))


@wrong(replaces="log_likelihood", hint="log_likelihood cannot be differentiated by its mean")
def level_cut_from_the_graph(data, mean, covariance):
    return right_level(data.detach(), mean.detach(), covariance.detach()).requires_grad_()


@wrong(replaces="log_likelihood", hint="torch.float64")
def level_in_double_precision(data, mean, covariance):
    return right_level(data.double(), mean.double(), covariance.double())


@wrong(replaces="log_likelihood", hint="covariance=-0.75 was accepted")
def level_of_half_a_matrix(data, mean, covariance):
    lower = torch.tril(covariance)
    return right_level(data, mean, lower + torch.tril(covariance, -1).mT)


@wrong(replaces="log_likelihood_at", trap="E29", hint="constant -n/2 log det(2πΣ) dropped")
def levels_without_their_constant(means, data, covariance):
    right_levels(means, data, covariance)
    return torch.stack([parts(data, mean, covariance)[0] for mean in means])


@wrong(replaces="log_likelihood_at", hint="is L(x̄) missing?")
def levels_below_the_peak(means, data, covariance):
    return right_levels(means, data, covariance) - right_level(data, data.mean(dim=0), covariance)


@wrong(replaces="log_likelihood_at", hint="not multiplied by n")
def levels_of_a_bowl_for_one_row(means, data, covariance):
    top = right_level(data, data.mean(dim=0), covariance)
    return top + (right_levels(means, data, covariance) - top) / len(data)


@wrong(replaces="log_likelihood_at", hint="should have the shape (0,)")
def levels_one_by_one(means, data, covariance):
    right_levels(means, data, covariance)
    return torch.stack([right_level(data, mean, covariance) for mean in means])


# The ascent


def climb(
    data,
    covariance,
    *,
    start,
    rate,
    steps,
    batch_size=None,
    optimizer=None,
    generator=None,
    gradient=lambda batch, mean, n, inverse: n * inverse @ (batch.mean(dim=0) - mean),
    choose=lambda data, k, generator, step: data[torch.randperm(len(data), generator=generator)[:k]],
    judge=None,
):
    """An ascent, right as it stands, whose gradient, batches and log-likelihoods can be made wrong."""
    generator = generator or torch.Generator().manual_seed(torch.Generator().seed() % 2**63)
    options = {"batch_size": batch_size, "optimizer": optimizer, "generator": torch.Generator().manual_seed(0)}
    right_ascent(data, covariance, start=start, rate=rate, steps=min(steps, 1), **options)  # refuses bad input
    mean = start.detach().clone().to(data).requires_grad_()
    path, batches = [mean.detach().clone()], []
    climber, inverse = (optimizer or torch.optim.SGD)([mean], lr=rate), torch.linalg.inv(covariance)
    for step in range(steps):
        batch = data if batch_size is None else choose(data, batch_size, generator, step)
        batches.append(batch)

        def ask(batch=batch):
            mean.grad = -gradient(batch, mean.detach(), len(data), inverse)
            return -right_level(batch, mean.detach(), covariance) * len(data) / len(batch)

        climber.step(ask)
        path.append(mean.detach().clone())
    means = torch.stack(path)
    if not torch.isfinite(right_levels_unchecked(means, data, torch.linalg.cholesky(covariance.to(data)))).all():
        raise OverflowError(f"the ascent left the numbers: a rate of {rate} is too large")
    if judge is None:
        return Ascent(means, right_levels(means, data, covariance))
    levels = [judge(data, b, m, covariance) for b, m in zip([*batches, batches[-1]], path, strict=True)]
    return Ascent(means, torch.stack(levels))


@wrong(replaces="ascend", trap="E28", hint="does it descend?")
def ascent_downhill(data, covariance, **rest):
    return climb(data, covariance, **rest, gradient=lambda b, m, n, inverse: -n * inverse @ (b.mean(dim=0) - m))


@wrong(replaces="ascend", trap="E28", hint="were given L, not -L")
def ascent_downhill_with_an_optimiser(data, covariance, *, optimizer=None, **rest):
    if optimizer is None:
        return right_ascent(data, covariance, **rest)
    down = lambda b, m, n, inverse: -n * inverse @ (b.mean(dim=0) - m)  # noqa: E731
    return climb(data, covariance, optimizer=optimizer, **rest, gradient=down)


@wrong(replaces="ascend", trap="E31", hint="the batch's sum not scaled by n/k")
def ascent_by_the_sum_over_a_batch(data, covariance, **rest):
    return climb(data, covariance, **rest, gradient=lambda b, m, n, inverse: inverse @ (b - m).sum(dim=0))


@wrong(replaces="ascend", hint="gradient of the mean over the rows, where that of the full sum")
def ascent_by_the_mean_over_the_rows(data, covariance, **rest):
    return climb(data, covariance, **rest, gradient=lambda b, m, n, inverse: inverse @ (b.mean(dim=0) - m))


@wrong(replaces="ascend", hint="scaled by k/n, not by n/k")
def ascent_by_a_batch_scaled_upside_down(data, covariance, **rest):
    return climb(data, covariance, **rest, gradient=lambda b, m, n, inverse: len(b) / n * inverse @ (b - m).sum(dim=0))


@wrong(replaces="ascend", hint="Σ used where Σ⁻¹ belongs")
def ascent_by_the_covariance(data, covariance, **rest):
    turned = lambda b, m, n, inverse: n * torch.linalg.inv(inverse) @ (b.mean(dim=0) - m)  # noqa: E731
    return climb(data, covariance, **rest, gradient=turned)


@wrong(replaces="ascend", trap="E97", hint="moved in place")
def ascent_that_moves_its_start(data, covariance, *, start, **rest):
    right = right_ascent(data, covariance, start=start, **rest)
    start.detach().copy_(right.means[-1])
    return right


@wrong(replaces="ascend", hint="is every row of the path the last mean, because none was copied")
def ascent_that_keeps_one_tensor(data, covariance, **rest):
    right = right_ascent(data, covariance, **rest)
    return right._replace(means=right.means[-1].expand_as(right.means))


@wrong(replaces="ascend", hint="has shape (6, 2), should have shape (7, 2)")
def ascent_without_its_start(data, covariance, **rest):
    right = right_ascent(data, covariance, **rest)
    return Ascent(right.means[1:], right.log_likelihoods[1:])


@wrong(replaces="ascend", hint="is the start missing from the path?")
def ascent_that_begins_a_step_late(data, covariance, *, steps, **rest):
    right = right_ascent(data, covariance, steps=steps, **rest)
    right = right_ascent(data, covariance, steps=steps + 1, **rest)
    return Ascent(right.means[1:], right.log_likelihoods[1:])


@wrong(replaces="ascend", hint="should have shape (8, 2)")
def ascent_that_stops_when_it_has_arrived(data, covariance, **rest):
    right = right_ascent(data, covariance, **rest)
    moved = (right.means.diff(dim=0).norm(dim=1) > 1e-9).nonzero()
    last = int(moved.max()) + 2 if len(moved) else 1
    return Ascent(right.means[:last], right.log_likelihoods[:last])


@wrong(replaces="ascend", hint="after each of 40 steps")
def ascent_that_stands_still_when_it_has_nearly_arrived(data, covariance, **rest):
    right = right_ascent(data, covariance, **rest)
    far = right.means.diff(dim=0).abs().amax(dim=1) > 1e-6
    last = torch.arange(len(far) + 1).where(torch.cat([torch.tensor([True]), far]), 0).cummax(dim=0).values
    return Ascent(right.means[last], right.log_likelihoods[last])


@wrong(replaces="ascend", hint="because they are not set to zero")
def ascent_that_sums_its_gradients_up(data, covariance, *, optimizer=None, **rest):
    if optimizer is not None:
        return right_ascent(data, covariance, optimizer=optimizer, **rest)
    return climb(data, covariance, optimizer=lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=1.0), **rest)


@wrong(replaces="ascend", trap="E29", hint="constant -n/2 log det(2πΣ) dropped")
def ascent_without_the_constant(data, covariance, **rest):
    right = right_ascent(data, covariance, **rest)
    levels = torch.stack([parts(data, mean, covariance)[0] for mean in right.means])
    return right._replace(log_likelihoods=levels)


@wrong(replaces="ascend", hint="sign reversed, as in a loss")
def ascent_that_tells_its_losses(data, covariance, **rest):
    right = right_ascent(data, covariance, **rest)
    return right._replace(log_likelihoods=-right.log_likelihoods)


@wrong(replaces="ascend", trap="E31", hint="of all the data, not of a batch")
def ascent_that_tells_of_its_batches(data, covariance, **rest):
    return climb(data, covariance, **rest, judge=lambda data, batch, mean, sigma: right_level(batch, mean, sigma))


@wrong(replaces="ascend", trap="E31", hint="of all the data, not of a batch")
def ascent_that_tells_of_its_batches_scaled(data, covariance, **rest):
    scaled = lambda data, b, mean, sigma: len(data) / len(b) * right_level(b, mean, sigma)  # noqa: E731
    return climb(data, covariance, **rest, judge=scaled)


@wrong(replaces="ascend", hint="the first k rows seem to be the batch at every step")
def ascent_by_the_first_rows(data, covariance, **rest):
    return climb(data, covariance, **rest, choose=lambda data, k, generator, step: data[:k])


@wrong(replaces="ascend", hint="one and the same batch seems to be taken at every step")
def ascent_by_one_batch(data, covariance, *, batch_size=None, generator=None, **rest):
    right_ascent(data, covariance, batch_size=batch_size, **rest)
    fresh = generator or torch.Generator().manual_seed(torch.Generator().seed() % 2**63)
    rows = torch.randperm(len(data), generator=fresh)[:batch_size]
    one = lambda data, k, generator, step: data[rows]  # noqa: E731
    return climb(data, covariance, batch_size=batch_size, generator=generator, **rest, choose=one)


@wrong(replaces="ascend", hint="with replacement, so that one can be twice in a batch")
def ascent_with_replacement(data, covariance, **rest):
    twice = lambda data, k, generator, step: data[torch.randint(len(data), (k,), generator=generator)]  # noqa: E731
    return climb(data, covariance, **rest, choose=twice)


@wrong(replaces="ascend", hint="dealt out of one shuffle")
def ascent_by_epochs(data, covariance, **rest):
    order = []

    def deal(data, k, generator, step):
        if len(order) < k:
            order[:] = torch.randperm(len(data), generator=generator).tolist()
        return data[[order.pop() for _ in range(k)]]

    return climb(data, covariance, **rest, choose=deal)


@wrong(replaces="ascend", hint="k rows in a run")
def ascent_by_rows_in_a_run(data, covariance, **rest):
    def run(data, k, generator, step):
        first = int(torch.randint(len(data) - k + 1, (1,), generator=generator))
        return data[first : first + k]

    return climb(data, covariance, **rest, choose=run)


@wrong(replaces="ascend", hint="are all the rows used, and batch_size ignored")
def ascent_without_batches(data, covariance, *, batch_size=None, **rest):
    right_ascent(data, covariance, batch_size=batch_size, **rest)
    return right_ascent(data, covariance, **rest)


@wrong(replaces="ascend", hint="is the optimizer ignored?")
def ascent_without_the_optimiser(data, covariance, *, optimizer=None, **rest):
    return right_ascent(data, covariance, **rest)


@wrong(replaces="ascend", hint="the mean by position, the rate by keyword")
def ascent_with_the_rate_by_position(data, covariance, *, optimizer=None, **rest):
    positional = optimizer and (lambda parameters, lr: optimizer(parameters, lr))
    return right_ascent(data, covariance, optimizer=positional, **rest)


@wrong(replaces="ascend", hint="was asked for a step without a closure")
def ascent_that_evaluates_its_loss_once(data, covariance, *, optimizer=None, **rest):
    def once(parameters, lr):
        climber = (optimizer or torch.optim.SGD)(parameters, lr=lr)
        step = climber.step
        climber.step = lambda ask: (ask(), step())
        return climber

    return right_ascent(data, covariance, optimizer=once, **rest)


@wrong(replaces="ascend", hint="is generator used?")
def ascent_without_the_generator(data, covariance, *, generator=None, **rest):
    return right_ascent(data, covariance, **rest)


@wrong(replaces="ascend", hint="draws from torch's global generator")
def ascent_by_the_global_generator(data, covariance, *, generator=None, **rest):
    right_ascent(data, covariance, **rest)
    return climb(data, covariance, **rest, choose=lambda data, k, _, step: data[torch.randperm(len(data))[:k]])


@wrong(replaces="ascend", hint="or seeds it")
def ascent_that_seeds_the_global_generator(data, covariance, **rest):
    torch.manual_seed(0)
    return right_ascent(data, covariance, **rest)


@wrong(replaces="ascend", hint="the same way with another seed")
def ascent_with_a_seed_of_its_own(data, covariance, *, generator=None, **rest):
    return right_ascent(data, covariance, generator=torch.Generator().manual_seed(0), **rest)


@wrong(replaces="ascend", hint="LBFGS on one row")
def ascent_that_draws_whenever_it_is_asked(data, covariance, *, optimizer=None, generator=None, **rest):
    if optimizer is None or rest.get("batch_size") is None:
        return right_ascent(data, covariance, optimizer=optimizer, generator=generator, **rest)
    mean, path = rest["start"].clone().requires_grad_(), [rest["start"]]
    climber, k = optimizer([mean], lr=rest["rate"]), rest["batch_size"]

    def ask():
        climber.zero_grad()
        batch = data[torch.randperm(len(data), generator=generator)[:k]]
        loss = -len(data) / k * right_level(batch, mean, covariance)
        loss.backward()
        return loss

    for _ in range(rest["steps"]):
        climber.step(ask)
        path.append(mean.detach().clone())
    means = torch.stack(path)
    return Ascent(means, right_levels(means, data, covariance))


@wrong(replaces="ascend", hint="torch.float32")
def ascent_in_the_dtype_of_its_start(data, covariance, *, start, **rest):
    right = right_ascent(data, covariance, start=start, **rest)
    return Ascent(*(part.to(start.dtype) for part in right))


@wrong(replaces="ascend", hint="DID NOT RAISE")
def ascent_into_the_void(data, covariance, *, rate, steps, **rest):
    try:
        return right_ascent(data, covariance, rate=rate, steps=steps, **rest)
    except OverflowError:
        nothing = torch.full((steps + 1, data.shape[1]), torch.nan)
        return Ascent(nothing, nothing[:, 0])


@wrong(replaces="ascend", hint="batch_size=6 was accepted")
def ascent_by_as_many_rows_as_there_are(data, covariance, *, batch_size=None, **rest):
    size = min(batch_size, len(data)) if isinstance(batch_size, int) else batch_size
    return right_ascent(data, covariance, batch_size=size, **rest)


@wrong(replaces="ascend", hint="steps=0 was accepted")
def ascent_that_stays(data, covariance, *, start, steps, **rest):
    if steps == 0:
        return Ascent(start[None], right_levels(start[None], data, covariance))
    return right_ascent(data, covariance, start=start, steps=steps, **rest)


# How large a step, how small a batch


@wrong(replaces="critical_rate", hint="largest eigenvalue, not the smallest")
def critical_rate_of_the_largest_eigenvalue(n, covariance):
    right_critical(n, covariance)
    return float(2 * torch.linalg.eigvalsh(covariance)[-1] / n)


@wrong(replaces="critical_rate", hint="half the critical one")
def critical_rate_of_a_single_step(n, covariance):
    return right_critical(n, covariance) / 2


@wrong(replaces="critical_rate", hint="1/n missing")
def critical_rate_for_one_row(n, covariance):
    return right_critical(n, covariance) * n


@wrong(replaces="critical_rate", hint="smallest variance, not the smallest eigenvalue")
def critical_rate_of_the_diagonal(n, covariance):
    right_critical(n, covariance)
    return float(2 * covariance.diagonal().min() / n)


@wrong(replaces="critical_rate", hint="should be a float, got a Tensor")
def critical_rate_in_a_tensor(n, covariance):
    right_critical(n, covariance)
    return 2 * torch.linalg.eigvalsh(covariance)[0] / n


@wrong(replaces="critical_rate", hint="covariance=-0.75 was accepted")
def critical_rate_of_any_matrix(n, covariance):
    right_critical(n, torch.eye(2))
    return float(2 * torch.linalg.eigvalsh(covariance)[0] / n)


@wrong(replaces="batch_mean_covariance", trap="E32", hint="as if rows were drawn with replacement")
def noise_with_replacement(data, batch_size):
    right_noise(data, batch_size)
    return torch.cov(data.mT, correction=0).reshape(data.shape[1], -1) / batch_size


@wrong(replaces="batch_mean_covariance", trap="E32", hint="is the factor (1 − k/n), where it is (n−k)/(n−1)")
def noise_with_nearly_the_factor(data, batch_size):
    return right_noise(data, batch_size) * (len(data) - 1) / len(data)


@wrong(replaces="batch_mean_covariance", hint="divided by n, not by k")
def noise_of_the_whole(data, batch_size):
    return right_noise(data, batch_size) * batch_size / len(data)


@wrong(replaces="batch_mean_covariance", hint="divided by n - 1 twice, in S too")
def noise_with_the_unbiased_covariance(data, batch_size):
    return right_noise(data, batch_size) * len(data) / max(len(data) - 1, 1)


@wrong(replaces="batch_mean_covariance", hint="S about 0, not about x̄")
def noise_about_zero(data, batch_size):
    n = len(data)
    right_noise(data, batch_size)
    return data.mT @ data / n / batch_size * (n - batch_size) / max(n - 1, 1)


@wrong(replaces="batch_mean_covariance", hint="batch_size=6 was accepted")
def noise_of_more_rows_than_there_are(data, batch_size):
    return right_noise(data, min(batch_size, len(data)))


def settle(data, covariance, rate, batch_size, change):
    """The stationary covariance, with another formula in the eigenvectors of Σ."""
    right_settled(data, covariance, rate=rate, batch_size=batch_size)
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    a = rate * len(data) / eigenvalues
    noise = vectors.mT @ right_noise(data, batch_size) @ vectors
    return vectors @ change(noise, a, torch.outer(a, a), a[:, None] + a) @ vectors.mT


@wrong(replaces="stationary_covariance", hint="the noise of a single step")
def settled_after_one_step(data, covariance, *, rate, batch_size):
    return settle(data, covariance, rate, batch_size, lambda noise, a, outer, total: noise * outer)


@wrong(replaces="stationary_covariance", hint="as if the rate were small")
def settled_at_small_rates(data, covariance, *, rate, batch_size):
    return settle(data, covariance, rate, batch_size, lambda noise, a, outer, total: noise * outer / total)


@wrong(replaces="stationary_covariance", hint="is the rate missing")
def settled_without_a_rate(data, covariance, *, rate, batch_size):
    return settle(data, covariance, rate, batch_size, lambda noise, a, outer, total: noise)


@wrong(replaces="stationary_covariance", hint="sign of aᵢaⱼ reversed in the denominator")
def settled_with_a_sign_reversed(data, covariance, *, rate, batch_size):
    return settle(data, covariance, rate, batch_size, lambda noise, a, outer, total: noise * outer / (total + outer))


@wrong(replaces="stationary_covariance", hint="their covariances dropped")
def settled_without_covariances(data, covariance, *, rate, batch_size):
    alone = lambda noise, a, outer, total: torch.diag(torch.diag(noise * outer / (total - outer)))  # noqa: E731
    return settle(data, covariance, rate, batch_size, alone)


@wrong(replaces="stationary_covariance", hint="without its n")
def settled_by_the_mean_over_the_rows(data, covariance, *, rate, batch_size):
    right_settled(data, covariance, rate=rate, batch_size=batch_size)
    return right_settled(data, covariance, rate=rate / len(data), batch_size=batch_size)


@wrong(replaces="stationary_covariance", hint="left in the eigenvectors of Σ")
def settled_in_other_coordinates(data, covariance, *, rate, batch_size):
    _, vectors = torch.linalg.eigh(covariance)
    return vectors.mT @ right_settled(data, covariance, rate=rate, batch_size=batch_size) @ vectors


@wrong(replaces="stationary_covariance", hint="rate=0.8 was accepted")
def settled_where_nothing_settles(data, covariance, *, rate, batch_size):
    if rate == right_critical(len(data), covariance):
        rate = np.nextafter(rate, 0)
    return right_settled(data, covariance, rate=rate, batch_size=batch_size)
