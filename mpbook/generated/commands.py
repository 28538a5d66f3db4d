"""Every command of ``mplib`` and ``python -m mpbook`` with its options, read from the parsers that run them.

Options are written as Sphinx's ``option`` directives, so each can be linked and found. What several commands of a
program have in common is described once.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Set

from mpbook import options
from mpbook.generated.markup import plain
from mplib import cli

SHARED = 3
"""An option that so many commands have, with the same words, is described once for all of them."""
TWICE = "python -m mpbook sweep"
"""The command of both programs, which is described under the other."""


def text() -> str:
    """A section for each program: a table of its commands, and a section for each of them."""
    ours, books = cli.parser(), options.parser()
    makers = {f"{books.prog} {name}" for name in options.MAKERS}
    return "\n\n".join([*program(ours), *program(books, makers)])


def program(parser: argparse.ArgumentParser, last: Set[str] = frozenset()) -> Iterator[str]:
    """The sections of one program: itself, what is common, its commands, and ``last`` those of these names."""
    yield f"({anchor(parser)})=\n## `{parser.prog}`"
    said = (parser.description or "").split("\n\n")
    yield from _paragraphs(parser, "\n\n".join(part for part in said if "\n  " not in part))  # others are a table here
    yield _overview(parser, last)
    yield from _paragraphs(parser, parser.epilog or "")
    common = _common(parser)
    own = [action for action in _actions(parser) if action.option_strings]
    if common or own:
        yield f"({anchor(parser)}-common)=\n### Common options of `{parser.prog}`"
        yield from _described(parser, [*own, *common.values()])
    every = list(_commands(parser))
    for command in every:
        if command.prog not in last:
            yield from _command(command, common, "###")
    if last:
        yield f"({anchor(parser)}-makers)=\n### For those who change the book"
        for command in every:
            if command.prog in last:
                yield from _command(command, common, "####")


def anchor(parser: argparse.ArgumentParser) -> str:
    """The name by which other pages refer to a command: ``command-mplib-data-list``."""
    return "command-" + re.sub(r"\W+", "-", parser.prog.replace("python -m ", ""))


def _overview(parser: argparse.ArgumentParser, last: Set[str]) -> str:
    """A line for each command: a link, and what it does."""
    shown = [command for command in _leaves(parser) if command.prog not in last]
    lines = [f"| [`{command.prog}`](#{anchor(command)}) | {plain(_first(command))} |" for command in shown]
    return "\n".join(["| command | what it does |", "| --- | --- |", *lines])


def _first(command: argparse.ArgumentParser) -> str:
    said = _sentence(command.description or "")
    return "The same as `mplib sweep`." if command.prog == TWICE else said[:1].upper() + said[1:]


def _command(parser: argparse.ArgumentParser, common: dict[str, argparse.Action], level: str) -> Iterator[str]:
    """What it does, how it is called, what its words mean, and its examples."""
    yield f"({anchor(parser)})=\n{level} `{parser.prog}`"
    if parser.prog == TWICE:
        yield f"The same as [`mplib sweep`](#{anchor(parser).replace('mpbook', 'mplib')})."
        return
    yield from _paragraphs(parser, _sentence(parser.description or ""))
    if any(_commands(parser)):
        return
    yield f"```text\n{_usage(parser)}\n```"
    shared = [action for action in _actions(parser) if _words(action) in common and _same(action, common)]
    yield from _described(parser, [action for action in _actions(parser) if action not in shared])
    if shared:
        program = parser.prog.split()[0] if parser.prog.startswith("mplib") else "python -m mpbook"
        names = ", ".join(f"{{option}}`{action.option_strings[-1]} <{program} {action.option_strings[-1]}>`"
                          for action in shared)  # fmt: skip
        yield f"Common options: {names}."
    yield from _paragraphs(parser, parser.epilog or "")


def _described(parser: argparse.ArgumentParser, actions: list[argparse.Action]) -> Iterator[str]:
    """What has to be given comes first, then the options in the order of the code."""
    shown = [a for a in actions if a.help != argparse.SUPPRESS and not isinstance(a, _UNSHOWN)]
    yield f"```{{program}} {parser.prog}\n```" if shown else ""
    for action in sorted(shown, key=lambda action: bool(action.option_strings)):
        yield f"````{{option}} {_words(action)}\n{plain(_meaning(parser, action))}\n````"


def _common(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The options that several commands have in the same words, by how they are written."""
    every = [(_words(a), a.help) for command in _leaves(parser) for a in _actions(command) if a.option_strings]
    often = {pair for pair, count in Counter(every).items() if count >= SHARED}
    found = {
        _words(action): action
        for command in _leaves(parser)
        for action in _actions(command)
        if (_words(action), action.help) in often and not isinstance(action, _UNSHOWN)
    }
    return {words: action for words, action in found.items() if action.help != argparse.SUPPRESS}


def _same(action: argparse.Action, common: dict[str, argparse.Action]) -> bool:
    return action.help == common[_words(action)].help


def _usage(parser: argparse.ArgumentParser) -> str:
    """The shortest form of a call: what has to be given, and that there are options."""
    actions = [action for action in _actions(parser) if not isinstance(action, _UNSHOWN)]
    needed = [_words(action) for action in actions if action.required and action.option_strings]
    given = [
        _words(action) + " ..." * (action.nargs == "+")
        if action.required and action.nargs != "*"
        else f"[{_words(action)}]"
        for action in actions
        if not action.option_strings
    ]
    options = ["[options]"] if any(action.option_strings and not action.required for action in actions) else []
    return " ".join([parser.prog, *given, *needed, *options])


def _paragraphs(parser: argparse.ArgumentParser, text: str) -> Iterator[str]:
    """Text flows; lines that its author has moved in are shown as they are."""
    for part in (text % {"prog": parser.prog} if "%(prog)s" in text else text).strip().split("\n\n"):
        raw = [line for line in part.splitlines() if line.startswith("  ")]
        if words := " ".join(" ".join(line.split()) for line in part.splitlines() if line not in raw):
            yield plain(words[0].upper() + words[1:])
        if raw:
            yield "```text\n" + "\n".join(line[2:] for line in raw) + "\n```"


def _sentence(text: str) -> str:
    return text if not text or text.rstrip().endswith((".", ":")) else f"{text}."


def _words(action: argparse.Action) -> str:
    """How an option is written: ``--seeds N``."""
    if not action.option_strings:
        return str(action.metavar or action.dest)
    metavar = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else None)
    value = "" if action.nargs == 0 else f" {metavar or action.dest.upper()}"
    return ", ".join(f"{name}{value}" for name in action.option_strings)


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    values = {**vars(action), "prog": parser.prog}
    return (action.help or "") % values


_UNSHOWN = (argparse._HelpAction, argparse._SubParsersAction)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # argparse has no public way to them; documentation tools all take this one


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands in the order of the help, those of two words (``mplib data list``) after what they begin with."""
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from _commands(command)


def _leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The commands that do something; ``mplib data`` alone does nothing."""
    return [command for command in _commands(parser) if not any(_commands(command))]
