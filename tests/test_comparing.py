"""The words, numbers and rows of a comparison."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mpbook.comparing import longest, number, verdict, with_interval
from mplib.stats import mean_interval


def _row(method: str, seed: int, **config: Any) -> dict[str, Any]:
    return {"key": f"{method}{seed}{config}", "config": {"method": method, "seed": seed, **config}, "result": {}}


@pytest.mark.parametrize(
    ("value", "text"), [(-0.049, "0.0"), (0.049, "0.0"), (-1.25, "−1.2"), (math.nan, "–"), (3, "3.0")]
)
def test_a_number_has_a_real_minus_and_no_negative_zero(value: float, text: str) -> None:
    assert number(value) == text
    assert number(value, signed=True) == (f"+{text}" if text[0] in "123" else text)


def test_one_value_has_no_interval() -> None:
    assert with_interval(mean_interval([2.0]), digits=0) == "2"
    assert with_interval(mean_interval([-1.0, -1.0])) == "−1.0 [−1.0, −1.0]"


def test_the_word_depends_on_the_side_of_zero_and_on_what_is_better() -> None:
    above, below, across, single = ([1.0, 1.1], [-1.0, -1.1], [-1.0, 1.1], [5.0])
    assert [verdict(mean_interval(x)) for x in (above, below, across)] == ["ahead", "behind", "undecided"]
    assert [verdict(mean_interval(x), higher=False) for x in (above, below)] == ["behind", "ahead"]
    assert verdict(mean_interval(single)) == "undecided"


def test_the_longest_budget_with_enough_shared_seeds_is_taken() -> None:
    rows = [_row(name, seed, steps=steps) for steps in (100, 200) for name in ("none", "phi") for seed in (0, 1, 2)]
    rows += [_row("none", 0, steps=400), _row("phi", 1, steps=400)]  # no seed in common
    rows += [_row("noise", 0, steps=200), *(_row("mixup", seed, steps=200, options={"a": 1}) for seed in (0, 1, 2))]
    found = longest(rows, ["none", "phi"], optional=["noise", "mixup"])
    assert {row["config"]["steps"] for row in found} == {200}
    assert {row["config"]["method"] for row in found} == {"none", "phi", "mixup"}
    assert len(found) == 9
    assert longest(rows, ["none", "phi"], seeds=4) == []
    assert longest([], ["none"]) == []


def test_rows_of_different_settings_are_never_mixed() -> None:
    rows = [_row("none", seed, steps=9, width=4) for seed in (0, 1)] + [
        _row("phi", s, steps=9, width=8) for s in (0, 1)
    ]
    assert longest(rows, ["none", "phi"]) == []
