"""Time several pieces of work fairly: they take turns, and each is compared with what ran right beside it.

A single time says little on a shared machine, whose speed drifts from second to second. What ran a moment before, and
a moment after, met the same machine: so one piece of work is the base, it runs before and after every other one, and
the result is the ratio to these two neighbours: its median over the turns, and the range of its middle half.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from mplib.errors import MplibError

Row = dict[str, Any]
Work = Callable[[], object]
WARM_UP = 3
LEAST_TURNS = 3


class Taken(NamedTuple):
    """Seconds of a piece of work, and the mean of those of the base right before and right after it."""

    own: float
    base: float


def take_turns(
    works: Mapping[str, Work], device: torch.device, turns: int = 15, budget: float | None = None
) -> dict[str, list[Taken]]:
    """Seconds of each piece of work in each turn: base, second, base, third, base, and so on.

    Args:
        works: what to time, by name, the base first; each has :data:`WARM_UP` turns that are not counted.
        device: where the work is done; a GPU is waited for.
        turns: counted rounds, at least 3.
        budget: seconds after which no further turn is begun, once there are 3; None for no such limit.

    Returns:
        For each name as many times as there were turns; for the base the means of its own times in a turn.

    Raises:
        MplibError: fewer than 3 turns.

    Example:
        >>> seconds = take_turns({"a": lambda: sum(range(9)), "b": lambda: None}, torch.device("cpu"), turns=3)
        >>> [len(taken) for taken in seconds.values()]
        [3, 3]
    """
    if turns < LEAST_TURNS:
        raise MplibError(f"turns is {turns}, expected at least {LEAST_TURNS}")
    started = time.perf_counter()
    base, *others = works
    seconds: dict[str, list[Taken]] = {name: [] for name in works}
    for turn in range(-WARM_UP, turns):
        if budget is not None and turn >= LEAST_TURNS and time.perf_counter() - started > budget:
            break
        beside = [timed(works[base], device)]
        for name in others:
            own = timed(works[name], device)
            beside.append(timed(works[base], device))
            if turn >= 0:
                seconds[name].append(Taken(own, (beside[-2] + beside[-1]) / 2))
        if turn >= 0:
            seconds[base].append(Taken(statistics.mean(beside), statistics.mean(beside)))
    return seconds


def timed(work: Work, device: torch.device) -> float:
    """Seconds until a piece of work is done, on a GPU too."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compared(seconds: Mapping[str, Sequence[Taken]]) -> dict[str, Row]:
    """Medians of the times, and of the ratios to the base, with the quartiles of both.

    Args:
        seconds: as :func:`take_turns` gives them.

    Returns:
        For each name ``milliseconds``, ``ms_low``, ``ms_high``, ``ratio``, ``ratio_low``, ``ratio_high``, ``turns``.

    Example:
        >>> compared({"b": [Taken(2.0, 1.0), Taken(4.0, 2.0), Taken(2.0, 1.0)]})["b"]["ratio"]
        2.0
    """
    rows = {}
    for name, taken in seconds.items():
        low, middle, high = statistics.quantiles([one.own / one.base for one in taken])
        ms_low, ms, ms_high = (1000 * value for value in statistics.quantiles([one.own for one in taken]))
        rows[name] = {
            "milliseconds": ms,
            "ms_low": ms_low,
            "ms_high": ms_high,
            "ratio": middle,
            "ratio_low": low,
            "ratio_high": high,
            "turns": len(taken),
        }
    return rows
