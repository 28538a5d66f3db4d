"""From recorded rows to advice: which comparisons may be judged, their scores with Holm's words, and what follows.

A comparison is advice only where the networks with phi have learned their training images: the rule of the ledger. All
others are verdicts on one budget, and are listed without words. Settings are never averaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mpbook.comparing import number
from mpbook.settings import SCORES, Setting, gains, measured, methods_of, share_learned, span
from mplib.plots import look
from mplib.runs import Row
from mplib.stats import Interval, holm, mean_interval, p_value

LEARNED = 0.95
"""Share of its training images that a network has to have right, asked as at test, to be judged (the ledger's)."""

LEVEL = 0.05
PLAIN = ("accuracy", "nll", "ece")
TEMPERED = {"nll": "tempered_nll", "ece": "tempered_ece"}
"""What a score becomes when each of the two networks has one temperature, fitted on left-out images."""

_NAMES = {"accuracy": "accuracy", "nll": "nll", "ece": "ECE"}


class Line(NamedTuple):
    """One method against another in one setting.

    Attributes:
        setting: its name, as :func:`mpbook.settings.fair` gives it.
        first, other: the two methods; gains are of the first.
        tempered: whether each has one temperature.
        gaps: for each score the gain with its interval; a score that the rows lack is left out.
        words: for each of these *ahead*, *behind* or *undecided*, after Holm's correction.
        rows: the rows behind it.
    """

    setting: str
    first: str
    other: str
    tempered: bool
    gaps: Mapping[str, Interval]
    words: Mapping[str, str]
    rows: Sequence[Row]


def judged(parts: Mapping[str, Setting], method: str = "phi") -> dict[str, Setting]:
    """The settings in which a method's networks have learned :data:`LEARNED` of their training images."""
    return {name: part for name, part in parts.items() if share_learned(part, method) >= LEARNED}


def renamed(rows: Iterable[Row], names: Mapping[str, str]) -> list[Row]:
    """Rows in which a phi is a method of its own; of rows with equal configurations the first.

    Args:
        rows: of runs with ``method`` and, where the method is phi, ``phi`` in their configuration.
        names: what to call each phi, by its :func:`mplib.experiments.fingerprint`; rows of other phis are left out.

    Example:
        >>> row = {"config": {"method": "phi", "phi": "a1"}}
        >>> [found["config"]["method"] for found in renamed([row, row], {"a1": "nine"})], renamed([row], {})
        (['nine'], [])
    """
    found: dict[str, Row] = {}
    for row in rows:
        config = row["config"]
        if config["method"] == "phi":
            if config.get("phi") not in names:
                continue
            config = {**config, "method": names[config["phi"]]}
        found.setdefault(repr(sorted(config.items())), {**row, "config": config})
    return list(found.values())


def compared(
    parts: Mapping[str, Setting], pairs: Sequence[tuple[str, str]], tempered: Sequence[tuple[str, str]] = ()
) -> list[Line]:
    """The lines of all settings that have both of two methods; the words of a score are corrected for all its lines.

    Args:
        parts: settings of :func:`mpbook.settings.fair`.
        pairs: the methods of a line, first and other.
        tempered: those of the pairs that get a second line, with one temperature for each network, where rows have it.
    """
    plain = {score: score for score in PLAIN}
    lines: list[Line] = []
    tests: dict[str, list[float]] = {score: [] for score in PLAIN}
    for name, part in parts.items():
        for first, other in pairs:
            mine = [row for row in part if row["config"]["method"] in (first, other)]
            if len(methods_of(mine)) < 2:
                continue
            for kind in (False, True)[: 1 + ((first, other) in tempered)]:
                keys = TEMPERED if kind else plain
                values = {score: gains(mine, first, other, key) for score, key in keys.items() if measured(mine, key)}
                if values:
                    gaps = {score: mean_interval(one) for score, one in values.items()}
                    lines.append(Line(name, first, other, kind, gaps, {}, mine))
                    for score, one in values.items():
                        tests[score].append(p_value(one) if len(one) > 1 else 1.0)
    small = {score: iter(holm(one)) for score, one in tests.items()}
    return [
        line._replace(words={score: _word(gap, score, next(small[score])) for score, gap in line.gaps.items()})
        for line in lines
    ]


def so(line: Line) -> str:
    """What follows from a line for somebody who has the choice, in a few words.

    Example:
        >>> so(Line("s", "phi", "noise", False, {}, {"accuracy": "undecided", "nll": "behind"}, []))
        'matched plain noise for nll'
    """
    ahead, behind = ([_NAMES[s] for s, said in line.words.items() if said == word] for word in ("ahead", "behind"))
    words = [
        f"{_method(name)} for {' and '.join(scores)}"
        for name, scores in ((line.first, ahead), (line.other, behind))
        if scores
    ]
    return ", ".join(words) or "undecided"


def cells(lines: Sequence[Line]) -> list[dict[str, str]]:
    """The lines of a table: the setting where there are several, the two methods, each score, and what follows."""
    several = len({line.setting for line in lines}) > 1
    rows = []
    for line in lines:
        names = f"{_method(line.first)} against {_method(line.other)}"
        row = {"comparison": names + (", one temperature each" if line.tempered else "")}
        row |= {"setting": line.setting} if several else {}
        for score in PLAIN:
            gap = line.gaps.get(score)
            row[SCORES[score].label] = f"{span(gap, SCORES[score].digits)} {line.words[score]}" if gap else "–"
        rows.append(row | {"so": so(line)})
    return rows


def told(lines: Sequence[Line], first: str = "phi") -> list[str]:
    """A sentence for each score: in how many comparisons the first method is ahead, behind and undecided, and where."""
    several = len({line.setting for line in lines}) > 1
    sentences = []
    for score in PLAIN:
        for tempered in (False, True):
            mine = [ln for ln in lines if ln.first == first and ln.tempered == tempered and score in ln.words]
            if not mine:
                continue
            counts = []
            for word in ("ahead", "behind"):
                found = [ln for ln in mine if ln.words[score] == word]
                where = "; ".join(_method(ln.other) + (f", {ln.setting}" if several else "") for ln in found)
                counts.append(f"{word} in {len(found)}" + (f" ({where})" if found else ""))
            head = f"In {_NAMES[score]}" + (" after one temperature each" if tempered else "")
            left = sum(ln.words[score] == "undecided" for ln in mine)
            sentences.append(
                f"{head}, of {len(mine)} comparisons {_method(first)} is {', '.join(counts)}, undecided in {left}."
            )
    return sentences


def budgets(
    parts: Mapping[str, Setting], first: str = "phi", others: Sequence[str] = ("none", "noise")
) -> list[dict[str, str]]:
    """The lines of a table: what each setting had learned, whether it counts, and gains in accuracy, without words."""
    lines = []
    for name, part in parts.items():
        config, share = part[0]["config"], share_learned(part, first)
        line = {
            "setting": name,
            "steps": f"{config['steps']:,}",
            "seeds": str(len({row["config"]["seed"] for row in part})),
            "phi has learned, %": number(100 * share),
            "counts": "yes" if share >= LEARNED else "not said" if math.isnan(share) else "no",
        }
        for other in others:
            line[f"over {look(other).label}, points"] = span(mean_interval(gains(part, first, other, "accuracy")), 1)
        lines.append(line)
    return lines


def _method(name: str) -> str:
    return "phi" if name == "phi" else look(name).label


def _word(gap: Interval, score: str, p: float) -> str:
    if p >= LEVEL:
        return "undecided"
    return "ahead" if (gap.mean > 0) == SCORES[score].more_is_better else "behind"
