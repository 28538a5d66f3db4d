"""Decoding and resizing, against Pillow used plainly."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mplib.data.images import decode, resize, to_square
from mplib.errors import MplibError


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def test_native_size_is_left_alone() -> None:
    array = noise(12, 12)
    assert np.array_equal(to_square(Image.fromarray(array), 12), array.transpose(2, 0, 1))


def test_other_sizes_use_antialiased_bicubic_without_crop() -> None:
    array = noise(30, 50)
    expected = np.asarray(Image.fromarray(array).resize((16, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(to_square(Image.fromarray(array), 16), expected)
    # antialiased: 30 x 50 pixels of black and white in turn become grey
    board = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(to_square(Image.fromarray(board), 8).astype(int) - 127).max() <= 2


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "LA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    pixels = to_square(Image.fromarray(noise(10, 10)).convert(mode), 10)
    assert pixels.shape == (3, 10, 10)
    assert pixels.dtype == np.uint8
    if mode in ("L", "1", "LA"):
        assert np.array_equal(pixels[0], pixels[1])
        assert np.array_equal(pixels[0], pixels[2])


def test_decode_reads_bytes_and_paths_in_order(tmp_path: Path) -> None:
    arrays = [noise(9, 9, seed) for seed in range(600)]  # more than one chunk
    items: list[bytes | Path] = [png(a) for a in arrays]
    (tmp_path / "first.png").write_bytes(png(arrays[0]))
    items[0] = tmp_path / "first.png"
    images = decode(items, 9, str, "test")
    assert images.dtype == torch.uint8
    assert np.array_equal(images.numpy(), np.stack(arrays).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("content", [b"", b"no picture at all", png(noise(40, 40))[:200]], ids=["empty", "text", "cut"])
def test_decode_names_what_it_cannot_decode(content: bytes) -> None:
    with pytest.raises(MplibError, match=r"row 1 of x cannot be decoded \(.*\), expected a whole image file"):
        decode([png(noise(8, 8)), content], 8, lambda i: f"row {i} of x", "test")


def test_decode_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MplibError, match="cannot be decoded"):
        decode([tmp_path / "none.png"], 8, str, "test")


def test_resize_of_grey_and_colour() -> None:
    colour, grey = np.stack([noise(8, 8, s) for s in range(3)]), np.stack([noise(8, 8, s)[..., 0] for s in range(3)])
    assert np.array_equal(resize(colour, 8, "test").numpy(), colour.transpose(0, 3, 1, 2))
    assert np.array_equal(resize(grey, 8, "test").numpy(), np.repeat(grey[:, None], 3, axis=1))
    assert np.array_equal(resize(grey, 20, "test")[1].numpy(), to_square(Image.fromarray(grey[1]), 20))


def test_a_long_run_tells_its_progress_only_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    resize(np.zeros((5_000, 4, 4), dtype=np.uint8), 5, "test")
    assert capsys.readouterr() == ("", "")
