"""The grader: what it says of right, wrong, half-done and broken attempts, and the exit status it ends with."""

import json
import shutil
from pathlib import Path

import pytest

from course.grading import FAILED, NOT_ATTEMPTED, PASSED, ROOT, grade, main

pytestmark = pytest.mark.machinery
OURS = ROOT / "solutions" / "gaussians.py"


@pytest.fixture
def attempt(tmp_path):
    """Write a learner's gaussians.py, and return the folder it is in."""

    def write(text: str) -> Path:
        (tmp_path / "gaussians.py").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def by_function(checks):
    return {
        name: {check.outcome for check in checks if check.function == name} for name in ("density", "rescale", "draw")
    }


def results(report: Path) -> list[dict]:
    return json.loads(report.read_text(encoding="utf-8"))["tests"]


def only_complaint(checks) -> str:
    """The message of a chapter that could not be graded, which is its one failure."""
    (check,) = checks
    assert (check.chapter, check.outcome) == ("gaussians", FAILED)
    return check.message


def test_our_own_solutions_pass(tmp_path, capsys):
    """As files in a folder `solutions`: every check passes, and the exit status is 0."""
    (tmp_path / "solutions").mkdir()
    shutil.copy(OURS, tmp_path / "solutions")
    report = tmp_path / "results.json"
    assert main([str(tmp_path), f"--report={report}"]) == 0
    printed = capsys.readouterr().out
    assert "gaussians.density" in printed
    assert "✗" not in printed
    tests = results(report)
    assert len(tests) > 20
    assert all(test["status"] == PASSED and test["score"] == test["max_score"] == 1 for test in tests)


def test_an_empty_folder_is_not_attempted(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "Nothing was attempted yet" in capsys.readouterr().out


def test_a_missing_folder_is_a_usage_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path / "nowhere")])
    assert caught.value.code == 2
    assert "there is no folder" in capsys.readouterr().err


def test_a_wrong_function_is_reported_with_its_hint(attempt, capsys):
    """The variance for the standard deviation, in one function: it fails with that diagnosis, the others pass."""
    wrong = OURS.read_text(encoding="utf-8").replace(
        "return mean + np.sqrt(variance) * z", "return mean + variance * z"
    )
    folder = attempt(
        wrong.replace("return rescale(rng", "return mean + np.sqrt(variance) * (rng").replace(
            "(n), mean, variance)", "(n))"
        )
    )
    report = folder / "results.json"
    assert main([str(folder), f"--report={report}"]) == 1
    printed = capsys.readouterr().out
    assert "was z multiplied by the variance, where the standard deviation belongs?" in printed
    assert "4 cases fail; this is the first" in printed
    failed = [test["name"] for test in results(report) if not test["score"]]
    assert len(failed) == 2
    assert all(name.startswith("gaussians.rescale:") for name in failed)


def test_a_half_done_file_is_graded_as_far_as_it_goes(attempt):
    """`rescale` is written, `density` raises NotImplementedError, and `draw` is not there at all."""
    folder = attempt("""
import numpy as np
from solutions import checks

def density(x, mean=0.0, variance=1.0):
    raise NotImplementedError("your turn")

def rescale(z, mean, variance):
    checks.not_nan(z=z)
    checks.finite(mean=mean)
    checks.positive(variance=variance)
    return mean + np.sqrt(variance) * z
""")
    report = folder / "results.json"
    assert main([str(folder), f"--report={report}"]) == 0
    outcomes = {test["name"].partition(":")[0]: test["output"] for test in results(report)}
    assert outcomes["gaussians.density"] == outcomes["gaussians.draw"] == NOT_ATTEMPTED
    assert outcomes["gaussians.rescale"] == PASSED


def test_a_stub_of_a_file_is_not_attempted(attempt, capsys):
    assert main([str(attempt("# to be written\n"))]) == 1
    printed = capsys.readouterr().out
    assert "Nothing was attempted yet" in printed
    assert "✓" not in printed


def test_an_error_is_traced_to_its_line(attempt):
    """An exception other than a test's own complaint says which line of the learner's file it came from."""
    checks = grade(attempt("def rescale(z, mean, variance):\n    return mean + std * z\n"))
    message = next(check.message for check in checks if check.outcome == FAILED)
    assert "NameError: name 'std' is not defined" in message
    assert "(line 2 of gaussians.py)" in message


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def density(x:\n", "SyntaxError"),
        ("import no_such_package\n", "No module named 'no_such_package'"),
        ("import os\nos._exit(0)\n", "Python ended with exit status 0"),
        ("raise SystemExit(0)\n", "SystemExit"),
    ],
)
def test_a_file_that_cannot_be_imported_fails(attempt, text, complaint):
    """And says why: never a pass, whatever exit status the process had."""
    assert complaint in only_complaint(grade(attempt(text)))


def test_an_endless_loop_is_cut_off(attempt):
    assert "did not come to an end within 4 seconds" in only_complaint(grade(attempt("while True: pass\n"), timeout=4))


def test_an_exit_in_the_middle_fails_what_did_not_run(attempt):
    """A function that ends Python takes the tests after it along: they have no result, which is a failure."""
    text = OURS.read_text(encoding="utf-8")
    checks = grade(attempt(text.replace("return mean + np.sqrt(variance) * z", "import os; os._exit(0)")))
    outcomes = by_function(checks)
    assert PASSED in outcomes["density"]
    assert outcomes["draw"] == outcomes["rescale"] == {FAILED}
    assert any("no result: Python ended with exit status 0" in check.message for check in checks)


def test_a_case_that_is_not_attempted_is_not_passed(attempt):
    """A function that does some of its work and raises NotImplementedError for the rest has not passed that check."""
    check = "    checks.positive(variance=variance)\n    z ="
    half = "    if variance < 0:\n        raise NotImplementedError\n    z ="
    text = OURS.read_text(encoding="utf-8").replace(check, half)
    checks = grade(attempt(text))
    refusals = [c for c in checks if "zero, negative, NaN" in c.says]
    assert refusals
    assert all(check.outcome != "passed" for check in refusals)


def test_a_skip_from_within_is_a_failure(attempt):
    checks = grade(attempt("import pytest\n\ndef rescale(z, mean, variance):\n    pytest.skip('later')\n"))
    assert {c.outcome for c in checks if c.function == "rescale"} == {"failed"}


def test_another_chapter_of_the_attempt_stays_out_of_the_way(tmp_path):
    """A right high_dimensions passes beside a gaussians.py that cannot be read."""
    (tmp_path / "gaussians.py").write_text("def density(x:\n")
    (tmp_path / "high_dimensions.py").write_text((ROOT / "solutions/high_dimensions.py").read_text())
    checks = [c for c in grade(tmp_path) if c.chapter == "high_dimensions"]
    assert {c.outcome for c in checks} == {"passed"}


def test_a_loop_is_blamed_on_the_test_it_is_in(attempt):
    endless = OURS.read_text(encoding="utf-8").replace(
        "    return rescale(rng.standard_normal(n), mean, variance)", "    while True: pass"
    )
    blamed = [check.function for check in grade(attempt(endless), timeout=20) if "did not come" in check.message]
    assert blamed == ["draw"]
