"""How a page asks for a generated part, and small pieces of HTML that the parts are made of."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path

from mpbook.page import Shown

MARK = re.compile(r"^<!-- generated: (\w+)((?: [\w.]+)*) -->$", re.MULTILINE)
"""The line of a page that a part is put in the place of: its name, and words for it."""


def code(text: object) -> Shown:
    """Something in the letters of code, for a cell of a table."""
    return Shown(f"<code>{html.escape(str(text))}</code>", str(text))


def link(target: str, text: str) -> Shown:
    """A link, for a cell of a table."""
    return Shown(f'<a href="{html.escape(target)}">{html.escape(text)}</a>', text)


def run(row: Path) -> Shown:
    """The id of a run as a link to its row, which the rendering puts beside the pages."""
    key = row.stem
    return Shown(f'<span data-runs="{key}"><a href="../runs/{key}.json"><code>{key}</code></a></span>', key)


def prose(text: str) -> str:
    """A sentence of a docstring or a help text, with ``code`` marked up."""
    return re.sub(r"(``?)([^`]+)\1", r"<code>\2</code>", html.escape(text, quote=False))


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of words in the letters of code, each with its meaning."""
    items = "".join(f"<dt><code>{html.escape(word)}</code></dt><dd>{prose(text)}</dd>" for word, text in pairs)
    return f'<dl class="mpbook-definitions">{items}</dl>'
