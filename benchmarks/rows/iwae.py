"""Rows of the chapter `iwae`: eight steps of training with several draws for each image."""

from benchmarks.rows.vae import steps_of_ours, steps_of_pyro
from benchmarks.run import row
from solutions import iwae


def renyi(samples):
    """Ours, and Pyro's, which decodes all draws at once as well."""
    options = {"alpha": 0, "num_particles": samples, "vectorize_particles": True}
    return steps_of_ours(iwae.objective(samples)), steps_of_pyro(lambda infer: infer.RenyiELBO(**options))


@row("8 steps of Adam on a VAE, 128 images each, L_K with K = 5", library="pyro-ppl", rtol=1e-2)
def iwae_steps_of_5_pyro():
    """Against `pyro.infer.SVI` with `RenyiELBO(alpha=0)`."""
    return renyi(5)


@row("8 steps of Adam on a VAE, 128 images each, L_K with K = 50", library="pyro-ppl", rtol=1e-2)
def iwae_steps_of_50_pyro():
    """Against `pyro.infer.SVI` with `RenyiELBO(alpha=0)`."""
    return renyi(50)
