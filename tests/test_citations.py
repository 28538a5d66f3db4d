"""The bibliography says where each work is cited."""

from __future__ import annotations

import re
from pathlib import Path

from mpbook.generated import citations
from mpbook.layout import Book
from tests.tiny import Tiny

ROOT = Path(__file__).resolve().parent.parent
BIB = "@book{one,\n  title = {One}\n}\n@book{two,\n  title = {Two}\n}\n"


def test_an_entry_names_its_chapters_by_number(tiny: Tiny) -> None:
    root = tiny({"one": [tiny.markdown("title", "# A tiny chapter\n\nBoth {cite}`one,three`, again {cite:p}`one`.")]})
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n- numbered: true\n  chapters:\n  - file: book/one\n"
    )
    assert citations.chapters(Book(root)) == {"one": [1], "three": [1]}
    (root / "book" / "works.bib").write_text(BIB)
    citations.note(Book(root), root)
    noted = (root / "book" / "works.bib").read_text()
    assert noted == BIB.replace("{one,\n", "{one,\n  note = {Cited in chapter 1},\n")


def test_every_work_of_the_book_is_cited_and_every_cited_work_is_there() -> None:
    works = set(citations.ENTRY.findall((ROOT / "book" / "references.bib").read_text(encoding="utf-8")))
    book = Book(ROOT)
    pages = (ROOT / page for page in book.pages)
    cited = {
        key.strip()
        for page in pages
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page.read_text(encoding="utf-8"))
        for key in keys.split(",")
    }
    assert works == cited
    assert set(citations.chapters(book)) <= works
