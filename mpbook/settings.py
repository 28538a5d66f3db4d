"""Methods compared in several settings: the fair rows of each, their paired gains, and the lines of the tables.

A setting is a data set, a network, a number of pixels, and a budget. Rows are compared within one, paired by seed. An
interval over seeds is about new training images, weights and batches, *these* test images and *this one* phi.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from mpbook.comparing import longest, number, verdict, with_interval
from mplib.errors import MplibError, unknown
from mplib.experiments import paired_scores
from mplib.plots import look
from mplib.runs import Row
from mplib.stats import Interval, mean_interval, seed_means

LEAST_SEEDS = 3
"""Seeds that a budget needs to be preferred to a smaller one."""

_FREE = {"method", "options", "phi", "seed", "steps"}
"""What may differ between the rows of one setting before a budget is chosen."""


class Score(NamedTuple):
    """A key of a row's result, as it is written.

    Attributes:
        label: heading of a column of differences.
        factor: what the key is multiplied by.
        digits: decimals.
        more_is_better: which sign is *ahead*.
    """

    label: str
    factor: float
    digits: int
    more_is_better: bool


SCORES = {
    "accuracy": Score("accuracy, points", 100, 1, True),
    "nll": Score("nll, nats", 1, 2, False),
    "ece": Score("ECE, points", 100, 1, False),
    "renormed_accuracy": Score("accuracy, batch norms re-estimated", 100, 1, True),
    "tempered_nll": Score("nll, with one temperature", 1, 2, False),
    "tempered_ece": Score("ECE, with one temperature", 100, 1, False),
}
"""The scores that are compared. Those of :mod:`mplib.second_looks` are not in every row, see :func:`measured`."""

Setting = Sequence[Row]


def fair(rows: Iterable[Row], methods: Sequence[str], also: Sequence[str] = ()) -> dict[str, list[Row]]:
    """The rows of each setting that can be compared: one budget, the same seeds for each method.

    Of several numbers of steps the largest is taken that all methods have with at least :data:`LEAST_SEEDS` seeds in
    common, or else the one with the most seeds.

    Args:
        rows: rows of :func:`mplib.experiments.compare`, of any settings, methods and seeds.
        methods: methods that a setting must have to be in the result.
        also: methods that are kept where they were run with all of these seeds.

    Returns:
        Name of a setting, such as ``"digits, conv4, 16 px"``, to its rows, by method and seed. Where it takes the
        number of images a class to tell two settings apart, their names end with it.

    Raises:
        MplibError: two settings that the names do not tell apart.

    Example:
        >>> def row(method, seed, steps):
        ...     config = {"data": "d", "net": "n", "image_size": 8, "method": method, "seed": seed, "steps": steps}
        ...     return {"key": f"{method}{seed}{steps}", "config": config}
        >>> runs = [row(name, seed, 10) for name in ("none", "phi") for seed in range(4)] + [row("phi", 0, 20)]
        >>> {name: len(part) for name, part in fair(runs, ["none", "phi"]).items()}
        {'d, n, 8 px': 8}
    """
    settings: dict[str, list[Row]] = {}
    for row in rows:
        key = repr(sorted((name, repr(value)) for name, value in row["config"].items() if name not in _FREE))
        settings.setdefault(key, []).append(row)
    parts = []
    for group in settings.values():
        kept = next(filter(None, (longest(group, methods, also, seeds) for seeds in range(LEAST_SEEDS, 0, -1))), [])
        if kept:
            parts.append(sorted(kept, key=lambda row: [*methods, *also].index(row["config"]["method"])))
    short = [_name(part[0]) for part in parts]
    names = [
        name if short.count(name) == 1 else f"{name}, {part[0]['config'].get('per_class')} a class"
        for name, part in zip(short, parts, strict=True)
    ]
    for name in names:
        if names.count(name) > 1:
            raise MplibError(f"two settings have the name {name!r}, expected rows that the name tells apart")
    return dict(sorted(zip(names, parts, strict=True)))


def methods_of(part: Setting) -> list[str]:
    """The methods that occur in rows, in their order."""
    return list(dict.fromkeys(row["config"]["method"] for row in part))


def measured(part: Setting, score: str) -> bool:
    """Whether every one of the rows has a score."""
    return all(score in row["result"] for row in part)


def gains_by_seed(part: Setting, first: str, second: str, score: str) -> dict[int, float]:
    """One method's score minus another's, by seed, in the unit of :data:`SCORES`.

    Raises:
        MplibError: an unknown score, or what :func:`mplib.experiments.paired_scores` raises.
    """
    if score not in SCORES:
        raise unknown("score", score, SCORES)
    ours, theirs = paired_scores(part, first, second, score)
    seeds = sorted(row["config"]["seed"] for row in part if row["config"]["method"] == first)
    differences = (SCORES[score].factor * (one - other) for one, other in zip(ours, theirs, strict=True))
    return dict(zip(seeds, differences, strict=True))


def gains(part: Setting, first: str, second: str, score: str) -> list[float]:
    """The values of :func:`gains_by_seed`, in the order of the seeds."""
    return list(gains_by_seed(part, first, second, score).values())


def together(parts: Iterable[Setting], first: str, second: str, score: str) -> Interval:
    """The mean gain over several settings, each with the same weight: Student's interval over the seeds in common.

    A seed gives one number, its mean over the settings, because runs that share a seed share images and weights: they
    are not independent, and were they taken as such, the interval would be too narrow.

    Raises:
        MplibError: no settings, or no seed that all of them have.
    """
    by_seed = [gains_by_seed(part, first, second, score) for part in parts]
    means = seed_means(by_seed)
    if not means:
        raise MplibError(f"the {len(by_seed)} settings have no seed in common, expected settings with common seeds")
    return mean_interval(means)


def word(interval: Interval, score: str) -> str:
    """*ahead* or *behind* where the interval excludes zero, *undecided* otherwise and for a single seed.

    Example:
        >>> word(Interval(-0.1, -0.2, -0.05, 5), "nll"), word(Interval(1.0, -0.2, 2.2, 5), "accuracy")
        ('ahead', 'undecided')
    """
    return verdict(interval, SCORES[score].more_is_better)


def span(interval: Interval, digits: int) -> str:
    """A mean and its interval in one cell, with more decimals where an end would be rounded to a zero that it is not.

    Example:
        >>> print(span(Interval(3.6, 2.3, 5.0, 5), 1), span(Interval(3.6, 0.04, 7.16, 5), 1))
        3.6 [2.3, 5.0] 3.60 [0.04, 7.16]
    """
    while digits < 4 and any(end and round(end, digits) == 0 for end in (interval.low, interval.high) if end == end):
        digits += 1
    return with_interval(interval, digits)


def differences(
    parts: Mapping[str, Setting],
    first: str,
    others: Sequence[str],
    scores: Sequence[str] = ("accuracy", "nll"),
    named: str = "setting",
) -> list[dict[str, Any]]:
    """The lines of a table: one for each setting and opponent, with a column for each score.

    Args:
        parts: settings of :func:`fair`.
        first: the method that the others are subtracted from; ``others`` that a setting lacks are left out there.
        scores: keys of :data:`SCORES`; the cell of a score that a setting lacks is empty.
        named: heading of the settings.
    """
    lines = []
    for (name, part), other in product(parts.items(), others):
        if other in methods_of(part):
            line: dict[str, Any] = {named: name, f"{look(first).label} minus": look(other).label}
            lines.append(line | {SCORES[score].label: _cell(part, first, other, score) for score in scores})
    return lines


def tally(parts: Mapping[str, Setting], first: str, others: Sequence[str], score: str = "accuracy") -> dict[str, str]:
    """In each setting, the others that the first method is ahead of, undecided against, and behind, in words.

    Example:
        >>> def row(method, seed, accuracy):
        ...     return {"config": {"method": method, "seed": seed}, "result": {"accuracy": accuracy}}
        >>> part = [row("none", seed, 0.5) for seed in range(3)] + [row("phi", k, 0.6 + k / 100) for k in range(3)]
        >>> tally({"digits": part}, "phi", ["none"])
        {'digits': 'ahead of no perturbation'}
    """
    found = {}
    for name, part in parts.items():
        words: dict[str, list[str]] = {"ahead of": [], "undecided against": [], "behind": []}
        for other in (other for other in others if other in methods_of(part)):
            said = word(mean_interval(gains(part, first, other, score)), score)
            where = next(key for key in words if key.startswith(said))
            words[where].append(look(other).label)
        found[name] = "; ".join(f"{key} {', '.join(names)}" for key, names in words.items() if names)
    return found


def share_learned(part: Setting, method: str = "phi") -> float:
    """Mean share of their training images that a method's networks have right; not a number where rows do not say.

    Example:
        >>> share_learned([{"config": {"method": "phi"}, "result": {"fitted_accuracy": share}} for share in (0.9, 1.0)])
        0.95
    """
    shares = [row["result"].get("fitted_accuracy", math.nan) for row in part if row["config"]["method"] == method]
    return sum(shares) / len(shares) if shares else math.nan


def learned(parts: Mapping[str, Setting], named: str = "setting") -> list[dict[str, Any]]:
    """The lines of a table: what each method has made of its own training images at the end.

    A cell is the share that is right, in per cent, and the training loss, in nats, both means over seeds. A method that
    has not learned its training images yet cannot be compared with one that has.

    Args:
        parts: settings of :func:`fair`.
        named: heading of the settings.
    """
    names = list(dict.fromkeys(name for part in parts.values() for name in methods_of(part)))
    lines = []
    for setting, part in parts.items():
        config = part[0]["config"]
        line = {named: setting, "steps": config["steps"], "seeds": len({row["config"]["seed"] for row in part})}
        lines.append(line | {look(name).short.replace("\n", " "): _learned(part, name) for name in names})
    return lines


def _learned(part: Setting, method: str) -> str:
    losses = [row["result"]["train_loss"] for row in part if row["config"]["method"] == method]
    if not losses:
        return "–"
    return f"{number(100 * share_learned(part, method), 0)} ({number(mean_interval(losses).mean, 2)})"


def _cell(part: Setting, first: str, other: str, score: str) -> str:
    if not measured([row for row in part if row["config"]["method"] in (first, other)], score):
        return "–"
    gap = mean_interval(gains(part, first, other, score))
    return f"{span(gap, SCORES[score].digits)} {word(gap, score)}"


def _name(row: Row) -> str:
    config = row["config"]
    return f"{config['data']}, {config['net']}, {config['image_size']} px"
