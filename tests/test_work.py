"""The timed steps are training steps, each of its variant."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mplib.attachment import perturbation_of
from mplib.benchmark.work import VARIANTS, Setting, make_step, time_steps
from mplib.errors import MplibError
from tests.toys import flat

TINY = Setting("conv4", 2, 16, 4, "cpu")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_trains_theta_and_only_meta_training_trains_phi(variant: str) -> None:
    step = make_step(variant, TINY)
    perturbation = perturbation_of(step.net)
    theta = step.net.fc.weight if hasattr(step.net, "fc") else next(step.net.parameters())
    phi = None if perturbation is None else flat(perturbation.phi)
    before = theta.detach().clone()
    step()
    assert not torch.equal(theta, before)
    assert (perturbation is None) == (variant == "plain")
    if perturbation is not None and phi is not None:
        assert torch.equal(flat(perturbation.phi), phi) == (variant != "meta-training")


def test_all_variants_start_alike() -> None:
    plain, perturbed = make_step("plain", TINY), make_step("perturbed", TINY)
    assert torch.equal(plain.images, perturbed.images)
    for name, value in plain.net.state_dict().items():
        assert torch.equal(value, perturbed.net.state_dict()[name])


def test_every_variant_has_a_row_and_ratios_are_to_the_first() -> None:
    rows = time_steps(TINY, ["perturbed", "plain"], turns=3)
    assert [row["variant"] for row in rows] == ["perturbed", "plain"]
    assert rows[0]["ratio"] == rows[0]["ratio_low"] == rows[0]["ratio_high"] == 1
    assert rows[0]["kept_mb"] > rows[1]["kept_mb"] > 0 and rows[0]["peak_mb"] is None
    assert rows[0]["net"] == "conv4" and rows[0]["width"] == 4


def test_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    time_steps(TINY, ["plain"], turns=3)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.gpu
def test_memory_is_measured_on_a_gpu() -> None:
    rows = time_steps(replace(TINY, device="cuda"), turns=3)
    assert all(row["peak_mb"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("setting", "variant", "message"),
    [
        (TINY, "fast", "unknown variant 'fast'"),
        (TINY, "authors", "unknown variant 'authors'"),
        (replace(TINY, batch_size=1), "plain", "batch_size is 1"),
        (replace(TINY, net="conv5"), "plain", "unknown network 'conv5'"),
    ],
)
def test_refuses_what_cannot_be(setting: Setting, variant: str, message: str) -> None:
    with pytest.raises(MplibError, match=message):
        make_step(variant, setting)
