"""Wrong norms, wrong laws of norms and distances, wrong paths."""

import numpy as np
from scipy import special, stats

from solutions import high_dimensions
from tests.wrong_answers import wrong

right_norm_density = high_dimensions.norm_density  # kept: a wrong answer may stand in its place later
right_norm, right_norm_log_density = high_dimensions.norm, high_dimensions.norm_log_density


@wrong(replaces="norm", trap="E79", hint="square root missing")
def norm_without_the_root(x):
    return np.sum(x**2, axis=1)


@wrong(replaces="norm", hint="norm of the columns")
def norm_of_the_columns(x):
    return np.linalg.norm(x, axis=0)


@wrong(replaces="norm", hint="norm of the whole array")
def norm_of_the_whole_array(x):
    return np.linalg.norm(x)


@wrong(replaces="norm", hint="sum of absolute values")
def norm_of_the_taxi_driver(x):
    return np.abs(x).sum(axis=1)


@wrong(replaces="norm", hint="a mean of squares for their sum")
def norm_as_root_mean_square(x):
    return np.sqrt(np.mean(x**2, axis=1))


@wrong(replaces="norm", hint="an axis too many")
def norm_as_a_column(x):
    return np.linalg.norm(x, axis=1, keepdims=True)


@wrong(replaces="norm_density", trap="E80", hint="without the sphere's area")
def norm_density_without_the_sphere(r, dimension):
    return np.exp(-np.square(r) / 2) * (2 * np.pi) ** (-dimension / 2)


@wrong(replaces="norm_density", hint="r^D where r^{D-1} belongs")
def norm_density_with_one_power_too_many(r, dimension):
    return r * stats.chi.pdf(r, dimension)


@wrong(replaces="norm_density", hint="r^{D-2} where r^{D-1} belongs")
def norm_density_with_one_power_too_few(r, dimension):
    return stats.chi.pdf(r, dimension) / r


@wrong(replaces="norm_density", hint="density of |x|² (chi-squared)")
def norm_density_of_the_squared_norm(r, dimension):
    return stats.chi2.pdf(r, dimension)


@wrong(replaces="norm_density", hint="Jacobian 2r")
def norm_density_without_its_jacobian(r, dimension):
    return stats.chi2.pdf(np.square(r), dimension)


@wrong(replaces="norm_density", hint="factor of ½")
def norm_density_with_half_its_constant(r, dimension):
    return stats.chi.pdf(r, dimension) / 2


@wrong(replaces="norm_density", hint="overflows: work in logs")
def norm_density_with_a_gamma_that_overflows(r, dimension):
    constant = 2.0 ** (dimension / 2 - 1) * special.gamma(dimension / 2)
    return np.power(r, dimension - 1.0) * np.exp(-np.square(r) / 2) / constant


@wrong(replaces="norm_density", hint="not 0 at negative r")
def norm_density_of_a_negative_norm(r, dimension):
    return stats.chi.pdf(np.abs(r), dimension)


@wrong(replaces="norm_density", hint="dimension=0 was accepted")
def norm_density_in_any_dimension(r, dimension):
    return stats.chi.pdf(r, dimension)


@wrong(replaces="norm_mean", trap="E80", hint="root of the mean square")
def norm_mean_as_root_mean_square(dimension):
    return np.sqrt(dimension)


@wrong(replaces="norm_mean", hint="norm_mean(1000) is not finite")
def norm_mean_with_a_gamma_that_overflows(dimension):
    return np.sqrt(2) * special.gamma((dimension + 1) / 2) / special.gamma(dimension / 2)


@wrong(replaces="norm_mode", hint="norm_mode(1)")
def norm_mode_at_the_root_of_the_dimension(dimension):
    return np.sqrt(dimension)


@wrong(replaces="distance_density", trap="E82", hint="Jacobian 1/√2 missing")
def distance_density_without_its_jacobian(t, dimension):
    return right_norm_density(t / np.sqrt(2), dimension)


@wrong(replaces="distance_density", trap="E81", hint="It is 2I")
def distance_density_with_root_two_as_covariance(t, dimension):
    return stats.chi.pdf(t, dimension, scale=2**0.25)


@wrong(replaces="distance_density", trap="E81", hint="√2, the standard deviation, used as 2")
def distance_density_with_the_covariance_as_scale(t, dimension):
    return stats.chi.pdf(t, dimension, scale=2)


@wrong(replaces="distance_density", hint="the law of |x|, not of |x - y|")
def distance_density_as_the_density_of_the_norm(t, dimension):
    return right_norm_density(t, dimension)


@wrong(replaces="log_density", hint="constant -D/2 log 2π dropped")
def log_density_without_its_constant(x):
    return -0.5 * np.sum(x**2, axis=1)


@wrong(replaces="log_density", hint="counted once, not once a coordinate")
def log_density_with_the_constant_of_one_dimension(x):
    return -0.5 * (np.log(2 * np.pi) + np.sum(x**2, axis=1))


@wrong(replaces="log_density", hint="rows summed too")
def log_density_of_the_whole_sample(x):
    return stats.norm.logpdf(x).sum()


@wrong(replaces="log_density", hint="mean over the coordinates")
def log_density_per_coordinate(x):
    return stats.norm.logpdf(x).mean(axis=1)


@wrong(replaces="log_density", trap="E79", hint="|x| where |x|² belongs")
def log_density_of_the_norm_not_squared(x):
    return -0.5 * (x.shape[1] * np.log(2 * np.pi) + np.linalg.norm(x, axis=1))


@wrong(replaces="log_density", hint="½ of |x|² missing")
def log_density_without_the_half(x):
    return -0.5 * x.shape[1] * np.log(2 * np.pi) - np.sum(x**2, axis=1)


@wrong(replaces="log_density", hint="log of a product that underflows")
def log_density_through_a_product(x):
    with np.errstate(divide="ignore"):
        return np.log(np.prod(stats.norm.pdf(x), axis=1))


@wrong(replaces="linear_path", hint="are a and b swapped?")
def linear_path_the_other_way(a, b, alpha):
    return (1 - alpha) * a + alpha * b


@wrong(replaces="linear_path", trap="E84", hint="are the weights squared?")
def linear_path_with_squared_weights(a, b, alpha):
    return alpha**2 * a + (1 - alpha) ** 2 * b


@wrong(replaces="linear_path", hint="alpha=-0.1 was accepted, and returned [[1. 1. 1.]")
def linear_path_beyond_its_ends(a, b, alpha):
    high_dimensions.polar_path(a, b, min(max(alpha, 0.0), 1.0))  # refuses all else
    return alpha * a + (1 - alpha) * b


@wrong(replaces="polar_path", hint="are a and b swapped?")
def polar_path_the_other_way(a, b, alpha):
    return np.sqrt(1 - alpha) * a + np.sqrt(alpha) * b


@wrong(replaces="polar_path", hint="linear weights")
def polar_path_that_is_straight(a, b, alpha):
    return alpha * a + (1 - alpha) * b


@wrong(replaces="polar_path", trap="E83", hint="The weights are √α and √(1-α)")
def polar_path_with_alpha_squared(a, b, alpha):
    return np.sqrt(alpha**2) * a + np.sqrt(1 - alpha**2) * b


@wrong(replaces="polar_path", hint="Their squares should")
def polar_path_whose_weights_sum_to_one(a, b, alpha):
    return np.sqrt(alpha) * a + (1 - np.sqrt(alpha)) * b


@wrong(replaces="polar_path", hint="alpha=-0.1 was accepted, and returned")
def polar_path_of_any_alpha(a, b, alpha):
    with np.errstate(invalid="ignore"):
        return np.sqrt(alpha) * a + np.sqrt(1 - alpha) * b


def log_density_with(dimension, variance):
    return -dimension / 2 * (np.log(2 * np.pi) + variance)


def variance_on(path, alpha):
    return alpha**2 + (1 - alpha) ** 2 if path == "linear" else 1 + 0 * alpha


@wrong(replaces="expected_log_density", trap="E84", hint="Variances add")
def expected_log_density_with_weights_that_add(alpha, dimension, path):
    return log_density_with(dimension, alpha + (1 - alpha))


@wrong(replaces="expected_log_density", trap="E83", hint="It is (√α)² + (√(1-α))²")
def expected_log_density_with_roots_of_squares(alpha, dimension, path):
    polar = np.sqrt(alpha**2) + np.sqrt(1 - alpha**2)
    return log_density_with(dimension, polar if path == "polar" else variance_on(path, alpha))


@wrong(replaces="expected_log_density", hint="are linear and polar swapped?")
def expected_log_density_of_the_other_path(alpha, dimension, path):
    return log_density_with(dimension, variance_on("polar" if path == "linear" else "linear", alpha))


@wrong(replaces="expected_log_density", hint="log-density at the mean")
def expected_log_density_at_the_mean(alpha, dimension, path):
    return log_density_with(dimension, 0 * alpha)


@wrong(replaces="expected_log_density", hint="the D of -D/2 missing")
def expected_log_density_of_one_coordinate(alpha, dimension, path):
    return log_density_with(1, variance_on(path, alpha))


@wrong(replaces="expected_log_density", hint="is the constant dropped?")
def expected_log_density_without_its_constant(alpha, dimension, path):
    return -dimension / 2 * variance_on(path, alpha)


@wrong(replaces="expected_log_density", hint="path=spherical was accepted")
def expected_log_density_of_any_path(alpha, dimension, path):
    high_dimensions.path_variance(alpha, "polar")
    if dimension < 1:
        raise ValueError(f"dimension must be positive, got {dimension}")
    return log_density_with(dimension, variance_on(path, alpha))


@wrong(replaces="expected_norm_log_density", trap="E85", hint="log E for E log")
def expected_norm_log_density_at_the_expected_square(alpha, dimension, path):
    return stats.chi.logpdf(np.sqrt(dimension * variance_on(path, alpha)), dimension)


@wrong(replaces="norm_log_density", hint="overflows: work in logs")
def norm_log_density_by_way_of_gamma(r, dimension):
    constant = np.log(special.gamma(dimension / 2)) if dimension < 2000 else special.gammaln(dimension / 2)
    return right_norm_log_density(r, dimension) + special.gammaln(dimension / 2) - constant


@wrong(replaces="norm", hint="norm of int8")
def norm_in_the_type_of_x(x):
    right_norm(x)  # refuses bad input
    return np.sqrt(np.sum(x * x, axis=1, dtype=x.dtype).astype(float))
