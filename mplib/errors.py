"""One exception for everything that a user can put right.

Its message is one sentence: what was given, and what was expected instead. The command line prints that
sentence and exits with status 2; a traceback is left for what is our mistake.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MplibError(ValueError):
    """Input that cannot be used. The message says what was given and what was expected.

    Example:
        >>> raise MplibError("steps is -3, expected an integer of at least 1")
        Traceback (most recent call last):
        mplib.errors.MplibError: steps is -3, expected an integer of at least 1
    """


def unknown(kind: str, given: object, known: Iterable[str]) -> MplibError:
    """The error for a name that is not in a registry, with the nearest known name.

    Args:
        kind: what the name stands for, in the singular ("network", "data set").
        given: the name that was asked for.
        known: every name that would have been right.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> print(unknown("network", "resnet21", ["conv4", "resnet20"]))
        unknown network 'resnet21', did you mean 'resnet20'? Known: conv4, resnet20
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(given), names, n=1)
    listed = ", ".join(names)
    rest = f"did you mean {near[0]!r}? Known: {listed}" if near else f"expected one of: {listed}"
    return MplibError(f"unknown {kind} {str(given)!r}, {rest if names else 'there are none'}")
