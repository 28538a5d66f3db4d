"""The parameters of every chapter: name, meaning, type, and the value in each preset."""

from __future__ import annotations

from typing import Any

from mpbook import notebooks, presets
from mpbook.generated.markup import code
from mpbook.layout import PRESETS, Book
from mpbook.page import Shown, table
from mpbook.parameters import resolve

SET_BY_US = "name of the preset, set by whatever runs the chapter"


def text(book: Book) -> str:
    """A section for each chapter, in reading order."""
    overridden = {preset: presets.load(book, preset) for preset in PRESETS}
    return "\n\n".join(
        _chapter(book, name, {preset: {**overridden[preset][name], "preset": preset} for preset in PRESETS})
        for name in book.chapters
    )


def _chapter(book: Book, name: str, overridden: dict[str, dict[str, Any]]) -> str:
    declared = notebooks.declared(book.source(name))
    sizes = {preset: resolve(declared, values) for preset, values in overridden.items()}
    title = notebooks.title(notebooks.read(book.source(name)))
    rows = [
        {
            "parameter": code(parameter.name),
            "meaning": parameter.help or (SET_BY_US if parameter.name == "preset" else ""),
            "type": code(parameter.type),
            **{preset: _value(values[parameter.name]) for preset, values in sizes.items()},
        }
        for parameter in declared.values()
    ]
    shown = table(rows, f"Parameters of {title}; the fast preset is the default").page
    return f"(parameters-{name})=\n## {title}\n\n{{doc}}`{name}`, `book/{name}.ipynb`\n\n{shown}"


def _value(value: object) -> Shown:
    """Long lists break between their elements, so that the table stays narrow."""
    return code(value if isinstance(value, str) else repr(value))
