"""From rows to verdicts, on rows made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpbook import claims, verdicts
from mpbook.claims import UNDECIDED, UNTESTABLE, Claim, Rule
from mplib.runs import Row, RunStore
from mplib.stats import paired_interval, pooled_interval

COMPARISON = Claim(
    id="tasks",
    claim="it carries over",
    where="abstract",
    chapter="one",
    experiment="phi against others",
    measure={
        "kind": "comparison", "stores": ["a", "b"], "score": "accuracy", "first": {"method": "phi"},
        "against": {"none": {"method": "none"}, "noise": {"method": "noise"}}, "spread": "data",
    },
    words="",
    enough=Rule("none.n >= 4"),
    rules={"reproduced": Rule("none.low > 0"), "not reproduced": Rule("none.high < 0")},
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


@pytest.mark.parametrize(("gain", "verdict"), [(0.02, "reproduced"), (-0.02, "not reproduced"), (0.001, UNDECIDED)])
def test_one_task_is_judged_by_students_interval(gain: float, verdict: str) -> None:
    finding = verdicts.judge(COMPARISON, {"a": rows(gain)})
    expected = paired_interval([100 * (gain + luck) for luck in LUCK], [0.0] * 4)
    assert finding.verdict == verdict
    np.testing.assert_allclose(finding.intervals["none"], expected)
    assert "noise" not in finding.intervals
    assert len(finding.rows) == 8


def test_several_tasks_are_pooled_each_with_the_same_weight() -> None:
    finding = verdicts.judge(COMPARISON, {"a": rows(0.02), "b": rows(0.06, data="e")})
    strata = [[100 * (gain + luck) for luck in LUCK] for gain in (0.02, 0.06)]
    np.testing.assert_allclose(finding.intervals["none"], pooled_interval(strata))
    assert finding.numbers["none"]["tasks"] == finding.numbers["spread"] == finding.numbers["tests"] == 2
    assert finding.numbers["better"] == 2
    assert finding.detectable["none"] > 0


def test_a_lower_score_is_a_gain_where_it_should_be() -> None:
    nll = replace(COMPARISON, measure={**COMPARISON.measure, "score": "nll"})
    assert verdicts.judge(nll, {"a": rows(0.02)}).verdict == "reproduced"


def test_without_rows_a_claim_is_not_testable() -> None:
    finding = verdicts.judge(COMPARISON, {"other": rows(0.02)})
    assert (finding.verdict, finding.rows, finding.intervals) == (UNTESTABLE, [], {})
    assert verdicts.judge(COMPARISON, {"a": rows(0.02)[:6]}).verdict == UNTESTABLE
    odd: Row = {"key": "x", "config": {}, "result": {"ratio": 2}, "environment": {}, "seconds": 0.0}
    assert verdicts.judge(COMPARISON, {"a": [odd]}).verdict == UNTESTABLE


def test_rows_are_paired_only_where_they_agree() -> None:
    phi, none = {"method": "phi"}, {"method": "none"}
    assert verdicts.pairs([row("phi", 0, 1), row("none", 1, 1)], phi, none) == []
    assert verdicts.pairs([row("phi", 0, 1), row("none", 0, 1, data="e")], phi, none) == []
    assert verdicts.pairs([row("phi", 0, 1), row("none", 0, 1, source_network="n")], phi, none) == []
    assert len(verdicts.pairs([row("phi", 0, 1, phi="p"), row("none", 0, 1)], phi, none)) == 1
    assert verdicts.pairs([row("phi", 0, 1, phi="p"), row("noise", 0, 1, phi="q")], phi, {"method": "noise"}) == []


def test_other_labels_are_another_setting_also_where_only_one_row_says_so() -> None:
    noisy = row("phi", 0, 1, label_noise=0.2)
    assert verdicts.pairs([noisy, row("none", 0, 1)], {"method": "phi"}, {"method": "none"}) == []


def test_each_option_of_an_opponent_is_a_test_of_its_own() -> None:
    found = rows(0.02) + [row("none", k, 0.6, options={"rate": 0.1}) for k in SEEDS]
    finding = verdicts.judge(COMPARISON, {"a": found})
    assert (finding.numbers["tests"], finding.numbers["better"], finding.numbers["worse"]) == (2, 1, 1)


def test_rows_for_choosing_settings_are_left_out() -> None:
    assert verdicts.judge(COMPARISON, {"a": rows(0.02, tuning=True)}).verdict == UNTESTABLE


def test_of_several_partners_the_one_of_the_same_code_is_taken() -> None:
    other, same = row("none", 0, 0.1, source="t"), row("none", 0, 0.2)
    ((_, partner),) = verdicts.pairs([other, same, row("phi", 0, 0.3)], {"method": "phi"}, {"method": "none"})
    assert partner is same


def test_selection_by_absence_presence_and_list() -> None:
    tuned = row("phi", 0, 1, source_network="n")
    assert verdicts.selected(tuned, {"source_network": "*", "method": ["none", "phi"]})
    assert not verdicts.selected(tuned, {"source_network": None})
    assert not verdicts.selected(row("phi", 0, 1), {"source_network": "*"})


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
    claim = replace(COMPARISON, measure=measure, enough=Rule("n >= 2"), rules={"reproduced": Rule("high < 1")})
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
    claim = replace(COMPARISON, measure=measure, enough=Rule("n >= 1"), rules={"reproduced": Rule("high < 2")})
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
    for claim in claims.load(book / "claims.yml"):
        known = {*claim.rules, UNDECIDED, UNTESTABLE}
        assert verdicts.judge(claim, {}).verdict == UNTESTABLE
        assert verdicts.judge(claim, recorded).verdict in known


def test_summary_counts_and_puts_the_untestable_last() -> None:
    findings = [verdicts.judge(COMPARISON, found) for found in ({}, {"a": rows(0.02)}, {})]
    assert list(verdicts.summary(findings).items()) == [("reproduced", 1), (UNTESTABLE, 2)]
