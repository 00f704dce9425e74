"""Regression: least squares, its errors, and networks that say how far to trust them.

Observations are y = f(x) + s(x) ε with ε ~ N(0, 1): f is the target's mean and s its
noise. Inputs are rows, x is (n, m); a linear model is y ≈ xβ, without an intercept.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Real
from numpy import ndarray
from numpy.random import Generator
from scipy.special import ndtr, ndtri
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from solutions import checks
from solutions.checks import Number
from solutions.randomness import given_or_fresh
from solutions.tensors import as_tensor

WIDTH = 20.0  # inputs are uniform on [0, WIDTH]

Rows = Real[ndarray, "n m"] | Float[Tensor, "n m"]
Column = Real[ndarray, "n"] | Float[Tensor, "n"]
Weights = Real[ndarray, "m"] | Float[Tensor, "m"]


class Target(NamedTuple):
    """A law of y given x: mean f(x), and noise of standard deviation s(x)."""

    name: str
    mean: Callable[[ndarray], ndarray]
    noise_std: Callable[[ndarray], ndarray]


class BestLine(NamedTuple):
    """The line through the origin that is nearest to a target, its root mean squared
    residual, and the mean negative log-likelihood of the two.
    """

    slope: float
    std: float
    nll: float


class Descent(NamedTuple):
    """Where a descent went, from its start on: betas (steps + 1, m), with losses."""

    betas: Float[ndarray, "steps_plus_1 m"]
    losses: Float[ndarray, "steps_plus_1"]


LINE = Target("line", lambda x: 2 * x, lambda x: np.full(np.shape(x), 0.3))
FAN = Target("fan", lambda x: 2 * x, lambda x: 0.3 * np.abs(x))
WAVE = Target("wave", lambda x: 2 * x + 5 * np.sin(x / 2), lambda x: 0.3 * np.abs(x))


def draw_batch(
    rng: Generator, target: Target, n: int
) -> tuple[Float[ndarray, "n 1"], Float[ndarray, "n"]]:
    """Draw n inputs x ~ U(0, 20), as a column, and  y = f(x) + s(x) ε  at each.

    Args:
        rng: where the randomness comes from.
        target: f and s.
        n: how many, at least 1.
    """
    checks.counting_number(n=n)
    x = rng.uniform(0, WIDTH, n)
    y = target.mean(x) + target.noise_std(x) * rng.standard_normal(n)
    return x[:, None], y


def ols(x: Real[ndarray, "n m"], y: Real[ndarray, "n"]) -> Float[ndarray, "m"]:
    """Return  β̂ = (xᵀx)⁻¹ xᵀy,  which minimises |y − xβ|².

    It is found from the singular values of x, and not from xᵀx, whose condition number
    is the square of that of x, and would lose twice as many digits.

    Args:
        x: n inputs, a row each; its columns are linearly independent, so n ≥ m.
        y: n observations.

    Reference: Hastie, Tibshirani and Friedman (2009), The Elements of Statistical
    Learning, section 3.2.
    """
    _check_pairs(x, y)
    scale = _column_lengths(x)
    beta, _, rank, _ = np.linalg.lstsq(x / scale, y, rcond=None)
    _require_rank(x, rank)
    return beta / scale


def ols_covariance(
    x: Real[ndarray, "n m"], noise_variance: Number | Real[ndarray, "n"]
) -> Float[ndarray, "m m"]:
    """Return  σ² (xᵀx)⁻¹,  the covariance of β̂; or, where each row has its own noise,
    (xᵀx)⁻¹ xᵀ diag(σ₁², …, σₙ²) x (xᵀx)⁻¹.

    Args:
        x: n inputs, a row each; its columns are linearly independent.
        noise_variance: σ² > 0, one for all rows or one for each.

    Reference: White (1980), A heteroskedasticity-consistent covariance matrix
    estimator, for the second form.
    """
    checks.table(x=x)
    checks.positive(noise_variance=noise_variance)
    if np.ndim(noise_variance):
        checks.of_shape((len(x),), noise_variance=noise_variance)
    scale = _column_lengths(x)
    q, r = np.linalg.qr(x / scale)
    _require_rank(x, np.linalg.matrix_rank(r))
    inverse = np.linalg.solve(r * scale, q.T)  # (xᵀx)⁻¹xᵀ
    return (inverse * noise_variance) @ inverse.T


def mean_nll(beta: Weights, x: Rows, y: Column, std: Number) -> Number | Tensor:
    """Return  ½ log 2πσ² + 1/(2σ²n) |y − xβ|²,  the mean negative log-likelihood.

    Works on arrays and on tensors, so that PyTorch can differentiate it.

    Args:
        beta: β.
        x: n inputs, a row each.
        y: n observations.
        std: σ > 0, a standard deviation.

    Reference: Bishop (2006), eq. 3.11, divided by −n.
    """
    _check_model(beta, x, y, std)
    return _mean_nll(beta, x, y, std)


def nll_gradient(
    beta: Real[ndarray, "m"],
    x: Real[ndarray, "n m"],
    y: Real[ndarray, "n"],
    std: Number,
) -> Float[ndarray, "m"]:
    """Return  −xᵀ(y − xβ)/(nσ²),  the gradient of `mean_nll` in β.

    Args:
        beta: β.
        x: n inputs, a row each.
        y: n observations.
        std: σ > 0, a standard deviation.

    Reference: Bishop (2006), eq. 3.13.
    """
    _check_model(beta, x, y, std)
    return _nll_gradient(beta, x, y, std)


def descend(
    x: Real[ndarray, "n m"],
    y: Real[ndarray, "n"],
    *,
    start: Number | Real[ndarray, "m"],
    rate: Number,
    steps: int,
    std: Number = 1.0,
) -> Descent:
    """Go down by  β ← β − λ ∇(mean NLL),  and return the path.

    The error shrinks along each eigenvector of xᵀx/(nσ²), with eigenvalue h, by the
    factor 1 − λh: it arrives if and only if 0 < λ < 2/h for all of them.

    Args:
        x: n inputs, a row each.
        y: n observations.
        start: the first β; a number stands for m of them.
        rate: λ > 0.
        steps: how many.
        std: σ > 0, which scales the gradient.
    """
    checks.table(x=x)
    checks.finite(start=start)
    checks.positive(rate=rate)
    checks.counting_number(steps=steps)
    if np.ndim(start):
        checks.of_shape((x.shape[1],), start=start)
    betas = np.empty((steps + 1, x.shape[1]))
    betas[0] = start
    _check_model(betas[0], x, y, std)
    with np.errstate(over="ignore", invalid="ignore"):
        for now, then in pairwise(betas):
            then[:] = now - rate * _nll_gradient(now, x, y, std)
        losses = np.array([_mean_nll(beta, x, y, std) for beta in betas])
    if not np.isfinite(losses).all():
        raise OverflowError(
            f"the descent left the numbers: a rate of {rate} is too large"
        )
    return Descent(betas, losses)


def best_line(target: Target) -> BestLine:
    """Return  β = E[x f]/E[x²],  σ = √E[(f − βx)² + s²]  and  ½ log 2πeσ².

    No line through the origin with one σ for all x has a smaller mean NLL.

    Args:
        target: f and s; x is uniform on [0, 20].
    """
    slope = _average(lambda x: x * target.mean(x)) / _average(np.square)
    variance = _average(
        lambda x: (target.mean(x) - slope * x) ** 2 + target.noise_std(x) ** 2
    )
    nll = 0.5 * np.log(2 * np.pi * np.e * variance)
    return BestLine(slope, float(np.sqrt(variance)), float(nll))


def nll_floor(target: Target, std: Number | None = None) -> float:
    """Return the smallest mean NLL that any prediction can have.

    It is  E[½ log 2πe s²],  the entropy of y given x. If all predictions have to use
    one σ, it is  E[½ log 2πσ² + s²/(2σ²)],  which the true mean reaches.

    Args:
        target: the law of y given x; x is uniform on [0, 20].
        std: σ > 0, or None if it may be chosen for each x.

    Reference: Cover and Thomas (2006), Elements of Information Theory, chapter 8.
    """
    if std is not None:
        checks.positive(std=std)
    return _average(lambda x: _cross_entropy(target, x, target.mean(x), std))


def expected_nll(network: Callable, target: Target, std: Number | None = None) -> float:
    """Return  E[½ log 2πŝ² + (s² + (f − f̂)²)/(2ŝ²)],  the mean NLL of f̂ and ŝ.

    The expectation over y is done by hand and that over x by quadrature: no test set,
    and no noise. What it exceeds `nll_floor` by is the prediction's own fault.

    Args:
        network: a function of x (n, 1) that returns f̂(x) and ŝ(x), or f̂(x) alone.
        target: f and s.
        std: ŝ, where the network returns the mean alone.
    """

    def nll(x: ndarray) -> ndarray:
        return _cross_entropy(target, x, *_prediction(network, x, std))

    return _average(nll)


def coverage(
    network: Callable,
    target: Target,
    x: Real[ndarray, "n"],
    *,
    level: Number = 0.95,
    std: Number | None = None,
) -> Float[ndarray, "n"]:
    """Return  P(|y − f̂| ≤ zŝ)  at each x,  where z is such that P(|ε| ≤ z) = `level`.

    With y ~ N(f, s²) it is  Φ((f̂ − f + zŝ)/s) − Φ((f̂ − f − zŝ)/s).

    Args:
        network: a function of x (n, 1) that returns f̂(x) and ŝ(x), or f̂(x) alone.
        target: f and s, which is not 0 at x.
        x: where.
        level: what the band claims, between 0 and 1.
        std: ŝ, where the network returns the mean alone.
    """
    checks.series(x=x)
    checks.fraction(level=level)
    mean, band = _prediction(network, x, std)
    noise, reach = target.noise_std(x), ndtri((1 + level) / 2) * band
    checks.positive(noise_std=noise)
    off = mean - target.mean(x)
    return ndtr((off + reach) / noise) - ndtr((off - reach) / noise)


def beta_nll(
    mean: Float[Tensor, "n"],
    std: Float[Tensor, "n"],
    y: Float[Tensor, "n"],
    beta: Number,
) -> Float[Tensor, ""]:
    """Return  1/n Σᵢ ⌊σᵢ^{2β}⌋ (log σᵢ + (yᵢ − μᵢ)²/(2σᵢ²)),  ⌊·⌋ being held constant.

    What stands in ⌊·⌋ is a number to whoever differentiates. At β = 0 it is the mean
    NLL, less its constant. At β = 1 the gradient in μᵢ is that of least squares,
    whatever σᵢ; in between, something in between.

    Args:
        mean: μᵢ.
        std: σᵢ.
        y: n observations.
        beta: between 0 and 1.

    Reference: Seitzer, Tavakoli, Antic and Martius (2022), On the pitfalls of
    heteroscedastic uncertainty estimation with probabilistic neural networks.
    """
    checks.fraction(beta=beta)
    checks.finite(mean=mean, y=y)
    checks.positive(std=std)
    return _beta_nll(mean, std, y, beta)


class Network(nn.Module):
    """A line plus tanh units,  Ax + b + C tanh(Wx + w),  between standardised numbers.

    Inputs and observations are centred and scaled by the data it is made for, so that
    nobody outside needs to. At first A, b and C are 0: it predicts the mean and the
    standard deviation of y, everywhere, and each unit is steepest at one of the inputs.

    Args:
        x: the inputs it will learn from, (n, m).
        y: the observations it will learn from, (n,).
        hidden: how many tanh units.
        outputs: 1 for the mean; 2 for the mean and the log of the standard deviation.
        generator: draws W and w.
    """

    def __init__(self, x: Tensor, y: Tensor, hidden: int, outputs: int, generator):
        super().__init__()
        for name, value in [("x_mean", x.mean(0)), ("x_std", x.std(0))]:
            self.register_buffer(name, value)
        for name, value in [("y_mean", y.mean()), ("y_std", y.std())]:
            self.register_buffer(name, value)
        chosen = torch.randint(len(x), (hidden,), generator=generator)
        steep = self.standardised(x)[chosen]
        inner = 2 * torch.randn(hidden, x.shape[1], generator=generator, dtype=x.dtype)
        self.inner = nn.Parameter(inner)
        self.offset = nn.Parameter(-(inner * steep).sum(1))
        self.outer = nn.Parameter(x.new_zeros(outputs, hidden + x.shape[1]))
        self.constant = nn.Parameter(x.new_zeros(outputs))

    def standardised(self, x: Tensor) -> Tensor:
        """Raw x (n, m) in standard units."""
        return (x - self.x_mean) / self.x_std

    def outputs(self, z: Tensor) -> Tensor:
        """What comes out for standardised x, in standard units: (n, outputs)."""
        units = torch.tanh(F.linear(z, self.inner, self.offset))
        return F.linear(torch.cat([units, z], dim=1), self.outer, self.constant)

    def penalty(self) -> Tensor:
        """Half the squares of all its numbers: −log of a N(0, 1) prior on each."""
        return 0.5 * sum((part**2).sum() for part in self.parameters())

    def forward(self, x):
        """Return the mean (n,), or the mean and the standard deviation, at raw x."""
        x = as_tensor(x).to(self.inner.dtype)
        checks.rows(x=x)
        checks.of_shape((len(x), len(self.x_mean)), x=x)
        out = self.outputs(self.standardised(x))
        mean = self.y_mean + self.y_std * out[:, 0]
        if out.shape[1] == 1:
            return mean
        # far from the data the line in log σ would leave the numbers
        return mean, self.y_std * torch.exp(out[:, 1].clamp(-50, 50))


def fit_network(
    x: Rows,
    y: Column,
    *,
    hidden: int = 10,
    steps: int = 400,
    generator: torch.Generator | None = None,
) -> Network:
    """Fit a network for the mean, with one unknown σ for all x, to highest posterior.

    The best σ² for a given mean is the mean squared residual; with it the mean NLL is
    ½ log of that, and a constant. To it comes a N(0, 1) prior on the weights.

    Args:
        x: n ≥ 2 inputs, a row each; no column constant.
        y: n observations, not all equal.
        hidden: how many tanh units.
        steps: how many iterations of L-BFGS, at most.
        generator: draws the first weights; None for one that is seeded afresh.

    Returns:
        a module that takes raw inputs (n, m), array or tensor, and returns the mean.
    """
    x, y, dtype = _training_data(x, y)
    network = _new_network(x, y, hidden, 1, generator)
    x, y = network.standardised(x), (y - network.y_mean) / network.y_std

    def loss() -> Tensor:
        return 0.5 * torch.log(((y - network.outputs(x)[:, 0]) ** 2).mean())

    return _trained(network, loss, steps, len(y)).to(dtype)


def fit_mean_and_std(
    x: Rows,
    y: Column,
    *,
    hidden: int = 10,
    steps: int = 400,
    beta: Number | None = None,
    warm_up: int = 1500,
    generator: torch.Generator | None = None,
) -> Network:
    """Fit a network for the mean and the standard deviation, to highest posterior.

    The mean NLL of N(μ(x), σ(x)²) is minimised, with a N(0, 1) prior on the weights,
    which keeps σ from vanishing where the mean meets a point.

    Args:
        x: n ≥ 2 inputs, a row each; no column constant.
        y: n observations, not all equal.
        hidden: how many tanh units.
        steps: how many iterations of L-BFGS, at most.
        beta: if given, begin with Adam on the `beta_nll`, which finds a good mean where
            the likelihood would rather explain a bad one by a large σ.
        warm_up: how many steps of that.
        generator: draws the first weights; None for one that is seeded afresh.

    Returns:
        a module that takes raw inputs (n, m), array or tensor, and returns the mean and
        the standard deviation.
    """
    x, y, dtype = _training_data(x, y)
    network = _new_network(x, y, hidden, 2, generator)
    x, y = network.standardised(x), (y - network.y_mean) / network.y_std

    def loss(beta: Number = 0.0) -> Tensor:
        out = network.outputs(x)
        return _beta_nll(out[:, 0], torch.exp(out[:, 1]), y, beta)

    if beta is not None:
        checks.fraction(beta=beta)
        checks.counting_number(warm_up=warm_up)
        _warm_up(network, lambda: loss(beta), warm_up)
    return _trained(network, loss, steps, len(y)).to(dtype)


def _mean_nll(beta: Weights, x: Rows, y: Column, std: Number) -> Number | Tensor:
    """`mean_nll`, unchecked."""
    z = (y - x @ beta) / std
    return 0.5 * np.log(2 * np.pi) + np.log(std) + 0.5 * (z**2).mean()


def _nll_gradient(beta: ndarray, x: ndarray, y: ndarray, std: Number) -> ndarray:
    """`nll_gradient`, unchecked."""
    return -x.T @ (y - x @ beta) / (len(y) * std**2)


def _beta_nll(mean: Tensor, std: Tensor, y: Tensor, beta: Number) -> Tensor:
    """`beta_nll`, unchecked."""
    nll = torch.log(std) + 0.5 * ((y - mean) / std) ** 2
    return (nll if beta == 0 else std.detach() ** (2 * beta) * nll).mean()


def _new_network(x, y, hidden, outputs, generator) -> Network:
    checks.counting_number(hidden=hidden)
    return Network(x, y, hidden, outputs, given_or_fresh(generator))


def _trained(network: Network, loss: Callable, steps: int, n: int) -> Network:
    """The network with `loss` and its share of the prior minimised, at rest."""
    checks.counting_number(steps=steps)
    optimizer = torch.optim.LBFGS(
        network.parameters(),
        max_iter=steps,
        history_size=20,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        total = loss() + network.penalty() / n
        total.backward()
        return total

    optimizer.step(evaluate)
    if not np.isfinite(evaluate().item()):
        raise OverflowError(
            "the fit left the numbers: is the noise of y zero somewhere?"
        )
    return network.requires_grad_(False)


def _warm_up(network: Network, loss: Callable, steps: int, rate: float = 0.02) -> None:
    """Take steps of Adam, the rate rising to `rate` and falling to nothing."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in tqdm(range(steps), desc="warm-up", disable=None, leave=False):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()


def _training_data(x, y) -> tuple[Tensor, Tensor, torch.dtype]:
    """Both as tensors in double precision, and the precision they came in."""
    _check_pairs(x, y)
    x, y = as_tensor(x), as_tensor(y)
    dtype = x.dtype if x.is_floating_point() else torch.float64
    x, y = x.detach().double(), y.detach().double()
    for name, value in {"x": x, "y": y[:, None]}.items():
        constant = (value == value[0]).all(0)
        if constant.any():
            raise ValueError(
                f"{name} must vary, got {value[0][constant][0]} everywhere"
            )
    return x, y, dtype


def _average(f: Callable[[ndarray], ndarray]) -> float:
    """The mean of f(x) over x ~ U(0, 20), by Gauss's rule on 200 panels in u, where
    x = 20u³: what a logarithm does at 0 is smoothed away.
    """
    nodes, weights = np.polynomial.legendre.leggauss(16)
    u = ((np.arange(200)[:, None] + (nodes + 1) / 2) / 200).ravel()
    return float(np.tile(weights / 400, 200) @ (3 * u**2 * f(WIDTH * u**3)))


def _cross_entropy(target: Target, x, mean, std=None) -> ndarray:
    """E[−log N(y; mean, std²)] at x; the std that is left out is the target's own."""
    noise = target.noise_std(x)
    if std is None:
        checks.positive(noise_std=noise)
        std = noise
    return (
        0.5 * np.log(2 * np.pi)
        + np.log(std)
        + (noise**2 + (target.mean(x) - mean) ** 2) / (2 * np.square(std))
    )


def _prediction(network: Callable, x: ndarray, std) -> tuple[ndarray, ndarray]:
    """Mean and standard deviation at x (n,), as arrays."""
    predicted = network(np.asarray(x, dtype=float)[:, None])
    alone = not isinstance(predicted, tuple)
    if alone == (std is None):
        what = "the mean alone" if alone else "mean and std"
        raise ValueError(
            f"std must be given if and only if the network returns the mean alone, "
            f"got {std} with a network that returns {what}"
        )
    mean, std = (predicted, np.full(len(x), std)) if alone else predicted
    mean, std = (np.asarray(as_tensor(part).detach(), float) for part in (mean, std))
    checks.of_shape(np.shape(x), mean=mean, std=std)
    checks.finite(mean=mean)
    checks.positive(std=std)
    return mean, std


def _column_lengths(x) -> Float[ndarray, "m"]:
    """What to divide the columns by, so that rank is not a question of their units."""
    lengths = np.linalg.norm(x, axis=0)
    return np.where(lengths > 0, lengths, 1.0)


def _require_rank(x, rank) -> None:
    if rank < x.shape[1]:
        raise ValueError(
            f"x must have linearly independent columns, got {x.shape[1]} of rank {rank}"
        )


def _check_pairs(x, y) -> None:
    checks.table(x=x)
    checks.finite(y=y)
    checks.of_shape((len(x),), y=y)


def _check_model(beta, x, y, std) -> None:
    _check_pairs(x, y)
    checks.finite(beta=beta)
    checks.of_shape((x.shape[1],), beta=beta)
    checks.positive(std=std)
