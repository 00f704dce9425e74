"""Wrong gradients and climbs, chains that start in the wrong place, and wrong prices of it all."""

import numpy as np
from scipy import optimize, special, stats
from scipy.optimize import linear_sum_assignment

from solutions import checks, contrastive_divergence, langevin, mixtures
from tests.wrong_answers import wrong

# kept: a wrong answer may stand in the place of one of them later
right_mean_gradient, right_match = contrastive_divergence.mean_gradient, contrastive_divergence.match
right_fit, right_fit_em = contrastive_divergence.fit, contrastive_divergence.fit_em
right_cd, right_persistent = contrastive_divergence.cd, contrastive_divergence.persistent
right_stationary, right_ball = contrastive_divergence.stationary_covariance, contrastive_divergence.ball_probability
right_score_matching = contrastive_divergence.score_matching_gradient
right_information, right_covariance = contrastive_divergence.cd_information, contrastive_divergence.cd_covariance
right_side, Negatives = contrastive_divergence.unadjusted_side, contrastive_divergence.Negatives
Fit, Match = contrastive_divergence.Fit, contrastive_divergence.Match


def weigh(x, means, logits):
    """The mean of r (x − μ) with r the softmax of such logits."""
    away = x[:, None, :] - means
    return np.einsum("nk,nkd->kd", special.softmax(logits(away), axis=1), away) / len(x)


def squares(x, means):
    return ((x[:, None, :] - means) ** 2).sum(axis=2)


# The gradient


@wrong(replaces="mean_gradient", trap="E13", hint="could not broadcast input array")
def mean_gradient_that_puts_all_samples_into_one_row(x, means):
    gradient = np.zeros(means.shape)
    weights = special.softmax(-squares(x, means) / 2, axis=1)
    for i in range(len(means)):
        gradient[i] = weights[:, i, None] * (x - means[i])
    return gradient


@wrong(replaces="mean_gradient", trap="E13", hint="slope at one point")
def mean_gradient_of_the_last_sample(x, means):
    gradient = np.zeros(means.shape)
    for point in x:
        gradient = special.softmax(-squares(point[None], means) / 2, axis=1)[0][:, None] * (point - means)
    return gradient


@wrong(replaces="mean_gradient", hint="are the responsibilities missing")
def mean_gradient_without_responsibilities(x, means):
    return x.mean(axis=0) - means


@wrong(replaces="mean_gradient", trap="E7", hint="distance not squared")
def mean_gradient_with_a_distance_not_squared(x, means):
    return weigh(x, means, lambda away: -np.linalg.norm(away, axis=2) / 2)


@wrong(replaces="mean_gradient", hint="the sum over the points, not the mean")
def mean_gradient_as_a_sum(x, means):
    return right_mean_gradient(x, means) * len(x)


@wrong(replaces="mean_gradient", hint="work in logarithms")
def mean_gradient_that_divides_zero_by_zero(x, means):
    weights = np.exp(-squares(x, means) / 2)
    return np.einsum("nk,nkd->kd", weights / weights.sum(axis=1, keepdims=True), x[:, None, :] - means) / len(x)


@wrong(replaces="mean_gradient", hint="mean_gradient of int8 is wrong")
def mean_gradient_in_the_type_of_its_input(x, means):
    checks.table(x=x, means=means)
    return weigh(x, means, lambda away: -(away * away).sum(axis=2, dtype=away.dtype) / 2)


@wrong(replaces="mean_gradient", hint="with x=(0, 2) was accepted")
def mean_gradient_of_anything(x, means):
    with np.errstate(all="ignore"):
        return weigh(np.asarray(x, float), np.asarray(means, float), lambda away: -(away**2).sum(axis=2) / 2)


_seen = {}


@wrong(replaces="mean_gradient", hint="mean_gradient of arrays that have changed")
def mean_gradient_remembered_by_identity(x, means):
    if (id(x), id(means)) not in _seen:
        _seen.clear()
        _seen[id(x), id(means)] = x, means, right_mean_gradient(x, means)  # kept, so that no id comes twice
    return _seen[id(x), id(means)][2]


# Relabelling


@wrong(replaces="match", trap="E22", hint="in the order they came in")
def match_without_relabelling(means, truth):
    return Match(np.array(means, float), float(np.linalg.norm(means - truth)))


@wrong(replaces="match", hint="did two truths get the same mean?")
def match_of_the_nearest(means, truth):
    found = np.array(means, float)[squares(truth, means).argmin(axis=1)]
    return Match(found, float(np.linalg.norm(found - truth)))


@wrong(replaces="match", hint="was the nearest pair matched first")
def match_of_the_nearest_pair_first(means, truth):
    costs, found = squares(truth, means).astype(float), np.zeros(np.shape(truth))
    for _ in range(len(truth)):
        i, j = np.unravel_index(costs.argmin(), costs.shape)
        found[i] = means[j]
        costs[i], costs[:, j] = np.inf, np.inf
    return Match(found, float(np.linalg.norm(found - truth)))


@wrong(replaces="match", hint="sum of distances minimised")
def match_that_minimises_distances(means, truth):
    order = linear_sum_assignment(np.sqrt(squares(truth, means)))[1]
    return Match(np.array(means, float)[order], float(np.linalg.norm(means[order] - truth)))


@wrong(replaces="match", hint="the sum of the distances of the pairs")
def match_with_a_sum_of_distances(means, truth):
    found = right_match(means, truth).means
    return Match(found, float(np.linalg.norm(found - truth, axis=1).sum()))


@wrong(replaces="match", hint="with truth=(2, 2) was accepted")
def match_of_what_there_is(means, truth):
    order = linear_sum_assignment(squares(truth, means))[1]
    return Match(np.array(means, float)[order], float(np.linalg.norm(means[order] - truth[: len(order)])))


# The fit


def climb(rng, data, start, negatives, rate, steps, push, average=lambda path: path[len(path) // 2 :].mean(axis=0)):
    """A fit with such a push: (positive gradient, negative gradient, update) ↦ step at the rate 1."""
    steps = steps or int(np.ceil(getattr(negatives, "updates", 300) / min(rate, 1.0)))
    negatives = negatives.fresh() if hasattr(negatives, "fresh") else negatives
    path = [np.array(start, float)]
    for t in range(steps):
        positive, negative = negatives(rng, data, path[-1].copy())
        gradients = right_mean_gradient(positive, path[-1]), right_mean_gradient(negative, path[-1])
        path.append(path[-1] + rate * push(*gradients, t))
    return Fit(average(np.array(path)), np.array(path))


@wrong(replaces="fit", trap="E11", hint="are the two phases exchanged")
def fit_that_descends(rng, data, start, negatives, *, rate=1.0, steps=None):
    return climb(rng, data, start, negatives, rate, steps, lambda plus, minus, t: minus - plus)


@wrong(replaces="fit", hint="is the negative phase missing?")
def fit_without_a_negative_phase(rng, data, start, negatives, *, rate=1.0, steps=None):
    return climb(rng, data, start, negatives, rate, steps, lambda plus, minus, t: plus)


@wrong(replaces="fit", trap="E12", hint="is this the last iterate")
def fit_of_the_last_iterate(rng, data, start, negatives, *, rate=1.0, steps=None):
    return climb(rng, data, start, negatives, rate, steps, lambda plus, minus, t: plus - minus, lambda path: path[-1])


@wrong(replaces="fit", trap="E12", hint="told to make 5 steps, fit returned a path of 2 places")
def fit_that_stops_at_a_short_step(rng, data, start, negatives, *, rate=1.0, steps=None):
    path = [np.array(start, float)]
    for _ in range(steps or 10_000):
        path.append(right_fit(rng, data, path[-1], negatives, rate=rate, steps=1).path[1])
        if np.linalg.norm(path[-1] - path[-2]) < 1e-1:
            break
    return Fit(np.mean(path[len(path) // 2 :], axis=0), np.array(path))


@wrong(replaces="fit", trap="E14", hint="fit(...).path is wrong")
def fit_that_updates_with_chains_only(rng, data, start, negatives, *, rate=1.0, steps=None):
    draw_mcmc = isinstance(negatives, Negatives)
    return climb(rng, data, start, negatives, rate, steps, lambda plus, minus, t: draw_mcmc * (plus - minus))


@wrong(replaces="fit", trap="E15", hint="do the negatives take the place of the means?")
def fit_whose_samples_overwrite_the_means(rng, data, start, negatives, *, rate=1.0, steps=None):
    path = [np.array(start, float)]
    for _ in range(steps or 300):
        path.append(negatives(rng, data, path[-1])[1][: len(start)])
    return Fit(np.mean(path[len(path) // 2 :], axis=0), np.array(path))


@wrong(replaces="fit", hint="over the data, and not over the positives")
def fit_whose_positives_are_the_data(rng, data, start, negatives, *, rate=1.0, steps=None):
    return right_fit(rng, data, start, lambda *given: (data, negatives(*given)[1]), rate=rate, steps=steps)


@wrong(replaces="fit", hint="hand them a copy")
def fit_that_hands_out_its_path(rng, data, start, negatives, *, rate=1.0, steps=None):
    path = np.zeros((steps + 1, *np.shape(start)))
    path[0] = start
    for t in range(steps):
        before = path[t].copy()
        positive, negative = negatives(rng, data, path[t])
        path[t + 1] = before + rate * (right_mean_gradient(positive, before) - right_mean_gradient(negative, before))
    return Fit(path[len(path) // 2 :].mean(axis=0), path)


@wrong(replaces="fit", hint="are chains of an earlier fit inherited?")
def fit_that_inherits_chains(rng, data, start, negatives, *, rate=1.0, steps=None):
    return right_fit(rng, data, start, lambda *given: negatives(*given), rate=rate, steps=steps)


@wrong(replaces="fit", trap="E18", hint="another generator gives the same path")
def fit_with_a_seed_of_its_own(rng, data, start, negatives, *, rate=1.0, steps=None):
    return right_fit(np.random.default_rng(0), data, start, unaware(negatives, rng), rate=rate, steps=steps)


def unaware(negatives, rng):
    """The same for what is handed on, where that is looked at."""
    return negatives if isinstance(negatives, Negatives) else lambda _, data, means: negatives(rng, data, means)


@wrong(replaces="fit", hint="the means ran away, and fit said nothing")
def fit_that_runs_away(rng, data, start, negatives, *, rate=1.0, steps=None):
    try:
        return climb(rng, data, start, negatives, rate, steps, lambda plus, minus, t: plus - minus)
    except ValueError:
        return Fit(np.full(np.shape(start), np.nan), np.zeros((1, *np.shape(start))))


@wrong(replaces="fit", hint="fit with rate=0.7 made 300 steps")
def fit_of_three_hundred_steps_whatever_the_rate(rng, data, start, negatives, *, rate=1.0, steps=None):
    return right_fit(rng, data, start, negatives, rate=rate, steps=steps or getattr(negatives, "updates", 300))


# Negatives


def walk(rng, means, start, step_size, steps, adjusted):
    return langevin.sample(rng, mixtures.target(means), start, step_size, steps, adjusted).positions


def begun(rng, data, n, start):
    """Where chains start that are told, or else normal with the moments of the data."""
    if start is None:
        return data.mean(axis=0) + data.std(axis=0) * rng.standard_normal((n, data.shape[1]))
    return start(rng) if callable(start) else start


@wrong(replaces="direct", hint="not of the means it was given")
def direct_from_the_first_means(n):
    first = []

    def phases(rng, data, means, last):
        first.append(means.copy())
        return data, mixtures.draw(rng, first[0], n)[0]

    return Negatives(phases)


@wrong(replaces="direct", trap="E3", hint="all the draws seem to be of one component")
def direct_from_one_component(n):
    def phases(rng, data, means, last):
        return data, means[rng.integers(len(means))] + rng.standard_normal((n, np.shape(means)[1]))

    return Negatives(phases)


@wrong(replaces="direct", trap="E4", hint="draws of a component with another variance")
def direct_with_another_variance(n):
    def phases(rng, data, means, last):
        noise = np.sqrt(2) * rng.standard_normal((n, np.shape(means)[1]))
        return data, means[rng.integers(len(means), size=n)] + noise

    return Negatives(phases)


@wrong(replaces="direct", hint="an equal share of the draws")
def direct_of_equal_shares(n):
    def phases(rng, data, means, last):
        component = rng.permutation(np.arange(n) % len(means))
        return data, means[component] + rng.standard_normal((n, means.shape[1]))

    checks.counting_number(n=n)
    return Negatives(phases)


@wrong(replaces="mcmc", hint="at the data of another call?")
def mcmc_around_the_first_data(n, chain_length, step_size, start=None, *, adjusted=True):
    moments = []

    def phases(rng, data, means, last):
        if start is not None:
            return data, walk(rng, means, begun(rng, data, n, start), step_size, chain_length, adjusted)
        if not moments:
            moments.extend([data.mean(axis=0), data.std(axis=0)])
        begin = rng.normal(*moments, size=(n, data.shape[1]))
        return data, walk(rng, means, begin, step_size, chain_length, adjusted)

    return Negatives(phases)


@wrong(replaces="mcmc", trap="E15", hint="draws of the model, not ends of chains")
def mcmc_that_never_uses_its_chains(n, chain_length, step_size, start=None, *, adjusted=True):
    def phases(rng, data, means, last):
        walk(rng, means, begun(rng, data, n, start), step_size, chain_length, adjusted)
        return data, mixtures.draw(rng, means, n)[0]

    return Negatives(phases)


@wrong(replaces="mcmc", trap="E16", hint="to be multiplied by the mean")
def mcmc_whose_starts_multiply_mean_and_deviation(n, chain_length, step_size, start=None, *, adjusted=True):
    def phases(rng, data, means, last):
        begin = rng.standard_normal((n, data.shape[1])) * data.std(axis=0) * data.mean(axis=0)
        begin = begin if start is None else begun(rng, data, n, start)
        return data, walk(rng, means, begin, step_size, chain_length, adjusted)

    return Negatives(phases)


@wrong(replaces="mcmc", hint="chains seem to go on from the call before")
def mcmc_that_goes_on(n, chain_length, step_size, start=None, *, adjusted=True):
    def phases(rng, data, means, last):
        begin = begun(rng, data, n, start) if last is None else last
        return data, walk(rng, means, begin, step_size, chain_length, adjusted)

    return Negatives(phases)


@wrong(replaces="mcmc", trap="E10", hint="no step seems to be refused")
def mcmc_that_always_moves(n, chain_length, step_size, start=None, *, adjusted=True):
    def phases(rng, data, means, last):
        return data, walk(rng, means, begun(rng, data, n, start), step_size, chain_length, False)

    return Negatives(phases)


@wrong(replaces="mcmc", trap="E2", hint="the noise seems to have the variance ε, not 2ε")
def mcmc_with_half_the_noise(n, chain_length, step_size, start=None, *, adjusted=True):
    def phases(rng, data, means, last):
        x = np.array(begun(rng, data, n, start), float)
        for _ in range(chain_length):
            x = x + step_size * mixtures.score(x, means) + np.sqrt(step_size) * rng.standard_normal(x.shape)
        return data, x

    return Negatives(phases)


@wrong(replaces="cd", trap="E17", hint="they do not start there, row for row")
def cd_from_fresh_draws_of_the_model(n, chain_length, step_size, *, adjusted=True):
    def phases(rng, data, means, last):
        rows = data[rng.choice(len(data), size=n, replace=False)]
        return rows, walk(rng, means, mixtures.draw(rng, means, n)[0], step_size, chain_length, adjusted)

    return Negatives(phases)


@wrong(replaces="cd", trap="E17", hint="positives of cd are not rows of the data")
def cd_from_fresh_draws_of_the_truth(n, chain_length, step_size, *, adjusted=True):
    def phases(rng, data, means, last):
        rows = mixtures.draw(rng, np.resize(mixtures.SQUARE, (4, data.shape[1])), n)[0]
        return rows, walk(rng, means, rows, step_size, chain_length, adjusted)

    return Negatives(phases)


@wrong(replaces="cd", hint="should be the 4 rows at which its chains start")
def cd_with_all_the_data_as_positives(n, chain_length, step_size, *, adjusted=True):
    def phases(rng, data, means, last):
        rows = data[rng.choice(len(data), size=n, replace=False)]
        return data, walk(rng, means, rows, step_size, chain_length, adjusted)

    return Negatives(phases)


@wrong(replaces="cd", hint="cd takes the same rows at each update")
def cd_of_the_first_rows(n, chain_length, step_size, *, adjusted=True):
    def phases(rng, data, means, last):
        checks.at_most(len(data), n=n)
        return data[:n], walk(rng, means, data[:n], step_size, chain_length, adjusted)

    return Negatives(phases)


@wrong(replaces="cd", hint="with n=4 was accepted")
def cd_of_as_many_rows_as_there_are(n, chain_length, step_size, *, adjusted=True):
    def phases(rng, data, means, last):
        rows = data[rng.permutation(len(data))[:n]]
        return rows, walk(rng, means, rows, step_size, chain_length, adjusted)

    return Negatives(phases)


@wrong(replaces="cd", hint="dealt out like cards")
def cd_by_epochs(n, chain_length, step_size, *, adjusted=True):
    left = []

    def phases(rng, data, means, last):
        checks.at_most(len(data), n=n)
        if len(left) < n:
            left[:] = rng.permutation(len(data))
        rows = data[[left.pop() for _ in range(n)]]
        return rows, walk(rng, means, rows, step_size, chain_length, adjusted)

    return Negatives(phases, right_cd(n, chain_length, step_size).updates)


@wrong(replaces="persistent", hint="drawn without replacement")
def persistent_from_different_rows(n, chain_length, step_size, start=None, *, adjusted=True):
    def phases(rng, data, means, last):
        if last is None and start is None:
            last = data[rng.choice(len(data), size=n, replace=n > len(data))]
        elif last is None:
            last = begun(rng, data, n, start)
        return data, walk(rng, means, last, step_size, chain_length, adjusted)

    return Negatives(phases, right_persistent(n, chain_length, step_size).updates)


@wrong(replaces="persistent", hint="its chains start anew")
def persistent_that_starts_anew(n, chain_length, step_size, start=None, *, adjusted=True):
    right = right_persistent(n, chain_length, step_size, start, adjusted=adjusted)
    return Negatives(lambda rng, data, means, last: right.phases(rng, data, means, None), right.updates)


@wrong(replaces="persistent", hint="do not begin at rows of the data")
def persistent_from_draws_of_the_model(n, chain_length, step_size, start=None, *, adjusted=True):
    def phases(rng, data, means, last):
        last = mixtures.draw(rng, means, n)[0] if last is None and start is None else last
        last = begun(rng, data, n, start) if last is None else last
        return data, walk(rng, means, last, step_size, chain_length, adjusted)

    return Negatives(phases, right_persistent(n, chain_length, step_size).updates)


@wrong(replaces="persistent", hint="follow the means of the call before")
def persistent_of_the_first_model(n, chain_length, step_size, start=None, *, adjusted=True):
    right, first = right_persistent(n, chain_length, step_size, start, adjusted=adjusted), []

    def phases(rng, data, means, last):
        first.append(means.copy())
        return right.phases(rng, data, first[0], last)

    return Negatives(phases, right.updates)


@wrong(replaces="persistent", hint="fresh() does not forget the chains")
def persistent_that_cannot_forget(n, chain_length, step_size, start=None, *, adjusted=True):
    negatives = right_persistent(n, chain_length, step_size, start, adjusted=adjusted)
    negatives.fresh = lambda: negatives
    return negatives


# EM


@wrong(replaces="fit_em", hint="are equal rows counted once?")
def fit_em_of_distinct_rows(data, start, *, tolerance=1e-10, steps=20_000):
    return right_fit_em(np.unique(data, axis=0), start, tolerance=tolerance, steps=steps)


@wrong(replaces="fit_em", hint="(k-means)")
def fit_em_by_k_means(data, start, *, tolerance=1e-10, steps=20_000):
    means = np.array(start, float)
    for _ in range(100):
        nearest = np.eye(len(means))[squares(data, means).argmin(axis=1)]
        means = nearest.T @ data / nearest.sum(axis=0)[:, None]
    return means


@wrong(replaces="fit_em", hint="are the weights of the components estimated too?")
def fit_em_that_estimates_weights(data, start, *, tolerance=1e-10, steps=20_000):
    means, weights = np.array(start, float), np.ones(len(start))
    for _ in range(2000):
        r = special.softmax(-squares(data, means) / 2 + np.log(weights), axis=1)
        means, weights = r.T @ data / r.sum(axis=0)[:, None], r.mean(axis=0)
    return means


@wrong(replaces="fit_em", hint="did it stop too early?")
def fit_em_of_a_hundred_steps(data, start, *, tolerance=1e-10, steps=20_000):
    means = np.array(start, float)
    for _ in range(100):
        r = special.softmax(-squares(data, means) / 2, axis=1)
        means = r.T @ data / r.sum(axis=0)[:, None]
    return means


@wrong(replaces="fit_em", hint="a mean without data became")
def fit_em_that_divides_by_nothing(data, start, *, tolerance=1e-10, steps=20_000):
    means = np.array(start, float)
    for _ in range(3000):
        r = special.softmax(-squares(data, means) / 2, axis=1)
        means = r.T @ data / r.sum(axis=0)[:, None]
    return means


@wrong(replaces="fit_em", hint="DID NOT RAISE")
def fit_em_that_returns_what_it_has(data, start, *, tolerance=1e-10, steps=20_000):
    try:
        return right_fit_em(data, start, tolerance=tolerance, steps=steps)
    except RuntimeError:
        return np.array(start, float)


# The prices


@wrong(replaces="stationary_covariance", hint="ηH in the bracket missing")
def stationary_covariance_of_a_small_rate(information, n, rate=1.0):
    return rate * np.eye(len(information)) / (2 * n)


@wrong(replaces="stationary_covariance", trap="E12", hint="the covariance of a step")
def stationary_covariance_of_the_step(information, n, rate=1.0):
    return 2 * rate * information @ right_stationary(information, n, rate)


@wrong(replaces="stationary_covariance", hint="with rate=4.5 was accepted")
def stationary_covariance_at_any_rate(information, n, rate=1.0):
    checks.positive(rate=rate)
    if rate == 4.0:
        raise ValueError("rate must be below 4, got 4.0")
    return rate * np.linalg.inv(2 * np.eye(len(information)) - rate * information) / n


@wrong(replaces="ball_probability", hint="its mean eigenvalue times the identity")
def ball_probability_of_the_trace(radius, covariance):
    return float(stats.chi2.cdf(radius**2 * len(covariance) / np.trace(covariance), len(covariance)))


@wrong(replaces="ball_probability", trap="E12", hint="is it the complement")
def ball_probability_of_going_on(radius, covariance):
    return 1 - right_ball(radius, covariance)


@wrong(replaces="score_matching_gradient", hint="is the divergence ∇·s missing?")
def score_matching_gradient_of_the_square_alone(x, means):
    r, away = mixtures.responsibilities(x, means), x[:, None, :] - means
    s = mixtures.score(x, means)
    d = means - (r @ means)[:, None, :]
    along = np.einsum("nkd,nd->nk", d, s)
    return np.mean(r[..., None] * (away * along[..., None] + s[:, None, :]), axis=0)


@wrong(replaces="score_matching_gradient", hint="with the sign reversed?")
def score_matching_gradient_uphill(x, means):
    return -right_score_matching(x, means)


@wrong(replaces="score_matching_covariance", hint="is this D⁻¹ alone?")
def score_matching_covariance_without_its_middle(means):
    size, h = np.size(means), 1e-5

    def slopes_at(x):
        return (mixtures.responsibilities(x, means)[:, :, None] * (x[:, None, :] - means)).reshape(len(x), size)

    def products(x):
        steps = h * np.eye(x.shape[1])
        slope = np.stack([(slopes_at(x + e) - slopes_at(x - e)) / (2 * h) for e in steps], axis=2)
        return slope @ slope.mT

    return np.linalg.inv(mixtures.expectation(products, means))


@wrong(replaces="cd_information", hint="is the side left out, and 3 taken?")
def cd_information_of_one_square(time, side=3.0):
    return right_information(time)


@wrong(replaces="cd_covariance", hint="is this A⁻¹?")
def cd_covariance_as_of_a_likelihood(time, side=3.0):
    return np.linalg.inv(right_information(time, side))


@wrong(replaces="unadjusted_side", hint="is the noise's variance taken for ε, not 2ε?")
def unadjusted_side_with_half_the_noise(side, step_size, chain_length):
    h = 1 / 32
    x, z = np.arange(-side / 2 - 9, side / 2 + 9, h), np.arange(-8, 8.1, 0.25)
    p = special.softmax(np.logaddexp(-((x - side / 2) ** 2) / 2, -((x + side / 2) ** 2) / 2))
    w = special.softmax(-(z**2) / 2)

    def push(s):
        ends = (x + step_size * (s / 2 * np.tanh(s * x / 2) - x))[:, None] + np.sqrt(step_size) * z
        return p @ (x * np.tanh(s * x / 2)) - p @ (ends * np.tanh(s * ends / 2)) @ w

    return float(optimize.brentq(push, 0.2, 4 * side, xtol=1e-12))
