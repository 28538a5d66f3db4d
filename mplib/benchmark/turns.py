"""Time several pieces of work fairly: they take turns, and each is compared with what ran right beside it.

A single time says little on a shared machine, whose speed drifts from second to second. What ran a moment before, and
a moment after, met the same machine: so one piece of work is the base, it runs before and after every other one, and
the result is the ratio to these two neighbours: its median over the turns, and the range of its middle half.
"""

from __future__ import annotations

import math
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


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """An interval of a median that asks nothing of the distribution: two of the sorted values themselves.

    The k-th smallest and the k-th largest of n miss the median with a probability of twice that of fewer than k heads
    in n tosses; k is the largest for which this is at most ``1 - confidence``.

    Args:
        values: one for each turn.
        confidence: level of the interval, in (0, 1).

    Returns:
        Lower and upper end; None where there are too few values for the level (five or fewer, for 95 %).

    Example:
        >>> median_interval([1, 2, 3, 4, 5, 6]), median_interval([1, 2, 3])
        ((1, 6), None)

    Source: the sign test, inverted.
    """
    n, tail, k = len(values), 0.0, 0
    while k < n and 2 * (tail + math.comb(n, k) / 2**n) <= 1 - confidence:
        tail += math.comb(n, k) / 2**n
        k += 1
    return (sorted(values)[k - 1], sorted(values)[n - k]) if k else None


def compared(seconds: Mapping[str, Sequence[Taken]]) -> dict[str, Row]:
    """Medians of the times, and of the ratios to the base, with the quartiles of both and an interval of the ratio.

    Half of the turns lie between the quartiles; what the median itself may be is said by :func:`median_interval`.

    Args:
        seconds: as :func:`take_turns` gives them.

    Returns:
        For each name ``milliseconds``, ``ms_low``, ``ms_high``, ``ratio``, ``ratio_low``, ``ratio_high``, ``turns``,
        and the ends of the 95 % interval, ``ratio_from`` and ``ratio_to``, None where there are too few turns.

    Example:
        >>> compared({"b": [Taken(2.0, 1.0), Taken(4.0, 2.0), Taken(2.0, 1.0)]})["b"]["ratio"]
        2.0
    """
    rows = {}
    for name, taken in seconds.items():
        ratios = [one.own / one.base for one in taken]
        low, middle, high = statistics.quantiles(ratios)
        least, most = median_interval(ratios) or (None, None)
        ms_low, ms, ms_high = (1000 * value for value in statistics.quantiles([one.own for one in taken]))
        rows[name] = {
            "milliseconds": ms,
            "ms_low": ms_low,
            "ms_high": ms_high,
            "ratio": middle,
            "ratio_low": low,
            "ratio_high": high,
            "ratio_from": least,
            "ratio_to": most,
            "turns": len(taken),
        }
    return rows
