"""From rows to verdicts: what the recorded runs say of each claim, by its rule in ``book/claims.yml``.

Nothing is typed here and nothing is chosen by hand. :mod:`mpbook.pairing` says which rows are compared. Tasks are
pooled over the seeds that they share. Rows that were made to choose a method's settings are left out. A claim without
rows is not testable here, which is never an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpbook.claims import BY_CONSTRUCTION, SCORES, UNTESTABLE, Claim
from mpbook.pairing import Group, grouped, one_budget, pairs, readable, selected, set_aside
from mplib.runs import Row, RunStore
from mplib.stats import Interval, common_seed_interval, holm, mean_interval, p_value, pooled_interval

LEVEL = 0.05
FEWEST = 3
"""Seeds that tasks have to share for an interval over seeds; with two, Student's t has one degree of freedom."""
NOTHING = Interval(float("nan"), float("nan"), float("nan"), 0)

Gains = Sequence[Mapping[int, float]]


@dataclass(frozen=True)
class Finding:
    """What was found about one claim.

    Attributes:
        claim: the claim.
        verdict: what its rule says.
        missing: what keeps it from being testable, in words.
        intervals: the measured value under its unit, or the gain over each opponent that there are rows of.
        numbers: everything that the rule may look at.
        rows: the rows behind it, each once.
        unit: of the intervals.
        known: how many of the rows were known when the rule was written.
        groups: the pairs of a comparison by task and opponent, also those of budgets that do not count.
    """

    claim: Claim
    verdict: str
    missing: Sequence[str]
    intervals: Mapping[str, Interval]
    numbers: Mapping[str, Any]
    rows: Sequence[Row]
    unit: str
    known: int
    groups: Sequence[Group] = ()


def stores(folder: Path) -> dict[str, list[Row]]:
    """The rows of every store in a folder, by its name."""
    return {path.name: RunStore(path).rows() for path in sorted(folder.iterdir()) if path.is_dir()}


def gain(tasks: Gains) -> Interval:
    """The mean gain over tasks: Student's interval over the seeds that all have, the bootstrap where there are too few.

    Args:
        tasks: for each task the gain of each seed. A task of one seed counts only where no task has more.
    """
    usable = [task for task in tasks if len(task) > 1]
    if len(usable) > 1:
        common = set.intersection(*(set(task) for task in usable))
        if len(common) >= FEWEST:
            return common_seed_interval(usable)
    return gain_before_review(tasks)


def gain_before_review(tasks: Gains) -> Interval:
    """The mean gain as it was computed before the review: the stratified bootstrap for several tasks."""
    usable = [list(task.values()) for task in tasks if len(task) > 1]
    if len(usable) > 1:
        return pooled_interval(usable)
    values = usable[0] if usable else [value for task in tasks for value in task.values()]
    return mean_interval(values) if values else NOTHING


def judge(claim: Claim, found: Mapping[str, Sequence[Row]], pool: Callable[[Gains], Interval] = gain) -> Finding:
    """Apply the rule of a claim to the rows of its stores.

    Args:
        claim: the claim.
        found: rows by store, see :func:`stores`; stores that are not there count as empty.
        pool: how the gains of several tasks become an interval.
    """
    rows = [row for name in claim.measure["stores"] for row in found.get(name, ())]
    known = {row["key"] for name, which in claim.known.items() for row in found.get(name, ()) if selected(row, which)}
    return (
        _comparison(claim, rows, known, pool) if claim.measure["kind"] == "comparison" else _value(claim, rows, known)
    )


def summary(findings: Iterable[Finding]) -> dict[str, int]:
    """How many claims got each verdict; what could not be tested, and what holds by construction, come last."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
    last = (UNTESTABLE, BY_CONSTRUCTION)
    return dict(sorted(counts.items(), key=lambda item: last.index(item[0]) + 1 if item[0] in last else 0))


def _value(claim: Claim, rows: Sequence[Row], known: set[str]) -> Finding:
    """A value is measured once, exactly, or several times; then the ends are the least and the largest."""
    measure = claim.measure
    found = [(row, ends) for row in rows if selected(row, measure["rows"]) for ends in _measured(row, measure)]
    values, lows, highs = zip(*(ends for _, ends in found), strict=True) if found else ((), (), ())
    interval = Interval(mean_interval(values).mean, min(lows), max(highs), len(values)) if values else NOTHING
    numbers = {"value": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}
    used = {row["key"]: row for row, _ in found}
    return Finding(
        claim=claim,
        verdict=claim.verdict(numbers),
        missing=claim.missing(numbers),
        intervals={measure["unit"]: interval} if found else {},
        numbers=numbers,
        rows=list(used.values()),
        unit=measure["unit"],
        known=len(known & used.keys()),
    )


def _measured(row: Row, measure: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """The values in a row, each with the ends of its range; without ends a value is exact."""
    entries, name, ends = [row["result"]], "value", ("low", "high")
    if measure["kind"] == "entry":
        name = measure["key"]
        ends = (f"{name}_low", f"{name}_high")
        listed = row["result"].get("rows", [])
        entries = [one for one in listed if all(one.get(key) == value for key, value in measure["inside"].items())]
    return [(one[name], one.get(ends[0], one[name]), one.get(ends[1], one[name])) for one in entries if name in one]


def _comparison(claim: Claim, rows: Sequence[Row], known: set[str], pool: Callable[[Gains], Interval]) -> Finding:
    measure = claim.measure
    score, first = SCORES[measure["score"]], measure["first"]
    scored = [
        row
        for row in map(readable, rows)
        if {"method", "seed"} <= row["config"].keys() and not row["config"].get("tuning")
    ]
    opponents = {**measure["against"], **{name: {**first, "method": name} for name in measure.get("controls", ())}}
    matched = {name: pairs(scored, first, other) for name, other in opponents.items()}
    groups = [group for name, found in matched.items() for group in grouped(name, found, score)]
    groups = one_budget(groups, measure["against"], measure.get("largest", ()))
    groups = set_aside(groups, measure["learned"]) if "learned" in measure else groups
    judged = [group for group in groups if group.judged]
    numbers: dict[str, Any] = {"margin": claim.margin}
    for name in opponents:
        mine = [group.gains for group in judged if group.opponent == name]
        numbers[name] = {**pool(mine)._asdict(), "tasks": len(mine)}
    numbers |= _tests([group for group in judged if group.opponent in measure["against"]], claim.margin)
    numbers |= _conditions(judged, scored)
    numbers["spread"] = len({group.config.get(measure["spread"]) for group in judged})
    if "premise" in measure:
        premise = grouped("premise", pairs(scored, **measure["premise"]), score)
        premise = one_budget(premise, ["premise"], measure.get("largest", ()))
        gains = [group.gains for group in premise if group.judged]
        numbers["premise"] = {**pool(gains)._asdict(), "tasks": len(gains)}
    used = {row["key"]: row for group in judged for pair in group.pairs for row in pair}
    return Finding(
        claim=claim,
        verdict=claim.verdict(numbers),
        missing=claim.missing(numbers),
        intervals={
            name: Interval(*(numbers[name][part] for part in Interval._fields))
            for name in opponents
            if numbers[name]["n"]
        },
        numbers=numbers,
        rows=[used[key] for key in sorted(used)],
        unit=score.unit,
        known=len(known & used.keys()),
        groups=groups,
    )


def _tests(groups: Sequence[Group], margin: float) -> dict[str, int]:
    """Each task against each opponent is a test; how they come out."""
    tested = [group for group in groups if len(group.gains) > 1]
    small = [p < LEVEL for p in holm([p_value(list(group.gains.values())) for group in tested])]
    better = sum(found and group.interval.mean > 0 for found, group in zip(small, tested, strict=True))
    without = sum(group.interval.high < margin for group in tested)
    return {"tests": len(tested), "better": better, "worse": sum(small) - better, "without": without}


def _conditions(groups: Sequence[Group], rows: Sequence[Row]) -> dict[str, float]:
    """What a comparison may have to meet: how well phi's networks have learned, draws, and a panel of attacks."""
    fitted = [group.fitted for group in groups]
    panel = [row for row in rows if row["config"].get("attack_experiment") == "panel"]
    reference = {_attacked(row): row["result"] for row in panel if row["config"].get("attack_line") == "reference"}
    lines = [
        (row["result"], reference[_attacked(row)])
        for row in panel
        if row["config"].get("attack_line") != "reference" and _attacked(row) in reference
    ]
    return {
        "fitted": float("nan") if any(map(math.isnan, fitted)) or not fitted else min(fitted),
        "draws": min((group.draws for group in groups), default=0),
        "lines": len(lines),
        "stronger": sum(_stronger(line, against) for line, against in lines),
    }


def _attacked(row: Row) -> tuple[Any, ...]:
    """What lines of a panel have in common: the network, the norm and the radius."""
    return tuple(row["config"].get(key) for key in ("method", "seed", "steps", "attack_norm", "attack_eps"))


def _stronger(line: Mapping[str, Any], reference: Mapping[str, Any]) -> bool:
    """Whether an attack leaves fewer images right: Newcombe's interval of the difference excludes zero."""
    error = math.hypot(reference["accuracy"] - reference["accuracy_low"], line["accuracy_high"] - line["accuracy"])
    return bool(reference["accuracy"] - line["accuracy"] > error)
