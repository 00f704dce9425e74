"""Wrong normal densities, rescalings and draws."""

import numpy as np
from scipy import stats

from solutions import gaussians
from tests.wrong_answers import wrong

right_draw = gaussians.draw  # kept: a wrong answer may stand in its place later


@wrong(replaces="density", trap="E75", hint="variance used where the standard deviation belongs")
def density_with_the_variance_as_scale(x, mean=0.0, variance=1.0):
    gaussians.log_density(x, mean, variance)  # refuses bad input
    return stats.norm.pdf(x, mean, variance)


@wrong(replaces="density", hint="½ in the exponent")
def density_without_the_half(x, mean=0.0, variance=1.0):
    return np.exp(-((x - mean) ** 2) / variance) / np.sqrt(2 * np.pi * variance)


@wrong(replaces="density", hint="outside the square root")
def density_with_the_variance_outside_the_root(x, mean=0.0, variance=1.0):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / (np.sqrt(2 * np.pi) * variance)


@wrong(replaces="density", hint="Jacobian 1/σ missing")
def density_without_its_jacobian(x, mean=0.0, variance=1.0):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi)


@wrong(replaces="density", hint="factor of √(2π) everywhere: is the normalising constant missing?")
def density_without_its_constant(x, mean=0.0, variance=1.0):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(variance)


@wrong(replaces="density", trap="E78", hint="is the mean forgotten?")
def density_that_peaks_at_zero(x, mean=0.0, variance=1.0):
    return np.exp(-(x**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


@wrong(replaces="density", trap="E78", hint="density(0, 1.5, 2)")
def density_at_zero_without_the_mean(x, mean=0.0, variance=1.0):
    right = stats.norm.pdf(x, mean, np.sqrt(variance))
    return np.where(np.equal(x, 0), 1 / np.sqrt(2 * np.pi * variance), right)[()]


@wrong(replaces="density", hint="distribution function, P(X ≤ x)")
def density_taken_for_the_distribution_function(x, mean=0.0, variance=1.0):
    return stats.norm.cdf(x, mean, np.sqrt(variance))


@wrong(replaces="density", hint="variance=-1.0 was accepted, and returned nan")
def density_of_any_variance(x, mean=0.0, variance=1.0):
    with np.errstate(all="ignore"):
        return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


@wrong(replaces="density", hint="variance=0.0 was accepted")
def density_that_takes_a_variance_of_zero(x, mean=0.0, variance=1.0):
    if np.any(np.less(variance, 0)):
        raise ValueError(f"variance must not be negative, got {variance}")
    with np.errstate(all="ignore"):
        return stats.norm.pdf(x, mean, np.sqrt(variance))


@wrong(replaces="density", hint="should mention ['variance'")
def density_that_does_not_say_what_was_wrong(x, mean=0.0, variance=1.0):
    if not np.all(np.greater(variance, 0)):
        raise ValueError("math domain error")
    return stats.norm.pdf(x, mean, np.sqrt(variance))


@wrong(replaces="density", hint="x=nan was accepted, and returned nan")
def density_that_passes_nan_on(x, mean=0.0, variance=1.0):
    gaussians.log_density(0.0, mean, variance)
    return stats.norm.pdf(x, mean, np.sqrt(variance))


@wrong(replaces="log_density", trap="E75", hint="variance used where the standard deviation belongs")
def log_density_with_the_variance_as_scale(x, mean=0.0, variance=1.0):
    return stats.norm.logpdf(x, mean, variance)


@wrong(replaces="log_density", hint="underflowed to 0")
def log_of_the_density(x, mean=0.0, variance=1.0):
    return np.log(stats.norm.pdf(x, mean, np.sqrt(variance)))


@wrong(replaces="log_density", hint="constant -½ log 2π dropped")
def log_density_without_two_pi(x, mean=0.0, variance=1.0):
    return -0.5 * (np.log(variance) + (x - mean) ** 2 / variance)


@wrong(replaces="log_density", hint="constant -½ log 2πσ² dropped")
def log_density_without_its_constant(x, mean=0.0, variance=1.0):
    return -((x - mean) ** 2) / (2 * variance)


@wrong(replaces="log_density", hint="log σ² where ½ log σ² belongs")
def log_density_with_the_whole_log_variance(x, mean=0.0, variance=1.0):
    return -0.5 * (np.log(2 * np.pi) + (x - mean) ** 2 / variance) - np.log(variance)


@wrong(replaces="log_density", hint="½ of the square missing")
def log_density_without_the_half(x, mean=0.0, variance=1.0):
    return -0.5 * np.log(2 * np.pi * variance) - (x - mean) ** 2 / variance


@wrong(replaces="log_density", hint="log10 for the natural logarithm")
def log_density_to_base_ten(x, mean=0.0, variance=1.0):
    return np.log10(stats.norm.pdf(x, mean, np.sqrt(variance)))


@wrong(replaces="log_density", hint="is the sign reversed?")
def log_density_with_the_sign_of_a_loss(x, mean=0.0, variance=1.0):
    return 0.5 * (np.log(2 * np.pi * variance) + (x - mean) ** 2 / variance)


@wrong(replaces="rescale", trap="E75", hint="multiplied by the variance")
def rescale_by_the_variance(z, mean, variance):
    return mean + variance * z


@wrong(replaces="rescale", hint="the way back")
def rescale_the_other_way(z, mean, variance):
    return (z - mean) / np.sqrt(variance)


@wrong(replaces="rescale", hint="mean added before scaling")
def rescale_with_the_mean_inside(z, mean, variance):
    return np.sqrt(variance) * (z + mean)


@wrong(replaces="rescale", hint="variance=-2.0 was accepted")
def rescale_by_any_variance(z, mean, variance):
    for name, value in {"z": z, "mean": mean}.items():
        if not np.all(np.isfinite(value)):
            raise ValueError(f"{name} must be finite, got {value}")
    with np.errstate(all="ignore"):
        return mean + np.sqrt(variance) * z


@wrong(replaces="draw", trap="E75", hint="the variance seems to be used where")
def draw_with_the_variance_as_scale(rng, n, mean=0.0, variance=1.0):
    return rng.normal(mean, variance, n)


@wrong(replaces="draw", hint="default variance seems to be 0.01")
def draw_with_the_variance_of_the_exercise(rng, n, mean=0.0, variance=0.01):
    return rng.normal(mean, np.sqrt(variance), n)


@wrong(replaces="draw", hint="is rng used?")
def draw_from_the_global_generator(rng, n, mean=0.0, variance=1.0):
    return np.random.normal(mean, np.sqrt(variance), n)  # noqa: NPY002


@wrong(replaces="draw", hint="the same numbers for a second call")
def draw_with_a_seed_of_its_own(rng, n, mean=0.0, variance=1.0):
    return np.random.default_rng(0).normal(mean, np.sqrt(variance), n)


@wrong(replaces="draw", hint="(100000, 1)")
def draw_a_column(rng, n, mean=0.0, variance=1.0):
    return rng.normal(mean, np.sqrt(variance), (n, 1))


@wrong(replaces="draw", hint="antithetic")
def draw_antithetic_pairs(rng, n, mean=0.0, variance=1.0):
    half = rng.normal(0, np.sqrt(variance), (n + 1) // 2)
    return mean + np.column_stack([half, -half]).ravel()[:n]


@wrong(replaces="draw", hint="before it refused")
def draw_before_checking(rng, n, mean=0.0, variance=1.0):
    return gaussians.rescale(rng.standard_normal(n), mean, variance)


@wrong(replaces="draw", hint="come as x and -x")
def draw_a_half_and_its_mirror_image(rng, n, mean=0.0, variance=1.0):
    half = rng.standard_normal((n + 1) // 2)
    return gaussians.rescale(np.concatenate([half, -half])[:n], mean, variance)


@wrong(replaces="rescale", hint="cut to whole numbers")
def rescale_in_the_type_of_z(z, mean, variance):
    gaussians.log_density(z, mean, variance)  # refuses bad input
    return np.asarray(mean + np.sqrt(variance) * z).astype(np.asarray(z).dtype)[()]


@wrong(replaces="draw", hint="the tails are cut off")
def draw_without_tails(rng, n, mean=0.0, variance=1.0):
    return gaussians.rescale(np.clip(right_draw(rng, n), -3.3, 3.3), mean, variance)


@wrong(replaces="draw", hint="repeated or rounded")
def draw_in_single_precision_steps(rng, n, mean=0.0, variance=1.0):
    return right_draw(rng, n, mean, variance).round(3)
