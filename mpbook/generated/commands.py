"""Every command of ``mplib`` and ``python -m mpbook`` with its options, read from the parsers that run them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from mpbook import options
from mpbook.generated.markup import definitions, prose
from mplib import cli


def text() -> str:
    """A section for each program, and in it one for each command."""
    return "\n\n".join([*program(cli.parser()), *program(options.parser())])


def program(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The sections of one program: itself, then its commands."""
    yield f"({anchor(parser)})=\n## `{parser.prog}`"
    yield from _body(parser)
    for command in _commands(parser).values():
        yield from _command(command)


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"({anchor(parser)})=\n### `{parser.prog}`"
    yield from _body(parser)
    for command in _commands(parser).values():  # of two words, such as `mplib data list`
        yield from _command(command)


def anchor(parser: argparse.ArgumentParser) -> str:
    """The name by which other pages refer to a command: ``command-mplib-data-list``."""
    return "command-" + re.sub(r"\W+", "-", parser.prog.replace("python -m ", ""))


def _body(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What it does, how it is called, what its words mean, and its examples."""
    if parser.description:
        text = parser.description[0].upper() + parser.description[1:]
        yield _paragraphs(parser, text if text.rstrip().endswith((".", ":")) else f"{text}.")
    yield f"```text\n{_usage(parser)}\n```"
    pairs = [
        (_words(action), _meaning(parser, action))
        for action in _actions(parser)
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)
    ]
    if pairs and not _commands(parser):
        yield definitions(pairs)
    if parser.epilog:
        yield _paragraphs(parser, parser.epilog)


def _usage(parser: argparse.ArgumentParser) -> str:
    """The shortest form of a call: what has to be given, and that there are options."""
    actions = [action for action in _actions(parser) if not isinstance(action, argparse._HelpAction)]
    if _commands(parser):
        return f"{parser.prog} {'|'.join(_commands(parser))} ..."
    needed = [_words(action) for action in actions if action.required and action.option_strings]
    given = [
        _words(action) if action.required and action.nargs != "*" else f"[{_words(action)}]"
        for action in actions
        if not action.option_strings
    ]
    options = ["[options]"] if any(action.option_strings and not action.required for action in actions) else []
    return " ".join([parser.prog, *given, *needed, *options])


def _paragraphs(parser: argparse.ArgumentParser, text: str) -> str:
    """Text that its author has laid out stays as it is; other text flows."""
    filled = text % {"prog": parser.prog} if "%(prog)s" in text else text
    raw = isinstance(parser.formatter_class(prog="x"), argparse.RawDescriptionHelpFormatter)
    if raw and re.search(r"^ +\S", filled, re.MULTILINE):
        return f"```text\n{filled.strip()}\n```"
    return "\n\n".join(f"<p>{prose(' '.join(part.split()))}</p>" for part in filled.split("\n\n"))


def _words(action: argparse.Action) -> str:
    """How an option is written: ``--seeds N, ...``."""
    if not action.option_strings:
        return str(action.metavar or action.dest)
    metavar = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else None)
    value = "" if action.nargs == 0 else f" {metavar or action.dest.upper()}"
    return ", ".join(action.option_strings) + value


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    values = {**vars(action), "prog": parser.prog}
    return (action.help or "") % values


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # argparse has no public way to them; documentation tools all take this one


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The sub-commands of a parser by name, in the order of its help."""
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}
