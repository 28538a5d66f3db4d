"""A Sphinx extension: what autodoc shows of the package is what its docstrings say, and signatures are for reading.

Left out is Python's filler for the fields of a named tuple, which the docstring of the class describes. In signatures
a function is shown by its name, and a radius as the fraction that it was written as.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from sphinx.application import Sphinx

EARLY = 100  # before napoleon, which would take the words before a colon for a type


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _keep, priority=EARLY)
    app.connect("autodoc-process-signature", _sign)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _skip(app: Sphinx, what: str, name: str, thing: object, skip: bool, options: Any) -> bool | None:
    filler = "Alias for field number" in (getattr(thing, "__doc__", None) or "")
    return True if filler or name == "extra_repr" else None


def _keep(app: Sphinx, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    """An empty comment in the first line, where napoleon looks for a type that we never write there."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]


def _sign(
    app: Sphinx, what: str, name: str, thing: object, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    return None if signature is None else (readable(signature), returns)


def readable(signature: str) -> str:
    """A signature without Python's inside, which Sphinx could not parse either.

    Example:
        >>> readable("(a: F = <function no>, b: F = <function M.<lambda>>, c=<factory>, eps=0.03137254901960784)")
        '(a: F = no, b: F = ..., c=..., eps=8 / 255)'
    """
    plain = re.sub(r"<factory>|<function [\w.]*<lambda>>", "...", signature)
    plain = re.sub(r"<function ([\w.]+)>", r"\1", plain)
    return re.sub(r"\b0\.\d{12,}", lambda found: _fraction(found[0]), plain)


def _fraction(text: str) -> str:
    near = Fraction(float(text)).limit_denominator(1000)
    return f"{near.numerator} / {near.denominator}" if float(near) == float(text) else text
