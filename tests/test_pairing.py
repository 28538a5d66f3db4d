"""Which rows are compared, on rows made by hand."""

from __future__ import annotations

import math
from typing import Any

from mpbook import pairing
from mpbook.claims import SCORES
from mplib.runs import Row


def row(method: str, seed: int, accuracy: float, source: str = "s", **config: Any) -> Row:
    config = {"method": method, "seed": seed, "data": "d", "clip": 100.0, **config}
    key = repr(sorted((name, repr(value)) for name, value in config.items())) + source
    result = {"accuracy": accuracy, "nll": 1 - accuracy, "ece": 0.1}
    return {"key": key, "config": config, "result": result, "environment": {"source": source}, "seconds": 1.0}


def test_rows_are_paired_only_where_they_agree() -> None:
    phi, none = {"method": "phi"}, {"method": "none"}
    assert pairing.pairs([row("phi", 0, 1), row("none", 1, 1)], phi, none) == []
    assert pairing.pairs([row("phi", 0, 1), row("none", 0, 1, data="e")], phi, none) == []
    assert pairing.pairs([row("phi", 0, 1), row("none", 0, 1, source_network="n")], phi, none) == []
    assert len(pairing.pairs([row("phi", 0, 1, phi="p"), row("none", 0, 1)], phi, none)) == 1
    assert pairing.pairs([row("phi", 0, 1, phi="p"), row("noise", 0, 1, phi="q")], phi, {"method": "noise"}) == []


def test_other_labels_are_another_setting_also_where_only_one_row_says_so() -> None:
    noisy = row("phi", 0, 1, label_noise=0.2)
    assert pairing.pairs([noisy, row("none", 0, 1)], {"method": "phi"}, {"method": "none"}) == []


def test_of_several_partners_the_one_of_the_same_code_is_taken() -> None:
    other, same = row("none", 0, 0.1, source="t"), row("none", 0, 0.2)
    ((_, partner),) = pairing.pairs([other, same, row("phi", 0, 0.3)], {"method": "phi"}, {"method": "none"})
    assert partner is same


def test_selection_by_absence_presence_and_list() -> None:
    tuned = row("phi", 0, 1, source_network="n")
    assert pairing.selected(tuned, {"source_network": "*", "method": ["none", "phi"]})
    assert not pairing.selected(tuned, {"source_network": None})
    assert not pairing.selected(row("phi", 0, 1), {"source_network": "*"})


def test_two_rows_that_may_have_any_value_have_the_same() -> None:
    any_network = {"method": "phi", "source_network": "*"}, {"method": "none", "source_network": "*"}
    one, other = row("phi", 0, 1, source_network="n"), row("none", 0, 1, source_network="m")
    assert pairing.pairs([one, other], *any_network) == []
    assert len(pairing.pairs([one, row("none", 0, 1, source_network="n")], *any_network)) == 1
    listed = {"method": "phi", "eps": [1, 2]}, {"method": "none", "eps": [1, 2]}
    found = [row(method, 0, 1, eps=eps) for method in ("phi", "none") for eps in (1, 2, 3)]
    assert [one["config"]["eps"] - two["config"]["eps"] for one, two in pairing.pairs(found, *listed)] == [0, 0]


def test_of_several_keys_of_a_score_the_first_counts_that_both_have() -> None:
    one, other = row("phi", 0, 0.5), row("none", 0, 0.3)
    (group,) = pairing.grouped("none", [(one, other)], SCORES["mended accuracy"])
    assert math.isclose(group.gains[0], 20)
    one["result"]["renormed_accuracy"] = 0.9
    (group,) = pairing.grouped("none", [(one, other)], SCORES["mended accuracy"])
    assert math.isclose(group.gains[0], 20)
    other["result"]["renormed_accuracy"] = 0.6
    (group,) = pairing.grouped("none", [(one, other)], SCORES["mended accuracy"])
    assert math.isclose(group.gains[0], 30)
    assert pairing.grouped("none", [(one, other)], SCORES["tempered ece"]) == []


def _groups(opponent: str, steps: int, draws: int = 1, data: str = "d") -> list[pairing.Group]:
    one, other = (row(method, 0, 0.5, steps=steps, data=data) for method in ("phi", opponent))
    one["result"]["samples"] = draws
    return pairing.grouped(opponent, [(one, other)], SCORES["accuracy"])


def test_the_largest_budget_counts_at_which_all_are_there() -> None:
    groups = _groups("none", 10) + _groups("noise", 10) + _groups("none", 20)
    counted = pairing.one_budget(groups, ["none"], ["steps"])
    assert [group.judged for group in counted] == [True, True, False]
    counted = pairing.one_budget(groups + _groups("noise", 20), ["none"], ["steps"])
    assert [group.judged for group in counted] == [False, False, True, True]
    assert all(group.judged for group in pairing.one_budget(groups, ["none"], []))


def test_a_task_without_the_opponent_of_the_claim_does_not_count_however_many_controls_it_has() -> None:
    groups = _groups("none", 10) + _groups("noise", 20) + _groups("untrained", 20) + _groups("noise", 5, data="e")
    counted = pairing.one_budget(groups, ["none"], ["steps"])
    assert [group.judged for group in counted] == [True, False, False, False]


def test_numbers_of_draws_are_never_mixed_where_they_decide() -> None:
    groups = _groups("none", 10, draws=100) + _groups("none", 20, draws=5) + _groups("none", 20, draws=5, data="e")
    counted = pairing.one_budget(groups, ["none"], ["draws", "steps"])
    assert [group.judged for group in counted] == [True, False, False]
    assert [group.judged for group in pairing.one_budget(groups, ["none"], ["steps"])] == [False, True, True]
    more = groups + _groups("noise", 20, draws=5)  # more opponents, and too few draws
    assert [group.judged for group in pairing.one_budget(more, ["none"], ["draws", "steps"])] == [True] + [False] * 3


def test_a_row_stands_for_its_largest_number_of_draws_and_an_attack_for_its_network() -> None:
    scored = row("phi", 0, 0.1)
    scored["result"]["counts"] = [{"samples": 1, "ece": 0.3}, {"samples": 9, "ece": 0.2}]
    assert pairing.readable(scored)["result"]["ece"] == 0.2
    config = {"net_method": "phi", "net_seed": 3, "net_steps": 20, "steps": 7, "experiment": "attack"}
    found = pairing.readable({**scored, "config": config})["config"]
    assert found == {"method": "phi", "seed": 3, "steps": 20, "attack_steps": 7, "attack_experiment": "attack"}


def test_equal_to_the_last_bit() -> None:
    one, other = row("phi", 0, 0.5), row("none", 0, 0.5)
    (group,) = pairing.grouped("none", [(one, other)], SCORES["accuracy"])
    assert group.identical
    other["result"]["nll"] = math.nextafter(0.5, 1)
    assert not group.identical
    assert math.isnan(group.fitted)
