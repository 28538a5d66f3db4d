"""How chapters write a comparison: which recorded rows are compared, a number with its interval, and the three words.

The rules are those of the opening chapter. An interval over seeds that excludes zero says *ahead* or *behind*;
everything else is *undecided*.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mplib.runs import Row
from mplib.stats import Interval

MISSING = "–"
"""What stands where there is no number."""

WITHIN = {"method", "options", "phi", "seed"}
"""Keys of a configuration in which the rows of one comparison may differ."""


def number(value: float, digits: int = 1, signed: bool = False) -> str:
    """A number with a real minus sign and no negative zero.

    Args:
        value: to be written; what is not a number becomes a dash.
        digits: decimals.
        signed: put a plus before what is above zero.

    Example:
        >>> number(-3.61), number(-0.04), number(2.0, digits=2, signed=True)
        ('−3.6', '0.0', '+2.00')
    """
    if not math.isfinite(value):
        return MISSING
    rounded = round(float(value), digits) + 0.0  # no minus zero
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "−")


def with_interval(interval: Interval, digits: int = 1, signed: bool = False) -> str:
    """A mean and its interval in one cell; of a single value the mean alone.

    Example:
        >>> with_interval(Interval(-3.61, -4.96, -2.26, 5), signed=True)
        '−3.6 [−5.0, −2.3]'
    """
    mean, low, high = (number(value, digits, signed) for value in interval[:3])
    return f"{mean} [{low}, {high}]" if interval.n > 1 else mean


def verdict(interval: Interval, higher: bool = True) -> str:
    """The word for a difference: ahead or behind where its interval excludes zero, undecided otherwise.

    Args:
        interval: of the first method minus the second.
        higher: whether more of the score is better.

    Example:
        >>> verdict(Interval(-0.2, -0.3, -0.1, 5), higher=False), verdict(Interval(1.0, -1.0, 3.0, 5))
        ('ahead', 'undecided')
    """
    if not (interval.low > 0 or interval.high < 0):
        return "undecided"
    return "ahead" if (interval.low > 0) == higher else "behind"


def longest(rows: Iterable[Row], methods: Sequence[str], optional: Sequence[str] = (), seeds: int = 2) -> list[Row]:
    """Of several recorded budgets the one with the most steps at which all methods share enough seeds.

    Rows are compared that differ in nothing but the method, what belongs to it, and the seed.

    Args:
        rows: rows of runs with ``method``, ``seed`` and ``steps`` in their configuration.
        methods: what has to be there.
        optional: what is taken along where it has all the shared seeds.
        seeds: the fewest seeds that count.

    Returns:
        The rows of the shared seeds; none where no budget has enough.

    Example:
        >>> made = [{"key": f"{m}{n}{s}", "config": {"method": m, "steps": n, "seed": s}, "result": {}}
        ...         for m in ("none", "phi") for n in (10, 20) for s in (0, 1)]
        >>> [row["key"] for row in longest(made[:-1], ["none", "phi"])]   # 20 steps: one shared seed only
        ['none100', 'none101', 'phi100', 'phi101']
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        alike = sorted((key, repr(value)) for key, value in row["config"].items() if key not in WITHIN)
        groups.setdefault(repr(alike), []).append(row)
    best: list[Row] = []
    for group in groups.values():
        ran = {name: {row["config"]["seed"] for row in group if row["config"]["method"] == name} for name in methods}
        shared = set.intersection(*ran.values())
        if len(shared) < seeds or (best and group[0]["config"]["steps"] <= best[0]["config"]["steps"]):
            continue
        ran |= {name: {row["config"]["seed"] for row in group if row["config"]["method"] == name} for name in optional}
        wanted = {name for name, found in ran.items() if shared <= found}
        best = [row for row in group if row["config"]["method"] in wanted and row["config"]["seed"] in shared]
    return best
