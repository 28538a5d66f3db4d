"""The command line: meta-train a phi, transfer it, evaluate a network, look at the data and at what is installed.

Every command writes its results to files, can be stopped at any moment, and goes on with ``--resume``. Exit status: 0
when all is well, 2 for input that cannot be used (one sentence says what and what instead), 130 when interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from mplib.commands import about, attacking, comparison, datasets, learning, scoring, timing
from mplib.errors import MplibError


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
    given = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = given.command
    try:
        command(given)
    except MplibError as error:
        print(f"mplib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mplib: interrupted; the same command with --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mplib", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (learning, comparison, scoring, attacking, timing, datasets, about):
        module.add(commands)
    return parser
