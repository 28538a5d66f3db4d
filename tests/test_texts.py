"""What is text on a page and what is not."""

from __future__ import annotations

import pytest

from mpbook.layout import Book
from mpbook.texts import prose, texts
from tests.tiny import Tiny, chapter


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a `b` c $d$ e", "a c e"),
        ("a\n```python\nb\n```\nc", "a c"),
        ("````{exercise} T\n```\nb\n```\na\n````\nc", "a c"),
        ("{doc}`b` a [c](d.md) https://e.org <!-- f\ng -->", "a [c"),
        ("a\n$$\nb\n$$ c\n% d", "a c"),
    ],
)
def test_code_mathematics_and_addresses_are_left_out(text: str, left: str) -> None:
    assert prose(text).split() == left.split()


def test_what_else_is_left_out_can_be_said() -> None:
    assert prose("a bcd e", r"b\w+").split() == ["a", "e"]


def test_captions_and_alternative_texts_are_texts(tiny: Tiny) -> None:
    root = tiny({"one": chapter()}, index="# Front\n")
    found = [list(texts(root / page)) for page in Book(root).pages]
    assert found[0] == [("", "# Front\n")]
    assert [place for place, _ in found[1]] == [", cell title", ", figure of cell figure", ", figure of cell figure"]
