"""Grade a learner's functions with the very tests that hold ours: `python -m course.grading FOLDER`.

The folder, or a folder `solutions` in it, holds files named like ours: `gaussians.py`, `high_dimensions.py`, ...
A chapter without a file is not attempted, nor is a function that is missing or raises NotImplementedError. Each
chapter's tests run in a process of their own, in which the learner's file stands in front of ours, and which writes
down what it is going to run, and then how each test went: what is not written down has failed. (That holds against
accidents, not against malice: it is a self-check, not an examination.)

The second half of this file is the pytest plugin of that process: `pytest -p course.grading --record=... --attempt=...`
"""

import argparse
import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PASSED, FAILED, NOT_ATTEMPTED = "passed", "failed", "not attempted"
SIGNS = {PASSED: "✓", FAILED: "✗", NOT_ATTEMPTED: "–"}
LINES = 8  # of a message; the first ones say what is wrong


class Check(NamedTuple):
    """One test of a chapter: which function it is about, what it says, how it went, and the first complaint."""

    chapter: str
    function: str
    says: str
    outcome: str
    message: str


def grade(folder: Path, timeout: float = 120.0) -> list[Check]:
    """Return the checks of every chapter for which the folder has a file."""
    folder = folder / "solutions" if (folder / "solutions").is_dir() else folder
    chapters = [path.stem for path in sorted((ROOT / "solutions").glob("[!_]*.py"))]
    attempts = [folder.resolve() / f"{chapter}.py" for chapter in chapters if _tests(chapter).exists()]
    return [check for attempt in attempts if attempt.exists() for check in _grade_chapter(attempt, timeout)]


def _grade_chapter(attempt: Path, timeout: float) -> list[Check]:
    chapter = attempt.stem
    records, ending = _run(attempt, timeout)
    error = next((record["error"] for record in records if "error" in record), None)
    collected = next((record["collected"] for record in records if "collected" in record), [])
    if error or not collected:
        message = error or f"{chapter}.py could not be imported: Python {ending}"
        return [Check(chapter, chapter, f"{chapter}.py can be imported", FAILED, message)]
    results = {record["test"]: record for record in records if "test" in record}
    begun = [record["begun"] for record in records if "begun" in record]
    last = {"outcome": FAILED, "message": f"no result: Python {ending}"}
    later = {"outcome": FAILED, "message": "not reached: Python ended in an earlier test"}
    runs = [{**test, **results.get(test["test"], last if test["test"] in begun else later)} for test in collected]
    names = _public_names(ROOT / "solutions" / f"{chapter}.py")
    by_test = groupby(runs, key=lambda run: run["test"].partition("[")[0])
    checks = [_summary(chapter, names, test, list(cases)) for test, cases in by_test]
    order = [*names, chapter]
    return sorted(checks, key=lambda check: order.index(check.function))


def _summary(chapter: str, names: list[str], test: str, cases: list[dict]) -> Check:
    """One check from all cases of a parametrised test: as bad as the worst of them."""
    outcomes = [case["outcome"] for case in cases]
    outcome = next(worst for worst in (FAILED, NOT_ATTEMPTED, PASSED) if worst in outcomes)
    message = next((case["message"] for case in cases if case["outcome"] == FAILED), "")
    if outcome == FAILED and len(cases) > 1:
        message += f"\n({outcomes.count(FAILED)} of {len(cases)} cases fail; this is the first)"
    name = test.rpartition("::")[2].removeprefix("test_")
    about = [n for n in names if f"{name}_".startswith(f"{snake(n)}_")]
    return Check(chapter, max(about, key=len, default=chapter), cases[0]["says"], outcome, message)


def _run(attempt: Path, timeout: float) -> tuple[list[dict], str]:
    """Run a chapter's tests with this plugin; return what it recorded, and how it ended.

    The attempt is copied to a place of its own, lest the learner's other files stand in front of ours as well.
    """
    with tempfile.TemporaryDirectory() as scratch:
        record, alone = Path(scratch, "record.jsonl"), Path(scratch, "attempt", attempt.name)
        alone.parent.mkdir()
        shutil.copy(attempt, alone)
        arguments = ["-p", "course.grading", f"--record={record}", f"--attempt={alone}", str(_tests(attempt.stem))]
        try:
            process = run_pytest(arguments, timeout)
            tail = "\n".join((process.stdout + process.stderr).strip().splitlines()[-LINES:])
            ending = f"ended with exit status {process.returncode}\n{tail}"
        except subprocess.TimeoutExpired:
            ending = f"did not come to an end within {timeout:g} seconds"
        lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    return [json.loads(line) for line in lines], ending


def run_pytest(arguments: list[str], timeout: float | None = None) -> subprocess.CompletedProcess:
    """Run pytest at the project's root, in a process of its own that knows nothing of a pytest it was started by."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:nbval", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        command, cwd=ROOT, env=environment, timeout=timeout, capture_output=True, text=True, check=False
    )


def show(checks: list[Check]) -> str:
    """The report for a reader: chapter by chapter and function by function, with what is wrong."""
    lines = []
    for (chapter, function), group in groupby(checks, key=lambda check: (check.chapter, check.function)):
        lines += ["", f"{chapter}.{function}" if function != chapter else f"{chapter}, as a whole"]
        for check in group:
            lines.append(f"  {SIGNS[check.outcome]} {check.says}")
            lines += textwrap.indent(check.message, " " * 6).splitlines()
    return "\n".join(lines)


def verdict(checks: list[Check]) -> str:
    """One sentence on the whole."""
    counts = {outcome: sum(check.outcome == outcome for check in checks) for outcome in SIGNS}
    if not counts[PASSED] + counts[FAILED]:
        return "Nothing was attempted yet."
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) + "."


def main(arguments: list[str] | None = None) -> int:
    """Grade the folder named on the command line: 0 if all that was attempted is right, 1 if not, 2 for misuse."""
    parser = argparse.ArgumentParser(prog="course.grading", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where your gaussians.py, high_dimensions.py, ... are")
    parser.add_argument("--report", type=Path, help="write the results to this JSON file too, as Gradescope reads them")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for each chapter (%(default)g)")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"there is no folder {options.folder}")
    checks = grade(options.folder, options.timeout)
    print(show(checks), verdict(checks), sep="\n\n")
    if options.report:
        options.report.write_text(json.dumps(_gradescope(checks), indent=1, ensure_ascii=False), encoding="utf-8")
    outcomes = {check.outcome for check in checks}
    return 0 if PASSED in outcomes and FAILED not in outcomes else 1


def _gradescope(checks: list[Check]) -> dict:
    tests = [
        {
            "name": f"{check.chapter}.{check.function}: {check.says}",
            "score": int(check.outcome == PASSED),
            "max_score": 1,
            "status": PASSED if check.outcome == PASSED else FAILED,
            "output": check.message or check.outcome,
        }
        for check in checks
    ]
    return {"output": verdict(checks), "tests": tests}


def _tests(chapter: str) -> Path:
    return ROOT / "tests" / f"test_{chapter}.py"


def _public_names(path: Path) -> list[str]:
    """The functions and classes a module defines, in its order."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return [n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]


def snake(name: str) -> str:
    """The name as it stands in the names of its tests: MixtureCDF is mixture_cdf there."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


# The plugin


def explain(error: BaseException, source: str = "") -> str:
    """What an exception says, and, unless a test raised it on purpose, where in the source file it came from."""
    text = str(error) if isinstance(error, AssertionError) and str(error) else f"{type(error).__name__}: {error}"
    lines = text.strip().splitlines()
    told = [line for line in lines if not line.lstrip().startswith(("+  where", "+    where", "assert "))]
    text = "\n".join((told or lines)[:LINES])
    trace, line = error.__traceback__, None
    while trace and not isinstance(error, AssertionError):
        if source and Path(trace.tb_frame.f_code.co_filename) == Path(source):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{text}\n(line {line} of {Path(source).name})" if line else text


def pytest_addoption(parser):
    """Two options: what to grade, and where to write how it went."""
    parser.addoption("--attempt", type=Path, help="a chapter's file to put in the place of ours")
    parser.addoption("--record", type=Path, help="write what is to be run, and then each result, as lines of JSON")


def pytest_sessionstart(session):
    """Import the attempt before any test does, so that what goes wrong there is told apart."""
    attempt = session.config.getoption("attempt")
    if not attempt:
        return
    import solutions

    solutions.__path__.insert(0, str(attempt.parent))
    try:
        importlib.import_module(f"solutions.{attempt.stem}")
    except (Exception, SystemExit) as error:
        _write(session.config, {"error": f"{attempt.name} could not be imported\n{explain(error, str(attempt))}"})
        pytest.exit("the attempt could not be imported", returncode=1)


def pytest_collection_finish(session):
    """Write down what is going to be run."""
    names = {item: item.originalname.removeprefix("test_").replace("_", " ") for item in session.items}
    says = {item: (item.function.__doc__ or name).strip().split("\n")[0] for item, name in names.items()}
    _write(session.config, {"collected": [{"test": item.nodeid, "says": says[item]} for item in session.items]})


def pytest_runtest_call(item):
    """Write down that a test begins, in case it never ends."""
    _write(item.config, {"begun": item.nodeid})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Write down how each test went. A skip is a failure: no test of a chapter skips, so the attempt did."""
    report = yield
    if call.when == "call" or report.failed:
        error, attempt = call.excinfo and call.excinfo.value, item.config.getoption("attempt")
        outcome = NOT_ATTEMPTED if _is_missing(error) else report.outcome.replace("skipped", FAILED)
        message = explain(error, str(attempt or "")) if error else ""
        _write(item.config, {"test": item.nodeid, "outcome": outcome, "message": message})
    return report


def _is_missing(error) -> bool:
    """Whether a test ended because a function of a chapter is not there, or not written."""
    absent = isinstance(error, AttributeError) and getattr(error.obj, "__name__", "").startswith("solutions.")
    return absent or isinstance(error, NotImplementedError)


def _write(config, record: dict) -> None:
    if path := config.getoption("record"):
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
