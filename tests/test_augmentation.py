"""Augmentation against loops, and its distribution against what the docstring says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mplib.data import augment, normalise
from mplib.errors import MplibError


def batch(count: int, size: int, height: int | None = None, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (count, channels, height or size, size), dtype=torch.uint8, generator=generator)


def by_loops(images: Tensor, generator: torch.Generator, pad: int, flip: bool) -> Tensor:
    """One image, one row, one column at a time; the draws in the same order."""
    count, _, height, width = images.shape
    shift = torch.randint(0, 2 * pad + 1, (2, count, 1), generator=generator)
    coins = torch.randint(0, 2, (count, 1), generator=generator) if flip else torch.zeros(count, 1)
    out = torch.zeros_like(images)
    for b in range(count):
        for i in range(height):
            for j in range(width):
                row = i + int(shift[0, b]) - pad
                column = (width - 1 - j if coins[b] else j) + int(shift[1, b]) - pad
                if 0 <= row < height and 0 <= column < width:  # black outside
                    out[b, :, i, j] = images[b, :, row, column]
    return out


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize(("size", "height", "pad"), [(6, 6, 0), (6, 6, 2), (5, 7, 3), (4, 4, 9)])
def test_equals_the_loops(size: int, height: int, pad: int, flip: bool) -> None:
    images = batch(5, size, height)
    expected = by_loops(images, torch.Generator().manual_seed(3), pad, flip)
    result = augment(images, torch.Generator().manual_seed(3), padding=pad, flip=flip)
    assert torch.equal(result, expected)
    assert result.is_contiguous()


def test_the_default_padding_is_4_up_to_32_px_and_8_above() -> None:
    for size, pad in ((8, 4), (32, 4), (33, 8), (40, 8)):
        images = batch(3, size)
        seeded = [torch.Generator().manual_seed(1) for _ in range(2)]
        assert torch.equal(augment(images, seeded[0]), augment(images, seeded[1], padding=pad))


def test_each_image_draws_its_own_uniform_crop_and_coin() -> None:
    # One bright pixel on black: where it lands tells the offset; an odd one out at the side tells the mirror image.
    count, pad = 4000, 1
    images = torch.zeros(count, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 2], images[:, :, 2, 3] = 255, 100
    result = augment(images, torch.Generator().manual_seed(0), padding=pad)
    bright = (result == 255).flatten(1).int().argmax(1)
    mirrored = (result.flatten(1).gather(1, bright[:, None] - 1) == 100).flatten()
    assert 0.46 < mirrored.float().mean() < 0.54
    cells = torch.bincount(bright, minlength=25).reshape(5, 5)
    assert cells[1:4, 1:4].sum() == count
    assert (cells[1:4, 1:4].float() / count - 1 / 9).abs().max() < 0.02  # four standard errors
    joint = torch.bincount(bright[mirrored], minlength=25).reshape(5, 5)[1:4, 1:4]
    assert (joint.float() / joint.sum() - 1 / 9).abs().max() < 0.03


def test_flip_does_not_change_the_crops() -> None:
    images = batch(16, 8)
    flipped, plain = (augment(images, torch.Generator().manual_seed(5), flip=f) for f in (True, False))
    same = (flipped == plain).flatten(1).all(1)
    assert 0 < same.sum() < 16

    # undo the mirror: a mirrored crop of an image is the crop of it at the same place, turned around
    turned = (flipped.flip(3) == plain).flatten(1).all(1)
    assert bool((same | turned).all())


def test_randomness_comes_from_the_generator_alone() -> None:
    images = batch(8, 8)
    first = augment(images, torch.Generator().manual_seed(2))
    torch.manual_seed(99)
    assert torch.equal(first, augment(images, torch.Generator().manual_seed(2)))
    torch.manual_seed(4)
    unseeded = augment(images)
    torch.manual_seed(4)
    assert torch.equal(unseeded, augment(images))
    generator = torch.Generator().manual_seed(2)
    assert not torch.equal(augment(images, generator), augment(images, generator))


def test_does_not_write_to_its_input_and_copes_with_none() -> None:
    images = batch(3, 8)
    before = images.clone()
    augment(images, torch.Generator().manual_seed(0))
    assert torch.equal(images, before)
    assert augment(images[:0]).shape == (0, 3, 8, 8)


def test_normalise() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    result = normalise(ramp)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, (ramp.float() / 255 - 0.5) / 0.5, rtol=0, atol=1e-6)
    assert (result.min(), result.max()) == (-1, 1)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)])
def test_refuses_other_images(images: Tensor) -> None:
    for function in (augment, normalise):
        with pytest.raises(MplibError, match=r"expected a uint8 batch \(B, C, H, W\)"):
            function(images)


@pytest.mark.parametrize("padding", [-1, 1.5, "4"])
def test_refuses_other_paddings(padding: int) -> None:
    with pytest.raises(MplibError, match="padding is"):
        augment(batch(1, 8), padding=padding)


@pytest.mark.gpu
def test_on_a_gpu_with_a_generator_of_either_device() -> None:
    images = batch(16, 32)
    expected = augment(images, torch.Generator().manual_seed(1))
    assert torch.equal(augment(images.cuda(), torch.Generator().manual_seed(1)).cpu(), expected)
    own = augment(images.cuda(), torch.Generator("cuda").manual_seed(1))
    assert torch.equal(own, augment(images.cuda(), torch.Generator("cuda").manual_seed(1)))
