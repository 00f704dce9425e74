"""The bank of wrong answers: the tests reject each of them, and say what its entry asks for."""

import pkgutil

import pytest

from tests import wrong_answers
from tests.bank import Finding, findings

pytestmark = pytest.mark.machinery
CHAPTERS = sorted(module.name for module in pkgutil.iter_modules(wrong_answers.__path__))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_grader_rejects_every_wrong_answer_and_says_why(chapter, subtests):
    """One run of the chapter's tests for all its wrong answers, and one subtest for each of them."""
    module = f"tests.wrong_answers.{chapter}"
    found = findings(module)
    for answer in wrong_answers.answers(module):
        with subtests.test(answer.name):
            complaint = found[answer.name].complaint
            assert not complaint, f"{answer.name} ({answer.trap}), in the place of {answer.replaces}: {complaint}"


@pytest.fixture(scope="module")
def imposters(tmp_path_factory):
    """What the bank finds about four entries: the right function, and wrong ones with a good and a bad hint."""
    folder = tmp_path_factory.mktemp("bank") / "imposters"
    folder.mkdir()
    (folder / "gaussians.py").write_text(IMPOSTERS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder.parent)
        patch.setenv("PYTHONPATH", str(folder.parent))
        return findings("imposters.gaussians", "-k", "test_rescale")


IMPOSTERS = """
import numpy as np
from solutions import gaussians
from tests.wrong_answers import wrong

@wrong(replaces="rescale", hint="")
def right(z, mean, variance):
    return right_one(z, mean, variance)

right_one = gaussians.rescale

@wrong(replaces="rescale", hint="no test says this")
def badly_hinted(z, mean, variance):
    return mean + variance * z

@wrong(replaces="rescale", hint="multiplied by the variance")
def well_hinted(z, mean, variance):
    return mean + variance * z

@wrong(replaces="rescale", hint="Type-check error")
def badly_annotated(z: int, mean, variance):
    return right_one(z, mean, variance)
"""


def test_the_bank_reports_a_survivor(imposters):
    """The right function, entered as a wrong one, passes every test: that is a hole, even with an empty hint."""
    assert "a hole in the grader" in imposters["right"].complaint
    assert imposters["right"].ran > 3


def test_the_bank_reports_a_rejection_without_its_hint(imposters):
    """To be rejected is not enough: a message must contain the hint. What the messages say instead is shown."""
    complaint = imposters["badly_hinted"].complaint
    assert "no message says 'no test says this'" in complaint
    assert "multiplied by the variance" in complaint


def test_the_bank_is_content_with_a_rejection_and_its_hint(imposters):
    """And runs no further test on that answer then."""
    assert not imposters["well_hinted"].complaint
    assert imposters["well_hinted"].ran < imposters["right"].ran


def test_the_bank_checks_annotations(imposters):
    """A wrong answer's annotations hold like those of `solutions`."""
    assert not imposters["badly_annotated"].complaint


def test_the_bank_reports_an_answer_that_no_test_saw():
    assert Finding(hint="", ran=0, rejections={}).complaint == "no test ran on it"


def test_a_bank_that_cannot_be_run_is_an_error():
    """No findings are not good findings."""
    with pytest.raises(RuntimeError, match="deselected"):
        findings("tests.wrong_answers.gaussians", "-k", "no_such_test")
