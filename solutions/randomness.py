"""Where the random numbers of PyTorch come from: never from its global generator."""

import torch


def given_or_fresh(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator, or for None a new one that the operating system seeds."""
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    return generator
