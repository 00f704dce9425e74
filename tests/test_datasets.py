"""Points along arcs: against Bessel functions, quadrature along the arc, and long draws; images against their files."""

import gzip
import hashlib
import http.server
import math
import os
import re
import struct
from threading import Thread

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from sklearn.datasets import load_digits

from solutions import datasets
from solutions.datasets import MOONS, RINGS, Arcs
from tests.diagnose import assert_close, assert_refused
from tests.honest import assert_distribution, assert_frequencies, assert_unbiased, assert_variance

# Three arcs of one's own: other radii, beginnings and lengths, so that shares are 1/6, 1/3 and 1/2.
THREE = Arcs(
    centres=np.array([[0.0, 1.0], [4.0, -2.0], [-3.0, -1.0]]),
    radii=np.array([0.5, 2.0, 1.5]),
    begins=np.array([1.0, -2.0, 0.3]),
    angles=np.array([2.0, 1.0, 2.0]),
    noise_std=0.2,
)
SHARES = np.array([1.0, 2.0, 3.0]) / 6
everywhere = pytest.mark.parametrize("data", [MOONS, THREE], ids=["moons", "three"])


def ring(radius, noise_std, centre=(0.0, 0.0)):
    """One whole circle."""
    return Arcs(np.array([centre]), np.array([radius]), np.zeros(1), np.array([2 * np.pi]), noise_std)


def log_density_of_ring(distance, radius, noise_std):
    """log p at a distance from the centre of a noisy circle: a Gaussian in it, times a Bessel function."""
    square = (distance - radius) ** 2 / (2 * noise_std**2)
    return np.log(special.ive(0, distance * radius / noise_std**2)) - square - np.log(2 * np.pi * noise_std**2)


def along_the_arcs(x, data, shares):
    """Σ w ∫ N(x; c + r u(t), σ² I) dt/angle at one point, by adaptive quadrature."""
    total, variance = 0.0, data.noise_std**2
    for centre, radius, begin, angle, share in zip(*data[:4], shares, strict=True):

        def height(t, centre=centre, radius=radius):
            away = x - centre - radius * np.array([np.cos(t), np.sin(t)])
            return math.exp(-away @ away / (2 * variance)) / (2 * np.pi * variance)

        nearest = math.atan2(*(x - centre)[::-1])
        breaks = [nearest + 2 * np.pi * k for k in range(-2, 3) if begin < nearest + 2 * np.pi * k < begin + angle]
        area = integrate.quad(height, begin, begin + angle, points=breaks, epsabs=1e-14, epsrel=1e-11, limit=200)[0]
        total += share * area / angle
    return total


def shares_of(data):
    """Lengths of the arcs over their sum."""
    lengths = np.array([r * a for r, a in zip(data.radii, data.angles, strict=True)])
    return lengths / lengths.sum()


# The density


@everywhere
def test_arcs_log_density_is_an_integral_along_the_arcs(data):
    """At a dozen points the mixture of Gaussians along the arcs, by adaptive quadrature."""
    rng = np.random.default_rng(3)
    x = np.concatenate(
        [data.centres[[0, 1]] + [0.3, 0.1], data.centres[[0, 1]] + rng.standard_normal((6, 2, 2)).mean(1)[:2]]
    )
    on = data.centres + data.radii[:, None] * np.column_stack([np.cos(data.begins), np.sin(data.begins)])
    x = np.concatenate([x, on, on + 0.1])
    densities = np.array([along_the_arcs(point, data, shares_of(data)) for point in x])
    want, even = np.log(densities), np.full(len(data.radii), 1 / len(data.radii))
    angles = data.angles / np.sum(data.angles)
    by_angle = np.log([along_the_arcs(point, data, angles) for point in x])
    mistakes = {
        "is every arc as likely, however long it is?": np.log([along_the_arcs(point, data, even) for point in x]),
        "are the weights the angles, without the radii?": by_angle,
        "is it the density, without its logarithm?": densities,
        "is noise_std used as a variance?": np.log(
            [along_the_arcs(point, data._replace(noise_std=data.noise_std**0.5), shares_of(data)) for point in x]
        ),
        "is the constant of one dimension there, for that of two?": want + 0.5 * np.log(2 * np.pi * data.noise_std**2),
        "is the constant log 2πσ² dropped?": want + np.log(2 * np.pi * data.noise_std**2),
        "do the weights sum to the number of arcs?": want + np.log(len(data.radii)),
        "is the integral over an arc not divided by its angle?": want + np.log(data.angles[0]),
    }
    mistakes = {words: value for words, value in mistakes.items() if not np.allclose(value, want)}
    got = datasets.arcs_log_density(x, data)
    assert_close(got, want, rtol=1e-8, atol=1e-8, what="arcs_log_density(x, data)", mistakes=mistakes)


@pytest.mark.parametrize(("radius", "noise_std"), [(1.0, 0.1), (3.0, 0.05), (0.5, 1.0)])
def test_arcs_log_density_of_a_ring_is_a_bessel_function(radius, noise_std):
    """A whole circle, seen from all sides: e^{−(ρ²+r²)/2σ²} I₀(ρr/σ²)/2πσ², far inside, on it and far outside."""
    distance = radius + noise_std * np.array([-3.0, 0.0, 0.7, 4.0, 30.0, 300.0])
    distance = np.append(np.abs(distance), 0.0)
    turn = np.linspace(0, 6, len(distance))
    x = np.array([2.0, -1.0]) + distance[:, None] * np.column_stack([np.cos(turn), np.sin(turn)])
    with np.errstate(all="ignore"):
        got = datasets.arcs_log_density(x, ring(radius, noise_std, (2.0, -1.0)))
    assert np.isfinite(got).all(), f"arcs_log_density underflows far from the arc: sum in logs (got {got})"
    want = log_density_of_ring(distance, radius, noise_std)
    near = distance < radius + 40 * noise_std
    assert_close(got[near], want[near], rtol=1e-9, atol=1e-9, what="arcs_log_density of a ring")
    # far off only a short piece of the arc counts, of which a rule made for the noise sees a node or two
    assert_close(got, want, rtol=1e-6, what="arcs_log_density of a ring from far away")


def test_arcs_log_density_of_rings_is_their_mixture():
    """RINGS have radii 1 and 2, and so weights 1/3 and 2/3: the longer one has twice the points."""
    distance = np.linspace(0, 3, 31)
    x = np.column_stack([distance * 0.6, distance * -0.8])
    logs = np.stack([log_density_of_ring(distance, r, 0.1) for r in (1.0, 2.0)])
    want = special.logsumexp(logs, b=np.array([[1 / 3], [2 / 3]]), axis=0)
    mistakes = {"is every ring as likely, however long it is?": special.logsumexp(logs, axis=0) - np.log(2)}
    got = datasets.arcs_log_density(x, RINGS)
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="arcs_log_density of RINGS", mistakes=mistakes)


@everywhere
def test_arcs_log_density_integrates_to_one(data):
    """The density sums to 1 over a grid half a noise_std apart, where sums over Gaussians err by e^{−80}."""
    step, reach = data.noise_std / 2, data.radii.max() + 8 * data.noise_std
    axes = [np.arange(c.min() - reach, c.max() + reach, step) for c in data.centres.T]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    log_density = datasets.arcs_log_density(grid, data)
    assert_close(np.exp(log_density).sum() * step**2, 1.0, rtol=1e-9, what="the integral of exp(arcs_log_density)")


def test_arcs_log_density_turns_and_stretches_with_its_arcs():
    """Arcs turned by a right angle, moved and stretched by b: the same, less 2 log b."""
    x = np.array([[0.0, 1.5], [3.0, -1.0], [-2.0, 0.0], [10.0, 10.0]])

    def turned(points):
        return np.column_stack([-points[:, 1], points[:, 0]])

    want = datasets.arcs_log_density(x, THREE) - 2 * np.log(3)
    there = Arcs(3 * turned(THREE.centres) + 100, 3 * THREE.radii, THREE.begins + np.pi / 2, THREE.angles, 0.6)
    got = datasets.arcs_log_density(3 * turned(x) + 100, there)
    assert_close(got, want, rtol=1e-9, atol=1e-9, what="arcs_log_density of arcs that were turned and stretched")


def test_arcs_log_density_takes_points_of_any_kind():
    """Integers, float32, read-only, every other row, one row, none; each alone as together; nothing is written to."""
    x = np.array([[1, 0], [0, 1], [-1, -1], [2, 2]])
    want = datasets.arcs_log_density(x.astype(float), MOONS)
    for name, points in {
        "integers": x,
        "float32": x.astype(np.float32),
        "Fortran's order": np.asfortranarray(x.astype(float)),
        "every other row": np.repeat(x, 2, axis=0)[::2],
    }.items():
        points.flags.writeable = False
        assert_close(datasets.arcs_log_density(points, MOONS), want, rtol=1e-12, what=f"arcs_log_density of {name}")
    for i in range(4):
        alone = datasets.arcs_log_density(x[i : i + 1], MOONS)
        assert_close(alone, want[i : i + 1], rtol=1e-12, what="arcs_log_density of one row")
    assert datasets.arcs_log_density(np.zeros((0, 2)), MOONS).shape == (0,), "no rows, no numbers"
    whole = Arcs(np.array([[0, 0]]), np.array([1]), np.array([0]), np.array([3]), 1)
    same = Arcs(*(np.asarray(part, dtype=float) for part in whole[:4]), 1.0)
    got = datasets.arcs_log_density(x, whole)
    assert_close(got, datasets.arcs_log_density(x.astype(float), same), what="arcs_log_density of arcs in integers")


def test_arcs_log_density_of_many_points_at_once():
    """20,000 points at once are what they are in parts."""
    x = np.random.default_rng(2).uniform(-2, 2, (20_000, 2))
    few = ring(1.0, 0.5)
    some = slice(0, None, 997)
    got = datasets.arcs_log_density(x, few)[some]
    assert_close(got, datasets.arcs_log_density(x[some], few), rtol=1e-12, what="arcs_log_density of many points")


# The entropy


def test_arcs_entropy_of_a_point_is_that_of_a_gaussian():
    """An arc of radius 1e-7 is N(c, σ² I): 1 + log 2πσ², wherever it is."""
    for std, centre in ((0.3, (0.0, 0.0)), (5.0, (100.0, -200.0))):
        want = 1 + np.log(2 * np.pi * std**2)
        mistakes = {
            "is it ½ log 2πe σ², that of one coordinate?": want / 2,
            "is its sign wrong? It is −∫ p log p": -want,
            "is it in bits?": want / np.log(2),
        }
        got = datasets.arcs_entropy(ring(1e-7, std, centre))
        assert_close(got, want, rtol=1e-8, atol=1e-8, what=f"arcs_entropy of N(c, {std}² I)", mistakes=mistakes)


@pytest.mark.parametrize(("radii", "noise_std"), [([1.0], 0.2), ([0.7, 1.9], 0.25), ([0.2], 0.02)])
def test_arcs_entropy_of_rings_by_bessel_functions(radii, noise_std):
    """−∫ p log p 2πρ dρ over the distance alone, by quadrature."""
    weights = np.array(radii)[:, None] / np.sum(radii)

    def integrand(distance):
        log_p = special.logsumexp([log_density_of_ring(distance, r, noise_std) for r in radii], b=weights[:, 0])
        return -2 * np.pi * distance * np.exp(log_p) * log_p

    ends = max(min(radii) - 9 * noise_std, 0), max(radii) + 9 * noise_std
    want = integrate.quad(integrand, *ends, points=radii, limit=200, epsabs=1e-11)[0]
    k = len(radii)
    data = Arcs(np.zeros((k, 2)), np.array(radii), np.zeros(k), np.full(k, 2 * np.pi), noise_std)
    got = datasets.arcs_entropy(data)
    mistakes = {"is its sign wrong? It is −∫ p log p": -want, "is it in bits?": want / np.log(2)}
    assert_close(got, want, rtol=1e-7, what="arcs_entropy of rings", mistakes=mistakes)
    assert isinstance(got, float), f"arcs_entropy should be a float, got {type(got).__name__}"


def test_arcs_entropy_moves_with_the_units():
    """All lengths times 10 add 2 log 10; moved and turned it is the same. MOONS have 1.007585."""
    here = datasets.arcs_entropy(MOONS)
    assert_close(here, 1.007585, rtol=0, atol=1e-6, what="arcs_entropy(MOONS)")
    small = MOONS._replace(noise_std=0.3)
    turn = np.array([[np.cos(1), np.sin(1)], [-np.sin(1), np.cos(1)]])
    big = Arcs(10 * MOONS.centres @ turn.T + 7, 10 * MOONS.radii, MOONS.begins - 1.0, MOONS.angles, 3.0)
    want = datasets.arcs_entropy(small) + 2 * np.log(10)
    assert_close(datasets.arcs_entropy(big), want, rtol=1e-7, what="arcs_entropy of arcs ten times as large")


def test_arcs_entropy_is_the_mean_nll_of_draws(rng):
    """−log p of 4,000 draws has the entropy as its mean."""
    data = THREE._replace(noise_std=0.5)
    x, _ = datasets.draw_arcs(rng, data, 4000)
    nll = -datasets.arcs_log_density(x, data)
    assert_unbiased(nll[:, None], [datasets.arcs_entropy(data)], detects=0.2)


# Draws


@pytest.mark.parametrize("cells", [1, 3])
def test_arcs_axes_hold_all_of_the_law(cells):
    """The cells of the grid are noise_std / cells wide, and their masses sum to one: nothing is outside."""
    axes = datasets.arcs_axes(THREE, cells)
    for axis in axes:
        assert_close(np.diff(axis), np.full(len(axis) - 1, 0.2 / cells), what="the width of the cells")
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    mass = np.exp(datasets.arcs_log_density(grid, THREE)).sum() * (0.2 / cells) ** 2
    assert_close(mass, 1.0, rtol=0, atol=1e-6, what="the probability on the grid (does it reach beyond every arc?)")


def test_draw_arcs_chooses_arcs_by_their_lengths(rng):
    """Of 30,000 draws 1/6, 1/3 and 1/2 come from three arcs of lengths 1, 2 and 3 (χ²)."""
    _, arc = datasets.draw_arcs(rng, THREE, 30_000)
    hints = {
        "every arc is as likely, however long": np.full(3, 1 / 3),
        "the shares are those of the angles, without the radii": [0.4, 0.2, 0.4],
        "the shares are those of the radii, without the angles": [1 / 8, 1 / 2, 3 / 8],
    }
    assert_frequencies(np.bincount(arc, minlength=3), SHARES, detects=0.06, hints=hints)


@everywhere
def test_draw_arcs_puts_points_where_the_arcs_are(rng, data):
    """Mean and second moments of the points of each arc, by quadrature over its angle, plus noise_std²."""
    x, arc = datasets.draw_arcs(rng, data, 40_000)
    for a in range(len(data.radii)):
        t = data.begins[a] + data.angles[a] * (np.arange(2000) + 0.5) / 2000
        spots = data.radii[a] * np.column_stack([np.cos(t), np.sin(t)])

        def moments(points):
            return np.column_stack([points, points**2, points[:, 0] * points[:, 1]])

        z, noise = x[arc == a] - data.centres[a], np.array([0, 0, 1, 1, 0])
        plain = moments(spots).mean(0)
        want = plain + data.noise_std**2 * noise
        shifted = moments(spots @ np.array([[0.0, 1.0], [-1.0, 0.0]])).mean(0) + data.noise_std**2 * noise
        hints = {
            "the noise is missing": plain,
            "noise_std is used as a variance": plain + data.noise_std * noise,
            "begins is ignored, arcs start at angle 0": begun_at_zero(data, a),
            "sine and cosine are exchanged": shifted,
        }
        assert_unbiased(moments(z), want, detects=0.1 * max(data.radii[a] ** 2, 1), hints=hints)


def begun_at_zero(data, a):
    """The moments of an arc whose beginning is forgotten."""
    t = data.angles[a] * (np.arange(2000) + 0.5) / 2000
    spots = data.radii[a] * np.column_stack([np.cos(t), np.sin(t)])
    noise = data.noise_std**2 * np.array([0, 0, 1, 1, 0])
    return np.column_stack([spots, spots**2, spots[:, 0] * spots[:, 1]]).mean(0) + noise


def test_draw_arcs_spreads_angles_evenly_and_noise_normally(rng):
    """With noise of 1e-9 the angle is uniform along the arc; around a circle of radius 1e-9 the noise is N(0, σ² I)."""
    thin = THREE._replace(noise_std=1e-9)
    x, arc = datasets.draw_arcs(rng, thin, 30_000)
    away = x - THREE.centres[arc]
    distance = np.hypot(*away.T)
    assert_close(distance, THREE.radii[arc], rtol=0, atol=1e-7, what="the distance of points without noise")
    turn = np.mod(np.arctan2(away[:, 1], away[:, 0]) - THREE.begins[arc] + 1e-6, 2 * np.pi) / THREE.angles[arc]
    assert_distribution(turn, stats.uniform(0, 1 + 1e-5).cdf, detects=0.03)
    z = (datasets.draw_arcs(rng, ring(1e-9, 0.4, (3.0, -2.0)), 30_000)[0] - [3.0, -2.0]) / 0.4
    for j in range(2):
        assert_distribution(z[:, j], stats.norm.cdf, detects=0.03)
    hints = {"the same noise in both coordinates": [1, 0, 0], "the same noise for all rows": [0, 1, 1]}
    products = np.column_stack([z[:, 0] * z[:, 1], *(z * np.roll(z, 1, axis=0)).T])[::2]
    assert_unbiased(products, [0, 0, 0], detects=0.15, hints=hints)


def test_draw_arcs_is_independent_from_one_row_to_the_next(rng):
    """Neighbours' arcs and angles are uncorrelated: arcs take no turns."""
    x, arc = datasets.draw_arcs(rng, RINGS, 30_001)
    assert np.any(arc[1:] == arc[:-1]), "the arcs take turns: the same one never comes twice"
    assert np.any(arc[1:] < arc[:-1]), "the arcs come one after the other: all of the first, then all of the second"
    centred = np.column_stack([arc - 2 / 3, x])
    assert_unbiased((centred[1:] * centred[:-1])[::2], [0, 0, 0], detects=0.15)


def test_draw_arcs_does_not_even_out_its_draws(rng):
    """Over 3,000 calls for six draws each: counts of an arc vary as binomial ones, mean angles as those of six."""
    arcs = Arcs(np.zeros((2, 2)), np.array([1.0, 2.0]), np.zeros(2), np.array([2.0, 2.0]), 1e-9)
    calls = [datasets.draw_arcs(rng, arcs, 6) for _ in range(3000)]
    counts = np.array([(arc == 0).sum() for _, arc in calls])
    hints = {"the counts are fixed in advance, not drawn": 1e-6}
    assert_variance(counts, 6 * 1 / 3 * 2 / 3, detects=0.3, hints=hints)
    angles = np.array([np.arctan2(*x.T[::-1]).mean() for x, _ in calls])
    hints = {"the angles are laid out over the arc, one to each part of it": 2**2 / 12 / 6**3}
    assert_variance(angles, 2**2 / 12 / 6, detects=0.3, hints=hints)


def test_draw_arcs_returns_points_and_their_arcs(rng):
    """n points in rows and n indices; of one draw too; the arcs' integers are as good as floats."""
    for data, n in ((THREE, 7), (RINGS, 1)):
        result = datasets.draw_arcs(rng, data, n)
        assert isinstance(result, tuple), "draw_arcs should return (x, arc)"
        x, arc = result
        assert np.shape(x) == (n, 2), f"x should have shape {(n, 2)}, got {np.shape(x)}"
        assert np.shape(arc) == (n,), f"arc should have shape {(n,)}, got {np.shape(arc)}"
        assert arc.dtype.kind == "i", f"arc should be integers, got {arc.dtype}"
        assert set(arc) <= set(range(len(data.radii))), f"arc should count from 0, got {arc}"
    whole = Arcs(np.array([[0, 0]]), np.array([1]), np.array([0]), np.array([3]), 1)
    x, _ = datasets.draw_arcs(rng, whole, 3)
    assert x.dtype == np.float64, f"points of arcs in integers should be float64, got {x.dtype}"


def test_draw_arcs_uses_the_generator_it_is_given():
    """One seed, the same draws, another one others; arcs and NumPy's global generator stay as they are."""
    data = Arcs(*(np.array(part) for part in THREE[:4]), THREE.noise_std)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (datasets.draw_arcs(np.random.default_rng(seed), data, 9)[0] for seed in (1, 1, 2))
    for name, got, was in zip(Arcs._fields, data, THREE, strict=True):
        assert np.array_equal(got, was), f"draw_arcs changed {name}"
    assert np.array_equal(one, same), "two generators with one seed gave different draws: is another one used?"
    assert not np.array_equal(one, other), "two seeds gave the same draws: is the generator used?"
    assert np.array_equal(state, np.random.get_state()[1]), "draw_arcs moved NumPy's global generator"  # noqa: NPY002


# What is refused

BAD_ARCS = [
    ("radii", np.array([0.0, 1.0]), 0.0),
    ("radii", np.array([1.0, -1.0]), -1.0),
    ("radii", np.ones(3), "(3,)"),
    ("angles", np.array([1.0, 0.0]), 0.0),
    ("angles", np.array([1.0, np.nan]), "nan"),
    ("begins", np.array([0.0, np.inf]), "inf"),
    ("begins", np.zeros(1), "(1,)"),
    ("noise_std", 0.0, 0.0),
    ("noise_std", -0.1, -0.1),
    ("noise_std", math.nan, "nan"),
    ("centres", np.zeros((2, 3)), "(2, 3)"),
    ("centres", np.array([[0.0, np.nan], [0.0, 0.0]]), "nan"),
    ("centres", np.zeros((0, 2)), "(0, 2)"),
]


@pytest.mark.parametrize("name", ["draw_arcs", "arcs_log_density", "arcs_entropy", "arcs_axes"])
def test_bad_arcs_are_refused(name):
    """Radii, angles and noise that are not positive, lengths that do not fit, NaN and ∞, by every function."""
    function = getattr(datasets, name)
    before = {"draw_arcs": (np.random.default_rng(0),), "arcs_log_density": (np.zeros((1, 2)),)}.get(name, ())
    after = {"draw_arcs": (3,), "arcs_axes": (2,)}.get(name, ())
    for argument, value, shown in BAD_ARCS:
        data = MOONS._replace(**{argument: value})
        assert_refused(function, *before, data, *after, argument=argument, value=shown)


def test_arcs_log_density_refuses_points_that_are_none():
    """NaN, ∞, a flat array, three columns."""
    for x, shown in [
        (np.array([[0.0, np.nan]]), "nan"),
        (np.array([[np.inf, 0.0]]), "inf"),
        (np.zeros(2), "(2,)"),
        (np.zeros((4, 3)), "3"),
    ]:
        assert_refused(datasets.arcs_log_density, x, MOONS, argument="x", value=shown)


def test_draw_arcs_refuses_what_is_no_count():
    """Half a draw, none, or less."""
    for n in (0, -1, 2.5):
        assert_refused(datasets.draw_arcs, np.random.default_rng(0), MOONS, n, argument="n", value=n)


# Images


def test_digits_are_scikit_learns_in_sixteenths():
    """Train and test together are the 1,797 images over 16, each once, with its own label."""
    small_digits = datasets.digits()
    bunch = load_digits()
    images = np.concatenate([small_digits.train, small_digits.test])
    labels = np.concatenate([small_digits.train_labels, small_digits.test_labels])
    assert images.shape == (1797, 8, 8), f"there are 1,797 images of 8 × 8, got {images.shape}"
    assert images.max() == 1.0, f"grey goes from 0 to 1, got {images.max()} at most: is it 16 that was divided by?"
    want = sorted((*(16 * image).ravel(), label) for image, label in zip(bunch.images / 16, bunch.target, strict=True))
    got = sorted((*(16 * image).ravel(), label) for image, label in zip(images, labels, strict=True))
    assert got == want, "each image must come once, with its own label: was one of them shuffled alone?"


def test_digits_hold_out_a_fifth_of_each():
    """No image is in both parts, every digit is in both, a fifth of it in the test part; and it is always the same."""
    small_digits = datasets.digits()
    train = {image.tobytes() for image in small_digits.train}
    test = {image.tobytes() for image in small_digits.test}
    assert not train & test, "test images must not be trained upon: are some in both parts?"
    shares = np.bincount(small_digits.test_labels, minlength=10) / np.bincount(load_digits().target)
    assert (abs(shares - 0.2) < 0.01).all(), f"a fifth of each digit is held out, got shares from {shares.min():.3f}"
    again = datasets.digits()
    assert np.array_equal(again.test, small_digits.test), "the split must be the same in every call"


NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


@pytest.fixture
def idx_files(rng, monkeypatch):
    """Forty and three images in the format of MNIST, in the place of MNIST's own."""
    files = {}
    for name, n in zip(NAMES, (40, 40, 3, 3), strict=True):
        if "images" in name:
            content = struct.pack(">4i", 2051, n, 28, 28) + rng.integers(256, size=n * 784, dtype=np.uint8).tobytes()
        else:
            content = struct.pack(">2i", 2049, n) + rng.integers(10, size=n, dtype=np.uint8).tobytes()
        files[name] = content
    monkeypatch.setattr(datasets, "MNIST", {name: hashlib.sha256(files[name]).hexdigest() for name in files})
    monkeypatch.delenv("MNIST_DIR", raising=False)
    return files


def write(folder, files, packed=True):
    """Put the files into a folder."""
    for name, content in files.items():
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


def assert_read(images, files):
    """The images are those of the files, grey / 255."""
    for got, labels, names in [(images[0], images[1], NAMES[:2]), (images[2], images[3], NAMES[2:])]:
        want = np.frombuffer(files[names[0]][16:], np.uint8).reshape(-1, 28, 28) / 255
        assert_close(got, want, rtol=1e-6, what=names[0], mistakes={"was grey left from 0 to 255?": 255 * want})
        assert labels.tolist() == list(files[names[1]][8:]), f"{names[1]}: got {labels.tolist()}"


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_reads_a_folder(idx_files, tmp_path, monkeypatch, packed):
    """Four IDX files, packed or not, from the argument or from MNIST_DIR."""
    write(tmp_path, idx_files, packed)
    assert_read(datasets.mnist(tmp_path), idx_files)
    monkeypatch.setenv("MNIST_DIR", str(tmp_path))
    assert_read(datasets.mnist(), idx_files)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("harm", ["cut", "flipped", "another's", "not packed"])
def test_mnist_refuses_a_damaged_file(idx_files, tmp_path, name, harm):
    """A file that was cut off, one with a wrong byte, another file under its name: a ValueError that names the file."""
    write(tmp_path, idx_files)
    path, content = tmp_path / f"{name}.gz", idx_files[name]
    bad = {
        "cut": path.read_bytes()[:-9],
        "flipped": gzip.compress(content[:-1] + bytes([content[-1] ^ 1])),
        "another's": gzip.compress(idx_files[NAMES[NAMES.index(name) - 1]]),
        "not packed": content,
    }
    path.write_bytes(bad[harm])
    with pytest.raises(ValueError, match=name):
        datasets.mnist(tmp_path)


def test_mnist_says_which_files_are_missing(idx_files, tmp_path):
    """All that are missing are named, and none that is there; a folder that is not there is like an empty one."""
    write(tmp_path, {name: idx_files[name] for name in NAMES[:2]})
    with pytest.raises(FileNotFoundError, match=rf"{NAMES[2]}.*{NAMES[3]}") as caught:
        datasets.mnist(tmp_path)
    assert NAMES[0] not in str(caught.value), f"{NAMES[0]} is there: {caught.value}"
    with pytest.raises(FileNotFoundError, match=NAMES[0]):
        datasets.mnist(tmp_path / "nowhere")


class Server(http.server.BaseHTTPRequestHandler):
    """Hands out `files`, or the rest of one if a rest is asked for; breaks off after `patience` bytes of an answer."""

    def do_GET(self):
        content, begin = self.server.files[self.path.lstrip("/")], 0
        if self.server.resumes and "Range" in self.headers:
            begin = int(re.search(r"bytes=(\d+)-", self.headers["Range"])[1])
        self.server.asked.append((self.path.lstrip("/"), begin))
        if begin and begin >= len(content):
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin:][: self.server.patience])

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server(idx_files, tmp_path, monkeypatch):
    """A source of the files on this machine, and an empty cache."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.files = {f"{name}.gz": gzip.compress(content) for name, content in idx_files.items()}
        server.patience, server.resumes, server.asked = None, True, []
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets, "_SOURCE", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(datasets.pooch, "os_cache", lambda _: tmp_path / "cache")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server
        server.shutdown()


def test_mnist_is_fetched_once(server, idx_files):
    """Without a folder the four files come from their source, and then from the cache."""
    for _ in range(2):
        assert_read(datasets.mnist(), idx_files)
    assert [name for name, _ in server.asked] == [f"{name}.gz" for name in NAMES], f"asked for {server.asked}"


@pytest.mark.parametrize("resumes", [True, False], ids=["rest", "whole"])
def test_mnist_goes_on_where_a_download_broke_off(server, idx_files, resumes):
    """What has come is kept and only the rest is asked for; a source that knows no rests gives the whole again."""
    server.patience, server.resumes = 20_000, resumes
    with pytest.raises(ConnectionError, match=r"MNIST_DIR"):
        datasets.mnist()
    server.patience = None
    assert_read(datasets.mnist(), idx_files)
    (first, whole), (second, rest) = server.asked[:2]
    assert first == second == f"{NAMES[0]}.gz", f"asked for {server.asked}"
    assert whole == 0
    assert (10_000 < rest <= 20_000) if resumes else rest == 0, f"the first 20,000 bytes had come; asked from {rest}"


def test_mnist_refuses_what_was_fetched_and_is_not_it(server, idx_files, tmp_path):
    """Another file from the source is refused and named; when it is deleted, the right one can be had."""
    right = server.files[f"{NAMES[1]}.gz"]
    server.files[f"{NAMES[1]}.gz"] = gzip.compress(b"nothing of the kind")
    for _ in range(2):
        with pytest.raises(ValueError, match=NAMES[1]):
            datasets.mnist()
    server.files[f"{NAMES[1]}.gz"] = right
    (tmp_path / "cache" / f"{NAMES[1]}.gz").unlink()
    assert_read(datasets.mnist(), idx_files)


def test_mnist_without_a_network_says_what_to_do(server):
    """A source that does not answer: a ConnectionError that names the file and MNIST_DIR."""
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match=rf"{NAMES[0]}.*MNIST_DIR"):
        datasets.mnist()


@pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="MNIST_DIR names no folder with the real MNIST")
def test_mnist_is_mnist():
    """60,000 and 10,000 images; the first labels are 5, 0, 4, 1, 9 and 7, 2, 1, 0, 4."""
    images = datasets.mnist()
    assert [images.train.shape, images.test.shape] == [(60_000, 28, 28), (10_000, 28, 28)]
    assert [*images.train_labels[:5], *images.test_labels[:5]] == [5, 0, 4, 1, 9, 7, 2, 1, 0, 4]


def test_binarise_throws_each_pixel_by_its_grey(generator):
    """Stochastic pixels are 1 as often as their grey says, apart from one another."""
    grey = torch.tensor([0.0, 0.1, 0.5, 0.7, 1.0], dtype=torch.float64)
    black = datasets.binarise(grey.repeat(40_000, 1), "stochastic", generator).numpy()
    assert set(np.unique(black)) <= {0.0, 1.0}, "pixels must be 0 or 1"
    assert (black[:, [0, 4]] == [0, 1]).all(), "white stays white, and black black: were they turned round?"
    hints = {
        "they were rounded": np.array([0.0, 0.0, 1.0]),
        "they are white as often as they should be black": np.array([0.9, 0.5, 0.3]),
    }
    assert_unbiased(black[:, 1:4], np.array([0.1, 0.5, 0.7]), detects=0.03, hints=hints)
    both = black[:, 2] * black[:, 3]
    assert_unbiased(both[:, None], np.array([0.35]), detects=0.03, hints={"one throw for all pixels": np.array([0.5])})


def test_binarise_rounds(generator):
    """Above one half is black, one half itself is not."""
    grey = np.array([[0.0, 0.25, 0.5], [0.51, 0.75, 1.0]], dtype=np.float32)
    got = datasets.binarise(grey, "rounded")
    assert_close(got, grey > 0.5, what="rounded pixels", mistakes={"is one half black, too?": grey >= 0.5})
    assert got.dtype == torch.float32, f"pixels keep their precision, got {got.dtype}"


def test_binarise_repeats_with_its_generator():
    """The same seed gives the same pixels, another one others; the images stay as they were."""
    grey = np.full((20, 8, 8), 0.5)
    once, again, other = (
        datasets.binarise(grey, "stochastic", torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(once, again), "the same seed must give the same pixels: is another generator used?"
    assert not torch.equal(once, other), "another seed must give other pixels: is the generator used?"
    assert (grey == 0.5).all(), "the images were changed"


def test_binarise_refuses_what_is_no_grey_and_no_way():
    """Grey outside [0, 1], NaN, another word."""
    for grey in (-0.1, 1.5, np.nan):
        assert_refused(datasets.binarise, np.array([grey]), "stochastic", argument="images", value=grey)
    assert_refused(datasets.binarise, np.zeros(1), "binary", argument="how", value="binary")


def test_the_spiral_is_one_line():
    """Each half circle of the spiral begins where the one before ends, and goes on in its direction."""
    spiral = datasets.SPIRAL
    ends, begins = spiral.begins + spiral.angles, spiral.begins

    def spots(angle):
        return spiral.centres + spiral.radii[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])

    assert_close(spots(begins)[1:], spots(ends)[:-1], atol=1e-12, what="where the next half circle begins")
    assert_close(np.cos(ends[:-1] - begins[1:]), np.ones(3), what="the turn between two half circles")
