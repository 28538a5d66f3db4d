"""What is kept for backward is counted once each, and the fast version keeps little."""

from __future__ import annotations

import pytest
import torch

from mplib.benchmark.memory import extra_copies, peak_bytes
from mplib.benchmark.work import Setting, make_step
from mplib.errors import MplibError

TINY = Setting("conv4", 4, 16, 4, "cpu")


@pytest.mark.parametrize("net", ["conv4", "resnet20"])
def test_at_most_two_more_copies_of_a_map_are_kept(net: str) -> None:
    setting = Setting(net, 8, 16, device="cpu")
    plain, perturbed = make_step("plain", setting), make_step("perturbed", setting)
    assert 0 < extra_copies(plain.loss, perturbed.loss, perturbed.net) <= 2


def test_the_readable_version_keeps_many_and_recomputing_saves_them() -> None:
    plain, reference, recomputed = (make_step(name, TINY) for name in ("plain", "reference", "recomputed"))
    assert extra_copies(plain.loss, reference.loss, reference.net) > 5
    assert extra_copies(plain.loss, recomputed.loss, recomputed.net) <= 2


def test_a_peak_needs_a_device_that_tells_it() -> None:
    with pytest.raises(MplibError, match="the device is cpu, expected a GPU"):
        peak_bytes(lambda: None, torch.device("cpu"))


@pytest.mark.gpu
def test_the_peak_is_what_is_allocated_at_once() -> None:
    device = torch.device("cuda")

    def work() -> None:
        for _ in range(3):
            torch.zeros(2**20, device=device)

    assert 2**22 <= peak_bytes(work, device) < 3 * 2**22
