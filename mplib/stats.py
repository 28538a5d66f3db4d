"""Intervals: for one accuracy, for a mean over seeds, and for a difference between two methods on the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mplib.errors import MplibError


class Interval(NamedTuple):
    """A mean with its confidence interval and the number of values behind it."""

    mean: float
    low: float
    high: float
    n: int


def wilson(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a proportion: what the accuracy could be on other test images from the same source.

    Args:
        right: successes, in [0, n].
        n: trials, at least 1.
        confidence: level of the interval, in (0, 1).

    Returns:
        Lower and upper end, in [0, 1].

    Example:
        >>> [round(end, 3) for end in wilson(90, 100)]
        [0.826, 0.945]
    """
    from scipy.stats import binomtest

    if not 0 <= right <= n or n < 1:
        raise MplibError(f"{right} of {n} are right, expected a count between 0 and a total of at least 1")
    interval = binomtest(right, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean over seeds with Student's t interval; a single value has no interval, so its ends are not numbers.

    Args:
        values: one number for each seed.
        confidence: level of the interval, in (0, 1).

    Example:
        >>> interval = mean_interval([1.0, 2.0, 3.0])
        >>> interval.mean, round(interval.low, 2), round(interval.high, 2), interval.n
        (2.0, -0.48, 4.48, 3)
    """
    import numpy as np
    from scipy.stats import t

    if len(values) == 0:
        raise MplibError("there are no values, expected at least one for an interval")
    array = np.asarray(values, dtype=float)
    mean, n = float(array.mean()), len(array)
    if n == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    half = float(t.ppf((1 + confidence) / 2, n - 1) * array.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def paired_interval(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean of ``first - second``, paired by seed, with Student's t interval.

    Args:
        first: one number for each seed.
        second: the other method's numbers, in the same order of seeds.
        confidence: level of the interval, in (0, 1).

    Raises:
        MplibError: the two do not have the same number of seeds.

    Example:
        >>> round(paired_interval([1.0, 2.0, 4.0], [1.0, 1.0, 2.0]).mean, 2)
        1.0
    """
    if len(first) != len(second):
        raise MplibError(f"there are {len(first)} and {len(second)} values, expected pairs with the same seeds")
    return mean_interval([a - b for a, b in zip(first, second, strict=True)], confidence)
