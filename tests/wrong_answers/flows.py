"""Wrong mixtures, wrong maps and ways back, wrong draws, wrong fits."""

import numpy as np
import torch
from scipy import special, stats

from solutions import flows
from tests.wrong_answers import wrong

Right = flows.MixtureCDF  # kept: a wrong answer may stand in its place later
right_draw, right_log_density, right_responsibilities = flows.draw, flows.log_density, flows.responsibilities
right_gradient, right_entropy, right_divergence = flows.nll_gradient, flows.entropy, flows.kl_divergence
right_bisect, right_fit, right_em = flows.bisect, flows.fit, flows.fit_em
Bells, EM, Fit = flows.Bells, flows.EM, flows.Fit


def joint(x, bells):
    """log wᵢ + log N(x; μᵢ, σᵢ²), one row a point, once the arguments have been found in order."""
    right_log_density(x, bells)
    with np.errstate(divide="ignore"):
        return np.log(bells.weights) + stats.norm.logpdf(np.asarray(x, float)[:, None], bells.means, bells.stds)


# Draws


@wrong(replaces="draw", trap="E36", hint="the stds seem to be taken for variances")
def draw_with_variances(rng, bells, n):
    return right_draw(rng, bells._replace(stds=np.sqrt(bells.stds)), n)


@wrong(replaces="draw", trap="E35", hint="the last bell seems to have all")
def draw_with_a_last_bell_of_what_is_left(rng, bells, n):
    k = len(bells.means)
    weights = np.append(np.full(k - 1, 0.25), 1 - 0.25 * (k - 1))
    return right_draw(rng, bells._replace(weights=weights), n)


@wrong(replaces="draw", hint="bell by bell, in blocks")
def draw_bell_by_bell(rng, bells, n):
    counts = rng.multinomial(n, bells.weights)
    parts = zip(bells.means, bells.stds, counts, strict=True)
    return np.concatenate([rng.normal(mean, std, count) for mean, std, count in parts])


@wrong(replaces="draw", hint="does each bell get a fixed number of draws")
def draw_with_fixed_counts(rng, bells, n):
    right_draw(rng, bells, n)
    edges = np.round(np.cumsum(bells.weights) * n)
    component = rng.permutation(np.searchsorted(edges, np.arange(n), side="right"))
    return rng.normal(bells.means[component], bells.stds[component])


@wrong(replaces="draw", trap="E46", hint="NumPy's global generator")
def draw_from_the_global_generator(rng, bells, n):
    np.random.uniform()  # noqa: NPY002
    return right_draw(rng, bells, n)


@wrong(replaces="draw", trap="E46", hint="a second call repeats draws of the first")
def draw_that_seeds_itself(rng, bells, n):
    return right_draw(np.random.default_rng(0), bells, n)


# Log-densities and responsibilities


@wrong(replaces="log_density", trap="E34", hint="every bell counted whole")
def log_density_without_weights(x, bells):
    return special.logsumexp(joint(x, bells) - np.log(bells.weights), axis=1)


@wrong(replaces="log_density", hint="mean of the bells' logarithms")
def log_density_as_a_mean_of_logs(x, bells):
    right_log_density(x, bells)
    return stats.norm.logpdf(np.asarray(x, float)[:, None], bells.means, bells.stds) @ bells.weights


@wrong(replaces="log_density", hint="a sum that underflows")
def log_density_of_a_sum_that_underflows(x, bells):
    with np.errstate(divide="ignore"):
        return np.log(np.exp(joint(x, bells)).sum(axis=1))


@wrong(replaces="log_density", hint="weights=1.2 was accepted")
def log_density_of_any_weights(x, bells):
    if min(bells.weights) < 0:
        return right_log_density(x, bells)
    with np.errstate(all="ignore"):
        parts = stats.norm.logpdf(np.asarray(x, float)[:, None], bells.means, bells.stds)
        return special.logsumexp(np.log(bells.weights) + parts, axis=1)


@wrong(replaces="responsibilities", hint="are the weights left out?")
def responsibilities_without_weights(x, bells):
    return special.softmax(joint(x, bells) - np.log(bells.weights), axis=1)


@wrong(replaces="responsibilities", hint="do the columns sum to one")
def responsibilities_over_the_points(x, bells):
    return special.softmax(joint(x, bells), axis=0)


@wrong(replaces="responsibilities", hint="0/0? Work in logs")
def responsibilities_that_underflow(x, bells):
    p = np.exp(joint(x, bells))
    with np.errstate(all="ignore"):
        return p / p.sum(axis=1, keepdims=True)


# The gradient


@wrong(replaces="nll_gradient", trap="E28", hint="to be climbed")
def gradient_of_the_log_likelihood(x, bells):
    return -right_gradient(x, bells)


@wrong(replaces="nll_gradient", hint="forget the 1 of r(1 - u²)")
def gradient_without_the_normaliser_of_a_bell(x, bells):
    means, log_stds, logits = right_gradient(x, bells)
    return np.stack([means, log_stds - right_responsibilities(x, bells).mean(axis=0), logits])


@wrong(replaces="nll_gradient", hint="as if the weights had no normaliser")
def gradient_without_the_normaliser_of_the_weights(x, bells):
    means, log_stds, logits = right_gradient(x, bells)
    return np.stack([means, log_stds, logits - bells.weights])


@wrong(replaces="nll_gradient", hint="slope in σ, not in log σ")
def gradient_in_the_stds(x, bells):
    means, log_stds, logits = right_gradient(x, bells)
    return np.stack([means, log_stds / bells.stds, logits])


# Entropy and divergence


@wrong(replaces="entropy", hint="as if one knew the bell")
def entropy_of_the_bells_alone(bells):
    return float(bells.weights @ (0.5 * np.log(2 * np.pi * np.e) + np.log(bells.stds)))


@wrong(replaces="entropy", hint="entropy of a needle in a hill")
def entropy_on_a_grid_of_equal_steps(bells):
    right_entropy(bells)
    low, high = (bells.means - 10 * bells.stds).min(), (bells.means + 10 * bells.stds).max()
    x = np.linspace(low, high, 20_001)
    log_p = right_log_density(x, bells)
    return float(-np.trapezoid(np.exp(log_p) * log_p, x))


@wrong(replaces="kl_divergence", hint="the other direction")
def divergence_the_other_way(bells, other):
    return right_divergence(other, bells)


@wrong(replaces="kl_divergence", hint="without the entropy taken off")
def divergence_as_a_cross_entropy(bells, other):
    return right_divergence(bells, other) + right_entropy(bells)


# Bisection


@wrong(replaces="bisect", hint="one decision made for all points")
def bisect_with_one_decision_for_all(function, target, low, high, *, steps=60):
    right_bisect(function, target, low, high, steps=1)
    low, high = low.clone(), high.clone()
    for _ in range(steps):
        middle = (low + high) / 2
        if (function(middle) < target).all():
            low = middle
        else:
            high = middle
    return (low + high) / 2


@wrong(replaces="bisect", trap="E34", hint="clipped to the bracket's end")
def bisect_that_never_widens(function, target, low, high, *, steps=60):
    right_bisect(function, target, low, high, steps=1)
    for _ in range(steps):
        middle = (low + high) / 2
        below = function(middle) < target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


@wrong(replaces="bisect", hint="the lower end of the bracket returned")
def bisect_to_the_lower_end(function, target, low, high, *, steps=60):
    right_bisect(function, target, low, high, steps=1)
    wide = right_bisect(function, target, low, high, steps=steps)
    return torch.where(function(wide) < target, wide, wide - (high - low) / 2 ** (steps + 1))


@wrong(replaces="bisect", hint="writes into")
def bisect_in_place(function, target, low, high, *, steps=60):
    result = right_bisect(function, target, low, high, steps=steps)
    high[:] = result + 1.0
    return result


# The map


def as_tensor(x):
    """A tensor in double precision of a tensor or an array."""
    return (x if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))).double()


def parts(flow, x):
    """x as a tensor in double precision, once it has been found in order, with a column for each bell; and weights."""
    Right.log_density(flow, x)
    x = as_tensor(x)
    return x, (x[:, None] - flow.means) / flow.log_stds.exp(), flow.logits.softmax(0)


def through(flow, F, log_slope):
    """z and log dz/dx from F and log F', for either base."""
    if flow.base == "uniform":
        return F, log_slope
    z = torch.special.ndtri(F)
    return z, log_slope + 0.5 * z**2 + 0.5 * np.log(2 * np.pi)


@wrong(replaces="MixtureCDF", trap="E34", hint="Take the softmax")
class WithWeightsThatDoNotSumToOne(Right):
    def forward(self, x):
        x, u, _ = parts(self, x)
        F = (self.logits.exp() * torch.special.ndtr(u)).sum(1)
        return through(self, F, Right.log_density(self, x) + self.logits.logsumexp(0))


@wrong(replaces="MixtureCDF", trap="E34", hint="is the ½ of Φ - ½ left in")
class WithTheHalfOfTheSource(Right):
    def forward(self, x):
        x, u, w = parts(self, x)
        return (w * (torch.special.ndtr(u) - 0.5)).sum(1), Right.log_density(self, x)


@wrong(replaces="MixtureCDF", trap="E36", hint="log_stds read as log variances")
class WithLogVariances(Right):
    def forward(self, x):
        x, _, w = parts(self, x)
        u = (x[:, None] - self.means) / (0.5 * self.log_stds).exp()
        log_slope = (w.log() - 0.5 * self.log_stds - 0.5 * u**2 - 0.5 * np.log(2 * np.pi)).logsumexp(1)
        return through(self, (w * torch.special.ndtr(u)).sum(1), log_slope)


@wrong(replaces="MixtureCDF", hint="is the log-determinant missing?")
class WithoutLogDeterminant(Right):
    def forward(self, x):
        z, slope = super().forward(x)
        return z, 0 * slope


@wrong(replaces="MixtureCDF", hint="the base's log-density in it already")
class WithTheBaseInTheLogDeterminant(Right):
    def forward(self, x):
        z, slope = super().forward(x)
        return z, slope - 0.5 * (z**2 + np.log(2 * np.pi))


@wrong(replaces="MixtureCDF", hint="without that of Φ⁻¹")
class WithTheSlopeOfTheFirstHalf(Right):
    def forward(self, x):
        return super().forward(x)[0], Right.log_density(self, x)


@wrong(replaces="MixtureCDF", hint="does F round to 0 or 1 before Φ⁻¹ sees it?")
class ThatRoundsBeforeTheQuantile(Right):
    def forward(self, x):
        x, u, w = parts(self, x)
        return through(self, (w * torch.special.ndtr(u)).sum(1), Right.log_density(self, x))


@wrong(replaces="MixtureCDF", hint="does it pass through z")
class WhoseDensityPassesThroughTheBase(Right):
    def log_density(self, x):
        x, u, w = parts(self, x)
        z, slope = through(self, (w * torch.special.ndtr(u)).sum(1), Right.log_density(self, x))
        return slope if self.base == "uniform" else slope - 0.5 * z**2 - 0.5 * np.log(2 * np.pi)


@wrong(replaces="MixtureCDF", hint="the log of a sum that does")
class WhoseDensityUnderflows(Right):
    def log_density(self, x):
        x, u, w = parts(self, x)
        return (w / self.log_stds.exp() * torch.exp(-0.5 * u**2)).sum(1).log() - 0.5 * np.log(2 * np.pi)


@wrong(replaces="MixtureCDF", hint="does u² overflow?")
class WhoseSquareOverflows(Right):
    def log_density(self, x):
        x = Right._checked(self, x=x)
        u = (x[:, None] - self.means) / self.log_stds.exp()
        return (self.logits.log_softmax(0) - self.log_stds - 0.5 * u**2).logsumexp(1) - 0.5 * np.log(2 * np.pi)


@wrong(replaces="MixtureCDF", hint="are they exp(logits)")
class WhoseBellsAreNotNormalised(Right):
    def bells(self):
        return super().bells()._replace(weights=np.exp(self.logits.detach().double().numpy()))


# The way back


def bracketed(flow, z, low, high, steps=60, tolerance=0.0):
    """The root in a bracket that is the same for all z, by bisection; with the right gradient."""
    exact = Right.inverse(flow, z)
    low, high = torch.full_like(exact, low), torch.full_like(exact, high)
    with torch.no_grad():
        for _ in range(steps):
            middle = (low + high) / 2
            below = Right.forward(flow, middle)[0] < z.to(middle.dtype)
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            if (high - low).max() < tolerance:
                break
        x = (low + high) / 2
    return x + exact - exact.detach()


@wrong(replaces="MixtureCDF", trap="E34", hint="sought in [-3, 3] only?")
class ThatSeeksBetweenMinusThreeAndThree(Right):
    def inverse(self, z):
        return bracketed(self, as_tensor(z), -3.0, 3.0)


@wrong(replaces="MixtureCDF", hint="does the search end too early?")
class ThatSeeksToSixDigits(Right):
    def inverse(self, z):
        reach = 10 * float(self.means.detach().abs().max() + self.log_stds.detach().exp().max())
        return bracketed(self, as_tensor(z), -reach, reach, tolerance=1e-7)


@wrong(replaces="MixtureCDF", hint="cut off from the graph")
class ThatCutsTheGraph(Right):
    def inverse(self, z):
        return super().inverse(z).detach()


@wrong(replaces="MixtureCDF", hint="no gradient in means")
class ThatHasAGradientInZAlone(Right):
    def inverse(self, z):
        still = Right.from_bells(Right.bells(self), self.base).requires_grad_(False)
        return Right.inverse(still, z)


def with_gradients(flow, z, of_z=1.0, of_parameters=1.0):
    """The right inverse, its gradients in z and in the parameters multiplied."""
    x = Right.inverse(flow, z)
    still = Right.from_bells(Right.bells(flow), flow.base).requires_grad_(False)
    by_z = Right.inverse(still, z)
    by_z = by_z - by_z.detach()
    by_parameters = Right.inverse(flow, as_tensor(z).detach())
    by_parameters = by_parameters - by_parameters.detach()
    return x.detach() + of_z * by_z + of_parameters * by_parameters


@wrong(replaces="MixtureCDF", hint="is the sign reversed? It is -∂F/∂θ over p")
class WithTheSignOfTheImplicitDerivativeReversed(Right):
    def inverse(self, z):
        return with_gradients(self, z, of_parameters=-1.0)


@wrong(replaces="MixtureCDF", hint="not divided by the slope p")
class WithTheImplicitDerivativeNotDivided(Right):
    def inverse(self, z):
        p = Right.log_density(self, Right.inverse(self, z).detach()).exp().detach()
        return with_gradients(self, z, of_parameters=p)


@wrong(replaces="MixtureCDF", hint="z=0.0 was accepted")
class ThatInvertsWhatHasNoPreimage(Right):
    def inverse(self, z):
        if self.base == "uniform":
            z = as_tensor(z).clamp(1e-12, 1 - 1e-12)
        return super().inverse(z)


# Draws of a flow


@wrong(replaces="MixtureCDF", trap="E33", hint="z seems to be drawn from the uniform law")
class ThatDrawsUniformZAlways(Right):
    def sample(self, generator, n):
        return Right.inverse(self, torch.rand(n, generator=generator, dtype=torch.float64))


@wrong(replaces="MixtureCDF", trap="E46", hint="PyTorch's global generator was used")
class ThatBeginsFromTheGlobalGenerator(Right):
    def __init__(self, components, base="uniform", *, generator=None):
        super().__init__(components, base, generator=generator)
        if generator is None:
            self.means.data = torch.randn(components)


# EM


def em(x, start, steps, step):
    """Any step, as often as asked for, with the losses."""
    right_em(x, start, steps=steps)
    bells, losses = start, [-right_log_density(x, start).mean()]
    for _ in range(min(steps, 30)):
        bells = step(x, right_responsibilities(x, bells), bells)
        losses.append(-right_log_density(x, bells).mean())
    return EM(bells, np.array(losses))


def averages(x, r):
    mass = r.sum(axis=0)
    means = r.T @ x / mass
    return means, np.sqrt((r * (x[:, None] - means) ** 2).sum(axis=0) / mass), mass / len(x)


@wrong(replaces="fit_em", hint="about the old means")
def em_with_variances_about_the_old_means(x, start, *, steps=1000, gain=1e-12, smallest_std=1e-3):
    def step(x, r, bells):
        means, stds, weights = averages(x, r)
        return Bells(means, np.sqrt(stds**2 + (means - bells.means) ** 2), weights)

    return em(x, start, steps, step)


@wrong(replaces="fit_em", trap="E36", hint="is the root missing: are these variances?")
def em_without_the_root(x, start, *, steps=1000, gain=1e-12, smallest_std=1e-3):
    def step(x, r, bells):
        means, stds, weights = averages(x, r)
        return Bells(means, stds**2, weights)

    return em(x, start, steps, step)


@wrong(replaces="fit_em", hint="less the mean's square?")
def em_with_variances_as_differences(x, start, *, steps=1000, gain=1e-12, smallest_std=1e-3):
    def step(x, r, bells):
        means, _, weights = averages(x, r)
        squares = r.T @ x**2 / r.sum(axis=0)
        return Bells(means, np.sqrt(np.maximum(squares - means**2, (smallest_std * x.std()) ** 2)), weights)

    return em(x, start, steps, step)


@wrong(replaces="fit_em", hint="as in k-means")
def em_as_k_means(x, start, *, steps=1000, gain=1e-12, smallest_std=1e-3):
    def step(x, r, bells):
        chosen = np.eye(r.shape[1])[r.argmax(axis=1)]
        means = chosen.T @ x / np.maximum(chosen.sum(axis=0), 1)
        return Bells(means, *averages(x, r)[1:])

    return em(x, start, steps, step)


@wrong(replaces="fit_em", hint="losses[-1] of fit_em, at the bells it returns")
def em_whose_losses_end_a_step_before_its_bells(x, start, *, steps=1000, gain=1e-12, smallest_std=1e-3):
    fit = right_em(x, start, steps=steps, gain=gain, smallest_std=smallest_std)
    return EM(right_em(x, fit.bells, steps=1, smallest_std=smallest_std).bells, fit.losses)


@wrong(replaces="fit_em", hint="the smallest std not over that of x")
def em_with_an_absolute_smallest_std(x, start, *, steps=1000, gain=1e-12, smallest_std=1e-3):
    right_em(x, start, steps=1, gain=gain, smallest_std=smallest_std)
    return right_em(x, start, steps=steps, gain=gain, smallest_std=smallest_std / np.std(x))


# The fit


def trained(x, components, base, epochs, rate, falling, batch_size, start, generator, **twists):
    """The fit by Adam, in short; with one thing or another done wrongly."""
    generator = generator or torch.Generator()
    right_fit(x, components=components, base=base, epochs=min(epochs, 1), rate=rate, batch_size=batch_size, start=start)
    data = as_tensor(x).numpy()
    if start is None:
        theta = np.zeros((3, components))
        theta[0] = np.quantile(data, (np.arange(components) + 0.5) / components)
        theta[1] = np.log(data.std() / np.sqrt(components))
    else:
        theta = np.stack([part.detach().double().numpy() for part in (start.means, start.log_stds, start.logits)])
    epochs = min(epochs, 60)  # more than enough to go wrong in
    order, losses, first, second, steps = np.arange(len(data)), [], np.zeros_like(theta), np.zeros_like(theta), 0
    for epoch in range(epochs):
        if not (twists.get("in_order") or (twists.get("shuffled_once") and epoch)):
            order = torch.randperm(len(data), generator=generator).numpy()
        sums, sizes = [], []
        for begin in range(0, len(data), batch_size):
            batch = data[order[begin : begin + batch_size]]
            if twists.get("with_replacement"):
                batch = data[torch.randint(len(data), (len(batch),), generator=generator).numpy()]
            bells = Bells(theta[0], np.exp(theta[1]), special.softmax(theta[2]))
            slope = right_gradient(batch, bells) * (-1 if twists.get("climbing") else 1)
            steps += 1
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            now = rate * (1 - epoch / epochs) if falling else rate
            size = np.sqrt(second / (1 - 0.999**steps)) + 1e-8
            sums.append(-right_log_density(batch, bells).sum())
            sizes.append(len(batch))
            theta = theta - now * first / (1 - 0.9**steps) / size
        by_batch = twists.get("by_batch")
        losses.append(np.mean(np.array(sums) / sizes) if by_batch else sum(sums) / sum(sizes))
    flow = Right.from_bells(Bells(theta[0], np.exp(theta[1]), special.softmax(theta[2])), base)
    return Fit(flow.requires_grad_(False), np.array(losses))


def a_fit(**twists):
    """A function like `fit` with its twists."""

    def fit(
        x,
        *,
        components,
        base="uniform",
        epochs=500,
        rate=0.02,
        falling=True,
        batch_size=128,
        start=None,
        smallest_std=1e-3,
        generator=None,
    ):
        return trained(x, components, base, epochs, rate, falling, batch_size, start, generator, **twists)

    return fit


def enter(name, function, **entry):
    """Enter a function in the bank under a name."""
    function.__name__ = function.__qualname__ = name
    wrong(replaces="fit", **entry)(function)


enter("fit_with_batches_of_equal_weight", a_fit(by_batch=True), trap="E37", hint="were the batch means averaged")
enter("fit_shuffled_once", a_fit(shuffled_once=True), hint="are the points shuffled only once")
enter("fit_whose_rate_falls_by_the_epoch", a_fit(), hint="the rate does not fall within an epoch")
enter("fit_in_order", a_fit(in_order=True), hint="no shuffling?")
enter("fit_with_replacement", a_fit(with_replacement=True), hint="each epoch sees each point once")
enter("fit_uphill", a_fit(climbing=True), trap="E28", hint="does it climb, where it should descend?")


@wrong(replaces="fit", trap="E33", hint="gives a flow of base uniform")
def fit_that_forgets_its_base(x, *, base="uniform", **settings):
    fit = right_fit(x, base=base, **settings)
    return fit._replace(flow=Right.from_bells(fit.flow.bells()).to(fit.flow.means.dtype).requires_grad_(False))


@wrong(replaces="fit", trap="E46", hint="fit uses PyTorch's global generator")
def fit_with_the_global_generator(x, **settings):
    torch.rand(1)
    return right_fit(x, **settings)


@wrong(replaces="fit", hint="of its start")
def fit_that_trains_its_start(x, *, start=None, **settings):
    fit = right_fit(x, start=start, **settings)
    if start is not None:
        with torch.no_grad():
            start.means.copy_(fit.flow.means)
    return fit


@wrong(replaces="fit", hint="without log b")
def fit_with_losses_of_standardised_data(x, **settings):
    fit = right_fit(x, **settings)
    return fit if settings.get("start") else fit._replace(losses=fit.losses - np.log(np.std(np.asarray(x, float))))


@wrong(replaces="fit", hint="is the least")
def fit_without_a_smallest_std(x, *, smallest_std=1e-3, **settings):
    right_fit(x, smallest_std=smallest_std, **{**settings, "epochs": 1})
    return right_fit(x, smallest_std=1e-9, **settings)


@wrong(replaces="fit", hint="the small last batch left out")
def fit_without_its_last_batch(x, *, batch_size=128, **settings):
    right_fit(x, batch_size=batch_size, **{**settings, "epochs": min(settings.get("epochs", 1), 1)})
    whole = len(x) - len(x) % batch_size
    return right_fit(x[:whole] if whole > 1 else x, batch_size=batch_size, **settings)


@wrong(replaces="fit", hint="is x, in thousands or millionths, brought to the scale")
def fit_of_raw_data(x, *, components, start=None, **settings):
    right_fit(x, components=components, start=start, **{**settings, "epochs": min(settings.get("epochs", 1), 1)})
    if start is None:
        data = np.asarray(x, float)
        means = np.quantile(data, (np.arange(components) + 0.5) / components)
        stds = np.full(components, data.std() / np.sqrt(components))
        start = Right.from_bells(Bells(means, stds, np.full(components, 1 / components)))
    return right_fit(x, components=components, start=start, **settings)
