"""Variational autoencoders on MNIST, with three estimators and with K draws, whose results are shown as recorded.

    MNIST_DIR=folder python -m book.recorded.mnist

writes mnist.json beside this file: for each run the mean objective of each epoch, while the weights moved, and the ELBO
of the test images after it; then L_K of all 10,000 test images, thrown once to black and white, for several K, each
with its standard error over the images; how many latents are active; and, of the first runs, a few images that the
model draws. Without MNIST_DIR the data are fetched. `--setting published` trains the nets of Burda, Grosse and
Salakhutdinov (2016) by their schedule of 3,280 epochs, which asks for a GPU (`--device cuda`) and patience.

After each epoch a run is kept in _build/mnist, and goes on from there. What the file already has is kept, and its
seconds are counted: delete the file to do all of it again.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from book.recorded import keeping
from solutions import datasets, iwae, vae
from solutions.estimate import mean_of

SEED = 2026
UNFINISHED = Path(__file__).parents[2] / "_build/mnist"
NAMES = "setting", "objective", "samples", "seed"
FIRST = [("analytic_kl", 1, 0), ("iwae", 5, 0), ("iwae", 50, 0), ("doubly", 5, 0)]
SEEDS = [(estimator, 1, seed) for seed in range(3) for estimator in ("path", "total", "analytic_kl")]
WANTED = list(dict.fromkeys([*FIRST, *SEEDS]))
DRAWS = [1, 5, 50, 500]
MANY = 5000  # for the first runs


class Setting(NamedTuple):
    """The nets, and how they are trained: a learning rate for each epoch."""

    latents: int
    activation: Callable[[], nn.Module]
    batch_size: int
    epsilon: float
    rates: list[float]


SETTINGS = {
    "source": Setting(20, vae.leaky, 128, 1e-8, [1e-3] * 20),
    "published": Setting(50, nn.Tanh, 20, 1e-4, [1e-3 * 10 ** (-i / 7) for i in range(8) for _ in range(3**i)]),
}


def run(images, setting, objective, samples, seed, device="cpu"):
    """Train one model, and measure it on the test images."""
    model, history, seconds = trained(images.train, images.test, setting, objective, samples, seed, device)
    test, first = thrown(images.test, device), (objective, samples, seed) in FIRST
    generator = torch.Generator(device).manual_seed(SEED)
    counts = [*DRAWS, MANY] if first else DRAWS
    bounds = {k: mean_of(iwae.log_likelihood(model, test, k, generator).double().cpu().numpy()) for k in counts}
    with torch.no_grad():
        spread = model.encoder(test)[0].var(0)
        z = torch.randn(20, SETTINGS[setting].latents, generator=generator, device=device)
        drawn = (model.decoder(z).sigmoid() * 15).round().int().tolist()
    unfinished(setting, objective, samples, seed).unlink(missing_ok=True)
    result = {
        "train": [round(value, 3) for value, _ in history],
        "test": [round(value, 3) for _, value in history],
        "bounds": {k: [round(bound.value, 3), round(bound.standard_error, 3)] for k, bound in bounds.items()},
        "active": int((spread > 0.01).sum()),
        "training_seconds": round(seconds),
    }
    return result | ({"drawn": ["".join(f"{grey:x}" for grey in image) for image in drawn]} if first else {})


def trained(images, held_out, setting, objective, samples, seed, device="cpu"):
    """A model, what it was worth after each epoch, and the seconds; goes on where an interrupted run was."""
    chosen, path = SETTINGS[setting], unfinished(setting, objective, samples, seed)
    model, optimizer = fresh(chosen, images[0].size, seed, device)
    generator, history, seconds = torch.Generator(device).manual_seed(SEED + seed), [], 0.0
    if path.exists():
        kept = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        generator.set_state(kept["generator"].cpu())
        history, seconds = kept["history"], kept["seconds"]
    data, test = model.checked(images), thrown(held_out, device)
    many = {"iwae": iwae.objective, "doubly": iwae.doubly_reparameterised}
    climbed = many[objective](samples) if objective in many else objective
    for rate in chosen.rates[len(history) :]:
        began = time.perf_counter()
        optimizer.param_groups[0]["lr"] = rate
        options = {"batch_size": chosen.batch_size, "optimizer": optimizer, "generator": generator}
        epoch = vae.train(model, data, objective=climbed, epochs=1, test=test, **options)
        history.append((float(epoch.train[0]), float(epoch.test[0])))
        seconds += time.perf_counter() - began
        keep(path, model, optimizer, generator, history, seconds)
        print(path.stem, len(history), *map("{:.2f}".format, history[-1]), f"{seconds:.0f} s", flush=True)
    return model, history, seconds


def fresh(setting, pixels, seed, device):
    """A new model, and its Adam."""
    generator = torch.Generator().manual_seed(SEED + seed)
    options = {"activation": setting.activation, "generator": generator}
    encoder = vae.Encoder(pixels, 200, setting.latents, **options)
    model = vae.VAE(encoder, vae.Decoder(setting.latents, 200, pixels, **options)).to(device)
    return model, torch.optim.Adam(model.parameters(), lr=setting.rates[0], eps=setting.epsilon)


def thrown(images, device):
    """The same throw of the test images for every model."""
    images = torch.from_numpy(images).flatten(1)
    return datasets.binarise(images, "stochastic", torch.Generator().manual_seed(SEED)).to(device)


def unfinished(*options):
    """Where a run is kept while it is not finished."""
    return UNFINISHED / ("-".join(map(str, options)) + ".pt")


def keep(path, model, optimizer, generator, history, seconds):
    """Put what it takes to go on into the file's place in one stroke."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "generator": generator.get_state()}
    torch.save(kept | {"history": history, "seconds": seconds}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


if __name__ == "__main__":
    parser = keeping.arguments(__file__, __doc__)
    parser.add_argument("--setting", choices=SETTINGS, default="source")
    parser.add_argument("--samples", type=int, help="only the runs with so many draws")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    images = datasets.mnist()
    wanted = [(given.setting, *options) for options in WANTED if given.samples in (None, options[1])]
    keeping.record(
        given.path,
        wanted,
        lambda *options: run(images, *options, device=given.device),
        NAMES,
        ["torch", "numpy"],
        seed=SEED,
        pixels="thrown anew for each epoch",
    )
