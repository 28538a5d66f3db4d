"""How the ledger words what was found, on findings made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from mpbook import findings, verdicts
from mpbook.claims import UNTESTABLE, Claim, Rule
from mpbook.verdicts import Finding
from mplib.runs import Row

CLAIM = Claim(
    id="tasks", claim="it carries over", where="abstract", chapter="one", experiment="phi against others",
    measure={
        "kind": "comparison", "stores": ["a"], "score": "accuracy", "first": {"method": "phi"},
        "against": {"none": {"method": "none"}}, "controls": ["noise"], "spread": "data", "largest": ["steps"],
    },
    words="in words",
    enough={"five pairs": Rule("none.n >= 5 and noise.n >= 5"), "it has learned": Rule("fitted >= 0.95")},
    rules={"reproduced": Rule("none.low > 0"), "not reproduced": Rule("none.high < margin")},
    margin=0.5,
)  # fmt: skip


def rows(gain: float, seeds: int = 5, fitted: float | None = 0.99, **config: Any) -> list[Row]:
    found: list[Row] = []
    for method in ("none", "phi"):
        for seed in range(seeds):
            whole = {"method": method, "seed": seed, "data": "d", "net": "n", "steps": 10, **config}
            accuracy = 0.5 + (method == "phi") * (gain + 0.001 * (seed % 2)) if gain else 0.5
            result = {"accuracy": accuracy, "nll": 1.0, "ece": 0.1, "samples": 3}
            result |= {} if fitted is None else {"fitted_accuracy": fitted}
            key = repr(sorted(whole.items(), key=str))
            found.append(
                {"key": key, "config": whole, "result": result, "environment": {"source": "s"}, "seconds": 1.0}
            )
    return found


def judge(found: list[Row], **change: Any) -> Finding:
    return verdicts.judge(replace(CLAIM, **change), {"a": found})


def test_a_comparison_has_one_number_and_what_is_missing_has_its_own() -> None:
    finding = judge(rows(0.02, seeds=4, fitted=0.912))
    assert finding.verdict == UNTESTABLE
    assert findings.headline(finding) == "+2.1 [+2.0, +2.1] points of accuracy against no perturbation"
    assert findings.reasons(finding) == [
        "five pairs (here 0 against matched plain noise, 4 against no perturbation)",
        "it has learned (here 91.2 %)",
    ]
    assert findings.why(finding).startswith("it would take: five pairs")
    assert findings.reasons(judge(rows(0.02, fitted=None)))[1] == "it has learned (these rows do not say)"
    assert findings.reasons(judge([]))[0] == "five pairs (none)"
    assert findings.headline(judge([])) == "no rows"


def test_equal_pairs_are_said_to_be_equal() -> None:
    assert findings.gain(judge(rows(0.0)), "none") == "equal bit for bit in 5 of 5"
    assert findings.gain(judge(rows(0.01)), "noise") == "–"


@pytest.mark.parametrize(
    ("gain", "words"), [(0.02, "ahead"), (-0.02, "behind; no gain above the margin"), (0.0, "no gain above the margin")]
)
def test_what_an_interval_leaves_open(gain: float, words: str) -> None:
    finding = judge(rows(gain), enough={})
    assert findings.leaves_open(finding, "none") == words
    assert (findings.no_gain(finding) == []) == (gain > 0)
    if gain <= 0:
        assert findings.why(finding) == "no gain above the margin against no perturbation"


def test_what_a_wide_interval_leaves_open() -> None:
    wide = rows(0.01)
    for one in wide:
        one["result"]["accuracy"] += 0.1 * (one["config"]["seed"] == 0) * (one["config"]["method"] == "phi")
    assert findings.leaves_open(judge(wide), "none").startswith("a gain of up to ")
    assert findings.leaves_open(judge(rows(0.01, seeds=1)), "none") == "everything: a single pair"


def test_a_claim_of_many_tests_has_their_counts_and_a_line_for_each() -> None:
    counts = {"reproduced": Rule("better > tests / 2"), "not reproduced": Rule("worse > tests / 2")}
    finding = judge(rows(0.02) + rows(-0.02, data="e"), rules=counts, enough={})
    assert findings.headline(finding) == "ahead in 1, behind in 1 of 2 tests"
    assert [line["says"] for line in findings.corrected(finding)] == ["ahead", "behind"]
    assert findings.corrected(finding)[0]["where"] == "d, n"


def test_budgets_are_listed_with_those_that_do_not_count() -> None:
    finding = judge(rows(0.02) + rows(0.01, steps=5))
    assert [(line["steps"], line["counts"]) for line in findings.budgets([finding, finding])] == [
        ("5", "history"),
        ("10", "yes"),
    ]


def test_values_have_their_range() -> None:
    measure = {"kind": "value", "stores": ["a"], "rows": {"method": "phi"}, "unit": "times"}
    claim = replace(CLAIM, measure=measure, enough={"something": Rule("n >= 1")}, rules={"reproduced": Rule("low > 0")})
    found = [{**row, "result": {"value": 1.5 + row["config"]["seed"]}} for row in rows(0.0, seeds=2)]
    finding = verdicts.judge(claim, {"a": found})
    assert findings.headline(finding) == "1.5 to 2.5 times"
    assert findings.why(finding) == "in words"
    assert findings.reasons(verdicts.judge(claim, {})) == ["something (none)"]


def test_the_other_conditions_say_what_was_found() -> None:
    premise = {"first": {"method": "phi"}, "second": {"method": "none"}}
    measure = {**CLAIM.measure, "premise": premise}
    enough = {"premise": Rule("premise.low > 99"), "no stronger attack": Rule("lines >= 1 and stronger == 0"),
              "two": Rule("spread >= 2")}  # fmt: skip
    assert findings.reasons(judge(rows(0.02), measure=measure, enough=enough)) == [
        "premise (here +2.0 [+2.0, +2.1])",
        "no stronger attack (no panel)",
        "two (here 1)",
    ]


def test_where_names_an_attack_and_a_start() -> None:
    finding = judge(rows(0.02, image_size=16, source_network="n", attack_norm="l2", attack_eps=0.5))
    assert findings.where(finding.groups[0]) == "d, n, 16 px, fine-tuned, l2 0.5"
    assert math.isclose(finding.groups[0].fitted, 0.99)
