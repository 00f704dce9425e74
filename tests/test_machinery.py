"""The guards of the house, each broken once on purpose."""

import ast
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from docutils import nodes, utils

from book.recorded import keeping
from course import claims, pages, sources
from course.baselines import Reading
from course.prose import scientific
from course.sources import ROOT

pytestmark = pytest.mark.machinery


# How a chapter is compared with its baseline


@pytest.mark.parametrize(
    ("kept", "new"),
    [
        ("exact 0.5641895835", "exact 0.5641895838"),
        ("mean 10.02 ± 0.01", "mean 10.08 ± 0.01"),
        ("mean 1.2e-06 ± 2.9e-07", "mean 2.6e-06 ± 3.5e-07"),
        ("n = 10,000 draws", "n = 10,000 draws"),
        ("[nan, inf]", "[nan, inf]"),
        ("0.0", "1e-17"),
    ],
)
def test_readings_that_agree(kept, new):
    assert Reading(kept) == Reading(new)


@pytest.mark.parametrize(
    ("kept", "new"),
    [
        ("exact 0.5641895", "exact 0.5641915"),  # moved by more than 1e-6 of itself
        ("mean 10.02 ± 0.01", "mean 10.10 ± 0.01"),  # more than five combined standard errors
        ("mean 10.02 ± 0.01", "mean 10.02 ± 0.04"),  # an error four times as large would hide anything
        ("mean 10.02 ± 0.01", "mean 10.02"),  # the error is gone
        ("n = 1000000", "n = 1000001"),  # integers are exact
        ("slope +0.5", "slope -0.5"),
        ("variance 0.5", "std 0.5"),  # the words are exact
        ("[1.0, 2.0]", "[1.0, 2.0, 3.0]"),
        ("0.5", "nan"),
    ],
)
def test_readings_that_disagree(kept, new):
    assert Reading(kept) != Reading(new)
    assert Reading(new) != Reading(kept)


def test_nbval_uses_these_readings(tmp_path):
    """A notebook whose number moved by 1e-5 fails under nbval with our comparison; one by 1e-8 passes."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/notebooks/conftest.py").read_text())
    for name, number in [("moved", "0.50001"), ("same", "0.500000001")]:
        output = {"output_type": "stream", "name": "stdout", "text": "value 0.5\n"}
        cell = {
            "cell_type": "code",
            "execution_count": 1,
            "id": "a",
            "metadata": {},
            "source": f"print('value', {number})",
            "outputs": [output],
        }
        spec = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        notebook = {"cells": [cell], "metadata": spec, "nbformat": 4, "nbformat_minor": 5}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "-q",
        "-p",
        "no:cacheprovider",
        "-rA",
        ".",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.search(r"FAILED moved\.ipynb", run.stdout), run.stdout
    assert re.search(r"PASSED same\.ipynb", run.stdout), run.stdout


# The ledger of claims


def house(folder: Path, page: str, test: str) -> Path:
    """A house with one page and one test module."""
    for name, text in {
        "book/x.md": page,
        "tests/test_x.py": test,
        "tests/conftest.py": "",
        "tests/__init__.py": "",
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    (folder / "_toc.yml").write_text("- file: book/x\n")
    (folder / "pyproject.toml").write_text("")
    return folder


THEOREM = "```{prf:theorem} Title\n:label: thm-a\n\nTwo is two.\n```\n"
CHECK = "import pytest\n\n@pytest.mark.claim('thm-a')\ndef test_a():\n    assert True\n"


def test_a_balanced_ledger(tmp_path):
    assert claims.mismatches(house(tmp_path, THEOREM, CHECK)) == []


@pytest.mark.parametrize(
    ("page", "test", "complaint"),
    [
        (THEOREM, "", "no test checks the claim thm-a"),
        ("", CHECK, "checks the claim thm-a, which the book does not make"),
        (THEOREM.replace(":label: thm-a\n", ""), "", "a claim has no label"),
        (THEOREM * 2, CHECK, "stands on 2 claims"),
        (THEOREM.replace("```", ":::"), "", "no test checks the claim thm-a"),
    ],
)
def test_an_unbalanced_ledger(tmp_path, page, test, complaint):
    (sentence,) = claims.mismatches(house(tmp_path, page, test))
    assert complaint in sentence


@pytest.fixture
def checked_house(tmp_path):
    """A house in which checks can run."""
    root = house(tmp_path, THEOREM, CHECK)
    (root / "tests/conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (root / "tests/honest.py").write_text("performed = []\n")
    (root / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\nmarkers = ["claim"]\n')
    return root


@pytest.mark.parametrize(
    ("body", "outcome"),
    [("assert 2 == 3", "failed"), ("pytest.skip('later')", "skipped"), ("1 / 0", "failed")],
)
def test_a_claim_that_was_not_shown_to_hold(checked_house, body, outcome):
    """A check that fails, breaks or is skipped is a complaint, and is tried again in the next build."""
    module = checked_house / "tests/test_x.py"
    module.write_text(CHECK.replace("assert True", body))
    rows, (complaint,) = claims.ledger(checked_house / "store", checked_house)
    assert f"thm-a was not shown to hold: tests/test_x.py::test_a {outcome}" in complaint
    assert [row["outcome"] for row in rows["thm-a"]] == [outcome]
    assert not list((checked_house / "store").glob("*.json"))


@pytest.mark.parametrize("mark", ["@pytest.mark.skip('later')", "@pytest.mark.usefixtures('no_such_fixture')"])
def test_a_check_that_never_begins_is_a_complaint(checked_house, mark):
    (checked_house / "tests/test_x.py").write_text(CHECK.replace("def test_a", f"{mark}\ndef test_a"))
    rows, (complaint,) = claims.ledger(checked_house / "store", checked_house)
    assert "thm-a was not shown to hold" in complaint
    assert [row["outcome"] for row in rows["thm-a"]] != ["passed"]


def test_checks_that_cannot_run(checked_house):
    (checked_house / "tests/test_x.py").write_text("import nowhere\n" + CHECK)
    _, (complaint,) = claims.ledger(checked_house / "store", checked_house)
    assert "the checks did not run" in complaint


def test_a_check_that_held_is_not_run_again(checked_house):
    for _ in range(2):
        rows, complaints = claims.ledger(checked_house / "store", checked_house)
        assert not complaints
        assert [row["outcome"] for row in rows["thm-a"]] == ["passed"]
        (kept,) = (checked_house / "store").glob("*.json")
        kept.write_text(kept.read_text().replace("test_a", "kept"))
    assert rows["thm-a"][0]["says"] == "kept"


# The claims that a run of the unit tests has checked

# Indented here, lest its marks be taken for those of this very module.
THREE = textwrap.dedent("""
    import pytest
    from pathlib import Path

    @pytest.mark.claim("thm-a")
    @pytest.mark.parametrize("n", [3, 1, 2])
    def test_cases(n):
        assert n

    @pytest.mark.claim("thm-a", kind="symbolic")
    def test_a():
        \"\"\"Two is two.\"\"\"

    def test_of_something_else():
        pass
    """)


def run_unit(root: Path, *arguments: str) -> list[Path]:
    """Run the tests of a house as `make unit` does; the results that are kept then."""
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:nbval", "--keep-claims=store", *arguments]
    subprocess.run([sys.executable, "-m", "pytest", *options], cwd=root, capture_output=True, check=False)
    return sorted((root / "store").glob("*"))


def rows_without_seconds(kept: Path) -> list[dict]:
    return [{**row, "seconds": 0.0} for row in json.loads(kept.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_unit_run_leaves_what_a_build_would_find_out(checked_house, workers, monkeypatch):
    """The same file, of the same rows in the same order; the build takes it, but not once the module has changed."""
    module, store = checked_house / "tests/test_x.py", checked_house / "store"
    module.write_text(THREE)
    (kept,) = run_unit(checked_house, "-n", workers)
    claims.run_checks(module, checked_house / "other", checked_house)
    (by_build,) = (checked_house / "other").glob("*")
    assert kept.name == by_build.name
    assert rows_without_seconds(kept) == rows_without_seconds(by_build)
    kept.write_text(kept.read_text().replace("Two is two", "kept"))
    assert claims.ledger(store, checked_house)[0]["thm-a"][1]["says"] == "kept."
    monkeypatch.setenv("RESEED", "17")
    assert not claims.kept_at(module, store, checked_house).exists()
    monkeypatch.delenv("RESEED")
    module.write_text(THREE + "\n")
    assert not claims.kept_at(module, store, checked_house).exists()


def test_only_modules_that_held_and_stayed_as_they_were_are_kept(checked_house):
    """Of five modules: a check fails, a case is skipped, another test fails, the file changes, all is well."""
    changes = {
        "fails": ("assert n", "assert n != 2"),
        "skips": ("assert n", "pytest.skip('later') if n == 2 else None"),
        "other": ("    pass", "    assert False"),
        "moves": ("assert n", "Path(__file__).open('a').write('#')"),
    }
    for name, change in changes.items():
        (checked_house / f"tests/test_{name}.py").write_text(THREE.replace(*change))
    (kept,) = run_unit(checked_house)
    assert kept.name.startswith("test_x-")


@pytest.mark.parametrize("selection", [["-k", "not 3"], ["tests/test_x.py::test_cases"]], ids=["deselected", "named"])
def test_a_run_of_some_checks_leaves_nothing(checked_house, selection):
    (checked_house / "tests/test_x.py").write_text(THREE)
    assert run_unit(checked_house, *selection) == []


# What is executed anew


@pytest.fixture
def repository(tmp_path):
    """A chapter that imports a, which imports b; and c, which nobody needs."""
    files = {
        "book/page.md": "---\nkernelspec:\n  x: y\n---\nWords.\n```{code-cell} python3\nfrom solutions import a\n```\n",
        "solutions/__init__.py": "",
        "solutions/a.py": "from solutions.b import one\n\nTABLE = 'table.json'\n",
        "solutions/b.py": "one = 1\n",
        "solutions/c.py": "from solutions.a import one\n",
        "solutions/table.json": "{}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "matters"),
    [("a.py", True), ("b.py", True), ("__init__.py", True), ("table.json", True), ("c.py", False)],
)
def test_a_chapter_rests_on_what_it_imports(repository, file, matters):
    page = repository / "book/page.md"
    before = sources.digest_of_imports(page, repository)
    path = repository / "solutions" / file
    path.write_text(path.read_text() + "\n")
    assert (sources.digest_of_imports(page, repository) != before) is matters


def test_a_page_does_not_rest_on_itself(repository):
    """Its cells are part of the cache's key already; its words need no new run."""
    page = repository / "book/page.md"
    before = sources.digest_of_imports(page, repository)
    page.write_text(page.read_text().replace("Words", "Other words"))
    assert sources.digest_of_imports(page, repository) == before


MODULES = [path for folder in ("solutions", "course", "tests", "book") for path in (ROOT / folder).rglob("*.py")]
HOUSE = sorted([*MODULES, *(ROOT / "book").glob("*.md")])


@pytest.mark.parametrize("path", HOUSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_quick_reading_misses_nothing_that_the_parser_finds(path):
    """The imports of this house, the files that a module names, and the labels that its tests carry."""
    tree = list(ast.walk(ast.parse(sources.code_of(path))))
    modules = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    for node in (node for node in tree if isinstance(node, ast.ImportFrom) and not node.level):
        modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    texts = {node.value for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    files = {found.name for found in path.parent.iterdir() if found.is_file()}
    calls = [node for node in tree if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    labels = [call.args[0].value for call in calls if call.func.attr == "claim" and call.args]
    quick_modules, quick_files = sources._names_in(path, path.read_text(encoding="utf-8"), ROOT)
    assert modules <= quick_modules
    assert texts & files <= quick_files
    assert sorted(claims.checks_in(path)) == sorted(labels)


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("import a.b, solutions.c as c", "solutions.c"),
        ("    from . import (\n    c,  # (why)\n    d as e,\n)", "solutions.c"),
        ("from ..solutions import d as c", "solutions.d"),
        ("from .c import one", "solutions.c.one"),
    ],
)
def test_an_import_is_found_however_it_is_written(line, module):
    assert module in sources._names_in(ROOT / "solutions/x.py", line, ROOT)[0]


def test_a_version_matters(repository, monkeypatch):
    page = repository / "book/page.md"
    before = sources.digest_of_imports(page, repository)
    monkeypatch.setattr(sources, "_libraries", lambda: "numpy-0.0")
    assert sources.digest_of_imports(page, repository) != before


def test_numbers_as_people_write_them():
    assert scientific(1.80e-80) == "1.8\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10⁻⁸⁰"
    assert scientific(3.2e7, 1) == "3\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10⁷"


# What a build says


def test_a_build_says_its_warnings_again_at_its_end(tmp_path):
    """One broken link: its warning is the last thing on the screen, where one looks, and once under that heading."""
    (tmp_path / "index.md").write_text("# Title\n\nSee [](nowhere.md).\n")
    settings = ["-D", "extensions=myst_nb,course.execution", "-D", "root_doc=index", "-C", "-b", "html"]
    command = [sys.executable, "-m", "sphinx", *settings, str(tmp_path), str(tmp_path / "html")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    body, _, end = run.stdout.partition("warnings, once more")
    assert "nowhere.md" in run.stderr
    assert "nowhere.md" not in body
    assert next(filter(str.strip, end.splitlines()), "").count("nowhere.md") == 1, run.stdout


# What is kept of runs that take minutes


def test_an_interrupted_recording_goes_on_where_it_was(tmp_path):
    """Parts that are there are not run again, in whatever order they are wanted; the file is whole at any moment."""
    path, ran = tmp_path / "study.json", []

    def run(name, size):
        if name == "broken":
            raise KeyboardInterrupt
        ran.append(name)
        return {"value": size**2}

    options = {"names": ["name", "size"], "libraries": ["numpy"], "seed": 7}
    with pytest.raises(KeyboardInterrupt):
        keeping.record(path, [("a", 2), ("broken", 3)], run, **options)
    keeping.record(path, [("b", 5), ("a", 2)], run, **options)
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert ran == ["a", "b"]
    assert list(tmp_path.iterdir()) == [path]
    assert kept["parts"] == [{"name": "b", "size": 5, "value": 25}, {"name": "a", "size": 2, "value": 4}]
    assert (kept["command"], kept["seed"]) == ("python -m book.recorded.study", 7)
    assert "numpy" in kept["versions"]


# How a page is set


def test_a_mark_is_bound_to_its_own_formula():
    """Also where a comma that belongs to no formula stands earlier: each formula keeps its own, and no word is lost."""
    document = utils.new_document("page")
    parts = [nodes.emphasis("", "So"), nodes.Text(", "), nodes.math("", "x"), nodes.Text(", "), nodes.math("", "y")]
    document += nodes.paragraph("", "", *parts, nodes.Text(". Then the rest."))
    pages._bind(None, document)
    assert document.astext() == "So, x, y. Then the rest."
    assert [bound.astext() for bound in document.findall(nodes.inline)] == ["x,", "y."]
