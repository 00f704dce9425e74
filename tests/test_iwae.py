"""Importance weighted bounds against enumeration, quadrature, closed forms, and slopes worked out by hand."""

import itertools
import math
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, special, stats

from solutions import iwae, vae
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_mean, assert_proportion, assert_unbiased, assert_variance

NAN, INF = math.nan, math.inf
# Sums of some tens of terms of size 1 to 10 in float64 lose some hundred units in the last place.
SHARP = 1e-10


# A problem: one latent, d pixels, a few points, and a q(z | x)


class Problem(NamedTuple):
    """What makes a `LinearGaussian`, and points."""

    weight: list
    offset: list
    variance: float
    encoder: list
    shift: list
    log_variance: list
    x: list


PROBLEMS = {
    "E57": Problem([[1.0]], [0.0], 1.0, [[0.0]], [0.3], [math.log(0.64)], [[1.5]]),
    "three pixels": Problem(
        [[0.8], [-0.5], [1.3]],
        [0.2, -1.0, 0.4],
        0.7,
        [[0.3, -0.1, 0.2]],
        [-0.1],
        [math.log(0.18)],
        [[1.1, -0.4, 0.9], [-0.3, 0.2, 2.0], [0.0, -2.0, -1.0]],
    ),
    "wide": Problem([[2.0]], [1.0], 0.5, [[0.35]], [-0.2], [math.log(0.9)], [[-1.0], [2.5]]),
}
problems = pytest.mark.parametrize("name", PROBLEMS)
TWO = Problem(
    [[0.8, 0.3], [-0.5, 1.1], [0.4, 0.9]],
    [0.2, -0.3, 0.4],
    0.8,
    [[0.3, -0.1, 0.2], [0.1, 0.4, 0.2]],
    [-0.1, 0.2],
    [-0.7, -0.4],
    [[1.1, -0.4, 0.9], [-0.3, 0.2, 2.0]],
)


class Watched(vae.LinearGaussian):
    """Keeps the latents that it is asked about."""

    def log_likelihood(self, x, z):
        self.__dict__.setdefault("seen", []).append(z.detach().clone())
        return super().log_likelihood(x, z)


class WatchedVAE(vae.VAE):
    """Keeps the latents that it is asked about."""

    def log_likelihood(self, x, z):
        self.__dict__.setdefault("seen", []).append(z.detach().clone())
        return super().log_likelihood(x, z)


def linear(problem, kind=Watched):
    return kind(*problem[:6])


def network(pixels=4, hidden=5, latents=2, seed=5):
    """A small VAE in float64."""
    draws = torch.Generator().manual_seed(seed)
    encoder = vae.Encoder(pixels, hidden, latents, generator=draws)
    return WatchedVAE(encoder, vae.Decoder(latents, hidden, pixels, generator=draws)).double()


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def latents_of(model, shape):
    """The latents that the model was asked about, whether all at once, one after another, or the same ones twice."""
    seen = getattr(model, "seen", [])
    assert seen, "model.log_likelihood was never asked: where does p(x | z) come from?"
    alike = all(z.shape == seen[0].shape and torch.equal(z, seen[0]) for z in seen)
    z = (seen[0] if alike else torch.cat(seen, dim=1)).numpy()
    model.seen.clear()
    said = "each row of x has so many draws of its own"
    assert z.shape == shape, f"the latents have shape {z.shape}, should have shape {shape}: {said}"
    return z


def law_of_q(problem, x=None):
    """Mean (batch, k) and log-variance (k,) of q(z | x)."""
    x = np.array(problem.x if x is None else x)
    return x @ np.array(problem.encoder).T + problem.shift, np.array(problem.log_variance)


def posterior(problem, x=None):
    """Mean (batch, k) and covariance (k, k) of p(z | x), and log p(x) by scipy."""
    w, x = np.array(problem.weight), np.array(problem.x if x is None else x)
    d, k = w.shape
    covariance = w @ w.T + problem.variance * np.eye(d)
    gain = np.linalg.solve(covariance, w).T  # of the joint law of z and x, and not by the formula for precisions
    mean, left = (x - problem.offset) @ gain.T, np.eye(k) - gain @ w
    evidence = stats.multivariate_normal(problem.offset, covariance).logpdf(x)
    return mean, left, np.atleast_1d(evidence)


def log_weights_of(problem, z, x=None):
    """log p(x | z) + log p(z) − log q(z | x), by scipy, and the three of them."""
    x = np.array(problem.x if x is None else x)
    mean, log_variance = law_of_q(problem, x)
    fit = stats.norm.logpdf(x[:, None], z @ np.array(problem.weight).T + problem.offset, problem.variance**0.5).sum(-1)
    prior = stats.norm.logpdf(z).sum(-1)
    q = stats.norm.logpdf(z, mean[:, None], np.exp(log_variance / 2)).sum(-1)
    return fit + prior - q, (fit, prior, q)


def gap_of_one(distance, v, s2):
    """KL(N(distance, s²) ‖ N(0, v))."""
    return (s2 / v + distance**2 / v - 1 - np.log(s2 / v)) / 2


def log_u(noise, distance, v, s2):
    """log u at z = distance + s·noise, for the posterior N(0, v) and q = N(distance, s²)."""
    z = distance + np.sqrt(s2) * noise
    return stats.norm.logpdf(z, 0, np.sqrt(v)) - stats.norm.logpdf(noise) + np.log(s2) / 2


def noise_grid(step=0.05, end=9.0):
    """Places and weights that average smooth functions of N(0, 1), the trapezoid rule."""
    x = np.arange(-end, end + step / 2, step)
    return x, stats.norm.pdf(x) * step


def gap_on_a_grid(number, distance, v, s2):
    """−E log ū_K for K = 2 or 3, by the trapezoid rule in so many dimensions."""
    x, weight = noise_grid(*{2: (0.04, 9.0), 3: (0.15, 8.0)}[number])
    logs = log_u(x, distance, v, s2)
    total, mass = logs, weight
    for _ in range(number - 1):
        total, mass = np.logaddexp(total[..., None], logs), mass[..., None] * weight
    return -(mass * (total - np.log(number))).sum()


def scalar_rows(problem):
    """(distance, v, s²) for each point, and log p(x)."""
    (mean, log_variance), (centre, covariance, evidence) = law_of_q(problem), posterior(problem)
    return [(float(d), covariance[0, 0], float(np.exp(log_variance[0]))) for d in (mean - centre)[:, 0]], evidence


def second_moment(distance, v, s2):
    """E u², infinite unless s² > v/2."""
    if s2 <= v / 2:
        return INF
    return s2 / np.sqrt(v * (2 * s2 - v)) * np.exp(distance**2 / (2 * s2 - v))


# A finite latent, where everything is a sum

P_JOINT = [Fraction(1, 5), Fraction(1, 20), Fraction(3, 20)]  # p(x, z) for z = 1, 2, 3
Q = [Fraction(1, 4), Fraction(1, 4), Fraction(1, 2)]
WEIGHTS = [p / q for p, q in zip(P_JOINT, Q, strict=True)]
EVIDENCE = sum(P_JOINT)


def tuples(number):
    """All (z₁, …, z_K), with their probabilities under q."""
    found = list(itertools.product(range(3), repeat=number))
    return found, [math.prod(Q[i] for i in each) for each in found]


def bound_by_enumeration(number, weights=WEIGHTS):
    """E log of the mean weight over all tuples, the logs by `iwelbo`."""
    found, mass = tuples(number)
    logs = torch.tensor([[math.log(weights[i]) for i in each] for each in found], dtype=torch.float64)
    return float(iwae.iwelbo(logs) @ torch.tensor([float(m) for m in mass], dtype=torch.float64))


def plain(tensor):
    return tensor.detach().numpy()


def rows_of(array, dtype=torch.float64):
    return torch.tensor(np.array(array), dtype=dtype)


# The bound of weights that are given


def test_iwelbo_is_the_log_of_the_mean_weight():
    """Each row gives the log of the plain mean of its weights, here 2, 1/3, 3 and 1, 2, 4 by hand."""
    w = np.array([[1.0, 2.0, 3.0, 2.0], [1.0, 0.25, 0.05, 0.0333], [4.0, 4.0, 4.0, 4.0]])
    logs, want = np.log(w), np.log(w.mean(axis=1))
    shares = w / w.sum(axis=1, keepdims=True)
    mistakes = {
        "is this the mean of the logs, the ELBO, where the log of the mean belongs?": logs.mean(axis=1),
        "is log K not subtracted? The sum is taken for the mean": np.log(w.sum(axis=1)),
        "is log K added where it is to be subtracted?": np.log(w.sum(axis=1)) + np.log(4),
        "is this the largest weight alone, with log K off?": logs.max(axis=1) - np.log(4),
        "is this the largest weight alone?": logs.max(axis=1),
        "is this the sum of the logs weighted by their own shares, whose gradient only is meant?": (shares * logs).sum(
            axis=1
        ),
        "is it the mean weight, without its log?": w.mean(axis=1),
        "is the mean taken over the rows of the batch, axis 0, too? Each row has its own bound": np.full(
            3, np.log(w.mean())
        ),
        "is log (K − 1) subtracted, as for a variance?": np.log(w.sum(axis=1) / 3),
        "log2 for the natural logarithm?": np.log2(w.mean(axis=1)),
    }
    assert_close(iwae.iwelbo(rows_of(logs)), want, rtol=SHARP, atol=1e-14, what="iwelbo(log w)", mistakes=mistakes)


def test_iwelbo_has_one_bound_for_each_row():
    """Two rows of three draws give two bounds: (2,), not (3,) and not one for all."""
    w = np.array([[1.0, 2.0, 6.0], [0.5, 0.5, 2.0]])
    got = iwae.iwelbo(rows_of(np.log(w)))
    assert tuple(got.shape) != (3,), (
        "iwelbo of (2, 3) has three bounds: is the mean over the rows, axis 0? Draws are columns"
    )
    mistakes = {"are all the weights averaged, over rows too?": np.full(2, np.log(w.mean()))}
    assert_close(got, np.log([3.0, 1.0]), rtol=SHARP, atol=1e-14, what="iwelbo(log w)", mistakes=mistakes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [-1e5, -1000.0, -100.0, 100.0, 1000.0, 1e5])
def test_iwelbo_holds_far_from_zero(level, dtype):
    """Weights e^level (1, 3, 5, 7): the bound is level + log 4, though e^level is 0 or ∞ to a float."""
    logs = torch.tensor([[0.0, math.log(3), math.log(5), math.log(7)]], dtype=dtype) + level
    got = iwae.iwelbo(logs)
    assert got.dtype == dtype, f"iwelbo of {dtype} gives {got.dtype}: the precision is the argument's"
    assert torch.isfinite(got).all(), (
        f"iwelbo is {got.tolist()} at log-weights near {level}: take out the largest first"
    )
    # the logs themselves are rounded to this
    assert_close(got, [level + math.log(4)], rtol=4 * torch.finfo(dtype).eps, atol=1e-6, what=f"iwelbo near {level}")


def test_iwelbo_of_weights_that_are_zero():
    """−∞ is a weight of 0: of 0, 2, 4 the mean is 2; of one that counts and 999 zeros a thousandth; of none −∞."""
    logs = rows_of([[-INF, math.log(2), math.log(4)], [0.0, -INF, -INF], [-INF, -INF, -INF]])
    got = iwae.iwelbo(logs)
    assert not got.isnan().any(), f"iwelbo of rows with weights of 0 has NaN, −∞ − (−∞)? got {got.tolist()}"
    mistakes = {"are the weights of 0 left out of K?": [math.log(3), 0.0, -INF]}
    assert_close(got, [math.log(2), -math.log(3), -INF], rtol=SHARP, what="iwelbo with −∞", mistakes=mistakes)


def test_iwelbo_of_many_draws(rng):
    """2,003 draws, a prime and no multiple of a block, of like size: each counts, the last as the first."""
    w = rng.uniform(1, 3, (2, 2003))
    w[0, -3:] = 500.0
    mistakes = {
        "are the last draws left out, those beyond whole blocks?": np.log(w[:, :2000].mean(axis=1)),
        "are only the largest weights added?": np.log(np.sort(w)[:, -500:].sum(axis=1) / 2003),
    }
    got = iwae.iwelbo(rows_of(np.log(w)))
    assert_close(got, np.log(w.mean(axis=1)), rtol=SHARP, what="iwelbo of 2,003 draws", mistakes=mistakes)


def test_iwelbo_of_one_draw_is_its_log():
    """K = 1: the log-weight itself, at any size."""
    logs = rows_of([[0.3], [-812.5], [1e9], [-INF]])
    assert_close(iwae.iwelbo(logs), logs[:, 0], rtol=1e-15, what="iwelbo of one column")


def test_iwelbo_has_the_shares_as_its_gradient(rng):
    """∂ iwelbo/∂ log w_k = w_k/Σ w_j, for each row alone; and `gradcheck` by finite differences."""
    logs = rng.normal(0, 2, (4, 3))
    w = np.exp(logs)
    wanted = w / w.sum(axis=1, keepdims=True)
    at = rows_of(logs).requires_grad_()
    bound = iwae.iwelbo(at)
    assert bound.requires_grad, "no gradient flows through iwelbo: is something detached, or turned into an array?"
    (got,) = torch.autograd.grad(bound.sum(), at)
    mistakes = {
        "are the shares taken over the rows, axis 0?": w / w.sum(axis=0),
        "are all draws given the same share 1/K? That is the gradient of the mean of the logs": np.full((4, 3), 1 / 3),
        "does the whole share fall to the largest weight?": np.eye(3)[logs.argmax(axis=1)],
    }
    shares = wanted * (1 + logs - (wanted * logs).sum(axis=1, keepdims=True))
    mistakes["is a gradient taken through the shares too, which should be detached?"] = shares
    assert_close(got, wanted, rtol=SHARP, what="the gradient of iwelbo", mistakes=mistakes)
    assert torch.autograd.gradcheck(iwae.iwelbo, (at,))


def test_iwelbo_of_large_weights_has_a_finite_gradient():
    """At log-weights near ±1000 in float32, and with a weight of 0, the gradient is still the shares."""
    for level in (-1000.0, 1000.0):
        at = torch.tensor([[level, level + math.log(3), -INF]], requires_grad=True)
        (got,) = torch.autograd.grad(iwae.iwelbo(at).sum(), at)
        assert_close(got, [[0.25, 0.75, 0]], rtol=2e-4, what=f"the gradient of iwelbo near {level}")


def test_iwelbo_takes_any_layout_and_leaves_it():
    """Columns of a transpose, every other row, one row, and no row: the same numbers, and nothing is written."""
    logs = rows_of(np.log(np.arange(1.0, 25.0).reshape(6, 4) ** 2))
    kept, want = logs.clone(), np.log((np.arange(1.0, 25.0).reshape(6, 4) ** 2).mean(axis=1))
    for what, view, rows in [
        ("a transposed view", logs.T.contiguous().T, slice(None)),
        ("every other row", logs[::2], slice(None, None, 2)),
        ("one row", logs[4:5], slice(4, 5)),
        ("no row", logs[:0], slice(0, 0)),
        ("an expanded view", logs[:1].expand(3, 4), [0, 0, 0]),
    ]:
        got = iwae.iwelbo(view)
        assert torch.equal(logs, kept), "iwelbo has changed its argument"
        assert_close(got, want[rows], rtol=SHARP, what=f"iwelbo of {what}")
    logs[:] = 0.5
    assert_close(iwae.iwelbo(logs), np.full(6, 0.5), rtol=SHARP, what="iwelbo of a tensor that has changed since")


@pytest.mark.parametrize(
    ("bad", "shown"),
    [
        ([[0.0, NAN]], NAN),
        ([[INF, 0.0], [0.0, 0.0]], INF),
        ([[0.0, 0.0], [-1.0, INF]], INF),
        ([0.0, 1.0], (2,)),
        ([[[0.0]]], (1, 1, 1)),
        (np.zeros((2, 0)), "none"),
    ],
    ids=["NaN", "infinite", "infinite in the corner", "one axis", "three axes", "no column"],
)
def test_iwelbo_refuses(bad, shown):
    """NaN, weights of ∞, anything but rows, and rows of no draws."""
    if shown == "none":
        with pytest.raises(ValueError, match="log_weights"):
            iwae.iwelbo(rows_of(bad))
        return
    assert_refused(iwae.iwelbo, rows_of(bad), argument="log_weights", value=shown)


# Theorems on a finite latent


@pytest.mark.claim("thm-iwae-bound", kind="enumeration")
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_iwelbo_of_all_tuples_is_below_the_evidence(number):
    """E of the mean weight is p(x) in fractions; E log of it, over all K-tuples, is below log p(x)."""
    found, mass = tuples(number)
    mean = sum(m * sum(WEIGHTS[i] for i in each) / number for each, m in zip(found, mass, strict=True))
    assert mean == EVIDENCE
    want = sum(float(m) * math.log(sum(WEIGHTS[i] for i in each) / number) for each, m in zip(found, mass, strict=True))
    got = bound_by_enumeration(number)
    assert_close(got, want, rtol=SHARP, what=f"E iwelbo over all {number}-tuples")
    assert got < math.log(EVIDENCE)


@pytest.mark.claim("thm-iwae-bound", kind="enumeration")
def test_iwelbo_is_the_evidence_where_q_is_the_posterior():
    """All weights are p(x) then, and every draw gives log p(x); the least other q leaves a gap."""
    exact = [p / (p / EVIDENCE) for p in P_JOINT]
    assert set(exact) == {EVIDENCE}
    logs = rows_of(np.full((5, 3), math.log(EVIDENCE)))
    assert_close(iwae.iwelbo(logs), np.full(5, math.log(EVIDENCE)), rtol=1e-15, what="iwelbo of equal weights")
    nearly = rows_of([[0.0, 1e-4]])
    assert float(iwae.iwelbo(nearly)) > 0.5e-4, "unequal weights: the log of their mean is above the mean of the logs"


@pytest.mark.claim("thm-iwae-bound", kind="enumeration")
def test_iwelbo_stays_below_where_q_leaves_a_state_out():
    """The condition is needed: a q that never proposes z = 3 has E w = p(x, 1) + p(x, 2) < p(x), for every K."""
    q = [Fraction(1, 2), Fraction(1, 2), Fraction(0)]
    mean = sum(q[i] * P_JOINT[i] / q[i] for i in range(3) if q[i])
    assert mean == EVIDENCE - P_JOINT[2]
    logs = [math.log(P_JOINT[i] / q[i]) for i in range(2)]
    counts = np.arange(201)
    rows = rows_of([[logs[0]] * c + [logs[1]] * (200 - c) for c in counts])
    bound = float(iwae.iwelbo(rows) @ rows_of(stats.binom.pmf(counts, 200, 0.5)))
    assert_close(bound, math.log(mean), rtol=0, atol=0.02, what="L_200 of a q that leaves a state out")
    assert bound < math.log(mean)


@pytest.mark.claim("thm-iwae-bound")
def test_iwelbo_is_at_least_the_mean_of_the_logs(rng):
    """Row by row, with equality where all are equal: ≥ and not >."""
    logs = rows_of(rng.normal(0, 3, (200, 7)))
    assert (iwae.iwelbo(logs) > logs.mean(1)).all(), (
        "the log of the mean is above the mean of the logs where they differ"
    )
    same = rows_of(rng.normal(0, 3, (50, 1))).expand(50, 7)
    assert_close(iwae.iwelbo(same), same[:, 0], rtol=1e-13, atol=1e-13, what="iwelbo of equal log-weights")


@pytest.mark.claim("thm-iwae-monotone", kind="enumeration")
def test_iwelbo_of_all_tuples_grows_with_their_length():
    """L_1 < L_2 < … < L_6 for weights that differ; all the same for weights that do not."""
    bounds = np.array([bound_by_enumeration(number) for number in range(1, 7)])
    assert np.all(np.diff(bounds) > 1e-4), bounds
    constant = [bound_by_enumeration(number, [EVIDENCE] * 3) for number in range(1, 5)]
    assert_close(constant, np.full(4, math.log(EVIDENCE)), rtol=1e-12, what="L_K of constant weights")


@pytest.mark.claim("thm-iwae-monotone")
@pytest.mark.parametrize("number", [1, 2, 5, 12])
def test_iwelbo_is_at_least_the_average_of_leaving_one_out(rng, number):
    """Of K+1 weights, surely: the mean is the average of the means of K; the log is at least the average of theirs."""
    logs = rows_of(rng.normal(0, 2, (60, number + 1)))
    parts = torch.stack([iwae.iwelbo(torch.cat([logs[:, :i], logs[:, i + 1 :]], 1)) for i in range(number + 1)], 1)
    whole = iwae.iwelbo(logs)
    assert_close(whole.exp(), parts.exp().mean(1), rtol=1e-12, what="the mean of all weights, by its subsets")
    assert (whole >= parts.mean(1)).all()


@pytest.mark.claim("prop-iwae-extended", kind="enumeration")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_iwelbo_is_a_divergence_on_the_larger_space(number):
    """log dP/dQ = log ū for every (z₁, …, z_K, j); KL(Q‖P) is the gap, and at least that of the chosen z."""
    post = [p / EVIDENCE for p in P_JOINT]
    divergence, chosen, total = 0.0, [Fraction(0)] * 3, [Fraction(0), Fraction(0)]
    found, mass = tuples(number)
    for each, m in zip(found, mass, strict=True):
        whole = sum(WEIGHTS[i] for i in each)
        for j, i in enumerate(each):
            law_q = m * WEIGHTS[i] / whole
            law_p = Fraction(1, number) * post[i] * math.prod(Q[other] for n, other in enumerate(each) if n != j)
            assert law_p / law_q == whole / number / EVIDENCE
            divergence += float(law_q) * math.log(law_q / law_p)
            chosen[i] += law_q
            total = [total[0] + law_q, total[1] + law_p]
    assert total == [1, 1]
    gap = math.log(EVIDENCE) - bound_by_enumeration(number)
    assert_close(gap, divergence, rtol=1e-9, what=f"gap_{number}, by enumeration")
    of_the_chosen = sum(float(c) * math.log(c / p) for c, p in zip(chosen, post, strict=True))
    assert of_the_chosen <= divergence * (1 + 1e-12)
    if number > 1:
        assert of_the_chosen < 0.9 * divergence


# The integral


def log_mean_by_integral(laplace, low=-60.0, high=60.0):
    """∫ (e^{−t} − E e^{−tS}) dt/t, in r = log t."""

    def f(r):
        return math.exp(-math.exp(r)) - laplace(math.exp(r))

    points = np.linspace(low, high, 13)
    return sum(
        integrate.quad(f, *ends, epsabs=1e-12, epsrel=1e-10, limit=200)[0] for ends in itertools.pairwise(points)
    )


@pytest.mark.claim("lem-log-integral", kind="symbolic")
def test_log_integral_by_sympy():
    """For S = a its slope in a, ∫ e^{−ta} dt, is 1/a; from gamma(1) to gamma(n) it grows by H_{n−1} = ψ(n) − ψ(1)."""
    t, a = sympy.symbols("t a", positive=True)
    slope = sympy.diff((sympy.exp(-t) - sympy.exp(-t * a)) / t, a)
    assert sympy.simplify(sympy.integrate(slope, (t, 0, sympy.oo)) - sympy.diff(sympy.log(a), a)) == 0
    for shape in (2, 3):
        growth = sympy.cancel((1 / (1 + t) - 1 / (1 + t) ** shape) / t)
        assert sympy.integrate(growth, (t, 0, sympy.oo)) == sympy.harmonic(shape - 1)
    assert_close(log_mean_by_integral(lambda t: 1 / (1 + t)), -np.euler_gamma, rtol=1e-9, what="E log Exp(1)")


@pytest.mark.claim("lem-log-integral", kind="quadrature")
def test_log_integral_of_gammas_and_points():
    """E log S is ψ(shape) for a gamma law, Σ pᵢ log sᵢ for points."""
    for shape in (0.7, 1.0, 3.5, 20.0):
        got = log_mean_by_integral(lambda t, shape=shape: (1 + t) ** -shape)
        assert_close(got, special.digamma(shape), rtol=1e-9, atol=1e-11, what=f"E log of a gamma({shape})")
    points, p = np.array([0.02, 1.0, 30.0]), np.array([0.3, 0.5, 0.2])
    got = log_mean_by_integral(lambda t: float(p @ np.exp(-t * points)))
    assert_close(got, p @ np.log(points), rtol=1e-9, what="E log of three points")


@pytest.mark.claim("lem-log-integral", kind="quadrature")
def test_log_integral_is_minus_infinity_with_the_mean_of_the_log():
    """Where P(S = 0) = ¼ the integral up to T falls by ¼ log 10 with every power of 10, without end."""
    so_far = [
        log_mean_by_integral(lambda t: 0.25 + 0.75 * math.exp(-2 * t), high=end) for end in np.log([1e4, 1e5, 1e6])
    ]
    assert_close(np.diff(so_far), np.full(2, -0.25 * np.log(10)), rtol=1e-8, what="what a power of 10 adds")


def gap_by_integral(number, u, p):
    """∫ (φ(t/K)^K − e^{−t}) dt/t for a u of a few values."""
    return -log_mean_by_integral(lambda t: float(p @ np.exp(-t / number * u)) ** number)


@pytest.mark.claim("thm-iwae-integral", kind="enumeration")
def test_iwelbo_gap_is_the_integral():
    """For u of three values, E log ū_K by all multisets of K is the integral, for K = 1, 2, 3, 7, 30."""
    u, p = np.array([float(w / EVIDENCE) for w in WEIGHTS]), np.array([float(q) for q in Q])
    for number in (1, 2, 3, 7, 30):
        counts = np.array([(a, b, number - a - b) for a in range(number + 1) for b in range(number + 1 - a)])
        mass = stats.multinomial(number, p).pmf(counts)
        logs = rows_of([np.repeat(np.log(u), c) for c in counts])
        got = -float(iwae.iwelbo(logs) @ rows_of(mass))
        assert_close(gap_by_integral(number, u, p), got, rtol=1e-8, what=f"gap_{number}")


@pytest.mark.claim("thm-iwae-integral")
def test_integrand_is_positive_and_falls_with_the_number_of_draws():
    """φ(t/K)^K − e^{−t} is ≥ 0 and falls with K at every t: for Gaussian weights, and for three values."""
    t = np.geomspace(1e-3, 300, 60)
    x, weight = noise_grid()
    u_of_three = np.array([float(w / EVIDENCE) for w in WEIGHTS]), np.array([float(q) for q in Q])
    for u, p in [(np.exp(log_u(x, 0.4, 0.5, 0.3)), weight), u_of_three]:
        p = p / p.sum()
        u = u / (p @ u)
        powers = np.array([(np.exp(-t[:, None] / k * u) @ p) ** k for k in (1, 2, 3, 5, 10, 100)])
        slack = 1e-13
        assert np.all(powers >= np.exp(-t) - slack)
        assert np.all(np.diff(powers, axis=0) <= slack)
        assert np.all(np.diff(powers, axis=0)[:, 35] < 0)


# Exact bounds


@pytest.mark.claim("thm-iwae-monotone")
def test_exact_bounds_are_those_of_the_catalogue():
    """E57: x = 1.5, q = N(0.3, 0.64) has L_1, L_2, L_5 = −2.04708, −1.92476, −1.86316, below −1.82801."""
    model = linear(PROBLEMS["E57"])
    got = iwae.exact_bounds(model, [[1.5]], [1, 2, 5])
    want = np.array([[-2.04708, -1.92476, -1.86316]])
    gaps = -1.8280121 - want
    mistakes = {
        "is this the gap, not the bound log p(x) − gap?": gaps,
        "is the gap added to log p(x)? The bound is below it": -1.8280121 + gaps,
        "is log p(x) forgotten?": -gaps,
        "is it L_1 for every K?": np.full((1, 3), want[0, 0]),
        "is it log p(x) for every K?": np.full((1, 3), -1.8280121),
        "is log K not subtracted?": want + np.log([1, 2, 5]),
    }
    assert_close(got, want, rtol=0, atol=2e-5, what="exact_bounds(K = 1, 2, 5)", mistakes=mistakes)
    assert_close(model.log_evidence([[1.5]]), [-1.8280121], rtol=0, atol=6e-8, what="log p(x)")


@pytest.mark.claim("thm-iwae-integral", kind="quadrature")
@problems
def test_exact_bounds_by_closed_form_and_grids(name):
    """K = 1: log p(x) − KL(q ‖ posterior). K = 2 and 3: the log of the mean, averaged on a grid."""
    rows, evidence = scalar_rows(PROBLEMS[name])
    got = iwae.exact_bounds(linear(PROBLEMS[name]), PROBLEMS[name].x, [1, 2, 3])
    want = [
        [e - gap_of_one(*row), e - gap_on_a_grid(2, *row), e - gap_on_a_grid(3, *row)]
        for e, row in zip(evidence, rows, strict=True)
    ]
    # the grids are right to 1e-8
    assert_close(got, want, rtol=0, atol=1e-7, what="exact_bounds")
    assert_close(got[:, 0], np.array(want)[:, 0], rtol=1e-10, what="exact_bounds(K = 1), log p(x) − KL")


@pytest.mark.claim("thm-iwae-integral", kind="quadrature")
@pytest.mark.parametrize("number", [17, 60, 2500])
def test_exact_bounds_by_another_quadrature(number):
    """The integral by scipy's adaptive rule, φ by the trapezoid rule in the noise."""
    problem = PROBLEMS["three pixels"]
    rows, evidence = scalar_rows(problem)
    x, weight = noise_grid()
    got = iwae.exact_bounds(linear(problem), problem.x, number)
    want = [
        [e - gap_by_integral(number, np.exp(log_u(x, *row)), weight)] for e, row in zip(evidence, rows, strict=True)
    ]
    assert_close(got, want, rtol=1e-9, what=f"exact_bounds(K = {number})")


@pytest.mark.claim("thm-iwae-bound")
def test_exact_bounds_are_the_evidence_at_the_posterior():
    """q = the posterior: L_K = log p(x) for every K; half a standard deviation off, and it is below."""
    model = vae.LinearGaussian.at_the_posterior([[0.8], [-1.5]], [0.2, 1.0], 0.6)
    x = [[1.0, -1.0], [0.3, 2.2]]
    evidence = model.log_evidence(x).detach()
    got = iwae.exact_bounds(model, x, [1, 4, 1000])
    assert_close(got, evidence[:, None].expand(2, 3), rtol=0, atol=1e-11, what="exact_bounds at the posterior")
    with torch.no_grad():
        model.shift += 0.5 * float(model.log_variance.exp()) ** 0.5
    off = iwae.exact_bounds(model, x, [1, 4, 1000])
    assert (off < evidence[:, None]).all()
    assert_close(off[:, 0], evidence - 0.125, rtol=1e-9, what="exact_bounds(K = 1), the shift changed since")


@pytest.mark.claim("thm-iwae-monotone")
@pytest.mark.claim("thm-iwae-limit")
@pytest.mark.parametrize("ratio", [0.07, 0.5, 1.5, 15.0])
def test_exact_bounds_grow_to_the_evidence(ratio):
    """L_1 < L_2 < L_3 < … < log p(x), and the gap goes to 0, also where q is narrower than the posterior by far."""
    model = vae.LinearGaussian([[1.0]], [0.0], 1.0, [[0.5]], [0.2], [math.log(ratio / 2)])
    numbers = [1, 2, 3, 4, 10, 30, 100, 10**4, 10**6, 10**8]
    bounds = iwae.exact_bounds(model, [[0.4]], numbers).detach().numpy()[0]
    evidence = float(plain(model.log_evidence([[0.4]]))[0])
    assert np.all(np.diff(bounds) > 0), f"L_K must grow with K, got {bounds}"
    assert bounds[-1] < evidence
    gaps = evidence - bounds
    # α − 1 = s²/(v − s²) is .075 where the ratio is .07: so slow is 10⁸
    assert gaps[-1] < gaps[0] * (0.25 if ratio < 0.1 else 1e-6)


@pytest.mark.claim("thm-iwae-limit")
def test_iwelbo_gap_is_infinite_for_all_where_weights_may_be_zero():
    """Otherwise: P(u = 0) = ½ makes L_K = −∞ for K = 1, 2, …, 8, by enumeration."""
    for number in range(1, 9):
        rows = rows_of(list(itertools.product([-INF, math.log(2)], repeat=number)))
        assert float(iwae.iwelbo(rows).mean()) == -INF


@pytest.mark.claim("thm-iwae-limit", kind="quadrature")
def test_gap_may_be_infinite_for_one_draw_and_close():
    """P(−log u > τ + c) = 1/(1+τ): E log u = −∞, yet L_2 is finite, and the gaps close: ∫ φ^K dr by its tail."""
    tau = np.geomspace(1e-6, 1e6, 3001) - 1e-6
    mass = -np.diff(1 / (1 + tau))
    middle = (tau[1:] + tau[:-1]) / 2
    u = np.exp(-np.minimum(middle, 600.0))
    u, mass = u / (mass @ u), mass / mass.sum()

    def gap(number, end):
        r = np.arange(-40, end, 0.25)
        phi = np.exp(-np.exp(r[:, None] + np.log(u))) @ mass
        return float((phi**number - np.exp(-number * np.exp(r))).sum() * 0.25)

    one, two, three = ([gap(number, end) for end in (30, 90)] for number in (1, 2, 3))
    assert one[1] - one[0] > 0.9 * math.log(90 / 30), "φ falls like 1/r, so that the integral grows like log r"
    assert two[1] - two[0] < 1 / 30
    assert three[1] < two[1] < one[0]


@pytest.mark.claim("thm-iwae-gap")
@pytest.mark.parametrize("name", ["E57", "wide"])
def test_exact_bounds_close_by_half_the_variance_over_k(name):
    """K·gap_K → V/2, V in closed form: within 5/K of it at K = 10³, 10⁴, 10⁵."""
    problem = PROBLEMS[name]
    rows, evidence = scalar_rows(problem)
    half = np.array([(second_moment(*row) - 1) / 2 for row in rows])
    numbers = np.array([10**3, 10**4, 10**5])
    got = numbers * (
        evidence[:, None] - iwae.exact_bounds(linear(problem), problem.x, numbers.tolist()).detach().numpy()
    )
    for i, number in enumerate(numbers):
        # gap_K ~ 1e-6 from a log p(x) of 1e-15·10: nine digits are lost, not more
        assert_close(got[:, i], half, rtol=8 / number + 1e-8, what=f"K·gap_K for K = {number}, V/2")


@pytest.mark.claim("thm-iwae-heavy")
@pytest.mark.parametrize(("ratio", "within"), [(0.25, 0.06), (0.3, 0.02), (0.4, 0.12)])
def test_exact_bounds_close_slowly_where_the_variance_is_infinite(ratio, within):
    """s² < v/2: the gap over (π/sin π(α−1)) K P(u > K), for K = 10⁴, 10⁶, 10⁸; P by the normal law."""
    v, alpha = 0.5, 1 / (1 - ratio)
    model = vae.LinearGaussian([[1.0]], [0.0], 1.0, [[0.5]], [0.0], [math.log(ratio * v)])
    numbers = np.array([10**4, 10**6, 10**8])
    gaps = (
        float(plain(model.log_evidence([[0.4]]))[0])
        - iwae.exact_bounds(model, [[0.4]], numbers.tolist()).detach().numpy()[0]
    )
    tail = 2 * stats.norm.sf(np.sqrt(2 * alpha * np.log(numbers / math.sqrt(ratio))))
    predicted = math.pi / math.sin(math.pi * (alpha - 1)) * numbers * tail
    assert_close(predicted / gaps, np.ones(3), rtol=0, atol=within, what="predicted/exact gap")
    # K^{−s²/(v − s²)}, up to a factor that varies slowly, like 1/√log K
    slope = np.diff(np.log(gaps)) / np.diff(np.log(numbers))
    assert_close(slope, np.full(2, -ratio / (1 - ratio)), rtol=0, atol=0.06, what="the power of K")


@pytest.mark.claim("thm-iwae-heavy", kind="quadrature")
@pytest.mark.parametrize("alpha", [1.3, 1.5, 1.7])
def test_gap_of_pareto_weights(alpha):
    """P(u > y) = (c/y)^α, E u = 1: gap_K over the prediction tends to 1, like K^{−min(α−1, 2−α)}."""
    c, n = (alpha - 1) / alpha, np.arange(2, 30)
    numbers = np.array([1e4, 1e6, 1e8])
    ratios = []
    for number in numbers:

        def integrand(r, number=number):
            t = math.exp(r)
            s = t / number * c
            # φ(s) − 1 + s, the series of α E_{α+1}: from u^{-α-1} integrated term by term
            rest = alpha * special.gamma(-alpha) * s**alpha
            rest += (alpha * (-s) ** n / (special.factorial(n) * (alpha - n))).sum()
            power = number * (math.log1p(-t / number + rest) + t / number)
            return math.exp(-t) * math.expm1(power)

        gap = sum(integrate.quad(integrand, *ends, epsabs=0, epsrel=1e-9)[0] for ends in [(-60, -5), (-5, 0), (0, 4.2)])
        tail = (c / number) ** alpha
        ratios.append(gap / (math.pi / math.sin(math.pi * (alpha - 1)) * number * tail))
    errors = np.abs(np.array(ratios) - 1)
    assert np.all(errors < 3 * numbers ** -min(alpha - 1, 2 - alpha)), ratios
    assert errors[-1] < errors[0]
    assert errors[-1] < 0.02


def finite_difference(f, model, parameter, h=1e-4):
    """∂f/∂ parameter[0, …], by central differences of the fourth order."""
    flat = getattr(model, parameter).data.view(-1)
    start, found = float(flat[0]), 0.0
    for steps, factor in [(1, 8), (-1, -8), (2, -1), (-2, 1)]:
        flat[0] = start + steps * h
        found += factor * f()
    flat[0] = start
    return found / (12 * h)


@pytest.mark.parametrize("number", [1, 2])
def test_exact_bounds_let_gradients_flow_to_all_parameters(number):
    """∂L_K of each parameter, by central differences of the closed form (K = 1) and of the grid (K = 2)."""
    problem = PROBLEMS["three pixels"]._replace(x=[[1.1, -0.4, 0.9]])
    model = linear(problem)
    bound = iwae.exact_bounds(model, problem.x, number)
    assert bound.requires_grad, "exact_bounds should be differentiable: is it computed on detached numbers?"
    bound.sum().backward()

    def by_hand():
        state = [p.detach().numpy() for p in (model.weight, model.offset, model.log_noise, model.matrix)]
        now = Problem(
            state[0].copy(),
            state[1].copy(),
            float(np.exp(state[2])),
            state[3].copy(),
            model.shift.detach().numpy().copy(),
            model.log_variance.detach().numpy().copy(),
            problem.x,
        )
        (row,), (evidence,) = scalar_rows(now)
        return evidence - (gap_of_one(*row) if number == 1 else gap_on_a_grid(2, *row))

    for name in ("weight", "offset", "log_noise", "matrix", "shift", "log_variance"):
        got = getattr(model, name).grad
        assert got is not None, f"no gradient of exact_bounds reaches {name}"
        want = finite_difference(by_hand, model, name)
        # the fourth power of the step, and rounding over the step
        assert_close(got.reshape(-1)[0], want, rtol=1e-6, atol=1e-8, what=f"∂L_{number}/∂ {name}[0]")


def test_exact_bounds_have_a_row_for_each_point_and_a_column_for_each_number():
    """An integer gives one column; several give theirs in the order they came, repeated or not."""
    problem = PROBLEMS["three pixels"]
    model = linear(problem)
    got = iwae.exact_bounds(model, problem.x, (50, 1, 7, 1))
    assert tuple(got.shape) == (3, 4), f"three points and four K should give (3, 4), got {tuple(got.shape)}"
    for i, number in enumerate((50, 1, 7, 1)):
        alone = plain(iwae.exact_bounds(model, problem.x, number))
        ordered = plain(iwae.exact_bounds(model, problem.x, [1, 1, 7, 50][i]))[:, 0]
        mistakes = {"are the numbers sorted? The columns stand in the order they came": ordered}
        mistakes = {} if np.allclose(ordered, alone[:, 0]) else mistakes
        assert_close(got[:, i], alone[:, 0], rtol=1e-11, what=f"the column of K = {number}", mistakes=mistakes)
    one = iwae.exact_bounds(model, np.array(problem.x)[1:2], [7])
    assert_close(one, plain(got)[1:2, 2:3], rtol=1e-11, what="one point alone")
    assert got[0, 1] != got[1, 1]


def test_exact_bounds_refuse_what_they_cannot_do():
    """Two latents, another model, a q too narrow or wide, a posterior out of reach, and numbers that count nothing."""
    model, refused = linear(PROBLEMS["E57"]), iwae.exact_bounds
    for samples in (0, -3, 2.5, True):
        assert_refused(refused, model, [[1.5]], samples, argument="samples", value=samples)
    assert_refused(refused, model, [[1.5]], [2, 0], argument="samples", value=0)
    with pytest.raises(ValueError, match="samples"):
        refused(model, [[1.5]], [])
    assert_refused(refused, linear(TWO), TWO.x, 2, argument="model", value=2)
    assert_refused(refused, network(), np.full((1, 4), 0.5), 2, argument="model", value="WatchedVAE")
    assert_refused(refused, model, [[NAN]], 2, argument="x", value=NAN)
    assert_refused(refused, model, [[1.5, 2.0]], 2, argument="x", value=2)
    for std in (0.2, 5.0):
        off = vae.LinearGaussian([[1.0]], [0.0], 1.0, [[0.5]], [0.0], [2 * math.log(std * 0.5**0.5)])
        with pytest.raises(ValueError, match="model"):
            refused(off, [[0.4]], 2)
    with pytest.raises(ValueError, match=r"\bx\b"):
        refused(model, [[99.0]], 2)


# The variance of the weights


@pytest.mark.claim("prop-iwae-gaussian-weights", kind="quadrature")
@problems
def test_weight_variance_is_the_variance_of_u(name):
    """E u² − 1 by the trapezoid rule over the noise, and by the closed form of one latent."""
    problem = PROBLEMS[name]
    rows, evidence = scalar_rows(problem)
    x, weight = noise_grid(0.02, 30.0)
    moments = np.array([(weight * np.exp(2 * log_u(x, *row))).sum() for row in rows])
    assert_close(moments, [second_moment(*row) for row in rows], rtol=1e-9, what="E u², by quadrature")
    v, s2 = rows[0][1:]
    mistakes = {
        "is the 1, which is (E u)², not subtracted? This is E u²": moments,
        "is this the standard deviation, not the variance?": np.sqrt(moments - 1),
        "is this the variance of log u, not of u?": [
            (weight * log_u(x, *row) ** 2).sum() - gap_of_one(*row) ** 2 for row in rows
        ],
        "is this the variance of w = u p(x), not of u?": (moments - 1) * np.exp(2 * evidence),
        "is this the limit V/2 of K times the gap, not V?": (moments - 1) / 2,
        "is the distance of the means left out?": np.full(len(rows), second_moment(0, v, s2) - 1),
        "is the ½ in the exponent missing?": [
            second_moment(0, v, s2) * np.exp(2 * r[0] ** 2 / (2 * s2 - v)) - 1 for r in rows
        ],
        "is the exponent halved twice?": [
            second_moment(0, v, s2) * np.exp(r[0] ** 2 / (2 * s2 - v) / 2) - 1 for r in rows
        ],
        "are q and the posterior taken for each other?": [second_moment(r[0], s2, v) - 1 for r in rows],
        "is this the log of E u², without expm1?": np.log(moments),
    }
    got = iwae.weight_variance(linear(problem), problem.x)
    assert_close(got, moments - 1, rtol=1e-8, what="weight_variance", mistakes=mistakes)


@pytest.mark.claim("prop-iwae-gaussian-weights", kind="quadrature")
def test_weight_variance_of_two_latents():
    """The posterior is correlated, q is not: E u² by the trapezoid rule in the plane."""
    (mean, log_variance), (centre, covariance, _) = law_of_q(TWO), posterior(TWO)
    x, weight = noise_grid(0.1, 12.0)
    noise = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    mass = np.outer(weight, weight).ravel()
    want, diagonal = [], []
    for m, c in zip(mean, centre, strict=True):
        z = m + np.exp(log_variance / 2) * noise
        log_q = stats.norm.logpdf(noise).sum(-1) - log_variance.sum() / 2
        want.append(mass @ np.exp(2 * (stats.multivariate_normal(c, covariance).logpdf(z) - log_q)) - 1)
        alone = [
            second_moment(m[i] - c[i], 1 / np.linalg.inv(covariance)[i, i], np.exp(log_variance[i])) for i in (0, 1)
        ]
        diagonal.append(alone[0] * alone[1] - 1)
    mistakes = {"is the posterior taken to have independent latents?": diagonal}
    got = iwae.weight_variance(linear(TWO), TWO.x)
    assert_close(got, want, rtol=1e-8, what="weight_variance, two latents", mistakes=mistakes)


@pytest.mark.claim("prop-iwae-gaussian-weights")
def test_weight_variance_is_infinite_for_a_narrow_q():
    """v = ½: s² = 0.2 and 0.25 give ∞, 0.2501 a large number, 0.3 one that is finite though s² < v."""
    found = []
    for s2 in (0.2, 0.2499999, 0.2501, 0.3, 0.45):
        model = vae.LinearGaussian([[1.0]], [0.0], 1.0, [[0.4]], [0.01], [math.log(s2)])
        got = iwae.weight_variance(model, [[1.5], [0.2]])
        assert not got.isnan().any(), f"weight_variance is NaN at s² = {s2}, v = 0.5: where s² ≤ v/2 it is infinite"
        found.append(got.detach().numpy())
    want = [
        [second_moment(0.4 * x + 0.01 - x / 2, 0.5, s2) - 1 for x in (1.5, 0.2)] for s2 in (0.2, 0.2, 0.2501, 0.3, 0.45)
    ]
    mistakes = {
        "is it finite only where s² > v? More than half of v is enough": [[INF, INF]] * 4 + [[INF, INF]],
    }
    assert_close(found, want, rtol=1e-8, what="weight_variance for five variances of q", mistakes=mistakes)


def test_weight_variance_is_infinite_where_one_direction_is_narrow():
    """Two latents: each wide enough, yet not in the direction in which the posterior is long; one narrow; both."""
    weight = [[1.0, 1.0]]
    precision = np.eye(2) + 4 * np.ones((2, 2))  # of the posterior, the noise has variance ¼
    for variances, finite in [((0.3, 0.3), False), ((0.6, 0.6), True), ((0.05, 9.0), False), ((0.05, 0.04), False)]:
        q = np.diag(1 / np.array(variances))
        assert (np.linalg.eigvalsh(2 * precision - q).min() > 0) is np.bool_(finite)
        model = vae.LinearGaussian(weight, [0.0], 0.25, [[0.4], [0.4]], [0.0, 0.0], np.log(variances))
        got = iwae.weight_variance(model, [[0.7]])
        assert bool(got.isfinite().all()) == finite, (
            f"weight_variance is {got.tolist()} for variances {variances} of q: it is finite where 2P − Q is positive"
            " definite, all its eigenvalues positive, not its diagonal or its determinant"
        )


@pytest.mark.claim("prop-iwae-gaussian-weights", kind="symbolic")
def test_second_moment_by_sympy():
    """∫ p²/q for p = N(0, v), q = N(d, s²) with 2s² > v is s²/√(v(2s²−v)) e^{d²/(2s²−v)}."""
    z, d = sympy.symbols("z d", real=True)
    v, more = sympy.symbols("v more", positive=True)
    s2 = (v + more) / 2
    log_p = -(z**2) / (2 * v) - sympy.log(2 * sympy.pi * v) / 2
    log_q = -((z - d) ** 2) / (2 * s2) - sympy.log(2 * sympy.pi * s2) / 2
    integrand = sympy.exp(sympy.expand(2 * log_p - log_q))
    square = sympy.Poly(sympy.expand(-2 * (z**2) / (2 * v) + (z - d) ** 2 / (2 * s2)), z)
    a, b, c = square.all_coeffs()
    whole = sympy.sqrt(sympy.pi / -a) * sympy.exp(c - b**2 / (4 * a)) * integrand.subs({z: 0}) / sympy.exp(c)
    stated = s2 / sympy.sqrt(v * (2 * s2 - v)) * sympy.exp(d**2 / (2 * s2 - v))
    for values in ({d: 0.3, v: 0.5, more: 0.7}, {d: -1.2, v: 1.7, more: 0.2}):
        numeric = integrate.quad(sympy.lambdify(z, integrand.subs(values)), -60, 60, epsabs=1e-13, limit=400)[0]
        assert_close(
            float(whole.subs(values)), float(stated.subs(values)), rtol=1e-12, what="E u², completing the square"
        )
        assert_close(numeric, float(stated.subs(values)), rtol=1e-8, what="E u², by quadrature")
    assert sympy.simplify(sympy.log(whole / stated).subs({v: 2, more: 3, d: 5}).evalf(30)) < 1e-25


@pytest.mark.claim("prop-iwae-gaussian-weights")
@pytest.mark.parametrize("power", [2, 3, 5])
def test_moments_of_u_are_finite_from_a_ratio_on(power):
    """E uⁿ at s²/v a little above (n−1)/n: quadrature over ±60, ±120 agrees; below, the integrand grows without end."""
    v, noise = 1.0, np.array([30.0, 60.0, 120.0])
    for ratio, finite in [((power - 1) / power + 0.01, True), ((power - 1) / power - 0.01, False)]:
        log_integrand = power * log_u(noise, 0.1, v, ratio * v) + stats.norm.logpdf(noise)
        assert bool(np.all(np.diff(log_integrand) < 0)) == finite


@pytest.mark.claim("prop-iwae-gaussian-weights")
def test_tail_of_u_is_a_power():
    """d = 0, s² < v: P(u > y), from where u is y, is 2Φ(−√(2α log(y√v/s))); with any d, y^α P varies slowly."""
    v, s2 = 0.5, 0.2
    alpha = v / (v - s2)
    y = np.array([1.0, 3.0, 50.0, 1e6])
    for each in y:
        edge = math.sqrt(2 * (math.log(each) - math.log(math.sqrt(s2 / v))) / (1 - s2 / v))  # u = y at ±edge
        assert_close(log_u(edge, 0.0, v, s2), math.log(each), rtol=0, atol=1e-12, what="log u at the edge")
    stated = 2 * stats.norm.cdf(-np.sqrt(2 * alpha * np.log(y * np.sqrt(v / s2))))
    noise, weight = noise_grid(1e-4, 12.0)
    counted = [weight[log_u(noise, 0.0, v, s2) > math.log(each)].sum() for each in y[:3]]
    assert_close(counted, stated[:3], rtol=1e-3, what="P(u > y), counted on a grid")

    def log_tail(log_y, d):
        """log P(u > y): log u is a parabola in the noise, so two tails of the normal law."""
        a, b = (1 - s2 / v) / 2, -d * math.sqrt(s2) / v
        c = -(d**2) / (2 * v) + math.log(s2 / v) / 2 - log_y
        root = math.sqrt(b * b - 4 * a * c)
        ends = [(-b + root) / (2 * a), (b + root) / (2 * a)]
        return np.logaddexp(*stats.norm.logsf(ends))

    for d in (0.0, 0.4):
        slopes = [(log_tail(log_y + 1, d) - log_tail(log_y, d)) for log_y in (50, 1000, 100_000)]
        assert_close(slopes[-1], -alpha, rtol=0.005, what="the power of the tail of u")
        assert abs(slopes[-1] + alpha) < abs(slopes[0] + alpha)


def test_weight_variance_is_zero_at_the_posterior():
    """Where q is the posterior u is 1: 0, to rounding, with WᵀW diagonal; a shift by d gives exp(d²/v) − 1."""
    model = vae.LinearGaussian.at_the_posterior([[0.8, 0.0], [0.0, -1.5]], [0.2, 1.0], 0.6)
    x = [[1.0, -1.0], [0.3, 2.2], [50.0, -9.0]]
    got = iwae.weight_variance(model, x)
    assert_close(got, np.zeros(3), atol=1e-13, what="weight_variance at the posterior")
    with torch.no_grad():
        model.shift[0] += 0.3
    want = math.expm1(0.09 * (1 + 0.64 / 0.6))
    assert_close(iwae.weight_variance(model, x), np.full(3, want), rtol=1e-9, what="weight_variance, q shifted since")


def test_weight_variance_lets_gradients_flow():
    """∂V/∂ shift and ∂V/∂ log_variance by the derivatives of the closed form; the other parameters get one too."""
    problem = PROBLEMS["E57"]
    model = linear(problem)
    ((d, v, s2),), _ = scalar_rows(problem)
    value = iwae.weight_variance(model, problem.x)
    assert value.requires_grad, "weight_variance should be differentiable: is it computed on detached numbers?"
    value.sum().backward()
    second, left = second_moment(d, v, s2), 2 * s2 - v
    by_scale = second * (1 / s2 - 1 / left - 2 * d**2 / left**2) * s2
    assert_close(model.shift.grad, [second * 2 * d / left], rtol=1e-9, what="∂V/∂ shift")
    assert_close(model.log_variance.grad, [by_scale], rtol=1e-9, what="∂V/∂ log_variance")
    assert all(p.grad is not None for p in model.parameters())


def test_weight_variance_refuses_other_models():
    """It is known for a `LinearGaussian` only; and x must be points."""
    model = linear(PROBLEMS["E57"])
    assert_refused(iwae.weight_variance, network(), np.full((1, 4), 0.5), argument="model", value="WatchedVAE")
    assert_refused(iwae.weight_variance, model, [[INF]], argument="x", value=INF)
    assert_refused(iwae.weight_variance, model, [[1.0, 2.0]], argument="x", value=2)


# Log-weights of a model


def close_log_weights(problem, model, samples, what):
    """Compare what `log_weights` gives with scipy at the latents it drew; both."""
    got = iwae.log_weights(model, problem.x, samples, generator=seeded())
    k = len(problem.shift)
    z = latents_of(model, (len(problem.x), samples, k))
    want, (fit, prior, q) = log_weights_of(problem, z)
    mistakes = {
        "is log q(z | x) left out?": fit + prior,
        "is log q(z | x) added where it is to be subtracted?": fit + prior + q,
        "is the prior left out?": fit - q,
        "is this log p(x | z) alone?": fit,
        "is this q/p, not p/q?": -want,
        "are these the shares, log w̃, not the log-weights?": want - special.logsumexp(want, axis=1, keepdims=True),
        "are these the weights, not their logs?": np.exp(want),
    }
    assert_close(got, want, rtol=SHARP, atol=1e-11, what=what, mistakes=mistakes)
    return got


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("name", [*PROBLEMS, "two latents"])
def test_log_weights_are_the_log_ratios_of_the_draws(name, samples):
    """log p(x | z) + log p(z) − log q(z | x), by scipy, at the latents the model was asked about."""
    problem = PROBLEMS.get(name, TWO)
    close_log_weights(problem, linear(problem), samples, f"log_weights({name}, K = {samples})")


def test_log_weights_are_drawn_from_q():
    """(z − mean)/std is N(0, 1), and no two of them, across rows, draws or latents, are the same or correlated."""
    problem = TWO._replace(x=TWO.x * 200)
    model = linear(problem)
    iwae.log_weights(model, problem.x, 10)
    z = latents_of(model, (400, 10, 2))
    mean, log_variance = law_of_q(problem)
    noise = (z - mean[:, None]) / np.exp(log_variance / 2)
    assert not np.allclose(noise[0], noise[2]), "two rows of x share their draws: each row has its own"
    assert not np.allclose(noise[:, 0], noise[:, 1]), (
        "the K draws of a row share their noise: w₁ = … = w_K, and L_K = L_1"
    )
    assert not np.allclose(noise[..., 0], noise[..., 1]), "the latents share their noise: ε is N(0, I)"
    hints = {
        "is the log-variance taken for the log of the standard deviation": stats.norm(0, np.exp(-0.35)).cdf,
        "is z uniform, not normal": stats.uniform.cdf,
    }
    assert_distribution(noise[..., 0].ravel(), stats.norm.cdf, detects=0.08, hints=hints)
    pairs = np.stack(
        [noise[:, 0, 0] * noise[:, 1, 0], noise[:, 0, 0] * noise[:, 0, 1], noise[:, 2, 0] * np.roll(noise[:, 2, 0], 2)],
        1,
    )
    assert_unbiased(pairs, np.zeros(3), detects=0.8)


def noise_of_log_weights(rows, samples, generator):
    """ε of draws for so many points, (rows, samples, 2), as the model sees them."""
    problem = TWO._replace(x=[TWO.x[0]] * rows)
    model = linear(problem)
    iwae.log_weights(model, problem.x, samples, generator=generator)
    mean, log_variance = law_of_q(problem)
    return (latents_of(model, (rows, samples, 2)) - mean[:, None]) / np.exp(log_variance / 2)


def test_log_weights_of_one_row_come_from_independent_draws(generator):
    """The sum of K = 6 draws' noise, over √6, has variance 1: opposite, stratified or centred draws have less."""
    noise = noise_of_log_weights(3000, 6, generator)
    hints = {
        "are the draws opposite in pairs, or centred, so that they sum to 0": 1e-9,
        "are two draws the same": 2.0,
        "is each draw from a sixth of its own": 0.0826,  # measured
    }
    try:
        assert_variance(noise[..., 0].sum(1) / math.sqrt(6), 1.0, detects=0.3, hints=hints)
        assert_variance(noise.sum(2).ravel() / math.sqrt(2), 1.0, detects=0.2)
    except AssertionError as error:
        raise AssertionError(
            f"log_weights: the K draws of a row depend on one another; wₖ are independent\n{error}"
        ) from None


def test_log_weights_of_many_rows_and_draws_are_independent(generator):
    """6 rows of 5,501 draws: none comes again, no row is another's mirror image, and 0.27 % are beyond 3."""
    noise = noise_of_log_weights(6, 5501, generator)
    different = np.unique(noise).size / noise.size
    assert different > 0.9, f"log_weights: {different:.0%} of the noise is different: is one block of draws used again?"
    try:
        assert_variance(noise[..., 0].sum(0) / math.sqrt(6), 1.0, detects=0.3)
    except AssertionError as error:
        said = "the rows of x depend on one another: is the noise of one that of another, or its negative?"
        raise AssertionError(f"log_weights: {said}\n{error}") from None
    hints = {"is the noise clipped, or q cut off at three standard deviations": 0.0}
    far = int((np.abs(noise) > 3).sum())
    assert_proportion(far, noise.size, 2 * stats.norm.sf(3), detects=0.002, hints=hints)


@pytest.mark.parametrize("log_variance", [-9.0, 8.0])
def test_log_weights_of_a_q_very_narrow_or_wide(log_variance):
    """Standard deviations of 0.011 and 55 are as good as others: no log-variance is clipped."""
    problem = PROBLEMS["three pixels"]._replace(log_variance=[log_variance])
    close_log_weights(problem, linear(problem), 4, f"log_weights, log-variance {log_variance}: is it clipped?")


def test_log_weights_of_a_network():
    """A VAE: Σ x l − log(1 + eˡ) + log N(z; 0, I) − log N(z; q), with scipy, for three grey images of four pixels."""
    model, x = network(), np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.2, 0.7], [0.5, 0.0, 0.0, 1.0]])
    got = iwae.log_weights(model, x, 6, generator=seeded())
    z = latents_of(model, (3, 6, 2))
    with torch.no_grad():
        logits = model.decoder(rows_of(z)).numpy()
        mean, log_variance = (part.numpy()[:, None] for part in model.encoder(rows_of(x)))
    fit = (x[:, None] * logits - np.logaddexp(0, logits)).sum(-1)
    want = fit + stats.norm.logpdf(z).sum(-1) - stats.norm.logpdf(z, mean, np.exp(log_variance / 2)).sum(-1)
    assert_close(got, want, rtol=SHARP, what="log_weights of a VAE")
    square = iwae.log_weights(model, x.reshape(3, 2, 2), 6, generator=seeded())
    assert_close(square, plain(got), rtol=1e-12, what="log_weights of square images")


@pytest.mark.claim("thm-iwae-bound")
def test_log_weights_have_the_evidence_as_their_mean(generator):
    """E w = p(x): the mean of u over 1,000 draws for each of three points, V known."""
    problem = PROBLEMS["E57"]
    x = np.repeat([[1.5], [0.2], [1.0]], 20, axis=0)
    u = iwae.log_weights(linear(problem), x, 1000, generator=generator).detach().numpy()
    u = np.exp(u - posterior(problem, x)[2][:, None]).reshape(3, -1).T
    hints = {"is log q(z | x) added, or p and q swapped": np.full(3, 2.0)}
    assert_unbiased(u, np.ones(3), detects=0.1, hints=hints)


def test_log_weights_take_what_a_model_takes():
    """Lists, read-only, integer, strided and float32 arrays, tensors, one row: the same draws give the same weights."""
    problem = PROBLEMS["three pixels"]
    model, x = linear(problem), np.array([[1, 0, -2], [3, 1, 1]])
    want = plain(iwae.log_weights(model, x.astype(float), 3, generator=seeded()))
    frozen = x.astype(float)
    frozen.flags.writeable = False
    strided = np.repeat(np.repeat(x.astype(float), 2, axis=0), 3, axis=1)[::2, ::3]
    for what, same in [
        ("a list", x.tolist()),
        ("an array that is read-only", frozen),
        ("integers", x),
        ("a view with strides", strided),
        ("float32", x.astype(np.float32)),
        ("a tensor", torch.tensor(x, dtype=torch.float64)),
        ("a transposed view", np.asfortranarray(x.astype(float))),
    ]:
        assert_close(
            iwae.log_weights(model, same, 3, generator=seeded()), want, rtol=1e-12, what=f"log_weights of {what}"
        )
    assert tuple(iwae.log_weights(model, x[:1], 5).shape) == (1, 5)
    moved = x.astype(float)
    iwae.log_weights(model, moved, 3, generator=seeded())
    moved += 1.0
    fresh = plain(iwae.log_weights(model, x + 1.0, 3, generator=seeded()))
    assert_close(
        iwae.log_weights(model, moved, 3, generator=seeded()), fresh, rtol=1e-12, what="x changed between calls"
    )


def test_log_weights_of_float32_stay_float32():
    """A VAE as it comes is float32, and so are its weights."""
    model, x = network().float(), np.full((2, 4), 0.5)
    assert iwae.log_weights(model, x, 3).dtype == torch.float32
    assert iwae.log_likelihood(model, x, 30).dtype == torch.float32
    assert iwae.encoder_gradients(model, x, 3).dtype == torch.float32


def calls():
    """Each function that draws, on a model of its own: f(generator) -> tensor."""
    problem = PROBLEMS["three pixels"]
    model, x = linear(problem, vae.LinearGaussian), problem.x
    return {
        "log_weights": lambda g: iwae.log_weights(model, x, 4, generator=g),
        "objective": lambda g: iwae.objective(4)(model, x, g),
        "doubly_reparameterised": lambda g: iwae.doubly_reparameterised(4)(model, x, g),
        "encoder_gradients": lambda g: iwae.encoder_gradients(model, x, 4, generator=g),
        "encoder_gradients_doubly": lambda g: iwae.encoder_gradients(model, x, 4, doubly=True, generator=g),
        "log_likelihood": lambda g: iwae.log_likelihood(model, x, 4, generator=g),
    }


@pytest.mark.parametrize(
    "name",
    [
        "log_weights",
        "objective",
        "doubly_reparameterised",
        "encoder_gradients",
        "encoder_gradients_doubly",
        "log_likelihood",
    ],
)
def test_draws_come_from_the_generator_of(name):
    """The same seed gives the same, another another, none a fresh one; nobody else's random numbers are touched."""
    f = calls()[name]
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = f(seeded(1)), f(seeded(1)), f(seeded(2))
    assert torch.equal(first, again), f"{name}: the same seed gives other numbers: is the generator not used?"
    assert not torch.equal(first, other), f"{name}: another seed gives the same numbers: is the generator not used?"
    shared = seeded(1)
    assert not torch.equal(f(shared), f(shared)), (
        f"{name}: a generator used twice gives the same: is it copied, or reset?"
    )
    torch.manual_seed(0)
    one = f(None)
    torch.manual_seed(0)
    two = f(None)
    assert not torch.equal(one, two), f"{name} without a generator repeats itself: is it seeded with a constant?"
    torch.set_rng_state(before)
    f(seeded(1)), f(None)
    assert torch.equal(torch.get_rng_state(), before), f"{name} draws from PyTorch's global generator"
    assert np.array_equal(np.random.get_state()[1], numpy_before), f"{name} draws from NumPy's global state"  # noqa: NPY002


def test_rows_draw_alone():
    """A point given twice gets two numbers, from each function."""
    problem = PROBLEMS["three pixels"]
    model, x = linear(problem), [problem.x[0]] * 2
    for what, got in [
        ("log_weights", iwae.log_weights(model, x, 4)),
        ("encoder_gradients", iwae.encoder_gradients(model, x, 4)),
        ("log_likelihood", iwae.log_likelihood(model, x, 4)[:, None]),
        ("objective", iwae.objective(4)(model, x, None)[:, None]),
        ("doubly_reparameterised", iwae.doubly_reparameterised(4)(model, x, None)[:, None]),
    ]:
        assert not torch.equal(got[0], got[1]), f"{what}: two rows of x share their draws: each row has its own"


@pytest.mark.parametrize("which", ["objective", "doubly_reparameterised", "encoder_gradients"])
def test_as_many_draws_as_asked_for_objective_doubly_reparameterised_encoder_gradients(which):
    """K = 137: so many latents for each point, and the log-mean of all their weights, or its slope; K = 1 too."""
    model = linear(TWO)
    if which == "encoder_gradients":
        for number, doubly in itertools.product((1, 137), (False, True)):
            got = iwae.encoder_gradients(model, TWO.x, number, doubly=doubly, generator=seeded())
            s = slopes(TWO, latents_of(model, (2, number, 2)))
            want, other = path_gradient(s, s.shares**2), total_gradient(s)
            want, other = (want, other) if doubly else (other, want)
            mistakes = {"is it the other estimator?": other}
            assert_close(got, want, rtol=1e-8, atol=1e-10, what=f"{which}(K = {number}, {doubly=})", mistakes=mistakes)
        return
    got = getattr(iwae, which)(137)(model, TWO.x, seeded())
    logs = log_weights_of(TWO, latents_of(model, (2, 137, 2)))[0]
    assert_close(got, special.logsumexp(logs, axis=1) - math.log(137), rtol=SHARP, what=f"{which}(137)")


@pytest.mark.parametrize("training", [True, False])
def test_functions_leave_the_mode_and_the_gradients_of_the_model(training):
    """A model in training stays in training, one in use in use; a .grad from before is there after."""
    model, x = network().train(training), np.full((2, 4), 0.5)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    for what, call in [
        ("log_weights", lambda: iwae.log_weights(model, x, 3)),
        ("objective", lambda: iwae.objective(3)(model, x, None)),
        ("doubly_reparameterised", lambda: iwae.doubly_reparameterised(3)(model, x, None)),
        ("encoder_gradients", lambda: iwae.encoder_gradients(model, x, 3)),
        ("encoder_gradients, doubly", lambda: iwae.encoder_gradients(model, x, 3, doubly=True)),
        ("log_likelihood", lambda: iwae.log_likelihood(model, x, 3)),
    ]:
        call()
        modes = {module.training for module in model.modules()}
        assert modes == {training}, f"{what} has switched the model to {'eval' if training else 'train'} mode for good"
        kept = all(p.grad is not None and bool((p.grad == 1).all()) for p in model.parameters())
        assert kept, f"{what} has changed a .grad of the model that was there before"
        assert all(p.requires_grad for p in model.parameters()), f"{what} has frozen the model"


@pytest.mark.parametrize("samples", [0, -1, 2.0, True, "3"])
def test_functions_refuse_samples(samples):
    """K is 1, 2, 3, …; an objective is checked when it is made."""
    model, x = linear(PROBLEMS["E57"]), [[1.5]]
    assert_refused(iwae.log_weights, model, x, samples, argument="samples", value=samples)
    assert_refused(iwae.objective, samples, argument="samples", value=samples)
    assert_refused(iwae.doubly_reparameterised, samples, argument="samples", value=samples)
    assert_refused(iwae.encoder_gradients, model, x, samples, argument="samples", value=samples)
    assert_refused(iwae.log_likelihood, model, x, samples, argument="samples", value=samples)


def test_functions_refuse_points():
    """x is checked by the model: NaN, other widths, and for a VAE what is no grey."""
    model, images = linear(PROBLEMS["E57"]), network()
    for f in (iwae.log_weights, iwae.encoder_gradients, iwae.log_likelihood):
        assert_refused(f, model, [[NAN]], 3, argument="x", value=NAN)
        assert_refused(f, model, [[1.0, 2.0]], 3, argument="x", value=2)
        assert_refused(f, images, [[0.0, 0.5, 1.5, 0.0]], 3, argument="x", value=1.5)
    for make in (iwae.objective, iwae.doubly_reparameterised):
        assert_refused(make(3), images, [[0.0, 0.5, -0.5, 0.0]], None, argument="x", value=-0.5)


# Slopes, draw by draw


class Slopes(NamedTuple):
    """The parts of the gradient of one row's bound, at given latents."""

    shares: np.ndarray  # (batch, K)
    model: np.ndarray  # ∂ log p(x, z)/∂z, (batch, K, k)
    weight: np.ndarray  # ∂ log w/∂z, the same − ∂ log q/∂z
    half: np.ndarray  # ∂z/∂ log-variance
    rest: np.ndarray  # x − Wz − b, (batch, K, d)


def slopes(problem, z, x=None):
    """By hand."""
    x = np.array(problem.x if x is None else x)
    w, b = np.array(problem.weight), np.array(problem.offset)
    mean, log_variance = law_of_q(problem, x)
    rest = x[:, None] - z @ w.T - b
    by_z = rest @ w / problem.variance - z
    off = z - mean[:, None]
    logs = log_weights_of(problem, z, x)[0]
    return Slopes(special.softmax(logs, axis=1), by_z, by_z + off * np.exp(-log_variance), off / 2, rest)


def total_gradient(s, shares=None):
    """Σ w̃ (d log w/dφ), all ways from φ; columns as in `encoder_gradients`."""
    shares = (s.shares if shares is None else shares)[..., None]
    return np.concatenate([(shares * s.model).sum(1), (shares * (s.model * s.half + 0.5)).sum(1)], axis=1)


def path_gradient(s, shares):
    """Σ share (∂log w/∂z)(∂z/∂φ)."""
    parts = [s.weight, s.weight * s.half]
    return np.concatenate([(shares[..., None] * part).sum(1) for part in parts], axis=1)


def gradient_mistakes(s):
    number = s.shares.shape[1]
    even = np.full_like(s.shares, 1 / number)
    return {
        "is every draw given the share 1/K? That is the gradient of the mean of the logs": total_gradient(s, even),
        "are the shares missing, all draws counted whole?": total_gradient(s, np.ones_like(s.shares)),
        "is w̃ where w̃² belongs? That is the gradient with its score term dropped, and biased": path_gradient(
            s, s.shares
        ),
        "is it w̃³ where w̃² belongs?": path_gradient(s, s.shares**3),
        "are the weights squared before they are normalised, w²/Σw², where (w/Σw)² belongs?": path_gradient(
            s, s.shares**2 / (s.shares**2).sum(1, keepdims=True)
        ),
        "is the share of each draw 1/K² (the path estimator averaged), where w̃² belongs?": path_gradient(s, even**2),
        "is q not held fixed in log w? Its parameters are to be detached, z not": path_gradient(s, s.shares**2)
        + total_gradient(s)
        - path_gradient(s, s.shares),
        "is w̃² the share of a score term too, which there is none of?": total_gradient(s, s.shares**2),
        "is the sign reversed, that of a loss?": -total_gradient(s),
        "is doubly turned round? This is the doubly reparameterised gradient": path_gradient(s, s.shares**2),
        "is doubly without effect? This is the plain gradient": total_gradient(s),
        "is doubly the path gradient (1/K) Σ of each log-weight?": path_gradient(s, even),
    }


def without_the_right_one(mistakes, want):
    return {sentence: wrong for sentence, wrong in mistakes.items() if not np.allclose(wrong, want, rtol=1e-7)}


@pytest.mark.parametrize("doubly", [False, True])
@pytest.mark.parametrize("name", ["three pixels", "two latents"])
def test_encoder_gradients_draw_by_draw(name, doubly):
    """Σ w̃ d log w/dφ, or Σ w̃² (∂log w/∂z)(∂z/∂φ), worked out by hand at the latents the model was asked about."""
    problem = PROBLEMS.get(name, TWO)
    model = linear(problem)
    got = iwae.encoder_gradients(model, problem.x, 5, doubly=doubly, generator=seeded())
    k = len(problem.shift)
    s = slopes(problem, latents_of(model, (len(problem.x), 5, k)))
    want = path_gradient(s, s.shares**2) if doubly else total_gradient(s)
    mistakes = gradient_mistakes(s)
    mistakes["are the log-variances first, and then the means?"] = np.roll(want, k, axis=1)
    std = np.concatenate([want[:, :k], 2 * want[:, k:]], axis=1)
    mistakes["is the slope in log std, not in the log-variance?"] = std
    mistakes["are the slopes averaged over the batch?"] = want / len(want)
    mistakes = without_the_right_one(mistakes, want)
    assert_close(got, want, rtol=1e-8, atol=1e-10, what=f"encoder_gradients(doubly={doubly})", mistakes=mistakes)


@pytest.mark.parametrize("doubly", [False, True])
def test_encoder_gradients_leave_the_model_alone(doubly):
    """No parameter gets a .grad or moves; a .grad that is there stays; and the result holds no graph."""
    problem = PROBLEMS["three pixels"]
    model = linear(problem)
    before = [p.detach().clone() for p in model.parameters()]
    got = iwae.encoder_gradients(model, problem.x, 3, doubly=doubly)
    touched = [name for name, p in model.named_parameters() if p.grad is not None]
    assert not touched, f"encoder_gradients leaves a .grad in {touched}: an optimiser would take it for its own"
    assert not got.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)), "the parameters have moved"
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("which", ["objective", "doubly_reparameterised"])
def test_slopes_of_all_parameters_draw_by_draw_objective_doubly_reparameterised(which):
    """The value, and the gradient in W, b, the noise, A, c and the log-variance, by hand at the latents drawn."""
    problem, model = TWO, linear(TWO)
    value = getattr(iwae, which)(5)(model, problem.x, seeded())
    z = latents_of(model, (2, 5, 2))
    logs = log_weights_of(problem, z)[0]
    s = slopes(problem, z)
    bound = special.logsumexp(logs, axis=1) - math.log(5)
    mistakes = {
        "is this Σ w̃ log w, the surrogate whose gradient is meant? Its value is no bound": (s.shares * logs).sum(1),
        "is this Σ w̃² log w, a surrogate? Its value is no bound": (s.shares**2 * logs).sum(1),
        "is this the mean of the logs, the ELBO?": logs.mean(1),
        "is log K not subtracted?": bound + math.log(5),
        "is it a loss, the negative bound? It is to be climbed": -bound,
    }
    assert_close(value, bound, rtol=SHARP, what=f"{which}(5)", mistakes=mistakes)
    value.sum().backward()
    x = np.array(problem.x)

    def decoder(shares):
        share = shares[..., None]
        by_noise = (s.rest**2 / problem.variance - 1).sum(-1) / 2
        return {
            "offset": (share * s.rest).sum((0, 1)) / problem.variance,
            "weight": np.einsum("nk,nkd,nkl->dl", shares, s.rest, z) / problem.variance,
            "log_noise": (shares * by_noise).sum(),
        }

    def encoder(rows):
        return {"shift": rows[:, :2].sum(0), "matrix": rows[:, :2].T @ x, "log_variance": rows[:, 2:].sum(0)}

    even = np.full_like(s.shares, 0.2)
    for name, want in decoder(s.shares).items():
        mistakes = {
            "is the decoder's gradient multiplied by w̃² too? Only z's is": decoder(s.shares**2)[name],
            "is every draw given the share 1/K?": decoder(even)[name],
        }
        got = getattr(model, name).grad
        assert got is not None, f"no gradient of {which} reaches the decoder's {name}"
        assert_close(got, want, rtol=1e-8, atol=1e-10, what=f"the gradient of {which} in {name}", mistakes=mistakes)
    rows = total_gradient(s) if which == "objective" else path_gradient(s, s.shares**2)
    for name, want in encoder(rows).items():
        mistakes = {
            sentence: encoder(wrong)[name]
            for sentence, wrong in gradient_mistakes(s).items()
            if "doubly" not in sentence
        }
        mistakes["is this the plain gradient, Σ w̃ ∇log w, without its second reparameterisation?"] = encoder(
            total_gradient(s)
        )[name]
        mistakes = without_the_right_one(mistakes, want)
        got = getattr(model, name).grad
        assert got is not None, f"no gradient of {which} reaches the encoder's {name}"
        assert_close(got, want, rtol=1e-8, atol=1e-10, what=f"the gradient of {which} in {name}", mistakes=mistakes)


@pytest.mark.parametrize("which", ["objective", "doubly_reparameterised"])
def test_networks_are_climbed_as_by_hand_objective_doubly_reparameterised(which):
    """A VAE: the gradient in all its weights is that of Σ coefficient·log-weight, at the same noise."""
    model, x = network(), rows_of([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.2, 0.7]])
    value = getattr(iwae, which)(4)(model, x, seeded())
    z = rows_of(latents_of(model, (2, 4, 2)))
    got = torch.autograd.grad(value.sum(), list(model.parameters()))
    mean, log_variance = model.encoder(x)
    noise = ((z - mean[:, None]) / (log_variance / 2).exp()[:, None]).detach()
    moved = mean[:, None] + (log_variance / 2).exp()[:, None] * noise

    def log_w(z, mean, log_variance):
        logits = model.decoder(z)
        fit = -torch.nn.functional.binary_cross_entropy_with_logits(
            logits, x[:, None].expand_as(logits), reduction="none"
        ).sum(-1)
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        return (
            fit
            + prior
            - torch.distributions.Normal(mean[:, None], (log_variance / 2).exp()[:, None]).log_prob(z).sum(-1)
        )

    logs = log_w(moved, mean, log_variance)
    shares = logs.softmax(1).detach()
    assert_close(value, logs.logsumexp(1).detach() - math.log(4), rtol=SHARP, what=f"{which}(4) of a VAE")
    of_decoder = list(model.decoder.parameters())
    plain = torch.autograd.grad((shares * logs).sum(), list(model.parameters()), retain_graph=True)
    if which == "objective":
        want = plain
    else:
        alone = log_w(moved, mean.detach(), log_variance.detach())
        twice = torch.autograd.grad((shares**2 * alone).sum(), list(model.encoder.parameters()), retain_graph=True)
        want = [*twice, *torch.autograd.grad((shares * logs).sum(), of_decoder)]
    for (name, _), a, b, c in zip(model.named_parameters(), got, want, plain, strict=True):
        mistakes = {} if which == "objective" else {"is this the plain gradient?": c.numpy()}
        mistakes = {} if np.allclose(b, c) else mistakes
        assert_close(a, b, rtol=1e-8, atol=1e-11, what=f"the gradient of {which} in {name}", mistakes=mistakes)


def test_doubly_reparameterised_has_the_value_and_the_decoder_gradient_of_objective():
    """From the same generator state: equal values and decoder's slopes, other slopes of the encoder."""
    problem, found = TWO, {}
    for which in ("objective", "doubly_reparameterised"):
        model = linear(problem)
        value = getattr(iwae, which)(3)(model, problem.x, seeded())
        value.sum().backward()
        found[which] = value, model
    plain, doubly = found["objective"], found["doubly_reparameterised"]
    assert_close(doubly[0], plain[0].detach(), rtol=1e-12, what="the value of doubly_reparameterised(3)")
    for name in ("weight", "offset", "log_noise"):
        want = getattr(plain[1], name).grad
        assert_close(getattr(doubly[1], name).grad, want, rtol=1e-9, what=f"the gradient in {name}")
    assert not torch.allclose(doubly[1].shift.grad, plain[1].shift.grad), (
        "doubly_reparameterised has the encoder's gradient of objective, draw by draw: is the hook forgotten?"
    )


def test_doubly_reparameterised_works_where_the_encoder_is_frozen():
    """With no parameter of the encoder to move, the decoder's gradient is as it was."""
    problem, grads = TWO, []
    for frozen in (False, True):
        model = linear(problem)
        for p in (model.matrix, model.shift, model.log_variance):
            p.requires_grad_(not frozen)
        iwae.doubly_reparameterised(3)(model, problem.x, seeded()).sum().backward()
        grads.append(model.weight.grad)
        assert frozen == (model.shift.grad is None)
    assert_close(grads[1], grads[0], rtol=1e-12, what="the decoder's gradient, the encoder frozen")
    with torch.no_grad():
        assert torch.isfinite(iwae.doubly_reparameterised(3)(model, problem.x, seeded())).all()


@pytest.mark.parametrize("which", ["objective", "doubly_reparameterised"])
def test_train_steps_along_objective_doubly_reparameterised(which):
    """One step of gradient ascent in `vae.train`, rate 0.01: c moves by 0.01 times the mean slope, by hand."""
    problem, model = TWO, linear(TWO)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    history = vae.train(
        model,
        problem.x,
        objective=getattr(iwae, which)(6),
        epochs=1,
        pixels=None,
        optimizer=optimizer,
        generator=seeded(),
    )
    z = latents_of(model, (2, 6, 2))
    found = []
    for order in ([0, 1], [1, 0]):  # of the rows in the batch
        x = np.array(problem.x)[order]
        s = slopes(problem, z, x)
        rows = total_gradient(s) if which == "objective" else path_gradient(s, s.shares**2)
        bound = special.logsumexp(log_weights_of(problem, z, x)[0], axis=1).mean() - math.log(6)
        found.append((np.array(problem.shift) + 0.01 * rows[:, :2].mean(0), bound))
    right = min(found, key=lambda pair: abs(pair[1] - history.train[0]))
    assert_close(history.train[0], right[1], rtol=1e-9, what="the mean objective of the epoch")
    assert_close(model.shift, right[0], rtol=1e-9, what="the shift c after one step")


@pytest.mark.claim("prop-iwae-one")
@pytest.mark.parametrize(("which", "estimator"), [("objective", "total"), ("doubly_reparameterised", "path")])
def test_one_draw_is_an_elbo_objective_doubly_reparameterised(which, estimator):
    """K = 1, the same generator state: value and all gradients of `vae.elbo`, "total" or "path", draw by draw."""
    for make in (lambda: linear(TWO), network):
        x = TWO.x if make is not network else [[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.2, 0.7]]
        model = make()
        one = getattr(iwae, which)(1)(model, x, seeded())
        z = latents_of(model, (2, 1, 2))
        other = vae.elbo(model, x, estimator, seeded())
        same = latents_of(model, (2, 1, 2))
        if not np.array_equal(z, same):
            continue  # another stream of random numbers is another right answer
        assert_close(one, other.detach(), rtol=1e-12, what=f"{which}(1)")
        a, b = (torch.autograd.grad(v.sum(), list(model.parameters())) for v in (one, other))
        for (name, _), got, want in zip(model.named_parameters(), a, b, strict=True):
            assert_close(got, want, rtol=1e-9, atol=1e-12, what=f"the gradient of {which}(1) in {name}")


@pytest.mark.claim("prop-iwae-one", kind="statistical")
def test_one_draw_of_objective_has_the_elbo_as_its_mean(generator):
    """E objective(1) = log p(x) − KL(q ‖ posterior) = the mean of "analytic_kl", whose draws are others."""
    problem = PROBLEMS["three pixels"]
    x = np.repeat(problem.x[:1], 20_000, axis=0)
    rows, evidence = scalar_rows(problem)
    want = evidence[0] - gap_of_one(*rows[0])
    model = linear(problem)
    assert_close(iwae.exact_bounds(model, problem.x[:1], 1), [[want]], rtol=1e-10, what="L_1")
    for values in (iwae.objective(1)(model, x, generator), vae.elbo(model, x, "analytic_kl", generator)):
        assert_mean(values, want, detects=0.1, hints={"is it log p(x), without the gap": evidence[0]})


# Slopes, on average and in their spread


@cache
def two_draws(name, row):
    """Both gradients of K = 2 at all pairs of a grid: means and variances, of (mean, log-variance), for one point."""
    problem = PROBLEMS[name]
    rows, _ = scalar_rows(problem)
    d, v, s2 = rows[row]
    x, weight = noise_grid(0.04, 9.0)
    u, z, s = np.exp(log_u(x, d, v, s2)), d + math.sqrt(s2) * x, math.sqrt(s2)
    by_all = np.stack([-z / v, -z / v * s * x / 2 + 0.5])
    by_path = (-z / v + x / s) * np.stack([np.ones_like(x), s * x / 2])
    share = u[:, None] / (u[:, None] + u)
    mass = np.outer(weight, weight)
    found = {}
    for doubly, slope, power in [(False, by_all, 1), (True, by_path, 2)]:
        g = share**power * slope[:, :, None] + (1 - share) ** power * slope[:, None, :]
        mean = (mass * g).sum((1, 2))
        found[doubly] = mean, (mass * g**2).sum((1, 2)) - mean**2
    return found


@pytest.mark.claim("thm-dreg", kind="quadrature")
@problems
def test_two_estimators_have_one_mean(name):
    """K = 2: both gradients, averaged over a grid of pairs, are the slope of `exact_bounds` by autograd."""
    problem = PROBLEMS[name]
    for row in range(len(problem.x)):
        model = linear(problem)
        x = problem.x[row : row + 1]
        (slope_of_shift, slope_of_scale) = torch.autograd.grad(
            iwae.exact_bounds(model, x, 2).sum(), [model.shift, model.log_variance]
        )
        want = [float(slope_of_shift), float(slope_of_scale)]
        found = two_draws(name, row)
        for doubly in (False, True):
            assert_close(found[doubly][0], want, rtol=1e-6, atol=1e-8, what=f"E of the gradient, doubly={doubly}")


@pytest.mark.claim("thm-dreg", kind="statistical")
@pytest.mark.parametrize("doubly", [False, True])
@pytest.mark.parametrize("number", [2, 12])
def test_encoder_gradients_are_unbiased(generator, doubly, number):
    """Their mean is the slope of L_K by autograd of `exact_bounds`; the variance for K = 2 is that of the grid."""
    problem = PROBLEMS["E57"]
    model, n = linear(problem, vae.LinearGaussian), 20_000
    slope = torch.autograd.grad(
        iwae.exact_bounds(model, problem.x[:1], number).sum(), [model.shift, model.log_variance]
    )
    want = np.array([float(part) for part in slope])
    got = iwae.encoder_gradients(model, problem.x[:1] * n, number, doubly=doubly, generator=generator)
    hints = {
        "is it the slope of L_1, the ELBO": [-gap_slope for gap_slope in slope_of_one(problem)],
        "is w̃ where w̃² belongs": 2 * want if number > 1 else want + 1,
    }
    assert_unbiased(got, want, detects=0.02 if doubly else 0.1, hints=hints)
    if number == 2:
        # of the mean's slope; squares of the other are too skewed
        assert_variance(got[:, 0], two_draws("E57", 0)[doubly][1][0], detects=0.4)


def slope_of_one(problem):
    """∂KL/∂ mean, ∂KL/∂ log-variance of the first point."""
    (d, v, s2), *_ = scalar_rows(problem)[0]
    return d / v, (s2 / v - 1) / 2


@pytest.mark.claim("thm-dreg")
def test_encoder_gradients_are_zero_at_the_posterior():
    """u = 1 for every z: each draw of the doubly reparameterised gradient is 0; the plain one is not."""
    model = vae.LinearGaussian.at_the_posterior([[0.8, 0.0], [0.0, -1.5]], [0.2, 1.0], 0.6)
    x = [[1.0, -1.0], [0.3, 2.2], [0.1, 0.0]]
    got = iwae.encoder_gradients(model, x, 5, doubly=True)
    assert_close(got, np.zeros((3, 4)), atol=1e-12, what="encoder_gradients(doubly=True) at the posterior")
    plain = iwae.encoder_gradients(model, x, 5)
    assert (plain.abs() > 1e-6).all(), "the plain gradient has a score term, which does not vanish at the posterior"


# The signal and the noise

STATES = np.array([0.4, 0.35, 0.25])  # of a u of three values
U = np.array([0.5, 1.2, 1.52])


def exact_moments(number, statistic):
    """Mean and variance of a function of counts of three states, over all counts of K draws."""
    a, b = np.meshgrid(np.arange(number + 1), np.arange(number + 1), indexing="ij")
    counts = np.stack([a, b, number - a - b], -1)[a + b <= number]
    mass = np.exp(special.gammaln(number + 1) - special.gammaln(counts + 1).sum(-1) + (counts * np.log(STATES)).sum(-1))
    values = statistic(counts / number)
    mean = mass @ values
    return mean, mass @ (values - mean) ** 2


def extrapolated(values):
    """The limit of a + b/K + c/K² + … from K, 2K and 4K."""
    one, two, four = values
    return (8 * four - 6 * two + one) / 3


@pytest.mark.claim("thm-iwae-signal", kind="enumeration")
def test_signal_of_a_ratio_by_enumeration():
    """u, D of three values, E u = 1, E D = 0: K E[D̄/ū] → −E[uD], K Var → Var D, over all counts, K = 100, 200, 400."""
    assert_close(STATES @ U, 1.0, rtol=1e-12, what="E u")
    d = np.array([0.7, -1.1, 0.0])
    d = d - STATES @ d
    found = [exact_moments(number, lambda c: (c @ d) / (c @ U)) for number in (100, 200, 400)]
    numbers = np.array([100, 200, 400])
    means, variances = np.array(found).T * numbers
    assert_close(extrapolated(means), -STATES @ (U * d), rtol=1e-4, what="the limit of K E[D̄/ū]")
    assert_close(extrapolated(variances), STATES @ d**2, rtol=1e-4, what="the limit of K Var(D̄/ū)")


@pytest.mark.claim("prop-dreg-signal", kind="enumeration")
def test_signal_of_the_doubly_reparameterised_by_enumeration():
    """N of three values: Σ N_k/(Σ u_j)² has K·mean → ν = E N and K³·variance → Var(N − 2νu)."""
    n = np.array([0.9, -0.3, 2.0])
    nu = STATES @ n
    found = [exact_moments(number, lambda c, k=number: (c @ n) / (c @ U) ** 2 / k) for number in (100, 200, 400)]
    numbers = np.array([100, 200, 400])
    means, variances = np.array(found).T * [numbers, numbers**3]
    rest = n - 2 * nu * U
    assert_close(extrapolated(means), nu, rtol=1e-4, what="the limit of K·mean")
    assert_close(
        extrapolated(variances), STATES @ rest**2 - (STATES @ rest) ** 2, rtol=1e-4, what="the limit of K³·variance"
    )


def signal_moments(d, v, s2):
    """By quadrature, for (mean, log-variance): sd ∂u/∂φ, ν, sd(N − 2νu)."""
    x, weight = noise_grid(0.01, 20.0)
    u, z, s = np.exp(log_u(x, d, v, s2)), d + math.sqrt(s2) * x, math.sqrt(s2)
    slopes = u * np.stack([-z / v, -z / v * s * x / 2 + 0.5])
    n = u**2 * (-z / v + x / s) * np.stack([np.ones_like(x), s * x / 2])
    nu = n @ weight
    rest = n - 2 * nu[:, None] * u
    spread = np.sqrt(slopes**2 @ weight - (slopes @ weight) ** 2)
    return spread, nu, np.sqrt(rest**2 @ weight - (rest @ weight) ** 2)


SIGNAL = Problem([[1.0]], [0.0], 1.0, [[0.0]], [0.95], [math.log(0.7)], [[1.5]])


@pytest.mark.claim("thm-iwae-signal")
def test_exact_bounds_have_slopes_that_fade_like_one_over_k():
    """K ∂L_K/∂φ → −½ ∂V/∂φ for the encoder; the decoder's slope tends to that of log p(x); SNR·√K = .18321, .13009."""
    model = linear(SIGNAL)
    of_encoder, of_decoder = [model.shift, model.log_variance], [model.weight, model.offset, model.log_noise]
    variance = torch.autograd.grad(iwae.weight_variance(model, SIGNAL.x).sum(), of_encoder)
    half = -np.array([float(part) for part in variance]) / 2
    evidence = torch.autograd.grad(model.log_evidence(SIGNAL.x).sum(), of_decoder)
    for number in (10**4, 10**5):
        bound = iwae.exact_bounds(model, SIGNAL.x, number).sum()
        slope = torch.autograd.grad(bound, of_encoder, retain_graph=True)
        got = number * np.array([float(part) for part in slope])
        assert_close(got, half, rtol=20 / number + 1e-7, what=f"K ∂L_K/∂φ for K = {number}")
        for a, b in zip(torch.autograd.grad(bound, of_decoder), evidence, strict=True):
            assert_close(a, b, rtol=0, atol=5 / number, what=f"∂L_K/∂θ for K = {number}, that of log p(x)")
    rows, _ = scalar_rows(SIGNAL)
    spread, nu, rest = signal_moments(*rows[0])
    assert_close(nu, half, rtol=1e-8, what="ν = E N, −½ ∂V/∂φ")
    assert_close(np.abs(half) / spread, [0.18321, 0.13009], rtol=0, atol=6e-6, what="√K·SNR")
    assert_close(np.abs(nu) / rest, [0.64512, 0.57598], rtol=0, atol=6e-6, what="SNR/√K, doubly reparameterised")


@pytest.mark.claim("thm-iwae-signal", kind="statistical")
@pytest.mark.claim("prop-dreg-signal", kind="statistical")
@pytest.mark.parametrize("doubly", [False, True])
def test_encoder_gradients_spread_as_stated(generator, doubly):
    """K·variance → Var ∂u/∂φ, and K³·variance → Var(N − 2νu): at K = 200; what is left is O(1/K)."""
    model, number = linear(SIGNAL, vae.LinearGaussian), 200
    spread, _, rest = signal_moments(*scalar_rows(SIGNAL)[0][0])
    got = iwae.encoder_gradients(model, SIGNAL.x * 4000, number, doubly=doubly, generator=generator)
    wanted = rest**2 / number**3 if doubly else spread**2 / number
    for column in (0, 1):
        hints = {"is it the other estimator": spread[column] ** 2 / number}
        assert_variance(got[:, column], wanted[column], detects=0.7, hints=hints)


# The likelihood of held-out points


def constant(pixels, latents=2):
    """A VAE whose decoder says ½ and whose q is the prior, in float32: every weight is 2^{−pixels}."""
    model = network(pixels, 3, latents).float()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    return model


@pytest.mark.parametrize("samples", [1, 7, 2001])
def test_log_likelihood_is_exact_at_the_posterior(samples):
    """Where q is the posterior all weights are p(x): log p(x), for 150 rows, from any number of draws."""
    model = vae.LinearGaussian.at_the_posterior([[0.8, 0.0], [0.0, -1.5]], [0.2, 1.0], 0.6)
    x = np.linspace(-2, 2, 300).reshape(150, 2)[: 150 if samples < 100 else 3]
    want = model.log_evidence(x).detach().numpy()
    mistakes = {
        "is log K not subtracted?": want + math.log(samples),
        "is log K added?": want + 2 * math.log(samples),
        "is it log p(x)/K?": want / samples,
    }
    got = iwae.log_likelihood(model, x, samples)
    mistakes = mistakes if samples > 1 else {}
    assert_close(
        got, want, rtol=1e-9, atol=1e-9, what=f"log_likelihood(K = {samples}) at the posterior", mistakes=mistakes
    )
    assert not got.requires_grad, "log_likelihood keeps a graph: it needs no gradient"


def test_log_likelihood_of_many_pixels():
    """3,000 pixels, each ½: −3000 log 2 = −2079.4, though 2^{−3000} is 0 to every float; in float32."""
    got = iwae.log_likelihood(constant(3000), np.ones((2, 3000)), 50)
    assert torch.isfinite(got).all(), (
        f"log_likelihood is {got.tolist()} where log p(x) = −2079: weights underflow, stay in logs"
    )
    assert_close(got, np.full(2, -3000 * math.log(2)), rtol=1e-5, what="log_likelihood of 3,000 pixels")


def test_log_likelihood_of_very_many_pixels():
    """200,000 pixels: log p(x) = −138,629; a running sum of weights begins at 0, whose log is −∞."""
    got = iwae.log_likelihood(constant(200_000), np.ones((1, 200_000)), 3)
    want = [-200_000 * math.log(2)]
    assert_close(got, want, rtol=1e-4, what="log_likelihood of 200,000 pixels: does the sum begin at −∞?")


def test_log_likelihood_needs_no_more_memory_for_more_draws():
    """20,000 draws for each of three images: never are more than 20,000 latents looked at together."""
    model = constant(2)
    model.seen = []
    biggest = []
    right = model.log_likelihood

    def watch(x, z):
        biggest.append(z.shape[0] * z.shape[1])
        model.seen.clear()
        return right(x, z)

    model.log_likelihood = watch
    got = iwae.log_likelihood(model, np.ones((3, 2)), 20_000)
    assert max(biggest) <= 20_000, f"{max(biggest)} latents are decoded together: sum the weights block by block"
    assert sum(biggest) == 60_000, f"{sum(biggest)} latents were drawn for 3 images of 20,000 each"
    assert_close(got, np.full(3, -2 * math.log(2)), rtol=1e-5, what="log_likelihood, in blocks")


WIDE = Problem([[1.0]], [0.0], 1.0, [[0.5]], [0.3], [math.log(4.0)], [[0.7]])  # u is bounded, V = 1.2


@pytest.mark.claim("thm-iwae-monotone", kind="statistical")
def test_log_likelihood_has_the_mean_of_its_bound(generator):
    """The mean over 400 rows is L_500 by the integral; the mean of the log-means of blocks is lower."""
    model = linear(WIDE, vae.LinearGaussian)
    evidence, bounds = (
        float(plain(model.log_evidence(WIDE.x))[0]),
        iwae.exact_bounds(model, WIDE.x, [500, 1, 20]).detach()[0].tolist(),
    )
    got = iwae.log_likelihood(model, WIDE.x * 400, 500, generator=generator)
    hints = {
        "is this the mean of the logs, L_1": bounds[1],
        "are the log-means of blocks averaged? Their weights are to be added": bounds[2],
    }
    assert evidence - bounds[0] < 0.002
    assert_mean(got, bounds[0], detects=0.04, hints=hints)


@pytest.mark.parametrize("number", [41, 1001])
def test_log_likelihood_gives_every_draw_the_same_weight(generator, number):
    """exp(log_likelihood)/p(x) has mean 1 and variance V/K, also where the last block is a single draw."""
    model, n = linear(WIDE, vae.LinearGaussian), 1000
    ((d, v, s2),), evidence = scalar_rows(WIDE)
    got = iwae.log_likelihood(model, WIDE.x * n, number, generator=generator)
    u = np.exp(got.numpy() - evidence[0])
    variance = (second_moment(d, v, s2) - 1) / number
    try:
        assert_variance(u, variance, detects=1.6)
        assert_mean(u, 1.0, detects=12 * math.sqrt(variance / n))
    except AssertionError as error:
        said = "has a shorter last block the weight of a whole one, or is it one draw for many? The variance is V/K"
        raise AssertionError(f"log_likelihood(K = {number}): {said}\n{error}") from None


@pytest.mark.claim("thm-iwae-bound", kind="statistical")
def test_log_likelihood_of_a_network_by_quadrature(generator):
    """A VAE of two latents: E exp(log_likelihood) = p(x), the integral over z by a grid in the plane."""
    model, image = network(), np.array([[0.0, 1.0, 1.0, 0.0]])
    x, weight = noise_grid(0.1, 7.0)
    z = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(1, -1, 2)
    with torch.no_grad():
        logits = model.decoder(rows_of(z)).numpy()[0]
    evidence = math.log(np.outer(weight, weight).ravel() @ np.exp((image * logits - np.logaddexp(0, logits)).sum(-1)))
    got = iwae.log_likelihood(model, np.repeat(image, 300, axis=0), 100, generator=generator)
    assert_mean(np.exp(got.numpy() - evidence), 1.0, detects=0.05)


def test_log_likelihood_keeps_the_rows_in_order():
    """250 points, all different, and one: each has its own log p(x), in its place."""
    model = vae.LinearGaussian.at_the_posterior([[1.0], [0.4]], [0.0, 1.0], 0.5)
    x = np.random.default_rng(1).normal(0, 2, (250, 2))
    want = model.log_evidence(x).detach()
    assert_close(iwae.log_likelihood(model, x, 3), want, rtol=1e-9, what="log_likelihood of 250 points")
    assert_close(iwae.log_likelihood(model, x[7:8], 3), want[7:8], rtol=1e-9, what="log_likelihood of one point")


def test_log_likelihood_takes_5000_draws_unless_told():
    """The default is 5,000, as the model sees them."""
    model = constant(2)
    iwae.log_likelihood(model, np.ones((1, 2)))
    drawn = sum(z.shape[0] * z.shape[1] for z in model.seen)
    assert drawn == 5000, f"log_likelihood(model, x) drew {drawn} latents for one image, not 5,000"


def test_one_model_has_a_curve_of_bounds(generator):
    """E69: of ONE model, objective(K) rises with K = 1, 5, 50 as `exact_bounds` does; it has not improved."""
    model = linear(PROBLEMS["E57"], vae.LinearGaussian)
    exact = iwae.exact_bounds(model, [[1.5]], [1, 5, 50]).detach()[0]
    for number, want in zip((1, 5, 50), exact.tolist(), strict=True):
        got = iwae.objective(number)(model, [[1.5]] * 12_000, generator)
        assert_mean(got, want, detects=0.08, hints={"is it L_1, the same for every K": float(exact[0])})
