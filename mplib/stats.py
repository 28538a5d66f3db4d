"""What few seeds can say: intervals for an accuracy, a mean, a paired difference and a mean over several tasks.

There are no stars here. Where a table makes several tests, their p-values go through :func:`holm`. Where an interval
holds zero, its ends say what it leaves open; :func:`minimum_detectable_difference` is for planning, before the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mplib.errors import MplibError


class Interval(NamedTuple):
    """A mean with its confidence interval.

    Attributes:
        mean: the mean.
        low: lower end of the interval.
        high: upper end of the interval.
        n: how many values it is the mean of; with one there is no interval, and all three are that value.
    """

    mean: float
    low: float
    high: float
    n: int


def interval_text(interval: Interval, decimals: int, sign: str = "") -> str:
    """A mean with its interval; a single value has none.

    Example:
        >>> interval_text(Interval(2.0, -0.5, 4.5, 3), 1), interval_text(Interval(2.0, 2.0, 2.0, 1), 1, sign="+")
        ('2.0 [-0.5, 4.5]', '+2.0')
    """
    mean = f"{interval.mean:{sign}.{decimals}f}"
    if interval.n < 2:
        return mean
    return f"{mean} [{interval.low:{sign}.{decimals}f}, {interval.high:{sign}.{decimals}f}]"


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


def pooled_interval(
    strata: Sequence[Sequence[float]], confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> Interval:
    r"""Mean over tasks of paired differences, every task with the same weight, with a stratified bootstrap interval.

    .. math::

        & \bar d = \tfrac1T \textstyle\sum_t \bar d_t \\
        & d^*_{ti} = \bar d_t + \sqrt{n_t / (n_t - 1)}\,(d_{t j_i} - \bar d_t)

    The seeds are drawn anew within each task (:math:`j_i` uniform); the ends are quantiles of the resampled means. The
    square root makes the spread of a resampled mean that of the data, where a plain bootstrap of five seeds is a tenth
    too narrow. The tasks stay as they are, so the interval speaks about these tasks and not about tasks in general.
    With 95 % asked for, it covers about 88 % with one task of five seeds and about 93 % with four, if the tasks are
    independent, and less if they share seeds. It is for tasks that do not: for one task :func:`paired_interval` is the
    better one, for tasks with common seeds :func:`common_seed_interval`.

    Args:
        strata: for each task the differences of its seeds, at least 2 of them.
        confidence: level of the interval, in (0, 1).
        resamples: bootstrap draws, at least 100.
        seed: of the draws, at least 0.

    Returns:
        The interval; its ``n`` is the number of all differences.

    Raises:
        MplibError: no tasks, a task with fewer than two seeds, or too few draws.

    Example:
        >>> interval = pooled_interval([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])
        >>> interval.mean, interval.n, interval.low < 4 < interval.high
        (4.0, 6, True)
    """
    import numpy as np

    if not strata or min(len(values) for values in strata) < 2:
        sizes = [len(values) for values in strata]
        raise MplibError(f"the tasks have {sizes} differences, expected tasks with at least 2 seeds each")
    if resamples < 100 or not 0 < confidence < 1:
        raise MplibError(f"resamples is {resamples} and confidence {confidence}, expected at least 100, and in (0, 1)")
    source = np.random.default_rng(seed)
    means = np.zeros(resamples)
    for values in strata:
        array = np.asarray(values, dtype=float)
        n, centre = len(array), array.mean()
        wider = centre + math.sqrt(n / (n - 1)) * (array - centre)
        means += wider[source.integers(n, size=(resamples, n))].mean(axis=1) / len(strata)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    mean = float(np.mean([np.mean(values) for values in strata]))
    return Interval(mean, float(low), float(high), sum(len(values) for values in strata))


def seed_means(tasks: Sequence[Mapping[int, float]]) -> list[float]:
    """For each seed that all tasks share the mean over the tasks, in the order of the seeds.

    Example:
        >>> seed_means([{0: 1.0, 1: 3.0}, {1: 5.0, 0: 5.0, 2: 9.0}])
        [3.0, 4.0]
    """
    common = sorted(set.intersection(*(set(task) for task in tasks))) if tasks else []
    return [sum(task[seed] for task in tasks) / len(tasks) for seed in common]


def common_seed_interval(tasks: Sequence[Mapping[int, float]], confidence: float = 0.95) -> Interval:
    r"""Mean over tasks of paired differences, with Student's t interval over the seeds that all the tasks share.

    .. math:: \bar d_i = \tfrac1T \textstyle\sum_t d_{ti}, \qquad
        \bar d \pm t_{n-1}\, \operatorname{sd}(\bar d_1, \dots, \bar d_n) / \sqrt n

    Where a seed stands for the same draws in every task, the differences of a seed go up and down together; a mean over
    the tasks for each seed keeps that, where :func:`pooled_interval` takes the tasks for independent. The seeds are
    independent of each other, so the interval covers as often as it says, whatever the tasks share, as far as the means
    are normal: 95 % with three seeds as with ten, and it is wide with three. It speaks about these tasks.

    Args:
        tasks: for each task its differences by seed; seeds that one of them lacks are left out.
        confidence: level of the interval, in (0, 1).

    Returns:
        The interval; its ``n`` is the number of differences in it, tasks times seeds.

    Raises:
        MplibError: no tasks, or fewer than two seeds in common.

    Example:
        >>> interval = common_seed_interval([{0: 1.0, 1: 3.0, 2: 2.0}, {0: 5.0, 1: 7.0, 2: 6.0, 3: 9.0}])
        >>> interval.mean, interval.n, round(interval.low, 2)
        (4.0, 6, 1.52)
    """
    means = seed_means(tasks)
    if len(means) < 2:
        raise MplibError(f"the {len(tasks)} tasks have {len(means)} seeds in common, expected at least 2")
    return mean_interval(means, confidence)._replace(n=len(means) * len(tasks))


def p_value(differences: Sequence[float]) -> float:
    """Two-sided p-value of Student's t test that paired differences have mean zero.

    Args:
        differences: one for each seed, at least 2. If all are equal the value is 0, or 1 where they are zero.

    Raises:
        MplibError: fewer than two.

    Example:
        >>> round(p_value([1.0, 2.0, 3.0]), 3)
        0.074
    """
    import numpy as np
    from scipy.stats import t

    array = np.asarray(differences, dtype=float)
    if len(array) < 2:
        raise MplibError(f"there are {len(array)} differences, expected at least 2 for a test")
    if np.ptp(array) == 0:
        return float(array[0] == 0)
    return float(2 * t.sf(abs(array.mean()) / (array.std(ddof=1) / math.sqrt(len(array))), len(array) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the chance that *any* true null among several is rejected stays below the level.

    Args:
        p_values: one for each test, in [0, 1].

    Returns:
        The adjusted values in the same order; reject those below the level.

    Raises:
        MplibError: a value outside of [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise MplibError(f"the p-values are {list(p_values)}, expected numbers from 0 to 1")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def minimum_detectable_difference(deviation: float, n: int, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest true difference that a paired t test finds with the given probability.

    Args:
        deviation: standard deviation of the paired differences, at least 0.
        n: pairs, at least 2.
        power: probability of finding it, in (level, 1).
        level: of the two-sided test, in (0, 1).

    Returns:
        A difference in the unit of ``deviation``.

    Raises:
        MplibError: a number out of range.

    Example:
        >>> round(minimum_detectable_difference(1.0, n=5), 2)   # five seeds see effects above 1.7 deviations
        1.68
    """
    from scipy.optimize import brentq
    from scipy.stats import f, ncf

    if not deviation >= 0 or n < 2 or not 0 < level < power < 1:
        raise MplibError(
            f"deviation is {deviation}, n {n}, power {power} and level {level}, expected a deviation of at least 0, "
            "at least 2 pairs, and 0 < level < power < 1"
        )
    edge = f.ppf(1 - level, 1, n - 1)  # the square of a t statistic is an F statistic

    def missing(effect: float) -> float:
        return float(ncf.sf(edge, 1, n - 1, n * effect**2)) - power

    largest = 1.0
    while missing(largest) < 0:
        largest *= 2
    return deviation * float(brentq(missing, 0.0, largest))
