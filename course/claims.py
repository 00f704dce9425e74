"""The claim ledger: every theorem of the book is held by a test, and the book says how the test went.

A *claim* is a `{prf:theorem}`, `{prf:proposition}`, `{prf:lemma}`, `{prf:corollary}` or `{prf:property}` block with a
label; a test *checks* it by carrying `@pytest.mark.claim("that-label")`. As a Sphinx extension this module runs the
checks before anything else in a build, warns (and a warning fails a strict build) where a claim has no check, a check
no claim, or a check fails, and offers the directive `{claim-ledger}`. `python -m course.claims` prints the ledger.
"""

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

from course.prose import scientific
from course.sources import ROOT, digest, rests_on

logger = logging.getLogger(__name__)
_BLOCK = re.compile(
    r"^(?P<fence>:{3,}|`{3,})\{prf:(?:theorem|proposition|lemma|corollary|property)\}[ \t]*(?P<title>[^\n]*)\n"
    r"(?:(?!(?P=fence)).*\n)*?:label:[ \t]*(?P<label>\S+)|"
    r"^(?:`{3,}|:{3,})\{prf:(?:theorem|proposition|lemma|corollary|property)\}",
    re.MULTILINE,
)
_MARK = re.compile(r"""^@pytest\.mark\.claim\(\s*["']([^"']+)""", re.MULTILINE)


def claims_in(page: Path) -> list[tuple[str | None, str]]:
    """The claims on a page, in order, as (label, title); the label is None where a claim has none."""
    return [(block["label"], block["title"]) for block in _BLOCK.finditer(page.read_text(encoding="utf-8"))]


NO_CHECK = {"kind": "", "statistics": [], "seconds": 0.0, "outcome": "missing", "says": "no test checks this"}


def checks_in(module: Path) -> list[str]:
    """The labels that the tests of a module carry."""
    return _MARK.findall(module.read_text(encoding="utf-8"))


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


def kept_at(module: Path, store: Path, root: Path = ROOT) -> Path:
    """Where the results of the checks in a test module are kept: another place when anything they rest on changes."""
    helpers = [root / "tests/conftest.py", root / "pyproject.toml"]
    key = digest(rests_on([module, helpers[0]], root) | {helpers[1]})
    return store / f"{module.stem}-{key}-{os.environ.get('RESEED', '0')}.json"


def run_checks(module: Path, store: Path, root: Path = ROOT) -> list[dict]:
    """How the checks in one test module go: from `store` if they held and nothing they rest on has changed."""
    kept = kept_at(module, store, root)
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    store.mkdir(parents=True, exist_ok=True)
    report = kept.with_suffix(".unfinished")
    report.unlink(missing_ok=True)
    # nbval is of no use here, and takes four seconds to import.
    options = ["-q", "-m", "claim", "-p", "no:cacheprovider", "-p", "no:nbval", f"--claims-report={report}"]
    command = [sys.executable, "-m", "pytest", *options, str(module)]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    rows = json.loads(report.read_text(encoding="utf-8")) if report.exists() else []
    if run.returncode and all(row["outcome"] == "passed" for row in rows):
        message = f"the checks did not run\n{run.stdout[-3000:]}{run.stderr[-2000:]}"
        unknown = {"kind": "exact", "statistics": [], "seconds": 0.0, "outcome": "failed", "message": message}
        return [{"label": label, "test": module.name, "says": module.name, **unknown} for label in checks_in(module)]
    if all(row["outcome"] == "passed" for row in rows):
        report.replace(kept)
    return rows


def ledger(store: Path, root: Path = ROOT) -> tuple[dict[str, list[dict]], list[str]]:
    """Every claim with its checks, in the order of the book; and what is wrong, a sentence each."""
    modules = [module for module in sorted((root / "tests").glob("test_*.py")) if checks_in(module)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = [row for rows in pool.map(lambda module: run_checks(module, store, root), modules) for row in rows]
    pages = [root / "book" / f"{name}.md" for name in _in_order(root)]
    labels = [label for page in pages for label, _ in claims_in(page) if label]
    failed = [row for row in rows if row["outcome"] != "passed"]
    wrong = [
        f"the claim {row['label']} was not shown to hold: {row['test']} {row['outcome']}\n{row['message']}"
        for row in failed
    ]
    return {label: _merged(row for row in rows if row["label"] == label) for label in labels}, mismatches(root) + wrong


def _in_order(root: Path) -> list[str]:
    """The pages of the book, in the order of its table of contents."""
    return re.findall(r"file:\s*book/(\w+)", (root / "_toc.yml").read_text(encoding="utf-8"))


def _merged(rows: Iterable[dict]) -> list[dict]:
    """One row for each test function, however many parameters it ran with."""
    tests: dict[str, dict] = {}
    for row in rows:
        first = tests.setdefault(row["test"].partition("[")[0], {**row, "seconds": 0.0, "statistics": []})
        first["seconds"] += row["seconds"]
        if row["outcome"] != "passed":
            first["outcome"] = row["outcome"]
        first["statistics"] = first["statistics"] + row["statistics"]
    return list(tests.values())


def how(row: dict) -> str:
    """In words, what kind of check this is."""
    if not row["statistics"]:
        return row["kind"]
    effects = ", ".join(dict.fromkeys(s["detects"] for s in row["statistics"]))
    alarm = scientific(max(s["false_alarm"] for s in row["statistics"]), 1)
    return f"statistical: false alarm {alarm}; catches {effects}"


class ClaimLedger(SphinxDirective):
    """`{claim-ledger}`: a table of every claim of the book, how it is checked, and how that went in this build."""

    def run(self):
        """Write the table as MyST and let the parser typeset it."""
        pages = (Path(self.env.doc2path(name)) for name in self.env.found_docs)
        titles = dict(claim for page in pages if page.suffix == ".md" for claim in claims_in(page))
        rows = [":::::{list-table}", ":header-rows: 1", ":class: claim-ledger", ":widths: 22 48 30", ""]
        rows += ["* - Claim", "  - Checked by", "  - How"]
        for label, checks in self.env.course_claims.items():
            for i, check in enumerate(checks or [NO_CHECK]):
                says = re.sub(r"([*_\\^|<>\[\]$`])", r"\\\1", check["says"])
                claim = f"{{prf:ref}}`{label}`: {titles[label]}" if i == 0 else ""
                rows += [f"* - {claim}", f"  - {_sign(check)} {says}", f"  - {how(check)} ({check['seconds']:.2f} s)"]
        return self.parse_text_to_nodes("\n".join([*rows, ":::::"]))


def _sign(check: dict) -> str:
    return "✓" if check["outcome"] == "passed" else "✗"


def _run(app) -> None:
    logger.info("checking the claims")
    app.env.course_claims, wrong = ledger(Path(app.outdir).parent / ".claims")
    for sentence in wrong:
        logger.warning(sentence)
    checks = sum(map(len, app.env.course_claims.values()))
    logger.info(f"  {len(app.env.course_claims)} claims, {checks} checks, {len(wrong) or 'no'} complaints")


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
    claims, wrong = ledger(ROOT / "_build" / ".claims")
    for label, checks in claims.items():
        print(label)
        for check in checks:
            print(f"    {_sign(check)} {check['says']}\n      {how(check)}; {check['seconds']:.2f} s")
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
