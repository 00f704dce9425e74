"""Layers whose weights come from a generator, and what goes into them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from solutions import networks, randomness
from tests.diagnose import assert_close
from tests.honest import assert_distribution


def seeded(seed):
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def test_linear_draws_its_weights_from_the_generator(generator):
    """Uniform on ±1/√inputs; the same seed the same, another one others; PyTorch's own generator stays where it was."""
    before = torch.get_rng_state()
    layer = networks.linear(16, 2000, generator)
    assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
    drawn = torch.cat([p.detach().flatten() for p in layer.parameters()]).double().numpy()
    assert_distribution(drawn, lambda w: np.clip((4 * w + 1) / 2, 0, 1), detects=0.03)
    once, again, other = (networks.linear(4, 3, seeded(seed)).weight for seed in (1, 1, 2))
    assert torch.equal(once, again), "the same seed must give the same weights"
    assert not torch.equal(once, other), "another seed must give other weights"


def test_perceptron_is_its_layers_one_after_another(generator):
    """Layers of these sizes, the activation between them and not after the last."""
    network = networks.perceptron([3, 5, 4, 2], nn.Tanh, generator).double()
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    first, second, third = (layer for layer in network if isinstance(layer, nn.Linear))
    want = torch.tanh(torch.tanh(x @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    assert_close(network(x).detach(), (want @ third.weight.T + third.bias).detach(), what="three layers")
    assert not torch.equal(first.weight[:4, :3], second.weight[:, :3]), "each layer has weights of its own"


def test_on_weights_takes_the_precision_of_the_model():
    """Arrays, also read-only ones of integers, and tensors come as the weights are, and are not changed."""
    model = nn.Linear(2, 1).double()
    array = np.array([[1, 2]])
    turned = np.array([[2, 1]])[:, ::-1]
    array.flags.writeable = False
    for x in (array, np.float32(array), turned, torch.tensor([[1.0, 2.0]]), torch.tensor([[1, 2]])):
        got = networks.on_weights(model, x=x)
        assert got.dtype == torch.float64, f"double weights take doubles, got {got.dtype} for {x.dtype}"
        assert got.tolist() == [[1.0, 2.0]], f"got {got.tolist()}"


def test_what_lies_elsewhere_is_refused():
    """Data on another device than the model, a generator on another than its numbers."""
    model = nn.Linear(2, 1, device="meta")
    with pytest.raises(ValueError, match=r"images must be on the device of the model, meta, got cpu"):
        networks.on_weights(model, images=torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"generator must be .* meta, got one on cpu"):
        randomness.given_or_fresh(seeded(0), "meta")


def test_a_fresh_generator_is_fresh():
    """Without one there is a new one each time, and one that is given is given back."""
    given = seeded(0)
    assert randomness.given_or_fresh(given) is given
    first, second = (torch.rand(4, generator=randomness.given_or_fresh(None)) for _ in range(2))
    assert not torch.equal(first, second), "two fresh generators gave the same numbers"
    assert math.isfinite(first.sum())
