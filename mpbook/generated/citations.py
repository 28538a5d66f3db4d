"""Where each work of the bibliography is cited: a note that its entry gets when the book is rendered."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from mpbook import texts
from mpbook.layout import Book, read_yaml
from mplib.files import write_text

CITATION = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
ENTRY = re.compile(r"^@\w+\{([^,\s]+),$", re.MULTILINE)


def note(book: Book, site: Path) -> None:
    """Write into the bibliography of the site which numbered chapters cite each work; others cite without a note.

    Args:
        book: the book.
        site: the tree that is rendered, with a copy of the book's pages.
    """
    cited = chapters(book)

    def noted(entry: re.Match[str]) -> str:
        numbers = cited.get(entry[1], [])
        words = f"Cited in chapter{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
        return f"{entry[0]}\n  note = {{{words}}}," if numbers else entry[0]

    for path in (site / "book").glob("*.bib"):
        write_text(path, ENTRY.sub(noted, path.read_text(encoding="utf-8")))


def chapters(book: Book) -> dict[str, list[int]]:
    """The numbers of the chapters that cite each work, by its key."""
    parts = read_yaml(book.root / "_toc.yml").get("parts", [])
    numbered = [Path(page["file"]).name for part in parts if part.get("numbered") for page in part["chapters"]]
    cited: dict[str, list[int]] = defaultdict(list)
    for page in (page for page in book.pages if page.stem in numbered):
        found = {
            key.strip()
            for _, text in texts.texts(book.root / page)
            for keys in CITATION.findall(text)
            for key in keys.split(",")
        }
        for key in found:
            cited[key].append(numbered.index(page.stem) + 1)
    return dict(cited)
