"""Rows of the chapter `vae`: eight steps of training, images of 784 pixels, the nets of the chapter."""

import numpy as np
import torch

from benchmarks.run import row
from solutions import vae

IMAGES = (np.random.default_rng(0).random((1024, 784)) < 0.2).astype(np.float32)
RATE = 1e-6  # so small that both sides stay at the same loss, whatever they draw


def model():
    """The same first weights for both sides."""
    generator = torch.Generator().manual_seed(0)
    return vae.VAE(vae.Encoder(784, generator=generator), vae.Decoder(20, generator=generator))


def steps_of_pyro(loss):
    """Train with Pyro's SVI, as its tutorial on variational autoencoders does, without its validation."""
    import pyro
    import pyro.distributions as dist

    pyro.enable_validation(False)
    pyro.clear_param_store()
    ours, x = model(), torch.from_numpy(IMAGES)

    def generative(x):
        pyro.module("decoder", ours.decoder)
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 20), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=ours.decoder(z), validate_args=False).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", ours.encoder)
        with pyro.plate("images", len(x)):
            mean, log_variance = ours.encoder(x)
            pyro.sample("z", dist.Normal(mean, (log_variance / 2).exp()).to_event(1))

    svi = pyro.infer.SVI(generative, guide, pyro.optim.Adam({"lr": RATE}), loss=loss(pyro.infer))

    def theirs():
        return sum(svi.step(x[rows]) for rows in torch.randperm(len(x)).split(128)) / len(x)

    return theirs


def steps_of_ours(objective):
    """Train with `vae.train`."""
    trained, generator = model(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(trained.parameters(), lr=RATE)
    options = {"epochs": 1, "pixels": None, "optimizer": optimizer, "generator": generator}
    return lambda: -vae.train(trained, IMAGES, objective=objective, **options).train[0]


# Each draws its own latents: what they must agree on is the loss of 1,024 images, to a hundredth.
@row("8 steps of Adam on a VAE, 128 images each, ELBO from one draw", library="pyro-ppl", rtol=1e-2)
def vae_steps_pyro():
    """Against `pyro.infer.SVI` with `Trace_ELBO`."""
    return steps_of_ours("total"), steps_of_pyro(lambda infer: infer.Trace_ELBO())
