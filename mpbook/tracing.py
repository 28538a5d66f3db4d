"""Every number on a page can be followed to a row: to those that are named beside it, or to the run of the page.

What a chapter's cells compute comes from the run of the page, whose id is in the badge. What they take from a run
store comes from rows that were made elsewhere or before; then an output of the same section says which, with
:func:`mpbook.page.sources` or ``table(..., runs=rows)``. This module looks whether one does, and whether every id that
is named is a row.

Which cells show stored rows is read from their code: a name that was given something of a run store carries the mark
on to whatever is computed from it.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mpbook import execution, notebooks
from mpbook.layout import Book
from mplib.errors import MplibError
from mplib.files import read_json

STORES = {"mplib.runs": None, "mplib.sweeps": None, "mpbook.verdicts": None, "mplib.experiments": {"compare"}}
"""Modules that give stored rows, and which of their names do; None for all of them."""


def problems(book: Book, preset: str, chapter: str) -> list[str]:
    """What cannot be traced on the page of an executed chapter, one sentence each.

    Args:
        book: the book.
        preset: whose run; the chapter has to be executed.
        chapter: its name.
    """
    notebook = notebooks.read(book.executed(preset, chapter))
    rows, own = known(book, preset), notebook["metadata"]["mpbook"]["run"]
    found = []
    for cell in notebooks.code_cells(notebook):
        for name in named(cell):
            if name not in rows:
                found.append(f"cell {cell['id']} names the run {name}, which is no row of a store")
            elif not _is_row(rows[name]):
                found.append(f"cell {cell['id']} names the run {name}, and {rows[name]} is not its row")
        if "mpbook-badge" in _html(cell) and own not in named(cell):
            found.append(f"the badge in cell {cell['id']} does not name the run of the page, {own}")
    found += [
        f"cell {name} shows numbers of stored rows and its section does not name them, expected sources(rows) or "
        "table(..., runs=rows) in it or in another cell under the same heading"
        for name in unnamed(notebook)
    ]
    return [f"{chapter}: {problem}" for problem in found]


def known(book: Book, preset: str) -> dict[str, Path]:
    """Every row that a page made with this preset may name: recorded, made by a chapter, or the run of a chapter."""
    folders = [book.root / "book" / "results", book.build(preset) / "scratch", execution.runs(book, preset)]
    return {path.stem: path for folder in folders for path in folder.rglob("*.json")}


def publish(book: Book, preset: str, folder: Path) -> None:
    """Put every row that is named on some page into a folder beside the pages, where their links lead."""
    rows = known(book, preset)
    folder.mkdir(parents=True, exist_ok=True)
    for chapter in book.chapters:
        for cell in notebooks.code_cells(notebooks.read(book.executed(preset, chapter))):
            for name in named(cell):
                shutil.copy2(rows[name], folder / f"{name}.json")


def named(cell: Mapping[str, Any]) -> list[str]:
    """The ids of the runs that the outputs of a cell name."""
    return [name for names in re.findall(r'data-runs="([^"]*)"', _html(cell)) for name in names.split()]


def unnamed(notebook: Mapping[str, Any]) -> list[str]:
    """The cells that show numbers or pictures of stored rows, in sections of which no output names a run."""
    uses = from_stores(cell["source"] for cell in notebooks.code_cells(notebook))
    found: list[str] = []
    shown: list[str] = []
    traced = False
    for cell in [*notebook["cells"], {"cell_type": "markdown", "source": "# The end"}]:
        if cell["cell_type"] == "code":
            traced = traced or (bool(named(cell)) and "mpbook-badge" not in _html(cell))
            shown += [cell["id"]] if next(uses) and _shows_numbers(cell) else []
        elif re.search(r"^#+ ", cell["source"], re.MULTILINE):
            found += [] if traced else shown
            shown, traced = [], False
    return found


def from_stores(sources: Iterable[str]) -> Iterator[bool]:
    """For each cell of a notebook in turn, whether it uses something that came from a run store.

    Example:
        >>> cells = ["from mplib.runs import RunStore", "rows = RunStore('x').rows()", "x = len(rows)", "x + 1"]
        >>> list(from_stores(cells))
        [False, True, True, True]
    """
    marks: set[str] = set()
    for source in sources:
        yield _follow_all(ast.parse(source).body, marks)


def _follow_all(statements: Iterable[ast.stmt], marks: set[str]) -> bool:
    used = [_follow(statement, marks) for statement in statements]  # each of them, so no generator for any()
    return any(used)


def _follow(node: ast.stmt, marks: set[str]) -> bool:
    """Carry the marks over one statement; whether it uses a marked name."""
    if isinstance(node, ast.ImportFrom):
        wanted = STORES.get(node.module or "", set())
        names = {alias.asname or alias.name: alias.name for alias in node.names}
        marks |= {name for name, original in names.items() if wanted is None or original in wanted}
        return False
    if isinstance(node, ast.FunctionDef):
        # Defining shows nothing; calling does.
        _mark([node.name], _uses(node, marks), marks)
        return False
    if isinstance(node, ast.For | ast.With | ast.If | ast.While | ast.Try):
        heads = [node.iter] if isinstance(node, ast.For) else []
        heads += [item.context_expr for item in node.items] if isinstance(node, ast.With) else []
        heads += [node.test] if isinstance(node, ast.If | ast.While) else []
        head = any(_uses(part, marks) for part in heads)
        if isinstance(node, ast.For):
            _mark(_names(node.target), head, marks)
        if isinstance(node, ast.With):
            _mark({n for item in node.items if item.optional_vars for n in _names(item.optional_vars)}, head, marks)
        if isinstance(node, ast.Try):
            _mark([handler.name for handler in node.handlers if handler.name], False, marks)
        handlers = [part for handler in getattr(node, "handlers", []) for part in handler.body]
        return _follow_all([*node.body, *getattr(node, "orelse", []), *handlers], marks) or head
    used = _uses(node, marks)
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        value = node.value is not None and _uses(node.value, marks)
        for target in targets:
            whole = isinstance(target, ast.Name | ast.Tuple | ast.List)
            # x[0] = marked marks x; x[0] = plain leaves it as it is.
            _mark(_names(target), value if whole else value or bool(_names(target) & marks), marks)
    elif isinstance(node, ast.AugAssign):
        _mark(_names(node.target), used, marks)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        method, given = node.value.func, any(_uses(argument, marks) for argument in node.value.args)
        if isinstance(method, ast.Attribute) and given:  # found.append(marked)
            _mark(_names(method), True, marks)
    return used


def _mark(names: Iterable[str], marked: bool, marks: set[str]) -> None:
    for name in names:
        (marks.add if marked else marks.discard)(name)


def _names(target: ast.AST) -> set[str]:
    """The variables that an assignment to this target changes."""
    if isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
        return _names(target.value)
    if isinstance(target, ast.Tuple | ast.List):
        return {name for element in target.elts for name in _names(element)}
    return {target.id} if isinstance(target, ast.Name) else set()


def _uses(node: ast.AST, marks: set[str]) -> bool:
    """Whether a marked name is read in it; names of its own (arguments, of comprehensions) are not those outside."""
    own: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.arg):
            own.add(part.arg)
        elif isinstance(part, ast.comprehension):
            own |= _names(part.target)
    if isinstance(node, ast.FunctionDef):
        own |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    read = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
    return bool((read - own) & marks)


def _shows_numbers(cell: Mapping[str, Any]) -> bool:
    texts = [str(output.get("text", "")) + str(output.get("data", {})) for output in cell["outputs"]]
    return any(re.search(r"\d", text) for text in texts)


def _html(cell: Mapping[str, Any]) -> str:
    return "".join(str(output.get("data", {}).get("text/html", "")) for output in cell["outputs"])


def _is_row(path: Path) -> bool:
    try:
        row = read_json(path)
    except MplibError:
        return False
    return isinstance(row, dict) and row.get("key") == path.stem
