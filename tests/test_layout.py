"""Where the pages, chapters and results of a book are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpbook.layout import Book, find, read_yaml
from mplib.errors import MplibError
from tests.tiny import Tiny, chapter


def test_the_table_of_contents_is_the_list_of_chapters(tiny: Tiny) -> None:
    book = Book(tiny({"one": chapter(), "two": chapter()}))
    assert book.pages == (Path("book/index.md"), Path("book/one.ipynb"), Path("book/two.ipynb"))
    assert book.chapters == ("one", "two")
    assert book.executed("smoke", "two") == book.root / "build/smoke/book/two.ipynb"


def test_parts_and_sections_are_read_in_order(tiny: Tiny) -> None:
    root = tiny({"one": chapter(), "two": chapter(), "three": chapter()})
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n- caption: A\n  chapters:\n  - file: book/two\n"
        "    sections:\n    - file: book/three\n- caption: B\n  chapters:\n  - file: book/one\n"
    )
    assert Book(root).chapters == ("two", "three", "one")


def test_is_found_from_below(tiny: Tiny) -> None:
    root = tiny()
    assert find(root / "book" / "presets").root == root
    with pytest.raises(MplibError, match="no book at or above"):
        find(Path("/"))


@pytest.mark.parametrize(
    ("toc", "message"),
    [
        ("root: book/index\nchapters: [{file: book/none}]", "there is no such page"),
        ("root: book/index\nchapters: [{file: book/one}, {file: book/one}]", "names book/one twice"),
        ("root: book/index", "names no notebook"),
        ("root: [", "not valid YAML"),
    ],
)
def test_refuses_a_wrong_table_of_contents(tiny: Tiny, toc: str, message: str) -> None:
    root = tiny()
    (root / "_toc.yml").write_text(toc)
    with pytest.raises(MplibError, match=message):
        _ = Book(root).chapters


def test_refuses_two_sources_of_one_page(tiny: Tiny) -> None:
    root = tiny()
    (root / "book" / "one.md").write_text("# Again\n")
    with pytest.raises(MplibError, match="expected exactly one"):
        _ = Book(root).pages


def test_refuses_unknown_names(tiny: Tiny) -> None:
    book = Book(tiny())
    with pytest.raises(MplibError, match="unknown chapter 'on', did you mean 'one'"):
        book.source("on")
    with pytest.raises(MplibError, match="unknown preset 'fats', did you mean 'fast'"):
        book.preset("fats")
    with pytest.raises(MplibError, match=r"it has no _config\.yml"):
        Book(book.root / "book")
    with pytest.raises(MplibError, match="cannot read"):
        read_yaml(book.root / "none.yml")


def test_chapters_of_numbered_parts_are_counted_through(tiny: Tiny) -> None:
    root = tiny()
    (root / "book" / "two.ipynb").write_text((root / "book" / "one.ipynb").read_text())
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n- numbered: true\n  chapters: [{file: book/one}]\n"
        "- numbered: true\n  chapters: [{file: book/two}]\n- chapters: [{file: book/index}]\n"
    )
    assert Book(root).numbers == {"one": 1, "two": 2}
