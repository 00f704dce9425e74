"""Rows of the chapter `langevin`: a thousand chains of ten thousand steps each."""

import os

import numpy as np

from benchmarks.run import row
from solutions import langevin, mixtures

CHAINS, STEPS, STEP_SIZE = 1_000, 10_000, 0.5


# Chains are random: what the two must agree on is the acceptance rate, known to 1e-4 from ten million steps.
@row("1,000 adjusted chains of 10,000 steps on the square", library="blackjax", rtol=2e-3)
def mala_blackjax():
    """Against `blackjax.mala`, one chain a lane of `vmap`, compiled and warm, in double precision."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import blackjax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    start = np.random.default_rng(0).uniform(0, 3, (CHAINS, 2))
    algorithm = blackjax.mala(lambda x: jax.nn.logsumexp(-0.5 * jnp.sum((x - mixtures.SQUARE) ** 2, axis=1)), STEP_SIZE)

    @jax.jit
    def run(key, positions):
        def step(states, key):
            states, info = jax.vmap(algorithm.step)(jax.random.split(key, CHAINS), states)
            return states, info.is_accepted

        states, accepted = jax.lax.scan(step, jax.vmap(algorithm.init)(positions), jax.random.split(key, STEPS))
        return states.position, accepted.mean()

    def theirs():
        return float(run(jax.random.key(0), jnp.asarray(start))[1].block_until_ready())

    def ours():
        rng = np.random.default_rng(0)
        return langevin.sample(rng, mixtures.target(mixtures.SQUARE), start, STEP_SIZE, STEPS).acceptance.mean()

    return ours, theirs
