from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mplib import MplibError
from mplib.experiments import Transfer, compare
from mplib.regularizers import Method, Setting, find, forget, names, register
from mplib.runs import RunStore
from tests.toys import toy_data, toy_phi


class Jitter(nn.Module):
    """A reviewer's own baseline: a random gain for each image."""

    random_at_test = False

    def __init__(self, width: float) -> None:
        super().__init__()
        self.width = width

    def visit(self, x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        gain = 1 + self.width * torch.randn(len(x), 1, 1, 1) if self.training else 1
        return x * gain, None


@pytest.fixture
def jitter() -> Iterator[Method]:
    width = Setting(0.1, 0.0, 1.0, "standard deviation of the gain")
    yield register(Method("jitter", "a gain per image", lambda start: Jitter(start.settings["width"]),
                          settings={"width": width}, tries=({"width": 0.1}, {"width": 0.3})))  # fmt: skip
    forget("jitter")


def test_a_method_of_ones_own_runs_like_the_others(jitter: Method, tmp_path: Path) -> None:
    assert names()[-1] == "jitter" and find("jitter") is jitter
    runs = [
        Transfer("jitter", width=4, per_class=4, steps=3, batch_size=8, samples=2, options=options)
        for options in ({}, {"width": 0.5})
    ]
    first, second = compare(runs, toy_data(), toy_phi(), RunStore(tmp_path), device="cpu")
    assert first["config"]["options"] == {"width": 0.1} and second["config"]["options"] == {"width": 0.5}
    assert first["result"]["samples"] == 1
    assert first["result"]["nll"] != second["result"]["nll"]


def test_settings_are_checked(jitter: Method) -> None:
    with pytest.raises(MplibError, match="jitter.width is 2, expected from 0.0 to 1.0"):
        jitter.resolve({"width": 2})
    with pytest.raises(MplibError, match="unknown setting of jitter 'widht'"):
        jitter.resolve({"widht": 0.1})
    with pytest.raises(MplibError, match="none was given rate=0.1, expected nothing"):
        find("none").resolve({"rate": 0.1})
    with pytest.raises(MplibError, match="unknown method 'nothing'"):
        forget("nothing")
