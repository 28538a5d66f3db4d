"""How the ledger writes what was found: a number, a reason, what an interval leaves open, in words for readers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from mpbook.claims import UNTESTABLE
from mpbook.comparing import number, with_interval
from mpbook.pairing import Group
from mpbook.verdicts import Finding
from mplib.plots import look
from mplib.stats import Interval, holm, p_value

OPPONENTS = {
    "finetuning": "fine-tuning without phi",
    "unclipped": "no clip",
    "abrupt": "no warm-up",
    "shorter": "half the warm-up",
    "longer": "one and a half times the warm-up",
    "lower": "a tenth of the clip",
    "higher": "ten times the clip",
}
"""Opponents that are not methods, as they are called on a page; methods have their labels in :mod:`mplib.plots`."""
CONTROLS = ("none", "untrained", "noise", "softplus_noise")


def named(opponent: str) -> str:
    """An opponent as it is called on a page.

    Example:
        >>> named("abrupt"), named("none")
        ('no warm-up', 'no perturbation')
    """
    return OPPONENTS.get(opponent) or look(opponent).label


def places(finding: Finding) -> int:
    """Decimals of a gain: two for nats, one for points."""
    return 2 if finding.unit == "nats" else 1


def gain(finding: Finding, opponent: str) -> str:
    """The gain over an opponent with its interval; a dash without rows, words where pairs are equal in every bit."""
    interval = finding.intervals.get(opponent)
    if interval is None:
        return "–"
    mine = [group for group in finding.groups if group.judged and group.opponent == opponent]
    if mine and all(group.identical for group in mine):
        return f"equal bit for bit in {interval.n} of {interval.n}"
    return with_interval(interval, places(finding), signed=True)


def headline(finding: Finding) -> str:
    """The one number of a claim.

    A value has its range. A claim of many tests has their counts. Any other comparison has the gain over the first
    opponent that its rules name.
    """
    if not finding.groups:
        interval = finding.intervals.get(finding.unit)
        return "no rows" if interval is None else f"{_range(interval)} {finding.unit}"
    rules = set().union(*(rule.names() for rule in finding.claim.rules.values()))
    if "tests" in rules:
        ahead, behind, tests = (finding.numbers[name] for name in ("better", "worse", "tests"))
        return f"ahead in {ahead}, behind in {behind} of {tests} tests"
    asked = [name for name in finding.claim.measure["against"] if f"{name}.low" in rules]
    if asked[0] not in finding.intervals:
        return "no rows"
    return f"{gain(finding, asked[0])} {finding.unit} against {named(asked[0])}"


def reasons(finding: Finding) -> list[str]:
    """Why a claim cannot be tested: each condition that fails, with what was found in its place."""
    return [f"{words} ({_found(finding, words)})" for words in finding.missing]


def no_gain(finding: Finding) -> list[str]:
    """The opponents over which the interval has no room for a gain above the margin."""
    return [named(name) for name, gap in finding.intervals.items() if gap.high < finding.claim.margin]


def leaves_open(finding: Finding, opponent: str) -> str:
    """What the interval of a gain leaves open."""
    gap, margin = finding.intervals[opponent], finding.claim.margin
    if math.isnan(gap.low):
        return "everything: a single pair"
    if gap.low > 0:
        return "ahead"
    if gap.high < margin:
        return ("behind; " if gap.high < 0 else "") + "no gain above the margin"
    return f"a gain of up to {number(gap.high, places(finding))}"


def corrected(finding: Finding) -> list[dict[str, Any]]:
    """Each test of a claim about many, as the line of a table: its gain, and what Holm's correction leaves of it."""
    against = finding.claim.measure["against"]
    tested = [group for group in finding.groups if group.judged and group.opponent in against and len(group.gains) > 1]
    adjusted = holm([p_value(list(group.gains.values())) for group in tested])
    return [
        {
            "phi against": named(group.opponent),
            "where": where(group),
            "ahead by": with_interval(group.interval, places(finding), signed=True),
            "p, corrected": number(p, 3),
            "says": "undecided" if p >= 0.05 else "ahead" if group.interval.mean > 0 else "behind",
        }
        for group, p in zip(tested, adjusted, strict=True)
    ]


def where(group: Group) -> str:
    """The data and the network of a group of pairs.

    A start from a trained network, and the ball of an attack, are named where there are any.
    """
    config = group.config
    parts = [str(config[key]) for key in ("data", "net") if config.get(key)]
    parts += [f"{config['image_size']} px"] if config.get("image_size") else []
    parts += ["fine-tuned"] if config.get("source_network") else []
    parts += [f"{config['attack_norm']} {config['attack_eps']}"] if config.get("attack_norm") else []
    return ", ".join(parts)


def budgets(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Every task and budget that there are pairs of, judged or not, against no perturbation, each once."""
    lines: dict[str, dict[str, Any]] = {}
    for finding in findings:
        for group in (one for one in finding.groups if one.opponent == "none"):
            line = {
                "task": where(group),
                "steps": str(group.config.get("steps")),
                "learned, %": number(100 * group.fitted),
                "draws": str(group.draws),
                "score": finding.unit.removeprefix("points of "),
                "ahead by": with_interval(group.interval, places(finding), signed=True),
                "pairs": len(group.gains),
                "counts": "yes" if group.judged else group.why_not,
            }
            lines.setdefault(repr(sorted((key, value) for key, value in line.items() if key != "counts")), line)
    return sorted(lines.values(), key=lambda line: (line["score"], line["task"], int(line["steps"]), line["draws"]))


def _range(interval: Interval) -> str:
    ends = list(dict.fromkeys([f"{interval.low:.3g}", f"{interval.high:.3g}"]))
    return " to ".join(ends)


def _found(finding: Finding, words: str) -> str:
    """What was found of the names in a condition."""
    numbers, names = finding.numbers, finding.claim.enough[words].names()
    if "fitted" in names:
        fitted = numbers["fitted"]
        return "these rows do not say" if math.isnan(fitted) else f"here {number(100 * fitted)} %"
    if "stronger" in names:
        return f"here {numbers['stronger']} of {numbers['lines']} do" if numbers["lines"] else "no panel"
    if any(name.startswith("premise.") for name in names):
        premise = Interval(*(numbers["premise"][part] for part in Interval._fields))
        return f"here {with_interval(premise, places(finding), signed=True)}" if premise.n else "no rows"
    counts = [(name, _count(numbers, name)) for name in sorted(names - {"margin"})]
    few = [f"{count} against {named(name.split('.')[0])}" if "." in name else f"here {count}" for name, count in counts
           if count < 5]  # fmt: skip
    return "none" if not any(count for _, count in counts) else "here " * ("." in counts[0][0]) + ", ".join(few)


def _count(numbers: Any, name: str) -> int:
    first, _, part = name.partition(".")
    return int(numbers[first][part] if part else numbers[first])


def why(finding: Finding) -> str:
    """The second half of a verdict's line: what keeps it from being tested, or what decided it."""
    if finding.verdict == UNTESTABLE:
        return "it would take: " + "; ".join(reasons(finding))
    if finding.verdict == "not reproduced" and finding.groups and "tests" not in _rule_names(finding):
        return "no gain above the margin against " + _listed(no_gain(finding))
    return finding.claim.words


def _rule_names(finding: Finding) -> set[str]:
    return set().union(*(rule.names() for rule in finding.claim.rules.values()))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1] if names else "nobody"
