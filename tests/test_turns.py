"""Work is timed in turn, and compared within a turn; how fast anything is, is not tested."""

from __future__ import annotations

import math

import pytest
import torch

from mplib.benchmark import turns
from mplib.benchmark.turns import WARM_UP, Taken, compared, median_interval, take_turns, timed
from mplib.errors import MplibError

CPU = torch.device("cpu")


def test_the_base_runs_before_and_after_each_other_and_the_first_rounds_are_not_counted() -> None:
    seen: list[str] = []
    works = {name: lambda name=name: seen.append(name) for name in "abc"}
    seconds = take_turns(works, CPU, turns=4)
    assert "".join(seen) == "abaca" * (WARM_UP + 4)
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 4, "b": 4, "c": 4}


def test_a_budget_ends_the_turns_but_leaves_three() -> None:
    assert len(take_turns({"a": lambda: None}, CPU, turns=50, budget=0.0)["a"]) == 3


def test_a_ratio_is_taken_to_the_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slows down threefold on the way: the medians of both are shifted, the ratio is not."""
    speed = iter([1.0] * 3 * WARM_UP + [1.0] * 6 + [3.0] * 9)
    monkeypatch.setattr(turns, "timed", lambda work, device: work() * next(speed))
    rows = compared(take_turns({"a": lambda: 1.0, "b": lambda: 1.5}, CPU, turns=5))
    assert rows["b"]["ratio"] == rows["b"]["ratio_low"] == rows["b"]["ratio_high"] == 1.5
    assert rows["a"]["milliseconds"] == 3000 and rows["a"]["ratio"] == 1 and rows["a"]["turns"] == 5


def test_an_interval_of_the_median_covers_as_often_as_it_says_whatever_the_distribution() -> None:
    draws = torch.rand(2000, 21, generator=torch.Generator().manual_seed(0))
    values = -draws.log()  # skewed, with the median log 2
    inside = [low < math.log(2) < high for low, high in filter(None, map(median_interval, values.tolist()))]
    assert len(inside) == 2000 and 0.95 <= sum(inside) / 2000 < 0.985
    assert median_interval([3.0, 1.0, 2.0]) is None
    row = compared({"b": [Taken(float(k), 1.0) for k in range(1, 7)]})["b"]
    assert (row["ratio_from"], row["ratio_to"]) == (1.0, 6.0)


def test_seconds_are_those_of_the_work() -> None:
    assert timed(lambda: None, CPU) < timed(lambda: sum(range(1_000_000)), CPU)


def test_refuses_too_few_turns() -> None:
    with pytest.raises(MplibError, match="turns is 2, expected at least 3"):
        take_turns({}, CPU, turns=2)
