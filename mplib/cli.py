"""The command line: meta-train a phi, transfer it, evaluate a network, look at the data and at what is installed.

Long commands save as they go. meta-train, transfer and bench go on with ``--resume``; reproduce and sweep go on when
the same command is given again. The others are short. Exit status: 0 when all is well, 1 when something that was run or
checked has failed, 2 for input that cannot be used (one sentence says what and what instead), 130 when interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

from mplib.commands import about, attacking, comparison, datasets, learning, records, reproducing, scoring, timing
from mplib.errors import MplibError

COMMANDS = "mplib.commands"
"""The group of entry points by which another package adds commands, as modules with a function ``add(commands)``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after ``mplib``; those of the process if None.

    Returns:
        The exit status.

    Example:
        >>> main(["evaluate", "nowhere.safetensors", "--data", "digits"])
        2
    """
    given = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int | None] = given.command
    try:
        return command(given) or 0
    except MplibError as error:
        print(f"mplib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "mplib: interrupted; the same command, with --resume where it has one, goes on from there", file=sys.stderr
        )
        return 130
    except BrokenPipeError:  # `mplib ... | head` has seen enough; nothing is left to be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    """The parser of every command, those of other packages included."""
    whole = argparse.ArgumentParser(prog="mplib", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for module in (learning, comparison, reproducing, scoring, attacking, records, timing, datasets, about):
        module.add(commands)
    # By name: a package that is installed twice declares its commands twice.
    for entry in {entry.name: entry for entry in sorted(entry_points(group=COMMANDS))}.values():
        entry.load().add(commands)
    return whole
