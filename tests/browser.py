"""A browser without a network, and what a reader would complain of on a page that it shows.

`findings(browser, address)` opens a page as a desktop and as a phone would and returns one sentence for each fault;
`broken_links(root)` needs no browser. Only this machine can be reached: whatever a page asks of another host fails,
and is reported.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

HOST = "127.0.0.1"
DESKTOP, PHONE = (1280, 900), (390, 844)
NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge"]
OPTIONS = [
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def find_browser() -> str | None:
    """The browser to use: the environment variable CHROMIUM, or the first that is installed."""
    candidates = [os.environ.get("CHROMIUM"), *NAMES]
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


@contextmanager
def launch(executable: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=OPTIONS)
        yield browser
        browser.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A browser that is done with a page hangs up; that is no error."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address under which this machine, and no other, can read the folder."""
    with _Server((HOST, 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()


@contextmanager
def opened(browser: Browser, address: str, size=DESKTOP, **options) -> Iterator[tuple[Page, list[str]]]:
    """A page when it and its mathematics are complete, and the list in which its complaints gather."""
    complaints = []
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, **{"reduced_motion": "reduce", **options}
    )
    context.set_default_timeout(60_000)  # a busy machine is no fault of the page
    page = context.new_page()
    page.on("console", lambda m: m.type == "error" and complaints.append(f"console error: {m.text}"))
    page.on("pageerror", lambda error: complaints.append(f"script error: {error}"))
    page.on("request", lambda r: _is_foreign(r.url) and complaints.append(f"asks another host for {r.url}"))
    page.on("requestfailed", lambda r: complaints.append(f"cannot load {r.url}"))
    page.on("response", lambda r: r.status >= 400 and complaints.append(f"status {r.status} for {r.url}"))
    page.goto(address)
    page.evaluate("async () => { await window.MathJax?.startup?.promise; await document.fonts.ready; }")
    yield page, complaints
    context.close()


def _is_foreign(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in {"data", "blob", "about"} and parts.hostname != HOST


# Each of these is evaluated in the page and returns a list of sentences.
UNFOLD = """() => {
    document.querySelectorAll("details").forEach(fold => { fold.open = true; });
    document.querySelectorAll("button.toggle-button-hidden").forEach(button => button.click());
}"""

MATHEMATICS = r"""() => {
    const found = [];
    for (const e of document.querySelectorAll(".math:not(:has(mjx-container))"))
        found.push(`mathematics is not typeset: ${e.textContent.trim().slice(0, 60)}`);
    for (const e of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
        found.push(`mathematics with an error: ${e.getAttribute("data-mjx-error") || e.textContent.slice(0, 60)}`);
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const text = walk.currentNode.data;
        if (/\\[(\[]|\$\$|\\[a-zA-Z]+\{/.test(text)
            && !walk.currentNode.parentElement.closest("script, style, pre, code, mjx-container, .math"))
            found.push(`raw TeX: ${text.trim().slice(0, 60)}`);
    }
    return found;
}"""

PICTURES = """() => {
    const named = e => (e.getAttribute("alt") || e.getAttribute("aria-label") || "").trim();
    // Decoration, where the link or the button around it says in words what it is.
    const decorates = e => (around => around?.textContent.trim() || around?.ariaLabel)(
        e.closest(e.localName === "img" ? "a.navbar-brand" : "button"));
    return [...document.querySelectorAll("img, svg[role=img]:not([aria-hidden=true])")]
        .filter(e => !named(e) && !decorates(e))
        .map(e => `a picture without a text: ${(e.getAttribute("src") || e.outerHTML).slice(0, 80)}`);
}"""

WIDTH = """() => {
    const page = document.documentElement, limit = page.clientWidth;
    const all = [...document.body.querySelectorAll("*:not(mjx-assistive-mml, mjx-container *)")];
    const style = e => getComputedStyle(e);
    const name = e => e.localName + (e.className.trim ? e.className.trim().replace(/^(?=.)|\\s+/g, ".") : "");
    const scrolls = e => e && e !== document.body && (style(e).overflowX !== "visible" || scrolls(e.parentElement));
    const wide = all.filter(e => e.getBoundingClientRect().right > limit + 1 && !scrolls(e.parentElement));
    const cut = all.filter(e => ["hidden", "clip"].includes(style(e).overflowX)
        && e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1 && e.checkVisibility({visibilityProperty: true}));
    const overflows = page.scrollWidth > limit;
    return [
        ...(overflows ? [`the page is ${page.scrollWidth} pixels wide: ${wide.slice(0, 3).map(name)}`] : []),
        ...cut.map(e => `cut off at the right: ${name(e)} ${e.textContent.trim().slice(0, 40)}`),
    ];
}"""

# WCAG 2.2, 1.4.3: the contrast of each visible text with what lies behind it.
CONTRAST = """(theme) => {
    document.documentElement.dataset.theme = theme;
    const parse = text => {
        const n = text.match(/[\\d.e-]+/g).map(Number), unit = text.startsWith("color(") ? 255 : 1;
        return [n[0] * unit, n[1] * unit, n[2] * unit, n.length > 3 ? n[3] : 1];
    };
    const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
    const ground = e => {
        if (!e) return [255, 255, 255, 1];
        const colour = parse(getComputedStyle(e).backgroundColor);
        return colour[3] === 1 ? colour : over(colour, ground(e.parentElement));
    };
    const faded = e => e ? Number(getComputedStyle(e).opacity) * faded(e.parentElement) : 1;
    const luminance = c => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
        const v = c[i] / 255;
        return sum + weight * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    }, 0.05);
    const found = new Map(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const text = walk.currentNode.data.trim(), e = walk.currentNode.parentElement;
        if (!text || e.closest("script, style, noscript") || !e.checkVisibility({visibilityProperty: true})) continue;
        const colour = parse(getComputedStyle(e).color), behind = ground(e);
        colour[3] *= faded(e);
        const [low, high] = [over(colour, behind), behind].map(luminance).sort((a, b) => a - b);
        const key = `${colour}|${behind}`;
        if (high / low < 4.5 && !found.has(key))
            found.set(key, `contrast ${(high / low).toFixed(2)} in the ${theme} theme: "${text.slice(0, 40)}" `
                + `(${e.tagName.toLowerCase()}, rgb ${colour.slice(0, 3)} on ${behind.slice(0, 3).map(Math.round)})`);
    }
    return [...found.values()];
}"""


def findings(browser: Browser, address: str, and_then: Callable[[Page], None] = lambda page: None) -> list[str]:
    """What is wrong with the page at this address, on a desk and on a phone.

    `and_then` is done to the page on the desk; to typeset it once more for that would take most of the time.
    """
    found = []
    for size in (DESKTOP, PHONE):
        with opened(browser, address, size) as (page, complaints):
            page.evaluate(UNFOLD)
            seen = [*page.evaluate(MATHEMATICS), *page.evaluate(PICTURES)]
            if size == PHONE:
                seen += page.evaluate(WIDTH)
            else:  # colours do not depend on the width
                seen += [*page.evaluate(CONTRAST, "light"), *page.evaluate(CONTRAST, "dark")]
                and_then(page)
            found += [f"{line} [{size[0]} pixels wide]" for line in [*complaints, *seen]]
    return list(dict.fromkeys(found))


class _Links(HTMLParser):
    """The anchors of a page, and the addresses it names."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors, self.addresses, self.redirects = set(), [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for key, value in attrs:
            if key == "id" or (key == "name" and tag == "a"):
                self.anchors.add(value)
            elif key in {"href", "src", "action", "poster"} and value:
                self.addresses.append(value)
            elif key == "content" and (dict(attrs).get("http-equiv") or "").lower() == "refresh":
                self.addresses.append(value.partition("url=")[2])
                self.redirects = True


def pages_of(root: Path) -> list[str]:
    """The pages of a built book that one can look at, without the theme's templates."""
    files = (file.relative_to(root).as_posix() for file in sorted(root.rglob("*.html")))
    return [name for name in files if not name.startswith(("_static/", "_sources/"))]


def is_redirect(file: Path) -> bool:
    return _Links(file.read_text(encoding="utf-8")).redirects


def broken_links(root: Path) -> list[str]:
    """The links within a built book that lead nowhere: to no file, or to no such place in it."""
    pages = {root / name: _Links((root / name).read_text(encoding="utf-8")) for name in pages_of(root)}
    found = []
    for page, links in pages.items():
        for address in dict.fromkeys(links.addresses):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = Path(os.path.normpath(page.parent / unquote(parts.path))) if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.is_file() or not target.is_relative_to(root):
                found.append(f"{page.relative_to(root)}: no file for {address}")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                found.append(f"{page.relative_to(root)}: no such place as {address}")
    return found
