"""From pictures to arrays: decode, make RGB, resize to the square.

One convention for every source: grey images become RGB; an image that is not yet of the size is resized to the
square with Pillow's antialiased bicubic filter, with no crop, so the aspect ratio is not kept.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor
from tqdm import tqdm

from mplib.errors import MplibError

Pixels = NDArray[np.uint8]
_Item = TypeVar("_Item")

SMALLEST, LARGEST = 4, 512  # image sizes, in pixels, that load() takes
_CONVENTION = 1  # to be raised when the same files give other pixels
_THREADS = 2  # Pillow releases the interpreter while it decodes and resizes
_CHUNK = 128  # images a worker takes at a time
_AHEAD = 4  # chunks that wait for a worker: bounds the memory that undecoded images take
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


def decode(
    items: Iterable[tuple[int, bytes | Path]], count: int, size: int, where: Callable[[int], str], title: str
) -> Tensor:
    """Decode encoded pictures, in parallel threads, into one tensor.

    Args:
        items: for each picture its row in the result and its content, or the path of its file; in any order.
            They are drawn one after another as they are needed, so they need not all fit into memory.
        count: how many pictures there are.
        size: height and width of the result, in pixels.
        where: names the picture of a row in an error message.
        title: names the whole in the progress bar.

    Returns:
        uint8, (count, 3, size, size).

    Raises:
        MplibError: a file that is not a picture, or is cut short.
    """

    def one(row: int, item: bytes | Path) -> Pixels:
        try:
            with Image.open(io.BytesIO(item) if isinstance(item, bytes) else item) as image:
                return to_square(image, size)
        except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
            raise MplibError(f"{where(row)} cannot be decoded ({error}), expected a whole image file") from error

    return _fill(items, one, count, size, title)


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
    return _fill(((index, index) for index in range(count)), lambda _, index: one(index), count, size, title)


def decoder() -> str:
    """The versions that decoded pixels depend on: of the convention of this file, of Pillow and its JPEG library.

    Example:
        >>> decoder().startswith("mplib 1, Pillow ")
        True
    """
    return f"mplib {_CONVENTION}, Pillow {PIL.__version__}, JPEG {features.version('jpg')}"


def _fill(
    items: Iterable[tuple[int, _Item]], one: Callable[[int, _Item], Pixels], count: int, size: int, title: str
) -> Tensor:
    out = np.empty((count, 3, size, size), dtype=np.uint8)

    def work(chunk: list[tuple[int, _Item]]) -> int:
        for row, item in chunk:
            out[row] = one(row, item)
        return len(chunk)

    remaining = iter(items)
    waiting: deque[Future[int]] = deque()
    # disable=None hides the bar where the error stream is not a terminal.
    bar = tqdm(total=count, desc=title, unit="image", leave=False, disable=None if count >= _LONG else True)
    with bar, ThreadPoolExecutor(_THREADS) as pool:
        try:
            while chunk := list(islice(remaining, _CHUNK)):
                waiting.append(pool.submit(work, chunk))
                if len(waiting) > _AHEAD:
                    bar.update(waiting.popleft().result())
            while waiting:
                bar.update(waiting.popleft().result())
        finally:
            for future in waiting:  # after an error or an interruption nobody wants the rest
                future.cancel()
    return torch.from_numpy(out)
