"""The benchmark compares like with like, and a ratio of 2 means twice the work."""

import importlib.util
import itertools
import json
import sys

import numpy as np
import pytest

from benchmarks import run

pytestmark = pytest.mark.machinery


class Clock:
    """A clock that only work moves; reading it is free."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        def call():
            self.now += seconds
            return np.ones(3)

        return call


@pytest.fixture
def rows(monkeypatch):
    """No rows but those of the test, none imported, and the number of threads left to the other tests."""
    monkeypatch.setattr(run, "ROWS", [])
    monkeypatch.setattr(run.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(run.pkgutil, "iter_modules", lambda *_: [])
    return run.ROWS


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0])
def test_twice_the_work_is_a_ratio_of_two(unit):
    clock = Clock()
    timing = run.compare(clock.work(2 * unit), clock.work(unit), clock=clock)
    np.testing.assert_allclose(timing, (2 * unit, unit, 2.0, 2.0, 2.0), rtol=1e-6)


def test_what_slows_both_sides_leaves_the_ratio_alone():
    """The machine slows down tenfold halfway: the sides are timed in turns, so the ratio of each turn is still 2."""
    clock, calls = Clock(), itertools.count()

    def side(seconds):
        return lambda: clock.work(seconds * (10 if next(calls) > 30 else 1))()

    timing = run.compare(side(0.02), side(0.01), turns=101, clock=clock)
    np.testing.assert_allclose((timing.lower, timing.ratio, timing.upper), 2.0, rtol=1e-6)


def test_the_quartiles_span_the_turns():
    """Ours takes 1, 2, 3, 4, 5 seconds in turn, theirs always 1."""
    clock = Clock()
    lengths = itertools.chain([1.0], [1.0, 2.0, 3.0, 4.0, 5.0])  # the first is the warm-up
    timing = run.compare(lambda: clock.work(next(lengths))(), clock.work(1.0), turns=5, clock=clock)
    assert timing == (3.0, 1.0, 2.0, 3.0, 4.0)


def test_a_sample_is_long_enough_to_be_measured():
    clock = Clock()
    call = clock.work(1e-6)
    calls = run._calls_for(call, 0.005, clock)
    assert run._time(call, calls, clock) >= 0.005


def test_sides_that_disagree_are_an_error():
    row = run.Row("one", "ones", "numpy", lambda: (lambda: np.ones(3), lambda: np.array([1, 1, 1 + 1e-6])), 1e-9)
    with pytest.raises(AssertionError, match="one: ours and numpy do not return the same numbers"):
        run.check(row)
    run.check(row._replace(rtol=1e-5))


def test_two_rows_cannot_share_a_name(rows):
    def prepare():
        pass

    run.row("nothing", library="numpy")(prepare)
    with pytest.raises(ValueError, match="two rows are named prepare"):
        run.row("nothing", library="numpy")(prepare)


def test_results_are_written_with_their_provenance_only_when_asked(rows, monkeypatch, tmp_path, capsys):
    @run.row("ones", library="numpy")
    def ones():
        return lambda: np.ones(3), lambda: np.full(3, 1.0)

    monkeypatch.setattr(run, "compare", lambda ours, theirs: run.Timing(2e-6, 1e-6, 1.9, 2.0, 2.1))
    monkeypatch.setattr(sys, "argv", ["run", "ones"])
    run.main()
    assert not list(tmp_path.iterdir())
    assert "2.00  (1.90 to 2.10)" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["run", "--json", str(tmp_path / "results.json")])
    run.main()
    report = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert report["provenance"]["packages"]["numpy"] == np.__version__
    assert {"date", "python", "cpu_count"} <= report["provenance"].keys()
    (row,) = report["rows"]
    assert (row["name"], row["ratio"], row["library"]) == ("ones", 2.0, "numpy")


def test_a_row_that_does_not_exist_is_named(rows, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run", "nowhere"])
    with pytest.raises(SystemExit, match="no row is named nowhere"):
        run.main()


def test_every_row_of_the_project_agrees_with_its_library(subtests):
    """All rows are found, and set up, and both sides of each return the same numbers, where the library is there."""
    found = run._registered([])
    assert {row.name for row in found} >= {"gaussian_log_density_scipy", "norm_density_scipy", "mala_blackjax"}
    for row in found:
        with subtests.test(row.name):
            if importlib.util.find_spec(row.library) is None:
                pytest.skip(f"{row.library} is one of benchmarks/requirements.txt; make bench installs it")
            run.check(row)
