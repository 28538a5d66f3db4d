"""The three sizes of the book: ``smoke`` (seconds a chapter), ``fast`` (the default), ``full`` (paper scale).

A preset is a file ``book/presets/<preset>.yml`` that maps every chapter to the parameters it overrides; a
chapter that overrides nothing says ``{}``, so that no chapter is forgotten. Besides, every chapter declares
``preset: str = "fast"``, which is set here to the name of the preset, for the badge on its page.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mpbook import notebooks, parameters
from mpbook.layout import PRESETS, Book, read_yaml
from mplib.errors import MplibError, unknown


def load(book: Book, preset: str) -> dict[str, dict[str, Any]]:
    """The overrides of one preset, by chapter, not yet checked against the chapters' parameters.

    Raises:
        MplibError: an unknown preset, no such file, a chapter that is missing or unknown.
    """
    path = book.preset(preset)
    content = read_yaml(path)
    where = path.relative_to(book.root)
    if not isinstance(content, dict) or not all(isinstance(value, dict) for value in content.values()):
        raise MplibError(
            f"{where} does not map every chapter to its parameters, expected lines such as 'opening: {{}}'"
        )
    for chapter in content:
        if chapter not in book.chapters:
            raise MplibError(f"{where}: {unknown('chapter', chapter, book.chapters)}")
    missing = [chapter for chapter in book.chapters if chapter not in content]
    if missing:
        raise MplibError(
            f"{where} lacks {', '.join(missing)}, expected every chapter, at least as '{missing[0]}: {{}}'"
        )
    return content


def resolve(book: Book, preset: str, chapter: str, texts: Iterable[str] = ()) -> dict[str, Any]:
    """Every parameter of a chapter under a preset, checked; no kernel is started.

    Args:
        book: the book.
        preset: ``smoke``, ``fast`` or ``full``.
        chapter: the chapter's name.
        texts: ``name=value`` overrides of the command line, stronger than the preset.

    Raises:
        MplibError: whatever is wrong with the cell, the preset or the overrides, naming the chapter.
    """
    declared = notebooks.declared(book.source(chapter))
    overridden = load(book, preset)[chapter]
    if "preset" in overridden:
        raise MplibError(f"{preset}.yml sets the preset of {chapter}, expected it to be left to the pipeline")
    try:
        typed = parameters.overrides(declared, texts)
        return parameters.resolve(declared, overridden, {"preset": preset}, typed)
    except MplibError as error:
        raise MplibError(f"{chapter}, preset {preset}: {error}") from error


def check(book: Book) -> None:
    """Refuse a book in which any preset of any chapter is wrong.

    Raises:
        MplibError: one line for each thing that is wrong.
    """
    problems = []
    for preset in PRESETS:
        try:
            load(book, preset)
        except MplibError as error:
            problems.append(str(error))
            continue
        for chapter in book.chapters:
            try:
                resolve(book, preset, chapter)
            except MplibError as error:
                problems.append(str(error))
    if problems:
        raise MplibError("\n".join(problems))
