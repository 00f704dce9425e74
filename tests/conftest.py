"""What every test has at hand: seeded randomness, shape checks, and the ledger of claims.

`RESEED=17 pytest` gives every stochastic test other random numbers; the suite passes under any of them.
"""

import json
import os
import zlib
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import install_import_hook

from tests import honest

_ROOT = Path(__file__).parents[1]

# From here on each function of a chapter checks the shapes in its annotations whenever a test calls it.
_SHAPELESS = {"__init__", "checks", "randomness"}  # and called a million times
_MODULES = sorted({path.stem for path in (_ROOT / "solutions").glob("*.py")} - _SHAPELESS)
install_import_hook([f"solutions.{module}" for module in _MODULES], "beartype.beartype")

# Kernels started by nbval find `solutions` and `course` even where the project was not installed.
if str(_ROOT) not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))


def pytest_addoption(parser):
    parser.addoption("--claims-report", type=Path, help="write how each claim's check went to this JSON file")
    parser.addoption("--keep-claims", type=Path, help="keep in this folder what a build would otherwise run again")


def _seed(request) -> list[int]:
    return [int(os.environ.get("RESEED", "0")), zlib.crc32(request.node.nodeid.encode())]


@pytest.fixture
def rng(request) -> np.random.Generator:
    """Random numbers of this test's own, the same in every run with the same RESEED."""
    return np.random.default_rng(_seed(request))


@pytest.fixture
def generator(request):
    """The same as `rng`, for PyTorch."""
    import torch

    return torch.Generator().manual_seed(int(np.random.SeedSequence(_seed(request)).generate_state(1, np.uint64)[0]))


_places = pytest.StashKey[dict[str, tuple[int, int]]]()
_at_start = pytest.StashKey[dict[str, Path]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items, config):
    """Before any test is deselected: the how-manieth of how many checks of its module each check is."""
    config.stash[_places] = {}
    checks = [item for item in items if item.get_closest_marker("claim")]
    for _, group in groupby(checks, key=lambda item: item.path):
        together = list(group)
        config.stash[_places].update({item.nodeid: (i, len(together)) for i, item in enumerate(together)})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep, for each test that checks a claim, what it said, how it went, and the error rates it stated."""
    report = yield
    if call.when == "setup":
        honest.performed.clear()
    if call.when == "call" or (call.when == "setup" and not report.passed):
        report.claims = [_row(mark, item, report) for mark in item.iter_markers("claim")]
        report.place = item.config.stash[_places].get(item.nodeid)
    return report


def _row(mark, item, report) -> dict:
    says = (item.function.__doc__ or item.name).strip().split("\n")[0]
    statistics = [{"false_alarm": p.false_alarm, "detects": p.effect} for p in honest.performed]
    return {
        "label": mark.args[0],
        "kind": mark.kwargs.get("kind", "exact"),
        "test": item.nodeid,
        "says": says,
        "outcome": report.outcome,
        "message": getattr(getattr(report.longrepr, "reprcrash", None), "message", ""),
        "seconds": round(report.duration, 2),
        "statistics": statistics,
    }


def _places_to_keep(config) -> dict[str, Path]:
    """For each test module, as its file and what it rests on are now, where a build looks for its checks' results."""
    from course.claims import kept_at

    modules = sorted((_ROOT / "tests").glob("test_*.py"))
    return {f"tests/{module.name}": kept_at(module, config.getoption("keep_claims"), _ROOT) for module in modules}


def pytest_sessionstart(session):
    """Note the state of the modules before they are imported, in the process that gathers the reports."""
    if session.config.getoption("keep_claims") and not hasattr(session.config, "workerinput"):
        session.config.stash[_at_start] = _places_to_keep(session.config)


def pytest_terminal_summary(terminalreporter, config):
    """With --claims-report, write the ledger's rows; with --keep-claims, those of each module whose checks held."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    if path := config.getoption("claims_report"):
        _write([row for report in reports for row in getattr(report, "claims", [])], path)
    before = config.stash.get(_at_start, {})
    for module, path in (_places_to_keep(config) if before else {}).items():
        own = [report for report in reports if (getattr(report, "nodeid", "") or "").partition("::")[0] == module]
        if before.get(module) == path and (rows := _rows_of_all(own, _ROOT / module)):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(rows, path)


def _rows_of_all(reports, module: Path) -> list[dict]:
    """The rows of a module's checks, in its order; none if one of them did not run, or anything in it failed."""
    from course.claims import checks_in

    ran = dict(sorted((report.place, report.claims) for report in reports if getattr(report, "claims", [])))
    rows = [row for rows in ran.values() for row in rows]
    tests = {(row["test"].partition("[")[0], row["label"]) for row in rows}
    every_function = sorted(label for _, label in tests) == sorted(checks_in(module))
    every_case = [number for number, _ in ran] == list(range(max((count for _, count in ran), default=0)))
    held = all(row["outcome"] == "passed" for row in rows) and not any(getattr(r, "failed", False) for r in reports)
    return rows if every_function and every_case and held else []


def _write(rows: list[dict], path: Path) -> None:
    """Write all or nothing."""
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    unfinished.replace(path)
