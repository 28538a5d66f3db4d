from __future__ import annotations

import pytest
import torch

from mplib.errors import MplibError
from mplib.seeding import derive, private_randomness, stream


def test_every_purpose_and_step_has_numbers_of_its_own() -> None:
    seeds = {derive(seed, label, step) for seed in range(20) for label in ("a", "b") for step in range(50)}
    assert len(seeds) == 20 * 2 * 50
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_is_the_same_everywhere() -> None:
    """The value is part of every recorded run, so it may not change with the Python version or the platform."""
    assert derive(0, "noise", 1) == 1975832920945326368


def test_neighbouring_streams_do_not_correlate() -> None:
    draws = torch.stack([torch.randn(4000, generator=stream(0, "noise", step)) for step in range(8)])
    correlation = torch.corrcoef(draws) - torch.eye(8)
    assert correlation.abs().max() < 0.08  # five standard deviations of 1/sqrt(4000)


def test_leaves_the_default_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    with private_randomness():
        torch.manual_seed(99)
        torch.randn(10)
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True, None])
def test_refuses_other_seeds(seed: object) -> None:
    with pytest.raises(MplibError, match="expected an integer of at least 0"):
        derive(seed)
