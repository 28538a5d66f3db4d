"""The Python API: the public names with a sentence each, and every module through Sphinx's autodoc."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import mplib
from mpbook.generated.markup import MARK
from mpbook.layout import Book
from mplib.errors import unknown

OTHERS = "others"
"""The word for all the modules that no page of the book names."""
HIDDEN = ("mplib.cli", "mplib.commands", "mplib.__main__", "mplib.benchmark", "mplib.fused.cpu", "mplib.fused.cuda")
"""Command lines have a page of their own, of which `mplib bench` is one; the compiled fast paths need compilers that
are not everywhere."""


def surface() -> str:
    """The names that ``import mplib`` gives, in the order of their import, each with its first sentence."""
    source = ast.parse(inspect.getsource(mplib))
    names = [
        alias.name
        for node in source.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]
    return "\n\n".join(f"{{py:obj}}`mplib.{name}`\n: {_sentence(getattr(mplib, name))}" for name in names)


def text(book: Book, modules: list[str]) -> str:
    """A section for each module.

    Args:
        book: the book.
        modules: names with their dots; ``others`` stands for those that no page names.

    Raises:
        MplibError: there is no such module.
    """
    known = [name for name in _modules() if name not in HIDDEN and not name.startswith(tuple(f"{h}." for h in HIDDEN))]
    if OTHERS in modules:
        named = {word for _, words in _marks(book) for word in words}
        return "\n\n".join(_module(name, "##") for name in known if name not in named)
    for name in modules:
        if name not in known:
            raise unknown("module", name, known)
    return "\n\n".join(_module(name, "###") for name in modules)


def _module(name: str, level: str) -> str:
    options = "   :members:\n   :member-order: bysource\n   :ignore-module-all:\n"
    return (
        f"(module-{name.replace('.', '-')})=\n{level} `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n{options}```"
    )


def _modules() -> Iterator[str]:
    """Every module of the package, found without importing what is not imported yet."""
    yield from (found.name for found in _walk("mplib", Path(mplib.__file__).parent))


def _walk(prefix: str, folder: Path) -> Iterator[pkgutil.ModuleInfo]:
    for found in sorted(pkgutil.iter_modules([str(folder)], f"{prefix}."), key=lambda found: found.name):
        yield found
        if found.ispkg:
            yield from _walk(found.name, folder / found.name.rpartition(".")[2])


def _marks(book: Book) -> Iterator[tuple[str, list[str]]]:
    for page in book.pages:
        if page.suffix == ".md":
            for mark in MARK.finditer((book.root / page).read_text(encoding="utf-8")):
                yield mark[1], mark[2].split()


def _sentence(thing: object) -> str:
    """The first sentence of a docstring, from reStructuredText to MyST."""
    first = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    first = re.sub(r":math:`([^`]+)`", r"$\1$", first)
    first = re.sub(r":(\w+):`([^`]+)`", r"{py:\1}`\2`", first)
    return re.sub(r"``([^`]+)``", r"`\1`", first)
