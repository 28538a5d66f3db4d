r"""Augmentation on the batch: a random crop after zero padding, and a random mirror image.

Each image of a batch draws its own offset and its own coin. With padding p, row and column offsets
:math:`r, c` uniform on 0 .. 2p, and a coin :math:`m`,

.. math::

    & y_{kij} = x^{\mathrm{pad}}_{k,\; r+i,\; c+j'}, \\
    & j' = W - 1 - j \text{ if } m \text{ else } j .

The padding is black: zeros are laid around the raw pixels before these are normalised, as in the authors' code.
One gather does the whole batch, on whatever device it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mplib.data.dataset import whole_number
from mplib.errors import MplibError


def augment(
    images: Tensor, generator: torch.Generator | None = None, padding: int | None = None, flip: bool = True
) -> Tensor:
    """Crop each image at random after padding it with black, then mirror every second one at random.

    The draws for the crop come before those for the mirror, so ``flip`` does not change the crops.

    Args:
        images: uint8, (B, C, H, W), on any device.
        generator: where the randomness comes from, on any device; ``None`` takes torch's default generator of
            the images' device.
        padding: black pixels on each side, 0 or more; ``None`` takes 4 for images up to 32 px wide and 8 above.
        flip: whether to mirror images at all.

    Returns:
        A new uint8 tensor of the same shape.

    Raises:
        MplibError: images of another type or shape, a padding below 0.

    Example:
        >>> images = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).reshape(2, 3, 8, 8)
        >>> augment(images, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 8, 8])
        >>> torch.equal(augment(images, padding=0, flip=False), images)
        True

    Source: the authors' ``dataloader.py`` (RandomCrop with padding 4 at 32 px and 8 otherwise, then flip).
    """
    _check(images)
    count = len(images)
    pad = padding_for(images.shape[3]) if padding is None else whole_number("padding", padding, 0)
    source = images.device if generator is None else generator.device
    rows, columns, mirrored = (part.to(images.device) for part in draws(count, pad, flip, generator, source))
    return moved(images, rows, columns, mirrored, pad)


def padding_for(width: int) -> int:
    """Black pixels on each side before a random crop: 4 for images up to 32 px wide, 8 above."""
    return 4 if width <= 32 else 8


def draws(
    count: int,
    padding: int,
    flip: bool,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """What is random in an augmented batch: row offsets, column offsets and coins, each int64, (count,)."""
    shift = torch.randint(0, 2 * padding + 1, (2, count), generator=generator, device=device)
    if flip:
        coins = torch.randint(0, 2, (count,), generator=generator, device=device)
    else:
        coins = torch.zeros(count, dtype=torch.int64, device=device)
    return shift[0], shift[1], coins


def moved(images: Tensor, rows: Tensor, columns: Tensor, mirrored: Tensor, padding: int) -> Tensor:
    """Crop each image at its own offset after padding it with black, and mirror it where its coin says so.

    Args:
        images: uint8, (B, C, H, W).
        rows, columns: offsets from 0 to 2 ``padding``, (B,).
        mirrored: 0 or 1, (B,).
        padding: black pixels on each side, 0 or more.

    Returns:
        A new uint8 tensor of the same shape.

    Example:
        >>> image, at = torch.tensor([[1, 2]], dtype=torch.uint8).reshape(1, 1, 1, 2), torch.tensor
        >>> moved(image, at([0]), at([0]), at([1]), padding=0).flatten().tolist()
        [2, 1]
    """
    count, channels, height, width = images.shape
    down = rows[:, None] + torch.arange(height, device=images.device)
    across = torch.arange(width, device=images.device)
    across = columns[:, None] + torch.where(mirrored[:, None].bool(), across.flip(0), across)
    # Both axes in one index into the flattened padded image: three times as fast as indexing axis by axis.
    index = down[:, :, None] * (width + 2 * padding) + across[:, None, :]
    index = index.reshape(count, 1, height * width).expand(count, channels, height * width)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    return padded.flatten(2).gather(2, index).view(images.shape)


def normalise(images: Tensor) -> Tensor:
    r"""Map pixels to [-1, 1]: :math:`y = x / 127.5 - 1`, what the authors' 0.5 / 0.5 normalisation does.

    Args:
        images: uint8, (B, C, H, W).

    Returns:
        float32, of the same shape, on the same device.

    Raises:
        MplibError: images of another type or shape.

    Example:
        >>> normalise(torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2)).flatten().tolist()
        [-1.0, 1.0]
    """
    _check(images)
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def _check(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise MplibError(f"images are {images.dtype} {tuple(images.shape)}, expected a uint8 batch (B, C, H, W)")
