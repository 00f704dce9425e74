"""Where the random numbers of PyTorch come from: never from its global generator."""

import torch


def given_or_fresh(
    generator: torch.Generator | None, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the generator, or for None a new one that the operating system seeds.

    Args:
        device: where the numbers are needed; a generator that is elsewhere is refused.
    """
    if generator is None:
        generator = torch.Generator(device)
        generator.seed()
    if generator.device.type != torch.device(device).type:
        raise ValueError(
            f"generator must be on the device of what it is for, {device}, got one on"
            f" {generator.device}"
        )
    return generator
