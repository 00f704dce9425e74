"""Wrong slopes, wrong rows, wrong baselines, wrong variances, and descents that go elsewhere."""

import numpy as np
from scipy import stats

from solutions import gradient_estimators
from tests.wrong_answers import wrong

# Kept, as a wrong answer may stand in their places later.
right_objective, right_gradient = gradient_estimators.objective, gradient_estimators.exact_gradient
right_hessian, right_points = gradient_estimators.hessian, gradient_estimators.stationary_points
right_score, right_left = gradient_estimators.score_gradient, gradient_estimators.leave_one_out_gradient
right_moved, right_baseline = gradient_estimators.reparameterised_gradient, gradient_estimators.optimal_baseline
right_score_covariance = gradient_estimators.score_covariance
right_score_variance = gradient_estimators.score_variance
right_moved_covariance = gradient_estimators.reparameterised_covariance
right_moved_variance = gradient_estimators.reparameterised_variance
right_descent = gradient_estimators.descend
right_settled, right_average = gradient_estimators.stationary_covariance, gradient_estimators.average_covariance
StationaryPoints = gradient_estimators.StationaryPoints


def parts(theta):
    """μ, τ, σ as floats; refuses what ours refuses."""
    right_objective(theta)
    mean, tau = np.moveaxis(np.asarray(theta, dtype=float), -1, 0)
    return mean, tau, np.exp(tau)


def rest(theta):
    mean, _, std = parts(theta)
    return np.stack([mean - 1, std - 1], axis=-1)


def drawn(rng, theta, n):
    """x and ε, (n, ...); refuses what ours refuses."""
    right_moved(np.random.default_rng(0), theta, n)
    mean, _, std = parts(theta)
    noise = rng.standard_normal((n, *np.shape(theta)[:-1]))
    return mean + std * noise, noise, std


def by_score(rng, theta, n, baseline, *, first=None, second=None, height=None, add=None):
    """Rows of the score gradient, with a score, a height, or a rest of one's own."""
    right_score(np.random.default_rng(0), theta, 1, baseline)  # refuses what ours refuses
    x, noise, std = drawn(rng, theta, n)
    one = noise / std if first is None else first(noise, std)
    two = noise**2 - 1 if second is None else second(noise, std)
    heights = (x * np.sin(x) if height is None else height(x))[..., None]
    return (heights - baseline) * np.stack([one, two], axis=-1) + (rest(theta) if add is None else add)


def by_path(rng, theta, n, *, way=None, derivative=None, add=None):
    """Rows of the reparameterised gradient, with a chain rule, a derivative, or a rest of one's own."""
    x, noise, std = drawn(rng, theta, n)
    slope = np.sin(x) + x * np.cos(x) if derivative is None else derivative(x)
    moved = std * noise if way is None else way(noise, std, x)
    return np.stack([slope, slope * moved], axis=-1) + (rest(theta) if add is None else add)


# f, its slope, its curvature


@wrong(replaces="objective", hint="x for its mean")
def objective_at_the_mean(theta):
    mean, tau, std = parts(theta)
    return mean * np.sin(mean) + (mean - 1) ** 2 / 2 + std - tau


@wrong(replaces="objective", hint="e^{−σ/2} where e^{−σ²/2} belongs")
def objective_with_the_deviation_for_the_variance(theta):
    mean, tau, std = parts(theta)
    wave = np.exp(-std / 2) * (mean * np.sin(mean) + std**2 * np.cos(mean))
    return wave + (mean - 1) ** 2 / 2 + std - tau


@wrong(replaces="objective", hint="sign of log σ")
def objective_that_adds_the_logarithm(theta):
    return right_objective(theta) + 2 * parts(theta)[1]


@wrong(replaces="exact_gradient", hint="is the second entry the slope in σ")
def gradient_in_the_deviation(theta):
    return right_gradient(theta) / np.stack([np.ones_like(parts(theta)[2]), parts(theta)[2]], axis=-1)


@wrong(replaces="exact_gradient", hint="slope of E[x sin x] in σ taken for that in τ")
def gradient_without_the_chain_rule(theta):
    wave = right_gradient(theta) - rest(theta)
    return wave / np.stack([np.ones_like(parts(theta)[2]), parts(theta)[2]], axis=-1) + rest(theta)


@wrong(replaces="exact_gradient", hint="of integers")
def gradient_in_the_memory_of_its_argument(theta):
    answer = np.empty_like(theta)
    answer[...] = right_gradient(theta)
    return answer


@wrong(replaces="exact_gradient", hint="of float32")
def gradient_in_the_precision_of_its_argument(theta):
    return right_gradient(theta).astype(np.result_type(np.asarray(theta).dtype, np.float16))


@wrong(replaces="hessian", hint="second derivatives in σ")
def hessian_in_the_deviation(theta):
    _, _, std = parts(theta)
    scale = np.stack([np.ones_like(std), std], axis=-1)
    corner = np.zeros((*np.shape(std), 2, 2))
    corner[..., 1, 1] = right_gradient(theta)[..., 1] / std**2
    return right_hessian(theta) / scale[..., :, None] / scale[..., None, :] - corner


@wrong(replaces="hessian", hint="2σ²F″ in the last entry missing")
def hessian_without_the_product_rule(theta):
    answer = right_hessian(theta)
    answer[..., 1, 1] -= 2 * (right_gradient(theta) - rest(theta))[..., 1]
    return answer


@wrong(replaces="hessian", hint="hessian")
def hessian_by_differences(theta):
    theta, tiny = np.asarray(theta, dtype=float), 1e-4
    steps = tiny * np.eye(2)
    return np.stack([(right_gradient(theta + s) - right_gradient(theta - s)) / (2 * tiny) for s in steps], axis=-1)


# Its valleys


@wrong(replaces="stationary_points", trap="E42", hint="stationary_points()")
def points_after_ten_thousand_steps():
    _, saddle, lowest = right_points()
    return StationaryPoints(right_descent(np.zeros(2), rate=5e-4, steps=10_000)[-1], saddle, lowest)


@wrong(replaces="stationary_points", trap="E43", hint="each other's place")
def points_with_the_local_minimum_as_the_global_one():
    return StationaryPoints(*right_points()[::-1])


kept_points = StationaryPoints(*[point.copy() for point in right_points()])


@wrong(replaces="stationary_points", hint="after someone wrote into an earlier answer")
def points_that_are_shared():
    return kept_points


# Rows of the score gradient


@wrong(replaces="score_gradient", hint="here it is (x−μ)/σ")
def score_with_the_deviation_for_the_variance(rng, theta, n, baseline=0.0):
    return by_score(rng, theta, n, baseline, first=lambda e, std: e)


@wrong(replaces="score_gradient", hint="here the −1 is missing")
def score_without_the_normaliser(rng, theta, n, baseline=0.0):
    return by_score(rng, theta, n, baseline, second=lambda e, std: e**2)


@wrong(replaces="score_gradient", hint="score in σ")
def score_in_the_deviation(rng, theta, n, baseline=0.0):
    return by_score(rng, theta, n, baseline, second=lambda e, std: (e**2 - 1) / std)


@wrong(replaces="score_gradient", trap="E44", hint="the baseline is ignored")
def score_without_its_baseline(rng, theta, n, baseline=0.0):
    return right_score(rng, theta, n, np.zeros_like(baseline))


@wrong(replaces="score_gradient", hint="coordinates are swapped")
def score_with_the_other_baseline(rng, theta, n, baseline=0.0):
    right_score(np.random.default_rng(0), theta, 1, baseline)
    baseline = np.asarray(baseline)
    return right_score(rng, theta, n, baseline[..., ::-1] if baseline.ndim else baseline)


@wrong(replaces="score_gradient", hint="taken off after the score is multiplied")
def score_with_the_baseline_taken_off_last(rng, theta, n, baseline=0.0):
    right_score(np.random.default_rng(0), theta, 1, baseline)
    return right_score(rng, theta, n) - baseline


@wrong(replaces="score_gradient", hint="not their mean")
def score_averaged(rng, theta, n, baseline=0.0):
    return right_score(rng, theta, n, baseline).mean(axis=0)


@wrong(replaces="score_gradient", hint="are not (x sin x − b)")
def score_with_the_mean_of_its_sample_as_baseline(rng, theta, n, baseline=0.0):
    right_score(np.random.default_rng(0), theta, 1, baseline)
    x, noise, std = drawn(rng, theta, n)
    heights = x * np.sin(x)
    score = np.stack([noise / std, noise**2 - 1], axis=-1)
    return (heights - heights.mean(axis=0))[..., None] * score + rest(theta)


@wrong(replaces="score_gradient", hint="its slope is lost")
def score_of_the_whole_objective(rng, theta, n, baseline=0.0):
    mean, tau, std = parts(theta)
    return by_score(rng, theta, n, baseline, height=lambda x: x * np.sin(x) + (mean - 1) ** 2 / 2 + std - tau, add=0.0)


@wrong(replaces="score_gradient", hint="standard deviation √σ")
def score_drawn_with_the_deviation_as_variance(rng, theta, n, baseline=0.0):
    right_score(np.random.default_rng(0), theta, n, baseline)
    mean, _, std = parts(theta)
    x = mean + np.sqrt(std) * rng.standard_normal((n, *np.shape(theta)[:-1]))
    noise = (x - mean) / std
    return ((x * np.sin(x))[..., None] - baseline) * np.stack([noise / std, noise**2 - 1], axis=-1) + rest(theta)


@wrong(replaces="score_gradient", hint="share their draws")
def score_with_the_same_draws_for_all(rng, theta, n, baseline=0.0):
    right_score(np.random.default_rng(0), theta, n, baseline)
    _, _, std = parts(theta)
    noise = np.multiply.outer(rng.standard_normal(n), np.ones_like(std))
    x = parts(theta)[0] + std * noise
    return ((x * np.sin(x))[..., None] - baseline) * np.stack([noise / std, noise**2 - 1], axis=-1) + rest(theta)


@wrong(replaces="score_gradient", hint="their own mean is taken off")
def score_with_centred_draws(rng, theta, n, baseline=0.0):
    right_score(np.random.default_rng(0), theta, n, baseline)
    mean, _, std = parts(theta)
    noise = rng.standard_normal((n, *np.shape(theta)[:-1]))
    if n > 1:
        noise = (noise - noise.mean(axis=0)) * np.sqrt(n / (n - 1))  # each is still N(0, 1)
    x = mean + std * noise
    return ((x * np.sin(x))[..., None] - baseline) * np.stack([noise / std, noise**2 - 1], axis=-1) + rest(theta)


@wrong(replaces="score_gradient", trap="E46", hint="is randomness taken from somewhere else")
def score_from_the_global_numbers(rng, theta, n, baseline=0.0):
    x = np.random.standard_normal(3)  # noqa: NPY002
    return right_score(np.random.default_rng(int(abs(x[0]) * 1e9)), theta, n, baseline)


@wrong(replaces="score_gradient", hint="baseline=")
def score_with_any_baseline(rng, theta, n, baseline=0.0):
    x, noise, std = drawn(rng, theta, n)
    score = np.stack([noise / std, noise**2 - 1], axis=-1)
    return ((x * np.sin(x))[..., None] - baseline) * score + rest(theta)


# Leave one out


@wrong(replaces="leave_one_out_gradient", hint="the draw itself is in its baseline")
def left_out_with_the_mean_of_all(rng, theta, n):
    return (right_left(rng, theta, n) - rest(theta)) * (n - 1) / n + rest(theta)


@wrong(replaces="leave_one_out_gradient", hint="no baseline at all")
def left_out_without_a_baseline(rng, theta, n):
    right_left(np.random.default_rng(0), theta, n)
    return right_score(rng, theta, n)


@wrong(replaces="leave_one_out_gradient", hint="n=1")
def left_out_of_one(rng, theta, n):
    right_moved(np.random.default_rng(0), theta, n)
    x, noise, std = drawn(rng, theta, n)
    heights = x * np.sin(x)
    others = (heights.sum(axis=0) - heights) / max(n - 1, 1)
    return (heights - others)[..., None] * np.stack([noise / std, noise**2 - 1], axis=-1) + rest(theta)


@wrong(replaces="leave_one_out_gradient", hint="its rows are not")
def left_out_with_the_mean_over_all_places(rng, theta, n):
    right_left(np.random.default_rng(0), theta, n)
    x, noise, std = drawn(rng, theta, n)
    heights = x * np.sin(x)
    others = (heights.sum() - heights) / (heights.size - 1) if heights.size else heights
    return (heights - others)[..., None] * np.stack([noise / std, noise**2 - 1], axis=-1) + rest(theta)


# Rows of the reparameterised gradient


@wrong(replaces="reparameterised_gradient", hint="factor σε, and here it is ε")
def moved_without_the_deviation(rng, theta, n):
    return by_path(rng, theta, n, way=lambda e, std, x: e)


@wrong(replaces="reparameterised_gradient", hint="factor σε, and here there is none")
def moved_without_the_chain_rule(rng, theta, n):
    return by_path(rng, theta, n, way=lambda e, std, x: 1.0)


@wrong(replaces="reparameterised_gradient", hint="here it is x cos x")
def moved_without_the_product_rule(rng, theta, n):
    return by_path(rng, theta, n, derivative=lambda x: x * np.cos(x))


@wrong(replaces="reparameterised_gradient", hint="are not (sin x + x cos x)")
def moved_with_two_draws(rng, theta, n):
    one, two = (right_moved(rng, theta, n) for _ in range(2))
    return np.stack([one[..., 0], two[..., 1]], axis=-1)


@wrong(replaces="reparameterised_gradient", hint="mirrored pairs")
def moved_in_mirrored_pairs(rng, theta, n):
    right_moved(np.random.default_rng(0), theta, n)
    mean, _, std = parts(theta)
    half = rng.standard_normal(((n + 1) // 2, *np.shape(theta)[:-1]))
    noise = np.stack([half, -half], axis=1).reshape(-1, *half.shape[1:])[:n]
    x = mean + std * noise
    slope = np.sin(x) + x * np.cos(x)
    return np.stack([slope, slope * std * noise], axis=-1) + rest(theta)


@wrong(replaces="reparameterised_gradient", hint="stratified")
def moved_with_stratified_draws(rng, theta, n):
    right_moved(np.random.default_rng(0), theta, n)
    mean, _, std = parts(theta)
    shape = (n, *np.shape(theta)[:-1])
    slices = rng.permuted(np.broadcast_to(np.arange(n).reshape(n, *[1] * (len(shape) - 1)), shape), axis=0)
    noise = stats.norm.ppf((slices + rng.random(shape)) / n)
    x = mean + std * noise
    slope = np.sin(x) + x * np.cos(x)
    return np.stack([slope, slope * std * noise], axis=-1) + rest(theta)


# The best baseline


@wrong(replaces="optimal_baseline", hint="E[h], the mean of x sin x")
def baseline_as_the_mean(theta):
    mean, _, std = parts(theta)
    wave = np.exp(-(std**2) / 2) * (mean * np.sin(mean) + std**2 * np.cos(mean))
    return np.stack([wave, wave], axis=-1)


@wrong(replaces="optimal_baseline", hint="without the square above")
def baseline_without_the_square(theta):
    _, tau, _ = parts(theta)
    return (right_gradient(theta) - rest(theta)) / np.stack([np.exp(-2 * tau), 2 + 0 * tau], axis=-1)


@wrong(replaces="optimal_baseline", hint="optimal_baseline(theta)")
def baseline_by_too_few_nodes(theta):
    mean, _, std = parts(theta)
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    x = mean[..., None] + std[..., None] * nodes
    squares = np.stack([nodes**2, (nodes**2 - 1) ** 2])
    return (x * np.sin(x)) @ (weights * squares).T / (squares @ weights)


# Variances


def covariance_at_nodes(rows, count):
    """A covariance (..., 2, 2) by Gauss-Hermite quadrature, for rows: nodes → (..., q, 2)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    weights, values = weights / weights.sum(), rows(nodes)
    values = values - np.einsum("q,...qi->...i", weights, values)[..., None, :]
    return np.einsum("q,...qi,...qj->...ij", weights, values, values)


def diagonal(matrix):
    return np.diagonal(matrix, axis1=-2, axis2=-1).copy()


def outer(a):
    return a[..., :, None] * a[..., None, :]


@wrong(replaces="score_covariance", hint="second moment")
def score_covariance_as_a_second_moment(theta, baseline=0.0):
    return right_score_covariance(theta, baseline) + outer(right_gradient(theta) - rest(theta))


@wrong(replaces="score_variance", trap="E44", hint="baseline ignored")
def score_variance_without_its_baseline(theta, baseline=0.0):
    right_score_variance(theta, baseline)
    return right_score_variance(theta)


@wrong(replaces="score_covariance", hint="score_covariance(theta, baseline)")
def score_covariance_by_too_few_nodes(theta, baseline=0.0):
    right = right_score_covariance(theta, baseline)  # refuses what ours refuses
    mean, _, std = (value[..., None] for value in parts(theta))

    def rows(e):
        x = mean + std * e
        score = np.stack(np.broadcast_arrays(e / std, e**2 - 1), axis=-1)
        return ((x * np.sin(x))[..., None] - np.asarray(baseline)[..., None, :] * np.ones(2)) * score

    if np.ndim(baseline) == 0:
        baseline = np.full(2, baseline)
    return covariance_at_nodes(rows, 40) + 0 * right


@wrong(replaces="reparameterised_covariance", hint="factor σ of σε missing")
def moved_covariance_without_the_deviation(theta):
    _, _, std = parts(theta)
    scale = np.stack([np.ones_like(std), std], axis=-1)
    return right_moved_covariance(theta) / outer(scale)


@wrong(replaces="reparameterised_variance", hint="The digits cancel")
def moved_variance_that_cancels(theta):
    mean, _, std = parts(theta)
    decay, v = np.exp(-2 * std**2), std**2
    sine, cosine = decay * np.sin(2 * mean), decay * np.cos(2 * mean)
    # E[h′²] and E[h′² (σε)²] from E[p(ε) e^{2ix}], minus the squares of the means
    first, gradient = right_moved_variance(theta), right_gradient(theta) - rest(theta)
    waves = 0.5 * (1 + mean**2 + v) + 0.5 * ((mean**2 - 4 * v**2 + v - 1) * cosine - 4 * mean * v * sine)
    waves = waves + mean * sine + 2 * v * cosine
    return np.stack([waves - gradient[..., 0] ** 2, first[..., 1]], axis=-1)


# Descents


def walk(start, rate, steps, gradient, rng, draws, baseline, decay, *, sign=-1, when=1, sampled=None, limit=True):
    """A descent like ours, with a sign, a beginning of the decay, or a slope of one's own."""
    given = np.random.default_rng(0) if rng is not None else None
    try:
        right_descent(
            start, rate=rate, steps=min(steps, 1) if steps is not True and isinstance(steps, int) else steps,
            gradient=gradient, rng=given, draws=draws, baseline=baseline, decay=decay,
        )  # fmt: skip
    except OverflowError:
        if limit:
            raise
    names = {"score": right_score, "leave_one_out": right_left, "reparameterised": right_moved}
    path = [np.array(start, dtype=float)]
    for t in range(steps):
        theta = path[-1]
        if gradient == "exact":
            slope = right_gradient(theta)
        elif sampled:
            slope = sampled(theta)
        else:
            more = (baseline,) if gradient == "score" else ()
            slope = names[gradient](rng, theta, draws, *more).mean(axis=0)
        path.append(theta + sign * rate * max(t + when, 1) ** -float(decay) * slope)
        if not (np.abs(path[-1]) <= (1e9, 100.0)).all():
            raise OverflowError(f"a rate of {rate} is too large")
    return np.stack(path)


@wrong(replaces="descend", hint="going up, not down")
def descent_upwards(start, *, rate, steps, gradient="exact", rng=None, draws=1, baseline=0.0, decay=0.0):
    return walk(start, rate, steps, gradient, rng, draws, baseline, decay, sign=1)


@wrong(replaces="descend", hint="begin one step late")
def descent_whose_decay_is_late(start, *, rate, steps, gradient="exact", rng=None, draws=1, baseline=0.0, decay=0.0):
    return walk(start, rate, steps, gradient, rng, draws, baseline, decay, when=0)


@wrong(replaces="descend", hint="the decay ignored")
def descent_without_decay(start, *, rate, steps, gradient="exact", rng=None, draws=1, baseline=0.0, decay=0.0):
    right_descent(start, rate=1e-9, steps=1, decay=decay)
    return right_descent(start, rate=rate, steps=steps, gradient=gradient, rng=rng, draws=draws, baseline=baseline)


@wrong(replaces="descend", trap="E44", hint="the baseline is ignored")
def descent_without_its_baseline(start, *, rate, steps, baseline=0.0, **more):
    right_descent(start, rate=1e-9, steps=1, baseline=baseline)
    return right_descent(start, rate=rate, steps=steps, **more)


@wrong(replaces="descend", hint="one draw is taken")
def descent_of_single_draws(start, *, rate, steps, gradient="exact", rng=None, draws=1, baseline=0.0, decay=0.0):
    right_descent(
        start, rate=1e-9, steps=1, gradient=gradient, draws=draws, rng=np.random.default_rng(0) if rng else None
    )
    fewer = 2 if gradient == "leave_one_out" else 1
    return right_descent(
        start, rate=rate, steps=steps, gradient=gradient, rng=rng, draws=fewer, baseline=baseline, decay=decay
    )


@wrong(replaces="descend", hint="added, not averaged")
def descent_that_adds_its_draws(start, *, rate, steps, gradient="exact", rng=None, draws=1, baseline=0.0, decay=0.0):
    def added(theta):
        names = {"score": right_score, "leave_one_out": right_left, "reparameterised": right_moved}
        more = (baseline,) if gradient == "score" else ()
        rows = names[gradient](rng, theta, draws, *more) - rest(theta)
        return rows.sum(axis=0) + rest(theta)

    return walk(start, rate, steps, gradient, rng, draws, baseline, decay, sampled=added)


@wrong(replaces="descend", hint="factor 1 − 1/n is left")
def descent_with_the_mean_of_all(start, *, rate, steps, gradient="exact", rng=None, draws=1, baseline=0.0, decay=0.0):
    def same_sample(theta):
        rows = right_left(rng, theta, draws) - rest(theta)
        return rows.mean(axis=0) * (draws - 1) / draws + rest(theta)

    own = same_sample if gradient == "leave_one_out" else None
    return walk(start, rate, steps, gradient, rng, draws, baseline, decay, sampled=own)


@wrong(replaces="descend", hint="no draw has a baseline")
def descent_that_leaves_none_out(start, *, rate, steps, gradient="exact", rng=None, draws=1, baseline=0.0, decay=0.0):
    def bare(theta):
        return right_score(rng, theta, draws).mean(axis=0)

    own = bare if gradient == "leave_one_out" else None
    return walk(start, rate, steps, gradient, rng, draws, baseline, decay, sampled=own)


@wrong(replaces="descend", hint="not made of the other draws of the same start")
def descent_that_leaves_one_out_of_all_starts(
    start, *, rate, steps, gradient="exact", rng=None, draws=1, baseline=0.0, decay=0.0
):
    def pooled(theta):
        x, noise, std = drawn(rng, theta, draws)
        heights = x * np.sin(x)
        others = (heights.sum() - heights) / (heights.size - 1)
        rows = (heights - others)[..., None] * np.stack([noise / std, noise**2 - 1], axis=-1)
        return rows.mean(axis=0) + rest(theta)

    own = pooled if gradient == "leave_one_out" else None
    return walk(start, rate, steps, gradient, rng, draws, baseline, decay, sampled=own)


@wrong(replaces="descend", hint="which is for 'score' alone")
def descent_with_a_baseline_for_every_gradient(
    start, *, rate, steps, gradient="exact", rng=None, draws=1, baseline=0.0, decay=0.0
):
    def moved(theta):
        return (right_moved(rng, theta, draws) - baseline).mean(axis=0)

    own = moved if gradient == "reparameterised" else None
    return walk(start, rate, steps, gradient, rng, draws, baseline, decay, sampled=own)


@wrong(replaces="descend", hint="with baseline=")
def descent_with_the_baselines_of_its_starts(start, *, rate, steps, baseline=0.0, **more):
    right_descent(start, rate=1e-9, steps=1, baseline=baseline)
    if np.shape(baseline) == (2,) and np.shape(start) == (2, 2):
        baseline = np.tile(baseline, (2, 1)).T
    return right_descent(start, rate=rate, steps=steps, baseline=baseline, **more)


@wrong(replaces="descend", trap="E46", hint="is rng copied, or seeded anew")
def descent_seeded_anew(start, *, rate, steps, rng=None, **more):
    seed = rng and int(rng.bit_generator.seed_seq.generate_state(1)[0])
    return right_descent(start, rate=rate, steps=steps, rng=rng and np.random.default_rng(seed), **more)


@wrong(replaces="descend", hint="has the same draws")
def descent_with_the_same_draws_in_every_step(
    start, *, rate, steps, gradient="exact", rng=None, draws=1, baseline=0.0, decay=0.0
):
    seed = rng and int(rng.integers(2**32))

    def same(theta):
        names = {"score": right_score, "leave_one_out": right_left, "reparameterised": right_moved}
        more = (baseline,) if gradient == "score" else ()
        return names[gradient](np.random.default_rng(seed), theta, draws, *more).mean(axis=0)

    return walk(start, rate, steps, gradient, rng, draws, baseline, decay, sampled=same)


@wrong(replaces="descend", hint="DID NOT RAISE")
def descent_that_runs_away(start, *, rate, steps, **more):
    path = right_descent(start, rate=1e-9, steps=steps, **more)
    try:
        return right_descent(start, rate=rate, steps=steps, **more)
    except OverflowError:
        return path * np.nan


# Clouds


@wrong(replaces="stationary_covariance", hint="the first order in α")
def settled_to_first_order(hessian, noise, *, rate):
    right_settled(hessian, noise, rate=rate)
    values, turn = np.linalg.eigh(hessian)
    return turn @ (rate * (turn.T @ noise @ turn) / np.add.outer(values, values)) @ turn.T


@wrong(replaces="stationary_covariance", hint="mixed terms dropped")
def settled_without_mixed_terms(hessian, noise, *, rate):
    right_settled(hessian, noise, rate=rate)
    values, turn = np.linalg.eigh(hessian)
    inner = rate * np.diag(turn.T @ noise @ turn) / (values * (2 - rate * values))
    return (turn * inner) @ turn.T


@wrong(replaces="stationary_covariance", hint="rate=0.5 was accepted")
def settled_at_any_rate(hessian, noise, *, rate):
    right_settled(hessian, noise, rate=min(rate, 1e-6) if np.isfinite(rate) else rate)
    d = len(hessian)
    step = np.eye(d) - rate * np.asarray(hessian, dtype=float)
    return np.linalg.lstsq(np.eye(d * d) - np.kron(step, step), rate**2 * np.ravel(noise))[0].reshape(d, d)


@wrong(replaces="average_covariance", hint="Σ/T")
def average_of_independent_steps(hessian, noise, *, rate, steps):
    right_average(hessian, noise, rate=rate, steps=steps)
    return right_settled(hessian, noise, rate=rate) / steps


@wrong(replaces="average_covariance", hint="the limit H⁻¹CH⁻¹/T")
def average_at_its_limit(hessian, noise, *, rate, steps):
    right_average(hessian, noise, rate=rate, steps=steps)
    inverse = np.linalg.inv(hessian)
    return inverse @ noise @ inverse / steps


@wrong(replaces="average_covariance", hint="is the start among the T places")
def average_with_its_start(hessian, noise, *, rate, steps):
    right_average(hessian, noise, rate=rate, steps=steps)
    if steps == 1:
        return 0.0 * right_average(hessian, noise, rate=rate, steps=1)
    return right_average(hessian, noise, rate=rate, steps=steps - 1) * ((steps - 1) / steps) ** 2
