"""A Sphinx extension: a name of the package leads to its description, by whichever way it is imported.

``mplib.attach`` is described as ``mplib.attachment.attach``, and ``Dataset`` where it is defined although another
module's docstring names it. What Sphinx does not find is imported here, and looked for again where it was defined.
"""

from __future__ import annotations

import importlib
from typing import Any, TypeVar

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    if node.get("refdomain") != "py":
        return None
    written = node["reftarget"]
    for start in ("", f"{node.get('py:module')}.", f"{node.get('py:module')}.{node.get('py:class')}."):
        name = defined_as(start + written)
        if name.startswith("typing."):  # a type variable, which nobody describes
            return content
        if name and name != written:
            domain = env.get_domain("py")
            found = domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], name, node, content)
            if found is not None:
                return found
    return None


def defined_as(name: str) -> str:
    """The name of something of the package where it is defined, empty if there is no such thing.

    Example:
        >>> defined_as("mplib.attach"), defined_as("mplib.data.Dataset.subset"), defined_as("mplib.nothing")
        ('mplib.attachment.attach', 'mplib.data.dataset.Dataset.subset', '')
    """
    if not name.startswith("mplib"):
        return ""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            thing = getattr(thing, part, None)
        if thing is None:
            return ""
        if length == len(parts):
            return name
        if isinstance(thing, TypeVar):
            return "typing.TypeVar"
        module, qualified = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
        return f"{module}.{qualified}" if module and qualified else name
    return ""
