"""From rows to verdicts, on rows made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpbook import claims, verdicts
from mpbook.claims import BY_CONSTRUCTION, UNDECIDED, UNTESTABLE, Claim, Rule
from mplib.runs import Row, RunStore
from mplib.stats import common_seed_interval, paired_interval, pooled_interval

COMPARISON = Claim(
    id="tasks",
    claim="it carries over",
    where="abstract",
    chapter="one",
    experiment="phi against others",
    measure={
        "kind": "comparison", "stores": ["a", "b"], "score": "accuracy", "first": {"method": "phi"},
        "against": {"none": {"method": "none"}, "noise": {"method": "noise"}}, "spread": "data", "largest": ["steps"],
    },
    words="",
    enough={"four pairs": Rule("none.n >= 4")},
    rules={"reproduced": Rule("none.low > 0"), "not reproduced": Rule("none.high < margin")},
    margin=0.5,
)  # fmt: skip
SEEDS = range(4)
LUCK = [0.0, 0.004, -0.004, 0.002]


def row(method: str, seed: int, accuracy: float, source: str = "s", **config: Any) -> Row:
    config = {"method": method, "seed": seed, "data": "d", "clip": 100.0, **config}
    key = repr(sorted((name, repr(value)) for name, value in config.items())) + source
    result = {"accuracy": accuracy, "nll": 1 - accuracy, "ece": 0.1}
    return {"key": key, "config": config, "result": result, "environment": {"source": source}, "seconds": 1.0}


def rows(gain: float, **config: Any) -> list[Row]:
    return [row("none", k, 0.5, **config) for k in SEEDS] + [
        row("phi", k, 0.5 + gain + LUCK[k], **config) for k in SEEDS
    ]


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.02, "reproduced"), (-0.02, "not reproduced"), (-0.001, "not reproduced"), (0.001, UNDECIDED)],
)
def test_one_task_is_judged_by_students_interval(gain: float, verdict: str) -> None:
    finding = verdicts.judge(COMPARISON, {"a": rows(gain)})
    expected = paired_interval([100 * (gain + luck) for luck in LUCK], [0.0] * 4)
    assert finding.verdict == verdict
    np.testing.assert_allclose(finding.intervals["none"], expected)
    assert "noise" not in finding.intervals
    assert len(finding.rows) == 8


def test_several_tasks_are_pooled_each_with_the_same_weight() -> None:
    found = {"a": rows(0.02), "b": rows(0.06, data="e")}
    finding = verdicts.judge(COMPARISON, found)
    strata = [[100 * (gain + luck) for luck in LUCK] for gain in (0.02, 0.06)]
    by_seed = [dict(enumerate(values)) for values in strata]
    np.testing.assert_allclose(finding.intervals["none"], common_seed_interval(by_seed))
    assert finding.numbers["none"]["tasks"] == finding.numbers["spread"] == finding.numbers["tests"] == 2
    assert finding.numbers["better"] == 2
    before = verdicts.judge(COMPARISON, found, verdicts.gain_before_review)
    np.testing.assert_allclose(before.intervals["none"], pooled_interval(strata))


def test_tasks_that_share_too_few_seeds_are_resampled() -> None:
    far = [{0: 1.0, 1: 2.0, 2: 4.0}, {3: 1.0, 4: 5.0, 5: 3.0}]
    assert verdicts.gain(far) == pooled_interval([list(task.values()) for task in far])
    assert verdicts.gain([{0: 1.0}, {1: 3.0}]).mean == 2.0
    assert verdicts.gain([]).n == 0


def test_a_longer_run_of_the_same_networks_replaces_a_shorter_one() -> None:
    found = {"a": rows(-0.2, steps=10) + rows(0.02, steps=20)}
    finding = verdicts.judge(COMPARISON, found)
    assert finding.verdict == "reproduced"
    assert (finding.numbers["none"]["tasks"], finding.numbers["none"]["n"]) == (1, 4)
    assert sorted((group.config["steps"], group.judged) for group in finding.groups) == [(10, False), (20, True)]
    pooled = replace(COMPARISON, measure={k: v for k, v in COMPARISON.measure.items() if k != "largest"})
    assert verdicts.judge(pooled, found).numbers["none"]["tasks"] == 2


def test_what_the_networks_have_learned_is_the_least_of_the_tasks_and_has_to_be_known() -> None:
    def learned(share: float | None, **config: Any) -> list[Row]:
        found = rows(0.02, **config)
        for one in found if share is not None else []:
            one["result"]["fitted_accuracy"] = share if one["config"]["method"] == "phi" else 0.1
        return found

    claim = replace(COMPARISON, enough={"it has learned": Rule("fitted >= 0.95")})
    aside = replace(claim, measure={**claim.measure, "learned": 0.95})
    for shares, verdict, tasks in [
        ((0.97, 0.96), "reproduced", 2), ((0.97, 0.9), UNTESTABLE, 1), ((0.97, None), UNTESTABLE, 1),
    ]:  # fmt: skip
        found = {"a": learned(shares[0]), "b": learned(shares[1], data="e")}
        finding = verdicts.judge(claim, found)
        assert finding.verdict == verdict
        assert finding.missing == ([] if verdict == "reproduced" else ["it has learned"])
        finding = verdicts.judge(aside, found)  # the task that was learned is judged alone
        assert finding.verdict == "reproduced" and finding.numbers["none"]["tasks"] == tasks
        assert {group.why_not for group in finding.groups if not group.judged} <= {"not learned"}
    nobody = verdicts.judge(aside, {"a": learned(0.9), "b": learned(0.5, data="e")})
    assert nobody.missing == ["it has learned"] and nobody.numbers["fitted"] == 0.5


def test_controls_are_selected_like_the_first_and_make_no_tests() -> None:
    measure = {**COMPARISON.measure, "against": {"none": {"method": "none"}}, "controls": ["noise", "untrained"]}
    found = rows(0.02) + [row("noise", k, 0.51) for k in SEEDS]
    finding = verdicts.judge(replace(COMPARISON, measure=measure), {"a": found})
    assert list(finding.intervals) == ["none", "noise"]
    assert finding.numbers["tests"] == 1
    only_controls = [r for r in found if r["config"]["method"] != "none"]
    assert verdicts.judge(replace(COMPARISON, measure=measure), {"a": only_controls}).intervals == {}


def test_a_premise_is_a_comparison_of_its_own() -> None:
    premise = {"first": {"method": "none"}, "second": {"method": "worse"}}
    claim = replace(
        COMPARISON,
        measure={**COMPARISON.measure, "premise": premise},
        enough={"none is ahead of worse": Rule("premise.low > 0")},
    )
    assert verdicts.judge(claim, {"a": rows(0.02)}).missing == ["none is ahead of worse"]
    worse = [row("worse", k, 0.4 + LUCK[k]) for k in SEEDS]
    assert verdicts.judge(claim, {"a": rows(0.02) + worse}).verdict == "reproduced"


def test_a_panel_counts_its_lines_and_those_that_beat_the_recorded_attack() -> None:
    def line(name: str, left: float, eps: float = 0.1) -> Row:
        made = row("phi", 0, left, **{"attack_experiment": "panel", "attack_line": name, "attack_eps": eps})
        return {**made, "result": {"accuracy": left, "accuracy_low": left - 0.1, "accuracy_high": left + 0.1}}

    lines = [line("reference", 0.7), line("longer", 0.5), line("shorter", 0.65), line("twice", 0.1, eps=0.2)]
    numbers = verdicts.judge(COMPARISON, {"a": rows(0.02) + lines}).numbers
    assert (numbers["lines"], numbers["stronger"]) == (2, 1)


def test_rows_that_were_known_are_counted() -> None:
    claim = replace(COMPARISON, known={"a": {"data": "d"}})
    assert verdicts.judge(claim, {"a": rows(0.02), "b": rows(0.02, data="e")}).known == 8


def test_tests_without_room_for_a_gain_are_counted() -> None:
    numbers = verdicts.judge(COMPARISON, {"a": rows(-0.02), "b": rows(0.02, data="e")}).numbers
    assert (numbers["without"], numbers["worse"], numbers["better"]) == (1, 1, 1)


def test_a_lower_score_is_a_gain_where_it_should_be() -> None:
    nll = replace(COMPARISON, measure={**COMPARISON.measure, "score": "nll"})
    assert verdicts.judge(nll, {"a": rows(0.02)}).verdict == "reproduced"


def test_without_rows_a_claim_is_not_testable() -> None:
    finding = verdicts.judge(COMPARISON, {"other": rows(0.02)})
    assert (finding.verdict, finding.rows, finding.intervals) == (UNTESTABLE, [], {})
    assert verdicts.judge(COMPARISON, {"a": rows(0.02)[:6]}).verdict == UNTESTABLE
    odd: Row = {"key": "x", "config": {}, "result": {"ratio": 2}, "environment": {}, "seconds": 0.0}
    assert verdicts.judge(COMPARISON, {"a": [odd]}).verdict == UNTESTABLE


def test_each_option_of_an_opponent_is_a_test_of_its_own() -> None:
    found = rows(0.02) + [row("none", k, 0.6, options={"rate": 0.1}) for k in SEEDS]
    finding = verdicts.judge(COMPARISON, {"a": found})
    assert (finding.numbers["tests"], finding.numbers["better"], finding.numbers["worse"]) == (2, 1, 1)


def test_rows_for_choosing_settings_are_left_out() -> None:
    assert verdicts.judge(COMPARISON, {"a": rows(0.02, tuning=True)}).verdict == UNTESTABLE


def test_fine_tuned_rows_are_compared_with_fresh_ones_where_asked() -> None:
    measure = {
        **COMPARISON.measure,
        "first": {"method": "phi", "source_network": None},
        "against": {"none": {"method": "none", "source_network": "*"}},
    }
    found = [r for r in rows(0.02) if r["config"]["method"] == "phi"]
    found += [row("none", k, 0.5, source_network="n") for k in SEEDS]
    assert verdicts.judge(replace(COMPARISON, measure=measure), {"a": found}).verdict == "reproduced"


def test_a_value_has_the_range_of_its_rows() -> None:
    measure = {"kind": "value", "stores": ["live"], "rows": {"quantity": "share"}, "unit": "per cent"}
    claim = replace(COMPARISON, measure=measure, enough={"two": Rule("n >= 2")}, rules={"reproduced": Rule("high < 1")})
    store = [
        {"key": str(k), "config": {"quantity": "share"}, "result": {"value": v}, "environment": {}, "seconds": 0.0}
        for k, v in enumerate([0.2, 0.6])
    ]
    finding = verdicts.judge(claim, {"live": store})
    assert finding.verdict == "reproduced"
    assert finding.intervals["per cent"] == (pytest.approx(0.4), 0.2, 0.6, 2)
    store[0]["result"] = {"value": 0.2, "low": 0.1, "high": 1.5}
    assert verdicts.judge(claim, {"live": store}).verdict == UNDECIDED
    assert verdicts.judge(claim, {}).verdict == UNTESTABLE


def test_a_benchmark_has_its_values_in_a_list() -> None:
    measure = {
        "kind": "entry", "stores": ["bench"], "rows": {"suite": "steps"}, "inside": {"variant": "phi"}, "key": "ratio",
        "unit": "times",
    }  # fmt: skip
    claim = replace(COMPARISON, measure=measure, enough={"one": Rule("n >= 1")}, rules={"reproduced": Rule("high < 2")})
    listed = [
        {"variant": "plain", "ratio": 9.0},
        {"variant": "phi", "ratio": 1.5, "ratio_low": 1.2, "ratio_high": 1.8},
        {"variant": "phi", "ratio": 1.1},
    ]
    made: Row = {
        "key": "x",
        "config": {"suite": "steps"},
        "result": {"rows": listed},
        "environment": {},
        "seconds": 0.0,
    }
    finding = verdicts.judge(claim, {"bench": [made, {**made, "result": {}}]})
    assert finding.verdict == "reproduced"
    assert finding.intervals["times"] == (pytest.approx(1.3), 1.1, 1.8, 2)
    assert len(finding.rows) == 1


def test_stores_are_read_by_name(tmp_path: Path) -> None:
    RunStore(tmp_path / "one").load_or_run({"x": 1}, lambda: {"value": 2})
    assert [r["result"] for r in verdicts.stores(tmp_path)["one"]] == [{"value": 2}]


def test_every_claim_of_the_book_has_a_verdict_with_and_without_rows() -> None:
    book = Path(__file__).resolve().parent.parent / "book"
    recorded = verdicts.stores(book / "results")
    for name, pool in (("claims.yml", verdicts.gain), ("claims_before_review.yml", verdicts.gain_before_review)):
        for claim in claims.load(book / name):
            known = {*claim.rules, UNDECIDED, UNTESTABLE}
            assert verdicts.judge(claim, {}, pool).verdict == UNTESTABLE
            assert verdicts.judge(claim, recorded, pool).verdict in known


def test_summary_counts_and_puts_the_untestable_last() -> None:
    findings = [verdicts.judge(COMPARISON, found) for found in ({}, {"a": rows(0.02)}, {})]
    assert list(verdicts.summary(findings).items()) == [("reproduced", 1), (UNTESTABLE, 2)]
    built = replace(COMPARISON, rules={BY_CONSTRUCTION: Rule("none.low > 0")})
    findings.append(verdicts.judge(built, {"a": rows(0.02)}))
    assert list(verdicts.summary(findings)) == ["reproduced", UNTESTABLE, BY_CONSTRUCTION]
