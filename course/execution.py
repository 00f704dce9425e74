"""Sphinx extension: executes the chapters in parallel, and anew exactly when their results could change.

MyST-NB keeps executed notebooks in a cache whose key is their cells and their kernel. This extension adds to the
kernel's entry a digest of everything else the results rest on (`course.sources`), executes what is not in the cache,
as many chapters at once as there are cores, and reports times. A build that was cut short, or that gave a warning,
leaves a mark; the next one then reads every page again, so that nothing half written or unreported survives.
"""

import os
import re
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from logging import getLogger
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.read import create_nb_reader
from sphinx.util import logging
from sphinx.util.console import bold

from course.sources import ROOT, digest_of_imports

logger = logging.getLogger(__name__)
_KERNEL = re.compile(r"^kernelspec:\n", re.MULTILINE)


def _mark(app) -> Path:
    return Path(app.outdir).parent / ".unfinished"


def _prepare(app, config) -> None:
    """Let kernels find the course, and share the cores between them instead of fighting for them."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config.nb_execution_cache_path = str(Path(app.outdir).parent / ".jupyter_cache")


def _with_digest(page: Path, text: str) -> str:
    return _KERNEL.sub(f"kernelspec:\n  rests_on: {digest_of_imports(page)}\n", text, count=1)


def _source_read(app, docname, source) -> None:
    page = Path(app.env.doc2path(docname))
    if page.suffix == ".md":
        source[0] = _with_digest(page, source[0])


def notebook_of(env, docname: str) -> nbformat.NotebookNode | None:
    """The page as a notebook, just as MyST-NB is going to read it; None where the page has no code."""
    page = Path(env.doc2path(docname))
    if page.suffix != ".md":
        return None
    text = _with_digest(page, page.read_text(encoding="utf-8"))
    reader = create_nb_reader(str(page), env.myst_config, env.mystnb_config, text)
    return reader and reader.read(text)


def executed(env, docname: str) -> tuple[nbformat.NotebookNode, float] | None:
    """The page as an executed notebook with the seconds it took, from the cache; None where it is not there."""
    notebook, cache = notebook_of(env, docname), get_cache(env.mystnb_config.execution_cache_path)
    if notebook is not None:
        with suppress(KeyError):
            record = cache.match_cache_notebook(notebook)
            return cache.merge_match_into_notebook(notebook)[1], record.data["execution_seconds"]
    return None


def _outdated(app, env, added, changed, removed):
    """The pages to read again: those whose digest has moved, or all of them after an unfinished build."""
    now = {name: digest_of_imports(Path(env.doc2path(name))) for name in env.found_docs if _is_chapter(env, name)}
    before, env.course_digests = getattr(env, "course_digests", {}), now
    if _mark(app).exists():
        logger.info("the last build did not finish: reading every page again")
        _drop_damaged(get_cache(env.mystnb_config.execution_cache_path))
        return list(env.found_docs)
    _mark(app).parent.mkdir(parents=True, exist_ok=True)
    _mark(app).touch()
    return [name for name in now if name in env.all_docs and before.get(name) != now[name]]


def _is_chapter(env, docname: str) -> bool:
    path = Path(env.doc2path(docname))
    return path.suffix == ".md" and bool(_KERNEL.search(path.read_text(encoding="utf-8")))


def _drop_damaged(cache) -> None:
    for record in cache.list_cache_records():
        try:
            cache.get_cache_bundle(record.pk)
        except Exception:
            cache.remove_cache(record.pk)


def _end_with_parent() -> None:
    """In a worker: let a killed build leave no process behind. The kernels watch their worker in the same way."""

    def watch():
        wait([parent_process().sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _execute_one(notebook, folder: str, timeout: int):
    """In a process of its own: run the notebook; return it, the seconds it took, and what went wrong, if anything."""
    result = single_nb_execution(notebook, cwd=folder, timeout=timeout, allow_errors=False)
    return notebook, result.time, str(result.err or "")


def _execute(app, env, docnames) -> None:
    """Run every chapter that is about to be read and is not in the cache."""
    waiting, env.course_seconds = {}, getattr(env, "course_seconds", {})
    for name in filter(lambda name: _is_chapter(env, name), docnames):
        if run := executed(env, name):
            env.course_seconds[name] = run[1]
        else:
            waiting[name] = notebook_of(env, name)
    if not waiting:
        return
    workers = min(len(waiting), os.cpu_count() or 1)
    logger.info(bold(f"executing {len(waiting)} chapter(s), {workers} at a time"))
    cache, failures = get_cache(env.mystnb_config.execution_cache_path), []
    with ProcessPoolExecutor(workers, get_context("spawn"), _end_with_parent) as pool:
        jobs = {
            pool.submit(
                _execute_one, nb, str(Path(env.doc2path(name)).parent), env.mystnb_config.execution_timeout
            ): name
            for name, nb in waiting.items()
        }
        for done, job in enumerate(as_completed(jobs), 1):
            name, (notebook, seconds, error) = jobs[job], job.result()
            logger.info(f"  [{done}/{len(jobs)}] {name}  {seconds:.1f} s  {'FAILED' if error else ''}")
            if error:
                failures.append(_failure(name, notebook, error))
            else:
                env.course_seconds[name] = seconds
                bundle = CacheBundleIn(notebook, str(env.doc2path(name)), data={"execution_seconds": seconds})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    if failures:
        raise SystemExit("\n" + "\n\n".join(failures) + "\n\nThe book was not built.")


def _failure(docname: str, notebook, error: str) -> str:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    last = max((i for i, cell in enumerate(cells) if cell.execution_count), default=0)
    for i, cell in enumerate(cells):
        if any(output.output_type == "error" for output in cell.outputs):
            last = i
    plain = re.sub(r"\x1b\[[0-9;]*m", "", error).strip()
    return f"{docname}: code cell {last + 1} of {len(cells)} fails\n{plain}"


def _keep_warnings(app) -> None:
    """Note what Sphinx warns of, so that the end of a build can say it again: the place where one looks."""
    app.course_warnings = []

    def note(record) -> bool:
        app.course_warnings.append(record.getMessage())
        return True

    for handler in getLogger(logging.NAMESPACE).handlers:
        if isinstance(handler, logging.WarningStreamHandler):
            handler.addFilter(note)


def _report(app, exception) -> None:
    if exception is not None or app.builder.format != "html":
        return
    seconds = getattr(app.env, "course_seconds", {})
    if times := {name: seconds[name] for name in sorted(app.env.found_docs) if name in seconds}:
        logger.info(bold("\nexecution times"))
        for name, taken in times.items():
            logger.info(f"  {name:<40} {taken:6.1f} s")
    if app.course_warnings:
        logger.info(bold("\nwarnings, once more"))
        for warning in app.course_warnings:
            logger.info(f"  {warning}")
    if not app._warncount:
        _mark(app).unlink(missing_ok=True)


def setup(app):
    """Connect to Sphinx."""
    _keep_warnings(app)
    app.connect("config-inited", _prepare)
    app.connect("source-read", _source_read)
    app.connect("env-get-outdated", _outdated)
    app.connect("env-before-read-docs", _execute)
    app.connect("build-finished", _report)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
