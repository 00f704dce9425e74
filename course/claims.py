"""The claim ledger: every theorem of the book is held by a test, and the book says how the test went.

A *claim* is a `{prf:theorem}`, `{prf:proposition}`, `{prf:lemma}`, `{prf:corollary}` or `{prf:property}` block with a
label; a test *checks* it by carrying `@pytest.mark.claim("that-label")`. As a Sphinx extension this module runs the
checks before anything else in a build, refuses to build where a claim has no check, a check no claim, or one fails,
and offers the directive `{claim-ledger}`. `python -m course.claims` prints the same ledger.
"""

import ast
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from course.sources import ROOT, digest, rests_on

logger = logging.getLogger(__name__)
_BLOCK = re.compile(
    r"^(?P<fence>:{3,}|`{3,})\{prf:(?:theorem|proposition|lemma|corollary|property)\}[ \t]*(?P<title>[^\n]*)\n"
    r"(?:(?!(?P=fence)).*\n)*?:label:[ \t]*(?P<label>\S+)|"
    r"^(?:`{3,}|:{3,})\{prf:(?:theorem|proposition|lemma|corollary|property)\}",
    re.MULTILINE,
)


class Unbalanced(Exception):
    """A claim without a check, a check without a claim, or a claim that does not hold."""


def claims_in(page: Path) -> list[tuple[str | None, str]]:
    """The claims on a page, in order, as (label, title); the label is None where a claim has none."""
    return [(block["label"], block["title"]) for block in _BLOCK.finditer(page.read_text(encoding="utf-8"))]


def checks_in(module: Path) -> list[str]:
    """The labels that the tests of a module carry."""
    calls = (node for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    marks = (call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "claim" and call.args)
    return [mark.args[0].value for mark in marks if isinstance(mark.args[0], ast.Constant)]


def mismatches(root: Path = ROOT) -> list[str]:
    """What is wrong with the ledger before any check has run: one sentence each."""
    pages, modules = sorted((root / "book").glob("*.md")), sorted((root / "tests").glob("test_*.py"))
    claims = {page: [label for label, _ in claims_in(page)] for page in pages}
    checks = {module: checks_in(module) for module in modules}
    claimed = Counter(label for labels in claims.values() for label in labels if label)
    checked = {label for labels in checks.values() for label in labels}
    return [
        *(f"book/{page.name}: a claim has no label" for page, labels in claims.items() if None in labels),
        *(f"the label {label} stands on {n} claims" for label, n in claimed.items() if n > 1),
        *(
            f"book/{page.name}: no test checks the claim {label}"
            for page, labels in claims.items()
            for label in labels
            if label and label not in checked
        ),
        *(
            f"tests/{module.name}: checks the claim {label}, which the book does not make"
            for module, labels in checks.items()
            for label in sorted(set(labels))
            if label not in claimed
        ),
    ]


def run_checks(module: Path, store: Path, root: Path = ROOT) -> list[dict]:
    """How the checks in one test module go: from `store` if nothing they rest on has changed, else by running them."""
    helpers = [root / "tests/conftest.py", root / "pyproject.toml"]
    key = digest(rests_on([module, helpers[0]], root) | {helpers[1]})
    report = store / f"{module.stem}-{key}-{os.environ.get('RESEED', '0')}.json"
    if not report.exists():
        store.mkdir(parents=True, exist_ok=True)
        unfinished = report.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-m", "claim", "-p", "no:cacheprovider", str(module)]
        run = subprocess.run(
            [*command, f"--claims-report={unfinished}"], cwd=root, capture_output=True, text=True, check=False
        )
        if not unfinished.exists():
            raise Unbalanced(f"{module.name}: the checks did not run\n{run.stdout[-3000:]}{run.stderr[-2000:]}")
        rows = json.loads(unfinished.read_text(encoding="utf-8"))
        if run.returncode or any(row["outcome"] != "passed" for row in rows):
            unfinished.unlink()
            raise Unbalanced(f"{module.name}: a claim does not hold\n{run.stdout[-6000:]}")
        unfinished.replace(report)
    return json.loads(report.read_text(encoding="utf-8"))


def ledger(store: Path, root: Path = ROOT) -> dict[str, list[dict]]:
    """Every claim with its checks, in the order of the book; Unbalanced where the ledger does not balance."""
    if wrong := mismatches(root):
        raise Unbalanced("the ledger of claims does not balance:\n  " + "\n  ".join(wrong))
    modules = [module for module in sorted((root / "tests").glob("test_*.py")) if checks_in(module)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = [row for rows in pool.map(lambda module: run_checks(module, store, root), modules) for row in rows]
    pages = [root / "book" / f"{name}.md" for name in _in_order(root)]
    return {
        label: _merged(row for row in rows if row["label"] == label) for page in pages for label, _ in claims_in(page)
    }


def _merged(rows: Iterable[dict]) -> list[dict]:
    """One row for each test function, however many parameters it ran with."""
    tests: dict[str, dict] = {}
    for row in rows:
        first = tests.setdefault(row["test"].partition("[")[0], {**row, "seconds": 0.0, "statistics": []})
        first["seconds"] += row["seconds"]
        first["statistics"] = first["statistics"] + row["statistics"]
    return list(tests.values())


def _in_order(root: Path) -> list[str]:
    """The pages of the book, in the order of its table of contents."""
    return re.findall(r"file:\s*book/(\w+)", (root / "_toc.yml").read_text(encoding="utf-8"))


def how(row: dict) -> str:
    """In words, what kind of check this is."""
    if not row["statistics"]:
        return row["kind"]
    effects = ", ".join(dict.fromkeys(s["detects"] for s in row["statistics"]))
    return f"statistical: false alarm {max(s['false_alarm'] for s in row['statistics']):.0e}; catches {effects}"


class ClaimLedger(SphinxDirective):
    """`{claim-ledger}`: a table of every claim of the book, how it is checked, and how that went in this build."""

    def run(self):
        """Write the table as MyST and let the parser typeset it."""
        pages = (Path(self.env.doc2path(name)) for name in self.env.found_docs)
        titles = dict(claim for page in pages if page.suffix == ".md" for claim in claims_in(page))
        rows = [":::::{list-table}", ":header-rows: 1", ":class: claim-ledger", ":widths: 22 48 30", ""]
        rows += ["* - Claim", "  - Checked by", "  - How"]
        for label, checks in self.env.course_claims.items():
            for i, check in enumerate(checks):
                says = re.sub(r"([*_\\^|<>\[\]$`])", r"\\\1", check["says"])
                claim = f"{{prf:ref}}`{label}`: {titles[label].lower()}" if i == 0 else ""
                rows += [f"* - {claim}", f"  - ✓ {says}", f"  - {how(check)} ({check['seconds']:.2f} s)"]
        return self.parse_text_to_nodes("\n".join([*rows, ":::::"]))


def _run(app) -> None:
    logger.info("checking the claims")
    try:
        claims = ledger(Path(app.outdir).parent / ".claims")
    except Unbalanced as error:
        raise SystemExit(f"\n{error}\n\nThe book was not built.") from None
    app.env.course_claims = claims
    checks = sum(map(len, claims.values()))
    logger.info(f"  {len(claims)} claims hold, by {checks} checks")


def _pages_with_ledger(app, env, added, changed, removed):
    before, env.course_claims_shown = getattr(env, "course_claims_shown", None), env.course_claims
    return [name for name in ("book/claims",) if name in env.found_docs and before != env.course_claims]


def setup(app):
    """Connect to Sphinx."""
    app.add_directive("claim-ledger", ClaimLedger)
    app.connect("builder-inited", _run)
    app.connect("env-get-outdated", _pages_with_ledger)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}


def main() -> int:
    """Print the ledger."""
    try:
        claims = ledger(ROOT / "_build" / ".claims")
    except Unbalanced as error:
        print(error, file=sys.stderr)
        return 1
    for label, checks in claims.items():
        print(label)
        for check in checks:
            print(f"    ✓ {check['says']}\n      {how(check)}; {check['seconds']:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
