"""The look of the figures: colours that everyone can tell apart, files that do not change, a player that says all."""

import io
import re
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from course import plots

pytestmark = pytest.mark.machinery

# What a reader without one kind of cone sees: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A
# physiologically-based model for simulation of color vision deficiency", IEEE TVCG 15 (2009), severity 1, linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
# IEC 61966-2-1: linear RGB to XYZ, whose second row is the luminance.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colours):
    c = np.array([to_rgb(colour) for colour in colours])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* under the white of sRGB; a distance of 2.3 is just noticeable."""
    t = rgb @ XYZ.T / XYZ.sum(axis=1)
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)


def contrast(a, b):
    """WCAG 2: the ratio of two luminances."""
    dark, light = sorted(0.05 + XYZ[1] @ linear([colour])[0] for colour in (a, b))
    return light / dark


def as_in_dark_mode(colour):
    """CSS `invert(1) hue-rotate(180deg)`: the matrix of the Filter Effects module, at 180 degrees."""
    grey = np.tile([0.213, 0.715, 0.072], (3, 1))
    return np.clip((2 * grey - np.eye(3)) @ (1 - np.array(to_rgb(colour))), 0, 1)


@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_colours_differ_by_seven_just_noticeable_steps(sight):
    seen = lab(np.clip(linear(plots.COLOURS) @ np.array(SIGHT[sight]).T, 0, 1))
    distances = np.linalg.norm(seen[:, None] - seen, axis=-1)[np.triu_indices(len(seen), 1)]
    assert distances.min() > 7 * 2.3


def test_neighbours_differ_in_greyscale():
    lightness = lab(linear(plots.COLOURS))[:, 0]
    assert min(abs(a - b) for a, b in pairwise(lightness)) > 15
    assert np.diff(np.sort(lightness)).min() > 5


@pytest.mark.parametrize("colour", plots.COLOURS)
def test_lines_stand_out_from_the_page_in_light_and_dark(colour):
    """WCAG 2.2, 1.4.11: three to one for what is not text."""
    assert contrast(colour, "white") >= 3
    assert contrast(as_in_dark_mode(colour), "#14181e") >= 3


@pytest.fixture
def look():
    with mpl.rc_context():
        plots.use()
        yield mpl.rcParams
    plt.close("all")


def test_the_style_sheet_and_the_names_agree(look):
    cycle = look["axes.prop_cycle"].by_key()
    assert tuple(cycle["color"]) == plots.COLOURS
    assert len({str(dash) for dash in cycle["linestyle"]}) == len(plots.COLOURS)


def curve():
    figure, ax = plt.subplots()
    ax.plot(np.linspace(0, 1, 50) ** 2, label="$x^2$")
    ax.fill_between([0, 50], 0.5, 0.6, hatch="//", alpha=0.5)
    ax.legend()
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata=plots._METADATA["svg"])
    return file.getvalue().decode()


def test_a_figure_is_the_same_file_every_time(look):
    first = curve()
    assert first == curve()
    assert "dc:date" not in first
    assert "<text" not in first  # letters are drawn, so no font is asked for


def test_in_a_notebook_figures_are_svg_of_the_size_asked_for():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        with mpl.rc_context():
            plots.use()
            figure, _ = plt.subplots(figsize=(5, 3))
            data, _ = shell.display_formatter.format(figure, include={"image/svg+xml", "image/png"})
            plt.close(figure)
    finally:
        InteractiveShell.clear_instance()
    assert list(data) == ["image/svg+xml"]
    assert 'width="360pt" height="216pt"' in data["image/svg+xml"]


def parabola(figure, power):
    ax = figure.subplots()
    ax.plot(np.arange(5) ** power)
    ax.set_ylabel("height")


@pytest.fixture
def player():
    return plots.player(parabola, [1, 3, 9], label="power <p>", alt='A "curve"', start=1)


def test_every_frame_has_a_text_of_its_own(player):
    page = player._repr_mimebundle_()["text/html"]
    alts = re.findall(r'<img src="[^"]+" alt="([^"]+)"', page)
    assert alts == [f"power &lt;p&gt; = {n}. A &quot;curve&quot;" for n in (1, 3, 9)]
    assert re.findall(r'data-name="(\d)"( hidden)?>', page) == [("1", " hidden"), ("3", ""), ("9", " hidden")]
    assert re.search(r"<label>power &lt;p&gt; <input type=\"range\"", page)
    assert not re.search(r"\bid=|https?://", re.sub(r'src="[^"]+"', "", page))


def test_a_frame_may_be_described_by_a_function():
    page = plots.player(parabola, [1, 2], label="p", alt=lambda p: f"power {p}", form="png")._repr_mimebundle_()
    assert re.findall(r'src="data:image/(png);base64,[^"]+" alt="([^"]+)"', page["text/html"]) == [
        ("png", "power 1"),
        ("png", "power 2"),
    ]


def test_its_text_is_short_and_the_page_deterministic(player):
    again = plots.player(parabola, [1, 3, 9], label="power <p>", alt='A "curve"', start=1)
    assert repr(player) == player._repr_mimebundle_()["text/plain"] == "Player: 3 frames, power <p> = 1, 3, 9"
    assert again._repr_mimebundle_() == player._repr_mimebundle_()


def test_the_axes_of_all_frames_lie_in_the_same_place():
    figures = []

    def remember(figure, power):
        parabola(figure, power)
        figures.append(figure)

    plots.player(remember, [1, 9], label="p", alt="curves")  # the labels of 4 and of 262144 differ in width
    places = [figure.axes[0].get_position().bounds for figure in figures]
    assert places[0] == places[1]
    assert 0 < places[0][2] < 1


@pytest.mark.parametrize(
    ("values", "options", "says"),
    [([], {}, "values"), ([1], {"start": 1}, "start"), ([1], {"form": "gif"}, "form")],
)
def test_what_cannot_be_played_is_refused(values, options, says):
    with pytest.raises(ValueError, match=says):
        plots.player(parabola, values, label="p", alt="curves", **options)


def test_frames_with_different_axes_are_refused():
    with pytest.raises(ValueError, match="same number of axes"):
        plots.player(lambda figure, n: figure.subplots(1, n), [1, 2], label="n", alt="panels")
