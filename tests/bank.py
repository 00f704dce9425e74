"""Runs a chapter's tests on its wrong answers: `pytest -p tests.bank --wrong-answers tests.wrong_answers.gaussians ...`

Every test is run once for each wrong answer of that module, which stands in the place of the right one meanwhile. Once
one has been rejected with the words its entry asks for, its other tests are passed over. `--bank-report` says, in JSON,
which tests rejected which answer, and with what message; `findings` runs all this and returns what the bank found.
"""

import importlib
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from course.grading import ROOT, explain, run_pytest
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
        plugin = ["-p", "tests.bank", f"--wrong-answers={module}", f"--bank-report={report}"]
        process = run_pytest([*plugin, str(tests), *arguments])
        # 0: all tests passed, 1: some failed; anything else is not a result.
        if process.returncode not in (0, 1) or not report.exists():
            raise RuntimeError(f"the bank could not be run:\n{process.stdout}\n{process.stderr}")
        return {name: Finding(**found) for name, found in json.loads(report.read_text(encoding="utf-8")).items()}


# The plugin

_found = pytest.StashKey[dict[str, Finding]]()


def pytest_addoption(parser):
    parser.addoption("--wrong-answers", required=True, help="the module with the wrong answers")
    parser.addoption("--bank-report", type=Path, help="write which tests rejected which answer to this JSON file")


def pytest_configure(config):
    config.stash[_found] = {}


def pytest_generate_tests(metafunc):
    """Run each test on each wrong answer."""
    bank = answers(metafunc.config.getoption("wrong_answers"))
    metafunc.parametrize("wrong_answer", bank, ids=[answer.name for answer in bank], indirect=True)
    for answer in bank:
        metafunc.config.stash[_found].setdefault(answer.name, Finding(answer.hint, 0, {}))


def pytest_collection_modifyitems(items):
    """The tests of the function that a wrong answer replaces come first, then those of bad input: they know best."""

    def rank(item) -> int:
        of_the_function = item.name.startswith(f"test_{_answer(item).replaces}_")
        return 0 if of_the_function else 1 if "refuse" in item.name else 2

    items.sort(key=rank)


def pytest_runtest_protocol(item):
    """Pass over an answer that is settled: of 6,000 tests this leaves a tenth."""
    return item.config.stash[_found][_answer(item).name].hinted or None


@pytest.fixture(autouse=True)
def wrong_answer(request, monkeypatch) -> WrongAnswer:
    """Put the wrong answer in the place of the right one, for as long as the test runs."""
    answer = request.param
    monkeypatch.setattr(importlib.import_module(f"solutions.{answer.chapter}"), answer.replaces, answer.function)
    return answer


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep the message of each rejection."""
    report = yield
    if call.when == "call" and not report.skipped:
        found, name = item.config.stash[_found], _answer(item).name
        rejections = found[name].rejections | ({item.nodeid: explain(call.excinfo.value)} if report.failed else {})
        found[name] = found[name]._replace(ran=found[name].ran + 1, rejections=rejections)
    return report


def _answer(item) -> WrongAnswer:
    return item.callspec.params["wrong_answer"]


def pytest_sessionfinish(session):
    if path := session.config.getoption("bank_report"):
        found = {name: finding._asdict() for name, finding in session.config.stash[_found].items()}
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
