"""The commands of ``python -m mpbook``: what is run, compared and rendered, in the order of the pipeline."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence

from mpbook import archive, execution, modelcards, notebooks, pictures, presets, references, rendering, viewing
from mpbook.layout import PRESETS, Book, find
from mpbook.options import parser
from mplib.errors import MplibError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line; default that of the process.

    Returns:
        0 if all went well, 1 for a sweep or pages with failures, 2 for anything a user can put right, nbval's status
        for ``compare``, 130 if interrupted.
    """
    options = parser().parse_args(arguments)
    try:
        if callable(options.command):  # a command of mplib as well, which finds the book itself
            return int(options.command(options))
        return int(COMMANDS[options.command](find(options.root), options) or 0)
    except MplibError as error:
        print(f"mpbook: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mpbook: interrupted; finished chapters are kept, the same command goes on from here", file=sys.stderr)
        return 130


def _say(line: str) -> None:
    print(line, flush=True)


def _parameters(book: Book, options: argparse.Namespace) -> None:
    for name in options.chapters or book.chapters:
        declared = notebooks.declared(book.source(name))
        sizes = {preset: presets.resolve(book, preset, name) for preset in PRESETS}
        _say(name)
        for parameter in declared.values():
            _say(f"  {parameter.name}: {parameter.type} = {parameter.default!r}    {parameter.help}")
            if parameter.name != "preset":
                _say("      " + "  ".join(f"{size}: {values[parameter.name]!r}" for size, values in sizes.items()))


def _run(book: Book, options: argparse.Namespace) -> None:
    made = execution.run(book, options.preset, options.chapters, options.overrides, options.force, _say)
    _say(f"executed notebooks: {made[0].parent}")


def _reference(book: Book, options: argparse.Namespace) -> None:
    execution.run(book, references.PRESET, options.chapters, say=_say)
    for path in references.record(book, options.chapters):
        _say(f"wrote {path.relative_to(book.root)}: read the difference before you commit it")


def _compare(book: Book, options: argparse.Namespace) -> int:
    stale = [name for name in book.chapters if not execution.up_to_date(book, references.PRESET, name)]
    if stale:
        raise MplibError(
            f"no up-to-date smoke run of {', '.join(stale)}, expected 'python -m mpbook run --preset smoke'"
        )
    strays = references.strays(book)
    if strays:
        names = ", ".join(path.name for path in strays)
        raise MplibError(f"{names} in book/reference belongs to no chapter, expected it gone")
    executed = [str(book.executed(references.PRESET, name)) for name in book.chapters]
    plugin = ["-p", "mpbook.replay", "--references", str(book.root / "book" / "reference")]
    # The unit tests' own options would not fit, and a run in a clean folder leaves no cache there.
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-q", "--nbval-lax"]
    return subprocess.run([*command, *plugin, *executed], cwd=book.root, check=False).returncode


def _render(book: Book, options: argparse.Namespace) -> None:
    _say(f"the book ({options.preset}): {rendering.render(book, options.preset)}")


def _book(book: Book, options: argparse.Namespace) -> None:
    execution.run(book, options.preset, force=options.force, say=_say)
    _render(book, options)


def _picture(book: Book, options: argparse.Namespace) -> None:
    _say(f"wrote {pictures.export(book, options.preset, options.name, options.path)}")


def _clean(book: Book, options: argparse.Namespace) -> None:
    execution.clean(book)


def _look(book: Book, options: argparse.Namespace) -> int:
    return viewing.report(book.root / "_build" / "html", _say)


def _cards(book: Book, options: argparse.Namespace) -> None:
    for path in modelcards.write(book):
        _say(f"wrote {path.relative_to(book.root)}: read the difference before you commit it")


def _archive(book: Book, options: argparse.Namespace) -> None:
    _say(f"wrote {archive.write(book.root / '_build' / 'html', options.path or book.root / '_build' / archive.NAME)}")


COMMANDS: dict[str, Callable[[Book, argparse.Namespace], int | None]] = {
    "parameters": _parameters,
    "run": _run,
    "reference": _reference,
    "compare": _compare,
    "render": _render,
    "book": _book,
    "look": _look,
    "archive": _archive,
    "picture": _picture,
    "cards": _cards,
    "clean": _clean,
}
"""What each command of :mod:`mpbook.options` does."""
