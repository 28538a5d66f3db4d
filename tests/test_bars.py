"""Every bar gets a verdict that follows from its number, on whatever device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mplib
from mplib.benchmark import bars
from mplib.benchmark.turns import Taken
from mplib.benchmark.work import Setting

TINY = Setting("resnet20", 2, 16, device="cpu")


def test_on_a_cpu_its_bars_are_measured_and_the_others_named(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(bars, "THREADS", 1)  # two that wait for each other are slow beside other tests
    rows = bars.measure_bars(TINY, budget=1e-6, turns=3)
    assert torch.get_num_threads() == threads
    verdicts = {row["bar"]: row["verdict"] for row in rows}
    assert len(verdicts) == 8 and [v == "no GPU" for v in verdicts.values()] == [
        name.startswith("GPU") for name in verdicts
    ]
    for row in rows:
        if row["measured"] is not None:
            assert row["verdict"] == ("met" if row["measured"] <= row["limit"] else "not met")


def _fake(ratio: float, ms: float) -> dict[str, Any]:
    return {
        "time_steps": lambda *_, **__: [{}, {"ratio": ratio, "ratio_low": 1.0, "ratio_high": 3.0, "turns": 3}],
        "estimate": lambda run, steps, *_: {
            "seconds": steps * ms / 1000, "ms_per_step": ms, "measured_steps": 50, "extrapolated": True
        },
        "take_turns": lambda *_, **__: {"joint": [Taken(ms / 1000, 1.0)] * 3},
        "make_step": lambda *_, **__: None,
        "_copies": lambda setting: bars._bar("copies", 1.0, 2.0),
    }  # fmt: skip


@pytest.mark.parametrize(("ratio", "ms", "met"), [(1.1, 10.0, True), (4.0, 1000.0, False)])
def test_on_a_gpu_all_are_measured(monkeypatch: pytest.MonkeyPatch, ratio: float, ms: float, met: bool) -> None:
    """The GPU's branch with the measuring replaced: which number is held against which limit."""
    for name, value in _fake(ratio, ms).items():
        monkeypatch.setattr(bars, name, value)
    monkeypatch.setattr(mplib, "train_together", lambda *_, **__: None)
    monkeypatch.setattr(bars.devices, "resolve", lambda device: torch.device("cpu" if device == "cpu" else "cuda"))
    for name in ("meta_training", "training_together"):
        monkeypatch.setattr(bars, name, lambda *_, **__: lambda steps: None)
    rows = {row["bar"]: row for row in bars.measure_bars(Setting(device="cuda"))}
    assert all(row["measured"] is not None for row in rows.values())
    assert rows[bars.TASKS]["measured"] == 750 * ms / 1000 and rows[bars.SEEDS]["measured"] == 10_000 * ms / 1000
    assert rows[bars.STACKED]["measured"] == pytest.approx(8) and rows[bars.STACKED]["verdict"] == "met"
    for name in (bars.TASKS, bars.SEEDS, "GPU: perturbed / plain, resnet20, eager"):
        assert rows[name]["verdict"] == ("met" if met else "not met")
    assert "extrapolated from 50 steps" in rows[bars.TASKS]["how"]


@pytest.mark.gpu
@pytest.mark.slow
def test_on_a_real_gpu_all_are_measured() -> None:
    rows = bars.measure_bars(Setting("resnet20", 8, 32, device="cuda"), budget=1e-6, turns=3)
    assert {row["verdict"] for row in rows} <= {"met", "not met"}
