"""Presets: complete, typed, and checked before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from mpbook import presets
from mpbook.layout import Book
from mplib.errors import MplibError
from tests.tiny import Tiny, chapter


def test_sets_the_preset_and_the_overrides(tiny: Tiny) -> None:
    book = Book(tiny(presets={"smoke": {"one": {"steps": 1}}}))
    assert presets.resolve(book, "smoke", "one") == {"preset": "smoke", "steps": 1, "rate": 0.1}
    assert presets.resolve(book, "smoke", "one", ["steps=9"])["steps"] == 9
    assert presets.resolve(book, "fast", "one") == {"preset": "fast", "steps": 3, "rate": 0.1}
    presets.check(book)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"one": {"stpes": 1}}, "one, preset full: unknown parameter 'stpes', did you mean 'steps'"),
        ({"one": {"steps": "1"}}, "one, preset full: parameter steps is the string '1', expected int"),
        ({"one": {"preset": "fast"}}, "left to the pipeline"),
        ({"two": {}}, "unknown chapter 'two'"),
        ({"one": 3}, "does not map every chapter"),
    ],
)
def test_refuses_a_wrong_preset(tiny: Tiny, content: dict[str, Any], message: str) -> None:
    book = Book(tiny(presets={"full": content}))
    with pytest.raises(MplibError, match=message):
        presets.check(book)


def test_names_everything_that_is_wrong_at_once(tiny: Tiny) -> None:
    wrong = {"one": {"a": 1}, "two": {"b": 1}}
    book = Book(tiny({"one": chapter(), "two": chapter()}, presets={"smoke": wrong, "full": wrong}))
    with pytest.raises(MplibError) as error:
        presets.check(book)
    assert len(str(error.value).splitlines()) == 4


def test_every_preset_names_every_chapter(tiny: Tiny) -> None:
    book = Book(tiny())
    book.preset("fast").write_text("# nothing\n")
    with pytest.raises(MplibError, match="does not map every chapter"):
        presets.load(book, "fast")
    book.preset("fast").write_text("{}\n")
    with pytest.raises(MplibError, match="lacks one, expected every chapter, at least as 'one: {}'"):
        presets.load(book, "fast")
    book.preset("fast").unlink()
    with pytest.raises(MplibError, match="cannot read"):
        presets.load(book, "fast")
