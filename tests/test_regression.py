"""Least squares, its errors, and networks, against enumerated noise, sympy, scipy, autograd and the entropy floor."""

import functools
import inspect
import itertools
import math
import os

import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, optimize, stats

from solutions import regression
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_frequencies, assert_mean, assert_proportion, assert_variance

# The three laws of y given x, written down once more: f(x), s(x), for x uniform on [0, 20].
MEANS = {"LINE": lambda x: 2 * x, "FAN": lambda x: 2 * x, "WAVE": lambda x: 2 * x + 5 * np.sin(x / 2)}
STDS = {"LINE": lambda x: 0.3 + 0 * x, "FAN": lambda x: 0.3 * x, "WAVE": lambda x: 0.3 * x}
targets = pytest.mark.parametrize("name", ["LINE", "FAN", "WAVE"])
# More columns, as many rows as columns, one of each. The condition numbers of these designs are below 10.
designs = pytest.mark.parametrize(("n", "m"), [(8, 1), (8, 2), (40, 5), (3, 3), (1, 1)])
# A few hundred roundings of numbers around 1, or around 100, lose at most 1e-12 of them.
SHARP = 1e-10
# What quadrature owes: nobody's rule need be better than the numbers of the book, which must agree to 1e-6.
QUADRATURE = 1e-6


def design(n, m):
    """A fixed x (n, m), columns nearly orthogonal, none of mean 0."""
    return np.cos(np.outer(np.arange(1.0, n + 1), np.arange(0.5, m)))


def problem(n, m):
    """x (n, m), and y (n,) that no β fits exactly unless n = m."""
    x = design(n, m)
    return x, 3 + x @ np.arange(1.0, m + 1) + 2 * np.sin(np.arange(1.0, n + 1) ** 2)


def nearly_collinear():
    """x (10, 2), whole numbers near 10⁷: two columns that differ by a millionth. Its condition number is 2·10⁶."""
    a, b = np.array([3, -1, 4, 1, -5, 9, 2, -6, 5, 3.0]), np.array([2, 7, -1, 8, 2, -8, 1, 8, 2, -8.0])
    return np.column_stack([1e7 + a, 1e7 + b])


def signs(n):
    """All patterns of n signs, (2ⁿ, n)."""
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


@functools.cache
def nodes_and_weights():
    """x (4000,) and w (4000,) with Σ w f(x) = E f(x): Gauss's rule, 8 nodes on each of 500 panels in u, x = 20u²."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    u = ((np.arange(500)[:, None] + (nodes + 1) / 2) / 500).ravel()
    return 20 * u**2, np.tile(weights / 1000, 500) * 2 * u


def average(f):
    """E f(x) for x ~ U(0, 20), to 1e-8 even of a logarithm at 0."""
    x, weights = nodes_and_weights()
    return float(weights @ (f(x) + 0 * x))


def floor_of(name, std=None):
    """The smallest expected NLL: E[½ log 2πe s²], or with one given std E[½ log 2πσ² + s²/(2σ²)], in closed form."""
    squared = 0.09 if name == "LINE" else 12.0  # E s²; for s = 0.3x, 0.09 · 400/3
    if std is not None:
        return 0.5 * np.log(2 * np.pi * std**2) + squared / (2 * std**2)
    log_s = np.log(0.3) + (0 if name == "LINE" else np.log(20) - 1)  # E log s; E log x = log 20 - 1
    return 0.5 * np.log(2 * np.pi * np.e) + log_s


def cross_entropy(name, x, mean, std):
    """E[-log N(y; mean, std²)] at each x: the expectation over y by Gauss and Hermite, exact for a square."""
    z, weights = np.polynomial.hermite_e.hermegauss(5)
    y = MEANS[name](x)[:, None] + STDS[name](x)[:, None] * z
    return -stats.norm.logpdf(y, np.reshape(mean, (-1, 1)), np.reshape(std, (-1, 1))) @ (weights / weights.sum())


def target(name):
    """One of the module's targets."""
    return getattr(regression, name)


def of_ones_own(name, mean, noise_std):
    """Another target, by a name of its own or that of one of the module's: a name says nothing of f and s."""
    return regression.Target(target(name).name if name in MEANS else name, mean, noise_std)


def answering(mean, std=None, *, tensors=True):
    """A network in the shape of a function: mean and std are functions of x (n,), it wants x of shape (n, 1)."""

    def network(x):
        x = np.asarray(x, dtype=float)
        assert x.ndim == 2, f"a network takes x of shape (n, 1), it was given shape {x.shape}"
        assert x.shape[1] == 1, f"a network takes x of shape (n, 1), it was given shape {x.shape}"
        parts = [np.array(f(x[:, 0]) + 0 * x[:, 0]) for f in (mean, std) if f]
        parts = [torch.as_tensor(part) for part in parts] if tensors else parts
        return tuple(parts) if std else parts[0]

    return network


def complaint(kind, function, *args, **kwargs):
    """What the call complains of: it has to raise an error of this kind."""
    try:
        result = function(*args, **kwargs)
    except kind as error:
        return str(error)
    returned = " ".join(str(result).split())
    raise AssertionError(f"{function.__name__} should have raised {kind.__name__}, and returned {returned:.200}")


def differentiate(loss, function):
    """Have PyTorch go back from the loss that the function returned."""
    __tracebackhide__ = True
    if not getattr(loss, "requires_grad", False):
        raise AssertionError(
            f"what {function} returns of tensors that ask for gradients has none: "
            "was one of them detached, or made an array or a number?"
        )
    loss.backward()


# Least squares


@pytest.mark.claim("thm-normal-equations")
@designs
def test_ols_agrees_with_lstsq(n, m):
    """ols(x, y) is what numpy's lstsq finds, for one, two and five columns and for as many rows as columns."""
    x, y = problem(n, m)
    gram, with_ones = x.T @ x, np.linalg.lstsq(np.column_stack([np.ones(n), x]), y, rcond=None)[0]
    mistakes = {
        "is the inverse of xᵀx missing?": x.T @ y,
        "is it xᵀx where its inverse belongs?": gram @ x.T @ y,
        "is this one step of gradient descent from 0, and not the minimum?": x.T @ y / n,
        "was an intercept added? The model is y = xβ, without one": with_ones,
        "was an intercept added, or were x and y centred?": with_ones[1:],
        "is this the regression of x on y?": x.T @ y / (y @ y),
        "is this the regression of x on y, turned round?": (y @ y) / (x.T @ y),
        "is this a ratio of means, Σy/Σx?": y.sum() / x.sum(axis=0),
        "is this the mean of the ratios y/x?": (y[:, None] / x).mean(axis=0),
        "is the sign reversed?": -np.linalg.lstsq(x, y, rcond=None)[0],
        "is each column fitted by itself, as if they were orthogonal?": x.T @ y / np.diag(gram),
    }
    if n == m or m > 1:  # where two of them agree with the right answer, or make no sense, they are no mistakes
        mistakes = {why: value for why, value in mistakes.items() if "x on y" not in why and "ratio" not in why}
    want = np.linalg.lstsq(x, y, rcond=None)[0]
    got = regression.ols(x, y)
    assert_close(got, want, rtol=SHARP, what=f"ols(x, y) for x of shape {n, m}", mistakes=mistakes)


@pytest.mark.claim("thm-normal-equations", kind="symbolic")
def test_ols_is_the_only_zero_of_the_gradient():
    """sympy: the gradient of ½|y - xβ|² is -xᵀ(y - xβ), its only zero (xᵀx)⁻¹xᵀy; ols gives that zero's numbers."""
    x = sympy.Matrix([[1, 2], [3, -1], [0, 4], [-2, 5]])
    y, beta = sympy.Matrix(sympy.symbols("y:4")), sympy.Matrix(sympy.symbols("b:2"))
    residual = y - x * beta
    gradient = sympy.Matrix([(residual.dot(residual) / 2).diff(b) for b in beta])
    assert (gradient + x.T * residual).expand() == sympy.zeros(2, 1)
    solutions = sympy.solve(list(gradient), list(beta), dict=True)
    assert len(solutions) == 1
    zero = sympy.Matrix([solutions[0][b] for b in beta])
    assert (zero - (x.T * x).inv() * x.T * y).expand() == sympy.zeros(2, 1)
    assert gradient.jacobian(beta).is_positive_definite  # so the zero is a minimum
    values = [5, -2, 7, 1]
    want = np.array(zero.subs(dict(zip(y, values, strict=True))), dtype=float)[:, 0]
    got = regression.ols(np.array(x, dtype=float), np.array(values, dtype=float))
    assert_close(got, want, rtol=SHARP, what="ols(x, y)")


@pytest.mark.claim("thm-normal-equations")
@designs
def test_ols_leaves_a_residual_orthogonal_to_the_columns(n, m):
    """xᵀ(y - xβ̂) = 0, and |y - x(β̂ + d)|² = |y - xβ̂|² + |xd|² for every d: no other β is as good."""
    x, y = problem(n, m)
    beta = regression.ols(x, y)
    residual = y - x @ beta
    assert_close(x.T @ residual, np.zeros(m), atol=1e-11, what="xᵀ(y - xβ̂)")
    for d in np.vstack([np.eye(m), -np.eye(m), np.ones((1, m))]):
        got = np.sum((y - x @ (beta + d)) ** 2) - residual @ residual
        assert_close(got, np.sum((x @ d) ** 2), rtol=1e-9, atol=1e-10, what=f"what it costs to move β̂ by {d}")


def test_ols_of_whole_numbers():
    """β̂ = Σxy/Σx² = 29/14 for x = 1, 2, 3 and y = 2, 3, 7, given as integers."""
    x, y = np.array([[1], [2], [3]]), np.array([2, 3, 7])
    mistakes = {
        "is the result cut to whole numbers because x is?": [2.0],
        "was an intercept added, or were x and y centred?": [2.5],
        "is this the regression of x on y?": [29 / 62],
        "is this the regression of x on y, turned round?": [62 / 29],
        "is this a ratio of means, Σy/Σx?": [2.0],
        "is the inverse of xᵀx missing?": [29.0],
        "is this one step of gradient descent from 0, and not the minimum?": [29 / 3],
    }
    assert_close(regression.ols(x, y), [29 / 14], rtol=SHARP, what="ols(x, y)", mistakes=mistakes)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_ols_of_whole_numbers_whose_squares_are_too_large_for_them(kind):
    """Of x = 100, 120 and y = 1, 2, one byte each: β̂ = Σxy/Σx² = 340/24400, though no byte holds 100²."""
    x, y = np.array([[100], [120]], dtype=kind), np.array([1, 2], dtype=kind)
    what = f"ols of {kind.__name__} (are sums and products taken in the type of x? Make floats of them first)"
    assert_close(regression.ols(x, y), [(100 * 1 + 120 * 2) / (100**2 + 120**2)], rtol=SHARP, what=what)


def test_ols_weighs_every_row_alike():
    """x = 1 in 30,000 rows: β̂ is the mean of y, 1 if one of the y is 30,000 and the others 0, whichever it is."""
    n = 30_000
    for row in (0, 12_345, n - 1):
        y = np.zeros(n)
        y[row] = n
        what = f"ols where all y are 0, but that in row {row} of {n}"
        mistakes = {"is a row left out, for lying far off or coming late?": [0.0]}
        assert_close(regression.ols(np.ones((n, 1)), y), [1.0], rtol=SHARP, what=what, mistakes=mistakes)


def test_ols_keeps_its_digits_when_columns_are_nearly_collinear():
    """Two columns that differ by a millionth: of y = xβ, without noise, ols returns β to 1e-7.

    The condition number c of x is 2·10⁶. An orthogonal decomposition loses a factor c of the 16 digits, or 1e-9; the
    normal equations lose c², and all but 3 or 4 digits are gone.
    """
    x = nearly_collinear()
    y = x @ [1.0, -2.0]  # of whole numbers below 2⁵³: exact
    got = regression.ols(x, y)
    error = np.abs(np.asarray(got) - [1, -2]).max()
    hint = f"off by {error:.1g}: are these the normal equations, whose condition number is that of x squared?"
    assert_close(got, [1.0, -2.0], rtol=1e-7, what="ols of nearly collinear columns", mistakes={hint: got})


def test_ols_does_not_mind_the_units_of_the_columns():
    """In units that make one column 10⁷ times as long as another, each coefficient changes by that column's factor."""
    x, y = problem(40, 5)
    scale = np.array([1e-4, 1.0, 1e3, 10.0, 0.1])
    want = np.linalg.lstsq(x, y, rcond=None)[0] / scale
    # Even where columns are not scaled first, the loss is the condition number, 10⁷, of 16 digits.
    assert_close(regression.ols(x * scale, y), want, rtol=1e-7, what="ols of columns in other units")


def test_ols_does_not_mind_large_numbers():
    """Ten million added to x: the line through the origin of y = 3x is found to eleven digits."""
    x = 1e7 + np.arange(9.0)[:, None]
    assert_close(regression.ols(x, 3 * x[:, 0]), [3.0], rtol=1e-11, what="ols with a large offset")


@pytest.mark.claim("thm-ols-unbiased")
@pytest.mark.parametrize("kind", ["a sign for each row", "skewed", "the same for all rows"])
def test_ols_is_unbiased_whatever_the_noise(kind):
    """Averaged over all that the noise can be, β̂ is β: rows of unlike spread, skewed noise, dependent noise."""
    x, beta = design(6, 2), np.array([2.0, -3.0])
    spread = np.array([0.1, 2.0, 0.5, 3.0, 1.0, 4.0])
    pattern = signs(6)
    weights = np.full(64, 1 / 64)
    if kind == "skewed":  # 2 with probability 1/3, -1 with 2/3
        pattern = np.where(pattern > 0, 2.0, -1.0)
        weights = np.prod(np.where(pattern > 0, 1 / 3, 2 / 3), axis=1)
    if kind == "the same for all rows":
        pattern = np.repeat([[-1.0], [1.0]], 6, axis=1)
        weights = np.full(2, 0.5)
    estimates = np.array([regression.ols(x, x @ beta + spread * noise) for noise in pattern])
    assert_close(weights @ estimates, beta, rtol=SHARP, what="E β̂")


# Its covariance


def mistakes_in_covariance(x, variance):
    """What people compute when they mean σ²(xᵀx)⁻¹, and why."""
    n, m = x.shape
    inverse = np.linalg.inv(x.T @ x)
    return {
        "is the inverse of xᵀx missing?": variance * x.T @ x,
        "σ where σ² belongs: was the variance taken for its root?": np.sqrt(variance) * inverse,
        "was noise_variance squared once more?": variance**2 * inverse,
        "is σ² forgotten?": inverse,
        "is it divided by n too, as if xᵀx were a mean?": variance * inverse / n,
        "is it multiplied by n, as if xᵀx were a mean?": variance * inverse * n,
        "was σ² multiplied by n/(n - m)? It is given, not estimated": variance * inverse * n / max(n - m, 1),
        "is it (xxᵀ)⁻¹ where (xᵀx)⁻¹ belongs?": variance * np.linalg.pinv(x @ x.T),
        "is this the covariance of the fitted values, σ²H?": variance * x @ inverse @ x.T,
        "are these the variances alone, without the covariances?": variance * np.diag(inverse),
        "are the covariances left out?": variance * np.diag(np.diag(inverse)),
        "is the inverse taken entry by entry?": variance / (x.T @ x),
    }


@pytest.mark.claim("thm-ols-covariance")
@designs
def test_ols_covariance_is_the_formula(n, m):
    """ols_covariance(x, σ²) is σ²(xᵀx)⁻¹."""
    x, variance = design(n, m), 2.5
    want = variance * np.linalg.inv(x.T @ x)
    mistakes = {why: value for why, value in mistakes_in_covariance(x, variance).items() if not _same(value, want)}
    got = regression.ols_covariance(x, variance)
    assert_close(got, want, rtol=SHARP, atol=1e-12, what=f"ols_covariance(x, {variance})", mistakes=mistakes)


def _same(a, b):
    return np.shape(a) == np.shape(b) and np.allclose(a, b)


@pytest.mark.claim("thm-ols-covariance")
@pytest.mark.parametrize("kind", ["independent", "uncorrelated"])
def test_ols_covariance_is_that_of_all_that_the_noise_can_be(kind):
    """E(β̂ - β)(β̂ - β)ᵀ over all 2⁶ noises ±σ, or over the twelve ±√6 σeᵢ, dependent but uncorrelated."""
    x, beta, variance = design(6, 2), np.array([2.0, -3.0]), 2.5
    pattern = signs(6) if kind == "independent" else np.sqrt(6) * np.vstack([np.eye(6), -np.eye(6)])
    errors = np.array([regression.ols(x, x @ beta + np.sqrt(variance) * noise) - beta for noise in pattern])
    want = errors.T @ errors / len(errors)
    got = regression.ols_covariance(x, variance)
    what, mistakes = f"ols_covariance(x, {variance})", mistakes_in_covariance(x, variance)
    assert_close(got, want, rtol=1e-9, atol=1e-12, what=what, mistakes=mistakes)


@pytest.mark.claim("lem-second-moment")
def test_ols_covariance_follows_from_the_second_moment_of_y():
    """E[yyᵀ] = σ²I + xββᵀxᵀ by enumeration; with A = (xᵀx)⁻¹xᵀ, A E[yyᵀ] Aᵀ - ββᵀ is then Cov β̂."""
    x, beta, variance = design(6, 2), np.array([2.0, -3.0]), 2.5
    y = x @ beta + np.sqrt(variance) * signs(6)
    second_moment = y.T @ y / len(y)
    signal = x @ np.outer(beta, beta) @ x.T
    mistakes = {
        "is the signal forgotten (E86)?": variance * np.eye(6),
        "is it a difference where a sum belongs?": variance * np.eye(6) - signal,
    }
    want = variance * np.eye(6) + signal
    assert_close(second_moment, want, rtol=SHARP, atol=1e-11, what="E[yyᵀ]", mistakes=mistakes)
    a = np.column_stack([regression.ols(x, unit) for unit in np.eye(6)])  # ols is linear in y: its matrix
    got = a @ want @ a.T - np.outer(beta, beta)
    assert_close(regression.ols_covariance(x, variance), got, rtol=1e-9, atol=1e-11, what="A E[yyᵀ] Aᵀ - ββᵀ")


@pytest.mark.claim("thm-sandwich")
@pytest.mark.parametrize("m", [1, 2])
def test_ols_covariance_of_rows_with_noise_of_their_own(m):
    """E(β̂ - β)(β̂ - β)ᵀ over all 2⁶ noises ±σᵢ is ols_covariance(x, (σ₁², …, σ₆²))."""
    x, variances = design(6, m), np.array([0.01, 4.0, 0.25, 9.0, 1.0, 16.0])
    errors = np.array([regression.ols(x, np.sqrt(variances) * noise) for noise in signs(6)])
    want = errors.T @ errors / len(errors)
    inverse, meat = np.linalg.inv(x.T @ x), x.T @ np.diag(variances) @ x
    mistakes = {
        "was one mean variance used for all rows?": variances.mean() * inverse,
        "is the bread missing, on both sides?": meat,
        "is one slice of the bread missing?": inverse @ meat,
        "σᵢ where σᵢ² belongs?": inverse @ x.T @ np.diag(np.sqrt(variances)) @ x @ inverse,
        "were the variances squared once more?": inverse @ x.T @ np.diag(variances**2) @ x @ inverse,
        "is this the covariance of weighted least squares?": np.linalg.inv(x.T @ np.diag(1 / variances) @ x),
        "is this only the first row's variance?": variances[0] * inverse,
        "is this the inverse of xᵀVx?": np.linalg.inv(meat),
        "is this the correction of n/(n - m)? The variances are given": want * 6 / (6 - m),
    }
    got = regression.ols_covariance(x, variances)
    assert_close(got, want, rtol=1e-9, atol=1e-12, what="ols_covariance(x, variances)", mistakes=mistakes)
    same = regression.ols_covariance(x, np.full(6, 2.5))
    assert_close(same, 2.5 * inverse, rtol=SHARP, atol=1e-12, what="ols_covariance with one variance for each row")


@pytest.mark.claim("thm-sandwich")
@pytest.mark.parametrize(
    ("rows", "variances", "kind"),
    [
        ([[1, 2, 0], [0, 1, 1], [1, 0, 3]], [1, 4, 9], float),
        ([[1], [2]], [1, 4], float),
        ([[100], [120]], 1, np.int8),
        ([[100], [120]], [1, 4], np.int8),
    ],
)
def test_ols_covariance_in_fractions(rows, variances, kind):
    """(xᵀx)⁻¹xᵀVx(xᵀx)⁻¹ by sympy: as many rows as columns; two rows, 17/25; numbers whose squares no byte holds."""
    x, v = sympy.Matrix(rows), sympy.diag(*np.broadcast_to(variances, len(rows)).tolist())
    bread = (x.T * x).inv() * x.T
    want = np.array(bread * v * bread.T, dtype=float)
    inverse, v = np.array(bread, dtype=float), np.array(v, dtype=float)
    mistakes = {
        "is this only the first row's variance?": v[0, 0] * inverse @ inverse.T,
        "was one mean variance used for all rows?": np.mean(variances) * inverse @ inverse.T,
    }
    if len(inverse) == len(v):
        mistakes["is each variance given to a coefficient, where it belongs to a row?"] = v @ inverse @ inverse.T
    mistakes = {why: value for why, value in mistakes.items() if not _same(value, want)}
    what = f"ols_covariance of {kind.__name__} rows {rows} with noise of variance {variances}"
    got = regression.ols_covariance(
        np.array(rows, dtype=kind), np.array(variances) if np.ndim(variances) else variances
    )
    assert_close(got, want, rtol=1e-9, atol=1e-15, what=what, mistakes=mistakes)


def test_ols_covariance_keeps_its_digits_when_columns_are_nearly_collinear():
    """Two columns that differ by a millionth: σ²(xᵀx)⁻¹, by sympy in fractions, to 1e-7.

    As for `ols`: an orthogonal decomposition leaves 1e-9, and the inverse of xᵀx three or four digits.
    """
    x = nearly_collinear()
    exact = sympy.Matrix(x.astype(int))
    want = np.array((exact.T * exact).inv(), dtype=float)
    for noise_variance in (1.0, np.ones(10)):
        got = regression.ols_covariance(x, noise_variance)
        error = np.abs(np.asarray(got) / want - 1).max()
        hint = f"off by {error:.1g} of itself: is xᵀx inverted, whose condition number is that of x squared?"
        what = "ols_covariance of nearly collinear columns"
        assert_close(got, want, rtol=1e-7, what=what, mistakes={hint: got})


@pytest.mark.claim("thm-sandwich")
def test_ols_covariance_of_the_fan_is_nine_fifths_of_the_textbook_formula():
    """s = 0.3x at the midpoints of 1,000 panels of [0, 20]: 0.162/n, and 9/5 of what the mean variance gives.

    The midpoint rule errs by 5/(6n²) of E x⁴ and 1/(4n²) of E x², relatively: 2e-6 at most together.
    """
    n = 1000
    x = (20 * (np.arange(n) + 0.5) / n)[:, None]
    variances = 0.09 * x[:, 0] ** 2
    robust, textbook = regression.ols_covariance(x, variances), regression.ols_covariance(x, variances.mean())
    mistakes = {"was one mean variance used for all rows?": textbook}
    assert_close(robust, [[0.162 / n]], rtol=2e-6, what="ols_covariance for the fan", mistakes=mistakes)
    assert_close(robust / textbook, [[9 / 5]], rtol=2e-6, what="its ratio to the textbook formula")
    weighted = regression.ols_covariance(x / np.sqrt(variances)[:, None], 1.0)
    assert_close(weighted, [[0.09 / n]], rtol=SHARP, what="the covariance with each row weighted by 1/σᵢ")


@pytest.mark.claim("thm-sandwich", kind="symbolic")
def test_ols_covariance_of_the_fan_is_nine_fifths_by_integration():
    """sympy: n Cov β̂ tends to E[x² s²]/(E x²)² = 0.162 for s = 0.3x, E s²/E x² = 0.09 times E x⁴/(E x²)² = 9/5."""
    x = sympy.symbols("x", positive=True)

    def mean(f):
        return sympy.integrate(f, (x, 0, 20)) / 20

    s = sympy.Rational(3, 10) * x
    assert mean(x**2 * s**2) / mean(x**2) ** 2 == sympy.Rational(162, 1000)
    assert mean(s**2) / mean(x**2) == sympy.Rational(9, 100)
    assert mean(x**4) / mean(x**2) ** 2 == sympy.Rational(9, 5)
    assert 1 / mean(x**2 / s**2) == sympy.Rational(9, 100)  # weighted by 1/s


@pytest.mark.claim("thm-sandwich")
def test_ols_with_weighted_rows_has_the_smallest_covariance():
    """Rows weighted by 1/σᵢ: any other A with Ax = I has Cov = (xᵀV⁻¹x)⁻¹ + (A - A*)V(A - A*)ᵀ, so more."""
    x, variances = design(6, 2), np.array([0.01, 4.0, 0.25, 9.0, 1.0, 16.0])
    std, v = np.sqrt(variances), np.diag(variances)
    best = np.column_stack([regression.ols(x / std[:, None], unit / std) for unit in np.eye(6)])
    smallest = regression.ols_covariance(x / std[:, None], 1.0)
    assert_close(best @ x, np.eye(2), atol=1e-10, what="A*x: the weighted estimator's mean")
    assert_close(smallest, np.linalg.inv(x.T @ np.diag(1 / variances) @ x), rtol=1e-9, atol=1e-12, what="(xᵀV⁻¹x)⁻¹")
    assert_close(best @ v @ best.T, smallest, rtol=1e-9, atol=1e-12, what="the weighted estimator's covariance")
    plain = np.column_stack([regression.ols(x, unit) for unit in np.eye(6)])
    hat = x @ plain
    for other in (plain, best + np.cos(np.arange(12.0)).reshape(2, 6) @ (np.eye(6) - hat)):
        assert_close(other @ x, np.eye(2), atol=1e-10, what="Ax for another unbiased estimator")
        more = (other - best) @ v @ (other - best).T
        assert_close(other @ v @ other.T, smallest + more, rtol=1e-9, atol=1e-11, what="its covariance")
        assert np.linalg.eigvalsh(more).max() > 0.01


@pytest.mark.claim("thm-sandwich")
def test_ols_covariance_is_how_far_the_slope_of_a_fan_really_goes(rng):
    """(β̂ - 2)² over ols_covariance(x, s(x)²) has mean 1, in 4,000 batches of 20 rows; not so the textbook formula."""
    squares, textbook = [], []
    for _ in range(4_000):
        x = rng.uniform(0, 20, (20, 1))
        s = 0.3 * x[:, 0]
        error = regression.ols(x, 2 * x[:, 0] + s * rng.standard_normal(20))[0] - 2
        squares.append(error**2 / regression.ols_covariance(x, s**2)[0, 0])
        textbook.append(error**2 / (np.mean(s**2) / np.sum(x**2)))
    hints = {"one mean variance seems to be used for all rows": np.mean(textbook)}
    assert_mean(squares, 1.0, detects=0.25, hints=hints)


# More columns than rows


@pytest.mark.claim("prop-underdetermined", kind="symbolic")
@pytest.mark.parametrize(("last", "rank"), [([2, 0, 5, 1, 1], 3), ([1, 3, 1, 5, 1], 2)])
def test_ols_refuses_what_has_many_answers(last, rank):
    """n = 3, m = 5, in sympy: xᵀx has a null space of dimension m - rank ≥ m - n; ols names the rank, and refuses."""
    rows = [[1, 2, 0, 1, 3], [0, 1, 1, 4, -2], last]
    x = sympy.Matrix(rows)
    assert x.rank() == rank
    null_space = (x.T * x).nullspace()
    assert len(null_space) == 5 - rank >= 5 - 3
    assert all(x * v == sympy.zeros(3, 1) for v in null_space)
    y = x * sympy.Matrix([1, -1, 2, 0, 3])
    numbers = np.array(rows, dtype=float), np.array(y, dtype=float)[:, 0]
    assert_refused(regression.ols, *numbers, argument="x", value=rank)


@pytest.mark.claim("prop-underdetermined", kind="symbolic")
def test_ols_gives_the_dual_weights_of_the_shortest_fit():
    """xᵀ(xxᵀ)⁻¹y fits y exactly, equals pinv(x)y, and any other fit is longer by its part in the null space.

    The matrix xᵀ(xxᵀ)⁻¹ is, transposed, (xxᵀ)⁻¹x: column by column, what `ols` finds for the design xᵀ.
    """
    x, y = sympy.Matrix([[1, 2, 0, 1, 3], [0, 1, 1, 4, -2], [2, 0, 5, 1, 1]]), sympy.Matrix([7, -3, 4])
    shortest = x.T * (x * x.T).inv() * y
    assert x * shortest == y
    a, b = sympy.symbols("a b")
    first, second = (x.T * x).nullspace()
    v = a * first + b * second
    other = shortest + v
    assert (x * other - y).expand() == sympy.zeros(3, 1)
    assert sympy.expand(other.dot(other) - shortest.dot(shortest) - v.dot(v)) == 0
    rows, values = np.array(x, dtype=float), np.array(y, dtype=float)[:, 0]
    want = np.array(shortest, dtype=float)[:, 0]
    assert_close(np.linalg.pinv(rows) @ values, want, rtol=1e-9, what="pinv(x) y")
    dual = np.column_stack([regression.ols(rows.T, unit) for unit in np.eye(5)])
    assert_close(dual.T @ values, want, rtol=1e-9, what="xᵀ(xxᵀ)⁻¹y")


# The likelihood


STDS_TRIED = (0.1, 0.3, 1.0, 7.0)


def mistakes_in_nll(beta, x, y, std):
    """What people compute when they mean the mean negative log-likelihood, and why."""
    residual = y - x @ beta
    right = -stats.norm.logpdf(residual, 0, std).mean()
    squares = np.sum(residual**2)
    with np.errstate(all="ignore"):
        return {
            "is the constant ½ log 2π dropped?": right - 0.5 * np.log(2 * np.pi),
            "is log σ dropped?": right - np.log(std),
            "is the constant ½ log 2πσ² dropped?": right - 0.5 * np.log(2 * np.pi * std**2),
            "was std taken for a variance?": -stats.norm.logpdf(residual, 0, np.sqrt(std)).mean(),
            "was the variance used where the standard deviation belongs?": -stats.norm.logpdf(
                residual, 0, std**2
            ).mean(),
            "is this the sum over the rows, not their mean?": right * len(y),
            "is the sum of squares not divided by n?": right + squares / (2 * std**2) * (1 - 1 / len(y)),
            "is the constant summed over the rows, and the squares averaged?": right
            + (len(y) - 1) * 0.5 * np.log(2 * np.pi * std**2),
            "is the sign reversed?": -right,
            "is the sign of the squares reversed?": right - squares / len(y) / std**2,
            "is the sign of the log reversed?": right - np.log(2 * np.pi * std**2),
            "is the ½ of the squares missing?": right + squares / (2 * len(y) * std**2),
            "is it log σ² where log σ belongs?": right + np.log(std),
            "is it ½ log σ where log σ belongs?": right - 0.5 * np.log(std),
            "is this a mean of densities: is the log missing (E87)?": stats.norm.pdf(residual, 0, std).mean(),
            "is the log missing (E87)?": -stats.norm.pdf(residual, 0, std).mean(),
            "is this the log of the mean density, not the mean of the logs?": -np.log(
                stats.norm.pdf(residual, 0, std).mean()
            ),
            "is the square missing?": 0.5 * np.log(2 * np.pi * std**2) + np.mean(np.abs(residual)) / (2 * std**2),
            "is 1/σ where 1/σ² belongs?": 0.5 * np.log(2 * np.pi * std**2) + squares / (2 * len(y) * std),
        }


@pytest.mark.claim("thm-ml-is-least-squares")
@pytest.mark.parametrize("std", STDS_TRIED)
@designs
def test_mean_nll_agrees_with_scipy(n, m, std):
    """mean_nll(β, x, y, σ) is the mean of -log N(yᵢ; xᵢβ, σ²), by scipy, constant and all."""
    x, y = problem(n, m)
    beta = np.linspace(-1, 2, m)
    want = -stats.norm.logpdf(y, x @ beta, std).mean()
    mistakes = {why: v for why, v in mistakes_in_nll(beta, x, y, std).items() if not np.isclose(v, want)}
    what = f"mean_nll(beta, x, y, {std})"
    assert_close(regression.mean_nll(beta, x, y, std), want, rtol=SHARP, atol=1e-11, what=what, mistakes=mistakes)


def test_mean_nll_takes_tensors_and_keeps_their_precision():
    """On tensors mean_nll gives the number it gives on arrays, as a tensor in their precision."""
    x, y = problem(8, 2)
    beta = np.array([0.5, -1.0])
    want = -stats.norm.logpdf(y, x @ beta, 0.3).mean()
    for dtype, rtol in {torch.float64: SHARP, torch.float32: 1e-5}.items():
        got = regression.mean_nll(*(torch.tensor(a, dtype=dtype) for a in (beta, x, y)), 0.3)
        assert isinstance(got, torch.Tensor), f"mean_nll of tensors should be a tensor, got {type(got).__name__}"
        assert got.dtype == dtype, f"mean_nll of {dtype} tensors should be {dtype}, got {got.dtype}"
        assert_close(got, want, rtol=rtol, what=f"mean_nll of {dtype} tensors")


@pytest.mark.parametrize(("offset", "residual", "std"), [(1e8, 1.0, 1.0), (0.0, 1e5, 1.0), (0.0, 1e-6, 1e-6)])
def test_mean_nll_of_numbers_that_are_very_large_or_very_small(offset, residual, std):
    """Residuals ±r and nothing else: ½ log 2πσ² + r²/(2σ²), of x and y near 10⁸, of r = 10⁵, and of σ = 10⁻⁶."""
    x = offset + np.arange(1.0, 9)
    y = x + residual * np.array([1, -1] * 4)
    want = 0.5 * np.log(2 * np.pi * std**2) + residual**2 / (2 * std**2)
    what = f"mean_nll of x from {x[0]:.10g} on, with residuals ±{residual:g} and σ = {std:g}"
    if offset:
        what += " (is the square multiplied out, yᵀy - 2βᵀxᵀy + βᵀxᵀxβ? It cancels: square the residuals)"
    else:
        what += " (is anything cut off?)"
    # 1 + 10⁻⁶ is rounded by 10⁻¹⁶: residuals of 10⁻⁶ are known to 10⁻¹⁰ of themselves, or nearly
    assert_close(regression.mean_nll(np.ones(1), x[:, None], y, std), want, rtol=1e-8, what=what)


@pytest.mark.claim("thm-ml-is-least-squares")
@pytest.mark.parametrize("std", STDS_TRIED)
def test_mean_nll_is_smallest_at_the_least_squares_fit_whatever_the_std(std):
    """mean_nll(β̂ + d) - mean_nll(β̂) = |xd|²/(2nσ²) for every d: the maximum of the likelihood is β̂, for every σ."""
    x, y = problem(40, 5)
    beta = regression.ols(x, y)
    lowest = regression.mean_nll(beta, x, y, std)
    for d in np.vstack([np.eye(5), -np.eye(5), np.ones((1, 5))]):
        want = np.sum((x @ d) ** 2) / (2 * 40 * std**2)
        got = regression.mean_nll(beta + d, x, y, std) - lowest
        assert_close(got, want, rtol=1e-8, what=f"what it costs to move β̂ by {d}")


@pytest.mark.claim("thm-ml-is-least-squares")
def test_mean_nll_minimised_by_scipy_gives_ols():
    """scipy's minimiser, which knows nothing but mean_nll, ends at ols(x, y) to 1e-4, for σ of 0.3 and of 3."""
    x, y = problem(40, 2)
    for std in (0.3, 3.0):
        found = optimize.minimize(lambda beta, std=std: float(regression.mean_nll(beta, x, y, std)), np.zeros(2))
        assert_close(found.x, regression.ols(x, y), rtol=1e-4, what=f"the minimum of mean_nll at σ = {std}")


@pytest.mark.claim("prop-best-std")
@pytest.mark.parametrize("n", [3, 40])
def test_mean_nll_is_smallest_at_the_root_mean_squared_residual(n):
    """At σ* = √(|y - xβ|²/n) mean_nll is ½ log 2πeσ*²; towards it it falls, and beyond it it rises."""
    x, y = problem(n, 2)
    beta = np.array([0.5, -1.0])
    best = np.sqrt(np.mean((y - x @ beta) ** 2))

    def nll(std):
        return float(regression.mean_nll(beta, x, y, float(std)))

    assert_close(nll(best), 0.5 * np.log(2 * np.pi * np.e * best**2), rtol=SHARP, what="mean_nll at σ*")
    falling = [nll(best * factor) for factor in (0.01, 0.1, 0.5, 0.9, 0.999, 1)]
    rising = [nll(best * factor) for factor in (1, 1.001, 1.1, 2, 10, 1000)]
    assert np.all(np.diff(falling) < 0), f"mean_nll should fall towards σ* = {best:.4g}, it goes {falling}"
    assert np.all(np.diff(rising) > 0), f"mean_nll should rise beyond σ* = {best:.4g}, it goes {rising}"


@pytest.mark.claim("prop-best-std")
def test_mean_nll_tells_the_same_residual_at_every_std():
    """σ √(2 mean_nll - log 2πσ²) is the root mean squared residual, whatever σ: rows of one table share it (E90)."""
    x, y = problem(40, 2)
    beta = np.array([0.5, -1.0])
    got = [std * np.sqrt(2 * regression.mean_nll(beta, x, y, std) - np.log(2 * np.pi * std**2)) for std in STDS_TRIED]
    want = np.full(len(STDS_TRIED), np.sqrt(np.mean((y - x @ beta) ** 2)))
    assert_close(got, want, rtol=1e-9, what="the residual read back from mean_nll")


@pytest.mark.claim("prop-best-std", kind="symbolic")
def test_mean_nll_has_one_minimum_in_the_std():
    """sympy: ½ log 2πσ² + r²/(2σ²) has derivative (σ² - r²)/σ³ in σ: one zero, σ = r, where it is ½ log 2πe r²."""
    sigma, r = sympy.symbols("sigma r", positive=True)
    nll = sympy.log(2 * sympy.pi * sigma**2) / 2 + r**2 / (2 * sigma**2)
    assert sympy.simplify(nll.diff(sigma) - (sigma**2 - r**2) / sigma**3) == 0
    assert sympy.solve(nll.diff(sigma), sigma) == [r]
    lowest = nll.subs(sigma, r)
    assert sympy.simplify(sympy.expand_log(lowest - sympy.log(2 * sympy.pi * sympy.E * r**2) / 2)) == 0
    x, y = np.array([[1.0], [1.0]]), np.array([3.0, -3.0])  # whatever σ, r = 3 at β = 0
    for std in (0.5, 3.0, 8.0):
        want = float(nll.subs({sigma: std, r: 3}))
        assert_close(regression.mean_nll(np.zeros(1), x, y, std), want, rtol=SHARP, what="mean_nll")


@pytest.mark.claim("prop-optimism")
@pytest.mark.parametrize(("n", "m"), [(6, 1), (6, 2), (6, 5)])
def test_mean_nll_is_too_small_in_sample_by_m_over_n(n, m):
    """Over all 2⁶ noises ±σ: E RSS/n = (1 - m/n)σ² for the rows β̂ was fitted to, (1 + m/n)σ² for new ones.

    So mean_nll at the true σ is ½ log 2πσ² + ½(1 ∓ m/n) on average: m/n apart.
    """
    x, beta, std = design(n, m), np.arange(1.0, m + 1), 0.7
    noises = std * signs(n)
    fits = [regression.ols(x, x @ beta + noise) for noise in noises]
    inside = [np.mean((x @ beta + noise - x @ fit) ** 2) for fit, noise in zip(fits, noises, strict=True)]
    # New noise is independent of the fit: on average over it the square is σ² + |x(β - β̂)|²/n.
    outside = [std**2 + np.mean((x @ (beta - fit)) ** 2) for fit in fits]
    assert_close(np.mean(inside), (1 - m / n) * std**2, rtol=SHARP, what="E RSS/n in sample")
    assert_close(np.mean(outside), (1 + m / n) * std**2, rtol=SHARP, what="E RSS/n out of sample")
    constant = 0.5 * np.log(2 * np.pi * std**2)
    nlls = [regression.mean_nll(fit, x, x @ beta + noise, std) for fit, noise in zip(fits, noises, strict=True)]
    what = "the mean of mean_nll in sample"
    assert_close(np.mean(nlls), constant + 0.5 * (1 - m / n), rtol=1e-9, what=what)
    for fit in fits[:3]:  # that mean_nll on new noise averages to what was just said of it
        new = [regression.mean_nll(fit, x, x @ beta + std * noise, std) for noise in signs(n)]
        want = constant + 0.5 + np.mean((x @ (beta - fit)) ** 2) / (2 * std**2)
        assert_close(np.mean(new), want, rtol=1e-9, what="the mean of mean_nll over new noise")


# Its gradient


@pytest.mark.claim("prop-nll-gradient", kind="automatic differentiation")
@pytest.mark.parametrize("std", STDS_TRIED)
@designs
def test_nll_gradient_is_the_automatic_gradient(n, m, std):
    """nll_gradient is what PyTorch finds by differentiating mean_nll itself, entry by entry, from either side (E93)."""
    x, y = problem(n, m)
    beta = np.linspace(-1, 2, m)
    variable = torch.tensor(beta, requires_grad=True)
    differentiate(regression.mean_nll(variable, torch.tensor(x), torch.tensor(y), std), "mean_nll")
    want = variable.grad.numpy()
    got = regression.nll_gradient(beta, x, y, std)
    mistakes = mistakes_in_gradient(want, x, y, std)
    what = f"nll_gradient(beta, x, y, {std})"
    assert_close(got, want, rtol=SHARP, atol=1e-10, what=what, mistakes=mistakes)


def mistakes_in_gradient(want, x, y, std):
    """What people compute when they mean the gradient of the mean NLL, and why."""
    n = len(y)
    mistakes = {
        "is the sign reversed? Or is the residual xβ - y?": -want,
        "is 1/n missing: the gradient of the sum, not of the mean?": want * n,
        "is 1/σ² missing?": want * std**2,
        "is it 1/σ where 1/σ² belongs?": want * std,
        "is it 1/σ⁴ where 1/σ² belongs?": want / std**2,
        "is it the gradient of the square without its ½?": 2 * want,
        "both 1/n and 1/σ² missing?": want * n * std**2,
        "is β forgotten: -xᵀy/(nσ²)?": -x.T @ y / (n * std**2),
    }
    return {why: value for why, value in mistakes.items() if not _same(value, want)}


@pytest.mark.claim("prop-nll-gradient")
@designs
def test_nll_gradient_is_the_formula_and_vanishes_at_ols(n, m):
    """-xᵀ(y - xβ)/(nσ²), from scipy's numerical derivative of scipy's log-density; and 0 at ols(x, y)."""
    x, y = problem(n, m)
    beta, std = np.linspace(-1, 2, m), 0.7
    want = [
        # central differences of a parabola are exact but for rounding: 1e-16 · 1e3 / 1e-2
        sum((stats.norm.logpdf(y, x @ (beta - d), std) - stats.norm.logpdf(y, x @ (beta + d), std)) / (2 * 0.01 * n))
        for d in 0.01 * np.eye(m)
    ]
    mistakes = mistakes_in_gradient(np.array(want), x, y, std)
    got = regression.nll_gradient(beta, x, y, std)
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="nll_gradient(beta, x, y, 0.7)", mistakes=mistakes)
    at_the_fit = regression.nll_gradient(regression.ols(x, y), x, y, std)
    assert_close(at_the_fit, np.zeros(m), atol=1e-10, what="nll_gradient at ols(x, y)")


# Descent


def closed_path(x, y, start, rate, steps, std=1.0, factor=1.0):
    """Where gradient descent is after 0, 1, … steps: along each eigenvector the error is multiplied by 1 - λh a step.

    `factor` multiplies the gradient, for those who have it wrong.
    """
    h, vectors = np.linalg.eigh(x.T @ x / (len(y) * std**2))
    arrival = np.linalg.solve(x.T @ x, x.T @ y)
    powers = (1 - rate * factor * h) ** np.arange(steps + 1)[:, None]
    return arrival + (powers * (vectors.T @ (np.broadcast_to(start, arrival.shape) - arrival))) @ vectors.T


def mistakes_in_descent(x, y, start, rate, steps, std):
    """What people's paths do, and why."""
    path = functools.partial(closed_path, x, y, start, rate, steps, std)
    right = path()
    mistakes = {
        "does it go up? The step is -λ times the gradient": path(factor=-1),
        "is the gradient that of the sum, not of the mean?": path(factor=len(y)),
        "is std ignored?": path(factor=std**2),
        "is the gradient twice what it should be?": path(factor=2),
        "is it 1/σ where 1/σ² belongs?": path(factor=std),
        "is the start left out? It is the first row": right[1:],
        "is the last step left out? There are steps + 1 rows": right[:-1],
        "is this the last β alone, without the path?": right[-1],
        "does every row hold the last β: was one array written over and over?": np.tile(right[-1], (steps + 1, 1)),
        "is start ignored?": closed_path(x, y, 0.0, rate, steps, std),
        "is y ignored (E94)?": closed_path(x, 2 * x.sum(axis=1), start, rate, steps, std),
        "is it the path from the second row on, repeated at the end?": np.vstack([right[1:], right[-1:]]),
    }
    return {why: value for why, value in mistakes.items() if not _same(value, right)}


@pytest.mark.claim("thm-descent")
@pytest.mark.parametrize("std", [1.0, 0.5])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_descend_shrinks_the_error_along_each_eigenvector(m, std):
    """β̂ + Σ v (1 - λh)ᵏ vᵀ(start - β̂) after k steps, with the eigenvalues h of xᵀx/(nσ²): the whole path, β by β."""
    x, y = problem(12, m)
    start, steps = np.linspace(-2, 3, m), 30
    rate = 0.3 * std**2
    got = regression.descend(x, y, start=start, rate=rate, steps=steps, std=std)
    want = closed_path(x, y, start, rate, steps, std)
    what = f"descend(x, y, rate={rate}, steps={steps}, std={std}).betas"
    mistakes = mistakes_in_descent(x, y, start, rate, steps, std)
    assert_close(got.betas, want, rtol=1e-9, atol=1e-10, what=what, mistakes=mistakes)


def test_descend_has_std_one_unless_told():
    """Without std the path is that of std = 1; a start that is a number stands for m of them."""
    x, y = problem(12, 3)
    want = closed_path(x, y, 0.5, 0.3, 10)
    mistakes = mistakes_in_descent(x, y, 0.5, 0.3, 10, 1.0)
    for start in (0.5, np.full(3, 0.5)):
        got = regression.descend(x, y, start=start, rate=0.3, steps=10).betas
        assert_close(got, want, rtol=1e-9, what=f"descend(x, y, start={start}).betas", mistakes=mistakes)


@pytest.mark.parametrize("start", [0.5, 1e12])
def test_descend_on_a_single_row(start):
    """x = 2, y = 3: λh = ½ for λ = ⅛, and the distance from 3/2 halves at each step, from near and from afar."""
    got = regression.descend(np.array([[2.0]]), np.array([3.0]), start=start, rate=0.125, steps=60)
    betas = 1.5 + (start - 1.5) * 0.5 ** np.arange(61)
    what = f"descend on one row, start={start:g}: its"
    assert_close(got.betas, betas[:, None], rtol=1e-9, atol=1e-3 * 2.0**-12, what=f"{what} betas")
    losses = 0.5 * np.log(2 * np.pi) + (3 - 2 * betas) ** 2 / 2
    assert_close(got.losses, losses, rtol=1e-6, what=f"{what} losses")


@pytest.mark.parametrize("std", [1.0, 0.5])
def test_descend_tells_the_loss_at_each_beta(std):
    """losses are the mean of -log N(yᵢ; xᵢβ, σ²), by scipy, at each β of the path: steps + 1 of them."""
    x, y = problem(12, 2)
    got = regression.descend(x, y, start=-1.0, rate=0.1 * std**2, steps=7, std=std)
    betas = closed_path(x, y, -1.0, 0.1 * std**2, 7, std)
    want = np.array([-stats.norm.logpdf(y, x @ beta, std).mean() for beta in betas])
    mistakes = {
        "is the loss at the start left out?": want[1:],
        "is it the loss before each step, without the last?": want[:-1],
        "is std ignored in the losses?": [-stats.norm.logpdf(y, x @ beta, 1.0).mean() for beta in betas],
        "is it the sum of squares, not mean_nll?": [np.sum((y - x @ beta) ** 2) for beta in betas],
        "is it the mean squared residual, not mean_nll?": [np.mean((y - x @ beta) ** 2) for beta in betas],
        "is it half the mean squared residual, not mean_nll?": [np.mean((y - x @ beta) ** 2) / 2 for beta in betas],
        "is it the sum over the rows, not their mean?": 12 * want,
    }
    if std == 1:
        del mistakes["is std ignored in the losses?"]
    assert_close(got.losses, want, rtol=1e-9, what="descend(...).losses", mistakes=mistakes)


@targets
def test_descend_arrives_at_the_fit_to_the_y_it_is_given(rng, name):
    """On a batch of each target the path ends at Σxy/Σx², that batch's own slope: about 2, 2 and 2.06 (E94)."""
    x = rng.uniform(0, 20, (200, 1))
    y = MEANS[name](x[:, 0]) + STDS[name](x[:, 0]) * rng.standard_normal(200)
    slope = x[:, 0] @ y / np.sum(x**2)
    # λh = 1/2 halves the error at each of 60 steps.
    path = regression.descend(x, y, start=0.0, rate=0.5 * 200 / np.sum(x**2), steps=60)
    of_a_line = x[:, 0] @ (2 * x[:, 0]) / np.sum(x**2)
    mistakes = {"is y ignored, and a line of slope 2 fitted instead (E94)?": [of_a_line]}
    assert_close(path.betas[-1], [slope], rtol=1e-9, what=f"the end of the path on {name}", mistakes=mistakes)
    lengths = len(path.betas), len(path.losses)
    assert lengths == (61, 61), f"60 steps gave {lengths[0]} betas and {lengths[1]} losses, should give 61 of each"
    sign = regression.descend(x, -y, start=0.0, rate=0.5 * 200 / np.sum(x**2), steps=60)
    assert_close(sign.betas[-1], [-slope], rtol=1e-9, what="its end when every y changes its sign")


@pytest.mark.claim("thm-descent")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_descend_arrives_if_and_only_if_the_rate_is_below_two_over_the_largest_eigenvalue():
    """At 1.99/h of the largest h the error shrinks by 0.99 a step, at 2/h it stays, at 2.01/h it grows by 1.01."""
    x, y = problem(12, 2)
    h, vectors = np.linalg.eigh(x.T @ x / (12 * 0.25))
    fit = np.linalg.solve(x.T @ x, x.T @ y)
    for times in (1.99, 2.0, 2.01):
        path = regression.descend(x, y, start=fit + vectors[:, -1], rate=times / h[-1], steps=400, std=0.5)
        error = np.linalg.norm(path.betas[-1] - fit)
        assert_close(error, abs(1 - times) ** 400, rtol=1e-8, what=f"the error after 400 steps at λh = {times}")


def test_descend_starts_afresh_and_leaves_its_start_alone():
    """An array that must not be written to is not written to, is the first row, and a second run is the first (E97)."""
    x, y = problem(12, 2)
    start = np.array([4.0, -1.0])
    first = regression.descend(x, y, start=start, rate=0.3, steps=5)
    assert start.tolist() == [4.0, -1.0], f"descend wrote to its start: [4, -1] became {start.tolist()} (E97)"
    assert_close(first.betas[0], [4.0, -1.0], what="the first row of the path: is it the start?")
    kept = first.betas.copy()
    for array in (x, y, start):
        array.flags.writeable = False
    again = regression.descend(x, y, start=start, rate=0.3, steps=5)
    assert_close(again.betas, kept, what="a second run from the same start: is it a warm start?")
    first.betas[:] = 0.0
    assert start.tolist() == [4.0, -1.0], "writing to the path writes to the start: is its first row the start itself?"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_descend_says_so_when_it_leaves_the_numbers():
    """A rate a thousand times too large, over 400 steps, ends in an OverflowError, and not in NaN."""
    x, y = problem(12, 2)
    complaint(OverflowError, regression.descend, x, y, start=0.0, rate=5000.0, steps=400)


def test_descend_says_so_when_its_losses_leave_the_numbers():
    """Where β is still a number and its loss is not, an OverflowError is raised too."""
    complaint(OverflowError, regression.descend, np.ones((3, 1)), np.zeros(3), start=1.0, rate=11.0, steps=200)


def test_descend_takes_whole_numbers():
    """x, y and start of integers give the path that the same numbers give as floats."""
    x, y, start = np.array([[1, 0], [2, 1], [-1, 3]]), np.array([2, 3, 7]), np.array([1, -1])
    got = regression.descend(x, y, start=start, rate=0.3, steps=4).betas
    floats = closed_path(x.astype(float), y.astype(float), start.astype(float), 0.3, 4)
    mistakes = {"is the path cut to whole numbers because start is?": np.trunc(floats.round(9))}
    assert_close(got, floats, rtol=1e-9, what="descend of integers", mistakes=mistakes)
    got, want = regression.descend(x, y, start=2, rate=0.3, steps=4).betas, closed_path(x, y, 2.0, 0.3, 4)
    mistakes = {"is the path cut to whole numbers because start is?": np.trunc(want.round(9))}
    assert_close(got, want, rtol=1e-9, what="descend from start=2", mistakes=mistakes)


# Targets


@targets
def test_targets_are_what_the_chapter_says(name):
    """LINE is 2x with noise 0.3; FAN 2x with noise 0.3x; WAVE 2x + 5 sin(x/2) with noise 0.3x: at points by hand."""
    x = np.array([0.0, 1.0, np.pi, 10.0, 20.0])
    waves = np.array([0.0, 5 * np.sin(0.5), 5.0, 5 * np.sin(5.0), 5 * np.sin(10.0)])
    mean = 2 * x + (waves if name == "WAVE" else 0)
    std = np.full(5, 0.3) if name == "LINE" else 0.3 * x
    mistakes = {"is the wave missing?": 2 * x, "is it sin x where sin(x/2) belongs?": 2 * x + 5 * np.sin(x)}
    mistakes = mistakes if name == "WAVE" else {"are the targets mixed up?": 2 * x + waves}
    assert_close(target(name).mean(x), mean, rtol=1e-12, what=f"{name}.mean(x)", mistakes=mistakes)
    other = 0.3 * x if name == "LINE" else np.full(5, 0.3)
    mistakes = {"is this a variance?": std**2, "are the targets mixed up?": other}
    assert_close(target(name).noise_std(x), std, rtol=1e-12, what=f"{name}.noise_std(x)", mistakes=mistakes)


def standardised(name, x, y):
    """(y - f(x))/s(x), which should be N(0, 1)."""
    return (y - MEANS[name](x)) / STDS[name](x)


@targets
def test_draw_batch_has_the_shapes_that_networks_take(rng, name):
    """x is a column (n, 1) and y a row of n numbers, both float64, for n = 1 too."""
    for n in (1, 7):
        x, y = regression.draw_batch(rng, target(name), n)
        assert x.shape == (n, 1), f"draw_batch gives x of shape {x.shape}, should be a column, {n, 1}"
        assert y.shape == (n,), f"draw_batch gives y of shape {y.shape}, should be {(n,)}"
        assert x.dtype == y.dtype == np.float64, f"draw_batch gives {x.dtype} and {y.dtype}, should give float64"


@targets
def test_draw_batch_has_the_stated_law(rng, name):
    """x has the distribution function x/20; (y - f)/s that of N(0, 1): of 40,000 draws each."""
    x, y = regression.draw_batch(rng, target(name), 40_000)
    x = np.reshape(x, -1)
    hints = {
        "x seems to be uniform on [0, 1]": stats.uniform(0, 1).cdf,
        "x seems to be uniform on [-20, 20]": stats.uniform(-20, 40).cdf,
        "x seems to be uniform on [-10, 10]": stats.uniform(-10, 20).cdf,
        "x seems to be uniform on [0, 10]": stats.uniform(0, 10).cdf,
        "x seems to be normal, it should be uniform": stats.norm(x.mean(), x.std()).cdf,
    }
    assert_distribution(x, stats.uniform(0, 20).cdf, detects=0.025, hints=hints)
    z, at = standardised(name, x, y), np.sort(x)[50::400]
    s, of_mean = STDS[name](at), np.sqrt(mean_variance(name))

    def mixture(std):
        return lambda z: np.mean([stats.norm.cdf(z, 0, one) for one in np.broadcast_to(std, at.shape)], axis=0)

    hints = {
        "the variance of the noise seems to be used where its standard deviation belongs": mixture(s),
        "the root of the standard deviation seems to be used": mixture(s**-0.5),
        "the noise seems to have standard deviation 1": mixture(1 / s),
        "the noise seems to have one standard deviation for all x": mixture(0.3 / s),
        "the noise seems to have one standard deviation, its mean one, for all x": mixture(of_mean / s),
        "the noise seems to be missing": lambda z: (z >= 0).astype(float),
        "the noise seems to be uniform, it should be normal": stats.uniform(-(3**0.5), 12**0.5).cdf,
        "the noise seems to be of one sign": stats.halfnorm.cdf,
    }
    assert_distribution(z, stats.norm.cdf, detects=0.025, hints=hints)


def mean_variance(name):
    """E s²."""
    return 0.09 if name == "LINE" else 12.0


@targets
def test_draw_batch_has_noise_of_the_stated_spread_at_each_x(rng, name):
    """In each of five bands of x the mean of ((y - f)/s)² is 1, within a tenth or so."""
    x, y = regression.draw_batch(rng, target(name), 60_000)
    x = x[:, 0]
    z = standardised(name, x, y)
    for band in range(5):
        inside = (x >= 4 * band) & (x < 4 * band + 4)
        middle = 4 * band + 2.0
        hints = {
            "the noise seems to have one standard deviation for all x": 0.09 / STDS[name](middle) ** 2,
            "the noise seems to have standard deviation 1": 1 / STDS[name](middle) ** 2,
        }
        assert_mean(z[inside] ** 2, 1.0, detects=0.2, hints=hints if name == "FAN" else None)


def small_batches(rng, name, n=4, repetitions=10_000):
    """x and (y - f)/s of many calls for n rows each: (repetitions, n) of both."""
    batches = [regression.draw_batch(rng, target(name), n) for _ in range(repetitions)]
    x, y = (np.array([np.reshape(part, n) for part in parts]) for parts in zip(*batches, strict=True))
    return x, standardised(name, x, y)


def test_draw_batch_has_noise_that_is_no_function_of_x(rng):
    """In which quarter x lies, and in which quarter of the normal law its noise, are independent; so are finer digits.

    Noise drawn from the same seed as x is a function of x (E99), if of its later digits only.
    """
    x, z = small_batches(rng, "LINE")
    x, u = x.ravel() / 20, stats.norm.cdf(z.ravel())
    for times, of_noise in ((1, u), (8, np.abs(2 * u - 1)), (1, np.abs(2 * u - 1))):
        table = 4 * np.floor(4 * (times * x % 1)) + np.minimum(np.floor(4 * of_noise), 3)
        counts = np.bincount(table.astype(int), minlength=16)
        hints = {"the noise seems to be a function of x: one seed for both (E99)": np.eye(4).ravel() / 4}
        try:
            assert_frequencies(counts, np.full(16, 1 / 16), detects=0.06, hints=hints)
        except AssertionError as error:
            raise AssertionError(
                f"{error}\nHint: x and its noise should be spread evenly, and independent of one another (E99)."
            ) from None


def test_draw_batch_draws_each_row_by_itself(rng):
    """Rows one after another are uncorrelated, in x and in noise; sums of four have four times the variance."""
    x, z = small_batches(rng, "FAN")
    x = x - 10
    # Of four uniform numbers in order, the first two: E u₁u₂ = 3/30 and E(u₁ + u₂) = 3/5, so 20 in these units.
    hints = {"x seems to be sorted": 20.0, "every input is drawn twice": 400 / 12}
    assert_mean(x[:, 0] * x[:, 1], 0.0, detects=3.0, hints=hints)
    assert_mean(z[:, 0] * z[:, 1], 0.0, detects=0.1, hints={"all rows of a batch share one noise": 1.0})
    assert_variance(x.sum(1), 4 * 400 / 12, detects=0.12, hints={"the inputs seem to be balanced": 0.0})
    assert_variance(z.sum(1), 4.0, detects=0.12, hints={"the noise seems to be centred in each batch": 0.0})


def test_draw_batch_draws_inputs_at_random_even_one_at_a_time(rng):
    """The x of 8,000 batches of one row are uniform on [0, 20], and their noise N(0, 1): no grid, nothing centred."""
    x, z = small_batches(rng, "WAVE", n=1, repetitions=8_000)
    assert_distribution(x[:, 0], stats.uniform(0, 20).cdf, detects=0.06)
    assert_distribution(z[:, 0], stats.norm.cdf, detects=0.06)


def test_draw_batch_never_draws_twice_the_same(rng):
    """No two of 10⁴ inputs are equal, nor any two noises, and both fill their range: nothing repeated or rounded."""
    x, y = regression.draw_batch(rng, target("FAN"), 10_000)
    assert len(np.unique(x)) == 10_000, "some inputs occur twice: repeated, rounded, or drawn with replacement?"
    assert len(np.unique(y / x[:, 0])) > 9_998, "some noises occur twice: repeated or rounded?"
    far = np.count_nonzero(np.abs(standardised("FAN", x[:, 0], y)) > 2)
    assert_proportion(far, 10_000, 2 * stats.norm.sf(2), detects=0.017, hints={"the tails are cut off": 0.0})


@pytest.mark.parametrize("n", [5, 8_000])
@targets
def test_draw_batch_takes_its_randomness_from_rng_alone(name, n):
    """The same state gives the same batch, another seed or a second call another one, in x and in the noise."""
    first, again, other = (np.random.default_rng(seed) for seed in (1, 1, 2))
    x, y = regression.draw_batch(first, target(name), n)
    same = regression.draw_batch(again, target(name), n)
    for got, want, part in zip(same, (x, y), "xy", strict=True):
        assert_close(got, want, rtol=0, what=f"{part} of draw_batch with an rng in the same state (is rng used?)")
    z = standardised(name, x[:, 0], y)
    for source, generator in {"a second call": first, "another seed": other}.items():
        new_x, new_y = regression.draw_batch(generator, target(name), n)
        # Of 8,000 numbers one or two come close by chance; not a tenth of them.
        same_x = np.mean(np.isclose(new_x, x)) > 0.1
        assert not same_x, f"draw_batch gave the same x for {source}: is rng used, and no grid? Is a batch kept?"
        new_z = standardised(name, new_x[:, 0], new_y)
        assert np.mean(np.isclose(new_z, z)) < 0.1, f"draw_batch gave the same noise for {source}: is rng used?"


@targets
def test_draw_batch_draws_from_the_target_it_is_given(rng, name):
    """A target of one's own, y = x² with noise 0.001, under any name: each y is within 0.01 of x²."""
    for called in (name, "bent"):
        bent = of_ones_own(called, lambda x: x**2, lambda x: 0.001 + 0 * x)
        x, y = regression.draw_batch(rng, bent, 50)
        assert_close(y, x[:, 0] ** 2, rtol=0, atol=0.01, what="y = x² + 0.001 ε")  # ten σ


# The best line


def best_line_of(name):
    """(slope, std) of the best line through the origin, in closed form."""
    if name == "LINE":
        return 2.0, 0.3
    if name == "FAN":
        return 2.0, np.sqrt(12)
    moment = (4 * np.sin(10) - 40 * np.cos(10)) / 20  # E[x sin(x/2)]
    slope, square = 5 * moment / (400 / 3), 0.5 - np.sin(20) / 40  # E[sin²(x/2)]
    # E(5 sin(x/2) - bx)² = 25 E sin² - b² E x², for b = 5 E[x sin]/E[x²]
    return 2 + slope, np.sqrt(25 * square - slope**2 * 400 / 3 + 12)


@pytest.mark.claim("prop-best-line")
@targets
def test_best_line_is_the_closed_form(name):
    """Slope E[xf]/E[x²], σ² = E(f - βx)² + E s², NLL ½ log 2πeσ²: 2 and 0.3, 2 and √12, 2.0589 and 4.8443."""
    slope, std = best_line_of(name)
    got = regression.best_line(target(name))
    f, s = MEANS[name], STDS[name]
    misfit, noise = average(lambda x: (f(x) - slope * x) ** 2), average(lambda x: s(x) ** 2)
    mistakes = {
        "is it E f/E x where E[xf]/E[x²] belongs?": average(f) / 10,
        "is this the slope of the line with an intercept?": average(lambda x: (x - 10) * f(x)) / (400 / 12),
        "is it E[xf] alone, without 1/E[x²]?": slope * 400 / 3,
        "is this the mean of f(x)/x?": average(lambda x: f(x) / x),
        "is it the slope 2 of the line inside the target?": 2.0,
        "are the rows weighted by 1/s²? One σ serves all x": average(lambda x: x * f(x) / s(x) ** 2)
        / average(lambda x: x**2 / s(x) ** 2),
    }
    mistakes = {why: value for why, value in mistakes.items() if abs(value - slope) > 1e-4}
    assert_close(got.slope, slope, rtol=QUADRATURE, what=f"best_line({name}).slope", mistakes=mistakes)
    y_spread = average(lambda x: (f(x) - average(f)) ** 2) + noise
    mistakes = {
        "is the misfit E(f - βx)² forgotten?": np.sqrt(noise),
        "is the noise E s² forgotten?": np.sqrt(misfit),
        "is this a variance: is the root missing?": std**2,
        "is it the mean of s, not the root of the mean of s²?": average(s),
        "are the standard deviations added, and not the variances?": np.sqrt(misfit) + np.sqrt(noise),
        "is this the standard deviation of y, not of the residual?": np.sqrt(y_spread),
        "is this the root mean square of y, not of the residual?": np.sqrt(average(lambda x: f(x) ** 2) + noise),
    }
    mistakes = {why: value for why, value in mistakes.items() if abs(value - std) > 1e-4}
    assert_close(got.std, std, rtol=QUADRATURE, what=f"best_line({name}).std", mistakes=mistakes)
    nll = 0.5 * np.log(2 * np.pi * np.e * std**2)
    mistakes = {
        "is the ½ for the square missing: is it ½ log 2πσ²?": nll - 0.5,
        "is the ½ of the log missing?": 2 * nll,
        "is this the entropy floor? A line with one σ does not reach it": floor_of(name),
    }
    mistakes = {why: value for why, value in mistakes.items() if abs(value - nll) > 1e-4}
    assert_close(got.nll, nll, atol=QUADRATURE, rtol=0, what=f"best_line({name}).nll", mistakes=mistakes)


@pytest.mark.claim("prop-best-line", kind="symbolic")
def test_best_line_of_the_wave_by_integration():
    """sympy integrates (f - bx)² + s² over [0, 20]: the only zero of its derivative is E[xf]/E[x²], the slope."""
    x, b = sympy.symbols("x b", positive=True)
    noise = (sympy.Rational(3, 10) * x) ** 2

    def mean(f):
        return sympy.integrate(sympy.expand(f), (x, 0, 20)) / 20

    for name, f in {"FAN": 2 * x, "WAVE": 2 * x + 5 * sympy.sin(x / 2)}.items():
        square = mean((f - b * x) ** 2)
        zeros = sympy.solve(sympy.diff(square, b), b)
        assert len(zeros) == 1
        assert sympy.simplify(zeros[0] - mean(x * f) / mean(x**2)) == 0
        got = regression.best_line(target(name))
        assert_close(got.slope, float(zeros[0]), rtol=QUADRATURE, what=f"best_line({name}).slope")
        want = float(sympy.sqrt(square.subs(b, zeros[0]) + mean(noise)))
        assert_close(got.std, want, rtol=QUADRATURE, what=f"best_line({name}).std")


@pytest.mark.claim("prop-best-line")
@targets
def test_best_line_has_the_smallest_nll_of_all_lines_with_one_std(name):
    """The NLL of (β, σ), by quadrature, is `nll` at the best line and more at eight neighbours on all sides."""
    best = regression.best_line(target(name))

    def nll(slope, std):
        return average(lambda x: cross_entropy(name, x, slope * x, np.full(x.shape, std)))

    assert_close(nll(best.slope, best.std), best.nll, rtol=0, atol=2 * QUADRATURE, what="the NLL of the best line")
    for right, up in itertools.product((-0.01, 0, 0.01), repeat=2):
        if right or up:  # each costs at least h²/2 with h = 0.01, or so
            more = nll(best.slope + right, best.std * (1 + up)) - best.nll
            assert more > 1e-5, f"a slope {right:+} and a σ {up:+.0%} away has a smaller NLL than best_line: {more:.2g}"


@targets
@pytest.mark.parametrize(
    ("mean", "slope", "misfit"),
    [
        # E[xf] = 20³/4 - 30·10 = 1700, E f² = 20⁴/5 - 60·400/3 + 900 = 24900, E x² = 400/3
        (lambda x: x**2 - 30, 12.75, 24900 - 12.75**2 * 400 / 3),
        (lambda x: -2 * x, -2.0, 0.0),
    ],
    ids=["a parabola", "a falling line"],
)
def test_best_line_of_a_target_of_ones_own(mean, slope, misfit, name):
    """f = x² - 30: E[xf]/E[x²] = 12.75, by hand; f = -2x: -2. With s = 1 + x/10, E s² = 13/3. The name is no matter."""
    std = np.sqrt(misfit + 13 / 3)
    for called in (name, "bent"):
        got = regression.best_line(of_ones_own(called, mean, lambda x: 1 + x / 10))
        known = {"is it the line of the module's own target of that name?": best_line_of(name)[0], "is it |β|?": -slope}
        assert_close(got.slope, slope, rtol=QUADRATURE, what="the slope of the best line to f", mistakes=known)
        known = {"is it that of the module's own target of that name?": best_line_of(name)[1]}
        assert_close(got.std, std, rtol=QUADRATURE, what="its std", mistakes=known)
        assert_close(got.nll, 0.5 * np.log(2 * np.pi * np.e * std**2), rtol=0, atol=QUADRATURE, what="its nll")


# The floor


@pytest.mark.claim("thm-entropy-floor")
@targets
def test_nll_floor_is_the_entropy_in_closed_form(name):
    """½ log(2πe · 0.09) for LINE; ½ log 2πe + log 0.3 + log 20 - 1 for FAN and WAVE: 0.2150 and 2.2107."""
    want = floor_of(name)
    average_first = 0.5 * np.log(2 * np.pi * np.e * mean_variance(name))
    log_s = want - 0.5 * np.log(2 * np.pi * np.e)
    mistakes = {
        "was s² averaged before the log (Jensen)?": average_first,
        "was s averaged before the log (Jensen)?": 0.5 * np.log(2 * np.pi * np.e) + np.log(average(STDS[name])),
        "is the ½ of the square missing: ½ log 2πs², without the e?": want - 0.5,
        "is the ½ of the log missing?": 2 * want,
        "is it in bits, log2 for the natural logarithm?": want / np.log(2),
        "is s where s² belongs: ½ log 2πe s?": want - 0.5 * log_s,
        "is s² where s belongs: s⁴ in the log?": want + log_s,
        "is the constant ½ log 2π dropped?": want - 0.5 * np.log(2 * np.pi),
        "is this the NLL at std = 1?": floor_of(name, 1.0),
        "is this the NLL of the best line?": 0.5 * np.log(2 * np.pi * np.e * best_line_of(name)[1] ** 2),
        "is it integrated over [0, 20] and not averaged?": 20 * want,
    }
    mistakes = {why: value for why, value in mistakes.items() if abs(value - want) > 1e-4}
    got = regression.nll_floor(target(name))
    assert_close(got, want, rtol=0, atol=QUADRATURE, what=f"nll_floor({name})", mistakes=mistakes)


@pytest.mark.claim("thm-entropy-floor")
@pytest.mark.parametrize("std", [1.0, 0.3, 2.5])
@targets
def test_nll_floor_at_a_given_std_is_the_closed_form(name, std):
    """E[½ log 2πσ² + s²/(2σ²)] = ½ log 2πσ² + E s²/(2σ²), with E s² = 0.09 for LINE and 12 for FAN and WAVE."""
    want, squared = floor_of(name, std), mean_variance(name)
    mistakes = {
        "is the given std ignored?": floor_of(name),
        "was std taken for a variance?": floor_of(name, np.sqrt(std)),
        "was the variance used where the standard deviation belongs?": floor_of(name, std**2),
        "is the noise s² forgotten?": 0.5 * np.log(2 * np.pi * std**2),
        "is this the entropy of N(0, σ²), as if the noise were the given std?": 0.5 * np.log(2 * np.pi * np.e * std**2),
        "is the ½ of s²/σ² missing?": want + squared / (2 * std**2),
        "is it (E s)² where E s² belongs?": want + (average(STDS[name]) ** 2 - squared) / (2 * std**2),
        "is the ½ log 2π dropped?": want - 0.5 * np.log(2 * np.pi),
        "is it in bits, log2 for the natural logarithm?": want / np.log(2),
    }
    mistakes = {why: value for why, value in mistakes.items() if abs(value - want) > 1e-4}
    got = regression.nll_floor(target(name), std)
    assert_close(got, want, rtol=1e-7, atol=QUADRATURE, what=f"nll_floor({name}, {std})", mistakes=mistakes)


@targets
def test_nll_floor_is_what_scipy_integrates(name):
    """The entropy of N(f, s²) by scipy, and its integral over x by scipy's quad."""
    entropy = integrate.quad(lambda x: float(stats.norm.entropy(0, STDS[name](x))) / 20, 0, 20, epsabs=1e-9)[0]
    assert_close(regression.nll_floor(target(name)), entropy, rtol=0, atol=QUADRATURE, what=f"nll_floor({name})")


@targets
def test_nll_floor_of_a_target_of_ones_own(name):
    """s = c eˣ/¹⁰ has E log s = 1 + log c, so ½ log 2πe + 1 + log c; and at σ = 2, c² E s² = c² (e⁴ - 1)/4 over 2σ²."""
    for called, c in ((name, 1.0), (name, 2.0), ("fanned", 1.0)):  # two of one name are not the same
        fanned = of_ones_own(called, lambda x: 3 - x, lambda x, c=c: c * np.exp(x / 10))
        known = {"is it that of the module's own target of that name?": floor_of(name)}
        want = 0.5 * np.log(2 * np.pi * np.e) + 1 + np.log(c)
        what = f"nll_floor where s = {c:g} exp(x/10)"
        assert_close(regression.nll_floor(fanned), want, rtol=QUADRATURE, what=what, mistakes=known)
        known = {"is it that of the module's own target of that name?": floor_of(name, 2.0)}
        want = 0.5 * np.log(2 * np.pi * 4) + c**2 * (np.exp(4) - 1) / 4 / 8
        got = regression.nll_floor(fanned, std=2.0)
        assert_close(got, want, rtol=QUADRATURE, what=f"{what}, at std=2", mistakes=known)


def test_nll_floor_refuses_a_target_without_noise():
    """Without noise there is no floor: the NLL falls without bound."""
    silent = regression.Target("silent", lambda x: x, lambda x: 0 * x)
    assert_refused(regression.nll_floor, silent, argument="noise_std", value=0.0)


@pytest.mark.claim("thm-entropy-floor", kind="symbolic")
def test_nll_floor_is_reached_by_the_truth_alone():
    """sympy integrates -log N(y; f + d, ŝ²) over N(f, s²): the entropy plus log(ŝ/s) + (s² + d²)/(2ŝ²) - ½.

    The only zero of that excess's gradient is at d = 0, ŝ = s; there it is 0, and its curvature positive.
    """
    y, f, d = sympy.symbols("y f d", real=True)
    s, t = sympy.symbols("s t", positive=True)
    law = sympy.exp(-((y - f) ** 2) / (2 * s**2)) / sympy.sqrt(2 * sympy.pi * s**2)
    surprise = sympy.log(2 * sympy.pi) / 2 + sympy.log(t) + (y - f - d) ** 2 / (2 * t**2)
    expected = sympy.integrate(sympy.expand(surprise.subs(f, 0)) * law.subs(f, 0), (y, -sympy.oo, sympy.oo))
    entropy = sympy.log(2 * sympy.pi) / 2 + sympy.log(s) + sympy.Rational(1, 2)
    excess = sympy.log(t) - sympy.log(s) + (s**2 + d**2) / (2 * t**2) - sympy.Rational(1, 2)
    assert sympy.simplify(sympy.expand_log(expected - entropy - excess)) == 0
    assert sympy.solve([excess.diff(d), excess.diff(t)], [d, t], dict=True) == [{d: 0, t: s}]
    truth = {d: 0, t: s}
    assert sympy.simplify(excess.subs(truth)) == 0
    curvature = sympy.hessian(excess, (d, t)).subs(truth)
    assert sympy.simplify(curvature - sympy.diag(1 / s**2, 2 / s**2)) == sympy.zeros(2)
    # For LINE s = 0.3 everywhere, and the floor is this entropy.
    got = regression.nll_floor(target("LINE"))
    assert_close(got, float(entropy.subs(s, sympy.Rational(3, 10))), rtol=0, atol=QUADRATURE, what="nll_floor(LINE)")


# The expected NLL of a prediction


PREDICTIONS = {
    "the truth": None,
    "a constant": (lambda x: 20.0, lambda x: 12.0),
    "a line in a band that widens too fast": (lambda x: 2.1 * x - 0.5, lambda x: 0.5 + 0.4 * x),
    "a bent line in a narrow band": (lambda x: 2 * x + 3 * np.sin(x / 2), lambda x: 0.4 + 0.1 * x),
}
predictions = pytest.mark.parametrize("prediction", list(PREDICTIONS))


def predicted(prediction, name):
    """The two functions f̂ and ŝ."""
    return PREDICTIONS[prediction] or (MEANS[name], STDS[name])


@pytest.mark.claim("thm-entropy-floor")
@predictions
@targets
def test_expected_nll_agrees_with_quadrature(name, prediction):
    """E over x and y of -log N(y; f̂, ŝ²) by scipy's density, Gauss-Legendre in x and Gauss-Hermite in y.

    It exceeds the floor by E[log(ŝ/s) + (s² + (f - f̂)²)/(2ŝ²) - ½], which is 0 for the truth alone.
    """
    mean, std = predicted(prediction, name)
    f, s = MEANS[name], STDS[name]
    want = average(lambda x: cross_entropy(name, x, mean(x) + 0 * x, std(x) + 0 * x))
    misfit = average(lambda x: (f(x) - mean(x)) ** 2 / (2 * std(x) ** 2))
    noise = average(lambda x: s(x) ** 2 / (2 * std(x) ** 2))
    log_s = average(lambda x: np.log(std(x) + 0 * x))
    mistakes = {
        "is the misfit f - f̂ ignored?": want - misfit,
        "was y = f put in: is the noise s² forgotten?": want - noise,
        "is this the mean of the squares alone: are the logs forgotten?": misfit + noise,
        "is the constant ½ log 2π dropped?": want - 0.5 * np.log(2 * np.pi),
        "is it log ŝ² where log ŝ belongs?": want + log_s,
        "is the ½ of the squares missing?": want + misfit + noise,
        "is this the floor, whatever the prediction?": floor_of(name),
        "is it what the prediction exceeds the floor by, and not its NLL?": want - floor_of(name),
        "is ŝ taken for a variance?": 0.5 * np.log(2 * np.pi)
        + average(lambda x: 0.5 * np.log(std(x) + 0 * x) + (s(x) ** 2 + (f(x) - mean(x)) ** 2) / (2 * std(x))),
        "is the noise taken to be ŝ?": want - noise + 0.5,
        "is it integrated over [0, 20] and not averaged?": 20 * want,
    }
    mistakes = {why: value for why, value in mistakes.items() if abs(value - want) > 1e-4}
    got = regression.expected_nll(answering(mean, std), target(name))
    what = f"expected_nll of {prediction} under {name}: its difference from the exact value"
    off = float(got) - want
    mistakes = {why: value - want for why, value in mistakes.items()}
    if 1e-5 < abs(off) < 0.5 and not any(np.isclose(off, value, rtol=0, atol=1e-5) for value in mistakes.values()):
        mistakes["is it estimated from a test set, or by too coarse a rule, and not integrated?"] = off
    assert_close(off, 0.0, atol=QUADRATURE * max(1, abs(want)), what=what, mistakes=mistakes)
    excess = average(lambda x: np.log(std(x) / s(x)) + (s(x) ** 2 + (f(x) - mean(x)) ** 2) / (2 * std(x) ** 2) - 0.5)
    assert_close(got - floor_of(name), excess, rtol=1e-6, atol=2 * QUADRATURE, what="what it exceeds the floor by")
    assert excess > 0.01 or prediction == "the truth"


@pytest.mark.claim("thm-entropy-floor")
@pytest.mark.parametrize("std", [1.0, 3.0])
@targets
def test_expected_nll_at_a_given_std_exceeds_the_floor_by_the_misfit(name, std):
    """For a network of the mean alone it is nll_floor(target, std) + E(f - f̂)²/(2σ²)."""
    misfit = average(lambda x: (MEANS[name](x) - 1.9 * x - 1) ** 2)
    want = floor_of(name, std) + misfit / (2 * std**2)
    mistakes = {
        "is the misfit f - f̂ ignored?": floor_of(name, std),
        "is the given std ignored, and the target's own used?": average(
            lambda x: cross_entropy(name, x, 1.9 * x + 1, STDS[name](x))
        ),
        "is std taken for a variance?": floor_of(name, np.sqrt(std)) + misfit / (2 * std),
        "was y = f put in: is the noise s² forgotten?": want - mean_variance(name) / (2 * std**2),
    }
    mistakes = {why: value for why, value in mistakes.items() if abs(value - want) > 1e-4}
    got = regression.expected_nll(answering(lambda x: 1.9 * x + 1), target(name), std)
    assert_close(got, want, rtol=1e-6, what=f"expected_nll(network, {name}, std={std})", mistakes=mistakes)
    truth = regression.expected_nll(answering(MEANS[name]), target(name), std=std)
    assert_close(truth, floor_of(name, std), rtol=1e-6, atol=QUADRATURE, what="expected_nll of the true mean")


def test_expected_nll_takes_networks_that_return_arrays():
    """A function that returns NumPy arrays is as good as one that returns tensors."""
    mean, std = PREDICTIONS["a bent line in a narrow band"]
    want = average(lambda x: cross_entropy("WAVE", x, mean(x), std(x)))
    arrays, tensors = (answering(mean, std, tensors=tensors) for tensors in (False, True))
    training = lambda x: tuple(part.requires_grad_() for part in tensors(x))  # noqa: E731
    for network, what in {arrays: "arrays", tensors: "tensors", training: "tensors that ask for gradients"}.items():
        got = regression.expected_nll(network, target("WAVE"))
        assert_close(got, want, rtol=1e-6, what=f"expected_nll of a network that returns {what}")


@targets
def test_expected_nll_of_a_target_of_ones_own(name):
    """f = 3 - x and s = eˣ/¹⁰ under any name: f̂ = 1, ŝ = 2 cost ½ log 8π + (E s² + E(2 - x)²)/8, by hand."""
    squares = (np.exp(4) - 1) / 4 + (4 - 4 * 10 + 400 / 3)  # E s²; E(2 - x)², with E x = 10 and E x² = 400/3
    want = 0.5 * np.log(8 * np.pi) + squares / 8
    hint = "is it the cost under the module's own target of that name?"
    mistakes = {hint: average(lambda x: cross_entropy(name, x, 1 + 0 * x, 2 + 0 * x))}
    both, alone = answering(lambda x: 1.0, lambda x: 2.0), answering(lambda x: 1.0)
    for called in (name, "fanned"):
        fanned = of_ones_own(called, lambda x: 3 - x, lambda x: np.exp(x / 10))
        for got in (regression.expected_nll(both, fanned), regression.expected_nll(alone, fanned, std=2.0)):
            assert_close(got, want, rtol=QUADRATURE, what="expected_nll of f̂ = 1 and ŝ = 2", mistakes=mistakes)


def test_expected_nll_refuses_a_column_of_means():
    """A mean of shape (n, 1) must not meet f of shape (n,) and broadcast."""
    with pytest.raises(ValueError, match="mean"):
        regression.expected_nll(lambda x: 2 * x, target("LINE"), std=1.0)


@pytest.mark.parametrize("bad", [-0.5, 0.0, np.nan])
def test_expected_nll_refuses_predictions_that_are_no_law(bad):
    """A ŝ that is negative, 0 or NaN, as where log ŝ was returned for it, raises a ValueError."""
    network = answering(lambda x: 2 * x, lambda x: np.where(x < 10, 1.0, bad))
    complaint(ValueError, regression.expected_nll, network, target("LINE"))


# Coverage


@pytest.mark.claim("prop-coverage")
@pytest.mark.parametrize("level", [0.95, 0.5, 0.999])
@predictions
@targets
def test_coverage_is_the_integral_of_the_density_over_the_band(name, prediction, level):
    """P(|y - f̂| ≤ zŝ) at six x: scipy integrates the density of N(f, s²) over the band, whose z is scipy's."""
    mean, std = predicted(prediction, name)
    x = np.array([0.7, 2.0, 5.0, 11.0, 16.5, 20.0])
    f, s = MEANS[name](x), STDS[name](x)
    got_mean, band = mean(x) + 0 * x, std(x) + 0 * x
    z = stats.norm.isf((1 - level) / 2)

    def inside(reach, off=got_mean - f, s=s):
        return stats.norm.cdf((off + reach) / s) - stats.norm.cdf((off - reach) / s)

    def over(low, high, one_s):  # in units of s, cut at 10 of them
        low, high = max(low / one_s, -10.0), min(high / one_s, 10.0)
        return integrate.quad(stats.norm.pdf, low, high, epsabs=1e-12)[0] if low < high else 0.0

    want = [over(o - z * b, o + z * b, one) for o, b, one in zip(got_mean - f, band, s, strict=True)]
    mistakes = {
        "is level taken for z?": inside(level * band),
        "is z one-sided: P(ε ≤ z) = level?": inside(stats.norm.ppf(level) * band),
        "is z multiplied by the variance?": inside(z * band**2),
        "is z multiplied by √ŝ: is ŝ taken for a variance?": inside(z * np.sqrt(band)),
        "is the bias f̂ - f ignored?": inside(z * band, 0.0),
        "is the level returned whatever the band?": np.full(6, level),
        "is z fixed at 1.96 or 2?": inside(stats.norm.isf(0.025) * band),
        "is this the share outside the band?": 1 - np.array(want),
        "is this one side of the band only: P(y ≤ f̂ + zŝ)?": stats.norm.cdf((got_mean - f + z * band) / s),
        "is the noise taken to be 1: is the division by s missing?": inside(z * band, s=1.0),
        "are s and ŝ exchanged?": inside(z * s, s=band),
        "was s² used where s belongs?": inside(z * band, s=s**2),
        "is the coverage averaged over all x?": float(np.mean(want)),
        "is it 0 or 1: is the noise forgotten?": (np.abs(got_mean - f) <= z * band).astype(float),
    }
    mistakes = {why: value for why, value in mistakes.items() if not _same(value, want)}
    got = regression.coverage(answering(mean, std), target(name), x, level=level)
    what = f"coverage of {prediction} under {name} at level {level}"
    assert_close(got, want, rtol=1e-8, atol=1e-9, what=what, mistakes=mistakes)
    if prediction == "the truth":
        assert_close(got, np.full(6, level), rtol=1e-9, what="coverage of the true band")


@pytest.mark.claim("prop-coverage")
def test_coverage_is_the_share_of_observations_inside(rng):
    """10,000 observations of WAVE at x = 4 and at x = 15: as many lie in the band of σ = 3 as coverage says."""
    x = np.array([4.0, 15.0])
    shares = regression.coverage(answering(lambda x: 2 * x + 2), target("WAVE"), x, level=0.8, std=3.0)
    for at, share in zip(x, shares, strict=True):
        y = MEANS["WAVE"](at) + STDS["WAVE"](at) * rng.standard_normal(10_000)
        inside = np.count_nonzero(np.abs(y - 2 * at - 2) <= stats.norm.ppf(0.9) * 3.0)
        assert_proportion(inside, 10_000, float(share), detects=0.04)


def test_coverage_is_of_95_percent_unless_told():
    """Without a level it is that of the band f̂ ± 1.96 ŝ."""
    mean, std = PREDICTIONS["a bent line in a narrow band"]
    x = np.array([1.0, 9.0])
    network = answering(mean, std)
    want = regression.coverage(network, target("WAVE"), x, level=0.95)
    assert_close(regression.coverage(network, target("WAVE"), x), want, rtol=1e-12, what="coverage without a level")


def test_coverage_of_a_band_with_one_std_for_all():
    """σ = 1 about the true mean of FAN covers 2Φ(1.96/(0.3x)) - 1: nearly all at x = 1, a quarter at x = 20 (E101)."""
    x = np.array([1.0, 5.0, 20.0])
    want = 2 * stats.norm.cdf(stats.norm.ppf(0.975) / (0.3 * x)) - 1
    mistakes = {"is the level returned whatever the band?": np.full(3, 0.95)}
    for tensors in (True, False):
        network = answering(MEANS["FAN"], tensors=tensors)
        got = regression.coverage(network, target("FAN"), x, std=1.0)
        assert_close(got, want, rtol=1e-9, what="coverage with std=1", mistakes=mistakes)


def test_coverage_of_nothing_and_of_everything():
    """A band of level 0 has no width and covers nothing; one of level 1 has no end."""
    network, x = answering(lambda x: 2 * x + 1, lambda x: 1 + x), np.array([1.0, 9.0])
    for level in (0.0, 1.0):
        got = regression.coverage(network, target("FAN"), x, level=level)
        assert_close(got, np.full(2, level), atol=1e-15, what=f"coverage at level {level}")


@pytest.mark.parametrize("x", [[25, 3, -4], [-4.0, 2.5, 25.0, 0.0], [7], [9, 9, 1, 9]], ids=str)
def test_coverage_at_any_points(x):
    """Of a target of one's own, by scipy: x in any order, integers, one alone, outside [0, 20]; one share for each."""
    bent = of_ones_own("WAVE", lambda x: x**2, lambda x: 1 + np.abs(x) / 10)
    got = regression.coverage(answering(lambda x: x**2 - x / 5, lambda x: 0.7 + x**2 / 200), bent, np.array(x))
    floats = np.array(x, dtype=float)
    s, reach = 1 + np.abs(floats) / 10, stats.norm.ppf(0.975) * (0.7 + floats**2 / 200)
    want = stats.norm.cdf((reach - floats / 5) / s) - stats.norm.cdf((-reach - floats / 5) / s)
    mistakes = {
        "are the points sorted?": np.sort(want) if len(x) == 1 else want[np.argsort(floats)],
        "is it rounded because x is made of integers?": want.round(),
        "is it averaged over the points?": np.full(len(x), want.mean()),
    }
    mistakes = {why: value for why, value in mistakes.items() if not _same(value, want)}
    what = f"coverage at x = {x}"
    assert_close(got, want, rtol=1e-8, atol=1e-9, what=what, mistakes=mistakes)


@pytest.mark.parametrize("sign", [-1, 1])
def test_coverage_of_a_band_that_is_far_off(sign):
    """f̂ = f ± 6s with ŝ = s/2: Φ(-6 + z/2) - Φ(-6 - z/2) = 2.6e-7 of the observations lie in it, and no fewer."""
    network = answering(lambda x: 2 * x + sign * 6 * 0.3 * x, lambda x: 0.15 * x)
    half = stats.norm.ppf(0.975) / 2
    want = np.full(2, stats.norm.cdf(-6 + half) - stats.norm.cdf(-6 - half))
    got = regression.coverage(network, target("FAN"), np.array([2.0, 11.0]))
    # A difference of two numbers near 1 is known to 1e-16, and an integral to 1e-12.
    what = "coverage of a band six standard deviations off"
    assert_close(got, want, rtol=1e-6, atol=1e-12, what=what, mistakes={"is it cut off at 0?": np.zeros(2)})


def test_coverage_refuses_points_without_noise():
    """At x = 0 FAN has no noise, and the band's coverage is no number: a ValueError says so."""
    network = answering(lambda x: 2 * x + 1, lambda x: 1 + x)
    complaint(ValueError, regression.coverage, network, target("FAN"), np.array([1.0, 0.0]))


def test_coverage_refuses_a_mean_without_a_std():
    """At two points the two means of a network without std must not be read as a mean and a std."""
    network = lambda x: 2 * x[:, 0]  # noqa: E731
    with pytest.raises(ValueError, match="std"):
        regression.coverage(network, target("LINE"), np.array([1.0, 2.0]))


def test_coverage_refuses_two_stds():
    """A network that returns its std is not to be given another."""
    network = lambda x: (2 * x[:, 0], 1 + x[:, 0])  # noqa: E731
    with pytest.raises(ValueError, match="std"):
        regression.coverage(network, target("LINE"), np.array([1.0, 2.0, 3.0]), std=1.0)


# The β-NLL


def beta_problem():
    """Means, standard deviations and observations that agree in nothing."""
    mean = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
    std = torch.tensor([0.2, 1.5, 3.0, 0.7], dtype=torch.float64)
    return mean, std, torch.tensor([1.0, -3.5, 2.5, 1.4], dtype=torch.float64)


def gradients(loss, mean, std):
    """The automatic gradients of loss(mean, std), in the mean and in log std."""
    mean, log_std = mean.clone().requires_grad_(), torch.log(std).requires_grad_()
    differentiate(loss(mean, torch.exp(log_std)), "beta_nll")
    return [np.zeros(len(mean)) if part.grad is None else part.grad.numpy() for part in (mean, log_std)]


betas = pytest.mark.parametrize("beta", [0.0, 0.25, 0.5, 1.0])


@betas
def test_beta_nll_is_the_weighted_mean(beta):
    """The value is 1/n Σ σᵢ^{2β} (log σᵢ + (yᵢ - μᵢ)²/(2σᵢ²)), a tensor of no dimensions."""
    mean, std, y = (part.numpy() for part in beta_problem())
    each = np.log(std) + (y - mean) ** 2 / (2 * std**2)
    want = np.mean(std ** (2 * beta) * each)
    mistakes = {
        "is the weight σ^β where σ^{2β} belongs?": np.mean(std**beta * each),
        "is the weight divided by, and not multiplied with?": np.mean(std ** (-2 * beta) * each),
        "is the weight left out?": np.mean(each),
        "is this the sum over the rows, not their mean?": 4 * want,
        "is the weight divided by its sum?": want / np.mean(std ** (2 * beta)),
        "is the weight on the squares alone?": np.mean(np.log(std) + std ** (2 * beta) * (each - np.log(std))),
        "is the ½ of the squares missing?": np.mean(std ** (2 * beta) * (2 * each - np.log(std))),
        "is std taken for a variance?": np.mean(std**beta * (0.5 * np.log(std) + (y - mean) ** 2 / (2 * std))),
        "is the constant ½ log 2π kept? The formula has none": np.mean(
            std ** (2 * beta) * (each + 0.5 * np.log(2 * np.pi))
        ),
        "is the sign reversed?": -want,
    }
    mistakes = {why: value for why, value in mistakes.items() if not np.isclose(value, want)}
    got = regression.beta_nll(*beta_problem(), beta)
    assert_close(got, want, rtol=SHARP, what=f"beta_nll(mean, std, y, {beta})", mistakes=mistakes)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_beta_nll_is_one_number_in_the_precision_of_its_arguments(dtype, n):
    """A tensor of shape () and of their dtype: σ^{2β}(log σ + ½) where each y is one σ from μ, σ = 10⁻⁶ included."""
    for std, beta in itertools.product((1e-6, 2.0), (0.0, 0.5, 1.0)):
        arguments = (torch.full((n,), value, dtype=dtype) for value in (0.0, std, -std))
        got = regression.beta_nll(*arguments, beta)
        assert isinstance(got, torch.Tensor), f"beta_nll should be a tensor, got {type(got).__name__}"
        assert got.shape == (), f"beta_nll of {n} observations has shape {tuple(got.shape)}, should be ()"
        assert got.dtype == dtype, f"beta_nll of {dtype} tensors should be {dtype}, got {got.dtype}"
        want = std ** (2 * beta) * (np.log(std) + 0.5)
        what = f"beta_nll of {n} observations, each σ = {std:g} from its mean, at β = {beta} (is σ cut off?)"
        assert_close(got, want, rtol=1e-5 if dtype == torch.float32 else SHARP, what=what)


@pytest.mark.claim("prop-beta-nll", kind="automatic differentiation")
@betas
def test_beta_nll_has_the_stated_gradients(beta):
    """PyTorch's gradients: -σᵢ^{2β-2}(yᵢ - μᵢ)/n in μᵢ, and σᵢ^{2β}(1 - (yᵢ - μᵢ)²/σᵢ²)/n in log σᵢ.

    At β = 1 the first is that of least squares, whatever σ.
    """
    mean, std, y = beta_problem()
    in_mean, in_log_std = gradients(lambda mean, std: regression.beta_nll(mean, std, y, beta), mean, std)
    mean, std, y = (part.numpy() for part in (mean, std, y))
    want = -(std ** (2 * beta - 2)) * (y - mean) / 4
    mistakes = {
        "is the weight σ^β where σ^{2β} belongs?": -(std ** (beta - 2)) * (y - mean) / 4,
        "is the weight divided by, and not multiplied with?": -(std ** (-2 * beta - 2)) * (y - mean) / 4,
        "is the weight left out?": -(std**-2.0) * (y - mean) / 4,
        "is the mean held constant: was the wrong thing detached?": np.zeros(4),
    }
    mistakes = {why: value for why, value in mistakes.items() if not _same(value, want)}
    what = f"the gradient of beta_nll in the mean at β = {beta}"
    assert_close(in_mean, want, rtol=SHARP, what=what, mistakes=mistakes)
    square = (y - mean) ** 2 / std**2
    want = std ** (2 * beta) * (1 - square) / 4
    each = np.log(std) + square / 2
    mistakes = {
        "is the weight differentiated too? It is held constant: detach it": want
        + 2 * beta * std ** (2 * beta) * each / 4,
        "is std detached everywhere, and not in the weight alone?": np.zeros(4),
        "is the weight left out?": (1 - square) / 4,
        "is the weight σ^β where σ^{2β} belongs?": std**beta * (1 - square) / 4,
    }
    mistakes = {why: value for why, value in mistakes.items() if not _same(value, want)}
    what = f"the gradient of beta_nll in log σ at β = {beta}"
    assert_close(in_log_std, want, rtol=SHARP, what=what, mistakes=mistakes)


@pytest.mark.claim("prop-beta-nll", kind="automatic differentiation")
@betas
def test_beta_nll_has_gradients_that_vanish_on_average_at_the_truth_alone(beta):
    """Averaged over y = f ± s, of mean f and variance s², both gradients are 0 at (f, s), and at no neighbour of it."""
    f, s = 1.5, 0.6
    y = torch.tensor([f - s, f + s], dtype=torch.float64)
    for right, up in itertools.product((-0.1, 0.0, 0.1), repeat=2):
        mean, std = torch.full((2,), f + right).double(), torch.full((2,), s + up).double()
        parts = gradients(lambda mean, std: regression.beta_nll(mean, std, y, beta), mean, std)
        total = np.abs([part.sum() for part in parts])
        if right or up:
            assert total.max() > 1e-2, f"the expected gradients vanish at {right:+}, {up:+} from the truth too: {total}"
        else:
            assert_close(total, np.zeros(2), atol=1e-7, what="the expected gradients at the truth")  # full is float32


@pytest.mark.claim("prop-pull", kind="symbolic")
def test_beta_nll_pulls_a_bad_mean_the_less_the_worse_it_is():
    """With σ² at its best for a misfit d, s² + d², the force on the mean is d/(s² + d²): largest at d = s, 1/(2s).

    sympy does the calculus; PyTorch's gradient of beta_nll at β = 0, over y = f ± s, is that force, and d at β = 1.
    """
    d, s, variance = sympy.symbols("d s v", positive=True)
    expected = sympy.log(variance) / 2 + (s**2 + d**2) / (2 * variance)
    assert sympy.solve(expected.diff(variance), variance) == [s**2 + d**2]
    force = expected.diff(d).subs(variance, s**2 + d**2)
    assert sympy.simplify(force - d / (s**2 + d**2)) == 0
    assert sympy.solve(force.diff(d), d) == [s]
    assert sympy.simplify(force.subs(d, s) - 1 / (2 * s)) == 0
    assert force.diff(d, 2).subs(d, s).is_negative
    assert sympy.limit(force * d, d, sympy.oo) == 1
    y = torch.tensor([1.5 - 0.6, 1.5 + 0.6], dtype=torch.float64)
    for off in (0.1, 0.6, 5.0, 100.0):
        mean = torch.full((2,), 1.5 - off, dtype=torch.float64)
        std = torch.full((2,), math.hypot(0.6, off), dtype=torch.float64)
        for beta, want in {0.0: float(force.subs({d: off, s: 0.6})), 1.0: off}.items():
            pull, _ = gradients(lambda mean, std, beta=beta: regression.beta_nll(mean, std, y, beta), mean, std)
            assert_close(-pull.sum(), want, rtol=1e-9, what=f"the force at d = {off}, β = {beta}")


# Networks

# How far from the floor a good fit may be, in nats. A line with noise 0.3 is what both networks can say exactly, with
# some 40 weights: 8,000 rows leave 40/16,000 = 0.0025 on average. What tanh units cannot say exactly is log 0.3x, which
# falls to -∞ at 0; and a mean fitted under one σ suffers from the noise at large x: 0.02 or so remain. One σ for all x,
# the mildest of the mistakes, costs 0.45.
TOLERANCE = {"LINE": 0.03, "FAN": 0.05, "WAVE": 0.05}
fits = pytest.mark.parametrize("fit", ["fit_network", "fit_mean_and_std"])
batches = pytest.mark.parametrize(("name", "seed"), [("LINE", 0), ("FAN", 0), ("WAVE", 0), ("WAVE", 1)])


@functools.cache
def batch(name, seed, n=8_000):
    """x (n, 1) and y (n,) of one of the targets, drawn here."""
    rng = np.random.default_rng([int(os.environ.get("RESEED", "0")), seed, n])
    x = rng.uniform(0, 20, n)
    return x[:, None], MEANS[name](x) + STDS[name](x) * rng.standard_normal(n)


def seeded(seed):
    """A generator for PyTorch."""
    return torch.Generator().manual_seed(1000 * int(os.environ.get("RESEED", "0")) + seed)


def fitted(fit, name, seed):
    """The network that the module's function makes of a batch; made once, as long as the module stays what it is."""
    functions = [part for part in vars(regression).values() if inspect.isfunction(part) or inspect.isclass(part)]
    return _fitted(tuple(functions), fit, name, seed)


@functools.cache
def _fitted(_, fit, name, seed):
    return getattr(regression, fit)(*batch(name, seed), generator=seeded(seed))


def outputs(network, x):
    """What the network says at x (n,), as arrays: (mean,) or (mean, std)."""
    parts = network(np.asarray(x, dtype=float)[:, None])
    parts = parts if isinstance(parts, tuple) else (parts,)
    return [np.asarray(part.detach() if isinstance(part, torch.Tensor) else part, dtype=float) for part in parts]


def excess(name, mean, std=None):
    """What a prediction at the nodes of `average` costs above the floor, in nats: with one σ = 1 if no std is given."""
    x, weights = nodes_and_weights()
    d, s = MEANS[name](x) - mean, STDS[name](x)
    with np.errstate(all="ignore"):
        if std is None:
            return float(weights @ (d**2 / 2))
        each = np.log(std / s) + (s**2 + d**2) / (2 * std**2) - 0.5
        return float(weights @ each) if np.all(np.asarray(std) > 0) else np.inf


def readings(network, name, seed):
    """What the network's outputs would be, had they been made ready: {what was left undone: (mean,) or (mean, std)}."""
    x, _ = nodes_and_weights()
    inputs, y = batch(name, seed)
    centre, spread = y.mean(), y.std()
    ready = outputs(network, (x - inputs.mean()) / inputs.std())
    parts = outputs(network, x)
    mean, others = parts[0], parts[1:]
    scaled = [other * spread for other in others]
    found = {
        "is the mean in units of the standardised y?": (mean * spread + centre, *others),
        "are its outputs in units of the standardised y?": (mean * spread + centre, *scaled),
        "was the mean of y taken away, and not added again?": (mean + centre, *others),
        "does it want inputs that somebody else has standardised?": ready,
        "does it want, and give, numbers that somebody else standardises?": (
            ready[0] * spread + centre,
            *(other * spread for other in ready[1:]),
        ),
        "does it want inputs in [0, 1]?": outputs(network, x / 20),
    }
    if others:
        with np.errstate(all="ignore"):
            found |= {
                "is the second output log σ, where σ was asked for?": (mean, np.exp(others[0])),
                "is the second output log σ², where σ was asked for?": (mean, np.exp(others[0] / 2)),
                "is the second output σ², where σ was asked for?": (mean, np.sqrt(others[0])),
                "is σ in units of the standardised y: multiplied by nothing?": (mean, *scaled),
                "is log σ in units of the standardised y, and not σ?": (mean, np.exp(others[0]) * spread),
                "is σ² in units of the standardised y, and not σ?": (mean, np.sqrt(others[0]) * spread),
                "do σ and the mean come in the wrong order?": (others[0], mean),
            }
    return found


def best_factor(name, mean, std):
    """By what all σ would best be multiplied: √E[(s² + (f - f̂)²)/ŝ²]."""
    x, weights = nodes_and_weights()
    with np.errstate(all="ignore"):
        square = weights @ ((STDS[name](x) ** 2 + (MEANS[name](x) - mean) ** 2) / std**2)
    return np.sqrt(square) if np.isfinite(square) else 1.0


def what_is_wrong_with_sigma(name, mean, std, tolerance):
    """Sentences on a σ that is good but for a factor, or the same everywhere; or good, where the mean is not."""
    x, _ = nodes_and_weights()
    factor = best_factor(name, mean, std)
    if excess(name, MEANS[name](x), std) <= tolerance:
        return ["σ is good, and the mean is not: is it trained?"]
    if excess(name, mean, factor * std) <= tolerance:
        why = {np.sqrt(0.5): "is the ½ of the squares missing", np.sqrt(2): "is log σ² where log σ belongs"}
        near = [f"{sentence} in the loss?" for value, sentence in why.items() if abs(factor / value - 1) < 0.05]
        return [f"σ would be better {factor:.3g} times as large: is it where the likelihood is largest?", *near]
    if np.ptp(std) < 0.05 * np.mean(std) and name != "LINE":
        return ["is it one σ for all x, where each x has its own?"]
    return []


def assert_near_the_floor(network, fit, name, seed):
    """The exact expected NLL of the network's prediction exceeds the floor by no more than is tolerated."""
    __tracebackhide__ = True
    x, _ = nodes_and_weights()
    parts = outputs(network, x)
    assert len(parts) == (2 if fit == "fit_mean_and_std" else 1), f"a network of {fit} returned {len(parts)} things"
    for part in parts:
        assert part.shape == x.shape, f"a network of {fit} returned shape {part.shape} for x of shape {(len(x), 1)}"
    got, tolerance = excess(name, *parts), TOLERANCE[name]
    if got <= tolerance:
        return
    lines = [f"{fit} on 8,000 rows of {name}: its exact expected NLL exceeds the floor by {got:.3g} nats, should be"]
    lines[0] += f" at most {tolerance}"
    known = [why for why, others in readings(network, name, seed).items() if excess(name, *others) <= tolerance]
    if len(parts) > 1 and not known:
        known = what_is_wrong_with_sigma(name, *parts, tolerance)
    if not known:
        s = STDS[name](x)
        constant = (np.full(len(x), average(MEANS[name])),)
        constant += (np.sqrt(average(lambda x: (MEANS[name](x) - constant[0]) ** 2 + s**2)),) if len(parts) > 1 else ()
        lines.append(f"A constant that ignores x exceeds it by {excess(name, *constant):.3g}.")
        known.append("are the inputs standardised inside, and has the training come to its end (E95, E96)?")
    raise AssertionError("\n".join(lines + known))


def small_problem(n=64):
    """x (n, 1) in [0, 20] and y (n,), a line and a wave: multiples of 1/64, and so exact in single precision."""
    x = 20 * (np.arange(n) + 0.5) / n
    y = 2 * x + 5 * np.sin(x / 2) + 3 * np.cos(37 * np.arange(n))
    return np.round(64 * x)[:, None] / 64, np.round(64 * y) / 64


def small_fit(fit, x, y, seed=1, **options):
    """A network with four units and little training: for what must hold of any network."""
    return getattr(regression, fit)(x, y, **{"hidden": 4, "steps": 20, "generator": seeded(seed)} | options)


def assert_returns_what_it_should(fit):
    """Of arrays and tensors in both precisions: tensors (n,) in the precision of the training x, without gradients."""
    __tracebackhide__ = True
    x, y = small_problem()
    for dtype, numbers in {torch.float64: np.float64, torch.float32: np.float32}.items():
        arrays = x.astype(numbers), y.astype(numbers)
        for given in (arrays, tuple(torch.as_tensor(part) for part in arrays)):
            network = small_fit(fit, *given)
            kind = f"{fit} of {dtype} {'tensors' if isinstance(given[0], torch.Tensor) else 'arrays'}"
            for new in (arrays[0][:5], torch.as_tensor(arrays[0][:5]), x[:5], x[:1]):
                parts = network(new)
                if fit == "fit_mean_and_std":
                    assert isinstance(parts, tuple), f"a network of {fit} should return mean and std, got {parts!r:.99}"
                    assert len(parts) == 2, f"a network of {fit} should return mean and std, got {len(parts)} things"
                else:
                    assert isinstance(parts, torch.Tensor), f"a network of {kind} returns {type(parts).__name__}"
                for part in parts if isinstance(parts, tuple) else (parts,):
                    assert isinstance(part, torch.Tensor), f"a network of {kind} returns {type(part).__name__}"
                    want = (len(new),)
                    assert part.shape == want, f"a network of {kind} returns shape {tuple(part.shape)}, not {want}"
                    assert part.dtype == dtype, f"a network of {kind} returns {part.dtype}"
                    assert not part.requires_grad, f"what a network of {kind} returns asks for a gradient: detach it"


def assert_predicts_each_row_by_itself(fit):
    """What a network says at x does not depend on which other x it is asked for, as it would if these standardised."""
    __tracebackhide__ = True
    x, y = small_problem()
    network = small_fit(fit, x, y)
    few = x[[3, 40, 60], 0]
    together = outputs(network, few)
    for part, name in zip(together, ("mean", "std"), strict=False):
        alone = [outputs(network, few[i : i + 1])[name == "std"][0] for i in range(3)]
        what = f"the {name} at three x asked for at once (are inputs standardised by the x just given?)"
        assert_close(part, alone, rtol=1e-9, what=what)


def assert_standardises_inside(fit):
    """Trained on 1024x + 2²⁰ and y/1024 + 8 it predicts the same, in these units: to a thousandth of y's spread.

    These numbers are exact in floating point, and so are the standardised ones, if n is a power of two.
    """
    __tracebackhide__ = True
    x, y = small_problem()
    plain, other = small_fit(fit, x, y), small_fit(fit, 1024 * x + 2**20, y / 1024 + 8)
    at = np.linspace(0, 20, 7)
    here, there = outputs(plain, at), outputs(other, 1024 * at + 2**20)
    hint = "are x and y standardised inside, by the mean and the spread of the data?"
    for name, part, same in zip(("mean", "std"), here, there, strict=False):
        want = part / 1024 + 8 * (name == "mean")
        what = f"the {name} from data in other units"
        assert_close(same, want, rtol=0, atol=1e-3 * y.std() / 1024, what=what, mistakes={hint: same})


def assert_random_by_its_generator_alone(fit):
    """The same state of the generator gives the same network, another one another; None is a fresh one each time."""
    __tracebackhide__ = True
    x, y = small_problem()
    at = np.linspace(0, 20, 7)
    once = seeded(1)
    first, second = (outputs(small_fit(fit, x, y, generator=once), at) for _ in range(2))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(20_260_101)  # the global generator, put somewhere else for a moment
        again = outputs(small_fit(fit, x, y), at)
        seed = torch.initial_seed()
    assert seed == 20_260_101, f"{fit} seeds PyTorch's global generator: it should use the one it is given"
    for part, same in zip(first, again, strict=True):
        assert_close(same, part, rtol=1e-12, what=f"{fit} with a generator in the same state (is generator used?)")
    other = outputs(small_fit(fit, x, y, seed=2), at)
    assert differ(first, other), f"{fit} gives the same for another seed: is generator used?"
    fault = f"{fit} gives the same twice with one generator: does it draw from the generator, or take its seed alone?"
    assert differ(first, second), fault
    fresh = [outputs(small_fit(fit, x, y, generator=None), at) for _ in range(2)]
    assert differ(*fresh), f"{fit} without a generator gives the same network twice"
    with torch.random.fork_rng(devices=[]):
        for network in range(2):
            torch.default_generator.manual_seed(20_260_101)
            fresh[network] = outputs(small_fit(fit, x, y, generator=None), at)
    fault = f"{fit} without a generator depends on PyTorch's global one: it should make one, seeded afresh"
    assert differ(*fresh), fault


def differ(one, other):
    """Whether two networks say different things of the mean."""
    return np.any(np.abs(one[0] - other[0]) > 1e-9)


def assert_leaves_its_data_alone(fit):
    """What x and y hold is the same before and after, in arrays and in tensors, and integers are as good as floats.

    Nor does it matter to the network what is written to them afterwards.
    """
    __tracebackhide__ = True
    x, y = small_problem()
    at = np.linspace(0, 20, 7)
    for given in ((x.copy(), y.copy()), (torch.tensor(x), torch.tensor(y))):
        network = small_fit(fit, *given)
        for part, kept, name in zip(given, (x, y), "xy", strict=True):
            assert_close(part, kept, rtol=0, what=f"{name} after {fit} (was it standardised in place?)")
        before = outputs(network, at)
        for part in given:
            part[:] = -5.0
        for got, want in zip(outputs(network, at), before, strict=True):
            what = f"what a network of {fit} says after something else was written to its data (does it keep a view?)"
            assert_close(got, want, rtol=0, what=what)
    whole = np.arange(30)[:, None], np.arange(30) ** 2 % 17
    floats = tuple(part.astype(float) for part in whole)
    for got, want in zip(*(outputs(small_fit(fit, *data), at) for data in (whole, floats)), strict=True):
        assert_close(got, want, rtol=1e-9, what=f"{fit} of integers")


def assert_learns_from_all_rows(fit):
    """At each of 16 inputs y is 6, 2, -2 and -6, and its mean 0; but 4 in the first half, and 2 in every second row.

    Where a fifth of the rows is held out, at the beginning or at the end, it is 4 at some of the inputs.
    """
    __tracebackhide__ = True
    i = np.arange(64)
    x = 1.25 * (i % 32 // 2)
    y = np.where(i < 32, 4.0, -4.0) + np.where(i % 2 == 0, 2.0, -2.0)
    network = getattr(regression, fit)(x[:, None], y, hidden=4, generator=seeded(4))
    error = np.sqrt(np.mean(outputs(network, x)[0] ** 2))
    assert error < 1, f"{fit} says {error:.2g}, root mean square, where all y together average to 0: is each row used?"


def assert_fits_two_columns(fit):
    """y = 3x₁ - 2x₂ + 1 with noise 1 from 400 rows: the mean is right to 1, root mean square, over other rows.

    All of 23 weights together are known to √(23/400) = 0.24. Without one of the columns the mean is off by 11 at least.
    """
    __tracebackhide__ = True
    rng = np.random.default_rng([int(os.environ.get("RESEED", "0")), 2])
    x, new = (rng.uniform(0, 20, (400, 2)) for _ in range(2))

    def f(x):
        return 3 * x[:, 0] - 2 * x[:, 1] + 1

    network = getattr(regression, fit)(x, f(x) + rng.standard_normal(400), hidden=5, generator=seeded(3))
    parts = network(new)
    mean = (parts[0] if isinstance(parts, tuple) else parts).detach().numpy()
    error = np.sqrt(np.mean((mean - f(new)) ** 2))
    assert error < 1, f"{fit} on two columns is off by {error:.3g}: are both columns used?"


def test_fit_network_returns_tensors_in_the_precision_of_its_data():
    """Of arrays and tensors, in single and double precision: means (n,) in the same precision, without gradients."""
    assert_returns_what_it_should("fit_network")


def test_fit_network_predicts_each_row_by_itself():
    """The mean at an x is the same whichever other x are asked for."""
    assert_predicts_each_row_by_itself("fit_network")


def test_fit_network_standardises_inside():
    """Data in other units, 1024x + 2²⁰ and y/1024 + 8, give the same prediction in these units."""
    assert_standardises_inside("fit_network")


def test_fit_network_takes_its_randomness_from_its_generator_alone():
    """The same state gives the same network, another state another one, one as it was left too, and None a new one."""
    assert_random_by_its_generator_alone("fit_network")


def test_fit_network_leaves_its_data_alone():
    """x and y are neither written to nor kept, and integers are as good as floats."""
    assert_leaves_its_data_alone("fit_network")


def test_fit_network_learns_from_all_rows():
    """Rows whose halves contradict one another: the mean lies between them."""
    assert_learns_from_all_rows("fit_network")


@batches
def test_fit_network_comes_near_the_floor(name, seed):
    """From 8,000 rows: E(f - f̂)²/2, the NLL at σ = 1 above its floor, is at most 0.03 for LINE, 0.05 for the others."""
    assert_near_the_floor(fitted("fit_network", name, seed), "fit_network", name, seed)


def test_fit_network_fits_two_columns():
    """A plane in two inputs, with noise 1, to within 1."""
    assert_fits_two_columns("fit_network")


def test_fit_mean_and_std_returns_tensors_in_the_precision_of_its_data():
    """Of arrays and tensors, in single and double precision: mean and std (n,) in that precision, without gradients."""
    assert_returns_what_it_should("fit_mean_and_std")


def test_fit_mean_and_std_predicts_each_row_by_itself():
    """The mean and the std at an x are the same whichever other x are asked for."""
    assert_predicts_each_row_by_itself("fit_mean_and_std")


def test_fit_mean_and_std_standardises_inside():
    """Data in other units, 1024x + 2²⁰ and y/1024 + 8, give the same prediction in these units."""
    assert_standardises_inside("fit_mean_and_std")


def test_fit_mean_and_std_takes_its_randomness_from_its_generator_alone():
    """The same state gives the same network, another state another one, one as it was left too, and None a new one."""
    assert_random_by_its_generator_alone("fit_mean_and_std")


def test_fit_mean_and_std_leaves_its_data_alone():
    """x and y are neither written to nor kept, and integers are as good as floats."""
    assert_leaves_its_data_alone("fit_mean_and_std")


def test_fit_mean_and_std_learns_from_all_rows():
    """Rows whose halves contradict one another: the mean lies between them."""
    assert_learns_from_all_rows("fit_mean_and_std")


@batches
def test_fit_mean_and_std_comes_near_the_floor(name, seed):
    """From 8,000 rows: E[log(ŝ/s) + (s² + (f - f̂)²)/(2ŝ²) - ½] is at most 0.03 for LINE, 0.05 for the others."""
    assert_near_the_floor(fitted("fit_mean_and_std", name, seed), "fit_mean_and_std", name, seed)


@targets
def test_fit_mean_and_std_gives_a_positive_std_outside_the_data(name):
    """From -40 to 60, where there was nothing to learn from, std is positive and finite too."""
    _, std = outputs(fitted("fit_mean_and_std", name, 0), np.linspace(-40, 60, 101))
    worst = std[np.argmin(np.where(np.isfinite(std), std, -np.inf))]
    assert worst > 0, f"std is {worst:.3g} outside the data: is it the exponential, or the softplus, of an output?"
    assert np.isfinite(std).all(), "std is infinite outside the data"


def test_fit_mean_and_std_fits_two_columns():
    """A plane in two inputs, with noise 1, to within 1."""
    assert_fits_two_columns("fit_mean_and_std")


def test_fit_mean_and_std_begins_with_the_beta_nll_it_is_asked_for():
    """A line up to x = 12, exact but for 0.05, and beyond it another, but for 4: two units cannot follow all of it.

    Least squares, so β = 1, attend to what is far off; the likelihood, β = 0, to what is exact, and calls the rest
    noise. Over two fits, by Adam or L-BFGS, from several kinds of first weights, the squared residuals after β = 1 are
    0.05 to 0.6 of those after β = 0; where β is not used, they are the same. The fit of the likelihood that follows
    ends at an NLL of 0.4 or less; a fit of the β-NLL at 1.1, and none at all at 1.
    """
    i = np.arange(64)
    x = 20 * (i + 0.5) / 64
    y = np.where(x < 12, x + 0.05 * np.cos(7 * i**2), 48 - 3 * x + 4 * np.cos(3 * i))

    def fit(beta, steps):
        """The mean squared residual, and the mean NLL less its constant, of two fits."""
        found = []
        for seed in (0, 1):
            options = {"hidden": 2, "beta": beta, "warm_up": 200, "steps": steps, "generator": seeded(seed)}
            mean, std = outputs(regression.fit_mean_and_std(x[:, None], y, **options), x)
            found.append((np.mean((y - mean) ** 2), np.mean(np.log(std) + (y - mean) ** 2 / (2 * std**2))))
        return np.mean(found, axis=0)

    least_squares, likelihood = fit(1.0, 1)[0], fit(0.0, 1)[0]
    assert least_squares < 0.8 * likelihood, (
        f"a warm-up at β = 1, least squares, leaves a mean squared residual of {least_squares:.3g}, and one at β = 0, "
        f"the likelihood, {likelihood:.3g}: is beta used, and the right way round?"
    )
    nll = fit(1.0, 200)[1]
    assert nll < 0.7, f"with β = 1 the NLL ends at {nll:.2f}: is beta used, followed by a fit of the likelihood itself?"


def assert_all_differ(fit, *options):
    """No two of these options, keyword arguments that stand for more than a name, lead to the same prediction."""
    __tracebackhide__ = True
    x, y = small_problem()
    at = np.linspace(0, 20, 7)
    means = [outputs(small_fit(fit, x, y, **option), at)[0] for option in options]
    for one, other in itertools.combinations(range(len(options)), 2):
        same = np.allclose(means[one], means[other], rtol=1e-9)
        what = " and ".join(sorted(set(options[one]) | set(options[other])))
        assert not same, f"{fit} gives the same with {options[one]} and with {options[other]}: is {what} used?"


def test_fit_network_uses_its_options():
    """Other numbers of hidden units, and of steps, lead to other networks."""
    assert_all_differ("fit_network", {"hidden": 1}, {"hidden": 8})
    assert_all_differ("fit_network", {"steps": 2}, {"steps": 20})


def test_fit_mean_and_std_uses_its_options():
    """Other numbers of hidden units, of steps, with and without β, and of steps of the warm-up, lead to others."""
    assert_all_differ("fit_mean_and_std", {"hidden": 1}, {"hidden": 8})
    assert_all_differ("fit_mean_and_std", {"steps": 2}, {"steps": 20})
    assert_all_differ("fit_mean_and_std", {"beta": 1.0, "warm_up": 5}, {"beta": 1.0, "warm_up": 50})
    after = ({"steps": steps, "beta": 1.0, "warm_up": 5} for steps in (2, 20))
    assert_all_differ("fit_mean_and_std", *after)


def test_fit_mean_and_std_gives_another_network_for_another_beta():
    """β = 0, ½ and 1, and no warm-up at all, lead to four networks from the same start."""
    warm = [{"beta": beta, "warm_up": 10, "steps": 1} for beta in (0.0, 0.5, 1.0)]
    assert_all_differ("fit_mean_and_std", {"steps": 1}, *warm)


def test_fit_mean_and_std_does_not_warm_up_unless_told():
    """Without β, or with β = None, warm_up makes no difference: there is none."""
    x, y = small_problem()
    at = np.linspace(0, 20, 7)
    without = [{"warm_up": 1}, {"warm_up": 9}, {"beta": None, "warm_up": 9}]
    want, *others = (outputs(small_fit("fit_mean_and_std", x, y, steps=1, **options), at) for options in without)
    for options, parts in zip(without[1:], others, strict=True):
        for got, right, part in zip(parts, want, ("mean", "std"), strict=True):
            what = f"the {part} of fit_mean_and_std with {options} (is there a warm-up where no β was asked for?)"
            assert_close(got, right, rtol=1e-9, what=what)


@pytest.mark.filterwarnings("error")
@fits
def test_networks_read_arrays_that_may_not_be_written_to(fit):
    """Read-only arrays are fitted and predicted without an error or a warning."""
    x, y = small_problem()
    x.flags.writeable = y.flags.writeable = False
    outputs(small_fit(fit, x, y), x[:, 0])
    small_fit(fit, x, y)(x)


# Bad input


X, Y = problem(6, 2)
GOOD = {
    "ols": ({"x": X, "y": Y}, {}),
    "ols_covariance": ({"x": X, "noise_variance": 2.0}, {}),
    "mean_nll": ({"beta": np.zeros(2), "x": X, "y": Y, "std": 1.0}, {}),
    "nll_gradient": ({"beta": np.zeros(2), "x": X, "y": Y, "std": 1.0}, {}),
    "descend": ({"x": X, "y": Y}, {"start": 0.0, "rate": 0.1, "steps": 3, "std": 1.0}),
    "nll_floor": ({"target": "FAN", "std": 1.0}, {}),
    "expected_nll": ({"network": None, "target": "FAN", "std": 1.0}, {}),
    "coverage": ({"network": None, "target": "FAN", "x": np.array([1.0, 2.0])}, {"level": 0.9, "std": 1.0}),
    "fit_network": ({"x": X, "y": Y}, {"hidden": 2, "steps": 2}),
    "fit_mean_and_std": ({"x": X, "y": Y}, {"hidden": 2, "steps": 2, "beta": 0.5, "warm_up": 3}),
}


def refuses(function, *, argument, value, **bad):
    """The function says no to this argument, the others being good."""
    __tracebackhide__ = True
    positional, keywords = ({name: bad.get(name, good) for name, good in part.items()} for part in GOOD[function])
    if "target" in positional:
        positional["target"] = target(positional["target"])
    if "network" in positional:
        positional["network"] = answering(lambda x: 2 * x)
    assert_refused(getattr(regression, function), *positional.values(), argument=argument, value=value, **keywords)


def with_one(array, value):
    """A copy of the array with its second entry replaced."""
    array = np.array(array, dtype=float)
    array.flat[1] = value
    return array


takes_data = pytest.mark.parametrize(
    "function", ["ols", "mean_nll", "nll_gradient", "descend", "fit_network", "fit_mean_and_std"]
)


@takes_data
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_are_not_finite_are_refused(function, value):
    """One NaN or infinity among x or y raises a ValueError that says so."""
    refuses(function, x=with_one(X, value), argument="x", value=value)
    refuses(function, y=with_one(Y, value), argument="y", value=value)


@takes_data
def test_data_of_the_wrong_shape_are_refused(function):
    """x that is not (n, m), y of another length than x, or a column, and no data at all: the message says the shape."""
    refuses(function, x=X[:, 0], argument="x", value=6)
    refuses(function, y=Y[:5], argument="y", value=5)
    refuses(function, y=Y[:, None], argument="y", value="(6, 1)")
    refuses(function, x=X[:0], y=Y[:0], argument="x", value=0)


DEPENDENT = {
    "a column twice": (np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), 1),
    "a tenth of a column": (np.array([[1.0, 0.1], [2.0, 0.2], [3.0, 0.1 * 3.0]]), 1),
    "a sum of others": (np.array([[1.0, 4.0, 5.0], [2.0, 0.5, 2.5], [3.0, 2.0, 5.0], [1.0, 1.0, 2.0]]), 2),
    "a column of zeros": (np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]), 1),
    "nothing but zeros": (np.zeros((3, 1)), 0),
    "fewer rows than columns": (np.array([[1.0, 2.0]]), 1),
}


@pytest.mark.parametrize("why", list(DEPENDENT))
def test_ols_refuses_dependent_columns(why):
    """Linearly dependent columns, one of zeros, n < m: there is no (xᵀx)⁻¹, and the message names x and its rank."""
    x, rank = DEPENDENT[why]
    refuses("ols", x=x, y=np.arange(1.0, len(x) + 1), argument="x", value=rank)


@pytest.mark.parametrize("why", list(DEPENDENT))
def test_ols_covariance_refuses_dependent_columns(why):
    """Linearly dependent columns, one of zeros, n < m: there is no (xᵀx)⁻¹, and the message names x and its rank."""
    x, rank = DEPENDENT[why]
    refuses("ols_covariance", x=x, argument="x", value=rank)


def test_ols_refuses_a_table_without_columns():
    """x of shape (n, 0) is no design."""
    refuses("ols", x=X[:, :0], argument="x", value="(6, 0)")


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_ols_covariance_refuses_noise_that_is_no_variance(value):
    """A noise_variance that is 0, negative, NaN or infinite, alone and in an array, raises a ValueError."""
    refuses("ols_covariance", noise_variance=value, argument="noise_variance", value=value)
    refuses("ols_covariance", noise_variance=with_one(np.ones(6), value), argument="noise_variance", value=value)


def test_ols_covariance_refuses_data_that_do_not_fit():
    """noise_variance of another length than x, x with NaN or without rows, raise a ValueError."""
    refuses("ols_covariance", noise_variance=np.ones(5), argument="noise_variance", value=5)
    refuses("ols_covariance", x=with_one(X, np.nan), argument="x", value=np.nan)
    refuses("ols_covariance", x=X[:0], argument="x", value=0)


@pytest.mark.parametrize("function", ["mean_nll", "nll_gradient", "descend", "nll_floor", "expected_nll", "coverage"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_a_std_that_is_not_positive_is_refused(function, value):
    """A std that is 0, negative, NaN or infinite raises a ValueError that says so."""
    refuses(function, std=value, argument="std", value=value)


@pytest.mark.parametrize("function", ["mean_nll", "nll_gradient"])
def test_coefficients_that_do_not_fit_are_refused(function):
    """β with NaN or an infinity in it, or of another length than x has columns, raises a ValueError."""
    refuses(function, beta=np.array([1.0, np.nan]), argument="beta", value=np.nan)
    refuses(function, beta=np.array([1.0, np.inf]), argument="beta", value=np.inf)
    refuses(function, beta=np.zeros(3), argument="beta", value=3)


def test_mean_nll_refuses_bad_tensors_too():
    """NaN in a tensor is refused like NaN in an array."""
    x, y, beta = torch.tensor(X), torch.tensor(Y), torch.tensor([1.0, np.nan]).double()
    assert_refused(regression.mean_nll, beta, x, y, 1.0, argument="beta", value=np.nan)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_descend_refuses_a_start_from_which_nothing_can_be_reached(value):
    """A start that is not finite, alone or in an array, or of the wrong length, raises a ValueError."""
    refuses("descend", start=value, argument="start", value=value)
    refuses("descend", start=np.array([0.0, value]), argument="start", value=value)
    refuses("descend", start=np.zeros(3), argument="start", value=3)


@pytest.mark.parametrize("value", [0.0, -0.1, np.nan, np.inf])
def test_descend_refuses_a_rate_that_is_not_positive(value):
    """A rate that is 0, negative, NaN or infinite raises a ValueError."""
    refuses("descend", rate=value, argument="rate", value=value)


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        ("descend", "steps"),
        ("fit_network", "hidden"),
        ("fit_network", "steps"),
        ("fit_mean_and_std", "hidden"),
        ("fit_mean_and_std", "steps"),
        ("fit_mean_and_std", "warm_up"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_numbers_that_do_not_count_are_refused(function, argument, value):
    """steps, hidden and warm_up are positive integers."""
    refuses(function, argument=argument, value=value, **{argument: value})


@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_draw_batch_refuses_a_number_that_does_not_count(value):
    """n is a positive integer, and nothing is drawn before that is known."""
    rng, fresh = np.random.default_rng(1), np.random.default_rng(1)
    assert_refused(regression.draw_batch, rng, target("FAN"), value, argument="n", value=value)
    assert rng.random() == fresh.random(), "draw_batch used the generator before it refused"


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_fractions_outside_zero_and_one_are_refused(value):
    """A level of coverage, or a β, below 0, above 1 or NaN raises a ValueError."""
    refuses("coverage", level=value, argument="level", value=value)
    refuses("fit_mean_and_std", beta=value, argument="beta", value=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_beta_nll_refuses_a_beta_outside_zero_and_one(value):
    """A β below 0, above 1 or NaN raises a ValueError."""
    assert_refused(regression.beta_nll, *beta_problem(), value, argument="beta", value=value)


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_beta_nll_refuses_a_std_that_is_not_positive(value):
    """A second std of 0 or below is refused, by value."""
    mean, std, y = beta_problem()
    std[1] = value
    assert_refused(regression.beta_nll, mean, std, y, 0.5, argument="std", value=value)


def test_coverage_refuses_points_that_are_none():
    """x that is a column, or has NaN in it, raises a ValueError."""
    refuses("coverage", x=np.array([[1.0], [2.0]]), argument="x", value="(2, 1)")
    refuses("coverage", x=np.array([1.0, np.nan]), argument="x", value=np.nan)


@fits
def test_networks_refuse_data_with_nothing_to_learn(fit):
    """A column of x that is constant, a constant y, and a single row raise a ValueError that shows the value."""
    refuses(fit, x=np.column_stack([X[:, 0], np.full(6, 3.5)]), argument="x", value=3.5)
    refuses(fit, y=np.full(6, 2.5), argument="y", value=2.5)
    refuses(fit, x=np.array([[1.0]]), y=np.array([2.0]), argument="x", value=1)


@fits
def test_networks_refuse_inputs_of_another_kind(fit):
    """A trained network wants as many columns as it was trained on: (n, 2), (n,) and NaN are refused."""
    trained = small_fit(fit, *small_problem())

    def network(x):
        return trained(x)

    assert_refused(network, np.zeros((3, 2)), argument="x", value=2)
    assert_refused(network, np.zeros(3), argument="x", value=3)
    assert_refused(network, np.array([[1.0], [np.nan]]), argument="x", value=np.nan)


# What arrays may ask for


def test_arguments_are_left_alone():
    """Arrays that must not be written to are not written to."""
    x, y, beta, variances = X.copy(), Y.copy(), np.array([0.5, -1.0]), np.arange(1.0, 7)
    for array in (x, y, beta, variances):
        array.flags.writeable = False
    regression.ols(x, y)
    regression.ols_covariance(x, variances)
    regression.mean_nll(beta, x, y, 0.5)
    regression.nll_gradient(beta, x, y, 0.5)
    regression.coverage(answering(lambda x: 2 * x), target("LINE"), y**2, std=1.0)
    assert_close(x, X, rtol=0, what="x afterwards")


def test_whole_numbers_are_numbers():
    """Arrays of integers give what the same numbers give as floats."""
    x, y, beta, variances = (
        np.array([[1, 0], [2, 1], [-1, 3]]),
        np.array([2, 3, 7]),
        np.array([1, -2]),
        np.array([1, 4, 2]),
    )
    a, b, c, d = (array.astype(float) for array in (x, y, beta, variances))
    assert_close(regression.ols_covariance(x, variances), regression.ols_covariance(a, d), what="ols_covariance")
    assert_close(regression.ols_covariance(x, 2), regression.ols_covariance(a, 2.0), what="ols_covariance(x, 2)")
    assert_close(regression.mean_nll(beta, x, y, 2), regression.mean_nll(c, a, b, 2.0), what="mean_nll")
    assert_close(regression.nll_gradient(beta, x, y, 2), regression.nll_gradient(c, a, b, 2.0), what="nll_gradient")
    network = answering(lambda x: 2 * x + 1, lambda x: 1 + x)
    got = regression.coverage(network, target("FAN"), np.array([1, 5]))
    assert_close(got, regression.coverage(network, target("FAN"), np.array([1.0, 5.0])), what="coverage")
