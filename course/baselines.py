"""Regression baselines: each chapter as an executed notebook under `tests/notebooks/`, which nbval runs again.

`python -m course.baselines` writes them. A baseline holds the chapter's cells and the text they print; figures are
left out (the text says what they show). `Reading` is how two outputs are compared: the words exactly; a number with an
error, `a ± s`, if the two differ by at most five combined standard errors, their errors by no more than a factor of
two; an integer exactly; any other number to 1e-6 of itself.
"""

import math
import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import jupytext
import nbformat

from course.sources import ROOT, chapters

KEPT = ("text/plain", "text/latex", "application/papermill.record/text/plain")
RELATIVE, ABSOLUTE, STANDARD_ERRORS, ERROR_RATIO = 1e-6, 1e-12, 5.0, 2.0
_NUMBER = r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\b(?:nan|inf)\b"
_READING = re.compile(rf"({_NUMBER})(?:(\s*±\s*)({_NUMBER}))?")


class Reading(str):
    """A printed text; equal to another if the words agree exactly and the numbers as closely as they claim to."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        """Whether the two texts report the same results."""
        if not isinstance(other, str):
            return NotImplemented
        mine, theirs = list(_READING.finditer(self)), list(_READING.finditer(other))
        same_words = _READING.sub("#", self) == _READING.sub("#", other)
        return same_words and len(mine) == len(theirs) and all(map(_agree, mine, theirs))

    def __ne__(self, other: object) -> bool:
        """The opposite of being equal."""
        return not self == other

    __hash__ = str.__hash__


def _agree(one: re.Match, other: re.Match) -> bool:
    if (one[3] is None) != (other[3] is None):
        return False
    a, b = _value(one[1]), _value(other[1])
    if one[3] is None:
        whole = not re.search(r"[.eEn]", one[1] + other[1])
        return a == b if whole else math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE) or (a != a and b != b)
    s, t = _value(one[3]), _value(other[3])
    if s == 0 or t == 0:
        return s == t and math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return abs(a - b) <= STANDARD_ERRORS * math.hypot(s, t) and 1 / ERROR_RATIO <= s / t <= ERROR_RATIO


def _value(text: str) -> float:
    return float(text.replace(",", ""))


def notebook_of(page: Path) -> nbformat.NotebookNode:
    """A chapter as a notebook that has not been run, the same every time."""
    notebook = jupytext.read(page)
    notebook.metadata = {"kernelspec": dict(notebook.metadata["kernelspec"]), "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{page.stem}-{number}"
    return notebook


def baseline_of(page: Path) -> nbformat.NotebookNode:
    """A chapter as a notebook with the text that its cells print."""
    from nbclient import NotebookClient

    notebook = notebook_of(page)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(page.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [_slim(output) for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def _slim(output):
    if "data" in output:
        output["data"] = {kind: text for kind, text in output["data"].items() if kind in KEPT}
        output["metadata"] = {}
    return output


def write(page: Path, folder: Path) -> Path:
    """Write a chapter's baseline, all of it or nothing."""
    target = folder / f"{page.stem}.ipynb"
    unfinished = target.with_suffix(".unfinished")
    nbformat.write(baseline_of(page), unfinished)
    return unfinished.replace(target)


def main(names: list[str]) -> int:
    """Write the baselines of the named chapters, or of all."""
    if unknown := sorted(set(names) - set(chapters())):
        print(f"no such chapter: {', '.join(unknown)}; there are {', '.join(chapters())}", file=sys.stderr)
        return 2
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    pages = [ROOT / "book" / f"{name}.md" for name in names or chapters()]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for path in pool.map(write, pages, [ROOT / "tests" / "notebooks"] * len(pages)):
            print(f"  {path.relative_to(ROOT)}  {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
