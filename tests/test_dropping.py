from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import mplib.data  # noqa: F401  makes torchvision importable beside a CPU build of torch
from mplib import MplibError, evaluate
from mplib.regularizers import DropBlock, Dropout, SpatialDropout, StochasticDepth, dropped_fractions
from mplib.regularizers.dropping import blocks_kept, corner_rate
from tests.toys import toy_net, toy_phi, toy_split

FAMILY = (Dropout(0.3), SpatialDropout(0.3), StochasticDepth(0.3), DropBlock(0.3, 3))


@pytest.mark.parametrize("drop", FAMILY, ids=lambda drop: type(drop).__name__)
def test_the_family_keeps_the_mean_and_is_silent_at_strength_0_and_in_eval_mode(drop: Dropout) -> None:
    torch.manual_seed(0)
    x = torch.rand(512, 6, 8, 8)
    drop.train()
    kept = drop(x)
    assert abs(kept.mean() / x.mean() - 1) < 0.05
    assert abs((kept == 0).float().mean() - 0.3) < 0.05
    assert abs((drop(x, strength=0.5) == 0).float().mean() - 0.15) < 0.04
    assert torch.equal(drop(x, strength=0.0), x)
    assert torch.equal(drop.eval()(x), x)


def test_what_is_dropped_together() -> None:
    torch.manual_seed(0)
    x = torch.ones(64, 6, 8, 8)
    channels = SpatialDropout(0.4)(x)
    assert (channels.amax(dim=(2, 3)) == channels.amin(dim=(2, 3))).all()
    images = StochasticDepth(0.4)(x)
    assert (images.amax(dim=(1, 2, 3)) == images.amin(dim=(1, 2, 3))).all()
    blocks = DropBlock(0.02, 4)(x) == 0
    # Whatever is dropped lies in a square of dropped pixels of the block's size.
    squares = F.avg_pool2d(blocks.float(), 4, stride=1) == 1
    grown = F.max_pool2d(F.pad(squares.float(), (3, 3, 3, 3)), 4, stride=1)
    assert torch.equal(grown.bool(), blocks) and blocks.any()
    assert not torch.equal(blocks[:, 0], blocks[:, 1])  # each channel by itself


def test_is_what_torch_and_torchvision_draw_with_the_same_seed() -> None:
    ops = pytest.importorskip("torchvision.ops")
    x = torch.rand(8, 4, 9, 9)
    pairs = [
        (lambda: Dropout(0.3)(x), lambda: F.dropout(x, 0.3)),
        (lambda: SpatialDropout(0.3)(x), lambda: F.dropout2d(x, 0.3)),
        (lambda: StochasticDepth(0.3)(x), lambda: ops.stochastic_depth(x, 0.3, "row")),
    ]
    for ours, theirs in pairs:
        torch.manual_seed(1)
        a = ours()
        torch.manual_seed(1)
        torch.testing.assert_close(a, theirs())
    # Given torchvision's rate of corners, which neglects overlaps, the blocks are those of torchvision.
    for block in (3, 5, 9):
        gamma = 0.1 * 81 / (block**2 * (9 - block + 1) ** 2)
        torch.manual_seed(2)
        kept = blocks_kept(x, block, gamma)
        torch.manual_seed(2)
        theirs = ops.drop_block2d(x, 0.1, block)
        assert torch.equal(kept == 0, theirs == 0)
        torch.testing.assert_close(x * kept * kept.numel() / kept.sum(), theirs)


@pytest.mark.parametrize("side", [32, 16, 8, 4, 2, 1])
@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_dropblock_drops_what_it_says_on_every_map(side: int, block: int) -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 8, side, side)
    for rate in (0.05, 0.1, 0.3):
        dropped = 1 - DropBlock(rate, block).kept(x, rate).mean().item()
        assert abs(dropped - rate) < 0.02, (side, block, rate, dropped)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9), st.floats(0.01, 0.9))
def test_the_rate_of_corners_solves_its_equation(height: int, width: int, block: int, rate: float) -> None:
    """By counting, for each pixel, the corners whose block covers it."""
    gamma = corner_rate(height, width, block, rate)
    high, wide = min(block, height), min(block, width)
    kept = 0.0
    for i in range(height):
        for j in range(width):
            rows = sum(top <= i < top + high for top in range(height - high + 1))
            columns = sum(left <= j < left + wide for left in range(width - wide + 1))
            kept += (1 - gamma) ** (rows * columns)
    assert 1 - kept / (height * width) == pytest.approx(rate, abs=1e-6)


def test_a_map_that_is_dropped_whole_is_zero_and_not_nan() -> None:
    x = torch.ones(1, 1, 2, 2)
    torch.manual_seed(0)
    seen = {DropBlock(0.9, 2)(x).sum().item() for _ in range(20)}
    assert seen == {0.0, 4.0}


def test_the_dropped_part_is_measured_site_by_site() -> None:
    images = torch.rand(64, 3, 16, 16)
    dropped = dropped_fractions(toy_net(phi=DropBlock(0.2, 3)).train(), images)
    assert dropped is not None and len(dropped) == 4 and all(abs(part - 0.2) < 0.06 for part in dropped)
    rates = nn.ModuleList(Dropout(rate) for rate in (0.1, 0.2, 0.3, 0.4))
    dropped = dropped_fractions(toy_net(phi=rates), images)
    assert dropped == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.03)
    assert dropped_fractions(toy_net(phi=toy_phi()), images) is None
    assert dropped_fractions(toy_net(), images) is None


def test_at_test_there_is_one_answer() -> None:
    assert evaluate(toy_net(phi=Dropout(0.5)), toy_split(), samples=7).samples == 1
    assert evaluate(toy_net(phi=toy_phi()), toy_split(), samples=7).samples == 7


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(MplibError, match=r"rate is 1"):
        Dropout(1.0)
    with pytest.raises(MplibError, match="block is 0"):
        DropBlock(0.1, 0)
