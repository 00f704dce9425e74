"""How a result that takes minutes is kept: part by part, so that an interrupted run goes on where it was."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

Names = Sequence[str]


def record(
    path: Path, wanted: Sequence[tuple], run: Callable[..., dict], names: Names, libraries: Names, **notes
) -> None:
    """Run the wanted parts that the file at `path` has not, and keep each, with where it comes from.

    A part is a row of options, called `names` in the file; `run(*part)` returns what to keep beside them. `libraries`
    are those whose versions matter, and `notes` go into the file as they are.
    """
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"seconds": 0, "parts": []}
    done = {_key(part[name] for name in names): part for part in kept["parts"]}
    for options in wanted:
        if _key(options) in done:
            continue
        began = time.perf_counter()
        done[_key(options)] = dict(zip(names, options, strict=True)) | run(*options)
        kept = {
            "command": f"python -m book.recorded.{path.stem}",
            "versions": {name: version(name) for name in libraries} | {"python": platform.python_version()},
            "machine": f"{platform.system()} on {platform.machine()}, {os.cpu_count()} shared cores",
            "seconds": kept["seconds"] + round(time.perf_counter() - began),
            **notes,
            "parts": [done[key] for key in map(_key, wanted) if key in done],
        }
        write(path, kept)


def write(path: Path, kept: dict) -> None:
    """Put the record in the file's place in one stroke, a line for each part."""
    lines = ",\n".join(json.dumps(part, ensure_ascii=False) for part in kept["parts"])
    head = json.dumps({name: value for name, value in kept.items() if name != "parts"}, ensure_ascii=False)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(f'{head[:-1]}, "parts": [\n{lines}\n]}}\n', encoding="utf-8")
    unfinished.replace(path)


def arguments(script: str, description: str) -> argparse.ArgumentParser:
    """The parser of a recording script's command line: where to write, beside the script unless told."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--path", type=Path, default=Path(script).with_suffix(".json"))
    return parser


def _key(options) -> str:
    return json.dumps(list(options))
