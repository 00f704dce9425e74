"""Points along arcs: against Bessel functions, quadrature along the arc, and long draws."""

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

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
