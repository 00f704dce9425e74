"""How nbval compares a chapter with its baseline: see `course.baselines.Reading`."""

import os
from pathlib import Path

from course.baselines import Reading

ROOT = str(Path(__file__).parents[2])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collectstart(collector):
    """Compare what a baseline keeps: text. Figures and their HTML are judged elsewhere, by eye and by the browser."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("image/svg+xml", "text/html", "text/markdown", "stderr")


def pytest_itemcollected(item):
    """Let the text that nbval is about to compare be compared as readings."""
    if hasattr(item, "sanitize"):
        plain = item.sanitize
        item.sanitize = lambda text: Reading(plain(text)) if isinstance(text, str) else text
