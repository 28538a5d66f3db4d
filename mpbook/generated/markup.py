"""How a page asks for a generated part, and small pieces of HTML that the parts are made of."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path

from mpbook import notebooks
from mpbook.layout import Book
from mpbook.page import Shown

MARK = re.compile(r"^<!-- generated: (\w+)((?: [\w.]+)*) -->$", re.MULTILINE)
"""The line of a page that a part is put in the place of: its name, and words for it."""


def code(text: object) -> Shown:
    """Something in the letters of code, for a cell of a table."""
    return Shown(f"<code>{html.escape(str(text))}</code>", str(text))


def link(target: str, text: str) -> Shown:
    """A link, for a cell of a table."""
    return Shown(f'<a href="{html.escape(target)}">{html.escape(text)}</a>', text)


def heading(book: Book, chapter: str) -> str:
    """The title of a chapter behind its number, as the side bar has it."""
    title = notebooks.title(notebooks.read(book.source(chapter)))
    return f"{book.numbers[chapter]}. {title}" if chapter in book.numbers else title


def chapters(book: Book, names: Iterable[str]) -> Shown | None:
    """Links to chapters, by their numbers, for a cell of a table; None for no chapters."""
    links = [link(f"{name}.html", str(book.numbers.get(name, name.replace("_", " ")))) for name in names]
    return Shown(", ".join(each.page for each in links), ", ".join(each.plain for each in links)) if links else None


def run(row: Path) -> Shown:
    """The id of a run as a link to its row, which the rendering puts beside the pages."""
    key = row.stem
    return Shown(f'<span data-runs="{key}"><a href="../runs/{key}.json"><code>{key}</code></a></span>', key)


def plain(text: str) -> str:
    """A sentence of a docstring or a help text as MyST: what is meant for a keyboard becomes code, the rest stays text.

    Example:
        >>> plain("what is in --out, see ``mplib data list`` and $MPLIB_DATA; 2 * 3 < 7")
        'what is in `--out`, see `mplib data list` and `$MPLIB_DATA`; 2 \\\\* 3 \\\\< 7'
    """
    words = re.split(r"(``?[^`]+``?|(?<![\w-])--\w[\w-]*|\$\w+)", text)
    for i, word in enumerate(words):
        words[i] = f"`{word.strip('`')}`" if i % 2 else re.sub(r"([*_<>|\[\]])", r"\\\1", word)
    return "".join(words)
