"""No result is typed: a text may not hold a number that looks measured, unless a list says what it is.

What looks measured: a decimal fraction, or a number (in digits or as a word) before a unit of results, such as ``%``,
points, nats, times, seconds, MB. Code, mathematics, roles, links, comments and the row ``| Time |`` of a chapter's
table of needs (a promise, rounded) are left out. What is left has to come from a code cell, or to be in
``book/typed_numbers.yml`` with the reason why it is no result: a constant of the protocol, a definition, arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mpbook import texts
from mpbook.layout import Book, read_yaml
from mplib.errors import MplibError

ALLOWED = "typed_numbers.yml"

_WORDS = (
    "half|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty|"
    "seventy|eighty|ninety|hundred|thousand|third|thirds|quarter|quarters|fifth|tenth|tenths"
)
_UNITS = (
    r"(?:of an? )?(?:per cent|percent|percentage points?|points?|nats?|bits?|times|fold|seconds?|minutes?|hours?|"
    r"megabytes?|gigabytes?|standard deviations?)\b"
)
_SYMBOLS = r"%|‰|(?:m|µ|n)?s\b|[kMG]i?B\b"
_DIGITS = r"(?<![\w.])[-+±]?\d[\d,]*(?:\.\d+)?"
MEASURED = re.compile(
    rf"(?<![\w.])[-+±]?\d[\d,]*\.\d+(?!\.?\w)|{_DIGITS}\s*(?:{_SYMBOLS})|(?:{_DIGITS}|\b(?:{_WORDS}))[\s-]+(?:{_UNITS})",
    re.IGNORECASE,
)
"""What a typed result looks like."""

_TIMES = r"^\|\s*Time\s*\|.*?$"
"""A promise of a chapter, not a result."""


@dataclass(frozen=True)
class Typed:
    """A number that may be typed.

    Args:
        text: the words around it, as the text has them.
        reason: why it is no result.
        page: the only page that may hold it, a file's stem; every page if empty.
    """

    text: str
    reason: str
    page: str = ""


def problems(book: Book) -> list[str]:
    """Every number typed into a text of the book that looks measured, and every entry of the list that nothing uses."""
    allowed = load(book.root / "book" / ALLOWED)
    found, used = [], set()
    for page in book.pages:
        for place, text in texts.texts(book.root / page):
            mine = [entry for entry in allowed if entry.page in ("", page.stem)]
            used |= {entry for entry in mine if entry.text in _flat(text)}
            found += [f"{page.name}{place}: {hit}" for hit in typed(text, [entry.text for entry in mine])]
    found = [
        f"{problem}, expected it from a code cell, or in book/{ALLOWED} with the reason why it is no result"
        for problem in found
    ]
    stale = [entry for entry in allowed if entry not in used]
    return found + [f"book/{ALLOWED} allows {entry.text!r}, which no page holds, expected it gone" for entry in stale]


def typed(text: str, allowed: Iterable[str] = ()) -> list[str]:
    """The passages of a Markdown text with a number that looks measured, outside of what is allowed.

    Example:
        >>> typed("With `x = 0.5` and $y = 0.25$ it gains 1.3 points.")
        ['With and it gains 1.3 points']
        >>> typed("Strength rises over the first 40 % of a run.", ["first 40 % of"])
        []
    """
    flat = _flat(texts.prose(text, _TIMES))
    for words in allowed:
        flat = flat.replace(_flat(words), " ")
    found = []
    for match in MEASURED.finditer(flat):
        start, end = max(0, match.start() - 25), match.end() + 25
        around = flat[start:end]
        # Whole words only: what was cut at the ends is dropped.
        around = around.partition(" ")[2] if start else around
        found.append(around.rpartition(" ")[0].strip() if end < len(flat) else around.strip(" ."))
    return found


def load(path: Path) -> list[Typed]:
    """Read the list of numbers that may be typed.

    Raises:
        MplibError: the file cannot be read, or an entry is not ``text``, ``reason`` and perhaps ``page``.
    """
    entries = read_yaml(path) or []
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, dict) or not {"text", "reason"} <= set(entry) <= {"text", "reason", "page"}:
            raise MplibError(f"{path.name} has the entry {entry!r}, expected text, reason and perhaps page")
        if not all(isinstance(value, str) and value.strip() for value in entry.values()):
            raise MplibError(f"{path.name} has the entry {entry!r}, expected words in quotes and a reason")
    return [Typed(**entry) for entry in entries]


def _flat(text: str) -> str:
    return " ".join(text.split())
