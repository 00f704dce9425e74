"""Divergences, three slopes, bounds and training, against quadrature, enumeration, sympy, torch and closed forms."""

import itertools
import math
from functools import cache, partial
from unittest import mock

import jaxtyping
import mpmath
import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, optimize, special, stats
from sklearn.decomposition import PCA
from torch import nn

from solutions import vae
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_mean, assert_proportion, assert_unbiased, assert_variance

NAN, INF = math.nan, math.inf
NAMES = ("analytic_kl", "total", "path")
estimators = pytest.mark.parametrize("estimator", NAMES)
LOG_2PI = math.log(2 * math.pi)
# Sums of some tens of terms in float64, which cancel to a hundredth of themselves at worst, lose 1e-13.
SHARP = 1e-10

# A linear-Gaussian model of three numbers with two latents, and a q that is wrong in every way.
W = np.array([[0.9, -0.4], [0.3, 0.8], [-0.7, 0.5]])
B = np.array([0.2, -1.0, 0.5])
TAU = 0.7
A = np.array([[0.4, -0.1, 0.3], [0.2, 0.5, -0.6]])
C = np.array([0.3, -0.2])
L = np.array([-0.5, 0.4])
X = np.array([[1.5, -0.2, 0.8], [0.0, 0.0, 0.0], [-2.0, 1.2, 0.4], [0.3, -3.0, 1.1]])
# The columns of this one are orthogonal, so that the posterior is in the family.
ORTHOGONAL = np.array([[1.0, 2.0], [2.0, 0.0], [-1.0, 2.0]])
# Gaussians in general position.
MEAN, OTHER_MEAN = np.array([0.3, -1.2, 2.0]), np.array([1.0, 0.4, -0.5])
COVARIANCE = np.array([[1.2, 0.3, -0.2], [0.3, 0.7, 0.1], [-0.2, 0.1, 2.0]])
OTHER_COVARIANCE = np.array([[0.8, -0.1, 0.0], [-0.1, 3.0, 0.6], [0.0, 0.6, 1.5]])
# Means and log-variances of two latents for four rows.
MU = np.array([[0.3, -1.2], [0.0, 0.0], [2.5, 0.1], [-0.7, 3.0]])
LAMBDA = np.array([[0.7, -0.4], [0.0, 0.0], [-2.0, 0.5], [1.1, -1.0]])
BLACK = np.array([[1.0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]])
GREY = np.array([[0.2, 0.9, 0.0, 1.0, 0.5, 0.35], [0.7, 0.01, 0.6, 0.25, 0.99, 0.4]])
SHARED = (W, B, A, C, L, X, ORTHOGONAL, MEAN, OTHER_MEAN, COVARIANCE, OTHER_COVARIANCE, MU, LAMBDA, BLACK, GREY)
for shared in SHARED:  # so that what writes to its arguments fails where it does, and not all tests after it
    shared.flags.writeable = False


# What the tests know by themselves


def tensor(values):
    return torch.tensor(np.array(values), dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def array(value):
    return value.detach().numpy()


def general():
    return vae.LinearGaussian(W, B, TAU, A, C, L)


def one_latent(mean, variance, w=(1.0,), noise=1.0, offset=None):
    """One latent, q = N(mean, variance) whatever x is."""
    w = np.array(w)
    offset = np.zeros(len(w)) if offset is None else offset
    return vae.LinearGaussian(w[:, None], offset, noise, np.zeros((1, len(w))), [mean], [math.log(variance)])


class Waves(nn.Module):
    """log p(x | z) = h Σ a sin z; x holds q's means, its log-variances and the amplitudes a, so all can be known."""

    def __init__(self, height=1.0):
        super().__init__()
        self.height = nn.Parameter(tensor(height))

    def checked(self, x):
        return x

    def encoder(self, x):
        mean, log_variance, _ = x.chunk(3, 1)
        return mean, log_variance

    def log_likelihood(self, x, z):
        self.seen = array(z)[:, 0]
        return self.height * (x.chunk(3, 1)[2][:, None] * z.sin()).sum(-1)


AMPLITUDES = np.array([[1.5, -0.8], [2.0, 0.5], [-1.0, 3.0], [0.7, 1.2]])
WAVES = np.hstack([MU, LAMBDA, AMPLITUDES])
WAVES.flags.writeable = False


def waves_slope(mean, log_variance, amplitude):
    """The gradient of the ELBO of `Waves` at height 1: E sin z = sin μ exp(−v/2)."""
    v = np.exp(log_variance)
    fade = amplitude * np.exp(-v / 2)
    return np.hstack([fade * np.cos(mean) - mean, -fade * np.sin(mean) * v / 2 - (v - 1) / 2])


class Affine(nn.Module):
    """A network that returns pieces of  W x + b  with weights that a test knows."""

    def __init__(self, weight, bias, pieces=1):
        super().__init__()
        self.weight, self.bias = nn.Parameter(tensor(weight)), nn.Parameter(tensor(bias))
        self.pieces = pieces

    def forward(self, x):
        y = x @ self.weight.T + self.bias
        return y if self.pieces == 1 else y.chunk(2, -1)


def affine_vae(decoder, bias, encoder, encoder_bias):
    """A VAE whose networks are affine: logits = decoder z + bias, (mean, log-variance) = encoder x + encoder_bias."""
    decoder, encoder = Affine(decoder, bias), Affine(encoder, encoder_bias, 2)
    encoder.latents = decoder.latents = decoder.weight.shape[1]
    encoder.pixels = decoder.pixels = decoder.weight.shape[0]
    return vae.VAE(encoder, decoder)


SLOPES = np.array([[1.2, 0.3], [-0.7, 0.9], [0.4, -2.0], [1.5, 0.8], [0.0, 1.1], [-1.0, -0.6]])
OFFSETS = np.array([0.3, -0.2, 0.5, -1.0, 0.1, 0.8])
GUESS = np.array(
    [
        [0.3, -0.2, 0.1, 0.5, -0.4, 0.0],
        [0.2, 0.6, -0.9, 0.3, 0.1, -0.5],
        [-0.3, 0.1, 0.2, 0.0, 0.1, -0.2],
        [0.1, -0.1, -0.4, 0.2, 0.0, 0.3],
    ]
)
GUESS_BIAS = np.array([0.1, -0.3, -0.8, -0.5])


def two_latents():
    return affine_vae(SLOPES, OFFSETS, GUESS, GUESS_BIAS)


def single_latent():
    return affine_vae(SLOPES[:, :1], OFFSETS, GUESS[[0, 2]], GUESS_BIAS[[0, 2]])


@cache
def hermite(k, n):
    """Nodes (m, k) and weights that average over N(0, I_k)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    z = np.stack([axis.ravel() for axis in np.meshgrid(*[nodes] * k, indexing="ij")], 1)
    w = np.stack([axis.ravel() for axis in np.meshgrid(*[weights / weights.sum()] * k, indexing="ij")]).prod(0)
    return z, w


def log_bernoulli(x, z, slopes, offsets):
    """log p(x | z) of affine logits by logaddexp, pixel by pixel: x (d,), z (m, k)."""
    logits = z @ slopes.T + offsets
    return (x * -np.logaddexp(0, -logits) + (1 - x) * -np.logaddexp(0, logits)).sum(1)


def price(mean, log_variance):
    """KL(N(mean, diag exp log_variance) ‖ N(0, I)) by torch, for each row."""
    law = torch.distributions.Normal(tensor(mean), (tensor(log_variance) / 2).exp())
    standard = torch.distributions.Normal(torch.zeros(1).double(), torch.ones(1).double())
    return torch.distributions.kl_divergence(law, standard).sum(-1).numpy()


def bernoulli_elbo(x, mean, log_variance, slopes, offsets):
    """E_q[log p(x | z)] − KL by quadrature for one image."""
    e, w = hermite(len(mean), 41)
    return w @ log_bernoulli(x, mean + np.exp(log_variance / 2) * e, slopes, offsets) - price(mean, log_variance)


def guess(x, rows=slice(None)):
    """What the affine encoder answers."""
    return np.split(x @ GUESS[rows].T + GUESS_BIAS[rows], 2, axis=1)


def linear_elbo(x, mean, log_variance, w=W, b=B, noise=TAU):
    """E_q[log p(x, z) − log q(z)] of a linear-Gaussian model, quadratic in z: four nodes a latent are exact."""
    e, weights = hermite(len(mean), 4)
    std = np.exp(log_variance / 2)
    z = mean + std * e
    ratio = stats.norm.logpdf(x, z @ w.T + b, math.sqrt(noise)).sum(1)
    return weights @ (ratio + stats.norm.logpdf(z).sum(1) - stats.norm.logpdf(z, mean, std).sum(1))


def posterior(x, w=W, b=B, noise=TAU):
    """Mean (n, k) and covariance of p(z | x), by conditioning the joint Gaussian of (z, x)."""
    gain = w.T @ np.linalg.inv(w @ w.T + noise * np.eye(len(b)))
    return (x - b) @ gain.T, np.eye(w.shape[1]) - gain @ w


def evidence(x, w=W, b=B, noise=TAU):
    return stats.multivariate_normal(b, w @ w.T + noise * np.eye(len(b))).logpdf(x)


def global_states():
    """What NumPy's and PyTorch's global generators will go on from."""
    return np.random.get_state()[1].copy(), torch.random.get_rng_state().numpy().copy()  # noqa: NPY002


def weights_of(model):
    return np.concatenate([p.detach().numpy().ravel().copy() for p in model.parameters()])


def refused(function, bad, **right):
    """Each of the bad arguments, alone, is refused by name: (argument, value, what the message shows)."""
    for argument, value, shown in bad:
        call = partial(function, **(right | {argument: value}))
        call.__name__ = getattr(function, "__name__", "the method")
        assert_refused(call, argument=argument, value=shown)


BAD_IMAGES = [
    ("x", np.where(np.arange(6) == 2, NAN, BLACK), NAN),
    ("x", np.where(np.arange(6) == 2, -0.25, BLACK), -0.25),
    ("x", np.where(np.arange(6) == 2, 1.5, BLACK), 1.5),
    ("x", BLACK * 255, 255.0),
    ("x", BLACK[:, :5], 5),
    ("x", BLACK[0], "(6,)"),
    ("x", BLACK[:0], "x"),
]


def assert_same_dice(call, what):
    """`call(generator)`: the same seed gives the same numbers, another gives others, None gives fresh ones."""
    before = global_states()
    first, second, other = (np.asarray(call(seeded(seed))) for seed in (5, 5, 6))
    assert np.array_equal(first, second), f"{what} differs under the same generator: is another one drawn from?"
    assert not np.array_equal(first, other), f"{what} is the same under two seeds: is a seed fixed inside?"
    fresh = np.asarray(call(None)), np.asarray(call(None))
    assert not np.array_equal(*fresh), f"{what} is the same twice without a generator: is a seed fixed inside?"
    generator = seeded(5)
    again = np.asarray(call(generator)), np.asarray(call(generator))
    assert not np.array_equal(*again), f"{what} does not move its generator on: is a seed fixed inside?"
    for now, then in zip(global_states(), before, strict=True):
        assert np.array_equal(now, then), f"{what} draws from a global generator"


# Divergences of Gaussians


def divergence_mistakes(m, s, n, t):
    k, apart, inverse = len(m), n - m, np.linalg.inv(t)
    trace, square = np.trace(inverse @ s), apart @ inverse @ apart
    logs = np.linalg.slogdet(t)[1] - np.linalg.slogdet(s)[1]
    back, trace_back = np.linalg.inv(s), np.trace(np.linalg.inv(s) @ t)
    return {
        "does a second log-determinant stand where the trace less k belongs, as the source prints it?": logs
        + square / 2,
        "is −k forgotten?": (trace + square + logs) / 2,
        "is the trace forgotten?": (square + logs - k) / 2,
        "is it the reversed divergence, of the second from the first?": (trace_back + apart @ back @ apart - logs - k)
        / 2,
        "are only the log-determinants exchanged?": (trace + square - logs - k) / 2,
        "are the means' distances measured by the first covariance?": (trace + apart @ back @ apart + logs - k) / 2,
        "is it tr(S⁻¹T) where tr(T⁻¹S) belongs?": (trace_back + square + logs - k) / 2,
        "is the covariance taken for its inverse?": (np.trace(t @ s) + apart @ t @ apart + logs - k) / 2,
        "is the ½ missing?": trace + square + logs - k,
        "are the off-diagonal entries left out?": (
            ((np.diag(s) + apart**2) / np.diag(t) - 1 - np.log(np.diag(s) / np.diag(t))).sum() / 2
        ),
        "is the log-determinant that of Cholesky factors, half as large?": (trace + square + logs / 2 - k) / 2,
    }


@pytest.mark.claim("thm-gaussian-kl")
def test_divergence_is_that_of_torch():
    """kl_divergence of two MultivariateNormals, in one to three dimensions, both ways round."""
    for d in (3, 2, 1):
        one = MEAN[:d], COVARIANCE[:d, :d]
        two = OTHER_MEAN[:d], OTHER_COVARIANCE[:d, :d]
        for (m, s), (n, t) in ((one, two), (two, one)):
            laws = [torch.distributions.MultivariateNormal(tensor(mean), tensor(cov)) for mean, cov in ((m, s), (n, t))]
            want = float(torch.distributions.kl_divergence(*laws))
            mistakes = divergence_mistakes(m, s, n, t)
            assert_close(vae.divergence(m, s, n, t), want, rtol=SHARP, what=f"divergence, k = {d}", mistakes=mistakes)


@pytest.mark.claim("thm-gaussian-kl", kind="symbolic")
def test_divergence_in_one_dimension_by_algebra():
    """log q − log p is quadratic in z; with E z = m, E z² = m² + S its mean is the theorem's, and `divergence`."""
    z, m, n = sympy.symbols("z m n", real=True)
    s, t = sympy.symbols("S T", positive=True)

    def log_density(mean, variance):
        return -((z - mean) ** 2) / (2 * variance) - sympy.log(2 * sympy.pi * variance) / 2

    ratio = sympy.Poly(sympy.expand(log_density(m, s) - log_density(n, t)), z)
    moments = (1, m, m**2 + s)
    mean = sum(ratio.coeff_monomial(z**i) * moments[i] for i in range(3))
    stated = (s / t - 1 + (n - m) ** 2 / t + sympy.log(t / s)) / 2
    assert sympy.simplify(sympy.expand_log(mean - stated, force=True)) == 0
    for values in ((1.0, 1.0, 0.0, 4.0), (0.5, 3.0, -2.0, 0.25), (0.0, 1.0, 0.0, 1.0)):
        want = float(mean.subs(dict(zip((m, s, n, t), values, strict=True))))
        got = vae.divergence(*(np.full((1,) * (1 + i % 2), value) for i, value in enumerate(values)))
        assert_close(got, want, rtol=SHARP, atol=1e-14, what=f"divergence at {values}")


@pytest.mark.claim("thm-gaussian-kl")
def test_divergence_is_the_mean_log_ratio():
    """E_q[log q − log p] by Gauss's quadrature over q with scipy's densities, in two dimensions."""
    m, s, n, t = MEAN[:2], COVARIANCE[:2, :2], OTHER_MEAN[:2], OTHER_COVARIANCE[:2, :2]
    e, weights = hermite(2, 5)
    z = m + e @ np.linalg.cholesky(s).T
    want = weights @ (stats.multivariate_normal(m, s).logpdf(z) - stats.multivariate_normal(n, t).logpdf(z))
    assert_close(vae.divergence(m, s, n, t), want, what="divergence", mistakes=divergence_mistakes(m, s, n, t))


@pytest.mark.claim("thm-gaussian-kl")
def test_divergence_does_not_depend_on_coordinates():
    """An affine map of both Gaussians leaves it as it is; of a Gaussian from itself it is zero."""
    m, s, n, t = MEAN, COVARIANCE, OTHER_MEAN, OTHER_COVARIANCE
    j = np.array([[1.0, 2.0, 0.0], [0.0, -3.0, 1.0], [0.5, 0.0, 1.0]])
    got = vae.divergence(j @ m + 7, j @ s @ j.T, j @ n + 7, j @ t @ j.T)
    assert_close(got, vae.divergence(m, s, n, t), rtol=1e-9, what="divergence in other coordinates")
    assert_close(vae.divergence(m, s, m, s), 0.0, atol=1e-14, what="the divergence of a Gaussian from itself")


def test_divergence_is_not_the_printed_one():
    """Of N(1, 1) from N(0, 4) it is ½(¼ − 1 + ¼ + log 4) = .4431, and not log 4 + ⅛ = 1.511."""
    printed = math.log(4) + 1 / 8
    mistakes = {"does a second log-determinant stand where the trace less k belongs, as the source prints it?": printed}
    got = vae.divergence(np.array([1.0]), np.array([[1.0]]), np.array([0.0]), np.array([[4.0]]))
    assert_close(got, (math.log(4) - 0.5) / 2, what="divergence", mistakes=mistakes)
    assert_close(got, 0.4431, rtol=1e-3, what="divergence")
    assert_close(printed, 1.511, rtol=1e-3, what="as printed")
    wide = vae.divergence(np.zeros(1), np.array([[9.0]]), np.zeros(1), np.eye(1))
    assert wide > 0, f"the divergence of N(0, 9) from N(0, 1) is {wide}, and no divergence is negative"


def test_divergence_holds_in_many_dimensions_and_far_off():
    """In 200 dimensions with det S = 1e-2000 it is the sum over coordinates; no determinant underflows."""
    k, tiny = 200, 1e-10
    got = vae.divergence(np.zeros(k), tiny * np.eye(k), np.full(k, 1e3), np.eye(k))
    assert np.isfinite(got), f"divergence is {got} in 200 dimensions: does a determinant underflow? Work in logs"
    assert_close(got, k * (tiny - 1 + 1e6 - math.log(tiny)) / 2, what="divergence in 200 dimensions")


def test_divergence_takes_integers_lists_and_any_strides():
    """Whole numbers, read-only and non-contiguous arrays give what their floats give, and none is changed."""
    m, s, n, t = np.array([1, 2]), np.array([[2, 1], [1, 3]]), np.array([0, -1]), np.array([[1, 0], [0, 4]])
    want = vae.divergence(*(v.astype(float) for v in (m, s, n, t)))
    strided = [np.repeat(v.astype(float), 2, axis=-1)[..., ::2] for v in (m, s, n, t)]
    for name, values in {
        "integers": (m, s, n, t),
        "strided": strided,
        "lists": [v.tolist() for v in (m, s, n, t)],
    }.items():
        before = [np.array(v) for v in values]
        with mock.patch.object(jaxtyping.config, "jaxtyping_disable", True):  # the annotation asks for floats
            got = vae.divergence(*values)
        assert_close(got, want, what=f"divergence of {name}")
        assert all(np.array_equal(a, b) for a, b in zip(before, values, strict=True)), "its arguments were changed"


def test_divergence_refuses_what_is_no_gaussian():
    """Whatever was accepted would be taken for a Gaussian."""
    right = {"mean": MEAN, "covariance": COVARIANCE, "other_mean": OTHER_MEAN, "other_covariance": OTHER_COVARIANCE}
    skew = COVARIANCE + np.triu(np.full((3, 3), 0.25), 1)
    bad = [
        ("mean", np.array([0.0, NAN, 0.0]), NAN),
        ("mean", np.zeros(2), "(2,)"),
        ("other_mean", np.array([0.0, INF, 0.0]), INF),
        ("covariance", -COVARIANCE, "positive definite"),
        ("covariance", skew, "symmetric"),
        ("covariance", np.diag([1.0, 1.0, 0.0]), "positive definite"),
        ("covariance", np.eye(2), "(2, 2)"),
        ("other_covariance", skew, "symmetric"),
        ("other_covariance", np.diag([1.0, -2.0, 1.0]), "positive definite"),
    ]
    refused(vae.divergence, bad, **right)


def kl_mistakes(mean, log_variance):
    v, k = np.exp(log_variance), mean.shape[1]
    right = (v + mean**2 - 1 - log_variance).sum(1) / 2
    second = np.exp(2 * log_variance)
    return {
        "is −k, one for each latent, forgotten?": right + k / 2,
        "is the trace exp(log_variance) forgotten?": right - v.sum(1) / 2,
        "does a second log-determinant stand where the trace less k belongs, as the source prints it?": (
            mean**2 - 2 * log_variance
        ).sum(1)
        / 2,
        "is the log-variance read as a log-standard deviation?": (second + mean**2 - 1 - 2 * log_variance).sum(1) / 2,
        "is the log-variance read as a variance?": (
            (np.abs(log_variance) + mean**2 - 1 - np.log(np.abs(log_variance) + 1e-300)).sum(1) / 2
        ),
        "is it the reversed divergence, of the prior from q?": ((1 + mean**2) / v - 1 + log_variance).sum(1) / 2,
        "is the sign reversed, as in the source's loss?": -right,
        "is it averaged over the latents, not summed?": right / k,
        "is it averaged over the rows?": np.full(len(mean), right.mean()),
        "is it summed over the rows?": np.full(len(mean), right.sum()),
        "is the mean not squared?": (v + mean - 1 - log_variance).sum(1) / 2,
        "has the log-variance the wrong sign?": (v + mean**2 - 1 + log_variance).sum(1) / 2,
        "is the ½ on the mean's square missing?": right + (mean**2).sum(1) / 2,
    }


def test_gaussian_kl_is_that_of_torch():
    """Row by row kl_divergence of Normals, summed over the latents; with one latent, too, and one row."""
    for rows, columns in ((slice(None), slice(None)), (slice(0, 1), slice(None)), (slice(None), slice(1, 2))):
        mean, log_variance = MU[rows, columns], LAMBDA[rows, columns]
        got = vae.gaussian_kl(tensor(mean), tensor(log_variance))
        mistakes = kl_mistakes(mean, log_variance)
        assert_close(got, price(mean, log_variance), rtol=SHARP, atol=1e-14, what="gaussian_kl", mistakes=mistakes)


@pytest.mark.claim("prop-latent-kl")
def test_latent_kl_is_the_divergence_of_each_latent():
    """Each entry is the integral of q log(q/p) by adaptive quadrature."""
    mean, log_variance = MU[[0, 2, 3]], LAMBDA[[0, 2, 3]]

    def integral(m, v):
        q, p = stats.norm(m, math.sqrt(v)), stats.norm()

        def integrand(z):
            return q.pdf(z) * (q.logpdf(z) - p.logpdf(z))

        return integrate.quad(integrand, *q.interval(1 - 1e-15), epsabs=1e-12, epsrel=1e-12)[0]

    want = np.vectorize(integral)(mean, np.exp(log_variance))
    v = np.exp(log_variance)
    mistakes = {
        "is it summed over the latents already?": np.broadcast_to(want.sum(1, keepdims=True), want.shape),
        "is the log-variance read as a log-standard deviation?": (v**2 + mean**2 - 1 - 2 * log_variance) / 2,
        "is −1 forgotten?": want + 0.5,
        "is it the reversed divergence, of the prior from q?": ((1 + mean**2) / v - 1 + log_variance) / 2,
    }
    got = vae.latent_kl(tensor(mean), tensor(log_variance))
    assert_close(got, want, rtol=1e-9, what="latent_kl", mistakes=mistakes)


@pytest.mark.claim("prop-latent-kl")
def test_gaussian_kl_is_the_divergence_from_the_standard_normal():
    """With S diagonal, n = 0, T = I it is what torch's MultivariateNormals give, and `divergence`."""
    got = array(vae.gaussian_kl(tensor(MU), tensor(LAMBDA)))
    for row, (mean, v) in enumerate(zip(MU, np.exp(LAMBDA), strict=True)):
        law = torch.distributions.MultivariateNormal(tensor(mean), torch.diag(tensor(v)))
        standard = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
        want = float(torch.distributions.kl_divergence(law, standard))
        assert_close(got[row], want, rtol=SHARP, atol=1e-14, what="gaussian_kl")
        assert_close(
            vae.divergence(mean, np.diag(v), np.zeros(2), np.eye(2)), want, rtol=SHARP, atol=1e-14, what="divergence"
        )


@pytest.mark.claim("prop-latent-kl", kind="symbolic")
def test_latent_kl_is_least_at_the_prior():
    """½(v + m² − 1 − log v) has slopes m and ½(1 − 1/v): zero at (0, 1) only; both second slopes are positive."""
    m, v = sympy.Symbol("m", real=True), sympy.Symbol("v", positive=True)
    cost = (v + m**2 - 1 - sympy.log(v)) / 2
    assert sympy.solve([cost.diff(m), cost.diff(v)], [m, v], dict=True) == [{m: 0, v: 1}]
    assert cost.subs({m: 0, v: 1}) == 0
    assert cost.diff(m, 2) == 1
    assert cost.diff(v, 2).is_positive
    assert cost.diff(m, v) == 0
    mean, log_variance = np.meshgrid([-2, -1e-3, 0, 1e-3, 3], [-6, -1e-3, 0, 1e-3, 2])
    got = array(vae.latent_kl(tensor(mean), tensor(log_variance)))
    want = [
        [float(cost.subs({m: a, v: sympy.exp(b)})) for a, b in zip(*row, strict=True)]
        for row in zip(mean, log_variance, strict=True)
    ]
    assert_close(got, want, rtol=1e-8, atol=1e-15, what="latent_kl")
    assert ((got > 0) == ((mean != 0) | (log_variance != 0))).all(), "latent_kl is not positive except at the prior"


def test_gaussian_kl_holds_far_out():
    """With log-variances of ±600 and means of ±1e150 it is finite; with 1e-8 it is not negative."""
    mean, log_variance = (
        tensor([[0.0], [0.0], [1e150], [0.0], [0.0]]),
        tensor([[600.0], [-600.0], [0.0], [1e-8], [-1e-8]]),
    )
    got = array(vae.gaussian_kl(mean, log_variance))
    assert_close(got[:3], [math.exp(600) / 2, 299.5, 5e299], what="gaussian_kl far out")
    assert (got >= -1e-15).all(), f"gaussian_kl is negative near the prior: {got}"


def test_gaussian_kl_keeps_precision_and_arguments():
    """float32 stays float32, to its rounding; strided tensors do; arguments are unchanged; nothing is kept."""
    mean, log_variance = tensor(MU), tensor(LAMBDA)
    want = price(MU, LAMBDA)
    got = vae.gaussian_kl(mean.float(), log_variance.float())
    assert got.dtype == torch.float32, f"float32 became {got.dtype}"
    assert_close(got, want, rtol=1e-5, atol=1e-6, what="gaussian_kl in float32")
    strided = mean.repeat_interleave(2, 1)[:, ::2], log_variance.T.contiguous().T
    assert_close(vae.gaussian_kl(*strided), want, rtol=SHARP, atol=1e-14, what="gaussian_kl of strided tensors")
    assert np.array_equal(torch.cat((mean, log_variance), 1), np.hstack([MU, LAMBDA])), "the arguments were changed"
    mean += 1
    assert_close(
        vae.gaussian_kl(mean, log_variance), price(MU + 1, LAMBDA), what="gaussian_kl after its tensor changed"
    )


def test_gaussian_kl_refuses_shapes_that_differ_and_nan():
    right = {"mean": tensor(MU), "log_variance": tensor(LAMBDA)}
    bad = [
        ("mean", tensor(np.where(MU == 0.3, NAN, MU)), NAN),
        ("log_variance", tensor(np.where(MU == 0.3, NAN, LAMBDA)), NAN),
        ("log_variance", tensor(LAMBDA[0]), "(2,)"),
        ("log_variance", tensor(LAMBDA[:, :1]), "(4, 1)"),
        ("mean", tensor(MU[:1]), "(1, 2)"),
    ]
    refused(vae.gaussian_kl, bad, **right)


# Codes


@pytest.mark.claim("prop-reparameterised-code")
def test_latents_follow_their_law(generator):
    """(z − μ)/σ follows N(0, 1) for each row and latent of its own, and is Gaussian at every place."""
    mean, log_variance = tensor([[0.5, -3.0], [10.0, 0.0]]), tensor([[-2.0, 1.0], [0.6, -1.0]])
    z = vae.latents(mean, log_variance, 20_000, generator)
    standard = array((z - mean[:, None]) / (log_variance / 2).exp()[:, None])
    wrong = np.exp(array(log_variance) / 2)
    for row, latent in itertools.product(range(2), range(2)):
        scale = wrong[row, latent]
        hints = {
            "the log-variance is read as a log-standard deviation": stats.norm(0, scale).cdf,
            "the log-variance is read as a variance or not used at all": stats.norm(0, 1 / scale).cdf,
            "the sign of the log-variance is reversed": stats.norm(0, scale**-2).cdf,
        }
        assert_distribution(standard[row, :, latent], stats.norm.cdf, detects=0.03, hints=hints)
    far, chance = int((np.abs(standard) > 3).sum()), 2 * stats.norm.sf(3)
    hints = {"no noise is beyond 3: is it clamped or truncated?": 0.0}
    assert_proportion(far, standard.size, chance, detects=0.0015, hints=hints)
    exact = vae.latents(torch.zeros(1, 3).double(), torch.zeros(1, 3).double(), 100, generator)
    assert not torch.equal(exact, exact.float().double()), "codes of float64 have noise of float32"


def test_latents_have_noise_of_their_own(generator):
    """The noises of two rows, of two samples and of two latents have mean product 0; where shared it would be 1."""
    mean, log_variance = torch.zeros(6000, 2).double(), torch.zeros(6000, 2).double()
    noise = array(vae.latents(mean, log_variance, 2, generator))
    pairs = {
        "the rows": (noise[::2, 0, 0], noise[1::2, 0, 0]),
        "the halves of the batch": (noise[:3000, 0, 0], noise[3000:, 0, 0]),
        "the samples": (noise[:, 0, 1], noise[:, 1, 1]),
        "the latents": (noise[:, 0, 0], noise[:, 0, 1]),
    }
    for name, (one, two) in pairs.items():
        assert not np.array_equal(one, two), f"the noise is shared by {name}"
        assert_mean(one * two, 0.0, detects=0.2, hints={f"the noise is partly shared by {name}": 0.5})


def test_latents_with_a_generator(generator):
    """The same seed gives the same codes, another gives others; nothing global is drawn from; samples come in order."""
    mean, log_variance = tensor(MU), tensor(LAMBDA)
    assert_same_dice(lambda dice: vae.latents(mean, log_variance, 3, dice).numpy(), "latents")
    assert np.array_equal(torch.cat((mean, log_variance), 1), np.hstack([MU, LAMBDA])), "the arguments were changed"
    for rows, samples in ((1, 1), (4, 1), (1, 5), (4, 7)):
        z = vae.latents(mean[:rows].float(), log_variance[:rows].float(), samples, generator)
        got = (tuple(z.shape), z.dtype)
        assert got == ((rows, samples, 2), torch.float32), f"got {got}"
    narrow = vae.latents(mean, torch.full((4, 2), -80.0).double(), 3, generator)
    want = np.broadcast_to(MU[:, None], (4, 3, 2))
    assert_close(narrow, want, rtol=0, atol=1e-14, what="latents of no variance: each row at its own mean")


@pytest.mark.claim("prop-reparameterised-code", kind="automatic differentiation")
def test_latents_carry_the_slopes_of_their_law():
    """∂h/∂μ = h′(z) and ∂h/∂λ = ½ h′(z) σ ε for h = sin, with the ε that the draw itself shows."""
    mean, log_variance = tensor(MU).requires_grad_(), tensor(LAMBDA).requires_grad_()
    z = vae.latents(mean, log_variance, 1, seeded(3))
    assert z.requires_grad, "latents have no slope: are they detached from the mean and the log-variance?"
    got = torch.autograd.grad(z.sin().sum(), (mean, log_variance), allow_unused=True)
    for name, slope in zip(("mean", "log-variance"), got, strict=True):
        assert slope is not None, f"latents have no slope in the {name}: is it detached?"
    z = array(z)[:, 0]
    apart = z - MU  # σ ε
    assert_close(got[0], np.cos(z), rtol=SHARP, what="the slope in the mean", mistakes={"is it 0?": 0 * z})
    mistakes = {
        "is the ½ of the log-variance missing, as for a log-standard deviation?": np.cos(z) * apart,
        "is it the slope in the standard deviation?": np.cos(z) * apart / np.exp(LAMBDA / 2),
    }
    assert_close(got[1], np.cos(z) * apart / 2, rtol=1e-9, what="the slope in the log-variance", mistakes=mistakes)


@pytest.mark.claim("prop-reparameterised-code")
def test_latents_have_slopes_whose_mean_is_the_slope_of_the_mean(generator):
    """E sin z = sin μ e^{−v/2}, so the slopes have the means cos μ e^{−v/2} and −½ v sin μ e^{−v/2}."""
    n, m, lam = 20_000, 0.8, 0.3
    mean, log_variance = torch.full((n, 1), m).double(), torch.full((n, 1), lam).double()
    z = vae.latents(mean.requires_grad_(), log_variance.requires_grad_(), 1, generator)
    slopes = torch.cat(torch.autograd.grad(z.sin().sum(), (mean, log_variance)), 1)
    v = math.exp(lam)
    fade = math.exp(-v / 2)
    want = np.array([math.cos(m) * fade, -v / 2 * math.sin(m) * fade])
    double = want * [1, 2]
    hints = {"the ½ of the log-variance is missing": double}
    assert_unbiased(slopes, want, detects=0.05, hints=hints)


def test_latents_refuse_no_samples():
    for samples in (0, -1, 1.5):
        call = partial(vae.latents, tensor(MU), tensor(LAMBDA))
        call.__name__ = "latents"
        assert_refused(call, samples=samples, argument="samples", value=samples)


# The bound


def test_log_ratio_is_the_sum_of_its_three_logarithms():
    """log p(x | z) + log p(z) − log q(z | x) with scipy's normals, at codes that no q drew."""
    z = np.array([[[0.5, -1.0], [2.0, 0.0], [-7.0, 30.0]]] * 4) + np.arange(4)[:, None, None]
    likelihood = (AMPLITUDES[:, None] * np.sin(z)).sum(-1) * 1.7
    prior = stats.norm.logpdf(z).sum(-1)
    std = np.exp(LAMBDA / 2)[:, None]
    log_q = stats.norm.logpdf(z, MU[:, None], std).sum(-1)
    right = likelihood + prior - log_q
    mistakes = {
        "is the prior log p(z) forgotten?": likelihood - log_q,
        "is log q forgotten?": likelihood + prior,
        "is log q added, not subtracted?": likelihood + prior + log_q,
        "is log 2π missing in one of the two?": right + LOG_2PI,
        "is the log-variance read as a log-standard deviation?": likelihood
        + prior
        - stats.norm.logpdf(z, MU[:, None], std**2).sum(-1),
        "is it the ratio of p(z) and q alone?": prior - log_q,
    }
    got = vae.log_ratio(Waves(1.7), tensor(WAVES), tensor(z), tensor(MU), tensor(LAMBDA))
    assert_close(got, right, rtol=SHARP, what="log_ratio", mistakes=mistakes)


def draws_of(estimator, seed, x=WAVES, height=1.0):
    """Values of `elbo`, their slopes in (mean, log-variance), that in the height, and the ε that the decoder saw."""
    x, model = tensor(x).requires_grad_(), Waves(height)
    values = vae.elbo(model, x, estimator, seeded(seed))
    slopes = torch.autograd.grad(values.sum(), x, retain_graph=True)[0]
    in_height = torch.autograd.grad(values.sum(), model.parameters(), allow_unused=True)[0]
    in_height = np.nan if in_height is None else in_height.item()
    return array(values), array(slopes)[:, :4], in_height, (model.seen - MU) / np.exp(LAMBDA / 2)


def dice_of(seed):
    """The ε of a seed, as the difference of path and total shows them: it is (ε/σ, …)."""
    difference = draws_of("path", seed)[1] - draws_of("total", seed)[1]
    return difference[:, :2] * np.exp(LAMBDA / 2), difference


@pytest.mark.claim("thm-three-estimators", kind="automatic differentiation")
def test_elbo_total_and_path_differ_by_the_score():
    """Draw by draw total = path − s with s = (ε/σ, ½(ε² − 1)) for one and the same ε, which is not 0."""
    for seed in range(3):
        e, difference = dice_of(seed)
        hint = 'the gradients of "total" and "path" are the same: is the score left in, or taken from both?'
        assert np.abs(e).min() > 0, hint
        want = (e**2 - 1) / 2
        mistakes = {
            "is it that of a log-standard deviation, ε² − 1?": e**2 - 1,
            "is the mean detached and the log-variance not?": np.zeros_like(want),
        }
        assert_close(difference[:, 2:], want, rtol=1e-8, atol=1e-10, what="path − total in λ", mistakes=mistakes)


@pytest.mark.claim("thm-three-estimators", kind="automatic differentiation")
@estimators
def test_elbo_has_the_values_and_slopes_of_its_draw(estimator):
    """With z = μ + σε, the value and both slopes of log p(x | z) = h Σ a sin z are what one gets by hand."""
    for seed in range(3):
        got, slope, _, e = draws_of(estimator, seed)
        v, height = np.exp(LAMBDA), 1.0
        z = MU + np.sqrt(v) * e
        likelihood = height * (AMPLITUDES * np.sin(z)).sum(1)
        steep = AMPLITUDES * np.cos(z)
        ratio = likelihood + (stats.norm.logpdf(z) - stats.norm.logpdf(z, MU, np.sqrt(v))).sum(1)
        exact = likelihood - price(MU, LAMBDA)
        value = exact if estimator == "analytic_kl" else ratio
        slopes = {
            "path": steep - z + e / np.sqrt(v),
            "total": steep - z,
            "analytic_kl": steep,
        }

        def in_both(name, slopes=slopes, e=e, v=v):
            slope = slopes[name]
            second = slope * np.sqrt(v) * e / 2
            if name == "analytic_kl":
                return np.hstack([slope - MU, second - (v - 1) / 2])
            return np.hstack([slope, second + (name == "total") / 2])

        mistakes = {
            "is it the analytic KL under another name?": exact,
            "is it log p(x, z) − log q(z | x) under another name?": ratio,
            "is the KL, a price, added?": 2 * likelihood - exact,
            "is the KL summed over all rows?": likelihood - price(MU, LAMBDA).sum(),
            "is the KL averaged over the latents?": likelihood - price(MU, LAMBDA) / 2,
            "is it the negative ELBO, a loss?": -value,
            "is the KL forgotten?": likelihood,
        }
        assert_close(got, value, rtol=1e-8, atol=1e-9, what=f'elbo, "{estimator}"', mistakes=mistakes)
        names = {
            "total": "is the score still in it: are q's parameters within log q not held?",
            "path": "is the score taken out of it?",
            "analytic_kl": "is the KL taken analytically?",
        }
        mistakes = {sentence: in_both(name) for name, sentence in names.items() if name != estimator}
        mistakes |= {
            "are the draws detached too: is no path through z left?": np.hstack([0 * e, 0 * e])
            if estimator == "path"
            else np.hstack([-e / np.sqrt(v), -(e**2 - 1) / 2])
            if estimator == "total"
            else np.hstack([-MU, -(v - 1) / 2])
        }
        what = f'the gradient of elbo, "{estimator}"'
        assert_close(slope, in_both(estimator), rtol=1e-8, atol=1e-9, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-three-estimators", kind="automatic differentiation")
def test_elbo_has_one_slope_in_the_decoder():
    """Draw by draw the slope in the decoder's height is Σ a sin z, for all three estimators."""
    for seed in range(3):
        for name in NAMES:
            _, _, got, e = draws_of(name, seed)
            want = (AMPLITUDES * np.sin(MU + np.exp(LAMBDA / 2) * e)).sum()
            assert_close(got, want, rtol=1e-8, atol=1e-9, what=f'the slope of elbo in the decoder, "{name}"')


@estimators
def test_elbo_is_unbiased(estimator, generator):
    """Over 6000 draws the mean of a linear-Gaussian model's bound is the one by quadrature, q wrong in every way."""
    n = 6000
    mean, log_variance = X @ A.T + C, L
    x = np.repeat(X[:2], n, axis=0)
    want = np.array([linear_elbo(row, m, log_variance) for row, m in zip(X[:2], mean[:2], strict=True)])
    values = array(vae.elbo(general(), x, estimator, generator)).reshape(2, n)
    kl = price(mean[:2], np.broadcast_to(L, (2, 2)))
    hints = {
        "the KL is added where it is a price": want + 2 * kl,
        "the KL, or what stands for it, is forgotten": want + kl,
        "it is the log-evidence, not the bound": evidence(X[:2]),
    }
    assert_unbiased(values.T, want, detects=0.5, hints=hints)


@estimators
def test_elbo_holds_for_codes_of_little_and_of_great_noise(estimator):
    """Log-variances of −24 and 12 are used as they are; the draw itself shows its noise."""
    model, lam = Waves(), np.array([[-24.0, 12.0], [12.0, -24.0]])
    x = np.hstack([MU[[0, 3]], lam, np.zeros((2, 2))])
    got = array(vae.elbo(model, tensor(x), estimator, seeded(1)))
    z = model.seen

    def value(lam):
        if estimator == "analytic_kl":
            return -price(MU[[0, 3]], lam)
        return ((z - MU[[0, 3]]) ** 2 * np.exp(-lam) + lam - z**2).sum(1) / 2

    mistakes = {"is the log-variance clamped?": value(lam.clip(-10, 10)), "clamped at ±20?": value(lam.clip(-20, 20))}
    what = f'elbo, "{estimator}", far out'
    assert_close(got, value(lam), rtol=1e-6, what=what, mistakes=mistakes)


def test_elbo_is_by_default_the_analytic_one():
    """Without a name it is "analytic_kl": the same value for the same generator."""
    assert_close(vae.elbo(Waves(), tensor(WAVES), generator=seeded(4)), draws_of("analytic_kl", 4)[0], what="elbo")


def test_elbo_with_a_generator():
    """The same seed gives the same value, another another; nothing global is drawn from; rows have own dice."""
    model = two_latents()
    assert_same_dice(lambda dice: array(vae.elbo(model, BLACK, "total", dice)), "elbo")
    same = array(vae.elbo(model, np.repeat(BLACK[:1], 5, axis=0), "analytic_kl", seeded(1)))
    assert len(set(same.round(9))) == 5, "five equal images get equal values: is the noise shared by the rows?"


def test_elbo_takes_images_of_all_kinds():
    """Integers, float32, read-only, strided and reversed arrays, tensors, squares, one row: the same value."""
    model = affine_vae(SLOPES[[0, 1, 2, 3]], OFFSETS[:4], GUESS[:, :4], GUESS_BIAS)
    x = BLACK[:, :4].copy()
    want = array(vae.elbo(model, x, generator=seeded(1)))
    x.flags.writeable = False
    kinds = {
        "integers": x.astype(int),
        "booleans": x.astype(bool),
        "bytes": x.astype(np.uint8),
        "float32": x.astype(np.float32),
        "read-only": x,
        "strided": np.repeat(x, 2, axis=1)[:, ::2],
        "negative strides": np.ascontiguousarray(x[:, ::-1])[:, ::-1],
        "squares": x.reshape(-1, 2, 2),
        "float32 tensors": torch.tensor(x.copy()).float(),
    }
    for name, value in kinds.items():
        before = np.array(value.tolist())
        assert_close(vae.elbo(model, value, generator=seeded(1)), want, rtol=1e-9, what=f"elbo of {name}")
        assert np.array_equal(value.tolist(), before), f"elbo changed its {name}"
    sure = affine_vae(SLOPES[:4], OFFSETS[:4], GUESS[:, :4] * [[1], [1], [0], [0]], [0.1, -0.3, -80, -80])
    rows = array(vae.elbo(sure, x))  # whose codes have no noise, so that no order of drawing it matters
    assert_close(vae.elbo(sure, x[:1]), rows[:1], rtol=1e-9, what="elbo of one row")
    y = x.copy()
    vae.elbo(model, y, generator=seeded(1))
    y[:] = 1 - y
    got = vae.elbo(model, y, generator=seeded(1))
    assert_close(got, array(vae.elbo(model, 1 - x, generator=seeded(1))), what="elbo after its array changed")


def test_elbo_refuses_bad_images_and_names():
    """NaN, pixels below 0 or above 1, other sizes, none, a name that is none: each is named."""
    bad = [*BAD_IMAGES, ("estimator", "stl", "'stl'"), ("estimator", "kl", "'kl'")]
    refused(vae.elbo, bad, model=two_latents(), x=BLACK, estimator="path")


@pytest.mark.claim("prop-elbo-two-terms")
def test_the_two_terms_of_the_elbo_are_its_definition():
    """exact_elbo, the two terms, is E_q[log p(x, z) − log q(z)] by quadrature, and log p(x) − KL(q ‖ posterior)."""
    got = array(general().exact_elbo(X))
    mean, (centre, covariance) = X @ A.T + C, posterior(X)
    want = [linear_elbo(x, m, L) for x, m in zip(X, mean, strict=True)]
    spread = (W**2).sum(0) * np.exp(L)
    mistakes = {
        "is the spread of z left out of the reconstruction, as if it were at q's mean?": want + spread.sum() / 2 / TAU,
        "is the KL forgotten?": want + price(mean, np.broadcast_to(L, mean.shape)),
        "is the KL added?": want + 2 * price(mean, np.broadcast_to(L, mean.shape)),
        "is it log p(x)?": evidence(X),
        "is the log-variance read as a log-standard deviation?": [
            linear_elbo(x, m, 2 * L) for x, m in zip(X, mean, strict=True)
        ],
    }
    assert_close(got, want, rtol=1e-9, what="exact_elbo", mistakes=mistakes)
    q = [torch.distributions.MultivariateNormal(tensor(m), torch.diag(tensor(np.exp(L)))) for m in mean]
    p = [torch.distributions.MultivariateNormal(tensor(m), tensor(covariance)) for m in centre]
    gap = [float(torch.distributions.kl_divergence(a, b)) for a, b in zip(q, p, strict=True)]
    assert_close(evidence(X) - gap, want, rtol=1e-9, what="log p(x) − KL(q ‖ posterior)")


@pytest.mark.claim("prop-elbo-two-terms")
def test_the_two_terms_of_the_elbo_hold_for_thrown_pixels(generator):
    """For a Bernoulli decoder the two terms and the one agree by quadrature; `elbo` has that mean."""
    mean, log_variance = guess(BLACK)
    e, weights = hermite(2, 41)
    for x, m, lam in zip(BLACK, mean, log_variance, strict=True):
        z = m + np.exp(lam / 2) * e
        ratio = log_bernoulli(x, z, SLOPES, OFFSETS) + stats.norm.logpdf(z).sum(1)
        ratio -= stats.norm.logpdf(z, m, np.exp(lam / 2)).sum(1)
        assert_close(weights @ ratio, bernoulli_elbo(x, m, lam, SLOPES, OFFSETS), what="the ELBO as one mean")
    want = [bernoulli_elbo(*row, SLOPES, OFFSETS) for row in zip(BLACK, mean, log_variance, strict=True)]
    values = vae.elbo(two_latents(), np.repeat(BLACK, 4000, axis=0), "total", generator)
    assert_unbiased(array(values).reshape(4, 4000).T, want, detects=0.5)


def test_mean_elbo_is_unbiased_for_any_number_of_samples(generator):
    """The mean over 8000 averages of two draws is the exact bound; a log-mean-exp of them lies above it."""
    x = np.repeat(X[:1], 8000, axis=0)
    mean = X[0] @ A.T + C
    want = linear_elbo(X[0], mean, L)
    dice = np.random.default_rng(0).standard_normal((200_000, 2, 2))
    z = mean + np.exp(L / 2) * dice
    fit = stats.norm.logpdf(X[0], z @ W.T + B, math.sqrt(TAU)).sum(-1) - price(mean, L)
    hints = {
        "it is a log-mean-exp, where the mean was asked for": (special.logsumexp(fit, axis=1) - math.log(2)).mean(),
        "it is a sum over the draws": 2 * want,
        "the KL is forgotten": want + price(mean, L),
    }
    got = vae.mean_elbo(general(), x, 2, generator)
    assert_mean(array(got), want, detects=0.3, hints=hints)


def test_mean_elbo_has_the_error_of_so_many_draws(generator):
    """The variance of an average over s independent draws is an s-th of that of one: s = 1, 16, and by default 100."""
    mean, std = X[0] @ A.T + C, np.exp(L / 2)
    e, weights = hermite(2, 6)
    fit = stats.norm.logpdf(X[0], (mean + std * e) @ W.T + B, math.sqrt(TAU)).sum(1)
    variance = weights @ fit**2 - (weights @ fit) ** 2
    for samples in (1, 16, 100):
        given = {} if samples == 100 else {"samples": samples}
        x = np.repeat(X[:1], 12_000 // samples + 6000, axis=0)
        got = vae.mean_elbo(general(), x, generator=generator, **given)
        hints = {"only one draw is taken, or one shared by all": variance}
        assert_variance(array(got), variance / samples, detects=0.6, hints=hints if samples > 1 else None)


def test_mean_elbo_of_more_draws_than_fit_at_once(generator):
    """40,000 draws for each of three rows: the exact bound within the stated error, rows in order, no graph."""
    x = X[[0, 2, 3]]
    want = array(general().exact_elbo(x))
    got = vae.mean_elbo(general(), x, 40_000, generator)
    assert not got.requires_grad, "mean_elbo keeps a graph: it is for looking, not for learning"
    e, weights = hermite(2, 6)
    for row, value in enumerate(got):
        fit = stats.norm.logpdf(x[row], (x[row] @ A.T + C + np.exp(L / 2) * e) @ W.T + B, math.sqrt(TAU)).sum(1)
        error = math.sqrt((weights @ fit**2 - (weights @ fit) ** 2) / 40_000)
        # Seven standard errors of a mean of 40,000: a right answer is further off once in 1e11 runs.
        assert_close(value, want[row], rtol=0, atol=7 * error, what=f"mean_elbo of row {row}")


def test_mean_elbo_with_a_generator():
    assert_same_dice(lambda dice: vae.mean_elbo(two_latents(), BLACK, 5, dice).numpy(), "mean_elbo")
    same = vae.mean_elbo(two_latents(), np.repeat(BLACK[:1], 5, axis=0), 3, seeded(1)).numpy()
    assert len(set(same.round(9))) == 5, "five equal images get equal values: is the noise shared by the rows?"


def test_mean_elbo_refuses_bad_images_and_no_samples():
    bad = [*BAD_IMAGES, ("samples", 0, 0), ("samples", -3, -3), ("samples", 2.5, 2.5)]
    refused(vae.mean_elbo, bad, model=two_latents(), x=BLACK, samples=2)


# Gradients, draw by draw


def linear_slopes(z, estimator, mean, log_variance, x):
    """By hand, one draw's gradient in (mean, log-variance) of the model (W, B, TAU) at codes z (draws, k)."""
    v, e_std = np.exp(log_variance), z - mean
    from_pixels = (x - B - z @ W.T) @ W / TAU
    slope = {"analytic_kl": from_pixels, "total": from_pixels - z, "path": from_pixels - z + e_std / v}[estimator]
    second = slope * e_std / 2
    if estimator == "analytic_kl":
        return np.hstack([slope - mean, second - (v - 1) / 2])
    return np.hstack([slope, second + (estimator == "total") / 2])


@estimators
def test_latent_gradients_are_those_of_one_draw_each(estimator, generator):
    """The slope in the mean is linear in ε and so shows it; the other follows from this ε, which is N(0, I)."""
    draws, model, noises = 6000, general(), []
    got = array(vae.latent_gradients(model, X[:2], estimator, draws, generator))
    assert got.shape == (2, draws, 4), f"got shape {got.shape}, not (batch, draws, 2k) = (2, {draws}, 4)"
    for row, x in enumerate(X[:2]):
        mean, std = x @ A.T + C, np.exp(L / 2)

        def by_mean(e, x=x, mean=mean, std=std):
            return linear_slopes(mean + std * e, estimator, mean, L, x)[:, :2]

        constant = by_mean(np.zeros((1, 2)))
        slope = by_mean(np.eye(2)) - constant
        e = np.linalg.solve(slope.T, (got[row, :, :2] - constant).T).T
        want = linear_slopes(mean + std * e, estimator, mean, L, x)[:, 2:]
        second = got[row, :, 2:]
        free = {"total": 0.5, "path": 0.0, "analytic_kl": (1 - np.exp(L)) / 2}[estimator]
        mistakes = {
            "is it the slope in the log-standard deviation?": 2 * want,
            "is the ½ of the log-variance missing?": 2 * (want - free) + free,
            "are mean and log-variance exchanged?": linear_slopes(mean + std * e, estimator, mean, L, x)[:, :2],
        }
        what = f'the slopes in λ, "{estimator}"'
        assert_close(second, want, rtol=1e-7, atol=1e-8, what=what, mistakes=mistakes)
        for latent in range(2):
            assert_distribution(e[:, latent], stats.norm.cdf, detects=0.06)
        hints = {"draws share their noise": 1.0, "one draw has another's noise, reversed": -1.0}
        assert_mean(e[::2, 0] * e[1::2, 0], 0.0, detects=0.2, hints=hints)
        assert_mean(e[:3000, 0] * e[3000:, 0], 0.0, detects=0.2, hints=hints)
        noises.append(e[:, 0])
    assert_mean(np.multiply(*noises), 0.0, detects=0.15, hints={"the rows share their noise": 1.0})


@pytest.mark.claim("thm-three-estimators")
@estimators
def test_latent_gradients_have_the_mean_of_the_exact_slope(estimator, generator):
    """Of Σ a sin z the ELBO has a slope in closed form: E sin z = sin μ e^{−v/2}. All three have that mean."""
    got = array(vae.latent_gradients(Waves(), tensor(WAVES[[0, 3]]), estimator, 8000, generator))
    mean, log_variance, amplitude = np.split(WAVES[[0, 3]], 3, axis=1)
    want = waves_slope(mean, log_variance, amplitude)
    half = np.array([1, 1, 2, 2])
    for row, rows in enumerate(got):
        without = want[row] - np.concatenate([-mean[row], (1 - np.exp(log_variance[row])) / 2])
        hints = {
            "it is the gradient of the loss, −ELBO": -want[row],
            "mean and log-variance are exchanged": want[row][[2, 3, 0, 1]],
            "the ½ of the log-variance is missing": want[row] * half,
            "the KL has no slope: are q's parameters detached in it": without,
            "log q(z | x) has no slope at all": want[row] - [0, 0, 0.5, 0.5],
        }
        # The slopes in the mean spread by up to 1/σ + |a|, 3 here: with 8000 draws 0.3 is seen.
        assert_unbiased(rows, want[row], detects=0.35, hints=hints)


def test_latent_gradients_with_a_generator():
    model = general()
    before = weights_of(model)

    def call(dice):
        return array(vae.latent_gradients(model, X, "total", 2, dice))

    assert_same_dice(call, "latent_gradients")
    assert np.array_equal(weights_of(model), before), "the model was changed"
    assert all(p.grad is None for p in model.parameters()), "gradients were left in the model's weights"
    score = call(seeded(3)) - array(vae.latent_gradients(model, X, "path", 2, seeded(3)))
    e = -score[..., :2] * np.exp(L / 2)
    assert_close(score[..., 2:], -(e**2 - 1) / 2, rtol=1e-7, atol=1e-9, what="total − path, from the same dice")
    one = np.repeat(X[:1], 3, axis=0)
    same = array(vae.latent_gradients(model, one, "total", 1, seeded(3)))[:, 0, 0]
    assert len(set(same.round(9))) == 3, "equal rows get equal slopes: is the noise shared by the rows?"


def test_latent_gradients_refuse_bad_images_names_and_draws():
    bad = [*BAD_IMAGES, ("estimator", "score", "'score'"), ("draws", 0, 0), ("draws", -1, -1)]
    refused(vae.latent_gradients, bad, model=two_latents(), x=BLACK, estimator="path", draws=2)


def exact_weight_slopes(x):
    """The gradient of the mean ELBO in the weights of the affine encoder, by quadrature and torch."""
    weight, bias = tensor(GUESS).requires_grad_(), tensor(GUESS_BIAS).requires_grad_()
    mean, log_variance = (tensor(x) @ weight.T + bias).chunk(2, 1)
    e, weights = hermite(2, 31)
    z = mean[:, None] + (log_variance / 2).exp()[:, None] * tensor(e)
    logits = z @ tensor(SLOPES).T + tensor(OFFSETS)
    losses = nn.functional.binary_cross_entropy_with_logits(
        logits, tensor(x)[:, None].expand_as(logits), reduction="none"
    )
    fit = -losses.sum(-1) @ tensor(weights)
    bound = fit - (log_variance.exp() + mean**2 - 1 - log_variance).sum(1) / 2
    slopes = torch.autograd.grad(bound.mean(), (weight, bias))
    return np.concatenate([array(slope).ravel() for slope in slopes])


@pytest.mark.claim("thm-three-estimators")
@estimators
def test_weight_gradients_are_unbiased(estimator, generator):
    """In the weights of an affine encoder the mean of 300 is the exact slope, by quadrature over two latents."""
    want = exact_weight_slopes(BLACK)
    got = vae.weight_gradients(two_latents(), BLACK, estimator, 300, generator)
    assert got.shape == (300, 28), f"got shape {tuple(got.shape)}, not (draws, weights) = (300, 28)"
    hints = {
        "it is the gradient of the sum over the images, not of their mean": 4 * want,
        "it is the gradient of the loss, −ELBO": -want,
    }
    # Spreads are at most about 1 for an average of four images.
    assert_unbiased(got, want, detects=0.7, hints=hints)


def test_weight_gradients_are_the_latent_ones_times_the_jacobian():
    """For one image and an affine encoder each is (g ⊗ x, g): its outer product with the image, and itself."""
    x = BLACK[:1]
    got = array(vae.weight_gradients(two_latents(), x, "total", 5, seeded(2)))
    g = got[:, 24:]
    want = (g[:, :, None] * x[0]).reshape(5, 24)
    assert_close(got[:, :24], want, rtol=SHARP, atol=1e-12, what="the slopes in the encoder's weights")
    assert len(set(g[:, 0].round(9))) == 5, "the draws of weight_gradients are equal: is the noise drawn once?"
    score = array(vae.weight_gradients(two_latents(), x, "path", 5, seeded(2)))[:, 24:] - g
    std = np.exp(guess(x)[1][0] / 2)
    e = score[:, :2] * std
    assert_close(score[:, 2:], (e**2 - 1) / 2, rtol=1e-7, atol=1e-9, what="path − total, from the same dice")


def test_weight_gradients_with_a_generator():
    model = two_latents()
    assert_same_dice(lambda dice: array(vae.weight_gradients(model, BLACK, "path", 2, dice)), "weight_gradients")
    assert all(p.grad is None for p in model.parameters()), "gradients were left in the model's weights"


def test_weight_gradients_refuse_bad_images_names_and_draws():
    bad = [*BAD_IMAGES, ("estimator", "score", "'score'"), ("draws", 0, 0), ("draws", 1.5, 1.5)]
    refused(vae.weight_gradients, bad, model=two_latents(), x=BLACK, estimator="path", draws=2)


@pytest.mark.claim("thm-stick")
def test_latent_gradients_stick_the_landing():
    """At the posterior the path's slopes are 0 and the values log p(x), draw by draw; the total's are −s."""
    model = vae.LinearGaussian.at_the_posterior(ORTHOGONAL, B, TAU)
    path = array(vae.latent_gradients(model, X, "path", 50, seeded(1)))
    score = -array(vae.latent_gradients(model, X, "total", 50, seeded(1)))
    hint = "is the score left in it? Hold q's parameters within log q"
    mistakes = {hint: -score, "is it the score itself?": score}
    assert_close(path, np.zeros_like(path), atol=1e-11, what="the path's slopes at the posterior", mistakes=mistakes)
    v = np.diag(posterior(X, ORTHOGONAL)[1])
    e = score[..., :2] * np.sqrt(v)
    assert_close(score[..., 2:], (e**2 - 1) / 2, rtol=1e-8, atol=1e-9, what="−total in λ at the posterior")
    for name in ("total", "path"):
        for seed in range(3):
            got = array(vae.elbo(model, X, name, seeded(seed)))
            mistakes = {
                "is it the analytic KL under another name?": array(vae.elbo(model, X, "analytic_kl", seeded(seed)))
            }
            what = f'elbo, "{name}", at the posterior'
            assert_close(got, evidence(X, ORTHOGONAL), rtol=1e-9, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-stick")
def test_latent_gradients_at_the_posterior_have_the_variance_of_the_score(generator):
    """The total's variance is 1/v in μ and ½ in λ; in the log-standard deviation it would be 2."""
    model = vae.LinearGaussian.at_the_posterior(ORTHOGONAL, B, TAU)
    got = array(vae.latent_gradients(model, X[:1], "total", 40_000, generator))[0]
    v = np.diag(posterior(X, ORTHOGONAL)[1])
    for column, want in enumerate((*1 / v, 0.5, 0.5)):
        hints = {"it is the slope in the log-standard deviation": 2.0} if column > 1 else {"it is v, not 1/v": 1 / want}
        assert_variance(got[:, column], want, detects=0.5, hints=hints)


# One latent, where all is known


ONES = {  # mean, variance, w, noise, offset; x
    "the trap": ((0.75, 0.4, [1.0], 1.0, [0.0]), [1.5]),
    "at the posterior": ((0.75, 0.5, [1.0], 1.0, [0.0]), [1.5]),
    "narrow": ((0.75, 0.1, [1.0], 1.0, [0.0]), [1.5]),
    "three pixels": ((-0.6, 1.7, [0.5, -2.0, 0.3], 0.4, [1.0, 0.0, -0.5]), [0.2, 1.0, -1.5]),
    "a weak code": ((2.0, 0.9, [0.1, 0.2], 3.0, [0.0, 4.0]), [-5.0, 6.0]),
}


@cache
def symbolic_moments(estimator):
    """Mean and variance of one draw's slopes in (m, log v) by sympy: E ε, ε², ε³, ε⁴ = 0, 1, 0, 3."""
    m, lam, e, a, r = sympy.symbols("m lambda epsilon a r", real=True)
    sigma = sympy.exp(lam / 2)
    z, held_m, held_lam = sympy.symbols("z m_0 lambda_0", real=True)
    likelihood = -a * (z - r) ** 2 / 2
    draw = {z: m + sigma * e}
    log_q = -held_lam / 2 - (z - held_m) ** 2 * sympy.exp(-held_lam) / 2
    if estimator == "analytic_kl":
        value = likelihood.subs(draw) - (sympy.exp(lam) + m**2 - 1 - lam) / 2
    else:
        value = (likelihood - z**2 / 2 - log_q).subs(draw)
    here = {held_m: m, held_lam: lam}
    if estimator == "total":
        value = value.subs(here)
    results = []
    for coordinate in (m, lam):
        slope = sympy.Poly(sympy.expand(value.diff(coordinate).subs(here)), e)

        def mean_of(poly):
            return sum(c * {0: 1, 2: 1, 4: 3}.get(power[0], 0) for power, c in poly.terms())

        mean = mean_of(slope)
        results += [mean, sympy.simplify(mean_of(slope * slope) - mean**2)]
    return (m, lam, a, r), results


def stated_moments(estimator, m, v, a, r):
    """The table of the theorem."""
    p = 1 + a
    delta, u = m - a * r / p, m - r
    mean = (-p * delta, (1 - p * v) / 2)
    variance = {
        "total": (p**2 * v, p**2 * delta**2 * v / 4 + p**2 * v**2 / 2),
        "path": ((p * v - 1) ** 2 / v, p**2 * delta**2 * v / 4 + (p * v - 1) ** 2 / 2),
        "analytic_kl": (a**2 * v, a**2 * u**2 * v / 4 + a**2 * v**2 / 2),
    }
    return mean, variance[estimator]


@pytest.mark.claim("thm-one-latent", kind="symbolic")
@estimators
def test_exact_gradient_table_by_algebra(estimator):
    """Means and variances in (μ, log v) are those of the slopes of the log-densities, as polynomials in ε."""
    (m, lam, a, r), (mean, variance, mean_lam, variance_lam) = symbolic_moments(estimator)
    stated = stated_moments(estimator, m, sympy.exp(lam), a, r)
    got = (mean, mean_lam, variance, variance_lam)
    for one, two in zip(got, (*stated[0], *stated[1]), strict=True):
        assert sympy.simplify(sympy.expand(one - two)) == 0


@pytest.mark.claim("thm-one-latent")
@estimators
def test_exact_gradient_is_that_of_the_slopes_of_a_draw(estimator):
    """Mean and variance of the hand-made slopes by Gauss's quadrature over ε, exact for polynomials; five problems."""
    e, weights = hermite(1, 6)
    for name, ((m, v, w, noise, offset), x) in ONES.items():
        w, offset, point, sigma = np.array(w), np.array(offset), np.array(x), math.sqrt(v)
        e_std = sigma * e[:, 0]
        z = m + e_std
        pixels = (point - offset - np.outer(z, w)) @ w / noise
        slope = {"analytic_kl": pixels, "total": pixels - z, "path": pixels - z + e_std / v}[estimator]
        second = slope * e_std / 2
        slopes = np.stack([slope - m * (estimator == "analytic_kl"), second], 1)
        slopes[:, 1] += {"analytic_kl": (1 - v) / 2, "total": 0.5, "path": 0.0}[estimator]
        mean = weights @ slopes
        variance = weights @ (slopes - mean) ** 2
        got = vae.exact_gradient(one_latent(m, v, w, noise, offset), point[None], estimator)
        a = w @ w / noise
        r = (point - offset) @ w / (w @ w)

        def wrong(*k, a=a, r=r, m=m, v=v):
            return np.array([stated_moments(estimator, m, *k)[1]])

        swapped = np.array([stated_moments(estimator, m, v, a + 1, r)[1]])

        def of(n, a=a, r=r, m=m, v=v):
            return np.array([stated_moments(n, m, v, a, r)[1]])

        p = 1 + a
        far = {"total": p, "path": p, "analytic_kl": a}[estimator]
        other = m - r if estimator != "analytic_kl" else m - a * r / p
        right = m - r if estimator == "analytic_kl" else m - a * r / p
        tilted = np.add(variance, [0, far**2 * v * (other**2 - right**2) / 4])
        mistakes = {
            "is it in the log-standard deviation, four times as large?": variance[None] * [1, 4],
            "is the precision a of the likelihood one too large: are a and P exchanged?": swapped,
            "are δ and u, the distances from the posterior's mean and the likelihood's, exchanged?": tilted[None],
            "is the wrong mean's part ¼P²δ²v left out?": (variance - [0, far**2 * v * right**2 / 4])[None],
            "is v a standard deviation here?": np.array([stated_moments(estimator, m, v**2, a, r)[1]]),
        }
        mistakes |= {f'is it the variance of "{n}"?': of(n) for n in NAMES if n != estimator}
        what = f'the mean of exact_gradient, "{estimator}", {name}'
        means = {
            "is it the gradient of the loss, −ELBO?": -mean[None],
            "is the second in the log-standard deviation?": mean[None] * [1, 2],
            "is it that of log p(x | z) alone: is the KL's part forgotten?": np.add(mean, [m, (v - 1) / 2])[None],
        }
        assert_close(got.mean, mean[None], rtol=1e-9, atol=1e-12, what=what, mistakes=means)
        what = f'the variance of exact_gradient, "{estimator}", {name}'
        assert_close(got.variance, variance[None], rtol=1e-9, atol=1e-12, what=what, mistakes=mistakes)


@pytest.mark.claim("thm-one-latent", kind="automatic differentiation")
def test_exact_gradient_has_the_slope_of_the_bound_as_its_mean():
    """torch's gradient of exact_elbo in q's shift and log-variance, at three points each."""
    for (m, v, w, noise, offset), x in ONES.values():
        for k in range(3):
            model = one_latent(m, v, w, noise, offset)
            point = np.array([x]) + k
            bound = model.exact_elbo(point).sum()
            slopes = torch.autograd.grad(bound, (model.shift, model.log_variance))
            want = np.concatenate([array(s) for s in slopes])[None]
            for name in NAMES:
                got = vae.exact_gradient(model, point, name).mean
                assert_close(got, want, rtol=1e-9, atol=1e-12, what=f'the mean of exact_gradient, "{name}"')


def test_exact_gradient_takes_many_points_and_an_encoder_that_looks():
    """Row by row it is what it is for the point alone, where q's mean is linear in x."""
    weight = np.array([[0.7], [-0.4]])
    model = vae.LinearGaussian(weight, [0.1, 0.2], 0.5, [[0.3, -0.9]], [0.2], [-0.7])
    x = np.array([[0.0, 1.0], [2.0, -1.0], [-3.0, 0.5]])
    for name in NAMES:
        got = vae.exact_gradient(model, x, name)
        for row, point in enumerate(x):
            m, v = 0.3 * point[0] - 0.9 * point[1] + 0.2, math.exp(-0.7)
            a = (weight**2).sum() / 0.5
            r = (point - [0.1, 0.2]) @ weight[:, 0] / (weight**2).sum()
            mean, variance = stated_moments(name, m, v, a, r)
            assert_close(got.mean[row], mean, rtol=1e-9, what="the mean of exact_gradient, row by row")
            assert_close(got.variance[row], variance, rtol=1e-9, what="the variance of exact_gradient, row by row")


@pytest.mark.claim("thm-one-latent")
@estimators
def test_latent_gradients_have_the_variance_of_the_table(estimator, generator):
    """Of 40,000 single draws, in μ and in log v, for N(−.6, 1.7) and three pixels."""
    (m, v, w, noise, offset), x = ONES["three pixels"]
    w, offset = np.array(w), np.array(offset)
    a, r = w @ w / noise, (np.array(x) - offset) @ w / (w @ w)
    got = array(vae.latent_gradients(one_latent(m, v, w, noise, offset), np.array([x]), estimator, 40_000, generator))[
        0
    ]
    mean, variance = stated_moments(estimator, m, v, a, r)
    for column in range(2):
        assert_variance(
            got[:, column],
            variance[column],
            detects=0.6,
            hints={
                f'it is the variance of "{n}"': stated_moments(n, m, v, a, r)[1][column]
                for n in NAMES
                if n != estimator
            },
        )
    assert_unbiased(got, np.array(mean), detects=4 * np.sqrt(np.array(variance)) / 25)


@pytest.mark.claim("thm-one-latent")
def test_exact_gradient_says_which_is_quieter():
    """Total beats path iff v < 1/(2P); in μ analytic always beats total, and path beats it iff 1/(1+2a) < v < 1."""
    for w, mean in itertools.product((0.3, 1.0, 2.5), (-1.0, 0.75, 4.0)):
        a = w**2 / 0.8
        border, low = 1 / (2 * (1 + a)), 1 / (1 + 2 * a)
        for v in (border * 0.99, border * 1.01, low * 0.99, low * 1.01, 0.99, 1.01, 0.01, 5.0):
            model = one_latent(mean, v, [w], 0.8)
            total, path, analytic = (
                array(vae.exact_gradient(model, np.array([[1.5]]), name).variance)[0]
                for name in ("total", "path", "analytic_kl")
            )
            assert ((total < path) == (v < border)).all(), f"total {total}, path {path} at v = {v}, 1/(2P) = {border}"
            assert analytic[0] < total[0], f"analytic {analytic}, total {total} in μ at v = {v}"
            assert (path[0] < analytic[0]) == (low < v < 1), f"path {path}, analytic {analytic} in μ at v = {v}"


@pytest.mark.claim("prop-path-or-total")
def test_exact_gradient_knows_the_counter_example():
    """q = N(¾, .4): Cov(path, s) = .5 > 0 is not above ½ Var s = 1.25: total has 1.6, path .1; at v = .1 it turns."""
    for v, covariance, half, total, path in (
        (0.4, 0.5, 1.25, 1.6, 0.1),
        (0.1, 8.0, 5.0, 0.4, 6.4),
        (0.5, 0.0, 1.0, 2.0, 0.0),
    ):
        e, weights = hermite(1, 4)
        z = 0.75 + math.sqrt(v) * e[:, 0]
        score = (z - 0.75) / v
        slope = (1.5 - z) - z + score
        centred = slope - weights @ slope
        assert_close(weights @ (centred * score), covariance, rtol=1e-9, atol=1e-12, what="Cov(path, s)")
        assert_close(weights @ score**2 / 2, half, rtol=1e-9, what="½ Var s")
        for name, want in (("total", total), ("path", path)):
            got = vae.exact_gradient(one_latent(0.75, v), np.array([[1.5]]), name).variance[0, 0]
            assert_close(got, want, rtol=1e-9, atol=1e-12, what=f'the variance of "{name}" in μ, v = {v}')
        assert (total < path) == (covariance > half)


@pytest.mark.claim("prop-path-or-total", kind="symbolic")
def test_the_variance_is_a_parabola_in_the_coefficient():
    """Var(g − cs) = Var g − 2c Cov + c² Var s: least at c* = Cov/Var s, symmetric; Var total < Var path iff c* > ½."""
    g, s = sympy.symbols("g s", real=True)
    c, d, var_g, cov = sympy.symbols("c d V K", real=True)
    var_s = sympy.Symbol("S", positive=True)
    expanded = sympy.Poly(sympy.expand((g - c * s) ** 2), g, s)
    moments = {(2, 0): var_g, (1, 1): cov, (0, 2): var_s}
    variance = sum(coefficient * moments[power] for power, coefficient in expanded.terms())
    best = sympy.solve(variance.diff(c), c)[0]
    assert sympy.simplify(best - cov / var_s) == 0
    assert variance.diff(c, 2).is_positive
    assert sympy.simplify(variance.subs(c, best + d) - variance.subs(c, best - d)) == 0
    assert sympy.simplify(variance.subs(c, 1) - variance.subs(c, 0) - 2 * var_s * (sympy.Rational(1, 2) - best)) == 0


@pytest.mark.claim("thm-one-latent")
@pytest.mark.claim("prop-path-or-total")
def test_exact_gradient_and_the_best_coefficient():
    """c* = Cov/Var s is 1 − Pv in both coordinates, by quadrature; Var total − Var path is Var s (1 − 2c*)."""
    e, weights = hermite(1, 6)
    for (m, v, w, noise, offset), x in ONES.values():
        p = 1 + np.dot(w, w) / noise
        centre = np.subtract(x, offset) @ np.array(w) / noise / p
        z = m + math.sqrt(v) * e[:, 0]
        slope = -p * (z - centre) + (z - m) / v
        slopes = np.stack([slope, slope * (z - m) / 2], 1)
        score = np.stack([(z - m) / v, ((z - m) ** 2 / v - 1) / 2], 1)
        best = weights @ ((slopes - weights @ slopes) * score) / (weights @ score**2)
        assert_close(best, [1 - p * v] * 2, rtol=1e-9, atol=1e-12, what="c*")
        model = one_latent(m, v, w, noise, offset)
        total, path = (vae.exact_gradient(model, np.array([x]), name).variance[0] for name in ("total", "path"))
        want = (weights @ score**2) * (1 - 2 * best)
        assert_close(total - path, want, rtol=1e-8, atol=1e-11, what="Var total − Var path")


def test_exact_gradient_refuses_two_latents_and_bad_names():
    bad = [
        ("estimator", "stl", "'stl'"),
        ("model", general(), 2),
        ("x", np.array([[NAN]]), NAN),
        ("x", np.zeros((2, 3)), 3),
    ]
    for argument, value, shown in bad:
        right = {"model": one_latent(0.0, 1.0), "x": np.array([[1.5]]), "estimator": "path"}
        if argument == "model":
            right["x"] = X
        refused(vae.exact_gradient, [(argument, value, shown)], **right)


# The linear-Gaussian model


def test_linear_gaussian_knows_its_evidence():
    """scipy's N(x; b, WWᵀ + τI); and log p(x) = log p(x | z) + log p(z) − log p(z | x) at any z."""
    model = general()
    mistakes = {
        "is the noise taken for a standard deviation?": evidence(X, noise=TAU**2),
        "is the prior's spread forgotten?": evidence(X, w=0 * W),
        "is the offset forgotten?": evidence(X, b=0 * B),
    }
    assert_close(model.log_evidence(X), evidence(X), rtol=1e-9, what="log_evidence", mistakes=mistakes)
    z = np.array([0.7, -1.9])
    mean, covariance = posterior(X)
    fit = stats.norm.logpdf(X, z @ W.T + B, math.sqrt(TAU)).sum(1)
    got = array(model.log_likelihood(tensor(X), tensor(z).expand(4, 1, 2)))[:, 0]
    assert_close(got, fit, rtol=1e-9, what="log_likelihood", mistakes={"is it averaged over the pixels?": fit / 3})
    bayes = [stats.multivariate_normal(m, covariance).logpdf(z) for m in mean]
    assert_close(fit + stats.norm.logpdf(z).sum() - bayes, evidence(X), rtol=1e-9, what="Bayes' rule")


def test_linear_gaussian_knows_its_posterior():
    """Mean and covariance by conditioning the joint Gaussian of (z, x)."""
    mean, covariance = general().posterior(X)
    want = posterior(X)
    mistakes = {"is x not centred by the offset?": posterior(X + B)[0], "is it q's?": X @ A.T + C}
    assert_close(mean, want[0], rtol=1e-9, atol=1e-12, what="the posterior's mean", mistakes=mistakes)
    mistakes = {"is it the precision?": np.linalg.inv(want[1])}
    assert_close(covariance, want[1], rtol=1e-9, atol=1e-12, what="the posterior's covariance", mistakes=mistakes)


def test_linear_gaussian_at_the_posterior_is_there():
    """With orthogonal columns q is the posterior; else it has its mean and its precisions, and the bound is lower."""
    for w in (ORTHOGONAL, W):
        model = vae.LinearGaussian.at_the_posterior(w, B, TAU)
        mean, log_variance = model.encoder(tensor(X))
        centre, covariance = posterior(X, w)
        assert_close(mean, centre, rtol=1e-9, atol=1e-12, what="the mean of q")
        want = np.broadcast_to(1 / np.diag(np.linalg.inv(covariance)), centre.shape)
        assert_close(log_variance.exp(), want, rtol=1e-9, what="the variance of q")
        gap = evidence(X, w) - array(model.exact_elbo(X))
        q, p = np.diag(want[0]), covariance
        kl = (np.trace(np.linalg.solve(p, q)) - 2 + np.log(np.linalg.det(p) / np.linalg.det(q))) / 2
        assert_close(gap, np.full(4, kl), rtol=1e-8, atol=1e-10, what="log p(x) less the bound")


def test_linear_gaussian_follows_its_weights():
    """After its weights change so do evidence, posterior and bound; its arguments are copied, not kept."""
    w = W.copy()
    model = vae.LinearGaussian(w, B, TAU, A, C, L)
    w[:] = 0
    assert_close(model.log_evidence(X), evidence(X), what="log_evidence after its array changed")
    with torch.no_grad():
        model.weight *= 2
        model.offset += 1
    assert_close(model.log_evidence(X), evidence(X, 2 * W, B + 1), what="log_evidence after its weights changed")
    assert_close(
        model.posterior(X)[0], posterior(X, 2 * W, B + 1)[0], atol=1e-12, what="posterior after its weights changed"
    )
    want = [linear_elbo(x, x @ A.T + C, L, 2 * W, B + 1) for x in X]
    assert_close(model.exact_elbo(X), want, what="exact_elbo after its weights changed")


def test_linear_gaussian_refuses_what_does_not_fit():
    bad = [
        ("weight", W[:, 0], "(3,)"),
        ("offset", B[:2], "(2,)"),
        ("variance", 0.0, 0.0),
        ("variance", -1.0, -1.0),
        ("variance", NAN, NAN),
        ("encoder", A.T, "(3, 2)"),
        ("shift", C[:1], "(1,)"),
        ("log_variance", np.array([0.0, INF]), INF),
        ("offset", np.array([0.0, NAN, 1.0]), NAN),
    ]
    refused(vae.LinearGaussian, bad, weight=W, offset=B, variance=TAU, encoder=A, shift=C, log_variance=L)
    bad = [("x", X[:, :2], 2), ("x", np.where(X == 0, NAN, X), NAN), ("x", X[0], "(3,)")]
    for method in ("log_evidence", "posterior", "exact_elbo"):
        refused(getattr(general(), method), bad)


# Networks


def manual(parameters, x, slope=0.2):
    """Two hidden layers of max(h, slope h), and a last one without."""
    for i, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2], strict=True)):
        x = x @ weight.T + bias
        x = np.where(x > 0, x, slope * x) if i < 2 else x
    return x


def numbers(module):
    return [p.detach().double().numpy() for p in module.parameters()]


def test_encoder_and_decoder_are_networks_of_two_hidden_layers():
    """By hand: W₃ a(W₂ a(W₁x + b₁) + b₂) + b₃ with a(h) = max(h, h/5); the first half of the code is the mean."""
    encoder = vae.Encoder(6, 5, 3, generator=seeded(1)).double()
    decoder = vae.Decoder(3, 7, 6, generator=seeded(2)).double()
    assert [tuple(p.shape) for p in encoder.parameters()] == [(5, 6), (5,), (5, 5), (5,), (6, 5), (6,)]
    assert [tuple(p.shape) for p in decoder.parameters()] == [(7, 3), (7,), (7, 7), (7,), (6, 7), (6,)]
    mean, log_variance = encoder(tensor(GREY))
    want = manual(numbers(encoder), GREY)
    mistakes = {
        "are mean and log-variance exchanged?": want[:, 3:],
        "are they interleaved?": want[:, ::2],
    }
    assert_close(mean, want[:, :3], rtol=1e-9, atol=1e-12, what="the encoder's mean", mistakes=mistakes)
    assert_close(log_variance, want[:, 3:], rtol=1e-9, atol=1e-12, what="the encoder's log-variance")
    with torch.no_grad():
        list(encoder.parameters())[-1].mul_(0).add_(tensor([50, -50, 0, 50, -50, 0]))
    want = manual(numbers(encoder), GREY)
    for name, got, part in zip(
        ("mean", "log-variance"), encoder(tensor(GREY)), (want[:, :3], want[:, 3:]), strict=True
    ):
        mistakes = {"is it clamped?": part.clip(-10, 10)}
        assert_close(got, part, rtol=1e-9, what=f"a {name} of ±50", mistakes=mistakes)
    z = np.linspace(-3, 3, 24).reshape(2, 4, 3)
    want = manual(numbers(decoder), z)
    for shape in ((3,), (1, 3), (2, 2, 2, 3)):
        got, few = decoder(tensor(z.ravel()[: math.prod(shape)].reshape(shape))), math.prod(shape) // 3
        assert_close(got, want.reshape(8, 6)[:few].reshape(*shape[:-1], 6), rtol=1e-9, what=f"logits of codes {shape}")
    mistakes = {"does it return probabilities, where logits were asked for?": special.expit(want)}
    assert_close(decoder(tensor(z)), want, rtol=1e-9, atol=1e-12, what="the decoder's logits", mistakes=mistakes)


def test_encoder_and_decoder_are_by_default_those_of_the_text():
    """784 pixels, layers of 200, 20 latents: without sizes, and with a slope of 1/5 below zero."""
    for module, sizes in ((vae.Encoder(784), (784, 200, 200, 40)), (vae.Decoder(20), (20, 200, 200, 784))):
        got = [tuple(p.shape) for p in module.parameters() if p.ndim == 2]
        want = [(after, before) for before, after in itertools.pairwise(sizes)]
        assert got == want, f"the weights are by default {got}, not {want}"


def test_encoder_and_decoder_take_another_activation():
    """With nn.Identity between the layers both are affine: f(x) + f(y) = f(x + y) + f(0)."""
    for module, size in (
        (vae.Encoder(6, 5, 3, activation=nn.Identity, generator=seeded(1)).double(), 6),
        (vae.Decoder(3, 7, 6, activation=nn.Identity, generator=seeded(1)).double(), 3),
    ):

        def f(x, module=module):
            return (
                np.hstack([array(y) for y in module(tensor(x))])
                if isinstance(module(tensor(x)), tuple)
                else array(module(tensor(x)))
            )

        x, y = np.sin(np.arange(size))[None] * 3, np.cos(np.arange(size))[None] * 4
        assert_close(f(x) + f(y), f(x + y) + f(0 * x), rtol=1e-9, atol=1e-12, what="a net of nn.Identity")


def test_encoder_and_decoder_draw_from_their_generator_alone():
    """The first weights: the same for a seed, others for another; nothing global is drawn from."""
    assert_same_dice(lambda dice: weights_of(vae.Encoder(6, 5, 2, generator=dice)), "Encoder")
    assert_same_dice(lambda dice: weights_of(vae.Decoder(2, 5, 6, generator=dice)), "Decoder")


def test_encoder_and_decoder_refuse_sizes_that_are_none():
    bad = [(name, value, value) for name in ("pixels", "hidden", "latents") for value in (0, -2, 1.5)]
    refused(vae.Encoder, bad, pixels=6, hidden=5, latents=2)
    refused(vae.Decoder, bad, pixels=6, hidden=5, latents=2)


def test_vae_log_likelihood_is_that_of_bernoulli_pixels():
    """scipy's bernoulli.logpmf summed over the pixels, for each image and each of its samples."""
    z = np.linspace(-2, 2, 24).reshape(4, 3, 2)
    logits = z @ SLOPES.T + OFFSETS
    pixels = stats.bernoulli.logpmf(BLACK[:, None].astype(int), special.expit(logits))
    want = pixels.sum(-1)
    probabilities = special.expit(special.expit(logits))
    mistakes = {
        "is it averaged over the pixels, not summed?": want / 6,
        "is a sigmoid taken twice?": stats.bernoulli.logpmf(BLACK[:, None].astype(int), probabilities).sum(-1),
        "are black and white exchanged?": stats.bernoulli.logpmf(
            1 - BLACK[:, None].astype(int), special.expit(logits)
        ).sum(-1),
        "is it the cross-entropy, a loss, with the sign reversed?": -want,
        "is it summed over the samples?": np.broadcast_to(want.sum(1, keepdims=True), want.shape),
        "is log(1 + exp l) forgotten?": (BLACK[:, None] * logits).sum(-1),
        "are only the black pixels counted?": (BLACK[:, None] * pixels).sum(-1),
    }
    got = two_latents().log_likelihood(tensor(BLACK), tensor(z))
    assert_close(got, want, rtol=1e-9, what="log_likelihood", mistakes=mistakes)


def test_vae_log_likelihood_holds_far_out():
    """With logits of ±800 a wrong pixel costs 800 nats, and not infinitely many, nor 100, where torch clamps."""
    model = affine_vae([[800.0], [-800.0]], [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0])
    got = array(model.log_likelihood(tensor([[1.0, 1.0], [0.0, 1.0]]), tensor([[[1.0]], [[1.0]]])))
    assert np.isfinite(got).all(), (
        f"log_likelihood is {got.ravel()} where logits are ±800: work with logits, not with log(p)"
    )
    mistakes = {"is log p clamped at −100, as in binary_cross_entropy?": [[-100.0], [-200.0]]}
    assert_close(got, [[-800.0], [-1600.0]], what="log_likelihood far out", mistakes=mistakes)


def test_vae_checked_returns_rows_in_the_weights_precision():
    """Squares are flattened row by row; float64 arrays become float32 for float32 weights."""
    encoder, decoder = vae.Encoder(6, 3, 2, generator=seeded(1)), vae.Decoder(2, 3, 6, generator=seeded(2))
    model = vae.VAE(encoder, decoder)
    got = model.checked(GREY)
    assert got.dtype == torch.float32, f"got {got.dtype} for weights in float32"
    assert_close(got, GREY.astype(np.float32), what="checked")
    assert_close(model.double().checked(GREY.reshape(2, 2, 3)), GREY, what="checked images of 2 × 3 pixels")
    assert_close(model.checked(BLACK[:, ::-1].astype(int)), BLACK[:, ::-1], what="checked integers, reversed")


def test_vae_checked_refuses_bad_images():
    """Whatever was accepted would be taken for an image."""
    refused(two_latents().checked, BAD_IMAGES)
    with pytest.raises(ValueError, match="x must be on the device of the model"):
        two_latents().checked(torch.zeros(2, 6, device="meta"))


def test_vae_refuses_networks_that_do_not_fit():
    """Latents or pixels of the decoder that are not the encoder's."""
    encoder = vae.Encoder(6, 3, 2, generator=seeded(1))
    for decoder, what, got in ((vae.Decoder(3, 3, 6), "latents", 3), (vae.Decoder(2, 3, 5), "pixels", 5)):
        refused(vae.VAE, [("decoder", decoder, got)], encoder=encoder)
        with pytest.raises(ValueError, match=f"decoder must have the encoder's {what}"):
            vae.VAE(encoder, decoder)


def test_encoder_of_float32_is_trained_by_elbo_of_float32():
    """The bound of real networks in float32 is that of the same weights in float64 for the same codes, to rounding."""
    g = seeded(1)
    model = vae.VAE(vae.Encoder(6, 8, 2, generator=g), vae.Decoder(2, 8, 6, generator=g))
    values = vae.elbo(model, BLACK, "path", seeded(3))
    assert values.dtype == torch.float32, f"the bound is {values.dtype}, the weights float32"
    values.sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters()), "some weights get no slope"


# One image's own best q


def test_refine_finds_the_posterior():
    """Where WᵀW is diagonal the best q is the posterior; the path's noise vanishes there, so the climb lands on it."""
    model = vae.LinearGaussian(ORTHOGONAL, B, TAU, A / 3, C, L - 1)
    mean, log_variance = vae.refine(model, X[:3], steps=200, rate=0.1, generator=seeded(1))
    centre, covariance = posterior(X[:3], ORTHOGONAL)
    want = np.broadcast_to(np.log(np.diag(covariance)), (3, 2))
    # Adam's rate falls to zero, and with it what is left of its last turns: far less than its first step of 0.1.
    mistakes = {"is it where the encoder put it?": X[:3] @ A.T / 3 + C}
    assert_close(mean, centre, rtol=0, atol=0.01, what="the refined mean", mistakes=mistakes)
    mistakes = {
        "is it the log-standard deviation?": want / 2,
        "is it where the encoder put it?": np.broadcast_to(L - 1, (3, 2)),
        "is it the variance itself?": np.exp(want),
    }
    assert_close(log_variance, want, rtol=0, atol=0.01, what="the refined log-variance", mistakes=mistakes)
    assert not mean.requires_grad, "refine keeps a graph"


def test_refine_leaves_the_model_and_starts_at_the_encoder():
    """No weight and no gradient changes; after two tiny steps (μ, λ) are within 2e-6 of the encoder's, but moved."""
    model = two_latents()
    before = weights_of(model)
    start = np.hstack(guess(BLACK))
    got = np.hstack([array(y) for y in vae.refine(model, BLACK, steps=2, rate=1e-6, generator=seeded(1))])
    assert np.array_equal(weights_of(model), before), "refine changed the model: it is the q of each row that moves"
    assert all(p.grad is None for p in model.parameters()), "refine left gradients in the model's weights"
    assert_close(got, start, rtol=0, atol=2.1e-6, what="refine after two tiny steps")
    assert (np.abs(got - start) > 1e-9).all(), "refine did not move: the steps of Adam are of the size of the rate"


def test_refine_draws_sixteen_new_codes_in_every_step_of_a_falling_rate():
    """Where log p(x | z) = Σ a z and q has variance 1 the path's slope is a − μ: Adam's tiny steps are its rates."""

    class Slope(Waves):
        def log_likelihood(self, x, z):
            codes.append(array(z).reshape(-1, 2))
            return (x.chunk(3, 1)[2][:, None] * z).sum(-1)

    codes, steps, rate = [], 10, 1e-7
    x = np.hstack([MU, 0 * LAMBDA, AMPLITUDES])
    mean, _ = vae.refine(Slope(), tensor(x), steps=steps, rate=rate, generator=seeded(1))
    sign = np.sign(AMPLITUDES - MU)
    mistakes = {
        "does the rate of Adam stay as it is, where it should fall to zero?": sign * steps * rate,
        "is the objective gone down, not climbed?": -sign * (steps + 1) / 2 * rate,
    }
    want = sign * (steps + 1) / 2 * rate  # 1, 9/10, ..., 1/10 of the rate
    assert_close(array(mean) - MU, want, rtol=1e-4, what="the way of refine", mistakes=mistakes)
    codes = np.vstack(codes).round(5)  # to more than the way
    assert len(codes) == 4 * 16 * steps, f"{len(codes)} codes for four rows in ten steps, not sixteen for each"
    again = len(codes) - len(np.unique(codes, axis=0))
    assert again < 5, f"{again} of {len(codes)} codes come again: is the noise drawn once, not in every step?"


def test_refine_gains_for_thrown_pixels():
    """The bound at the refined q, by quadrature, is near the best that scipy finds, image by image."""
    mean, log_variance = (array(y) for y in vae.refine(single_latent(), BLACK[:3], steps=150, generator=seeded(1)))
    for row, x in enumerate(BLACK[:3]):

        def bound(q, x=x):
            return float(bernoulli_elbo(x, q[:1], q[1:], SLOPES[:, :1], OFFSETS))

        best = -optimize.minimize(lambda q, bound=bound: -bound(q), np.zeros(2), tol=1e-8).fun
        got = bound(np.concatenate([mean[row], log_variance[row]]))
        first = bound(np.concatenate([part[row] for part in guess(BLACK, [0, 2])]))
        assert got <= best + 1e-6, f"the bound at the refined q is {got}, above the best possible, {best}"
        # The encoder's q is lower by tenths; steps of 0.02 with sixteen draws leave hundredths at most.
        message = f"bounds: encoder {first}, refined {got}, best {best}: is it the loss that is climbed?"
        assert best - got < max((best - first) / 3, 0.02), message


def test_refine_with_a_generator():
    model = two_latents()

    def call(dice):
        return np.hstack([array(y) for y in vae.refine(model, BLACK[:2], steps=4, generator=dice)])

    assert_same_dice(call, "refine")


def test_refine_refuses_bad_images_steps_and_rates():
    bad = [
        *BAD_IMAGES,
        ("steps", 0, 0),
        ("steps", 2.5, 2.5),
        ("rate", 0.0, 0.0),
        ("rate", -0.1, -0.1),
        ("rate", NAN, NAN),
    ]
    refused(vae.refine, bad, model=two_latents(), x=BLACK, steps=2)


# Posteriors on a grid


@pytest.mark.parametrize("k", [1, 2])
def test_on_grid_is_bayes_rule(k):
    """log p(x) by Gauss's quadrature over the prior; log p(z | x) by hand, at each point that is returned."""
    model = single_latent() if k == 1 else two_latents()
    images = np.vstack([BLACK, GREY])
    got = vae.on_grid(model, images, points=161, reach=7.0)
    z = array(got.z)
    assert z.shape == (161**k, k), f"z has shape {z.shape}, not (points^k, k)"
    axis = np.linspace(-7, 7, 161)
    for column in z.T:
        assert_close(np.unique(column.round(9)), axis.round(9), atol=1e-8, what="the places along an axis")
    e, weights = hermite(k, 60)
    cell = math.log(14 / 160)
    for row, x in enumerate(images):
        want = np.log(weights @ np.exp(log_bernoulli(x, e, SLOPES[:, :k], OFFSETS)))
        mistakes = {
            "is h where h^k belongs, one step for each latent?": want - (k - 1) * cell,
            "is the step h forgotten?": want - k * cell,
            "is it a mean over the grid?": want - k * math.log(161 * 14 / 160),
            "is the prior forgotten?": special.logsumexp(log_bernoulli(x, z, SLOPES[:, :k], OFFSETS)) + k * cell,
        }
        # The trapezoid is exact to rounding for densities this smooth; beyond 7 lies 3e-12 of the prior.
        assert_close(got.log_evidence[row], want, rtol=1e-8, what="log p(x) on the grid", mistakes=mistakes)
        likelihood = log_bernoulli(x, z, SLOPES[:, :k], OFFSETS)
        joint = likelihood + stats.norm.logpdf(z).sum(1)
        mistakes = {
            "is it log p(x, z), not divided by p(x)?": joint,
            "is the prior forgotten?": likelihood - want,
            "is it the probability of a cell, not the density?": joint - want + k * cell,
            "is it p, not log p?": np.exp(joint - want),
        }
        assert_close(got.log_posterior[row], joint - want, rtol=1e-7, atol=1e-7, what="log p(z | x)", mistakes=mistakes)


def test_on_grid_of_a_decoder_that_does_not_look():
    """With all its weights zero log p(x) is −d log 2, and the posterior is the prior; it sums to one."""
    model = affine_vae(0 * SLOPES, 0 * OFFSETS, GUESS, GUESS_BIAS)
    got = vae.on_grid(model, BLACK)
    # Outside ±5 lies 1.2e-6 of a square's prior.
    assert_close(got.log_evidence, np.full(4, -6 * math.log(2)), rtol=0, atol=2e-6, what="log p(x)")
    want = np.broadcast_to(stats.norm.logpdf(array(got.z)).sum(1), (4, 121**2))
    assert_close(got.log_posterior, want, rtol=0, atol=3e-6, what="log p(z | x) where x says nothing")
    assert_close(got.log_posterior.exp().sum(1) / 144, np.ones(4), rtol=1e-9, what="Σ p(z | x) h²")


def test_on_grid_holds_for_images_that_no_code_explains():
    """With offsets of −800 a pixel tells its logit, linear in z: log p(x) = Σ b + ½ |Σ w|² for an image all black."""
    for k in (1, 2):
        rows = GUESS[[0, 2]] if k == 1 else GUESS
        model = affine_vae(SLOPES[:, :k], np.full(6, -800.0), rows, GUESS_BIAS[: 2 * k])
        got = vae.on_grid(model, np.ones((1, 6)), points=200, reach=9.0)
        assert got.z.shape == (200**k, k), f"z has shape {tuple(got.z.shape)}, not (points^k, k)"
        want = [-4800 + (SLOPES[:, :k].sum(0) ** 2).sum() / 2]
        mistakes = {"are exponentials summed that underflow?": [-INF]}
        assert_close(got.log_evidence, want, rtol=1e-9, what="log p(x) of an unlikely image", mistakes=mistakes)
        law = stats.norm.logpdf(array(got.z), SLOPES[:, :k].sum(0)).sum(1)  # the posterior: the prior, moved
        assert_close(got.log_posterior[0], law, rtol=0, atol=1e-8, what="log p(z | x) of an unlikely image")


def test_on_grid_lies_above_the_bound():
    """log p(x) − ELBO is KL(q ‖ posterior), summed on the grid, for each image."""
    got = vae.on_grid(two_latents(), BLACK, points=201, reach=8.0)
    z = array(got.z)
    for row, (x, m, lam) in enumerate(zip(BLACK, *guess(BLACK), strict=True)):
        log_q = stats.norm.logpdf(z, m, np.exp(lam / 2)).sum(1)
        gap = (np.exp(log_q) * (log_q - array(got.log_posterior)[row])).sum() * 0.08**2
        want = bernoulli_elbo(x, m, lam, SLOPES, OFFSETS) + gap
        assert_close(got.log_evidence[row], want, rtol=1e-7, what="log p(x), as ELBO + KL(q ‖ posterior)")


def test_on_grid_refuses_three_latents_and_no_grid():
    bad = [
        *BAD_IMAGES,
        ("points", 1, 1),
        ("points", 0, 0),
        ("points", 2.5, 2.5),
        ("reach", 0.0, 0.0),
        ("reach", -1.0, -1.0),
        ("reach", INF, INF),
    ]
    refused(vae.on_grid, bad, model=two_latents(), x=BLACK)
    g = seeded(1)
    model = vae.VAE(vae.Encoder(6, 3, 3, generator=g), vae.Decoder(3, 3, 6, generator=g))
    call = partial(vae.on_grid, model, BLACK)
    call.__name__ = "on_grid of a model"
    assert_refused(call, argument="latents", value=3)


# What a model draws, and which latents it uses


def mirror():
    """A decoder whose logits are z itself, and an encoder whose answer depends on the pixels."""
    return affine_vae(np.eye(2), [0.0, 0.0], [[3.0, 0.0], [0.0, -2.0], [0.5, 0.0], [0.0, -1.0]], [0.1, 0.2, 0.3, 0.4])


def test_draw_is_from_the_prior(generator):
    """With logits z the probabilities show z, which is N(0, I); each pixel is thrown with its own probability."""
    got = vae.draw(mirror(), 20_000, generator)
    p, x = array(got.probabilities), array(got.pixels)
    assert p.shape == x.shape == (20_000, 2), f"got shapes {p.shape} and {x.shape}, not (n, pixels)"
    logits_taken = ((p < 0) | (p > 1)).any()
    assert not logits_taken, "probabilities are not between 0 and 1: are they logits?"
    assert np.isin(x, (0, 1)).all(), "pixels are not 0 or 1: are they probabilities, not thrown?"
    z = special.logit(p)
    for latent in range(2):
        hints = {
            "z is uniform, not normal": stats.uniform.cdf,
            "a sigmoid is taken twice": lambda t: stats.norm.cdf(
                special.logit(np.clip(special.expit(t), 1e-12, 1 - 1e-12))
            ),
        }
        assert_distribution(z[:, latent], stats.norm.cdf, detects=0.03, hints=hints)
    assert_mean(z[:, 0] * z[:, 1], 0.0, detects=0.1, hints={"the latents share their noise": 1.0})
    thrown = (x - p) / np.sqrt(p * (1 - p))
    for one, two in ((slice(0, None, 2), slice(1, None, 2)), (slice(10_000), slice(10_000, None))):
        hints = {"the images share their noise": 1.0, "the noise of one image is another's, reversed": -1.0}
        assert_mean(z[one, 0] * z[two, 0], 0.0, detects=0.15, hints=hints)
        assert_mean(thrown[one, 0] * thrown[two, 0], 0.0, detects=0.15, hints={"images share their throws": 0.7})
    surprise = (x - p) * (p - 0.5)  # of mean zero only if each pixel is thrown with its own probability
    spread = float(np.mean(p * (1 - p)))
    hints = {"pixels are rounded, not thrown": float(np.mean((np.round(p) - p) * (p - 0.5)))}
    assert_unbiased(surprise, 0.0, detects=0.01 + 0 * spread, hints=hints)
    assert_mean((x - p)[:, 0] * (x - p)[:, 1], 0.0, detects=0.02, hints={"one throw serves all pixels": 0.05})


def test_draw_with_a_generator():
    model = mirror()
    assert_same_dice(lambda dice: np.hstack([array(y) for y in vae.draw(model, 5, dice)]), "draw")
    assert not vae.draw(model, 1).probabilities.requires_grad, "draw keeps a graph"


def test_draw_refuses_no_images():
    refused(vae.draw, [("n", 0, 0), ("n", -1, -1), ("n", 2.5, 2.5)], model=mirror(), n=3)


def test_reconstruct_decodes_a_draw_of_q(generator):
    """With logits z the probabilities show z, which is N(mean(x), exp log_variance(x)), with noise for each row."""
    x = np.repeat([[1.0, 0.25]], 10_000, axis=0)
    got = array(vae.reconstruct(mirror(), x, generator))
    assert got.shape == x.shape, f"got shape {got.shape}, not {x.shape}"
    assert ((got >= 0) & (got <= 1)).all(), "reconstruct returns no probabilities: are they logits?"
    assert np.ptp(got[:, 0]) > 1e-9, "all reconstructions are equal: are they at q's mean, or is the noise shared?"
    z = special.logit(np.clip(got, 1e-300, 1 - 1e-16))
    mean, log_variance = np.array([3.1, -0.3]), np.array([0.8, 0.15])
    for latent in range(2):
        std = math.exp(log_variance[latent] / 2)
        hints = {
            "z is drawn from the prior, not from q(z | x)": stats.norm.cdf,
            "the log-variance is read as a log-standard deviation": stats.norm(mean[latent], std**2).cdf,
        }
        assert_distribution(z[:, latent], stats.norm(mean[latent], std).cdf, detects=0.045, hints=hints)
    e = (z - mean) / np.exp(log_variance / 2)
    pairs = {"the latents": e.T, "the rows": (e[::2, 0], e[1::2, 0]), "the halves of x": (e[:5000, 0], e[5000:, 0])}
    for name, (one, two) in pairs.items():
        assert_mean(one * two, 0.0, detects=0.15, hints={f"the noise is shared by {name}": 1.0})
    assert_same_dice(lambda dice: array(vae.reconstruct(mirror(), np.array([[1.0, 0.25]]), dice)), "reconstruct")


def test_reconstruct_refuses_bad_images():
    refused(vae.reconstruct, BAD_IMAGES, model=two_latents(), x=BLACK)


def test_activity_is_the_variance_of_the_means():
    """numpy's var of the encoder's means over the images, divided by n − 1; the same twice: nothing is drawn."""
    x = np.vstack([BLACK, GREY])
    mean, log_variance = guess(x)
    want = mean.var(axis=0, ddof=1)
    mistakes = {
        "is it the standard deviation?": mean.std(axis=0, ddof=1),
        "is it divided by n, not n − 1?": mean.var(axis=0),
        "is it that of z, with q's own variance in it? That is near 1 for dead latents too": want
        + np.exp(log_variance).mean(0),
        "is it that of the log-variances?": log_variance.var(axis=0, ddof=1),
        "is it the mean of q's variances?": np.exp(log_variance).mean(0),
        "is the mean over the images not subtracted?": (mean**2).sum(0) / (len(x) - 1),
    }
    model = two_latents()
    got = vae.activity(model, x)
    assert got.shape == (2,), f"activity has shape {tuple(got.shape)}: one number for each latent was asked for"
    assert_close(got, want, rtol=1e-9, what="activity", mistakes=mistakes)
    assert np.array_equal(got, vae.activity(model, x)), "activity differs from call to call: are the codes drawn?"
    assert not got.requires_grad, "activity keeps a graph"
    dead = affine_vae(SLOPES, OFFSETS, GUESS * [[1], [0], [1], [0]], GUESS_BIAS)
    got = vae.activity(dead, x)
    assert_close(got, want * [1, 0], rtol=1e-9, atol=1e-15, what="activity where the second latent does not look")


def test_activity_refuses_one_row_and_bad_images():
    refused(vae.activity, [*BAD_IMAGES, ("x", BLACK[:1], 1)], model=two_latents(), x=BLACK)


@pytest.mark.claim("prop-dead-latent", kind="automatic differentiation")
def test_exact_elbo_leaves_a_dead_latent_dead():
    """Where the decoder does not look at z₂ and μ₂ = λ₂ = 0 these have no slope; with another μ₂ or λ₂ they do."""
    dead = np.array([1.0, 0.0])

    def slopes(shift, log_variance):
        model = vae.LinearGaussian(
            W * dead, B, TAU, A * dead[:, None], C * dead + [0, shift], L * dead + [0, log_variance]
        )
        bound = model.exact_elbo(X).mean()
        names = ("weight", "matrix", "shift", "log_variance")
        found = torch.autograd.grad(bound, [getattr(model, name) for name in names])
        weight, matrix, c, lam = map(array, found)
        return np.concatenate([weight[:, 1], matrix[1], c[1:], lam[1:]])

    assert_close(slopes(0, 0), np.zeros(8), atol=1e-13, what="the slopes of a dead latent")
    assert np.abs(slopes(0.3, 0)[:3]).max() > 0.05, "μ₂ ≠ 0, and the decoder's weights still have no slope"
    assert abs(slopes(0.3, 0)[6]) > 0.1, "μ₂ ≠ 0, and it has no slope"
    assert abs(slopes(0, 0.3)[7]) > 0.1, "λ₂ ≠ 0, and it has no slope"


@pytest.mark.claim("prop-dead-latent", kind="automatic differentiation")
def test_elbo_of_thrown_pixels_leaves_a_dead_latent_dead():
    """By quadrature over both latents, with a decoder of tanh units, the same three slopes are zero."""
    first, last = tensor(SLOPES[:3] * [1, 0]).requires_grad_(), tensor(SLOPES[:, :1] @ [[1.0, -0.5, 2.0]])
    mean, log_variance = tensor([0.7, 0.0]).requires_grad_(), tensor([-0.6, 0.0]).requires_grad_()
    e, weights = hermite(2, 31)
    z = mean + (log_variance / 2).exp() * tensor(e)
    logits = (z @ first.T + 0.2).tanh() @ last.T
    fit = (tensor(BLACK[0]) * logits - nn.functional.softplus(logits)).sum(1) @ tensor(weights)
    bound = fit - vae.latent_kl(mean[None], log_variance[None]).sum()
    in_first, in_mean, in_log = map(array, torch.autograd.grad(bound, (first, mean, log_variance)))
    got = np.concatenate([in_first[:, 1], in_mean[1:], in_log[1:]])
    assert_close(got, np.zeros(5), atol=1e-12, what="the slopes of a dead latent")
    assert np.abs(in_first[:, 0]).min() > 1e-3, "and those of the other latent are not zero"


# Grey pixels


@pytest.mark.claim("prop-grey-bernoulli")
def test_grey_log_normaliser_makes_a_density():
    """∫₀¹ μ^y (1−μ)^{1−y} dy is tanh(l/2)/l by quadrature, ½ at 0 and less elsewhere; the function is −log of it."""
    logits = np.array([-30.0, -4.0, -0.5, -1e-3, 0.0, 1e-6, 9e-3, 1.1e-2, 0.7, 3.0, 12.0])

    def integral(logit):
        return integrate.quad(lambda y: math.exp(y * logit - np.logaddexp(0, logit)), 0, 1, epsabs=1e-13, epsrel=1e-13)[
            0
        ]

    mass = np.array([integral(logit) for logit in logits])
    with np.errstate(invalid="ignore"):
        assert_close(mass, np.where(logits == 0, 0.5, np.tanh(logits / 2) / logits), rtol=1e-10, what="the integral")
    assert (mass[np.abs(logits) > 1e-4] < 0.5).all()
    got = array(vae.grey_log_normaliser(tensor(logits)))
    assert np.isfinite(got).all(), f"grey_log_normaliser is {got} at {logits}: what of l = 0?"
    mistakes = {
        "is the sign reversed: what is added makes up for too small a mass?": np.log(mass),
        "is it l/tanh(l), without the ½?": np.log(
            np.where(logits == 0, 1, logits / np.tanh(np.where(logits == 0, 1, logits)))
        ),
        "is it the factor, not its logarithm?": 1 / mass,
        "is it the integral?": mass,
    }
    assert_close(got, -np.log(mass), rtol=1e-9, what="grey_log_normaliser", mistakes=mistakes)


def test_grey_log_normaliser_is_smooth_even_and_holds_far_out():
    """mpmath's value and slope 1/l − 1/sinh l, from ±1e-12 to ±800, float32 too; finite slope at 0."""
    right = np.array([1e-12, 1e-7, 1e-4, 5e-3, 9.9e-3, 1.01e-2, 0.1, 1.0, 20.0, 90.0, 800.0])
    with mpmath.workdps(40):
        each = [mpmath.mpf(logit) for logit in right.tolist()]
        values = [float(mpmath.log(logit / mpmath.tanh(logit / 2))) for logit in each]
        steep = np.array([float(1 / logit - 1 / mpmath.sinh(logit)) for logit in each])
    want = np.array([*values[::-1], math.log(2), *values])
    logits = tensor([*-right[::-1], 0.0, *right]).requires_grad_()
    got = vae.grey_log_normaliser(logits)
    assert_close(got, want, rtol=1e-9, what="grey_log_normaliser")
    slope = torch.autograd.grad(got.sum(), logits)[0]
    what = "the slope of grey_log_normaliser"
    # Near 0, where 1/l and 1/sinh l cancel, the slope of another right formula loses some of its digits.
    assert_close(slope, [*-steep[::-1], 0.0, *steep], rtol=1e-6, atol=1e-9, what=what)
    got = vae.grey_log_normaliser(logits.detach().float().reshape(1, -1))
    assert got.dtype == torch.float32, f"float32 became {got.dtype}"
    assert_close(got, want[None], rtol=1e-5, what="grey_log_normaliser in float32")


def test_grey_log_normaliser_refuses_what_is_not_finite():
    for value in (NAN, INF):
        refused(vae.grey_log_normaliser, [("logits", tensor([0.0, value]), value)])


@pytest.mark.claim("prop-grey-bernoulli")
def test_log_likelihood_of_grey_is_the_mean_over_throws():
    """By enumeration of all 64 throws of six grey pixels, each with its probability, at two codes."""
    throws = np.array(list(itertools.product((0.0, 1.0), repeat=6)))
    z = tensor([[[0.4, -1.0], [2.0, 0.3]]])
    for grey in GREY:
        chances = np.where(throws == 1, grey, 1 - grey).prod(1)
        one_by_one = array(two_latents().log_likelihood(tensor(throws), z.expand(64, 2, 2)))
        got = two_latents().log_likelihood(tensor(grey[None]), z)
        assert_close(got[0], chances @ one_by_one, rtol=1e-9, what="log_likelihood of a grey image")


def test_pixel_entropy_is_that_of_the_throws():
    """scipy's entropy of each pixel, summed; 0 for black and white; squares and rows alike."""
    want = stats.bernoulli(GREY).entropy().sum(1)
    mistakes = {
        "is it in bits, where nats were asked for?": want / math.log(2),
        "is it averaged over the pixels?": want / 6,
        "is only −g log g counted, and not the white pixels?": special.entr(GREY).sum(1),
        "is it the negative entropy?": -want,
    }
    got = vae.pixel_entropy(GREY)
    assert np.isfinite(array(got)).all(), "pixel_entropy is NaN at pixels of 0 or 1: 0 log 0 is 0"
    assert_close(got, want, rtol=1e-9, what="pixel_entropy", mistakes=mistakes)
    assert_close(vae.pixel_entropy(BLACK), np.zeros(4), what="pixel_entropy of black and white")
    for name, images in {
        "squares": GREY.reshape(2, 2, 3),
        "tensors": tensor(GREY),
        "strided": np.repeat(GREY, 2, axis=1)[:, ::2],
        "reversed": np.ascontiguousarray(GREY[:, ::-1])[:, ::-1],
    }.items():
        before = np.array(images.tolist())
        assert_close(vae.pixel_entropy(images), want, rtol=1e-9, what=f"pixel_entropy of {name}")
        assert np.array_equal(images.tolist(), before), f"pixel_entropy changed its {name}"
    assert_close(vae.pixel_entropy(GREY.astype(np.float32)), want, rtol=1e-5, what="pixel_entropy in float32")
    tiny = np.array([[1e-300, 1 - 2.0**-53, 0.5]])
    assert_close(
        vae.pixel_entropy(tiny), [special.entr(tiny).sum() + special.entr(1 - tiny).sum()], what="pixel_entropy"
    )
    changing = GREY.copy()
    vae.pixel_entropy(changing)
    changing[:] = 0.5
    assert_close(vae.pixel_entropy(changing), np.full(2, 6 * math.log(2)), what="pixel_entropy after its array changed")


def test_pixel_entropy_refuses_what_is_no_image():
    bad = [
        ("images", GREY * 255, 178.5),
        ("images", GREY - 1, -0.8),
        ("images", GREY * NAN, NAN),
        ("images", GREY[0], "(6,)"),
    ]
    bad[0] = ("images", np.array([[178.5, 0.2]]), 178.5)
    refused(vae.pixel_entropy, bad)


@pytest.mark.claim("prop-throws-floor")
def test_pixel_entropy_is_the_floor_of_any_model(rng):
    """On {0,1}⁵, by enumeration: E[−log p(X)] ≥ Σ h(y) for 300 laws p, with equality for the throws' own."""
    throws = np.array(list(itertools.product((0.0, 1.0), repeat=5)))
    images = rng.uniform(0.02, 0.98, (6, 5))
    laws = special.log_softmax(rng.normal(size=(300, 32)) * rng.uniform(0.01, 4, (300, 1)), axis=1)
    floor = array(vae.pixel_entropy(images))
    for grey, low in zip(images, floor, strict=True):
        own = np.where(throws == 1, grey, 1 - grey).prod(1)
        assert_close(-own @ np.log(own), low, rtol=1e-9, what="E[−log p(X)] for the law of the throws")
        near = special.log_softmax(np.log(own) + 1e-2 * laws[:50], axis=1)
        assert (-np.vstack([laws, near]) @ own > low).all(), "a law gets below pixel_entropy, or reaches it"


@pytest.mark.claim("prop-throws-floor")
def test_pixel_entropy_and_log_n_enclose_the_entropy_of_many(rng):
    """Mean h ≤ H ≤ mean h + log n by enumeration; left is reached by n copies, right by black and white."""
    throws = np.array(list(itertools.product((0.0, 1.0), repeat=5)))

    def mixture(images):
        each = np.where(throws == 1, images[:, None], 1 - images[:, None]).prod(2)
        return stats.entropy(each.mean(0))

    for n in (2, 3, 7):
        images = rng.uniform(size=(n, 5)) ** 3
        low = float(vae.pixel_entropy(images).mean())
        assert low < mixture(images) < low + math.log(n)
        copies = np.repeat(images[:1], n, axis=0)
        assert_close(mixture(copies), float(vae.pixel_entropy(copies).mean()), rtol=1e-9, what="H of n equal images")
        crisp = throws[rng.choice(32, n, replace=False)]
        high = float(vae.pixel_entropy(crisp).mean()) + math.log(n)
        assert_close(mixture(crisp), high, rtol=1e-9, what="H of n images in black and white")


# PCA is a linear autoencoder


POINTS = np.random.default_rng(3).normal(size=(40, 5)) @ np.diag([3.0, 2.0, 1.0, 0.5, 0.2]) @ np.array(
    [[1.0, 1, 0, 0, 0], [0, 1, -1, 0, 1], [0, 0, 1, 2, 0], [1, 0, 0, 1, 0], [0, 0, 1, 0, -1]]
) + [1.0, -2.0, 0.0, 5.0, 3.0]
POINTS.flags.writeable = False


def spectrum(x=POINTS):
    """Eigenvalues of the covariance, divided by n, from the largest; eigenvectors as columns; by singular values."""
    _, s, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return s**2 / len(x), vt.T


@pytest.mark.claim("thm-linear-autoencoder")
@pytest.mark.parametrize("k", [1, 2, 4])
def test_probabilistic_pca_reaches_the_stated_maximum(k):
    """Mean log p(x) is −½[d log 2π + Σ_{j≤k} log s_j + (d−k) log r + d], the bound is equal to it for every x."""
    model = vae.probabilistic_pca(POINTS, k)
    s, u = spectrum()
    r = s[k:].mean()
    want = -(5 * LOG_2PI + np.log(s[:k]).sum() + (5 - k) * math.log(r) + 5) / 2
    w, noise = array(model.weight), math.exp(model.log_noise.item())
    covariance = (u[:, :k] * s[:k]) @ u[:, :k].T + r * (np.eye(5) - u[:, :k] @ u[:, :k].T)
    share = 40 / 39
    mistakes = {
        "is the covariance divided by n − 1, not by n?": r * share,
        "is it the sum of the other eigenvalues, not their mean?": r * (5 - k),
        "is it the mean of all eigenvalues?": s.mean(),
        "is it the smallest eigenvalue, or the next one?": s[k],
    }
    assert_close(noise, r, rtol=1e-9, what="the noise of probabilistic_pca", mistakes=mistakes)
    mistakes = {
        "are the columns √s u, without the noise subtracted from s?": covariance + r * u[:, :k] @ u[:, :k].T,
        "are the eigenvectors not scaled?": u[:, :k] @ u[:, :k].T + r * np.eye(5),
        "are they scaled by s − r, without the root?": (u[:, :k] * (s[:k] - r) ** 2) @ u[:, :k].T + r * np.eye(5),
        "are the smallest eigenvalues kept?": (u[:, -k:] * (s[-k:] - r)) @ u[:, -k:].T + r * np.eye(5),
    }
    what = "WWᵀ + τI of probabilistic_pca"
    assert_close(w @ w.T + noise * np.eye(5), covariance, rtol=1e-8, atol=1e-9, what=what, mistakes=mistakes)
    assert_close(model.offset, POINTS.mean(0), what="the offset", mistakes={"is it 0?": np.zeros(5)})
    assert_close(model.log_evidence(POINTS).mean(), want, rtol=1e-9, what="the mean of log p(x)")
    bound = model.exact_elbo(POINTS)
    assert_close(bound, array(model.log_evidence(POINTS)), rtol=1e-9, what="the bound, for every x, beside log p(x)")


@pytest.mark.claim("thm-linear-autoencoder")
def test_probabilistic_pca_is_that_of_sklearn():
    """PCA.score_samples, fitted to data whose covariance by n − 1 is ours by n."""
    centre = POINTS.mean(0)
    for k in (1, 3):
        theirs = PCA(k).fit((POINTS - centre) * math.sqrt(39 / 40) + centre)
        want = theirs.score_samples(POINTS)
        unscaled = PCA(k).fit(POINTS).score_samples(POINTS)
        mistakes = {"is the covariance divided by n − 1, not by n?": unscaled}
        got = vae.probabilistic_pca(POINTS, k).log_evidence(POINTS)
        assert_close(got, want, rtol=1e-8, what="log p(x), k = {k}", mistakes=mistakes)


@pytest.mark.claim("thm-linear-autoencoder", kind="automatic differentiation")
def test_probabilistic_pca_is_at_the_top_of_the_bound(rng):
    """All slopes of the mean bound vanish there; 20 models near and far are lower, in bound and likelihood."""
    model = vae.probabilistic_pca(POINTS, 2)
    bound = model.exact_elbo(POINTS).mean()
    slopes = torch.autograd.grad(bound, list(model.parameters()))
    assert_close(
        np.concatenate([array(s).ravel() for s in slopes]), np.zeros(30), atol=1e-9, what="slopes at the maximum"
    )
    best, right = bound.item(), [p.detach().clone() for p in model.parameters()]
    for trial in range(20):
        with torch.no_grad():
            size = (0.001, 0.03, 0.3)[trial % 3]
            for p, value in zip(model.parameters(), right, strict=True):
                p.copy_(value + size * tensor(rng.normal(size=value.shape)))
        assert model.exact_elbo(POINTS).mean().item() < best, "another model has a higher bound"
        assert model.log_evidence(POINTS).mean().item() < best, "another model has a higher likelihood"


@pytest.mark.claim("thm-linear-autoencoder", kind="automatic differentiation")
def test_linear_gaussian_uses_only_the_directions_above_its_noise(rng):
    """For given τ: columns √max(s − τ, 0) u are a top of likelihood and bound; latent j is the prior's iff s_j ≤ τ."""
    s, u = spectrum()
    for noise in (s[3] / 2, (s[1] + s[2]) / 2, s[0] * 1.1):
        w = u[:, :3] * np.sqrt(np.maximum(s[:3] - noise, 0))
        model = vae.LinearGaussian.at_the_posterior(w, POINTS.mean(0), noise)
        bound = model.exact_elbo(POINTS)
        assert_close(bound, evidence(POINTS, w, POINTS.mean(0), noise), rtol=1e-9, what="the bound, beside log p(x)")
        c = np.maximum(s, noise)
        c[3:] = noise
        want = -(5 * LOG_2PI + np.log(c).sum() + (s / c).sum()) / 2
        assert_close(bound.mean(), want, rtol=1e-9, what="the maximum for a given noise")
        slopes = torch.autograd.grad(
            bound.mean(), [model.weight, model.offset, model.matrix, model.shift, model.log_variance]
        )
        assert_close(np.concatenate([array(g).ravel() for g in slopes]), 0 * np.zeros(41), atol=1e-9, what="slopes")
        mean, log_variance = map(array, model.encoder(tensor(POINTS)))
        is_prior = (np.abs(mean) < 1e-9).all(0) & (np.abs(log_variance) < 1e-9).all(0)
        assert np.array_equal(is_prior, s[:3] <= noise), f"latents that are dead: {is_prior}; s ≤ τ: {s[:3] <= noise}"
        for trial in range(60):
            other = w + (0.01, 0.1, 1.0)[trial % 3] * rng.normal(size=w.shape)
            shift = POINTS.mean(0) + 0.01 * rng.normal(size=5)
            assert evidence(POINTS, other, shift, noise).mean() < want, "another W has a higher likelihood"


def test_probabilistic_pca_of_fewer_points_than_columns():
    """Of four points in six dimensions three eigenvalues are zero; they count in the mean that is the noise."""
    x = np.vstack([GREY, BLACK[:2]])
    model = vae.probabilistic_pca(x, 1)
    values = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / 4
    want = values[1:].sum() / 5
    mistakes = {"are the eigenvalues of zero left out of the mean?": values[1:].sum() / 2}
    assert_close(model.log_noise.exp(), want, rtol=1e-9, what="the noise of four points", mistakes=mistakes)
    assert_close((model.weight**2).sum(), values[0] - want, rtol=1e-9, what="|W|² of four points")


def test_probabilistic_pca_takes_arrays_of_all_kinds():
    """Integers, lists, tensors and strided arrays give what their floats give; they are not changed."""
    x = POINTS.round().astype(int)
    want = array(vae.probabilistic_pca(x.astype(float), 2).log_evidence(x))
    for name, values in {
        "integers": x,
        "lists": x.tolist(),
        "tensors": tensor(x),
        "strided": np.repeat(x.astype(float), 2, axis=1)[:, ::2],
    }.items():
        before = np.array(x)
        got = vae.probabilistic_pca(values, 2).log_evidence(x)
        assert_close(got, want, what=f"probabilistic_pca of {name}")
        assert np.array_equal(before, x), f"probabilistic_pca changed its {name}"


def test_probabilistic_pca_refuses_what_it_cannot_fit():
    flat = np.outer(np.arange(6.0), [1.0, 2.0, -1.0])
    bad = [
        ("latents", 5, 5),
        ("latents", 0, 0),
        ("latents", 7, 7),
        ("x", flat, 1),
        ("x", np.where(POINTS[7, 2] == POINTS, NAN, POINTS), NAN),
        ("x", POINTS[:, 0], "(40,)"),
        ("x", np.ones((4, 3)), "x"),
    ]
    refused(vae.probabilistic_pca, bad, x=POINTS, latents=1)


# Training


class Level(nn.Module):
    """Any images, and one weight per pixel: enough to see what `train` feeds and how it steps."""

    def __init__(self, pixels):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(pixels).double())

    def checked(self, x):
        return tensor(x)


def spied(data, **options):
    """The batches that `train` feeds to its objective, and the history; the objective is −½|level − x|²."""
    batches, model = [], Level(np.shape(data)[1])
    states = []

    def objective(model, x, generator):
        batches.append(x.detach().numpy().copy())
        states.append(model.level.detach().numpy().copy())
        return -((model.level - x) ** 2).sum(1) / 2

    history = vae.train(model, data, objective=objective, **options)
    return batches, states, model, history


CHANCES = np.array([0.1, 0.5, 0.9, 0.0, 1.0, 0.3])


def test_train_goes_through_all_data_in_a_new_order():
    """Each epoch feeds every row once, in batches of the size asked for, the last the rest; the orders differ."""
    data = np.arange(17 * 2).reshape(17, 2) / 50
    batches, *_ = spied(data, epochs=3, batch_size=5, pixels=None, generator=seeded(1))
    assert [len(b) for b in batches] == [5, 5, 5, 2] * 3, f"batches of {[len(b) for b in batches]}, not 5, 5, 5, 2"
    epochs = [np.vstack(batches[i : i + 4]) for i in (0, 4, 8)]
    for epoch in epochs:
        got = epoch[np.argsort(epoch[:, 0])]
        assert_close(got, data, what="the rows of an epoch, sorted")
    assert not np.array_equal(epochs[0], data), "the data are not shuffled"
    assert not np.array_equal(epochs[0], epochs[1]), "every epoch has the same order"


def test_train_throws_the_pixels_as_it_is_asked_to():
    """ "stochastic": anew each epoch; "fixed": once; "rounded": above ½; None: as they are. By default stochastic."""
    data = np.repeat(GREY, 40, axis=0)
    feeds = {}
    for pixels in ("stochastic", "fixed", "rounded", None, "default"):
        options = {} if pixels == "default" else {"pixels": pixels}
        batches, *_ = spied(data, epochs=2, batch_size=80, generator=seeded(1), **options)
        feeds[pixels] = batches
        if pixels is not None:
            assert np.isin(batches[0], (0, 1)).all(), f"pixels={pixels!r}: grey pixels are fed, not black and white"
    ordered = {
        name: [np.sort(b.view([("", b.dtype)] * 6), axis=0).view(float) for b in fed] for name, fed in feeds.items()
    }
    for pixels in ("stochastic", "default"):
        hint = f"pixels={pixels!r}: the same throws in both epochs; were they thrown once, before the first?"
        assert not np.array_equal(*ordered[pixels]), hint
    assert np.array_equal(*ordered["fixed"]), 'pixels="fixed": thrown anew in the second epoch'
    assert not np.array_equal(ordered["fixed"][0], ordered["rounded"][0]), 'pixels="fixed" is rounded, not thrown'
    assert_close(np.sort(feeds["rounded"][0], 0), np.sort(data > 0.5, 0), what='pixels="rounded"')
    assert_close(np.sort(feeds[None][0], 0), np.sort(data, 0), what="pixels=None")


def test_train_throws_each_pixel_with_its_grey(generator):
    """Of 3000 throws of six pixels each is black as often as its grey says, those of 0 and 1 always."""
    data = np.repeat(CHANCES[None], 500, axis=0)
    for pixels in ("stochastic", "fixed"):
        epochs = 6 if pixels == "stochastic" else 1
        rows = data if epochs > 1 else np.repeat(data, 6, axis=0)
        batches, *_ = spied(rows, epochs=epochs, batch_size=500, pixels=pixels, generator=generator)
        black = np.vstack(batches).sum(0)
        for chance, count in zip(CHANCES, black, strict=True):
            hints = {"grey above ½ is always black: rounded, not thrown": float(chance > 0.5)}
            detects = 0.07 if 0 < chance < 1 else 0.01
            assert_proportion(int(count), 3000, chance, detects=detects, hints=hints)
        apart = np.vstack(batches) - CHANCES
        mistakes = {"one throw serves all pixels of an image": 0.15}
        assert_mean(apart[:, 1] * apart[:, 5], 0.0, detects=0.05, hints=mistakes)
        assert_mean(apart[::2, 1] * apart[1::2, 1], 0.0, detects=0.06, hints={"images share their throws": 0.25})


def test_train_climbs_by_adam():
    """A loop with torch's Adam over the same batches ends at the same weights, to rounding."""
    data = np.vstack([GREY, BLACK])
    for rate, epochs, batch in ((0.01, 3, 2), (0.3, 2, 3)):
        options = {"rate": rate, "epochs": epochs, "batch_size": batch}
        batches, _, model, _ = spied(data, pixels=None, generator=seeded(2), **options)

        def loop(sign, batches=batches, rate=rate, total=False, per_epoch=0, momentum=None):
            level = torch.zeros(6).double().requires_grad_()

            def adam():
                return torch.optim.Adam([level], lr=rate) if momentum is None else torch.optim.SGD([level], lr=rate)

            optimizer = adam()
            for step, x in enumerate(batches):
                if per_epoch and step % per_epoch == 0:
                    optimizer = adam()
                optimizer.zero_grad()
                value = -((level - tensor(x)) ** 2).sum(1) / 2
                (-sign * (value.sum() if total else value.mean())).backward()
                optimizer.step()
            return array(level)

        mistakes = {
            "is the objective gone down, not climbed?": loop(-1),
            "is Adam made anew in each epoch?": loop(1, per_epoch=len(batches) // epochs),
            "is it plain gradient ascent, not Adam?": loop(1, momentum=0),
        }
        accumulated = torch.zeros(6).double().requires_grad_()
        optimizer = torch.optim.Adam([accumulated], lr=rate)
        for x in batches:
            (((accumulated - tensor(x)) ** 2).sum(1) / 2).mean().backward()
            optimizer.step()
        mistakes["are the gradients of all batches added up: is zero_grad missing?"] = array(accumulated)
        assert_close(model.level, loop(1), rtol=1e-5, atol=1e-6, what="the weights", mistakes=mistakes)


def test_train_goes_on_with_an_optimizer():
    """With SGD handed over, one step is rate × the slope of the mean objective; the rate of `train` is not used."""
    model = Level(6)

    def objective(model, x, generator):
        return (model.level * x).sum(1)

    sgd = torch.optim.SGD(model.parameters(), lr=0.5)
    vae.train(model, GREY, objective=objective, epochs=1, pixels=None, batch_size=9, rate=7.0, optimizer=sgd)
    mistakes = {
        "is it the sum over the batch, not its mean?": GREY.sum(0) / 2,
        "is the optimizer not used?": np.sign(GREY.mean(0)) * 7.0,
        "is it another one's rate?": 7 * GREY.mean(0),
        "is the objective gone down, not climbed?": -GREY.mean(0) / 2,
    }
    assert_close(model.level, GREY.mean(0) / 2, rtol=1e-9, what="the weights after a step", mistakes=mistakes)


def test_train_steps_by_the_mean_of_each_batch():
    """Equal images in batches of two and one: each step of SGD is the whole slope, however steep, and no other's."""
    model, image = Level(6), GREY[:1]
    model.level.grad = torch.full((6,), 3.0).double()  # left behind by whoever had the model before

    def objective(model, x, generator):
        return 100 * (model.level * x).sum(1)

    sgd = torch.optim.SGD(model.parameters(), lr=0.5)
    data = np.repeat(image, 3, axis=0)
    vae.train(model, data, objective=objective, epochs=2, pixels=None, batch_size=2, optimizer=sgd)
    steep = image[0] * 100
    mistakes = {
        "is the last, smaller batch divided by the size of a full one?": 1.5 * steep,
        "is the slope clipped?": 2 * steep / np.linalg.norm(steep),
        "is a slope from before the training added: is zero_grad called too late?": 2 * steep - 1.5,
    }
    assert_close(model.level, 2 * steep, rtol=1e-9, what="the weights after four steps", mistakes=mistakes)


def test_train_measures_all_test_images_and_goes_on_training():
    """Of 4500 test images the last 500 differ; a model that measures is back in training mode when it trains."""
    test = np.repeat([[0.0, 0.5], [1.0, 0.75]], [4000, 500], axis=0)
    model, modes = blind(), []

    def objective(model, x, generator):
        modes.append(model.training)
        return -((x - model.offset) ** 2).sum(1)

    history = vae.train(model, X[:, :2].clip(0, 1), test=test, objective=objective, epochs=2, pixels=None, rate=0.1)
    values = stats.norm.logpdf(test, array(model.offset)).sum(1)
    mistakes = {
        "is it the mean of the parts' means?": (values[:4000].mean() + values[4000:].mean()) / 2,
        "are only the first images measured?": values[:4000].mean(),
    }
    assert_close(history.test[-1], values.mean(), rtol=1e-9, what="History.test of 4500 images", mistakes=mistakes)
    assert all([*modes, model.training]), "the model is left in its evaluation mode: is `train()` not called again?"


def test_train_tells_the_mean_objective_of_each_epoch():
    """Batches of 5, 5 and 1 count by their rows: History.train is the mean over all 11, of the values as they were."""
    data = np.linspace(0, 1, 22).reshape(11, 2) ** 2
    batches, states, _, history = spied(data, epochs=3, batch_size=5, pixels=None, rate=0.1, generator=seeded(1))
    values = [-((state - x) ** 2).sum(1) / 2 for x, state in zip(batches, states, strict=True)]
    want = [np.concatenate(values[i : i + 3]).mean() for i in (0, 3, 6)]
    mistakes = {
        "is it the mean of the batches' means, where the last is small?": [
            np.mean([v.mean() for v in values[i : i + 3]]) for i in (0, 3, 6)
        ],
        "is it the last batch's?": [values[i + 2].mean() for i in (0, 3, 6)],
        "is it a sum?": [np.concatenate(values[i : i + 3]).sum() for i in (0, 3, 6)],
        "is it the loss, with the sign reversed?": -np.array(want),
    }
    assert_close(history.train, want, rtol=1e-9, what="History.train", mistakes=mistakes)
    test = np.asarray(history.test)
    assert test.shape == (3,), f"History.test has shape {test.shape}: one number for each epoch"
    assert np.isnan(test).all(), f"without test images History.test is {test}, where NaN was asked for"


def blind():
    """The decoder does not look at z, and q is the prior: the bound is log N(x; b, I), with no noise."""
    return vae.LinearGaussian(np.zeros((2, 1)), [0.0, 0.0], 1.0, np.zeros((1, 2)), [0.0], [0.0])


def test_train_measures_the_test_images_after_each_epoch():
    """For a model whose bound is known, log N(x; b, I), with the b that the epoch ended with, on the test images."""
    data, test = np.array([[0.9, 0.8], [0.7, 1.0], [1.0, 0.6]]), np.array([[0.2, 0.1], [0.0, 0.3]])
    model, starts = blind(), []

    def objective(model, x, generator):
        starts.append(array(model.offset).copy())
        return -((x - model.offset) ** 2).sum(1)

    history = vae.train(model, data, test=test, objective=objective, epochs=3, pixels=None, rate=0.1)
    ends = [*starts[1:], array(model.offset)]

    def bound(x, b):
        return stats.norm.logpdf(x, b).sum(1).mean()

    want = [bound(test, b) for b in ends]
    before = [bound(test, b) for b in starts]
    mistakes = {
        "is it measured on the training images?": [bound(data, b) for b in ends],
        "is it measured before the epoch, not after it?": before,
        "is it the running average over the training images?": history.train,
        "is it the objective, not the ELBO, that is measured?": [-((test - b) ** 2).sum(1).mean() for b in ends],
        "is it a sum over the test images?": 2 * np.array(want),
        "is it the negative ELBO?": -np.array(want),
        "is it measured at the end only?": np.full(3, want[-1]),
    }
    assert_close(history.test, want, rtol=1e-9, what="History.test", mistakes=mistakes)


def test_train_leaves_the_test_images_alone():
    """The weights are the same for other test images; grey test images are taken as they are."""
    data, results = np.array([[0.9, 0.8], [0.7, 1.0], [1.0, 0.6], [0.5, 0.5]]), []
    for test in (np.array([[0.2, 0.1]]), np.array([[0.9, 0.4]])):
        model = blind()
        rows = []

        def objective(model, x, generator, rows=rows):
            rows.append(array(x).copy())
            return -((x - model.offset) ** 2).sum(1)

        history = vae.train(
            model, data, test=test, objective=objective, epochs=2, pixels="rounded", rate=0.1, generator=seeded(1)
        )
        want = stats.norm.logpdf(test, array(model.offset)).sum()
        mistakes = {
            "are the test images rounded or thrown? They are taken as they are": stats.norm.logpdf(
                test.round(), array(model.offset)
            ).sum()
        }
        assert_close(history.test[-1], want, rtol=1e-9, what="History.test of grey images", mistakes=mistakes)
        assert sum(map(len, rows)) == 8, (
            f"{sum(map(len, rows))} rows were trained upon, not 4 in each of two epochs: are test images among them?"
        )
        results.append(weights_of(model))
    assert np.array_equal(*results), "the weights depend on the test images: are they trained upon?"


def test_train_climbs_the_estimator_it_is_given():
    """At the posterior path and total tell log p(x); only with the path's slope the encoder stays."""
    x = ((X + 3) / 6).clip(0, 1)
    for name in (*NAMES, "default"):
        model = vae.LinearGaussian.at_the_posterior(ORTHOGONAL, B, TAU)
        options = {} if name == "default" else {"objective": name}
        sgd = torch.optim.SGD(model.parameters(), lr=0.01)
        before = array(model.matrix).copy()
        history = vae.train(model, x, epochs=1, pixels=None, optimizer=sgd, generator=seeded(1), **options)
        moved = np.abs(array(model.matrix) - before).max()
        known = abs(history.train[0] - evidence(x, ORTHOGONAL).mean()) < 1e-9
        assert known == (name in ("total", "path")), f"objective {name!r} has the value of another: {history.train[0]}"
        assert (moved < 1e-12) == (name == "path"), (
            f"objective {name!r} moves the encoder by {moved} at the posterior: is it the slope of another?"
        )


def small():
    g = seeded(7)
    return vae.VAE(vae.Encoder(6, 4, 2, generator=g), vae.Decoder(2, 4, 6, generator=g))


def test_train_with_a_generator():
    """The same seed gives the same weights and history, another gives others; the data are not changed."""
    data = np.vstack([GREY, BLACK])
    before = data.copy()

    def call(dice):
        model = small()
        history = vae.train(model, data, epochs=2, test=BLACK, batch_size=4, generator=dice)
        return np.concatenate([weights_of(model), history.train, history.test])

    assert_same_dice(call, "train")
    for pixels in ("fixed", "rounded", None):
        vae.train(small(), data, epochs=1, pixels=pixels, generator=seeded(1))
    assert np.array_equal(data, before), "train changed its data"
    squares, rows = small(), small()
    vae.train(squares, data.reshape(-1, 2, 3), epochs=1, generator=seeded(1))
    vae.train(rows, data.astype(np.float32), epochs=1, generator=seeded(1))
    assert_close(
        weights_of(squares), weights_of(rows), rtol=1e-5, atol=1e-7, what="weights after squares and after rows"
    )


def test_train_draws_new_codes_in_every_step():
    """With rate 1e-12 the weights stand still, yet the objective of one image differs from step to step."""
    for name in NAMES:
        values = vae.train(
            small(), BLACK[:1], objective=name, epochs=6, pixels=None, rate=1e-12, generator=seeded(1)
        ).train
        assert len(set(np.round(values, 6))) == 6, (
            f"{name}: the same value in several epochs: is the noise drawn once? {values}"
        )


def test_train_reaches_what_can_be_reached(generator):
    """The offset of a blind model climbs to the mean of the data, where the likelihood is largest."""
    model = blind()
    vae.train(
        model,
        POINTS[:, :2] * 0 + [0.25, 0.75],
        epochs=150,
        pixels=None,
        rate=0.05,
        objective="path",
        generator=generator,
    )
    # All draws agree on this slope once W is small; Adam with a fixed rate stays within a few of its steps.
    assert_close(model.offset, [0.25, 0.75], rtol=0, atol=0.2, what="the offset after 150 steps of 0.05")


def test_train_says_so_when_it_leaves_the_numbers():
    """An OverflowError, and no history of NaN: for a rate of 1e200, and for an objective that is not finite."""
    cases = [
        (general(), X / 9 + 0.5, {"rate": 1e200, "epochs": 4}),
        (Level(6), BLACK, {"objective": lambda model, x, generator: (model.level * x).sum(1) - INF}),
        (Level(6), BLACK, {"objective": lambda model, x, generator: (model.level * x).sum(1) * NAN}),
    ]
    for model, data, options in cases:
        try:
            history = vae.train(model, data, pixels=None, generator=seeded(1), **options)
        except OverflowError as error:
            said = str(error)
        else:
            raise AssertionError(
                f"train left the numbers and said nothing: an OverflowError was asked for, not {history}"
            )
        assert "rate" in said, f"the message does not speak of the rate: {said}"


def test_train_refuses_bad_data_and_options():
    bad = [
        ("epochs", 0, 0),
        ("epochs", -1, -1),
        ("epochs", 1.5, 1.5),
        ("batch_size", 0, 0),
        ("rate", 0.0, 0.0),
        ("rate", -1e-3, -1e-3),
        ("rate", NAN, NAN),
        ("objective", "elbo", "'elbo'"),
        ("pixels", "binary", "'binary'"),
    ]
    refused(vae.train, bad, model=small(), data=BLACK, epochs=1)
    for argument, value, shown in BAD_IMAGES:
        for name in ("data", "test"):
            right = {"data": BLACK, "epochs": 1, name: value}
            call = partial(vae.train, small(), **right)
            call.__name__ = f"train, {name}:"
            assert_refused(call, argument=argument, value=shown)
