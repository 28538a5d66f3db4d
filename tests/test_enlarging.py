"""Figures lead to their files."""

from __future__ import annotations

from mpbook.enlarging import linked


def test_a_figure_is_a_link_once() -> None:
    picture = '<img alt="A line." class="x" src="../_images/a.png" />'
    once = linked(f"<figure>{picture}</figure>")
    assert once == f'<figure><a class="mpbook-figure" href="../_images/a.png">{picture}</a></figure>'
    assert linked(once) == once


def test_what_is_no_picture_of_the_book_stays() -> None:
    for text in ('<img alt="Logo." src="../_static/logo.svg" />', "<p>No picture.</p>"):
        assert linked(text) == text
