"""A Sphinx extension: a figure leads to its own file, which a telephone shows as large as one likes."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

FIGURE = re.compile(r'(<a [^>]*>\s*)?(<img [^>]*?src="([^"]*_images/[^"]+)"[^>]*>)')


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("html-page-context", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _link(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = linked(context["body"])


def linked(body: str) -> str:
    """The page with each picture in a link to its file; one that is a link already stays as it is.

    Example:
        >>> linked('<img alt="A." src="../_images/a.png" />')
        '<a class="mpbook-figure" href="../_images/a.png"><img alt="A." src="../_images/a.png" /></a>'
    """
    return FIGURE.sub(lambda m: m[0] if m[1] else f'<a class="mpbook-figure" href="{m[3]}">{m[2]}</a>', body)
