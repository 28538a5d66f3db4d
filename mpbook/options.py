"""The words of ``python -m mpbook``: its commands and options, without what they do (that is :mod:`mpbook.cli`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from mpbook import sweep_command
from mpbook.layout import PRESETS

DESCRIPTION = """\
Run, compare and render the chapters of the book.

  parameters   what can be set in each chapter, and what each preset sets
  run          execute the chapters that have changed: book/X.ipynb -> build/<preset>/book/X.ipynb
  sweep        run a chapter with every combination of some parameters (also: mplib sweep)
  reference    store the smoke run's checked outputs in book/reference/ (commit them)
  compare      compare the smoke run with the stored outputs (nbval, nothing is executed)
  render       make the pages: build/<preset>/ -> _build/html/index.html
  book         run and render
  look         open every page in a browser without a window, wide, narrow and dark: nothing may stick out or fail
  archive      pack the pages into one file that needs no network: _build/metaperturb-book.zip
  picture      write one figure of an executed chapter to a PNG file
  cards        write what the recorded rows say onto the model cards of the phis in the wheel (commit them)
  clean        remove build/ and _build/

The usual commands are 'make book' and 'make test'."""

EPILOGUE = """\
examples:
  python -m mpbook run --preset smoke opening         one chapter, seconds
  python -m mpbook run opening -p steps=50            other parameters, into build/custom/
  python -m mpbook parameters opening                 what '-p' accepts
  python -m mpbook book --preset fast                 the whole book, as 'make book' does"""


def parser() -> argparse.ArgumentParser:
    """The parser; ``command`` of what it returns is the name of a command, or the function of one of mplib's."""
    whole = argparse.ArgumentParser(
        prog="python -m mpbook",
        description=DESCRIPTION,
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--root", type=Path, help="a folder in the book (default: the working directory)")
    commands = whole.add_subparsers(required=True, metavar="command")

    def add(name: str, help_text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.")
        command.set_defaults(command=name)
        return command

    show = add("parameters", "list what can be set in each chapter")
    run = add("run", "execute the chapters that have changed")
    run.add_argument(
        "-p",
        dest="overrides",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a parameter (repeatable); the result goes to build/custom",
    )
    sweep_command.add(commands)
    record = add("reference", "store the checked outputs of the smoke run")
    add("compare", "compare the smoke run with the stored outputs")
    render = add("render", "make the pages from the executed chapters")
    book = add("book", "run and render")
    book.set_defaults(overrides=[], chapters=[])
    add("look", "open every page in a browser without a window: wide, narrow, dark")
    archive = add("archive", "pack the pages into one file that needs no network")
    archive.add_argument("path", type=Path, nargs="?", help="file to write (default: _build/metaperturb-book.zip)")
    picture = add("picture", "write one figure to a PNG file")
    picture.add_argument("name", help="name of the figure, fig-...")
    picture.add_argument("path", type=Path, help="file to write")
    add("cards", "write what the recorded rows say onto the model cards")
    add("clean", "remove everything that was made")

    for command in (show, run, record):
        command.add_argument("chapters", nargs="*", metavar="CHAPTER", help="names of chapters (default: all)")
    for command in (run, render, book, picture):
        command.add_argument("--preset", default="fast", choices=PRESETS, help="size of the run (default: fast)")
    for command in (run, book):
        command.add_argument("--force", action="store_true", help="run again although nothing has changed")
    return whole
