"""Layers whose first weights come from a generator, and what goes into them."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from solutions.tensors import as_tensor


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a layer  W x + b  with weights uniform on  ±1/√inputs,  as in PyTorch.

    Args:
        generator: draws W and b.
    """
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.uniform_(
                -1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator
            )
    return layer


def perceptron(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module],
    generator: torch.Generator,
) -> nn.Sequential:
    """Return layers of these sizes, with an activation after each but the last.

    Args:
        sizes: of the input, of each layer between, and of the output.
        activation: makes one; nn.Tanh for example.
        generator: draws the weights, layer by layer.
    """
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [linear(inputs, outputs, generator), activation()]
    return nn.Sequential(*layers[:-1])


def on_weights(model: nn.Module, **arguments) -> Tensor:
    """Return an array or a tensor in the precision of a model's weights.

    An array goes where they are; a tensor that lies on another device is refused.
    """
    ((name, value),) = arguments.items()
    weight = next(model.parameters())
    if isinstance(value, Tensor):
        if value.device != weight.device:
            raise ValueError(
                f"{name} must be on the device of the model, {weight.device}, got"
                f" {value.device}"
            )
        return value.to(weight.dtype)
    return as_tensor(value).to(weight)
