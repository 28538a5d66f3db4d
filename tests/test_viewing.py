"""Looking at pages: what sticks out, is too pale, fails or needs the network is found, and a good page passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpbook import browser, viewing
from mpbook.layout import Book

GOOD = (
    "<!doctype html><html><head><meta name='viewport' content='width=device-width'><style>"
    "@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #eee }} }} "
    ".wide {{ overflow-x: auto }} .wide p {{ width: 900px }}</style>{head}</head><body><main><article><h1>T</h1>"
    "<p>Text.</p><div class='wide'><p>Scrolls by itself.</p></div>{body}</article></main></body></html>"
)


def _look(folder: Path, head: str = "", body: str = "") -> list[str]:
    page = folder / "index.html"
    page.write_text(GOOD.format(head=head, body=body))
    return list(viewing.problems(browser.find(), folder, [page]))


@pytest.mark.browser
def test_a_good_page_passes(tmp_path: Path) -> None:
    assert _look(tmp_path) == []


@pytest.mark.browser
def test_everything_that_is_wrong_is_found_in_its_view(tmp_path: Path) -> None:
    found = _look(
        tmp_path,
        "<script src='http://localhost:9/x.js'></script><script>undefinedThing()</script>",
        "<div style='width:700px'>wide</div><p style='color:#888;background:#fff'>pale</p>"
        "<p class='dim' style='color:#555'>dim</p>"
        "<script>console.error('unwell')</script>",
    )
    text = "\n".join(found)
    assert "index.html, 390 pixels: sticks out at the side: div wide" in text
    assert "1280 pixels: sticks out" not in text
    assert "index.html, 1280 pixels: too pale to read: p. 3.5:1, 'pale'" in text
    assert "index.html, 390 pixels, dark: too pale to read: p.dim 2.5:1, 'dim'" in text
    assert "390 pixels: too pale to read: p.dim" not in text
    assert "a script fails: ReferenceError: undefinedThing" in text
    assert "a script complains: unwell" in text
    assert "asks the network for http://localhost:9/x.js" in text


@pytest.mark.browser
def test_the_pages_of_a_book_are_in_order(rendered: Book) -> None:
    said: list[str] = []
    assert viewing.report(rendered.root / "_build" / "html", said.append) == 0, said
    assert said[-1].endswith("0 problems")


def test_without_a_browser_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "find", str)
    said: list[str] = []
    assert viewing.report(tmp_path, said.append) == 0
    assert "there is no browser here" in said[0]
