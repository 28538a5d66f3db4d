"""The texts of the book: what a reader reads of a page or a notebook, without code, mathematics and addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mpbook import notebooks

NOT_PROSE = (
    r"<!--.*?-->|<svg.*?</svg>|^%.*?$",
    r"\$\$.*?\$\$|\\begin\{.*?\\end\{\w+\*?\}|(?<!\\)\$[^$]*\$",
    r"\{[\w:-]+\}`[^`]*`",  # roles, citations
    r"(?<!`)`[^`]+`(?!`)",
    r"\]\([^)]*\)|https?://\S+",
)
_TEXT_BLOCKS = r"\{(exercise|solution|note|tip|warning|important|admonition|dropdown|margin|grid|glossary)"


def texts(path: Path) -> Iterator[tuple[str, str]]:
    """The texts of a page with where they are; captions and alternative texts are texts too."""
    if path.suffix == ".md":
        yield "", path.read_text(encoding="utf-8")
        return
    for cell in notebooks.read(path)["cells"]:
        if cell["cell_type"] == "markdown":
            yield f", cell {cell['id']}", cell["source"]
        figure = cell["metadata"].get("mystnb", {})
        for text in (figure.get("figure", {}).get("caption"), figure.get("image", {}).get("alt")):
            if text:
                yield f", figure of cell {cell['id']}", text


def prose(text: str, *others: str) -> str:
    """A Markdown text without code, mathematics, roles, links' addresses and comments.

    Args:
        text: the Markdown.
        others: regular expressions of what else to leave out.

    Example:
        >>> prose("With `x = 0.5` and $y$ it [gains](https://example.org).").split()
        ['With', 'and', 'it', '[gains', '.']
    """
    text = "\n".join(_without_code(text))
    for pattern in (*NOT_PROSE, *others):
        text = re.sub(pattern, " ", text, flags=re.MULTILINE | re.DOTALL)
    return text


def _without_code(text: str) -> Iterator[str]:
    """The lines outside of code blocks; blocks that hold text, such as exercises, are kept."""
    code, blocks = "", list[str]()  # the fence of the code block that is open, and those of open text blocks
    for line in text.splitlines():
        fence, info = re.match(r"\s*(`{3,}|~{3,}|:{3,}|)(.*)", line).groups()  # type: ignore[union-attr]
        if code:
            code = "" if fence == code and not info.strip() else code
        elif not fence:
            yield line
        elif blocks and fence == blocks[-1] and not info.strip():
            blocks.pop()
        elif fence[0] == ":" or re.match(_TEXT_BLOCKS, info):
            blocks.append(fence)
        else:
            code = fence
