"""Time several pieces of work fairly: they take turns, and what is compared is compared within a turn.

A single time says little on a shared machine, whose speed drifts from second to second. What ran a moment before, and
a moment after, met the same machine: so the result is the ratio within a turn, its median over the turns, and the
range of its middle half.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from mplib.errors import MplibError

Row = dict[str, Any]
Work = Callable[[], object]
WARM_UP = 3
LEAST_TURNS = 3


def take_turns(
    works: Mapping[str, Work], device: torch.device, turns: int = 15, budget: float | None = None
) -> dict[str, list[float]]:
    """Seconds of each piece of work in each turn.

    Args:
        works: what to time, by name; each is called :data:`WARM_UP` times uncounted, then once a turn.
        device: where the work is done; a GPU is waited for.
        turns: counted rounds, at least 3.
        budget: seconds after which no further turn is begun, once there are 3; None for no such limit.

    Returns:
        For each name as many numbers as there were turns.

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
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(-WARM_UP, turns):
        if budget is not None and turn >= LEAST_TURNS and time.perf_counter() - started > budget:
            break
        for name, work in works.items():
            taken = timed(work, device)
            if turn >= 0:
                seconds[name].append(taken)
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


def compared(seconds: Mapping[str, list[float]], base: str) -> dict[str, Row]:
    """Medians, and ratios to one of the pieces, with the quartiles of both.

    Args:
        seconds: as :func:`take_turns` gives them.
        base: the name that the others are divided by.

    Returns:
        For each name ``milliseconds``, ``ms_low``, ``ms_high``, ``ratio``, ``ratio_low``, ``ratio_high``, ``turns``.

    Example:
        >>> compared({"a": [1.0, 2.0, 1.0], "b": [2.0, 4.0, 2.0]}, "a")["b"]["ratio"]
        2.0
    """
    rows = {}
    for name, taken in seconds.items():
        low, middle, high = statistics.quantiles([own / other for own, other in zip(taken, seconds[base], strict=True)])
        ms_low, ms, ms_high = (1000 * value for value in statistics.quantiles(taken))
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
