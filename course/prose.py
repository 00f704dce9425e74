"""Numbers for the prose: a chapter computes them in a cell, `say`s them, and refers to them in its sentences."""

from myst_nb import glue
from numpy import generic

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def say(**values) -> None:
    """Make each value available to the text under its name: `` {glue:text}`name:.2f` ``."""
    for name, value in values.items():
        glue(name, value.item() if isinstance(value, generic) else value, display=False)


def scientific(value: float, digits: int = 2) -> str:
    """Write a number as people do, 1.8 × 10⁻⁸⁰, with so many significant digits."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10{str(int(exponent)).translate(_SUPERSCRIPT)}"
