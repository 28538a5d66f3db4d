"""What the machine is and can do."""

from __future__ import annotations

import json

import pytest
import torch

from mplib.benchmark import machine
from mplib.benchmark.machine import facts, rates

CPU = torch.device("cpu")


def test_rates_are_work_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is timed takes half a second: a copy of 8 n^2 floats, read and written, and 2 n^3 operations."""
    done = []
    monkeypatch.setattr(machine, "timed", lambda work, device: done.append(work()) or 0.5)
    found = rates(CPU, size=10, repeats=2)
    assert found.copy == pytest.approx(2 * 4 * 800 / 0.5 / 1e9) and found.matmul == pytest.approx(2000 / 0.5 / 1e9)
    assert len(done) == 4


def test_facts_say_what_a_time_depends_on() -> None:
    found = facts(CPU)
    assert found["threads"] == torch.get_num_threads() and found["dtype"] == "float32"
    assert found["processor"] and found["numba"] and found["tf32"] == "not on this device"


def test_facts_can_be_recorded() -> None:
    json.dumps(facts(CPU), allow_nan=False)
