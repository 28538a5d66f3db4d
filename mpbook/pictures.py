"""A figure of an executed chapter as a file, for places outside the book such as the README."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from mpbook import notebooks
from mpbook.layout import Book
from mplib.errors import unknown
from mplib.files import atomic_path


def export(book: Book, preset: str, name: str, path: str | os.PathLike[str]) -> Path:
    """Write the picture of a named figure to a PNG file.

    Args:
        book: the book.
        preset: whose run the picture is taken from.
        name: the figure's name, ``fig-...``; names are unique in the book.
        path: the file to write.

    Returns:
        The path.

    Raises:
        MplibError: no such figure in the chapters that have been executed with the preset.
    """
    found: dict[str, str] = {}
    for chapter in book.chapters:
        executed = book.executed(preset, chapter)
        if executed.is_file():
            found.update(_figures(executed))
    if name not in found:
        raise unknown(f"figure in the executed chapters of preset {preset}", name, found)
    with atomic_path(path) as temporary:
        temporary.write_bytes(base64.b64decode(found[name]))
    return Path(path)


def _figures(executed: Path) -> dict[str, str]:
    """Name to PNG (in base64) of the figures of a notebook."""
    figures = {}
    for cell in notebooks.code_cells(notebooks.read(executed)):
        name = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        for output in cell["outputs"]:
            if name and "image/png" in output.get("data", {}):
                figures[name] = output["data"]["image/png"]
    return figures
