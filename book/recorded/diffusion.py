"""Denoisers trained at length, whose results the chapter on diffusion shows as recorded.

    python -m book.recorded.diffusion

writes diffusion.json beside this file: of three laws in the plane, what the bound exceeds the entropy by, how far the
drawn law is from the data's, how often a two-sample test notices, and some draws; the power of that test against known
departures; of the digits, the bound on held-out images, drawn images, and how near these are to the training set.

What the file already has is kept, and its seconds are counted: delete the file to do all of it again.
"""

import numpy as np
import torch
from scipy.spatial.distance import cdist

from book.recorded import keeping
from solutions import datasets
from solutions import diffusion as df
from solutions.estimate import mean_of

SEED = 2026
STEPS = 50
DIGITS, LEVELS = 200, 17
FIRST = 1.0  # so that the first step's noise, of standard deviation 0.07, is as wide as half a step of grey
N, TESTS = 1000, 40  # points in each sample of a test, and tests for each row
SHOWN, TIMES = 400, (50, 35, 25, 15, 8, 3, 0)
ANGLES = np.arange(8) * np.pi / 4
LAWS = {
    "ring": df.cloud(2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), 0.2),
    "moons": df.arcs_cloud(datasets.MOONS),
    "spiral": df.arcs_cloud(datasets.SPIRAL),
}
NAMES = "what", "option", "steps"
WANTED = [("law", "moons", 1500)] + [("law", name, 15000) for name in LAWS]
WANTED += [("power", name, 0) for name in ("nothing", "weights", "noise", "shift", "exact steps")]
WANTED += [("digits", "simple", 12000)]


def rejections(rng, law, draw):
    """How often, of TESTS, the test at 5 % tells N draws from N points of a law."""
    return sum(df.energy_test(rng, df.draw_cloud(rng, law, N), draw()).p_value <= 0.05 for _ in range(TESTS))


def entropy(law):
    """−∫ p log p, by a sum over a grid with three cells for each standard deviation."""
    ends = law.points.min(0) - 8 * law.std, law.points.max(0) + 8 * law.std
    axes = [np.arange(low, high, law.std / 3) for low, high in zip(*ends, strict=True)]
    log_density, _ = df.log_density_and_score(np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2), law)
    return -(np.exp(log_density) * log_density).sum() * (law.std / 3) ** 2


def rounded(estimate, digits=5):
    """The two numbers of an estimate."""
    return [round(float(number), digits) for number in estimate]


def best_step(law):
    """The exact reverse step of the best width, and the widths."""
    schedule = df.linear_schedule(STEPS)
    informations = df.fisher_informations(law, schedule)
    variances = df.best_variances(2 - schedule.noise_variances[1:] * informations, schedule, 2)
    return df.reverse_step(df.exact_denoiser(law, schedule), schedule, variances), variances


def distance(law, model, variances, seed, x):
    """KL(law ‖ p(x₀)) from points x of the law: draws without the last noise are the centres of p(x₀)."""
    generator, schedule = torch.Generator().manual_seed(seed), df.linear_schedule(STEPS)
    centres = df.sample(generator, model, schedule, 10_000, dimension=2).numpy()
    drawn = df.cloud(centres, np.sqrt(variances[0]))
    return mean_of(df.log_density_and_score(x, law)[0] - df.log_density_and_score(x, drawn)[0])


def law(name, steps):
    """Train on a law: the bound's excess over the entropy in its parts, the distance of the drawn law, tests, draws."""
    law, schedule = LAWS[name], df.linear_schedule(STEPS)
    rng, generator = np.random.default_rng([SEED, steps]), torch.Generator().manual_seed(SEED)
    exact, variances = best_step(law)
    denoiser = df.Denoiser(2, schedule, generator=generator)
    df.train(denoiser, df.draw_cloud(rng, law, 50_000), schedule, steps=steps, generator=generator)
    single = df.reverse_step(denoiser, schedule, variances)

    def model(xt, t):
        """The trained step, in double precision outside."""
        mean, std = single(xt.float(), t)
        return mean.double(), std

    # both on the same noised points, which takes away most of the chance
    x = df.draw_cloud(rng, law, 4000)
    ours, best = (
        df.bound(either, x, schedule, generator=torch.Generator().manual_seed(SEED)).total for either in (model, exact)
    )
    steps_cost = 0.5 * 2 * np.log(variances[1:] / schedule.posterior_variances[1:]).sum()
    height = entropy(law)

    def draw(n=N):
        return df.sample(generator, model, schedule, n, dimension=2, noisy_end=True).numpy()

    result = {
        "entropy": round(height, 5),
        "form": round(steps_cost + np.log(2 * np.pi * np.e * variances[0]) - height, 5),
        "fault": rounded(mean_of(ours - best)),
        "exact_law": rounded(distance(law, exact, variances, SEED, x)),
        "law": rounded(distance(law, model, variances, SEED, x)),
        "rejected": rejections(rng, law, draw),
        "of": TESTS,
    }
    if steps == max(part[2] for part in WANTED if part[:2] == ("law", name)):
        path = df.sample(generator, model, schedule, SHOWN, dimension=2, noisy_end=True, path=True).numpy()
        hundredths = np.round(100 * path).astype(int).reshape(STEPS + 1, -1)
        result["path"] = {str(t): hundredths[t].tolist() for t in (TIMES if name == "moons" else (0,))}
    return result


def power(name):
    """How often the test rejects draws from the moons that are wrong in a known way."""
    rng = np.random.default_rng([SEED, 7])
    generator, schedule = torch.Generator().manual_seed(SEED), df.linear_schedule(STEPS)
    exact, _ = best_step(LAWS["moons"]) if name == "exact steps" else (None, None)
    moons = datasets.MOONS if name != "noise" else datasets.MOONS._replace(noise_std=0.15)

    def draw():
        if name == "exact steps":
            return df.sample(generator, exact, schedule, N, dimension=2, noisy_end=True).numpy()
        x, arc = datasets.draw_arcs(rng, moons, 3 * N)
        if name == "weights":  # 60 to 40
            x = x[(arc == 0) | (rng.random(3 * N) < 2 / 3)]
        return x[:N] + (name == "shift") * np.array([0.1, 0.0])

    return {"rejected": rejections(rng, LAWS["moons"], draw), "of": TESTS}


@torch.no_grad()
def errors_of_pixels(denoiser, x, schedule, generator):
    """The mean square error of the guess of the noise, for each t and pixel, on the data it was trained on."""
    x, errors = torch.from_numpy(x).float().repeat(3, 1), []
    for t in range(1, schedule.steps + 1):
        noise = torch.randn(x.shape, generator=generator)
        mean, std = df.marginal(x, t, schedule)
        errors.append(((noise - denoiser(mean + std * noise, t)) ** 2).mean(dim=0).double().numpy())
    return np.array(errors)


def digits(steps):
    """Train on the digits: bound of held-out images in nats, images, distances to the nearest training image."""
    images = datasets.digits()
    train, test = (2 * part.reshape(-1, 64) - 1 for part in (images.train, images.test))
    generator = torch.Generator().manual_seed(SEED)
    schedule = df.linear_schedule(DIGITS, first=FIRST)
    denoiser = df.Denoiser(64, schedule, hidden=256, generator=generator)
    df.train(denoiser, train, schedule, steps=steps, rate=0.002, generator=generator)
    errors = errors_of_pixels(denoiser, train, schedule, generator)
    model = df.reverse_step(denoiser, schedule, df.best_variances(errors, schedule, 64))
    decoder = df.discretised_log_probability(LEVELS)
    result = {}
    for name, part in {"train": train, "test": test}.items():
        parts = df.bound(model, part, schedule, generator=generator, decoder=decoder)
        result[name] = rounded(mean_of(parts.total), 3)
        result[f"{name}_L_0"] = rounded(mean_of(parts.L_0), 3)
    one = df.best_variances(errors.sum(axis=1), schedule, 64)
    parts = df.bound(df.reverse_step(denoiser, schedule, one), test, schedule, generator=generator, decoder=decoder)
    result["one_width"] = rounded(mean_of(parts.total), 3)
    drawn = df.sample(generator, model, schedule, 355, dimension=64).numpy()
    grey = np.clip(np.round((drawn + 1) * 8), 0, 16).astype(int)
    for name, points in {"drawn": grey / 8 - 1.0, "held_out": test}.items():
        nearest = cdist(points, train).min(axis=1)
        result[f"{name}_distance"] = rounded(mean_of(nearest), 4)
        result[f"{name}_quartiles"] = np.percentile(nearest, [0, 25, 50, 75]).round(3).tolist()
    alphabet = "0123456789abcdefg"
    result["images"] = ["".join(alphabet[pixel] for pixel in image) for image in grey[:40]]
    neighbours = np.round((train[cdist(grey[:40] / 8 - 1.0, train).argmin(axis=1)] + 1) * 8).astype(int)
    result["neighbours"] = ["".join(alphabet[pixel] for pixel in image) for image in neighbours]
    return result


def run(what, option, steps):
    """One part."""
    if what == "law":
        return law(option, steps)
    return power(option) if what == "power" else digits(steps)


def main(path):
    """Run what the file has not."""
    torch.set_num_threads(1)
    keeping.record(path, WANTED, run, NAMES, ["numpy", "scipy", "torch"], seed=SEED)


if __name__ == "__main__":
    main(**vars(keeping.arguments(__file__, __doc__).parse_args()))
