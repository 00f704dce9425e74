"""Permutations by enumeration, coupling layers by automatic Jacobians, densities by quadrature, bounds by equality."""

import itertools
import math
import re
from functools import cache

import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, special, stats
from sympy.combinatorics import Permutation

from solutions import coupling
from solutions.datasets import MOONS, RINGS, Arcs, arcs_entropy, arcs_log_density
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_proportion, assert_unbiased

# A few dozen roundings, each of 1.1e-16, of numbers that cancel to a hundredth or so lose 1e-12.
SHARP = 1e-10
FIVE = [np.array(p) for p in itertools.permutations(range(5))]
FOUR = [np.array(p) for p in itertools.permutations(range(4))]
SUBSETS = [list(s) for k in range(6) for s in itertools.combinations(range(5), k)]
LOG_2PI = math.log(2 * math.pi)


def tensor(x):
    """A tensor of float64."""
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def numbers(x):
    """An array of float64."""
    return np.asarray(x.detach() if hasattr(x, "detach") else x, dtype=float)


def others(kept, dimension=5):
    """The coordinates that are not kept."""
    return [i for i in range(dimension) if i not in kept]


def shaken(flow, generator, std=0.5):
    """The flow in double precision, all its weights drawn anew from N(0, std²)."""
    flow = flow.double()
    with torch.no_grad():
        for w in flow.parameters():
            w.copy_(std * torch.randn(w.shape, generator=generator, dtype=w.dtype))
    return flow.requires_grad_(False)


def layer_of(kept, generator, *, dimension=5, std=0.5, **options):
    """A coupling layer with random weights, in double precision."""
    layer = coupling.AffineCoupling(dimension, kept, hidden=8, generator=generator, **options)
    return shaken(layer, generator, std)


def flow_of(dimension, generator, *, std=0.5, layers=4, hidden=8, **options):
    """A RealNVP with random weights, in double precision."""
    flow = coupling.RealNVP(dimension, layers, hidden, generator=generator, **options)
    return shaken(flow, generator, std)


def noise(generator, n, d=5):
    """n points from N(0, I), in double precision."""
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def derivative(function, x):
    """∂f/∂x of each row by itself, (n, m, d)."""
    rows = [torch.autograd.functional.jacobian(lambda row: function(row[None])[0], row) for row in x]
    return np.stack([numbers(row) for row in rows])


def log_abs_det(jacobians):
    """log|det| of each matrix, by LU factors."""
    return np.linalg.slogdet(jacobians)[1]


def scales_and_shifts(layer, x, moved):
    """eˢ and t at the rows of x: what becomes of 0 and 1 in the moved coordinates."""
    low, high = x.clone(), x.clone()
    low[:, moved], high[:, moved] = 0.0, 1.0
    shift = numbers(layer.forward(low)[0])[:, moved]
    return numbers(layer.forward(high)[0])[:, moved] - shift, shift


def global_state():
    """The numbers that NumPy's and PyTorch's global generators will go on from."""
    return np.append(np.random.get_state()[1], torch.get_rng_state().numpy())  # noqa: NPY002


def distinct(mistakes, want):
    """Those mistakes that do not give what is right."""
    return {words: value for words, value in mistakes.items() if not np.array_equal(value, want)}


def inversions(p):
    """How many pairs stand in the wrong order."""
    return sum(int(a > b) for a, b in itertools.combinations(list(p), 2))


# Permutations


def test_inverse_permutation_undoes_all_of_five():
    """For all 120 permutations of five, at place p(i) stands i: written down one by one."""
    for p in FIVE:
        want = [0] * 5
        for i, place in enumerate(p):
            want[place] = i
        mistakes = {
            "is this p itself? (the ranks of p, argsort twice, are p)": p,
            "is p read backwards? The inverse undoes p": p[::-1],
            "does the answer count from 1?": np.add(want, 1),
            "is this p applied twice?": p[p],
            "are all places counted from the end?": 4 - np.array(want),
        }
        got = coupling.inverse_permutation(p)
        assert_close(got, want, what=f"inverse_permutation({p.tolist()})", mistakes=distinct(mistakes, want))
        assert np.asarray(got).dtype.kind in "iu", f"inverse_permutation should hold integers, got {got.dtype}"


def test_inverse_permutation_of_the_example():
    """(1, 4, 6, 5, 3, 2), counted from 1, has the inverse [1, 6, 5, 2, 4, 3]; here both count from 0."""
    p = np.array([1, 4, 6, 5, 3, 2]) - 1
    want = np.array([1, 6, 5, 2, 4, 3]) - 1
    mistakes = {"does the answer count from 1?": want + 1, "is this p itself?": p}
    assert_close(coupling.inverse_permutation(p), want, what="inverse_permutation of the example", mistakes=mistakes)


def test_inverse_permutation_of_many(rng):
    """Of one, of 60 and of 20,000 places: p(p⁻¹(i)) = p⁻¹(p(i)) = i, and of 60 what sympy says."""
    assert_close(coupling.inverse_permutation(np.array([0])), [0], what="inverse_permutation([0])")
    for n in (60, 20_000):
        p = rng.permutation(n)
        inverse = coupling.inverse_permutation(p)
        assert_close(p[inverse], np.arange(n), what=f"p(p⁻¹(i)) for n = {n}")
        assert_close(inverse[p], np.arange(n), what=f"p⁻¹(p(i)) for n = {n}")
    p = rng.permutation(60)
    want = (~Permutation(p.tolist())).array_form
    assert_close(coupling.inverse_permutation(p), want, what="inverse_permutation, against sympy")


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64])
def test_inverse_permutation_of_every_kind_of_integer(kind, rng):
    """Small integers up to their last one, read-only and every other one of an array: the same, and p as it was."""
    n = 128 if kind is np.int8 else 256
    p = rng.permutation(n)
    want = np.argsort(p)
    small = np.repeat(p.astype(kind), 2)[::2]
    small.flags.writeable = False
    what = f"inverse_permutation of {kind.__name__}"
    assert_close(coupling.inverse_permutation(small), want, what=what)
    assert_close(coupling.permutation_matrix(small), np.eye(n)[p], what=f"permutation_matrix of {kind.__name__}")
    assert_close(coupling.compose(small, small), p[p], what=f"compose of {kind.__name__}")
    assert coupling.permutation_sign(small) == (-1) ** inversions(p), f"permutation_sign of {kind.__name__}"


def test_permutations_are_left_as_they_are():
    """No function writes to its argument, none keeps what it saw: after a swap all answers are of the new array."""
    p, q = np.array([2, 0, 3, 1]), np.array([1, 0, 2, 3])
    before = p.copy(), q.copy()
    for _ in range(2):
        results = {
            "inverse_permutation": (coupling.inverse_permutation(p), np.argsort(p)),
            "permutation_matrix": (coupling.permutation_matrix(p), np.eye(4)[p]),
            "permutation_sign": (coupling.permutation_sign(p), (-1) ** inversions(p)),
            "compose": (coupling.compose(p, q), p[q]),
        }
        assert np.array_equal(p, before[0]), "p was changed by a function that it was given to"
        assert np.array_equal(q, before[1]), "q was changed by a function that it was given to"
        for name, (got, want) in results.items():
            assert_close(got, want, what=f"{name}, of an array that was changed between two calls")
        got = coupling.compose(p, np.arange(4)), coupling.inverse_permutation(p), coupling.permutation_matrix(p)
        for answer in got:
            answer[...] = 0
        assert np.array_equal(p, before[0]), "an answer shares its memory with p: copy it"
        p[[0, 1]] = p[[1, 0]]
        before = p.copy(), q.copy()


@pytest.mark.claim("prop-permutation-matrix")
def test_permutation_matrix_has_e_p_of_i_in_row_i():
    """Row i of the matrix is e_p(i)ᵀ, for all 120 permutations of five: (Px)ᵢ = x_p(i), exactly."""
    x = np.array([1.0, 10.0, 100.0, 1000.0, 10000.0])
    for p in FIVE:
        want = np.array([[float(p[i] == j) for j in range(5)] for i in range(5)])
        got = coupling.permutation_matrix(p)
        mistakes = {
            "is e_p(i) in column i, not in row i? This matrix is transposed": want.T,
            "are the columns counted backwards?": want[:, ::-1],
            "is this the identity, whatever p?": np.eye(5),
        }
        what = f"permutation_matrix({p.tolist()})"
        assert_close(got, want, what=what, mistakes=distinct(mistakes, want))
        assert np.asarray(got).dtype == np.float64, f"{what} should be of float64, got {np.asarray(got).dtype}"
        assert_close(got @ x, [x[p[i]] for i in range(5)], what=f"Px for p = {p.tolist()}")


@pytest.mark.claim("prop-permutation-matrix")
def test_permutation_matrix_transposed_is_that_of_the_inverse():
    """PᵀP = PPᵀ = I and Pᵀ = P_{p⁻¹}, for all 120 permutations of five, exactly."""
    for p in FIVE:
        matrix = coupling.permutation_matrix(p)
        assert_close(matrix.T @ matrix, np.eye(5), what=f"PᵀP for p = {p.tolist()}")
        assert_close(matrix @ matrix.T, np.eye(5), what=f"PPᵀ for p = {p.tolist()}")
        inverse = coupling.permutation_matrix(coupling.inverse_permutation(p))
        assert_close(inverse, matrix.T, what=f"the matrix of p⁻¹ for p = {p.tolist()}")


@pytest.mark.claim("prop-permutation-matrix")
def test_compose_is_the_product_of_matrices_the_other_way_round():
    """P_σ P_τ = P_{τ∘σ} for all 576 pairs of permutations of four, and P_{σ∘τ} for fewer than half of them."""
    matrices = {tuple(p): coupling.permutation_matrix(p) for p in FOUR}
    same = 0
    for p, q in itertools.product(FOUR, FOUR):
        product = matrices[tuple(p)] @ matrices[tuple(q)]
        got = matrices[tuple(coupling.compose(q, p).tolist())]
        mistakes = distinct({"is compose(p, q) first p, then q? It is first q": product}, got)
        assert_close(got, product, what=f"P_{{τ∘σ}} for σ = {p}, τ = {q}", mistakes=mistakes)
        same += np.array_equal(matrices[tuple(coupling.compose(p, q).tolist())], product)
    assert same < 288, "both orders give the product P_σ P_τ: compose cannot be right"


def test_compose_is_first_q_then_p():
    """(p∘q)(i) = p(q(i)), for all pairs of permutations of four; against sympy for 60 places."""
    for p, q in itertools.product(FOUR, FOUR):
        want = [p[q[i]] for i in range(4)]
        mistakes = {
            "is it first p, then q? compose(p, q) is p(q(i))": q[p],
            "is it undone, the inverse of p∘q?": np.argsort(want),
            "is only p there?": p,
            "are they multiplied entry by entry?": p * q,
            "are they added?": (p + q) % 4,
        }
        got = coupling.compose(p, q)
        assert_close(got, want, what=f"compose({p.tolist()}, {q.tolist()})", mistakes=distinct(mistakes, want))


def test_compose_of_sixty_places(rng):
    """Against sympy, whose product b*a is first b, then a."""
    p, q = rng.permutation(60), rng.permutation(60)
    want = (Permutation(q.tolist()) * Permutation(p.tolist())).array_form
    mistakes = {"is it first p, then q?": q[p]}
    assert_close(coupling.compose(p, q), want, what="compose, against sympy", mistakes=mistakes)


@pytest.mark.claim("prop-permutation-matrix")
def test_permutation_sign_is_the_determinant():
    """For all 120 permutations of five: (−1) to the number of pairs in the wrong order (Leibniz), and det P by LU."""
    words = {
        "even": "permutation_sign is 1 for every permutation: odd ones have -1",
        "odd": "permutation_sign has the wrong sign everywhere: is it (−1) to the number of cycles, without n?",
    }
    got = [coupling.permutation_sign(p) for p in FIVE]
    want = [(-1) ** inversions(p) for p in FIVE]
    assert any(sign != 1 for sign in got), words["even"]
    assert [-sign for sign in got] != want, words["odd"]
    fixed = [(-1) ** int(5 - (p == np.arange(5)).sum()) for p in FIVE]
    mistakes = {
        "do you count the places that are not fixed? A cycle of three is even": fixed,
        "is it (−1) to the number of places where p falls?": [(-1) ** int((np.diff(p) < 0).sum()) for p in FIVE],
    }
    assert_close(got, want, what="permutation_sign of all permutations of five", mistakes=mistakes)
    determinants = [np.linalg.det(coupling.permutation_matrix(p)) for p in FIVE]
    assert_close(got, determinants, what="permutation_sign, against det P", rtol=1e-12)


def test_permutation_sign_is_a_plain_integer(rng):
    """1 or −1, an int of Python's; of one to 101 places what sympy's signature says."""
    for n in [1, 2, 3, 4, 6, 7, 60, 101]:
        p = rng.permutation(n)
        got = coupling.permutation_sign(p)
        assert type(got) is int, f"permutation_sign should be a plain int, got {type(got).__name__}"
        want = Permutation(p.tolist()).signature()
        mistakes = {"is it (−1) to the number of cycles, without n?": -want}
        assert_close(got, want, what=f"permutation_sign of {n} places", mistakes=mistakes)
        if n > 1:
            p[[0, 1]] = p[[1, 0]]
            assert coupling.permutation_sign(p) == -want, "one swap more should change permutation_sign's sign"


BAD_PERMUTATIONS = {
    "[0, 0, 1]": np.array([0, 0, 1]),
    "[0, 2]": np.array([0, 2]),
    "[0, 0, 3, 3]": np.array([0, 0, 3, 3]),  # whose sum is right
    "[0, 2, 2, 2, 4]": np.array([0, 2, 2, 2, 4]),  # and whose ends are
    "[-1, 0]": np.array([-1, 0]),
    "[0.0, 1.0]": np.array([0.0, 1.0]),
    "(2, 2)": np.array([[0, 1], [1, 0]]),
    "(0,)": np.array([], dtype=int),
}


@pytest.mark.parametrize("name", ["inverse_permutation", "permutation_matrix", "permutation_sign"])
def test_what_is_no_permutation_is_refused(name):
    """A place twice, one left out, −1, halves, a table, nothing; and what counts from 1 is told so."""
    function = getattr(coupling, name)
    for shown, p in BAD_PERMUTATIONS.items():
        assert_refused(function, p, argument="p", value=shown)
    for p in (np.array([1, 2, 3]), np.array([1, 4, 6, 5, 3, 2])):
        shown = str(p.tolist())
        assert_refused(function, p, argument="p", value=shown)
        with pytest.raises(ValueError, match=re.escape(shown)) as raised:
            function(p)
        told = re.search(r"(from|at|with) (1|one)\b|1-based|one-based|subtract", str(raised.value))
        assert told, f"{name}({shown}) should say that p counts from 1, said: {raised.value}"


def test_compose_refuses_what_is_no_permutation():
    """As the first and as the second; and two of different lengths."""
    swap = np.array([1, 0])
    assert_refused(coupling.compose, swap, np.array([0, 2, 1]), argument="q", value="(3,)")
    for shown, p in BAD_PERMUTATIONS.items():
        assert_refused(coupling.compose, p, swap, argument="p", value=shown)
        assert_refused(coupling.compose, swap, p, argument="q", value=shown)


# One coupling layer


@pytest.mark.claim("thm-coupling", kind="automatic differentiation")
def test_affine_coupling_log_det_is_that_of_its_jacobian(generator):
    """For all 32 subsets of five: log|det| of the automatic Jacobian, by LU factors, against the layer's own."""
    gap = 0.0
    for kept in SUBSETS:
        layer, x = layer_of(kept, generator), noise(generator, 3)
        got = numbers(layer.forward(x)[1])
        jacobians = derivative(lambda rows, layer=layer: layer.forward(rows)[0], x)
        want = log_abs_det(jacobians)
        moved = others(kept)
        s = np.log(np.abs(np.diagonal(jacobians[:, moved][:, :, moved], axis1=1, axis2=2)))
        if s.size:
            gap = max(gap, np.abs(np.exp(s).sum(1) - want).max())
        mistakes = {
            "is it 1ᵀeˢ? The logarithm of the product of the eˢ is 1ᵀs": np.exp(s).sum(1),
            "is its sign reversed, as if it were that of the inverse?": -want,
            "is it the determinant, without its logarithm?": np.exp(want),
            "is s averaged over the coordinates, not summed?": want / max(len(moved), 1),
            "is it averaged over all coordinates?": want / 5,
            "is the log-determinant left out?": np.zeros(3),
            "is it summed over the rows too? One number for each row": np.full(3, want.sum()),
            "is only the first moved coordinate counted?": s[:, 0] if len(moved) else want,
        }
        what = f"log_det of a layer that keeps {kept} of five"
        assert_close(got, want, rtol=SHARP, atol=1e-11, what=what, mistakes=distinct(mistakes, want))
    assert gap > 1, f"1ᵀeˢ should be far from the truth with weights like these, was within {gap}"


@pytest.mark.claim("thm-coupling", kind="automatic differentiation")
def test_affine_coupling_jacobian_has_its_blocks(generator):
    """P DT Pᵀ = [[I, 0], [C, diag eˢ]] for all 32 subsets of five: I and 0 exactly, C not 0, det > 0."""
    for kept in SUBSETS:
        layer, x = layer_of(kept, generator), noise(generator, 3)
        order, k = kept + others(kept), len(kept)
        p = np.eye(5)[order]
        for jacobian in derivative(lambda rows, layer=layer: layer.forward(rows)[0], x):
            blocks = p @ jacobian @ p.T
            what = f"of a layer that keeps {kept} of five"
            changed = "the kept coordinates do not come out as they went in"
            assert np.array_equal(blocks[:k, :k], np.eye(k)), f"the block I {what} is {blocks[:k, :k]}: {changed}"
            assert not blocks[:k, k:].any(), f"the block 0 {what} is {blocks[:k, k:]}: {changed}"
            low = blocks[k:, k:]
            off = low - np.diag(np.diag(low))
            sees = "the conditioner sees the moved coordinates; it may see the kept ones only"
            assert not off.any(), f"the block diag eˢ {what} has {np.abs(off).max():.3g} off its diagonal: {sees}"
            assert np.all(np.diag(low) > 0), f"the block diag eˢ {what} is not positive: {np.diag(low)}"
            if 0 < k < 5:
                assert np.all(blocks[k:, :k] != 0), (
                    f"the block C {what} has zeros: each kept one should move each other"
                )


@pytest.mark.claim("thm-coupling", kind="symbolic")
def test_coupling_determinant_and_inverse_are_the_stated_ones():
    """sympy, any s and t of the kept ones: det DT = e^{1ᵀs}, not e^{1ᵀeˢ}, and the stated inverse undoes T."""
    a, b, c, d = x = sympy.symbols("a b c d", real=True)
    s1, s2, t1, t2 = (sympy.Function(name)(b, d) for name in ("s1", "s2", "t1", "t2"))
    z = sympy.Matrix([sympy.exp(s1) * a + t1, b, sympy.exp(s2) * c + t2, d])  # keeps the second and the fourth
    determinant = z.jacobian(x).det(method="berkowitz")
    assert sympy.simplify(determinant - sympy.exp(s1 + s2)) == 0
    assert sympy.simplify(sympy.log(determinant) - sympy.exp(s1) - sympy.exp(s2)) != 0
    assert sympy.simplify(sympy.exp(-s1) * (z[0] - t1) - a) == 0
    assert sympy.simplify(sympy.exp(-s1) * z[0] - t1 - a) != 0  # the scale undone before the shift
    assert sympy.simplify(sympy.exp(-s2) * (z[2] - t2) - c) == 0


def test_affine_coupling_log_det_by_differences(generator):
    """log|det| of central differences, 1e-5 to each side, which know nothing of automatic derivatives."""
    h = 1e-5
    for kept in ([0, 3], [4], [1, 2, 3]):
        layer, x = layer_of(kept, generator), noise(generator, 4)
        steps = h * torch.eye(5, dtype=torch.float64)
        columns = [(layer.forward(x + e)[0] - layer.forward(x - e)[0]) / (2 * h) for e in steps]
        want = log_abs_det(numbers(torch.stack(columns, dim=2)))
        got = layer.forward(x)[1]
        # h² times a third derivative, and 1e-16/h of rounding
        assert_close(got, want, rtol=1e-6, atol=1e-6, what=f"log_det of a layer that keeps {kept}, by differences")


@pytest.mark.claim("thm-coupling")
def test_affine_coupling_inverse_is_the_stated_one(generator):
    """e^{−s}(z − t) for all 32 subsets of five, with s and t from what becomes of 0 and 1; and T(T⁻¹(z)) = z."""
    for kept in SUBSETS:
        layer, z = layer_of(kept, generator), noise(generator, 6)
        moved = others(kept)
        scale, shift = scales_and_shifts(layer, z, moved)

        def with_moved(values, z=z, moved=moved):
            out = numbers(z).copy()
            out[:, moved] = values
            return out

        old = numbers(z)[:, moved]
        want = with_moved((old - shift) / scale)
        mistakes = {
            "is it exp(+s) where exp(−s) belongs?": with_moved((old - shift) * scale),
            "is the scale undone before the shift? It is e^{−s}(z − t), not e^{−s}z − t": with_moved(
                old / scale - shift
            ),
            "is this forward once more?": with_moved(scale * old + shift),
            "is the shift t left out of the inverse?": with_moved(old / scale),
            "is the scale left out of the inverse?": with_moved(old - shift),
            "is t added, not subtracted?": with_moved((old + shift) / scale),
        }
        got = layer.inverse(z)
        what = f"inverse of a layer that keeps {kept} of five"
        assert_close(got, want, rtol=1e-9, atol=1e-9, what=what, mistakes=distinct(mistakes, want))
        back = layer.forward(tensor(want))[0]
        assert_close(back, z, rtol=1e-9, atol=1e-9, what=f"forward of the stated inverse, {kept} kept")


def test_affine_coupling_keeps_what_it_should(generator):
    """The kept coordinates, in whatever order they are named, come out bit for bit, forward and back; others move."""
    x = noise(generator, 7)
    for kept in [[], [3, 1], (4, 0, 2), np.array([2]), [0], np.array([1, 0, 3], dtype=np.uint8), range(5)]:
        layer = layer_of(kept, generator)
        stay, move = sorted(int(i) for i in kept), others([int(i) for i in kept])
        for name, y in {"forward": layer.forward(x)[0], "inverse": layer.inverse(x)}.items():
            words = f"{name} of a layer that keeps {stay} changes the kept coordinates"
            assert torch.equal(y[:, stay], x[:, stay]), f"{words}: are kept and moved exchanged, or not put back?"
            words = f"{name} of a layer that keeps {stay} should move {move}: are kept and moved exchanged?"
            assert torch.all(y[:, move] != x[:, move]), words


def test_affine_coupling_asks_the_kept_coordinates_only(generator):
    """Another value of one moved coordinate changes that one alone, by the scale; log_det stays, to the last bit."""
    layer, x = layer_of([0, 3], generator), noise(generator, 6)
    z, log_det = layer.forward(x)
    y = layer.inverse(x)
    for j in (1, 2, 4):
        other = x.clone()
        other[:, j] += 1.0
        rest = [i for i in range(5) if i != j]
        sees = f"coordinate {j}, which is moved, changes others: the conditioner sees the moved coordinates"
        assert torch.equal(layer.forward(other)[0][:, rest], z[:, rest]), f"forward: {sees}"
        assert torch.equal(layer.forward(other)[1], log_det), f"log_det: {sees}"
        assert torch.equal(layer.inverse(other)[:, rest], y[:, rest]), f"inverse: {sees}"
    other = x.clone()
    other[:, 3] += 1.0
    assert torch.all(layer.forward(other)[0][:, [1, 2, 4]] != z[:, [1, 2, 4]]), "a kept coordinate should move others"


def test_affine_coupling_keeps_the_first_half_unless_told(generator):
    """Without `kept` it is the first ⌊d/2⌋ coordinates: none of one, one of two and of three, two of five."""
    for d in (1, 2, 3, 5):
        layer, x = layer_of(None, generator, dimension=d), noise(generator, 4, d)
        same = [bool(torch.equal(layer.forward(x)[0][:, j], x[:, j])) for j in range(d)]
        want = [j < d // 2 for j in range(d)]
        assert same == want, f"of {d} coordinates those kept are {same}, should be the first {d // 2}"


def test_affine_coupling_that_keeps_nothing_or_everything(generator):
    """Nothing kept: eˢx + t with the same s and t for all rows. Everything kept: the identity, log_det 0 for each."""
    layer, x = layer_of([], generator), noise(generator, 6)
    z, log_det = (numbers(y) for y in layer.forward(x))
    scale, shift = scales_and_shifts(layer, x[:1], [0, 1, 2, 3, 4])
    assert_close(z, scale * numbers(x) + shift, rtol=SHARP, atol=SHARP, what="forward with nothing kept")
    assert_close(log_det, np.full(6, np.log(scale).sum()), rtol=SHARP, atol=SHARP, what="log_det with nothing kept")
    layer = coupling.AffineCoupling(5, range(5), hidden=3, generator=generator).double()
    z, log_det = layer.forward(x)
    assert torch.equal(z, x), "forward with everything kept should be the identity"
    assert torch.equal(layer.inverse(x), x), "inverse with everything kept should be the identity"
    assert_close(log_det, np.zeros(6), what="log_det with everything kept")


def test_affine_coupling_moves_rows_one_by_one(generator):
    """Each row alone, and the rows in another order, give what they give together."""
    layer, x = layer_of([1, 4], generator), noise(generator, 8)
    z, log_det = layer.forward(x)
    back = layer.inverse(x)
    for i in range(8):
        alone = layer.forward(x[i : i + 1])
        words = f"row {i} by itself: does a row know of the others?"
        assert_close(alone[0], z[i : i + 1], rtol=1e-12, atol=1e-12, what=f"forward of {words}")
        assert_close(alone[1], log_det[i : i + 1], rtol=1e-12, atol=1e-12, what=f"log_det of {words}")
        assert_close(layer.inverse(x[i : i + 1]), back[i : i + 1], rtol=1e-12, atol=1e-12, what=f"inverse of {words}")
    many = torch.cat([x, noise(generator, 300)])
    words = "eight rows among 300 more: does a row know of the others?"
    assert_close(layer.forward(many)[0][:8], z, rtol=1e-12, atol=1e-12, what=f"forward of {words}")
    assert_close(layer.inverse(many)[:8], back, rtol=1e-12, atol=1e-12, what=f"inverse of {words}")


@pytest.mark.claim("prop-bounded-scales")
@pytest.mark.parametrize("bound", [0.5, 2.0, 20.0])
def test_affine_coupling_scales_stay_in_their_bound(bound, generator):
    """Weights of spread 50: |log_det| ≤ bound times the number of moved coordinates, which is reached; all finite."""
    for kept in ([], [0], [4, 1], [0, 1, 2, 3]):
        layer = layer_of(kept, generator, std=50.0, bound=bound)
        m = 5 - len(kept)
        z, log_det = layer.forward(noise(generator, 400))
        words = f"a layer that moves {m} with weights of spread 50 and bound {bound}"
        assert torch.isfinite(z).all(), f"forward of {words} is not finite: is s unbounded?"
        assert torch.isfinite(log_det).all(), f"log_det of {words} is not finite: is s unbounded?"
        largest = float(log_det.abs().max())
        assert largest <= bound * m * (1 + 1e-12), f"|log_det| of {words} reaches {largest:.4g}: is s unbounded?"
        if m == 1:
            # a tanh of a number of spread 50·√8·50 is within 1e-3 of ±1 but for a share of 1e-3 of rows or so
            assert largest > 0.99 * bound, f"|log_det| of {words} reaches {largest:.4g} only, not {bound}"


def test_affine_coupling_without_a_bound_given_has_two(generator):
    """The bound is 2 unless told otherwise: weights of spread 50 reach it and do not pass it."""
    layer = layer_of([0], generator, std=50.0, dimension=2)
    largest = float(layer.forward(noise(generator, 400, 2))[1].abs().max())
    assert 1.98 < largest <= 2 * (1 + 1e-12), f"|log_det| reaches {largest:.4g}, should reach 2: is s bounded by 2?"


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("std", [0.5, 50.0])
def test_affine_coupling_can_be_undone_whatever_its_weights(double, std, generator):
    """inverse(forward(x)) is x up to a few roundings of the largest z and t, times e² at most, all 32 subsets."""
    for kept in SUBSETS:
        layer = layer_of(kept, generator, std=std)
        layer = layer if double else layer.float()
        x = noise(generator, 20).to(torch.float64 if double else torch.float32)
        z, _ = layer.forward(x)
        at_zero = x.clone()
        at_zero[:, others(kept)] = 0
        size = float(torch.maximum(z.abs().max(), layer.forward(at_zero)[0].abs().max()))
        atol = 16 * math.e**2 * torch.finfo(x.dtype).eps * size
        what = f"inverse(forward(x)) with {kept} kept and weights of spread {std:g}"
        assert_close(layer.inverse(z), x, rtol=0, atol=atol, what=what)


def test_affine_coupling_without_a_scale_preserves_volume(generator):
    """bound = 0: log_det is exactly 0, and z − x is the same wherever the moved coordinates are."""
    layer, x = layer_of([1, 2], generator, bound=0), noise(generator, 5)
    z, log_det = layer.forward(x)
    assert_close(log_det, np.zeros(5), what="log_det with bound=0")
    _, shift = scales_and_shifts(layer, x, [0, 3, 4])
    assert np.all(shift != 0), "what is moved from 0 stays there: is t missing?"
    assert_close((z - x)[:, [0, 3, 4]], shift, rtol=SHARP, atol=SHARP, what="the shift with bound=0")


def test_affine_coupling_inverse_by_shares(generator):
    """With share a it is e^{−as}(z − at): nothing moves at 0, all of it at 1, which is what it does unless told."""
    for kept in ([0, 2], [4], []):
        layer, z = layer_of(kept, generator), noise(generator, 6)
        moved = others(kept)
        scale, shift = scales_and_shifts(layer, z, moved)
        old, full = numbers(z)[:, moved], numbers(layer.inverse(z))[:, moved]
        assert torch.equal(layer.inverse(z, share=1.0), layer.inverse(z)), "share=1 should be the whole inverse"
        for share in (0, 0.25, 0.5, 1):
            mistakes = {
                "is share ignored?": full,
                "does share multiply s only, not t?": scale**-share * (old - shift),
                "does share multiply t only, not s?": (old - share * shift) / scale,
                "are the points mixed, x and z, where s and t should be multiplied?": (1 - share) * old + share * full,
                "is it 1 − share?": scale ** (share - 1) * (old - (1 - share) * shift),
            }
            want = scale**-share * (old - share * shift)
            got = layer.inverse(z, share=share)
            what = f"inverse(z, share={share})"
            mistakes = distinct(mistakes, want) if 0 < share < 1 else {"is share ignored?": full}
            assert_close(numbers(got)[:, moved], want, rtol=SHARP, atol=SHARP, what=what, mistakes=mistakes)
            assert torch.equal(got[:, kept], z[:, kept]), f"{what} changes the kept coordinates"


def test_affine_coupling_in_its_weights_precision(generator):
    """float32 unless told, float64 after .double(); arrays of any kind, integers, read-only, every other row."""
    layer = coupling.AffineCoupling(3, [1], hidden=4, generator=generator).requires_grad_(False)
    grid = np.round(numbers(noise(generator, 6, 3)) * 16) / 16
    for dtype in (torch.float32, torch.float64):
        layer = layer.to(dtype)
        want = layer.forward(torch.tensor(grid, dtype=dtype))
        for name, x in {
            "an array of float64": grid,
            "an array of float32": grid.astype(np.float32),
            "a tensor of float32": torch.tensor(grid, dtype=torch.float32),
            "every other row": np.repeat(grid, 2, axis=0)[::2],
            "Fortran's order": np.asfortranarray(grid),
            "a transposed tensor": torch.tensor(grid.T.copy()).T,
        }.items():
            if isinstance(x, np.ndarray):
                x.flags.writeable = False
            z, log_det = layer.forward(x)
            assert z.dtype == log_det.dtype == dtype, f"forward of {name} gave {z.dtype}, the weights are {dtype}"
            tolerance = 8 * torch.finfo(dtype).eps
            assert_close(z, numbers(want[0]), rtol=tolerance, atol=tolerance, what=f"forward of {name}")
            assert_close(log_det, numbers(want[1]), rtol=tolerance, atol=tolerance, what=f"log_det of {name}")
            back = layer.inverse(x)
            assert back.dtype == dtype, f"inverse of {name} gave {back.dtype}, the weights are {dtype}"
        whole = np.array([[1, -2, 3], [0, 5, -1]])
        assert_close(
            layer.forward(whole)[0], numbers(layer.forward(whole.astype(float))[0]), what="forward of integers"
        )
        assert_close(layer.inverse(whole), numbers(layer.inverse(whole.astype(float))), what="inverse of integers")


def test_affine_coupling_leaves_its_points_alone(generator):
    """x is not written to, nor remembered: changed between two calls, it gives what a fresh copy gives."""
    layer, x = layer_of([0, 1], generator), noise(generator, 4)
    array = numbers(x).copy()
    before = x.clone()
    for points in (x, array):
        for call in (lambda y: layer.forward(y)[0], layer.inverse):
            call(points)
            assert_close(points, numbers(before), what="x, after a layer has seen it")
    first = numbers(layer.forward(array)[0])
    array += 1.0
    second = numbers(layer.forward(array)[0])
    assert not np.allclose(first, second), "forward remembers an array by its identity"
    assert_close(second, numbers(layer.forward(before + 1.0)[0]), what="forward of an array that has changed")
    z = layer.forward(before)[0]
    z[:] = 0
    assert_close(layer.forward(before)[0], first, what="forward, after its last answer was overwritten")


@pytest.mark.parametrize("name", ["AffineCoupling", "RealNVP"])
def test_affine_coupling_and_real_nvp_draw_from_their_generator(name):
    """One seed, one set of weights; another seed, others; None, fresh ones; PyTorch's global state is not moved."""
    build = getattr(coupling, name)
    state = global_state()
    x = np.linspace(-2, 2, 12).reshape(6, 2)
    one, same, other = (build(2, generator=torch.Generator().manual_seed(s)).forward(x)[0] for s in (1, 1, 2))
    assert torch.equal(one, same), f"two {name} with one seed differ: is another generator used?"
    assert not torch.equal(one, other), f"two {name} with different seeds agree: is the generator used?"
    fresh, again = build(2).forward(x)[0], build(2).forward(x)[0]
    assert not torch.equal(fresh, again), f"two {name} without a generator agree: are they seeded by a constant?"
    build(2, generator=torch.Generator().manual_seed(3))
    assert np.array_equal(state, global_state()), f"{name} moved a global generator"


@pytest.mark.parametrize("name", ["AffineCoupling", "RealNVP"])
def test_affine_coupling_and_real_nvp_have_the_size_they_are_told(name, generator):
    """More hidden units, more weights; three times the layers, three times the weights."""

    def size(**options):
        build = getattr(coupling, name)
        return sum(w.numel() for w in build(2, generator=generator, **options).parameters())

    assert size(hidden=24) > size(hidden=6), f"{name} with hidden=24 is no larger than with hidden=6"
    if name == "RealNVP":
        few, many = size(layers=2, hidden=5), size(layers=6, hidden=5)
        assert many == 3 * few, f"RealNVP has {few} weights in 2 layers and {many} in 6: is `layers` used?"


def test_affine_coupling_at_first_is_near_the_identity_and_not_it(generator):
    """Of 20 fresh layers, each moves points by less than 3 in the mean and more than 0, and its C is not 0."""
    x = noise(generator, 100, 4)
    for _ in range(20):
        layer = coupling.AffineCoupling(4, generator=generator).double().requires_grad_(False)
        z, log_det = layer.forward(x)
        moves = float((z - x).abs().mean())
        assert 0 < moves < 3, f"a fresh layer moves points by {moves:.3g} in the mean"
        assert float(log_det.std()) > 0, "a fresh layer's log_det is the same everywhere: nothing to learn from"
        opposite = layer.forward(-x)[1]
        words = "a fresh layer has log_det(−x) = −log_det(x): all units are steepest at 0, and not at a draw of N(0, I)"
        assert float((opposite + log_det).abs().max()) > 1e-6 * float(log_det.abs().max()), words


def test_affine_coupling_passes_gradients(generator):
    """Along a random direction in its weights: the automatic derivative of z and log_det against differences."""
    layer, x = layer_of([0, 2], generator), noise(generator, 5)
    weight_z, weight_l = noise(generator, 5), noise(generator, 1)[0]
    directions = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in layer.parameters()]

    def value(part):
        z, log_det = layer.forward(x)
        back = layer.inverse(x)
        return {"z": (z * weight_z).sum(), "log_det": log_det @ weight_l, "x": (back * weight_z).sum()}[part]

    def moved_by(step):
        with torch.no_grad():
            for w, direction in zip(layer.parameters(), directions, strict=True):
                w += step * direction

    for part in ("z", "log_det", "x"):
        layer.requires_grad_(True)
        asked = value(part)
        what = f"the derivative of {part} by the weights: is something detached?"
        assert asked.requires_grad, f"there is no {what}"
        slopes = torch.autograd.grad(asked, list(layer.parameters()), allow_unused=True)
        got = sum(float((g * d).sum()) for g, d in zip(slopes, directions, strict=True) if g is not None)
        layer.requires_grad_(False)
        h, ends = 1e-5, []
        for step in (h, -2 * h):
            moved_by(step)
            ends.append(float(value(part)))
        moved_by(h)
        want = (ends[0] - ends[1]) / (2 * h)
        assert_close(got, want, rtol=1e-5, atol=1e-5, what=what)


@pytest.mark.claim("prop-one-layer")
def test_affine_coupling_alone_makes_conditional_normals(generator):
    """log φ(T(x)) + log_det is Σ log φ(x_O) + Σ log N(x_Oᶜ; −e^{−s}t, e^{−s}), by scipy, for all 32 subsets."""
    for kept in SUBSETS:
        layer, x = layer_of(kept, generator), noise(generator, 6)
        moved = others(kept)
        scale, shift = scales_and_shifts(layer, x, moved)
        z, log_det = (numbers(y) for y in layer.forward(x))
        got = stats.norm.logpdf(z).sum(1) + log_det
        rows = numbers(x)
        alone = stats.norm.logpdf(rows[:, kept]).sum(1)
        want = alone + stats.norm.logpdf(rows[:, moved], -shift / scale, 1 / scale).sum(1)
        mistakes = {
            "do the others get mean t and standard deviation eˢ, as if T made the data?": alone
            + stats.norm.logpdf(rows[:, moved], shift, scale).sum(1),
            "is the log-determinant's sign wrong?": want - 2 * np.log(scale).sum(1),
            "is the log-determinant missing?": want - np.log(scale).sum(1),
        }
        what = f"the density of one layer that keeps {kept}"
        assert_close(got, want, rtol=1e-9, atol=1e-9, what=what, mistakes=distinct(mistakes, want))


@pytest.mark.claim("prop-one-layer")
def test_affine_coupling_alone_has_draws_of_that_law(generator):
    """20,000 noises led back: the kept are N(0, 1), the others, centred by −e^{−s}t and scaled by eˢ, too."""
    layer = layer_of([1], generator, dimension=3)
    x = layer.inverse(noise(generator, 20_000, 3))
    scale, shift = scales_and_shifts(layer, x, [0, 2])
    rows = numbers(x)
    standard = np.column_stack([rows[:, 1], (rows[:, [0, 2]] + shift / scale) * scale])
    pairs = [standard[:, i] * standard[:, j] for i, j in ((0, 1), (0, 2), (1, 2))]
    moments = np.column_stack([standard, standard**2, *pairs])
    assert_unbiased(moments, [0, 0, 0, 1, 1, 1, 0, 0, 0], detects=0.15)
    for j in range(3):
        assert_distribution(standard[:, j], stats.norm.cdf, detects=0.03)


BAD_LAYERS = [
    ("dimension", 0, 0),
    ("dimension", 2.0, 2.0),
    ("dimension", -3, -3),
    ("kept", [0, 0], "[0, 0]"),
    ("kept", [4], "[4]"),
    ("kept", [-1], "[-1]"),
    ("kept", [0.5], "[0.5]"),
    ("hidden", 0, 0),
    ("hidden", 2.5, 2.5),
    ("bound", -1.0, -1.0),
    ("bound", math.nan, "nan"),
    ("bound", 21, 21),
]


def test_affine_coupling_refuses_what_it_cannot_be():
    """No dimension, a coordinate twice or out of range, no units, a bound below 0, above 20 or not a number."""
    for argument, value, shown in BAD_LAYERS:
        options = {"dimension": 4, argument: value}
        assert_refused(coupling.AffineCoupling, **options, argument=argument, value=shown)


BAD_POINTS = [
    (np.zeros((4, 3)), "(4, 3)"),
    (np.zeros((4, 1)), "(4, 1)"),
    (np.zeros(2), "(2,)"),
    (np.array([[0.0, np.nan]]), "nan"),
    (np.array([[0.0, 1.0], [np.inf, 1.0]]), "inf"),
    (torch.tensor([[-torch.inf, 1.0]]), "-inf"),
]


def test_affine_coupling_refuses_points_that_do_not_fit():
    """Too many columns or too few, a flat array, NaN and ∞: forward and inverse."""
    layer = coupling.AffineCoupling(2, hidden=3).requires_grad_(False)
    for x, shown in BAD_POINTS:
        assert_refused(layer.forward, x, argument="x", value=shown)
        assert_refused(layer.inverse, x, argument="z", value=shown)


def test_affine_coupling_inverse_refuses_a_share_that_is_none():
    """Below 0, above 1, not a number."""
    layer = coupling.AffineCoupling(2, hidden=3).requires_grad_(False)
    for share in (-0.1, 1.1, math.nan):
        assert_refused(layer.inverse, np.zeros((1, 2)), share=share, argument="share", value=share)


# Layers on layers

CENTRES = {1: [3.0], 2: [1.0, -20.0], 3: [0.0, 5.0, -1.0], 5: [1.0, 2.0, 3.0, 4.0, 5.0]}
# numbers that float32 holds exactly, for a flow may be made of float32 before .double()
SPREADS = {1: [0.5], 2: [3.0, 0.125], 3: [2.0, 1.0, 0.375], 5: [0.125, 1.0, 10.0, 2.0, 3.0]}
dimensions = pytest.mark.parametrize("dimension", [1, 2, 3, 5])


def placed_flow(dimension, generator, **options):
    """A flow of data with a location and a scale, and points where those are."""
    centre, spread = np.array(CENTRES[dimension]), np.array(SPREADS[dimension])
    flow = flow_of(dimension, generator, centre=centre, spread=spread, **options)
    return flow, tensor(centre) + tensor(spread) * noise(generator, 4, dimension), spread


@pytest.mark.claim("prop-log-dets-add", kind="automatic differentiation")
@dimensions
def test_real_nvp_log_det_is_that_of_its_jacobian(dimension, generator):
    """log|det| of the automatic Jacobian of the whole, standardisation and all, by LU factors."""
    flow, x, spread = placed_flow(dimension, generator, layers=5)
    got = flow.forward(x)[1]
    want = log_abs_det(derivative(lambda rows: flow.forward(rows)[0], x))
    total = np.log(spread).sum()
    mistakes = {
        "is the log-determinant of the standardisation, −Σ log spread, forgotten?": want + total,
        "has the standardisation's log-determinant the wrong sign?": want + 2 * total,
        "is it d times the standardisation's?": want + total - dimension * total,
        "is log spread averaged, not summed?": want + total - total / dimension,
        "is it the log-determinant of the inverse, with the sign reversed?": -want,
        "are the layers' log-determinants left out?": np.full(4, -total),
        "is it averaged over the layers?": (want + total) / 5 - total,
    }
    what = "RealNVP's log_det (do the log-determinants of all layers add up?)"
    assert_close(got, want, rtol=1e-9, atol=1e-9, what=what, mistakes=distinct(mistakes, want))


@pytest.mark.claim("prop-log-dets-add", kind="automatic differentiation")
def test_log_dets_of_coupling_layers_add_up(generator):
    """Four layers that keep various coordinates of five, one after the other: Σ log_det is log|det| of the whole."""
    layers = [layer_of(kept, generator) for kept in ([0, 1], [2, 3, 4], [0, 3], [])]

    def through(rows):
        for layer in layers:
            rows = layer.forward(rows)[0]
        return rows

    x = noise(generator, 4)
    want = log_abs_det(derivative(through, x))
    rows, total, at_start = x, 0.0, 0.0
    for layer in layers:
        at_start = at_start + numbers(layer.forward(x)[1])
        rows, more = layer.forward(rows)
        total = total + numbers(more)
    assert_close(total, want, rtol=1e-9, atol=1e-9, what="the sum of the layers' log_det, each where it acts")
    assert np.abs(at_start - want).max() > 0.1, "each log_det must be taken at x_{l−1}, not at x"
    back = log_abs_det(derivative(lambda z: undone(layers, z), through(x)))
    assert_close(back, -total, rtol=1e-9, atol=1e-9, what="log|det| of the inverse at T(x)")


def undone(layers, z):
    """The layers' inverses, the last one first."""
    for layer in reversed(layers):
        z = layer.inverse(z)
    return z


@dimensions
def test_real_nvp_inverse_undoes_forward(dimension, generator):
    """inverse(forward(x)) = x and forward(inverse(z)) = z, and their log-determinants are opposite, by LU factors."""
    flow, x, spread = placed_flow(dimension, generator)
    z, log_det = flow.forward(x)
    # four layers, each of which magnifies a rounding less than fiftyfold: 50⁴ · 1e-16 is 6e-10 of what goes through
    size = 1 + float(x.abs().max()) + float(z.abs().max())
    what = "inverse(forward(x)): are the layers undone last first?"
    assert_close(flow.inverse(z), x, rtol=0, atol=1e-9 * size, what=what)
    noises = noise(generator, 4, dimension)
    led_back = flow.inverse(noises)
    assert_close(flow.forward(led_back)[0], noises, rtol=0, atol=1e-8 * size / spread.min(), what="forward(inverse(z))")
    back = log_abs_det(derivative(flow.inverse, z))
    assert_close(back, -numbers(log_det), rtol=1e-7, atol=1e-7, what="log|det| of the inverse, against −log_det")


def test_real_nvp_takes_the_halves_in_turn(generator):
    """One layer keeps the first ⌊d/2⌋ coordinates, a second one moves them: with two nothing stays where it was."""
    for d in (2, 3, 5):
        x, half = noise(generator, 6, d), d // 2
        one, two = (flow_of(d, generator, layers=n) for n in (1, 2))
        z = one.forward(x)[0]
        stays = f"the first layer of {d} coordinates should keep the first {half}"
        assert torch.equal(z[:, :half], x[:, :half]), f"{stays}, and changes them"
        assert torch.all(z[:, half:] != x[:, half:]), f"{stays}, and move all others"
        z = two.forward(x)[0]
        assert torch.all(z != x), f"with two layers every one of {d} coordinates should move: do the halves alternate?"
        # layer 1 moves the first half, so going back it is the first half that moves first
        stages = flow_of(d, generator, layers=2).stages(x)
        assert torch.equal(stages[1][:, half:], x[:, half:]), (
            "the last layer is undone first, and keeps the second half"
        )
        assert torch.all(stages[1][:, :half] != x[:, :half]), "the last layer is undone first, and moves the first half"


@pytest.mark.claim("thm-change-of-variables-in-space", kind="automatic differentiation")
@dimensions
def test_real_nvp_log_density_is_the_change_of_variables(dimension, generator):
    """scipy's log N(T(x); 0, I) + log|det DT(x)|, the determinant by LU factors of the automatic Jacobian."""
    flow, x, spread = placed_flow(dimension, generator)
    z = numbers(flow.forward(x)[0])
    log_det = log_abs_det(derivative(lambda rows: flow.forward(rows)[0], x))
    base = stats.norm.logpdf(z).sum(1)
    want = base + log_det
    total = np.log(spread).sum()
    mistakes = {
        "is the constant −d/2 log 2π dropped?": want + dimension / 2 * LOG_2PI,
        "is the constant −½ log 2π there once, not once a coordinate?": want + (dimension - 1) / 2 * LOG_2PI,
        "is log|det| missing: the base density at z is not that of x?": base,
        "is log|det| subtracted?": base - log_det,
        "is the base density taken at x, not at z?": stats.norm.logpdf(numbers(x)).sum(1) + log_det,
        "is the ½ of |z|² missing?": want - 0.5 * (z**2).sum(1),
        "is the log-determinant of the standardisation, −Σ log spread, forgotten?": want + total,
        "is it the density, without its logarithm?": np.exp(want),
        "is it averaged over the coordinates?": want / dimension,
        "is it minus the log-density, the NLL?": -want,
        "is it averaged over the rows? One number for each row": np.full(4, want.mean()),
    }
    got = flow.log_density(x)
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="log_density(x)", mistakes=distinct(mistakes, want))


def test_real_nvp_in_one_dimension_is_a_normal_law(generator):
    """One half is empty, so the flow is affine: N(inverse(0), (inverse(1) − inverse(0))²), by scipy, tails and all."""
    flow = flow_of(1, generator, layers=3, centre=7.0, spread=4.0)
    ends = numbers(flow.inverse(np.array([[0.0], [1.0]])))[:, 0]
    mean, std = ends[0], ends[1] - ends[0]
    x = mean + std * np.array([-1e6, -40.0, -1.0, 0.0, 0.3, 2.0, 40.0, 1e6])
    want = stats.norm.logpdf(x, mean, abs(std))
    assert_close(flow.log_density(x[:, None]), want, rtol=1e-8, what="log_density in one dimension")


@pytest.mark.claim("thm-change-of-variables-in-space")
def test_real_nvp_log_density_integrates_to_one(generator):
    """The density of a random flow sums to 1 over a grid in the plane; with −log|det| in place of + it does not."""
    for _ in range(2):
        flow = flow_of(
            2,
            generator,
            layers=3,
            hidden=4,
            bound=0.5,
            std=0.6,
            centre=np.array([1.0, 0.0]),
            spread=np.array([1.0, 0.75]),
        )
        # trapezoids on a smooth density, spacing a fifth of its least width e^{−1}·0.75: better than 1e-8
        axis = np.arange(-24, 24, 0.1)
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        log_density = numbers(flow.log_density(grid))
        log_det = numbers(flow.forward(grid)[1])
        total, wrong, none = (0.01 * np.exp(log_density - k * log_det).sum() for k in (0, 2, 1))
        mistakes = {"is log|det| missing?": none, "has log|det| the wrong sign?": wrong}
        assert_close(total, 1.0, rtol=1e-6, what="the integral of the density", mistakes=distinct(mistakes, total))
        assert abs(wrong - 1) > 1e-3, "with the sign reversed the integral should not be 1"


@pytest.mark.claim("thm-change-of-variables-in-space")
def test_real_nvp_log_density_gives_the_share_of_draws_in_a_box(generator):
    """The probability of a box, by Gauss and Legendre's rule, is the share of 20,000 draws in it, led back by T⁻¹."""
    flow = flow_of(
        2,
        generator,
        layers=3,
        hidden=4,
        std=0.6,
        bound=0.8,
        centre=np.array([2.0, -1.0]),
        spread=np.array([1.5, 0.625]),
    )
    middle = numbers(flow.inverse(np.zeros((1, 2))))[0]
    nodes, weights = np.polynomial.legendre.leggauss(120)
    grid = np.stack(np.meshgrid(middle[0] + nodes, middle[1] + 0.5 * nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(numbers(flow.log_density(grid)))
    probability = float(np.outer(weights, 0.5 * weights).ravel() @ density)
    draws = numbers(flow.inverse(noise(generator, 20_000, 2)))
    inside = int(np.all(np.abs(draws - middle) < [1.0, 0.5], axis=1).sum())
    assert_proportion(inside, 20_000, probability, detects=0.03)


def sample_moments(z):
    """First and second moments of the rows, products included."""
    return np.column_stack([z, z**2, z[:, 0] * z[:, 1]])


def test_real_nvp_sample_is_noise_led_back(generator):
    """What `forward` makes of 20,000 draws is N(0, I): moments and distribution functions."""
    flow = flow_of(2, generator, layers=3, std=0.4, centre=np.array([4.0, -3.0]), spread=np.array([2.0, 0.5]))
    x = flow.sample(generator, 20_000)
    assert tuple(x.shape) == (20_000, 2), f"sample should have shape (20000, 2), got {tuple(x.shape)}"
    z = numbers(flow.forward(x)[0])
    reference = noise(generator, 20_000, 2)

    def seen(points):
        return sample_moments(numbers(flow.forward(points)[0])).mean(0)

    hints = {
        "is the noise sent through forward, not through inverse? Forward leads from data to noise": seen(
            flow.forward(reference)[0]
        ),
        "is the noise uniform on (0, 1), where the base is N(0, I)?": [0.5, 0.5, 1 / 3, 1 / 3, 0.25],
        "is the noise itself returned?": seen(reference),
        "is the same noise in all coordinates?": [0, 0, 1, 1, 1],
        "is the noise twice as wide?": [0, 0, 4, 4, 0],
        "is it uniform noise around 0?": [0, 0, 1 / 3, 1 / 3, 0],
    }
    hints = {words.replace("?", "").strip(): value for words, value in hints.items()}
    assert_unbiased(sample_moments(z), [0, 0, 1, 1, 0], detects=0.1, hints=hints)
    for j in range(2):
        assert_distribution(z[:, j], stats.norm.cdf, detects=0.03)
    neighbours = (z[1:] * z[:-1])[::2]
    assert_unbiased(neighbours, [0, 0], detects=0.15, hints={"the same noise for all rows": [1, 1]})


def test_real_nvp_sample_uses_the_generator_it_is_given(generator):
    """One seed, the same draws; another seed, others; no global generator moves; in the precision of the weights."""
    flow = flow_of(3, generator)
    state = global_state()
    one, same, other = (flow.sample(torch.Generator().manual_seed(s), 5) for s in (1, 1, 2))
    assert torch.equal(one, same), "two generators with one seed gave different draws: is another one used?"
    assert not torch.equal(one, other), "two seeds gave the same draws: is the generator used?"
    assert np.array_equal(state, global_state()), "sample moved a global generator"
    again = flow.sample(generator, 5)
    assert not torch.equal(again, flow.sample(generator, 5)), "two calls with one generator gave the same draws"
    assert tuple(flow.sample(generator, 1).shape) == (1, 3), "one draw is one row"
    assert len({tuple(row) for row in one.tolist()}) == 5, "the same draw in several rows"
    for n in (2, 3, 6):
        # the way to z and back costs a few roundings, each magnified less than fiftyfold by each of four layers
        sizes = np.sort(np.linalg.norm(numbers(flow.forward(flow.sample(generator, n))[0]), axis=1))
        words = "some rows come from one noise, or from z and −z: each row is a draw of its own"
        assert np.diff(sizes).min() > 1e-8, words
    for dtype in (torch.float32, torch.float64):
        got = flow.to(dtype).sample(generator, 2).dtype
        assert got == dtype, f"sample gave {got}, the weights are {dtype}"


def test_real_nvp_stages_lead_from_noise_to_data(generator):
    """The first stage is centre + spread ⊙ z, the last inverse(z); between ends of layers are per_layer − 1 more."""
    centre, spread = np.array([3.0, -1.0, 10.0]), np.array([2.0, 0.5, 4.0])
    flow = flow_of(3, generator, layers=4, centre=centre, spread=spread)
    z = noise(generator, 5, 3)
    coarse, fine = flow.stages(z), flow.stages(z, per_layer=3)
    for stages, count in ((coarse, 5), (fine, 13)):
        shape = tuple(stages.shape)
        assert shape == (count, 5, 3), f"stages have shape {shape}, should be {(count, 5, 3)}: layers·per_layer + 1"
    start = centre + spread * numbers(z)
    mistakes = {
        "in standard units: are centre and spread left out?": numbers(z),
        "is the way reversed?": numbers(flow.inverse(z)),
    }
    assert_close(coarse[0], start, rtol=SHARP, atol=SHARP, what="the first stage", mistakes=mistakes)
    mistakes = {"in standard units: are centre and spread left out?": (numbers(coarse[-1]) - centre) / spread}
    assert_close(coarse[-1], numbers(flow.inverse(z)), rtol=1e-12, atol=1e-12, what="the last stage", mistakes=mistakes)
    what = "stages(z, per_layer=3)[::3], the layers' ends"
    assert_close(fine[::3], numbers(coarse), rtol=1e-12, atol=1e-12, what=what)


def test_real_nvp_stages_share_out_each_layer(generator):
    """One layer in four stages: s and t grow by quarters, x = e^{−ks/4}(z − kt/4)."""
    flow = flow_of(2, generator, layers=1)
    z = noise(generator, 6, 2)
    scale, shift = scales_and_shifts(flow, z, [1])
    old = numbers(z)[:, 1]
    want = [scale[:, 0] ** (-k / 4) * (old - k / 4 * shift[:, 0]) for k in range(5)]
    full = want[-1]
    mistakes = {
        "are the points mixed, on straight lines?": [(1 - k / 4) * old + k / 4 * full for k in range(5)],
        "do all stages show the whole layer?": [old, *[full] * 4],
        "does each stage begin where the last one ended, with growing shares?": compounded(
            scale[:, 0], shift[:, 0], old
        ),
    }
    got = flow.stages(z, per_layer=4)
    assert_close(got[:, :, 1], want, rtol=SHARP, atol=SHARP, what="stages(z, per_layer=4)", mistakes=mistakes)
    assert_close(got[:, :, 0], [numbers(z)[:, 0]] * 5, what="the kept coordinate of all stages")


def compounded(scale, shift, z):
    """The stages of one who forgets that each share counts from the layer's start."""
    points = [z]
    for k in range(1, 5):
        points.append(scale ** (-k / 4) * (points[-1] - k / 4 * shift))
    return points


@pytest.mark.claim("prop-bounded-scales")
@pytest.mark.parametrize("dimension", [2, 5])
def test_real_nvp_stretches_no_more_than_its_bound_allows(dimension, generator):
    """Weights of spread 50: |log_det + Σ log spread| ≤ mB, log q ≤ mB − d/2 log 2π − Σ log spread."""
    layers, bound = 3, 1.5
    spread = np.array(SPREADS[dimension])
    halves = [dimension - dimension // 2, dimension // 2]
    m = sum(halves[i % 2] for i in range(layers))
    most = m * bound
    flow = flow_of(dimension, generator, layers=layers, bound=bound, spread=spread, std=50.0)
    x = torch.cat([noise(generator, 400, dimension), flow.inverse(noise(generator, 400, dimension))])
    _, log_det = flow.forward(x)
    total = float(np.log(spread).sum())
    largest = float((log_det + total).abs().max())
    assert largest <= most * (1 + 1e-12), f"|log|det|| is {largest:.4g} > {most}, with m = {m} and B = {bound}"
    top = most - dimension / 2 * LOG_2PI - total
    highest = float(flow.log_density(x).max())
    assert highest <= top + 1e-9, f"log q reaches {highest:.4g}, more than {top:.4g}: is s unbounded?"


@pytest.mark.claim("prop-bounded-scales")
def test_real_nvp_in_one_dimension_reaches_its_bound(generator):
    """Weights of 1e6 or −1e6: of four layers two move the only coordinate, and s = ±B: ±2B are reached, not passed."""
    flow = coupling.RealNVP(1, 4, 3, bound=1.25, generator=generator).double().requires_grad_(False)
    found = []
    for _ in range(200):
        for w in flow.parameters():
            w.copy_(1e6 * torch.sign(torch.randn(w.shape, generator=generator, dtype=w.dtype)))
        found.append(float(flow.forward(np.array([[0.0]]))[1]))
    words = "log_det of weights of ±1e6 with four layers, two of which move, and a bound of 1.25"
    assert np.isfinite(found).all(), f"{words} is not finite: is s unbounded?"
    # both layers have s = B in a tenth of the tries or so: in none of 200 with probability 1e-9
    assert_close([min(found), max(found)], [-2.5, 2.5], rtol=1e-9, what=f"the least and the largest {words}")


def test_real_nvp_with_no_scale_has_one_determinant(generator):
    """bound = 0: log_det is −Σ log spread at every point, whatever the weights."""
    spread = np.array([3.0, 0.25, 1.0])
    flow = flow_of(3, generator, bound=0, spread=spread, std=3.0)
    log_det = flow.forward(noise(generator, 9, 3))[1]
    mistakes = {"has the standardisation's log-determinant the wrong sign?": np.full(9, np.log(spread).sum())}
    what = "log_det with bound=0"
    assert_close(log_det, np.full(9, -np.log(spread).sum()), rtol=SHARP, what=what, mistakes=mistakes)


def test_real_nvp_takes_centre_and_spread_of_any_kind(generator):
    """Integers, float32, one number for all or one each, read-only; what was given may change afterwards."""
    x = numbers(noise(generator, 4, 2))

    def density(centre, spread):
        build = torch.Generator().manual_seed(4)
        flow = coupling.RealNVP(2, 2, 4, centre=centre, spread=spread, generator=build).double()
        return flow.requires_grad_(False)

    want = numbers(density(np.array([2.0, 2.0]), np.array([4.0, 4.0])).log_density(x))
    for name, pair in {
        "plain integers": (2, 4),
        "numbers": (2.0, 4.0),
        "arrays of integers": (np.array([2, 2]), np.array([4, 4])),
        "arrays of float32": (np.float32([2, 2]), np.float32([4, 4])),
        "NumPy's numbers": (np.float64(2), np.int64(4)),
    }.items():
        for part in pair:
            if isinstance(part, np.ndarray):
                part.flags.writeable = False
        assert_close(density(*pair).log_density(x), want, rtol=1e-12, what=f"log_density, centre and spread {name}")
    centre, spread = np.array([2.0, 2.0]), np.array([4.0, 4.0])
    flow = density(centre, spread)
    centre += 1
    spread *= 2
    assert_close(flow.log_density(x), want, rtol=1e-12, what="log_density, after the arrays it came from had changed")
    moved = density(np.array([2.0, 3.0]), np.array([4.0, 8.0])).log_density(x + [0, 1] + (x - 2) * [0, 1])
    assert_close(moved, want - np.log(2), rtol=1e-9, what="log_density of data moved and stretched, one column")


def test_real_nvp_leaves_its_points_alone(generator):
    """No method writes to what it is given, or remembers it; rows alone give what they give together."""
    flow = flow_of(2, generator)
    array = numbers(noise(generator, 5, 2)).copy()
    before = array.copy()
    calls = {
        "forward": lambda y: flow.forward(y)[0],
        "log_det": lambda y: flow.forward(y)[1],
        "inverse": flow.inverse,
        "log_density": flow.log_density,
        "stages": lambda y: flow.stages(y)[2],
    }
    for name, call in calls.items():
        for points in (array, torch.from_numpy(array)):
            together = numbers(call(points)).copy()
            assert np.array_equal(array, before), f"{name} has changed its points"
            alone = np.concatenate([numbers(call(points[i : i + 1])) for i in range(5)])
            assert_close(alone, together, rtol=1e-9, atol=1e-9, what=f"{name}, row by row: does a row know of others?")
            array += 1.0
            want = numbers(call(before + 1.0))
            assert_close(call(points), want, rtol=1e-9, atol=1e-12, what=f"{name} of an array that has changed")
            array -= 1.0
            array[:] = before


def test_real_nvp_in_its_weights_precision(generator):
    """float32 unless told, float64 after .double(), for points of any kind; integers and read-only arrays too."""
    flow = coupling.RealNVP(2, 2, 4, centre=1.0, spread=2.0, generator=generator).requires_grad_(False)
    grid = np.round(numbers(noise(generator, 6, 2)) * 16) / 16
    whole = np.array([[1, -2], [0, 3]])
    for dtype in (torch.float32, torch.float64):
        flow = flow.to(dtype)
        want = numbers(flow.log_density(torch.tensor(grid, dtype=dtype)))
        for x in (grid, grid.astype(np.float32), np.repeat(grid, 2, axis=0)[::2], torch.tensor(grid.T.copy()).T):
            if isinstance(x, np.ndarray):
                x.flags.writeable = False
            parts = [*flow.forward(x), flow.inverse(x), flow.log_density(x), flow.stages(x)]
            for part in parts:
                assert part.dtype == dtype, f"a result for {x.dtype} is {part.dtype}, the weights are {dtype}"
            tolerance = 64 * torch.finfo(dtype).eps
            assert_close(parts[3], want, rtol=tolerance, atol=tolerance, what=f"log_density of {x.dtype}")
        same = numbers(flow.log_density(whole.astype(float)))
        assert_close(flow.log_density(whole), same, what="log_density of integers")


def test_real_nvp_layers_have_weights_of_their_own(generator):
    """No two layers start from the same weights."""
    flow = coupling.RealNVP(2, 4, 8, generator=generator)
    weights = [w.detach() for w in flow.parameters() if w.numel() > 1 and float(w.detach().std()) > 0]
    for a, b in itertools.combinations(weights, 2):
        assert a.shape != b.shape or not torch.equal(a, b), "two layers have the same weights: is a seed used twice?"
    assert weights, "all weights are alike: nothing was drawn"


def test_real_nvp_passes_gradients(generator):
    """Along a random direction in all weights, the automatic derivative of Σ log_density against differences."""
    flow, x, _ = placed_flow(2, generator, layers=3)
    directions = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in flow.parameters()]
    flow.requires_grad_(True)
    slopes = torch.autograd.grad(flow.log_density(x).sum(), list(flow.parameters()), allow_unused=True)
    got = sum(float((g * d).sum()) for g, d in zip(slopes, directions, strict=True) if g is not None)
    flow.requires_grad_(False)
    ends = []
    for step in (1e-6, -2e-6):
        for w, direction in zip(flow.parameters(), directions, strict=True):
            w += step * direction
        ends.append(float(flow.log_density(x).sum()))
    want = (ends[0] - ends[1]) / 2e-6
    what = "the derivative of log_density by the weights: is something detached?"
    assert_close(got, want, rtol=1e-4, atol=1e-4, what=what)


BAD_FLOWS = [
    ("dimension", 0, 0),
    ("dimension", 2.0, 2.0),
    ("layers", 0, 0),
    ("layers", 1.5, 1.5),
    ("hidden", 0, 0),
    ("bound", -1.0, -1.0),
    ("bound", math.nan, "nan"),
    ("bound", 21, 21),
    ("centre", math.nan, "nan"),
    ("centre", np.array([0.0, np.inf]), "inf"),
    ("centre", np.zeros(3), "(3,)"),
    ("spread", 0.0, 0.0),
    ("spread", np.array([1.0, -2.0]), -2.0),
    ("spread", np.ones(3), "(3,)"),
    ("spread", math.nan, "nan"),
]


def test_real_nvp_refuses_what_it_cannot_be():
    """No dimension, layers or units, a bound out of range, a centre or spread that is none, or of another length."""
    for argument, value, shown in BAD_FLOWS:
        options = {"dimension": 2, "hidden": 3, argument: value}
        assert_refused(coupling.RealNVP, **options, argument=argument, value=shown)


def test_real_nvp_refuses_points_that_do_not_fit():
    """Too many columns or too few, a flat array, NaN and ∞: each method by the name it gives them."""
    flow = coupling.RealNVP(2, 2, 3).requires_grad_(False)
    methods = {"forward": "x", "log_density": "x", "inverse": "z", "stages": "z"}
    for (x, shown), (method, argument) in itertools.product(BAD_POINTS, methods.items()):
        assert_refused(getattr(flow, method), x, argument=argument, value=shown)


def test_real_nvp_refuses_what_is_no_count():
    """No draws, fewer, half a one; no stages."""
    flow = coupling.RealNVP(2, 2, 3).requires_grad_(False)
    for count in (0, -1, 2.5):
        assert_refused(flow.sample, torch.Generator(), count, argument="n", value=count)
        assert_refused(flow.stages, np.zeros((1, 2)), per_layer=count, argument="per_layer", value=count)


# Learning


def bent(rng, n, a, b):
    """n points of a law that is not normal, moved to a and stretched by b; and their log-densities."""
    z = rng.standard_normal((n, 2))
    x = np.column_stack([z[:, 0], z[:, 0] ** 2 / 2 + 0.3 * z[:, 1]])
    log_p = stats.norm.logpdf(z).sum(1) - np.log(0.3)
    return a + b * x, log_p - np.log(b).sum()


def test_fit_learns_a_bent_law_wherever_it_is(rng, generator):
    """4,000 points of x₂ = x₁²/2 + noise, in units of 1,000 and of 1/50: the excess over the entropy, held out."""
    a, b = np.array([1e4, -3.0]), np.array([1000.0, 0.02])
    train, _ = bent(rng, 4000, a, b)
    test, log_p = bent(rng, 20_000, a, b)
    flow, losses = coupling.fit(train, layers=4, hidden=16, steps=200, batch_size=64, generator=generator)
    excess = float(np.mean(log_p - numbers(flow.log_density(test))))
    total = np.log(train.std(0)).sum()
    # a Gaussian is 0.96 above the entropy; runs of 200 steps end between 0.04 and 0.08; none ends below it by 0.05
    mistakes = {
        "is the log-determinant of the standardisation forgotten? Data have units": -total,
        "has the standardisation's log-determinant the wrong sign?": -2 * total,
        "is this no better than a Gaussian?": gaussian_excess(train, test, log_p),
    }
    what = "the excess of fit's flow over the entropy, held out"
    assert_close(excess, 0.1, rtol=0, atol=0.15, what=what, mistakes=mistakes)
    assert losses.shape == (200,), f"losses should be one number for each of 200 steps, got {losses.shape}"
    late = float(np.mean(losses[-50:]) + log_p.mean())
    mistakes = {
        "in standard units: is −Σ log spread left out of the losses?": excess - total,
        "has the loss the wrong sign?": -2 * excess,
    }
    assert_close(late, excess, rtol=0, atol=0.25, what="the last losses, less the entropy", mistakes=mistakes)


def test_fit_begins_each_step_with_new_gradients(rng, generator):
    """At a rate of 0.1, where old gradients that pile up do harm: the median excess of seven fits, held out."""
    found = []
    for _ in range(7):
        train, _ = bent(rng, 2000, 0.0, np.ones(2))
        test, log_p = bent(rng, 2000, 0.0, np.ones(2))
        options = {"layers": 2, "hidden": 8, "steps": 120, "batch_size": 64, "rate": 0.1}
        flow = coupling.fit(train, generator=generator, **options).flow
        found.append(float(np.mean(log_p - numbers(flow.log_density(test)))))
    # of 80 right fits all end below 0.17; if one in a hundred were above 0.28, four of seven are one time in 3e6
    words = f"the median excess of seven fits is {np.median(found):.2g}: does each step begin with zero_grad()?"
    assert np.median(found) < 0.28, words


def gaussian_excess(train, test, log_p):
    """How far a Gaussian with the moments of the data is above the entropy."""
    unit = train.std(0)
    law = stats.multivariate_normal(train.mean(0) / unit, np.cov((train / unit).T))
    return float(np.mean(log_p - law.logpdf(test / unit) + np.log(unit).sum()))


def quick(x, seed=1, **options):
    """A fit that takes a moment."""
    options = {"layers": 2, "hidden": 4, "steps": 20, "batch_size": 16, "rate": 0.01} | options
    return coupling.fit(x, generator=torch.Generator().manual_seed(seed), **options)


def test_fit_changes_with_the_units_of_its_data(rng):
    """Each column stretched by a power of two, exactly: log-densities lower by the logs of these, losses higher."""
    x = np.round(bent(rng, 200, 0.0, np.ones(2))[0] * 1024) / 1024
    b = np.array([1024.0, 1 / 8])
    here, there = quick(x), quick(b * x)
    total = np.log(b).sum()
    want = numbers(here.flow.log_density(x)) - total
    mistakes = {
        "are the data not standardised, or is its log-determinant forgotten?": want + total,
        "is its sign wrong?": want + 2 * total,
    }
    got = there.flow.log_density(b * x)
    assert_close(got, want, rtol=1e-6, atol=1e-6, what="log_density of stretched data", mistakes=mistakes)
    mistakes = {"are the losses in standard units? −Σ log spread belongs to them": here.losses}
    what = "the losses of stretched data"
    assert_close(there.losses, here.losses + total, rtol=1e-6, atol=1e-6, what=what, mistakes=mistakes)


def test_fit_reports_the_mean_nll_of_its_minibatches(rng):
    """At a rate of 1e-12 the flow stays: losses are means of −log q over 64 rows of data that come in order."""
    x = rng.standard_normal((20_000, 2))
    x = 5 + x[np.argsort((x**2).sum(1))] * [3.0, 0.5]  # the middle first: who takes rows as they come is seen
    flow, losses = quick(x, steps=300, batch_size=64, rate=1e-12)
    nll = -numbers(flow.log_density(x))
    z, log_det = (numbers(part) for part in flow.forward(x))
    base = -stats.norm.logpdf(z).sum(1)
    total = np.log(x.std(0)).sum()
    hints = {
        "the log-determinant is left out of the loss": base.mean(),
        "the log-determinant has the wrong sign in the loss": (base + log_det).mean(),
        "the losses are in standard units, without the standardisation's log-determinant": nll.mean() - total,
        "these are log-densities, not minus log-densities": -nll.mean(),
        "the loss is summed over the minibatch, not averaged": 64 * nll.mean(),
        "the loss is averaged over the coordinates too": nll.mean() / 2,
        "the constant ½ log 2π is left out": nll.mean() - LOG_2PI,
    }
    assert_unbiased(np.asarray(losses, float)[:, None], [nll.mean()], detects=0.1, hints=hints)
    assert np.std(losses) > 1e-9, "every step reports the same loss: is it that of all the data, not of a minibatch?"
    means = np.sort(nll[rng.integers(len(nll), size=(50_000, 64))].mean(1))

    def share_below(value):
        return np.searchsorted(means, value, side="right") / len(means)

    # 50,000 means of 64 know their law to 0.01, for which the rate is ten times stricter than it need be
    assert_distribution(losses, share_below, detects=0.26, false_alarm=1e-7)


def test_fit_takes_minibatches_larger_than_the_data(rng):
    """Of 1,000 rows drawn from four, with replacement, none has a share far from a quarter: nor has a loss."""
    x = bent(rng, 4, 0.0, np.ones(2))[0]
    flow, losses = quick(x, steps=20, batch_size=1000, rate=1e-12)
    nll = -numbers(flow.log_density(x))
    away = float(np.abs(losses - nll.mean()).max() / np.ptp(nll))
    # Hoeffding: 20 · 2 exp(−2 · 1000 · 0.2²) = 7e-34
    assert away < 0.2, f"a loss of 1,000 rows is {away:.2g} of their range from the mean: is batch_size cut to n?"


def test_fit_is_what_its_generator_makes_it(rng):
    """One seed, one flow, to the last bit; another seed, another; no global generator is moved."""
    x = bent(rng, 100, 0.0, np.ones(2))[0]
    state = global_state()
    one, same, other = (quick(x, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.losses, same.losses), "two fits with one seed differ: is another generator used?"
    assert torch.equal(one.flow.log_density(x), same.flow.log_density(x)), "two fits with one seed differ"
    assert not np.array_equal(one.losses, other.losses), "fits with two seeds agree: is the generator used?"
    fresh = [coupling.fit(x, layers=1, hidden=2, steps=2, batch_size=4).losses for _ in range(2)]
    assert np.array_equal(state, global_state()), "fit moved a global generator"
    assert not np.array_equal(*fresh), "two fits without a generator agree: are they seeded by a constant?"


def test_fit_returns_a_frozen_flow_and_its_losses(rng):
    """Fit(flow, losses): no weight asks for a gradient; float32 data make a float32 flow, all others float64."""
    x = np.round(bent(rng, 50, 0.0, np.full(2, 20.0))[0])
    before = x.copy()
    for data, dtype in [
        (x, torch.float64),
        (x.astype(np.float32), torch.float32),
        (x.astype(int), torch.float64),
        (torch.tensor(x, dtype=torch.float32), torch.float32),
        (np.repeat(x, 2, axis=0)[::2], torch.float64),
    ]:
        if isinstance(data, np.ndarray):
            data.flags.writeable = False
        fit = quick(data, steps=3)
        flow, losses = fit
        assert flow is fit.flow, "fit should return Fit(flow, losses)"
        assert losses is fit.losses, "fit should return Fit(flow, losses)"
        assert np.shape(losses) == (3,), f"losses have shape {np.shape(losses)}, one for each of 3 steps is (3,)"
        assert isinstance(losses, np.ndarray), f"losses should be an array, got {type(losses).__name__}"
        got = flow.log_density(data).dtype
        assert got == dtype, f"a fit to {data.dtype} works in {got}, should be {dtype}"
        assert not any(w.requires_grad for w in flow.parameters()), "the fitted flow's weights should be frozen"
        assert np.array_equal(numbers(data), before), "fit has changed its data"


def test_fit_does_as_many_steps_of_the_kind_it_is_told(rng):
    """steps, layers, hidden, bound and the number of columns are used; two rows are enough."""
    x = bent(rng, 60, 0.0, np.ones(2))[0]
    for layers, hidden in ((2, 4), (4, 9)):
        want = sum(w.numel() for w in coupling.RealNVP(2, layers, hidden).parameters())
        got = sum(w.numel() for w in quick(x, steps=2, layers=layers, hidden=hidden).flow.parameters())
        assert got == want, f"fit's flow has {got} weights, with layers={layers} and hidden={hidden} it is {want}"
    still = quick(x, steps=30, bound=0, rate=0.1).flow.forward(x)[1]
    words = "with bound=0 log_det should be the same everywhere: is bound handed on?"
    assert float(still.max() - still.min()) < 1e-12, words
    for spread in (2.0, np.array([0.5, 4.0])):
        log_det = quick(x, steps=3, bound=0, spread=spread).flow.forward(x)[1]
        want = np.full(60, -np.log(spread * np.ones(2)).sum())
        assert_close(log_det, want, rtol=1e-6, what="log_det of a fit with bound=0 and a spread of one's own")
    assert len(quick(x, steps=7).losses) == 7, "7 steps, 7 losses"
    for data in (x[:, :1], np.column_stack([x, x[:, 0] ** 3]), x[:2]):
        flow = quick(data, steps=5).flow
        assert tuple(flow.log_density(data).shape) == (len(data),), f"a fit to data of shape {data.shape}"
    # one step, at two rates
    slow, fast = (quick(x, steps=1, rate=rate).flow for rate in (1e-6, 1e-1))
    start, end = (numbers(flow.log_density(x)) for flow in (slow, fast))
    assert np.abs(start - end).max() > 1e-6, "a rate of 0.1 and one of 1e-6 end at the same place: is it used?"


def test_fit_reports_the_loss_that_a_step_started_from(rng):
    """The first loss is that of the first weights, so it is the same at every rate; the second one is not."""
    x = bent(rng, 60, 0.0, np.ones(2))[0]
    slow, fast = (quick(x, steps=2, rate=rate).losses for rate in (1e-6, 0.5))
    what = "the first loss at a rate of 0.5: is it taken after the step, not before?"
    assert_close(fast[0], slow[0], rtol=1e-9, what=what)
    assert abs(fast[1] - slow[1]) > 1e-6, "the second loss is the same at all rates: does a step change the weights?"


def test_fit_hands_its_bound_on(rng, generator):
    """A flow fitted with a bound of 0.5, or 3, and then given weights of spread 50, reaches |log_det| = bound."""
    x = bent(rng, 60, 0.0, np.ones(2))[0]
    for bound in (0.5, 3.0):
        flow = shaken(quick(x, steps=1, layers=1, bound=bound, spread=1.0).flow, generator, std=50.0)
        largest = float(flow.forward(noise(generator, 400, 2))[1].abs().max())
        words = f"|log_det| of a layer fitted with bound={bound} reaches {largest:.4g}: is bound handed on?"
        assert 0.99 * bound < largest <= bound * (1 + 1e-12), words


BAD_FITS = [
    ("x", np.array([[1.0, 2.0], [1.0, 3.0]]), 1.0),
    ("x", np.array([[1.0, 2.0]]), "x"),
    ("x", np.array([[1.0, np.nan], [2.0, 3.0]]), "nan"),
    ("x", np.array([[1.0, np.inf], [2.0, 3.0]]), "inf"),
    ("x", np.arange(4.0), "(4,)"),
    ("x", np.zeros((0, 2)), "(0, 2)"),
    ("steps", 0, 0),
    ("steps", 2.5, 2.5),
    ("batch_size", 0, 0),
    ("rate", 0.0, 0.0),
    ("rate", -0.1, -0.1),
    ("rate", math.nan, "nan"),
    ("layers", 0, 0),
    ("hidden", 0, 0),
    ("bound", -1.0, -1.0),
    ("spread", 0.0, 0.0),
    ("spread", np.array([1.0, -1.0]), -1.0),
    ("spread", np.ones(3), "(3,)"),
]


def test_fit_refuses_what_it_cannot_learn_from():
    """A constant column, one row, NaN, ∞, a flat array, nothing; no steps, no batch, no rate, no layers, no units."""
    x = np.array([[0.0, 1.0], [2.0, -1.0], [1.0, 0.5]])
    for argument, value, shown in BAD_FITS:
        options = {"x": x, "steps": 2, "batch_size": 2, "layers": 1, "hidden": 2, argument: value}
        assert_refused(coupling.fit, **options, argument=argument, value=shown)


# Derivatives


def three_of_two(x):
    """A function from two numbers to three, whose Jacobian is easy."""
    return torch.stack([x[:, 0] * x[:, 1], torch.sin(x[:, 0]), x[:, 1] ** 3], dim=1)


def jacobian_of_three(x):
    """Its Jacobian, by hand."""
    a, b, zero = x[:, 0], x[:, 1], np.zeros(len(x))
    return np.stack(
        [np.stack([b, a], axis=1), np.stack([np.cos(a), zero], axis=1), np.stack([zero, 3 * b**2], axis=1)], axis=1
    )


def test_jacobian_is_the_one_by_hand(generator):
    """f = (x₁x₂, sin x₁, x₂³): entry [i, j, k] is ∂fⱼ/∂x_k at row i, (n, 3, 2)."""
    x = numbers(noise(generator, 4, 2))
    want = jacobian_of_three(x)
    mistakes = {
        "is it transposed, ∂f_k/∂xⱼ?": np.swapaxes(want, 1, 2),
        "is it summed over the rows?": want.sum(0),
        "is the row the last axis?": np.moveaxis(want, 0, 2),
    }
    for points in (x, tensor(x)):
        got = coupling.jacobian(three_of_two, points)
        assert_close(got, want, rtol=1e-12, atol=1e-12, what="jacobian(f, x)", mistakes=mistakes)


def test_jacobian_of_a_square_and_of_one_row(generator):
    """A map of the plane to itself, f = (x₁ + 2x₂, x₁x₂), whose transpose has the right shape; and one row."""
    x = numbers(noise(generator, 3, 2))
    one = np.ones(3)
    want = np.stack([np.stack([one, 2 * one], axis=1), np.stack([x[:, 1], x[:, 0]], axis=1)], axis=1)

    def f(rows):
        return torch.stack([rows[:, 0] + 2 * rows[:, 1], rows[:, 0] * rows[:, 1]], dim=1)

    mistakes = {"is it transposed, ∂f_k/∂xⱼ?": np.swapaxes(want, 1, 2)}
    assert_close(coupling.jacobian(f, x), want, rtol=1e-12, atol=1e-12, what="jacobian(f, x)", mistakes=mistakes)
    assert_close(coupling.jacobian(f, x[1:2]), want[1:2], rtol=1e-12, atol=1e-12, what="jacobian at one row")


def test_jacobian_leaves_points_and_switches_alone(generator):
    """Integers, float32, read-only arrays, tensors that want gradients, inside no_grad: the same; x as it was."""
    whole = np.array([[1, -2], [0, 3]])
    whole.flags.writeable = False
    assert_close(coupling.jacobian(three_of_two, whole), jacobian_of_three(whole), what="jacobian at integers")
    single = coupling.jacobian(three_of_two, whole.astype(np.float32))
    assert single.dtype == torch.float32, f"jacobian at float32 is {single.dtype}"
    assert_close(single, jacobian_of_three(whole), rtol=1e-6, atol=1e-6, what="jacobian at float32")
    x = tensor(whole).requires_grad_(True)
    with torch.no_grad():
        got = coupling.jacobian(three_of_two, x)
    assert_close(got, jacobian_of_three(whole), what="jacobian of a tensor that wants gradients, inside no_grad")
    assert x.grad is None, "jacobian has written a gradient to x"
    plain = tensor(whole)
    coupling.jacobian(three_of_two, plain)
    assert not plain.requires_grad, "jacobian has switched gradients on in x itself"


def test_jacobian_of_a_network_is_that_of_torch_func(generator):
    """At each row of a network of tanh units from three numbers to two, against torch.func's reverse mode."""
    inner, outer, x = noise(generator, 6, 3), noise(generator, 2, 6), noise(generator, 4, 3)

    def network(rows):
        return torch.tanh(rows @ inner.T) @ outer.T

    want = np.stack([numbers(torch.func.jacrev(lambda row: network(row[None])[0])(row)) for row in x])
    got = coupling.jacobian(network, x)
    assert_close(got, want, rtol=SHARP, atol=1e-12, what="jacobian of a network")


class Linear(torch.nn.Module):
    """x = zAᵀ, and z = x A^{−T}."""

    def __init__(self, a):
        super().__init__()
        self.a = tensor(a)

    def inverse(self, z):
        return torch.as_tensor(z, dtype=torch.float64) @ self.a.T

    def forward(self, x):
        return torch.as_tensor(x, dtype=torch.float64) @ torch.linalg.inv(self.a).T, torch.zeros(len(x))


def mistakes_of_stretch(jacobians):
    """What one gets from other numbers of the matrices ∂x/∂z."""
    values = np.linalg.svd(jacobians, compute_uv=False)
    return {
        "is this Frobenius's norm, the root of the sum of squares?": np.sqrt((values**2).sum(1)),
        "is this the determinant?": values.prod(1),
        "is this the smallest singular value?": values[:, -1],
        "is this the largest singular value of forward, not of inverse?": 1 / values[:, -1],
        "is this its reciprocal, 1/λ?": 1 / values[:, 0],
        "is this the square, an eigenvalue of JᵀJ?": values[:, 0] ** 2,
        "is this the largest eigenvalue, in size?": np.abs(np.linalg.eigvals(jacobians)).max(1),
        "is this the largest sum of a row?": np.abs(jacobians).sum(2).max(1),
        "is this the largest sum of a column?": np.abs(jacobians).sum(1).max(1),
        "is this the largest entry?": np.abs(jacobians).max((1, 2)),
    }


def test_stretch_of_a_linear_map_is_its_largest_singular_value():
    """x = Az with singular values 5 and 1, the same at every z."""
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    a = turn @ np.diag([5.0, 1.0]) @ np.array([[0.28, 0.96], [-0.96, 0.28]])
    z = np.array([[0.0, 0.0], [1.0, -2.0], [30.0, 4.0]])
    mistakes = mistakes_of_stretch(np.stack([a] * 3))
    got = coupling.stretch(Linear(a), z)
    assert_close(got, [5.0, 5.0, 5.0], rtol=1e-9, what="stretch of a linear map", mistakes=mistakes)


def test_stretch_is_the_two_norm_of_the_inverses_jacobian(generator):
    """NumPy's largest singular value of the automatic Jacobian of inverse, at each z; no small step grows by more."""
    for d in (2, 3):
        flow, z = flow_of(d, generator, centre=1.0, spread=2.0), noise(generator, 5, d)
        jacobians = derivative(flow.inverse, z)
        want = np.linalg.svd(jacobians, compute_uv=False)[:, 0]
        got = coupling.stretch(flow, z)
        mistakes = distinct(mistakes_of_stretch(jacobians), want)
        assert_close(got, want, rtol=1e-9, what="stretch(flow, z)", mistakes=mistakes)
        steps = 1e-6 * noise(generator, 5, d)
        grown = numbers((flow.inverse(z + steps) - flow.inverse(z)).norm(dim=1) / steps.norm(dim=1))
        assert np.all(grown <= numbers(got) * (1 + 1e-4)), "a small step is stretched by more than `stretch`"


# What a bridge costs


def test_least_bridge_is_the_stated_formula():
    """Φ(Φ⁻¹(a) + δ/K) − a, by scipy's normal law, from small masses to large ones."""
    for mass, width, k in itertools.product([1e-12, 0.01, 0.3, 0.5, 0.9], [0.05, 1.0, 3.0], [0.2, 1.0, 7.0]):
        want = stats.norm.cdf(stats.norm.ppf(mass) + width / k) - mass
        mistakes = {
            "is it δ·K where δ/K belongs?": stats.norm.cdf(stats.norm.ppf(mass) + width * k) - mass,
            "is a not taken off?": want + mass,
            "is it 2δ/K?": stats.norm.cdf(stats.norm.ppf(mass) + 2 * width / k) - mass,
            "is it δ, without K?": stats.norm.cdf(stats.norm.ppf(mass) + width) - mass,
            "is it what is left beyond, 1 − Φ?": stats.norm.sf(stats.norm.ppf(mass) + width / k),
            "is it φ(Φ⁻¹(a))δ/K, which holds for small δ only?": stats.norm.pdf(stats.norm.ppf(mass)) * width / k,
            "is it K/δ?": stats.norm.cdf(stats.norm.ppf(mass) + k / width) - mass,
        }
        got = coupling.least_bridge(mass, width, k)
        what = f"least_bridge({mass}, {width}, {k})"
        assert_close(got, want, rtol=1e-9, atol=1e-15, what=what, mistakes=distinct(mistakes, want))
    half = coupling.least_bridge(np.float64(0.5), 1, 1)
    assert isinstance(half, float), f"least_bridge should be a float, got {type(half).__name__}"
    assert_close(half, 0.3413447460685429, rtol=1e-12, what="least_bridge(1/2, 1, 1), which is Φ(1) − 1/2")


@pytest.mark.claim("thm-bridge")
def test_least_bridge_is_paid_exactly_by_half_planes():
    """X = Kz, A a half-plane: Q(A_δ) − Q(A) = Φ((c+δ)/K) − Φ(c/K) is the bound itself; with K/2 it is too much."""
    for k, c, width in itertools.product([0.5, 1.0, 4.0], [-1.0, 0.0, 0.7], [0.1, 2.0]):
        mass = stats.norm.cdf(c / k)
        paid = stats.norm.cdf((c + width) / k) - mass
        assert_close(coupling.least_bridge(mass, width, k), paid, rtol=1e-9, what=f"the bound, K = {k}, δ = {width}")
        if width < 1:
            too_much = coupling.least_bridge(mass, width, k / 2)
            assert too_much > 1.2 * paid, f"with K/2 in the place of K the bound should fail, K = {k}, δ = {width}"


def rings_mass(d, low, high):
    """P(low < |z| < high) for z ~ N(0, I) in d dimensions."""
    return stats.chi.cdf(high, d) - stats.chi.cdf(low, d)


@pytest.mark.claim("thm-bridge")
@pytest.mark.parametrize("d", [1, 2, 3, 10])
def test_least_bridge_is_never_more_than_what_is_there(d):
    """X = Kz; A a ball, all outside a ball, or a shell: the mass within δ outside A, by the chi law, is no less."""
    for k, radius, width in itertools.product([0.5, 1.0, 3.0], [0.5, 1.0, 2.0, 4.0], [0.05, 0.3, 1.0]):
        cases = {
            "a ball": (rings_mass(d, 0, radius), rings_mass(d, 0, radius + width / k)),
            "all outside a ball": (stats.chi.sf(radius, d), stats.chi.sf(max(radius - width / k, 0), d)),
            "a shell": (
                rings_mass(d, radius, radius + 1),
                rings_mass(d, max(radius - width / k, 0), radius + 1 + width / k),
            ),
        }
        for name, (mass, wider) in cases.items():
            if 1e-12 < mass < 1 - 1e-9:
                least = coupling.least_bridge(mass, width, k)
                assert least <= wider - mass + 1e-12, f"{name} in {d} dimensions, K = {k}: {least} > {wider - mass}"


@pytest.mark.claim("thm-bridge")
def test_least_bridge_holds_for_a_generator_that_leaves_a_gap():
    """G(z) = (z + tanh 9z)/5, whose slope is at most K = 2: half-lines, and all but an interval; nearly an equality."""

    def g(z):
        return 0.2 * z + 0.2 * np.tanh(9 * z)

    k = 0.2 + 0.2 * 9
    ends = np.linspace(-9, 9, 200_001)
    images = g(ends)

    def law(x):
        return stats.norm.cdf(np.interp(x, images, ends))

    tight = 0.0
    for t, width in itertools.product(np.linspace(-0.6, 0.5, 23), [0.01, 0.1, 0.3]):
        mass = float(law(t))
        paid = float(law(t + width)) - mass
        least = coupling.least_bridge(mass, width, k)
        assert least <= paid + 1e-9, f"P(X ≤ {t}) = {mass}: within {width} lies {paid}, less than {least}"
        tight = max(tight, least / paid)
        lumps = float(law(-t - 0.7)) + 1 - float(law(t + 0.7))  # all but an interval around 0
        wider = float(law(-t - 0.7 + width)) + 1 - float(law(t + 0.7 - width))
        if 0 < lumps < wider < 1:
            assert coupling.least_bridge(lumps, width, k) <= wider - lumps + 1e-9
    assert tight > 0.9, f"the bound comes within a factor of {tight} only: K/2 would not be seen to fail"
    # and at t = 0, where G is steepest, K/2 would promise more than there is
    paid = float(law(0.01)) - 0.5
    assert coupling.least_bridge(0.5, 0.01, k / 2) > 1.5 * paid


@pytest.mark.claim("thm-bridge")
def test_noise_in_an_interval_is_the_noise_after_a_map_of_slope_at_most_one():
    """S(u) = Φ⁻¹(α + π Φ(u)), from the line to an interval: its slope, by differences; 1 only for the whole line."""
    u, h = np.linspace(-4, 4, 401), 1e-5
    for low, high in [(-1, 2), (0.5, 0.6), (-np.inf, 1), (-0.3, np.inf), (2, 3), (-4, 4)]:
        alpha, share = stats.norm.cdf(low), stats.norm.cdf(high) - stats.norm.cdf(low)
        there, back = (stats.norm.ppf(alpha + share * stats.norm.cdf(u + e)) for e in (h, -h))
        slope = (there - back) / (2 * h)
        assert slope.min() > 0, f"[{low}, {high}]: a slope of {slope.min()}"
        assert slope.max() < 1 + 1e-6, f"[{low}, {high}]: a slope of {slope.max()}"


@pytest.mark.claim("thm-bridge")
@pytest.mark.parametrize(("low", "high"), [(-3, 3), (-1, 2.5), (0.2, 2), (-2, 0.1)])
def test_least_bridge_holds_for_noise_in_an_interval(low, high):
    """G(z) = z³ has no constant on the line; for noise given an interval it has 3 max z²: half-lines, both ways."""
    k = 3 * max(low**2, high**2)
    alpha, omega = stats.norm.cdf([low, high])

    def law(x):
        return float((np.clip(stats.norm.cdf(np.cbrt(x)), alpha, omega) - alpha) / (omega - alpha))

    broken = 0
    for t, width in itertools.product(np.linspace(low**3, high**3, 41)[1:-1], [0.001, 0.1, 1.0, 10.0]):
        for mass, wider in [(law(t), law(t + width)), (1 - law(t), 1 - law(t - width))]:
            if 1e-9 < mass < 1 - 1e-9:
                least = coupling.least_bridge(mass, width, k)
                assert least <= wider - mass + 1e-12, f"from {t}, within {width}: {wider - mass}, less than {least}"
                broken += coupling.least_bridge(mass, width, k / 4) > wider - mass + 1e-6
    assert broken, "K/4 in the place of K should fail somewhere"


@pytest.mark.claim("thm-bridge")
def test_least_bridge_holds_for_a_coupling_layer_in_a_box():
    """x₁ = z₁, x₂ = exp(2 tanh z₁) z₂ − z₁²: no constant on the plane, one on [−2, 2]²; half-planes, by quadrature."""
    side = np.linspace(-2, 2, 401)
    z1, z2 = np.meshgrid(side, side)
    scale = np.exp(2 * np.tanh(z1))
    rows = np.zeros((z1.size, 2, 2))
    rows[:, 0, 0], rows[:, 1, 1] = 1, scale.ravel()
    rows[:, 1, 0] = (2 * (1 - np.tanh(z1) ** 2) * scale * z2 - 2 * z1).ravel()
    k = 1.001 * np.linalg.norm(rows, ord=2, axis=(1, 2)).max()
    nodes, weights = np.polynomial.legendre.leggauss(400)
    nodes, weights = 2 * nodes, weights * stats.norm.pdf(2 * nodes)
    square = stats.norm.cdf(2) - stats.norm.cdf(-2)

    def law(t):
        inside = np.clip((t + nodes**2) * np.exp(-2 * np.tanh(nodes)), -2, 2)
        return float(weights @ (stats.norm.cdf(inside) - stats.norm.cdf(-2)) / weights.sum() / square)

    for t, width in itertools.product(np.linspace(-12, 8, 41), [0.01, 0.3, 2.0]):
        for mass, wider in [(law(t), law(t + width)), (1 - law(t), 1 - law(t - width))]:
            if 1e-6 < mass < 1 - 1e-6:
                least = coupling.least_bridge(mass, width, k)
                assert least <= wider - mass + 1e-5, f"from {t}, within {width}: {wider - mass}, less than {least}"


@pytest.mark.claim("thm-bridge")
def test_densities_of_lipschitz_functions_are_at_least_the_bridge(rng):
    """F′ ≥ φ(Φ⁻¹(F))/K: equality for a coordinate of Kz; |Az|, and distances to a point, by chi laws."""

    def least(probability, k):
        return stats.norm.pdf(stats.norm.ppf(probability)) / k

    for k in (0.5, 1.0, 3.0):
        law, t = stats.norm(0, k), k * np.linspace(-3, 3, 31)
        assert_close(law.pdf(t), least(law.cdf(t), k), rtol=1e-9, what=f"F′ of a coordinate of {k}·z, an equality")
        assert np.all(law.pdf(t) < least(law.cdf(t), k / 2)), "with K/2 it would be false"
    for _ in range(20):  # a direction u of Az, whose standard deviation |Aᵀu| is at most K = ‖A‖
        a, u = rng.standard_normal((3, 4)), rng.standard_normal(3)
        k, std = np.linalg.norm(a, 2), np.linalg.norm(a.T @ (u / np.linalg.norm(u)))
        law, t = stats.norm(0, std), std * np.linspace(-3, 3, 31)
        assert np.all(law.pdf(t) >= least(law.cdf(t), k) * (1 - 1e-12)), "a coordinate of Az"
    r = np.linspace(0.05, 8, 200)
    for d in (1, 2, 3, 10, 50):
        for away in (0.0, 1.0, 4.0):  # f = |z − p|, whose square is noncentral χ²
            square = stats.ncx2(d, away**2) if away else stats.chi2(d)
            density, below = 2 * r * square.pdf(r**2), square.cdf(r**2)
            fine = (below > 1e-9) & (below < 1 - 1e-6)  # where Φ⁻¹ of a rounded F is still right to 1e-6
            assert np.all(density[fine] >= least(below[fine], 1.0) * (1 - 1e-6)), f"|z − p| in {d} dimensions"
    far = stats.ncx2(2, 200.0**2)  # seen from far away a sphere is a plane: near equality
    r = np.linspace(199, 201, 21)
    assert_close(2 * r * far.pdf(r**2), least(far.cdf(r**2), 1.0), rtol=0.02, what="F′ of the distance to a far point")


BAD_BRIDGES = [
    ("mass", 0.0),
    ("mass", 1.0),
    ("mass", -0.1),
    ("mass", math.nan),
    ("width", 0.0),
    ("width", -1.0),
    ("width", math.inf),
    ("lipschitz", 0.0),
    ("lipschitz", -1.0),
    ("lipschitz", math.nan),
]


def test_least_bridge_refuses_what_has_no_answer():
    """No mass or all of it, no width, a Lipschitz constant that is none."""
    for argument, value in BAD_BRIDGES:
        options = {"mass": 0.5, "width": 1.0, "lipschitz": 2.0, argument: value}
        assert_refused(coupling.least_bridge, **options, argument=argument, value=value)


# What volume costs


def circles(radii, noise_std):
    """Circles around 0."""
    k = len(radii)
    return Arcs(np.zeros((k, 2)), np.array(radii, float), np.zeros(k), np.full(k, 2 * np.pi), noise_std)


def radial_floor(radii, noise_std, count=200_000):
    """1 + log E A and the entropy for circles around 0, whose density is a Bessel function of |x| alone."""
    shares = np.array(radii) / np.sum(radii)
    ends = np.linspace(0, max(radii) + 9 * noise_std, count + 1)
    r, area = (ends[1:] + ends[:-1]) / 2, np.pi * np.diff(ends**2)
    p = sum(
        share * np.exp(-((r - radius) ** 2) / (2 * noise_std**2)) * special.ive(0, r * radius / noise_std**2)
        for share, radius in zip(shares, radii, strict=True)
    ) / (2 * np.pi * noise_std**2)
    order = np.argsort(-p)
    above = np.cumsum(area[order]) - area[order] / 2
    entropy = -float((p * area) @ np.log(np.maximum(p, 1e-300)))
    return 1 + math.log((p * area)[order] @ above), entropy


# A grid's cells sorted by height know A up to the cells on a level line: a few in 1e5 of what there is.
GRID = 1e-4


@pytest.mark.claim("thm-volume-preserving")
@pytest.mark.parametrize(("radii", "noise_std"), [([1.0], 0.25), ([0.5, 1.5], 0.2), ([2.0], 0.5), ([0.2], 0.3)])
def test_volume_preserving_floor_of_circles(radii, noise_std):
    """Circles around 0, whose density is a Bessel function of |x|: areas and their mean on a line of 200,000 points."""
    want, entropy = radial_floor(radii, noise_std)
    mean_area = math.exp(want - 1)
    mistakes = {
        "is this the entropy?": entropy,
        "is the logarithm missing?": mean_area,
        "is the 1 missing?": want - 1,
        "is it log 2π + E A/2π, at c = 1? The best c is 2π/E A": LOG_2PI + mean_area / (2 * math.pi),
    }
    got = coupling.volume_preserving_floor(circles(radii, noise_std))
    what = f"volume_preserving_floor of circles of radius {radii}"
    assert_close(got, want, rtol=0, atol=GRID, what=what, mistakes=mistakes)
    assert isinstance(got, float), f"volume_preserving_floor should be a float, got {type(got).__name__}"
    assert got > entropy, "no floor lies below the entropy"


@pytest.mark.claim("thm-volume-preserving")
def test_volume_preserving_floor_of_a_gaussian_is_its_entropy():
    """A circle of radius 1e-6 is a Gaussian, wherever it is: 1 + log 2πv, what an affine map reaches, and scales."""
    for std, centre in ((0.3, [0.0, 0.0]), (2.0, [5.0, -7.0])):
        data = Arcs(np.array([centre]), np.array([1e-6]), np.zeros(1), np.array([2.0]), std)
        want = 1 + math.log(2 * math.pi * std**2)
        mistakes = {
            "is the logarithm missing?": 2 * math.pi * std**2,
            "is it half, the area of a cell off by 2?": want - math.log(2),
        }
        got = coupling.volume_preserving_floor(data)
        what = f"volume_preserving_floor of N(c, {std}² I)"
        assert_close(got, want, rtol=0, atol=GRID, what=what, mistakes=mistakes)


def test_volume_preserving_floor_of_arcs_moved_and_stretched():
    """Moved and turned by a right angle it is the same; all lengths times b add 2 log b."""
    data = Arcs(
        np.array([[0.0, 0.0], [1.0, 0.5]]), np.array([1.0, 0.6]), np.array([0.3, 2.0]), np.array([2.0, 4.0]), 0.25
    )
    here = coupling.volume_preserving_floor(data)
    turned = np.add(np.column_stack([-data.centres[:, 1], data.centres[:, 0]]), [3.0, -40.0])
    there = data._replace(centres=turned, begins=data.begins + np.pi / 2)
    assert_close(coupling.volume_preserving_floor(there), here, rtol=0, atol=GRID, what="the floor of arcs that moved")
    big = Arcs(7 * data.centres, 7 * data.radii, data.begins, data.angles, 7 * data.noise_std)
    want = here + 2 * math.log(7)
    assert_close(coupling.volume_preserving_floor(big), want, rtol=0, atol=GRID, what="the floor of arcs times 7")
    assert arcs_entropy(data) < here, "no floor lies below the entropy"


@cache
def moons():
    """A grid around the moons, 0.04 apart, and their density there."""
    axes = [np.arange(-2.1, 2.1, 0.04), np.arange(-1.9, 1.9, 0.04)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    return grid, np.exp(arcs_log_density(grid, MOONS)), 0.04**2


@pytest.mark.claim("thm-volume-preserving")
def test_volume_preserving_floor_of_the_moons():
    """1.0434 for MOONS, near a coarser grid's value, above the entropy; 2.1000 for RINGS by Bessel functions."""
    _, p, cell = moons()
    mass = np.sort(p)[::-1] * cell
    coarse = 1 + math.log((np.arange(len(mass)) + 0.5) * cell @ mass)
    mistakes = {"is this the entropy?": arcs_entropy(MOONS)}
    got = coupling.volume_preserving_floor(MOONS)
    # cells of 0.4 noise_std, sorted: their order is right up to a cell on each level line, about 1e-3 here
    assert_close(got, coarse, rtol=0, atol=2e-3, what="volume_preserving_floor(MOONS)", mistakes=mistakes)
    assert_close(got, 1.04340, rtol=0, atol=5e-5, what="volume_preserving_floor(MOONS), recorded")
    floor, entropy = radial_floor([1.0, 2.0], 0.1)
    assert_close([floor, entropy], [2.10000, 2.05158], rtol=0, atol=2e-5, what="RINGS by Bessel functions")
    got = coupling.volume_preserving_floor(RINGS)
    assert_close(got, floor, rtol=0, atol=GRID, what="volume_preserving_floor(RINGS)")


@pytest.mark.claim("thm-volume-preserving")
def test_volume_preserving_flows_stay_above_their_floor(generator):
    """Random flows with bound=0 on MOONS, by quadrature: NLL ≥ log 2π − log c + c E A/2π ≥ 1 + log E A."""
    grid, p, cell = moons()
    floor = coupling.volume_preserving_floor(MOONS)
    mean_area = math.exp(floor - 1)
    for spread in ([1.0, 1.0], [0.875, 0.375], [0.5, 0.625]):
        c = 1 / np.prod(spread)
        flow = flow_of(2, generator, bound=0, spread=np.array(spread), std=0.2)
        nll = -float(p @ numbers(flow.log_density(grid))) * cell
        bound = LOG_2PI - math.log(c) + c * mean_area / (2 * math.pi)
        assert bound >= floor - 1e-9, f"the bound at c = {c} lies below the best one"
        assert nll >= bound - 1e-3, f"a volume-preserving flow has NLL {nll}, below {bound}"
        # and the density is highest, c/2π, where the noise is 0
        top = float(flow.log_density(flow.inverse(np.zeros((1, 2)))))
        assert_close(top, math.log(c) - LOG_2PI, rtol=1e-9, atol=1e-9, what="the highest density, log c/2π")
        assert float(flow.log_density(grid).max()) <= top + 1e-9, "a density above c/2π"


@pytest.mark.claim("thm-volume-preserving")
def test_the_volume_bound_is_reached_by_gaussians_and_not_by_others():
    """N(0, vI) under an affine map: the bound at every c; e^{−|x|}/2π has E A = 6π, and a floor above its entropy."""

    def bound(c, mean_area):
        return LOG_2PI - math.log(c) + c * mean_area / (2 * math.pi)

    def over_plane(f):
        return integrate.quad(lambda r: 2 * math.pi * r * f(r), 0, 80, limit=200, epsabs=1e-12)[0]

    for v, c in itertools.product([0.3, 1.0, 5.0], [0.1, 1.0, 4.0]):
        mean_area = over_plane(lambda r, v=v: math.pi * r**2 * math.exp(-(r**2) / (2 * v)) / (2 * math.pi * v))
        assert_close(mean_area, 2 * math.pi * v, rtol=1e-8, what="E A of N(0, vI)")
        nll = LOG_2PI - math.log(c) + c * v  # of N(0, I/c) at N(0, vI)
        assert_close(bound(c, mean_area), nll, rtol=1e-8, what=f"the bound at v = {v}, c = {c}")
    assert_close(1 + math.log(2 * math.pi * 3.0), stats.multivariate_normal([0, 0], 3 * np.eye(2)).entropy(), what="H")
    area = over_plane(lambda r: math.pi * r**2 * math.exp(-r) / (2 * math.pi))
    assert_close(area, 6 * math.pi, rtol=1e-8, what="E A of e^{−|x|}/2π")
    entropy = over_plane(lambda r: (r + LOG_2PI) * math.exp(-r) / (2 * math.pi))
    assert 1 + math.log(area) > entropy + 0.09, "the exponential law should pay"
    for c in (0.05, 1 / 3, 1.0):  # N(0, I/c), the best of its kind, does not go below
        nll = over_plane(lambda r, c=c: (LOG_2PI - math.log(c) + c * r**2 / 2) * math.exp(-r) / (2 * math.pi))
        assert nll >= bound(c, area) - 1e-9
        assert bound(c, area) >= 1 + math.log(area) - 1e-12


@pytest.mark.claim("thm-volume-preserving", kind="symbolic")
def test_the_best_volume_is_the_one_stated():
    """sympy: log 2π − log c + ca/2π is least at c = 2π/a, where it is 1 + log a; the second derivative is positive."""
    c, a = sympy.symbols("c a", positive=True)
    bound = sympy.log(2 * sympy.pi) - sympy.log(c) + c * a / (2 * sympy.pi)
    (best,) = sympy.solve(sympy.diff(bound, c), c)
    assert sympy.simplify(best - 2 * sympy.pi / a) == 0
    assert sympy.simplify(bound.subs(c, best) - 1 - sympy.log(a)) == 0
    assert sympy.diff(bound, c, 2).is_positive


def test_volume_preserving_floor_refuses_arcs_without_noise_or_place():
    """Points on lines have no density; and NaN among the arcs is named."""
    for value in (0.0, -1.0, math.nan):
        data = MOONS._replace(noise_std=value)
        assert_refused(coupling.volume_preserving_floor, data, argument="noise_std", value=value)
    for argument in ("radii", "begins"):
        data = MOONS._replace(**{argument: np.array([1.0, math.nan])})
        assert_refused(coupling.volume_preserving_floor, data, argument=argument, value="nan")


# What an excess is


@pytest.mark.claim("prop-excess")
def test_excess_splits_over_regions_of_discrete_laws(rng):
    """40 pairs of laws on 12 points, cut into 1 to 5 regions: E(−log q) = H + KL, KL = between + within, exactly."""
    for _ in range(40):
        p, q = rng.dirichlet(np.ones(12)), rng.dirichlet(np.full(12, 0.5))
        cuts = np.sort(rng.choice(np.arange(1, 12), size=rng.integers(0, 5), replace=False))
        parts = np.split(rng.permutation(12), cuts)
        kl = stats.entropy(p, q)
        assert_close(-p @ np.log(q), stats.entropy(p) + kl, rtol=1e-9, what="E(−log q), against H + KL")
        coarse_p, coarse_q = (np.array([law[part].sum() for part in parts]) for law in (p, q))
        between = coarse_p @ np.log(coarse_p / coarse_q)
        within = [stats.entropy(p[part], q[part]) for part in parts]  # scipy divides by the sums
        assert_close(between + coarse_p @ within, kl, rtol=1e-9, atol=1e-12, what="between + within, against KL")
        assert between >= -1e-15
        assert min(within) >= -1e-15
        if len(parts) > 1:
            wrong = between + coarse_q @ within
            assert not np.isclose(wrong, kl, rtol=1e-9), "weights Q(A) in place of P(A) should not do"


@pytest.mark.claim("prop-excess")
def test_excess_of_a_gaussian_on_the_moons(generator):
    """E(−log q) in closed form, from the arcs' moments, is arcs_entropy + KL; KL by quadrature, whole and in strips."""
    grid, p, cell = moons()
    angle = (np.arange(2000) + 0.5) / 2000 * np.pi
    arcs = [
        c + np.column_stack([np.cos(b + angle), np.sin(b + angle)])
        for c, b in zip(MOONS.centres, (0, np.pi), strict=True)
    ]
    points = np.concatenate(arcs)
    mean, covariance = points.mean(0), np.cov(points.T, bias=True) + 0.01 * np.eye(2)
    centre, spread = np.array([0.1, -0.05]), np.array([1.1, 0.6])
    square = ((mean - centre) ** 2 + np.diag(covariance)) / spread**2
    nll = LOG_2PI + np.log(spread).sum() + square.sum() / 2
    log_q = stats.norm.logpdf(grid, centre, spread).sum(1)
    log_p = np.log(np.maximum(p, 1e-300))
    kl = cell * p @ (log_p - log_q)
    # the grid ends five noise_std off the arcs, and its spacing is 0.4 of it: 1e-5
    assert_close(nll, arcs_entropy(MOONS) + kl, rtol=0, atol=1e-4, what="E(−log q), against H + KL")
    flow = flow_of(2, generator, layers=2, spread=spread, std=0.3)
    for q in (np.exp(log_q), np.exp(numbers(flow.log_density(grid)))):
        whole = cell * p @ (log_p - np.log(q))
        assert whole > 0, "KL must be positive"
        strip = np.digitize(grid[:, 0], [-1.0, 0.0, 0.4])
        total = 0.0
        # q is a density on the plane: the little of it off the grid belongs to the strips of its edge
        missing = 1 - cell * q.sum()
        for j in range(4):
            mass_p, mass_q = (cell * law[strip == j].sum() for law in (p, q))
            inside = cell * p[strip == j] @ (log_p - np.log(q))[strip == j] / mass_p - np.log(mass_p / mass_q)
            assert inside > 0, f"KL within strip {j} is {inside}"
            total += mass_p * (np.log(mass_p / mass_q) + inside)
        assert -1e-6 < missing < 0.9
        assert_close(total, whole, rtol=1e-6, what="between + within strips, against KL")


# Triangular maps: the plane has one for every law

WEIGHTS = np.array([0.3, 0.7])
MEANS = np.array([[-4.0, 1.0], [3.0, -2.0]])
COVARIANCES = np.array([[[1.0, 0.6], [0.6, 0.8]], [[0.5, -0.3], [-0.3, 1.5]]])


def triangular(x):
    """(Φ⁻¹(F₁(x₁)), Φ⁻¹(F(x₂|x₁))) for a mixture of two Gaussians with a gap between them, in closed form."""
    stds = np.sqrt(COVARIANCES[:, 0, 0])
    below = stats.norm.cdf(x[:, :1], MEANS[:, 0], stds) @ WEIGHTS
    above = stats.norm.sf(x[:, :1], MEANS[:, 0], stds) @ WEIGHTS
    first = np.where(below < 0.5, special.ndtri(below), -special.ndtri(above))
    slope = COVARIANCES[:, 0, 1] / COVARIANCES[:, 0, 0]
    responsibility = WEIGHTS * stats.norm.pdf(x[:, :1], MEANS[:, 0], stds)
    responsibility /= responsibility.sum(1, keepdims=True)
    mean = MEANS[:, 1] + slope * (x[:, :1] - MEANS[:, 0])
    std = np.sqrt(COVARIANCES[:, 1, 1] - slope * COVARIANCES[:, 0, 1])
    below = (responsibility * stats.norm.cdf(x[:, 1:], mean, std)).sum(1)
    above = (responsibility * stats.norm.sf(x[:, 1:], mean, std)).sum(1)
    return np.column_stack([first, np.where(below < 0.5, special.ndtri(below), -special.ndtri(above))])


@pytest.mark.claim("prop-triangular")
def test_triangular_map_carries_a_law_with_a_gap_to_the_noise():
    """Two Gaussians seven apart: φφ(T(x)) |det DT(x)|, by central differences, is their density; ∂z₁/∂x₂ is 0."""
    x = np.array(
        [[-4.0, 1.0], [-3.0, 2.0], [-0.5, 0.0], [0.5, -1.0], [3.0, -2.0], [4.2, -1.0], [2.0, 1.5], [-5.5, 0.1]]
    )
    density = sum(
        w * stats.multivariate_normal(m, c).pdf(x) for w, m, c in zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
    )
    h = 1e-4
    columns = [(triangular(x + h * e) - triangular(x - h * e)) / (2 * h) for e in np.eye(2)]
    jacobians = np.stack(columns, axis=2)
    assert not jacobians[:, 0, 1].any(), "the Jacobian should be triangular"
    got = stats.norm.pdf(triangular(x)).prod(1) * np.linalg.det(jacobians)
    # h² times a third derivative: in the gap T bends most, to 1e-5
    assert_close(got, density, rtol=1e-4, what="φφ(T(x)) |det DT(x)|, against the density")
    first = WEIGHTS @ stats.norm.pdf(x[:, 0], MEANS[:, :1], np.sqrt(COVARIANCES[:, :1, 0]))
    z = triangular(x)
    assert_close(jacobians[:, 0, 0], first / stats.norm.pdf(z[:, 0]), rtol=1e-4, what="∂z₁/∂x₁, against p₁/φ(z₁)")
    want = density / first / stats.norm.pdf(z[:, 1])
    assert_close(jacobians[:, 1, 1], want, rtol=1e-4, what="∂z₂/∂x₂, against p(x₂|x₁)/φ(z₂)")


@pytest.mark.claim("prop-triangular")
def test_triangular_map_makes_noise_of_draws(rng):
    """What T makes of 20,000 draws of the two Gaussians is N(0, I), by moments and distribution functions."""
    which = rng.choice(2, size=20_000, p=WEIGHTS)
    factors = np.linalg.cholesky(COVARIANCES)
    x = MEANS[which] + np.einsum("nij,nj->ni", factors[which], rng.standard_normal((20_000, 2)))
    z = triangular(x)
    assert_unbiased(sample_moments(z), [0, 0, 1, 1, 0], detects=0.15)
    for j in range(2):
        assert_distribution(z[:, j], stats.norm.cdf, detects=0.03)


@pytest.mark.claim("prop-triangular", kind="symbolic")
def test_triangular_map_of_a_gaussian_is_the_inverse_cholesky_factor():
    """sympy: x₁/σ₁ and (x₂ − ρσ₂x₁/σ₁)/(σ₂√(1 − ρ²)) are L⁻¹x; φφ det L⁻¹ is the density of N(0, LLᵀ)."""
    x1, x2 = sympy.symbols("x1 x2", real=True)
    s1, s2 = sympy.symbols("s1 s2", positive=True)
    rho = sympy.Rational(3, 5)
    covariance = sympy.Matrix([[s1**2, rho * s1 * s2], [rho * s1 * s2, s2**2]])
    factor = covariance.cholesky()
    x = sympy.Matrix([x1, x2])
    z = sympy.simplify(factor.inv() * x)
    root = sympy.sqrt(1 - rho**2)
    assert sympy.simplify(z[0] - x1 / s1) == 0
    assert sympy.simplify(z[1] - (x2 - rho * s2 / s1 * x1) / (s2 * root)) == 0
    assert sympy.simplify((x.T * covariance.inv() * x)[0] - z.dot(z)) == 0
    assert sympy.simplify(z.jacobian(x).det() ** 2 * covariance.det()) == 1
