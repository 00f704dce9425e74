"""What every test has at hand: seeded randomness, shape checks, and the ledger of claims.

`RESEED=17 pytest` gives every stochastic test other random numbers; the suite passes under any of them.
"""

import json
import os
import zlib
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep, for each test that checks a claim, what it said, how it went, and the error rates it stated."""
    report = yield
    if call.when == "setup":
        honest.performed.clear()
    if call.when == "call" or (call.when == "setup" and not report.passed):
        report.claims = [_row(mark, item, report) for mark in item.iter_markers("claim")]
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


def pytest_terminal_summary(terminalreporter, config):
    """With --claims-report, write the ledger's rows."""
    if path := config.getoption("claims_report"):
        reports = [report for reports in terminalreporter.stats.values() for report in reports]
        rows = [row for report in reports for row in getattr(report, "claims", [])]
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
