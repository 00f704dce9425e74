"""Flows of many depths, trained briefly and at length, whose results the chapter on coupling layers shows as recorded.

    python -m book.recorded.coupling

writes coupling.json beside this file: for each run its excess over the entropy, by how much its generator stretches on
the square [-4, 4]², and, of two rings, the density that it leaves midway between them; of short runs on the moons the
parts of the excess near the arcs and away from them; of long runs on the rings where the disc in the middle comes from,
and of one of them the log-density on a grid.

What the file already has is kept, and its seconds are counted: delete the file to do all of it again.
"""

from functools import cache

import numpy as np
import torch
from scipy.special import ndtri

from book.recorded import keeping
from solutions import coupling, datasets
from solutions.estimate import mean_of

SEED = 2026
LAWS = {"moons": datasets.MOONS, "rings": datasets.RINGS}
TRAINED_ON, HELD_OUT, RUNS = 50_000, 20_000, 3
DEPTHS = [1, 2, 4, 8, 16]
NAMES = "law", "layers", "steps", "bound", "spread"
WANTED = [(law, depth, 2000, 2.0, "of the data") for depth in DEPTHS for law in LAWS]
WANTED += [(law, 16, steps, 2.0, "of the data") for steps in (500, 8000) for law in LAWS]
WANTED += [(law, 16, 2000, 0.0, spread) for spread in ("of the data", "best", "learned") for law in LAWS]
APART = ("moons", 8, 1500, 2.0, "of the data")  # whose excess is taken apart, and which has six runs
WANTED += [APART]
STEP = 0.02
GRID = np.arange(-2.7, 2.701, 0.06).round(2)


@cache
def best_spread(law):
    """With this spread for both coordinates a constant volume is best: its log is half that of E a(X) / 2π."""
    return float(np.exp((coupling.volume_preserving_floor(LAWS[law]) - 1) / 2) / np.sqrt(2 * np.pi))


def run(law, layers, steps, bound, spread, seed):
    """Train one flow and measure it."""
    data = LAWS[law]
    rng, generator = np.random.default_rng([SEED, seed]), torch.Generator().manual_seed(SEED + seed)
    x = datasets.draw_arcs(rng, data, TRAINED_ON)[0].astype(np.float32)
    width = best_spread(law) if spread == "best" else None
    options = {"layers": layers, "steps": steps, "bound": bound, "spread": width}
    if spread == "learned":
        score, constant = shifts_and_scales(x, layers, steps, generator)
    else:
        flow = coupling.fit(x, **options, generator=generator).flow.double()
        score = flow.log_density
    held_out, _ = datasets.draw_arcs(rng, data, HELD_OUT)
    excess = mean_of(datasets.arcs_log_density(held_out, data) - score(held_out).numpy())
    result = {"seed": seed, "excess": round(excess.value, 5), "error": round(excess.standard_error, 5)}
    if spread == "learned":
        return result | {"constant": float(f"{constant:.4g}")}
    z = np.stack(np.meshgrid(*2 * [np.arange(-4, 4.01, 0.1)]), axis=-1).reshape(-1, 2)
    result["stretch"] = float(f"{coupling.stretch(flow, z).max():.4g}")
    if law == "rings":
        result["below"], result["between"] = (float(f"{value:.4g}") for value in midway(flow))
        if steps == 8000:
            result["disc"] = float(f"{disc(flow):.4g}")
        if steps == 8000 and seed == 0:
            points = np.stack(np.meshgrid(GRID, GRID), axis=-1).reshape(-1, 2)
            result["log_density"] = flow.log_density(points).numpy().round(2).tolist()
    if (law, layers, steps, bound, spread) == APART:
        result |= taken_apart(flow)
    return result


def shifts_and_scales(x, layers, steps, generator):
    """Train as `coupling.fit` does, with shifts and, last, one scale for each coordinate; the score, and |det|."""
    x, options = torch.from_numpy(x), {"bound": 0.0, "centre": x.mean(0), "spread": x.std(0)}
    flow = coupling.RealNVP(2, layers, **options, generator=generator)
    log_scales = torch.nn.Parameter(torch.zeros(2))
    weights = [*flow.parameters(), log_scales]
    optimizer = torch.optim.Adam(weights, lr=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)

    def score(x):
        z, log_det = flow.push(x)
        log_base = -0.5 * ((z * log_scales.exp()) ** 2).sum(1) - np.log(2 * np.pi)
        return log_base + log_det + log_scales.sum()

    for _ in range(steps):
        loss = -score(x[torch.randint(len(x), (256,), generator=generator)]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()
        schedule.step()
    for part in (flow.double(), log_scales):
        part.requires_grad_(False)
    log_scales.data = log_scales.data.double()
    return lambda x: score(torch.from_numpy(x)), float((log_scales.sum() - flow.spread.log().sum()).exp())


def distance_to_arc(points, arc):
    """How far points are from one of the moons' half circles."""
    v = points - datasets.MOONS.centres[arc]
    ends = np.minimum(*(np.hypot(v[:, 0] - end, v[:, 1]) for end in (-1, 1)))
    beside = (v[:, 1] >= 0) == (arc == 0)
    return np.where(beside, np.abs(np.hypot(*v.T) - 1), ends)


def taken_apart(flow):
    """The terms of the excess, by quadrature: of the cut, away from the arcs, near them. And the slope it needs."""
    side = np.arange(-2.6, 2.6, STEP) + STEP / 2
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    z, _ = flow(points)
    log_p, log_q = datasets.arcs_log_density(points, datasets.MOONS), flow.log_density(points).numpy()
    p, q, ratio = np.exp(log_p) * STEP**2, np.exp(log_q) * STEP**2, log_p - log_q
    to_arcs = np.stack([distance_to_arc(points, arc) for arc in (0, 1)])
    away = to_arcs.min(axis=0) > 0.25
    cut, within = 0.0, []
    for part in (away, ~away):
        P, Q = p[part].sum(), q[part].sum()
        cut += P * np.log(P / Q)
        within.append((p * ratio)[part].sum() - P * np.log(P / Q))
    across = (to_arcs[0] - to_arcs[1]) / 2
    there = q * (z.abs().amax(1) <= 4).numpy()  # the noise inside the square [-4, 4]²
    low, high = (ndtri(there[across <= level].sum() / there.sum()) for level in (-0.05, 0.05))
    return {
        "terms": [round(float(term), 5) for term in (cut, *within)],
        "away": [round(float(mass[away].sum()), 5) for mass in (p, q)],
        "need": float(f"{0.1 / (high - low):.4g}"),
    }


def disc(flow, radius=0.6):
    """The median length of the noise that the disc in the middle of the rings is made of, its area in equal shares."""
    side = np.arange(-radius, radius, 0.01) + 0.005
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    z, _ = flow(points[np.hypot(*points.T) < radius])
    return z.norm(dim=1).median()


def midway(flow, radius=1.5):
    """The probability of |x| < 3/2, and the density of |x| there, by quadrature."""
    angles = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    radii = (np.arange(100) + 0.5) * radius / 100
    density = [2 * np.pi * r * np.exp(flow.log_density(r * circle).numpy()).mean() for r in (*radii, radius)]
    return np.mean(density[:-1]) * radius, density[-1]


def main(path):
    """Run what the file has not."""
    torch.set_num_threads(1)

    def part(*options):
        return {"runs": [run(*options, seed) for seed in range(6 if options == APART else RUNS)]}

    notes = {"seed": SEED, "grid": [float(GRID[0]), float(GRID[-1]), len(GRID)]}
    keeping.record(path, WANTED, part, NAMES, ["numpy", "torch"], **notes)


if __name__ == "__main__":
    main(**vars(keeping.arguments(__file__, __doc__).parse_args()))
