"""Coupling layers: networks that can be undone, and whose determinant costs nothing.

Permutations are arrays that count from 0: p[i] is where i is sent. Points are rows. A
flow leads from data x to noise z ~ N(0, I); its inverse makes data out of noise.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Real
from numpy import ndarray
from scipy.interpolate import RectBivariateSpline
from scipy.special import ndtr, ndtri
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from solutions import checks
from solutions.checks import Number
from solutions.datasets import Arcs, arcs_axes, arcs_log_density
from solutions.randomness import given_or_fresh
from solutions.tensors import as_tensor

BOUND = 2.0  # no layer stretches by more than e²

Rows = Real[ndarray, "n d"] | Float[Tensor, "n d"]


def inverse_permutation(p: Real[ndarray, "n"]) -> Real[ndarray, "n"]:
    """Return the array of  p⁻¹,  for which  p⁻¹(p(i)) = p(p⁻¹(i)) = i.

    It is written down and not searched for: at place p(i) stands i.

    Args:
        p: each of 0, ..., n−1 once.
    """
    p = _permutation(p=p)
    inverse = np.empty_like(p)
    inverse[p] = np.arange(len(p))
    return inverse


def permutation_matrix(p: Real[ndarray, "n"]) -> Float[ndarray, "n n"]:
    """Return the matrix P whose row i is  e_p(i)ᵀ,  so that  (Px)ᵢ = x_p(i).

    Args:
        p: each of 0, ..., n−1 once.
    """
    p = _permutation(p=p)
    return np.eye(len(p))[p]


def permutation_sign(p: Real[ndarray, "n"]) -> int:
    """Return  (−1)^(n − number of cycles),  which is the determinant of the matrix.

    A cycle of length m is m − 1 swaps.

    Args:
        p: each of 0, ..., n−1 once.
    """
    p = _permutation(p=p)
    seen, swaps = np.zeros(len(p), dtype=bool), 0
    for i in range(len(p)):
        while not seen[i]:
            seen[i] = True
            i = p[i]
            swaps += not seen[i]
    return -1 if swaps % 2 else 1


def compose(p: Real[ndarray, "n"], q: Real[ndarray, "n"]) -> Real[ndarray, "n"]:
    """Return the array of  i ↦ p(q(i)),  which is p ∘ q: first q, then p.

    Args:
        p, q: each of 0, ..., n−1 once.
    """
    p, q = _permutation(p=p), _permutation(q=q)
    checks.same_shape(p=p, q=q)
    return p[q]


class AffineCoupling(nn.Module):
    """Keep the coordinates O, and let them say how the others are moved:

      z_O = x_O, z_Oᶜ = exp(s(x_O)) ⊙ x_Oᶜ + t(x_O), log|det| = Σ s(x_O).

    s and t come from a network of one layer of tanh units, s = bound · tanh(·), so that
    |s| ≤ bound whatever the weights: every such layer can be undone. At first s and t
    are small and each unit is steepest at a draw of N(0, I).

    Args:
        dimension: d, how many coordinates.
        kept: O, any of 0, ..., d−1; all of them make the layer the identity, none make
            s and t constants. None stands for the first ⌊d/2⌋.
        hidden: how many tanh units.
        bound: the largest |s|; 0 makes a layer that preserves volume.
        generator: draws the first weights; None for one that is seeded afresh.

    Reference: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real
    NVP, section 3.2.
    """

    def __init__(
        self,
        dimension: int,
        kept: Sequence[int] | Real[ndarray, "k"] | None = None,
        hidden: int = 32,
        *,
        bound: Number = BOUND,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        checks.counting_number(dimension=dimension, hidden=hidden)
        _require_bound(bound)
        kept = _subset(dimension, range(dimension // 2) if kept is None else kept)
        moved = np.setdiff1d(np.arange(dimension), kept)
        self.dimension, self.bound = dimension, float(bound)
        order = np.concatenate([kept, moved])
        for name, index in [("kept", kept), ("moved", moved), ("order", order)]:
            self.register_buffer(name, torch.from_numpy(index))
        self.register_buffer("back", torch.from_numpy(inverse_permutation(order)))

        generator = given_or_fresh(generator)
        inner = torch.randn(hidden, len(kept), generator=generator)
        inner *= 2 / math.sqrt(max(len(kept), 1))
        steep = torch.randn(hidden, len(kept), generator=generator)
        outer = torch.randn(2 * len(moved), hidden, generator=generator)
        self.inner = nn.Parameter(inner)
        self.offset = nn.Parameter(-(inner * steep).sum(1))
        self.outer = nn.Parameter(0.1 / math.sqrt(hidden) * outer)
        self.constant = nn.Parameter(torch.zeros(2 * len(moved)))

    def forward(self, x):
        """Return z and  log|det ∂z/∂x| = Σ s(x_O),  (n, d) and (n,).

        Args:
            x: n points, array or tensor; they take the precision of the weights.
        """
        return self.push(_points(self, x=x))

    def inverse(self, z, share: Number = 1.0):
        """Return x, for which  x_O = z_O, x_Oᶜ = exp(−s(z_O)) ⊙ (z_Oᶜ − t(z_O)).

        Args:
            z: n points, array or tensor.
            share: what s and t are multiplied by, between 0 (nothing moves) and 1.
        """
        checks.fraction(share=share)
        return self.pull(_points(self, z=z), share)

    def scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """s and t, (n, number of moved coordinates) each, for the kept ones alone."""
        units = torch.tanh(F.linear(kept, self.inner, self.offset))
        s, t = F.linear(units, self.outer, self.constant).chunk(2, dim=1)
        return self.bound * torch.tanh(s), t

    def push(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, unchecked."""
        kept = x.index_select(1, self.kept)
        s, t = self.scale_and_shift(kept)
        z = torch.cat([kept, torch.exp(s) * x.index_select(1, self.moved) + t], dim=1)
        return z.index_select(1, self.back), s.sum(1)

    def pull(self, z: Tensor, share: Number = 1.0) -> Tensor:
        """`inverse`, unchecked."""
        kept = z.index_select(1, self.kept)
        s, t = self.scale_and_shift(kept)
        moved = torch.exp(-share * s) * (z.index_select(1, self.moved) - share * t)
        return torch.cat([kept, moved], dim=1).index_select(1, self.back)


class RealNVP(nn.Module):
    """Coupling layers that keep the two halves of the coordinates in turn.

    After the standardisation  (x − centre) / spread  come the layers. Their
    log-determinants, and its own, add up to that of the whole, and the log-density of x
    is  log N(z; 0, I) + log|det ∂z/∂x|.

    Args:
        dimension: d, how many coordinates; with one, the flow is affine.
        layers: how many; the first keeps the first ⌊d/2⌋ coordinates.
        hidden: how many tanh units each of them has.
        bound: the largest |s| of a layer; 0 makes it volume-preserving, up to spread.
        centre, spread: numbers, or one for each coordinate.
        generator: draws the first weights; None for one that is seeded afresh.

    Reference: Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real
    NVP.
    """

    def __init__(
        self,
        dimension: int,
        layers: int = 8,
        hidden: int = 32,
        *,
        bound: Number = BOUND,
        centre: Number | Real[ndarray, "d"] = 0.0,
        spread: Number | Real[ndarray, "d"] = 1.0,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        checks.counting_number(dimension=dimension, layers=layers, hidden=hidden)
        checks.finite(centre=centre)
        checks.positive(spread=spread)
        generator = given_or_fresh(generator)
        self.dimension = dimension
        for name, value in {"centre": centre, "spread": spread}.items():
            if np.ndim(value):
                checks.of_shape((dimension,), **{name: value})
            value = np.broadcast_to(np.asarray(value, dtype=float), (dimension,))
            dtype = torch.get_default_dtype()
            self.register_buffer(name, torch.tensor(value, dtype=dtype))
        halves = np.split(np.arange(dimension), [dimension // 2])
        self.layers = nn.ModuleList(
            AffineCoupling(
                dimension, halves[i % 2], hidden, bound=bound, generator=generator
            )
            for i in range(layers)
        )

    def forward(self, x):
        """Return z and  log|det ∂z/∂x|,  (n, d) and (n,).

        Args:
            x: n points, array or tensor; they take the precision of the weights.
        """
        return self.push(_points(self, x=x))

    def inverse(self, z):
        """Return the x that `forward` sends to z.

        Args:
            z: n points, array or tensor.
        """
        return self.stages(z)[-1]

    def log_density(self, x):
        """Return  log N(z; 0, I) + log|det ∂z/∂x|,  one number for each row of x.

        Args:
            x: n points, array or tensor.
        """
        return self.score_points(_points(self, x=x))

    def sample(self, generator: torch.Generator, n: int):
        """Draw n points: noise z ~ N(0, I), led back through the layers.

        Args:
            generator: where the noise comes from.
            n: how many.
        """
        checks.counting_number(n=n)
        z = torch.randn(n, self.dimension, generator=generator, dtype=self.centre.dtype)
        return self.inverse(z)

    def stages(self, z, per_layer: int = 1):
        """Return where points are on their way from noise to data, (stages, n, d).

        The first stage is  centre + spread ⊙ z,  the last the inverse of z. Between two
        layers' ends s and t grow from nothing, in equal shares, to what they are.

        Args:
            z: n points, array or tensor.
            per_layer: how many stages each layer makes.
        """
        checks.counting_number(per_layer=per_layer)
        points = [_points(self, z=z)]
        for layer in reversed(self.layers):
            start = points[-1]
            points += [
                layer.pull(start, share / per_layer)
                for share in range(1, per_layer + 1)
            ]
        return self.centre + self.spread * torch.stack(points)

    def push(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, unchecked."""
        z = (x - self.centre) / self.spread
        log_det = -torch.log(self.spread).sum().expand(len(x))
        for layer in self.layers:
            z, more = layer.push(z)
            log_det = log_det + more
        return z, log_det

    def score_points(self, x: Tensor) -> Tensor:
        """`log_density`, unchecked."""
        z, log_det = self.push(x)
        log_base = -0.5 * (z**2).sum(1) - self.dimension / 2 * math.log(2 * math.pi)
        return log_base + log_det


class Fit(NamedTuple):
    """A flow, and the mean NLL of the minibatch that each step of its training saw."""

    flow: RealNVP
    losses: Float[ndarray, "steps"]


def fit(
    x: Rows,
    *,
    layers: int = 8,
    hidden: int = 32,
    steps: int = 1500,
    batch_size: int = 256,
    rate: Number = 0.01,
    bound: Number = BOUND,
    spread: Number | Real[ndarray, "d"] | None = None,
    generator: torch.Generator | None = None,
) -> Fit:
    """Fit a flow by likelihood: minimise the mean of  −log q(x)  over the data.

    The data are standardised by a first, fixed layer, whose log-determinant counts.
    Adam takes the steps, at a rate that rises to `rate` and falls to nothing, with
    gradients cut to a length of at most 5: near a thin part of the data they can be
    enormous. There is no regularisation; hold data out to see what the flow is worth.

    Args:
        x: n ≥ 2 points, array or tensor, in whose precision the flow works; no column
            constant.
        layers, hidden, bound: see `RealNVP`.
        steps: how many.
        batch_size: how many points, drawn with replacement, a step sees.
        rate: the largest rate.
        spread: what standardised data are divided by; None for their standard
            deviations.
        generator: draws weights and minibatches; None for one that is seeded afresh.
    """
    checks.counting_number(steps=steps, batch_size=batch_size)
    checks.positive(rate=rate)
    x = _training_data(x)
    generator = given_or_fresh(generator)
    flow = RealNVP(
        x.shape[1],
        layers,
        hidden,
        bound=bound,
        centre=x.mean(0).double().numpy(),
        spread=x.std(0).double().numpy() if spread is None else spread,
        generator=generator,
    ).to(x.dtype)
    weights = [w for w in flow.parameters() if w.numel()]
    optimizer = torch.optim.Adam(weights, lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    losses = []
    for _ in tqdm(range(steps), desc="fit", disable=None, leave=False):
        rows = torch.randint(len(x), (batch_size,), generator=generator)
        loss = -flow.score_points(x[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    losses = torch.stack(losses).double().numpy()
    if not np.isfinite(losses).all():
        raise OverflowError(f"the fit left the numbers: a rate of {rate} is too large")
    return Fit(flow.requires_grad_(False), losses)


def jacobian(function: Callable[[Tensor], Tensor], x: Rows) -> Float[Tensor, "n m d"]:
    """Return  ∂fᵢ/∂xⱼ  at each row of x, by automatic differentiation.

    One pass backwards for each output: what a coupling layer's log-determinant spares.

    Args:
        function: from rows to rows, each of which depends on its own row only.
        x: n points, array or tensor.
    """
    checks.rows(x=x)
    checks.finite(x=x)
    x = as_tensor(x).detach().clone()
    x = (x if x.is_floating_point() else x.double()).requires_grad_(True)
    with torch.enable_grad():
        out = function(x)
        rows = [
            torch.autograd.grad(column.sum(), x, retain_graph=True)[0]
            for column in out.unbind(1)
        ]
    return torch.stack(rows, dim=1)


def stretch(flow: nn.Module, z: Rows) -> Float[Tensor, "n"]:
    """Return the largest factor by which  flow.inverse  stretches a small step from z.

    It is the largest singular value of  ∂x/∂z;  the Lipschitz constant of the generator
    is the supremum over all z.

    Args:
        flow: a module with an `inverse`.
        z: n points, array or tensor.
    """
    return torch.linalg.matrix_norm(jacobian(flow.inverse, z), ord=2)


def least_bridge(mass: Number, width: Number, lipschitz: Number) -> float:
    """Return  Φ(Φ⁻¹(a) + δ/K) − a,  the least mass within δ of a set of mass a.

    It holds for the law of G(z), z ~ N(0, I), if G is Lipschitz with constant K, and
    for z given a box if G has the constant there: a generator with a bounded slope
    cannot put a on one side of a gap without paying a toll in it.

    Args:
        mass: a, strictly between 0 and 1.
        width: δ > 0.
        lipschitz: K > 0.

    Reference: Borell (1975), The Brunn-Minkowski inequality in Gauss space.
    """
    checks.proper_fraction(mass=mass)
    checks.positive(width=width, lipschitz=lipschitz)
    return float(ndtr(ndtri(mass) + width / lipschitz) - mass)


def volume_preserving_floor(data: Arcs) -> float:
    """Return  1 + log ∫ a(x) p(x) dx,  a(x) being the area where p is above p(x).

    No map of the plane that multiplies all areas by one constant, whatever it is, has
    a lower mean NLL with a Gaussian base. The density is laid out on a fine grid: once
    its cells are sorted, their places in the order are their a.

    Args:
        data: the arcs.
    """
    coarse, fine = (arcs_axes(data, cells) for cells in (2, 10))
    grid = np.stack(np.meshgrid(*coarse, indexing="ij"), axis=-1)
    log_density = arcs_log_density(grid.reshape(-1, 2), data).reshape(grid.shape[:2])
    # a spline for what lies between: a logarithm bends little from cell to cell
    mass = np.exp(np.sort(RectBivariateSpline(*coarse, log_density)(*fine), axis=None))
    mass = mass[::-1] / mass.sum()
    cell = (data.noise_std / 10) ** 2
    return float(1 + np.log(mass @ (np.arange(mass.size) + 0.5) * cell))


def _permutation(**argument) -> ndarray:
    """The permutation as an array of integers, or a refusal in words."""
    ((name, p),) = argument.items()
    p = np.asarray(p)
    if p.ndim != 1 or p.size == 0 or not np.issubdtype(p.dtype, np.integer):
        got = f"shape {p.shape}" if p.ndim != 1 or p.size == 0 else p.tolist()
        raise ValueError(f"{name} must be integers in a row, at least one, got {got}")
    n = len(p)
    if not np.array_equal(np.sort(p), np.arange(n)):
        wish = f"{name} must hold each of 0, ..., {n - 1} once, got {p.tolist()}"
        from_one = np.array_equal(np.sort(p), np.arange(1, n + 1))
        hint = ", which counts from 1: subtract 1" if from_one else ""
        raise ValueError(wish + hint)
    return p


def _subset(dimension: int, kept) -> ndarray:
    """The kept coordinates in order, as integers; refused if they are not some."""
    kept = np.asarray(kept)
    kept = kept.astype(int) if kept.size == 0 else kept
    if (
        kept.ndim != 1
        or not np.issubdtype(kept.dtype, np.integer)
        or len(np.unique(kept)) < len(kept)
        or not np.isin(kept, np.arange(dimension)).all()
    ):
        raise ValueError(
            f"kept must be some of 0, ..., {dimension - 1}, none of them twice, "
            f"got {kept.tolist()}"
        )
    return np.sort(kept).astype(int)


def _points(flow: nn.Module, **argument) -> Tensor:
    """The points as a tensor in the precision of the flow, or a refusal in words."""
    ((name, x),) = argument.items()
    if np.ndim(x) != 2 or np.shape(x)[1] != flow.dimension:
        raise ValueError(
            f"{name} must be of shape (n, {flow.dimension}), got {tuple(np.shape(x))}"
        )
    x = as_tensor(x).to(next(flow.parameters()).dtype)
    if not torch.isfinite(x).all():
        checks.finite(**{name: x})
    return x


def _training_data(x) -> Tensor:
    """The data as a tensor of floating-point numbers, or a refusal in words."""
    checks.table(x=x)
    x = as_tensor(x).detach()
    x = x if x.is_floating_point() else x.double()
    constant = (x == x[0]).all(0)
    if constant.any():
        raise ValueError(f"x must vary in every column, got {x[0][constant][0]} only")
    return x


def _require_bound(bound) -> None:
    if not 0 <= bound <= 20:
        raise ValueError(f"bound must be between 0 and 20, got {bound}")
