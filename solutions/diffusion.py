"""Diffusion models: data dissolved in noise step by step, and the steps undone.

t runs from 1 to T; x₀ are the data. Points are rows, (n, d); one-dimensional data may
be (n,). A reverse model is a function (x_t, t) -> (mean, std) of p(x_{t−1} | x_t), a
denoiser one (x_t, t) -> ε̂; both take a whole number t for all rows.
"""

import math
from collections.abc import Callable
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Real
from numpy import ndarray
from scipy.spatial.distance import cdist
from torch import Tensor, nn
from tqdm import tqdm

from solutions import checks
from solutions.checks import Number
from solutions.datasets import Arcs, arcs_rule
from solutions.networks import on_weights, perceptron
from solutions.randomness import given_or_fresh
from solutions.tensors import as_tensor

_BLOCK = 4_000_000  # this many distances at a time

# Numbers, one or many, of whatever kind; one t for all rows, or one for each.
Points = Number | Real[ndarray, "*shape"] | Real[Tensor, "*shape"]
Times = Integral | Int[ndarray, "n"] | Int[Tensor, "n"]
ReverseModel = Callable[[Tensor, int], tuple]
NoiseGuess = Callable[[Tensor, int], Tensor]


class Schedule:
    """How much noise each step adds:  α_t = 1 − β_t, ᾱ_t = α₁ ⋯ α_t,  and  ᾱ₀ = 1.

    The variance 1 − ᾱ_t is built up by  1 − ᾱ_t = α_t (1 − ᾱ_{t−1}) + β_t,  which
    loses no digits where a subtraction would.

    Args:
        betas: β₁, ..., β_T, strictly between 0 and 1; `betas[0]` is β₁.

    Attributes:
        steps: T.
        betas: as given, (T,).
        alpha_bars: ᾱ₀, ..., ᾱ_T, (T + 1,).
        noise_variances: 1 − ᾱ₀, ..., 1 − ᾱ_T, (T + 1,).
        posterior_variances: β̃₁ = 0, β̃₂, ..., β̃_T, (T,).

    Reference: Ho, Jain & Abbeel (2020), Denoising diffusion probabilistic models.
    """

    def __init__(self, betas: Real[ndarray, "T"]):
        checks.series(betas=betas)
        checks.proper_fraction(betas=betas)
        self.betas = np.array(_numbers(betas), dtype=float)
        self.steps = len(self.betas)
        noise = [0.0]
        for beta in self.betas:
            noise.append((1 - beta) * noise[-1] + beta)
        self.noise_variances = np.array(noise)
        self.alpha_bars = np.cumprod([1.0, *(1 - self.betas)])
        ratio = self.noise_variances[:-1] / self.noise_variances[1:]
        self.posterior_variances = self.betas * ratio
        for table in vars(self).values():
            if isinstance(table, ndarray):
                table.flags.writeable = False

    def __repr__(self) -> str:
        return f"Schedule(T={self.steps}, last alpha_bar={self.alpha_bars[-1]:.3g})"

    def beta(self, t: Times):
        """Return  β_t,  the variance that step t adds.

        Args:
            t: 1, ..., T; a number or an array of them.
        """
        return self.betas[_times(t, self) - 1]

    def alpha(self, t: Times):
        """Return  α_t = 1 − β_t.

        Args:
            t: 1, ..., T; a number or an array of them.
        """
        return 1 - self.beta(t)

    def alpha_bar(self, t: Times):
        """Return  ᾱ_t = ∏ α_s, s = 1..t,  the share of the data's variance left.

        Args:
            t: 0, ..., T; a number or an array of them.
        """
        return self.alpha_bars[_times(t, self, first=0)]

    def posterior_variance(self, t: Times):
        """Return  β̃_t = β_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t),  that of q(x_{t−1} | x_t, x₀).

        Args:
            t: 1, ..., T; a number or an array of them.
        """
        return self.posterior_variances[_times(t, self) - 1]


def linear_schedule(steps: int, first: Number = 0.1, last: Number = 20.0) -> Schedule:
    """Return  β_t = 1 − exp(−∫ b(u) du)  over  [(t−1)/T, t/T], b from first to last.

    The rate b rises linearly. All T end with the same  ᾱ_T = exp(−(first + last)/2),
    and finer schedules pass through the noise levels of coarser ones; with T = 1000,
    β_t rises almost linearly from 10⁻⁴ to 1/50, as in the paper.

    Args:
        steps: T.
        first, last: positive.

    Reference: Song et al. (2021), Score-based generative modeling through stochastic
    differential equations, appendix C.
    """
    checks.counting_number(steps=steps)
    checks.positive(first=first, last=last)
    middle = (np.arange(steps) + 0.5) / steps
    return Schedule(-np.expm1(-(first + (last - first) * middle) / steps))


class Step(NamedTuple):
    """N(mean, std²): a mean for each point, a std for all, or for rows or columns."""

    mean: Points
    std: Points


def marginal(x0: Points, t: Times, schedule: Schedule) -> Step:
    """Return mean and std of  q(x_t | x₀) = N(√ᾱ_t x₀, (1 − ᾱ_t) I).

    Args:
        x0: data, array or tensor; the answer is of the same kind.
        t: 1, ..., T; a number, or an integer for each row.
        schedule: the noise.

    Reference: Ho, Jain & Abbeel (2020), equation 4.
    """
    x0 = _points(x0=x0)
    t = _times(t, schedule, rows=x0)
    mean = _like(x0, np.sqrt(schedule.alpha_bars[t])) * x0
    return Step(mean, _like(x0, np.sqrt(schedule.noise_variances[t])))


def posterior(x0: Points, xt: Points, t: Times, schedule: Schedule) -> Step:
    """Return mean and std of  q(x_{t−1} | x_t, x₀),  whose variance is β̃_t and mean

      μ̃_t = [√ᾱ_{t−1} β_t x₀ + √α_t (1 − ᾱ_{t−1}) x_t] / (1 − ᾱ_t).

    At t = 1 it is the point x₀.

    Args:
        x0, xt: of one shape; the answer is of their kind.
        t: 1, ..., T; a number, or an integer for each row.
        schedule: the noise.

    Reference: Ho, Jain & Abbeel (2020), equations 6 and 7.
    """
    x0, xt = _points(x0=x0), _points(xt=xt)
    checks.same_shape(x0=x0, xt=xt)
    t = _times(t, schedule, rows=x0)
    beta, noise = schedule.betas[t - 1], schedule.noise_variances
    of_x0 = np.sqrt(schedule.alpha_bars[t - 1]) * beta / noise[t]
    of_xt = np.sqrt(1 - beta) * noise[t - 1] / noise[t]
    mean = _like(x0, of_x0) * x0 + _like(x0, of_xt) * xt
    return Step(mean, _like(x0, np.sqrt(schedule.posterior_variances[t - 1])))


class Bound(NamedTuple):
    """The three parts of an upper bound of −log p(x₀), in nats.

    L_t has a row for each t = 2..T, standing for the paper's L_{t−1}. From `bound` each
    part has an entry for each datum in its last axis; a closed form has averages.
    """

    L_T: Float[ndarray, "*n"] | Number
    L_t: Float[ndarray, "steps *n"]
    L_0: Float[ndarray, "*n"] | Number

    @property
    def total(self) -> Float[ndarray, "*n"] | Number:
        """L_T + Σ L_{t−1} + L_0,  at least −log p(x₀) on average over the draws."""
        return self.L_T + self.L_t.sum(axis=0) + self.L_0


def gaussian_log_density(x0: Tensor, mean: Tensor, std) -> Float[Tensor, "n"]:
    """Return  Σⱼ log N(xⱼ; meanⱼ, std²),  the decoder of points in space.

    Args:
        x0, mean: (n, d) or (n,).
        std: positive.
    """
    std = torch.as_tensor(std, dtype=mean.dtype, device=mean.device)
    square = ((x0 - mean) / std) ** 2
    return _per_row(-0.5 * square - torch.log(std) - 0.5 * math.log(2 * math.pi))


def discretised_log_probability(levels: int) -> Callable[..., Float[Tensor, "n"]]:
    """Return the decoder  Σⱼ log ∫ N(y; meanⱼ, std²) dy  over the cell of xⱼ.

    Grey comes in equal steps from −1 to 1; the cell of a level reaches half a step to
    either side, and those at the ends to infinity, so that the probabilities of all
    levels sum to one.

    Args:
        levels: how many there are, at least 2.

    Reference: Ho, Jain & Abbeel (2020), section 3.3.
    """
    checks.counting_number(levels=levels)
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}")

    def decoder(x0: Tensor, mean: Tensor, std) -> Float[Tensor, "n"]:
        index = (x0 + 1) * (levels - 1) / 2
        wrong = ((index - index.round()).abs() > 1e-4) | (x0.abs() > 1 + 1e-6)
        if wrong.any():
            wish = f"x0 must be one of {levels} equal steps from -1 to 1"
            raise ValueError(f"{wish}, got {x0[wrong][0].item()}")
        half, infinity = 1 / (levels - 1), math.inf
        low = torch.where(index < 0.5, -infinity, (x0 - half - mean) / std)
        high = torch.where(index > levels - 1.5, infinity, (x0 + half - mean) / std)
        # Φ(b) − Φ(a) = Φ(−a) − Φ(−b): take the tail in which both are small
        flip = low + high > 0
        low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
        above, below = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
        return _per_row(above + torch.log(-torch.expm1(below - above)))

    return decoder


@torch.no_grad()
def bound(
    model: ReverseModel | nn.Module,
    x0: Points,
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
    draws: int = 1,
    decoder: Callable[..., Tensor] = gaussian_log_density,
) -> Bound:
    """Return the parts of  −log p(x₀) ≤ L_T + Σ L_{t−1} + L_0,  for each datum:

      L_T     = KL(q(x_T | x₀) ‖ N(0, I)), exactly,
      L_{t−1} = E KL(q(x_{t−1} | x_t, x₀) ‖ p(x_{t−1} | x_t)), x_t ~ q(x_t | x₀),
      L_0     = −E log p(x₀ | x₁), x₁ ~ q(x₁ | x₀).

    The expectations are averages over draws of x_t, independent for all t and rows; so
    `mean_of(bound(...).total)` has the right standard error.

    Args:
        model: (x_t, t) -> (mean, std) of p(x_{t−1} | x_t); or a `Denoiser`.
        x0: data, (n, d) or (n,).
        schedule: the noise.
        generator: draws the x_t, on the device of x0; None for a fresh one.
        draws: how many for each t and each datum.
        decoder: (x₀, mean, std) -> log p(x₀ | x₁).

    Reference: Ho, Jain & Abbeel (2020), equation 5.
    """
    checks.counting_number(draws=draws)
    x0, model, generator = _prepared(model, x0, schedule, generator)
    mean, std = marginal(x0, schedule.steps, schedule)
    L_T = _kl(mean, std, torch.zeros_like(mean), 1.0)
    L_t = x0.new_zeros(schedule.steps - 1, len(x0))
    L_0 = x0.new_zeros(len(x0))
    for t in range(1, schedule.steps + 1):
        for _ in range(draws):
            xt = _draw(marginal(x0, t, schedule), generator)
            step = _asked(model, xt, t)
            if t == 1:
                L_0 -= decoder(x0, *step) / draws
            else:
                L_t[t - 2] += _kl(*posterior(x0, xt, t, schedule), *step) / draws
    return Bound(*(part.double().cpu().numpy() for part in (L_T, L_t, L_0)))


@torch.no_grad()
def path_terms(
    model: ReverseModel | nn.Module,
    x0: Points,
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
    decoder: Callable[..., Tensor] = gaussian_log_density,
) -> Float[ndarray, "terms n"]:
    """Return the terms of the bound as it was before anything was rearranged,

      −log p(x_T), and, for t = 1..T, log q(x_t | x_{t−1}) − log p(x_{t−1} | x_t),

    along one path x₁, ..., x_T ~ q for each datum: T + 1 rows, whose sum has the mean
    of `bound(...).total`.

    Args:
        model, x0, schedule, generator, decoder: see `bound`.
    """
    x0, model, generator = _prepared(model, x0, schedule, generator)
    before, terms = x0, []
    for t in range(1, schedule.steps + 1):
        beta = float(schedule.betas[t - 1])
        step = Step(math.sqrt(1 - beta) * before, math.sqrt(beta))
        after = _draw(step, generator)
        back = decoder if t == 1 else gaussian_log_density
        undone = back(before, *_asked(model, after, t))
        terms.append(gaussian_log_density(after, *step) - undone)
        before = after
    terms.insert(0, -gaussian_log_density(before, torch.zeros_like(before), 1.0))
    return torch.stack(terms).double().cpu().numpy()


def gaussian_step(data_variance: Number, schedule: Schedule) -> ReverseModel:
    """Return the exact  q(x_{t−1} | x_t)  of data N(0, v₀ I),

      N(√α_t v_{t−1}/v_t x_t, β_t v_{t−1}/v_t I), v_t = ᾱ_t v₀ + 1 − ᾱ_t.

    Args:
        data_variance: v₀.
        schedule: the noise.
    """
    checks.positive(data_variance=data_variance)
    ratio, betas = _shrinkage(data_variance, schedule), schedule.betas

    def model(xt, t: int) -> Step:
        t = _times(t, schedule)
        mean = float(np.sqrt(1 - betas[t - 1]) * ratio[t - 1]) * xt
        return Step(mean, float(np.sqrt(betas[t - 1] * ratio[t - 1])))

    return model


def gaussian_bound(
    data_variance: Number,
    schedule: Schedule,
    variances: str | Real[ndarray, "T"] = "best",
) -> Bound:
    """Return the average over data N(0, v₀) of the bound, for the exact reverse mean:

      L_{t−1} = ½ (log(σ_t²/β̃_t) + v*_t/σ_t² − 1), v*_t = β_t v_{t−1}/v_t,
      L_0 = ½ (log(2π σ₁²) + v*₁/σ₁²), L_T = ½ (v_T − 1 − log(1 − ᾱ_T)).

    Data of d coordinates have d times as much.

    Args:
        data_variance: v₀.
        schedule: the noise.
        variances: the σ_t²: "beta", "posterior" (see `reverse_variances`), "best", the
            v*_t, or T numbers.
    """
    checks.positive(data_variance=data_variance)
    if not isinstance(variances, str):
        checks.of_shape((schedule.steps,), variances=variances)
    right = schedule.betas * _shrinkage(data_variance, schedule)
    named_best = isinstance(variances, str) and variances == "best"
    used = right if named_best else reverse_variances(schedule, variances)
    last = schedule.alpha_bars[-1] * data_variance + schedule.noise_variances[-1]
    excess = right / used + np.log(used)
    return Bound(
        0.5 * (last - 1 - np.log(schedule.noise_variances[-1])),
        0.5 * (excess - 1)[1:] - 0.5 * np.log(schedule.posterior_variances[1:]),
        0.5 * (excess[0] + np.log(2 * np.pi)),
    )


class Cloud(NamedTuple):
    """The law  Σᵢ wᵢ N(pointᵢ, std² I),  which stays such a law when it is noised."""

    points: Real[ndarray, "k d"]
    log_weights: Real[ndarray, "k"]
    std: Number


def cloud(points: Real[ndarray, "k d"], std: Number = 0.0) -> Cloud:
    """Return the law  (1/k) Σᵢ N(pointᵢ, std² I).

    With std = 0 it is what training data are to a model: these points and no others.

    Args:
        points: k centres.
        std: at least 0.
    """
    checks.table(points=points)
    return _cloud(Cloud(points, np.full(len(points), -np.log(len(points))), std))


def arcs_cloud(data: Arcs) -> Cloud:
    """Return arcs as a cloud: the points of the quadrature rule along them.

    Args:
        data: the arcs, `MOONS` for example.
    """
    return Cloud(*arcs_rule(data), float(data.noise_std))


def noised(data: Cloud, t: int, schedule: Schedule) -> Cloud:
    """Return the law of  x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε:  points √ᾱ_t pointᵢ, variance
    ᾱ_t std² + 1 − ᾱ_t.

    Args:
        data: the law of x₀.
        t: 0, ..., T.
        schedule: the noise.
    """
    points, log_weights, std = _cloud(data)
    signal = schedule.alpha_bar(t)
    variance = signal * std**2 + schedule.noise_variances[t]
    return Cloud(np.sqrt(signal) * points, log_weights, float(np.sqrt(variance)))


def draw_cloud(rng: np.random.Generator, data: Cloud, n: int) -> Float[ndarray, "n d"]:
    """Return n draws  point_c + std z,  c with the weights and z ~ N(0, I).

    Args:
        rng: the source of randomness.
        data: the law.
        n: how many.
    """
    points, log_weights, std = _cloud(data)
    checks.counting_number(n=n)
    weights = np.exp(log_weights)
    chosen = points[rng.choice(len(points), size=n, p=weights / weights.sum())]
    return chosen + std * rng.standard_normal(chosen.shape)


def log_density_and_score(
    x: Real[ndarray, "n d"], data: Cloud
) -> tuple[Float[ndarray, "n"], Float[ndarray, "n d"]]:
    """Return  log p(x)  and  ∇ log p(x) = (Σᵢ rᵢ(x) pointᵢ − x)/std²,  in one pass.

    rᵢ(x) is the probability, given x, that x came from point i.

    Args:
        x: n points.
        data: the law, whose std must be positive.
    """
    checks.rows(x=x)
    checks.finite(x=x)
    data = _cloud(data)
    checks.same_columns(x=x, points=data.points)
    checks.positive(std=data.std)
    log_density, score = _look(torch.from_numpy(np.array(x, dtype=float)), data)
    return log_density.numpy(), score.numpy()


def exact_denoiser(data: Cloud, schedule: Schedule) -> NoiseGuess:
    """Return the best denoiser there is,  ε*(x_t, t) = E[ε | x_t] = −√(1−ᾱ_t) ∇log q_t.

    q_t is the law of x_t, a cloud as well.

    Args:
        data: the law of x₀.
        schedule: the noise.
    """
    data = _cloud(data)

    def denoiser(xt: Tensor, t: int) -> Tensor:
        noise_std = float(np.sqrt(schedule.noise_variances[_times(t, schedule)]))
        return -noise_std * _look(xt, noised(data, t, schedule))[1]

    return denoiser


def fisher_informations(data: Cloud, schedule: Schedule) -> Float[ndarray, "T"]:
    """Return  J_t = E|∇ log q_t(x_t)|²  for t = 1..T, by quadrature.

    The smallest mean square error of a guess of the noise is  d − (1 − ᾱ_t) J_t.  A sum
    over a grid with four cells for each standard deviation is right to some six digits:
    worst, a relative 5e-7, where noised points lie about seven of these apart.

    Args:
        data: the law of x₀, in one or two dimensions.
        schedule: the noise.
    """
    data = _cloud(data)
    if data.points.shape[1] > 2:
        d = data.points.shape[1]
        raise ValueError(f"data must have one or two columns, got {d}")
    return np.array(
        [_fisher(noised(data, t, schedule)) for t in range(1, schedule.steps + 1)]
    )


def best_variances(
    errors: Real[ndarray, "T"] | Real[ndarray, "T d"],
    schedule: Schedule,
    dimension: int,
) -> Float[ndarray, "T"] | Float[ndarray, "T d"]:
    """Return the σ_t² for which the bound is smallest, whatever the guess of the noise,

      σ_t² = β̃_t + β_t² e_t / (d α_t (1 − ᾱ_t)), e_t = E|ε − ε̂(x_t, t)|².

    With it  L_{t−1} = (d/2) log(σ_t²/β̃_t)  and  L_0 = (d/2) log(2πe σ₁²).  Errors of
    each coordinate by itself give a variance for each: the same, with d = 1.

    Args:
        errors: e_t for t = 1..T; of the best guess, d − (1 − ᾱ_t) J_t with
            `fisher_informations`. Or (T, d), the mean squares of every coordinate.
        schedule: the noise.
        dimension: d.

    Reference: Bao et al. (2022), Analytic-DPM.
    """
    checks.counting_number(dimension=dimension)
    each = np.ndim(errors) == 2
    shape = (schedule.steps, dimension) if each else (schedule.steps,)
    checks.of_shape(shape, errors=errors)
    checks.positive(errors=errors)
    betas, noise = schedule.betas, schedule.noise_variances[1:]
    share = betas**2 / ((1 if each else dimension) * (1 - betas) * noise)
    return (schedule.posterior_variances + share * _numbers(errors).T).T


def reverse_variances(
    schedule: Schedule,
    variances: str | Real[ndarray, "T"] | Real[ndarray, "T d"] = "beta",
) -> Float[ndarray, "T"] | Float[ndarray, "T d"]:
    """Return  σ₁², ..., σ_T²,  the variances of the reverse steps.

    Args:
        schedule: the noise.
        variances: "beta", β_t; "posterior", β̃_t, but β₁ at t = 1, where β̃₁ = 0 would
            leave no density; or T numbers, or T rows with one for each coordinate.
    """
    if isinstance(variances, str):
        checks.one_of(["beta", "posterior"], variances=variances)
        if variances == "beta":
            return schedule.betas
        return np.concatenate([schedule.betas[:1], schedule.posterior_variances[1:]])
    columns = np.shape(variances)[1:] if np.ndim(variances) == 2 else ()
    checks.of_shape((schedule.steps, *columns), variances=variances)
    checks.positive(variances=variances)
    return _numbers(variances)


def reverse_step(
    denoiser: NoiseGuess,
    schedule: Schedule,
    variances: str | Real[ndarray, "T"] | Real[ndarray, "T d"] = "beta",
) -> ReverseModel:
    """Return the reverse model  N((x_t − β_t/√(1−ᾱ_t) ε̂(x_t, t))/√α_t, σ_t² I).

    Args:
        denoiser: (x_t, t) -> ε̂.
        schedule: the noise.
        variances: the σ_t², for all coordinates or for each; see `reverse_variances`.

    Reference: Ho, Jain & Abbeel (2020), equation 11.
    """
    stds = np.sqrt(reverse_variances(schedule, variances))
    betas, noise = schedule.betas, schedule.noise_variances

    def model(xt, t: int) -> Step:
        t = _times(t, schedule)
        share = float(betas[t - 1] / np.sqrt(noise[t]))
        mean = (xt - share * denoiser(xt, t)) / float(np.sqrt(1 - betas[t - 1]))
        return Step(mean, _of_columns(xt, stds[t - 1]))

    return model


def bound_weights(
    schedule: Schedule, variances: str | Real[ndarray, "T"] = "beta"
) -> Float[ndarray, "T"]:
    """Return  β_t² / (2 σ_t² α_t (1 − ᾱ_t)),  the weight of |ε − ε̂|² in the bound.

    Args:
        schedule: the noise.
        variances: the σ_t²; see `reverse_variances`.

    Reference: Ho, Jain & Abbeel (2020), equation 12.
    """
    if not isinstance(variances, str):
        checks.of_shape((schedule.steps,), variances=variances)
    betas, used = schedule.betas, reverse_variances(schedule, variances)
    return betas**2 / (2 * used * (1 - betas) * schedule.noise_variances[1:])


class Denoiser(nn.Module):
    """Guess the noise in x_t:  ε̂ = √(1−ᾱ_t) x_t + √ᾱ_t network(x_t, t).

    The first part is the best guess for data N(0, I); where the data are gone it is
    nearly all, and the network need not learn it. What it learns is to guess
    v = √ᾱ_t ε − √(1−ᾱ_t) x₀, for which ε = √(1−ᾱ_t) x_t + √ᾱ_t v. Of the time it is
    shown half the log of ᾱ_t/(1−ᾱ_t) and some waves of t/T.

    Args:
        dimension: d, how many coordinates.
        schedule: the noise it is to undo.
        hidden: how many units a layer has.
        layers: how many hidden layers.
        generator: draws the first weights; None for one that is seeded afresh.

    Reference: Salimans & Ho (2022), Progressive distillation for fast sampling of
    diffusion models, for v.
    """

    def __init__(
        self,
        dimension: int,
        schedule: Schedule,
        hidden: int = 128,
        layers: int = 3,
        *,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        checks.counting_number(dimension=dimension, hidden=hidden, layers=layers)
        self.dimension, self.steps = dimension, schedule.steps
        signal, noise = schedule.alpha_bars[1:], schedule.noise_variances[1:]
        time = np.arange(1, schedule.steps + 1) / schedule.steps
        angles = np.pi * time[:, None] * np.arange(1, 5)
        log_ratio = 0.5 * np.log(np.maximum(signal, 1e-30) / noise)
        features = [log_ratio[:, None] / 3, np.sin(angles), np.cos(angles)]
        for name, table in {
            "features": np.concatenate(features, axis=1),
            "scales": np.sqrt(np.stack([noise, signal], axis=1)),
        }.items():
            dtype = torch.get_default_dtype()
            self.register_buffer(name, torch.tensor(table, dtype=dtype))
        sizes = [dimension + self.features.shape[1], *[hidden] * layers, dimension]
        self.network = perceptron(sizes, nn.SiLU, given_or_fresh(generator))

    def forward(self, xt: Float[Tensor, "n d"], t: Times) -> Float[Tensor, "n d"]:
        """Return the guess of the noise, for each row.

        Args:
            xt: noised points.
            t: 1, ..., T; a number, or an integer for each row.
        """
        xt = on_weights(self, xt=xt)
        if xt.ndim != 2 or xt.shape[1] != self.dimension:
            shape = f"(n, {self.dimension})"
            raise ValueError(f"xt must be of shape {shape}, got {tuple(xt.shape)}")
        index = torch.as_tensor(_times(t, self, rows=xt) - 1, device=xt.device)
        of_xt, of_network = self.scales[index].unbind(-1)
        features = self.features[index].expand(len(xt), -1)
        guess = self.network(torch.cat([xt, features], dim=1))
        return of_xt[..., None] * xt + of_network[..., None] * guess


def noise_loss(
    denoiser: NoiseGuess, x0: Tensor, t: Times, schedule: Schedule, noise: Tensor
) -> Float[Tensor, "n"]:
    """Return  |ε − ε̂(√ᾱ_t x₀ + √(1−ᾱ_t) ε, t)|²,  for each row, summed over d.

    Args:
        denoiser: (x_t, t) -> ε̂.
        x0: data, (n, d).
        t: 1, ..., T; a number, or an integer for each row.
        schedule: the noise levels.
        noise: ε, of the shape of x0.
    """
    checks.same_shape(x0=x0, noise=noise)
    mean, std = marginal(x0, t, schedule)
    return ((noise - denoiser(mean + std * noise, t)) ** 2).sum(dim=1)


def train(
    denoiser: Denoiser,
    data: Real[ndarray, "n d"] | Float[Tensor, "n d"],
    schedule: Schedule,
    *,
    steps: int = 2000,
    batch_size: int = 256,
    rate: Number = 0.005,
    weights: Real[ndarray, "T"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[ndarray, "steps"]:
    """Minimise  E w_t |ε − ε̂(x_t, t)|²,  t uniform on 1..T; return each step's loss.

    Every row of a minibatch has its own t and its own noise. Adam takes the steps, at a
    rate that rises to `rate` and falls to nothing. The denoiser is changed in place.

    Args:
        denoiser: the network.
        data: x₀, a row each.
        schedule: the noise.
        steps: how many minibatches.
        batch_size: how many rows, drawn with replacement, each has.
        rate: the largest rate.
        weights: w₁, ..., w_T; None for ones, the paper's “simple” loss. `bound_weights`
            times T makes the loss the bound, up to a constant.
        generator: draws minibatches, times and noise, on the device of the weights;
            None for one that is seeded afresh.

    Reference: Ho, Jain & Abbeel (2020), algorithm 1.
    """
    checks.counting_number(steps=steps, batch_size=batch_size)
    checks.positive(rate=rate)
    checks.table(data=data)
    checks.of_shape((len(data), denoiser.dimension), data=data)
    if weights is not None:
        checks.of_shape((schedule.steps,), weights=weights)
        checks.positive(weights=weights)
    _require_schedule(denoiser, schedule)
    x0 = on_weights(denoiser, data=data).detach()
    generator = given_or_fresh(generator, x0.device)
    weights = np.ones(schedule.steps) if weights is None else _numbers(weights)
    weights = torch.tensor(weights, dtype=x0.dtype, device=x0.device)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=rate, fused=True)
    slope = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    like_rows = {"generator": generator, "device": x0.device}
    losses = []
    for _ in tqdm(range(steps), desc="train", disable=None, leave=False):
        batch = x0[torch.randint(len(x0), (batch_size,), **like_rows)]
        t = torch.randint(1, schedule.steps + 1, (batch_size,), **like_rows)
        noise = torch.randn(batch.shape, dtype=x0.dtype, **like_rows)
        square = noise_loss(denoiser, batch, t, schedule, noise)
        loss = (weights[t - 1] * square).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(denoiser.parameters(), 10.0)
        optimizer.step()
        slope.step()
        losses.append(loss.detach())
    losses = torch.stack(losses).double().cpu().numpy()
    if not np.isfinite(losses).all():
        raise OverflowError(f"training left the numbers: a rate of {rate} is too large")
    return losses


@torch.no_grad()
def sample(
    generator: torch.Generator,
    model: ReverseModel | nn.Module,
    schedule: Schedule,
    n: int,
    *,
    dimension: int | None = None,
    noisy_end: bool = False,
    path: bool = False,
) -> Float[Tensor, "*path n d"]:
    """Draw  x_T ~ N(0, I), then x_{t−1} = mean + std z  down to t = 2, and x₀ = mean.

    The last step adds no noise, as in the paper: it would only blur. With it, x₀ is a
    draw from the very p(x₀) that `bound` bounds.

    Args:
        generator: the source of randomness, where the model is.
        model: (x_t, t) -> (mean, std) of p(x_{t−1} | x_t); or a `Denoiser`.
        schedule: the noise.
        n: how many draws.
        dimension: d; a `Denoiser` knows it.
        noisy_end: whether the last step adds its noise.
        path: whether to return x₀, x₁, ..., x_T, (T + 1, n, d), and not x₀ alone.

    Reference: Ho, Jain & Abbeel (2020), algorithm 2.
    """
    checks.counting_number(n=n)
    options = {"device": generator.device, "dtype": torch.float64}
    if isinstance(model, Denoiser):
        if dimension not in (None, model.dimension):
            wish = f"dimension must be {model.dimension}, as the denoiser's"
            raise ValueError(f"{wish}, got {dimension}")
        dimension = model.dimension
        options["dtype"] = model.features.dtype
    checks.counting_number(dimension=dimension)
    model = _reverse(model, schedule)
    x = torch.randn(n, dimension, generator=generator, **options)
    stages = [x]
    for t in range(schedule.steps, 0, -1):
        step = _asked(model, x, t)
        x = _draw(step, generator) if t > 1 or noisy_end else step.mean
        if path:
            stages.append(x)
    return torch.stack(stages[::-1]) if path else x


class TwoSampleTest(NamedTuple):
    """A distance between two samples, and how often shuffling makes as large a one."""

    statistic: float
    p_value: float


def energy_test(
    rng: np.random.Generator,
    x: Real[ndarray, "n d"],
    y: Real[ndarray, "m d"],
    permutations: int = 199,
) -> TwoSampleTest:
    """Return  2 E|x−y| − E|x−x′| − E|y−y′|  over all pairs, and its p-value.

    The p-value is  (1 + b)/(1 + permutations),  where b counts the random relabellings
    of all n + m points whose statistic is at least as large. If x and y come from one
    law, it is at most a with a probability of at most a.

    Args:
        rng: shuffles.
        x, y: two samples of independent points.
        permutations: how many relabellings.

    Reference: Székely & Rizzo (2013), Energy statistics.
    """
    checks.table(x=x, y=y)
    checks.same_columns(y=y, x=x)
    checks.counting_number(permutations=permutations)
    x, y = _numbers(x), _numbers(y)
    both = np.concatenate([x, y])
    distances = cdist(both, both)
    labels = np.concatenate([np.full(len(x), 1 / len(x)), np.full(len(y), -1 / len(y))])
    shuffled = np.stack(
        [labels, *(rng.permutation(labels) for _ in range(permutations))]
    )
    statistics = -((shuffled @ distances) * shuffled).sum(axis=1)
    # equal ones must count as equal, whatever the last bit
    as_large = statistics[1:] >= statistics[0] * (1 - 1e-12)
    p_value = (1 + as_large.sum()) / (1 + permutations)
    return TwoSampleTest(float(statistics[0]), float(p_value))


def _numbers(value) -> Float[ndarray, "*shape"]:
    """The numbers as an array, of a tensor too."""
    value = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    return np.asarray(value, dtype=float)


def _points(**argument):
    """An array or a tensor of floating-point numbers, or a refusal in words."""
    ((name, x),) = argument.items()
    checks.finite(**{name: x})
    if isinstance(x, Tensor):
        return x if x.is_floating_point() else x.double()
    x = np.asarray(x)
    return x if np.issubdtype(x.dtype, np.floating) else x.astype(float)


def _times(t, schedule, first: int = 1, rows=None):
    """t as an int or an array of them, or a refusal in words."""
    if isinstance(t, Tensor):
        t = t.detach().cpu().numpy()
    plain = np.asarray(t)
    if not np.issubdtype(plain.dtype, np.integer):
        raise ValueError(f"t must be whole numbers, got {t}")
    wrong = plain[(plain < first) | (plain > schedule.steps)]
    if wrong.size:
        allowed = f"between {first} and {schedule.steps}"
        raise ValueError(f"t must be {allowed}, got {wrong.flat[0]}")
    if plain.ndim == 0:
        return int(plain)
    if rows is not None:
        if np.ndim(rows) == 0:
            raise ValueError(f"t must be one number for one point, got {plain.shape}")
        checks.of_shape((len(rows),), t=plain)
    return plain


def _like(x, value):
    """One number, or one for each row of x, in the kind of x and ready to multiply."""
    value = np.asarray(value)
    value = value.reshape(value.shape + (1,) * (np.ndim(x) - 1 if value.ndim else 0))
    if isinstance(x, Tensor):
        return torch.tensor(value, dtype=x.dtype, device=x.device)
    return value.astype(x.dtype)[()]


def _of_columns(x, std):
    """One number, or one for each column of x, in the kind of x."""
    if np.ndim(std) == 0:
        return float(std)
    if np.ndim(x) != 2 or x.shape[1] != len(std):
        shape = tuple(np.shape(x))
        raise ValueError(
            f"xt must have the {len(std)} columns of variances, got {shape}"
        )
    if isinstance(x, Tensor):
        return torch.tensor(std, dtype=x.dtype, device=x.device)
    return std.astype(x.dtype)


def _prepared(model, x0, schedule: Schedule, generator):
    """Data as a tensor where a denoiser is, the reverse model, and a generator."""
    if np.ndim(x0) not in (1, 2) or np.size(x0) == 0:
        shape = tuple(np.shape(x0))
        raise ValueError(f"x0 must be of shape (n, d) or (n,), n ≥ 1, got {shape}")
    checks.finite(x0=x0)
    if isinstance(model, Denoiser):
        x0 = on_weights(model, x0=x0)
    x0 = as_tensor(x0).detach()
    x0 = x0 if x0.is_floating_point() else x0.double()
    return x0, _reverse(model, schedule), given_or_fresh(generator, x0.device)


def _reverse(model, schedule: Schedule) -> ReverseModel:
    if not isinstance(model, Denoiser):
        return model
    _require_schedule(model, schedule)
    return reverse_step(model, schedule)


def _require_schedule(denoiser: Denoiser, schedule: Schedule) -> None:
    if denoiser.steps != schedule.steps:
        wish = f"schedule must have the {denoiser.steps} steps of the denoiser"
        raise ValueError(f"{wish}, got {schedule.steps}")


def _asked(model: ReverseModel, xt: Tensor, t: int) -> Step:
    """What a reverse model says, or a refusal in words."""
    step = Step(*model(xt, t))
    checks.of_shape(tuple(xt.shape), mean=step.mean)
    checks.finite(mean=step.mean)
    checks.positive(std=step.std)
    return step


def _draw(step: Step, generator: torch.Generator) -> Tensor:
    mean, std = step
    options = {"dtype": mean.dtype, "device": mean.device}
    return mean + std * torch.randn(mean.shape, generator=generator, **options)


def _per_row(x: Tensor) -> Float[Tensor, "n"]:
    return x.sum(dim=1) if x.ndim == 2 else x


def _kl(mean, std, other_mean, other_std) -> Float[Tensor, "n"]:
    """KL(N(mean, std²) ‖ N(other_mean, other_std²)), summed over the coordinates."""
    std = torch.as_tensor(std, dtype=mean.dtype, device=mean.device)
    log_ratio = torch.log(other_std / std)
    square = (std**2 + (mean - other_mean) ** 2) / (2 * other_std**2)
    return _per_row(log_ratio + square - 0.5)


def _shrinkage(data_variance: Number, schedule: Schedule) -> Float[ndarray, "T"]:
    """v_{t−1}/v_t for t = 1..T."""
    variances = schedule.alpha_bars * data_variance + schedule.noise_variances
    return variances[:-1] / variances[1:]


def _cloud(data: Cloud) -> Cloud:
    points, log_weights, std = data
    checks.table(points=points)
    checks.of_shape((len(points),), log_weights=log_weights)
    checks.finite(log_weights=log_weights, std=std)
    if not std >= 0:
        raise ValueError(f"std must be at least 0, got {std}")
    total = np.exp(_numbers(log_weights)).sum()
    if abs(total - 1) > 1e-6:
        raise ValueError(f"log_weights must be of weights that sum to 1, got {total}")
    return Cloud(_numbers(points), _numbers(log_weights), float(std))


def _look(x: Tensor, data: Cloud) -> tuple[Tensor, Tensor]:
    """`log_density_and_score`, unchecked, in the precision of x, block by block."""
    options = {"dtype": x.dtype, "device": x.device}
    points = torch.tensor(data.points, **options)
    log_weights = torch.tensor(data.log_weights, **options)
    variance, d = data.std**2, x.shape[1]
    log_densities, scores = [], []
    for block in x.split(max(1, _BLOCK // len(points))):
        square = sum((block[:, j, None] - points[:, j]) ** 2 for j in range(d))
        logits = log_weights - square / (2 * variance)
        log_sum = torch.logsumexp(logits, dim=1)
        centre = torch.exp(logits - log_sum[:, None]) @ points
        log_densities.append(log_sum - d / 2 * math.log(2 * math.pi * variance))
        scores.append((centre - block) / variance)
    return torch.cat(log_densities), torch.cat(scores)


def _fisher(data: Cloud) -> float:
    """∫ |∇ log p|² p  on a grid that reaches eight std beyond every point."""
    cell, reach = data.std / 4, 8 * data.std
    ends = data.points.min(0) - reach, data.points.max(0) + reach
    axes = [np.arange(low, high, cell) for low, high in zip(*ends, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(axes))
    log_density, score = _look(torch.from_numpy(grid), data)
    mass = torch.exp(log_density) * cell ** len(axes)
    return float((mass * (score**2).sum(1)).sum())
