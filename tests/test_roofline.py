"""Bytes and operations are counted as the formula says, and a fraction is what is left of a roof."""

from __future__ import annotations

import pytest
import torch

from mplib.benchmark.machine import Rates
from mplib.benchmark.roofline import count, roof, shapes, time_sites
from mplib.benchmark.work import Setting

TINY = Setting("conv4", 2, 16, 4, "cpu")


def test_a_site_moves_nine_numbers_an_element() -> None:
    """Reads x, x, writes y; reads x, g, writes dx; reads x, dx, writes dx."""
    assert count(16).bytes == 9 * torch.finfo(torch.float32).bits / 8


def test_only_the_stencils_on_the_mean_are_shared_by_the_channels() -> None:
    assert count(1).operations - count(2).operations == pytest.approx((2 + 4) * 18 / 2)
    assert count(10**9).operations == pytest.approx(590, abs=1e-3)


def test_the_count_of_the_stencils_is_that_of_the_convolutions() -> None:
    """Torch's own counter sees the multiplications and additions of the six stencils and the two shared ones."""
    from torch.utils.flop_counter import FlopCounterMode

    from mplib.benchmark.ideas import Reference

    x, phi = torch.randn(2, 8, 5, 5), Reference().requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        phi(x, 1.0, 1.0)
    assert counter.get_total_flops() == x.numel() * (6 * 18 + 2 * 18 / 8)


def test_the_roof_is_the_slower_of_memory_and_arithmetic() -> None:
    slow_memory = roof(16, Rates(copy=1.0, matmul=1e6))
    assert slow_memory["bound"] == "memory" and slow_memory["roof_ns"] == slow_memory["memory_ns"] == 36
    slow_units = roof(16, Rates(copy=1e6, matmul=1.0))
    assert slow_units["bound"] == "arithmetic" and slow_units["roof_ns"] == count(16).operations


def test_shapes_are_those_of_the_sites() -> None:
    assert shapes(Setting("resnet20", 2, 32, device="cpu")) == {(16, 32): 3, (32, 16): 3, (64, 8): 3}


def test_each_shape_has_a_row_whose_fraction_follows_from_it() -> None:
    rows = time_sites(TINY, turns=3, size=64)
    assert [(row["channels"], row["height"]) for row in rows] == [(4, 16), (4, 8), (4, 4), (4, 2)]
    for row in rows:
        elements = 2 * row["channels"] * row["height"] ** 2
        assert row["ns"] == pytest.approx(1e6 * row["ratio"] * row["block_ms"] / elements)
        expected = roof(row["channels"], Rates(row["copy_rate"], row["matmul_rate"]))
        assert {name: row[name] for name in expected} == expected
        assert row["fraction"] == pytest.approx(row["roof_ns"] / row["ns"])
