"""The words of ``python -m mpbook``: its commands and options, without what they do (that is :mod:`mpbook.cli`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from mpbook import sweep_command
from mpbook.layout import PRESETS

MAKERS = ("reference", "compare", "look", "cards")
"""Commands for those who change the book."""

DESCRIPTION = """\
Run, compare and render the chapters of the book.

  parameters   what can be set in each chapter, and what each preset sets
  run          execute the chapters that have changed: book/X.ipynb -> build/<preset>/book/X.ipynb
  sweep        run a chapter with every combination of some parameters (also: mplib sweep)
  render       make the pages: build/<preset>/ -> _build/html/index.html
  book         run and render
  archive      pack the pages into one file that needs no network: _build/metaperturb-book.zip
  picture      write one figure of an executed chapter to a PNG file
  clean        remove build/ and _build/

for those who change the book:
  reference    store the smoke run's checked outputs in book/reference/ (commit them)
  compare      compare the smoke run with the stored outputs (nbval, nothing is executed)
  look         open every page in a browser without a window, wide, narrow and dark: nothing may stick out or fail
  cards        write what the recorded rows say onto the model cards of the phis in the wheel (commit them)

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
    whole.add_argument("--root", type=Path, metavar="FOLDER",
                       help="folder of the book's checkout (default: found from the working directory)")  # fmt: skip
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
    archive.add_argument(
        "path", type=Path, metavar="FILE", nargs="?", help="file to write (default: _build/metaperturb-book.zip)"
    )
    picture = add("picture", "write one figure to a PNG file")
    text = "name of the figure, such as fig-opening: the end of its link on the page"
    picture.add_argument("name", metavar="FIGURE", help=text)
    picture.add_argument("path", type=Path, metavar="FILE", help="file to write")
    add("cards", "write what the recorded rows say onto the model cards")
    add("clean", "remove everything that was made")

    for command in (show, run, record):
        command.add_argument("chapters", nargs="*", metavar="CHAPTER", help="names of chapters (default: all)")
    for command in (run, render, book, picture):
        command.add_argument(
            "--preset",
            default="fast",
            choices=PRESETS,
            metavar="NAME",
            help="size of the run: smoke, fast or full (default: fast)",
        )
    for command in (run, book):
        command.add_argument("--force", action="store_true", help="run again although nothing has changed")
    return whole
