"""One look for all figures, and a player for those that move.

A chapter says `plots.use()` once, before it draws. Colours have names (`plots.BLUE`), and the lines of one plot take
them in turn together with their dashes, so that they can be told apart without colour.
"""

import base64
import html
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from string import Template

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats

HERE = Path(__file__).parent
STYLE = HERE / "course.mplstyle"
PLAYER = HERE / "player.html"

# In the order in which lines take them. GREY is for what stands behind: histograms, references, bands.
BLUE, ORANGE, PURPLE, SKY, INK, GREEN = (f"#{c}" for c in ("0f50b6", "d1610f", "7b096a", "2c9dc9", "132129", "357d4e"))
COLOURS = (BLUE, ORANGE, PURPLE, SKY, INK, GREEN)
GREY = "#c3cad2"

# Without a date, and without the name of the program, the same figure is the same file.
_METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def use() -> None:
    """Give all figures from here on the look of the course; in a notebook, show them as SVG."""
    plt.style.use(STYLE)
    if get_ipython() is not None:
        set_matplotlib_formats("svg", metadata=_METADATA["svg"], bbox_inches=None)


def player(
    draw: Callable[[Figure, object], object],
    values: Iterable,
    *,
    label: str,
    alt: str | Callable[[object], str],
    start: int = 0,
    figsize: tuple[float, float] | None = None,
    form: str = "svg",
) -> "Player":
    """A figure with a slider: `draw(figure, value)` draws the frame of each value on an empty figure.

    `alt` tells what a frame shows to someone who cannot see it: a function of the value, or one text for all of them,
    which the value then precedes. `start` is the index of the frame shown first. Frames with thousands of points are
    smaller as `form="png"`. All frames get axes of one size; limits are for `draw` to fix where they should not move.
    """
    values = list(values)
    if not values:
        raise ValueError("values must hold at least one value, got none")
    if not 0 <= start < len(values):
        raise ValueError(f"start must be an index of the {len(values)} values, got {start}")
    if form not in _METADATA:
        raise ValueError(f"form must be one of {sorted(_METADATA)}, got {form!r}")
    with plt.style.context(STYLE):
        figures = [Figure(figsize=figsize, layout="constrained") for _ in values]
        for figure, value in zip(figures, values, strict=True):
            draw(figure, value)
        _align(figures)
        pictures = [_picture(figure, form) for figure in figures]
    names = [str(value) for value in values]
    describe = alt if callable(alt) else lambda value: f"{label} = {value}. {alt}"
    return Player(label, names, pictures, [describe(value) for value in values], start)


class Player:
    """Frames to leaf through, as a web page and Jupyter show them. Made by `player`."""

    def __init__(self, label: str, names: list[str], pictures: list[str], alts: list[str], start: int):
        self.label, self.names, self.pictures, self.alts, self.start = label, names, pictures, alts, start

    def __repr__(self):
        return f"Player: {len(self.names)} frames, {self.label} = {', '.join(self.names)}"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        hidden = [" hidden" * (i != self.start) for i in range(len(self.names))]
        frames = [
            f'<img src="{picture}" alt="{html.escape(alt)}" data-name="{html.escape(name)}"{state}>'
            for picture, alt, name, state in zip(self.pictures, self.alts, self.names, hidden, strict=True)
        ]
        page = Template(PLAYER.read_text(encoding="utf-8")).substitute(
            label=html.escape(self.label),
            frames="\n    ".join(frames),
            last=len(self.names) - 1,
            start=self.start,
            name=html.escape(self.names[self.start]),
        )
        return {"text/html": page, "text/plain": repr(self)}


def _align(figures: list[Figure]) -> None:
    """Give the axes of all frames the place that every frame has room for, so that nothing jumps."""
    for figure in figures:
        figure.draw_without_rendering()
    if len({len(figure.axes) for figure in figures}) > 1:
        raise ValueError("every frame must have the same number of axes")
    for axes in zip(*(figure.axes for figure in figures), strict=True):
        corners = np.array([ax.get_position(original=True).get_points() for ax in axes])
        low, high = corners[:, 0].max(axis=0), corners[:, 1].min(axis=0)
        for ax in axes:
            ax.figure.set_layout_engine("none")
            ax.set_position([*low, *(high - low)])


def _picture(figure: Figure, form: str) -> str:
    """The figure as an address that holds it."""
    file = io.BytesIO()
    figure.savefig(file, format=form, metadata=_METADATA[form])
    kind = {"svg": "svg+xml", "png": "png"}[form]
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
