"""Runs a chapter's tests on its wrong answers: `pytest -p tests.bank --wrong-answers tests.wrong_answers.gaussians ...`

Each wrong answer of that module is put in the place of the right one, and the tests are run on it until one rejects it
with the words its entry asks for: the likeliest to do so first, and of these the quickest. `--bank-report` says, in
JSON, which tests rejected which answer, and with what message; `findings` runs all this and returns what was found.
"""

import importlib
import inspect
import json
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from course.grading import ROOT, explain, run_pytest, snake
from tests.wrong_answers import WrongAnswer, answers


class Finding(NamedTuple):
    """What became of one wrong answer: how many tests ran on it, and which rejected it with what message."""

    hint: str
    ran: int
    rejections: dict[str, str]

    @property
    def hinted(self) -> bool:
        """Whether one of the messages contains the hint."""
        return any(self.hint in message for message in self.rejections.values())

    @property
    def complaint(self) -> str:
        """Why the grader is at fault here; empty where it is not."""
        if not self.ran:
            return "no test ran on it"
        if not self.rejections:
            return f"it passed all {self.ran} tests: a hole in the grader"
        messages = "\n".join(f"{test}:\n{message}" for test, message in list(self.rejections.items())[:5])
        return "" if self.hinted else f"it was rejected, but no message says {self.hint!r}:\n{messages}"


def findings(module: str, *arguments: str) -> dict[str, Finding]:
    """Run the tests of the chapter on its wrong answers, in a process of their own; a finding for each of them."""
    tests = ROOT / "tests" / f"test_{module.rpartition('.')[2]}.py"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        plugin = ["-p", "tests.bank", "--tb=native", f"--wrong-answers={module}", f"--bank-report={report}"]
        process = run_pytest([*plugin, str(tests), *arguments])
        # 0: all tests passed, 1: some failed; anything else is not a result.
        if process.returncode not in (0, 1) or not report.exists():
            raise RuntimeError(f"the bank could not be run:\n{process.stdout}\n{process.stderr}")
        return {name: Finding(**found) for name, found in json.loads(report.read_text(encoding="utf-8")).items()}


# The plugin

_found = pytest.StashKey[dict[str, Finding]]()
_meanwhile = pytest.StashKey[WrongAnswer]()


def pytest_addoption(parser):
    parser.addoption("--wrong-answers", required=True, help="the module with the wrong answers")
    parser.addoption("--bank-report", type=Path, help="write which tests rejected which answer to this JSON file")


def pytest_configure(config):
    config.stash[_found] = {}


def pytest_runtestloop(session):
    """Go through the wrong answers, where pytest would go through the tests."""
    if session.testsfailed:
        return None  # not even collected: pytest says so
    seconds = dict.fromkeys(session.items, 0.0)
    for answer in answers(session.config.getoption("wrong_answers")):
        session.config.stash[_meanwhile] = answer
        session.config.stash[_found][answer.name] = Finding(answer.hint, 0, {})
        for item in sorted(session.items, key=lambda item: (_distance(item, answer), seconds[item])):
            started = time.perf_counter()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=item.parent)  # leaves its module set up
            seconds[item] = time.perf_counter() - started
            if session.config.stash[_found][answer.name].hinted:
                break
    return True


def _distance(item, answer: WrongAnswer) -> int:
    """First the tests in which the hint is written, then those that name the function, then the others of bad input."""
    if answer.hint in _source(item.function):
        return 0
    named = any(name in item.name for name in (answer.replaces, snake(answer.replaces)))
    return 1 if named else 2 if "refuse" in item.name else 3


_source = cache(inspect.getsource)


@pytest.fixture(autouse=True)
def wrong_answer(request, monkeypatch) -> None:
    """Put the wrong answer in the place of the right one, for as long as the test runs."""
    answer = request.config.stash[_meanwhile]
    monkeypatch.setattr(importlib.import_module(f"solutions.{answer.chapter}"), answer.replaces, answer.function)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep the message of each rejection."""
    report = yield
    if call.when == "call" and not report.skipped:
        found, name = item.config.stash[_found], item.config.stash[_meanwhile].name
        rejections = found[name].rejections | ({item.nodeid: explain(call.excinfo.value)} if report.failed else {})
        found[name] = found[name]._replace(ran=found[name].ran + 1, rejections=rejections)
    return report


def pytest_sessionfinish(session):
    if path := session.config.getoption("bank_report"):
        found = {name: finding._asdict() for name, finding in session.config.stash[_found].items()}
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
