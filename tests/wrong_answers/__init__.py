"""The bank of wrong answers: implementations that people really write, each of which the tests must reject.

A module here is named like the chapter whose tests its functions should fail:

    @wrong(replaces="density", trap="E75", hint="standard deviation")
    def density_with_the_variance_as_scale(x, mean=0.0, variance=1.0):
        return stats.norm.pdf(x, mean, variance)

puts this function in the place of `density`, and asks that a test fails and says "standard deviation" when it does.
`tests.bank` runs them.
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple

from beartype import beartype
from jaxtyping import jaxtyped


class WrongAnswer(NamedTuple):
    """A function that is wrong, what it stands in for, where it comes from, and what a learner should be told."""

    chapter: str
    replaces: str
    trap: str
    hint: str
    function: Callable

    @property
    def name(self) -> str:
        return self.function.__name__


_answers: dict[str, list[WrongAnswer]] = {}


def wrong(*, replaces: str, hint: str, trap: str = "classic"):
    """Enter the decorated function in the bank; `hint` is a part of what a test must say when it rejects it.

    Args:
        replaces: the public name of the chapter that it stands in for.
        hint: words that a message must contain, as they are.
        trap: its number in our list of traps that people fell into, or "classic".
    """

    def enter(function):
        module = function.__module__
        answer = WrongAnswer(module.rpartition(".")[2], replaces, trap, hint, jaxtyped(function, typechecker=beartype))
        _answers.setdefault(module, []).append(answer)
        return function

    return enter


def answers(module: str) -> list[WrongAnswer]:
    """Every wrong answer of one module, "tests.wrong_answers.gaussians" for instance."""
    importlib.import_module(module)
    return _answers[module]
