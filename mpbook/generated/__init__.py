"""Parts of pages that are made from the code when the book is rendered, and are committed nowhere.

A page of the book says where such a part goes, in a line of its own, and keeps the words around it::

    <!-- generated: parameters -->

The name may be followed by words for the part, such as the modules that a part of the API describes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mpbook.generated import api, citations, commands, costs, names, parameters, upshot
from mpbook.generated.markup import MARK
from mpbook.layout import Book
from mplib.errors import unknown
from mplib.files import write_text

PARTS: dict[str, Callable[[Book, list[str]], str]] = {
    "parameters": lambda book, words: parameters.text(book),
    "commands": lambda book, words: commands.text(),
    "names": lambda book, words: names.text(),
    "costs": lambda book, words: costs.text(book),
    "records": lambda book, words: costs.records(book),
    "upshot": lambda book, words: upshot.text(book),
    "surface": lambda book, words: api.surface(),
    "modules": lambda book, words: api.overview(book),
    "api": lambda book, words: api.text(book, words),
}
"""What makes each part: MyST text from the book and the words after the name."""


def fill(book: Book, site: Path) -> None:
    """Put the generated parts into the pages of a source tree, and into its bibliography where each work is cited.

    Args:
        book: the book.
        site: the tree that is rendered, with a copy of the book's pages.

    Raises:
        MplibError: a page asks for a part that there is not.
    """
    citations.note(book, site)
    for page in book.pages:
        path = site / page
        if page.suffix != ".md" or not MARK.search(before := path.read_text(encoding="utf-8")):
            continue
        write_text(path, MARK.sub(lambda mark: _part(book, mark), before))


def _part(book: Book, mark: re.Match[str]) -> str:
    if mark[1] not in PARTS:
        raise unknown("generated part", mark[1], PARTS)
    return PARTS[mark[1]](book, mark[2].split())
