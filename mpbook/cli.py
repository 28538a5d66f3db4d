"""The commands of ``python -m mpbook``: what is run, compared and rendered, in the order of the pipeline."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mpbook import execution, notebooks, pictures, presets, references, rendering, sweep_command
from mpbook.layout import PRESETS, Book, find
from mplib.errors import MplibError

DESCRIPTION = """\
Run, compare and render the chapters of the book.

  parameters   what can be set in each chapter, and what each preset sets
  run          execute the chapters that have changed: book/X.ipynb -> build/<preset>/book/X.ipynb
  sweep        run a chapter with every combination of some parameters (also: mplib sweep)
  reference    store the smoke run's checked outputs in book/reference/ (commit them)
  compare      compare the smoke run with the stored outputs (nbval, nothing is executed)
  render       make the pages: build/<preset>/ -> _build/html/index.html
  book         run and render
  picture      write one figure of an executed chapter to a PNG file
  clean        remove build/ and _build/

The usual commands are 'make book' and 'make test'."""

EPILOGUE = """\
examples:
  python -m mpbook run --preset smoke opening         one chapter, seconds
  python -m mpbook run opening -p steps=50            other parameters, into build/custom/
  python -m mpbook parameters opening                 what '-p' accepts
  python -m mpbook book --preset fast                 the whole book, as 'make book' does"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line; default that of the process.

    Returns:
        0 if all went well, 1 for a sweep with failures, 2 for anything a user can put right, nbval's status for
        ``compare``, 130 if interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command is sweep_command.run:  # which is a command of mplib as well, and finds the book itself
            return sweep_command.run(options)
        return int(options.command(find(options.root), options) or 0)
    except MplibError as error:
        print(f"mpbook: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mpbook: interrupted; finished chapters are kept, the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mpbook",
        description=DESCRIPTION,
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, help="a folder in the book (default: the working directory)")
    commands = parser.add_subparsers(required=True, metavar="command")

    show = commands.add_parser("parameters", help="list what can be set in each chapter")
    show.set_defaults(command=_parameters)
    run = commands.add_parser("run", help="execute the chapters that have changed")
    run.set_defaults(command=_run)
    run.add_argument(
        "-p",
        dest="overrides",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a parameter (repeatable); the result goes to build/custom",
    )
    sweep_command.add(commands)
    record = commands.add_parser("reference", help="store the checked outputs of the smoke run")
    record.set_defaults(command=_reference)
    compare = commands.add_parser("compare", help="compare the smoke run with the stored outputs")
    compare.set_defaults(command=_compare)
    render = commands.add_parser("render", help="make the pages from the executed chapters")
    render.set_defaults(command=_render)
    book = commands.add_parser("book", help="run and render")
    book.set_defaults(command=_book, overrides=[], chapters=[])
    picture = commands.add_parser("picture", help="write one figure to a PNG file")
    picture.set_defaults(command=_picture)
    picture.add_argument("name", help="name of the figure, fig-...")
    picture.add_argument("path", type=Path, help="file to write")
    clean = commands.add_parser("clean", help="remove everything that was made")
    clean.set_defaults(command=_clean)

    for command in (show, run, record):
        command.add_argument("chapters", nargs="*", metavar="CHAPTER", help="names of chapters (default: all)")
    for command in (run, render, book, picture):
        command.add_argument("--preset", default="fast", choices=PRESETS, help="size of the run (default: fast)")
    for command in (run, book):
        command.add_argument("--force", action="store_true", help="run again although nothing has changed")
    return parser


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
