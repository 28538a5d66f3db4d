"""The checks of built pages, on pages made by hand: each finds what it is for, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mpbook.htmlcheck import pages, problems
from mplib.errors import MplibError

GOOD = """
<html><body><nav><h2>Menu</h2><a href="other.html#part">x</a></nav><article>
<h1 id="top">Title</h1><p>See <a href="#top">above</a>, <a href="https://example.org/x#y">elsewhere</a> and
<a href="mailto:a@b.c">mail</a>. Banana, nan-free. Is it so?</p>
<h2>One</h2><h3>Two</h3><h2>Three</h2>
<img src="_images/a.png" alt="Accuracy/loss of two networks rises.">
<div class="cell"><div class="cell_input"><pre>x = float("nan") ?? Traceback (most recent call last)</pre></div>
<div class="cell_output"><pre>0.5</pre></div></div>
<details data-runs="0f"><a href="runs/0f.json">0f</a></details>
<p><code>{ref}</code></p></article></body></html>
"""
OTHER = '<html><body><article><h1>Other</h1><p id="part">Part</p></article></body></html>'


def _site(folder: Path, page: str) -> list[str]:
    (folder / "_images").mkdir()
    (folder / "_images" / "a.png").touch()
    (folder / "runs").mkdir()
    (folder / "runs" / "0f.json").touch()
    (folder / "index.html").write_text(page)
    (folder / "other.html").write_text(OTHER)
    return problems(folder)


def test_a_good_page_passes(tmp_path: Path) -> None:
    assert _site(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('alt="Accuracy/loss of two networks rises."', 'alt="A plot"', "text of 6 characters"),
        ("<h3>Two", '<img src="_images/a.png" alt="Accuracy/loss of two networks rises."><h3>Two', "of another image"),
        ("<pre>0.5", "<pre>0.5" + "\n0" * 70, "an output has 70 lines, expected at most 60"),
        ("<pre>0.5", f"<table>{'<tr><td>1</td></tr>' * 61}</table><pre>", "an output has 61 rows"),
        (
            "<h2>One",
            '<script src="https://example.org/x.js"></script><h2>One',
            "needs https://example.org/x.js from",
        ),
        ("<h2>One", '<link rel="stylesheet" href="//example.org/x.css"><h2>One', "needs //example.org/x.css from the"),
        (' alt="Accuracy/loss of two networks rises."', "", "has no alternative text"),
        ('alt="Accuracy/loss of two networks rises."', 'alt=" "', "has no alternative text"),
        ("Accuracy/loss of two networks rises.", "../_images/3fd1.png", "which is a file's name"),
        ("Accuracy/loss of two networks rises.", "my figure.svg", "which is a file's name"),
        ('src="_images/a.png"', 'src="_images/b.png"', "_images/b.png leads to no file"),
        ('href="#top"', 'href="#bottom"', "#bottom leads to no such place"),
        ("other.html#part", "other.html#parts", "other.html#parts leads to no such place"),
        ("other.html#part", "another.html", "another.html leads to no file"),
        ("other.html#part", "../../etc/passwd", "leads to no file"),
        ("<h1 id", "<h2 id", "0 headings of the first level"),
        ("<h2>Three</h2>", "<h1>Three</h1>", "2 headings of the first level"),
        ("<h2>One</h2>", "", "'Two' is of level 3 after one of level 1"),
        ("<pre>0.5", "<pre>Traceback (most recent call last): x", "an output holds a traceback"),
        ("<pre>0.5", '<pre class="traceback">x', "an output holds a traceback"),
        ("<pre>0.5", "<pre>loss nan", "an output holds 'nan'"),
        ("<pre>0.5", '<pre class="stderr">UserWarning: x', "written to stderr: UserWarning: x"),
        ("Is it so?", '<span class="problematic">`x`</span>', "a message of the build"),
        ('data-runs="0f"', 'data-runs="0f 1e"', "the run 1e is named and has no row among the pages"),
        ('<a href="runs/0f.json">0f</a>', "0f", "the run 0f is named without a link to its row"),
        ("Is it so?", "as in ??", "an unresolved reference: .*as in"),
        ("Is it so?", "{numref}`fig`", "an unresolved reference"),
    ],
)
def test_finds_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    found = _site(tmp_path, GOOD.replace(old, new, 1))
    assert len(found) == 1
    assert found[0].startswith("index.html: ")
    assert re.search(message, found[0])


def test_pages_of_the_theme_and_redirects_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "genindex.html").write_text("<article><p>No heading</p></article>")
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "x.html").write_text('<a href="none.html">x</a>')
    redirect = '<meta http-equiv="Refresh" content="0; url=other.html"><a href="other.html">go</a>'
    assert _site(tmp_path, redirect) == []


def test_the_pages_that_are_read_are_listed(tmp_path: Path) -> None:
    _site(tmp_path, GOOD)
    (tmp_path / "search.html").write_text("<p>search</p>")
    (tmp_path / "old.html").write_text('<meta http-equiv="refresh" content="0; url=other.html">')
    assert [page.name for page in pages(tmp_path)] == ["index.html", "other.html"]


def test_there_has_to_be_a_book(tmp_path: Path) -> None:
    with pytest.raises(MplibError, match=r"there is no .*index\.html"):
        problems(tmp_path)
