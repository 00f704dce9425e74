"""Flows on the line: bend a law that is easy to draw from until it fits the data.

The map is the distribution function of a mixture of Gaussians,
F(x) = Σᵢ wᵢ Φ((x − μᵢ)/σᵢ),  with weights that sum to one, so that its slope is the
mixture's density. `Bells` is such a mixture in numbers; `MixtureCDF` is the flow, whose
parameters can learn: μᵢ, log σᵢ, and logits whose softmax is w.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.special import logsumexp, roots_legendre
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.special import erfcx, ndtri
from tqdm import tqdm

from solutions import checks
from solutions.checks import Number
from solutions.randomness import given_or_fresh
from solutions.tensors import as_tensor

BASES = ("uniform", "normal")

Series = Real[ndarray, "n"] | Real[Tensor, "n"]


class Bells(NamedTuple):
    """A mixture of Gaussians on the line,  p(x) = Σᵢ wᵢ N(x; μᵢ, σᵢ²).

    The second field holds standard deviations, and the weights sum to one.
    """

    means: Real[ndarray, "k"]
    stds: Real[ndarray, "k"]
    weights: Real[ndarray, "k"]


BELLS = Bells(
    means=np.array([-1.0, 0.2, 1.5]),
    stds=np.array([0.25, 0.25, 0.25]),
    weights=np.array([1.0, 1.0, 1.0]) / 3,
)


class Fit(NamedTuple):
    """A trained flow, and the mean NLL of each epoch's points as they were visited."""

    flow: "MixtureCDF"
    losses: Float[ndarray, "epochs"]


class EM(NamedTuple):
    """Fitted bells, and the mean NLL before the first step and after each of them."""

    bells: Bells
    losses: Float[ndarray, "visited"]


def draw(rng: np.random.Generator, bells: Bells, n: int) -> Float[ndarray, "n"]:
    """Return n draws  x = μ_c + σ_c z,  with P(c = i) = wᵢ and z ~ N(0, 1).

    Args:
        rng: the source of randomness.
        bells: the mixture.
        n: how many draws.
    """
    bells = _checked(bells)
    checks.counting_number(n=n)
    component = rng.choice(len(bells.means), size=n, p=bells.weights)
    return bells.means[component] + bells.stds[component] * rng.standard_normal(n)


def log_density(x: Real[ndarray, "n"], bells: Bells) -> Float[ndarray, "n"]:
    """Return  log p(x) = log Σᵢ exp(log wᵢ + log N(x; μᵢ, σᵢ²)).

    Args:
        x: n points.
        bells: the mixture.
    """
    checks.series(x=x)
    return logsumexp(_log_joint(x, _checked(bells)), axis=0)


def responsibilities(x: Real[ndarray, "n"], bells: Bells) -> Float[ndarray, "n k"]:
    """Return  rᵢ(x) = wᵢ N(x; μᵢ, σᵢ²) / p(x),  the probability that bell i made x.

    Args:
        x: n points.
        bells: the mixture.
    """
    checks.series(x=x)
    log_joint = _log_joint(x, _checked(bells))
    return np.exp(log_joint - logsumexp(log_joint, axis=0)).T


def nll_gradient(x: Real[ndarray, "n"], bells: Bells) -> Float[ndarray, "3 k"]:
    """Return the slope of  −1/n Σⱼ log p(xⱼ)  in μ, in log σ and in the logits.

    With  u = (x − μᵢ)/σᵢ  and the `responsibilities` r, row by row it is  −⟨r u⟩/σᵢ,
    ⟨r (1 − u²)⟩  and  wᵢ − ⟨r⟩,  where ⟨·⟩ is the mean over the data.

    Args:
        x: n points.
        bells: the mixture; its logits are log wᵢ and a constant.
    """
    checks.series(x=x)
    return _nll_and_gradient(np.asarray(x, dtype=float), _theta(bells))[1]


def entropy(bells: Bells) -> float:
    """Return  −∫ p log p  in nats, by quadrature: the lowest mean NLL of any density.

    Args:
        bells: p.
    """
    bells = _checked(bells)
    return -_integral(lambda log_p: log_p, bells)


def kl_divergence(bells: Bells, other: Bells) -> float:
    """Return  ∫ p log(p/q)  by quadrature: what q's mean NLL exceeds the entropy by.

    Args:
        bells: p, from which the data come.
        other: q.
    """
    bells, other = _checked(bells), _checked(other)
    return _integral(lambda log_p, log_q: log_p - log_q, bells, other)


def bisect(
    function: Callable[[Tensor], Tensor],
    target: Float[Tensor, "n"],
    low: Float[Tensor, "n"],
    high: Float[Tensor, "n"],
    *,
    steps: int = 60,
) -> Float[Tensor, "n"]:
    """Return x with  |x − f⁻¹(target)| ≤ width / 2^{steps+1},  each in its bracket.

    First a bracket that does not hold its root is doubled, away from the end that is on
    the wrong side, until it does; `width` is its length then. Each step halves it, and
    x is the middle of the last.

    Args:
        function: f, increasing, from (n,) to (n,), each entry from its own.
        target: the values sought.
        low: where the brackets begin.
        high: where they end, above `low`.
        steps: how many times to halve.
    """
    checks.counting_number(steps=steps)
    ends = {"target": target, "low": low, "high": high}
    checks.series(**{name: end.numpy() for name, end in ends.items()})
    checks.same_shape(**ends)
    checks.positive(**{"high - low": high - low})
    checks.not_nan(**{"function(low)": function(low), "function(high)": function(high)})
    while (short := function(low) > target).any():
        low = torch.where(short, 2 * low - high, low)
        _require_reach(low, target[short])
    while (short := function(high) < target).any():
        high = torch.where(short, 2 * high - low, high)
        _require_reach(high, target[short])
    return _halved(function, target, low, high, steps)


class MixtureCDF(nn.Module):
    """The map  z = F(x) = Σᵢ wᵢ Φ((x − μᵢ)/σᵢ)  onto (0, 1), or  z = Φ⁻¹(F(x))  onto ℝ.

    If z has the law of the base, then x = inverse(z) has the density F′(x), a mixture
    of Gaussians, with either base. Results have the wider precision of the parameters'
    and the argument's.

    Args:
        components: how many bells, k.
        base: "uniform", on (0, 1), or "normal", N(0, 1).
        generator: draws the first means from N(0, 1); None for one that is seeded
            afresh. At first σᵢ = 1, and the weights are equal.
    """

    def __init__(
        self,
        components: int,
        base: str = "uniform",
        *,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        checks.counting_number(components=components)
        checks.one_of(BASES, base=base)
        self.base = base
        means = torch.randn(components, generator=given_or_fresh(generator))
        self.means = nn.Parameter(means)
        self.log_stds = nn.Parameter(torch.zeros_like(means))
        self.logits = nn.Parameter(torch.zeros_like(means))

    @classmethod
    def from_bells(cls, bells: Bells, base: str = "uniform") -> "MixtureCDF":
        """The flow, in double precision, whose density is that of these bells.

        Args:
            bells: the mixture, no weight of which is 0.
            base: "uniform" or "normal".
        """
        return _flow(_theta(bells), base)

    def bells(self) -> Bells:
        """The mixture that its density is, as arrays in double precision."""
        means, log_stds, logits = _parameters(self)
        return Bells(means, np.exp(log_stds), np.exp(logits - logsumexp(logits)))

    def forward(self, x: Series) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """Return z and  log dz/dx,  which is  log F′(x)  with the uniform base, and
        log F′(x) − log φ(z)  with the normal one.

        Args:
            x: n points, a tensor or an array.
        """
        x = self._checked(x=x)
        if self.base == "uniform":
            v, upper = self._towards_the_tail(x)
            tail = (self.logits.softmax(0) * _ndtr(v)).sum(1)
            return torch.where(upper, 1 - tail, tail), self._log_density(x)
        v, upper = self._towards_the_tail(x)
        log_parts = self.logits.log_softmax(0) + _log_ndtr(v)
        log_tail = log_parts.logsumexp(1)
        z = _quantile(log_tail)
        # the density over the tail's mass needs no difference of large logarithms
        log_hazards = log_parts.log_softmax(1) + _log_hazard(v) - self.log_stds
        slope = log_hazards.logsumexp(1) - _log_hazard(z)
        return torch.where(upper, -z, z), slope

    def inverse(self, z: Series) -> Float[Tensor, "n"]:
        """Return the x that `forward` sends to z, by bisection to the last digits.

        Its derivative in z is  1/(dz/dx),  and in a parameter θ it is  −∂_θF(x)/F′(x):
        rᵢ for μᵢ,  rᵢ (x − μᵢ)  for log σᵢ,  wᵢ (F − Φᵢ)/F′  for the logit.

        Args:
            z: n values that the base can take: strictly between 0 and 1 if it is
                uniform, any numbers if it is normal; a tensor or an array.

        Reference: Figurnov, Mohamed and Mnih (2018), Implicit reparameterization
        gradients.
        """
        z = self._checked(z=z)
        if self.base == "uniform":
            checks.proper_fraction(z=z)
        return self._inverse(z)

    def sample(self, generator: torch.Generator, n: int) -> Float[Tensor, "n"]:
        """Return n draws  inverse(z),  z from the base; they have the gradient, too.

        Args:
            generator: the source of randomness.
            n: how many draws.
        """
        checks.counting_number(n=n)
        if self.base == "uniform":
            z = torch.rand(n, generator=generator, dtype=torch.float64)
            z = z.clamp(min=2.0**-54)  # rand may return 0, once in 2⁵³ draws
        else:
            z = torch.randn(n, generator=generator, dtype=torch.float64)
        return self._inverse(z).to(self.means.dtype)

    def log_density(self, x: Series) -> Float[Tensor, "n"]:
        """Return  log F′(x) = log Σᵢ exp(log wᵢ − log σᵢ + log φ((x − μᵢ)/σᵢ)).

        It is the same for both bases and does not pass through z, so that it is finite
        wherever x is; where even the logarithm leaves the numbers (in double precision
        beyond 10¹⁵⁴ standard deviations) it stays at about half the lowest of them.

        Args:
            x: n points, a tensor or an array.
        """
        return self._log_density(self._checked(x=x))

    def _log_density(self, x: Tensor) -> Tensor:
        log_weights = self.logits.log_softmax(0)
        u = self._standardised(x)
        constant = 0.5 * np.log(2 * np.pi)
        return (log_weights - self.log_stds - 0.5 * u**2).logsumexp(1) - constant

    def _standardised(self, x: Tensor) -> Tensor:
        """(x − μᵢ)/σᵢ  for each point and bell; its square stays a number."""
        u = (x[:, None] - self.means) / self.log_stds.exp()
        largest = torch.finfo(u.dtype).max ** 0.5
        return u.clamp(-largest, largest)

    def _towards_the_tail(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """±(x − μᵢ)/σᵢ, the sign such that less than half of the mass lies below, and
        where it had to be turned.
        """
        u = self._standardised(x)
        upper = (self.logits.softmax(0) * _ndtr(u)).sum(1) > 0.5
        return torch.where(upper[:, None], -u, u), upper

    def _inverse(self, z: Tensor) -> Tensor:
        return _Inverse.apply(z, self.base, self.means, self.log_stds, self.logits)

    def _checked(self, **argument) -> Tensor:
        """The argument, if it is a row of numbers, in the wider precision."""
        ((_, value),) = argument.items()
        value = as_tensor(value)
        if not value.is_floating_point():
            value = value.to(self.means.dtype)
        checks.series(**dict.fromkeys(argument, value.detach().double().numpy()))
        return value.to(torch.promote_types(value.dtype, self.means.dtype))


def fit(
    x: Series,
    *,
    components: int,
    base: str = "uniform",
    epochs: int = 500,
    rate: Number = 0.02,
    falling: bool = True,
    batch_size: int = 128,
    start: MixtureCDF | None = None,
    smallest_std: Number = 1e-3,
    generator: torch.Generator | None = None,
) -> Fit:
    """Minimise the mean NLL of a `MixtureCDF` by Adam on minibatches.

    An epoch visits every point once, in an order of its own. Its loss is the mean over
    the points, to which a small last batch contributes as much as it has points.

    Args:
        x: n ≥ 2 points, not all equal.
        components: how many bells.
        base: "uniform" or "normal"; the density that is learnt is the same.
        epochs: how many times to go through the data.
        rate: of Adam, for σ and weights in logs, for means in units of x's standard
            deviation. With a `start` it is for means as they are.
        falling: whether the rate falls along a line, to nothing at the end; at a
            constant rate the parameters never come to rest.
        batch_size: how many points a step looks at.
        start: the flow to begin with, which stays as it is; None for equal weights,
            means at x's quantiles and standard deviations of that of x over √k.
        smallest_std: the least σ allowed, over the standard deviation of x. Without it
            a bell that meets two equal points has a likelihood without bound.
        generator: draws the batches; None for one that is seeded afresh.

    Returns:
        the flow, in the precision of x, its gradients switched off; and the losses.

    Reference: Kingma and Ba (2015), Adam: a method for stochastic optimization.
    """
    checks.counting_number(components=components, epochs=epochs, batch_size=batch_size)
    checks.one_of(BASES, base=base)
    checks.positive(rate=rate, smallest_std=smallest_std)
    x, dtype = _training_data(x)
    centre, std = x.mean(), x.std()
    if start is None:
        scale = std
        theta = np.zeros((3, components))
        levels = (np.arange(components) + 0.5) / components
        theta[0] = (np.quantile(x, levels) - centre) / scale
        theta[1] = -0.5 * np.log(components)
    else:
        if len(start.means) != components:
            raise ValueError(
                f"components must be as many as start has, {len(start.means)}, "
                f"got {components}"
            )
        scale, theta = 1.0, _parameters(start)
        theta[0] -= centre
    lowest = np.log(smallest_std * std / scale)
    losses = _descend(
        (x - centre) / scale,
        theta,
        (epochs, batch_size, rate, falling, lowest),
        given_or_fresh(generator),
    )
    if not np.isfinite(theta).all() or not np.isfinite(losses).all():
        raise OverflowError(f"the fit left the numbers: is a rate of {rate} too large?")
    theta[0] = centre + scale * theta[0]
    theta[1] += np.log(scale)
    flow = _flow(theta, base).to(dtype).requires_grad_(False)
    return Fit(flow, losses + np.log(scale))


def fit_em(
    x: Real[ndarray, "n"],
    start: Bells,
    *,
    steps: int = 1000,
    gain: Number = 1e-12,
    smallest_std: Number = 1e-3,
) -> EM:
    """Minimise the mean NLL by  wᵢ ← ⟨rᵢ⟩,  μᵢ ← ⟨rᵢx⟩/⟨rᵢ⟩,
    σᵢ² ← ⟨rᵢ(x − μᵢ)²⟩/⟨rᵢ⟩,  over and over, with the `responsibilities` r.

    No step makes the mean NLL larger, and there is no rate to choose. A bell that no
    point belongs to keeps its place, with a weight of 0.

    Args:
        x: n ≥ 2 points, not all equal.
        start: the bells to begin with.
        steps: how many steps, at most.
        gain: stop at a step that gains less than this.
        smallest_std: the least σ allowed, over the standard deviation of x.

    Reference: Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data
    via the EM algorithm.
    """
    checks.counting_number(steps=steps)
    checks.positive(gain=gain, smallest_std=smallest_std)
    x, bells = _training_data(x)[0], _checked(start)
    least, losses = smallest_std * x.std(), []
    for _ in range(steps + 1):
        log_joint = _log_joint(x, bells)
        largest = log_joint.max(axis=0)
        r = np.exp(log_joint - largest)
        total = r.sum(axis=0)
        losses.append(-(largest + np.log(total)).mean())
        if len(losses) > 1 and losses[-2] - losses[-1] < gain:
            break
        last, bells = bells, _reestimated(x, r / total, bells, least)
    else:
        bells = last
    return EM(bells, np.array(losses))


class _LogNormalCDF(torch.autograd.Function):
    """log Φ(v), whose slope is the hazard φ/Φ, in the far tail as well."""

    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return torch.special.log_ndtr(v)

    @staticmethod
    def backward(ctx, outer):
        (v,) = ctx.saved_tensors
        return outer * torch.exp(_log_hazard(v))


class _NormalQuantile(torch.autograd.Function):
    """The z with  log Φ(z) = log_p,  for log_p ≤ log ½, however far out."""

    @staticmethod
    def forward(ctx, log_p):
        far = (-2 * log_p - np.log(2 * np.pi)).clamp(min=2.0)
        z = torch.where(log_p > -14, ndtri(log_p.exp()), -(far - far.log()).sqrt())
        for _ in range(4):  # Newton, in the logarithm, where the function is concave
            z = z - (_log_ndtr(z) - log_p) * torch.exp(-_log_hazard(z))
        ctx.save_for_backward(z)
        return z

    @staticmethod
    def backward(ctx, outer):
        (z,) = ctx.saved_tensors
        return outer * torch.exp(-_log_hazard(z))


class _Inverse(torch.autograd.Function):
    """x from z by bisection, in double precision; its gradient by the implicit function
    theorem.
    """

    @staticmethod
    def forward(ctx, z, base, means, log_stds, logits):
        flow = _flow(torch.stack([means, log_stds, logits]).double(), base)
        y = z.double()
        # what lies beyond z, on the side where that is less than half
        if base == "normal":
            sign, log_tail = -torch.sign(y), _log_ndtr(-y.abs())
        else:
            sign, log_tail = torch.sign(0.5 - y), torch.minimum(y, 1 - y).log()
        sign = torch.where(sign == 0, 1.0, sign)
        quantile = -y.abs() if base == "normal" else _quantile(log_tail)
        means, stds = flow.means.detach(), flow.log_stds.detach().exp()
        log_weights = flow.logits.detach().log_softmax(0)

        def log_mass(turned: Tensor) -> Tensor:
            v = (turned[:, None] - sign[:, None] * means) / stds
            return (log_weights + _log_ndtr(v)).logsumexp(1)

        # the mixture's quantile lies between the least and the largest of the bells'
        ends = sign[:, None] * means + stds * quantile[:, None]
        turned = _halved(log_mass, log_tail, ends.amin(1), ends.amax(1), steps=60)
        x = sign * turned
        ctx.save_for_backward(z, x, means, stds, log_weights, sign)
        ctx.base = base
        return x.to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, outer):
        z, x, means, stds, log_weights, sign = ctx.saved_tensors
        outer = outer.double()
        away = x[:, None] - means
        v = sign[:, None] * away / stds
        log_parts = log_weights + _log_ndtr(v)
        log_tail = log_parts.logsumexp(1, keepdim=True)
        log_joint = log_weights - stds.log() - 0.5 * v**2
        r = log_joint.softmax(1)
        log_p = log_joint.logsumexp(1) - 0.5 * np.log(2 * np.pi)
        shares = log_weights.exp() - (log_parts - log_tail).exp()
        by_logit = (sign * _exp(log_tail[:, 0] - log_p))[:, None] * shares
        y = z.double()
        log_base = -0.5 * (y**2 + np.log(2 * np.pi)) if ctx.base == "normal" else 0.0
        by_z = _exp(log_base - log_p)
        gradients = [outer * by_z, None]
        for part in (r, r * away, by_logit):
            gradients.append(outer @ part)
        return tuple(g if g is None else g.to(z.dtype) for g in gradients)


def _exp(exponent: Tensor) -> Tensor:
    """The exponential, or where that is ∞ a number: it may be multiplied by 0."""
    return torch.exp(exponent.clamp(max=709.0))


def _halved(function, target, low, high, steps) -> Tensor:
    """The middle of the brackets after so many halvings."""
    for _ in range(steps):
        middle = 0.5 * low + 0.5 * high
        below = function(middle) < target
        low = torch.where(below, middle, low)
        high = torch.where(below, high, middle)
    return 0.5 * low + 0.5 * high


_log_ndtr = _LogNormalCDF.apply
_quantile = _NormalQuantile.apply


def _ndtr(v: Tensor) -> Tensor:
    """Φ(v), to its last digits in the lower tail, unlike `torch.special.ndtr`."""
    return 0.5 * torch.erfc(v * -(0.5**0.5))


def _log_hazard(v: Tensor) -> Tensor:
    """log φ(v)/Φ(v),  without a difference of large numbers where v is negative."""
    below = erfcx(v.clamp(max=0) / -(2**0.5)).log()
    above = 0.5 * v.clamp(min=0) ** 2 + (2 * _ndtr(v.clamp(min=0))).log()
    return 0.5 * np.log(2 / np.pi) - torch.where(v < 0, below, above)


def _descend(x, theta, settings, generator) -> ndarray:
    """Train θ in place by Adam, and return the mean loss of each epoch."""
    epochs, batch_size, rate, falling, lowest = settings
    last = epochs * -(-len(x) // batch_size)
    first, second, steps = np.zeros_like(theta), np.zeros_like(theta), 0
    losses = np.empty(epochs)
    with np.errstate(all="ignore"):
        for epoch in tqdm(range(epochs), desc="epochs", disable=None, leave=False):
            order = torch.randperm(len(x), generator=generator).numpy()
            shuffled, total = x[order], 0.0
            for begin in range(0, len(x), batch_size):
                batch = shuffled[begin : begin + batch_size]
                loss, slope = _nll_and_gradient(batch, theta)
                total += loss * len(batch)
                steps += 1
                first += 0.1 * (slope - first)
                second += 0.001 * (slope**2 - second)
                size = np.sqrt(second / (1 - 0.999**steps)) + 1e-8
                now = rate * (1 - steps / last) if falling else rate
                theta -= now / (1 - 0.9**steps) * first / size
                np.maximum(theta[1], lowest, out=theta[1])
            losses[epoch] = total / len(x)
    return losses


def _nll_and_gradient(x: ndarray, theta: ndarray) -> tuple[float, ndarray]:
    """The mean NLL, and its slope in (μ, log σ, logits), in one pass over x."""
    means, log_stds, logits = theta
    narrow = np.exp(-log_stds)
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    u = (x - means[:, None]) * narrow[:, None]
    r = -0.5 * u**2 + (np.log(weights) - log_stds)[:, None]
    largest = r.max(axis=0)
    r = np.exp(r - largest)
    total = r.sum(axis=0)
    r /= total
    loss = 0.5 * np.log(2 * np.pi) - np.log(total).mean() - largest.mean()
    share, ru = r.mean(axis=1), r * u
    by_log_std = share - np.einsum("kn,kn->k", ru, u) / len(x)
    return loss, np.stack([-ru.mean(axis=1) * narrow, by_log_std, weights - share])


def _reestimated(x, r, bells: Bells, least) -> Bells:
    """The bells that fit the data best, each datum counting rᵢ in bell i; one that has
    nothing to its name stays where it is.
    """
    mass = r.sum(axis=1)
    alive = mass > 1e-12 * len(x)
    safe = np.where(alive, mass, 1.0)
    means = np.where(alive, r @ x / safe, bells.means)
    squares = np.einsum("kn,kn->k", r, (x - means[:, None]) ** 2) / safe
    stds = np.where(alive, np.maximum(np.sqrt(squares), least), bells.stds)
    return Bells(means, stds, mass / mass.sum())


def _log_joint(x, bells: Bells) -> Float[ndarray, "k n"]:
    """log wᵢ + log N(x; μᵢ, σᵢ²)."""
    means, stds, weights = (part[:, None] for part in bells)
    with np.errstate(divide="ignore", over="ignore"):  # a weight may be 0, and x far
        log_weights = np.log(weights)
        u = (np.asarray(x, dtype=float) - means) / stds
    u = np.clip(u, -1e154, 1e154)
    return log_weights - np.log(stds) - 0.5 * (u**2 + np.log(2 * np.pi))


def _integral(function: Callable, *laws: Bells) -> float:
    """∫ p f(log p, ...) dx,  p the first of the laws, by Gauss's rule between points
    half a standard deviation apart around all bells.
    """
    reach = np.arange(-12, 12.25, 0.5)
    edges = [law.means[:, None] + law.stds[:, None] * reach for law in laws]
    low, high = edges[0].min(), edges[0].max()
    panels = np.unique(np.concatenate([part.ravel() for part in edges]))
    panels = panels[(panels >= low) & (panels <= high)]
    nodes, weights = roots_legendre(12)
    half = np.diff(panels)[:, None] / 2
    x = (panels[:-1, None] + half * (1 + nodes)).ravel()
    logs = [logsumexp(_log_joint(x, law), axis=0) for law in laws]
    return float((half * weights).ravel() @ (np.exp(logs[0]) * function(*logs)))


def _parameters(flow: MixtureCDF) -> Float[ndarray, "3 k"]:
    """Means, log stds and logits of a flow, as a fresh array."""
    parts = (flow.means, flow.log_stds, flow.logits)
    return np.stack([part.detach().double().numpy() for part in parts])


def _theta(bells: Bells) -> Float[ndarray, "3 k"]:
    """Means, log stds and logits of bells that all have a weight."""
    means, stds, weights = _checked(bells)
    checks.positive(weights=weights)
    return np.stack([means, np.log(stds), np.log(weights)])


def _flow(theta, base: str) -> MixtureCDF:
    """A flow in double precision with these means, log stds and logits."""
    flow = MixtureCDF(len(theta[0]), base, generator=torch.Generator()).double()
    for part, values in zip(flow.parameters(), theta, strict=True):
        part.data = torch.as_tensor(values, dtype=torch.float64).clone()
    return flow


def _training_data(x) -> tuple[ndarray, torch.dtype]:
    """The data in double precision, and the precision they came in."""
    x = as_tensor(x).detach()
    dtype = x.dtype if x.is_floating_point() else torch.float64
    x = x.double().numpy()
    checks.series(x=x)
    if len(x) < 2:
        raise ValueError(f"x must hold at least two numbers, got {len(x)}")
    if (x == x[0]).all():
        raise ValueError(f"x must vary, got {x[0]} everywhere")
    with np.errstate(over="ignore", invalid="ignore"):
        checks.positive(**{"the standard deviation of x": x.std()})
    return x, dtype


def _require_reach(ends: Tensor, targets: Tensor) -> None:
    if not torch.isfinite(ends).all():
        raise ValueError(
            f"target must be a value that function takes, got {targets[0].item()}"
        )


def _checked(bells: Bells) -> Bells:
    means, stds, weights = (np.asarray(part, dtype=float) for part in bells)
    checks.series(means=means)
    checks.of_shape(means.shape, stds=stds, weights=weights)
    checks.positive(stds=stds)
    checks.fraction(weights=weights)
    if not np.isclose(weights.sum(), 1.0, rtol=0, atol=1e-9):
        raise ValueError(f"weights must sum to one, got a sum of {weights.sum()}")
    return Bells(means, stds, weights)
