"""The parameters of every chapter: name, meaning, type, and the value in each preset."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mpbook import notebooks, presets
from mpbook.generated import costs
from mpbook.generated.markup import chapters, code, heading
from mpbook.layout import PRESETS, Book
from mpbook.page import Shown, table
from mpbook.parameters import Parameter, resolve

SHARED = {
    "preset": "name of the preset, set by whatever runs the chapter",
    "device": "where networks run: auto, cpu or cuda",
    "jobs": "processes side by side on a CPU",
    "record": "folder to keep the rows in that the page makes; only a scratch folder if empty",
}
"""Parameters that mean the same wherever they are."""


def text(book: Book) -> str:
    """What chapters share, a section for each chapter in reading order, and where each name is."""
    declared = {name: notebooks.declared(book.source(name)) for name in book.chapters}
    overridden = {preset: presets.load(book, preset) for preset in PRESETS}
    values = {
        name: {preset: resolve(parameters, {**overridden[preset][name], "preset": preset}) for preset in PRESETS}
        for name, parameters in declared.items()
    }
    own = {name: {key: found for key, found in declared[name].items() if key not in SHARED} for name in declared}
    times = {preset: costs.seconds(book, preset) for preset in PRESETS}
    sections = [_chapter(book, name, own[name], values[name], _took(times, name)) for name in book.chapters]
    return "\n\n".join([_shared(book, declared, values), *sections, _index(own)])


def _shared(book: Book, declared: dict[str, dict[str, Parameter]], values: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, meaning in SHARED.items():
        where = [chapter for chapter, parameters in declared.items() if name in parameters]
        if where:
            everywhere = len(where) == len(declared)
            row: dict[str, Any] = {
                "parameter": code(name),
                "meaning": meaning,
                "in chapter": "all" if everywhere else chapters(book, where),
            }
            for preset in PRESETS:
                found = {repr(values[chapter][preset][name]): values[chapter][preset][name] for chapter in where}
                row[preset] = value(found[min(found)]) if len(found) == 1 else f"{' or '.join(sorted(found))}"
            rows.append(row)
    shown = table(rows, "Parameters that mean the same everywhere.").page
    return f"(parameters-shared)=\n## In several chapters\n\n{shown}"


def _chapter(book: Book, name: str, own: dict[str, Parameter], values: dict[str, dict[str, Any]], took: str) -> str:
    rows = [
        {
            "parameter": code(parameter.name),
            "meaning": parameter.help,
            "type": code(parameter.type),
            **{preset: value(values[preset][parameter.name]) for preset in PRESETS},
        }
        for parameter in own.values()
    ]
    shown = table(rows, f"Parameters of {name}.").page if rows else "It has none of its own."
    return f"(parameters-{name})=\n## [{heading(book, name)}]({name}.ipynb)\n\n`book/{name}.ipynb`{took}\n\n{shown}"


def _took(times: dict[str, dict[str, float]], name: str) -> str:
    """What the runs of the chapter took, of those presets that it was run with here."""
    took = [f"{times[preset][name]:.0f} s with {preset}" for preset in PRESETS if name in times[preset]]
    return f"; a run took {' and '.join(took)} ([what that means](costs.md))." if took else ""


def _index(own: dict[str, dict[str, Parameter]]) -> str:
    names = sorted({key for parameters in own.values() for key in parameters})
    lines = [f"- `{key}`: {_links(chapter for chapter in own if key in own[chapter])}" for key in names]
    return "(parameters-index)=\n## Every name, and the chapters that have it\n\n" + "\n".join(lines)


def _links(chapters: Iterable[str]) -> str:
    return ", ".join(f"[{chapter}](#parameters-{chapter})" for chapter in chapters)


def value(of: object) -> Shown:
    """A value without Python's brackets and quotes; a list may break at its commas.

    Example:
        >>> [value(each) for each in (["a", "b"], 0.5, "")]
        [a, b, 0.5, empty]
    """
    if of in ("", []):
        return Shown("<em>empty</em>", "empty")
    return code(", ".join(map(str, of)) if isinstance(of, list) else of)
