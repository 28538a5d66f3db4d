"""From rows to verdicts: what the recorded runs say of each claim, by the rule that was written before.

Nothing is typed here and nothing is chosen by hand. Two rows are a pair where their configurations agree in everything
but the method and what belongs to it; pairs of one setting (data, network, budget) are a task; tasks are pooled with
:func:`mplib.stats.pooled_interval`. Rows that were made to choose a method's settings are left out. A claim without
rows is not testable here, which is never an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpbook.claims import SCORES, UNTESTABLE, Claim
from mplib.runs import Row, RunStore
from mplib.stats import (
    Interval,
    holm,
    mean_interval,
    minimum_detectable_difference,
    p_value,
    paired_interval,
    pooled_interval,
)

LEVEL = 0.05
NOTHING = Interval(float("nan"), float("nan"), float("nan"), 0)
ANY = "*"
"""Stands for any value but None in the selection of rows."""
OF_A_METHOD = {"method", "phi", "options"}
"""Keys of a configuration that say what the method is; two rows that are compared may differ in them alone."""

Pair = tuple[Row, Row]


@dataclass(frozen=True)
class Finding:
    """What was found about one claim.

    Attributes:
        claim: the claim.
        verdict: what its rule says.
        intervals: the measured value under its unit, or the gain over each opponent that there are rows of.
        numbers: everything that the rule may look at.
        rows: the rows behind it, each once.
        unit: of the intervals.
        detectable: for each opponent, the smallest gain of one task that its fewest seeds would have found with a
            probability of 80 %.
    """

    claim: Claim
    verdict: str
    intervals: Mapping[str, Interval]
    numbers: Mapping[str, Any]
    rows: Sequence[Row]
    unit: str
    detectable: Mapping[str, float]


def stores(folder: Path) -> dict[str, list[Row]]:
    """The rows of every store in a folder, by its name."""
    return {path.name: RunStore(path).rows() for path in sorted(folder.iterdir()) if path.is_dir()}


def judge(claim: Claim, found: Mapping[str, Sequence[Row]]) -> Finding:
    """Apply the rule of a claim to the rows of its stores.

    Args:
        claim: the claim.
        found: rows by store, see :func:`stores`; stores that are not there count as empty.
    """
    rows = [row for name in claim.measure["stores"] for row in found.get(name, ())]
    return _comparison(claim, rows) if claim.measure["kind"] == "comparison" else _value(claim, rows)


def selected(row: Row, wanted: Mapping[str, Any]) -> bool:
    """Whether a row's configuration has these values; None is absent, ``*`` is present, a list is any of them."""
    for key, value in wanted.items():
        own = row["config"].get(key)
        if value == ANY:
            if own is None:
                return False
        elif own not in (value if isinstance(value, list) else [value]):
            return False
    return True


def pairs(rows: Sequence[Row], first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Pair]:
    """Match rows of one selection with rows of another that agree with them in all that the selections leave open.

    A partner that was run with several options makes a pair for each. Of several that differ in nothing but the code
    that made them, the one made with the same code is taken, and the first of these.

    Args:
        rows: rows of runs with ``method`` and ``seed`` in their configuration.
        first, second: selections, see :func:`selected`.
    """
    free = {*first, *second, *OF_A_METHOD}
    candidates = [row for row in rows if selected(row, second)]
    found = []
    for row in (row for row in rows if selected(row, first)):
        partners: dict[str, list[Row]] = {}
        for other in candidates:
            if other is not row and _agree(row, other, free):
                partners.setdefault(_options(other), []).append(other)
        for same_options in partners.values():
            same = [other for other in same_options if other["environment"]["source"] == row["environment"]["source"]]
            found.append((row, (same or same_options)[0]))
    return found


def by_task(matched: Iterable[Pair], score: str) -> dict[str, list[float]]:
    """Gains of pairs, by setting: everything in the first row's configuration but its seed, and the other's options."""
    factor = SCORES[score][0]
    tasks: dict[str, list[float]] = {}
    for one, other in matched:
        setting = repr(sorted((key, repr(value)) for key, value in one["config"].items() if key != "seed"))
        setting += _options(other)
        tasks.setdefault(setting, []).append(factor * (one["result"][score] - other["result"][score]))
    return tasks


def gain(tasks: Sequence[Sequence[float]]) -> Interval:
    """The mean gain: Student's interval for one task, the stratified bootstrap for several of two seeds or more."""
    usable = [values for values in tasks if len(values) > 1]
    if len(usable) > 1:
        return pooled_interval(usable)
    values = usable[0] if usable else [value for task in tasks for value in task]
    return paired_interval(values, [0.0] * len(values)) if values else NOTHING


def _value(claim: Claim, rows: Sequence[Row]) -> Finding:
    """A value is measured once, exactly, or several times; then the ends are the least and the largest."""
    measure = claim.measure
    found = [(row, ends) for row in rows if selected(row, measure["rows"]) for ends in _measured(row, measure)]
    values, lows, highs = zip(*(ends for _, ends in found), strict=True) if found else ((), (), ())
    interval = Interval(mean_interval(values).mean, min(lows), max(highs), len(values)) if values else NOTHING
    numbers = {"value": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}
    used = list({row["key"]: row for row, _ in found}.values())
    intervals = {measure["unit"]: interval} if found else {}
    return Finding(claim, claim.verdict(numbers), intervals, numbers, used, measure["unit"], {})


def _measured(row: Row, measure: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """The values in a row, each with the ends of its range; without ends a value is exact."""
    entries, name, ends = [row["result"]], "value", ("low", "high")
    if measure["kind"] == "entry":
        name = measure["key"]
        ends = (f"{name}_low", f"{name}_high")
        listed = row["result"].get("rows", [])
        entries = [one for one in listed if all(one.get(key) == value for key, value in measure["inside"].items())]
    return [(one[name], one.get(ends[0], one[name]), one.get(ends[1], one[name])) for one in entries if name in one]


def _comparison(claim: Claim, rows: Sequence[Row]) -> Finding:
    measure = claim.measure
    score = measure["score"]
    scored = [
        row
        for row in rows
        if score in row["result"] and {"method", "seed"} <= row["config"].keys() and not row["config"].get("tuning")
    ]
    matched = {name: pairs(scored, measure["first"], other) for name, other in measure["against"].items()}
    tasks = {name: list(by_task(found, score).values()) for name, found in matched.items()}
    intervals = {name: gain(values) for name, values in tasks.items()}
    numbers: dict[str, Any] = {
        name: {**interval._asdict(), "tasks": len(tasks[name])} for name, interval in intervals.items()
    }
    tested = [values for found in tasks.values() for values in found if len(values) > 1]
    small = [p < LEVEL for p in holm([p_value(values) for values in tested])]
    better = sum(found and sum(values) > 0 for found, values in zip(small, tested, strict=True))
    used = {row["key"]: row for found in matched.values() for pair in found for row in pair}
    spread = {row["config"].get(measure["spread"]) for found in matched.values() for row, _ in found}
    numbers |= {"tests": len(tested), "better": better, "worse": sum(small) - better, "spread": len(spread)}
    return Finding(
        claim=claim,
        verdict=claim.verdict(numbers),
        intervals={name: interval for name, interval in intervals.items() if interval.n},
        numbers=numbers,
        rows=[used[key] for key in sorted(used)],
        unit=SCORES[score][1],
        detectable={name: size for name in tasks if (size := _detectable(tasks[name])) is not None},
    )


def _detectable(tasks: Sequence[Sequence[float]]) -> float | None:
    """Minimum detectable difference of a task, from the spread within tasks and the fewest seeds of one."""
    usable = [values for values in tasks if len(values) > 1]
    if not usable:
        return None
    squares = sum(sum((value - sum(values) / len(values)) ** 2 for value in values) for values in usable)
    freedom = sum(len(values) - 1 for values in usable)
    return minimum_detectable_difference((squares / freedom) ** 0.5, min(len(values) for values in usable))


def _agree(one: Row, other: Row, free: set[str]) -> bool:
    """Whether two configurations are equal in every key that is not free; a key that is absent is None.

    A control that was matched to a phi (plain noise) is compared with that phi only.
    """
    a, b = one["config"], other["config"]
    matched = "phi" in free and a.get("phi") and b.get("phi") and a["phi"] != b["phi"]
    return not matched and all(a.get(key) == b.get(key) for key in (a.keys() | b.keys()) - free)


def _options(row: Row) -> str:
    return repr(sorted(row["config"].get("options", {}).items()))


def summary(findings: Iterable[Finding]) -> dict[str, int]:
    """How many claims got each verdict."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: item[0] == UNTESTABLE))
