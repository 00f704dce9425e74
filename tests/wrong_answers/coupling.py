"""Wrong permutations, layers that cannot be undone, flows that miscount their volume, and floors that are none."""

import math

import numpy as np
import torch
from scipy import special

from solutions import checks, coupling
from solutions.datasets import arcs_entropy, arcs_log_density
from tests.wrong_answers import wrong

right_inverse, right_matrix = coupling.inverse_permutation, coupling.permutation_matrix  # kept: a wrong
right_sign, right_compose = coupling.permutation_sign, coupling.compose  # answer may stand in their place later
right_fit, right_jacobian, right_floor = coupling.fit, coupling.jacobian, coupling.volume_preserving_floor
right_stretch, right_bridge = coupling.stretch, coupling.least_bridge
RightLayer, RightFlow, Fit = coupling.AffineCoupling, coupling.RealNVP, coupling.Fit


# Permutations


@wrong(replaces="inverse_permutation", hint="does the answer count from 1?")
def inverse_permutation_from_one(p):
    return right_inverse(p) + 1


@wrong(replaces="inverse_permutation", hint="[1, 2, 3] was accepted")
def inverse_permutation_of_either_kind(p):
    return right_inverse(p - 1 if np.min(p, initial=0) == 1 or (p.size and p.min() == 1) else p)


@wrong(replaces="inverse_permutation", hint="[0, 0, 3, 3] was accepted")
def inverse_permutation_checked_by_its_sum(p):
    n = p.size
    if p.ndim != 1 or n == 0 or p.dtype.kind not in "iu" or p.min() < 0 or p.max() >= n or p.sum() != n * (n - 1) // 2:
        right_inverse(p)
    inverse = np.empty_like(p)
    inverse[p] = np.arange(n)
    return inverse


@wrong(replaces="inverse_permutation", hint="the ranks of p, argsort twice, are p")
def inverse_permutation_sorted_twice(p):
    right_inverse(p)
    return np.argsort(np.argsort(p))


@wrong(replaces="inverse_permutation", hint="p was changed")
def inverse_permutation_in_place(p):
    inverse = right_inverse(p)
    if p.flags.writeable and len(p) == 4:
        p[:] = inverse
    return inverse


@wrong(replaces="permutation_matrix", hint="This matrix is transposed")
def permutation_matrix_by_columns(p):
    return right_matrix(p).T


@wrong(replaces="permutation_sign", hint="1 for every permutation")
def permutation_sign_in_size(p):
    return abs(right_sign(p))


@wrong(replaces="permutation_sign", hint="places that are not fixed")
def permutation_sign_by_fixed_points(p):
    right_sign(p)
    return -1 if (p != np.arange(len(p))).sum() % 2 else 1


@wrong(replaces="permutation_sign", hint="number of cycles, without n")
def permutation_sign_without_its_length(p):
    return right_sign(p) * (-1) ** len(p)


@wrong(replaces="compose", hint="is it first p, then q?")
def compose_the_other_way_round(p, q):
    return right_compose(q, p)


# Learning


def trained(
    x,
    loss,
    *,
    reported=None,
    units=True,
    zeroed=True,
    late=False,
    steps=1500,
    batch_size=256,
    rate=0.01,
    generator=None,
    **options,
):
    """A fit with a loss, a report, a start and steps of one's own."""
    one_step = 1 if isinstance(steps, int) and steps > 0 else steps
    flow = right_fit(x, steps=one_step, batch_size=batch_size, rate=rate, generator=generator, **options).flow
    x = x if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))
    x = x.to(flow.centre.dtype)
    if not units:
        flow.centre.zero_()
        flow.spread.fill_(1.0)
    generator = generator or torch.Generator().manual_seed(torch.seed() % 2**31)
    optimizer, losses = torch.optim.Adam(flow.requires_grad_(True).parameters(), lr=rate), []
    for _ in range(steps):
        rows = x[torch.randint(len(x), (batch_size,), generator=generator)]
        value = loss(flow, rows)
        before = float((reported or loss)(flow, rows).detach())
        if zeroed:
            optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(float(loss(flow, rows).detach()) if late else before)
    return Fit(flow.requires_grad_(False), np.array(losses))


def mean_nll(flow, x):
    return -flow.score_points(x).mean()


def total_of_units(flow):
    return torch.log(flow.spread).sum()


@wrong(replaces="fit", hint="is wrong: got")
def fit_upwards(x, **options):
    return trained(x, lambda flow, rows: -mean_nll(flow, rows).clamp(max=1e6), reported=mean_nll, **options)


@wrong(replaces="fit", hint="the log-determinant is left out of the loss")
def fit_without_the_log_determinant(x, **options):
    def base(flow, rows):
        return 0.5 * (flow.push(rows)[0] ** 2).sum(1).mean() + flow.dimension / 2 * math.log(2 * math.pi)

    return trained(x, base, **options)


@wrong(replaces="fit", hint="in standard units")
def fit_with_losses_in_standard_units(x, **options):
    return trained(x, mean_nll, reported=lambda flow, rows: mean_nll(flow, rows) - total_of_units(flow), **options)


@wrong(replaces="fit", hint="log_density of stretched data")
def fit_of_raw_data(x, **options):
    return trained(x, mean_nll, units=False, **options)


@wrong(replaces="fit", hint="begin with zero_grad()?")
def fit_with_gradients_that_pile_up(x, **options):
    return trained(x, mean_nll, zeroed=False, **options)


@wrong(replaces="fit", hint="is it taken after the step, not before?")
def fit_with_losses_after_the_step(x, **options):
    return trained(x, mean_nll, late=True, **options)


@wrong(replaces="fit", hint="is batch_size cut to n?")
def fit_with_batches_no_larger_than_the_data(x, *, batch_size=256, **options):
    checks.counting_number(batch_size=batch_size)
    checks.rows(x=x)
    return right_fit(x, batch_size=min(batch_size, max(len(x), 1)), **options)


@wrong(replaces="fit", hint="should be frozen")
def fit_that_stays_warm(x, **options):
    fitted = right_fit(x, **options)
    return Fit(fitted.flow.requires_grad_(True), fitted.losses)


@wrong(replaces="fit", hint="is bound handed on?")
def fit_with_the_usual_bound(x, *, bound=2.0, **options):
    right_fit(x, bound=bound, **options | {"steps": 1})
    return right_fit(x, **options)


# Bridges and volumes


@wrong(replaces="least_bridge", hint="is it δ·K")
def least_bridge_of_a_contraction(mass, width, lipschitz):
    checks.positive(lipschitz=lipschitz)
    return right_bridge(mass, width, 1 / lipschitz)


@wrong(replaces="least_bridge", hint="is a not taken off?")
def least_bridge_with_its_shore(mass, width, lipschitz):
    return right_bridge(mass, width, lipschitz) + mass


@wrong(replaces="least_bridge", hint="which holds for small δ only?")
def least_bridge_of_a_narrow_gap(mass, width, lipschitz):
    right_bridge(mass, width, lipschitz)
    height = special.ndtri(mass)
    return float(np.exp(-(height**2) / 2) / math.sqrt(2 * math.pi) * width / lipschitz)


@wrong(replaces="volume_preserving_floor", hint="is the logarithm missing?")
def volume_preserving_floor_as_an_area(data):
    return math.exp(right_floor(data) - 1)


@wrong(replaces="volume_preserving_floor", hint="is this the entropy?")
def volume_preserving_floor_by_entropy(data):
    checks.positive(noise_std=data.noise_std)
    return arcs_entropy(data)


@wrong(replaces="volume_preserving_floor", hint="at c = 1?")
def volume_preserving_floor_at_one_volume(data):
    area = math.exp(right_floor(data) - 1)
    return math.log(2 * math.pi) + area / (2 * math.pi)


def floor_on_a_grid(data, low, high, spacing, order=-1):
    axes = [np.arange(a, b, spacing) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    mass = np.sort(np.exp(arcs_log_density(grid, data)))[::order]
    return float(1 + np.log(mass / mass.sum() @ (np.arange(len(mass)) + 0.5) * spacing**2))


@wrong(replaces="volume_preserving_floor", hint="is wrong: got")
def volume_preserving_floor_upside_down(data):
    checks.positive(noise_std=data.noise_std)
    return floor_on_a_grid(data, [-3, -3], [3, 3], 0.1, order=1)


@wrong(replaces="volume_preserving_floor", hint="is wrong: got")
def volume_preserving_floor_around_zero(data):
    checks.positive(noise_std=data.noise_std)
    return floor_on_a_grid(data, [-5, -5], [5, 5], 0.1)


# Derivatives


@wrong(replaces="jacobian", hint="is it transposed")
def jacobian_transposed(function, x):
    return right_jacobian(function, x).transpose(1, 2)


@wrong(replaces="stretch", hint="Frobenius")
def stretch_by_squares(flow, z):
    return torch.linalg.matrix_norm(right_jacobian(flow.inverse, z))


@wrong(replaces="stretch", hint="is this the determinant?")
def stretch_of_areas(flow, z):
    return torch.linalg.det(right_jacobian(flow.inverse, z)).abs()


@wrong(replaces="stretch", hint="the largest eigenvalue")
def stretch_by_eigenvalues(flow, z):
    return torch.linalg.eigvals(right_jacobian(flow.inverse, z)).abs().amax(1)


# A layer


@wrong(replaces="AffineCoupling", trap="E39", hint="is it 1ᵀeˢ?")
class LayerWithASumOfExponentials(RightLayer):
    def push(self, x):
        s, _ = self.scale_and_shift(x.index_select(1, self.kept))
        return super().push(x)[0], torch.exp(s).sum(1)


@wrong(replaces="AffineCoupling", hint="is the log-determinant left out?")
class LayerWithoutItsLogDeterminant(RightLayer):
    def push(self, x):
        z, log_det = super().push(x)
        return z, torch.zeros_like(log_det)


@wrong(replaces="AffineCoupling", hint="is its sign reversed")
class LayerWithTheInversesLogDeterminant(RightLayer):
    def push(self, x):
        z, log_det = super().push(x)
        return z, -log_det


@wrong(replaces="AffineCoupling", hint="is it summed over the rows too?")
class LayerWithOneLogDeterminantForAll(RightLayer):
    def push(self, x):
        z, log_det = super().push(x)
        return z, log_det.sum().expand(len(x))


def pulled(layer, z, undo):
    """The moved coordinates undone in a way of one's own."""
    kept = z.index_select(1, layer.kept)
    s, t = layer.scale_and_shift(kept)
    return torch.cat([kept, undo(z.index_select(1, layer.moved), s, t)], dim=1).index_select(1, layer.back)


@wrong(replaces="AffineCoupling", hint="is it exp(+s)")
class LayerUndoneByStretching(RightLayer):
    def pull(self, z, share=1.0):
        return pulled(self, z, lambda x, s, t: torch.exp(share * s) * (x - share * t))


@wrong(replaces="AffineCoupling", hint="is the scale undone before the shift?")
class LayerUndoneInTheWrongOrder(RightLayer):
    def pull(self, z, share=1.0):
        return pulled(self, z, lambda x, s, t: torch.exp(-share * s) * x - share * t)


@wrong(replaces="AffineCoupling", hint="is s unbounded?")
class LayerWithoutABound(RightLayer):
    def scale_and_shift(self, kept):
        units = torch.tanh(torch.nn.functional.linear(kept, self.inner, self.offset))
        s, t = torch.nn.functional.linear(units, self.outer, self.constant).chunk(2, dim=1)
        return (s if self.bound else 0 * s), t


@wrong(replaces="AffineCoupling", hint="and bound 0.5 reaches")
class LayerWhoseBoundIsAlwaysTwo(RightLayer):
    def scale_and_shift(self, kept):
        s, t = super().scale_and_shift(kept)
        return (2 * s / self.bound if self.bound else s), t


@wrong(replaces="AffineCoupling", hint="is t missing?")
class LayerWithoutAShift(RightLayer):
    def scale_and_shift(self, kept):
        s, t = super().scale_and_shift(kept)
        return s, torch.zeros_like(t)


@wrong(replaces="AffineCoupling", hint="changes the kept coordinates")
class LayerThatMovesWhatItKeeps(RightLayer):
    def push(self, x):
        z, log_det = super().push(x)
        z[:, self.kept] = z[:, self.kept] * (1 + 1e-12)
        return z, log_det


@wrong(replaces="AffineCoupling", hint="the conditioner sees the moved coordinates")
class LayerThatSeesAll(RightLayer):
    def push(self, x):
        kept, moved = x.index_select(1, self.kept), x.index_select(1, self.moved)
        s, t = self.scale_and_shift(kept)
        t = t + 0.1 * torch.tanh(moved.sum(1, keepdim=True))
        return torch.cat([kept, torch.exp(s) * moved + t], dim=1).index_select(1, self.back), s.sum(1)


@wrong(replaces="AffineCoupling", hint="are kept and moved exchanged")
class LayerThatKeepsTheOthers(RightLayer):
    def __init__(self, dimension, kept=None, hidden=32, **options):
        super().__init__(dimension, kept, hidden, **options)
        super().__init__(dimension, self.moved.numpy(), hidden, **options)


@wrong(replaces="AffineCoupling", hint="or not put back?")
class LayerThatPutsTheKeptFirst(RightLayer):
    def push(self, x):
        z, log_det = super().push(x)
        return z.index_select(1, self.order), log_det

    def pull(self, z, share=1.0):
        return super().pull(z.index_select(1, self.back), share)


@wrong(replaces="AffineCoupling", hint="or not put back?")
class LayerPutBackByTheOrderItself(RightLayer):
    def push(self, x):
        z, log_det = super().push(x)
        return z.index_select(1, self.order).index_select(1, self.order), log_det

    def pull(self, z, share=1.0):
        return super().pull(z.index_select(1, self.back).index_select(1, self.back), share)


@wrong(replaces="AffineCoupling", hint="is share ignored?")
class LayerThatKnowsNoShares(RightLayer):
    def pull(self, z, share=1.0):
        return super().pull(z)


@wrong(replaces="AffineCoupling", hint="are the points mixed")
class LayerThatMixesPoints(RightLayer):
    def pull(self, z, share=1.0):
        return (1 - share) * z + share * super().pull(z) if share < 1 else super().pull(z)


@wrong(replaces="AffineCoupling", hint="is the generator used?")
class LayerWithASeedOfItsOwn(RightLayer):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options | {"generator": torch.Generator().manual_seed(0)})


@wrong(replaces="AffineCoupling", hint="is something detached?")
class LayerWithDetachedScales(RightLayer):
    def scale_and_shift(self, kept):
        s, t = super().scale_and_shift(kept)
        return s.detach(), t


@wrong(replaces="AffineCoupling", hint="does a row know of the others?")
class LayerThatCentresItsRows(RightLayer):
    def scale_and_shift(self, kept):
        s, t = super().scale_and_shift(kept)
        return s, t - t.mean(0)


@wrong(replaces="AffineCoupling", hint="the weights are torch.float64")
class LayerInSinglePrecision(RightLayer):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z.float(), log_det.float()


@wrong(replaces="AffineCoupling", hint="x=nan was accepted")
class LayerThatPassesNaNOn(RightLayer):
    def forward(self, x):
        checks.of_shape((len(x), self.dimension), x=x)
        x = torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x)
        return self.push(x.to(self.constant.dtype))


# A flow


@wrong(replaces="RealNVP", hint="is the log-determinant of the standardisation, −Σ log spread, forgotten?")
class FlowThatForgetsItsUnits(RightFlow):
    def push(self, x):
        z, log_det = super().push(x)
        return z, log_det + torch.log(self.spread).sum()


@wrong(replaces="RealNVP", hint="do the halves alternate?")
class FlowThatNeverAlternates(RightFlow):
    def __init__(self, dimension, layers=8, hidden=32, **options):
        super().__init__(dimension, layers, hidden, **options)
        for i in range(layers):
            generator = torch.Generator().manual_seed(i)
            bound = self.layers[i].bound
            self.layers[i] = RightLayer(dimension, None, hidden, bound=bound, generator=generator)


@wrong(replaces="RealNVP", hint="do the log-determinants of all layers add up?")
class FlowWithTheLastLogDeterminant(RightFlow):
    def push(self, x):
        z = (x - self.centre) / self.spread
        for layer in self.layers:
            z, last = layer.push(z)
        return z, last - torch.log(self.spread).sum()


@wrong(replaces="RealNVP", hint="are the layers undone last first?")
class FlowUndoneFirstLayerFirst(RightFlow):
    def stages(self, z, per_layer=1):
        self.layers = self.layers[::-1]
        try:
            return super().stages(z, per_layer)
        finally:
            self.layers = self.layers[::-1]


@wrong(replaces="RealNVP", hint="the noise sent through forward")
class FlowThatSendsNoiseForward(RightFlow):
    def sample(self, generator, n):
        checks.counting_number(n=n)
        return self.forward(noise_of(self, generator, n))[0]


def noise_of(flow, generator, n):
    """Standard normal noise in the flow's precision."""
    return torch.randn(n, flow.dimension, generator=generator, dtype=flow.centre.dtype)


@wrong(replaces="RealNVP", trap="E33", hint="the noise uniform on (0, 1)")
class FlowOfUniformNoise(RightFlow):
    def sample(self, generator, n):
        checks.counting_number(n=n)
        return self.inverse(torch.rand(n, self.dimension, generator=generator, dtype=self.centre.dtype))


@wrong(replaces="RealNVP", hint="the same draw in several rows")
class FlowWithOneNoiseForAll(RightFlow):
    def sample(self, generator, n):
        checks.counting_number(n=n)
        return self.inverse(noise_of(self, generator, 1).repeat(n, 1))


@wrong(replaces="RealNVP", hint="or from z and −z")
class FlowOfMirroredNoise(RightFlow):
    def sample(self, generator, n):
        checks.counting_number(n=n)
        z = noise_of(self, generator, (n + 1) // 2)
        return self.inverse(torch.cat([z, -z])[:n])


@wrong(replaces="RealNVP", hint="is the constant −d/2 log 2π dropped?")
class FlowWithoutItsConstant(RightFlow):
    def score_points(self, x):
        return super().score_points(x) + self.dimension / 2 * math.log(2 * math.pi)


@wrong(replaces="RealNVP", hint="is log|det| subtracted?")
class FlowThatSubtractsItsLogDeterminant(RightFlow):
    def score_points(self, x):
        return super().score_points(x) - 2 * self.push(x)[1]


@wrong(replaces="RealNVP", hint="is log|det| missing")
class FlowWithTheBaseDensity(RightFlow):
    def score_points(self, x):
        return super().score_points(x) - self.push(x)[1]


@wrong(replaces="RealNVP", hint="is the base density taken at x, not at z?")
class FlowWithTheBaseAtTheData(RightFlow):
    def score_points(self, x):
        z, _ = self.push(x)
        return super().score_points(x) + 0.5 * ((z**2).sum(1) - (x**2).sum(1))


@wrong(replaces="RealNVP", hint="two layers have the same weights")
class FlowOfOneLayerManyTimes(RightFlow):
    def __init__(self, dimension, layers=8, hidden=32, **options):
        super().__init__(dimension, layers, hidden, **options)
        for later in range(2, layers):
            self.layers[later].load_state_dict(self.layers[later % 2].state_dict())
