"""The browser over two pipes: it opens files, answers, and says what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mpbook import browser
from mplib.errors import MplibError

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def view() -> Iterator[browser.Browser]:
    with browser.Browser(browser.find()) as opened:
        yield opened


def test_a_page_is_opened_at_a_width_and_in_a_colour(view: browser.Browser, tmp_path: Path) -> None:
    page = tmp_path / "a page.html"
    head = "<!doctype html><meta charset=utf-8><meta name=viewport content=width=device-width>"
    page.write_text(f"{head}<title>Ä</title>")
    view.open(page, 390, dark=True)
    assert view.ask("[document.title, innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [
        "Ä", 390, True,
    ]  # fmt: skip
    view.view(1280)
    assert view.ask("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [1280, False]
    assert view.ask("new Promise(done => setTimeout(() => done(3), 10))") == 3


def test_long_answers_come_whole(view: browser.Browser) -> None:
    assert view.ask("'x'.repeat(3_000_000)") == "x" * 3_000_000


def test_what_fails_is_said(view: browser.Browser) -> None:
    with pytest.raises(MplibError, match="the script failed in the page"):
        view.ask("nothing.at.all")
    with pytest.raises(MplibError, match=r"the browser refuses Page\.dance"):
        view.call("Page.dance")


def test_a_browser_that_ends_is_reported() -> None:
    with pytest.raises(MplibError, match="the browser"), browser.Browser("/bin/true"):
        pass
