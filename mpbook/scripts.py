"""A Sphinx extension: a page loads each script once, and none for what the book does not have.

jupyter-book always brings Thebe, which runs code in the page, and its settings twice; the second copy is an error in
every browser. Chapters are run before they are rendered, so it has nothing to do here.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

UNUSED = "thebe"
LATE = 900  # after whoever adds scripts


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("html-page-context", _tidy, priority=LATE)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _tidy(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    kept, seen = [], set()
    for script in context.get("script_files", []):
        attributes = getattr(script, "attributes", {})
        what = attributes.get("body") or str(getattr(script, "filename", script))
        if UNUSED not in what.lower() and what not in seen:
            seen.add(what)
            kept.append(script)
    context["script_files"] = kept
