"""Units made one after another within a budget of minutes; whatever is stopped goes on in the next stretch."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from mplib.errors import MplibError
from mplib.reproduction.costs import Costs
from mplib.reproduction.declarations import Unit
from mplib.reproduction.workshop import Workshop

LONG = 0.25
"""A unit that would take a larger part of the budget is begun even if it cannot end in it: its checkpoint stays."""

MARGIN = 0.02
"""The part of the budget that is left for writing down what was done."""

SHORTEST = 20.0
"""Seconds; with less left, no unit is begun that cannot end."""


class OutOfTime(BaseException):
    """The budget is spent. Not an Exception, so that nothing on the way takes it for an error of its own."""


@dataclass
class Outcome:
    """What a stretch came to.

    Attributes:
        made: units that were made.
        found: units whose rows were there.
        left: units that are left, in order.
        failed: units that cannot be made, with the reason.
        stopped: whether the budget ended the stretch.
    """

    made: list[Unit] = field(default_factory=list)
    found: list[Unit] = field(default_factory=list)
    left: list[Unit] = field(default_factory=list)
    failed: list[tuple[Unit, str]] = field(default_factory=list)
    stopped: bool = False


def run(
    units: Sequence[Unit],
    shop: Workshop,
    costs: Costs,
    minutes: float,
    say: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Make units, in their order, until all are made or the budget does not hold the next one.

    A unit that would not end in what is left is not begun, unless it is long (:data:`LONG`): such a unit is stopped
    when the budget ends, and goes on from its checkpoint in the next stretch.

    Args:
        units: what to make.
        shop: makes them.
        costs: what they are going to take.
        minutes: the budget, above 0.
        say: told what is done, line by line.
        clock: seconds that go by.

    Raises:
        MplibError: a budget that is not above 0.
    """
    if not minutes > 0:
        raise MplibError(f"the budget is {minutes} minutes, expected a number above 0")
    budget = 60 * minutes
    end = clock() + (1 - MARGIN) * budget
    outcome = Outcome()
    for number, unit in enumerate(units):
        try:
            if shop.rows(unit) is not None:
                outcome.found.append(unit)
                continue
            if end - clock() <= 0:
                outcome.left, outcome.stopped = list(units[number:]), True
                break
            with deadline(end - clock()):
                cost = costs.of(unit)
                left = end - clock()
                if cost.seconds > left and (cost.seconds < LONG * budget or left < min(SHORTEST, LONG * budget)):
                    say(f"{unit}: would take {minutes_text(cost.seconds)}, {minutes_text(left)} are left")
                    raise OutOfTime
                say(f"{unit}: about {minutes_text(cost.seconds)} ({cost.how}), {cost.bytes / 2**20:,.0f} MiB")
                rows = shop.make(unit)
        except OutOfTime:
            outcome.left, outcome.stopped = list(units[number:]), True
            break
        except MplibError as error:
            say(f"{unit}: failed: {error}")
            outcome.failed.append((unit, str(error)))
            continue
        costs.add(rows)
        outcome.made.append(unit)
    # What comes after the one that the budget did not hold may be there from an earlier stretch.
    outcome.left = [unit for unit in outcome.left if shop.rows(unit) is None]
    return outcome


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise :class:`OutOfTime` inside once the time is over, wherever the work is.

    Only the main thread can be stopped so, and only where there are alarms (not on Windows); elsewhere work that was
    begun ends by itself.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def minutes_text(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> minutes_text(42), minutes_text(600), minutes_text(2 * 3600)
        ('42 s', '10.0 min', '2.0 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
