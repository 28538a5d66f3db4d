from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from mplib.history import History, Log, progress_bar


def test_a_row_is_the_mean_over_steps_and_tasks() -> None:
    log = Log(History(), every=2, last=5)
    assert [log.due(done) for done in (1, 2, 4, 5)] == [False, True, True, True]
    for value in (1.0, 3.0):
        log.add(torch.tensor([[value, 0.0], [value + 1, 1.0]]))
    assert log.close(2, ("loss", "accuracy"), rate=0.1) == {"step": 2, "loss": 2.5, "accuracy": 0.5, "rate": 0.1}
    log.add(torch.tensor([[7.0, 0.0]]))
    assert log.close(4, ("loss", "accuracy"))["loss"] == 7.0


def test_failures_are_those_of_the_first_step_that_has_any() -> None:
    log = Log(History(), every=10, last=10)
    log.add(torch.zeros(2, 3))
    assert log.failures() == []
    log.add(torch.tensor([[0.0, 0.0, float("nan")], [0.0, float("inf"), 0.0]]))
    log.add(torch.full((2, 3), float("nan")))
    assert log.failures() == [(1, 0, 2), (1, 1, 1)]


def test_bars_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Shown on request, and never where the environment says no; tqdm reads that when it is imported."""
    for show in (True, False):
        list(progress_bar("train", 0, 3, show))
        assert ("train" in capsys.readouterr().err) == show
    code = "from mplib.history import progress_bar; list(progress_bar('train', 0, 3, True))"
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
