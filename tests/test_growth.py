"""Each kind of growth has a row for each of its values."""

from __future__ import annotations

import pytest

import mplib
from mplib.benchmark.growth import by_channels, by_image_size, by_seeds, by_tasks
from mplib.benchmark.work import Setting

TINY = Setting("conv4", 2, 16, 4, "cpu")


def test_steps_grow_with_channels_and_image_size() -> None:
    rows = by_channels(TINY, [2, 4], turns=3)
    assert [(row["value"], row["width"], row["variant"]) for row in rows] == [
        (2, 2, "plain"), (2, 2, "perturbed"), (4, 4, "plain"), (4, 4, "perturbed")
    ]  # fmt: skip
    rows = by_image_size(TINY, [16, 32], turns=3)
    assert [row["image_size"] for row in rows] == [16, 16, 32, 32]
    assert rows[3]["kept_mb"] > rows[1]["kept_mb"]


def test_runs_grow_with_tasks_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = by_tasks(TINY, [1, 2], budget=0.0, first=1)
    assert [(row["value"], row["measured_steps"]) for row in rows] == [(1, 2), (2, 2)]
    monkeypatch.setattr(mplib, "train_together", lambda *_, **__: None)
    rows = by_seeds(TINY, [1], budget=0.0, first=1)
    assert [row["way"] for row in rows] == ["one after another", "together"]
    assert all(row["extrapolated"] and row["ms_per_step"] > 0 for row in rows)
