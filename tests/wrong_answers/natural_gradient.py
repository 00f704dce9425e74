"""Rates for scales, Jacobians the wrong way round, wrong likelihoods, fits that stop early, descents that stray."""

import math

import numpy as np
from scipy import special, stats

from solutions import natural_gradient
from tests.wrong_answers import wrong

# Kept: a wrong answer may stand in their place later.
right_to_natural, right_from_natural = natural_gradient.to_natural, natural_gradient.from_natural
right_log_normaliser, right_mean_statistics = natural_gradient.log_normaliser, natural_gradient.mean_statistics
right_from_mean_statistics, right_natural_fisher = (
    natural_gradient.from_mean_statistics,
    natural_gradient.natural_fisher,
)
right_jacobian, right_fisher = natural_gradient.jacobian, natural_gradient.fisher_information
right_inverse, right_kl = natural_gradient.inverse_fisher, natural_gradient.kl_divergence
right_nll, right_gradient, right_hessian = (
    natural_gradient.mean_nll,
    natural_gradient.nll_gradient,
    natural_gradient.nll_hessian,
)
right_mle, right_flow, right_descend = natural_gradient.mle, natural_gradient.natural_flow, natural_gradient.descend


def trigamma(shape):
    return special.polygamma(1, shape)


def matrices(a, b, c, d):
    a, b, c, d = np.broadcast_arrays(a, b, c, d)
    return np.stack([np.stack([a, b], -1), np.stack([c, d], -1)], -2)


def times(matrix, vector):
    return (matrix @ vector[..., None])[..., 0]


# The family


@wrong(replaces="to_natural", trap="E60", hint="is the second −β, the scale taken for the rate?")
def to_natural_of_a_rate(shape, scale):
    return right_to_natural(shape, 1 / np.asarray(scale, dtype=float))


@wrong(replaces="to_natural", hint="is the first α, without the − 1?")
def to_natural_with_the_shape_itself(shape, scale):
    return right_to_natural(shape, scale) + np.array([1.0, 0.0])


@wrong(replaces="to_natural", hint="do the pairs stand along the first axis?")
def to_natural_along_the_first_axis(shape, scale):
    return np.moveaxis(right_to_natural(shape, scale), -1, 0)


@wrong(replaces="from_natural", trap="E60", hint="is the second −η₂, which is the rate?")
def from_natural_to_a_rate(eta):
    return right_from_natural(eta) ** np.array([1, -1])


@wrong(replaces="from_natural", hint="is the + 1 of the shape missing?")
def from_natural_without_its_one(eta):
    return right_from_natural(eta) - np.array([1.0, 0.0])


@wrong(replaces="from_natural", hint="eta=-1.5 was accepted")
def from_natural_of_anything(eta):
    with np.errstate(all="ignore"):
        return np.stack([eta[..., 0] + 1.0, -1.0 / eta[..., 1]], -1)


@wrong(replaces="log_normaliser", hint="is log Γ(α) missing?")
def log_normaliser_without_the_gamma_function(eta):
    return -(eta[..., 0] + 1) * np.log(-eta[..., 1])


@wrong(replaces="log_normaliser", hint="is α log β missing?")
def log_normaliser_without_the_scale(eta):
    return special.gammaln(eta[..., 0] + 1)


@wrong(replaces="log_normaliser", trap="E60", hint="is the scale taken for the rate, −α log β?")
def log_normaliser_of_a_rate(eta):
    return special.gammaln(eta[..., 0] + 1) + (eta[..., 0] + 1) * np.log(-eta[..., 1])


@wrong(replaces="log_normaliser", hint="is it η₁ log β where (η₁ + 1) log β belongs?")
def log_normaliser_with_one_log_scale_too_few(eta):
    return special.gammaln(eta[..., 0] + 1) - eta[..., 0] * np.log(-eta[..., 1])


@wrong(replaces="log_normaliser", hint="is it the logarithm of the constant before the exponential, −A?")
def log_normaliser_with_the_other_sign(eta):
    return -right_log_normaliser(eta)


@wrong(replaces="log_normaliser", hint="Γ(α) overflows from α = 171 on")
def log_normaliser_by_the_log_of_gamma(eta):
    shape, scale = np.moveaxis(right_from_natural(eta), -1, 0)
    return (np.log(special.gamma(shape)) + shape * np.log(scale))[()]


@wrong(replaces="mean_statistics", trap="E49", hint="are the signs of ψ and log β reversed?")
def mean_statistics_with_its_signs_reversed(shape, scale):
    return right_mean_statistics(shape, scale) * np.array([-1.0, 1.0])


@wrong(replaces="mean_statistics", hint="is it log(αβ), the log of the mean for the mean of the log?")
def mean_statistics_with_the_log_of_the_mean(shape, scale):
    mean = right_mean_statistics(shape, scale)[..., 1]
    return np.stack([np.log(mean), mean], -1)


@wrong(replaces="mean_statistics", hint="is the mean α/β, the scale taken for the rate?")
def mean_statistics_with_the_mean_of_a_rate(shape, scale):
    return right_mean_statistics(shape, scale) / np.stack(np.broadcast_arrays(1.0, np.square(scale)), -1)


@wrong(replaces="mean_statistics", hint="is log β missing?")
def mean_statistics_of_scale_one(shape, scale):
    right = right_mean_statistics(shape, scale)
    return np.stack([right[..., 0] - np.log(scale), right[..., 1]], -1)


@wrong(replaces="from_mean_statistics", hint="is it the usual first guess, without Newton's steps?")
def from_mean_statistics_by_a_first_guess(mean_log, mean):
    s = np.log(mean) - mean_log
    shape = (3 - s + np.sqrt((s - 3) ** 2 + 24 * s)) / (12 * s)
    return np.stack(np.broadcast_arrays(shape, mean / shape), -1)


@wrong(replaces="from_mean_statistics", hint="is the second the rate, 1/β?")
def from_mean_statistics_with_a_rate(mean_log, mean):
    return right_from_mean_statistics(mean_log, mean) ** np.array([1, -1])


@wrong(replaces="from_mean_statistics", hint="was accepted, and returned")
def from_mean_statistics_of_any_averages(mean_log, mean):
    return right_from_mean_statistics(np.minimum(mean_log, np.log(mean) - 1e-9), mean)


@wrong(replaces="natural_fisher", hint="is it the matrix of α and the rate?")
def natural_fisher_with_the_sign_of_a_rate(eta):
    return right_natural_fisher(eta) * np.array([[1, -1], [-1, 1]])


@wrong(replaces="natural_fisher", hint="is the variance of x αβ, with β not squared?")
def natural_fisher_with_the_mean_for_the_variance(eta):
    shape, scale = np.moveaxis(right_from_natural(eta), -1, 0)
    return matrices(trigamma(shape), scale, scale, shape * scale)


@wrong(replaces="natural_fisher", trap="E59", hint="is this F(α, β), not F(η)?")
def natural_fisher_in_shape_and_scale(eta):
    return right_fisher(*np.moveaxis(right_from_natural(eta), -1, 0))


@wrong(replaces="natural_fisher", hint="are the off-diagonal entries forgotten?")
def natural_fisher_of_its_diagonal(eta):
    return right_natural_fisher(eta) * np.eye(2)


# The Fisher matrix in two coordinate systems


@wrong(replaces="jacobian", trap="E59", hint="J⁻¹ for J?")
def jacobian_of_the_way_back(shape, scale):
    return np.linalg.inv(right_jacobian(shape, scale))


@wrong(replaces="jacobian", hint="is the sign reversed, the derivative of 1/β?")
def jacobian_with_a_sign(shape, scale):
    return right_jacobian(shape, scale) * np.array([1.0, -1.0])


@wrong(replaces="jacobian", hint="is it 1/β, or the derivative of a logarithm?")
def jacobian_of_a_logarithm(shape, scale):
    return np.sqrt(right_jacobian(shape, scale))


@wrong(replaces="fisher_information", hint="is this the matrix of α and the rate, −1/β for 1/β?")
def fisher_information_of_a_rate(shape, scale):
    return right_fisher(shape, scale) * np.array([[1, -1], [-1, 1]])


@wrong(replaces="fisher_information", hint="is this F(η), without the Jacobian?")
def fisher_information_without_the_jacobian(shape, scale):
    return right_natural_fisher(right_to_natural(shape, scale))


@wrong(replaces="fisher_information", trap="E59", hint="is J⁻¹ taken for J?")
def fisher_information_by_the_inverse_jacobian(shape, scale):
    back = np.linalg.inv(right_jacobian(shape, scale))
    return back @ right_natural_fisher(right_to_natural(shape, scale)) @ back


@wrong(replaces="fisher_information", hint="is one J of JᵀF(η)J missing, on the right?")
def fisher_information_with_one_jacobian(shape, scale):
    return right_jacobian(shape, scale) @ right_natural_fisher(right_to_natural(shape, scale))


@wrong(replaces="fisher_information", hint="are the off-diagonal entries forgotten?")
def fisher_information_of_its_diagonal(shape, scale):
    return right_fisher(shape, scale) * np.eye(2)


@wrong(replaces="inverse_fisher", trap="E59", hint="J for J⁻¹? That is F(η)⁻¹ with β² too few and β⁴ too few")
def inverse_fisher_in_the_natural_parameters(shape, scale):
    b = np.asarray(scale, dtype=float)
    return right_inverse(shape, scale) / matrices(1, b**2, b**2, b**4)


@wrong(replaces="inverse_fisher", trap="E59", hint="J F(η)⁻¹ Jᵀ where J⁻¹ F(η)⁻¹ J⁻ᵀ belongs?")
def inverse_fisher_by_the_jacobian(shape, scale):
    j = right_jacobian(shape, scale)
    return j @ np.linalg.inv(right_natural_fisher(right_to_natural(shape, scale))) @ j.swapaxes(-1, -2)


@wrong(replaces="inverse_fisher", hint="is this F itself, not inverted?")
def inverse_fisher_not_inverted(shape, scale):
    return right_fisher(shape, scale)


@wrong(replaces="inverse_fisher", hint="is the sign of the off-diagonal entries lost?")
def inverse_fisher_without_its_signs(shape, scale):
    return np.abs(right_inverse(shape, scale))


@wrong(replaces="inverse_fisher", hint="is only the diagonal inverted?")
def inverse_fisher_of_the_diagonal(shape, scale):
    return np.linalg.inv(right_fisher(shape, scale) * np.eye(2))


@wrong(replaces="inverse_fisher", hint="is the determinant forgotten?")
def inverse_fisher_without_the_determinant(shape, scale):
    a, b = np.broadcast_arrays(np.asarray(shape, dtype=float), np.asarray(scale, dtype=float))
    return matrices(a / b**2, -1 / b, -1 / b, trigamma(a))


@wrong(replaces="inverse_fisher", hint="cancels at large shapes")
def inverse_fisher_that_cancels(shape, scale):
    a, b = np.broadcast_arrays(np.asarray(shape, dtype=float), np.asarray(scale, dtype=float))
    with np.errstate(all="ignore"):
        return matrices(a, -b, -b, b**2 * trigamma(a)) / (a * trigamma(a) - 1)[..., None, None]


# The divergence and the likelihood


@wrong(replaces="kl_divergence", hint="is it KL(other‖first), the wrong way round?")
def kl_divergence_the_wrong_way_round(shape, scale, other_shape, other_scale):
    return right_kl(other_shape, other_scale, shape, scale)


@wrong(replaces="kl_divergence", trap="E60", hint="is the scale taken for the rate?")
def kl_divergence_of_rates(shape, scale, other_shape, other_scale):
    return right_kl(shape, 1 / np.asarray(scale, float), other_shape, 1 / np.asarray(other_scale, float))


@wrong(replaces="kl_divergence", hint="α in front of ρ − 1 − log ρ, where α′ belongs?")
def kl_divergence_with_the_first_shape_twice(shape, scale, other_shape, other_scale):
    rho = shape * scale / (other_shape * other_scale)
    return right_kl(shape, scale, other_shape, other_scale) + (shape - other_shape) * (rho - 1 - np.log(rho))


@wrong(replaces="kl_divergence", hint="is the sum of both ways taken?")
def kl_divergence_both_ways(shape, scale, other_shape, other_scale):
    there = right_kl(shape, scale, other_shape, other_scale)
    return there + right_kl(other_shape, other_scale, shape, scale)


@wrong(replaces="kl_divergence", hint="is the part of the shapes missing?")
def kl_divergence_of_the_means(shape, scale, other_shape, other_scale):
    rho = shape * scale / (other_shape * other_scale)
    return other_shape * (rho - 1 - np.log(rho))


@wrong(replaces="kl_divergence", hint="of huge shapes cancels")
def kl_divergence_as_in_tables(shape, scale, other_shape, other_scale):
    logs = special.gammaln(other_shape) - special.gammaln(shape) + other_shape * np.log(other_scale / scale)
    ahead = (shape - other_shape) * special.digamma(shape)
    return np.maximum(ahead + logs + shape * (scale - other_scale) / other_scale, 0.0)


@wrong(replaces="mean_nll", trap="E60", hint="is the scale taken for the rate?")
def mean_nll_of_a_rate(shape, scale, x):
    return right_nll(shape, 1 / np.asarray(scale, float), x)


@wrong(replaces="mean_nll", hint="is it the sum over the data, not the mean?")
def mean_nll_summed(shape, scale, x):
    return len(x) * right_nll(shape, scale, x)


@wrong(replaces="mean_nll", hint="is it the log-likelihood, without the minus?")
def mean_nll_without_its_minus(shape, scale, x):
    return -right_nll(shape, scale, x)


@wrong(replaces="mean_nll", hint="is log Γ(α) missing?")
def mean_nll_without_the_gamma_function(shape, scale, x):
    return right_nll(shape, scale, x) - special.gammaln(shape)


@wrong(replaces="mean_nll", hint="α log x where (α − 1) log x belongs?")
def mean_nll_with_one_log_too_many(shape, scale, x):
    return right_nll(shape, scale, x) - np.log(x).mean()


@wrong(replaces="mean_nll", hint="the log of the mean for the mean of the logs?")
def mean_nll_with_the_log_of_the_mean(shape, scale, x):
    return right_nll(shape, scale, x) - (np.asarray(shape) - 1) * (np.log(x.mean()) - np.log(x).mean())


@wrong(replaces="mean_nll", hint="mean_nll of float32 arrays")
def mean_nll_in_the_precision_of_the_data(shape, scale, x):
    x = x if x.dtype.kind == "f" else x.astype(float)
    log = np.log(x).mean()
    return right_nll(shape, scale, x) - (np.asarray(shape) - 1) * (float(log) - np.log(x.astype(float)).mean())


@wrong(replaces="mean_nll", hint="sum their logarithms, as their product overflows")
def mean_nll_by_the_product_of_the_data(shape, scale, x):
    right = right_nll(shape, scale, x)
    x = np.asarray(x, dtype=float)
    mean_log = np.log(np.prod(x)) / x.size
    return right - (np.asarray(shape, dtype=float) - 1) * (mean_log - np.log(x).mean())


@wrong(replaces="nll_gradient", trap="E60", hint="is this the slope at (α, 1/β), with the scale taken for the rate?")
def nll_gradient_of_a_rate(shape, scale, x):
    return right_gradient(shape, 1 / np.asarray(scale, float), x)


@wrong(replaces="nll_gradient", trap="E60", hint="is the scale taken for the rate?")
def nll_gradient_in_the_rate(shape, scale, x):
    a, b = np.broadcast_arrays(shape, scale)
    return np.stack([special.digamma(a) - np.log(b) - np.log(x).mean(), x.mean() - a / b], -1)


@wrong(replaces="nll_gradient", hint="is this the slope of the log-likelihood, a sign?")
def nll_gradient_of_the_log_likelihood(shape, scale, x):
    return -right_gradient(shape, scale, x)


@wrong(replaces="nll_gradient", hint="the trigamma function ψ₁ for ψ?")
def nll_gradient_with_trigamma(shape, scale, x):
    right = right_gradient(shape, scale, x)
    return np.stack([right[..., 0] - special.digamma(shape) + trigamma(shape), right[..., 1]], -1)


@wrong(replaces="nll_gradient", hint="is this the slope in η, E T − T̄?")
def nll_gradient_in_eta(shape, scale, x):
    return right_mean_statistics(shape, scale) - [np.log(x).mean(), x.mean()]


@wrong(replaces="nll_gradient", hint="is it the sum over the data, not the mean?")
def nll_gradient_summed(shape, scale, x):
    return len(x) * right_gradient(shape, scale, x)


@wrong(replaces="nll_gradient", hint="is F⁻¹∇L returned, not ∇L?")
def nll_gradient_that_is_natural_already(shape, scale, x):
    return times(right_inverse(shape, scale), right_gradient(shape, scale, x))


@wrong(replaces="nll_hessian", hint="is this the Fisher matrix? It is the Hessian only where αβ = x̄")
def nll_hessian_as_the_fisher_matrix(shape, scale, x):
    return right_fisher(shape, scale)


@wrong(replaces="nll_hessian", hint="is the 2 of 2x̄/β³ missing?")
def nll_hessian_without_a_two(shape, scale, x):
    last = x.mean() / np.asarray(scale, float) ** 3
    return right_hessian(shape, scale, x) - matrices(0, 0, 0, last + 0.0 * np.asarray(shape))


@wrong(replaces="nll_hessian", hint="is the sign of α/β² reversed?")
def nll_hessian_with_a_sign(shape, scale, x):
    return right_hessian(shape, scale, x) + matrices(0, 0, 0, 2 * shape / np.asarray(scale, float) ** 2)


# The fit and the flow


@wrong(replaces="mle", hint="are these the moments x̄²/s² and s²/x̄, not the likeliest?")
def mle_by_moments(x):
    right_mle(x)  # refuses what it must
    return np.array([x.mean() ** 2 / x.var(), x.var() / x.mean()])


@wrong(replaces="mle", hint="is it the usual first guess, without Newton's steps?")
def mle_by_a_first_guess(x):
    right_mle(x)
    return from_mean_statistics_by_a_first_guess(np.log(x).mean(), x.mean())


@wrong(replaces="mle", trap="E62", hint="is this the law that the data were drawn from? The likeliest is another")
def mle_that_knows_the_truth(x):
    return np.array([3.0, 2.0])


@wrong(replaces="mle", hint="is the second the rate, 1/β?")
def mle_with_a_rate(x):
    return right_mle(x) ** np.array([1, -1])


@wrong(replaces="mle", hint="mle of 7 data is wrong")
def mle_with_a_location(x):
    shape, _, scale = stats.gamma.fit(x, floc=0.5 * np.min(x))
    return np.array([shape, scale])


@wrong(replaces="mle", hint="log x̄ − mean log x cancels")
def mle_that_cancels(x):
    right_mle(x)
    s = np.log(x.mean()) - np.log(x).mean()
    return right_from_mean_statistics(-max(s, 1e-17), 1.0) * [1, x.mean()]


@wrong(replaces="mle", hint="x=4.0 was accepted, and returned")
def mle_of_equal_data(x):
    return right_mle(x if np.ptp(x) > 0 else x * np.linspace(1, 1 + 1e-6, len(x)) if len(x) > 1 else x)


@wrong(replaces="natural_flow", hint="is the line straight in (α, β), not in the means?")
def natural_flow_straight_in_shape_and_scale(start, x, times):
    left = np.exp(-times)[:, None]
    return left * start + (1 - left) * right_mle(x)


@wrong(replaces="natural_flow", hint="is the line straight in η, not in the means?")
def natural_flow_straight_in_eta(start, x, times):
    left = np.exp(-times)[:, None]
    return right_from_natural(left * right_to_natural(*start) + (1 - left) * right_to_natural(*right_mle(x)))


@wrong(replaces="natural_flow", hint="is e^{−t} the wrong way?")
def natural_flow_the_wrong_way_round(start, x, times):
    left = np.exp(-times)[:, None]
    means = np.array([np.log(x).mean(), x.mean()])
    return right_from_mean_statistics(*((1 - left) * right_mean_statistics(*start) + left * means).T)


@wrong(replaces="natural_flow", hint="against those of a flow half as fast")
def natural_flow_at_half_the_speed(start, x, times):
    return right_flow(start, x, times / 2)


@wrong(replaces="natural_flow", hint="many small steps, each a step")
def natural_flow_by_euler_s_steps(start, x, times):
    ends = np.asarray(times, dtype=float)
    right_flow(start, x, ends)
    out = [right_descend(x, start, rate=t / 400, steps=400, natural=True)[-1] if t > 0 else start for t in ends]
    return np.array(out, dtype=float)


# The descents


def walk(x, start, rate, steps, step, floor=1e-4):
    """A descent in (α, β) that goes by −λ step(shape, scale)."""
    path = [np.array(start, dtype=float)]
    for _ in range(steps):
        path.append(np.maximum(path[-1] - rate * step(*path[-1]), floor))
    return np.array(path)


@wrong(replaces="descend", trap="E59", hint="is J taken for J⁻¹, so that F(θ)⁻¹ is J F(η)⁻¹ Jᵀ?")
def descend_by_the_wrong_inverse(x, start, *, rate, steps, natural, coordinates="shape_scale", floor=1e-4):
    if not natural or coordinates != "shape_scale":
        return right_descend(x, start, rate=rate, steps=steps, natural=natural, coordinates=coordinates, floor=floor)
    return walk(
        x, start, rate, steps, lambda a, b: inverse_fisher_by_the_jacobian(a, b) @ right_gradient(a, b, x), floor
    )


@wrong(replaces="descend", hint="F∇L where F⁻¹∇L belongs?")
def descend_by_the_fisher_matrix_itself(x, start, *, rate, steps, natural, coordinates="shape_scale", floor=1e-4):
    if not natural or coordinates != "shape_scale":
        return right_descend(x, start, rate=rate, steps=steps, natural=natural, coordinates=coordinates, floor=floor)
    return walk(x, start, rate, steps, lambda a, b: right_fisher(a, b) @ right_gradient(a, b, x), floor)


@wrong(replaces="descend", hint="is this Newton's step, with the Hessian for F?")
def descend_by_the_hessian(x, start, *, rate, steps, natural, coordinates="shape_scale", floor=1e-4):
    if not natural or coordinates != "shape_scale":
        return right_descend(x, start, rate=rate, steps=steps, natural=natural, coordinates=coordinates, floor=floor)
    return walk(
        x, start, rate, steps, lambda a, b: np.linalg.solve(right_hessian(a, b, x), right_gradient(a, b, x)), floor
    )


@wrong(replaces="descend", hint="is only the diagonal of F inverted?")
def descend_by_the_diagonal(x, start, *, rate, steps, natural, coordinates="shape_scale", floor=1e-4):
    if not natural or coordinates != "shape_scale":
        return right_descend(x, start, rate=rate, steps=steps, natural=natural, coordinates=coordinates, floor=floor)
    return walk(x, start, rate, steps, lambda a, b: right_gradient(a, b, x) / np.diag(right_fisher(a, b)), floor)


@wrong(replaces="descend", trap="E61", hint="is the plain gradient taken, with natural ignored or turned round?")
def descend_that_ignores_natural(x, start, *, rate, steps, natural, **options):
    return right_descend(x, start, rate=rate, steps=steps, natural=False, **options)


@wrong(replaces="descend", trap="E61", hint="is natural ignored or turned round: is this F⁻¹∇L?")
def descend_with_natural_turned_round(x, start, *, rate, steps, natural, **options):
    return right_descend(x, start, rate=rate, steps=steps, natural=not natural, **options)


@wrong(replaces="descend", hint="a step up the slope: is the sign of the gradient reversed?")
def descend_uphill(x, start, *, rate, steps, natural, coordinates="shape_scale", floor=1e-4):
    def step(a, b):
        slope = right_gradient(a, b, x)
        return -(right_inverse(a, b) @ slope if natural else slope)

    with np.errstate(all="ignore"):
        return walk(x, start, rate, steps, lambda a, b: step(min(a, 1e60), min(b, 1e60)), floor)


@wrong(replaces="descend", hint="is the gradient summed over the data, not averaged?")
def descend_by_the_sum(x, start, *, rate, steps, natural, **options):
    return right_descend(x, start, rate=rate * len(x), steps=steps, natural=natural, **options)


@wrong(replaces="descend", hint="is the gradient divided by its length?")
def descend_by_the_direction_alone(x, start, *, rate, steps, natural, coordinates="shape_scale", floor=1e-4):
    def step(a, b):
        slope = right_gradient(a, b, x)
        return slope / np.linalg.norm(slope)

    if natural:
        return right_descend(x, start, rate=rate, steps=steps, natural=True, coordinates=coordinates, floor=floor)
    return walk(x, start, rate, steps, step, floor)


@wrong(replaces="descend", hint="is the path without its start?")
def descend_without_its_start(x, start, **options):
    return right_descend(x, start, **options)[1:]


@wrong(replaces="descend", hint="is it only the last place, not the path?")
def descend_to_the_last_place(x, start, **options):
    return right_descend(x, start, **options)[-1]


@wrong(replaces="descend", hint="is the start there twice, and the last step missing?")
def descend_one_step_late(x, start, **options):
    path = right_descend(x, start, **options)
    return np.vstack([path[:1], path[:-1]])


@wrong(replaces="descend", hint="The coordinates change the path")
def descend_in_shape_and_scale_whatever_is_asked(x, start, *, coordinates="shape_scale", **options):
    right_descend(x, start, coordinates=coordinates, **options)
    return right_descend(x, start, **options)


@wrong(replaces="descend", hint="no floor: the law has left the domain?")
def descend_without_a_floor(x, start, *, rate, steps, natural, coordinates="shape_scale", floor=1e-4):
    def step(a, b):
        a, b = max(a, 1e-300), max(b, 1e-300)
        slope = np.array([special.digamma(a) + np.log(b) - np.log(x).mean(), (a - x.mean() / b) / b])
        psi = trigamma(a)
        return np.linalg.solve([[psi, 1 / b], [1 / b, a / b**2]], slope) if natural else slope

    if coordinates != "shape_scale" or rate > 1e20:
        return right_descend(x, start, rate=rate, steps=steps, natural=natural, coordinates=coordinates, floor=floor)
    with np.errstate(all="ignore"):
        return walk(x, start, rate, steps, step, -math.inf)


@wrong(replaces="descend", hint="is the floor ignored, 1e-4 whatever was asked for?")
def descend_with_a_floor_of_its_own(x, start, *, floor=1e-4, **options):
    right_descend(x, start, floor=floor, **options)
    return right_descend(x, start, **options)


@wrong(replaces="descend", hint="is the absolute value taken, a reflection?")
def descend_that_is_reflected(x, start, *, rate, steps, natural, coordinates="shape_scale", floor=1e-4):
    if coordinates != "shape_scale":
        return right_descend(x, start, rate=rate, steps=steps, natural=natural, coordinates=coordinates, floor=floor)
    path = [np.array(start, dtype=float)]
    for _ in range(steps):
        slope = right_gradient(*path[-1], x)
        path.append(np.abs(path[-1] - rate * (right_inverse(*path[-1]) @ slope if natural else slope)))
    return np.array(path)


@wrong(replaces="descend", hint="is the whole step refused, not each coordinate cut off by itself?")
def descend_that_refuses_whole_steps(x, start, *, rate, steps, natural, coordinates="shape_scale", floor=1e-4):
    if coordinates != "shape_scale":
        return right_descend(x, start, rate=rate, steps=steps, natural=natural, coordinates=coordinates, floor=floor)
    path = [np.array(start, dtype=float)]
    for _ in range(steps):
        slope = right_gradient(*path[-1], x)
        there = path[-1] - rate * (right_inverse(*path[-1]) @ slope if natural else slope)
        path.append(there if (there > floor).all() else path[-1])
    return np.array(path)


@wrong(replaces="descend", hint="wrote to an argument that it was given")
def descend_that_moves_its_start(x, start, **options):
    path = right_descend(x, start, **options)
    start[...] = path[-1]
    return path


@wrong(replaces="descend", hint="does it stop where its steps are small?")
def descend_that_stops_where_its_steps_are_small(x, start, **options):
    path = right_descend(x, start, **options)
    small = np.flatnonzero(np.abs(np.diff(path, axis=0)).max(axis=1) < 1e-8)
    if small.size:
        path[small[0] + 1 :] = path[small[0]]
    return path
