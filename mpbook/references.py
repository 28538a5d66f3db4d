"""What the checked cells of each chapter are expected to print.

A cell tagged ``nbval-check-output`` has its printed output in ``book/reference/<chapter>.json``, committed beside
the chapter. The file is made from the smoke run by ``python -m mpbook reference`` and read by
:mod:`mpbook.replay`, which lets nbval compare it with a later run. Only text counts: streams and ``text/plain``,
so a checked cell prints rounded numbers; figures and HTML are looked at by other checks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from mpbook import execution, notebooks
from mpbook.layout import Book
from mplib.errors import MplibError
from mplib.files import read_json, write_json

PRESET = "smoke"


def comparable(outputs: Iterable[Mapping[str, Any]]) -> list[nbformat.NotebookNode]:
    """The part of a cell's outputs that is compared: streams, merged by name, and ``text/plain``."""
    kept: list[nbformat.NotebookNode] = []
    streams: dict[str, nbformat.NotebookNode] = {}
    for output in outputs:
        if output["output_type"] == "stream":
            name = output["name"]
            if name in streams:
                streams[name]["text"] += output["text"]
            else:
                streams[name] = nbformat.from_dict({"output_type": "stream", "name": name, "text": output["text"]})
                kept.append(streams[name])
        elif "text/plain" in output.get("data", {}):
            text = output["data"]["text/plain"]
            # The kind is kept so that nbval sees an ordinary output; the execution count is not compared.
            kept.append(
                nbformat.from_dict({"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}})
            )
    return kept


def checked_cells(notebook: Mapping[str, Any]) -> dict[str, nbformat.NotebookNode]:
    """The cells whose output is compared, by id."""
    cells = notebooks.code_cells(notebook)
    return {cell["id"]: cell for cell in cells if notebooks.CHECKED in notebooks.tags(cell)}


def extract(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The reference of an executed chapter: source and comparable outputs of each checked cell.

    Raises:
        MplibError: no checked cell, or one that prints nothing.
    """
    cells = checked_cells(notebook)
    if not cells:
        raise MplibError(f"no cell is tagged {notebooks.CHECKED!r}, expected at least one")
    reference = {}
    for name, cell in cells.items():
        outputs = comparable(copy.deepcopy(cell["outputs"]))
        if not outputs:
            raise MplibError(f"the checked cell {name} prints nothing, expected text that can be compared")
        reference[name] = {"source": cell["source"], "outputs": outputs}
    return reference


def record(book: Book, chapters: Iterable[str] = ()) -> list[Path]:
    """Write the references of chapters from their smoke run.

    Args:
        book: the book; its smoke run has to be up to date.
        chapters: names; default all.

    Returns:
        The files written.

    Raises:
        MplibError: a chapter without an up-to-date smoke run, or without anything to compare.
    """
    written = []
    for name in list(chapters) or list(book.chapters):
        if not execution.up_to_date(book, PRESET, name):
            raise MplibError(
                f"{name} has no up-to-date smoke run, expected 'python -m mpbook run --preset smoke' first"
            )
        try:
            reference = extract(notebooks.read(book.executed(PRESET, name)))
        except MplibError as error:
            raise MplibError(f"{name}: {error}") from error
        write_json(book.reference(name), reference)
        written.append(book.reference(name))
    return written


def load(path: Path) -> dict[str, Any]:
    """Read one reference file.

    Raises:
        MplibError: missing, not JSON, or not made by :func:`record`.
    """
    if not path.is_file():
        raise MplibError(f"there is no reference {path}, expected one made by 'python -m mpbook reference {path.stem}'")
    reference = read_json(path)
    if not isinstance(reference, dict) or not all({"source", "outputs"} <= set(cell) for cell in reference.values()):
        raise MplibError(f"{path} is not a reference, expected a file made by 'python -m mpbook reference {path.stem}'")
    return reference


def problems(notebook: Mapping[str, Any], reference: Mapping[str, Any]) -> list[str]:
    """Checked cells without a reference, references without a checked cell, sources that changed."""
    cells = checked_cells(notebook)
    found = [f"checked cell {name} has no reference" for name in cells if name not in reference]
    found += [
        f"the reference has cell {name}, which is not checked any more" for name in reference if name not in cells
    ]
    found += [
        f"the source of checked cell {name} is not the one that its reference was made from"
        for name, cell in cells.items()
        if name in reference and reference[name]["source"] != cell["source"]
    ]
    if not cells:
        found.append(f"no cell is tagged {notebooks.CHECKED!r}")
    return found


def strays(book: Book) -> list[Path]:
    """Reference files of chapters that do not exist."""
    folder = book.root / "book" / "reference"
    return [path for path in sorted(folder.glob("*.json")) if path.stem not in book.chapters]
