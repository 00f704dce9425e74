"""Wrong fits, covariances, likelihoods, descents, floors and networks."""

import numpy as np
import torch
from scipy import stats

from solutions import checks, regression
from tests.wrong_answers import wrong

# Kept: a wrong answer may stand in their places later.
right_batch = regression.draw_batch
right_ols = regression.ols
right_covariance = regression.ols_covariance
right_nll = regression.mean_nll
right_gradient = regression.nll_gradient
right_descend = regression.descend
right_line = regression.best_line
right_floor = regression.nll_floor
right_expected = regression.expected_nll
right_coverage = regression.coverage
right_beta_nll = regression.beta_nll
right_fit_network = regression.fit_network
right_fit_both = regression.fit_mean_and_std
NODES = 20 * (np.arange(200_000) + 0.5) / 200_000  # a midpoint rule for x


# draw_batch


@wrong(replaces="draw_batch", hint="should be a column")
def batch_with_a_row_for_x(rng, target, n):
    x, y = right_batch(rng, target, n)
    return x[:, 0], y


@wrong(replaces="draw_batch", hint="should be (1,)")
def batch_with_a_column_for_y(rng, target, n):
    x, y = right_batch(rng, target, n)
    return x, y[:, None]


@wrong(replaces="draw_batch", trap="E75", hint="variance of the noise seems to be used where its standard deviation")
def batch_with_the_variance_as_std(rng, target, n):
    checks.counting_number(n=n)
    x = rng.uniform(0, 20, n)
    return x[:, None], rng.normal(target.mean(x), target.noise_std(x) ** 2)


@wrong(replaces="draw_batch", trap="E99", hint="and independent of one another (E99)")
def batch_from_one_seed_for_both(rng, target, n):
    checks.counting_number(n=n)
    seed = rng.integers(0, 2**63)
    x = np.random.default_rng(seed).uniform(0, 20, n)
    noise = np.random.default_rng(seed).standard_normal(n)
    return x[:, None], target.mean(x) + target.noise_std(x) * noise


@wrong(replaces="draw_batch", trap="E99", hint="function of x: one seed for both (E99)")
def batch_with_noise_from_x(rng, target, n):
    checks.counting_number(n=n)
    u = rng.random(n)
    return 20 * u[:, None], target.mean(20 * u) + target.noise_std(20 * u) * stats.norm.ppf(u)


@wrong(replaces="draw_batch", hint="one standard deviation, its mean one, for all x")
def batch_with_one_std_for_all(rng, target, n):
    checks.counting_number(n=n)
    x = rng.uniform(0, 20, n)
    std = np.sqrt(np.mean(target.noise_std(NODES) ** 2))
    return x[:, None], target.mean(x) + std * rng.standard_normal(n)


@wrong(replaces="draw_batch", hint="noise seems to have standard deviation 1")
def batch_with_standard_noise(rng, target, n):
    checks.counting_number(n=n)
    x = rng.uniform(0, 20, n)
    return x[:, None], target.mean(x) + rng.standard_normal(n)


@wrong(replaces="draw_batch", hint="x seems to be normal")
def batch_with_normal_inputs(rng, target, n):
    checks.counting_number(n=n)
    x = rng.normal(10, 20 / 12**0.5, n)
    return x[:, None], target.mean(x) + target.noise_std(x) * rng.standard_normal(n)


@wrong(replaces="draw_batch", hint="x seems to be uniform on [0, 1]")
def batch_on_the_unit_interval(rng, target, n):
    checks.counting_number(n=n)
    x = rng.random(n)
    return x[:, None], target.mean(x) + target.noise_std(x) * rng.standard_normal(n)


@wrong(replaces="draw_batch", hint="is rng used, and no grid?")
def batch_on_a_grid(rng, target, n):
    checks.counting_number(n=n)
    x = np.linspace(0, 20, n)
    return x[:, None], target.mean(x) + target.noise_std(x) * rng.standard_normal(n)


@wrong(replaces="draw_batch", hint="x seems to be sorted")
def batch_in_order(rng, target, n):
    checks.counting_number(n=n)
    x = np.sort(rng.uniform(0, 20, n))
    return x[:, None], target.mean(x) + target.noise_std(x) * rng.standard_normal(n)


@wrong(replaces="draw_batch", hint="share one noise")
def batch_with_one_noise(rng, target, n):
    checks.counting_number(n=n)
    x = rng.uniform(0, 20, n)
    return x[:, None], target.mean(x) + target.noise_std(x) * rng.standard_normal()


@wrong(replaces="draw_batch", hint="is rng used?")
def batch_from_the_global_generator(rng, target, n):
    checks.counting_number(n=n)
    x = np.random.uniform(0, 20, n)  # noqa: NPY002
    return x[:, None], target.mean(x) + target.noise_std(x) * np.random.standard_normal(n)  # noqa: NPY002


@wrong(replaces="draw_batch", hint="the same noise for a second call")
def batch_with_noise_of_a_fixed_seed(rng, target, n):
    checks.counting_number(n=n)
    x = rng.uniform(0, 20, n)
    return x[:, None], target.mean(x) + target.noise_std(x) * np.random.default_rng(0).standard_normal(n)


@wrong(replaces="draw_batch", hint="noise seems to be missing")
def batch_without_noise(rng, target, n):
    checks.counting_number(n=n)
    x = rng.uniform(0, 20, n)
    return x[:, None], target.mean(x)


# ols


@wrong(replaces="ols", hint="inverse of xᵀx missing")
def ols_without_the_inverse(x, y):
    right_ols(x, y)  # refuses bad input
    return x.T @ y * 1.0


@wrong(replaces="ols", hint="should have shape (1,)")
def ols_with_x_transposed(x, y):
    right_ols(x, y)
    return np.linalg.pinv(x @ x.T) @ x @ x.T @ y


@wrong(replaces="ols", hint="was an intercept added?")
def ols_with_an_intercept(x, y):
    right_ols(x, y)
    return np.linalg.lstsq(np.column_stack([np.ones(len(x)), x]), y, rcond=None)[0]


@wrong(replaces="ols", hint="were x and y centred?")
def ols_of_centred_data(x, y):
    right_ols(x, y)
    return np.linalg.lstsq(x - x.mean(0), y - y.mean(), rcond=None)[0]


@wrong(replaces="ols", hint="regression of x on y?")
def ols_of_x_on_y(x, y):
    right_ols(x, y)
    return x.T @ y / (y @ y)


@wrong(replaces="ols", hint="one step of gradient descent")
def ols_by_one_gradient_step(x, y):
    right_ols(x, y)
    return x.T @ y / len(y)


@wrong(replaces="ols", hint="each column fitted by itself")
def ols_column_by_column(x, y):
    right_ols(x, y)
    return x.T @ y / np.sum(x**2, axis=0)


@wrong(replaces="ols", hint="was accepted, and returned")
def ols_of_minimum_norm(x, y):
    regression.mean_nll(np.zeros(np.shape(x)[1]) if np.ndim(x) == 2 else np.zeros(1), x, y, 1.0)
    return np.linalg.lstsq(x, y, rcond=None)[0]


@wrong(replaces="ols", trap="E89", hint="should mention ['x'")
def ols_that_leaves_it_to_the_inverse(x, y):
    regression.mean_nll(np.zeros(np.shape(x)[1]) if np.ndim(x) == 2 else np.zeros(1), x, y, 1.0)
    gram = x.T @ x
    if np.linalg.matrix_rank(gram) < len(gram):
        raise ValueError("Singular matrix")
    return right_ols(x, y)


@wrong(replaces="ols", hint="are these the normal equations")
def ols_by_the_normal_equations(x, y):
    right_ols(x, y)
    return np.linalg.solve(x.T @ x, x.T @ y)


@wrong(replaces="ols", hint="are these the normal equations")
def ols_with_a_little_ridge(x, y):
    right_ols(x, y)
    return np.linalg.solve(x.T @ x + 1e-12 * np.eye(x.shape[1]), x.T @ y)


@wrong(replaces="ols", hint="cut to whole numbers")
def ols_in_the_type_of_x(x, y):
    return right_ols(x, y).astype(np.asarray(x).dtype)


@wrong(replaces="ols", trap="E88", hint="is it xᵀx where its inverse belongs?")
def ols_multiplied_by_the_gram_matrix(x, y):
    right_ols(x, y)
    return x.T @ x @ x.T @ y * 1.0


@wrong(replaces="ols", hint="whose condition number is that of x squared?")
def ols_that_cuts_small_singular_values(x, y):
    right_ols(x, y)
    return np.linalg.lstsq(x, y, rcond=1e-6)[0]


@wrong(replaces="ols", hint="is badly conditioned")
def ols_that_refuses_too_much(x, y):
    beta = right_ols(x, y)
    if np.linalg.cond(x) > 1e6:
        raise ValueError(f"x is badly conditioned, got {np.linalg.cond(x):.2g}")
    return beta


@wrong(replaces="ols", hint="in the type of x")
def ols_in_bytes(x, y):
    right = right_ols(x, y)
    return right if x.dtype.kind == "f" else np.linalg.solve((x.T @ x).astype(float), (x.T @ y).astype(float))


@wrong(replaces="ols", hint="for lying far off")
def ols_without_outliers(x, y):
    beta = right_ols(x, y)
    off = np.abs(y - x @ beta)
    kept = off <= 4 * np.sqrt(np.mean(off**2)) + 1e-9
    return right_ols(x[kept], y[kept])


# ols_covariance


@wrong(replaces="ols_covariance", hint="is the inverse of xᵀx missing?")
def covariance_without_the_inverse(x, noise_variance):
    right_covariance(x, noise_variance)
    return x.T @ (np.reshape(np.broadcast_to(noise_variance, len(x)), (-1, 1)) * x)


@wrong(replaces="ols_covariance", trap="E86", hint="is σ² forgotten?")
def covariance_without_the_noise(x, noise_variance):
    right_covariance(x, noise_variance)
    return np.linalg.inv(x.T @ x)


@wrong(replaces="ols_covariance", trap="E75", hint="σ where σ² belongs")
def covariance_with_a_std(x, noise_variance):
    return right_covariance(x, np.sqrt(checked_variance(noise_variance)))


def checked_variance(noise_variance):
    checks.positive(noise_variance=noise_variance)
    return noise_variance


@wrong(replaces="ols_covariance", trap="E75", hint="noise_variance squared once more")
def covariance_of_a_variance_taken_for_a_std(x, noise_variance):
    right_covariance(x, noise_variance)
    return right_covariance(x, np.square(noise_variance))


@wrong(replaces="ols_covariance", hint="divided by n too")
def covariance_divided_by_n(x, noise_variance):
    return right_covariance(x, noise_variance) / len(x)


@wrong(replaces="ols_covariance", trap="E86", hint="(xxᵀ)⁻¹ where (xᵀx)⁻¹ belongs")
def covariance_with_x_transposed(x, noise_variance):
    right_covariance(x, noise_variance)
    return np.mean(noise_variance) * np.linalg.pinv(x @ x.T)


@wrong(replaces="ols_covariance", trap="E92", hint="was one mean variance used for all rows?")
def covariance_with_the_mean_variance(x, noise_variance):
    right_covariance(x, noise_variance)
    return right_covariance(x, float(np.mean(noise_variance)))


@wrong(replaces="ols_covariance", hint="n/(n - m)")
def covariance_with_degrees_of_freedom(x, noise_variance):
    n, m = np.shape(x)
    return right_covariance(x, noise_variance) * n / max(n - m, 1)


@wrong(replaces="ols_covariance", hint="is one slice of the bread missing?")
def covariance_with_one_slice_of_bread(x, noise_variance):
    right = right_covariance(x, noise_variance)
    if not np.ndim(noise_variance):
        return right
    return np.linalg.inv(x.T @ x) @ x.T @ (noise_variance[:, None] * x)


@wrong(replaces="ols_covariance", hint="covariance of weighted least squares")
def covariance_of_weighted_rows(x, noise_variance):
    right_covariance(x, noise_variance)
    return np.linalg.inv(x.T @ (x / np.reshape(np.broadcast_to(noise_variance, len(x)), (-1, 1))))


@wrong(replaces="ols_covariance", hint="without the covariances")
def covariance_as_a_row_of_variances(x, noise_variance):
    return np.diag(right_covariance(x, noise_variance))


@wrong(replaces="ols_covariance", hint="noise_variance=-1.0 was accepted")
def covariance_of_any_variance(x, noise_variance):
    checks.table(x=x)
    if np.ndim(noise_variance):
        checks.of_shape((len(x),), noise_variance=noise_variance)
    inverse = np.linalg.pinv(x)
    return (inverse * noise_variance) @ inverse.T


@wrong(replaces="ols_covariance", hint="whose condition number is that of x squared?")
def covariance_by_the_normal_equations(x, noise_variance):
    right_covariance(x, noise_variance)
    x = np.asarray(x, float)
    inverse = np.linalg.inv(x.T @ x)
    return inverse @ (x.T * noise_variance) @ x @ inverse


# mean_nll


def squares(beta, x, y, std):
    """The mean of the squared residuals in units of std, after all checks."""
    right_nll(beta, x, y, std)
    return (((y - x @ beta) / std) ** 2).mean()


@wrong(replaces="mean_nll", hint="constant ½ log 2π dropped")
def nll_without_two_pi(beta, x, y, std):
    return np.log(std) + 0.5 * squares(beta, x, y, std)


@wrong(replaces="mean_nll", hint="constant ½ log 2πσ² dropped")
def nll_without_its_constant(beta, x, y, std):
    return 0.5 * squares(beta, x, y, std)


@wrong(replaces="mean_nll", trap="E75", hint="was std taken for a variance?")
def nll_of_a_variance(beta, x, y, std):
    right_nll(beta, x, y, std)
    return right_nll(beta, x, y, float(np.sqrt(std)))


@wrong(replaces="mean_nll", trap="E75", hint="variance used where the standard deviation belongs")
def nll_with_the_variance_as_std(beta, x, y, std):
    right_nll(beta, x, y, std)
    return right_nll(beta, x, y, std**2)


@wrong(replaces="mean_nll", hint="sum over the rows, not their mean")
def nll_summed(beta, x, y, std):
    return right_nll(beta, x, y, std) * len(y)


@wrong(replaces="mean_nll", hint="sum of squares not divided by n")
def nll_with_summed_squares(beta, x, y, std):
    return 0.5 * np.log(2 * np.pi * std**2) + 0.5 * len(y) * squares(beta, x, y, std)


@wrong(replaces="mean_nll", trap="E87", hint="is the log missing (E87)?")
def nll_without_the_log(beta, x, y, std):
    right_nll(beta, x, y, std)
    z = (y - x @ beta) / std
    mean = (np.exp(-0.5 * z**2) if isinstance(z, np.ndarray) else torch.exp(-0.5 * z**2)).mean()
    return -mean / (np.sqrt(2 * np.pi) * std)


@wrong(replaces="mean_nll", trap="E87", hint="log of the mean density, not the mean of the logs")
def nll_of_the_mean_density(beta, x, y, std):
    right_nll(beta, x, y, std)
    z = (y - x @ beta) / std
    mean = (np.exp(-0.5 * z**2) if isinstance(z, np.ndarray) else torch.exp(-0.5 * z**2)).mean()
    return 0.5 * np.log(2 * np.pi * std**2) - (np.log(mean) if isinstance(z, np.ndarray) else torch.log(mean))


@wrong(replaces="mean_nll", hint="is the sign reversed?")
def nll_with_the_sign_of_a_likelihood(beta, x, y, std):
    return -right_nll(beta, x, y, std)


@wrong(replaces="mean_nll", hint="½ of the squares missing")
def nll_without_the_half(beta, x, y, std):
    return 0.5 * np.log(2 * np.pi * std**2) + squares(beta, x, y, std)


@wrong(replaces="mean_nll", hint="log σ² where log σ belongs")
def nll_with_the_whole_log_variance(beta, x, y, std):
    return 0.5 * np.log(2 * np.pi) + np.log(std**2) + 0.5 * squares(beta, x, y, std)


@wrong(replaces="mean_nll", hint="should be a tensor")
def nll_in_numpy_alone(beta, x, y, std):
    right_nll(beta, x, y, std)
    return float(right_nll(*(np.asarray(part) for part in (beta, x, y)), std))


@wrong(replaces="mean_nll", trap="E100", hint="std=-1.0 was accepted")
def nll_of_any_std(beta, x, y, std):
    checks.table(x=x)
    checks.finite(y=y, beta=beta)
    checks.of_shape((len(x),), y=y)
    checks.of_shape((x.shape[1],), beta=beta)
    return 0.5 * np.log(2 * np.pi * std**2) + 0.5 * (((y - x @ beta) / std) ** 2).mean()


@wrong(replaces="mean_nll", hint="is the square multiplied out")
def nll_with_the_square_multiplied_out(beta, x, y, std):
    right_nll(beta, x, y, std)
    square = y @ y - 2 * (beta @ (x.T @ y)) + beta @ (x.T @ x) @ beta
    return 0.5 * np.log(2 * np.pi * std**2) + square / (2 * len(y) * std**2)


# nll_gradient


@wrong(replaces="nll_gradient", trap="E93", hint="is the sign reversed? Or is the residual xβ - y?")
def gradient_of_the_likelihood(beta, x, y, std):
    return -right_gradient(beta, x, y, std)


@wrong(replaces="nll_gradient", hint="is 1/n missing")
def gradient_of_the_sum(beta, x, y, std):
    return right_gradient(beta, x, y, std) * len(y)


@wrong(replaces="nll_gradient", hint="is 1/σ² missing?")
def gradient_without_the_variance(beta, x, y, std):
    return right_gradient(beta, x, y, std) * std**2


@wrong(replaces="nll_gradient", hint="1/σ where 1/σ² belongs")
def gradient_over_the_std(beta, x, y, std):
    return right_gradient(beta, x, y, std) * std


@wrong(replaces="nll_gradient", hint="square without its ½")
def gradient_twice_too_large(beta, x, y, std):
    return 2 * right_gradient(beta, x, y, std)


@wrong(replaces="nll_gradient", hint="is β forgotten")
def gradient_at_zero(beta, x, y, std):
    return right_gradient(0 * beta, x, y, std) + 0 * right_gradient(beta, x, y, std)


@wrong(replaces="nll_gradient", hint="should have shape (1,)")
def gradient_of_each_row(beta, x, y, std):
    right_gradient(beta, x, y, std)
    return -x * (y - x @ beta)[:, None] / (len(y) * std**2)


# descend


def go_down(x, y, start, rate, steps, std=1.0, factor=1.0):
    """The right descent, with its gradient multiplied by a factor, which may be wrong."""
    checks.counting_number(steps=steps)
    right_descend(x, y, start=start, rate=rate, steps=1, std=std)  # refuses bad input
    betas = [np.broadcast_to(np.asarray(start, float), x.shape[1:]).copy()]
    for _ in range(steps):
        step = rate * factor * right_gradient(betas[-1], x, y, std)
        betas.append(betas[-1] - step)
        if not np.isfinite(betas[-1]).all():
            raise OverflowError
    return regression.Descent(np.array(betas), np.array([right_nll(beta, x, y, std) for beta in betas]))


@wrong(replaces="descend", hint="does it go up?")
def descend_upwards(x, y, *, start, rate, steps, std=1.0):
    return go_down(x, y, start, rate, steps, std, factor=-1)


@wrong(replaces="descend", trap="E94", hint="is y ignored (E94)?")
def descend_to_a_line(x, y, *, start, rate, steps, std=1.0):
    checks.counting_number(steps=steps)
    right_descend(x, y, start=start, rate=rate, steps=1, std=std)
    return go_down(x, 2.0 * x.sum(axis=1), start, rate, steps, std)


@wrong(replaces="descend", trap="E97", hint="descend wrote to its start")
def descend_in_place(x, y, *, start, rate, steps, std=1.0):
    path = go_down(x, y, start, rate, steps, std)
    if np.ndim(start) and start.dtype == float:
        start[:] = path.betas[-1]
    return path


@wrong(replaces="descend", hint="is the start left out?")
def descend_without_its_start(x, y, *, start, rate, steps, std=1.0):
    path = go_down(x, y, start, rate, steps, std)
    return regression.Descent(path.betas[1:], path.losses[1:])


@wrong(replaces="descend", hint="loss at the start left out")
def descend_without_the_first_loss(x, y, *, start, rate, steps, std=1.0):
    path = go_down(x, y, start, rate, steps, std)
    return regression.Descent(path.betas, path.losses[1:])


@wrong(replaces="descend", hint="gradient that of the sum, not of the mean")
def descend_by_the_sum(x, y, *, start, rate, steps, std=1.0):
    return go_down(x, y, start, rate, steps, std, factor=len(y))


@wrong(replaces="descend", hint="is std ignored?")
def descend_without_the_std(x, y, *, start, rate, steps, std=1.0):
    return go_down(x, y, start, rate, steps, std, factor=std**2)


@wrong(replaces="descend", hint="is std ignored in the losses?")
def descend_with_losses_at_std_one(x, y, *, start, rate, steps, std=1.0):
    path = go_down(x, y, start, rate, steps, std)
    return path._replace(losses=np.array([right_nll(beta, x, y, 1.0) for beta in path.betas]))


@wrong(replaces="descend", hint="mean squared residual, not mean_nll")
def descend_with_losses_of_least_squares(x, y, *, start, rate, steps, std=1.0):
    path = go_down(x, y, start, rate, steps, std)
    return path._replace(losses=np.array([np.mean((y - x @ beta) ** 2) for beta in path.betas]))


@wrong(replaces="descend", hint="written over and over")
def descend_in_one_array(x, y, *, start, rate, steps, std=1.0):
    path = go_down(x, y, start, rate, steps, std)
    return path._replace(betas=np.tile(path.betas[-1], (steps + 1, 1)))


@wrong(replaces="descend", hint="should have raised OverflowError")
def descend_into_nan(x, y, *, start, rate, steps, std=1.0):
    try:
        return go_down(x, y, start, rate, steps, std)
    except OverflowError:
        return regression.Descent(np.full((steps + 1, x.shape[1]), np.nan), np.full(steps + 1, np.nan))


@wrong(replaces="descend", hint="should give 61 of each")
def descend_until_it_stops(x, y, *, start, rate, steps, std=1.0):
    path = go_down(x, y, start, rate, steps, std)
    still = np.flatnonzero(np.abs(np.diff(path.losses)) < 1e-15)
    end = still[0] + 2 if len(still) else steps + 1
    return regression.Descent(path.betas[:end], path.losses[:end])


@wrong(replaces="descend", hint="cut to whole numbers because start is")
def descend_in_the_type_of_start(x, y, *, start, rate, steps, std=1.0):
    path = go_down(x, y, start, rate, steps, std)
    return path._replace(betas=path.betas.astype(np.asarray(start).dtype))


# best_line


@wrong(replaces="best_line", hint="E f/E x where E[xf]/E[x²] belongs")
def line_through_the_means(target):
    best = right_line(target)
    return best._replace(slope=float(np.mean(target.mean(NODES)) / 10))


@wrong(replaces="best_line", hint="slope of the line with an intercept")
def line_with_an_intercept(target):
    best = right_line(target)
    return best._replace(slope=float(np.polyfit(NODES, target.mean(NODES), 1)[0]))


@wrong(replaces="best_line", trap="E94", hint="slope 2 of the line inside the target")
def line_without_the_wave(target):
    best = right_line(target)
    return best._replace(slope=2.0)


def misfit_and_noise(target):
    """E(f - βx)² and E s²."""
    misfit = np.mean((target.mean(NODES) - right_line(target).slope * NODES) ** 2)
    return float(misfit), float(np.mean(target.noise_std(NODES) ** 2))


def line_of_variance(target, variance):
    """The right slope, with a variance that may be wrong, and its NLL."""
    nll = 0.5 * np.log(2 * np.pi * np.e * variance)
    return regression.BestLine(right_line(target).slope, float(np.sqrt(variance)), float(nll))


@wrong(replaces="best_line", trap="E91", hint="is the misfit E(f - βx)² forgotten?")
def line_that_forgets_the_misfit(target):
    return line_of_variance(target, misfit_and_noise(target)[1])


@wrong(replaces="best_line", hint="is the noise E s² forgotten?")
def line_that_forgets_the_noise(target):
    return line_of_variance(target, misfit_and_noise(target)[0] + 1e-30)


@wrong(replaces="best_line", hint="standard deviation of y, not of the residual")
def line_with_the_variance_of_y(target):
    return line_of_variance(target, float(np.var(target.mean(NODES)) + misfit_and_noise(target)[1]))


@wrong(replaces="best_line", trap="E75", hint="is this a variance: is the root missing?")
def line_with_a_variance(target):
    best = right_line(target)
    return best._replace(std=best.std**2)


@wrong(replaces="best_line", hint="is the ½ for the square missing")
def line_without_the_half(target):
    best = right_line(target)
    return best._replace(nll=best.nll - 0.5)


# nll_floor


@wrong(replaces="nll_floor", hint="log2 for the natural logarithm")
def floor_in_bits(target, std=None):
    return right_floor(target, std) / np.log(2)


@wrong(replaces="nll_floor", hint="is the ½ of the square missing")
def floor_without_the_half(target, std=None):
    return right_floor(target, std) - (0.5 if std is None else 0.0)


@wrong(replaces="nll_floor", hint="was s² averaged before the log (Jensen)?")
def floor_of_the_mean_variance(target, std=None):
    if std is not None:
        return right_floor(target, std)
    return float(0.5 * np.log(2 * np.pi * np.e * np.mean(target.noise_std(NODES) ** 2)))


@wrong(replaces="nll_floor", hint="was s averaged before the log (Jensen)?")
def floor_of_the_mean_std(target, std=None):
    if std is not None:
        return right_floor(target, std)
    return float(0.5 * np.log(2 * np.pi * np.e) + np.log(np.mean(target.noise_std(NODES))))


@wrong(replaces="nll_floor", hint="is the given std ignored?")
def floor_without_the_std(target, std=None):
    right_floor(target, std)
    return right_floor(target)


@wrong(replaces="nll_floor", trap="E75", hint="was std taken for a variance?")
def floor_of_a_variance(target, std=None):
    right_floor(target, std)
    return right_floor(target, None if std is None else float(np.sqrt(std)))


@wrong(replaces="nll_floor", hint="is the noise s² forgotten?")
def floor_without_the_noise(target, std=None):
    right = right_floor(target, std)
    return right if std is None else float(0.5 * np.log(2 * np.pi * std**2))


@wrong(replaces="nll_floor", trap="E95", hint="as if the noise were the given std")
def floor_of_the_given_std_alone(target, std=None):
    right = right_floor(target, std)
    return right if std is None else float(0.5 * np.log(2 * np.pi * np.e * std**2))


@wrong(replaces="nll_floor", hint="s⁴ in the log?")
def floor_with_a_variance_squared(target, std=None):
    right = right_floor(target, std)
    return right + float(np.mean(np.log(target.noise_std(NODES)))) if std is None else right


# expected_nll


def predicted(network, x, std):
    """Mean and std at x (n,)."""
    parts = network(x[:, None])
    mean, band = parts if isinstance(parts, tuple) else (parts, std)
    return np.asarray(mean, float), np.asarray(band, float)


@wrong(replaces="expected_nll", hint="is the misfit f - f̂ ignored?")
def expected_without_the_misfit(network, target, std=None):
    right_expected(network, target, std)
    _, band = predicted(network, NODES, std)
    return float(np.mean(0.5 * np.log(2 * np.pi * band**2) + target.noise_std(NODES) ** 2 / (2 * band**2)))


@wrong(replaces="expected_nll", hint="is the noise s² forgotten?")
def expected_of_the_mean_alone(network, target, std=None):
    right_expected(network, target, std)
    mean, band = predicted(network, NODES, std)
    return float(-np.mean(stats.norm.logpdf(target.mean(NODES), mean, band)))


@wrong(replaces="expected_nll", trap="E90", hint="estimated from a test set")
def expected_on_a_test_set(network, target, std=None):
    right_expected(network, target, std)
    x, y = right_batch(np.random.default_rng(0), target, 100_000)
    mean, band = predicted(network, x[:, 0], std)
    return float(-np.mean(stats.norm.logpdf(y, mean, band)))


@wrong(replaces="expected_nll", hint="by too coarse a rule")
def expected_by_an_unweighted_mean(network, target, std=None):
    right_expected(network, target, std)
    u, _ = np.polynomial.legendre.leggauss(200)
    x = 10 * (u + 1)
    mean, band = predicted(network, x, std)
    noise = target.noise_std(x) ** 2 + (target.mean(x) - mean) ** 2
    return float(np.mean(0.5 * np.log(2 * np.pi * band**2) + noise / (2 * band**2)))


@wrong(replaces="expected_nll", hint="is this the floor, whatever the prediction?")
def expected_of_the_truth(network, target, std=None):
    right_expected(network, target, std)
    return right_floor(target)


@wrong(replaces="expected_nll", hint="is the given std ignored")
def expected_with_the_noise_for_the_std(network, target, std=None):
    right = right_expected(network, target, std)
    if std is None:
        return right
    return right_expected(lambda x: (network(x), target.noise_std(np.asarray(x)[:, 0]) + 1e-300), target)


@wrong(replaces="expected_nll", hint="should have raised ValueError")
def expected_of_any_std(network, target, std=None):
    if std is not None:
        return right_expected(network, target, std)
    mean, band = predicted(network, NODES, std)
    noise = target.noise_std(NODES) ** 2 + (target.mean(NODES) - mean) ** 2
    with np.errstate(all="ignore"):
        if np.all(band > 0):
            return right_expected(network, target, std)
        return float(np.mean(0.5 * np.log(2 * np.pi * band**2) + noise / (2 * band**2)))


# coverage


def covered(network, target, x, level, std, reach=lambda z, band: z * band, bias=1.0):
    """The right coverage, but for how far the band reaches and how much of the bias is seen."""
    right_coverage(network, target, x, level=level, std=std)
    mean, band = predicted(network, x, std)
    off, s = bias * (mean - target.mean(x)), target.noise_std(x)
    half = reach(stats.norm.ppf((1 + level) / 2), band)
    return stats.norm.cdf((off + half) / s) - stats.norm.cdf((off - half) / s)


@wrong(replaces="coverage", hint="is level taken for z?")
def coverage_with_the_level_as_z(network, target, x, *, level=0.95, std=None):
    return covered(network, target, x, level, std, lambda _, band: level * band)


@wrong(replaces="coverage", hint="is z one-sided")
def coverage_with_a_one_sided_z(network, target, x, *, level=0.95, std=None):
    return covered(network, target, x, level, std, lambda _, band: stats.norm.ppf(level) * band)


@wrong(replaces="coverage", trap="E75", hint="is z multiplied by the variance?")
def coverage_with_a_variance(network, target, x, *, level=0.95, std=None):
    return covered(network, target, x, level, std, lambda z, band: z * band**2)


@wrong(replaces="coverage", hint="is the bias f̂ - f ignored?")
def coverage_without_the_bias(network, target, x, *, level=0.95, std=None):
    return covered(network, target, x, level, std, bias=0.0)


@wrong(replaces="coverage", trap="E101", hint="is the level returned whatever the band?")
def coverage_as_claimed(network, target, x, *, level=0.95, std=None):
    return np.full(len(x), float(level)) + 0 * right_coverage(network, target, x, level=level, std=std)


@wrong(replaces="coverage", hint="is z fixed at 1.96 or 2?")
def coverage_at_95_percent(network, target, x, *, level=0.95, std=None):
    return covered(network, target, x, level, std, lambda _, band: 1.959963984540054 * band)


@wrong(replaces="coverage", hint="share outside the band")
def coverage_of_what_is_missed(network, target, x, *, level=0.95, std=None):
    return 1 - right_coverage(network, target, x, level=level, std=std)


@wrong(replaces="coverage", hint="is it 0 or 1: is the noise forgotten?")
def coverage_of_the_true_mean(network, target, x, *, level=0.95, std=None):
    right_coverage(network, target, x, level=level, std=std)
    mean, band = predicted(network, x, std)
    return (np.abs(mean - target.mean(x)) <= stats.norm.ppf((1 + level) / 2) * band).astype(float)


# beta_nll


@wrong(replaces="beta_nll", hint="is the weight differentiated too?")
def beta_nll_without_a_stop(mean, std, y, beta):
    right_beta_nll(mean, std, y, beta)
    return (std ** (2 * beta) * (torch.log(std) + 0.5 * ((y - mean) / std) ** 2)).mean()


@wrong(replaces="beta_nll", hint="is the weight divided by")
def beta_nll_divided_by_the_weight(mean, std, y, beta):
    right_beta_nll(mean, std, y, beta)
    return (std.detach() ** (-2 * beta) * (torch.log(std) + 0.5 * ((y - mean) / std) ** 2)).mean()


@wrong(replaces="beta_nll", trap="E75", hint="σ^β where σ^{2β} belongs")
def beta_nll_with_a_std_for_a_variance(mean, std, y, beta):
    right_beta_nll(mean, std, y, beta)
    return (std.detach() ** beta * (torch.log(std) + 0.5 * ((y - mean) / std) ** 2)).mean()


@wrong(replaces="beta_nll", hint="is the weight left out?")
def beta_nll_without_the_weight(mean, std, y, beta):
    right_beta_nll(mean, std, y, beta)
    return (torch.log(std) + 0.5 * ((y - mean) / std) ** 2).mean()


@wrong(replaces="beta_nll", hint="is std detached everywhere, and not in the weight alone?")
def beta_nll_with_every_std_detached(mean, std, y, beta):
    return right_beta_nll(mean, std.detach(), y, beta)


@wrong(replaces="beta_nll", hint="constant ½ log 2π kept")
def beta_nll_with_its_constant(mean, std, y, beta):
    return right_beta_nll(mean, std, y, beta) + 0.5 * np.log(2 * np.pi) * (std.detach() ** (2 * beta)).mean()


@wrong(replaces="beta_nll", hint="sum over the rows, not their mean")
def beta_nll_summed(mean, std, y, beta):
    return right_beta_nll(mean, std, y, beta) * len(y)


@wrong(replaces="beta_nll", hint="is σ cut off?")
def beta_nll_of_a_clamped_std(mean, std, y, beta):
    right_beta_nll(mean, std, y, beta)
    return right_beta_nll(mean, std.clamp(min=1e-3), y, beta)


# fit_network


class Around(torch.nn.Module):
    """A network with something done to what goes in or comes out."""

    def __init__(self, network, before=lambda x: x, after=lambda *parts: parts):
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, x):
        x = torch.as_tensor(x)
        parts = self.network(x)  # refuses bad input
        parts = self.network(self.before(x))
        parts = self.after(*parts) if isinstance(parts, tuple) else self.after(parts)
        return parts if len(parts) > 1 else parts[0]


def units(x, y):
    """Mean and standard deviation of x and of y."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    return x.mean(0), x.std(0), y.mean(), y.std()


class Raw(torch.nn.Module):
    """One layer of tanh units on raw inputs, with weights of unit scale."""

    def __init__(self, columns, hidden, outputs, generator, dtype):
        super().__init__()
        shapes = [(columns, hidden), (hidden,), (hidden, outputs), (outputs,)]
        self.weights = [torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]

    def forward(self, x):
        x = torch.as_tensor(x).to(self.weights[0].dtype)
        checks.rows(x=x)
        checks.of_shape((len(x), len(self.weights[0])), x=x)
        w, b, v, c = self.weights
        return torch.tanh(x @ w + b) @ v + c


def train_raw(x, y, hidden, outputs, generator):
    """What is left of the training when the inputs are raw and the rate is 1e-4."""
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    x, y = (part if part.is_floating_point() else part.double() for part in (x, y))
    generator = generator if generator is not None else torch.Generator().manual_seed(torch.seed() % 2**31)
    network = Raw(x.shape[1], hidden, outputs, generator, x.dtype)
    optimizer = torch.optim.Adam(network.weights, lr=1e-4)
    for _ in range(300):
        optimizer.zero_grad()
        out = network(x)
        log_std = out[:, 1] if outputs == 2 else torch.zeros(len(x), dtype=x.dtype)
        (log_std + 0.5 * ((y - out[:, 0]) * torch.exp(-log_std)) ** 2).mean().backward()
        optimizer.step()
    return network


@wrong(replaces="fit_network", trap="E95", hint="has the training come to its end (E95, E96)?")
def network_on_raw_inputs(x, y, *, hidden=10, steps=200, generator=None):
    right_fit_network(x, y, hidden=hidden, steps=1)  # refuses bad input
    return Around(train_raw(x, y, hidden, 1, generator), after=lambda out: (out[:, 0].detach(),))


@wrong(replaces="fit_network", trap="E95", hint="has the training come to its end (E95, E96)?")
def network_that_was_not_trained(x, y, *, hidden=10, steps=200, generator=None):
    return right_fit_network(x, y, hidden=hidden, steps=min(steps, 3), generator=generator)


@wrong(replaces="fit_network", hint="does it want inputs that somebody else has standardised?")
def network_for_standardised_inputs(x, y, *, hidden=10, steps=200, generator=None):
    network = right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)
    centre, spread, _, _ = units(x, y)
    return Around(network, lambda x: x * torch.as_tensor(spread) + torch.as_tensor(centre))


@wrong(replaces="fit_network", hint="is the mean in units of the standardised y?")
def network_in_standard_units(x, y, *, hidden=10, steps=200, generator=None):
    network = right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)
    _, _, centre, spread = units(x, y)
    return Around(network, after=lambda mean: ((mean - float(centre)) / float(spread),))


@wrong(replaces="fit_network", hint="are inputs standardised by the x just given?")
def network_that_standardises_what_it_is_given(x, y, *, hidden=10, steps=200, generator=None):
    network = right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)
    centre, spread, _, _ = (torch.as_tensor(part) for part in units(x, y))

    def standardise(x):
        return (x - x.mean(0)) / (x.std(0, correction=0) + 1e-9) * spread + centre

    return Around(network, standardise)


@wrong(replaces="fit_network", hint="are both columns used?")
def network_of_the_first_column(x, y, *, hidden=10, steps=200, generator=None):
    right_fit_network(x, y, hidden=hidden, steps=1)  # refuses bad input
    network = right_fit_network(x[:, :1], y, hidden=hidden, steps=steps, generator=generator)

    class First(torch.nn.Module):
        def forward(self, new):
            new = torch.as_tensor(new)
            checks.rows(x=new)
            checks.of_shape((len(new), x.shape[1]), x=new)
            return network(new[:, :1])

    return First()


@wrong(replaces="fit_network", hint="asks for a gradient: detach it")
def network_that_keeps_its_graph(x, y, *, hidden=10, steps=200, generator=None):
    return right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator).requires_grad_(True)


@wrong(replaces="fit_network", hint="returns torch.float64")
def network_in_double_precision(x, y, *, hidden=10, steps=200, generator=None):
    return right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator).double()


@wrong(replaces="fit_network", trap="E99", hint="is generator used?")
def network_from_a_global_seed(x, y, *, hidden=10, steps=200, generator=None):
    return right_fit_network(x, y, hidden=hidden, steps=steps)


@wrong(replaces="fit_network", hint="not (5,)")
def network_with_a_column(x, y, *, hidden=10, steps=200, generator=None):
    network = right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)
    return Around(network, after=lambda mean: (mean[:, None],))


@wrong(replaces="fit_network", hint="standardised in place")
def network_that_standardises_in_place(x, y, *, hidden=10, steps=200, generator=None):
    network = right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)
    if x.dtype in (np.float64, torch.float64):
        x -= x.mean(0)
    return network


@wrong(replaces="fit_network", trap="E99", hint="seeds PyTorch's global generator")
def network_that_seeds_everything(x, y, *, hidden=10, steps=200, generator=None):
    if generator is not None:
        torch.manual_seed(generator.initial_seed())
    return right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)


@wrong(replaces="fit_network", hint="without a generator gives the same network twice")
def network_with_a_seed_of_its_own(x, y, *, hidden=10, steps=200, generator=None):
    generator = generator or torch.Generator().manual_seed(0)
    return right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)


@wrong(replaces="fit_network", hint="is hidden used?")
def network_of_ten_units_always(x, y, *, hidden=10, steps=200, generator=None):
    right_fit_network(x, y, hidden=hidden, steps=1)  # refuses bad input
    return right_fit_network(x, y, steps=steps, generator=generator)


@wrong(replaces="fit_network", trap="E99", hint="does it draw from the generator, or take its seed alone?")
def network_from_the_seed_of_its_generator(x, y, *, hidden=10, steps=200, generator=None):
    generator = generator and torch.Generator().manual_seed(generator.initial_seed())
    return right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)


@wrong(replaces="fit_network", trap="E99", hint="depends on PyTorch's global one")
def network_from_the_global_generator(x, y, *, hidden=10, steps=200, generator=None):
    return right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator or torch.default_generator)


@wrong(replaces="fit_network", hint="is each row used?")
def network_of_four_fifths_of_the_rows(x, y, *, hidden=10, steps=200, generator=None):
    right_fit_network(x, y, hidden=hidden, steps=1)  # refuses bad input
    n = max(len(x) * 4 // 5, 2)  # the others are kept for validation
    return right_fit_network(x[:n], y[:n], hidden=hidden, steps=steps, generator=generator)


@wrong(replaces="fit_network", hint="does it keep a view?")
def network_with_a_view_of_its_data(x, y, *, hidden=10, steps=200, generator=None):
    network = right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)
    y = torch.as_tensor(y)
    centre = y.double().mean()
    return Around(network, after=lambda mean: ((mean - centre + y.double().mean()).to(mean.dtype),))


# fit_mean_and_std


@wrong(replaces="fit_mean_and_std", trap="E96", hint="has the training come to its end (E95, E96)?")
def both_on_raw_inputs(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    right_fit_both(x, y, hidden=hidden, steps=1, beta=beta, warm_up=min(warm_up, 2))  # refuses bad input
    network = train_raw(x, y, hidden, 2, generator)
    return Around(network, after=lambda out: (out[:, 0].detach(), torch.exp(out[:, 1]).detach()))


def both_after(after):
    """The right fit with something done to its mean and std."""

    def fit(x, y, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
        options = {"hidden": hidden, "steps": steps, "beta": beta, "warm_up": warm_up, "generator": generator}
        network = right_fit_both(x, y, **options)
        _, _, centre, spread = units(x, y)
        return Around(network, after=lambda mean, std: after(mean, std, float(centre), float(spread)))

    return fit


@wrong(replaces="fit_mean_and_std", hint="is the second output log σ, where σ was asked for?")
def both_with_a_log_std(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    fit = both_after(lambda mean, std, *_: (mean, torch.log(std)))
    return fit(x, y, hidden, steps, beta, warm_up, generator)


@wrong(replaces="fit_mean_and_std", trap="E75", hint="is the second output σ², where σ was asked for?")
def both_with_a_variance(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    fit = both_after(lambda mean, std, *_: (mean, std**2))
    return fit(x, y, hidden, steps, beta, warm_up, generator)


@wrong(replaces="fit_mean_and_std", hint="is the second output log σ², where σ was asked for?")
def both_with_a_log_variance(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    fit = both_after(lambda mean, std, *_: (mean, 2 * torch.log(std)))
    return fit(x, y, hidden, steps, beta, warm_up, generator)


@wrong(replaces="fit_mean_and_std", hint="from data in other units")
def both_with_a_std_in_standard_units(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    fit = both_after(lambda mean, std, _, spread: (mean, std / spread))
    return fit(x, y, hidden, steps, beta, warm_up, generator)


@wrong(replaces="fit_mean_and_std", hint="are x and y standardised inside")
def both_in_standard_units(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    fit = both_after(lambda mean, std, centre, spread: ((mean - centre) / spread, std / spread))
    return fit(x, y, hidden, steps, beta, warm_up, generator)


@wrong(replaces="fit_mean_and_std", hint="is it one σ for all x, where each x has its own?")
def both_with_one_std(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    right_fit_both(x, y, hidden=hidden, steps=1, beta=beta, warm_up=min(warm_up, 2))  # refuses bad input
    network = right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)
    std = np.sqrt(np.mean((np.asarray(y) - np.asarray(network(x))) ** 2))
    return Around(network, after=lambda mean: (mean, torch.full_like(mean, float(std))))


@wrong(replaces="fit_mean_and_std", hint="should return mean and std")
def the_mean_alone(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    right_fit_both(x, y, hidden=hidden, steps=1, beta=beta, warm_up=min(warm_up, 2))  # refuses bad input
    return right_fit_network(x, y, hidden=hidden, steps=steps, generator=generator)


@wrong(replaces="fit_mean_and_std", hint="do σ and the mean come in the wrong order?")
def both_in_the_wrong_order(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    fit = both_after(lambda mean, std, *_: (std, mean))
    return fit(x, y, hidden, steps, beta, warm_up, generator)


@wrong(replaces="fit_mean_and_std", hint="is the ½ of the squares missing in the loss?")
def both_without_the_half(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    fit = both_after(lambda mean, std, *_: (mean, std * 2**0.5))
    return fit(x, y, hidden, steps, beta, warm_up, generator)


@wrong(replaces="fit_mean_and_std", hint="is it the exponential, or the softplus, of an output?")
def both_with_a_linear_std(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    network = right_fit_both(x, y, hidden=hidden, steps=steps, beta=beta, warm_up=warm_up, generator=generator)
    low = np.asarray(x, float).min(0)

    class Linear(torch.nn.Module):
        def forward(self, new):
            mean, std = network(new)
            new = torch.as_tensor(new)
            return mean, torch.where((new < torch.as_tensor(low, dtype=new.dtype)).any(1), -std, std)

    return Linear()


@wrong(replaces="fit_mean_and_std", hint="is beta used")
def both_without_beta(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    right_fit_both(x, y, hidden=hidden, steps=1, beta=beta, warm_up=min(warm_up, 2))  # refuses bad input
    return right_fit_both(x, y, hidden=hidden, steps=steps, generator=generator)


@wrong(replaces="fit_mean_and_std", hint="is beta used")
def both_with_beta_zero(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    checks.fraction(**({} if beta is None else {"beta": beta}))
    beta = None if beta is None else 0.0
    return right_fit_both(x, y, hidden=hidden, steps=steps, beta=beta, warm_up=warm_up, generator=generator)


@wrong(replaces="fit_mean_and_std", hint="σ would be better 1.2")
def both_with_a_mean_absolute_residual(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    fit = both_after(lambda mean, std, *_: (mean, std * (2 / np.pi) ** 0.5))
    return fit(x, y, hidden, steps, beta, warm_up, generator)


@wrong(replaces="fit_mean_and_std", hint="is there a warm-up where no β was asked for?")
def both_with_a_warm_up_always(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    checks.fraction(**({} if beta is None else {"beta": beta}))
    beta = 0.5 if beta is None else beta
    return right_fit_both(x, y, hidden=hidden, steps=steps, beta=beta, warm_up=warm_up, generator=generator)


@wrong(replaces="fit_mean_and_std", hint="followed by a fit of the likelihood itself?")
def both_left_as_the_warm_up_ends(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    right_fit_both(x, y, hidden=hidden, steps=steps, beta=beta, warm_up=min(warm_up, 2))  # refuses bad input
    steps = steps if beta is None else 1
    return right_fit_both(x, y, hidden=hidden, steps=steps, beta=beta, warm_up=warm_up, generator=generator)


@wrong(replaces="fit_mean_and_std", hint="the right way round?")
def both_with_beta_exchanged(x, y, *, hidden=10, steps=200, beta=None, warm_up=1500, generator=None):
    checks.fraction(**({} if beta is None else {"beta": beta}))
    beta = None if beta is None else 1 - beta
    return right_fit_both(x, y, hidden=hidden, steps=steps, beta=beta, warm_up=warm_up, generator=generator)
