"""The order of the house: every chapter has its four rooms, arrows run one way, the prose types no numbers by hand."""

import ast
import json
import os
import re
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest
import yaml
from scipy import stats

from book.recorded import coupling as recorded_flows
from book.recorded import mnist as recorded_mnist
from course import baselines, claims, sources
from course.sources import ROOT
from solutions import datasets, noise_contrastive

pytestmark = pytest.mark.machinery
CHAPTERS = sources.chapters()
GROUND_FLOOR = ["checks", "randomness", "tensors", "networks", "stirling", "estimate", "mixtures", "datasets"]
LIBRARIES = {"numpy", "scipy", "torch", "jaxtyping", "sklearn", "pooch", "requests", "tqdm", "joblib"}


def order_of_book() -> list[str]:
    """The pages in the order of the table of contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [Path(c["file"]).name for part in toc["parts"] for c in part["chapters"]]


def imports_of(path: Path) -> set[str]:
    """The names of all modules a file imports, in full: `solutions.gaussians`, `numpy`, ..."""
    names = set()
    for node in ast.walk(ast.parse(sources.code_of(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
            if node.module in {"solutions", "course", "tests"}:
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_every_chapter_has_its_four_rooms():
    listed = [name for name in order_of_book() if (ROOT / "solutions" / f"{name}.py").exists()]
    rooms = {
        "book": {p.stem for p in (ROOT / "book").glob("*.md") if "kernelspec:" in p.read_text()},
        "solutions": {p.stem for p in (ROOT / "solutions").glob("*.py")} - {"__init__", *GROUND_FLOOR},
        "tests/notebooks": {p.stem for p in (ROOT / "tests/notebooks").glob("*.ipynb")},
        "tests/wrong_answers": {p.stem for p in (ROOT / "tests/wrong_answers").glob("*.py")}
        - {"__init__", *GROUND_FLOOR},
    }
    for room, names in rooms.items():
        assert names == set(listed), f"{room} holds {sorted(names)}, the table of contents {listed}"
    missing = [name for name in listed if not (ROOT / "tests" / f"test_{name}.py").exists()]
    assert not missing, f"no tests for {missing}"


@pytest.mark.parametrize("module", sorted((ROOT / "solutions").glob("*.py")), ids=lambda path: path.stem)
def test_solutions_import_only_what_they_may(module):
    """A chapter's module imports libraries, the ground floor, and chapters before it; never `course` or `tests`."""
    order = [*GROUND_FLOOR, *order_of_book()]
    for name in imports_of(module):
        top, _, inner = name.partition(".")
        if top == "solutions" and inner:
            assert inner in GROUND_FLOOR or order.index(inner) < order.index(module.stem), (
                f"{module.stem} needs {inner}"
            )
        elif top != "solutions":
            standard = top in __import__("sys").stdlib_module_names
            assert standard or top in LIBRARIES, f"solutions/{module.name} imports {name}"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_imports_only_what_it_may(chapter):
    ours = {
        n for n in imports_of(ROOT / "book" / f"{chapter}.md") if n.split(".")[0] in {"course", "tests", "benchmarks"}
    }
    assert ours <= {"course", "course.plots", "course.prose"}


def prose_of(page: Path) -> str:
    """What a page says in words and formulas: no front matter, code, options, roles or links."""
    text = re.sub(r"\A---\n.*?\n---\n", "", page.read_text(), flags=re.S)
    text = re.sub(r"^```\{(?:code-cell|literalinclude|eval-rst)\}.*?^```", "", text, flags=re.M | re.S)
    text = re.sub(r"^```\s*\n.*?^```", "", text, flags=re.M | re.S)
    text = re.sub(r"^:\w+:.*$|^`{3,}.*$", "", text, flags=re.M)
    return re.sub(r"\{[\w:]+\}`[^`]*`|`[^`]*`|\]\([^)]*\)", "", text)


def typed_by_hand(text: str) -> list[str]:
    """Decimal numbers in a text. A result belongs in a cell; a parameter can be written as a fraction."""
    return re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d*\.\d)", text)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_result_is_typed_by_hand(chapter):
    allowed = {"1.28", "0.5", "0.1", "1045.43"}  # parameters of the problems
    found = [number for number in typed_by_hand(prose_of(ROOT / "book" / f"{chapter}.md")) if number not in allowed]
    assert not found, f"book/{chapter}.md types {found}; compute them in a cell and `say` them"


def test_a_stale_number_would_be_found():
    assert typed_by_hand("The peak is at 3.9894, not at $3.5$ or 4.") == ["3.9894", "3.5"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_figure_has_alt_text_and_a_caption(chapter):
    for cell in sources._CODE_CELL.findall((ROOT / "book" / f"{chapter}.md").read_text()):
        if ".subplots(" in cell and "def " not in cell:
            assert re.search(r"^:?\s*alt: \S", cell, re.M | re.I) or "alt:" in cell, f"no alt text:\n{cell[:300]}"
            assert "caption:" in cell, f"no caption:\n{cell[:300]}"


SHOWN = re.compile(r"^```\{literalinclude\} (?P<file>\S+)\n(?P<options>(?::.*\n)+)```", re.MULTILINE)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_code_a_chapter_shows_is_there(chapter):
    """What a page includes from a module exists, and holds the lines that the excerpt begins and ends with."""
    page = ROOT / "book" / f"{chapter}.md"
    for block in SHOWN.finditer(page.read_text(encoding="utf-8")):
        options = dict(re.findall(r"^:([\w-]+): ?(.*)$", block["options"], re.MULTILINE))
        source = (page.parent / block["file"]).read_text(encoding="utf-8")
        node, shown, name = ast.parse(source), source, options.get("pyobject", block["file"])
        if "pyobject" in options:
            for part in name.split("."):
                node = next((inner for inner in getattr(node, "body", []) if getattr(inner, "name", 0) == part), None)
            shown = node and ast.get_source_segment(source, node)
        assert shown, f"{page.name} shows {name}, which {block['file']} does not have"
        begin = shown.find(options.get("start-at", ""))
        assert begin >= 0, f"{page.name}: no '{options['start-at']}' in {name}"
        assert options.get("end-at", "") in shown[begin:], f"{page.name}: no '{options['end-at']}' after it in {name}"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_cells_are_short(chapter):
    lengths = [
        len(c.source.splitlines())
        for c in jupytext.read(ROOT / "book" / f"{chapter}.md").cells
        if c.cell_type == "code"
    ]
    assert sorted(lengths)[len(lengths) // 2] <= 10, (
        f"the median cell of {chapter} has {sorted(lengths)[len(lengths) // 2]} lines"
    )


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_baseline_is_its_chapter(chapter):
    kept = nbformat.read(ROOT / "tests/notebooks" / f"{chapter}.ipynb", as_version=4)
    assert not drift(baselines.notebook_of(ROOT / "book" / f"{chapter}.md"), kept), (
        f"run make baselines CHAPTERS={chapter}"
    )


def drift(now, kept) -> list[str]:
    """The cells in which a chapter and its baseline differ."""
    ours, theirs = ([(c.cell_type, c.source) for c in nb.cells] for nb in (now, kept))
    return [source for kind, source in ours if (kind, source) not in theirs] + (
        ["cells were removed"] if len(ours) < len(theirs) else []
    )


def test_drift_is_noticed():
    now, kept = (nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]) for source in ("x = 1", "x = 2"))
    assert drift(now, kept) == ["x = 1"]
    assert not drift(now, now)


def test_baselines_are_small():
    size = sum(p.stat().st_size for p in (ROOT / "tests/notebooks").glob("*.ipynb"))
    assert size < 100_000 * len(CHAPTERS)


def test_the_recorded_study_is_what_the_code_gives_today():
    """The first errors that `noise_contrastive` shows as recorded are those of its `study`, run again."""
    record = json.loads((ROOT / "book/recorded/noise_contrastive.json").read_text(encoding="utf-8"))
    noise = stats.multivariate_normal([1.5, 1.5], 4 * np.eye(2))
    runs = noise_contrastive.study(np.random.default_rng(record["seed"]), [100, 1000], 3, noise=noise)
    for part in record["parts"]:
        if (part["how"], part["ratio"]) == ("nce", 1) and part["size"] in runs["size"]:
            again = runs[(runs["size"] == part["size"]) & (runs["normaliser"] == part["normaliser"])]
            np.testing.assert_allclose(again["error"], part["errors"][:3], rtol=0, atol=2e-5)


def test_a_recorded_flow_is_what_the_code_gives_today():
    """The first flow that `coupling` shows as recorded, trained again, has that excess to within five of its errors."""
    record = json.loads((ROOT / "book/recorded/coupling.json").read_text(encoding="utf-8"))
    part = record["parts"][0]
    options = [part[name] for name in ("law", "layers", "steps", "bound", "spread")]
    again, kept = recorded_flows.run(*options, seed=0), part["runs"][0]
    assert abs(again["excess"] - kept["excess"]) < 5 * kept["error"], f"{again} now, recorded {kept}"


def test_a_run_on_mnist_goes_on_where_it_broke_off(tmp_path, monkeypatch):
    """Stopped after an epoch and begun again, it comes to the same as without a stop; then nothing is left of it."""
    images = datasets.digits()
    brief = recorded_mnist.SETTINGS["published"]._replace(rates=[1e-3, 1e-3, 1e-4])
    monkeypatch.setattr(recorded_mnist, "UNFINISHED", tmp_path)
    monkeypatch.setattr(recorded_mnist, "SETTINGS", {"brief": brief})
    monkeypatch.setattr(recorded_mnist, "DRAWS", [1, 3])
    monkeypatch.setattr(recorded_mnist, "MANY", 7)
    want = recorded_mnist.run(images, "brief", "iwae", 2, 0)
    keep = recorded_mnist.keep

    def keep_and_break(*arguments):
        keep(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(recorded_mnist, "keep", keep_and_break)
    with pytest.raises(KeyboardInterrupt):
        recorded_mnist.run(images, "brief", "iwae", 2, 0)
    monkeypatch.setattr(recorded_mnist, "keep", keep)
    assert [path.suffix for path in tmp_path.iterdir()] == [".pt"]
    got = recorded_mnist.run(images, "brief", "iwae", 2, 0)
    assert got | {"training_seconds": 0} == want | {"training_seconds": 0}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="MNIST_DIR names no folder with the real MNIST")
def test_the_recorded_runs_on_mnist_begin_as_the_code_does_today(tmp_path, monkeypatch):
    """The first epoch of the first run, again: rounding takes other turns elsewhere, but the mean over it stays."""
    record = json.loads((ROOT / "book/recorded/mnist.json").read_text(encoding="utf-8"))
    options = [record["parts"][0][name] for name in recorded_mnist.NAMES]
    images, one = datasets.mnist(), recorded_mnist.SETTINGS[options[0]]._replace(rates=[1e-3])
    monkeypatch.setattr(recorded_mnist, "UNFINISHED", tmp_path)
    monkeypatch.setitem(recorded_mnist.SETTINGS, options[0], one)
    _, history, _ = recorded_mnist.trained(images.train, images.test, *options)
    assert abs(history[0][0] - record["parts"][0]["train"][0]) < 1, f"{history[0][0]} now"


def test_every_claim_has_a_check_and_every_check_a_claim():
    assert claims.mismatches() == []


def test_versions_agree():
    """The version stands in three places; they say the same."""
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_requirements_are_pinned():
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", line), f"not pinned: {line}"
