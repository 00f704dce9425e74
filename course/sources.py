"""Which files a chapter's results rest on, and one digest of them all.

A chapter is executed anew when its cells change, or a module it imports (or one that those import, as long as they
lie in this repository), or a data file one of them names, or a library whose version can move a number. Nothing else.
"""

import hashlib
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ("numpy", "scipy", "torch", "matplotlib", "scikit-learn", "jaxtyping")
# As the formatter writes them. To parse the tests takes seconds in every build; a test compares this with the parser.
_IMPORT = re.compile(r"^[ \t]*(?:from +([\w.]+) +import +(\([^)]*\)|.*)|import +(.*))", re.MULTILINE)
_FILE_NAME = re.compile(r"""(["'])([\w./-]{1,80}\.\w{1,8})\1""")
_CODE_CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def chapters(root: Path = ROOT) -> list[str]:
    """The names of the chapters there are, in alphabetical order: the modules of `solutions` that have a page."""
    return sorted(
        p.stem for p in (root / "book").glob("*.md") if (root / "solutions" / p.name).with_suffix(".py").exists()
    )


def code_of(path: Path, text: str | None = None) -> str:
    """The Python in a file: all of a module, the code cells of a chapter (without their options and magics)."""
    text = path.read_text(encoding="utf-8") if text is None else text
    if path.suffix != ".md":
        return text
    cells = (re.sub(r"\A---\n.*?^---\n", "", cell, flags=re.MULTILINE | re.DOTALL) for cell in _CODE_CELL.findall(text))
    return re.sub(r"^(?::|[%!]).*$", "", "\n".join(cells), flags=re.MULTILINE)


@cache
def _names_in(path: Path, text: str, root: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The modules that the code in a file imports, and the files that its strings may name; read once a process."""
    code, modules = code_of(path, text), set()
    for source, named, plain in _IMPORT.findall(code):
        names = [part.split()[0] for part in re.sub(r"#.*|[()]", "", named or plain).split(",") if part.strip()]
        level = len(source) - len(source.lstrip("."))
        package = path.relative_to(root).parts[:-level] if level else ()
        base = ".".join([*package, *filter(None, [source.lstrip(".")])])
        modules.update([base, *(f"{base}.{name}" for name in names)] if source else names)
    return frozenset(modules), frozenset(name for _, name in _FILE_NAME.findall(code))


def _imported(names: Iterable[str], root: Path) -> set[Path]:
    """The files of this repository among the modules."""
    files = set()
    for name in names:
        stem = root.joinpath(*name.split("."))
        files.update(f for f in (stem.with_suffix(".py"), stem / "__init__.py") if f.is_file())
    return files


def _read(names: Iterable[str], path: Path) -> set[Path]:
    """The data files beside the code among the names."""
    return {found for name in names if (found := (path.parent / name).resolve()).is_file()}


def rests_on(start: Iterable[Path], root: Path = ROOT) -> set[Path]:
    """`start`, and every file of the repository that these need in order to run."""
    found, waiting = set(), {path.resolve() for path in start}
    while waiting:
        path = waiting.pop()
        found.add(path)
        if path.suffix in {".py", ".md"}:
            modules, files = _names_in(path, path.read_text(encoding="utf-8"), root.resolve())
            waiting |= (_imported(modules, root.resolve()) | _read(files, path)) - found
    return found


@cache
def _libraries() -> str:
    return " ".join([*(f"{name}-{version(name)}" for name in LIBRARIES), f"python-{sys.version_info.minor}"])


def digest(files: Iterable[Path]) -> str:
    """Sixteen hexadecimal digits that change when one of the files, or the version of a library, does."""
    total = hashlib.sha256(_libraries().encode())
    for path in sorted(files):
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def digest_of_imports(page: Path, root: Path = ROOT) -> str:
    """The digest of what a page's code rests on, without the page itself."""
    return digest(rests_on([page], root) - {page.resolve()})
