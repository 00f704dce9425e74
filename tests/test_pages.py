"""Every page of the built book, opened in a browser that can reach nothing but this machine.

`make pages` runs these; `BOOK_HTML=folder` looks at another build, `CHROMIUM=path` takes another browser. Where there
is no book or no browser the tests are skipped, except in continuous integration (CI is set), where they fail.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from course import plots
from tests import browser as b

pytestmark = pytest.mark.machinery

ROOT = Path(os.environ.get("BOOK_HTML", Path(__file__).parents[1] / "_build" / "html")).resolve()
PAGES = [name for name in b.pages_of(ROOT) if not b.is_redirect(ROOT / name)]


def absent(reason: str):
    """Skip; but where a build is being judged, what could not be checked has failed."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def browser():
    executable = b.find_browser() or absent("no browser found: install chromium, or name one in CHROMIUM")
    with b.launch(executable) as running:
        yield running


@pytest.fixture(scope="module")
def book():
    if not PAGES:
        absent(f"no book in {ROOT}: run make book first")
    with b.serve(ROOT) as address:
        yield address


def told(findings: list[str]) -> str:
    return "\n  ".join([f"{len(findings)} findings:", *findings])


@pytest.mark.parametrize("name", PAGES or ["no book"])
def test_a_page_is_complete_and_legible_and_its_sliders_move_their_pictures(name, book, browser):
    found = b.findings(browser, f"{book}/{name}", and_then=try_keys)
    assert not found, told(found)


def test_every_link_within_the_book_leads_somewhere(book):
    found = b.broken_links(ROOT)
    assert not found, told(found)


def test_search_finds_pages_without_a_network(book, browser):
    with b.opened(browser, f"{book}/search.html") as (page, complaints):
        page.locator("main input[name=q]").fill("likelihood")
        page.keyboard.press("Enter")
        result = page.locator("#search-results li a").first
        result.wait_for()
        assert not complaints, told(complaints)
        result.click()  # from here on the page gives up what it was still fetching for its list
        page.wait_for_url(lambda address: "search.html" not in address)


def test_the_dark_switch_darkens_the_page_and_is_remembered(book, browser):
    background = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    with b.opened(browser, f"{book}/{PAGES[0]}") as (page, _):
        assert min(page.evaluate(background)) > 230
        for _ in range(3):
            if page.evaluate("document.documentElement.dataset.theme") == "dark":
                break
            page.locator(".theme-switch-button:visible").first.click()
        assert max(page.evaluate(background)) < 50
        page.reload()
        assert max(page.evaluate(background)) < 50


def shown(player) -> list[str]:
    """The texts of the frames that can be seen: there should be one."""
    return [frame.get_attribute("alt") for frame in player.locator("img").all() if frame.is_visible()]


def try_keys(page):
    """Walk through every player of a page, with the keyboard alone."""
    for player in page.locator(".player").all():
        texts = [frame.get_attribute("alt") for frame in player.locator("img").all()]
        slider = player.get_by_role("slider")
        slider.focus()
        for key, at in [("Home", 0), ("ArrowRight", 1), ("End", -1), ("ArrowLeft", -2)]:
            page.keyboard.press(key)
            assert shown(player) == [texts[at]], key
        assert slider.get_attribute("aria-valuetext") == player.locator("output").inner_text()


# The player by itself


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A page with two players, as the book shows them."""

    def powers(figure, power):
        figure.subplots().plot(np.linspace(0, 1, 9) ** power)

    first = plots.player(powers, [1, 2, 3], label="power", alt="A curve")
    second = plots.player(powers, [4, 5, 6], label="degree", alt=lambda n: f"Curve {n}", start=1, form="png")
    bodies = [player._repr_mimebundle_()["text/html"] for player in (first, second)]
    folder = tmp_path_factory.mktemp("stage")
    (folder / "index.html").write_text(HEAD.format("\n".join(bodies)), encoding="utf-8")
    with b.serve(folder) as address:
        yield f"{address}/index.html"


HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>html[data-theme=dark] body {{ background: #111; color: #eee }}</style></head><body>{}</body></html>"""


def test_players_move_by_keyboard_and_leave_each_other_alone(stage, browser):
    assert b.findings(browser, stage) == []
    with b.opened(browser, stage) as (page, _):
        one, two = page.locator(".player").all()
        assert (shown(one), shown(two)) == (["power = 1. A curve"], ["Curve 5"])
        one.get_by_label("power").press("ArrowRight")
        assert (shown(one), shown(two)) == (["power = 2. A curve"], ["Curve 5"])
        try_keys(page)


def test_a_player_plays_when_asked_stops_at_the_end_and_keeps_its_height(stage, browser):
    with b.opened(browser, stage, reduced_motion="no-preference") as (page, _):
        player = page.locator(".player").first
        height = player.bounding_box()["height"]
        button = player.get_by_role("button")
        assert button.get_attribute("aria-label") == "Play"
        button.press("Enter")
        assert button.get_attribute("aria-label") == "Pause"
        page.wait_for_function("document.querySelector('.player button').ariaLabel === 'Play'")
        assert shown(player) == ["power = 3. A curve"]
        assert player.bounding_box()["height"] == height


def test_who_prefers_no_motion_gets_a_slider_only(stage, browser):
    with b.opened(browser, stage) as (page, _):
        assert not page.locator(".player button").first.is_visible()


def test_without_scripts_a_player_is_its_first_picture(stage, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(stage)
    assert shown(page.locator(".player").first) == ["power = 1. A curve"]
    assert not page.locator(".player input").first.is_visible()
    context.close()


# The checks themselves: each fault must be found, and by its name

FAULTS = {
    "script from elsewhere": ('<script src="https://cdn.example.org/x.js"></script>', "another host"),
    "picture from elsewhere": ('<img alt="x" src="//example.org/x.png">', "another host"),
    "missing file": ('<img alt="x" src="missing.png">', "status 404"),
    "picture without a text": ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "without a text"),
    "blank text": ('<img alt=" " src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "without a text"),
    "drawing without a text": ('<svg role="img" width="9" height="9"></svg>', "without a text"),
    "raw TeX": (r"<p>Let \(x\) be</p>", "raw TeX"),
    "raw dollars": ("<p>Let $$x$$ be</p>", "raw TeX"),
    "a command left over": (r"<p>so \frac{1}{2}</p>", "raw TeX"),
    "mathematics left alone": (r'<span class="math">\(x\)</span>', "not typeset"),
    "mathematics with an error": ('<mjx-container><mjx-merror data-mjx-error="Missing }"></mjx-merror>', "Missing }"),
    "wide element": ('<div style="width: 500px">x</div>', "pixels wide: div"),
    "text that is cut off": ('<div style="width: 50px; overflow: hidden">disproportionately</div>', "cut off"),
    "console error": ("<script>console.error('oh')</script>", "console error: oh"),
    "script error": ("<script>nothing.here()</script>", "nothing is not defined"),
    "pale text": ('<p style="color: #999; background: #fff">pale</p>', "contrast 2.85 in the light theme"),
    "faded text": ('<p style="opacity: .5">pale</p>', "in the light theme"),
    "dark in the dark": ('<p style="color: #222">dark</p>', "in the dark theme"),
    "pale code in a fold": ("<details><code style='color: #aaa'>x</code></details>", "contrast 2.32"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault, tmp_path, browser):
    body, says = FAULTS[fault]
    (tmp_path / "index.html").write_text(HEAD.format(body), encoding="utf-8")
    with b.serve(tmp_path) as address:
        found = b.findings(browser, f"{address}/index.html")
    assert any(says in line for line in found), told(found)


def test_a_sound_page_has_no_findings(tmp_path, browser):
    sound = (
        r"""<h1 id="a">Sound</h1><p>Text and <code>\(code\)</code>, <a href="#a">here</a>.</p>
    <a class="navbar-brand" href="#a"><img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACw="> The book</a>
    <style>html[data-theme=dark] a { color: #9cf }</style>
    <pre style="overflow-x: auto">"""
        + "wide " * 200
    )
    (tmp_path / "index.html").write_text(HEAD.format(sound), encoding="utf-8")
    with b.serve(tmp_path) as address:
        found = b.findings(browser, f"{address}/index.html")
    assert found == []
    assert b.broken_links(tmp_path) == []


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ('<a href="no.html">', "index.html: no file for no.html"),
        ('<a href="#no">', "index.html: no such place as #no"),
        ('<a href="sub/other.html#no">', "index.html: no such place as sub/other.html#no"),
        ('<script src="x.js?v=1">', "index.html: no file for x.js?v=1"),
        ('<a href="../../etc">', "index.html: no file for ../../etc"),
        ('<meta http-equiv="refresh" content="0; url=gone.html">', "index.html: no file for gone.html"),
    ],
)
def test_a_broken_link_is_found(link, says, tmp_path):
    (tmp_path / "index.html").write_text(link, encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other.html").write_text('<p id="yes"><a href="../index.html">', encoding="utf-8")
    assert b.broken_links(tmp_path) == [says]


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_what_cannot_be_checked_fails_only_where_a_build_is_judged(ci, outcome, monkeypatch):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no book"):
        absent("no book")
