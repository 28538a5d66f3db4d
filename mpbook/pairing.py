"""Which rows are compared: pairs that differ in the method alone, collected into tasks.

Two rows are a pair where their configurations agree in everything but the method and what belongs to it. Pairs of the
same data, images, network, width and batch are a task. A network that was trained for longer is no other task, so of
each task only one budget counts; the others are history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mpbook.claims import Score
from mplib.runs import Row
from mplib.stats import Interval, mean_interval

ANY = "*"
"""Stands for any value but None in the selection of rows."""
OF_A_METHOD = {"method", "phi", "options"}
"""Keys of a configuration that say what the method is; two rows that are compared may differ in them alone."""
OF_A_BUDGET = {"seed", "steps", "samples", "experiment", "counts", "draws", "tested"}
"""Keys in which rows of one task may differ: how long it was trained, and how it was looked at."""

Pair = tuple[Row, Row]


@dataclass(frozen=True)
class Group:
    """The pairs of one task and opponent, at one budget.

    Attributes:
        opponent: name of the opponent.
        options: the options of the opponent, as text.
        pairs: first and opponent, for each seed.
        gains: gain of each seed, positive where the first is ahead.
        judged: whether they count.
        why_not: if they do not, why: ``history``, another budget of the task does; or ``not learned``.
    """

    opponent: str
    options: str
    pairs: Sequence[Pair]
    gains: Mapping[int, float]
    judged: bool = True
    why_not: str = ""

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the first method, without the seed."""
        return {key: value for key, value in self.pairs[0][0]["config"].items() if key != "seed"}

    @property
    def task(self) -> str:
        """What is the same for all budgets."""
        return _text({k: v for k, v in self.config.items() if k not in OF_A_METHOD | OF_A_BUDGET})

    @property
    def draws(self) -> int:
        """Draws of a prediction of the first method."""
        return int(self.pairs[0][0]["result"].get("samples", 1))

    @property
    def fitted(self) -> float:
        """Mean share of its training images that the first method has right; not a number where rows do not say."""
        shares = [one["result"].get("fitted_accuracy", float("nan")) for one, _ in self.pairs]
        return sum(shares) / len(shares)

    @property
    def interval(self) -> Interval:
        """Mean gain with Student's interval over the seeds."""
        return mean_interval(list(self.gains.values()))

    @property
    def identical(self) -> bool:
        """Whether the two of each pair have all scores equal, to the last bit."""
        keys = ("accuracy", "nll", "ece")
        return all(one["result"].get(key) == other["result"].get(key) for one, other in self.pairs for key in keys)


def readable(row: Row) -> Row:
    """A row in the form that pairing needs.

    A row that was scored with several numbers of draws stands for the largest. A row about an attack on a trained
    network has the network's configuration under its own names, and the attack's under ``attack_...``.
    """
    config, result = row["config"], row["result"]
    if "net_method" in config:
        config = {k[4:] if k.startswith("net_") else f"attack_{k}": value for k, value in config.items()}
    if isinstance(result.get("counts"), list) and result["counts"]:
        result = {**result, **max(result["counts"], key=lambda entry: entry["samples"])}
    return {**row, "config": config, "result": result}


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
    # Where both may have any of several values, they have to have the same one.
    shared = {key for key, value in first.items() if value == second.get(key) and (value == ANY or type(value) is list)}
    free = {*first, *second, *OF_A_METHOD} - shared
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


def grouped(opponent: str, matched: Iterable[Pair], score: Score) -> list[Group]:
    """Pairs by task, budget and options of the opponent; pairs that lack the score are left out."""
    found: dict[tuple[str, str], list[tuple[Pair, float]]] = {}
    for one, other in matched:
        key = next((key for key in score.keys if key in one["result"] and key in other["result"]), None)
        if key is None:
            continue
        config = {name: value for name, value in one["config"].items() if name != "seed"}
        gain = score.factor * (one["result"][key] - other["result"][key])
        found.setdefault((_text(config), _options(other)), []).append(((one, other), gain))
    return [
        Group(opponent, options, [pair for pair, _ in values], {one["config"]["seed"]: g for (one, _), g in values})
        for (_, options), values in found.items()
    ]


def one_budget(groups: Sequence[Group], against: Collection[str], largest: Sequence[str]) -> list[Group]:
    """Of each task let one budget count: where the first meets most opponents, and of these the largest.

    A task at which it meets none of those that the claim is about does not count at all. Where numbers of draws decide,
    only the tasks with the most draws count, since a score may depend on them.

    Args:
        groups: of all opponents.
        against: the opponents that the claim is about; the others are controls.
        largest: ``steps`` and ``draws``, in the order in which they decide; none of them, and every budget counts.
    """
    most_draws = max((group.draws for group in groups), default=0)

    def size(group: Group) -> tuple[float, ...]:
        known = {"steps": group.config.get("steps") or 0, "draws": group.draws}
        return tuple(known[key] for key in largest)

    enough = [group for group in groups if "draws" not in largest or group.draws == most_draws]
    met: dict[str, dict[tuple[float, ...], set[str]]] = {}
    for group in enough:
        met.setdefault(group.task, {}).setdefault(size(group), set()).add(group.opponent)

    def counts(group: Group) -> bool:
        budgets = met.get(group.task)
        if not budgets:
            return False
        best = max(budgets, key=lambda budget: (len(budgets[budget] & set(against)), len(budgets[budget]), budget))
        return size(group) == best and bool(budgets[best] & set(against))

    return [group if counts(group) else replace(group, judged=False, why_not="history") for group in groups]


def set_aside(groups: Sequence[Group], least: float) -> list[Group]:
    """Set aside the tasks in which the first's networks have not learned their training images.

    If that is every task, none is set aside, and what they have learned is there to be seen.

    Args:
        groups: of all opponents, those of one budget judged.
        least: share of the training images that has to be right at the end, asked as at test.
    """
    if not any(group.judged and group.fitted >= least for group in groups):
        return list(groups)
    return [
        replace(group, judged=False, why_not="not learned") if group.judged and not group.fitted >= least else group
        for group in groups
    ]


def _agree(one: Row, other: Row, free: set[str]) -> bool:
    """Whether two configurations are equal in every key that is not free; a key that is absent is None.

    A control that was matched to a phi (plain noise) is compared with that phi only.
    """
    a, b = one["config"], other["config"]
    matched = "phi" in free and a.get("phi") and b.get("phi") and a["phi"] != b["phi"]
    return not matched and all(a.get(key) == b.get(key) for key in (a.keys() | b.keys()) - free)


def _options(row: Row) -> str:
    return _text(row["config"].get("options") or {})


def _text(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(config.items()))
