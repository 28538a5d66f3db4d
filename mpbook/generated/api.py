"""The Python API: the public names with a sentence each, and every module through Sphinx's autodoc."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib.util import find_spec
from pathlib import Path

import mplib
from mpbook import notebooks
from mpbook.crossreferences import defined_as
from mpbook.generated.markup import MARK
from mpbook.layout import Book
from mplib.errors import MplibError, unknown
from mplib.history import History

OTHERS = "others"
"""The word for all the modules that no page of the book names."""
HIDDEN = ("mplib.cli", "mplib.commands", "mplib.__main__", "mplib.benchmark", "mplib.fused.cpu", "mplib.fused.cuda")
"""Command lines have a page of their own, of which `mplib bench` is one; the compiled fast paths need compilers that
are not everywhere."""


SURFACE = {
    "put phi into a network": ("MetaPerturb", "attach", "sites", "set_strength"),
    "train and judge it": ("train", "predict", "evaluate", "detach"),
    "attack it": ("attack",),
    "keep it": ("save_network", "load_network"),
    "learn a phi": ("meta_train",),
    "train several, or from another network": ("train_together", "transfer_convolutions"),
    "have networks and images": ("nets", "data"),
    "read what comes back": ("History", "Metrics", "AttackMetrics", "MetaRun", "MplibError"),
}
"""The names that ``import mplib`` gives, by what they are wanted for; those of the first two lines in order of use."""


def public() -> list[str]:
    """The names that ``import mplib`` gives."""
    source = ast.parse(inspect.getsource(mplib))
    aliases = [alias for node in source.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    return [alias.name for alias in aliases if alias.asname == alias.name]


def surface() -> str:
    """A table of the public names, each with its arguments and its first sentence."""
    lines = ["| you want to | call | what it does |", "| --- | --- | --- |"]
    for wish, names in SURFACE.items():
        for name in names:
            thing = getattr(mplib, name)
            title = f"{name}{_arguments(thing)}"
            what = _sentence(inspect.getdoc(thing) or "")
            lines.append(f"| {wish} | {{py:obj}}`{title} <mplib.{name}>` | {what} |")
            wish = ""
    return "\n".join(lines)


def overview(book: Book) -> str:
    """A table of the modules that no page names: what each is, and the chapters whose code imports it."""
    users: dict[str, list[str]] = defaultdict(list)
    for chapter in book.chapters:
        for module in _imported(book, chapter):
            users[module].append(f"{{doc}}`{book.numbers.get(chapter, chapter.replace('_', ' '))} <{chapter}>`")
    lines = ["| module | what it is | imported in chapter |", "| --- | --- | --- |"]
    for name in _others(book):
        source = ast.parse(Path(find_spec(name).origin).read_text(encoding="utf-8"))  # type: ignore[union-attr,arg-type]
        link = f"{{py:mod}}`{name.removeprefix('mplib.')} <{name}>`"
        what = _sentence(ast.get_docstring(source) or "")
        lines.append(f"| {link} | {what} | {', '.join(users[name]) or '–'} |")
    return "\n".join(lines)


def text(book: Book, modules: list[str]) -> str:
    """A section for each module.

    Args:
        book: the book.
        modules: names with their dots; ``others`` stands for those that no page names.

    Raises:
        MplibError: there is no such module.
    """
    if OTHERS in modules:
        return "\n\n".join(_module(name, "##") for name in _others(book))
    known = _known()
    for name in modules:
        if name not in known:
            raise unknown("module", name, known)
    return "\n\n".join(_module(name, "###") for name in modules)


def _module(name: str, level: str) -> str:
    options = "   :members:\n   :member-order: bysource\n   :ignore-module-all:\n"
    return (
        f"(module-{name.replace('.', '-')})=\n{level} `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n{options}```"
    )


def _known() -> list[str]:
    """Every module of the package that is described, found without importing what is not imported yet."""
    found = [each.name for each in _walk("mplib", Path(mplib.__file__).parent)]
    return [name for name in found if name not in HIDDEN and not name.startswith(tuple(f"{h}." for h in HIDDEN))]


def _others(book: Book) -> list[str]:
    """The modules that no page names."""
    named = {word for _, words in _marks(book) for word in words}
    return [name for name in _known() if name not in named]


def _imported(book: Book, chapter: str) -> set[str]:
    """The modules that a chapter's code imports, or in which something is defined that it imports."""
    cells = notebooks.code_cells(notebooks.read(book.source(chapter)))
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell["source"]))]
    names = {
        f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    defined = {defined_as(name) for name in names}
    return {module for module in _known() for name in names | defined if f"{name}.".startswith(f"{module}.")}


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


def _arguments(thing: object) -> str:
    """What has to be given, as in ``(net, phi, ...)``; nothing for what a user does not call."""
    if not callable(thing) or is_dataclass(thing) or thing in (History, MplibError):
        return ""
    given = list(inspect.signature(thing).parameters.values())
    needed = [each.name for each in given if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    return f"({', '.join([*needed, *(['...'] if len(needed) < len(given) else [])])})"


def _sentence(docstring: str) -> str:
    """The first sentence of a docstring, from reStructuredText to MyST."""
    first = " ".join(docstring.split("\n\n")[0].split())
    first = re.sub(r":math:`([^`]+)`", r"$\1$", first)
    first = re.sub(r":(\w+):`([^`]+)`", r"{py:\1}`\2`", first)
    return re.sub(r"``([^`]+)``", r"`\1`", first)
