"""From pictures to arrays: decode, make RGB, resize to the square.

One convention for every source: grey images become RGB; an image that is not yet of the size is resized to the
square with Pillow's antialiased bicubic filter, with no crop, so the aspect ratio is not kept.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from mplib.errors import MplibError

Pixels = NDArray[np.uint8]

SMALLEST, LARGEST = 4, 512  # image sizes, in pixels, that load() takes
_THREADS = 2  # Pillow releases the interpreter while it decodes and resizes
_CHUNK = 256  # images a worker takes at a time
_LONG = 5_000  # from so many images on there is a progress bar


def to_square(image: Image.Image, size: int) -> Pixels:
    """A picture as RGB values of the square.

    Args:
        image: any Pillow image.
        size: height and width of the result, in pixels.

    Returns:
        uint8, (3, size, size).

    Example:
        >>> to_square(Image.new("L", (20, 10), color=7), 8).shape
        (3, 8, 8)
    """
    if image.mode != "RGB":
        image = image.convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def decode(files: Sequence[bytes | Path], size: int, where: Callable[[int], str], title: str) -> Tensor:
    """Decode encoded pictures, in parallel threads, into one tensor.

    Args:
        files: the content of each file, or its path.
        size: height and width of the result, in pixels.
        where: names the i-th file in an error message.
        title: names the whole in the progress bar.

    Returns:
        uint8, (N, 3, size, size).

    Raises:
        MplibError: a file that is not a picture, or is cut short.
    """

    def one(index: int) -> Pixels:
        item = files[index]
        try:
            with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item) as image:
                return to_square(image, size)
        except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
            raise MplibError(f"{where(index)} cannot be decoded ({error}), expected a whole image file") from error

    return collect(one, len(files), size, title)


def resize(arrays: Pixels, size: int, title: str) -> Tensor:
    """Bring an array of pictures to RGB and to the square.

    Args:
        arrays: uint8, (N, H, W) for grey or (N, H, W, 3) for colour.
        size: height and width of the result, in pixels.
        title: names the whole in the progress bar.

    Returns:
        uint8, (N, 3, size, size).
    """
    if arrays.shape[1:] == (size, size, 3):
        return torch.from_numpy(np.ascontiguousarray(arrays.transpose(0, 3, 1, 2)))
    return collect(lambda i: to_square(Image.fromarray(arrays[i]), size), len(arrays), size, title)


def collect(one: Callable[[int], Pixels], count: int, size: int, title: str) -> Tensor:
    """Fill a tensor with one picture for each index, in parallel threads; a long one shows its progress.

    Args:
        one: gives the picture of an index, uint8, (3, size, size); called from several threads.
        count: how many pictures.
        size: height and width, in pixels.
        title: names the whole in the progress bar.

    Returns:
        uint8, (count, 3, size, size).
    """
    out = np.empty((count, 3, size, size), dtype=np.uint8)

    def chunk(start: int) -> int:
        stop = min(start + _CHUNK, count)
        for index in range(start, stop):
            out[index] = one(index)
        return stop - start

    # disable=None hides the bar where the error stream is not a terminal.
    bar = tqdm(total=count, desc=title, unit="image", leave=False, disable=None if count >= _LONG else True)
    with bar, ThreadPoolExecutor(_THREADS) as pool:
        for done in pool.map(chunk, range(0, count, _CHUNK)):
            bar.update(done)
    return torch.from_numpy(out)
