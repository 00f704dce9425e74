"""Time our functions beside those of other libraries: `python -m benchmarks.run [--json FILE] [name ...]`.

A row, in a module of `benchmarks.rows`, is a function that sets up the data and returns the two calls to be compared.
They must return the same numbers. They are then timed in turns, ours, theirs, ours, ..., so that whatever else the
machine does falls on both; the ratio of each turn is taken, and their median and quartiles are reported. Both sides
have one thread, so that a ratio compares the work and not the number of idle cores.
"""

import argparse
import datetime
import importlib
import importlib.metadata
import json
import os
import pkgutil
import platform
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch


class Row(NamedTuple):
    """One comparison: `prepare` returns (ours, theirs), two calls without arguments."""

    name: str
    what: str
    library: str
    prepare: Callable[[], tuple[Callable, Callable]]
    rtol: float


class Timing(NamedTuple):
    """How long one call takes, in seconds (medians), and the quartiles of ours / theirs over the turns."""

    ours: float
    theirs: float
    lower: float
    ratio: float
    upper: float


ROWS: list[Row] = []


def row(what: str, *, library: str, rtol: float = 1e-9):
    """Register the decorated function as a row, under its own name; `library` is the package it is held against."""

    def register(prepare):
        if any(other.name == prepare.__name__ for other in ROWS):
            raise ValueError(f"two rows are named {prepare.__name__}")
        ROWS.append(Row(prepare.__name__, what, library, prepare, rtol))
        return prepare

    return register


def check(row: Row) -> tuple[Callable, Callable]:
    """Set the row up and return its two calls, if they return the same numbers."""
    ours, theirs = row.prepare()
    message = f"{row.name}: ours and {row.library} do not return the same numbers"
    np.testing.assert_allclose(ours(), theirs(), rtol=row.rtol, atol=0, err_msg=message)
    return ours, theirs


def compare(ours: Callable, theirs: Callable, *, turns=21, shortest=0.005, clock=perf_counter) -> Timing:
    """Time the two calls in turns, each turn as many calls of each as take `shortest` seconds, after a warm-up."""
    sides = [(call, _calls_for(call, shortest, clock)) for call in (ours, theirs)]
    seconds = np.array([[_time(call, calls, clock) / calls for call, calls in sides] for _ in range(turns)])
    quartiles = np.quantile(seconds[:, 0] / seconds[:, 1], [0.25, 0.5, 0.75])
    return Timing(*np.median(seconds, axis=0).tolist(), *quartiles.tolist())


def _calls_for(call: Callable, shortest: float, clock: Callable) -> int:
    """How many calls take at least `shortest` seconds; finding out is the warm-up."""
    calls = 1
    while _time(call, calls, clock) < shortest:
        calls *= 2
    return calls


def _time(call: Callable, calls: int, clock: Callable) -> float:
    start = clock()
    for _ in range(calls):
        call()
    return clock() - start


def provenance(packages: set[str]) -> dict:
    """Where and when these numbers were measured, and with what."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu_count": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in sorted(packages | {"numpy", "scipy", "torch"})},
    }


def _registered(names: list[str]) -> list[Row]:
    package = importlib.import_module("benchmarks.rows")
    for module in pkgutil.iter_modules(package.__path__, "benchmarks.rows."):
        importlib.import_module(module.name)
    rows = importlib.import_module("benchmarks.run").ROWS  # run as a script, this module is another one: __main__
    if unknown := set(names) - {row.name for row in rows}:
        raise SystemExit(f"no row is named {', '.join(sorted(unknown))}; there are {', '.join(r.name for r in rows)}")
    return [row for row in rows if not names or row.name in names]


def main() -> None:
    """Check and time the rows asked for, print a table, and write it as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help="the rows to run; all of them by default")
    parser.add_argument("--json", type=Path, help="write the results, with their provenance, to this file")
    arguments = parser.parse_args()
    rows, results = _registered(arguments.names), []
    torch.set_num_threads(1)
    print(f"{'name':<36} {'ours':>10} {'theirs':>10}   ours / theirs (quartiles)   library")
    for row in rows:
        timing = compare(*check(row))
        interval = f"{timing.ratio:7.2f}  ({timing.lower:.2f} to {timing.upper:.2f})"
        print(f"{row.name:<36} {_show(timing.ours)} {_show(timing.theirs)}   {interval:<27} {row.library}", flush=True)
        results.append({"name": row.name, "what": row.what, "library": row.library, **timing._asdict()})
    if arguments.json:
        report = {"provenance": provenance({row.library for row in rows}), "rows": results}
        arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _show(seconds: float) -> str:
    return f"{seconds * 1e6:7.1f} µs" if seconds < 1e-2 else f"{seconds * 1e3:7.1f} ms"


if __name__ == "__main__":
    main()
