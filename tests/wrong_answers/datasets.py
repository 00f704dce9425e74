"""Wrong arcs: their draws, densities and entropies."""

import numpy as np
import torch

from solutions import datasets
from tests.wrong_answers import wrong

right_draw, right_log_density = datasets.draw_arcs, datasets.arcs_log_density  # kept: a wrong answer may stand
right_entropy = datasets.arcs_entropy  # in their place later
right_digits, right_mnist, right_binarise = datasets.digits, datasets.mnist, datasets.binarise


@wrong(replaces="draw_arcs", hint="every arc is as likely, however long")
def draw_arcs_with_equal_shares(rng, data, n):
    return right_draw(rng, data, n)[0], rng.integers(len(data.radii), size=n)


@wrong(replaces="draw_arcs", hint="the shares are those of the angles")
def draw_arcs_by_their_angles(rng, data, n):
    right_draw(rng, data, n)
    arc = rng.choice(len(data.radii), size=n, p=np.array(data.angles) / np.sum(data.angles))
    angle = data.begins[arc] + data.angles[arc] * rng.random(n)
    spots = data.centres[arc] + data.radii[arc, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return spots + data.noise_std * rng.standard_normal((n, 2)), arc


@wrong(replaces="draw_arcs", trap="E36", hint="noise_std is used as a variance")
def draw_arcs_with_a_variance(rng, data, n):
    right_draw(rng, data, n)
    return right_draw(rng, data._replace(noise_std=data.noise_std**0.5), n)


@wrong(replaces="draw_arcs", hint="the noise is missing")
def draw_arcs_without_noise(rng, data, n):
    right_draw(rng, data, n)
    return right_draw(rng, data._replace(noise_std=1e-12), n)


@wrong(replaces="draw_arcs", hint="begins is ignored")
def draw_arcs_from_angle_zero(rng, data, n):
    right_draw(rng, data, n)
    return right_draw(rng, data._replace(begins=np.zeros(len(data.radii))), n)


@wrong(replaces="draw_arcs", hint="the same noise in both coordinates")
def draw_arcs_with_noise_on_the_diagonal(rng, data, n):
    _, arc = right_draw(rng, data, n)
    angle = data.begins[arc] + data.angles[arc] * rng.random(n)
    spots = data.centres[arc] + data.radii[arc, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return spots + data.noise_std * rng.standard_normal((n, 1)), arc


@wrong(replaces="draw_arcs", hint="all of the first, then all of the second")
def draw_arcs_in_order(rng, data, n):
    x, arc = right_draw(rng, data, n)
    order = np.argsort(arc, kind="stable")
    return x[order], arc[order]


@wrong(replaces="draw_arcs", hint="laid out over the arc")
def draw_arcs_of_even_angles(rng, data, n):
    right_draw(rng, data, n)
    lengths = np.array(data.radii) * np.array(data.angles)
    arc = rng.choice(len(lengths), size=n, p=lengths / lengths.sum())
    angle = data.begins[arc] + data.angles[arc] * (rng.permutation(n) + rng.random(n)) / n
    spots = data.centres[arc] + data.radii[arc, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return spots + data.noise_std * rng.standard_normal((n, 2)), arc


@wrong(replaces="draw_arcs", hint="is another one used?")
def draw_arcs_with_a_generator_of_its_own(rng, data, n):
    return right_draw(np.random.default_rng(), data, n)


@wrong(replaces="arcs_log_density", hint="is every arc as likely")
def arcs_log_density_with_equal_weights(x, data):
    right_log_density(x, data)
    parts = [
        right_log_density(x, datasets.Arcs(*(np.asarray(part)[[a]] for part in data[:4]), data.noise_std))
        for a in range(len(data.radii))
    ]
    return np.logaddexp.reduce(parts, axis=0) - np.log(len(parts))


@wrong(replaces="arcs_log_density", hint="is the constant of one dimension there")
def arcs_log_density_with_the_constant_of_one_dimension(x, data):
    return right_log_density(x, data) + 0.5 * np.log(2 * np.pi * data.noise_std**2)


@wrong(replaces="arcs_log_density", hint="sum in logs")
def arcs_log_density_that_underflows(x, data):
    with np.errstate(divide="ignore"):
        return np.log(np.exp(right_log_density(x, data)))


@wrong(replaces="arcs_log_density", hint="without its logarithm")
def density_for_arcs_log_density(x, data):
    return np.exp(right_log_density(x, data))


@wrong(replaces="arcs_entropy", hint="is its sign wrong?")
def arcs_entropy_negative(data):
    return -right_entropy(data)


@wrong(replaces="arcs_entropy", hint="is it in bits?")
def arcs_entropy_in_bits(data):
    return right_entropy(data) / np.log(2)


@wrong(replaces="arcs_entropy", hint="arcs_entropy of N(c,")
def arcs_entropy_around_zero(data):
    right_entropy(data)
    step = data.noise_std / 2
    reach = np.max(data.radii) + 9 * data.noise_std
    axis = np.arange(-reach, reach, step)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_density = right_log_density(grid, data)
    return float(-(np.exp(log_density) * log_density).sum() * step**2)


@wrong(replaces="digits", hint="is it 16 that was divided by?")
def digits_over_255():
    images = right_digits()
    return images._replace(train=images.train * 16 / 255, test=images.test * 16 / 255)


@wrong(replaces="digits", hint="are some in both parts?")
def digits_trained_upon_the_test():
    images = right_digits()
    return images._replace(
        train=np.concatenate([images.train, images.test]),
        train_labels=np.concatenate([images.train_labels, images.test_labels]),
        test=images.test,
    )


@wrong(replaces="digits", hint="was one of them shuffled alone?")
def digits_with_labels_shuffled():
    images = right_digits()
    return images._replace(train_labels=np.random.default_rng(0).permutation(images.train_labels))


@wrong(replaces="mnist", hint="was grey left from 0 to 255?")
def mnist_in_bytes(folder=None):
    images = right_mnist(folder)
    return images._replace(train=images.train * 255, test=images.test * 255)


@wrong(replaces="binarise", trap="E74", hint="they were rounded")
def binarise_always_rounded(images, how, generator=None):
    right_binarise(images, how, generator)
    return right_binarise(images, "rounded")


@wrong(replaces="binarise", hint="one throw for all pixels")
def binarise_by_one_throw_an_image(images, how, generator=None):
    if how == "rounded":
        return right_binarise(images, how)
    right_binarise(images, how, torch.Generator().manual_seed(0))
    images = torch.as_tensor(images)
    throws = torch.rand((len(images), *[1] * (images.ndim - 1)), generator=generator, dtype=images.dtype)
    return (throws < images).to(images.dtype)


@wrong(replaces="binarise", hint="were they turned round?")
def binarise_to_white(images, how, generator=None):
    black = right_binarise(images, how, generator)
    return black if how == "rounded" else 1 - right_binarise(images, how, generator)


@wrong(replaces="binarise", hint="is another generator used?")
def binarise_with_another_generator(images, how, generator=None):
    return right_binarise(images, how)


@wrong(replaces="binarise", hint="is one half black, too?")
def binarise_with_half_black(images, how, generator=None):
    if how == "rounded":
        right_binarise(images, how)
        return (torch.as_tensor(images) >= 0.5).to(torch.as_tensor(images).dtype)
    return right_binarise(images, how, generator)
