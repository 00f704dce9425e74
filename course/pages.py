"""Sphinx extension for what the pages have that Jupyter Book does not bring: traps, and chapters to download.

A trap is a box, `{trap} Title` with the option `:number: E82`, that shows a tempting mistake where it bites; the
directive `{trap-list}` lists them all. Each chapter can be downloaded as it was executed in this build, as `.ipynb`,
beside its MyST source. The formulas of docstrings are typeset in the reference.
"""

import re
from pathlib import Path
from typing import ClassVar

import nbformat
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from course.execution import executed


class Trap(SphinxDirective):
    """`{trap} Title`: a box with a look of its own, which the list of traps finds again."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar = {"number": directives.unchanged_required, "unlisted": directives.flag}

    def run(self):
        """Make an admonition and remember it."""
        traps = [trap for trap in _traps(self.env) if trap["page"] == self.env.docname]
        anchor = f"trap-{len(traps) + 1}"
        title = self.arguments[0]
        box = nodes.admonition(classes=["trap"], ids=[anchor])
        heading, messages = self.state.inline_text(title, self.lineno)
        box += nodes.title(title, "", *heading)
        self.state.nested_parse(self.content, self.content_offset, box)
        if "unlisted" not in self.options:
            _traps(self.env).append(
                {"page": self.env.docname, "anchor": anchor, "title": title, "numbers": self.options.get("number", "")}
            )
        self.set_source_info(box)
        return [box, *messages]


class TrapList(SphinxDirective):
    """`{trap-list}`: filled in when all pages have been read."""

    def run(self):
        """Leave a place for the list."""
        return [_TrapListPlace()]


class _TrapListPlace(nodes.General, nodes.Element):
    pass


def _traps(env) -> list[dict]:
    if not hasattr(env, "course_traps"):
        env.course_traps = []
    return env.course_traps


def _forget(app, env, docname) -> None:
    env.course_traps = [trap for trap in _traps(env) if trap["page"] != docname]


def _bind(app, doctree) -> None:
    """Keep a punctuation mark on the line of the inline formula before it."""
    for formula in list(doctree.findall(nodes.math)):
        paragraph, place = formula.parent, formula.parent.index(formula)
        after = next(iter(paragraph[place + 1 :]), None)
        mark = re.match(r"[.,;:!?)’”]+", after) if isinstance(after, nodes.Text) else None
        if mark:
            bound = nodes.inline("", "", formula.deepcopy(), nodes.Text(mark[0]), classes=["bound"])
            paragraph[place : place + 2] = [bound, nodes.Text(after[mark.end() :])]


def _fill(app, doctree, docname) -> None:
    for place in list(doctree.findall(_TrapListPlace)):
        content = []
        for page in dict.fromkeys(p for p in _reading_order(app.env) if any(t["page"] == p for t in _traps(app.env))):
            content.append(nodes.rubric("", app.env.titles[page].astext()))
            items = [_entry(app, docname, trap) for trap in _traps(app.env) if trap["page"] == page]
            content.append(nodes.bullet_list("", *items))
        place.replace_self(content)


def _reading_order(env) -> list[str]:
    order, waiting = [], [env.config.root_doc]
    while waiting:
        page = waiting.pop(0)
        order.append(page)
        waiting = list(env.toctree_includes.get(page, [])) + waiting
    return order


def _entry(app, docname, trap) -> nodes.list_item:
    target = app.builder.get_relative_uri(docname, trap["page"]) + "#" + trap["anchor"]
    link = nodes.reference("", trap["title"], internal=True, refuri=target)
    numbers = [nodes.Text(f" ({trap['numbers']})")] if trap["numbers"] else []
    return nodes.list_item("", nodes.paragraph("", "", link, *numbers))


def _list_pages(app, env) -> list[str]:
    """The list of traps is written again in every build: it is short, and any page may have changed it."""
    return [name for name in ("book/traps",) if name in env.found_docs]


def _offer_notebook(app, pagename, templatename, context, doctree) -> None:
    if doctree is None or app.builder.format != "html" or not (run := executed(app.env, pagename)):
        return
    target = Path(app.outdir, "_sources", f"{pagename}.ipynb")
    target.parent.mkdir(parents=True, exist_ok=True)
    notebook = run[0]
    notebook.metadata.get("kernelspec", {}).pop("rests_on", None)
    nbformat.write(notebook, target)
    for group in context.get("header_buttons", []):
        if group.get("label") == "download-buttons":
            group["buttons"].insert(
                0,
                {
                    "type": "link",
                    "url": context["pathto"](f"_sources/{pagename}.ipynb", 1),
                    "tooltip": "Download the chapter as a notebook, with its results",
                    "text": ".ipynb",
                    "icon": "fas fa-book",
                    "label": "download-notebook-button",
                },
            )


def _typeset(app, what, name, thing, options, lines) -> None:
    """Our docstrings set a formula off by two spaces on either side; in the book it gets a face of its own."""
    for i, line in enumerate(lines):
        parts = re.split(r"(?<=\S)  (?=\S)", line)
        parts[1::2] = [f":formula:`{part}`" for part in parts[1::2]]
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[i] = " ".join(parts)


def _short_types(app, what, name, thing, options, signature, returns):
    """Write types as the course speaks of them: a number or an array of numbers, an array and its shape."""

    def short(text):
        text = re.sub(r"~?\w+\.(?=[A-Z])", "", text or "")
        text = re.sub(r"\b(?:Real|Float|Int|Bool)\[(?:ndarray|Tensor), '\{?([^'}]*)\}?'\]", r"array['\1']", text)
        return text.replace("Real | array['*#shape']", "numbers").replace("Real", "number") or None

    return short(signature), short(returns)


def setup(app):
    """Connect to Sphinx."""
    app.connect("autodoc-process-signature", _short_types)
    app.add_generic_role("formula", lambda raw, text: nodes.inline(raw, text, classes=["formula"]))
    app.connect("autodoc-process-docstring", _typeset)
    app.add_node(_TrapListPlace)
    app.add_directive("trap", Trap)
    app.add_directive("trap-list", TrapList)
    app.connect("env-purge-doc", _forget)
    app.connect("env-updated", _list_pages)
    app.connect("doctree-read", _bind)
    app.connect("doctree-resolved", _fill)
    app.connect("html-page-context", _offer_notebook, priority=900)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": False}
