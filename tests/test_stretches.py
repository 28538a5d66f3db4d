"""The time of a long run follows from two short ones, whatever was spent before the first step."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

import mplib
from mplib.benchmark.stretches import estimate, meta_training, training, training_together
from mplib.benchmark.work import Setting
from mplib.errors import MplibError

CPU = torch.device("cpu")
TINY = Setting("conv4", 4, 16, 4, "cpu")


class Clock:
    """A run of a second a step after ten seconds of preparation, by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.lengths = 0.0, []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def run(self, steps: int) -> None:
        self.lengths.append(steps)
        self.now += 10 + steps


def test_preparation_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    row = estimate(clock.run, 750, CPU, budget=0.0, first=25)
    assert clock.lengths == [2, 25, 50]
    assert row["seconds"] == pytest.approx(760) and row["ms_per_step"] == pytest.approx(1000)
    assert row["extrapolated"] and row["measured_steps"] == 50


def test_the_budget_buys_longer_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    row = estimate(clock.run, 750, CPU, budget=400.0, first=25)
    assert clock.lengths == [2, 25, 50, 100] and row["seconds"] == pytest.approx(760)


def test_a_run_that_fits_is_not_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    row = estimate(clock.run, 60, CPU, budget=1e9, first=25)
    assert clock.lengths[-1] == 60 and not row["extrapolated"] and row["seconds"] == 70


def test_runs_go_through_the_public_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(mplib, "meta_train", lambda tasks, **given: calls.append({"tasks": len(tasks), **given}))
    monkeypatch.setattr(mplib, "train", lambda net, data, **given: calls.append({"phi": hasattr(net, "perturbation")}))
    meta_training(TINY, 3)(7)
    training(TINY, 2, perturbed=False)(7)
    assert calls[0]["tasks"] == 3 and calls[0]["steps"] == 7 and calls[0]["net"] == "conv4"
    assert calls[1:] == [{"phi": False}] * 2


def test_they_run() -> None:
    meta_training(TINY, 2)(2)
    training(TINY, 1)(2)
    training_together(TINY, 2)(2)


def test_training_together_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, list[int], int]] = []
    fake = lambda nets, data, seeds, steps, **_: calls.append((len(nets), seeds, steps))  # noqa: E731
    monkeypatch.setattr(mplib, "train_together", fake)
    training_together(TINY, 2)(9)
    assert calls == [(2, [0, 1], 9)]


def test_refuses_no_steps() -> None:
    with pytest.raises(MplibError, match="steps is 0"):
        estimate(lambda steps: None, 0, CPU)
