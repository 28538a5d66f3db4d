"""The parameters of every chapter: name, meaning, type, and the value in each preset."""

from __future__ import annotations

from mpbook import notebooks, presets
from mpbook.generated.markup import code
from mpbook.layout import PRESETS, Book
from mpbook.page import Shown, table

SET_BY_US = "name of the preset, set by whatever runs the chapter"


def text(book: Book) -> str:
    """A section for each chapter, in reading order."""
    return "\n\n".join(_chapter(book, name) for name in book.chapters)


def _chapter(book: Book, name: str) -> str:
    declared = notebooks.declared(book.source(name))
    sizes = {preset: presets.resolve(book, preset, name) for preset in PRESETS}
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
