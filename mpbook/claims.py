"""The claims of the paper and the rules that judge them, read from ``book/claims.yml`` and checked word by word.

A rule is written down before its number is known, so it is data and not code: an expression over a few names that the
measurement will have. Everything a typing error could break is refused here, when the file is read, with a sentence.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from mpbook.layout import read_yaml
from mplib.errors import MplibError, unknown

BY_CONSTRUCTION = "holds by construction"
VERDICTS = ("reproduced", "partly", "not reproduced", BY_CONSTRUCTION)
"""What a rule may say (``partly``: before the review); ``undecided`` and ``not testable here`` need no rule."""
UNDECIDED, UNTESTABLE = "undecided", "not testable here"


class Score(NamedTuple):
    """A score of rows: the factor that makes a gain of it (positive: ahead), the gain's unit, and where it is.

    Of several keys of a result the first counts that both rows of a pair have.
    """

    factor: float
    unit: str
    keys: tuple[str, ...]


SCORES = {
    "accuracy": Score(100.0, "points of accuracy", ("accuracy",)),
    "mended accuracy": Score(100.0, "points of accuracy", ("renormed_accuracy", "accuracy")),
    "renormed accuracy": Score(100.0, "points of accuracy", ("renormed_accuracy",)),
    "nll": Score(-1.0, "nats", ("nll",)),
    "tempered nll": Score(-1.0, "nats", ("tempered_nll",)),
    "ece": Score(-100.0, "points of ECE", ("ece",)),
    "tempered ece": Score(-100.0, "points of ECE", ("tempered_ece",)),
}

VALUE_NAMES = ("value", "low", "high", "n")
COUNT_NAMES = ("tests", "better", "worse", "without", "spread", "fitted", "draws", "lines", "stronger", "margin")
OPPONENT_NAMES = ("mean", "low", "high", "n", "tasks")

_ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Lt, ast.LtE, ast.Gt,
    ast.GtE, ast.Eq, ast.NotEq, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Name, ast.Load, ast.Attribute,
    ast.Constant,
)  # fmt: skip
_CLAIM_KEYS = ("id", "claim", "where", "chapter", "experiment", "measure", "words", "enough", "rules")
_MEASURE_KEYS = {
    "value": ("kind", "stores", "rows", "unit"),
    "entry": ("kind", "stores", "rows", "inside", "key", "unit"),
    "comparison": ("kind", "stores", "score", "first", "against", "spread"),
}
_MAY_HAVE = {"controls", "largest", "learned", "premise"}
"""Keys of a comparison that the rules before the review did not have."""
_HEADS = ({"margin", "known", "claims"}, {"older", "claims"})  # now, and before the review


@dataclass(frozen=True)
class Rule:
    """An expression over numbers that is true or false, such as ``none.low > 0 and none.n >= 5``.

    Args:
        text: comparisons of names and numbers, joined by and, or, not.

    Example:
        >>> Rule("low > 0").holds({"low": 0.1})
        True
        >>> Rule("__import__('os')")
        Traceback (most recent call last):
        mplib.errors.MplibError: the rule "__import__('os')" holds a Call, expected comparisons of names and numbers
    """

    text: str

    def __post_init__(self) -> None:
        try:
            tree = ast.parse(self.text, mode="eval")
        except SyntaxError as error:
            raise MplibError(f"the rule {self.text!r} cannot be read ({error.msg}), expected a comparison") from error
        for node in ast.walk(tree):
            number = not isinstance(node, ast.Constant) or type(node.value) in (int, float)
            if not isinstance(node, _ALLOWED) or not number:
                kind = type(node).__name__
                raise MplibError(f"the rule {self.text!r} holds a {kind}, expected comparisons of names and numbers")
        if not isinstance(tree.body, ast.Compare | ast.BoolOp) and not _negation(tree.body):
            raise MplibError(f"the rule {self.text!r} is neither true nor false, expected a comparison")

    def names(self) -> set[str]:
        """The names in it, with a dot where they have one."""
        tree = ast.parse(self.text, mode="eval")
        dotted = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        inner = {id(node.value) for node in dotted}
        plain = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in inner}
        return plain | {ast.unparse(node) for node in dotted}

    def holds(self, numbers: Mapping[str, Any]) -> bool:
        """Whether it is true of these numbers; a comparison with what is not a number is false."""
        names = {
            name: SimpleNamespace(**value) if isinstance(value, Mapping) else value for name, value in numbers.items()
        }
        # Nothing but the nodes allowed above can be in it.
        return bool(eval(compile(self.text, "<rule>", "eval"), {"__builtins__": {}}, names))


@dataclass(frozen=True)
class Claim:
    """One row of ``book/claims.yml``.

    Attributes:
        id: short name.
        claim: what the paper says, in our words.
        where: where it says so.
        chapter: the chapter that has the experiment.
        experiment: what is measured, in words.
        measure: how it is measured. The keys are those of its kind: ``value`` (of a row), ``entry`` (of the list in a
            row, as benchmarks have it), or ``comparison`` (of pairs of rows).
        words: the rule in words.
        enough: what has to hold before a verdict is given at all: words to rule.
        rules: verdict to rule, in order; the first that holds decides.
        known: store to a selection of its rows, those that were known when the rule was written.
        margin: the gain that counts, in the unit of the comparison.
    """

    id: str
    claim: str
    where: str
    chapter: str
    experiment: str
    measure: Mapping[str, Any]
    words: str
    enough: Mapping[str, Rule]
    rules: Mapping[str, Rule]
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    margin: float = 0.0

    def missing(self, numbers: Mapping[str, Any]) -> list[str]:
        """What would have to hold for a verdict and does not, in words."""
        return [words for words, rule in self.enough.items() if not rule.holds(numbers)]

    def verdict(self, numbers: Mapping[str, Any]) -> str:
        """What the rules say of the numbers."""
        if self.missing(numbers):
            return UNTESTABLE
        return next((verdict for verdict, rule in self.rules.items() if rule.holds(numbers)), UNDECIDED)


@dataclass(frozen=True)
class Figure:
    """A figure that a reader with the paper at hand has entered in ``book/paper_figures.yml``."""

    claim: str
    place: str
    setting: str
    value: float
    interval: float | None
    read_by: str

    def __str__(self) -> str:
        half = "" if self.interval is None else f" ± {self.interval}"
        return f"{self.value}{half} ({self.place}, {self.setting}; entered by {self.read_by})"


def load(path: Path) -> list[Claim]:
    """Read the claims.

    Raises:
        MplibError: the file cannot be read, or one sentence for the first thing that is wrong in it.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or set(content) not in _HEADS or not content["claims"]:
        raise MplibError(f"{path.name} has no list of claims, expected the keys 'margin', 'known' and 'claims'")
    known = content["known"] if "known" in content else {store: {} for store in content["older"]}
    claims = [_claim(entry, known, float(content.get("margin", 0))) for entry in content["claims"]]
    ids = [claim.id for claim in claims]
    for name in ids:
        if ids.count(name) > 1:
            raise MplibError(f"{path.name} has two claims with the id {name!r}, expected every id once")
    return claims


def figures(path: Path, claims: Iterable[Claim]) -> dict[str, list[Figure]]:
    """Read what readers have entered of the paper's own figures: none, as the book comes.

    Returns:
        Id of a claim to the figures entered for it.

    Raises:
        MplibError: the file cannot be read, an unknown claim, a missing key, or a value that is not a number.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("figures"), list):
        raise MplibError(f"{path.name} has no list of figures, expected 'figures: []' or entries as its head describes")
    known = [claim.id for claim in claims]
    found: dict[str, list[Figure]] = {}
    keys = tuple(Figure.__dataclass_fields__)
    for entry in content["figures"]:
        _check_keys(f"an entry of {path.name}", entry, keys)
        if entry["claim"] not in known:
            raise MplibError(f"{path.name}: {unknown('claim', entry['claim'], known)}")
        numbers = [entry["value"], *([] if entry["interval"] is None else [entry["interval"]])]
        if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
            raise MplibError(
                f"{path.name} gives {entry['claim']} the value {entry['value']!r} and the interval "
                f"{entry['interval']!r}, expected numbers (the interval may be null)"
            )
        found.setdefault(entry["claim"], []).append(Figure(**entry))
    return found


def _claim(entry: Any, known: Mapping[str, Any], margin: float) -> Claim:
    name = entry.get("id") if isinstance(entry, dict) else None
    _check_keys(f"the claim {name!r}", entry, _CLAIM_KEYS)
    measure, rules = entry["measure"], entry["rules"]
    kind = measure.get("kind") if isinstance(measure, dict) else measure
    if kind not in _MEASURE_KEYS:
        raise unknown(f"kind of measure in the claim {name!r}:", kind, _MEASURE_KEYS)
    optional = _MAY_HAVE & measure.keys() if kind == "comparison" else set()
    _check_keys(f"the measure of the claim {name!r}", measure, (*_MEASURE_KEYS[kind], *optional))
    if kind == "comparison" and measure["score"] not in SCORES:
        raise unknown(f"score in the claim {name!r}:", measure["score"], SCORES)
    if not isinstance(rules, dict) or not rules:
        raise MplibError(f"the claim {name!r} has no rules, expected at least one verdict with its rule")
    for verdict in rules:
        if verdict not in VERDICTS:
            raise unknown(f"verdict in the claim {name!r}:", verdict, VERDICTS)
    enough = entry["enough"] if isinstance(entry["enough"], dict) else {str(entry["enough"]): entry["enough"]}
    needed = {words: Rule(str(text)) for words, text in enough.items()}
    judged = {verdict: Rule(str(text)) for verdict, text in rules.items()}
    allowed = set(VALUE_NAMES)
    if kind == "comparison":
        others = [*measure["against"], *measure.get("controls", ()), *(["premise"] if "premise" in measure else [])]
        allowed = {f"{other}.{part}" for other in others for part in OPPONENT_NAMES} | set(COUNT_NAMES)
    for rule in (*needed.values(), *judged.values()):
        for used in sorted(rule.names() - allowed):
            raise unknown(f"name in the rule {rule.text!r} of the claim {name!r}:", used, allowed)
    seen = {store: known[store] for store in measure["stores"] if store in known}
    return Claim(**{**entry, "enough": needed, "rules": judged, "known": seen, "margin": margin})


def _check_keys(what: str, entry: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(entry, dict) or set(entry) != set(keys):
        given = ", ".join(map(str, entry)) if isinstance(entry, dict) else repr(entry)
        raise MplibError(f"{what} has {given or 'nothing'}, expected {', '.join(keys)}")


def _negation(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
