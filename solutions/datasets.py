"""Data that several chapters share: points along arcs, whose density is known, and
images of handwritten digits, small ones that are at hand and those of MNIST.
"""

import gzip
import os
import zlib
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import requests
import torch
from jaxtyping import Float, Int, Real, UInt8
from numpy import ndarray
from scipy.special import roots_legendre
from torch import Tensor
from tqdm import tqdm

from solutions import checks
from solutions.randomness import given_or_fresh
from solutions.tensors import as_tensor

_BLOCK = 2_000_000  # this many distances at a time

# The SHA-256 of each file of MNIST, unpacked.
MNIST = {
    "train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}
_SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist"
_AGAIN = "ask again, or put MNIST's four files into a folder and name it in MNIST_DIR"


class Arcs(NamedTuple):
    """Points spread evenly along arcs of circles, plus N(0, noise_std² I).

    Each arc has a row in `centres`, and an entry in `radii`, in `begins`, the angle at
    which it begins, and in `angles`, how far it turns (2π closes a ring).
    """

    centres: Real[ndarray, "k 2"]
    radii: Real[ndarray, "k"]
    begins: Real[ndarray, "k"]
    angles: Real[ndarray, "k"]
    noise_std: float


MOONS = Arcs(
    centres=np.array([[-0.5, -0.25], [0.5, 0.25]]),
    radii=np.array([1.0, 1.0]),
    begins=np.array([0.0, np.pi]),
    angles=np.array([np.pi, np.pi]),
    noise_std=0.1,
)
RINGS = Arcs(
    centres=np.zeros((2, 2)),
    radii=np.array([1.0, 2.0]),
    begins=np.zeros(2),
    angles=np.full(2, 2 * np.pi),
    noise_std=0.1,
)
# Half circles, each wider than the last, that begin where it ended.
SPIRAL = Arcs(
    centres=np.array([[-0.25, 0.0], [0.25, 0.0], [-0.25, 0.0], [0.25, 0.0]]),
    radii=np.array([0.25, 0.75, 1.25, 1.75]),
    begins=np.array([0.0, np.pi, 0.0, np.pi]),
    angles=np.full(4, np.pi),
    noise_std=0.05,
)


def draw_arcs(
    rng: np.random.Generator, data: Arcs, n: int
) -> tuple[Float[ndarray, "n 2"], Int[ndarray, "n"]]:
    """Draw points  c + r u(t) + noise_std z  and tell from which arc each comes.

    u(t) = (cos t, sin t), t is uniform along the arc, z is standard normal, and an arc
    is chosen in proportion to its length, radius times angle.

    Args:
        data: the arcs, `MOONS` or `RINGS` for example.
    """
    data = _checked(data)
    checks.counting_number(n=n)
    arc = rng.choice(len(data.radii), size=n, p=_shares(data))
    angle = data.begins[arc] + data.angles[arc] * rng.random(n)
    on_arc = data.centres[arc] + data.radii[arc, None] * _direction(angle)
    return on_arc + data.noise_std * rng.standard_normal((n, 2)), arc


def arcs_log_density(x: Real[ndarray, "n 2"], data: Arcs) -> Float[ndarray, "n"]:
    """Return  log Σₐ wₐ ∫ N(x; cₐ + rₐ u(t), noise_std² I) dt / angleₐ.

    The weight wₐ of an arc is in proportion to its length  rₐ angleₐ.
    The integrals along the arcs are done by Gauss and Legendre's rule, with so many
    points that 9 digits are right within 40 noise_std of an arc, and 6 far away.
    """
    checks.rows(x=x)
    checks.finite(x=x)
    data = _checked(data)
    if np.shape(x)[1] != 2:
        raise ValueError(f"x must have two columns, got {np.shape(x)[1]}")
    points, log_weights = _rule(data)
    x, variance = np.asarray(x, dtype=float), data.noise_std**2
    out = np.empty(len(x))
    size = max(1, _BLOCK // len(points))
    for block in (slice(i, i + size) for i in range(0, len(x), size)):
        square = ((x[block, None] - points) ** 2).sum(axis=2)
        out[block] = np.logaddexp.reduce(log_weights - square / (2 * variance), axis=1)
    return out - np.log(2 * np.pi * variance)


def arcs_entropy(data: Arcs) -> float:
    """Return  −∫ p log p  in nats, by quadrature: the lowest mean NLL of any model."""
    grid = np.stack(np.meshgrid(*arcs_axes(data, 2)), axis=-1).reshape(-1, 2)
    log_density = arcs_log_density(grid, data)
    cell = (data.noise_std / 2) ** 2
    return float(-(np.exp(log_density) * log_density).sum() * cell)


def arcs_axes(
    data: Arcs, cells: int
) -> tuple[Float[ndarray, "m1"], Float[ndarray, "m2"]]:
    """Return the two axes of a grid with so many cells per noise_std, which reaches 9
    noise_std beyond every circle: less than 1e-17 of the probability is outside.
    """
    data = _checked(data)
    checks.counting_number(cells=cells)
    reach = data.radii.max() + 9 * data.noise_std
    ends = data.centres.min(axis=0) - reach, data.centres.max(axis=0) + reach
    return tuple(
        np.arange(low, high, data.noise_std / cells)
        for low, high in zip(*ends, strict=True)
    )


def arcs_rule(data: Arcs) -> tuple[Float[ndarray, "m 2"], Float[ndarray, "m"]]:
    """Return points along all arcs and the logs of their weights, which sum to one.

    A standard Gaussian around each, scaled by noise_std, makes up the density of the
    arcs to 9 digits.
    """
    return _rule(_checked(data))


def _checked(data: Arcs) -> Arcs:
    centres, radii, begins, angles, noise_std = data
    checks.table(centres=centres)
    k = len(centres)
    checks.of_shape((k, 2), centres=centres)
    checks.of_shape((k,), radii=radii, begins=begins, angles=angles)
    checks.positive(radii=radii, angles=angles, noise_std=noise_std)
    checks.finite(begins=begins)
    arrays = (np.asarray(a, dtype=float) for a in (centres, radii, begins, angles))
    return Arcs(*arrays, float(noise_std))


def _shares(data: Arcs) -> Float[ndarray, "k"]:
    lengths = data.radii * data.angles
    return lengths / lengths.sum()


def _direction(angle: Float[ndarray, "n"]) -> Float[ndarray, "n 2"]:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _rule(data: Arcs) -> tuple[Float[ndarray, "m 2"], Float[ndarray, "m"]]:
    """Points along all arcs, and the logarithms of their weights, which sum to one."""
    points, weights = [], []
    for arc, share in enumerate(_shares(data)):
        length = data.radii[arc] * data.angles[arc]
        nodes, weight = roots_legendre(30 + int(5 * length / data.noise_std))
        angle = data.begins[arc] + data.angles[arc] * (nodes + 1) / 2
        points.append(data.centres[arc] + data.radii[arc] * _direction(angle))
        weights.append(share * weight / 2)
    return np.concatenate(points), np.log(np.concatenate(weights))


class Images(NamedTuple):
    """Grey images in [0, 1] with their labels, split for training and for testing."""

    train: Float[ndarray, "n side side"]
    train_labels: Int[ndarray, "n"]
    test: Float[ndarray, "m side side"]
    test_labels: Int[ndarray, "m"]


def digits() -> Images:
    """Return scikit-learn's 1,797 handwritten digits, 8 × 8 pixels in sixteenths.

    Of each digit every fifth image is held out: 1,442 to train and 355 to test. The
    same people wrote both.

    Reference: Alpaydin & Kaynak, Optical recognition of handwritten digits, 1998.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = (bunch.images / 16).astype(np.float32), bunch.target
    earlier = (labels[:, None] == np.arange(10)).cumsum(axis=0)
    held_out = earlier[np.arange(len(labels)), labels] % 5 == 0
    return Images(
        images[~held_out], labels[~held_out], images[held_out], labels[held_out]
    )


def mnist(folder: str | os.PathLike | None = None) -> Images:
    """Return MNIST: 60,000 images to train and 10,000 to test, 28 × 28 pixels.

    They come from the folder; without one, from the folder that the environment
    variable MNIST_DIR names; without that, from a cache, which is filled by a download.
    Each file is what it should be, or nothing is returned.

    Args:
        folder: holds the four IDX files, packed by gzip or not, under their own names.

    Reference: LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to
    document recognition, 1998.
    """
    folder = folder or os.environ.get("MNIST_DIR")
    if not folder:
        files = [_fetched(name) for name in MNIST]
    else:
        files = [_unpacked(path, name) for name, path in _found(Path(folder)).items()]
    images = [_grey(content) for content in files[::2]]
    labels = [_numbers(content, head=8).astype(np.int64) for content in files[1::2]]
    return Images(images[0], labels[0], images[1], labels[1])


def binarise(
    images: Float[Tensor, "*shape"] | Float[ndarray, "*shape"],
    how: str,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*shape"]:
    """Return black and white images made from grey ones.

    Args:
        images: grey, in [0, 1]; arrays become tensors.
        how: "stochastic", a pixel is 1 with the probability that its grey says;
            "rounded", it is 1 where the grey is above one half.
        generator: throws the pixels, where they are stochastic.

    Reference: Salakhutdinov & Murray, On the quantitative analysis of deep belief
    networks, 2008, for the stochastic ones. A set of them that is drawn once and kept
    is a *fixed* binarisation (Larochelle & Murray, 2011).
    """
    checks.one_of(("stochastic", "rounded"), how=how)
    images = as_tensor(images)
    checks.fraction(images=images)
    if how == "rounded":
        return (images > 0.5).to(images.dtype)
    generator = given_or_fresh(generator, images.device)
    return torch.bernoulli(images, generator=generator)


def _found(folder: Path) -> dict[str, Path]:
    """Where the folder holds the four files, each unpacked or packed."""
    choices = {name: (folder / name, folder / f"{name}.gz") for name in MNIST}
    paths = {
        name: next((path for path in both if path.is_file()), None)
        for name, both in choices.items()
    }
    missing = [f"{name}[.gz]" for name, path in paths.items() if path is None]
    if missing:
        raise FileNotFoundError(f"{folder} must hold {', '.join(missing)} too")
    return paths


def _unpacked(path: Path, name: str) -> bytes:
    """The content of a file, which is that of MNIST's, or an error."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and {_AGAIN}") from (
            error
        )
    if sha256(content).hexdigest() != MNIST[name]:
        raise ValueError(
            f"{path} does not hold what MNIST has there ({len(content):,} bytes,"
            f" unpacked): delete it, and {_AGAIN}"
        )
    return content


def _fetched(name: str) -> bytes:
    """The content of a file in the cache, which is filled if it is not there."""
    pooch.get_logger().setLevel("WARNING")  # the bar says enough
    try:
        path = pooch.retrieve(
            f"{_SOURCE}/{name}.gz",
            known_hash=None,  # how it is packed does not matter: what it holds does
            fname=f"{name}.gz",
            path=pooch.os_cache("from-likelihood-to-diffusion"),
            downloader=_resume,
        )
    except requests.RequestException as error:
        raise ConnectionError(
            f"{name} could not be fetched ({error}). What has come is kept: {_AGAIN}"
        ) from None
    return _unpacked(Path(path), name)


def _resume(url: str, output_file: str, _) -> None:
    """Fetch a file, or the rest of it: what has come so far lies beside it."""
    part = Path(output_file).with_name(f"{url.rpartition('/')[2]}.part")
    have = part.stat().st_size if part.exists() else 0
    ask = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=ask, stream=True, timeout=30) as reply:
        if reply.status_code != requests.codes.requested_range_not_satisfiable:
            reply.raise_for_status()
            have *= reply.status_code == requests.codes.partial_content
            length = int(reply.headers.get("Content-Length", 0)) + have or None
            bar = tqdm(
                desc=part.stem, initial=have, total=length, unit="B", unit_scale=True
            )
            with part.open("ab" if have else "wb") as file, bar:
                for piece in reply.iter_content(1 << 13):
                    bar.update(file.write(piece))
    part.replace(output_file)


def _numbers(content: bytes, head: int) -> UInt8[ndarray, "n"]:
    return np.frombuffer(content, dtype=np.uint8, offset=head)


def _grey(content: bytes) -> Float[ndarray, "n 28 28"]:
    return _numbers(content, head=16).reshape(-1, 28, 28) / np.float32(255)
