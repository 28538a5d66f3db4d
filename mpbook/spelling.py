"""The words of the book are words: of an English dictionary, or of a list of our own; and spelt the British way.

The dictionary is pyspellchecker's, which knows both spellings, so American ones are found by their endings and by a
list. Names, and words of the field, are in ``book/words.txt``, one a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mpbook import texts
from mpbook.layout import Book

OWN = "words.txt"
DOCUMENTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
"""Texts beside the book's pages."""
AMERICAN = re.compile(
    r"\w+iz(?:e|ed|es|er|ers|ing|ation|ations)|\w+lyz(?:e|ed|es|ing)"
    r"|(?:un|dis)?(?:behavi|col|fav|flav|harb|hon|hum|lab|neighb|rig|rum|vap)or(?:s|ed|ing|able|hood|ly|less)?"
    r"|(?:center|fiber|meter|theater|caliber|liter)(?:s|ed|ing)?"
    r"|(?:model|label|cancel|travel|signal)(?:ed|ing)"
    r"|grays?|catalogs?|analogs?|defense|offense|skeptic(?:al)?|artifacts?|fulfill|plow|tires"
)
"""Spellings that this book writes otherwise."""
ANYWAY = re.compile(r"(?:re|over|under|cap|down|up)?siz(?:e|ed|es|ing)|priz(?:e|ed|es)|seiz(?:e|ed|es|ing)")
"""Words with a z in Britain too."""
_WORD = re.compile(r"(?<![\w@#./\\-])[^\W\d_]+(?:['’][^\W\d_]+)?(?![\w@/\\])")
_DIRECTIVES = (
    r"^\s*:[\w-]+:.*?$",  # options of directives
    r"^\([\w-]+\)=$|\(eq-[\w-]+\)",  # labels
    r"<[^>]*>",
    r"^:{3,}.*?$|\{[\w-]+\}",
    r"\\\w+",
)


def problems(book: Book) -> list[str]:
    """Every word of the pages and the documents that is in no list, and every word of our list that nothing uses."""
    own = load(book.root / "book" / OWN)
    found, used = [], set()
    for page in [*book.pages, *(Path(name) for name in DOCUMENTS if (book.root / name).is_file())]:
        for place, text in texts.texts(book.root / page):
            for word in words(text):
                if word in own or word.lower() in own:
                    used |= {word, word.lower()}
                elif american(word):
                    found.append(f"{page.name}{place}: {word!r} is American, expected the British spelling")
                elif not known(word):
                    found.append(f"{page.name}{place}: {word!r} is in no list, expected it right or in book/{OWN}")
    stale = sorted(own - used)
    return found + [f"book/{OWN} has {word!r}, which no page uses, expected it gone" for word in stale]


def words(text: str) -> Iterator[str]:
    """The words of a Markdown text as they are written.

    Example:
        >>> list(words("The *network*'s `theta` isn't 3x3."))
        ['The', 'network', "isn't"]
    """
    for match in _WORD.finditer(texts.prose(text, *_DIRECTIVES).replace("’", "'")):
        word = match[0].removesuffix("'s")
        if len(word) > 1:
            yield word


def american(word: str) -> bool:
    """Whether a word is spelt the American way.

    Example:
        >>> [american(word) for word in ("regularizer", "regulariser", "colored", "size", "center")]
        [True, False, True, False, True]
    """
    return bool(AMERICAN.fullmatch(word.lower())) and not ANYWAY.fullmatch(word.lower())


def known(word: str) -> bool:
    """Whether the dictionary has a word; British -ise stands for -ize, and a possessive for its word."""
    lower = word.lower()
    other = re.sub(r"is(e|ed|es|er|ers|ing|ation|ations)$", r"iz\1", lower)
    return bool(_dictionary().known([lower, other, lower.replace("our", "or")]))


def load(path: Path) -> set[str]:
    """The words of a list, one a line; lines that begin with # are remarks."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


@cache
def _dictionary() -> Any:
    from spellchecker import SpellChecker

    return SpellChecker(language="en")
