from __future__ import annotations

import pytest
import torch
from torch import nn

from mplib import footprint
from mplib.footprint import at_once, fitting, kept_bytes, step_bytes, training_bytes
from mplib.perturb import MetaPerturb
from tests.toys import toy_data


def test_memory_grows_with_batch_image_and_noise() -> None:
    small = step_bytes("conv4", 4, 3, 16, 8, False)
    assert step_bytes("conv4", 4, 3, 16, 16, False) > small
    assert step_bytes("conv4", 4, 3, 32, 8, False) > 2 * small
    assert step_bytes("conv4", 4, 3, 16, 8, True) > small


def test_the_maps_of_a_plain_network_are_counted() -> None:
    """Blocks keep the input of the convolution, of the batch norm and of the pooling: at least three maps of the first
    block's size, 4 channels of 16 x 16 numbers of 4 bytes, for each image."""
    one = step_bytes("conv4", 4, 3, 16, 9, False) - step_bytes("conv4", 4, 3, 16, 8, False)
    assert 3 * 4 * 256 * 4 < one < 30 * 4 * 256 * 4


def test_the_images_lie_on_the_device_too() -> None:
    data = toy_data()
    assert training_bytes("conv4", 4, data, 8, True) == step_bytes("conv4", 4, 3, 16, 8, True) + 48 * 3 * 256


def test_as_many_as_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    each = training_bytes("conv4", 4, toy_data(), 8, True)
    for free, count in ((100 * each, 5), (3 * each, 2), (0, 1)):
        monkeypatch.setattr(footprint.torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * free))
        assert at_once("conv4", 4, toy_data(), 8, True, torch.device("cuda"), wanted=5) == count
    assert fitting(10, 1, wanted=3) == 3


@pytest.mark.gpu
def test_the_estimate_is_near_what_a_gpu_takes() -> None:
    from mplib.benchmark.memory import peak_bytes
    from mplib.benchmark.stretches import training
    from mplib.benchmark.work import Setting

    run = training(Setting("resnet20", 128, 32, None, "cuda"))
    run(5)  # libraries take their own memory once
    peak = peak_bytes(lambda: run(5), torch.device("cuda"))
    assert 0.5 < step_bytes("resnet20", None, 100, 32, 128, True) / peak < 4


def test_each_tensor_counts_once() -> None:
    x = torch.ones(10, 100, requires_grad=True)
    assert kept_bytes(lambda: (x * x).sum()) == x.nbytes
    assert kept_bytes(lambda: x.view(100, 10).sin().sum() + x.cos().sum()) == x.nbytes
    assert kept_bytes(lambda: nn.functional.relu(x.exp())) == 2 * x.nbytes


def test_a_site_of_the_fast_version_keeps_its_input_alone() -> None:
    x = torch.randn(8, 16, 16, 16, requires_grad=True)
    phi = MetaPerturb().requires_grad_(False)
    assert kept_bytes(lambda: phi(x, 1.0, 1.0, clip=100.0)) == x.nbytes
